"""What a simulated network knows of each machine: who runs on it, and what outlives a crash."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import attrs
import trio

from ..config import Config
from ..contacts import Address, Introducer
from ..errors import LocalError
from ..identity import Identity
from ..keyspace import Key
from ..network import Network
from ..shell.node import OVERLAYS, Node
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
    #: Is ``node`` the one of this start, rather than one that has crashed?
    joined: bool = False
    #: The node of its last start that came so far.
    node: Node | None = None
    #: The task that holds it, if the network does and no block.
    life: Life | None = None

    @property
    def name(self) -> str:
        """What it is called in histories."""
        return f"node {self.number}"

    @property
    def id(self) -> Key:
        """The id of its nodes, all of them."""
        identity: Identity = self.options["identity"]
        return identity.id

    @property
    def up(self) -> bool:
        """Does its node run? After a restart it may not have joined yet."""
        return self.node is not None and self.port is not None and not self.port.closed


def refuse_what_cannot_be(
    *, network: Network, overlay: str, identity: object, data_dir: object, config: Config
) -> None:
    """Raises ``LocalError`` for what ``open_node`` refuses, and for what a simulation lacks."""
    if data_dir is not None or not (identity is None or isinstance(identity, Identity)):
        raise LocalError(
            "a simulated node touches no disk: leave data_dir out, and pass identity= a "
            "dht.Identity; restart() brings a node back as who it was"
        )
    if network.is_secret and not config.encrypted:
        raise LocalError("Config(encrypted=False) keeps no secret: leave network_key out")
    if overlay not in OVERLAYS:
        raise LocalError(f"overlay is one of {', '.join(OVERLAYS)}, got {overlay!r}")


def apart(groups: Sequence[Sequence[Machine]]) -> Sequence[Sequence[Machine]]:
    """The groups of a partition. Raises ``LocalError`` for those that part nobody from anybody."""
    if len(groups) == 1:
        raise LocalError(
            "one group is cut off from nobody: name two, or partition([], group) to cut it off "
            "from all others"
        )
    seen: set[int] = set()
    for machine in chain.from_iterable(groups):
        if machine.number in seen:
            raise LocalError(f"{machine.name} is in two places of a partition")
        seen.add(machine.number)
    return groups
