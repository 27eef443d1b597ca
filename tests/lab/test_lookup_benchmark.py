"""``python -m benchmarks.lookup``: its table, its JSON, and its words for what is wrong."""

import json
from pathlib import Path

import attrs
import pytest

from benchmarks import lookup
from dht.lab.scenario import Scenario, changed
from dht.lab.sweep import Piece, Results

TINY = [f"--set={each}" for each in ("nodes=12", "reads=8", "records=4", "seeds=2")]


def test_it_prints_what_reads_come_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert lookup.main(TINY) == 0
    out, err = capsys.readouterr()
    head, row, last = out.splitlines()
    assert head.split()[:3] == ["overlay", "runs", "wrong"]
    assert row.split()[:4] == ["kademlia", "2", "0", "100.0"]
    assert last.startswith("2 runs took ")
    assert err.splitlines()[-1] == "2 of 2: default, 12 nodes, seed 2"


def test_a_scenario_file_says_the_same_over_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cube.toml"
    path.write_text('name = "cube"\noverlay = "hypercube"\nnodes = 32\nseeds = 2\n')
    tables = []
    for jobs in ("1", "2"):
        assert lookup.main([str(path), "--json", "--jobs", jobs]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["seconds"] >= 0
        tables.append(said["tables"])
    ((table,), again) = tables
    assert [table] == again
    assert [(row["name"], row["runs"]) for row in table["rows"]] == [("cube", 2)]


def test_without_a_word_three_sizes_are_measured() -> None:
    points = lookup.points_of([], [])
    assert [point.scenario.nodes for point in points] == [100, 300, 1000]


def test_a_wrong_value_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = changed(Scenario(), {"overlay": "xor", "nodes": "16", "seeds": "1"})
    piece = Piece(scenario, 1)
    wrong = attrs.evolve(lookup.measure(lookup.points_of([], SMALL), 1)[piece.key], wrong=1)
    monkeypatch.setattr(lookup, "measure", lambda *_: Results({piece.key: wrong}))
    assert lookup.main([f"--set={each}" for each in SMALL]) == 1


SMALL = ["overlay=xor", "nodes=16", "seeds=1"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--jobs", "0"], "--jobs is at least 1, got 0"),
        (["--set", "alpha"], "--set is NAME=VALUE, such as alpha=1, got 'alpha'"),
        (["--set", "alhpa=1"], "did you mean 'alpha'"),
        (["missing.toml"], "No such file"),
        (["BINARY"], "can't decode byte"),
    ],
)
def test_a_wrong_word_is_status_2(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(SystemExit) as ended:
        lookup.main([str(binary) if each == "BINARY" else each for each in words])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
