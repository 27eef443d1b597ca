"""Publishing a record in the unstructured overlay: where its copies go, and how they are renewed.

The publisher keeps the record for its whole life. The copies carry leases of an hour, which it
renews by placing the record anew, under the version above its last: so a copy ends by itself when
its publisher is gone or has deleted it, nobody else can make it live longer, and what anybody has
written since is newer. Where the publisher hears of such a record it renews its own no more.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import final

import attrs

from ...author import Author
from ...config import LEASE_S
from ...contacts import Contact
from ...errors import DHTError, LocalError
from ...keyspace import Key
from ...records import VERSION_MAX, Kind, Record
from ...wire.codec import copy_of, encode
from ...wire.messages import LEASE, Message, Shuffled, Status, Store, Stored
from ..machine import FINISHED, Ask, Finished, Wait
from ..operations import Local
from ..outcomes import Outcome, PutOutcome, Refusal, StepResult, Trace
from ..via import Placement
from .asked import Log
from .view import Entry

#: Stores under way at once; guess, as a put to owners has.
STORES_AT_ONCE = 8
#: Nodes that are asked for each copy that is wanted, before it is given up: the others refused, or
#: are gone.
ASKED_PER_COPY = 3
#: Memory: records that this node publishes in the unstructured overlay.
PUBLICATIONS_MAX = 65_536


def copies_for(found: Sequence[int], copies: int, by: str) -> list[int]:
    """How many copies each of some records has, if there are ``copies`` a record on average and
    each was ``found`` so often. Cohen and Shenker (SIGCOMM 2002), section 3: with shares of the
    square root the searches of all are the shortest, with uniform and proportional ones equal.

    Their sum is ``copies * len(found)``: shares are rounded down, and what is left goes to those
    that were cut most.
    """
    if by == "uniform":
        return [copies] * len(found)
    # One more for each, so that what was never found yet is not forgotten.
    weights = [(each + 1) ** (0.5 if by == "square_root" else 1.0) for each in found]
    total = copies * len(found)
    scale = total / sum(weights) if weights else 0.0
    exact = [weight * scale for weight in weights]
    shares = [int(each) for each in exact]
    by_rest = sorted(range(len(exact)), key=lambda number: shares[number] - exact[number])
    for number in by_rest[: total - sum(shares)]:
        shares[number] += 1
    return shares


@attrs.define(eq=False)
class Publication:
    """A record that this node publishes, and how often it was found here since the last renewal."""

    kind: Kind
    key: Key
    value: bytes = attrs.field(repr=False)
    placement: Placement
    author: Author | None
    name: bytes
    #: When the record ends, whatever is renewed.
    until: float
    renew_at: float
    #: The version that it was placed under last.
    version: int = 0
    #: Copies that it has beside the publisher's.
    copies: int = 0
    found: int = 0

    @property
    def popularity(self) -> int:
        """How often it was found everywhere, by chance: here it is one of so many."""
        return self.found * (self.copies + 1)

    def is_replaced_by(self, held: Record | None) -> bool:
        """Has somebody written something else since, of what we hold?"""
        return (
            held is not None
            and held.version > self.version
            and (held.tombstone or held.value != self.value)
        )


@final
@attrs.define(eq=False, kw_only=True)
class Placing:
    """Puts a record: at home, and then copies where the placement says. The face of every
    operation; it is settled when all whom it asked have answered."""

    kind: Kind
    key: Key
    value: bytes
    ttl_ms: int
    tombstone: bool
    author: Author | None
    name: bytes
    placement: Placement
    copies: int
    flags: int
    local: Local
    random: Random
    #: Some neighbours, so many at random.
    sample: Callable[[int], Sequence[Entry]]
    #: A question for somebody else's neighbours, and how its answer is read.
    list_body: Callable[[float], bytes]
    read_list: Callable[[float, Contact, Shuffled], Sequence[Entry]]
    #: Of a renewal: the version that it was placed under last. None: it is something new.
    renews: int | None
    #: Called when it begins, which it may never do, with the version that it has now.
    on_begin: Callable[[int], None]
    outcome: Outcome | None = attrs.field(default=None, init=False)
    error: DHTError | None = attrs.field(default=None, init=False)
    settled: bool = attrs.field(default=False, init=False)
    goes_on: bool = attrs.field(default=False, init=False)
    record: Record | None = attrs.field(default=None, init=False)
    _body: bytes = attrs.field(default=b"", init=False)
    _started_at: float = attrs.field(default=0.0, init=False)
    _candidates: list[Contact] = attrs.field(factory=list, init=False)
    _known: dict[int, bool] = attrs.field(factory=dict, init=False)
    _stored: dict[int, Contact] = attrs.field(factory=dict, init=False)
    _refused: list[Refusal] = attrs.field(factory=list, init=False)
    _silent: dict[int, Contact] = attrs.field(factory=dict, init=False)
    _storing: dict[int, Contact] = attrs.field(factory=dict, init=False)
    _listing: dict[int, bool] = attrs.field(factory=dict, init=False)
    #: Who was asked for its neighbours: nobody is twice.
    _listed: dict[int, bool] = attrs.field(factory=dict, init=False)
    #: Of a walk: whom it might have gone to as well, for when it gets stuck.
    _aside: list[Contact] = attrs.field(factory=list, init=False)
    #: Whom to ask for its neighbours: the one who has stored last, or some candidate.
    _to_list: Contact | None = attrs.field(default=None, init=False)
    _log: Log = attrs.field(factory=Log, init=False)
    _messages: int = attrs.field(default=0, init=False)
    _duplicates: int = attrs.field(default=0, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        if self.settled:
            return FINISHED
        if self.record is None:
            self._begin(now)
        if not self.settled:
            step = self._step(now)
            if step is not None:
                return step
            self._settle(now, "every copy is placed" if self._has_all else "nobody is left to ask")
        return FINISHED

    @property
    def _has_all(self) -> bool:
        return len(self._stored) - 1 >= self.copies  # one of them is ours

    def _begin(self, now: float) -> None:
        self._started_at = now
        self.record = record = self._stamped(now)
        self.on_begin(record.version)
        status, _ = self.local.keep(
            now, record, remaining_ms=self.ttl_ms, if_version=None, placed=True
        )
        if status is Status.STORED:
            self._stored[self.local.contact.id] = self.local.contact
        else:
            self._refused.append(Refusal(contact=self.local.contact, reason=status.name))
            self._settle(now, "our own store refused it")
            return
        copy = copy_of(record, min(self.ttl_ms, int(LEASE_S * 1000)))
        self._body = encode(Store(self.flags | LEASE, copy, None, 0))
        self._known[self.local.contact.id] = True
        # A walk begins at one neighbour and goes on from there.
        self._learn(self.sample(1 if self.placement.where == "path" else self.copies))

    def _stamped(self, now: float) -> Record:
        wall_ms = self.local.wall_ms(now)
        member = b"" if self.author is None else self.author.id.public_key
        held = self.local.held(now, self.kind, self.key, member if not self.name else b"")
        above = 0 if held is None else held[0].version + 1
        # What was written after the first placing has a version of a later moment: a renewal stays
        # below it. Two in one millisecond apart, that takes as many renewals, of half an hour each.
        least = wall_ms if self.renews is None else self.renews + 1
        record = Record(
            kind=self.kind,
            key=self.key,
            version=min(max(least, above, 1), VERSION_MAX),
            written_at_ms=max(0, wall_ms),
            ttl_ms=self.ttl_ms,
            tombstone=self.tombstone,
            value=self.value,
        )
        return record if self.author is None else record.signed_by(self.author, self.name)

    def _step(self, now: float) -> Ask | Wait | None:
        """What is to be done next; None: nothing is left to do."""
        wanted = self.copies - (len(self._stored) - 1) - len(self._storing)
        tried = len(self._stored) + len(self._refused) + len(self._silent) + len(self._storing)
        if wanted > 0 and tried - 1 < ASKED_PER_COPY * self.copies:
            at_once = 1 if self.placement.where == "path" else STORES_AT_ONCE
            if self._candidates and len(self._storing) < at_once:
                contact = self._candidates.pop(0)
                self._storing[contact.id] = contact
                return self._ask(now, contact, self._body)
            if not self._candidates and self._to_list is not None:
                contact, self._to_list = self._to_list, None
                self._listing[contact.id] = self._listed[contact.id] = True
                return self._ask(now, contact, self.list_body(now))
        return Wait(None) if self._storing or self._listing else None

    def _ask(self, now: float, contact: Contact, body: bytes) -> Ask:
        self._messages += 1
        self._log.note(now, contact)
        return Ask(contact, body)

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        self._log.hear(now, contact, StepResult.ANSWERED)
        if isinstance(message, Shuffled):
            if self._listing.pop(contact.id, None):
                entries = list(self.read_list(now, contact, message))[1:]
                self.random.shuffle(entries)
                self._learn(entries)
                self._go_on()
        elif isinstance(message, Stored) and contact.id in self._storing:
            status = Status(message.status)
            if status is Status.PULLING:
                return  # a second answer follows
            del self._storing[contact.id]
            if status is Status.STORED:
                self._stored[contact.id] = contact
            else:
                self._refused.append(Refusal(contact=contact, reason=status.name))
            self._to_list = contact
        else:
            self._give_up(contact)

    def on_failure(self, now: float, contact: Contact) -> None:
        self._log.hear(now, contact, StepResult.SILENT)
        self._give_up(contact)

    def on_retry(self, contact: Contact) -> None:
        self._messages += 1

    def _give_up(self, contact: Contact) -> None:
        self._listing.pop(contact.id, None)
        if self._storing.pop(contact.id, None) is not None:
            self._silent[contact.id] = contact
        self._go_on()

    def _go_on(self) -> None:
        """Where nobody is left to ask, the walk goes on from somewhere before."""
        if self._candidates or self._to_list is not None:
            return
        stored = list(self._stored.values())[1:]
        unlisted = [each for each in stored if each.id not in self._listed]
        aside = [each for each in self._aside if each.id not in self._known]
        if unlisted:
            self._to_list = self.random.choice(unlisted)
        elif aside:
            self._candidates = [self.random.choice(aside)]
            self._known[self._candidates[0].id] = True
        else:
            self._learn(self.sample(self.copies))

    def _learn(self, entries: Sequence[Entry]) -> None:
        known = self._known
        new = {each.contact.id: each.contact for each in entries if each.contact.id not in known}
        contacts = list(new.values())
        self._duplicates += len(entries) - len(contacts)
        if self.placement.where == "path":
            self._aside += contacts[1:]
            del contacts[1:]
        known.update(dict.fromkeys((each.id for each in contacts), True))
        self._candidates += contacts

    def _settle(self, now: float, stopped: str) -> None:
        self.settled = True
        assert self.record is not None
        self.outcome = PutOutcome(
            key=self.key,
            version=self.record.version,
            stored=tuple(self._stored.values()),
            refused=tuple(self._refused),
            silent=tuple(self._silent.values()),
            pending=(),
            quorum=1,
            trace=Trace(
                target=self.key,
                hops=1 if len(self._stored) > 1 else 0,
                messages=self._messages,
                nodes=self._log.nodes(),
                duplicates=self._duplicates,
                elapsed=now - self._started_at,
                steps=self._log.steps(self._started_at),
                stopped=stopped,
            ),
        )


@final
class Publications:
    """The records that this node publishes, and when each is renewed."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._by_slot: dict[tuple[int, int], Publication] = {}

    def __len__(self) -> int:
        return len(self._by_slot)

    def check_room(self, kind: int, key: int) -> None:
        """Raises ``LocalError`` for a record that is one too many."""
        slot = (kind, key)
        if slot not in self._by_slot and len(self._by_slot) >= PUBLICATIONS_MAX:
            raise LocalError(
                f"{PUBLICATIONS_MAX} records are published in the unstructured overlay, the most "
                "that one node may; delete some, or give them shorter lives"
            )

    def publish(self, publication: Publication, version: int) -> None:
        """From now on it is renewed; it has just been placed under this version."""
        publication.version = version
        self._by_slot[publication.kind, publication.key] = publication

    def withdraw(self, kind: int, key: int, _version: int = 0) -> None:
        """It is renewed no more."""
        self._by_slot.pop((kind, key), None)

    def found(self, kind: int, key: int) -> None:
        """A search found it here."""
        publication = self._by_slot.get((kind, key))
        if publication is not None:
            publication.found += 1

    def due(self, now: float) -> list[tuple[Publication, int]]:
        """What is to be renewed now, and with how many copies. What has ended is forgotten."""
        for slot in [each for each, known in self._by_slot.items() if known.until <= now]:
            del self._by_slot[slot]
        due = [each for each in self._by_slot.values() if each.renew_at <= now]
        shares = self._shares() if due else {}
        for publication in due:
            publication.renew_at = self.renewal_after(now)
            publication.copies = shares[publication.kind, publication.key]
            publication.found = 0
        return [(each, each.copies) for each in due]

    def _shares(self) -> dict[tuple[int, int], int]:
        """How many copies each record has among all that are placed in the same manner."""
        alike: dict[Placement, list[Publication]] = {}
        for publication in self._by_slot.values():
            alike.setdefault(publication.placement, []).append(publication)
        shares: dict[tuple[int, int], int] = {}
        for placement, publications in alike.items():
            popularities = [each.popularity for each in publications]
            counts = copies_for(popularities, placement.copies, placement.by)
            for publication, count in zip(publications, counts, strict=True):
                shares[publication.kind, publication.key] = count
        return shares

    def renewal_after(self, now: float) -> float:
        """When a copy that is placed now is renewed: at half of its lease, more or less."""
        return now + LEASE_S / 2 * self._random.uniform(0.8, 1.0)
