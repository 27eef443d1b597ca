"""What operations have in common, and the simplest of them: a lookup.

Each operation is a machine (``next``, ``on_reply``, ``on_failure``, ``on_retry``) that owns a
search and ends in an outcome or an error. ``settled`` turns true, once, when the application can be
told. ``get`` and ``put`` are the others.
"""

from bisect import insort
from collections.abc import Iterable
from typing import Protocol, final

import attrs

from ..contacts import Contact
from ..errors import DHTError, NoPeers
from ..keyspace import Key
from ..records import Kind, Record
from ..wire.messages import Message, Status
from .density import UNREAD, DensityGauge, Reading
from .machine import FINISHED, Ask, Finished, Wait
from .outcomes import LookupOutcome, Outcome, Trace

#: Contacts that a batch of operations remembers for each other; guess: 16 in flight x 8 owners x 2.
SHARED_MAX = 256


class Search(Protocol):
    """The face of a lookup; ``Lookup`` and ``DisjointLookup``, and what ``region`` makes of
    them."""

    @property
    def target(self) -> int: ...
    def next(self, now: float) -> Ask | Wait | Finished: ...
    def on_reply(self, now: float, contact: Contact, closer: Iterable[Contact]) -> None: ...
    def on_failure(self, now: float, contact: Contact) -> None: ...
    def on_retry(self, contact: Contact) -> None: ...
    def result(self) -> list[Contact]: ...
    def known(self) -> list[Contact]: ...
    def widen(self, want: int) -> None: ...
    def distances(self, count: int) -> list[int]: ...
    def why_stopped(self) -> str: ...
    def trace(
        self, now: float, stopped: str, *, holders: Iterable[Contact] = (), besides: int = 0
    ) -> Trace: ...


class Local(Protocol):
    """This node as an owner among the others; the engine is the one implementation beside tests."""

    @property
    def contact(self) -> Contact:
        """How others reach this node."""

    @property
    def serves(self) -> bool:
        """Does it keep records for others? A client does not."""

    def held(
        self, now: float, kind: Kind, key: Key, author: bytes = b""
    ) -> tuple[Record, int] | None:
        """A record of our own store and the milliseconds that it has left; of a member's slot with
        its author's public key."""

    def topic(self, now: float, key: Key) -> tuple[list[tuple[Record, int]], bytes]:
        """The members of a topic in our own store, tombstones too, each with the milliseconds
        that it has left; and their digest."""

    def keep(
        self,
        now: float,
        record: Record,
        *,
        remaining_ms: int,
        if_version: int | None,
        handover: bool = False,
        placed: bool = False,
    ) -> tuple[Status, Record | None]:
        """Our own store's answer to a record; ``handover``: it is another holder's copy;
        ``placed``: it is one of the unstructured overlay."""

    def wall_ms(self, now: float, *, median: bool = False) -> int:
        """Our wall clock; or, with ``median``, the one that our peers agree on."""

    def tried(self) -> str:
        """Whom we have tried to reach, for the error that says that nobody answered."""


@final
@attrs.define(eq=False)
class Shared:
    """What the operations of one batch learn for each other: who answered lately."""

    _contacts: dict[int, Contact] = attrs.field(factory=dict, init=False)

    def learn(self, contact: Contact) -> None:
        self._contacts[contact.id] = contact
        if len(self._contacts) > SHARED_MAX:
            del self._contacts[next(iter(self._contacts))]

    def nearest(self, target: int, count: int) -> list[Contact]:
        ids = sorted(self._contacts, key=target.__xor__)[:count]
        return [self._contacts[contact_id] for contact_id in ids]


@attrs.define(eq=False)
class LookupOperation:
    """Finds the live contacts nearest to a target."""

    target: Key
    search: Search
    local: Local
    count: int
    gauge: DensityGauge | None = None
    outcome: Outcome | None = attrs.field(default=None, init=False)
    error: DHTError | None = attrs.field(default=None, init=False)
    settled: bool = attrs.field(default=False, init=False)
    #: A lookup says that it is crowded, and that is its end.
    goes_on: bool = attrs.field(default=False, init=False)
    _answered: bool = attrs.field(default=False, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        step = self.search.next(now)
        if step is FINISHED and not self.settled:
            self._settle(now)
        return step

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        self._answered = True
        self.search.on_reply(now, contact, closer)

    def on_failure(self, now: float, contact: Contact) -> None:
        self.search.on_failure(now, contact)

    def on_retry(self, contact: Contact) -> None:
        self.search.on_retry(contact)

    def _settle(self, now: float) -> None:
        self.settled = True
        trace = self.search.trace(now, self.search.why_stopped())
        if trace.nodes and not self._answered:
            self.error = NoPeers(f"nobody answered the lookup; tried {self.local.tried()}")
            return
        closest = with_self(self.search.result(), self.local, self.target)[: self.count]
        reading = reading_of(now, self.gauge, self.search, self.local, self.target)
        self.outcome = LookupOutcome(
            target=self.target,
            closest=tuple(closest),
            trace=trace,
            density=reading.density,
            alarmed=reading.alarmed,
        )


def with_self(contacts: list[Contact], local: Local, target: int) -> list[Contact]:
    """The contacts and, unless this node is a client, this node: nearest first."""
    if not local.serves:
        return contacts
    return sorted([*contacts, local.contact], key=lambda contact: contact.id ^ target)


def reading_of(
    now: float, gauge: DensityGauge | None, search: Search, local: Local, target: int
) -> Reading:
    """How crowded it is around a target, by what a search of it knows now, this node included."""
    if gauge is None:
        return UNREAD
    distances = search.distances(gauge.config.k)
    if local.serves:
        insort(distances, local.contact.id ^ target)
    return gauge.read(now, target, distances)
