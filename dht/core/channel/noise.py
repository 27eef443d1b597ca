"""The handshake ``Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s``, and nothing else.

After the Noise Protocol Framework, revision 34 (noiseprotocol.org): section numbers are of that
page. Two messages, each with a payload; whoever starts knows the other's public key.

    <- s
    ...
    -> e, es, s, ss, psk
    <- e, ee, se

Only the primitives are from elsewhere: X25519 and ChaCha20-Poly1305 of ``cryptography``, BLAKE2s of
``hashlib``. Randomness is passed in: an ephemeral private key is 32 bytes, and never used twice.
Every key here encrypts one text only, so every nonce is 0.
"""

from hashlib import blake2s
from typing import NamedTuple, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ...errors import RemoteError

KEY_SIZE = 32
TAG_SIZE = 16
#: The first message is so much longer than its payload: e, the encrypted s, a tag.
FIRST_OVERHEAD = KEY_SIZE + KEY_SIZE + TAG_SIZE + TAG_SIZE
#: And the second: e and a tag.
SECOND_OVERHEAD = KEY_SIZE + TAG_SIZE

_NONCE = bytes(12)
_FIRST_SIZE_STATIC = KEY_SIZE + KEY_SIZE + TAG_SIZE
# Section 5.2: the name is longer than a hash, so its hash is where everything starts.
_NAME_HASH = blake2s(b"Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s").digest()

# HMAC (RFC 2104) by hand: two plain hashes cost half of ``hmac.digest``, which looks up its hash by
# name each time. A block of BLAKE2s is 64 bytes, a key here always 32.
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_INNER_REST = b"\x36" * 32
_OUTER_REST = b"\x5c" * 32
_INNER_REST_1 = _INNER_REST + b"\1"


@final
class Keys(NamedTuple):
    """What a handshake is for: one key for each direction (section 5.2, Split)."""

    send: bytes
    receive: bytes


@final
class Initiator:
    """Starts a handshake: ``write``, then ``read_untrusted``, then ``keys``; each once."""

    __slots__ = (
        "_chain",
        "_ephemeral",
        "_psk",
        "_remote_public",
        "_static",
        "_static_public",
        "hash",
    )

    def __init__(
        self,
        *,
        static: X25519PrivateKey,
        static_public: bytes,
        remote_public: bytes,
        psk: bytes,
        prologue: bytes,
        ephemeral: bytes,
    ) -> None:
        self._static = static
        self._static_public = static_public
        self._remote_public = remote_public
        self._psk = psk
        self._ephemeral = X25519PrivateKey.from_private_bytes(ephemeral)
        self._chain = _NAME_HASH
        #: The hash over everything that both have said (section 5.2, ``h``).
        self.hash = _begin(prologue, remote_public)

    def write(self, payload: bytes) -> bytes:
        """The first message. Raises ``RemoteError`` for a public key that nobody can have."""
        remote = X25519PublicKey.from_public_bytes(self._remote_public)
        ephemeral = self._ephemeral
        public = ephemeral.public_key().public_bytes_raw()
        digest = blake2s(self.hash + public).digest()  # e
        chain = _hkdf1(_NAME_HASH, public)
        chain, key = _hkdf2(chain, _shared(ephemeral, remote))  # es
        sealed_static = ChaCha20Poly1305(key).encrypt(_NONCE, self._static_public, digest)  # s
        digest = blake2s(digest + sealed_static).digest()
        chain = _hkdf1(chain, _shared(self._static, remote))  # ss
        self._chain, mixed, key = _hkdf3(chain, self._psk)  # psk
        digest = blake2s(digest + mixed).digest()
        sealed = ChaCha20Poly1305(key).encrypt(_NONCE, payload, digest)
        self.hash = blake2s(digest + sealed).digest()
        return public + sealed_static + sealed

    def read_untrusted(self, message: bytes) -> bytes:
        """The payload of the second message. Raises ``RemoteError`` if it is no answer to the
        first, and then may be tried again with another."""
        if len(message) < SECOND_OVERHEAD:
            raise RemoteError(f"a second message of {len(message)} bytes")
        public = message[:KEY_SIZE]
        remote = X25519PublicKey.from_public_bytes(public)
        digest = blake2s(self.hash + public).digest()  # e
        chain = _hkdf1(self._chain, public)
        chain = _hkdf1(chain, _shared(self._ephemeral, remote))  # ee
        chain, key = _hkdf2(chain, _shared(self._static, remote))  # se
        payload = _opened(key, message[KEY_SIZE:], digest)
        self._chain = chain
        self.hash = blake2s(digest + message[KEY_SIZE:]).digest()
        return payload

    def keys(self) -> Keys:
        """What this end seals and opens with from now on."""
        return Keys(*_hkdf2(self._chain, b""))


@final
class Responder:
    """Answers a handshake: ``read_untrusted``, then ``write``, then ``keys``; each once."""

    __slots__ = (
        "_chain",
        "_psk",
        "_remote",
        "_remote_ephemeral",
        "_static",
        "hash",
        "remote_public",
    )

    def __init__(
        self, *, static: X25519PrivateKey, static_public: bytes, psk: bytes, prologue: bytes
    ) -> None:
        self._static = static
        self._psk = psk
        self._chain = _NAME_HASH
        #: See ``Initiator``.
        self.hash = _begin(prologue, static_public)
        #: Who started, once ``read_untrusted`` has returned.
        self.remote_public = b""
        self._remote: X25519PublicKey | None = None
        self._remote_ephemeral: X25519PublicKey | None = None

    def read_untrusted(self, message: bytes) -> bytes:
        """The payload of the first message. Raises ``RemoteError`` if it was made by nobody who
        knows our public key, the pre-shared key and the prologue."""
        if len(message) < FIRST_OVERHEAD:
            raise RemoteError(f"a first message of {len(message)} bytes")
        public = message[:KEY_SIZE]
        ephemeral = X25519PublicKey.from_public_bytes(public)
        digest = blake2s(self.hash + public).digest()  # e
        chain = _hkdf1(_NAME_HASH, public)
        chain, key = _hkdf2(chain, _shared(self._static, ephemeral))  # es
        sealed_static = message[KEY_SIZE:_FIRST_SIZE_STATIC]
        remote_public = _opened(key, sealed_static, digest)  # s
        digest = blake2s(digest + sealed_static).digest()
        remote = X25519PublicKey.from_public_bytes(remote_public)
        chain = _hkdf1(chain, _shared(self._static, remote))  # ss
        chain, mixed, key = _hkdf3(chain, self._psk)  # psk
        digest = blake2s(digest + mixed).digest()
        sealed = message[_FIRST_SIZE_STATIC:]
        payload = _opened(key, sealed, digest)
        self._chain = chain
        self.hash = blake2s(digest + sealed).digest()
        self.remote_public = remote_public
        self._remote = remote
        self._remote_ephemeral = ephemeral
        return payload

    def write(self, ephemeral: bytes, payload: bytes) -> bytes:
        """The second message. Raises ``RemoteError`` for an ephemeral key that nobody can have."""
        assert self._remote is not None, "read first"
        assert self._remote_ephemeral is not None, "read first"
        private = X25519PrivateKey.from_private_bytes(ephemeral)
        public = private.public_key().public_bytes_raw()
        digest = blake2s(self.hash + public).digest()  # e
        chain = _hkdf1(self._chain, public)
        chain = _hkdf1(chain, _shared(private, self._remote_ephemeral))  # ee
        self._chain, key = _hkdf2(chain, _shared(private, self._remote))  # se
        sealed = ChaCha20Poly1305(key).encrypt(_NONCE, payload, digest)
        self.hash = blake2s(digest + sealed).digest()
        return public + sealed

    def keys(self) -> Keys:
        """What this end seals and opens with from now on."""
        theirs, ours = _hkdf2(self._chain, b"")
        return Keys(ours, theirs)


def _begin(prologue: bytes, responder_public: bytes) -> bytes:
    """Section 5.3: the prologue, then what is known beforehand, the responder's key."""
    digest = blake2s(_NAME_HASH + prologue).digest()
    return blake2s(digest + responder_public).digest()


def _shared(private: X25519PrivateKey, public: X25519PublicKey) -> bytes:
    try:
        return private.exchange(public)
    except ValueError:  # all zeros: a point of low order, which no private key makes
        raise RemoteError("a public key that is none") from None


def _opened(key: bytes, sealed: bytes, digest: bytes) -> bytes:
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, sealed, digest)
    except InvalidTag:
        raise RemoteError("a handshake message that does not open") from None


def _hkdf1(chain: bytes, material: bytes) -> bytes:
    """Section 4.3, HKDF, where only the first output is used: MixKey when no text follows."""
    inner = chain.translate(_INNER) + _INNER_REST
    outer = chain.translate(_OUTER) + _OUTER_REST
    secret = blake2s(outer + blake2s(inner + material).digest()).digest()
    inner = secret.translate(_INNER) + _INNER_REST_1
    outer = secret.translate(_OUTER) + _OUTER_REST
    return blake2s(outer + blake2s(inner).digest()).digest()


def _hkdf2(chain: bytes, material: bytes) -> tuple[bytes, bytes]:
    """HKDF with two outputs."""
    inner = chain.translate(_INNER) + _INNER_REST
    outer = chain.translate(_OUTER) + _OUTER_REST
    secret = blake2s(outer + blake2s(inner + material).digest()).digest()
    inner = secret.translate(_INNER) + _INNER_REST
    outer = secret.translate(_OUTER) + _OUTER_REST
    first = blake2s(outer + blake2s(inner + b"\1").digest()).digest()
    return first, blake2s(outer + blake2s(inner + first + b"\2").digest()).digest()


def _hkdf3(chain: bytes, material: bytes) -> tuple[bytes, bytes, bytes]:
    """And with three."""
    inner = chain.translate(_INNER) + _INNER_REST
    outer = chain.translate(_OUTER) + _OUTER_REST
    secret = blake2s(outer + blake2s(inner + material).digest()).digest()
    inner = secret.translate(_INNER) + _INNER_REST
    outer = secret.translate(_OUTER) + _OUTER_REST
    first = blake2s(outer + blake2s(inner + b"\1").digest()).digest()
    second = blake2s(outer + blake2s(inner + first + b"\2").digest()).digest()
    return first, second, blake2s(outer + blake2s(inner + second + b"\3").digest()).digest()
