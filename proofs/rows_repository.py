"""Promises about the repository itself; none of them needs a simulator."""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from .machine import Figures, Verdict, row
from .surroundings import ROOT

# ------------------------------------------------------------------------------ how it is imported

IMPORT_MS_MAX = 200
# Top-level modules of everything that belongs to an extra.
EXTRAS = ("click", "rich", "numpy", "matplotlib", "hypothesis", "pytest")

# A line of -X importtime: "import time: self [us] | cumulative | imported package".
_IMPORT_LINE = re.compile(r"^import time:\s+\d+ \|\s+(\d+) \|\s*(\S+)$", re.MULTILINE)


def judge_import(pieces: Sequence[Figures]) -> Verdict:
    """The median, as one slow run says more about the machine than about us."""
    median = statistics.median(piece["ms"] for piece in pieces)
    later = statistics.median(piece["open_node_ms"] for piece in pieces)
    extras = sorted({extra for piece in pieces for extra in piece["extras"]})
    return Verdict(
        {
            "median_ms": round(median, 1),
            "runs_ms": [piece["ms"] for piece in pieces],
            # What the first use of `dht.open_node` takes on top: trio and the engine.
            "open_node_median_ms": round(later, 1),
            "extras": extras,
        },
        median < IMPORT_MS_MAX and not extras,
        f"importing dht takes {median:.0f} ms (under {IMPORT_MS_MAX} promised), the first use of "
        f"dht.open_node {later:.0f} ms more; extras loaded: {', '.join(extras) or 'none'}",
    )


@row(
    "import-time",
    promise=f"`import dht` takes under {IMPORT_MS_MAX} ms and loads no extra",
    pieces=7,
    judge=judge_import,
    # A clock in the test-suite would judge its neighbours; test_public_api.py guards the modules.
    reduced=None,
    parallel=False,
)
def import_time(_seed: int, _scale: float) -> Figures:
    """One import in a new interpreter."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import dht; import dht.shell.node"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    microseconds = {name: int(spent) for spent, name in _IMPORT_LINE.findall(done.stderr)}
    return {
        "ms": microseconds["dht"] / 1000,
        "open_node_ms": microseconds["dht.shell.node"] / 1000,
        "extras": [extra for extra in EXTRAS if extra in microseconds],
    }


# ------------------------------------------------------------------------------- what tests cover

BRANCH_PERCENT_MIN = 95


def judge_coverage(pieces: Sequence[Figures]) -> Verdict:
    """Branches alone: together with lines, many plain lines would hide untaken branches."""
    (figures,) = pieces
    branches = figures["branch_percent"]
    return Verdict(
        figures,
        figures["tests_passed"] and branches >= BRANCH_PERCENT_MIN,
        f"the tests take {branches:.1f} % of the branches of dht/ ({BRANCH_PERCENT_MIN} promised)"
        + ("" if figures["tests_passed"] else ", and some tests fail"),
    )


@row(
    "branch-coverage",
    promise=f"the tests take at least {BRANCH_PERCENT_MIN} % of the branches of dht/",
    pieces=1,
    judge=judge_coverage,
    # `make test` measures and enforces it each time (fail_under).
    reduced=None,
    parallel=False,
)
def branch_coverage(_seed: int, _scale: float) -> Figures:
    """Run what `make test` measures: all but the slow tests."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal"),
                *("-m", "not slow", "--cov", f"--cov-report=json:{report}", "--cov-fail-under=0"),
            ],
            cwd=ROOT,
            # A data file of its own, as `make test` may be running beside it.
            env={**os.environ, "COVERAGE_FILE": str(Path(folder) / "data")},
            stdout=sys.stderr,
            check=False,
        )
        totals = json.loads(report.read_text())["totals"]
    return {
        "tests_passed": done.returncode == 0,
        "branch_percent": round(100 * totals["covered_branches"] / totals["num_branches"], 2),
        "line_percent": round(100 * totals["covered_lines"] / totals["num_statements"], 2),
        "branches": totals["num_branches"],
        "lines": totals["num_statements"],
    }


# ----------------------------------------------------------------------------------- a fresh clone

# Seconds. Guesses at what a newcomer waits before doubting: for the whole, and for the demo alone.
FRESH_DEMO_S_MAX = 120
DEMO_S_MAX = 40

# The last line that the demo prints.
_DEMO_TOOK = re.compile(r"^demo took ([\d.]+) s$", re.MULTILINE)
# What a make or a virtual environment around us would leak into the clone.
_LEAKS = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHONPATH", "VIRTUAL_ENV", "PYTHON")


def judge_demo(pieces: Sequence[Figures]) -> Verdict:
    """Both times, each against its own bound."""
    (figures,) = pieces
    whole, demo = figures["whole_s"], figures["demo_s"]
    if demo is None:
        return Verdict(figures, passed=False, sentence="the demo failed: " + figures["output_end"])
    return Verdict(
        figures,
        whole < FRESH_DEMO_S_MAX and demo < DEMO_S_MAX,
        f"`make demo` in a fresh clone takes {whole:.0f} s with installation "
        f"({FRESH_DEMO_S_MAX} promised), the demo itself {demo:.0f} s ({DEMO_S_MAX} promised)",
    )


@row(
    "demo-fresh-clone",
    promise=f"`make demo` in a fresh clone takes under {FRESH_DEMO_S_MAX} s with installation, "
    f"the demo itself under {DEMO_S_MAX} s",
    pieces=1,
    judge=judge_demo,
    # It is the installation that takes the time, and that has no smaller size.
    reduced=None,
    parallel=False,
)
def demo_fresh_clone(_seed: int, _scale: float) -> Figures:
    """Clone what is committed, and do what the README says."""
    environment = {name: value for name, value in os.environ.items() if name not in _LEAKS}
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "dht"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        started = time.perf_counter()
        done = subprocess.run(
            ["make", "demo"],
            cwd=clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        whole = time.perf_counter() - started
    took = _DEMO_TOOK.findall(done.stdout)
    return {
        "whole_s": round(whole, 1),
        "demo_s": float(took[-1]) if took and done.returncode == 0 else None,
        "output_end": done.stdout[-500:],
    }
