"""One scenario, one seed: a network grows, records are written, things go wrong, and reads are
measured. The same two give the same numbers, on any machine.

The phases, each in virtual time:

    grow      all nodes join, over links without faults
    rest      ``REST_S``, in which they get to know each other
    write     every record, from random nodes, over the links of the scenario from here on
    soak      nodes begin to come and go, for ``churn.soak_s``; some die at once (``faults.dead``)
    read      the reads, at random times, from random nodes that live and have joined
    drain     until each has ended, and ``REST_S`` more: what a search set going is counted to its
              end, however early its answer came

Reads of a node that is gone before they end are ``lost``, and count neither as found nor as not.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, final

import attrs

from ..core.engine import Engine
from ..core.events import OperationFinished, OperationId
from ..core.outcomes import GetOutcome, PutOutcome
from ..core.via import Structured
from ..keyspace import Key, key_bytes, plain_key
from ..records import Kind
from ..sim import Churn, SimNode, Simulator
from .catalogue import Progress
from .estimates import gini, percentile
from .ledger import Ledger
from .scenario import Scenario
from .static import route_reads
from .workload import COPIES_MAX, copies_of, drawn_reads, rank_classes, zipf_shares

#: Seconds: a shuffle of everybody takes 10, what a flood set going 3 and half a second a hop.
REST_S = 20.0
#: Writes at once: a network that has just grown is not to be drowned.
WRITES_AT_ONCE = 32
#: Seconds that the longest read may take: a walker that meets dead nodes only.
READ_MAX_S = 300.0
#: Shares of the work, for the bar: growing takes about as long as what follows.
_GROWN, _WRITTEN, _SOAKED = 0.5, 0.55, 0.65


@final
@attrs.frozen(kw_only=True)
class Load:
    """How evenly something lies on the nodes: the 99th percentile in means, and Gini's coefficient,
    0 where all have the same."""

    mean: float
    p99_over_mean: float
    gini: float

    @classmethod
    def of(cls, loads: Sequence[float]) -> "Load":
        """Of what each node has."""
        mean = sum(loads) / len(loads)
        # Where nobody has any, all have the same.
        peak = percentile(loads, 99) / mean if mean else 1.0
        return cls(mean=mean, p99_over_mean=peak, gini=gini(loads))


@final
@attrs.frozen(kw_only=True)
class ByRank:
    """The reads of records of about the same popularity. None: nothing was found, or read."""

    first: int
    last: int
    copies: float
    reads: int
    success: float | None
    hops: float | None
    messages: float | None
    bytes: float | None
    latency_p50_s: float | None


@final
@attrs.frozen(kw_only=True)
class Measured:
    """What came of one run; None is what such a model cannot say.

    ``hops``: from the reader to who had the record; a node that it knows itself is 1 away.
    ``messages``: requests of all nodes for a read, retries included and answers left out;
    ``bytes``: of their datagrams, both ways. Latencies are of reads that found something.
    ``upkeep_bytes``: all else that a node sent in a second, while there were reads.
    """

    reads: int
    found: int
    #: Found, and not what was written.
    wrong: int
    lost: int
    written: int
    success: float | None
    hops: float | None
    messages: float | None = None
    bytes: float | None = None
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    latency_p99_s: float | None = None
    upkeep_bytes: float | None = None
    #: Of records held at the end, and of datagrams and bytes sent for reads.
    load: Mapping[str, Load] = attrs.field(factory=dict)
    ranks: tuple[ByRank, ...] = ()


def measured_of(shape: Mapping[str, Any]) -> Measured:
    """What ``attrs.asdict`` made of one."""
    load = {name: Load(**each) for name, each in shape["load"].items()}
    ranks = tuple(ByRank(**each) for each in shape["ranks"])
    return Measured(**{**shape, "load": load, "ranks": ranks})


def run(scenario: Scenario, seed: int, progress: Progress) -> Measured:
    """Runs it. ``progress`` is told the share that is done, and may raise to stop."""
    if scenario.kind.static:
        routed = route_reads(scenario, seed)
        progress(1.0)
        return Measured(
            reads=scenario.workload.reads,
            found=routed.arrived,
            wrong=0,
            lost=0,
            written=scenario.workload.records,
            success=routed.arrived / scenario.workload.reads,
            hops=routed.hops,
        )
    return _Run.begin(scenario, seed, progress).play()


@attrs.define(eq=False, kw_only=True)
class _Read:
    """One read, as far as it is."""

    record: int
    begun_at: float
    ended_at: float | None = None
    found: bool = False
    hops: int = 0


@final
@attrs.define(eq=False, kw_only=True)
class _Run:
    """A run under way."""

    scenario: Scenario
    progress: Progress
    simulator: Simulator
    random: Random
    shares: Sequence[float]
    copies: Sequence[int]
    keys: Sequence[Key]
    values: Sequence[bytes]
    ledger: Ledger = attrs.field(factory=Ledger)
    reads: list[_Read] = attrs.field(factory=list)
    written: int = 0
    wrong: int = 0
    #: Reads under way: number -> (node, how often it had been started).
    pending: dict[int, tuple[SimNode, int]] = attrs.field(factory=dict)

    @classmethod
    def begin(cls, scenario: Scenario, seed: int, progress: Progress) -> "_Run":
        work, structured = scenario.workload, isinstance(scenario.via(), Structured)
        # Its own stream: the same work in every overlay.
        random = Random(f"{seed} reads")
        shares = zipf_shares(work.records, work.zipf)
        return cls(
            scenario=scenario,
            progress=progress,
            simulator=Simulator(
                seed,
                links=scenario.links.model().healed(),
                config=scenario.knobs(),
                overlay="structured" if structured else "unstructured",
            ),
            random=random,
            shares=shares,
            copies=copies_of(shares, work.copies, work.copies_by),
            keys=[plain_key(f"record {number}") for number in range(work.records)],
            values=[random.randbytes(work.value_bytes) for _ in range(work.records)],
        )

    def play(self) -> Measured:
        nodes = self.scenario.nodes
        self.simulator.grow(nodes, progress=lambda grown: self.progress(_GROWN * grown / nodes))
        self.simulator.run_for(REST_S)
        self.simulator.links.model = self.scenario.links.model()
        self._write()
        self.progress(_WRITTEN)
        self._spoil()
        self.progress(_SOAKED)
        self._read()
        upkeep = self._upkeep_per_node()
        self._drain()
        self.progress(1.0)
        return self._measured(upkeep)

    # ---- the phases ----

    def _write(self) -> None:
        """All records, some at once. One that fails is missing, as it would be to readers."""
        numbers = range(len(self.keys))
        for start in range(0, len(numbers), WRITES_AT_ONCE):
            writes = [
                (self.simulator.random_node(), self._start_write(number))
                for number in numbers[start : start + WRITES_AT_ONCE]
            ]
            ended = self.simulator.run_operations(writes, timeout_s=READ_MAX_S)
            self.written += sum(isinstance(each.outcome, PutOutcome) for each in ended)

    def _start_write(self, number: int) -> Callable[[Engine, float], OperationId]:
        key, value, copies = self.keys[number], self.values[number], self.copies[number]
        via = self.scenario.via(copies)
        if isinstance(via, Structured):
            return lambda engine, now: engine.start_put(
                now, Kind.PLAIN, key, value, replicas=min(copies, COPIES_MAX)
            )
        return lambda engine, now: engine.start_place(now, Kind.PLAIN, key, value, via)

    def _spoil(self) -> None:
        """Churn begins, and lasts; then some die."""
        simulator, churn, faults = self.simulator, self.scenario.churn, self.scenario.faults
        simulator.run_for(REST_S)
        if churn.session_min:
            Churn(simulator, median_session_s=60 * churn.session_min, polite_share=churn.polite)
            self._run_for(churn.soak_s, _WRITTEN, _SOAKED)
        living = simulator.living()
        for node in self.random.sample(living, round(faults.dead * len(living))):
            simulator.crash(node, for_good=True)

    def _read(self) -> None:
        simulator, seconds = self.simulator, self.scenario.reading_s
        simulator.taps.append(self.ledger.note)
        for record in drawn_reads(self.shares, self.scenario.workload.reads, self.random):
            when = simulator.now + self.random.uniform(0, seconds)
            simulator.at(when, partial(self._begin_read, record))
        self._cut_off(seconds)
        self._run_for(seconds, _SOAKED, 1.0)

    def _run_for(self, seconds: float, start: float, end: float) -> None:
        """So long, while the bar goes from ``start`` nearly to ``end``."""
        begun_at = self.simulator.now
        for step in range(1, 21):
            self.simulator.run_until(begun_at + seconds * step / 20)
            self.progress(start + (end - start) * step / 21)

    def _cut_off(self, seconds: float) -> None:
        simulator = self.simulator
        living = simulator.living()
        count = round(self.scenario.faults.cut_off * len(living))
        if not count:
            return
        cut_off = sorted(node.index for node in self.random.sample(living, count))
        others = [node.index for node in simulator.nodes if node.index not in set(cut_off)]
        links = simulator.links
        simulator.at(simulator.now + seconds / 3, lambda: links.partition(others, cut_off))
        simulator.at(simulator.now + seconds * 2 / 3, links.unite)

    def _begin_read(self, record: int) -> None:
        awake = [node for node in self.simulator.living() if node.engine.joined]
        node, via = self.random.choice(awake or self.simulator.living()), self.scenario.via()
        number, key = len(self.reads), self.keys[record]
        self.reads.append(_Read(record=record, begun_at=self.simulator.now))
        self.pending[number] = (node, node.starts)
        self.ledger.reading[node.index, key_bytes(key)] += 1

        def start(engine: Engine, now: float) -> OperationId:
            if isinstance(via, Structured):
                return engine.start_get(
                    now, Kind.PLAIN, key, disjoint=via.disjoint, routing=via.routing
                )
            return engine.start_search(now, Kind.PLAIN, key, via)

        self.simulator.start_operation(node, start, partial(self._ended, number, node))

    def _ended(self, number: int, node: SimNode, event: OperationFinished) -> None:
        read, outcome = self.reads[number], event.outcome
        del self.pending[number]
        self.ledger.reading[node.index, key_bytes(self.keys[read.record])] -= 1
        read.ended_at = self.simulator.now
        if not isinstance(outcome, GetOutcome) or outcome.value is None:
            return
        read.found = True
        self.wrong += outcome.value != self.values[read.record]
        trace = outcome.trace
        # A lookup counts from who is in the table, the others from the reader itself.
        known = isinstance(self.scenario.via(), Structured) and trace.messages > 0
        read.hops = trace.hops + known

    def _drain(self) -> None:
        def waiting() -> bool:
            return any(node.alive and node.starts == starts for node, starts in self._open())

        self.simulator.run_while(waiting, timeout_s=READ_MAX_S)
        self.simulator.run_for(REST_S)

    def _open(self) -> list[tuple[SimNode, int]]:
        return list(self.pending.values())

    # ---- what came of it ----

    def _upkeep_per_node(self) -> float:
        return self.ledger.upkeep / self.scenario.reading_s / len(self.simulator.living())

    def _measured(self, upkeep: float) -> Measured:
        every = range(len(self.keys))
        whole = self._part(every[0], every[-1])
        ended = [read for read in self.reads if read.ended_at is not None]
        latencies = _latencies(self.reads)
        quantile = partial(percentile, latencies) if latencies else lambda _: None
        return Measured(
            reads=len(self.reads),
            found=sum(read.found for read in self.reads),
            wrong=self.wrong,
            lost=len(self.reads) - len(ended),
            written=self.written,
            success=whole.success,
            hops=whole.hops,
            messages=whole.messages,
            bytes=whole.bytes,
            latency_p50_s=whole.latency_p50_s,
            latency_p95_s=quantile(95),
            latency_p99_s=quantile(99),
            upkeep_bytes=upkeep,
            load=self._load(),
            ranks=tuple(
                self._part(each.first - 1, each.last - 1) for each in rank_classes(len(self.keys))
            ),
        )

    def _part(self, first: int, last: int) -> ByRank:
        """Of the records with these numbers."""
        reads = [read for read in self.reads if first <= read.record <= last]
        ended = [read for read in reads if read.ended_at is not None]
        found = [read for read in ended if read.found]
        keys = [key_bytes(key) for key in self.keys[first : last + 1]]
        latencies = _latencies(reads)
        return ByRank(
            first=first + 1,
            last=last + 1,
            copies=_mean(self.copies[first : last + 1]) or 0.0,
            reads=len(reads),
            success=_ratio(len(found), len(ended)),
            hops=_mean([read.hops for read in found]),
            messages=_ratio(sum(self.ledger.requests[key] for key in keys), len(reads)),
            bytes=_ratio(sum(self.ledger.sizes[key] for key in keys), len(reads)),
            latency_p50_s=percentile(latencies, 50) if latencies else None,
        )

    def _load(self) -> dict[str, Load]:
        nodes = self.simulator.living()
        return {
            "records": Load.of([node.engine.stats().records for node in nodes]),
            "messages": Load.of([self.ledger.messages_of[node.index] for node in nodes]),
            "bytes": Load.of([self.ledger.bytes_of[node.index] for node in nodes]),
        }


def _latencies(reads: Sequence[_Read]) -> list[float]:
    return [read.ended_at - read.begun_at for read in reads if read.ended_at and read.found]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None
