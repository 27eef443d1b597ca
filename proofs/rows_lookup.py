"""Promises about finding things in a network of 1,000 nodes: unharmed, lossy, a third of it dead.

All latencies are virtual: the wide-area network of ``dht.sim.links`` (log-normal round trips,
median 156 ms, mean 178 ms). Each piece is a network of its own, grown node by node, that keeps
records of random keys and is then asked for them by random nodes, all at the same instant: nobody
learns from anybody's misfortune.
"""

import math
import statistics
from collections.abc import Sequence
from random import Random

import attrs

from dht.config import Config
from dht.contacts import Contact
from dht.core.events import OperationFinished
from dht.core.outcomes import GetOutcome, LookupOutcome, PutOutcome
from dht.keyspace import KEY_BITS, Key
from dht.records import Kind
from dht.sim import WIDE_AREA, LinkModel, SimNode, Simulator

from .machine import Figures, Reduced, Verdict, row

NODES = 1_000
TARGETS = 1_000
RECORDS = 1_000
#: Networks; each has all the nodes, the targets and the records.
NETWORKS = 4
#: Enough for a node to look around twice after it joined: 5 s and 30 s (``core.upkeep``).
SETTLE_S = 60.0
REDUCED = Reduced(pieces=1, scale=0.15)


@attrs.frozen
class Network:
    """A grown network, and the records that it keeps."""

    simulator: Simulator
    random: Random
    records: dict[Key, bytes] = attrs.field(factory=dict)

    @classmethod
    def grow(cls, seed: int, scale: float) -> "Network":
        """Everything of it comes from the seed."""
        simulator = Simulator(seed)
        simulator.grow(round(NODES * scale))
        simulator.run_for(SETTLE_S)
        return cls(simulator, Random(f"{seed} proof"))

    def key(self) -> Key:
        """A place drawn at random."""
        return Key(self.random.getrandbits(KEY_BITS))

    def put(self, count: int) -> None:
        """Stores so many records, each from a random node; all of them have to succeed."""
        wanted = {self.key(): self.random.randbytes(32) for _ in range(count)}
        finished = self.simulator.run_operations(
            (
                self.simulator.random_node(),
                lambda engine, now, key=key, value=value: engine.start_put(  # type: ignore[misc]
                    now, Kind.PLAIN, key, value
                ),
            )
            for key, value in wanted.items()
        )
        for event in finished:
            assert isinstance(event.outcome, PutOutcome), f"a put without faults: {event.error}"
        self.records.update(wanted)

    def read(self) -> list["Read"]:
        """Gets every record once, each from a random node that is alive."""
        finished = self.simulator.run_operations(
            (
                self.simulator.random_node(),
                lambda engine, now, key=key: engine.start_get(now, Kind.PLAIN, key),  # type: ignore[misc]
            )
            for key in self.records
        )
        return [
            Read.of(event, value)
            for event, value in zip(finished, self.records.values(), strict=True)
        ]

    def nearest(self, target: int, count: int) -> list[Contact]:
        """What only a simulator can know: the living nodes nearest to a target, nearest first."""
        living = sorted(self.simulator.living(), key=lambda node: node.contact.id ^ target)
        return [node.contact for node in living[:count]]


@attrs.frozen
class Read:
    """What one get came to."""

    found: bool
    #: It returned a value that was never put there.
    wrong: bool
    elapsed_s: float
    messages: int

    @classmethod
    def of(cls, finished: OperationFinished, value: bytes) -> "Read":
        """An error counts as not found, and took no measured time."""
        if not isinstance(finished.outcome, GetOutcome):
            return cls(found=False, wrong=False, elapsed_s=math.inf, messages=0)
        outcome = finished.outcome
        return cls(
            found=outcome.value == value,
            wrong=outcome.value not in (None, value),
            elapsed_s=outcome.trace.elapsed,
            messages=outcome.trace.messages,
        )


def figures_of(reads: Sequence[Read]) -> Figures:
    """The figures of one network's gets; latencies in milliseconds, of those that found."""
    return {
        "gets": len(reads),
        "found": sum(read.found for read in reads),
        "wrong": sum(read.wrong for read in reads),
        "messages": sum(read.messages for read in reads),
        "latencies_ms": [round(read.elapsed_s * 1000, 1) for read in reads if read.found],
    }


def summary_of(pieces: Sequence[Figures]) -> Figures:
    """The gets of all networks together."""
    gets = sum(piece["gets"] for piece in pieces)
    found = sum(piece["found"] for piece in pieces)
    latencies = [each for piece in pieces for each in piece["latencies_ms"]]
    return {
        "networks": len(pieces),
        "gets": gets,
        "found_percent": round(100 * found / gets, 3),
        "wrong_values": sum(piece["wrong"] for piece in pieces),
        "messages_mean": round(sum(piece["messages"] for piece in pieces) / gets, 3),
        "median_ms": percentile(latencies, 50),
        "p95_ms": percentile(latencies, 95),
        "p99_ms": percentile(latencies, 99),
    }


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.inf


# ---------------------------------------------------------------------------------- without faults

HOPS_ABOVE_FORMULA_MAX = 0.3
MESSAGES_MEAN_MAX = 4.0


def expected_hops(nodes: int, k: int) -> float:
    """log2(N/k) / D(k), with D(k) = 1 + sum over j >= 1 of 1 - (1 - 2**-j)**k.

    A hop gains at least one bit; with k contacts in the next bucket the best of them is likely
    to share some more. What is counted from is our own table: a network of k nodes has 0 hops.
    """
    # The j-th term is below k * 2**-j, so that 64 of them are exact to the last digit.
    bits_a_hop = 1 + sum(1 - (1 - 2.0**-j) ** k for j in range(1, 65))
    return math.log2(nodes / k) / bits_a_hop


def judge_lookups(pieces: Sequence[Figures]) -> Verdict:
    """Every lookup exact; hops and messages in the mean over all networks."""
    lookups = sum(piece["lookups"] for piece in pieces)
    exact = sum(piece["exact"] for piece in pieces)
    hops = sum(piece["hops"] for piece in pieces) / lookups
    formula = expected_hops(pieces[0]["nodes"], Config().k)
    gets = summary_of(pieces)
    figures = {
        "nodes": pieces[0]["nodes"],
        "lookups": lookups,
        "exact_percent": round(100 * exact / lookups, 3),
        "hops_mean": round(hops, 3),
        "hops_formula": round(formula, 3),
        "lookup_messages_mean": round(sum(p["lookup_messages"] for p in pieces) / lookups, 2),
        "lookup_median_ms": statistics.median(
            each for piece in pieces for each in piece["lookups_ms"]
        ),
        **{f"get_{name}": figure for name, figure in gets.items()},
    }
    return Verdict(
        figures,
        exact == lookups
        and hops <= formula + HOPS_ABOVE_FORMULA_MAX
        and gets["found_percent"] == 100
        and gets["messages_mean"] <= MESSAGES_MEAN_MAX,
        f"{exact} of {lookups} lookups found exactly the {Config().replicas} closest; "
        f"{hops:.2f} hops in the mean (formula {formula:.2f}, at most "
        f"{formula + HOPS_ABOVE_FORMULA_MAX:.2f} promised); {gets['found_percent']:g} % of "
        f"{gets['gets']} gets succeeded with {gets['messages_mean']:.2f} requests in the mean "
        f"({MESSAGES_MEAN_MAX:g} promised), median {gets['median_ms']:.0f} ms, "
        f"p95 {gets['p95_ms']:.0f} ms",
    )


@row(
    "lookup-no-faults",
    promise=f"among {NODES:,} nodes without faults, lookups of {TARGETS:,} random targets find "
    f"exactly the 8 closest; the closest is first named at a mean depth at most "
    f"{HOPS_ABOVE_FORMULA_MAX:g} above log2(N/k)/D(k); a get of one of {RECORDS:,} records from a "
    f"random node takes at most {MESSAGES_MEAN_MAX:g} requests in the mean, retries included",
    pieces=NETWORKS,
    judge=judge_lookups,
    reduced=REDUCED,
)
def lookup_no_faults(seed: int, scale: float) -> Figures:
    """One network: all the lookups, then all the gets."""
    network = Network.grow(seed, scale)
    targets = [network.key() for _ in range(round(TARGETS * scale))]
    finished = network.simulator.run_operations(
        (
            network.simulator.random_node(),
            lambda engine, now, target=target: engine.start_lookup(now, target),  # type: ignore[misc]
        )
        for target in targets
    )
    outcomes = [event.outcome for event in finished]
    found = [outcome for outcome in outcomes if isinstance(outcome, LookupOutcome)]
    network.put(round(RECORDS * scale))
    return {
        "nodes": len(network.simulator.living()),
        "lookups": len(targets),
        "exact": sum(
            list(outcome.closest) == network.nearest(outcome.target, Config().replicas)
            for outcome in found
        ),
        "hops": sum(outcome.trace.hops for outcome in found),
        "lookup_messages": sum(outcome.trace.messages for outcome in found),
        "lookups_ms": [round(outcome.trace.elapsed * 1000, 1) for outcome in found],
        **figures_of(network.read()),
    }


# ----------------------------------------------------------------------------------- on lossy links

LOSSY = attrs.evolve(WIDE_AREA, loss=0.2, duplicate=0.1, reorder=0.1, corrupt=0.02)
LOSSY_PERCENT_MIN = 99.5


def judge_lossy(pieces: Sequence[Figures]) -> Verdict:
    """All gets of all networks together."""
    gets = summary_of(pieces)
    return Verdict(
        {"links": rates_of(LOSSY), **gets},
        gets["found_percent"] >= LOSSY_PERCENT_MIN and gets["wrong_values"] == 0,
        f"{gets['found_percent']:g} % of {gets['gets']} gets succeeded "
        f"({LOSSY_PERCENT_MIN:g} % promised), {gets['wrong_values']} wrong values (0 promised); "
        f"{gets['messages_mean']:.2f} requests in the mean, median {gets['median_ms']:.0f} ms, "
        f"p95 {gets['p95_ms']:.0f} ms",
    )


def rates_of(model: LinkModel) -> Figures:
    """What the links do, for the result."""
    return attrs.asdict(model)


@row(
    "get-lossy-links",
    promise=f"among {NODES:,} nodes with {LOSSY.loss:.0%} loss, {LOSSY.duplicate:.0%} duplicates, "
    f"{LOSSY.reorder:.0%} reordered and {LOSSY.corrupt:.0%} corrupted datagrams, "
    f"{LOSSY_PERCENT_MIN:g} % of the gets succeed, and none returns a wrong value",
    pieces=NETWORKS,
    judge=judge_lossy,
    reduced=REDUCED,
)
def get_lossy_links(seed: int, scale: float) -> Figures:
    """One network: grown and filled on good links, read on bad ones."""
    network = Network.grow(seed, scale)
    network.put(round(RECORDS * scale))
    network.simulator.links.model = LOSSY
    return figures_of(network.read())


# -------------------------------------------------------------------------- with a third of it dead

DEAD_SHARE = 0.3
DEAD_PERCENT_MIN = 99.9
P95_FACTOR_MAX = 3.0


def judge_dead(pieces: Sequence[Figures]) -> Verdict:
    """Success over all networks together, and their p95 against their own before the deaths."""
    before = summary_of([piece["before"] for piece in pieces])
    after = summary_of([piece["after"] for piece in pieces])
    factor = after["p95_ms"] / before["p95_ms"]
    return Verdict(
        {
            "dead": [piece["dead"] for piece in pieces],
            "before": before,
            "after": after,
            "lost_records": sum(piece["lost_records"] for piece in pieces),
            "p95_factor": round(factor, 3),
        },
        after["found_percent"] >= DEAD_PERCENT_MIN
        and after["wrong_values"] == 0
        and factor <= P95_FACTOR_MAX,
        f"{after['found_percent']:g} % of {after['gets']} gets succeeded ({DEAD_PERCENT_MIN:g} % "
        f"promised); p95 {after['p95_ms']:.0f} ms is {factor:.2f} times the {before['p95_ms']:.0f} "
        f"ms without faults ({P95_FACTOR_MAX:g} promised), median {after['median_ms']:.0f} ms "
        f"({before['median_ms']:.0f} ms), {after['messages_mean']:.2f} requests in the mean",
    )


@row(
    "get-30pct-dead",
    promise=f"among {NODES:,} nodes of which {DEAD_SHARE:.0%} died at once and unnoticed, "
    f"{DEAD_PERCENT_MIN:g} % of the gets succeed (8 replicas), and their p95 is at most "
    f"{P95_FACTOR_MAX:g} times that without faults",
    pieces=NETWORKS,
    judge=judge_dead,
    reduced=REDUCED,
)
def get_30pct_dead(seed: int, scale: float) -> Figures:
    """One network: read, harmed, and read again at the same instant."""
    network = Network.grow(seed, scale)
    network.put(round(RECORDS * scale))
    before = network.read()
    living = network.simulator.living()
    dying: list[SimNode] = network.random.sample(living, round(DEAD_SHARE * len(living)))
    for node in dying:
        network.simulator.crash(node, for_good=True)
    lost = sum(not network.simulator.holders(Kind.PLAIN, key) for key in network.records)
    return {
        "dead": len(dying),
        "lost_records": lost,
        "before": figures_of(before),
        "after": figures_of(network.read()),
    }
