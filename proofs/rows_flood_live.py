"""The promise about a flood on real sockets: who is served already goes on being served.

Three processes: the node that is flooded, its established peer (here), and the attacker, who sends
each first message from a loopback address of its own.
"""

import os
import socket
import statistics
import time
from collections.abc import Sequence
from math import ceil
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import trio

import dht
from dht.contacts import parse_uri, split_address
from dht.network import Network
from dht.wire.messages import Ping

from .machine import Figures, Reduced, Verdict, row
from .street import first_message

MESSAGES = 100_000
MESSAGES_PER_S = 4000.0
#: Of the peer: a lookup each time, of which every one asks the node that is flooded.
LOOKUPS_PER_S = 100.0
RATIO_MAX = 2.0
GROWTH_MAX = 8 * 2**20  # bytes of resident memory
_PAGE = os.sysconf("SC_PAGE_SIZE")


def judge_flood(pieces: Sequence[Figures]) -> Verdict:
    """The median of the ratios, the worst of all else."""
    ratio = statistics.median(piece["flooded_p99_ms"] / piece["calm_p99_ms"] for piece in pieces)
    grown = max(piece["grown"] for piece in pieces)
    files = max(piece["files_more"] for piece in pieces)
    failed = sum(piece["failed"] for piece in pieces)
    calm, flooded = (
        statistics.median(piece[name] for piece in pieces)
        for name in ("calm_p99_ms", "flooded_p99_ms")
    )
    return Verdict(
        {
            "p99_ratio": round(ratio, 2),
            "bar": RATIO_MAX,
            "grown_max": grown,
            "files_more": files,
            "failed": failed,
            "pieces": list(pieces),
        },
        files <= 0
        and failed == 0
        and grown <= GROWTH_MAX
        and (ratio <= RATIO_MAX or pieces[0]["reduced"]),
        f"an established peer's p99 is {flooded:.2f} ms during the flood and {calm:.2f} ms without "
        f"({ratio:.2f} times); the process grew by {grown / 2**20:.1f} MiB and {files} file "
        f"descriptors; {failed} requests failed",
    )


@row(
    "flood-latency",
    promise="while 100,000 first messages come from as many addresses, 4,000 a second, a node "
    "opens no file, grows by at most 8 MiB, and its established peers' p99 at most doubles",
    pieces=5,
    judge=judge_flood,
    # A clock in the test-suite would judge its neighbours: there, only that all of it works.
    reduced=Reduced(pieces=1, scale=0.01),
    parallel=False,
)
def flood_latency(seed: int, scale: float) -> Figures:
    """Calm, flood, and what both were like."""
    messages = round(MESSAGES * scale)
    processes = get_context("spawn")
    ours, theirs = processes.Pipe()
    victim = processes.Process(target=_be_flooded, args=(theirs,))
    victim.start()
    try:
        uri = ours.recv()
        assert victim.pid is not None
        to_attacker, attackers = processes.Pipe()
        attacker = processes.Process(target=_flood, args=(attackers, uri, messages, seed))
        attacker.start()
        try:
            to_attacker.recv()  # it has made all its messages
            return {
                **trio.run(_measure, uri, victim.pid, to_attacker, messages / MESSAGES_PER_S),
                "messages": messages,
                "reduced": scale < 1,
            }
        finally:
            attacker.kill()
            attacker.join()
    finally:
        ours.send("stop")
        victim.join()


async def _measure(uri: str, pid: int, attacker: Connection, seconds: float) -> Figures:
    async with dht.open_node("127.0.0.1:0", bootstrap=[uri]) as peer:
        await _lookups(peer, min(seconds, 2.0))  # a session is there, and all code is warm
        files, memory = _files(pid), _memory(pid)
        calm, calm_failed = await _lookups(peer, seconds)
        attacker.send("go")
        flooded, failed = await _lookups(peer, seconds)
        sent = await trio.to_thread.run_sync(attacker.recv)
        return {
            "calm_p99_ms": _p99_ms(calm),
            "flooded_p99_ms": _p99_ms(flooded),
            "calm_p50_ms": round(statistics.median(calm) * 1000, 3),
            "flooded_p50_ms": round(statistics.median(flooded) * 1000, 3),
            "lookups": len(calm) + len(flooded),
            "failed": calm_failed + failed,
            "files_more": _files(pid) - files,
            "grown": _memory(pid) - memory,
            "sent_a_second": round(sent),
        }


async def _lookups(peer: dht.Node, seconds: float) -> tuple[list[float], int]:
    """How long each took, begun at even intervals, and how many found nobody."""
    took, failed = [], 0
    began = trio.current_time()
    for number in range(max(5, round(seconds * LOOKUPS_PER_S))):
        await trio.sleep_until(began + number / LOOKUPS_PER_S)
        started = time.perf_counter()
        try:
            await peer.lookup(f"key {number}")
        except dht.NoPeers:
            failed += 1
        took.append(time.perf_counter() - started)
    return took, failed


def _p99_ms(took: Sequence[float]) -> float:
    return round(sorted(took)[ceil(0.99 * len(took)) - 1] * 1000, 3)


def _files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def _be_flooded(pipe: Connection) -> None:
    async def live() -> None:
        async with dht.open_node("127.0.0.1:0") as node:
            pipe.send(node.uri)
            await trio.to_thread.run_sync(pipe.recv)

    trio.run(live)


def _flood(pipe: Connection, uri: str, messages: int, seed: int) -> None:
    """Makes all messages, then sends them, each from an address of its own."""
    random = Random(f"{seed} flood")
    victim = parse_uri(uri)
    datagrams = [
        first_message(random, 0.0, victim, Ping(flags=0), network=Network.named())
        for _ in range(messages)
    ]
    host, port = split_address(victim.address)
    pipe.send("ready")
    pipe.recv()
    began = time.monotonic()
    for number, data in enumerate(datagrams):
        ahead = began + number / MESSAGES_PER_S - time.monotonic()
        if ahead > 0.001:
            time.sleep(ahead)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind((f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", 0))
            one.sendto(data, (host, port))
    pipe.send(messages / (time.monotonic() - began))
    pipe.recv()
