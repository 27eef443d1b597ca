"""What a reproduction looks like outside: rows for a table, JSON, CSV, Markdown, a folder of files.

Nothing is written but by ``write``, which is told where.
"""

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import attrs

from .estimates import digits
from .findings import Finding, Published, Reproduction
from .plots import FORMATS, render

COLUMNS = ("finding", "published", "provenance", "ours", "limit", "verdict")


def row_of(finding: Finding) -> tuple[str, ...]:
    """The cells of a finding, in the order of ``COLUMNS``."""
    limit = "" if finding.limit is None else f"{digits(finding.limit)} {finding.limit_name}"
    return (
        f"{finding.name} [{finding.unit}]",
        _words(finding.published),
        "" if finding.published is None else finding.published.provenance.value,
        str(finding.ours),
        limit.strip(),
        finding.verdict.value,
    )


def _words(published: Published | None) -> str:
    if published is None:
        return ""
    return published.words or digits(published.value)


def shape_of(reproduction: Reproduction) -> dict[str, Any]:
    """All of it, for JSON."""
    scenario = reproduction.scenario
    return {
        "name": scenario.name,
        "title": scenario.title,
        "paper": scenario.paper,
        "findings": [_shape_of_finding(finding) for finding in reproduction.findings],
        "plots": [attrs.asdict(plot) for plot in reproduction.plots],
        "notes": list(reproduction.notes),
    }


def _shape_of_finding(finding: Finding) -> dict[str, Any]:
    return {**attrs.asdict(finding), "verdict": finding.verdict.value}


def csv_of(reproduction: Reproduction) -> str:
    """A line a finding, its numbers unrounded."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ("finding", "unit", "published", "provenance", "source", "ours", "low", "high", "count")
    writer.writerow([*head, "limit", "limit_name", "tolerance", "verdict"])
    for each in reproduction.findings:
        published = each.published
        known = (
            ("", "", "")
            if published is None
            else (published.value, published.provenance.value, published.source)
        )
        ours = (each.ours.mean, each.ours.low, each.ours.high, each.ours.count)
        limit = ("" if each.limit is None else each.limit, each.limit_name)
        tolerance = "" if each.tolerance is None else each.tolerance
        row = [each.name, each.unit, *known, *ours, *limit, tolerance, each.verdict.value]
        writer.writerow(row)
    return text.getvalue()


def markdown_of(findings: Sequence[Finding]) -> str:
    """A table for a page."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|---:|---|---:|---:|---|"]
    lines += [f"| {' | '.join(row_of(finding))} |" for finding in findings]
    return "\n".join(lines)


def write(reproduction: Reproduction, folder: Path) -> list[Path]:
    """Writes report.json, findings.csv and each plot, twice, into the folder; which files."""
    folder.mkdir(parents=True, exist_ok=True)
    report, findings = folder / "report.json", folder / "findings.csv"
    report.write_text(json.dumps(shape_of(reproduction), indent=2) + "\n")
    findings.write_text(csv_of(reproduction))
    return [report, findings, *draw(reproduction, folder)]


def draw(reproduction: Reproduction, folder: Path) -> list[Path]:
    """Draws each plot, as PNG and as SVG, into the folder; which files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for plot in reproduction.plots:
        for kind in FORMATS:
            files.append(folder / f"{plot.name}.{kind}")
            files[-1].write_bytes(render(plot, kind))
    return files
