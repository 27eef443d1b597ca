"""Rows, and how they run: in pieces, over both cores, interrupted and resumed at will.

A row is a promise with a function that measures one piece of it (one seed, one run) and a function
that judges all the pieces together:

    def judge_survival(pieces: Sequence[Figures]) -> Verdict:
        worst = max(piece["missing"] for piece in pieces)
        return Verdict({"missing_max": worst}, worst == 0, f"at worst {worst} keys are missing")

    @row(
        "keys-survive",
        promise="no key is lost when half the nodes leave at once",
        pieces=20,
        judge=judge_survival,
        reduced=Reduced(pieces=1, scale=0.1),
    )
    def keys_survive(seed: int, scale: float) -> Figures: ...

A piece takes its seed, from 0 to pieces - 1, and the scale, 1.0 in full. Its figures are JSON.
Pieces share nothing, so that they run in any process and any order; the judge sees them in order
of seed. A piece should take at most a few minutes: it is what an interruption loses.

Nothing here knows where it runs: folder, clock and registry are passed in.
"""

import inspect
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import attrs

from .surroundings import Surroundings

# What a piece measured: anything that JSON can hold.
Figures = dict[str, Any]
Piece = Callable[[int, float], Figures]
Judge = Callable[[Sequence[Figures]], "Verdict"]

# The two cores that every figure of ours is stated for.
WORKERS = 2
# Seconds of pieces in one go: a little under the ten minutes that a command may take.
BUDGET_S = 540.0


@attrs.frozen
class Verdict:
    """What the judge says: figures, whether the promise holds, and a sentence for people."""

    figures: Figures
    passed: bool
    sentence: str


@attrs.frozen(kw_only=True)
class Reduced:
    """The size in which `make test` runs a row: seconds, yet the same promise."""

    pieces: int
    scale: float
    #: Each piece is judged for itself, so that a long row becomes many short tests that can run on
    #: both cores. Only where the judge of all says yes exactly when it says yes to each.
    each_alone: bool = False


@attrs.frozen(kw_only=True)
class Row:
    """One promise and how it is measured."""

    name: str
    promise: str
    pieces: int = attrs.field(validator=attrs.validators.ge(1))
    piece: Piece
    judge: Judge
    # None where a small run would prove nothing; a comment at the row says what guards it instead.
    reduced: Reduced | None
    # False where a neighbour on the other core would spoil the figure.
    parallel: bool

    def run_reduced(self) -> Verdict:
        """Run the small size, here and now; nothing is written."""
        if self.reduced is None:
            raise LookupError(f"row {self.name!r} has no reduced size")
        return self.judge([self._reduced_piece(seed) for seed in range(self.reduced.pieces)])

    def run_reduced_piece(self, seed: int) -> Verdict:
        """Run and judge one piece of the small size, of a row that has ``each_alone``."""
        return self.judge([self._reduced_piece(seed)])

    def _reduced_piece(self, seed: int) -> Figures:
        assert self.reduced is not None
        return _as_saved(self.piece(seed, self.reduced.scale))


@attrs.define(eq=False)
class Registry:
    """The rows by name, in the order in which they were written."""

    rows: dict[str, Row] = attrs.field(factory=dict)

    def row(
        self,
        name: str,
        *,
        promise: str,
        pieces: int,
        judge: Judge,
        reduced: Reduced | None,
        parallel: bool = True,
    ) -> Callable[[Piece], Piece]:
        """Make a row of the decorated function, which is its piece.

        The function is returned unchanged: other processes find it by its name.
        """

        def register(piece: Piece) -> Piece:
            if name in self.rows:
                raise ValueError(f"two rows are named {name!r}; each promise has its own name")
            self.rows[name] = Row(
                name=name,
                promise=promise,
                pieces=pieces,
                piece=piece,
                judge=judge,
                reduced=reduced,
                parallel=parallel,
            )
            return piece

        return register

    def __getitem__(self, name: str) -> Row:
        """Return a row, or say which there are."""
        if name not in self.rows:
            raise LookupError(f"no row is named {name!r}; there are: {', '.join(self.rows)}")
        return self.rows[name]


REGISTRY = Registry()
row = REGISTRY.row


# ------------------------------------------------------------------------------ running in pieces


@attrs.define(eq=False)
class Partial:
    """The pieces of a row that are done, on disk after each: what a stop cannot take away.

    They count only for the code that made them: pieces of two programs together prove nothing
    about either, and so a change of the package or of the row starts it anew.
    """

    path: Path
    fingerprint: str
    pieces: dict[int, Figures] = attrs.field(factory=dict)
    seconds: dict[int, float] = attrs.field(factory=dict)
    # How many pieces of other code were found and dropped.
    dropped: int = 0

    @classmethod
    def load(cls, path: Path, *, fingerprint: str) -> "Partial":
        """Read what an earlier go left, if it was made by this code."""
        if not path.is_file():
            return cls(path, fingerprint)
        saved = json.loads(path.read_text())
        if saved["fingerprint"] != fingerprint:
            return cls(path, fingerprint, dropped=len(saved["pieces"]))
        return cls(
            path,
            fingerprint,
            pieces={int(seed): figures for seed, figures in saved["pieces"].items()},
            seconds={int(seed): seconds for seed, seconds in saved["seconds"].items()},
        )

    def add(self, seed: int, figures: Figures, seconds: float) -> None:
        """Keep one more piece, at once and whole."""
        self.pieces[seed] = figures
        self.seconds[seed] = seconds
        write_json(
            self.path,
            {"fingerprint": self.fingerprint, "pieces": self.pieces, "seconds": self.seconds},
        )


class CodeChangedError(Exception):
    """The code was edited while a row ran: some pieces may be of the one program, some not."""


@attrs.define(eq=False, kw_only=True)
class Run:
    """A row on its way to its result, go by go."""

    row: Row
    results: Path
    surroundings: Surroundings
    partial: Partial
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def resume(cls, one: Row, *, results: Path, surroundings: Surroundings) -> "Run":
        """Pick up where the last go ended."""
        return cls(
            row=one,
            results=results,
            surroundings=surroundings,
            partial=Partial.load(
                results / ".partial" / f"{one.name}.json",
                fingerprint=_fingerprint(one, surroundings),
            ),
        )

    @property
    def done(self) -> int:
        """How many pieces are done."""
        return len(self.partial.pieces)

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take, judged by the pieces so far."""
        spent = self.partial.seconds.values()
        if not spent:
            return None
        return (self.row.pieces - self.done) * sum(spent) / len(spent) / self._workers

    @property
    def _workers(self) -> int:
        return WORKERS if self.row.parallel else 1

    def go(
        self, *, budget_s: float = BUDGET_S, on_piece: Callable[[], None] = lambda: None
    ) -> bool:
        """Run pieces until all are done or the next would overdraw the budget; say if all are.

        What a piece raises is a bug of the row and arrives as it is; finished pieces are kept.
        """
        todo = [seed for seed in range(self.row.pieces) if seed not in self.partial.pieces]
        deadline = self.clock() + budget_s
        # At least one piece a go, or a row whose pieces outlast the budget would never end.
        may_start = True
        running: dict[Future[tuple[Figures, float]], int] = {}
        # Spawned, not forked: a piece starts from a clean interpreter, whatever ran before it.
        pool = ProcessPoolExecutor(self._workers, mp_context=get_context("spawn"))
        try:
            while running or (todo and may_start):
                while todo and may_start and len(running) < self._workers:
                    seed = todo.pop(0)
                    running[pool.submit(measure, self.row.piece, seed)] = seed
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    self.partial.add(running.pop(future), *future.result())
                    on_piece()
                longest = max(self.partial.seconds.values(), default=0.0)
                may_start = self.clock() + longest <= deadline
        finally:
            pool.shutdown(cancel_futures=True)
        if self.partial.fingerprint != _fingerprint(self.row, self.surroundings):
            self.partial.path.unlink(missing_ok=True)
            raise CodeChangedError(
                f"dht/ or the row {self.row.name!r} was edited while it ran; run it again, "
                "and leave the code alone meanwhile (a second clone of the repository does)"
            )
        return self.done == self.row.pieces

    def finish(self) -> Figures:
        """Judge all the pieces, write the result, and clear away the pieces."""
        verdict = self.row.judge([self.partial.pieces[seed] for seed in range(self.row.pieces)])
        result: Figures = {
            "row": self.row.name,
            "promise": self.row.promise,
            "passed": verdict.passed,
            "sentence": verdict.sentence,
            "figures": verdict.figures,
            "seeds": f"0 to {self.row.pieces - 1}",
            "seconds": round(sum(self.partial.seconds.values()), 1),
            "commit": self.surroundings.commit(),
            "dirty": self.surroundings.is_dirty(),
            "machine": self.surroundings.machine(),
        }
        write_json(self.results / f"{self.row.name}.json", result)
        self.partial.path.unlink(missing_ok=True)
        return result


def measure(piece: Piece, seed: int) -> tuple[Figures, float]:
    """Run one piece in full, and say how many seconds it took."""
    started = time.perf_counter()
    figures = piece(seed, 1.0)
    return _as_saved(figures), round(time.perf_counter() - started, 3)


def _as_saved(figures: Figures) -> Figures:
    """Return what a judge would see after a stop: the figures through JSON and back.

    Without this a tuple, or a dict with numbers for keys, would be judged in one go and change
    its type in two.
    """
    read_back: Figures = json.loads(json.dumps(figures))
    return read_back


def _fingerprint(one: Row, surroundings: Surroundings) -> str:
    return surroundings.fingerprint(Path(inspect.getfile(one.piece)))


def write_json(path: Path, value: object) -> None:
    """Write a file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    scratch.replace(path)


# --------------------------------------------------------------------------------------- checking


@attrs.frozen(kw_only=True)
class Check:
    """The state of all promises; the first two are failures, the third is for the reader."""

    missing: tuple[str, ...]
    failing: tuple[str, ...]
    stale: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every promise has a result that holds."""
        return not self.missing and not self.failing


def check(rows: Mapping[str, Row], *, results: Path, surroundings: Surroundings) -> Check:
    """Compare the results on disk with the rows.

    Stale is a result of another package: dht/ changed since its commit, or was never committed.
    """
    found = {
        name: json.loads((results / f"{name}.json").read_text())
        for name in rows
        if (results / f"{name}.json").is_file()
    }
    return Check(
        missing=tuple(name for name in rows if name not in found),
        failing=tuple(name for name, result in found.items() if not result["passed"]),
        stale=tuple(
            name
            for name, result in found.items()
            if result["dirty"] or surroundings.package_changed_since(result["commit"])
        ),
    )
