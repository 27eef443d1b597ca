"""Our half of the loopback benchmark: 64 nodes in one process, as in ``kademlia_half``."""

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import trio

import dht

LOOPBACK = "127.0.0.1:0"
JOINERS_AT_ONCE = 8

Work = list[tuple[dht.Node, str, bytes]]  # through whom, key, value


async def run(
    *,
    nodes: int = 64,
    operations: int = 2000,
    in_flight: int = 16,
    value_size: int = 64,
    seed: int = 1,
    encrypted: bool = False,
) -> dict[str, Any]:
    """Put and get ``operations`` values, 8 copies each; rates, failures and datagrams.

    Not encrypted unless asked: the other side of the comparison is not, either.
    """
    random = Random(seed)
    async with AsyncExitStack() as stack:
        members = await _network(stack, nodes, dht.Config(encrypted=encrypted))
        warm = _work(random, members, operations, value_size, "warm")
        timed = _work(random, members, operations, value_size, "timed")

        sent_before = _datagrams(members)
        _, warm_put_failures = await _timed(_put, warm, in_flight)
        put_datagrams = _datagrams(members) - sent_before
        put_seconds, put_failures = await _timed(_put, timed, in_flight)

        warm = _reassigned(random, members, warm)
        timed = _reassigned(random, members, timed)
        sent_before = _datagrams(members)
        _, warm_get_failures = await _timed(_get, warm, in_flight)
        get_datagrams = _datagrams(members) - sent_before
        get_seconds, get_failures = await _timed(_get, timed, in_flight)
    return {
        "puts_per_second": operations / put_seconds,
        "gets_per_second": operations / get_seconds,
        "put_failures": put_failures,
        "get_failures": get_failures,
        "uncounted_failures": warm_put_failures + warm_get_failures,
        "datagrams_per_put": put_datagrams / operations,
        "datagrams_per_get": get_datagrams / operations,
    }


async def _network(stack: AsyncExitStack, nodes: int, config: dht.Config) -> list[dht.Node]:
    members = [await stack.enter_async_context(dht.open_node(LOOPBACK, config=config))]
    while len(members) < nodes:
        batch = min(JOINERS_AT_ONCE, nodes - len(members))
        for _ in range(batch):
            node = dht.open_node(LOOPBACK, bootstrap=[members[0].uri], config=config)
            members.append(await stack.enter_async_context(node))
    return members


def _work(
    random: Random, members: list[dht.Node], operations: int, value_size: int, name: str
) -> Work:
    return [
        (random.choice(members), f"{name}-{number}", random.randbytes(value_size))
        for number in range(operations)
    ]


def _reassigned(random: Random, members: list[dht.Node], work: Work) -> Work:
    return [(random.choice(members), key, value) for _, key, value in work]


async def _put(node: dht.Node, key: str, value: bytes) -> bool:
    outcome = await node.put(key, value)
    return len(outcome.stored) + len(outcome.pending) >= outcome.quorum


async def _get(node: dht.Node, key: str, value: bytes) -> bool:
    return await node.get(key) == value


async def _timed(
    operation: Callable[[dht.Node, str, bytes], Awaitable[bool]], work: Work, in_flight: int
) -> tuple[float, int]:
    """Seconds, and how many failed, of all the work, ``in_flight`` at a time."""
    waiting = iter(work)
    failures = 0

    async def worker() -> None:
        nonlocal failures
        for node, key, value in waiting:
            try:
                done = await operation(node, key, value)
            except dht.DHTError:
                done = False
            failures += not done

    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(in_flight):
            nursery.start_soon(worker)
    return time.perf_counter() - started, failures


def _datagrams(members: list[dht.Node]) -> int:
    return sum(node.stats().datagrams_sent for node in members)
