"""Which nodes keep an index of who holds what, as far as is known here; and whether we are one.

By itself about one node in twenty volunteers, by a hash of its id: everybody does the same share of
the work in the long run of many networks, and nobody can make himself one of few. Where fewer than
three are known, those of a neighbourhood with the lowest hashes volunteer as well.

For a key those index nodes count whose ids are nearest to it, by XOR as in the structured overlay:
so whoever announces and whoever asks choose the same ones, if they know the same.
"""

from collections.abc import Callable, Iterable
from hashlib import blake2s
from math import ceil
from random import Random
from typing import final

from ...config import Config
from ...contacts import Contact
from ...keyspace import Key, key_bytes

#: Memory: index nodes that are remembered, about 150 B each: all in a network of 5,000.
INDEX_NODES_MAX = 256
#: One in so many nodes volunteers, and so many everywhere at the least.
ONE_IN = 20
AT_LEAST = 3
#: Where so many others are known, those that volunteered only because there were few stop.
ENOUGH = 2 * AT_LEAST
#: Index nodes that a holder announces a key to, and that a search asks for it: with three of them
#: dead or lying by a chance of 0.3 each, 97 % still find one that is neither; guess.
PER_KEY = 3
#: Seconds that a step of an age stands for, and after which an index node of which nothing new is
#: heard is forgotten. It tells of itself with every shuffle.
AGE_STEP_S = 10.0
FORGET_S = 300.0


def rank_of(node_id: int) -> int:
    """A number below ``2**64`` that says who volunteers before whom."""
    return int.from_bytes(blake2s(key_bytes(Key(node_id)), person=b"dht indx").digest()[:8])


@final
class IndexNodes:
    """The index nodes that are known, and when each was heard of last."""

    def __init__(self, own_id: int, config: Config, random: Random) -> None:
        self._own_id = own_id
        self._own_rank = rank_of(own_id)
        self._random = random
        self._subnet_max = config.subnet_per_bucket_max
        self._wanted = config.index
        # By id: the contact, and when it last said that it is one, by what we were told. The one
        # that was heard of longest ago is forgotten first.
        self._known: dict[int, tuple[Contact, float]] = {}
        # Who did not answer, and until when nobody is believed who says that it is one.
        self._failed: dict[int, float] = {}
        #: Does this node keep an index itself?
        self.own = bool(self._wanted)
        #: Called with each that was not known before.
        self.on_new: Callable[[float, Contact], None] = lambda _now, _contact: None

    def __len__(self) -> int:
        return len(self._known)

    # ---- volunteering ----

    def consider(self, neighbours: Iterable[Contact], *, serves: bool, young: bool) -> bool:
        """Is it our turn to volunteer, or do enough others by now? True when we begin. Who is
        ``young`` has not heard yet who does."""
        if self._wanted is not None or not serves:
            return False
        was, few = self.own, len(self._known) < AT_LEAST
        if self._own_rank * ONE_IN < 1 << 64:
            self.own = True
        elif not self.own and few and not young:
            before_us = sum(rank_of(each.id) < self._own_rank for each in neighbours)
            self.own = before_us < AT_LEAST
        elif self.own and len(self._known) >= ENOUGH:
            before_us = sum(rank_of(each) < self._own_rank for each in self._known)
            self.own = before_us < AT_LEAST
        return self.own and not was

    # ---- knowing ----

    def heard(self, now: float, contact: Contact, age: int, *, itself: bool = False) -> None:
        """Somebody says that ``contact`` kept an index ``age`` steps ago; or it does ``itself``,
        from where it is."""
        node_id, at = contact.id, now - age * AGE_STEP_S
        if node_id == self._own_id or at < now - FORGET_S:
            return
        if self._failed.get(node_id, now) > now:
            return
        self._failed.pop(node_id, None)
        known = self._known.get(node_id)
        if known is not None and known[0].packed == contact.packed:
            self._known[node_id] = (known[0], max(at, known[1]))
        elif known is not None:
            # Threat: hearsay that moves a true one to where nobody answers. Its own word counts.
            if itself and self._subnet_has_room(contact):
                self._known[node_id] = (contact, at)
        elif self._subnet_has_room(contact):
            self._known[node_id] = (contact, at)
            if len(self._known) > INDEX_NODES_MAX:
                del self._known[min(self._known, key=lambda each: self._known[each][1])]
            self.on_new(now, contact)

    def failed(self, now: float, contact: Contact) -> None:
        """It did not answer, or did not know what it was asked."""
        if self._known.pop(contact.id, None) is not None:
            self._failed[contact.id] = now + FORGET_S
            if len(self._failed) > INDEX_NODES_MAX:
                del self._failed[next(iter(self._failed))]

    def sample(self, now: float, count: int) -> list[tuple[Contact, int]]:
        """Some of them, at random, each with its age in steps. A step that has begun counts: else
        those who tell each other more often than every 10 s would never let a dead one go."""
        self._forget_old(now)
        chosen = self._random.sample(list(self._known), min(count, len(self._known)))
        return [
            (contact, ceil((now - at) / AGE_STEP_S))
            for contact, at in map(self._known.__getitem__, chosen)
        ]

    def for_key(self, now: float, key: int, count: int = PER_KEY) -> list[Contact]:
        """Those to be asked for a key, the nearest first."""
        self._forget_old(now)
        nearest = sorted(self._known, key=key.__xor__)[:count]
        return [self._known[node_id][0] for node_id in nearest]

    # ---- private ----

    def _forget_old(self, now: float) -> None:
        old = [each for each, (_, at) in self._known.items() if at < now - FORGET_S]
        for each in old:
            del self._known[each]

    def _subnet_has_room(self, contact: Contact) -> bool:
        """Threat: one host with many identities is all index nodes that there are."""
        subnet = contact.subnet
        if subnet is None:
            return True
        same = sum(known.subnet == subnet for known, _ in self._known.values())
        return same < self._subnet_max
