import heapq
import itertools
import math
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.config import Config
from dht.contacts import Contact
from dht.core.lookup import ASKED_MAX, CANDIDATES_MAX, NAMED_MAX, Lookup, Patience, Spare
from dht.core.machine import FINISHED, Ask, Finished, Wait
from dht.core.outcomes import StepResult
from dht.keyspace import KEY_BITS
from tests.core.contacts_for_tests import (
    FixedPatience,
    Life,
    Network,
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


def lookup_of(
    seeds: Iterable[int] = (),
    *,
    target: int = TARGET,
    own_id: int = OWN,
    want: int = 2,
    opening: int = 1,
    alpha: int = 3,
    patience: Patience | None = None,
    spare: Spare | None = None,
) -> Lookup:
    return Lookup(
        0.0,
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


def asks(lookup: Lookup, now: float = 0.0) -> list[int]:
    """Everybody that it wants to ask now."""
    asked = []
    while isinstance(step := lookup.next(now), Ask):
        asked.append(int(step.contact.id))
    return asked


# ------------------------------------------------------------------------------- in a few lines


def test_an_ask_carries_the_body_and_the_nearest_contact() -> None:
    lookup = lookup_of([4, 1, 2])
    assert lookup.next(0.0) == Ask(contact(1), b"body")


def test_a_lookup_without_seeds_is_finished() -> None:
    lookup = lookup_of([])
    assert lookup.next(0.0) is FINISHED
    assert lookup.result() == []
    assert lookup.why_stopped() == "nobody is left to ask, 0 have answered"


def test_it_ends_when_the_nearest_have_answered() -> None:
    lookup = lookup_of([4, 8, 16], want=2, opening=3)
    assert asks(lookup) == [4, 8]
    lookup.on_reply(0.1, contact(4), contacts([2]))
    lookup.on_reply(0.1, contact(8), contacts([4]))
    assert asks(lookup, 0.1) == [2]
    lookup.on_reply(0.2, contact(2), contacts([4, 8]))
    assert lookup.next(0.2) is FINISHED
    assert ids(lookup.result()) == [2, 4]
    assert lookup.why_stopped() == "the 2 closest have answered"
    assert [int(each.id) for each in lookup.known()] == [2, 4, 8, 16]
    assert lookup.answered(2)
    assert not lookup.answered(16)


def test_it_never_asks_itself() -> None:
    lookup = lookup_of([OWN, 4], target=OWN)
    assert asks(lookup) == [4]
    lookup.on_reply(0.1, contact(4), contacts([OWN, 4]))
    assert lookup.next(0.1) is FINISHED
    assert not lookup.knows(OWN)


def test_an_answer_of_one_who_was_not_asked_changes_nothing() -> None:
    lookup = lookup_of([4, 8])
    lookup.on_reply(0.0, contact(8), contacts([1]))
    lookup.on_failure(0.0, contact(4))
    assert ids(lookup.known()) == [4, 8]


# ------------------------------------------------------------------------------ how many at once


def test_the_next_joins_when_a_peer_is_later_than_usual() -> None:
    lookup = lookup_of([1, 2, 3], patience=FixedPatience(join=0.1, free=10.0))
    assert asks(lookup, 0.0) == [1]
    assert lookup.next(0.0) == Wait(0.1)
    assert asks(lookup, 0.09) == []
    assert asks(lookup, 0.1) == [2]


def test_the_next_joins_on_failure() -> None:
    lookup = lookup_of([1, 2, 3, 4])
    assert asks(lookup, 0.0) == [1]
    lookup.on_failure(0.05, contact(1))
    assert asks(lookup, 0.05) == [2, 3]


def test_no_more_than_alpha_hold_a_slot() -> None:
    lookup = lookup_of(range(1, 20), want=10, opening=9, alpha=3)
    assert asks(lookup) == [1, 2, 3]


def test_a_slow_one_gives_its_slot_to_the_next_and_is_still_listened_to() -> None:
    lookup = lookup_of([1, 2, 3], want=2, opening=1, alpha=1)
    assert asks(lookup, 0.0) == [1]
    assert asks(lookup, 0.1) == []  # alpha leaves no room to join
    assert lookup.next(0.1) == Wait(0.2)
    assert asks(lookup, 0.2) == [2]
    lookup.on_reply(0.25, contact(2), [])
    assert asks(lookup, 0.25) == [3]  # the two nearest that are not slow
    lookup.on_reply(0.3, contact(3), [])
    assert lookup.next(0.3) == Wait(None)  # 1 is among the two nearest: it blocks the end
    lookup.on_reply(0.9, contact(1), [])
    assert lookup.next(0.9) is FINISHED
    assert ids(lookup.result()) == [1, 2]


def test_a_slow_one_beyond_the_nearest_does_not_hold_up_the_end() -> None:
    lookup = lookup_of([7], want=1)
    assert asks(lookup, 0.0) == [7]
    lookup = lookup_of([6, 7], want=1, opening=2)
    assert asks(lookup, 0.0) == [6]
    assert asks(lookup, 0.2) == [7]
    lookup.on_reply(0.3, contact(7), contacts([1]))
    assert asks(lookup, 0.3) == [1]
    lookup.on_reply(0.4, contact(1), [])
    assert lookup.next(0.4) is FINISHED


def test_while_there_is_nobody_else_to_ask_only_an_answer_moves_it_on() -> None:
    lookup = lookup_of([1])
    assert asks(lookup) == [1]
    assert lookup.next(0.0) == Wait(None)


def test_only_the_nearest_are_asked() -> None:
    """The third is no owner while the first two may still answer in time."""
    lookup = lookup_of([1, 2, 3], want=2, opening=3)
    assert asks(lookup) == [1, 2]


# ----------------------------------------------------------------------------- late, dead, refused


def test_late_answers_count() -> None:
    lookup = lookup_of([1, 2], want=1)
    assert asks(lookup, 0.0) == [1]
    lookup.on_failure(1.8, contact(1))
    assert asks(lookup, 1.8) == [2]
    lookup.on_reply(1.9, contact(1), contacts([3]))
    assert lookup.next(1.9) is FINISHED
    assert ids(lookup.result()) == [1]
    assert lookup.knows(3)


def test_the_next_nearest_takes_the_place_of_an_owner_that_refused() -> None:
    lookup = lookup_of([1, 2, 3], want=2, opening=2)
    assert asks(lookup) == [1, 2]
    lookup.on_reply(0.1, contact(1), [])
    lookup.on_reply(0.1, contact(2), [])
    assert lookup.next(0.1) is FINISHED
    lookup.on_failure(0.2, contact(1))
    assert not lookup.answered(1)
    assert asks(lookup, 0.2) == [3]
    lookup.on_reply(0.3, contact(3), [])
    lookup.on_reply(0.3, contact(1), [])  # it answers once more: that takes no refusal back
    assert ids(lookup.result()) == [2, 3]


def test_a_lookup_that_was_widened_goes_on_at_full_width() -> None:
    lookup = lookup_of([1, 2, 3, 4, 5], want=1)
    assert asks(lookup) == [1]
    lookup.on_reply(0.1, contact(1), [])
    assert lookup.next(0.1) is FINISHED
    lookup.widen(5)
    assert asks(lookup, 0.1) == [2, 3, 4]


def test_a_wrong_address_does_not_hide_an_honest_node() -> None:
    """A liar names an honest node at an address where nobody answers."""
    wrong = contact(1, "10.6.6.6")
    lookup = lookup_of([8, 9], want=1, opening=2)
    assert asks(lookup, 0.0) == [8]
    assert asks(lookup, 0.1) == []
    assert asks(lookup, 0.2) == [9]
    lookup.on_reply(0.2, contact(8), [wrong])
    assert lookup.next(0.2) == Ask(wrong, b"body")
    lookup.on_reply(0.3, contact(9), [contact(1)])
    lookup.on_failure(1.0, wrong)
    assert lookup.next(1.0) == Ask(contact(1), b"body")
    lookup.on_reply(1.1, contact(1), [])
    assert lookup.next(1.1) is FINISHED
    assert lookup.result() == [contact(1)]


def test_the_right_address_may_be_named_after_the_wrong_one_failed() -> None:
    wrong = contact(1, "10.6.6.6")
    lookup = lookup_of([8, 9], want=2, opening=2)
    assert asks(lookup, 0.0) == [8, 9]
    lookup.on_reply(0.0, contact(8), [wrong])
    assert asks(lookup, 0.0) == [1]
    lookup.on_failure(1.0, wrong)
    lookup.on_reply(1.0, contact(9), [wrong, contact(1)])
    assert lookup.next(1.0) == Ask(contact(1), b"body")
    assert asks(lookup, 1.0) == []


def test_an_answer_from_the_first_address_counts_while_the_second_is_asked() -> None:
    first = contact(1, "10.6.6.6")
    lookup = lookup_of([8, 9], want=1, opening=2)
    assert asks(lookup, 0.0) == [8]
    assert asks(lookup, 0.2) == [9]
    lookup.on_reply(0.2, contact(8), [first])
    lookup.on_reply(0.2, contact(9), [contact(1)])
    assert lookup.next(0.2) == Ask(first, b"body")
    lookup.on_failure(1.0, first)
    assert lookup.next(1.0) == Ask(contact(1), b"body")
    lookup.on_reply(1.1, first, [])
    assert lookup.next(1.1) is FINISHED
    lookup.on_failure(2.0, contact(1))
    assert lookup.result() == [first]


# ------------------------------------------------------------------------------------------ liars


def test_three_that_one_peer_told_of_wait_before_more_of_it_are_asked() -> None:
    """Others go first, though they are farther; nobody is dropped."""
    invented = [1, 2, 3, 4, 5]
    lookup = lookup_of([100, 101, 102, 103], want=4, opening=3, alpha=10)
    assert asks(lookup) == [100, 101, 102]
    lookup.on_reply(0.05, contact(100), contacts(invented))
    assert asks(lookup, 0.05) == [1]
    assert asks(lookup, 1.0) == [2, 3, 103, 4, 5]  # all slow: room for all, others first
    for each in (101, 102, 103):
        lookup.on_reply(1.1, contact(each), [])
    for each in invented:
        lookup.on_failure(1.2, contact(each))
    assert lookup.next(1.2) is FINISHED
    assert ids(lookup.result()) == [100, 101, 102, 103]


def test_our_own_table_is_no_teller() -> None:
    lookup = lookup_of(range(1, 10), want=9, opening=9, alpha=9)
    assert asks(lookup) == list(range(1, 10))


@pytest.mark.parametrize("alive", [True, False])
def test_liars_cannot_lead_a_lookup_on_for_ever(alive: bool) -> None:
    """Every answer invents contacts nearer than all before; they answer likewise, or never."""
    fresh = iter(range(2**200, 0, -(2**180)))

    def invent(peer: Contact) -> list[Contact] | None:
        if not alive and peer.id != 2**255:
            return None
        return [contact(next(fresh)) for _ in range(100)]

    lookup = lookup_of([2**255], own_id=2**254, want=8)
    asked = run_at_once(lookup, Network({}, {}), answer=invent)
    assert len(asked) == (ASKED_MAX if alive else 1 + NAMED_MAX)
    assert len(lookup.known()) <= CANDIDATES_MAX
    assert lookup.why_stopped().startswith("asked 256" if alive else "nobody is left")


def test_liars_do_not_keep_an_honest_lookup_from_its_end() -> None:
    """A third of the network names only invented contacts, nearer to the target than all."""
    node_ids = Random(5).sample(range(2**40, 2**50), 200)
    net = network(node_ids, bits=50)
    liars = node_ids[::3]
    honest = [each for each in node_ids if each not in liars]
    invented = iter(range(1, 2**40))

    def answer(peer: Contact) -> list[Contact] | None:
        return [contact(next(invented)) for _ in range(20)] if peer.id in liars else None

    for issuer in honest[:10]:
        lookup = lookup_of(
            ids(net.tables[issuer].closest(TARGET, 20)), own_id=issuer, want=8, opening=3
        )
        run_at_once(lookup, net, answer=answer)
        others = [each for each in node_ids if each != issuer]
        assert ids(lookup.result()) == nearest(others, TARGET, 8)


# --------------------------------------------------------------------------- any order of events


@given(alpha=st.integers(1, 10), patience=patiences(), data=st.data())
def test_it_ends_whatever_happens_in_whatever_order(
    alpha: int, patience: FixedPatience, data: st.DataObject
) -> None:
    lookup = lookup_of(
        data.draw(st.lists(st.integers(0, 255), unique=True, max_size=20)),
        want=data.draw(st.integers(1, 8)),
        opening=data.draw(st.integers(1, 4)),
        alpha=alpha,
        patience=patience,
    )
    Life(lookup, patience, own_id=OWN, alpha=alpha).live(data)
    trace = lookup.trace(9.0, "the end")
    assert len(trace.steps) == trace.messages


def test_who_fails_at_one_address_is_asked_at_the_other_at_once() -> None:
    lookup = lookup_of([1, 2, 3], want=3, opening=3)
    assert asks(lookup) == [1, 2, 3]
    lookup.on_reply(0.01, contact(2), [contact(1, port=5000)])
    assert asks(lookup, 0.01) == []
    lookup.on_failure(0.02, contact(1))
    step = lookup.next(0.02)
    assert isinstance(step, Ask)
    assert step.contact.address == contact(1, port=5000).address


@given(patience=patiences(), data=st.data())
def test_what_it_remembers_between_two_looks_decides_nothing(
    patience: FixedPatience, data: st.DataObject
) -> None:
    """Its twin looks at everything anew each time, and asks the same contacts at the same times."""
    seeds = data.draw(st.lists(st.integers(0, 30), unique=True, max_size=8))
    settings: dict[str, Any] = {
        "want": data.draw(st.integers(1, 6)),
        "opening": data.draw(st.integers(1, 4)),
        "alpha": data.draw(st.integers(1, 5)),
    }
    lookup = lookup_of(seeds, patience=patience, **settings)
    twin = lookup_of(seeds, patience=patience, **settings)
    now = 0.0
    asked: list[Contact] = []
    for _ in range(data.draw(st.integers(1, 30))):
        twin._idle_until = twin._calm_until = -math.inf
        while isinstance(step := twin.next(now), Ask):
            twin._idle_until = twin._calm_until = -math.inf
            assert lookup.next(now) == step
            asked.append(step.contact)
        assert type(lookup.next(now)) is type(step)
        now += data.draw(st.sampled_from([0.0, 0.01, 0.1, 1.0]))
        event = data.draw(st.sampled_from(["nothing", "reply", "failure", "widen"]))
        if asked and event in ("reply", "failure"):
            who = data.draw(st.sampled_from(asked))
            if event == "reply":
                named = contacts(data.draw(st.lists(st.integers(0, 60), max_size=3)))
                lookup.on_reply(now, who, named)
                twin.on_reply(now, who, named)
            else:
                lookup.on_failure(now, who)
                twin.on_failure(now, who)
        elif event == "widen":
            lookup.widen(settings["want"] + 1)
            twin.widen(settings["want"] + 1)


@given(st.data())
def test_where_answers_are_complete_the_result_is_exact(data: st.DataObject) -> None:
    """Everybody knows everybody and says so, whoever is dead: the nearest of the living."""
    node_ids = data.draw(
        st.lists(st.integers(0, 254), unique=True, min_size=1, max_size=NAMED_MAX + 1)
    )
    dead = data.draw(st.lists(st.sampled_from(node_ids), unique=True))
    target = data.draw(st.integers(0, 255))
    net = network(node_ids, dead=dead, config=Config(k=128))
    seeds = data.draw(st.lists(st.sampled_from(net.living() or node_ids), min_size=1, unique=True))
    lookup = lookup_of(seeds, target=target, want=8, opening=3)
    run_at_once(lookup, net, named=NAMED_MAX)
    assert ids(lookup.result()) == nearest(net.living(), target, 8)


# ------------------------------------------------------------------------------- spare contacts


def silence(lookup: Lookup) -> list[int]:
    """Nobody ever answers: everybody that was asked, in that order."""
    asked: list[int] = []
    while not isinstance(step := lookup.next(0.0), Finished):
        assert isinstance(step, Ask)
        asked.append(int(step.contact.id))
        lookup.on_failure(0.0, step.contact)
    return asked


def test_when_all_that_it_began_with_are_dead_it_goes_on_with_the_spare_ones() -> None:
    lookup = lookup_of([1, 2], spare=lambda: contacts([1, 2, 3, 4]))
    assert silence(lookup) == [1, 2, 3, 4]


def test_spare_contacts_are_asked_for_when_too_few_are_left_and_once() -> None:
    calls: list[None] = []

    def spare() -> list[Contact]:
        calls.append(None)
        return contacts([1, 2, 3, 4, 5, 6])

    lookup = lookup_of([1, 2, 3], want=2, alpha=1, spare=spare)
    for dead in (1, 2):
        assert asks(lookup) == [dead]
        assert not calls
        lookup.on_failure(0.0, contact(dead))
    assert asks(lookup) == [3]
    lookup.on_reply(0.0, contact(3), [])
    assert asks(lookup) == [4]
    assert len(calls) == 1
    lookup.on_failure(0.0, contact(4))
    assert silence(lookup) == [5, 6]
    assert ids(lookup.result()) == [3]
    assert len(calls) == 1


def test_who_has_enough_needs_no_spare_contacts() -> None:
    def spare() -> list[Contact]:
        raise AssertionError

    lookup = lookup_of([1, 2, 3], want=2, spare=spare)
    run_at_once(lookup, network([1, 2, 3]))
    assert ids(lookup.result()) == [1, 2]


def test_spare_contacts_come_before_those_that_somebody_unreliable_told_of() -> None:
    """He named four that are nearer than all others; three were silent."""
    lookup = lookup_of([9], want=2, alpha=1, spare=lambda: contacts([20, 21]))
    assert asks(lookup) == [9]
    lookup.on_reply(0.0, contact(9), contacts([1, 2, 3, 4]))
    assert silence(lookup) == [1, 2, 3, 20, 21, 4]


# ------------------------------------------------------------------------------ in real networks


def hops_by_theory(nodes: int, k: int) -> float:
    """Stutzbach & Rejaie, INFOCOM 2006: each hop gains D(k) bits (to the exact target)."""
    gained = 1 + sum(1 - (1 - 2.0**-j) ** k for j in range(1, 64))
    return math.log2(nodes / k) / gained


def test_in_a_network_of_1000_the_8_closest_come_out_exactly() -> None:
    random = Random(11)
    node_ids = [random.getrandbits(KEY_BITS) for _ in range(1_000)]
    net = network(node_ids, bits=KEY_BITS, seed=1)
    hops = messages = 0
    searches = 60
    for number in range(searches):
        issuer, target = node_ids[number % 3], random.getrandbits(KEY_BITS)
        seeds = ids(net.tables[issuer].closest(target, 20))
        lookup = Lookup(
            0.0,
            target=target,
            own_id=issuer,
            seeds=[each for each in contacts(node_ids) if each.id in seeds],
            want=8,
            body=b"",
            opening=2,
            alpha=lambda: 3,
            patience=FixedPatience(),
        )
        run_at_once(lookup, net)
        others = [each for each in node_ids if each != issuer]
        assert ids(lookup.result()) == nearest(others, target, 8)
        trace = lookup.trace(1.0, lookup.why_stopped())
        hops += trace.hops
        messages += trace.messages
    # The theory's tables hold k = 20 a bucket; ours hold more, up to 128 contacts in all.
    assert hops / searches <= hops_by_theory(1_000, 20)
    assert messages / searches <= 8 + 3


def time_taken(lookup: Lookup, net: Network, *, rtt: float, give_up: float) -> float:
    """Drive it in virtual time: the living answer after ``rtt``, the dead are given up later."""
    now = 0.0
    due: list[tuple[float, int, Contact]] = []
    numbers = itertools.count()
    while True:
        step = lookup.next(now)
        if step is FINISHED:
            return now
        if isinstance(step, Ask):
            after = rtt if net.alive[step.contact.id] else give_up
            heapq.heappush(due, (now + after, next(numbers), step.contact))
            continue
        wake_at = step.until if isinstance(step, Wait) else None
        if wake_at is not None and wake_at < due[0][0]:
            now = wake_at
            continue
        now, _, peer = heapq.heappop(due)
        if net.alive[peer.id]:
            lookup.on_reply(now, peer, net.closest(peer, lookup.target, 20))
        else:
            lookup.on_failure(now, peer)


def test_dead_contacts_do_not_stall_the_search() -> None:
    """30 % are dead, each costs 1.8 s to give up: nearly all lookups wait for that once, not once
    for each dead contact that they meet (2 or 3 of those they ask)."""
    random = Random(3)
    node_ids = random.sample(range(2**50), 200)
    net = network(node_ids, bits=50, dead=node_ids[::3])
    rtt, give_up = 0.1, 1.8
    times = []
    for issuer in net.living()[:40]:
        target = random.getrandbits(50)
        seeds = ids(net.tables[issuer].closest(target, 20))
        lookup = lookup_of(
            seeds,
            target=target,
            own_id=issuer,
            want=8,
            opening=2,
            patience=FixedPatience(join=1.1 * rtt, free=1.2 * rtt),
        )
        times.append(time_taken(lookup, net, rtt=rtt, give_up=give_up))
        living = [each for each in net.living() if each != issuer]
        assert ids(lookup.result()) == nearest(living, target, 8)
    times.sort()
    assert times[int(0.95 * len(times))] < give_up + 8 * rtt


# -------------------------------------------------------------------------------------- the trace


def test_the_trace_tells_who_told_whom_and_what_came_of_it() -> None:
    lookup = lookup_of([8, 16], want=2, opening=2)
    assert asks(lookup, 0.0) == [8, 16]
    lookup.on_reply(0.1, contact(8), contacts([4, 16]))
    lookup.on_retry(contact(16))
    assert asks(lookup, 0.1) == [4]
    lookup.on_failure(0.2, contact(16))
    lookup.on_reply(0.3, contact(4), contacts([8, 2]))
    assert asks(lookup, 0.3) == [2]
    trace = lookup.trace(0.35, "enough")
    assert trace.hops == 1
    assert (trace.messages, trace.nodes, trace.duplicates) == (5, 4, 2)
    assert trace.elapsed == pytest.approx(0.35)
    assert trace.stopped == "enough"
    assert ids(step.contact for step in trace.steps) == [8, 16, 4, 2]
    assert [step.told_by for step in trace.steps] == [None, None, contact(8), contact(4)]
    assert [step.depth for step in trace.steps] == [0, 0, 1, 2]
    assert [step.asked_at for step in trace.steps] == [0.0, 0.0, 0.1, 0.3]
    assert [step.rtt for step in trace.steps] == [0.1, None, pytest.approx(0.2), None]
    assert [step.named for step in trace.steps] == [1, 0, 1, 0]
    assert [step.result for step in trace.steps] == [
        StepResult.ANSWERED,
        StepResult.SILENT,
        StepResult.ANSWERED,
        StepResult.PENDING,
    ]


def test_hops_are_the_depth_at_which_the_nearest_of_the_result_was_first_named() -> None:
    lookup = lookup_of([64], want=1)
    for told, names in ((64, [32]), (32, [16]), (16, [64])):
        assert asks(lookup) == [told]
        lookup.on_reply(0.0, contact(told), contacts(names))
    assert lookup.next(0.0) is FINISHED
    assert lookup.trace(0.0, "").hops == 2
    assert [lookup.depth_of(contact(each)) for each in (64, 32, 16)] == [0, 1, 2]


def test_hops_are_counted_to_whoever_held_the_record() -> None:
    lookup = lookup_of([8, 16], want=2, opening=2)
    assert asks(lookup) == [8, 16]
    lookup.on_reply(0.1, contact(16), contacts([4]))
    assert asks(lookup, 0.1) == [4]
    lookup.on_reply(0.2, contact(4), [])
    trace = lookup.trace(0.2, "found", holders=[contact(16), contact(4)])
    assert trace.hops == 0
    assert [step.result for step in trace.steps] == [
        StepResult.PENDING,
        StepResult.RECORD,
        StepResult.RECORD,
    ]
    assert lookup.trace(0.2, "").hops == 1


def test_a_refusal_stands_in_the_trace() -> None:
    lookup = lookup_of([8])
    assert asks(lookup) == [8]
    lookup.on_reply(0.1, contact(8), [])
    lookup.on_failure(0.2, contact(8))
    trace = lookup.trace(0.2, "")
    assert [step.result for step in trace.steps] == [StepResult.REFUSED]
    assert trace.hops == 0
