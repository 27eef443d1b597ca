"""One question: asked once, and its end is told once."""

from dht.contacts import Contact
from dht.core.machine import FINISHED, Ask, Wait
from dht.core.unstructured.question import Question
from dht.wire.messages import Message, Taken, Taking
from tests.core.contacts_for_tests import contact

PEER = contact(1)
TAKEN = Taken(0, Taking.TAKEN)


def test_a_question_is_asked_once_and_waited_for() -> None:
    question = Question(PEER, b"?")
    assert question.next(0.0) == Ask(PEER, b"?")
    assert question.next(9.0) == Wait(None)
    question.on_retry(PEER)
    assert question.next(9.0) == Wait(None)
    question.on_reply(9.0, PEER, TAKEN, [])
    assert question.next(9.0) is FINISHED


def test_what_came_of_it_is_told_once_whatever_comes_later() -> None:
    told: list[tuple[float, Contact, Message | None]] = []

    def ended(now: float, contact: Contact, answer: Message | None) -> None:
        told.append((now, contact, answer))

    answered, silent = Question(PEER, b"?", ended), Question(PEER, b"?", ended)
    assert answered.next(0.0) == silent.next(0.0) == Ask(PEER, b"?")
    answered.on_reply(1.0, PEER, TAKEN, [])
    answered.on_reply(2.0, PEER, TAKEN, [])
    answered.on_failure(3.0, PEER)
    silent.on_failure(4.0, PEER)
    silent.on_failure(5.0, PEER)
    silent.on_reply(6.0, PEER, TAKEN, [])
    assert told == [(1.0, PEER, TAKEN), (4.0, PEER, None)]
    assert answered.next(7.0) is silent.next(7.0) is FINISHED
