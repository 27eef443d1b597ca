"""The datagrams of the encrypted channel, to the byte: what is where, how long, and its checks.

Numbers are big-endian, sizes in bytes. ``noise 1`` and ``noise 2`` are the messages of ``noise``;
a connection id, cid, is chosen by whoever receives the packets that carry it; a frame is
``request id (8) | message``.

    INIT      01 | version | cid of the asker (8) | noise 1 | mac1 (16) | mac2 (16)
              noise 1 carries: flags (1) | token (16) | size (2) | frame | zeros
    REPLY     02 | version | cid of the asker (8) | noise 2 | mac1 (16)
              noise 2 carries: flags (1) | cid of the answerer (8) | token (16) | frame
    COOKIE    03 | version | cid of the asker (8) | nonce (12) | sealed cookie (32)
    DATA      04 | cid (8) | counter (4) | sealed frame (.. + 16)
    NOSESSION 05 | cid (8) | counter (4) | mac (16)
    CHALLENGE 06 | cid (8) | counter (4) | sealed value (8 + 16)
    ECHO      07 | cid (8) | counter (4) | sealed value (8 + 16)

``docs/protocol.md`` says what each is for. Nothing here has a state but the ids that it draws.
"""

from hashlib import blake2s
from hmac import compare_digest
from random import Random
from struct import Struct
from typing import NamedTuple, final

from ...config import DATAGRAM_SIZE_MAX
from ...errors import RemoteError
from ...network import NETWORK_ID_SIZE
from .noise import FIRST_OVERHEAD, SECOND_OVERHEAD, TAG_SIZE

VERSION = 1

INIT, REPLY, COOKIE, DATA, NO_SESSION, CHALLENGE, ECHO = range(1, 8)

CID_SIZE = 8
MAC_SIZE = 16
TOKEN_SIZE = 16
COOKIE_SIZE = 16
#: What a path is proved by: 64 bits that only who receives there can repeat.
PATH_SIZE = 8

#: Of INIT, REPLY and COOKIE: tag, version, cid of the asker.
HEAD_SIZE = 2 + CID_SIZE
_FIRST_HEAD_SIZE = 1 + TOKEN_SIZE + 2
_SECOND_HEAD_SIZE = 1 + CID_SIZE + TOKEN_SIZE
INIT_OVERHEAD = HEAD_SIZE + FIRST_OVERHEAD + _FIRST_HEAD_SIZE + 2 * MAC_SIZE
REPLY_OVERHEAD = HEAD_SIZE + SECOND_OVERHEAD + _SECOND_HEAD_SIZE + MAC_SIZE
NONCE_SIZE = 12
COOKIE_PACKET_SIZE = HEAD_SIZE + NONCE_SIZE + COOKIE_SIZE + TAG_SIZE
#: Of the packets of a session: tag, cid, counter.
SESSION_HEAD_SIZE = 1 + CID_SIZE + 4
DATA_OVERHEAD = SESSION_HEAD_SIZE + TAG_SIZE
NO_SESSION_SIZE = SESSION_HEAD_SIZE + MAC_SIZE
PATH_PACKET_SIZE = DATA_OVERHEAD + PATH_SIZE

#: The longest frames that fit.
INIT_ROOM = DATAGRAM_SIZE_MAX - INIT_OVERHEAD
REPLY_ROOM = DATAGRAM_SIZE_MAX - REPLY_OVERHEAD
DATA_ROOM = DATAGRAM_SIZE_MAX - DATA_OVERHEAD

#: A counter is 32 bits, and no session comes near.
COUNTER_MAX = 2**32 - 1

NO_TOKEN = bytes(TOKEN_SIZE)
NO_CID = bytes(CID_SIZE)
NO_MAC = bytes(MAC_SIZE)

# Flags of an INIT.
#: The asker would like a session.
KEEP = 1
# Flags of a REPLY.
#: There is a session: the cid of the answerer is no zeros.
KEPT = 1
#: The request was not served: ask again, in the session or with the token.
REPEAT = 2
#: The session is forgotten unless something is sent in it soon.
CONFIRM = 4

_KNOWN_OF_INIT = KEEP
_KNOWN_OF_REPLY = KEPT | REPEAT | CONFIRM

_PROLOGUE = b"dht/1"
_CID_TAG = b"dht cid "
_CID_RANDOM_SIZE = 4

#: Tag, cid and counter of a packet of a session.
pack_session_head = Struct(f">B{CID_SIZE}sI").pack
#: The nonce of a counter (Noise, section 12.3): 32 bits of zeros, then little-endian.
pack_nonce = Struct("<4xQ").pack


class First(NamedTuple):
    """What an INIT carries."""

    flags: int
    token: bytes
    #: Empty: only a session is wanted.
    frame: bytes


class Second(NamedTuple):
    """What a REPLY carries."""

    flags: int
    cid: bytes
    token: bytes
    frame: bytes


def mac(key: bytes, data: bytes) -> bytes:
    """The 16 bytes that show that whoever made ``data`` knows ``key``."""
    return blake2s(data, key=key, digest_size=MAC_SIZE).digest()


def head(tag: int, cid: bytes) -> bytes:
    """How INIT, REPLY and COOKIE begin."""
    return bytes((tag, VERSION)) + cid


def prologue(network_id: bytes, cid: bytes) -> bytes:
    """What both ends of a handshake agree on beforehand: the protocol, the network, how its INIT
    begins. With any other it does not open."""
    assert len(network_id) == NETWORK_ID_SIZE
    return _PROLOGUE + network_id + head(INIT, cid)


def pack_first(flags: int, token: bytes, frame: bytes, *, padded: bool) -> bytes:
    """The payload of noise 1; ``padded``: so that the INIT is as long as a datagram can be."""
    size = len(frame)
    assert size <= INIT_ROOM
    packed = b"%c%b%b%b" % (flags, token, size.to_bytes(2), frame)
    return packed.ljust(_FIRST_HEAD_SIZE + INIT_ROOM, b"\0") if padded else packed


def unpack_first_untrusted(payload: bytes) -> First:
    """Raises ``RemoteError`` unless every byte is accounted for."""
    end = _FIRST_HEAD_SIZE + int.from_bytes(payload[_FIRST_HEAD_SIZE - 2 : _FIRST_HEAD_SIZE])
    if len(payload) < _FIRST_HEAD_SIZE or len(payload) < end:
        raise RemoteError(f"a first payload of {len(payload)} bytes")
    if payload[0] & ~_KNOWN_OF_INIT or payload[end:] != bytes(len(payload) - end):
        raise RemoteError("a first payload with unknown flags, or something in its padding")
    return First(payload[0], payload[1 : 1 + TOKEN_SIZE], payload[_FIRST_HEAD_SIZE:end])


def pack_second(flags: int, cid: bytes, token: bytes, frame: bytes) -> bytes:
    """The payload of noise 2."""
    return b"%c%b%b%b" % (flags, cid, token, frame)


def unpack_second_untrusted(payload: bytes) -> Second:
    """Raises ``RemoteError`` for what is too short or contradicts itself."""
    if len(payload) < _SECOND_HEAD_SIZE or payload[0] & ~_KNOWN_OF_REPLY:
        raise RemoteError(f"a second payload of {len(payload)} bytes, or with unknown flags")
    flags, cid = payload[0], payload[1 : 1 + CID_SIZE]
    if bool(flags & KEPT) != (cid != NO_CID):
        raise RemoteError("a session without an id, or an id without a session")
    return Second(
        flags, cid, payload[1 + CID_SIZE : _SECOND_HEAD_SIZE], payload[_SECOND_HEAD_SIZE:]
    )


@final
class Cids:
    """Draws connection ids, and knows its own again, also after a restart: half of each is a hash
    of the other half under a secret. So a packet with an id made up gets no answer at all."""

    def __init__(self, private_bytes: bytes, random: Random) -> None:
        self._key = blake2s(private_bytes, person=_CID_TAG).digest()
        self._random = random

    def draw(self) -> bytes:
        """A new one. One of 2^32 collides with another; who keeps many draws again."""
        drawn = self._random.randbytes(_CID_RANDOM_SIZE)
        return drawn + self._check(drawn)

    def issued(self, cid: bytes) -> bool:
        """Was it drawn here, before or after any restart?"""
        drawn = cid[:_CID_RANDOM_SIZE]
        return compare_digest(self._check(drawn), cid[_CID_RANDOM_SIZE:])

    def _check(self, drawn: bytes) -> bytes:
        return blake2s(drawn, key=self._key, digest_size=CID_SIZE - _CID_RANDOM_SIZE).digest()
