"""What a peer's request is answered: whom it is told of, what is kept, how long an answer is."""

from collections.abc import Iterable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.config import VALUE_INLINE_MAX, Config
from dht.contacts import CONTACT4_SIZE, CONTACT6_SIZE, Contact, is_ipv6, is_local, subnet_of
from dht.core.channel.plain import ROOM
from dht.core.responder import (
    PONG_SIZE_MAX,
    SUBNET_PER_ANSWER_MAX,
    Offer,
    Pull,
    Responder,
    spread_over_subnets,
)
from dht.core.routing import RoutingTable
from dht.core.storage import Storage
from dht.core.transfer import BLOCK_SIZE
from dht.keyspace import Key, key_bytes
from dht.records import Kind, Record, piece_hashes, value_hash
from dht.wire.codec import copy_of, encode, record_of_untrusted, unpack_contacts_untrusted
from dht.wire.messages import (
    CONTACTS_TOO,
    HANDOVER,
    HASHES,
    LEASE,
    OVERLAY_TYPES,
    REACH_TYPES,
    REQUEST_ID_SIZE,
    ROUTE_TYPES,
    WANT_IPV4,
    WANT_IPV6,
    Answer,
    Block,
    Fetch,
    Find,
    Found,
    Get,
    Nodes,
    Ping,
    Pong,
    Request,
    Status,
    Store,
    Stored,
)
from tests import strategies
from tests.core.contacts_for_tests import contact

ASKER = contact(99)
OWN_ID = 0
NOW = 0.0


def responder(known: Iterable[Contact] = (), *, config: Config | None = None) -> Responder:
    config = config or Config()
    table = RoutingTable(OWN_ID, config=config)
    for each in known:
        table.add(NOW, each)
    return Responder(table, Storage(config), config)


def answer(to: Responder, request: Request, *, room: int = ROOM, asker: Contact = ASKER) -> Answer:
    told = to.answer(NOW, asker, request, room)
    assert not isinstance(told, Pull)
    return told


def named(told: Answer) -> list[Contact]:
    assert isinstance(told, Nodes | Found)
    return unpack_contacts_untrusted(told.contacts4, told.contacts6)


def find(target: int = 0, count: int = 20, flags: int = WANT_IPV4, kind: int = 0) -> Find:
    return Find(flags=flags, target=key_bytes(target), count=count, kind=kind)


def record(value: bytes = b"v", *, version: int = 1, key: int = 7) -> Record:
    return Record(
        kind=Kind.PLAIN,
        key=Key(key),
        version=version,
        written_at_ms=0,
        ttl_ms=60_000,
        value=value,
    )


def store(what: Record, *, if_version: int | None = None, flags: int = 0) -> Store:
    return Store(flags=flags, copy=copy_of(what, what.ttl_ms), if_version=if_version, count=0)


def get(key: int = 7, flags: int = WANT_IPV4) -> Get:
    return Get(flags=flags, kind=1, key=key_bytes(key), count=20)


# ---------------------------------------------------------------------------------- the room


@given(
    request=strategies.requests().filter(
        lambda each: type(each) not in REACH_TYPES | OVERLAY_TYPES | ROUTE_TYPES
    ),
    known=st.lists(strategies.contacts(), max_size=40),
    held=st.lists(strategies.records(places=st.just(Key(7))), max_size=2),
    room=st.integers(300, ROOM),
)
def test_an_answer_always_fits_the_room_that_the_channel_allows(
    request: Request, known: list[Contact], held: list[Record], room: int
) -> None:
    to = responder(known)
    for each in held:
        to.answer(NOW, ASKER, store(each), ROOM)
    asked = (request, *(get(each.key, 255) for each in held), *(store(each) for each in held))
    for each_request in asked:
        if isinstance(each_request, Fetch) and room < ROOM:
            continue  # whoever asks for blocks has shown its address: it has the whole room
        told = to.answer(NOW, ASKER, each_request, room)
        if not isinstance(told, Pull):
            assert REQUEST_ID_SIZE + len(encode(told)) <= room


def test_the_longest_answers_there_are_fit_a_datagram() -> None:
    crowd = [contact(n, f"{n}.0.0.1") for n in range(1, 60)]
    to = responder(crowd)
    to.time_s = 2**40
    answer(to, store(record(bytes(VALUE_INLINE_MAX), version=2**63 - 1)))
    everything = get(flags=WANT_IPV4 | WANT_IPV6 | CONTACTS_TOO)
    told = answer(to, everything)
    assert isinstance(told, Found)
    assert len(told.copy.payload) == VALUE_INLINE_MAX
    assert named(told)
    sizes = [len(encode(told)), len(encode(answer(to, find(count=64)))), len(encode(block_of(to)))]
    assert all(REQUEST_ID_SIZE + size <= ROOM for size in sizes)
    assert REQUEST_ID_SIZE + max(sizes) > 1000


def block_of(to: Responder) -> Block:
    to.offers[bytes(32)] = Offer(bytes(5000), bytes(32))
    return to.fetch(
        NOW, Fetch(flags=0, kind=1, key=bytes(32), value_hash=bytes(32), offset=0, length=2**31)
    )


def test_a_value_that_does_not_fit_leaves_its_hash_behind() -> None:
    to = responder()
    long = record(bytes(range(200)) * 4)
    answer(to, store(long))
    told = answer(to, get(), room=500)
    assert isinstance(told, Found)
    assert told.copy.payload == long.head.value_hash
    assert record_of_untrusted(told.copy, value_size_max=1000) == long.head
    whole = answer(to, get())
    assert isinstance(whole, Found)
    assert whole.copy.payload == long.value


# -------------------------------------------------------------------------- whom it is told of


def test_the_nearest_are_named_nearest_first_and_the_asker_is_not() -> None:
    to = responder([contact(n, f"{n}.0.0.1") for n in range(1, 30)])
    told = named(answer(to, find(target=4, count=5), asker=contact(5)))
    # distances to 4:           0  2  3  5  6   (5, at distance 1, asks)
    assert keys_of(told) == [4, 6, 7, 1, 2]


def keys_of(found: Iterable[Contact]) -> list[int]:
    """The ids of the test: those of what was unpacked are hashes of the keys."""
    return [int.from_bytes(each.public_key) for each in found]


@given(
    known=st.lists(strategies.contacts(), max_size=40),
    target=strategies.keys(),
    flags=st.integers(0, 255),
    count=st.integers(0, 64),
)
def test_nobody_is_told_of_itself_or_of_addresses_that_it_has_no_use_for(
    known: list[Contact], target: Key, flags: int, count: int
) -> None:
    to = responder(known)
    asker = known[0] if known else ASKER
    told = named(answer(to, find(target, count, flags), asker=asker))
    assert asker not in told
    assert len(told) <= min(count, 20)
    assert all(flags & (WANT_IPV6 if is_ipv6(each.address) else WANT_IPV4) for each in told)
    assert all(to.table.get(each.id) == each for each in told)


@given(st.lists(strategies.contacts() | st.builds(contact, st.integers(1, 99), st.just("9.9.9.9"))))
def test_an_answer_names_at_most_two_of_a_subnet_the_nearest_of_them(known: list[Contact]) -> None:
    seen: dict[bytes, int] = {}
    expected = []
    for each in known:
        subnet = subnet_of(each.address)
        seen[subnet] = seen.get(subnet, 0) + 1
        if seen[subnet] <= SUBNET_PER_ANSWER_MAX or is_local(each.address):
            expected.append(each)
    assert spread_over_subnets(known) == expected


def test_two_of_a_subnet_are_all_that_an_answer_names_of_it() -> None:
    config = Config(subnet_per_bucket_max=20, subnet_per_table_max=20, ip_per_table_max=20)
    crowd = [contact(n, f"9.9.9.{n}") for n in range(1, 9)] + [contact(200, "8.8.8.8")]
    told = named(answer(responder(crowd, config=config), find()))
    assert [each.address[:3] for each in told] == [b"\x09\x09\x09"] * 2 + [b"\x08\x08\x08"]


def test_twenty_contacts_of_either_family_fit_one_answer() -> None:
    v4 = [contact(n, f"{n}.0.0.1") for n in range(1, 31)]
    v6 = [contact(n, f"2001:{n}::1") for n in range(31, 61)]
    told = answer(responder(v4 + v6), find(count=20, flags=WANT_IPV4))
    assert isinstance(told, Nodes)
    assert (len(told.contacts4), told.contacts6) == (20 * CONTACT4_SIZE, b"")
    told = answer(responder(v6), find(count=20, flags=WANT_IPV6))
    assert isinstance(told, Nodes)
    assert (told.contacts4, len(told.contacts6)) == (b"", 20 * CONTACT6_SIZE)


# ---------------------------------------------------------------------------- keeping a record


def test_a_ping_is_answered_with_the_time_and_the_address_that_it_came_from() -> None:
    to = responder()
    to.time_s = 1234
    assert answer(to, Ping(flags=0)) == Pong(1234, ASKER.address)


@given(strategies.contacts(), st.integers(0, 60), st.integers(0, 2**40))
def test_a_pong_is_never_longer_than_its_room(asker: Contact, room: int, time_s: int) -> None:
    """Room for the time alone is always there: the channel pads a request to that."""
    to = responder()
    to.time_s = time_s
    pong = to.answer(0.0, asker, Ping(flags=0), room)
    assert isinstance(pong, Pong)
    assert pong.seen in (b"", asker.address)
    assert REQUEST_ID_SIZE + len(encode(pong)) <= max(room, REQUEST_ID_SIZE + 13)
    assert pong.seen or room < PONG_SIZE_MAX


def test_what_was_stored_is_found_and_its_version_told() -> None:
    to = responder()
    assert answer(to, find(7, kind=1)) == Nodes(0, b"", b"", 0)
    assert answer(to, get()) == Nodes(0, b"", b"", 0)
    assert answer(to, store(record(version=5))) == Stored(0, Status.STORED, 5, None, b"", b"")
    assert answer(to, find(7, kind=1)) == Nodes(0, b"", b"", 5)
    assert answer(to, find(7, kind=2)) == Nodes(0, b"", b"", 0)
    told = answer(to, get())
    assert isinstance(told, Found)
    assert record_of_untrusted(told.copy, value_size_max=10) == record(version=5)
    assert told.copy.remaining_ms == 60_000


@pytest.mark.parametrize("version", [4, 5])
def test_a_refusal_carries_the_version_and_the_record_that_is_held(version: int) -> None:
    to = responder()
    held = record(b"held", version=5)
    answer(to, store(held))
    told = answer(to, store(record(b"\x00", version=version), if_version=3))
    assert isinstance(told, Stored)
    assert (told.status, told.version) == (Status.VERSION, 5)
    assert told.copy is not None
    assert record_of_untrusted(told.copy, value_size_max=10) == held


def test_a_record_too_long_for_a_refusal_is_only_named_by_its_version() -> None:
    to = responder()
    answer(to, store(record(bytes(850), version=5)))
    told = answer(to, store(record(version=4)), room=400)
    assert told == Stored(0, Status.OLD, 5, None, b"", b"")


def test_what_breaks_a_rule_of_its_kind_is_invalid() -> None:
    to = responder(config=Config(value_size_max=100))
    for bad in (
        attrs.evolve(record(), ttl_ms=10**12),
        attrs.evolve(record(), version=0),
        attrs.evolve(record(), kind=Kind.CONTENT),
        record(bytes(101)),
        record(bytes(101) * 100),
    ):
        assert answer(to, store(bad)) == Stored(0, Status.INVALID, 0, None, b"", b"")
    assert to.storage.count == 0


def test_new_versions_are_told_of_and_copies_are_not() -> None:
    told: list[Record] = []
    to = responder()
    to.on_stored = lambda _now, what: told.append(what)
    for what in (record(version=1), record(version=1), record(version=2), record(version=1)):
        answer(to, store(what))
    assert told == [record(version=1), record(version=2)]


def test_only_a_holder_hears_that_its_record_is_looked_after() -> None:
    told: list[int] = []
    to = responder()
    to.on_tended = lambda _now, _kind, key: told.append(key)
    answer(to, find(7, kind=1, flags=HANDOVER))
    answer(to, store(record()))
    answer(to, find(7, kind=1))
    assert told == []
    answer(to, find(7, kind=1, flags=HANDOVER))
    assert told == [7]


# ------------------------------------------------------------------------ copies with a lease


def test_a_store_with_a_lease_lives_an_hour_at_most() -> None:
    long = attrs.evolve(record(), ttl_ms=24 * 3_600_000)
    for what, flags, life_s in [
        (long, LEASE, 3600),
        (long, 0, 24 * 3600),
        (record(), LEASE, 60),
    ]:
        to = responder()
        assert answer(to, store(what, flags=flags)) == Stored(0, Status.STORED, 1, None, b"", b"")
        held = to.storage.get(NOW, Kind.PLAIN, Key(7))
        assert held is not None
        assert held.deadline == NOW + life_s
        assert held.placed is bool(flags)


def test_a_long_value_with_a_lease_is_pulled_for_an_hour_unless_an_owner_holds_it() -> None:
    large = attrs.evolve(record(bytes(2000)), ttl_ms=24 * 3_600_000)
    to = responder()
    told = to.answer(NOW, ASKER, store(large, flags=LEASE), ROOM)
    assert told == Pull(large.head, 3_600_000, False, None, (b"", b""), placed=True)
    keep = {
        "remaining_ms": 3_600_000,
        "handover": False,
        "if_version": None,
        "room": ROOM,
        "nearest": (b"", b""),
    }
    to.store(NOW, ASKER, large, placed=True, **keep)  # type: ignore[arg-type]
    assert isinstance(to.answer(NOW, ASKER, store(large, flags=LEASE), ROOM), Stored)
    assert isinstance(to.answer(NOW, ASKER, store(large), ROOM), Pull)
    to.store(NOW, ASKER, large, **keep)  # type: ignore[arg-type]
    assert isinstance(to.answer(NOW, ASKER, store(large), ROOM), Stored)


# -------------------------------------------------------------------------------- large values


def test_a_large_record_that_is_welcome_is_to_be_pulled() -> None:
    to = responder()
    large = record(bytes(2000))
    told = to.answer(NOW, ASKER, store(large, if_version=0), ROOM)
    assert told == Pull(large.head, 60_000, False, 0, (b"", b""))
    assert to.storage.count == 0


def test_only_those_we_know_hand_over_and_a_stranger_is_charged_like_a_writer() -> None:
    config = Config(store_count_max=4, store_share_per_source=0.25, store_share_handover=0.5)
    friend = contact(1)
    for asker, taken in ((friend, 2), (ASKER, 1)):
        to = responder([friend], config=config)
        for number in range(4):
            answer(to, store(record(key=number), flags=HANDOVER), asker=asker)
        assert to.storage.count == taken


def test_a_large_record_that_would_be_refused_is_refused_before_it_is_pulled() -> None:
    to = responder()
    held = record(b"held", version=5)
    answer(to, store(held))
    told = answer(to, store(record(bytes(2000), version=4)))
    assert isinstance(told, Stored)
    assert (told.status, told.version, told.copy) == (Status.OLD, 5, copy_of(held, 60_000))


@given(offset=st.integers(0, 2**32 - 1) | st.integers(0, 50_000), length=st.integers(0, 2**32 - 1))
def test_a_fetch_gives_exactly_that_part_of_what_is_held_and_never_more_than_a_block(
    offset: int, length: int
) -> None:
    to, value = responder(), VALUE
    to.storage.store(
        NOW,
        record(value),
        remaining_ms=60_000,
        wall_s=None,
        source=b"s",
        handover=False,
        if_version=None,
    )
    for flags, data in ((0, value), (HASHES, piece_hashes(value))):
        block = to.fetch(NOW, fetch(value, offset, length, flags))
        assert block == Block(0, offset, data[offset : offset + min(length, BLOCK_SIZE)])


VALUE = bytes(range(256)) * 150


def fetch(value: bytes, offset: int = 0, length: int = BLOCK_SIZE, flags: int = 0) -> Fetch:
    return Fetch(
        flags=flags,
        kind=1,
        key=key_bytes(7),
        value_hash=value_hash(value),
        offset=offset,
        length=length,
    )


def test_a_fetch_of_another_version_gives_nothing() -> None:
    to = responder()
    answer(to, store(record(b"new" * 100)))
    assert to.fetch(NOW, fetch(b"old" * 100)).data == b""
    assert to.fetch(NOW, fetch(b"new" * 100)).data == b"new" * 100


def test_a_held_value_is_hashed_once_however_often_it_is_fetched() -> None:
    to = responder()
    value = bytes(5000)
    large = record(value)
    to.storage.store(
        NOW,
        large,
        remaining_ms=60_000,
        wall_s=None,
        source=b"a source",
        handover=False,
        if_version=None,
    )
    held = to.storage.get(NOW, large.kind, large.key)
    assert held is not None
    hashes = held.piece_hashes()
    for offset in range(0, 5000, BLOCK_SIZE):
        told = to.fetch(NOW, fetch(value, offset, flags=HASHES))
        assert told.data == piece_hashes(value)[offset : offset + BLOCK_SIZE]
    assert held.piece_hashes() is hashes
