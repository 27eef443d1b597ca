"""How far the nodes around a key lie denser than anywhere else: the sign of a Sybil attack.

Nobody chooses an id, but who makes keys until some fall next to a given key owns that key's
neighbourhood, and is seen by it: honest ids are drawn evenly, so everywhere about as many nodes lie
within a given distance. Everything that judges whether a neighbourhood is too crowded is here.

The law: in a network of evenly drawn ids the number of nodes within a distance is Poisson, and the
distance of the r-th nearest node to any place follows Gamma(r). We know that density only from a
*reference*: m nodes that were found within a volume V, which is as random itself. Under one density
for both the ratio (D_r / r) / (V / m) follows Fisher's F with (2r, 2m) degrees of freedom, whatever
the size of the network (the comparison of two Poisson rates of Przyborowski & Wilenski 1940); so
the error of our own estimate of the network's size is part of the law and needs no margin. Paulson
(1942) makes a normal deviate of it with a cube root; its tails are true to a tenth even at 1 in
1,000.

The reading is the largest deviate over a few ranks between r and k: eight Sybils are seen best at
rank 8, twenty at rank 20. Sridhar et al. (NDSS 2024) compare prefix lengths by their KL divergence
instead; at 1 false alarm in 200, for 20 Sybils that are nearer than every honest node, spread
evenly or all at the edge of that, and a reference of 20 nodes (of 120), 50,000 drawn keys:

    statistic                     evenly             at the edge
    KL divergence, 20 nearest     43 % (99.1 %)      60 % (99.8 %)
    rank 8 alone                  99.3 % (99.7 %)    90 % (93 %)
    rank 20 alone                 99.94 % (100 %)    99.93 % (99.98 %)
    largest of ranks 8 to 20      99.9 % (99.99 %)   99.8 % (99.97 %)

The last finds 8 Sybils in 90 % of the cases too, rank 20 alone in 20 %.
"""

from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from math import cbrt, sqrt
from typing import Final, NamedTuple, final

import attrs

from ..config import Config
from ..keyspace import KEY_BITS
from .routing import NEIGHBOURS, RoutingTable

#: Below so many times k nodes the k nearest are too large a part of everybody to say anything.
TINY: Final = 3
#: Ranks that are looked at, from r to k: more of them find hardly more.
RANKS_MAX: Final = 5
#: Places that were looked at and are remembered. With 8 nodes each and our own neighbourhood the
#: reference holds 148 nodes: the deviation of the size estimate falls from 22 % to 8 %. Threat:
#: whoever makes ids next to ours shifts what we see around us, and so hides from us alone; he does
#: not know where we look at random.
SAMPLES_MAX: Final = 16
#: A sample is forgotten after so many refresh intervals: networks grow and shrink.
SAMPLE_AGE: Final = 2.0
#: From this share of the alarm on, who has seen a part of the neighbourhood only should look again
#: before he believes it. One honest put in twenty-five does; guess.
SUSPICIOUS: Final = 2 / 3
#: A sample that reaches within so many times its volume of the key in question is no reference for
#: it: Sybils around the key would be in both, and the node next to an attacked key would be the one
#: that sees nothing. Twice, since they draw the sample's volume together, too; and once more.
APART: Final = 4

_EVERYWHERE: Final = 2.0**KEY_BITS


class Reference(NamedTuple):
    """What we know of the density elsewhere: so many nodes within ``volume`` places."""

    nodes: float
    volume: float

    @property
    def density(self) -> float:
        """Nodes a place."""
        return self.nodes / self.volume


@final
class Reading(NamedTuple):
    """How crowded it is around a key, in standard deviations; see ``DensityGauge.read``."""

    density: float | None = None
    alarmed: bool = False
    #: No alarm, but near to one.
    suspicious: bool = False


#: Nothing can be said.
UNREAD: Final = Reading()


class _Sample(NamedTuple):
    at: float
    place: int
    nodes: int
    volume: float

    def is_apart_from(self, place: int) -> bool:
        """Can who surrounds that place not be among the nodes of this sample?"""
        return self.place ^ place >= APART * self.volume


def deviation(rank: int, distance: float, reference: Reference) -> float:
    """How much nearer the ``rank``-th nearest node lies than the reference lets us expect, as a
    standard normal deviate (Paulson 1942). Positive is nearer: denser."""
    nodes, volume = reference
    spread_here, spread_there = 1 / (9 * rank), 1 / (9 * nodes)
    root = cbrt(distance * nodes / (rank * volume))
    return ((1 - spread_here) - (1 - spread_there) * root) / sqrt(
        spread_there * root * root + spread_here
    )


@lru_cache(64)
def ranks_between(replicas: int, k: int) -> tuple[int, ...]:
    """At most five ranks from the owners' to the last that lookups know of."""
    first, last = min(replicas, k), k
    steps = max(1, min(RANKS_MAX - 1, last - first))
    return tuple(dict.fromkeys(first + (last - first) * n // steps for n in range(steps + 1)))


@final
@attrs.define(eq=False)
class DensityGauge:
    """Reads how crowded a neighbourhood is, and says where a key's owners are to be expected."""

    config: Config
    table: RoutingTable
    _samples: deque[_Sample] = attrs.field(factory=lambda: deque(maxlen=SAMPLES_MAX), init=False)

    def learn(self, now: float, place: int, distances: Sequence[int]) -> None:
        """A lookup of a place that was drawn at random found these nodes, which all answered:
        their distances to it, nearest first. The last one says how large a part of the space it
        took to find so many."""
        if len(distances) >= self.config.replicas and distances[-1]:
            sample = _Sample(now, place, len(distances), float(distances[-1]))
            self._samples.append(sample)

    def forget(self) -> None:
        """What was learnt so far holds no more: the network was still coming into being."""
        self._samples.clear()

    def reference(self, now: float, place: int) -> Reference | None:
        """The density to compare that around ``place`` with; None while there are too few nodes to
        speak of one. Where all that we know is next to that place, it is that.

        Those whom our table holds count where nothing shows the network to be larger: a table that
        is not whole tells the least that there are, and not how dense they lie.
        """
        if self.table.network_size() < TINY * self.config.k:
            return None
        known = Reference(len(self.table) + 1, _EVERYWHERE)
        oldest = now - SAMPLE_AGE * self.config.refresh_interval_s
        samples = self._samples
        while samples and samples[0].at < oldest:
            samples.popleft()
        neighbours = min(NEIGHBOURS, len(self.table))
        volume = neighbours / self.table.size_by_neighbours() * _EVERYWHERE
        own = _Sample(now, self.table.own_id, neighbours, volume)
        seen = [own, *samples]
        apart = [sample for sample in seen if sample.is_apart_from(place)] or seen
        found = Reference(
            sum(sample.nodes for sample in apart), sum(sample.volume for sample in apart)
        )
        return max(found, known, key=lambda reference: reference.density)

    def read(self, now: float, place: int, distances: Sequence[int]) -> Reading:
        """How crowded it is around a place from which the nearest nodes lie at these distances
        (nearest first).

        The number is in standard deviations of what an honest network shows; from
        ``Config.density_alarm`` on it alarms. ``UNREAD`` for a tiny network, or when fewer nodes
        are known than a record has owners.
        """
        reference = self.reference(now, place)
        if reference is None or len(distances) < min(self.config.replicas, self.config.k):
            return UNREAD
        density = max(
            deviation(rank, float(distances[rank - 1]), reference)
            for rank in ranks_between(self.config.replicas, self.config.k)
            if rank <= len(distances)
        )
        alarm = self.config.density_alarm
        return Reading(density, density >= alarm, SUSPICIOUS * alarm <= density < alarm)

    def expected_distance(self, now: float, place: int, rank: int) -> int:
        """How far from a place its ``rank``-th nearest node is to be expected."""
        reference = self.reference(now, place)
        if reference is None:
            return self.table.expected_distance(rank)
        return int(rank / reference.nodes * reference.volume)
