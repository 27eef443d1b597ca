"""What a run of the laboratory says: tables and plots as data, and their JSON and CSV.

A ``Report`` is a value: who made it, when and how fast is not in it, so that the same measurements
give the same bytes. ``page`` makes one page of it, and the command line shows it on a terminal.
"""

import csv
from collections.abc import Sequence
from io import StringIO
from typing import Any, final

import attrs

from .estimates import Estimate, digits
from .plots import Plot

#: None: such a run cannot say it.
Cell = str | int | float | Estimate | None


@final
@attrs.frozen(kw_only=True)
class Table:
    """Rows of cells, each as long as ``columns``. ``name`` is that of its file."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@final
@attrs.frozen(kw_only=True)
class Report:
    """All that came of a command. ``scenario`` is the text that makes it again."""

    title: str
    tables: Sequence[Table]
    plots: Sequence[Plot]
    #: What a reader must know before believing the tables.
    notes: Sequence[str] = ()
    scenario: str = ""


def text_of(cell: Cell) -> str:
    """A cell as people read it."""
    match cell:
        case None:
            return ""
        case float():
            return digits(cell)
        case int():
            return f"{cell:,}"
        case _:
            return str(cell)


def is_number(cell: Cell) -> bool:
    """Does it stand to the right of its column?"""
    return isinstance(cell, int | float | Estimate)


def shape_of(report: Report) -> dict[str, Any]:
    """All of it, for JSON."""
    return {
        "title": report.title,
        "scenario": report.scenario,
        "notes": list(report.notes),
        "tables": [
            {
                "name": table.name,
                "title": table.title,
                "rows": [
                    dict(zip(table.columns, map(_plain, row), strict=True)) for row in table.rows
                ],
            }
            for table in report.tables
        ],
        "plots": [attrs.asdict(plot) for plot in report.plots],
    }


def _plain(cell: Cell) -> Any:
    return attrs.asdict(cell) if isinstance(cell, Estimate) else cell


def csv_of(table: Table) -> str:
    """A line a row, numbers unrounded; an estimate has the ends of its interval beside it."""
    estimated = [
        any(isinstance(row[at], Estimate) for row in table.rows) for at in range(len(table.columns))
    ]
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head: list[str] = []
    for name, wide in zip(table.columns, estimated, strict=True):
        head += [name, f"{name} low", f"{name} high"] if wide else [name]
    writer.writerow(head)
    for row in table.rows:
        line: list[object] = []
        for cell, wide in zip(row, estimated, strict=True):
            line += _three(cell) if wide else ["" if cell is None else cell]
        writer.writerow(line)
    return text.getvalue()


def _three(cell: Cell) -> list[object]:
    if isinstance(cell, Estimate):
        return [cell.mean, cell.low, cell.high]
    return ["" if cell is None else cell, "", ""]
