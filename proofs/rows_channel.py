"""Promises about the encrypted channel in peace: it conforms, and costs no more than it has to.

The cost of a handshake is told in exchanges of X25519, of which each side has to make four, and one
ephemeral key, which takes about as long: so the figure says what is added to that, on any machine.
What the channel withstands is in ``rows_flood`` and ``rows_flood_live``.
"""

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from random import Random

import attrs
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from benchmarks.loopback import encryption_cost
from dht.contacts import Address, Contact, contact_at, pack_address
from dht.core.channel.secure import SecureChannel
from dht.core.channel.session import HOT_MAX, SESSIONS_MAX
from dht.identity import Identity
from dht.network import Network

from . import sessions_held as holding
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


# ------------------------------------------------------------------------------- handshakes' price

#: Exchanges of X25519 that a handshake may cost a side, all in all.
COST_MAX = 9.0
HANDSHAKES = 8  # at once, between two looks at the price of an exchange
BATCHES = 50
#: As far as a channel looks into it: the tag of a ``Find``. And an answer of usual size.
REQUEST = b"\x95\x02" + b"find" * 9
ANSWER = b"nodes" * 60
SIDES = ("asker", "answerer")
KINDS = ("of strangers", "that open a session")


def judge_cost(pieces: Sequence[Figures]) -> Verdict:
    """Medians of the ratios, each to the exchanges around it."""
    figures: Figures = {"bar": COST_MAX}
    for kind in KINDS:
        figures[kind] = {
            side: round(statistics.median(r for piece in pieces for r in piece[kind][side]), 2)
            for side in SIDES
        }
    figures["exchange_us"] = round(statistics.median(piece["exchange_us"] for piece in pieces), 1)
    worst = max(figures[kind][side] for kind in KINDS for side in SIDES)
    return Verdict(
        figures,
        worst <= COST_MAX or pieces[0]["reduced"],
        f"in exchanges of X25519 ({figures['exchange_us']} µs), a handshake costs "
        + " and ".join(
            f"{figures[kind]['asker']} who asks and {figures[kind]['answerer']} who answers "
            f"({kind})"
            for kind in KINDS
        ),
    )


@row(
    "handshake-cost",
    promise=f"a handshake costs each side at most {COST_MAX:g} times one X25519 exchange of "
    "processor time, measured in the same run (four, and a key, are unavoidable)",
    pieces=5,
    judge=judge_cost,
    # A clock in the test-suite would judge its neighbours: there, only that all of it works.
    reduced=Reduced(pieces=1, scale=0.04),
    parallel=False,
)
def handshake_cost(seed: int, scale: float) -> Figures:
    """Handshakes and exchanges in turn, a batch at a time."""
    random = Random(f"{seed} handshakes")
    _batch(random)  # warms up
    batches = [_batch(random) for _ in range(round(BATCHES * scale))]
    figures: Figures = {
        kind: {side: [batch[kind][side] for batch in batches] for side in SIDES} for kind in KINDS
    }
    figures["exchange_us"] = statistics.median(batch["exchange_us"] for batch in batches)
    figures["reduced"] = scale < 1
    return figures


def _batch(random: Random) -> Figures:
    """Peers that meet for the first time, and then again; the second time a session is opened."""
    pairs = [_Pair.make(number, random) for number in range(HANDSHAKES)]
    private = X25519PrivateKey.from_private_bytes(random.randbytes(32))
    public = X25519PrivateKey.from_private_bytes(random.randbytes(32)).public_key()
    figures: Figures = {}
    for now, kind in enumerate(KINDS, start=1):
        for pair in pairs:
            pair.now, pair.request_id = float(now), random.randbytes(8)
        exchanges = _seconds(lambda _: private.exchange(public), pairs * 2)
        asker = _seconds(_Pair.ask, pairs)
        answerer = _seconds(_Pair.answer, pairs)
        asker += _seconds(_Pair.hear, pairs)
        exchanges += _seconds(lambda _: private.exchange(public), pairs * 2)
        exchange = exchanges / 4
        figures[kind] = {"asker": asker / exchange, "answerer": answerer / exchange}
        figures["exchange_us"] = exchange / HANDSHAKES * 1e6
        assert all(pair.heard for pair in pairs)
    for pair in pairs:
        assert pair.asker.sessions_held == pair.answerer.sessions_held == 1
    return figures


def _seconds(work: Callable[["_Pair"], object], pairs: Iterable["_Pair"]) -> float:
    """Of processor time: what else runs on this machine does not count."""
    started = time.process_time()
    for pair in pairs:
        work(pair)
    return time.process_time() - started


@attrs.define(eq=False, kw_only=True)
class _Pair:
    """Two that have never met, and what is under way between them."""

    asker: SecureChannel
    asker_at: Address
    answerer: SecureChannel
    answerer_is: Contact
    now: float = 0.0
    request_id: bytes = b""
    datagram: bytes = b""
    heard: bool = False

    @classmethod
    def make(cls, number: int, random: Random) -> "_Pair":
        network = Network.named("test")
        theirs = Identity.generate(random)
        return cls(
            asker=SecureChannel(Identity.generate(random), network, random),
            asker_at=pack_address(f"1.0.{number}.1", 4000),
            answerer=SecureChannel(theirs, network, random),
            answerer_is=contact_at(theirs.public_key, pack_address(f"1.1.{number}.1", 4000)),
        )

    def ask(self) -> None:
        payload = bytes(bytearray(REQUEST))  # the same object would be a retry
        self.asker.ask(self.now, self.answerer_is, self.request_id, payload)
        ((self.datagram, _),) = self.asker.datagrams_to_send()

    def answer(self) -> None:
        opened = self.answerer.receive(self.now, self.datagram, self.asker_at)
        assert opened is not None
        self.answerer.answer(self.now, opened.ticket, self.request_id + ANSWER)
        ((self.datagram, _),) = self.answerer.datagrams_to_send()

    def hear(self) -> None:
        opened = self.asker.receive(self.now, self.datagram, self.answerer_is.address)
        self.heard = opened is not None and opened.payload == self.request_id + ANSWER


# ----------------------------------------------------------------------------- sessions in memory

MEMORY_MAX = 6 * 2**20
#: In so many, chosen at random, a request and its answer have to pass either way. As many as have
#: the objects that encrypt at the same time, so that these are counted.
SAMPLED = HOT_MAX


def judge_held(pieces: Sequence[Figures]) -> Verdict:
    """The worst of the pieces, scaled to as many as there can be."""
    worst = max(pieces, key=lambda piece: piece["bytes"] / piece["sessions"])
    a_session = worst["bytes"] / worst["sessions"]
    figures = {
        "bytes": worst["bytes"],
        "bytes_a_session": round(a_session),
        "bar": MEMORY_MAX,
        "measured_by": worst["measured_by"],
        "sessions": [piece["sessions"] for piece in pieces],
        "usable": [piece["usable"] for piece in pieces],
    }
    usable = sum(piece["usable"] for piece in pieces)
    sampled = sum(piece["sampled"] for piece in pieces)
    return Verdict(
        figures,
        a_session <= MEMORY_MAX / SESSIONS_MAX
        and usable == sampled > 0
        and all(piece["sessions"] == piece["wanted"] for piece in pieces),
        f"{worst['sessions']:,} sessions take {worst['bytes'] / 2**20:.2f} MiB, "
        f"{a_session:,.0f} bytes each ({worst['measured_by']}); of {sampled} that were tried "
        f"afterwards {usable} work",
    )


@row(
    "sessions-held",
    promise=f"{SESSIONS_MAX:,} sessions with as many peers take at most {MEMORY_MAX / 2**20:g} MiB "
    "in all, and work",
    pieces=2,
    judge=judge_held,
    # A half fills the tables of Python to the same share.
    reduced=Reduced(pieces=1, scale=1 / 2),
)
def sessions_held(seed: int, scale: float) -> Figures:
    """In a process of its own, all of whose memory is asked of the C library."""
    return holding.in_a_process(round(SESSIONS_MAX * scale), round(SAMPLED * scale), seed)


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
