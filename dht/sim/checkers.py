"""What must never happen: the history of a run, and the sentences that say what was wrong with it.

Everything that decides whether an answer was *allowed* is in this file. It knows what was asked of
the network and what came back, as a user does, and nothing of how the network works. After Jepsen:
record every operation with its acknowledgement, then look for an order that explains them.

What is promised, and checked:

* at every read: the value was written to that key, does not come with a version above the one that
  its writer was told (a write that goes on after its acknowledgement may undo a later one), and is
  not past its end (plus ``EXPIRY_GRACE_S``);
* at every acknowledged write in a network in which nothing ever went wrong: its version is above
  those that were acknowledged before it began;
* when all faults have ended and upkeep had its time: every key reads as its newest acknowledged
  version, or as something newer that somebody tried to write.

Not promised, and not checked: that a read during faults sees the newest version.
"""

from collections.abc import Callable
from typing import final

import attrs

from ..contacts import Contact
from ..core.arguments import DEFAULT_TTL_S
from ..core.events import OperationFinished
from ..core.outcomes import PutOutcome
from ..errors import QuorumNotReached, VersionConflict
from ..keyspace import Key
from ..records import Kind, Record, Slot, ttl_max_s

#: A copy carries what remains of its life when it leaves; the way it takes is not counted, at the
#: writer and at every handover. Ways of up to 3 s (reordered), 20 of them.
EXPIRY_GRACE_S = 60.0
#: A write that never said how it ended may still have been under way for so long; guess: the
#: longest operation is a large put with all tries used up.
WRITE_MAX_S = 120.0


@attrs.define(eq=False, kw_only=True)
class Write:
    """One put or delete that was begun, and what became of it as far as its caller knows."""

    number: int
    kind: Kind
    key: Key
    #: Of a member: its author's public key.
    author: bytes = b""
    #: None for a delete.
    value: bytes | None
    ttl_s: float
    began_at: float
    #: The highest version that had been acknowledged for this key when this write began.
    above: int
    ended_at: float | None = None
    version: int | None = None
    acknowledged: bool = False
    #: Who said that they stored it.
    stored: tuple[Contact, ...] = ()

    @property
    def expires_from(self) -> float:
        """It is alive at least until then."""
        return self.began_at + self.ttl_s

    @property
    def expired_by(self) -> float:
        """It is gone by then, wherever its copies have been."""
        ended_at = self.began_at + WRITE_MAX_S if self.ended_at is None else self.ended_at
        return ended_at + self.ttl_s + EXPIRY_GRACE_S

    def __str__(self) -> str:
        what = "a delete" if self.value is None else f"{len(self.value)} bytes"
        how = "acknowledged" if self.acknowledged else "not acknowledged"
        return f"write {self.number} ({what}, version {self.version}, {how})"


def _never(_: Write) -> bool:
    return False


@final
@attrs.define(eq=False)
class History:
    """Every write of a run, and every violation found so far, as sentences.

    A value is what tells writes apart: give each write one of its own. Of those that wrote the same
    value to the same key, a read may have met any. ``restamps``: some clocks are so wrong that a
    put may be told so and stamp its record anew; then a write may be met under a higher version
    than the one it reported.
    """

    restamps: bool = False
    violations: list[str] = attrs.field(factory=list)
    reads: int = 0
    _writes: list[Write] = attrs.field(init=False, factory=list)
    _by_slot: dict[Slot, list[Write]] = attrs.field(init=False, factory=dict)

    @property
    def writes(self) -> tuple[Write, ...]:
        """All writes, in the order in which they began."""
        return tuple(self._writes)

    def slots(self) -> list[Slot]:
        """Every slot that was written to, in the order of the first attempts."""
        return list(self._by_slot)

    # ---- writing ----

    def begin_write(
        self, now: float, slot: Slot, value: bytes | None, *, ttl_s: float | None = None
    ) -> Write:
        """A put (or, without a value, a delete) begins. Hand the result to ``end_write``."""
        kind, key, author = slot
        if value is None:
            ttl_s = ttl_max_s(kind, tombstone=True)
        elif ttl_s is None:
            ttl_s = DEFAULT_TTL_S
        newest = self.newest_acknowledged(slot)
        write = Write(
            number=len(self._writes),
            kind=kind,
            key=key,
            author=author,
            value=value,
            ttl_s=ttl_s,
            began_at=now,
            above=0 if newest is None or newest.version is None else newest.version,
        )
        self._writes.append(write)
        self._by_slot.setdefault(slot, []).append(write)
        return write

    def end_write(
        self, now: float, write: Write, finished: OperationFinished, *, calm: bool = False
    ) -> None:
        """The write's operation ended. ``calm``: nothing has gone wrong in this network so far."""
        outcome = finished.outcome
        if isinstance(finished.error, QuorumNotReached | VersionConflict):
            outcome = finished.error.outcome
        put = outcome if isinstance(outcome, PutOutcome) else None
        self.conclude_write(
            now,
            write,
            version=None if put is None else put.version,
            stored=() if put is None else put.stored,
            acknowledged=finished.error is None and outcome is not None,
            calm=calm,
        )

    def conclude_write(
        self,
        now: float,
        write: Write,
        *,
        version: int | None,
        stored: tuple[Contact, ...],
        acknowledged: bool,
        calm: bool = False,
    ) -> None:
        """What ``end_write`` does, for who has no ``OperationFinished``."""
        if write.ended_at is not None:
            self._violate(now, f"{write} ended twice")
        write.ended_at = now
        write.version, write.stored, write.acknowledged = version, stored, acknowledged
        if write.acknowledged and len(write.stored) == 0:
            self._violate(now, f"{write} was acknowledged, and nobody stored it")
        if calm and write.acknowledged and write.kind is not Kind.CONTENT:
            assert write.version is not None
            if write.version <= write.above:
                self._violate(
                    now,
                    f"{write} to {write.key} began when version {write.above} had been "
                    f"acknowledged, and is not above it, though nothing went wrong in this network",
                )

    def newest_acknowledged(
        self, slot: Slot, *, lost: Callable[[Write], bool] = _never
    ) -> Write | None:
        """The acknowledged write with the highest version, of those that are not ``lost``."""
        acknowledged = [write for write in self._by_slot.get(slot, ()) if write.acknowledged]
        return max((write for write in acknowledged if not lost(write)), key=_order, default=None)

    # ---- reading ----

    def check_read(self, now: float, slot: Slot, record: Record | None, *, reader: str) -> None:
        """Safety, at every read, faults or not."""
        self.reads += 1
        if record is None:
            return
        kind, key, _ = slot
        if record.slot != slot:
            self._violate(now, f"{reader} asked for {kind.name} {key} and got {record}")
            return
        writes = [each for each in self._by_slot.get(slot, ()) if each.value == record.value]
        if record.tombstone or not writes:
            self._violate(now, f"{reader} read {record}, which nobody ever wrote")
            return
        faults = [self._read_fault(now, write, record) for write in writes]
        if all(faults):
            self._violate(now, f"{reader} read {faults[-1]}")

    def _read_fault(self, now: float, write: Write, record: Record) -> str:
        """Why this record cannot be what that write stored; nothing if it can."""
        if (
            record.kind is not Kind.CONTENT
            and write.acknowledged
            and not self.restamps
            and record.version > (write.version or 0)
        ):
            # Below is fine: a put that meets a newer version stamps its record anew before it ends.
            return f"the value of {write} to {record.key} as version {record.version}"
        if now > write.expired_by:
            return f"{write} to {record.key}, which was over by {write.expired_by:.1f} s"
        return ""

    def check_settled(
        self,
        now: float,
        slot: Slot,
        record: Record | None,
        *,
        reader: str,
        lost: Callable[[Write], bool] = _never,
    ) -> None:
        """Liveness, when the faults have ended and upkeep had its time; ``check_read`` included.

        ``lost`` tells of an acknowledged write whether everybody who stored it has lost it since:
        then it cannot be demanded any more.
        """
        self.check_read(now, slot, record, reader=reader)
        kind, key, _ = slot
        if record is not None:
            # What has ended no longer hides an older one that lives longer.
            newest = self.newest_acknowledged(
                slot, lost=lambda write: now >= write.expires_from or lost(write)
            )
            if newest and kind is not Kind.CONTENT and (record.version, False) < _order(newest):
                self._violate(
                    now,
                    f"{reader} read version {record.version} of {key}, though {newest} is newer",
                )
            return
        newest = self.newest_acknowledged(slot, lost=lost)
        if (
            newest is not None
            and newest.value is not None
            and now < newest.expires_from
            and not self._may_be_deleted(slot, newest)
        ):
            self._violate(now, f"{reader} found nothing at {key}, where {newest} must be")

    def _may_be_deleted(self, slot: Slot, newest: Write) -> bool:
        """Is there a delete that may be newer, though it failed, never ended, or stamped twice?"""
        assert newest.version is not None
        return any(
            write.value is None
            and (self.restamps or write.version is None or write.version >= newest.version)
            for write in self._by_slot[slot]
        )

    def _violate(self, now: float, sentence: str) -> None:
        self.violations.append(f"at {now:.3f} s: {sentence}")


def _order(write: Write) -> tuple[int, bool]:
    return (write.version or 0, write.value is None)
