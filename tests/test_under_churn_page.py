"""What docs/laboratory.md says of lookups under churn is what the promise measured."""

import attrs
import pytest

from docs import under_churn
from proofs.machine import Figures
from proofs.rows_lab_churn import POINTS, judge_churn
from tests.lab.made import invented


def figures(*, seed: int = 1, wrong: int = 0, found: int = 100, written: int = 10) -> Figures:
    measured = attrs.evolve(invented(seed, 64, wrong=wrong), found=found, written=written)
    return {"records": 10, "measured": attrs.asdict(measured)}


RUNS = [figures(seed=seed) for seed in range(1, 7)]


@pytest.mark.parametrize(
    ("spoiled", "passed"),
    [
        ({}, True),
        ({"found": 98}, True),
        ({"found": 97}, False),
        ({"wrong": 1}, False),
        ({"written": 9}, False),
    ],
)
def test_one_session_that_breaks_the_promise_breaks_it(
    spoiled: dict[str, int], *, passed: bool
) -> None:
    """Of two runs of a session, with a hundred gets each."""
    for at in range(len(RUNS)):
        verdict = judge_churn([*RUNS[:at], figures(**spoiled), *RUNS[at + 1 :]])
        assert verdict.passed is passed
    assert [each["ended"] for each in judge_churn(RUNS).figures["sessions"]] == [200] * 3


def test_gets_whose_node_went_count_neither_way() -> None:
    lost = {**RUNS[0], "measured": {**RUNS[0]["measured"], "lost": 50, "found": 50}}
    assert judge_churn([lost]).passed
    nobody = {**lost, "measured": {**lost["measured"], "lost": 100, "found": 0}}
    assert not judge_churn([nobody]).passed


def test_the_table_has_a_row_a_session_and_the_floor_of_each() -> None:
    lines = under_churn.lines_of({"figures": {"runs": RUNS}})
    head, _, *rows = under_churn.table_of(lines).splitlines()
    assert [row.split(" | ")[0] for row in rows] == ["| 20", "| 60", "| 180"]
    assert "floor: log2(N) events a half-life" in head
    assert len({line.count("|") for line in (head, *rows)}) == 1
    assert [line.point for line in lines] == POINTS


def test_a_table_replaces_the_one_before() -> None:
    page = f"a\n{under_churn.BEGIN}\nold\n\n{under_churn.END}\nb\n"
    once = under_churn.with_table(page, "new")
    assert "new" in once
    assert "old" not in once
    assert under_churn.with_table(once, "new") == once


def test_the_picture_has_a_panel_for_each_metric() -> None:
    lines = under_churn.lines_of({"figures": {"runs": RUNS}})
    picture = under_churn.picture_of(lines)
    assert picture == under_churn.picture_of(lines)
    assert picture.count(b'<g id="axes_') == len(under_churn.PANELS)
