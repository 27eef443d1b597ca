"""The registry's own test, as its author would write it: pytest examples/test_service_registry.py

Whatever happens to the network for half a minute, when it is over every instance is listed again.
"""

from collections.abc import Callable

from hypothesis import given, settings

from dht.testing import Fault, Partition, Silence, SimulatedNetwork, strategies
from examples.service_registry import Registry

NODES = 3
FAULTS_S = 30.0
# A crash ends the program that keeps an instance, so it says nothing about the registry.
FAULTS = strategies.fault_schedules(NODES, FAULTS_S, kinds=[Partition, Silence], faults_max=3)


def check_instances_come_back(
    network: SimulatedNetwork, faults: tuple[Fault, ...], kind: type[Registry] = Registry
) -> None:
    """Two instances are kept while all this happens; both are listed when it is over."""
    first, second, client = network.run(network.add_nodes, NODES)
    network.start_soon(kind(first).keep, "printer", "192.0.2.7:631")
    network.start_soon(kind(second).keep, "printer", "192.0.2.8:631")
    network.run(network.play, faults)
    network.run(network.settle)
    listed = network.run(kind(client).instances, "printer")
    assert listed == ["192.0.2.7:631", "192.0.2.8:631"]


@settings(deadline=None, max_examples=20)
@given(faults=FAULTS)
def test_instances_come_back(
    dht_networks: Callable[[], SimulatedNetwork], faults: tuple[Fault, ...]
) -> None:
    with dht_networks() as network:
        check_instances_come_back(network, faults)
