"""``dht lab run``: a scenario of one's own, or a sweep of them."""

# lazy imports: the sweep draws on numpy, an extra that may be absent; --show does without it
from pathlib import Path

import click

from ..errors import LocalError
from ..lab.scenario import Overlay, Scenario, changed, read_scenario, toml_of
from .lab_pieces import Way, check_numpy, readable, run_and_report, way_options
from .statuses import Command, ExitStatus

#: What the options set, where that is one field of the scenario.
_FIELDS = {
    "overlay": "overlay",
    "nodes": "nodes",
    "seed": "seed",
    "seeds": "seeds",
    "loss": "links.loss",
    "churn": "churn.session_min",
    "zipf": "workload.zipf",
    "reads": "workload.reads",
    "dead": "faults.dead",
}
_PROPORTION = Scenario().links.rtt_mean_ms / Scenario().links.rtt_median_ms


def _field(option: str, metavar: str, words: str) -> click.Option:
    return click.Option([f"--{option}"], metavar=metavar, help=words)


@click.command(
    cls=Command,
    epilog="""
dht lab run
dht lab run --overlay flood --nodes 100 --loss 0.05
dht lab run --show > scenario.toml
dht lab run scenario.toml --set workload.records=500 --set alpha=1 --out results
dht lab run --sweep nodes=100,1000,10000 --sweep alpha=1,3,5 --out results
dht lab run --sweep overlay=kademlia,flood,walk,index --jobs 4 --json
dht lab run scenario.toml --sweep loss=0,0.1,0.2 --dask tcp://10.0.0.1:8786
""",
)
@click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[SCENARIO.toml]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any field of a scenario, as --show names them, or any knob of dht.Config. Repeatable.",
)
@click.option(
    "--sweep",
    "sweeps",
    multiple=True,
    metavar="NAME=V1,V2,...",
    help="Run it with each of these values. Repeatable: with each combination.",
)
@click.option("--show", "showing", is_flag=True, help="Print the scenario as TOML; run nothing.")
@way_options
def run(
    *,
    file: Path | None,
    settings: tuple[str, ...],
    sweeps: tuple[str, ...],
    showing: bool,
    jobs: int,
    dask: str | None,
    out: Path | None,
    as_json: bool,
    rtt: str | None,
    **fields: str | None,
) -> int:
    """Simulate a network and measure what its reads come to.

    The engine is the one that runs in production, in virtual time; the same scenario and seed give
    the same report. Without a file it is a small network of the shipped Kademlia. Tables go to the
    terminal; --out writes them with all plots, and one page that has everything.

    Ctrl-C keeps what is done.
    """
    scenario = _scenario(file, settings, rtt, fields)
    if showing:
        click.echo(toml_of(scenario), nl=False)
        return ExitStatus.DONE
    check_numpy()
    from ..lab.summary import summarised
    from ..lab.sweep import Axis, grid, pieces_of

    axes = [Axis.parse(sweep) for sweep in sweeps]
    points = grid(scenario, axes)
    way = Way(jobs=jobs, dask=dask, out=out, as_json=as_json)
    return run_and_report(
        scenario.name,
        pieces_of(points),
        way,
        lambda results: summarised(scenario, axes, points, results),
    )


run.params += [
    _field("overlay", "NAME", f"{', '.join(Overlay)}."),
    _field("nodes", "N", "How many there are."),
    _field("seed", "N", "Of the first run."),
    _field("seeds", "N", "How many runs, each of another seed."),
    _field("rtt", "MS", "The median round trip; the mean is 14 % more."),
    _field("loss", "SHARE", "Of the datagrams, from 0 to 1."),
    _field("churn", "MINUTES", "The median session; 0: nobody comes or goes."),
    _field("zipf", "EXPONENT", "How much more popular records are read; 0: all alike."),
    _field("reads", "N", "How many there are in a run."),
    _field("dead", "SHARE", "Of the nodes, dead at once before the first read."),
]


def _scenario(
    file: Path | None, settings: tuple[str, ...], rtt: str | None, fields: dict[str, str | None]
) -> Scenario:
    """What was typed, as a scenario. Raises ``LocalError``."""
    scenario = Scenario()
    if file is not None:
        with readable(file):
            text = file.read_text()
        try:
            scenario = read_scenario(text)
        except LocalError as error:
            raise LocalError(f"{file}: {error}") from error
    said = {_FIELDS[name]: value for name, value in fields.items() if value is not None}
    if rtt is not None:
        said |= {"links.rtt_median_ms": rtt, "links.rtt_mean_ms": _mean_rtt(rtt)}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise LocalError(f"--set is NAME=VALUE, such as loss=0.05, got {setting!r}")
        said[name.strip()] = value.strip()
    return changed(scenario, said)


def _mean_rtt(median: str) -> str:
    try:
        return str(float(median) * _PROPORTION)
    except ValueError:
        raise LocalError(f"--rtt is a number of milliseconds, got {median!r}") from None
