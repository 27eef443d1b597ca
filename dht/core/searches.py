"""Setting up a search: where it starts, how wide it is, how many paths it takes."""

from collections.abc import Sequence
from functools import partial
from typing import Any, final

import attrs

from ..config import Config
from ..contacts import Contact
from ..keyspace import KEY_BITS
from .arguments import REPLICAS_MAX
from .disjoint import DisjointLookup
from .lookup import Lookup
from .operations import Search, Shared
from .requests import Requests
from .routing import RoutingTable

#: Lookups widen when more than this share of the last tries went unanswered, and again at twice it.
SILENCE_WIDENS = 0.3

#: So many times k contacts of the table a search falls back on when all that it began with failed:
#: whoever crashes together with its neighbours, as a rack does, is not the end of everybody's
#: lookups around there.
SPARE = 3

_EVERYWHERE = 1 << KEY_BITS


def rank_of_put(replicas: int) -> int:
    """A put that does not ask first takes for owners whom it knows within the distance at which so
    many nodes are to be expected. Half as many again as there are owners; guess."""
    return replicas * 3 // 2


def _widest() -> int:
    """No narrower than its opening: a put in a small network goes to all owners at once."""
    return REPLICAS_MAX


@final
@attrs.define(eq=False)
class Searches:
    """Begins lookups from what the routing table and the requests in flight have taught us."""

    config: Config
    table: RoutingTable
    requests: Requests

    def begin(
        self,
        now: float,
        target: int,
        body: bytes,
        *,
        want: int,
        opening: int | None = None,
        reach: int | None = None,
        disjoint: int = 1,
        shared: Shared | None = None,
        seeds: Sequence[Contact] | None = None,
    ) -> Search:
        """A lookup of the ``want`` nearest to ``target`` that sends ``body`` to all it asks.

        ``opening``: how many it asks at once at first, alpha unless set; with ``reach`` one, if it
        starts so near to its target that the first is probably an owner, else two. ``seeds``
        replace the table's contacts.
        """
        spare = None
        if seeds is None:
            seeds = self._seeds(target, shared)
            spare = partial(self.table.closest, target, SPARE * self.config.k)
        if reach is not None:
            opening = 1 if seeds and seeds[0].id ^ target <= reach else 2
        self.table.touched(now, target)
        settings: dict[str, Any] = {
            "target": target,
            "own_id": self.table.own_id,
            "seeds": seeds,
            "want": want,
            "body": body,
            "opening": self.config.alpha if opening is None else opening,
            "alpha": self.alpha if opening is None or opening <= self.config.alpha else _widest,
            "patience": self.requests,
            "spare": spare,
        }
        if disjoint > 1:
            return DisjointLookup(now, disjoint=disjoint, **settings)
        return Lookup(now, **settings)

    def alpha(self) -> int:
        """Requests in flight a lookup: doubled while over 30 % go unanswered, again over 60 %."""
        share = self.requests.unanswered_share
        if share <= SILENCE_WIDENS:
            return self.config.alpha
        doublings = (share > SILENCE_WIDENS) + (share > 2 * SILENCE_WIDENS)
        return min(self.config.alpha << doublings, self.config.alpha_max)

    def reach_of_put(self, key: int, replicas: int, *, serves: bool) -> int:
        """How near to the key a contact is an owner in all likelihood, so that a put need not ask
        before it stores: in a network that is known whole the owners are known, elsewhere they lie
        within the distance to be expected of them, or a little beyond. To ask one that turns out
        to be none costs a copy too many, and no message. ``serves``: this node may be an owner."""
        if self.knows_all():
            distances = [contact.id ^ key for contact in self.table.closest(key, replicas)]
            if serves:
                distances = sorted([*distances, self.table.own_id ^ key])
            return distances[replicas - 1] if len(distances) >= replicas else _EVERYWHERE
        return self.table.expected_distance(rank_of_put(replicas))

    def knows_all(self) -> bool:
        """Is everybody in the table, by the estimate of the network's size?"""
        return self.table.holds_everybody()

    def _seeds(self, target: int, shared: Shared | None) -> list[Contact]:
        seeds = self.table.closest(target, self.config.k)
        if shared is not None:
            known = {contact.id: contact for contact in seeds}
            for contact in shared.nearest(target, self.config.replicas):
                known.setdefault(contact.id, contact)
            seeds = [known[each] for each in sorted(known, key=target.__xor__)]
        return seeds
