"""Tables and greedy routing, against a router of a few lines over the same table."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dht.keyspace import owners
from dht.lab import closed_forms
from dht.lab.geometries import (
    Geometry,
    Network,
    build,
    nearest_entries,
    owners_far,
    random_deaths,
    random_pairs,
    route,
)
from dht.lab.nearest import NOBODY, every_id, random_ids

BITS = 5
METRICS: dict[Geometry, Callable[[int, int], int]] = {
    Geometry.TREE: lambda a, b: (a ^ b).bit_length(),
    Geometry.RING: lambda a, b: (b - a) % (1 << BITS),
    Geometry.HYPERCUBE: lambda a, b: (a ^ b).bit_count(),
    Geometry.XOR: lambda a, b: a ^ b,
}


def entries_of(network: Network, node: int) -> list[int]:
    return [each for each in network.entries[node].tolist() if each != NOBODY]


def oracle(
    network: Network, source: int, target: int, alive: list[bool], backtracks: int
) -> tuple[bool, int]:
    """Depth first, each node's neighbours best first: plain Python, one pair at a time."""
    ids: list[int] = network.ids.tolist()
    metric = METRICS[network.geometry]
    path: list[int] = []
    stuck: set[int] = set()
    hops, current = 0, source
    while current != target:
        own = metric(ids[current], ids[target])
        nearer = [
            each
            for each in entries_of(network, current)
            if alive[each] and each not in stuck and metric(ids[each], ids[target]) < own
        ]
        hops += 1
        if nearer:
            path.append(current)
            # A tree has one way only, and takes the better of two that mend the same bit.
            goal = ids[target]
            last = goal.__xor__ if network.geometry is Geometry.TREE else int
            current = min(nearer, key=lambda e: (metric(ids[e], goal), last(ids[e])))
        elif len(stuck) < backtracks and path:
            stuck.add(current)
            current = path.pop()
        else:
            return False, hops - 1
    return True, hops


@settings(max_examples=150)
@given(
    geometry=st.sampled_from(list(Geometry)),
    sparse=st.booleans(),
    bucket=st.integers(1, 3),
    sequential=st.integers(0, 2),
    dead=st.sampled_from([0, 0.3, 0.6]),
    backtracks=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_routes_are_those_of_a_plain_router(
    *,
    geometry: Geometry,
    sparse: bool,
    bucket: int,
    sequential: int,
    dead: float,
    backtracks: int,
    seed: int,
) -> None:
    generator = np.random.default_rng(seed)
    # A hypercube hops between ids that differ in one bit: which of several does not matter to how
    # far it comes, as long as nobody is dead, and its oracle would have to break ties alike.
    if geometry is Geometry.HYPERCUBE:
        dead, backtracks = 0, 0
    ids = random_ids(20, BITS, generator) if sparse else every_id(BITS)
    if geometry is not Geometry.RING:
        sequential = 0
    network = build(geometry, ids, BITS, generator, bucket=bucket, sequential=sequential)
    alive = random_deaths(network.size, dead, generator)
    sources, targets = random_pairs(alive, 12, generator)
    routes = route(network, sources, targets, alive=alive, backtracks=backtracks)
    if geometry is Geometry.HYPERCUBE and sparse:
        assert all(routes.hops[routes.arrived] >= 1)
        return
    expected = [
        oracle(network, source, target, alive.tolist(), backtracks)
        for source, target in zip(sources.tolist(), targets.tolist(), strict=True)
    ]
    assert list(zip(routes.arrived.tolist(), routes.hops.tolist(), strict=True)) == expected


@given(
    geometry=st.sampled_from(list(Geometry)),
    sparse=st.booleans(),
    bucket=st.integers(1, 6),
    first=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_every_slot_holds_different_nodes_that_belong_there(
    *, geometry: Geometry, sparse: bool, bucket: int, first: bool, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    ids = random_ids(17, BITS, generator) if sparse else every_id(BITS)
    choice = "first" if first else "random"
    network = build(geometry, ids, BITS, generator, bucket=bucket, choice=choice)  # type: ignore[arg-type]
    for node, own in enumerate(ids.tolist()):
        for level in range(BITS):
            may = [other for other in ids.tolist() if belongs(geometry, own, other, level)]
            slots = network.entries[node, network.begins[level] : network.begins[level + 1]]
            held = [int(ids[each]) for each in slots.tolist() if each != NOBODY]
            assert len(set(held)) == len(held) == min(bucket, len(may))
            assert set(held) <= set(may)
            if first and geometry is Geometry.RING and held:
                assert held[0] == min(may, key=lambda other: (other - own) % (1 << BITS))


def belongs(geometry: Geometry, own: int, other: int, level: int) -> bool:
    match geometry:
        case Geometry.RING:
            return 1 << level <= (other - own) % (1 << BITS) < 2 << level
        case Geometry.HYPERCUBE:
            return own ^ other == 1 << level
        case _:
            return (own ^ other).bit_length() == level + 1


def test_slots_are_drawn_evenly() -> None:
    """Of the 8 candidates of a slot each of 3 places holds each as often as the others."""
    generator = np.random.default_rng(1)
    counts = np.zeros((3, 16), dtype=int)
    for _ in range(800):
        network = build(Geometry.XOR, every_id(4), 4, generator, bucket=3)
        for place, each in enumerate(network.entries[0, network.begins[3] :].tolist()):
            counts[place, each] += 1
    assert counts[:, :8].sum() == 0
    # 100 each, whose standard deviation is 9.4.
    assert np.abs(counts[:, 8:] - 100).max() < 40


def test_a_smaller_network_is_one_of_smaller_buckets() -> None:
    whole = build(Geometry.RING, every_id(6), 6, np.random.default_rng(1), bucket=5, sequential=2)
    small = whole.smaller(2)
    assert small.degree == 1 + 2 * 5 + 2
    assert (small.entries[:, -2:] == whole.entries[:, -2:]).all()
    for level in range(6):
        width = min(2, 1 << level)
        begin, end = whole.begins[level], small.begins[level]
        wide = whole.entries[:, begin : begin + width]
        assert (small.entries[:, end : end + width] == wide).all()


@pytest.mark.parametrize(
    ("geometry", "form"),
    [
        (Geometry.TREE, closed_forms.failed_paths_tree),
        (Geometry.HYPERCUBE, closed_forms.failed_paths_hypercube),
    ],
)
def test_dead_nodes_break_as_many_paths_as_the_closed_form_says(
    geometry: Geometry, form: Callable[[float, int], float]
) -> None:
    generator = np.random.default_rng(5)
    network = build(geometry, every_id(12), 12, generator)
    alive = random_deaths(network.size, 0.3, generator)
    routes = route(network, *random_pairs(alive, 20_000, generator), alive=alive)
    assert 1 - routes.arrived.mean() == pytest.approx(form(0.3, 12), abs=0.02)


def test_a_pair_needs_two_who_live() -> None:
    with pytest.raises(ValueError, match="there are 1"):
        random_pairs(np.array([True, False]), 1, np.random.default_rng(1))


@given(bucket=st.integers(1, 5), count=st.integers(1, 9), seed=st.integers(0, 500))
def test_the_nearest_entries_are_those_of_the_whole_table(
    bucket: int, count: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    ids = random_ids(30, 8, generator)
    network = build(Geometry.XOR, ids, 8, generator, bucket=bucket)
    nodes = generator.integers(30, size=10).astype(np.int32)
    keys = generator.integers(1 << 8, size=10, dtype=np.uint64)
    # A node may look for its own id too.
    keys[0] = ids[nodes[0]]
    found = nearest_entries(network, nodes, keys, count)
    for row, node, key in zip(found.tolist(), nodes.tolist(), keys.tolist(), strict=True):
        table = {int(ids[each]): each for each in entries_of(network, node)}
        expected = [table[each] for each in owners(key, table, count)]
        assert row == expected + [NOBODY] * (count - len(expected))


def test_how_far_the_last_owner_is() -> None:
    ids, keys = every_id(4), np.array([5], dtype=np.uint64)
    assert owners_far(ids, keys, 4).tolist() == [3]
