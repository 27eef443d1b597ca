"""The command as a whole: help, version, exit status, and life without click and rich."""

import shlex
import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from dht.cli import statuses
from dht.cli.program import program
from dht.errors import (
    DHTError,
    InternalError,
    LocalError,
    NodeClosed,
    NoPeers,
    QuorumNotReached,
    ValueTooLarge,
    VersionConflict,
)
from tests.cli.conftest import ROOT, Run

COMMANDS = sorted(program.commands)


def test_the_commands_are_these() -> None:
    expected = "add delete demo get keygen lab lookup members node put remove"
    assert expected.split() == COMMANDS


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS), ["lab", "reproduce"]])
def test_help_has_examples_that_name_real_options(words: list[str], run: Run) -> None:
    done = run(*words, "--help")
    assert done.status == 0
    _, _, examples = done.out.decode().partition("Examples:\n")
    lines = [line.split("     ")[0].split("|")[-1].strip() for line in examples.splitlines()]
    shown = [shlex.split(line) for line in lines if line.startswith("dht ")]
    assert shown
    for _, name, *rest in shown:
        command = program.commands[name]
        if isinstance(command, click.Group):
            found = command.get_command(click.Context(command), rest[0])
            assert found is not None
            command = found
        options = {text for each in command.params for text in each.opts}
        assert {word for word in rest if word.startswith("--")} <= options


def test_version(run: Run) -> None:
    done = run("--version")
    assert done.status == 0
    assert done.out.startswith(b"dht ")


def test_no_command_is_status_2_and_the_help(run: Run) -> None:
    done = run()
    assert done.status == 2
    assert "Commands:" in done.err + done.out.decode()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (LocalError("x"), 2),
        (ValueTooLarge("x"), 2),
        (NodeClosed("x"), 2),
        (NoPeers("x"), 3),
        (QuorumNotReached("x", None), 3),
        (VersionConflict("x", None, None), 3),
        (InternalError("x"), 70),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_has_a_status(error: DHTError, status: int) -> None:
    assert statuses.status_of(error) == status


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    done = python_without(missing)
    assert done.returncode == 2
    assert "pip install 'dht[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_missing_module_is_not_blamed_on_the_extra() -> None:
    done = python_without("trio")
    assert "dht[cli]" not in done.stderr
    assert "ModuleNotFoundError" in done.stderr


def python_without(module: str) -> "subprocess.CompletedProcess[str]":
    code = f"import sys; sys.modules['{module}'] = None; from dht.cli import main; main([])"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


# -------------------------------------------------------------------------- groups and patience


def raising(*errors: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise BaseExceptionGroup("tasks", [*errors[:-1], BaseExceptionGroup("more", [errors[-1]])])

    return function


def test_what_one_task_raised_arrives_as_it_was_raised() -> None:
    async def main() -> None:
        raising(LocalError("x"))()

    with pytest.raises(LocalError):
        statuses.run_async(main)


def test_what_several_tasks_raised_stays_a_group() -> None:
    async def main() -> None:
        raising(LocalError("x"), NoPeers("y"))()

    with pytest.raises(BaseExceptionGroup):
        statuses.run_async(main)


def test_ctrl_c_is_status_130_and_quiet(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command(cls=statuses.Command)
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(program.commands, "interrupted", interrupted)
    done = run("interrupted")
    assert done.status == 130
    assert (done.out, done.err.strip()) == (b"", "")


class AtOnce:
    """A timer whose time has come when it is started."""

    def __init__(self, _: float, function: Callable[[], None]) -> None:
        self.daemon = False
        self.start = function

    def cancel(self) -> None:
        pass

    def join(self) -> None:
        pass


@pytest.mark.parametrize("terminal", [True, False])
def test_a_long_wait_is_shown_on_a_terminal_only(
    *, terminal: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(statuses, "Timer", AtOnce)
    monkeypatch.setenv("TTY_COMPATIBLE", str(int(terminal)))
    with statuses.shown_if_slow("looking"):
        pass
    out, err = capfd.readouterr()
    assert out == ""
    assert ("looking" in err) is terminal
