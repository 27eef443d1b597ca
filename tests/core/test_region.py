"""Where owners are to be expected: which places are looked up there, and who of many is asked."""

from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.contacts import Contact
from dht.core import region
from dht.core.density import DensityGauge, Reading
from dht.core.lookup import Lookup
from dht.core.machine import FINISHED
from dht.core.outcomes import GetOutcome, PutOutcome, Refusal, Trace
from dht.core.region import (
    PLENTY,
    Detour,
    Sweep,
    merged_get,
    merged_put,
    random_places,
    seen_closer,
    spread_out,
)
from dht.errors import DHTError, NoPeers, QuorumNotReached, VersionConflict
from dht.keyspace import Key
from dht.records import Kind
from tests.core.contacts_for_tests import FixedPatience, contact, ids, network, run_at_once
from tests.core.pair import Pair

KEY = 0
EDGE = 1000
REPLICAS = 8


@given(
    key=st.integers(0, 2**16),
    edge=st.integers(8, 2**16),
    count=st.integers(1, 8),
    seed=st.randoms(),
)
def test_one_place_is_drawn_in_each_part_of_the_region(
    key: int, edge: int, count: int, seed: Random
) -> None:
    places = random_places(key, edge, count, seed)
    part = edge // count
    assert [(place ^ key) // part for place in places] == list(range(count))
    assert all(place ^ key < edge for place in places)


def test_the_places_are_not_to_be_foreseen() -> None:
    drawn = {tuple(random_places(KEY, 2**40, 4, Random(seed))) for seed in range(50)}
    assert len(drawn) == 50


def test_a_region_of_a_single_place_is_no_error() -> None:
    assert random_places(KEY, 0, 4, Random(1)) == [0, 1, 2, 3]


@given(st.sets(st.integers(1, 5000), max_size=120))
def test_it_is_at_most_three_times_r_and_nearest_first(node_ids: set[int]) -> None:
    chosen = ids(spread_out(map(contact, node_ids), KEY, EDGE, replicas=REPLICAS))
    inside = [node_id for node_id in node_ids if node_id <= EDGE]
    assert chosen == sorted(chosen)
    assert len(set(chosen)) == len(chosen)
    if len(inside) < REPLICAS:
        assert chosen == sorted(node_ids)[:REPLICAS]
    else:
        assert len(chosen) == min(len(inside), PLENTY * REPLICAS)
        assert set(chosen) <= set(inside)


def test_a_contact_that_was_named_twice_is_asked_once() -> None:
    twice = [contact(number) for number in range(1, 10)] * 2
    assert ids(spread_out(twice, KEY, EDGE, replicas=REPLICAS)) == list(range(1, 10))


def test_one_crowded_end_of_the_region_does_not_take_it_all() -> None:
    """Forty Sybils nearer than everybody, in as many subnets, and the owners in slices behind."""
    sybils = [contact(number, f"7.{number}.0.1") for number in range(1, 41)]
    owners = [contact(130 + 110 * number, f"9.{number}.0.1") for number in range(7)]
    chosen = spread_out([*sybils, *owners], KEY, EDGE, replicas=REPLICAS)
    assert set(ids(owners)) <= set(ids(chosen))


def test_one_subnet_does_not_take_it_all() -> None:
    """Sybils all over the region, cheap because they share ten subnets."""
    sybils = [contact(1 + 24 * number, f"7.{number % 10}.0.{number + 1}") for number in range(40)]
    owners = [contact(100 + 110 * number, f"9.{number}.0.1") for number in range(8)]
    chosen = spread_out([*sybils, *owners], KEY, EDGE, replicas=REPLICAS)
    assert set(ids(owners)) <= set(ids(chosen))


def test_on_local_addresses_a_subnet_says_nothing() -> None:
    chosen = spread_out([contact(number) for number in range(1, 200)], KEY, EDGE, replicas=2)
    assert len(chosen) == PLENTY * 2


# ---------------------------------------------------------------------------------------- a detour


def detour_of(seeds: list[int], *, target: int, radius: int) -> Detour:
    lookup = Lookup(
        0.0,
        target=target,
        own_id=2**20,
        seeds=[contact(seed) for seed in seeds],
        want=8,
        body=b"body",
        alpha=lambda: 3,
        opening=3,
        patience=FixedPatience(),
    )
    return Detour(lookup, key=KEY, radius=radius)


def test_a_detour_finds_the_owners_though_the_crowd_is_nearer_and_names_itself() -> None:
    crowd = list(range(1, 41))
    owners = [300 + number for number in range(8)]
    detour = detour_of([900, 950], target=302, radius=50)

    def answer(peer: Contact) -> list[Contact]:
        assert peer.id not in crowd
        return [contact(number) for number in [*crowd, *owners]]

    run_at_once(detour, network([]), answer=answer)
    assert set(ids(detour.result())) == set(owners)
    assert set(crowd[:20]) <= set(ids(detour.known()))  # remembered for the sweep


def test_of_a_crowd_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region, "ASIDE_MAX", 5)
    detour = detour_of([900], target=302, radius=50)
    detour.on_reply(0.0, contact(900), [contact(number) for number in range(1, 20)])
    assert len([each for each in detour.known() if each.id < 50]) == 5


# ----------------------------------------------------------------------------------------- a sweep


def sweep_of(count: int) -> Sweep:
    return Sweep(
        0.0,
        target=KEY,
        own_id=2**20,
        contacts=[contact(number) for number in range(1, count + 1)],
        body=b"body",
        width=4,
        patience=FixedPatience(),
    )


def test_a_sweep_asks_everybody_once_and_nobody_whom_they_name() -> None:
    """Whoever surrounds a key would have us ask his own."""
    sweep = sweep_of(10)
    asked = run_at_once(sweep, network([]), answer=lambda _peer: [contact(99), contact(98)])
    assert sorted(ids(asked)) == list(range(1, 11))
    assert ids(sweep.result()) == list(range(1, 11))
    assert not {98, 99} & set(ids(sweep.known()))
    assert "10 nodes" in sweep.why_stopped()


def test_a_sweep_over_the_silent_ends() -> None:
    sweep = sweep_of(5)
    assert len(run_at_once(sweep, network([]))) == 5
    assert sweep.result() == []
    sweep.widen(100)  # there is nobody else
    assert sweep.next(10.0) is FINISHED


def test_a_sweep_of_nobody_is_over_at_once() -> None:
    assert sweep_of(0).next(0.0) is FINISHED


# --------------------------------------------------------- what two tries come to together


PLACE = Key(0)


@attrs.frozen
class Ended:
    """A get or a put at its end."""

    outcome: GetOutcome | PutOutcome | None = None
    error: DHTError | None = None
    key: Key = PLACE


TRACE = Trace(
    target=PLACE, hops=0, messages=99, nodes=9, duplicates=0, elapsed=1.0, steps=(), stopped="end"
)
ONE, TWO, THREE = (contact(number) for number in (1, 2, 3))


def put_outcome(*stored: Contact, version: int = 7, quorum: int = 2, **more: Any) -> PutOutcome:
    shown: dict[str, Any] = {"refused": (), "silent": (), "pending": ()} | more
    return PutOutcome(
        key=PLACE, version=version, stored=stored, quorum=quorum, trace=TRACE, density=5.0, **shown
    )


def get_outcome(*empty: Contact) -> GetOutcome:
    return GetOutcome(
        key=PLACE, record=None, deleted=None, agreed=(), stale=(), empty=empty, trace=TRACE
    )


def of_put(first: Ended, second: Ended) -> tuple[PutOutcome | None, DHTError | None]:
    one: Any = first
    two: Any = second
    return merged_put(one, two, trace=TRACE, density=5.0)


def of_get(first: Ended, second: Ended) -> tuple[GetOutcome | None, DHTError | None]:
    one: Any = first
    two: Any = second
    return merged_get(one, two, trace=TRACE, density=5.0)


def test_who_stored_in_either_try_has_stored_and_together_they_reach_the_quorum() -> None:
    refusal = Refusal(contact=TWO, reason="full")
    few = put_outcome(TWO, silent=(ONE,))
    first = Ended(error=QuorumNotReached("too few", few))
    outcome, error = of_put(first, Ended(put_outcome(ONE, refused=(refusal,), pending=(THREE,))))
    assert error is None
    assert outcome is not None
    assert (outcome.stored, outcome.refused, outcome.silent) == ((ONE, TWO), (), ())
    assert outcome.pending == (THREE,)
    assert (outcome.alarmed, outcome.density) == (True, 5.0)


def test_who_stored_another_version_does_not_count() -> None:
    first = Ended(put_outcome(ONE, TWO, version=6))
    outcome, error = of_put(first, Ended(put_outcome(THREE, version=7)))
    assert outcome is None
    assert isinstance(error, QuorumNotReached)
    assert error.outcome.stored == (THREE,)


def test_where_nobody_is_left_to_ask_the_first_try_of_a_put_stands() -> None:
    nobody = Ended(error=NoPeers("nobody answered"))
    outcome, error = of_put(Ended(put_outcome(ONE, TWO)), nobody)
    assert error is None
    assert outcome is not None
    assert outcome.stored == (ONE, TWO)
    outcome, error = of_put(Ended(error=QuorumNotReached("", put_outcome(ONE))), nobody)
    assert outcome is None
    assert isinstance(error, QuorumNotReached)
    assert error.outcome.stored == (ONE,)


def test_a_put_of_a_key_that_only_seemed_crowded_ends_as_it_would_have() -> None:
    shown: dict[str, Any] = {"trace": TRACE, "density": 1.0}
    one: Any = Ended(put_outcome(ONE, TWO))
    outcome, error = seen_closer(one, **shown)
    assert error is None
    assert outcome is not None
    assert (outcome.stored, outcome.density, outcome.alarmed) == ((ONE, TWO), 1.0, False)
    one = Ended(error=QuorumNotReached("1 of 2 owners stored it", put_outcome(ONE)))
    outcome, error = seen_closer(one, **shown)
    assert outcome is None
    assert isinstance(error, QuorumNotReached)
    assert str(error) == "1 of 2 owners stored it"
    assert (error.outcome.stored, error.outcome.density) == ((ONE,), 1.0)


def test_a_conflict_in_the_region_is_one() -> None:
    conflict = VersionConflict("held", put_outcome(ONE), None)
    outcome, error = of_put(Ended(put_outcome(ONE, TWO)), Ended(error=conflict))
    assert outcome is None
    assert isinstance(error, VersionConflict)
    assert error.outcome.stored == (ONE, TWO)


def test_a_get_that_misses_its_quorum_says_who_had_nothing_in_either_try() -> None:
    missed = QuorumNotReached("one holds it", get_outcome(TWO))
    outcome, error = of_get(Ended(get_outcome(ONE)), Ended(error=missed))
    assert outcome is None
    assert isinstance(error, QuorumNotReached)
    assert error.outcome.empty == (ONE, TWO)
    assert error.outcome.alarmed


def test_where_nobody_answers_in_the_region_the_first_try_of_a_get_stands() -> None:
    outcome, error = of_get(Ended(get_outcome(ONE)), Ended(error=NoPeers("nobody answered")))
    assert error is None
    assert outcome is not None
    assert outcome.empty == (ONE,)


def test_where_nobody_answers_at_all_there_is_no_region_to_look_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(DensityGauge, "read", lambda *_: Reading(9.0, alarmed=True))
    net = Pair()
    net.crash(net.bob)
    end = net.run(net.alice, lambda engine, now: engine.start_get(now, Kind.PLAIN, PLACE))
    assert isinstance(end.error, NoPeers)
