"""Records: what is stored, which of two is newer, how long one lives.

Everything that decides whether a record is valid and which version wins is in this file. A record's
kind fixes how its key is derived and checked; records of different kinds never share a slot.
Plain values (``Record``), no clock: callers pass times in.
"""

import struct
from enum import IntEnum
from hashlib import blake2s
from typing import NamedTuple, final

import attrs

from .author import Author, AuthorId, verify_untrusted
from .config import GRACE_S, LONG_TTL_MAX_S, PLAIN_TTL_MAX_S, VALUE_INLINE_MAX
from .errors import RemoteError
from .keyspace import Key, content_key, key_bytes, signed_key

VERSION_MAX = 2**63 - 1
#: A large value is checked piece by piece: a wrong byte costs at most one piece.
PIECE_SIZE = 16 * 1024
HASH_SIZE = 32
#: A member's value travels inside of every page that names it. Threat: a topic whose every member
#: offers a megabyte, all of which whoever asks for its members would have to fetch.
MEMBER_SIZE_MAX = VALUE_INLINE_MAX
#: What authors sign begins so: a signature made for anything else is worthless here.
SIGNED_PREFIX = b"dht signed record 1\n"

_PIECE_TAG = b"dht piec"
_VALUE_TAG = b"dht valu"
_BODY_TAG = b"dht body"

_REPR_MAX = 32  # bytes of a value that a repr shows

# kind, flags, key, version, written_at (ms), ttl (ms), size, value hash
_BODY = struct.Struct(">BB32sQQQQ32s")


@final
class Kind(IntEnum):
    """How a record's key is derived and who may write it."""

    PLAIN = 1
    """Anyone in the network; the key is a hash of the application's key."""
    CONTENT = 2
    """Immutable: the key is derived from the value's hash, so the record checks itself."""
    SIGNED = 3
    """One author's, who signs it; the key is derived from the author and the application's key."""
    MEMBER = 4
    """One author's entry under a topic, signed: a slot is a key *and* an author."""


_TTL_MAX_S = {
    Kind.PLAIN: PLAIN_TTL_MAX_S,
    Kind.CONTENT: LONG_TTL_MAX_S,
    Kind.SIGNED: LONG_TTL_MAX_S,
    Kind.MEMBER: LONG_TTL_MAX_S,
}


def ttl_max_s(kind: Kind, *, tombstone: bool = False) -> float:
    """The longest life of a record, in seconds. A tombstone outlives whatever it deletes."""
    return _TTL_MAX_S[kind] + (GRACE_S if tombstone else 0.0)


def piece_hashes(value: bytes) -> bytes:
    """The 32-byte hashes of the value's 16-KiB pieces, one after the other. An empty value has
    one empty piece."""
    return b"".join(
        blake2s(value[start : start + PIECE_SIZE], person=_PIECE_TAG).digest()
        for start in range(0, max(1, len(value)), PIECE_SIZE)
    )


def hash_of_pieces(hashes: bytes) -> bytes:
    """The value hash that a list of piece hashes stands for."""
    return blake2s(hashes, person=_VALUE_TAG).digest()


def value_hash(value: bytes) -> bytes:
    """The 32-byte hash of a value: the hash over the hashes of its pieces."""
    return hash_of_pieces(piece_hashes(value))


def piece_count(size: int) -> int:
    return max(1, -(-size // PIECE_SIZE))


@final
class Proof(NamedTuple):
    """Who vouches for a record of the kinds that have an author. Replicas pass it on unchanged."""

    #: The author's public key.
    author: bytes
    signature: bytes
    #: Of a signed record: what its key is made of beside the author (``keyspace.record_name``).
    name: bytes = b""


#: What tells slots apart: kind, key, and of a member its author's public key, else nothing.
Slot = tuple[Kind, Key, bytes]


@final
@attrs.frozen(kw_only=True)
class Head:
    """A record without its value: what travels first when the value is too long for a datagram."""

    kind: Kind
    key: Key
    version: int
    written_at_ms: int
    ttl_ms: int
    tombstone: bool
    size: int
    value_hash: bytes = attrs.field(repr=bytes.hex)
    proof: Proof | None = attrs.field(default=None, repr=False)

    @property
    def body(self) -> bytes:
        """The canonical bytes: every field, at one fixed place; the author, if any, at the end.

        This is what authors sign. The name of a signed record is in it by way of the key.
        """
        body = _BODY.pack(
            self.kind,
            self.tombstone,
            key_bytes(self.key),
            self.version,
            self.written_at_ms,
            self.ttl_ms,
            self.size,
            self.value_hash,
        )
        return body if self.proof is None else body + self.proof.author

    @property
    def order(self) -> tuple[int, bool, bytes]:
        """Newer compares greater: version, then tombstones, then the hash of the body (and of its
        signature: an author who signs the same body twice makes two records, which are ordered).

        Total over all records of a slot, so merging is commutative, associative and idempotent.
        """
        body = self.body if self.proof is None else self.body + self.proof.signature
        return (self.version, self.tombstone, blake2s(body, person=_BODY_TAG).digest())

    def with_value(self, value: bytes) -> "Record":
        """The whole record, once the value was pulled and its hash checked."""
        return Record(
            kind=self.kind,
            key=self.key,
            version=self.version,
            written_at_ms=self.written_at_ms,
            ttl_ms=self.ttl_ms,
            tombstone=self.tombstone,
            value=value,
            proof=self.proof,
        )


def _short(value: bytes) -> str:
    return repr(value) if len(value) <= _REPR_MAX else f"<{len(value)} bytes>"


@final
@attrs.frozen(kw_only=True)
class Record:
    """One version of what a key holds.

    ``version`` is the writer's clock in milliseconds, always above the version it replaces;
    ``written_at_ms`` and ``ttl_ms`` are the writer's too: nobody else makes a record live longer.
    A tombstone stands for "deleted" and has no value.
    """

    kind: Kind
    key: Key
    version: int
    written_at_ms: int
    ttl_ms: int
    tombstone: bool = False
    value: bytes = attrs.field(repr=_short)
    proof: Proof | None = attrs.field(default=None, repr=False)

    @property
    def author(self) -> AuthorId | None:
        """Who signed it; None for the kinds that nobody signs."""
        return None if self.proof is None else AuthorId(self.proof.author)

    @property
    def slot(self) -> Slot:
        """What it contends for with other records."""
        return self.kind, self.key, member_of(self)

    @property
    def head(self) -> Head:
        """The record without its value."""
        return Head(
            kind=self.kind,
            key=self.key,
            version=self.version,
            written_at_ms=self.written_at_ms,
            ttl_ms=self.ttl_ms,
            tombstone=self.tombstone,
            size=len(self.value),
            value_hash=value_hash(self.value),
            proof=self.proof,
        )

    def signed_by(self, author: Author, name: bytes = b"") -> "Record":
        """The same with its author's signature. ``name`` is a signed record's."""
        unsigned = attrs.evolve(self, proof=Proof(author.id.public_key, b"", name))
        signature = author.sign(SIGNED_PREFIX + unsigned.head.body)
        return attrs.evolve(self, proof=Proof(author.id.public_key, signature, name))

    @property
    def order(self) -> tuple[int, bool, bytes]:
        """See ``Head.order``."""
        return self.head.order


def member_of(record: Record | Head) -> bytes:
    """The author's public key, which is a part of a member's slot; of any other kind nothing."""
    return record.proof.author if record.kind is Kind.MEMBER and record.proof is not None else b""


def is_newer(one: Record | Head, other: Record | Head) -> bool:
    """Does ``one`` replace ``other``? Hashes only when the versions are the same."""
    if one.version != other.version:
        return one.version > other.version
    return one is not other and one.order > other.order


def check_untrusted(record: Record | Head, *, value_size_max: int) -> None:
    """Raises ``RemoteError`` unless the record can be what it says it is.

    Cheap checks first; the hash of a content record and an author's signature last. Says nothing
    about clocks: that is the store's business.
    """
    size = len(record.value) if isinstance(record, Record) else record.size
    if not 1 <= record.version <= VERSION_MAX:
        raise RemoteError(f"version {record.version} is outside 1 to 2**63 - 1")
    if not 1 <= record.ttl_ms <= ttl_max_s(record.kind, tombstone=record.tombstone) * 1000:
        raise RemoteError(f"a ttl of {record.ttl_ms} ms")
    if size > value_size_max:
        raise RemoteError(f"a value of {size} bytes")
    if record.tombstone and (size or record.kind is Kind.CONTENT):
        raise RemoteError("a tombstone with a value, or of a kind that has none")
    if record.kind is Kind.CONTENT:
        digest = record.value_hash if isinstance(record, Head) else value_hash(record.value)
        if content_key(digest) != record.key:
            raise RemoteError("a content record whose value does not match its key")
    elif record.kind is not Kind.PLAIN:
        _check_proof_untrusted(record, size)


def _check_proof_untrusted(record: Record | Head, size: int) -> None:
    proof = record.proof
    if proof is None:
        raise RemoteError("a record of an author, without one")
    if record.kind is Kind.SIGNED:
        if signed_key(proof.author, proof.name) != record.key:
            raise RemoteError("a signed record whose key is not of its author and its name")
    elif isinstance(record, Head) or size > MEMBER_SIZE_MAX or proof.name:
        raise RemoteError(f"a member with {size} bytes, without its value, or with a name")
    head = record if isinstance(record, Head) else record.head
    verify_untrusted(proof.author, proof.signature, SIGNED_PREFIX + head.body)
