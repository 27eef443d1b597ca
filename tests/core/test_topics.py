"""What a node keeps of authors: their shares, and the members of a topic, in order and bounded."""

from collections.abc import Callable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.config import GRACE_S, Config
from dht.core.storage import OWN_SOURCE, RECORD_OVERHEAD, Storage
from dht.core.topics import MEMBERS_PER_SOURCE_MAX, TOMBSTONES_MAX, digest_of, total_of
from dht.keyspace import Key, key_bytes, signed_key
from dht.records import Kind, Proof, Record
from dht.wire.messages import MEMBERS_MAX, Status

NOW = 1000.0
TOPIC = Key(7)
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
TTL_MS = HOUR_MS


def author(number: int) -> bytes:
    """Public keys, in the order of their numbers."""
    return number.to_bytes(32)


def member(
    number: int = 0,
    version: int = 5,
    *,
    topic: Key = TOPIC,
    ttl_ms: int = TTL_MS,
) -> Record:
    """The store verifies nothing, so nobody has to sign."""
    return Record(
        kind=Kind.MEMBER,
        key=topic,
        version=version,
        written_at_ms=0,
        ttl_ms=ttl_ms,
        value=b"v",
        proof=Proof(author(number), bytes(64)),
    )


def gone(number: int = 0, version: int = 6, *, ttl_ms: int = TTL_MS) -> Record:
    return attrs.evolve(member(number, version, ttl_ms=ttl_ms), tombstone=True, value=b"")


def signed(name: int, *, by: int = 0, value: bytes = b"v") -> Record:
    named = key_bytes(name)
    return Record(
        kind=Kind.SIGNED,
        key=signed_key(author(by), named),
        version=5,
        written_at_ms=0,
        ttl_ms=TTL_MS,
        value=value,
        proof=Proof(author(by), bytes(64), named),
    )


def store(
    to: Storage,
    record: Record,
    now: float = NOW,
    *,
    source: bytes = b"ali",
    handover: bool = False,
) -> Status:
    return to.store(
        now,
        record,
        remaining_ms=record.ttl_ms,
        wall_s=None,
        source=source,
        handover=handover,
        if_version=None,
    )[0]


def sources(number: int) -> bytes:
    """One for every few members, so that no source has more than its share."""
    return (number // MEMBERS_PER_SOURCE_MAX).to_bytes(3)


def full(make: Callable[[int], Record] = member, count: int = MEMBERS_MAX) -> Storage:
    to = Storage(Config())
    for number in range(count):
        assert store(to, make(number), source=sources(number)) is Status.STORED
    return to


def authors_of(to: Storage, start: bytes = b"", now: float = NOW) -> list[int]:
    return [
        int.from_bytes(held.record.proof.author)
        for held in to.members(now, TOPIC, start)
        if held.record.proof is not None
    ]


# ---- slots ----


def test_each_author_has_a_slot_of_his_own_in_a_topic() -> None:
    to = Storage(Config())
    for number in (2, 0, 1):
        assert store(to, member(number)) is Status.STORED
    assert authors_of(to) == [0, 1, 2]
    assert store(to, member(1, version=4)) is Status.OLD
    assert store(to, member(1, version=6)) is Status.STORED
    assert to.count == 3
    held = to.get(NOW, Kind.MEMBER, TOPIC, author(1))
    assert held is not None
    assert held.record.version == 6


def test_a_key_alone_finds_no_member() -> None:
    to = Storage(Config())
    store(to, member())
    assert to.get(NOW, Kind.MEMBER, TOPIC) is None
    assert to.version(NOW, Kind.MEMBER, TOPIC) == 0


def test_kinds_and_topics_share_no_slot() -> None:
    to = Storage(Config())
    plain = attrs.evolve(member(), kind=Kind.PLAIN, proof=None)
    # The slot of the one would be that of the other, if a member's were just longer.
    crafted = member(1, topic=Key(0))
    for record in (plain, member(), member(topic=Key(8)), signed(7), crafted):
        assert store(to, record) is Status.STORED
    assert to.count == 5
    assert authors_of(to) == [0]
    for record in (plain, member(), member(topic=Key(8)), signed(7), crafted):
        held = to.get(NOW, *record.slot)
        assert held is not None
        assert held.record == record


def test_a_walk_through_the_store_meets_a_topic_once() -> None:
    to = Storage(Config())
    for number in range(5):
        store(to, member(number))
    store(to, member(9, topic=Key(8)))
    walked, rest = to.keys_near(0, 0, limit=2)
    assert [held.record.key for held in walked] == [Key(7), Key(8)]
    assert rest is not None
    assert to.keys_near(0, 0, start=rest, limit=2) == ([], None)


def test_a_topic_ends_with_its_last_member() -> None:
    to = Storage(Config())
    store(to, member(0, ttl_ms=1000))
    store(to, member(1, ttl_ms=2000))
    assert to.ends_at(NOW, Kind.MEMBER, TOPIC) == NOW + 2
    assert authors_of(to, now=NOW + 1) == [1]
    assert to.expire(NOW + 100) == 2
    assert to.ends_at(NOW + 100, Kind.MEMBER, TOPIC) is None
    assert (to._topics, len(to._index), to._authors) == ({}, 0, {})


def test_an_expired_member_cannot_be_brought_back_for_a_day() -> None:
    to = Storage(Config())
    store(to, member(ttl_ms=1000))
    after = NOW + 100
    assert store(to, member(ttl_ms=1000), after) is Status.OLD
    assert store(to, member(1, ttl_ms=1000), after) is Status.STORED
    assert store(to, member(), NOW + 1 + GRACE_S) is Status.STORED


# ---- pages ----


@given(
    numbers=st.lists(st.integers(0, 2**256 - 1), unique=True, max_size=20),
    start=st.integers(0, 2**256 - 1),
)
def test_members_are_given_from_any_start_around_the_circle(numbers: list[int], start: int) -> None:
    to = Storage(Config())
    for number in numbers:
        store(to, member(number))
    assert authors_of(to, author(start)) == sorted(numbers, key=lambda n: (n - start) % 2**256)


@given(
    offers=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3), st.booleans()), max_size=8),
    data=st.data(),
)
def test_holders_of_the_same_have_the_same_digest_and_others_another(
    offers: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    records = [gone(n, v) if dead else member(n, v) for n, v, dead in offers]
    one, other = Storage(Config()), Storage(Config())
    for record in records:
        store(one, record)
    for record in data.draw(st.permutations(records)):
        store(other, record)
    held, same = one.members(NOW, TOPIC), other.members(NOW, TOPIC)
    assert digest_of(held) == digest_of(same)
    assert (digest_of([]), total_of([])) == (bytes(8), 0)
    assert total_of(held) == sum(not each.record.tombstone for each in held)
    store(one, member(9))
    assert digest_of(one.members(NOW, TOPIC)) != digest_of(same)


# ---- how many ----


def test_a_topic_holds_256_members_and_refuses_one_more() -> None:
    to = full()
    assert store(to, member(MEMBERS_MAX), source=b"new") is Status.FULL
    assert store(to, member(MEMBERS_MAX, topic=Key(8)), source=b"new") is Status.STORED
    assert len(authors_of(to)) == MEMBERS_MAX == 256


def test_in_a_full_topic_those_who_are_in_are_renewed_and_leave() -> None:
    to = full()
    assert store(to, member(3, version=6), source=sources(3)) is Status.STORED
    assert store(to, gone(3, version=7), source=sources(3)) is Status.STORED
    assert store(to, member(MEMBERS_MAX), source=b"new") is Status.STORED
    assert store(to, member(3, version=8), source=sources(3)) is Status.FULL


def test_who_has_expired_makes_room_at_once() -> None:
    to = full(lambda number: member(number, ttl_ms=1000 if number == 9 else TTL_MS))
    assert store(to, member(MEMBERS_MAX), source=b"new") is Status.FULL
    assert store(to, member(MEMBERS_MAX), NOW + 1, source=b"new") is Status.STORED


def test_one_source_fills_a_quarter_of_a_topic() -> None:
    """Threat: one host with 256 authors, which are free to make, keeps everybody else out."""
    to = Storage(Config())
    taken = [store(to, member(number), source=b"eve") for number in range(MEMBERS_MAX)]
    assert taken.count(Status.STORED) == MEMBERS_PER_SOURCE_MAX == 64
    assert store(to, member(1000), source=b"bob") is Status.STORED


@pytest.mark.parametrize("how", [{"source": OWN_SOURCE}, {"handover": True}])
def test_holders_hand_over_whole_topics_and_a_node_fills_its_own(how: dict[str, object]) -> None:
    to = Storage(Config())
    taken = [store(to, member(number), **how) for number in range(MEMBERS_MAX)]  # type: ignore[arg-type]
    assert taken == [Status.STORED] * MEMBERS_MAX


def test_of_too_many_tombstones_the_one_that_ends_first_ends_early_and_goes_on_refusing() -> None:
    """Threat: a topic that nobody can join, for all who ever left it."""
    to = full(lambda number: gone(number, ttl_ms=TTL_MS + number), TOMBSTONES_MAX)
    assert len(to.members(NOW, TOPIC)) == TOMBSTONES_MAX
    assert store(to, gone(999, ttl_ms=DAY_MS), source=b"new") is Status.STORED
    assert len(to.members(NOW, TOPIC)) == TOMBSTONES_MAX
    assert 0 not in authors_of(to)
    assert 999 in authors_of(to)
    assert store(to, member(0, version=5), source=b"new") is Status.OLD
    assert store(to, member(0, version=7), source=b"new") is Status.STORED


# ---- how much of one author ----


def tight() -> Storage:
    """Of 64 records an author may have 4."""
    return Storage(
        Config(store_count_max=64, store_share_per_author=1 / 16, store_share_per_source=1.0)
    )


def test_an_author_has_a_share_of_the_store_wherever_he_sends_from() -> None:
    to = tight()
    taken = [store(to, signed(name), source=bytes([name])) for name in range(8)]
    assert taken == [Status.STORED] * 4 + [Status.FULL] * 4
    assert store(to, member(0), source=b"new") is Status.FULL
    assert store(to, signed(0, by=1), source=b"new") is Status.STORED


def test_a_handed_over_record_counts_for_its_author_too() -> None:
    to = tight()
    taken = [store(to, signed(name), handover=True) for name in range(8)]
    assert taken.count(Status.STORED) == 4


def test_what_ends_makes_room_for_its_author() -> None:
    to = tight()
    for name in range(4):
        store(to, attrs.evolve(signed(name), ttl_ms=1000))
    assert store(to, signed(9)) is Status.FULL
    assert store(to, signed(9), NOW + 100) is Status.STORED


def test_a_newer_version_takes_no_room_besides_its_own() -> None:
    to = tight()
    for name in range(4):
        store(to, signed(name))
    assert store(to, attrs.evolve(signed(0), version=6)) is Status.STORED


def test_many_authors_of_one_source_have_no_more_than_the_source() -> None:
    """Threat: authors are free to make, so their shares alone bound nothing."""
    to = Storage(Config(store_count_max=64, store_share_per_source=1 / 8))
    taken = [store(to, signed(0, by=number), source=b"eve") for number in range(64)]
    assert taken.count(Status.STORED) == 8


def test_a_nodes_own_user_is_limited_by_the_whole_store_alone() -> None:
    to = tight()
    assert store(to, signed(0, by=1)) is Status.STORED
    taken = [store(to, signed(name), source=OWN_SOURCE) for name in range(64)]
    assert taken.count(Status.STORED) == 63


def test_the_longest_value_fits_its_authors_share() -> None:
    to = Storage(Config())
    assert store(to, signed(0, value=bytes(Config().value_size_max))) is Status.STORED
    assert to.size == 2**20 + RECORD_OVERHEAD + 96


def test_the_limits_of_a_topic_are_those_of_the_protocol() -> None:
    assert (MEMBERS_MAX, TOMBSTONES_MAX) == (256, 256)
