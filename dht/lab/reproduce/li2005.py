"""Li et al. 2005, performance against cost: lookups of our engine under churn, and their price.

Half of 1,024 nodes are there at a time, each for an hour in the mean; everybody looks a random key
up every ten minutes. A few settings of our knobs give points of bytes, latency and failures.
"""

from collections.abc import Mapping, Sequence
from typing import final

import attrs
import numpy as np

from ...config import HOUR_S, Config
from ...sim.churn import Alternation
from ...sim.simulator import Simulator
from ..catalogue import LI, Progress
from ..estimates import Estimate, bootstrap, share_of
from ..findings import Finding, Provenance, Published, Reproduction
from ..live import Looked, Lookups, Meter, run_counted
from ..plots import Plot, Series

#: Present and absent together; all of them from a quarter of the effort on, and at least.
NODES = 1024
NODES_MIN = 80
SESSION_S = HOUR_S
#: A lookup of each node every so many seconds, and what counts as too late.
LOOKUP_EVERY_S, TOO_LATE_S = 600.0, 4.0
#: Seconds of virtual time: of the paper's six hours, the second half of which counts, as much as a
#: few minutes of ours can simulate. Both shrink with the effort, down to a share.
SETTLE_S, MEASURE_S = 900.0, 900.0
SHARE_MIN = 0.2
#: Until the last lookup has ended.
END_S = 30.0

#: The budget at which the paper compares, in its own bytes.
BUDGET = 40.0
#: Table IX: milliseconds at 40 bytes a second.
LATENCY: Mapping[str, float] = {"Kademlia": 247, "Chord": 186, "Kelips": 185, "Tapestry": 181}
#: Table VIII: the best share of failed lookups at the same price.
FAILED: Mapping[str, float] = {"Kademlia": 0.006, "Chord": 0.002, "Tapestry": 0.005}

SHIPPED = "as shipped"
CONFIGS: Mapping[str, Config] = {
    SHIPPED: Config(),
    "k 8": Config(k=8),
    "k 8, 3 owners": Config(k=8, replicas=3),
    "k 8, 3 owners, alpha 5, probes every 15 s": Config(
        k=8, replicas=3, alpha=5, probe_interval_s=15.0
    ),
}
#: The setting that stands for ours beside the paper's best Kademlia.
OURS = "k 8, 3 owners"

NOTES = (
    (
        "Bytes a second and node as the paper counts them: 20 for a message and 4 for each node id "
        "in it. Our real bytes (UDP payload, contacts of 38 bytes, no encryption) are more, and "
        "have rows of their own."
    ),
    (
        "Latency is the median time until the nearest living node has answered: there the paper's "
        "lookups end. Ours go on until all owners of a record have answered (its replicas). Both "
        "are iterative; Chord and Tapestry of the paper are recursive."
    ),
    (
        "Failed is what has not come to the nearest living node within 4 seconds. Which nodes were "
        "there is asked when a lookup begins and when it ends: either is right."
    ),
    (
        "Links are log-normal with the King data's median, 156 ms, and mean, 178 ms; the matrix "
        "itself is not to be had, so that near neighbours are as rare as chance has it."
    ),
    (
        "Where hardly any lookup fails, the interval says more than the verdict: none of two "
        "hundred may still be one in a hundred."
    ),
    "Our figures count the upkeep of nodes that joined minutes ago, the paper's of hours.",
)
SHORTER = (
    "{settle:.0f} s of virtual time go before {measure:.0f} s that count; the paper has three "
    "hours of each."
)
SMALLER = "At this effort there are {nodes} nodes instead of 1,024: ways are shorter, bytes fewer."


@final
@attrs.frozen(kw_only=True)
class Point:
    """What one setting came to."""

    name: str
    paper_bytes: Estimate
    real_bytes: Estimate
    latency_ms: Estimate
    failed: Estimate


def failed(looked: Looked) -> bool:
    """As the paper has it: wrong, or too late."""
    return not looked.right or looked.latency_s is None or looked.latency_s > TOO_LATE_S


def reproduce(effort: float, seed: int, progress: Progress) -> Reproduction:
    """Four settings of our knobs at full effort: some ten minutes."""
    nodes = max(NODES_MIN, round(NODES * min(1, 4 * effort)))
    share = max(SHARE_MIN, effort)
    generator = np.random.default_rng([seed, 2005])
    points: list[Point] = []

    def told(part: float) -> None:
        progress((len(points) + part) / len(CONFIGS))

    for name, config in CONFIGS.items():
        simulator = Simulator(seed, config=config)
        simulator.grow(nodes // 2)
        Alternation(simulator, mean_s=SESSION_S, absent=nodes - nodes // 2)
        run_counted(simulator, SETTLE_S * share, lambda part: told(0.5 * part))
        meter, lookups = Meter(simulator), Lookups(simulator, 1 / LOOKUP_EVERY_S)
        run_counted(simulator, MEASURE_S * share, lambda part: told(0.5 + 0.4 * part))
        meter.stop()
        lookups.stop()
        simulator.run_for(END_S)
        points.append(point_of(name, meter, [each for (each,) in lookups.ended()], generator))
        told(0)
    notes = [*NOTES, SHORTER.format(settle=SETTLE_S * share, measure=MEASURE_S * share)]
    if nodes < NODES:
        notes.append(SMALLER.format(nodes=nodes))
    return Reproduction(
        scenario=LI,
        findings=_findings(points),
        plots=(_plot_latency(points), _plot_failures(points)),
        notes=notes,
    )


def point_of(
    name: str, meter: Meter, lookups: Sequence[Looked], generator: np.random.Generator
) -> Point:
    """The median over those that did not fail, as in the paper."""
    good = [each.latency_s for each in lookups if each.latency_s is not None and not failed(each)]
    return Point(
        name=name,
        paper_bytes=meter.paper_bytes_per_node_s(),
        real_bytes=meter.bytes_per_node_s(),
        latency_ms=bootstrap(good, lambda some: float(np.median(some)), generator).scaled(1000),
        failed=share_of(sum(map(failed, lookups)), len(lookups)),
    )


def hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The lower left of the convex hull: what no mixture of others does better at the same price.

    From the cheapest point to the lowest one; x is the price, and low is good.
    """
    lower: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if lower and y >= lower[-1][1]:
            continue
        while len(lower) > 1 and _is_above(lower[-1], lower[-2], (x, y)):
            lower.pop()
        lower.append((x, y))
    return lower


def _is_above(
    middle: tuple[float, float], left: tuple[float, float], right: tuple[float, float]
) -> bool:
    slope = (right[1] - left[1]) / (right[0] - left[0])
    return middle[1] >= left[1] + slope * (middle[0] - left[0])


# ------------------------------------------------------------------------------------- the findings


def _findings(points: Sequence[Point]) -> list[Finding]:
    return [finding for point in points for finding in _of_point(point)]


def _of_point(point: Point) -> list[Finding]:
    """Judged only where it costs no more than what the paper compares at."""
    ours, affordable = point.name == OURS, point.paper_bytes.mean <= BUDGET
    latency, failures, budget = (
        Published(value=value, provenance=Provenance.TEXT, source=source, words=words)
        for value, source, words in (
            (LATENCY["Kademlia"], "Li 2005, table IX", "Kademlia: 247 at 40 bytes/s"),
            (FAILED["Kademlia"], "Li 2005, table VIII", "Kademlia: 0.006 at 40 bytes/s"),
            (BUDGET, "Li 2005, tables VIII and IX", "compared at 40"),
        )
    )
    return [
        Finding(
            name=f"{point.name}: bytes as the paper counts",
            unit="bytes a second and node",
            published=budget,
            ours=point.paper_bytes,
            tolerance=0,
            better="lower",
            asserted=ours,
        ),
        Finding(
            name=f"{point.name}: bytes that are sent",
            unit="bytes a second and node",
            published=None,
            ours=point.real_bytes,
        ),
        Finding(
            name=f"{point.name}: median latency",
            unit="ms",
            published=latency,
            ours=point.latency_ms,
            limit=LATENCY["Chord"],
            limit_name="Chord there",
            # Within a fifth is the same; what is better than that by any means is better.
            tolerance=0.2 * LATENCY["Kademlia"] if affordable else None,
            better="lower",
            asserted=ours and affordable,
        ),
        Finding(
            name=f"{point.name}: failed lookups",
            unit="of all",
            published=failures,
            ours=point.failed,
            limit=FAILED["Tapestry"],
            limit_name="Tapestry there",
            tolerance=0.2 * FAILED["Kademlia"] if affordable else None,
            better="lower",
            asserted=ours and affordable,
        ),
    ]


# ------------------------------------------------------------------------------------- the pictures


def _plot_latency(points: Sequence[Point]) -> Plot:
    known = [(point.paper_bytes.mean, point.latency_ms.mean) for point in points]
    published = Series(
        name=f"published at 40: {', '.join(LATENCY)}",
        look="published",
        xs=[BUDGET] * len(LATENCY),
        ys=list(LATENCY.values()),
    )
    top = 1.2 * max(*LATENCY.values(), *(each for _, each in known))
    return Plot(
        name="latency",
        title="What lookups cost, and how long they take",
        x_label="bytes a second and node, as the paper counts them",
        y_label="median latency, ms",
        series=[*_series(points, known), published],
        y_range=(0, top),
    )


def _plot_failures(points: Sequence[Point]) -> Plot:
    known = [(point.paper_bytes.mean, 100 * point.failed.mean) for point in points]
    published = Series(
        name=f"published at 40: {', '.join(FAILED)}",
        look="published",
        xs=[BUDGET] * len(FAILED),
        ys=[100 * each for each in FAILED.values()],
    )
    return Plot(
        name="failures",
        title="What lookups cost, and how many fail",
        x_label="bytes a second and node, as the paper counts them",
        y_label="failed lookups, %",
        series=[*_series(points, known), published],
    )


def _series(points: Sequence[Point], known: Sequence[tuple[float, float]]) -> list[Series]:
    lower = hull(known)
    return [
        *(
            Series(name=f"ours, {point.name}", xs=[x], ys=[y])
            for point, (x, y) in zip(points, known, strict=True)
        ),
        Series(
            name="hull of ours", look="limit", xs=[x for x, _ in lower], ys=[y for _, y in lower]
        ),
    ]
