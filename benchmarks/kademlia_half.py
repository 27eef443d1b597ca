"""The other half of the loopback benchmark: the same work, done by the package ``kademlia``.

``nodes`` servers share one process and one event loop on 127.0.0.1. Puts and then gets go through
randomly chosen servers, ``in_flight`` at a time. Each is timed after a pass over other keys that is
not counted; that pass also counts the datagrams, so that nothing is wrapped while the clock runs.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from kademlia.network import Server
from kademlia.utils import digest

LOOPBACK = "127.0.0.1"
JOINERS_AT_ONCE = 8

Work = list[tuple[Server, str, bytes]]  # through whom, key, value


class CountingTransport:
    """Stands before a datagram transport and counts what is sent."""

    def __init__(self, transport: asyncio.DatagramTransport, counter: list[int]) -> None:
        self.transport = transport
        self._counter = counter

    def sendto(self, data: bytes, address: tuple[str, int]) -> None:
        self._counter[0] += 1
        self.transport.sendto(data, address)

    def close(self) -> None:
        self.transport.close()


async def run(
    ksize: int | None,
    *,
    nodes: int = 64,
    operations: int = 2000,
    in_flight: int = 16,
    value_size: int = 64,
    seed: int = 1,
) -> dict[str, Any]:
    # Its INFO lines are built for each message; a deployment would have them off, and so have we.
    # Its calls at INFO build strings per message; a deployment would have them off, and so have we.
    for name in ("kademlia", "rpcudp", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    rng = random.Random(seed)
    servers = await _network(ksize, nodes, rng)
    try:
        warm = _work(rng, servers, operations, value_size, "warm")
        timed = _work(rng, servers, operations, value_size, "timed")

        (_, warm_put_failures), put_datagrams = await _counted(
            servers, lambda: _put_all(warm, in_flight)
        )
        put_seconds, put_failures = await _put_all(timed, in_flight)

        warm = _reassigned(rng, servers, warm)
        timed = _reassigned(rng, servers, timed)
        own_store = sum(server.storage.get(digest(key)) is not None for server, key, _ in timed)
        (_, warm_get_failures), get_datagrams = await _counted(
            servers, lambda: _get_all(warm, in_flight)
        )
        get_seconds, get_failures = await _get_all(timed, in_flight)
    finally:
        for server in servers:
            server.stop()
        await asyncio.sleep(0)
    return {
        "puts_per_second": operations / put_seconds,
        "gets_per_second": operations / get_seconds,
        "put_failures": put_failures,
        "get_failures": get_failures,
        "uncounted_failures": warm_put_failures + warm_get_failures,
        "datagrams_per_put": put_datagrams / operations,
        "datagrams_per_get": get_datagrams / operations,
        "gets_from_own_store": own_store,
    }


async def _network(ksize: int | None, nodes: int, rng: random.Random) -> list[Server]:
    """A network whose members all joined through the first, and then looked themselves up again."""
    servers = []
    for _ in range(nodes):
        options = {} if ksize is None else {"ksize": ksize}
        server = Server(node_id=rng.randbytes(20), **options)
        await server.listen(0, interface=LOOPBACK)
        servers.append(server)
    first = (LOOPBACK, _port(servers[0]))
    for start in range(1, nodes, JOINERS_AT_ONCE):
        joining = servers[start : start + JOINERS_AT_ONCE]
        await asyncio.gather(*(server.bootstrap([first]) for server in joining))
    for server in servers:  # the early ones learn of the late ones
        await server.bootstrap(server.bootstrappable_neighbors())
    return servers


def _port(server: Server) -> int:
    return int(server.transport.get_extra_info("sockname")[1])


def _work(
    rng: random.Random, servers: list[Server], operations: int, value_size: int, name: str
) -> Work:
    return [
        (rng.choice(servers), f"{name}-{number}", rng.randbytes(value_size))
        for number in range(operations)
    ]


def _reassigned(rng: random.Random, servers: list[Server], work: Work) -> Work:
    return [(rng.choice(servers), key, value) for _, key, value in work]


async def _put_all(work: Work, in_flight: int) -> tuple[float, int]:
    async def put(server: Server, key: str, value: bytes) -> bool:
        return bool(await server.set(key, value))

    return await _timed(put, work, in_flight)


async def _get_all(work: Work, in_flight: int) -> tuple[float, int]:
    async def get(server: Server, key: str, value: bytes) -> bool:
        return bool(await server.get(key) == value)

    return await _timed(get, work, in_flight)


async def _timed(
    operation: Callable[[Server, str, bytes], Awaitable[bool]],
    work: Work,
    in_flight: int,
) -> tuple[float, int]:
    """Seconds, and how many failed, of all the work, ``in_flight`` at a time."""
    waiting = iter(work)
    failures = 0

    async def worker() -> None:
        nonlocal failures
        for server, key, value in waiting:
            if not await operation(server, key, value):
                failures += 1

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return time.perf_counter() - started, failures


async def _counted(
    servers: list[Server], action: Callable[[], Awaitable[tuple[float, int]]]
) -> tuple[tuple[float, int], int]:
    """What ``action`` returns, and how many datagrams the servers sent meanwhile."""
    counter = [0]
    for server in servers:
        server.protocol.transport = CountingTransport(server.transport, counter)
    try:
        result = await action()
    finally:
        for server in servers:
            server.protocol.transport = server.transport
    return result, counter[0]
