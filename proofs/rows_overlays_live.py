"""The promise about both overlays at once, over real sockets."""

from collections.abc import Sequence
from functools import partial
from random import Random

import trio

from dht.cli.crowd import Crowd, in_parallel
from dht.core.outcomes import GetOutcome
from dht.errors import DHTError
from dht.shell.node import Node

from .machine import Figures, Reduced, Verdict, row

NODES = 64
RECORDS = 40
WAYS = ("structured", "flood", "walk", "index")
#: Seconds after the last node has joined by which everything must be found.
FOUND_AFTER_S = 3.0


def judge_live(pieces: Sequence[Figures]) -> Verdict:
    """Every record by every way, in every network."""
    records = sum(piece["records"] for piece in pieces)
    found = {way: sum(piece["found"][way] for piece in pieces) for way in WAYS}
    wrong = sum(piece["wrong"] for piece in pieces)
    told = ", ".join(f"{way} {count}" for way, count in found.items())
    return Verdict(
        {"records": records, "found": found, "wrong": wrong, "networks": list(pieces)},
        all(count == records for count in found.values()) and not wrong,
        f"of {records} records in networks of {pieces[0]['nodes']} nodes on loopback are found, "
        f"{FOUND_AFTER_S:g} s after the last has joined: {told}; {wrong} wrong values",
    )


@row(
    "overlays-live",
    promise="64 real nodes on loopback live in both overlays, and 3 s after the last has joined "
    "every record is found by lookup, flood, walk and index",
    pieces=3,
    judge=judge_live,
    reduced=Reduced(pieces=1, scale=0.25),
    parallel=False,
)
def overlays_live(seed: int, scale: float) -> Figures:
    """The records are stored by lookup while the last nodes join; then each is looked for from a
    random node, in one way after the other."""
    return trio.run(_live, seed, max(12, int(NODES * scale)), max(8, int(RECORDS * scale)))


async def _live(seed: int, nodes: int, records: int) -> Figures:
    random = Random(seed)
    values = {f"record {number}": b"%d" % number for number in range(records)}
    found = dict.fromkeys(WAYS, 0)
    wrong = 0
    async with trio.open_nursery() as nursery:
        crowd = Crowd(nursery, random)
        await crowd.grow(nodes - nodes // 4)
        await in_parallel(
            (
                partial(_put, random.choice(crowd.members).node, name, value)
                for name, value in values.items()
            ),
            limit=8,
        )
        await crowd.grow(nodes // 4)
        await trio.sleep(FOUND_AFTER_S)
        for way in WAYS:
            for name, value in values.items():
                outcome = await _look(random.choice(crowd.members).node, name, way)
                if outcome is not None and outcome.value is not None:
                    found[way] += 1
                    wrong += outcome.value != value
        nursery.cancel_scope.cancel()
    return {"nodes": nodes, "records": records, "found": found, "wrong": wrong}


async def _put(node: Node, name: str, value: bytes) -> None:
    await node.put(name, value)


async def _look(node: Node, name: str, way: str) -> GetOutcome | None:
    try:
        return await node.fetch(name, via=way)
    except DHTError:
        return None
