"""The wheel, as a stranger gets it: built, installed into an empty environment, and used there."""

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Building and installing take most of a minute where nothing was downloaded before. Each test
# process builds a wheel of its own: a few seconds, and no lock between them.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

HELLO = """
import dht, trio

async def main():
    async with dht.open_node("127.0.0.1:0") as alice, \\
               dht.open_node("127.0.0.1:0", bootstrap=[alice.uri]) as bob:
        await alice.put("greeting", b"hello")
        assert await bob.get("greeting") == b"hello"
trio.run(main)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # From a copy, as building leaves its own files beside the sources.
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, source)
    for name in ("dht", "tests", "proofs"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".*")
        )
    target = tmp_path_factory.mktemp("wheel")
    run_pip("wheel", "--no-deps", "--wheel-dir", str(target), str(source))
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment with the wheel and no extra."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    interpreter = home / "bin" / "python"
    run_pip("--python", str(interpreter), "install", str(wheel))
    return interpreter


def run_pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "dht/py.typed" in names
    assert {name.split("/")[0] for name in names} == {"dht", "dht-0.1.0.dist-info"}
    assert not [name for name in names if "test_" in name or "conftest" in name]


def test_every_module_is_in_the_wheel(wheel: Path) -> None:
    """A folder without __init__.py works from the sources, and is missing from the wheel."""
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    assert packed == {path.relative_to(ROOT).as_posix() for path in (ROOT / "dht").rglob("*.py")}


def test_hello_runs_where_only_the_wheel_is_installed(python: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [python, "-I", "-c", HELLO],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_command_without_its_extra_says_what_to_install(
    python: Path, option: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [python.parent / "dht", option],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "dht[cli]" in done.stderr
    assert "Traceback" not in done.stderr
