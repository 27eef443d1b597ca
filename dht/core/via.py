"""How a search goes about it: what ``via=`` takes. Frozen values."""

from typing import Any, final

import attrs

from ..errors import LocalError

#: S/Kademlia (Baumgart & Mies 2007) gains little beyond 8 paths; twice that is room to study it.
DISJOINT_MAX = 16


def _check_disjoint(_: object, __: object, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= DISJOINT_MAX:
        raise LocalError(
            f"Structured(disjoint=...) is a number of paths from 1 to {DISJOINT_MAX}, got {value!r}"
        )


ROUTINGS = ("iterative", "recursive")
REPLIES = ("path", "direct")


def _check_among(choices: tuple[str, ...]) -> Any:
    def check(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if value not in choices:
            names = " or ".join(map(repr, choices))
            raise LocalError(f"Structured({attribute.name}=...) is {names}, got {value!r}")

    return check


@final
@attrs.frozen(kw_only=True)
class Structured:
    """The structured overlay.

    ``disjoint``: how many lookups that share no node go side by side, against liars on the way.
    ``routing``: "iterative" asks node after node by itself; "recursive" has the request passed on
    from node to node, which takes fewer messages. ``reply``, of a message that is passed on: its
    answer comes back along the "path", or "direct", in one step; only where addresses are private
    or the network has a key.
    """

    disjoint: int = attrs.field(default=1, validator=_check_disjoint)
    routing: str = attrs.field(default="iterative", validator=_check_among(ROUTINGS))
    reply: str = attrs.field(default="path", validator=_check_among(REPLIES))

    def __attrs_post_init__(self) -> None:
        if self.routing == "recursive" and self.disjoint > 1:
            raise LocalError(
                f"Structured(disjoint={self.disjoint}, routing='recursive'): what is passed on "
                "goes one way; leave one of the two out"
            )
        if self.routing == "iterative" and self.reply != "path":
            raise LocalError(
                f"Structured(reply={self.reply!r}): only what is passed on has a way back; add "
                "routing='recursive'"
            )


_NAMED = {"structured": Structured()}
#: How messages go unless told: safe everywhere, and cheaper than a lookup.
RECURSIVE = Structured(routing="recursive")


def iterative_via(via: str | Structured) -> Structured:
    """The same for what cannot be passed on. Raises ``LocalError``."""
    search = search_via(via)
    if search.routing != "iterative":
        raise LocalError(f"this is asked node by node: leave routing= out of {via!r}")
    return search


def search_via(via: str | Structured) -> Structured:
    """The search that a name or a value stands for. Raises ``LocalError``."""
    if isinstance(via, Structured):
        return via
    if isinstance(via, str) and via in _NAMED:
        return _NAMED[via]
    names = ", ".join(map(repr, _NAMED))
    raise LocalError(f"via is {names} or a value such as Structured(disjoint=2), got {via!r}")
