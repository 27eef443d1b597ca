"""Sessions: what is kept of a peer that is spoken to again, and how much of that.

A session is two keys and two counters. It belongs to one peer at one proved address, and is found
by the id that the peer writes into each packet, so that it survives a change of the peer's address.
Each collection is bounded: a stranger who makes sessions takes room from other strangers first.
"""

from typing import final

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ...contacts import ADDRESS4_SIZE, Address, is_local
from ...identity import PUBLIC_KEY_SIZE
from ..admission import admission_source
from .noise import KEY_SIZE, Keys
from .packets import CID_SIZE, COUNTER_MAX, SESSION_HEAD_SIZE, pack_nonce, pack_session_head

#: Seconds after which a session gets new keys, with the next request. WireGuard takes 120 s, for a
#: handful of peers; guess.
REKEY_AFTER_S = 900.0
#: Seconds until that is tried again, when the peer had no room for another session; guess.
REKEY_AGAIN_S = 10.0
#: Seconds after which nothing is sent or taken under the old ones. WireGuard: 1.5 times as long.
REJECT_AFTER_S = 1200.0
#: Seconds without a packet after which a session is forgotten. WireGuard: 180; guess.
IDLE_S = 300.0
#: Who asks stops using it a little earlier than who answers forgets it, however their clocks run.
IDLE_MARGIN_S = 10.0
#: Seconds that the keys before the present ones still open what was under way.
RETIRED_S = 30.0
#: Seconds within which two sessions of the same two peers were opened by both at the same time.
SIMULTANEOUS_S = 10.0
#: Packets of one direction: new keys after half of what the counter can say, and none after all of
#: it but what could be sent before the next look at the clock.
REKEY_PACKETS = 2**31
REJECT_PACKETS = COUNTER_MAX + 1 - 2**28
#: A packet that is so many behind the newest one counts as seen. WireGuard has 8,128.
WINDOW = 1024
#: Memory: about 1.3 KB each, and 5.4 MB in all.
SESSIONS_MAX = 4096
#: One host, or one office behind a NAT, gets so many; whoever comes later is served without.
SESSIONS_PER_SOURCE_MAX = 64
#: Memory: the objects that encrypt take 2.2 KB each, a session has two; they are made anew in 1 µs.
HOT_MAX = 256
#: Half-open state: sessions whose address is unproved. Strangers push out each other, for seconds.
PENDING_MAX = 1024
PENDING_S = 10.0
PENDING_PER_SOURCE_MAX = 4
PENDING_PER_SUBNET_MAX = 16

#: Seconds: the order of use, and everything else that is not worth a look at each packet.
TOUCH_S = 1.0

# One object each, not one for each session.
_LONG_AGO = float("-inf")
_NEVER = float("inf")
_WINDOW_MASK = (1 << WINDOW) - 1
_SUBNET4_SIZE = 3  # a /24
_SUBNET6_SIZE = 7  # a /56, what a customer has at most as a rule (RFC 6177)


@final
class Session:
    """What two peers share. Plain slots: its fields are read for every packet. There are thousands
    of it, so what belongs together is one object, and one that others have already if it can be."""

    __slots__ = (
        "address",
        "challenged_at",
        "cid",
        "closed",
        "created_at",
        "distrusted",
        "heard_at",
        "highest",
        "initiated",
        "keys",
        "missing",
        "nosession_at",
        "opener",
        "peer_cid",
        "place",
        "rekeyed_at",
        "retired_at",
        "sealer",
        "sent",
        "stale_at",
        "touch_at",
        "waiting",
    )

    def __init__(
        self,
        now: float,
        *,
        place: bytes,
        address: Address,
        cid: bytes,
        peer_cid: bytes,
        keys: Keys,
        initiated: bool,
    ) -> None:
        #: The peer at its address: what a contact is on the wire.
        self.place = place
        self.address = address
        #: What the peer writes into its packets, and what we write into ours.
        self.cid = cid
        self.peer_cid = peer_cid
        #: What seals, then what opens.
        self.keys = keys.send + keys.receive
        #: Did we open it?
        self.initiated = initiated
        self.created_at = now
        #: When a packet came last, to within ``TOUCH_S``.
        self.heard_at = now
        #: Until then packets need no second thought: sent ones, received ones.
        self.stale_at = 0.0
        self.touch_at = 0.0
        #: When another took its place.
        self.retired_at = _NEVER
        self.closed = False
        #: The counter of the next packet that we send.
        self.sent = 0
        #: The highest counter that came, and which of those before it have not come: bit i is
        #: ``highest - i``. Nothing is missing as long as the network keeps the order.
        self.highest = -1
        self.missing = 0
        #: The objects that encrypt, while the session is hot.
        self.sealer: ChaCha20Poly1305 | None = None
        self.opener: ChaCha20Poly1305 | None = None
        #: The first message asked since the peer was heard last. The same object once more is a
        #: retry, and then nothing is asked here until the peer is heard again.
        self.waiting: bytes | None = None
        self.distrusted = False
        #: When new keys were last asked for; when the peer last said that it has forgotten this
        #: session, or that we are at another address.
        self.rekeyed_at = self.nosession_at = self.challenged_at = _LONG_AGO
        self.touch(now)

    @property
    def until(self) -> float:
        """When the keys end. Never before ``touch_at``."""
        return min(self.created_at + REJECT_AFTER_S, self.retired_at + RETIRED_S)

    @property
    def public_key(self) -> bytes:
        """Whose it is."""
        return self.place[:PUBLIC_KEY_SIZE]

    def touch(self, now: float) -> None:
        """A packet came, or the session begins."""
        self.heard_at = now
        self.distrusted = False
        self.touch_at = min(now + TOUCH_S, self.until)
        due_at = self.created_at + REKEY_AFTER_S if self.sent < REKEY_PACKETS else now
        due_at = max(due_at, self.rekeyed_at + REKEY_AGAIN_S)
        self.stale_at = min(now + IDLE_S - IDLE_MARGIN_S, due_at, self.until)

    def distrust(self) -> None:
        """The peer may have forgotten it."""
        self.distrusted = True
        self.stale_at = self.touch_at = _LONG_AGO

    def usable(self, now: float) -> bool:
        """May something be asked under these keys, even though new ones are due?"""
        return (
            not self.distrusted
            and now < self.until
            and now < self.heard_at + IDLE_S - IDLE_MARGIN_S
            and self.sent < REJECT_PACKETS
        )

    def seen(self, counter: int) -> bool:
        """Has a packet with this counter been here, or is it too late to know?"""
        behind = self.highest - counter
        return behind >= 0 and (behind >= WINDOW or not self.missing >> behind & 1)

    def mark(self, counter: int) -> None:
        """A packet with this counter is here, and has not been ``seen`` before."""
        ahead = counter - self.highest
        if ahead <= 0:
            self.missing ^= 1 << -ahead
            return
        if ahead >= WINDOW:
            self.missing = _WINDOW_MASK ^ 1
        else:
            self.missing = (self.missing << ahead | (1 << ahead) - 2) & _WINDOW_MASK
        self.highest = counter


@final
@attrs.define(eq=False)
class Sessions:
    """The sessions at proved addresses, at most ``SESSIONS_MAX``, the longest silent first to go.

    ``by_cid`` finds whose packet it is, ``current`` with which session to ask a contact; both are
    for reading.
    """

    own_public_key: bytes
    #: In the order of use.
    by_cid: dict[bytes, Session] = attrs.field(factory=dict, init=False)
    #: By the packed contact.
    current: dict[bytes, Session] = attrs.field(factory=dict, init=False)
    #: By the peer's address and its id of the session: it may tell us that it forgot.
    _by_peer: dict[bytes, Session] = attrs.field(factory=dict, init=False)
    _counts: dict[bytes, int] = attrs.field(factory=dict, init=False)
    #: Those that others have taken the place of, the oldest first.
    _retired: dict[Session, None] = attrs.field(factory=dict, init=False)
    #: Those whose objects are made, the first made first.
    _hot: dict[Session, None] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.by_cid)

    def has_room(self, public_key: bytes, address: Address) -> bool:
        """May this peer have a session, or another one, at this address?"""
        count = self._counts.get(admission_source(address, public_key), 0)
        return count < SESSIONS_PER_SOURCE_MAX

    def of_peer(self, peer_cid: bytes, address: Address) -> Session | None:
        """The session that the peer there calls so."""
        return self._by_peer.get(address + peer_cid)

    def install(self, now: float, session: Session) -> None:
        """From now on it is the one in which its peer is asked, and the one before it retires.

        Of two that both peers opened at the same time both keep the same: the one that was opened
        by the smaller public key.
        """
        other = self.current.get(session.place)
        self.by_cid[session.cid] = session
        self._enter(session)
        if other is None:
            self.current[session.place] = session
        elif (
            other.initiated != session.initiated
            and now - other.created_at < SIMULTANEOUS_S
            and other.initiated == (self.own_public_key < session.public_key)
        ):
            self._retire(now, session)
        else:
            self.current[session.place] = session
            self._retire(now, other)
        if len(self.by_cid) > SESSIONS_MAX:
            self.close(next(iter(self.by_cid.values())))

    def touch(self, now: float, session: Session) -> bool:
        """A packet of it came. False: its keys have ended, and so has it."""
        if now >= session.until or session.sent >= REJECT_PACKETS:
            self.close(session)
            return False
        session.touch(now)
        del self.by_cid[session.cid]
        self.by_cid[session.cid] = session
        return True

    def move(self, now: float, session: Session, address: Address) -> bool:
        """Its peer is at another address now. False: there is no room for it there."""
        public_key = session.public_key
        if not self.has_room(public_key, address):
            return False
        self._leave(session)
        session.place = public_key + address
        session.address = address
        self._enter(session)
        if session.place in self.current:  # the peer has opened another one from there
            self._retire(now, session)
        elif session not in self._retired:
            self.current[session.place] = session
        return True

    def close(self, session: Session) -> None:
        """It is forgotten."""
        session.closed = True
        del self.by_cid[session.cid]
        self._retired.pop(session, None)
        self._hot.pop(session, None)
        session.sealer = session.opener = None
        self._leave(session)

    def sealer(self, session: Session) -> ChaCha20Poly1305:
        """What encrypts for a session that had gone cold."""
        session.sealer = sealer = ChaCha20Poly1305(session.keys[:KEY_SIZE])
        self._heat(session)
        return sealer

    def opener(self, session: Session) -> ChaCha20Poly1305:
        """What decrypts for a session that had gone cold."""
        session.opener = opener = ChaCha20Poly1305(session.keys[KEY_SIZE:])
        self._heat(session)
        return opener

    def seal(self, session: Session, tag: int, text: bytes, associated: bytes | None) -> bytes:
        """The next packet of a session."""
        counter = session.sent
        session.sent = counter + 1
        sealer = session.sealer or self.sealer(session)
        sealed = sealer.encrypt(pack_nonce(counter), text, associated)
        return pack_session_head(tag, session.peer_cid, counter) + sealed

    def open_untrusted(
        self, session: Session, data: bytes, associated: bytes | None = None
    ) -> bytes | None:
        """What a packet of it says; None for what does not open or was here before."""
        counter = int.from_bytes(data[1 + CID_SIZE : SESSION_HEAD_SIZE])
        if session.seen(counter):
            return None
        opener = session.opener or self.opener(session)
        try:
            text = opener.decrypt(pack_nonce(counter), data[SESSION_HEAD_SIZE:], associated)
        except InvalidTag:
            return None
        session.mark(counter)
        return text

    def sweep(self, now: float) -> None:
        """Forgets what is over by now."""
        while self.by_cid:
            longest_silent = next(iter(self.by_cid.values()))
            if now < longest_silent.heard_at + IDLE_S:
                break
            self.close(longest_silent)
        while self._retired:
            oldest = next(iter(self._retired))
            if now < oldest.until:
                break
            self.close(oldest)

    def _retire(self, now: float, session: Session) -> None:
        session.retired_at = min(session.retired_at, now)
        session.touch_at = min(session.touch_at, session.until)
        self._retired[session] = None

    def _heat(self, session: Session) -> None:
        if session.closed:
            return
        self._hot[session] = None
        if len(self._hot) > HOT_MAX:
            coldest = next(iter(self._hot))
            del self._hot[coldest]
            coldest.sealer = coldest.opener = None

    def _enter(self, session: Session) -> None:
        """Into everything that hangs on the address."""
        self._by_peer[session.address + session.peer_cid] = session
        source = admission_source(session.address, session.public_key)
        self._counts[source] = self._counts.get(source, 0) + 1

    def _leave(self, session: Session) -> None:
        if self.current.get(session.place) is session:
            del self.current[session.place]
        name = session.address + session.peer_cid
        if self._by_peer.get(name) is session:
            del self._by_peer[name]
        source = admission_source(session.address, session.public_key)
        self._counts[source] -= 1
        if not self._counts[source]:
            del self._counts[source]


@final
@attrs.define(eq=False)
class Pending:
    """Sessions whose peer has not shown yet that it receives at its address. Nothing is sent in
    them, and one that hears nothing is forgotten in seconds: at most so many, and few of a host."""

    _sessions: dict[bytes, Session] = attrs.field(factory=dict, init=False)
    _counts: dict[bytes, int] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, cid: bytes) -> bool:
        return cid in self._sessions

    def get(self, cid: bytes) -> Session | None:
        return self._sessions.get(cid)

    def has_room(self, now: float, public_key: bytes, address: Address) -> bool:
        """May one more of this host, and of its subnet, wait?"""
        self.sweep(now)
        shares = _shares(public_key, address)
        return all(self._counts.get(key, 0) < most for key, most in shares)

    def add(self, session: Session) -> None:
        """It waits from now on; there was room."""
        self._sessions[session.cid] = session
        for key, _ in _shares(session.public_key, session.address):
            self._counts[key] = self._counts.get(key, 0) + 1
        if len(self._sessions) > PENDING_MAX:
            self.remove(next(iter(self._sessions.values())))

    def remove(self, session: Session) -> None:
        """It is confirmed, or forgotten."""
        del self._sessions[session.cid]
        for key, _ in _shares(session.public_key, session.address):
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    def sweep(self, now: float) -> None:
        """Forgets what is over by now."""
        while self._sessions:
            oldest = next(iter(self._sessions.values()))
            if now < oldest.created_at + PENDING_S:
                break
            self.remove(oldest)


def _shares(public_key: bytes, address: Address) -> list[tuple[bytes, int]]:
    """What a half-open session is counted by, and how many there may be of each."""
    if is_local(address):
        return [(public_key, PENDING_PER_SOURCE_MAX)]
    subnet = address[: _SUBNET4_SIZE if len(address) == ADDRESS4_SIZE else _SUBNET6_SIZE]
    return [
        (admission_source(address, b""), PENDING_PER_SOURCE_MAX),
        (subnet, PENDING_PER_SUBNET_MAX),
    ]
