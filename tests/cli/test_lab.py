"""``dht lab reproduce``: its table, its files, its errors, and what Ctrl-C leaves."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.progress import Progress

from dht.cli import lab_reproduce, lab_shown
from dht.lab.catalogue import CHORD, GUMMADI, Scenario
from dht.lab.estimates import Estimate
from dht.lab.findings import Finding, Provenance, Published, Reproduction
from dht.lab.loading import Reproduce
from dht.lab.plots import Plot, Series
from tests.cli.conftest import Run


def found(scenario: Scenario, seed: int, effort: float) -> Reproduction:
    """What a scenario would report: its arguments, so that a test can see them."""
    published = Published(value=seed, provenance=Provenance.TEXT, source="a paper")
    findings = [
        Finding(
            name="seed",
            unit="%",
            published=published,
            ours=Estimate.exactly(seed + off),
            tolerance=1,
        )
        for off in (0, 2)
    ]
    series = [Series(name="s", xs=[1], ys=[effort])]
    plot = Plot(name="effort", title="t", x_label="x", y_label="y", series=series)
    return Reproduction(scenario=scenario, findings=findings, plots=[plot], notes=["50 [%] of it"])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenarios that take no time; the second is interrupted when its seed is 13."""

    def load(scenario: Scenario) -> Reproduce:
        def reproduce(effort: float, seed: int, progress: Callable[[float], None]) -> Reproduction:
            progress(0.5)
            if scenario is GUMMADI and seed == 13:
                raise KeyboardInterrupt
            progress(1.0)
            return found(scenario, seed, effort)

        return reproduce

    monkeypatch.setattr(lab_reproduce, "load", load)


def test_the_list_names_papers(run: Run) -> None:
    done = run("lab", "reproduce", "--list")
    assert done.status == 0
    assert b"chord2001" in done.out
    assert b"SIGCOMM 2001" in done.out
    (first, *_) = json.loads(run("lab", "reproduce", "--list", "--json").out)
    assert first["name"] == "chord2001"


def test_a_table_sets_published_and_ours_side_by_side(run: Run) -> None:
    done = run("lab", "reproduce", "chord2001", "--seed", "7")
    assert (done.status, done.err) == (0, "")
    lines = done.out.decode().splitlines()
    good, bad = (line.split() for line in lines if line.strip().startswith("seed"))
    assert good == ["seed", "[%]", "7.000", "text", "read", "7.000", "reproduced"]
    assert bad[-2:] == ["9.000", "missed"]
    assert "* 50 [%] of it" in lines


def test_json_has_the_arguments_and_each_report(run: Run) -> None:
    done = run("lab", "reproduce", "gummadi2003", "chord2001", "--effort", "0.5", "--json")
    said = json.loads(done.out)
    assert (said["seed"], said["effort"], said["finished"]) == (1, 0.5, True)
    assert [each["name"] for each in said["reproductions"]] == ["gummadi2003", "chord2001"]
    assert said["reproductions"][0]["plots"][0]["series"][0]["ys"] == [0.5]


def test_out_writes_everything_for_each_name(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    done = run("lab", "reproduce", "chord2001", "--out", str(folder))
    assert done.status == 0
    names = sorted(path.name for path in (folder / "chord2001").iterdir())
    assert names == ["effort.png", "effort.svg", "findings.csv", "report.json"]
    assert str(folder / "chord2001" / "report.json") in done.err


def test_plot_draws_into_the_working_directory(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("lab", "reproduce", "chord2001", "--plot").status == 0
    names = sorted(path.name for path in (tmp_path / "chord2001").iterdir())
    assert names == ["effort.png", "effort.svg"]


def test_ctrl_c_keeps_what_is_done(run: Run, tmp_path: Path) -> None:
    arguments = ("lab", "reproduce", "chord2001", "gummadi2003", "--seed", "13")
    done = run(*arguments, "--out", str(tmp_path), "--json")
    assert done.status == 130
    said = json.loads(done.out)
    assert [each["name"] for each in said["reproductions"]] == ["chord2001"]
    assert said["finished"] is False
    assert (tmp_path / "chord2001" / "report.json").is_file()
    assert "1 of 2 are done and kept, not so gummadi2003" in done.err
    assert "1 of 2 are done and shown, not so gummadi2003" in run(*arguments).err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say what to reproduce: chord2001"),
        (["nothing"], "nothing to reproduce is named 'nothing'; there are: chord2001"),
        (["chord2001", "--effort", "0"], "--effort"),
        (["chord2001", "--effort", "nan"], "--effort"),
        (["chord2001", "--seed", "-1"], "--seed"),
    ],
)
def test_a_wrong_word_is_status_2_before_any_work(
    arguments: list[str], words: str, run: Run
) -> None:
    done = run("lab", "reproduce", *arguments)
    assert (done.status, done.out) == (2, b"")
    assert words in done.err
    assert "Traceback" not in done.err


def test_a_folder_that_cannot_be_written_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("lab", "reproduce", "chord2001", "--out", str(tmp_path / "file" / "x"))
    assert done.status == 2
    assert "cannot write to" in done.err
    (tmp_path / "chord2001").write_text("in the way")
    done = run("lab", "reproduce", "chord2001", "--out", str(tmp_path))
    # Before the work, of which nothing is shown.
    assert (done.status, done.out) == (2, b"")
    assert "name another folder with --out" in done.err


def test_a_folder_that_is_there_and_takes_no_files_is_told_before_the_work(run: Run) -> None:
    done = run("lab", "reproduce", "chord2001", "--out", "/proc")
    assert (done.status, done.out) == (2, b"")
    assert "cannot write to /proc" in done.err
    done = run("lab", "run", "--nodes", "100000", "--out", "/proc")
    assert (done.status, done.out) == (2, b"")
    assert "cannot write to /proc" in done.err


def test_a_command_that_is_not_there_is_status_2(run: Run) -> None:
    done = run("lab", "nothing")
    assert done.status == 2
    assert "No such command 'nothing'" in done.err


@pytest.mark.parametrize(("seconds", "started"), [(0, True), (1000, False)])
def test_a_bar_is_shown_only_for_work_that_lasts(
    seconds: float, *, started: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Progress] = []

    def note(self: Progress) -> None:
        begun.append(self)

    monkeypatch.setattr(lab_shown, "SHOWN_AFTER_S", seconds)
    monkeypatch.setattr(Progress, "start", note)
    with lab_shown.bar(CHORD.name) as progress:
        progress(0.5)
    assert bool(begun) is started
