"""Storing a record: find its owners, and store a version newer than theirs with all of them.

A contact that is an owner in all likelihood is asked to store at once; its answer names the
contacts that it knows nearer, so the search goes on as if it had been asked for them. That halves
the messages of a put where the owners are known.

A machine (``next``, ``on_reply``, ``on_failure``, ``on_retry``) that owns a search. ``settled``
turns true when the application can be told; after that it follows up on owners that are late.
"""

from collections.abc import Callable
from typing import Final

import attrs

from ..author import Author
from ..config import CLOCK_TOLERANCE_S
from ..contacts import Contact
from ..errors import DHTError, NoPeers, QuorumNotReached, RemoteError, VersionConflict
from ..keyspace import KEY_BITS, Key
from ..records import VERSION_MAX, Kind, Record, is_newer
from ..wire.codec import copy_of, encode, record_of_untrusted
from ..wire.messages import Message, Nodes, Status, Store, Stored
from .density import DensityGauge
from .machine import FINISHED, Ask, Finished, Wait
from .operations import Local, Search, Shared, reading_of, with_self
from .outcomes import Outcome, PutOutcome, Refusal

#: Milliseconds ahead of the clock up to which a version that somebody says to hold is believed:
#: three quarters of what holders take, so that they take the one above it, too, and more than any
#: time zone mistaken for UTC. Threat: a liar who names the last version there is shuts the key.
BELIEVED_AHEAD_MS = int(CLOCK_TOLERANCE_S * 1000 * 3 / 4)
#: A put goes above versions that it did not know of so often; then others are faster than it.
RESTAMPS_MAX = 3
#: Owners that name contacts, of those that a put goes to at once because it knows everybody: who
#: joined a moment ago is known to the nearest. Two, so that one may be wrong; guess.
NAMERS = 2
#: Milliseconds. A holder with a right clock refuses ours when it is a day off; an hour is far more
#: than what answers take and round. Threat: one liar's word against a right clock.
CLOCK_OFF_MS = 3_600_000

_WAIT: Final = Wait(None)
_EVERYWHERE = 1 << KEY_BITS


@attrs.define(eq=False)
class Put:
    """Stores a version newer than what the owners hold with all of them, while it finds them."""

    kind: Kind
    key: Key
    value: bytes
    ttl_ms: int
    tombstone: bool
    if_version: int | None
    replicas: int
    quorum: int | None
    store_flags: int
    search: Search
    local: Local
    free_after: Callable[[Contact], float]
    value_size_max: int
    #: Contacts this near to the key are asked to store without being asked anything before.
    reach: int = 0
    #: Is everybody known? Then most of those that are asked at once need not name anybody.
    knows_all: bool = False
    #: May this node be the only owner? Not one that joined others: they are merely out of reach.
    alone_ok: bool = True
    shared: Shared | None = None
    #: Who signs it, of the kinds that have an author; ``name`` is a signed record's.
    author: Author | None = None
    name: bytes = b""
    gauge: DensityGauge | None = None
    outcome: Outcome | None = attrs.field(default=None, init=False)
    error: DHTError | None = attrs.field(default=None, init=False)
    settled: bool = attrs.field(default=False, init=False)
    #: Is the key so crowded that this is not the end? See ``widening``.
    goes_on: bool = attrs.field(default=False, init=False)
    #: The record as it was stamped; None until somebody is asked to store it.
    record: Record | None = attrs.field(default=None, init=False)
    _answered: bool = attrs.field(default=False, init=False)
    _asked: bool = attrs.field(default=False, init=False)
    _versions_seen: list[int] = attrs.field(factory=list, init=False)
    _body: bytes = attrs.field(default=b"", init=False)
    #: The same, for those who need not name anybody.
    _terse_body: bytes = attrs.field(default=b"", init=False)
    #: Who was asked to store by the search itself, and owes it an answer.
    _owed: dict[int, bool] = attrs.field(factory=dict, init=False)
    #: Who was asked for contacts and the version held, and has not answered.
    _finds: dict[int, bool] = attrs.field(factory=dict, init=False)
    _to_ask: list[Contact] = attrs.field(factory=list, init=False)
    _owners: dict[int, Contact] = attrs.field(factory=dict, init=False)
    #: Stores under way with each owner; two after a restamp.
    _under_way: dict[int, int] = attrs.field(factory=dict, init=False)
    #: Owners that were asked to store and have not answered: until when we wait for each.
    _expected: dict[int, float] = attrs.field(factory=dict, init=False)
    _stored: dict[int, Contact] = attrs.field(factory=dict, init=False)
    _refused: dict[int, Refusal] = attrs.field(factory=dict, init=False)
    _silent: dict[int, Contact] = attrs.field(factory=dict, init=False)
    #: Who was given up, and then had stored all the same: the search knows them no more.
    _late: dict[int, Contact] = attrs.field(factory=dict, init=False)
    _conflict: bool = attrs.field(default=False, init=False)
    _version_held: int = attrs.field(default=0, init=False)
    _newest: Record | None = attrs.field(default=None, init=False)
    #: The versions before the restamps.
    _stamped_before: list[int] = attrs.field(factory=list, init=False)
    _restamped_by_clock: bool = attrs.field(default=False, init=False)
    _no_room_at_home: bool = attrs.field(default=False, init=False)
    _stores: int = attrs.field(default=0, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        if self._to_ask:
            return self._ask(now, self._to_ask.pop())
        # An owner that refused or stayed silent is replaced by the next nearest, so the search
        # may go on after it had ended.
        step = self.search.next(now)
        if isinstance(step, Wait):
            return self._wait_or_settle(now, step)
        if isinstance(step, Ask):
            self._asked = True
            if step.contact.id ^ self.key <= self.reach:
                return self._ask_at_once(now, step.contact)
            self._finds[step.contact.id] = True
            return step
        if self.error is None:
            self._take_owners(now)
        if self._to_ask:
            return self._ask(now, self._to_ask.pop())
        return self._wait_or_settle(now, None)

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        if isinstance(message, Stored) and contact.id in self._owners:
            if self._owed.pop(contact.id, False):
                self._on_found(now, contact, closer)
            self._on_stored(now, contact, message)
        elif isinstance(message, Nodes):
            self._finds.pop(contact.id, None)
            if message.version:
                self._versions_seen.append(message.version)
            self._on_found(now, contact, closer)

    def on_failure(self, now: float, contact: Contact) -> None:
        self._finds.pop(contact.id, None)
        if self._ends_one_of_two(contact):
            return
        was_expected = self._expected.pop(contact.id, None) is not None
        if contact.id in self._stored:
            return
        if was_expected:
            self._silent[contact.id] = contact
        self.search.on_failure(now, contact)

    def on_retry(self, contact: Contact) -> None:
        self.search.on_retry(contact)

    def _on_found(self, now: float, contact: Contact, closer: list[Contact]) -> None:
        self._answered = True
        if self.shared is not None:
            self.shared.learn(contact)
        self.search.on_reply(now, contact, closer)

    # ---- storing ----

    def _ask(self, now: float, contact: Contact, *, terse: bool = True) -> Ask:
        self._expected[contact.id] = now + self.free_after(contact)
        self._under_way[contact.id] = self._under_way.get(contact.id, 0) + 1
        self._stores += 1
        return Ask(contact, self._terse_body if terse else self._body)

    def _ask_at_once(self, now: float, contact: Contact) -> Ask:
        """The search wants this contact asked, and it is an owner in all likelihood."""
        if self.record is None:
            self._stamp(now)
        self._owners[contact.id] = contact
        self._owed[contact.id] = True
        self._stores -= 1  # the search counts this message
        # Whoever is asked after the first ``replicas`` is news, or replaces somebody.
        terse = self.knows_all and NAMERS < len(self._owners) <= self.replicas
        return self._ask(now, contact, terse=terse)

    def _take_owners(self, now: float) -> None:
        """The search has ended: stores with the owners that have not been asked yet."""
        if self._asked and not self._answered:
            self.error = NoPeers(f"nobody answered the put; tried {self.local.tried()}")
            return
        owners = self._nearest()
        alone = [owner.id for owner in owners] == [self.local.contact.id]
        if alone and not (self.alone_ok or self.search.known()):
            self.error = NoPeers(f"nobody is left to store it with; tried {self.local.tried()}")
            return
        if self.record is None:
            self._stamp(now)
        # Not more than ``replicas`` at once: who refused because of what it holds stays an owner.
        for contact in owners:
            if contact.id in self._owners:
                continue
            self._owners[contact.id] = contact
            if contact.id == self.local.contact.id:
                self._store_at_home(now)
            else:
                self._to_ask.append(contact)
        self._to_ask.reverse()  # nearest first: they are popped from the end

    def _stamp(self, now: float, *, median: bool = False) -> None:
        """The version is the wall clock, and above every version that an owner holds."""
        wall_ms = self.local.wall_ms(now, median=median)
        self.record = Record(
            kind=self.kind,
            key=self.key,
            version=self._version_above(now, wall_ms),
            written_at_ms=max(0, wall_ms),
            ttl_ms=self.ttl_ms,
            tombstone=self.tombstone,
            value=self.value,
        )
        if self.author is not None:
            self.record = self.record.signed_by(self.author, self.name)
        copy = copy_of(self.record, self.ttl_ms)
        flags, if_version = self.store_flags, self.if_version
        self._body = encode(Store(flags, copy, if_version, self.replicas))
        self._terse_body = encode(Store(flags, copy, if_version, 0))

    def _version_above(self, now: float, wall_ms: int) -> int:
        """The wall clock, or just above the newest version that is known to be held."""
        member = b""
        if self.kind is Kind.MEMBER and self.author is not None:
            member = self.author.id.public_key
        held = self.local.held(now, self.kind, self.key, member) if self.local.serves else None
        believed = max(wall_ms, self.local.wall_ms(now, median=True)) + BELIEVED_AHEAD_MS
        claims = [*self._versions_seen, *self._stamped_before, held[0].version if held else 0]
        seen = max(
            self.if_version or 0,
            max((version for version in claims if version <= believed), default=0),
        )
        return min(max(wall_ms, seen + 1, 1), VERSION_MAX)

    def _nearest(self) -> list[Contact]:
        """The owners as far as they are known: the nearest that were not silent and have room."""
        known = self.search.known()
        if self._late:
            together = {contact.id: contact for contact in (*known, *self._late.values())}
            known = [together[node_id] for node_id in sorted(together, key=self.key.__xor__)]
        if not self._no_room_at_home:
            known = with_self(known, self.local, self.key)
        return known[: self.replicas]

    def _store_at_home(self, now: float) -> None:
        assert self.record is not None
        off_ms = self.record.written_at_ms - self.local.wall_ms(now, median=True)
        if abs(off_ms) > CLOCK_TOLERANCE_S * 1000:
            # Our own store cannot tell by a clock that is wrong itself; the others' would refuse.
            self._judge(now, self.local.contact, Status.CLOCK, 0, None)
            return
        status, held = self.local.keep(
            now, self.record, remaining_ms=self.ttl_ms, if_version=self.if_version
        )
        self._judge(now, self.local.contact, status, held.version if held else 0, held)

    def _on_stored(self, now: float, contact: Contact, message: Stored) -> None:
        status = Status(message.status)
        if status is Status.PULLING:  # a second answer follows; the engine keeps the request
            if contact.id not in self._stored:
                self._expected[contact.id] = now + self.free_after(contact)
            return
        assert self.record is not None
        stamped_before = self._ends_one_of_two(contact) or contact.id in self._stored
        if status is not Status.STORED or message.version != self.record.version:
            if stamped_before:
                return  # it answers the store from before the restamp
            if status is Status.STORED:
                status = Status.INVALID  # it says that it stored something that we did not send
        self._expected.pop(contact.id, None)
        if self._silent.pop(contact.id, None) is not None and status is Status.STORED:
            self._late[contact.id] = contact
        held: Record | None = None
        if message.copy is not None:
            try:
                told = record_of_untrusted(message.copy, value_size_max=self.value_size_max)
            except RemoteError:
                told = None
            if isinstance(told, Record) and told.slot == self.record.slot:
                held = told
        self._judge(now, contact, status, message.version, held)

    def _ends_one_of_two(self, contact: Contact) -> bool:
        """One store of this owner's has ended. Is the one with the new stamp still under way?"""
        left = max(0, self._under_way.get(contact.id, 0) - 1)  # 0: late, it was given up before
        self._under_way[contact.id] = left
        return left > 0

    def _judge(
        self, now: float, contact: Contact, status: Status, version: int, held: Record | None
    ) -> None:
        if status is Status.STORED:
            self._stored[contact.id] = contact
            self._refused.pop(contact.id, None)
            return
        if status is Status.VERSION and self.if_version is None:
            status = Status.INVALID  # it answers a condition that we did not make
        if held is not None and (self._newest is None or is_newer(held, self._newest)):
            self._newest = held
        self._refused[contact.id] = Refusal(contact=contact, reason=status.name.lower())
        if status is Status.VERSION:
            if version not in self._stamped_before:  # what it took from us before is no conflict
                self._conflict = True
                self._version_held = max(self._version_held, version)
        elif self.settled and status in (Status.CLOCK, Status.OLD):
            pass  # to stamp anew now would undo what others wrote after our acknowledgement
        elif status is Status.CLOCK and not self._restamped_by_clock and self._clock_is_off(now):
            self._restamped_by_clock = True
            self._restamp(now, median=True)
        elif status is Status.OLD and self._may_go_above(now, version):
            self._restamp(now)
        elif status not in (Status.OLD, Status.CLOCK):
            self._no_room_at_home = self._no_room_at_home or contact == self.local.contact
            self.search.on_failure(now, contact)  # no room there: the next nearest instead

    def _clock_is_off(self, now: float) -> bool:
        """Do those who answered us agree with whoever says that our clock is wrong?"""
        difference_ms = self.local.wall_ms(now, median=True) - self.local.wall_ms(now)
        return abs(difference_ms) > CLOCK_OFF_MS

    def _may_go_above(self, now: float, version: int) -> bool:
        """An owner that was not asked before holds a newer version: go above it, a few times."""
        assert self.record is not None
        if len(self._stamped_before) >= RESTAMPS_MAX or version in self._stamped_before:
            return False
        self._versions_seen.append(version)
        return self._version_above(now, self.local.wall_ms(now)) > version >= self.record.version

    def _restamp(self, now: float, *, median: bool = False) -> None:
        """Our clock is off (take the time that our peers agree on), or a version was in the way."""
        assert self.record is not None
        self._stamped_before.append(self.record.version)
        self._stamp(now, median=median or self._restamped_by_clock)
        for known in (self._stored, self._refused, self._silent, self._late, self._expected):
            known.clear()
        again = [*self._owners.values(), *self._to_ask]
        self._to_ask = [c for c in {c.id: c for c in again}.values() if c != self.local.contact]
        if self.local.contact.id in self._owners:
            self._store_at_home(now)

    # ---- the end ----

    def _wait_or_settle(self, now: float, step: Wait | None) -> Wait | Finished:
        expected = self._expected
        # Until then some owner is not late yet: nothing is settled before, except by its answer.
        until = max(expected.values()) if expected else None
        if until is None or until <= now:
            if not self.settled and ((step is None and not expected) or self._may_settle()):
                self._settle(now)
            if step is None and not expected:
                return FINISHED
            return step or _WAIT
        if step is not None and step.until is not None and step.until < until:
            return step
        return Wait(until)

    def _may_settle(self) -> bool:
        """All that is still expected is late: is a quorum there, and can nothing undo it?"""
        if self.record is None or self.if_version is not None or self._to_ask or self._finds:
            return False  # a conflict may still come, and has to be told
        owners = self._nearest()
        return self._stored_by(owners) >= self._needed(owners)

    def _needed(self, owners: list[Contact]) -> int:
        """A majority of the owners found: who lives and has no room is one, if nobody took its
        place."""
        if self.quorum is not None:
            return self.quorum
        found = {owner.id for owner in owners} | {*self._refused}
        return min(len(found), self.replicas) // 2 + 1

    def _stored_by(self, owners: list[Contact]) -> int:
        return sum(owner.id in self._stored for owner in owners)

    def _settle(self, now: float) -> None:
        self.settled = True
        if self.error is not None:
            return
        assert self.record is not None
        # Who turned out to be none of the nearest keeps its copy, and does not count.
        owners = self._nearest()
        stored, needed = self._stored_by(owners), self._needed(owners)
        trace = self.search.trace(now, f"{stored} owners stored", besides=self._stores)
        reading = reading_of(now, self.gauge, self.search, self.local, self.key)
        outcome = PutOutcome(
            key=self.key,
            version=self.record.version,
            stored=tuple(owner for owner in owners if owner.id in self._stored),
            refused=tuple(self._refused.values()),
            silent=tuple(self._silent.values()),
            pending=tuple(owner for owner in owners if owner.id in self._expected),
            quorum=needed,
            trace=trace,
            density=reading.density,
            alarmed=reading.alarmed,
        )
        if self._conflict:
            held = f"version {self._version_held}" if self._version_held else "nothing"
            self.error = VersionConflict(
                f"{self.key!r}: expected version {self.if_version}, an owner holds {held}",
                outcome,
                self._newest,
            )
        elif stored < needed or not stored:
            self.error = QuorumNotReached(
                f"{stored} of {len(owners)} owners stored {self.key!r}, "
                f"{needed} were needed: {outcome}",
                outcome,
            )
        else:
            self.outcome = outcome
        # It saw no more of the neighbourhood than the owners that it knew.
        self.goes_on = (reading.alarmed or reading.suspicious) and not self._conflict

    # ---- after an alarm: once more, over other contacts (see ``region``) ----

    def had_from(self) -> set[int]:
        """The ids of those who have stored it."""
        return {*self._stored}

    def again(self, search: Search) -> "Put":
        """The same record, stored with everybody whom another search asks."""
        second = Put(
            kind=self.kind,
            key=self.key,
            value=self.value,
            ttl_ms=self.ttl_ms,
            tombstone=self.tombstone,
            if_version=self.if_version,
            replicas=len(search.known()),
            quorum=1,
            store_flags=self.store_flags,
            search=search,
            local=self.local,
            free_after=self.free_after,
            value_size_max=self.value_size_max,
            reach=_EVERYWHERE,
            author=self.author,
            name=self.name,
        )
        second.record = self.record
        second._body = second._terse_body = self._terse_body
        second._stamped_before = list(self._stamped_before)
        second._restamped_by_clock = self._restamped_by_clock
        second._no_room_at_home = True  # this node has had its turn
        return second
