"""``dht demo``: a network of real nodes on this machine, shown at work and then in trouble."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from random import Random
from time import perf_counter
from typing import Any, final

import attrs
import click
import trio
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..config import Config
from ..core.outcomes import LookupOutcome
from ..errors import DHTError
from ..shell.node import Node
from .crowd import Crowd, in_parallel
from .judge import Reading, Round, judge, sentence, verdict
from .library import library_home, library_records
from .options import json_option
from .statuses import Command, print_json, run_async
from .ways import RECORDS, WAYS, Way, compare, shape_of_ways, table_of_ways

#: Puts, and gets, under way at once. More would measure how long they wait for the one processor.
PUTS_AT_ONCE = 16
GETS_AT_ONCE = 4
#: Sockets: most systems give a process 1,024 files.
NODES_MAX = 500
#: Nodes that join late and look for a record, so that there is a way to show: who has been here
#: from the start knows nearly everybody. guess
NEWCOMERS = 8


@final
@attrs.frozen(kw_only=True)
class Plan:
    """What was asked for."""

    nodes: int
    records: int | None
    seed: int
    kill: float

    @property
    def killed(self) -> int:
        """How many nodes will be killed: never all of them."""
        return min(round(self.nodes * self.kill), self.nodes - 1)


@final
@attrs.frozen(kw_only=True)
class Report:
    """What was seen."""

    lookup: LookupOutcome
    before: Round
    after: Round
    ways: Sequence[Way]

    @property
    def wrong_ways(self) -> int:
        """How often a record came back changed, whichever way it was looked for."""
        return sum(way.wrong for way in self.ways)


@click.command(
    cls=Command,
    epilog="""
dht demo
dht demo --nodes 200 --kill 0.5
dht demo --nodes 12 --records 40 --json
""",
)
@click.option(
    "--nodes",
    type=click.IntRange(2, NODES_MAX),
    default=64,
    show_default=True,
    help="Real nodes, each with a socket of its own.",
)
@click.option(
    "--records",
    type=click.IntRange(1),
    metavar="N",
    help="Store only so many. [default: all, some 700]",
)
@click.option(
    "--kill",
    type=click.FloatRange(0, 0.9),
    default=0.25,
    show_default=True,
    metavar="SHARE",
    help="The share of the nodes that is killed.",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    help="Decides who the nodes are, who asks for what, and who dies.",
)
@json_option
def demo(*, nodes: int, records: int | None, kill: float, seed: int, as_json: bool) -> int:
    """See a network at work on this machine, and then in trouble.

    Real nodes on loopback store one record for each file of the Python standard library: its
    size, its hash, and what it says of itself. All are read back through other nodes, before and
    after a part of the nodes is killed without notice; and some are looked for in each of the
    ways that there are: by lookup, flood, random walk and index.

    Exit status 1 if a record is wrong, or missing before the kill.
    """
    begun = perf_counter()
    plan = Plan(nodes=nodes, records=records, seed=seed, kill=kill)
    # With --json only the report is said on stdout, at the end.
    stage = Stage(Console(quiet=as_json, highlight=False), Console(stderr=True))
    report = run_async(partial(show, plan, stage))
    status = verdict(report.before, report.after, wrong=report.wrong_ways)
    seconds = perf_counter() - begun
    if as_json:
        print_json(shape_of(plan, report, ok=not status, seconds=seconds))
        return status
    stage.console.print(table_of(plan, report))
    stage.say(
        "RPCs and hops are those of one get, on average: in a network as small as this a node\n"
        "knows nearly everybody, and asks an owner straight away."
    )
    stage.console.print(table_of_ways(report.ways))
    stage.say(
        "The same records from the same nodes, in each way. A lookup goes to the owners of a key;\n"
        "the others search the unstructured overlay, where nobody owns it: they ask everybody,\n"
        "some by chance, or those who keep an index. Whom a reader knows is one hop away.\n"
        "Messages are the requests of all nodes for one record, answers left out.\n"
        f"{_readers_of(plan)}"
    )
    stage.say(sentence(report.before, report.after, wrong=report.wrong_ways))
    print(f"demo took {seconds:.1f} s")
    return status


def _readers_of(plan: Plan) -> str:
    return (
        "No reader has the record already."
        if plan.nodes > Config().replicas
        else "Readers have the record already: in so small a network everybody does."
    )


@final
@attrs.frozen
class Stage:
    """Where the demo is told: sentences on ``console``, bars on ``progress_console``."""

    console: Console
    progress_console: Console

    def say(self, text: str) -> None:
        """A line, or a tree: as wide as it is, nothing in it is markup."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """A progress bar with the time left, on a terminal; call what it gives for each step.

        Afterwards, and anywhere, a line that says how long it took.
        """
        begun = perf_counter()
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self.progress_console,
            transient=True,
            disable=not self.progress_console.is_terminal,
        )
        with progress:
            task = progress.add_task(what, total=total)
            yield partial(progress.advance, task)
        self.say(f"{what}: {perf_counter() - begun:.1f} s")


async def show(plan: Plan, stage: Stage) -> Report:
    """The whole play. Raises ``LocalError`` if this machine has no sockets or sources for it."""
    random = Random(plan.seed)
    home = library_home()
    stored = library_records(home)
    if plan.records is not None and plan.records < len(stored):
        stored = {name: stored[name] for name in random.sample(sorted(stored), plan.records)}
    stage.say(
        f"{len(stored)} records: one for each source file in {home}\n"
        "(tests and site-packages left out): its size, hash and first line of documentation"
    )
    async with trio.open_nursery() as nursery:
        crowd = Crowd(nursery, random)
        with stage.bar(f"{plan.nodes} nodes on loopback join", plan.nodes) as step:
            await crowd.grow(plan.nodes, on_joined=step)
        with stage.bar("records are stored through random nodes", len(stored)) as step:
            writers = await put_all(crowd, random, stored, step)
        with stage.bar("records are read through random other nodes", len(stored)) as step:
            before = judge(stored, await get_all(crowd, random, writers, step))

        lookup = await look_around(crowd, random, sorted(stored), stage)
        searches = len(WAYS) * min(RECORDS, len(stored))
        with stage.bar("\nrecords are looked for in each way that there is", searches) as step:
            ways = await compare(crowd, random, stored, step)

        crowd.kill(plan.killed)
        stage.say(f"\n{plan.killed} of {plan.nodes} nodes are killed without notice")
        with stage.bar("records are read through those that live", len(stored)) as step:
            after = judge(stored, await get_all(crowd, random, writers, step))
        nursery.cancel_scope.cancel()
    return Report(lookup=lookup, before=before, after=after, ways=ways)


async def look_around(
    crowd: Crowd, random: Random, names: Sequence[str], stage: Stage
) -> LookupOutcome:
    """Lookups by nodes that have just come; of all ways to a record's owners the longest."""
    ways: list[tuple[int, int, str, LookupOutcome]] = []
    for number in range(NEWCOMERS):
        newcomer = await crowd.newcomer()
        name = random.choice(names)
        outcome = await newcomer.node.lookup(name)
        newcomer.kill()
        told = sum(step.told_by is not None for step in outcome.trace.steps)
        ways.append((told, number, name, outcome))
    _, _, name, outcome = max(ways)
    stage.say(
        f"\nThe longest way of {NEWCOMERS} newcomers, who know only some of the nodes: looking "
        f"for the owners of\n{name}. Whom it asked; indented below each, whom that one told it of:"
    )
    stage.say(outcome.trace.tree())
    return outcome


async def put_all(
    crowd: Crowd, random: Random, stored: Mapping[str, bytes], step: Callable[[], None]
) -> dict[str, Node]:
    """Stores every record through a random node; who that was, by the record's name."""
    writers = {name: random.choice(crowd.members).node for name in stored}

    async def put(name: str) -> None:
        with suppress(DHTError):  # it will be missing, and be judged so
            await writers[name].put(name, stored[name])
        step()

    await in_parallel((partial(put, name) for name in stored), limit=PUTS_AT_ONCE)
    return writers


async def get_all(
    crowd: Crowd, random: Random, writers: Mapping[str, Node], step: Callable[[], None]
) -> list[Reading]:
    """Reads every record through a random living node other than the one that stored it."""

    async def get(name: str, reader: Node) -> Reading:
        begun = perf_counter()
        reading = await read(name, reader)
        step()
        return attrs.evolve(reading, latency_s=perf_counter() - begun)

    nodes = [member.node for member in crowd.members]
    jobs = []
    for name, writer in writers.items():
        others = [node for node in nodes if node is not writer] or nodes
        jobs.append(partial(get, name, random.choice(others)))
    return await in_parallel(jobs, limit=GETS_AT_ONCE)


async def read(name: str, reader: Node) -> Reading:
    """One get. An error is a record that did not come back."""
    try:
        outcome = await reader.fetch(name)
    except DHTError:
        return Reading(name=name, value=None, messages=0, hops=0, latency_s=0)
    trace = outcome.trace
    return Reading(
        name=name, value=outcome.value, messages=trace.messages, hops=trace.hops, latency_s=0
    )


def table_of(plan: Plan, report: Report) -> Table:
    """Before and after, side by side."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("every record read", no_wrap=True)
    for name in ("records", "found", "wrong", "missing", "RPCs", "hops", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, seen in (
        (f"from {plan.nodes} nodes", report.before),
        (f"{plan.killed} of them killed", report.after),
    ):
        table.add_row(
            name,
            str(seen.records),
            str(seen.found),
            str(seen.wrong),
            str(seen.missing),
            f"{seen.rpcs_per_get:.2f}",
            f"{seen.hops:.2f}",
            f"{seen.latency_p50_s * 1000:.1f}",
            f"{seen.latency_p99_s * 1000:.1f}",
        )
    return table


def shape_of(plan: Plan, report: Report, *, ok: bool, seconds: float) -> dict[str, Any]:
    """The report for ``--json``."""
    trace = report.lookup.trace
    return {
        "ok": ok,
        "seed": plan.seed,
        "nodes": plan.nodes,
        "killed": plan.killed,
        "records": report.before.records,
        "before": report.before.shape,
        "after": report.after.shape,
        "ways": shape_of_ways(report.ways),
        "lookup": {"hops": trace.hops, "messages": trace.messages, "tree": trace.tree()},
        "seconds": seconds,
    }
