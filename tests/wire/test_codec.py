"""Bytes become a message or a ``RemoteError``, and nothing a stranger writes makes us allocate."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dht.config import BUDGET_MAX, DATAGRAM_SIZE_MAX, VALUE_INLINE_MAX
from dht.contacts import Address, Contact, contact_at, is_ipv6, is_reachable, pack_address
from dht.errors import RemoteError
from dht.keyspace import Key, content_key, key_bytes, signed_key
from dht.records import VERSION_MAX, Head, Kind, Record, ttl_max_s, value_hash
from dht.wire import messages as wire
from dht.wire.codec import (
    COPY_RESERVE,
    PROOF_SIZE,
    address_untrusted,
    contact_untrusted,
    copy_of,
    decode_untrusted,
    encode,
    marked_untrusted,
    pack_contacts,
    pack_marked,
    record_of_untrusted,
    unpack_contacts_untrusted,
    wanted_contacts,
)
from dht.wire.messages import WANT_IPV4, WANT_IPV6, Copy, Message
from tests.strategies import (
    AUTHORS,
    COUNT_MAX,
    FLAGS_MAX,
    MILLISECONDS_MAX,
    SECONDS_MAX,
    SIZE_MAX,
    addresses,
    contacts,
    copies,
    heads,
    keys,
    messages,
    records,
    request_ids,
)

ID = b"12345678"
MIB = 2**20

# The largest of each field.
KEY32 = b"\xff" * 32
COPY_MAX = Copy(
    kind=2,
    tombstone=True,
    key=KEY32,
    version=VERSION_MAX,
    written_at_ms=MILLISECONDS_MAX,
    ttl_ms=MILLISECONDS_MAX,
    remaining_ms=MILLISECONDS_MAX,
    size=SIZE_MAX,
    payload=bytes(VALUE_INLINE_MAX),
)
# What a node sends at its largest: 20 contacts with IPv6 addresses, 850 bytes of value, and
# blocks of 1,024 bytes.
LARGEST: list[Message] = [
    wire.Ping(flags=FLAGS_MAX),
    wire.Find(flags=FLAGS_MAX, target=KEY32, count=COUNT_MAX, kind=4),
    wire.Get(flags=FLAGS_MAX, kind=3, key=KEY32, count=COUNT_MAX),
    wire.Store(flags=FLAGS_MAX, copy=COPY_MAX, if_version=VERSION_MAX, count=0),
    wire.Fetch(
        flags=FLAGS_MAX, kind=3, key=KEY32, value_hash=KEY32, offset=SIZE_MAX, length=SIZE_MAX
    ),
    wire.Pong(time_s=SECONDS_MAX, seen=bytes(18)),
    wire.Nodes(
        time_s=SECONDS_MAX, contacts4=bytes(10 * 38), contacts6=bytes(10 * 50), version=VERSION_MAX
    ),
    wire.Nodes(time_s=SECONDS_MAX, contacts4=b"", contacts6=bytes(20 * 50), version=VERSION_MAX),
    wire.Found(time_s=SECONDS_MAX, copy=COPY_MAX, contacts4=b"", contacts6=b""),
    wire.Stored(
        time_s=SECONDS_MAX,
        status=8,
        version=VERSION_MAX,
        copy=COPY_MAX,
        contacts4=b"",
        contacts6=b"",
    ),
    wire.Block(time_s=SECONDS_MAX, offset=SIZE_MAX, data=bytes(1024)),
    wire.Reach(flags=FLAGS_MAX, nonce=bytes(8)),
    wire.Dial(flags=FLAGS_MAX, nonce=bytes(8), contact=bytes(50)),
    wire.Knock(flags=FLAGS_MAX, nonce=bytes(8)),
    wire.Dialling(time_s=SECONDS_MAX, status=3),
    wire.Route(
        flags=FLAGS_MAX,
        id=bytes(8),
        target=KEY32,
        ttl=wire.WALK_TTL_MAX,
        hops=wire.WALK_TTL_MAX,
        style=5,
        issuer=bytes(50),
        body=bytes(96 + 8 + 1 + 64 + 800),
    ),
    wire.Returned(flags=FLAGS_MAX, id=bytes(8), hops=wire.WALK_TTL_MAX, body=bytes(1082)),
    wire.Taken(time_s=SECONDS_MAX, status=3),
    wire.Browse(flags=FLAGS_MAX, key=KEY32, start=KEY32, count=COUNT_MAX),
    wire.Page(
        time_s=SECONDS_MAX,
        total=wire.MEMBERS_MAX,
        whole=True,
        digest=b"\xff" * wire.DIGEST_SIZE,
        copies=(
            msgspec.structs.replace(COPY_MAX, kind=4, payload=bytes(PROOF_SIZE + VALUE_INLINE_MAX)),
        ),
        contacts4=b"",
        contacts6=b"",
    ),
    # Seven neighbours beside the asker, and eight index nodes.
    wire.Shuffle(
        flags=FLAGS_MAX,
        count=COUNT_MAX,
        contacts4=b"",
        contacts6=bytes(7 * 50),
        marks=bytes(8 * wire.MARK_SIZE),
        indexes4=b"",
        indexes6=bytes(8 * 50),
        ages=bytes(8),
    ),
    wire.Introduce(flags=FLAGS_MAX, newcomer=bytes(50), ttl=255),
    wire.Search(
        flags=FLAGS_MAX,
        id=bytes(8),
        kind=3,
        key=KEY32,
        style=255,
        walker=255,
        ttl=255,
        hops=255,
        budget=BUDGET_MAX,
        hits=255,
        check_every=255,
        issuer=bytes(50),
    ),
    wire.Hit(flags=FLAGS_MAX, id=bytes(8), walker=255, hops=255, holder=bytes(50), copy=COPY_MAX),
    wire.Done(
        flags=FLAGS_MAX,
        id=bytes(8),
        walker=255,
        messages=BUDGET_MAX,
        duplicates=BUDGET_MAX,
        nodes=BUDGET_MAX,
    ),
    wire.Wanted(flags=FLAGS_MAX, id=bytes(8), walker=255, hops=255, last=True),
    wire.Announce(
        flags=FLAGS_MAX,
        slots=tuple([wire.Slot(3, KEY32, SECONDS_MAX)] * wire.SLOTS_MAX),
    ),
    wire.Holders(flags=FLAGS_MAX, kind=3, key=KEY32),
    wire.Taken(time_s=SECONDS_MAX, status=3),
    wire.Shuffled(
        time_s=SECONDS_MAX,
        contacts4=b"",
        contacts6=bytes(20 * 50),
        marks=bytes(21 * wire.MARK_SIZE),
        indexes4=b"",
        indexes6=b"",
        ages=b"",
    ),
    wire.Holding(
        time_s=SECONDS_MAX,
        contacts4=b"",
        contacts6=bytes(16 * 50),
        indexes4=b"",
        indexes6=bytes(3 * 50),
    ),
]
CLASSES = [type(message) for message in LARGEST]
LARGEST_PAGE = next(message for message in LARGEST if type(message) is wire.Page)


def by_name(message: Message) -> str:
    return type(message).__name__


def read(body: bytes) -> Message:
    return decode_untrusted(ID + body)[1]


# ---- round trip ----


@given(request_ids(), messages())
def test_every_message_survives_the_wire(request_id: bytes, message: Message) -> None:
    assert decode_untrusted(request_id + encode(message)) == (request_id, message)


@given(messages())
def test_one_message_has_one_spelling_when_we_write_it(message: Message) -> None:
    assert encode(read(encode(message))) == encode(message)


def test_every_message_of_the_schema_is_tested_here() -> None:
    assert set(CLASSES) == set(wire.Message.__args__)


def test_tags_differ() -> None:
    tags = [each.__struct_config__.tag for each in wire.Message.__args__]
    assert sorted(tags) == sorted(set(tags))


# ---- any bytes ----


@given(st.binary(max_size=1200))
def test_any_bytes_are_a_message_or_a_remote_error(frame: bytes) -> None:
    check_only_remote_errors(frame)
    check_only_remote_errors(ID + frame)


@given(messages(), st.data())
def test_a_damaged_message_is_a_message_or_a_remote_error(
    message: Message, data: st.DataObject
) -> None:
    damaged = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    check_only_remote_errors(ID + damaged)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.integers(0, 99), inner),
    )
)
def test_nested_garbage_is_a_message_or_a_remote_error(garbage: object) -> None:
    tags = [each.__struct_config__.tag for each in wire.Message.__args__]
    check_only_remote_errors(ID + msgspec.msgpack.encode(garbage))
    for tag in tags:
        for width in range(1, 6):
            check_only_remote_errors(ID + msgspec.msgpack.encode([tag, *[garbage] * width]))


@pytest.mark.parametrize("opener", [b"\x91", b"\x81\x00", b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff"])
@pytest.mark.parametrize("before", [b"", b"\x92\x01", b"\x94\x04\x00", b"\x94\x04\x00\x99"])
def test_deep_nests_end_in_a_remote_error(before: bytes, opener: bytes) -> None:
    with pytest.raises(RemoteError):
        decode_untrusted(ID + before + opener * 100_000)


def check_only_remote_errors(frame: bytes) -> None:
    try:
        request_id, message = decode_untrusted(frame)
    except RemoteError:
        return
    assert request_id == frame[:8]
    assert read(encode(message)) == message


@given(messages(), st.binary(min_size=1, max_size=8))
def test_trailing_bytes_are_refused(message: Message, more: bytes) -> None:
    with pytest.raises(RemoteError):
        read(encode(message) + more)


@pytest.mark.parametrize("message", LARGEST, ids=by_name)
def test_a_message_that_was_cut_is_refused(message: Message) -> None:
    frame = ID + encode(message)
    for length in range(len(frame)):
        with pytest.raises(RemoteError):
            decode_untrusted(frame[:length])


# ---- one value, many spellings ----


def spelt_at_length(value: object) -> bytes:
    """The longest MessagePack of a value."""
    match value:
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int():
            return b"\xcf" + value.to_bytes(8)
        case bytes():
            return b"\xc6" + len(value).to_bytes(4) + value
        case list():
            return b"\xdd" + len(value).to_bytes(4) + b"".join(map(spelt_at_length, value))
    raise AssertionError(value)


@given(messages())
def test_any_spelling_of_the_same_value_is_taken(message: Message) -> None:
    """We write the shortest; an implementation whose library does not is understood."""
    loose = msgspec.msgpack.decode(encode(message))
    assert read(spelt_at_length(loose)) == message
    assert len(encode(message)) <= len(spelt_at_length(loose))


# ---- each field ----

# What each type of field must not be. What is right is drawn by strategies.py.
_NO_BYTES: tuple[Any, ...] = ("x" * 32, 7, None, [], {}, 1.5, True)
_NO_NUMBER: tuple[Any, ...] = (-1, 2**64 - 1, 1.0, "7", b"7", [], {}, True)
_NO_MILLISECONDS = (*_NO_NUMBER, None, MILLISECONDS_MAX + 1)
_NO_SIZE = (*_NO_NUMBER, None, SIZE_MAX + 1)
_NO_HASH = (*_NO_BYTES, b"", bytes(31), bytes(33), bytes(DATAGRAM_SIZE_MAX))
_NO_PACKET = (*_NO_BYTES, bytes(DATAGRAM_SIZE_MAX + 1))
_WRONG: dict[str, tuple[Any, ...]] = {
    "flags": (*_NO_NUMBER, None, FLAGS_MAX + 1),
    "kind": (*_NO_NUMBER, None, len(Kind) + 1),
    "count": (*_NO_NUMBER, None, COUNT_MAX + 1),
    "status": (*_NO_NUMBER, None, len(wire.Status)),
    "version": (*_NO_NUMBER, None, VERSION_MAX + 1),
    "if_version": (*_NO_NUMBER, VERSION_MAX + 1),
    "time_s": (*_NO_NUMBER, None, SECONDS_MAX + 1),
    "written_at_ms": _NO_MILLISECONDS,
    "ttl_ms": _NO_MILLISECONDS,
    "remaining_ms": _NO_MILLISECONDS,
    "size": _NO_SIZE,
    "offset": _NO_SIZE,
    "length": _NO_SIZE,
    "key": _NO_HASH,
    "target": _NO_HASH,
    "value_hash": _NO_HASH,
    "payload": _NO_PACKET,
    "data": _NO_PACKET,
    "contacts4": _NO_PACKET,
    "contacts6": _NO_PACKET,
    "seen": (*_NO_BYTES, bytes(19)),
    "nonce": (*_NO_BYTES, b"", bytes(7), bytes(9)),
    "contact": (*_NO_BYTES, b"", bytes(37), bytes(51)),
    "tombstone": (0, 1, None, b"", "x", []),
    "copy": (7, b"", True, [], [1], {}),
    "start": _NO_HASH,
    "total": (*_NO_NUMBER, None, wire.MEMBERS_MAX + 1),
    "whole": (0, 1, None, b"", "x", []),
    "digest": (*_NO_BYTES, b"", bytes(7), bytes(9)),
    "id": (*_NO_BYTES, b"", bytes(7), bytes(9)),
    "ttl": (*_NO_NUMBER, None, 256),
    "hops": (*_NO_NUMBER, None, 256),
    "style": (*_NO_NUMBER, None, 256),
    "issuer": (*_NO_BYTES, bytes(51)),
    "body": _NO_PACKET,
    "copies": (7, b"", None, True, {}, [7], [[]], [None]),
    "marks": _NO_PACKET,
    "indexes4": _NO_PACKET,
    "indexes6": _NO_PACKET,
    "ages": _NO_PACKET,
    "newcomer": (*_NO_BYTES, bytes(51)),
    "holder": (*_NO_BYTES, bytes(51)),
    "walker": (*_NO_NUMBER, None, 256),
    "hits": (*_NO_NUMBER, None, 256),
    "check_every": (*_NO_NUMBER, None, 256),
    "budget": (*_NO_NUMBER, None, BUDGET_MAX + 1),
    "messages": (*_NO_NUMBER, None, BUDGET_MAX + 1),
    "duplicates": (*_NO_NUMBER, None, BUDGET_MAX + 1),
    "nodes": (*_NO_NUMBER, None, BUDGET_MAX + 1),
    "last": (0, 1, None, b"", "x", []),
    "lease_s": (*_NO_NUMBER, None, SECONDS_MAX + 1),
    "slots": (7, b"", None, True, {}, [7], [[]], [None], [[3, KEY32, 1]] * (wire.SLOTS_MAX + 1)),
}

# Where the same name means less than elsewhere.
_WRONG_OF: dict[tuple[type, str], tuple[Any, ...]] = {
    (wire.Get, "kind"): (4,),
    (wire.Fetch, "kind"): (4,),
    (wire.Search, "kind"): (4,),
    (wire.Holders, "kind"): (4,),
    (wire.Taken, "status"): (len(wire.Taking),),
    (wire.Route, "ttl"): (wire.WALK_TTL_MAX + 1,),
    (wire.Route, "hops"): (wire.WALK_TTL_MAX + 1,),
    (wire.Route, "style"): (len(wire.Style),),
    (wire.Returned, "hops"): (wire.WALK_TTL_MAX + 1,),
}


def with_one_wrong_field(cls: type[Any], values: list[Any]) -> Iterator[list[Any]]:
    """Each list of values in which one is not what its name asks for."""
    for place, (name, value) in enumerate(zip(cls.__struct_fields__, values, strict=True)):
        wrong = [*_WRONG[name], *_WRONG_OF.get((cls, name), ())]
        if name == "copy":
            wrong += wrong_copies(value)
        if name == "copies":
            wrong += [[each] for each in wrong_copies(*value)]
        for each in wrong:
            yield [*values[:place], each, *values[place + 1 :]]


def wrong_copies(value: list[Any]) -> list[list[Any]]:
    return [*with_one_wrong_field(Copy, value), value[:-1], [*value, 0]]


@pytest.mark.parametrize("message", LARGEST, ids=by_name)
def test_a_field_out_of_its_range_is_refused(message: Message) -> None:
    tag, *values = msgspec.msgpack.decode(encode(message))
    for wrong in with_one_wrong_field(type(message), values):
        with pytest.raises(RemoteError):
            read(msgspec.msgpack.encode([tag, *wrong]))


@pytest.mark.parametrize("message", [LARGEST[2], LARGEST[4]], ids=by_name)
def test_a_slot_has_a_kind(message: Message) -> None:
    """Only ``Find`` may do without, by saying 0."""
    with pytest.raises(RemoteError):
        read(encode(msgspec.structs.replace(message, kind=0)))


@pytest.mark.parametrize("message", LARGEST, ids=by_name)
def test_the_largest_of_each_field_is_taken(message: Message) -> None:
    """The other side of each rule above."""
    assert read(encode(message)) == message


@pytest.mark.parametrize("message", LARGEST, ids=by_name)
def test_a_field_too_many_or_too_few_is_refused(message: Message) -> None:
    loose = msgspec.msgpack.decode(encode(message))
    for wrong in (loose[:-1], [*loose, 0], [*loose, None], loose[:1], []):
        with pytest.raises(RemoteError):
            read(msgspec.msgpack.encode(wrong))


@pytest.mark.parametrize("tag", [-1, 0, 15, 31, 2**63, 1.0, "1", b"1", None, True, [1]])
def test_an_unknown_tag_is_refused(tag: object) -> None:
    for width in range(6):
        with pytest.raises(RemoteError):
            read(msgspec.msgpack.encode([tag, *[0] * width]))


# ---- declared lengths ----

_HUGE = b"\xff\xff\xff\xff"


@pytest.mark.parametrize(
    "body",
    [
        b"\xdd" + _HUGE,
        b"\xdd" + _HUGE + b"\x01\x00",
        b"\xdf" + _HUGE,
        b"\xc6" + _HUGE,
        b"\xdb" + _HUGE,
        b"\xc9" + _HUGE + b"\x01",
        b"\x92\x01\xdd" + _HUGE,
        b"\x94\x04\x00\xdd" + _HUGE + b"\x01\xc2",
        b"\x95\x02\x00\xc6" + _HUGE + b"\x00" * 32,
        b"\x95\x11\x00\xc6" + _HUGE + b"\x00" * 32,
        b"\x94\x14\x00\x00\xc6" + _HUGE + b"\x00" * 32,
        b"\x94\x14\x00\x00\xc6\x7f\xff\xff\xff",
    ],
)
def test_a_declared_length_allocates_nothing(body: bytes) -> None:
    """Threat: 6 bytes that promise 4 GiB. What is allocated is bounded by what has come."""
    tracemalloc.start()
    try:
        with pytest.raises(RemoteError):
            read(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 1024


# ---- sizes ----

#: Plain: type 1, public key 32, checksum 8. It leaves room for what other channels need.
PLAIN_OVERHEAD = 1 + 32 + 8


@pytest.mark.parametrize("message", LARGEST, ids=by_name)
def test_the_largest_message_fits_a_datagram(message: Message) -> None:
    assert PLAIN_OVERHEAD + len(ID + encode(message)) <= DATAGRAM_SIZE_MAX


@pytest.mark.parametrize("message", LARGEST, ids=by_name)
def test_the_specification_has_the_largest_size(message: Message) -> None:
    text = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
    largest = max(len(encode(each)) for each in LARGEST if type(each) is type(message))
    assert f"| `{by_name(message)}` | {largest:,} |" in text


def test_the_sizes_by_hand() -> None:
    """One byte for a small number or an array, 9 for a large one, 2 or 3 before bytes."""
    sizes = {type(message): len(encode(message)) for message in LARGEST}
    copy = 1 + 1 + 1 + (2 + 32) + 4 * 9 + 5 + (3 + VALUE_INLINE_MAX)
    assert sizes[wire.Nodes] == 1 + 1 + 9 + 2 + (3 + 20 * 50) + 9
    assert sizes[wire.Store] == 1 + 1 + 2 + copy + 9 + 1
    assert sizes[wire.Found] == 1 + 1 + 9 + copy + 2 + 2
    assert sizes[wire.Stored] == 1 + 1 + 9 + 1 + 9 + copy + 2 + 2
    assert sizes[wire.Page] == 1 + 1 + 9 + 3 + 1 + 10 + 1 + (copy + PROOF_SIZE) + 2 + 2
    assert copy - VALUE_INLINE_MAX == COPY_RESERVE
    assert sizes[wire.Block] == 1 + 1 + 9 + 5 + (3 + 1024)


#: What the encrypted channel has beside a payload, at most, in each of its packets, by the lengths
#: of their fields: first messages carry a request, and its answer.
#: First message: header 12, ephemeral key 32, static key 32 + 16, payload's tag 16, two MACs 32;
#: in the payload a token of 16 and a length of 2. Its answer: header 20, ephemeral key 32, tag 16,
#: MAC 16; token 16, address seen 19. Data: header 16, tag 16.
FIRST_OVERHEAD = 12 + 32 + 48 + 16 + 32 + 16 + 2
ANSWER_OVERHEAD = 20 + 32 + 16 + 16 + 16 + 19
DATA_OVERHEAD = 16 + 16


def longest_valid(kind: Kind) -> Record:
    """A record of a kind with 850 bytes of value, and every number as long as it may be."""
    value = bytes(VALUE_INLINE_MAX)
    name = bytes(32) if kind is Kind.SIGNED else b""
    places = {
        Kind.CONTENT: content_key(value_hash(value)),
        Kind.SIGNED: signed_key(AUTHORS[0].id.public_key, name),
    }
    record = Record(
        kind=kind,
        key=places.get(kind, Key(2**256 - 1)),
        version=VERSION_MAX,
        written_at_ms=MILLISECONDS_MAX,
        ttl_ms=int(ttl_max_s(kind) * 1000),
        value=value,
    )
    return record.signed_by(AUTHORS[0], name) if kind > Kind.CONTENT else record


@pytest.mark.parametrize("kind", Kind)
def test_850_bytes_of_value_fit_one_datagram_of_any_channel_whatever_the_kind(kind: Kind) -> None:
    record = longest_valid(kind)
    copy = copy_of(record, record.ttl_ms)
    assert record_of_untrusted(copy, value_size_max=MIB) == record
    flags = 0b111111
    store = wire.Store(flags=flags, copy=copy, if_version=VERSION_MAX, count=COUNT_MAX)
    found = wire.Found(time_s=SECONDS_MAX, copy=copy, contacts4=b"", contacts6=b"")
    refused = wire.Stored(
        time_s=SECONDS_MAX,
        status=wire.Status.VERSION,
        version=VERSION_MAX,
        copy=copy,
        contacts4=b"",
        contacts6=b"",
    )
    for overhead in (FIRST_OVERHEAD, DATA_OVERHEAD, PLAIN_OVERHEAD):
        assert overhead + len(ID + encode(store)) <= DATAGRAM_SIZE_MAX
    for overhead in (ANSWER_OVERHEAD, DATA_OVERHEAD, PLAIN_OVERHEAD):
        assert overhead + len(ID + encode(found)) <= DATAGRAM_SIZE_MAX
        assert overhead + len(ID + encode(refused)) <= DATAGRAM_SIZE_MAX
    if kind is Kind.MEMBER:
        page = msgspec.structs.replace(LARGEST_PAGE, copies=(copy,))
        assert ANSWER_OVERHEAD + len(ID + encode(page)) <= DATAGRAM_SIZE_MAX
    if kind is Kind.SIGNED:
        text = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
        assert f"and its request id, has {len(ID + encode(store)):,} bytes" in " ".join(
            text.split()
        )


def test_an_author_costs_96_bytes_and_other_kinds_nothing() -> None:
    sizes = {kind: len(encode(copy_of(longest_valid(kind), 1))) for kind in Kind}
    assert sizes[Kind.SIGNED] == sizes[Kind.MEMBER] == sizes[Kind.CONTENT] + 96
    assert sizes[Kind.PLAIN] == sizes[Kind.CONTENT]


# ---- contact lists ----


@given(st.lists(contacts(), max_size=22))
def test_contacts_are_packed_and_unpacked(some: list[Contact]) -> None:
    packed4, packed6 = pack_contacts(some)
    in_order = sorted(some, key=lambda contact: is_ipv6(contact.address))
    assert unpack_contacts_untrusted(packed4, packed6) == in_order


@given(st.lists(contacts(reachable=False), max_size=22))
def test_contacts_that_nobody_can_be_reached_at_are_left_out(some: list[Contact]) -> None:
    unpacked = unpack_contacts_untrusted(*pack_contacts(some))
    assert len(unpacked) == sum(is_reachable(contact.address) for contact in some)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_are_contacts_or_a_remote_error(packed4: bytes, packed6: bytes) -> None:
    try:
        unpacked = unpack_contacts_untrusted(packed4, packed6)
    except RemoteError:
        assert len(packed4) % 38 or len(packed6) % 50
        return
    assert all(is_reachable(contact.address) for contact in unpacked)


@given(st.binary(max_size=20) | addresses())
def test_one_address_is_read_as_it_is_or_refused(packed: bytes) -> None:
    usable = len(packed) in (6, 18) and not packed.startswith(b"\0" * 10 + b"\xff\xff")
    try:
        assert address_untrusted(packed) == packed
    except RemoteError:
        assert not usable or not is_reachable(Address(packed))
    else:
        assert usable
        assert is_reachable(Address(packed))


@given(
    st.binary(min_size=38, max_size=50) | contacts(reachable=False).map(lambda each: each.packed)
)
def test_one_contact_is_read_as_it_is_or_refused(packed: bytes) -> None:
    try:
        assert contact_untrusted(packed).packed == packed
    except RemoteError:
        usable = len(packed) in (38, 50) and not packed.startswith(b"\0" * 10 + b"\xff\xff", 32)
        assert not usable or not is_reachable(Address(packed[32:]))


@pytest.mark.parametrize(("size4", "size6"), [(37, 0), (39, 0), (1, 0), (0, 49), (0, 51), (38, 1)])
def test_a_part_of_a_contact_is_refused(size4: int, size6: int) -> None:
    with pytest.raises(RemoteError, match="contact lists"):
        unpack_contacts_untrusted(bytes(size4), bytes(size6))


def test_an_ipv4_mapped_contact_is_left_out() -> None:
    """Else one peer had two addresses, and limits by subnet would count it twice."""
    mapped = bytes(32) + b"\0" * 10 + b"\xff\xff" + b"\x01\x02\x03\x04" + b"\x0f\xa0"
    assert unpack_contacts_untrusted(b"", mapped) == []


@pytest.mark.parametrize(
    ("flags", "versions"),
    [(WANT_IPV4 | WANT_IPV6, [4, 6]), (WANT_IPV4, [4]), (WANT_IPV6, [6]), (0, []), (1, [])],
)
def test_the_asker_is_told_the_contacts_it_can_use(flags: int, versions: list[int]) -> None:
    both = {
        4: contact_at(KEY32, pack_address("192.0.2.1", 4000)),
        6: contact_at(KEY32, pack_address("2600::1", 4000)),
    }
    assert wanted_contacts(both.values(), flags) == [both[version] for version in versions]


# ---- contacts with marks ----


def marked(mark_size: int = 2, *, reachable: bool = True) -> st.SearchStrategy[Any]:
    marks = st.binary(min_size=mark_size, max_size=mark_size)
    return st.lists(st.tuples(contacts(reachable=reachable), marks), max_size=8)


@given(st.integers(1, 3).flatmap(lambda size: st.tuples(st.just(size), marked(size))))
def test_contacts_and_their_marks_are_packed_and_unpacked(
    sized: tuple[int, list[tuple[Contact, bytes]]],
) -> None:
    mark_size, some = sized
    packed4, packed6, marks = pack_marked(iter(some))
    assert (packed4, packed6) == pack_contacts([each for each, _ in some])
    in_order = sorted(some, key=lambda each: is_ipv6(each[0].address))
    assert marks == b"".join(mark for _, mark in in_order)
    assert marked_untrusted(packed4, packed6, marks, mark_size=mark_size) == in_order


@given(marked(reachable=False))
def test_who_cannot_be_reached_is_left_out_and_the_others_keep_their_marks(
    some: list[tuple[Contact, bytes]],
) -> None:
    in_order = sorted(some, key=lambda each: is_ipv6(each[0].address))
    usable = [each for each in in_order if is_reachable(each[0].address)]
    assert marked_untrusted(*pack_marked(some), mark_size=2) == usable


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=20), st.integers(1, 3))
@example(bytes(38), bytes(50), bytes(4), 2)
@example(b"\1" * 38, b"\1" * 50, bytes(2), 1)
def test_any_bytes_are_marked_contacts_or_a_remote_error(
    packed4: bytes, packed6: bytes, marks: bytes, mark_size: int
) -> None:
    count = len(packed4) // 38 + len(packed6) // 50
    whole = not (len(packed4) % 38 or len(packed6) % 50)
    try:
        found = marked_untrusted(packed4, packed6, marks, mark_size=mark_size)
    except RemoteError:
        assert not whole or len(marks) != count * mark_size
        return
    assert whole
    assert len(marks) == count * mark_size
    assert len(found) <= count
    assert all(is_reachable(each.address) and len(mark) == mark_size for each, mark in found)


@pytest.mark.parametrize(("size4", "size6"), [(37, 0), (39, 0), (0, 49), (38, 1)])
def test_a_part_of_a_marked_contact_is_refused(size4: int, size6: int) -> None:
    with pytest.raises(RemoteError, match="contact lists"):
        marked_untrusted(bytes(size4), bytes(size6), bytes(2), mark_size=2)


@pytest.mark.parametrize("marks", [0, 1, 3, 5, 6])
def test_a_mark_too_few_or_too_many_is_refused(marks: int) -> None:
    with pytest.raises(RemoteError, match="2 contacts with"):
        marked_untrusted(bytes(38), bytes(50), bytes(marks), mark_size=2)


def test_an_ipv4_mapped_contact_is_left_out_with_its_mark() -> None:
    mapped = KEY32 + b"\0" * 10 + b"\xff\xff" + b"\x01\x02\x03\x04" + b"\x0f\xa0"
    six = contact_at(KEY32, pack_address("2600::1", 4000))
    found = marked_untrusted(b"", mapped + six.packed, b"mmss", mark_size=2)
    assert found == [(six, b"ss")]


# ---- copies ----


@given(records(), st.integers(0, MILLISECONDS_MAX))
def test_a_record_travels_whole_when_it_fits(record: Record, remaining_ms: int) -> None:
    copy = copy_of(record, remaining_ms)
    assert copy.remaining_ms == remaining_ms
    assert record_of_untrusted(copy, value_size_max=MIB) == record


@given(records(size_max=100), st.integers(0, 100))
def test_whatever_has_room_the_record_arrives_or_its_head(record: Record, room: int) -> None:
    """Also for values about as long as a hash, which must never be taken for one."""
    copy = copy_of(record, 1, inline_max=room)
    expected: Record | Head = record if len(record.value) <= max(room, 32) else record.head
    if record.kind is Kind.MEMBER and expected is not record:
        with pytest.raises(RemoteError, match="without its value"):
            record_of_untrusted(copy, value_size_max=MIB)
        return
    assert record_of_untrusted(copy, value_size_max=MIB) == expected
    assert len(copy.payload) <= max(room, 32) + (PROOF_SIZE if record.proof else 0)


def test_a_long_value_is_left_behind() -> None:
    value = bytes(VALUE_INLINE_MAX + 1)
    record = Record(
        kind=Kind.CONTENT,
        key=content_key(value_hash(value)),
        version=1,
        written_at_ms=0,
        ttl_ms=1,
        value=value,
    )
    copy = copy_of(record, 1)
    assert copy.payload == value_hash(value)
    head = record_of_untrusted(copy, value_size_max=MIB)
    assert isinstance(head, Head)
    assert head.with_value(value) == record
    with pytest.raises(RemoteError, match="851 bytes"):
        record_of_untrusted(copy, value_size_max=850)


@given(copies())
def test_any_copy_is_a_record_or_a_remote_error(copy: Copy) -> None:
    try:
        record = record_of_untrusted(copy, value_size_max=MIB)
    except RemoteError:
        return
    assert copy.kind in (Kind.PLAIN, Kind.CONTENT)  # nobody draws a signature
    if isinstance(record, Record):
        assert copy_of(record, copy.remaining_ms, inline_max=len(copy.payload)) == copy
    else:
        assert (record.value_hash, record.size) == (copy.payload, copy.size)


@given(keys(), st.integers(0, 2000), st.just(32) | st.integers(0, 1200))
@example(Key(7), 31, 32)
@example(Key(7), 33, 32)
def test_a_payload_is_the_value_or_its_hash(key: Key, size: int, payload: int) -> None:
    """Anything else could be taken for a value by one reader and for a hash by another. And a value
    is no longer than one that fits wherever it is passed on."""
    copy = msgspec.structs.replace(
        copy_of(PLAIN, 1), key=key_bytes(key), size=size, payload=bytes(payload)
    )
    if payload == size <= VALUE_INLINE_MAX:
        assert isinstance(record_of_untrusted(copy, value_size_max=MIB), Record)
    elif payload == 32 < size:
        assert isinstance(record_of_untrusted(copy, value_size_max=MIB), Head)
    else:
        with pytest.raises(RemoteError, match="payload"):
            record_of_untrusted(copy, value_size_max=MIB)


PLAIN = Record(kind=Kind.PLAIN, key=Key(7), version=1, written_at_ms=0, ttl_ms=1, value=b"v")


# ---- who signed it ----


@given(records(kinds=st.sampled_from([Kind.SIGNED, Kind.MEMBER])), st.data())
def test_a_signed_copy_with_any_bit_changed_is_refused(record: Record, data: st.DataObject) -> None:
    """All but what is left of its life, which is the holder's to say."""
    copy = copy_of(record, 1)
    fields = [name for name in Copy.__struct_fields__ if name != "remaining_ms"]
    name = data.draw(st.sampled_from(fields))
    value = getattr(copy, name)
    if isinstance(value, bool):
        changed: Any = not value
    elif isinstance(value, bytes):
        bit = data.draw(st.integers(0, 8 * len(value) - 1))
        changed = bytearray(value)
        changed[bit // 8] ^= 1 << bit % 8
        changed = bytes(changed)
    else:
        changed = value ^ 1 << data.draw(st.integers(0, 62))
    forged = msgspec.structs.replace(copy, **{name: changed})
    try:
        read_copy = decode_untrusted(ID + encode(wire.Store(0, forged, None, 0)))[1]
        assert isinstance(read_copy, wire.Store)
        accepted = record_of_untrusted(read_copy.copy, value_size_max=MIB)
    except RemoteError:
        return
    # A changed kind may lead to one that nobody signs: then it is another record, and says so.
    assert accepted.kind in (Kind.PLAIN, Kind.CONTENT)
    assert name == "kind"


@given(records(kinds=st.sampled_from([Kind.SIGNED, Kind.MEMBER])))
def test_a_signature_cut_short_is_refused(record: Record) -> None:
    copy = copy_of(record, 1)
    for length in (0, 31, 32, 95):
        cut = msgspec.structs.replace(copy, payload=copy.payload[:length], size=0)
        with pytest.raises(RemoteError, match="proof"):
            record_of_untrusted(cut, value_size_max=MIB)


@given(heads())
def test_the_head_of_a_signed_record_travels_with_its_signature(head: Head) -> None:
    if head.kind is not Kind.SIGNED:
        return
    assert head.proof is not None
    copy = Copy(
        kind=head.kind,
        tombstone=False,
        key=head.proof.name,
        version=head.version,
        written_at_ms=head.written_at_ms,
        ttl_ms=head.ttl_ms,
        remaining_ms=1,
        size=head.size,
        payload=head.proof.author + head.proof.signature + head.value_hash,
    )
    assert record_of_untrusted(copy, value_size_max=SIZE_MAX) == head
    damaged = copy.payload[:-1] + bytes([copy.payload[-1] ^ 1])
    with pytest.raises(RemoteError):
        record_of_untrusted(msgspec.structs.replace(copy, payload=damaged), value_size_max=SIZE_MAX)


def test_a_record_that_breaks_a_rule_is_refused_on_arrival() -> None:
    for broken in (attrs.evolve(PLAIN, version=0), attrs.evolve(PLAIN, kind=Kind.CONTENT)):
        with pytest.raises(RemoteError):
            record_of_untrusted(copy_of(broken, 1), value_size_max=MIB)
