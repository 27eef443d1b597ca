"""``dht lab run`` and ``dht lab compare``: tables, files, errors, and what Ctrl-C leaves."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from dht.cli import lab_pieces, lab_run
from dht.cli.lab_pieces import Way
from dht.lab import sweep
from dht.lab.scenario import Scenario, read_scenario
from dht.lab.sweep import Piece
from tests.cli.conftest import ROOT, Run, start
from tests.lab.made import invented

#: A static model: milliseconds.
XOR = ("--overlay", "xor", "--nodes", "64", "--reads", "40", "--seeds", "2")
QUICK = ("lab", "run", *XOR, "--jobs", "1")


def test_without_a_word_a_small_network_runs(run: Run) -> None:
    done = run("lab", "run", "--nodes", "12", "--reads", "10", "--seeds", "1")
    assert (done.status, done.err) == (0, "")
    text = done.out.decode()
    assert "default: kademlia, 12 nodes, 10 reads" in text
    for words in ("latency p50 [ms]", "upkeep [B/s a node]", "Gini", "0 of 10 reads"):
        assert words in text


def test_json_has_the_scenario_and_every_table(run: Run) -> None:
    said = json.loads(run(*QUICK, "--sweep", "nodes=64,128", "--json").out)
    assert said["finished"] is True
    assert read_scenario(said["scenario"]).overlay == "xor"
    rows = said["tables"][0]["rows"]
    assert [(row["overlay"], row["nodes"], row["runs"]) for row in rows] == [
        ("xor", 64, 2),
        ("xor", 128, 2),
    ]
    assert [plot["name"] for plot in said["plots"]] == ["success-by-nodes", "hops-by-nodes"]


def test_the_same_command_says_the_same_over_any_number_of_processes(run: Run) -> None:
    sweeping = ("--sweep", "nodes=64,128", "--json")
    one = run(*QUICK, *sweeping)
    assert run("lab", "run", *XOR, *sweeping, "--jobs", "2").out == one.out


def test_out_writes_everything_and_the_same_command_runs_nothing_again(
    run: Run, tmp_path: Path
) -> None:
    arguments = (*QUICK, "--sweep", "nodes=64,128", "--out", str(tmp_path / "new"))
    done = run(*arguments)
    assert done.status == 0
    assert "wrote" in done.err
    names = {path.name for path in (tmp_path / "new").iterdir()}
    plots = {f"{each}-by-nodes.{kind}" for each in ("success", "hops") for kind in ("png", "svg")}
    assert names == plots | {
        *("overview.png", "overview.svg", "report.html", "report.json", "pieces.jsonl"),
        *("measured.csv", "balance.csv", "popularity.csv"),
    }
    report = (tmp_path / "new" / "report.json").read_bytes()
    again = run(*arguments)
    assert "4 of 4 runs are in" in again.err
    assert (again.out, (tmp_path / "new" / "report.json").read_bytes()) == (done.out, report)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes seconds, and is looked at elsewhere."""
    for name in ("render", "render_panels"):
        monkeypatch.setattr(f"dht.lab.page.{name}", lambda *_: b"<svg/>")


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs take no time, and somebody presses Ctrl-C in the third."""

    def measured(scenario: Scenario, seed: int, progress: object) -> object:
        if seed == 3:
            raise KeyboardInterrupt
        return invented(seed, scenario.nodes)

    monkeypatch.setattr(sweep, "run", measured)


@pytest.mark.usefixtures("interrupted", "undrawn")
def test_ctrl_c_keeps_what_is_done_and_the_next_time_goes_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("lab", "run", "--seeds", "4", "--jobs", "1", "--out", str(tmp_path), "--json")
    done = run(*arguments)
    assert done.status == 130
    assert f"stopped: 2 of 4 runs are done, and kept in {tmp_path}: the same command" in done.err
    said = json.loads(done.out)
    assert said["finished"] is False
    assert said["notes"][-1] == "UNFINISHED: 2 of 4 runs are in this report."
    assert (tmp_path / "report.html").is_file()
    begun: list[int] = []

    def measured(scenario: Scenario, seed: int, progress: object) -> object:
        begun.append(seed)
        return invented(seed, scenario.nodes)

    monkeypatch.setattr(sweep, "run", measured)
    assert run(*arguments).status == 0
    assert begun == [3, 4]


@pytest.mark.usefixtures("interrupted")
def test_ctrl_c_without_a_folder_shows_what_is_done(run: Run) -> None:
    done = run("lab", "run", "--seeds", "4", "--jobs", "1")
    assert done.status == 130
    assert "2 of 4 runs are in this report" in done.out.decode()
    assert "with --out DIR they would be kept" in done.err


@pytest.mark.usefixtures("interrupted")
def test_ctrl_c_before_anything_is_done_reports_nothing(run: Run, tmp_path: Path) -> None:
    arguments = ("lab", "run", "--seed", "3", "--seeds", "1", "--out", str(tmp_path))
    done = run(*arguments)
    assert (done.status, done.out) == (130, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_real_ctrl_c_leaves_no_process_and_no_traceback() -> None:
    """Sent to the parent alone, while its processes are at work on something long."""
    process = start("lab", "run", "--nodes", "5000", "--seeds", "2", "--jobs", "2")
    try:
        while len(begun := workers_of(process.pid)) < 2:
            assert process.poll() is None
    finally:
        # Whatever goes wrong here, it does not work on for an hour.
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=50)
    assert (process.returncode, out) == (130, "")
    assert "stopped: 0 of 2 runs" in err
    assert "Traceback" not in err
    assert not [each for each in begun if Path(f"/proc/{each}").exists()]


def workers_of(parent: int) -> list[str]:
    """The processes that it has spawned for work; the one that only tracks resources ends itself,
    a moment later."""
    workers = []
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        with suppress(FileNotFoundError):  # it has just gone
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                workers.append(child)
    return workers


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--overlay", "kadmelia"], "did you mean 'kademlia'"),
        (["--nodes", "some"], "nodes is a whole number from 2 to 1,048,576, got 'some'"),
        (["--loss", "2"], "links.loss is a number from 0 to 1, got 2"),
        (["--rtt", "fast"], "--rtt is a number of milliseconds, got 'fast'"),
        (["--set", "alpha"], "--set is NAME=VALUE, such as loss=0.05, got 'alpha'"),
        (["--set", "alhpa=3"], "nothing is named 'alhpa'; did you mean 'alpha'"),
        (["--sweep", "nodes"], "a sweep is NAME=VALUE,VALUE"),
        (["--sweep", "nodes=64,x"], "got 'x'"),
        (["--jobs", "0"], "--jobs"),
        (["--nodse", "3"], "No such option"),
        (["missing.toml"], "cannot read missing.toml: No such file"),
    ],
)
def test_a_wrong_word_is_status_2_before_any_work(
    arguments: list[str], words: str, run: Run
) -> None:
    done = run("lab", "run", *arguments)
    assert (done.status, done.out) == (2, b"")
    assert words in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"nodes = ?\n", "not a TOML file"),
        (b"[links]\nlos = 1\n", "links.los is nothing that Links has; did you mean 'loss'"),
        (b"\xff\xfe", "is no text"),
    ],
)
def test_a_bad_scenario_file_is_named_with_what_is_wrong(
    content: bytes, words: str, run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    done = run("lab", "run", str(path))
    assert done.status == 2
    assert words in done.err
    assert "bad.toml" in done.err


def test_show_prints_a_scenario_that_can_be_run(run: Run, tmp_path: Path) -> None:
    shown = run("lab", "run", "--rtt", "10", "--churn", "20", "--zipf", "1", "--show")
    assert shown.status == 0
    scenario = read_scenario(shown.out.decode())
    assert scenario.links.rtt_median_ms == 10
    assert scenario.links.rtt_mean_ms == pytest.approx(11.41, abs=0.01)
    assert (scenario.churn.session_min, scenario.workload.zipf) == (20, 1)
    path = tmp_path / "scenario.toml"
    path.write_bytes(shown.out)
    assert run("lab", "run", str(path), "--show").out == shown.out


def test_options_beat_the_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text('nodes = 100\noverlay = "walk"\n')
    shown = run("lab", "run", str(path), "--nodes", "50", "--set", "loss=0.1", "--show").out
    scenario = read_scenario(shown.decode())
    assert (scenario.nodes, scenario.overlay, scenario.links.loss) == (50, "walk", 0.1)


def test_a_folder_that_cannot_be_written_is_told_before_the_work(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("lab", "run", "--nodes", "100000", "--out", str(tmp_path / "file" / "x"))
    assert done.status == 2
    assert "name another folder with --out" in done.err


def test_a_folder_in_the_way_of_a_file_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    done = run(*QUICK, "--out", str(tmp_path))
    assert done.status == 2
    assert "name another folder with --out" in done.err
    # What was run is kept all the same.
    assert len((tmp_path / "pieces.jsonl").read_text().splitlines()) == 2


def test_runs_of_other_code_are_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(*QUICK, "--out", str(tmp_path))
    monkeypatch.setattr(sweep, "fingerprint", lambda: "other")
    done = run(*QUICK, "--out", str(tmp_path))
    assert done.status == 0
    assert "has 2 runs that another version of the code made" in done.err


@pytest.mark.parametrize(
    ("missing", "arguments"), [("numpy", ()), ("matplotlib", ("--out", "DIR")), ("distributed", ())]
)
def test_without_an_extra_it_says_what_to_install(
    missing: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    """In a process of its own: here all of them are loaded."""
    words = ["lab", "run", *XOR, *(str(tmp_path) if each == "DIR" else each for each in arguments)]
    if missing == "distributed":
        words += ["--dask", "tcp://127.0.0.1:1"]
    code = f"import sys; sys.modules[{missing!r}] = None; from dht.cli import main; main({words!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 2
    assert f"pip install 'dht[{'dask' if missing == 'distributed' else 'lab'}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_work_over_processes_has_a_bar_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []

    class Bar:
        def __enter__(self) -> object:
            return told.append

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(lab_pieces, "bar", lambda _: Bar())
    pieces = [Piece(Scenario(overlay="xor"), seed) for seed in range(2)]
    way = Way(jobs=2, dask=None, out=None, as_json=False)
    kept: list[int] = []
    assert lab_pieces._run("x", pieces, way, lambda piece, _: kept.append(piece.seed))
    assert sorted(kept) == [0, 1]
    assert told == pytest.approx([0, 0.5, 1])


def test_where_a_system_does_not_tell_which_cpus_are_ours_all_of_them_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As macOS and Windows do not."""
    assert lab_pieces.cpus() >= 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert lab_pieces.cpus() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert lab_pieces.cpus() == 1


def test_the_help_has_examples(run: Run) -> None:
    for command in ("run", "compare"):
        text = run("lab", command, "--help").out.decode()
        assert f"  dht lab {command} " in text
        assert "Examples:" in text


def test_every_option_of_a_field_sets_that_field() -> None:
    options = {option.name for option in lab_run.run.params}
    assert set(lab_run._FIELDS) < options


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_dask_cluster_makes_the_same_report(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real scheduler and two workers, each a process, on loopback; nothing runs here."""
    from distributed import LocalCluster

    engine = ("--nodes", "12", "--reads", "8", "--set", "records=4", "--seeds", "2")
    words = ("lab", "run", *engine, "--sweep", "overlay=kademlia,xor", "--json")
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        assert len(cluster.workers) == 2
        with monkeypatch.context() as patch:
            for name in ("run_here", "processes"):
                patch.setattr(sweep, name, None)
            done = run(*words, "--dask", cluster.scheduler_address, "--out", str(tmp_path))
    assert done.status == 0
    assert "Traceback" not in done.err
    assert len((tmp_path / "pieces.jsonl").read_text().splitlines()) == 4
    assert (tmp_path / "report.html").is_file()
    here = run(*words, "--jobs", "1")
    assert done.out == here.out
    assert json.loads(done.out)["finished"] is True


def test_an_address_that_is_none_is_one_sentence() -> None:
    """Whatever the library leaves behind must not be heard of later."""
    process = start("lab", "run", *XOR, "--dask", "nowhere")
    out, err = process.communicate(timeout=50)
    assert (process.returncode, out) == (2, "")
    assert err.startswith("dht: no Dask scheduler answers at 'nowhere'")
    assert len(err.splitlines()) == 1


# ----------------------------------------------------------------------------------------- compare


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(scenario: Scenario, seed: int, _: object) -> object:
        return invented(seed, scenario.nodes)

    monkeypatch.setattr(sweep, "run", measured)
    monkeypatch.setattr("dht.lab.versus.KEYS", 500)


@pytest.mark.usefixtures("no_work", "undrawn")
def test_compare_has_one_picture_of_all(run: Run, tmp_path: Path) -> None:
    done = run("lab", "compare", "--quick", "--jobs", "1", "--out", str(tmp_path))
    assert done.status == 0
    text = done.out.decode()
    for words in ("By the number of nodes", "median session", "rank of the record", "hashing"):
        assert words in text
    names = {path.name for path in tmp_path.iterdir()}
    assert {"overview.png", "overview.svg", "report.html", "hashing.csv", "by-churn.csv"} <= names


@pytest.mark.usefixtures("no_work")
def test_compare_takes_sizes_and_sessions(run: Run) -> None:
    words = ("--sizes", "20,40", "--sessions", "7", "--seeds", "1", "--jobs", "1", "--json")
    said = json.loads(run("lab", "compare", *words).out)
    by_size, by_churn, *_ = said["tables"]
    assert {row["nodes"] for row in by_size["rows"]} == {20, 40}
    assert {row["session_min"] for row in by_churn["rows"]} == {7}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(("--sizes", "20,x"), "got 'x'"), (("--sessions", "-1"), "churn.session_min is a number")],
)
def test_sizes_that_cannot_be_are_told(words: tuple[str, ...], sentence: str, run: Run) -> None:
    done = run("lab", "compare", *words)
    assert done.status == 2
    assert sentence in done.err


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_quick_comparison_is_a_real_one(run: Run) -> None:
    said = json.loads(run("lab", "compare", "--quick", "--json").out)
    assert said["finished"] is True
    assert said["notes"][0].startswith("0 of")
    found = {row["overlay"]: row["success [%]"]["mean"] for row in said["tables"][0]["rows"]}
    assert found == dict.fromkeys(found, 100)
    assert len(found) == 8
