"""Numbers in order, against a sorted list."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.core import slots
from dht.core.slots import SlotIndex

NUMBERS = st.integers(0, 60)


@given(
    changes=st.lists(NUMBERS, max_size=150),
    low=NUMBERS,
    high=NUMBERS,
    limit=st.integers(0, 20),
)
def test_a_slice_is_that_of_a_sorted_list(
    changes: list[int], low: int, high: int, limit: int
) -> None:
    """A number that comes a second time is taken out again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "BLOCK_MAX", 4)
        index = SlotIndex()
        model: dict[int, None] = {}
        for number in changes:
            if number in model:
                index.remove(number)
                del model[number]
            else:
                index.add(number)
                model[number] = None
    expected = [number for number in sorted(model) if low <= number < high][:limit]
    assert index.slice(low, high, limit) == expected
    assert index.slice(0, 61, 100) == sorted(model)
    assert len(index) == len(model)


def test_blocks_stay_short_and_none_is_empty() -> None:
    index, numbers = SlotIndex(), list(range(20_000))
    Random(1).shuffle(numbers)
    for number in numbers:
        index.add(number)
    assert index.slice(0, 20_000, 20_000) == list(range(20_000))
    assert max(map(len, index._blocks)) <= slots.BLOCK_MAX
    for number in numbers[:19_990]:
        index.remove(number)
    assert index.slice(0, 20_000, 100) == sorted(numbers[19_990:])
    assert index._firsts == [block[0] for block in index._blocks]
    for number in numbers[19_990:]:
        index.remove(number)
    assert not index._blocks
    assert not index._firsts
