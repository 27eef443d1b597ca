"""A network: its public name, its secret keys, and what both are turned into.

Two networks never mix: everything that is derived here goes into each handshake and each check
before it, so that a datagram of another network is noise. Without a secret the key is 32 zero
bytes: then the name alone keeps networks apart, and keeps out nobody who knows it.
"""

from collections.abc import Iterable
from hashlib import blake2s
from typing import final

import attrs

from .errors import LocalError

NETWORK_KEY_SIZE = 32
NETWORK_ID_SIZE = 16
#: A key is replaced while nodes still use the old one; more at once only makes every check dearer.
KEYS_MAX = 4
#: Bytes of UTF-8; long enough for a domain name.
NAME_SIZE_MAX = 255

_NO_KEY = bytes(NETWORK_KEY_SIZE)

# BLAKE2s "person" tags, one for each use, as in ``keyspace``.
_ID_TAG = b"dht nwid"
_PSK_TAG = b"dht psk "
_MAC_TAG = b"dht mac1"
_COOKIE_TAG = b"dht cook"
_WHO_TAG = b"dht who "
_CHECKSUM_TAG = b"dht chks"


@final
@attrs.frozen(eq=False, repr=False)
class Secrets:
    """What one network key of one network is turned into; 32 bytes each."""

    #: The pre-shared key of the Noise handshake.
    psk: bytes
    #: Keys the check of a WHO and of its answer.
    who_key: bytes
    _network_key: bytes
    _network_id: bytes

    @classmethod
    def derive(cls, network_key: bytes, network_id: bytes) -> "Secrets":
        """All of it, from the two things that all members of a network know."""
        return cls(
            _derive(_PSK_TAG, network_key, network_id),
            _derive(_WHO_TAG, network_key, network_id),
            network_key,
            network_id,
        )

    def checksum_key(self) -> bytes:
        """Keys the checksum of the plain channel, so that networks do not mix there either."""
        return _derive(_CHECKSUM_TAG, self._network_key, self._network_id)

    def mac_key(self, public_key: bytes) -> bytes:
        """Keys the check that a packet for the owner of ``public_key`` has to pass first."""
        return _derive(_MAC_TAG, self._network_key, self._network_id + public_key)

    def cookie_key(self, public_key: bytes) -> bytes:
        """Seals the cookies that the owner of ``public_key`` gives away under load."""
        return _derive(_COOKIE_TAG, self._network_key, self._network_id + public_key)


@final
@attrs.frozen(repr=False)
class Network:
    """One network. Make it with ``named``; its ``repr`` shows no key."""

    name: str
    #: 16 bytes, from the name.
    id: bytes
    #: The newest first: it speaks with that, and understands all of them.
    keys: tuple[bytes, ...]

    @classmethod
    def named(cls, name: str = "main", keys: bytes | Iterable[bytes] | None = None) -> "Network":
        """The network of this name with a key of 32 bytes, several (the newest first), or none.

        Raises ``LocalError``.
        """
        if not isinstance(name, str) or not 1 <= len(name.encode()) <= NAME_SIZE_MAX:
            raise LocalError(
                f"a network is named by a str of 1 to {NAME_SIZE_MAX} bytes of UTF-8, got {name!r}"
            )
        if keys is None:
            keys = ()
        if isinstance(keys, bytes | str) or not isinstance(keys, Iterable):
            keys = (keys,)  # what is no key is refused below
        chosen = tuple(keys)
        for number, key in enumerate(chosen):
            if not isinstance(key, bytes) or len(key) != NETWORK_KEY_SIZE or key == _NO_KEY:
                # Never the key itself: messages end up in logs.
                got = f"{len(key)} bytes" if isinstance(key, bytes) else type(key).__name__
                raise LocalError(
                    f"a network key is {NETWORK_KEY_SIZE} secret bytes and not all zero, got {got} "
                    f"(key {number + 1} of {len(chosen)}); `dht keygen --network` makes one"
                )
        if len(chosen) > KEYS_MAX:
            raise LocalError(f"at most {KEYS_MAX} network keys at once, got {len(chosen)}")
        digest = blake2s(name.encode(), person=_ID_TAG, digest_size=NETWORK_ID_SIZE).digest()
        return cls(name, digest, chosen)

    def __repr__(self) -> str:
        return f"Network({self.name!r}, {len(self.keys)} keys)"

    @property
    def is_secret(self) -> bool:
        """Does it take a key to be a member?"""
        return bool(self.keys)

    def secrets(self) -> tuple[Secrets, ...]:
        """What each key is turned into, the newest first; of no key, those of 32 zero bytes."""
        return tuple(Secrets.derive(key, self.id) for key in self.keys or (_NO_KEY,))


def _derive(tag: bytes, key: bytes, data: bytes) -> bytes:
    return blake2s(data, key=key, person=tag).digest()
