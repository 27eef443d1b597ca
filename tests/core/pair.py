"""A few engines wired back to back in virtual time: what is sent arrives, in order, after 10 ms.

``Pair`` is two of them. ``Stranger`` is a peer made by hand: it says what a test wants it to say,
truth or lie, and remembers what it was told. Faults in bulk are the simulator's business.
"""

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import TypeVar

import attrs

from dht.config import Config
from dht.contacts import Address, Contact, Introducer, contact_at, pack_address
from dht.core.channel.plain import ROOM, PlainChannel
from dht.core.engine import Engine
from dht.core.events import Event, OperationFinished, OperationId
from dht.core.held import Held
from dht.core.outcomes import GetOutcome, LookupOutcome, Members, Outcome, PutOutcome
from dht.identity import Identity
from dht.keyspace import Key, plain_key
from dht.network import Network
from dht.records import Kind
from dht.wire.codec import decode_untrusted, encode, pack_contacts
from dht.wire.messages import (
    DIGEST_SIZE,
    REQUEST_ID_SIZE,
    REQUEST_TYPES,
    WANT_IPV4,
    Answer,
    Block,
    Browse,
    Dial,
    Dialling,
    DialStatus,
    Fetch,
    Find,
    Get,
    Knock,
    Message,
    Nodes,
    Page,
    Ping,
    Pong,
    Reach,
    Request,
    Returned,
    Route,
    Status,
    Store,
    Stored,
    Taken,
    Taking,
)

#: What the wall clocks say at virtual time 0.
EPOCH_S = 1_700_000_000.0
DELAY_S = 0.01

Start = Callable[[Engine, float], OperationId]
_Any = TypeVar("_Any")
_Outcome = TypeVar("_Outcome", PutOutcome, GetOutcome, LookupOutcome, Members)


@attrs.define(eq=False)
class Peer:
    """An engine at its address, and every event that it ever told."""

    engine: Engine
    contact: Contact
    events: list[Event] = attrs.field(factory=list)
    plugged_in: bool = True

    @property
    def address(self) -> Address:
        return self.contact.address

    def finished(self) -> list[OperationFinished]:
        return [event for event in self.events if isinstance(event, OperationFinished)]

    def of_type(self, kind: type[_Any]) -> list[_Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def knows(self, other: "Peer | Stranger") -> bool:
        return other.contact.id in self.engine.table

    def held(self, now: float, key: str | Key, kind: Kind = Kind.PLAIN) -> Held | None:
        return self.engine.storage.get(now, kind, plain_key(key))


@attrs.define(eq=False)
class Stranger:
    """A peer made by hand. ``reply`` says what it answers to a request: None is silence."""

    net: "Net"
    contact: Contact
    reply: Callable[[Request], Answer | None] = lambda _request: None
    #: Everything it was sent, with the time: (now, request id, message).
    heard: list[tuple[float, bytes, Message]] = attrs.field(factory=list)

    @property
    def address(self) -> Address:
        return self.contact.address

    def heard_of(self, kind: type[_Any]) -> list[_Any]:
        return [message for _, _, message in self.heard if isinstance(message, kind)]

    def say(
        self, to: Peer, message: Message, request_id: bytes = bytes(REQUEST_ID_SIZE)
    ) -> list[Message]:
        """Sends a message now, and gives what comes back within 50 ms."""
        before = len(self.heard)
        self.net.send(frame(self.contact.public_key, message, request_id), self.address, to.address)
        self.net.run_for(5 * DELAY_S)
        return [message for _, _, message in self.heard[before:]]

    def hear(self, data: bytes, source: Address) -> None:
        opened = PlainChannel(self.contact.public_key).receive(self.net.now, data, source)
        if opened is None:
            return
        request_id, message = decode_untrusted(opened.payload)
        self.heard.append((self.net.now, request_id, message))
        if type(message) in REQUEST_TYPES:
            answer = self.reply(message)  # type: ignore[arg-type]
            if answer is not None:
                self.net.send(
                    frame(self.contact.public_key, answer, request_id), self.address, source
                )


@attrs.define(eq=False)
class Manners:
    """What a peer answers that keeps to the protocol and knows a few contacts.

    A test overrides what it is about: ``store`` answers a ``Store``, ``replies`` any other type.
    """

    net: "Net"
    contacts: Sequence[Contact] = ()
    #: Of the record that is looked for.
    version: int = 0
    ahead_s: float = 0.0
    store: Callable[[Store], Answer | None] | None = None
    replies: dict[type, Callable[[Request], Answer | None]] = attrs.field(factory=dict)

    @property
    def time_s(self) -> int:
        return int(EPOCH_S + self.net.now + self.ahead_s)

    def __call__(self, request: Request) -> Answer | None:
        if type(request) in self.replies:
            return self.replies[type(request)](request)
        match request:
            case Ping():
                return Pong(self.time_s, b"")
            case Find():
                return Nodes(
                    self.time_s, *pack_contacts(self.contacts), self.version if request.kind else 0
                )
            case Get():
                return Nodes(self.time_s, *pack_contacts(self.contacts), 0)
            case Store() if self.store is not None:
                return self.store(request)
            case Store():
                return Stored(self.time_s, Status.STORED, request.copy.version, None, b"", b"")
            case Browse():
                return Page(
                    self.time_s, 0, True, bytes(DIGEST_SIZE), (), *pack_contacts(self.contacts)
                )
            case Fetch():
                return Block(self.time_s, request.offset, b"")
            case Reach() | Dial():
                return Dialling(self.time_s, DialStatus.NOBODY)
            case Knock():
                return None
            case Route() | Returned():
                return Taken(self.time_s, Taking.TAKEN)
        return Taken(self.time_s, Taking.NOT_HERE)


def frame(public_key: bytes, message: Message, request_id: bytes) -> bytes:
    """The datagram that says a message in the name of a key."""
    return sealed(public_key, request_id + encode(message))


def sealed(public_key: bytes, payload: bytes) -> bytes:
    """Any payload as a datagram with a right checksum; cut where no datagram is longer."""
    channel = PlainChannel(public_key)
    channel.answer(0.0, b"", payload[:ROOM])
    return channel.datagrams_to_send()[0][0]


@attrs.define(eq=False)
class Net:
    """Engines and strangers at addresses, and one clock."""

    seed: int = 1
    config: Config = attrs.field(factory=Config)
    now: float = 0.0
    #: Does everybody trust everybody, although the addresses are public ones?
    private_network: bool = True
    #: Where they live, unless told otherwise.
    overlay: str = "structured"
    peers: list[Peer] = attrs.field(factory=list)
    #: Every datagram that was sent: (now, from, to, bytes).
    log: list[tuple[float, Address, Address, bytes]] = attrs.field(factory=list)
    #: What becomes of a datagram: the bytes that arrive, once each.
    fate: Callable[[bytes, Address, Address], Sequence[bytes]] = lambda data, _source, _target: (
        data,
    )
    _places: dict[Address, Peer | Stranger] = attrs.field(factory=dict)
    _queue: list[tuple[float, int, bytes, Address, Address]] = attrs.field(factory=list)
    _tie: Callable[[], int] = attrs.field(factory=lambda: count().__next__)

    # ---- who is there ----

    def add(
        self,
        *bootstrap: Peer | Stranger | Introducer,
        remembered: dict[str, bytes] | None = None,
        network: Network = Network.named(),
        client: bool | None = False,
        advertised: bool = False,
        config: Config | None = None,
        host: str | None = None,
        ahead_s: float = 0.0,
        overlay: str | None = None,
        join: bool = True,
    ) -> Peer:
        """An engine, started; ``ahead_s``: how far its wall clock is ahead of the others'."""
        number = len(self._places)
        identity = Identity.generate(Random(f"{self.seed} {number}"))
        contact = contact_at(identity.public_key, self._address(number, host))
        engine = Engine(
            identity=identity,
            contact=contact,
            channel=PlainChannel(
                identity.public_key,
                network=network,
                random=Random(f"{self.seed} channel {number}"),
            ),
            random=Random(f"{self.seed} engine {number}"),
            config=config or self.config,
            bootstrap=[
                other.contact if isinstance(other, Peer | Stranger) else other
                for other in bootstrap
            ],
            remembered=remembered,
            client=client,
            advertised=advertised,
            private_network=self.private_network,
            network=network,
            overlay=overlay or self.overlay,
        )
        peer = Peer(engine, contact)
        self._places[contact.address] = peer
        self.peers.append(peer)
        engine.set_wall_offset(self.now, EPOCH_S + ahead_s)
        engine.start(self.now)
        self.poll(peer)
        if join:
            self.run_for(1.0)
        return peer

    def grow(self, how_many: int) -> list[Peer]:
        """So many serving engines that all know each other, as far as their tables go."""
        for _ in range(how_many):
            self.add(*self.peers[:1])
        self.run_for(10.0)
        return self.peers

    def stranger(
        self,
        host: str | None = None,
        *,
        reply: Callable[[Request], Answer | None] = lambda _request: None,
    ) -> Stranger:
        number = len(self._places)
        public_key = Random(f"{self.seed} {number}").randbytes(32)
        stranger = Stranger(self, contact_at(public_key, self._address(number, host)), reply)
        self._places[stranger.address] = stranger
        return stranger

    def known(
        self, to: Peer, *, host: str | None = None, manners: Manners | None = None
    ) -> Stranger:
        """A stranger that ``to`` has come to know: it said hello, and answered the ping."""
        stranger = self.stranger(host, reply=manners or Manners(self))
        stranger.say(to, Ping(flags=WANT_IPV4))
        assert to.knows(stranger)
        return stranger

    def _address(self, number: int, host: str | None) -> Address:
        return pack_address(host or f"1.{number >> 8}.{number & 255}.1", 4000)

    def crash(self, peer: Peer) -> None:
        """Pulls the plug: it neither hears nor says anything, and its clock stands still."""
        peer.plugged_in = False

    # ---- time ----

    def send(self, data: bytes, source: Address, target: Address) -> None:
        self.log.append((self.now, source, target, data))
        for copy in self.fate(data, source, target):
            heappush(self._queue, (self.now + DELAY_S, self._tie(), copy, source, target))

    def poll(self, peer: Peer) -> None:
        """Takes what an engine has to say."""
        for data, target in peer.engine.datagrams_to_send():
            self.send(data, peer.address, target)
        peer.events += peer.engine.events()

    def next_at(self) -> float | None:
        times = [self._queue[0][0]] if self._queue else []
        for peer in self.peers:
            due = peer.engine.next_timeout() if peer.plugged_in else None
            if due is not None:
                times.append(due)
        return min(times, default=None)

    def run_until(self, deadline: float, *, unless: Callable[[], bool] = lambda: False) -> bool:
        """Runs to ``deadline``, or until ``unless()``: True then."""
        while not unless():
            at = self.next_at()
            if at is None or at > deadline:
                self.now = max(self.now, deadline)
                return False
            self.now = max(self.now, at)
            self._step()
        return True

    def _step(self) -> None:
        while self._queue and self._queue[0][0] <= self.now:
            _, _, data, source, target = heappop(self._queue)
            place = self._places.get(target)
            if isinstance(place, Stranger):
                place.hear(data, source)
            elif place is not None and place.plugged_in:
                place.engine.receive_datagram(self.now, data, source)
                self.poll(place)
        for peer in self.peers:
            due = peer.engine.next_timeout() if peer.plugged_in else None
            if due is not None and due <= self.now:
                peer.engine.handle_timeout(self.now)
                self.poll(peer)

    def run_for(self, seconds: float) -> None:
        self.run_until(self.now + seconds)

    # ---- operations ----

    def begin(self, peer: Peer, start: Start) -> OperationId:
        operation_id = start(peer.engine, self.now)
        self.poll(peer)
        return operation_id

    def run(self, peer: Peer, start: Start, *, timeout_s: float = 60.0) -> OperationFinished:
        """Begins an operation and runs until it has ended."""
        operation_id = self.begin(peer, start)

        def ends() -> list[OperationFinished]:
            return [event for event in peer.finished() if event.operation_id == operation_id]

        assert self.run_until(self.now + timeout_s, unless=lambda: bool(ends())), "it never ended"
        return ends()[0]

    def put(self, peer: Peer, key: str | Key, value: bytes, **options: object) -> PutOutcome:
        return outcome_of(
            PutOutcome,
            self.run(
                peer,
                lambda engine, now: engine.start_put(
                    now,
                    Kind.PLAIN,
                    plain_key(key),
                    value,
                    **options,  # type: ignore[arg-type]
                ),
            ),
        )

    def delete(self, peer: Peer, key: str | Key) -> PutOutcome:
        return self.put(peer, key, b"", tombstone=True)

    def get(self, peer: Peer, key: str | Key, **options: object) -> GetOutcome:
        return outcome_of(
            GetOutcome,
            self.run(
                peer,
                lambda engine, now: engine.start_get(
                    now,
                    Kind.PLAIN,
                    plain_key(key),
                    **options,  # type: ignore[arg-type]
                ),
            ),
        )

    def lookup(self, peer: Peer, target: Key, **options: object) -> LookupOutcome:
        return outcome_of(
            LookupOutcome,
            self.run(
                peer,
                lambda engine, now: engine.start_lookup(now, target, **options),  # type: ignore[arg-type]
            ),
        )

    def leftovers(self, peer: Peer) -> dict[str, int]:
        """What is still under way in an engine; empty when it is at rest."""
        engine = peer.engine
        counts = {
            "operations": len(engine._running),
            "requests": len(engine._requests),
            "pulls": len(engine._pulls) + len(engine._pulls._keys),
            "offers": len(engine._running.offers) + len(engine._responder.offers),
            "stores being pulled": len(engine._tasks._pulled),
        }
        return {what: number for what, number in counts.items() if number}

    def comes_to_rest(self, *, within_s: float = 120.0) -> bool:
        """Does a moment come soon in which nothing is under way anywhere?"""
        return self.run_until(
            self.now + within_s,
            unless=lambda: not any(self.leftovers(peer) for peer in self.peers if peer.plugged_in),
        )

    def holders(self, key: str | Key) -> list[Peer]:
        return [peer for peer in self.peers if peer.plugged_in and peer.held(self.now, key)]


def outcome_of(kind: type[_Outcome], finished: OperationFinished) -> _Outcome:
    """The outcome; raises the error that the operation ended with."""
    if finished.error is not None:
        raise finished.error
    outcome: Outcome | None = finished.outcome
    assert isinstance(outcome, kind)
    return outcome


class Pair(Net):
    """Two engines that know each other."""

    def __init__(self, *, seed: int = 1, config: Config | None = None) -> None:
        super().__init__(seed=seed, config=config or Config())
        self.alice = self.add()
        self.bob = self.add(self.alice)


#: A value that does not travel inside one datagram, and one of several pieces.
LARGE = bytes(range(256)) * 8
HUGE = bytes(Random(0).randbytes(50_000))
