"""Writes the table of defences into docs/security.md: ``python -m proofs.defences_page``.

``defences.toml`` is where they are; ``tests/proofs/test_defences.py`` fails when the page says
something else.
"""

from collections.abc import Iterable

from .rows_defences import DEFENCES, Defence
from .surroundings import ROOT

PAGE = ROOT / "docs" / "security.md"
BEGIN = "<!-- defences: made by `python -m proofs.defences_page` -->\n"
END = "<!-- end of defences -->\n"


def table_of(defences: Iterable[Defence]) -> str:
    """The defences as a table in Markdown, a line each."""
    lines = ["| against | where | the test that fails without it |", "|---|---|---|"]
    for each in defences:
        tests = ", ".join(
            f"[{_name_of(test)}](../{test.partition('::')[0]})" for test in each.tests
        )
        where = f"[{each.file.removeprefix('dht/')}](../{each.file})"
        lines.append(f"| {each.threat} | {where} | {tests} |")
    return "\n".join(lines) + "\n"


def with_table(page: str, table: str) -> str:
    """The page with this table in the place of the one that it has. Raises ``ValueError`` for a
    page without the two marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + table + END + after


def _name_of(test: str) -> str:
    """What a test says, without the words that every one begins with."""
    path, _, function = test.partition("::")
    name = function.removeprefix("test_") if function else path.rpartition("/")[2]
    return name.replace("_", " ")


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(), table_of(DEFENCES)))
