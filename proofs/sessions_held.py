"""One channel with sessions to many peers, alone in its process: how much memory they take.

    PYTHONMALLOC=malloc python -m proofs.sessions_held SESSIONS SAMPLED SEED

prints the figures as JSON. The objects that encrypt live in the memory of OpenSSL, which no Python
tool sees. So the bytes are those that the C library has given out and not got back, with its own
overhead, and Python asks it for each object too. Where the C library does not say (all but glibc),
only what Python allocates is counted.
"""

import ctypes
import gc
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from random import Random

import attrs

from dht.contacts import Address, contact_at, pack_address, unpack_contact
from dht.core.channel.packets import DATA
from dht.core.channel.secure import SecureChannel
from dht.identity import Identity
from dht.network import Network

from .machine import Figures
from .surroundings import ROOT

HERE = pack_address("9.9.9.9", 4000)
REQUEST = b"\x95\x02" + b"find" * 9
ANSWER = b"here you are"
#: Seconds between two exchanges: they are not all at once, and none has become idle at the end.
STEP_S = 0.01


class _Mallinfo2(ctypes.Structure):
    """``struct mallinfo2`` of glibc's malloc.h."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def in_a_process(sessions: int, sampled: int, seed: int) -> Figures:
    """The figures, measured where nothing else is."""
    done = subprocess.run(
        [sys.executable, "-m", "proofs.sessions_held", *map(str, (sessions, sampled, seed))],
        cwd=ROOT,
        env={**os.environ, "PYTHONMALLOC": "malloc"},
        capture_output=True,
        text=True,
        timeout=500,
        check=True,
    )
    figures: Figures = json.loads(done.stdout)
    return figures


def meter() -> tuple[Callable[[], int], str]:
    """What says how many bytes are allocated now, and how it knows."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        tracemalloc.start()
        return lambda: tracemalloc.get_traced_memory()[0], "tracemalloc, without OpenSSL's memory"
    mallinfo2.restype = _Mallinfo2

    def allocated() -> int:
        info = mallinfo2()
        return int(info.uordblks + info.hblkhd)

    return allocated, "mallinfo2, all of the process"


@attrs.define(eq=False)
class Holder:
    """The channel, and as much of each peer as its next packet takes."""

    channel: SecureChannel
    random: Random
    identity: Identity
    now: float = 1000.0

    def meet(self, number: int) -> tuple[SecureChannel, Address, Identity]:
        """A new peer in a subnet of its own, with a session that it or the holder has opened."""
        address = pack_address(f"1.{number >> 8}.{number & 255}.1", 4000)
        identity = Identity.generate(self.random)
        peer = SecureChannel(identity, Network.named("test"), self.random)
        for _ in range(2):  # the first leaves a token, with which the second opens a session
            if number % 2:
                heard = self.talk(self.channel, HERE, peer, address, identity)
            else:
                heard = self.talk(peer, address, self.channel, HERE, self.identity)
            assert heard
        return peer, address, identity

    def talk(
        self,
        asker: SecureChannel,
        asker_at: Address,
        answerer: SecureChannel,
        answerer_at: Address,
        answerer_is: Identity,
        *,
        in_session: bool = False,
    ) -> bool:
        """One request and its answer: was it heard, and all of it in a session if it must be?"""
        self.now += STEP_S
        request_id = self.random.randbytes(8)
        contact = contact_at(answerer_is.public_key, answerer_at)
        asker.ask(self.now, contact, request_id, bytes(bytearray(REQUEST)))
        ((asked, _),) = asker.datagrams_to_send()
        opened = answerer.receive(self.now, asked, asker_at)
        if opened is None:
            return False
        answerer.answer(self.now, opened.ticket, opened.payload[:8] + ANSWER)
        ((answer, _),) = answerer.datagrams_to_send()
        heard = asker.receive(self.now, answer, answerer_at)
        if heard is None or heard.payload != request_id + ANSWER:
            return False
        return not in_session or asked[0] == answer[0] == DATA


def measure(sessions: int, sampled: int, seed: int) -> Figures:
    """Opens the sessions, uses some of them, and counts when only the one channel is left."""
    random = Random(f"{seed} sessions")
    allocated, measured_by = meter()
    _holder_of(2, random)  # what is made once and for all is no session's
    before = _settled(allocated)
    holder, peers = _holder_of(sessions, random, keep=sampled)
    usable = sum(_works(holder, *peer) for peer in peers)
    held, tried = holder.channel.sessions_held, len(peers)
    del peers
    after = _settled(allocated)
    return {
        "wanted": sessions,
        "sessions": held,
        "bytes": after - before,
        "measured_by": measured_by,
        "sampled": tried,
        "usable": usable,
    }


def _holder_of(
    sessions: int, random: Random, *, keep: int = 0
) -> tuple[Holder, list[tuple[SecureChannel, Address, Identity]]]:
    identity = Identity.generate(random)
    holder = Holder(SecureChannel(identity, Network.named("test"), random), random, identity)
    kept = set(random.sample(range(sessions), min(keep, sessions)))
    peers = []
    for number in range(sessions):
        peer = holder.meet(number)
        if number in kept:
            peers.append(peer)
    return holder, peers


def _works(holder: Holder, peer: SecureChannel, address: Address, identity: Identity) -> bool:
    """Either end asks the other, in the session that they have."""
    return holder.talk(
        holder.channel, HERE, peer, address, identity, in_session=True
    ) and holder.talk(peer, address, holder.channel, HERE, holder.identity, in_session=True)


def _settled(allocated: Callable[[], int]) -> int:
    """Without garbage, and without the memo of contacts: it has a bound of its own, whoever speaks
    to whom."""
    unpack_contact.cache_clear()
    gc.collect()
    return allocated()


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))))
