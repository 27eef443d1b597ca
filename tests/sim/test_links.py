from math import exp, log, sqrt
from statistics import fmean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.errors import LocalError
from dht.sim.links import LinkModel, Links


def links_of(endpoints: int, *, seed: int = 1, model: LinkModel | None = None) -> Links:
    links = Links(seed, LinkModel() if model is None else model)
    for _ in range(endpoints):
        links.join()
    return links


def arrived(links: Links, sender: int = 0, receiver: int = 1, *, tries: int = 2000) -> list[int]:
    """How many copies of each of so many datagrams arrive."""
    return [len(links.arrivals(sender, receiver, b"datagram")) for _ in range(tries)]


# ------------------------------------------------------------------------------------- latency


def test_round_trips_are_log_normal_over_the_pairs() -> None:
    links = links_of(300)
    rtts = [links.rtt(a, b) for a in range(300) for b in range(a)]
    assert median(rtts) == pytest.approx(0.156, rel=0.02)
    assert fmean(rtts) == pytest.approx(0.178, rel=0.02)
    sigma = sqrt(2 * log(0.178 / 0.156))
    within_one_sigma = sum(0.156 * exp(-sigma) < rtt < 0.156 * exp(sigma) for rtt in rtts)
    assert within_one_sigma / len(rtts) == pytest.approx(0.683, abs=0.02)


def test_a_nodes_distances_say_nothing_about_each_other() -> None:
    """The rtt of (a, c) is as likely above the median when those of (a, b) and (b, c) are."""
    links = links_of(90)
    middle, both, also = 0.156, 0, 0
    for a in range(90):
        for b in range(a):
            for c in range(b):
                if links.rtt(a, b) > middle and links.rtt(b, c) > middle:
                    both += 1
                    also += links.rtt(a, c) > middle
    assert also / both == pytest.approx(0.5, abs=0.03)


@given(st.integers(), st.integers(0, 19), st.integers(0, 19))
def test_a_pair_has_one_round_trip_in_both_directions(seed: int, a: int, b: int) -> None:
    links = links_of(20, seed=seed)
    assert links.rtt(a, b) == links.rtt(b, a) == links_of(20, seed=seed).rtt(a, b)
    assert links.delay(a, b) == pytest.approx(links.rtt(a, b) / 2, rel=0.0501)


def test_another_seed_is_another_map() -> None:
    assert links_of(2, seed=1).rtt(0, 1) != links_of(2, seed=2).rtt(0, 1)


def test_a_mean_equal_to_the_median_makes_all_links_alike() -> None:
    links = links_of(5, model=LinkModel(rtt_median_s=0.1, rtt_mean_s=0.1, jitter=0.0))
    assert {links.delay(a, b) for a in range(5) for b in range(5)} == {0.05}


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": 1.5},
        {"duplicate": -0.1},
        {"corrupt": float("nan")},
        {"rtt_median_s": 0.0},
        {"rtt_median_s": 0.2},
        {"rtt_mean_s": float("inf")},
        {"reorder_delay_s": -1.0},
    ],
)
def test_a_model_that_no_network_has_is_a_mistake(wrong: dict[str, float]) -> None:
    with pytest.raises(LocalError):
        LinkModel(**wrong)


# --------------------------------------------------------------------------------------- rates


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_loss_is_the_share_that_does_not_arrive(rate: float) -> None:
    copies = arrived(links_of(2, model=LinkModel(loss=rate)))
    assert copies.count(0) / len(copies) == pytest.approx(rate, abs=0.05)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_duplicates_are_the_share_that_arrives_twice(rate: float) -> None:
    copies = arrived(links_of(2, model=LinkModel(duplicate=rate)))
    assert copies.count(2) / len(copies) == pytest.approx(rate, abs=0.05)


def test_a_reordered_datagram_is_late_by_at_most_the_given_delay() -> None:
    links = links_of(2, model=LinkModel(jitter=0.0, reorder=0.5, reorder_delay_s=2.0))
    way = links.rtt(0, 1) / 2
    delays = [links.arrivals(0, 1, b"x")[0][0] for _ in range(1000)]
    assert all(way <= delay <= way + 2.0 for delay in delays)
    assert 0.4 < sum(delay > way for delay in delays) / 1000 < 0.6


def test_a_corrupted_datagram_differs_in_a_few_bits_or_is_shorter() -> None:
    links = links_of(2, model=LinkModel(corrupt=1.0))
    data = bytes(range(100))
    for _ in range(300):
        ((_, spoilt),) = links.arrivals(0, 1, data)
        if len(spoilt) == len(data):
            flipped = sum((a ^ b).bit_count() for a, b in zip(data, spoilt, strict=True))
            assert flipped <= 3  # two flips of one bit undo each other
        else:
            assert data.startswith(spoilt)
    assert links.arrivals(0, 1, b"")[0][1] == b""


def test_perfect_links_deliver_everything_once_and_unharmed() -> None:
    links = links_of(2)
    assert links.perfect
    assert arrived(links, tries=100) == [1] * 100


# -------------------------------------------------------------------------------------- faults


def test_a_cut_is_one_way() -> None:
    links = links_of(2)
    links.cut(0, 1)
    assert links.blocks(0, 1)
    assert not links.blocks(1, 0)
    assert not links.perfect
    assert arrived(links, tries=10) == [0] * 10
    links.mend(0, 1)
    assert links.perfect


def test_a_mute_endpoint_hears_and_a_deaf_one_speaks() -> None:
    links = links_of(3)
    links.silence(0, deaf=False)
    links.silence(1, mute=False)
    assert links.blocks(0, 2)
    assert not links.blocks(2, 0)
    assert links.blocks(2, 1)
    assert not links.blocks(1, 2)
    links.silence(0, mute=False, deaf=False)
    assert not links.blocks(0, 2)


def test_a_partition_cuts_between_groups_and_not_within() -> None:
    links = links_of(5)
    links.partition([0, 1], [2, 3])
    for a in range(5):
        for b in range(5):
            assert links.blocks(a, b) is ((a in {2, 3}) != (b in {2, 3}))
    links.unite()
    assert links.perfect


def test_in_a_one_way_partition_the_later_group_hears_and_is_not_heard() -> None:
    links = links_of(4)
    links.partition([0, 1], [2, 3], one_way=True)
    assert not links.blocks(0, 2)
    assert links.blocks(2, 0)
    assert not links.blocks(2, 3)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4))),
    st.lists(st.integers(0, 4)),
    st.lists(st.integers(0, 4)),
    st.booleans(),
)
def test_blocking_agrees_with_the_plain_rules(
    cuts: list[tuple[int, int]], silent: list[int], group: list[int], one_way: bool
) -> None:
    links = links_of(5)
    for cut in cuts:
        links.cut(*cut)
    for endpoint in silent:
        links.silence(endpoint)
    links.partition([], group, one_way=one_way)
    for a in range(5):
        for b in range(5):
            inside, outside = a in group, b in group
            apart = inside and not outside if one_way else inside != outside
            assert links.blocks(a, b) == ((a, b) in cuts or a in silent or b in silent or apart)
    links.heal()
    assert links.perfect


def test_healing_keeps_the_distances() -> None:
    links = links_of(2, model=LinkModel(rtt_median_s=0.01, rtt_mean_s=0.02, loss=0.5, corrupt=0.1))
    before = links.rtt(0, 1)
    assert not links.perfect
    links.heal()
    assert links.perfect
    assert links.rtt(0, 1) == before
