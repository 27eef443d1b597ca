"""The channel without secrets: datagrams that name their sender and end in a checksum.

For simulations, and for comparisons with peers that do not encrypt either. It proves nothing: who
can write to the network can take anybody's name and anybody's address, and a plain address is taken
at its word. The checksum is against damage on the way, not against people.

A datagram is ``0x10 | public key (32) | payload | BLAKE2s of all before (8)``; a payload is
``request id (8) | message``.
"""

from hashlib import blake2s
from typing import final

from ...config import DATAGRAM_SIZE_MAX
from ...contacts import Address, Contact
from ...identity import PUBLIC_KEY_SIZE
from ...wire.messages import REQUEST_ID_SIZE
from .face import PING_FRAME_SIZE, Opened, Ticket

PLAIN_TAG = 0x10
CHECKSUM_SIZE = 8
OVERHEAD = 1 + PUBLIC_KEY_SIZE + CHECKSUM_SIZE
#: The longest payload of a datagram.
ROOM = DATAGRAM_SIZE_MAX - OVERHEAD

_HEAD_SIZE = 1 + PUBLIC_KEY_SIZE
# A frame without a message is none.
_SIZE_MIN = OVERHEAD + REQUEST_ID_SIZE + 1

# Copying a prepared hash costs 0.25 µs less than preparing one.
_prepared_checksum = blake2s(digest_size=CHECKSUM_SIZE, person=b"dht plai").copy


@final
class PlainChannel:
    """Sends and receives in the name of one public key. Has no state beside its outbox."""

    overhead = OVERHEAD
    ping_size = OVERHEAD + PING_FRAME_SIZE

    def __init__(self, identity_public_key: bytes) -> None:
        assert len(identity_public_key) == PUBLIC_KEY_SIZE
        self._public_key = identity_public_key
        self._head = bytes([PLAIN_TAG]) + identity_public_key
        self._outbox: list[tuple[bytes, Address]] = []

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
        checksum = _prepared_checksum()
        checksum.update(unsealed)
        self._outbox.append((unsealed + checksum.digest(), address))

    def receive(self, now: float, data: bytes, source: Address) -> Opened | None:
        """See ``Channel.receive``. Drops what is damaged, too short, too long, of another channel,
        or in our own name: that can only be our own datagram, reflected."""
        if not _SIZE_MIN <= len(data) <= DATAGRAM_SIZE_MAX or data[0] != PLAIN_TAG:
            return None
        checksum = _prepared_checksum()
        checksum.update(data[:-CHECKSUM_SIZE])
        if checksum.digest() != data[-CHECKSUM_SIZE:]:
            return None
        public_key = data[1:_HEAD_SIZE]
        if public_key == self._public_key:
            return None
        return Opened(
            public_key, source, data[_HEAD_SIZE:-CHECKSUM_SIZE], source, ROOM, proved=True
        )

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
