"""Graphs that a reader can draw, and searches that pass through them with nothing but the machines
of ``branches``: every node is a ``FloodBranch`` or a ``WalkBranch``, and a message is a line in a
heap."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count
from random import Random

import attrs
from hypothesis import strategies as st

from dht.config import BUDGET_MAX
from dht.contacts import Contact
from dht.core.machine import FINISHED, Ask
from dht.core.unstructured.branches import FloodBranch, WalkBranch, next_of_flood, next_of_walk
from dht.core.unstructured.view import Entry
from dht.keyspace import Key
from dht.records import Kind, Record
from dht.wire.codec import copy_of, decode_untrusted
from dht.wire.messages import (
    REQUEST_ID_SIZE,
    WANT_IPV4,
    Copy,
    Done,
    Found,
    Message,
    Search,
    Taken,
    Taking,
)
from tests.core.contacts_for_tests import contact
from tests.core.pair import EPOCH_S

#: Who knows whom, both ways.
Graph = Mapping[int, list[int]]

KEY = bytes([7] * 32)
ID = b"thesearc"
TAKEN, SEEN, BUSY = (Taken(0, status) for status in (Taking.TAKEN, Taking.SEEN, Taking.BUSY))


def graph_of(edges: Iterable[tuple[int, int]]) -> Graph:
    graph: dict[int, list[int]] = {}
    for one, other in edges:
        graph.setdefault(one, []).append(other)
        graph.setdefault(other, []).append(one)
    return graph


def ring_of(size: int) -> Graph:
    return graph_of((number, (number + 1) % size) for number in range(size))


@st.composite
def graphs(draw: st.DrawFn, *, size_max: int = 10) -> Graph:
    """Any graph without loops at one node; node 0 is in it."""
    size = draw(st.integers(2, size_max))
    pairs = [(one, other) for one in range(size) for other in range(one)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True))
    return {0: [], **graph_of(edges)}


def distances(graph: Graph, start: int) -> dict[int, int]:
    """The oracle: breadth first."""
    known, queue = {start: 0}, deque([start])
    while queue:
        node = queue.popleft()
        for other in graph[node]:
            if other not in known:
                known[other] = known[node] + 1
                queue.append(other)
    return known


def entries(node_ids: Iterable[int], *, degree: int = 0) -> list[Entry]:
    return [Entry(contact(node_id), degree=degree) for node_id in node_ids]


def search_of(
    *,
    style: int = 0,
    ttl: int = 5,
    hops: int = 0,
    budget: int = BUDGET_MAX,
    walker: int = 0,
    hits: int = 4,
    check_every: int = 0,
    issuer: bytes = b"",
    key: bytes = KEY,
    search_id: bytes = ID,
) -> Search:
    return Search(
        flags=WANT_IPV4,
        id=search_id,
        kind=1,
        key=key,
        style=style,
        walker=walker,
        ttl=ttl,
        hops=hops,
        budget=budget,
        hits=hits,
        check_every=check_every,
        issuer=issuer,
    )


def said_by(ask: object) -> Message:
    """What a machine wants to be sent."""
    assert isinstance(ask, Ask)
    return decode_untrusted(bytes(REQUEST_ID_SIZE) + ask.body)[1]


def search_in(ask: object) -> Search:
    message = said_by(ask)
    assert isinstance(message, Search)
    return message


def plain_record(
    value: bytes, *, key: bytes = KEY, version: int = 5, tombstone: bool = False
) -> Record:
    return Record(
        kind=Kind.PLAIN,
        key=Key(int.from_bytes(key)),
        version=version,
        written_at_ms=int(EPOCH_S * 1000),
        ttl_ms=3_600_000,
        tombstone=tombstone,
        value=value,
    )


def found(record: Record) -> Found:
    return Found(0, copy_of(record, record.ttl_ms), b"", b"")


@attrs.define(eq=False)
class FloodThrough:
    """One flood through a graph, every message taking as long as ``latency`` says."""

    graph: Graph
    start: int
    search: Search
    latency: Callable[[], float] = lambda: 0.01
    random: Random = attrs.field(factory=lambda: Random(1))
    #: Every search that was sent: from whom, to whom, and what.
    sent: list[tuple[int, int, Search]] = attrs.field(factory=list)
    branches: dict[int, FloodBranch] = attrs.field(factory=dict)
    #: Whether the one who issued it knows that all has ended, and when.
    ended_at: float | None = None
    _parents: dict[int, int | None] = attrs.field(factory=dict)
    _over: dict[int, bool] = attrs.field(factory=dict)
    _queue: list[tuple[float, int, Callable[[float], None]]] = attrs.field(factory=list)
    _tie: Callable[[], int] = attrs.field(factory=lambda: count().__next__)

    def run(self) -> "FloodThrough":
        self._begin(0.0, self.start, None, self.search)
        while self._queue:
            now, _, event = heappop(self._queue)
            event(now)
        return self

    def _begin(self, now: float, node: int, parent: int | None, search: Search) -> None:
        onward = next_of_flood(search, entries(self.graph[node]), parent, self.random)
        self._parents[node] = parent
        self.branches[node] = FloodBranch(onward=onward, ttl=search.ttl, on_hit=_nobody_holds_it)
        self._drive(now, node)

    def _drive(self, now: float, node: int) -> None:
        branch = self.branches[node]
        while isinstance(step := branch.next(now), Ask):
            other, search = int(step.contact.id), search_in(step)
            self.sent.append((node, other, search))
            self._later(now, partial(self._come, came_from=node, node=other, search=search))
        if step is FINISHED and node not in self._over:
            self._over[node] = True
            parent, costs = self._parents[node], branch.costs
            if parent is None:
                self.ended_at = now
                return
            done = Done(0, ID, 0, costs.messages, costs.duplicates, costs.nodes)
            self._later(now, lambda now: self._ends(now, parent, node, done))

    def _come(self, now: float, *, came_from: int, node: int, search: Search) -> None:
        answer = SEEN if node in self.branches else TAKEN
        if answer is TAKEN:
            self._begin(now, node, came_from, search)
        self._later(now, lambda now: self._answer(now, came_from, node, answer))

    def _answer(self, now: float, node: int, answerer: int, answer: Taken) -> None:
        self.branches[node].on_reply(now, contact(answerer), answer, [])
        self._drive(now, node)

    def _ends(self, now: float, node: int, teller: int, done: Done) -> None:
        self.branches[node].on_done(contact(teller), done)
        self._drive(now, node)

    def _later(self, now: float, event: Callable[[float], None]) -> None:
        heappush(self._queue, (now + self.latency(), self._tie(), event))


def walk_through(
    graph: Graph, start: int, search: Search, *, random: Random, busy: Iterable[int] = ()
) -> list[int]:
    """One walker, from the step that brings it to ``start`` on: where it was. The ``busy`` would
    not take it."""
    path, came_from, refusing = [start], None, dict.fromkeys(busy)
    sent_to: dict[int, dict[int, bool]] = {node: {} for node in graph}
    while True:
        here = path[-1]
        choose = partial(
            _choose,
            neighbours=graph[here],
            style=search.style,
            came_from=came_from,
            sent_to=sent_to[here],
            random=random,
        )
        branch = WalkBranch(
            search=search, choose=choose, issuer=None, flags=0, on_hit=_nobody_holds_it
        )
        onward: Search | None = None
        while isinstance(step := branch.next(0.0), Ask):
            refuses = step.contact.id in refusing
            onward = None if refuses else search_in(step)
            branch.on_reply(0.0, step.contact, BUSY if refuses else TAKEN, [])
            if onward is not None:
                path.append(int(step.contact.id))
        assert branch.next(0.0) is FINISHED
        assert branch.ended == (onward is None)
        if onward is None:
            return path
        came_from, search = here, onward


def _choose(
    refused: Sequence[int],
    *,
    neighbours: list[int],
    style: int,
    came_from: int | None,
    sent_to: dict[int, bool],
    random: Random,
) -> Contact | None:
    chosen = next_of_walk(
        entries(neighbours),
        style=style,
        came_from=came_from,
        sent_to=sent_to,
        refused=refused,
        random=random,
    )
    if chosen is not None:
        sent_to[chosen.id] = True
    return chosen


def _nobody_holds_it(now: float, copy: Copy, holder: Contact) -> None:
    raise AssertionError
