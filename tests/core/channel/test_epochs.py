"""Tokens, cookies, path values and the memory of first messages, over time."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.contacts import pack_address
from dht.core.channel import epochs
from dht.core.channel.epochs import EPOCH_S, Epochs
from dht.core.channel.packets import NO_TOKEN

HOME = pack_address("1.2.3.4", 5)
AWAY = pack_address("1.2.3.4", 6)
KEY, OTHER = b"k" * 32, b"o" * 32


@given(st.floats(0, 1000), st.floats(0, 300))
def test_everything_holds_for_one_epoch_at_least_and_for_two_at_most(
    start: float, pause: float
) -> None:
    machine = Epochs(Random(1))
    machine.token(0.0, KEY, HOME)  # the first epoch begins at 0
    token = machine.token(start, KEY, HOME)
    cookie = machine.cookie(start, HOME)
    path = machine.path(start, b"c" * 8, HOME)
    assert machine.remember(start, b"e" * 32)
    later = start + pause
    holds = [
        machine.token_holds(later, token, KEY, HOME),
        cookie in machine.cookies(later, HOME),
        machine.path_holds(later, path, b"c" * 8, HOME),
        machine.seen(later, b"e" * 32),
    ]
    if later - start < EPOCH_S:
        assert all(holds)
    if later - start >= 2 * EPOCH_S:
        assert not any(holds)
    assert len(set(holds)) == 1, "they share one clock: a replay finds one of them"


def test_a_token_is_for_one_key_at_one_address() -> None:
    machine = Epochs(Random(1))
    token = machine.token(0.0, KEY, HOME)
    assert machine.token_holds(0.0, token, KEY, HOME)
    assert not machine.token_holds(0.0, token, OTHER, HOME)
    assert not machine.token_holds(0.0, token, KEY, AWAY)
    assert not machine.token_holds(0.0, NO_TOKEN, KEY, HOME)
    assert not Epochs(Random(2)).token_holds(0.0, token, KEY, HOME)


def test_a_cookie_is_for_one_address_and_no_token() -> None:
    machine = Epochs(Random(1))
    assert machine.cookie(0.0, HOME) not in machine.cookies(0.0, AWAY)
    assert machine.cookie(0.0, HOME) != machine.token(0.0, b"", HOME)


def test_a_path_value_is_for_one_session_at_one_address() -> None:
    machine = Epochs(Random(1))
    value = machine.path(0.0, b"c" * 8, HOME)
    assert not machine.path_holds(0.0, value, b"d" * 8, HOME)
    assert not machine.path_holds(0.0, value, b"c" * 8, AWAY)


def test_when_there_is_no_room_nothing_is_forgotten_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(epochs, "SEEN_MAX", 2)
    machine = Epochs(Random(1))
    assert machine.remember(0.0, b"a" * 32)
    assert machine.remember(0.0, b"b" * 32)
    assert machine.full(0.0)
    assert not machine.remember(0.0, b"c" * 32)
    assert machine.seen(0.0, b"a" * 32)
    assert not machine.seen(0.0, b"c" * 32)
    assert not machine.full(EPOCH_S)
    assert machine.remember(EPOCH_S, b"d" * 32)
    assert len(machine) == 3
