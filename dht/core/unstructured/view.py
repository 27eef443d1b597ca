"""The view: the few neighbours that a node has at the moment, which change all the time.

Everything that decides who is a neighbour is in this file. It is Cyclon (Voulgaris, Gavidia and van
Steen 2005): now and then a node gives a part of its view to its oldest neighbour, takes a part of
that one's in return, and what is received replaces what was given. An entry is never copied, only
moved, so everybody is known by about as many; the oldest is asked first, so the dead vanish; and
the graph of all views stays like a random one.

Where we deviate: an entry also says how many neighbours its node has and whether it keeps an index;
of one public subnet there are few; and how often others may give us entries is limited in
``gossip``, or a stranger would replace them all.
"""

from collections.abc import Iterable
from random import Random
from typing import NamedTuple, final

from ...config import Config
from ...contacts import Contact

#: What an age is capped at on its way: it is 7 bits there.
AGE_MAX = 127

# The first byte of a mark.
_INDEXES = 0x80


class Entry(NamedTuple):
    """A neighbour, as one node tells another of it."""

    contact: Contact
    #: Shuffles since its owner gave it out.
    age: int = 0
    #: How many neighbours it has; 0: unknown.
    degree: int = 0
    #: Does it keep an index of who holds what?
    indexes: bool = False

    @property
    def mark(self) -> bytes:
        """What stands beside its contact on the wire."""
        return bytes([min(self.age, AGE_MAX) | _INDEXES * self.indexes, min(self.degree, 255)])


def entry_of(contact: Contact, mark: bytes) -> Entry:
    """A contact and its mark of ``MARK_SIZE`` bytes; all of them mean something."""
    return Entry(contact, mark[0] & AGE_MAX, mark[1], bool(mark[0] & _INDEXES))


@final
class View:
    """At most ``Config.view_size`` neighbours. Nothing here is a fact: they are what others told,
    until they answer."""

    def __init__(self, own_id: int, config: Config, random: Random) -> None:
        self._own_id = own_id
        self._size = config.view_size
        self._exchange = config.exchange
        self._subnet_max = config.subnet_per_bucket_max
        self._random = random
        # By id. An age counts from ``_cycle``, so that ageing touches no entry.
        self._entries: dict[int, Entry] = {}
        self._subnets: dict[bytes, int] = {}
        self._cycle = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._entries

    # ---- reading ----

    def get(self, node_id: int) -> Contact | None:
        """The neighbour with this id."""
        entry = self._entries.get(node_id)
        return None if entry is None else entry.contact

    def contacts(self) -> list[Contact]:
        """All neighbours, in no order that says anything."""
        return [entry.contact for entry in self._entries.values()]

    def entries(self) -> list[Entry]:
        """All neighbours with what is known of them."""
        return [self._aged(entry) for entry in self._entries.values()]

    def sample(self, count: int) -> list[Entry]:
        """So many of them at random, or all if there are fewer."""
        entries = list(self._entries.values())
        chosen = self._random.sample(entries, min(count, len(entries)))
        return [self._aged(entry) for entry in chosen]

    @property
    def degree(self) -> int:
        """How many neighbours there are, as others are told."""
        return len(self._entries)

    # ---- shuffling ----

    def begin(self) -> tuple[Contact, list[Entry]] | None:
        """One shuffle begins: with whom, and what it is given beside our own entry. None: there is
        nobody. That neighbour is out of the view now, unless it is the only one, and back as soon
        as anything comes of it."""
        if not self._entries:
            return None
        self._cycle += 1
        # The smallest birth is the highest age; of several the one that came first.
        oldest = min(self._entries.values(), key=_birth)
        if len(self._entries) == 1:  # a search that begins meanwhile has to go somewhere
            return oldest.contact, []
        self.drop(oldest.contact.id)
        return oldest.contact, self.sample(self._exchange - 1)

    def merge(self, received: Iterable[Entry], given: Iterable[Entry] = ()) -> None:
        """Takes what is new, into free places and then into those of what was ``given`` away."""
        replaceable = [entry.contact.id for entry in given]
        for entry in received:
            contact = entry.contact
            if contact.id == self._own_id or contact.id in self._entries:
                continue
            if not self._subnet_has_room(contact):
                continue
            while len(self._entries) >= self._size and replaceable:
                self.drop(replaceable.pop())
            if len(self._entries) >= self._size:
                return
            self._put(entry)

    def drop(self, node_id: int) -> None:
        """It is no neighbour any more, if it was one."""
        entry = self._entries.pop(node_id, None)
        if entry is not None and entry.contact.subnet is not None:
            left = self._subnets[entry.contact.subnet] - 1
            if left:
                self._subnets[entry.contact.subnet] = left
            else:
                del self._subnets[entry.contact.subnet]

    # ---- private ----

    def _put(self, entry: Entry) -> None:
        contact = entry.contact
        self._entries[contact.id] = entry._replace(age=entry.age - self._cycle)
        if contact.subnet is not None:
            self._subnets[contact.subnet] = self._subnets.get(contact.subnet, 0) + 1

    def _aged(self, entry: Entry) -> Entry:
        return entry._replace(age=min(entry.age + self._cycle, AGE_MAX))

    def _subnet_has_room(self, contact: Contact) -> bool:
        """Threat: one host with many identities becomes everybody's neighbourhood."""
        subnet = contact.subnet
        return subnet is None or self._subnets.get(subnet, 0) < self._subnet_max


def _birth(entry: Entry) -> int:
    return -entry.age
