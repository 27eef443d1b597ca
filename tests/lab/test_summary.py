"""Reports: what rows, curves and limits are made of runs, and the page that shows them."""

import csv
import json
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest

from dht.lab.estimates import Estimate
from dht.lab.limits import (
    left_of,
    limits_of,
    moved_to_last,
    probes_of_random,
    told_of_all,
    told_to_hold,
)
from dht.lab.page import files_of, page_of, write
from dht.lab.plots import Plot, Series, render_panels
from dht.lab.scenario import Overlay, Scenario, changed, read_scenario
from dht.lab.summary import Line, lines_of, plots_over, summarised
from dht.lab.sweep import Axis, Point, Results, grid, pieces_of
from dht.lab.tables import Report, Table, csv_of, is_number, shape_of, text_of
from dht.lab.versus import Comparison, compared, hashing_table
from tests.lab.made import invented, invented_static

BASE = changed(Scenario(), {"seeds": "3"})
AXES = [Axis.parse("overlay=kademlia,walk,xor"), Axis.parse("nodes=64,1024")]


def invented_for(points: list[Point]) -> Results:
    return {
        piece.key: (invented_static if piece.scenario.kind.static else invented)(
            piece.seed, piece.scenario.nodes
        )
        for piece in pieces_of(points)
    }


def report_of(axes: list[Axis], base: Scenario = BASE) -> Report:
    points = grid(base, axes)
    return summarised(base, axes, points, invented_for(points))


def test_a_row_is_a_scenario_and_its_cells_are_means_over_the_runs() -> None:
    table = report_of(AXES).tables[0]
    assert [tuple(row[:3]) for row in table.rows] == [
        (overlay, nodes, 3) for overlay in ("kademlia", "walk", "xor") for nodes in (64, 1024)
    ]
    hops = table.rows[0][list(table.columns).index("hops")]
    assert isinstance(hops, Estimate)
    assert hops.mean == pytest.approx(1.7)
    assert hops.low < hops.mean < hops.high


def test_what_a_static_model_cannot_say_is_left_empty() -> None:
    report = report_of(AXES)
    measured, balance, popularity = report.tables
    assert measured.rows[-1][-1] is None
    assert {row[0] for row in (*balance.rows, *popularity.rows)} == {"kademlia", "walk"}
    assert any("models without clock" in note for note in report.notes)


def test_each_metric_has_a_plot_with_a_curve_an_overlay_and_limits_dashed() -> None:
    plots = {plot.name: plot for plot in report_of(AXES).plots}
    assert len(plots) == 6
    hops = plots["hops-by-nodes"]
    assert [each.name for each in hops.series if each.look == "measured"] == [
        "kademlia",
        "walk",
        "xor",
    ]
    assert {each.like for each in hops.series if each.look == "limit"} == {"kademlia", ""}
    assert (hops.x_log, plots["messages-by-nodes"].y_log) == (True, True)
    assert [each.name for each in plots["messages-by-nodes"].series][:2] == ["kademlia", "walk"]


def test_a_name_that_is_not_swept_by_numbers_has_no_axis() -> None:
    """Then there are plots by rank, of which the table is in every report."""
    report = report_of([Axis.parse("overlay=flood,index")])
    names = [plot.name for plot in report.plots]
    assert names == [
        f"{each}-by-rank" for each in ("success", "hops", "messages", "bytes", "latency-p50")
    ]
    assert [each.name for each in report.plots[0].series] == ["flood", "index"]


def test_settings_are_numbers_where_they_are() -> None:
    """All of a column, not those alone that are whole."""
    axes = [Axis("overlay", ("walk",)), Axis("loss", ("0", "0.1")), Axis("copies_by", ("uniform",))]
    rows = shape_of(report_of(axes))["tables"][0]["rows"]
    assert [row["loss"] for row in rows] == [0, 0.1]
    assert {row["copies_by"] for row in rows} == {"uniform"}


def test_curves_are_told_apart_by_what_else_is_set() -> None:
    axes = [Axis.parse("nodes=64,128"), Axis.parse("alpha=1,3")]
    (plot, *_) = report_of(axes).plots
    assert [each.name for each in plot.series] == ["kademlia, alpha 1", "kademlia, alpha 3"]
    assert plot.series[0].xs == [64, 128]


def test_runs_that_are_missing_are_told_and_their_rows_left_out() -> None:
    points = grid(BASE, AXES)
    results = invented_for(points[:1])
    report = summarised(BASE, AXES, points, results)
    assert len(report.tables[0].rows) == 1
    assert report.notes[-1] == "UNFINISHED: 3 of 18 runs are in this report."
    assert [len(line.runs) for line in lines_of(points, results)] == [3, 0, 0, 0, 0, 0]


def test_wrong_values_and_lost_reads_are_told() -> None:
    points = grid(BASE, [])
    results = {piece.key: invented(1, 64, wrong=2, lost=4) for piece in pieces_of(points)}
    notes = summarised(BASE, [], points, results).notes
    assert notes[0] == "6 of 300 reads came back with a wrong value."
    assert notes[1].startswith("12 reads were lost")


def test_one_run_has_no_interval_to_explain() -> None:
    report = report_of([], changed(BASE, {"seeds": "1"}))
    assert not any("±" in note for note in report.notes)


# ------------------------------------------------------------------------------------------ limits


def test_limits_are_those_of_their_formulas() -> None:
    assert probes_of_random(99, 9) == 10
    assert left_of(10, 10, 1) == pytest.approx(0.5)
    assert left_of(10, 10, 2) == pytest.approx(0.75)
    assert told_of_all(1000, 60) == pytest.approx(2 * 1000 * 20 * 0.693147 / 3600, rel=1e-4)
    assert told_to_hold(1024, 60) == pytest.approx(10 * 20 / 3600)
    # A gigabyte a node, of which half are gone in a day (Blake & Rodrigues 2003).
    assert moved_to_last(1e9, 24 * 60) == pytest.approx(2e9 * 0.693147 / 86_400, rel=1e-4)


def test_the_floor_of_upkeep_is_to_hold_together_and_to_keep_what_is_stored() -> None:
    settings = {"session_min": "60", "nodes": "1024", "records": "128", "copies": "8"}
    base = changed(Scenario(), {**settings, "value_bytes": "100"})
    floor, everybody = limits_of("upkeep", ("churn", "session_min"), [(60.0, base)])
    # A record a node.
    assert floor.ys[0] == pytest.approx(told_to_hold(1024, 60) + moved_to_last(100, 60))
    assert floor.ys[0] < everybody.ys[0] == told_of_all(1024, 60)
    walk = changed(base, {"overlay": "walk"})
    assert limits_of("upkeep", ("churn", "session_min"), [(60.0, walk)]) == [everybody]


def test_copies_that_nobody_repairs_are_judged_in_the_middle_of_the_reads() -> None:
    settings = {"overlay": "walk", "session_min": "10", "soak_s": "300", "copies": "1"}
    spread = changed(Scenario(), {**settings, "read_sessions": "1"})
    (limit,) = limits_of("success", ("churn", "session_min"), [(10.0, spread)])
    assert limit.ys[0] == pytest.approx(100 * left_of(10, 5 + 10 / 2, 2))


def test_a_limit_is_drawn_only_under_what_it_is_of() -> None:
    kademlia, walk = (changed(BASE, {"overlay": each}) for each in ("kademlia", "walk"))
    nodes = ("", "nodes")
    assert [each.like for each in limits_of("messages", nodes, [(64.0, walk)])] == ["walk"]
    assert [each.like for each in limits_of("messages", nodes, [(64.0, kademlia)])] == ["kademlia"]
    assert limits_of("bytes", nodes, [(64.0, kademlia)]) == []
    assert limits_of("hops", ("config", "alpha"), [(1.0, kademlia)]) == []
    # Without churn nothing has a limit by churn.
    assert limits_of("success", ("churn", "session_min"), [(0.0, walk)]) == []


def test_a_share_of_none_is_plotted_on_a_plain_axis() -> None:
    """A logarithm has no place for it."""
    axis = Axis.parse("nodes=64,128")
    points = grid(BASE, [axis])
    lines = [Line(point, [invented(1, 0)]) for point in points]
    (plot,) = plots_over(axis, lines, ["messages"])
    assert not plot.y_log


def test_a_metric_that_nobody_can_say_has_no_plot() -> None:
    axis = Axis.parse("nodes=64,128")
    lines = [Line(point, [invented_static(1, 64)]) for point in grid(BASE, [axis])]
    assert [plot.name for plot in plots_over(axis, lines)] == ["success-by-nodes", "hops-by-nodes"]


# ------------------------------------------------------------------------------------ tables, files

TABLE = Table(
    name="t",
    title="A <title>",
    columns=["who", "n", "share"],
    rows=[
        ["a", 1000, Estimate(mean=0.5, low=0.25, high=0.75, count=3)],
        ["b & c", None, None],
        ["d", 2.5, 7],
    ],
)
PLOT = Plot(
    name="p",
    title="One",
    x_label="x",
    y_label="y",
    series=[Series(name="s", xs=[1, 2], ys=[1, 2]), Series(name="l", xs=[1], ys=[1], look="limit")],
)
REPORT = Report(
    title="A & B", tables=[TABLE], plots=[PLOT, PLOT], notes=["n < m"], scenario="x = 1\n"
)


def test_cells_are_written_for_people_and_for_machines() -> None:
    assert [text_of(cell) for cell in TABLE.rows[0]] == ["a", "1,000", "0.500 ± 0.250"]
    assert [is_number(cell) for cell in TABLE.rows[1]] == [False, False, False]
    assert list(csv.reader(StringIO(csv_of(TABLE)))) == [
        ["who", "n", "share", "share low", "share high"],
        ["a", "1000", "0.5", "0.25", "0.75"],
        ["b & c", "", "", "", ""],
        ["d", "2.5", "7", "", ""],
    ]
    rows = shape_of(REPORT)["tables"][0]["rows"]
    assert rows[0]["share"] == {"mean": 0.5, "low": 0.25, "high": 0.75, "count": 3}
    assert rows[1] == {"who": "b & c", "n": None, "share": None}


def test_all_files_are_written(tmp_path: Path) -> None:
    files = files_of(REPORT)
    assert sorted(files) == [
        *("overview.png", "overview.svg", "p.png", "p.svg"),
        *("report.html", "report.json", "t.csv"),
    ]
    assert {path.name for path in write(files, tmp_path / "new")} == set(files)
    assert json.loads((tmp_path / "new" / "report.json").read_text())["title"] == "A & B"
    assert files_of(Report(title="", tables=[], plots=[])).keys() == {
        "report.json",
        "report.html",
    }


def test_panels_are_one_picture_the_same_each_time() -> None:
    assert render_panels([PLOT] * 4, "png") == render_panels([PLOT] * 4, "png")
    assert render_panels([PLOT], "svg").count(b"<svg") == 1


class Page(HTMLParser):
    """What a page has: its elements, ids, what it refers to, and whether all is closed."""

    VOID = ("meta", "link", "br", "img")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in {"href", "src", "xlink:href", "srcset", "action", "data"}:
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_needs_nothing_but_itself() -> None:
    text = files_of(report_of(AXES))["report.html"].decode()
    page = Page()
    page.feed(text)
    page.close()
    assert not page.open
    assert page.tags.count("table") == 3
    assert page.tags.count("svg") == page.tags.count("figure") == 6
    assert "script" not in page.tags
    assert page.links
    assert all(link.startswith("#") for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert "prefers-color-scheme: dark" in text
    assert "@import" not in text
    assert "0.1" in page.text


def test_a_page_shows_words_as_they_are() -> None:
    text = page_of(Report(title="A & B", tables=[TABLE], plots=[], notes=["n < m"]), {})
    for words in ("A &amp; B", "A &lt;title&gt;", "b &amp; c", "n &lt; m"):
        assert words in text
    assert "<pre>" not in text
    assert "<ul" not in page_of(Report(title="A", tables=[], plots=[]), {})


# -------------------------------------------------------------------------------------- comparison


@pytest.fixture
def few_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the rest: hashing a hundred thousand keys takes seconds."""
    monkeypatch.setattr("dht.lab.versus.KEYS", 500)


def comparison(sizes: tuple[str, ...] = ("64", "128")) -> Comparison:
    return Comparison.of(sizes=sizes, sessions=("5", "20"), seed=1, seeds=2, reads=50)


def test_a_comparison_has_every_overlay_on_the_same_work() -> None:
    made = comparison()
    kinds = {point.scenario.kind for point in made.by_size}
    assert kinds == set(Overlay)
    works = {point.scenario.workload for point in made.by_size}
    assert len(works) == 1
    assert {point.scenario.nodes for point in made.by_churn} == {64}
    assert {point.scenario.nodes for point in made.by_rank} == {128}
    assert len(made.pieces()) == 2 * (8 * 2 + 4 * 2 + 4)


def test_a_hypercube_is_left_out_where_it_cannot_be() -> None:
    kinds = {point.scenario.kind for point in comparison(("64", "100")).by_size}
    assert kinds == set(Overlay) - {Overlay.HYPERCUBE}


@pytest.mark.usefixtures("few_keys")
def test_a_comparison_reports_by_size_popularity_and_churn() -> None:
    made = comparison()
    report = compared(made, invented_for(made.points))
    assert [table.name for table in report.tables] == [
        *("by-size", "by-churn", "by-popularity", "balance", "hashing"),
    ]
    names = [plot.name for plot in report.plots]
    assert [sum(each.endswith(end) for each in names) for end in ("nodes", "rank", "min")] == [
        6,
        5,
        6,
    ]
    for name in ("messages-by-nodes", "messages-by-rank", "success-by-session-min"):
        (plot,) = (plot for plot in report.plots if plot.name == name)
        assert any(each.look == "limit" for each in plot.series)
    # One colour an overlay in every panel: the colour is the place among the measured.
    orders = {
        tuple(each.name for each in plot.series if each.look == "measured")[:4]
        for plot in report.plots
    }
    assert orders == {("kademlia", "flood", "walk", "index")}
    assert "UNFINISHED" not in " ".join(report.notes)


@pytest.mark.usefixtures("few_keys")
def test_a_comparison_of_nothing_is_still_a_report() -> None:
    report = compared(comparison(), {})
    assert report.plots == []
    assert report.notes[-1].startswith("UNFINISHED: 0 of")


def test_hashing_moves_what_it_must_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dht.lab.versus.KEYS", 5000)
    table = hashing_table(1)
    rows = {str(row[0]): dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert len(rows) == 6
    for row in rows.values():
        needless, must = row["moved, needless [%]"], row["moved, must [%]"]
        assert isinstance(needless, Estimate)
        assert isinstance(must, Estimate)
        assert needless.mean == 0
        assert must.mean == pytest.approx(1, abs=0.8)
    spreads = [row["spread / mean"] for row in rows.values()]
    one, ten, hundred, *_ = (each.mean for each in spreads if isinstance(each, Estimate))
    assert one > ten > hundred
    assert hashing_table(1) == table


# ----------------------------------------------------------------------------------------- the page


def test_the_scenario_in_the_docs_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "laboratory.md").read_text()
    text = page.split("```toml\n")[1].split("```")[0]
    scenario = read_scenario(text)
    assert (scenario.name, scenario.faults.dead, scenario.knobs().alpha) == ("evening", 0.2, 1)
