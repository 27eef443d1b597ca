"""Simulated nodes whose neighbours are given and stay: searches over any graph."""

from collections.abc import Sequence

import attrs

from dht.config import BUDGET_MAX, DAY_S, Config
from dht.core.outcomes import GetOutcome
from dht.core.unstructured.branches import SearchCounters
from dht.core.unstructured.overlay import Unstructured
from dht.core.unstructured.view import Entry
from dht.core.via import Unstructured as Via
from dht.keyspace import Key
from dht.lab.graphs import Graph
from dht.records import Kind, Record
from dht.sim import LinkModel, SimNode, Simulator

#: Every hop takes 10 ms, so that a flood arrives in the order of distance.
LOCKSTEP = LinkModel(rtt_median_s=0.02, rtt_mean_s=0.02)
#: Seconds in which what a search has set going comes to its end.
REST_S = 10.0
#: No cap of our own disturbs a measurement.
UNBOUNDED = Config(
    view_size=255,
    shuffle_interval_s=DAY_S,
    search_budget_max=BUDGET_MAX,
    search_allowance_s=float(BUDGET_MAX),
    search_burst=float(BUDGET_MAX),
    index=False,
)


class Frozen:
    """A simulator in which node i has the neighbours ``graph[i]``, for ever."""

    def __init__(self, seed: int, graph: Graph, *, links: LinkModel = LOCKSTEP) -> None:
        self.graph = graph
        self.simulator = Simulator(seed, overlay="unstructured", config=UNBOUNDED, links=links)
        self.nodes: Sequence[SimNode] = [self.simulator.add_node(bootstrap=()) for _ in graph]
        #: Those of all nodes together.
        self.counters = SearchCounters()
        for node, neighbours in zip(self.nodes, graph, strict=True):
            overlay_of(node).searching.counters = self.counters
            overlay_of(node).view.merge(
                Entry(self.nodes[other].contact, degree=len(graph[other])) for other in neighbours
            )

    def hold(self, places: Sequence[int], key: Key) -> None:
        """From now on these nodes hold a record of this key."""
        record = Record(
            kind=Kind.PLAIN,
            key=key,
            version=1_700_000_000_000,
            written_at_ms=1_700_000_000_000,
            ttl_ms=int(DAY_S * 1000),
            tombstone=False,
            value=b"here",
        )
        for place in places:
            self.nodes[place].engine.storage.store(
                self.simulator.now,
                record,
                remaining_ms=record.ttl_ms,
                wall_s=None,
                source=b"given",
                handover=False,
                if_version=None,
                placed=True,
            )

    def search(self, place: int, key: Key, via: Via) -> tuple[GetOutcome, SearchCounters]:
        """What a search of one node comes to, and what it made all nodes send: to its very end."""
        before = attrs.asdict(self.counters)
        finished = self.simulator.run_operation(
            self.nodes[place],
            lambda engine, now: engine.start_search(now, Kind.PLAIN, key, via),
            timeout_s=DAY_S,
        )
        self.simulator.run_for(REST_S)
        assert isinstance(finished.outcome, GetOutcome)
        after = attrs.asdict(self.counters)
        return finished.outcome, SearchCounters(
            **{name: after[name] - count for name, count in before.items()}
        )


def overlay_of(node: SimNode) -> Unstructured:
    """The unstructured overlay of a node that lives in it."""
    overlay = node.engine.unstructured
    assert overlay is not None
    return overlay
