"""The nearest by XOR, against sorting; ids of a few bits, which a reader can XOR by eye."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.keyspace import owners
from dht.lab.nearest import Ids, bit_lengths, every_id, nearest, random_ids

SPACES = st.integers(1, 7).flatmap(
    lambda bits: st.tuples(
        st.just(bits), st.lists(st.integers(0, (1 << bits) - 1), min_size=1, unique=True)
    )
)


def array(values: list[int]) -> Ids:
    return np.array(sorted(values), dtype=np.uint64)


@given(SPACES, st.data())
def test_the_nearest_are_the_owners_of_the_key(
    space: tuple[int, list[int]], data: st.DataObject
) -> None:
    bits, ids = space
    count = data.draw(st.integers(1, len(ids)))
    keys = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=1))
    places = nearest(array(ids), np.array(keys, dtype=np.uint64), count)
    found = array(ids)[places].tolist()
    assert found == [owners(key, ids, count) for key in keys]


def test_many_keys_are_found_in_many_parts() -> None:
    ids = random_ids(3000, 60, np.random.default_rng(1))
    keys = random_ids(9000, 60, np.random.default_rng(2))
    found = nearest(ids, keys, 20)
    for place in (0, 1234, 8999):
        expected = owners(int(keys[place]), ids.tolist(), 20)
        assert ids[found[place]].tolist() == expected


@pytest.mark.parametrize("count", [0, 3])
def test_more_than_there_are_is_too_many(count: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 2"):
        nearest(array([1, 2]), array([0]), count)


@given(st.lists(st.integers(0, (1 << 63) - 1), min_size=1))
def test_the_length_of_a_number_is_that_of_python(values: list[int]) -> None:
    lengths = bit_lengths(np.array(values, dtype=np.uint64))
    assert lengths.tolist() == [value.bit_length() for value in values]


@given(st.integers(1, 10), st.data())
def test_random_ids_are_different_sorted_and_inside(bits: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 1 << bits))
    ids = random_ids(count, bits, np.random.default_rng(3)).tolist()
    assert len(ids) == count
    assert ids == sorted(set(ids))
    assert all(0 <= each < 1 << bits for each in ids)


@pytest.mark.parametrize(("nodes", "bits"), [(3, 1), (1, 64), (1, 0)])
def test_ids_that_do_not_exist_are_refused(nodes: int, bits: int) -> None:
    with pytest.raises(ValueError, match=f"{nodes} different ids of {bits} bits"):
        random_ids(nodes, bits, np.random.default_rng(1))


def test_a_full_space_has_every_id() -> None:
    assert every_id(3).tolist() == list(range(8))
