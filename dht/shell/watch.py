"""Waiting, for all nodes of one ``trio.run``: the only place of the package that sleeps.

One task waits for whatever comes first, a readable socket or a due timer, and calls whoever asked
for it. It is shared because waking a trio task costs about 15 us, more than reading a datagram
does: 64 nodes with a task each carried 24 k round trips a second on one core, with this one 45 k.

It lives as long as somebody uses it, and belongs to its ``trio.run``: two runs, after each other
or in two threads, know nothing of each other.
"""

import select
import selectors
from collections.abc import Callable
from contextlib import suppress
from heapq import heappop, heappush
from math import inf
from typing import Protocol, final

import attrs
import trio

#: Datagrams read between two looks at the rest of the program: at 50 us each about 3 ms.
READ_MAX = 64
#: Looks in a row at which timers wait while datagrams do. An answer that has arrived must not be
#: called late because the program is behind; but a flood must not stop the clocks either.
TIMERS_WAIT_MAX = 8
#: The finest timer: epoll counts in milliseconds, and a shorter one could, by rounding, be due
#: again and again at one and the same instant.
TIMER_MIN_S = 1e-4


class User(Protocol):
    """Who has sockets and timers watched."""

    def crash(self, error: Exception) -> None:
        """One of your calls raised: a mistake of ours, which must not stop the other nodes."""


class _Poll(Protocol):
    """The kernel's list of sockets; itself readable while one of them is."""

    def fileno(self) -> int: ...
    def register(self, fd: int, events: int, /) -> object: ...
    def unregister(self, fd: int, /) -> object: ...
    def poll(self, timeout: float, maxevents: int, /) -> list[tuple[int, int]]: ...
    def close(self) -> None: ...


@final
class SelectorPoll:
    """The same face over the standard library's selectors, for systems without epoll."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.register = self._selector.register
        self.unregister = self._selector.unregister
        self.close = self._selector.close

    def fileno(self) -> int:
        """What trio waits for: kqueue, like epoll, is readable while it has news."""
        return self._selector.fileno()

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        """The readable sockets, at most ``maxevents``; level-triggered, so none is lost."""
        return [(key.fd, events) for key, events in self._selector.select(timeout)[:maxevents]]


def _open_poll() -> _Poll:
    return select.epoll() if hasattr(select, "epoll") else SelectorPoll()


_READABLE = select.EPOLLIN if hasattr(select, "epoll") else selectors.EVENT_READ


@final
@attrs.define(eq=False)
class Watch:
    """The waiting task of a ``trio.run``. Get it with ``join_watch``, give it back with ``leave``.

    Callbacks are plain functions, so nothing can run between a callback's first and last line.
    """

    _poll: _Poll
    users: int = 0
    _readers: dict[int, tuple[User, Callable[[], None]]] = attrs.field(factory=dict, init=False)
    _timers: list[tuple[float, int, User, Callable[[], None]]] = attrs.field(
        factory=list, init=False
    )
    _timer_count: int = attrs.field(default=0, init=False)
    _timers_waited: int = attrs.field(default=0, init=False)
    _sleep: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    def leave(self) -> None:
        """The caller needs it no more; the last one turns off the light."""
        self.users -= 1
        if not self.users:
            _current.set(None)
            self._sleep.cancel()

    def add_reader(self, fd: int, user: User, callback: Callable[[], None]) -> None:
        """Call back whenever the socket is readable, until ``remove_reader``; read one datagram."""
        self._readers[fd] = (user, callback)
        self._poll.register(fd, _READABLE)

    def remove_reader(self, fd: int) -> None:
        """Stop watching a socket, before it is closed."""
        if self._readers.pop(fd, None) is not None:
            # The socket, or at the end of the run the list itself, may be closed already.
            with suppress(OSError, ValueError, KeyError):
                self._poll.unregister(fd)

    def call_after(self, delay_s: float, user: User, callback: Callable[[], None]) -> None:
        """Call back once. It cannot be taken back: a callback looks whether it still applies."""
        when = trio.current_time() + max(delay_s, TIMER_MIN_S)
        self._timer_count += 1
        heappush(self._timers, (when, self._timer_count, user, callback))
        if when < self._sleep.deadline:  # noqa: PLR1730 - setting it costs 2 us, even to the same
            self._sleep.deadline = when

    async def run(self) -> None:
        """The task. Ends when the last user has left."""
        try:
            while self.users:
                with trio.CancelScope() as self._sleep:
                    while self.users:
                        # Armed first, asked last: what a callback asks for while we work lowers
                        # the deadline of this very scope.
                        deadline = self._timers[0][0] if self._timers else inf
                        if self._sleep.deadline != deadline:
                            self._sleep.deadline = deadline
                        await trio.lowlevel.wait_readable(self._poll)
                        self._work()
                self._work()
        finally:
            self._poll.close()

    def _work(self) -> None:
        if self._read() or self._timers_waited >= TIMERS_WAIT_MAX:
            self._timers_waited = 0
            self._run_due()
        else:
            self._timers_waited += 1

    def _read(self) -> bool:
        """Reads datagrams, up to a bound. Were these all that there were?"""
        left = READ_MAX
        while left > 0:
            # Level-triggered, one datagram for each readable socket and round: no socket starves
            # the others, and no read is spent on learning that a socket is empty.
            ready = self._poll.poll(0, left)
            if not ready:
                return True
            left -= len(ready)
            for fd, _ in ready:
                reader = self._readers.get(fd)
                if reader is None:
                    continue  # an earlier callback of this round removed it
                user, callback = reader
                try:
                    callback()
                except Exception as error:  # noqa: BLE001 - becomes that node's InternalError
                    user.crash(error)
        return False

    def _run_due(self) -> None:
        timers = self._timers
        if not timers:
            return
        # What a callback asks for now comes later: it is due at least TIMER_MIN_S from now.
        now = trio.current_time()
        while timers and timers[0][0] <= now:
            _, _, user, callback = heappop(timers)
            try:
                callback()
            except Exception as error:  # noqa: BLE001 - becomes that node's InternalError
                user.crash(error)


_current: trio.lowlevel.RunVar[Watch | None] = trio.lowlevel.RunVar("dht.watch", None)


def join_watch() -> Watch:
    """The watch of this ``trio.run``, begun if nobody uses one yet. ``leave`` it when done."""
    watch = _current.get()
    if watch is None:
        watch = Watch(_open_poll())
        _current.set(watch)
        trio.lowlevel.spawn_system_task(watch.run, name="dht.watch")
    watch.users += 1
    return watch
