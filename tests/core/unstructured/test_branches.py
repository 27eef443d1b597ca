"""The way of a search at one node, and through any graph of such nodes."""

from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.contacts import Contact
from dht.core.machine import FINISHED, Ask, Wait
from dht.core.unstructured.branches import (
    BRANCH_FIRST_S,
    BRANCH_HOP_S,
    STEPS_MAX,
    FloodBranch,
    WalkBranch,
    divide,
    next_of_flood,
    next_of_walk,
)
from dht.wire.messages import BIAS, STATE, WALK, Copy, Done, Search, Taken, Taking, Wanted
from tests import strategies
from tests.core.contacts_for_tests import contact, ids
from tests.core.unstructured.graphs_for_tests import (
    BUSY,
    ID,
    SEEN,
    TAKEN,
    FloodThrough,
    Graph,
    distances,
    entries,
    found,
    graphs,
    plain_record,
    ring_of,
    said_by,
    search_in,
    search_of,
    walk_through,
)

ISSUER = contact(99)
RECORD = plain_record(b"value")


# ------------------------------------------------------------------------------------- a budget


@given(st.integers(0, 10**6), st.integers(1, 300))
def test_parts_add_up_and_differ_by_one_at_most(total: int, parts: int) -> None:
    shares = divide(total, parts)
    assert len(shares) == parts
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1
    assert shares == sorted(shares, reverse=True)


@given(
    st.lists(st.integers(0, 30), unique=True),
    st.integers(0, 30),
    st.builds(
        search_of, budget=st.integers(0, 100), hits=st.integers(0, 255), ttl=st.integers(0, 255)
    ),
    st.randoms(use_true_random=False),
)
def test_what_goes_on_costs_the_budget_and_carries_the_hits_once(
    neighbours: list[int], came_from: int, search: Search, random: Random
) -> None:
    budget, hits, ttl = search.budget, search.hits, search.ttl
    onward = next_of_flood(search, entries(neighbours), came_from, random)
    asked = ids(each for each, _ in onward)
    others = [each for each in neighbours if each != came_from]
    assert len(asked) == len(set(asked)) == (min(budget, len(others)) if ttl else 0)
    assert set(asked) <= set(others)
    if onward:
        assert sum(1 + each.budget for _, each in onward) == budget
        assert sum(each.hits for _, each in onward) == hits
        assert {(each.ttl, each.hops) for _, each in onward} == {(ttl - 1, 1)}
        assert {(each.id, each.key, each.style) for _, each in onward} == {(ID, search.key, 0)}


# ---------------------------------------------------------------------------- floods in any graph


@given(graphs(), st.integers(1, 6))
def test_a_flood_sends_what_the_formula_says_when_all_links_are_alike(
    graph: Graph, ttl: int
) -> None:
    """M(T) = deg(s) + the sum of deg(v) - 1 over all v at distances 1 to T - 1 (Jiang, Guo and
    Zhang 2003)."""
    through = FloodThrough(graph, 0, search_of(ttl=ttl)).run()
    away = distances(graph, 0)
    inner = [node for node, distance in away.items() if 1 <= distance < ttl]
    assert len(through.sent) == len(graph[0]) + sum(len(graph[node]) - 1 for node in inner)
    assert set(through.branches) == {node for node, distance in away.items() if distance <= ttl}


@given(graphs(), st.integers(1, 6), st.integers(1, 40), st.randoms(use_true_random=False))
def test_no_flood_costs_more_than_its_budget_however_long_the_links_take(
    graph: Graph, ttl: int, budget: int, random: Random
) -> None:
    search = search_of(ttl=ttl, budget=budget)
    through = FloodThrough(graph, 0, search, lambda: random.uniform(0.001, 0.1), random).run()
    assert len(through.sent) <= budget
    assert all(sent.ttl + sent.hops == ttl for _, _, sent in through.sent)
    assert max(Counter((one, other) for one, other, _ in through.sent).values(), default=1) == 1


@given(graphs(), st.integers(1, 6), st.integers(1, 40), st.randoms(use_true_random=False))
def test_whoever_issues_a_flood_hears_that_it_ended_and_what_it_cost(
    graph: Graph, ttl: int, budget: int, random: Random
) -> None:
    search = search_of(ttl=ttl, budget=budget)
    through = FloodThrough(graph, 0, search, lambda: random.uniform(0.001, 0.1), random).run()
    costs = through.branches[0].costs
    assert costs.messages == len(through.sent)
    assert costs.nodes == len(through.branches) - 1
    assert costs.duplicates == len(through.sent) - costs.nodes
    assert through.ended_at is not None
    assert through.ended_at < BRANCH_FIRST_S, "no timeout was needed"


# ---------------------------------------------------------------------------- a flood at one node


def flood_branch(*neighbours: int, ttl: int = 4) -> tuple[FloodBranch, list[tuple[Copy, Contact]]]:
    """A branch that has asked them all."""
    hits: list[tuple[Copy, Contact]] = []
    branch = FloodBranch(
        onward=next_of_flood(search_of(ttl=ttl), entries(neighbours), None, Random(1)),
        ttl=ttl,
        on_hit=lambda _now, copy, holder: hits.append((copy, holder)),
    )
    asked = [branch.next(0.0) for _ in neighbours]
    assert sorted(each.contact.id for each in asked if isinstance(each, Ask)) == sorted(neighbours)
    return branch, hits


def done(messages: int = 0, duplicates: int = 0, nodes: int = 0) -> Done:
    return Done(0, ID, 0, messages, duplicates, nodes)


def test_a_branch_ends_when_each_of_those_it_went_to_has_said_so() -> None:
    branch, hits = flood_branch(1, 2, 3, 4)
    branch.on_reply(0.1, contact(1), TAKEN, [])
    branch.on_reply(0.1, contact(2), SEEN, [])
    branch.on_reply(0.1, contact(3), BUSY, [])
    branch.on_failure(0.1, contact(4))
    assert isinstance(branch.next(0.1), Wait)
    branch.on_done(contact(1), done(7, 2, 3))
    assert branch.next(0.2) is FINISHED
    assert not hits
    assert (branch.costs.messages, branch.costs.duplicates, branch.costs.nodes) == (11, 3, 4)
    counters = branch.counters
    assert (counters.searches_passed_on, counters.searches_seen_again) == (4, 1)


def test_who_holds_it_says_no_more_and_counts_as_a_node() -> None:
    branch, hits = flood_branch(1)
    answer = found(RECORD)
    branch.on_reply(0.1, contact(1), answer, [])
    assert hits == [(answer.copy, contact(1))]
    assert branch.next(0.1) is FINISHED
    assert branch.costs.nodes == 1


def test_a_branch_that_says_nothing_is_waited_for_as_long_as_its_hops_may_take() -> None:
    branch, _ = flood_branch(1, ttl=4)
    branch.on_reply(0.1, contact(1), TAKEN, [])
    ends_at = BRANCH_FIRST_S + 4 * BRANCH_HOP_S
    assert branch.next(0.1) == Wait(ends_at)
    assert branch.next(ends_at - 0.01) == Wait(ends_at)
    assert branch.next(ends_at) is FINISHED


def test_an_end_is_believed_once_and_of_those_who_were_asked() -> None:
    branch, _ = flood_branch(1)
    branch.on_done(contact(2), done(1000))
    assert isinstance(branch.next(0.1), Wait)
    branch.on_done(contact(1), done(5))
    branch.on_done(contact(1), done(5))
    branch.on_reply(0.1, contact(1), TAKEN, [])
    assert (branch.costs.messages, branch.costs.nodes) == (6, 1)
    assert branch.next(0.1) is FINISHED


def test_a_retry_costs_a_message() -> None:
    branch, _ = flood_branch(1)
    branch.on_retry(contact(1))
    assert branch.costs.messages == branch.counters.searches_passed_on == 2


# ----------------------------------------------------------------------------- walkers in a graph


@given(
    graphs(),
    st.builds(
        search_of,
        style=st.sampled_from([WALK, WALK | STATE, WALK | BIAS, WALK | STATE | BIAS]),
        ttl=st.integers(0, 30),
        budget=st.integers(0, 30),
    ),
    st.lists(st.integers(0, 9), max_size=3),
    st.randoms(use_true_random=False),
)
def test_a_walker_goes_no_farther_than_its_ttl_and_its_budget(
    graph: Graph, search: Search, busy: list[int], random: Random
) -> None:
    path = walk_through(graph, 0, search, random=random, busy=busy)
    assert len(path) - 1 <= min(search.ttl, search.budget)
    assert all(other in graph[one] for one, other in pairwise(path))
    assert not set(path[1:]) & set(busy)


@given(graphs(), st.integers(0, 30), st.randoms(use_true_random=False))
def test_a_walker_turns_back_only_where_there_is_nobody_else(
    graph: Graph, ttl: int, random: Random
) -> None:
    path = walk_through(graph, 0, search_of(style=WALK, ttl=ttl), random=random)
    assert len(path) - 1 == (ttl if graph[0] else 0)
    for before, here, after in zip(path, path[1:], path[2:], strict=False):
        assert after != before or len(graph[here]) == 1


def next_step(
    neighbours: list[int],
    *,
    style: int = 0,
    came_from: int | None = None,
    sent_to: list[int] | None = None,
    refused: list[int] | None = None,
) -> set[int | None]:
    """Where it may go, by what 200 of them do."""
    steps = set()
    for seed in range(200):
        chosen = next_of_walk(
            entries(neighbours),
            style=style,
            came_from=came_from,
            sent_to=sent_to or [],
            refused=refused or [],
            random=Random(seed),
        )
        steps.add(None if chosen is None else int(chosen.id))
    return steps


def test_a_walker_that_knows_where_others_went_goes_elsewhere_while_it_can() -> None:
    assert next_step([1, 2, 3], style=STATE, sent_to=[1, 2]) == {3}
    assert next_step([1, 2, 3], style=0, sent_to=[1, 2]) == {1, 2, 3}
    assert next_step([1, 2, 3], style=STATE, came_from=3, sent_to=[1, 2]) == {1, 2}
    assert next_step([1, 2], style=STATE, sent_to=[1, 2]) == {1, 2}


def test_a_walker_does_not_come_back_to_who_refused_it() -> None:
    assert next_step([1, 2, 3], refused=[1, 3]) == {2}
    assert next_step([1, 2], came_from=1, refused=[2]) == {1}
    assert next_step([1, 2], refused=[1, 2]) == {None}
    assert next_step([]) == {None}


def test_a_biased_walker_prefers_those_with_many_neighbours_in_their_proportion() -> None:
    known = [*entries([1], degree=30), *entries([2], degree=10), *entries([3], degree=0)]
    random, times = Random(1), 4100
    chosen = Counter(
        int(step.id)
        for _ in range(times)
        if (
            step := next_of_walk(
                known, style=BIAS, came_from=None, sent_to=[], refused=[], random=random
            )
        )
    )
    assert chosen[1] == pytest.approx(3000, rel=0.1)
    assert chosen[2] == pytest.approx(1000, rel=0.15)
    assert 50 <= chosen[3] <= 160, "an unknown degree counts as one"


# --------------------------------------------------------------------------- a walker at one node


def walk_branch(
    search: Search, *neighbours: int, issuer: Contact | None = ISSUER
) -> tuple[WalkBranch, list[Contact]]:
    hits: list[Contact] = []

    def choose(refused: object) -> Contact | None:
        return next_of_walk(
            entries(neighbours),
            style=search.style,
            came_from=None,
            sent_to=[],
            refused=refused,  # type: ignore[arg-type]
            random=Random(1),
        )

    def on_hit(_now: float, _copy: Copy, holder: Contact) -> None:
        hits.append(holder)

    branch = WalkBranch(search=search, choose=choose, issuer=issuer, flags=0, on_hit=on_hit)
    return branch, hits


def walking(*, hops: int = 1, ttl: int = 9, budget: int = 100) -> Search:
    return search_of(style=WALK, hops=hops, ttl=ttl, budget=budget, check_every=4, walker=3)


def test_a_walker_asks_every_few_hops_whether_to_go_on() -> None:
    for hops in range(1, 13):
        branch, _ = walk_branch(walking(hops=hops), 1)
        step = branch.next(0.0)
        assert isinstance(step, Ask)
        if hops % 4:
            assert step.contact == contact(1)
            assert search_in(step).hops == hops + 1
            continue
        assert step.contact == ISSUER
        assert said_by(step) == Wanted(0, ID, 3, hops, last=False)
        assert branch.next(0.0) == Wait(None)
        branch.on_reply(0.1, ISSUER, TAKEN, [])
        onward = branch.next(0.1)
        assert isinstance(onward, Ask)
        assert onward.contact == contact(1)
        assert branch.counters.checks_sent == 1


@pytest.mark.parametrize("answer", [SEEN, BUSY, Taken(0, Taking.NOT_HERE), None])
def test_a_walker_stops_when_its_issuer_has_it_or_is_gone(answer: Taken | None) -> None:
    branch, _ = walk_branch(walking(hops=4), 1)
    branch.next(0.0)
    if answer is None:
        branch.on_failure(0.1, ISSUER)
    else:
        branch.on_reply(0.1, ISSUER, answer, [])
    assert branch.next(0.1) is FINISHED
    assert branch.ended
    assert branch.told
    assert branch.costs.messages == 0


@pytest.mark.parametrize("search", [walking(ttl=0), walking(budget=0)])
def test_a_walker_that_ends_says_so_to_its_issuer_once(search: Search) -> None:
    branch, _ = walk_branch(search, 1)
    assert said_by(branch.next(0.0)) == Wanted(0, ID, 3, 1, last=True)
    branch.on_reply(0.1, ISSUER, TAKEN, [])
    assert branch.next(0.1) is FINISHED
    assert (branch.ended, branch.told, branch.counters.checks_sent) == (True, True, 1)


def test_without_an_issuer_nobody_is_asked() -> None:
    branch, _ = walk_branch(walking(hops=4), 1, issuer=None)
    assert search_in(branch.next(0.0)).hops == 5


def test_a_walker_that_nobody_takes_ends_after_a_few() -> None:
    branch, _ = walk_branch(walking(), *range(10))
    asked = []
    while isinstance(step := branch.next(0.0), Ask):
        asked.append(step.contact)
        if len(asked) % 2:
            branch.on_failure(0.1, step.contact)
        else:
            branch.on_reply(0.1, step.contact, BUSY, [])
    assert len(set(ids(asked))) == STEPS_MAX
    assert branch.costs.messages == STEPS_MAX
    assert (branch.ended, branch.told) == (True, False)


def test_each_try_of_a_walker_costs_a_message_of_its_budget() -> None:
    branch, _ = walk_branch(walking(budget=2), *range(10), issuer=None)
    first = branch.next(0.0)
    assert search_in(first).budget == 1
    branch.on_failure(0.1, contact(0))
    assert search_in(branch.next(0.1)).budget == 0
    branch.on_failure(0.2, contact(0))
    assert branch.next(0.2) is FINISHED
    assert branch.ended


def test_a_walker_that_was_taken_or_found_it_is_over_here() -> None:
    for answer in (TAKEN, found(RECORD)):
        branch, hits = walk_branch(walking(), 1)
        branch.next(0.0)
        branch.on_retry(contact(1))
        branch.on_reply(0.1, contact(1), answer, [])
        assert branch.next(0.1) is FINISHED
        assert not branch.ended
        assert len(hits) == (answer is not TAKEN)
        assert (branch.costs.messages, branch.costs.nodes) == (2, 1)


def test_an_issuer_that_is_a_neighbour_takes_the_walker_like_any_other() -> None:
    branch, _ = walk_branch(walking(hops=4), 99)
    branch.next(0.0)
    branch.on_reply(0.1, ISSUER, TAKEN, [])
    assert search_in(branch.next(0.1)).hops == 5
    branch.on_failure(0.2, ISSUER)
    assert branch.next(0.2) is FINISHED
    assert (branch.ended, branch.told) == (True, False)


def test_hops_are_counted_no_farther_than_a_byte_says() -> None:
    branch, _ = walk_branch(walking(hops=255), 1, issuer=None)
    assert search_in(branch.next(0.0)).hops == 255


@given(strategies.keys())
def test_a_walk_in_a_ring_goes_round(start: int) -> None:
    path = walk_through(ring_of(5), start % 5, search_of(style=WALK, ttl=5), random=Random(1))
    assert path[5] == path[0]
    assert len(set(path)) == 5
