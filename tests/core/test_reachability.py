"""What follows from what others see and whether they get through."""

from random import Random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dht.contacts import Address, Contact, contact_at, is_local, pack_address, subnet_of
from dht.core import reachability
from dht.core.machine import FINISHED, Ask, Wait
from dht.core.reachability import (
    AGAIN_FIRST_S,
    AGREE_MIN,
    ASKS_MAX,
    CONTACTED_MAX,
    FAILURES_MIN,
    JITTER,
    KNOCK_WAIT_S,
    POLLS_MAX,
    PROOFS_MIN,
    RECHECK_S,
    REPORTS_MAX,
    Contacted,
    Evidence,
    ObservedAddresses,
    Reachability,
    Reachable,
    Reaching,
    source_of,
)
from dht.wire.messages import Dialling, DialStatus, Message, Pong
from tests import strategies

US = pack_address("9.9.9.9", 4000)
ELSEWHERE = pack_address("9.9.9.9", 5000)
AT_HOME = pack_address("192.168.0.2", 4000)


def peer(number: int, *, host: str | None = None) -> Contact:
    """A peer in a /24 of its own, unless it is told where."""
    address = pack_address(host or f"1.{number >> 8}.{number & 255}.1", 4000)
    return contact_at(number.to_bytes(32), address)


def neighbour(number: int) -> Contact:
    """A peer on the local network."""
    return peer(number, host=f"192.168.0.{number + 10}")


# ------------------------------------------------------------------------------------ the address


def heard(*reports: tuple[Contact, Address]) -> ObservedAddresses:
    observed = ObservedAddresses()
    for observer, seen in reports:
        observed.heard(observer, seen)
    return observed


def test_what_three_subnets_see_is_our_address() -> None:
    reports = [(peer(number), US) for number in range(AGREE_MIN)]
    assert heard(*reports[:-1]).agreed() is None
    assert heard(*reports).agreed() == US


def test_one_subnet_has_one_say_however_many_nodes_it_has() -> None:
    crowd = [(peer(number, host=f"1.1.1.{number}"), US) for number in range(1, 100)]
    assert heard(*crowd).agreed() is None
    assert len(heard(*crowd)) == 1


def test_on_a_local_network_each_key_has_a_say() -> None:
    reports = [(neighbour(number), AT_HOME) for number in range(AGREE_MIN)]
    assert heard(*reports[:-1]).agreed() is None
    assert heard(*reports).agreed() == AT_HOME


def test_who_is_at_home_says_nothing_of_public_addresses_and_strangers_nothing_of_local_ones() -> (
    None
):
    observed = heard(
        *((neighbour(number), US) for number in range(9)),
        *((peer(number), AT_HOME) for number in range(9)),
    )
    assert (len(observed), observed.agreed()) == (0, None)


def test_a_public_address_goes_before_a_local_one() -> None:
    local = [(neighbour(number), AT_HOME) for number in range(AGREE_MIN)]
    public = [(peer(number), US) for number in range(AGREE_MIN)]
    assert heard(*public, *local).agreed() == US
    assert heard(*public[1:], *local).agreed() == AT_HOME


def test_two_addresses_that_as_many_see_are_none() -> None:
    """Behind some NATs each half of the world sees another one."""
    halves = [(peer(number), (US, ELSEWHERE)[number % 2]) for number in range(REPORTS_MAX)]
    assert heard(*halves).agreed() is None
    assert heard(*halves, (peer(1), US)).agreed() == US


def test_a_new_address_wins_as_soon_as_more_have_seen_it() -> None:
    observed = heard(*((peer(number), US) for number in range(REPORTS_MAX)))
    for number in range(REPORTS_MAX // 2):
        assert observed.agreed() == US
        observed.heard(peer(100 + number), ELSEWHERE)
    observed.heard(peer(0), ELSEWHERE)  # a subnet may change its mind
    assert observed.agreed() == ELSEWHERE


def test_what_a_subnet_said_last_is_known() -> None:
    observed = heard((peer(1), US), (peer(1), ELSEWHERE), (neighbour(1), AT_HOME))
    assert observed.said(peer(1)) == ELSEWHERE
    assert observed.said(neighbour(1)) == AT_HOME
    assert observed.said(peer(2)) is None


@given(st.lists(st.tuples(strategies.contacts(), strategies.addresses()), max_size=60))
def test_any_reports_are_bounded_and_believed_only_from_three_sources(
    reports: list[tuple[Contact, Address]],
) -> None:
    observed = heard(*reports)
    assert len(observed) <= 2 * REPORTS_MAX
    agreed = observed.agreed()
    if agreed is not None:
        sources = {source_of(observer) for observer, seen in reports if seen == agreed}
        assert len(sources) >= AGREE_MIN
        assert all(
            is_local(observer.address) == is_local(agreed)
            for observer, _ in reports
            if observed.said(observer) == agreed
        )


@given(st.lists(st.integers(0, 2), min_size=1, max_size=AGREE_MIN - 1), st.data())
def test_liars_in_two_subnets_change_nothing(liars: list[int], data: st.DataObject) -> None:
    honest = [(peer(number), US) for number in range(REPORTS_MAX - 2)]
    lies = [(peer(100 + number), ELSEWHERE) for number in liars]
    assert heard(*data.draw(st.permutations(honest + lies))).agreed() == US


# ------------------------------------------------------------------------------ who is no stranger


def sent_to(*addresses: Address) -> Contacted:
    contacted = Contacted()
    contacted.add((b"", address) for address in addresses)
    return contacted


def test_a_host_is_no_stranger_once_we_sent_it_something_whatever_the_port() -> None:
    contacted = sent_to(US)
    assert ELSEWHERE in contacted
    assert AT_HOME not in contacted


def test_who_was_contacted_is_forgotten_after_one_turn_at_the_earliest_and_two_at_the_latest() -> (
    None
):
    contacted = sent_to(US)
    contacted.turn()
    assert US in contacted
    contacted.add([(b"", US)])
    contacted.turn()
    assert US in contacted
    contacted.turn()
    assert US not in contacted


def test_when_more_hosts_are_contacted_than_can_be_known_nobody_is_a_stranger() -> None:
    many = (pack_address(f"1.{n >> 16}.{n >> 8 & 255}.{n & 255}", 1) for n in range(CONTACTED_MAX))
    contacted = sent_to(*many)
    for number in range(1000):
        contacted.add([(b"", pack_address(f"3.1.{number >> 8}.{number & 255}", 1))])
    assert len(contacted._now) == CONTACTED_MAX
    assert US in contacted
    contacted.turn()
    assert US in contacted
    contacted.turn()
    assert US not in contacted


# ------------------------------------------------------------------------------------- the verdict


def in_round(*, seed: int = 1) -> Reachability:
    reach = Reachability(Random(seed))
    reach.begin()
    return reach


def verdict(reach: Reachability) -> str:
    return reach.reachable.value


def ask(reach: Reachability, count: int = ASKS_MAX) -> list[tuple[Contact, bytes]]:
    """So many questions, and the nonces that were given out for them."""
    contacts, asked = [peer(number) for number in range(40)], []
    for _ in range(count):
        contact = reach.whom(contacts, US)
        assert contact is not None
        asked.append((contact, reach.wish(contact)))
    return asked


def knock(reach: Reachability, nonce: bytes, number: int, *, contacted: bool = False) -> object:
    return reach.knocked(nonce, peer(number).address, US, contacted=contacted)


def test_two_strangers_of_different_subnets_that_get_through_say_yes() -> None:
    reach = in_round()
    (_, one), (_, other), (_, third) = ask(reach, 3)
    assert knock(reach, one, 1000) is Evidence.PROOF
    assert knock(reach, other, 1000) is Evidence.NOTHING  # the same subnet again
    reach.end()
    assert verdict(reach) == "unknown"
    reach.begin()
    [(_, one), (_, other)] = ask(reach, 2)
    knock(reach, one, 1000)
    assert knock(reach, other, 1001) is Evidence.PROOF
    assert reach.whom([peer(1)], US) is None  # that is enough
    assert reach.end() == pytest.approx(RECHECK_S, rel=JITTER)
    assert reach.reachable is Reachable.YES
    assert knock(reach, third, 1002) is None  # of a round that is forgotten


def test_three_knocks_that_left_and_never_came_say_no() -> None:
    reach = in_round()
    for _ in range(FAILURES_MIN):
        reach.end()
        assert reach.reachable is Reachable.UNKNOWN
        ask(reach, 1)
        reach.over(Evidence.FAILURE)
    assert reach.whom([peer(1)], US) is None
    assert reach.end() == pytest.approx(RECHECK_S, rel=JITTER)
    assert reach.reachable is Reachable.NO


def test_one_stranger_that_got_through_outweighs_knocks_that_were_lost() -> None:
    reach = in_round()
    [(_, nonce), *_] = ask(reach, 4)
    knock(reach, nonce, 1000)
    for _ in range(FAILURES_MIN):
        reach.over(Evidence.FAILURE)
    reach.end()
    assert reach.reachable is Reachable.UNKNOWN


def test_a_knock_from_somebody_we_contacted_says_nothing_as_a_nat_lets_it_in_for_that() -> None:
    reach = in_round()
    [(_, nonce)] = ask(reach, 1)
    assert knock(reach, nonce, 1000, contacted=True) is Evidence.NOTHING
    assert knock(reach, nonce, 1000) is Evidence.PROOF  # the nonce is not used up


@pytest.mark.parametrize("where", ["of whom we asked", "ours", "local"])
def test_a_knock_from_a_subnet_says_nothing_if_it_is(where: str) -> None:
    reach = in_round()
    [(asked, nonce)] = ask(reach, 1)
    source = {
        "of whom we asked": Address(subnet_of(asked.address) + b"\xee" + bytes(2)),
        "ours": Address(subnet_of(US) + b"\xee" + bytes(2)),
        "local": AT_HOME,
    }[where]
    assert reach.knocked(nonce, source, US, contacted=False) is Evidence.NOTHING


def test_a_knock_that_nobody_wished_for_or_that_came_before_is_none() -> None:
    reach = in_round()
    assert knock(reach, bytes(8), 1000) is None
    [(_, nonce)] = ask(reach, 1)
    assert knock(reach, nonce, 1000) is Evidence.PROOF
    assert knock(reach, nonce, 1001) is None


def test_a_round_asks_a_few_peers_of_different_public_subnets_and_not_of_ours() -> None:
    reach = in_round()
    near = [contact_at(bytes([7] * 32), Address(subnet_of(US) + b"\x07\x10\x00")), neighbour(1)]
    six = contact_at(bytes([8] * 32), pack_address("2001:db8::1", 4000))
    twins = [peer(300 + number, host=f"1.1.1.{number + 1}") for number in range(9)]
    assert reach.whom([*near, six], US) is None
    assert reach.whom([six], AT_HOME) is six  # who knows, behind a NAT
    first = reach.whom([*near, *twins], US)
    assert first in twins
    assert first is not None
    reach.wish(first)
    assert reach.whom([*near, *twins], US) is None
    ask(reach, ASKS_MAX - 1)
    assert reach.whom([peer(number) for number in range(40)], US) is None


def test_rounds_that_tell_nothing_come_seldomer_until_one_does_or_something_changes() -> None:
    reach = in_round()

    def pauses(count: int) -> list[float]:
        ends = []
        for _ in range(count):
            reach.begin()
            ends.append(reach.end())
        return ends

    expected = [AGAIN_FIRST_S, 2 * AGAIN_FIRST_S, 4 * AGAIN_FIRST_S]
    assert pauses(3) == [pytest.approx(each, rel=JITTER) for each in expected]
    assert pauses(9)[-1] == pytest.approx(RECHECK_S, rel=JITTER)
    reach.impatient()
    assert pauses(1) == [pytest.approx(AGAIN_FIRST_S, rel=JITTER)]


def test_what_was_found_stays_until_something_else_is_found() -> None:
    reach = in_round()
    for number, (_, nonce) in enumerate(ask(reach, PROOFS_MIN)):
        knock(reach, nonce, 1000 + number)
    reach.end()
    reach.begin()
    reach.end()
    assert verdict(reach) == "yes"
    reach.begin()
    ask(reach, FAILURES_MIN)
    for _ in range(FAILURES_MIN):
        reach.over(Evidence.FAILURE)
    reach.end()
    assert reach.reachable is Reachable.NO


class Rounds(RuleBasedStateMachine):
    """Any round, next to a description of it in lists."""

    def __init__(self) -> None:
        super().__init__()
        self.reach = Reachability(Random(1))
        self.expected = Reachable.UNKNOWN
        self.contacts = [peer(number) for number in range(30)]
        self.open: list[bytes] = []
        self.asked: list[bytes | None] = []
        self.proofs: list[bytes] = []
        self.failures = 0

    @rule()
    def begin(self) -> None:
        self.reach.begin()
        self.open, self.asked, self.proofs, self.failures = [], [], [], 0

    @rule()
    def ask(self) -> None:
        contact = self.reach.whom(self.contacts, US)
        settled = len(self.proofs) >= 2 or (self.failures >= 3 and not self.proofs)
        assert (contact is None) == (settled or len(self.asked) >= 6)
        if contact is not None:
            assert contact.subnet not in self.asked
            self.asked.append(contact.subnet)
            self.open.append(self.reach.wish(contact))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), number=st.integers(0, 35), contacted=st.booleans())
    def knock(self, data: st.DataObject, number: int, contacted: bool) -> None:
        nonce = data.draw(st.sampled_from(self.open))
        source = peer(number).address
        evidence = self.reach.knocked(nonce, source, US, contacted=contacted)
        if evidence is Evidence.PROOF:
            assert not contacted
            assert subnet_of(source) not in self.proofs
            self.proofs.append(subnet_of(source))
            self.open.remove(nonce)
        else:
            assert evidence is Evidence.NOTHING

    @rule(nonce=st.binary(min_size=8, max_size=8), number=st.integers(0, 35))
    def knock_at_random(self, nonce: bytes, number: int) -> None:
        if nonce not in self.open:
            assert self.reach.knocked(nonce, peer(number).address, US, contacted=False) is None

    @rule(evidence=st.sampled_from(Evidence))
    def question_over(self, evidence: Evidence) -> None:
        self.failures += evidence is Evidence.FAILURE
        self.reach.over(evidence)

    @rule()
    def end(self) -> None:
        pause = self.reach.end()
        if len(self.proofs) >= 2:
            self.expected = Reachable.YES
        elif self.failures >= 3 and not self.proofs:
            self.expected = Reachable.NO
        else:
            assert pause >= AGAIN_FIRST_S * 0.9
        assert pause <= RECHECK_S * 1.1

    @invariant()
    def only_proof_changes_the_verdict(self) -> None:
        assert self.reach.reachable is self.expected
        assert len(self.reach._wishes) <= ASKS_MAX


TestRounds = Rounds.TestCase


# ------------------------------------------------------------------------------------ one question

P = peer(1)


def reaching() -> Reaching:
    machine = Reaching(P, b"body")
    assert machine.next(0.0) == Ask(P, b"body")
    assert machine.next(0.0) == Wait(None)
    return machine


def says(machine: Reaching, now: float, status: DialStatus) -> None:
    machine.on_reply(now, P, Dialling(0, status), [])


def test_a_peer_that_looks_for_somebody_is_asked_again_a_few_times() -> None:
    machine, now = reaching(), 0.0
    for _ in range(POLLS_MAX):
        says(machine, now, DialStatus.WILL)
        assert machine.next(now) == Wait(now + KNOCK_WAIT_S)
        now += KNOCK_WAIT_S
        assert machine.next(now) == Ask(P, b"body")
        assert machine.next(now) == Wait(None)
    says(machine, now, DialStatus.WILL)
    assert machine.next(now) is FINISHED
    assert machine.evidence is Evidence.NOTHING


def test_a_knock_that_has_left_and_does_not_come_is_a_failure() -> None:
    machine = reaching()
    says(machine, 1.0, DialStatus.DONE)
    assert machine.next(1.0) == Wait(1.0 + KNOCK_WAIT_S)
    assert machine.next(1.0 + KNOCK_WAIT_S) is FINISHED
    assert machine.evidence is Evidence.FAILURE


def test_a_knock_that_comes_ends_it_also_before_the_peer_has_answered() -> None:
    machine = reaching()
    machine.knocked(Evidence.PROOF)
    assert machine.next(0.1) is FINISHED
    says(machine, 0.2, DialStatus.BUSY)
    assert machine.evidence is Evidence.PROOF


@pytest.mark.parametrize("status", [DialStatus.NOBODY, DialStatus.BUSY])
def test_a_peer_that_cannot_help_tells_nothing(status: DialStatus) -> None:
    machine = reaching()
    says(machine, 0.1, status)
    assert machine.next(0.1) is FINISHED
    assert machine.evidence is Evidence.NOTHING


@pytest.mark.parametrize("message", [Pong(0, b""), None])
def test_a_peer_that_answers_something_else_or_nothing_tells_nothing(message: Message) -> None:
    machine = reaching()
    machine.on_retry(P)
    if message is None:
        machine.on_failure(0.1, P)
    else:
        machine.on_reply(0.1, P, message, [])
    assert machine.next(0.1) is FINISHED
    assert machine.evidence is Evidence.NOTHING


def test_the_values_of_this_file_are_named_in_the_protocol() -> None:
    assert attrs.has(Reachability)
    assert (PROOFS_MIN, FAILURES_MIN, ASKS_MAX, POLLS_MAX) == (2, 3, 6, 4)
    assert (KNOCK_WAIT_S, reachability.CONTACTED_S, RECHECK_S) == (2.0, 300.0, 3600.0)
