"""After an alarm: the owners are looked for where honest ones are to be expected.

Around a key that somebody has surrounded with Sybils everybody who is asked names Sybils, and the
true owners, although they are where they always were, do not come up any more. So everything that
depends on the *nearest* nodes is of no use there. What the attacker cannot move is where owners are
to be expected, as that depends on the size of the network alone: the r nearest of N evenly drawn
ids lie within r / N of the space. That *region* is searched like any other part of it, by looking
up places in it that were drawn at random, which nobody could surround beforehand, on ways that lead
around the crowd.

A get then asks whom it has not asked yet in the region, a put stores there too: with at most three
times r nodes, chosen so that neither one subnet nor the attacker's end of the region takes it all.
Only decisions here; ``widening`` runs them.
"""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Final, final

import attrs

from ..contacts import Contact
from ..errors import DHTError, NoPeers, QuorumNotReached, VersionConflict
from ..keyspace import Key
from .get import Get
from .lookup import Lookup, Patience
from .operations import Search
from .outcomes import GetOutcome, PutOutcome, Trace
from .put import Put

#: Memory: contacts of the crowd that one lookup remembers. Whoever names them wins nothing by many.
ASIDE_MAX: Final = 256
#: Nodes that are asked in a region, as a multiple of r: the true owners and twice as many others.
PLENTY: Final = 3


def random_places(key: int, edge: int, count: int, random: Random) -> list[Key]:
    """Places within ``edge`` of a key, one drawn at random in each ``count``-th of that distance:
    evenly spread, and still not to be foreseen."""
    part = max(1, edge // count)
    return [Key(key ^ (part * number + random.randrange(part))) for number in range(count)]


def spread_out(contacts: Iterable[Contact], key: int, edge: int, *, replicas: int) -> list[Contact]:
    """At most three times ``replicas`` of the contacts within ``edge`` of the key (of the nearest,
    if there are fewer than ``replicas`` within it), nearest first.

    Where there are more, the subnets take turns, and so do ``replicas`` slices of the region, each
    as wide as one honest owner is to be expected. Threat: Sybils are many in one place, and cheap
    in one subnet.
    """
    unique = {contact.id: contact for contact in contacts}
    nearest = [unique[node_id] for node_id in sorted(unique, key=key.__xor__)]
    inside = [contact for contact in nearest if contact.id ^ key <= edge]
    if len(inside) < replicas:
        return nearest[:replicas]
    width = max(1, edge // replicas)
    subnets: dict[bytes, int] = {}
    slices: dict[int, int] = {}

    def turn(contact: Contact) -> tuple[int, int, int]:
        distance = contact.id ^ key
        subnet = 0 if contact.subnet is None else subnets.get(contact.subnet, 0)
        return subnet, slices.get(distance // width, 0), distance

    chosen: list[Contact] = []
    while inside and len(chosen) < PLENTY * replicas:
        contact = min(inside, key=turn)
        inside.remove(contact)
        chosen.append(contact)
        at = (contact.id ^ key) // width
        slices[at] = slices.get(at, 0) + 1
        if contact.subnet is not None:
            subnets[contact.subnet] = subnets.get(contact.subnet, 0) + 1
    return sorted(chosen, key=lambda contact: contact.id ^ key)


def joined(traces: Sequence[tuple[float, Trace]]) -> Trace:
    """Several searches as one: (when it began, its trace), the first one's target, the last one's
    end. Times count from the first."""
    first_at, first = traces[0]
    last_at, last = traces[-1]
    steps = [
        attrs.evolve(step, asked_at=step.asked_at + began_at - first_at)
        for began_at, trace in traces
        for step in trace.steps
    ]
    return attrs.evolve(
        last,
        target=first.target,
        messages=sum(trace.messages for _, trace in traces),
        nodes=len({step.contact.id for step in steps}),
        duplicates=sum(trace.duplicates for _, trace in traces),
        elapsed=last_at + last.elapsed - first_at,
        steps=tuple(sorted(steps, key=lambda step: step.asked_at)),
    )


@final
class Detour:
    """A lookup of a place in the region that goes around the crowd: whoever lies nearer to the key
    than ``radius`` is remembered for the sweep, but neither asked nor taken for a step on the way.

    Threat: everybody who looked a surrounded key up has heard of the Sybils only, and got answers
    from them, so they are nearer to every place in the region than whoever else he knows; and they
    name each other. It has the face of a lookup (``operations.Search``).
    """

    def __init__(self, search: Search, *, key: int, radius: int) -> None:
        self._search = search
        self._key = key
        self._radius = radius
        self._aside: dict[int, Contact] = {}
        self.target = search.target
        # As in a lookup.
        self.next = search.next
        self.on_failure = search.on_failure
        self.on_retry = search.on_retry
        self.result = search.result
        self.distances = search.distances
        self.widen = search.widen
        self.trace = search.trace
        self.why_stopped = search.why_stopped

    def on_reply(self, now: float, contact: Contact, closer: Iterable[Contact]) -> None:
        """``contact`` answered, and names others."""
        outside: list[Contact] = []
        for named in closer:
            if named.id ^ self._key >= self._radius:
                outside.append(named)
            elif len(self._aside) < ASIDE_MAX:
                self._aside.setdefault(named.id, named)
        self._search.on_reply(now, contact, outside)

    def known(self) -> list[Contact]:
        """All candidates, and those of the crowd that were named."""
        return [*self._search.known(), *self._aside.values()]


@final
class Sweep:
    """Asks everybody of a list once, and nobody else: whom they name is not believed. It has the
    face of a lookup (``operations.Search``), so that a get or a put can run over it."""

    def __init__(
        self,
        now: float,
        *,
        target: int,
        own_id: int,
        contacts: Sequence[Contact],
        body: bytes,
        width: int,
        patience: Patience,
    ) -> None:
        self._lookup = Lookup(
            now,
            target=target,
            own_id=own_id,
            seeds=contacts,
            want=len(contacts),
            body=body,
            opening=width,
            alpha=lambda: width,
            patience=patience,
        )
        # As in a lookup.
        self.target = target
        self.next = self._lookup.next
        self.on_failure = self._lookup.on_failure
        self.on_retry = self._lookup.on_retry
        self.result = self._lookup.result
        self.known = self._lookup.known
        self.distances = self._lookup.distances
        self.trace = self._lookup.trace

    def on_reply(self, now: float, contact: Contact, closer: Iterable[Contact]) -> None:
        """``contact`` answered; ``closer`` is what the attacker would have us ask next."""
        self._lookup.on_reply(now, contact, ())

    def widen(self, want: int) -> None:
        """There is nobody else to ask."""

    def why_stopped(self) -> str:
        """Why ``next`` says ``Finished``, as a short sentence."""
        return f"{len(self.result())} nodes where owners are to be expected have answered"


# ---- what a get or put and its second try over the region come to together ----


def known_at_end(machine: Get | Put) -> GetOutcome | PutOutcome | None:
    """What a machine has to tell at its end, be it in its outcome or in its error."""
    outcome = machine.outcome or getattr(machine.error, "outcome", None)
    return outcome if isinstance(outcome, GetOutcome | PutOutcome) else None


def merged_get(
    first: Get, second: Get, *, trace: Trace, density: float | None
) -> tuple[GetOutcome | None, DHTError | None]:
    """The second knows all that the first found, unless nobody answered it."""
    decided = first if isinstance(second.error, NoPeers) else second
    one, two, end = known_at_end(first), known_at_end(second), known_at_end(decided)
    assert isinstance(one, GetOutcome)
    assert isinstance(end, GetOutcome)
    empty = {contact.id: contact for seen in (one, two) if seen for contact in _empty(seen)}
    outcome = attrs.evolve(
        end, empty=tuple(empty.values()), trace=trace, density=density, alarmed=True
    )
    if decided.error is None:
        return outcome, None
    return None, QuorumNotReached(str(decided.error), outcome)


def _empty(outcome: GetOutcome | PutOutcome) -> tuple[Contact, ...]:
    return outcome.empty if isinstance(outcome, GetOutcome) else ()


def merged_put(
    first: Put, second: Put, *, trace: Trace, density: float | None
) -> tuple[PutOutcome | None, DHTError | None]:
    """Who stored for either has stored, if it is the same version still."""
    one, two = known_at_end(first), known_at_end(second)
    assert isinstance(one, PutOutcome)
    if not isinstance(two, PutOutcome):  # nobody was left to ask
        outcome = attrs.evolve(one, trace=trace, density=density, alarmed=True)
        return (outcome, None) if first.error is None else (None, _missed(outcome))
    same = one.version == two.version
    before = one.stored if same else ()
    stored = {contact.id: contact for contact in (*before, *two.stored)}
    refused = {each.contact.id: each for each in (*one.refused, *two.refused)}
    outcome = attrs.evolve(
        two,
        stored=tuple(stored[node_id] for node_id in sorted(stored, key=first.key.__xor__)),
        refused=tuple(each for node_id, each in refused.items() if node_id not in stored),
        silent=_others(stored, one.silent, two.silent),
        pending=_others(stored, one.pending, two.pending),
        quorum=one.quorum,
        trace=trace,
        density=density,
        alarmed=True,
    )
    if isinstance(second.error, VersionConflict):
        return None, VersionConflict(str(second.error), outcome, second.error.newest)
    return (outcome, None) if len(stored) >= one.quorum else (None, _missed(outcome))


def seen_closer(
    first: Get | Put, *, trace: Trace, density: float | None
) -> tuple[PutOutcome | None, DHTError | None]:
    """The first try stands: the key is less crowded than it seemed."""
    seen = known_at_end(first)
    assert isinstance(seen, PutOutcome)
    outcome = attrs.evolve(
        seen, trace=attrs.evolve(trace, stopped=seen.trace.stopped), density=density
    )
    if first.error is None:
        return outcome, None
    return None, QuorumNotReached(str(first.error), outcome)


def _others(stored: dict[Key, Contact], *lists: Sequence[Contact]) -> tuple[Contact, ...]:
    unique = {contact.id: contact for contacts in lists for contact in contacts}
    return tuple(contact for node_id, contact in unique.items() if node_id not in stored)


def _missed(outcome: PutOutcome) -> QuorumNotReached:
    return QuorumNotReached(
        f"{len(outcome.stored)} owners stored {outcome.key!r}, {outcome.quorum} were needed: "
        f"{outcome}",
        outcome,
    )
