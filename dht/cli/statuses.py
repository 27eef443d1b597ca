"""How a command ends: its exit status, and the sentence for what went wrong.

Everything that turns an exception into what a person or a script sees is in this file.
"""

import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from threading import Timer
from typing import Any, TypeVar

import click
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..errors import DHTError, LocalError, NoPeers, QuorumNotReached, VersionConflict

_T = TypeVar("_T")

#: Seconds before a wait is shown: a shorter one needs no explanation.
SHOWN_AFTER_S = 2.0


class ExitStatus(IntEnum):
    """What ``$?`` says. The first four are a promise; the others are every shell's custom."""

    DONE = 0
    NOT_FOUND = 1
    USAGE = 2
    #: Nobody answers, or too few took the record (all of them, under ``--if-version``).
    UNREACHABLE = 3
    #: A bug of ours: EX_SOFTWARE of sysexits.h.
    BUG = 70
    #: Ctrl-C: 128 + SIGINT.
    INTERRUPTED = 130
    #: Whoever read our output has gone (``| head``): 128 + SIGPIPE.
    READER_GONE = 141


_STATUSES: tuple[tuple[type[DHTError], ExitStatus], ...] = (
    (LocalError, ExitStatus.USAGE),
    (NoPeers, ExitStatus.UNREACHABLE),
    (QuorumNotReached, ExitStatus.UNREACHABLE),
    (VersionConflict, ExitStatus.UNREACHABLE),
)


def status_of(error: DHTError) -> ExitStatus:
    """The exit status that an exception of the package stands for."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), ExitStatus.BUG)


class WithExamples(click.Command):
    """A command whose epilog is examples, shown as they are written."""

    def format_epilog(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Click would make one paragraph of it."""
        lines = (self.epilog or "").strip().splitlines()
        formatter.write("\nExamples:\n" + "".join(f"  {line}\n" for line in lines))


class Group(WithExamples, click.Group):
    """A command with subcommands."""


class Command(WithExamples):
    """A command whose function returns its exit status, and may raise what the package raises."""

    def invoke(self, ctx: click.Context) -> int:
        """Runs it. What went wrong is said on stderr; with ``--json`` on stdout as well."""
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
        except DHTError as error:
            if ctx.params.get("as_json"):
                print_json({"error": type(error).__name__, "message": str(error)})
            complain(str(error))
            return status_of(error)
        except BrokenPipeError:
            # What Python flushes on its way out goes nowhere, instead of into a traceback.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitStatus.READER_GONE
        return int(status or 0)


def complain(sentence: str) -> None:
    """Says what is wrong on stderr."""
    click.echo(f"dht: {sentence}", err=True)


def print_json(shape: object) -> None:
    """One line of JSON on stdout, at once."""
    print(json.dumps(shape), flush=True)


def run_async(function: Callable[[], Awaitable[_T]]) -> _T:
    """``trio.run``; what a single task raised arrives as it was raised, not in a group."""
    try:
        return trio.run(function)
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        if len(leaves) == 1:
            raise leaves[0] from None
        raise


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


@contextmanager
def shown_if_slow(what: str) -> Iterator[None]:
    """A moving bar on stderr, once the block has taken two seconds; only on a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=console, transient=True)
    progress.add_task(what, total=None)
    # A thread: the block waits in trio, and a bar is no business of its tasks.
    timer = Timer(SHOWN_AFTER_S, progress.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        progress.stop()
