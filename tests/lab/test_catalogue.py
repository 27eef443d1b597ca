"""The list of what can be reproduced: complete, and light."""

import subprocess
import sys
from pathlib import Path

import pytest

from dht.errors import LocalError
from dht.lab import reproduce
from dht.lab.catalogue import CHORD, SCENARIOS, Scenario, scenario_named
from dht.lab.loading import load

ROOT = Path(__file__).parents[2]


def test_every_scenario_has_its_file_and_every_file_its_scenario() -> None:
    (folder,) = reproduce.__path__
    files = {path.stem for path in Path(folder).glob("*.py")} - {"__init__"}
    assert files == {scenario.module for scenario in SCENARIOS.values()}
    assert all(callable(load(scenario)) for scenario in SCENARIOS.values())


def test_listing_loads_neither_numpy_nor_a_plot() -> None:
    code = "import sys, dht.lab.loading; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert not {"numpy", "matplotlib", "dht.lab.findings"} & set(done.stdout.split())


def test_a_name_that_is_not_there_tells_which_are() -> None:
    assert scenario_named("chord2001") is CHORD
    with pytest.raises(LocalError, match=r"'chord'; .*chord2001, gummadi2003"):
        scenario_named("chord")


def test_a_scenario_that_lost_its_file_is_our_bug() -> None:
    with pytest.raises(ModuleNotFoundError, match="nothing_here"):
        load(Scenario(name="nothing-here", title="", paper=""))
