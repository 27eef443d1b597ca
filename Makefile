# Two commands for everybody (demo, test), the others for those who work on dht.
# All that a fresh machine needs is Python 3.11 or newer with venv, make and git.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet

ROW ?=
BUDGET ?= 540
SECONDS ?= 60

# Of all the interpreters on the PATH, the first that is new enough and really runs: some are
# shims that fail, and some systems ship a Python without ensurepip, which venv needs.
# `make PYTHON=/path/to/python` chooses another.
define FIND_PYTHON
found=; usable='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'; \
if [ -n "$(PYTHON)" ]; then \
    if "$(PYTHON)" -c "$$usable" 2>/dev/null; then found="$(PYTHON)"; fi; \
else \
    IFS=:; \
    for name in python3.11 python3.12 python3.13 python3.14 python3 python; do \
        for folder in $$PATH; do \
            if [ -z "$$found" ] && [ -x "$$folder/$$name" ] \
                && "$$folder/$$name" -c "$$usable" >/dev/null 2>&1; \
            then found="$$folder/$$name"; fi; \
        done; \
    done; \
    unset IFS; \
fi; \
if [ -z "$$found" ]; then \
    echo "No Python 3.11 or newer with venv was found$(if $(PYTHON), at $(PYTHON))." \
        "Install one, or name it: make PYTHON=/path/to/python3.11" >&2; \
    exit 1; \
fi
endef

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench fuzz prove prove-check clean
# All targets share one environment, and two installers in it at once would spoil it.
.NOTPARALLEL:

help: ## say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
		while IFS='|' read -r command meaning; do printf '%-20s %s\n' "$$command" "$$meaning"; done

demo: $(VENV)/.cli ## a small network on this machine, shown in under a minute
	@$(VENV)/bin/dht demo

# What simulates large networks, the promises in their reduced sizes above all, runs apart: under
# coverage it takes twice as long.
test: lint ## the checks, then every test on two processes, the quick ones with coverage by branches
	$(PY) -m pytest -n 2 --dist worksteal -m "not slow" --cov --cov-report=term
	$(PY) -m pytest -n 2 --dist worksteal -m slow

lint: $(VENV)/.dev ## ruff, its formatter and mypy --strict
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

bench: $(VENV)/.dev ## how fast it is on this machine, over loopback
	$(PY) -m benchmarks.loopback

fuzz: $(VENV)/.fuzz ## bytes from strangers into every decoder: make fuzz SECONDS=60
	$(PY) -m tests.fuzz --seconds $(SECONDS)

prove: $(VENV)/.dev ## run one promise in full: make prove ROW=import-time; again to go on
	@if [ -z "$(ROW)" ]; then $(PY) -m proofs list; \
		echo "Say which: make prove ROW=name" >&2; exit 2; fi
	@$(PY) -m proofs run $(ROW) --budget $(BUDGET)

prove-check: $(VENV)/.dev ## fail on a promise without a passing result, list the stale ones
	@$(PY) -m proofs check

clean: ## remove the environment, builds, caches and reports; results stay
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* \
		.hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. A changed setup.cfg makes a new one; the stamps inside say what it holds.

$(VENV)/.made: setup.cfg
	@$(FIND_PYTHON); \
	echo "Making $(VENV) with $$found"; \
	rm -rf $(VENV) && "$$found" -m venv $(VENV)
	@touch $@

# The demo waits for nothing that it does not use.
$(VENV)/.cli: $(VENV)/.made
	$(PIP) install --editable '.[cli]'
	@touch $@

$(VENV)/.dev: $(VENV)/.made
	$(PIP) install --editable '.[cli,dev]'
	@touch $@ $(VENV)/.cli

$(VENV)/.fuzz: $(VENV)/.dev
	$(PIP) install --editable '.[cli,dev,fuzz]'
	@touch $@
