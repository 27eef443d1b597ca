"""How the issuer of a search goes about it: floods, expanding rings, and walkers that it keeps
count of."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dht.config import Config
from dht.contacts import Contact
from dht.core.machine import FINISHED, Ask, Wait
from dht.core.unstructured.branches import BRANCH_FIRST_S, BRANCH_HOP_S, STEPS_MAX, next_of_walk
from dht.core.unstructured.ways import HOP_MAX_S, RING_STEP, Flooding, Walking
from dht.core.via import Flood, Walk
from dht.wire.messages import WALK, Copy, Done, Hit, Search, Shuffle, Wanted
from tests.core.contacts_for_tests import contact
from tests.core.pair import Net
from tests.core.unstructured.graphs_for_tests import (
    BUSY,
    ID,
    SEEN,
    TAKEN,
    entries,
    found,
    plain_record,
    search_in,
    search_of,
)
from tests.core.unstructured.nets_for_tests import (
    befriend,
    find,
    hold,
    line_of,
    neighbour,
    overlay_of,
    searches_sent,
    sent,
    still_net,
)

RECORD = plain_record(b"value")
COMPLETE = [(one, other) for one in range(10) for other in range(one)]


# ------------------------------------------------------------------------------------------- rings


def flooding(
    *neighbours: int, ttl: int = 5, ring: bool = False, budget: int = 100
) -> tuple[Flooding, list[Copy]]:
    copies: list[Copy] = []
    way = Flooding(
        search=search_of(),
        ttl=ttl,
        ring=ring,
        budget=budget,
        neighbours=lambda: entries(neighbours),
        random=Random(1),
        on_copy=lambda _now, copy, _holder, _hops: copies.append(copy),
        on_begin=lambda _id: None,
        holders_open=lambda: False,
    )
    return way, copies


def end_of(search: Search, messages: int = 0) -> Done:
    return Done(0, search.id, 0, messages, 0, 0)


def rings_of(way: Flooding) -> list[Search]:
    """What its one neighbour is sent, if nobody ever has it."""
    rings = []
    while isinstance(step := way.next(0.0), Ask):
        rings.append(search_in(step))
        way.on_reply(0.0, step.contact, TAKEN, [])
        assert isinstance(way.next(0.0), Wait)
        way.on_done(0.0, step.contact, end_of(rings[-1]))
    assert way.next(0.0) is FINISHED
    return rings


@given(st.integers(1, 64))
def test_rings_grow_by_two_up_to_the_ttl_each_under_an_id_of_its_own(ttl: int) -> None:
    rings = rings_of(flooding(1, ttl=ttl, ring=True)[0])
    reaches = [ring.ttl + 1 for ring in rings]
    assert reaches[0] == 1
    assert reaches[-1] == ttl
    assert all(later - sooner == RING_STEP for sooner, later in pairwise(reaches[:-1]))
    assert len({ring.id for ring in rings}) == len(rings)


def test_without_rings_there_is_one_flood() -> None:
    assert [ring.ttl for ring in rings_of(flooding(1, ttl=5)[0])] == [4]


def test_all_rings_together_cost_the_budget() -> None:
    way, _ = flooding(1, ttl=9, ring=True, budget=10)
    budgets = []
    while isinstance(step := way.next(0.0), Ask):
        search = search_in(step)
        budgets.append(search.budget + 1)
        way.on_done(0.0, step.contact, end_of(search, 3))
    assert budgets == [10, 6, 2]


def test_the_end_of_a_ring_is_not_that_of_the_next() -> None:
    way, _ = flooding(1, ttl=3, ring=True)
    first = search_in(way.next(0.0))
    assert isinstance(way.next(0.0), Wait)
    ends_at = BRANCH_FIRST_S + BRANCH_HOP_S
    second = search_in(way.next(ends_at))
    assert second.ttl == 2
    way.on_done(ends_at, contact(1), end_of(first))
    assert isinstance(way.next(ends_at), Wait)
    way.on_done(ends_at, contact(1), end_of(second))
    assert way.next(ends_at) is FINISHED


def test_before_it_began_and_after_it_ended_a_flood_takes_what_comes() -> None:
    way, copies = flooding(1)
    way.on_reply(0.0, contact(1), TAKEN, [])
    way.on_failure(0.0, contact(1))
    way.on_retry(contact(1))
    way.on_done(0.0, contact(1), end_of(search_of()))
    way.on_hit(0.0, Hit(0, ID, 0, 1, b"", None))
    assert not way.on_walker(0.0, 0, 1, last=False)
    way.next(0.0)
    way.on_failure(0.0, contact(1))
    assert way.next(0.0) is FINISHED
    assert not copies


def test_a_retry_of_a_flood_costs_a_message() -> None:
    way, _ = flooding(1)
    way.next(0.0)
    way.on_retry(contact(1))
    assert way.costs.messages == 2


@pytest.mark.parametrize("reply", ["path", "direct"])
def test_an_expanding_ring_ends_with_the_first_that_finds_it(reply: str) -> None:
    for distance, rings in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)]:
        net = line_of(7)
        hold(net, net.peers[distance], RECORD)
        # All of a budget goes through one neighbour here, which takes so much of it at once.
        outcome = find(net, net.peers[0], Flood(ring=True, reply=reply, budget=90))
        assert outcome.value == b"value"
        assert outcome.trace.hops == distance
        net.run_for(10.0)
        first = net.peers[0].address
        assert len([told for told, _ in sent(net, Search) if told.source == first]) == rings


def test_a_ring_costs_less_than_a_flood_where_it_is_near_and_more_where_nobody_has_it() -> None:
    costs: dict[tuple[bool, bool], int] = {}
    for ring in (False, True):
        for held in (False, True):
            net = still_net(10, COMPLETE)
            if held:
                hold(net, net.peers[5], RECORD)
            assert (find(net, net.peers[0], Flood(ring=ring)).value is not None) == held
            net.run_for(10.0)
            costs[ring, held] = searches_sent(net)
    assert costs[True, True] == 9 < costs[False, True]
    assert costs[True, False] > costs[False, False] == 9 + 9 * 8


# ------------------------------------------------------------------------------------------ floods


def test_a_flood_for_what_nobody_has_ends_without_a_timeout() -> None:
    net = still_net(10, COMPLETE)
    outcome = find(net, net.peers[0], Flood())
    assert outcome.record is None
    assert outcome.deleted is None
    assert outcome.trace.elapsed < 0.2
    assert outcome.trace.stopped == "everybody who was asked has answered"


def test_dead_neighbours_cost_a_flood_the_time_that_they_are_given_and_nothing_else() -> None:
    net = still_net(10, COMPLETE)
    for number in (1, 2, 3):
        net.crash(net.peers[number])
    outcome = find(net, net.peers[0], Flood())
    assert outcome.record is None
    assert outcome.trace.nodes == 6
    assert outcome.trace.elapsed < BRANCH_FIRST_S + 5 * BRANCH_HOP_S + 0.1
    hold(net, net.peers[9], RECORD)
    outcome = find(net, net.peers[0], Flood())
    assert outcome.value == b"value"
    assert outcome.trace.elapsed < 0.1


# ----------------------------------------------------------------------------------------- walkers


def walking(
    *neighbours: int, walkers: int = 4, ttl: int = 8, budget: int = 1000, check_every: int = 4
) -> tuple[Walking, list[bool]]:
    """A way, and whether it is still wanted: the last entry of the list."""
    wanted = [True]

    def choose(refused: object) -> Contact | None:
        return next_of_walk(
            entries(neighbours),
            style=0,
            came_from=None,
            sent_to=[],
            refused=refused,  # type: ignore[arg-type]
            random=Random(1),
        )

    way = Walking(
        search=search_of(style=WALK, check_every=check_every),
        walkers=walkers,
        ttl=ttl,
        budget=budget,
        neighbours=lambda: entries(neighbours),
        choose=choose,
        random=Random(1),
        on_copy=lambda _now, _copy, _holder, _hops: None,
        on_begin=lambda _id: None,
        wanted=lambda: wanted[-1],
    )
    return way, wanted


def sent_out(way: Walking, now: float = 0.0) -> list[tuple[Contact, Search]]:
    asked = []
    while isinstance(step := way.next(now), Ask):
        asked.append((step.contact, search_in(step)))
    return asked


def test_walkers_begin_in_as_many_places_as_there_are_and_share_the_budget() -> None:
    asked = sent_out(walking(1, 2, 3, walkers=6, budget=100)[0])
    assert sorted(each.id for each, _ in asked) == [1, 1, 2, 2, 3, 3]
    assert [each.walker for _, each in asked] == list(range(6))
    assert sum(1 + each.budget for _, each in asked) == 100
    assert sum(each.hits for _, each in asked) == 4
    assert {(each.ttl, each.hops) for _, each in asked} == {(7, 1)}


def test_no_more_walkers_set_out_than_the_budget_is_for() -> None:
    asked = sent_out(walking(1, 2, walkers=9, budget=5)[0])
    assert [each.budget for _, each in asked] == [0] * 5


def test_without_neighbours_no_walker_sets_out() -> None:
    way, _ = walking(walkers=3)
    assert way.next(0.0) is FINISHED


def test_a_walker_that_is_not_taken_tries_a_few_others() -> None:
    way, _ = walking(*range(9), walkers=1)
    tried = []
    for answer in (BUSY, None, SEEN):
        [(other, _)] = sent_out(way)
        tried.append(other.id)
        if answer is None:
            way.on_failure(0.1, other)
        else:
            way.on_reply(0.1, other, answer, [])
    assert way.next(0.2) is FINISHED
    assert len(set(tried)) == STEPS_MAX == way.costs.messages


def test_a_walker_goes_back_to_nobody_who_refused_it_even_where_there_are_few() -> None:
    way, _ = walking(1, 2, walkers=1)
    for _ in range(2):
        [(other, _)] = sent_out(way)
        way.on_reply(0.1, other, BUSY, [])
    assert way.next(0.2) is FINISHED


def test_a_walker_of_which_nothing_is_heard_for_too_long_is_lost() -> None:
    for check_every, ttl, hops in [(4, 8, 5), (0, 8, 8), (4, 3, 3)]:
        way, _ = walking(1, walkers=1, check_every=check_every, ttl=ttl)
        sent_out(way)
        way.on_reply(0.0, contact(1), TAKEN, [])
        lost_at = hops * HOP_MAX_S
        assert way.next(0.0) == Wait(lost_at)
        assert way.next(lost_at) is FINISHED


def test_who_hears_of_a_walker_waits_for_it_longer_and_knows_how_far_it_came() -> None:
    way, _ = walking(1, 2, walkers=2)
    sent_out(way)
    assert way.on_walker(1.0, 0, 4, last=False)
    assert way.next(1.0) == Wait(5 * HOP_MAX_S)
    assert way.on_walker(1.0, 1, 4, last=False)
    assert way.next(1.0) == Wait(1.0 + 5 * HOP_MAX_S)
    assert not way.on_walker(2.0, 0, 8, last=True)
    way.on_done(2.0, contact(1), Done(0, ID, 1, 255, 0, 0))
    assert way.next(2.0) is FINISHED
    assert way.costs.messages == 8 + 8, "no walker can say that it came farther than its ttl"


def test_walkers_are_told_to_stop_when_it_was_found_and_so_are_those_that_nobody_sent() -> None:
    way, wanted = walking(1, walkers=2)
    sent_out(way)
    assert not way.on_walker(1.0, 2, 4, last=False)
    assert not way.on_walker(1.0, 255, 4, last=False)
    wanted.append(False)
    assert not way.on_walker(1.0, 0, 4, last=False)
    wanted.append(True)
    assert not way.on_walker(1.0, 0, 8, last=False), "who was stopped stays so"


def test_a_first_step_that_found_it_ends_that_walker() -> None:
    way, _ = walking(1, 2, walkers=2)
    [(first, _), (second, _)] = sent_out(way)
    way.on_reply(0.1, first, found(RECORD), [])
    way.on_retry(second)
    assert isinstance(way.next(0.1), Wait)
    way.on_hit(0.2, Hit(0, ID, 1, 3, b"", found(RECORD).copy))
    assert way.next(0.2) is FINISHED
    assert (way.costs.messages, way.costs.nodes) == (1 + 3 + 1, 4)
    way.on_reply(0.3, second, TAKEN, [])
    way.on_failure(0.3, second)
    assert way.next(0.3) is FINISHED


@settings(max_examples=25)
@given(
    st.integers(1, 20),
    st.integers(1, 40),
    st.integers(1, 100),
    st.integers(0, 6),
    st.integers(0, 10**6),
)
def test_walkers_cost_no_more_than_their_budget_and_steps(
    walkers: int, ttl: int, budget: int, check_every: int, seed: int
) -> None:
    """Through engines that know each other at random."""
    random = Random(seed)
    pairs = [(one, other) for one in range(7) for other in range(one)]
    net = still_net(7, [(0, 1), *random.sample(pairs, 10)], seed=seed)
    via = Walk(walkers=walkers, ttl=ttl, budget=budget, check_every=check_every)
    outcome = find(net, net.peers[0], via)
    net.run_for(10.0)
    assert outcome.record is None
    assert searches_sent(net) <= budget
    assert not [hop for _, hop in sent(net, Search) if hop.hops > ttl or hop.walker >= walkers]
    assert not [asked for _, asked in sent(net, Wanted) if check_every == 0]


# ------------------------------------------------------------------------- walkers through engines


def test_walkers_find_it_and_the_way_that_they_took() -> None:
    net = line_of(5)
    hold(net, net.peers[3], RECORD)
    outcome = find(net, net.peers[0], Walk(walkers=1))
    assert outcome.value == b"value"
    assert outcome.trace.hops == 3
    assert outcome.agreed == (net.peers[3].contact,)


def test_lost_walkers_are_given_up() -> None:
    net = still_net(1)
    neighbour(net, net.peers[0])
    outcome = find(net, net.peers[0], Walk(walkers=3, check_every=4))
    assert outcome.record is None
    assert outcome.trace.elapsed == pytest.approx(5 * HOP_MAX_S, abs=0.5)


def test_walkers_that_know_where_others_went_meet_more_nodes() -> None:
    """In a star of which every ray is one node: without state they go back and forth."""
    nodes = {}
    for state in (False, True):
        net = still_net(12, [(0, 1), *((1, other) for other in range(2, 12))])
        find(net, net.peers[0], Walk(walkers=10, ttl=2, state=state, check_every=0))
        reached = {told.target for told, search in sent(net, Search) if search.hops == 2}
        nodes[state] = len(reached)
    assert nodes[True] == 10 > nodes[False]


def test_biased_walkers_go_to_those_with_many_neighbours() -> None:
    net = still_net(1)
    popular, lonely = neighbour(net), neighbour(net)
    view = overlay_of(net.peers[0]).view
    view.merge([*(entry._replace(contact=popular.contact) for entry in entries([1], degree=200))])
    befriend(net.peers[0], lonely)
    hub = net.peers[0]
    first = net.add(join=False)
    befriend(first, hub)
    find(net, first, Walk(walkers=20, ttl=2, bias=True, check_every=0))
    assert len(popular.heard_of(Search)) >= 18


def test_a_walk_that_nobody_is_asked_about_ends_by_a_word_along_its_path() -> None:
    net = line_of(4)
    outcome = find(net, net.peers[0], Walk(walkers=2, ttl=3, check_every=0))
    assert outcome.record is None
    assert outcome.trace.elapsed < 1.0
    assert not sent(net, Wanted)
    assert not [search for _, search in sent(net, Search) if search.issuer]


# ---------------------------------------------------------------------- networks of two or three


def test_in_a_network_of_two_there_is_somebody_to_be_searched_at_any_moment() -> None:
    """Each is all that the other knows, and a shuffle takes it out of a view for a moment."""
    net = Net(config=Config(index=False), overlay="unstructured")
    alice = net.add()
    bob = net.add(alice)
    net.run_for(20.0)
    begun = net.now
    while net.now < begun + 60.0:
        net.run_until(net.now + 1.0, unless=lambda: not len(overlay_of(alice).view))
        assert len(overlay_of(alice).view) == len(overlay_of(bob).view) == 1
    assert sent(net, Shuffle)
    net.crash(bob)
    net.run_for(60.0)
    assert not len(overlay_of(alice).view)
