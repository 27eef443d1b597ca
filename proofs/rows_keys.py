"""The promise about keys on disk: a crash never costs one, and never leaves half of one."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from .machine import Figures, Reduced, Verdict, row

ROOT = Path(__file__).parents[1]
KILLS = 200


def judge_first_use(pieces: Sequence[Figures]) -> Verdict:
    """No key may be torn, and the next start has to go on from what is there."""
    totals = {name: sum(piece[name] for piece in pieces) for name in pieces[0]}
    return Verdict(
        totals,
        totals["torn"] == totals["lost_afterwards"] == 0 < min(totals["whole"], totals["absent"])
        and totals["kills"] >= sum(piece["wanted"] for piece in pieces),
        f"{totals['kills']} first uses were killed: {totals['absent']} keys are absent, "
        f"{totals['whole']} whole, {totals['torn']} torn",
    )


@row(
    "key-whole-or-absent",
    promise="a process that is killed while it makes its key, 200 times in a row, at its system "
    "calls in turn and at random moments, leaves the key whole or absent, and the next start goes "
    "on from it",
    pieces=1,
    judge=judge_first_use,
    reduced=Reduced(pieces=1, scale=0.3),
)
def key_whole_or_absent(seed: int, scale: float) -> Figures:
    """In a process of its own, since it forks."""
    kills = round(KILLS * scale)
    with TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "proofs.first_use", folder, str(seed), str(kills)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
    return {"wanted": kills, **json.loads(done.stdout)}
