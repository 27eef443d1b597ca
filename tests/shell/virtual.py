"""Nodes on a network of dicts, in trio's virtual time: autojump makes every wait free."""

import socket
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from functools import partial
from random import Random
from typing import Any, TypeVar

import trio
import trio.testing

from dht.config import Config
from dht.contacts import Address, Introducer, parse_address, parse_introducer
from dht.identity import Identity
from dht.network import Network
from dht.shell.node import Node, run_node
from dht.shell.pump import PortCounters, Pump
from dht.shell.watch import Watch

T = TypeVar("T")

DELAY_S = 0.01
WALL_AT_START = 1_700_000_000.0


def run(async_fn: Callable[[], Awaitable[T]]) -> T:
    """Runs it with a clock that never waits."""
    return trio.run(async_fn, clock=trio.testing.MockClock(autojump_threshold=0))


class VirtualClock:
    """trio's own; the wall clock can be set."""

    wall_offset_s = WALL_AT_START

    def now(self) -> float:
        return trio.current_time()

    def wall(self) -> float:
        return trio.current_time() + self.wall_offset_s


class VirtualPort:
    """One node's end of the network; with an address for each family that it speaks."""

    def __init__(self, network: "VirtualNetwork", addresses: tuple[Address, ...]) -> None:
        self.network = network
        self.addresses = addresses
        self.counters = PortCounters()
        self.pump: Pump | None = None
        self.watch: Watch | None = None
        self.closed = False

    def attach(self, pump: Pump, watch: Watch) -> None:
        self.pump, self.watch = pump, watch
        self.network.ports.update(dict.fromkeys(self.addresses, self))

    def send(self, datagrams: Iterable[tuple[bytes, Address]]) -> None:
        assert not self.closed
        for data, address in datagrams:
            own = [each for each in self.addresses if len(each) == len(address)]
            if own:
                self.network.carry(data, own[0], address)
            else:
                self.counters.datagrams_unsendable += 1

    def close(self) -> None:
        self.closed = True
        for address in self.addresses:
            self.network.ports.pop(address, None)


class VirtualNetwork:
    """Carries every datagram in DELAY_S, unless it is cut."""

    def __init__(self) -> None:
        self.ports: dict[Address, VirtualPort] = {}
        self.is_cut = False
        self.carried = 0
        self._seed = 0

    def carry(self, data: bytes, source: Address, destination: Address) -> None:
        port = self.ports.get(destination)
        if port is not None and not self.is_cut:
            assert port.pump is not None
            assert port.watch is not None
            self.carried += 1
            arrive = partial(port.pump.receive, data, source)
            port.watch.call_after(DELAY_S, port.pump, arrive)

    def open(
        self,
        *addresses: str,
        bootstrap: Iterable[Introducer | str] = (),
        network: Network = Network.named(),
        identity: Identity | None = None,
        clock: VirtualClock | None = None,
        client: bool | None = None,
        config: Config = Config(),
        **more: Any,
    ) -> AbstractAsyncContextManager[Node]:
        """``open_node`` on this network, at the next free address unless told."""
        self._seed += 1
        where = addresses or (f"10.0.{self._seed // 250}.{self._seed % 250 + 1}:4000",)
        return run_node(
            VirtualPort(self, tuple(map(parse_address, where))),
            clock or VirtualClock(),
            random=Random(self._seed),
            bootstrap=tuple(parse_introducer(b) if isinstance(b, str) else b for b in bootstrap),
            network=network,
            identity=identity,
            client=client,
            config=config,
            **more,
        )


def has_ipv6() -> bool:
    """Can this machine listen on IPv6 loopback?"""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


class StepCanceller(trio.abc.Instrument):
    """Cancels a scope around the n-th step of a task: as it goes on, or just after it stopped.

    In the one case the task finds out at its next checkpoint, in the other it is woken from its
    sleep: with every n, every await of an operation is interrupted in both ways. Step 0 is the
    one under way; it can only be cancelled at its end.
    """

    def __init__(self, scope: trio.CancelScope, step: int, *, asleep: bool) -> None:
        self.scope = scope
        self.left = step
        self.asleep = asleep
        self.task = trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0 and not self.asleep:
                self.scope.cancel()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task and self.left == 0 and self.asleep:
            self.scope.cancel()
            self.left = -1


async def cancelled_at_step(
    operation: Callable[[], Awaitable[object]], step: int, *, asleep: bool
) -> bool:
    """Runs it, cancelled at that step; was it?"""
    with trio.CancelScope() as scope:
        canceller = StepCanceller(scope, step, asleep=asleep)
        trio.lowlevel.add_instrument(canceller)
        try:
            await operation()
        finally:
            trio.lowlevel.remove_instrument(canceller)
    return scope.cancelled_caught
