"""Baumgart & Mies 2007, S/Kademlia: lookups over disjoint paths, some of whose nodes are hostile.

10,000 nodes, buckets of 16. A lookup begins with the nodes of its own table that are closest to
the target and deals them out to d paths. Each path asks the closest node that no path has asked
yet, and learns from its answer; the target is found when an honest node names it. An adversary
names only other adversaries, and so ends the path that asks it; one that drops says nothing, and
the path goes on with the next.
"""

from collections import Counter
from collections.abc import Mapping
from typing import final

import attrs
import numpy as np
import numpy.typing as npt

from ..catalogue import SKADEMLIA, Progress
from ..closed_forms import survival_disjoint
from ..estimates import Estimate, mean_of, share_of
from ..findings import Finding, Provenance, Published, Reproduction
from ..geometries import Flags, Geometry, Network, build, nearest_entries, random_pairs
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
LOOKUPS = 10_000
#: Steps after which a lookup has failed: far beyond what any path takes.
STEPS_MAX = 24
_FAR = np.uint64(2**64 - 1)

#: Of how many hops the paper's 41 % speaks is known only from its formula: ln 0.41 / ln 0.8 = 4.0.
#: With buckets so small single paths are as long.
SMALL_BUCKET = 2
#: So many paths and percent of adversaries for which the formula is known to be too low (see the
#: notes): what we measure there is not held to it.
UNEQUAL = (8, 50)

NOTES = (
    (
        "A path's length is how many nodes it asks until one names the target: all of them must "
        "be honest. Source and target are honest."
    ),
    (
        "The formula takes all paths of a lookup to be equally long. Of several some are shorter "
        "than others, and the more adversaries there are, the more often these find the target "
        "than it says: for eight paths among 50 % it is over 3 points too low, which our proofs "
        "leave out. With the length that each path really has it is right everywhere."
    ),
    (
        "The paper's 41 % over one path is what the formula gives for paths of 4 hops. With "
        "buckets of 16 ours are shorter, so more survive; with buckets of 2 they are as long, but "
        "of eight that must not meet some are longer, and fewer lookups survive than it says. Its "
        "own numbers of hops are in a figure that nobody here has seen."
    ),
    "Disjoint paths do nothing against adversaries that surround the key itself.",
)


def reproduce(effort: float, seed: int, progress: Progress) -> Reproduction:
    """Every number of paths at every share: a minute at full effort."""
    draw = np.random.default_rng([seed, 2007])
    lookups = max(200, round(LOOKUPS * effort))
    network = build(Geometry.XOR, random_ids(NODES, BITS, draw), BITS, draw, bucket=BUCKET)
    measured_of: dict[int, Measured] = {}
    for done, paths in enumerate(PATHS):
        measured_of[paths] = measure(network, lookups, draw, paths)
        progress((done + 1) / (len(PATHS) + 1))
    long = build(Geometry.XOR, network.ids, BITS, draw, bucket=SMALL_BUCKET)
    findings = [
        *(_headline(paths, measured_of[paths].found[HEADLINE]) for paths in HEADLINES),
        *(
            _headline(
                paths,
                found_by(long, HEADLINE, lookups, draw, paths=paths),
                how="paths of 4 hops",
            )
            for paths in HEADLINES
        ),
        *(
            _against_form(paths, share, each.found[share], shares_of(each.quiet.lengths))
            for paths, each in measured_of.items()
            for share in SHARES
        ),
        _own_lengths(measured_of),
        *(_dropping(paths, each.dropping) for paths, each in measured_of.items()),
        *(_messages(paths, measured_of) for paths in PATHS[1:]),
        _length(measured_of[1].quiet.lengths),
    ]
    progress(1.0)
    return Reproduction(
        scenario=SKADEMLIA, findings=findings, plots=(_plot(measured_of),), notes=NOTES
    )


@final
@attrs.frozen(kw_only=True, eq=False)
class Measured:
    """All lookups over so many paths: among honest nodes, by the share of adversaries in percent,
    and among those that drop what they are asked."""

    quiet: "Outcome"
    found: Mapping[int, Estimate]
    dropping: Estimate


def measure(network: Network, lookups: int, draw: np.random.Generator, paths: int) -> Measured:
    """Lookups over that many paths among all shares of adversaries."""
    return Measured(
        quiet=search(network, hostile(0, draw), lookups, draw, paths=paths),
        found={share: found_by(network, share, lookups, draw, paths=paths) for share in SHARES},
        dropping=found_by(network, HEADLINE, lookups, draw, paths=paths, dropping=True),
    )


def found_by(
    network: Network,
    share: int,
    lookups: int,
    draw: np.random.Generator,
    *,
    paths: int,
    dropping: bool = False,
) -> Estimate:
    """The share of lookups that find their target."""
    outcome = search(network, hostile(share, draw), lookups, draw, paths=paths, dropping=dropping)
    return share_of(int(outcome.found.sum()), lookups)


def hostile(percent: int, generator: np.random.Generator) -> Flags:
    """Who is an adversary."""
    flags = np.zeros(NODES, dtype=np.bool_)
    flags[generator.choice(NODES, round(NODES * percent / 100), replace=False)] = True
    return flags


def shares_of(lengths: npt.NDArray[np.int32]) -> dict[int, float]:
    """How often each length stands there, as a share."""
    counted = Counter(lengths.tolist())
    return {length: count / len(lengths) for length, count in sorted(counted.items())}


# -------------------------------------------------------------------------------------- the lookups


@final
@attrs.frozen(kw_only=True, eq=False)
class Outcome:
    """Of every lookup, a row, and each of its paths, a column: whether it found the target, and
    how many nodes it asked."""

    arrived: Flags
    asked: npt.NDArray[np.int32]

    @property
    def found(self) -> Flags:
        """Which lookups found it over one path at least."""
        return np.asarray(self.arrived.any(axis=1))

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Of every path that found it."""
        return np.asarray(self.asked[self.arrived])

    def survival(self, adversaries: float) -> float:
        """How many lookups would find it among adversaries, by the length of each path."""
        fails = np.where(self.arrived, 1 - (1 - adversaries) ** self.asked, 1.0)
        return float(1 - fails.prod(axis=1).mean())


def search(
    network: Network,
    adversaries: Flags,
    lookups: int,
    generator: np.random.Generator,
    *,
    paths: int,
    dropping: bool = False,
) -> Outcome:
    """So many lookups at once, from honest nodes for other honest nodes.

    Each has adversaries of its own, so that lookups are independent: the same pattern, turned by
    a random number of nodes.
    """
    turns = generator.integers(network.size, size=lookups).astype(np.int32)
    sources, targets = (
        (honest - turns) % network.size for honest in random_pairs(~adversaries, lookups, generator)
    )
    lookup = _Lookups.begin(
        network, adversaries, turns, sources=sources, targets=targets, paths=paths
    )
    for _ in range(STEPS_MAX):
        moved = [lookup.step(path, dropping=dropping) for path in range(paths)]
        if not any(moved):
            break
    return Outcome(arrived=lookup.arrived, asked=lookup.lengths)


@final
@attrs.define(eq=False, kw_only=True)
class _Lookups:
    """Many lookups under way: a row each, and a column for each of its paths."""

    network: Network
    #: Node n is one in a lookup if the flag stands at n + its turn.
    adversaries: Flags
    turns: Nodes
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
        cls,
        network: Network,
        adversaries: Flags,
        turns: Nodes,
        *,
        sources: Nodes,
        targets: Nodes,
        paths: int,
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
            turns=turns,
            targets=targets,
            known=known,
            arrived=there,
            lengths=np.zeros(known.shape[:2], dtype=np.int32),
            used=np.full((len(sources), paths * STEPS_MAX), NOBODY, dtype=np.int32),
        )

    def step(self, path: int, *, dropping: bool) -> int:
        """That path of every lookup asks one node more, if it goes on; how many did."""
        rows = np.flatnonzero(~self.arrived[:, path] & (self.known[:, path, 0] != NOBODY))
        known = self._unused(rows, self.known[rows, path])
        self.known[rows, path] = known
        going = known[:, 0] != NOBODY
        rows, asked = rows[going], known[going, 0]
        self.used[rows, self.moves] = asked
        self.moves += 1
        self.lengths[rows, path] += 1
        bad = self.adversaries[(asked + self.turns[rows]) % self.network.size]
        if not dropping:
            # Its answer holds adversaries alone, and so do all answers from there on.
            self.known[rows[bad], path] = NOBODY
        rows, asked = rows[~bad], asked[~bad]
        goals = self.network.ids[self.targets[rows]]
        told = nearest_entries(self.network, asked, goals, TOLD)
        self.arrived[rows, path] = (told == self.targets[rows, None]).any(axis=1)
        self.known[rows, path] = self._merged(rows, self.known[rows, path], told)
        return int(going.sum())

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


# ------------------------------------------------------------------------------------- the findings


#: By number of paths, in percent.
HEADLINES: Mapping[int, float] = {1: 41, 8: 99}


def _headline(paths: int, ours: Estimate, how: str = "") -> Finding:
    name = f"found, {HEADLINE} % adversaries, {_paths(paths)}"
    return Finding(
        name=f"{name}, {how}" if how else name,
        unit="%",
        published=Published(
            value=HEADLINES[paths],
            provenance=Provenance.ABSTRACT,
            source="Baumgart & Mies 2007, a summary",
        ),
        ours=ours.scaled(100),
        # In points; near all a point is much: of 99 % it doubles those that are not found.
        tolerance=3 if how and paths == 1 else 1,
        better="higher",
        asserted=paths == PATHS[-1] and not how,
    )


def _paths(paths: int) -> str:
    return f"{paths} path{'s' if paths > 1 else ''}"


def _against_form(paths: int, share: int, ours: Estimate, lengths: Mapping[int, float]) -> Finding:
    form = 100 * survival_disjoint(lengths, share / 100, paths)
    return Finding(
        name=f"formula, {share} % adversaries, {_paths(paths)}",
        unit="%",
        published=Published(
            value=form, provenance=Provenance.FORMULA, source="Baumgart & Mies 2007, its formula"
        ),
        ours=ours.scaled(100),
        limit=form,
        limit_name="of the measured lengths",
        tolerance=3,
        asserted=(paths, share) != UNEQUAL,
    )


def _own_lengths(measured_of: Mapping[int, Measured]) -> Finding:
    """The formula with the length that each path really has: how far off it is at most."""
    off = [
        abs(each.quiet.survival(share / 100) - each.found[share].mean) * 100
        for each in measured_of.values()
        for share in SHARES
    ]
    return Finding(
        name="formula with each path's own length: largest difference",
        unit="points",
        published=Published(
            value=0, provenance=Provenance.FORMULA, source="Baumgart & Mies 2007, its formula"
        ),
        ours=Estimate.exactly(max(off)),
        tolerance=3,
        asserted=True,
    )


def _dropping(paths: int, ours: Estimate) -> Finding:
    return Finding(
        name=f"found, {HEADLINE} % that drop, {_paths(paths)}",
        unit="%",
        published=None,
        ours=ours.scaled(100),
    )


def _messages(paths: int, measured_of: Mapping[int, Measured]) -> Finding:
    """What disjointness costs, in nodes asked for each that one path asks."""
    asked = mean_of(measured_of[paths].quiet.asked.sum(axis=1))
    return Finding(
        name=f"nodes asked, {paths} paths over one",
        unit="times",
        published=None,
        ours=asked.scaled(1 / float(measured_of[1].quiet.asked.mean())),
        limit=paths,
        limit_name="as many as paths",
    )


def _length(lengths: npt.NDArray[np.int32]) -> Finding:
    return Finding(
        name=f"mean length of a single path, buckets of {BUCKET}",
        unit="nodes",
        published=None,
        ours=mean_of(lengths),
    )


def _plot(measured_of: Mapping[int, Measured]) -> Plot:
    series = []
    fine = range(1, 51)
    for paths, each in measured_of.items():
        name, lengths = _paths(paths), shares_of(each.quiet.lengths)
        series.append(measured(name, {at: one.scaled(100) for at, one in each.found.items()}))
        forms = [100 * survival_disjoint(lengths, share / 100, paths) for share in fine]
        series.append(
            Series(name=f"{name}, formula", look="limit", like=name, xs=list(fine), ys=forms)
        )
    series.append(
        Series(
            name="published",
            look="published",
            xs=[HEADLINE] * len(HEADLINES),
            ys=list(HEADLINES.values()),
        )
    )
    return Plot(
        name="disjoint",
        title="Lookups that succeed among adversaries, 10,000 nodes",
        x_label="adversaries, %",
        y_label="found, %",
        series=series,
    )
