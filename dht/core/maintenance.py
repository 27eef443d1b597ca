"""Upkeep: staying in the network, and keeping records with their owners. Decisions only.

``Membership`` decides when to try to join and whom to ask; ``RepairSchedule`` which records are
due for a look at their owners; ``ClockSamples`` whether our wall clock can be trusted. ``Repair``
and ``Spread`` are machines that ask others. The engine owns one of each and sends what they ask.
"""

from collections.abc import Iterable
from enum import Enum, auto
from heapq import heappop, heappush
from random import Random
from typing import NamedTuple, final

import attrs

from ..config import CLOCK_TOLERANCE_S, Config
from ..contacts import Contact
from ..errors import RemoteError
from ..keyspace import Key, key_bytes
from ..records import Kind, Record
from ..wire.codec import copy_of, encode, record_of_untrusted
from ..wire.messages import HANDOVER, Found, Get, Message, Nodes, Status, Store, Stored
from .machine import FINISHED, Ask, Finished, Wait
from .operations import Local, Search, with_self
from .transfer import Transfer

#: Pauses are drawn from +- this share, so that nodes cut off together do not return as a crowd.
JITTER = 0.2
#: Answers from so many different subnets vote on what time it is.
CLOCK_SAMPLES = 20
#: Seconds. What answers tell is rounded to one, and has travelled: a smaller change is none.
CLOCK_GRAIN_S = 2.0


class Standing(Enum):
    """Where a node stands towards its network."""

    NEW = auto()
    """Never joined; operations raise ``NoPeers``."""
    JOINED = auto()
    ALONE = auto()
    """Joined once, and now nobody answers."""


@attrs.define(eq=False)
class Membership:
    """When to try to join, again and again, for ever; the pause doubles while nobody answers."""

    config: Config
    random: Random
    standing: Standing = attrs.field(default=Standing.NEW, init=False)
    attempt_under_way: bool = attrs.field(default=False, init=False)
    next_attempt_at: float | None = attrs.field(default=None, init=False)
    _pause_s: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._pause_s = self.config.rejoin_first_s

    def began(self) -> None:
        self.attempt_under_way = True
        self.next_attempt_at = None

    def joined(self) -> bool:
        """An attempt was answered. True when that is news."""
        news = self.standing is not Standing.JOINED
        self.standing = Standing.JOINED
        self.attempt_under_way = False
        self._pause_s = self.config.rejoin_first_s
        return news

    def failed(self, now: float) -> float:
        """An attempt was answered by nobody. The seconds until the next."""
        self.attempt_under_way = False
        pause = self._pause_s * self.random.uniform(1 - JITTER, 1 + JITTER)
        self._pause_s = min(self._pause_s * 2, self.config.rejoin_max_s)
        self.next_attempt_at = now + pause
        return pause

    def lost(self, now: float) -> bool:
        """Nobody answers any more. True when that is news."""
        if self.standing is not Standing.JOINED:
            return False
        self.standing = Standing.ALONE
        self._pause_s = self.config.rejoin_first_s
        return True

    def heard(self, now: float) -> bool:
        """A datagram of a known peer came while we were out: the next attempt need not wait."""
        if self.standing is Standing.JOINED or self.attempt_under_way:
            return False
        self._pause_s = self.config.rejoin_first_s
        return True


#: A record's own turn may be put off so often because others say that they look after it: one
#: who only says so cannot keep us from it.
POSTPONED_MAX = 2


class _Plan(NamedTuple):
    """A named tuple: there is one for each record, and the garbage collector has no use for it."""

    when: float
    #: Nearer holders were given their turn already.
    turn_taken: bool
    postponed: int = 0


@final
@attrs.frozen(kw_only=True)
class Due:
    """A record whose time has come."""

    kind: int
    key: int
    #: Nearer holders were given their turn already.
    turn_taken: bool
    #: How often in a row somebody else said to have done the work.
    postponed: int


@attrs.define(eq=False)
class RepairSchedule:
    """Which of our records is due for a look at its owners, and when. Never scans the store."""

    _plans: dict[tuple[int, int], _Plan] = attrs.field(factory=dict, init=False)
    _heap: list[tuple[float, int, int]] = attrs.field(factory=list, init=False)

    def set(
        self, kind: int, key: int, when: float, *, turn_taken: bool = False, postponed: int = 0
    ) -> None:
        """Replaces whatever was planned for this record."""
        self._plans[kind, key] = _Plan(when, turn_taken, postponed)
        self._push(kind, key, when)

    def hasten(self, kind: int, key: int, when: float) -> None:
        """Not later than ``when``."""
        plan = self._plans.get((kind, key))
        if plan is None or when < plan.when:
            self.set(kind, key, when, postponed=0 if plan is None else plan.postponed)

    def postpone(self, kind: int, key: int, when: float) -> None:
        """Somebody else did the work; believed ``POSTPONED_MAX`` times in a row."""
        plan = self._plans.get((kind, key))
        if plan is not None and plan.postponed < POSTPONED_MAX and when > plan.when:
            self._plans[kind, key] = _Plan(when, turn_taken=False, postponed=plan.postponed + 1)
            self._push(kind, key, when)

    def pop_due(self, now: float) -> Due | None:
        """A record whose time has come; its plan is forgotten."""
        while self._heap and self._heap[0][0] <= now:
            when, kind, key = heappop(self._heap)
            plan = self._plans.get((kind, key))
            if plan is not None and plan.when == when:
                del self._plans[kind, key]
                return Due(kind=kind, key=key, turn_taken=plan.turn_taken, postponed=plan.postponed)
        return None

    def next_timeout(self) -> float | None:
        while self._heap:
            when, kind, key = self._heap[0]
            plan = self._plans.get((kind, key))
            if plan is not None and plan.when == when:
                return when
            heappop(self._heap)  # this plan was replaced
        return None

    def __len__(self) -> int:
        return len(self._plans)

    def _push(self, kind: int, key: int, when: float) -> None:
        heappush(self._heap, (when, kind, key))
        if len(self._heap) > 4 * len(self._plans) + 64:  # replaced plans, swept out
            self._heap = sorted((plan.when, *slot) for slot, plan in self._plans.items())


@attrs.define(eq=False)
class ClockSamples:
    """The time that others told, one voice a subnet (a key, on local ranges)."""

    #: source -> seconds that its wall clock is ahead of ours
    _ahead: dict[bytes, float] = attrs.field(factory=dict, init=False)
    #: The same, sorted; None when it has to be sorted again.
    _sorted: list[float] | None = attrs.field(default=None, init=False)

    def add(self, teller: Contact, ahead_s: float) -> None:
        """``teller`` said the time, from where it was asked."""
        voice = teller.public_key if teller.subnet is None else teller.subnet
        known = self._ahead.get(voice)
        if known is not None and abs(known - ahead_s) < CLOCK_GRAIN_S:
            return
        if known is None and len(self._ahead) >= CLOCK_SAMPLES:
            del self._ahead[next(iter(self._ahead))]
        self._ahead[voice] = ahead_s
        self._sorted = None

    def moved(self, by_s: float) -> None:
        """Our own clock was set: it is so much further ahead than before."""
        for voice in self._ahead:
            self._ahead[voice] -= by_s
        self._sorted = None

    def median_s(self) -> float | None:
        """How far the others' median is ahead of our wall clock; None before the first answer."""
        if self._sorted is None:
            self._sorted = sorted(self._ahead.values())
        ordered = self._sorted
        return ordered[len(ordered) // 2] if ordered else None

    def trusted(self) -> bool:
        """Is our own clock near enough to the others' to refuse a record by it?"""
        median = self.median_s()
        return median is not None and abs(median) <= CLOCK_TOLERANCE_S


@final
@attrs.define(eq=False)
class Spread:
    """Hands one record to some contacts, without caring for what they say."""

    body: bytes
    contacts: list[Contact]
    _waiting: dict[int, bool] = attrs.field(factory=dict, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        if self.contacts:
            contact = self.contacts.pop()
            self._waiting[contact.id] = True
            return Ask(contact, self.body)
        return Wait(None) if self._waiting else FINISHED

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        if not isinstance(message, Stored) or message.status != Status.PULLING:
            self._waiting.pop(contact.id, None)  # PULLING: it fetches the value, and answers again

    def on_failure(self, now: float, contact: Contact) -> None:
        self._waiting.pop(contact.id, None)

    def on_retry(self, contact: Contact) -> None:
        """Retries are none of its business."""


def spread(contacts: Iterable[Contact], record: Record, remaining_ms: int, flags: int) -> Spread:
    """A handover of a record with what remains of its life."""
    copy = copy_of(record, remaining_ms)
    store = Store(flags=flags | HANDOVER, copy=copy, if_version=None, count=0)
    return Spread(encode(store), list(contacts))


@final
@attrs.define(eq=False)
class Repair:
    """Looks at a record's owners: brings the newest version home, and gives it to who lacks it."""

    kind: Kind
    key: Key
    replicas: int
    flags: int
    value_size_max: int
    search: Search
    local: Local
    _versions: dict[int, int] = attrs.field(factory=dict, init=False)
    _asked_for_newer: Contact | None = attrs.field(default=None, init=False)
    _second: Spread | Transfer | None = attrs.field(default=None, init=False)
    _remaining_ms: int = attrs.field(default=0, init=False)
    _done: bool = attrs.field(default=False, init=False)
    #: Did anybody lack the record? For the statistics.
    copies: int = attrs.field(default=0, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        if isinstance(self._second, Transfer):
            step = self._second.next(now)
            if step is not FINISHED:
                return step
            if self._second.record is not None:
                self._take(now, self._second.record, self._remaining_ms)
            self._second = None
            self._done = True  # the others are this record's next repair's business
        if self._done:
            return FINISHED if self._second is None else self._second.next(now)
        if self._asked_for_newer is not None:
            return Wait(None)
        step = self.search.next(now)
        return self._after_search(now) if step is FINISHED else step

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        if self._second is not None:
            self._second.on_reply(now, contact, message, closer)
        elif contact is self._asked_for_newer:
            self._asked_for_newer = None
            self._on_newer(now, contact, message)
        elif isinstance(message, Nodes):
            self._versions[contact.id] = self._rated(message.version)
            self.search.on_reply(now, contact, closer)

    def on_failure(self, now: float, contact: Contact) -> None:
        if self._second is not None:
            self._second.on_failure(now, contact)
        elif contact is self._asked_for_newer:
            self._asked_for_newer = None
            self._versions[contact.id] = 0
        else:
            self.search.on_failure(now, contact)

    def on_retry(self, contact: Contact) -> None:
        self.search.on_retry(contact)

    def _after_search(self, now: float) -> Ask | Wait | Finished:
        held = self.local.held(now, self.kind, self.key)
        if held is None:
            return FINISHED  # it has ended meanwhile
        record, remaining_ms = held
        version = self._rated(record.version)
        owners = [
            contact
            for contact in with_self(self.search.result(), self.local, self.key)[: self.replicas]
            if contact.id != self.local.contact.id
        ]
        newest = max(owners, key=lambda c: self._versions.get(c.id, 0), default=None)
        if newest is not None and self._versions.get(newest.id, 0) > version:
            self._asked_for_newer = newest
            get = Get(flags=self.flags, kind=self.kind, key=key_bytes(self.key), count=0)
            return Ask(newest, encode(get))
        lacking = [c for c in owners if self._versions.get(c.id, 0) < version]
        self._done = True
        if not lacking or remaining_ms <= 0:
            return FINISHED
        self.copies = len(lacking)
        self._second = spread(lacking, record, remaining_ms, self.flags)
        return self._second.next(now)

    def _on_newer(self, now: float, contact: Contact, message: Message) -> None:
        self._versions[contact.id] = 0  # whatever it sends: not to be asked again
        if not isinstance(message, Found):
            return
        try:
            record = record_of_untrusted(message.copy, value_size_max=self.value_size_max)
        except RemoteError:
            return
        if (record.kind, record.key) != (self.kind, self.key):
            return
        if isinstance(record, Record):
            if self._take(now, record, message.copy.remaining_ms) is Status.STORED:
                self._versions[contact.id] = record.version
        else:
            self._remaining_ms = message.copy.remaining_ms
            self._second = Transfer(record, contact, self.flags)

    def _rated(self, version: int) -> int:
        """A version as far as it decides: a content record has no newer one, only copies."""
        return min(version, 1) if self.kind is Kind.CONTENT else version

    def _take(self, now: float, record: Record, remaining_ms: int) -> Status:
        return self.local.keep(
            now, record, remaining_ms=remaining_ms, if_version=None, handover=True
        )[0]


@final
@attrs.define(eq=False)
class Join:
    """A lookup of our own id: makes us known to our neighbours, and them to us."""

    search: Search
    answered: int = attrs.field(default=0, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        return self.search.next(now)

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        self.answered += 1
        self.search.on_reply(now, contact, closer)

    def on_failure(self, now: float, contact: Contact) -> None:
        self.search.on_failure(now, contact)

    def on_retry(self, contact: Contact) -> None:
        self.search.on_retry(contact)


@final
@attrs.define(eq=False)
class Probe:
    """One question to one contact: is it there?"""

    contact: Contact
    body: bytes
    answered: bool = attrs.field(default=False, init=False)
    _asked: bool = attrs.field(default=False, init=False)
    _ended: bool = attrs.field(default=False, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        if not self._asked:
            self._asked = True
            return Ask(self.contact, self.body)
        return FINISHED if self._ended else Wait(None)

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        self.answered = self._ended = True

    def on_failure(self, now: float, contact: Contact) -> None:
        self._ended = True

    def on_retry(self, contact: Contact) -> None:
        """Retries are none of its business."""
