"""The reads of a scenario in a static model: tables, greedy routing, and nothing else.

A model has no records: a read is a message to the node that a record fell to, drawn among those
that live. So its success is that of routing alone.
"""

from random import Random
from typing import final

import attrs
import numpy as np

from .geometries import Geometry, build, random_deaths, route
from .nearest import every_id, random_ids
from .scenario import Overlay, Scenario
from .workload import drawn_reads, zipf_shares

_GEOMETRIES = {
    Overlay.TREE: Geometry.TREE,
    Overlay.RING: Geometry.RING,
    Overlay.HYPERCUBE: Geometry.HYPERCUBE,
    Overlay.XOR: Geometry.XOR,
}
#: Of ids: so many that a million random ones lie far apart.
ID_BITS = 40


@final
@attrs.frozen(kw_only=True)
class Routed:
    """How many messages arrived, and the hops of those in the mean; None if none did."""

    arrived: int
    hops: float | None


def route_reads(scenario: Scenario, seed: int) -> Routed:
    """Routes them all."""
    geometry, tables = _GEOMETRIES[scenario.kind], scenario.tables()
    generator = np.random.default_rng([seed, list(Geometry).index(geometry)])
    if geometry is Geometry.HYPERCUBE:
        # Its neighbours differ in one bit alone: they are there only where every id is taken.
        bits = scenario.nodes.bit_length() - 1
        ids = every_id(bits)
    else:
        bits = ID_BITS
        ids = random_ids(scenario.nodes, bits, generator)
    network = build(
        geometry,
        ids,
        bits,
        generator,
        bucket=tables.bucket,
        sequential=tables.sequential if geometry is Geometry.RING else 0,
    )
    alive = random_deaths(network.size, scenario.faults.dead, generator)
    living = np.flatnonzero(alive).astype(np.int32)
    work = scenario.workload
    owners = generator.integers(len(living), size=work.records)
    read = drawn_reads(zipf_shares(work.records, work.zipf), work.reads, Random(f"{seed} reads"))
    targets = owners[read]
    # Anybody else: a node does not route to itself.
    sources = (targets + generator.integers(1, len(living), size=work.reads)) % len(living)
    routes = route(
        network, living[sources], living[targets], alive=alive, backtracks=tables.backtracks
    )
    arrived = int(routes.arrived.sum())
    return Routed(
        arrived=arrived, hops=float(routes.hops[routes.arrived].mean()) if arrived else None
    )
