"""What became of what the application asked for: frozen values with a readable ``str``.

A search has one ``Trace``, whatever kind of search it was, so that one table can compare them.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import final

import attrs

from ..contacts import Contact, format_address
from ..keyspace import Key, common_prefix_length
from ..records import Record


class StepResult(StrEnum):
    """What came of asking one contact."""

    ANSWERED = "answered"
    RECORD = "record"
    SILENT = "silent"
    REFUSED = "refused"
    PENDING = "pending"


@final
@attrs.frozen(kw_only=True)
class Step:
    """One contact that was asked. Times are in seconds; ``asked_at`` since the search began."""

    contact: Contact
    #: Who named the contact first; None for our own routing table.
    told_by: Contact | None
    #: How many tellers lie between our table (0) and this contact.
    depth: int
    asked_at: float
    #: Between the question and the answer; None when there was none.
    rtt: float | None
    result: StepResult
    #: How many contacts the answer named that nobody had named before.
    named: int = 0


@final
@attrs.frozen(kw_only=True)
class Trace:
    """The way a search took.

    A lookup asks everybody itself, and knows all of this. A flood and a walk are passed on by
    others: what they cost is what was said of it by the time that the outcome was there. And what
    the words mean depends on who is asked:

    ============  =============================  =============================================
    ..            ``nodes``                      ``duplicates``
    ============  =============================  =============================================
    lookup        different nodes asked          contacts named again after somebody had named
                                                 them already
    flood         nodes that took the search or  times that it came to somebody who had it
                  had the record, and holders    already
                  asked for it; of a ring once
                  for each ring
    walk          steps: a node that walkers     always 0: walkers may come to a node again
                  come to twice counts twice
    index         index nodes that answered,     index nodes named again
                  holders asked, and the steps
                  of walkers that followed
    put in the    different nodes asked          contacts named again
    unstructured
    overlay
    ============  =============================  =============================================
    """

    target: Key
    #: The depth at which the nearest node of the result (or the record) was first named: 0 is in
    #: our own table. Of a flood, a walk or an index how many hops away the holder is: 1 is next to
    #: us, 0 ourselves.
    hops: int
    #: Requests sent for it, retries included; of a flood and a walk those of all nodes that are
    #: known of, and what came back of it.
    messages: int
    #: How many were asked: see above.
    nodes: int
    #: How many in vain: see above.
    duplicates: int
    #: Seconds from start to end.
    elapsed: float
    steps: tuple[Step, ...] = attrs.field(repr=False)
    #: Why the search ended, as a short sentence.
    stopped: str

    def __str__(self) -> str:
        return (
            f"{self.hops} hops, {self.messages} messages to {self.nodes} nodes, "
            f"{self.elapsed * 1000:.1f} ms: {self.stopped}"
        )

    def tree(self) -> str:
        """Who told us of whom, as text: shared prefix bits with the target, round-trip times."""
        told: dict[Contact | None, list[Step]] = {}
        for step in self.steps:
            told.setdefault(step.told_by, []).append(step)
        lines = [f"{self.target!r}: {self}"]
        self._draw(lines, told.pop(None, []), told, "")
        while told:  # by somebody who was never asked: a hole in the story, but no step is lost
            self._draw(lines, told.pop(next(iter(told))), told, "")
        return "\n".join(lines)

    def _line(self, step: Step) -> str:
        shared = common_prefix_length(step.contact.id, self.target)
        rtt = "-" if step.rtt is None else f"{step.rtt * 1000:.1f} ms"
        return (
            f"{step.contact.id.hex()[:8]} at {format_address(step.contact.address)} · "
            f"{shared} bits shared · {step.result} · {rtt} · named {step.named} new"
        )

    def _draw(
        self,
        lines: list[str],
        steps: list[Step],
        told: dict[Contact | None, list[Step]],
        indent: str,
    ) -> None:
        """Appends the steps, below each the steps to those whom it told us of. Takes them out."""
        for number, step in enumerate(steps, 1):
            last = number == len(steps)
            lines.append(f"{indent}{'└─' if last else '├─'} {self._line(step)}")
            below = told.pop(step.contact, [])
            self._draw(lines, below, told, indent + ("   " if last else "│  "))


@final
@attrs.frozen(kw_only=True)
class Refusal:
    """An owner that would not store, and why (the names of ``wire.messages.Status``)."""

    contact: Contact
    reason: str


@final
@attrs.frozen(kw_only=True)
class PutOutcome:
    """What became of a put or a delete: who stored, refused, stayed silent, is still expected."""

    key: Key
    version: int
    stored: tuple[Contact, ...]
    refused: tuple[Refusal, ...]
    silent: tuple[Contact, ...]
    pending: tuple[Contact, ...]
    #: How many owners had to store for the put to count.
    quorum: int
    trace: Trace
    #: How crowded it is around the key; see ``GetOutcome.density``.
    density: float | None = None
    #: Was it too crowded to be chance? Then every node that may be an owner was asked to store.
    alarmed: bool = False

    def __str__(self) -> str:
        parts = [f"{self.key!r} version {self.version}: stored by {len(self.stored)}"]
        if self.refused:
            reasons = sorted({refusal.reason for refusal in self.refused})
            parts.append(f"refused by {len(self.refused)} ({', '.join(reasons)})")
        if self.silent:
            parts.append(f"{len(self.silent)} silent")
        if self.pending:
            parts.append(f"{len(self.pending)} pending")
        return ", ".join(parts) + f" (quorum {self.quorum}; {self.trace})" + _warning(self)


@final
@attrs.frozen(kw_only=True)
class GetOutcome:
    """What became of a get. ``record`` is None when nobody has it, or when it was deleted."""

    key: Key
    record: Record | None
    #: The tombstone, when the newest version says "deleted".
    deleted: Record | None = None
    #: Who holds exactly the newest version that was seen.
    agreed: tuple[Contact, ...]
    #: Who holds an older version; they are being repaired.
    stale: tuple[Contact, ...]
    #: Who answered that they hold nothing.
    empty: tuple[Contact, ...]
    trace: Trace
    #: How much denser the nodes around the key lie than those of the rest of the network, in
    #: standard deviations: 0 is as expected, below it sparser; of honest keys 1 in 200 has 3 or
    #: more, and of those with 20 Sybils next to them nearly all have. None where it cannot be said:
    #: the network has a few dozen nodes only, or the search ended before it knew the neighbourhood
    #: (a get ends with the first record).
    density: float | None = None
    #: Was it so dense that it is probably an attack (``Config.density_alarm``)? Then the places
    #: where honest owners are to be expected were looked up as well, and asked.
    alarmed: bool = False

    @property
    def value(self) -> bytes | None:
        """The record's value, or None."""
        return None if self.record is None else self.record.value

    def __str__(self) -> str:
        if self.record is not None:
            what = f"version {self.record.version}, {len(self.record.value)} bytes"
        else:
            what = "not found" if self.deleted is None else "deleted"
        return (
            f"{self.key!r}: {what}; {len(self.agreed)} agreed, {len(self.stale)} stale, "
            f"{len(self.empty)} empty ({self.trace}){_warning(self)}"
        )


@final
@attrs.frozen(kw_only=True)
class LookupOutcome:
    """The live contacts nearest to the target, nearest first, and the way there."""

    target: Key
    closest: tuple[Contact, ...]
    trace: Trace
    #: How crowded it is around the target; see ``GetOutcome.density``.
    density: float | None = None
    #: Was it too crowded to be chance? The closest are then probably an attacker's.
    alarmed: bool = False

    def __str__(self) -> str:
        return f"{self.target!r}: {len(self.closest)} contacts ({self.trace}){_warning(self)}"


@final
@attrs.frozen(kw_only=True)
class Members:
    """The members of a topic that were found: iterate over them; each is a ``Record`` with an
    ``author`` and a ``value``."""

    key: Key
    #: The newest of each author; those who left are not among them.
    records: tuple[Record, ...]
    #: How many there are, by the largest number that an owner named; 256 may mean more.
    total: int
    #: Who named them.
    holders: tuple[Contact, ...]
    trace: Trace

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __str__(self) -> str:
        return (
            f"{self.key!r}: {len(self.records)} of {self.total} members, "
            f"from {len(self.holders)} holders ({self.trace})"
        )


@final
@attrs.frozen(kw_only=True)
class Reply:
    """The answer to a message."""

    target: Key
    payload: bytes = attrs.field(repr=False)
    #: How many nodes passed the message on, on the way there.
    hops: int
    #: How often it was sent before an answer came.
    attempts: int
    #: Requests that this node sent for it, retries included.
    messages: int
    #: Seconds from start to end.
    elapsed: float

    def __str__(self) -> str:
        return (
            f"{self.target!r}: answered with {len(self.payload)} bytes ({self.hops} hops, "
            f"{self.attempts} attempts, {self.messages} messages, {self.elapsed * 1000:.1f} ms)"
        )


Outcome = PutOutcome | GetOutcome | LookupOutcome | Members | Reply


def _warning(outcome: PutOutcome | GetOutcome | LookupOutcome) -> str:
    if not outcome.alarmed:
        return ""
    return f"; ALARM: the nodes around it lie {outcome.density:.1f} deviations too dense, Sybils?"
