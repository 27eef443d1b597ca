"""This node as one owner among the others: its own store, its own clock."""

from collections.abc import Callable
from typing import final

import attrs

from ..contacts import Contact
from ..keyspace import Key
from ..records import Kind, Record
from ..wire.messages import Status
from .held import Held
from .maintenance import ClockSamples
from .storage import OWN_SOURCE, Storage
from .topics import digest_of


@final
@attrs.define(eq=False)
class Home:
    """What operations and upkeep see of the node that they run on (``operations.Local``)."""

    contact: Contact
    storage: Storage
    #: Does it keep records for others? A client does not, nor does a node that is leaving.
    serves: bool
    #: Called with each version that enters the store from here.
    on_stored: Callable[[float, Record], None]
    #: Whom we have tried to reach, for error messages.
    tried: Callable[[], str]
    clocks: ClockSamples = attrs.field(factory=ClockSamples, init=False)
    #: The wall clock, in seconds since 1970, is ``now`` plus this.
    wall_offset_s: float = attrs.field(default=0.0, init=False)

    def held(
        self, now: float, kind: Kind, key: Key, author: bytes = b""
    ) -> tuple[Record, int] | None:
        """A record of our own store and the milliseconds that it has left; of a member's slot with
        its author's public key."""
        held = self.storage.get(now, kind, key, author)
        return held and (held.record, _remaining_ms(now, held))

    def topic(self, now: float, key: Key) -> tuple[list[tuple[Record, int]], bytes]:
        """The members of a topic in our own store, tombstones too, each with the milliseconds
        that it has left; and their digest."""
        members = self.storage.members(now, key)
        return [(held.record, _remaining_ms(now, held)) for held in members], digest_of(members)

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
        taken_before = self.storage.counters.stored
        status, held = self.storage.store(
            now,
            record,
            remaining_ms=remaining_ms,
            wall_s=self.trusted_wall_s(now),
            source=OWN_SOURCE,
            handover=handover,
            if_version=if_version,
            placed=placed,
        )
        if self.storage.counters.stored != taken_before:  # not one that was held already
            self.on_stored(now, record)
        return status, held

    def wall_s(self, now: float) -> float:
        return now + self.wall_offset_s

    def time_s(self, now: float) -> int:
        """The wall clock as answers carry it."""
        return max(0, int(self.wall_s(now)))

    def wall_ms(self, now: float, *, median: bool = False) -> int:
        """Our wall clock; or, with ``median``, the one that our peers agree on."""
        ahead_s = (self.clocks.median_s() or 0.0) if median else 0.0
        return int((self.wall_s(now) + ahead_s) * 1000)

    def trusted_wall_s(self, now: float) -> float | None:
        """The wall clock for the clock rule; None while the others' say something else."""
        return self.wall_s(now) if self.clocks.trusted() else None


def _remaining_ms(now: float, held: Held) -> int:
    return max(1, int((held.deadline - now) * 1000))
