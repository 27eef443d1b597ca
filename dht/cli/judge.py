"""What the demo read, judged: plain values in, a table row and an exit status out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import attrs

from .statuses import ExitStatus


@final
@attrs.frozen(kw_only=True)
class Reading:
    """One get: what came back (None: nothing), and what it took."""

    name: str
    value: bytes | None
    messages: int
    hops: int
    latency_s: float


@final
@attrs.frozen(kw_only=True)
class Round:
    """All records, read once."""

    records: int
    found: int
    #: Something came back, and it was not what had been stored.
    wrong: int
    missing: int
    rpcs_per_get: float
    hops: float
    latency_p50_s: float
    latency_p99_s: float

    @property
    def shape(self) -> dict[str, Any]:
        """For ``--json``."""
        return attrs.asdict(self)


def judge(stored: Mapping[str, bytes], readings: Sequence[Reading]) -> Round:
    """Compares what was read with what was stored. A record that was not read is missing."""
    values = {reading.name: reading.value for reading in readings}
    found = sum(values.get(name) == value for name, value in stored.items())
    missing = sum(values.get(name) is None for name in stored)
    latencies = sorted(reading.latency_s for reading in readings)
    return Round(
        records=len(stored),
        found=found,
        wrong=len(stored) - found - missing,
        missing=missing,
        rpcs_per_get=mean(reading.messages for reading in readings),
        hops=mean(reading.hops for reading in readings),
        latency_p50_s=quantile(latencies, 0.50),
        latency_p99_s=quantile(latencies, 0.99),
    )


def verdict(before: Round, after: Round, *, wrong: int = 0) -> ExitStatus:
    """A wrong record is never right; a missing one is a fault while every node lives. ``wrong``:
    records that came back changed in yet other ways.

    With eight owners, all of them among the killed quarter is a matter of chance: about once in
    300,000 records.
    """
    faulty = before.wrong or before.missing or after.wrong or wrong
    return ExitStatus.NOT_FOUND if faulty else ExitStatus.DONE


def sentence(before: Round, after: Round, *, wrong: int = 0) -> str:
    """The same, in words."""
    if verdict(before, after, wrong=wrong):
        return "This is not as it should be: records were wrong, or missing while all nodes lived."
    if after.missing:
        return f"No record was wrong; {after.missing} were not found after the kill."
    return "Every record was right."


def mean(values: Iterable[float]) -> float:
    """The arithmetic mean; 0 of nothing."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which that share of an ordered list lies; 0 of nothing."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
