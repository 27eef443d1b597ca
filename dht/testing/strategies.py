"""Hypothesis strategies for what a user's test draws: keys, values, records, networks, faults.

Each gives only values that can exist, and shrinks towards what is easiest to read: short keys,
small networks, no faults.
"""

from collections.abc import Collection
from typing import Any

import attrs

from ..author import AUTHOR_KEY_SIZE, Author
from ..config import VALUE_INLINE_MAX
from ..contacts import contact_at, parse_address
from ..errors import LocalError
from ..keyspace import KEY_BITS, Key, content_key, key_bytes, signed_key
from ..records import VERSION_MAX, Kind, Record, ttl_max_s, value_hash
from ..shell.node import OVERLAYS
from ..sim.faults import (
    CORRUPT_MAX,
    DUPLICATE_MAX,
    LOSS_MAX,
    REORDER_MAX,
    Crash,
    Cut,
    Fault,
    Partition,
    Silence,
    Skew,
    Suspend,
)
from ..sim.links import LinkModel
from .extra import missing_extra
from .history import History, Operation, Verb
from .topology import Topology

try:
    from hypothesis import strategies as st
except ModuleNotFoundError as error:
    raise missing_extra(error) from error

#: The widest field of a record that counts milliseconds.
MILLISECONDS_MAX = 2**53
#: Nodes that a drawn network has at most, unless told: more find nothing that these do not.
NODES_MAX = 8
#: Faults in a drawn schedule at most, and operations in a drawn history.
FAULTS_MAX = 4
OPERATIONS_MAX = 20
#: Seconds that a drawn wall clock may be wrong by: below what makes others refuse its stamps.
SKEW_MAX_S = 3600

# ---- the key space ----


def keys() -> st.SearchStrategy[Key]:
    """Any place in the space; also the edges, and places that differ in few bits."""
    anywhere = st.integers(0, 2**KEY_BITS - 1)
    edges = st.sampled_from([0, 1, 2 ** (KEY_BITS - 1), 2**KEY_BITS - 1])
    near_zero = st.integers(0, KEY_BITS - 1).map(lambda bit: 1 << bit)
    return st.one_of(anywhere, edges, near_zero).map(Key)


def application_keys() -> st.SearchStrategy[str | bytes]:
    """What an application calls its records."""
    return st.text(max_size=40) | st.binary(max_size=40)


# ---- records ----

#: A few, made once: to make one, and to sign, takes longer than everything else that is drawn.
AUTHORS = [Author.from_private_bytes(bytes([number]) * AUTHOR_KEY_SIZE) for number in range(4)]

_ANYWHERE = keys()


def authors() -> st.SearchStrategy[Author]:
    """One of a few."""
    return st.sampled_from(AUTHORS)


def versions() -> st.SearchStrategy[int]:
    """Any version a record can have; small ones often, so that two of them meet."""
    return st.integers(1, 3) | st.integers(1, VERSION_MAX)


def values(*, size_max: int = VALUE_INLINE_MAX) -> st.SearchStrategy[bytes]:
    """Any value up to this size."""
    return st.binary(max_size=size_max)


@st.composite
def records(
    draw: st.DrawFn,
    *,
    kinds: st.SearchStrategy[Kind] = st.sampled_from(Kind),
    places: st.SearchStrategy[Key] = _ANYWHERE,
    size_max: int = VALUE_INLINE_MAX,
) -> Record:
    """Any valid record. ``places``: where plain ones and members live, and what signed ones are
    called; content has a place of its own."""
    kind = draw(kinds)
    tombstone = kind is not Kind.CONTENT and draw(st.booleans())
    value = b"" if tombstone else draw(values(size_max=size_max))
    where = content_key(value_hash(value)) if kind is Kind.CONTENT else draw(places)
    author, name = draw(authors()) if kind > Kind.CONTENT else None, b""
    if kind is Kind.SIGNED and author is not None:
        name = key_bytes(where)
        where = signed_key(author.id.public_key, name)
    longest_ms = int(ttl_max_s(kind, tombstone=tombstone) * 1000)
    record = Record(
        kind=kind,
        key=where,
        version=draw(versions()),
        written_at_ms=draw(st.integers(0, 2) | st.integers(0, MILLISECONDS_MAX)),
        ttl_ms=draw(st.integers(1, 2) | st.integers(1, longest_ms)),
        tombstone=tombstone,
        value=value,
    )
    return record if author is None else record.signed_by(author, name)


# ---- networks ----


def link_models(*, worst: float = 1.0) -> st.SearchStrategy[LinkModel]:
    """Rates of loss, duplicates, reordering and corruption, up to this share of the simulator's
    worst; shrinks towards links on which nothing goes wrong."""

    def upto(rate_max: float) -> st.SearchStrategy[float]:
        # In hundredths: they read, and shrink, better than any float.
        return st.integers(0, round(100 * rate_max * worst)).map(
            lambda hundredths: hundredths / 100
        )

    return st.builds(
        LinkModel,
        loss=upto(LOSS_MAX),
        duplicate=upto(DUPLICATE_MAX),
        reorder=upto(REORDER_MAX),
        corrupt=upto(CORRUPT_MAX),
    )


@st.composite
def topologies(
    draw: st.DrawFn,
    *,
    nodes_min: int = 1,
    nodes_max: int = NODES_MAX,
    overlays: Collection[str] = OVERLAYS[:1],
    links: st.SearchStrategy[LinkModel] | None = None,
) -> Topology:
    """A network: a few nodes, some of which may only ask, and the links between them."""
    nodes = draw(st.integers(nodes_min, nodes_max))
    return Topology(
        nodes=nodes,
        clients=draw(st.integers(0, (nodes - 1) // 2)),
        overlay=draw(st.sampled_from(list(overlays))),
        links=draw(link_models() if links is None else links),
    )


# ---- faults ----

#: The kinds that ``fault_schedules`` draws from, unless told.
FAULT_KINDS: tuple[type[Any], ...] = (Crash, Suspend, Partition, Silence, Cut, Skew)


def fault_schedules(
    nodes: int,
    duration_s: float,
    *,
    kinds: Collection[type[Any]] = FAULT_KINDS,
    faults_max: int = FAULTS_MAX,
) -> st.SearchStrategy[tuple[Fault, ...]]:
    """What goes wrong within ``duration_s``, in a network of so many nodes: for
    ``SimulatedNetwork.play``. Sorted by time; shrinks towards nothing at all.

    All faults but skewed clocks, and crashes for good, are over by then. Raises ``LocalError``
    for what cannot be drawn.
    """
    chosen = [kind for kind in FAULT_KINDS if kind in kinds]
    if nodes == 1:
        chosen = [kind for kind in chosen if kind not in {Partition, Cut}]
    if nodes < 1 or duration_s < 1 or not chosen:
        raise LocalError(
            "a schedule needs a node, a second, and a kind of fault that so many nodes can have, "
            f"got nodes={nodes}, duration_s={duration_s}, kinds={kinds}"
        )
    drawn = st.lists(
        st.one_of(
            [_one_fault(kind, nodes=nodes, tenths=round(10 * duration_s)) for kind in chosen]
        ),
        max_size=faults_max,
    )
    return drawn.map(lambda faults: tuple(sorted(faults, key=lambda fault: fault.at_s)))


@st.composite
def _one_fault(draw: st.DrawFn, kind: type[Any], *, nodes: int, tenths: int) -> Fault:
    number = st.integers(0, nodes - 1)
    # Tenths of a second: they read, and shrink, better than any float.
    at = draw(st.integers(0, tenths - 1))
    span: dict[str, Any] = {"at_s": at / 10, "seconds": draw(st.integers(1, tenths - at)) / 10}
    if kind is Crash:
        back = draw(st.just(span["seconds"]) | st.none())
        # A node keeps its records in memory: they are gone when it comes back.
        return Crash(at_s=at / 10, node=draw(number), back_after_s=back, keep_store=False)
    if kind is Skew:
        seconds = draw(st.integers(-SKEW_MAX_S, SKEW_MAX_S))
        return Skew(at_s=at / 10, node=draw(number), seconds=seconds)
    if kind is Suspend:
        return Suspend(node=draw(number), **span)
    if kind is Silence:
        mute, deaf = draw(st.sampled_from([(True, True), (True, False), (False, True)]))
        return Silence(node=draw(number), mute=mute, deaf=deaf, **span)
    if kind is Cut:
        sender, receiver = draw(st.lists(number, min_size=2, max_size=2, unique=True))
        return Cut(sender=sender, receiver=receiver, **span)
    members = draw(st.lists(number, min_size=1, max_size=nodes - 1, unique=True))
    return Partition(nodes=tuple(sorted(members)), one_way=draw(st.booleans()), **span)


# ---- histories ----


@st.composite
def histories(draw: st.DrawFn, *, operations_max: int = OPERATIONS_MAX) -> History:
    """A history in which ``check`` finds nothing: one caller after the other, on a few keys, of a
    network that may lose what was not acknowledged, and that settles in the end."""
    history = History()
    if draw(st.booleans()):
        history.fault(0.0, "links: loss 10%")
    holder = contact_at(bytes(32), parse_address("10.0.0.1:4000"))
    written: dict[str, list[Operation]] = {}
    now, version = 0.0, 0
    for number in range(draw(st.integers(0, operations_max))):
        now, version = now + draw(st.integers(1, 10)), version + 1
        begun = Operation(
            node=f"node {draw(st.integers(0, 2))}",
            verb=draw(st.sampled_from(Verb)),
            key=draw(st.sampled_from(["a", "b"])),
            began_at=now,
        )
        if begun.verb is Verb.PUT:
            begun = attrs.evolve(begun, value=b"value %d" % number)
        place = history.begin(begun)
        now += draw(st.integers(0, 3))
        if begun.verb is Verb.GET:
            puts = [each for each in written.get(str(begun.key), ()) if each.verb is Verb.PUT]
            found = draw(st.sampled_from([None, *puts]))
            if found is not None:
                history.end(place, now, value=found.value, version=found.version or version)
            else:
                history.end(place, now)
            continue
        ending = draw(st.sampled_from(["acknowledged", "failed", "unknown"]))
        if ending == "acknowledged":
            history.end(place, now, version=version, stored=(holder,))
        elif ending == "failed":
            history.end(place, now, error="QuorumNotReached")
        ended = history.entries[place]
        assert isinstance(ended, Operation)
        written.setdefault(str(begun.key), []).append(ended)
    _read_back(history, written, now + 1000.0)
    return history


def _read_back(history: History, written: dict[str, list[Operation]], now: float) -> None:
    """Every key as its newest acknowledged write left it."""
    history.settled(now)
    for key, writes in written.items():
        read = Operation(node="node 0", verb=Verb.GET, key=key, began_at=now)
        newest = next((each for each in reversed(writes) if each.acknowledged), None)
        if newest is None or newest.verb is Verb.DELETE:
            history.end(history.begin(read), now + 1)
        else:
            place = history.begin(read)
            history.end(place, now + 1, value=newest.value, version=newest.version)
