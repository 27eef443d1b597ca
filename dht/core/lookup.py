"""ONE iterative lookup: whom to ask next, until the nearest that are alive have answered.

Everything that decides the course of a lookup lives in this file; it sends nothing and measures
nothing. Candidates are ordered by their distance to the target; three rules choose among them:

* **How many at once.** ``opening`` requests, one more for each that failed or is later than that
  peer's own 75th percentile, and never more than ``alpha()``. One that is slower than its own
  expected round trip holds no slot any more, and is still listened to.
* **Whom.** The nearest that was not asked yet, within the ``want`` nearest that are not slow.
  While three that the same peer told us of are unanswered, others go first: who answers with
  invented contacts nearer than everybody delays a lookup, and does not capture it. When three were
  silent and none has answered, the others that only that peer told us of are put off until the end.
* **When it ends.** When the ``want`` nearest that did not fail have all answered. A slow one
  matters to the end only if it is among them.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from math import inf
from typing import Final, Protocol, final

import attrs

from ..contacts import Contact
from ..keyspace import Key
from .machine import FINISHED, Ask, Finished, Wait
from .outcomes import Step, StepResult, Trace

# Threat, all four: liars who name ever nearer invented contacts lead a lookup on for ever.

#: Contacts taken of one answer; 29 fit a datagram.
NAMED_MAX: Final = 32
#: Candidates remembered; the farthest are dropped.
CANDIDATES_MAX: Final = 512
#: Contacts asked by one lookup; an honest one in a network of a million asks about 30.
ASKED_MAX: Final = 256
#: Unanswered at once of those that one peer told us of, while there are others.
UNANSWERED_PER_TELLER_MAX: Final = 3
#: So many silent ones, and none that answered, and what else a peer told us of is put off. While
#: 30 % of all nodes are dead that is the lot of 0.3 ** 3 = 3 % of the honest tellers, too, which
#: costs nothing where others name the same contacts.
SILENT_PER_TELLER_MAX: Final = 3
#: Other addresses remembered of one contact, for when the first one named is wrong.
ADDRESSES_MAX: Final = 3

_NOT_CROWDED: Final = UNANSWERED_PER_TELLER_MAX - 1

# Looked up once: the hot path compares with them at every step.
_PENDING: Final = StepResult.PENDING
_ANSWERED: Final = StepResult.ANSWERED
_SILENT: Final = StepResult.SILENT
_REFUSED: Final = StepResult.REFUSED


#: More contacts to begin with, for when the seeds were not enough: asked for at most once.
Spare = Callable[[], Iterable[Contact]]


class Patience(Protocol):
    """How long peers take to answer, in seconds after a request."""

    def join_after(self, contact: Contact) -> float:
        """When a request to another peer may join the one to this contact."""

    def free_after(self, contact: Contact) -> float:
        """When this contact counts as slow, and no longer holds a slot."""


@attrs.define(eq=False, repr=False)
class _Asked:
    """A contact that was asked, and what came of it."""

    contact: Contact
    teller: "_Asked | None"
    depth: int
    asked_at: float
    join_at: float
    free_at: float
    result: StepResult = _PENDING
    rtt: float | None = None
    named: int = 0
    #: Of those that it named first: has one answered, and how many were silent?
    vouched: bool = False
    let_down: int = 0


@final
@attrs.define(eq=False, init=False, repr=False)
class Lookup:
    """Find the ``want`` live contacts nearest to ``target``. A ``Machine``.

    ``seeds`` are what our own table knows (the caller leaves itself out); ``spare`` is called when
    so many of them failed that fewer than ``want`` candidates are left; ``body`` is the request. No
    contact is asked twice at the same address.
    """

    target: int
    #: How many of the nearest have to answer.
    want: int
    #: Requests in flight at the start; its owner may raise it when the start led nowhere.
    opening: int
    #: Contacts named that had been named before.
    duplicates: int
    #: Requests sent, retries included.
    messages: int
    _own_id: int
    _body: bytes
    _alpha: Callable[[], int]
    _patience: Patience
    _spare: Spare | None
    _started_at: float
    # All keyed by the distance to the target.
    _contacts: dict[int, Contact]  # everybody ever named
    _order: list[int]  # sorted: the candidates that have not failed
    _answered_run: int  # so many of them, from the nearest on, are known to have answered
    _tellers: dict[int, _Asked]  # who named it first; our own table's are absent
    _asked: dict[int, _Asked]
    _in_flight: dict[int, _Asked]
    _elsewhere: dict[int, list[Contact]]  # the same node at other addresses
    _doubted: dict[int, None]  # only told of by somebody who let us down: no candidates for now
    _steps: list[_Asked]  # in the order of asking
    _failures: int
    # Nobody in flight is late or slow before then: until then each holds a slot.
    _calm_until: float
    # Nobody is left to ask before then, unless candidates come or go; and what ``next`` says.
    _idle_until: float
    _idle: Wait

    def __init__(
        self,
        now: float,
        *,
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
        self.opening = opening
        self.duplicates = 0
        self.messages = 0
        self._own_id = own_id
        self._body = body
        self._alpha = alpha
        self._patience = patience
        self._spare = spare
        self._started_at = now
        self._contacts = contacts = {seed.id ^ target: seed for seed in seeds}
        contacts.pop(own_id ^ target, None)
        self._order = sorted(contacts)  # they come sorted from the table: one pass
        self._answered_run = 0
        self._tellers = {}
        self._asked = {}
        self._in_flight = {}
        self._elsewhere = {}
        self._doubted = {}
        self._steps = []
        self._failures = 0
        self._calm_until = inf
        self._idle_until = -inf
        self._idle = Wait(None)

    # ---- the machine ----

    def next(self, now: float) -> Ask | Wait | Finished:
        """Say what is to be done at ``now``; see ``Machine``."""
        if self._have_answered() and not self._lacks():
            return FINISHED
        in_flight = self._in_flight
        if now < self._idle_until and in_flight:
            return self._idle
        holding, late = len(in_flight), 0
        if now >= self._calm_until:
            holding, late = self._holding_and_late(now)
        width = self.opening + late + self._failures
        limit = self._alpha()
        if holding < width and holding < limit:
            chosen = self._choose(now)
            if chosen is not None:
                return self._ask(now, chosen)
            if in_flight:
                return self._wait_idly(now)
        if not in_flight:
            return FINISHED
        return Wait(self._wake_at(now, may_join=width < limit))

    def on_reply(self, now: float, contact: Contact, closer: Iterable[Contact]) -> None:
        """``contact`` answered, perhaps late, and named ``closer``."""
        place = contact.id ^ self.target
        step = self._asked.get(place)
        if step is None:
            return
        if step.contact is not contact and step.contact.packed != contact.packed:
            step = self._asked_before(contact)
            if step is None:
                return
        if step.result is not _PENDING and step.result is not _SILENT:
            return
        if self._in_flight.pop(place, None) is None and not self._is_candidate(place):
            self._enter(place)
        self._contacts[place] = contact
        self._asked[place] = step
        step.result = _ANSWERED
        step.rtt = now - step.asked_at
        if step.teller is not None:
            step.teller.vouched = True
        if closer:
            self._take(step, closer)

    def on_failure(self, now: float, contact: Contact) -> None:
        """``contact`` was given up; or it answered and then refused what it was found for. Either
        way the next nearest takes its place.
        """
        place = contact.id ^ self.target
        step = self._asked.get(place)
        if step is None or step.contact.packed != contact.packed:
            return
        if step.result is _ANSWERED:
            step.result = _REFUSED
            self._drop(place)
        elif step.result is _PENDING:
            step.result = _SILENT
            del self._in_flight[place]
            self._failures += 1
            if step.teller is not None:
                self._blame(step.teller)
            addresses = self._elsewhere.get(place)
            if addresses:
                # It stays a candidate: ``_choose`` reads "silent" there as "not asked there yet".
                self._contacts[place] = addresses.pop(0)
                self._idle_until = -inf
            else:
                self._drop(place)

    def on_retry(self, contact: Contact) -> None:
        """The request to ``contact`` was sent again."""
        self.messages += 1

    def result(self) -> list[Contact]:
        """The ``want`` nearest that have answered, nearest first."""
        return list(islice(self._answered(), self.want))

    # ---- what its owner may want to know, and to change ----

    def known(self) -> list[Contact]:
        """All candidates that have not failed, asked or not, nearest first."""
        return [self._contacts[place] for place in self._order]

    def distances(self, count: int) -> list[int]:
        """How far from the target the nearest ``count`` of ``known`` are, nearest first."""
        return self._order[:count]

    def widen(self, want: int) -> None:
        """Go on until ``want`` have answered, at full width: the nearest ones were of no use."""
        self.want = max(self.want, want)
        self.opening = max(self.opening, self._alpha())
        self._idle_until = -inf

    def add_seed(self, contact: Contact) -> None:
        """Somebody more to begin with, who has become known only now."""
        place = contact.id ^ self.target
        known = self._contacts.get(place)
        if known is None:
            self._contacts[place] = contact
            self._enter(place)
        elif known.packed != contact.packed:
            self._name_elsewhere(place, contact)

    def answered(self, node_id: int) -> bool:
        """Has this node answered (and not refused since)?"""
        step = self._asked.get(node_id ^ self.target)
        return step is not None and step.result is _ANSWERED

    def knows(self, node_id: int) -> bool:
        """Has anybody named this node, or was it a seed?"""
        return (node_id ^ self.target) in self._contacts

    def depth_of(self, contact: Contact) -> int:
        """How many tellers lie between our own table (0) and this contact."""
        place = contact.id ^ self.target
        step = self._asked.get(place)
        if step is not None:
            return step.depth
        teller = self._tellers.get(place)
        return 0 if teller is None else teller.depth + 1

    def why_stopped(self) -> str:
        """Why ``next`` says ``Finished``, as a short sentence."""
        if len(self._steps) >= ASKED_MAX:
            return f"asked {ASKED_MAX} contacts, the most for one search"
        answered = len(self.result())
        if answered >= self.want:
            return f"the {answered} closest have answered"
        return f"nobody is left to ask, {answered} have answered"

    def trace(
        self, now: float, stopped: str, *, holders: Iterable[Contact] = (), besides: int = 0
    ) -> Trace:
        """The way so far. ``holders`` answered with the record; the first of them is what the hops
        are counted to, else the nearest of the result. ``besides``: messages that its owner sent.
        """
        held = {holder.id: holder for holder in holders}
        nearest = next(iter(held.values()), None) or next(self._answered(), None)
        target = self.target
        return Trace(
            target=target if isinstance(target, Key) else Key(target),
            hops=0 if nearest is None else self.depth_of(nearest),
            messages=self.messages + besides,
            nodes=len(self._asked),
            duplicates=self.duplicates,
            elapsed=now - self._started_at,
            steps=tuple([self._step(each, holds=each.contact.id in held) for each in self._steps]),
            stopped=stopped,
        )

    # ---- how it decides ----

    def _have_answered(self) -> bool:
        """Have the nearest ``want``, or all there are?"""
        asked, order = self._asked, self._order
        run, end = self._answered_run, min(self.want, len(order))
        while run < end:
            step = asked.get(order[run])
            if step is None or step.result is not _ANSWERED:
                break
            run += 1
        self._answered_run = run
        return run >= end

    def _holding_and_late(self, now: float) -> tuple[int, int]:
        """How many in flight hold a slot, and how many let another join."""
        holding = late = 0
        calm_until = inf
        for step in self._in_flight.values():
            if now >= step.free_at:
                late += 1
                continue
            holding += 1
            late += now >= step.join_at
            calm_until = min(calm_until, step.join_at, step.free_at)
        self._calm_until = -inf if late else calm_until
        return holding, late

    def _wait_idly(self, now: float) -> Wait:
        """Nobody is left to ask: not before somebody in flight gets slow, is given up, or names a
        new candidate. An answer alone changes nothing, and is not looked at twice."""
        idle_until = inf
        if len(self._steps) < ASKED_MAX and self._has_unasked():
            for step in self._in_flight.values():
                if now < step.free_at < idle_until:
                    idle_until = step.free_at
        self._idle_until = idle_until
        self._idle = Wait(idle_until if idle_until < inf else None)
        return self._idle

    def _choose(self, now: float) -> int | None:
        """The place of the contact to ask now, if any."""
        if len(self._steps) >= ASKED_MAX:
            return None
        asked, tellers = self._asked, self._tellers
        # Nobody is told of in a network that is known whole: then nobody's word is crowded.
        crowded = self._crowded() if tellers and len(self._in_flight) > _NOT_CROWDED else ()
        deferred = None
        room = self.want - self._answered_run
        for place in islice(self._order, self._answered_run, None):
            step = asked.get(place)
            if step is None or step.result is _SILENT:
                if not crowded or tellers.get(place) not in crowded:
                    return place
                if deferred is None:
                    deferred = place
                continue
            if step.result is _PENDING and now >= step.free_at:
                continue
            room -= 1
            if room == 0:
                break
        return deferred

    def _crowded(self) -> list[_Asked]:
        """The tellers whose contacts leave us waiting. Our own table never counts as one."""
        tellers = [step.teller for step in self._in_flight.values() if step.teller is not None]
        return [each for each in tellers if tellers.count(each) >= UNANSWERED_PER_TELLER_MAX]

    def _ask(self, now: float, place: int) -> Ask:
        contact = self._contacts[place]
        teller = self._tellers.get(place)
        patience = self._patience
        join_at = now + patience.join_after(contact)
        free_at = now + patience.free_after(contact)
        self._calm_until = min(self._calm_until, join_at, free_at)
        depth = 0 if teller is None else teller.depth + 1
        step = _Asked(contact, teller, depth, now, join_at, free_at)
        self._asked[place] = self._in_flight[place] = step
        self._steps.append(step)
        self.messages += 1
        return Ask(contact, self._body)

    def _wake_at(self, now: float, *, may_join: bool) -> float | None:
        """When one in flight gets late or slow, so that another may be asked; None: never."""
        if len(self._steps) >= ASKED_MAX or not self._has_unasked():
            return None
        wake_at: float | None = None
        for step in self._in_flight.values():
            at = step.join_at if may_join and now < step.join_at else step.free_at
            if now < at and (wake_at is None or at < wake_at):
                wake_at = at
        return wake_at

    def _has_unasked(self) -> bool:
        asked = self._asked
        for place in islice(self._order, self._answered_run, None):
            step = asked.get(place)
            if step is None or step.result is _SILENT:
                return True
        return False

    # ---- the candidates ----

    def _take(self, step: _Asked, closer: Iterable[Contact]) -> None:
        contacts, tellers, order = self._contacts, self._tellers, self._order
        target, own_id = self.target, self._own_id
        for contact in islice(closer, NAMED_MAX):
            node_id = contact.id
            if node_id == own_id:
                continue
            place = node_id ^ target
            known = contacts.get(place)
            if known is None:
                contacts[place] = contact
                tellers[place] = step
                self._enter(place)
                step.named += 1
            else:
                self.duplicates += 1
                if self._doubted and place in self._doubted:
                    del self._doubted[place]
                    tellers[place] = step
                    self._enter(place)
                if known is not contact and known.packed != contact.packed:
                    self._name_elsewhere(place, contact)
        if len(order) > CANDIDATES_MAX:
            del order[CANDIDATES_MAX:]

    def _blame(self, teller: _Asked) -> None:
        """One that it told us of was silent. Threat: liars who name invented contacts, ground so
        that they are the nearest of all; each of them would have to be asked."""
        teller.let_down += 1
        if teller.vouched or teller.let_down < SILENT_PER_TELLER_MAX:
            return
        for place in [each for each in self._order if self._tellers.get(each) is teller]:
            if place not in self._asked:
                self._drop(place)
                self._doubted[place] = None

    def _lacks(self) -> bool:
        """Are too few left, and some in reserve? Then their time has come: first of our own
        table's others, and then of those that were put off."""
        if len(self._order) >= self.want:
            return False
        if self._spare is not None:
            spare, self._spare = self._spare(), None
            before = len(self._order)
            for contact in spare:
                self.add_seed(contact)
            if len(self._order) > before:
                return True
        if not self._doubted:
            return False
        for place in self._doubted:
            self._tellers.pop(place, None)  # nobody is blamed twice
            self._enter(place)
        self._doubted.clear()
        return True

    def _name_elsewhere(self, place: int, contact: Contact) -> None:
        """A known node at another address. Threat: liars who name honest nodes at wrong ones."""
        addresses = self._elsewhere.setdefault(place, [])
        step = self._asked.get(place)
        if len(addresses) >= ADDRESSES_MAX or contact in addresses or self._asked_before(contact):
            return
        if step is not None and step.result is _SILENT and not self._is_candidate(place):
            self._contacts[place] = contact
            self._enter(place)
        elif step is None or step.result is _PENDING or step.result is _SILENT:
            addresses.append(contact)

    def _asked_before(self, contact: Contact) -> _Asked | None:
        """The question to exactly this contact, at this address."""
        for step in self._steps:
            if step.contact.packed == contact.packed:
                return step
        return None

    def _enter(self, place: int) -> None:
        """A candidate more, which has not answered as far as ``_answered_run`` knows."""
        at = bisect_left(self._order, place)
        self._order.insert(at, place)
        self._answered_run = min(self._answered_run, at)
        self._idle_until = -inf

    def _is_candidate(self, place: int) -> bool:
        order = self._order
        at = bisect_left(order, place)
        return at < len(order) and order[at] == place

    def _drop(self, place: int) -> None:
        order = self._order
        at = bisect_left(order, place)
        if at < len(order) and order[at] == place:
            del order[at]
            self._answered_run = min(self._answered_run, at)
            self._idle_until = -inf

    def _answered(self) -> Iterator[Contact]:
        asked = self._asked
        for place in self._order:
            step = asked.get(place)
            if step is not None and step.result is _ANSWERED:
                yield self._contacts[place]

    def _step(self, asked: _Asked, *, holds: bool) -> Step:
        return Step(
            contact=asked.contact,
            told_by=None if asked.teller is None else asked.teller.contact,
            depth=asked.depth,
            asked_at=asked.asked_at - self._started_at,
            rtt=asked.rtt,
            result=StepResult.RECORD if holds else asked.result,
            named=asked.named,
        )
