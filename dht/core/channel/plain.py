"""The channel without secrets: datagrams that name their sender and end in a checksum.

For simulations, and for comparisons with peers that do not encrypt either. It proves nothing: who
can write to the network can take anybody's name and anybody's address, and a plain address is taken
at its word. The checksum is against damage on the way, and keeps networks apart; it is too short to
be more than that.

A datagram is ``0x10 | public key (32) | payload | BLAKE2s of all before (8)``, keyed with the
network's checksum key; a payload is ``request id (8) | message``. WHO and IAM are in ``who``.
"""

from hashlib import blake2s
from random import Random
from typing import final

from ...config import DATAGRAM_SIZE_MAX
from ...contacts import Address, Contact
from ...identity import PUBLIC_KEY_SIZE
from ...network import Network
from ...wire.messages import REQUEST_ID_SIZE
from .face import PING_FRAME_SIZE, Opened, Ticket
from .who import TAGS as WHO_TAGS
from .who import Who

PLAIN_TAG = 0x10
CHECKSUM_SIZE = 8
OVERHEAD = 1 + PUBLIC_KEY_SIZE + CHECKSUM_SIZE
#: The longest payload of a datagram.
ROOM = DATAGRAM_SIZE_MAX - OVERHEAD

_HEAD_SIZE = 1 + PUBLIC_KEY_SIZE
# A frame without a message is none.
_SIZE_MIN = OVERHEAD + REQUEST_ID_SIZE + 1

_CHECKSUM_TAG = b"dht plai"


@final
class PlainChannel:
    """Sends and receives in the name of one public key, in one network. Has no state beside its
    outbox, and what ``who`` has asked. ``random`` is for that: without it nobody can be asked."""

    overhead = OVERHEAD
    ping_size = OVERHEAD + PING_FRAME_SIZE

    def __init__(
        self,
        identity_public_key: bytes,
        *,
        network: Network = Network.named(),
        random: Random | None = None,
    ) -> None:
        assert len(identity_public_key) == PUBLIC_KEY_SIZE
        self._public_key = identity_public_key
        self._head = bytes([PLAIN_TAG]) + identity_public_key
        self._outbox: list[tuple[bytes, Address]] = []
        secrets = network.secrets()
        self._who = Who(identity_public_key, secrets, random)
        # Copying a prepared hash costs 0.25 µs less than preparing one. The newest key first.
        prepared = [
            blake2s(digest_size=CHECKSUM_SIZE, person=_CHECKSUM_TAG, key=each.checksum_key()).copy
            for each in secrets
        ]
        self._prepared_checksum, self._older_checksums = prepared[0], prepared[1:]

    def ask(self, now: float, contact: Contact, request_id: bytes, payload: bytes) -> None:
        """See ``Channel.ask``."""
        self._send(self._head + request_id + payload, contact.address)

    def answer(self, now: float, ticket: Ticket, payload: bytes) -> None:
        """See ``Channel.answer``. A ticket is the address that the request came from."""
        self._send(self._head + payload, ticket)

    def demand_proof(self, now: float, ticket: Ticket) -> None:
        """See ``Channel.demand_proof``. Nobody has a reason to: all is taken at its word here."""

    def _send(self, unsealed: bytes, address: Address) -> None:
        assert _SIZE_MIN - CHECKSUM_SIZE <= len(unsealed) <= DATAGRAM_SIZE_MAX - CHECKSUM_SIZE
        checksum = self._prepared_checksum()
        checksum.update(unsealed)
        self._outbox.append((unsealed + checksum.digest(), address))

    def receive(self, now: float, data: bytes, source: Address) -> Opened | None:
        """See ``Channel.receive``. Drops what is damaged, too short, too long, of another channel
        or network, or in our own name: that can only be our own datagram, reflected."""
        if not _SIZE_MIN <= len(data) <= DATAGRAM_SIZE_MAX or data[0] != PLAIN_TAG:
            if data and data[0] in WHO_TAGS:
                self._introduce(now, data, source)
            return None
        checksum = self._prepared_checksum()
        checksum.update(data[:-CHECKSUM_SIZE])
        if checksum.digest() != data[-CHECKSUM_SIZE:] and not self._is_older(data):
            return None
        public_key = data[1:_HEAD_SIZE]
        if public_key == self._public_key:
            return None
        return Opened(
            public_key, source, data[_HEAD_SIZE:-CHECKSUM_SIZE], source, ROOM, proved=True
        )

    def who(self, now: float, address: Address) -> None:
        """See ``Channel.who``."""
        self._outbox.append((self._who.ask(now, address), address))

    def identified(self) -> list[tuple[Address, bytes]]:
        """See ``Channel.identified``."""
        return self._who.identified()

    def _introduce(self, now: float, data: bytes, source: Address) -> None:
        answer = self._who.receive(now, data, source)
        if answer is not None:
            self._outbox.append((answer, source))

    def _is_older(self, data: bytes) -> bool:
        """Was it sent under a network key that is being replaced?"""
        for prepared in self._older_checksums:
            checksum = prepared()
            checksum.update(data[:-CHECKSUM_SIZE])
            if checksum.digest() == data[-CHECKSUM_SIZE:]:
                return True
        return False

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        """See ``Channel.datagrams_to_send``."""
        outbox = self._outbox
        if not outbox:
            return []
        self._outbox = []
        return outbox

    def next_timeout(self) -> float | None:
        """Never: this channel waits for nothing."""
        return None

    def handle_timeout(self, now: float) -> None:
        """Nothing: this channel waits for nothing."""
