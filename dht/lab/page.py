"""A report as files; the first of them a page that needs nothing else: no script, no font, no file
beside it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from .plots import FORMATS, Plot, render, render_panels
from .tables import Report, Table, csv_of, is_number, shape_of, text_of

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fdfdfc; --line: #d8d8d4;
  --quiet: #666; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e3; --paper: #191a1b; --line: #3d3f40; --quiet: #a3a3a0; }
  /* What is drawn on white: its colours stay, and light and dark change places. */
  figure svg { filter: invert(0.9) hue-rotate(180deg); }
}
body { color: var(--ink); background: var(--paper); margin: 2rem auto; max-width: 76rem;
  padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
caption { caption-side: top; text-align: left; font-weight: 600; padding: 0.4rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: 0.25rem 0.7rem; text-align: left;
  white-space: nowrap; }
.number { text-align: right; }
.plots { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); }
figure { margin: 0; } figure svg { width: 100%; height: auto; }
pre { border: 1px solid var(--line); padding: 0.8rem; overflow-x: auto; font-size: 0.85rem; }
.notes { color: var(--quiet); font-size: 0.9rem; }
"""


def files_of(report: Report) -> dict[str, bytes]:
    """By name, every file that a report is written as: the page, JSON, a CSV for each table, each
    plot, and all plots once more in one picture. Raises ``LocalError`` where matplotlib is not
    installed."""
    pictures = {
        f"{plot.name}.{kind}": render(plot, kind) for plot in report.plots for kind in FORMATS
    }
    svgs = {plot.name: pictures[f"{plot.name}.svg"].decode() for plot in report.plots}
    if report.plots:
        pictures |= {f"overview.{kind}": render_panels(report.plots, kind) for kind in FORMATS}
    return {
        "report.html": page_of(report, svgs).encode(),
        "report.json": (json.dumps(shape_of(report), indent=2) + "\n").encode(),
        **{f"{table.name}.csv": csv_of(table).encode() for table in report.tables},
        **pictures,
    }


def write(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Writes them into the folder; which they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def page_of(report: Report, svgs: Mapping[str, str]) -> str:
    """The whole page; ``svgs``: each plot as it was drawn, by its name."""
    return "\n".join(_lines(report, svgs)) + "\n"


def _lines(report: Report, svgs: Mapping[str, str]) -> Iterator[str]:
    title = escape(report.title)
    yield "<!DOCTYPE html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title}</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>{title}</h1>"
    if report.notes:
        yield '<ul class="notes">'
        yield from (f"<li>{escape(note)}</li>" for note in report.notes)
        yield "</ul>"
    for table in report.tables:
        yield from _table(table)
    if report.plots:
        yield '<h2>Plots</h2><div class="plots">'
        yield from (_figure(plot, svgs[plot.name]) for plot in report.plots)
        yield "</div>"
    if report.scenario:
        yield f"<h2>The scenario</h2><pre>{escape(report.scenario)}</pre>"
    yield "</body></html>"


def _table(table: Table) -> Iterator[str]:
    numbers = [
        all(row[at] is None or is_number(row[at]) for row in table.rows)
        for at in range(len(table.columns))
    ]
    kinds = [' class="number"' if each else "" for each in numbers]
    yield f'<div class="wide"><table><caption>{escape(table.title)}</caption><thead><tr>'
    for name, kind in zip(table.columns, kinds, strict=True):
        yield f'<th scope="col"{kind}>{escape(name)}</th>'
    yield "</tr></thead><tbody>"
    for row in table.rows:
        pairs = zip(row, kinds, strict=True)
        cells = "".join(f"<td{kind}>{escape(text_of(cell))}</td>" for cell, kind in pairs)
        yield f"<tr>{cells}</tr>"
    yield "</tbody></table></div>"


def _figure(plot: Plot, svg: str) -> str:
    words = escape(f"{plot.title}: {plot.y_label} against {plot.x_label}", quote=True)
    return f'<figure role="img" aria-label="{words}">{_inlined(svg, plot.name)}</figure>'


def _inlined(svg: str, name: str) -> str:
    """The picture without its prologue, and its ids told from those of the others on the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    return svg.replace("url(#", f"url(#{name}-").strip()
