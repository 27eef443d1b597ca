"""`dht demo`: what it says, and that it cannot be content with a wrong record."""

import json
import re
from pathlib import Path
from random import Random
from typing import ClassVar, cast

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from dht.cli import crowd
from dht.cli import demo as demo_module
from dht.cli.judge import Reading, Round, judge, quantile, sentence, verdict
from dht.cli.library import about, library_files, library_home, library_records, record_of
from dht.errors import LocalError, NoPeers
from dht.shell.node import Node
from tests.cli.conftest import Run, start

SMALL = ("demo", "--nodes", "12", "--records", "40")


# --------------------------------------------------------------------------- the whole of it


def test_a_reduced_demo_finds_every_record() -> None:
    process = start(*SMALL, "--json")
    out, err = process.communicate(timeout=50)
    assert (process.returncode, err) == (0, "")
    said = json.loads(out)
    assert (said["ok"], said["nodes"], said["killed"], said["records"]) == (True, 12, 3, 40)
    for when in ("before", "after"):
        assert (said[when]["found"], said[when]["wrong"], said[when]["missing"]) == (40, 0, 0)
        assert 0 < said[when]["latency_p50_s"] <= said[when]["latency_p99_s"]
    assert "└─" in said["lookup"]["tree"]


def test_it_tells_what_it_does_and_ends_with_how_long_it_took(run: Run) -> None:
    done = run("demo", "--nodes", "5", "--records", "10", "--seed", "3")
    lines = done.out.decode().splitlines()
    assert (done.status, done.err) == (0, "")
    assert re.fullmatch(r"demo took \d+\.\d s", lines[-1])
    assert lines[-2] == "Every record was right."
    text = "\n".join(lines)
    for part in ("10 records: one for each source file", "└─", "of 5 nodes are killed", "p99 ms"):
        assert part in text
    assert not [line for line in text.split("every record read")[1].splitlines() if "…" in line]


def test_bars_are_shown_on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    done = run("demo", "--nodes", "3", "--records", "5", "--json")
    assert done.status == 0
    assert "nodes on loopback join" in done.err


@pytest.mark.parametrize("changed", [b"forged", None])
def test_a_record_that_is_not_what_was_stored_is_status_1(
    changed: bytes | None, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of ten comes back changed, or not at all."""
    honest = demo_module.read
    spoiled: list[str] = []

    async def read(name: str, reader: Node) -> Reading:
        reading = await honest(name, reader)
        if not spoiled:
            spoiled.append(name)
            return attrs.evolve(reading, value=changed)
        return reading

    monkeypatch.setattr(demo_module, "read", read)
    done = run("demo", "--nodes", "3", "--records", "10", "--json")
    said = json.loads(done.out)
    assert done.status == 1
    assert said["ok"] is False
    assert said["before"]["wrong" if changed else "missing"] == 1
    assert said["before"]["found"] == 9


def test_bad_news_are_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(name: str, reader: Node) -> Reading:
        return Reading(name=name, value=None, messages=1, hops=0, latency_s=0)

    monkeypatch.setattr(demo_module, "read", read)
    done = run("demo", "--nodes", "2", "--records", "2", "--kill", "0")
    assert done.status == 1
    assert "not as it should be" in done.out.decode()


@pytest.mark.parametrize(
    "option", [("--nodes", "1"), ("--nodes", "x"), ("--kill", "1.5"), ("--records", "0")]
)
def test_an_option_that_cannot_be_is_status_2(option: tuple[str, str], run: Run) -> None:
    assert run("demo", *option).status == 2


def test_there_is_always_a_survivor() -> None:
    plan = demo_module.Plan(nodes=2, records=None, seed=1, kill=0.9)
    assert plan.killed == 1


def test_an_error_is_a_record_that_did_not_come_back() -> None:
    class Deaf:
        async def fetch(self, name: str) -> None:
            raise NoPeers(name)

    reading = trio.run(demo_module.read, "a", cast("Node", Deaf()))
    assert reading.value is None


def test_no_socket_stays_open_when_there_are_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scarce:
        opened: ClassVar[list["Scarce"]] = []
        closed = False

        @classmethod
        def bind(cls, _: object) -> "Scarce":
            if len(cls.opened) == 3:
                raise LocalError("Too many open files")
            cls.opened.append(cls())
            return cls.opened[-1]

        def close(self) -> None:
            self.closed = True

    monkeypatch.setattr(crowd, "UdpPort", Scarce)
    with pytest.raises(LocalError, match="Too many open files"):
        crowd.bind_many(5)
    assert [each.closed for each in Scarce.opened] == [True] * 3


# ---------------------------------------------------------------------------------- judging

NAMES = st.sampled_from("abcdef")
VALUES = st.sampled_from([b"1", b"2", None])


@given(
    st.dictionaries(NAMES, st.sampled_from([b"1", b"2"])),
    st.dictionaries(NAMES, VALUES),
)
def test_every_record_is_found_wrong_or_missing(
    stored: dict[str, bytes], read: dict[str, bytes | None]
) -> None:
    seen = judge(stored, [reading(name, value) for name, value in read.items()])
    assert seen.found == sum(read.get(name) == value for name, value in stored.items())
    assert seen.missing == sum(read.get(name) is None for name in stored)
    assert seen.found + seen.wrong + seen.missing == seen.records == len(stored)


def reading(name: str, value: bytes | None) -> Reading:
    return Reading(name=name, value=value, messages=2, hops=1, latency_s=0.5)


def seen_with(**counts: int) -> Round:
    return attrs.evolve(judge({}, []), **counts)


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        ({}, {}, 0),
        ({"missing": 1}, {}, 1),
        ({"wrong": 1}, {}, 1),
        ({}, {"wrong": 1}, 1),
        ({}, {"missing": 1}, 0),
    ],
)
def test_the_verdict(before: dict[str, int], after: dict[str, int], status: int) -> None:
    assert verdict(seen_with(**before), seen_with(**after)) == status


def test_the_verdict_in_words_hides_no_loss() -> None:
    assert sentence(seen_with(), seen_with()) == "Every record was right."
    assert "2 were not found" in sentence(seen_with(), seen_with(missing=2))
    assert "not as it should be" in sentence(seen_with(missing=1), seen_with())


def test_a_killed_node_is_mute_before_it_knows() -> None:
    """Its sockets are closed at once; only then does it get to run, and to say anything."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            people = crowd.Crowd(nursery, Random(1))
            await people.grow(3)
            alive = [member.node for member in people.members]
            ports = [member._port for member in people.members]
            people.kill(2)
            assert sum(port.closed for port in ports) == 2
            await trio.testing.wait_all_tasks_blocked()
            [survivor] = people.members
            assert [str(node).endswith("open>") for node in alive].count(True) == 1
            assert str(survivor.node).endswith("open>")
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_means_and_quantiles_are_those_of_the_readings() -> None:
    seen = judge({"a": b"1"}, [reading("a", b"1")])
    assert (seen.rpcs_per_get, seen.hops, seen.latency_p99_s) == (2, 1, 0.5)
    assert quantile(list(range(100)), 0.5) == 50
    assert quantile(list(range(100)), 0.99) == 99
    assert quantile([], 0.5) == 0


# ----------------------------------------------------------------------------------- library


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (b'"""One line."""', "One line."),
        (b'#!/bin/python\n# comment\n\nr"""\n  Second.\nThird."""\n', "Second."),
        (b"'single'\nx = 1", "single"),
        (b'x = """no docstring"""', ""),
        (b"", ""),
        (b'"""\xff"""', "\ufffd"),
        (b'"""' + b"x" * 500 + b'"""', "x" * 200),
    ],
)
def test_what_a_file_says_of_itself(source: bytes, line: str) -> None:
    assert about(source) == line


def test_a_record_says_size_hash_and_documentation() -> None:
    said = json.loads(record_of(b'"""Hello."""'))
    assert said["size"] == 12
    assert said["about"] == "Hello."
    assert len(said["sha256"]) == 64


def test_the_library_is_without_tests_and_what_others_installed() -> None:
    names = [name for name, _ in library_files(library_home())]
    assert "json/decoder.py" in names
    assert len(names) > 300
    assert not [name for name in names if "site-packages" in name or "/test" in name]


def test_a_python_without_sources_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="without its library"):
        library_records(tmp_path)
