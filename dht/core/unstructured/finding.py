"""Finding a record in the unstructured overlay: one search, whichever way, until a copy is whole.

The operation owns a way (``ways``, ``asking_index``), checks every copy that comes back, pulls a
value that is too long for one datagram from whoever holds it, and says what it all cost.
"""

from collections.abc import Callable
from typing import final

import attrs

from ...contacts import Contact
from ...errors import DHTError, NoPeers, RemoteError
from ...keyspace import Key, key_bytes
from ...records import Head, Kind, Record
from ...wire.codec import contact_untrusted, encode, record_of_untrusted
from ...wire.messages import Block, Copy, Done, Found, Get, Hit, Message, Nodes
from ..machine import FINISHED, Ask, Finished, Wait
from ..operations import Local
from ..outcomes import GetOutcome, Outcome, StepResult, Trace
from ..transfer import Transfer
from .asked import Log
from .ways import Way

#: Memory: copies and holders that are looked at in one search. Who found something else, or
#: nothing, cannot make us ask more.
HOLDERS_MAX = 16
#: One of the two is there and says the truth, with half of them dead or lying three times in four;
#: guess.
HOLDERS_AT_ONCE = 2


@final
@attrs.define(eq=False, kw_only=True)
class Finding:
    """Finds a record. The face of every operation."""

    kind: Kind
    key: Key
    value_size_max: int
    flags: int
    local: Local
    #: Makes the way, given what is to be told of copies.
    make_way: Callable[["Finding"], Way]
    has_neighbours: Callable[[], bool]
    #: May a contact be asked that somebody named?
    usable: Callable[[Contact, Contact], bool]
    outcome: Outcome | None = attrs.field(default=None, init=False)
    error: DHTError | None = attrs.field(default=None, init=False)
    settled: bool = attrs.field(default=False, init=False)
    goes_on: bool = attrs.field(default=False, init=False)
    way: Way = attrs.field(init=False)
    _started_at: float | None = attrs.field(default=None, init=False)
    _log: Log = attrs.field(factory=Log, init=False)
    #: Holders that said that they hold it, to be asked for it: with their distance in hops.
    _holders: list[tuple[Contact, int]] = attrs.field(factory=list, init=False)
    _getting: dict[int, int] = attrs.field(factory=dict, init=False)
    _known_holders: dict[int, bool] = attrs.field(factory=dict, init=False)
    _heads: list[tuple[int, Head, Contact, int]] = attrs.field(factory=list, init=False)
    #: By whom they were announced: the second of one peer waits behind the first of another.
    _announced_by: dict[int, int] = attrs.field(factory=dict, init=False)
    #: Long values that were announced, those that have been fetched, or not, included.
    _heads_known: int = attrs.field(default=0, init=False)
    _transfer: Transfer | None = attrs.field(default=None, init=False)
    _transfer_hops: int = attrs.field(default=0, init=False)
    _replies: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.way = self.make_way(self)

    def next(self, now: float) -> Ask | Wait | Finished:
        if self._started_at is None:
            self._started_at = now
            held = self.local.held(now, self.kind, self.key)
            if held is not None:
                self._found(now, held[0], self.local.contact, 0)
            elif not self.has_neighbours():
                self.settled = True
                self.error = NoPeers(
                    f"there are no neighbours to be searched; tried {self.local.tried()}"
                )
        fetching = self._fetch(now)
        if self.settled:
            return FINISHED
        if type(fetching) is Ask:
            return fetching
        if self._holders and len(self._getting) < HOLDERS_AT_ONCE:
            contact, hops = self._holders.pop(0)
            self._getting[contact.id] = hops
            self._log.note(now, contact, hops)
            get = Get(flags=self.flags, kind=self.kind, key=key_bytes(self.key), count=0)
            return Ask(contact, encode(get))
        # Whoever is slow to give a long value away does not keep the others from being found.
        step = self.way.next(now)
        if type(step) is Ask:
            self._log.note(now, step.contact, 1)
        elif step is not FINISHED:
            return step if fetching is None else _sooner(step, fetching)
        elif fetching is not None:
            return fetching
        elif self._getting:
            return Wait(None)
        else:
            self._conclude(now, None, None, 0, "everybody who was asked has answered")
        return step

    @property
    def fetching(self) -> bool:
        """Is a holder still being asked for what it is said to hold?"""
        return bool(self._holders or self._getting or self._heads or self._transfer)

    def _fetch(self, now: float) -> Ask | Wait | None:
        """What is to be done for a long value, if one is on its way."""
        while True:
            if self._transfer is None:
                if not self._heads:
                    return None
                _, head, holder, self._transfer_hops = self._heads.pop(0)
                self._transfer = Transfer(head, holder, self.flags)
            step = self._transfer.next(now)
            if step is not FINISHED:
                return step
            transfer, self._transfer = self._transfer, None
            if transfer.record is not None:
                self._found(now, transfer.record, transfer.contact, self._transfer_hops)
                return None

    # ---- what is heard ----

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        if isinstance(message, Block):
            if self._transfer is not None and contact.id == self._transfer.contact.id:
                self._transfer.on_reply(now, contact, message, closer)
            return
        result = StepResult.RECORD if isinstance(message, Found) else StepResult.ANSWERED
        self._log.hear(now, contact, result)
        if contact.id in self._getting and isinstance(message, Found | Nodes):
            hops = self._getting.pop(contact.id)
            if isinstance(message, Found):
                self.on_copy(now, message.copy, contact, hops)
        else:
            self.way.on_reply(now, contact, message, closer)

    def on_failure(self, now: float, contact: Contact) -> None:
        fetches = self._transfer is not None and contact.id == self._transfer.contact.id
        if self._transfer is not None and fetches and not self._log.waits_for(contact):
            self._transfer.on_failure(now, contact)
            return
        self._log.hear(now, contact, StepResult.SILENT)
        if self._getting.pop(contact.id, None) is None:
            self.way.on_failure(now, contact)

    def on_retry(self, contact: Contact) -> None:
        self.way.on_retry(contact)

    def on_hit(self, now: float, hit: Hit, teller: Contact) -> None:
        """An answer came back along the path, or its holder opened to us."""
        if self.settled:
            return
        self._replies += max(1, hit.hops - 1)
        self.way.on_hit(now, hit)
        if hit.copy is None:
            self.on_holder(teller, hit.hops)
            return
        try:
            holder = contact_untrusted(hit.holder)
        except RemoteError:
            holder = teller
        # Threat: a liar who has us speak to an address that it cannot know, or must not.
        if not self.usable(holder, teller):
            holder = teller
        self.on_copy(now, hit.copy, holder, hit.hops, teller)

    def on_done(self, now: float, contact: Contact, done: Done) -> None:
        """A part of the search has ended."""
        self._replies += 1
        self.way.on_done(now, contact, done)

    def on_walker(self, now: float, walker: int, hops: int, *, last: bool) -> bool:
        """A walker asks whether to go on."""
        self._replies += 1
        return self.way.on_walker(now, walker, hops, last=last) and not self.settled

    def on_holder(self, holder: Contact, hops: int) -> None:
        """Somebody holds it, by what is said: it is asked."""
        if holder.id == self.local.contact.id:
            return
        if holder.id not in self._known_holders and len(self._known_holders) < HOLDERS_MAX:
            self._known_holders[holder.id] = True
            self._holders.append((holder, hops))

    def on_copy(
        self, now: float, copy: Copy, holder: Contact, hops: int, teller: Contact | None = None
    ) -> None:
        """A copy came: checked, and taken if it is the record that is looked for. ``teller`` passed
        it back; else it is the holder's own word."""
        if self.settled:
            return
        try:
            record = record_of_untrusted(copy, value_size_max=self.value_size_max)
        except RemoteError:
            return
        if record.kind is not self.kind or record.key != self.key or not copy.remaining_ms:
            return
        if isinstance(record, Record):
            self._found(now, record, holder, hops)
        elif self._heads_known < HOLDERS_MAX:
            self._heads_known += 1
            by = (teller or holder).id
            turn = self._announced_by[by] = self._announced_by.get(by, 0) + 1
            place = sum(each[0] <= turn for each in self._heads)
            self._heads.insert(place, (turn, record, holder, hops))

    # ---- the end ----

    def _found(self, now: float, record: Record, holder: Contact, hops: int) -> None:
        self._conclude(now, record, holder, hops, "the record was found")

    def _conclude(
        self, now: float, record: Record | None, holder: Contact | None, hops: int, stopped: str
    ) -> None:
        self.settled = True
        dead = record is not None and record.tombstone
        self.outcome = GetOutcome(
            key=self.key,
            record=None if dead else record,
            deleted=record if dead else None,
            agreed=() if holder is None else (holder,),
            stale=(),
            empty=(),
            trace=self._trace(now, hops, stopped),
        )

    def _trace(self, now: float, hops: int, stopped: str) -> Trace:
        assert self._started_at is not None
        costs = self.way.costs
        besides = self._log.farther()
        return Trace(
            target=self.key,
            hops=hops,
            messages=costs.messages + besides + self._replies,
            nodes=costs.nodes + besides,
            duplicates=costs.duplicates,
            elapsed=now - self._started_at,
            steps=self._log.steps(self._started_at),
            stopped=stopped,
        )


def _sooner(one: Wait, other: Wait) -> Wait:
    """Until the first of both."""
    if one.until is None or (other.until is not None and other.until < one.until):
        return other
    return one
