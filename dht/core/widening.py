"""Running what comes after an alarm: the region's lookups, then the get or put once more over it.

One ``Widening`` an operation, from the moment at which it would have told its outcome until it has
a better one. A put whose own answers come near to an alarm first looks its key up, since it has
seen the owners that it knew and not the neighbourhood. What is asked, and of whom, is decided in
``region``, ``get`` and ``put``.
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final, final

import attrs

from ..config import Config
from ..errors import DHTError
from ..keyspace import Key, key_bytes
from ..wire.codec import encode
from ..wire.messages import COUNT_MAX, Find
from ..wire.messages import Get as GetMessage
from .density import UNREAD, DensityGauge, Reading
from .get import Get
from .large_values import Offers
from .maintenance import Join
from .operations import Search, reading_of
from .outcomes import Outcome, Trace
from .put import Put
from .region import (
    PLENTY,
    Detour,
    Sweep,
    joined,
    known_at_end,
    merged_get,
    merged_put,
    random_places,
    seen_closer,
    spread_out,
)
from .searches import Searches, rank_of_put
from .tasks import Task, Tasks

#: Between the distances at which so many honest nodes are to be expected ends what counts as the
#: crowd; guess, by simulation.
CROWD_RANKS: Final = (2, 4)


@final
@attrs.define(eq=False)
class Widening:
    """An operation that goes on, because its key is too crowded."""

    first: Get | Put
    ended: Callable[[float, "Widening"], None]
    #: What the operation came to in the end.
    outcome: Outcome | None = attrs.field(default=None, init=False)
    error: DHTError | None = attrs.field(default=None, init=False)
    #: How crowded the key is, by who saw most of its neighbourhood.
    reading: Reading = attrs.field(default=UNREAD, init=False)
    second: Get | Put | None = attrs.field(default=None, init=False)
    #: Each with the moment at which it began.
    searches: list[tuple[float, Search]] = attrs.field(factory=list, init=False)
    traces: list[tuple[float, Trace]] = attrs.field(factory=list, init=False)
    tasks: list[Task] = attrs.field(factory=list, init=False)
    searching: int = attrs.field(default=0, init=False)
    done: bool = attrs.field(default=False, init=False)


@final
@attrs.define(eq=False, kw_only=True)
class Widenings:
    """Begins them, and hears of what they come to."""

    config: Config
    random: Random
    tasks: Tasks
    searches: Searches
    gauge: DensityGauge
    offers: Offers
    flags: int

    def begin(self, now: float, widening: Widening) -> None:
        """Its first try has settled; ``ended`` is called when it is known what comes of it."""
        first = widening.first
        seen = known_at_end(first)
        assert seen is not None  # what has an alarm has an outcome
        widening.traces.append((now - seen.trace.elapsed, seen.trace))
        widening.reading = Reading(seen.density, seen.alarmed)
        if seen.alarmed:
            self._look_around(now, widening)
        else:
            self._look_closer(now, widening)

    def _look_closer(self, now: float, widening: Widening) -> None:
        """Is it as crowded as it seems?"""
        key = widening.first.key
        search = self.searches.begin(now, key, self._find(key), want=widening.first.replicas)
        self._drive(now, widening, search, self._looked_closer)

    def _looked_closer(self, widening: Widening, now: float, task: Task) -> None:
        """The lookup of the key itself took a step."""
        if not task.done or widening.done:
            return
        first, (began_at, search) = widening.first, widening.searches[-1]
        widening.reading = reading_of(now, self.gauge, search, first.local, first.key)
        if widening.reading.alarmed:
            self._look_around(now, widening)
            return
        widening.traces.append((began_at, search.trace(now, search.why_stopped())))
        widening.done = True
        widening.outcome, widening.error = seen_closer(
            first, trace=joined(widening.traces), density=widening.reading.density
        )
        widening.ended(now, widening)

    def _look_around(self, now: float, widening: Widening) -> None:
        """The region is looked for."""
        first = widening.first
        edge = self.gauge.expected_distance(now, first.key, first.replicas)
        crowd = self._crowd(now, widening)
        places = random_places(first.key, edge, self.config.region_lookups, self.random)
        widening.searching = len(places)
        for place in places:
            seeds = self.searches.table.closest(place, PLENTY * self.config.k)
            seeds = [seed for seed in seeds if seed.id ^ first.key >= crowd][: self.config.k]
            search: Search = Detour(
                self.searches.begin(
                    now, place, self._find(place), want=first.replicas, seeds=seeds
                ),
                key=first.key,
                radius=crowd,
            )
            self._drive(now, widening, search, self._looked)

    def _find(self, place: Key) -> bytes:
        """Who is near to that place?"""
        count = min(self.config.k, COUNT_MAX)
        return encode(Find(flags=self.flags, target=key_bytes(place), count=count, kind=0))

    def _drive(
        self,
        now: float,
        widening: Widening,
        search: Search,
        stepped: Callable[[Widening, float, Task], None],
    ) -> None:
        """Runs a lookup for it."""
        widening.searches.append((now, search))
        task = Task(Join(search), partial(stepped, widening))
        widening.tasks.append(task)
        self.tasks.drive(now, task)

    def _crowd(self, now: float, widening: Widening) -> int:
        """How far from the key the crowd reaches: four times as far as the nearest r that a lookup
        of it sees, who may be a fifth of it. That is nearer than the nearest honest node as a rule;
        but at least as far as two honest nodes are to be expected, and at most as four, so that
        enough of the region's are left who can be asked."""
        first = widening.first
        search = widening.searches[-1][1] if widening.searches else first.search
        seen = search.distances(first.replicas)
        low, high = (self.gauge.expected_distance(now, first.key, rank) for rank in CROWD_RANKS)
        return max(low, min(high, 4 * seen[-1] if seen else 0))

    def stop(self, widening: Widening) -> None:
        """Its operation was cancelled."""
        widening.done = True
        for task in widening.tasks:
            self.tasks.stop(task)
            self.offers.withdraw(task)

    def _looked(self, widening: Widening, now: float, task: Task) -> None:
        """A lookup of a place in the region took a step."""
        if not task.done or widening.done:
            return
        widening.searching -= 1
        if widening.searching == 0:
            self._sweep(now, widening)

    def _sweep(self, now: float, widening: Widening) -> None:
        """The region is known: the same get or put over it."""
        first = widening.first
        for began_at, search in widening.searches:
            widening.traces.append((began_at, search.trace(now, search.why_stopped())))
        searches = (first.search, *(search for _, search in widening.searches))
        found = [c for search in searches for c in search.known()]
        asked = first.had_from()
        if isinstance(first, Get):
            # As far as a put may have gone whose writer knew too few Sybils for an alarm.
            edge = self.gauge.expected_distance(now, first.key, rank_of_put(first.replicas))
            body = encode(GetMessage(self.flags, first.kind, key_bytes(first.key), 0))
            contacts = spread_out(
                [c for c in found if c.id not in asked], first.key, edge, replicas=first.replicas
            )
        else:
            edge = self.gauge.expected_distance(now, first.key, first.replicas)
            body = b""  # a put says itself what is stored
            chosen = spread_out(found, first.key, edge, replicas=first.replicas)
            contacts = [c for c in chosen if c.id not in asked]
        sweep = Sweep(
            now,
            target=first.key,
            own_id=self.searches.table.own_id,
            contacts=contacts,
            body=body,
            width=PLENTY * first.replicas,
            patience=self.searches.requests,
        )
        widening.second = first.again(sweep)
        task = Task(widening.second, partial(self._swept, widening))
        widening.tasks.append(task)
        if isinstance(first, Put):
            self.offers.make(task, first.value)
        self.tasks.drive(now, task)

    def _swept(self, widening: Widening, now: float, task: Task) -> None:
        """The get or put over the region took a step."""
        if task.machine.settled and not widening.done:
            widening.done = True
            self._conclude(now, widening)
            widening.ended(now, widening)
        if task.done:
            self.offers.withdraw(task)

    def _conclude(self, now: float, widening: Widening) -> None:
        first, second = widening.first, widening.second
        assert second is not None
        seen = known_at_end(second)
        if seen is not None:
            widening.traces.append((now - seen.trace.elapsed, seen.trace))
        trace, density = joined(widening.traces), widening.reading.density
        if isinstance(first, Put):
            assert isinstance(second, Put)
            widening.outcome, widening.error = merged_put(
                first, second, trace=trace, density=density
            )
        else:
            assert isinstance(second, Get)
            widening.outcome, widening.error = merged_get(
                first, second, trace=trace, density=density
            )
