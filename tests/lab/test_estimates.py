"""Means, intervals, shares: against what can be worked out by hand or looked up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.lab.estimates import (
    Estimate,
    bootstrap,
    digits,
    gini,
    mean_of,
    percentile,
    ratio_of,
    share_of,
    student_quantile,
)


def generator() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.mark.parametrize(
    ("freedom", "published"),
    [(1, 12.706), (2, 4.303), (8, 2.306), (9, 2.2622), (19, 2.0930), (29, 2.0452), (120, 1.9799)],
)
def test_the_quantile_of_student_is_that_of_the_tables(freedom: int, published: float) -> None:
    assert student_quantile(freedom) == pytest.approx(published, abs=0.001)


def test_a_mean_of_ten_has_a_students_interval() -> None:
    """1 to 10: mean 5.5, standard error 3.0277 / sqrt(10), times 2.262."""
    ours = mean_of(list(range(1, 11)))
    assert (ours.mean, ours.count) == (5.5, 10)
    assert ours.high - ours.mean == pytest.approx(2.1659, abs=0.001)
    assert ours.mean - ours.low == pytest.approx(2.1659, abs=0.001)


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_an_interval_of_few_values_holds_the_mean_as_often_as_it_says(count: int) -> None:
    """Drawn anew with themselves, two values would hold it in half of all cases."""
    samples = generator().normal(7, 2, size=(2000, count))
    held = [ours.low <= 7 <= ours.high for ours in map(mean_of, samples)]
    # Four standard errors.
    assert sum(held) / len(held) == pytest.approx(0.95, abs=0.02)


def test_one_value_has_no_interval() -> None:
    assert mean_of([3.0]) == Estimate(mean=3, low=3, high=3, count=1)
    assert ratio_of([(6.0, 2.0)]) == Estimate(mean=3, low=3, high=3, count=1)


def test_a_ratio_of_equal_parts_is_the_mean_of_ratios() -> None:
    ours, same = ratio_of([(2.0, 2.0), (4.0, 2.0), (9.0, 2.0)]), mean_of([1.0, 2.0, 4.5])
    assert (ours.mean, ours.count) == (2.5, 3)
    assert (ours.low, ours.high) == pytest.approx((same.low, same.high))


def test_a_ratio_is_that_of_the_sums_however_short_a_part_is() -> None:
    ours = ratio_of([(10.0, 10.0), (0.0, 0.5), (12.0, 10.0)])
    assert ours.mean == pytest.approx(22 / 20.5)
    assert ours.low < ours.mean < ours.high


def test_any_statistic_has_an_interval() -> None:
    ours = bootstrap([0.0, 0.0, 10.0], lambda sample: float(np.max(sample)), generator())
    assert (ours.mean, ours.low, ours.high) == (10, 0, 10)


def test_of_nothing_there_is_no_estimate() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        mean_of([])
    with pytest.raises(ValueError, match="at least one value"):
        ratio_of([])
    with pytest.raises(ValueError, match="2 of 1"):
        share_of(2, 1)
    with pytest.raises(ValueError, match="0 of 0"):
        share_of(0, 0)


def test_wilsons_interval_is_that_of_the_textbooks() -> None:
    """8 of 10: 0.490 to 0.943 (Newcombe 1998, method 3)."""
    ours = share_of(8, 10)
    assert (ours.mean, ours.count) == (0.8, 10)
    assert (ours.low, ours.high) == pytest.approx((0.490, 0.943), abs=0.001)


@given(st.integers(1, 1000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_stays_between_nothing_and_all(trial: tuple[int, int]) -> None:
    ours = share_of(*trial)
    assert 0 <= ours.low <= ours.mean <= ours.high <= 1


def test_a_percentage_is_a_scaled_share() -> None:
    half = Estimate(mean=0.5, low=0.4, high=0.7, count=3)
    assert half.scaled(100) == Estimate(mean=50, low=40, high=70, count=3)
    assert half.scaled(-1) == Estimate(mean=-0.5, low=-0.7, high=-0.4, count=3)


@pytest.mark.parametrize(
    ("loads", "expected"),
    [([1, 1, 1, 1], 0.0), ([0, 0, 0, 1], 0.75), ([0, 0], 0.0), ([1, 2, 3], 2 / 9)],
)
def test_gini_says_how_unequal_a_load_is(loads: list[float], expected: float) -> None:
    assert gini(loads) == pytest.approx(expected)


def test_a_percentile_lies_between_two_values() -> None:
    assert percentile([1, 2, 3], 50) == 2
    assert percentile([1, 2], 50) == 1.5


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0.000"),
        (7.6e-9, "7.6e-09"),
        (0.06204, "0.062"),
        (9.99, "9.990"),
        (12.345, "12.35"),
        (123.45, "123.5"),
        (65536, "65,536"),
        (-2.5, "-2.500"),
    ],
)
def test_numbers_are_written_short(value: float, words: str) -> None:
    assert digits(value) == words


def test_an_estimate_says_how_sure_it_is() -> None:
    assert str(Estimate(mean=1, low=0.5, high=1.5, count=9)) == "1.000 ± 0.500"
    assert str(Estimate.exactly(2)) == "2.000"
