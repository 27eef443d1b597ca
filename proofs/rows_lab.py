"""The promises of the laboratory's other half: what it simulates hangs on the seed alone, and
lookups stand beside searches that know no structure."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from dht.lab.closed_forms import hops_kademlia
from dht.lab.experiment import Measured, run
from dht.lab.scenario import Scenario, changed

from .machine import Figures, Reduced, Verdict, row
from .surroundings import ROOT

# ------------------------------------------------------------------------- the same seed, the same

#: A run has this many nodes in full.
REPEATED_NODES = 200


def judge_same_seed(pieces: Sequence[Figures]) -> Verdict:
    """Every file of a report, byte by byte."""
    files = sum(piece["files"] for piece in pieces)
    differing = [name for piece in pieces for name in piece["differing"]]
    return Verdict(
        {"files": files, "differing": differing, "sweeps": list(pieces)},
        files > 0 and not differing,
        f"of {files} files in {len(pieces)} reports, made twice in processes whose strings hash "
        f"differently, {len(differing)} differ {differing or ''}".rstrip(),
    )


@row(
    "lab-same-seed",
    promise="a sweep that `dht lab run` makes twice, with one process and with two and another "
    "PYTHONHASHSEED, has the same report, byte by byte: tables, plots and page",
    pieces=4,
    judge=judge_same_seed,
    reduced=Reduced(pieces=1, scale=0.06),
)
def lab_same_seed(seed: int, scale: float) -> Figures:
    """One sweep of all four ways, with churn and loss, which draw from every stream there is."""
    nodes = max(12, round(REPEATED_NODES * scale))
    # Two of them in the reduced size: one of each family.
    overlays = "kademlia,flood,walk,index" if scale == 1 else "kademlia,walk"
    with TemporaryDirectory() as folder:
        reports = [
            _report(Path(folder, str(jobs)), seed, nodes=nodes, jobs=jobs, overlays=overlays)
            for jobs in (1, 2)
        ]
    first, second = reports
    return {
        "nodes": nodes,
        "files": len(first),
        "differing": sorted(
            name for name in {*first, *second} if first.get(name) != second.get(name)
        ),
    }


def _report(
    folder: Path, seed: int, *, nodes: int, jobs: int, overlays: str
) -> Mapping[str, bytes]:
    """By name, the files that the command writes; not the pieces, whose order is that of work."""
    words = [
        *("--seed", str(seed), "--seeds", "1", "--nodes", str(nodes), "--reads", "40"),
        *("--churn", "5", "--loss", "0.05", "--set", "soak_s=30"),
        *("--sweep", f"overlay={overlays}", "--jobs", str(jobs)),
    ]
    subprocess.run(
        [sys.executable, "-m", "dht", "lab", "run", *words, "--out", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(jobs)},
        check=True,
        capture_output=True,
    )
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name != "pieces.jsonl"
    }


# -------------------------------------------------------------------- lookups and searches compared

SIZES = (1000, 10_000)
OVERLAYS = ("kademlia", "flood", "walk", "index")
#: Of the hops of a lookup above log2(N/k)/D(k) + 1, as ``lookup-no-faults`` promises.
HOPS_ABOVE_FORMULA_MAX = 0.3


def judge_beside(pieces: Sequence[Figures]) -> Verdict:
    """Held to what is promised elsewhere: lookups find everything in few hops, and nobody ever
    finds anything wrong. What searches cost and find is told."""
    wrong = sum(each["wrong"] for piece in pieces for each in piece["measured"].values())
    lookups = [piece["measured"]["kademlia"] for piece in pieces]
    above = max(
        each["hops"] - piece["formula"] for each, piece in zip(lookups, pieces, strict=True)
    )
    told = "; ".join(
        f"{piece['nodes']:,} nodes: "
        + ", ".join(
            f"{name} {each['success']:.1%} in {each['hops']:.2f} hops, {each['messages']:.1f} "
            "requests"
            for name, each in piece["measured"].items()
        )
        for piece in pieces
    )
    return Verdict(
        {"wrong": wrong, "hops_above_formula": above, "networks": list(pieces)},
        not wrong
        and all(each["success"] == 1 for each in lookups)
        and above <= HOPS_ABOVE_FORMULA_MAX,
        f"{told}; {wrong} wrong values",
    )


@row(
    "lookups-beside-searches",
    promise="among 1,000 and 10,000 nodes without faults, lookups find every record, at most "
    f"{HOPS_ABOVE_FORMULA_MAX:g} hops above log2(N/k)/D(k) + 1; what flood, walk and index find of "
    "the same records on the same reads, and at which cost, stands beside it; no value is wrong",
    pieces=len(SIZES),
    judge=judge_beside,
    reduced=Reduced(pieces=1, scale=0.06),
    # Ten thousand nodes take gigabytes.
    parallel=False,
)
def lookups_beside_searches(seed: int, scale: float) -> Figures:
    """One size, in all four ways: piece 0 is of 1,000 nodes, piece 1 of 10,000."""
    nodes = round(SIZES[seed % len(SIZES)] * scale)
    reads = max(60, round(200 * scale))
    measured = {
        overlay: _figures(
            run(
                changed(Scenario(), {"overlay": overlay, "nodes": str(nodes), "reads": str(reads)}),
                seed,
                lambda _: None,
            )
        )
        for overlay in OVERLAYS
    }
    return {
        "nodes": nodes,
        "formula": hops_kademlia(nodes, Scenario().knobs().k) + 1,
        "measured": measured,
    }


def _figures(measured: Measured) -> Figures:
    return {
        name: getattr(measured, name)
        for name in ("reads", "wrong", "success", "hops", "messages", "bytes", "latency_p50_s")
    }
