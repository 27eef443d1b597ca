"""Those who lie: nodes that turn liar, Sybils ground next to a key, and a victim to be flooded.

Everything that an attacker does in a simulation is in this file; it knows the network as well as
the simulator does, which is more than any real one can. Ids are hashes of keys here as everywhere,
so nobody chooses one: an attacker makes keys (``grind``) and takes those that fall where he wants.
He needs no private keys for it, as long as the channel is the plain one.
"""

from bisect import bisect_left
from collections.abc import Sequence
from enum import Enum
from random import Random
from typing import Final, final

import attrs

from ..contacts import Address, Contact, contact_at, pack_address
from ..core.channel.face import Opened
from ..core.channel.plain import PlainChannel
from ..core.engine import Engine
from ..errors import RemoteError
from ..identity import PUBLIC_KEY_SIZE
from ..keyspace import KEY_BITS, Key, node_id
from ..wire.codec import decode_untrusted, encode, pack_contacts
from ..wire.messages import (
    REQUEST_ID_SIZE,
    Answer,
    Block,
    Fetch,
    Find,
    Get,
    Nodes,
    Ping,
    Pong,
    Request,
    Status,
    Store,
    Stored,
)
from .simulator import EPOCH_S, PORT, SimNode, Simulator

#: Contacts in a lying answer: as many as an honest one has.
NAMED: Final = 20
#: Keys that ``grind`` makes unless told otherwise: 65 for each node of a network of 1,000, so that
#: around any place far more than 20 of them lie nearer than the nearest node. 0.2 s.
KEYS: Final = 65_536
#: Seconds between two rounds of a Sybil's greetings to those who should know it.
GREETING_S: Final = 60.0

# Where nobody lives, where the victim does, and where the Sybils do: public ranges that
# ``scattered`` and the simulator's own addresses do not reach.
_DEAD_HOSTS: Final = 0xB0_00_00_01
_VICTIM_HOST: Final = 0xC0_05_00_07
_SYBIL_HOSTS: Final = 0xA0_00_00_00
# Odd, so that every index has a /24 of its own; Knuth's multiplier spreads them over the /16s.
_SCATTER: Final = 2_654_435_761
_SCATTERED_BITS: Final = 22


class Lie(Enum):
    """What a liar answers when it is asked for contacts or a record. All say that they are alive
    when they are asked that, take every record, and keep none."""

    COLLUDERS = "the nearest of the other liars"
    DEAD = "contacts like honest ones, of whom nobody lives where they are said to"
    VICTIM = "contacts ground near the target, all of them at the victim's address"
    GROUND = "contacts ground near the target, nearer than every honest node; nobody lives there"
    NOTHING = "that it knows nobody and holds nothing"


def scattered(index: int) -> Address:
    """A public address for the node with this index, in a /24 of its own, and its neighbours in
    other /16s: ``Simulator(addresses=scattered)``."""
    place = index * _SCATTER % (1 << _SCATTERED_BITS)
    return _address(0x20_00_00_01 + (place << 8))


def _address(ip: int, port: int = PORT) -> Address:
    return pack_address(".".join(map(str, ip.to_bytes(4))), port)


@final
class GroundKeys:
    """Public keys by the place of their ids: what an attacker has after a night of trying."""

    def __init__(self, random: Random, count: int = KEYS) -> None:
        keys = random.randbytes(PUBLIC_KEY_SIZE * count)
        pairs = []
        for start in range(0, len(keys), PUBLIC_KEY_SIZE):
            key = keys[start : start + PUBLIC_KEY_SIZE]
            pairs.append((int(node_id(key)), key))
        pairs.sort()
        self._ids = [node_id for node_id, _ in pairs]
        self._keys = [key for _, key in pairs]

    def nearest(self, target: int, count: int) -> list[bytes]:
        """The ``count`` keys whose ids are nearest to a place, nearest first."""
        ids = self._ids
        bits = KEY_BITS - len(ids).bit_length() - 1  # so wide that one of them is to be expected
        first, last = 0, 0
        while last - first < min(count, len(ids)):
            bits += 1
            low = target >> bits << bits
            first, last = bisect_left(ids, low), bisect_left(ids, low + (1 << bits))
        near = sorted(range(first, last), key=lambda at: ids[at] ^ target)
        return [self._keys[at] for at in near[:count]]

    def within(self, target: int, distance: int) -> list[bytes]:
        """The keys whose ids are nearer to a place than ``distance``, nearest first."""
        count = NAMED
        while True:
            keys = self.nearest(target, count)
            near = [key for key in keys if node_id(key) ^ target < distance]
            if len(near) < len(keys) or len(keys) == len(self._ids):
                return near
            count *= 2


@final
@attrs.define(eq=False)
class Victim:
    """Somebody who has nothing to do with the network, and counts who knocks. A ``Machine``."""

    #: Address -> when a datagram came from there.
    heard: dict[Address, list[float]] = attrs.field(factory=dict)

    def receive_datagram(self, now: float, data: bytes, source: Address) -> None:
        self.heard.setdefault(source, []).append(now)

    def most_within(self, seconds: float) -> int:
        """The most datagrams that any one address sent within any stretch of so many seconds."""
        most = 0
        for times in self.heard.values():
            for at, since in enumerate(times):
                most = max(most, sum(when - since < seconds for when in times[at:]))
        return most

    def handle_timeout(self, now: float) -> None:
        """Nothing is ever due."""

    def resumed(self, now: float) -> None:
        """It does not care."""

    def datagrams_to_send(self) -> Sequence[tuple[bytes, Address]]:
        return ()

    def events(self) -> Sequence[object]:
        return ()

    def next_timeout(self) -> float | None:
        return None


@final
@attrs.define(eq=False)
class Cabal:
    """The attacker: whom he has, what he has ground, and whom he wants to harm."""

    simulator: Simulator
    keys: GroundKeys
    random: Random
    #: Liars and Sybils, as they are told of: what colluders name.
    members: list[Contact] = attrs.field(factory=list, init=False)
    victim: Victim = attrs.field(factory=Victim, init=False)
    _victim_address: Address | None = attrs.field(default=None, init=False)
    _sybils: int = attrs.field(default=0, init=False)

    @classmethod
    def of(cls, simulator: Simulator, *, keys: int = KEYS) -> "Cabal":
        """All of it comes from the simulator's seed."""
        random = Random(f"{simulator.seed} cabal")
        return cls(simulator, GroundKeys(random, keys), random)

    # ---- liars ----

    def turn(self, node: SimNode, lie: Lie) -> None:
        """A node that was honest so far lies from now on. It stays in everybody's table, as it goes
        on saying that it is there; ``Simulator.living`` counts it no more."""
        if lie is Lie.VICTIM and self._victim_address is None:
            self._victim_address = _address(_VICTIM_HOST)
            self.simulator.add_machine(self.victim, address=self._victim_address)
        self.members.append(node.contact)
        self.simulator.replace(node, Liar(node.engine, self, lie))

    def contacts(self, target: int, lie: Lie) -> list[Contact]:
        """Whom a liar names."""
        if lie is Lie.NOTHING:
            return []
        if lie is Lie.COLLUDERS:
            return sorted(self.members, key=lambda contact: contact.id ^ target)[:NAMED]
        if lie is Lie.DEAD:  # ids as any node's: so many of the ground ones as there are nodes
            named = [self.random.randbytes(PUBLIC_KEY_SIZE) for _ in range(NAMED)]
        else:
            named = self.keys.nearest(target, NAMED)
        if lie is Lie.VICTIM:
            assert self._victim_address is not None
            return [contact_at(key, self._victim_address) for key in named]
        return [contact_at(key, _dead_address(key)) for key in named]

    # ---- Sybils ----

    def surround(
        self,
        key: Key,
        count: int,
        *,
        subnets: int | None = None,
        greet: Sequence[SimNode],
        at_the_edge: bool = False,
    ) -> list[SimNode]:
        """``count`` Sybils nearer to a key than every living node, spread evenly over that room (or
        all ``at_the_edge`` of it, where they are hardest to tell from honest ones), in so many /24s
        (None: each in its own). They introduce themselves to the nodes ``greet`` and answer as
        colluders do. Where too few keys lie so near, the nearest are taken."""
        nearest = min(node.contact.id ^ key for node in self.simulator.living())
        nearer = self.keys.within(key, nearest)
        if len(nearer) < count:
            chosen = self.keys.nearest(key, count)
        elif at_the_edge:
            chosen = nearer[-count:]
        else:
            chosen = self.random.sample(nearer, count)
        return self.settle(chosen, subnets=subnets, greet=[node.contact for node in greet])

    def settle(
        self,
        keys: Sequence[bytes],
        *,
        subnets: int | None = None,
        greet: Sequence[Contact],
        hosts: Sequence[int] | None = None,
    ) -> list[SimNode]:
        """Sybils with these keys; ``hosts``: at these IPs, each at a port of its own."""
        settled = []
        first = self._sybils
        for number, key in enumerate(keys):
            self._sybils += 1
            if hosts is not None:
                address = _address(hosts[number % len(hosts)], PORT + first + number)
            else:
                subnet = first + (number if subnets is None else number % subnets)
                host = 1 + (0 if subnets is None else number // subnets)
                address = _address(_SYBIL_HOSTS + (subnet << 8) + host)
            contact = contact_at(key, address)
            self.members.append(contact)
            sybil = Sybil(contact, self, list(greet), self.simulator.now + self.random.random())
            settled.append(self.simulator.add_machine(sybil, address=address))
        return settled

    def retire(self, sybils: Sequence[SimNode]) -> None:
        """They vanish, and nobody names them any more."""
        gone = {node.address for node in sybils}
        self.members = [contact for contact in self.members if contact.address not in gone]
        for node in sybils:
            node.machine = None


def _dead_address(key: bytes) -> Address:
    """Somewhere where nobody lives, each time the same for a key, in a /24 as good as its own."""
    return _address(_DEAD_HOSTS + (int.from_bytes(key[:2]) << 8))


def lying_answer(request: Request, contacts: list[Contact], time_s: int) -> Answer:
    """What somebody who names ``contacts``, and keeps no record, answers."""
    if isinstance(request, Ping):
        return Pong(time_s, b"")
    if isinstance(request, Store):
        return Stored(time_s, Status.STORED, request.copy.version, None, b"", b"")
    if isinstance(request, Fetch):
        return Block(time_s, request.offset, b"")
    return Nodes(time_s, *pack_contacts(contacts), 0)


def _target_of(request: Request) -> int:
    if isinstance(request, Find):
        return int.from_bytes(request.target)
    return int.from_bytes(request.key) if isinstance(request, Get) else 0


@final
@attrs.define(eq=False)
class Liar:
    """A node that keeps up its part of the network, and lies to whoever asks. A ``Machine``."""

    engine: Engine
    cabal: Cabal
    lie: Lie

    def receive_datagram(self, now: float, data: bytes, source: Address) -> None:
        opened = self.engine.channel.receive(now, data, source)
        request = None if opened is None else _request_in(opened)
        if opened is None or request is None:
            self.engine.receive_datagram(now, data, source)
            return
        contacts = self.cabal.contacts(_target_of(request), self.lie)
        answer = lying_answer(request, contacts, int(EPOCH_S + now))
        request_id = opened.payload[:REQUEST_ID_SIZE]
        self.engine.channel.answer(now, opened.ticket, request_id + encode(answer))

    def handle_timeout(self, now: float) -> None:
        self.engine.handle_timeout(now)

    def resumed(self, now: float) -> None:
        self.engine.resumed(now)

    def datagrams_to_send(self) -> Sequence[tuple[bytes, Address]]:
        return self.engine.datagrams_to_send()

    def events(self) -> Sequence[object]:
        return self.engine.events()

    def next_timeout(self) -> float | None:
        return self.engine.next_timeout()


def _request_in(opened: Opened) -> Request | None:
    try:
        _, message = decode_untrusted(opened.payload)
    except RemoteError:
        return None
    return message if isinstance(message, Ping | Find | Get | Store | Fetch) else None


@final
@attrs.define(eq=False)
class Sybil:
    """One of many names of one attacker: it greets those who should know it, answers, and lies. A
    ``Machine``."""

    contact: Contact
    cabal: Cabal
    greet: list[Contact]
    greets_at: float
    _channel: PlainChannel = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._channel = PlainChannel(self.contact.public_key)

    def receive_datagram(self, now: float, data: bytes, source: Address) -> None:
        opened = self._channel.receive(now, data, source)
        request = None if opened is None else _request_in(opened)
        if opened is None or request is None:
            return
        contacts = self.cabal.contacts(_target_of(request), Lie.COLLUDERS)
        answer = lying_answer(request, contacts, int(EPOCH_S + now))
        request_id = opened.payload[:REQUEST_ID_SIZE]
        self._channel.answer(now, opened.ticket, request_id + encode(answer))

    def handle_timeout(self, now: float) -> None:
        if now < self.greets_at:
            return
        self.greets_at = now + GREETING_S
        for contact in self.greet:
            request_id = self.cabal.random.randbytes(REQUEST_ID_SIZE)
            self._channel.ask(now, contact, request_id, encode(Ping(flags=0)))

    def resumed(self, now: float) -> None:
        """It never sleeps."""

    def datagrams_to_send(self) -> Sequence[tuple[bytes, Address]]:
        return self._channel.datagrams_to_send()

    def events(self) -> Sequence[object]:
        return ()

    def next_timeout(self) -> float | None:
        return self.greets_at
