"""A few engines that encrypt, at addresses of one street, and strangers who write to them.

Less than a simulator: every datagram takes as long, none is lost; but all of it is recorded, and
anybody can put anything into anybody's letterbox with any sender on it.
"""

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

import attrs

from dht.config import Config
from dht.contacts import Address, Contact, contact_at, pack_address
from dht.core.channel.face import Opened
from dht.core.channel.secure import SecureChannel
from dht.core.engine import Engine
from dht.identity import Identity
from dht.network import Network
from dht.wire.codec import encode
from dht.wire.messages import REQUEST_ID_SIZE, Request

#: Seconds: what everybody's wall clock shows at the beginning, and how long a datagram takes.
EPOCH_S = 1_700_000_000.0
DELAY_S = 0.02


def stranger_address(number: int) -> Address:
    """A public one, each in a /24 of its own; no house of the street is there."""
    return pack_address(f"{60 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.9", 4000)


def first_message(
    random: Random, now: float, to: Contact, request: Request, *, network: Network
) -> bytes:
    """An INIT with nothing wrong in it, of a key that nobody has seen before."""
    channel = SecureChannel(Identity.generate(random), network, Random(random.random()))
    channel.ask(now, to, random.randbytes(REQUEST_ID_SIZE), encode(request))
    ((data, _),) = channel.datagrams_to_send()
    return data


@attrs.define(eq=False)
class TappedChannel:
    """A channel that counts what it lets in as proved, and is otherwise the one within."""

    inner: SecureChannel
    proved: int = 0

    def receive(self, now: float, data: bytes, source: Address) -> Opened | None:
        opened = self.inner.receive(now, data, source)
        if opened is not None:
            self.proved += opened.proved
        return opened

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@attrs.define(eq=False)
class House:
    """One engine at its address."""

    identity: Identity
    address: Address
    engine: Engine
    channel: TappedChannel

    @property
    def contact(self) -> Contact:
        """How it is asked."""
        return self.engine.contact


@attrs.define(eq=False)
class Street:
    """The engines, their clock, and what was ever delivered to whom."""

    random: Random
    network: Network
    config: Config = Config()
    now: float = 1000.0
    houses: dict[Address, House] = attrs.field(factory=dict)
    #: (to, from, bytes) of all that went between houses, while ``recording``.
    record: list[tuple[Address, Address, bytes]] = attrs.field(factory=list)
    recording: bool = True
    #: Called with (house, bytes, to) for all that goes to who is no house.
    on_stray: Callable[[House, bytes, Address], None] = lambda _house, _data, _to: None
    _queue: list[tuple[float, int, Address, Address, bytes]] = attrs.field(factory=list)
    _tie: Iterator[int] = attrs.field(factory=count)

    @classmethod
    def of(cls, count: int, *, seed: str, network: Network) -> "Street":
        """So many houses that have joined each other."""
        street = cls(Random(seed), network)
        for _ in range(count):
            street.build()
            street.run(5.0)
        return street

    def build(self, identity: Identity | None = None, address: Address | None = None) -> House:
        """One more house, or the same after a restart; it joins through the first."""
        first = next(iter(self.houses.values()), None)
        identity = identity or Identity.generate(self.random)
        address = address or pack_address(f"50.{len(self.houses)}.0.1", 4000)
        channel = TappedChannel(SecureChannel(identity, self.network, Random(self.random.random())))
        engine = Engine(
            identity=identity,
            contact=contact_at(identity.public_key, address),
            channel=channel,
            config=self.config,
            random=Random(self.random.random()),
            bootstrap=[] if first is None or first.address == address else [first.contact],
            client=False,
            private_network=True,
        )
        engine.set_wall_offset(self.now, EPOCH_S)
        engine.start(self.now)
        house = self.houses[address] = House(identity, address, engine, channel)
        self.empty(house)
        return house

    def empty(self, house: House) -> None:
        """What a house has to send goes on its way."""
        for data, to in house.engine.datagrams_to_send():
            if to in self.houses:
                if self.recording:
                    self.record.append((to, house.address, data))
                heappush(
                    self._queue, (self.now + DELAY_S, next(self._tie), to, house.address, data)
                )
            else:
                self.on_stray(house, data, to)
        house.engine.events()

    def post(self, house: House, data: bytes, source: Address) -> None:
        """A datagram is delivered now, with this sender on it."""
        house.engine.receive_datagram(self.now, data, source)
        self.empty(house)

    def run(self, seconds: float) -> None:
        """Time passes, and everything that is due happens."""
        until = self.now + seconds
        while True:
            dues = [
                (due, house)
                for house in self.houses.values()
                if (due := house.engine.next_timeout()) is not None
            ]
            due, late = min(dues, key=lambda each: each[0], default=(float("inf"), None))
            arrival = self._queue[0][0] if self._queue else float("inf")
            if min(due, arrival) > until:
                break
            self.now = max(self.now, min(due, arrival))
            if arrival <= due:
                _, _, to, source, data = heappop(self._queue)
                self.post(self.houses[to], data, source)
            else:
                assert late is not None
                late.engine.handle_timeout(self.now)
                self.empty(late)
        self.now = until
