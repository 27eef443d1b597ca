"""The examples run, and say what they should."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

SAID = {
    "hello.py": ["b'hello'"],
    "key_value.py": [
        "stored by 5 nodes",
        "motd: b'Welcome.'",
        "motd: b'Welcome back.'",
        "motd: b'(deleted)'",
        "visits: 1",
        "visits: 2",
        "visits: 3",
        "book: 256000 bytes came back",
        "users: 50",
        "the way to user 7: the record was found",
    ],
}


def test_every_example_has_a_line_here() -> None:
    assert {path.name for path in EXAMPLES} == set(SAID)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == SAID[path.name]
