"""The machine that makes proofs, over toy rows in a repository of its own."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from proofs.__main__ import Desk, in_words, load_rows, main
from proofs.machine import CodeChangedError, Figures, Registry, Run, Verdict
from proofs.surroundings import Surroundings

from .toys import TOYS, judge_sum


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with one commit: a package and the toys."""
    (tmp_path / "dht").mkdir()
    (tmp_path / "dht" / "__init__.py").write_text("VERSION = 1\n")
    (tmp_path / ".gitignore").write_text("results/.partial/\n")
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


@pytest.fixture
def desk(root: Path) -> Desk:
    return Desk(registry=TOYS, results=root / "results", surroundings=Here(root))


class Here(Surroundings):
    """The toys are outside the repository, so the row's own file is left out of the hash."""

    def fingerprint(self, *others: Path) -> str:
        assert [path.name for path in others] == ["toys.py"]
        return super().fingerprint()


def git(root: Path, *arguments: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


def commit(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "change")


def resume(desk: Desk, name: str) -> Run:
    return Run.resume(TOYS[name], results=desk.results, surroundings=desk.surroundings)


def read(desk: Desk, name: str) -> Any:
    return json.loads((desk.results / f"{name}.json").read_text())


# ---------------------------------------------------------------------------------------- running


def test_a_row_runs_on_both_cores_and_leaves_its_result(desk: Desk) -> None:
    assert desk.run("few", budget_s=60) == 0
    result = read(desk, "few")
    assert result["passed"]
    assert result["figures"] == {"sum": 5}
    assert result["sentence"] == "the squares add up to 5"
    assert result["promise"] == "few squares"
    assert result["seeds"] == "0 to 2"
    assert result["commit"] == desk.surroundings.commit()
    assert result["dirty"] is False
    assert set(result["machine"]) == {"cpu", "cores", "python", "system"}
    assert not list((desk.results / ".partial").iterdir())


def test_a_promise_that_does_not_hold_leaves_its_result_too(desk: Desk) -> None:
    assert desk.run("many", budget_s=60) == 1
    assert read(desk, "many")["passed"] is False


def test_a_spent_budget_keeps_the_pieces_and_the_next_go_goes_on(desk: Desk) -> None:
    """Each go runs at least one piece, so that a row always ends."""
    for done in (1, 2, 3):
        run = resume(desk, "many")
        assert not run.go(budget_s=-1)
        assert run.done == done
        assert sorted(resume(desk, "many").partial.pieces) == list(range(done))
    assert not (desk.results / "many.json").exists()
    assert resume(desk, "many").go(budget_s=-1)
    assert resume(desk, "many").finish()["figures"] == {"sum": 14}


def test_an_unfinished_row_says_so_and_exits_with_3(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.run("many", budget_s=-1) == 3
    assert "1 of 4 pieces are done" in capsys.readouterr().out


def test_progress_is_told_after_each_piece(desk: Desk) -> None:
    run = resume(desk, "few")
    assert run.seconds_left is None
    seen = []
    run.go(on_piece=lambda: seen.append(run.done))
    assert seen == [1, 2, 3]
    assert run.seconds_left == 0


def test_pieces_of_other_code_do_not_count(
    desk: Desk, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resume(desk, "many").go(budget_s=-1)
    (root / "dht" / "__init__.py").write_text("VERSION = 2\n")
    assert desk.run("many", budget_s=-1) == 3
    said = capsys.readouterr().out
    assert "1 earlier pieces do not count" in said
    assert "1 of 4 pieces are done" in said


def test_an_edit_while_a_row_runs_spoils_the_go(desk: Desk, root: Path) -> None:
    run = resume(desk, "many")
    edit = root / "dht" / "__init__.py"

    def edit_it() -> None:
        edit.write_text("VERSION = 2\n")

    with pytest.raises(CodeChangedError, match="edited while it ran"):
        run.go(on_piece=edit_it)
    assert resume(desk, "many").done == 0


def test_an_error_in_a_piece_arrives_and_the_pieces_before_it_are_kept(desk: Desk) -> None:
    with pytest.raises(ZeroDivisionError):
        resume(desk, "broken").go()
    assert resume(desk, "broken").done == 1


def test_the_reduced_size_runs_here_and_writes_nothing(desk: Desk) -> None:
    assert TOYS["few"].run_reduced() == Verdict({"sum": 0}, True, "the squares add up to 0")
    assert desk.run_reduced("few") == 0
    assert not desk.results.exists()


def test_a_row_without_a_reduced_size_says_so(desk: Desk) -> None:
    assert desk.run_reduced("many") == 2
    with pytest.raises(LookupError, match="no reduced size"):
        TOYS["many"].run_reduced()


# --------------------------------------------------------------------------------------- checking


def test_check_fails_on_a_missing_and_on_a_failing_result(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.run("few", budget_s=60)
    desk.run("many", budget_s=60)
    capsys.readouterr()
    assert desk.check() == 1
    said = capsys.readouterr().out
    assert "missing  broken" in said
    assert "failing  many" in said
    assert "few" not in said.replace("few squares", "")
    assert "1 of 3 promises hold, 0 are stale" in said


def test_check_lists_what_the_package_has_outgrown(desk: Desk, root: Path) -> None:
    """Stale is no failure: else every commit would break what took hours to prove."""
    one = Desk(
        registry=Registry({"few": TOYS["few"]}),
        results=desk.results,
        surroundings=desk.surroundings,
    )
    one.run("few", budget_s=60)
    commit(root)
    assert one.state().stale == ()
    (root / "dht" / "__init__.py").write_text("VERSION = 2\n")
    commit(root)
    assert one.state().stale == ("few",)
    assert one.check() == 0


def test_a_result_of_uncommitted_code_is_stale(desk: Desk, root: Path) -> None:
    (root / "dht" / "__init__.py").write_text("VERSION = 2\n")
    desk.run("few", budget_s=60)
    assert read(desk, "few")["dirty"] is True
    assert desk.state().stale == ("few",)


def test_list_shows_what_is_known(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.run("few", budget_s=60)
    capsys.readouterr()
    assert desk.list_rows() == 0
    words = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert sorted(words) == [["broken", "missing"], ["few", "holds"], ["many", "missing"]]


def test_before_the_first_commit_everything_is_stale(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert Surroundings(tmp_path).commit() is None
    assert Surroundings(tmp_path).package_changed_since(None)


# --------------------------------------------------------------------------------------- registry


def test_two_rows_never_share_a_name() -> None:
    def piece(_seed: int, _scale: float) -> Figures:
        return {}

    registry = Registry()
    register = registry.row("x", promise="", pieces=1, judge=judge_sum, reduced=None)
    assert register(piece) is piece
    with pytest.raises(ValueError, match="two rows are named 'x'"):
        register(piece)


def test_an_unknown_name_lists_those_that_exist() -> None:
    with pytest.raises(LookupError, match="few"):
        TOYS["fwe"]
    with pytest.raises(SystemExit) as usage:
        main(["run", "no-such-row"])
    assert usage.value.code == 2


def test_every_row_keeps_to_the_form() -> None:
    for name, row in load_rows().rows.items():
        assert name == row.name
        assert name.replace("-", "").isalnum()
        assert name.islower()
        assert row.promise


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "an unknown time"), (40.2, "40 s"), (180, "3 min"), (9000, "2.5 h")],
)
def test_durations_are_said_in_words(seconds: float | None, words: str) -> None:
    assert in_words(seconds) == words
