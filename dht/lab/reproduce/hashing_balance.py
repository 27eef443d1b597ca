"""Consistent hashing: how evenly six ways spread keys, and which keys they move without need.

The spread of a ring by its points a bucket and that of jump hash (Lamping & Veach 2014, figures 2
and 3), the over-provision of Maglev's table (Eisenbud et al. 2016), and, for all,
the keys that move when one bucket goes: 1/n must, no others need to.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..catalogue import HASHING, Progress
from ..closed_forms import spread_of_points
from ..estimates import Estimate, mean_of
from ..findings import Finding, Provenance, Published, Reproduction
from ..hashing import (
    KEY_BITS,
    Buckets,
    Ring,
    bounded,
    jump,
    maglev,
    moved,
    peak,
    random_keys,
    rendezvous,
    spread,
)
from ..nearest import Ids, nearest, random_ids
from ..plots import Plot, Series
from .gummadi2003 import measured

#: Draws at full effort, and at least: buckets and keys are what is measured, and stay.
SEEDS = 10
SEEDS_MIN = 2
#: Points a bucket, and the spread that the paper prints.
POINTS: Mapping[int, float] = {1: 0.998, 10: 0.315, 100: 0.0997, 1000: 0.0316}
#: Points of a whole ring: as many buckets as that allows, but no more than ten thousand.
POINTS_MAX = 1_000_000
BUCKETS_MAX = 10_000
KEYS = 1_000_000
#: For the keys that move.
BUCKETS = 1000
MOVED_KEYS = 200_000
#: Jump hash loses one bucket of a thousand: so many keys leave 1.6 % of noise over ten seeds.
JUMP_KEYS = 400_000
REPLICAS = 20
EPSILON = 0.25
#: Sizes of Maglev's table, primes, and the over-provision in percent that each way needs.
TABLES: Mapping[int, Mapping[str, float]] = {
    65_537: {"ring": 29.7, "rendezvous": 49.5, "maglev": 0},
    655_373: {"ring": 10.3, "rendezvous": 12.3, "maglev": 0},
}
SMALL, LARGE = TABLES
#: In how many of the seeds the large table is made: rendezvous hashes each cell with each bucket.
LARGE_SEEDS = 5
JUMP = "Lamping & Veach 2014, figure 2"
MAGLEV = "Eisenbud 2016, evaluation"

NOTES = (
    (
        "The spread of a ring is that of the arcs, without the noise of keys. That of jump hash "
        "is measured with keys, whose own noise is all that is seen: the paper's 7.6e-9 is of all"
        " 2**64."
    ),
    (
        "Over-provision is the fullest bucket of a table, less the mean. How the paper makes one "
        "number of its 200 trials it does not tell, nor how many points its ring has."
    ),
    "Jump hash can lose its last bucket only; the others lose any.",
    "Moved without need: keys that change their owner although it stays.",
    (
        "XOR is what this package does. The shares of its nodes are a little more even than those "
        "of a ring with one point a bucket; a record lies on its 20 (8, unless set) nearest nodes, "
        "and what these hold together is even."
    ),
)


def reproduce(effort: float, seed: int, progress: Progress) -> Reproduction:
    """All of it: two minutes at full effort."""
    spreads: dict[int, list[float]] = {points: [] for points in POINTS}
    loads: dict[str, list[float]] = {}
    moves: dict[str, list[tuple[float, float]]] = {}
    needs: dict[tuple[int, str], list[float]] = {}
    seeds = max(SEEDS_MIN, round(SEEDS * effort))
    for number in range(seeds):
        draw = np.random.default_rng([seed, number])
        for points in POINTS:
            buckets = min(BUCKETS_MAX, POINTS_MAX // points)
            spreads[points].append(spread(Ring.random(buckets, points, draw).shares()))
        for name, value in measure_loads(draw).items():
            loads.setdefault(name, []).append(value)
        for name, pair in measure_moves(draw).items():
            moves.setdefault(name, []).append(pair)
        for size in (SMALL, LARGE) if number < int(LARGE_SEEDS * effort) else (SMALL,):
            for name, value in over_provision(size, draw).items():
                needs.setdefault((size, name), []).append(value)
        progress((number + 1) / seeds)

    def estimated(values: Sequence[float]) -> Estimate:
        return mean_of(values)

    of_points = {points: estimated(values) for points, values in spreads.items()}
    findings = [
        *(_spread(points, ours) for points, ours in of_points.items()),
        *_of_loads({name: estimated(values) for name, values in loads.items()}),
        *(
            finding
            for name, pairs in moves.items()
            for finding in _of_moves(
                name,
                estimated([own * BUCKETS for own, _ in pairs]),
                estimated([100 * needless for _, needless in pairs]),
            )
        ),
        *(_need(size, name, estimated(values)) for (size, name), values in needs.items()),
    ]
    return Reproduction(
        scenario=HASHING, findings=findings, plots=(_plot_spread(of_points),), notes=NOTES
    )


# --------------------------------------------------------------------------------- what is measured


def measure_loads(generator: np.random.Generator) -> dict[str, float]:
    """The spread of keys over buckets, and how full the fullest is."""
    keys = random_keys(KEYS, generator)
    few = keys[:MOVED_KEYS]
    ids = random_ids(BUCKETS, KEY_BITS, generator)
    replicas = nearest(ids, few, REPLICAS)
    ring = Ring.random(BUCKETS, 1, generator)
    cap = -(-int(len(few) * (1 + EPSILON)) // BUCKETS)

    def load(owners: Buckets) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
        return np.bincount(owners.reshape(-1), minlength=BUCKETS)

    return {
        "jump": spread(load(jump(keys, BUCKETS))),
        "XOR": spread(load(replicas[:, 0])),
        "XOR, 20 nearest": spread(load(replicas)),
        "bounded": peak(load(bounded(ring, few, cap))),
    }


def measure_moves(generator: np.random.Generator) -> dict[str, tuple[float, float]]:
    """The keys that must move when one bucket goes, and those that move besides."""
    keys = random_keys(MOVED_KEYS, generator)
    gone = int(generator.integers(BUCKETS))
    ring = Ring.random(BUCKETS, 100, generator)
    names = random_keys(BUCKETS, generator)
    ids = random_ids(BUCKETS, KEY_BITS, generator)
    few = keys[: len(keys) // 10]
    cap = -(-int(len(few) * (1 + EPSILON)) // BUCKETS)
    cells, many = np.arange(SMALL), random_keys(JUMP_KEYS, generator)
    single = Ring.random(BUCKETS, 1, generator)
    ways: dict[str, tuple[Buckets, Buckets, int]] = {
        "ring of 100 points": (ring.owner(keys), ring.without(gone).owner(keys), gone),
        "rendezvous": (rendezvous(few, names), _without(gone, few, names, rendezvous), gone),
        "jump, the last": (jump(many, BUCKETS), jump(many, BUCKETS - 1), BUCKETS - 1),
        "XOR": (_owner(few, ids), _without(gone, few, ids, _owner), gone),
        f"maglev, {SMALL:,} cells": (
            maglev(names, SMALL)[cells],
            _without(gone, cells.astype(np.uint64), names, lambda _, left: maglev(left, SMALL)),
            gone,
        ),
        "ring with bounded loads": (
            bounded(single, few, cap),
            bounded(single.without(gone), few, cap),
            gone,
        ),
    }
    return {name: moved(before, after, which) for name, (before, after, which) in ways.items()}


def _owner(keys: Ids, ids: Ids) -> Buckets:
    return nearest(ids, keys, 1)[:, 0]


def _without(gone: int, keys: Ids, names: Ids, owner: Callable[[Ids, Ids], Buckets]) -> Buckets:
    """The owners when one name has gone, by their places among all names."""
    left = np.delete(np.arange(len(names), dtype=np.int32), gone)
    return left[owner(keys, names[left])]


def over_provision(size: int, generator: np.random.Generator) -> dict[str, float]:
    """By how much the fullest bucket of a table exceeds the mean, in percent."""
    names = random_keys(BUCKETS, generator)
    cells = random_keys(size, generator)
    tables = {
        "ring": Ring.random(BUCKETS, 100, generator).owner(cells),
        "rendezvous": rendezvous(cells, names),
        "maglev": maglev(names, size),
    }
    return {
        name: 100 * (peak(np.bincount(table, minlength=BUCKETS)) - 1)
        for name, table in tables.items()
    }


# ------------------------------------------------------------------------------------- the findings


def _spread(points: int, ours: Estimate) -> Finding:
    law = spread_of_points(points)
    return Finding(
        name=f"ring of {points:,} point{'s' if points > 1 else ''}: spread",
        unit="means",
        published=Published(value=POINTS[points], provenance=Provenance.TEXT, source=JUMP),
        ours=ours,
        limit=law,
        limit_name="1 / sqrt(points)",
        tolerance=0.05 * law,
        asserted=True,
    )


def _of_loads(ours: Mapping[str, Estimate]) -> list[Finding]:
    return [
        Finding(
            name="jump: spread",
            unit="means",
            published=Published(value=7.6e-9, provenance=Provenance.TEXT, source=JUMP),
            ours=ours["jump"],
            limit=(BUCKETS / KEYS) ** 0.5,
            limit_name="noise of the keys",
        ),
        Finding(
            name="XOR: spread of the nearest node's share",
            unit="means",
            published=None,
            ours=ours["XOR"],
            limit=1,
            limit_name="ring of 1 point",
        ),
        Finding(
            name=f"XOR: spread over the {REPLICAS} nearest nodes",
            unit="means",
            published=None,
            ours=ours["XOR, 20 nearest"],
            limit=spread_of_points(REPLICAS),
            limit_name="1 / sqrt(replicas)",
        ),
        Finding(
            name="ring with bounded loads: fullest bucket",
            unit="means",
            published=Published(
                value=1 + EPSILON, provenance=Provenance.MEMORY, source="Mirrokni 2016"
            ),
            ours=ours["bounded"],
            limit=1 + EPSILON,
            limit_name="1 + ε",
        ),
    ]


#: Whose keys move without need by no more than that: their papers say none.
_NONE_NEEDLESS = {
    "ring of 100 points": ("Karger 1997", Provenance.TEXT),
    "rendezvous": ("Thaler & Ravishankar 1998: follows from its rule", Provenance.FORMULA),
    "jump, the last": (JUMP, Provenance.TEXT),
}


def _of_moves(name: str, own: Estimate, needless: Estimate) -> list[Finding]:
    known = _NONE_NEEDLESS.get(name)
    none, its_own = (
        None if known is None else Published(value=value, source=known[0], provenance=known[1])
        for value in (0, 1)
    )
    steady = name == "jump, the last"
    found = [
        Finding(
            name=f"{name}: keys of the bucket that goes, times n",
            unit="of all",
            published=its_own,
            ours=own,
            limit=1,
            limit_name="1 / n of all",
            # Of the others one bucket's share is a matter of luck, and ten of them no average.
            tolerance=0.05 if steady else 0.2,
            asserted=steady,
        )
    ]
    found.append(
        Finding(
            name=f"{name}: keys moved without need",
            unit="%",
            published=none,
            ours=needless,
            limit=0,
            limit_name="none",
            tolerance=0,
            asserted=none is not None,
        )
    )
    return found


def _need(size: int, name: str, ours: Estimate) -> Finding:
    # The ring of the paper has another number of points; the law of a ring is compared above.
    return Finding(
        name=f"table of {size:,} cells, {name}: over-provision",
        unit="%",
        published=Published(value=TABLES[size][name], provenance=Provenance.TEXT, source=MAGLEV),
        ours=ours,
        tolerance=None if name == "ring" else 2,
        asserted=name == "maglev",
    )


def _plot_spread(of_points: Mapping[int, Estimate]) -> Plot:
    return Plot(
        name="spread",
        title="Spread of a ring by its points a bucket",
        x_label="points a bucket",
        y_label="standard deviation of a share, in means",
        x_log=True,
        y_log=True,
        series=[
            measured("ours", of_points),
            Series(name="published", look="published", xs=list(POINTS), ys=list(POINTS.values())),
            Series(
                name="1 / sqrt(points)",
                look="limit",
                xs=list(POINTS),
                ys=[spread_of_points(points) for points in POINTS],
            ),
        ],
    )
