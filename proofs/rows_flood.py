"""The promise about a flood of handshakes that nobody means: it costs little memory, and no time of
those who are known."""

import gc
import json
import os
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from random import Random

import attrs
import trio

import dht
from dht.contacts import parse_uri, port_of
from dht.core.channel.load import HANDSHAKES_PER_S
from dht.identity import Identity
from dht.network import Network
from dht.sim import Simulator

from .machine import Figures, Reduced, Verdict, row
from .spoofed_flood import any_find, prepare
from .spoofer import somewhere
from .surroundings import ROOT

FLOOD = 100_000
#: Of those over the sockets, and of the second flood in virtual time, so many have nothing wrong;
#: of the others only the check is right that any member can make.
VALID_SHARE = 0.1
MEMORY_MAX = 8 * 2**20
P99_RATIO_MAX = 2.0

#: The floods in virtual time: (datagrams a second, how many have nothing wrong). The first stays
#: just below what is load, so that each is opened, answered and remembered.
FLOODS = ((0.95 * HANDSHAKES_PER_S, 1.0), (5_000.0, VALID_SHARE))
NODES = 4
_SIM_NETWORK = Network.named("sim")

#: Over sockets: rounds, each a calm part and one in the flood; requests of the peer a second.
ROUNDS = 5
FLOOD_PER_S = 2_000.0
REQUESTS_PER_S = 100.0
KEYS = 20


def judge_flood(pieces: Sequence[Figures]) -> Verdict:
    """Memory of every flood; descriptors and time where there are sockets."""
    floods = [piece for piece in pieces if "ratios" not in piece]
    real = [piece for piece in pieces if "ratios" in piece]
    figures: Figures = {
        "floods": floods,
        "sockets": real,
        "memory_growth_max": max(piece["memory_growth"] for piece in pieces),
    }
    passed = figures["memory_growth_max"] <= MEMORY_MAX
    passed = passed and not any(piece["requests_failed"] for piece in pieces)
    said = (
        f"floods of {max(piece['sent'] for piece in pieces):,} first messages: memory grew by at "
        f"most {figures['memory_growth_max'] / 2**20:.1f} MiB"
    )
    for piece in real:
        ratio = statistics.median(piece["ratios"])
        figures["p99_ratio"] = round(ratio, 2)
        passed = passed and ratio <= P99_RATIO_MAX
        passed = passed and piece["descriptors_before"] == piece["descriptors_after"]
        said += (
            f"; at {piece['per_second']:,.0f} a second over sockets the p99 of a known peer was "
            f"{ratio:.2f} times that in calm, with as many descriptors"
        )
    return Verdict(figures, passed, said)


@row(
    "spoofed-first-messages",
    promise=f"{FLOOD:,} first messages from made-up addresses cost a node at most 8 MiB and no "
    "descriptor, and the p99 of a peer that it knows at most doubles",
    pieces=len(FLOODS) + 1,
    judge=judge_flood,
    # Only memory: time is nothing to judge beside other tests.
    reduced=Reduced(pieces=len(FLOODS), scale=0.01),
    parallel=False,
)
def spoofed_first_messages(seed: int, scale: float) -> Figures:
    """Two floods in virtual time, for the memory; one over sockets, for the time."""
    if seed < len(FLOODS):
        return _in_virtual_time(seed, round(FLOOD * scale))
    return trio.run(_over_sockets, seed, round(FLOOD * scale))


def _in_virtual_time(seed: int, count: int) -> Figures:
    """Everything that the victim, and what is around it, allocates, by Python's own count."""
    random = Random(f"{seed} flood")
    per_s, valid_share = FLOODS[seed]
    simulator = Simulator(seed, encrypted=True)
    victim, peer, *_ = simulator.grow(NODES)
    for number in range(KEYS):
        simulator.put(peer, f"{number}", b"value")
    simulator.run_for(60.0)
    to = victim.identity.public_key
    before = victim.engine.stats()
    failed: list[bool] = []
    largest = 0
    gc.collect()
    tracemalloc.start()
    for number in range(count):
        valid = random.random() < valid_share
        data = (
            any_find(random, Identity.generate(random), to, _SIM_NETWORK)
            if valid
            else prepare(random, to, _SIM_NETWORK, 1, 0)[0]
        )
        victim.engine.receive_datagram(simulator.now, data, somewhere(random))
        simulator.poll(victim)
        simulator.run_for(1 / per_s)
        if number % 1000 == 0 or number == count - 1:
            simulator.trace_hash()  # what a simulation remembers of itself is not the victim's
            largest = max(largest, tracemalloc.get_traced_memory()[0])
            failed.append(simulator.get(peer, f"{number % KEYS}").value != b"value")
    tracemalloc.stop()
    after = victim.engine.stats()
    return {
        "sent": count,
        "per_second": per_s,
        "valid_share": valid_share,
        "memory_growth": largest,
        "handshakes_served": after.requests_served - before.requests_served,
        "requests_failed": sum(failed),
        "contacts": after.contacts,
    }


# ----------------------------------------------------------------------------------- over sockets


@attrs.define(eq=False)
class _Process:
    """A program of ours, spoken to by lines."""

    popen: subprocess.Popen[str]

    @classmethod
    def start(cls, *arguments: object) -> "_Process":
        command = [sys.executable, "-m", "proofs.spoofed_flood", *map(str, arguments)]
        pipe = subprocess.PIPE
        return cls(subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True))

    def line(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()

    def say(self, text: str) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(text + "\n")
        self.popen.stdin.flush()

    def end(self) -> None:
        self.popen.communicate()

    def memory(self) -> int:
        """Bytes that are in memory (Linux)."""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        [kib] = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
        return int(kib) * 1024

    def cpu_s(self) -> float:
        """Seconds of a core that it has used (Linux)."""
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.popen.pid}/fd").iterdir()))


async def _over_sockets(seed: int, count: int) -> Figures:
    victim = _Process.start("victim")
    contact = parse_uri(victim.line())
    port = port_of(contact.address)
    sender = _Process.start(
        "sender",
        port,
        contact.public_key.hex(),
        count,
        round(count * VALID_SHARE),
        FLOOD_PER_S,
        seed,
    )
    try:
        async with dht.open_node("127.0.0.1:0", bootstrap=[contact], client=True) as peer:
            return await _rounds(victim, sender, peer, count)
    finally:
        sender.end()
        victim.end()


async def _rounds(victim: _Process, sender: _Process, peer: dht.Node, count: int) -> Figures:
    for number in range(KEYS):
        await peer.put(f"{number}", b"value")
    await trio.to_thread.run_sync(sender.line)
    a_part = count // ROUNDS
    part_s = a_part / FLOOD_PER_S
    await _requests(peer, part_s)  # what is allocated once is allocated now
    memory, descriptors = victim.memory(), victim.descriptors()
    calm, flooded, floods = [], [], []
    failed, busy_s = 0, 0.0
    for _ in range(ROUNDS):
        seconds, lost = await _requests(peer, part_s)
        calm.append(_p99(seconds))
        cpu_s = victim.cpu_s()
        sender.say(str(a_part))
        seconds, lost_in_flood = await _requests(peer, part_s)
        flooded.append(_p99(seconds))
        floods.append(json.loads(await trio.to_thread.run_sync(sender.line)))
        busy_s += victim.cpu_s() - cpu_s
        failed += lost + lost_in_flood
    return {
        "sent": sum(each["sent"] for each in floods),
        "per_second": a_part / statistics.median(each["seconds"] for each in floods),
        "valid_share": VALID_SHARE,
        "victim_cpu_percent": round(100 * busy_s / sum(each["seconds"] for each in floods), 1),
        "requests_failed": failed,
        "p99_calm_ms": [round(1000 * each, 2) for each in calm],
        "p99_flood_ms": [round(1000 * each, 2) for each in flooded],
        "ratios": [hot / cool for hot, cool in zip(flooded, calm, strict=True)],
        "memory_growth": victim.memory() - memory,
        "descriptors_before": descriptors,
        "descriptors_after": victim.descriptors(),
    }


async def _requests(peer: dht.Node, seconds: float) -> tuple[list[float], int]:
    """One get after the other, at their rate: how long each took, and how many failed."""
    took, failed = [], 0
    began = time.perf_counter()
    for number in range(round(seconds * REQUESTS_PER_S)):
        await trio.sleep(max(0.0, began + number / REQUESTS_PER_S - time.perf_counter()))
        started = time.perf_counter()
        value = await peer.get(f"{number % KEYS}", default=None)
        took.append(time.perf_counter() - started)
        failed += value != b"value"
    return took, failed


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(0.99 * len(seconds))]
