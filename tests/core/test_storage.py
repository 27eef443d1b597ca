"""What stays in the store, until when, and how much of whose."""

from collections.abc import Iterable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.config import CLOCK_TOLERANCE_S, DAY_S, GRACE_S, LONG_TTL_MAX_S, PLAIN_TTL_MAX_S, Config
from dht.contacts import pack_address
from dht.core import storage as storage_module
from dht.core.held import Held
from dht.core.storage import (
    GHOSTS_MAX,
    OWN_SOURCE,
    RECORD_OVERHEAD,
    SWEEP_STEP_S,
    Storage,
    quota_source,
)
from dht.keyspace import KEY_BITS, Key, common_prefix_length, content_key
from dht.records import Head, Kind, Record, is_newer, value_hash
from dht.wire.messages import Status
from tests.strategies import keys, records, versions_of_one_slot

NOW = 1000.0
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
TEN_YEARS_MS = 3650 * DAY_MS
ALICE, BOB, EVE = b"ali", b"bob", b"eve"
KEY = Key(0b1010_0000 << KEY_BITS - 8)


def plain(
    version: int = 5,
    *,
    key: Key = KEY,
    value: bytes = b"value",
    ttl_ms: int = HOUR_MS,
    written_at_ms: int = 0,
    tombstone: bool = False,
) -> Record:
    return Record(
        kind=Kind.PLAIN,
        key=key,
        version=version,
        written_at_ms=written_at_ms,
        ttl_ms=ttl_ms,
        tombstone=tombstone,
        value=b"" if tombstone else value,
    )


def content(version: int = 5, *, value: bytes = b"value", ttl_ms: int = HOUR_MS) -> Record:
    key = content_key(value_hash(value))
    return attrs.evolve(plain(version, key=key, value=value, ttl_ms=ttl_ms), kind=Kind.CONTENT)


def tombstone(version: int = 5, *, ttl_ms: int = HOUR_MS) -> Record:
    return plain(version, ttl_ms=ttl_ms, tombstone=True)


def nth_key(number: int) -> Key:
    """Spread over the space: the number is the leading 32 bits, scrambled."""
    return Key((number * 2_654_435_761 % 2**32) << KEY_BITS - 32)


def store(
    held: Storage,
    record: Record,
    now: float = NOW,
    *,
    remaining_ms: int | None = None,
    wall_s: float | None = None,
    source: bytes = ALICE,
    handover: bool = False,
    if_version: int | None = None,
    placed: bool = False,
) -> Status:
    """Stores it as an honest writer does: all of its life remains."""
    return held.store(
        now,
        record,
        remaining_ms=record.ttl_ms if remaining_ms is None else remaining_ms,
        wall_s=wall_s,
        source=source,
        handover=handover,
        if_version=if_version,
        placed=placed,
    )[0]


def held_of(held: Storage, record: Record, now: float = NOW) -> Held | None:
    """What is held of this record's slot."""
    return held.get(now, *record.slot)


def deadline(held: Storage, record: Record, now: float = NOW) -> float:
    found = held_of(held, record, now)
    assert found is not None
    assert found.record == record
    return found.deadline


def empty() -> Storage:
    return Storage(Config())


# ---- keeping ----


def test_what_was_stored_is_there_until_its_deadline_and_not_after() -> None:
    held, record = empty(), plain(ttl_ms=2000)
    assert store(held, record) is Status.STORED
    assert deadline(held, record, NOW + 1.999) == NOW + 2
    assert held.version(NOW + 1.999, Kind.PLAIN, KEY) == 5
    assert held.get(NOW + 2, Kind.PLAIN, KEY) is None
    assert held.version(NOW + 2, Kind.PLAIN, KEY) == 0


def test_nothing_is_there_before_anything_was_stored() -> None:
    held = empty()
    assert held.get(NOW, Kind.PLAIN, KEY) is None
    assert held.version(NOW, Kind.PLAIN, KEY) == 0
    assert held.next_timeout() is None
    assert held.expire(NOW) == 0


def test_records_of_two_kinds_never_share_a_slot() -> None:
    held, one = empty(), content()
    other = plain(7, key=one.key)
    assert store(held, one) is store(held, other) is Status.STORED
    assert deadline(held, one) == deadline(held, other)
    assert held.count == 2


@pytest.mark.parametrize(
    ("record", "remaining_ms", "life_s"),
    [
        pytest.param(plain(), HOUR_MS, 3600.0, id="its ttl"),
        pytest.param(plain(), 1000, 1.0, id="what remains"),
        pytest.param(plain(), TEN_YEARS_MS, 3600.0, id="no more than its ttl"),
        pytest.param(plain(ttl_ms=TEN_YEARS_MS), TEN_YEARS_MS, PLAIN_TTL_MAX_S, id="plain maximum"),
        pytest.param(
            content(ttl_ms=TEN_YEARS_MS), TEN_YEARS_MS, LONG_TTL_MAX_S, id="content maximum"
        ),
        pytest.param(
            tombstone(ttl_ms=TEN_YEARS_MS), TEN_YEARS_MS, PLAIN_TTL_MAX_S + GRACE_S, id="tombstone"
        ),
    ],
)
def test_a_life_is_the_least_of_what_remains_the_ttl_and_the_maximum(
    record: Record, remaining_ms: int, life_s: float
) -> None:
    held = empty()
    assert store(held, record, remaining_ms=remaining_ms) is Status.STORED
    assert deadline(held, record) == NOW + life_s


@given(
    record=records(size_max=3),
    first_ms=st.integers(1, TEN_YEARS_MS),
    again=st.lists(
        st.sampled_from([0, 1, TEN_YEARS_MS]) | st.integers(0, TEN_YEARS_MS), max_size=5
    ),
    handover=st.booleans(),
)
def test_a_stranger_who_stores_a_version_again_never_moves_its_deadline(
    record: Record, first_ms: int, again: list[int], *, handover: bool
) -> None:
    held = empty()
    assert store(held, record, remaining_ms=first_ms) is Status.STORED
    fixed = deadline(held, record)
    for step, remaining_ms in enumerate(again):
        now = min(NOW + step / 1000, (NOW + fixed) / 2)
        status = store(held, record, now, remaining_ms=remaining_ms, source=EVE, handover=handover)
        assert status is Status.STORED
        assert deadline(held, record, now) == fixed


def test_what_has_nothing_left_to_live_is_not_taken() -> None:
    held = empty()
    assert store(held, plain(), remaining_ms=0) is Status.CLOCK
    assert held.count == 0
    store(held, plain(5))
    assert store(held, plain(6), remaining_ms=0) is Status.CLOCK
    assert held.version(NOW, Kind.PLAIN, KEY) == 5


# ---- which version wins ----


@given(offers=st.lists(versions_of_one_slot(), min_size=1, max_size=6), data=st.data())
def test_in_any_order_of_arrival_the_newest_stays(
    offers: list[Record], data: st.DataObject
) -> None:
    held = empty()
    newest = offers[0]
    for offer in offers[1:]:
        newest = offer if is_newer(offer, newest) else newest
    for offer in data.draw(st.permutations(offers)):
        store(held, attrs.evolve(offer), remaining_ms=TEN_YEARS_MS)
    found = held.get(NOW, Kind.PLAIN, newest.key)
    assert found is not None
    assert found.record == newest


def test_an_older_version_is_refused_with_the_one_that_is_held() -> None:
    held = empty()
    store(held, plain(5))
    assert held.store(
        NOW,
        plain(4),
        remaining_ms=HOUR_MS,
        wall_s=None,
        source=ALICE,
        handover=False,
        if_version=None,
    ) == (Status.OLD, plain(5))


def test_of_two_records_with_one_version_the_same_stays_whoever_came_first() -> None:
    one, other = plain(value=b"one"), plain(value=b"other")
    smaller, greater = sorted((one, other), key=lambda record: record.order)
    held = empty()
    assert store(held, smaller) is Status.STORED
    assert store(held, greater) is Status.STORED
    assert store(held, smaller) is Status.OLD
    assert deadline(held, greater)


def test_a_tombstone_takes_the_place_of_what_it_deletes_and_wins_a_tie() -> None:
    held = empty()
    store(held, plain(5))
    assert store(held, tombstone(5)) is Status.STORED
    assert store(held, plain(5)) is Status.OLD
    assert held.version(NOW, Kind.PLAIN, KEY) == 5
    assert store(held, plain(6)) is Status.STORED


@pytest.mark.parametrize(
    ("before", "if_version", "status"),
    [
        ([], 0, Status.STORED),
        ([], 4, Status.VERSION),
        ([plain(4)], 4, Status.STORED),
        ([plain(4)], 0, Status.VERSION),
        ([plain(4)], 3, Status.VERSION),
        ([tombstone(4)], 4, Status.STORED),
        ([tombstone(4)], 0, Status.VERSION),
        ([plain(6)], 6, Status.OLD),
        ([plain(6)], 4, Status.VERSION),
        # A retry of what was stored already is no conflict.
        ([plain(5)], 0, Status.STORED),
    ],
)
def test_if_version_is_compared_with_what_is_held(
    before: Iterable[Record], if_version: int, status: Status
) -> None:
    held = empty()
    for record in before:
        store(held, record)
    assert store(held, plain(5), if_version=if_version) is status


def test_an_expired_version_is_nothing_to_if_version() -> None:
    held = empty()
    store(held, plain(4, ttl_ms=1000))
    assert store(held, plain(5), NOW + 1, if_version=4) is Status.VERSION
    assert store(held, plain(5), NOW + 1, if_version=0) is Status.STORED


# ---- content ----


def test_of_one_content_the_copy_that_lives_longest_stays_whatever_its_version() -> None:
    held = empty()
    long, short = content(5), content(2**63 - 1, ttl_ms=1)
    assert store(held, long) is Status.STORED
    assert store(held, short, source=EVE) is Status.STORED
    assert deadline(held, long) == NOW + 3600
    longer = content(1, ttl_ms=2 * HOUR_MS)
    assert store(held, longer) is Status.STORED
    assert deadline(held, longer) == NOW + 7200


def test_content_that_expired_can_be_stored_again_under_any_version() -> None:
    held = empty()
    store(held, content(2**63 - 1, ttl_ms=1), source=EVE)
    assert store(held, content(1), NOW + 1) is Status.STORED


# ---- ghosts ----


@pytest.mark.parametrize("swept", [False, True])
def test_an_expired_version_cannot_be_brought_back_for_a_day(swept: bool) -> None:
    held = empty()
    store(held, plain(5, ttl_ms=1000))
    after = NOW + 100
    if swept:
        assert held.expire(after) == 1
    assert store(held, plain(5, ttl_ms=1000), after, source=EVE) is Status.OLD
    assert store(held, plain(4), after, source=EVE) is Status.OLD
    assert held.get(after, Kind.PLAIN, KEY) is None
    end = NOW + 1 + GRACE_S
    assert store(held, plain(5, ttl_ms=1000), end - 0.1, source=EVE) is Status.OLD
    assert store(held, plain(5, ttl_ms=1000), end, source=EVE) is Status.STORED


def test_a_newer_version_takes_the_place_of_a_ghost() -> None:
    held = empty()
    store(held, plain(5, ttl_ms=1000))
    assert store(held, plain(6), NOW + 100) is Status.STORED
    assert not held._ghosts


def test_of_two_records_with_one_version_the_ghost_of_one_does_not_bar_a_greater_one() -> None:
    one, other = plain(value=b"one", ttl_ms=1000), plain(value=b"other", ttl_ms=1000)
    smaller, greater = sorted((one, other), key=lambda record: record.order)
    held = empty()
    store(held, smaller)
    assert store(held, greater, NOW + 100) is Status.STORED
    assert store(held, smaller, NOW + 200) is Status.OLD


def test_ghosts_are_forgotten_after_their_day() -> None:
    held = empty()
    for number in range(10):
        store(held, plain(key=nth_key(number), ttl_ms=1000))
    assert held.expire(NOW + 100) == 10
    assert (held.count, held.size, len(held._ghosts)) == (0, 0, 10)
    assert held.expire(NOW + 1 + GRACE_S) == 0
    assert not held._ghosts
    assert not held._accounts


def short_lives(held: Storage, source: bytes, count: int, now: float, *, first: int = 0) -> float:
    """One source stores that many records, each for a second; the time when all are over."""
    for number in range(first, first + count):
        record = plain(key=nth_key(number), ttl_ms=1000)
        assert store(held, record, now, source=source) is Status.STORED
    now += 1 + SWEEP_STEP_S
    while held.expire(now):
        pass
    return now


def test_a_flood_of_short_lives_pushes_out_no_ghost_of_another_source() -> None:
    held = Storage(Config(store_count_max=800))
    store(held, plain(5, ttl_ms=1000))
    now = NOW
    for lot in range(20):
        now = short_lives(held, EVE, 100, now, first=100 * lot)
    assert len(held._ghosts) == 101
    assert store(held, plain(5, ttl_ms=1000), now, source=EVE) is Status.OLD


def test_ghosts_never_take_the_room_of_a_record() -> None:
    held = Storage(Config(store_count_max=8, store_share_per_source=1.0))
    now = short_lives(held, EVE, 8, NOW)
    assert len(held._ghosts) == 8
    for number in range(8):
        assert store(held, plain(key=nth_key(100 + number)), now) is Status.STORED
        assert held.count + len(held._ghosts) == 8


def test_ghosts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_module, "GHOSTS_MAX", 64)
    held = Storage(Config())
    now = NOW
    for source in range(20):
        now = short_lives(held, bytes([source]), 100, now, first=100 * source)
        assert len(held._ghosts) <= 64
    assert Config().store_count_max > GHOSTS_MAX


# ---- the clock rule ----

WALL_S = 1_700_000_000.0
WALL_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("record", "status"),
    [
        pytest.param(plain(WALL_MS, written_at_ms=WALL_MS), Status.STORED, id="fresh"),
        pytest.param(
            plain(WALL_MS + DAY_MS, written_at_ms=WALL_MS), Status.STORED, id="a day ahead"
        ),
        pytest.param(
            plain(WALL_MS + DAY_MS + 1, written_at_ms=WALL_MS), Status.CLOCK, id="further ahead"
        ),
        pytest.param(
            plain(WALL_MS, written_at_ms=WALL_MS - HOUR_MS - DAY_MS + 1),
            Status.STORED,
            id="nearly a day past its end",
        ),
        pytest.param(
            plain(WALL_MS, written_at_ms=WALL_MS - HOUR_MS - DAY_MS),
            Status.CLOCK,
            id="a day past its end",
        ),
    ],
)
def test_a_record_from_another_time_is_refused(record: Record, status: Status) -> None:
    held = empty()
    assert store(held, record, wall_s=WALL_S) is status
    assert held.count == (status is Status.STORED)


@given(record=records(size_max=3))
def test_without_a_trusted_clock_no_record_is_from_another_time(record: Record) -> None:
    assert store(empty(), record) is Status.STORED


def test_a_life_ends_a_day_past_its_end_by_the_clock_whatever_is_said_to_remain() -> None:
    held = empty()
    record = plain(WALL_MS, written_at_ms=WALL_MS - HOUR_MS - DAY_MS + 10_000)
    assert store(held, record, wall_s=WALL_S) is Status.STORED
    assert deadline(held, record) == pytest.approx(NOW + 10)


def test_what_is_held_already_is_stored_again_even_when_the_clock_would_refuse_it() -> None:
    held, record = empty(), plain(WALL_MS + 2 * DAY_MS)
    store(held, record)
    assert store(held, record, wall_s=WALL_S) is Status.STORED
    assert CLOCK_TOLERANCE_S == DAY_S


# ---- how much of whose ----


def fill(
    held: Storage, source: bytes, *, count: int, value: bytes = b"", first: int = 0, **how: bool
) -> list[Record]:
    """Offers that many records; those that were taken."""
    offers = [plain(key=nth_key(number), value=value) for number in range(first, first + count)]
    return [offer for offer in offers if store(held, offer, source=source, **how) is Status.STORED]


def small(*, share: float = 1 / 8, handover: float = 1 / 2) -> Storage:
    """Room for 80 records with values of up to 200 bytes, or 40 of 600."""
    return Storage(
        Config(
            store_count_max=80,
            store_size_max=32_000,
            store_share_per_source=share,
            store_share_handover=handover,
        )
    )


def test_one_source_fills_its_share_in_number_and_no_more() -> None:
    assert len(fill(small(), EVE, count=100)) == 10


def test_one_source_fills_its_share_in_bytes_and_no_more() -> None:
    held = small()
    assert len(fill(held, EVE, count=100, value=b"x" * 600)) == 5
    assert held.size == 5 * (600 + RECORD_OVERHEAD)


def test_handovers_fill_their_pool_and_no_more_whoever_sends_them() -> None:
    held = small()
    taken = [len(fill(held, bytes([n]), count=10, first=10 * n, handover=True)) for n in range(8)]
    assert taken == [10, 10, 10, 10, 0, 0, 0, 0]
    assert len(fill(held, EVE, count=10, first=80)) == 10


def test_all_sources_together_fill_the_store_and_no_more() -> None:
    held = small()
    taken = [len(fill(held, bytes([n]), count=10, first=10 * n)) for n in range(10)]
    assert taken == [10] * 8 + [0, 0]
    assert held.count == 80


@pytest.mark.parametrize("handover", [False, True])
def test_a_flood_never_makes_an_honest_record_vanish(handover: bool) -> None:
    held = small()
    honest = fill(held, ALICE, count=5) + fill(held, BOB, count=5, first=5, handover=True)
    for source in range(50):
        fill(
            held,
            bytes([source]),
            count=40,
            first=100 * source,
            value=b"x" * source,
            handover=handover,
        )
        fill(held, bytes([source]), count=40, first=0, handover=handover)
    for record in honest:
        assert deadline(held, record) == NOW + 3600
    newer = attrs.evolve(honest[0], version=6)
    assert store(held, newer) is Status.STORED, "its writer has room for it still"


def test_a_newer_version_is_charged_to_who_stored_it_and_frees_what_it_replaces() -> None:
    held = small()
    fill(held, ALICE, count=10)
    assert fill(held, ALICE, count=1, first=50) == []
    assert store(held, plain(6, key=nth_key(0), value=b""), source=BOB) is Status.STORED
    assert held.count == 10
    assert len(fill(held, ALICE, count=5, first=50)) == 1
    assert len(fill(held, BOB, count=20, first=60)) == 9


def test_a_newer_version_in_a_full_store_needs_only_the_difference() -> None:
    held = small(share=1.0)
    fill(held, ALICE, count=80, value=b"x" * 200)
    assert store(held, plain(6, key=nth_key(3), value=b"x" * 201)) is Status.FULL
    assert held.version(NOW, Kind.PLAIN, nth_key(3)) == 5
    assert store(held, plain(6, key=nth_key(3), value=b"x" * 200)) is Status.STORED
    assert store(held, attrs.evolve(tombstone(7), key=nth_key(3))) is Status.STORED


def test_what_was_full_has_room_again_when_records_expire() -> None:
    held = small(share=1.0)
    now = short_lives(held, ALICE, 80, NOW)
    assert len(fill(held, ALICE, count=80, first=100)) == 80
    unswept = small(share=1.0)
    for number in range(80):
        store(unswept, plain(key=nth_key(number), value=b"", ttl_ms=1000))
    assert unswept.count == 80
    assert store(unswept, plain(key=nth_key(100)), now) is Status.STORED


def test_a_refusal_for_want_of_room_gives_the_version_that_is_held() -> None:
    held = small()
    [record] = fill(held, BOB, count=1)
    fill(held, ALICE, count=10, first=10)
    newer = attrs.evolve(record, version=6)
    assert held.store(
        NOW,
        newer,
        remaining_ms=HOUR_MS,
        wall_s=None,
        source=ALICE,
        handover=False,
        if_version=None,
    ) == (Status.FULL, record)


def test_a_source_is_a_subnet_and_on_private_addresses_a_key() -> None:
    key = b"k" * 32
    assert quota_source(pack_address("192.88.1.2", 1), key) == bytes([192, 88, 1])
    one, other = pack_address("2a00:1:2:3::1", 1), pack_address("2a00:1:2:4::1", 2)
    assert quota_source(one, key) == quota_source(other, key)
    assert quota_source(pack_address("127.0.0.1", 1), key) == key
    assert quota_source(pack_address("192.168.0.1", 1), key) == key


# ---- before a long value is pulled ----


@given(offers=st.lists(versions_of_one_slot(), max_size=4), last=versions_of_one_slot())
def test_the_answer_before_the_value_is_that_to_the_whole_record(
    offers: list[Record], last: Record
) -> None:
    held = empty()
    for offer in offers:
        store(held, offer)

    def would_take(offer: Record | Head) -> Status:
        return held.would_take(
            NOW,
            offer,
            remaining_ms=last.ttl_ms,
            wall_s=None,
            source=ALICE,
            handover=False,
            if_version=None,
        )

    before = would_take(last.head)
    assert would_take(last) is before
    assert held.holds(NOW, last) is held.holds(NOW, last.head)
    assert held.holds(NOW, last) is (last in offers and before is Status.STORED)
    assert store(held, last) is before
    assert held.holds(NOW, last) is (before is Status.STORED)


def test_a_long_value_for_which_there_is_no_room_is_refused_before_it_is_pulled() -> None:
    held, long = small(), plain(value=bytes(4000)).head
    status = held.would_take(
        NOW,
        long,
        remaining_ms=HOUR_MS,
        wall_s=None,
        source=ALICE,
        handover=False,
        if_version=None,
    )
    assert status is Status.FULL
    assert held.count == 0


# ---- sweeping ----


def test_sweeping_is_bounded_and_goes_on_where_it_stopped() -> None:
    held = Storage(Config(store_share_per_source=1.0))
    for number in range(600):
        store(held, plain(key=nth_key(number), ttl_ms=1000))
    due = held.next_timeout()
    assert due is not None
    assert NOW + 1 < due <= NOW + 1 + SWEEP_STEP_S
    assert held.expire(due - 0.1) == 0
    assert [held.expire(due) for _ in range(4)] == [256, 256, 88, 0]
    assert held.next_timeout() is None


def test_sweeping_is_bounded_in_bytes_too() -> None:
    held = Storage(Config(store_share_per_source=1.0))
    for number in range(6):
        store(held, plain(key=nth_key(number), ttl_ms=1000, value=bytes(600_000)))
    assert [held.expire(NOW + 100) for _ in range(4)] == [2, 2, 2, 0]


def test_any_number_of_versions_of_one_slot_leaves_nothing_behind() -> None:
    held = empty()
    for version in range(1, 5000):
        store(held, plain(version, ttl_ms=DAY_MS - version))
    assert (held.count, held.size) == (1, len(b"value") + RECORD_OVERHEAD)
    assert sum(map(len, held._lots.values())) == 1
    assert len(held._lots) == len(held._lot_heap) < 10
    assert list(held._accounts) == [ALICE]


# ---- a bounded look at a part of the key space ----


@given(
    places=st.lists(keys(), max_size=40, unique=True),
    key=keys(),
    shared_bits=st.integers(0, KEY_BITS) | st.integers(0, 4),
    limit=st.integers(1, 7),
)
def test_a_walk_meets_every_record_near_a_key_once_and_no_other(
    places: list[Key], key: Key, shared_bits: int, limit: int
) -> None:
    held = empty()
    for place in places:
        store(held, plain(key=place))
    met: list[Key] = []
    start = None
    while True:
        part, start = held.keys_near(key, shared_bits, start=start, limit=limit)
        assert len(part) <= limit
        met += [each.record.key for each in part]
        if start is None:
            break
    near = [place for place in places if common_prefix_length(place, key) >= shared_bits]
    assert met == sorted(near)


def test_a_walk_goes_on_rightly_when_records_come_and_go_in_between() -> None:
    held = empty()
    for number in (1, 3, 5, 7):
        store(held, plain(key=Key(number), ttl_ms=1000 if number == 3 else HOUR_MS))
    part, start = held.keys_near(0, 0, limit=2)
    assert [each.record.key for each in part] == [1, 3]
    held.expire(NOW + 100)
    store(held, plain(key=Key(2)))
    store(held, plain(key=Key(4)))
    part, start = held.keys_near(0, 0, start=start, limit=10)
    assert [each.record.key for each in part] == [4, 5, 7]
    assert start is None


def test_counters_say_what_became_of_every_offer() -> None:
    held = empty()
    store(held, plain(5))
    store(held, plain(5))
    store(held, plain(4))
    store(held, plain(6), if_version=3)
    store(held, plain(6), remaining_ms=0)
    store(held, plain(6, value=bytes(10**8)))
    held.expire(NOW + 4000)
    counters = held.counters
    assert (counters.stored, counters.again, counters.expired) == (1, 1, 1)
    assert counters.refused == {
        Status.OLD: 1,
        Status.VERSION: 1,
        Status.CLOCK: 1,
        Status.FULL: 1,
    }


def test_a_node_may_fill_its_own_store_and_others_only_their_share() -> None:
    for source, taken in ((OWN_SOURCE, 80), (ALICE, 10)):
        held = Storage(Config(store_count_max=80))
        told = [
            store(
                held,
                Record(
                    kind=Kind.PLAIN,
                    key=Key(number),
                    version=1,
                    written_at_ms=1,
                    ttl_ms=HOUR_MS,
                    value=b"v",
                ),
                source=source,
            )
            for number in range(1, 101)
        ]
        assert told.count(Status.STORED) == taken
        assert set(told) == {Status.STORED, Status.FULL}


# ---- copies of the unstructured overlay ----


def test_an_owners_copy_takes_the_place_of_a_placed_one_of_the_same_version_once() -> None:
    held, record = empty(), plain(ttl_ms=DAY_MS)
    assert store(held, record, remaining_ms=HOUR_MS, placed=True) is Status.STORED
    assert held.is_placed(Kind.PLAIN, KEY)
    assert held.holds(NOW, record)
    assert not held.holds(NOW, record, placed=False)
    assert deadline(held, record) == NOW + HOUR_MS / 1000
    assert store(held, record, NOW + 60) is Status.STORED
    assert not held.is_placed(Kind.PLAIN, KEY)
    assert held.holds(NOW + 60, record, placed=False)
    assert deadline(held, record, NOW + 60) == NOW + 60 + DAY_MS / 1000
    assert store(held, record, NOW + 120) is Status.STORED
    assert deadline(held, record, NOW + 120) == NOW + 60 + DAY_MS / 1000
    assert (held.counters.stored, held.counters.again) == (2, 1)


def test_a_placed_copy_never_takes_the_place_of_an_owners_of_the_same_version() -> None:
    held, record = empty(), plain()
    store(held, record)
    assert store(held, record, NOW + 60, placed=True) is Status.STORED
    assert not held.is_placed(Kind.PLAIN, KEY)
    assert deadline(held, record, NOW + 60) == NOW + HOUR_MS / 1000
    assert held.counters.again == 1


def test_placed_or_not_the_newer_version_stays() -> None:
    for placed in (False, True):
        held = empty()
        store(held, plain(5), placed=placed)
        assert store(held, plain(4), placed=not placed) is Status.OLD
        assert store(held, plain(6), placed=not placed) is Status.STORED
        assert held.is_placed(Kind.PLAIN, KEY) is not placed


def test_what_is_not_there_is_not_placed() -> None:
    assert not empty().is_placed(Kind.PLAIN, KEY)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 50)), min_size=1))
def test_the_first_owners_copy_of_a_version_begins_its_life_and_else_the_first_placed_one(
    offers: list[tuple[bool, int]],
) -> None:
    held, record, now = empty(), plain(ttl_ms=DAY_MS), NOW
    lives: dict[bool, float] = {}
    for placed, seconds in offers:
        now += 0.01
        remaining_ms = 1000 * (seconds + 60)
        assert store(held, record, now, remaining_ms=remaining_ms, placed=placed) is Status.STORED
        lives.setdefault(placed, now + remaining_ms / 1000)
        assert held.is_placed(Kind.PLAIN, KEY) is (False not in lives)
        assert deadline(held, record, now) == lives[False not in lives]
