"""Driving machines that ask others: what a machine asks is sent, what comes back is given to it.

``Tasks`` owns the requests in flight and decides nothing: which answer belongs to which machine is
decided by ``Requests``, what to ask next by the machine.
"""

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, Protocol, final

import attrs

from ..contacts import Address, Contact, is_local
from ..errors import RemoteError
from ..keyspace import solves_puzzle
from ..wire.codec import unpack_contacts_untrusted
from ..wire.messages import (
    Answer,
    Block,
    Dialling,
    Found,
    Holding,
    Message,
    Nodes,
    Page,
    Pong,
    Shuffled,
    Status,
    Stored,
    Taken,
)
from .channel.face import Channel, Opened
from .knocks import Knocks
from .machine import FINISHED, Ask, AskWho, Finished, Wait
from .requests import Request, Requests
from .timers import Timers

#: A machine that says "wake me now" again and again is woken at this pace instead: no busy loop.
PAUSE_MIN_S = 0.001

#: What answers what, by the tag of the request: the second byte of its body.
_ANSWERS_OF: dict[int, tuple[type, ...]] = {
    1: (Pong,),
    2: (Nodes,),
    3: (Nodes, Found),
    4: (Stored,),
    5: (Block,),
    6: (Page,),
    9: (Dialling,),
    10: (Dialling,),
    32: (Shuffled, Taken),
    33: (Taken,),
    34: (Taken, Found),
    35: (Taken,),
    36: (Taken,),
    37: (Taken,),
    38: (Taken,),
    39: (Holding, Taken),
    40: (Taken,),
    41: (Taken,),
}


class Asker(Protocol):
    """The face of every machine that asks others."""

    def next(self, now: float) -> Ask | AskWho | Wait | Finished: ...
    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None: ...
    def on_failure(self, now: float, contact: Contact) -> None: ...
    def on_retry(self, contact: Contact) -> None: ...


@final
@attrs.define(eq=False)
class Task:
    """A machine under way."""

    machine: Any
    #: Called after every step that the machine took, the last one included.
    stepped: Callable[[float, "Task"], None] | None
    #: May those that it asks be known by hearsay alone? Not those who have just written to us.
    hearsay: bool = True
    #: Does who answers it live in the structured overlay, and may enter the routing table?
    structured: bool = True
    #: Is what it asks sent once, and not again? For what need not arrive.
    once: bool = False
    done: bool = False
    wake_at: float = inf


@attrs.define(eq=False)
class Tasks:
    """All machines under way, and their requests."""

    requests: Requests
    channel: Channel
    timers: Timers
    knocks: Knocks
    own_id: int
    #: A contact answered a request of ours; called with it, at the address it answered from, and
    #: whether it lives in the structured overlay.
    on_alive: Callable[[float, Contact, Answer, bool], None]
    #: A contact was silent through all tries: called with the request.
    on_silent: Callable[[float, Request], None]
    #: What an id has to have cost; see ``Config``.
    puzzle_bits: int = 0
    sent: int = attrs.field(default=0, init=False)
    retried: int = attrs.field(default=0, init=False)
    unmatched: int = attrs.field(default=0, init=False)
    violations: int = attrs.field(default=0, init=False)
    #: Stores whose owner pulls the value from us now, by its public key: progress keeps them alive.
    _pulled: dict[bytes, list[Request]] = attrs.field(factory=dict, init=False)

    def spawn(
        self,
        now: float,
        machine: Asker,
        stepped: Callable[[float, Task], None] | None = None,
        *,
        hearsay: bool = True,
        structured: bool = True,
        once: bool = False,
    ) -> Task:
        """Starts a machine; ``stepped`` hears of every step it takes. Without it nobody waits for
        its end: what comes of it is learnt from the answers themselves."""
        task = Task(machine, stepped, hearsay, structured, once)
        self.drive(now, task)
        return task

    def drive(self, now: float, task: Task) -> None:
        """Lets the machine ask until it waits or has finished."""
        next_step = task.machine.next
        while not task.done:
            step = next_step(now)
            if type(step) is Ask:
                contact = step.contact
                if contact.address in self.knocks.open:
                    request_id = self.requests.start(now, contact, task, step.body, once=task.once)
                    self.channel.ask(now, contact, request_id, step.body)
                    self.sent += 1
                else:
                    self._knock(now, task, step)
            elif step is FINISHED:
                task.done = True
            elif type(step) is AskWho:
                self.channel.who(now, step.address)
            else:
                self._wake_later(now, task, step.until)
                break
        if task.stepped is not None:
            task.stepped(now, task)

    def stop(self, task: Task) -> None:
        """The machine is not asked again; answers that still come teach round-trip times."""
        task.done = True

    def on_answer(
        self, now: float, opened: Opened, request_id: bytes, message: Answer, contact: Contact
    ) -> None:
        """An answer came. ``contact`` is the answerer at the address that it answered from."""
        request = self.requests.take(now, opened.public_key, opened.source, request_id)
        if request is None:
            self.unmatched += 1
            return
        task = request.owner
        self.on_alive(now, contact, message, task.structured)
        if opened.source in self.knocks.open:
            self.knocks.open[opened.source] = now
        else:
            self.knocks.answered(now, opened.source)
        self._forget_pull(request)
        if task.done:
            return
        try:
            closer = self._closer_untrusted(request, message, opened.source)
        except RemoteError:
            self.violations += 1
            task.machine.on_failure(now, request.contact)
        else:
            if type(message) is Stored and message.status == Status.PULLING:
                self._follow_pull(now, request_id, request)
            task.machine.on_reply(now, request.contact, message, closer)
        self.drive(now, task)

    def on_fetch(self, now: float, public_key: bytes) -> None:
        """A peer fetches a value from us: the store that it answers later makes progress."""
        for request in self._pulled.get(public_key, ()):
            self.requests.touch(now, request)

    def handle_timeout(self, now: float) -> None:
        """Sends again what was not answered, and gives up on what was sent often enough."""
        for request_id, request in self.requests.due(now):
            task = request.owner
            over = task.done
            if request_id is not None:
                self.channel.ask(now, request.contact, request_id, request.body)
                self.sent += 1
                self.retried += 1
                if not over:
                    task.machine.on_retry(request.contact)
                continue
            self._forget_pull(request)
            self.on_silent(now, request)
            if task.hearsay:  # else anybody could shut a host's door by writing in its name
                self.knocks.silent(now, request.contact, sent_at=request.sent_at)
            if not over:
                task.machine.on_failure(now, request.contact)
                self.drive(now, task)

    # ---- private ----

    def _knock(self, now: float, task: Task, step: Ask) -> None:
        """Asks somebody who has not answered yet: once; and if we only know of it by hearsay, not
        while that door is shut."""
        contact, knocks = step.contact, self.knocks
        once = contact.address not in knocks.open and not knocks.is_free(contact)
        if not once or not task.hearsay or knocks.may_knock(now, contact):
            request_id = self.requests.start(now, contact, task, step.body, once=once or task.once)
            self.channel.ask(now, contact, request_id, step.body)
            self.sent += 1
        elif not knocks.wait(contact, partial(self._door_moved, task, step)):
            task.machine.on_failure(now, contact)

    def _door_moved(self, task: Task, step: Ask, now: float, opened: bool) -> None:  # noqa: FBT001
        """Somebody else's knock at the door of this contact was answered, or was not."""
        if task.done:
            return
        if opened:
            self._knock(now, task, step)
        else:
            task.machine.on_failure(now, step.contact)
        self.drive(now, task)

    def _wake_later(self, now: float, task: Task, until: float | None) -> None:
        if until is not None and until < task.wake_at:
            task.wake_at = max(until, now + PAUSE_MIN_S)
            self.timers.at(task.wake_at, self._wake, task)

    def _wake(self, now: float, task: Task) -> None:
        if not task.done and now >= task.wake_at:
            task.wake_at = inf
            self.drive(now, task)

    def _closer_untrusted(
        self, request: Request, message: Answer, source: Address
    ) -> list[Contact]:
        """The contacts that an answer names. Raises ``RemoteError`` for an answer to another
        question, or a broken list."""
        if type(message) not in _ANSWERS_OF[request.body[1]]:
            raise RemoteError(f"{type(message).__name__} does not answer {request.body[1]}")
        if not isinstance(message, Nodes | Found | Stored | Page):
            return []
        if not (message.contacts4 or message.contacts6):
            return []
        return self.believable_untrusted(message.contacts4, message.contacts6, source)

    def believable_untrusted(
        self, contacts4: bytes, contacts6: bytes, source: Address
    ) -> list[Contact]:
        """Of the contacts that somebody there names, those that we may ask. Raises
        ``RemoteError`` for a broken list."""
        closer, own_id = unpack_contacts_untrusted(contacts4, contacts6), self.own_id
        if self.puzzle_bits:
            closer = [each for each in closer if solves_puzzle(each.id, self.puzzle_bits)]
        if is_local(source):
            return [contact for contact in closer if contact.id != own_id]
        # Nobody out there can know what our private ranges hold, where no contact has a subnet:
        # that is how a stranger would make us knock at our neighbours' doors.
        return [
            contact for contact in closer if contact.id != own_id and contact.subnet is not None
        ]

    def _follow_pull(self, now: float, request_id: bytes, request: Request) -> None:
        self.requests.keep(now, request_id, request)
        self._pulled.setdefault(request.contact.public_key, []).append(request)

    def _forget_pull(self, request: Request) -> None:
        key = request.contact.public_key
        pulled = self._pulled.get(key)
        if pulled is not None:
            self._pulled[key] = [other for other in pulled if other is not request]
            if not self._pulled[key]:
                del self._pulled[key]
