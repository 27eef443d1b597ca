"""Promises about messages between any two nodes: that they arrive, how fast, at what cost.

Each piece is a network of its own, in which a tenth of the nodes has died at once and unnoticed,
and one of four ways to send. The ways are measured on the same networks, the same dead and the
same pairs, each on a fresh copy: nobody learns from the misfortune of another way. In all of them
the sender knows the target's public key, and neither its address nor whether it lives.

* ``path``: passed on from node to node; the answer comes back along the same path.
* ``direct``: the same; the answer comes straight to the sender.
* ``shortcut``: ``Structured(routing="iterative")`` as it is built: a lookup that ends as soon as
  somebody names the target; then the message, without asking the target where it is first.
* ``lookup``: an ordinary lookup of the target (``Node.lookup``), run to its end; then the message.

The goal for latencies is against ``shortcut``, the faster of the two, and that for messages against
``lookup``; the figures have both ratios of each. Against the messages of ``shortcut``, which leaves
out most of a lookup, the goal of 0.6 is not met along the path.

A message is a request that any node sends for it: the lookup's, ``Route`` and ``Returned``, retries
included, and not their acknowledgements. It has 100 bytes, and its answer, which is given at once,
as many. All latencies are virtual: the wide-area network of ``dht.sim.links``.
"""

import statistics
from collections.abc import Callable, Sequence
from random import Random

import attrs

from dht.config import Config
from dht.core.engine import Engine
from dht.core.events import MessageArrived, OperationFinished, OperationId
from dht.core.outcomes import LookupOutcome, Reply
from dht.sim import SimNode, Simulator

from .machine import Figures, Reduced, Verdict, row
from .rows_lookup import SETTLE_S, expected_hops, percentile

NODES = 1_000
#: In each network, with each way; and as many again after the nodes had time to notice.
MESSAGES = 1_000
#: Enough for a median to say something.
MESSAGES_REDUCED = 600
NETWORKS = 3
DEAD_SHARE = 0.1
#: Upkeep between the two: half of the tables' tails is probed in so long.
UPKEEP_S = 600.0
PAYLOAD = bytes(100)
WAYS = ("path", "direct", "shortcut", "lookup")

PHASES = ("at_once", "later")

ANSWERED_PERCENT_MIN = 99.9
LATENCY_DIRECT_MAX = 0.95
LATENCY_PATH_MAX = 1.25
MESSAGES_MAX = 0.6

#: So small a network would be known whole; with fewer contacts a bucket, as few of its nodes know
#: the target as in the large one.
SMALL = Config(k=8, table_whole_max=0)


@attrs.frozen
class Sent:
    """What one message came to."""

    answered: bool
    hops: int
    elapsed_s: float
    attempts: int


@attrs.define(eq=False)
class Village:
    """A network of nodes that answer messages, a tenth of them dead."""

    simulator: Simulator
    random: Random
    pairs: list[tuple[SimNode, SimNode]] = attrs.field(factory=list)
    #: Requests of lookups.
    searched: int = 0

    @classmethod
    def grow(cls, number: int, nodes: int, config: Config) -> "Village":
        """Everything of it comes from its number."""
        simulator = Simulator(number, config=config)
        simulator.grow(nodes)
        simulator.run_for(SETTLE_S)
        village = cls(simulator, Random(f"{number} messages"))
        simulator.observers.append(village.answer)
        for node in simulator.living():
            node.engine.serve_topic("echo")
        for node in village.random.sample(simulator.living(), round(DEAD_SHARE * nodes)):
            simulator.crash(node, for_good=True)
        return village

    def answer(self, node: SimNode, event: object) -> None:
        """A message came: back with it."""
        if isinstance(event, MessageArrived):
            node.engine.answer_message(self.simulator.now, event.message_id, event.payload)
            self.simulator.poll(node)

    def draw(self, count: int) -> None:
        """Who sends to whom next."""
        living = self.simulator.living()
        self.pairs = [
            (sender, target)
            for sender, target in (self.random.sample(living, 2) for _ in range(count))
        ]

    @property
    def routed(self) -> int:
        """``Route`` and ``Returned`` sent so far, by all that live."""
        return sum(node.engine.messages_sent for node in self.simulator.living())

    def send(self, way: str) -> list[Sent]:
        """A message from each to each, all at this instant."""
        if way == "lookup":
            return self._look_up_and_send()
        options: dict[str, str] = {
            "path": {},
            "direct": {"reply": "direct"},
            "shortcut": {"routing": "iterative"},
        }[way]
        finished = self.simulator.run_operations(
            (sender, _start(target, public_key=target.contact.public_key, **options))
            for sender, target in self.pairs
        )
        if way == "shortcut":
            routes = sum(_reply(each).attempts for each in finished if each.outcome is not None)
            messages = sum(_reply(each).messages for each in finished if each.outcome is not None)
            self.searched += messages - routes
        return [_sent(each) for each in finished]

    def _look_up_and_send(self) -> list[Sent]:
        looked_up = self.simulator.run_operations(
            (sender, lambda engine, now, target=target: engine.start_lookup(now, target.contact.id))  # type: ignore[misc]
            for sender, target in self.pairs
        )
        found: list[tuple[SimNode, SimNode, float]] = []
        for (sender, target), event in zip(self.pairs, looked_up, strict=True):
            if isinstance(event.outcome, LookupOutcome):
                self.searched += event.outcome.trace.messages
                if target.contact in event.outcome.closest:
                    found.append((sender, target, event.outcome.trace.elapsed))
        finished = self.simulator.run_operations(
            (sender, _start(target, contact=target.contact, routing="iterative"))
            for sender, target, _ in found
        )
        sent = [
            attrs.evolve(_sent(event), elapsed_s=_sent(event).elapsed_s + elapsed)
            for event, (_, _, elapsed) in zip(finished, found, strict=True)
        ]
        lost = Sent(answered=False, hops=0, elapsed_s=0.0, attempts=0)
        return sent + [lost] * (len(self.pairs) - len(sent))


def _start(target: SimNode, **options: object) -> Callable[[Engine, float], OperationId]:
    return lambda engine, now: engine.start_send(
        now,
        target.contact.id,
        PAYLOAD,
        topic="echo",
        **options,  # type: ignore[arg-type]
    )


def _reply(finished: OperationFinished) -> Reply:
    assert isinstance(finished.outcome, Reply)
    return finished.outcome


def _sent(finished: OperationFinished) -> Sent:
    if finished.outcome is None:
        return Sent(answered=False, hops=0, elapsed_s=0.0, attempts=0)
    reply = _reply(finished)
    return Sent(
        answered=reply.payload == PAYLOAD,
        hops=reply.hops,
        elapsed_s=reply.elapsed,
        attempts=reply.attempts,
    )


def measure(
    number: int,
    way: str,
    *,
    nodes: int,
    messages: int,
    config: Config,
    phases: Sequence[str] = PHASES,
) -> Figures:
    """One network, one way: at once after the deaths, and again after some upkeep."""
    village = Village.grow(number, nodes, config)
    figures: Figures = {"way": way, "nodes": nodes, "k": config.k}
    for phase in phases:
        if phase == "later":
            village.simulator.run_for(UPKEEP_S)
        village.draw(messages)
        routed, searched = village.routed, village.searched
        sent = village.send(way)
        village.simulator.run_for(15.0)  # what was late still counts as sent
        answered = [each for each in sent if each.answered]
        figures[phase] = {
            "messages": len(sent),
            "answered": len(answered),
            "again": sum(each.attempts > 1 for each in answered),
            "hops": sum(each.hops for each in answered),
            "requests": village.routed - routed + village.searched - searched,
            "latencies_ms": [round(each.elapsed_s * 1000, 1) for each in answered],
        }
    return figures


def summary_of(pieces: Sequence[Figures], phase: str) -> Figures:
    """The figures of one phase, for each way, and the ratios between them."""
    ways: Figures = {}
    for way in WAYS:
        of_way = [piece[phase] for piece in pieces if piece["way"] == way]
        sent = sum(each["messages"] for each in of_way)
        answered = sum(each["answered"] for each in of_way)
        latencies = [each for figures in of_way for each in figures["latencies_ms"]]
        ways[way] = {
            "sent": sent,
            "answered_percent": round(100 * answered / sent, 3),
            "sent_again_percent": round(100 * sum(each["again"] for each in of_way) / sent, 3),
            "hops_mean": round(sum(each["hops"] for each in of_way) / max(1, answered), 3),
            "requests_mean": round(sum(each["requests"] for each in of_way) / sent, 3),
            "median_ms": statistics.median(latencies),
            "p95_ms": percentile(latencies, 95),
        }
    ratios: Figures = {}
    for way in ("path", "direct"):
        for baseline in ("shortcut", "lookup"):
            for figure, name in (("median_ms", "latency"), ("requests_mean", "requests")):
                ratio = ways[way][figure] / ways[baseline][figure]
                ratios[f"{name}_{way}_to_{baseline}"] = round(ratio, 3)
    return {"ways": ways, "ratios": ratios}


def judge(pieces: Sequence[Figures], *, goal: bool) -> Verdict:
    """The goals are those of the messages that were sent at once, and of those sent later."""
    formula = expected_hops(pieces[0]["nodes"], pieces[0]["k"])
    phases = {phase: summary_of(pieces, phase) for phase in PHASES if phase in pieces[0]}
    met = all(
        phase["ways"]["path"]["answered_percent"] >= ANSWERED_PERCENT_MIN
        and phase["ways"]["direct"]["answered_percent"] >= ANSWERED_PERCENT_MIN
        and phase["ratios"]["latency_direct_to_shortcut"] <= LATENCY_DIRECT_MAX
        and phase["ratios"]["latency_path_to_shortcut"] <= LATENCY_PATH_MAX
        and phase["ratios"]["requests_path_to_lookup"] <= MESSAGES_MAX
        and phase["ratios"]["requests_direct_to_lookup"] <= MESSAGES_MAX
        for phase in phases.values()
    )
    sentences = [_sentence(name, phase) for name, phase in phases.items()]
    path_hops = phases["at_once"]["ways"]["path"]["hops_mean"]
    return Verdict(
        {
            "nodes": pieces[0]["nodes"],
            "k": pieces[0]["k"],
            "hops_formula": round(formula, 3),
            **phases,
        },
        met or not goal,
        f"{path_hops:.2f} hops in the mean (log2(N/k)/D(k) = {formula:.2f}); "
        + "; ".join(sentences),
    )


def _sentence(name: str, phase: Figures) -> str:
    ways, ratios = phase["ways"], phase["ratios"]
    return (
        f"{name.replace('_', ' ')}: {ways['path']['answered_percent']:g} % answered along the path "
        f"and {ways['direct']['answered_percent']:g} % directly "
        f"({ways['shortcut']['answered_percent']:g} and {ways['lookup']['answered_percent']:g} % "
        f"of the iterative ways), medians {ways['path']['median_ms']:.0f}, "
        f"{ways['direct']['median_ms']:.0f}, {ways['shortcut']['median_ms']:.0f} and "
        f"{ways['lookup']['median_ms']:.0f} ms, that is "
        f"{ratios['latency_path_to_shortcut']:.2f} and {ratios['latency_direct_to_shortcut']:.2f} "
        f"of the shortcut's; {ways['path']['requests_mean']:.2f}, "
        f"{ways['direct']['requests_mean']:.2f}, {ways['shortcut']['requests_mean']:.2f} and "
        f"{ways['lookup']['requests_mean']:.2f} requests, that is "
        f"{ratios['requests_path_to_lookup']:.2f} and {ratios['requests_direct_to_lookup']:.2f} "
        f"of a lookup's ({ratios['requests_path_to_shortcut']:.2f} and "
        f"{ratios['requests_direct_to_shortcut']:.2f} of the shortcut's)"
    )


def judge_with_goal(pieces: Sequence[Figures]) -> Verdict:
    """All networks together."""
    return judge(pieces, goal=True)


@row(
    "messages-recursive",
    promise=f"among {NODES:,} nodes of which {DEAD_SHARE:.0%} died at once and unnoticed, "
    f"{ANSWERED_PERCENT_MIN:g} % of the messages passed on from node to node are answered; "
    f"against looking the target up node by node, the median latency is at most "
    f"{LATENCY_PATH_MAX:g} times with an answer along the path and {LATENCY_DIRECT_MAX:g} times "
    f"with a direct one, and the requests at most {MESSAGES_MAX:g} times those of a lookup and a "
    f"message",
    pieces=NETWORKS * len(WAYS),
    judge=judge_with_goal,
    reduced=Reduced(pieces=len(WAYS), scale=0.2),
)
def messages_recursive(seed: int, scale: float) -> Figures:
    """One network, one way."""
    number, way = divmod(seed, len(WAYS))
    if scale == 1:
        return measure(number, WAYS[way], nodes=NODES, messages=MESSAGES, config=Config())
    return measure(
        number,
        WAYS[way],
        nodes=round(NODES * scale),
        messages=MESSAGES_REDUCED,
        config=SMALL,
        phases=PHASES[:1],
    )


# ------------------------------------------------------------------------- larger, smaller buckets

NODES_LARGE = 5_000


def judge_without_goal(pieces: Sequence[Figures]) -> Verdict:
    """What there is to know."""
    return judge(pieces, goal=False)


@row(
    "messages-recursive-5000",
    promise=f"the same among {NODES_LARGE:,} nodes with {SMALL.k} contacts a bucket, where messages"
    f" take more hops: what it costs, without a goal",
    pieces=len(WAYS),
    judge=judge_without_goal,
    # Without a goal there is nothing to guard; the row above guards that it runs.
    reduced=None,
)
def messages_recursive_5000(seed: int, scale: float) -> Figures:
    """One network, one way."""
    return measure(
        0,
        WAYS[seed],
        nodes=round(NODES_LARGE * scale),
        messages=round(MESSAGES * scale),
        config=attrs.evolve(SMALL, table_whole_max=Config().table_whole_max),
    )
