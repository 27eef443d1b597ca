"""Sweeps: the grid, the order in which pieces come back, and what is kept of them."""

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from math import prod
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dht.errors import LocalError
from dht.lab import sweep
from dht.lab.experiment import Measured
from dht.lab.scenario import Scenario, changed
from dht.lab.summary import summarised
from dht.lab.sweep import (
    Axis,
    Kept,
    Piece,
    Point,
    Results,
    grid,
    measure,
    pieces_of,
    run_here,
    run_over,
    weight,
)
from dht.lab.tables import shape_of
from tests.lab.made import invented

#: Static: a run of it takes milliseconds.
BASE = changed(Scenario(), {"overlay": "xor", "reads": "20", "records": "5", "seeds": "2"})
AXES = [Axis.parse("nodes=16,64"), Axis.parse("overlay=tree,xor")]


class Here(Executor):
    """Runs everything at once, in this process."""

    def __init__(self, trouble: Callable[[Piece], BaseException | None] = lambda _: None) -> None:
        self.trouble = trouble

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        error = self.trouble(args[0])
        if error is None:
            future.set_result(fn(*args))
        else:
            future.set_exception(error)
        return future


names = st.sampled_from(["reads", "zipf", "bucket", "dead"])
values = st.lists(st.integers(1, 60), min_size=1, max_size=4, unique=True)


@given(st.dictionaries(names, values, max_size=3), st.integers(1, 4))
def test_the_grid_is_the_product_of_its_axes(drawn: dict[str, list[int]], seeds: int) -> None:
    scale = {"reads": 1, "zipf": 0.1, "bucket": 1, "dead": 0.01}
    axes = [
        Axis(name, tuple(str(scale[name] * number) for number in numbers))
        for name, numbers in drawn.items()
    ]
    points = grid(changed(BASE, {"seeds": str(seeds)}), axes)
    assert len(points) == prod(len(axis.values) for axis in axes)
    assert len({json.dumps(point.settings, sort_keys=True) for point in points}) == len(points)
    for point in points:
        assert point.scenario == changed(BASE, {**point.settings, "seeds": str(seeds)})
    pieces = pieces_of(points)
    assert len(pieces) == len({piece.key for piece in pieces}) == len(points) * seeds


def test_the_last_axis_is_the_fastest() -> None:
    assert [point.settings for point in grid(BASE, AXES)][:2] == [
        {"nodes": "16", "overlay": "tree"},
        {"nodes": "16", "overlay": "xor"},
    ]


def test_points_that_are_alike_are_run_once() -> None:
    (point,) = grid(BASE, [])
    again = Point({}, changed(BASE, {"name": "other", "seeds": "1"}))
    assert len(pieces_of([point, again])) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nodes", "a sweep is NAME=VALUE,VALUE,..., such as nodes=100,1000, got 'nodes'"),
        ("nodes=", "a sweep is NAME=VALUE"),
        ("nodes=1,,2", "a sweep is NAME=VALUE"),
        ("nodes=5,6,5", "a sweep has each value once, got 'nodes=5,6,5'"),
        ("node=5", "nothing is named 'node'; did you mean 'nodes'"),
    ],
)
def test_a_sweep_that_cannot_be_is_said(text: str, words: str) -> None:
    with pytest.raises(LocalError, match=words):
        Axis.parse(text)


def test_a_name_is_swept_once() -> None:
    axes = [Axis.parse("zipf=1,2"), Axis.parse("workload.zipf=3")]
    with pytest.raises(LocalError, match=r"each name is swept once, got zipf, workload\.zipf"):
        grid(BASE, axes)


def test_a_value_of_the_grid_that_makes_no_scenario_is_told_before_any_work() -> None:
    with pytest.raises(LocalError, match="got 'x'"):
        grid(BASE, [Axis.parse("nodes=16,x")])


# ------------------------------------------------------------------------------------- the running


def report_of(results: Results) -> dict[str, Any]:
    return shape_of(summarised(BASE, AXES, grid(BASE, AXES), results))


@settings(max_examples=8)
@given(st.integers())
def test_a_report_hangs_on_no_order(seed: int) -> None:
    pieces = pieces_of(grid(BASE, AXES))
    made = {piece.key: invented(piece.seed, piece.scenario.nodes) for piece in pieces}
    order = list(made)
    Random(seed).shuffle(order)
    assert report_of({key: made[key] for key in order}) == report_of(made)


def test_every_way_of_running_measures_the_same() -> None:
    pieces = pieces_of(grid(BASE, AXES))
    here: dict[str, Measured] = {}
    over: dict[str, Measured] = {}
    told: list[float] = []
    run_here(pieces, lambda piece, measured: here.__setitem__(piece.key, measured), told.append)
    run_over(Here(), pieces, lambda piece, measured: over.__setitem__(piece.key, measured))
    assert here == over
    assert list(here) == [piece.key for piece in pieces]
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)
    assert report_of(here) == report_of(over)


def test_what_one_piece_raises_comes_out_after_what_was_done_is_kept() -> None:
    pieces = pieces_of(grid(BASE, []))
    kept: list[int] = []
    executor = Here(lambda piece: LocalError("no") if piece.seed == 2 else None)
    with pytest.raises(LocalError, match="no"):
        run_over(executor, [pieces[0]] * 3 + [pieces[1]], lambda piece, _: kept.append(piece.seed))
    assert set(kept) <= {1}


def test_larger_pieces_weigh_more() -> None:
    def of(**settings: str) -> float:
        return weight(Piece(changed(Scenario(), settings), 1))

    assert of(nodes="64") < of(nodes="128")
    assert of(overlay="walk") < of(overlay="flood")
    assert of(overlay="xor") < 0.1
    churning = {"session_min": "20", "soak_s": "60"}
    assert of(soak_s="60") < of(**churning) < of(**churning, read_sessions="2")


def test_processes_measure_what_this_one_does_and_leave_none_behind() -> None:
    earlier = multiprocessing.active_children()
    pieces = pieces_of(grid(BASE, []))
    found: dict[int, Measured] = {}
    with sweep.processes(2) as executor:
        run_over(executor, pieces, lambda piece, measured: found.__setitem__(piece.seed, measured))
    assert found == {piece.seed: measure(piece) for piece in pieces}
    assert multiprocessing.active_children() == earlier


def test_an_interrupt_ends_the_processes() -> None:
    """They would run for an hour."""
    earlier = multiprocessing.active_children()
    long = Piece(changed(Scenario(), {"nodes": "20000"}), 1)

    def interrupted() -> None:
        with sweep.processes(1) as executor:
            executor.submit(measure, long)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert multiprocessing.active_children() == earlier


def test_processes_do_not_hear_of_ctrl_c_from_their_first_moment_on() -> None:
    """Long before they have loaded what would tell them to ignore it."""
    earlier = multiprocessing.active_children()
    with sweep.processes(2) as executor:
        workers = [each for each in multiprocessing.active_children() if each not in earlier]
        blocked = [_blocked_in(each.pid) for each in workers]
        executor.submit(int).result()
    assert [bool(mask & 1 << (signal.SIGINT - 1)) for mask in blocked] == [True, True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def _blocked_in(process: int | None) -> int:
    """The mask of its signals, as Linux tells it."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (mask,) = (line.split()[1] for line in lines if line.startswith("SigBlk:"))
    return int(mask, 16)


def test_ctrl_c_waits_until_the_processes_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def interrupted(name: str) -> None:
        with sweep._ctrl_c_later():
            signal.raise_signal(signal.SIGINT)
            made.append(name)

    with pytest.raises(KeyboardInterrupt):
        interrupted("later")
    assert made == ["later"]
    # By another thread, as numpy has them.
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *_: set())
    with pytest.raises(KeyboardInterrupt):
        interrupted("heard elsewhere")
    assert made.pop() == "heard elsewhere"
    monkeypatch.delattr(signal, "pthread_sigmask")
    with pytest.raises(KeyboardInterrupt):
        interrupted("where a system cannot wait")
    assert made == ["later"]


def test_a_process_that_is_killed_is_told() -> None:
    with (
        pytest.raises(LocalError, match=r"was killed .*fewer --jobs"),
        sweep.processes(1) as executor,
    ):
        executor.submit(_end_this_process).result()


def _end_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# ------------------------------------------------------------------------------- what is kept of it


def test_what_was_kept_is_there_again(tmp_path: Path) -> None:
    pieces = pieces_of(grid(BASE, AXES))
    kept = Kept.open(tmp_path)
    for piece in pieces[:3]:
        kept.add(piece, measure(piece))
    again = Kept.open(tmp_path)
    assert again.results == kept.results
    assert set(again.results) == {piece.key for piece in pieces[:3]}
    again.add(pieces[3], measure(pieces[3]))
    assert len(Kept.open(tmp_path).results) == 4


def test_a_line_that_was_cut_off_is_written_anew(tmp_path: Path) -> None:
    pieces = pieces_of(grid(BASE, []))
    kept = Kept.open(tmp_path)
    for piece in pieces:
        kept.add(piece, measure(piece))
    kept.path.write_text(kept.path.read_text()[:-40])
    again = Kept.open(tmp_path)
    assert set(again.results) == {pieces[0].key}
    again.add(pieces[1], measure(pieces[1]))
    assert Kept.open(tmp_path).results == kept.results


def test_runs_of_other_code_are_left_and_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece = pieces_of(grid(BASE, []))[0]
    Kept.open(tmp_path).add(piece, measure(piece))
    monkeypatch.setattr(sweep, "fingerprint", lambda: "other")
    other = Kept.open(tmp_path)
    assert (other.results, other.foreign) == ({}, 1)
    other.add(piece, measure(piece))
    monkeypatch.undo()
    assert len(Kept.open(tmp_path).results) == 1


@pytest.mark.parametrize("line", ["{}", "nonsense", "[]", '{"code": "CODE", "scenario": {"n": 1}}'])
def test_a_file_of_something_else_is_told(line: str, tmp_path: Path) -> None:
    line = line.replace("CODE", sweep.fingerprint())
    (tmp_path / "pieces.jsonl").write_text(line + "\n")
    with pytest.raises(LocalError, match="line 1: not a piece of a sweep"):
        Kept.open(tmp_path)


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "pieces.jsonl").write_bytes(b"\xfa\xfe\n")
    with pytest.raises(LocalError, match=r"is no text.*name another folder with --out"):
        Kept.open(tmp_path)


# ------------------------------------------------------------------------------------------- Dask


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_dask_cluster_measures_the_same() -> None:
    """A real scheduler and two workers, each a process, on loopback."""
    from distributed import LocalCluster

    engine = changed(Scenario(), {"nodes": "12", "reads": "8", "records": "4", "seeds": "2"})
    pieces = [*pieces_of(grid(BASE, [])), *pieces_of(grid(engine, []))]
    found: Results = {}
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        assert len(cluster.workers) == 2
        with sweep.dask(cluster.scheduler_address) as executor:
            run_over(executor, pieces, lambda piece, result: found.update({piece.key: result}))
    assert found == {piece.key: measure(piece) for piece in pieces}


def test_a_scheduler_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "DASK_ANSWERS_S", 0.5)
    for address in ("tcp://127.0.0.1:1", "nonsense://x"):
        with (
            pytest.raises(LocalError, match=r"no Dask scheduler answers at .*dask scheduler"),
            sweep.dask(address),
        ):
            pass


def test_without_the_extra_dask_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(LocalError, match=r"pip install 'dht\[dask\]'"), sweep.dask("tcp://x:1"):
        pass
