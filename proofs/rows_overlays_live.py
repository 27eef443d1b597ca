"""The promise about both overlays at once, and about the unstructured one alone, over real
sockets."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from random import Random

import trio

from dht.cli.crowd import Crowd, in_parallel
from dht.config import Config
from dht.core.outcomes import GetOutcome
from dht.errors import DHTError
from dht.shell.node import Node, open_node

from .machine import Figures, Reduced, Verdict, row

NODES = 64
NODES_UNSTRUCTURED = 32
RECORDS = 40
WAYS = ("structured", "flood", "index", "walk")
WAYS_WITHOUT_OWNERS = WAYS[1:]
#: Of walks one after the other in the small network: what a neighbour grants one peer is charged
#: with all that a walker may still cost, and some walkers end after ten steps.
WALKS_ALONE_MIN = 0.95
_WALKS_ALONE = ("unstructured", "walk")
#: Seconds after the last node has joined by which everything must be found.
FOUND_AFTER_S = 3.0
#: Before the walks, which come last: a second flood of everybody within seconds takes nearly all
#: that a neighbour grants for what one peer sends it, and walkers would end after a few steps. It
#: is there again in as long as this.
REST_S = Config().search_burst / Config().search_allowance_s


def judge_live(pieces: Sequence[Figures]) -> Verdict:
    """Every record by every way, in every network."""
    records = sum(piece["records"] for piece in pieces)
    networks = {
        overlay: {way: sum(piece[overlay][way] for piece in pieces) for way in ways}
        for overlay, ways in (("both", WAYS), ("unstructured", WAYS_WITHOUT_OWNERS))
    }
    wrong = sum(piece["wrong"] for piece in pieces)
    told = "; ".join(
        f"in {'both overlays' if overlay == 'both' else 'the unstructured one alone'} "
        + ", ".join(f"{way} {count}" for way, count in found.items())
        for overlay, found in networks.items()
    )
    return Verdict(
        {"records": records, "found": networks, "wrong": wrong, "networks": list(pieces)},
        not wrong
        and all(
            count >= (records * WALKS_ALONE_MIN if (overlay, way) == _WALKS_ALONE else records)
            for overlay, found in networks.items()
            for way, count in found.items()
        ),
        f"of {records} records in networks of {pieces[0]['nodes']} nodes on loopback, and of "
        f"{pieces[0]['nodes_unstructured']} that live in the unstructured overlay alone, are "
        f"found {FOUND_AFTER_S:g} s after the last has joined: {told}; {wrong} wrong values",
    )


@row(
    "overlays-live",
    promise="64 real nodes on loopback live in both overlays, and 3 s after the last has joined "
    "every record is found by lookup, flood and index, and by walking; so it is by flood and index "
    "among 32 that live in the unstructured overlay alone and joined one after another through "
    "the same node, where walks, which end early when so few pass on all of them, find 95 %",
    pieces=3,
    judge=judge_live,
    reduced=Reduced(pieces=1, scale=0.25),
    parallel=False,
)
def overlays_live(seed: int, scale: float) -> Figures:
    """The records are stored before the last quarter of the nodes joins, with their owners where
    there are any, else with copies at random nodes; then each is looked for from a random node, in
    one way after the other."""
    records = max(8, int(RECORDS * scale))
    nodes = max(12, int(NODES * scale))
    alone = max(12, int(NODES_UNSTRUCTURED * scale))
    rest_s = REST_S if scale == 1 else 0.0
    both, wrong = trio.run(_live, seed, nodes, records, rest_s)
    unstructured, wrong_too = trio.run(_live_unstructured, seed, alone, records, rest_s)
    return {
        "nodes": nodes,
        "nodes_unstructured": alone,
        "records": records,
        "both": both,
        "unstructured": unstructured,
        "wrong": wrong + wrong_too,
    }


#: How often each way has found a record, and how often it was wrong.
_Found = tuple[dict[str, int], int]


async def _live(seed: int, nodes: int, records: int, rest_s: float) -> _Found:
    random, values = Random(seed), _values(records)
    async with trio.open_nursery() as nursery:
        crowd = Crowd(nursery, random)
        await crowd.grow(nodes - nodes // 4)
        await _put_all([member.node for member in crowd.members], random, values)
        await crowd.grow(nodes // 4)
        await trio.sleep(FOUND_AFTER_S)
        found = await _look_for_all(
            [member.node for member in crowd.members], random, values, WAYS, rest_s=rest_s
        )
        nursery.cancel_scope.cancel()
    return found


async def _live_unstructured(seed: int, nodes: int, records: int, rest_s: float) -> _Found:
    random, values = Random(seed), _values(records)
    opened: list[Node] = []
    async with AsyncExitStack() as stack:

        async def join(count: int) -> None:
            for _ in range(count):
                block = open_node(
                    "127.0.0.1:0",
                    overlay="unstructured",
                    bootstrap=[node.uri for node in opened[:1]],
                )
                opened.append(await stack.enter_async_context(block))

        await join(nodes - nodes // 4)
        await _put_all(opened, random, values)
        await join(nodes // 4)
        await trio.sleep(FOUND_AFTER_S)
        return await _look_for_all(opened, random, values, WAYS_WITHOUT_OWNERS, rest_s=rest_s)


def _values(records: int) -> dict[str, bytes]:
    return {f"record {number}": b"%d" % number for number in range(records)}


async def _put_all(nodes: Sequence[Node], random: Random, values: Mapping[str, bytes]) -> None:
    await in_parallel(
        (partial(_put, random.choice(nodes), name, value) for name, value in values.items()),
        limit=8,
    )


async def _look_for_all(
    nodes: Sequence[Node],
    random: Random,
    values: Mapping[str, bytes],
    ways: Sequence[str],
    *,
    rest_s: float,
) -> _Found:
    found, wrong = dict.fromkeys(ways, 0), 0
    for way in ways:
        if way == "walk":
            await trio.sleep(rest_s)
        for name, value in values.items():
            outcome = await _look(random.choice(nodes), name, way)
            if outcome is not None and outcome.value is not None:
                found[way] += 1
                wrong += outcome.value != value
    return found, wrong


async def _put(node: Node, name: str, value: bytes) -> None:
    await node.put(name, value)


async def _look(node: Node, name: str, way: str) -> GetOutcome | None:
    try:
        return await node.fetch(name, via=way)
    except DHTError:
        return None
