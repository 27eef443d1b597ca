from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.config import Config
from dht.contacts import Contact
from dht.core.disjoint import DisjointLookup
from dht.core.lookup import Lookup, Spare
from dht.core.machine import FINISHED, Ask, Wait
from dht.core.outcomes import StepResult
from dht.keyspace import KEY_BITS
from tests.core.contacts_for_tests import (
    FixedPatience,
    Life,
    contact,
    contacts,
    ids,
    nearest,
    network,
    patiences,
    run_at_once,
)

OWN = 255
TARGET = 0


def disjoint_lookup(
    seeds: Iterable[int],
    *,
    disjoint: int = 2,
    target: int = TARGET,
    own_id: int = OWN,
    want: int = 2,
    opening: int = 2,
    alpha: int = 4,
    patience: FixedPatience | None = None,
    spare: Spare | None = None,
) -> DisjointLookup:
    return DisjointLookup(
        0.0,
        disjoint=disjoint,
        target=target,
        own_id=own_id,
        seeds=contacts(seeds),
        want=want,
        body=b"body",
        opening=opening,
        alpha=lambda: alpha,
        patience=patience or FixedPatience(),
        spare=spare,
    )


def asks(lookup: DisjointLookup, now: float = 0.0) -> list[int]:
    """Everybody that it wants to ask now."""
    asked = []
    while isinstance(step := lookup.next(now), Ask):
        asked.append(int(step.contact.id))
    return asked


def check_paths_share_nobody(lookup: DisjointLookup) -> None:
    """Every contact of a path was told by that path's own contacts, or is one of its seeds."""
    path_of = {packed: claim.path for packed, claim in lookup._claims.items()}
    for step in lookup.trace(9.0, "").steps:
        if step.told_by is not None:
            assert path_of[step.told_by.packed] is path_of[step.contact.packed]


# ---------------------------------------------------------------------------------- a few lines


def test_seeds_are_dealt_out_and_the_paths_take_turns() -> None:
    lookup = disjoint_lookup([1, 2, 3, 4, 5, 6], disjoint=3, opening=3)
    assert asks(lookup) == [1, 2, 3]
    assert [ids(path.known()) for path in lookup._paths] == [[1, 4], [2, 5], [3, 6]]


def test_without_seeds_it_is_finished() -> None:
    lookup = disjoint_lookup([])
    assert lookup.next(0.0) is FINISHED
    assert lookup.result() == []
    assert lookup.why_stopped() == "nobody is left to ask on 2 disjoint paths, 0 have answered"
    assert lookup.trace(0.0, "").hops == 0


def test_a_path_without_seeds_ends_and_the_others_go_on() -> None:
    lookup = disjoint_lookup([7], disjoint=3, want=1)
    assert asks(lookup) == [7]
    assert lookup.next(0.0) == Wait(None)
    lookup.on_reply(0.1, contact(7), [])
    assert lookup.next(0.1) is FINISHED
    assert lookup.why_stopped() == "the 1 closest have answered on 3 disjoint paths"


def test_spare_contacts_are_dealt_out_as_the_seeds_are() -> None:
    lookup = disjoint_lookup([1, 2], want=1, spare=lambda: contacts([1, 2, 3, 4, 5, 6]))
    assert asks(lookup) == [1, 2]
    lookup.on_failure(0.1, contact(1))
    lookup.on_failure(0.1, contact(2))
    assert asks(lookup, 0.1)[:2] == [3, 4]
    assert [ids(path.known()) for path in lookup._paths] == [[3, 5], [4, 6]]


def test_it_wakes_for_the_path_that_is_due_first() -> None:
    lookup = disjoint_lookup([1, 2, 3, 4])
    assert asks(lookup, 0.0) == [1, 2]
    lookup.on_reply(0.05, contact(1), [])
    assert asks(lookup, 0.05) == [3]
    assert lookup.next(0.05) == Wait(0.1)


def test_what_one_path_asked_another_only_learns_to_be_alive() -> None:
    lookup = disjoint_lookup([16, 17], want=1)
    assert asks(lookup) == [16, 17]
    lookup.on_reply(0.1, contact(16), contacts([1]))
    assert asks(lookup, 0.1) == [1]
    lookup.on_reply(0.1, contact(17), contacts([1]))
    assert asks(lookup, 0.1) == []  # the second path waits for the answer that the first gets
    lookup.on_reply(0.2, contact(1), contacts([2]))
    assert lookup.next(0.2) is FINISHED
    assert [ids(path.known()) for path in lookup._paths] == [[1, 2, 16], [1, 17]]
    assert ids(lookup.known()) == [1, 2, 16, 17]
    assert ids(lookup.result()) == [1]


def test_a_path_that_comes_later_learns_what_became_of_a_contact() -> None:
    lookup = disjoint_lookup([16, 17], want=2)
    assert asks(lookup) == [16, 17]
    lookup.on_reply(0.1, contact(16), contacts([1, 2]))
    assert asks(lookup, 0.1) == [1]
    lookup.on_reply(0.1, contact(1), [])
    assert asks(lookup, 0.1) == [2]
    lookup.on_failure(0.1, contact(2))
    lookup.on_reply(0.1, contact(17), contacts([1, 2]))
    assert lookup.next(0.1) is FINISHED
    assert ids(lookup.result()) == [1, 16]
    assert [ids(path.known()) for path in lookup._paths] == [[1, 16], [1, 17]]


def test_a_liar_leads_only_its_own_path_astray() -> None:
    """The nearest contact answers with colluders who hide the owner; one path never hears it."""
    lookup = disjoint_lookup([16, 17], want=2)
    assert asks(lookup) == [16, 17]
    lookup.on_reply(0.1, contact(16), contacts([8, 9]))
    lookup.on_reply(0.1, contact(17), contacts([1]))
    while asked := asks(lookup, 0.2):
        for each in asked:
            lookup.on_reply(0.2, contact(each), contacts([8, 9]) if each in (8, 9) else [])
    assert lookup.next(0.2) is FINISHED
    assert ids(lookup.result()) == [1, 8]
    check_paths_share_nobody(lookup)


def test_late_answers_count_and_refusals_make_room() -> None:
    lookup = disjoint_lookup([1, 2, 3], want=1)
    assert asks(lookup) == [1, 2]
    lookup.on_failure(0.1, contact(1))
    lookup.on_failure(0.1, contact(1))
    assert asks(lookup, 0.1) == [3]
    lookup.on_reply(0.2, contact(2), [])
    lookup.on_reply(0.2, contact(1), [])
    assert lookup.next(0.2) is FINISHED
    assert ids(lookup.result()) == [1]
    assert lookup.answered(1)
    lookup.on_failure(0.3, contact(1))
    lookup.on_reply(0.3, contact(1), [])
    assert not lookup.answered(1)
    assert ids(lookup.result()) == [2]
    lookup.on_failure(0.3, contact(99))
    lookup.on_reply(0.3, contact(99), contacts([1]))
    assert not lookup.answered(99)


def test_widening_sends_every_path_on() -> None:
    lookup = disjoint_lookup([1, 2, 3, 4], want=1)
    for each in asks(lookup):
        lookup.on_reply(0.1, contact(each), [])
    assert lookup.next(0.1) is FINISHED
    lookup.widen(2)
    assert asks(lookup, 0.1) == [3, 4]


def test_the_trace_is_one_for_all_paths() -> None:
    lookup = disjoint_lookup([16, 17], want=1)
    assert asks(lookup) == [16, 17]
    lookup.on_retry(contact(17))
    lookup.on_reply(0.1, contact(16), contacts([17, 8]))
    assert asks(lookup, 0.1) == [8]
    lookup.on_reply(0.2, contact(17), contacts([8, OWN]))
    lookup.on_reply(0.3, contact(8), contacts([1]))
    assert asks(lookup, 0.3) == [1]
    trace = lookup.trace(0.4, "enough")
    assert ids(step.contact for step in trace.steps) == [16, 17, 8, 1]
    assert [step.depth for step in trace.steps] == [0, 0, 1, 2]
    assert (trace.messages, trace.nodes, trace.duplicates, trace.hops) == (5, 4, 2, 1)
    assert trace.elapsed == pytest.approx(0.4)
    assert trace.steps[-1].result is StepResult.PENDING
    held = lookup.trace(0.4, "found", holders=[contact(17)])
    assert held.hops == 0
    assert [step.result for step in held.steps].count(StepResult.RECORD) == 1
    assert lookup.depth_of(contact(99)) == 0


def test_the_depth_of_one_not_asked_is_the_least_of_any_path() -> None:
    lookup = disjoint_lookup([16, 17], want=2)
    assert asks(lookup) == [16, 17]
    lookup.on_reply(0.1, contact(16), contacts([64]))
    assert lookup.depth_of(contact(64)) == 1


# ---------------------------------------------------------------------------------- for all inputs


@given(disjoint=st.integers(1, 5), alpha=st.integers(1, 10), patience=patiences(), data=st.data())
def test_it_ends_whatever_happens_and_no_contact_is_on_two_paths(
    disjoint: int, alpha: int, patience: FixedPatience, data: st.DataObject
) -> None:
    lookup = disjoint_lookup(
        data.draw(st.lists(st.integers(0, 255), unique=True, max_size=20)),
        disjoint=disjoint,
        want=data.draw(st.integers(1, 8)),
        opening=data.draw(st.integers(1, 4)),
        alpha=alpha,
        patience=patience,
    )
    each_path = -(-alpha // disjoint)
    Life(lookup, patience, own_id=OWN, alpha=each_path * disjoint).live(data)
    check_paths_share_nobody(lookup)
    trace = lookup.trace(9.0, "the end")
    assert len(trace.steps) == trace.messages


@given(st.data())
def test_one_path_is_a_lookup(data: st.DataObject) -> None:
    node_ids = data.draw(st.lists(st.integers(0, 254), unique=True, min_size=1, max_size=40))
    dead = data.draw(st.lists(st.sampled_from(node_ids), unique=True))
    net = network(node_ids, dead=dead, config=Config(k=4, table_whole_max=0))
    seeds = data.draw(st.lists(st.sampled_from(node_ids), min_size=1, unique=True))
    plain = Lookup(
        0.0,
        target=TARGET,
        own_id=OWN,
        seeds=contacts(seeds),
        want=2,
        body=b"body",
        opening=2,
        alpha=lambda: 4,
        patience=FixedPatience(),
    )
    wrapped = disjoint_lookup(seeds, disjoint=1)
    asked: list[Contact] = run_at_once(wrapped, net)
    assert asked == run_at_once(plain, net)
    assert wrapped.result() == plain.result()
    assert wrapped.trace(1.0, "") == plain.trace(1.0, "")


def test_in_a_large_network_four_paths_find_the_8_closest_exactly() -> None:
    random = Random(12)
    node_ids = [random.getrandbits(KEY_BITS) for _ in range(300)]
    net = network(node_ids, bits=KEY_BITS, dead=node_ids[::4], seed=2)
    issuer = net.living()[0]
    for _ in range(20):
        target = random.getrandbits(KEY_BITS)
        lookup = disjoint_lookup(
            ids(net.tables[issuer].closest(target, 20)),
            disjoint=4,
            target=target,
            own_id=issuer,
            want=8,
        )
        run_at_once(lookup, net)
        living = [each for each in net.living() if each != issuer]
        assert ids(lookup.result()) == nearest(living, target, 8)
        check_paths_share_nobody(lookup)
