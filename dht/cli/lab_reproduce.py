"""``dht lab reproduce``: published numbers beside ours."""

# lazy imports: reports draw on numpy, an extra that may be absent; --list does without it
from collections.abc import Callable, Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..lab.catalogue import SCENARIOS, Scenario, scenario_named
from ..lab.loading import load
from ..lab.plots import check_matplotlib
from .lab_shown import bar, make_folder, not_written, plain, tables_console
from .options import json_option
from .statuses import Command, ExitStatus, complain, print_json

if TYPE_CHECKING:
    from ..lab.findings import Reproduction

_STYLES = {"reproduced": "green", "beaten": "bold green", "missed": "bold red"}


@click.command(
    cls=Command,
    epilog="""
dht lab reproduce --list
dht lab reproduce gummadi2003
dht lab reproduce chord2001 lv2002 --seed 7 --effort 0.2
dht lab reproduce rfm19.1 --out results
dht lab reproduce skademlia2007 --plot
dht lab reproduce hashing-balance --json
""",
)
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--list", "listing", is_flag=True, help="Say what can be reproduced, and do nothing.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Decides all.")
@click.option(
    "--effort",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    metavar="SHARE",
    help="Of the samples: less is faster, and its intervals are wider.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write report.json, findings.csv and the plots, as PNG and SVG, to DIR/NAME.",
)
@click.option("--plot", is_flag=True, help="Draw the plots, into ./NAME unless --out says where.")
@json_option
def reproduce(
    *,
    names: tuple[str, ...],
    listing: bool,
    seed: int,
    effort: float,
    out: Path | None,
    plot: bool,
    as_json: bool,
) -> int:
    """Make published results again, and set the numbers side by side.

    Each finding has what was published and how we know it, our value with its 95 % interval, what
    theory says, and a verdict: reproduced, beaten, missed, or not comparable. Numbers that nobody
    here has read in their paper are shown, and never judged.

    Ctrl-C keeps what is done.
    """
    if listing:
        return _list(as_json=as_json)
    if not names:
        raise click.UsageError(f"say what to reproduce: {', '.join(SCENARIOS)}")
    if isnan(effort):  # which no range excludes
        raise click.UsageError("--effort is a share above 0, at most 1, got nan")
    # Whatever can fail for what was typed fails before the work.
    scenarios = [scenario_named(name) for name in dict.fromkeys(names)]
    if out is not None or plot:
        check_matplotlib()
        for scenario in scenarios:
            make_folder(_folder_of(scenario, out))
    done: list[Reproduction] = []
    finished = _reproduce_all(
        scenarios, seed=seed, effort=effort, keep=_keeper(done, out, plot=plot, as_json=as_json)
    )
    if as_json:
        _print_reports(done, seed=seed, effort=effort, finished=finished)
    if finished:
        return ExitStatus.DONE
    left = ", ".join(each.name for each in scenarios[len(done) :])
    what = "shown" if out is None else "kept"
    complain(f"stopped: {len(done)} of {len(scenarios)} are done and {what}, not so {left}")
    return ExitStatus.INTERRUPTED


def _list(*, as_json: bool) -> int:
    if as_json:
        fields = ("name", "title", "paper")
        print_json([{each: getattr(s, each) for each in fields} for s in SCENARIOS.values()])
        return ExitStatus.DONE
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("name", "what is measured", "paper"):
        table.add_column(name, no_wrap=name == "name")
    for scenario in SCENARIOS.values():
        table.add_row(scenario.name, scenario.title, scenario.paper)
    tables_console().print(table)
    return ExitStatus.DONE


def _reproduce_all(
    scenarios: Sequence[Scenario],
    *,
    seed: int,
    effort: float,
    keep: Callable[["Reproduction"], None],
) -> bool:
    """Runs them one by one and hands each on as it is done; False when Ctrl-C ended it."""
    try:
        for scenario in scenarios:
            function = load(scenario)
            with bar(scenario.name) as progress:
                reproduction = function(effort, seed, progress)
            keep(reproduction)
    except KeyboardInterrupt:
        return False
    return True


def _keeper(
    done: "list[Reproduction]", out: Path | None, *, plot: bool, as_json: bool
) -> Callable[["Reproduction"], None]:
    """What becomes of each when it is there: shown, and written where that was asked for."""

    def keep(reproduction: "Reproduction") -> None:
        done.append(reproduction)
        if not as_json:
            _show(reproduction)
        if out is not None or plot:
            files = _write(reproduction, out)
            click.echo(f"wrote {', '.join(map(str, files))}", err=True)

    return keep


def _folder_of(scenario: Scenario, out: Path | None) -> Path:
    return (out or Path()) / scenario.name


def _write(reproduction: "Reproduction", out: Path | None) -> list[Path]:
    from ..lab.reports import draw, write

    folder = _folder_of(reproduction.scenario, out)
    try:
        return draw(reproduction, folder) if out is None else write(reproduction, folder)
    except OSError as error:
        raise not_written(folder, error) from error


def _print_reports(
    done: "Sequence[Reproduction]", *, seed: int, effort: float, finished: bool
) -> None:
    from ..lab.reports import shape_of

    reports = [shape_of(each) for each in done]
    print_json({"seed": seed, "effort": effort, "finished": finished, "reproductions": reports})


def _show(reproduction: "Reproduction") -> None:
    from ..lab.reports import COLUMNS, row_of

    scenario, console = reproduction.scenario, tables_console()
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        title=f"{scenario.name}: {scenario.title}\n{scenario.paper}",
        title_justify="left",
    )
    for column in COLUMNS:
        number = column in {"published", "ours"}
        table.add_column(column, justify="right" if number else "left", no_wrap=number)
    for finding in reproduction.findings:
        *cells, verdict = row_of(finding)
        style = _STYLES.get(verdict, "dim")
        table.add_row(*map(plain, cells), f"[{style}]{verdict}[/]")
    console.print(table)
    for note in reproduction.notes:
        console.print(f"* {note}", markup=False)
    console.print()
