"""The table and the picture of lookups under churn in docs/laboratory.md.

    python -m docs.under_churn

They are made from results/lookups-under-churn.json, which `make prove ROW=lookups-under-churn` has
written: nothing is simulated here.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dht.lab.limits import limits_of
from dht.lab.plots import render_panels
from dht.lab.summary import BY_NAME, Line, plots_over
from dht.lab.tables import Cell, text_of
from proofs.rows_lab_churn import AXIS, lines_from

HERE = Path(__file__).parent
PAGE = HERE / "laboratory.md"
RESULT = HERE.parent / "results" / "lookups-under-churn.json"
PICTURE = HERE / "pictures" / "laboratory" / "lookups-under-churn.svg"
#: What has a panel of its own, and what a column.
PANELS = ("success", "latency p50", "latency p95", "latency p99", "messages", "upkeep")
COLUMNS = ("success", "latency p50", "latency p95", "latency p99", "messages", "bytes", "upkeep")
BEGIN = "<!-- lookups-under-churn: made by python -m docs.under_churn -->\n"
END = "<!-- end of lookups-under-churn -->"


def lines_of(result: dict[str, Any]) -> list[Line]:
    """What the runs of a result measured."""
    return lines_from(result["figures"]["runs"])


def table_of(lines: Sequence[Line]) -> str:
    """A row a session; the limits, which are of the upkeep, have a column each."""
    limits = limits_of(
        "upkeep",
        ("churn", "session_min"),
        [(line.point.scenario.churn.session_min, line.point.scenario) for line in lines],
    )
    head = ["session [min]", *(BY_NAME[name].label for name in COLUMNS)]
    head += [f"{limit.name} [B/s]" for limit in limits]
    rows: list[list[Cell]] = [
        [
            int(line.point.scenario.churn.session_min),
            *(line.estimate(BY_NAME[name]) for name in COLUMNS),
            *(limit.ys[at] for limit in limits),
        ]
        for at, line in enumerate(lines)
    ]
    texts = [head, ["---:"] * len(head), *(list(map(text_of, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in texts)


def picture_of(lines: Sequence[Line]) -> bytes:
    """All panels, as SVG."""
    return render_panels(plots_over(AXIS, lines, PANELS), "svg")


def with_table(page: str, table: str) -> str:
    """The page with a table in the place of the one before."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n{table}\n\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Writes both anew."""
    lines = lines_of(json.loads(RESULT.read_text()))
    PICTURE.write_bytes(picture_of(lines))
    PAGE.write_text(with_table(PAGE.read_text(), table_of(lines)))


if __name__ == "__main__":
    main()
