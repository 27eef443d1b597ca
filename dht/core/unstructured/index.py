"""What an index node keeps: which node holds which key, as its holders say.

Everything that a stranger can write into an index is limited in this file. An entry is taken from
the holder itself only, in a session that has proved where it is; so a liar can say that it holds
what it does not, which costs whoever believes it one request, and can say nothing of anybody else.
"""

from collections import OrderedDict
from random import Random
from typing import final

import attrs

from ...config import LEASE_S
from ...contacts import Contact
from ..storage import quota_source

#: Memory: entries in all, about 250 B each, and the share of them that one subnet (one key, on
#: local ranges) may have.
ENTRIES_MAX = 65_536
ENTRIES_PER_SOURCE = 1 / 16
#: Holders of one key: those that come later are told to whoever asks only when others have gone.
HOLDERS_PER_KEY = 16
#: Eclipse: one owner's hosts, or one host with many keys, are all that is known to hold a key.
#: Holders of one key from one subnet; as many as a bucket has contacts of one.
HOLDERS_PER_SOURCE = 2
#: Keys that are looked at for entries whose time is over, when there is no room.
SWEPT_AT_ONCE = 8
#: Seconds that an entry lives at most, however long its holder asks for: as long as a lease.
ENTRY_LIFE_MAX_S = LEASE_S

_Slot = tuple[int, int]


@attrs.define(eq=False)
class _Entry:
    contact: Contact
    until: float
    source: bytes


@final
class Index:
    """Who holds what. Entries end by their time, or when their holder says so."""

    def __init__(self, random: Random) -> None:
        self._random = random
        # slot -> holder's id -> entry; both oldest first
        self._holders: OrderedDict[_Slot, dict[int, _Entry]] = OrderedDict()
        self._count = 0
        self._by_source: dict[bytes, int] = {}

    def __len__(self) -> int:
        """How many entries there are; those whose time is over count until they are met."""
        return self._count

    def announce(self, now: float, holder: Contact, slot: _Slot, lease_s: float) -> bool:
        """``holder`` says that it holds this, for so long; 0: no more. False: there is no room."""
        entries = self._holders.get(slot, {})
        self._drop_old(now, slot, entries)
        known = entries.get(holder.id)
        if lease_s <= 0:
            if known is not None:
                self._drop(slot, entries, holder.id)
            return True
        until = now + min(lease_s, ENTRY_LIFE_MAX_S)
        if known is not None:
            known.contact, known.until = holder, until
            return True
        source = quota_source(holder.address, holder.public_key)
        if len(entries) >= HOLDERS_PER_KEY or not self._has_room(now, source):
            return False
        if sum(entry.source == source for entry in entries.values()) >= HOLDERS_PER_SOURCE:
            return False
        entries[holder.id] = _Entry(holder, until, source)
        self._holders[slot] = entries
        self._count += 1
        self._by_source[source] = self._by_source.get(source, 0) + 1
        return True

    def holders(self, now: float, slot: _Slot) -> list[Contact]:
        """Who says that it holds this, in an order of chance."""
        entries = self._holders.get(slot, {})
        self._drop_old(now, slot, entries)
        holders = [entry.contact for entry in entries.values()]
        self._random.shuffle(holders)
        return holders

    # ---- private ----

    def _has_room(self, now: float, source: bytes) -> bool:
        if self._by_source.get(source, 0) >= ENTRIES_MAX * ENTRIES_PER_SOURCE:
            return False
        looked_at = 0
        while (
            self._count >= ENTRIES_MAX and looked_at < SWEPT_AT_ONCE
        ):  # whose time is over makes room
            slot, entries = next(iter(self._holders.items()))
            self._holders.move_to_end(slot)
            self._drop_old(now, slot, entries)
            looked_at += 1
        return self._count < ENTRIES_MAX

    def _drop_old(self, now: float, slot: _Slot, entries: dict[int, _Entry]) -> None:
        for holder_id in [each for each, entry in entries.items() if entry.until <= now]:
            self._drop(slot, entries, holder_id)

    def _drop(self, slot: _Slot, entries: dict[int, _Entry], holder_id: int) -> None:
        source = entries.pop(holder_id).source
        self._count -= 1
        left = self._by_source[source] - 1
        if left:
            self._by_source[source] = left
        else:
            del self._by_source[source]
        if not entries:
            del self._holders[slot]
