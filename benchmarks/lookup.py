"""Lookups over the scenarios of ``dht lab run``, for who works from a checkout.

    python -m benchmarks.lookup [SCENARIO.toml ...] [--set alpha=1] [--jobs 2] [--json]

Each scenario is run with each of its seeds; without one, the shipped Kademlia at 100, 300 and 1,000
nodes. What a read costs is in virtual time, and the same on every machine and in every run: a
change of it is a change of the code. How long the runs took is of this machine, and told last.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from dht.errors import LocalError
from dht.lab.experiment import Measured
from dht.lab.scenario import Scenario, changed, read_scenario
from dht.lab.summary import lines_of, main_table
from dht.lab.sweep import (
    Axis,
    Piece,
    Point,
    Results,
    grid,
    pieces_of,
    processes,
    run_here,
    run_over,
)
from dht.lab.tables import Report, Table, shape_of, text_of

SIZES = Axis("nodes", ("100", "300", "1000"))


def points_of(paths: Sequence[Path], settings: Sequence[str]) -> list[Point]:
    """What is to run. Raises ``LocalError`` and ``OSError``."""
    said = dict(_setting(each) for each in settings)
    if not paths:
        return grid(changed(Scenario(), said), [] if "nodes" in said else [SIZES])
    points = []
    for path in paths:
        scenario = changed(read_scenario(path.read_text()), said)
        points.append(Point({"name": scenario.name}, scenario))
    return points


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise LocalError(f"--set is NAME=VALUE, such as alpha=1, got {text!r}")
    return name, value


def measure(points: Sequence[Point], jobs: int) -> Results:
    """All runs, told of on stderr as they are done."""
    pieces, results = pieces_of(points), Results()

    def keep(piece: Piece, measured: Measured) -> None:
        results[piece.key] = measured
        name = f"{piece.scenario.name}, {piece.scenario.nodes} nodes, seed {piece.seed}"
        print(f"{len(results)} of {len(pieces)}: {name}", file=sys.stderr)

    if jobs == 1:
        run_here(pieces, keep, lambda _: None)
    else:
        with processes(jobs) as executor:
            run_over(executor, pieces, keep)
    return results


def main(words: Sequence[str] | None = None) -> int:
    """Prints a table; status 1 if a read came back with a wrong value, 2 for a wrong word."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", type=Path, metavar="SCENARIO.toml")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at once")
    parser.add_argument("--json", action="store_true", help="every figure")
    arguments = parser.parse_args(words)
    if arguments.jobs < 1:
        parser.error(f"--jobs is at least 1, got {arguments.jobs}")
    try:
        points = points_of(arguments.scenarios, arguments.set)
    except (LocalError, OSError, UnicodeDecodeError) as error:
        parser.error(str(error))
    begun = perf_counter()
    results = measure(points, arguments.jobs)
    seconds = perf_counter() - begun
    axes = [Axis(name, ()) for name in points[0].settings]
    table = main_table(axes, lines_of(points, results))
    if arguments.json:
        shape = shape_of(Report(title="lookup", tables=[table], plots=[]))
        print(json.dumps({**shape, "seconds": round(seconds, 2)}, indent=2))
    else:
        _print(table)
        print(f"{len(results)} runs took {seconds:.1f} s")
    return 1 if any(each.wrong for each in results.values()) else 0


def _print(table: Table) -> None:
    rows = [list(table.columns), *([text_of(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(table.columns))]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
