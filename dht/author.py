"""Who writes signed records: an Ed25519 key pair, and its public half, which readers hold.

An author is no node. A node's X25519 keys make sessions and nothing else (the Noise specification,
section 14), it comes and goes, and one author may write through many nodes.
"""

from base64 import b32decode, b32encode
from functools import lru_cache
from hashlib import blake2s
from random import Random
from typing import Self, final

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from .errors import LocalError, RemoteError

AUTHOR_KEY_SIZE = 32
SIGNATURE_SIZE = 64
#: What stands before an author's id where people read it.
TEXT_PREFIX = "author:"

_TEXT_TAG = b"dht auth"
# 32 and 3 bytes are 56 letters of base32 without padding, so that there is one spelling; 24 bits
# find a wrong letter: of a mistyped id a reader would only hear that nobody has the record.
_CHECK_SIZE = 3

#: Memory: signatures known to be right, about 600 B each. Verifying one takes 120 µs, looking one
#: up less than 1. Only right ones are kept, so that a flood of forgeries pushes nothing out.
VERIFIED_MAX = 8192


@final
@attrs.frozen(repr=False)
class AuthorId:
    """The public half of an author's keys. ``str()`` is its text form, which ``parse`` reads.

    Raises ``LocalError`` unless ``public_key`` is 32 bytes.
    """

    public_key: bytes = attrs.field()

    @public_key.validator
    def _check(self, _: object, value: object) -> None:
        if not isinstance(value, bytes) or len(value) != AUTHOR_KEY_SIZE:
            raise LocalError(
                f"an author's id is made of the {AUTHOR_KEY_SIZE} bytes of a public key, "
                f"got {_kind_of(value)}"
            )

    def __str__(self) -> str:
        letters = b32encode(self.public_key + _checksum(self.public_key)).decode().lower()
        return TEXT_PREFIX + letters

    def __repr__(self) -> str:
        return f"AuthorId({self})"

    @classmethod
    def parse(cls, text: str) -> "AuthorId":
        """The id of ``author:<56 letters>``. Raises ``LocalError`` for anything else."""
        if not isinstance(text, str) or not text.startswith(TEXT_PREFIX):
            # Not the text itself: whoever pastes the wrong thing here may paste a secret.
            raise LocalError(
                f"an author's id is written '{TEXT_PREFIX}<56 letters and digits>', as "
                f"str(author.id) gives it; got {_kind_of(text)}"
            )
        try:
            data = b32decode(text.removeprefix(TEXT_PREFIX).upper())
        except ValueError:
            data = b""
        public_key, check = data[:AUTHOR_KEY_SIZE], data[AUTHOR_KEY_SIZE:]
        if len(public_key) != AUTHOR_KEY_SIZE or check != _checksum(public_key):
            raise LocalError(f"an author's id with a letter wrong, missing or too many: {text!r}")
        return cls(public_key)

    @classmethod
    def of(cls, author: "Author | AuthorId | str") -> "AuthorId":
        """The id of whatever stands for an author where one reads. Raises ``LocalError``."""
        if isinstance(author, AuthorId):
            return author
        if isinstance(author, Author):
            return author.id
        if isinstance(author, str):
            return cls.parse(author)
        raise LocalError(
            f"an author is a dht.Author, its id, or that id as text, got {_kind_of(author)}; "
            "of the 32 bytes of a public key dht.author.AuthorId() makes one, and an Identity is "
            "a node's"
        )


@attrs.frozen
class Author:
    """The key pair of somebody who signs records. ``id`` is what readers hold.

    Make one with ``generate`` or ``from_private_bytes``. What knows files and entropy is added in
    ``shell.author``: that is ``dht.Author``.
    """

    private_key: Ed25519PrivateKey = attrs.field(repr=False, eq=False)
    id: AuthorId

    @classmethod
    def from_private_bytes(cls, private_bytes: bytes) -> Self:
        """The author of 32 secret bytes. Raises ``LocalError`` for another length or type."""
        if not isinstance(private_bytes, bytes) or len(private_bytes) != AUTHOR_KEY_SIZE:
            raise LocalError(
                f"an author is made of {AUTHOR_KEY_SIZE} secret bytes, "
                f"got {_kind_of(private_bytes)}"
            )
        private_key = Ed25519PrivateKey.from_private_bytes(private_bytes)
        return cls(private_key, AuthorId(private_key.public_key().public_bytes_raw()))

    @classmethod
    def generate(cls, random: Random) -> Self:
        """A fresh author out of the randomness given (``SystemRandom()`` outside of tests)."""
        return cls.from_private_bytes(random.randbytes(AUTHOR_KEY_SIZE))

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes that only the owner of these keys can make; the same data, the same."""
        return self.private_key.sign(data)


def check_author(author: object) -> None:
    """Raises ``LocalError`` for what cannot sign."""
    if isinstance(author, Author):
        return
    hint = "; its id is enough to read, to write takes its secret"
    raise LocalError(
        f"who writes is a dht.Author, got {_kind_of(author)}"
        + (hint if isinstance(author, AuthorId | str) else "; dht.Author.generate() makes one")
    )


@lru_cache(VERIFIED_MAX)
def verify_untrusted(public_key: bytes, signature: bytes, data: bytes) -> None:
    """Raises ``RemoteError`` unless the owner of ``public_key`` has signed these very bytes.

    A memo of what was right: the same copy comes again and again, of every owner.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        raise RemoteError("a signature that is not its author's") from None


def _checksum(public_key: bytes) -> bytes:
    return blake2s(public_key, person=_TEXT_TAG, digest_size=_CHECK_SIZE).digest()


def _kind_of(value: object) -> str:
    """What somebody gave instead, without showing it: it may be a secret."""
    if isinstance(value, bytes | bytearray):
        return f"{len(value)} bytes"
    name = type(value).__name__
    return f"an {name}" if name[0] in "AEIOUaeiou" else f"a {name}"
