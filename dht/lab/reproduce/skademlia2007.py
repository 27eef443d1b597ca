"""Baumgart & Mies 2007, S/Kademlia: lookups over disjoint paths, some of whose nodes are hostile.

10,000 nodes, buckets of 16. A lookup begins with the nodes of its own table that are closest to
the target and deals them out to d paths. Each path asks the closest node that no path has asked
yet, and learns from its answer; the target is found when an honest node names it. An adversary
names only other adversaries, and so ends the path that asks it; one that drops says nothing, and
the path goes on with the next.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import final

import attrs
import numpy as np
import numpy.typing as npt

from ..catalogue import SKADEMLIA, Progress
from ..closed_forms import survival_disjoint
from ..estimates import Estimate, mean_of, share_of
from ..findings import Finding, Provenance, Published, Reproduction
from ..geometries import Flags, Geometry, Network, build, nearest_entries
from ..nearest import NOBODY, Nodes, random_ids
from ..plots import Plot, Series
from .gummadi2003 import measured

NODES = 10_000
BITS = 40
BUCKET = 16
#: Of an answer, and of what a path remembers at a time.
TOLD = 16
PATHS = (1, 2, 4, 8)
#: Percent of the nodes.
SHARES = (5, 10, 20, 30, 40, 50)
#: The share at which the paper's headline stands.
HEADLINE = 20
LOOKUPS = 4000
#: Steps after which a lookup has failed: far beyond what any path takes.
STEPS_MAX = 24
_FAR = np.uint64(2**64 - 1)

NOTES = (
    "A path's length is how many nodes it asks until one names the target: all of them must be "
    "honest. The formula is drawn from the lengths measured without adversaries, each number of "
    "paths for itself.",
    "Source and target are honest. The paper's 41 % over one path is what the formula gives for "
    "paths of 4 hops; with buckets of 16 ours are shorter, so more of them survive. Its own numbers "
    "of hops are in a figure that nobody here has seen.",
    "Disjoint paths do nothing against adversaries that surround the key itself.",
)


def reproduce(effort: float, seed: int, progress: Progress) -> Reproduction:
    """Every number of paths at every share: a minute at full effort."""
    draw = np.random.default_rng([seed, 2007])
    lookups = max(200, round(LOOKUPS * effort))
    network = build(
        Geometry.XOR, random_ids(NODES, BITS, draw), BITS, draw, bucket=BUCKET
    )
    lengths: dict[int, dict[int, float]] = {}
    found: dict[int, dict[int, Estimate]] = {}
    dropped: dict[int, Estimate] = {}
    asked: dict[int, Estimate] = {}
    steps, done = len(PATHS) * (len(SHARES) + 2), 0
    honest = np.zeros(NODES, dtype=np.bool_)
    for paths in PATHS:
        quiet = search(network, honest, lookups, draw, paths=paths)
        lengths[paths] = shares_of(quiet.lengths)
        asked[paths] = mean_of(quiet.asked, draw)
        found[paths] = {}
        for share in SHARES:
            outcome = search(network, hostile(share, draw), lookups, draw, paths=paths)
            found[paths][share] = share_of(int(outcome.found.sum()), lookups)
            done += 1
            progress(done / steps)
        drops = search(
            network, hostile(HEADLINE, draw), lookups, draw, paths=paths, dropping=True
        )
        dropped[paths] = share_of(int(drops.found.sum()), lookups)
        done += 2
        progress(done / steps)
    findings = [
        *_headline(found),
        *(
            _against_form(paths, share, found[paths][share], lengths[paths])
            for paths in PATHS
            for share in SHARES
        ),
        *(_dropping(paths, ours) for paths, ours in dropped.items()),
        *(_messages(paths, asked) for paths in PATHS[1:]),
        _length(lengths[1]),
    ]
    return Reproduction(
        scenario=SKADEMLIA, findings=findings, plots=(_plot(found, lengths),), notes=NOTES
    )


def hostile(percent: int, generator: np.random.Generator) -> Flags:
    """Who is an adversary."""
    flags = np.zeros(NODES, dtype=np.bool_)
    flags[generator.choice(NODES, round(NODES * percent / 100), replace=False)] = True
    return flags


def shares_of(lengths: npt.NDArray[np.int32]) -> dict[int, float]:
    """How often each length stands there, as a share."""
    counted = Counter(lengths.tolist())
    return {length: count / len(lengths) for length, count in sorted(counted.items())}


# ---------------------------------------------------------------------------------- the lookups


@final
@attrs.frozen(kw_only=True, eq=False)
class Outcome:
    """Of every lookup whether it found the target and how many nodes it asked; of every path that
    did, how many."""

    found: Flags
    asked: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int32]


def search(
    network: Network,
    adversaries: Flags,
    lookups: int,
    generator: np.random.Generator,
    *,
    paths: int,
    dropping: bool = False,
) -> Outcome:
    """So many lookups at once, from honest nodes for honest nodes."""
    honest = np.flatnonzero(~adversaries).astype(np.int32)
    sources = honest[generator.integers(len(honest), size=lookups)]
    targets = honest[generator.integers(len(honest), size=lookups)]
    targets = np.where(targets == sources, honest[0] + honest[-1] - targets, targets)
    lookup = _Lookups.begin(network, adversaries, sources, targets, paths)
    for _ in range(STEPS_MAX):
        for path in range(paths):
            lookup.step(path, dropping=dropping)
    lengths = lookup.lengths[lookup.arrived]
    return Outcome(
        found=lookup.arrived.any(axis=1), asked=(lookup.used != NOBODY).sum(axis=1), lengths=lengths
    )


@final
@attrs.define(eq=False, kw_only=True)
class _Lookups:
    """Many lookups under way: a row each, and a column for each of its paths."""

    network: Network
    adversaries: Flags
    targets: Nodes
    #: Whom each path could ask, nearest first; a path without anybody is at its end.
    known: npt.NDArray[np.int32]
    arrived: npt.NDArray[np.bool_]
    lengths: npt.NDArray[np.int32]
    #: Whom some path of the lookup has asked already.
    used: Nodes
    moves: int = 0

    @classmethod
    def begin(
        cls, network: Network, adversaries: Flags, sources: Nodes, targets: Nodes, paths: int
    ) -> "_Lookups":
        first = nearest_entries(network, sources, network.ids[targets], TOLD)
        known = np.full((len(sources), paths, TOLD), NOBODY, dtype=np.int32)
        for path in range(paths):
            dealt = first[:, path::paths]
            known[:, path, : dealt.shape[1]] = dealt
        there = (known == targets[:, None, None]).any(axis=2)
        # Who has the target in its own table asks nobody, on any path.
        there |= there.any(axis=1)[:, None]
        return cls(
            network=network,
            adversaries=adversaries,
            targets=targets,
            known=known,
            arrived=there,
            lengths=np.zeros(known.shape[:2], dtype=np.int32),
            used=np.full((len(sources), paths * STEPS_MAX), NOBODY, dtype=np.int32),
        )

    def step(self, path: int, *, dropping: bool) -> None:
        """That path of every lookup asks one node more, if it goes on."""
        rows = np.flatnonzero(~self.arrived[:, path] & (self.known[:, path, 0] != NOBODY))
        known = self._unused(rows, self.known[rows, path])
        self.known[rows, path] = known
        going = known[:, 0] != NOBODY
        rows, asked = rows[going], known[going, 0]
        self.used[rows, self.moves] = asked
        self.moves += 1
        self.lengths[rows, path] += 1
        bad = self.adversaries[asked]
        if not dropping:
            # Its answer holds adversaries alone, and so do all answers from there on.
            self.known[rows[bad], path] = NOBODY
        rows, asked = rows[~bad], asked[~bad]
        goals = self.network.ids[self.targets[rows]]
        told = nearest_entries(self.network, asked, goals, TOLD)
        self.arrived[rows, path] = (told == self.targets[rows, None]).any(axis=1)
        self.known[rows, path] = self._merged(rows, self.known[rows, path], told)

    def _unused(self, rows: npt.NDArray[np.intp], known: Nodes) -> Nodes:
        """Without those that were asked; the others move up in their order."""
        used = self.used[rows, : self.moves]
        gone = (known[:, :, None] == used[:, None, :]).any(axis=2) | (known == NOBODY)
        order = np.argsort(gone, axis=1, kind="stable")
        return np.where(
            np.take_along_axis(gone, order, 1), NOBODY, np.take_along_axis(known, order, 1)
        )

    def _merged(self, rows: npt.NDArray[np.intp], known: Nodes, told: Nodes) -> Nodes:
        """What a path knew and what it was told, each node once, nearest first."""
        both = np.concatenate([known, told], axis=1)
        goal = self.network.ids[self.targets[rows], None]
        far = np.where(both == NOBODY, _FAR, self.network.ids[both] ^ goal)
        order = np.argsort(far, axis=1)
        both, far = np.take_along_axis(both, order, 1), np.take_along_axis(far, order, 1)
        again = np.zeros(both.shape, dtype=np.bool_)
        again[:, 1:] = both[:, 1:] == both[:, :-1]
        far[again] = _FAR
        order = np.argsort(far, axis=1)[:, :TOLD]
        kept = np.take_along_axis(both, order, 1)
        return np.where(np.take_along_axis(far, order, 1) == _FAR, NOBODY, kept)


# ---------------------------------------------------------------------------------- the findings


def _headline(found: Mapping[int, Mapping[int, Estimate]]) -> list[Finding]:
    return [
        Finding(
            name=f"found, {HEADLINE} % adversaries, {paths} path{'s' if paths > 1 else ''}",
            unit="%",
            published=Published(
                value=value, provenance=Provenance.TEXT, source="Baumgart & Mies 2007, summary"
            ),
            ours=found[paths][HEADLINE].scaled(100),
            tolerance=1,
            better="higher",
            asserted=paths == PATHS[-1],
        )
        for paths, value in ((1, 41), (8, 99))
    ]


def _against_form(
    paths: int, share: int, ours: Estimate, lengths: Mapping[int, float]
) -> Finding:
    form = 100 * survival_disjoint(lengths, share / 100, paths)
    return Finding(
        name=f"formula, {share} % adversaries, {paths} path{'s' if paths > 1 else ''}",
        unit="%",
        published=Published(
            value=form, provenance=Provenance.FORMULA, source="Baumgart & Mies 2007, section 5"
        ),
        ours=ours.scaled(100),
        limit=form,
        limit_name="of the measured lengths",
        tolerance=3,
        asserted=True,
    )


def _dropping(paths: int, ours: Estimate) -> Finding:
    return Finding(
        name=f"found, {HEADLINE} % that drop, {paths} path{'s' if paths > 1 else ''}",
        unit="%",
        published=None,
        ours=ours.scaled(100),
    )


def _messages(paths: int, asked: Mapping[int, Estimate]) -> Finding:
    """What disjointness costs, in nodes asked for each that one path asks."""
    return Finding(
        name=f"nodes asked, {paths} paths over one",
        unit="times",
        published=None,
        ours=asked[paths].scaled(1 / asked[1].mean),
        limit=paths,
        limit_name="as many as paths",
    )


def _length(lengths: Mapping[int, float]) -> Finding:
    mean = sum(length * share for length, share in lengths.items())
    return Finding(
        name="mean length of a single path",
        unit="nodes",
        published=None,
        ours=Estimate.exactly(mean),
    )


def _plot(
    found: Mapping[int, Mapping[int, Estimate]], lengths: Mapping[int, Mapping[int, float]]
) -> Plot:
    series = []
    fine: Sequence[int] = range(1, 51)
    for paths, points in found.items():
        name = f"{paths} path{'s' if paths > 1 else ''}"
        series.append(measured(name, {share: each.scaled(100) for share, each in points.items()}))
        forms = [100 * survival_disjoint(lengths[paths], share / 100, paths) for share in fine]
        series.append(
            Series(name=f"{name}, formula", look="limit", like=name, xs=list(fine), ys=forms)
        )
    series.append(
        Series(name="published", look="published", xs=[HEADLINE, HEADLINE], ys=[41, 99])
    )
    return Plot(
        name="disjoint",
        title="Lookups that succeed among adversaries, 10,000 nodes",
        x_label="adversaries, %",
        y_label="found, %",
        series=series,
    )
