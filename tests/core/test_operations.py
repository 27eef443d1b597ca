"""Put, get and lookup as machines: three owners in a list, and what each of them says."""

from collections.abc import Iterable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.contacts import Contact
from dht.core.get import Get
from dht.core.machine import FINISHED, Ask, Finished, Wait
from dht.core.operations import SHARED_MAX, LookupOperation, Shared, with_self
from dht.core.outcomes import GetOutcome, LookupOutcome, PutOutcome, Trace
from dht.core.put import BELIEVED_AHEAD_MS, Put
from dht.core.transfer import BLOCK_SIZE
from dht.errors import NoPeers, QuorumNotReached, VersionConflict
from dht.keyspace import Key
from dht.records import VERSION_MAX, Kind, Record
from dht.wire.codec import copy_of, decode_untrusted
from dht.wire.messages import Block, Fetch, Found, Nodes, Status, Store, Stored
from tests.core.contacts_for_tests import contact, contacts, ids

KEY = Key(0)  # so that an id is its distance
WALL_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
A_WEEK_MS = 7 * 24 * HOUR_MS
SELF = contact(200)


@attrs.define(eq=False)
class ListSearch:
    """A search that knows everybody from the start, and wants the nearest ``want`` to answer."""

    contacts: list[Contact]
    want: int = 3
    asked: list[int] = attrs.field(factory=list)
    answered: dict[int, Contact] = attrs.field(factory=dict)
    failed: list[int] = attrs.field(factory=list)

    target = 0

    def next(self, now: float) -> Ask | Wait | Finished:
        nearest = [c for c in self.contacts if c.id not in self.failed][: self.want]
        for each in nearest:
            if each.id not in self.asked:
                self.asked.append(each.id)
                return Ask(each, b"find")
        return FINISHED if all(each.id in self.answered for each in nearest) else Wait(None)

    def on_reply(self, now: float, contact: Contact, closer: Iterable[Contact]) -> None:
        self.answered[contact.id] = contact
        self.failed = [each for each in self.failed if each != contact.id]

    def on_failure(self, now: float, contact: Contact) -> None:
        self.failed.append(contact.id)
        self.answered.pop(contact.id, None)

    def on_retry(self, contact: Contact) -> None:
        """Nothing is counted here."""

    def result(self) -> list[Contact]:
        return [self.answered[each] for each in sorted(self.answered)][: self.want]

    def why_stopped(self) -> str:
        return "the test is over"

    def known(self) -> list[Contact]:
        return [each for each in self.contacts if each.id not in self.failed]

    def distances(self, count: int) -> list[int]:
        return sorted(each.id ^ KEY for each in self.known())[:count]

    def widen(self, want: int) -> None:
        self.want = max(self.want, want)

    def trace(
        self, now: float, stopped: str, *, holders: Iterable[Contact] = (), besides: int = 0
    ) -> Trace:
        return Trace(
            target=KEY,
            hops=0,
            messages=len(self.asked) + besides,
            nodes=len(self.asked),
            duplicates=0,
            elapsed=now,
            steps=(),
            stopped=stopped,
        )


@attrs.define(eq=False)
class AtHome:
    """This node as it sees itself: a client, unless ``serves``."""

    contact: Contact = SELF
    serves: bool = False
    ahead_ms: int = 0
    store: Record | None = None
    refuses: Status | None = None

    def held(
        self, now: float, kind: Kind, key: Key, author: bytes = b""
    ) -> tuple[Record, int] | None:
        return self.store and (self.store, 60_000)

    def topic(self, now: float, key: Key) -> tuple[list[tuple[Record, int]], bytes]:
        return [], bytes(8)

    def keep(
        self,
        now: float,
        record: Record,
        *,
        remaining_ms: int,
        if_version: int | None,
        handover: bool = False,
        placed: bool = False,
    ) -> tuple[Status, Record | None]:
        if self.refuses is not None:
            return self.refuses, self.store
        self.store = record
        return Status.STORED, None

    def wall_ms(self, now: float, *, median: bool = False) -> int:
        return WALL_MS + int(now * 1000) + (0 if median else self.ahead_ms)

    def tried(self) -> str:
        return "everybody"


def put_of(search: ListSearch, home: AtHome | None = None, **options: object) -> Put:
    settings: dict[str, object] = {
        "kind": Kind.PLAIN,
        "key": KEY,
        "value": b"v",
        "ttl_ms": 60_000,
        "tombstone": False,
        "if_version": None,
        "replicas": search.want,
        "quorum": None,
        "store_flags": 0,
        "search": search,
        "local": home or AtHome(),
        "free_after": lambda _contact: 0.2,
        "value_size_max": 10_000,
        **options,
    }
    return Put(**settings)  # type: ignore[arg-type]


def get_of(search: ListSearch, home: AtHome | None = None, **options: object) -> Get:
    settings: dict[str, object] = {
        "kind": Kind.PLAIN,
        "key": KEY,
        "quorum": 1,
        "replicas": search.want,
        "wide": 6,
        "value_size_max": 10_000,
        "fetch_flags": 0,
        "search": search,
        "local": home or AtHome(),
        **options,
    }
    return Get(**settings)  # type: ignore[arg-type]


def record(version: int = 1, value: bytes = b"v", *, tombstone: bool = False) -> Record:
    return Record(
        kind=Kind.PLAIN,
        key=KEY,
        version=version,
        written_at_ms=WALL_MS,
        ttl_ms=60_000,
        tombstone=tombstone,
        value=b"" if tombstone else value,
    )


def asks(machine: Put | Get | LookupOperation, now: float = 0.0) -> list[Ask]:
    """All that it asks now, until it waits or has finished."""
    result = []
    while isinstance(step := machine.next(now), Ask):
        result.append(step)
    return result


def found_owners(put: Put, *, versions: Iterable[int] = ()) -> list[Ask]:
    """Answers every question of the first act; gives the stores of the second."""
    told = iter(versions)
    while (questions := asks(put)) and questions[0].body == b"find":
        for ask in questions:
            put.on_reply(0.0, ask.contact, Nodes(0, b"", b"", next(told, 0)), [])
    return questions


def store_in(ask: Ask) -> Store:
    message = decode_untrusted(bytes(8) + ask.body)[1]
    assert isinstance(message, Store)
    return message


def stored(ask: Ask) -> Stored:
    return Stored(0, Status.STORED, store_in(ask).copy.version, None, b"", b"")


def refused(status: Status, held: Record | None = None) -> Stored:
    copy = None if held is None else copy_of(held, 1)
    return Stored(0, status, held.version if held else 0, copy, b"", b"")


def outcome_of(put: Put) -> PutOutcome:
    assert put.settled
    assert put.error is None
    assert isinstance(put.outcome, PutOutcome)
    return put.outcome


# ------------------------------------------------------------------------------------- the stamp


def test_a_put_is_stamped_with_the_wall_clock() -> None:
    (first, *_) = found_owners(put_of(ListSearch(contacts([1, 2, 3]))))
    copy = store_in(first).copy
    assert (copy.version, copy.written_at_ms) == (WALL_MS, WALL_MS)
    assert (copy.ttl_ms, copy.remaining_ms, copy.payload) == (60_000, 60_000, b"v")


@given(
    versions=st.lists(st.integers(0, WALL_MS + BELIEVED_AHEAD_MS), max_size=3),
    if_version=st.none() | st.integers(0, WALL_MS * 2),
    home=st.none() | st.integers(1, WALL_MS + BELIEVED_AHEAD_MS),
)
def test_a_version_is_above_all_that_is_replaced(
    versions: list[int], if_version: int | None, home: int | None
) -> None:
    at_home = AtHome(serves=True, store=None if home is None else record(home))
    put = put_of(ListSearch(contacts([1, 2, 3])), at_home, if_version=if_version, replicas=4)
    version = store_in(found_owners(put, versions=versions)[0]).copy.version
    assert version == max(WALL_MS, 1 + max([*versions, if_version or 0, home or 0]))


@given(lie=st.integers(WALL_MS + BELIEVED_AHEAD_MS + 1, VERSION_MAX))
def test_a_version_from_a_future_that_no_holder_would_take_is_not_believed(lie: int) -> None:
    put = put_of(ListSearch(contacts([1, 2, 3])))
    (ask, *_) = found_owners(put, versions=[5, lie, WALL_MS + 9])
    assert store_in(ask).copy.version == WALL_MS + 10


@pytest.mark.parametrize("years", [-10, 10])
def test_a_clock_that_an_owner_refuses_is_replaced_once_by_what_the_peers_agree_on(
    years: int,
) -> None:
    home = AtHome(ahead_ms=years * 365 * 24 * HOUR_MS)
    put = put_of(ListSearch(contacts([1, 2, 3])), home)
    first = found_owners(put)
    assert store_in(first[0]).copy.written_at_ms == WALL_MS + home.ahead_ms
    put.on_reply(0.1, first[1].contact, refused(Status.CLOCK), [])
    again = asks(put, 0.1)
    assert sorted(ids(ask.contact for ask in again)) == [1, 2, 3]
    assert store_in(again[0]).copy.written_at_ms == WALL_MS + 100
    put.on_reply(0.2, again[0].contact, refused(Status.CLOCK), [])
    assert asks(put, 0.2) == []


@pytest.mark.parametrize("years", [-10, 10])
def test_our_own_store_takes_no_stamp_that_the_others_would_refuse(years: int) -> None:
    home = AtHome(serves=True, ahead_ms=years * 365 * 24 * HOUR_MS)
    put = put_of(ListSearch(contacts([1, 210])), home)
    stores = found_owners(put)
    assert [store_in(ask).copy.version for ask in stores] == [WALL_MS] * 2
    assert home.store is not None
    assert home.store.version == WALL_MS


def test_one_owner_that_says_our_clock_is_wrong_does_not_outweigh_all_who_agree_with_it() -> None:
    put = put_of(ListSearch(contacts([1, 2, 3])))
    stores = found_owners(put)
    for ask in stores[1:]:
        put.on_reply(0.1, ask.contact, stored(ask), [])
    put.on_reply(0.2, stores[0].contact, refused(Status.CLOCK), [])
    assert put.next(0.2) is FINISHED
    outcome = outcome_of(put)
    assert len(outcome.stored) == 2
    assert [refusal.reason for refusal in outcome.refused] == ["clock"]


def test_an_owner_that_refuses_a_condition_that_was_not_made_is_no_conflict() -> None:
    put = put_of(ListSearch(contacts([1, 2, 3])))
    stores = found_owners(put)
    put.on_reply(0.1, stores[0].contact, refused(Status.VERSION, record(77)), [])
    for ask in stores[1:]:
        put.on_reply(0.1, ask.contact, stored(ask), [])
    assert put.next(0.1) is FINISHED
    assert len(outcome_of(put).stored) == 2


def test_what_was_acknowledged_is_not_stamped_anew_by_an_owner_that_is_late() -> None:
    put = put_of(ListSearch(contacts([1, 2, 3])))
    stores = found_owners(put)
    for ask in stores[:2]:
        put.on_reply(0.1, ask.contact, stored(ask), [])
    put.next(0.5)
    version = outcome_of(put).version
    put.on_reply(0.6, stores[2].contact, refused(Status.OLD, record(version + 5)), [])
    assert asks(put, 0.6) == []
    assert put.record is not None
    assert put.record.version == version


def test_without_room_at_home_the_next_nearest_takes_our_place() -> None:
    home = AtHome(serves=True, refuses=Status.FULL)
    put = put_of(ListSearch(contacts([1, 3, 4]), want=2), home, quorum=2)
    asked: list[int] = []
    while len(asked) < 2 and (more := asks(put, 0.1)):
        for ask in more:
            if ask.body == b"find":
                put.on_reply(0.1, ask.contact, NOTHING, [])
            else:
                asked.append(ask.contact.id)
                put.on_reply(0.1, ask.contact, stored(ask), [])
    put.next(0.1)
    assert asked == [1, 3]
    assert len(outcome_of(put).stored) == 2


def test_a_node_that_joined_others_and_finds_only_itself_acknowledges_nothing() -> None:
    put = put_of(ListSearch([]), AtHome(serves=True), alone_ok=False)
    assert put.next(0.0) is FINISHED
    assert isinstance(put.error, NoPeers)


def test_refusals_of_the_first_stamp_that_come_late_end_nothing() -> None:
    put = put_of(ListSearch(contacts([1, 2, 3])), AtHome(ahead_ms=-A_WEEK_MS))
    first = found_owners(put)
    put.on_reply(0.1, first[0].contact, refused(Status.CLOCK), [])
    again = {ask.contact.id: ask for ask in asks(put, 0.1)}
    for ask in first[1:]:
        put.on_reply(0.15, ask.contact, refused(Status.CLOCK), [])
        put.next(0.15)
    assert not put.settled
    for ask in again.values():
        put.on_reply(0.2, ask.contact, stored(ask), [])
    assert put.next(0.2) is FINISHED
    outcome = outcome_of(put)
    assert len(outcome.stored) == 3
    assert outcome.refused == ()


def test_an_owner_that_took_the_first_stamp_and_is_silent_to_it_counts_by_the_second() -> None:
    put = put_of(ListSearch(contacts([1, 2, 3])), AtHome(ahead_ms=-A_WEEK_MS))
    first = found_owners(put)
    put.on_reply(0.1, first[0].contact, refused(Status.CLOCK), [])
    again = {ask.contact.id: ask for ask in asks(put, 0.1)}
    put.on_reply(0.2, first[1].contact, stored(first[1]), [])  # the old stamp
    put.on_failure(0.2, first[2].contact)  # its first store was lost
    assert not put.settled
    for ask in again.values():
        put.on_reply(0.3, ask.contact, stored(ask), [])
    put.on_failure(0.4, first[1].contact)
    assert put.next(0.4) is FINISHED
    assert len(outcome_of(put).stored) == 3


def test_how_the_first_store_of_an_owner_ends_does_not_matter_once_it_took_the_second() -> None:
    put = put_of(ListSearch(contacts([1, 2, 3])), AtHome(ahead_ms=-A_WEEK_MS), if_version=0)
    first = found_owners(put)
    put.on_reply(0.1, first[0].contact, refused(Status.CLOCK), [])
    again = {ask.contact.id: ask for ask in asks(put, 0.1)}
    for ask in again.values():
        put.on_reply(0.2, ask.contact, stored(ask), [])
    for status in (Status.PULLING, Status.UNFETCHED):
        put.on_reply(0.3, first[1].contact, refused(status), [])
    put.on_failure(0.3, first[2].contact)
    assert put.next(0.3) is FINISHED
    assert len(outcome_of(put).stored) == 3


def test_what_an_owner_took_of_us_before_the_restamp_is_no_conflict() -> None:
    put = put_of(ListSearch(contacts([1, 2, 3])), AtHome(ahead_ms=-100 * HOUR_MS), if_version=0)
    first = found_owners(put)
    put.on_reply(0.1, first[0].contact, refused(Status.CLOCK), [])
    again = {ask.contact.id: ask for ask in asks(put, 0.1)}
    mine = record(store_in(first[1]).copy.version)
    put.on_reply(0.1, first[1].contact, stored(first[1]), [])
    put.on_reply(0.2, first[1].contact, refused(Status.VERSION, mine), [])
    for node_id in (first[0].contact.id, first[2].contact.id):
        put.on_reply(0.2, again[node_id].contact, stored(again[node_id]), [])
    put.on_failure(0.3, first[2].contact)
    put.next(0.3)
    assert len(outcome_of(put).stored) == 2


# ---------------------------------------------------------------------------- the end of a put


def test_a_put_ends_when_all_have_stored() -> None:
    put = put_of(ListSearch(contacts([1, 2, 3])))
    for ask in found_owners(put):
        assert not put.settled
        put.on_reply(0.1, ask.contact, stored(ask), [])
        put.next(0.1)
    outcome = outcome_of(put)
    assert ids(outcome.stored) == [1, 2, 3]
    assert outcome.quorum == 2
    assert outcome.trace.messages == 3 + 3


def test_with_its_quorum_a_put_waits_for_the_rest_no_longer_than_they_usually_take() -> None:
    put = put_of(ListSearch(contacts([1, 2, 3])))
    first, second, third = found_owners(put)
    put.on_reply(0.1, first.contact, stored(first), [])
    put.on_reply(0.1, second.contact, stored(second), [])
    assert put.next(0.1) == Wait(0.2)
    assert not put.settled
    assert put.next(0.2) == Wait(None)
    assert ids(outcome_of(put).pending) == [third.contact.id]
    put.on_reply(0.3, third.contact, stored(third), [])
    assert put.next(0.3) is FINISHED


def test_without_its_quorum_a_put_waits_for_every_owner() -> None:
    put = put_of(ListSearch(contacts([1, 2, 3])), quorum=3)
    first, second, third = found_owners(put)
    put.on_reply(0.1, first.contact, stored(first), [])
    put.on_reply(0.1, second.contact, stored(second), [])
    put.next(9.0)
    assert not put.settled
    put.on_failure(9.0, third.contact)
    assert put.next(9.0) is FINISHED
    assert isinstance(put.error, QuorumNotReached)
    assert ids(put.error.outcome.silent) == [third.contact.id]


def test_an_owner_that_fetches_the_value_is_waited_for_anew() -> None:
    put = put_of(ListSearch(contacts([1])), value=bytes(2000))
    (ask,) = found_owners(put)
    put.on_reply(0.15, ask.contact, Stored(0, Status.PULLING, 0, None, b"", b""), [])
    step = put.next(0.15)
    assert isinstance(step, Wait)
    assert step.until == pytest.approx(0.35)
    put.on_reply(0.3, ask.contact, stored(ask), [])
    assert put.next(0.3) is FINISHED
    assert ids(outcome_of(put).stored) == [1]


def test_who_answers_late_has_stored_all_the_same() -> None:
    put = put_of(ListSearch(contacts([1, 2, 3])), quorum=3)
    first, second, third = found_owners(put)
    put.on_failure(1.0, first.contact)
    put.on_reply(1.0, second.contact, stored(second), [])
    put.next(1.0)
    put.on_reply(1.1, first.contact, stored(first), [])
    put.on_reply(1.2, third.contact, stored(third), [])
    put.next(1.2)
    outcome = outcome_of(put)
    assert (len(outcome.stored), outcome.silent) == (3, ())


@pytest.mark.parametrize("status", [Status.FULL, Status.INVALID, Status.UNFETCHED, None])
def test_who_cannot_take_it_is_replaced_by_the_next_nearest(status: Status | None) -> None:
    search = ListSearch(contacts([1, 2, 3, 4]))
    put = put_of(search)
    first, *others = found_owners(put)
    if status is None:
        put.on_failure(0.1, first.contact)
    else:
        put.on_reply(0.1, first.contact, refused(status), [])
    (question,) = asks(put, 0.1)
    assert (question.contact.id, question.body) == (4, b"find")
    put.on_reply(0.2, question.contact, Nodes(0, b"", b"", 0), [])
    (replacement,) = asks(put, 0.2)
    for ask in (*others, replacement):
        put.on_reply(0.3, ask.contact, stored(ask), [])
    put.next(0.3)
    assert ids(outcome_of(put).stored) == [2, 3, 4]


@pytest.mark.parametrize("status", [Status.OLD, Status.VERSION, Status.CLOCK])
def test_who_refuses_because_of_what_it_holds_or_knows_stays_an_owner(status: Status) -> None:
    if_version = 7 if status is Status.VERSION else None
    put = put_of(ListSearch(contacts([1, 2, 3, 4])), quorum=1, if_version=if_version)
    if status is Status.CLOCK:
        put.on_retry(contact(1))
    first, second, third = found_owners(put)
    put.on_reply(0.1, first.contact, refused(status, record(7)), [])
    for ask in asks(put, 0.1):
        assert ask.contact.id != 4
    put.on_reply(0.1, second.contact, stored(second), [])
    put.on_reply(0.1, third.contact, stored(third), [])
    put.next(0.1)
    assert 4 not in ids(put._owners.values())


def test_a_conflict_waits_for_all_and_carries_the_newest_that_was_seen() -> None:
    put = put_of(ListSearch(contacts([1, 2, 3])), if_version=3)
    first, second, third = found_owners(put)
    put.on_reply(0.1, first.contact, refused(Status.VERSION, record(5)), [])
    put.on_reply(0.1, second.contact, stored(second), [])
    put.next(99.0)
    assert not put.settled
    put.on_reply(99.0, third.contact, refused(Status.VERSION, record(9)), [])
    put.next(99.0)
    assert isinstance(put.error, VersionConflict)
    assert put.error.newest == record(9)
    assert ids(put.error.outcome.stored) == [second.contact.id]
    assert "expected version 3, an owner holds version 9" in str(put.error)


def test_a_conflict_with_a_record_too_long_to_be_told_names_its_version() -> None:
    put = put_of(ListSearch(contacts([1])), if_version=0)
    (ask,) = found_owners(put)
    put.on_reply(0.1, ask.contact, Stored(0, Status.VERSION, 12, None, b"", b""), [])
    put.next(0.1)
    assert isinstance(put.error, VersionConflict)
    assert put.error.newest is None
    assert "version 12" in str(put.error)


def test_a_record_of_another_key_in_a_refusal_is_not_what_was_seen() -> None:
    put = put_of(ListSearch(contacts([1])), if_version=0)
    (ask,) = found_owners(put)
    other = attrs.evolve(record(9), key=Key(1))
    put.on_reply(0.1, ask.contact, refused(Status.VERSION, other), [])
    put.next(0.1)
    assert isinstance(put.error, VersionConflict)
    assert put.error.newest is None


def test_this_node_is_an_owner_like_the_others_if_it_serves() -> None:
    home = AtHome(serves=True)
    put = put_of(ListSearch(contacts([1, 2, 250])), home)
    sent = found_owners(put)
    assert ids(ask.contact for ask in sent) == [1, 2]  # nearer than 250, we are the third
    assert home.store is not None
    assert home.store.value == b"v"
    far = AtHome(contact=contact(255), serves=True)
    put = put_of(ListSearch(contacts([1, 2, 250])), far)
    assert len(found_owners(put)) == 3
    assert far.store is None


def test_nobody_answered_is_not_the_same_as_nobody_stored() -> None:
    put = put_of(ListSearch(contacts([1, 2])))
    for ask in asks(put):
        put.on_failure(1.0, ask.contact)
    assert put.next(1.0) is FINISHED
    assert isinstance(put.error, NoPeers)
    assert "tried everybody" in str(put.error)


@given(
    events=st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([*Status, None, "old stamp"])), max_size=40
    ),
    if_version=st.none() | st.just(0),
)
def test_whatever_the_owners_say_in_whatever_order_a_put_ends(
    events: list[tuple[int, Status | str | None]], if_version: int | None
) -> None:
    put = put_of(ListSearch(contacts([1, 2, 3, 4, 5])), if_version=if_version)
    waiting: list[Ask] = []

    def answer(ask: Ask, now: float, said: Status | str | None) -> None:
        if ask.body == b"find":
            put.on_reply(now, ask.contact, Nodes(0, b"", b"", 0), [])
        elif said is None:
            put.on_failure(now, ask.contact)
        elif said == "old stamp":
            put.on_reply(now, ask.contact, Stored(0, Status.STORED, 1, None, b"", b""), [])
        elif said is Status.STORED:
            put.on_reply(now, ask.contact, stored(ask), [])
        else:
            put.on_reply(now, ask.contact, refused(said), [])  # type: ignore[arg-type]
            if said is Status.PULLING:
                waiting.append(ask)  # one more answer follows

    now = 0.0
    for which, said in events:
        waiting += asks(put, now)
        now += 0.05
        if waiting:
            answer(waiting.pop(which % len(waiting)), now, said)
    for _ in range(100):
        waiting += asks(put, now)
        if not waiting:
            break
        answer(waiting.pop(0), now, None)
    assert put.next(now) is FINISHED
    assert put.settled
    assert (put.outcome is None) != (put.error is None)
    outcome = put.outcome or getattr(put.error, "outcome", None)
    if isinstance(outcome, PutOutcome):
        named = ids([*outcome.stored, *(r.contact for r in outcome.refused), *outcome.silent])
        assert len(named) == len({*named})  # nobody is in two lists


# ----------------------------------------------------------------------------------- getting


def found(what: Record, remaining_ms: int = 30_000) -> Found:
    return Found(0, copy_of(what, remaining_ms), b"", b"")


NOTHING = Nodes(0, b"", b"", 0)


def got(get: Get) -> GetOutcome:
    assert get.settled
    assert get.error is None
    assert isinstance(get.outcome, GetOutcome)
    return get.outcome


def test_a_get_ends_with_the_first_record() -> None:
    get = get_of(ListSearch(contacts([1, 2, 3])))
    first, *_ = asks(get)
    get.on_reply(0.1, first.contact, found(record()), [])
    assert get.next(0.1) is FINISHED
    outcome = got(get)
    assert outcome.value == b"v"
    assert (ids(outcome.agreed), outcome.stale, outcome.empty) == ([1], (), ())
    assert get.repairs is None


@pytest.mark.parametrize(
    "wrong",
    [
        found(attrs.evolve(record(), key=Key(9))),
        found(attrs.evolve(record(), version=0)),
        found(record(value=bytes(849)), remaining_ms=0),
        found(record(value=bytes(10_001))),
    ],
    ids=["of another key", "of no version", "with no time left", "longer than we take"],
)
def test_a_wrong_record_is_as_good_as_silence(wrong: Found) -> None:
    get = get_of(ListSearch(contacts([1, 2, 3])))
    first, second, _ = asks(get)
    get.on_reply(0.1, first.contact, wrong, [])
    assert not get.settled
    get.on_reply(0.1, second.contact, found(record()), [])
    get.next(0.1)
    assert ids(got(get).agreed) == [2]


def test_before_a_get_says_nobody_has_it_it_asks_further() -> None:
    search = ListSearch(contacts([1, 2, 3, 4, 5, 6]))
    get = get_of(search)
    for ask in asks(get):
        get.on_reply(0.1, ask.contact, NOTHING, [])
    assert ids(ask.contact for ask in asks(get, 0.1)) == [4, 5, 6]
    for each in contacts([4, 5, 6]):
        get.on_reply(0.2, each, NOTHING, [])
    assert get.next(0.2) is FINISHED
    outcome = got(get)
    assert outcome.record is None
    assert len(outcome.empty) == 6


def test_nobody_answered_is_not_the_same_as_nobody_has_it() -> None:
    get = get_of(ListSearch(contacts([1, 2])))
    for ask in asks(get):
        get.on_failure(1.0, ask.contact)
    get.next(1.0)
    assert isinstance(get.error, NoPeers)


def test_a_quorum_takes_the_newest_and_knows_who_is_stale() -> None:
    get = get_of(ListSearch(contacts([1, 2, 3])), quorum=3)
    one, two, three = asks(get)
    get.on_reply(0.1, one.contact, found(record(4, b"old")), [])
    get.on_reply(0.1, two.contact, found(record(5, b"new"), remaining_ms=30_000), [])
    assert not get.settled
    get.on_reply(1.1, three.contact, found(record(4, b"old")), [])
    get.next(1.1)
    outcome = got(get)
    assert outcome.value == b"new"
    assert (ids(outcome.agreed), ids(outcome.stale)) == ([2], [1, 3])
    assert get.repairs is not None
    whom, what, remaining_ms = get.repairs
    assert (ids(whom), what, remaining_ms) == ([1, 3], record(5, b"new"), 29_000)


def test_a_tombstone_counts_for_the_quorum_and_wins_over_the_same_version() -> None:
    get = get_of(ListSearch(contacts([1, 2])), quorum=2)
    for ask, what in zip(asks(get), [record(5), record(5, tombstone=True)], strict=True):
        get.on_reply(0.1, ask.contact, found(what), [])
    get.next(0.1)
    outcome = got(get)
    assert (outcome.record, outcome.deleted) == (None, record(5, tombstone=True))


def test_empty_answers_do_not_count_for_a_quorum() -> None:
    get = get_of(ListSearch(contacts([1, 2, 3])), quorum=2)
    one, two, three = asks(get)
    get.on_reply(0.1, one.contact, NOTHING, [])
    get.on_reply(0.1, two.contact, NOTHING, [])
    get.on_reply(0.1, three.contact, found(record()), [])
    get.next(0.1)
    assert isinstance(get.error, QuorumNotReached)
    assert get.error.outcome.value == b"v"
    assert get.repairs is not None
    assert ids(get.repairs[0]) == [1, 2]  # nearer than the one that has it


def test_our_own_copy_counts_if_we_serve() -> None:
    serving = AtHome(serves=True, store=record())
    get = get_of(ListSearch(contacts([1])), serving)
    assert asks(get) == []
    assert ids(got(get).agreed) == [200]
    get = get_of(ListSearch(contacts([1])), AtHome(store=record()))
    assert len(asks(get)) == 1


# ------------------------------------------------------------------- getting what is fetched


LONG = bytes(range(250)) * 40


def blocks(get: Get, questions: list[Ask], value: bytes, now: float = 0.2) -> None:
    """Answers fetches out of the value."""
    while questions:
        ask = questions.pop(0)
        message = decode_untrusted(bytes(8) + ask.body)[1]
        assert isinstance(message, Fetch)
        data = value[message.offset : message.offset + message.length]
        get.on_reply(now, ask.contact, Block(0, message.offset, data), [])
        questions += asks(get, now)


def test_a_large_value_is_fetched_from_who_holds_it() -> None:
    get = get_of(ListSearch(contacts([1, 2, 3])))
    first, *_ = asks(get)
    get.on_reply(0.1, first.contact, found(record(value=LONG)), [])
    fetches = asks(get, 0.1)
    assert ids(ask.contact for ask in fetches) == [1]
    blocks(get, fetches, LONG)
    assert got(get).value == LONG


def test_when_a_holder_vanishes_or_lies_the_value_is_fetched_from_another() -> None:
    for lie in (None, bytes(len(LONG)), b""):
        get = get_of(ListSearch(contacts([1, 2, 3])))
        first, second, _ = asks(get)
        get.on_reply(0.1, first.contact, found(record(value=LONG)), [])
        fetches = asks(get, 0.1)
        if lie is None:
            for _ in range(20):
                for ask in fetches:
                    get.on_failure(1.0, ask.contact)
                fetches = [ask for ask in asks(get, 1.0) if ask.contact.id == 1]
        else:
            blocks(get, fetches, lie)
        assert not get.settled
        get.on_reply(2.0, second.contact, found(record(value=LONG)), [])
        blocks(get, asks(get, 2.0), LONG)
        assert ids(got(get).agreed) == [2]


def test_a_head_that_another_owner_sent_whole_is_not_fetched() -> None:
    get = get_of(ListSearch(contacts([1, 2])), quorum=2)
    one, two = asks(get)
    short = record(value=bytes(400))
    head = Found(0, copy_of(short, 9, inline_max=100), b"", b"")
    get.on_reply(0.1, one.contact, head, [])
    get.on_reply(0.1, two.contact, found(short), [])
    assert get.next(0.1) is FINISHED
    assert got(get).value == bytes(400)


def test_late_blocks_of_a_holder_that_was_left_disturb_nothing() -> None:
    get = get_of(ListSearch(contacts([1, 2])))
    first, second = asks(get)
    get.on_reply(0.1, first.contact, found(record(value=LONG)), [])
    fetches = asks(get, 0.1)
    get.on_reply(0.2, fetches[0].contact, Block(0, 0, LONG[:BLOCK_SIZE]), [])
    more = asks(get, 0.2)
    assert len(more) == 9
    get.on_reply(0.3, more[0].contact, Block(0, BLOCK_SIZE, b""), [])  # it has it no longer
    asks(get, 0.3)
    get.on_reply(0.3, more[1].contact, Block(0, BLOCK_SIZE, LONG[BLOCK_SIZE : 2 * BLOCK_SIZE]), [])
    get.on_failure(0.3, more[2].contact)
    assert not get.settled
    get.on_reply(0.4, second.contact, found(record()), [])
    get.next(0.4)
    assert got(get).value == b"v"


# ------------------------------------------------------------------------------------- looking up


def test_a_lookup_names_this_node_among_the_nearest_if_it_serves() -> None:
    for home, expected in ((AtHome(contact(2), serves=True), [1, 2, 3]), (AtHome(), [1, 3, 4])):
        operation = LookupOperation(KEY, ListSearch(contacts([1, 3, 4])), home, 3)
        for ask in asks(operation):
            operation.on_reply(0.1, ask.contact, NOTHING, [])
        assert operation.next(0.1) is FINISHED
        assert isinstance(operation.outcome, LookupOutcome)
        assert ids(operation.outcome.closest) == expected


def test_a_lookup_that_nobody_answered_is_an_error() -> None:
    operation = LookupOperation(KEY, ListSearch(contacts([1])), AtHome(), 3)
    (ask,) = asks(operation)
    operation.on_failure(1.0, ask.contact)
    operation.next(1.0)
    assert isinstance(operation.error, NoPeers)


@given(st.lists(st.integers(0, 255), max_size=9), st.integers(0, 255), st.booleans())
def test_with_self_is_sorted_by_distance(others: list[int], target: int, serves: bool) -> None:
    home = AtHome(serves=serves)
    together = with_self(sorted(contacts(others), key=lambda c: c.id ^ target), home, target)
    assert ids(together) == sorted([*others, *([200] if serves else [])], key=target.__xor__)


# ---------------------------------------------------------------------------- a batch of them


def test_what_a_batch_shares_is_bounded_and_nearest_first() -> None:
    shared = Shared()
    for node_id in range(SHARED_MAX + 10):
        shared.learn(contact(node_id))
    assert ids(shared.nearest(0, 3)) == [10, 11, 12]
    assert len(shared.nearest(0, 9999)) == SHARED_MAX


def test_who_answered_one_operation_is_known_to_the_others_of_its_batch() -> None:
    shared = Shared()
    get = get_of(ListSearch(contacts([1, 2])), shared=shared)
    first, _ = asks(get)
    get.on_reply(0.1, first.contact, found(record()), [])
    put = put_of(ListSearch(contacts([5])), shared=shared)
    found_owners(put)
    assert ids(shared.nearest(0, 9)) == [1, 5]
