"""Promises about nodes behind NATs, in virtual time: who serves, and what a new address costs.

It is the real engine in ``dht.sim``, over wide-area links; a seed decides everything.
"""

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

import attrs

from dht.contacts import Contact
from dht.core.machine import FINISHED, Ask, Finished, Wait
from dht.core.outcomes import GetOutcome
from dht.keyspace import key_bytes, plain_key
from dht.records import Kind
from dht.sim import Nat, NatKind, SimNode, Simulator
from dht.wire.codec import encode
from dht.wire.messages import CLIENT, WANT_IPV4, Get, Message

from .machine import Figures, Reduced, Verdict, row

REBINDINGS = 1_000
PIECES = 10
NODES = 100
NODES_MIN = 60
#: Records that are asked for.
KEYS = 20
#: Requests that are under way when a NAT forgets its ways, beside those of a get.
REQUESTS_AT_ONCE = 4
#: Virtual seconds until everybody must have found out what it is.
VERDICT_S = 1_800.0
#: Virtual seconds until its neighbours must know a serving node at its new address.
FOUND_AGAIN_S = 60.0
#: Virtual seconds of peace before that: who is moved every few seconds is nowhere.
SETTLE_S = 300.0
#: The nodes in the open that would own a record that lies where it is.
NEIGHBOURS = 8

ANSWERED_SHARE_MIN = 0.99
EXTRA_ROUND_TRIPS_MAX = 1

#: No NAT, and each type; and whether strangers reach who is behind it.
SERVES = {
    "none": True,
    NatKind.FULL_CONE.value: True,
    NatKind.ADDRESS_RESTRICTED.value: False,
    NatKind.PORT_RESTRICTED.value: False,
    NatKind.SYMMETRIC.value: False,
}


def judge_nat(pieces: Sequence[Figures]) -> Verdict:
    """Every verdict has to be right, and 99 % of the requests answered, with one more try each."""
    rebindings = sum(piece["rebindings"] for piece in pieces)
    requests = [kind for piece in pieces for kind in piece["requests"].items()]
    sent = sum(counts["sent"] for _, counts in requests)
    answered = sum(counts["answered"] for _, counts in requests)
    extra = max(counts["extra_max"] for _, counts in requests)
    gets = sum(piece["gets"] for piece in pieces)
    found = sum(piece["gets_found"] for piece in pieces)
    wrong = [
        f"{kind} (seed {piece['seed']})"
        for piece in pieces
        for kind, what in piece["verdicts"].items()
        if what["wrong"]
    ]
    late = [piece["seed"] for piece in pieces if piece["found_again_s"] is None]
    known = [piece["found_again_s"] for piece in pieces if piece["found_again_s"] is not None]
    share = answered / sent
    figures = {
        "rebindings": rebindings,
        "requests": sent,
        "answered_share": share,
        "answered_by_kind": {
            kind: sum(counts["answered"] for name, counts in requests if name == kind)
            / sum(counts["sent"] for name, counts in requests if name == kind)
            for kind in dict(requests)
        },
        "retried_share": sum(counts["retried"] for _, counts in requests) / sent,
        "extra_round_trips_max": extra,
        "gets": gets,
        "gets_found": found,
        "verdict_s_max": max(
            what["after_s"] or 0.0 for piece in pieces for what in piece["verdicts"].values()
        ),
        "wrong_verdicts": wrong,
        "found_again_s_max": max(known, default=None),
    }
    passed = (
        share >= ANSWERED_SHARE_MIN
        and extra <= EXTRA_ROUND_TRIPS_MAX
        and found >= ANSWERED_SHARE_MIN * gets
        and not wrong
        and not late
    )
    return Verdict(
        figures,
        passed,
        f"{answered} of {sent} requests under way at {rebindings} rebindings were answered, with "
        f"at most {extra} more round trip each; {found} of {gets} gets found their record; wrong "
        f"verdicts: {', '.join(wrong) or 'none'}, the slowest after "
        f"{figures['verdict_s_max']:.0f} s; a serving node was known at its new address after "
        f"{max(known, default=0):.1f} s at most" + (f", but not in {late}" if late else ""),
    )


@row(
    "nat-rebinding",
    promise=f"{REBINDINGS:,} times NATs of each type forget their ways in the middle of requests: "
    f"{ANSWERED_SHARE_MIN:.0%} of the requests succeed with at most one more round trip; whoever "
    "strangers do not reach ends as a client, whoever they reach serves",
    pieces=PIECES,
    judge=judge_nat,
    reduced=Reduced(pieces=1, scale=0.2),
)
def nat_rebinding(seed: int, scale: float) -> Figures:
    """One network with a node behind a NAT of each type, and one in the open."""
    rebindings = round(REBINDINGS / PIECES / len(NatKind) * scale)
    return _Network.grow(seed, max(NODES_MIN, round(NODES * scale))).play(rebindings)


@attrs.define(eq=False)
class _Request:
    """One question to one peer."""

    contact: Contact
    body: bytes
    retries: int = 0
    answered: bool = False
    over: bool = False
    _asked: bool = False

    def next(self, now: float) -> Ask | Wait | Finished:
        if not self._asked:
            self._asked = True
            return Ask(self.contact, self.body)
        return FINISHED if self.over else Wait(None)

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        self.answered |= not self.over  # one that was given up first has failed
        self.over = True

    def on_failure(self, now: float, contact: Contact) -> None:
        self.over = True

    def on_retry(self, contact: Contact) -> None:
        self.retries += 1


@attrs.define(eq=False)
class _Network:
    """Many nodes in the open, some records, and one node of each kind that finds out what it is."""

    seed: int
    simulator: Simulator
    open: list[SimNode]
    random: Random
    behind: dict[str, SimNode] = attrs.field(factory=dict)
    decided_at: dict[int, float] = attrs.field(factory=dict)
    began_at: float = 0.0

    @classmethod
    def grow(cls, seed: int, nodes: int) -> "_Network":
        # Encrypted: a session has to move along, without a byte too many to where it goes.
        simulator = Simulator(seed, encrypted=True)
        run = cls(seed, simulator, simulator.grow(nodes), Random(f"{seed} proof"))
        for number in range(KEYS):
            simulator.put(simulator.random_node(), f"key {number}", f"value {number}".encode())
        simulator.run_for(30)
        run.began_at = simulator.now
        for name in SERVES:
            nat = None if name == "none" else simulator.add_nat(NatKind(name))
            run.behind[name] = simulator.add_node(client=None, nat=nat)
        return run

    def play(self, rebindings: int) -> Figures:
        verdicts = self.await_verdicts()
        requests = {
            name: {"sent": 0, "answered": 0, "retried": 0, "extra_max": 0}
            for name, node in self.behind.items()
            if node.nat is not None
        }
        gets = found = 0
        for _ in range(rebindings):
            for name, counts in requests.items():
                gets += 1
                found += self.rebind(self.behind[name], counts)
                self.simulator.run_for(self.random.uniform(1.0, 5.0))
        return {
            "seed": self.seed,
            "rebindings": rebindings * len(requests),
            "verdicts": verdicts,
            "requests": requests,
            "gets": gets,
            "gets_found": found,
            "found_again_s": self.find_again(self.behind[NatKind.FULL_CONE.value]),
        }

    def await_verdicts(self) -> Figures:
        """What each of them says of itself in the end, and what the others do."""
        simulator = self.simulator

        def undecided() -> bool:
            for node in self.behind.values():
                if node.index not in self.decided_at and self.decided(node):
                    self.decided_at[node.index] = simulator.now - self.began_at
            return len(self.decided_at) < len(self.behind)

        simulator.run_while(undecided, timeout_s=VERDICT_S)
        simulator.run_until(max(simulator.now + 60, self.began_at + VERDICT_S / 4))
        verdicts = {}
        for name, node in self.behind.items():
            stats, known_by = node.engine.stats(), self.known_by(node)
            serves = SERVES[name]
            verdicts[name] = {
                "reachable": stats.reachable,
                "serving": stats.serving,
                "known_by_neighbours": known_by,
                "after_s": self.decided_at.get(node.index),
                "wrong": stats.reachable != ("yes" if serves else "no")
                or stats.serving is not serves
                or (known_by < NEIGHBOURS if serves else known_by > 0),
            }
        return verdicts

    @staticmethod
    def decided(node: SimNode) -> bool:
        return node.engine.stats().reachable != "unknown"

    def known_by(self, node: SimNode) -> int:
        """How many of its nearest neighbours hold it in their tables, where it is now."""
        contact = node.engine.contact
        nearest = sorted(self.open, key=lambda each: each.contact.id ^ contact.id)[:NEIGHBOURS]
        return sum(each.engine.table.get(contact.id) == contact for each in nearest)

    def rebind(self, node: SimNode, counts: dict[str, int]) -> bool:
        """Its NAT forgets its ways while it waits for answers; did its get find the record?"""
        simulator, random, engine = self.simulator, self.random, node.engine
        number = random.randrange(KEYS)
        key = plain_key(f"key {number}")
        flags = WANT_IPV4 | (CLIENT if engine.client else 0)
        body = encode(Get(flags=flags, kind=Kind.PLAIN, key=key_bytes(key), count=8))
        # Not each other: what was sent to somebody who has just moved is not counted here.
        others = [each for each in engine.table.contacts() if each.id in self.rtts(node)]
        contacts = random.sample(others, REQUESTS_AT_ONCE)
        requests = [_Request(contact, body) for contact in contacts]
        for request in requests:
            engine._tasks.spawn(simulator.now, request, lambda _now, _task: None)  # noqa: SLF001
        soonest = min(self.rtts(node)[each.id] for each in contacts)
        assert isinstance(node.nat, Nat)
        # Once the requests have left, and before the first answer is back.
        simulator.at(simulator.now + random.uniform(0.0, 0.9) * soonest, node.nat.rebind)
        finished = simulator.run_operation(node, partial(_start_get, key=key), timeout_s=30.0)
        simulator.run_while(lambda: not all(request.over for request in requests), timeout_s=30.0)
        counts["sent"] += len(requests)
        counts["answered"] += sum(request.answered for request in requests)
        counts["retried"] += sum(request.retries > 0 for request in requests)
        counts["extra_max"] = max(counts["extra_max"], *(each.retries for each in requests))
        outcome = finished.outcome
        return isinstance(outcome, GetOutcome) and outcome.value == f"value {number}".encode()

    def rtts(self, node: SimNode) -> dict[int, float]:
        """How far it is to each node in the open, by id."""
        links = self.simulator.links
        return {each.contact.id: links.rtt(node.index, each.index) for each in self.open}

    def find_again(self, node: SimNode) -> float | None:
        """Seconds until its neighbours know a serving node at its new address."""
        assert isinstance(node.nat, Nat)
        self.simulator.run_for(SETTLE_S)
        before = node.engine.contact
        node.nat.rebind()
        began = self.simulator.now
        while self.simulator.now < began + FOUND_AGAIN_S:
            self.simulator.run_for(0.5)
            if node.engine.contact != before and self.known_by(node) == NEIGHBOURS:
                return self.simulator.now - began
        return None


def _start_get(engine: Any, now: float, *, key: Any) -> Any:
    return engine.start_get(now, Kind.PLAIN, key)
