"""Who a node is: an X25519 key pair. The node id is a hash of its public half."""

from random import Random
from typing import final

import attrs
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from .errors import LocalError
from .keyspace import Key, node_id, solves_puzzle

PRIVATE_KEY_SIZE = 32
PUBLIC_KEY_SIZE = 32


@final
@attrs.frozen
class Identity:
    """A node's key pair. Make one with ``generate`` or ``from_private_bytes``.

    ``public_key`` is 32 bytes; ``id`` is the node's place in the key space.
    """

    private_key: X25519PrivateKey = attrs.field(repr=False, eq=False)
    public_key: bytes = attrs.field(repr=bytes.hex)
    id: Key

    @classmethod
    def from_private_bytes(cls, private_bytes: bytes) -> "Identity":
        """The identity of 32 secret bytes. Raises ``LocalError`` for another length or type."""
        if not isinstance(private_bytes, bytes) or len(private_bytes) != PRIVATE_KEY_SIZE:
            got = (
                f"{len(private_bytes)} bytes"
                if isinstance(private_bytes, bytes)
                else type(private_bytes).__name__
            )
            raise LocalError(f"an identity is made of {PRIVATE_KEY_SIZE} secret bytes, got {got}")
        private_key = X25519PrivateKey.from_private_bytes(private_bytes)
        public_key = private_key.public_key().public_bytes_raw()
        return cls(private_key=private_key, public_key=public_key, id=node_id(public_key))

    @classmethod
    def generate(cls, random: Random, *, puzzle_bits: int = 0) -> "Identity":
        """A fresh identity out of the randomness given (``SystemRandom()`` outside of tests).

        With ``puzzle_bits`` it searches for one whose id solves the network's puzzle: about 40 µs
        times ``2 ** puzzle_bits``, so 0.2 s for 12 bits and 40 s for 20.
        """
        while True:
            identity = cls.from_private_bytes(random.randbytes(PRIVATE_KEY_SIZE))
            if solves_puzzle(identity.id, puzzle_bits):
                return identity
