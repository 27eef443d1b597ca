"""What a run says of a quantity: a mean and the interval in which it lies in 95 of 100 cases.

Everything statistical of the laboratory is in this file. A mean of two values or more has a
Student interval, and so has a ratio of two sums; a share has Wilson's, and any other statistic a
bootstrap from the generator passed in. One value alone has no interval: its ends are the value.
"""

from collections.abc import Callable, Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import Any, final

import attrs
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: The quantile of the normal distribution that leaves 2.5 % above it.
Z = 1.959964
#: Of Student's distribution with 1, 2, ... degrees of freedom (Abramowitz & Stegun, table 26.10).
_QUANTILES = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060)
RESAMPLES = 1000
_NONE = "an estimate needs at least one value, got none"


@final
@attrs.frozen(kw_only=True)
class Estimate:
    """A value, the ends of its 95 % interval, and how many observations it is made of."""

    mean: float
    low: float
    high: float
    count: int

    @classmethod
    def exactly(cls, value: float) -> "Estimate":
        """A value that was computed, not sampled."""
        return cls(mean=value, low=value, high=value, count=1)

    def scaled(self, factor: float) -> "Estimate":
        """In another unit."""
        ends = sorted((self.low * factor, self.high * factor))
        return Estimate(mean=self.mean * factor, low=ends[0], high=ends[1], count=self.count)

    def __str__(self) -> str:
        if self.low == self.high:
            return digits(self.mean)
        return f"{digits(self.mean)} ± {digits((self.high - self.low) / 2)}"


def digits(value: float) -> str:
    """A number as people write it: four digits that count, and no more than four after the point.

    Smaller than that it is written with a power of ten.
    """
    if value and abs(value) < 0.001:  # noqa: PLR2004 - below what four digits show
        return f"{value:.1e}"
    places = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1  # noqa: PLR2004 - as it says
    return f"{value:,.{places}f}" if abs(value) < 1000 else f"{value:,.0f}"  # noqa: PLR2004


def mean_of(values: Sequence[float] | npt.NDArray[Any]) -> Estimate:
    """The mean of independent values. Raises ``ValueError`` when there is none."""
    count = len(values)
    if not count:
        raise ValueError(_NONE)
    known = [float(value) for value in values]
    return _student(fmean(known), stdev(known) if count > 1 else 0.0, count)


def ratio_of(pairs: Sequence[tuple[float, float]]) -> Estimate:
    """The sum of the first over the sum of the second, of independent pairs: the interval is that
    of what the firsts are off, each from its share (Cochran 1977, section 6.4)."""
    if not pairs:
        raise ValueError(_NONE)
    whole = sum(second for _, second in pairs)
    ratio = sum(first for first, _ in pairs) / whole
    count = len(pairs)
    off = [(first - ratio * second) * count / whole for first, second in pairs]
    return _student(ratio, stdev(off) if count > 1 else 0.0, count)


def _student(mean: float, deviation: float, count: int) -> Estimate:
    half = student_quantile(count - 1) * deviation / sqrt(count) if deviation else 0.0
    return Estimate(mean=mean, low=mean - half, high=mean + half, count=count)


def student_quantile(freedom: int) -> float:
    """What leaves 2.5 % of Student's distribution above it: from a table, and from 9 degrees of
    freedom on, right to a thousandth, by Fisher's expansion in 1/freedom (Abramowitz & Stegun
    26.7.5)."""
    if freedom <= len(_QUANTILES):
        return _QUANTILES[freedom - 1]
    z = Z
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def bootstrap(
    values: Sequence[float] | npt.NDArray[Any],
    statistic: Callable[[npt.NDArray[Any]], float],
    generator: np.random.Generator,
) -> Estimate:
    """Any statistic of independent values, by drawing them anew a thousand times."""
    data = np.asarray(values)
    if not len(data):
        raise ValueError(_NONE)
    drawn = [
        statistic(data[generator.integers(len(data), size=len(data))]) for _ in range(RESAMPLES)
    ]
    return _between(statistic(data), drawn, len(data))


def _between(mean: float, drawn: Sequence[float] | npt.NDArray[np.float64], count: int) -> Estimate:
    low, high = np.percentile(drawn, [2.5, 97.5])
    # Of values that are all alike the mean may be off by a last digit.
    return Estimate(mean=mean, low=min(float(low), mean), high=max(float(high), mean), count=count)


def share_of(hits: int, trials: int) -> Estimate:
    """A share of independent trials, with Wilson's interval, which stays between 0 and 1."""
    if not 0 <= hits <= trials or not trials:
        raise ValueError(f"a share is of at least one trial, got {hits} of {trials}")
    share = hits / trials
    weight = 1 + Z * Z / trials
    centre = (share + Z * Z / (2 * trials)) / weight
    half = Z * sqrt(share * (1 - share) / trials + Z * Z / (4 * trials * trials)) / weight
    return Estimate(
        mean=share,
        # At none and at all the formula gives the share itself, but for a last digit.
        low=min(share, max(0.0, centre - half)),
        high=max(share, min(1.0, centre + half)),
        count=trials,
    )


def gini(values: Sequence[float] | npt.NDArray[Any]) -> float:
    """How unequal a load is: 0 when all carry the same, towards 1 when one carries it all."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    total = float(ordered.sum())
    if not total:
        return 0.0
    count = len(ordered)
    ranks = np.arange(1, count + 1)
    return float(2 * (ranks * ordered).sum() / (count * total) - (count + 1) / count)


def percentile(values: Sequence[float] | npt.NDArray[Any], percent: float) -> float:
    """The value below which so many percent of them lie, between two where need be."""
    return float(np.percentile(np.asarray(values), percent))
