"""SVG by hand: a sheet of paper with a few shapes, the same bytes for the same calls.

Everything that is written as SVG is in this file; what is drawn, and where, is in ``pictures``. The
paper has a colour of its own, so that a picture reads the same on a dark page.
"""

from collections.abc import Sequence
from html import escape
from typing import final

Point = tuple[float, float]

PAPER, INK, GREY, FAINT = "#fcfcfa", "#22252b", "#6b7280", "#d5d8de"
BLUE, ORANGE, GREEN, RED, PURPLE = "#2563c9", "#d97706", "#15803d", "#c02636", "#7c3aed"


@final
class Sheet:
    """A picture of so many points; what is drawn later lies on top. ``label``: what it shows, for
    those who do not see it."""

    def __init__(self, width: int, height: int, label: str) -> None:
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" font-family="sans-serif">\n'
            f"<title>{escape(label)}</title>\n"
            f'<rect width="{width}" height="{height}" rx="8" fill="{PAPER}"/>\n'
        )
        self._parts: list[str] = []

    def line(
        self, points: Sequence[Point], colour: str, width: float = 1.0, dash: str = ""
    ) -> None:
        """Straight from point to point."""
        self._stroke("M" + "L".join(_place(point) for point in points), colour, width, dash)

    def lines(self, pairs: Sequence[tuple[Point, Point]], colour: str, width: float = 1.0) -> None:
        """Many, each from one point to another, in one stroke."""
        if pairs:
            path = "".join(f"M{_place(one)}L{_place(other)}" for one, other in pairs)
            self._stroke(path, colour, width, "")

    def curve(self, points: tuple[Point, Point, Point], colour: str, dash: str = "") -> None:
        """From the first point to the last, drawn towards the second on the way."""
        start, bend, end = map(_place, points)
        self._stroke(f"M{start}Q{bend} {end}", colour, 1.6, dash)

    def arc(self, start: Point, end: Point, radius: float, colour: str, *, large: bool) -> None:
        """A part of a circle, clockwise, as a broad band."""
        way = f"M{_place(start)}A{_number(radius)} {_number(radius)} 0 {large:d} 1 {_place(end)}"
        self._stroke(way, colour, 9.0, "")

    def dot(self, place: Point, radius: float, fill: str, edge: str = "none") -> None:
        """A filled circle, with or without an edge."""
        x, y = map(_number, place)
        self._parts.append(
            f'<circle cx="{x}" cy="{y}" r="{_number(radius)}" fill="{fill}" stroke="{edge}"/>'
        )

    def box(self, corner: Point, width: float, height: float, fill: str) -> None:
        """A filled rectangle, from its upper left corner."""
        x, y = map(_number, corner)
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{_number(width)}" height="{_number(height)}" '
            f'fill="{fill}"/>'
        )

    def text(
        self, place: Point, words: str, *, size: int = 13, colour: str = INK, at: str = "start"
    ) -> None:
        """Words on a line that begins, has its "middle", or its "end" there."""
        x, y = map(_number, place)
        self._parts.append(
            f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{at}">'
            f"{escape(words)}</text>"
        )

    def legend(self, place: Point, entries: Sequence[tuple[str, str]]) -> None:
        """Colours and what they mean, one below the other."""
        for number, (colour, words) in enumerate(entries):
            y = place[1] + 20 * number
            self.dot((place[0], y - 4), 5, colour)
            self.text((place[0] + 12, y), words)

    def svg(self) -> str:
        """The whole picture."""
        return self._head + "\n".join(self._parts) + "\n</svg>\n"

    def _stroke(self, path: str, colour: str, width: float, dash: str) -> None:
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{_number(width)}" '
            f'stroke-linejoin="round"{dashes}/>'
        )


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _place(point: Point) -> str:
    return f"{_number(point[0])} {_number(point[1])}"
