"""Graphs of who knows whom, and what is measured of them. Undirected: a list of neighbours each."""

from collections import deque
from collections.abc import Sequence
from math import exp, log
from operator import mul
from random import Random
from statistics import mean

Graph = list[list[int]]


def undirected(views: Sequence[Sequence[int]]) -> Graph:
    """Who knows whom, in either direction; neighbours are sorted, and everybody once."""
    sets: list[set[int]] = [set() for _ in views]
    for own, view in enumerate(views):
        for other in view:
            if other != own:
                sets[own].add(other)
                sets[other].add(own)
    return [sorted(each) for each in sets]


def distances(graph: Graph, start: int) -> list[int]:
    """How far everybody is from one; -1: out of reach."""
    far = [-1] * len(graph)
    far[start] = 0
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for other in graph[node]:
            if far[other] < 0:
                far[other] = far[node] + 1
                queue.append(other)
    return far


def largest_component(graph: Graph) -> list[int]:
    """The nodes of the largest component, in order."""
    left = set(range(len(graph)))
    largest: list[int] = []
    while left:
        far = distances(graph, min(left))
        component = [node for node in sorted(left) if far[node] >= 0]
        left.difference_update(component)
        if len(component) > len(largest):
            largest = component
    return largest


def mean_path(graph: Graph, random: Random, sources: int) -> float:
    """The mean distance of two nodes, from so many of them to all others that they can reach: it
    says nothing of a graph that is not one component."""
    chosen = random.sample(range(len(graph)), min(sources, len(graph)))
    return mean(
        mean(far for node, far in enumerate(distances(graph, start)) if node != start and far > 0)
        for start in chosen
    )


def clustering(graph: Graph, random: Random, sample: int) -> float:
    """The share of pairs of neighbours that are neighbours themselves, in the mean over nodes."""
    sets = [set(each) for each in graph]
    shares = []
    for node in random.sample(range(len(graph)), min(sample, len(graph))):
        neighbours = graph[node]
        if len(neighbours) > 1:
            links = sum(len(sets[each].intersection(neighbours)) for each in neighbours)
            shares.append(links / (len(neighbours) * (len(neighbours) - 1)))
    return mean(shares)


def random_views(nodes: int, degree: int, random: Random) -> Graph:
    """Everybody knows so many others by chance."""
    views = []
    for own in range(nodes):
        chosen = random.sample(range(nodes - 1), degree)
        views.append([other + (other >= own) for other in chosen])
    return views


def random_graph(nodes: int, links: int, random: Random) -> Graph:
    """G(n, m): so many links between two different nodes, each pair once."""
    pairs: set[tuple[int, int]] = set()
    while len(pairs) < links:
        one, other = random.randrange(nodes), random.randrange(nodes)
        if one != other:
            pairs.add((min(one, other), max(one, other)))
    graph: Graph = [[] for _ in range(nodes)]
    for one, other in sorted(pairs):
        graph[one].append(other)
        graph[other].append(one)
    return graph


def part_of(graph: Graph, nodes: Sequence[int]) -> Graph:
    """The graph of some of the nodes, renumbered in their order."""
    numbers = {node: number for number, node in enumerate(nodes)}
    return [[numbers[other] for other in graph[node] if other in numbers] for node in nodes]


# -------------------------------------------------------------------------- shapes of a whole graph


def grid(side: int) -> Graph:
    """A square of nodes, each linked with those beside, above and below it."""
    graph: Graph = [[] for _ in range(side * side)]
    for node in range(side * side):
        right, below = node + 1, node + side
        for other in ([right] if right % side else []) + ([below] if below < side * side else []):
            graph[node].append(other)
            graph[other].append(node)
    return [sorted(each) for each in graph]


def power_law_degrees(nodes: int, mean_degree: float, largest: int) -> list[int]:
    """Degrees from 1 to ``largest`` that fall as a power, with the exponent that gives that mean.

    Each degree stands as often as its share says, so that no draw spoils the mean.
    Raises ``ValueError`` for a mean that no exponent gives.
    """
    degrees = range(1, largest + 1)
    low, high = -8.0, 8.0

    def mean_at(exponent: float) -> float:
        weights = [exp(-exponent * log(degree)) for degree in degrees]
        weighted: float = sum(map(mul, degrees, weights))
        return weighted / sum(weights)

    if not mean_at(high) < mean_degree < mean_at(low):
        raise ValueError(f"no power law from 1 to {largest} has the mean {mean_degree}")
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_at(middle) > mean_degree else (low, middle)
    weights = [exp(-low * log(degree)) for degree in degrees]
    total, so_far = sum(weights), 0.0
    chosen: list[int] = []
    for degree, weight in zip(degrees, weights, strict=True):
        so_far += weight
        chosen += [degree] * (round(nodes * so_far / total) - len(chosen))
    return chosen


def with_degrees(degrees: Sequence[int], random: Random) -> Graph:
    """A random graph in which everybody has about that degree: the configuration model, in which
    the links that it makes twice, or from a node to itself, are left out."""
    ends = [node for node, degree in enumerate(degrees) for _ in range(degree)]
    random.shuffle(ends)
    half = len(ends) // 2
    views: Graph = [[] for _ in degrees]
    for one, other in zip(ends[:half], ends[half : 2 * half], strict=True):
        views[one].append(other)
    return undirected(views)
