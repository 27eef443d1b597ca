"""Serving a topic: each message runs a handler in the task that called ``Node.serve``."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import final

import trio

from ..core.events import MessageArrived
from ..errors import LocalError
from ..keyspace import Key
from .pump import Pump

#: Answers one message: given its payload and its sender's id.
Handler = Callable[[bytes, Key], Awaitable[bytes]]
#: Handlers of one topic at once. Threat: messages that keep them all busy; guess.
LIMIT_MAX = 10_000


@final
class TopicServer:
    """The messages of one topic that wait, and the handlers under way."""

    def __init__(self, pump: Pump, topic: str, handler: Handler, limit: int) -> None:
        self._pump = pump
        self._topic = topic
        self._handler = handler
        self._limit = limit
        # Bounded by the engine, which lets only so many wait for their answer.
        self._waiting: deque[MessageArrived] = deque()
        self._came = trio.Event()
        self._closed = False
        self._failed: Exception | None = None

    def arrived(self, message: MessageArrived) -> None:
        """See ``pump.Server``."""
        self._waiting.append(message)
        self._came.set()

    def close(self) -> None:
        """See ``pump.Server``."""
        self._closed = True
        self._came.set()

    async def run(self) -> None:
        """Serves until it is cancelled. Raises what a handler raised, as it was raised; and
        ``NodeClosed`` when the node ends."""
        self._pump.serve_topic(self._topic, self)
        try:
            async with trio.open_nursery() as nursery:
                await self._take_each(nursery)
        finally:
            self._pump.unserve_topic(self._topic)
            if self._failed is not None:  # also if it was cancelled meanwhile: errors are not lost
                raise self._failed
        self._pump.check_open()

    async def _take_each(self, nursery: trio.Nursery) -> None:
        room = trio.Semaphore(self._limit)
        while not self._closed:
            await room.acquire()
            while not self._waiting and not self._closed:
                self._came = trio.Event()
                await self._came.wait()
            if self._waiting:
                nursery.start_soon(self._answer, self._waiting.popleft(), room, nursery)
        nursery.cancel_scope.cancel()

    async def _answer(
        self, message: MessageArrived, room: trio.Semaphore, nursery: trio.Nursery
    ) -> None:
        """One message. What the handler raises ends the serving, and does not become a group."""
        try:
            answer = await self._handler(message.payload, message.sender)
            self._check(answer)
            self._pump.answer_message(message.message_id, answer)
        except Exception as error:  # noqa: BLE001 - raised by ``run``
            self._failed = self._failed or error
            nursery.cancel_scope.cancel()
        finally:
            room.release()

    def _check(self, answer: object) -> None:
        if not isinstance(answer, bytes):
            raise LocalError(
                f"a handler returns bytes, {self._handler!r} of topic {self._topic!r} returned "
                f"{answer!r}"
            )
