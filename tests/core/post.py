"""A network in which nodes send each other messages: servers of topics, and what they were told."""

from collections.abc import Callable
from typing import TypeVar

import attrs

from dht.contacts import Address
from dht.core.channel.plain import PlainChannel
from dht.core.events import MessageArrived, OperationFinished
from dht.core.outcomes import Reply
from dht.errors import RemoteError
from dht.wire.codec import decode_untrusted
from dht.wire.messages import Message, Returned, Route
from tests.core.pair import Net, Peer, Stranger

_Any = TypeVar("_Any")
Server = Callable[[bytes], bytes | None]


@attrs.define(eq=False)
class Post(Net):
    """``Net`` whose peers answer messages at once; a server that says None never answers."""

    _servers: dict[tuple[int, str], Server] = attrs.field(factory=dict)
    #: Every message that was delivered, and to whom.
    delivered: list[tuple[Peer, MessageArrived]] = attrs.field(factory=list)

    def serve(
        self, peer: Peer, topic: str = "", server: Server = lambda payload: payload[::-1]
    ) -> None:
        peer.engine.serve_topic(topic)
        self._servers[peer.contact.id, topic] = server

    def poll(self, peer: Peer) -> None:
        before = len(peer.events)
        super().poll(peer)
        for event in peer.events[before:]:
            if isinstance(event, MessageArrived):
                self.delivered.append((peer, event))
                answer = self._servers[peer.contact.id, event.topic](event.payload)
                if answer is not None:
                    peer.engine.answer_message(self.now, event.message_id, answer)
                    super().poll(peer)

    def post(
        self, sender: Peer, to: Peer | Stranger, payload: bytes = b"hello", **options: object
    ) -> OperationFinished:
        """Sends one message, and waits until that has ended."""
        return self.run(
            sender,
            lambda engine, now: engine.start_send(
                now,
                to.contact.id,
                payload,
                **options,  # type: ignore[arg-type]
            ),
        )

    def sent(self, kind: type[_Any], *, since: int = 0) -> list[tuple[Address, Address, _Any]]:
        """The messages of a type that went over the wire: from, to, what."""
        found = []
        for _, source, target, data in self.log[since:]:
            message = message_of(data)
            if isinstance(message, kind):
                found.append((source, target, message))
        return found


def message_of(data: bytes) -> Message | None:
    """What a plain datagram says."""
    opened = PlainChannel(bytes(32)).receive(0.0, data, data[:6])  # type: ignore[arg-type]
    if opened is None:
        return None
    try:
        return decode_untrusted(opened.payload)[1]
    except RemoteError:
        return None


def is_route(data: bytes) -> bool:
    return isinstance(message_of(data), Route)


def is_returned(data: bytes) -> bool:
    return isinstance(message_of(data), Returned)


def reply_of(finished: OperationFinished) -> Reply:
    """The answer; raises the error that the operation ended with."""
    if finished.error is not None:
        raise finished.error
    assert isinstance(finished.outcome, Reply)
    return finished.outcome
