"""Sessions that are not where they are expected: a peer at another address, a peer that forgot.

A packet of a session from a new address may be from its peer, behind a NAT that has changed its
mind, or from somebody who copied it. Who receives there is asked to repeat a value, and only then
the session moves; until then the packet has no effect. And a packet of a session that is not known
any more, since this node restarted or made room, is answered by saying so: then the asker need not
wait to find out.
"""

from collections.abc import Callable, Sequence
from hmac import compare_digest
from typing import final

from ...contacts import Address
from ...network import Secrets
from ..admission import Buckets
from .epochs import Epochs
from .packets import (
    CHALLENGE,
    CID_SIZE,
    ECHO,
    NO_SESSION,
    NO_SESSION_SIZE,
    PATH_PACKET_SIZE,
    SESSION_HEAD_SIZE,
    Cids,
    mac,
)
from .session import Session, Sessions

#: "I do not know this session" is said so often, a second and at once. It is shorter than what
#: asks for it, and tells nothing to who does not know an id of ours; guess.
NO_SESSION_PER_S = 100.0
NO_SESSION_BURST = 100.0
#: Seconds. A peer may make us start a handshake by saying that, or send everything again by saying
#: that we have moved, so often; guess: some round trips.
NO_SESSION_AGAIN_S = 5.0
MOVED_AGAIN_S = 1.0

# What a session seals beside frames is told apart by its associated data.
_CHALLENGE_DATA = bytes((CHALLENGE,))
_ECHO_DATA = bytes((ECHO,))
_CID_END = 1 + CID_SIZE


@final
class Elsewhere:
    """Checks paths, and says and hears that sessions are forgotten."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        epochs: Epochs,
        cids: Cids,
        secrets: Sequence[Secrets],
        own_public_key: bytes,
        send: Callable[[bytes, Address], None],
    ) -> None:
        self._sessions = sessions
        self._epochs = epochs
        self._cids = cids
        self._secrets = secrets
        self._own_mac_key = secrets[0].mac_key(own_public_key)
        self._send = send
        self._said = Buckets(NO_SESSION_PER_S, NO_SESSION_BURST, names_max=1)

    # ---- a peer at another address ----

    def on_moved(self, now: float, session: Session, data: bytes, source: Address) -> None:
        """A packet of this session came from elsewhere: whoever receives there shall say so."""
        newest = int.from_bytes(data[_CID_END:SESSION_HEAD_SIZE]) > session.highest
        if not newest or len(data) < PATH_PACKET_SIZE:
            return  # late, from where the peer was before; or shorter than what it would be sent
        if now >= session.until or self._sessions.open_untrusted(session, data) is None:
            return
        value = self._epochs.path(now, session.cid, source)
        self._send(self._sessions.seal(session, CHALLENGE, value, _CHALLENGE_DATA), source)

    def on_challenge(self, now: float, data: bytes, source: Address) -> Session | None:
        """Our own address is another now, as the peer sees it. The session, if what was asked in
        it is to be asked again."""
        session = self._sessions.by_cid.get(data[1:_CID_END])
        if session is None or source != session.address or len(data) != PATH_PACKET_SIZE:
            return None
        if now >= session.until:
            return None
        value = self._sessions.open_untrusted(session, data, _CHALLENGE_DATA)
        if value is None:
            return None
        self._send(self._sessions.seal(session, ECHO, value, _ECHO_DATA), source)
        if now < session.challenged_at + MOVED_AGAIN_S:
            return None
        session.challenged_at = now
        return session

    def on_echo(self, now: float, data: bytes, source: Address) -> None:
        """Whoever receives there is the peer: the session moves."""
        session = self._sessions.by_cid.get(data[1:_CID_END])
        if session is None or source == session.address or len(data) != PATH_PACKET_SIZE:
            return
        if now >= session.until:
            return
        value = self._sessions.open_untrusted(session, data, _ECHO_DATA)
        if value is not None and self._epochs.path_holds(now, value, session.cid, source):
            self._sessions.move(now, session, source)

    # ---- a session that one end has forgotten ----

    def say_no_session(self, now: float, data: bytes, source: Address) -> None:
        """Only of ids that were drawn here, before a restart perhaps: to all else, silence."""
        if self._cids.issued(data[1:_CID_END]) and self._said.allow(now):
            told = bytes((NO_SESSION,)) + data[1:SESSION_HEAD_SIZE]
            self._send(told + mac(self._own_mac_key, told), source)

    def on_no_session(self, now: float, data: bytes, source: Address) -> tuple[Session, int] | None:
        """The peer has restarted, in all likelihood. The session in which it was asked what it did
        not understand, and the counter of that. The caller looks whether it is waiting for it."""
        session = self._sessions.of_peer(data[1:_CID_END], source)
        if (
            session is None
            or len(data) != NO_SESSION_SIZE
            or now < session.nosession_at + NO_SESSION_AGAIN_S
            or not self._is_mac_of(session.public_key, data)
        ):
            return None
        session.nosession_at = now
        return session, int.from_bytes(data[_CID_END:SESSION_HEAD_SIZE])

    def _is_mac_of(self, public_key: bytes, data: bytes) -> bool:
        told, tag = data[:SESSION_HEAD_SIZE], data[SESSION_HEAD_SIZE:]
        return any(
            compare_digest(mac(each.mac_key(public_key), told), tag) for each in self._secrets
        )
