"""A Hypothesis state machine over a simulated network, ready to run and to be extended.

Its rules write, read, break and mend; after each step, and when everything has healed, the history
is checked. A subclass adds rules of its own program, and what must hold of it.
"""

import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from typing import Any, ClassVar, TypeVar, TypeVarTuple

import attrs
import trio

from ..config import Config
from ..errors import NoPeers, QuorumNotReached, VersionConflict
from ..shell.node import Node
from ..sim.links import WIDE_AREA, LinkModel
from .extra import missing_extra
from .history import assert_kept
from .network import QUICK_CONFIG, SimulatedNetwork

try:
    from hypothesis import strategies as st
    from hypothesis.stateful import (
        RuleBasedStateMachine,
        initialize,
        invariant,
        precondition,
        rule,
    )
except ModuleNotFoundError as error:
    raise missing_extra(error) from error

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

#: Drawn numbers stand for nodes and keys, modulo how many there are.
_NUMBERS = st.integers(0, 63)
_SECONDS = st.integers(1, 60)


class NetworkMachine(RuleBasedStateMachine):
    """Puts, gets and deletes on a network that is crashed, cut and healed meanwhile.

    Subclass it: set the class attributes, add rules and invariants that call
    ``self.run(async_fn, *args)``, and extend ``begin`` (when the nodes are there) and ``verify``
    (when everything has healed and settled). Then ``TestIt = YourMachine.TestCase``.
    """

    #: How many nodes there are.
    nodes: ClassVar[int] = 5
    #: What they are told, and the links between them while nothing goes wrong.
    config: ClassVar[Config] = QUICK_CONFIG
    links: ClassVar[LinkModel] = WIDE_AREA
    #: What is written to by the rules here.
    keys: ClassVar[tuple[str, ...]] = ("a", "b", "c")

    network: SimulatedNetwork

    def __init__(self) -> None:
        super().__init__()
        self._puts = 0
        self._open = False

    # ---- to call, and to extend ----

    def run(self, async_fn: Callable[[*_Ts], Awaitable[_T]], *args: *_Ts, **options: Any) -> _T:
        """``SimulatedNetwork.run``."""
        __tracebackhide__ = True
        return self.network.run(async_fn, *args, **options)

    def begin(self) -> None:
        """The nodes are there, and nothing has happened yet."""

    def verify(self) -> None:
        """Everything has healed and settled, and every key was read back. What is read here from
        ``recorded`` nodes is checked afterwards."""

    # ---- the life of a run ----

    @initialize(seed=st.integers(0, 2**16 - 1))
    def open_network(self, seed: int) -> None:
        """A network of its own for each run."""
        self.network = SimulatedNetwork(seed, links=self.links, config=self.config)
        self._open = True
        self.run(self.network.add_nodes, self.nodes)
        self.begin()

    @invariant()
    def nothing_forbidden_happened(self) -> None:
        """What ``dht.testing.check`` says."""
        assert_kept(self.network.history)

    def teardown(self) -> None:
        """Heals, settles, reads back and checks; unless the run has failed already."""
        if not self._open:
            return
        self._open = False
        try:
            if sys.exc_info()[1] is None:
                self._settle()
                self.verify()
                assert_kept(self.network.history)
        finally:
            self.network.close()

    def _settle(self) -> None:
        network = self.network
        for number in range(network.count):
            if not network.is_up(network.node(number)):
                self.run(network.restart, network.node(number))
        self.run(network.settle, timeout_s=inf)  # as long as its config makes that
        for node in network.nodes:
            for key in self.keys:
                self.run(network.recorded(node).get, key)
        assert_kept(network.history)

    # ---- rules ----

    @rule(node=_NUMBERS, key=_NUMBERS)
    def put(self, node: int, key: int) -> None:
        """Stores a value that was never there before."""
        self._puts += 1
        with suppress(NoPeers, QuorumNotReached, VersionConflict):
            recorded = self.network.recorded(self._running(node))
            self.run(recorded.put, self._key(key), b"value %d" % self._puts)

    @rule(node=_NUMBERS, key=_NUMBERS)
    def get(self, node: int, key: int) -> None:
        """Reads; what may come is the checker's business."""
        with suppress(NoPeers):
            self.run(self.network.recorded(self._running(node)).get, self._key(key))

    @rule(node=_NUMBERS, key=_NUMBERS)
    def delete(self, node: int, key: int) -> None:
        """Deletes."""
        with suppress(NoPeers, QuorumNotReached, VersionConflict):
            self.run(self.network.recorded(self._running(node)).delete, self._key(key))

    @precondition(lambda self: len(self.network.nodes) > 1)
    @rule(node=_NUMBERS)
    def crash(self, node: int) -> None:
        """A node dies; the last one stays."""
        self.network.crash(self._running(node))

    @precondition(lambda self: len(self.network.nodes) < self.network.count)
    @rule(node=_NUMBERS)
    def restart(self, node: int) -> None:
        """One that died comes back."""
        network = self.network
        down = [
            network.node(number)
            for number in range(network.count)
            if not network.is_up(network.node(number))
        ]
        self.run(network.restart, down[node % len(down)])

    @rule(far=st.integers(1, 2**16 - 1), one_way=st.booleans())
    def partition(self, far: int, *, one_way: bool) -> None:
        """Two groups do not hear each other any more; the bits of ``far`` say who is where."""
        groups: tuple[list[Node], list[Node]] = ([], [])
        for number, node in enumerate(self.network.nodes):
            groups[far >> number & 1].append(node)
        self.network.partition(*groups, one_way=one_way)

    @rule(percent=st.integers(1, 30))
    def lose(self, percent: int) -> None:
        """So many of a hundred datagrams get lost."""
        self.network.links = attrs.evolve(self.links, loss=percent / 100)

    @rule()
    def heal(self) -> None:
        """Whatever can be mended is; who died stays dead."""
        self.network.heal()

    @rule(seconds=_SECONDS)
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.run(trio.sleep, seconds)

    def _running(self, number: int) -> Node:
        nodes = self.network.nodes
        return nodes[number % len(nodes)]

    def _key(self, number: int) -> str:
        return self.keys[number % len(self.keys)]
