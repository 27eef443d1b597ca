"""What the commands of the laboratory show alike: their bar, their console, where they write."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ..errors import LocalError
from .statuses import SHOWN_AFTER_S

#: Where nobody sees a terminal's edge, a table is as wide as its words need.
_WIDTH_ELSEWHERE = 180


@contextmanager
def bar(name: str) -> Iterator[Callable[[float], None]]:
    """A bar with the time left, on a terminal, once the work has taken two seconds."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    shown = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = shown.add_task(name, total=1.0)
    begun = perf_counter()

    def progress(share: float) -> None:
        if not shown.live.is_started and perf_counter() - begun > SHOWN_AFTER_S:
            shown.start()
        shown.update(task, completed=share)

    try:
        yield progress
    finally:
        shown.stop()


def make_folder(folder: Path) -> None:
    """So that it is there before the work. Raises ``LocalError``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Whoever may make a folder may still not write to it.
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise not_written(folder, error) from error


def not_written(folder: Path, error: OSError) -> LocalError:
    """What is said of a folder that cannot be written to."""
    return LocalError(f"cannot write to {folder}: {error.strerror}; name another folder with --out")


def plain(cell: str) -> str:
    """As it is: units stand in brackets, which rich would take for a style."""
    return cell.replace("[", r"\[")


def tables_console() -> Console:
    """Stdout, as wide as its terminal."""
    console = Console(highlight=False)
    width: dict[str, Any] = {} if console.is_terminal else {"width": _WIDTH_ELSEWHERE}
    return Console(highlight=False, **width)
