"""Walkers in rounds: all take a step at once, and what is asked or told between takes no time.

The machines are those of every node; only what carries their messages is made here. So the figures
can be set beside simulations that count steps and know of no latency.
"""

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

import attrs

from dht.config import BUDGET_MAX
from dht.contacts import Contact, contact_at, pack_address
from dht.core.machine import Ask
from dht.core.unstructured.branches import SearchCounters, WalkBranch, next_of_walk
from dht.core.unstructured.view import Entry
from dht.core.unstructured.ways import HITS, Walking
from dht.keyspace import Key, key_bytes
from dht.lab.graphs import Graph
from dht.records import Kind, Record
from dht.wire.codec import copy_of, decode_untrusted
from dht.wire.messages import WALK, Found, Search, Taken, Taking, Wanted

from .machine import Figures

TTL = 255
_ID = bytes(8)
_SOMEWHERE = pack_address("10.0.0.1", 4000)


@attrs.define(eq=False)
class _Rounds:
    """One search: who is where, and who has found it."""

    graph: Graph
    holders: frozenset[int]
    random: Random
    contacts: list[Contact]
    counters: SearchCounters
    places: dict[Any, int]
    issuer: int
    #: Do walkers turn back, as in the published simulation, where each step is any neighbour?
    turn_back: bool
    walking: Walking | None = None
    found_at: int = 0
    #: Whether it was found in an earlier round: of a hit in this one nobody hears in this one, who
    #: takes his step before or after it.
    over: bool = False
    #: Walkers that a node took in this round, and that take a step in the next.
    arrived: list[tuple[int, int, Search]] = attrs.field(factory=list)

    def entries(self, place: int) -> list[Entry]:
        return [
            Entry(self.contacts[each], degree=len(self.graph[each])) for each in self.graph[place]
        ]

    def run(self) -> None:
        """Until every walker has stopped."""
        assert self.walking is not None
        self._drive(self.walking, self.issuer)
        while self.arrived:
            arrived, self.arrived = self.arrived, []
            self.over = self.found_at > 0
            for place, came_from, search in arrived:
                choose = partial(self.choose, place, came_from)
                branch = WalkBranch(
                    search=search,
                    choose=choose,
                    issuer=self.contacts[self.issuer],
                    flags=0,
                    on_hit=partial(self._branch_hit, search.hops + 1),
                    counters=self.counters,
                )
                self._drive(branch, place)

    def choose(self, place: int, came_from: int | None, refused: Sequence[int]) -> Contact | None:
        """The next step of a walker."""
        back = self.turn_back or came_from is None
        return next_of_walk(
            self.entries(place),
            style=WALK,
            came_from=None if back else self.contacts[came_from or 0].id,
            sent_to=(),
            refused=refused,
            random=self.random,
        )

    def _drive(self, machine: Any, place: int) -> None:
        step = machine.next(0.0)
        while isinstance(step, Ask):
            _, message = decode_untrusted(bytes(8) + step.body)
            answer: Found | Taken
            if isinstance(message, Wanted):
                assert self.walking is not None
                go_on = self.walking.on_walker(0.0, message.walker, message.hops, last=message.last)
                answer = Taken(0, Taking.TAKEN if go_on else Taking.SEEN)
            else:
                assert isinstance(message, Search)
                answer = self._arrive(place, self.places[step.contact.id], message)
            machine.on_reply(0.0, step.contact, answer, [])
            step = machine.next(0.0)

    def _arrive(self, came_from: int, place: int, search: Search) -> Found | Taken:
        if place in self.holders:
            return _FOUND
        self.arrived.append((place, came_from, search))
        return Taken(0, Taking.TAKEN)

    def found(self, hops: int) -> None:
        """A walker has met a holder."""
        self.found_at = self.found_at or hops

    def _branch_hit(self, hops: int, _: float, __: object, ___: Contact) -> None:
        self.found(hops)


_FOUND = Found(
    0,
    copy_of(
        Record(
            kind=Kind.PLAIN,
            key=Key(0),
            version=1,
            written_at_ms=1,
            ttl_ms=1000,
            tombstone=False,
            value=b"",
        ),
        1000,
    ),
    b"",
    b"",
)


def walk_in_rounds(
    graph: Graph,
    walkers: int,
    check_every: int,
    *,
    copies: float,
    random: Random,
    turn_back: bool = False,
) -> Figures:
    """One search from a node by chance that holds nothing: hops to the first hit, steps of all
    walkers, and their checks."""
    holders = frozenset(random.sample(range(len(graph)), int(len(graph) * copies)))
    issuer = random.choice([node for node in range(len(graph)) if node not in holders])
    contacts = _contacts(len(graph))
    rounds = _Rounds(
        graph,
        holders,
        random,
        contacts,
        SearchCounters(),
        {contact.id: place for place, contact in enumerate(contacts)},
        issuer,
        turn_back,
    )
    search = Search(
        flags=0,
        id=_ID,
        kind=Kind.PLAIN,
        key=key_bytes(Key(0)),
        style=WALK,
        walker=0,
        ttl=TTL,
        hops=0,
        budget=0,
        hits=HITS,
        check_every=check_every,
        issuer=contacts[issuer].packed,
    )
    rounds.walking = Walking(
        search=search,
        walkers=walkers,
        ttl=TTL,
        budget=BUDGET_MAX,
        # Without any to begin with, each first step is any neighbour, too.
        neighbours=list if turn_back else partial(rounds.entries, issuer),
        choose=partial(rounds.choose, issuer, None),
        random=random,
        on_copy=lambda _now, _copy, _holder, hops: rounds.found(hops),
        on_begin=lambda _: None,
        wanted=lambda: not rounds.over,
        counters=rounds.counters,
    )
    rounds.run()
    return {
        "hops": rounds.found_at,
        "steps": rounds.counters.searches_passed_on,
        "checks": rounds.counters.checks_sent,
    }


_CACHE: dict[int, list[Contact]] = {}


def _contacts(count: int) -> list[Contact]:
    if count not in _CACHE:
        random = Random(count)
        _CACHE[count] = [contact_at(random.randbytes(32), _SOMEWHERE) for _ in range(count)]
    return _CACHE[count]
