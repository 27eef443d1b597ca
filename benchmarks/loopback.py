"""64 nodes on loopback, beside the package ``kademlia`` doing the same work in the same run.

    python -m benchmarks.loopback [--operations 2000] [--rounds 3] [--json]

Puts and then gets of 64-byte values through random nodes, 16 in flight, after a pass over other
keys that is not counted; first with 8 copies on both sides, then each at its own defaults; then our
own half once more, encrypted and not: the first two compare what does the same, so they are not.
Rates are noisy on a shared machine: read the ratios, each taken within one round.
"""

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
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
    theirs = _alone(_theirs, copies, work)
    ours = _alone(_ours, work)
    return _compared("ours", ours, "theirs", theirs)


def encryption_cost(
    *, operations: int, seed: int, nodes: int = 64, in_flight: int = 16
) -> Compared:
    """Our half with the encrypted channel and with the plain one, as many copies in both.

    Sessions are established by the pass that is not counted. Which of them goes first changes with
    the seed: a machine that gets slower with time prefers neither.
    """
    work = {"nodes": nodes, "operations": operations, "in_flight": in_flight, "seed": seed}
    halves = {}
    for encrypted in (True, False) if seed % 2 else (False, True):
        halves[encrypted] = _alone(_ours, {**work, "encrypted": encrypted})
    return _compared("encrypted", halves[True], "plain", halves[False])


def _alone(half: Callable[..., dict[str, Any]], *arguments: object) -> dict[str, Any]:
    """In a process of its own: neither half pays for what the other left in memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(half, *arguments).result()


def _compared(name: str, one: dict[str, Any], other_name: str, other: dict[str, Any]) -> Compared:
    rates = {
        what: {
            name: one[f"{what}_per_second"],
            other_name: other[f"{what}_per_second"],
            "ratio": one[f"{what}_per_second"] / other[f"{what}_per_second"],
        }
        for what in ("puts", "gets")
    }
    failures = sum(half[f"{what}_failures"] for half in (one, other) for what in ("put", "get"))
    return Compared(rates, failures, {name: one, other_name: other})


#: What is compared, and how.
SETTINGS: dict[str, Callable[..., Compared]] = {
    "8 copies each": partial(compare, COPIES),
    "defaults each": partial(compare, None),
    "encrypted beside plain": encryption_cost,
}


def _theirs(copies: int | None, work: dict[str, int]) -> dict[str, Any]:
    return asyncio.run(kademlia_half.run(copies, **work))


def _ours(work: dict[str, Any]) -> dict[str, Any]:
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
    everything: dict[str, list[Compared]] = {}
    failures = 0
    for setting, measure in SETTINGS.items():
        rounds = []
        for seed in range(arguments.rounds):
            print(f"{setting}, round {seed + 1} of {arguments.rounds} ...", file=sys.stderr)
            rounds.append(
                measure(
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
    print(f"{'':36}{'a second':>10}{'beside':>10}{'ratio':>8}")
    for setting, rounds in everything.items():
        for what in ("puts", "gets"):
            one, other, ratio = (
                statistics.median(each.rates[what][name] for each in rounds)
                for name in rounds[0].rates[what]
            )
            print(f"{f'{what}, {setting}':36}{one:>10.0f}{other:>10.0f}{ratio:>8.2f}")


if __name__ == "__main__":
    sys.exit(main())
