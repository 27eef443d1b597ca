"""64 nodes on loopback, beside the package ``kademlia`` doing the same work in the same run.

    python -m benchmarks.loopback [--operations 2000] [--rounds 3] [--json]

Puts and then gets of 64-byte values through random nodes, 16 in flight, after a pass over other
keys that is not counted; first with 8 copies on both sides, then each at its own defaults. Rates
are noisy on a shared machine: read the ratios, each taken within one round.
"""

import argparse
import asyncio
import json
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import attrs
import trio

from . import dht_half, kademlia_half

#: What both sides keep of each value in the first setting: our default, their ``ksize=8``.
COPIES = 8


@attrs.frozen
class Compared:
    """One round: rates and their ratio for puts and gets, and how many operations failed."""

    rates: dict[str, dict[str, float]]
    failures: int
    details: dict[str, Any]


def compare(
    copies: int | None, *, operations: int, seed: int, nodes: int = 64, in_flight: int = 16
) -> Compared:
    """Both halves, one after the other. ``copies=None``: each at its own defaults."""
    work = {"nodes": nodes, "operations": operations, "in_flight": in_flight, "seed": seed}
    # Each half in a process of its own: neither pays for what the other left in memory.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        theirs = process.submit(_theirs, copies, work).result()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        ours = process.submit(_ours, work).result()
    rates = {
        what: {
            "ours": ours[f"{what}_per_second"],
            "theirs": theirs[f"{what}_per_second"],
            "ratio": ours[f"{what}_per_second"] / theirs[f"{what}_per_second"],
        }
        for what in ("puts", "gets")
    }
    failures = sum(half[f"{what}_failures"] for half in (ours, theirs) for what in ("put", "get"))
    return Compared(rates, failures, {"ours": ours, "theirs": theirs})


def _theirs(copies: int | None, work: dict[str, int]) -> dict[str, Any]:
    return asyncio.run(kademlia_half.run(copies, **work))


def _ours(work: dict[str, int]) -> dict[str, Any]:
    return trio.run(lambda: dht_half.run(**work))


def main() -> int:
    """Prints a table; status 1 if an operation failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=int, default=2000, help="of each kind, in each round")
    parser.add_argument("--rounds", type=int, default=3, help="the medians of so many are shown")
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--json", action="store_true", help="every figure of every round")
    arguments = parser.parse_args()
    everything, failures = {}, 0
    for setting, copies in (("8 copies each", COPIES), ("defaults each", None)):
        rounds = []
        for seed in range(arguments.rounds):
            print(f"{setting}, round {seed + 1} of {arguments.rounds} ...", file=sys.stderr)
            rounds.append(
                compare(
                    copies,
                    operations=arguments.operations,
                    seed=seed,
                    nodes=arguments.nodes,
                    in_flight=arguments.in_flight,
                )
            )
        failures += sum(one.failures for one in rounds)
        everything[setting] = rounds
    if arguments.json:
        as_data = {setting: [attrs.asdict(one) for one in r] for setting, r in everything.items()}
        print(json.dumps(as_data, indent=2))
    else:
        _print_table(everything)
        print(f"{failures} operations failed")
    return 1 if failures else 0


def _print_table(everything: dict[str, list[Compared]]) -> None:
    print(f"{'':32}{'ours/s':>10}{'kademlia/s':>12}{'ratio':>8}")
    for setting, rounds in everything.items():
        for what in ("puts", "gets"):
            medians = {
                name: statistics.median(one.rates[what][name] for one in rounds)
                for name in ("ours", "theirs", "ratio")
            }
            print(
                f"{f'{what}, {setting}':32}{medians['ours']:>10.0f}{medians['theirs']:>12.0f}"
                f"{medians['ratio']:>8.2f}"
            )


if __name__ == "__main__":
    sys.exit(main())
