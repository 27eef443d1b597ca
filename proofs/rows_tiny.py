"""The promise about very small networks: nothing is special about them."""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any, TypeVar

import attrs
import trio

import dht
from dht.core.engine import Engine
from dht.core.events import OperationId
from dht.core.operations import Shared
from dht.core.outcomes import GetOutcome, LookupOutcome, Outcome, PutOutcome
from dht.errors import VersionConflict
from dht.keyspace import Key, content_key, plain_key
from dht.records import Kind, value_hash
from dht.sim import SimNode, Simulator

from .machine import Figures, Reduced, Verdict, row

_T = TypeVar("_T", bound=Outcome)

TINY_SIZES = (1, 2, 3)
TINY_SEEDS = 50
LARGE = 100_000
#: A put returns when a majority has stored and the rest are late; by then they have, too.
FOLLOW_UP_S = 5.0


def judge_tiny(pieces: Sequence[Figures]) -> Verdict:
    """No check of any network may fail."""
    failures = [failure for piece in pieces for failure in piece["failures"]]
    checks = sum(piece["checks"] for piece in pieces)
    networks = sum(piece["networks"] for piece in pieces)
    return Verdict(
        {"networks": networks, "checks": checks, "failures": failures[:20]},
        not failures,
        f"{checks - len(failures)} of {checks} checks hold in {networks} networks of 1, 2 and 3 "
        "nodes, simulated and over loopback" + (f"; first: {failures[0]}" if failures else ""),
    )


@row(
    "tiny-networks",
    promise="in networks of 1, 2 and 3 nodes every operation works: put, get, fetch with quorum, "
    "delete, if_version both ways, put_content and get_content, 100 KB, lookup, a missing key, "
    "many at once",
    pieces=TINY_SEEDS,
    judge=judge_tiny,
    reduced=Reduced(pieces=2, scale=1.0),
)
def tiny_networks(seed: int, _scale: float) -> Figures:
    """Each size twice: in virtual time, asked through every node; and over real sockets."""
    checks = _Checks()
    for size in TINY_SIZES:
        _check_simulated(checks, Simulator(seed, local=bool(seed % 2)), size)
        trio.run(_check_loopback, checks, size)
    return {
        "networks": 2 * len(TINY_SIZES),
        "checks": checks.done,
        "failures": checks.failures,
    }


@attrs.define(eq=False)
class _Checks:
    """Counts, so that a broken promise is told and not raised."""

    done: int = 0
    failures: list[str] = attrs.field(factory=list)

    def equal(self, what: str, found: object, wanted: object) -> None:
        """One thing that has to be so."""
        self.done += 1
        if found != wanted:
            self.failures.append(f"{what}: {str(found)[:100]} instead of {str(wanted)[:100]}")


def _check_simulated(checks: _Checks, simulator: Simulator, size: int) -> None:
    nodes = simulator.grow(size)
    simulator.run_for(1)
    for writer in nodes:
        for reader in nodes:
            pair = _Pair(checks, simulator, writer, reader)
            pair.check_versions()
            pair.check_large_values()
            pair.check_content()
            pair.check_lookup()
            pair.check_many()


@attrs.define(eq=False)
class _Pair:
    """One node that writes and one, perhaps the same, that reads. An error is its type's name."""

    checks: _Checks
    simulator: Simulator
    writer: SimNode
    reader: SimNode

    @property
    def size(self) -> int:
        return len(self.simulator.nodes)

    @property
    def name(self) -> str:
        return f"{self.simulator.seed}: {self.size} nodes, {self.writer.index} {self.reader.index}"

    def equal(self, what: str, found: object, wanted: object) -> None:
        self.checks.equal(f"{self.name}: {what}", found, wanted)

    def run(
        self, kind: type[_T], node: SimNode, start: Callable[[Engine, float], OperationId]
    ) -> _T | str:
        finished = self.simulator.run_operation(node, start)
        outcome = finished.outcome
        return outcome if isinstance(outcome, kind) else type(finished.error).__name__

    def put(self, key: Key, value: bytes, *, kind: Kind = Kind.PLAIN, **options: Any) -> int | str:
        """How many stored it, or will have when the late ones have."""
        outcome = self.run(
            PutOutcome,
            self.writer,
            lambda engine, now: engine.start_put(now, kind, key, value, **options),
        )
        self.simulator.run_for(FOLLOW_UP_S)
        return outcome if isinstance(outcome, str) else len(outcome.stored) + len(outcome.pending)

    def get(self, key: Key, *, kind: Kind = Kind.PLAIN, quorum: int = 1) -> bytes | str | None:
        outcome = self.run(
            GetOutcome,
            self.reader,
            lambda engine, now: engine.start_get(now, kind, key, quorum=quorum),
        )
        return outcome if isinstance(outcome, str) else outcome.value

    def check_versions(self) -> None:
        key, size, conflict = plain_key(self.name), self.size, VersionConflict.__name__
        self.equal("a missing key", self.get(key), None)
        self.equal("put", self.put(key, b"1"), size)
        self.equal("get", self.get(key), b"1")
        self.equal("fetch with all owners as quorum", self.get(key, quorum=size), b"1")
        held = self.simulator.get(self.reader, key).record
        version = 0 if held is None else held.version
        self.equal("if_version that is held", self.put(key, b"2", if_version=version), size)
        self.equal("if_version of before", self.put(key, b"3", if_version=version), conflict)
        self.equal("if_version 0 over a value", self.put(key, b"4", if_version=0), conflict)
        self.equal("get after the conflicts", self.get(key), b"2")
        self.equal("delete", self.put(key, b"", tombstone=True), size)
        self.equal("get of what was deleted", self.get(key), None)
        fresh = plain_key(f"{self.name} fresh")
        self.equal("if_version 0 where nothing is", self.put(fresh, b"5", if_version=0), size)

    def check_large_values(self) -> None:
        key, value = plain_key(f"{self.name} large"), Random(self.name).randbytes(LARGE)
        self.equal("put of 100 KB", self.put(key, value), self.size)
        self.equal("get of 100 KB", self.get(key), value)
        holders = [record.value for _, record in self.simulator.holders(Kind.PLAIN, key)]
        self.equal("holders of 100 KB", holders, [value] * self.size)

    def check_content(self) -> None:
        value = self.name.encode()
        key = content_key(value_hash(value))
        self.equal("put_content", self.put(key, value, kind=Kind.CONTENT), self.size)
        self.equal("get_content", self.get(key, kind=Kind.CONTENT), value)

    def check_lookup(self) -> None:
        target = plain_key(self.name)
        outcome = self.run(
            LookupOutcome, self.reader, lambda engine, now: engine.start_lookup(now, target)
        )
        nodes = sorted(self.simulator.nodes, key=lambda node: node.contact.id ^ target)
        self.equal(
            "lookup",
            outcome if isinstance(outcome, str) else outcome.closest,
            tuple(node.contact for node in nodes),
        )

    def check_many(self) -> None:
        shared, keys = Shared(), [plain_key(f"{self.name} {number}") for number in range(5)]

        def put(engine: Engine, now: float, *, key: Key) -> OperationId:
            return engine.start_put(now, Kind.PLAIN, key, b"many", shared=shared)

        def get(engine: Engine, now: float, *, key: Key) -> OperationId:
            return engine.start_get(now, Kind.PLAIN, key, shared=shared)

        self.simulator.run_operations((self.writer, partial(put, key=key)) for key in keys)
        finished = self.simulator.run_operations(
            (self.reader, partial(get, key=key)) for key in keys
        )
        outcomes = [event.outcome for event in finished]
        values = [each.value for each in outcomes if isinstance(each, GetOutcome)]
        self.equal("many at once", values, [b"many"] * len(keys))


async def _check_loopback(checks: _Checks, size: int) -> None:
    """The public face, over real sockets."""
    local = "127.0.0.1:0"
    async with dht.open_node(local) as first:
        if size == 1:
            await _check_nodes(checks, [first])
            return
        async with dht.open_node(local, bootstrap=[first.uri]) as second:
            if size == 2:
                await _check_nodes(checks, [first, second])
                return
            async with dht.open_node(local, bootstrap=[second.uri]) as third:
                await _check_nodes(checks, [first, second, third])


async def _check_nodes(checks: _Checks, nodes: list[dht.Node]) -> None:
    size, writer, reader = len(nodes), nodes[0], nodes[-1]
    where = f"{size} over loopback"
    large = bytes(LARGE)
    checks.equal(f"{where}: a missing key", await reader.get("key", default=b"none"), b"none")
    put = await writer.put("key", b"value")
    checks.equal(f"{where}: put", len(put.stored) + len(put.pending), size)
    checks.equal(f"{where}: get", await reader.get("key"), b"value")
    fetched = await reader.fetch("key", quorum=size // 2 + 1)
    checks.equal(f"{where}: fetch with a majority as quorum", fetched.value, b"value")
    await writer.put("key", b"newer", if_version=put.version)
    try:
        await writer.put("key", b"lost", if_version=put.version)
        conflict = None
    except dht.VersionConflict as error:
        conflict = error.newest and error.newest.value
    checks.equal(f"{where}: if_version of before", conflict, b"newer")
    await writer.delete("key")
    # A majority has the tombstone; the reader itself may not have it yet.
    gone = await reader.get("key", quorum=size // 2 + 1)
    checks.equal(f"{where}: get of what was deleted", gone, None)
    content = await writer.put_content(large)
    checks.equal(f"{where}: get_content", await reader.get_content(content.key), large)
    await writer.put("large", large)
    checks.equal(f"{where}: 100 KB", await reader.get("large"), large)
    found = await reader.lookup("key")
    checks.equal(f"{where}: lookup", len(found.closest), size)
    items = {f"key {number}": str(number).encode() for number in range(20)}
    await writer.put_many(items)
    checks.equal(f"{where}: get_many", await reader.get_many(items), items)
