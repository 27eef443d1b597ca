"""What a search does at one node: whom it goes on to from here, and what comes back.

Everything that decides the way of a search is in this file. A flood goes to all neighbours, once
(Gnutella 0.4); a walker goes to one at random (Lv, Cao, Cohen, Li and Shenker 2002). A search
carries a budget of messages and of hits, which is divided among its branches and never copied: so
the one who issues it knows what it can cost, however many pass it on and whatever they do.

A flood ends as in Chang's echo algorithm (1982): who has heard from all it sent the search to says
so to whoever it has it from. So "nobody has it" is an answer and no timeout, and comes with a count
of what it cost.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import final

import attrs
import msgspec

from ...config import BUDGET_MAX
from ...contacts import Contact
from ...wire.codec import encode
from ...wire.messages import (
    BIAS,
    STATE,
    Copy,
    Done,
    Found,
    Message,
    Search,
    Taken,
    Taking,
    Wanted,
)
from ..machine import FINISHED, Ask, Finished, Wait
from .view import Entry

#: Seconds that a branch of a flood is waited for: for a neighbour that turns out to be silent, and
#: for each further hop. A dead one takes 1.8 s to give up; a hop of the wide area 0.1 s.
BRANCH_FIRST_S = 3.0
BRANCH_HOP_S = 0.5
#: Neighbours that a walker is offered to from one node, until one takes it; guess.
STEPS_MAX = 3

#: Told of a hit: the time, the copy, and who answered with it.
OnHit = Callable[[float, Copy, Contact], None]


def divide(total: int, parts: int) -> list[int]:
    """``total`` in so many parts that differ by one at most, the larger ones first."""
    share, rest = divmod(total, parts)
    return [share + (number < rest) for number in range(parts)]


def next_of_flood(
    search: Search, neighbours: Sequence[Entry], came_from: int | None, random: Random
) -> list[tuple[Contact, Search]]:
    """Whom a flood goes on to: all but the one it came from, or as many as its budget is for."""
    others = [entry.contact for entry in neighbours if entry.contact.id != came_from]
    count = min(len(others), search.budget)
    if not search.ttl or not count:
        return []
    if count < len(others):
        others = random.sample(others, count)
    budgets = divide(search.budget - count, count)
    hits = divide(search.hits, count)
    random.shuffle(hits)  # who may open to the issuer is chance
    return [
        (
            contact,
            msgspec.structs.replace(
                search, ttl=search.ttl - 1, hops=search.hops + 1, budget=budget, hits=may_hit
            ),
        )
        for contact, budget, may_hit in zip(others, budgets, hits, strict=True)
    ]


def next_of_walk(
    neighbours: Sequence[Entry],
    *,
    style: int,
    came_from: int | None,
    sent_to: Sequence[int] | dict[int, bool],
    refused: Sequence[int],
    random: Random,
) -> Contact | None:
    """Whom a walker goes to: anybody but the one it came from, unless there is nobody else.

    ``sent_to``: where this search has been sent from here before, and a walker with ``STATE`` does
    not go; ``refused``: who would not take it just now.
    """
    others = [entry for entry in neighbours if entry.contact.id not in refused]
    others = [entry for entry in others if entry.contact.id != came_from] or others
    if style & STATE:
        others = [entry for entry in others if entry.contact.id not in sent_to] or others
    if not others:
        return None
    if style & BIAS:
        weights = [max(1, entry.degree) for entry in others]
        return random.choices(others, weights)[0].contact
    return random.choice(others).contact


@final
@attrs.define(eq=False)
class SearchCounters:
    """What passed through this node; our own searches count as well. Counters only grow."""

    #: Searches sent on, and those of them that were sent to somebody who had seen it.
    searches_passed_on: int = 0
    searches_seen_again: int = 0
    #: Searches that found something here.
    searches_answered: int = 0
    #: Searches refused, as their sender had used up its share.
    searches_refused: int = 0
    #: Answers and ends of branches passed back, and walkers' questions to their issuers.
    hits_passed_back: int = 0
    ends_passed_back: int = 0
    checks_sent: int = 0


@final
@attrs.define(eq=False)
class Costs:
    """What a search has cost so far, as far as is known here."""

    messages: int = 0
    duplicates: int = 0
    nodes: int = 0

    def add(self, done: Done, at_most: int) -> None:
        """A part of it has ended, which could cost no more than its budget. Threat: one neighbour
        that says it cost everything ends an expanding ring."""
        self.messages += min(done.messages, at_most)
        self.duplicates += min(done.duplicates, at_most)
        self.nodes += min(done.nodes, at_most)

    def done(self, flags: int, search_id: bytes, walker: int) -> Done:
        """What is passed back of it: what liars add to it must still fit a message."""
        counts = (min(each, BUDGET_MAX) for each in (self.messages, self.duplicates, self.nodes))
        return Done(flags, search_id, walker, *counts)


@final
@attrs.define(eq=False, kw_only=True)
class FloodBranch:
    """A flood at one node. Asks each of ``onward`` and waits until each has said that it is done,
    or for so long that the others are."""

    onward: list[tuple[Contact, Search]]
    #: How often it may still be sent on.
    ttl: int
    on_hit: OnHit
    costs: Costs = attrs.field(factory=Costs)
    counters: SearchCounters = attrs.field(factory=SearchCounters)
    _deadline: float | None = attrs.field(default=None, init=False)
    #: Who was asked and has not said yet that it is done; and has it not said either that it took
    #: it? The end may come first.
    _open: dict[int, bool] = attrs.field(factory=dict, init=False)
    #: What the part of each may cost.
    _budgets: dict[int, int] = attrs.field(factory=dict, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        if self._deadline is None:
            self._deadline = now + BRANCH_FIRST_S + BRANCH_HOP_S * self.ttl
        if self.onward:
            contact, search = self.onward.pop()
            self.costs.messages += 1
            self.counters.searches_passed_on += 1
            self._open[contact.id] = True
            self._budgets[contact.id] = search.budget
            return Ask(contact, encode(search))
        if not self._open or now >= self._deadline:
            return FINISHED
        return Wait(self._deadline)

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        if isinstance(message, Taken) and message.status == Taking.TAKEN:
            if self._open.get(contact.id):
                self._open[contact.id] = False
                self.costs.nodes += 1
            return
        self._open.pop(contact.id, None)
        if isinstance(message, Found):
            self.costs.nodes += 1
            self.on_hit(now, message.copy, contact)
        elif isinstance(message, Taken) and message.status == Taking.SEEN:
            self.costs.duplicates += 1
            self.counters.searches_seen_again += 1

    def on_failure(self, now: float, contact: Contact) -> None:
        self._open.pop(contact.id, None)

    def on_retry(self, contact: Contact) -> None:
        self.costs.messages += 1
        self.counters.searches_passed_on += 1

    def on_done(self, contact: Contact, done: Done) -> None:
        """Somebody says that its part has ended; believed of those that are waited for."""
        untold = self._open.pop(contact.id, None)
        if untold is not None:
            self.costs.nodes += untold
            self.costs.add(done, self._budgets[contact.id])


@final
@attrs.define(eq=False, kw_only=True)
class WalkBranch:
    """A walker at one node: asks its issuer, if that is due, and then a neighbour to take it."""

    search: Search
    #: Whom it goes to next, given those that would not take it; None: there is nobody.
    choose: Callable[[Sequence[int]], Contact | None]
    #: Who is asked whether to go on; None: nobody.
    issuer: Contact | None
    flags: int
    on_hit: OnHit
    costs: Costs = attrs.field(factory=Costs)
    counters: SearchCounters = attrs.field(factory=SearchCounters)
    #: Did it end here: did nobody take it?
    ended: bool = attrs.field(default=False, init=False)
    #: Does the issuer know that it ended?
    told: bool = attrs.field(default=False, init=False)
    _checked: bool = attrs.field(default=False, init=False)
    _refused: list[int] = attrs.field(factory=list, init=False)
    _waits: bool = attrs.field(default=False, init=False)
    _over: bool = attrs.field(default=False, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        if self._over:
            return FINISHED
        if self._waits:
            return Wait(None)
        search, tried = self.search, len(self._refused)
        ends = not search.ttl or search.budget <= tried  # each try costs a message
        if not self._checked and self.issuer is not None and (ends or self._check_is_due()):
            self._checked = self._waits = True
            self.told = ends
            self.counters.checks_sent += 1
            wanted = Wanted(self.flags, search.id, search.walker, search.hops, ends)
            return Ask(self.issuer, encode(wanted))
        contact = None if ends or tried >= STEPS_MAX else self.choose(self._refused)
        if contact is None:
            self._over = self.ended = True
            return FINISHED
        self._waits = True
        self._refused.append(contact.id)
        self.costs.messages += 1
        self.counters.searches_passed_on += 1
        onward = msgspec.structs.replace(
            search,
            ttl=search.ttl - 1,
            hops=min(search.hops + 1, 255),
            budget=search.budget - tried - 1,
        )
        return Ask(contact, encode(onward))

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        self._waits = False
        if self.issuer is not None and contact.id == self.issuer.id and not self._refused:
            if not isinstance(message, Taken) or message.status != Taking.TAKEN:
                self._over = self.ended = self.told = True  # it is not wanted any more
        elif isinstance(message, Found):
            self._over = True
            self.costs.nodes += 1
            self.on_hit(now, message.copy, contact)
        elif isinstance(message, Taken) and message.status == Taking.TAKEN:
            self._over = True
            self.costs.nodes += 1

    def on_failure(self, now: float, contact: Contact) -> None:
        self._waits = False
        if self.issuer is not None and contact.id == self.issuer.id and not self._refused:
            self._over = self.ended = self.told = True  # nobody is there any more to want it

    def on_retry(self, contact: Contact) -> None:
        self.costs.messages += 1
        self.counters.searches_passed_on += 1

    def _check_is_due(self) -> bool:
        every = self.search.check_every
        return bool(every) and self.search.hops % every == 0
