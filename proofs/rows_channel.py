"""Promises about the encrypted channel in peace: it conforms, and what it costs in time and memory.

What it withstands is in ``rows_flood`` and ``rows_flood_live``.
"""

import re
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

import attrs
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from benchmarks.loopback import encryption_cost
from dht.contacts import Address, Contact, contact_at, pack_address
from dht.core.channel.secure import SecureChannel
from dht.core.channel.session import SESSIONS_MAX
from dht.identity import Identity
from dht.network import Network

from .machine import Figures, Reduced, Verdict, row
from .surroundings import ROOT

# ------------------------------------------------------------------------------------- conformance

NOISE = "tests/core/channel/test_noise.py"
REFUSED = "tests/core/channel/test_secure_refuses.py"
NEGATIVE_CASES_MIN = 20
_OUTCOME = re.compile(r"^(tests/\S+?)::(\S+) (PASSED|FAILED|ERROR|SKIPPED)", re.MULTILINE)


def judge_conformance(pieces: Sequence[Figures]) -> Verdict:
    """The vector, both directions, and at least twenty cases that are refused; none may fail."""
    (figures,) = pieces
    vector, both = figures["vector"], figures["independent"]
    return Verdict(
        figures,
        figures["failed"] == []
        and vector == 1
        and both == 2
        and figures["refused"] >= NEGATIVE_CASES_MIN,
        f"the official vector: {vector} of 1, an independent implementation: {both} of 2 "
        f"directions, {figures['refused']} cases of what is refused, {len(figures['failed'])} "
        "failed",
    )


@row(
    "channel-conformance",
    promise="the handshake is that of the official vector and of an independent implementation in "
    "both directions, and at least 20 kinds of wrong, altered, repeated, reflected or misdirected "
    "packets are refused",
    pieces=1,
    judge=judge_conformance,
    # `make test` runs these very tests.
    reduced=None,
)
def channel_conformance(_seed: int, _scale: float) -> Figures:
    """Runs the tests and counts them by their names."""
    command = ["pytest", "-v", "-p", "no:cacheprovider", "-o", "addopts=", NOISE, REFUSED]
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    outcomes = _OUTCOME.findall(done.stdout)
    passed = [(file, test) for file, test, outcome in outcomes if outcome == "PASSED"]
    return {
        "vector": sum("official_vector" in test for _, test in passed),
        "independent": sum("independent_implementation" in test for _, test in passed),
        "refused": sum(file == REFUSED for file, _ in passed),
        "names": [test for file, test in passed if file == REFUSED],
        "failed": [test for _, test, outcome in outcomes if outcome != "PASSED"]
        + ([done.stdout[-300:] + done.stderr[-300:]] if done.returncode else []),
    }


# -------------------------------------------------------------------------------------- handshakes

HANDSHAKES = 2000
HANDSHAKES_PER_BATCH = 20
EXCHANGES_MAX = 9.0
FIND = b"\x95\x02" + bytes(40)
ANSWER = b"\x95\x03" + bytes(400)


def judge_handshakes(pieces: Sequence[Figures]) -> Verdict:
    """Medians over batches of ratios that were each taken within one batch."""
    sides = {
        side: round(statistics.median(piece[side] for piece in pieces), 2)
        for side in ("initiator", "responder")
    }
    exchange_us = statistics.median(piece["exchange_us"] for piece in pieces)
    return Verdict(
        {
            **sides,
            "bar": EXCHANGES_MAX,
            "exchange_us": round(exchange_us, 1),
            "pieces": list(pieces),
        },
        max(sides.values()) <= EXCHANGES_MAX or pieces[0]["reduced"],
        f"one handshake with its request and answer costs who asks {sides['initiator']} and who "
        f"answers {sides['responder']} times one X25519 exchange of {exchange_us:.0f} µs",
    )


@row(
    "handshake-cost",
    promise="a handshake, with a request and its answer, costs each side at most 9 times one "
    "X25519 exchange (4 exchanges and a key generation are unavoidable)",
    pieces=5,
    judge=judge_handshakes,
    # A clock in the test-suite would judge its neighbours: there, only that all of it works.
    reduced=Reduced(pieces=1, scale=0.05),
    parallel=False,
)
def handshake_cost(seed: int, scale: float) -> Figures:
    """Batches of handshakes and of exchanges in turn."""
    random = Random(f"{seed} handshakes")
    theirs, ours = _Channel.at(random, 1), _Channel.at(random, 2)
    private, public = X25519PrivateKey.generate(), X25519PrivateKey.generate().public_key()
    initiator, responder, exchanges = [], [], []
    for batch in range(max(2, round(HANDSHAKES * scale / HANDSHAKES_PER_BATCH))):
        now = 1000.0 + batch  # slowly enough that nobody asks for cookies
        exchange = _seconds(partial(private.exchange, public), HANDSHAKES_PER_BATCH)
        asking = answering = 0.0
        for number in range(HANDSHAKES_PER_BATCH):
            # Somewhere else each time: who has answered before is asked in a session.
            theirs.address = pack_address(f"20.{batch >> 8}.{batch & 255}.{number}", 4000)
            asked, answered = _handshake(ours, theirs, now, (batch << 16 | number).to_bytes(8))
            asking += asked
            answering += answered
        exchanges.append(exchange / HANDSHAKES_PER_BATCH * 1e6)
        initiator.append(asking / exchange)
        responder.append(answering / exchange)
    return {
        "initiator": statistics.median(initiator),
        "responder": statistics.median(responder),
        "exchange_us": statistics.median(exchanges),
        "handshakes": len(exchanges) * HANDSHAKES_PER_BATCH,
        "reduced": scale < 1,
    }


def _seconds(work: Callable[[], object], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        work()
    return time.perf_counter() - started


def _handshake(
    ours: "_Channel", theirs: "_Channel", now: float, request_id: bytes
) -> tuple[float, float]:
    """Seconds that a question and its answer take at each side."""
    clock = time.perf_counter
    contact = theirs.contact
    started = clock()
    ours.channel.ask(now, contact, request_id, FIND)
    ((first, _),) = ours.channel.datagrams_to_send()
    asked = clock()
    opened = theirs.channel.receive(now, first, ours.address)
    assert opened is not None
    theirs.channel.answer(now, opened.ticket, request_id + ANSWER)
    ((second, _),) = theirs.channel.datagrams_to_send()
    answered = clock()
    reply = ours.channel.receive(now, second, theirs.address)
    ended = clock()
    assert reply is not None
    assert reply.payload == request_id + ANSWER
    return asked - started + ended - answered, answered - asked


# ---------------------------------------------------------------------------------------- sessions

SESSIONS_BYTES_MAX = 6 * 2**20
SAMPLED = 50


def judge_sessions(pieces: Sequence[Figures]) -> Verdict:
    """All of them held and usable, in so much memory."""
    (figures,) = pieces
    return Verdict(
        figures,
        figures["held"] == figures["wanted"]
        and figures["usable"] == figures["sampled"]
        and figures["bytes"] <= SESSIONS_BYTES_MAX * figures["wanted"] / SESSIONS_MAX,
        f"{figures['held']:,} sessions take {figures['bytes'] / 2**20:.2f} MiB; of "
        f"{figures['sampled']} that were tried {figures['usable']} carry a request",
    )


@row(
    "sessions-held",
    promise="4,096 sessions, all that a node holds, take at most 6 MiB",
    pieces=1,
    judge=judge_sessions,
    reduced=Reduced(pieces=1, scale=0.05),
)
def sessions_held(seed: int, scale: float) -> Figures:
    """As many peers open a session each, with two questions, and ask a third one in it.

    The peers live outside of the count: what is measured is the growth of the holder alone, as far
    as Python allocates it. What OpenSSL keeps for the hottest 256 sessions is not seen by
    ``tracemalloc``: 3 KB a cipher object by measurement, two a session, so 1.5 MiB at most.
    """
    random = Random(f"{seed} sessions")
    wanted = round(SESSIONS_MAX * scale)
    holder = _Channel.at(random, 0)
    peers = [_Channel.at(random, number + 1) for number in range(wanted)]
    now = 1000.0
    grown = 0
    tracemalloc.start()
    try:
        for peer in peers:
            now += 0.01
            for question in range(3):
                request_id = question.to_bytes(8)
                peer.channel.ask(now, holder.contact, request_id, FIND)
                for data, _ in peer.channel.datagrams_to_send():
                    before = tracemalloc.get_traced_memory()[0]
                    opened = holder.channel.receive(now, data, peer.address)
                    if opened is not None:
                        holder.channel.answer(now, opened.ticket, request_id + ANSWER)
                    opened = None
                    sent = holder.channel.datagrams_to_send()
                    size = sum(sys.getsizeof(each) for each in sent) + sum(
                        sys.getsizeof(answer) for answer, _ in sent
                    )
                    grown += tracemalloc.get_traced_memory()[0] - before - size
                    for answer, _ in sent:
                        peer.channel.receive(now, answer, holder.address)
    finally:
        tracemalloc.stop()
    sampled = random.sample(peers, min(SAMPLED, wanted))
    return {
        "wanted": wanted,
        "held": holder.channel.sessions_held,
        "bytes": grown,
        "sampled": len(sampled),
        "usable": sum(_usable(holder, peer, now) for peer in sampled),
    }


def _usable(holder: "_Channel", peer: "_Channel", now: float) -> bool:
    """Does a packet of its session open?"""
    peer.channel.ask(now, holder.contact, b"usable??", FIND)
    ((data, _),) = peer.channel.datagrams_to_send()
    opened = holder.channel.receive(now, data, peer.address)
    return opened is not None and opened.proved and opened.payload == b"usable??" + FIND


# -------------------------------------------------------------------------------------- encryption

ENCRYPTED_MIN = 0.8


def judge_encryption(pieces: Sequence[Figures]) -> Verdict:
    """Medians of ratios that were each taken within one piece."""
    ratios = {
        what: [round(piece[what]["ratio"], 3) for piece in pieces] for what in ("puts", "gets")
    }
    medians = {what: round(statistics.median(each), 2) for what, each in ratios.items()}
    failures = sum(piece["failures"] for piece in pieces)
    return Verdict(
        {"median_ratio": medians, "ratios": ratios, "bar": ENCRYPTED_MIN, "failures": failures},
        failures == 0 and (min(medians.values()) >= ENCRYPTED_MIN or pieces[0]["reduced"]),
        f"encrypted, 64 nodes on loopback put at {medians['puts']} and get at {medians['gets']} "
        f"times their rate without; {failures} operations failed",
    )


@row(
    "encryption-cost",
    promise="64 nodes on loopback that encrypt put and get at 80 % or more of their rate without",
    pieces=7,
    judge=judge_encryption,
    reduced=Reduced(pieces=1, scale=0.02),
    parallel=False,
)
def encryption_cost_row(seed: int, scale: float) -> Figures:
    """One run of the benchmark: with and without in turn."""
    compared = encryption_cost(operations=round(2000 * scale), seed=seed)
    return {**compared.rates, "failures": compared.failures, "reduced": scale < 1}


# --------------------------------------------------------------------------------------- the peers


@attrs.define(eq=False)
class _Channel:
    """A channel at an address of its own, in a /24 of its own."""

    identity: Identity
    address: Address
    channel: SecureChannel

    @classmethod
    def at(cls, random: Random, number: int) -> "_Channel":
        identity = Identity.generate(random)
        address = pack_address(f"{11 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.1", 4000)
        network = Network.named("proof")
        return cls(identity, address, SecureChannel(identity, network, Random(random.random())))

    @property
    def contact(self) -> Contact:
        """How it is asked."""
        return contact_at(self.identity.public_key, self.address)
