"""What a node keeps for others: which version stays, until when, and how much of whose.

Every rule about holding a record is in this file; what makes one valid is in ``records``. The laws:

* The deadline is fixed when a version is first taken. Nobody but the writer makes it live longer.
* What is held is never given up for something of another slot: a full store refuses. A version
  ends by its deadline or by a newer one, and in no other way.
* An expired version leaves a ghost (its place in the order, no value) for a day, so that a stranger
  who kept a copy cannot bring it back.
* A topic is a place with many slots, one for each author: at most 256 members live there
  (``topics``). A tombstone that is one too many ends early, and its ghost goes on refusing.
* Content records check themselves and have no writer: anybody may store one again under any
  version. So the version decides nothing there: the copy that lives longest stays, no ghost is
  left, and no stranger cuts a life short or bars a value by a version from the end of time.
"""

from collections import OrderedDict
from heapq import heappop, heappush
from itertools import islice
from typing import final

import attrs

from ..config import CLOCK_TOLERANCE_S, GRACE_S, Config
from ..contacts import Address, is_local, subnet_of
from ..keyspace import KEY_BITS
from ..records import Head, Kind, Record, member_of, ttl_max_s
from ..wire.codec import PROOF_SIZE
from ..wire.messages import Status
from .held import Held, Order
from .slots import SlotIndex
from .topics import Topic

#: Bytes charged for a record besides its value: about what it takes on the wire and on a disk. In
#: memory it takes 540 B (CPython 3.11, measured), and ``store_count_max`` bounds those.
RECORD_OVERHEAD = 200
#: Memory: ghosts, 510 B each (measured). The oldest go first, and any of them before a record is
#: refused.
GHOSTS_MAX = 16_384
#: Seconds. Expired records are swept in lots of this width (readers never see one: ``get`` looks
#: at the deadline). Lots, unlike a heap of deadlines, keep nothing of versions that were replaced.
SWEEP_STEP_S = 30.0
#: Bytes of values that one call of ``expire`` hashes for its ghosts: about 2 ms.
_SWEEP_SIZE_MAX = 2**20

# The account of what other holders hand over. No source has this name.
_HANDOVER = b""
#: The account of the node itself: what its own user puts, or what it kept over a restart, is
#: limited by the whole store and nothing else. No key and no subnet is named so.
OWN_SOURCE = b"own"

# A slot is one number: the key, then 8 bits of the kind. In this order slots near in the key space
# are neighbours. A topic has such a number too; each of its members has one of its own beyond all
# of those, with the author's public key at its end.
_KIND_BITS = 8
_MEMBER_SLOTS = 1 << (KEY_BITS + _KIND_BITS + KEY_BITS)


def quota_source(source: Address, peer_key: bytes) -> bytes:
    """Whose share a record is charged to: the /24 or /48 that it came from; in loopback and
    private ranges, where an address says nothing, the node key."""
    return peer_key if is_local(source) else subnet_of(source)


@final
@attrs.frozen
class _Ghost:
    order: Order
    until: float
    account: bytes


@final
@attrs.frozen
class _Limits:
    """What one account may have."""

    size: int
    count: int
    ghosts: int


@final
@attrs.define(eq=False)
class _Account:
    """What one source, or all handovers together, have in the store."""

    size: int = 0
    count: int = 0
    #: Slots of its ghosts, oldest first.
    ghosts: dict[int, None] = attrs.field(factory=dict)


@final
@attrs.define
class StoreCounters:
    """What became of everything that was offered, since the start."""

    #: Versions taken.
    stored: int = 0
    #: Versions that were held already.
    again: int = 0
    #: Versions turned away, by the reason given.
    refused: dict[Status, int] = attrs.field(factory=dict)
    #: Records whose time was over.
    expired: int = 0


@final
class Storage:
    """The records that this node holds, in memory. Bounded in bytes and in number."""

    def __init__(self, config: Config) -> None:
        self._limits = _Limits(
            config.store_size_max, config.store_count_max, min(GHOSTS_MAX, config.store_count_max)
        )
        self._source_limits = _share_of(self._limits, config.store_share_per_source)
        self._handover_limits = _share_of(self._limits, config.store_share_handover)
        self._author_limits = _share_of(self._limits, config.store_share_per_author)
        # These have the same slots, always: a topic, which has members, stands for all of them.
        self._held: dict[int, Held] = {}
        self._index = SlotIndex()
        self._topics: dict[int, Topic] = {}
        # Never of a slot that holds something; oldest first.
        self._ghosts: OrderedDict[int, _Ghost] = OrderedDict()
        self._accounts: dict[bytes, _Account] = {}
        # By public key; what they have is in one of the accounts above as well.
        self._authors: dict[bytes, _Account] = {}
        # Number of a lot (its end in steps) -> its slots; and the numbers, a heap. A life of at
        # most 8 days bounds the lots, empty ones included, whatever a stranger does: to 23,041.
        self._lots: dict[int, dict[int, None]] = {}
        self._lot_heap: list[int] = []
        #: Bytes charged. Records that have expired count until they are swept.
        self.size = 0
        self.counters = StoreCounters()

    @property
    def count(self) -> int:
        """How many records are held; those that have expired count until they are swept."""
        return len(self._held)

    # ---- reading ----

    def get(self, now: float, kind: int, key: int, author: bytes = b"") -> Held | None:
        """The record of a slot (of a member's with its author's public key); never one that has
        expired."""
        held = self._held.get(_member_slot(key, author) if author else key << _KIND_BITS | kind)
        return held if held is not None and now < held.deadline else None

    def version(self, now: float, kind: int, key: int) -> int:
        """The version held of a slot, a tombstone's too; 0 for nothing."""
        held = self._held.get(key << _KIND_BITS | kind)
        return held.record.version if held is not None and now < held.deadline else 0

    def holds(self, now: float, offer: Record | Head, *, placed: bool = True) -> bool:
        """Is exactly this version held? Not ``placed``: as an owner holds it."""
        held = self._held.get(_slot_of(offer))
        if held is None or now >= held.deadline or (held.placed and not placed):
            return False
        return _is_same(offer, held)

    def members(self, now: float, key: int, start: bytes = b"") -> list[Held]:
        """All of a topic, tombstones too, in the order of their authors' keys from ``start`` on
        and then from the first; never what has expired."""
        topic = self._topics.get(_topic_slot(key))
        return [] if topic is None else topic.from_start(now, start)

    def ends_at(self, now: float, kind: int, key: int) -> float | None:
        """When a slot's record ends, or the last of a topic's; None when there is nothing."""
        if kind == Kind.MEMBER:
            return max((held.deadline for held in self.members(now, key)), default=None)
        held = self.get(now, kind, key)
        return None if held is None else held.deadline

    def is_placed(self, kind: int, key: int) -> bool:
        """Is what is held of a slot a copy of the unstructured overlay?"""
        held = self._held.get(key << _KIND_BITS | kind)
        return held is not None and held.placed

    def keys_near(
        self, key: int, shared_bits: int, *, start: int | None = None, limit: int
    ) -> tuple[list[Held], int | None]:
        """At most ``limit`` of the records whose keys share ``shared_bits`` leading bits with
        ``key``, in the order of their keys; and the ``start`` to go on with, None at the end. A
        topic counts as one record: its first member is given.

        Going on is right whatever was stored or removed in between. A record that has just expired
        may be among them. Nothing outside of the slice is looked at.
        """
        width = KEY_BITS - shared_bits + _KIND_BITS
        low = (key << _KIND_BITS) >> width << width
        slots = self._index.slice(
            low if start is None else max(low, start), low + (1 << width), limit
        )
        rest = slots[-1] + 1 if len(slots) == limit else None
        return [self._at(slot) for slot in slots], rest

    def _at(self, slot: int) -> Held:
        held = self._held.get(slot)
        return self._topics[slot].first() if held is None else held

    # ---- storing ----

    def store(
        self,
        now: float,
        record: Record,
        *,
        remaining_ms: int,
        wall_s: float | None,
        source: bytes,
        handover: bool,
        if_version: int | None,
        placed: bool = False,
    ) -> tuple[Status, Record | None]:
        """Keeps the record, or refuses it and gives the one that is held instead.

        ``remaining_ms`` is what its sender says it has left to live, ``wall_s`` the holder's wall
        clock, or None while that is not to be trusted (then there is no clock rule); ``source`` is
        a ``quota_source``. The version that is held already is ``STORED`` again, whatever
        ``if_version`` and ``remaining_ms`` say: a retry is no conflict, and moves no deadline.
        ``placed``: it is a copy of the unstructured overlay. A copy that an owner is given takes
        the place of such a one of the same version, and with it begins the life of the record.
        """
        status, held, deadline = self._judge(
            now,
            record,
            remaining_ms=remaining_ms,
            wall_s=wall_s,
            account=_HANDOVER if handover else source,
            if_version=if_version,
            placed=placed,
        )
        counters = self.counters
        if status is not Status.STORED:
            counters.refused[status] = counters.refused.get(status, 0) + 1
            return status, None if held is None else held.record
        if deadline is None:
            counters.again += 1
        else:
            counters.stored += 1
            self._put(Held(record, deadline, _HANDOVER if handover else source, placed))
        return status, None

    def would_take(
        self,
        now: float,
        head: Head | Record,
        *,
        remaining_ms: int,
        wall_s: float | None,
        source: bytes,
        handover: bool,
        if_version: int | None,
    ) -> Status:
        """What ``store`` would say, without the value: asked before a long one is pulled.

        ``STORED`` also for the version that is held already: ``holds`` tells the two apart.
        """
        return self._judge(
            now,
            head,
            remaining_ms=remaining_ms,
            wall_s=wall_s,
            account=_HANDOVER if handover else source,
            if_version=if_version,
        )[0]

    def _judge(
        self,
        now: float,
        offer: Record | Head,
        *,
        remaining_ms: int,
        wall_s: float | None,
        account: bytes,
        if_version: int | None,
        placed: bool = False,
    ) -> tuple[Status, Held | None, float | None]:
        """``STORED`` with the deadline of a version to be taken, or with None when what is held
        stays; else why not. And what is held."""
        slot = offer.key << _KIND_BITS | offer.kind
        if offer.kind is Kind.MEMBER:
            slot = _slot_of(offer)
        held = self._held.get(slot)
        if held is not None and held.deadline <= now:
            self._end(slot, held)
            held = None
        owned_now = held is not None and held.placed and not placed and _is_same(offer, held)
        if held is not None and _is_same(offer, held) and not owned_now:
            return Status.STORED, held, None
        life_s = _life_s(offer, remaining_ms, wall_s)
        if life_s <= 0 or (
            wall_s is not None and offer.version / 1000 > wall_s + CLOCK_TOLERANCE_S
        ):
            return Status.CLOCK, held, None
        if if_version is not None and if_version != (0 if held is None else held.record.version):
            return Status.VERSION, held, None
        deadline = now + life_s
        if offer.kind is Kind.CONTENT:
            if held is not None and deadline <= held.deadline:
                return Status.STORED, held, None
        elif not owned_now and not (
            _is_newer(offer, held) if held is not None else self._lives(now, offer, slot)
        ):
            return Status.OLD, held, None
        if offer.kind is Kind.MEMBER and not self._topic_has_room(now, offer, held, account):
            return Status.FULL, held, None
        # The room of the dead is given to the living first.
        if self._has_room(offer, held, account) or (
            self.expire(now) and self._has_room(offer, held, account)
        ):
            return Status.STORED, held, deadline
        return Status.FULL, held, None

    def _lives(self, now: float, offer: Record | Head, slot: int) -> bool:
        """Is it newer than what this slot held when it expired?"""
        ghost = self._ghosts.get(slot)
        if ghost is None or ghost.until <= now or offer.version > ghost.order[0]:
            return True
        return offer.version == ghost.order[0] and offer.order > ghost.order

    def _has_room(self, offer: Record | Head, held: Held | None, name: bytes) -> bool:
        """Does it fit, in the place of ``held``, into the store and into its account?"""
        size, count = _charge(offer), 1
        if held is not None:
            size, count = size - _charge(held.record), 0
        if self.size + size > self._limits.size or len(self._held) + count > self._limits.count:
            return False
        if offer.proof is not None and name != OWN_SOURCE:
            author = self._authors.get(offer.proof.author) or _Account()
            limits = self._author_limits
            if author.size + size > limits.size or author.count + count > limits.count:
                return False
        if held is not None and held.account != name:
            size, count = _charge(offer), 1
        account = self._accounts.get(name) or _Account()
        limits = self._limits_of(name)
        return account.size + size <= limits.size and account.count + count <= limits.count

    def _topic_has_room(
        self, now: float, offer: Record | Head, held: Held | None, account: bytes
    ) -> bool:
        """May it live among the others of its topic? A tombstone always may."""
        topic = self._topics.get(_topic_slot(offer.key))
        if topic is None or offer.tombstone or (held is not None and not held.record.tombstone):
            return True
        return topic.has_room(now, account, shared=account in (_HANDOVER, OWN_SOURCE))

    def _limits_of(self, name: bytes) -> _Limits:
        if name == OWN_SOURCE:
            return self._limits
        return self._handover_limits if name == _HANDOVER else self._source_limits

    def _put(self, held: Held) -> None:
        slot = _slot_of(held.record)
        old = self._held.get(slot)
        if old is not None:
            self._discharge(slot, old)
        else:
            self._forget_ghost(slot)
            if slot < _MEMBER_SLOTS:
                self._index.add(slot)
        self._held[slot] = held
        account = self._accounts.get(held.account)
        if account is None:
            account = self._accounts[held.account] = _Account()
        size = _charge(held.record)
        self.size += size
        account.size += size
        account.count += 1
        if held.record.proof is not None:
            author = self._authors.setdefault(held.record.proof.author, _Account())
            author.size += size
            author.count += 1
        number = _lot_of(held.deadline)
        lot = self._lots.get(number)
        if lot is None:
            lot = self._lots[number] = {}
            heappush(self._lot_heap, number)
        lot[slot] = None
        if slot >= _MEMBER_SLOTS:
            self._enter(held)
        if len(self._held) + len(self._ghosts) > self._limits.count:
            self._forget_ghost(next(iter(self._ghosts)))

    def _enter(self, held: Held) -> None:
        """A member comes into its topic, or its newer version does."""
        place = _topic_slot(held.record.key)
        topic = self._topics.get(place)
        if topic is None:
            topic = self._topics[place] = Topic()
            self._index.add(place)
        topic.put(member_of(held.record), held)
        surplus = topic.surplus()
        if surplus is not None:
            self._end(_slot_of(surplus.record), surplus)

    def _leave(self, held: Held) -> None:
        """A member leaves its topic, which ends with its last one."""
        place = _topic_slot(held.record.key)
        topic = self._topics[place]
        topic.remove(member_of(held.record))
        if not topic:
            del self._topics[place]
            self._index.remove(place)

    def _discharge(self, slot: int, held: Held) -> None:
        """Takes a record out of its accounts and its lot."""
        del self._lots[_lot_of(held.deadline)][slot]
        account = self._accounts[held.account]
        size = _charge(held.record)
        self.size -= size
        account.size -= size
        account.count -= 1
        self._close_if_empty(held.account, account)
        if held.record.proof is not None:
            name = held.record.proof.author
            author = self._authors[name]
            author.size -= size
            author.count -= 1
            if not author.count:
                del self._authors[name]

    def _close_if_empty(self, name: bytes, account: _Account) -> None:
        if not account.count and not account.ghosts:
            del self._accounts[name]

    # ---- ending ----

    def next_timeout(self) -> float | None:
        """When ``expire`` has something to do; None while nothing is held."""
        heap, lots = self._lot_heap, self._lots
        while heap:
            if lots[heap[0]]:
                return heap[0] * SWEEP_STEP_S
            del lots[heappop(heap)]
        return None

    def expire(self, now: float, limit: int = 256) -> int:
        """Sweeps out at most ``limit`` records whose time is over, and says how many. Call again
        while ``next_timeout`` is in the past: one call is bounded, in bytes too."""
        swept = size = 0
        while (end := self.next_timeout()) is not None and end <= now:
            for slot in list(islice(self._lots[self._lot_heap[0]], limit - swept)):
                held = self._held[slot]
                self._end(slot, held)
                swept += 1
                size += len(held.record.value)
                if size > _SWEEP_SIZE_MAX:
                    return swept
            if swept == limit:
                break
        self._forget_ghosts(now, limit)
        return swept

    def _end(self, slot: int, held: Held) -> None:
        """A record's time is over: its ghost takes its place."""
        self.counters.expired += 1
        del self._held[slot]
        if slot < _MEMBER_SLOTS:
            self._index.remove(slot)
        else:
            self._leave(held)
        if held.record.kind is Kind.CONTENT:
            self._discharge(slot, held)
            return
        # The ghost comes first, so that the account stays open.
        account = self._accounts[held.account]
        self._ghosts[slot] = _Ghost(held.order(), held.deadline + GRACE_S, held.account)
        account.ghosts[slot] = None
        self._discharge(slot, held)
        if len(account.ghosts) > self._limits_of(held.account).ghosts:
            self._forget_ghost(next(iter(account.ghosts)))
        if len(self._ghosts) > self._limits.ghosts:
            self._forget_ghost(next(iter(self._ghosts)))

    def _forget_ghost(self, slot: int) -> None:
        ghost = self._ghosts.pop(slot, None)
        if ghost is not None:
            account = self._accounts[ghost.account]
            del account.ghosts[slot]
            self._close_if_empty(ghost.account, account)

    def _forget_ghosts(self, now: float, limit: int) -> None:
        for _ in range(min(limit, len(self._ghosts))):
            slot, ghost = next(iter(self._ghosts.items()))
            if ghost.until > now:
                return
            self._forget_ghost(slot)


def _share_of(limits: _Limits, share: float) -> _Limits:
    return _Limits(
        int(limits.size * share),
        max(1, int(limits.count * share)),
        max(1, int(limits.ghosts * share)),
    )


def _slot_of(offer: Record | Head) -> int:
    slot = offer.key << _KIND_BITS | offer.kind
    return _member_slot(offer.key, member_of(offer)) if offer.kind is Kind.MEMBER else slot


def _topic_slot(key: int) -> int:
    return key << _KIND_BITS | Kind.MEMBER


def _member_slot(key: int, author: bytes) -> int:
    return _MEMBER_SLOTS | _topic_slot(key) << KEY_BITS | int.from_bytes(author)


def _lot_of(deadline: float) -> int:
    """Lot n ends at n steps, and every deadline in it lies before that."""
    return int(deadline // SWEEP_STEP_S) + 1


def _charge(offer: Record | Head) -> int:
    size = len(offer.value) if isinstance(offer, Record) else offer.size
    return size + (RECORD_OVERHEAD if offer.proof is None else RECORD_OVERHEAD + PROOF_SIZE)


def _life_s(offer: Record | Head, remaining_ms: int, wall_s: float | None) -> float:
    """The seconds that a version has when it is taken now; 0 or less: it is over."""
    longest_s = ttl_max_s(offer.kind, tombstone=offer.tombstone)
    life_s = min(remaining_ms / 1000, offer.ttl_ms / 1000, longest_s)
    if wall_s is None:
        return life_s
    return min(life_s, (offer.written_at_ms + offer.ttl_ms) / 1000 + CLOCK_TOLERANCE_S - wall_s)


def _is_same(offer: Record | Head, held: Held) -> bool:
    if offer.version != held.record.version:
        return False
    return offer == held.record if isinstance(offer, Record) else offer.order == held.order()


def _is_newer(offer: Record | Head, held: Held) -> bool:
    """``records.is_newer``, with the hash of what is held remembered."""
    if offer.version != held.record.version:
        return offer.version > held.record.version
    return offer.order > held.order()
