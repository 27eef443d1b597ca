"""Many runs: the grid of scenarios and seeds, over any executor, kept piece by piece.

The executor has the interface of ``concurrent.futures``: processes of this machine, or a Dask
cluster. Pieces come back in any order; what they are known by is the scenario and the seed, and
whoever makes a report of them sorts them first.
"""

# lazy imports: distributed belongs to an extra that may be absent, and takes a second to load
import json
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    as_completed,
)
from contextlib import contextmanager
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import Any, final

import attrs

from ..errors import LocalError
from .experiment import Measured, measured_of, run
from .scenario import Scenario, changed, place_of, scenario_of, shape_of

#: Seconds until a scheduler has to answer.
DASK_ANSWERS_S = 10.0
PIECES_NAME = "pieces.jsonl"

# --------------------------------------------------------------------------------------- the grid


@final
@attrs.frozen
class Axis:
    """What is swept: a name that a scenario knows, and its values as text."""

    name: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Axis":
        """An axis of ``nodes=100,1000``. Raises ``LocalError``."""
        name, equals, values = text.partition("=")
        parts = tuple(part.strip() for part in values.split(","))
        if not equals or not all(parts):
            raise LocalError(
                f"a sweep is NAME=VALUE,VALUE,..., such as nodes=100,1000, got {text!r}"
            )
        if len(set(parts)) < len(parts):
            raise LocalError(f"a sweep has each value once, got {text!r}")
        place_of(name)
        return cls(name, parts)


@final
@attrs.frozen
class Point:
    """A place of the grid: what is set there, and the scenario that makes."""

    settings: Mapping[str, str]
    scenario: Scenario


@final
@attrs.frozen
class Piece:
    """One run. Which one it is, ``key`` says: the same piece, the same key."""

    scenario: Scenario
    seed: int

    @property
    def key(self) -> str:
        """All that decides the run: how often and under which name it is run decides nothing."""
        shape = {**shape_of(self.scenario), "name": "", "seed": self.seed, "seeds": 1}
        return json.dumps(shape, sort_keys=True)


def grid(base: Scenario, axes: Sequence[Axis]) -> list[Point]:
    """Every combination of the values, the last axis fastest. Raises ``LocalError`` where one of
    them makes no scenario, and where two axes are the same."""
    places = [place_of(axis.name) for axis in axes]
    if len(set(places)) < len(places):
        raise LocalError(f"each name is swept once, got {', '.join(each.name for each in axes)}")
    names = [axis.name for axis in axes]
    combined = (
        dict(zip(names, values, strict=True)) for values in product(*(a.values for a in axes))
    )
    return [Point(settings, changed(base, settings)) for settings in combined]


def pieces_of(points: Sequence[Point]) -> list[Piece]:
    """Every run of every point, each once."""
    pieces = [
        Piece(point.scenario, seed)
        for point in points
        for seed in range(point.scenario.seed, point.scenario.seed + point.scenario.seeds)
    ]
    return list({piece.key: piece for piece in pieces}.values())


# ------------------------------------------------------------------------------------- the running

#: By the key of its piece.
Results = dict[str, Measured]
Keep = Callable[[Piece, Measured], None]


def measure(piece: Piece) -> Measured:
    """One piece, wherever this is called."""
    return run(piece.scenario, piece.seed, lambda _: None)


def run_over(executor: Executor, pieces: Sequence[Piece], keep: Keep) -> None:
    """Runs all, and hands each on as it is done. What one of them raised is raised when all that
    were done before it are handed on."""
    # The largest first: at the end nobody waits for one that began late.
    ordered = sorted(pieces, key=weight, reverse=True)
    futures: dict[Future[Measured], Piece] = {
        executor.submit(measure, piece): piece for piece in ordered
    }
    try:
        for future in as_completed(futures):
            keep(futures[future], future.result())
    finally:
        for future in futures:
            future.cancel()


def run_here(pieces: Sequence[Piece], keep: Keep, progress: Callable[[float], None]) -> None:
    """Runs all in this process, one after the other; ``progress`` is told of parts of a piece."""
    whole, done = sum(map(weight, pieces)), 0.0
    for piece in pieces:
        share = weight(piece) / whole
        keep(piece, run(piece.scenario, piece.seed, _part(progress, done, share)))
        done += share


def _part(progress: Callable[[float], None], done: float, share: float) -> Callable[[float], None]:
    return lambda part: progress(min(1.0, done + share * part))


def weight(piece: Piece) -> float:
    """How long a piece takes, compared with others; a guess for the bar, and for whom to begin
    with. Growing takes longer than linearly; a flood asks everybody; upkeep never rests."""
    scenario = piece.scenario
    if scenario.kind.static:
        return scenario.nodes / 1e4
    a_read = {"flood": 8.0, "walk": 1.0}.get(scenario.overlay, 0.1)
    seconds = scenario.reading_s + (scenario.churn.soak_s if scenario.churn.session_min else 0)
    upkeep = scenario.nodes * seconds / 100
    return float(scenario.nodes**1.2 + upkeep + scenario.workload.reads * a_read)


@contextmanager
def processes(jobs: int) -> Iterator[Executor]:
    """So many processes of this machine. None is left behind, however the block ends."""
    earlier = multiprocessing.active_children()
    # Spawned: a copy of a process with threads may hang on a lock that one of them held.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_leave_ctrl_c)
    try:
        with _ctrl_c_later():
            # A process is made for each work while there is none that waits. One that hears of
            # Ctrl-C while it is made, or whose maker does, would end with a traceback.
            for _ in range(jobs):
                pool.submit(int)
        yield pool
    except BrokenExecutor as error:
        raise LocalError(
            f"a process that ran a simulation was killed ({error}): where memory is what it lacks, "
            "say fewer --jobs or smaller networks"
        ) from error
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        ours = [each for each in multiprocessing.active_children() if each not in earlier]
        for process in ours:
            process.terminate()
        for process in ours:
            process.join()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Ctrl-C takes effect when the block has ended; a process made in it never hears of one."""
    if not hasattr(signal, "pthread_sigmask"):  # as on Windows
        yield
        return
    heard: list[int] = []
    # The mask is what a new process inherits; here a thread of numpy's may hear of it all the same.
    handler = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
    if heard and callable(handler):
        handler(signal.SIGINT, None)


def _leave_ctrl_c() -> None:
    """A terminal sends Ctrl-C to all its processes: who made us ends us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def dask(address: str) -> Iterator[Executor]:
    """The workers of a Dask scheduler. Raises ``LocalError`` without the extra, and where none
    answers."""
    try:
        from distributed import Client, KilledWorker
        from distributed.comm import get_address_host_port
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"distributed", "dask"}:
            raise
        raise LocalError("a Dask cluster needs the extra: pip install 'dht[dask]'") from None
    try:
        # A client that never began would go on trying, and complain when Python ends.
        get_address_host_port(address)
        client = Client(address, timeout=DASK_ANSWERS_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise LocalError(
            f"no Dask scheduler answers at {address!r} ({error}); start one with `dask scheduler`, "
            "and say the address that it prints"
        ) from None
    with client:
        executor = client.get_executor(pure=False)
        try:
            yield executor
        except (CancelledError, KilledWorker, OSError) as error:
            raise LocalError(
                f"the Dask cluster at {address!r} lost its work ({error!r}): look at its scheduler"
            ) from error
        finally:
            executor.shutdown(wait=False)


# ------------------------------------------------------------------------------- what is kept of it


@final
@attrs.define(eq=False)
class Kept:
    """The pieces in a folder, a line of JSON each, added as they are done: whoever is interrupted
    goes on where this ends. Pieces of other code are left alone, and not believed."""

    path: Path
    code: str
    results: Results
    #: How many there are of other code.
    foreign: int = 0

    @classmethod
    def open(cls, folder: Path) -> "Kept":
        """What is there already. Raises ``LocalError`` for a file that holds something else, and
        ``OSError``."""
        path, code = folder / PIECES_NAME, fingerprint()
        kept = cls(path, code, {})
        if not path.is_file():
            return kept
        try:
            text = path.read_text()
        except UnicodeDecodeError as error:
            raise LocalError(
                f"{path} is no text: {error.reason} at byte {error.start}; name another folder "
                "with --out, or remove that file"
            ) from error
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            # The last line was being written when somebody pulled the plug.
            path.write_text(whole)
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                kept._take(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise LocalError(
                    f"{path}, line {number}: not a piece of a sweep ({error!r}); name another "
                    "folder with --out, or remove that line"
                ) from None
        return kept

    def _take(self, line: dict[str, Any]) -> None:
        if line["code"] != self.code:
            self.foreign += 1
            return
        piece = Piece(scenario_of(line["scenario"]), line["seed"])
        self.results[piece.key] = measured_of(line["measured"])

    def add(self, piece: Piece, measured: Measured) -> None:
        """One more, on the disk when this returns."""
        line = {
            "code": self.code,
            "scenario": shape_of(piece.scenario),
            "seed": piece.seed,
            "measured": attrs.asdict(measured),
        }
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.results[piece.key] = measured


def fingerprint() -> str:
    """Of all the code of the package: two runs of the same code may be put together."""
    package = Path(__file__).parents[1]
    digest = blake2b(digest_size=8)
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
