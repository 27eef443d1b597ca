import pytest

from dht.core.via import DISJOINT_MAX, Structured, search_via
from dht.errors import LocalError


def test_a_name_and_a_value_say_the_same() -> None:
    assert search_via("structured") == search_via(Structured()) == Structured(disjoint=1)


@pytest.mark.parametrize("disjoint", [0, -1, DISJOINT_MAX + 1, 1.5, True, None, "2"])
def test_a_number_of_paths_that_cannot_be_is_shown(disjoint: object) -> None:
    with pytest.raises(LocalError, match=r"disjoint=.* 1 to 16, got") as caught:
        Structured(disjoint=disjoint)  # type: ignore[arg-type]
    assert repr(disjoint) in str(caught.value)


@pytest.mark.parametrize("via", ["flooding", "", None, 1, Structured])
def test_an_unknown_search_is_shown_with_those_that_there_are(via: object) -> None:
    with pytest.raises(LocalError, match="'structured'") as caught:
        search_via(via)  # type: ignore[arg-type]
    assert repr(via) in str(caught.value)
