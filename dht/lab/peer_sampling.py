"""Membership in cycles: Cyclon and HyParView as their papers simulate them, and broadcasts on them.

Nodes are numbers. In one cycle each node that lives does its part once, in random order, and an
exchange takes no time. Who asks a dead node finds out that it is. Our own
engine speaks a Cyclon with a few more rules (``core.unstructured.view``); this is the plain one.

Both have the same calls: ``cycle``, ``crash``, ``broadcast``, ``copy``.
"""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple, final

import attrs
import numpy as np
import numpy.typing as npt


class Spread(NamedTuple):
    """What a broadcast came to: the share of those that live, and the hops to the last of them."""

    reliability: float
    hops: int


def _all_live(count: int) -> bytearray:
    return bytearray(b"\1") * count


@final
@attrs.define(eq=False)
class Cyclon:
    """Voulgaris, Gavidia, van Steen 2005, with the gossip of HyParView's paper on top of it.

    ``acknowledged``: whoever gossips to a dead node strikes it from its view (CyclonAcked there).
    Invariant: nobody is in its own view, and no view has more than ``size`` entries.
    """

    views: list[dict[int, int]] = attrs.field(repr=False)
    size: int
    exchange: int
    random: Random
    alive: bytearray = attrs.field(repr=False)
    acknowledged: bool = False
    now: int = 0

    @classmethod
    def grown(cls, nodes: int, size: int, exchange: int, random: Random) -> "Cyclon":
        """Everybody begins with some of those who came before it. The entries of a view say in
        which cycle their node gave them out: an age that no cycle has to count up."""
        views: list[dict[int, int]] = []
        for node in range(nodes):
            known = random.sample(range(node), min(size, node))
            views.append(dict.fromkeys(known, 0))
        for node in range(size + 1):  # the first few, who had nobody to begin with
            for other in random.sample(range(nodes), min(2 * size, nodes)):
                if other != node and len(views[node]) < size:
                    views[node].setdefault(other, 0)
        return cls(views, size, exchange, random, _all_live(nodes))

    def copy(self) -> "Cyclon":
        """The same network, which goes its own way from now on."""
        views = [dict(view) for view in self.views]
        return attrs.evolve(self, views=views, alive=bytearray(self.alive))

    def crash(self, nodes: Sequence[int]) -> None:
        """They stop, without a word."""
        for node in nodes:
            self.alive[node] = 0

    def living(self) -> list[int]:
        """Who lives, in order."""
        return [node for node, lives in enumerate(self.alive) if lives]

    def cycle(self) -> None:
        """Everybody shuffles once."""
        self.now += 1
        order = self.living()
        self.random.shuffle(order)
        for node in order:
            self._shuffle(node)

    def _shuffle(self, node: int) -> None:
        """Asks its oldest neighbour, which leaves the view whether it answers or not."""
        view = self.views[node]
        if not view:
            return
        oldest = min(view, key=view.__getitem__)
        del view[oldest]
        if not self.alive[oldest]:
            return
        sample, other = self.random.sample, self.views[oldest]
        given = sample(list(view), min(self.exchange - 1, len(view)))
        returned = sample(list(other), min(self.exchange, len(other)))
        ages = [(each, other[each]) for each in returned]
        self._merge(oldest, [(node, self.now), *((each, view[each]) for each in given)], returned)
        self._merge(node, ages, given)

    def _merge(self, node: int, entries: list[tuple[int, int]], given: list[int]) -> None:
        """Takes what is new: into free places, then into those of what it gave away."""
        view = self.views[node]
        for other, born in entries:
            if other == node or other in view:
                continue
            while len(view) >= self.size and given:
                view.pop(given.pop(), None)
            if len(view) >= self.size:
                return
            view[other] = born

    def broadcasts(
        self, sources: Sequence[int], fanout: int, generator: np.random.Generator
    ) -> list[Spread]:
        """One message from each of the sources, one after the other; no shuffle in between."""
        table = np.full((len(self.views), self.size), -1, dtype=np.int32)
        for node, view in enumerate(self.views):
            table[node, : len(view)] = list(view)
        alive = np.frombuffer(bytes(self.alive), dtype=np.bool_)
        spreads = [self._gossip(table, alive, each, fanout, generator) for each in sources]
        if self.acknowledged:
            for node, kept in enumerate(table.tolist()):
                view = self.views[node]
                self.views[node] = {each: view[each] for each in kept if each >= 0}
        return spreads

    def _gossip(
        self,
        table: npt.NDArray[np.int32],
        alive: npt.NDArray[np.bool_],
        source: int,
        fanout: int,
        generator: np.random.Generator,
    ) -> Spread:
        """Who hears it for the first time passes it on to ``fanout`` of its view, by chance."""
        heard = np.zeros(len(table), dtype=np.bool_)
        heard[source] = True
        front, hops = np.array([source]), 0
        while True:
            views = table[front]
            lots = generator.random(views.shape, dtype=np.float32)
            lots[views < 0] = 2
            chosen = np.argpartition(lots, fanout - 1, axis=1)[:, :fanout]
            targets = np.take_along_axis(views, chosen, axis=1)
            real = targets >= 0
            dead = real & ~alive[targets]
            if self.acknowledged:
                rows, places = np.nonzero(dead)
                table[front[rows], chosen[rows, places]] = -1
            reached = np.unique(targets[real & ~dead])
            front = reached[~heard[reached]]
            if not len(front):
                return Spread(float(heard.sum() / alive.sum()), hops)
            heard[front] = True
            hops += 1


# ---------------------------------------------------------------------------------------- HyParView


@attrs.frozen(kw_only=True)
class HyParViewSizes:
    """The paper's, section 5.1: views, lengths of random walks, and what a shuffle exchanges."""

    active: int = 5
    passive: int = 30
    walk: int = 6
    #: Steps before its end at which a newcomer's walk leaves it in a passive view.
    walk_passive: int = 3
    shuffled_active: int = 3
    shuffled_passive: int = 4


@final
@attrs.define(eq=False)
class HyParView:
    """Leitao, Pereira, Rodrigues 2007: few neighbours over which all is sent, many in reserve.

    Invariants: neighbours among the living are mutual; nobody is its own neighbour; nobody is in
    both views of a node; neither view is larger than it may be.
    """

    sizes: HyParViewSizes
    random: Random
    active: list[list[int]] = attrs.field(repr=False)
    passive: list[list[int]] = attrs.field(repr=False)
    alive: bytearray = attrs.field(repr=False)
    #: Not of the paper: who has too few neighbours and nobody in reserve joins again next cycle, at
    #: any node that lives, as somebody from outside can tell it.
    rejoins: bool = False
    # By source: what a broadcast comes to, as long as no view changes.
    _settled: dict[int, Spread] = attrs.field(init=False, repr=False, factory=dict)

    @classmethod
    def grown(cls, nodes: int, sizes: HyParViewSizes, random: Random) -> "HyParView":
        """They join one after the other, each at one of those before it."""
        active: list[list[int]] = [[] for _ in range(nodes)]
        passive: list[list[int]] = [[] for _ in range(nodes)]
        network = cls(sizes, random, active, passive, _all_live(nodes))
        for node in range(1, nodes):
            network._join(node, random.randrange(node))
        return network

    def copy(self) -> "HyParView":
        """The same network, which goes its own way from now on."""
        return attrs.evolve(
            self,
            active=[list(view) for view in self.active],
            passive=[list(view) for view in self.passive],
            alive=bytearray(self.alive),
        )

    def crash(self, nodes: Sequence[int], *, noticed: bool = False) -> None:
        """They stop, without a word. ``noticed``: the connections to them break, and who had one
        looks for somebody else at once."""
        self._settled = {}
        for node in nodes:
            self.alive[node] = 0
        if not noticed:
            return
        left = self.living()
        self.random.shuffle(left)
        for node in left:
            self.active[node] = [each for each in self.active[node] if self.alive[each]]
        for node in left:
            self._fill(node)

    def living(self) -> list[int]:
        """Who lives, in order."""
        return [node for node, lives in enumerate(self.alive) if lives]

    def cycle(self) -> None:
        """Everybody shuffles once, and looks for neighbours where it has too few."""
        order = self.living()
        self.random.shuffle(order)
        for node in order:
            self._shuffle(node)
            self._fill(node)
            few = len(self.active[node]) < self.sizes.active
            if self.rejoins and few and not self.passive[node]:
                self._join(node, self.random.choice(order))

    def broadcast(self, source: int) -> Spread:
        """Everybody passes it on to all its neighbours but the one that it came from.

        Who meets a dead one replaces it at once, but does not send the message again: what is lost
        is the price of finding out.
        """
        if source in self._settled:
            return self._settled[source]
        heard = {source}
        front, hops, met_dead = [(source, source)], 0, False
        while front:
            following: list[tuple[int, int]] = []
            for node, sender in front:
                for other in tuple(self.active[node]):
                    if not self.alive[other]:
                        met_dead = True
                        self._replace(node, other)
                    elif other != sender and other not in heard:
                        heard.add(other)
                        following.append((other, node))
            front, hops = following, hops + bool(following)
        spread = Spread(len(heard) / sum(self.alive), hops)
        if not met_dead:  # so the same nodes hear whatever any of them sends
            self._settled.update(dict.fromkeys(heard, spread))
        return spread

    # ---- who is a neighbour ----

    def _join(self, node: int, contact: int) -> None:
        self._link(node, contact)
        for other in tuple(self.active[contact]):
            if other != node and self.alive[other]:
                self._walk_newcomer(node, at=other, sender=contact)

    def _walk_newcomer(self, node: int, *, at: int, sender: int) -> None:
        """Where its walk ends it gets a neighbour; on the way somebody remembers it. It goes to
        nobody dead: whoever would send it there sees the connection broken, and takes another."""
        for left in range(self.sizes.walk, -1, -1):
            onward = [
                each for each in self.active[at] if each not in (sender, node) and self.alive[each]
            ]
            if not left or not onward:
                break
            if left == self.sizes.walk_passive:
                self._remember(at, node)
            sender, at = at, self.random.choice(onward)
        self._link(node, at)

    def _link(self, one: int, other: int) -> None:
        """Two become neighbours; where there is no room, somebody loses its place."""
        if one == other or other in self.active[one]:
            return
        self._settled = {}
        for node, new in ((one, other), (other, one)):
            view, reserve = self.active[node], self.passive[node]
            if len(view) >= self.sizes.active:
                self._part(node, self.random.choice(view))
            if new in reserve:
                reserve.remove(new)
            view.append(new)

    def _part(self, node: int, other: int) -> None:
        """Neighbours no more; each keeps the other in reserve, unless that one is dead."""
        self._settled = {}
        self.active[node].remove(other)
        if self.alive[other]:
            self.active[other].remove(node)
            self._remember(other, node)
            self._remember(node, other)

    def _replace(self, node: int, dead: int) -> None:
        self._settled = {}
        self.active[node].remove(dead)
        self._fill(node)

    def _fill(self, node: int) -> None:
        """Asks those in reserve, each once. One that is full says no, unless we have nobody."""
        view, reserve = self.active[node], self.passive[node]
        if len(view) >= self.sizes.active:
            return
        for other in self.random.sample(reserve, len(reserve)):
            if not self.alive[other]:
                reserve.remove(other)
            elif not view or len(self.active[other]) < self.sizes.active:
                self._link(node, other)
                if len(view) >= self.sizes.active:
                    return

    def _remember(self, node: int, other: int, given: list[int] | None = None) -> None:
        """Into the reserve; in place of something that was given away, or else of anything."""
        reserve = self.passive[node]
        if other == node or other in reserve or other in self.active[node]:
            return
        while len(reserve) >= self.sizes.passive and given:
            if (loses := given.pop()) in reserve:
                reserve.remove(loses)
        if len(reserve) >= self.sizes.passive:
            reserve.remove(self.random.choice(reserve))
        reserve.append(other)

    # ---- shuffling ----

    def _shuffle(self, node: int) -> None:
        """A sample of both views walks to somebody far, who gives as many in return."""
        random, sizes = self.random, self.sizes
        neighbours, reserve = self.active[node], self.passive[node]
        given = random.sample(neighbours, min(sizes.shuffled_active, len(neighbours)))
        spare = random.sample(reserve, min(sizes.shuffled_passive, len(reserve)))
        end = self._walk(node)
        if end == node:
            return
        theirs = self.passive[end]
        returned = random.sample(theirs, min(1 + len(given) + len(spare), len(theirs)))
        replaceable = list(returned)
        for other in (node, *given, *spare):
            self._remember(end, other, replaceable)
        for other in returned:
            self._remember(node, other, spare)

    def _walk(self, node: int) -> int:
        """Where a random walk ends; whoever meets a dead neighbour on it replaces that one."""
        at, sender = node, node
        for _ in range(self.sizes.walk):
            onward = [each for each in self.active[at] if each != sender]
            while onward and not self.alive[chosen := self.random.choice(onward)]:
                self._replace(at, chosen)
                onward = [each for each in self.active[at] if each != sender]
            if not onward:
                break
            at, sender = chosen, at
        return at
