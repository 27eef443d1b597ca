"""The promises about the view: the graph of who knows whom stays like a random one."""

from collections.abc import Sequence
from random import Random
from statistics import mean, pstdev
from typing import Any

from dht.config import Config
from dht.contacts import contact_at, pack_address
from dht.core.unstructured.view import Entry, View
from dht.lab.graphs import (
    Graph,
    clustering,
    largest_component,
    mean_path,
    random_views,
    undirected,
)
from dht.sim import SimNode, Simulator

from .machine import Figures, Reduced, Verdict, row

NODES = 1000
SHUFFLES = 50
HEALED_SHUFFLES = 40
CHANGED_SHUFFLES = 20
#: Sources of shortest paths, and nodes whose clustering is measured.
SAMPLE = 200
LARGE = 10_000
#: View, exchange, the mean path that it should have.
SIZES = ((20, 8, 2.83), (35, 14, 2.58))
PUBLISHED_PATH = 2.604


def neighbours_of(simulator: Simulator) -> Graph:
    """The views of all nodes that live, as places among them."""
    living = simulator.living()
    places = {node.contact.id: place for place, node in enumerate(living)}
    return [
        [places[each.id] for each in _view(node).contacts() if each.id in places] for node in living
    ]


def _view(node: SimNode) -> View:
    overlay = node.engine.unstructured
    assert overlay is not None
    return overlay.view


def grown(seed: int, nodes: int) -> Simulator:
    """A network that has just grown to that size."""
    simulator = Simulator(seed, overlay="unstructured")
    simulator.grow(nodes)
    return simulator


def shuffle(simulator: Simulator, times: int) -> None:
    """Everybody shuffles so often."""
    simulator.run_for(times * simulator.config.shuffle_interval_s)


def judge_shape(pieces: Sequence[Figures]) -> Verdict:
    """Each network for itself."""
    worst = {
        "components": max(piece["components"] for piece in pieces),
        "path_off": max(abs(piece["path"] / piece["path_random"] - 1) for piece in pieces),
        "clustering_off": max(
            abs(piece["clustering"] / piece["clustering_random"] - 1) for piece in pieces
        ),
        "in_degree_spread": max(piece["in_degree_spread"] for piece in pieces),
    }
    passed = (
        worst["components"] == 1
        and worst["path_off"] <= 0.1
        and worst["clustering_off"] <= 0.1
        and worst["in_degree_spread"] <= 0.2
    )
    return Verdict(
        {**worst, "networks": list(pieces)},
        passed,
        f"{len(pieces)} networks: {worst['components']} component, paths at most "
        f"{worst['path_off']:.1%} and clustering {worst['clustering_off']:.1%} off a random "
        f"graph's, in-degree +- {worst['in_degree_spread']:.3f} of its mean",
    )


@row(
    "view-like-random",
    promise="after 50 shuffles the graph of all views is one component, its mean path and "
    "clustering are within 10 % of a random graph's of that degree, and the standard deviation of "
    "the in-degree is at most 0.2 of its mean",
    pieces=4,
    judge=judge_shape,
    reduced=Reduced(pieces=1, scale=0.35),
)
def view_like_random(seed: int, scale: float) -> Figures:
    """1,000 simulated nodes that joined one after the other."""
    simulator = grown(seed, int(NODES * scale))
    shuffle(simulator, SHUFFLES)
    views = neighbours_of(simulator)
    graph = undirected(views)
    random = Random(seed)
    alike = undirected(random_views(len(views), round(mean(map(len, views))), random))
    known_by = [0] * len(views)
    for view in views:
        for other in view:
            known_by[other] += 1
    component = largest_component(graph)
    return {
        "nodes": len(views),
        "view": mean(map(len, views)),
        "components": 1 if len(component) == len(views) else 2,
        "path": mean_path(graph, random, SAMPLE),
        "path_random": mean_path(alike, random, SAMPLE),
        "clustering": clustering(graph, random, len(views)),
        "clustering_random": clustering(alike, random, len(views)),
        "in_degree_spread": pstdev(known_by) / mean(known_by),
    }


def judge_paths(pieces: Sequence[Figures]) -> Verdict:
    """The mean over the networks of each size. A smaller network, in the reduced size, has shorter
    paths than those that were published; at any size they are those of a random graph."""
    figures: dict[str, Any] = {}
    passed = True
    for view, exchange, wanted in SIZES:
        found = mean(piece[f"{view}/{exchange}"] for piece in pieces)
        figures[f"{view}/{exchange}"] = found
        connected = all(piece[f"{view}/{exchange} connected"] for piece in pieces)
        off = max(
            abs(piece[f"{view}/{exchange}"] / piece[f"{view}/{exchange} random"] - 1)
            for piece in pieces
        )
        figures[f"{view}/{exchange} off random"] = off
        passed = passed and connected and off <= 0.1
        passed = passed and (pieces[0]["nodes"] < LARGE or abs(found - wanted) <= 0.1)
    told = ", ".join(
        f"{figures[size]:.3f} at {size}, {figures[f'{size} off random']:.1%} off a random graph's"
        for size in (f"{view}/{exchange}" for view, exchange, _ in SIZES)
    )
    return Verdict(
        {**figures, "published": PUBLISHED_PATH, "nodes": pieces[0]["nodes"]},
        passed,
        f"mean paths among {pieces[0]['nodes']:,} nodes: {told} "
        f"(published for 35/14: {PUBLISHED_PATH})",
    )


@row(
    "view-path-length",
    promise="among 10,000 nodes the undirected mean path is 2.83 +- 0.1 with views of 20 and "
    "exchanges of 8, and 2.58 +- 0.1 with 35 and 14 (HyParView 2007, table 1, has 2.604 for Cyclon "
    "with 35 and 14), in one component, within 10 % of a random graph's",
    pieces=2,
    judge=judge_paths,
    reduced=Reduced(pieces=1, scale=0.02),
)
def view_path_length(seed: int, scale: float) -> Figures:
    """The views alone, which shuffle in rounds, as in the published simulation; from a chain."""
    nodes = int(LARGE * scale)
    figures: Figures = {"nodes": nodes}
    for size, exchange, _ in SIZES:
        random = Random(seed)
        config = Config(view_size=size, exchange=exchange)
        keys = [random.randbytes(32) for _ in range(nodes)]
        contacts = [contact_at(key, pack_address("10.0.0.1", 4000)) for key in keys]
        places = {contact.id: place for place, contact in enumerate(contacts)}
        views = [View(contact.id, config, random) for contact in contacts]
        for place, view in enumerate(views):
            before = [contacts[place - back] for back in range(1, size + 1)]
            view.merge(Entry(contact) for contact in before)
        for _ in range(SHUFFLES):
            for place in random.sample(range(nodes), nodes):
                begun = views[place].begin()
                assert begun is not None
                other, given = begun
                own = Entry(contacts[place])
                answerer = views[places[other.id]]
                returned = answerer.sample(exchange)
                answerer.merge([own, *given], returned)
                views[place].merge(returned, given)
        graph = undirected([[places[each.id] for each in view.contacts()] for view in views])
        alike = undirected(random_views(nodes, size, random))
        figures[f"{size}/{exchange}"] = mean_path(graph, random, SAMPLE // 4)
        figures[f"{size}/{exchange} random"] = mean_path(alike, random, SAMPLE // 4)
        figures[f"{size}/{exchange} connected"] = len(largest_component(graph)) == nodes
    return figures


def judge_crash(pieces: Sequence[Figures]) -> Verdict:
    """The worst of all networks."""
    connected = all(piece["connected"] == piece["nodes"] for piece in pieces)
    dead = max(piece["dead_links"] for piece in pieces)
    return Verdict(
        {"dead_links": dead, "networks": list(pieces)},
        connected and dead < 0.01,
        f"{len(pieces)} networks of which half crashed: the rest is "
        f"{'one component' if connected else 'in pieces'}, and after {HEALED_SHUFFLES} shuffles at "
        f"most {dead:.2%} of the links lead to the dead",
    )


@row(
    "view-half-crash",
    promise="when half of the nodes crash at once the rest is one component, and fewer than 1 % of "
    "its links lead to the dead after 40 shuffles",
    pieces=4,
    judge=judge_crash,
    reduced=Reduced(pieces=1, scale=0.15),
)
def view_half_crash(seed: int, scale: float) -> Figures:
    """1,000 simulated nodes, of which 500 crash in the same moment."""
    simulator = grown(seed, int(NODES * scale))
    shuffle(simulator, SHUFFLES)
    living = simulator.living()
    for node in Random(seed).sample(living, len(living) // 2):
        simulator.crash(node)
    connected = len(largest_component(undirected(neighbours_of(simulator))))
    dead_after: dict[str, float] = {}
    for shuffles in range(10, HEALED_SHUFFLES + 1, 10):
        shuffle(simulator, 10)
        dead_after[str(shuffles)] = _dead_links(simulator)
    healed = len(largest_component(undirected(neighbours_of(simulator))))
    return {
        "nodes": len(simulator.living()),
        "connected": min(connected, healed),
        "dead_links": dead_after[str(HEALED_SHUFFLES)],
        "dead_links_after": dead_after,
    }


def _dead_links(simulator: Simulator) -> float:
    living = {node.contact.id for node in simulator.living()}
    links = [each.id in living for node in simulator.living() for each in _view(node).contacts()]
    return 1 - sum(links) / len(links)


def judge_change(pieces: Sequence[Figures]) -> Verdict:
    """All views of all networks."""
    changed = mean(piece["changed_mean"] for piece in pieces)
    least = min(piece["changed_min"] for piece in pieces)
    return Verdict(
        {"changed_mean": changed, "changed_min": least},
        changed >= 0.95 and least >= 0.7,
        f"within {CHANGED_SHUFFLES} shuffles {changed:.1%} of a view changes, {least:.0%} of the "
        "one that changes least",
    )


@row(
    "view-changes",
    promise="every view changes by 95 % in the mean within 20 shuffles, and none by less than 70 %",
    pieces=2,
    judge=judge_change,
    reduced=Reduced(pieces=1, scale=0.5),
)
def view_changes(seed: int, scale: float) -> Figures:
    """1,000 simulated nodes: who of the neighbours is no neighbour any more?"""
    simulator = grown(seed, int(NODES * scale))
    shuffle(simulator, CHANGED_SHUFFLES)
    before = [{each.id for each in _view(node).contacts()} for node in simulator.nodes]
    shuffle(simulator, CHANGED_SHUFFLES)
    changed = [
        sum(each not in _view(node) for each in known) / len(known)
        for node, known in zip(simulator.nodes, before, strict=True)
    ]
    return {"changed_mean": mean(changed), "changed_min": min(changed)}
