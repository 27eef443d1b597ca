"""The store against a naive model, in any order of everything.

The model is what a reader with a pencil would keep: a list of records, counted anew each time.
"""

from math import floor
from operator import attrgetter

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dht.config import DAY_S, Config
from dht.core import topics
from dht.core.storage import RECORD_OVERHEAD, SWEEP_STEP_S, Storage
from dht.keyspace import Key, content_key, key_bytes, signed_key
from dht.records import Kind, Proof, Record, Slot, is_newer, ttl_max_s, value_hash
from dht.wire.messages import Status

GHOST_S = DAY_S
COUNT_MAX = 8
SIZE_MAX = COUNT_MAX * (RECORD_OVERHEAD + 10)
SHARE, POOL, OF_AUTHOR = 1 / 4, 1 / 2, 3 / 8
#: Of a topic; so small that they meet the others.
MEMBERS_MAX, MEMBERS_PER_SOURCE_MAX, TOMBSTONES_MAX = 2, 1, 1
SOURCES = [b"ali", b"bob", b"eve"]
VALUES = [b"", b"1", b"x" * 60]
AUTHORS = [bytes([number]) * 32 for number in range(5)]


@attrs.define
class Entry:
    """One record that was taken, and what is left of it."""

    record: Record
    deadline: float
    account: bytes

    @property
    def slot(self) -> Slot:
        return self.record.slot

    @property
    def author(self) -> bytes | None:
        return self.record.proof and self.record.proof.author

    @property
    def charge(self) -> int:
        return len(self.record.value) + RECORD_OVERHEAD + (96 if self.record.proof else 0)


def swept_at(deadline: float) -> float:
    """The first whole step after the deadline."""
    return (floor(deadline / SWEEP_STEP_S) + 1) * SWEEP_STEP_S


@st.composite
def offers(draw: st.DrawFn) -> Record:
    """Few keys, few versions, few values: most offers meet another one."""
    kind = draw(st.sampled_from([*Kind, Kind.MEMBER, Kind.MEMBER]))
    tombstone = kind is not Kind.CONTENT and draw(st.integers(0, 3)) == 0
    value = b"" if tombstone else draw(st.sampled_from(VALUES))
    key = Key(0 if kind is Kind.MEMBER else draw(st.integers(0, 9)))
    proof = None
    if kind > Kind.CONTENT:  # the store verifies nothing: no signature is needed
        name = key_bytes(key) if kind is Kind.SIGNED else b""
        proof = Proof(draw(st.sampled_from(AUTHORS)), bytes(64), name)
        key = signed_key(proof.author, name) if name else key
    return Record(
        kind=kind,
        key=content_key(value_hash(value)) if kind is Kind.CONTENT else key,
        proof=proof,
        version=draw(st.integers(1, 4)),
        written_at_ms=draw(st.sampled_from([0, 50_000])),
        ttl_ms=draw(st.sampled_from([500, 40_000, 80_000_000])),
        tombstone=tombstone,
        value=value,
    )


TOPIC_LIMITS = {
    "MEMBERS_MAX": MEMBERS_MAX,
    "MEMBERS_PER_SOURCE_MAX": MEMBERS_PER_SOURCE_MAX,
    "TOMBSTONES_MAX": TOMBSTONES_MAX,
}


class StoreAgreesWithAList(RuleBasedStateMachine):
    """Every rule of storing, said once more without a single index."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.store = Storage(
            Config(
                store_count_max=COUNT_MAX,
                store_size_max=SIZE_MAX,
                store_share_per_source=SHARE,
                store_share_handover=POOL,
                store_share_per_author=OF_AUTHOR,
            )
        )
        self.real = [(name, getattr(topics, name)) for name in TOPIC_LIMITS]
        for name, limit in TOPIC_LIMITS.items():
            setattr(topics, name, limit)
        self.held: list[Entry] = []
        self.ghosts: list[Entry] = []

    def teardown(self) -> None:
        for name, limit in self.real:
            setattr(topics, name, limit)

    @initialize(start=st.floats(0, 1e6))
    def begin(self, start: float) -> None:
        self.now = start

    # ---- the model ----

    def find(self, slot: Slot) -> Entry | None:
        return next((entry for entry in self.held if entry.slot == slot), None)

    def end(self, entry: Entry) -> None:
        self.held.remove(entry)
        if entry.record.kind is Kind.CONTENT:
            return
        self.ghosts.append(entry)
        share = POOL if entry.account == b"" else SHARE
        of_account = [ghost for ghost in self.ghosts if ghost.account == entry.account]
        if len(of_account) > max(1, int(COUNT_MAX * share)):
            self.ghosts.remove(of_account[0])
        if len(self.ghosts) > COUNT_MAX:
            self.ghosts.pop(0)

    def expected(self, offer: Entry, wall_s: float | None, if_version: int | None) -> Status | None:
        """None when exactly what is held, or better, is held already."""
        record = offer.record
        held = self.find(offer.slot)
        if held is not None and held.record == record:
            return None
        if offer.deadline <= self.now:
            return Status.CLOCK
        if wall_s is not None and record.version > (wall_s + DAY_S) * 1000:
            return Status.CLOCK
        if if_version not in (None, held.record.version if held else 0):
            return Status.VERSION
        if record.kind is Kind.CONTENT:
            if held is not None and held.deadline >= offer.deadline:
                return None
        else:
            ghosts = [ghost for ghost in self.ghosts if ghost.deadline + GHOST_S > self.now]
            of_slot = [entry for entry in self.held + ghosts if entry.slot == offer.slot]
            if not all(is_newer(record, entry.record) for entry in of_slot):
                return Status.OLD
        if not record.tombstone and (held is None or held.record.tombstone):
            living = [
                entry
                for entry in self.topic(record)
                if entry.deadline > self.now and not entry.record.tombstone
            ]
            same_source = [entry for entry in living if entry.account == offer.account != b""]
            if len(living) >= MEMBERS_MAX or len(same_source) >= MEMBERS_PER_SOURCE_MAX:
                return Status.FULL
        after = [entry for entry in self.held if entry is not held] + [offer]
        of_author = [entry for entry in after if entry.author and entry.author == offer.author]
        mine = [entry for entry in after if entry.account == offer.account]
        share = POOL if offer.account == b"" else SHARE
        fits = (
            len(after) <= COUNT_MAX
            and sum(entry.charge for entry in after) <= SIZE_MAX
            and len(mine) <= max(1, int(COUNT_MAX * share))
            and sum(entry.charge for entry in mine) <= int(SIZE_MAX * share)
            and len(of_author) <= int(COUNT_MAX * OF_AUTHOR)
            and sum(entry.charge for entry in of_author) <= int(SIZE_MAX * OF_AUTHOR)
        )
        return Status.STORED if fits else Status.FULL

    def topic(self, record: Record) -> list[Entry]:
        """Who is in the same topic; nobody unless it is a member's."""
        return [
            entry
            for entry in self.held
            if record.kind is Kind.MEMBER
            and (entry.record.kind, entry.record.key) == (Kind.MEMBER, record.key)
        ]

    # ---- what happens ----

    @rule(
        record=offers(),
        remaining_ms=st.sampled_from([0, 300, 60_000, 10**12]),
        wall_s=st.none() | st.sampled_from([0.0, 86_410.0, 10**6]),
        source=st.sampled_from(SOURCES),
        handover=st.booleans(),
        if_version=st.none() | st.integers(0, 4),
        asked_first=st.booleans(),
    )
    def offer(
        self,
        *,
        record: Record,
        remaining_ms: int,
        wall_s: float | None,
        source: bytes,
        handover: bool,
        if_version: int | None,
        asked_first: bool,
    ) -> None:
        self.sweep()
        stale = self.find(record.slot)
        if stale is not None and stale.deadline <= self.now:
            self.end(stale)
        life_s = min(
            remaining_ms / 1000,
            record.ttl_ms / 1000,
            ttl_max_s(record.kind, tombstone=record.tombstone),
        )
        if wall_s is not None:
            life_s = min(life_s, (record.written_at_ms + record.ttl_ms) / 1000 + DAY_S - wall_s)
        taken = Entry(record, self.now + life_s, b"" if handover else source)
        expected = self.expected(taken, wall_s, if_version)
        held = self.find(taken.slot)
        if asked_first:
            would = self.store.would_take(
                self.now,
                record.head,
                remaining_ms=remaining_ms,
                wall_s=wall_s,
                source=source,
                handover=handover,
                if_version=if_version,
            )
            assert would is (Status.STORED if expected is None else expected)
        got = self.store.store(
            self.now,
            record,
            remaining_ms=remaining_ms,
            wall_s=wall_s,
            source=source,
            handover=handover,
            if_version=if_version,
        )
        if expected is Status.STORED:
            self.held = [entry for entry in self.held if entry is not held] + [taken]
            self.ghosts = [ghost for ghost in self.ghosts if ghost.slot != taken.slot]
            tombstones = [entry for entry in self.topic(record) if entry.record.tombstone]
            if len(tombstones) > TOMBSTONES_MAX:
                self.end(min(tombstones, key=attrgetter("deadline", "author")))
            if len(self.held) + len(self.ghosts) > COUNT_MAX:
                self.ghosts.pop(0)
        refused = expected not in (None, Status.STORED)
        assert got == (
            expected if refused else Status.STORED,
            held.record if refused and held is not None else None,
        )

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.5, 40.0, SWEEP_STEP_S, 50_000.0, 90_000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        due = [entry for entry in self.held if swept_at(entry.deadline) <= self.now]
        # Lot by lot; within a lot in the order in which they were taken.
        for entry in sorted(due, key=lambda entry: swept_at(entry.deadline)):
            self.end(entry)
        assert self.store.expire(self.now) == len(due)
        while self.ghosts and self.ghosts[0].deadline + GHOST_S <= self.now:
            self.ghosts.pop(0)

    # ---- what always holds ----

    @invariant()
    def every_slot_reads_as_in_the_list(self) -> None:
        content = [content_key(value_hash(value)) for value in VALUES]
        slots: list[Slot] = [(Kind.PLAIN, Key(number), b"") for number in range(10)]
        slots += [(Kind.CONTENT, key, b"") for key in content]
        slots += [
            (Kind.SIGNED, signed_key(author, key_bytes(number)), b"")
            for author in AUTHORS
            for number in range(10)
        ]
        slots += [(Kind.MEMBER, Key(0), author) for author in AUTHORS]
        for kind, key, author in slots:
            entry = self.find((kind, key, author))
            live = entry if entry is not None and self.now < entry.deadline else None
            got = self.store.get(self.now, kind, key, author)
            assert (got and (got.record, got.deadline, got.account)) == (
                live and (live.record, live.deadline, live.account)
            )
            if not author:
                version = live.record.version if live else 0
                assert self.store.version(self.now, kind, key) == version
                ends_at = live.deadline if live else None
                assert self.store.ends_at(self.now, kind, key) == ends_at

    @invariant()
    def a_topic_reads_as_in_the_list_from_any_start(self) -> None:
        entries = [entry for entry in self.held if entry.slot[2] and self.now < entry.deadline]
        for start in (b"", *AUTHORS, b"\xff" * 32):
            found = self.store.members(self.now, 0, start)
            turned = sorted(entries, key=lambda e: (e.slot[2] < start, e.slot[2]))
            assert [held.record for held in found] == [entry.record for entry in turned]
        assert self.store.ends_at(self.now, Kind.MEMBER, 0) == max(
            (entry.deadline for entry in entries), default=None
        )

    @invariant()
    def counts_and_bounds_agree(self) -> None:
        assert self.store.count == len(self.held)
        assert self.store.size == sum(entry.charge for entry in self.held)
        times = [swept_at(entry.deadline) for entry in self.held]
        assert self.store.next_timeout() == (min(times) if times else None)

    @invariant()
    def the_maps_are_in_step(self) -> None:
        store = self.store
        by_key = sorted(self.held, key=lambda e: (e.record.key, e.record.kind, e.slot[2]))
        first = {entry.slot[:2]: entry.record for entry in reversed(by_key)}  # one of each topic
        walked, _ = store.keys_near(0, 0, limit=1000)
        assert [held.record for held in walked] == list(first.values())[::-1]
        in_lots = [slot for lot in store._lots.values() for slot in lot]
        assert sorted(in_lots) == sorted(store._held)
        assert [ghost.order for ghost in store._ghosts.values()] == [
            ghost.record.order for ghost in self.ghosts
        ]
        accounts = {entry.account for entry in self.held + self.ghosts}
        assert sorted(store._accounts) == sorted(accounts)
        for name, account in store._accounts.items():
            mine = [entry for entry in self.held if entry.account == name]
            ghosts = [ghost for ghost in self.ghosts if ghost.account == name]
            assert (account.count, account.size) == (
                len(mine),
                sum(entry.charge for entry in mine),
            )
            assert len(account.ghosts) == len(ghosts)
        authors = {entry.author for entry in self.held if entry.author}
        assert sorted(store._authors) == sorted(authors)
        for name, account in store._authors.items():
            mine = [entry for entry in self.held if entry.author == name]
            assert (account.count, account.size) == (
                len(mine),
                sum(entry.charge for entry in mine),
            )


TestStoreAgreesWithAList = StoreAgreesWithAList.TestCase
