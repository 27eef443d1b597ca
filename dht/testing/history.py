"""What a program asked of the network and what came back, and whether that was allowed.

``check`` knows nothing of how the network works. What it holds the package to is promised in
``dht.sim.checkers``, which judges here as it does in the simulator; this file keeps the diary in a
user's words, and draws the counterexample.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, StrEnum
from typing import Any, final

import attrs

from ..author import AuthorId
from ..config import CLOCK_TOLERANCE_S
from ..contacts import Contact
from ..errors import LocalError
from ..keyspace import Key, key_bytes, plain_key, signed_key
from ..records import Kind, Record, Slot
from ..sim import checkers

#: A counterexample shows so many lines before the one that is wrong, and the first of all.
LINES_MAX = 24
_VALUE_MAX = 32
_INDENT = "  "


class Verb(StrEnum):
    """What was asked for."""

    PUT = "put"
    GET = "get"
    DELETE = "delete"


@final
@attrs.frozen(kw_only=True)
class Operation:
    """One operation, as its caller saw it. Times are virtual seconds.

    ``value`` and ``version`` are what was written, or found: a ``get`` that found nothing has no
    value. ``ended_at`` None: it was cancelled or never ended, and nobody knows what it did. With an
    ``error`` a write may have happened all the same.
    """

    node: str
    verb: Verb = attrs.field(converter=Verb)
    key: str | bytes | Key
    kind: Kind = Kind.PLAIN
    author: AuthorId | None = None
    value: bytes | None = None
    version: int | None = None
    ttl_s: float | None = None
    began_at: float
    ended_at: float | None = None
    #: The name of what it raised.
    error: str = ""
    #: Who said that they stored it.
    stored: tuple[Contact, ...] = attrs.field(default=(), repr=False)
    #: Was it a search of the unstructured overlay? Such a one may miss what is there.
    searched: bool = False

    @property
    def acknowledged(self) -> bool:
        """Has it ended without an error?"""
        return self.ended_at is not None and not self.error

    @property
    def is_versioned(self) -> bool:
        """Is it about something that has a version? Content and what was not found have none."""
        return self.kind is not Kind.CONTENT and (
            self.verb is not Verb.GET or self.value is not None
        )

    @property
    def slot(self) -> Slot:
        """Which operations are about the same record: those with the same slot."""
        if self.kind is Kind.CONTENT:
            assert isinstance(self.key, Key)
            return Kind.CONTENT, self.key, b""
        key = plain_key(self.key)
        if self.author is not None:
            key = signed_key(self.author.public_key, key_bytes(key))
        return self.kind, key, b""

    def __str__(self) -> str:
        what = str(self.verb) if self.verb is not Verb.PUT else f"put {_short(self.value)}"
        if self.ended_at is None:
            return f"{self.node}: {what} → nobody knows"
        if self.error:
            came = self.error
        elif self.verb is Verb.GET:
            came = "nothing" if self.value is None else _short(self.value)
        else:
            came = "acknowledged"
        version = "" if self.version is None else f", version {self.version}"
        return f"{self.node}: {what} → {came}{version} after {self.ended_at - self.began_at:.2f} s"


class MarkKind(Enum):
    """What else is in a history."""

    #: Something goes wrong: from here on nothing counts as calm or settled.
    FAULT = "fault"
    #: A node lost what it held.
    LOSS = "loss"
    #: All faults have ended, and upkeep has had its time.
    SETTLED = "settled"
    #: Of interest to a reader only.
    NOTE = "note"


@final
@attrs.frozen(kw_only=True)
class Mark:
    """Something that happened to the network rather than being asked of it."""

    kind: MarkKind
    at: float
    text: str
    #: Whose records are lost, by the node's id.
    node_id: Key | None = None

    def __str__(self) -> str:
        return f"--- {self.text}"


@final
@attrs.define(eq=False)
class History:
    """Operations and marks, in the order in which they began. Record with ``begin`` and ``end``;
    nodes from ``SimulatedNetwork.recorded`` and the network itself do."""

    entries: list[Operation | Mark] = attrs.field(factory=list)
    #: How many entries there were when an operation ended, by its number: what happened at one and
    #: the same moment, as between two calls of ``run``, happened in this order.
    ends: dict[int, int] = attrs.field(factory=dict, repr=False)
    #: Clocks are so wrong that puts may be stamped anew: versions are then not held to anything.
    restamps: bool = False

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations alone."""
        return tuple(each for each in self.entries if isinstance(each, Operation))

    def begin(self, operation: Operation) -> int:
        """It begins. Hand the result to ``end``; what is never ended stays unknown."""
        self.entries.append(operation)
        return len(self.entries) - 1

    def end(self, number: int, at: float, *, error: str = "", **seen: Any) -> None:
        """It ended: ``seen`` are the fields that are known now, as ``version``."""
        begun = self.entries[number]
        assert isinstance(begun, Operation)
        self.ends[number] = len(self.entries)
        self.entries[number] = attrs.evolve(begun, ended_at=at, error=error, **seen)

    def fault(self, at: float, text: str) -> None:
        """Something goes wrong from here on."""
        self._mark(MarkKind.FAULT, at, text)

    def lost(self, at: float, node_id: Key, text: str) -> None:
        """A node lost all records that it held."""
        self._mark(MarkKind.LOSS, at, text, node_id)

    def skewed(self, at: float, seconds: float, text: str) -> None:
        """A clock is wrong from here on."""
        self.fault(at, text)
        self.restamps = self.restamps or abs(seconds) > CLOCK_TOLERANCE_S / 2

    def settled(self, at: float) -> None:
        """All faults have ended and upkeep has had its time."""
        self._mark(MarkKind.SETTLED, at, "settled")

    def note(self, at: float, text: str) -> None:
        """For the reader."""
        self._mark(MarkKind.NOTE, at, text)

    def disturbed_since(self, place: int) -> bool:
        """Does an entry from this place on say that something goes wrong?"""
        wrong = {MarkKind.FAULT, MarkKind.LOSS}
        return any(isinstance(each, Mark) and each.kind in wrong for each in self.entries[place:])

    def _mark(self, kind: MarkKind, at: float, text: str, node_id: Key | None = None) -> None:
        self.entries.append(Mark(kind=kind, at=at, text=text, node_id=node_id))


@final
@attrs.frozen
class Violation:
    """Something that must not happen and did. ``str`` is for people."""

    sentence: str
    operation: Operation
    #: What happened to that key before, and to the network.
    timeline: tuple[str, ...] = attrs.field(repr=False)

    def __str__(self) -> str:
        return "\n".join((self.sentence, *self.timeline))


def check(history: History) -> tuple[Violation, ...]:
    """Everything in it that is not allowed, in order; empty is good. ``LocalError`` for a history
    that nobody could judge.

    * A read finds a value that was written to that key, not past its end, and not under a higher
      version than its writer was told.
    * In a network in which nothing has gone wrong so far, an acknowledged write has a version above
      those that had been acknowledged for its key when it began.
    * After ``settled``, while nothing goes wrong again and nobody writes to the key: a read finds
      the newest acknowledged version, or something newer that somebody tried to write; unless it
      is past its end, or all who stored it have lost it since, or it was a search that may miss it.

    Not promised, and not checked: that a read during faults, or beside a write, sees the newest
    version; nor that the reads of one reader never go back then.
    """
    return tuple(_Judge(history).violations())


class HistoryViolated(AssertionError):
    """A history holds what must not happen; the message shows it."""


def assert_kept(history: History) -> None:
    """Raises ``HistoryViolated`` with each counterexample, if there are any."""
    violations = check(history)
    if violations:
        raise HistoryViolated("\n\n".join(map(str, violations)))


# ------------------------------------------------------------------------------------- judging


@attrs.define(eq=False)
class _Judge:
    """Tells a history to ``checkers.History``, event by event."""

    _history: History
    _checker: checkers.History = attrs.field(init=False)
    _writes: dict[int, checkers.Write] = attrs.field(factory=dict)
    _lost_at: dict[Key, float] = attrs.field(factory=dict)
    _calm: bool = True
    _settled_at: float | None = None
    _under_way: dict[int, Operation] = attrs.field(factory=dict)
    # Slots of which nothing can be demanded: written to since, or held by who searches only.
    _moving: set[Slot] = attrs.field(factory=set)
    _searched: set[Slot] = attrs.field(factory=set)

    def __attrs_post_init__(self) -> None:
        self._checker = checkers.History(restamps=self._history.restamps)

    def violations(self) -> Iterator[Violation]:
        """One for each sentence."""
        said = self._checker.violations
        for at, ends, number, entry in _events(self._history):
            known = len(said)
            if isinstance(entry, Mark):
                self._mark(entry)
            elif ends:
                self._end(at, number, entry)
            else:
                self._begin(at, number, entry)
            for sentence in said[known:]:
                assert isinstance(entry, Operation)
                yield self._violation(sentence, number, entry)

    def _mark(self, mark: Mark) -> None:
        if mark.kind is MarkKind.SETTLED:
            self._settled_at = mark.at
            self._moving = {
                begun.slot for begun in self._under_way.values() if not _is_over(begun, mark.at)
            }
        elif mark.kind is not MarkKind.NOTE:
            self._calm, self._settled_at = False, None
            if mark.node_id is not None:
                self._lost_at[mark.node_id] = mark.at

    def _begin(self, at: float, number: int, begun: Operation) -> None:
        if begun.verb is Verb.GET:
            return
        slot = begun.slot
        self._moving.add(slot)
        self._under_way[number] = begun
        if begun.searched:
            self._searched.add(slot)
        value = begun.value if begun.verb is Verb.PUT else None
        self._writes[number] = self._checker.begin_write(at, slot, value, ttl_s=begun.ttl_s)

    def _end(self, at: float, number: int, ended: Operation) -> None:
        if ended.acknowledged and ended.version is None and ended.is_versioned:
            raise LocalError(
                f"what was written or found has a version: History.end(..., version=) of {ended}"
            )
        if ended.verb is not Verb.GET:
            del self._under_way[number]
            self._checker.conclude_write(
                at,
                self._writes[number],
                version=ended.version,
                stored=ended.stored,
                acknowledged=ended.acknowledged,
                calm=self._calm,
            )
        elif ended.acknowledged:
            slot, record = ended.slot, _record(ended)
            if self._is_settled(ended):
                self._checker.check_settled(
                    at, slot, record, reader=ended.node, lost=self._was_lost
                )
            else:
                self._checker.check_read(at, slot, record, reader=ended.node)

    def _is_settled(self, read: Operation) -> bool:
        slot = read.slot
        return (
            self._settled_at is not None
            and read.began_at >= self._settled_at
            and not read.searched
            and slot not in self._moving
            and slot not in self._searched
        )

    def _was_lost(self, write: checkers.Write) -> bool:
        return all(
            self._lost_at.get(contact.id, -1.0) >= write.began_at for contact in write.stored
        )

    def _violation(self, sentence: str, number: int, wrong: Operation) -> Violation:
        # In the words of who asked: the checker knows places, and records with all their fields.
        _, key, _ = wrong.slot
        found = f"{_short(wrong.value)} as version {wrong.version}"
        sentence = sentence.replace(str(_record(wrong)), found)
        return Violation(
            sentence.replace(str(key), repr(wrong.key)),
            wrong,
            tuple(_timeline(self._history.entries, number, self._writes)),
        )


def _events(history: History) -> list[tuple[float, bool, int, Operation | Mark]]:
    """Beginnings and ends in time, and at one moment as they were written down. An end that nobody
    wrote down comes last there: that demands less."""
    events: list[tuple[float, int, bool, int, Operation | Mark]] = []
    for number, entry in enumerate(history.entries):
        began_at = entry.at if isinstance(entry, Mark) else entry.began_at
        events.append((began_at, number, True, number, entry))
        if isinstance(entry, Operation) and entry.ended_at is not None:
            place = history.ends.get(number, len(history.entries))
            events.append((entry.ended_at, place, False, number, entry))
    events.sort(key=lambda event: event[:4])
    return [(at, not begins, number, entry) for at, _, begins, number, entry in events]


def _is_over(write: Operation, at: float) -> bool:
    """Can a write that has not ended have no effect any more? It was cancelled, maybe long ago."""
    return write.ended_at is None and at > write.began_at + checkers.WRITE_MAX_S


def _record(read: Operation) -> Record | None:
    """What was found, as far as a reader knows it."""
    if read.value is None:
        return None
    kind, key, _ = read.slot
    return Record(
        kind=kind, key=key, version=read.version or 0, written_at_ms=0, ttl_ms=0, value=read.value
    )


# ------------------------------------------------------------------------------------- drawing


def _timeline(
    entries: Sequence[Operation | Mark], wrong: int, writes: dict[int, checkers.Write]
) -> Iterable[str]:
    """Operations on one key, and marks, up to the end of the wrong one, which has an arrow."""
    culprit = entries[wrong]
    assert isinstance(culprit, Operation)
    until = culprit.began_at if culprit.ended_at is None else culprit.ended_at
    shown: list[tuple[float, int, str]] = []
    for number, entry in enumerate(entries):
        at = entry.at if isinstance(entry, Mark) else entry.began_at
        if at > until or (isinstance(entry, Operation) and entry.slot != culprit.slot):
            continue
        name = f"write {writes[number].number}, " if number in writes else ""
        shown.append((at, number, f"{name}{entry}"))
    shown.sort(key=lambda each: each[:2])
    left_out = len(shown) - LINES_MAX
    for place, (at, number, text) in enumerate(shown):
        if place == 1 and left_out > 0:
            yield f"{_INDENT}  … {left_out} lines left out"
        if place == 0 or place >= left_out + (left_out > 0):
            yield f"{_INDENT}{'>' if number == wrong else ' '} {at:10.3f} s  {text}"


def _short(value: bytes | None) -> str:
    if value is None or len(value) <= _VALUE_MAX:
        return repr(value)
    return f"{value[:_VALUE_MAX]!r}… ({len(value)} bytes)"
