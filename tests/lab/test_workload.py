"""Zipf's law, who is read, and who gets how many copies."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.lab.workload import COPIES_MAX, copies_of, drawn_reads, rank_classes, zipf_shares

exponents = st.floats(0, 10)


@given(records=st.integers(1, 2000), exponent=exponents)
def test_shares_sum_to_one_and_fall_with_the_rank(records: int, exponent: float) -> None:
    shares = zipf_shares(records, exponent)
    assert sum(shares) == pytest.approx(1)
    assert shares == sorted(shares, reverse=True)
    assert shares[0] / shares[-1] == pytest.approx(records**exponent)


@given(seed=st.integers(), exponent=exponents, reads=st.integers(0, 200))
def test_reads_hang_on_the_seed_alone(seed: int, exponent: float, reads: int) -> None:
    shares = zipf_shares(20, exponent)
    drawn = drawn_reads(shares, reads, Random(seed))
    assert drawn == drawn_reads(shares, reads, Random(seed))
    assert len(drawn) == reads
    assert set(drawn) <= set(range(20))


def test_popular_records_are_read_as_often_as_they_should() -> None:
    shares = zipf_shares(10, 1)
    drawn = drawn_reads(shares, 20_000, Random(1))
    for number, share in enumerate(shares):
        assert drawn.count(number) / 20_000 == pytest.approx(share, abs=0.01)


@given(records=st.integers(1, 300), exponent=exponents, copies=st.integers(1, 64))
def test_copies_follow_popularity_within_their_bounds(
    records: int, exponent: float, copies: int
) -> None:
    shares = zipf_shares(records, exponent)
    assert copies_of(shares, copies, "uniform") == [copies] * records
    for by in ("square_root", "proportional"):
        each = copies_of(shares, copies, by)
        assert each == sorted(each, reverse=True)
        assert 1 <= min(each) <= max(each) <= COPIES_MAX


def test_the_square_root_is_taken() -> None:
    assert copies_of([16 / 21, 4 / 21, 1 / 21], 7, "square_root") == [12, 6, 3]
    assert copies_of([16 / 21, 4 / 21, 1 / 21], 7, "proportional") == [16, 4, 1]


@given(records=st.integers(1, 5000))
def test_each_rank_is_in_one_class(records: int) -> None:
    classes = rank_classes(records)
    assert [each.first for each in classes] == [1, *(each.last + 1 for each in classes[:-1])]
    assert classes[-1].last == records
