"""Who is in a topic: read page by page from its owners, and kept the same among them.

``Browsing`` reads: a search whose every answer is a page, then the pages that are left, several at
once. Owners that hold the same say so by a digest, so each set is read once, and its holders share
the work. ``MembersOperation`` is ``Node.members``; ``TopicRepair`` gives the owners what they lack.
All three have the face of every machine that asks others.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple, final

import attrs

from ..config import Config
from ..contacts import Contact
from ..errors import DHTError, NoPeers, RemoteError
from ..keyspace import KEY_BITS, Key, key_bytes
from ..records import Kind, Record, is_newer, member_of
from ..wire.codec import copy_of, encode, record_of_untrusted
from ..wire.messages import COUNT_MAX, HANDOVER, MEMBERS_MAX, Browse, Message, Page, Store
from .machine import FINISHED, Ask, Finished, Wait
from .operations import Local, Search, with_self
from .outcomes import Members, Outcome
from .searches import Searches
from .topics import TOMBSTONES_MAX

#: Seconds after the search. A topic of 256 members of 850 bytes comes from 8 owners in 32 round
#: trips, 5 s over the wide area; a holder that gives one now and then is not waited for.
READ_MAX_S = 20.0
#: Copies handed over at once; guess: a burst that any link takes.
HANDOVERS_MAX = 16

_ROUND = 1 << KEY_BITS


class Entry(NamedTuple):
    """A member as a holder gave it."""

    record: Record
    remaining_ms: int
    seen_at: float

    def left_ms(self, now: float) -> int:
        """What is left of its life by now."""
        return self.remaining_ms - int((now - self.seen_at) * 1000)


@attrs.define(eq=False)
class _Set:
    """Members that one or several owners hold, all the same by their digest."""

    holders: list[Contact] = attrs.field(factory=list)
    members: dict[bytes, Entry] = attrs.field(factory=dict)
    #: Read from the start up to there, in steps around the circle of keys.
    read_to: int = 0
    #: What is left to be read: from, to.
    arcs: list[tuple[int, int]] = attrs.field(factory=list)


@final
@attrs.define(eq=False, kw_only=True)
class Browsing:
    """Reads the members that the owners of a topic hold. ``begin`` makes one."""

    key: Key
    #: Where on the circle of authors' keys the pages begin.
    start: int
    flags: int
    replicas: int
    value_size_max: int
    search: Search
    local: Local
    #: So many that live are enough; None: all.
    limit: int | None
    #: The newest of each author.
    newest: dict[bytes, Entry] = attrs.field(factory=dict, init=False)
    #: The largest number of living members that an owner named.
    total: int = attrs.field(default=0, init=False)
    answered: bool = attrs.field(default=False, init=False)
    #: The digest of our own members, which need not be read.
    own_digest: bytes = attrs.field(init=False)
    own: dict[bytes, Entry] = attrs.field(factory=dict, init=False)
    _sets: dict[bytes, _Set] = attrs.field(factory=dict, init=False)
    #: Contact id -> digest.
    _digests: dict[int, bytes] = attrs.field(factory=dict, init=False)
    #: Contact id -> the set and the arc that it was asked for.
    _asked: dict[int, tuple[_Set, tuple[int, int]]] = attrs.field(factory=dict, init=False)
    _ends_at: float | None = attrs.field(default=None, init=False)

    @classmethod
    def begin(
        cls,
        now: float,
        key: Key,
        *,
        searches: Searches,
        local: Local,
        flags: int,
        config: Config,
        start: bytes = bytes(KEY_BITS // 8),
        limit: int | None = None,
        handover: bool = False,
        disjoint: int = 1,
    ) -> "Browsing":
        """Begins to read a topic. ``handover``: by a holder, for a repair."""
        browse = Browse(
            flags=flags | (HANDOVER if handover else 0),
            key=key_bytes(key),
            start=start,
            count=min(config.k, COUNT_MAX),
        )
        search = searches.begin(now, key, encode(browse), want=config.replicas, disjoint=disjoint)
        browsing = cls(
            key=key,
            start=int.from_bytes(start),
            flags=flags,
            replicas=config.replicas,
            value_size_max=config.value_size_max,
            search=search,
            local=local,
            limit=limit,
        )
        browsing.look_at_home(now)
        return browsing

    def look_at_home(self, now: float) -> None:
        """Takes what our own store has."""
        members, self.own_digest = self.local.topic(now, self.key)
        for record, remaining_ms in members:
            entry = Entry(record, remaining_ms, now)
            self.own[member_of(record)] = entry
            self._learn(entry)
        self.total = self._living()

    # ---- asking ----

    def next(self, now: float) -> Ask | Wait | Finished:
        if self._ends_at is None:
            step = self.search.next(now)
            if step is not FINISHED:
                return step
            self._ends_at = now + READ_MAX_S
            self._plan()
        if now >= self._ends_at or self._is_enough():
            return FINISHED
        for each in self._sets.values():
            free = [holder for holder in each.holders if holder.id not in self._asked]
            if each.arcs and free:
                return self._ask(each, free[0])
        return Wait(self._ends_at) if self._asked else FINISHED

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: Iterable[Contact]
    ) -> None:
        assert isinstance(message, Page), "nothing else answers a Browse"
        try:
            entries = self._entries_untrusted(now, message)
        except RemoteError:
            self.on_failure(now, contact)
            return
        self.answered = True
        for entry in entries:
            self._learn(entry)
        asked = self._asked.pop(contact.id, None)
        if asked is not None:
            self._on_page(contact, message, entries, *asked)
        elif self._ends_at is None:
            self._on_first_page(contact, message, entries)
            self.search.on_reply(now, contact, closer)

    def on_failure(self, now: float, contact: Contact) -> None:
        asked = self._asked.pop(contact.id, None)
        if asked is not None:
            self._give_up(contact, *asked)
        elif self._ends_at is None:
            self.search.on_failure(now, contact)

    def on_retry(self, contact: Contact) -> None:
        self.search.on_retry(contact)

    # ---- what it came to ----

    def held_by(self, owner: Contact) -> dict[bytes, Entry] | None:
        """What an owner holds, as far as it was read; None of one that has not answered."""
        digest = self._digests.get(owner.id)
        if digest is None:
            return None
        return self.own if digest == self.own_digest else self._sets[digest].members

    def holders(self) -> list[Contact]:
        """Who gave us members."""
        return [holder for each in self._sets.values() if each.members for holder in each.holders]

    def living(self) -> list[Record]:
        """The members, newest of each author, from the start around the circle."""
        records = [entry.record for entry in self.newest.values() if not entry.record.tombstone]
        return sorted(records, key=lambda record: self._steps_to(member_of(record)))

    # ---- private ----

    def _living(self) -> int:
        return sum(not entry.record.tombstone for entry in self.newest.values())

    def _is_enough(self) -> bool:
        return self.limit is not None and self._living() >= self.limit

    def _learn(self, entry: Entry) -> None:
        author = member_of(entry.record)
        known = self.newest.get(author)
        if known is None or is_newer(entry.record, known.record):
            self.newest[author] = entry

    def _entries_untrusted(self, now: float, page: Page) -> list[Entry]:
        """The members of a page, each checked. Raises ``RemoteError`` if one of them is not."""
        entries = []
        for copy in page.copies:
            record = record_of_untrusted(copy, value_size_max=self.value_size_max)
            if (
                not isinstance(record, Record)
                or (record.kind, record.key) != (Kind.MEMBER, self.key)
                or not copy.remaining_ms
            ):
                raise RemoteError("a page with what is no member of its topic, or is over")
            entries.append(Entry(record, copy.remaining_ms, now))
        return entries

    def _on_first_page(self, contact: Contact, page: Page, entries: list[Entry]) -> None:
        """An answer to the search: all of them begin at the start."""
        self.total = max(self.total, page.total)
        self._digests[contact.id] = page.digest
        each = self._sets.setdefault(page.digest, _Set())
        each.holders.append(contact)
        self._enter(each, entries)
        reached = _ROUND if page.whole else self._reach(entries, 0)
        each.read_to = max(each.read_to, reached)

    def _plan(self) -> None:
        """The search has ended: what is left of each set is divided among its holders. Only owners
        are asked: what others hold may be old."""
        owners = {contact.id: True for contact in self.search.result()[: self.replicas]}
        for digest, each in self._sets.items():
            each.holders = [holder for holder in each.holders if holder.id in owners]
            if digest == self.own_digest or each.read_to >= _ROUND or not each.holders:
                continue
            left = _ROUND - each.read_to
            shares = len(each.holders)
            edges = [each.read_to + left * share // shares for share in range(shares + 1)]
            each.arcs = list(pairwise(edges))[::-1]

    def _ask(self, each: _Set, contact: Contact) -> Ask:
        arc = each.arcs.pop()
        self._asked[contact.id] = (each, arc)
        start = key_bytes((self.start + arc[0]) % _ROUND)
        body = Browse(flags=self.flags, key=key_bytes(self.key), start=start, count=0)
        return Ask(contact, encode(body))

    def _on_page(
        self,
        contact: Contact,
        page: Page,
        entries: list[Entry],
        each: _Set,
        arc: tuple[int, int],
    ) -> None:
        if not entries and not page.whole:
            self._give_up(contact, each, arc)  # it says that there are some, and gives none
            return
        self._enter(each, entries)
        reached = _ROUND if page.whole else self._reach(entries, arc[0])
        # More members than anybody may hold: somebody makes them up as we read.
        if len(each.members) > MEMBERS_MAX + TOMBSTONES_MAX:
            each.arcs.clear()
        elif reached < arc[1]:
            each.arcs.append((reached, arc[1]))

    def _give_up(self, contact: Contact, each: _Set, arc: tuple[int, int]) -> None:
        """Another holder of the same is asked for this arc, if there is one."""
        each.holders = [holder for holder in each.holders if holder.id != contact.id]
        each.arcs.append(arc)

    def _enter(self, each: _Set, entries: list[Entry]) -> None:
        for entry in entries:
            each.members[member_of(entry.record)] = entry

    def _reach(self, entries: list[Entry], low: int) -> int:
        """How far around the circle a page came that was asked for from ``low`` on: just beyond
        its last member, or all the way if it began anew. Always further than ``low``."""
        for entry in entries:
            steps = self._steps_to(member_of(entry.record))
            if steps < low:
                return _ROUND
            low = steps + 1
        return low

    def _steps_to(self, author: bytes) -> int:
        return (int.from_bytes(author) - self.start) % _ROUND


@final
@attrs.define(eq=False)
class MembersOperation:
    """Finds the members of a topic: at most ``limit``, the newest of each author."""

    browsing: Browsing
    limit: int
    outcome: Outcome | None = attrs.field(default=None, init=False)
    error: DHTError | None = attrs.field(default=None, init=False)
    settled: bool = attrs.field(default=False, init=False)
    #: A topic's neighbourhood is not judged.
    goes_on: bool = attrs.field(default=False, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        step = FINISHED if self.settled else self.browsing.next(now)
        if step is FINISHED and not self.settled:
            self._settle(now)
        return step

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        self.browsing.on_reply(now, contact, message, closer)

    def on_failure(self, now: float, contact: Contact) -> None:
        self.browsing.on_failure(now, contact)

    def on_retry(self, contact: Contact) -> None:
        self.browsing.on_retry(contact)

    def _settle(self, now: float) -> None:
        self.settled = True
        browsing = self.browsing
        living, holders = browsing.living(), browsing.holders()
        trace = browsing.search.trace(now, f"{len(living)} members were found", holders=holders)
        if trace.nodes and not browsing.answered and not browsing.newest:
            tried = browsing.local.tried()
            self.error = NoPeers(f"nobody was there to name the members; tried {tried}")
            return
        self.outcome = Members(
            key=browsing.key,
            records=tuple(living[: self.limit]),
            total=max(browsing.total, len(living)),
            holders=tuple(holders),
            trace=trace,
        )


@final
@attrs.define(eq=False)
class TopicRepair:
    """Looks at a topic's owners: brings home what they have, and gives each what it lacks."""

    browsing: Browsing
    flags: int
    #: Copies that somebody lacked. For the statistics.
    copies: int = attrs.field(default=0, init=False)
    _handovers: list[tuple[Contact, Entry]] | None = attrs.field(default=None, init=False)
    _in_flight: int = attrs.field(default=0, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        if self._handovers is None:
            step = self.browsing.next(now)
            if step is not FINISHED:
                return step
            self._handovers = self._plan(now)
            self.copies = len(self._handovers)
        while self._handovers and self._in_flight < HANDOVERS_MAX:
            contact, entry = self._handovers.pop()
            remaining_ms = entry.left_ms(now)
            if remaining_ms > 0:
                self._in_flight += 1
                copy = copy_of(entry.record, remaining_ms)
                store = Store(flags=self.flags | HANDOVER, copy=copy, if_version=None, count=0)
                return Ask(contact, encode(store))
        return Wait(None) if self._in_flight else FINISHED

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        if self._handovers is None:
            self.browsing.on_reply(now, contact, message, closer)
        else:
            self._in_flight = max(0, self._in_flight - 1)  # 0: late, and counted before

    def on_failure(self, now: float, contact: Contact) -> None:
        if self._handovers is None:
            self.browsing.on_failure(now, contact)
        else:
            self._in_flight = max(0, self._in_flight - 1)

    def on_retry(self, contact: Contact) -> None:
        self.browsing.on_retry(contact)

    def _plan(self, now: float) -> list[tuple[Contact, Entry]]:
        browsing, local = self.browsing, self.browsing.local
        near = with_self(browsing.search.result(), local, browsing.key)[: browsing.replicas]
        handovers: list[tuple[Contact, Entry]] = []
        for owner in near:
            if owner.id == local.contact.id:
                # Only an owner: else whoever once was one would gather members for ever.
                for entry in lacking(browsing.newest, browsing.own):
                    remaining_ms = entry.left_ms(now)
                    local.keep(
                        now,
                        entry.record,
                        remaining_ms=remaining_ms,
                        if_version=None,
                        handover=True,
                    )
                continue
            held = browsing.held_by(owner)
            if held is not None:
                handovers += [(owner, entry) for entry in lacking(browsing.newest, held)]
        return handovers


def lacking(newest: dict[bytes, Entry], held: dict[bytes, Entry]) -> list[Entry]:
    """Of the newest of each author those that are not held, or in an older version."""
    return [
        entry
        for author, entry in newest.items()
        if author not in held or is_newer(entry.record, held[author].record)
    ]
