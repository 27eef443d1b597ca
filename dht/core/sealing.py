"""Messages that only their target can read, however many nodes pass them on.

A message is the first of a Noise handshake of its own, its answer the second (``channel.noise``):
who carries them can neither read nor change them, nor answer in the target's name; and the target
knows for sure who wrote. What a hop may change, it is told of by what is bound into the handshake.

    message = message id (8) | length of the topic (1) | topic | payload
    answer  = ``Verdict`` (1) | payload
"""

from enum import IntEnum
from random import Random
from typing import NamedTuple, final

import attrs

from ..contacts import CONTACT6_SIZE
from ..errors import LocalError, RemoteError, ValueTooLarge
from ..identity import Identity
from ..keyspace import KEY_SIZE
from ..network import Network
from ..wire.messages import REQUEST_ID_SIZE, ROUTE_ID_SIZE
from .channel.noise import FIRST_OVERHEAD, Initiator, Responder
from .channel.noise import KEY_SIZE as EPHEMERAL_SIZE

#: What a sender knows a message by, over all its attempts.
MESSAGE_ID_SIZE = 8
#: Bytes of UTF-8.
TOPIC_SIZE_MAX = 64
#: A ``Route`` without its body, its request id included: array, tag, flags, id, target, ttl, hops,
#: style, the longest issuer, and the length of the body.
ROUTE_OVERHEAD = (
    REQUEST_ID_SIZE
    + (1 + 1 + 2)
    + (2 + ROUTE_ID_SIZE)
    + (2 + KEY_SIZE)
    + (1 + 1 + 1)
    + (2 + CONTACT6_SIZE)
    + 3
)
#: The longest payload, and the longest answer: with all that goes around it 1,083 bytes, where the
#: narrower of the two channels has room for 1,159 in a datagram of 1,200. What is left is for new
#: fields.
PAYLOAD_MAX = 800
MESSAGE_SIZE_MAX = (
    ROUTE_OVERHEAD + FIRST_OVERHEAD + MESSAGE_ID_SIZE + 1 + TOPIC_SIZE_MAX + PAYLOAD_MAX
)

_PROLOGUE = b"dht send"


class Verdict(IntEnum):
    """How a message was taken by its target."""

    ANSWERED = 0
    NO_SERVER = 1
    """Nobody serves this topic there."""
    BUSY = 2
    """Too many messages of this topic wait for their answer there."""
    FAILED = 3
    """Whoever serves the topic ended before it had an answer."""


class Letter(NamedTuple):
    """What a message says."""

    message_id: bytes
    topic: str
    payload: bytes


def check_topic(topic: object) -> str:
    """A topic that can travel. Raises ``LocalError``."""
    try:
        if isinstance(topic, str) and len(topic.encode()) <= TOPIC_SIZE_MAX:
            return topic
    except UnicodeEncodeError:
        pass
    raise LocalError(f"a topic is a str of at most {TOPIC_SIZE_MAX} bytes of UTF-8, got {topic!r}")


def check_payload(payload: object) -> bytes:
    """A payload that can travel. Raises ``LocalError``, or ``ValueTooLarge``."""
    if not isinstance(payload, bytes):
        raise LocalError(f"a payload is bytes, got {payload!r} ({type(payload).__name__})")
    if len(payload) > PAYLOAD_MAX:
        raise ValueTooLarge(
            f"a payload of {len(payload)} bytes; {PAYLOAD_MAX} fit a datagram. Store what is "
            "larger with put_content(), and send its key"
        )
    return payload


def pack_letter(letter: Letter) -> bytes:
    topic = letter.topic.encode()
    return letter.message_id + bytes([len(topic)]) + topic + letter.payload


def unpack_letter_untrusted(plain: bytes) -> Letter:
    """Raises ``RemoteError`` for what ``pack_letter`` cannot have written."""
    head = MESSAGE_ID_SIZE + 1
    end = head + plain[MESSAGE_ID_SIZE] if len(plain) >= head else 0
    if not head <= end <= len(plain):
        raise RemoteError(f"a message of {len(plain)} bytes that ends in its topic")
    try:
        topic = plain[head:end].decode()
    except UnicodeDecodeError:
        raise RemoteError("a topic that is no UTF-8") from None
    return Letter(plain[:MESSAGE_ID_SIZE], topic, plain[end:])


def pack_answer(verdict: Verdict, payload: bytes = b"") -> bytes:
    return bytes([verdict]) + payload


def unpack_answer_untrusted(plain: bytes) -> tuple[Verdict, bytes]:
    """Raises ``RemoteError`` for what ``pack_answer`` cannot have written."""
    if not plain or plain[0] > max(Verdict):
        raise RemoteError(f"an answer that begins with {plain[:1].hex()!r}")
    return Verdict(plain[0]), plain[1:]


@final
@attrs.define(eq=False)
class Sealer:
    """Seals and opens for one identity in one network."""

    identity: Identity
    network: Network
    random: Random

    def seal(self, public_key: bytes, issuer: bytes, plain: bytes) -> tuple[bytes, Initiator]:
        """What only the owner of ``public_key`` can read, and what opens his answer. ``issuer``
        goes in the open and cannot be changed. Raises ``RemoteError`` for a key that is none."""
        noise = Initiator(
            static=self.identity.private_key,
            static_public=self.identity.public_key,
            remote_public=public_key,
            psk=self.network.secrets()[0].psk,
            prologue=self._prologue(issuer),
            ephemeral=self.random.randbytes(EPHEMERAL_SIZE),
        )
        return noise.write(plain), noise

    def open_untrusted(self, issuer: bytes, sealed: bytes) -> tuple[bytes, Responder]:
        """What somebody sealed for us, and what seals the answer; ``remote_public`` there is who.
        Raises ``RemoteError`` for anything else."""
        for secrets in self.network.secrets():
            noise = Responder(
                static=self.identity.private_key,
                static_public=self.identity.public_key,
                psk=secrets.psk,
                prologue=self._prologue(issuer),
            )
            try:
                return noise.read_untrusted(sealed), noise
            except RemoteError:
                continue  # while a network key is being replaced there are two
        raise RemoteError(f"{len(sealed)} bytes that nobody sealed for us")

    def answer(self, noise: Responder, plain: bytes) -> bytes:
        """The answer, sealed for whoever wrote; once for each message that was opened."""
        return noise.write(self.random.randbytes(EPHEMERAL_SIZE), plain)

    def _prologue(self, issuer: bytes) -> bytes:
        return _PROLOGUE + self.network.id + issuer
