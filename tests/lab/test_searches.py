"""Flood, ring and walkers on graphs of a few nodes, and against the arithmetic of a flood."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.lab.graphs import Graph, distances, random_graph, undirected
from dht.lab.searches import (
    Links,
    expanding_ring,
    flood,
    flood_identity,
    walk,
)

#: A chain 0 - 1 - 2 - 3 - 4, and one in which 0 - 1 - 2 close a triangle.
CHAIN: Graph = [[1], [0, 2], [1, 3], [2, 4], [3]]
TRIANGLE: Graph = [[1, 2], [0, 2], [0, 1, 3], [2, 4], [3]]


def test_a_flood_goes_on_but_not_back() -> None:
    flooded = flood(Links.of(CHAIN), 1, [4])
    assert flooded.sent == [2, 1, 1, 0]
    assert flooded.new == [2, 1, 1, 0]
    assert flooded.first_hit == 3
    assert (flooded.messages(2), flooded.reached(2)) == (3, 3)


def test_what_arrives_again_is_counted_and_not_passed_on() -> None:
    flooded = flood(Links.of(TRIANGLE), 0, [])
    # 1 and 2 tell each other what both have from 0.
    assert flooded.sent == [2, 3, 1, 0]
    assert flooded.new == [2, 1, 1, 0]
    assert flooded.first_hit is None


@given(st.integers(2, 40), st.integers(1, 80), st.integers(0, 99), st.integers(0, 8))
def test_the_messages_of_a_flood_are_those_of_arithmetic(
    nodes: int, links: int, seed: int, ttl: int
) -> None:
    random = Random(seed)
    graph = undirected(random_graph(nodes, min(links, nodes * (nodes - 1) // 2), random))
    start = random.randrange(nodes)
    far = distances(graph, start)
    flooded = flood(Links.of(graph), start, range(nodes))
    assert flooded.messages(ttl) == flood_identity(graph, far, start, ttl)
    assert flooded.reached(ttl) == sum(0 < hops <= ttl for hops in far)
    assert flooded.first_hit == 0


@pytest.mark.parametrize(
    ("holders", "hops", "messages"),
    [([0], 0, 1), ([1], 1, 1), ([2], 1 + 2, 1 + 3), ([4], 1 + 3 + 4, 1 + 3 + 4)],
)
def test_a_ring_begins_anew_with_a_longer_ttl(holders: list[int], hops: int, messages: int) -> None:
    """TTL 1, 3, 5: each flood that fails costs its time and all its messages."""
    searched = expanding_ring(flood(Links.of(CHAIN), 0, holders))
    assert (searched.hops, searched.messages) == (hops, messages)


def test_a_ring_around_nothing_gives_up() -> None:
    assert expanding_ring(flood(Links.of(CHAIN), 0, [])).hops is None


def test_a_walker_on_a_chain_with_state_cannot_miss() -> None:
    """From the end of a chain a walker who may not go back the way he went goes through it."""
    searched = walk(CHAIN, 0, {1}, Random(1), walkers=1)
    assert (searched.hops, searched.messages, searched.checks, searched.nodes) == (1, 1, 0, 2)


def test_others_learn_of_a_hit_at_their_next_check() -> None:
    """A star: half of the walkers that start in its middle find the one holder at once or later;
    all make whole rounds of four steps, or stop at the holder."""
    star: Graph = [[1, 2], [0], [0]]
    searched = walk(star, 0, {1}, Random(3), walkers=20)
    assert searched.hops == 1
    assert 20 < searched.messages < 20 * 4
    assert 0 < searched.checks < 20
    assert searched.nodes == 3


def test_who_holds_it_himself_sends_nothing() -> None:
    searched = walk(CHAIN, 2, {2}, Random(1), walkers=4)
    assert (searched.hops, searched.messages) == (0, 0)


def test_a_walk_ends_where_there_is_nothing() -> None:
    searched = walk(CHAIN, 0, set(), Random(1), walkers=2, steps_max=10)
    assert (searched.hops, searched.messages, searched.checks) == (None, 20, 4)


@given(st.integers(0, 99))
def test_with_state_each_neighbour_is_tried_before_one_is_tried_again(seed: int) -> None:
    """A star of 6: the walkers, one a time from the middle, go to 6 different ends."""
    star: Graph = [[1, 2, 3, 4, 5, 6], *([0] for _ in range(6))]
    searched = walk(star, 0, set(), Random(seed), walkers=6, state=True, steps_max=1)
    assert searched.nodes == 7
    assert walk(star, 0, {6}, Random(seed), walkers=1, state=True).hops in range(1, 12, 2)
