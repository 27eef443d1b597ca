"""What a reproduction found: each published number beside ours, and what becomes of the two.

A number that nobody here has read in its paper is shown as such and never asserted: the type
below does not allow it.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal, final

import attrs

from .catalogue import Scenario
from .estimates import Estimate
from .plots import Plot


@final
class Provenance(StrEnum):
    """How we know what was published."""

    TEXT = "text read"
    FIGURE = "figure read by eye"
    #: The abstract alone, or a summary by somebody who read all of it.
    ABSTRACT = "abstract or summary"
    #: A formula that was published, evaluated here.
    FORMULA = "formula read"
    #: The same experiment done by somebody else, not by its authors.
    RESIMULATED = "re-simulated by others"
    MEMORY = "from memory"


@final
class Verdict(StrEnum):
    """What becomes of the comparison."""

    REPRODUCED = "reproduced"
    BEATEN = "beaten"
    MISSED = "missed"
    NOT_COMPARABLE = "not comparable"


@final
@attrs.frozen(kw_only=True)
class Published:
    """A number of somebody else's."""

    value: float
    provenance: Provenance
    source: str
    #: As it was written, where that is not a plain number: "under 7".
    words: str = ""


@final
@attrs.frozen(kw_only=True)
class Finding:
    """One published number and ours.

    ``tolerance`` is how far apart they may lie, in the unit of both; None where the two are not
    of the same thing, and a comparison would say nothing. ``better`` says which side of the
    published number beats it. ``asserted`` are those that our own proofs hold us to.
    """

    name: str
    unit: str
    published: Published | None
    ours: Estimate
    limit: float | None = None
    limit_name: str = ""
    tolerance: float | None = None
    better: Literal["lower", "higher"] | None = None
    asserted: bool = False

    def __attrs_post_init__(self) -> None:
        """A number from memory, or none at all, is nothing that a proof may rest on."""
        if self.asserted and self.verdict is Verdict.NOT_COMPARABLE:
            raise ValueError(f"{self.name!r} cannot be asserted: it is not comparable")

    @property
    def verdict(self) -> Verdict:
        """Within the tolerance is reproduced; beyond it, it depends on the side."""
        published = self.published
        if published is None or self.tolerance is None or published.provenance is Provenance.MEMORY:
            return Verdict.NOT_COMPARABLE
        off = self.ours.mean - published.value
        if abs(off) <= self.tolerance:
            return Verdict.REPRODUCED
        if self.better is not None and (off < 0) is (self.better == "lower"):
            return Verdict.BEATEN
        return Verdict.MISSED

    @property
    def holds(self) -> bool:
        """False only for what is asserted and missed."""
        return not self.asserted or self.verdict is not Verdict.MISSED


@final
@attrs.frozen(kw_only=True)
class Reproduction:
    """All that came of one paper."""

    scenario: Scenario
    findings: Sequence[Finding]
    plots: Sequence[Plot] = ()
    #: What a reader must know before believing the table: other definitions, what is our guess.
    notes: Sequence[str] = ()

    @property
    def broken(self) -> list[Finding]:
        """What our proofs hold us to and this run missed."""
        return [finding for finding in self.findings if not finding.holds]
