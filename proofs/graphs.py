"""Graphs of who knows whom, and what is measured of them. Undirected: a list of neighbours each."""

from collections import deque
from collections.abc import Sequence
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
