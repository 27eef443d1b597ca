"""Many real nodes in one process, on loopback, that can be killed without a word."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from random import Random
from typing import TypeVar, final

import attrs
import trio

from ..contacts import Contact, parse_address, parse_uri
from ..errors import LocalError
from ..shell.clock import SystemClock
from ..shell.node import Node, run_node
from ..shell.udp import UdpPort

_T = TypeVar("_T")

#: Nodes that join at the same time; the first one stands alone.
_JOINING = 8


@final
@attrs.frozen(eq=False)
class Member:
    """A node, and what it takes to kill it."""

    node: Node
    _port: UdpPort
    _scope: trio.CancelScope

    @property
    def contact(self) -> Contact:
        """How others reach it."""
        return parse_uri(self.node.uri)

    def kill(self) -> None:
        """Nothing leaves it any more, no farewell either: the sockets go first."""
        self._port.close()
        self._scope.cancel()


@final
class Crowd:
    """Nodes that run in one nursery. ``random`` decides who they are and whom they know first."""

    def __init__(self, nursery: trio.Nursery, random: Random) -> None:
        self.members: list[Member] = []
        self._nursery = nursery
        self._random = random

    async def grow(self, count: int, *, on_joined: Callable[[], None] = lambda: None) -> None:
        """Adds nodes, each by way of a random one. Raises ``LocalError`` without sockets enough."""
        ports = bind_many(count)

        async def join(port: UdpPort) -> None:
            known = [self._random.choice(self.members).contact] if self.members else []
            self.members.append(await self._start(port, known))
            on_joined()

        if ports and not self.members:
            await join(ports.pop())
        await in_parallel((partial(join, port) for port in ports), limit=_JOINING)

    async def newcomer(self) -> Member:
        """One more, which only asks, and knows what it learned while it joined."""
        [port] = bind_many(1)
        return await self._start(port, [self._random.choice(self.members).contact], client=True)

    def kill(self, count: int) -> None:
        """Kills so many random members, all at once."""
        for member in self._random.sample(self.members, count):
            member.kill()
            self.members.remove(member)

    async def _start(
        self, port: UdpPort, bootstrap: Iterable[Contact], *, client: bool = False
    ) -> Member:
        member: Member = await self._nursery.start(
            partial(
                _run_member,
                port,
                tuple(bootstrap),
                Random(self._random.getrandbits(64)),
                client=client,
            )
        )
        return member


async def _run_member(
    port: UdpPort,
    bootstrap: tuple[Contact, ...],
    random: Random,
    *,
    client: bool,
    task_status: trio.TaskStatus[Member],
) -> None:
    with trio.CancelScope() as scope:
        async with run_node(
            port, SystemClock(), random=random, bootstrap=bootstrap, client=client, overlay="both"
        ) as node:
            task_status.started(Member(node, port, scope))
            await trio.sleep_forever()


def bind_many(count: int) -> list[UdpPort]:
    """So many free ports on loopback, or a ``LocalError`` and none."""
    ports: list[UdpPort] = []
    try:
        while len(ports) < count:
            ports.append(UdpPort.bind([parse_address("127.0.0.1:0")]))
    except LocalError:
        for port in ports:
            port.close()
        raise
    return ports


async def in_parallel(jobs: Iterable[Callable[[], Awaitable[_T]]], *, limit: int) -> list[_T]:
    """Runs all jobs, at most ``limit`` at a time; their results in the order of their ends."""
    waiting = iter(jobs)
    results: list[_T] = []

    async def work() -> None:
        for job in waiting:
            result = await job()
            results.append(result)

    async with trio.open_nursery() as nursery:
        for _ in range(limit):
            nursery.start_soon(work)
    return results
