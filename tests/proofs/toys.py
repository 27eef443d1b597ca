"""Rows small enough to see through. In a module of their own: other processes import them."""

from collections.abc import Sequence

from proofs.machine import Figures, Reduced, Registry, Verdict

TOYS = Registry()


def judge_sum(pieces: Sequence[Figures]) -> Verdict:
    total = sum(piece["square"] for piece in pieces)
    return Verdict({"sum": total}, total < 10, f"the squares add up to {total}")


# 0 + 1 + 4 = 5 holds; 0 + 1 + 4 + 9 = 14 does not.
@TOYS.row(
    "few", promise="few squares", pieces=3, judge=judge_sum, reduced=Reduced(pieces=2, scale=0.5)
)
@TOYS.row("many", promise="many squares", pieces=4, judge=judge_sum, reduced=None, parallel=False)
def square(seed: int, scale: float) -> Figures:
    return {"square": int(seed * seed * scale)}


@TOYS.row("broken", promise="none", pieces=2, judge=judge_sum, reduced=None, parallel=False)
def breaks_at_one(seed: int, _scale: float) -> Figures:
    return {"square": 1 // (1 - seed)}
