"""The space that data and nodes share: 256-bit integers under the XOR metric.

Everything that knows how a key is made or how near two keys are lives in this file. Routing and
lookup take keys as plain integers and never assume 256 bits: their tests use 8.
"""

import re
from collections.abc import Iterable
from hashlib import blake2s
from typing import final

from .errors import LocalError

KEY_BITS = 256
KEY_SIZE = KEY_BITS // 8

# BLAKE2s "person" tags (at most 8 bytes, RFC 7693 section 2.8): one for each use, so that a hash
# made for one purpose is worthless for another.
_PLAIN_TAG = b"dht plai"
_CONTENT_TAG = b"dht cont"
_NODE_TAG = b"dht node"
_NAME_TAG = b"dht name"
_SIGNED_TAG = b"dht sign"
_TOPIC_TAG = b"dht memb"
_PUZZLE_TAG = b"dht puzz"

_HEX = re.compile(f"[0-9a-fA-F]{{{KEY_SIZE * 2}}}")


@final
class Key(int):
    """A place in the key space: an ``int`` below 2**256 with a short ``repr``.

    A subclass without state, so that the hot path, which works on plain integers, never pays for
    a wrapper: every operator of ``int`` gives an ``int``.
    """

    __slots__ = ()

    def __new__(cls, value: int) -> "Key":
        if not isinstance(value, int) or not 0 <= value < 1 << KEY_BITS:
            raise LocalError(f"a key is an integer from 0 to 2**{KEY_BITS} - 1, got {value!r}")
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return f"Key({self.hex()[:12]}…)"

    __str__ = __repr__

    def hex(self) -> str:
        """All 64 hexadecimal digits; ``Key.from_hex`` undoes it."""
        return f"{int(self):0{KEY_SIZE * 2}x}"

    @classmethod
    def from_hex(cls, text: str) -> "Key":
        """The key that ``hex`` wrote. Raises ``LocalError`` on anything else."""
        if not isinstance(text, str) or not _HEX.fullmatch(text):
            raise LocalError(f"expected {KEY_SIZE * 2} hexadecimal digits, got {text!r}")
        return cls(int(text, 16))


def key_bytes(key: int) -> bytes:
    """The 32 bytes of a key, most significant first."""
    return key.to_bytes(KEY_SIZE)


def _hash(tag: bytes, data: bytes) -> Key:
    return Key(int.from_bytes(blake2s(data, person=tag).digest()))


def plain_key(application_key: str | bytes | Key) -> Key:
    """Where a plain record lives: the tagged BLAKE2s-256 of the application's key.

    A ``str`` means its UTF-8 bytes; a ``Key`` is a place already and comes back unchanged.
    Raises ``LocalError`` for any other type.
    """
    if isinstance(application_key, Key):
        return application_key
    return _hash(_PLAIN_TAG, _bytes_of(application_key))


def _bytes_of(application_key: object) -> bytes:
    if isinstance(application_key, str):
        return application_key.encode("utf-8", "surrogatepass")
    if isinstance(application_key, bytes | bytearray | memoryview):
        return bytes(application_key)
    raise LocalError(
        f"a key is a str, bytes or dht.Key, got {application_key!r} "
        f"({type(application_key).__name__}); encode it first"
    )


def record_name(application_key: str | bytes | Key, network_id: bytes) -> bytes:
    """The name by which an author's record travels: 32 bytes that do not tell the application's
    key to whoever cannot guess it, and that no other network's record has.

    Raises ``LocalError`` for a ``Key``, which is a place: that of a signed record hangs on its
    author as well.
    """
    if isinstance(application_key, Key):
        raise LocalError(
            f"with an author a key is a str or bytes, got the place {application_key!r}: where a "
            "signed record lives is made of its author and its key"
        )
    return blake2s(network_id + _bytes_of(application_key), person=_NAME_TAG).digest()


def signed_key(author: bytes, name: bytes) -> Key:
    """Where a signed record lives: ``author`` is a public key, ``name`` a ``record_name``.

    Whoever holds the record can make it, and so check it, without the application's key.
    """
    return _hash(_SIGNED_TAG, author + name)


def topic_key(topic: str | bytes | Key, network_id: bytes) -> Key:
    """Where the members of a topic live; a ``Key`` is a place already. Raises ``LocalError``."""
    if isinstance(topic, Key):
        return topic
    return _hash(_TOPIC_TAG, network_id + _bytes_of(topic))


def content_key(value_hash: bytes) -> Key:
    """Where a content record lives: derived from the hash of its value, so it checks itself."""
    return _hash(_CONTENT_TAG, value_hash)


def node_id(public_key: bytes) -> Key:
    """The id of the node that owns this X25519 public key: nobody chooses an id."""
    return _hash(_NODE_TAG, public_key)


def solves_puzzle(node_id: int, bits: int) -> bool:
    """Does the BLAKE2s of a node id begin with so many zero bits? The dearer an id, the dearer a
    thousand of them: S/Kademlia's crypto puzzle (Baumgart & Mies 2007, section 4.1)."""
    if not bits:
        return True
    digest = blake2s(key_bytes(node_id), person=_PUZZLE_TAG).digest()
    return int.from_bytes(digest) >> (KEY_BITS - bits) == 0


def distance(a: int, b: int) -> int:
    """The XOR metric (Maymounkov & Mazières 2002, section 2.1)."""
    return a ^ b


def common_prefix_length(a: int, b: int, bits: int = KEY_BITS) -> int:
    """How many leading bits two keys share: ``bits`` when they are equal."""
    return bits - (a ^ b).bit_length()


def owners(key: int, node_ids: Iterable[int], replicas: int) -> list[int]:
    """The ``replicas`` ids closest to ``key``, nearest first: consistent hashing.

    When a node joins or leaves, only the keys that it gains or loses change an owner.
    """
    return sorted(node_ids, key=key.__xor__)[:replicas]
