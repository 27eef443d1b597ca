"""Every knob has a range, and says which when it is left."""

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.config import VALUE_INLINE_MAX, Config
from dht.errors import LocalError

KNOBS = [field.name for field in attrs.fields(Config) if field.type in (int, float)]
WHOLE_KNOBS = [field.name for field in attrs.fields(Config) if field.type is int]

SWITCHES = [field.name for field in attrs.fields(Config) if field.type is bool]


def test_the_defaults_are_within_their_ranges() -> None:
    assert attrs.evolve(Config()) == Config()


@pytest.mark.parametrize("name", KNOBS)
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, 10**18, "3", None, True, b"3"])
def test_a_value_out_of_range_is_refused_by_the_name_of_its_knob(name: str, value: object) -> None:
    if value is True and name in SWITCHES:
        return
    with pytest.raises(LocalError) as caught:
        Config(**{name: value})  # type: ignore[arg-type]
    assert f"Config.{name} " in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("name", WHOLE_KNOBS)
def test_what_is_counted_is_a_whole_number(name: str) -> None:
    with pytest.raises(LocalError, match=name):
        Config(**{name: 2.0})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("value", [0, 1, None, "yes"])
def test_a_switch_is_on_or_off(name: str, value: object) -> None:
    with pytest.raises(LocalError, match=rf"Config\.{name} is True or False, got {value!r}"):
        Config(**{name: value})  # type: ignore[arg-type]
    assert getattr(Config(**{name: False}), name) is False


def test_a_node_keeps_an_index_or_does_not_or_finds_out() -> None:
    for value in (True, False, None):
        assert Config(index=value).index is value
    with pytest.raises(LocalError, match=r"Config\.index is True, False or None, got 1"):
        Config(index=1)  # type: ignore[arg-type]


@given(st.sampled_from(KNOBS), st.floats() | st.integers())
def test_any_number_is_taken_or_refused_with_a_local_error(name: str, value: float) -> None:
    try:
        config = Config(**{name: value})  # type: ignore[arg-type]
    except LocalError:
        return
    assert getattr(config, name) == value


def test_knobs_are_given_by_name_and_stay() -> None:
    with pytest.raises(TypeError):
        Config(20)  # type: ignore[call-arg, arg-type]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Config().k = 5  # type: ignore[misc]


def test_by_default_a_value_may_be_longer_than_a_datagram() -> None:
    assert Config().value_size_max > VALUE_INLINE_MAX
    assert Config().alpha <= Config().alpha_max
    assert Config().replicas <= Config().k
    assert Config().request_timeout_min_s <= Config().request_timeout_first_s
    assert Config().request_timeout_first_s <= Config().request_timeout_max_s


def test_knobs_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(LocalError, match=r"alpha is 11, above Config\.alpha_max, 10"):
        Config(alpha=11)
    with pytest.raises(LocalError, match="rejoin_first_s"):
        Config(rejoin_first_s=30.0)
