"""The promises of the laboratory's static half: how fast it is, and what it finds again.

A reproduction keeps its promise when none of the findings that it asserts is missed: those with
a published number that somebody here has read, or a formula. All others are in its table.
"""

import resource
from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np

from dht.lab import closed_forms
from dht.lab.catalogue import SCENARIOS
from dht.lab.geometries import Geometry, build, random_deaths, random_pairs, route
from dht.lab.loading import load
from dht.lab.nearest import every_id, random_ids
from dht.lab.reports import row_of

from .machine import Figures, Piece, Reduced, Verdict, row

#: Percent of the nodes that are dead.
LEVELS = (5, 10, 20, 30, 40, 50, 60, 70, 80)
PAIRS = 18_000
SWEEP_S = 20.0
FORMS: dict[str, Callable[[float, int], float]] = {
    Geometry.TREE: closed_forms.failed_paths_tree,
    Geometry.HYPERCUBE: closed_forms.failed_paths_hypercube,
}


def judge_sweeps(pieces: Sequence[Figures]) -> Verdict:
    """The slowest sweep, and the closed forms against all pairs of all sweeps."""
    bits = pieces[0]["bits"]
    seconds = max(piece["seconds"] for piece in pieces)
    off = {
        name: max(
            abs(np.mean([piece["failed"][name][at] for piece in pieces]) - form(level / 100, bits))
            for at, level in enumerate(LEVELS)
        )
        for name, form in FORMS.items()
    }
    points = {name: round(100 * float(each), 3) for name, each in off.items()}
    return Verdict(
        {"seconds_max": seconds, "points_off_max": points, "sweeps": list(pieces)},
        seconds < SWEEP_S and max(points.values()) <= 1,
        f"{len(pieces)} sweeps of {1 << bits:,} nodes took at most {seconds:.1f} s; failed paths "
        f"are at most {points['tree']:.2f} (tree) and {points['hypercube']:.2f} (hypercube) "
        "percentage points off their closed forms",
    )


@row(
    "static-geometries",
    promise="tree, ring, hypercube and XOR of 65,536 nodes at nine levels of dead nodes, 18,000 "
    "pairs each, take under 20 s; failed paths of tree and hypercube are within 1 percentage point "
    "of their closed forms",
    pieces=10,
    judge=judge_sweeps,
    # Of 16,384 nodes, whose closed forms are others.
    reduced=Reduced(pieces=4, scale=0.5),
    parallel=False,
)
def static_geometries(seed: int, scale: float) -> Figures:
    """One sweep: four networks are built, and each loses nine times as many nodes."""
    bits = 16 if scale == 1 else 14
    begun = perf_counter()
    failed: dict[str, list[float]] = {}
    for number, geometry in enumerate(Geometry):
        generator = np.random.default_rng([seed, number])
        network = build(geometry, every_id(bits), bits, generator)
        failed[geometry] = []
        for level in LEVELS:
            alive = random_deaths(network.size, level / 100, generator)
            sources, targets = random_pairs(alive, round(PAIRS * scale), generator)
            routes = route(network, sources, targets, alive=alive)
            failed[geometry].append(float(1 - routes.arrived.mean()))
    return {"bits": bits, "seconds": round(perf_counter() - begun, 2), "failed": failed}


# --------------------------------------------------------------------------------- a million nodes

MILLION = 1_000_000
MILLION_S = 300.0
MILLION_GIB = 8.0
#: Of ids of 32 bits: so many that a million of them are still far apart.
ID_BITS = 32
BUCKET = 20


def judge_million(pieces: Sequence[Figures]) -> Verdict:
    """Time, memory, and that lookups arrive."""
    worst = {
        key: max(piece[key] for piece in pieces) for key in ("seconds", "resident_gib", "failed")
    }
    return Verdict(
        {**worst, "networks": list(pieces)},
        worst["seconds"] < MILLION_S
        and worst["resident_gib"] < MILLION_GIB
        and not worst["failed"],
        f"{pieces[0]['nodes']:,} nodes of {pieces[0]['entries']:.0f} entries took "
        f"{worst['seconds']:.1f} s and {worst['resident_gib']:.2f} GiB; without dead nodes "
        f"{worst['failed']:.2%} of the lookups failed, and took {pieces[0]['hops']:.2f} hops",
    )


@row(
    "million-xor",
    promise="a million nodes with buckets of 20 are built and looked up in, alive and with half of "
    "them dead, in under 5 minutes and 8 GiB of resident memory",
    pieces=1,
    judge=judge_million,
    reduced=Reduced(pieces=1, scale=0.02),
    parallel=False,
)
def million_xor(seed: int, scale: float) -> Figures:
    """Tables for everybody, and ten thousand lookups twice."""
    begun = perf_counter()
    generator = np.random.default_rng(seed)
    ids = random_ids(round(MILLION * scale), ID_BITS, generator)
    network = build(Geometry.XOR, ids, ID_BITS, generator, bucket=BUCKET)
    figures: Figures = {"nodes": network.size, "entries": network.degree}
    for name, dead in (("", 0.0), ("_half_dead", 0.5)):
        alive = random_deaths(network.size, dead, generator)
        routes = route(network, *random_pairs(alive, 10_000, generator), alive=alive)
        figures[f"failed{name}"] = float(1 - routes.arrived.mean())
        figures[f"hops{name}"] = float(routes.hops[routes.arrived].mean())
    # In KiB on Linux; of the whole process, whatever ran in it before.
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {**figures, "seconds": round(perf_counter() - begun, 2), "resident_gib": resident}


# ----------------------------------------------------------------------------------- reproductions

#: How much of each is done in the reduced size: a few seconds' worth.
REDUCED = {
    "chord2001": 0.2,
    "gummadi2003": 0.3,
    "hashing-balance": 0.2,
    "lv2002": 0.12,
    "rfm19.1": 0.2,
    "skademlia2007": 0.45,
}


def promise_of(name: str) -> str:
    """What all reproductions promise, of one of them."""
    return (
        f"{SCENARIOS[name].title}: every asserted finding of `dht lab reproduce {name}` is "
        "reproduced or beaten, within its tolerance"
    )


def reproduced(name: str, seed: int, scale: float) -> Figures:
    """Every finding as its row of the table, and those that are asserted and missed."""
    reproduction = load(SCENARIOS[name])(scale, seed + 1, lambda _: None)
    return {
        "findings": [row_of(finding) for finding in reproduction.findings],
        "asserted": sum(finding.asserted for finding in reproduction.findings),
        "missed": [row_of(finding) for finding in reproduction.broken],
    }


def judge_reproduction(pieces: Sequence[Figures]) -> Verdict:
    """Some are asserted, and none of these may be missed."""
    (piece,) = pieces
    missed = [" | ".join(cells) for cells in piece["missed"]]
    return Verdict(
        dict(piece),
        piece["asserted"] > 0 and not missed,
        f"of {piece['asserted']} asserted findings {len(missed)} are missed"
        + (f": {'; '.join(missed)}" if missed else ""),
    )


def promised(name: str, scale: float) -> Callable[[Piece], Piece]:
    """Makes the row of a reproduction; ``scale``: how much of it is done in the reduced size."""
    return row(
        f"reproduce-{name.replace('.', '-')}",
        promise=promise_of(name),
        pieces=1,
        judge=judge_reproduction,
        reduced=Reduced(pieces=1, scale=scale),
    )


@promised("chord2001", REDUCED["chord2001"])
def reproduce_chord2001(seed: int, scale: float) -> Figures:
    """A ring with fingers: load, paths, failures."""
    return reproduced("chord2001", seed, scale)


@promised("gummadi2003", REDUCED["gummadi2003"])
def reproduce_gummadi2003(seed: int, scale: float) -> Figures:
    """Four geometries with dead nodes."""
    return reproduced("gummadi2003", seed, scale)


@promised("hashing-balance", REDUCED["hashing-balance"])
def reproduce_hashing_balance(seed: int, scale: float) -> Figures:
    """Spread, moved keys, and Maglev's table."""
    return reproduced("hashing-balance", seed, scale)


@promised("lv2002", REDUCED["lv2002"])
def reproduce_lv2002(seed: int, scale: float) -> Figures:
    """Flood, ring and walkers on four topologies."""
    return reproduced("lv2002", seed, scale)


@promised("rfm19.1", REDUCED["rfm19.1"])
def reproduce_rfm19_1(seed: int, scale: float) -> Figures:
    """Hops by bucket size."""
    return reproduced("rfm19.1", seed, scale)


@promised("skademlia2007", REDUCED["skademlia2007"])
def reproduce_skademlia2007(seed: int, scale: float) -> Figures:
    """Disjoint paths among adversaries."""
    return reproduced("skademlia2007", seed, scale)
