"""``dht lab compare``: structured and unstructured overlays side by side."""

# lazy imports: the comparison draws on numpy, an extra that may be absent
from pathlib import Path

import click

from .lab_pieces import Way, check_numpy, run_and_report, way_options
from .statuses import Command


@click.command(
    cls=Command,
    epilog="""
dht lab compare --out comparison
dht lab compare --sizes 64,256,1024 --seeds 5 --out comparison
dht lab compare --quick
""",
)
@click.option("--sizes", metavar="N,N,...", help="Nodes.  [default: 64,256,512]")
@click.option("--sessions", metavar="M,M,...", help="Median minutes.  [default: 5,20,60]")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The first.")
@click.option(
    "--seeds", type=click.IntRange(1), default=3, show_default=True, help="Runs of each network."
)
@click.option(
    "--reads", type=click.IntRange(1), default=100, show_default=True, help="In each run."
)
@click.option("--quick", is_flag=True, help="Tiny networks, one run each: seconds, no findings.")
@way_options
def compare(
    *,
    sizes: str | None,
    sessions: str | None,
    seed: int,
    seeds: int,
    reads: int,
    quick: bool,
    out: Path | None,
    jobs: int,
    dask: str | None,
    as_json: bool,
) -> int:
    """Compare Kademlia with flood, random walk and index, all as shipped, on the same work.

    Success, hops, messages, bytes and latency by network size, by popularity and by churn, with
    what theory says of them dashed; how evenly the work lies on the nodes; and consistent hashing
    in four ways. Tree, ring, hypercube and XOR are there as static models. By default it takes
    about a quarter of an hour of one CPU.

    Ctrl-C keeps what is done.
    """
    check_numpy()
    from ..lab.versus import SESSIONS, SIZES, Comparison, compared

    comparison = Comparison.of(
        sizes=_words(sizes) or (QUICK_SIZES if quick else SIZES),
        sessions=_words(sessions) or (QUICK_SESSIONS if quick else SESSIONS),
        seed=seed,
        seeds=1 if quick else seeds,
        reads=min(reads, QUICK_READS) if quick else reads,
    )
    return run_and_report(
        "comparison",
        comparison.pieces(),
        Way(jobs=jobs, dask=dask, out=out, as_json=as_json),
        lambda results: compared(comparison, results),
    )


#: Enough to see that all of it works, and for nothing else.
QUICK_SIZES, QUICK_SESSIONS, QUICK_READS = ("16", "32"), ("5", "20"), 30


def _words(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(text.split(","))
