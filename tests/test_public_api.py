"""The public face: few names, each documented, none of them open to surprise."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest

import dht

ROOT = Path(__file__).parents[1]
NAMES_MAX = 29

# Pinned: who adds or takes away a name changes this list, the CHANGELOG and docs/ together.
NAMES = {
    *("open_node", "Node", "Config", "Identity", "Key", "Contact", "Record", "Kind"),
    *("Author", "Members"),
    *("PutOutcome", "GetOutcome", "LookupOutcome", "Trace", "Stats", "EventsLost"),
    *("Structured", "Flood", "Walk", "Index"),
    *("DHTError", "LocalError", "RemoteError", "InternalError", "QuorumNotReached"),
    *("VersionConflict", "NoPeers", "ValueTooLarge", "NodeClosed"),
}

# What `import dht` must not load: everything that belongs to an extra.
EXTRAS = {"click", "rich", "numpy", "matplotlib", "dask", "hypothesis", "pytest", "_pytest"}

CLASSES = [name for name in sorted(NAMES) if inspect.isclass(getattr(dht, name, None))]


def own_members(cls: type) -> dict[str, object]:
    """Public methods and properties that the class itself defines; its fields are data."""
    return {
        name: member
        for name, member in vars(cls).items()
        if not name.startswith("_")
        and isinstance(member, property | classmethod | staticmethod | FunctionType)
    }


def test_the_public_names_are_these() -> None:
    assert sorted(dht.__all__) == sorted(NAMES)
    assert len(dht.__all__) <= NAMES_MAX


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_public_name_is_there_and_documented(name: str) -> None:
    # Not inspect.getdoc(): a docstring that is inherited describes something else.
    assert (getattr(dht, name).__doc__ or "").strip()


def test_the_package_maps_itself() -> None:
    assert dht.__doc__


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_documents_its_methods(name: str) -> None:
    members = own_members(getattr(dht, name))
    assert not [each for each, member in members.items() if not inspect.getdoc(member)]


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_is_final(name: str) -> None:
    """Errors are there to be caught by their parents; of the rest nothing is to be subclassed."""
    cls = getattr(dht, name)
    assert issubclass(cls, BaseException) or getattr(cls, "__final__", False)


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has after running the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return set(json.loads(done.stdout))


def test_import_loads_none_of_the_extras() -> None:
    """How long it takes is the row `import-time`: a clock in a test judges the machine."""
    loaded = {name.split(".")[0] for name in loaded_by("import dht; dht.open_node")}
    assert {"dht", "trio"} <= loaded
    assert not loaded & EXTRAS


def test_what_runs_a_node_is_loaded_by_whoever_asks_for_it() -> None:
    loaded = loaded_by("import dht; dht.Key, dht.Record, dht.PutOutcome, dht.NoPeers, dir(dht)")
    assert not loaded & {"trio", "dht.core.engine", "dht.shell.node"}
    assert "dht.shell.node" in loaded_by("from dht import *")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'opne_node'"):
        dht.opne_node  # type: ignore[attr-defined]  # noqa: B018
    assert set(dht.__all__) <= set(dir(dht))
