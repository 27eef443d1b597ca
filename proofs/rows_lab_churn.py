"""The promise about lookups while nodes come and go for hours.

It is a sweep of the laboratory, the one that `examples/scenarios/sessions.toml` says at its top; a
piece is one of its runs. `python -m docs.under_churn` draws the picture of it.
"""

from collections.abc import Sequence

import attrs

from dht.lab.experiment import measured_of
from dht.lab.limits import limits_of
from dht.lab.scenario import changed, read_scenario
from dht.lab.summary import BY_NAME, Line, lines_of
from dht.lab.sweep import Axis, Point, grid, measure, pieces_of

from .machine import Figures, Reduced, Verdict, row
from .surroundings import ROOT

SCENARIO = ROOT / "examples" / "scenarios" / "sessions.toml"
AXIS = Axis.parse("session_min=20,60,180")
#: Of the gets whose node lived to see their end.
FOUND_MIN = 0.99


def points_of(scale: float = 1.0) -> list[Point]:
    """The sweep; a smaller one has fewer nodes and less work, and less time for both."""
    base = read_scenario(SCENARIO.read_text())
    work = base.workload
    smaller = {
        "nodes": round(base.nodes * scale),
        "soak_s": base.churn.soak_s * scale,
        "records": round(work.records * scale),
        "reads": round(work.reads * scale),
        "read_sessions": work.read_sessions * scale,
    }
    return grid(changed(base, {name: str(value) for name, value in smaller.items()}), [AXIS])


POINTS = points_of()


def lines_from(pieces: Sequence[Figures]) -> list[Line]:
    """A line a session, of the runs that are there; in full they are of two seeds each."""
    known = zip(pieces_of(POINTS), pieces, strict=False)
    results = {piece.key: measured_of(figures["measured"]) for piece, figures in known}
    return [line for line in lines_of(POINTS, results) if line.runs]


def judge_churn(pieces: Sequence[Figures]) -> Verdict:
    """Each session for itself; what lookups cost is told, beside the least that they could."""
    sessions = [_session(line) for line in lines_from(pieces)]
    wrong = sum(each["wrong"] for each in sessions)
    unwritten = sum(piece["records"] - piece["measured"]["written"] for piece in pieces)
    told = "; ".join(
        f"{each['session_min']} min: {each['found']:,} of {each['ended']:,} found, p50/p95/p99 "
        f"{each['latency p50']:.0f}/{each['latency p95']:.0f}/{each['latency p99']:.0f} ms, "
        f"{each['bytes']:.0f} B a get, upkeep {each['upkeep']:.0f} B/s a node (at least "
        f"{min(each['limits'].values()):.2f})"
        for each in sessions
    )
    return Verdict(
        {"wrong": wrong, "unwritten": unwritten, "sessions": sessions, "runs": list(pieces)},
        not wrong
        and not unwritten
        and all(each["found"] >= FOUND_MIN * each["ended"] > 0 for each in sessions),
        f"{told}; {wrong} wrong values",
    )


def _session(line: Line) -> Figures:
    """What the runs of one session say together."""
    estimates = {name: line.estimate(metric) for name, metric in BY_NAME.items()}
    scenario = line.point.scenario
    limits = limits_of("upkeep", ("churn", "session_min"), [(1.0, scenario)])
    return {
        "session_min": int(scenario.churn.session_min),
        "found": sum(run.found for run in line.runs),
        "ended": sum(run.reads - run.lost for run in line.runs),
        "wrong": sum(run.wrong for run in line.runs),
        **{name: each and each.mean for name, each in estimates.items()},
        "limits": {limit.name: limit.ys[0] for limit in limits},
    }


@row(
    "lookups-under-churn",
    promise=f"among {POINTS[0].scenario.nodes} nodes as shipped that stay for 20, 60 or 180 "
    "minutes (the median; each who goes is replaced), after an hour of that and for two median "
    f"sessions, at least {FOUND_MIN:.0%} of the gets find what was written before, and none finds "
    "a wrong value; latency, and bytes a node a second beside their floor, stand with it",
    pieces=len(pieces_of(POINTS)),
    judge=judge_churn,
    # Of the shortest sessions, for a quarter of an hour.
    reduced=Reduced(pieces=1, scale=0.18),
)
def lookups_under_churn(seed: int, scale: float) -> Figures:
    """One run of the sweep, in its order: two of the shortest sessions first."""
    piece = pieces_of(points_of(scale))[seed]
    measured = measure(piece)
    return {"records": piece.scenario.workload.records, "measured": attrs.asdict(measured)}
