"""RFM 19.1 (ProbeLab 2023): hops of a Kademlia lookup among 25,000 nodes, by bucket size.

By its definition a lookup has found the target when somebody whom it knows is among the 20 nodes
closest to the key: the issuer itself, 0 hops; one of the 10 closest in the issuer's table, 1 hop;
one of the 10 closest in the tables of those, 2 hops, and so on.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..catalogue import RFM, Progress
from ..closed_forms import hops_kademlia
from ..estimates import Estimate, mean_of
from ..findings import Finding, Provenance, Published, Reproduction
from ..geometries import Geometry, Network, build, nearest_entries, owners_far
from ..nearest import NOBODY, Ids, Nodes, random_ids
from ..plots import Plot, Series
from .gummadi2003 import measured

NODES = 25_000
#: Wide enough that ids differ where they must; the paper's have 256.
BITS = 62
SETS = 5
LOOKUPS = 10_000
REPLICATION = 20
CONCURRENCY = 10
PUBLISHED: Mapping[int, float] = {
    10: 2.165,
    20: 1.926,
    30: 1.868,
    40: 1.834,
    50: 1.806,
    60: 1.777,
    70: 1.756,
    80: 1.728,
    90: 1.708,
    100: 1.692,
}
#: Of the sizes of tables, which are no published numbers but those of an independent program.
ENTRIES: Mapping[int, float] = {10: 121.6, 20: 223.8, 50: 494.8, 100: 889.7}
SOURCE = "ProbeLab, rfm19.1-kademlia-balanced-buckets.md"
#: Lookups at once, so that the tables of the ten whom each asks fit the memory.
_CHUNK = 2000

NOTES = (
    (
        "A lookup ends at any of the 20 closest nodes, not at the closest: the formula, which is "
        "of an exact target, counts otherwise and stands there to show the slope."
    ),
    "Ids of 62 bits instead of 256: 25,000 nodes differ in fewer.",
    "Intervals are over all lookups; the published sets of nodes differ by 0.005 among themselves.",
)


def reproduce(effort: float, seed: int, progress: Progress) -> Reproduction:
    """All ten bucket sizes: half a minute at full effort."""
    lookups = max(200, round(LOOKUPS * effort))
    sets = SETS if effort >= 1 else 1
    counted: dict[int, list[npt.NDArray[np.int32]]] = {bucket: [] for bucket in PUBLISHED}
    sizes: dict[int, list[npt.NDArray[np.intp]]] = {bucket: [] for bucket in PUBLISHED}
    for number in range(sets):
        draw = np.random.default_rng([seed, number])
        ids = random_ids(NODES, BITS, draw)
        whole = build(Geometry.XOR, ids, BITS, draw, bucket=max(PUBLISHED))
        for done, bucket in enumerate(PUBLISHED, 1):
            network = whole.smaller(bucket)
            counted[bucket].append(count_hops(network, lookups, draw))
            sizes[bucket].append((network.entries != NOBODY).sum(axis=1))
            progress((number + done / len(PUBLISHED)) / sets)
    hops = {each: mean_of(np.concatenate(counts)) for each, counts in counted.items()}
    entries = {each: mean_of(np.concatenate(sizes[each])) for each in ENTRIES}
    findings = [_hops(bucket, ours) for bucket, ours in hops.items()]
    findings += [_entries(bucket, entries[bucket]) for bucket in ENTRIES]
    return Reproduction(scenario=RFM, findings=findings, plots=(_plot(hops),), notes=NOTES)


def count_hops(
    network: Network, lookups: int, generator: np.random.Generator
) -> npt.NDArray[np.int32]:
    """How many hops so many lookups take, each from a random node for a random key."""
    keys = generator.integers(1 << network.bits, size=lookups, dtype=np.uint64)
    issuers = generator.integers(network.size, size=lookups).astype(np.int32)
    parts = [
        _hops_of(network, keys[start : start + _CHUNK], issuers[start : start + _CHUNK])
        for start in range(0, lookups, _CHUNK)
    ]
    return np.concatenate(parts)


def _hops_of(network: Network, keys: Ids, issuers: Nodes) -> npt.NDArray[np.int32]:
    goal = owners_far(network.ids, keys, min(REPLICATION, network.size))
    hops = np.zeros(len(keys), dtype=np.int32)
    searching = np.flatnonzero(network.ids[issuers] ^ keys > goal)
    asked = issuers[searching, None]
    while len(searching):
        hops[searching] += 1
        asked = _closest_told(network, asked, keys[searching])
        # The nearest stands first, and nobody stands there only if a table is empty.
        far = network.ids[asked[:, 0]] ^ keys[searching]
        still = far > goal[searching]
        searching, asked = searching[still], asked[still]
    return hops


def _closest_told(network: Network, asked: Nodes, keys: Ids) -> Nodes:
    """Of all whom those know the ten closest to the key, each once, nearest first.

    The ten closest of a union are among the ten closest of each of its parts.
    """
    rows, width = asked.shape
    each = nearest_entries(network, asked.reshape(-1), np.repeat(keys, width), CONCURRENCY)
    told = each.reshape(rows, -1)
    far = np.where(told == NOBODY, np.uint64(2**64 - 1), network.ids[told] ^ keys[:, None])
    order = np.argsort(far, axis=1)
    told = np.take_along_axis(told, order, axis=1)
    again = np.zeros(told.shape, dtype=np.bool_)
    again[:, 1:] = told[:, 1:] == told[:, :-1]
    # Those that stand there again go to the end, and the order of the others stays.
    kept = np.argsort(again, axis=1, kind="stable")[:, :CONCURRENCY]
    first = np.take_along_axis(told, kept, axis=1)
    # Fewer than ten different ones: the nearest stands in for those that are missing.
    missing = np.take_along_axis(again, kept, axis=1) | (first == NOBODY)
    return np.where(missing, first[:, :1], first)


def _hops(bucket: int, ours: Estimate) -> Finding:
    return Finding(
        name=f"hops, buckets of {bucket}",
        unit="hops",
        published=Published(value=PUBLISHED[bucket], provenance=Provenance.TEXT, source=SOURCE),
        ours=ours,
        limit=hops_kademlia(NODES, bucket),
        limit_name="formula, exact target",
        tolerance=0.02,
        better="lower",
        asserted=True,
    )


def _entries(bucket: int, ours: Estimate) -> Finding:
    return Finding(
        name=f"entries of a table, buckets of {bucket}",
        unit="entries",
        published=Published(
            value=ENTRIES[bucket],
            provenance=Provenance.RESIMULATED,
            source="an independent program of the same rule",
        ),
        ours=ours,
        tolerance=0.02 * ENTRIES[bucket],
    )


def _plot(hops: Mapping[int, Estimate]) -> Plot:
    return Plot(
        name="hops",
        title="Hops of a lookup by bucket size, 25,000 nodes",
        x_label="entries a bucket",
        y_label="mean hops",
        y_range=(0, 2.6),
        series=[
            measured("ours", hops),
            Series(
                name="published", look="published", xs=list(hops), ys=[PUBLISHED[b] for b in hops]
            ),
            Series(
                name="formula, exact target",
                look="limit",
                xs=list(range(10, 101)),
                ys=[hops_kademlia(NODES, bucket) for bucket in range(10, 101)],
            ),
        ],
    )
