"""Several lookups for one target that share no contact: S/Kademlia (Baumgart & Mies 2007).

A liar can lead astray only the path that asked it. ``DisjointLookup`` owns ``disjoint`` lookups,
deals the seeds out among them, and sees to it that each contact is asked by one path only: when a
second path comes to it, it learns whether the contact is alive, and nothing of what it told.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final, final

import attrs

from ..contacts import Contact
from ..keyspace import Key
from .lookup import NAMED_MAX, Lookup, Patience, Spare
from .machine import FINISHED, Ask, Finished, Wait
from .outcomes import Step, StepResult, Trace

_PENDING: Final = StepResult.PENDING


@attrs.define(eq=False, repr=False)
class _Claim:
    """Which path asked a contact, and what came of it."""

    path: Lookup
    result: StepResult = _PENDING


@final
@attrs.define(eq=False, init=False, repr=False)
class DisjointLookup:
    """The face of ``Lookup``, over ``disjoint`` of them. ``alpha`` is shared out among the paths
    (each has at least one request in flight), and so is ``opening``.

    Ends when every path has; the result is the ``want`` nearest over all.
    """

    target: int
    want: int
    duplicates: int
    messages: int
    _paths: list[Lookup]
    _turn: int  # the path that may ask first
    _claims: dict[bytes, _Claim]  # packed contact -> who asked it; at most ASKED_MAX a path
    _named: dict[int, None]  # ids
    _own_id: int
    _started_at: float

    def __init__(
        self,
        now: float,
        *,
        disjoint: int,
        target: int,
        own_id: int,
        seeds: Iterable[Contact],
        want: int,
        body: bytes,
        opening: int,
        alpha: Callable[[], int],
        patience: Patience,
        spare: Spare | None = None,
    ) -> None:
        self.target = target
        self.want = want
        self.duplicates = 0
        self.messages = 0
        nearest = sorted(seeds, key=lambda seed: seed.id ^ target)
        self._paths = [
            Lookup(
                now,
                target=target,
                own_id=own_id,
                seeds=nearest[number::disjoint],
                want=want,
                body=body,
                opening=-(-opening // disjoint),
                alpha=lambda: -(-alpha() // disjoint),
                patience=patience,
                spare=None if spare is None else _dealt(spare, number, disjoint),
            )
            for number in range(disjoint)
        ]
        self._turn = 0
        self._claims = {}
        self._named = {seed.id: None for seed in nearest}
        self._own_id = own_id
        self._started_at = now

    # ---- the machine ----

    def next(self, now: float) -> Ask | Wait | Finished:
        """Say what is to be done at ``now``; the paths take turns."""
        count = len(self._paths)
        waiting = False
        until: float | None = None
        for _ in range(count):
            step = self._next_of(self._paths[self._turn], now)
            self._turn = (self._turn + 1) % count
            if isinstance(step, Ask):
                return step
            if isinstance(step, Wait):
                waiting = True
                if step.until is not None and (until is None or step.until < until):
                    until = step.until
        return Wait(until) if waiting else FINISHED

    def _next_of(self, path: Lookup, now: float) -> Ask | Wait | Finished:
        while True:
            step = path.next(now)
            if not isinstance(step, Ask):
                return step
            contact = step.contact
            claim = self._claims.get(contact.packed)
            if claim is None:
                self._claims[contact.packed] = _Claim(path)
                self.messages += 1
                return step
            # Another path asked it: this one learns how that ended, or waits for it.
            if claim.result is StepResult.ANSWERED:
                path.on_reply(now, contact, ())
            elif claim.result is not _PENDING:
                path.on_failure(now, contact)

    def on_reply(self, now: float, contact: Contact, closer: Iterable[Contact]) -> None:
        """``contact`` answered, perhaps late; only the path that asked hears of ``closer``."""
        claim = self._claims.get(contact.packed)
        if claim is None or claim.result not in (_PENDING, StepResult.SILENT):
            return
        claim.result = StepResult.ANSWERED
        named = list(islice(closer, NAMED_MAX))
        for each in named:
            if each.id in self._named:
                self.duplicates += 1
            elif each.id != self._own_id:
                self._named[each.id] = None
        for path in self._paths:
            path.on_reply(now, contact, named if path is claim.path else ())

    def on_failure(self, now: float, contact: Contact) -> None:
        """``contact`` was given up, or refused after it had answered."""
        claim = self._claims.get(contact.packed)
        if claim is None:
            return
        if claim.result is StepResult.ANSWERED:
            claim.result = StepResult.REFUSED
        elif claim.result is _PENDING:
            claim.result = StepResult.SILENT
        else:
            return
        for path in self._paths:
            path.on_failure(now, contact)

    def on_retry(self, contact: Contact) -> None:
        """The request to ``contact`` was sent again."""
        self.messages += 1

    def result(self) -> list[Contact]:
        """The ``want`` nearest that have answered on any path, nearest first."""
        return self._merged(path.result() for path in self._paths)[: self.want]

    # ---- what its owner may want to know, and to change: as in ``Lookup`` ----

    def known(self) -> list[Contact]:
        """All candidates of all paths that have not failed there, nearest first."""
        return self._merged(path.known() for path in self._paths)

    def distances(self, count: int) -> list[int]:
        """How far from the target the nearest ``count`` of ``known`` are, nearest first."""
        return sorted({each for path in self._paths for each in path.distances(count)})[:count]

    def widen(self, want: int) -> None:
        """Go on until ``want`` have answered on every path, at full width."""
        self.want = max(self.want, want)
        for path in self._paths:
            path.widen(want)

    def answered(self, node_id: int) -> bool:
        """Has this node answered (and not refused since)?"""
        return any(path.answered(node_id) for path in self._paths)

    def depth_of(self, contact: Contact) -> int:
        """How many tellers lie between our own table (0) and this contact, on the path that asked
        it; the fewest of any path that knows it, when none did.
        """
        claim = self._claims.get(contact.packed)
        if claim is not None:
            return claim.path.depth_of(contact)
        return min(
            (path.depth_of(contact) for path in self._paths if path.knows(contact.id)), default=0
        )

    def why_stopped(self) -> str:
        """Why ``next`` says ``Finished``, as a short sentence."""
        answered = len(self.result())
        paths = f"on {len(self._paths)} disjoint paths"
        if answered >= self.want:
            return f"the {answered} closest have answered {paths}"
        return f"nobody is left to ask {paths}, {answered} have answered"

    def trace(
        self, now: float, stopped: str, *, holders: Iterable[Contact] = (), besides: int = 0
    ) -> Trace:
        """The ways of all paths, as one; see ``Lookup.trace``."""
        holding = tuple(holders)
        nearest = next(iter(holding or self.result()), None)
        steps: list[Step] = []
        for path in self._paths:
            for step in path.trace(now, stopped, holders=holding).steps:
                claim = self._claims.get(step.contact.packed)
                if claim is not None and claim.path is path:
                    steps.append(step)
        steps.sort(key=lambda step: step.asked_at)
        return Trace(
            target=Key(self.target),
            hops=0 if nearest is None else self.depth_of(nearest),
            messages=self.messages + besides,
            nodes=len({step.contact.id for step in steps}),
            duplicates=self.duplicates,
            elapsed=now - self._started_at,
            steps=tuple(steps),
            stopped=stopped,
        )

    def _merged(self, lists: Iterable[list[Contact]]) -> list[Contact]:
        merged = {contact.id: contact for contacts in lists for contact in contacts}
        return [merged[node_id] for node_id in sorted(merged, key=self.target.__xor__)]


def _dealt(spare: Spare, number: int, paths: int) -> Spare:
    """The share of one path."""
    return lambda: islice(spare(), number, None, paths)
