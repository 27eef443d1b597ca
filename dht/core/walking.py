"""Where a message goes that walks: from neighbour to neighbour of the unstructured overlay.

It goes to somebody at random, for nobody there knows who is nearer, until it comes to a node that
knows its target. Whoever had it before refuses it, so a walk never crosses itself, and its answer
finds back; it ends with its ``ttl``, or where three in a row had it before.
"""

from collections.abc import Container
from typing import Final, final

import attrs

from ..contacts import Contact
from .forwarding import OFFERS_MAX
from .routing import RoutingTable
from .unstructured.view import View

#: Seconds in which the answer to each attempt has to come: the first is for 60 steps of 40 ms there
#: and back; all three are as long as those of a message that goes by distance. Guess.
WALK_ATTEMPTS_S: Final = (5.0, 6.0, 9.0)


@final
@attrs.define(eq=False)
class Walks:
    """Chooses the next hops. ``view``: our neighbours; None: we do not live in that overlay."""

    table: RoutingTable
    view: View | None = None

    def where(self, target: int) -> Contact | None:
        """Where the target is, if we know."""
        known = self.table.get(target)
        return known if known is not None or self.view is None else self.view.get(target)

    def onward(self, target: int, *, without: Container[int] = ()) -> list[Contact]:
        """Whom to offer it to, one after the other: the target, then neighbours at random."""
        found: dict[int, Contact] = {}
        known = self.where(target)
        if known is not None:
            found[known.id] = known
        if self.view is not None:
            # One may be the target, and one the hop that it came from.
            for entry in self.view.sample(OFFERS_MAX + 2):
                found.setdefault(entry.contact.id, entry.contact)
        return [each for each in found.values() if each.id not in without][:OFFERS_MAX]

    def starts(self, target: int, count: int) -> list[list[Contact]]:
        """The first hops of so many walkers: each begins with another neighbour while there are."""
        assert self.view is not None
        firsts = [entry.contact for entry in self.view.sample(count)]
        ways = []
        for number in range(count if firsts else 0):
            first = firsts[number % len(firsts)]
            ways.append([first, *self.onward(target, without=(first.id,))])
        return ways
