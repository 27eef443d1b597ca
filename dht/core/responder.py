"""What a peer's request is answered: what it is told, and what is kept for it.

Everything that a stranger can read or write passes through here. One function a request, chosen
by a table; each builds an answer that fits the room that the channel allows.
"""

from collections.abc import Callable
from typing import final

import attrs

from ..config import LEASE_S, VALUE_INLINE_MAX, Config
from ..contacts import ADDRESS6_SIZE, CONTACT4_SIZE, CONTACT6_SIZE, Contact, is_local
from ..errors import RemoteError
from ..keyspace import Key
from ..records import Head, Kind, Record
from ..wire.codec import (
    COPY_RESERVE,
    PROOF_SIZE,
    copy_of,
    pack_contacts,
    record_of_untrusted,
    wanted_contacts,
)
from ..wire.messages import (
    CONTACTS_TOO,
    HANDOVER,
    HASHES,
    LEASE,
    REQUEST_ID_SIZE,
    WANT_IPV6,
    Answer,
    Block,
    Browse,
    Copy,
    Fetch,
    Find,
    Found,
    Get,
    Nodes,
    Page,
    Ping,
    Pong,
    Request,
    Status,
    Store,
    Stored,
)
from .routing import RoutingTable
from .storage import Storage, quota_source
from .topics import digest_of, total_of
from .transfer import BLOCK_SIZE

#: An answer names at most so many contacts of one /24 or /48: one host cannot be all we tell of.
SUBNET_PER_ANSWER_MAX = 2
#: Bytes of an answer that are neither contacts nor a value: id, tags, time, a record's head.
ANSWER_RESERVE = 130
#: Bytes of a ``Pong`` with the longest address, and its request id.
PONG_SIZE_MAX = 8 + 1 + 1 + 9 + 2 + ADDRESS6_SIZE
#: Of a page the same, where the first copy comes: id, array, tag, time, total, whole, digest, and
#: three lengths.
PAGE_RESERVE = REQUEST_ID_SIZE + 1 + 1 + 9 + 3 + 1 + 10 + 3 + 3 + 3
#: The part of a page that contacts may take while a search asks for them.
PAGE_SHARE_OF_CONTACTS = 1 / 3


@final
@attrs.frozen
class Offer:
    """A value that we want others to fetch, and the hashes of its pieces."""

    value: bytes = attrs.field(repr=False)
    piece_hashes: bytes = attrs.field(repr=False)


@final
@attrs.frozen
class Pull:
    """A ``Store`` that is welcome, but whose value has to be fetched from whoever offers it."""

    head: Head
    remaining_ms: int
    handover: bool
    if_version: int | None
    #: The packed contacts that the first answer names.
    nearest: tuple[bytes, bytes]
    #: Is it to be a copy of the unstructured overlay?
    placed: bool = False


@attrs.define(eq=False)
class Responder:
    """Answers requests from the routing table and the store. Never raises ``RemoteError``."""

    table: RoutingTable
    storage: Storage
    config: Config
    #: Are plain records taken from anybody? If not, then from loopback and private addresses only.
    takes_plain: bool = attrs.field(default=True, kw_only=True)
    #: Values that we offer in a put of our own, by hash: a client serves nothing else.
    offers: dict[bytes, Offer] = attrs.field(factory=dict, init=False)
    #: The wall clock of our answers, in seconds; the engine sets it before each request.
    time_s: int = attrs.field(default=0, init=False)
    #: The wall clock for the clock rule; None while ours cannot be trusted.
    wall_s: float | None = attrs.field(default=None, init=False)
    #: Called with each version that enters the store.
    on_stored: Callable[[float, Record], None] = attrs.field(default=lambda _now, _record: None)
    #: Called when another holder looks after a record that we hold too.
    on_tended: Callable[[float, int, Key], None] = attrs.field(
        default=lambda _now, _kind, _key: None
    )
    _answers: dict[type, Callable[..., Answer | Pull]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._answers = {
            Ping: self._ping,
            Find: self._find,
            Get: self._get,
            Store: self._store,
            Fetch: self._fetch,
            Browse: self._browse,
        }

    def answer(self, now: float, asker: Contact, request: Request, room: int) -> Answer | Pull:
        """The answer that fits into ``room`` bytes; or a ``Pull``, to be told ``PULLING``."""
        return self._answers[type(request)](now, asker, request, room)

    def _ping(self, now: float, asker: Contact, request: Ping, room: int) -> Answer:
        return Pong(self.time_s, asker.address if room >= PONG_SIZE_MAX else b"")

    def _find(self, now: float, asker: Contact, request: Find, room: int) -> Answer:
        target = int.from_bytes(request.target)
        version = 0
        if request.kind:
            version = self.storage.version(now, request.kind, target)
            if version and request.flags & HANDOVER:
                self.on_tended(now, request.kind, Key(target))
        contacts4, contacts6 = self._contacts(asker, target, request.count, request.flags, room)
        return Nodes(self.time_s, contacts4, contacts6, version)

    def _get(self, now: float, asker: Contact, request: Get, room: int) -> Answer:
        key = int.from_bytes(request.key)
        held = self.storage.get(now, request.kind, key)
        if held is None:
            contacts4, contacts6 = self._contacts(asker, key, request.count, request.flags, room)
            return Nodes(self.time_s, contacts4, contacts6, 0)
        copy = copy_of(
            held.record,
            max(1, int((held.deadline - now) * 1000)),
            inline_max=min(VALUE_INLINE_MAX, room - reserve_of(held.record)),
            digest=held.value_hash,
        )
        contacts4 = contacts6 = b""
        if request.flags & CONTACTS_TOO:
            left = room - len(copy.payload)
            contacts4, contacts6 = self._contacts(asker, key, request.count, request.flags, left)
        return Found(self.time_s, copy, contacts4, contacts6)

    def _store(self, now: float, asker: Contact, request: Store, room: int) -> Answer | Pull:
        if request.copy.kind == Kind.PLAIN and not (self.takes_plain or is_local(asker.address)):
            return Stored(self.time_s, Status.OPEN_NETWORK, 0, None, b"", b"")
        try:
            record = record_of_untrusted(request.copy, value_size_max=self.config.value_size_max)
        except RemoteError:
            return Stored(self.time_s, Status.INVALID, 0, None, b"", b"")
        # The pool for what holders hand over is for those that we know: a stranger who says that
        # he is one is charged like any other writer.
        handover = bool(request.flags & HANDOVER) and asker.id in self.table
        placed = bool(request.flags & LEASE)
        remaining_ms = request.copy.remaining_ms
        if placed:
            remaining_ms = min(remaining_ms, int(LEASE_S * 1000))
        left = room - VALUE_INLINE_MAX - (0 if record.proof is None else PROOF_SIZE)
        nearest = self._contacts(asker, record.key, request.count, request.flags, left)
        if isinstance(record, Head):
            pull = Pull(record, remaining_ms, handover, request.if_version, nearest, placed)
            status = self.storage.would_take(
                now,
                record,
                remaining_ms=pull.remaining_ms,
                wall_s=self.wall_s,
                source=quota_source(asker.address, asker.public_key),
                handover=handover,
                if_version=request.if_version,
            )
            held = self.storage.get(now, record.kind, record.key)
            if status is not Status.STORED:
                return self._refusal(status, None if held is None else held.record, room, nearest)
            if held is None or not self.storage.holds(now, record, placed=placed):
                return pull
            return Stored(self.time_s, status, record.version, None, *nearest)
        return self.store(
            now,
            asker,
            record,
            remaining_ms=remaining_ms,
            handover=handover,
            if_version=request.if_version,
            room=room,
            nearest=nearest,
            placed=placed,
        )

    def store(
        self,
        now: float,
        asker: Contact,
        record: Record,
        *,
        remaining_ms: int,
        handover: bool,
        if_version: int | None,
        room: int,
        nearest: tuple[bytes, bytes],
        placed: bool = False,
    ) -> Stored:
        """Keeps a whole record, or says why not: with the record held instead, if that fits.

        ``nearest`` are the packed contacts that the answer names; ``placed``: it is a copy of the
        unstructured overlay.
        """
        taken_before = self.storage.counters.stored
        status, held = self.storage.store(
            now,
            record,
            remaining_ms=remaining_ms,
            wall_s=self.wall_s,
            source=quota_source(asker.address, asker.public_key),
            handover=handover,
            if_version=if_version,
            placed=placed,
        )
        if status is Status.STORED:
            if self.storage.counters.stored != taken_before:  # not one that was held already
                self.on_stored(now, record)
            return Stored(self.time_s, status, record.version, None, *nearest)
        return self._refusal(status, held, room, nearest)

    def _refusal(
        self, status: Status, held: Record | None, room: int, nearest: tuple[bytes, bytes]
    ) -> Stored:
        copy = None
        room -= sum(map(len, nearest))
        if held is not None and len(held.value) <= min(VALUE_INLINE_MAX, room - reserve_of(held)):
            copy = copy_of(held, held.ttl_ms)
        version = 0 if held is None else held.version
        return Stored(self.time_s, status, version, copy, *nearest)

    def fetch(self, now: float, request: Fetch) -> Block:
        """A block of a value that we hold or offer; an empty one when we do not."""
        offer = self.offers.get(request.value_hash)
        if offer is None:
            held = self.storage.get(now, request.kind, int.from_bytes(request.key))
            # Who asks has been told of this version; a newer one has another hash.
            if held is None or held.value_hash() != request.value_hash:
                return Block(self.time_s, request.offset, b"")
            offer = Offer(held.record.value, held.piece_hashes())
        data = offer.piece_hashes if request.flags & HASHES else offer.value
        length = min(request.length, BLOCK_SIZE)
        return Block(self.time_s, request.offset, data[request.offset : request.offset + length])

    def _fetch(self, now: float, asker: Contact, request: Fetch, room: int) -> Answer:
        return self.fetch(now, request)

    def _browse(self, now: float, asker: Contact, request: Browse, room: int) -> Answer:
        key = int.from_bytes(request.key)
        members = self.storage.members(now, key, request.start)
        if members and request.flags & HANDOVER:
            self.on_tended(now, Kind.MEMBER, Key(key))
        # Contacts first, in their part: a search that learns of nobody ends too early, while the
        # members that find no room are asked for again.
        part = room if not members else ANSWER_RESERVE + int(room * PAGE_SHARE_OF_CONTACTS)
        contacts4, contacts6 = self._contacts(asker, key, request.count, request.flags, part)
        left = room - PAGE_RESERVE - len(contacts4) - len(contacts6)
        copies: list[Copy] = []
        for held in members:
            left -= COPY_RESERVE + PROOF_SIZE + len(held.record.value)
            if left < 0:
                break
            copies.append(copy_of(held.record, max(1, int((held.deadline - now) * 1000))))
        return Page(
            self.time_s,
            total_of(members),
            len(copies) == len(members),
            digest_of(members),
            tuple(copies),
            contacts4,
            contacts6,
        )

    def _contacts(
        self, asker: Contact, target: int, count: int, flags: int, room: int
    ) -> tuple[bytes, bytes]:
        """The nearest contacts that the asker has a use for, as many as fit."""
        size = CONTACT6_SIZE if flags & WANT_IPV6 else CONTACT4_SIZE
        count = min(count, self.config.k, (room - ANSWER_RESERVE) // size)
        if count <= 0:
            return b"", b""
        nearest = self.table.closest(target, count + 1)
        if asker.id in self.table:
            nearest = [contact for contact in nearest if contact.id != asker.id]
        return pack_contacts(spread_over_subnets(wanted_contacts(nearest, flags))[:count])


def reserve_of(held: Record) -> int:
    """Bytes of an answer that carries it which are neither contacts nor its value."""
    return ANSWER_RESERVE if held.proof is None else ANSWER_RESERVE + PROOF_SIZE


def spread_over_subnets(contacts: list[Contact]) -> list[Contact]:
    """The contacts without the third and later ones of a public /24 or /48, in their order."""
    if len({contact.subnet for contact in contacts}) == len(contacts):
        return contacts  # the usual case in an open network, at a quarter of the cost
    seen: dict[bytes | None, int] = {}
    chosen = []
    for contact in contacts:
        subnet = contact.subnet
        if subnet is not None:
            seen[subnet] = seen.get(subnet, 0) + 1
            if seen[subnet] > SUBNET_PER_ANSWER_MAX:
                continue
        chosen.append(contact)
    return chosen
