"""How crowded it is around a key: the law, and what it says of honest keys and of attacked ones."""

import math
from collections.abc import Sequence
from itertools import accumulate
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.config import Config
from dht.core.density import (
    SAMPLE_AGE,
    SAMPLES_MAX,
    UNREAD,
    DensityGauge,
    Reading,
    Reference,
    deviation,
    ranks_between,
)
from dht.core.routing import NEIGHBOURS, RoutingTable
from dht.keyspace import KEY_BITS
from tests.core.contacts_for_tests import contact, nearest

EVERYWHERE: int = 2**KEY_BITS
CONFIG = Config()
NODES = 1000
#: In a space of this size with this many nodes one node is to be expected within so much.
SPACING = EVERYWHERE // NODES


def table_of(nodes: int, *, seed: int = 1) -> RoutingTable:
    """The table of a node in an honest network: its whole neighbourhood, and some of the others."""
    random = Random(seed)
    own = random.getrandbits(KEY_BITS)
    node_ids = [random.getrandbits(KEY_BITS) for _ in range(nodes - 1)]
    known = node_ids if nodes <= 128 else nearest(node_ids, own, 25) + random.sample(node_ids, 150)
    whole = 128 if nodes <= 128 else 0  # is everybody known, and does the table know that?
    table = RoutingTable(own, config=Config(k=100, table_whole_max=whole))
    for node_id in dict.fromkeys(known):
        table.add(0.0, contact(node_id))
    return table


def gauge_of(nodes: int, *, config: Config = CONFIG, seed: int = 1) -> DensityGauge:
    return DensityGauge(config, table_of(nodes, seed=seed))


def far(gauge: DensityGauge) -> int:
    """A place that nothing we know of our neighbourhood has to do with."""
    return gauge.table.own_id ^ EVERYWHERE - 1


def elsewhere(gauge: DensityGauge) -> int:
    """And one far from both."""
    return gauge.table.own_id ^ EVERYWHERE // 2


def read(gauge: DensityGauge, distances: Sequence[int]) -> Reading:
    """How crowded a place far away is."""
    return gauge.read(0.0, far(gauge), distances)


def honest(random: Random, *, count: int = 20, nodes: int = NODES) -> list[int]:
    """The distances of the nodes nearest to a place: gaps drawn from one exponential law."""
    gaps = (random.expovariate(nodes / EVERYWHERE) for _ in range(count))
    return [int(distance) for distance in accumulate(gaps)]


def attacked(random: Random, sybils: int, *, edge: bool = False, nodes: int = NODES) -> list[int]:
    """The same with so many Sybils that are nearer than every honest node."""
    there = honest(random, nodes=nodes)
    low = 0.9 if edge else 0.0
    nearer = [int(there[0] * random.uniform(low, 1)) for _ in range(sybils)]
    return sorted([*there, *nearer])[:20]


# ---------------------------------------------------------------------------------------- the law


def exact_tail(rank: int, distance: float, reference: Reference) -> float:
    """How likely ``rank`` nodes are to lie within ``distance``, or nearer: of all nodes of both
    places each lies in this one with the probability q (Przyborowski & Wilenski 1940)."""
    nodes = int(reference.nodes)
    q = distance / (distance + reference.volume)
    total = rank + nodes - 1
    return sum(math.comb(total, j) * q**j * (1 - q) ** (total - j) for j in range(rank, total + 1))


@pytest.mark.parametrize("nodes", [20, 68, 148])
@pytest.mark.parametrize("rank", [8, 11, 14, 17, 20])
@pytest.mark.parametrize("denser", [1.0, 1.5, 2.0, 3.0])
def test_a_deviation_is_that_of_the_exact_law(rank: int, nodes: int, denser: float) -> None:
    reference = Reference(nodes, float(nodes))
    found = deviation(rank, rank / denser, reference)
    tail = exact_tail(rank, rank / denser, reference)
    # An alarm is at about 1 in 1,000; farther out nobody asks how far.
    within = 0.1 if tail > 5e-4 else 0.2
    assert math.erfc(found / math.sqrt(2)) / 2 == pytest.approx(tail, rel=within)


@given(
    rank=st.integers(1, 64),
    nodes=st.integers(1, 200),
    near=st.floats(1e66, 1e74),
    farther=st.floats(1.001, 100.0),
)
def test_nearer_is_denser(rank: int, nodes: int, near: float, farther: float) -> None:
    reference = Reference(nodes, 1e70)
    assert deviation(rank, near, reference) > deviation(rank, near * farther, reference)


@given(st.integers(1, 64), st.integers(1, 128))
def test_a_few_ranks_from_the_owners_to_the_last_that_is_known(replicas: int, k: int) -> None:
    ranks = ranks_between(replicas, k)
    assert ranks[0] == min(replicas, k)
    assert ranks[-1] == k
    assert 1 <= len(ranks) <= 5
    assert list(ranks) == sorted(set(ranks))


# --------------------------------------------------------------------------- honest and attacked


def alarms(places: Sequence[Sequence[int]], *, seeds: int = 40) -> float:
    """The share of places at which a node alarms, over many nodes with their own estimates."""
    gauges = [gauge_of(NODES, seed=seed) for seed in range(seeds)]
    readings = [read(gauges[i % seeds], place) for i, place in enumerate(places)]
    return sum(reading.alarmed for reading in readings) / len(places)


def test_at_most_one_honest_key_in_a_hundred_alarms() -> None:
    random = Random(1)
    assert alarms([honest(random) for _ in range(4000)]) <= 0.01


@pytest.mark.parametrize("edge", [False, True])
@pytest.mark.parametrize("sybils", [20, 40])
def test_99_of_100_keys_that_are_surrounded_alarm(sybils: int, edge: bool) -> None:
    random = Random(2)
    assert alarms([attacked(random, sybils, edge=edge) for _ in range(2000)]) >= 0.99


def test_a_table_that_is_not_whole_yet_does_not_make_honest_keys_alarm() -> None:
    """It may hold half of everybody, and count no others: lookups find twice as many there."""
    random = Random(6)
    nodes, alarmed = 160, 0
    for _ in range(300):
        own = random.getrandbits(KEY_BITS)
        node_ids = [random.getrandbits(KEY_BITS) for _ in range(nodes - 1)]
        table = RoutingTable(own, config=CONFIG)
        for node_id in {*nearest(node_ids, own, 25), *random.sample(node_ids, nodes // 2)}:
            table.add(0.0, contact(node_id))
        gauge = DensityGauge(CONFIG, table)
        for _ in range(2):
            gauge.learn(0.0, elsewhere(gauge), honest(random, count=8, nodes=nodes))
        for _ in range(4):
            alarmed += gauge.read(0.0, far(gauge), honest(random, nodes=nodes)).alarmed
    assert alarmed <= 12


def test_eight_sybils_are_seen_at_the_rank_of_the_owners() -> None:
    random = Random(3)
    assert alarms([attacked(random, 8) for _ in range(1000)]) >= 0.8


def test_the_number_is_in_deviations_and_about_0_at_an_honest_key() -> None:
    gauge = gauge_of(NODES)
    random = Random(4)
    readings = [read(gauge, honest(random)).density for _ in range(300)]
    numbers = [number for number in readings if number is not None]
    assert len(numbers) == 300
    assert -0.5 < sum(numbers) / 300 < 1.5  # the largest of five that hang together


def test_the_threshold_is_a_knob() -> None:
    place = attacked(Random(5), 20)
    assert read(gauge_of(NODES), place).alarmed
    deaf = read(gauge_of(NODES, config=Config(density_alarm=1000)), place)
    assert not deaf.alarmed
    assert deaf.density == read(gauge_of(NODES), place).density


# ------------------------------------------------------------------- where nothing can be said


@pytest.mark.parametrize("nodes", [1, 2, 20, 59])
def test_a_tiny_network_has_no_density(nodes: int) -> None:
    assert read(gauge_of(nodes), [1, 2, 3] * 8) is UNREAD


def test_fewer_nodes_than_owners_say_nothing() -> None:
    gauge = gauge_of(NODES)
    assert read(gauge, list(range(1, 8))) is UNREAD
    assert read(gauge, list(range(1, 9))).alarmed


def test_a_network_that_is_known_whole_is_its_own_reference() -> None:
    gauge = gauge_of(100, seed=3)  # its neighbours lie no denser than the others
    assert gauge.reference(0.0, far(gauge)) == Reference(100, float(EVERYWHERE))
    assert read(gauge, attacked(Random(1), 20, nodes=100)).alarmed
    assert not read(gauge, [n * (EVERYWHERE // 100) for n in range(1, 21)]).alarmed


# ------------------------------------------------------------------------------- the reference


def test_places_looked_up_at_random_make_the_reference_better() -> None:
    gauge = gauge_of(NODES)
    random = Random(7)
    for _ in range(4):
        gauge.learn(0.0, elsewhere(gauge), honest(random, count=8))
    reference = gauge.reference(0.0, far(gauge))
    assert reference is not None
    assert reference.nodes == NEIGHBOURS + 32
    assert reference.nodes / reference.volume * EVERYWHERE == pytest.approx(NODES, rel=0.4)


def test_ids_ground_next_to_our_own_do_not_hide_an_attack_once_we_have_looked_around() -> None:
    table = table_of(NODES)
    random = Random(8)
    for _ in range(40):  # a thousand times nearer than honest ones
        table.add(0.0, contact(table.own_id ^ random.randrange(1, SPACING // 1000)))
    gauge = DensityGauge(CONFIG, table)
    place = attacked(random, 20)
    assert not read(gauge, place).alarmed
    for _ in range(SAMPLES_MAX):
        gauge.learn(0.0, elsewhere(gauge), honest(random, count=8))
    assert read(gauge, place).alarmed


def neighbours_of_a_victim(random: Random, *, apart_bits: int) -> DensityGauge:
    """What the node sees around itself whose id shares so many bits with a key that 20 surround."""
    table = table_of(NODES)
    victim = table.own_id ^ EVERYWHERE >> apart_bits + 1
    for _ in range(20):
        table.add(0.0, contact(victim ^ random.randrange(SPACING // 20)))
    return DensityGauge(CONFIG, table)


@given(apart_bits=st.integers(4, 14), seed=st.integers(0, 99))
def test_who_surrounds_a_key_is_no_reference_for_it(apart_bits: int, seed: int) -> None:
    """The node next to it would be the one that sees nothing: it has the same neighbours."""
    random = Random(seed)
    gauge = neighbours_of_a_victim(random, apart_bits=apart_bits)
    place = gauge.table.own_id ^ EVERYWHERE >> apart_bits + 1
    for _ in range(SAMPLES_MAX):
        gauge.learn(0.0, elsewhere(gauge), honest(random, count=8))
    reference = gauge.reference(0.0, place)
    assert reference is not None
    assert reference.nodes == 8 * SAMPLES_MAX
    near = sorted(each.id ^ place for each in gauge.table.contacts())
    assert gauge.read(0.0, place, near[:20]).alarmed


def test_a_lookup_that_happened_to_be_next_to_a_key_is_no_reference_for_it() -> None:
    gauge = gauge_of(NODES)
    near, place = list(range(1, 9)), far(gauge)
    gauge.learn(0.0, place ^ 5, near)
    reference = gauge.reference(0.0, place)
    assert reference is not None
    assert reference.nodes == NEIGHBOURS
    apart = gauge.reference(0.0, elsewhere(gauge))
    assert apart is not None
    assert apart.nodes == NEIGHBOURS + 8


def test_where_only_the_neighbourhood_is_known_that_has_to_do() -> None:
    gauge = gauge_of(NODES)
    reference = gauge.reference(0.0, gauge.table.own_id ^ 1)
    assert reference is not None
    assert reference.nodes == NEIGHBOURS


def test_few_samples_are_kept_and_none_for_ever() -> None:
    gauge = gauge_of(NODES)
    for _ in range(1000):
        gauge.learn(0.0, elsewhere(gauge), honest(Random(9), count=8))
    reference = gauge.reference(0.0, far(gauge))
    assert reference is not None
    assert reference.nodes == NEIGHBOURS + 8 * SAMPLES_MAX
    later = SAMPLE_AGE * CONFIG.refresh_interval_s + 1
    gauge.learn(later, elsewhere(gauge), honest(Random(9), count=8))
    assert gauge.reference(later, far(gauge)) == Reference(
        NEIGHBOURS + 8,
        NEIGHBOURS / gauge.table.network_size() * EVERYWHERE
        + float(honest(Random(9), count=8)[-1]),
    )


def test_what_is_forgotten_is_no_reference() -> None:
    gauge = gauge_of(NODES)
    before = gauge.reference(0.0, far(gauge))
    gauge.learn(0.0, elsewhere(gauge), honest(Random(9), count=8))
    assert gauge.reference(0.0, far(gauge)) != before
    gauge.forget()
    assert gauge.reference(0.0, far(gauge)) == before


@pytest.mark.parametrize("distances", [[], [1, 2, 3], [0] * 8])
def test_a_lookup_that_found_too_few_is_no_sample(distances: list[int]) -> None:
    gauge = gauge_of(NODES)
    gauge.learn(0.0, elsewhere(gauge), distances)
    reference = gauge.reference(0.0, far(gauge))
    assert reference is not None
    assert reference.nodes == NEIGHBOURS


@pytest.mark.parametrize("nodes", [10, 100, NODES])
def test_owners_are_expected_where_the_size_says(nodes: int) -> None:
    gauge = gauge_of(nodes)
    size = max(gauge.table.size_by_neighbours(), len(gauge.table) + 1)
    expected = 8 / size * EVERYWHERE
    assert gauge.expected_distance(0.0, far(gauge), 8) == pytest.approx(expected, rel=0.01)
