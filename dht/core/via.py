"""How a search goes about it: what ``via=`` takes. Frozen values."""

from math import inf
from typing import Any, final

import attrs

from ..config import BUDGET_MAX
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


def _one_of(names: tuple[str, ...]) -> Any:
    def validate(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if value not in names:
            raise LocalError(
                f"{type(instance).__name__}({attribute.name}=...) is one of "
                f"{' or '.join(map(repr, names))}, got {value!r}"
            )

    return attrs.field(default=names[0], validator=validate)


@final
@attrs.frozen(kw_only=True)
class Structured:
    """The structured overlay.

    ``disjoint``: how many lookups that share no node go side by side, against liars on the way.
    ``routing``: "iterative" asks node after node by itself; "recursive" has the request passed on
    from node to node, which takes fewer messages. ``reply``, only of a message (``send``) that is
    passed on: its answer comes back along the "path", or "direct", in one step; only where
    addresses are private or the network has a key.
    """

    disjoint: int = attrs.field(default=1, validator=_check_disjoint)
    routing: str = _one_of(ROUTINGS)
    reply: str = _one_of(REPLIES)

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


#: Copies that a put places unless told otherwise: as many as a record has owners.
COPIES = 8
#: Copies are asked to be kept by one node after the other; more than this is a broadcast.
COPIES_MAX = 1024
_WHERE = ("random", "path", "publisher")
_BY = ("uniform", "proportional", "square_root")


def _number(default: int, low: int, high: int) -> Any:
    def validate(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise LocalError(
                f"{type(instance).__name__}({attribute.name}=...) is a whole number from {low} to "
                f"{high}, got {value!r}"
            )

    return attrs.field(default=default, validator=validate)


def _switch() -> Any:
    def validate(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, bool):
            raise LocalError(
                f"{type(instance).__name__}({attribute.name}=...) is True or False, got {value!r}"
            )

    return attrs.field(default=False, validator=validate)


@final
@attrs.frozen(kw_only=True)
class Placement:
    """Where the copies of a record go in the unstructured overlay, beside its publisher.

    ``where``: "publisher" makes none; "path" leaves one at each step of a random walk; "random" at
    random nodes. ``copies``: how many, on average over the records that this node publishes, and
    ``by``: to each the same number ("uniform"), or by how often it was found lately, in
    "proportional" shares or by its "square_root", which makes the searches of all of them together
    the shortest (Cohen and Shenker 2002).
    """

    where: str = _one_of(_WHERE)
    copies: int = _number(COPIES, 0, COPIES_MAX)
    by: str = _one_of(_BY)


# A converter does not know which option it is of: what it cannot make anything of it leaves as it
# is, for the validator, which does.


def _placement_of(value: str | Placement) -> Placement:
    if isinstance(value, str) and value in _WHERE:
        return Placement(where=value)
    return value  # type: ignore[return-value]


def _check_placement(instance: object, _: object, value: Any) -> None:
    if not isinstance(value, Placement):
        names = ", ".join(map(repr, _WHERE))
        raise LocalError(
            f"{type(instance).__name__}(placement=...) is {names} or a "
            f"Placement(where=..., copies=..., by=...), got {value!r}"
        )


def _budget_of(value: float | None) -> int | None:
    """None: as much as a node passes on; ``math.inf`` for measurements."""
    if value == inf or (isinstance(value, int) and value > BUDGET_MAX):
        return BUDGET_MAX
    return value  # type: ignore[return-value]


def _check_budget(instance: object, _: object, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise LocalError(
            f"{type(instance).__name__}(budget=...) is a number of messages above 0, math.inf, or "
            f"None for as many as a node passes on, got {value!r}"
        )


@final
@attrs.frozen(kw_only=True)
class Flood:
    """A search of the unstructured overlay that goes to all neighbours, and from each to all of its
    own, ``ttl`` hops far.

    ``reply``: the record comes back along the "path" that the search came by, or "direct" from its
    holder, where members or neighbours only can be asked to speak to a stranger. ``ring``: first to
    the neighbours, and farther only if they do not have it. ``budget``: messages that it may cost.
    ``placement``: of a put, where the copies go, and the only option that counts there; of a get,
    "path" leaves some on the way back, and nothing else of it counts.
    """

    ttl: int = _number(5, 1, 64)
    reply: str = _one_of(REPLIES)
    ring: bool = _switch()
    budget: int | None = attrs.field(default=None, converter=_budget_of, validator=_check_budget)
    placement: Placement = attrs.field(
        default=Placement(), converter=_placement_of, validator=_check_placement
    )


@final
@attrs.frozen(kw_only=True)
class Walk:
    """A search of the unstructured overlay by random walkers, each ``ttl`` steps far.

    ``check_every``: after so many steps a walker asks whether it is still needed; 0: never.
    ``bias``: it prefers neighbours that have many themselves. ``state``: it does not go where
    another one of this search went from the same node. The others are as in ``Flood``. Of a message
    ``walkers``, ``ttl`` and ``reply`` count, and the others have to be left alone.
    """

    walkers: int = _number(16, 1, 256)
    ttl: int = _number(64, 1, 255)
    check_every: int = _number(4, 0, 255)
    bias: bool = _switch()
    state: bool = _switch()
    reply: str = _one_of(REPLIES)
    budget: int | None = attrs.field(default=None, converter=_budget_of, validator=_check_budget)
    placement: Placement = attrs.field(
        default=Placement(), converter=_placement_of, validator=_check_placement
    )


@final
@attrs.frozen(kw_only=True)
class Index:
    """A search of the unstructured overlay that asks index nodes who holds the record, and falls
    back to ``Walk()`` where they do not know. ``placement``: of a put, where the copies go."""

    placement: Placement = attrs.field(
        default=Placement(), converter=_placement_of, validator=_check_placement
    )


#: How messages go unless told: safe everywhere, and cheaper than a lookup.
RECURSIVE = Structured(routing="recursive")

Via = Structured | Flood | Walk | Index
#: Of the unstructured overlay.
Unstructured = Flood | Walk | Index

_NAMED: dict[str, Via] = {
    "structured": Structured(),
    "flood": Flood(),
    "walk": Walk(),
    "index": Index(),
}


def search_via(via: str | Via, *, option: str = "via") -> Via:
    """The search that a name or a value stands for; ``option``: where it was written. Raises
    ``LocalError``."""
    if isinstance(via, Via):
        return via
    if isinstance(via, str) and via in _NAMED:
        return _NAMED[via]
    names = ", ".join(map(repr, _NAMED))
    raise LocalError(f"{option} is {names} or a value such as Structured(disjoint=2), got {via!r}")
