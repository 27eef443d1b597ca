"""Who comes and who goes: nodes stay for drawn sessions; then newcomers take their places, or they
come back themselves after a while."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import final

from .simulator import SimNode, Simulator

# exponential: the median is ln 2 of the mean
_LN2 = 0.693147


@final
class Churn:
    """From now on nodes come and go; about as many as now are there at any time.

    Sessions are exponential with the given median (a node's age says nothing about what is left,
    as p2psim has it). A node that goes is gone for good, without a word; with ``polite_share`` it
    says good-bye first. Each is replaced by a newcomer at once. ``spare``: these stay.

    ``stop`` ends it; the nodes that are there then stay.
    """

    def __init__(
        self,
        simulator: Simulator,
        *,
        median_session_s: float,
        polite_share: float = 0.0,
        spare: tuple[SimNode, ...] = (),
    ) -> None:
        self.simulator = simulator
        self.mean_session_s = median_session_s / _LN2
        self.polite_share = polite_share
        self.gone = 0
        self._random = Random(f"{simulator.seed} churn")
        self._running = True
        for node in simulator.living():
            if node not in spare:
                self._settle(node)

    def stop(self) -> None:
        """Nobody goes any more."""
        self._running = False

    def _settle(self, node: SimNode) -> None:
        session_s = self._random.expovariate(1 / self.mean_session_s)
        self.simulator.at(self.simulator.now + session_s, partial(self._go, node, node.starts))

    def _go(self, node: SimNode, starts: int) -> None:
        if not self._running or not node.alive or node.starts != starts:
            return
        if self._random.random() < self.polite_share:
            self.simulator.leave(node)
        else:
            self.simulator.crash(node, for_good=True)
        # Only now: whoever goes this instant is nobody to be introduced by. Who was would know one
        # dead address, stay alone for good, and draw those that he introduces after him.
        self._settle(self.simulator.add_node())
        self.gone += 1


@final
class Alternation:
    """From now on each node is there for a while, and then away for a while, without a word.

    Both times are exponential with the same mean, as p2psim has them: half of all are there. Who
    comes back has its old identity and address, and knows one node. ``absent`` further nodes are
    away to begin with. ``stop`` ends it; who is there then stays.
    """

    def __init__(self, simulator: Simulator, *, mean_s: float, absent: int) -> None:
        self.simulator = simulator
        self.mean_s = mean_s
        self._random = Random(f"{simulator.seed} alternation")
        self._running = True
        for node in simulator.living():
            self._after(partial(self._go, node))
        for _ in range(absent):
            self._after(partial(self._come, None))

    def stop(self) -> None:
        """Nobody comes or goes any more."""
        self._running = False

    def _after(self, action: Callable[[], None]) -> None:
        self.simulator.at(self.simulator.now + self._random.expovariate(1 / self.mean_s), action)

    def _go(self, node: SimNode) -> None:
        if self._running and node.alive:
            self.simulator.crash(node)
            self._after(partial(self._come, node))

    def _come(self, node: SimNode | None) -> None:
        if not self._running:
            return
        if node is None:
            node = self.simulator.add_node()
        elif not node.alive:
            self.simulator.restart(node)
        self._after(partial(self._go, node))
