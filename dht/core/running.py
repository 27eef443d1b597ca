"""The operations under way: each ends in exactly one ``OperationFinished``."""

from collections.abc import Callable
from functools import partial
from typing import Any, final

import attrs

from ..contacts import Contact
from ..errors import DHTError, LocalError, NoPeers
from ..records import Record
from .events import Event, OperationFinished, OperationId
from .get import Get
from .home import Home
from .large_values import Offers
from .maintenance import spread
from .outcomes import Outcome
from .put import Put
from .tasks import Task, Tasks
from .widening import Widening, Widenings

#: What else may be wrong, since a node of another network answers nothing at all.
NOBODY_ANSWERED = "nobody answered, and a wrong or missing network key looks the same"


@final
@attrs.define(eq=False, kw_only=True)
class Running:
    """Begins operations, tells of their ends, and does what a get found to be repaired."""

    tasks: Tasks
    offers: Offers
    home: Home
    flags: int
    #: Memory: what an application may have under way at once.
    operations_max: int
    emit: Callable[[Event], None]
    widenings: Widenings
    #: Called with the machine of each operation that has ended, however it did.
    on_end: Callable[[Any], None]
    started: int = attrs.field(default=0, init=False)
    _tasks_by_id: dict[OperationId, Task] = attrs.field(factory=dict, init=False)
    _ids: dict[Task, OperationId] = attrs.field(factory=dict, init=False)
    #: Those that go on after an alarm.
    _widening: dict[OperationId, Widening] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._ids) + len(self._widening)

    def begin(
        self,
        now: float,
        machine: Any,
        *,
        joined: bool,
        offered: bytes = b"",
        structured: bool = True,
    ) -> OperationId:
        """Starts an operation. Raises ``LocalError`` when too many are under way.

        ``offered``: the value that owners may fetch from us while it runs. ``structured``: does it
        ask those who live in that overlay?
        """
        if len(self) >= self.operations_max:
            raise LocalError(
                f"{len(self)} operations are under way, the most that "
                "Config.operations_max allows; wait for some of them to end"
            )
        self.started += 1
        operation_id = OperationId(self.started)
        if not joined:
            error = NoPeers(
                f"not part of a network yet; tried {self.home.tried()}: {NOBODY_ANSWERED}"
            )
            self.emit(OperationFinished(operation_id, error=error))
            return operation_id
        task = Task(machine, self._stepped, structured=structured)
        self._tasks_by_id[operation_id] = task
        self._ids[task] = operation_id
        self.offers.make(task, offered)
        self.tasks.drive(now, task)
        return operation_id

    def cancel(self, operation_id: OperationId) -> None:
        """Ends an operation with neither outcome nor error; one that has ended is left alone."""
        task = self._tasks_by_id.pop(operation_id, None)
        if task is not None:
            self._ids.pop(task, None)
            self.emit(OperationFinished(operation_id))
            self.on_end(task.machine)
            self.tasks.stop(task)
            self.offers.withdraw(task)
            widening = self._widening.pop(operation_id, None)
            if widening is not None:
                self.widenings.stop(widening)

    def wake(self, now: float, operation_id: OperationId) -> bool:
        """What an operation waited for came by another way than as the answer to a request. Is it
        still under way?"""
        task = self._tasks_by_id.get(operation_id)
        if task is not None:
            self.tasks.drive(now, task)
        return operation_id in self._tasks_by_id

    def _stepped(self, now: float, task: Task) -> None:
        machine = task.machine
        if machine.settled:
            operation_id = self._ids.pop(task, None)
            if operation_id is not None:
                if machine.goes_on:
                    self._widen(now, operation_id, machine)
                else:
                    self._finish(now, operation_id, machine, machine.outcome, machine.error)
        if task.done:
            self.offers.withdraw(task)

    def _finish(
        self,
        now: float,
        operation_id: OperationId,
        machine: Any,
        outcome: Outcome | None,
        error: DHTError | None,
    ) -> None:
        del self._tasks_by_id[operation_id]
        self.emit(OperationFinished(operation_id, outcome, error))
        self.on_end(machine)
        if type(machine) is Get and machine.repairs is not None:
            self._repair(now, *machine.repairs)

    def _widen(self, now: float, operation_id: OperationId, machine: Get | Put) -> None:
        """Too crowded a key to believe what was found."""
        ended = partial(self._widened, operation_id)
        self._widening[operation_id] = widening = Widening(machine, ended)
        self.widenings.begin(now, widening)

    def _widened(self, operation_id: OperationId, now: float, widening: Widening) -> None:
        del self._widening[operation_id]
        machine = widening.second or widening.first
        self._finish(now, operation_id, machine, widening.outcome, widening.error)

    def _repair(
        self, now: float, contacts: list[Contact], record: Record, remaining_ms: int
    ) -> None:
        """Read repair: the newest version goes to the owners that lack it."""
        own_id = self.home.contact.id
        others = [contact for contact in contacts if contact.id != own_id]
        if len(others) < len(contacts):
            self.home.keep(now, record, remaining_ms=remaining_ms, if_version=None, handover=True)
        task = Task(spread(others, record, remaining_ms, self.flags), self._spread_stepped)
        self.offers.make(task, record.value)
        self.tasks.drive(now, task)

    def _spread_stepped(self, now: float, task: Task) -> None:
        if task.done:
            self.offers.withdraw(task)
