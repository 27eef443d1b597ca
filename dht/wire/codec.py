"""bytes <-> messages, and nothing else. No state.

Functions that read network bytes end in ``_untrusted`` and can raise only ``RemoteError``.
"""

from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from ..author import AUTHOR_KEY_SIZE, SIGNATURE_SIZE
from ..config import VALUE_INLINE_MAX
from ..contacts import (
    ADDRESS4_SIZE,
    ADDRESS6_SIZE,
    CONTACT4_SIZE,
    CONTACT6_SIZE,
    Address,
    Contact,
    is_reachable,
    unpack_contact,
)
from ..errors import RemoteError
from ..identity import PUBLIC_KEY_SIZE
from ..keyspace import Key, key_bytes, signed_key
from ..records import HASH_SIZE, Head, Kind, Proof, Record, check_untrusted, value_hash
from .messages import REQUEST_ID_SIZE, WANT_IPV4, WANT_IPV6, Copy, Message

_IPV4_MAPPED = b"\0" * 10 + b"\xff\xff"
_KINDS = {int(kind): kind for kind in Kind}

#: Bytes before the value, or before its hash, in the copy of a record that has an author.
PROOF_SIZE = AUTHOR_KEY_SIZE + SIGNATURE_SIZE
#: A copy without its payload, at its longest: the array, kind, tombstone, key, four numbers of 9,
#: the size and the payload's length.
COPY_RESERVE = 1 + 1 + 1 + 34 + 4 * 9 + 5 + 3

#: The body of a message: what follows the request id. The same body may go to many peers.
encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def decode_untrusted(frame: bytes) -> tuple[bytes, Message]:
    """The request id and the message of a frame. Raises ``RemoteError`` for anything else."""
    try:
        return frame[:REQUEST_ID_SIZE], _decode(frame[REQUEST_ID_SIZE:])
    except msgspec.DecodeError as error:
        raise RemoteError(f"not a message: {error}") from None


def pack_contacts(contacts: Iterable[Contact]) -> tuple[bytes, bytes]:
    """The packed IPv4 contacts and the packed IPv6 contacts, each in the order given."""
    packed = [contact.packed for contact in contacts]
    joined = b"".join(packed)
    if len(joined) == CONTACT4_SIZE * len(packed):  # the shorter ones all
        return joined, b""
    packed4 = [each for each in packed if len(each) == CONTACT4_SIZE]
    return b"".join(packed4), b"".join([each for each in packed if len(each) != CONTACT4_SIZE])


def unpack_contacts_untrusted(contacts4: bytes, contacts6: bytes) -> list[Contact]:
    """The contacts of an answer, without those whose address nobody can be reached at.

    Raises ``RemoteError`` for a list with a part of a contact. The length of a datagram bounds
    how many there are.
    """
    if len(contacts4) % CONTACT4_SIZE or len(contacts6) % CONTACT6_SIZE:
        raise RemoteError(f"contact lists of {len(contacts4)} and {len(contacts6)} bytes")
    chunks = _chunks(contacts4, CONTACT4_SIZE)
    for chunk in _chunks(contacts6, CONTACT6_SIZE):
        if not chunk.startswith(_IPV4_MAPPED, PUBLIC_KEY_SIZE):  # one peer, one address
            chunks.append(chunk)
    return [contact for contact in map(unpack_contact, chunks) if contact.reachable]


def pack_marked(marked: Iterable[tuple[Contact, bytes]]) -> tuple[bytes, bytes, bytes]:
    """Contacts that each have a mark of some bytes: the packed IPv4 contacts, the packed IPv6
    contacts, and the marks in that order."""
    marked = list(marked)
    four = [each for each in marked if len(each[0].packed) == CONTACT4_SIZE]
    six = [each for each in marked if len(each[0].packed) != CONTACT4_SIZE]
    return (
        b"".join([contact.packed for contact, _ in four]),
        b"".join([contact.packed for contact, _ in six]),
        b"".join([mark for _, mark in (*four, *six)]),
    )


def marked_untrusted(
    contacts4: bytes, contacts6: bytes, marks: bytes, *, mark_size: int
) -> list[tuple[Contact, bytes]]:
    """The contacts with their marks, without those that nobody can be reached at.

    Raises ``RemoteError`` for a list with a part of a contact, or with more or fewer marks.
    """
    if len(contacts4) % CONTACT4_SIZE or len(contacts6) % CONTACT6_SIZE:
        raise RemoteError(f"contact lists of {len(contacts4)} and {len(contacts6)} bytes")
    count = len(contacts4) // CONTACT4_SIZE + len(contacts6) // CONTACT6_SIZE
    if len(marks) != count * mark_size:
        raise RemoteError(f"{count} contacts with {len(marks)} bytes of marks")
    chunks = _chunks(contacts4, CONTACT4_SIZE) + _chunks(contacts6, CONTACT6_SIZE)
    found = []
    for chunk, mark in zip(chunks, _chunks(marks, mark_size), strict=True):
        if len(chunk) == CONTACT6_SIZE and chunk.startswith(_IPV4_MAPPED, PUBLIC_KEY_SIZE):
            continue  # one peer, one address
        contact = unpack_contact(chunk)
        if contact.reachable:
            found.append((contact, mark))
    return found


def _chunks(packed: bytes, size: int) -> list[bytes]:
    return [packed[start : start + size] for start in range(0, len(packed), size)]


def address_untrusted(packed: bytes) -> Address:
    """A packed address. Raises ``RemoteError`` for one that nobody can be reached at."""
    if len(packed) not in (ADDRESS4_SIZE, ADDRESS6_SIZE) or packed.startswith(_IPV4_MAPPED):
        raise RemoteError(f"an address of {len(packed)} bytes: {packed.hex()}")
    address = Address(packed)
    if not is_reachable(address):
        raise RemoteError(f"nobody can be reached at {packed.hex()}")
    return address


def contact_untrusted(packed: bytes) -> Contact:
    """A packed contact. Raises ``RemoteError`` for one that nobody can be reached at."""
    address_untrusted(packed[PUBLIC_KEY_SIZE:])
    return unpack_contact(packed)


def wanted_contacts(contacts: Iterable[Contact], flags: int) -> list[Contact]:
    """Those whose address family the asker has a use for."""
    both = WANT_IPV4 | WANT_IPV6
    if flags & both == both:
        return list(contacts)
    if not flags & both:
        return []
    size = CONTACT4_SIZE if flags & WANT_IPV4 else CONTACT6_SIZE
    return [contact for contact in contacts if len(contact.packed) == size]


def copy_of(
    record: Record,
    remaining_ms: int,
    *,
    inline_max: int = VALUE_INLINE_MAX,
    digest: Callable[[], bytes] | None = None,
) -> Copy:
    """The record as it travels. A value longer than ``inline_max`` stays behind: its hash goes,
    which ``digest`` gives if it is known without hashing the value again.

    One that is no longer than its hash always travels itself: a hash in the place of 32 bytes
    would be taken for them.
    """
    size = len(record.value)
    payload = (
        record.value
        if size <= max(inline_max, HASH_SIZE)
        else (digest or partial(value_hash, record.value))()
    )
    proof = record.proof
    if proof is not None:
        payload = proof.author + proof.signature + payload
    return Copy(
        kind=record.kind,
        tombstone=record.tombstone,
        key=proof.name if proof is not None and proof.name else key_bytes(record.key),
        version=record.version,
        written_at_ms=record.written_at_ms,
        ttl_ms=record.ttl_ms,
        remaining_ms=remaining_ms,
        size=size,
        payload=payload,
    )


def record_of_untrusted(copy: Copy, *, value_size_max: int) -> Record | Head:
    """The record that travelled, checked; a ``Head`` when its value has to be fetched.

    Raises ``RemoteError`` for one that breaks a rule of its kind.
    """
    kind = _KINDS[copy.kind]
    payload, proof = copy.payload, None
    if kind > Kind.CONTENT:
        payload, proof = _split_untrusted(kind, copy)
    key = (
        signed_key(proof.author, proof.name)
        if proof is not None and proof.name
        else Key(int.from_bytes(copy.key))
    )
    record: Record | Head
    if len(payload) == copy.size <= VALUE_INLINE_MAX:
        record = Record(
            kind=kind,
            key=key,
            version=copy.version,
            written_at_ms=copy.written_at_ms,
            ttl_ms=copy.ttl_ms,
            tombstone=copy.tombstone,
            value=payload,
            proof=proof,
        )
    elif len(payload) == HASH_SIZE < copy.size:
        record = Head(
            kind=kind,
            key=key,
            version=copy.version,
            written_at_ms=copy.written_at_ms,
            ttl_ms=copy.ttl_ms,
            tombstone=copy.tombstone,
            size=copy.size,
            value_hash=payload,
            proof=proof,
        )
    else:
        raise RemoteError(f"a value of {copy.size} bytes with a payload of {len(payload)}")
    check_untrusted(record, value_size_max=value_size_max)
    return record


def _split_untrusted(kind: Kind, copy: Copy) -> tuple[bytes, Proof]:
    """The value, or its hash, and who signed it. Raises ``RemoteError`` for a part of a proof."""
    payload = copy.payload
    if len(payload) < PROOF_SIZE:
        raise RemoteError(f"a payload of {len(payload)} bytes, of which {PROOF_SIZE} are a proof")
    proof = Proof(
        payload[:AUTHOR_KEY_SIZE],
        payload[AUTHOR_KEY_SIZE:PROOF_SIZE],
        copy.key if kind is Kind.SIGNED else b"",
    )
    return payload[PROOF_SIZE:], proof
