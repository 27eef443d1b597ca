"""How the commands of the laboratory run many simulations: where, with what bar, what is kept when
somebody interrupts, and how the report is shown and written.
"""

# lazy imports: the report draws on numpy and matplotlib, extras that may be absent
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, final

import attrs
import click
from rich.box import SIMPLE_HEAD
from rich.table import Table as Shown

from ..errors import LocalError
from ..lab.plots import check_matplotlib
from .lab_shown import bar, make_folder, not_written, plain, tables_console
from .options import json_option
from .statuses import ExitStatus, complain, print_json

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ..lab.experiment import Measured
    from ..lab.sweep import Kept, Piece, Results
    from ..lab.tables import Report, Table

_Function = TypeVar("_Function", bound=Callable[..., Any])


def check_numpy() -> None:
    """Raises ``LocalError`` where numpy is not installed: before the work, not after."""
    try:
        import numpy as np
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "numpy":
            raise
        raise LocalError("the laboratory needs numpy: pip install 'dht[lab]'") from None
    del np


def cpus() -> int:
    """How many this process may use; where a system does not tell that, how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@final
@attrs.frozen(kw_only=True)
class Way:
    """Where the pieces are run, and what becomes of them."""

    jobs: int
    dask: str | None
    out: Path | None
    as_json: bool


_OPTIONS = (
    click.option(
        "--jobs",
        type=click.IntRange(1),
        default=cpus,
        show_default="one for each CPU",
        metavar="N",
        help="Run so many simulations at once, each in a process of its own.",
    ),
    click.option(
        "--dask",
        metavar="ADDRESS",
        help="Run them on the workers of the Dask scheduler there, such as tcp://10.0.0.1:8786.",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Write report.html, report.json, a CSV for each table and the plots, as PNG and SVG, "
        "to DIR; and each run as it is done, so that the same command goes on where it stopped.",
    ),
    json_option,
)


def way_options(function: _Function) -> _Function:
    """``--jobs``, ``--dask``, ``--out`` and ``--json``."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def run_and_report(
    name: str, pieces: "Sequence[Piece]", way: Way, report: "Callable[[Results], Report]"
) -> int:
    """Runs what is not there yet, and reports on all that is. Raises ``LocalError``."""
    check_numpy()
    if way.out is not None:
        check_matplotlib()
        make_folder(way.out)
    store = _Store.open(way.out)
    left = [piece for piece in pieces if piece.key not in store.results]
    if store.results:
        known = len(pieces) - len(left)
        click.echo(f"{known} of {len(pieces)} runs are in {way.out} already", err=True)
    finished = _run(name, left, way, store.keep)
    done = sum(piece.key in store.results for piece in pieces)
    if done:
        _report(report(store.results), way, finished=finished)
    if finished:
        return ExitStatus.DONE
    onward = (
        "shown here; with --out DIR they would be kept for the next time"
        if way.out is None
        else f"kept in {way.out}: the same command goes on from there"
    )
    complain(f"stopped: {done} of {len(pieces)} runs are done, and {onward}")
    return ExitStatus.INTERRUPTED


@final
@attrs.define(eq=False)
class _Store:
    """What is done, in memory, and on the disk where that was asked for."""

    results: "Results"
    _kept: "Kept | None"

    @classmethod
    def open(cls, out: Path | None) -> "_Store":
        if out is None:
            return cls({}, None)
        from ..lab.sweep import Kept

        try:
            kept = Kept.open(out)
        except OSError as error:
            raise not_written(out, error) from error
        if kept.foreign:
            complain(
                f"{kept.path} has {kept.foreign} runs that another version of the code made: they "
                "are left there, and not used"
            )
        return cls(kept.results, kept)

    def keep(self, piece: "Piece", measured: "Measured") -> None:
        """One more is done."""
        if self._kept is None:
            self.results[piece.key] = measured
            return
        try:
            self._kept.add(piece, measured)
        except OSError as error:
            raise not_written(self._kept.path.parent, error) from error


def _run(
    name: str,
    pieces: "Sequence[Piece]",
    way: Way,
    keep: "Callable[[Piece, Measured], None]",
) -> bool:
    """False when Ctrl-C ended it."""
    from ..lab.sweep import dask, processes, run_here, run_over, weight

    try:
        with bar(name) as progress:
            if way.dask is None and (way.jobs == 1 or len(pieces) == 1):
                run_here(pieces, keep, progress)
            elif pieces:
                whole, done = sum(map(weight, pieces)), 0.0

                def kept(piece: "Piece", measured: "Measured") -> None:
                    nonlocal done
                    keep(piece, measured)
                    done += weight(piece)
                    progress(done / whole)

                executor: AbstractContextManager[Executor] = (
                    processes(min(way.jobs, len(pieces))) if way.dask is None else dask(way.dask)
                )
                progress(0.0)
                with executor as pool:
                    run_over(pool, pieces, kept)
    except KeyboardInterrupt:
        return False
    return True


def _report(report: "Report", way: Way, *, finished: bool) -> None:
    """Shows it, and writes it where that was asked for."""
    from ..lab.tables import shape_of

    if way.as_json:
        print_json({"finished": finished, **shape_of(report)})
    else:
        show(report)
    if way.out is not None:
        click.echo(f"wrote {_write(report, way.out)}", err=True)


def _write(report: "Report", out: Path) -> str:
    from ..lab.page import files_of, write

    files = files_of(report)
    try:
        write(files, out)
    except OSError as error:
        raise not_written(out, error) from error
    return f"{out / 'report.html'} and {len(files) - 1} more files"


def show(report: "Report") -> None:
    """Its tables on the terminal, and the notes under them."""
    console = tables_console()
    console.print(plain(report.title), style="bold")
    for table in report.tables:
        if table.rows:
            console.print(_shown(table))
    for note in report.notes:
        console.print(f"* {note}", markup=False)


def _shown(table: "Table") -> Shown:
    """A table as rich has it."""
    from ..lab.tables import is_number, text_of

    shown = Shown(box=SIMPLE_HEAD, pad_edge=False, title=plain(table.title), title_justify="left")
    for at, name in enumerate(table.columns):
        number = all(row[at] is None or is_number(row[at]) for row in table.rows)
        shown.add_column(plain(name), justify="right" if number else "left")
    for row in table.rows:
        shown.add_row(*(plain(text_of(cell)) for cell in row))
    return shown


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Whatever keeps a file from being read, as a sentence."""
    try:
        yield
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LocalError(f"{path} is no text: {error.reason} at byte {error.start}") from error
