"""Draws the pictures of docs/overlays.md, and writes its tables, from runs of the simulator.

    python -m docs.pictures

Where things lie on a picture is decided here; what happened, in ``runs``; how SVG is written, in
``drawing``. The same seed gives the same bytes: a change here or in the package shows as a change
of a picture.
"""

from collections.abc import Callable, Mapping, Sequence
from math import cos, dist, floor, log10, pi, sin
from pathlib import Path
from typing import Any

from dht.core.via import Flood, Walk
from dht.wire.messages import Search

from .drawing import BLUE, FAINT, GREEN, GREY, INK, ORANGE, PURPLE, RED, Point, Sheet
from .runs import (
    Compared,
    Looked,
    Passed,
    Way,
    compare,
    hops_from,
    look_up,
    search_sparse,
    shuffled,
)

HERE = Path(__file__).parent
PAGE = HERE / "overlays.md"
FOLDER = HERE / "pictures"

#: Of a hop, from the reader on; the last stands for all farther ones.
HOPS = (INK, BLUE, GREEN, ORANGE, PURPLE, RED)


def around(centre: Point, radius: float, turn: float) -> Point:
    """A place on a circle; ``turn`` goes from 0, at the top, clockwise to 1."""
    angle = 2 * pi * (turn - 0.25)
    return centre[0] + radius * cos(angle), centre[1] + radius * sin(angle)


def between(one: Point, other: Point, share: float) -> Point:
    """A place on the straight way from one to another."""
    return one[0] + (other[0] - one[0]) * share, one[1] + (other[1] - one[1]) * share


# ------------------------------------------------------------------------------------ the lookup

_BITS = 256
_WHOLE: int = 1 << _BITS
#: Nodes of which the numbers would lie on top of each other, in turns of the ring.
_CLOSE = 0.015


def draw_lookup(looked: Looked) -> str:
    """A ring of ids, and who was asked in which order, named by whom."""
    sheet = Sheet(760, 520, "A lookup: nodes on a ring by their ids, and who named whom")
    centre, radius, target = (260.0, 260.0), 200.0, looked.outcome.target
    places = {
        node.contact.id: around(centre, radius, node.contact.id / _WHOLE) for node in looked.nodes
    }
    for bits, colour in ((1, "#dbe6fa"), (2, "#b9d0f6"), (3, "#8fb3ef"), (4, "#5e90e4")):
        size = _WHOLE >> bits
        first = target // size * size
        start, end = (around(centre, radius + 16, at / _WHOLE) for at in (first, first + size))
        sheet.arc(start, end, radius + 16, colour, large=bits == 0)
    for place in places.values():
        sheet.dot(place, 3, GREY)
    asked = list(enumerate(looked.outcome.trace.steps, 1))
    for _, step in asked:
        teller = looked.reader.contact if step.told_by is None else step.told_by
        start, end = places[teller.id], places[step.contact.id]
        bend = between(between(start, end, 0.5), centre, min(0.45, dist(start, end) / 400))
        colour = BLUE if step.told_by is None else ORANGE
        sheet.curve((start, bend, end), colour, "" if step.told_by is None else "6 4")
    owners = [contact.id for contact in looked.outcome.closest]
    inwards, last = 0, 1.0
    for turn, number, step in sorted((step.contact.id / _WHOLE, n, step) for n, step in asked):
        sheet.dot(places[step.contact.id], 6, GREEN if step.contact.id in owners else BLUE)
        # Who lies close to the one before has his number farther in.
        inwards = inwards + 15 if 0 <= turn - last < _CLOSE else 0
        last = turn
        sheet.text(_below(around(centre, radius - 17 - inwards, turn)), str(number), at="middle")
    sheet.dot(places[looked.reader.contact.id], 7, INK)
    start = around(centre, radius + 26, target / _WHOLE)
    sheet.line([start, around(centre, radius + 4, target / _WHOLE)], RED, 3)
    sheet.text((510, 50), "one lookup", size=17)
    sheet.legend(
        (516, 90),
        [
            (INK, "who looks something up"),
            (BLUE, "asked, in the order of the numbers"),
            (GREEN, "asked, and one of the owners"),
            (GREY, "never heard of it"),
            (RED, "the key"),
        ],
    )
    sheet.line([(510, 196), (538, 196)], BLUE, 1.6)
    sheet.text((546, 200), "known before")
    sheet.line([(510, 216), (538, 216)], ORANGE, 1.6, "6 4")
    sheet.text((546, 220), "named by another")
    _write(sheet, (510, 256), _tale_of_lookup(looked))
    return sheet.svg()


def _tale_of_lookup(looked: Looked) -> list[str]:
    trace = looked.outcome.trace
    return [
        f"{len(looked.nodes)} nodes, {trace.messages} messages,",
        f"{trace.elapsed * 1000:.0f} ms.",
        "",
        "The bands: ids that share 1, 2, 3",
        "and 4 first bits with the key.",
    ]


def _below(place: Point) -> Point:
    return place[0], place[1] + 4


def _write(sheet: Sheet, place: Point, lines: Sequence[str]) -> None:
    for number, line in enumerate(lines):
        sheet.text((place[0], place[1] + 20 * number), line, colour=GREY)


# ------------------------------------------------------------------------------------- the views

Views = Sequence[Sequence[int]]


def draw_views(before: Views, after: Views, own: int = 0) -> str:
    """The graph of all views twice, and the neighbours of one node in it."""
    sheet = Sheet(760, 430, "All views, and the neighbours of one node, five shuffles apart")
    for left, views, title in ((190, before, "now"), (570, after, "five shuffles later")):
        places = [around((left, 225), 165, n / len(views)) for n in range(len(views))]
        pairs = [(places[one], places[two]) for one, view in enumerate(views) for two in view]
        sheet.lines(pairs, FAINT, 0.7)
        for place in places:
            sheet.dot(place, 3, GREY)
        for other in sorted({*before[own], *views[own]}):
            kept, lost = other in before[own], other not in views[own]
            colour = RED if lost else BLUE if kept else GREEN
            sheet.line([places[own], places[other]], colour, 2, "4 4" if lost else "")
            sheet.dot(places[other], 6, colour)
        sheet.dot(places[own], 7, INK)
        sheet.text((left, 34), title, size=15, at="middle")
    for x, colour, words in (
        (150, INK, "one node"),
        (260, BLUE, "neighbour since then"),
        (440, GREEN, "new"),
        (520, RED, "no neighbour any more"),
    ):
        sheet.legend((x, 420), [(colour, words)])
    return sheet.svg()


# -------------------------------------------------------------------- what is passed on in a graph

_CENTRE, _RING = (265.0, 265.0), 48.0


def layout(views: Views, reader: int) -> list[Point]:
    """The reader in the middle, everybody else on the ring of his distance, near to who knows him
    from one ring farther in."""
    far = hops_from(views, reader)
    outermost = max((hops for hops in far if hops < len(views)), default=0) + 1
    turns = {reader: 0.0}
    places = [_CENTRE] * len(views)
    for ring in range(1, outermost + 1):
        here = [n for n, hops in enumerate(far) if min(hops, outermost) == ring]
        here.sort(key=lambda node: (_turn_of_parent(views, far, turns, node), node))
        for number, node in enumerate(here):
            turns[node] = (number + 0.5) / len(here)
            places[node] = around(_CENTRE, _RING * ring, turns[node])
    return places


def _turn_of_parent(
    views: Views, far: Sequence[int], turns: Mapping[int, float], own: int
) -> float:
    parents = [n for n, view in enumerate(views) if own in view and far[n] == far[own] - 1]
    return turns.get(parents[0], 0.0) if parents else 1.0


def arrivals(passed: Passed) -> dict[int, tuple[int, int]]:
    """Of everybody whom a search reached: at which hop it did first, and who brought it."""
    first: dict[int, tuple[int, int]] = {passed.reader: (0, passed.reader)}
    for each in passed.searches():
        assert isinstance(each.message, Search)
        first.setdefault(each.receiver, (each.message.hops, each.sender))
    return first


def way_back(passed: Passed) -> list[int]:
    """From the holder whose answer came first, back to the reader, by who brought the search."""
    first = arrivals(passed)
    holder = next(each.receiver for each in passed.searches() if each.receiver in passed.holders)
    way = [holder]
    while way[-1] != passed.reader:
        way.append(first[way[-1]][1])
    return way


def draw_flood(passed: Passed) -> str:
    """Who is reached at which hop, and the way of the answer."""
    sheet = Sheet(760, 530, "A flood: the hop at which it reaches each node, and the answer's way")
    places, first = layout(passed.views, passed.reader), arrivals(passed)
    bringing = {(sender, node) for node, (_, sender) in first.items()}
    sent = [(each.sender, each.receiver) for each in passed.searches()]
    again = sorted({pair for pair in sent if pair not in bringing})
    sheet.lines([(places[one], places[two]) for one, two in again], FAINT, 0.8)
    for node, (hops, sender) in sorted(first.items()):
        sheet.line([places[sender], places[node]], _of_hop(hops), 1.4)
    way = way_back(passed)
    sheet.line([places[node] for node in way], RED, 4)
    for node, place in enumerate(places):
        sheet.dot(place, 6, _of_hop(first[node][0]) if node in first else "#ffffff", GREY)
    for holder in passed.holders:
        _mark(sheet, places[holder])
    farthest = max(hops for hops, _ in first.values())
    hops_legend = [(_of_hop(hops), f"reached at hop {hops}") for hops in range(1, farthest + 1)]
    sheet.text((545, 50), "a flood", size=17)
    sheet.legend((551, 90), [(INK, "who searches"), *hops_legend, (RED, "the answer's way back")])
    y = 90 + 20 * (farthest + 2)
    sheet.dot((551, y - 4), 5, "none", INK)
    sheet.dot((551, y - 4), 7, "none", INK)
    sheet.text((563, y), "holds the record")
    _write(
        sheet,
        (545, y + 40),
        [
            f"{len(places)} nodes, {len(sent)} times passed on,",
            f"{len(sent) - len(first) + 1} times in vain (grey lines).",
            f"The answer took {len(way) - 1} steps.",
        ],
    )
    return sheet.svg()


def _of_hop(hops: int) -> str:
    return HOPS[min(hops, len(HOPS) - 1)]


def _mark(sheet: Sheet, place: Point) -> None:
    sheet.dot(place, 11, "none", INK)
    sheet.dot(place, 13, "none", INK)


def draw_walkers(passed: Passed) -> str:
    """The ways of a few walkers, each beside the others."""
    sheet = Sheet(760, 530, "Random walkers: the way of each, until they are called off")
    places = layout(passed.views, passed.reader)
    pairs = [(places[one], places[two]) for one, view in enumerate(passed.views) for two in view]
    sheet.lines(pairs, FAINT, 0.5)
    for place in places:
        sheet.dot(place, 4, FAINT)
    tales = []
    for walker, steps in sorted(passed.steps().items()):
        colour, aside = HOPS[1 + walker % (len(HOPS) - 1)], 2.2 * (walker - 1.5)
        way = [passed.reader, *(each.receiver for each in steps)]
        sheet.line([(places[n][0] + aside, places[n][1] + aside) for n in way], colour, 2)
        for node in way[1:]:
            sheet.dot(places[node], 5, colour)
        met = way[-1] in passed.holders
        tales.append((colour, f"{len(steps)} steps, " + ("met a holder" if met else "called off")))
    for holder in passed.holders:
        _mark(sheet, places[holder])
    sheet.dot(places[passed.reader], 8, INK)
    sheet.text((545, 50), f"{len(tales)} random walkers", size=17)
    sheet.legend((551, 90), [(INK, "who searches"), *tales])
    y = 90 + 20 * (len(tales) + 1)
    sheet.dot((551, y - 4), 5, "none", INK)
    sheet.dot((551, y - 4), 7, "none", INK)
    sheet.text((563, y), "holds the record")
    trace = passed.outcome.trace
    _write(
        sheet,
        (545, y + 40),
        [
            f"{len(places)} nodes, {sum(map(len, passed.steps().values()))} steps in all.",
            f"Found after {trace.hops} hops, {trace.elapsed * 1000:.0f} ms.",
            "Every 4 steps a walker asks",
            "whether to go on.",
        ],
    )
    return sheet.svg()


# -------------------------------------------------------------------------------- the comparison


def draw_ways(compared: Compared) -> str:
    """Bars on a logarithmic scale: messages, and latencies."""
    sheet = Sheet(760, 400, "Messages and latency of each way to search, on a logarithmic scale")
    ways = compared.there
    sheet.text((20, 30), f"{compared.nodes} nodes, {ways[0].searches} records of 8 copies", size=15)
    bars(sheet, (150, 70), "messages a search", [(w.name, w.messages, None) for w in ways], BLUE)
    times = [(way.name, way.p50_s * 1000, way.p99_s * 1000) for way in ways]
    bars(sheet, (480, 70), "ms: median, and p99 as a line", times, ORANGE)
    return sheet.svg()


_BAR = 240.0


def bars(
    sheet: Sheet,
    corner: Point,
    title: str,
    rows: Sequence[tuple[str, float, float | None]],
    colour: str,
) -> None:
    """A bar each on a logarithmic scale, named, with its number, and a line to a second one."""
    x, y = corner
    low = floor(log10(max(0.1, min(value for _, value, _ in rows)) / 1.01))
    top = max(max(value, upper or 0) for _, value, upper in rows)
    decades = max(1, floor(log10(top)) + 1 - low)

    def reach(value: float) -> float:
        return _BAR * max(0.0, log10(max(value, 10.0**low)) - low) / decades

    sheet.text((x, y), title, size=13, colour=GREY)
    for decade in range(decades + 1):
        at = x + _BAR * decade / decades
        sheet.line([(at, y + 15), (at, y + 265)], FAINT)
        sheet.text((at, y + 285), f"{10.0 ** (low + decade):,g}", size=11, at="middle")
    for number, (name, value, upper) in enumerate(rows):
        at = y + 25 + 48 * number
        sheet.box((x, at), reach(value), 24, colour)
        if upper is not None:
            sheet.line([(x + reach(value), at + 12), (x + reach(upper), at + 12)], INK, 2)
            sheet.line([(x + reach(upper), at + 5), (x + reach(upper), at + 19)], INK, 2)
        else:
            sheet.text((x - 10, at + 16), name, at="end")
        sheet.text((x + reach(upper or value) + 6, at + 17), figure(value), size=12)


def figure(value: float) -> str:
    """A number as it stands in the table and on a bar."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"  # noqa: PLR2004 - two digits


def table_of(ways: Sequence[Way]) -> str:
    """One row a way, as Markdown."""
    lines = [
        "| | found | hops | messages | duplicates | p50 ms | p99 ms |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for way in ways:
        cells = [
            way.name,
            f"{way.found} of {way.searches}",
            f"{way.hops:.2f}" if way.found else "-",
            figure(way.messages),
            figure(way.duplicates),
            figure(way.p50_s * 1000),
            figure(way.p99_s * 1000),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def with_table(page: str, name: str, table: str, *, by: str = "docs.pictures") -> str:
    """The page with a table between the two comments that name it."""
    begin, end = f"<!-- {name}: made by python -m {by} -->\n", f"<!-- end of {name} -->"
    head, rest = page.split(begin)
    return f"{head}{begin}\n{table}\n\n{end}{rest.split(end)[1]}"


# ------------------------------------------------------------------------------------- all of it

SEED = 1
#: By file: what draws it, given the size of its network.
PICTURES: Mapping[str, tuple[int, Callable[[int], str]]] = {
    "lookup.svg": (100, lambda nodes: draw_lookup(look_up(SEED, nodes))),
    "views.svg": (60, lambda nodes: draw_views(*shuffled(SEED, nodes))),
    "flood.svg": (60, lambda nodes: draw_flood(_searched(nodes, Flood(ttl=5), 1, 3))),
    "walkers.svg": (60, lambda nodes: draw_walkers(_searched(nodes, Walk(walkers=4), 4, 2))),
}
COMPARED = {"nodes": 300, "records": 40, "missing": 5}


def _searched(nodes: int, via: Any, copies: int, far: int) -> Passed:
    return search_sparse(SEED, nodes, via, copies, far)


def main() -> None:
    """Writes everything anew: a few minutes, most of them for the tables."""
    FOLDER.mkdir(exist_ok=True)
    for name, (nodes, draw) in PICTURES.items():
        (FOLDER / name).write_text(draw(nodes))
    compared = compare(SEED, **COMPARED)
    (FOLDER / "ways.svg").write_text(draw_ways(compared))
    page = with_table(PAGE.read_text(), "ways", table_of(compared.there))
    PAGE.write_text(with_table(page, "missing", table_of(compared.missing)))


if __name__ == "__main__":
    main()
