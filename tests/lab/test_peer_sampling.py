"""Two membership protocols in cycles: what their views promise, whoever crashes and whenever."""

from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dht.lab.graphs import distances, undirected
from dht.lab.peer_sampling import Cyclon, HyParView, HyParViewSizes

SIZES = HyParViewSizes(active=3, passive=6)
#: What happens to a network: a number says how many crash, none that a cycle passes.
EVENTS = st.lists(st.none() | st.integers(1, 12), max_size=8)


def check_hyparview(network: HyParView) -> None:
    living = network.living()
    for node in living:
        active, passive = network.active[node], network.passive[node]
        assert len(active) <= network.sizes.active
        assert len(passive) <= network.sizes.passive
        known = [node, *active, *passive]
        assert len(set(known)) == len(known)
        for other in active:
            assert not network.alive[other] or node in network.active[other]


@given(seed=st.integers(0, 100), events=EVENTS, noticed=st.booleans(), rejoins=st.booleans())
@example(seed=0, events=[9, 3, None], noticed=False, rejoins=True)  # it walked to the dead
def test_neighbours_are_mutual_and_views_keep_their_size(
    seed: int, events: list[int | None], *, noticed: bool, rejoins: bool
) -> None:
    random = Random(seed)
    network = HyParView.grown(60, SIZES, random)
    network.rejoins = rejoins
    for crash in events:
        living = network.living()
        if crash is None:
            network.cycle()
            network.broadcast(random.choice(living))
        elif crash < len(living):
            network.crash(random.sample(living, crash), noticed=noticed)
        check_hyparview(network)


@given(seed=st.integers(0, 100), events=EVENTS)
def test_a_view_of_cyclon_has_no_double_and_not_its_owner(
    seed: int, events: list[int | None]
) -> None:
    random = Random(seed)
    network = Cyclon.grown(60, 8, 4, random)
    for crash in events:
        living = network.living()
        if crash is None:
            network.cycle()
        elif crash < len(living):
            network.crash(random.sample(living, crash))
        for node in network.living():
            assert node not in network.views[node]
            assert len(network.views[node]) <= 8


def test_nobody_forgets_and_nobody_is_copied_where_nobody_dies() -> None:
    """An entry is moved, so that everybody is known by about as many."""
    network = Cyclon.grown(300, 10, 5, Random(1))
    for _ in range(40):
        network.cycle()
    known_by = Counter(other for view in network.views for other in view)
    assert sum(known_by.values()) == 300 * 10
    assert max(known_by.values()) < 20


def test_the_dead_leave_the_views() -> None:
    network = Cyclon.grown(100, 10, 5, Random(1))
    network.crash(range(50))
    for _ in range(60):
        network.cycle()
    assert all(other >= 50 for node in range(50, 100) for other in network.views[node])


def test_a_broadcast_reaches_whoever_is_connected_in_as_many_hops_as_the_farthest_is() -> None:
    network = HyParView.grown(80, SIZES, Random(1))
    far = distances(undirected(network.active), 0)
    spread = network.broadcast(0)
    assert spread.hops == max(far)
    assert spread.reliability == sum(each >= 0 for each in far) / 80 < 1
    assert network.broadcast(0) is spread, "nothing changed in between"


def test_a_tiny_network_heals_when_connections_break() -> None:
    network = HyParView.grown(60, HyParViewSizes(), Random(1))
    for _ in range(10):
        network.cycle()
    network.crash(range(30), noticed=True)
    assert not any(other < 30 for node in range(30, 60) for other in network.active[node])
    network.cycle()
    assert network.broadcast(40).reliability == 1


def test_who_sends_to_the_dead_finds_out_and_replaces_them() -> None:
    network = HyParView.grown(60, HyParViewSizes(), Random(1))
    for _ in range(10):
        network.cycle()
    network.crash(range(30))
    assert any(other < 30 for other in network.active[40])
    network.broadcast(40)
    assert not any(other < 30 for other in network.active[40])


@pytest.mark.parametrize("rejoins", [False, True])
def test_who_knows_nobody_is_cut_off_unless_it_joins_again(*, rejoins: bool) -> None:
    network = HyParView.grown(20, HyParViewSizes(), Random(1))
    network.rejoins = rejoins
    for node in range(20):
        network.passive[node] = []
        network.active[node] = [each for each in network.active[node] if 7 not in (node, each)]
    network.cycle()
    assert (network.broadcast(7).reliability == 1) is rejoins


def test_a_copy_goes_its_own_way() -> None:
    network = HyParView.grown(30, SIZES, Random(1))
    before = [list(view) for view in network.active]
    other = network.copy()
    other.crash(range(10), noticed=True)
    other.cycle()
    assert network.active == before
    assert network.living() == list(range(30))


# ---------------------------------------------------------------------------------- gossip, by hand


def gossip(network: Cyclon, fanout: int, times: int = 1) -> list[tuple[float, int]]:
    spreads = network.broadcasts([0] * times, fanout, np.random.default_rng(1))
    return [(each.reliability, each.hops) for each in spreads]


def test_gossip_walks_a_chain_and_ends_at_the_dead() -> None:
    """Everybody knows the next: 0, 1, 2, 3; 3 is dead."""
    views = [{1: 0}, {2: 0}, {3: 0}, {0: 0}]
    chain = Cyclon(views, 1, 1, Random(1), bytearray([1, 1, 1, 0]))
    assert gossip(chain, 1) == [(1.0, 2)]
    chain.alive[1] = 0
    assert gossip(chain, 1) == [(0.5, 0)]


@pytest.mark.parametrize("acknowledged", [False, True])
def test_only_who_is_answered_strikes_the_dead(*, acknowledged: bool) -> None:
    views = [{1: 0, 2: 0}, {0: 0}, {0: 0}]
    network = Cyclon(views, 2, 1, Random(1), bytearray([1, 0, 1]), acknowledged=acknowledged)
    assert gossip(network, 2) == [(1.0, 1)]
    assert (1 in network.views[0]) is not acknowledged
