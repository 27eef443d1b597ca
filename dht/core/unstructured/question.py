"""One question to one contact, and what it answers: the smallest machine that asks others."""

from collections.abc import Callable
from typing import final

import attrs

from ...contacts import Contact
from ...wire.messages import Message
from ..machine import FINISHED, Ask, Finished, Wait

#: Called with the answer, or with None if there was none.
Ended = Callable[[float, Contact, Message | None], None]


def nobody_cares(now: float, contact: Contact, answer: Message | None) -> None:
    """What was said needs no answer."""


@final
@attrs.define(eq=False)
class Question:
    """Asks ``contact`` once, and tells ``ended`` what came of it."""

    contact: Contact
    body: bytes
    ended: Ended = nobody_cares
    _asked: bool = attrs.field(default=False, init=False)
    _over: bool = attrs.field(default=False, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        if not self._asked:
            self._asked = True
            return Ask(self.contact, self.body)
        return FINISHED if self._over else Wait(None)

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        if not self._over:
            self._over = True
            self.ended(now, contact, message)

    def on_failure(self, now: float, contact: Contact) -> None:
        if not self._over:
            self._over = True
            self.ended(now, contact, None)

    def on_retry(self, contact: Contact) -> None:
        """Retries are none of its business."""
