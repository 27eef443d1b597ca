"""The pictures of docs/overlays.md: drawn from runs, the same each time, and all there."""

import re
from xml.etree import ElementTree as ET

import pytest

from dht.core.via import Flood, Walk
from dht.lab.graphs import distances
from docs import pictures
from docs.drawing import Sheet
from docs.runs import WAYS, Compared, compare, hops_from, look_up, search_sparse, shuffled

SVG = "{http://www.w3.org/2000/svg}"
NODES = 14
SIZE_MAX = 60_000


def shapes(picture: str, name: str) -> list[ET.Element]:
    return list(ET.fromstring(picture).iter(SVG + name))  # noqa: S314 - our own


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_a_picture_is_well_formed_and_the_same_each_time(name: str) -> None:
    _, draw = pictures.PICTURES[name]
    picture = draw(NODES)
    assert shapes(picture, "circle")
    assert shapes(picture, "text")
    assert draw(NODES) == picture


@pytest.fixture(scope="module")
def compared() -> Compared:
    return compare(1, nodes=NODES, records=2, missing=1)


def test_every_way_finds_what_is_there_and_says_what_is_not(compared: Compared) -> None:
    assert [way.name for way in compared.there] == list(WAYS)
    assert all(way.found == way.searches == 2 for way in compared.there)
    assert all(way.found == 0 and way.searches == 1 for way in compared.missing)


def test_the_bars_say_what_the_table_says(compared: Compared) -> None:
    picture = pictures.draw_ways(compared)
    words = [text.text for text in shapes(picture, "text")]
    table = pictures.table_of(compared.there)
    for way in compared.there:
        assert way.name in words
        assert pictures.figure(way.messages) in words
        assert f"| {way.name} |" in table
    assert pictures.draw_ways(compared) == picture


def test_a_flood_reaches_everybody_at_their_distance() -> None:
    """Where every way takes as long as every other, the first to arrive came the shortest way."""
    passed = search_sparse(3, NODES, Flood(ttl=6), copies=1, far=2)
    first = pictures.arrivals(passed)
    views = [list(view) for view in passed.views]
    assert hops_from(views, 0) == [hops if hops >= 0 else 99 for hops in distances(views, 0)]
    for node, (hops, _) in first.items():
        assert hops == distances(views, 0)[node]
    way = pictures.way_back(passed)
    assert len(way) - 1 == passed.outcome.trace.hops == hops_from(views, 0)[passed.holders[0]]


def test_a_walker_goes_from_neighbour_to_neighbour() -> None:
    passed = search_sparse(3, NODES, Walk(walkers=3), copies=2, far=2)
    assert passed.outcome.record is not None
    for steps in passed.steps().values():
        way = [passed.reader, *(step.receiver for step in steps)]
        assert [step.sender for step in steps] == way[:-1]


def test_a_lookup_is_told_of_its_owners() -> None:
    looked = look_up(1, NODES)
    asked = [step.contact for step in looked.outcome.trace.steps]
    assert set(looked.outcome.closest) - {looked.reader.contact} <= set(asked)


def test_shuffling_changes_views() -> None:
    before, after = shuffled(1, NODES)
    assert len(before) == len(after) == NODES
    assert before != after


def test_words_are_escaped() -> None:
    sheet = Sheet(10, 10, "a < b")
    sheet.text((1, 1), "c & d")
    (text,) = shapes(sheet.svg(), "text")
    assert text.text == "c & d"


def test_a_table_replaces_the_one_before() -> None:
    page = "a\n<!-- x: made by python -m docs.pictures -->\nold\n<!-- end of x -->\nb\n"
    once = pictures.with_table(page, "x", "new")
    assert "new" in once
    assert "old" not in once
    assert pictures.with_table(once, "x", "new") == once


# ------------------------------------------------------------------------ what is in the repository


def test_every_picture_of_the_page_is_there_and_small() -> None:
    shown = re.findall(r"!\[[^]]+\]\(pictures/(\w+\.svg)\)", pictures.PAGE.read_text())
    there = sorted(path.name for path in pictures.FOLDER.glob("*.svg"))
    assert sorted(shown) == there == sorted([*pictures.PICTURES, "ways.svg"])
    for name in there:
        picture = (pictures.FOLDER / name).read_text()
        assert shapes(picture, "text")
        assert len(picture) < SIZE_MAX


def test_the_table_of_the_page_and_the_bars_are_of_one_run() -> None:
    words = [text.text for text in shapes((pictures.FOLDER / "ways.svg").read_text(), "text")]
    table = pictures.PAGE.read_text().split("<!-- ways:")[1].split("<!-- end of ways")[0]
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    messages = {row[1]: row[4] for row in rows if len(row) > 4}
    for name in WAYS:
        assert messages[name] in words
