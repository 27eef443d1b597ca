"""The routing table: whom this node knows, by how many leading bits they share with its own id.

Flat buckets, one for each common prefix length, are what "the bucket that covers our own id
splits" comes to: the contacts of prefix length p never share a bucket with those of another, and
the buckets near our own id simply are not full. All contacts stand in one list sorted by id; a
bucket is a stretch of it, so that no second structure can disagree with the first.

The table is values in, values out: it never sends a probe, and takes ids as plain integers of
``bits`` bits.

Deviations from the paper (Maymounkov & Mazières 2002):

* a bucket grows past k while the whole table has fewer than ``table_whole_max`` contacts, so that
  a small network is known whole and a get in it is one request;
* the replacement cache (their section 4.1) holds only contacts that answered a request of ours;
* no more than a few contacts of one subnet enter (see ``Config``); local ranges are exempt.
"""

from bisect import bisect_left, insort
from random import Random
from typing import Final, final

import attrs

from ..config import Config
from ..contacts import Address, Contact, ip_of, subnet_of, wide_subnet_of
from ..keyspace import KEY_BITS, solves_puzzle

#: Failures in a row after which a contact gives way to one that waits in the cache. Each is a
#: request that was sent ``Config.tries`` times. BEP 5 calls a node bad "when it fails to respond to
#: multiple queries in a row".
REPLACED_AFTER: Final = 2
#: Failures in a row after which it goes even when nobody waits: others are told of our contacts,
#: and a dead one costs each of them a timeout. Guess; at 20 % loss each way and two tries, a live
#: contact is lost in 0.36 ** 6 = 0.2 % of such rows.
DEAD_AFTER: Final = 3
#: Neighbours from whose density the size of a large network is estimated: standard error
#: 1 / sqrt(20) = 22 %.
NEIGHBOURS: Final = 20
#: The table is not whole for sure when our neighbours lie so many times denser than all that it
#: holds: more than four standard errors. Below that its count is the better estimate.
_SURELY_NOT_WHOLE: Final = 2.0
#: And so many times is reason enough not to rely on it: a put that stores without asking first
#: would leave copies where no reader looks. A whole table is found wanting so in 3 % of the cases,
#: which costs it a question.
_HARDLY_WHOLE: Final = 1.5


@final
@attrs.frozen
class Change:
    """A contact left the table, and perhaps one that waited in the cache took its place."""

    removed: Contact
    added: Contact | None


@attrs.define(eq=False, repr=False)
class _Entry:
    contact: Contact
    heard_at: float
    failures: int = 0
    #: The same node answered from another address: taken when the known one fails, not before.
    moved: Contact | None = None


@final
@attrs.define(eq=False, init=False, repr=False)
class RoutingTable:
    """Contacts that answered a request of ours, at most one for each id, never our own."""

    own_id: int
    _config: Config
    _bits: int
    _ids: list[int]  # sorted
    _entries: dict[int, _Entry]
    #: Prefix length -> id -> entry, the longest waiting first.
    _waiting: dict[int, dict[int, _Entry]]
    _subnets: dict[bytes, int]
    _wide_subnets: dict[bytes, int]
    _ips: dict[bytes, int]
    _looked_at: dict[int, float]
    _estimated: float | None  # what size_by_neighbours said since the last change

    def __init__(self, own_id: int, *, config: Config, bits: int = KEY_BITS) -> None:
        self.own_id = own_id
        self._config = config
        self._bits = bits
        self._ids = []
        self._entries = {}
        self._waiting = {}
        self._subnets = {}
        self._wide_subnets = {}
        self._ips = {}
        self._looked_at = {}
        self._estimated = None

    # ---- what is in it ----

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._entries

    def get(self, node_id: int) -> Contact | None:
        """The contact with this id, or None."""
        entry = self._entries.get(node_id)
        return None if entry is None else entry.contact

    def contacts(self) -> list[Contact]:
        """Everybody, nearest to our own id first."""
        return self.closest(self.own_id, len(self._ids))

    def closest(self, target: int, n: int) -> list[Contact]:
        """The ``n`` contacts nearest to ``target``, nearest first: exactly, whatever the table."""
        ids = self._ids
        near = [each ^ target for each in (ids if len(ids) <= n else self._around(target, n))]
        near.sort()
        entries = self._entries
        return [entries[each ^ target].contact for each in near[:n]]

    def _around(self, target: int, n: int) -> list[int]:
        """A stretch of the ids that holds the ``n`` nearest and few others.

        The ids that agree with the target above bit b are one stretch of the sorted list, and
        nearer than all others: the right b is the smallest whose stretch has n of them.
        """
        ids = self._ids
        if n <= 0:
            return []
        middle = bisect_left(ids, target)
        # Of any n ids in a row around the target, one half lies on one side: start from there.
        half = (n + 1) // 2
        first, last = middle - half, middle + half
        while True:
            nearer = []
            if first >= 0:
                nearer.append(ids[first] ^ target)
            if last <= len(ids):
                nearer.append(ids[last - 1] ^ target)
            b = min(nearer).bit_length()
            low = target >> b << b
            first = bisect_left(ids, low, 0, middle)
            last = bisect_left(ids, low + (1 << b), middle)
            if last - first >= n:
                return ids[first:last]
            # Too few: on to the nearest id outside, which says how much wider the next one is.
            first -= 1
            last += 1

    def oldest(self) -> Contact | None:
        """The contact that was silent longest: the one to probe."""
        if not self._entries:
            return None
        return min(self._entries.values(), key=_heard_at).contact

    # ---- who comes and goes ----

    def wants(self, contact: Contact) -> bool:
        """Would ``add`` take it into the table now? Then a stranger is worth a probe."""
        if contact.id in self._entries or not self._is_allowed(contact.id):
            return False
        prefix = self._prefix_length(contact.id)
        return self._has_room(prefix) and self._is_diverse(contact, prefix)

    def add(self, now: float, contact: Contact) -> bool:
        """``contact`` answered a request of ours from its address; True: it is new in the table.

        One that finds no room waits in the cache. A known one is as after ``seen``.
        """
        node_id = contact.id
        if node_id in self._entries:
            self.seen(now, contact)
            return False
        if not self._is_allowed(node_id):
            return False
        prefix = self._prefix_length(node_id)
        if self._has_room(prefix) and self._is_diverse(contact, prefix):
            waiting = self._waiting.get(prefix)
            if waiting is not None:
                waiting.pop(node_id, None)
            self._insert(_Entry(contact, now))
            return True
        self._let_wait(now, contact, prefix)
        return False

    def seen(self, now: float, contact: Contact) -> None:
        """A known contact answered us again. From another address, that one is only remembered:
        it counts once the address that we have fails (whoever copies a key takes over nobody).
        """
        entry = self._entries.get(contact.id)
        if entry is None:
            return
        if entry.contact is contact or entry.contact.packed == contact.packed:
            entry.heard_at = now
            entry.failures = 0
            entry.moved = None
        elif entry.failures == 0 or not self._move(now, entry, contact):
            entry.moved = contact

    def failed(self, now: float, contact: Contact) -> Change | None:
        """A request to it got no answer while our own link worked.

        After two in a row it leaves if one from the cache takes its place (or the bucket is still
        full without it), after three in any case; the change is returned. When the same node
        answered from another address meanwhile, that address takes over, and there is no change.
        """
        node_id = contact.id
        entry = self._entries.get(node_id)
        prefix = self._prefix_length(node_id)
        if entry is None:
            self._waiting.get(prefix, {}).pop(node_id, None)
            return None
        if entry.contact.packed != contact.packed:
            if entry.moved is not None and entry.moved.packed == contact.packed:
                entry.moved = None
            return None
        entry.failures += 1
        if entry.moved is not None and self._move(now, entry, entry.moved):
            return None
        if entry.failures < REPLACED_AFTER:
            return None
        change = self._replace(entry, prefix)
        if (
            change.added is None
            and entry.failures < DEAD_AFTER
            and len(self._bucket(prefix)) < self._config.k
        ):
            self._insert(entry)
            return None
        return change

    def withdrawn(self, contact: Contact) -> Change | None:
        """It says that it serves no more: it leaves, unless we know it at another address."""
        entry = self._entries.get(contact.id)
        if entry is None or entry.contact.packed != contact.packed:
            return None
        return self._replace(entry, self._prefix_length(contact.id))

    def _replace(self, entry: _Entry, prefix: int) -> Change:
        """It leaves, and one from the cache takes its place if it may."""
        self._remove(entry)
        successor = self._successor(prefix)
        if successor is None:
            return Change(entry.contact, None)
        self._waiting[prefix].pop(successor.contact.id)
        self._insert(successor)
        return Change(entry.contact, successor.contact)

    def _prefix_length(self, node_id: int) -> int:
        return self._bits - (node_id ^ self.own_id).bit_length()

    def _bucket(self, prefix: int) -> list[int]:
        """The ids that share exactly ``prefix`` leading bits with ours."""
        b = self._bits - 1 - prefix
        if b < 0:
            return []
        low = (self.own_id >> b ^ 1) << b
        return self._ids[bisect_left(self._ids, low) : bisect_left(self._ids, low + (1 << b))]

    def _has_room(self, prefix: int) -> bool:
        return (
            len(self._ids) < self._config.table_whole_max
            or len(self._bucket(prefix)) < self._config.k
        )

    def _insert(self, entry: _Entry) -> None:
        insort(self._ids, entry.contact.id)
        self._entries[entry.contact.id] = entry
        self._count(entry.contact.address, 1)
        self._estimated = None

    def _remove(self, entry: _Entry) -> None:
        del self._ids[bisect_left(self._ids, entry.contact.id)]
        del self._entries[entry.contact.id]
        self._count(entry.contact.address, -1)
        self._estimated = None

    def _move(self, now: float, entry: _Entry, contact: Contact) -> bool:
        """Give a known node its new address, unless the limits are against it."""
        self._remove(entry)
        fits = self._is_diverse(contact, self._prefix_length(contact.id))
        if fits:
            entry.contact = contact
            entry.heard_at = now
            entry.failures = 0
            entry.moved = None
        self._insert(entry)
        return fits

    # ---- those who wait for a place ----

    def _let_wait(self, now: float, contact: Contact, prefix: int) -> None:
        """Threat: strangers. At most k wait behind a bucket; the one that waited longest goes."""
        waiting = self._waiting.setdefault(prefix, {})
        waiting.pop(contact.id, None)
        if contact.subnet is not None:
            same = [each for each in waiting.values() if each.contact.subnet == contact.subnet]
            if len(same) >= self._config.subnet_per_bucket_max:
                return
        waiting[contact.id] = _Entry(contact, now)
        if len(waiting) > self._config.k:
            del waiting[next(iter(waiting))]

    def _successor(self, prefix: int) -> _Entry | None:
        """The one that answered last of those who wait, and may enter."""
        if prefix not in self._waiting or not self._has_room(prefix):
            return None
        for entry in reversed(self._waiting[prefix].values()):
            if self._is_diverse(entry.contact, prefix):
                return entry
        return None

    # ---- one owner's share: an eclipse has to come from many networks ----

    def _is_allowed(self, node_id: int) -> bool:
        """Not ourselves, and it has paid for its id."""
        return node_id != self.own_id and solves_puzzle(node_id, self._config.id_puzzle_bits)

    def _is_diverse(self, contact: Contact, prefix: int) -> bool:
        address, subnet, config = contact.address, contact.subnet, self._config
        if subnet is None:
            return True
        wide = wide_subnet_of(address)
        of_subnet = self._subnets.get(subnet, 0)
        if (
            of_subnet >= config.subnet_per_table_max
            or self._ips.get(ip_of(address), 0) >= config.ip_per_table_max
            or (
                wide is not None
                and self._wide_subnets.get(wide, 0) >= config.wide_subnet_per_table_max
            )
        ):
            return False
        if of_subnet < config.subnet_per_bucket_max:
            return True  # not even the whole table has so many of them
        same = 0
        for each in self._bucket(prefix):
            same += self._entries[each].contact.subnet == subnet
        return same < config.subnet_per_bucket_max

    def _count(self, address: Address, by: int) -> None:
        _count(self._subnets, subnet_of(address), by)
        _count(self._ips, ip_of(address), by)
        wide = wide_subnet_of(address)
        if wide is not None:
            _count(self._wide_subnets, wide, by)

    # ---- upkeep ----

    def bucket_depth(self) -> int:
        """The prefix length at which our own neighbourhood begins: the fewest shared bits that at
        most k contacts have. Buckets below it are the ones that the paper would have split off.
        """
        k = self._config.k
        if len(self._ids) <= k:
            return 0
        nearest = self.closest(self.own_id, k + 1)[k].id
        return self._prefix_length(nearest) + 1

    def touched(self, now: float, target: int) -> None:
        """A lookup went to ``target``: its bucket needs no refresh for a while."""
        self._looked_at[self._prefix_length(target)] = now

    def idle_buckets(self, now: float) -> list[int]:
        """The prefix lengths that no lookup went to for ``refresh_interval_s``, farthest first.

        The last one is our own neighbourhood as a whole. Empty while the table is.
        """
        if not self._ids:
            return []
        due = now - self._config.refresh_interval_s
        depth = self.bucket_depth()
        looked_at = self._looked_at
        idle = [prefix for prefix in range(depth) if looked_at.get(prefix, _NEVER) <= due]
        if all(at <= due for prefix, at in looked_at.items() if prefix >= depth):
            idle.append(depth)
        return idle

    def random_target(self, prefix_length: int, random: Random) -> int:
        """A place that shares exactly ``prefix_length`` leading bits with our own id."""
        b = self._bits - 1 - prefix_length
        if b < 0:
            return self.own_id
        return (self.own_id >> b ^ 1) << b | random.getrandbits(b)

    # ---- how large the network is ----

    def network_size(self) -> float:
        """How many nodes there are, ourselves included.

        While the table may hold everybody, everybody counted: exact. Else, or when our neighbours
        lie so much denser than this would have it that the table cannot be whole yet, the least
        squares fit of d = i * spacing to the distances of the nearest.
        """
        counted = len(self._ids) + 1.0
        if self._may_be_whole(_SURELY_NOT_WHOLE):
            return counted
        return max(self.size_by_neighbours(), counted)

    def size_by_neighbours(self) -> float:
        """The same by the density of our neighbours alone, whatever else the table holds; who has
        fewer than ``NEIGHBOURS`` counts them."""
        if self._estimated is None:
            self._estimated = self._estimate()
        return self._estimated

    def holds_everybody(self) -> bool:
        """Is everybody in the table, as far as our neighbours' density tells?"""
        return self._may_be_whole(_HARDLY_WHOLE)

    def _may_be_whole(self, denser: float) -> bool:
        if len(self._ids) < NEIGHBOURS:
            return True
        room = len(self._ids) < self._config.table_whole_max
        return room and self.size_by_neighbours() < denser * (len(self._ids) + 1)

    def _estimate(self) -> float:
        nearest = self.closest(self.own_id, NEIGHBOURS)
        if len(nearest) < NEIGHBOURS:
            return len(self._ids) + 1.0
        squares = sum(i * i for i in range(1, len(nearest) + 1))
        products = sum(i * (each.id ^ self.own_id) for i, each in enumerate(nearest, 1))
        return squares * 2.0**self._bits / products

    def expected_distance(self, rank: int) -> int:
        """How far from a place its ``rank``-th nearest node is to be expected."""
        return int(rank / self.network_size() * 2.0**self._bits)


_NEVER: Final = float("-inf")


def _heard_at(entry: _Entry) -> float:
    return entry.heard_at


def _count(counts: dict[bytes, int], group: bytes, by: int) -> None:
    left = counts.get(group, 0) + by
    if left:
        counts[group] = left
    else:
        del counts[group]
