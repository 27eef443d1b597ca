"""What the application can hear from the engine. Frozen values."""

from typing import NewType, final

import attrs

from ..contacts import Contact, Introducer, to_base32
from ..errors import DHTError
from ..keyspace import Key
from ..records import Kind
from .outcomes import Outcome

OperationId = NewType("OperationId", int)
MessageId = NewType("MessageId", int)


@final
@attrs.frozen
class OperationFinished:
    """A ``start_*`` ended, exactly once: with an outcome or with an error, never with both."""

    operation_id: OperationId
    outcome: Outcome | None = None
    error: DHTError | None = None


@final
@attrs.frozen
class Joined:
    """The node is part of a network; again after every outage of its own link."""

    contacts: int


@final
@attrs.frozen
class JoinFailed:
    """An attempt to join got no answer. The next one starts by itself after ``retry_in_s``."""

    tried: tuple[Introducer, ...]
    retry_in_s: float


@final
@attrs.frozen
class Alone:
    """Nobody answers any more: our own link is down, or everybody is gone. The table is kept."""


@final
@attrs.frozen
class Identified:
    """A node of which only the ``host:port`` was given has proved who it is."""

    where: str
    contact: Contact


@final
@attrs.frozen
class KeyChanged:
    """At a ``host:port`` another key answers than before, and is not taken: that may be a node that
    was set up anew, or somebody in its place."""

    where: str
    remembered: bytes
    found: bytes

    def __str__(self) -> str:
        return (
            f"{self.where} has the key {to_base32(self.found)} now, and had "
            f"{to_base32(self.remembered)} before"
        )


@final
@attrs.frozen
class PeerAdded:
    contact: Contact


@final
@attrs.frozen
class PeerRemoved:
    contact: Contact


@final
@attrs.frozen
class RecordStored:
    """This node has taken a version of a record into its store."""

    kind: Kind
    key: Key
    version: int


@final
@attrs.frozen
class MessageArrived:
    """Somebody has sent this node a message; ``Engine.answer_message`` answers it."""

    message_id: MessageId
    topic: str
    #: The sender's id, proved: only he can have written it.
    sender: Key
    payload: bytes = attrs.field(repr=False)


@final
@attrs.frozen
class AddressChanged:
    """Peers in three subnets see this node at another address than it was known by."""

    contact: Contact


@final
@attrs.frozen
class ReachabilityChanged:
    """It is known now whether strangers reach this node, or it serves now and did not before."""

    #: "unknown", "yes" or "no".
    reachable: str
    #: Does it keep records for others? One that is not reached is a client.
    serving: bool


Event = (
    OperationFinished
    | Joined
    | JoinFailed
    | Alone
    | Identified
    | KeyChanged
    | PeerAdded
    | PeerRemoved
    | RecordStored
    | MessageArrived
    | AddressChanged
    | ReachabilityChanged
)
