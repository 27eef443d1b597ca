"""How a search goes about it: what ``via=`` takes. Frozen values."""

from typing import final

import attrs

from ..errors import LocalError

#: S/Kademlia (Baumgart & Mies 2007) gains little beyond 8 paths; twice that is room to study it.
DISJOINT_MAX = 16


def _check_disjoint(_: object, __: object, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= DISJOINT_MAX:
        raise LocalError(
            f"Structured(disjoint=...) is a number of paths from 1 to {DISJOINT_MAX}, got {value!r}"
        )


@final
@attrs.frozen(kw_only=True)
class Structured:
    """An iterative lookup in the structured overlay.

    ``disjoint``: how many lookups that share no node go side by side, against liars on the way.
    """

    disjoint: int = attrs.field(default=1, validator=_check_disjoint)


_NAMED = {"structured": Structured()}


def search_via(via: str | Structured) -> Structured:
    """The search that a name or a value stands for. Raises ``LocalError``."""
    if isinstance(via, Structured):
        return via
    if isinstance(via, str) and via in _NAMED:
        return _NAMED[via]
    names = ", ".join(map(repr, _NAMED))
    raise LocalError(f"via is {names} or a value such as Structured(disjoint=2), got {via!r}")
