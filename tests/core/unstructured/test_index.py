"""What an index node keeps of what holders say: for how long, of whom, and how much at most."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dht.contacts import Contact
from dht.core.storage import quota_source
from dht.core.unstructured import index as under_test
from dht.core.unstructured.index import (
    ENTRIES_MAX,
    ENTRIES_PER_SOURCE,
    ENTRY_LIFE_MAX_S,
    HOLDERS_PER_KEY,
    HOLDERS_PER_SOURCE,
    Index,
)
from tests.core.contacts_for_tests import contact, ids

KEY, OTHER = (1, 0b0001), (1, 0b0010)


def index(seed: int = 1) -> Index:
    return Index(Random(seed))


def told(kept: Index, now: float = 0.0, slot: tuple[int, int] = KEY) -> list[int]:
    return sorted(ids(kept.holders(now, slot)))


def assert_empty(kept: Index) -> None:
    assert (len(kept), kept._by_source, len(kept._holders)) == (0, {}, 0)


# --------------------------------------------------------------------------------- what is said


def test_who_says_that_it_holds_something_is_told_to_who_asks() -> None:
    kept = index()
    assert kept.announce(0.0, contact(1), KEY, 60.0)
    assert kept.announce(0.0, contact(2), KEY, 60.0)
    assert kept.announce(0.0, contact(3), OTHER, 60.0)
    assert told(kept) == [1, 2]
    assert told(kept, slot=OTHER) == [3]
    assert told(kept, slot=(2, KEY[1])) == []
    assert len(kept) == 3


def test_an_entry_ends_by_its_time() -> None:
    kept = index()
    kept.announce(0.0, contact(1), KEY, 60.0)
    assert told(kept, 59.9) == [1]
    assert told(kept, 60.0) == []
    assert_empty(kept)


def test_no_entry_lives_longer_than_a_lease_however_long_its_holder_asks_for() -> None:
    kept = index()
    kept.announce(0.0, contact(1), KEY, 10 * ENTRY_LIFE_MAX_S)
    assert told(kept, ENTRY_LIFE_MAX_S - 0.1) == [1]
    assert told(kept, ENTRY_LIFE_MAX_S) == []


def test_said_again_an_entry_lives_on_at_the_address_it_was_said_from() -> None:
    kept = index()
    kept.announce(0.0, contact(1, "10.1.1.1"), KEY, 60.0)
    kept.announce(50.0, contact(1, "10.2.2.2"), KEY, 60.0)
    assert kept.holders(100.0, KEY) == [contact(1, "10.2.2.2")]
    assert len(kept) == 1


def test_zero_seconds_withdraw_it() -> None:
    kept = index()
    kept.announce(0.0, contact(1), KEY, 60.0)
    kept.announce(0.0, contact(2), KEY, 60.0)
    assert kept.announce(1.0, contact(1), KEY, 0)
    assert told(kept, 1.0) == [2]
    assert kept.announce(1.0, contact(1), KEY, 0), "what is not there can be withdrawn too"
    assert kept.announce(1.0, contact(2), KEY, 0)
    assert_empty(kept)


def test_nobody_is_always_told_first() -> None:
    kept = index()
    for number in range(HOLDERS_PER_KEY):
        kept.announce(0.0, contact(number), KEY, 60.0)
    first = {kept.holders(0.0, KEY)[0].id for _ in range(200)}
    assert len(first) == HOLDERS_PER_KEY


# ---------------------------------------------------------------------------------------- limits


def test_so_many_holders_of_one_key_are_kept_and_who_is_there_may_stay() -> None:
    kept = index()
    said = [kept.announce(0.0, contact(each), KEY, 60.0) for each in range(HOLDERS_PER_KEY + 2)]
    assert said == [True] * HOLDERS_PER_KEY + [False] * 2
    assert kept.announce(0.0, contact(0), KEY, 60.0)
    assert kept.announce(0.0, contact(99), OTHER, 60.0)
    kept.announce(0.0, contact(0), KEY, 0)
    assert kept.announce(0.0, contact(99), KEY, 60.0)


def test_who_comes_when_the_time_of_others_is_over_finds_room() -> None:
    kept = index()
    for each in range(HOLDERS_PER_KEY):
        kept.announce(0.0, contact(each), KEY, 10.0)
    assert not kept.announce(9.9, contact(99), KEY, 60.0)
    assert kept.announce(10.0, contact(99), KEY, 60.0)
    assert told(kept, 10.0) == [99]
    assert len(kept) == 1


def test_of_one_subnet_two_are_known_to_hold_a_key() -> None:
    kept = index()
    said = [
        kept.announce(0.0, contact(number, f"8.8.8.{number}"), KEY, 60.0) for number in range(1, 5)
    ]
    assert said == [True, True, False, False]
    assert kept.announce(0.0, contact(5, "8.8.9.5"), KEY, 60.0)
    assert kept.announce(0.0, contact(3, "8.8.8.3"), OTHER, 60.0)
    kept.announce(0.0, contact(1, "8.8.8.1"), KEY, 0)
    assert kept.announce(0.0, contact(4, "8.8.8.4"), KEY, 60.0)
    assert told(kept) == [2, 4, 5]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Index:
    """One of 64 entries, of which a source may have 4."""
    monkeypatch.setattr(under_test, "ENTRIES_MAX", 64)
    return index()


def test_one_subnet_has_its_share_and_no_more(small: Index) -> None:
    def said(number: int, host: str) -> bool:
        return small.announce(0.0, contact(number, host), (1, number), 60.0)

    assert [said(number, f"8.8.8.{number}") for number in range(1, 7)] == [True] * 4 + [False] * 2
    assert said(7, "8.8.9.7")
    small.announce(0.0, contact(1, "8.8.8.1"), (1, 1), 0)
    assert said(8, "8.8.8.8")


def test_on_private_addresses_a_key_has_its_share(small: Index) -> None:
    said = [small.announce(0.0, contact(1), (1, number), 60.0) for number in range(6)]
    assert said == [True] * 4 + [False] * 2
    assert small.announce(0.0, contact(2), (1, 0), 60.0)


def full(small: Index, lease_s: float = 60.0) -> None:
    for number in range(64):
        assert small.announce(0.0, contact(number), (1, number), lease_s)


def test_in_all_so_many_are_kept(small: Index) -> None:
    full(small)
    assert not small.announce(0.0, contact(99), (1, 99), 60.0)
    assert small.announce(0.0, contact(5), (1, 5), 60.0), "what is kept may be said again"
    assert len(small) == 64


def test_in_a_full_index_what_is_over_makes_room_a_few_keys_at_a_time(small: Index) -> None:
    full(small, lease_s=10.0)
    assert small.announce(10.0, contact(99), (1, 99), 60.0)
    assert len(small) == 64, "no more was looked at than had to be"
    for number in range(100, 150):
        assert small.announce(10.0, contact(number), (1, number), 60.0)
    assert len(small) == 64


def test_what_is_over_is_met_wherever_it_lies(small: Index) -> None:
    for number in range(60):
        small.announce(0.0, contact(number), (1, number), 600.0)
    for number in range(60, 64):
        small.announce(0.0, contact(number), (1, number), 10.0)
    tries = [small.announce(20.0, contact(99), (1, 99), 60.0) for _ in range(9)]
    assert True in tries


def test_the_share_of_a_source_is_whole_entries() -> None:
    assert ENTRIES_MAX * ENTRIES_PER_SOURCE == 4096


# --------------------------------------------------------------------------------- beside a model


HOSTS = [None, None, "8.8.8.1", "8.8.8.2", "8.8.9.1"]


class Announced(RuleBasedStateMachine):
    """Whatever is said by whom: what is told is what a dictionary says, and the counters agree."""

    @initialize(seed=st.integers(0, 9))
    def begins(self, seed: int) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(under_test, "ENTRIES_MAX", 48)
        self.patch.setattr(under_test, "HOLDERS_PER_KEY", 4)
        self.index = index(seed)
        self.now = 0.0
        self.model: dict[tuple[int, int], dict[int, tuple[Contact, float]]] = {}

    def teardown(self) -> None:
        self.patch.undo()

    @rule(
        node_id=st.integers(0, 15),
        host=st.sampled_from(HOSTS),
        slot=st.tuples(st.integers(1, 2), st.integers(0, 7)),
        lease_s=st.integers(0, 100) | st.just(10**9),
    )
    def is_said(self, node_id: int, host: str | None, slot: tuple[int, int], lease_s: int) -> None:
        holder, until = contact(node_id, host), self.now + min(lease_s, ENTRY_LIFE_MAX_S)
        taken = self.index.announce(self.now, holder, slot, lease_s)
        of_slot = self._living(slot)
        if not lease_s:
            assert taken
            of_slot.pop(node_id, None)
        elif taken:
            of_slot[node_id] = (holder, until)
        else:
            source = quota_source(holder.address, holder.public_key)
            assert node_id not in of_slot
            same = [
                each for each in self.index._holders.get(slot, {}).values() if each.source == source
            ]
            assert (
                len(of_slot) == 4
                or len(same) == HOLDERS_PER_SOURCE
                or self.index._by_source.get(source, 0) == 3
                or len(self.index) == 48
            )
        self.model[slot] = of_slot

    def _living(self, slot: tuple[int, int]) -> dict[int, tuple[Contact, float]]:
        known = self.model.get(slot, {})
        return {each: held for each, held in known.items() if held[1] > self.now}

    @rule(seconds=st.integers(1, 60))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(slot=st.tuples(st.integers(1, 2), st.integers(0, 7)))
    def is_asked(self, slot: tuple[int, int]) -> None:
        found = self.index.holders(self.now, slot)
        living = [holder for holder, _ in self._living(slot).values()]
        assert sorted(found, key=lambda each: each.packed) == sorted(
            living, key=lambda each: each.packed
        )

    @invariant()
    def counters_agree(self) -> None:
        entries = [each for of_slot in self.index._holders.values() for each in of_slot.values()]
        sources = [each.source for each in entries]
        assert len(self.index) == len(entries) <= 48
        assert self.index._by_source == {each: sources.count(each) for each in sources}
        assert all(sources.count(each) <= 3 for each in sources)
        assert all(
            sum(each.source == one.source for each in of_slot.values()) <= HOLDERS_PER_SOURCE
            for of_slot in self.index._holders.values()
            for one in of_slot.values()
        )
        assert all(0 < len(of_slot) <= 4 for of_slot in self.index._holders.values())


TestAnnounced = Announced.TestCase
TestAnnounced.settings = settings(max_examples=40)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 99)), max_size=30))
def test_when_all_have_been_asked_for_nothing_is_left(
    said: list[tuple[int, int, int]],
) -> None:
    kept = index()
    for node_id, key, lease_s in said:
        kept.announce(0.0, contact(node_id), (1, key), lease_s)
    assert not any(kept.holders(100.0, (1, key)) for key in range(10))
    assert_empty(kept)
