"""Who comes and who goes: nodes stay for drawn sessions, and newcomers take their places."""

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
        self._settle(self.simulator.add_node())
        if self._random.random() < self.polite_share:
            self.simulator.leave(node)
        else:
            self.simulator.crash(node, for_good=True)
        self.gone += 1
