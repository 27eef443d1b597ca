"""One seed, one verdict: a network grows, suffers, heals, and is asked what it still knows.

The safety of every answer is judged while faults happen, liveness after they ended: a network
that is healed has to converge, whatever it went through (TigerBeetle's two phases).
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import final

import attrs

from ..author import Author
from ..config import VALUE_INLINE_MAX, Config
from ..core.engine import Engine
from ..core.events import OperationFinished, OperationId
from ..core.maintenance import JITTER, POSTPONED_MAX
from ..core.outcomes import GetOutcome, Members
from ..errors import InternalError
from ..keyspace import Key, content_key, key_bytes, plain_key, signed_key
from ..records import Kind, Slot, value_hash
from .checkers import History, Write
from .faults import Scenario, draw_scenario, heal, schedule_faults
from .simulator import SimNode, Simulator
from .world import Traffic

#: Upkeep that is quick, so that minutes of virtual time show what days of the default would.
SCENARIO_CONFIG = Config(
    repair_interval_s=30.0,
    repair_turn_s=2.0,
    refresh_interval_s=300.0,
    probe_interval_s=15.0,
    rejoin_max_s=5.0,
)

#: Nodes that read each key back in the end.
_READERS = 2
#: How long any operation may take: the longest is a large transfer with every try used up.
_OPERATION_MAX_S = 120.0
_LARGE_MAX = 40_000
#: Who writes, and in how many topics: few, so that their entries meet.
_AUTHORS = 3
_TOPICS = 2
_SMALL_MAX = 200


@final
@attrs.frozen(kw_only=True)
class ScenarioReport:
    """What one scenario showed. ``str`` is for people; ``replay`` runs it again."""

    scenario: Scenario
    #: What must not happen and did, as sentences.
    violations: tuple[str, ...]
    trace_hash: str
    #: One line of shell.
    replay: str
    reads: int
    writes: int
    acknowledged: int
    #: Of the operations begun during the faults: those that ended with an error.
    failed: int
    #: Virtual seconds.
    elapsed_s: float
    traffic: Traffic
    #: What a node raised, when that is what ended the run.
    error: InternalError | None = attrs.field(default=None, eq=False)

    @property
    def passed(self) -> bool:
        """Was nothing violated?"""
        return not self.violations

    def __str__(self) -> str:
        verdict = f"{len(self.violations)} VIOLATIONS" if self.violations else "passed"
        lines = [
            str(self.scenario),
            (
                f"  {self.acknowledged} of {self.writes} writes acknowledged, {self.reads} reads, "
                f"{self.failed} operations failed; {self.traffic.delivered} datagrams, "
                f"{self.elapsed_s:.0f} s, trace {self.trace_hash}"
            ),
            f"{verdict}; again: {self.replay}" if self.replay else verdict,
        ]
        return "\n".join([*lines, *(f"  {sentence}" for sentence in self.violations)])


def run_scenario(
    seed: int,
    *,
    nodes: int = 64,
    duration_s: float = 120.0,
    operations: int = 120,
    config: Config = SCENARIO_CONFIG,
) -> ScenarioReport:
    """Draw a scenario from the seed, run it, judge it. The same arguments give the same report.

    Violations are in the report, also when a node raised something: nothing is raised for them.
    """
    scenario = draw_scenario(seed, nodes=nodes, duration_s=duration_s, operations=operations)
    return play_scenario(scenario, config=config, replay=_replay_line(scenario, config))


def play_scenario(
    scenario: Scenario, *, config: Config = SCENARIO_CONFIG, replay: str = ""
) -> ScenarioReport:
    """Run a scenario that was drawn, or written by hand, or changed to find what matters in it."""
    run = _Run(scenario, config)
    error: InternalError | None = None
    try:
        run.play()
    except InternalError as raised:
        error = raised
        run.history.violations.append(str(raised))
    history, simulator = run.history, run.simulator
    return ScenarioReport(
        scenario=scenario,
        violations=tuple(history.violations),
        trace_hash=simulator.trace_hash(),
        replay=replay,
        reads=history.reads,
        writes=len(history.writes),
        acknowledged=sum(write.acknowledged for write in history.writes),
        failed=run.failed,
        elapsed_s=simulator.now,
        traffic=simulator.traffic(),
        error=error,
    )


def settle_s(config: Config) -> float:
    """Time for upkeep: to find each other again, then for the last holder to take its turn.

    That is one who is no owner any more: it waits behind every owner, and is put off as often
    as it believes others that they look after the record.
    """
    turn_s = config.repair_interval_s + config.replicas * config.repair_turn_s
    return 4 * config.rejoin_max_s + (POSTPONED_MAX + 1) * turn_s * (1 + JITTER) + 10.0


def _replay_line(scenario: Scenario, config: Config) -> str:
    arguments = [
        str(scenario.seed),
        f"nodes={scenario.nodes}",
        f"duration_s={scenario.duration_s!r}",
        f"operations={scenario.operations}",
    ]
    imports = "from dht.sim import run_scenario"
    if config != SCENARIO_CONFIG:
        imports += "; from dht.config import Config"
        knobs = [
            f"{field.name}={getattr(config, field.name)!r}"
            for field in attrs.fields(Config)
            if getattr(config, field.name) != field.default
        ]
        arguments.append(f"config=Config({', '.join(knobs)})")
    return f"python -c '{imports}; print(run_scenario({', '.join(arguments)}))'"


@attrs.define(eq=False)
class _Run:
    """One scenario under way."""

    scenario: Scenario
    config: Config
    failed: int = 0
    history: History = attrs.field(init=False)
    simulator: Simulator = attrs.field(init=False)
    _random: Random = attrs.field(init=False)
    _keys: list[Key] = attrs.field(init=False)
    _authors: list[Author] = attrs.field(init=False)
    # Operations under way: number -> (node, how often it had been started, what, since when).
    _pending: dict[int, tuple[SimNode, int, str, float]] = attrs.field(factory=dict)
    _begun: int = 0

    def __attrs_post_init__(self) -> None:
        seed = self.scenario.seed
        self.simulator = Simulator(seed, config=self.config)
        self.history = History(restamps=self.scenario.restamps)
        # Its own stream: the work is the same whatever the faults make of the network.
        self._random = Random(f"{seed} work")
        self._authors = [Author.generate(Random(f"{seed} {n}")) for n in range(_AUTHORS)]
        self._keys = [plain_key(f"{seed} key {number}") for number in range(self.scenario.keys)]

    def play(self) -> None:
        simulator, scenario = self.simulator, self.scenario
        simulator.grow(scenario.nodes)
        simulator.run_for(2 * self.config.probe_interval_s)
        schedule_faults(simulator, scenario)
        for _ in range(scenario.operations):
            when = simulator.now + self._random.uniform(0, scenario.duration_s)
            simulator.at(when, self._operate)
        simulator.run_for(scenario.duration_s)
        heal(simulator, scenario)
        simulator.run_for(max(settle_s(self.config), _OPERATION_MAX_S))
        self._check_ended()
        self._check_joined()
        self._read_back()

    # ---- work ----

    def _operate(self) -> None:
        awake = [node for node in self.simulator.living() if not node.asleep]
        if not awake:
            return
        node = self._random.choice(awake)
        dice = self._random.random()
        if dice < self.scenario.get_share:
            self._get(node)
        elif dice < self.scenario.get_share + self.scenario.delete_share:
            self._put(node, delete=True)
        else:
            self._put(node)

    def _get(self, node: SimNode) -> None:
        slots = self.history.slots() or [(Kind.PLAIN, key, b"") for key in self._keys]
        slot = kind, key, _ = self._random.choice(slots)
        if kind is Kind.MEMBER:
            self._browse(node, slot)
            return
        quorum = self._random.choice([1, 1, 2, self.config.replicas // 2 + 1])
        self._begin(
            node,
            f"a get of {key} by node {node.index}",
            lambda engine, now: engine.start_get(now, kind, key, quorum=quorum),
            partial(self._got, slot, f"node {node.index}"),
        )

    def _got(self, slot: Slot, reader: str, finished: OperationFinished) -> None:
        if isinstance(finished.outcome, GetOutcome):
            record = finished.outcome.record
            self.history.check_read(self.simulator.now, slot, record, reader=reader)

    def _browse(self, node: SimNode, slot: Slot) -> None:
        _, key, _ = slot
        self._begin(
            node,
            f"a listing of {key} by node {node.index}",
            lambda engine, now: engine.start_members(now, key),
            partial(self._browsed, f"node {node.index}"),
        )

    def _browsed(self, reader: str, finished: OperationFinished) -> None:
        if isinstance(finished.outcome, Members):
            for record in finished.outcome:
                self.history.check_read(self.simulator.now, record.slot, record, reader=reader)

    def _put(self, node: SimNode, *, delete: bool = False) -> None:
        random, scenario = self._random, self.scenario
        large = random.random() < scenario.large_share
        size = (
            random.randint(VALUE_INLINE_MAX, _LARGE_MAX) if large else random.randint(0, _SMALL_MAX)
        )
        value = f"value {self._begun} ".encode() + random.randbytes(size)
        place = random.randrange(scenario.keys)
        (kind, key, member), author, name = self._draw_slot(place)
        if kind is Kind.MEMBER:
            value, place = value[:VALUE_INLINE_MAX], place % _TOPICS
        ttl_s = scenario.short_ttl_s if place % 3 == 0 else None
        if not delete and kind is Kind.PLAIN and random.random() < scenario.content_share:
            kind, key = Kind.CONTENT, content_key(value_hash(value))
        write = self.history.begin_write(
            self.simulator.now, (kind, key, member), None if delete else value, ttl_s=ttl_s
        )
        self._begin(
            node,
            f"a {'delete' if delete else 'put'} of {key} by node {node.index}",
            lambda engine, now: engine.start_put(
                now,
                kind,
                key,
                b"" if delete else value,
                ttl_s=None if delete else ttl_s,
                tombstone=delete,
                author=author,
                name=name,
            ),
            partial(self._ended, write),
        )

    def _draw_slot(self, place: int) -> tuple[Slot, Author | None, bytes]:
        """Where a put goes; who signs it, and the name of what is signed."""
        random, scenario, key = self._random, self.scenario, self._keys[place]
        if not scenario.signed_share + scenario.member_share:
            return (Kind.PLAIN, key, b""), None, b""
        dice, author = random.random(), random.choice(self._authors)
        public_key = author.id.public_key
        if dice < scenario.member_share:
            return (Kind.MEMBER, self._keys[place % _TOPICS], public_key), author, b""
        if dice < scenario.member_share + scenario.signed_share:
            name = key_bytes(key)
            return (Kind.SIGNED, signed_key(public_key, name), b""), author, name
        return (Kind.PLAIN, key, b""), None, b""

    def _ended(self, write: Write, finished: OperationFinished) -> None:
        self.history.end_write(self.simulator.now, write, finished, calm=self.scenario.calm)

    def _begin(
        self,
        node: SimNode,
        what: str,
        start: Callable[[Engine, float], OperationId],
        on_finished: Callable[[OperationFinished], None],
    ) -> None:
        number = self._begun
        self._begun += 1
        self._pending[number] = (node, node.starts, what, self.simulator.now)

        def finish(finished: OperationFinished) -> None:
            del self._pending[number]
            self.failed += finished.error is not None
            on_finished(finished)

        self.simulator.start_operation(node, start, finish)

    # ---- judgement ----

    def _check_ended(self) -> None:
        for node, starts, what, since in self._pending.values():
            if node.alive and node.starts == starts:
                self._violate(f"{what}, begun at {since:.3f} s, never ended")
        self._pending.clear()  # what is left was lost with its node

    def _check_joined(self) -> None:
        out = [node.index for node in self.simulator.living() if not node.engine.joined]
        if out:
            self._violate(f"these nodes have not found back into the network: {out}")

    def _read_back(self) -> None:
        """Every key that was ever written to, each from two nodes drawn at random."""
        simulator, slots = self.simulator, self.history.slots()
        reads = [(slot, simulator.random_node()) for slot in slots for _ in range(_READERS)]
        for slot, node in reads:
            reader = f"node {node.index}, in the end,"
            self._begin(
                node,
                f"the last get of {slot[1]} by node {node.index}",
                partial(_start_reading, slot),
                partial(self._read, slot, reader),
            )
        simulator.run_while(lambda: bool(self._pending), timeout_s=_OPERATION_MAX_S)
        self._check_ended()

    def _read(self, slot: Slot, reader: str, finished: OperationFinished) -> None:
        if finished.error is not None:
            self._violate(f"{reader} could not read {slot[1]}: {finished.error}")
            return
        outcome, record = finished.outcome, None
        if isinstance(outcome, Members):
            record = next((each for each in outcome if each.slot == slot), None)
        else:
            assert isinstance(outcome, GetOutcome)
            record = outcome.record
        self.history.check_settled(
            self.simulator.now,
            slot,
            record,
            reader=reader,
            lost=self._was_lost,
        )

    def _was_lost(self, write: Write) -> bool:
        """Has every node that stored this acknowledged write lost its disk since?"""
        holders = self.simulator.holders(write.kind, write.key, write.author)
        if any(record.version == write.version for _, record in holders):
            return False
        stored = [self.simulator.at_address(contact.address) for contact in write.stored]
        return not any(
            node is not None and node.alive and node.store_since <= write.began_at
            for node in stored
        )

    def _violate(self, sentence: str) -> None:
        self.history.violations.append(f"at {self.simulator.now:.3f} s: {sentence}")


def _start_reading(slot: Slot, engine: Engine, now: float) -> OperationId:
    kind, key, _ = slot
    if kind is Kind.MEMBER:
        return engine.start_members(now, key)
    return engine.start_get(now, kind, key)
