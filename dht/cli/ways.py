"""The end of ``dht demo``: the same records looked for in each of the ways that there are."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import ceil
from random import Random
from statistics import mean
from time import perf_counter
from typing import Any, final

import attrs
import trio
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..core.via import Flood, Structured, Via, Walk, search_via
from ..errors import DHTError
from ..shell.node import Node
from .crowd import Crowd

#: Records that are looked for, each in every way: a flood of 64 nodes is a thousand messages.
RECORDS = 16
#: Seconds until what a search has set going has come to its end.
SETTLE_S = 0.5

#: By name, what is asked of a node.
WAYS: Mapping[str, Via] = {
    "lookup": Structured(),
    "flood": Flood(),
    "expanding ring": Flood(ring=True),
    "16 walkers": Walk(),
    "index": search_via("index"),
}


@final
@attrs.frozen(kw_only=True)
class Way:
    """What one way came to.

    ``hops``: from the reader to whoever had the record; one that it knows itself is 1 away.
    ``messages``: the requests of all nodes for one record on average, answers left out, to the very
    end of each search; ``duplicates``: those of them that came to somebody who had had the search.
    """

    name: str
    records: int
    found: int
    wrong: int
    hops: float
    messages: float
    duplicates: float
    latency_p50_s: float
    latency_p99_s: float


async def compare(
    crowd: Crowd,
    random: Random,
    stored: Mapping[str, bytes],
    step: Callable[[], None],
) -> list[Way]:
    """Looks for the same records from the same nodes in every way, one after the other."""
    names = random.sample(sorted(stored), min(RECORDS, len(stored)))
    nodes = [member.node for member in crowd.members]
    asked = [(name, await _reader(nodes, random, name)) for name in names]
    return [await _look(way, asked, nodes, stored, step) for way in WAYS]


async def _reader(nodes: Sequence[Node], random: Random, name: str) -> Node:
    """Somebody who does not hold the record, unless everybody does, as in a network of eight."""
    for node in random.sample(nodes, len(nodes)):
        with suppress(DHTError):
            outcome = await node.fetch(name)
            if node.id not in {contact.id for contact in outcome.agreed}:
                return node
    return random.choice(nodes)


async def _look(
    way: str,
    asked: Sequence[tuple[str, Node]],
    nodes: Sequence[Node],
    stored: Mapping[str, bytes],
    step: Callable[[], None],
) -> Way:
    via, before = WAYS[way], _counted(nodes)
    found, wrong, hops, messages, latencies = 0, 0, [0], 0, []
    for name, reader in asked:
        begun, sent_before = perf_counter(), reader.stats().searches_passed_on
        try:
            outcome = await reader.fetch(name, via=via)
        except DHTError:
            continue
        finally:
            step()
        latencies.append(perf_counter() - begun)
        trace = outcome.trace
        if outcome.value is not None:
            found += 1
            wrong += outcome.value != stored[name]
            # A lookup counts from who is in the table, the others from the reader itself.
            hops.append(trace.hops + isinstance(via, Structured))
        if isinstance(via, Structured):
            messages += trace.messages
        else:
            # Whom the reader asked otherwise than by sending the search on, which all count below:
            # index nodes, and holders that were named.
            messages += len(trace.steps) - (reader.stats().searches_passed_on - sent_before)
    await trio.sleep(SETTLE_S)
    passed_on, seen_again = (now - then for now, then in zip(_counted(nodes), before, strict=True))
    latencies = sorted(latencies) or [0.0]
    return Way(
        name=way,
        records=len(asked),
        found=found,
        wrong=wrong,
        hops=mean(hops[1:] or hops),
        messages=(messages + passed_on) / len(asked),
        duplicates=seen_again / len(asked),
        latency_p50_s=latencies[(len(latencies) - 1) // 2],
        latency_p99_s=latencies[ceil(0.99 * len(latencies)) - 1],
    )


def _counted(nodes: Sequence[Node]) -> tuple[int, int]:
    """What all nodes have sent for searches that are passed on, and how much of it in vain: only
    those who pass a search on know what it costs."""
    stats = [node.stats() for node in nodes]
    sent = sum(
        each.searches_passed_on + each.hits_passed_back + each.ends_passed_back + each.checks_sent
        for each in stats
    )
    return sent, sum(each.searches_seen_again for each in stats)


def table_of_ways(ways: Sequence[Way]) -> Table:
    """One row a way."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("looked for by", no_wrap=True)
    for name in ("found", "wrong", "hops", "messages", "duplicates", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for way in ways:
        table.add_row(
            way.name,
            f"{way.found} of {way.records}",
            str(way.wrong),
            f"{way.hops:.2f}",
            f"{way.messages:.1f}",
            f"{way.duplicates:.1f}",
            f"{way.latency_p50_s * 1000:.1f}",
            f"{way.latency_p99_s * 1000:.1f}",
        )
    return table


def shape_of_ways(ways: Sequence[Way]) -> list[dict[str, Any]]:
    """The same for ``--json``."""
    return [attrs.asdict(way) for way in ways]
