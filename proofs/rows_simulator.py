"""Promises about the simulator: how many messages a second it handles, and how large a network.

Processor time counts, not the clock on the wall: one process, one core, and whoever else is busy on
the machine only makes it slower.
"""

import resource
from collections.abc import Sequence
from functools import partial
from random import Random
from statistics import median
from time import process_time
from typing import Any

from dht.core.engine import Engine
from dht.core.events import OperationFinished, OperationId
from dht.core.outcomes import GetOutcome
from dht.keyspace import Key, plain_key
from dht.records import Kind
from dht.sim import SimNode, Simulator

from .machine import Figures, Reduced, Verdict, row

RECORDS = 1000
#: Operations that begin at the same instant.
AT_ONCE = 100


class _Bench:
    """A network with records in it, and what getting them costs."""

    def __init__(self, seed: int, nodes: int, records: int) -> None:
        self.random = Random(f"{seed} work")
        self.simulator = Simulator(seed)
        self.nodes = self.simulator.grow(nodes)
        self.keys = [plain_key(f"record {number}") for number in range(records)]
        self._in_batches([(self._anybody(), partial(_put, key)) for key in self.keys])

    def _anybody(self) -> SimNode:
        return self.random.choice(self.nodes)

    def _in_batches(self, operations: Sequence[tuple[SimNode, Any]]) -> list[OperationFinished]:
        ended: list[OperationFinished] = []
        for first in range(0, len(operations), AT_ONCE):
            ended += self.simulator.run_operations(operations[first : first + AT_ONCE])
        return ended

    def gets(self, count: int) -> Figures:
        """So many gets from anywhere: messages, seconds of processor time, and who found it."""
        work = [
            (self._anybody(), partial(_get, self.random.choice(self.keys))) for _ in range(count)
        ]
        before, begun = self.simulator.traffic().delivered, process_time()
        ended = self._in_batches(work)
        return {
            "gets": count,
            "seconds": process_time() - begun,
            "messages": self.simulator.traffic().delivered - before,
            "found": sum(_found(each) for each in ended),
        }


def _put(key: Key, engine: Engine, now: float) -> OperationId:
    return engine.start_put(now, Kind.PLAIN, key, b"v" * 32)


def _get(key: Key, engine: Engine, now: float) -> OperationId:
    return engine.start_get(now, Kind.PLAIN, key)


def _found(ended: OperationFinished) -> bool:
    return isinstance(ended.outcome, GetOutcome) and ended.outcome.record is not None


# ------------------------------------------------------------------------------ messages a second

NODES = 1000
GETS = 10_000
ROUNDS = 5
A_SECOND = 20_000


def judge_rate(pieces: Sequence[Figures]) -> Verdict:
    """The median of all rounds. In a small network only that everything is found."""
    rounds = [each for piece in pieces for each in piece["rounds"]]
    rates = [each["messages"] / each["seconds"] for each in rounds]
    missed = sum(each["gets"] - each["found"] for each in rounds)
    compared = all(piece["nodes"] == NODES for piece in pieces)
    a_get = sum(each["messages"] for each in rounds) / sum(each["gets"] for each in rounds)
    return Verdict(
        {
            "messages_a_second": round(median(rates)),
            "messages_a_get": round(a_get, 2),
            "missed": missed,
            "networks": list(pieces),
        },
        not missed and (median(rates) >= A_SECOND or not compared),
        f"{median(rates):,.0f} messages a second, {1e6 / median(rates):.0f} us of processor time "
        f"each, with all that belongs to a get, which takes {a_get:.1f} of them; {missed} of them "
        "found nothing",
    )


@row(
    "messages-a-second",
    promise=f"among {NODES:,} simulated nodes {A_SECOND:,} messages of structured gets are handled "
    "a second of processor time, end to end, every one of them encoded, summed and decoded",
    pieces=2,
    judge=judge_rate,
    # A clock in the test-suite would judge its neighbours: there, only that all of it works.
    reduced=Reduced(pieces=1, scale=0.04),
    parallel=False,
)
def messages_a_second(seed: int, scale: float) -> Figures:
    """One network, and the same number of gets a few times."""
    bench = _Bench(seed, round(NODES * scale), round(RECORDS * scale))
    bench.gets(round(GETS * scale / 10))  # everybody has spoken to somebody
    rounds = [bench.gets(round(GETS * scale)) for _ in range(ROUNDS)]
    return {"nodes": len(bench.nodes), "rounds": rounds}


# ------------------------------------------------------------------------------- ten thousand nodes

MANY = 10_000
MANY_S = 300.0
MANY_GIB = 2.0


def judge_many(pieces: Sequence[Figures]) -> Verdict:
    """Time, memory, and that everything is found."""
    worst = {key: max(piece[key] for piece in pieces) for key in ("seconds", "resident_gib")}
    missed = sum(piece["gets"]["gets"] - piece["gets"]["found"] for piece in pieces)
    first = pieces[0]
    return Verdict(
        {**worst, "missed": missed, "networks": list(pieces)},
        worst["seconds"] < MANY_S and worst["resident_gib"] < MANY_GIB and not missed,
        f"{first['nodes']:,} nodes joined, and the records were put, in {first['grown_s']:.0f} s; "
        f"{first['gets']['gets']:,} gets took {first['gets']['seconds']:.0f} s; "
        f"{worst['resident_gib']:.2f} GiB; {missed} gets found nothing",
    )


@row(
    "ten-thousand-nodes",
    promise=f"{MANY:,} simulated nodes join and {MANY:,} gets are done in under "
    f"{MANY_S / 60:g} minutes of one core and {MANY_GIB:g} GiB of resident memory",
    pieces=1,
    judge=judge_many,
    reduced=Reduced(pieces=1, scale=0.005),
    parallel=False,
)
def ten_thousand_nodes(seed: int, scale: float) -> Figures:
    """One network, grown from its first node, and as many gets as it has nodes."""
    begun = process_time()
    bench = _Bench(seed, round(MANY * scale), round(RECORDS * scale))
    grown_s = process_time() - begun
    gets = bench.gets(round(MANY * scale))
    return {
        "nodes": len(bench.nodes),
        "grown_s": round(grown_s, 1),
        "gets": gets,
        "seconds": round(process_time() - begun, 1),
        # In KiB on Linux; of the whole process, whatever ran in it before.
        "resident_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
