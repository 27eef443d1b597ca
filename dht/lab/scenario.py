"""What an experiment is: a network, its links, who comes and goes, what is read, what goes wrong.

    scenario = read_scenario(Path("scenario.toml").read_text())
    larger = changed(scenario, {"nodes": "1000", "loss": "0.05", "alpha": "1"})

A ``Scenario`` is a value: everything that decides a run is in it, and ``toml_of`` writes it so that
``read_scenario`` makes the same of it. Every name is known by its section ("links.loss") and, as no
two are alike, without it ("loss"). What cannot be raises ``LocalError`` with the value, what was
expected, and the name that was probably meant.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, TypeVar, final

import attrs

from ..config import VALUE_INLINE_MAX, Config
from ..core.via import Flood, Index, Placement, Structured, Via, Walk
from ..errors import LocalError
from ..sim import LinkModel

_T = TypeVar("_T")


@final
class Overlay(StrEnum):
    """Whom a search asks."""

    KADEMLIA = "kademlia"
    FLOOD = "flood"
    WALK = "walk"
    INDEX = "index"
    TREE = "tree"
    RING = "ring"
    HYPERCUBE = "hypercube"
    XOR = "xor"

    @property
    def static(self) -> bool:
        """A model without clock and messages (``lab.geometries``), not the engine?"""
        return self in (Overlay.TREE, Overlay.RING, Overlay.HYPERCUBE, Overlay.XOR)


#: The engine's nodes live in addresses of a /24 each, of which the simulator has so many.
NODES_MAX = 500_000
#: A static model of a million nodes takes a minute or two.
STATIC_NODES_MAX = 1 << 20


def _number(name: str, default: float, low: float, high: float) -> Any:
    kind = "a whole number" if isinstance(default, int) else "a number"

    def validate(_: object, __: object, value: object) -> None:
        kinds = int if isinstance(default, int) else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            raise LocalError(f"{name} is {kind} from {low:,} to {high:,}, got {value!r}")

    return attrs.field(
        default=default,
        validator=validate,
        # So that 1 and 1.0, which are equal, are written alike as well.
        converter=None if isinstance(default, int) else _float,
    )


def _float(value: Any) -> Any:
    """Whole numbers as floats; anything else is left to the validator."""
    return float(value) if type(value) is int else value


def _one_of(name: str, default: str, names: tuple[str, ...]) -> Any:
    def validate(_: object, __: object, value: object) -> None:
        if value not in names:
            raise LocalError(
                f"{name} is one of {', '.join(names)}, got {value!r}{_meant(value, names)}"
            )

    return attrs.field(default=default, validator=validate)


def _meant(value: object, names: "Mapping[str, Any] | tuple[str, ...]") -> str:
    """The name that was probably meant, as the end of a sentence."""
    near = get_close_matches(str(value), list(names), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


# ------------------------------------------------------------------------------------- the sections


@final
@attrs.frozen(kw_only=True)
class Links:
    """The way of a datagram, as ``dht.sim.LinkModel`` has it. Rates hold from the first write on:
    a network is grown in peace."""

    rtt_median_ms: float = _number("links.rtt_median_ms", 156.0, 0.001, 60_000)
    rtt_mean_ms: float = _number("links.rtt_mean_ms", 178.0, 0.001, 60_000)
    jitter: float = _number("links.jitter", 0.1, 0, 1)
    loss: float = _number("links.loss", 0.0, 0, 1)
    duplicate: float = _number("links.duplicate", 0.0, 0, 1)
    reorder: float = _number("links.reorder", 0.0, 0, 1)
    corrupt: float = _number("links.corrupt", 0.0, 0, 1)

    def model(self) -> LinkModel:
        """The same in the simulator's terms. Raises ``LocalError``."""
        if self.rtt_median_ms > self.rtt_mean_ms:
            raise LocalError(
                f"links.rtt_median_ms is {self.rtt_median_ms:g}, above links.rtt_mean_ms, "
                f"{self.rtt_mean_ms:g}: of a log-normal round-trip time the mean is the larger"
            )
        return LinkModel(
            rtt_median_s=self.rtt_median_ms / 1000,
            rtt_mean_s=self.rtt_mean_ms / 1000,
            jitter=self.jitter,
            loss=self.loss,
            duplicate=self.duplicate,
            reorder=self.reorder,
            corrupt=self.corrupt,
        )


@final
@attrs.frozen(kw_only=True)
class Comings:
    """Who comes and goes: sessions are exponential, and each node that goes is replaced."""

    #: Of the sessions, in minutes; 0: nobody comes or goes.
    session_min: float = _number("churn.session_min", 0.0, 0, 1_000_000)
    #: Of those who go, how many say good-bye.
    polite: float = _number("churn.polite", 0.0, 0, 1)
    #: How long they come and go before anything is read; guess: time for the first repairs.
    soak_s: float = _number("churn.soak_s", 300.0, 0, 1_000_000)


@final
@attrs.frozen(kw_only=True)
class Workload:
    """What is written once and read often. Record number i is read in proportion to i ** -zipf."""

    records: int = _number("workload.records", 64, 1, 100_000)
    reads: int = _number("workload.reads", 200, 1, 10_000_000)
    value_bytes: int = _number("workload.value_bytes", 100, 8, VALUE_INLINE_MAX)
    #: 0: all alike. Measured popularity of files and pages has 0.6 to 1 (Breslau et al. 1999).
    zipf: float = _number("workload.zipf", 0.8, 0, 10)
    #: Of the whole network.
    reads_per_s: float = _number("workload.reads_per_s", 10.0, 0.001, 100_000)
    #: Over so many median sessions the reads are spread instead, so that networks under different
    #: churn are looked at for as long as it takes them to change; 0: ``reads_per_s`` says it.
    read_sessions: float = _number("workload.read_sessions", 0.0, 0, 1000)
    #: Of each record in the mean, beside that of its writer where the overlay leaves it one.
    copies: int = _number("workload.copies", 8, 1, 64)
    #: Which records have more of them: none, the popular ones, or those by their square root, which
    #: makes the searches of all together the shortest (Cohen & Shenker 2002).
    copies_by: str = _one_of(
        "workload.copies_by", "uniform", ("uniform", "square_root", "proportional")
    )


@final
@attrs.frozen(kw_only=True)
class Faults:
    """What goes wrong when everything is written, and before the first read."""

    #: The share of the nodes that dies at once, and for good.
    dead: float = _number("faults.dead", 0.0, 0, 0.99)
    #: The share of the nodes that is cut off from the others for the middle third of the reads.
    cut_off: float = _number("faults.cut_off", 0.0, 0, 0.99)


@final
@attrs.frozen(kw_only=True)
class Tables:
    """What a static model can be told: neighbours a slot, on the ring also those that follow, and
    how often a message that is stuck may go back."""

    bucket: int = _number("search.bucket", 1, 1, 128)
    sequential: int = _number("search.sequential", 1, 0, 64)
    backtracks: int = _number("search.backtracks", 0, 0, 64)


_WAYS: Mapping[Overlay, type[Any]] = {
    Overlay.KADEMLIA: Structured,
    Overlay.FLOOD: Flood,
    Overlay.WALK: Walk,
    Overlay.INDEX: Index,
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _check_name(_: object, __: object, value: object) -> None:
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        raise LocalError(
            f"name is 1 to 64 letters, digits, dots, dashes and underscores, got {value!r}"
        )


def _ordered(options: Mapping[str, Any]) -> Mapping[str, Any]:
    return dict(sorted(options.items()))


@final
@attrs.frozen(kw_only=True)
class Scenario:
    """One experiment. ``search``: options of the way that the overlay searches, by the names that
    ``dht.Flood`` and the others have; ``config``: knobs of ``dht.Config``."""

    name: str = attrs.field(default="default", validator=_check_name)
    overlay: str = _one_of("overlay", "kademlia", tuple(each.value for each in Overlay))
    nodes: int = _number("nodes", 64, 2, STATIC_NODES_MAX)
    #: It is run so often, from this seed on: each run decides everything by its own.
    seed: int = _number("seed", 1, 0, 2**31)
    seeds: int = _number("seeds", 3, 1, 10_000)
    links: Links = Links()
    churn: Comings = Comings()
    workload: Workload = Workload()
    faults: Faults = Faults()
    search: Mapping[str, Any] = attrs.field(factory=dict, converter=_ordered)
    config: Mapping[str, Any] = attrs.field(factory=dict, converter=_ordered)

    def __attrs_post_init__(self) -> None:
        """What only shows in the whole: options that the overlay does not have, times it lacks."""
        self.links.model()
        self.knobs()
        if self.workload.read_sessions and not self.churn.session_min:
            raise LocalError(
                f"workload.read_sessions = {self.workload.read_sessions:g} counts sessions of "
                "churn: say how long they are with churn.session_min, or leave it out"
            )
        if self.kind.static:
            self._check_static()
        else:
            self.via()
            if self.nodes > NODES_MAX:
                raise LocalError(f"nodes of the engine are at most {NODES_MAX:,}, got {self.nodes}")
        if (1 - self.faults.dead) * self.nodes < 2:  # noqa: PLR2004 - one reads, one answers
            raise LocalError(
                f"of {self.nodes} nodes less than two outlive faults.dead = {self.faults.dead:g}"
            )

    def _check_static(self) -> None:
        self.tables()
        if self.churn.session_min or self.faults.cut_off or not self.links.model().gentle:
            raise LocalError(
                f"overlay {self.overlay!r} is a model without clock and messages: leave out churn, "
                "faults.cut_off and the rates of the links (faults.dead it has)"
            )
        if self.config:
            raise LocalError(
                f"overlay {self.overlay!r} has no engine to configure: leave out config"
            )
        if self.kind is Overlay.HYPERCUBE and self.nodes & (self.nodes - 1):
            below = 1 << (self.nodes.bit_length() - 1)
            raise LocalError(
                f"a hypercube has a power of two of nodes, got {self.nodes}; "
                f"{below} and {2 * below} are near"
            )

    @property
    def kind(self) -> Overlay:
        """The overlay as one of its enumeration."""
        return Overlay(self.overlay)

    @property
    def reading_s(self) -> float:
        """How long there are reads."""
        work = self.workload
        if work.read_sessions:
            return work.read_sessions * self.churn.session_min * 60
        return work.reads / work.reads_per_s

    def knobs(self) -> Config:
        """The configuration of each node. Raises ``LocalError``."""
        if "encrypted" in self.config:
            raise LocalError(
                "config.encrypted counts for nothing here: simulated nodes speak in the clear; "
                "leave it out"
            )
        return _made("config", Config, self.config)

    def via(self, copies: int = 1) -> Via:
        """How a record is searched, and, with so many copies, placed. Raises ``LocalError``."""
        way = _WAYS[self.kind]
        if "placement" in self.search:
            raise LocalError("search.placement is said by workload.copies and workload.copies_by")
        placed = {} if way is Structured else {"placement": Placement(copies=copies)}
        via: Via = _made("search", way, {**self.search, **placed})
        return via

    def tables(self) -> Tables:
        """How a static model is built. Raises ``LocalError``."""
        return _made("search", Tables, self.search)


def _made(section: str, kind: type[_T], options: Mapping[str, Any]) -> _T:
    """A value of that type. What its own checks say is said of the section."""
    names = {field.name: field for field in attrs.fields(kind)}  # type: ignore[arg-type]
    for name in options:
        if name not in names:
            raise LocalError(
                f"{section}.{name} is nothing that {kind.__name__} has{_meant(name, names)}"
            )
    return kind(**options)


# ----------------------------------------------------------------------------------- names and text

_SECTIONS: Mapping[str, type[Any]] = {
    "links": Links,
    "churn": Comings,
    "workload": Workload,
    "faults": Faults,
}
_FREE = ("search", "config")
_PLAIN = ("name", "overlay", "nodes", "seed", "seeds")
_TEXTS = ("name", "overlay", "workload.copies_by")


def _places() -> dict[str, tuple[str, str]]:
    """By each name that it goes by: the section, and the name there."""
    found = {name: ("", name) for name in _PLAIN}
    for section, kind in _SECTIONS.items():
        found |= {field.name: (section, field.name) for field in attrs.fields(kind)}
    for kind in (*_WAYS.values(), Tables):
        found |= {
            field.name: ("search", field.name)
            for field in attrs.fields(kind)
            if field.name != "placement"
        }
    found |= {field.name: ("config", field.name) for field in attrs.fields(Config)}
    return found | {".".join(place): place for place in found.values() if place[0]}


#: What ``changed`` knows, and where it stands.
PLACES: Mapping[str, tuple[str, str]] = _places()


def shape_of(scenario: Scenario) -> dict[str, Any]:
    """The scenario as plain data, as TOML has it."""
    shape = attrs.asdict(scenario)
    return {**shape, **{name: dict(shape[name]) for name in _FREE}}


def scenario_of(shape: Mapping[str, Any]) -> Scenario:
    """The scenario of plain data. Raises ``LocalError`` for all that is no scenario."""
    known = (*_PLAIN, *_SECTIONS, *_FREE)
    values: dict[str, Any] = {}
    for name, value in shape.items():
        if name not in known:
            where = PLACES.get(name, ("", ""))[0]
            hint = f"; it belongs into [{where}]" if where else _meant(name, known)
            raise LocalError(f"a scenario has no {name!r}{hint}")
        if name in _PLAIN:
            values[name] = value
            continue
        if not isinstance(value, Mapping):
            raise LocalError(f"{name} is a table of its own, [{name}], got {value!r}")
        kind = _SECTIONS.get(name)
        values[name] = value if kind is None else _made(name, kind, value)
    return Scenario(**values)


def read_scenario(text: str) -> Scenario:
    """The scenario that a TOML file describes; what it leaves out is as by default."""
    try:
        shape = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LocalError(f"not a TOML file: {error}") from None
    return scenario_of(shape)


def changed(scenario: Scenario, settings: Mapping[str, str]) -> Scenario:
    """The same but for what is set, each by its name and its value as text, all at once."""
    shape = shape_of(scenario)
    for name, text in settings.items():
        section, field = place_of(name)
        value = text if ".".join(filter(None, (section, field))) in _TEXTS else _value_of(text)
        (shape[section] if section else shape)[field] = value
    return scenario_of(shape)


def place_of(name: str) -> tuple[str, str]:
    """In which section a name stands, and its name there. Raises ``LocalError`` for no name."""
    place = PLACES.get(name)
    if place is None:
        raise LocalError(f"nothing is named {name!r}{_meant(name, PLACES)}")
    return place


def _value_of(text: str) -> Any:
    """A number, a truth value, or the text itself; whether that fits its field is told there."""
    return text == "true" if text in {"true", "false"} else number_of(text)


def number_of(text: str) -> int | float | str:
    """What a text says as a number; the text itself where it says none."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def toml_of(scenario: Scenario) -> str:
    """All of it, defaults too, as TOML."""
    shape = shape_of(scenario)
    lines = [f"{name} = {json.dumps(shape[name])}" for name in _PLAIN]
    for section in (*_SECTIONS, *_FREE):
        if shape[section]:
            lines += ["", f"[{section}]"]
            lines += [f"{name} = {json.dumps(value)}" for name, value in shape[section].items()]
    return "\n".join(lines) + "\n"
