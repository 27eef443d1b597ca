"""A Kademlia-style distributed hash table, to embed, to test against and to look inside.

    async with dht.open_node("0.0.0.0:4000", bootstrap=[uri]) as node:
        await node.put("greeting", b"hello")
        assert await node.get("greeting") == b"hello"

Where things are, from the bottom up; an import points down, never up:

====================================  ============================================================
``dht.errors``, ``dht.config``        every exception, every knob
``dht.keyspace``, ``dht.identity``,   what the values mean: keys and distances, who a node is, who
``dht.author``, ``dht.contacts``,     writes, how to reach a node, what is stored and which of two
``dht.records``                       is newer
``dht.wire``                          bytes <-> messages
``dht.core``                          one node without I/O: the ``Engine`` and its machines
``dht.sim``                           many of them in virtual time
``dht.shell``                         sockets, clocks and trio: ``open_node`` and ``Node``
``dht.testing``                       simulated nodes for the tests of your own program
====================================  ============================================================
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .config import Config as Config
from .contacts import Contact as Contact
from .core.outcomes import GetOutcome as GetOutcome
from .core.outcomes import LookupOutcome as LookupOutcome
from .core.outcomes import Members as Members
from .core.outcomes import PutOutcome as PutOutcome
from .core.outcomes import Trace as Trace
from .core.via import Flood as Flood
from .core.via import Index as Index
from .core.via import Structured as Structured
from .core.via import Walk as Walk
from .errors import DHTError as DHTError
from .errors import InternalError as InternalError
from .errors import LocalError as LocalError
from .errors import NodeClosed as NodeClosed
from .errors import NoPeers as NoPeers
from .errors import QuorumNotReached as QuorumNotReached
from .errors import RemoteError as RemoteError
from .errors import ValueTooLarge as ValueTooLarge
from .errors import VersionConflict as VersionConflict
from .identity import Identity as Identity
from .keyspace import Key as Key
from .records import Kind as Kind
from .records import Record as Record

if TYPE_CHECKING:
    from .shell.author import Author as Author
    from .shell.node import Node as Node
    from .shell.node import open_node as open_node
    from .shell.stats import Stats as Stats
    from .shell.stream import EventsLost as EventsLost

__all__ = [
    "Author",
    "Config",
    "Contact",
    "DHTError",
    "EventsLost",
    "Flood",
    "GetOutcome",
    "Identity",
    "Index",
    "InternalError",
    "Key",
    "Kind",
    "LocalError",
    "LookupOutcome",
    "Members",
    "NoPeers",
    "Node",
    "NodeClosed",
    "PutOutcome",
    "QuorumNotReached",
    "Record",
    "RemoteError",
    "Stats",
    "Structured",
    "Trace",
    "ValueTooLarge",
    "VersionConflict",
    "Walk",
    "open_node",
]

# What runs a node is loaded by whoever first asks for it (PEP 562): it brings trio and the engine,
# two thirds of the time that all of it takes, and a program that only handles keys, records and
# errors, or prints its help, has no use for them.
_LOADED_WHEN_ASKED_FOR = {
    "Author": "shell.author",
    "EventsLost": "shell.stream",
    "Node": "shell.node",
    "Stats": "shell.stats",
    "open_node": "shell.node",
}


if not TYPE_CHECKING:  # a type checker, who would believe any name now, reads the imports above

    def __getattr__(name: str) -> object:
        module = _LOADED_WHEN_ASKED_FOR.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(f".{module}", __name__), name)
        globals()[name] = value  # asked for once
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LOADED_WHEN_ASKED_FOR})
