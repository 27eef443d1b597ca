"""What a simulated network knows of each machine: who runs on it, and what outlives a crash."""

from typing import Any

import attrs
import trio

from ..contacts import Address, Introducer
from ..network import Network
from ..shell.node import Node
from .wire import VirtualClock, VirtualPort


@attrs.define(eq=False)
class Life:
    """A node that the network holds, between two crashes."""

    started: trio.Event = attrs.field(factory=trio.Event)
    gone: trio.Event = attrs.field(factory=trio.Event)
    #: What kept it from starting.
    refused: Exception | None = None


@attrs.define(eq=False, kw_only=True)
class Machine:
    """A machine with one node on it. It stays when the node dies, with what is on its disk."""

    number: int
    endpoint: int
    addresses: tuple[Address, ...]
    clock: VirtualClock
    network: Network
    #: None: whoever runs when it starts.
    bootstrap: tuple[Introducer, ...] | None
    #: What ``run_node`` takes besides.
    options: dict[str, Any]
    starts: int = 0
    port: VirtualPort | None = None
    #: Set while it runs, or its block has not ended.
    node: Node | None = None
    #: The task that holds it, if the network does and no block.
    life: Life | None = None

    @property
    def name(self) -> str:
        """What it is called in histories."""
        return f"node {self.number}"

    @property
    def up(self) -> bool:
        """Does its node run?"""
        return self.node is not None and self.port is not None and not self.port.closed
