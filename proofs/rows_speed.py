"""Promises about speed on real sockets: ratios to another package, taken in one run."""

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.loopback import COPIES, compare

from .machine import Figures, Reduced, Verdict, row

#: How many times the rate of the package ``kademlia``: (puts, gets).
BARS = {"8 copies each": (2.5, 2.5), "defaults each": (8.0, 2.0)}
OPERATIONS = 2000


def judge_speed(pieces: Sequence[Figures]) -> Verdict:
    """Medians of the ratios, each taken within one piece; one failed operation fails the row."""
    figures: dict[str, Any] = {"failures": sum(piece["failures"] for piece in pieces)}
    passed = figures["failures"] == 0
    parts = []
    for setting, bars in BARS.items():
        for what, bar in zip(("puts", "gets"), bars, strict=True):
            ratios = [piece[setting][what]["ratio"] for piece in pieces]
            median = statistics.median(ratios)
            figures[f"{what}, {setting}"] = {
                "median_ratio": round(median, 2),
                "ratios": [round(ratio, 2) for ratio in ratios],
                "bar": bar,
                "ours_per_second": [round(piece[setting][what]["ours"]) for piece in pieces],
                "theirs_per_second": [round(piece[setting][what]["theirs"]) for piece in pieces],
            }
            passed = passed and (median >= bar or pieces[0]["reduced"])
            parts.append(f"{what} {median:.1f} times ({setting}; {bar:g} promised)")
    return Verdict(figures, passed, f"{', '.join(parts)}; {figures['failures']} operations failed")


@row(
    "loopback-speed",
    promise="64 nodes on loopback put and get at 2.5 times the rate of the package kademlia with "
    "8 copies each, at 8 and 2 times with the defaults of each; no operation fails",
    pieces=5,
    judge=judge_speed,
    # A clock in the test-suite would judge its neighbours: there, only that all of it works.
    reduced=Reduced(pieces=1, scale=0.02),
    parallel=False,
)
def loopback_speed(seed: int, scale: float) -> Figures:
    """One run of the benchmark: theirs and ours in turn."""
    operations = int(OPERATIONS * scale)
    figures: Figures = {"failures": 0, "reduced": scale < 1}
    for setting, copies in zip(BARS, (COPIES, None), strict=True):
        compared = compare(copies, operations=operations, seed=seed)
        figures[setting] = compared.rates
        figures["failures"] += compared.failures
    return figures
