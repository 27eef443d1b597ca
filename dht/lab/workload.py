"""What is read how often, and how many copies that earns: Zipf's law and who shares a budget."""

from collections.abc import Sequence
from itertools import accumulate
from math import sqrt
from random import Random
from typing import final

import attrs

#: A record has no more copies: the most that a put may ask for.
COPIES_MAX = 64


def zipf_shares(records: int, exponent: float) -> list[float]:
    """The share of all reads that goes to each record, the most popular first; their sum is 1."""
    weights = [float(rank) ** -exponent for rank in range(1, records + 1)]
    total = sum(weights)
    return [weight / total for weight in weights]


def drawn_reads(shares: Sequence[float], reads: int, random: Random) -> list[int]:
    """Which record each read is of, by number."""
    cumulated = list(accumulate(shares))
    return random.choices(range(len(shares)), cum_weights=cumulated, k=reads)


def copies_of(shares: Sequence[float], copies: int, by: str) -> list[int]:
    """How many copies each record gets of ``copies`` in the mean: "uniform", "proportional" or by
    the "square_root" of its share. At least one, at most ``COPIES_MAX``; what that takes from the
    popular is given to nobody."""
    if by == "uniform":
        return [copies] * len(shares)
    weights = [share if by == "proportional" else sqrt(share) for share in shares]
    scale = copies * len(shares) / sum(weights)
    return [min(COPIES_MAX, max(1, round(scale * weight))) for weight in weights]


@final
@attrs.frozen(kw_only=True)
class RankClass:
    """Records of about the same popularity: ranks from ``first`` to ``last``, 1 is the top."""

    first: int
    last: int


def rank_classes(records: int) -> list[RankClass]:
    """All ranks in classes that grow fourfold: 1, 2 to 5, 6 to 21, ..."""
    classes, first, size = [], 1, 1
    while first <= records:
        classes.append(RankClass(first=first, last=min(records, first + size - 1)))
        first, size = first + size, size * 4
    return classes
