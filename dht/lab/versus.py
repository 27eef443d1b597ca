"""Structured against unstructured, in one picture: by size, by popularity, by churn; and how evenly
four ways of consistent hashing spread keys.

All overlays of the engine do the same work: the same records in the same number of copies, read in
the same order at the same times. The static models have no copies and no times: they route as many
reads, drawn by the same law of popularity.
"""

from collections.abc import Sequence
from typing import final

import attrs
import numpy as np

from .closed_forms import spread_of_points
from .estimates import Estimate, gini, mean_of, percentile
from .hashing import (
    KEY_BITS,
    Buckets,
    Ring,
    jump,
    moved,
    peak,
    random_keys,
    rendezvous,
    spread,
)
from .limits import probes_of_random
from .nearest import Ids, nearest, random_ids
from .plots import Plot, Series
from .scenario import Overlay, Scenario, changed, toml_of
from .summary import (
    Line,
    lines_of,
    load_table,
    main_table,
    notes_of,
    plots_by_rank,
    plots_over,
    rank_table,
    unfinished,
)
from .sweep import Axis, Piece, Point, Results, grid, pieces_of
from .tables import Report, Table

ENGINE = ("kademlia", "flood", "walk", "index")
STATIC = ("tree", "ring", "xor", "hypercube")
#: Powers of two, so that the hypercube can be among them.
SIZES = ("64", "256", "512")
#: Minutes. Networks that were measured have medians from 40 to 120; 5 is for the stress.
SESSIONS = ("5", "20", "60")
#: Buckets and keys of the comparison of hashing, and the points of a ring a bucket.
BUCKETS, KEYS = 100, 100_000
RING_POINTS = (1, 10, 100)
#: Drawn anew so often: enough for an interval of Student's.
HASHING_SEEDS = 10


@final
@attrs.frozen(kw_only=True)
class Comparison:
    """What is run: the points of the three parts, which share those that are alike."""

    base: Scenario
    sizes: Axis
    sessions: Axis
    by_size: Sequence[Point]
    by_churn: Sequence[Point]
    by_rank: Sequence[Point]

    @classmethod
    def of(
        cls, *, sizes: Sequence[str], sessions: Sequence[str], seed: int, seeds: int, reads: int
    ) -> "Comparison":
        """The scenarios of such sizes and sessions. Churn is looked at in the smallest
        network, popularity in the middle one. Raises ``LocalError``."""
        settings = {"name": "comparison", "seed": seed, "seeds": seeds, "reads": reads}
        base = changed(Scenario(), {name: str(value) for name, value in settings.items()})
        of_sizes = Axis.parse(f"nodes={','.join(sizes)}")
        of_sessions = Axis.parse(f"session_min={','.join(sessions)}")
        small, *_ = ordered = sorted(
            (point.scenario for point in grid(base, [of_sizes])), key=_nodes
        )
        # Where the most popular record is not simply everywhere.
        middle = ordered[len(ordered) // 2]
        cubes = all(int(size) & (int(size) - 1) == 0 for size in of_sizes.values)
        engine, static = Axis("overlay", ENGINE), Axis("overlay", STATIC if cubes else STATIC[:-1])
        return cls(
            base=base,
            sizes=of_sizes,
            sessions=of_sessions,
            # The static ones last: what they cannot say leaves the colours of the others alone.
            by_size=[*grid(base, [engine, of_sizes]), *grid(base, [static, of_sizes])],
            by_churn=grid(small, [engine, of_sessions]),
            by_rank=grid(
                changed(middle, {"copies_by": "square_root", "records": "256", "zipf": "1"}),
                [engine],
            ),
        )

    @property
    def points(self) -> list[Point]:
        """All of them."""
        return [*self.by_size, *self.by_churn, *self.by_rank]

    def pieces(self) -> list[Piece]:
        """Every run, each once."""
        return pieces_of(self.points)


def compared(comparison: Comparison, results: Results) -> Report:
    """The report. A function of the measurements and of the base's seed, by which the keys of the
    hashing are drawn."""
    by_size, by_churn, by_rank = (
        [line for line in lines_of(points, results) if line.runs]
        for points in (comparison.by_size, comparison.by_churn, comparison.by_rank)
    )
    overlay = Axis("overlay", (*ENGINE, *STATIC))
    over_size, over_churn = [overlay, comparison.sizes], [overlay, comparison.sessions]
    lines = [*by_size, *by_churn, *by_rank]
    return Report(
        title="Structured against unstructured overlays",
        tables=[
            _named(main_table(over_size, by_size), "by-size", "By the number of nodes"),
            _named(main_table(over_churn, by_churn), "by-churn", "By the median session, minutes"),
            _named(rank_table([overlay], by_rank), "by-popularity", _POPULARITY),
            load_table(over_size, by_size),
            hashing_table(comparison.base.seed),
        ],
        plots=[
            *plots_over(comparison.sizes, by_size),
            *(_under(plot, by_rank) for plot in plots_by_rank(by_rank)),
            *plots_over(comparison.sessions, by_churn),
        ],
        notes=[
            *notes_of(lines),
            "Dashed lines are limits and formulas, in the colour of the overlay that they are of.",
            *unfinished(comparison.points, results),
        ],
        scenario=toml_of(comparison.base),
    )


def _nodes(scenario: Scenario) -> int:
    return scenario.nodes


_POPULARITY = (
    "By the rank of the record, where popular records have more copies: by the square root of "
    "their share of the reads, 8 in the mean"
)


def _named(table: Table, name: str, title: str) -> Table:
    return attrs.evolve(table, name=name, title=title)


def _under(plot: Plot, lines: Sequence[Line]) -> Plot:
    """With what a random search costs at the copies that each class has."""
    walks = [line for line in lines if line.point.scenario.kind is Overlay.WALK]
    if plot.name != "messages-by-rank" or not walks:
        return plot
    nodes = walks[0].point.scenario.nodes
    ranks = walks[0].runs[0].ranks
    limit = Series(
        name="random probing, (N+1) / (r+1)",
        look="limit",
        like="walk",
        xs=[(each.first * each.last) ** 0.5 for each in ranks],
        ys=[probes_of_random(nodes, each.copies + 1) for each in ranks],
    )
    return attrs.evolve(plot, series=[*plot.series, limit])


# ------------------------------------------------------------------------------------------ hashing


@final
@attrs.frozen(kw_only=True)
class _Spread:
    """What one way made of one draw of keys."""

    spread: float
    peak: float
    p99: float
    gini: float
    #: In percent: keys that had to move when a bucket went, and others that did.
    must: float
    needless: float


def hashing_table(seed: int) -> Table:
    """Balance and moved keys of the ring, rendezvous, jump and XOR; intervals over ten draws."""
    drawn: dict[str, list[_Spread]] = {}
    for number in range(HASHING_SEEDS):
        generator = np.random.default_rng([seed, number])
        keys = random_keys(KEYS, generator)
        for name, (before, after, gone) in _ways(keys, generator).items():
            drawn.setdefault(name, []).append(_spread_of(before, after, gone))

    def mean(way: str, field: str) -> Estimate:
        values = [getattr(each, field) for each in drawn[way]]
        return mean_of(values)

    limits = {_ring(points): spread_of_points(points) for points in RING_POINTS}
    fields = [field.name for field in attrs.fields(_Spread)]
    return Table(
        name="hashing",
        title=f"Consistent hashing: {KEYS:,} keys over {BUCKETS} buckets, and one bucket goes",
        columns=[
            "way",
            *("spread / mean", "its limit", "fullest / mean", "p99 / mean", "Gini"),
            *("moved, must [%]", "moved, needless [%]"),
        ],
        rows=[
            [
                way,
                mean(way, fields[0]),
                # Where nothing but the keys' own noise is left.
                limits.get(way, spread_of_points(KEYS // BUCKETS) if "XOR" not in way else None),
                *(mean(way, field) for field in fields[1:]),
            ]
            for way in drawn
        ],
    )


def _ring(points: int) -> str:
    return f"ring, {points} point{'s' * (points > 1)} a bucket"


def _ways(keys: Ids, generator: np.random.Generator) -> dict[str, tuple[Buckets, Buckets, int]]:
    """By name: the owners before and after a bucket went, and which."""
    ways: dict[str, tuple[Buckets, Buckets, int]] = {}
    gone = BUCKETS - 1
    for points in RING_POINTS:
        ring = Ring.random(BUCKETS, points, generator)
        ways[_ring(points)] = (ring.owner(keys), ring.without(gone).owner(keys), gone)
    names = random_keys(BUCKETS, generator)
    ways["rendezvous"] = (rendezvous(keys, names), rendezvous(keys, names[:gone]), gone)
    # Jump hash can lose its last bucket only; the others lose any.
    ways["jump"] = (jump(keys, BUCKETS), jump(keys, gone), gone)
    ids = random_ids(BUCKETS, KEY_BITS, generator)
    # Ids are in order, so the last would be no random one.
    some = int(generator.integers(BUCKETS))
    after = nearest(np.delete(ids, some), keys, 1)[:, 0]
    after += after >= some
    ways["XOR, nearest id (this package)"] = (nearest(ids, keys, 1)[:, 0], after, some)
    return ways


def _spread_of(before: Buckets, after: Buckets, gone: int) -> _Spread:
    loads = np.bincount(before, minlength=BUCKETS)
    must, needless = moved(before, after, gone)
    return _Spread(
        spread=spread(loads),
        peak=peak(loads),
        p99=percentile(loads, 99) / float(loads.mean()),
        gini=gini(loads),
        must=100 * must,
        needless=100 * needless,
    )
