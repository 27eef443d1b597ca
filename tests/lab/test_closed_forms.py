"""Formulas against the numbers that their papers, or a pencil, give."""

from collections.abc import Callable
from math import log

import pytest

from dht.lab import closed_forms


@pytest.mark.parametrize(
    ("form", "percents"),
    [
        (closed_forms.failed_paths_tree, (29.8, 89.4, 99.9)),
        (closed_forms.failed_paths_hypercube, (0.3, 12.4, 95.9)),
        (closed_forms.failed_paths_xor, (0.5, 24.5, 99.7)),
        (closed_forms.failed_paths_ring, (0.3, 15.6, 100)),
    ],
)
def test_failed_paths_of_65536_nodes(
    form: Callable[[float, int], float], percents: tuple[float, ...]
) -> None:
    for dead, percent in zip((0.05, 0.3, 0.8), percents, strict=True):
        assert 100 * form(dead, 16) == pytest.approx(percent, abs=0.06)
    assert form(0.0, 16) == 0


def test_a_tree_has_a_form_without_a_sum() -> None:
    q, d = 0.2, 10
    alone = 1 - ((2 - q) ** d - 1) / ((1 - q) * 2**d - 1)
    assert closed_forms.failed_paths_tree(q, d) == pytest.approx(alone)


def test_hops() -> None:
    assert closed_forms.hops_halving(65536) == 8
    assert closed_forms.bits_gained(1) == pytest.approx(2)
    assert closed_forms.bits_gained(20) == pytest.approx(5.690, abs=0.001)
    assert closed_forms.hops_kademlia(25_000, 20) == pytest.approx(1.81, abs=0.01)
    assert closed_forms.hops_kademlia(10, 20) == 0
    assert closed_forms.hops_moore(10_000, 16) == pytest.approx(3.32, abs=0.01)


@pytest.mark.parametrize(("paths", "found"), [(1, 0.41), (2, 0.65), (4, 0.88), (8, 0.985)])
def test_disjoint_paths_of_four_hops(paths: int, found: float) -> None:
    assert closed_forms.survival_disjoint({4: 1.0}, 0.2, paths) == pytest.approx(found, abs=0.005)


def test_balance_and_floods() -> None:
    assert closed_forms.spread_of_points(100) == 0.1
    assert closed_forms.arc_quantile(0.99) == pytest.approx(-log(0.01))
    assert closed_forms.flood_messages_whole(9799, 20_091) == 30_384


@pytest.mark.parametrize(
    ("dead", "percent"), [(0.1, 97), (0.3, 92), (0.5, 73), (0.6, 50), (0.7, 12), (0.8, 0)]
)
def test_gossip_to_four(dead: float, percent: float) -> None:
    """Within what is read off a figure of HyParView's paper, for Cyclon."""
    assert 100 * closed_forms.gossip_reliability(4, dead) == pytest.approx(percent, abs=1)


@pytest.mark.parametrize(
    ("shape", "scale", "left"),
    [
        (1, 1, (0.368, 0.002, 0.0, 0.0)),
        (0.52, 1.93, (0.82, 0.44, 0.25, 0.11)),
        (0.61, 3.65, (0.86, 0.49, 0.29, 0.12)),
    ],
)
def test_who_is_there_stays_longer_than_who_comes(
    shape: float, scale: float, left: tuple[float, ...]
) -> None:
    for hours, share in zip((1, 6, 12, 24), left, strict=True):
        ours = closed_forms.residual_survival(hours, shape=shape, scale=scale)
        assert ours == pytest.approx(share, abs=0.006)
    assert closed_forms.residual_survival(0, shape=shape, scale=scale) == 1
