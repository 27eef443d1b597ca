"""What is written of a reproduction, and that all its numbers arrive."""

import csv
import json
from pathlib import Path

from dht.lab.catalogue import CHORD
from dht.lab.estimates import Estimate
from dht.lab.findings import Finding, Provenance, Published, Reproduction
from dht.lab.plots import Plot, Series
from dht.lab.reports import COLUMNS, markdown_of, row_of, write

FINDINGS = (
    Finding(
        name="hops",
        unit="hops",
        published=Published(value=7, provenance=Provenance.TEXT, source="a paper", words="under 7"),
        ours=Estimate(mean=6.5, low=6.25, high=6.75, count=10),
        limit=6,
        limit_name="half of log2 N",
        tolerance=1,
    ),
    Finding(name="bytes", unit="B", published=None, ours=Estimate.exactly(2)),
)
PLOT = Plot(
    name="hops", title="t", x_label="x", y_label="y", series=[Series(name="s", xs=[1], ys=[2])]
)
REPRODUCTION = Reproduction(scenario=CHORD, findings=FINDINGS, plots=[PLOT], notes=["a note"])


def test_a_row_has_what_a_reader_compares() -> None:
    assert row_of(FINDINGS[0]) == (
        *("hops [hops]", "under 7", "text read", "6.500 ± 0.250"),
        *("6.000 half of log2 N", "reproduced"),
    )
    assert row_of(FINDINGS[1]) == ("bytes [B]", "", "", "2.000", "", "not comparable")


def test_a_page_has_a_row_a_finding() -> None:
    head, _, *rows = markdown_of(FINDINGS).splitlines()
    assert head == "| " + " | ".join(COLUMNS) + " |"
    assert [row.count("|") for row in rows] == [7, 7]


def test_a_folder_has_everything(tmp_path: Path) -> None:
    files = write(REPRODUCTION, tmp_path / "new" / "folder")
    assert [file.name for file in files] == [
        *("report.json", "findings.csv", "hops.png", "hops.svg")
    ]
    report = json.loads(files[0].read_text())
    assert (report["name"], report["notes"]) == ("chord2001", ["a note"])
    assert report["findings"][0]["published"]["provenance"] == "text read"
    assert [each["verdict"] for each in report["findings"]] == ["reproduced", "not comparable"]
    rows = list(csv.DictReader(files[1].read_text().splitlines()))
    assert [float(rows[0][name]) for name in ("published", "ours", "low", "high")] == [
        *(7, 6.5, 6.25, 6.75)
    ]
    assert rows[1]["published"] == rows[1]["limit"] == ""
