"""Stoica et al. 2001, Chord: the load of a ring, the length of its paths, and its failures.

Figures 8 and 9 (keys a node, with one point and with twenty), 10 (path length), and 11 (failed
lookups after a share of the nodes has died and the ring has healed, while their keys are lost).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from ..catalogue import CHORD, Progress
from ..closed_forms import arc_quantile, hops_halving
from ..estimates import Estimate, bootstrap, mean_of, percentile, share_of
from ..findings import Finding, Provenance, Published, Reproduction
from ..geometries import Geometry, build, random_deaths, route
from ..hashing import Ring, random_keys
from ..nearest import Ids, Nodes, random_ids
from ..plots import Plot, Series
from .gummadi2003 import measured

#: Networks at full effort, and at least: their size and keys are what is measured, and stay.
SEEDS = 10
SEEDS_MIN = 2
NODES = 10_000
KEYS = 1_000_000
#: For the largest load, of which the paper tells one number at this many keys.
KEYS_MAX = 500_000
VIRTUAL = 20
BITS = 40
#: Sizes of rings, as powers of two.
SIZES = (6, 8, 10, 12, 14)
LOOKUPS = 2000
#: Of which few fail: so many leave a standard error of 0.4 percentage points at most.
FAILURE_LOOKUPS = 10_000
DEAD = (5, 10, 20)
#: Failed lookups in percent, read off figure 11.
FAILED: Mapping[int, float] = {5: 4.7, 10: 9.5, 20: 20}
#: To the predecessor. Of the smaller rings the paper tells only that they follow half of log2 N.
PATHS: Mapping[int, Published] = {
    **{
        1 << size: Published(
            value=value,
            provenance=Provenance.RESIMULATED,
            source="an independent program, its last hop not counted",
        )
        for size, value in ((6, 2.89), (8, 3.83), (10, 4.84), (12, 5.85))
    },
    1 << 14: Published(value=6.85, provenance=Provenance.FIGURE, source="Stoica 2001, figure 10a"),
}

NOTES = (
    "Hops are counted to the predecessor of the key, as the paper does: its owner is one more.",
    (
        "Figure 11: whoever lives has healed the ring before the lookups; a lookup fails as its "
        "key was on a dead node. So theory says: as many fail as nodes died."
    ),
    (
        "Figure 12 (failures while nodes come and go) is not made again here: it hangs on timers,"
        " and belongs to simulations of messages."
    ),
)


def reproduce(effort: float, seed: int, progress: Progress) -> Reproduction:
    """Three figures: a quarter of a minute at full effort."""
    generator = np.random.default_rng([seed, 2001])
    loads: dict[str, list[float]] = {}
    hops: dict[int, list[float]] = {size: [] for size in SIZES}
    spread: dict[int, list[npt.NDArray[np.int32]]] = {size: [] for size in SIZES}
    failed: dict[int, list[float]] = {dead: [] for dead in DEAD}
    seeds = max(SEEDS_MIN, round(SEEDS * effort))
    for number in range(seeds):
        draw = np.random.default_rng([seed, number])
        for name, value in measure_loads(draw).items():
            loads.setdefault(name, []).append(value)
        for size in SIZES:
            counted = measure_hops(1 << size, LOOKUPS, draw)
            hops[size].append(float(counted.mean()))
            spread[size].append(counted)
        for dead in DEAD:
            failed[dead].append(measure_failures(dead, FAILURE_LOOKUPS, draw))
        progress((number + 1) / seeds)

    path = {1 << size: mean_of(values) for size, values in hops.items()}
    failing = {dead: mean_of(values).scaled(100) for dead, values in failed.items()}
    findings = [
        *_of_loads({name: mean_of(values) for name, values in loads.items()}),
        *_of_paths(
            path, {size: np.concatenate(parts) for size, parts in spread.items()}, generator
        ),
        *(each for dead, ours in failing.items() for each in _of_failures(dead, ours)),
    ]
    return Reproduction(
        scenario=CHORD,
        findings=findings,
        plots=(_plot_load(seed), _plot_path(path), _plot_failures(failing)),
        notes=NOTES,
    )


def measure_loads(generator: np.random.Generator) -> dict[str, float]:
    """Loads of one ring with one point a node and of one with twenty, in means."""
    keys = random_keys(KEYS, generator)
    few = keys[:KEYS_MAX]
    single, virtual = (Ring.random(NODES, points, generator) for points in (1, VIRTUAL))
    loads, some, even = (
        np.bincount(ring.owner(some), minlength=NODES) / (len(some) / NODES)
        for ring, some in ((single, keys), (single, few), (virtual, keys))
    )
    return {
        "p1": percentile(loads, 1),
        "p99": percentile(loads, 99),
        "max": float(some.max()),
        "virtual p1": percentile(even, 1),
        "virtual p99": percentile(even, 99),
    }


def measure_hops(nodes: int, lookups: int, generator: np.random.Generator) -> npt.NDArray[np.int32]:
    """Hops from random nodes to the predecessors of random keys."""
    ids = random_ids(nodes, BITS, generator)
    return _looked_up(ids, lookups, generator)[1]


def _looked_up(
    ids: Ids, lookups: int, generator: np.random.Generator
) -> tuple[Ids, npt.NDArray[np.int32]]:
    """The keys and the hops; every lookup of a whole ring arrives."""
    ring = build(Geometry.RING, ids, BITS, generator, sequential=1, choice="first")
    keys = generator.integers(1 << BITS, size=lookups, dtype=np.uint64)
    sources = generator.integers(len(ids), size=lookups).astype(np.int32)
    routes = route(ring, sources, _predecessors(ids, keys))
    assert routes.arrived.all()
    return keys, routes.hops


def _predecessors(ids: Ids, keys: Ids) -> Nodes:
    return ((np.searchsorted(ids, keys) - 1) % len(ids)).astype(np.int32)


def measure_failures(dead: int, lookups: int, generator: np.random.Generator) -> float:
    """The share of lookups in a healed ring that come to a node which never had the key."""
    ids = random_ids(NODES, BITS, generator)
    living = ids[random_deaths(NODES, dead / 100, generator)]
    keys, _ = _looked_up(living, lookups, generator)
    had, has = (some[np.searchsorted(some, keys) % len(some)] for some in (ids, living))
    return float((had != has).mean())


# ------------------------------------------------------------------------------------- the findings


def _of_loads(ours: Mapping[str, Estimate]) -> list[Finding]:
    largest = float(np.log(NODES) + np.euler_gamma)
    rows: list[tuple[str, str, float, float, float | None, str, bool]] = [
        ("99th percentile of keys a node", "p99", 4.8, 0.4, arc_quantile(0.99), "-ln 0.01", True),
        ("1st percentile of keys a node", "p1", 0.0, 0.05, arc_quantile(0.01), "-ln 0.99", False),
        # One draw of an extreme value, whose standard deviation is pi / sqrt(6).
        ("most keys on a node", "max", 9.1, 1.3, largest, "ln n + 0.58", False),
        ("20 virtual nodes: 1st percentile", "virtual p1", 0.5, 0.1, None, "", False),
        ("20 virtual nodes: 99th percentile", "virtual p99", 1.6, 0.1, None, "", True),
    ]
    return [
        Finding(
            name=name,
            unit="means",
            published=Published(
                value=value,
                provenance=Provenance.TEXT,
                source="Stoica 2001, figures 8 and 9",
            ),
            ours=ours[key],
            limit=limit,
            limit_name=limit_name,
            tolerance=tolerance,
            asserted=asserted,
        )
        for name, key, value, tolerance, limit, limit_name, asserted in rows
    ]


def _of_paths(
    path: Mapping[int, Estimate],
    spread: Mapping[int, npt.NDArray[Any]],
    generator: np.random.Generator,
) -> list[Finding]:
    found = [
        Finding(
            name=f"mean path, {nodes:,} nodes",
            unit="hops",
            published=PATHS[nodes],
            ours=ours,
            limit=hops_halving(nodes),
            limit_name="half of log2 N",
            tolerance=0.15,
            asserted=True,
        )
        for nodes, ours in path.items()
    ]
    large, middle = spread[14], spread[12]
    for percent, words, value in ((1, "1st", 3), (99, "99th", 11)):
        found.append(
            Finding(
                name=f"{words} percentile of paths, {1 << 14:,} nodes",
                unit="hops",
                published=Published(
                    value=value, provenance=Provenance.FIGURE, source="Stoica 2001, figure 10a"
                ),
                ours=bootstrap(large, partial(percentile, percent=percent), generator),
                tolerance=0.5,
            )
        )
    found.append(
        Finding(
            name=f"share of paths of 6 hops, {1 << 12:,} nodes",
            unit="of all",
            published=Published(
                value=0.225, provenance=Provenance.FIGURE, source="Stoica 2001, figure 10b"
            ),
            ours=share_of(int((middle == 6).sum()), len(middle)),  # noqa: PLR2004 - the peak
            tolerance=0.02,
        )
    )
    return found


def _of_failures(dead: int, ours: Estimate) -> list[Finding]:
    """Beside the figure, and beside what the paper says of it: as many fail as nodes died."""
    figure = Published(
        value=FAILED[dead], provenance=Provenance.FIGURE, source="Stoica 2001, figure 11"
    )
    law = Published(
        value=dead,
        provenance=Provenance.TEXT,
        source="Stoica 2001, text to figure 11",
        words=f"p: {dead}",
    )
    name = f"failed lookups, {dead} % of the nodes dead"
    finding = Finding(name=name, unit="%", published=figure, ours=ours, tolerance=1)
    return [
        attrs.evolve(finding, limit=dead, limit_name="lost keys"),
        attrs.evolve(finding, published=law, asserted=True),
    ]


# ------------------------------------------------------------------------------------- the pictures


def _plot_load(seed: int) -> Plot:
    """All loads in order, of one ring each: what share of the nodes carries at most that much."""
    generator = np.random.default_rng([seed, 8])
    percents = np.array([1, *range(5, 90, 5), *range(90, 100)])
    series = []
    for points, name in ((1, "one point a node"), (VIRTUAL, "twenty points a node")):
        shares = Ring.random(NODES, points, generator).shares() * NODES
        loads = np.percentile(shares, percents)
        series.append(Series(name=name, xs=percents.tolist(), ys=loads.tolist()))
    forms = [arc_quantile(percent / 100) for percent in percents]
    series.append(
        Series(
            name="exponential", look="limit", like=series[0].name, xs=percents.tolist(), ys=forms
        )
    )
    series.append(Series(name="published", look="published", xs=[99, 99, 1], ys=[4.8, 1.6, 0.5]))
    return Plot(
        name="load",
        title="Load of 10,000 nodes on a ring",
        x_label="percentile of nodes",
        y_label="share of the key space, in means",
        series=series,
    )


def _plot_path(path: Mapping[int, Estimate]) -> Plot:
    return Plot(
        name="path",
        title="Hops to the predecessor of a key",
        x_label="nodes",
        y_label="mean hops",
        x_log=True,
        series=[
            measured("ours", path),
            Series(
                name="published: half of log2 N",
                look="limit",
                xs=list(path),
                ys=[hops_halving(nodes) for nodes in path],
            ),
        ],
    )


def _plot_failures(failing: Mapping[int, Estimate]) -> Plot:
    return Plot(
        name="failures",
        title="Failed lookups in a healed ring, by lost keys",
        x_label="nodes that died, %",
        y_label="failed lookups, %",
        series=[
            measured("ours", failing),
            Series(name="published", look="published", xs=list(FAILED), ys=list(FAILED.values())),
            Series(name="as many as nodes", look="limit", xs=[0, 20], ys=[0, 20]),
        ],
    )
