"""WHO and IAM: asking a bare address for the public key of the node that listens there.

    WHO = 0x20 | nonce (16) | zeros (63)       | MAC (16)     96 bytes
    IAM = 0x21 | nonce (16) | public key (32)  | MAC (16)     65 bytes

An IAM proves membership of the network, if that has a key, and nothing else: that the key belongs
to whoever listens there is proved by the handshake that follows. It is shorter than the question,
so that nobody can make us send a victim more than he sends us. Every channel owns one ``Who``.
"""

from collections import deque
from collections.abc import Iterable
from hashlib import blake2s
from hmac import compare_digest
from random import Random
from typing import final

from ...contacts import Address
from ...identity import PUBLIC_KEY_SIZE
from ...network import Secrets

WHO_TAG = 0x20
IAM_TAG = 0x21
TAGS = frozenset({WHO_TAG, IAM_TAG})
NONCE_SIZE = 16
MAC_SIZE = 16
WHO_SIZE = 96
IAM_SIZE = 1 + NONCE_SIZE + PUBLIC_KEY_SIZE + MAC_SIZE
#: Floods: so many WHO are answered in any second, whoever asks. DESIGN's figure; a crowd that
#: starts at once gets its answers over a few attempts.
ANSWERS_PER_S = 10
#: Memory: questions whose answer is waited for. Only we ask; more addresses than anybody gives.
ASKED_MAX = 256
#: Seconds in which an answer still counts. As long as that of any request, see ``requests``.
ASKED_LIFE_S = 10.0

_NONCE_END = 1 + NONCE_SIZE
_ZEROS = bytes(WHO_SIZE - _NONCE_END - MAC_SIZE)


@final
class Who:
    """One node's end of WHO and IAM: ``receive`` gets every datagram whose first byte is in
    ``TAGS``. It speaks with the first of the secrets, the newest, and understands all of them."""

    def __init__(
        self, public_key: bytes, secrets: Iterable[Secrets], random: Random | None
    ) -> None:
        """``random`` makes the nonces of our own questions; without it nobody can be asked."""
        self._public_key = public_key
        self._mac_keys = [each.who_key for each in secrets]
        self._random = random
        # nonce -> whom we asked, and when; the oldest first
        self._asked: dict[bytes, tuple[Address, float]] = {}
        self._identified: list[tuple[Address, bytes]] = []
        self._answered_at: deque[float] = deque(maxlen=ANSWERS_PER_S)

    def ask(self, now: float, address: Address) -> bytes:
        """The WHO to send to that address. Every retry is a new one."""
        assert self._random is not None, "whoever asks needs randomness"
        asked = self._asked
        for nonce in list(asked):
            if len(asked) < ASKED_MAX and now - asked[nonce][1] <= ASKED_LIFE_S:
                break
            del asked[nonce]
        nonce = self._random.randbytes(NONCE_SIZE)
        asked[nonce] = (address, now)
        return _sealed(bytes([WHO_TAG]) + nonce + _ZEROS, self._mac_keys[0])

    def receive(self, now: float, data: bytes, source: Address) -> bytes | None:
        """What is to be sent back to ``source``: an IAM, or nothing at all. Never raises."""
        if len(data) == WHO_SIZE and data[0] == WHO_TAG:
            return self._answer(now, data)
        if len(data) == IAM_SIZE and data[0] == IAM_TAG:
            self._learn(now, data, source)
        return None

    def identified(self) -> list[tuple[Address, bytes]]:
        """Who has answered since the last call: where we asked, and the public key there."""
        if not self._identified:
            return []
        identified, self._identified = self._identified, []
        return identified

    def _answer(self, now: float, data: bytes) -> bytes | None:
        times = self._answered_at
        if len(times) == ANSWERS_PER_S and now - times[0] < 1.0:
            return None
        mac_key = self._mac_key_of(data)
        if mac_key is None:
            return None
        times.append(now)
        # Under the key that the asker has: it may not know the newest yet.
        return _sealed(bytes([IAM_TAG]) + data[1:_NONCE_END] + self._public_key, mac_key)

    def _learn(self, now: float, data: bytes, source: Address) -> None:
        nonce = data[1:_NONCE_END]
        asked = self._asked.get(nonce)
        if asked is None or asked[0] != source or now - asked[1] > ASKED_LIFE_S:
            return
        if self._mac_key_of(data) is not None:
            del self._asked[nonce]  # so there is never more to tell than was asked
            self._identified.append((source, data[_NONCE_END:-MAC_SIZE]))

    def _mac_key_of(self, data: bytes) -> bytes | None:
        """Under which of our keys it was made, if any."""
        body, mac = data[:-MAC_SIZE], data[-MAC_SIZE:]
        for mac_key in self._mac_keys:
            if compare_digest(_mac(body, mac_key), mac):
                return mac_key
        return None


def _sealed(body: bytes, mac_key: bytes) -> bytes:
    return body + _mac(body, mac_key)


def _mac(body: bytes, mac_key: bytes) -> bytes:
    return blake2s(body, key=mac_key, digest_size=MAC_SIZE).digest()
