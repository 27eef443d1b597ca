"""The promise about `dht.testing`: a bug that is planted in an example application is found."""

import os
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from .machine import Figures, Reduced, Verdict, row

ROOT = Path(__file__).parents[1]
#: Seconds of one core. Not of the clock on the wall, which judges what else the machine does.
SEARCH_MAX_S = 60.0
#: Faults in the smallest schedule that Hypothesis may end with.
FAULTS_MAX = 2
# Named, should none be installed; and no lock file or memory of an earlier run.
PLUGIN = ["-p", "no:cacheprovider", "-p", "no:dht", "-p", "dht.testing.plugin"]
NAME = "test_forgetful_instances_come_back"

TEST = f"""
from hypothesis import Phase, given, settings
from examples.service_registry import ForgetfulRegistry
from examples.test_service_registry import FAULTS, check_instances_come_back

# Not derandomized, as it would be where a variable like CI is set: each search is one of its own.
@settings(
    deadline=None,
    database=None,
    derandomize=False,
    max_examples=200,
    phases=[Phase.generate, Phase.shrink],
)
@given(faults=FAULTS)
def {NAME}(dht_networks, faults):
    with dht_networks() as network:
        check_instances_come_back(network, faults, ForgetfulRegistry)
"""


def judge_found(pieces: Sequence[Figures]) -> Verdict:
    """Every search finds it in time, makes it small, and is repeated by the line it printed."""
    slowest_s = max(piece["cpu_s"] for piece in pieces)
    most = max(piece["faults"] for piece in pieces)
    found = sum(piece["found"] for piece in pieces)
    repeated = sum(piece["repeated"] for piece in pieces)
    return Verdict(
        {"searches": len(pieces), "found": found, "repeated": repeated, "cpu_max_s": slowest_s}
        | {"faults_max": most},
        found == repeated == len(pieces) and slowest_s < SEARCH_MAX_S and most <= FAULTS_MAX,
        f"{found} of {len(pieces)} searches found the planted bug, in {slowest_s:.0f} s of one "
        f"core at most, and shrank it to {most} faults at most; the printed line repeated "
        f"{repeated}",
    )


@row(
    "planted-bug-found",
    promise="the registry's test finds the bug planted in the example application in under 60 s, "
    "shrinks it to at most two faults, and the line it prints repeats it in a new process",
    pieces=10,
    judge=judge_found,
    reduced=Reduced(pieces=1, scale=1.0),
)
def planted_bug_found(seed: int, scale: float) -> Figures:  # noqa: ARG001 - it has one size
    """Once as a user meets it, and again by the line that it printed, in another folder."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = _run_pytest(f"--dht-seed={seed}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    replay = re.search(r'replay: pytest "(.*)" (--dht-seed=\d+)', said)
    again = "" if replay is None else _run_pytest(*replay.groups())
    smallest = _counterexample(said)
    return {
        "found": replay is not None and "AssertionError" in said,
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "counterexample": smallest,
        "faults": smallest.count("at_s="),
        "repeated": bool(smallest) and _counterexample(again) == smallest,
    }


def _counterexample(said: str) -> str:
    """The schedule that Hypothesis printed in the end."""
    found = re.findall(r"^E\s+faults=(\(.*\)),$", said, re.MULTILINE)
    return str(found[-1]) if found else ""


def _run_pytest(*arguments: str) -> str:
    with TemporaryDirectory() as folder:
        (Path(folder) / "test_registry.py").write_text(TEST)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *PLUGIN, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    return done.stdout
