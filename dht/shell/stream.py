"""What a reader of ``Node.events()`` holds: bounded, and never in the node's way."""

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self, final

import attrs
import trio

from ..core.events import Event

#: Memory: events that wait for a slow reader. guess: a busy node makes some thousands a second.
EVENTS_WAITING_MAX = 1024


@final
@attrs.frozen
class EventsLost:
    """The reader was too slow: so many events came here that it will not see."""

    count: int


@final
class EventStream:
    """The events of a node from here on: ``async with node.events() as events: async for ...``.

    A reader that falls behind by 1,024 events loses the next ones, and finds an ``EventsLost`` in
    their place. The stream ends when the node is closed, after what had come before. Leaving the
    ``async with`` block, or dropping the last reference, unsubscribes.
    """

    def __init__(
        self,
        *,
        on_close: "Callable[[EventStream], None]" = lambda _: None,
        limit: int = EVENTS_WAITING_MAX,
    ) -> None:
        self._on_close = on_close
        self._limit = limit
        self._waiting: deque[Event | EventsLost] = deque()
        self._lost = 0
        self._closed = False
        self._readers = trio.lowlevel.ParkingLot()

    def push(self, event: Event) -> bool:
        """The node's side: never waits, never raises. False when the event is lost."""
        if self._closed:
            return True
        if len(self._waiting) >= self._limit:
            self._lost += 1
            return False
        if self._lost:
            self._waiting.append(EventsLost(self._lost))
            self._lost = 0
        self._waiting.append(event)
        self._readers.unpark()
        return True

    def close(self) -> None:
        """No further event is taken; what waits can still be read."""
        self._closed = True
        self._on_close(self)
        self._readers.unpark_all()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event | EventsLost:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._waiting and not self._lost:
            if self._closed:
                await trio.lowlevel.cancel_shielded_checkpoint()
                raise StopAsyncIteration
            await self._readers.park()
        event: Event | EventsLost
        if self._waiting:
            event = self._waiting.popleft()
        else:
            event, self._lost = EventsLost(self._lost), 0
        await trio.lowlevel.cancel_shielded_checkpoint()
        return event

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
