"""Verdicts: within the tolerance, beyond it on either side, and not judged at all."""

from typing import Literal

import pytest

from dht.lab.catalogue import CHORD
from dht.lab.estimates import Estimate
from dht.lab.findings import Finding, Provenance, Published, Reproduction, Verdict


def finding(
    ours: float,
    *,
    provenance: Provenance | None = Provenance.TEXT,
    tolerance: float | None = 1,
    better: Literal["lower", "higher"] | None = None,
    asserted: bool = False,
) -> Finding:
    """Ours beside a published 10."""
    published = (
        None if provenance is None else Published(value=10, provenance=provenance, source="a paper")
    )
    return Finding(
        name="x",
        unit="y",
        published=published,
        ours=Estimate.exactly(ours),
        tolerance=tolerance,
        better=better,
        asserted=asserted,
    )


@pytest.mark.parametrize(
    ("ours", "better", "verdict"),
    [
        (11, None, Verdict.REPRODUCED),
        (9, "lower", Verdict.REPRODUCED),
        (11.1, None, Verdict.MISSED),
        (8.9, None, Verdict.MISSED),
        (8.9, "lower", Verdict.BEATEN),
        (11.1, "lower", Verdict.MISSED),
        (11.1, "higher", Verdict.BEATEN),
        (8.9, "higher", Verdict.MISSED),
    ],
)
def test_the_verdict_hangs_on_the_tolerance_and_the_better_side(
    ours: float, better: Literal["lower", "higher"] | None, verdict: Verdict
) -> None:
    assert finding(ours, better=better).verdict is verdict


@pytest.mark.parametrize("ours", [10, 1000])
def test_what_is_from_memory_is_never_missed_nor_reproduced(ours: float) -> None:
    assert finding(ours, provenance=Provenance.MEMORY).verdict is Verdict.NOT_COMPARABLE
    assert finding(ours, provenance=None).verdict is Verdict.NOT_COMPARABLE
    assert finding(ours, tolerance=None).verdict is Verdict.NOT_COMPARABLE


@pytest.mark.parametrize("provenance", [None, Provenance.MEMORY])
def test_what_is_from_memory_cannot_be_asserted(provenance: Provenance | None) -> None:
    with pytest.raises(ValueError, match="cannot be asserted"):
        finding(10, provenance=provenance, asserted=True)


def test_only_what_is_asserted_and_missed_breaks_a_reproduction() -> None:
    missed, asserted = finding(20), finding(20, asserted=True)
    reproduction = Reproduction(
        scenario=CHORD, findings=[finding(10, asserted=True), missed, asserted]
    )
    assert missed.verdict is asserted.verdict is Verdict.MISSED
    assert reproduction.broken == [asserted]
