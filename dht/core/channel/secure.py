"""The encrypted channel: who said it is proved, and nobody else can read it.

The first request to a peer rides in the first message of a handshake, its answer in the second; who
is asked again gets a session, and then each datagram costs little more than a checksum. Where what
is decided: ``handshakes`` and ``noise`` open and answer, ``load`` says how many, ``epochs`` what is
fresh and which address is proved, ``session`` what is kept, ``given`` what others gave us. Here it
is put together: which packet is answered with which.

An address is proved when its owner has sent back what only somebody there can have received. Until
then it is sent no more bytes than came from it, and nothing that it asks has an effect.
``docs/protocol.md`` describes the packets.
"""

from collections.abc import Callable
from random import Random
from typing import final

from cryptography.exceptions import InvalidTag

from ...config import DATAGRAM_SIZE_MAX
from ...contacts import Address, Contact, contact_at
from ...errors import RemoteError
from ...identity import Identity
from ...network import Network
from ...wire.messages import REQUEST_ID_SIZE
from .elsewhere import Elsewhere
from .epochs import Epochs
from .face import PING_FRAME_SIZE, Opened, Ticket
from .given import Given
from .handshakes import STARTED_S, Answering, Asked, Started, Starting
from .packets import (
    CHALLENGE,
    CONFIRM,
    COOKIE,
    DATA,
    DATA_OVERHEAD,
    DATA_ROOM,
    ECHO,
    INIT,
    INIT_OVERHEAD,
    INIT_ROOM,
    KEEP,
    KEPT,
    NO_CID,
    NO_SESSION,
    NO_TOKEN,
    REPEAT,
    REPLY,
    Cids,
    Second,
    pack_nonce,
    pack_session_head,
)
from .session import REKEY_AGAIN_S, Pending, Session, Sessions
from .who import IAM_TAG, WHO_TAG, Who

#: Seconds. Requests to a peer wait for a session that is being opened, but not for one whose
#: handshake may be lost: less than the shortest time before a retry.
QUEUE_S = 0.1
#: Memory: requests that wait for one session; a value is fetched in 32 blocks at a time.
QUEUE_MAX = 32
#: Memory: requests in sessions that can be sent again; each is held by whoever asks, too.
UNANSWERED_MAX = 2048
#: Times that a handshake is started anew by itself: once for a cookie, once to repeat the request.
AGAIN_MAX = 2
#: Seconds between two looks at what is over.
SWEEP_S = 10.0

# The tag of a ``Ping`` in its encoding: an array, then the tag. Its answer is about as short as the
# request, so there is no need to make room for it.
_PING = b"\x01"
_TAG_AT = REQUEST_ID_SIZE + 1


@final
class SecureChannel:
    """Speaks for one identity in one network. ``random`` makes its keys: a ``SystemRandom`` outside
    of tests."""

    overhead = DATA_OVERHEAD
    ping_size = INIT_OVERHEAD + PING_FRAME_SIZE

    def __init__(self, identity: Identity, network: Network, random: Random) -> None:
        secrets = network.secrets()
        self._epochs = Epochs(random)
        self._cids = Cids(identity.private_key.private_bytes_raw(), random)
        self._starting = Starting(identity, network, random)
        self._answering = Answering(identity, network, random, self._epochs)
        self._given = Given(len(secrets))
        self._who = Who(identity.public_key, secrets, random)
        self._sessions = Sessions(identity.public_key)
        self._pending = Pending()
        self._elsewhere = Elsewhere(
            sessions=self._sessions,
            epochs=self._epochs,
            cids=self._cids,
            secrets=secrets,
            own_public_key=identity.public_key,
            send=self._send,
        )
        self._by_cid = self._sessions.by_cid
        self._current = self._sessions.current
        # request id -> (session, counter, frame, when), the oldest first
        self._unanswered: dict[bytes, tuple[Session, int, bytes, float]] = {}
        self._outbox: list[tuple[bytes, Address]] = []
        self._sweep_at: float | None = None
        self._readers: dict[int, Callable[[float, bytes, Address], Opened | None]] = {
            INIT: self._on_init,
            REPLY: self._on_reply,
            COOKIE: self._on_cookie,
            DATA: self._on_data_elsewhere,
            NO_SESSION: self._on_no_session,
            CHALLENGE: self._on_challenge,
            ECHO: self._elsewhere.on_echo,
            WHO_TAG: self._on_who,
            IAM_TAG: self._on_who,
        }

    @property
    def sessions_held(self) -> int:
        """Sessions at proved addresses."""
        return len(self._sessions)

    # ---- the hot path: sessions ----

    def ask(self, now: float, contact: Contact, request_id: bytes, payload: bytes) -> None:
        """See ``Channel.ask``."""
        session = self._current.get(contact.packed)
        if session is None or now >= session.stale_at or session.waiting is payload:
            self._ask_otherwise(now, contact, session, request_id, payload)
            return
        if session.waiting is None:
            session.waiting = payload
        self._ask_in(now, session, request_id, request_id + payload)

    def _ask_in(self, now: float, session: Session, request_id: bytes, frame: bytes) -> None:
        unanswered = self._unanswered
        unanswered[request_id] = (session, session.sent, frame, now)
        if len(unanswered) > UNANSWERED_MAX:
            del unanswered[next(iter(unanswered))]
        self._send_in(session, frame)

    def _send_in(self, session: Session, frame: bytes) -> None:
        counter = session.sent
        session.sent = counter + 1
        sealer = session.sealer or self._sessions.sealer(session)
        self._outbox.append(
            (
                pack_session_head(DATA, session.peer_cid, counter)
                + sealer.encrypt(pack_nonce(counter), frame, None),
                session.address,
            )
        )

    def receive(self, now: float, data: bytes, source: Address) -> Opened | None:
        """See ``Channel.receive``. What does not open, what was here before, what is our own and
        what is meant for another network leaves no trace and gets no answer."""
        size = len(data)
        if not DATA_OVERHEAD <= size <= DATAGRAM_SIZE_MAX:
            return None
        if data[0] != DATA:
            reader = self._readers.get(data[0])
            return None if reader is None else reader(now, data, source)
        session = self._by_cid.get(data[1:9])
        if session is None or source != session.address:
            return self._on_data_elsewhere(now, data, source)
        counter = int.from_bytes(data[9:13])
        in_order = counter == session.highest + 1 and not session.missing
        if not in_order and session.seen(counter):
            return None
        opener = session.opener or self._sessions.opener(session)
        try:
            frame = opener.decrypt(pack_nonce(counter), data[13:], None)
        except InvalidTag:
            return None
        if now >= session.touch_at and not self._sessions.touch(now, session):
            return None
        if in_order:
            session.highest = counter
        else:
            session.mark(counter)
        session.waiting = None
        self._unanswered.pop(frame[:REQUEST_ID_SIZE], None)
        if not frame:
            return None
        return Opened(session.public_key, source, frame, session, DATA_ROOM, proved=True)

    def answer(self, now: float, ticket: Ticket, payload: bytes) -> None:
        """See ``Channel.answer``."""
        if type(ticket) is Session:
            if ticket.closed or (now >= ticket.touch_at and now >= ticket.until):
                # Another may have taken its place.
                ticket = self._current.get(ticket.place)
            if ticket is not None:
                self._send_in(ticket, payload)
        elif ticket is not None:
            self._answer_asked(now, ticket, payload)

    def who(self, now: float, address: Address) -> None:
        """See ``Channel.who``."""
        self._send(self._who.ask(now, address), address)

    def identified(self) -> list[tuple[Address, bytes]]:
        """See ``Channel.identified``."""
        return self._who.identified()

    def _on_who(self, now: float, data: bytes, source: Address) -> None:
        answer = self._who.receive(now, data, source)
        if answer is not None:
            self._send(answer, source)

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        """See ``Channel.datagrams_to_send``."""
        outbox = self._outbox
        if not outbox:
            return []
        self._outbox = []
        return outbox

    # ---- asking those with whom there is no session, or an old one ----

    def _ask_otherwise(
        self,
        now: float,
        contact: Contact,
        session: Session | None,
        request_id: bytes,
        payload: bytes,
    ) -> None:
        frame = request_id + payload
        if session is not None:
            if session.waiting is payload:
                session.distrust()
            elif session.usable(now):
                session.waiting = session.waiting or payload
                self._ask_in(now, session, request_id, frame)
                self._rekey(now, contact, session)
                return
        self._open(now, contact, frame, keep=session is not None)

    def _rekey(self, now: float, contact: Contact, session: Session) -> None:
        """New keys are due: a handshake without a request, beside one in the old session."""
        session.rekeyed_at = now
        session.touch_at = float("-inf")  # the next packet says how long all is well
        session.stale_at = min(now + REKEY_AGAIN_S, session.until)
        self._begin(now, contact, [], keep=True)

    def _open(self, now: float, contact: Contact, frame: bytes, *, keep: bool) -> None:
        """Asks in a handshake, or in the session that one under way will open."""
        keep = keep or len(frame) > INIT_ROOM or self._given.token(now, contact) != NO_TOKEN
        opening = self._starting.opening(contact) if keep else None
        if (
            opening is not None
            and now < opening.started_at + QUEUE_S
            and len(opening.queue) < QUEUE_MAX
        ):
            opening.queue.append(frame)
            return
        self._begin(now, contact, [frame], keep=keep)

    def _begin(
        self, now: float, contact: Contact, frames: list[bytes], *, keep: bool, again: int = 0
    ) -> None:
        """Starts a handshake. The first of the frames rides in it, if it fits; the others wait."""
        frame = b""
        if frames and len(frames[0]) <= INIT_ROOM:
            frame, frames = frames[0], frames[1:]
        elif not self._sessions.has_room(contact.public_key, contact.address):
            return
        try:
            datagram = self._starting.start(
                now,
                contact,
                cid=self._draw_cid(),
                flags=KEEP if keep else 0,
                token=self._given.token(now, contact),
                cookie=self._given.cookie(now, contact),
                frame=frame,
                padded=bool(frame) and frame[_TAG_AT : _TAG_AT + 1] != _PING,
                queue=frames,
                key_number=self._given.key_for(now, contact),
                again=again,
            )
        except RemoteError:
            return  # the contact that somebody named can have no such key
        self._send(datagram, contact.address)
        self._arm(now)

    def _on_reply(self, now: float, data: bytes, source: Address) -> Opened | None:
        read = self._starting.read_reply(data, source)
        if read is None:
            return None
        started, second = read
        contact = started.contact
        self._given.keep_token(now, contact, second.token)
        self._given.heard(contact.packed, started.key_number)
        session = self._session_of(now, started, second)
        repeat = bool(second.flags & REPEAT)
        frames = [started.frame] if repeat and started.frame else []
        frames += started.queue
        for frame in frames:
            if session is not None:
                self._ask_in(now, session, frame[:REQUEST_ID_SIZE], frame)
            elif started.again < AGAIN_MAX:
                self._begin(now, contact, [frame], keep=True, again=started.again + 1)
        if session is not None and second.flags & CONFIRM and not frames:
            self._send_in(session, b"")
        if repeat or not second.frame:
            return None
        return Opened(contact.public_key, source, second.frame, session, DATA_ROOM, proved=True)

    def _session_of(self, now: float, started: Started, second: Second) -> Session | None:
        """The session that a reply opens, if it does."""
        contact = started.contact
        if not second.flags & KEPT:
            return None
        if not self._sessions.has_room(contact.public_key, contact.address):
            return None
        session = Session(
            now,
            place=contact.packed,
            address=contact.address,
            cid=started.cid,
            peer_cid=second.cid,
            keys=started.noise.keys(),
            initiated=True,
        )
        self._sessions.install(now, session)
        return session

    def _on_cookie(self, now: float, data: bytes, source: Address) -> None:
        read = self._starting.read_cookie(data, source)
        if read is None:
            return
        started, cookie = read
        self._given.keep_cookie(now, started.contact, cookie)
        if started.again < AGAIN_MAX:
            frames = [started.frame, *started.queue] if started.frame else started.queue
            self._begin(now, started.contact, frames, keep=started.keep, again=started.again + 1)

    # ---- answering handshakes ----

    def _on_init(self, now: float, data: bytes, source: Address) -> Opened | None:
        asked = self._answering.read(now, data, source)
        if isinstance(asked, bytes):
            self._send(asked, source)
            return None
        if asked is None:
            return None
        place = asked.public_key + source
        self._given.heard(place, asked.key_number)
        if place in self._current:
            asked.reachable = True
        if not asked.frame:
            self._reply(now, asked, 0, b"")
            return None
        return Opened(asked.public_key, source, asked.frame, asked, asked.room, proved=asked.fresh)

    def demand_proof(self, now: float, ticket: Ticket) -> None:
        """See ``Channel.demand_proof``."""
        if type(ticket) is Asked and not ticket.replied:
            self._reply(now, ticket, REPEAT, b"")

    def _answer_asked(self, now: float, asked: Asked, payload: bytes) -> None:
        if asked.replied:  # there is one reply to a handshake; what follows needs a session
            if asked.session is not None and asked.session.cid not in self._pending:
                self.answer(now, asked.session, payload)
        elif len(payload) > asked.room:
            self.demand_proof(now, asked)
        else:
            self._reply(now, asked, 0, payload)

    def _reply(self, now: float, asked: Asked, flags: int, frame: bytes) -> None:
        asked.replied = True
        public_key, source = asked.public_key, asked.source
        if not asked.keep and not flags & REPEAT:
            keeps = False
        elif asked.fresh:
            keeps = self._sessions.has_room(public_key, source)
        else:
            keeps = self._pending.has_room(now, public_key, source)
        cid = self._draw_cid() if keeps else NO_CID
        if keeps:
            flags |= KEPT if asked.fresh else KEPT | CONFIRM
        datagram = self._answering.write(now, asked, flags=flags, cid=cid, frame=frame)
        self._send(datagram, source)
        if not keeps:
            return
        session = asked.session = Session(
            now,
            place=public_key + source,
            address=source,
            cid=cid,
            peer_cid=asked.peer_cid,
            keys=asked.noise.keys(),
            initiated=False,
        )
        if asked.fresh:
            self._sessions.install(now, session)
        else:
            self._pending.add(session)
        self._arm(now)

    # ---- what is not where it is expected ----

    def _on_data_elsewhere(self, now: float, data: bytes, source: Address) -> Opened | None:
        """Of a session that we do not hold yet, or no more, or from where its peer was not."""
        cid = data[1:9]
        if cid in self._by_cid:
            self._elsewhere.on_moved(now, self._by_cid[cid], data, source)
            return None
        session = self._pending.get(cid)
        if session is None:
            self._elsewhere.say_no_session(now, data, source)
            return None
        if source != session.address:
            return None
        frame = self._sessions.open_untrusted(session, data)
        if frame is None:
            return None
        self._pending.remove(session)
        if not self._sessions.has_room(session.public_key, source):
            return None
        session.touch(now)
        self._sessions.install(now, session)
        if not frame:
            return None
        return Opened(session.public_key, source, frame, session, DATA_ROOM, proved=True)

    def _on_challenge(self, now: float, data: bytes, source: Address) -> None:
        session = self._elsewhere.on_challenge(now, data, source)
        if session is not None:  # what was asked from our new address was dropped
            for _, frame in self._unanswered_in(session):
                self._ask_in(now, session, frame[:REQUEST_ID_SIZE], frame)

    def _on_no_session(self, now: float, data: bytes, source: Address) -> None:
        told = self._elsewhere.on_no_session(now, data, source)
        if told is None:
            return
        session, counter = told
        waiting = self._unanswered_in(session)
        if any(counter == asked for asked, _ in waiting):
            session.distrust()
            frames = [frame for _, frame in waiting]
            for frame in frames:
                del self._unanswered[frame[:REQUEST_ID_SIZE]]
            self._begin(now, contact_at(session.public_key, source), frames, keep=True)

    def _unanswered_in(self, session: Session) -> list[tuple[int, bytes]]:
        """The counter and the frame of each request of a session that waits for its answer. It is
        looked for among all: peers can make us do so once a second each."""
        asked = self._unanswered.values()
        return [(counter, frame) for its, counter, frame, _ in asked if its is session]

    # ---- time ----

    def next_timeout(self) -> float | None:
        """See ``Channel.next_timeout``. Nothing here waits: only memory is given back."""
        return self._sweep_at

    def handle_timeout(self, now: float) -> None:
        """See ``Channel.handle_timeout``."""
        if self._sweep_at is None or now < self._sweep_at:
            return
        self._starting.sweep(now)
        self._pending.sweep(now)
        self._sessions.sweep(now)
        unanswered = self._unanswered
        while unanswered:
            request_id, (_, _, _, asked_at) = next(iter(unanswered.items()))
            if now < asked_at + STARTED_S:
                break
            del unanswered[request_id]
        held = len(self._starting) or len(self._pending) or len(self._sessions)
        self._sweep_at = now + SWEEP_S if held else None

    def _arm(self, now: float) -> None:
        if self._sweep_at is None:
            self._sweep_at = now + SWEEP_S

    def _send(self, data: bytes, address: Address) -> None:
        self._outbox.append((data, address))

    def _draw_cid(self) -> bytes:
        while True:
            cid = self._cids.draw()
            if not (cid in self._by_cid or cid in self._pending or cid in self._starting):
                return cid
