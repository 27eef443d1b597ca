"""The tables and pictures of docs/laboratory.md: `python -m docs.reproductions [NAME ...]`.

Every scenario, half an hour in all; or those that are named, and the rest stays. At full effort,
but for those that simulate many messages: the page says at which.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from dht.lab.catalogue import SCENARIOS, scenario_named
from dht.lab.findings import Reproduction
from dht.lab.loading import load
from dht.lab.plots import render
from dht.lab.reports import markdown_of

PAGE = Path(__file__).parent / "laboratory.md"
FOLDER = Path(__file__).parent / "pictures" / "laboratory"
SEED = 1
#: Of those that are not made at full effort here.
EFFORTS = {"hyparview2007": 0.5, "li2005": 0.25, "optimistic-provide": 0.1, "rhea2004": 0.15}


def section_of(reproduction: Reproduction, effort: float = 1.0) -> str:
    """What the page says of one: its paper, its pictures, its table, its notes."""
    scenario = reproduction.scenario
    pictures = [
        f"![{plot.title}](pictures/laboratory/{picture_of(reproduction, plot.name)})"
        for plot in reproduction.plots
    ]
    notes = [f"* {note}" for note in reproduction.notes]
    parts = [
        scenario.title + ".",
        scenario.paper + ".",
        *([] if effort == 1 else [f"Made with `--effort {effort:g}`."]),
        *pictures,
        markdown_of(reproduction.findings),
        "\n".join(notes),
    ]
    return "\n\n".join(parts)


def picture_of(reproduction: Reproduction, plot: str) -> str:
    """The name of its file."""
    return f"{reproduction.scenario.module}-{plot}.svg"


def with_section(page: str, name: str, section: str) -> str:
    """The page with a section between the two comments that name it."""
    begin = f"<!-- {name}: made by python -m docs.reproductions -->\n"
    end = f"<!-- end of {name} -->"
    head, rest = page.split(begin)
    return f"{head}{begin}\n{section}\n\n{end}{rest.split(end)[1]}"


def make(name: str, effort: float = 1.0) -> Reproduction:
    """One scenario, drawn into the folder."""
    reproduction = load(scenario_named(name))(effort, SEED, lambda _: None)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for plot in reproduction.plots:
        (FOLDER / picture_of(reproduction, plot.name)).write_bytes(render(plot, "svg"))
    return reproduction


def main(names: Sequence[str]) -> None:
    """Writes those that are named anew, or all."""
    for name in names or SCENARIOS:
        effort = EFFORTS.get(name, 1.0)
        section = section_of(make(name, effort), effort)
        PAGE.write_text(with_section(PAGE.read_text(), name, section))


if __name__ == "__main__":
    main(sys.argv[1:])
