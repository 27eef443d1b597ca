"""The comparison at the end of `dht demo`: what is counted, and for whom."""

from collections.abc import Mapping, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest
import trio

from dht.cli import demo as demo_module
from dht.cli import ways as ways_module
from dht.cli.crowd import Crowd
from dht.cli.judge import judge, sentence, verdict
from dht.cli.ways import WAYS, Way, compare, shape_of_ways
from dht.contacts import contact_at, pack_address
from dht.core.outcomes import GetOutcome, Step, StepResult, Trace
from dht.core.via import Flood, Index, Structured, Via, Walk
from dht.errors import NoPeers
from dht.keyspace import plain_key
from dht.records import Kind, Record
from tests.cli.conftest import Run

CONTACTS = [contact_at(bytes([n]) * 32, pack_address("127.0.0.1", 4000 + n)) for n in range(12)]
#: The first so many hold everything.
OWNERS = 8
STORED = {"a": b"1", "b": b"2"}


def trace(key: str, asked: Sequence[int], *, hops: int = 0, messages: int = 0) -> Trace:
    return Trace(
        target=plain_key(key),
        hops=hops,
        messages=messages,
        nodes=0,
        duplicates=0,
        elapsed=0.1,
        steps=tuple(
            Step(
                contact=CONTACTS[number],
                told_by=None,
                depth=0,
                asked_at=0.0,
                rtt=0.1,
                result=StepResult.ANSWERED,
            )
            for number in asked
        ),
        stopped="",
    )


@attrs.define(eq=False)
class FakeNode:
    """Asks two index nodes and a holder, sends a search on to three, or asks one owner. Everybody
    else has passed it on four times when it comes back."""

    number: int
    others: "list[FakeNode]"
    values: Mapping[str, bytes]
    passed_on: int = 0
    seen_again: int = 0
    asked_for: list[tuple[str, Via]] = attrs.field(factory=list)

    @property
    def id(self) -> int:
        return CONTACTS[self.number].id

    def stats(self) -> Any:
        return SimpleNamespace(
            searches_passed_on=self.passed_on,
            hits_passed_back=0,
            ends_passed_back=0,
            checks_sent=0,
            searches_seen_again=self.seen_again,
        )

    async def fetch(self, name: str, *, via: Via | None = None) -> GetOutcome:
        if via is not None:
            self.asked_for.append((name, via))
        asked: list[int] = [1]
        if isinstance(via, Index):
            asked = [1, 2, 3]
        elif isinstance(via, Flood | Walk):
            asked = [1, 2, 3]
            self.passed_on += 3
            for other in self.others:
                other.passed_on += 4 * (other is not self)
                other.seen_again += other is not self
        record = Record(
            kind=Kind.PLAIN,
            key=plain_key(name),
            version=1,
            written_at_ms=1,
            ttl_ms=1,
            value=self.values[name],
        )
        return GetOutcome(
            key=plain_key(name),
            record=record,
            agreed=(CONTACTS[self.number if self.number < OWNERS else 0],),
            stale=(),
            empty=(),
            # A search says what it knows of, which is not all.
            trace=trace(name, asked, hops=0 if isinstance(via, Structured) else 2, messages=1),
        )


def crowd_of(count: int, values: Mapping[str, bytes] = STORED) -> tuple[list[FakeNode], Crowd]:
    nodes: list[FakeNode] = []
    nodes.extend(FakeNode(number, nodes, values) for number in range(count))
    members = [SimpleNamespace(node=node) for node in nodes]
    return nodes, cast("Crowd", SimpleNamespace(members=members))


def compared(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> dict[str, Way]:
    monkeypatch.setattr(ways_module, "SETTLE_S", 0)
    ways = trio.run(compare, crowd, Random(1), STORED, lambda: None)
    assert [way.name for way in ways] == list(WAYS)
    return {way.name: way for way in ways}


def test_requests_of_all_nodes_are_counted_and_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _, crowd = crowd_of(12)
    ways = compared(crowd, monkeypatch)
    assert ways["lookup"].messages == 1
    assert ways["flood"].messages == ways["16 walkers"].messages == 3 + 11 * 4
    assert ways["index"].messages == 3
    assert ways["flood"].duplicates == 11
    assert ways["index"].duplicates == ways["lookup"].duplicates == 0


def test_whom_the_reader_knows_is_one_hop_away_in_every_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, crowd = crowd_of(12)
    ways = compared(crowd, monkeypatch)
    assert ways["lookup"].hops == 1
    assert ways["flood"].hops == ways["index"].hops == 2


def test_readers_are_the_same_in_every_way_and_hold_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes, crowd = crowd_of(12)
    compared(crowd, monkeypatch)
    assert not [node for node in nodes[:OWNERS] if node.asked_for]
    asked = [(name, node.number) for node in nodes for name, _ in node.asked_for]
    assert len(asked) == len(WAYS) * len(STORED)
    assert len(set(asked)) == len(STORED)


def test_where_everybody_holds_everything_somebody_reads_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes, crowd = crowd_of(5)
    compared(crowd, monkeypatch)
    assert sum(len(node.asked_for) for node in nodes) == len(WAYS) * len(STORED)


def test_a_value_that_is_not_what_was_stored_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    _, crowd = crowd_of(12, {"a": b"forged", "b": b"2"})
    ways = compared(crowd, monkeypatch)
    assert [way.wrong for way in ways.values()] == [1] * len(WAYS)
    assert [each["wrong"] for each in shape_of_ways(list(ways.values()))] == [1] * len(WAYS)


def test_who_finds_nobody_to_ask_has_not_found_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fetch(self: FakeNode, name: str, **_: Any) -> GetOutcome:
        raise NoPeers(name)

    monkeypatch.setattr(FakeNode, "fetch", fetch)
    _, crowd = crowd_of(12)
    for way in compared(crowd, monkeypatch).values():
        assert (way.records, way.found, way.wrong, way.messages) == (2, 0, 0, 0)


def test_real_nodes_find_every_record_in_every_way() -> None:
    async def main() -> list[Way]:
        random = Random(1)
        async with trio.open_nursery() as nursery:
            crowd = Crowd(nursery, random)
            await crowd.grow(12)
            for name, value in STORED.items():
                await random.choice(crowd.members).node.put(name, value)
            with trio.fail_after(20):
                found = False
                while not found:  # neighbours take a moment
                    ways = await compare(crowd, random, STORED, lambda: None)
                    found = all(way.found == len(STORED) for way in ways)
            nursery.cancel_scope.cancel()
        return ways

    lookup, flood, *others = trio.run(main)
    assert not [way for way in (lookup, flood, *others) if way.wrong]
    assert lookup.hops == 1
    assert all(way.hops >= 1 for way in (flood, *others))
    assert lookup.messages >= 1
    assert flood.messages >= 1


def test_a_wrong_value_in_any_way_is_status_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = compare

    async def forged(*arguments: Any) -> list[Way]:
        first, *others = await honest(*arguments)
        return [first, *others[:-1], attrs.evolve(others[-1], wrong=1)]

    monkeypatch.setattr(demo_module, "compare", forged)
    done = run("demo", "--nodes", "3", "--records", "3")
    assert done.status == 1
    assert "not as it should be" in done.out.decode()
    assert "Readers have the record already" in done.out.decode()


def test_the_verdict_counts_what_was_wrong_in_other_ways() -> None:
    seen = judge({}, [])
    assert (verdict(seen, seen), verdict(seen, seen, wrong=1)) == (0, 1)
    assert sentence(seen, seen) != sentence(seen, seen, wrong=1)
