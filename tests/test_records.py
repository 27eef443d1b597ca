"""Records: which of two is newer, how long one lives, what its value's hash is, what is refused."""

import struct
from functools import reduce
from hashlib import blake2s

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.author import verify_untrusted
from dht.errors import RemoteError
from dht.keyspace import Key, content_key, signed_key
from dht.records import (
    PIECE_SIZE,
    SIGNED_PREFIX,
    VERSION_MAX,
    Head,
    Kind,
    Proof,
    Record,
    check_untrusted,
    hash_of_pieces,
    is_newer,
    piece_count,
    piece_hashes,
    ttl_max_s,
    value_hash,
)
from tests.strategies import AUTHORS, heads, records, values, versions_of_one_slot

DAY_MS = 24 * 3600 * 1000
MIB = 2**20

PLAIN = Record(
    kind=Kind.PLAIN, key=Key(7), version=5, written_at_ms=1000, ttl_ms=DAY_MS, value=b"v"
)
TOMBSTONE = attrs.evolve(PLAIN, tombstone=True, value=b"")
CONTENT = attrs.evolve(PLAIN, kind=Kind.CONTENT, key=content_key(value_hash(b"v")))

ALICE, EVE = AUTHORS[:2]
NAME = b"n" * 32
UNSIGNED = attrs.evolve(PLAIN, kind=Kind.SIGNED, key=signed_key(ALICE.id.public_key, NAME))
SIGNED = UNSIGNED.signed_by(ALICE, NAME)
MEMBER = attrs.evolve(PLAIN, kind=Kind.MEMBER).signed_by(ALICE)
MEMBER_PROOF = MEMBER.proof or Proof(b"", b"")
AUTHORED = st.sampled_from([Kind.SIGNED, Kind.MEMBER])

# Sizes at which a piece begins or ends.
SIZES = [0, 1, PIECE_SIZE - 1, PIECE_SIZE, PIECE_SIZE + 1, 2 * PIECE_SIZE, 5 * PIECE_SIZE + 3]


def merge(one: Record, other: Record) -> Record:
    """What a store does with two versions of a slot."""
    return other if is_newer(other, one) else one


# ---- order ----


@given(versions_of_one_slot(), versions_of_one_slot())
def test_of_two_versions_one_is_newer_unless_they_are_the_same(one: Record, other: Record) -> None:
    assert is_newer(one, other) + is_newer(other, one) + (one == other) == 1


@given(versions_of_one_slot(), versions_of_one_slot(), versions_of_one_slot())
def test_what_is_newer_than_the_newer_is_newer(a: Record, b: Record, c: Record) -> None:
    a, b, c = sorted((a, b, c), key=lambda record: record.order)
    assert is_newer(c, a) == (c != a)
    assert not is_newer(a, c)


@given(versions_of_one_slot(), versions_of_one_slot(), versions_of_one_slot())
def test_merging_is_commutative_associative_and_idempotent(a: Record, b: Record, c: Record) -> None:
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, a) == a


@given(st.lists(versions_of_one_slot(), min_size=1, max_size=6), st.data())
def test_holders_agree_whatever_order_the_versions_come_in(
    versions: list[Record], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(versions))
    assert reduce(merge, versions) == reduce(merge, shuffled)
    assert reduce(merge, versions) == max(versions, key=lambda record: record.order)


@given(AUTHORED, st.data())
def test_versions_of_an_author_merge_as_plain_ones_do(kind: Kind, data: st.DataObject) -> None:
    versions = data.draw(st.lists(versions_of_one_slot(kind), min_size=1, max_size=4))
    shuffled = data.draw(st.permutations(versions))
    assert len({version.slot for version in versions}) == 1
    assert reduce(merge, versions) == reduce(merge, shuffled)
    assert reduce(merge, versions) == max(versions, key=lambda record: record.order)
    for one in versions:
        assert merge(one, one) is one
        for other in versions:
            assert is_newer(one, other) + is_newer(other, one) + (one == other) == 1
            assert merge(one, other) == merge(other, one)


def test_an_author_who_signs_a_body_twice_makes_two_records_that_are_ordered() -> None:
    """Ed25519 lets an author choose: else two holders might disagree for ever."""
    assert SIGNED.proof is not None
    other = attrs.evolve(SIGNED, proof=SIGNED.proof._replace(signature=bytes(64)))
    assert is_newer(SIGNED, other) != is_newer(other, SIGNED)


@given(versions_of_one_slot(), versions_of_one_slot())
def test_a_head_orders_like_its_record(one: Record, other: Record) -> None:
    """So that a holder knows before it pulls a long value whether it wants it."""
    assert one.head.order == one.order
    assert is_newer(one.head, other) == is_newer(one, other.head) == is_newer(one, other)


def test_a_higher_version_wins_even_over_a_tombstone() -> None:
    assert is_newer(attrs.evolve(PLAIN, version=6), TOMBSTONE)
    assert not is_newer(PLAIN, attrs.evolve(PLAIN, version=6))


@given(values(size_max=3), st.integers(1, DAY_MS))
def test_of_one_version_the_tombstone_wins(value: bytes, ttl_ms: int) -> None:
    assert is_newer(TOMBSTONE, attrs.evolve(PLAIN, value=value, ttl_ms=ttl_ms))


@pytest.mark.parametrize(
    "change",
    [
        *({"kind": Kind.CONTENT}, {"key": Key(8)}, {"written_at_ms": 1001}, {"ttl_ms": 1}),
        *({"value": b"w"}, {"tombstone": True}, {"version": 6}),
    ],
)
def test_every_field_is_part_of_the_order(change: dict[str, object]) -> None:
    """Two records that differ anywhere never pass for the same."""
    changed = attrs.evolve(PLAIN, **change)  # type: ignore[arg-type]
    assert changed.order != PLAIN.order
    assert changed.head.body != PLAIN.head.body


@given(records())
def test_the_body_by_hand(record: Record) -> None:
    """98 bytes, as docs/protocol.md has them, and 32 of the author's."""
    body = struct.pack(">BB", record.kind, record.tombstone) + bytes.fromhex(record.key.hex())
    body += struct.pack(">QQQ", record.version, record.written_at_ms, record.ttl_ms)
    body += struct.pack(">Q", len(record.value)) + value_hash(record.value)
    assert len(body) == 98
    signature = b""
    if record.proof is not None:
        body += record.proof.author
        signature = record.proof.signature
    assert record.head.body == body
    assert record.order[2] == blake2s(body + signature, person=b"dht body").digest()


@given(records())
def test_a_record_is_its_head_and_its_value(record: Record) -> None:
    assert record.head.with_value(record.value) == record


def test_a_long_value_is_not_shown() -> None:
    assert "b'v'" in repr(PLAIN)
    assert "<33 bytes>" in repr(attrs.evolve(PLAIN, value=bytes(33)))


# ---- lifetimes ----


def test_lifetimes() -> None:
    assert ttl_max_s(Kind.PLAIN) == 24 * 3600
    assert ttl_max_s(Kind.CONTENT) == 7 * 24 * 3600


def test_a_tombstone_outlives_every_record_it_can_meet() -> None:
    """A record is refused 24 h after its end at the latest; until then the tombstone stands."""
    for kind in Kind:
        assert ttl_max_s(kind, tombstone=True) == ttl_max_s(kind) + 24 * 3600


# ---- the hash of a value ----


def naive_value_hash(value: bytes) -> bytes:
    pieces = [value[i : i + 16384] for i in range(0, len(value), 16384)] or [b""]
    hashes = [blake2s(piece, person=b"dht piec").digest() for piece in pieces]
    return blake2s(b"".join(hashes), person=b"dht valu").digest()


@pytest.mark.parametrize("size", SIZES)
def test_a_value_hash_is_the_hash_over_the_hashes_of_its_pieces(size: int) -> None:
    value = bytes(n % 251 for n in range(size))
    hashes = piece_hashes(value)
    assert value_hash(value) == hash_of_pieces(hashes) == naive_value_hash(value)
    assert len(hashes) == 32 * piece_count(size)


@given(st.binary(max_size=100), st.integers(0, 3 * PIECE_SIZE))
def test_the_hash_of_any_value_is_that_of_five_lines(value: bytes, repeated: int) -> None:
    long_value = (value or b"-") * (repeated // max(1, len(value)))
    for each in (value, long_value):
        assert value_hash(each) == naive_value_hash(each)


@pytest.mark.parametrize("size", SIZES)
def test_each_piece_is_checked_by_its_own_hash(size: int) -> None:
    value = bytes(n % 251 for n in range(size))
    hashes = piece_hashes(value)
    for number in range(piece_count(size)):
        piece = value[number * PIECE_SIZE : (number + 1) * PIECE_SIZE]
        assert piece_hashes(piece) == hashes[32 * number : 32 * (number + 1)]


def test_a_list_of_piece_hashes_is_not_the_value_that_it_spells() -> None:
    """Else a holder could pass the list off as the value."""
    value = bytes(PIECE_SIZE + 1)
    assert value_hash(piece_hashes(value)) != value_hash(value)


# ---- what is refused ----


@given(records(size_max=100), st.integers(100, MIB))
def test_every_valid_record_passes_and_so_does_its_head(record: Record, size_max: int) -> None:
    check_untrusted(record, value_size_max=size_max)
    if record.kind is not Kind.MEMBER:  # which never travels without its value
        check_untrusted(record.head, value_size_max=size_max)
    assert record.head.size <= size_max


@given(heads())
def test_every_valid_head_passes(head: Head) -> None:
    check_untrusted(head, value_size_max=head.size)
    with pytest.raises(RemoteError, match="bytes"):
        check_untrusted(head, value_size_max=head.size - 1)


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (attrs.evolve(PLAIN, version=0), "version"),
        (attrs.evolve(PLAIN, version=VERSION_MAX + 1), "version"),
        (attrs.evolve(PLAIN, ttl_ms=0), "ttl"),
        (attrs.evolve(PLAIN, ttl_ms=DAY_MS + 1), "ttl"),
        (attrs.evolve(TOMBSTONE, ttl_ms=2 * DAY_MS + 1), "ttl"),
        (attrs.evolve(CONTENT, ttl_ms=7 * DAY_MS + 1), "ttl"),
        (attrs.evolve(PLAIN, value=bytes(MIB + 1)), "bytes"),
        (attrs.evolve(TOMBSTONE, value=b"v"), "tombstone"),
        (attrs.evolve(CONTENT, tombstone=True), "tombstone"),
        (attrs.evolve(CONTENT, tombstone=True, value=b""), "tombstone"),
        (attrs.evolve(CONTENT, value=b"w"), "does not match"),
        (attrs.evolve(CONTENT, key=Key(7)), "does not match"),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused(record: Record, complaint: str) -> None:
    for each in (record, record.head):
        with pytest.raises(RemoteError, match=complaint):
            check_untrusted(each, value_size_max=MIB)


@pytest.mark.parametrize(
    "record",
    [
        attrs.evolve(PLAIN, version=1, ttl_ms=1, written_at_ms=0, value=b""),
        attrs.evolve(PLAIN, version=VERSION_MAX, ttl_ms=DAY_MS, value=bytes(MIB)),
        attrs.evolve(TOMBSTONE, ttl_ms=2 * DAY_MS),
        attrs.evolve(CONTENT, ttl_ms=7 * DAY_MS),
    ],
)
def test_the_edges_are_within(record: Record) -> None:
    """The other side of each rule above; a wrong one raises."""
    check_untrusted(record, value_size_max=MIB)
    check_untrusted(record.head, value_size_max=MIB)
    assert record.head.size == len(record.value)


# ---- who signed it ----


def test_what_is_signed_by_hand() -> None:
    """The prefix and the body, which ends in the author: everything but the signature."""
    assert SIGNED.proof is not None
    assert SIGNED.author == ALICE.id
    assert SIGNED.proof.signature == ALICE.sign(b"dht signed record 1\n" + SIGNED.head.body)
    assert SIGNED.head.body.endswith(ALICE.id.public_key)
    verify_untrusted(ALICE.id.public_key, SIGNED.proof.signature, SIGNED_PREFIX + SIGNED.head.body)


def test_what_its_author_signed_passes_and_so_does_its_head() -> None:
    for each in (SIGNED, SIGNED.head, MEMBER):
        check_untrusted(each, value_size_max=MIB)
    assert SIGNED.head.with_value(SIGNED.value) == SIGNED
    assert (PLAIN.author, MEMBER.author) == (None, ALICE.id)


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (UNSIGNED, "without one"),
        (attrs.evolve(PLAIN, kind=Kind.MEMBER), "without one"),
        (attrs.evolve(SIGNED, key=Key(7)), "whose key"),
        (attrs.evolve(UNSIGNED, key=Key(7)).signed_by(ALICE, NAME), "whose key"),
        (UNSIGNED.signed_by(EVE, NAME), "whose key"),
        (UNSIGNED.signed_by(ALICE, b"m" * 32), "whose key"),
        (attrs.evolve(MEMBER, proof=MEMBER_PROOF._replace(author=EVE.id.public_key)), "signature"),
        (attrs.evolve(SIGNED, kind=Kind.MEMBER), "with a name"),
        (attrs.evolve(PLAIN, kind=Kind.MEMBER, value=bytes(851)).signed_by(ALICE), "851"),
        (MEMBER.head, "without its value"),
        (attrs.evolve(SIGNED, ttl_ms=7 * DAY_MS + 1), "ttl"),
        (attrs.evolve(SIGNED, tombstone=True), "tombstone"),
        *(
            (attrs.evolve(record, **change), "signature")
            for record in (SIGNED, MEMBER)
            for change in (
                {"version": 6},
                {"written_at_ms": 1001},
                {"ttl_ms": DAY_MS - 1},
                {"value": b"w"},
                {"value": b""},
                {"value": b"", "tombstone": True},
            )
        ),
    ],
)
def test_what_its_author_did_not_sign_is_refused(record: Record | Head, complaint: str) -> None:
    with pytest.raises(RemoteError, match=complaint):
        check_untrusted(record, value_size_max=MIB)


def test_a_signature_for_something_else_is_none_for_a_record() -> None:
    """Without the prefix whoever signs other things for us would sign records."""
    assert SIGNED.proof is not None
    bare = attrs.evolve(SIGNED, proof=SIGNED.proof._replace(signature=ALICE.sign(SIGNED.head.body)))
    with pytest.raises(RemoteError, match="signature"):
        check_untrusted(bare, value_size_max=MIB)


def test_a_member_of_one_topic_is_none_of_another() -> None:
    with pytest.raises(RemoteError, match="signature"):
        check_untrusted(attrs.evolve(MEMBER, key=Key(8)), value_size_max=MIB)


def test_slots_are_told_apart_by_kind_key_and_of_members_the_author() -> None:
    others = [PLAIN, SIGNED, MEMBER, attrs.evolve(PLAIN, kind=Kind.MEMBER).signed_by(EVE)]
    assert len({record.slot for record in others}) == len(others)
    assert SIGNED.slot == (Kind.SIGNED, SIGNED.key, b"")
    assert MEMBER.slot == (Kind.MEMBER, MEMBER.key, ALICE.id.public_key)


def test_what_is_cheap_is_checked_before_the_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threat: 120 us of ours for each datagram of a flood that a comparison could turn away."""

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("dht.records.verify_untrusted", never)
    wrong = [
        attrs.evolve(SIGNED, version=0),
        attrs.evolve(SIGNED, ttl_ms=0),
        attrs.evolve(SIGNED, key=Key(7)),
        attrs.evolve(SIGNED, value=bytes(MIB + 1)),
        attrs.evolve(MEMBER, value=bytes(851)),
        UNSIGNED,
    ]
    for each in wrong:
        with pytest.raises(RemoteError):
            check_untrusted(each, value_size_max=MIB)


def test_a_copy_that_was_verified_is_not_verified_again_and_a_forged_one_always_is() -> None:
    verify_untrusted.cache_clear()
    for _ in range(3):
        check_untrusted(SIGNED, value_size_max=MIB)
    assert verify_untrusted.cache_info().misses == 1
    for _ in range(3):
        with pytest.raises(RemoteError):
            check_untrusted(attrs.evolve(SIGNED, value=b"w"), value_size_max=MIB)
    # What was forged is not remembered: a flood of it pushes nothing out.
    info = verify_untrusted.cache_info()
    assert (info.misses, info.currsize) == (4, 1)
    assert info.maxsize is not None
