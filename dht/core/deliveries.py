"""Messages that have reached their target: which topics are served here, what waits for an answer.

A sender tries again with the same message id, over another way: the message is delivered once all
the same, and its answer goes back the way that it came by last. So does a copy that somebody on
the way sends again later, for as long as the message is remembered.
"""

from collections.abc import Callable
from typing import Final, final

import attrs

from ..errors import LocalError
from ..keyspace import node_id
from .events import Event, MessageArrived, MessageId
from .sealing import Letter, Verdict, check_payload, check_topic

#: Memory: messages that are known again, with their answers, 1.2 KB each at the most. Threat: a hop
#: that keeps a copy, and sends so many messages of its own that we forget it.
KNOWN_MAX: Final = 2048
#: Memory: messages of one topic that wait for their answer, 2 KB each at the most.
WAITING_PER_TOPIC_MAX: Final = 256
#: Memory: what an application may serve.
TOPICS_MAX: Final = 256

#: Seals an answer and sends it back the way that the message came.
Back = Callable[[float, Verdict, bytes], None]


@attrs.define(eq=False)
class _Delivery:
    topic: str
    #: The way of the newest attempt.
    back: Back
    #: None while it waits.
    answer: tuple[Verdict, bytes] | None = None


@final
@attrs.define(eq=False)
class Deliveries:
    """Delivers each message once, and its answer to every attempt at it."""

    emit: Callable[[Event], None]
    #: How many were delivered.
    delivered: int = attrs.field(default=0, init=False)
    #: Topic -> how many of it wait.
    _topics: dict[str, int] = attrs.field(factory=dict, init=False)
    #: (public key of the sender, message id) -> the delivery, the oldest first.
    _known: dict[bytes, _Delivery] = attrs.field(factory=dict, init=False)
    _waiting: dict[MessageId, _Delivery] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        """How many wait for their answer."""
        return len(self._waiting)

    def serve_topic(self, topic: str) -> None:
        """From now on messages of this topic are delivered. Raises ``LocalError`` if they are."""
        check_topic(topic)
        if topic in self._topics:
            raise LocalError(
                f"topic {topic!r} is served by this node already; one server for each topic, "
                "leave the other one first or choose another topic"
            )
        if len(self._topics) >= TOPICS_MAX:
            raise LocalError(f"{TOPICS_MAX} topics are served, the most there may be: {topic!r}")
        self._topics[topic] = 0

    def unserve_topic(self, now: float, topic: str) -> None:
        """No more; those that still wait for an answer get none. Idempotent."""
        if self._topics.pop(topic, None) is None:
            return
        for message_id, delivery in list(self._waiting.items()):
            if delivery.topic == topic:
                del self._waiting[message_id]
                self._answer(now, delivery, Verdict.FAILED, b"")

    def arrived(self, now: float, sender: bytes, letter: Letter, back: Back) -> None:
        """A message was read; ``sender`` is the public key that sealed it."""
        place = sender + letter.message_id
        known = self._known.get(place)
        if known is not None:
            known.back = back
            if known.answer is not None:
                back(now, *known.answer)
            return
        waiting = self._topics.get(letter.topic)
        if waiting is None:
            back(now, Verdict.NO_SERVER, b"")
            return
        if waiting >= WAITING_PER_TOPIC_MAX:
            back(now, Verdict.BUSY, b"")
            return
        self._topics[letter.topic] = waiting + 1
        self._known[place] = delivery = _Delivery(letter.topic, back)
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]
        self.delivered += 1
        message_id = MessageId(self.delivered)
        self._waiting[message_id] = delivery
        self.emit(MessageArrived(message_id, letter.topic, node_id(sender), letter.payload))

    def answer(self, now: float, message_id: MessageId, payload: bytes) -> None:
        """The application's answer; once it is given, or its topic served no more, nothing happens.
        Raises ``LocalError`` or ``ValueTooLarge`` for one that cannot travel."""
        check_payload(payload)
        delivery = self._waiting.pop(message_id, None)
        if delivery is not None:
            self._topics[delivery.topic] -= 1
            self._answer(now, delivery, Verdict.ANSWERED, payload)

    def _answer(self, now: float, delivery: _Delivery, verdict: Verdict, payload: bytes) -> None:
        delivery.answer = (verdict, payload)
        delivery.back(now, verdict, payload)
