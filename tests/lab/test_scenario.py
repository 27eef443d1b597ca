"""Scenarios: the same from their own text, and a sentence for everything that is none."""

from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.core.via import Flood, Placement, Structured
from dht.errors import LocalError
from dht.lab.scenario import (
    PLACES,
    Comings,
    Faults,
    Links,
    Overlay,
    Scenario,
    Workload,
    changed,
    read_scenario,
    scenario_of,
    shape_of,
    toml_of,
)

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "scenarios").glob("*.toml"))

shares = st.floats(0, 1)
medians = st.floats(0.001, 1000)
scenarios = st.builds(
    Scenario,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True),
    overlay=st.sampled_from(["kademlia", "flood", "walk", "index"]),
    nodes=st.integers(200, 500_000),
    seed=st.integers(0, 2**31),
    seeds=st.integers(1, 10_000),
    links=st.builds(
        lambda median, more, **rest: Links(rtt_median_ms=median, rtt_mean_ms=median + more, **rest),
        median=medians,
        more=st.floats(0, 1000),
        loss=shares,
        jitter=shares,
        corrupt=shares,
    ),
    churn=st.builds(Comings, session_min=st.floats(0, 10_000), polite=shares),
    workload=st.builds(
        Workload,
        records=st.integers(1, 1000),
        zipf=st.floats(0, 10),
        copies_by=st.sampled_from(["uniform", "square_root", "proportional"]),
    ),
    faults=st.builds(Faults, dead=st.floats(0, 0.9), cut_off=st.floats(0, 0.9)),
    config=st.dictionaries(st.sampled_from(["k", "replicas", "view_size"]), st.integers(8, 60)),
)


@given(scenarios)
def test_a_scenario_comes_back_from_its_text(scenario: Scenario) -> None:
    text = toml_of(scenario)
    again = read_scenario(text)
    assert again == scenario
    assert toml_of(again) == text
    assert scenario_of(shape_of(scenario)) == scenario


@given(scenarios)
def test_setting_what_is_set_already_changes_nothing(scenario: Scenario) -> None:
    shape = shape_of(scenario)
    settings = {"nodes": str(scenario.nodes), "overlay": scenario.overlay}
    for section in ("links", "churn", "workload", "faults", "config"):
        settings |= {f"{section}.{name}": str(value) for name, value in shape[section].items()}
    assert changed(scenario, settings) == scenario


def test_whole_numbers_and_decimals_are_the_same_scenario() -> None:
    assert toml_of(Scenario(links=Links(loss=1))) == toml_of(Scenario(links=Links(loss=1.0)))


def test_a_name_needs_no_section() -> None:
    scenario = changed(Scenario(), {"loss": "0.1", "alpha": "1", "zipf": "0", "session_min": "5"})
    assert scenario.links.loss == 0.1
    assert scenario.knobs().alpha == 1
    assert (scenario.workload.zipf, scenario.churn.session_min) == (0, 5)


def test_every_name_is_that_of_one_field() -> None:
    """With and without its section; a search may share a name between overlays."""
    sections = [Links, Comings, Workload, Faults]
    names = [field.name for kind in sections for field in attrs.fields(kind)]
    for name in (*names, "alpha", "ttl", "walkers"):
        assert PLACES[name] == PLACES[".".join(PLACES[name])]
    assert len({PLACES[name] for name in names}) == len(names)
    assert {PLACES[name][0] for name in names} == {"links", "churn", "workload", "faults"}


def test_settings_hold_together_not_one_by_one() -> None:
    """Each alone would leave a median above the mean."""
    links = changed(Scenario(), {"rtt_mean_ms": "20", "rtt_median_ms": "10"}).links
    assert links.model().rtt_mean_s == 0.02


def test_a_search_has_its_options_and_the_copies_of_the_workload() -> None:
    scenario = changed(Scenario(), {"overlay": "flood", "search.ttl": "3", "ring": "true"})
    assert scenario.via(5) == Flood(ttl=3, ring=True, placement=Placement(copies=5))
    assert changed(Scenario(), {"disjoint": "2"}).via() == Structured(disjoint=2)


def test_reads_come_at_a_rate_or_are_spread_over_sessions() -> None:
    settings = {"reads": "50", "reads_per_s": "10", "session_min": "20"}
    assert changed(Scenario(), settings).reading_s == 5
    assert changed(Scenario(), {**settings, "read_sessions": "2"}).reading_s == 2 * 20 * 60


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ndoes": "10"}, "nothing is named 'ndoes'; did you mean 'nodes'?"),
        ({"zzz": "10"}, r"nothing is named 'zzz'$"),
        ({"nodes": "many"}, "nodes is a whole number from 2 to .*, got 'many'"),
        ({"nodes": "1.5"}, "nodes is a whole number from 2 to .*, got 1.5"),
        ({"nodes": "true"}, "nodes is a whole number from 2 to .*, got True"),
        ({"nodes": "1"}, "from 2 to"),
        ({"nodes": "600000"}, "nodes of the engine are at most 500,000, got 600000"),
        ({"loss": "2"}, "links.loss is a number from 0 to 1, got 2"),
        ({"loss": "nan"}, "links.loss is a number from 0 to 1, got nan"),
        ({"rtt_median_ms": "500"}, "above links.rtt_mean_ms, 178"),
        ({"overlay": "kadmelia"}, "overlay is one of kademlia, .*did you mean 'kademlia'"),
        ({"name": "a b"}, "name is 1 to 64 letters.*got 'a b'"),
        ({"copies_by": "best"}, "workload.copies_by is one of uniform"),
        ({"dead": "0.99"}, "less than two outlive faults.dead = 0.99"),
        ({"read_sessions": "2"}, "read_sessions = 2 counts sessions of churn: say how long"),
        ({"alpha": "0"}, "Config.alpha is a number from 1"),
        ({"encrypted": "true"}, "config.encrypted counts for nothing here"),
        ({"walkers": "3"}, "search.walkers is nothing that Structured has"),
        ({"overlay": "flood", "search.ttl": "0"}, r"Flood\(ttl=...\) is a whole number"),
        ({"overlay": "xor", "loss": "0.1"}, "'xor' is a model without clock and messages"),
        ({"overlay": "xor", "session_min": "5"}, "leave out churn"),
        ({"overlay": "xor", "alpha": "5"}, "no engine to configure"),
        ({"overlay": "xor", "bucket": "0"}, "search.bucket is a whole number from 1 to 128, got 0"),
        ({"overlay": "hypercube", "nodes": "100"}, "got 100; 64 and 128 are near"),
    ],
)
def test_what_cannot_be_is_said(settings: dict[str, str], words: str) -> None:
    with pytest.raises(LocalError, match=words):
        changed(Scenario(), settings)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nodes = ?\n", "not a TOML file: .*line 1"),
        ("loss = 0.1", r"a scenario has no 'loss'; it belongs into \[links\]"),
        ("nods = 3", "a scenario has no 'nods'; did you mean 'nodes'"),
        ("links = 3", r"links is a table of its own, \[links\], got 3"),
        ("[links]\nlos = 3", "links.los is nothing that Links has; did you mean 'loss'"),
        ("[config]\nalpah = 3", "config.alpah is nothing that Config has; did you mean 'alpha'"),
        ("[search]\nplacement = 'path'", "search.placement is said by workload.copies"),
        ("nodes = '3'", "nodes is a whole number .* got '3'"),
    ],
)
def test_a_bad_file_is_told_where_it_is_bad(text: str, words: str) -> None:
    with pytest.raises(LocalError, match=words):
        read_scenario(text)


def test_a_static_overlay_is_one_without_an_engine() -> None:
    assert [each.value for each in Overlay if each.static] == ["tree", "ring", "hypercube", "xor"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_shipped_scenario_is_named_as_its_file(path: Path) -> None:
    scenario = read_scenario(path.read_text())
    assert scenario.name == path.stem
    shape: dict[str, Any] = shape_of(scenario)
    assert shape != shape_of(Scenario())
