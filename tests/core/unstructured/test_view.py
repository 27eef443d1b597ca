"""Who is a neighbour: at most so many, never twice, never ourselves; moved rather than copied."""

from random import Random

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dht.config import Config
from dht.core.unstructured.view import AGE_MAX, Entry, View, entry_of
from tests.core.contacts_for_tests import contact, ids

OWN = 0b1111
SIZE, EXCHANGE = 4, 3
CONFIG = Config(view_size=SIZE, exchange=EXCHANGE)


def view_of(*node_ids: int, config: Config = CONFIG, seed: int = 1) -> View:
    view = View(OWN, config, Random(seed))
    view.merge(map(entry, node_ids))
    return view


def entry(node_id: int, *, age: int = 0, host: str | None = None) -> Entry:
    return Entry(contact(node_id, host), age)


def members(view: View) -> list[int]:
    return sorted(ids(view.contacts()))


def ages(view: View) -> dict[int, int]:
    return {int(each.contact.id): each.age for each in view.entries()}


# ------------------------------------------------------------------------------- what it takes in


def test_a_view_takes_what_it_is_told_until_it_is_full() -> None:
    view = view_of(1, 2, 3)
    assert members(view) == [1, 2, 3]
    assert (len(view), view.degree) == (3, 3)
    view.merge([entry(4), entry(5)])
    assert members(view) == [1, 2, 3, 4]
    assert 4 in view
    assert 5 not in view


def test_neither_we_nor_who_is_there_already_is_taken_again() -> None:
    view = view_of(1, 2)
    view.merge([entry(OWN), entry(1, age=9), entry(3), entry(3, age=9)])
    assert ages(view) == {1: 0, 2: 0, 3: 0}


def test_what_is_received_takes_the_places_of_what_was_given_and_no_others() -> None:
    view = view_of(1, 2, 3, 4)
    view.merge([entry(5), entry(6), entry(7)], [entry(1), entry(2)])
    assert len(view) == SIZE
    assert members(view)[:2] == [3, 4]


def test_what_was_given_stays_while_there_are_free_places() -> None:
    view = view_of(1, 2, 3)
    view.merge([entry(5)], [entry(1)])
    assert members(view) == [1, 2, 3, 5]


def test_what_was_given_stays_if_nothing_new_comes_for_it() -> None:
    view = view_of(1, 2, 3, 4)
    view.merge([entry(1), entry(OWN)], [entry(1), entry(2)])
    assert members(view) == [1, 2, 3, 4]


def test_a_neighbour_that_vanished_meanwhile_has_no_place_to_give() -> None:
    view = view_of(1, 2, 3, 4)
    view.drop(1)
    view.merge([entry(5), entry(6)], [entry(1)])
    assert members(view) == [2, 3, 4, 5]


def test_of_one_public_subnet_there_are_two() -> None:
    view = view_of()
    view.merge([entry(number, host=f"8.8.8.{number}") for number in (1, 2, 3)])
    assert members(view) == [1, 2]
    view.merge([entry(4, host="8.8.9.1")])
    assert members(view) == [1, 2, 4]
    view.drop(1)
    view.drop(2)
    view.merge([entry(number, host=f"8.8.8.{number}") for number in (3, 1, 2)])
    assert members(view) == [1, 3, 4]


def test_on_private_addresses_a_subnet_says_nothing() -> None:
    view = view_of()
    view.merge([entry(number, host=f"192.168.1.{number}") for number in (1, 2, 3)])
    assert members(view) == [1, 2, 3]


def test_to_drop_who_is_no_neighbour_changes_nothing() -> None:
    view = view_of(1)
    view.drop(2)
    view.drop(OWN)
    assert members(view) == [1]


# ------------------------------------------------------------------------------------- shuffling


def test_the_oldest_is_asked_and_gone_and_some_of_the_others_are_given() -> None:
    view = view_of()
    view.merge([entry(1, age=3), entry(2, age=5), entry(3), entry(4, age=5)])
    begun = view.begin()
    assert begun is not None
    oldest, given = begun
    assert oldest == contact(2)  # of two as old the one that came first
    assert members(view) == [1, 3, 4]
    assert len(given) == EXCHANGE - 1
    assert {each.contact.id: each.age for each in given}.items() <= {1: 4, 3: 1, 4: 6}.items()


def test_nobody_is_asked_by_who_knows_nobody() -> None:
    assert view_of().begin() is None


def test_with_each_shuffle_that_begins_all_are_older() -> None:
    view = view_of(1, 2, 3, 4)
    for age in (1, 2, 3):
        view.begin()
        assert set(ages(view).values()) == {age}
    view.merge([entry(5, age=7)])
    assert ages(view)[5] == 7
    view.begin()
    assert members(view) == [5] or 5 not in view


def test_an_age_on_its_way_is_127_at_most_and_the_oldest_is_still_the_oldest() -> None:
    view = view_of()
    view.merge([entry(1, age=AGE_MAX), entry(2, age=AGE_MAX - 2), entry(3)])
    for newcomer in (4, 5, 6):
        view.merge([entry(newcomer)])
        begun = view.begin()
        assert begun is not None
        assert max(ages(view).values()) <= AGE_MAX
        assert begun[0].id == {4: 1, 5: 2, 6: 3}[newcomer]


@given(st.integers(0, 12), st.integers(0, 30), st.randoms(use_true_random=False))
def test_a_sample_is_some_of_the_neighbours_each_once(
    known: int, count: int, random: Random
) -> None:
    view = View(OWN, Config(view_size=12, exchange=3), random)
    view.merge(map(entry, range(100, 100 + known)))
    found = [int(each.contact.id) for each in view.sample(count)]
    assert len(found) == len(set(found)) == min(count, known)
    assert set(found) <= set(members(view))


# ------------------------------------------------------------------------------------------ marks


@given(st.binary(min_size=2, max_size=2))
def test_any_mark_means_something_and_is_written_as_it_was_read(mark: bytes) -> None:
    read = entry_of(contact(1), mark)
    assert 0 <= read.age <= AGE_MAX
    assert read.mark == mark


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.booleans())
def test_what_a_mark_has_no_room_for_is_cut(age: int, degree: int, indexes: bool) -> None:
    sent = Entry(contact(1), age, degree, indexes)
    read = entry_of(contact(1), sent.mark)
    assert read == Entry(contact(1), min(age, 127), min(degree, 255), indexes)


# ------------------------------------------------------------------------------- many views at once


@attrs.define(eq=False)
class Shuffle:
    """One that has begun: the asked one may answer it, or be dead."""

    asked: int
    given: list[Entry]


HOSTS = [None, None, *(f"8.8.{subnet}.{host}" for subnet in (1, 2) for host in (1, 2, 3))]


class Life(RuleBasedStateMachine):
    """One view, whatever it is told and in whatever order, beside what it may hold at most."""

    @initialize(seed=st.integers(0, 9), size=st.integers(1, 6), data=st.data())
    def begins(self, seed: int, size: int, data: st.DataObject) -> None:
        self.size = size
        self.exchange = data.draw(st.integers(1, size))
        self.view = View(OWN, Config(view_size=size, exchange=self.exchange), Random(seed))
        self.begun: list[Shuffle] = []

    @rule(told=st.lists(st.tuples(st.integers(0, 31), st.integers(0, 127), st.sampled_from(HOSTS))))
    def is_told(self, told: list[tuple[int, int, str | None]]) -> None:
        """Without giving anything: nobody leaves."""
        before = members(self.view)
        self.view.merge([entry(node_id, age=age, host=host) for node_id, age, host in told])
        assert set(before) <= set(members(self.view))
        assert set(members(self.view)) <= {*before, *(node_id for node_id, _, _ in told)}

    @rule(count=st.integers(0, 8), told=st.lists(st.integers(0, 31), max_size=8))
    def is_asked(self, count: int, told: list[int]) -> None:
        given = self.view.sample(count)
        before = set(members(self.view))
        self.view.merge(map(entry, told), given)
        self._check_moves(before, told, given)

    @rule()
    def begins_a_shuffle(self) -> None:
        known = ages(self.view)
        begun = self.view.begin()
        if begun is None:
            assert not known
            return
        asked, given = begun
        assert known.pop(int(asked.id)) >= max(known.values(), default=0)
        assert len(given) == min(self.exchange - 1, len(known))
        assert {int(each.contact.id) for each in given} <= set(known)
        self.begun.append(Shuffle(int(asked.id), given))

    @rule(data=st.data(), told=st.lists(st.integers(0, 31), max_size=8))
    def is_answered(self, data: st.DataObject, told: list[int]) -> None:
        """Perhaps long after, and after others."""
        if not self.begun:
            return
        shuffle = self.begun.pop(data.draw(st.integers(0, len(self.begun) - 1)))
        before = set(members(self.view))
        self.view.merge(map(entry, told), shuffle.given)
        self._check_moves(before, told, shuffle.given)

    @rule(node_id=st.integers(0, 31))
    def somebody_is_dead(self, node_id: int) -> None:
        self.view.drop(node_id)
        assert node_id not in self.view

    def _check_moves(self, before: set[int], told: list[int], given: list[Entry]) -> None:
        """Only what was given leaves, and each that leaves for something that came."""
        after = set(members(self.view))
        gone, new = before - after, after - before
        assert gone <= {int(each.contact.id) for each in given}
        assert new <= set(told)
        assert len(gone) <= len(new)
        assert not gone or len(after) == self.size

    @invariant()
    def holds_what_a_view_may_hold(self) -> None:
        entries = self.view.entries()
        found = [int(each.contact.id) for each in entries]
        assert len(found) == len(set(found)) == len(self.view) <= self.size
        assert OWN not in found
        assert all(node_id in self.view for node_id in found)
        assert all(0 <= each.age <= AGE_MAX for each in entries)
        subnets = [each.contact.subnet for each in entries if each.contact.subnet is not None]
        assert all(subnets.count(subnet) <= 2 for subnet in subnets)
        assert self.view._subnets == {subnet: subnets.count(subnet) for subnet in subnets}


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=40)


@settings(max_examples=20)
@given(st.integers(3, 40), st.integers(0, 2**32))
def test_shuffles_among_many_keep_them_together(nodes: int, seed: int) -> None:
    """From a ring, which is the thinnest graph there is, on."""
    random = Random(seed)
    config = Config(view_size=8, exchange=4)
    views = {each: View(each, config, random) for each in range(nodes)}
    for each, view in views.items():
        view.merge(map(entry, [(each + 1) % nodes, (each + 2) % nodes]))
    for _ in range(40):
        for each, view in views.items():
            begun = view.begin()
            if begun is None:
                continue
            asked, given = begun
            other = views[asked.id]
            back = [one for one in other.sample(4) if one.contact.id != each]
            other.merge([entry(each), *given], back)
            view.merge(back, given)
    assert all(len(view) > 0 for view in views.values())
    assert component_of(0, views) == set(range(nodes))


def component_of(start: int, views: dict[int, View]) -> set[int]:
    links: dict[int, set[int]] = {each: set() for each in views}
    for each, view in views.items():
        for other in members(view):
            links[each].add(other)
            links[other].add(each)
    seen, rest = {start}, [start]
    while rest:
        new = links[rest.pop()] - seen
        seen |= new
        rest += new
    return seen
