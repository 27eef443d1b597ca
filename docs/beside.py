"""The README's table and picture of lookups beside searches, from the figures of that promise.

make prove ROW=lookups-beside-searches
python -m docs.beside
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .drawing import BLUE, ORANGE, Sheet
from .pictures import FOLDER, bars, figure, with_table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "README.md"
RESULT = ROOT / "results" / "lookups-beside-searches.json"
PICTURE = FOLDER / "beside.svg"

#: As people call them.
NAMES = {"kademlia": "lookup", "flood": "flood", "walk": "walk", "index": "index"}

Network = Mapping[str, Any]


def networks() -> Sequence[Network]:
    """What was measured in each, the smallest first."""
    found: Sequence[Network] = json.loads(RESULT.read_text())["figures"]["networks"]
    return found


def table_of(measured: Sequence[Network]) -> str:
    """A row for each way in each network, as Markdown."""
    lines = [
        "| nodes | | found | hops | requests | KB | median ms |",
        "|---:|---|---:|---:|---:|---:|---:|",
    ]
    for network in measured:
        for way, name in NAMES.items():
            each = network["measured"][way]
            cells = [
                f"{network['nodes']:,}",
                name,
                f"{each['success']:.1%}",
                f"{each['hops']:.2f}",
                figure(each["messages"]),
                figure(each["bytes"] / 1000),
                figure(each["latency_p50_s"] * 1000),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(measured: Sequence[Network]) -> str:
    """Requests of a read, on a logarithmic scale, one panel a network."""
    sheet = Sheet(760, 400, "Requests that a read takes in each way, on a logarithmic scale")
    sheet.text((20, 30), "requests of all nodes for one read, 8 copies a record", size=15)
    for number, (network, colour) in enumerate(zip(measured, (BLUE, ORANGE), strict=False)):
        rows = [(name, network["measured"][way]["messages"], None) for way, name in NAMES.items()]
        corner = (90.0 + 360 * number, 70.0)
        bars(sheet, corner, f"{network['nodes']:,} nodes", rows, colour)
    return sheet.svg()


def main() -> None:
    """Writes both anew."""
    measured = networks()
    PICTURE.write_text(draw(measured))
    page = with_table(PAGE.read_text(), "beside", table_of(measured), by="docs.beside")
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
