"""Graphs: their shapes, and what is measured of them on a few nodes."""

from random import Random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.lab.graphs import (
    Graph,
    clustering,
    distances,
    grid,
    largest_component,
    mean_path,
    part_of,
    power_law_degrees,
    random_graph,
    random_views,
    undirected,
    with_degrees,
)

#: 0 - 1 - 2 in a triangle, 3 hangs on 2, 4 and 5 are alone with each other.
SMALL: Graph = [[1, 2], [0, 2], [0, 1, 3], [2], [5], [4]]


def check_graph(graph: Graph) -> None:
    """Undirected, sorted, without loops or twice the same."""
    for node, view in enumerate(graph):
        assert view == sorted(set(view))
        assert node not in view
        assert all(node in graph[other] for other in view)


def test_distances_and_components() -> None:
    assert distances(SMALL, 0) == [0, 1, 1, 2, -1, -1]
    assert largest_component(SMALL) == [0, 1, 2, 3]
    assert part_of(SMALL, [2, 3, 4]) == [[1], [0], []]


def test_paths_and_clustering() -> None:
    chain = undirected([[1], [2], []])
    assert chain == [[1], [0, 2], [1]]
    assert mean_path(chain, Random(1), 3) == pytest.approx(mean([1.5, 1, 1.5]))
    triangle = part_of(SMALL, [0, 1, 2])
    assert clustering(triangle, Random(1), 3) == 1
    assert clustering(chain, Random(1), 3) == 0


def test_a_grid_has_four_neighbours_but_at_its_edge() -> None:
    square = grid(3)
    check_graph(square)
    assert square[4] == [1, 3, 5, 7]
    assert square[0] == [1, 3]
    assert sum(map(len, square)) == 2 * 12


@given(st.integers(2, 30), st.integers(0, 20), st.integers(0, 99))
def test_a_random_graph_has_the_links_that_it_should(nodes: int, links: int, seed: int) -> None:
    links = min(links, nodes * (nodes - 1) // 2)
    graph = random_graph(nodes, links, Random(seed))
    check_graph(undirected(graph))
    assert sum(map(len, graph)) == 2 * links


def test_views_are_of_others() -> None:
    views = random_views(5, 3, Random(1))
    assert all(len(set(view)) == 3 and own not in view for own, view in enumerate(views))


@pytest.mark.parametrize(("average", "largest"), [(4.5, 1746), (5.5, 136), (1.5, 3)])
def test_degrees_of_a_power_law_have_their_mean(average: float, largest: int) -> None:
    degrees = power_law_degrees(10_000, average, largest)
    assert len(degrees) == 10_000
    assert mean(degrees) == pytest.approx(average, rel=0.03)
    assert max(degrees) <= largest
    counts = [degrees.count(degree) for degree in range(1, 4)]
    assert counts == sorted(counts, reverse=True)


def test_a_mean_that_no_power_law_has_is_refused() -> None:
    with pytest.raises(ValueError, match="no power law from 1 to 10 has the mean 11"):
        power_law_degrees(10, 11, 10)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(0, 99))
def test_nobody_has_more_neighbours_than_was_asked_for(degrees: list[int], seed: int) -> None:
    graph = with_degrees(degrees, Random(seed))
    check_graph(graph)
    assert all(len(view) <= degree for view, degree in zip(graph, degrees, strict=True))
