"""Routing tables of the structured world, and greedy routing over them, many pairs at once.

Four geometries (Gummadi et al. 2003), each a rule for who may stand in slot i of a table:

    tree, XOR     shares all bits above i with the owner, and differs in bit i
    ring          lies from 2**i to 2**(i+1) ahead of the owner
    hypercube     differs from the owner in bit i alone

and a rule for whom a message is passed to: to the neighbour nearest to the target, by its metric,
if that is nearer than oneself. A tree knows one way only: the next bit must be mended.

Tables are real: every entry is drawn when the network is built, dead nodes stay in it, and nothing
is repaired. Ids are a sorted array, nodes are places in it, so that a million of them fit.
"""

from enum import StrEnum
from itertools import pairwise
from typing import Literal, final

import attrs
import numpy as np
import numpy.typing as npt

from .nearest import NOBODY, Ids, Nodes, nearest, smear

_FAR = np.uint64(2**64 - 1)
#: Cells of the largest array that is made on the way: some 16 MiB of ids, which a cache can help.
_CELLS = 1 << 21

Flags = npt.NDArray[np.bool_]


@final
class Geometry(StrEnum):
    """Who may be whose neighbour, and what is near."""

    TREE = "tree"
    RING = "ring"
    HYPERCUBE = "hypercube"
    XOR = "XOR"


@final
@attrs.frozen(kw_only=True, eq=False)
class Network:
    """Nodes and their tables. ``entries`` has a row a node; the slots of level i are the columns
    from ``begins[i]`` to ``begins[i + 1]``, and behind the last level stand sequential neighbours.
    """

    geometry: Geometry
    bits: int
    ids: Ids
    entries: Nodes
    begins: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many nodes there are."""
        return len(self.ids)

    def smaller(self, bucket: int) -> "Network":
        """The same nodes with smaller buckets: slots stand in random order, so the first few of
        each are a random choice too."""
        pairs = list(pairwise(self.begins))
        levels = [np.arange(begin, min(end, begin + bucket)) for begin, end in pairs]
        behind = np.arange(self.begins[-1], self.entries.shape[1])
        return attrs.evolve(
            self,
            entries=np.take(self.entries, np.concatenate([*levels, behind]), axis=1),
            begins=(0, *np.cumsum([len(level) for level in levels]).tolist()),
        )

    @property
    def degree(self) -> float:
        """How many entries a table has in the mean."""
        return float((self.entries != NOBODY).sum() / self.size)


@final
@attrs.frozen(kw_only=True, eq=False)
class Routes:
    """What became of each pair, and in how many steps, steps back counted."""

    arrived: Flags
    hops: npt.NDArray[np.int32]


# --------------------------------------------------------------------------------------- the tables


def build(
    geometry: Geometry,
    ids: Ids,
    bits: int,
    generator: np.random.Generator,
    *,
    bucket: int = 1,
    sequential: int = 0,
    choice: Literal["random", "first"] = "random",
) -> Network:
    """The tables of everybody: up to ``bucket`` different neighbours in each slot.

    ``choice`` "first" takes the nearest node ahead: the fingers of Chord. ``sequential`` adds the
    nodes that follow on a ring, which a sparse ring cannot do without.
    """
    runs = [_run(geometry, ids, bits, level) for level in range(bits)]
    widths = [min(bucket, int(count.max())) for _, count in runs]
    if geometry is Geometry.HYPERCUBE:
        widths = [min(1, width) for width in widths]
    begins = (0, *np.cumsum(widths).tolist())
    entries = np.full((len(ids), begins[-1] + sequential), NOBODY, dtype=np.int32)
    # In blocks of nodes, so that a block's rows stay in the cache while its columns are written.
    for start in range(0, len(ids), 1 << 15):
        block = slice(start, start + (1 << 15))
        for level, (first, count) in enumerate(runs):
            if widths[level]:
                drawn = _drawn(count[block], widths[level], choice, generator)
                places = (first[block, None] + drawn) % len(ids)
                entries[block, begins[level] : begins[level + 1]] = np.where(
                    drawn >= 0, places, NOBODY
                )
    for step in range(sequential):
        entries[:, begins[-1] + step] = (np.arange(len(ids)) + step + 1) % len(ids)
    return Network(geometry=geometry, bits=bits, ids=ids, entries=entries, begins=begins)


def _run(
    geometry: Geometry, ids: Ids, bits: int, level: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Where in the sorted ids the candidates of a slot begin, and how many they are, for all."""
    size, last = np.uint64(1 << level), np.uint64((1 << bits) - 1)
    begin = (ids + size) & last if geometry is Geometry.RING else ids ^ size
    if geometry is Geometry.HYPERCUBE:
        size = np.uint64(1)
    elif geometry is not Geometry.RING:
        begin = begin & ~(size - np.uint64(1))
    end = begin + size
    first = np.searchsorted(ids, begin)
    count = np.searchsorted(ids, np.minimum(end, last + np.uint64(1))) - first
    # A run of the ring that goes over its end goes on at its beginning.
    over = end > last + np.uint64(1)
    count[over] += np.searchsorted(ids, end[over] & last)
    return first.astype(np.int32), count.astype(np.int32)


def _drawn(
    count: npt.NDArray[np.int32],
    width: int,
    choice: str,
    generator: np.random.Generator,
) -> Nodes:
    """Up to ``width`` different numbers below each count, in random order; the rest is NOBODY."""
    if choice == "first" or (width == 1 and count.min() == 1 == count.max()):
        slots = np.arange(width, dtype=np.int32)
        return np.where(slots < count[:, None], slots, NOBODY)
    drawn = np.full((len(count), width), NOBODY, dtype=np.int32)
    # Where half of all or more are taken, a draw would often hit what it has already.
    few = count <= 2 * width
    drawn[few] = _first_of_shuffled(count[few], width, generator)
    drawn[~few] = _drawn_anew(count[~few], width, generator).T
    return drawn


def _first_of_shuffled(
    count: npt.NDArray[np.int32], width: int, generator: np.random.Generator
) -> Nodes:
    largest = int(count.max(initial=0))
    lots = generator.random((len(count), largest), dtype=np.float32)
    lots[np.arange(largest) >= count[:, None]] = 2
    order = np.argsort(lots, axis=1)[:, :width].astype(np.int32)
    order[np.arange(order.shape[1]) >= count[:, None]] = NOBODY
    return np.pad(order, ((0, 0), (0, width - order.shape[1])), constant_values=NOBODY)


def _drawn_anew(count: npt.NDArray[np.int32], width: int, generator: np.random.Generator) -> Nodes:
    """One slot after the other, and again whoever drew what it has. A row a slot, so that all
    nodes of a slot lie side by side."""
    drawn = np.full((width, len(count)), NOBODY, dtype=np.int32)
    for slot in range(width):
        rows = np.arange(len(count))
        while len(rows):
            number = (generator.random(len(rows)) * count[rows]).astype(np.int32)
            drawn[slot, rows] = number
            earlier = drawn[:slot] if len(rows) == len(count) else drawn[:slot, rows]
            rows = rows[(earlier == number).any(axis=0)]
    return drawn


# -------------------------------------------------------------------------------------- the routing


def route(
    network: Network,
    sources: Nodes,
    targets: Nodes,
    *,
    alive: Flags | None = None,
    backtracks: int = 0,
) -> Routes:
    """Passes a message from each source to its target, greedily, over living nodes.

    A message that is stuck goes back one node and takes the next best from there, up to
    ``backtracks`` times in all.
    """
    # One more cell than nodes, and dead: what NOBODY, -1, points at.
    living = np.ones(network.size + 1, dtype=np.bool_)
    living[:-1] = True if alive is None else alive
    living[-1] = False
    arrived = np.zeros(len(sources), dtype=np.bool_)
    hops = np.zeros(len(sources), dtype=np.int32)
    chunk = max(1, _CELLS // network.entries.shape[1])
    for start in range(0, len(sources), chunk):
        part = slice(start, start + chunk)
        walk = _Walk.begin(network, living, sources[part], targets[part], backtracks)
        walk.run()
        arrived[part], hops[part] = walk.current == targets[part], walk.hops
    return Routes(arrived=arrived, hops=hops)


@final
@attrs.define(eq=False, kw_only=True)
class _Walk:
    """Many messages under way at once."""

    network: Network
    living: Flags
    current: Nodes
    targets: Nodes
    hops: npt.NDArray[np.int32]
    #: Whom each message passed, by how deep it was then; only where it may go back.
    passed: Nodes
    depth: npt.NDArray[np.int32]
    #: Where each was stuck; how often.
    stuck: Nodes
    backs: npt.NDArray[np.int32]

    @classmethod
    def begin(
        cls, network: Network, living: Flags, sources: Nodes, targets: Nodes, backtracks: int
    ) -> "_Walk":
        pairs = len(sources)
        return cls(
            network=network,
            living=living,
            current=sources.copy(),
            targets=targets,
            hops=np.zeros(pairs, dtype=np.int32),
            passed=np.full((pairs, network.bits if backtracks else 0), NOBODY, dtype=np.int32),
            depth=np.zeros(pairs, dtype=np.int32),
            stuck=np.full((pairs, backtracks), NOBODY, dtype=np.int32),
            backs=np.zeros(pairs, dtype=np.int32),
        )

    def run(self) -> None:
        moving = np.flatnonzero(self.current != self.targets)
        while len(moving):
            following, found = self._following(moving)
            self._forward(moving[found], following[found])
            returning = self._back(moving[~found])
            moving = np.concatenate([moving[found], returning])
            moving = moving[self.current[moving] != self.targets[moving]]

    def _following(self, moving: npt.NDArray[np.intp]) -> tuple[Nodes, Flags]:
        """To whom each goes next, and whether there is anybody."""
        network, current = self.network, self.current[moving]
        goal = network.ids[self.targets[moving]]
        rows = network.entries[current]
        far = distances(network, network.ids[rows], goal[:, None])
        own = distances(network, network.ids[current], goal)
        # A tree must mend the highest bit that differs; others must only come nearer.
        limit = smear(own) ^ (smear(own) >> np.uint64(1)) if _is_tree(network) else own
        useful = self.living[rows] & (far < limit[:, None])
        if self.stuck.shape[1] and self.backs[moving].any():
            for deadend in self.stuck[moving].T:
                useful &= rows != deadend[:, None]
        far[~useful] = _FAR
        best = np.argmin(far, axis=1)
        at = np.arange(len(moving))
        return rows[at, best], far[at, best] != _FAR

    def _forward(self, moving: npt.NDArray[np.intp], following: Nodes) -> None:
        if self.passed.shape[1]:
            if int(self.depth[moving].max(initial=0)) >= self.passed.shape[1]:
                self.passed = np.concatenate([self.passed, self.passed], axis=1)
            self.passed[moving, self.depth[moving]] = self.current[moving]
            self.depth[moving] += 1
        self.current[moving] = following
        self.hops[moving] += 1

    def _back(self, moving: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Takes those back that may; who they are."""
        may = (self.backs[moving] < self.stuck.shape[1]) & (self.depth[moving] > 0)
        back = moving[may]
        if len(back):
            self.stuck[back, self.backs[back]] = self.current[back]
            self.backs[back] += 1
            self.depth[back] -= 1
            self.current[back] = self.passed[back, self.depth[back]]
            self.hops[back] += 1
        return np.asarray(back)


def _is_tree(network: Network) -> bool:
    return network.geometry is Geometry.TREE


def distances(network: Network, ids: Ids, goal: Ids) -> Ids:
    """How far each id is from the goal, by the metric of the geometry."""
    match network.geometry:
        case Geometry.RING:
            return np.asarray((goal - ids) & np.uint64((1 << network.bits) - 1))
        case Geometry.HYPERCUBE:
            return np.asarray(np.bitwise_count(ids ^ goal), dtype=np.uint64)
        case _:
            return np.asarray(ids ^ goal)


def random_pairs(alive: Flags, pairs: int, generator: np.random.Generator) -> tuple[Nodes, Nodes]:
    """Pairs of two different nodes that live. Raises ``ValueError`` if there are not two."""
    nodes = np.flatnonzero(alive).astype(np.int32)
    if len(nodes) < 2:  # noqa: PLR2004 - a pair
        raise ValueError(f"a pair needs two living nodes, there are {len(nodes)}")
    first = generator.integers(len(nodes), size=pairs)
    second = (first + generator.integers(1, len(nodes), size=pairs)) % len(nodes)
    return nodes[first], nodes[second]


def random_deaths(nodes: int, share: float, generator: np.random.Generator) -> Flags:
    """Who lives when a share of all nodes dies at once."""
    alive = np.ones(nodes, dtype=np.bool_)
    alive[generator.choice(nodes, round(nodes * share), replace=False)] = False
    return alive


# -------------------------------------------------------------------------- what a table knows best


def nearest_entries(network: Network, nodes: Nodes, keys: Ids, count: int) -> Nodes:
    """The entries of each node's table that are nearest to its key by XOR, nearest first.

    Only for XOR. Whoever stands in the bucket that the key falls in is nearer to it than anybody
    else in the table: where that bucket holds enough, nobody else is looked at.
    """
    assert network.geometry is Geometry.XOR
    found = np.empty((len(nodes), count), dtype=np.int32)
    begins = np.array([*network.begins, network.begins[-1]])
    level = np.bitwise_count(smear(network.ids[nodes] ^ keys)).astype(np.int64) - 1
    begin, end = begins[level], begins[level + 1]
    widest = int((end - begin).max(initial=0))
    columns = begin[:, None] + np.arange(widest)
    inside = (columns < end[:, None]) & (level >= 0)[:, None]
    rows = network.entries[nodes[:, None], np.where(inside, columns, 0)]
    rows = np.where(inside, rows, NOBODY)
    enough = (rows != NOBODY).sum(axis=1) >= count
    found[enough] = _nearest_of(network.ids, rows[enough], keys[enough], count)
    rest = np.flatnonzero(~enough)
    chunk = max(1, _CELLS // network.entries.shape[1])
    for start in range(0, len(rest), chunk):
        part = rest[start : start + chunk]
        whole = network.entries[nodes[part]]
        found[part] = _nearest_of(network.ids, whole, keys[part], count)
    return found


def _nearest_of(ids: Ids, rows: Nodes, keys: Ids, count: int) -> Nodes:
    far = np.where(rows != NOBODY, ids[rows] ^ keys[:, None], _FAR)
    if count < rows.shape[1]:
        some = np.argpartition(far, count - 1, axis=1)[:, :count]
        rows, far = np.take_along_axis(rows, some, 1), np.take_along_axis(far, some, 1)
    order = np.argsort(far, axis=1)
    picked = np.take_along_axis(rows, order, axis=1)
    missing = count - picked.shape[1]
    return np.pad(picked, ((0, 0), (0, max(0, missing))), constant_values=NOBODY)


def owners_far(ids: Ids, keys: Ids, count: int) -> Ids:
    """How far from each key the last of its ``count`` nearest nodes is."""
    return np.asarray(ids[nearest(ids, keys, count)[:, -1]] ^ keys)
