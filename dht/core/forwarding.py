"""Passing one message on, and bringing one answer back: two small machines.

They send through ``Tasks`` like every other machine; what is passed on, and to whom it may be, is
decided by their owners (``relay``, ``dispatch``).
"""

from collections.abc import Callable
from math import inf
from typing import Final, final

import attrs

from ..contacts import Contact
from ..wire.messages import Message, Taken, Taking
from .machine import FINISHED, Ask, Finished, Wait

#: Contacts that a message is offered to, one after the other, until one takes it. Threat: each is
#: a packet that whoever sent us the message makes us send. While 10 % of all nodes are dead, all
#: three are for one message in 1,000.
OFFERS_MAX: Final = 3


@final
@attrs.define(eq=False)
class Sent:
    """Requests sent for messages, by whoever shares it: retries included."""

    count: int = 0


@final
@attrs.define(eq=False)
class Forwarding:
    """Offers a message to one contact after the other, until one takes it.

    The next one is offered it when the one before refuses, or has not said anything for as long as
    its answers take as a rule: that one may still have taken it, and whoever gets it twice sees so.
    With ``walks`` it waits until the one before has surely failed, for two copies of a walker meet
    nowhere again; and goes on to another where it was seen.
    ``asked``: the public keys of those that may have taken it, kept up to date; only they can bring
    back what comes of it.
    """

    candidates: list[Contact]
    body: bytes = attrs.field(repr=False)
    free_after: Callable[[Contact], float]
    asked: dict[bytes, None]
    #: Those of all messages together.
    sent: Sent
    walks: bool = False
    taken: bool = attrs.field(default=False, init=False)
    #: Requests sent, retries included.
    messages: int = attrs.field(default=0, init=False)
    _offered: int = attrs.field(default=0, init=False)
    _silent: dict[int, None] = attrs.field(factory=dict, init=False)
    _next_at: float = attrs.field(default=-inf, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        if self.taken:
            return FINISHED
        more = self._offered < min(len(self.candidates), OFFERS_MAX)
        if more and now >= self._next_at:
            contact = self.candidates[self._offered]
            self._offered += 1
            self._count()
            self._silent[contact.id] = None
            self.asked[contact.public_key] = None
            self._next_at = inf if self.walks else now + self.free_after(contact)
            return Ask(contact, self.body)
        if more:
            return Wait(self._next_at)
        return Wait(None) if self._silent else FINISHED

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        status = message.status if isinstance(message, Taken) else Taking.NOT_HERE
        if status == Taking.TAKEN or (status == Taking.SEEN and not self.walks):
            # Seen: it has got there by another way, of ours or of somebody nearer.
            self.taken = True
            self.asked[contact.public_key] = None
        else:
            self.on_failure(now, contact)

    def on_failure(self, now: float, contact: Contact) -> None:
        self._silent.pop(contact.id, None)
        self.asked.pop(contact.public_key, None)
        if self.candidates[self._offered - 1].id == contact.id:
            self._next_at = now

    def on_retry(self, contact: Contact) -> None:
        self._count()

    def _count(self) -> None:
        self.messages += 1
        self.sent.count += 1


@final
@attrs.define(eq=False)
class Bringing:
    """Says one thing after the other to one contact, each when the one before was answered."""

    contact: Contact
    bodies: list[bytes] = attrs.field(repr=False)
    sent: Sent
    brought: bool = attrs.field(default=False, init=False)
    _said: int = attrs.field(default=0, init=False)
    _waiting: bool = attrs.field(default=False, init=False)
    _failed: bool = attrs.field(default=False, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        if self._failed or self.brought:
            return FINISHED
        if self._waiting:
            return Wait(None)
        self._waiting = True
        self._said += 1
        self.sent.count += 1
        return Ask(self.contact, self.bodies[self._said - 1])

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        self._waiting = False
        self.brought = self._said == len(self.bodies)

    def on_failure(self, now: float, contact: Contact) -> None:
        self._failed = True

    def on_retry(self, contact: Contact) -> None:
        self.sent.count += 1
