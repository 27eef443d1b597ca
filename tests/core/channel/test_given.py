"""What peers gave us, and with which network key they are asked."""

import pytest

from dht.contacts import Contact, contact_at
from dht.core.channel import given
from dht.core.channel.epochs import EPOCH_S
from dht.core.channel.given import KEY_PATIENCE_S, Given
from dht.core.channel.packets import NO_TOKEN
from tests.core.channel.ends import address_of


def contact(number: int) -> Contact:
    return contact_at(number.to_bytes(32), address_of(number))


def test_tokens_and_cookies_are_shown_for_two_epochs() -> None:
    machine = Given(1)
    machine.keep_token(0.0, contact(1), b"t" * 16)
    machine.keep_cookie(0.0, contact(1), b"c" * 16)
    assert machine.token(2 * EPOCH_S - 1, contact(1)) == b"t" * 16
    assert machine.cookie(2 * EPOCH_S - 1, contact(1)) == b"c" * 16
    assert machine.token(2 * EPOCH_S, contact(1)) == NO_TOKEN
    assert machine.cookie(2 * EPOCH_S, contact(1)) is None


def test_they_are_of_one_peer_at_one_address() -> None:
    machine = Given(1)
    machine.keep_token(0.0, contact(1), b"t" * 16)
    elsewhere = contact_at(contact(1).public_key, address_of(2))
    assert machine.token(0.0, elsewhere) == NO_TOKEN


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKENS_MAX", "COOKIES_MAX", "SPOKEN_MAX"):
        monkeypatch.setattr(given, name, 2)
    machine = Given(2)
    for number in range(3):
        machine.keep_token(0.0, contact(number), b"t" * 16)
        machine.keep_cookie(0.0, contact(number), b"c" * 16)
        machine.heard(contact(number).packed, 1)
    assert machine.token(0.0, contact(0)) == NO_TOKEN
    assert machine.cookie(0.0, contact(0)) is None
    assert [machine.key_for(0.0, contact(number)) for number in range(3)] == [0, 1, 1]


def test_with_one_network_key_there_is_nothing_to_choose() -> None:
    machine = Given(1)
    assert [machine.key_for(float(now), contact(1)) for now in range(5)] == [0] * 5


def test_the_newest_key_is_tried_first_and_after_silence_the_next() -> None:
    machine = Given(3)
    patience = KEY_PATIENCE_S
    assert machine.key_for(0.0, contact(1)) == 0
    assert machine.key_for(patience / 2, contact(1)) == 0, "its answer may be under way"
    assert machine.key_for(patience, contact(1)) == 1
    assert machine.key_for(2 * patience, contact(1)) == 2
    assert machine.key_for(3 * patience, contact(1)) == 0


def test_who_was_heard_with_a_key_is_asked_with_it() -> None:
    machine = Given(2)
    machine.heard(contact(1).packed, 1)
    assert machine.key_for(0.0, contact(1)) == 1
    machine.heard(contact(1).packed, 0)
    assert machine.key_for(100.0, contact(1)) == 0, "an answer ends the silence"
