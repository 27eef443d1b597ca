"""What the runs of a sweep say together: a row a scenario, a curve an overlay, limits under them.

A pure function of the measurements: the order in which they came back is not in it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import final

import attrs

from .estimates import Estimate, mean_of
from .experiment import ByRank, Measured
from .limits import limits_of
from .plots import Plot, Series
from .scenario import Scenario, number_of, place_of, toml_of
from .sweep import Axis, Point, Results, pieces_of
from .tables import Cell, Report, Table


@final
@attrs.frozen(kw_only=True)
class Metric:
    """A number of a run. ``log``: its curves are far apart."""

    name: str
    unit: str
    of: Callable[[Measured], float | None]
    log: bool = False
    y_range: tuple[float, float] | None = None

    @property
    def label(self) -> str:
        """The name with its unit."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


def _times(factor: float, value: float | None) -> float | None:
    return None if value is None else factor * value


def _load(of: str, which: str) -> Callable[[Measured], float | None]:
    def load(measured: Measured) -> float | None:
        each = measured.load.get(of)
        return None if each is None else float(getattr(each, which))

    return load


METRICS: Sequence[Metric] = (
    Metric(name="success", unit="%", of=lambda m: _times(100, m.success), y_range=(-3, 103)),
    Metric(name="hops", unit="", of=lambda m: m.hops),
    Metric(name="messages", unit="a read", of=lambda m: m.messages, log=True),
    Metric(name="bytes", unit="a read", of=lambda m: m.bytes, log=True),
    Metric(name="latency p50", unit="ms", of=lambda m: _times(1000, m.latency_p50_s)),
    Metric(name="latency p95", unit="ms", of=lambda m: _times(1000, m.latency_p95_s)),
    Metric(name="latency p99", unit="ms", of=lambda m: _times(1000, m.latency_p99_s)),
    Metric(name="upkeep", unit="B/s a node", of=lambda m: m.upkeep_bytes, log=True),
)
BY_NAME: Mapping[str, Metric] = {metric.name: metric for metric in METRICS}
#: Those that have a plot for each axis.
PLOTTED = ("success", "hops", "messages", "bytes", "latency p50", "upkeep")

#: Of how the load lies on the nodes.
LOADS: Sequence[Metric] = tuple(
    Metric(name=f"{of}: {words}", unit="", of=_load(of, which))
    for of in ("records", "messages", "bytes")
    for which, words in (("p99_over_mean", "p99 / mean"), ("gini", "Gini"))
)
_BY_RANK: Sequence[tuple[str, str, bool, Callable[[ByRank], float | None]]] = (
    ("copies", "", False, lambda each: each.copies),
    ("success", "%", False, lambda each: _times(100, each.success)),
    ("hops", "", False, lambda each: each.hops),
    ("messages", "a read", True, lambda each: each.messages),
    ("bytes", "a read", True, lambda each: each.bytes),
    ("latency p50", "ms", False, lambda each: _times(1000, each.latency_p50_s)),
)


@final
@attrs.frozen
class Line:
    """A point of the grid and what its runs measured, by seed."""

    point: Point
    runs: Sequence[Measured]

    def estimate(self, metric: Metric) -> Estimate | None:
        """The mean over the runs; None where none of them can say it."""
        return _mean([metric.of(each) for each in self.runs])


def _mean(values: Sequence[float | None]) -> Estimate | None:
    known = [value for value in values if value is not None]
    return mean_of(known) if known else None


def lines_of(points: Sequence[Point], results: Results) -> list[Line]:
    """Every point with what there is of it, in the order of the grid."""
    return [
        Line(point, [results[each.key] for each in pieces_of([point]) if each.key in results])
        for point in points
    ]


def summarised(
    base: Scenario, axes: Sequence[Axis], points: Sequence[Point], results: Results
) -> Report:
    """The report of a run."""
    lines = [line for line in lines_of(points, results) if line.runs]
    plots: list[Plot] = []
    for axis in axes:
        if len(axis.values) > 1 and all(map(_is_number, axis.values)):
            plots += plots_over(axis, lines)
    # With curves for each scenario they would be a tangle; the table has them all the same.
    plots = plots or plots_by_rank(lines)
    return Report(
        title=f"{base.name}: {_words(base)}",
        tables=[main_table(axes, lines), load_table(axes, lines), rank_table(axes, lines)],
        plots=plots,
        notes=[*notes_of(lines), *unfinished(points, results)],
        scenario=toml_of(base),
    )


def _words(base: Scenario) -> str:
    return f"{base.overlay}, {base.nodes:,} nodes, {base.workload.reads:,} reads"


def _is_number(text: str) -> bool:
    return not isinstance(number_of(text), str)


def notes_of(lines: Sequence[Line]) -> Iterator[str]:
    """What a reader of their numbers has to know."""
    wrong = sum(run.wrong for line in lines for run in line.runs)
    reads = sum(run.reads for line in lines for run in line.runs)
    lost = sum(run.lost for line in lines for run in line.runs)
    yield f"{wrong} of {reads:,} reads came back with a wrong value."
    if lost:
        yield f"{lost} reads were lost with the node that asked, and count neither way."
    yield (
        "Messages are requests of all nodes for a read, retries included, answers left out; bytes "
        "are those of their datagrams both ways, without IP and UDP. Hops are those of reads that "
        "found something: a node that the reader knows is 1 away, itself 0."
    )
    if any(line.point.scenario.kind.static for line in lines):
        yield (
            "Tree, ring, hypercube and xor are models without clock and messages: a read goes to a "
            "living node, greedily, and only hops and success can be said of it."
        )
    if any(len(line.runs) > 1 for line in lines):
        yield "A value ± half its 95 % interval, over the runs."


def unfinished(points: Sequence[Point], results: Results) -> Iterator[str]:
    """A sentence where runs are missing."""
    pieces = pieces_of(points)
    done = sum(piece.key in results for piece in pieces)
    if done < len(pieces):
        yield f"UNFINISHED: {done} of {len(pieces)} runs are in this report."


# ------------------------------------------------------------------------------------------- tables


def _head(axes: Sequence[Axis]) -> list[str]:
    names = [axis.name for axis in axes]
    return names if "overlay" in names else ["overlay", *names]


def _settings(axes: Sequence[Axis], line: Line) -> list[Cell]:
    names = _head(axes)
    settings = {"overlay": line.point.scenario.overlay, **line.point.settings}
    # Numbers where they are some, so that a column is of one kind in JSON.
    return [number_of(settings[name]) for name in names]


def main_table(axes: Sequence[Axis], lines: Sequence[Line]) -> Table:
    """Every metric of every scenario."""
    return Table(
        name="measured",
        title="What reads come to",
        columns=[*_head(axes), "runs", "wrong", *(metric.label for metric in METRICS)],
        rows=[
            [
                *_settings(axes, line),
                len(line.runs),
                sum(each.wrong for each in line.runs),
                *map(line.estimate, METRICS),
            ]
            for line in lines
        ],
    )


def load_table(axes: Sequence[Axis], lines: Sequence[Line]) -> Table:
    """How evenly it all lies on the nodes."""
    return Table(
        name="balance",
        title="How evenly records, and the messages and bytes of reads, lie on the nodes",
        columns=[*_head(axes), *(metric.label for metric in LOADS)],
        rows=[
            [*_settings(axes, line), *map(line.estimate, LOADS)]
            for line in lines
            if any(each.load for each in line.runs)
        ],
    )


def rank_table(axes: Sequence[Axis], lines: Sequence[Line]) -> Table:
    """By how popular the record is."""
    columns = [f"{name} [{unit}]" if unit else name for name, unit, _, _ in _BY_RANK]
    return Table(
        name="popularity",
        title="By the rank of the record, 1 is read most",
        columns=[*_head(axes), "ranks", "reads", *columns],
        rows=[
            [
                *_settings(axes, line),
                _ranks(part[0]),
                sum(each.reads for each in part),
                *(_mean([of(each) for each in part]) for _, _, _, of in _BY_RANK),
            ]
            for line in lines
            for part in _parts(line)
        ],
    )


def _parts(line: Line) -> list[tuple[ByRank, ...]]:
    """A class of ranks after the other, each as all runs had it."""
    return list(zip(*(each.ranks for each in line.runs), strict=True))


def _ranks(part: ByRank) -> str:
    return str(part.first) if part.first == part.last else f"{part.first}-{part.last}"


# -------------------------------------------------------------------------------------------- plots


def plots_over(axis: Axis, lines: Sequence[Line], metrics: Sequence[str] = PLOTTED) -> list[Plot]:
    """Each metric against the axis, a curve for each combination of the other settings."""
    numbers = sorted(map(float, axis.values))
    wide = numbers[0] > 0 and numbers[-1] >= 8 * numbers[0]
    plots = []
    for name in metrics:
        metric = BY_NAME[name]
        curves = _curves(axis, lines, metric)
        if not curves:
            continue
        scenarios = [(float(line.point.settings[axis.name]), line.point.scenario) for line in lines]
        plots.append(
            Plot(
                name=_file_name(f"{name}-by-{axis.name}"),
                title=f"{name.capitalize()} by {_AXES.get(axis.name, axis.name)}",
                x_label=_AXES.get(axis.name, axis.name),
                y_label=metric.label,
                series=[*curves, *limits_of(name, place_of(axis.name), scenarios)],
                x_log=wide,
                y_log=metric.log and all(min(each.ys) > 0 for each in curves),
                y_range=metric.y_range,
            )
        )
    return plots


#: Axes whose names say too little.
_AXES = {"session_min": "median session [min]"}


def _file_name(words: str) -> str:
    return words.replace(" ", "-").replace(".", "-").replace("_", "-")


def _curves(axis: Axis, lines: Sequence[Line], metric: Metric) -> list[Series]:
    curves: dict[str, list[tuple[float, Estimate]]] = {}
    for line in lines:
        estimate = line.estimate(metric)
        if estimate is not None:
            name = _name_of(line, without=axis.name)
            x = float(line.point.settings[axis.name])
            curves.setdefault(name, []).append((x, estimate))
    return [
        _series(name, sorted(points, key=lambda each: each[0])) for name, points in curves.items()
    ]


def _series(name: str, points: Sequence[tuple[float, Estimate]]) -> Series:
    estimates = [estimate for _, estimate in points]
    return Series(
        name=name,
        xs=[x for x, _ in points],
        ys=[each.mean for each in estimates],
        lows=[each.low for each in estimates],
        highs=[each.high for each in estimates],
    )


def _name_of(line: Line, *, without: str = "") -> str:
    """A curve's name: the overlay, and what else is set."""
    others = [
        f"{name} {value}"
        for name, value in line.point.settings.items()
        if name not in {without, "overlay"}
    ]
    return ", ".join([line.point.scenario.overlay, *others])


def plots_by_rank(lines: Sequence[Line]) -> list[Plot]:
    """What a read costs by how popular its record is."""
    plots = []
    for name, unit, log, of in _BY_RANK:
        curves = [
            _series(_name_of(line), points) for line in lines if (points := _by_rank(line, of))
        ]
        if name != "copies" and curves:
            plots.append(
                Plot(
                    name=_file_name(f"{name}-by-rank"),
                    title=f"{name.capitalize()} by rank of the record",
                    x_label="rank, 1 is read most",
                    y_label=f"{name} [{unit}]" if unit else name,
                    series=curves,
                    x_log=True,
                    y_log=log and all(min(each.ys) > 0 for each in curves),
                    y_range=(-3, 103) if name == "success" else None,
                )
            )
    return plots


def _by_rank(line: Line, of: Callable[[ByRank], float | None]) -> list[tuple[float, Estimate]]:
    found = []
    for part in _parts(line):
        estimate = _mean([of(each) for each in part])
        if estimate is not None:
            # A class stands at the middle of its ranks, as a logarithm has it.
            found.append(((part[0].first * part[0].last) ** 0.5, estimate))
    return found
