"""Which nodes keep an index: who volunteers, how they become known, and how they are forgotten."""

from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dht.config import Config
from dht.contacts import Contact
from dht.core.unstructured import index_nodes
from dht.core.unstructured.index_nodes import (
    AGE_STEP_S,
    AT_LEAST,
    FORGET_S,
    INDEX_NODES_MAX,
    ONE_IN,
    PER_KEY,
    IndexNodes,
    rank_of,
)
from dht.sim import Simulator
from tests.core.contacts_for_tests import contact, contacts, ids, nearest

OWN = 0b1111
#: Ids by rank: who volunteers first comes first.
BY_RANK = sorted(range(200), key=rank_of)


def nodes(own_id: int = OWN, *, index: bool | None = None, seed: int = 1) -> IndexNodes:
    return IndexNodes(own_id, Config(index=index), Random(seed))


def knowing(*node_ids: int) -> IndexNodes:
    known = nodes()
    for each in contacts(node_ids):
        known.heard(0.0, each, 0)
    return known


def told(known: IndexNodes, now: float = 0.0) -> dict[int, int]:
    """Everybody that others would be told of, with the age."""
    return {int(each.id): age for each, age in known.sample(now, INDEX_NODES_MAX)}


def considers(
    own_id: int,
    neighbours: list[int],
    *,
    index: bool | None = None,
    serves: bool = True,
    young: bool = False,
    known: int = 0,
) -> bool:
    node = nodes(own_id, index=index)
    for each in range(1000, 1000 + known):
        node.heard(0.0, contact(each), 0)
    news = node.consider(contacts(neighbours), serves=serves, young=young)
    assert not node.own or news or index
    return news


# ---------------------------------------------------------------------------------- volunteering


def test_about_one_in_twenty_volunteers_whoever_else_does() -> None:
    everybody = list(range(10_000))
    volunteers = sum(considers(each, [], known=AT_LEAST + 1) for each in everybody)
    assert volunteers == sum(rank_of(each) < 2**64 / ONE_IN for each in everybody)
    assert 400 < volunteers < 600


def test_a_rank_is_drawn_from_all_of_its_range() -> None:
    ranks = [rank_of(each) for each in range(1000)]
    assert len(set(ranks)) == 1000
    assert min(ranks) < 2**57
    assert 2**64 - 2**57 < max(ranks) < 2**64


def test_where_too_few_are_known_the_lowest_of_a_neighbourhood_volunteer() -> None:
    low, others = BY_RANK[100], BY_RANK[:100]
    assert not considers(low, others)
    assert not considers(low, others[:AT_LEAST])
    assert considers(low, others[: AT_LEAST - 1])
    assert not considers(low, others[: AT_LEAST - 1], known=AT_LEAST)
    assert considers(low, others[: AT_LEAST - 1], known=AT_LEAST - 1)
    assert considers(low, [*BY_RANK[101:], *others[: AT_LEAST - 1]])


def test_who_is_young_waits_until_it_can_have_heard_of_others() -> None:
    low, others = BY_RANK[100], BY_RANK[101:121]
    assert not considers(low, others, young=True)
    assert considers(low, others)
    assert not considers(low, others[: AT_LEAST - 1], young=True)
    assert considers(BY_RANK[0], others, young=True), "its turn whatever the others do"


def test_a_client_does_not_volunteer_and_neither_does_who_is_told_not_to() -> None:
    assert not considers(BY_RANK[0], [], serves=False)
    assert not considers(BY_RANK[0], [], index=False)


def test_who_is_told_to_keep_an_index_does_from_the_start_and_that_is_no_news() -> None:
    assert nodes(BY_RANK[-1], index=True).own
    assert not considers(BY_RANK[-1], [], index=True)


def test_who_volunteered_once_goes_on() -> None:
    node = nodes(BY_RANK[100])
    assert node.consider([], serves=True, young=False)
    assert not node.consider(contacts(BY_RANK[:100]), serves=True, young=False)
    assert node.own


@pytest.mark.parametrize("size", [10, 30, 100])
def test_in_a_network_of_any_size_there_are_at_least_three_and_everybody_knows_them(
    size: int,
) -> None:
    simulator = Simulator(size, overlay="unstructured")
    simulator.grow(size)
    simulator.run_for(70)
    parts = [node.engine.unstructured for node in simulator.living()]
    known = [each.index_nodes for each in parts if each is not None]
    assert AT_LEAST <= sum(each.own for each in known) <= max(10, size / 5)
    assert all(len(each) + each.own >= AT_LEAST for each in known)


# ----------------------------------------------------------------------------- hearing of others


def test_what_is_heard_is_told_with_its_age() -> None:
    known = nodes()
    known.heard(0.0, contact(1), 0)
    known.heard(0.0, contact(2), 4)
    assert told(known) == {1: 0, 2: 4}
    assert told(known, 20.0) == {1: 2, 2: 6}
    assert told(known, 20.5) == {1: 3, 2: 7}


def test_the_freshest_news_counts() -> None:
    known = knowing()
    known.heard(0.0, contact(1), 5)
    known.heard(0.0, contact(1), 9)
    assert told(known, 0.0) == {1: 5}
    known.heard(0.0, contact(1), 2)
    assert told(known, 0.0) == {1: 2}


def test_a_known_index_node_moves_by_its_own_word_alone() -> None:
    """Hearsay could move a true one to where nobody answers, and then it counts as dead."""
    known = nodes()
    known.heard(0.0, contact(1, "10.1.1.1"), 5)
    known.heard(0.0, contact(1, "10.2.2.2"), 0)
    assert known.sample(0.0, 1) == [(contact(1, "10.1.1.1"), 5)]
    known.heard(0.0, contact(1, "10.3.3.3"), 0, itself=True)
    assert known.sample(0.0, 1) == [(contact(1, "10.3.3.3"), 0)]


def test_nobody_moves_into_a_subnet_that_is_full() -> None:
    known = nodes()
    for number in (1, 2):
        known.heard(0.0, contact(number, f"20.1.1.{number}"), 0)
    known.heard(0.0, contact(3, "30.1.1.1"), 0)
    known.heard(0.0, contact(3, "20.1.1.3"), 0, itself=True)
    assert contact(3, "30.1.1.1") in known.for_key(0.0, 0)


def test_nobody_hears_of_itself() -> None:
    assert len(knowing(OWN, 1)) == 1


def test_after_five_minutes_without_news_an_index_node_is_forgotten() -> None:
    known = knowing(1)
    known.heard(100.0, contact(2), 0)
    assert ids(known.for_key(FORGET_S, 0)) == [1, 2]
    assert ids(known.for_key(FORGET_S + 0.1, 0)) == [2]
    assert told(known, FORGET_S + 100.1) == {}
    assert len(known) == 0


def test_news_of_five_minutes_ago_is_none() -> None:
    known = nodes()
    known.heard(0.0, contact(1), int(FORGET_S / AGE_STEP_S) + 1)
    assert len(known) == 0
    known.heard(0.0, contact(1), int(FORGET_S / AGE_STEP_S))
    assert len(known) == 1


@settings(max_examples=50)
@example([9.0] * 40, 3)
@given(st.lists(st.floats(0.01, 9.9), min_size=1, max_size=200), st.integers(2, 5))
def test_a_rumour_that_goes_round_is_over_after_five_minutes(
    pauses: list[float], circle: int
) -> None:
    """However often they tell each other, nobody takes an old story for a newer one."""
    everybody = [nodes(100 + number) for number in range(circle)]
    everybody[0].heard(0.0, contact(1), 0)
    now = 0.0
    for number, pause in enumerate(pauses):
        now += pause
        teller, listener = everybody[number % circle], everybody[(number + 1) % circle]
        for each, age in teller.sample(now, 8):
            listener.heard(now, each, age)
    assert now <= FORGET_S or not any(told(each, now) for each in everybody)


def test_each_that_is_new_is_announced_once() -> None:
    known, new = nodes(), list[Contact]()
    known.on_new = lambda _, each: new.append(each)
    for _ in range(3):
        known.heard(0.0, contact(1), 0)
        known.heard(0.0, contact(2), 0)
    assert ids(new) == [1, 2]


# -------------------------------------------------------------------------------------- failures


def test_one_that_failed_is_not_believed_in_for_five_minutes_whoever_names_it() -> None:
    known = knowing(1, 2)
    known.failed(10.0, contact(1))
    assert ids(known.for_key(10.0, 0)) == [2]
    known.heard(10.0 + FORGET_S - 0.1, contact(1), 0)
    assert len(known) == 1
    known.heard(10.0 + FORGET_S, contact(1), 0)
    assert 1 in told(known, 10.0 + FORGET_S)


def test_who_was_never_known_cannot_fail() -> None:
    known = nodes()
    known.failed(0.0, contact(1))
    known.heard(0.0, contact(1), 0)
    assert len(known) == 1


# ---------------------------------------------------------------------------------------- limits


def test_of_one_public_subnet_two_are_believed() -> None:
    known = nodes()
    for number in range(1, 9):
        known.heard(0.0, contact(number, f"8.8.8.{number}"), 0)
    assert ids(known.for_key(0.0, 0)) == [1, 2]
    known.heard(0.0, contact(9, "8.8.9.9"), 0)
    known.failed(0.0, contact(1, "8.8.8.1"))
    known.heard(0.0, contact(3, "8.8.8.3"), 0)
    assert ids(known.for_key(0.0, 0)) == [2, 3, 9]


def test_on_private_addresses_a_subnet_says_nothing() -> None:
    known = nodes()
    for number in range(1, 9):
        known.heard(0.0, contact(number, f"192.168.1.{number}"), 0)
    assert len(known) == 8


def test_so_many_are_remembered_and_the_one_with_the_oldest_news_goes_first() -> None:
    known = nodes()
    for number in range(INDEX_NODES_MAX):
        known.heard(0.0, contact(1000 + number), 2 if number == 7 else 1)
    known.heard(0.0, contact(1), 0)
    assert len(known) == INDEX_NODES_MAX
    assert told(known).keys() == {1, *range(1000, 1000 + INDEX_NODES_MAX)} - {1007}


def test_so_many_failures_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_nodes, "INDEX_NODES_MAX", 3)
    known = nodes()
    for number in (1, 2, 3, 4):
        known.heard(0.0, contact(number), 0)
        known.failed(0.0, contact(number))
    assert list(known._failed) == [2, 3, 4]


# ------------------------------------------------------------------------------------ for a key


@given(st.lists(st.integers(0, 255), unique=True), st.integers(0, 255), st.integers(0, 9))
def test_those_for_a_key_are_the_nearest_to_it(known: list[int], key: int, count: int) -> None:
    wanted = [each for each in known if each != OWN]
    found = knowing(*known).for_key(0.0, key, count)
    assert ids(found) == nearest(wanted, key, count)


def test_whoever_asks_and_whoever_announces_choose_the_same() -> None:
    one, another = knowing(*range(20)), knowing(*reversed(range(20)))
    for key in range(16):
        assert ids(one.for_key(0.0, key)) == ids(another.for_key(0.0, key))
        assert len(one.for_key(0.0, key)) == PER_KEY


class Rumours(RuleBasedStateMachine):
    """Whatever is said of whom: a model of a few lines, and the caps."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.known = nodes()
        self.model: dict[int, float] = {}
        self.failed: dict[int, float] = {}

    @rule(node_id=st.integers(0, 31), age=st.integers(0, 40))
    def is_heard(self, node_id: int, age: int) -> None:
        self.known.heard(self.now, contact(node_id), age)
        at = self.now - age * AGE_STEP_S
        believed = self.failed.get(node_id, self.now) <= self.now
        if node_id != OWN and at >= self.now - FORGET_S and believed:
            self.model[node_id] = max(at, self.model.get(node_id, at))

    @rule(node_id=st.integers(0, 31))
    def fails(self, node_id: int) -> None:
        self.known.failed(self.now, contact(node_id))
        if self.model.pop(node_id, None) is not None:
            self.failed[node_id] = self.now + FORGET_S

    @rule(seconds=st.integers(1, 200))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        told(self.known, self.now)
        self.model = {each: at for each, at in self.model.items() if at >= self.now - FORGET_S}

    @invariant()
    def agrees(self) -> None:
        ages = told(self.known, self.now)
        assert ages.keys() == self.model.keys()
        for node_id, at in self.model.items():
            assert 0 <= ages[node_id] * AGE_STEP_S - (self.now - at) < AGE_STEP_S


TestRumours = Rumours.TestCase
TestRumours.settings = settings(max_examples=30)
