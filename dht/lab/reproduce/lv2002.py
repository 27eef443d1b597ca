"""Lv et al. 2002: what flooding, an expanding ring and random walkers cost on four topologies.

Every search is of one object of which 1 % of the nodes have a copy, from a random node. The
numbers of the paper's tables are from memory, but for its headline; so ours are held to the
arithmetic of a flood, which is exact, and to an independent program of the same searches.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from statistics import mean, pstdev
from typing import Any

import attrs
import numpy as np

from ..catalogue import LV, Progress
from ..estimates import Estimate, bootstrap, mean_of
from ..findings import Finding, Provenance, Published, Reproduction
from ..graphs import (
    Graph,
    distances,
    grid,
    largest_component,
    part_of,
    power_law_degrees,
    random_graph,
    with_degrees,
)
from ..plots import Plot, Series
from ..searches import Flooded, Links, Searched, expanding_ring, flood, flood_identity, walk

QUERIES = 1000
COPIES = 0.01
WALKERS = 32
#: How many walkers are drawn against each other.
MANY_WALKERS = (8, 16, 32, 64)
TTLS = range(1, 11)
#: Those that keep state, and the recommended number without.
WALKS: Mapping[str, tuple[int, bool]] = {
    f"{WALKERS} walkers": (WALKERS, False),
    **{f"{count} walkers, state": (count, True) for count in MANY_WALKERS},
}
#: The TTL to which a flood is compared: where it finds nearly all on the random graph.
TTL = 8
MEMORY = "Lv 2002, tables"
OTHER = "an independent program of the same searches"

#: Of the whole graph is kept what hangs together; sizes are chosen so that this has about the
#: nodes and links of the paper's table 1.
TOPOLOGIES: Mapping[str, Callable[[Random], Graph]] = {
    "random": lambda random: random_graph(10_024, 20_115, random),
    "power law": lambda random: with_degrees(power_law_degrees(10_300, 4.7, 1746), random),
    "Gnutella": lambda random: with_degrees(power_law_degrees(5000, 5.5, 136), random),
    "grid": lambda _: grid(100),
}
NOTES = (
    (
        "A search is of one object, of which 1 % of the nodes hold a copy. A hit stops no flood: "
        "all its messages are counted, up to the TTL that is named."
    ),
    (
        "Walkers make a step at a time, all of them; hops are the steps until the first meets a "
        "holder. Messages are steps. The questions whether to go on come on top, at most one in "
        "four steps."
    ),
    "With state a node sends a search to each neighbour once before it sends it to one again.",
    (
        "Of the power law and of Gnutella the paper's graphs are not to be had: ours are random "
        "graphs of such degrees."
    ),
)


@attrs.define(eq=False, kw_only=True)
class Measured:
    """All searches on one topology."""

    graph: Graph
    floods: list[Flooded]
    rings: list[Searched]
    walks: dict[str, list[Searched]]
    #: How many floods had, at each TTL, exactly the messages that arithmetic says.
    exact: int = 0
    checked: int = 0

    @property
    def nodes(self) -> int:
        """How large it is."""
        return len(self.graph)


def reproduce(effort: float, seed: int, progress: Progress) -> Reproduction:
    """Four topologies, a thousand searches each: a minute at full effort."""
    generator = np.random.default_rng([seed, 2002])
    measured: dict[str, Measured] = {}
    queries = max(30, round(QUERIES * effort))
    for number, (name, make) in enumerate(TOPOLOGIES.items()):
        random = Random(f"{seed} {name}")

        def step(share: float, number: int = number) -> None:
            progress((number + share) / len(TOPOLOGIES))

        measured[name] = search(make(random), queries, random, step)
    findings = [
        *_of_random(measured["random"]),
        *(each for name, all_ in measured.items() for each in _of_any(name, all_, generator)),
    ]
    notes = [_described(name, each.graph) for name, each in measured.items()]
    return Reproduction(
        scenario=LV,
        findings=findings,
        plots=(_plot_costs(measured), _plot_ttl(measured)),
        notes=(*NOTES, *notes),
    )


def search(whole: Graph, queries: int, random: Random, step: Progress) -> Measured:
    """Every way to search, for the same objects from the same nodes."""
    graph = part_of(whole, largest_component(whole))
    links = Links.of(graph)
    measured = Measured(graph=graph, floods=[], rings=[], walks={name: [] for name in WALKS})
    for number in range(queries):
        holders = frozenset(random.sample(range(len(graph)), round(COPIES * len(graph))))
        start = random.randrange(len(graph))
        flooded = flood(links, start, sorted(holders))
        measured.floods.append(flooded)
        measured.rings.append(expanding_ring(flooded))
        for name, (count, state) in WALKS.items():
            walked = walk(graph, start, holders, random, walkers=count, state=state)
            measured.walks[name].append(walked)
        if number % 10 == 0:
            far = distances(graph, start)
            measured.checked += 1
            measured.exact += all(
                flooded.messages(ttl) == flood_identity(graph, far, start, ttl) for ttl in TTLS
            )
        step((number + 1) / queries)
    return measured


# ------------------------------------------------------------------------------------- the findings


def _hops(searches: Sequence[Searched]) -> list[float]:
    return [float(each.hops) for each in searches if each.hops is not None]


def _per_node(searches: Sequence[Searched], nodes: int) -> list[float]:
    return [each.messages / nodes for each in searches]


def _of_random(measured: Measured) -> list[Finding]:
    """The random graph, of which all columns of the table are known, if only from memory."""
    nodes = measured.nodes
    hits = [float(each.first_hit) for each in measured.floods if each.first_hit is not None]
    floods = [each.messages(TTL) / nodes for each in measured.floods]
    checks, states = (
        measured.walks[f"{WALKERS} walkers"],
        measured.walks[f"{WALKERS} walkers, state"],
    )
    ring = measured.rings
    # What is measured; from memory; of the other program, and how near ours must come to that.
    rows: list[tuple[str, str, list[float], float, tuple[float, float, bool] | None]] = [
        ("flood: hops to the first hit", "hops", hits, 3.40, (3.305, 0.33, False)),
        (f"flood to TTL {TTL}: messages", "a node", floods, 2.509, (2.562, 0.26, False)),
        ("expanding ring: hops", "hops", _hops(ring), 5.77, (5.68, 0.57, False)),
        ("expanding ring: messages", "a node", _per_node(ring, nodes), 0.061, (0.062, 0.006, True)),
        ("32 walkers: hops", "hops", _hops(checks), 10.30, (7.22, 0.72, False)),
        (
            "32 walkers: messages",
            "a node",
            _per_node(checks, nodes),
            0.031,
            (0.0278, 0.0028, False),
        ),
        ("32 walkers, state: hops", "hops", _hops(states), 7.00, (6.97, 0.7, True)),
        (
            *("32 walkers, state: messages", "a node", _per_node(states, nodes), 0.024),
            (0.0270, 0.0027, False),
        ),
    ]
    return [
        finding
        for name, unit, values, memory, other in rows
        for finding in _twice(f"random, {name}", unit, mean_of(values), memory, other)
    ]


def _twice(
    name: str,
    unit: str,
    ours: Estimate,
    memory: float,
    other: tuple[float, float, bool] | None,
) -> list[Finding]:
    """Beside what the paper is remembered to say, and beside what another program measured."""
    published = Published(value=memory, provenance=Provenance.MEMORY, source=MEMORY)
    found = [Finding(name=name, unit=unit, published=published, ours=ours)]
    if other is not None:
        value, tolerance, asserted = other
        found.append(
            Finding(
                name=name,
                unit=unit,
                published=Published(value=value, provenance=Provenance.RESIMULATED, source=OTHER),
                ours=ours,
                tolerance=tolerance,
                asserted=asserted,
                better="lower",
            )
        )
    return found


def _of_any(name: str, measured: Measured, generator: np.random.Generator) -> list[Finding]:
    """What holds on every topology: the arithmetic of a flood, and two orders of magnitude."""
    found = [
        Finding(
            name=f"{name}: floods whose messages are those of the formula, TTL 1 to {TTLS[-1]}",
            unit="of all",
            published=Published(
                value=1, provenance=Provenance.FORMULA, source="each node but one sends degree - 1"
            ),
            ours=Estimate.exactly(measured.exact / measured.checked),
            limit=1,
            limit_name="all",
            tolerance=0,
            asserted=True,
        )
    ]
    walks = measured.walks[f"{WALKERS} walkers"]
    # Where a flood with that TTL finds nearly all: the whole graph, but for the grid, whose
    # diameter is 198.
    ttl = TTL if name != "grid" else 2 * TTL
    pairs = np.array(
        [
            (flooded.messages(ttl), walked.messages)
            for flooded, walked in zip(measured.floods, walks, strict=True)
        ],
        dtype=np.float64,
    )
    ratio = bootstrap(pairs, _ratio, generator)
    found.append(
        Finding(
            name=f"{name}: messages of a flood to TTL {ttl} over those of 32 walkers",
            unit="times",
            published=Published(
                value=100,
                provenance=Provenance.ABSTRACT,
                source="Lv 2002, a summary",
                words="some 2 orders",
            ),
            ours=ratio,
            # On a grid a flood grows by the square of its TTL only: what is paid is another thing.
            tolerance=None if name == "grid" else 50,
            better="higher",
            asserted=name != "grid",
        )
    )
    return found


def _ratio(pairs: np.ndarray[Any, np.dtype[Any]]) -> float:
    return float(pairs[:, 0].sum() / pairs[:, 1].sum())


def _described(name: str, graph: Graph) -> str:
    degrees = sorted(map(len, graph))
    return (
        f"{name}: {len(graph):,} nodes, {sum(degrees) // 2:,} links, degree {mean(degrees):.2f} in "
        f"the mean (sd {pstdev(degrees):.1f}, median {degrees[len(degrees) // 2]}, at most "
        f"{degrees[-1]:,})"
    )


# ------------------------------------------------------------------------------------- the pictures


def _plot_costs(measured: Mapping[str, Measured]) -> Plot:
    """Hops against messages: a curve over the number of walkers for each topology."""
    series = []
    for name, each in measured.items():
        walks = [each.walks[f"{count} walkers, state"] for count in MANY_WALKERS]
        series.append(
            Series(
                name=f"{name}: {MANY_WALKERS[0]} to {MANY_WALKERS[-1]} walkers",
                xs=[mean(_per_node(searches, each.nodes)) for searches in walks],
                ys=[mean(_hops(searches)) for searches in walks],
            )
        )
        ring = mean(_hops(each.rings)), mean(_per_node(each.rings, each.nodes))
        series.append(
            Series(
                name=f"{name}: expanding ring",
                look="published",
                like=series[-1].name,
                xs=[ring[1]],
                ys=[ring[0]],
            )
        )
    return Plot(
        name="costs",
        title="What a search costs: walkers with state, and an expanding ring",
        x_label="messages a node",
        y_label="hops to the first holder",
        x_log=True,
        y_log=True,
        series=series,
    )


def _plot_ttl(measured: Mapping[str, Measured]) -> Plot:
    return Plot(
        name="flood",
        title="A flood by its TTL: messages for each node of the network",
        x_label="TTL",
        y_label="messages a node",
        y_log=True,
        series=[
            Series(
                name=name,
                xs=list(TTLS),
                ys=[mean(each.messages(ttl) for each in one.floods) / one.nodes for ttl in TTLS],
            )
            for name, one in measured.items()
        ],
    )
