"""What a node gives away and recognizes later without having kept it, and what it has seen before.

Tokens, cookies and path values are hashes under a secret that lives for an epoch. The same epoch
bounds how long the first message of a handshake is remembered: whoever plays one back finds either
that it is still remembered, or that its token and its cookie are worth nothing any more. That is
why all of it is in one machine, with one clock.

The previous epoch counts too, so each of these lives for one to two epochs.
"""

from hashlib import blake2s
from hmac import compare_digest
from random import Random
from typing import final

from ...contacts import Address
from .packets import COOKIE_SIZE, NO_TOKEN, PATH_SIZE, TOKEN_SIZE

#: Seconds. DESIGN's figure; a lookup, and what is stored after it, takes a few.
EPOCH_S = 60.0
#: Memory and replays: first messages remembered an epoch, about 90 B each. When there is no room
#: for one more, nothing is forgotten for it: cookies are asked for instead.
SEEN_MAX = 16_384

# Enough of an ephemeral key to know it again: nobody finds a second key with the same 64 bits who
# could not have kept the first from arriving.
_SEEN_SIZE = 8
_SECRET_SIZE = 32
_TOKEN_TAG = b"dht tokn"
_COOKIE_TAG = b"dht addr"
_PATH_TAG = b"dht path"


@final
class Epochs:
    """One node's epochs. They begin by themselves, as time is told."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._secret = self._previous_secret = random.randbytes(_SECRET_SIZE)
        # Insertion order is of no use here: a dict is half the size of a set.
        self._seen: dict[bytes, None] = {}
        self._previous_seen: dict[bytes, None] = {}
        self._began_at: float | None = None

    def __len__(self) -> int:
        """How many first messages are remembered."""
        return len(self._seen) + len(self._previous_seen)

    # ---- tokens: "this key has received something at this address" ----

    def token(self, now: float, public_key: bytes, address: Address) -> bytes:
        """For whom a reply goes to."""
        self._turn(now)
        return _hash(_TOKEN_TAG, self._secret, public_key + address, TOKEN_SIZE)

    def token_holds(self, now: float, token: bytes, public_key: bytes, address: Address) -> bool:
        """Was it given to this key at this address, in this epoch or the last?"""
        if token == NO_TOKEN:
            return False
        self._turn(now)
        data = public_key + address
        return any(
            compare_digest(token, _hash(_TOKEN_TAG, secret, data, TOKEN_SIZE))
            for secret in (self._secret, self._previous_secret)
        )

    # ---- cookies: "somebody receives at this address" ----

    def cookie(self, now: float, address: Address) -> bytes:
        """For whoever sends from there, under load."""
        self._turn(now)
        return _hash(_COOKIE_TAG, self._secret, address, COOKIE_SIZE)

    def cookies(self, now: float, address: Address) -> tuple[bytes, bytes]:
        """Those that hold for this address: of this epoch and of the last."""
        self._turn(now)
        return (
            _hash(_COOKIE_TAG, self._secret, address, COOKIE_SIZE),
            _hash(_COOKIE_TAG, self._previous_secret, address, COOKIE_SIZE),
        )

    # ---- path values: "this session is now at this address" ----

    def path(self, now: float, cid: bytes, address: Address) -> bytes:
        """For the session ``cid``, whose peer seems to have moved there."""
        self._turn(now)
        return _hash(_PATH_TAG, self._secret, cid + address, PATH_SIZE)

    def path_holds(self, now: float, value: bytes, cid: bytes, address: Address) -> bool:
        """Was it sent to this address for this session?"""
        self._turn(now)
        return any(
            compare_digest(value, _hash(_PATH_TAG, secret, cid + address, PATH_SIZE))
            for secret in (self._secret, self._previous_secret)
        )

    # ---- first messages ----

    def seen(self, now: float, ephemeral: bytes) -> bool:
        """Has the first message with this ephemeral key been here before?"""
        self._turn(now)
        mark = ephemeral[:_SEEN_SIZE]
        return mark in self._seen or mark in self._previous_seen

    def remember(self, now: float, ephemeral: bytes) -> bool:
        """From now on it has been seen. False: there is no room, and it will not be known again."""
        if self.full(now):
            return False
        self._seen[ephemeral[:_SEEN_SIZE]] = None
        return True

    def full(self, now: float) -> bool:
        """Is there no room for one more?"""
        self._turn(now)
        return len(self._seen) >= SEEN_MAX

    def _turn(self, now: float) -> None:
        """Begins a new epoch when the last is over; after a long pause two, and all is void."""
        if self._began_at is None:
            self._began_at = now
        elapsed = now - self._began_at
        if elapsed < EPOCH_S:
            return
        over = elapsed >= 2 * EPOCH_S
        fresh = self._random.randbytes(_SECRET_SIZE)
        self._previous_secret = self._random.randbytes(_SECRET_SIZE) if over else self._secret
        self._secret = fresh
        self._previous_seen = {} if over else self._seen
        self._seen = {}
        self._began_at = now if over else self._began_at + EPOCH_S


def _hash(tag: bytes, secret: bytes, data: bytes, size: int) -> bytes:
    return blake2s(data, key=secret, person=tag, digest_size=size).digest()
