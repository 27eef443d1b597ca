"""The records of the demo: the Python standard library, which every machine has.

One record for each source file: its name gives its size, its hash and what its docstring says.
"""

import json
import re
import sysconfig
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from ..errors import LocalError

# What others installed is not the library; its tests are many and all alike.
_SKIPPED = frozenset(
    {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}
)
# A docstring comes before any code: after comments and blank lines only.
_DOCSTRING = re.compile(rb"(?:[ \t]*(?:#[^\n]*)?\r?\n)*[rRuU]?(\"\"\"|'''|\"|')(.*?)\1", re.DOTALL)
#: Characters of the docstring's first line that are kept.
_ABOUT_MAX = 200


def library_home() -> Path:
    """Where the standard library lies."""
    return Path(sysconfig.get_path("stdlib"))


def library_files(home: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of every source file, in order; without tests and what others installed."""
    for path in sorted(home.rglob("*.py")):
        name = path.relative_to(home)
        if not _SKIPPED.intersection(name.parts):
            yield name.as_posix(), path


def library_records(home: Path) -> dict[str, bytes]:
    """The record of each file, by name. Raises ``LocalError`` where there are no sources."""
    records = {name: record_of(path.read_bytes()) for name, path in library_files(home)}
    if not records:
        raise LocalError(f"no Python sources in {home}: this Python came without its library")
    return records


def record_of(source: bytes) -> bytes:
    """What is stored about a file: size, hash, and the first line of its docstring."""
    return json.dumps(
        {
            "size": len(source),
            "sha256": sha256(source).hexdigest(),
            "about": about(source),
        }
    ).encode()


def about(source: bytes) -> str:
    """The first line of a module's docstring, or nothing."""
    match = _DOCSTRING.match(source)
    lines = match[2].decode(errors="replace").split("\n") if match else []
    return next((line.strip() for line in lines if line.strip()), "")[:_ABOUT_MAX]
