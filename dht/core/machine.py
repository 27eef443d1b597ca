"""The one face of every machine that asks others: what it may say, and what it is told.

A machine decides and does nothing: ``next`` says what is to be done now, and whoever runs it (the
engine, or a test with three values in a list) does that and reports what came of it.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Final, Protocol, final

import attrs

from ..contacts import Address, Contact


@final
@attrs.frozen
class Ask:
    """Send ``body`` to ``contact`` now, then call ``next`` again: there may be more to do."""

    contact: Contact
    body: bytes


@final
@attrs.frozen
class AskWho:
    """Ask an address who is there; whoever is told of the answer says so to the machine."""

    address: Address


@final
@attrs.frozen
class Wait:
    """Nothing to do before ``until``; None: only a reply or a failure moves the machine on."""

    until: float | None


@final
class Finished(Enum):
    """The machine has its result. A reply that comes late may still be given to it."""

    FINISHED = "finished"


FINISHED: Final = Finished.FINISHED

Step = Ask | Wait | Finished


class Machine(Protocol):
    """``next`` until it says ``Wait`` or ``Finished``; then after every reply and failure again.

    The law: calling ``next`` early or twice changes nothing, every ``Ask`` is followed by exactly
    one ``on_failure`` or ``on_reply`` (a reply may still follow a failure: the answer was late),
    and no machine ever raises for what a peer did.
    """

    def next(self, now: float) -> Step:
        """Say what is to be done at ``now``."""

    def on_reply(self, now: float, contact: Contact, closer: Iterable[Contact]) -> None:
        """``contact`` answered and named ``closer``."""

    def on_failure(self, now: float, contact: Contact) -> None:
        """``contact`` was given up, or is of no use for this."""
