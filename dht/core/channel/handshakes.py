"""Handshakes: those that we started, and those that others start with us.

One to a peer carries a request and brings back its answer. Of those that we started is kept what
their reply needs, for as long as an answer counts; of those that others start nothing is kept here.
What is cheap comes first: length, version, the check that only members of the network can make,
"seen before", load; then Diffie-Hellman.
"""

from hmac import compare_digest
from random import Random
from typing import final

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ...contacts import Address, Contact
from ...errors import RemoteError
from ...identity import Identity
from ...network import Network
from .epochs import Epochs
from .load import Gate, Verdict
from .noise import KEY_SIZE, Initiator, Responder
from .packets import (
    COOKIE,
    COOKIE_PACKET_SIZE,
    HEAD_SIZE,
    INIT,
    INIT_OVERHEAD,
    MAC_SIZE,
    NO_MAC,
    NONCE_SIZE,
    REPLY,
    REPLY_OVERHEAD,
    REPLY_ROOM,
    VERSION,
    Second,
    head,
    mac,
    pack_first,
    pack_second,
    prologue,
    unpack_first_untrusted,
    unpack_second_untrusted,
)
from .session import Session

#: Seconds for which the reply to a handshake counts. As long as a late answer, see ``requests``.
STARTED_S = 10.0
#: Memory: handshakes that we started and that were not replied to, about 2 KB each. Only we start
#: them, but whoever names contacts that do not exist makes us.
STARTED_MAX = 2048

_MACS_SIZE = 2 * MAC_SIZE


@final
@attrs.define(eq=False, kw_only=True)
class Started:
    """A handshake of ours that waits for its reply."""

    contact: Contact
    #: The request that it carries; empty: only a session is wanted.
    frame: bytes = attrs.field(repr=False)
    #: Requests that wait for the session that it opens.
    queue: list[bytes] = attrs.field(factory=list, repr=False)
    #: Does it want a session?
    keep: bool
    #: How often it was started anew by itself: for a cookie, or to repeat the request.
    again: int = 0
    key_number: int
    started_at: float
    cid: bytes
    noise: Initiator = attrs.field(repr=False)
    mac1: bytes = attrs.field(repr=False)


@final
@attrs.define(eq=False, kw_only=True)
class Asked:
    """A handshake of somebody else, with its request. It is the ticket of the answer."""

    public_key: bytes
    source: Address
    peer_cid: bytes
    key_number: int
    noise: Responder = attrs.field(repr=False)
    keep: bool
    frame: bytes = attrs.field(repr=False)
    #: Has the peer shown that it receives at ``source``?
    reachable: bool
    #: And that this is no copy of something older?
    fresh: bool
    #: Of the INIT, in bytes.
    size: int
    replied: bool = False
    #: The session that it has opened, if it has.
    session: Session | None = None

    @property
    def room(self) -> int:
        """The longest frame that may go back: not a byte more than came, to who knows where."""
        return REPLY_ROOM if self.reachable else self.size - REPLY_OVERHEAD


@final
class Starting:
    """The handshakes that we started."""

    def __init__(self, identity: Identity, network: Network, random: Random) -> None:
        self._identity = identity
        self._network_id = network.id
        self._secrets = network.secrets()
        self._random = random
        self._mac_keys = [each.mac_key(identity.public_key) for each in self._secrets]
        # cid -> handshake, the oldest first
        self._started: dict[bytes, Started] = {}
        # packed contact -> the last one that wants a session with it
        self._opening: dict[bytes, Started] = {}

    def __len__(self) -> int:
        """How many wait for their reply."""
        return len(self._started)

    def __contains__(self, cid: bytes) -> bool:
        return cid in self._started

    def opening(self, contact: Contact) -> Started | None:
        """A handshake under way that wants a session with this contact."""
        return self._opening.get(contact.packed)

    def start(
        self,
        now: float,
        contact: Contact,
        *,
        cid: bytes,
        flags: int,
        token: bytes,
        cookie: bytes | None,
        frame: bytes,
        padded: bool,
        queue: list[bytes],
        key_number: int,
        again: int,
    ) -> bytes:
        """A new INIT for this contact. Raises ``RemoteError`` if its public key is none."""
        secrets = self._secrets[key_number]
        noise = Initiator(
            static=self._identity.private_key,
            static_public=self._identity.public_key,
            remote_public=contact.public_key,
            psk=secrets.psk,
            prologue=prologue(self._network_id, cid),
            ephemeral=self._random.randbytes(KEY_SIZE),
        )
        body = head(INIT, cid) + noise.write(pack_first(flags, token, frame, padded=padded))
        mac1 = mac(secrets.mac_key(contact.public_key), body)
        body += mac1
        started = Started(
            contact=contact,
            frame=frame,
            queue=queue,
            keep=bool(flags),
            again=again,
            key_number=key_number,
            started_at=now,
            cid=cid,
            noise=noise,
            mac1=mac1,
        )
        self._started[cid] = started
        if started.keep:
            self._opening[contact.packed] = started
        if len(self._started) > STARTED_MAX:
            self._remove(next(iter(self._started.values())))
        return body + (NO_MAC if cookie is None else mac(cookie, body))

    def read_reply(self, data: bytes, source: Address) -> tuple[Started, Second] | None:
        """Of which of our handshakes this is the reply, and what it says; that one is over then."""
        started = self._started.get(data[2:HEAD_SIZE])
        if (
            started is None
            or len(data) < REPLY_OVERHEAD
            or data[1] != VERSION
            or source != started.contact.address
            or not compare_digest(
                mac(self._mac_keys[started.key_number], data[:-MAC_SIZE]), data[-MAC_SIZE:]
            )
        ):
            return None
        try:
            payload = started.noise.read_untrusted(data[HEAD_SIZE:-MAC_SIZE])
            second = unpack_second_untrusted(payload)
        except RemoteError:
            return None
        self._remove(started)
        return started, second

    def read_cookie(self, data: bytes, source: Address) -> tuple[Started, bytes] | None:
        """Which of our handshakes met load, and the cookie to come back with; it is over then."""
        started = self._started.get(data[2:HEAD_SIZE])
        if (
            started is None
            or len(data) != COOKIE_PACKET_SIZE
            or data[1] != VERSION
            or source != started.contact.address
        ):
            return None
        key = self._secrets[started.key_number].cookie_key(started.contact.public_key)
        nonce, sealed = data[HEAD_SIZE : HEAD_SIZE + NONCE_SIZE], data[HEAD_SIZE + NONCE_SIZE :]
        try:
            cookie = ChaCha20Poly1305(key).decrypt(nonce, sealed, started.mac1)
        except InvalidTag:
            return None
        self._remove(started)
        return started, cookie

    def sweep(self, now: float) -> None:
        """Forgets those whose reply would come too late."""
        while self._started:
            oldest = next(iter(self._started.values()))
            if now < oldest.started_at + STARTED_S:
                break
            self._remove(oldest)

    def _remove(self, started: Started) -> None:
        del self._started[started.cid]
        if self._opening.get(started.contact.packed) is started:
            del self._opening[started.contact.packed]


@final
class Answering:
    """The handshakes that others start. Remembers none of them, except that it was there."""

    def __init__(
        self, identity: Identity, network: Network, random: Random, epochs: Epochs
    ) -> None:
        self._identity = identity
        self._network_id = network.id
        self._secrets = network.secrets()
        self._random = random
        self._epochs = epochs
        self._gate = Gate()
        self._mac_keys = [each.mac_key(identity.public_key) for each in self._secrets]
        self._cookie_keys = [each.cookie_key(identity.public_key) for each in self._secrets]

    def read(self, now: float, data: bytes, source: Address) -> Asked | bytes | None:
        """What an INIT asks; or the COOKIE to send back instead; or None, and then silence."""
        if len(data) < INIT_OVERHEAD or data[1] != VERSION:
            return None
        number = self._key_number(data)
        if number is None:
            return None
        epochs = self._epochs
        ephemeral = data[HEAD_SIZE : HEAD_SIZE + KEY_SIZE]
        if epochs.seen(now, ephemeral):
            return None
        cookied = self._is_cookied(now, data, source)
        verdict = self._gate.judge(now, source, cookied=cookied, crowded=epochs.full(now))
        if verdict is Verdict.COOKIE:
            return self._cookie(now, data, source, number)
        if verdict is Verdict.DROP:
            return None
        noise = Responder(
            static=self._identity.private_key,
            static_public=self._identity.public_key,
            psk=self._secrets[number].psk,
            prologue=prologue(self._network_id, data[2:HEAD_SIZE]),
        )
        try:
            first = unpack_first_untrusted(noise.read_untrusted(data[HEAD_SIZE:-_MACS_SIZE]))
        except RemoteError:
            return None
        # Only now: who copies an ephemeral key cannot make the true one look like a copy.
        remembered = epochs.remember(now, ephemeral)
        public_key = noise.remote_public
        if public_key == self._identity.public_key:
            return None  # nobody else can have made it: our own, or that of a copy of us
        reachable = cookied or epochs.token_holds(now, first.token, public_key, source)
        return Asked(
            public_key=public_key,
            source=source,
            size=len(data),
            peer_cid=data[2:HEAD_SIZE],
            key_number=number,
            noise=noise,
            keep=bool(first.flags),
            frame=first.frame,
            reachable=reachable,
            fresh=reachable and remembered,
        )

    def write(self, now: float, asked: Asked, *, flags: int, cid: bytes, frame: bytes) -> bytes:
        """The REPLY. Its keys are in ``asked.noise`` from then on."""
        token = self._epochs.token(now, asked.public_key, asked.source)
        second = asked.noise.write(
            self._random.randbytes(KEY_SIZE), pack_second(flags, cid, token, frame)
        )
        body = head(REPLY, asked.peer_cid) + second
        return body + mac(self._secrets[asked.key_number].mac_key(asked.public_key), body)

    def _key_number(self, data: bytes) -> int | None:
        """Which network key the sender knows: the check that scanners and junk fail."""
        body, mac1 = data[:-_MACS_SIZE], data[-_MACS_SIZE:-MAC_SIZE]
        for number, key in enumerate(self._mac_keys):
            if compare_digest(mac(key, body), mac1):
                return number
        return None

    def _is_cookied(self, now: float, data: bytes, source: Address) -> bool:
        body, mac2 = data[:-MAC_SIZE], data[-MAC_SIZE:]
        return mac2 != NO_MAC and any(
            compare_digest(mac(cookie, body), mac2) for cookie in self._epochs.cookies(now, source)
        )

    def _cookie(self, now: float, data: bytes, source: Address, number: int) -> bytes:
        """Sealed for members who have seen the INIT itself."""
        key = self._cookie_keys[number]
        nonce = self._random.randbytes(NONCE_SIZE)
        mac1 = data[-_MACS_SIZE:-MAC_SIZE]
        cookie = self._epochs.cookie(now, source)
        sealed = ChaCha20Poly1305(key).encrypt(nonce, cookie, mac1)
        return head(COOKIE, data[2:HEAD_SIZE]) + nonce + sealed
