"""Every exception of the package. The class says who is at fault.

``LocalError`` is a mistake of the caller, ``RemoteError`` one of a peer, ``InternalError`` one of
ours; the others say what the network did. Not finding a record is none of them: it is an outcome.
"""

from collections.abc import Mapping
from typing import Any


class DHTError(Exception):
    """The root of every exception of this package; never raised itself."""


class LocalError(DHTError, ValueError):
    """You asked for something that cannot be: the message shows the value and what to do."""


class ValueTooLarge(LocalError):
    """The value is longer than ``Config.value_size_max``."""


class NodeClosed(LocalError):
    """The node's ``async with`` block has ended: nothing can be asked of it any more."""


class RemoteError(DHTError):
    """A peer sent something that the protocol forbids. Never escapes from a running node."""


class NoPeers(DHTError):
    """Nobody answered. The message names what was tried; the node itself goes on trying."""


class QuorumNotReached(DHTError):
    """Fewer owners took (or held) the record than the quorum asks for.

    ``outcome`` is the ``PutOutcome`` or ``GetOutcome`` with everything that is known; copies that
    were stored stay stored. From ``put_many`` it is the first failed one, and ``outcomes`` maps
    every key that was given to what became of it.
    """

    def __init__(
        self, message: str, outcome: Any, outcomes: Mapping[Any, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.outcomes = outcomes

    def __reduce__(self) -> tuple[Any, ...]:  # errors cross processes, in tests at least
        return type(self), (self.args[0], self.outcome, self.outcomes)


class VersionConflict(DHTError):
    """``if_version`` did not match what an owner holds; nothing is retried by itself.

    ``outcome`` is the ``PutOutcome``; ``newest`` the newest ``Record`` that was seen, or None
    when an owner holds nothing where a version was expected.
    """

    def __init__(self, message: str, outcome: Any, newest: Any) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.newest = newest

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.outcome, self.newest)


class InternalError(DHTError):
    """The fault is ours: please report it, with the ``__cause__``."""
