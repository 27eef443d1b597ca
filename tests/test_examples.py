"""The examples run, and say what they should."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(
    path for path in (ROOT / "examples").glob("*.py") if not path.name.startswith("test_")
)
TESTS = sorted((ROOT / "examples").glob("test_*.py"))

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
    "service_registry.py": [
        "printers: 192.0.2.7:631 192.0.2.8:631",
        "one of them: 192.0.2.7:631",
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


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_the_test_of_an_example_passes(path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "dht.testing.plugin",
            "--dht-seed=1",
            str(path),
        ],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout
