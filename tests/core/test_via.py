"""What ``via=`` takes: names, values, and what is said of anything else."""

from math import inf, nan
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.config import BUDGET_MAX
from dht.core.via import (
    COPIES_MAX,
    DISJOINT_MAX,
    Flood,
    Index,
    Placement,
    Structured,
    Via,
    Walk,
    search_via,
)
from dht.errors import LocalError

NAMED: dict[str, Via] = {
    "structured": Structured(),
    "flood": Flood(),
    "walk": Walk(),
    "index": Index(),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_name_and_a_value_say_the_same(name: str) -> None:
    value = NAMED[name]
    assert search_via(name) == search_via(value) == value
    assert search_via(value) is value


def test_what_they_do_unless_told_otherwise() -> None:
    assert Structured() == Structured(disjoint=1)
    assert Flood() == Flood(ttl=5, reply="path", ring=False, budget=None, placement="random")
    assert Walk() == Walk(
        walkers=16, ttl=64, check_every=4, bias=False, state=False, reply="path", budget=None
    )
    assert Placement() == Placement(where="random", copies=8, by="uniform")


@pytest.mark.parametrize("via", [Structured(), Flood(), Walk(), Index(), Placement()])
def test_they_are_frozen_values(via: Any) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        via.ttl = 1
    assert hash(via) == hash(attrs.evolve(via))


@pytest.mark.parametrize("disjoint", [0, -1, DISJOINT_MAX + 1, 1.5, True, None, "2"])
def test_a_number_of_paths_that_cannot_be_is_shown(disjoint: object) -> None:
    with pytest.raises(LocalError, match=r"disjoint=.* 1 to 16, got") as caught:
        Structured(disjoint=disjoint)  # type: ignore[arg-type]
    assert repr(disjoint) in str(caught.value)


@pytest.mark.parametrize("via", ["flooding", "", None, 1, Structured])
def test_an_unknown_search_is_shown_with_those_that_there_are(via: object) -> None:
    with pytest.raises(LocalError, match="'structured', 'flood', 'walk', 'index'") as caught:
        search_via(via)  # type: ignore[arg-type]
    assert repr(via) in str(caught.value)
    with pytest.raises(LocalError, match=r"^fallback is"):
        search_via(via, option="fallback")  # type: ignore[arg-type]


#: Each number, and the least and the most that it may be.
NUMBERS: list[tuple[Any, str, int, int]] = [
    (Flood, "ttl", 1, 64),
    (Walk, "walkers", 1, 256),
    (Walk, "ttl", 1, 255),
    (Walk, "check_every", 0, 255),
    (Placement, "copies", 0, COPIES_MAX),
]


@pytest.mark.parametrize(("kind", "name", "low", "high"), NUMBERS)
def test_numbers_are_whole_and_in_their_range(kind: Any, name: str, low: int, high: int) -> None:
    for value in (low, high):
        assert getattr(kind(**{name: value}), name) == value
    for wrong in (low - 1, high + 1, 1.5, True, None, "2", nan):
        with pytest.raises(
            LocalError, match=f"{name}=.*whole number from {low} to {high}"
        ) as caught:
            kind(**{name: wrong})
        assert kind.__name__ in str(caught.value)
        assert repr(wrong) in str(caught.value)


#: Each of several words, and which they are.
WORDS: list[tuple[Any, str, list[str]]] = [
    (Flood, "reply", ["path", "direct"]),
    (Walk, "reply", ["path", "direct"]),
    (Placement, "where", ["random", "path", "publisher"]),
    (Placement, "by", ["uniform", "proportional", "square_root"]),
]


@pytest.mark.parametrize(("kind", "name", "words"), WORDS)
def test_words_are_of_those_that_are_named(kind: Any, name: str, words: list[str]) -> None:
    for word in words:
        assert getattr(kind(**{name: word}), name) == word
    for wrong in ("paths", "", None, 1, b"path", ["path"]):
        with pytest.raises(LocalError, match=f"{name}=") as caught:
            kind(**{name: wrong})
        assert all(repr(word) in str(caught.value) for word in [*words, wrong])


@pytest.mark.parametrize(("kind", "name"), [(Flood, "ring"), (Walk, "bias"), (Walk, "state")])
def test_switches_are_on_or_off(kind: Any, name: str) -> None:
    assert getattr(kind(**{name: True}), name) is True
    for wrong in (1, 0, None, "yes"):
        with pytest.raises(LocalError, match=f"{name}=.*True or False, got {wrong!r}"):
            kind(**{name: wrong})


@given(st.integers(1, 2**70))
def test_a_budget_is_a_number_of_messages_and_no_more_than_the_wire_carries(budget: int) -> None:
    assert Flood(budget=budget).budget == Walk(budget=budget).budget == min(budget, BUDGET_MAX)


def test_a_budget_may_be_left_to_the_node_or_have_no_end() -> None:
    assert Flood(budget=None).budget is None
    assert Walk(budget=inf).budget == BUDGET_MAX


@pytest.mark.parametrize("budget", [0, -1, 1.5, True, "1", nan, -inf, [1]])
def test_a_budget_that_cannot_be_is_shown(budget: Any) -> None:
    for kind in (Flood, Walk):
        told = rf"^{kind.__name__}\(budget=.*above 0, math.inf, or None"
        with pytest.raises(LocalError, match=told) as caught:
            kind(budget=budget)
        assert repr(budget) in str(caught.value)


@pytest.mark.parametrize("kind", [Flood, Walk, Index])
def test_a_placement_is_a_word_or_a_value(kind: Any) -> None:
    assert kind(placement="path").placement == Placement(where="path")
    placement = Placement(where="publisher", copies=3, by="square_root")
    assert kind(placement=placement).placement is placement
    for wrong in ("somewhere", None, 8, b"path", Placement):
        told = rf"^{kind.__name__}\(placement=.*'random'.*Placement\(where"
        with pytest.raises(LocalError, match=told) as caught:
            kind(placement=wrong)
        assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"disjoint": 2, "routing": "recursive"}, "disjoint=2"),
        ({"reply": "direct"}, "reply='direct'"),
        ({"routing": "recursively"}, "'recursively'"),
    ],
)
def test_options_that_do_not_go_together_are_shown(options: dict[str, Any], shown: str) -> None:
    with pytest.raises(LocalError) as caught:
        Structured(**options)
    assert shown in str(caught.value)
    assert Structured(routing="recursive", reply="direct").reply == "direct"
