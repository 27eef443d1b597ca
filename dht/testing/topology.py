"""A network as a value, to be drawn, printed and shrunk; it is built in one call."""

from typing import final

import attrs

from ..errors import LocalError
from ..shell.node import OVERLAYS, Node
from ..sim.links import WIDE_AREA, LinkModel
from .network import SimulatedNetwork


@final
@attrs.frozen(kw_only=True)
class Topology:
    """How many nodes there are, of which so many only ask; where they live, and what lies between
    them. Raises ``LocalError`` for what is no network."""

    nodes: int
    clients: int = 0
    overlay: str = "structured"
    links: LinkModel = WIDE_AREA

    def __attrs_post_init__(self) -> None:
        if self.nodes < 1 or not 0 <= self.clients < self.nodes or self.overlay not in OVERLAYS:
            raise LocalError(
                "a topology has at least one node that serves, and an overlay that is one of "
                f"{', '.join(OVERLAYS)}; got {self}"
            )

    async def build(self, network: SimulatedNetwork) -> list[Node]:
        """Sets the links of a network, and adds the nodes to it, those that serve first."""
        network.links = self.links
        serving = self.nodes - self.clients
        return [
            *await network.add_nodes(serving, overlay=self.overlay),
            *await network.add_nodes(self.clients, overlay=self.overlay, client=True),
        ]
