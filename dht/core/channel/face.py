"""What every channel can do: carry a payload to a peer, and say who sent one.

Everything that the rest of the core knows of a channel is in this file. A payload is a frame of
``wire.codec``: the request id, then the message. The rest of the core cannot tell one channel from
another.
"""

from typing import Any, NamedTuple, Protocol

from ...contacts import Address, Contact
from ...wire.messages import REQUEST_ID_SIZE

#: The longest request id and ``Ping``: an array, its tag, and flags in one byte or two.
PING_FRAME_SIZE = REQUEST_ID_SIZE + 4

#: What ``answer`` needs to send something back. Only the channel that made it looks inside.
Ticket = Any


class Opened(NamedTuple):
    """A datagram that came through the channel. A named tuple: one is made for every datagram, in
    a third of the time of a frozen class."""

    #: Who sent it: the peer's X25519 public key.
    public_key: bytes
    source: Address
    #: The request id and the message.
    payload: bytes
    ticket: Ticket
    #: The longest payload that may go back with this ticket, its request id included.
    room: int
    #: Has the peer shown that it receives what is sent to ``source``, and that this is no copy of
    #: something older? If not, nothing that it asks may have an effect.
    proved: bool


class Channel(Protocol):
    """One node's end of all its conversations. After any call, drain ``datagrams_to_send``."""

    @property
    def overhead(self) -> int:
        """Bytes that a datagram has beside its payload, when there is nothing else to say."""

    @property
    def ping_size(self) -> int:
        """Bytes of the datagram that asks a stranger whether it is there."""

    def ask(self, now: float, contact: Contact, request_id: bytes, payload: bytes) -> None:
        """Sends a request: ``request_id`` and then ``payload``, the encoded message.

        Every retry is a new call with a new id. The message may be shared by many calls.
        """

    def receive(self, now: float, data: bytes, source: Address) -> Opened | None:
        """What a datagram from the network says, or None when it says nothing. Never raises."""

    def answer(self, now: float, ticket: Ticket, payload: bytes) -> None:
        """Sends a payload (request id and message) of at most ``Opened.room`` bytes back.

        A longer one is not sent: as with ``demand_proof``, the sender asks again.
        """

    def demand_proof(self, now: float, ticket: Ticket) -> None:
        """In the place of ``answer``, where the sender is not ``proved`` and its request has an
        effect: its channel shows that it is where it is, and asks again by itself, once."""

    def who(self, now: float, address: Address) -> None:
        """Asks a bare address for its public key. Every retry is a new call."""

    def identified(self) -> list[tuple[Address, bytes]]:
        """Who answered ``who`` since the last call: the address that was asked, and the public key
        that answers there. Only the next answer to a request proves it."""

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        """What is to be put on the wire, in order; each datagram is given out once."""

    def next_timeout(self) -> float | None:
        """When ``handle_timeout`` is to be called; None: no need."""

    def handle_timeout(self, now: float) -> None:
        """Does what is due by ``now``. Early or twice, it does nothing."""
