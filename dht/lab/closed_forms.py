"""Formulas to draw under measured curves: what theory says of hops, failures, attacks, balance.

Each function names who published it. Plain arithmetic, for a handful of values at a time.
"""

from collections.abc import Callable, Mapping, Sequence
from math import comb, exp, gamma, log, log2, prod, sqrt

# ----------------------------------------------------------- routability with dead nodes, no repair
#
# Kong, Bridgewater & Roychowdhury 2006 (arXiv cs/0603112), "reachable component method": of the
# nodes at h hops, n(h) there are, a path arrives unless it is stuck on one of its hops; Q(m) is the
# probability to be stuck where m hops are left. q is the share of dead nodes, 2**bits is how many
# nodes there are, and a failed path is one between two nodes that live.


def failed_paths_tree(dead: float, bits: int) -> float:
    """Exact: the one neighbour that mends the next bit must live."""
    return _failed([comb(bits, h) for h in range(1, bits + 1)], lambda _: dead, dead, bits)


def failed_paths_hypercube(dead: float, bits: int) -> float:
    """Exact: stuck when all m neighbours that mend a bit are dead."""
    return _failed([comb(bits, h) for h in range(1, bits + 1)], lambda m: dead**m, dead, bits)


def failed_paths_xor(dead: float, bits: int) -> float:
    """Too good below 30 % dead: it takes a neighbour with a random suffix for one bit mended."""

    def stuck(m: int) -> float:
        detours = (prod(1 - dead**j for j in range(m - k, m)) for k in range(1, m))
        return float(dead**m * (1 + sum(detours)))

    return _failed([comb(bits, h) for h in range(1, bits + 1)], stuck, dead, bits)


def failed_paths_ring(dead: float, bits: int) -> float:
    """An upper bound, a loose one above 30 % dead."""

    def stuck(m: int) -> float:
        ways: float = dead * (1 - dead ** (m - 1))
        # 2**(m - 1) times ways ways: nothing is left of the power long before it overflows.
        return float(dead**m * (1 - ways ** min(2 ** (m - 1), 4096)) / (1 - ways))

    return _failed([2 ** (h - 1) for h in range(1, bits + 1)], stuck, dead, bits)


def _failed(
    nodes_at: Sequence[int], stuck: Callable[[int], float], dead: float, bits: int
) -> float:
    reached, arriving = 0.0, 1.0
    for hops, nodes in enumerate(nodes_at, 1):
        arriving *= 1 - stuck(hops)
        reached += nodes * arriving
    return min(1.0, max(0.0, 1 - reached / ((1 - dead) * (1 << bits) - 1)))


# --------------------------------------------------------------------------------------------- hops


def hops_halving(nodes: int) -> float:
    """Half of log2 N: Chord, hypercube and XOR with one neighbour a slot. Chord counts to the
    predecessor of a key (Stoica et al. 2001)."""
    return log2(nodes) / 2


def bits_gained(bucket: int) -> float:
    """How many bits a hop with that many entries a bucket mends (Stutzbach & Rejaie 2006)."""
    return 1 + sum(1 - (1 - 2.0**-j) ** bucket for j in range(1, 64))


def hops_kademlia(nodes: int, bucket: int) -> float:
    """To a node that knows all about the target; the last contact itself is one more."""
    return max(0.0, log2(nodes / bucket) / bits_gained(bucket))


def hops_moore(nodes: int, degree: int) -> float:
    """Fewer hops no overlay of that degree has, for most pairs: Moore's bound."""
    return log(nodes) / log(degree)


# -------------------------------------------------------------------------------------- adversaries


def survival_disjoint(hops: Mapping[int, float], adversaries: float, paths: int) -> float:
    """That one of so many disjoint paths is free of adversaries; ``hops`` is the share of paths
    of each length (Baumgart & Mies 2007)."""
    return sum(
        share * (1 - (1 - (1 - adversaries) ** length) ** paths) for length, share in hops.items()
    )


# --------------------------------------------------------------------------- flood and random graph


def flood_messages_whole(nodes: int, links: int) -> int:
    """Of a flood that reaches everybody, where nobody sends back to whom he has it from."""
    return 2 * links - nodes + 1


# ------------------------------------------------------------------------------------------ balance


def spread_of_points(points: int) -> float:
    """The standard deviation of a bucket's share of a ring, in means (Lamping & Veach 2014)."""
    return 1 / sqrt(points)


def arc_quantile(share: float) -> float:
    """The arc, in means, below which that share of the arcs of a ring of random points lies."""
    return -log(1 - share)


def gossip_reliability(fanout: int, dead: float) -> float:
    """What share of the living hears a message that everybody passes on to ``fanout`` others drawn
    from all: the chance that it does not die out near its source (a branching process), times the
    share that it reaches then (an epidemic's final size)."""
    spread = fanout * (1 - dead)
    if spread <= 1:
        return 0.0
    dies, reached = 0.0, 1.0
    for _ in range(1000):
        dies = (dead + (1 - dead) * dies) ** fanout
        reached = 1 - exp(-spread * reached)
    return (1 - dies) * reached


def residual_survival(after: float, *, shape: float, scale: float) -> float:
    """The chance that a node which is there now is still there ``after`` so long, where sessions
    are Weibull: of those that are there at any moment, the long sessions are more (renewal theory).
    """
    order, x = 1 / shape, (after / scale) ** shape
    # The regularised lower incomplete gamma function of that order, by its series.
    term = total = 1 / order
    for step in range(1, 500):
        term *= x / (order + step)
        total += term
    return 1 - total * exp(order * log(x) - x) / gamma(order) if x else 1.0
