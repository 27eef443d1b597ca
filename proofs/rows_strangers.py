"""Promises about what strangers and broken peers can do to a node: nothing that hurts.

What they send goes into ``Engine.receive_datagram`` as bytes made by hand.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from random import Random

import attrs

from dht.contacts import Address, contact_at, pack_address
from dht.core.channel.plain import PlainChannel
from dht.core.engine import Engine
from dht.identity import PUBLIC_KEY_SIZE, Identity
from dht.keyspace import KEY_BITS, Key, content_key, key_bytes
from dht.records import Kind, Record, ttl_max_s, value_hash
from dht.wire.codec import copy_of, decode_untrusted, encode
from dht.wire.messages import (
    HANDOVER,
    WANT_IPV4,
    Answer,
    Found,
    Get,
    Store,
    Stored,
)
from dht.wire.messages import Request as RequestMessage

from .machine import Figures, Reduced, Verdict, row
from .surroundings import ROOT

# --------------------------------------------------------------------------------- fixed deadlines

SWEEPS = 100_000
SWEEPS_PER_PIECE = 5_000
TEN_YEARS_MS = 10 * 365 * 86_400_000
EPOCH_S = 1_700_000_000.0
#: What a copy in flight says of its life is whole milliseconds; some slack for floats.
ROUNDING_S = 0.0015


def judge_deadlines(pieces: Sequence[Figures]) -> Verdict:
    """No deadline may have moved, in any of the sweeps."""
    sweeps = sum(piece["sweeps"] for piece in pieces)
    stores = sum(piece["stores_again"] for piece in pieces)
    failures = [failure for piece in pieces for failure in piece["failures"]]
    return Verdict(
        {"sweeps": sweeps, "stores_again": stores, "failures": failures[:20]},
        not failures,
        f"{sweeps - len(failures)} of {sweeps} deadlines stayed where they were, though strangers "
        f"stored the version again {stores:,} times" + (f": {failures[0]}" if failures else ""),
    )


@row(
    "deadline-fixed",
    promise="when a stranger stores a version again, with 0 or 10 years remaining, its deadline "
    "does not move",
    pieces=SWEEPS // SWEEPS_PER_PIECE,
    judge=judge_deadlines,
    reduced=Reduced(pieces=1, scale=0.2),
)
def deadline_fixed(seed: int, scale: float) -> Figures:
    """Records of both kinds, stored once and then again at random times of their lives."""
    random = Random(f"{seed} deadlines")
    holder = _Holder.at(random, now=random.uniform(0, 1e6))
    failures: list[str] = []
    stores = 0
    sweeps = round(SWEEPS_PER_PIECE * scale)
    for number in range(sweeps):
        again, failure = _sweep(holder, random)
        stores += again
        if failure is not None:
            failures.append(f"sweep {seed}/{number}: {failure}")
    return {"sweeps": sweeps, "stores_again": stores, "failures": failures}


def _sweep(holder: "_Holder", random: Random) -> tuple[int, str | None]:
    """One record's life: how often it was stored again, and what was wrong with it, if anything."""
    kind = random.choice([Kind.PLAIN, Kind.CONTENT])
    tombstone = kind is Kind.PLAIN and random.random() < 0.2
    longest_ms = int(ttl_max_s(kind, tombstone=tombstone) * 1000)
    ttl_ms = random.choice([1, 1000, longest_ms, random.randint(1, longest_ms)])
    wall_ms = int((holder.now + EPOCH_S) * 1000)
    value = b"" if tombstone else random.randbytes(random.choice([0, 1, 40, 850]))
    if not tombstone:
        value = (random.randbytes(8) + value)[:850]  # content of its own: a slot of its own
    record = Record(
        kind=kind,
        key=content_key(value_hash(value))
        if kind is Kind.CONTENT
        else Key(random.getrandbits(KEY_BITS)),
        version=max(1, wall_ms + random.randint(-10_000, 10_000)),
        written_at_ms=wall_ms,
        ttl_ms=ttl_ms,
        tombstone=tombstone,
        value=value,
    )
    remaining_ms = random.choice([ttl_ms, random.randint(1, ttl_ms), TEN_YEARS_MS])
    answer = holder.ask(
        Store(flags=WANT_IPV4, copy=copy_of(record, remaining_ms), if_version=None, count=0)
    )
    deadline = holder.now + min(remaining_ms, ttl_ms) / 1000
    if not isinstance(answer, Stored) or answer.status:
        return 0, f"it was not stored at first: {answer}"
    times = sorted(random.uniform(holder.now, deadline) for _ in range(random.randint(1, 4)))
    for at in times:
        holder.now = at
        again = Store(
            flags=WANT_IPV4 | random.choice([0, HANDOVER]),
            copy=copy_of(record, random.choice([0, 1, TEN_YEARS_MS])),
            if_version=random.choice([None, None, 0, record.version]),
            count=0,
        )
        answer = holder.ask(again)
        if at < deadline and (not isinstance(answer, Stored) or answer.status):
            return len(times), f"{again} was answered {answer}"
    # Just before the deadline it is there and has just that long to live; then it is not.
    before = random.uniform(max(holder.now, deadline - 1), deadline)
    found = holder.read(record, at=before)
    left_s = found.copy.remaining_ms / 1000 if isinstance(found, Found) else None
    if before < deadline and (left_s is None or abs(left_s - (deadline - before)) > ROUNDING_S):
        return len(times), f"{deadline - before:.6f} s before the deadline it has {left_s} s left"
    if isinstance(holder.read(record, at=deadline + 1e-6), Found):
        return len(times), "it is served after its deadline"
    return len(times), None


@attrs.define(eq=False)
class _Holder:
    """An engine alone in the world, and strangers who write to it, each with a name of its own."""

    engine: Engine
    random: Random
    now: float
    address: Address = attrs.field(factory=lambda: pack_address("9.9.9.9", 4000))

    @classmethod
    def at(cls, random: Random, *, now: float) -> "_Holder":
        identity = Identity.generate(random)
        address = pack_address("9.9.9.9", 4000)
        engine = Engine(
            identity=identity,
            contact=contact_at(identity.public_key, address),
            channel=PlainChannel(identity.public_key),
            random=random,
            private_network=True,
        )
        engine.set_wall_offset(now, EPOCH_S)
        engine.start(now)
        return cls(engine, random, now, address)

    def ask(self, request: RequestMessage) -> Answer:
        """What the engine answers a stranger, whom it has never heard of."""
        public_key = self.random.randbytes(PUBLIC_KEY_SIZE)
        source = pack_address(".".join(str(self.random.randint(1, 223)) for _ in range(4)), 4000)
        stranger = PlainChannel(public_key)
        me = contact_at(self.engine.identity.public_key, self.address)
        stranger.ask(self.now, me, self.random.randbytes(8), encode(request))
        ((data, _),) = stranger.datagrams_to_send()
        # At once for days: whatever fell due in between happens now, as after a long sleep.
        self.engine.handle_timeout(self.now)
        self.engine.receive_datagram(self.now, data, source)
        answers = [
            decode_untrusted(opened.payload)[1]
            for sent, _ in self.engine.datagrams_to_send()
            if (opened := stranger.receive(self.now, sent, self.address)) is not None
        ]
        self.engine.events()
        # A stranger who asks is itself probed: of what was sent, one is the answer.
        (answer,) = [each for each in answers if isinstance(each, Answer)]
        return answer

    def read(self, record: Record, *, at: float) -> Answer:
        """Another stranger gets the record."""
        self.now = max(self.now, at)
        return self.ask(Get(flags=WANT_IPV4, kind=record.kind, key=key_bytes(record.key), count=1))


# ----------------------------------------------------------------------------------- broken peers

PEER_DEFECTS = "tests/core/test_peer_defects.py"
_PASSED = re.compile(r"\b(\d+) passed\b")


def judge_defects(pieces: Sequence[Figures]) -> Verdict:
    """All of the tests, and at least one."""
    (figures,) = pieces
    return Verdict(
        figures,
        figures["all_passed"] and figures["passed"] > 0,
        f"{figures['passed']} ways in which a peer can be broken were tried"
        + ("" if figures["all_passed"] else f", not all harmless: {figures['output_end']}"),
    )


@row(
    "peer-defects",
    promise="whatever is wrong with a peer (each known defect has a test), its neighbours go on",
    pieces=1,
    judge=judge_defects,
    # `make test` runs these very tests.
    reduced=None,
)
def peer_defects(_seed: int, _scale: float) -> Figures:
    """Run the tests once and count them."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", PEER_DEFECTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    passed = _PASSED.search(done.stdout)
    return {
        "passed": int(passed[1]) if passed else 0,
        "all_passed": done.returncode == 0,
        "output_end": done.stdout[-300:],
    }
