"""A node under attack and its attacker, each a process of its own.

    python -m proofs.spoofed_flood victim
    python -m proofs.spoofed_flood sender PORT PUBLIC_KEY COUNT VALID PER_SECOND SEED

The victim prints its URI and lives until its input ends. The sender makes its datagrams, says
"ready", and for each line of its input, a number, sends so many of them, each from an address of
127.0.0.0/8 of its own; then it prints how many left and in how many seconds, as JSON.
"""

import json
import socket
import struct
import sys
import time
from collections.abc import Iterator
from itertools import count as count_from
from random import Random

import trio

import dht
from dht.core.channel.packets import INIT_OVERHEAD
from dht.identity import Identity
from dht.network import Network
from dht.wire.codec import encode
from dht.wire.messages import REQUEST_ID_SIZE, WANT_IPV4, Find

from .spoofer import checked_junk, first_message

# Linux, <linux/in.h>: the address that a datagram shall leave from, in an ``in_pktinfo``.
_IP_PKTINFO = 8
_pack_from = struct.Struct("=I4s4s").pack
#: Datagrams between two looks at the clock.
BATCH = 5
#: 127.1.0.1, and from there on.
FIRST_SOURCE = 0x7F_01_00_01


def any_find(random: Random, identity: Identity, to: bytes, network: Network) -> bytes:
    """A first message with nothing wrong: somebody who has never been here looks for a key."""
    find = Find(flags=WANT_IPV4, target=random.randbytes(32), count=8, kind=0)
    frame = random.randbytes(REQUEST_ID_SIZE) + encode(find)
    return first_message(random, to, network, identity=identity, frame=frame)


def prepare(random: Random, to: bytes, network: Network, count: int, valid: int) -> list[bytes]:
    """So many that pass the first check, of which so many pass all, in any order."""
    made = [any_find(random, Identity.generate(random), to, network) for _ in range(valid)]
    sizes = (INIT_OVERHEAD, 400, 1200)
    made += [checked_junk(random, to, network, random.choice(sizes)) for _ in range(count - valid)]
    random.shuffle(made)
    return made


def send(
    sock: socket.socket,
    datagrams: list[bytes],
    to: tuple[str, int],
    rate: float,
    sources: Iterator[int],
) -> int:
    """Sends them at that rate, each from another address. How many the kernel took."""
    sent = 0
    began = time.perf_counter()
    for number, data in enumerate(datagrams):
        if number % BATCH == 0:
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
        info = _pack_from(0, next(sources).to_bytes(4), bytes(4))
        try:
            sock.sendmsg([data], [(socket.IPPROTO_IP, _IP_PKTINFO, info)], 0, to)
        except OSError:
            continue
        sent += 1
    return sent


def be_sender(port: int, rate: float, datagrams: list[bytes]) -> None:
    """Sends some of them whenever it is told to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 0))  # noqa: S104 - of all addresses of 127.0.0.0/8
        sources = count_from(FIRST_SOURCE)
        print("ready", flush=True)
        for line in sys.stdin:
            part, datagrams = datagrams[: int(line)], datagrams[int(line) :]
            began = time.perf_counter()
            sent = send(sock, part, ("127.0.0.1", port), rate, sources)
            seconds = time.perf_counter() - began
            print(json.dumps({"sent": sent, "seconds": seconds}), flush=True)


async def be_victim() -> None:
    async with dht.open_node("127.0.0.1:0") as node:
        print(node.uri, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


def main(arguments: list[str]) -> None:
    match arguments:
        case ["victim"]:
            trio.run(be_victim)
        case ["sender", port, key, count, valid, rate, seed]:
            random, to = Random(f"{seed} flood"), bytes.fromhex(key)
            made = prepare(random, to, Network.named(), int(count), int(valid))
            be_sender(int(port), float(rate), made)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
