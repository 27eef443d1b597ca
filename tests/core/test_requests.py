"""Whose answer is whose, how long to wait, and what came too late."""

from random import Random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dht.config import Config
from dht.contacts import Address, Contact, contact_at, pack_address
from dht.core.requests import (
    ENDED_MAX,
    HASTE_MIN_S,
    JOIN_AFTER_FIRST_S,
    LATE_MAX,
    LATE_S,
    PEERS_MAX,
    PULL_IDLE_S,
    PULL_MAX_S,
    RECENT_MAX,
    Request,
    Requests,
)
from tests.strategies import addresses, public_keys, request_ids

FIRST_S, MIN_S, MAX_S = 0.6, 0.15, 3.0
CONFIG = Config(
    request_timeout_first_s=FIRST_S,
    request_timeout_min_s=MIN_S,
    request_timeout_max_s=MAX_S,
    tries=2,
)


class Owner:
    """Stands for a machine: it has an identity, and nothing else matters here."""


def nth_contact(number: int) -> Contact:
    return contact_at(number.to_bytes(32), pack_address("192.0.2.1", 1 + number % 60_000))


BOB, EVE = nth_contact(1), nth_contact(2)


def table(config: Config = CONFIG) -> Requests:
    return Requests(config=config, random=Random(1))


def answer(
    requests: Requests, now: float, request_id: bytes, contact: Contact = BOB
) -> Request | None:
    """That contact answers under that id, from its address."""
    return requests.take(now, contact.public_key, contact.address, request_id)


def ask_and_answer(requests: Requests, rtt: float, contact: Contact = BOB) -> None:
    request_id = requests.start(0.0, contact, None, b"?")
    assert answer(requests, rtt, request_id, contact)


def give_up(requests: Requests, now: float) -> float:
    """Lets time pass until nothing is in flight; the time then."""
    while (due_at := requests.next_timeout()) is not None:
        now = max(now, due_at)
        requests.due(now)
    return now


def assert_settled(requests: Requests) -> None:
    """Nothing in flight, nothing late: nothing left behind."""
    assert len(requests) == 0
    assert requests.next_timeout() is None
    assert not requests._open
    assert not requests._late
    assert not requests._heap


# ---- whose answer ----


def test_an_answer_from_whom_we_asked_gives_the_request_back_once() -> None:
    requests, owner = table(), Owner()
    request_id = requests.start(1.0, BOB, owner, b"?")
    assert len(requests) == 1
    request = answer(requests, 1.1, request_id)
    assert request is not None
    assert (request.contact, request.owner, request.body) == (BOB, owner, b"?")
    assert (request.first_sent_at, request.tries, request.given_up) == (1.0, 1, False)
    assert answer(requests, 1.1, request_id) is None
    assert_settled(requests)


@pytest.mark.parametrize(
    ("peer_key", "source", "request_id"),
    [
        pytest.param(EVE.public_key, None, None, id="another peer"),
        pytest.param(None, pack_address("192.0.2.1", 9), None, id="another port"),
        pytest.param(None, pack_address("192.0.2.9", 2), None, id="another host"),
        pytest.param(None, pack_address("2001:db8::1", 2), None, id="another family"),
        pytest.param(None, None, b"87654321", id="another id"),
    ],
)
def test_an_answer_with_one_thing_changed_is_nobodys_and_the_true_one_still_counts(
    peer_key: bytes | None, source: Address | None, request_id: bytes | None
) -> None:
    requests = table()
    true_id = requests.start(0.0, BOB, None, b"?")
    forged = (peer_key or BOB.public_key, source or BOB.address, request_id or true_id)
    assert requests.take(0.1, *forged) is None
    assert len(requests) == 1
    assert answer(requests, 0.1, true_id) is not None


@given(key=public_keys(), source=addresses(), request_id=request_ids())
def test_no_invented_answer_is_taken(key: bytes, source: Address, request_id: bytes) -> None:
    requests = table()
    true_id = requests.start(0.0, BOB, None, b"?")
    for forged in (
        (key, source, true_id),
        (key, BOB.address, request_id),
        (key, source, request_id),
    ):
        assert requests.take(0.1, *forged) is None
    assert requests.take(0.1, BOB.public_key, source, true_id) is None
    assert requests.take(0.1, key, BOB.address, true_id) is None
    assert len(requests) == 1


def test_ids_differ_and_come_from_the_randomness_given() -> None:
    def ids(seed: int) -> list[bytes]:
        requests = Requests(config=CONFIG, random=Random(seed))
        return [requests.start(0.0, BOB, None, b"?") for _ in range(100)]

    assert len(dict.fromkeys(ids(1))) == 100
    assert all(len(request_id) == 8 for request_id in ids(1))
    assert ids(1) == ids(1) != ids(2)


class Stubborn(Random):
    """Draws the same bytes the first two times."""

    draws = 0

    def randbytes(self, n: int) -> bytes:
        self.draws += 1
        return bytes(n) if self.draws < 3 else super().randbytes(n)


def test_an_id_in_use_is_not_drawn_again() -> None:
    requests = Requests(config=CONFIG, random=Stubborn(1))
    first = requests.start(0.0, BOB, None, b"?")
    second = requests.start(0.0, EVE, None, b"?")
    assert first == bytes(8) != second


# ---- waiting, trying again, giving up ----


def test_a_lost_try_is_sent_again_under_a_new_id_and_waits_twice_as_long() -> None:
    requests = table()
    first = requests.start(0.0, BOB, None, b"?")
    assert requests.next_timeout() == FIRST_S
    assert requests.due(FIRST_S - 0.01) == []
    [(second, request)] = requests.due(FIRST_S)
    assert second not in (None, first)
    assert (request.tries, request.sent_at, request.first_sent_at) == (2, FIRST_S, 0.0)
    assert requests.next_timeout() == FIRST_S + 2 * FIRST_S
    assert requests.due(FIRST_S) == []


@pytest.mark.parametrize("answered", [0, 1])
def test_any_of_the_tries_can_be_answered_and_only_one(answered: int) -> None:
    requests = table()
    ids = [requests.start(0.0, BOB, None, b"?")]
    [(second, _)] = requests.due(1.0)
    assert second is not None
    ids.append(second)
    assert answer(requests, 1.1, ids[answered]) is not None
    assert answer(requests, 1.1, ids[0]) is None
    assert answer(requests, 1.1, ids[1]) is None
    assert_settled(requests)


@pytest.mark.parametrize(("answered", "rtt"), [(0, 1.1), (1, 0.1)])
def test_the_round_trip_is_that_of_the_very_try(answered: int, rtt: float) -> None:
    requests = table()
    ids: list[bytes | None] = [requests.start(0.0, BOB, None, b"?")]
    ids += [request_id for request_id, _ in requests.due(1.0)]
    request_id = ids[answered]
    assert request_id is not None
    answer(requests, 1.1, request_id)
    assert requests.join_after(BOB) == pytest.approx(rtt + 0.84 * rtt / 2)


@pytest.mark.parametrize("tries", [1, 2, 4])
def test_after_the_last_try_a_request_is_given_up(tries: int) -> None:
    requests = table(Config(tries=tries))
    requests.start(0.0, BOB, None, b"?")
    again = [due[0] is not None for now in range(10) for due in requests.due(now * 4.0)]
    assert again == [True] * (tries - 1) + [False]
    assert len(requests) == 0
    assert requests.next_timeout() is None


def test_a_late_answer_counts_once() -> None:
    requests, owner = table(), Owner()
    ids = [requests.start(0.0, BOB, owner, b"?")]
    [(second, _)] = requests.due(1.0)
    [(none, request)] = requests.due(5.0)
    assert second is not None
    assert none is None
    late = answer(requests, 6.0, second)
    assert late is request
    assert late.given_up
    assert late.owner is owner
    assert answer(requests, 6.0, second) is None
    assert answer(requests, 6.0, ids[0]) is None
    assert requests.join_after(BOB) == pytest.approx(5.0 + 0.84 * 2.5)
    assert_settled(requests)


def test_a_late_answer_too_must_come_from_whom_we_asked() -> None:
    requests = table()
    request_id = requests.start(0.0, BOB, None, b"?")
    now = give_up(requests, 0.0)
    assert answer(requests, now, request_id, EVE) is None
    assert requests.take(now, BOB.public_key, EVE.address, request_id) is None
    assert answer(requests, now, request_id) is not None


def test_an_answer_can_be_too_late() -> None:
    for beyond, counts in ((0.0, True), (0.01, False)):
        requests = table()
        request_id = requests.start(0.0, BOB, None, b"?")
        [(_, request)] = requests.due(1.0)
        requests.due(5.0)
        assert (answer(requests, 1.0 + LATE_S + beyond, request_id) is request) is counts
        assert_settled(requests)


def test_what_was_given_up_is_forgotten_when_its_time_is_over() -> None:
    requests = table()
    for number in range(10):
        requests.start(float(number), nth_contact(number), Owner(), b"?")
    now = give_up(requests, 0.0)
    requests.due(now + LATE_S + 0.01)
    assert_settled(requests)


def test_a_flood_of_silent_contacts_is_remembered_up_to_the_cap() -> None:
    requests = table(Config(tries=1))
    ids = [requests.start(0.0, nth_contact(n), Owner(), b"?") for n in range(LATE_MAX + 10)]
    requests.due(1.0)
    assert len(requests._open) == len(requests._late) == LATE_MAX
    assert answer(requests, 1.0, ids[9], nth_contact(9)) is None
    assert answer(requests, 1.0, ids[10], nth_contact(10)) is not None


# ---- a second answer that follows ----


def kept(requests: Requests, owner: Owner | None = None) -> tuple[bytes, Request]:
    """Bob was asked at 0.0 and said at 0.1 that a second answer follows."""
    request_id = requests.start(0.0, BOB, owner, b"?")
    request = answer(requests, 0.1, request_id)
    assert request is not None
    requests.keep(0.1, request_id, request)
    return request_id, request


def test_a_kept_request_takes_a_second_answer_that_teaches_no_round_trip() -> None:
    requests, owner = table(), Owner()
    request_id, request = kept(requests, owner)
    patience = requests.join_after(BOB)
    assert len(requests) == 1
    assert requests.next_timeout() == 0.1 + PULL_IDLE_S
    assert answer(requests, 2.0, request_id) is request
    assert request.owner is owner
    assert requests.join_after(BOB) == patience
    assert_settled(requests)


def test_a_kept_request_takes_its_second_answer_under_the_id_of_any_try() -> None:
    for second_under in (0, 1):
        requests = table()
        ids = [requests.start(0.0, BOB, None, b"?")]
        [(second, request)] = requests.due(1.0)
        assert second is not None
        ids.append(second)
        assert answer(requests, 1.1, ids[0]) is request
        requests.keep(1.1, ids[0], request)
        assert answer(requests, 1.2, ids[second_under]) is request
        assert_settled(requests)


def test_a_late_answer_can_be_kept_too() -> None:
    requests = table()
    request_id = requests.start(0.0, BOB, None, b"?")
    now = give_up(requests, 0.0)
    request = answer(requests, now, request_id)
    assert request is not None
    requests.keep(now, request_id, request)
    assert not request.given_up
    assert len(requests) == 1
    assert answer(requests, now + 1, request_id) is request
    assert_settled(requests)


def test_progress_moves_the_deadline_and_silence_ends_it() -> None:
    requests = table()
    _, request = kept(requests)
    for now in (1.0, 2.5, 4.0):
        requests.touch(now, request)
        assert requests.next_timeout() == now + PULL_IDLE_S
    assert requests.due(0.1 + PULL_IDLE_S) == []
    [(request_id, _)] = requests.due(4.0 + PULL_IDLE_S)
    assert request_id is not None


def test_progress_never_shortens_the_wait() -> None:
    requests = table(
        Config(request_timeout_first_s=PULL_IDLE_S * 3, request_timeout_max_s=PULL_IDLE_S * 3)
    )
    requests.start(0.0, BOB, None, b"?")
    due_at = requests.next_timeout()
    [(request, _)] = requests._open.values()
    requests.touch(1.0, request)
    assert requests.next_timeout() == request.deadline == due_at == PULL_IDLE_S * 3


def test_progress_for_ever_is_no_progress() -> None:
    requests = table()
    _, request = kept(requests)
    now = 0.0
    while requests.due(now) == []:
        requests.touch(now, request)
        now += PULL_IDLE_S / 2
        assert now < PULL_MAX_S + PULL_IDLE_S
    assert now >= PULL_MAX_S


def test_who_promises_a_second_answer_for_ever_is_given_up() -> None:
    requests = table()
    kept(requests)
    sent = 1
    while True:
        due_at = requests.next_timeout()
        assert due_at is not None
        [(new_id, request)] = requests.due(due_at)
        if new_id is None:
            break
        sent += 1
        assert sent < 10
        assert answer(requests, due_at + 0.1, new_id) is request
        requests.keep(due_at + 0.1, new_id, request)
    assert sent <= CONFIG.tries + 1


def test_a_lost_second_answer_is_asked_for_again_even_after_the_last_try() -> None:
    requests = table()
    requests.start(0.0, BOB, None, b"?")
    [(second, request)] = requests.due(1.0)
    assert second is not None
    answer(requests, 1.1, second)
    requests.keep(1.1, second, request)
    [(third, _)] = requests.due(1.1 + PULL_IDLE_S)
    assert third is not None


# ---- how long ----


def rfc_6298(rtts: list[float]) -> tuple[float, float]:
    """Section 2 of the RFC, word by word: SRTT and RTTVAR."""
    srtt, rttvar = rtts[0], rtts[0] / 2
    for rtt in rtts[1:]:
        rttvar = (1 - 1 / 4) * rttvar + 1 / 4 * abs(srtt - rtt)
        srtt = (1 - 1 / 8) * srtt + 1 / 8 * rtt
    return srtt, rttvar


@given(rtts=st.lists(st.floats(0, 20), min_size=1, max_size=30))
def test_waiting_follows_rfc_6298_within_its_bounds(rtts: list[float]) -> None:
    requests = table()
    for rtt in rtts:
        request_id = requests.start(0.0, BOB, None, b"?")
        assert answer(requests, rtt, request_id)
    srtt, rttvar = rfc_6298(rtts)
    timeout = min(max(MIN_S, srtt + 4 * rttvar), MAX_S)
    assert requests.timeout_for(BOB) == pytest.approx(timeout)
    assert requests.join_after(BOB) == pytest.approx(max(HASTE_MIN_S, srtt + 0.84 * rttvar))
    assert requests.free_after(BOB) == pytest.approx(max(HASTE_MIN_S, srtt + 2 * rttvar))
    requests.start(100.0, BOB, None, b"?")
    assert requests.next_timeout() == pytest.approx(100.0 + timeout)
    requests.due(200.0)
    assert requests.next_timeout() == pytest.approx(200.0 + min(2 * timeout, MAX_S))


def test_before_any_measurement_waiting_is_what_the_settings_say() -> None:
    requests = table()
    assert requests.timeout_for(BOB) == FIRST_S
    assert requests.join_after(BOB) == JOIN_AFTER_FIRST_S
    assert requests.free_after(BOB) == FIRST_S


@given(rtts=st.lists(st.floats(0, 3), min_size=1, max_size=RECENT_MAX * 2))
def test_a_peer_never_met_is_given_what_others_needed_lately(rtts: list[float]) -> None:
    requests = table()
    for number, rtt in enumerate(rtts):
        ask_and_answer(requests, rtt, nth_contact(1 + number))
    ordered = sorted(rtts[-RECENT_MAX:])
    stranger = nth_contact(0)
    assert requests.join_after(stranger) == max(HASTE_MIN_S, ordered[len(ordered) * 3 // 4])
    assert requests.free_after(stranger) == max(HASTE_MIN_S, ordered[len(ordered) * 9 // 10])
    assert requests.timeout_for(stranger) == FIRST_S


def test_what_a_stranger_is_given_follows_a_change_after_few_answers() -> None:
    requests, stranger = table(), nth_contact(0)
    for number in range(RECENT_MAX):
        ask_and_answer(requests, 0.1, nth_contact(1 + number))
    assert requests.free_after(stranger) == pytest.approx(0.1)
    for number in range(RECENT_MAX // 5):
        ask_and_answer(requests, 2.0, nth_contact(1 + number))
        requests.free_after(stranger)
    assert requests.free_after(stranger) == 2.0


def test_a_flood_of_peers_is_remembered_up_to_the_cap_and_who_is_heard_often_stays() -> None:
    requests = table()
    ask_and_answer(requests, 0.01, BOB)
    for number in range(PEERS_MAX * 2):
        if number % 1000 == 0:
            assert requests.timeout_for(BOB) == MIN_S
            ask_and_answer(requests, 0.01, BOB)
        ask_and_answer(requests, 1.0, nth_contact(10 + number))
    assert len(requests._peers) == PEERS_MAX
    assert requests.timeout_for(BOB) == MIN_S
    assert requests.timeout_for(nth_contact(10)) == FIRST_S


@given(outcomes=st.lists(st.booleans(), max_size=80))
def test_the_unanswered_share_is_that_of_the_last_tries(outcomes: list[bool]) -> None:
    requests = table(Config(tries=1))
    now = 0.0
    for answered in outcomes:
        request_id = requests.start(now, BOB, None, b"?")
        if answered:
            answer(requests, now, request_id)
        else:
            now += 100.0
            requests.due(now)
    unanswered = outcomes[-ENDED_MAX:].count(False)
    assert requests.unanswered_share == unanswered / ENDED_MAX


def test_a_try_sent_again_went_unanswered_and_a_late_answer_changes_nothing() -> None:
    requests = table()
    request_id = requests.start(0.0, BOB, None, b"?")
    requests.due(1.0)
    assert requests.unanswered_share == 1 / ENDED_MAX
    requests.due(5.0)
    assert requests.unanswered_share == 2 / ENDED_MAX
    answer(requests, 5.1, request_id)
    assert requests.unanswered_share == 2 / ENDED_MAX


# ---- any order of everything ----


@attrs.define(eq=False)
class Asked:
    """What a reader with a pencil would keep of one request."""

    request: Request
    ids: list[bytes]
    owner: Owner | None
    waiting: bool = True
    over: bool = False


class RequestsAgreeWithAList(RuleBasedStateMachine):
    """Everything that was ever asked, in a list; time moves on as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.requests = table()
        self.asked: list[Asked] = []
        self.owners: list[Owner | None] = [Owner(), Owner(), None]
        self.ended: list[Owner | None] = []

    def drawn(self, data: st.DataObject) -> Asked:
        return data.draw(st.sampled_from(self.asked))

    @rule(number=st.integers(0, 3), owner=st.integers(0, 2))
    def start(self, number: int, owner: int) -> None:
        asker = self.owners[owner]
        request_id = self.requests.start(self.now, nth_contact(number), asker, b"?")
        self.asked.append(Asked(self.requests._open[request_id][0], [request_id], asker))

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.3, 0.6, 2.0, LATE_S]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for request_id, request in self.requests.due(self.now):
            [asked] = [each for each in self.asked if each.request is request]
            assert asked.waiting
            if request_id is None:
                asked.waiting = False
            else:
                asked.ids.append(request_id)
        assert self.requests.due(self.now) == []

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), forged=st.booleans())
    def answer(self, data: st.DataObject, *, forged: bool) -> None:
        asked = self.drawn(data)
        request_id = data.draw(st.sampled_from(asked.ids))
        contact = asked.request.contact
        key = bytes(reversed(contact.public_key)) if forged else contact.public_key
        counts = not asked.over and (asked.waiting or self.now <= asked.request.sent_at + LATE_S)
        taken = self.requests.take(self.now, key, contact.address, request_id)
        if counts and (not forged or key == contact.public_key):
            assert taken is asked.request
            assert taken.given_up is not asked.waiting
            assert taken.owner is asked.owner
            asked.over, asked.waiting = True, False
        else:
            assert taken is None

    @precondition(lambda self: any(asked.over for asked in self.asked))
    @rule(data=st.data())
    def keep(self, data: st.DataObject) -> None:
        asked = data.draw(st.sampled_from([each for each in self.asked if each.over]))
        self.requests.keep(self.now, asked.ids[0], asked.request)
        asked.over, asked.waiting = False, True

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        self.requests.touch(self.now, self.drawn(data).request)

    @invariant()
    def counts_and_times_agree(self) -> None:
        deadlines = [asked.request.deadline for asked in self.asked if asked.waiting]
        assert len(self.requests) == len(deadlines)
        assert self.requests.next_timeout() == (min(deadlines) if deadlines else None)

    def teardown(self) -> None:
        """Whatever happened, when all is over nothing is left behind."""
        end = give_up(self.requests, self.now)
        self.requests.due(end + LATE_S + 1)
        assert_settled(self.requests)


TestRequestsAgreeWithAList = RequestsAgreeWithAList.TestCase
