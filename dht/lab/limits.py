"""The limits that are drawn under measured curves: what theory says of the same question.

A limit is no promise of ours: some are floors that nobody goes below, others what a mechanism
would cost without our caps, and each says which in its name.
"""

from collections.abc import Callable, Sequence
from math import exp, log, log2
from typing import final

import attrs

from .closed_forms import flood_messages_whole, hops_halving, hops_kademlia, hops_moore
from .plots import Series
from .scenario import Overlay, Scenario

#: Bytes in which a node that keeps a list of everybody is told of one event (Gupta et al. 2004).
EVENT_BYTES = 20
_LN2 = log(2)


def probes_of_random(nodes: int, holders: float) -> float:
    """Nodes that a random search asks until one of ``holders`` is among them, none twice: the mean
    of the first of r places among N."""
    return (nodes + 1) / (holders + 1)


def left_of(session_min: float, minutes: float, copies: float) -> float:
    """The share of records of which a copy is left when so much time has passed and nobody made
    another: sessions are exponential."""
    gone = 1 - exp(-minutes * _LN2 / session_min)
    return float(1 - gone**copies)


def told_of_all(nodes: int, session_min: float) -> float:
    """Bytes a second that each node is sent at least where everybody knows everybody: each session
    begins and ends once (Gupta, Liskov & Rodrigues 2004)."""
    mean_session_s = session_min * 60 / _LN2
    return 2 * nodes * EVENT_BYTES / mean_session_s


def told_to_hold(nodes: int, session_min: float) -> float:
    """Bytes a second that each node is sent at least where nobody is to be cut off: of the order of
    log2 N events in the time in which half of all nodes go (Liben-Nowell, Balakrishnan & Karger
    2002). Their constant is taken as 1."""
    return log2(nodes) * EVENT_BYTES / (session_min * 60)


def moved_to_last(stored: float, session_min: float) -> float:
    """Bytes a second that each node sends at least so that as many copies stay as there are: the
    ``stored`` bytes of a node move once as it comes and once as it goes (Blake & Rodrigues 2003).
    """
    mean_session_s = session_min * 60 / _LN2
    return 2 * stored / mean_session_s


@final
@attrs.frozen(kw_only=True)
class Limit:
    """One curve: where it belongs, its name, and its value for a scenario."""

    metric: str
    axis: tuple[str, str]
    name: str
    of: Callable[[Scenario], float]
    #: Drawn only where one of these was measured, and in the colour of the first that was.
    overlays: tuple[Overlay, ...]


_NODES = ("", "nodes")
_SESSION = ("churn", "session_min")
_ENGINE = (Overlay.KADEMLIA, Overlay.FLOOD, Overlay.WALK, Overlay.INDEX)
_UNSTRUCTURED = (Overlay.WALK, Overlay.FLOOD, Overlay.INDEX)


def _view(scenario: Scenario) -> int:
    return scenario.knobs().view_size


def _soaked_min(scenario: Scenario) -> float:
    """From the last write to the middle of the reads."""
    return (scenario.churn.soak_s + scenario.reading_s / 2) / 60


def _floor(scenario: Scenario) -> float:
    """Of the upkeep of a network that holds together and keeps its records: values alone."""
    work, minutes = scenario.workload, scenario.churn.session_min
    stored = work.records * work.copies * work.value_bytes / scenario.nodes
    return told_to_hold(scenario.nodes, minutes) + moved_to_last(stored, minutes)


LIMITS: Sequence[Limit] = (
    Limit(
        metric="hops",
        axis=_NODES,
        name="log2(N/k) / D(k) + 1 (Stutzbach & Rejaie)",
        of=lambda each: hops_kademlia(each.nodes, each.knobs().k) + 1,
        overlays=(Overlay.KADEMLIA,),
    ),
    Limit(
        metric="hops",
        axis=_NODES,
        name="log(N/r) of the view (Moore)",
        of=lambda each: max(
            1.0, hops_moore(max(1, each.nodes // (each.workload.copies + 1)), _view(each))
        ),
        overlays=(Overlay.FLOOD,),
    ),
    Limit(
        metric="hops",
        axis=_NODES,
        name="log2(N) / 2 (ring, hypercube, XOR)",
        of=lambda each: hops_halving(each.nodes),
        overlays=(Overlay.XOR, Overlay.RING, Overlay.HYPERCUBE),
    ),
    Limit(
        metric="messages",
        axis=_NODES,
        name="flood to all, 2E - N + 1",
        of=lambda each: flood_messages_whole(
            each.nodes, each.nodes * min(_view(each), each.nodes - 1) // 2
        ),
        overlays=(Overlay.FLOOD,),
    ),
    Limit(
        metric="messages",
        axis=_NODES,
        name="random probing, (N+1) / (r+1)",
        of=lambda each: probes_of_random(each.nodes, each.workload.copies + 1),
        overlays=(Overlay.WALK,),
    ),
    Limit(
        metric="messages",
        axis=_NODES,
        name="log2(N/k) / D(k) + 1 (Stutzbach & Rejaie)",
        of=lambda each: hops_kademlia(each.nodes, each.knobs().k) + 1,
        overlays=(Overlay.KADEMLIA,),
    ),
    Limit(
        metric="latency p50",
        axis=_NODES,
        name="one round trip (median pair)",
        of=lambda each: each.links.rtt_median_ms,
        overlays=_ENGINE,
    ),
    Limit(
        metric="success",
        axis=_SESSION,
        name="a copy is left, nobody repairs",
        of=lambda each: (
            100 * left_of(each.churn.session_min, _soaked_min(each), each.workload.copies + 1)
        ),
        overlays=_UNSTRUCTURED,
    ),
    Limit(
        metric="upkeep",
        axis=_SESSION,
        name="floor: log2(N) events a half-life, records moved",
        of=_floor,
        overlays=(Overlay.KADEMLIA,),
    ),
    Limit(
        metric="upkeep",
        axis=_SESSION,
        name="everybody told of everybody, 2Nm/T",
        of=lambda each: told_of_all(each.nodes, each.churn.session_min),
        overlays=_ENGINE,
    ),
)


def limits_of(
    metric: str, axis: tuple[str, str], scenarios: Sequence[tuple[float, Scenario]]
) -> list[Series]:
    """The curves under a plot: ``scenarios`` are those measured, each with its place on the axis.

    A limit that is the same for several overlays is drawn once.
    """
    drawn = []
    for limit in LIMITS:
        if (limit.metric, limit.axis) != (metric, axis):
            continue
        kinds = {scenario.kind for _, scenario in scenarios}
        own = next((each for each in limit.overlays if each in kinds), None)
        points = {
            x: limit.of(scenario) for x, scenario in scenarios if scenario.kind is own and x > 0
        }
        if points:
            xs = sorted(points)
            drawn.append(
                Series(
                    name=limit.name,
                    look="limit",
                    like=own.value if len(limit.overlays) == 1 and own else "",
                    xs=xs,
                    ys=[points[x] for x in xs],
                )
            )
    return drawn
