"""docs/laboratory.md: every scenario has its section, with its table and its pictures."""

import re

import pytest

from dht.lab.catalogue import CHORD, SCENARIOS
from dht.lab.estimates import Estimate
from dht.lab.findings import Finding, Reproduction
from dht.lab.plots import Plot, Series
from dht.lab.reports import COLUMNS
from docs import reproductions

PLOT = Plot(
    name="p", title="t", x_label="x", y_label="y", series=[Series(name="s", xs=[1], ys=[1])]
)
SMALL = Reproduction(
    scenario=CHORD,
    findings=[Finding(name="f", unit="u", published=None, ours=Estimate.exactly(1))],
    plots=[PLOT],
    notes=["a note"],
)


def test_a_section_replaces_the_one_before() -> None:
    page = "a\n<!-- x: made by python -m docs.reproductions -->\nold\n<!-- end of x -->\nb\n"
    section = reproductions.section_of(SMALL)
    once = reproductions.with_section(page, "x", section)
    for words in ("![t](pictures/laboratory/chord2001-p.svg)", "| f [u] |", "* a note"):
        assert words in once
    assert "old" not in once
    assert reproductions.with_section(once, "x", section) == once


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_page_has_every_scenario(name: str) -> None:
    page = reproductions.PAGE.read_text()
    section = page.split(f"<!-- {name}: made")[1].split(f"<!-- end of {name}")[0]
    assert " | ".join(COLUMNS) in section
    assert SCENARIOS[name].paper in section
    shown = re.findall(r"!\[[^]]+\]\(pictures/laboratory/([\w-]+\.svg)\)", section)
    assert shown
    assert all((reproductions.FOLDER / picture).is_file() for picture in shown)


def test_no_picture_is_left_over() -> None:
    page = reproductions.PAGE.read_text()
    assert all(path.name in page for path in reproductions.FOLDER.iterdir())
