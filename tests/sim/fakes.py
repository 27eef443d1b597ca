"""Machines of a few lines, for tests of the clock and the links alone."""

from random import Random

import attrs

from dht.contacts import Address, pack_address
from dht.sim.links import LinkModel
from dht.sim.world import Member, World


@attrs.define(eq=False)
class Fake:
    """Keeps what it hears, says what it is told to, and echoes so many times."""

    echoes: int = 0
    random: Random = attrs.field(factory=lambda: Random(0))
    heard: list[tuple[float, bytes, Address]] = attrs.field(factory=list)
    timeouts: list[float] = attrs.field(factory=list)
    resumptions: list[float] = attrs.field(factory=list)
    outbox: list[tuple[bytes, Address]] = attrs.field(factory=list)
    news: list[str] = attrs.field(factory=list)
    due: list[float] = attrs.field(factory=list)

    def receive_datagram(self, now: float, data: bytes, source: Address) -> None:
        self.heard.append((now, data, source))
        if self.echoes:
            self.echoes -= 1
            self.outbox.append((data + self.random.randbytes(1), source))
            self.news.append(f"echoed {len(data)}")

    def handle_timeout(self, now: float) -> None:
        self.timeouts.append(now)
        self.due = [due for due in self.due if due > now]

    def resumed(self, now: float) -> None:
        self.resumptions.append(now)

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        datagrams, self.outbox = self.outbox, []
        return datagrams

    def events(self) -> list[str]:
        news, self.news = self.news, []
        return news

    def next_timeout(self) -> float | None:
        return min(self.due, default=None)


@attrs.define(eq=False)
class Place(Member):
    """A member whose machine is known to be a fake."""

    fake: Fake = attrs.field(kw_only=True)


def address(index: int) -> Address:
    return pack_address(f"10.0.0.{index + 1}", 4000)


def world_of(*fakes: Fake, seed: int = 1, links: LinkModel | None = None) -> World[Place]:
    world: World[Place] = World(seed, links=LinkModel(jitter=0.0) if links is None else links)
    for index, fake in enumerate(fakes):
        world.settle_in(Place(index=index, address=address(index), machine=fake, fake=fake))
    return world


def tell(world: World[Place], sender: int, receiver: int, data: bytes) -> None:
    """The sender's machine sends one datagram now."""
    world.members[sender].fake.outbox.append((data, address(receiver)))
    world.poll(world.members[sender])
