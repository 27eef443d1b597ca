"""Three ways to search a graph that stands still, counted by the message: flood, expanding ring
and random walkers (Lv, Cao, Cohen, Li & Shenker 2002).

Nothing here knows of nodes or time: a graph is a list of neighbours each, a step is a hop. The
same searches as a protocol, over real nodes, are in dht/core/unstructured.
"""

from collections.abc import Collection, Sequence
from random import Random
from typing import Any, final

import attrs
import numpy as np
import numpy.typing as npt

from .graphs import Graph


@final
@attrs.frozen(kw_only=True)
class Flooded:
    """A flood without an end, from which one with any TTL is read off: whatever happens up to hop
    T is the same in a flood that stops there."""

    #: Messages that arrive at hop 1, 2, ...
    sent: Sequence[int]
    #: Nodes that are reached for the first time at hop 1, 2, ...
    new: Sequence[int]
    #: The hop at which the first holder is reached; 0 for the searcher itself, None for nowhere.
    first_hit: int | None

    def messages(self, ttl: int) -> int:
        """All that were sent with that TTL, the useless ones with them: a hit stops no flood."""
        return sum(self.sent[:ttl])

    def reached(self, ttl: int) -> int:
        """How many nodes it reached, its own not counted."""
        return sum(self.new[:ttl])


@final
@attrs.frozen(eq=False)
class Links:
    """A graph as two arrays: the neighbours of node n are others[begins[n]:begins[n + 1]]."""

    begins: npt.NDArray[np.intp]
    others: npt.NDArray[np.intp]

    @classmethod
    def of(cls, graph: Graph) -> "Links":
        """The same graph."""
        begins = np.cumsum([0, *map(len, graph)], dtype=np.intp)
        return cls(begins, np.array([other for view in graph for other in view], dtype=np.intp))

    def from_all(self, nodes: npt.NDArray[np.intp]) -> tuple[Any, Any]:
        """Every link that leaves one of the nodes: where from, where to."""
        degrees = self.begins[nodes + 1] - self.begins[nodes]
        sources = np.repeat(nodes, degrees)
        # Counts up within each node's run: a count through all, less where the run began.
        within = np.arange(len(sources)) - np.repeat(np.cumsum(degrees) - degrees, degrees)
        return sources, self.others[self.begins[sources] + within]


def flood(links: Links, start: int, holders: Sequence[int] = ()) -> Flooded:
    """Everybody passes it on once, to all neighbours but the one he has it from."""
    came_from = np.full(len(links.begins) - 1, -1, dtype=np.intp)
    hop_of = came_from.copy()
    came_from[start], hop_of[start] = start, 0
    front = np.array([start], dtype=np.intp)
    sent, new = [], []
    while len(front):
        senders, receivers = links.from_all(front)
        forward = receivers != came_from[senders]
        senders, receivers = senders[forward], receivers[forward]
        fresh = came_from[receivers] < 0
        # Of several that arrive at once one counts as the first: the last written here.
        came_from[receivers[fresh]] = senders[fresh]
        front = np.unique(receivers[fresh])
        sent.append(len(receivers))
        new.append(len(front))
        hop_of[front] = len(sent)
    met = [int(hop_of[holder]) for holder in holders if hop_of[holder] >= 0]
    return Flooded(sent=sent, new=new, first_hit=min(met, default=None))


def flood_identity(graph: Graph, far: Sequence[int], start: int, ttl: int) -> int:
    """The messages of a flood by arithmetic: the searcher sends to all its neighbours, everybody
    nearer than the TTL to all but one. ``far`` is how far each is from the start, -1 for never."""
    return len(graph[start]) * (ttl > 0) + sum(
        len(graph[node]) - 1 for node, hops in enumerate(far) if 0 < hops < ttl
    )


@final
@attrs.frozen(kw_only=True)
class Searched:
    """What one search cost. ``hops`` is how many steps went by until the first holder was met."""

    hops: int | None
    messages: int
    #: How often a walker asked the searcher whether to go on; not among the messages.
    checks: int = 0
    #: Different nodes that had it.
    nodes: int = 0


def expanding_ring(flooded: Flooded, *, first: int = 1, step: int = 2) -> Searched:
    """Floods with a growing TTL until one finds it; each begins anew and is paid in full."""
    if flooded.first_hit is None:
        return Searched(hops=None, messages=0)
    ttl, hops, messages = first, 0, 0
    while flooded.first_hit > ttl:
        hops += ttl
        messages += flooded.messages(ttl)
        ttl += step
    messages += flooded.messages(ttl)
    return Searched(
        hops=hops + flooded.first_hit, messages=messages, nodes=flooded.reached(ttl) + 1
    )


def walk(
    graph: Graph,
    start: int,
    holders: Collection[int],
    random: Random,
    *,
    walkers: int,
    check_every: int = 4,
    state: bool = False,
    steps_max: int = 10_000,
) -> Searched:
    """Walkers that all make a step at a time, to a random neighbour, and stop when they meet a
    holder; the others learn of it at their next check. With ``state`` a node sends the same search
    to each of its neighbours once, before it sends it to one again.
    """
    if start in holders:
        return Searched(hops=0, messages=0, nodes=1)
    places = [start] * walkers
    sent: dict[int, set[int]] = {}
    seen = {start}
    hit, messages, checks = None, 0, 0
    for step in range(1, steps_max + 1):
        standing = []
        for place in places:
            other = _choose(graph, place, sent, random) if state else random.choice(graph[place])
            messages += 1
            seen.add(other)
            if other in holders:
                hit = hit or step
            else:
                standing.append(other)
        places = standing
        if step % check_every == 0:
            checks += len(places)
            if hit is not None:
                break
        if not places:
            break
    return Searched(hops=hit, messages=messages, checks=checks, nodes=len(seen))


def _choose(graph: Graph, place: int, sent: dict[int, set[int]], random: Random) -> int:
    """A neighbour to whom it was not sent yet, by drawing until there is one; any, if all were."""
    neighbours = graph[place]
    used = sent.setdefault(place, set())
    other = random.choice(neighbours)
    while other in used and len(used) < len(neighbours):
        other = random.choice(neighbours)
    used.add(other)
    return other
