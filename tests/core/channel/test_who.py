"""WHO and IAM: who gets an answer, how much of one, and which answers are believed."""

from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dht.contacts import Address, pack_address
from dht.core.channel.who import (
    ANSWERS_PER_S,
    ASKED_LIFE_S,
    ASKED_MAX,
    IAM_SIZE,
    MAC_SIZE,
    WHO_SIZE,
    Who,
)
from dht.network import Network

ALICE, BOB, EVE = b"a" * 32, b"b" * 32, b"e" * 32
HERE, THERE = pack_address("192.0.2.1", 4001), pack_address("192.0.2.2", 4002)
OLD, NEW = b"o" * 32, b"n" * 32


def who_of(public_key: bytes, network: Network = Network.named()) -> Who:
    return Who(public_key, network.secrets(), Random(public_key.hex()))


def introduced(asker: Who, answerer: Who, *, now: float = 0.0, later_s: float = 0.0) -> bool:
    """Does the one learn who the other is?"""
    answer = answerer.receive(now, asker.ask(now, THERE), HERE)
    if answer is not None:
        asker.receive(now + later_s, answer, THERE)
    return bool(asker.identified())


def iam(answerer: Who, question: bytes, now: float = 0.0) -> bytes:
    answer = answerer.receive(now, question, HERE)
    assert answer is not None
    return answer


def test_who_asks_learns_the_public_key_at_an_address() -> None:
    alice = who_of(ALICE)
    alice.receive(0.0, iam(who_of(BOB), alice.ask(0.0, THERE)), THERE)
    assert alice.identified() == [(THERE, BOB)]
    assert alice.identified() == []


# ---- who is answered ----


def test_the_answer_is_shorter_than_the_question() -> None:
    question = who_of(ALICE).ask(0.0, THERE)
    assert len(question) == WHO_SIZE == 96
    assert len(iam(who_of(BOB), question)) == IAM_SIZE == 65


@given(st.binary(max_size=200) | st.binary(max_size=100).map(b"\x20".__add__))
def test_any_other_bytes_get_no_answer(data: bytes) -> None:
    who = who_of(BOB)
    assert who.receive(0.0, data, HERE) is None
    assert who.identified() == []


@given(st.integers(0, WHO_SIZE * 8 - 1))
def test_a_question_with_one_bit_changed_gets_none(bit: int) -> None:
    question = bytearray(who_of(ALICE).ask(0.0, THERE))
    question[bit // 8] ^= 1 << bit % 8
    assert who_of(BOB).receive(0.0, bytes(question), HERE) is None


@pytest.mark.parametrize("change", [1, -1])
def test_a_question_of_another_length_gets_none(change: int) -> None:
    question = who_of(ALICE).ask(0.0, THERE)
    assert who_of(BOB).receive(0.0, (question + b"\0")[: WHO_SIZE + change], HERE) is None


def test_without_the_network_key_there_is_silence() -> None:
    for network in (Network.named(), Network.named("other"), Network.named("main", NEW)):
        assert not introduced(who_of(ALICE, network), who_of(BOB, Network.named("main", OLD)))
    assert introduced(
        who_of(ALICE, Network.named("main", OLD)), who_of(BOB, Network.named("main", OLD))
    )


def test_while_a_key_is_replaced_both_are_answered_in_kind() -> None:
    changed = Network.named("main", [NEW, OLD])
    for asker in (Network.named("main", OLD), Network.named("main", NEW), changed):
        assert introduced(who_of(ALICE, asker), who_of(BOB, changed))


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=100))
@example([0.0] * (ANSWERS_PER_S + 1))
@example([0.09] * 40)
def test_no_second_has_more_than_ten_answers(pauses: list[float]) -> None:
    alice, bob = who_of(ALICE), who_of(BOB)
    now, answered = 0.0, list[float]()
    for pause in pauses:
        now += pause
        if bob.receive(now, alice.ask(now, THERE), HERE) is not None:
            answered.append(now)
        else:  # only when it has to be
            assert len([at for at in answered if now - at < 1.0]) == ANSWERS_PER_S
    for at in answered:
        assert len([other for other in answered if 0 <= other - at < 1.0]) <= ANSWERS_PER_S


def test_questions_without_the_key_do_not_use_up_the_answers() -> None:
    bob, stranger = who_of(BOB, Network.named("main", OLD)), who_of(EVE)
    for _ in range(100):
        assert bob.receive(0.0, stranger.ask(0.0, THERE), HERE) is None
    assert introduced(who_of(ALICE, Network.named("main", OLD)), bob)


# ---- which answers are believed ----


@given(st.integers(0, IAM_SIZE * 8 - 1))
def test_an_answer_with_one_bit_changed_is_not(bit: int) -> None:
    alice = who_of(ALICE)
    answer = bytearray(iam(who_of(BOB), alice.ask(0.0, THERE)))
    answer[bit // 8] ^= 1 << bit % 8
    alice.receive(0.0, bytes(answer), THERE)
    assert alice.identified() == []


@pytest.mark.parametrize("source", [HERE, pack_address("192.0.2.2", 4003)])
def test_an_answer_from_another_address_is_not(source: Address) -> None:
    alice = who_of(ALICE)
    alice.receive(0.0, iam(who_of(BOB), alice.ask(0.0, THERE)), source)
    assert alice.identified() == []


def test_an_answer_counts_once() -> None:
    alice = who_of(ALICE)
    answer = iam(who_of(BOB), alice.ask(0.0, THERE))
    for _ in range(2):
        alice.receive(0.0, answer, THERE)
    assert len(alice.identified()) == 1


def test_a_late_answer_counts_until_it_is_too_late() -> None:
    assert introduced(who_of(ALICE), who_of(BOB), later_s=ASKED_LIFE_S)
    assert not introduced(who_of(ALICE), who_of(BOB), later_s=ASKED_LIFE_S + 0.1)


def test_an_answer_to_somebody_else_is_not() -> None:
    alice, carol = who_of(ALICE), who_of(b"c" * 32)
    alice.ask(0.0, THERE)
    alice.receive(0.0, iam(who_of(BOB), carol.ask(0.0, THERE)), THERE)
    assert alice.identified() == []


def test_our_own_question_that_comes_back_is_no_answer() -> None:
    alice = who_of(ALICE)
    question = alice.ask(0.0, THERE)
    alice.receive(0.0, b"\x21" + question[1:], THERE)
    alice.receive(0.0, b"\x21" + question[1 : IAM_SIZE - MAC_SIZE] + question[-MAC_SIZE:], THERE)
    assert alice.identified() == []


# ---- memory ----


def test_what_was_asked_is_forgotten_in_time_and_in_number() -> None:
    alice = who_of(ALICE)
    for number in range(3 * ASKED_MAX):
        alice.ask(number * 1e-3, THERE)
        assert len(alice._asked) <= ASKED_MAX
    alice.ask(1000.0, THERE)
    assert len(alice._asked) == 1


def test_every_question_has_a_nonce_of_its_own() -> None:
    alice = who_of(ALICE)
    assert len({alice.ask(0.0, THERE) for _ in range(100)}) == 100
