"""Finding a record: the first valid one, or the newest of several owners'.

A machine (``next``, ``on_reply``, ``on_failure``, ``on_retry``) that owns a search and, for a large
value, a transfer. ``settled`` turns true when the application can be told.
"""

from collections.abc import Iterable

import attrs

from ..contacts import Contact
from ..errors import DHTError, NoPeers, QuorumNotReached, RemoteError
from ..keyspace import Key
from ..records import Head, Kind, Record, is_newer
from ..wire.codec import record_of_untrusted
from ..wire.messages import Found, Message, Nodes
from .density import UNREAD, DensityGauge
from .machine import FINISHED, Ask, Finished, Wait
from .operations import Local, Search, Shared, reading_of, with_self
from .outcomes import GetOutcome, Outcome
from .transfer import Transfer


@attrs.define(eq=False)
class _Holding:
    """What one owner holds."""

    contact: Contact
    record: Record | Head
    remaining_ms: int
    seen_at: float


@attrs.define(eq=False)
class Get:
    """Finds a record: the first valid one, or the newest of ``quorum`` owners'."""

    kind: Kind
    key: Key
    quorum: int
    replicas: int
    wide: int
    value_size_max: int
    fetch_flags: int
    search: Search
    local: Local
    #: Contacts this near to the key are owners in all likelihood.
    reach: int = 0
    shared: Shared | None = None
    gauge: DensityGauge | None = None
    outcome: Outcome | None = attrs.field(default=None, init=False)
    error: DHTError | None = attrs.field(default=None, init=False)
    settled: bool = attrs.field(default=False, init=False)
    #: Is the key so crowded that this is not the end? See ``widening``.
    goes_on: bool = attrs.field(default=False, init=False)
    #: After the end: (contacts, record, remaining ms): who should be given the newest version.
    repairs: tuple[list[Contact], Record, int] | None = attrs.field(default=None, init=False)
    _holdings: dict[int, _Holding] = attrs.field(factory=dict, init=False)
    _empty: dict[int, Contact] = attrs.field(factory=dict, init=False)
    _unfetched: dict[int, bool] = attrs.field(factory=dict, init=False)
    _transfer: Transfer | None = attrs.field(default=None, init=False)
    _widened: bool = attrs.field(default=False, init=False)
    _asked: bool = attrs.field(default=False, init=False)
    _started: bool = attrs.field(default=False, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        if not self._started:
            self._started = True
            self._look_at_home(now)
        if self._transfer is not None:
            step = self._transfer.next(now)
            if step is not FINISHED:
                return step
            self._end_transfer(now)
        while not self.settled:
            if self._transfer is not None:
                return self._transfer.next(now)
            if len(self._holdings) >= self.quorum:
                self._conclude(now, "the record was found")
                continue
            step = self.search.next(now)
            if step is not FINISHED:
                self._asked = self._asked or isinstance(step, Ask)
                return step
            if not self._holdings and not self._widened and self.wide > self.replicas:
                self._widened = True  # the owners may have changed: ask further before saying no
                self.search.widen(self.wide)
            else:
                self._conclude(now, "everybody near the key has answered")
        return FINISHED

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        if self._transfer is not None and contact is self._transfer.contact:
            self._transfer.on_reply(now, contact, message, closer)
            return
        if isinstance(message, Found):
            try:
                record = record_of_untrusted(message.copy, value_size_max=self.value_size_max)
            except RemoteError:
                self.on_failure(now, contact)
                return
            if (
                record.kind is not self.kind
                or record.key != self.key
                or not message.copy.remaining_ms
            ):
                self.on_failure(now, contact)
                return
            self._holdings[contact.id] = _Holding(contact, record, message.copy.remaining_ms, now)
        elif isinstance(message, Nodes):
            self._empty[contact.id] = contact
            if contact.id ^ self.key <= self.reach:
                self.search.widen(self.replicas)  # an owner lacks it: no time for one at a time
        if self.shared is not None:
            self.shared.learn(contact)
        self.search.on_reply(now, contact, closer)

    def on_failure(self, now: float, contact: Contact) -> None:
        if self._transfer is not None and contact is self._transfer.contact:
            self._transfer.on_failure(now, contact)
        else:
            self.search.on_failure(now, contact)

    def on_retry(self, contact: Contact) -> None:
        self.search.on_retry(contact)

    # ---- after an alarm: once more, over other contacts (see ``region``) ----

    def had_from(self) -> set[int]:
        """The ids of those who have told us what they hold."""
        return {*self._empty, *self._holdings}

    def again(self, search: Search) -> "Get":
        """The same get over another search, with what this one has found so far."""
        second = Get(
            kind=self.kind,
            key=self.key,
            quorum=self.quorum,
            replicas=self.replicas,
            wide=0,
            value_size_max=self.value_size_max,
            fetch_flags=self.fetch_flags,
            search=search,
            local=self.local,
        )
        second._started = True
        second._holdings.update(self._holdings)
        return second

    def _look_at_home(self, now: float) -> None:
        held = self.local.held(now, self.kind, self.key) if self.local.serves else None
        if held is not None:
            self._holdings[self.local.contact.id] = _Holding(self.local.contact, *held, now)

    def _newest(self) -> _Holding | None:
        newest: _Holding | None = None
        for holding in self._holdings.values():
            if newest is None or is_newer(holding.record, newest.record):
                newest = holding
            elif (
                isinstance(newest.record, Head)
                and not is_newer(newest.record, holding.record)
                and (isinstance(holding.record, Record) or newest.contact.id in self._unfetched)
            ):
                newest = holding  # the same version from somebody who can give us the value
        return newest

    def _conclude(self, now: float, stopped: str) -> None:
        newest = self._newest()
        record: Record | None = None
        if newest is not None:
            if isinstance(newest.record, Head):
                self._transfer = Transfer(newest.record, newest.contact, self.fetch_flags)
                return
            record = newest.record
        self.settled = True
        trace = self.search.trace(
            now, stopped, holders=[holding.contact for holding in self._holdings.values()]
        )
        agreed, stale = self._agreed_and_stale(newest)
        reading = UNREAD
        if len(self._holdings) < self.quorum:  # else it ended before it knew the neighbourhood
            reading = reading_of(now, self.gauge, self.search, self.local, self.key)
            self.goes_on = reading.alarmed
        outcome = GetOutcome(
            key=self.key,
            record=record if record is not None and not record.tombstone else None,
            deleted=record if record is not None and record.tombstone else None,
            agreed=agreed,
            stale=stale,
            empty=tuple(self._empty.values()),
            trace=trace,
            density=reading.density,
            alarmed=reading.alarmed,
        )
        if newest is not None:
            self._plan_repairs(now, newest, stale)
        if newest is None and self._asked and not self._empty:
            self.goes_on = False  # they are not many, but gone
            self.error = NoPeers(f"nobody answered the get; tried {self.local.tried()}")
        elif newest is not None and self._misses_quorum():
            self.error = QuorumNotReached(
                f"{len(self._holdings)} owners hold a record of {self.key!r}, {self.quorum} were "
                "asked for; the outcome has the newest that was seen",
                outcome,
            )
        else:
            self.outcome = outcome

    def _misses_quorum(self) -> bool:
        """Did fewer hold something than were asked for, although there are more owners?"""
        held = len(self._holdings)
        if held >= self.quorum:
            return False
        owners = with_self(self.search.result(), self.local, self.key)[: self.replicas]
        return held < min(self.quorum, max(1, len(owners)))

    def _agreed_and_stale(
        self, newest: _Holding | None
    ) -> tuple[tuple[Contact, ...], tuple[Contact, ...]]:
        agreed: list[Contact] = []
        stale: list[Contact] = []
        for holding in self._holdings.values():
            older = newest is not None and is_newer(newest.record, holding.record)
            (stale if older else agreed).append(holding.contact)
        return tuple(agreed), tuple(stale)

    def _plan_repairs(self, now: float, newest: _Holding, stale: Iterable[Contact]) -> None:
        """The stale, and those nearer to the key than a holder who said that they hold nothing."""
        if not (stale or self._empty):
            return
        edge = max(holding.contact.id ^ self.key for holding in self._holdings.values())
        lacking = [c for c in self._empty.values() if c.id ^ self.key < edge][: self.replicas]
        remaining_ms = newest.remaining_ms - int((now - newest.seen_at) * 1000)
        assert isinstance(newest.record, Record)
        if remaining_ms > 0 and (lacking or stale):
            self.repairs = ([*stale, *lacking], newest.record, remaining_ms)

    def _end_transfer(self, now: float) -> None:
        transfer, self._transfer = self._transfer, None
        assert transfer is not None
        holder = transfer.contact
        if transfer.record is not None:
            self._holdings[holder.id].record = transfer.record
            self._unfetched.clear()
            return
        # It holds the head but will not give the value: as good as silent.
        self._unfetched[holder.id] = True
        del self._holdings[holder.id]
        self.search.on_failure(now, holder)
