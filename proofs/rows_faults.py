"""Promises about networks in which things go wrong, in virtual time.

It is the real engine in ``dht.sim``, over wide-area links; a seed decides everything.
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

import attrs

from dht.config import Config
from dht.core.engine import Engine
from dht.core.events import OperationFinished, OperationId
from dht.core.outcomes import GetOutcome
from dht.keyspace import Key, plain_key
from dht.records import Kind
from dht.sim import SimNode, Simulator, run_scenario

from .machine import Figures, Reduced, Verdict, row
from .surroundings import ROOT

# --------------------------------------------------------------------------------- back after a cut

REJOIN_SEEDS = 200
REJOIN_SEEDS_PER_PIECE = 10
REJOIN_NODES = 24
CUT_S = 600.0
BACK_S_MAX = 30.0
#: Records; each node holds about a third of them (8 of 24 nodes hold each).
REJOIN_KEYS = 24
#: A node of the application asks for something about so often, in seconds.
READ_EVERY_S = 60.0
READ_WHEN_BACK_EVERY_S = 5.0


def judge_rejoin(pieces: Sequence[Figures]) -> Verdict:
    """Every single seed has to be back in time."""
    runs = [run for piece in pieces for run in piece["runs"]]
    late = [run["seed"] for run in runs if not run["back"]]
    gets = [run["get_s"] for run in runs if run["get_s"] is not None]
    known = [run["known_s"] for run in runs if run["known_s"] is not None]
    by_all = sum(run["known_by_all_s"] is not None for run in runs)
    figures = {
        "seeds": len(runs),
        "back": len(runs) - len(late),
        "late_seeds": late,
        "forgotten_by_all": sum(not run["still_held_by"] for run in runs),
        "get_s": _spread(gets),
        "known_s": _spread(known),
        "known_by_all": by_all,
    }
    return Verdict(
        figures,
        not late,
        f"{len(runs) - len(late)} of {len(runs)} nodes were back within {BACK_S_MAX:g} s without "
        f"their bootstrap node: gets succeed after {figures['get_s']}, the {Config().k} nearest "
        f"nodes hold them after {figures['known_s']}; all the others held {by_all} by then"
        + (f"; late: {late}" if late else ""),
    )


def _spread(seconds: Sequence[float]) -> str:
    if not seconds:
        return "never"
    return f"{statistics.median(seconds):.1f} s (median; at most {max(seconds):.1f} s)"


@row(
    "rejoin-after-cut",
    promise=f"a node cut off for {CUT_S / 60:g} minutes is back within {BACK_S_MAX:g} s of healing "
    f"without its bootstrap node, {REJOIN_SEEDS} of {REJOIN_SEEDS} times: its gets succeed, and "
    "the others' tables hold it (all of the 20 nearest to it)",
    pieces=REJOIN_SEEDS // REJOIN_SEEDS_PER_PIECE,
    judge=judge_rejoin,
    reduced=Reduced(pieces=1, scale=0.5),
)
def rejoin_after_cut(seed: int, scale: float) -> Figures:
    """Some small networks, one after the other."""
    count = round(REJOIN_SEEDS_PER_PIECE * scale)
    first = seed * REJOIN_SEEDS_PER_PIECE
    return {"runs": [_Cut.play(number) for number in range(first, first + count)]}


@attrs.define(eq=False)
class _Cut:
    """One network, the node that is cut off from it, and what it tries when the cut is mended."""

    simulator: Simulator
    random: Random
    node: SimNode
    keys: list[Key]
    mended_at: float = 0.0
    got_after_s: float | None = None

    @classmethod
    def play(cls, seed: int) -> Figures:
        simulator = Simulator(seed)
        simulator.grow(REJOIN_NODES - 1)
        bootstrap = simulator.nodes[0]
        node = simulator.add_node(bootstrap=[bootstrap.contact])
        simulator.run_for(30)
        keys = [plain_key(f"key {number}") for number in range(REJOIN_KEYS)]
        for key in keys:
            simulator.put(simulator.random_node(), key, b"value of " + key.hex().encode())
        simulator.crash(bootstrap, for_good=True)
        simulator.links.silence(node.index)
        run = cls(simulator, Random(f"{seed} proof"), node, keys)
        for each in simulator.living():
            run.read_now_and_then(each)
        simulator.run_for(CUT_S)
        return {"seed": seed, **run.mend()}

    def read_now_and_then(self, node: SimNode) -> None:
        """The application of a node, which notices in passing who is gone."""
        pause_s = READ_EVERY_S * self.random.uniform(0.5, 1.5)
        self.simulator.at(self.simulator.now + pause_s, partial(self.read_now_and_then, node))
        self.simulator.start_operation(node, self._start(self.random.choice(self.keys)), _ignore)

    def mend(self) -> Figures:
        simulator, node = self.simulator, self.node
        held_by = self.holding(len(simulator.living()))
        elsewhere = [
            key
            for key in self.keys
            if node.engine.storage.get(simulator.now, Kind.PLAIN, key) is None
        ]
        simulator.links.heal()
        self.mended_at = simulator.now
        self.try_again(elsewhere, self.random.uniform(0, READ_WHEN_BACK_EVERY_S))
        nearest, everybody = Config().k, len(simulator.living()) - 1
        known_s = known_by_all_s = None
        while simulator.now < self.mended_at + BACK_S_MAX:
            simulator.run_for(0.25)
            after_s = simulator.now - self.mended_at
            if known_s is None and self.holding(nearest) == nearest:
                known_s = after_s
            if known_by_all_s is None and self.holding(everybody) == everybody:
                known_by_all_s = after_s
        finished = simulator.run_operations((node, self._start(key)) for key in elsewhere)
        readable = sum(_value(event) is not None for event in finished)
        return {
            "back": self.got_after_s is not None
            and self.got_after_s <= BACK_S_MAX
            and known_s is not None
            and readable == len(elsewhere),
            "get_s": self.got_after_s,
            "known_s": known_s,
            "known_by_all_s": known_by_all_s,
            "still_held_by": held_by,
            "readable": readable,
            "asked_for": len(elsewhere),
        }

    def holding(self, nearest: int) -> int:
        """How many of so many nodes nearest to the one hold it in their tables."""
        own_id = self.node.contact.id
        others = [each for each in self.simulator.living() if each is not self.node]
        others.sort(key=lambda each: each.contact.id ^ own_id)
        return sum(own_id in each.engine.table for each in others[:nearest])

    def try_again(self, keys: list[Key], pause_s: float) -> None:
        """Its application asks every few seconds, until it gets what it does not hold itself."""
        simulator = self.simulator

        def finish(finished: OperationFinished) -> None:
            if self.got_after_s is None and _value(finished) is not None:
                self.got_after_s = simulator.now - self.mended_at

        def begin() -> None:
            if self.got_after_s is None:
                key = self.random.choice(keys)
                simulator.start_operation(self.node, self._start(key), finish)
                self.try_again(keys, READ_WHEN_BACK_EVERY_S)

        simulator.at(simulator.now + pause_s, begin)

    @staticmethod
    def _start(key: Key) -> Callable[[Engine, float], OperationId]:
        return lambda engine, now: engine.start_get(now, Kind.PLAIN, key)


def _ignore(finished: OperationFinished) -> None:
    """Nobody waits for this one."""


def _value(finished: OperationFinished) -> bytes | None:
    return finished.outcome.value if isinstance(finished.outcome, GetOutcome) else None


# ------------------------------------------------------------------------------------ drawn faults

DRAWN_SEEDS = 2_000
DRAWN_SEEDS_REDUCED = 100
DRAWN_SEEDS_PER_PIECE = 2
#: Virtual seconds of faults, and operations in them: a seed costs two to three seconds of CPU, most
#: of it for joining, for coming back, and for the seven minutes in which everything settles.
DRAWN_FAULTS_S = 60.0
DRAWN_OPERATIONS = 80


def judge_drawn(pieces: Sequence[Figures]) -> Verdict:
    """Not one violation in any of the seeds."""
    violations = [each for piece in pieces for each in piece["violations"]]
    seeds, failing = sum(p["seeds"] for p in pieces), sum(p["failing"] for p in pieces)
    total = {
        name: sum(piece[name] for piece in pieces)
        for name in ("seeds", "failing", "reads", "writes", "acknowledged", "datagrams", "calm")
    }
    return Verdict(
        {**total, "violations": violations},
        not violations,
        f"{seeds - failing} of {seeds} scenarios are without a violation: {total['reads']:,} reads "
        f"judged, {total['acknowledged']:,} of {total['writes']:,} writes acknowledged, "
        f"{total['datagrams']:,} datagrams" + (f"; first: {violations[0]}" if violations else ""),
    )


@row(
    "drawn-faults",
    promise=f"{DRAWN_SEEDS:,} networks of 64 nodes with drawn faults ({DRAWN_SEEDS_REDUCED} in "
    "`make test`) show no violation: no wrong value, no expired or deleted value served past its "
    "grace, no acknowledged record missing while a holder of it is alive and reachable",
    pieces=DRAWN_SEEDS // DRAWN_SEEDS_PER_PIECE,
    judge=judge_drawn,
    reduced=Reduced(
        pieces=DRAWN_SEEDS_REDUCED // DRAWN_SEEDS_PER_PIECE, scale=1.0, each_alone=True
    ),
)
def drawn_faults(seed: int, scale: float) -> Figures:
    """Some scenarios, one after the other. A violation says how to see it again."""
    first = seed * DRAWN_SEEDS_PER_PIECE
    seeds = range(first, first + round(DRAWN_SEEDS_PER_PIECE * scale))
    reports = [
        run_scenario(number, duration_s=DRAWN_FAULTS_S, operations=DRAWN_OPERATIONS)
        for number in seeds
    ]
    return {
        "seeds": len(reports),
        "failing": sum(not report.passed for report in reports),
        "violations": [
            f"seed {report.scenario.seed}: {violation} (again: {report.replay})"
            for report in reports
            for violation in report.violations
        ],
        "reads": sum(report.reads for report in reports),
        "writes": sum(report.writes for report in reports),
        "acknowledged": sum(report.acknowledged for report in reports),
        "datagrams": sum(report.traffic.delivered for report in reports),
        "calm": sum(report.scenario.calm for report in reports),
    }


# ------------------------------------------------------------------------------- the same run again

TRACE_SEEDS = 100
TRACE_SEEDS_PER_PIECE = 5

# What a second process has to see again: a network, its faults, its work.
_TRACE_PROGRAM = """
import sys
from dht.sim import run_scenario
for seed in map(int, sys.argv[1:]):
    print(run_scenario(seed, nodes=12, duration_s=30.0, operations=40).trace_hash)
"""


def judge_trace(pieces: Sequence[Figures]) -> Verdict:
    """Each seed the same in both processes."""
    seeds = sum(piece["seeds"] for piece in pieces)
    same = sum(piece["same"] for piece in pieces)
    different = sum(piece["different_hashes"] for piece in pieces)
    return Verdict(
        {"seeds": seeds, "same": same, "different_hashes": different},
        same == seeds == different,
        f"{same} of {seeds} seeds have the same trace hash in two processes with different hash "
        f"seeds, and {different} different ones among them",
    )


@row(
    "trace-hash",
    promise=f"the same seed in two processes with different PYTHONHASHSEED gives the same trace "
    f"hash, {TRACE_SEEDS} of {TRACE_SEEDS} times",
    pieces=TRACE_SEEDS // TRACE_SEEDS_PER_PIECE,
    judge=judge_trace,
    reduced=Reduced(pieces=1, scale=1.0),
)
def trace_hash(seed: int, scale: float) -> Figures:
    """Two interpreters, each runs the same few scenarios."""
    count = round(TRACE_SEEDS_PER_PIECE * scale)
    first = seed * TRACE_SEEDS_PER_PIECE
    numbers = [str(number) for number in range(first, first + count)]
    one, other = (
        subprocess.run(
            [sys.executable, "-c", _TRACE_PROGRAM, *numbers],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        for hash_seed in (seed + 1, seed + 1_000_000)
    )
    assert len(one) == len(other) == count
    return {
        "seeds": count,
        "same": sum(a == b for a, b in zip(one, other, strict=True)),
        "different_hashes": len(set(one)),
    }
