"""Leitao et al. 2007, HyParView: two overlays in cycles, and what broadcasts on them survive.

Table 1 (the overlays after 50 cycles), figure 2 (broadcasts right after a share of the nodes has
crashed) and figure 4 (cycles until broadcasts reach as many as before).
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from math import log
from random import Random
from statistics import fmean

import attrs
import numpy as np

from ..catalogue import HYPARVIEW, Progress
from ..closed_forms import gossip_reliability
from ..estimates import Estimate, mean_of
from ..findings import Finding, Provenance, Published, Reproduction
from ..graphs import Graph, clustering, distances, undirected
from ..peer_sampling import Cyclon, HyParView, HyParViewSizes, Spread
from ..plots import Plot, Series
from .gummadi2003 import measured

#: By the least effort that it is made of. The published figures are of the first alone.
NODES: Mapping[float, int] = {0.5: 10_000, 0.1: 2000, 0.05: 500, 0.0: 200}
NETWORKS = 2
CYCLES = 50
VIEW, EXCHANGE, FANOUT = 35, 14, 4
#: Sources of shortest paths.
SOURCES = 50
#: Broadcasts after a crash. A Cyclon that does not acknowledge is the same after each of them.
MESSAGES, MESSAGES_CYCLON = 1000, 300
#: Broadcasts by which it is judged, each cycle, whether the overlay has healed.
PROBES = 10
HEALING_MAX = 200

LEVELS = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
#: Where the other way to find the dead has a row in the table; its curve has all.
LEVELS_SILENT = (50, 80)
LEVELS_ACKED = (10, 50, 60, 70, 80, 90)
HEALING_LEVELS = (10, 50, 80)
HEALING_LEVELS_HYPARVIEW = (*HEALING_LEVELS, 90)

HYPAR, CYCLON, ACKED, SILENT, AGAIN = (
    "HyParView",
    "Cyclon",
    "CyclonAcked",
    "HyParView, the dead found by sending alone",
    "HyParView, joining again when cut off",
)
SHAPES: Mapping[str, Mapping[str, float]] = {
    CYCLON: {"clustering": 0.006836, "path": 2.60426, "hops": 10.6},
    HYPAR: {"clustering": 0.00092, "path": 6.38542, "hops": 9.0},
}
#: Percent of the living that a broadcast reaches, by percent crashed; read off figure 2.
RELIABLE: Mapping[str, Mapping[int, float]] = {
    HYPAR: {**dict.fromkeys(LEVELS[:9], 100.0), 95: 91},
    CYCLON: {10: 97.5, 20: 96.5, 30: 92.5, 40: 86, 50: 73, 60: 50, 70: 12, 80: 0},
    ACKED: {10: 98.5, 60: 98.5, 70: 97, 80: 47},
}
#: Cycles, read off figure 4.
HEALED: Mapping[str, Mapping[int, float]] = {
    HYPAR: {10: 1, 50: 1, 80: 2, 90: 4},
    CYCLON: {10: 42, 50: 72, 80: 107},
    ACKED: {10: 8, 50: 32, 80: 51},
}
#: Up to here our proofs hold HyParView to it.
ASSERTED_DEAD_MAX = 80

NOTES = (
    (
        "Reliability is the share of the living nodes that a broadcast reaches, in the mean over "
        "broadcasts from random living nodes, before any further cycle: 1,000 of them, as in the "
        "paper, but 300 on Cyclon, which stays as it is. Its intervals are over broadcasts, and "
        "say nothing of how networks differ, of which two are made at most; a value without an "
        "interval is of one network."
    ),
    (
        "HyParView keeps connections: those to a crashed node break, and neighbours replace it at "
        "once. How that is simulated in the paper we take from memory. Where the dead are found "
        "only by sending to them, nodes that nobody reaches refuse newcomers, being full of the "
        "dead: that reaches fewer. It has rows of its own, which are not judged."
    ),
    (
        "Healed is the first cycle after which ten broadcasts reach in the mean as large a share "
        "as before the crash; at least one cycle, and 200 stands for never. Of Cyclon, whose "
        "broadcasts differ by chance, that is a matter of some cycles up or down."
    ),
    (
        "With 90 % crashed a few of 1,000 living nodes know nobody who lives, and nobody who lives "
        "knows them: no protocol without outside help heals that, and the paper does not say what "
        "helped. The rows of those that join again, at a node that somebody tells them, are of "
        "such help, and not judged."
    ),
    (
        "The limit of Cyclon's reliability is that of gossip to four nodes drawn from all: the "
        "chance not to die out, times the epidemic's size."
    ),
    (
        "Everybody begins with neighbours among those who came before it; 50 cycles follow. Scamp "
        "is not made again."
    ),
)
SMALLER = (
    "At this effort there are {nodes:,} nodes instead of 10,000. Of so few only HyParView's "
    "reliability and healing are compared: all else hangs on how many there are."
)


@attrs.define
class _Measured:
    """What came of all networks, by overlay."""

    shapes: dict[tuple[str, str], list[float]] = attrs.field(factory=dict)
    known_by: list[float] = attrs.field(factory=list)
    reliable: dict[tuple[str, int], list[float]] = attrs.field(factory=dict)
    healed: dict[tuple[str, int], list[float]] = attrs.field(factory=dict)

    def add_shape(self, overlay: str, graph: Graph, hops: list[int], random: Random) -> None:
        """Table 1. The mean distances from single sources are the sample of the paths."""
        sources = random.sample(range(len(graph)), min(SOURCES, len(graph)))
        paths = [fmean(far for far in distances(graph, each) if far > 0) for each in sources]
        self.shapes.setdefault((overlay, "path"), []).extend(paths)
        clustered = clustering(graph, random, len(graph))
        self.shapes.setdefault((overlay, "clustering"), []).append(clustered)
        self.shapes.setdefault((overlay, "hops"), []).extend(map(float, hops))


def reproduce(effort: float, seed: int, progress: Progress) -> Reproduction:
    """Two networks of 10,000 nodes at full effort: some six minutes."""
    nodes = next(size for least, size in NODES.items() if effort >= least)
    networks = max(1, round(NETWORKS * effort))
    steps = networks * (2 + 2 * len(LEVELS) + 2 * len(HEALING_LEVELS))
    done = count(1)

    def step() -> None:
        progress(min(1.0, next(done) / steps))

    ours = _Measured()
    for number in range(networks):
        random, draw = Random(f"{seed} {number}"), np.random.default_rng([seed, number, 2007])
        _measure_hyparview(ours, nodes, random, step)
        _measure_cyclon(ours, nodes, random, draw, step)
    progress(1.0)
    return _report(ours, nodes)


def _measure_hyparview(
    ours: _Measured, nodes: int, random: Random, step: Callable[[], None]
) -> None:
    network = HyParView.grown(nodes, HyParViewSizes(), random)
    for _ in range(CYCLES):
        network.cycle()
    hops = [network.copy().broadcast(each).hops for each in random.sample(range(nodes), SOURCES)]
    ours.add_shape(HYPAR, undirected(network.active), hops, random)
    step()
    for dead in LEVELS:
        for name, noticed in ((HYPAR, True), (SILENT, False)):
            broken = network.copy()
            broken.crash(_victims(nodes, dead, random), noticed=noticed)
            some = random.choices(broken.living(), k=MESSAGES)
            shares = [broken.broadcast(each).reliability for each in some]
            ours.reliable.setdefault((name, dead), []).extend(shares)
        step()
    for dead in HEALING_LEVELS_HYPARVIEW:
        for name in (HYPAR, AGAIN):
            broken = attrs.evolve(network.copy(), rejoins=name == AGAIN)
            broken.crash(_victims(nodes, dead, random), noticed=True)

            def probe(sources: Sequence[int], of: HyParView = broken) -> list[Spread]:
                return [of.broadcast(each) for each in sources]

            cycles = healing(broken, probe, as_before=1.0, random=random)
            ours.healed.setdefault((name, dead), []).append(cycles)


def _measure_cyclon(
    ours: _Measured,
    nodes: int,
    random: Random,
    draw: np.random.Generator,
    step: Callable[[], None],
) -> None:
    network = Cyclon.grown(nodes, VIEW, EXCHANGE, random)
    for _ in range(CYCLES):
        network.cycle()
    whole = network.broadcasts(random.sample(range(nodes), SOURCES), FANOUT, draw)
    graph = undirected([list(view) for view in network.views])
    ours.add_shape(CYCLON, graph, [spread.hops for spread in whole], random)
    known_by = np.bincount([other for view in network.views for other in view], minlength=nodes)
    ours.known_by.append(float(known_by.std()))
    as_before = fmean(spread.reliability for spread in whole)
    step()
    for dead in LEVELS:
        for name, messages in ((CYCLON, MESSAGES_CYCLON), (ACKED, MESSAGES)):
            if name == ACKED and dead not in LEVELS_ACKED:
                continue
            broken = attrs.evolve(network.copy(), acknowledged=name == ACKED)
            broken.crash(_victims(nodes, dead, random))
            some = random.choices(broken.living(), k=messages)
            shares = [each.reliability for each in broken.broadcasts(some, FANOUT, draw)]
            ours.reliable.setdefault((name, dead), []).extend(shares)
        step()
    for dead in HEALING_LEVELS:
        for name in (CYCLON, ACKED):
            broken = attrs.evolve(network.copy(), acknowledged=name == ACKED)
            broken.crash(_victims(nodes, dead, random))

            def probe(sources: Sequence[int], of: Cyclon = broken) -> list[Spread]:
                return of.broadcasts(sources, FANOUT, draw)

            cycles = healing(broken, probe, as_before=as_before, random=random)
            ours.healed.setdefault((name, dead), []).append(cycles)
            step()


def _victims(nodes: int, percent: int, random: Random) -> list[int]:
    return random.sample(range(nodes), nodes * percent // 100)


def healing(
    network: Cyclon | HyParView,
    probe: Callable[[Sequence[int]], list[Spread]],
    *,
    as_before: float,
    random: Random,
) -> int:
    """Cycles until broadcasts reach as many as before; ``HEALING_MAX`` also where they never do."""
    living = network.living()
    for cycles in range(1, HEALING_MAX):
        network.cycle()
        if fmean(each.reliability for each in probe(random.choices(living, k=PROBES))) >= as_before:
            return cycles
    return HEALING_MAX


# ------------------------------------------------------------------------------------- the findings


def _report(ours: _Measured, nodes: int) -> Reproduction:
    reliable = {key: mean_of(values).scaled(100) for key, values in ours.reliable.items()}
    healed = {key: mean_of(values) for key, values in ours.healed.items()}
    shapes = {key: mean_of(values) for key, values in ours.shapes.items()}
    full = nodes == max(NODES.values())
    return Reproduction(
        scenario=HYPARVIEW,
        findings=[
            *_of_shapes(shapes, nodes, full=full),
            Finding(
                name=f"{CYCLON}: standard deviation of the in-degree",
                unit="nodes",
                published=Published(
                    value=3, provenance=Provenance.FIGURE, source="Leitao 2007, figure 5"
                ),
                ours=mean_of(ours.known_by),
                tolerance=1.5 if full else None,
            ),
            *_of_reliability(reliable, full=full),
            *_of_healing(healed, full=full),
        ],
        plots=(_plot_reliability(reliable), _plot_healing(healed)),
        notes=NOTES if full else (*NOTES, SMALLER.format(nodes=nodes)),
    )


def _of_shapes(
    shapes: Mapping[tuple[str, str], Estimate], nodes: int, *, full: bool
) -> list[Finding]:
    degrees = {CYCLON: VIEW, HYPAR: HyParViewSizes().active - 1}
    words = {
        "clustering": ("clustering", "of pairs", {CYCLON: 0.001, HYPAR: 0.0005}),
        "path": ("mean shortest path", "hops", {CYCLON: 0.05, HYPAR: 0.1}),
        "hops": ("hops to the last node of a broadcast", "hops", {CYCLON: 1.0, HYPAR: 1.0}),
    }
    found = []
    for (overlay, what), ours in shapes.items():
        name, unit, tolerances = words[what]
        path = what == "path"
        found.append(
            Finding(
                name=f"{overlay}: {name}",
                unit=unit,
                published=Published(
                    value=SHAPES[overlay][what],
                    provenance=Provenance.TEXT,
                    source="Leitao 2007, table 1",
                ),
                ours=ours,
                limit=log(nodes) / log(degrees[overlay]) if path else None,
                limit_name=f"ln N / ln {degrees[overlay]}" if path else "",
                tolerance=tolerances[overlay] if full else None,
                asserted=full and overlay == CYCLON and what != "hops",
            )
        )
    return found


def _of_reliability(reliable: Mapping[tuple[str, int], Estimate], *, full: bool) -> list[Finding]:
    found = []
    # Points; what a curve in a figure can be told to, more of it where it falls steeply.
    tolerances = {HYPAR: 1.0, SILENT: None, **dict.fromkeys((CYCLON, ACKED), 3.0 if full else None)}
    for (overlay, dead), ours in reliable.items():
        value = RELIABLE[HYPAR if overlay == SILENT else overlay].get(dead)
        if value is None or (overlay == SILENT and dead not in LEVELS_SILENT):
            continue
        limit = 100 * gossip_reliability(FANOUT, dead / 100) if overlay == CYCLON else None
        found.append(
            Finding(
                name=f"{overlay}: reached with {dead} % crashed",
                unit="% of the living",
                published=Published(
                    value=value, provenance=Provenance.FIGURE, source="Leitao 2007, figure 2"
                ),
                ours=ours,
                limit=limit,
                limit_name="" if limit is None else "gossip to 4",
                tolerance=tolerances[overlay],
                better="higher",
                asserted=overlay == HYPAR and dead <= ASSERTED_DEAD_MAX,
            )
        )
    return found


def _of_healing(healed: Mapping[tuple[str, int], Estimate], *, full: bool) -> list[Finding]:
    published = {**HEALED, AGAIN: HEALED[HYPAR]}
    return [
        Finding(
            name=f"{overlay}: cycles to heal with {dead} % crashed",
            unit="cycles",
            published=Published(
                value=published[overlay][dead],
                provenance=Provenance.FIGURE,
                source="Leitao 2007, figure 4",
            ),
            ours=ours,
            tolerance=_healing_tolerance(overlay, published[overlay][dead], full=full),
            better="lower",
            asserted=overlay == HYPAR and dead <= ASSERTED_DEAD_MAX,
        )
        for (overlay, dead), ours in healed.items()
    ]


def _healing_tolerance(overlay: str, cycles: float, *, full: bool) -> float | None:
    """In cycles. Who is helped from outside is nobody of the paper's."""
    if overlay == HYPAR:
        return 0.5
    return 0.2 * cycles if full and overlay != AGAIN else None


# ------------------------------------------------------------------------------------- the pictures


def _plot_reliability(reliable: Mapping[tuple[str, int], Estimate]) -> Plot:
    series = [
        measured(overlay, {dead: each for (o, dead), each in reliable.items() if o == overlay})
        for overlay in (HYPAR, ACKED, CYCLON, SILENT)
    ]
    percents = list(range(0, 96, 5))
    series.append(
        Series(
            name="gossip to 4, theory",
            look="limit",
            like=CYCLON,
            xs=percents,
            ys=[100 * gossip_reliability(FANOUT, percent / 100) for percent in percents],
        )
    )
    series += [
        Series(
            name=f"published: {overlay}", look="published", like=overlay,
            xs=list(points), ys=list(points.values()),
        )
        for overlay, points in RELIABLE.items()
    ]  # fmt: skip
    return Plot(
        name="reliability",
        title="Broadcasts right after a crash",
        x_label="nodes that crashed, %",
        y_label="living nodes that are reached, %",
        series=series,
    )


def _plot_healing(healed: Mapping[tuple[str, int], Estimate]) -> Plot:
    series = [
        measured(overlay, {dead: each for (o, dead), each in healed.items() if o == overlay})
        for overlay in (HYPAR, ACKED, CYCLON, AGAIN)
    ]
    series += [
        Series(
            name=f"published: {overlay}", look="published", like=overlay,
            xs=list(points), ys=list(points.values()),
        )
        for overlay, points in HEALED.items()
    ]  # fmt: skip
    return Plot(
        name="healing",
        title="Cycles until broadcasts reach as many as before",
        x_label="nodes that crashed, %",
        y_label="cycles",
        y_log=True,
        series=series,
    )
