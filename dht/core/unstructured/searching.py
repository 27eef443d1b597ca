"""Searches at one node: those of others that pass through, and our own that others answer.

Everything that a stranger can make us pass on is limited in this file. A search is taken from
somebody who has shown that he is where he is, up to a share of messages a second; it is remembered
for a minute, so that it is passed on once and its answers find the way back.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, Protocol, final

import attrs
import msgspec

from ...config import VALUE_INLINE_MAX, Config
from ...contacts import Contact, is_local
from ...errors import RemoteError
from ...keyspace import key_bytes
from ...records import Head, Kind, Record
from ...wire.codec import contact_untrusted, copy_of, encode, record_of_untrusted
from ...wire.messages import (
    DIRECT,
    KEEP,
    WALK,
    Answer,
    Copy,
    Done,
    Found,
    Hit,
    Search,
    Taken,
    Taking,
    Wanted,
)
from ..admission import Buckets, admission_source
from ..channel.face import Channel, Opened
from ..home import Home
from ..responder import reserve_of
from ..tasks import Task, Tasks
from .branches import (
    Costs,
    FloodBranch,
    SearchCounters,
    WalkBranch,
    next_of_flood,
    next_of_walk,
)
from .question import Question
from .view import View

#: Memory: searches of others that are remembered, about 1 kB each where few of its walkers pass by,
#: and for how many seconds. The oldest is forgotten first: then it may be passed on a second time,
#: within its own budget.
SEEN_MAX = 4096
#: Memory: walkers of one search that pass through here, and how often. What is forgotten goes on a
#: second time if our answer to it was lost.
ARRIVALS_MAX = 512
SEEN_S = 60.0
#: Floods through us: answers to one search that are passed back from here, each but the first newer
#: than all before it; and holders that may open to its issuer, whatever it says.
HITS_MAX = 4
#: One search does not use up what its sender may have: so much is left for the next. Who has few
#: neighbours sends a large budget through each.
LEFT_FOR_OTHERS = 1 / 2
#: Hops that a search may have before it and behind it, whatever it says: a walker's 255 steps.
TTL_MAX = 255
#: Memory: our own searches that are remembered after their end, so that walkers are told to stop.
#: How many are under way is limited by ``Config.operations_max``.
ENDED_MAX = 1024


class Issued(Protocol):
    """One of our own searches."""

    def on_hit(self, now: float, hit: Hit, teller: Contact) -> None:
        """A copy came back, or the word of somebody who holds one."""

    def on_done(self, now: float, contact: Contact, done: Done) -> None:
        """A part of it has ended."""

    def on_walker(self, now: float, walker: int, hops: int, *, last: bool) -> bool:
        """A walker asks whether to go on, or says that it does not."""


@final
@attrs.define(eq=False)
class _Passing:
    """A search of somebody else at this node."""

    search: Search
    seen_at: float
    #: By number of the walker, 0 in a flood: from whom it came first.
    parents: dict[int, Contact] = attrs.field(factory=dict)
    #: Whom it was sent on to.
    sent_to: dict[int, bool] = attrs.field(factory=dict)
    hits: int = 0
    version: int = -1
    #: Of a flood: what is under way here.
    task: Task | None = None
    #: Who brought it, by walker and by how far it had come.
    arrivals: dict[tuple[int, int], int] = attrs.field(factory=dict)

    def came(self, search: Search, asker: Contact) -> None:
        """It came here."""
        self.parents.setdefault(search.walker, asker)
        self.arrivals[search.walker, search.hops] = asker.id
        if len(self.arrivals) > ARRIVALS_MAX:
            del self.arrivals[next(iter(self.arrivals))]

    def came_before(self, search: Search, asker: Contact) -> bool:
        """Did exactly this come before? Then it was sent again, since our answer was lost."""
        return self.arrivals.get((search.walker, search.hops)) == asker.id

    def knows(self, asker: Contact, walker: int) -> bool:
        """Was it sent on to this one, and did that walker pass through here?"""
        return asker.id in self.sent_to and walker in self.parents


@final
@attrs.define(eq=False, kw_only=True)
class Searching:
    """Takes part in searches. ``keep``: stores a copy that is passed back, if it may be kept."""

    config: Config
    random: Random
    tasks: Tasks
    channel: Channel
    home: Home
    view: View
    #: Is it safe to open to an address that a search names? Only among members and neighbours.
    private_network: bool
    #: May a contact be asked that somebody named?
    usable: Callable[[Contact, Contact], bool]
    keep: Callable[[float, Contact, Copy], None]
    #: Called when a record of ours was found: its popularity.
    on_found: Callable[[int, int], None]
    flags: int = attrs.field(default=0, init=False)
    counters: SearchCounters = attrs.field(factory=SearchCounters, init=False)
    _allowance: Buckets = attrs.field(init=False)
    _passing: OrderedDict[bytes, _Passing] = attrs.field(factory=OrderedDict, init=False)
    #: Our own that are under way, by the id of each flood or walk.
    _issued: dict[bytes, tuple[Issued, Callable[[float], bool]]] = attrs.field(
        factory=dict, init=False
    )
    _ids_of: dict[Issued, list[bytes]] = attrs.field(factory=dict, init=False)
    #: The ids of those that ended, the oldest first.
    _ended: dict[bytes, bool] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._allowance = Buckets(self.config.search_allowance_s, self.config.search_burst)

    def __len__(self) -> int:
        """How many searches of others are remembered."""
        return len(self._passing)

    def issue(self, search_id: bytes, issued: Issued, wake: Callable[[float], bool]) -> None:
        """From now on, until ``end``, what comes back of this search is given to ``issued``, and
        then ``wake`` is called, which says whether the search is still on."""
        self._issued[search_id] = (issued, wake)
        self._ids_of.setdefault(issued, []).append(search_id)

    def end(self, issued: Issued) -> None:
        """It is over: its walkers are told so, and nothing else is kept of it."""
        for search_id in self._ids_of.pop(issued, ()):
            del self._issued[search_id]
            self._ended[search_id] = True
            if len(self._ended) > ENDED_MAX:
                del self._ended[next(iter(self._ended))]

    def _is_own(self, search_id: bytes) -> bool:
        return search_id in self._issued or search_id in self._ended

    # ---- a search comes ----

    def serve_search(
        self, now: float, opened: Opened, request_id: bytes, message: Search, asker: Contact
    ) -> None:
        """Answers with the record, or passes the search on."""
        if not opened.proved:
            self.channel.demand_proof(now, opened.ticket)
            return
        if not self.home.serves:
            return
        if message.walker and not message.style & WALK:
            message = msgspec.structs.replace(message, walker=0)  # a flood has none
        passing = self._remembered(now, message.id)
        again = passing is not None and passing.came_before(message, asker)
        seen = passing is not None and not message.style & WALK
        if not again and (seen or self._is_own(message.id)):
            self._answer_taken(now, opened, request_id, Taking.SEEN)
            return
        found = self._found_here(now, message, opened.room)
        search: Search | None = message
        if not again:  # else our answer was lost; what it said is still so, and has been passed on
            search = self._share_of(now, opened, message, goes_on=found is None)
        if search is None:
            self.counters.searches_refused += 1
            self._answer_taken(now, opened, request_id, Taking.BUSY)
            return
        if passing is None:
            passing = self._remember(search, now)
        passing.came(search, asker)
        direct = self._may_open_to_issuer(search, asker) and search.hits > 0
        if found is not None and not direct:
            self._answer(now, opened, request_id, found)
        else:
            self._answer_taken(now, opened, request_id, Taking.TAKEN)
        if again:
            return
        if found is None:
            self._pass_on(now, passing, search, asker)
            return
        self.counters.searches_answered += 1
        self.on_found(search.kind, int.from_bytes(search.key))
        if direct:
            self._open_to_issuer(now, passing, search)

    def _may_open_to_issuer(self, search: Search, asker: Contact) -> bool:
        """Is it safe that holders speak to the address that a search names, and do we know it?"""
        issuer = self._issuer_of(search, asker) if search.style & DIRECT else None
        return issuer is not None and (self.private_network or is_local(issuer.address))

    def _open_to_issuer(self, now: float, passing: _Passing, search: Search) -> None:
        """Says that the record is here; the issuer comes for it, if it wants it from us."""
        hit = Hit(self.flags, search.id, search.walker, search.hops, b"", None)
        self._tell_issuer(now, contact_untrusted(search.issuer), encode(hit))
        self.counters.hits_passed_back += 1
        if not search.style & WALK:
            self._pass_end_back(now, passing, 0, Costs())

    def _share_of(
        self, now: float, opened: Opened, search: Search, *, goes_on: bool
    ) -> Search | None:
        """The search with as much budget as its sender still has with us; None: nothing is left.
        What it cannot use, for lack of hops or as it ends here, is not counted."""
        budget = min(search.budget, self.config.search_budget_max)
        ttl = min(search.ttl, TTL_MAX - min(search.hops, TTL_MAX))
        if search.style & WALK:
            budget = min(budget, ttl)
        if not ttl or not goes_on:
            budget = 0
        source = admission_source(opened.source, opened.public_key)
        # What is refused takes nothing: else who asks too often would never be served again.
        if not self._allowance.allow(now, source):
            return None
        taken = self._allowance.take(now, source, budget, leave=LEFT_FOR_OTHERS)
        hits = min(search.hits, HITS_MAX)
        return msgspec.structs.replace(search, budget=int(taken), hits=hits, ttl=ttl)

    def _found_here(self, now: float, search: Search, room: int) -> Found | None:
        held = self.home.storage.get(now, search.kind, int.from_bytes(search.key))
        if held is None:
            return None
        room = min(VALUE_INLINE_MAX, room - reserve_of(held.record))
        remaining_ms = max(1, int((held.deadline - now) * 1000))
        copy = copy_of(held.record, remaining_ms, inline_max=room, digest=held.value_hash)
        return Found(self.home.time_s(now), copy, b"", b"")

    def _issuer_of(self, search: Search, asker: Contact) -> Contact | None:
        """Who issued it, if it says so and may be opened to."""
        if not search.issuer:
            return None
        try:
            issuer = contact_untrusted(search.issuer)
        except RemoteError:
            return None
        return issuer if self.usable(issuer, asker) else None

    # ---- and goes on ----

    def _pass_on(self, now: float, passing: _Passing, search: Search, asker: Contact) -> None:
        if search.style & WALK:
            issuer = self._issuer_of(search, asker)
            walk = WalkBranch(
                search=search,
                choose=partial(self.choose, search, passing.sent_to, asker.id),
                issuer=issuer,
                flags=self.flags,
                on_hit=partial(self._pass_back, passing, search),
                counters=self.counters,
            )
            self._spawn(now, walk, partial(self._walked, passing))
            return
        onward = next_of_flood(search, self.view.entries(), asker.id, self.random)
        for contact, _ in onward:
            passing.sent_to[contact.id] = True
        flood = FloodBranch(
            onward=onward,
            ttl=search.ttl,
            on_hit=partial(self._pass_back, passing, search),
            counters=self.counters,
        )
        task = self._spawn(now, flood, partial(self._flooded, passing))
        passing.task = None if task.done else task

    def choose(
        self, search: Search, sent_to: dict[int, bool], came_from: int | None, refused: list[int]
    ) -> Contact | None:
        """Where a walker goes from here."""
        chosen = next_of_walk(
            self.view.entries(),
            style=search.style,
            came_from=came_from,
            sent_to=sent_to,
            refused=refused,
            random=self.random,
        )
        if chosen is not None:
            sent_to[chosen.id] = True
        return chosen

    def _walked(self, passing: _Passing, now: float, task: Task) -> None:
        if not task.done:
            return
        walk: WalkBranch = task.machine
        search = walk.search
        if not walk.ended or walk.told:
            return
        if walk.issuer is not None:
            wanted = Wanted(self.flags, search.id, search.walker, search.hops, last=True)
            self.counters.checks_sent += 1
            self._tell_issuer(now, walk.issuer, encode(wanted))
        else:
            self._pass_end_back(now, passing, search.walker, Costs(messages=search.hops))

    def _flooded(self, passing: _Passing, now: float, task: Task) -> None:
        if task.done:
            flood: FloodBranch = task.machine
            passing.task = None
            self._pass_end_back(now, passing, 0, flood.costs)

    def _pass_end_back(self, now: float, passing: _Passing, walker: int, costs: Costs) -> None:
        parent = passing.parents[walker]
        self.counters.ends_passed_back += 1
        self._tell(now, parent, encode(costs.done(self.flags, passing.search.id, walker)))

    # ---- answers come back ----

    def _pass_back(
        self, passing: _Passing, search: Search, now: float, copy: Copy, holder: Contact
    ) -> None:
        """Somebody whom it was sent on to holds it."""
        hops = min(search.hops + 1, TTL_MAX)
        hit = Hit(self.flags, search.id, search.walker, hops, holder.packed, copy)
        self._relay(now, passing, hit, holder)

    def _relay(self, now: float, passing: _Passing, hit: Hit, teller: Contact) -> None:
        copy = hit.copy
        # Content has one version, whatever a copy says; and nobody can sign the hash of a value.
        content = passing.search.kind == Kind.CONTENT
        if copy is None or passing.hits >= HITS_MAX:
            return
        if not content and copy.version <= passing.version:
            return
        record = self._true(passing.search, copy)
        if record is None:
            if passing.search.style & WALK:
                self._pass_end_back(now, passing, hit.walker, Costs(messages=hit.hops))
            return
        passing.hits += 1
        if not content:
            passing.version = copy.version
        elif isinstance(record, Record):
            passing.hits = HITS_MAX  # the value itself: there is nothing else to be found
        parent = passing.parents[hit.walker]
        self.counters.hits_passed_back += 1
        self._tell(now, parent, encode(msgspec.structs.replace(hit, flags=self.flags)))
        if passing.search.style & KEEP:
            self.keep(now, teller, copy)

    def _true(self, search: Search, copy: Copy) -> Record | Head | None:
        """The record of a copy, if it is what the search is for. Threat: a lie of a high version,
        after which no truth would be passed back. A plain record is nobody's: there it counts."""
        try:
            record = record_of_untrusted(copy, value_size_max=self.config.value_size_max)
        except RemoteError:
            return None
        place = (record.kind, key_bytes(record.key))
        return record if place == (search.kind, search.key) and copy.remaining_ms else None

    def serve_hit(
        self, now: float, opened: Opened, request_id: bytes, message: Hit, asker: Contact
    ) -> None:
        """Passes an answer back, or takes it, if it is to a search of ours."""
        if not opened.proved:
            self.channel.demand_proof(now, opened.ticket)
            return
        status = Taking.NOT_HERE
        issued = self._issued.get(message.id)
        passing = self._remembered(now, message.id)
        if self._is_own(message.id) or (
            passing is not None and passing.knows(asker, message.walker)
        ):
            status = Taking.TAKEN
        self._answer_taken(now, opened, request_id, status)
        if issued is not None:
            issued[0].on_hit(now, message, asker)
            issued[1](now)
        elif status is Taking.TAKEN and passing is not None:
            self._relay(now, passing, message, asker)

    def serve_done(
        self, now: float, opened: Opened, request_id: bytes, message: Done, asker: Contact
    ) -> None:
        """A part of a search has ended."""
        if not opened.proved:
            self.channel.demand_proof(now, opened.ticket)
            return
        self._answer_taken(now, opened, request_id, Taking.TAKEN)
        issued = self._issued.get(message.id)
        passing = self._remembered(now, message.id)
        if issued is not None:
            issued[0].on_done(now, asker, message)
            issued[1](now)
        elif passing is not None and passing.search.style & WALK:
            if passing.knows(asker, message.walker):
                self._pass_end_back(now, passing, message.walker, Costs(message.messages))
        elif passing is not None and passing.task is not None and asker.id in passing.sent_to:
            passing.task.machine.on_done(asker, message)
            self.tasks.drive(now, passing.task)

    def serve_wanted(
        self, now: float, opened: Opened, request_id: bytes, message: Wanted, asker: Contact
    ) -> None:
        """A walker asks whether its search is still on. That it has ended, who says so proves."""
        if message.last and not opened.proved:
            self.channel.demand_proof(now, opened.ticket)
            return
        issued = self._issued.get(message.id)
        wanted = False
        if issued is not None:
            wanted = issued[0].on_walker(now, message.walker, message.hops, last=message.last)
            wanted = issued[1](now) and wanted
        status = Taking.TAKEN if wanted else Taking.SEEN
        self._answer_taken(now, opened, request_id, status)

    # ---- private ----

    def _remembered(self, now: float, search_id: bytes) -> _Passing | None:
        passing = self._passing
        while passing:
            oldest = next(iter(passing.values()))
            if now < oldest.seen_at + SEEN_S:
                break
            passing.popitem(last=False)
        return passing.get(search_id)

    def _remember(self, search: Search, now: float) -> _Passing:
        passing = self._passing[search.id] = _Passing(search, now)
        if len(self._passing) > SEEN_MAX:
            self._passing.popitem(last=False)
        return passing

    def _spawn(
        self, now: float, machine: Any, stepped: Callable[[float, Task], None] | None = None
    ) -> Task:
        return self.tasks.spawn(now, machine, stepped, structured=False)

    def _tell(self, now: float, parent: Contact, body: bytes) -> None:
        """Something that comes back, to whom the search came from. It proved where it is when it
        sent us the search: one lost datagram must not shut its door to all answers."""
        self.tasks.spawn(now, Question(parent, body), hearsay=False, structured=False)

    def _tell_issuer(self, now: float, issuer: Contact, body: bytes) -> None:
        """The same to whom the search names, by whose word it lives there."""
        self._spawn(now, Question(issuer, body))

    def _answer_taken(self, now: float, opened: Opened, request_id: bytes, status: Taking) -> None:
        self._answer(now, opened, request_id, Taken(self.home.time_s(now), status))

    def _answer(self, now: float, opened: Opened, request_id: bytes, answer: Answer) -> None:
        self.channel.answer(now, opened.ticket, request_id + encode(answer))
