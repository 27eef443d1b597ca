"""The members of one topic that a node keeps, in the order in which they are listed.

Every rule about how many there may be is in this file; what becomes of each is the store's
business (``storage``), as of any other record.
"""

from bisect import bisect_left, insort
from typing import final

import attrs

from ..records import member_of
from ..wire.messages import DIGEST_SIZE, MEMBERS_MAX
from .held import Held

#: Those who left are remembered as tombstones, as many as may be there; what is more ends early.
TOMBSTONES_MAX = MEMBERS_MAX
#: A topic may be filled by whoever makes so many authors: this many members of one source (a /24,
#: a /48, a key on local ranges), a quarter; guess. More than one host has to work for it.
MEMBERS_PER_SOURCE_MAX = MEMBERS_MAX // 4


@final
@attrs.define(eq=False)
class Topic:
    """At most 256 members that live, and as many tombstones."""

    _members: dict[bytes, Held] = attrs.field(factory=dict, init=False)
    #: The same authors, sorted.
    _authors: list[bytes] = attrs.field(factory=list, init=False)

    def __len__(self) -> int:
        """How many there are, tombstones and those that have just expired included."""
        return len(self._members)

    def put(self, author: bytes, held: Held) -> None:
        """Enters a member, or its newer version."""
        if author not in self._members:
            insort(self._authors, author)
        self._members[author] = held

    def remove(self, author: bytes) -> None:
        """Takes out a member that is there."""
        del self._members[author]
        del self._authors[bisect_left(self._authors, author)]

    def first(self) -> Held:
        """One of its members, which may just have expired."""
        return self._members[self._authors[0]]

    def has_room(self, now: float, account: bytes, *, shared: bool) -> bool:
        """May one more live? ``shared``: it is no single source's."""
        living = [
            held
            for held in self._members.values()
            if now < held.deadline and not held.record.tombstone
        ]
        of_account = sum(held.account == account for held in living)
        return len(living) < MEMBERS_MAX and (shared or of_account < MEMBERS_PER_SOURCE_MAX)

    def surplus(self) -> Held | None:
        """The tombstone that ends first, if there are too many of them."""
        tombstones = [held for held in self._members.values() if held.record.tombstone]
        if len(tombstones) <= TOMBSTONES_MAX:
            return None
        return min(tombstones, key=lambda held: (held.deadline, member_of(held.record)))

    def from_start(self, now: float, start: bytes = b"") -> list[Held]:
        """Those that are not over, in the order of their authors' keys from ``start`` on, and
        after the last key from the first."""
        at = bisect_left(self._authors, start)
        turned = self._authors[at:] + self._authors[:at]
        return [held for author in turned if now < (held := self._members[author]).deadline]


def total_of(members: list[Held]) -> int:
    """How many of them live."""
    return sum(not held.record.tombstone for held in members)


def digest_of(members: list[Held]) -> bytes:
    """The same for all who hold the same members, in any order; zeros for none.

    A sum of hashes: a liar can make another set with the same digest in 2**32 steps or so, and
    then keeps two holders of his own topic from seeing that they differ.
    """
    total = sum(int.from_bytes(held.order()[2][:DIGEST_SIZE]) for held in members)
    return (total % (1 << 8 * DIGEST_SIZE)).to_bytes(DIGEST_SIZE)
