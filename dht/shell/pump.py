"""The pump: what moves bytes, time and wishes into one engine, and what comes of them out again.

Its law: every input of the engine is followed at once, in the same plain function, by a ``turn``,
and only a turn drains the outputs. Nothing waits between the two, so no wake-up can get lost, no
matter which task made the input. All waiting is done by the ``Watch`` and by callers whose
operations have not ended; there is no task and no queue for a message.
"""

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Concatenate, ParamSpec, Protocol, TypeVar, final
from weakref import WeakSet

import attrs
import trio

from ..contacts import Address, HostName
from ..core.engine import Engine
from ..core.events import (
    Event,
    Joined,
    JoinFailed,
    MessageArrived,
    MessageId,
    OperationFinished,
    OperationId,
)
from ..core.outcomes import Outcome
from ..errors import DHTError, InternalError, LocalError, NodeClosed, NoPeers
from .clock import JUMP_S, Clock
from .stream import EventStream
from .watch import Watch, join_watch

#: The longest sleep: what passes between the machine's waking up and our noticing it.
SLEEP_MAX_S = 5.0
#: Memory: programs that forget to leave ``events()``.
READERS_MAX = 64


class Server(Protocol):
    """Whoever serves a topic, as the pump sees it."""

    def arrived(self, message: MessageArrived) -> None:
        """A message came; the engine lets only so many wait for their answer."""

    def close(self) -> None:
        """The node has ended."""


_P = ParamSpec("_P")
_OutcomeT = TypeVar("_OutcomeT", bound=Outcome)


@final
@attrs.define(eq=False)
class PortCounters:
    """What went wrong between the engine and the wire."""

    receive_errors: int = 0
    send_errors: int = 0
    datagrams_unsendable: int = 0
    sockets_reopened: int = 0


class DatagramPort(Protocol):
    """Where datagrams come from and go to: ``UdpPort``, or the virtual network of a test."""

    counters: PortCounters

    @property
    def addresses(self) -> Sequence[Address]:
        """Where others may reach it, as far as it can tell; at least one, never a wildcard."""

    def attach(self, pump: "Pump", watch: Watch) -> None:
        """From now on ``pump.receive`` is called with what comes in, from the watch's task."""

    def send(self, datagrams: Iterable[tuple[bytes, Address]], /) -> None:
        """Out with them. Never waits, never raises, and calls no pump before it returns."""

    def close(self) -> None:
        """Nothing comes in and nothing goes out any more. Idempotent."""


@attrs.define(eq=False)
class _Waiter:
    """A task that waits for operations of its own to end."""

    finished: list[OperationFinished] = attrs.field(factory=list)
    #: Set while it sleeps, and only then.
    task: trio.lowlevel.Task | None = None
    #: The pump has ended: nothing will finish any more.
    over: bool = False

    def wake(self) -> None:
        if self.task is not None:
            task, self.task = self.task, None
            trio.lowlevel.reschedule(task)

    async def sleep(self) -> None:
        """Returns when something has finished (or the pump has ended). A checkpoint always."""
        if self.finished or self.over:
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            self.task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        """Cancelled in its sleep; it must not be woken a second time."""
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED


@final
class Pump:
    """Owns an engine. ``open`` it once, ``close`` it once; a crash closes it too."""

    def __init__(self, engine: Engine, port: DatagramPort, clock: Clock) -> None:
        self.engine = engine
        self.port = port
        self.clock = clock
        #: Set when the first attempt to join has ended, either way.
        self.first_attempt = trio.Event()
        #: What our own code raised where it must not; the node ends with an ``InternalError``.
        self.crashed: Exception | None = None
        self.closed = False
        #: Events that slow readers did not get.
        self.events_lost = 0
        #: Writes to the ``data_dir`` that failed while the node ran.
        self.disk_errors = 0
        self._on_crash: Callable[[], None] = lambda: None
        self._watch: Watch | None = None
        self._waiting: dict[OperationId, _Waiter] = {}
        #: Topic -> whoever serves it; each takes the message at once, and never waits.
        self._servers: dict[str, Server] = {}
        self._readers: WeakSet[EventStream] = WeakSet()
        #: When the watch will call us, in our clock's time, the soonest last. Each is earlier
        #: than the one before it: a timer that is set already is not set again.
        self._alarms: list[float] = [inf]
        self._wall_due = -inf

    # ---- life ----

    def open(self, *, on_crash: Callable[[], None] = lambda: None) -> None:
        """Begins: attaches the port, starts the engine. Needs a running trio.

        Raises ``InternalError`` when that crashes.
        """
        self._on_crash = on_crash
        self._watch = join_watch()
        try:
            self.port.attach(self, self._watch)
            now = self.clock.now()
            self._set_wall(now)
            self.engine.start(now)
            # First the later alarm: what the turn asks for comes sooner, and goes on top of it.
            self._arm(now, now + SLEEP_MAX_S)
            self._turn(now)
        except Exception as error:  # noqa: BLE001 - raised below, as what it is
            self.crash(error)
            self.check_open()

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """Says goodbye and ends everything. Never waits; idempotent.

        Who still waits for an operation gets ``NodeClosed``.
        """
        if self.closed:
            return
        try:
            now = self.clock.now()
            self.engine.start_leave(now)
            self._turn(now)
        except Exception as error:  # noqa: BLE001 - told by whoever opened the node
            self.crashed = self.crashed or error
        self._end()

    def crash(self, error: Exception) -> None:
        """Our own code raised ``error``: the engine cannot be trusted any more."""
        if self.closed:
            return
        self.crashed = error
        self._end()
        self._on_crash()

    def _end(self) -> None:
        self.closed = True
        self.port.close()
        if self._watch is not None:
            self._watch.leave()
        for waiter in self._waiting.values():
            waiter.over = True
            waiter.wake()
        self._waiting.clear()
        for server in list(self._servers.values()):
            server.close()
        for reader in list(self._readers):
            reader.close()

    def check_open(self) -> None:
        """Raises ``NodeClosed``, or ``InternalError`` after a crash, unless the node runs."""
        if self.closed:
            raise self._ended() from self.crashed

    def _ended(self) -> DHTError:
        if self.crashed is not None:
            return InternalError(f"the node has crashed ({self.crashed!r}): please report it")
        return NodeClosed(
            "the node is closed: use it inside its `async with dht.open_node(...)` block"
        )

    # ---- inputs ----

    def receive(self, data: bytes, source: Address) -> None:
        """A datagram came in. Called by the port, in the watch's task."""
        if self.closed:
            return
        now = self.clock.now()
        if now - self._alarms[-1] > JUMP_S:
            self._resume(now)
        self.engine.receive_datagram(now, data, source)
        self._turn(now)

    @trio.lowlevel.enable_ki_protection
    async def operate(
        self,
        outcome_type: type[_OutcomeT],
        start: Callable[Concatenate[float, _P], OperationId],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _OutcomeT:
        """Begins an operation of the engine and waits for its outcome, or raises its error.

        Cancelled, or interrupted, it cancels the operation. What has ended before is returned.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        waiter = _Waiter()
        operation_id = self._start(waiter, start, *args, **kwargs)
        try:
            await waiter.sleep()
        except BaseException:
            self._cancel(operation_id)
            raise
        [event] = self._take_finished(waiter)
        if event.error is not None:
            raise event.error
        assert isinstance(event.outcome, outcome_type)
        return event.outcome

    @trio.lowlevel.enable_ki_protection
    async def operate_each(
        self, starts: Sequence[Callable[[float], OperationId]], *, limit: int
    ) -> list[OperationFinished]:
        """Runs many operations, at most ``limit`` at a time; what became of each, in order.

        Raises ``NoPeers`` as soon as one ends with it: so would the others. Then, and when it is
        cancelled, those under way are cancelled.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self.check_open()
        waiter = _Waiter()
        under_way: dict[OperationId, int] = {}
        ended: dict[int, OperationFinished] = {}
        begun = 0
        try:
            while len(ended) < len(starts):
                while begun < len(starts) and len(under_way) < limit:
                    under_way[self._start(waiter, starts[begun])] = begun
                    begun += 1
                await waiter.sleep()
                for event in self._take_finished(waiter):
                    ended[under_way.pop(event.operation_id)] = event
                    if isinstance(event.error, NoPeers):
                        raise event.error  # noqa: TRY301 - the others are cancelled below
        except BaseException:
            for operation_id in under_way:
                self._cancel(operation_id)
            raise
        return [ended[place] for place in range(len(starts))]

    def resolved(self, name: HostName, addresses: Iterable[Address]) -> None:
        """A host name was looked up. Does nothing once the node is closed."""
        if self.closed:
            return
        now = self.clock.now()
        try:
            self.engine.resolved(now, name, addresses)
        except Exception as error:  # noqa: BLE001 - a mistake of ours ends the node
            self.crash(error)
            return
        self._turn_or_crash(now)

    def serve_topic(self, topic: str, server: Server) -> None:
        """From now on ``server`` gets the messages of this topic. Raises ``LocalError``."""
        self.check_open()
        self.engine.serve_topic(topic)
        self._servers[topic] = server

    def unserve_topic(self, topic: str) -> None:
        """Nobody serves it any more."""
        del self._servers[topic]
        if not self.closed:
            now = self.clock.now()
            self.engine.unserve_topic(now, topic)
            self._turn_or_crash(now)

    def answer_message(self, message_id: MessageId, payload: bytes) -> None:
        """The answer to a message. Raises ``LocalError`` for one that cannot travel."""
        self.check_open()
        now = self.clock.now()
        self.engine.answer_message(now, message_id, payload)
        self._turn_or_crash(now)

    def subscribe(self) -> EventStream:
        """A stream of all events from now on. Raises ``LocalError`` when there are too many."""
        if len(self._readers) >= READERS_MAX:
            raise LocalError(
                f"{READERS_MAX} readers of events() are open, the most there may be: "
                "leave one with `async with node.events() as events: ...`"
            )
        reader = EventStream(on_close=self._readers.discard)
        self._readers.add(reader)
        self.engine.watched = True
        return reader

    def _start(
        self,
        waiter: _Waiter,
        start: Callable[Concatenate[float, _P], OperationId],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> OperationId:
        self.check_open()
        now = self.clock.now()
        try:
            operation_id = start(now, *args, **kwargs)
        except DHTError:
            raise
        except Exception as error:
            self.crash(error)
            raise self._ended() from error
        self._waiting[operation_id] = waiter
        self._turn_or_crash(now)
        return operation_id

    def _take_finished(self, waiter: _Waiter) -> list[OperationFinished]:
        """At least one. Raises ``NodeClosed`` or ``InternalError`` once none can come any more."""
        if not waiter.finished:
            raise self._ended() from self.crashed
        finished, waiter.finished = waiter.finished, []
        return finished

    def _cancel(self, operation_id: OperationId) -> None:
        """Nobody waits for it any more. Does nothing to an operation that has ended."""
        self._waiting.pop(operation_id, None)
        if self.closed:
            return
        now = self.clock.now()
        try:
            self.engine.cancel(now, operation_id)
        except Exception as error:  # noqa: BLE001 - the caller's Cancelled has to go on
            self.crash(error)
            return
        self._turn_or_crash(now)

    def _on_alarm(self) -> None:
        """The watch calls: time has passed."""
        if self.closed:
            return
        now = self.clock.now()
        if now - self._alarms.pop() > JUMP_S:
            self._resume(now)
        if now >= self._wall_due:
            self._set_wall(now)
        self.engine.handle_timeout(now)
        self._turn(now)
        if self._alarms[-1] > now + SLEEP_MAX_S:
            self._arm(now, now + SLEEP_MAX_S)

    def _resume(self, now: float) -> None:
        """The machine slept, or the program was stopped, through its alarms; said once."""
        self._alarms = [max(alarm, now) for alarm in self._alarms]
        self.engine.resumed(now)

    def _set_wall(self, now: float) -> None:
        """Somebody may have set the wall clock: look at it again and again."""
        self.engine.set_wall_offset(now, self.clock.wall() - now)
        self._wall_due = now + SLEEP_MAX_S

    # ---- outputs ----

    def _turn_or_crash(self, now: float) -> None:
        """A turn in the task of a caller, who must not get an error that is none of its own."""
        try:
            self._turn(now)
        except Exception as error:  # noqa: BLE001 - becomes the InternalError of the node
            self.crash(error)

    def _turn(self, now: float) -> None:
        """Drains the outputs of the engine: the only place that does."""
        engine = self.engine
        datagrams = engine.datagrams_to_send()
        if datagrams:
            self.port.send(datagrams)
        events = engine.events()
        if events:
            self._tell(events)
        deadline = engine.next_timeout()
        if deadline is not None and deadline < self._alarms[-1]:
            self._arm(now, deadline)

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, OperationFinished):
                waiter = self._waiting.pop(event.operation_id, None)
                if waiter is not None:
                    waiter.finished.append(event)
                    waiter.wake()
            elif isinstance(event, Joined | JoinFailed):
                self.first_attempt.set()
            elif isinstance(event, MessageArrived) and event.topic in self._servers:
                self._servers[event.topic].arrived(event)
            if self._readers:
                for reader in list(self._readers):
                    self.events_lost += not reader.push(event)
            else:
                self.engine.watched = False

    def _arm(self, now: float, deadline: float) -> None:
        deadline = min(deadline, now + SLEEP_MAX_S)
        self._alarms.append(deadline)
        assert self._watch is not None
        self._watch.call_after(deadline - now, self, self._on_alarm)
