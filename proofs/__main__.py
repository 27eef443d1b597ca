"""`python -m proofs list | run NAME [--reduced] [--budget SECONDS] | check`.

Exit status: 0 it holds, 1 it does not, 2 usage, 3 the budget is spent and pieces are left.
"""

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

import attrs

import proofs

from .machine import BUDGET_S, REGISTRY, Check, CodeChangedError, Registry, Run, check
from .surroundings import ROOT, Surroundings

HOLDS, BROKEN, USAGE, UNFINISHED = 0, 1, 2, 3
BAR_COLUMNS = 24


def load_rows() -> Registry:
    """Import every rows_*.py, in order of name, and return the registry they fill."""
    for module in sorted(pkgutil.iter_modules(proofs.__path__), key=lambda each: each.name):
        if module.name.startswith("rows_"):
            importlib.import_module(f"proofs.{module.name}")
    return REGISTRY


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m proofs", description=proofs.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every promise, and what is known of it")
    commands.add_parser("check", help="fail on a missing or failing result, list stale ones")
    running = commands.add_parser("run", help="run a row in full; run again to go on")
    running.add_argument("name")
    running.add_argument("--reduced", action="store_true", help="the small size; writes nothing")
    running.add_argument("--budget", type=float, default=BUDGET_S, help="seconds in this go")
    chosen = parser.parse_args(arguments)

    desk = Desk(registry=load_rows())
    match chosen.command:
        case "list":
            return desk.list_rows()
        case "check":
            return desk.check()
        case _:
            try:
                desk.registry[chosen.name]
            except LookupError as error:
                parser.error(str(error.args[0]))
            return (
                desk.run_reduced(chosen.name)
                if chosen.reduced
                else desk.run(chosen.name, budget_s=chosen.budget)
            )


@attrs.frozen(kw_only=True)
class Desk:
    """Where a person and the machine meet: words on stdout, progress on stderr."""

    registry: Registry
    results: Path = ROOT / "results"
    surroundings: Surroundings = attrs.field(factory=Surroundings)

    def list_rows(self) -> int:
        """Print every row with its promise and what is known of it."""
        state = self.state()
        for name, row in self.registry.rows.items():
            known = (
                "missing" if name in state.missing else
                "FAILING" if name in state.failing else
                "stale" if name in state.stale else
                "holds"
            )  # fmt: skip
            print(f"{name:32} {known:8} {row.promise}")
        return HOLDS

    def check(self) -> int:
        """Print what is wrong with the results on disk."""
        state = self.state()
        for word, names in attrs.asdict(state).items():
            for name in names:
                print(f"{word:8} {name}: {self.registry[name].promise}")
        held = len(self.registry.rows) - len({*state.missing, *state.failing})
        print(f"{held} of {len(self.registry.rows)} promises hold, {len(state.stale)} are stale")
        return HOLDS if state.passed else BROKEN

    def run_reduced(self, name: str) -> int:
        """Run a row in its small size and print the verdict."""
        if self.registry[name].reduced is None:
            print(f"{name} has no reduced size: a small run would prove nothing", file=sys.stderr)
            return USAGE
        verdict = self.registry[name].run_reduced()
        print(f"{name} (reduced): {_word(passed=verdict.passed)}: {verdict.sentence}")
        return HOLDS if verdict.passed else BROKEN

    def run(self, name: str, *, budget_s: float) -> int:
        """Run pieces of a row for a while; when they are all there, write and print the result."""
        run = Run.resume(self.registry[name], results=self.results, surroundings=self.surroundings)
        if run.partial.dropped:
            print(f"{name}: the code changed; {run.partial.dropped} earlier pieces do not count")
        show_progress(run)
        try:
            finished = run.go(budget_s=budget_s, on_piece=lambda: show_progress(run))
        except KeyboardInterrupt:
            finished = False
        except CodeChangedError as error:
            print(f"\n{name}: {error}")
            return UNFINISHED
        if not finished:
            print(
                f"\n{name}: {run.done} of {run.row.pieces} pieces are done and kept, "
                f"{in_words(run.seconds_left)} left: run it again to go on"
            )
            return UNFINISHED
        result = run.finish()
        print(f"{name}: {_word(passed=result['passed'])}: {result['sentence']}")
        return HOLDS if result["passed"] else BROKEN

    def state(self) -> Check:
        """Compare the results on disk with the rows."""
        return check(self.registry.rows, results=self.results, surroundings=self.surroundings)


def show_progress(run: Run) -> None:
    """Draw a bar that moves on a terminal; write some twenty lines in all elsewhere."""
    done, pieces = run.done, run.row.pieces
    text = f"{run.row.name} {done}/{pieces}, {in_words(run.seconds_left)} left"
    if not sys.stderr.isatty():
        if done == pieces or done % -(-pieces // 20) == 0:
            print(text, file=sys.stderr, flush=True)
        return
    filled = BAR_COLUMNS * done // pieces
    bar = "█" * filled + "░" * (BAR_COLUMNS - filled)
    # "\x1b[K" clears what the last, longer text left at the end of the line.
    end = "\n" if done == pieces else ""
    print(f"\r{bar} {text}\x1b[K", end=end, file=sys.stderr, flush=True)


def in_words(seconds: float | None) -> str:
    """Say a duration as a person would: "40 s", "3 min", "2.5 h"."""
    if seconds is None:
        return "an unknown time"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _word(*, passed: bool) -> str:
    return "holds" if passed else "DOES NOT HOLD"


if __name__ == "__main__":
    sys.exit(main())
