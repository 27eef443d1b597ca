"""Who owns a key: six ways to spread keys over buckets, and what each moves when one bucket goes.

    ring           the first of a bucket's random points at or behind the key (Karger et al. 1997)
    rendezvous     the bucket whose hash with the key is highest (Thaler & Ravishankar 1998)
    jump           arithmetic alone; only the last bucket can go (Lamping & Veach 2014)
    XOR            the bucket whose id is nearest: what this package does (dht/keyspace.py)
    maglev         buckets take turns to fill a table (Eisenbud et al. 2016)
    bounded loads  a ring on which a full bucket passes keys on (Mirrokni et al. 2016)

Keys and points are 63-bit integers, uniform; arrays of many of them at once.
"""

from collections.abc import Sequence
from typing import Any, final

import attrs
import numpy as np
import numpy.typing as npt

from .nearest import Ids

Buckets = npt.NDArray[np.int32]

#: Width of keys and points; the top bit stays free, so that sums of two never overflow.
KEY_BITS = 63
_SPACE = 1 << KEY_BITS
#: Cells of the largest array that is made on the way.
_CELLS = 1 << 22


def random_keys(count: int, generator: np.random.Generator) -> Ids:
    """Uniform, and different from each other for all that matters."""
    return generator.integers(_SPACE, size=count, dtype=np.uint64)


def mixed(values: Ids) -> Ids:
    """A bijection that leaves no pattern: the last steps of SplitMix64 (Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


# ----------------------------------------------------------------------------------------- the ring


@final
@attrs.frozen(eq=False)
class Ring:
    """Points in order, and whose each is."""

    points: Ids
    owners: Buckets
    buckets: int

    @classmethod
    def random(cls, buckets: int, points: int, generator: np.random.Generator) -> "Ring":
        """So many random points for each bucket."""
        places = random_keys(buckets * points, generator)
        order = np.argsort(places)
        owners = np.repeat(np.arange(buckets, dtype=np.int32), points)
        return cls(places[order], owners[order], buckets)

    def without(self, bucket: int) -> "Ring":
        """The same ring after that bucket has gone."""
        stay = self.owners != bucket
        return Ring(self.points[stay], self.owners[stay], self.buckets)

    def owner(self, keys: Ids) -> Buckets:
        """Whose point stands at or behind each key."""
        at = np.searchsorted(self.points, keys) % len(self.points)
        return np.asarray(self.owners[at])

    def shares(self) -> npt.NDArray[np.float64]:
        """Which share of the whole space each bucket owns."""
        arcs = np.diff(self.points, prepend=self.points[-1:])
        arcs &= np.uint64(_SPACE - 1)
        weights = (arcs / _SPACE).astype(np.float64)
        return np.bincount(self.owners, weights=weights, minlength=self.buckets).astype(np.float64)


def bounded(ring: Ring, keys: Ids, cap: int) -> Buckets:
    """The owners of keys that come one after the other, none with more than ``cap`` of them.

    A key whose bucket is full goes to the next one behind. Raises ``ValueError`` where they
    cannot all fit.
    """
    room = np.bincount(ring.owners, minlength=ring.buckets).astype(bool).sum() * cap
    if room < len(keys):
        raise ValueError(f"{len(keys)} keys do not fit under a cap of {cap}: that holds {room}")
    owners: list[int] = ring.owners.tolist()
    starts: list[int] = (np.searchsorted(ring.points, keys) % len(owners)).tolist()
    load = [0] * ring.buckets
    chosen = np.empty(len(keys), dtype=np.int32)
    for number, at in enumerate(starts):
        place = at
        while load[owners[place]] >= cap:
            place = (place + 1) % len(owners)
        load[owners[place]] += 1
        chosen[number] = owners[place]
    return chosen


# --------------------------------------------------------------------------------------- the others


def rendezvous(keys: Ids, names: Ids) -> Buckets:
    """The place of the bucket name whose hash with the key is highest."""
    chosen = np.empty(len(keys), dtype=np.int32)
    rows = max(1, _CELLS // len(names))
    for start in range(0, len(keys), rows):
        part = slice(start, start + rows)
        chosen[part] = np.argmax(mixed(keys[part, None] ^ names), axis=1)
    return chosen


def jump(keys: Ids, buckets: int) -> Buckets:
    """The published pseudo code, for all keys at once: each jumps ahead until it would leave."""
    state = keys.copy()
    last = np.zeros(len(keys), dtype=np.int64)
    moving = np.arange(len(keys))
    following = np.zeros(len(keys), dtype=np.int64)
    while len(moving):
        last[moving] = following
        state[moving] = state[moving] * np.uint64(2862933555777941757) + np.uint64(1)
        draw = (state[moving] >> np.uint64(33)).astype(np.float64) + 1
        following = ((last[moving] + 1) * (float(1 << 31) / draw)).astype(np.int64)
        inside = following < buckets
        moving, following = moving[inside], following[inside]
    return last.astype(np.int32)


def maglev(names: Ids, size: int) -> Buckets:
    """The table of so many cells, a prime: in turn each bucket takes the next free cell of its own
    permutation (Eisenbud et al. 2016, section 3.4). A key owns the cell of its value modulo size.
    """
    offsets: Sequence[int] = (mixed(names) % np.uint64(size)).tolist()
    skips: Sequence[int] = (
        mixed(names ^ np.uint64(0x9E3779B97F4A7C15)) % np.uint64(size - 1) + np.uint64(1)
    ).tolist()
    table = [-1] * size
    places = list(offsets)
    filled = 0
    while True:
        for bucket, skip in enumerate(skips):
            place = places[bucket]
            while table[place] >= 0:
                place = (place + skip) % size
            table[place] = bucket
            places[bucket] = (place + skip) % size
            filled += 1
            if filled == size:
                return np.array(table, dtype=np.int32)


# --------------------------------------------------------------------------------- what is measured


def spread(loads: npt.NDArray[Any]) -> float:
    """The standard deviation of the loads, in means."""
    return float(np.std(loads) / np.mean(loads))


def peak(loads: npt.NDArray[Any]) -> float:
    """The highest load, in means."""
    return float(np.max(loads) / np.mean(loads))


def moved(before: Buckets, after: Buckets, gone: int) -> tuple[float, float]:
    """The share of keys that change their owner when a bucket goes: those that must, as they were
    its own, and those that need not have."""
    own = before == gone
    return float(own.mean()), float(((before != after) & ~own).mean())
