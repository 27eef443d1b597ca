"""How the issuer of a search goes about it: a flood, or random walkers.

A way is a machine that asks, and hears of what comes back otherwise: hits, ends of branches, and
walkers that ask whether to go on. What is done with a hit is no matter of a way (``finding``).
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Protocol, final

import attrs
import msgspec

from ...config import BUDGET_MAX
from ...contacts import Contact
from ...wire.codec import encode
from ...wire.messages import (
    SEARCH_ID_SIZE,
    Copy,
    Done,
    Found,
    Hit,
    Message,
    Search,
    Taken,
    Taking,
)
from ..machine import FINISHED, Ask, Finished, Wait
from .branches import STEPS_MAX, Costs, FloodBranch, SearchCounters, divide, next_of_flood
from .view import Entry

#: How many holders may open to the issuer of a search, and so how much a search can bring upon
#: whoever it names: what the design says.
HITS = 4
#: Hops that an expanding ring grows by when it has found nothing (Lv et al. 2002).
RING_STEP = 2
#: Seconds that a walker may take for one hop before it is taken for lost: its neighbour may turn
#: out to be silent, twice in a row.
HOP_MAX_S = 4.0
#: A copy was found: the time, the copy, who holds it, and its hops from the issuer.
OnCopy = Callable[[float, Copy, Contact, int], None]


class Way(Protocol):
    """What all ways can do. ``costs`` is what is known of them so far."""

    @property
    def costs(self) -> Costs: ...
    def next(self, now: float) -> Ask | Wait | Finished: ...
    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None: ...
    def on_failure(self, now: float, contact: Contact) -> None: ...
    def on_retry(self, contact: Contact) -> None: ...
    def on_hit(self, now: float, hit: Hit) -> None: ...
    def on_done(self, now: float, contact: Contact, done: Done) -> None: ...
    def on_walker(self, now: float, walker: int, hops: int, *, last: bool) -> bool: ...


@final
@attrs.define(eq=False, kw_only=True)
class Flooding:
    """A flood, or with ``ring`` several that reach farther and farther until one finds it."""

    search: Search
    ttl: int
    ring: bool
    budget: int
    neighbours: Callable[[], Sequence[Entry]]
    random: Random
    on_copy: OnCopy
    #: Called with the id of each flood before it begins.
    on_begin: Callable[[bytes], None]
    counters: SearchCounters = attrs.field(factory=SearchCounters)
    #: Holders that were named and have not been asked yet, or not answered: no ring begins then.
    holders_open: Callable[[], bool]
    costs: Costs = attrs.field(factory=Costs, init=False)
    _id: bytes = attrs.field(default=b"", init=False)
    _branch: FloodBranch | None = attrs.field(default=None, init=False)
    _reach: int = attrs.field(default=0, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        while True:
            if self._branch is None:
                if self._reach >= self.ttl or self.costs.messages >= self.budget:
                    return FINISHED
                if self._reach and self.holders_open():
                    return Wait(None)
                self._begin()
            assert self._branch is not None
            step = self._branch.next(now)
            if step is not FINISHED:
                return step
            self._branch = None

    def _begin(self) -> None:
        self._reach = min(self._reach + (RING_STEP if self._reach else 1), self.ttl)
        if not self.ring:
            self._reach = self.ttl
        search = msgspec.structs.replace(
            self.search,
            id=self.random.randbytes(SEARCH_ID_SIZE),
            ttl=self._reach,
            hops=0,
            budget=self.budget - self.costs.messages,
        )
        self._id = search.id
        self.on_begin(search.id)
        self._branch = FloodBranch(
            onward=next_of_flood(search, self.neighbours(), None, self.random),
            ttl=self._reach,
            on_hit=lambda now, copy, holder: self.on_copy(now, copy, holder, 1),
            costs=self.costs,
            counters=self.counters,
        )

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        if self._branch is not None:
            self._branch.on_reply(now, contact, message, closer)

    def on_failure(self, now: float, contact: Contact) -> None:
        if self._branch is not None:
            self._branch.on_failure(now, contact)

    def on_retry(self, contact: Contact) -> None:
        if self._branch is not None:
            self._branch.on_retry(contact)

    def on_hit(self, now: float, hit: Hit) -> None:
        """How far it came is known with it: nothing else changes."""

    def on_done(self, now: float, contact: Contact, done: Done) -> None:
        if self._branch is not None and done.id == self._id:  # and not of a ring before
            self._branch.on_done(contact, done)

    def on_walker(self, now: float, walker: int, hops: int, *, last: bool) -> bool:
        """A flood has no walkers."""
        return False


@attrs.define(eq=False)
class _Walker:
    """A walker as its issuer knows it."""

    number: int
    budget: int
    #: Of the holders that may open to us: its part.
    hits: int
    #: Who would not take it, or was asked last.
    asked: list[int] = attrs.field(factory=list)
    under_way: bool = False
    ended: bool = False
    heard_at: float = 0.0
    hops: int = 0


@final
@attrs.define(eq=False, kw_only=True)
class Walking:
    """Many walkers at once. Each costs what it says itself; one of which nothing is heard for so
    long that it must be lost is not waited for."""

    search: Search
    walkers: int
    ttl: int
    budget: int
    neighbours: Callable[[], Sequence[Entry]]
    #: Whom a walker goes to first, given those that would not take it.
    choose: Callable[[Sequence[int]], Contact | None]
    random: Random
    on_copy: OnCopy
    on_begin: Callable[[bytes], None]
    #: Is the search still on? Walkers stop when it is not.
    wanted: Callable[[], bool]
    counters: SearchCounters = attrs.field(factory=SearchCounters)
    _others: Costs = attrs.field(factory=Costs, init=False)
    _walkers: list[_Walker] = attrs.field(factory=list, init=False)
    #: By contact: the walkers that it was asked to take, in that order.
    _asked: dict[int, list[_Walker]] = attrs.field(factory=dict, init=False)
    #: Neighbours not used yet for the first step: walkers begin in as many places as there are.
    _fresh: list[Contact] = attrs.field(factory=list, init=False)

    @property
    def costs(self) -> Costs:
        """The steps of all walkers that are known of, and what was asked besides."""
        steps = sum(walker.hops for walker in self._walkers)
        return Costs(self._others.messages + steps, self._others.duplicates, steps)

    def next(self, now: float) -> Ask | Wait | Finished:
        if not self._walkers:
            self._begin(now)
        wake: float | None = None
        for walker in self._walkers:
            if walker.ended:
                continue
            if not walker.under_way:
                contact = self._first_step(walker)
                if contact is None:
                    walker.ended = True
                    continue
                return self._ask(now, walker, contact)
            lost_at = walker.heard_at + self._patience_s
            if now >= lost_at:
                walker.ended = True
            else:
                wake = lost_at if wake is None else min(wake, lost_at)
        return FINISHED if wake is None else Wait(wake)

    def _begin(self, now: float) -> None:
        self.on_begin(self.search.id)
        budgets = divide(min(self.budget, BUDGET_MAX), self.walkers)
        # Which of the walkers may open to us is as good as chance: they begin anywhere.
        hits = divide(self.search.hits, self.walkers)
        self._walkers = [
            _Walker(number, budget, may_hit, heard_at=now)
            for number, (budget, may_hit) in enumerate(zip(budgets, hits, strict=True))
        ]
        for walker in self._walkers:
            walker.ended = not walker.budget

    @property
    def _patience_s(self) -> float:
        every = self.search.check_every or self.ttl
        return HOP_MAX_S * min(every + 1, self.ttl)

    def _first_step(self, walker: _Walker) -> Contact | None:
        if len(walker.asked) >= min(STEPS_MAX, walker.budget):  # each try costs a message
            return None
        if not self._fresh:
            self._fresh = [entry.contact for entry in self.neighbours()]
            self.random.shuffle(self._fresh)
        while self._fresh:
            contact = self._fresh.pop()
            if contact.id not in walker.asked:
                return contact
        return self.choose(walker.asked)

    def _ask(self, now: float, walker: _Walker, contact: Contact) -> Ask:
        walker.under_way = True
        walker.heard_at = now
        walker.asked.append(contact.id)
        self._asked.setdefault(contact.id, []).append(walker)
        self.counters.searches_passed_on += 1
        search = msgspec.structs.replace(
            self.search,
            walker=walker.number,
            ttl=self.ttl - 1,
            hops=1,
            budget=walker.budget - len(walker.asked),
            hits=walker.hits,
        )
        return Ask(contact, encode(search))

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        walker = self._answered(contact)
        if walker is None:
            return
        if isinstance(message, Found):
            walker.hops = 1
            walker.ended = True
            self.on_copy(now, message.copy, contact, 1)
        elif isinstance(message, Taken) and message.status == Taking.TAKEN:
            walker.hops = max(walker.hops, 1)
            walker.heard_at = now
        else:
            self._others.messages += 1
            walker.under_way = False

    def on_failure(self, now: float, contact: Contact) -> None:
        walker = self._answered(contact)
        if walker is not None:
            self._others.messages += 1
            walker.under_way = False

    def on_retry(self, contact: Contact) -> None:
        self._others.messages += 1
        self.counters.searches_passed_on += 1

    def on_hit(self, now: float, hit: Hit) -> None:
        self.on_walker(now, hit.walker, hit.hops, last=True)

    def on_done(self, now: float, contact: Contact, done: Done) -> None:
        """The way back of a walker whose search does not say whom to ask."""
        self.on_walker(now, done.walker, done.messages, last=True)

    def on_walker(self, now: float, walker: int, hops: int, *, last: bool) -> bool:
        if walker >= len(self._walkers):
            return False
        known = self._walkers[walker]
        known.hops = max(known.hops, min(hops, self.ttl))
        known.heard_at = now
        known.ended = known.ended or last or not self.wanted()
        return not known.ended

    def _answered(self, contact: Contact) -> _Walker | None:
        walkers = self._asked.get(contact.id)
        if not walkers:
            return None
        walker = walkers.pop(0)
        return None if walker.ended else walker
