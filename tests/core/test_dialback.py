"""Knocking for others: for whom, at which door, and how often at most."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dht.config import Config
from dht.contacts import Address, Contact, contact_at, is_local, pack_address, port_of
from dht.core.admission import Buckets
from dht.core.checked import STRANGER_AGAIN_S, Checked
from dht.core.dialback import (
    DIAL_PER_ASKER,
    DIAL_PER_SUBNET,
    DIAL_PER_TARGET_SUBNET,
    IN_ALL,
    PASSED_ON_MAX,
    PORT_MIN,
    REACH_PER_ASKER,
    REACH_PER_SUBNET,
    SOURCES_MAX,
    Dialler,
    PassingOn,
)
from dht.core.machine import FINISHED, Ask, Wait
from dht.core.routing import RoutingTable
from dht.keyspace import node_id
from dht.wire.codec import contact_untrusted
from dht.wire.messages import Dialling, DialStatus, Pong
from tests import strategies
from tests.core.test_reachability import neighbour, peer

OWN_KEY = bytes([1] * 32)
NONCE, OTHER_NONCE = b"12345678", b"87654321"
SIX = contact_at(bytes([6] * 32), pack_address("2001:db8::1", 4000))


def dialler(*known: Contact) -> Dialler:
    table = RoutingTable(node_id(OWN_KEY), config=Config())
    for contact in known:
        table.add(0.0, contact)
    return Dialler(table, Random(1), Checked().first)


def reach(
    at: Dialler, asker: Contact, *, now: float = 0.0, nonce: bytes = NONCE, proved: bool = True
) -> DialStatus | PassingOn:
    return at.reach(now, asker, nonce, flags=2, proved=proved)


def dial(
    at: Dialler, asker: Contact, target: Contact, *, now: float = 0.0, proved: bool = True
) -> DialStatus:
    return at.dial(now, asker, target, proved=proved)


# ----------------------------------------------------------------------------------- how often


def test_so_many_a_minute_are_allowed_and_all_of_them_at_once() -> None:
    allowance = Buckets.a_minute(3)
    assert [allowance.allow(0.0, b"a") for _ in range(4)] == [True, True, True, False]
    assert allowance.allow(0.0, b"b")
    assert not allowance.allow(19.9, b"a")
    assert allowance.allow(20.1, b"a")


@given(
    st.integers(1, 20),
    st.lists(st.floats(-1.0, 30.0), min_size=1, max_size=60),
)
def test_over_any_time_no_source_has_more_than_its_allowance(
    per_minute: int, pauses: list[float]
) -> None:
    """Whatever the clock does; a step back gives nothing."""
    allowance, now, latest, taken = Buckets.a_minute(per_minute), 0.0, 0.0, 0
    forward = 0.0
    for pause in pauses:
        now += pause
        forward += max(0.0, now - latest)
        latest = now
        taken += allowance.allow(now, b"a")
    assert taken <= per_minute + forward * per_minute / 60 + 1e-6


def test_the_sources_that_are_remembered_are_bounded() -> None:
    allowance = Buckets.a_minute(1, names_max=SOURCES_MAX)
    for number in range(SOURCES_MAX + 100):
        assert allowance.allow(0.0, number.to_bytes(4))
    assert len(allowance) == SOURCES_MAX


# ------------------------------------------------------------------------------ a wish is passed on


def test_a_wish_goes_to_nodes_that_we_know_in_other_subnets() -> None:
    asker = peer(1)
    near = peer(2, host="1.0.1.77")
    far = [peer(number) for number in range(3, 6)]
    passing = reach(dialler(asker, near, neighbour(1), SIX, *far), asker)
    assert isinstance(passing, PassingOn)
    assert len(passing.knockers) == PASSED_ON_MAX
    assert sorted(each.id for each in passing.knockers) == sorted(each.id for each in far)


def test_the_address_that_is_passed_on_is_where_the_asker_is_seen() -> None:
    asker = peer(1)
    passing = reach(dialler(peer(2)), asker)
    assert isinstance(passing, PassingOn)
    step = passing.next(0.0)
    assert isinstance(step, Ask)
    assert step.body.endswith(asker.packed)
    assert contact_untrusted(step.body[-len(asker.packed) :]) == asker


def test_with_nobody_in_another_subnet_nobody_can_tell() -> None:
    assert reach(dialler(), peer(1)) is DialStatus.NOBODY
    assert reach(dialler(peer(2, host="1.0.1.77")), peer(1)) is DialStatus.NOBODY


def test_nobody_knocks_on_a_local_network() -> None:
    assert reach(dialler(peer(2)), neighbour(1)) is DialStatus.NOBODY


def test_a_wish_from_an_address_that_proved_nothing_is_not_passed_on() -> None:
    assert reach(dialler(peer(2)), peer(1), proved=False) is DialStatus.BUSY


def test_a_wish_that_is_told_again_starts_nothing_anew_and_is_told_what_came_of_it() -> None:
    at, asker = dialler(peer(2)), peer(1)
    passing = reach(at, asker)
    assert isinstance(passing, PassingOn)
    assert reach(at, asker) is DialStatus.WILL
    passing.next(0.0)
    passing.on_reply(0.1, peer(2), Dialling(0, DialStatus.DONE), [])
    assert reach(at, asker) is DialStatus.DONE
    assert isinstance(reach(at, asker, nonce=OTHER_NONCE), PassingOn)


def test_the_wishes_of_one_key_one_subnet_and_all_are_bounded() -> None:
    def wishes(*askers: Contact) -> int:
        at = dialler(peer(2), peer(3))
        return sum(
            isinstance(reach(at, asker, nonce=number.to_bytes(8)), PassingOn)
            for number, asker in enumerate(askers)
        )

    assert wishes(*[peer(1)] * 50) == REACH_PER_ASKER
    assert wishes(*(peer(n, host=f"7.7.7.{n}") for n in range(1, 51))) == REACH_PER_SUBNET
    assert wishes(*(peer(number + 100) for number in range(IN_ALL + 50))) == IN_ALL


def test_the_wishes_that_are_remembered_are_bounded() -> None:
    at = dialler(peer(2))
    for number in range(SOURCES_MAX + 50):
        reach(at, peer(number + 100), now=number * 60.0)
    assert len(at._wishes) == SOURCES_MAX


# ----------------------------------------------------------------------------------- a knock


def test_a_knock_is_done_at_a_public_address_elsewhere() -> None:
    assert dial(dialler(), peer(1), peer(2)) is DialStatus.DONE


@pytest.mark.parametrize(
    "target",
    [
        neighbour(2),
        peer(2, host="1.0.1.200"),
        contact_at(peer(2).public_key, pack_address("8.8.8.8", PORT_MIN - 1)),
        contact_at(OWN_KEY, peer(2).address),
    ],
    ids=["local", "in the asker's subnet", "a well-known port", "ourselves"],
)
def test_no_knock_is_done_at_an_address_that_is(target: Contact) -> None:
    assert dial(dialler(), peer(1), target) is DialStatus.NOBODY


def test_no_knock_is_done_for_who_proved_nothing() -> None:
    assert dial(dialler(), peer(1), peer(2), proved=False) is DialStatus.BUSY


def test_an_address_is_knocked_at_once_a_minute_whoever_wants_it_and_whatever_key_is_named() -> (
    None
):
    at, victim = dialler(), peer(5000).address
    done = [
        now
        for now in range(600)
        if dial(at, peer(now), contact_at(now.to_bytes(32), victim), now=float(now))
        is DialStatus.DONE
    ]
    assert len(done) >= 9
    assert min(b - a for a, b in pairwise(done)) >= STRANGER_AGAIN_S


def test_the_minute_of_an_address_is_shared_with_the_checks_of_strangers() -> None:
    checked = Checked()
    at = Dialler(RoutingTable(node_id(OWN_KEY), config=Config()), Random(1), checked.first)
    assert checked.first(0.0, peer(2).address)
    assert dial(at, peer(1), peer(2), now=1.0) is DialStatus.BUSY
    assert dial(at, peer(1), peer(3), now=1.0) is DialStatus.DONE
    assert not checked.first(2.0, peer(3).address)


def test_knocks_for_one_key_one_subnet_into_one_subnet_and_in_all_are_bounded() -> None:
    def knocks(pairs: list[tuple[Contact, Contact]]) -> int:
        at = dialler()
        return sum(dial(at, asker, target) is DialStatus.DONE for asker, target in pairs)

    hosts = [peer(n, host=f"7.7.7.{n}") for n in range(1, 51)]
    many = [peer(number + 100) for number in range(IN_ALL + 50)]
    assert knocks([(peer(1), target) for target in many]) == DIAL_PER_ASKER
    assert knocks(list(zip(hosts, many, strict=False))) == DIAL_PER_SUBNET
    assert knocks(list(zip(many, hosts, strict=False))) == DIAL_PER_TARGET_SUBNET
    assert knocks([(peer(n), peer(n + 1000)) for n in range(IN_ALL + 50)]) == IN_ALL


class Knocks(RuleBasedStateMachine):
    """Whatever anybody asks for, no address gets more than one datagram a minute, and none that
    has not to do with public nodes gets any."""

    def __init__(self) -> None:
        super().__init__()
        self.at = dialler(*(peer(number) for number in range(8)))
        self.now = 0.0
        self.knocked: dict[Address, float] = {}

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        asker=st.integers(0, 20).map(peer) | strategies.contacts(),
        whom=st.integers(0, 20).map(peer) | strategies.contacts(),
        proved=st.booleans(),
    )
    def dial(self, asker: Contact, whom: Contact, proved: bool) -> None:
        if self.at.dial(self.now, asker, whom, proved=proved) is DialStatus.DONE:
            assert proved
            assert not is_local(whom.address)
            assert port_of(whom.address) >= PORT_MIN
            assert self.now - self.knocked.get(whom.address, -1e9) >= STRANGER_AGAIN_S
            self.knocked[whom.address] = self.now

    @rule(
        asker=st.integers(0, 20).map(peer) | strategies.contacts(),
        nonce=st.sampled_from([NONCE, OTHER_NONCE]),
        proved=st.booleans(),
    )
    def reach(self, asker: Contact, nonce: bytes, proved: bool) -> None:
        found = self.at.reach(self.now, asker, nonce, flags=0, proved=proved)
        if isinstance(found, PassingOn):
            assert proved
            assert not is_local(asker.address)
            assert all(each.id in self.at.table for each in found.knockers)
            assert all(each.subnet != asker.subnet for each in found.knockers)

    @invariant()
    def little_is_remembered(self) -> None:
        assert len(self.at._wishes) <= SOURCES_MAX


TestKnocks = Knocks.TestCase


# ------------------------------------------------------------------------------ one after the other

Q = [peer(number) for number in (2, 3, 4)]


def test_one_after_the_other_is_asked_until_one_has_knocked() -> None:
    passing = PassingOn(Q, b"body")
    assert passing.next(0.0) == Ask(Q[0], b"body")
    assert passing.next(0.0) == Wait(None)
    passing.on_retry(Q[0])
    passing.on_failure(1.8, Q[0])
    assert passing.next(1.8) == Ask(Q[1], b"body")
    passing.on_reply(2.0, Q[1], Dialling(0, DialStatus.BUSY), [])
    assert passing.status == 0
    assert passing.next(2.0) == Ask(Q[2], b"body")
    passing.on_reply(2.2, Q[2], Dialling(0, DialStatus.DONE), [])
    assert passing.next(2.2) is FINISHED
    assert passing.status is DialStatus.DONE


def test_one_knock_is_enough() -> None:
    passing = PassingOn(Q, b"body")
    passing.next(0.0)
    passing.on_reply(0.1, Q[0], Dialling(0, DialStatus.DONE), [])
    assert passing.next(0.1) is FINISHED


def test_when_none_of_them_does_it_nothing_is_promised() -> None:
    passing = PassingOn(Q[:2], b"body")
    passing.next(0.0)
    passing.on_failure(1.0, Q[0])
    passing.next(1.0)
    passing.on_reply(1.1, Q[1], Pong(0, b""), [])
    assert passing.next(1.1) is FINISHED
    assert passing.status is DialStatus.BUSY


def test_an_answer_that_comes_late_still_counts() -> None:
    passing = PassingOn(Q[:2], b"body")
    passing.next(0.0)
    passing.on_failure(1.0, Q[0])
    passing.next(1.0)
    passing.on_reply(1.1, Q[0], Dialling(0, DialStatus.DONE), [])
    assert passing.next(1.1) is FINISHED
    assert passing.status is DialStatus.DONE
