"""What README.md and docs/ show runs, and what they name exists."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tidy import code_lines

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [page for page in [README, *sorted((ROOT / "docs").glob("**/*.md"))] if page.is_file()]

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
# A block that is not run says why:  <!-- not run: needs two machines -->
_NOT_RUN = re.compile(r"<!-- not run: \S[^>]*-->\s*\Z")
_SHELLS = {"", "sh", "bash", "console", "shell"}


def python_blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, source) of every python block that is to be run."""
    for block in _FENCE.finditer(text):
        if block[1] == "python" and not _NOT_RUN.search(text[: block.start()]):
            yield text.count("\n", 0, block.start()) + 1, block[2]


def commands(text: str, program: str) -> list[list[str]]:
    """Every command line of a program that a page names, in its shell blocks or between backticks.

    Comments and what follows a pipe are left out.
    """
    lines = [
        line.strip().removeprefix("$ ")
        for block in _FENCE.finditer(text)
        if block[1] in _SHELLS
        for line in block[2].splitlines()
    ]
    lines += _INLINE.findall(_FENCE.sub("", text))
    found = []
    for line in lines:
        if line == program or line.startswith(program + " "):
            words = shlex.split(re.split(r"[|;&>…]|\.\.\.", line)[0], comments=True)
            if words not in found:
                found.append(words)
    return found


PLUGIN = ["-p", "no:cacheprovider", "-p", "no:dht", "-p", "dht.testing.plugin", "--dht-seed=1"]

PYTHON_BLOCKS = {
    f"{page.relative_to(ROOT)}:{line}": source
    for page in PAGES
    for line, source in python_blocks(page.read_text())
}


def commands_of_readme(program: str) -> list[list[str]]:
    return commands(README.read_text(), program) if README.is_file() else []


@pytest.mark.parametrize("source", list(PYTHON_BLOCKS.values()), ids=list(PYTHON_BLOCKS))
def test_a_python_block_runs(source: str, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(source)
    # A block with tests in it is for pytest; its plugin is named, should none be installed.
    run = ["-m", "pytest", "-q", *PLUGIN] if "def test_" in source or ".TestCase" in source else []
    done = subprocess.run(
        [sys.executable, "-W", "error", *run, str(script)],
        cwd=tmp_path,
        # So that it finds the package in an environment without an editable installation too.
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("words", commands_of_readme("make"), ids=" ".join)
def test_a_make_command_of_the_readme_exists(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
    assert set(named) <= targets


@pytest.mark.parametrize("words", commands_of_readme("dht"), ids=" ".join)
def test_a_dht_command_of_the_readme_exists(words: list[str]) -> None:
    subcommand = [word for word in words[1:2] if not word.startswith("-")]
    options = {word.split("=")[0] for word in words if word.startswith("--")}
    done = subprocess.run(
        [sys.executable, "-c", "from dht.cli import main; main()", *subcommand, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not [option for option in options if option not in done.stdout]


def test_what_must_be_trusted_stays_as_small_as_the_readme_promises() -> None:
    promised = re.search(r"under ([0-9,]+) lines of code", README.read_text())
    assert promised is not None
    trusted = [
        *(ROOT / "dht").glob("*.py"),
        *(ROOT / "dht" / "wire").rglob("*.py"),
        *(ROOT / "dht" / "core").rglob("*.py"),
    ]
    lines = sum(len(code_lines(path.read_text())) for path in trusted)
    assert lines < int(promised[1].replace(",", ""))


def test_a_page_links_to_files_that_exist() -> None:
    links = [
        (page, link)
        for page in PAGES
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
        if "://" not in link
    ]
    assert links
    assert not [(page.name, link) for page, link in links if not (page.parent / link).exists()]


# ---------------------------------------------------------------------------- the extractors bite


PAGE = """
Say `make test` or `dht get greeting --explain`, not `dhtx`.

```python
print(1)
```

<!-- not run: needs two machines -->
```python
print(2)
```

```sh
$ make prove ROW=x  # one promise
dht put a b | cat
```
"""


def test_blocks_are_found_and_skipped() -> None:
    assert list(python_blocks(PAGE)) == [(4, "print(1)\n")]


def test_commands_are_found() -> None:
    assert commands(PAGE, "make") == [["make", "prove", "ROW=x"], ["make", "test"]]
    assert commands(PAGE, "dht") == [
        ["dht", "put", "a", "b"],
        ["dht", "get", "greeting", "--explain"],
    ]
