"""Which published results can be made again: names and papers, and where their code is.

Light on purpose: listing them loads neither numpy nor a single scenario; ``loading`` does.
"""

from collections.abc import Callable
from typing import final

import attrs

from ..errors import LocalError

#: Told how much is done, from 0 to 1. May raise to stop the work.
Progress = Callable[[float], None]


@final
@attrs.frozen(kw_only=True)
class Scenario:
    """One paper whose figures we make again."""

    name: str
    title: str
    paper: str

    @property
    def module(self) -> str:
        """The name of its file: what Python allows of its own."""
        return self.name.replace(".", "_").replace("-", "_")


CHORD = Scenario(
    name="chord2001",
    title="Load, path length and failures of a ring with fingers",
    paper="Stoica, Morris, Karger, Kaashoek, Balakrishnan: Chord. SIGCOMM 2001",
)
GUMMADI = Scenario(
    name="gummadi2003",
    title="Static resilience of four routing geometries, 65,536 nodes",
    paper="Gummadi, Gummadi, Gribble, Ratnasamy, Shenker, Stoica: The impact of DHT routing "
    "geometry on resilience and proximity. SIGCOMM 2003",
)
HASHING = Scenario(
    name="hashing-balance",
    title="Balance and moved keys of six ways to hash consistently",
    paper="Lamping, Veach: A fast, minimal memory, consistent hash algorithm. 2014; "
    "Eisenbud et al.: Maglev. NSDI 2016",
)
HYPARVIEW = Scenario(
    name="hyparview2007",
    title="Broadcasts on two membership overlays after a crash, 10,000 nodes",
    paper="Leitao, Pereira, Rodrigues: HyParView, a membership protocol for reliable gossip-based "
    "broadcast. DSN 2007",
)
LI = Scenario(
    name="li2005",
    title="Bytes against latency of lookups under churn, 1,024 nodes of our engine",
    paper="Li, Stribling, Morris, Kaashoek, Gil: A performance vs. cost framework for evaluating "
    "DHT design tradeoffs under churn. INFOCOM 2005",
)
LV = Scenario(
    name="lv2002",
    title="Flooding, expanding ring and random walkers on four topologies",
    paper="Lv, Cao, Cohen, Li, Shenker: Search and replication in unstructured peer-to-peer "
    "networks. ICS 2002",
)
PROVIDE = Scenario(
    name="optimistic-provide",
    title="Time to publish, and who still holds a record hours later, on our engine",
    paper="Trautwein et al.: Optimistic Provide. INFOCOM 2024; ProbeLab: RFM 17, provider record "
    "liveness. 2022",
)
RFM = Scenario(
    name="rfm19.1",
    title="Hops of a Kademlia lookup by bucket size, 25,000 nodes",
    paper="ProbeLab: RFM 19.1, Kademlia and balanced buckets. 2023",
)
RHEA = Scenario(
    name="rhea2004",
    title="Consistency, latency and bytes by how long nodes stay, 1,000 nodes of our engine",
    paper="Rhea, Geels, Roscoe, Kubiatowicz: Handling churn in a DHT. USENIX 2004",
)
SKADEMLIA = Scenario(
    name="skademlia2007",
    title="Lookups over disjoint paths among adversaries, 10,000 nodes",
    paper="Baumgart, Mies: S/Kademlia. P2P-NVE 2007",
)

SCENARIOS: dict[str, Scenario] = {
    each.name: each
    for each in (CHORD, GUMMADI, HASHING, HYPARVIEW, LI, LV, PROVIDE, RFM, RHEA, SKADEMLIA)
}


def scenario_named(name: str) -> Scenario:
    """The scenario of that name. Raises ``LocalError`` that tells which there are."""
    if name not in SCENARIOS:
        raise LocalError(
            f"nothing to reproduce is named {name!r}; there are: {', '.join(SCENARIOS)}"
        )
    return SCENARIOS[name]
