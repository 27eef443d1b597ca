"""The promises of the laboratory where time passes: overlays in cycles, engines in virtual time.

They promise as the static ones do: no finding that is asserted is missed. The reduced sizes have
smaller networks, as the notes of each reproduction say.
"""

from .machine import Figures
from .rows_lab_static import promised, reproduced

#: How much of each is done in the reduced size: a few seconds' worth.
REDUCED = {
    "hyparview2007": 0.02,
    "li2005": 0.02,
    "optimistic-provide": 0.02,
    "rhea2004": 0.01,
}


@promised("hyparview2007", REDUCED["hyparview2007"])
def reproduce_hyparview2007(seed: int, scale: float) -> Figures:
    """Cyclon and HyParView, and broadcasts after a crash."""
    return reproduced("hyparview2007", seed, scale)


@promised("li2005", REDUCED["li2005"])
def reproduce_li2005(seed: int, scale: float) -> Figures:
    """Bytes, latency and failures of lookups under churn."""
    return reproduced("li2005", seed, scale)


@promised("optimistic-provide", REDUCED["optimistic-provide"])
def reproduce_optimistic_provide(seed: int, scale: float) -> Figures:
    """Time to publish, and holders over hours."""
    return reproduced("optimistic-provide", seed, scale)


@promised("rhea2004", REDUCED["rhea2004"])
def reproduce_rhea2004(seed: int, scale: float) -> Figures:
    """Consistency, bytes and latency by session."""
    return reproduced("rhea2004", seed, scale)
