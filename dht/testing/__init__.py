"""Testing your own program against simulated nodes, in virtual time, with faults on command.

    def test_a_record_survives_a_crash(dht_network):
        nodes = dht_network.run(dht_network.add_nodes, 5)
        dht_network.run(nodes[0].put, "greeting", b"hello")
        dht_network.crash(nodes[0])
        assert dht_network.run(nodes[4].get, "greeting") == b"hello"

``docs/testing.md`` tells all of it. By subject:

==============================  ==============================================================
``SimulatedNetwork``            nodes, faults, time; the fixture ``dht_network`` is one
``History``, ``check``          what was asked and answered, and what of it must not be
``dht.testing.strategies``      keys, records, networks, faults and histories for Hypothesis
``NetworkMachine``              a ``RuleBasedStateMachine`` to extend
==============================  ==============================================================

The strategies and the machine need Hypothesis, and the fixture pytest: ``pip install
'dht[testing]'``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..sim.faults import Crash as Crash
    from ..sim.faults import Cut as Cut
    from ..sim.faults import Fault as Fault
    from ..sim.faults import Partition as Partition
    from ..sim.faults import Silence as Silence
    from ..sim.faults import Skew as Skew
    from ..sim.faults import Suspend as Suspend
    from ..sim.links import WIDE_AREA as WIDE_AREA
    from ..sim.links import LinkModel as LinkModel
    from .history import History as History
    from .history import HistoryViolated as HistoryViolated
    from .history import Operation as Operation
    from .history import Verb as Verb
    from .history import Violation as Violation
    from .history import assert_kept as assert_kept
    from .history import check as check
    from .machine import NetworkMachine as NetworkMachine
    from .network import QUICK_CONFIG as QUICK_CONFIG
    from .network import SimulatedNetwork as SimulatedNetwork
    from .recording import RecordedNode as RecordedNode
    from .topology import Topology as Topology

# Loaded by whoever first asks for it: pytest loads the plugin, and with it this file, in every
# session of everybody who has the package, and most of these tests have nothing to do with it.
_HOMES = {
    "..sim.faults": ("Crash", "Cut", "Fault", "Partition", "Silence", "Skew", "Suspend"),
    "..sim.links": ("WIDE_AREA", "LinkModel"),
    ".history": (
        *("History", "HistoryViolated", "Operation", "Verb", "Violation"),
        *("assert_kept", "check"),
    ),
    ".machine": ("NetworkMachine",),
    ".network": ("QUICK_CONFIG", "SimulatedNetwork"),
    ".recording": ("RecordedNode",),
    ".topology": ("Topology",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [  # noqa: PLE0604 - the names of the table above
    *_HOME_OF,
]


if not TYPE_CHECKING:  # a type checker, who would believe any name now, reads the imports above

    def __getattr__(name: str) -> object:
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(home, __name__), name)
        globals()[name] = value  # asked for once
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
