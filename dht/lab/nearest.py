"""The nearest by XOR, of many keys at once: ids are a sorted array, nodes places in it.

Whoever shares the longest prefix with a key is nearest to it. So the n nearest are found in the
smallest subtree around the key that has n members, and a subtree is a run of the sorted array.
"""

import numpy as np
import numpy.typing as npt

#: Sorted, below 2**63, each once.
Ids = npt.NDArray[np.uint64]
#: Places in an array of ids; NOBODY where a slot is empty.
Nodes = npt.NDArray[np.int32]
NOBODY = -1

_FAR = np.uint64(2**64 - 1)
#: Cells of the largest array that is made on the way: some 32 MiB of ids.
_CELLS = 1 << 22


def random_ids(nodes: int, bits: int, generator: np.random.Generator) -> Ids:
    """So many different ids below 2**bits, sorted. Raises ``ValueError`` if too few exist."""
    if not 0 < bits < 64 or nodes > 1 << bits:  # noqa: PLR2004 - the width of an id
        raise ValueError(f"{nodes} different ids of {bits} bits do not exist, or not in 63 bits")
    if nodes > 1 << bits - 1:
        chosen = generator.choice(1 << bits, nodes, replace=False).astype(np.uint64)
        return np.sort(chosen)
    ids = np.empty(0, dtype=np.uint64)
    while len(ids) < nodes:
        more = generator.integers(1 << bits, size=nodes, dtype=np.uint64)
        ids = np.unique(np.concatenate([ids, more]))
    return np.sort(generator.permutation(ids)[:nodes])


def every_id(bits: int) -> Ids:
    """A full space: node n has the id n."""
    return np.arange(1 << bits, dtype=np.uint64)


def smear(values: Ids) -> Ids:
    """Every bit below the highest set one is set too."""
    smeared = values.copy()
    for shift in (1, 2, 4, 8, 16, 32):
        smeared |= smeared >> np.uint64(shift)
    return smeared


def bit_lengths(values: Ids) -> npt.NDArray[np.uint8]:
    """``int.bit_length`` of each."""
    return np.bitwise_count(smear(values))


def nearest(ids: Ids, keys: Ids, count: int) -> Nodes:
    """The places of the ``count`` ids nearest to each key, nearest first, a row a key."""
    if not 0 < count <= len(ids):
        raise ValueError(f"expected from 1 to {len(ids)} of {len(ids)} ids, got {count}")
    first, last = _subtrees(ids, keys, count)
    found = np.empty((len(keys), count), dtype=np.int32)
    # By size, so that a few large subtrees do not widen the rows of all.
    order = np.argsort(last - first, kind="stable")
    at = 0
    while at < len(keys):
        # A guess from the smallest here, made safe by the largest of those taken.
        rows = max(1, _CELLS // int(2 * (last - first)[order[at]]))
        chosen = order[at : at + rows]
        found[chosen] = _nearest_in(ids, keys[chosen], first[chosen], last[chosen], count)
        at += rows
    return found


def _subtrees(ids: Ids, keys: Ids, count: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where the smallest subtree around each key that has enough members begins and ends.

    Sorted ids of one subtree are neighbours, so it is the smallest that holds some run of
    ``count`` neighbours which begins near to where the key would stand.
    """
    stands = np.searchsorted(ids, keys)
    smallest = np.full(len(keys), 64, dtype=np.uint8)
    for before in range(count + 1):
        begin = stands - before
        fits = (begin >= 0) & (begin + count <= len(ids))
        begin = np.where(fits, begin, 0)
        needed = np.maximum(
            bit_lengths(keys ^ ids[begin]), bit_lengths(keys ^ ids[begin + count - 1])
        )
        smallest = np.where(fits, np.minimum(smallest, needed), smallest)
    # A shift by 64 is none in C, so the mask is made in two.
    width = smallest.astype(np.uint64)
    rest = ~(_FAR << np.minimum(width, np.uint64(63)))
    return (
        np.searchsorted(ids, keys & ~rest, side="left"),
        np.searchsorted(ids, keys | rest, side="right"),
    )


def _nearest_in(
    ids: Ids,
    keys: Ids,
    first: npt.NDArray[np.intp],
    last: npt.NDArray[np.intp],
    count: int,
) -> Nodes:
    width = int((last - first).max())
    places = first[:, None] + np.arange(width)
    inside = places < last[:, None]
    far = np.where(inside, ids[np.where(inside, places, 0)] ^ keys[:, None], _FAR)
    best = np.argmin(far, axis=1)[:, None] if count == 1 else np.argsort(far, axis=1)[:, :count]
    return np.take_along_axis(places, best, axis=1).astype(np.int32)
