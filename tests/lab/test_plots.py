"""Plots: the same bytes from the same data, and an error that says what to install."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from dht.errors import LocalError
from dht.lab.plots import Plot, Series, render

ROOT = Path(__file__).parents[2]
PLOT = Plot(
    name="p",
    title="A title",
    x_label="across",
    y_label="up",
    x_log=True,
    y_log=True,
    y_range=(0.1, 2000),
    series=[
        Series(
            name="ours", xs=[1, 10, 100], ys=[1, 5, 1000], lows=[0.5, 4, 900], highs=[2, 6, 1e3]
        ),
        Series(name="law", look="limit", like="ours", xs=[1, 100], ys=[1, 1000]),
        Series(name="floor", look="limit", xs=[1, 100], ys=[1, 1]),
        Series(name="theirs", look="published", xs=[10], ys=[0.0005]),
    ],
)


def test_a_picture_is_the_same_each_time() -> None:
    png, svg = render(PLOT, "png"), render(PLOT, "svg")
    assert png.startswith(b"\x89PNG")
    assert render(PLOT, "png") == png
    assert render(PLOT, "svg") == svg
    assert ET.fromstring(svg).tag.endswith("svg")  # noqa: S314 - our own
    assert b"<dc:date>" not in svg


def test_another_format_is_refused() -> None:
    with pytest.raises(LocalError, match="png or svg, got 'gif'"):
        render(PLOT, "gif")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        ("matplotlib", "from dht.lab.plots import check_matplotlib; check_matplotlib()"),
        ("numpy", "from dht.lab import catalogue, loading; loading.load(catalogue.CHORD)"),
    ],
)
def test_without_the_extra_it_says_what_to_install(missing: str, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['{missing}'] = None; {code}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert "dht.errors.LocalError" in done.stderr
    assert "pip install 'dht[lab]'" in done.stderr
