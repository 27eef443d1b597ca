"""Who owns a key: each way against its definition in a few lines, and what moves."""

from bisect import bisect_left

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.lab.hashing import (
    KEY_BITS,
    Ring,
    bounded,
    jump,
    maglev,
    mixed,
    moved,
    peak,
    random_keys,
    rendezvous,
    spread,
)
from dht.lab.nearest import Ids

MASK = (1 << 64) - 1
KEYS = st.lists(st.integers(0, (1 << KEY_BITS) - 1), min_size=1, max_size=20)
SEEDS = st.integers(0, 1000)


def array(values: list[int]) -> Ids:
    return np.array(values, dtype=np.uint64)


@given(KEYS, st.integers(1, 5), st.integers(1, 4), SEEDS)
def test_a_ring_gives_a_key_to_the_next_point(
    keys: list[int], buckets: int, points: int, seed: int
) -> None:
    ring = Ring.random(buckets, points, np.random.default_rng(seed))
    places = ring.points.tolist()
    assert places == sorted(places)
    expected = [int(ring.owners[bisect_left(places, key) % len(places)]) for key in keys]
    assert ring.owner(array(keys)).tolist() == expected


def test_the_shares_of_a_ring_are_its_arcs() -> None:
    """Points at a quarter and at a half: the first owns all that lies behind the second."""
    half = 1 << KEY_BITS - 1
    ring = Ring(array([half // 2, half]), np.array([1, 0], dtype=np.int32), 3)
    assert ring.shares().tolist() == pytest.approx([0.25, 0.75, 0])


@given(SEEDS)
def test_when_a_bucket_leaves_a_ring_only_its_keys_move(seed: int) -> None:
    generator = np.random.default_rng(seed)
    ring, keys = Ring.random(5, 3, generator), random_keys(100, generator)
    before, after = ring.owner(keys), ring.without(2).owner(keys)
    assert 2 not in after
    assert moved(before, after, 2) == (float((before == 2).mean()), 0)


def jump_as_published(key: int, buckets: int) -> int:
    """Lamping & Veach 2014, figure 1."""
    b, j = -1, 0
    while j < buckets:
        b = j
        key = (key * 2862933555777941757 + 1) & MASK
        j = int((b + 1) * (float(1 << 31) / float((key >> 33) + 1)))
    return b


@given(KEYS, st.integers(1, 1000))
def test_jump_is_the_published_pseudo_code(keys: list[int], buckets: int) -> None:
    expected = [jump_as_published(key, buckets) for key in keys]
    assert jump(array(keys), buckets).tolist() == expected


def mixed_as_published(value: int) -> int:
    """SplitMix64's last steps."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


@given(KEYS, KEYS)
def test_rendezvous_gives_a_key_to_the_highest_hash(keys: list[int], names: list[int]) -> None:
    assert mixed(array(keys)).tolist() == [mixed_as_published(key) for key in keys]
    hashes = [[mixed_as_published(key ^ name) for name in names] for key in keys]
    expected = [row.index(max(row)) for row in hashes]
    assert rendezvous(array(keys), array(names)).tolist() == expected


@pytest.mark.parametrize("size", [13, 101])
def test_maglev_fills_its_table_in_turns(size: int) -> None:
    names = random_keys(5, np.random.default_rng(1))
    table = maglev(names, size)
    counts = np.bincount(table, minlength=5)
    assert counts.sum() == size
    assert counts.max() - counts.min() <= 1
    fewer = maglev(names[:4], size)
    # Most cells of those who stay are theirs again: with plain counting a fifth would be.
    assert ((table == fewer) & (table < 4)).sum() > 0.6 * (table < 4).sum()


@given(SEEDS, st.integers(1, 4))
def test_bounded_loads_pass_keys_on_when_a_bucket_is_full(seed: int, cap: int) -> None:
    generator = np.random.default_rng(seed)
    ring = Ring.random(4, 2, generator)
    keys = random_keys(4 * cap, generator)
    owners = bounded(ring, keys, cap)
    assert np.bincount(owners, minlength=4).tolist() == [cap] * 4
    # Whoever comes first finds room where a ring without bounds would put it.
    assert owners[0] == ring.owner(keys[:1])[0]
    assert (bounded(ring, keys, len(keys)) == ring.owner(keys)).all()


def test_more_keys_than_room_are_refused() -> None:
    generator = np.random.default_rng(1)
    ring = Ring.random(3, 2, generator)
    with pytest.raises(ValueError, match="7 keys do not fit under a cap of 2: that holds 6"):
        bounded(ring, random_keys(7, generator), 2)
    with pytest.raises(ValueError, match="holds 4"):
        bounded(ring.without(1), random_keys(5, generator), 2)


def test_spread_and_peak_are_in_means() -> None:
    loads = np.array([1, 3])
    assert spread(loads) == 0.5
    assert peak(loads) == 1.5
