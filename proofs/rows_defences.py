"""The promise that each defence is guarded: taken out, at least one test fails.

``defences.toml`` says of each defence which lines make it, what stands there without it, and which
tests are to notice. A piece copies the package and its tests to a folder of its own, takes one
defence out there, and runs those tests. Nothing is changed in place.
"""

import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from .machine import Figures, Reduced, Verdict, row
from .surroundings import ROOT

TABLE = Path(__file__).with_name("defences.toml")
DEFENCES_MIN = 45

# What pytest's exit status says. A test that cannot even be collected has noticed nothing.
PASSED, SOME_FAILED = 0, 1
COPIED = ("dht", "tests", "proofs", "benchmarks", "docs", "examples")
COPIED_FILES = ("pyproject.toml", "setup.cfg", "README.md")


@attrs.frozen(kw_only=True)
class Defence:
    """One defence: ``file`` holds ``text`` once, and without the defence it holds ``without``."""

    name: str
    threat: str
    file: str
    text: str
    without: str
    tests: tuple[str, ...]

    @classmethod
    def read(cls, name: str, entry: dict[str, Any]) -> "Defence":
        """One entry of the table; newlines around its texts are there for the reader."""
        return cls(
            name=name,
            threat=entry["threat"],
            file=entry["file"],
            text=entry["text"].strip("\n"),
            without=entry["without"].strip("\n"),
            tests=tuple(entry["tests"]),
        )

    def take_out(self, root: Path) -> None:
        """Edits the copy below ``root``. Raises ``LookupError`` when its lines are not there."""
        path = root / self.file
        source = path.read_text()
        if source.count(self.text) != 1:
            found = source.count(self.text)
            raise LookupError(f"{self.name}: its text is {found} times in {self.file}, not once")
        path.write_text(source.replace(self.text, self.without))


def load_defences() -> list[Defence]:
    """All of the table, in its order."""
    table = tomllib.loads(TABLE.read_text())
    return [Defence.read(name, entry) for name, entry in table.items()]


DEFENCES = load_defences()


def judge_defences(pieces: Sequence[Figures]) -> Verdict:
    """Each one has to be noticed, by tests that pass while it is there."""
    unnoticed = [piece["name"] for piece in pieces if not piece["noticed"]]
    broken = [piece["name"] for piece in pieces if not piece["sound"]]
    noticed = len(pieces) - len(unnoticed)
    return Verdict(
        {"defences": [piece["name"] for piece in pieces], "unnoticed": unnoticed, "broken": broken},
        not unnoticed and not broken and len(DEFENCES) >= DEFENCES_MIN,
        f"{noticed} of {len(pieces)} defences fail at least one test when they are taken out"
        + (f"; not {', '.join(unnoticed)}" if unnoticed else "")
        + (f"; the tests of {', '.join(broken)} fail even with them" if broken else ""),
    )


@row(
    "defences-off",
    promise=f"of at least {DEFENCES_MIN} defences each one fails a test when it is taken out",
    pieces=len(DEFENCES),
    judge=judge_defences,
    # tests/proofs/test_defences.py holds the whole table to the code, in no time.
    reduced=Reduced(pieces=2, scale=1.0, each_alone=True),
)
def defences_off(seed: int, _scale: float) -> Figures:
    """One defence: its tests with it, and without it."""
    defence = DEFENCES[seed]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in COPIED:
            shutil.copytree(
                ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "corpus")
            )
        for name in COPIED_FILES:
            shutil.copy(ROOT / name, root / name)
        with_it = _run_tests(root, defence.tests)
        defence.take_out(root)
        without_it = _run_tests(root, defence.tests)
    return {
        "name": defence.name,
        "sound": with_it == PASSED,
        "noticed": without_it == SOME_FAILED,
    }


def _run_tests(root: Path, tests: Sequence[str]) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=root, capture_output=True, check=False)
    return done.returncode
