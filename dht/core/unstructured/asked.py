"""Whom an operation asked itself, and what came of it: the steps of its trace."""

from typing import final

import attrs

from ...contacts import Contact
from ..outcomes import Step, StepResult


@attrs.define(eq=False)
class _Asked:
    contact: Contact
    asked_at: float
    depth: int
    rtt: float | None = None
    result: StepResult = StepResult.PENDING


@final
class Log:
    """Questions in the order in which they were asked. Memory: an operation bounds what it asks."""

    def __init__(self) -> None:
        self._asked: list[_Asked] = []

    def note(self, now: float, contact: Contact, depth: int = 1) -> None:
        """It is asked now; ``depth``: how many hops away it is said to be."""
        self._asked.append(_Asked(contact, now, depth))

    def hear(self, now: float, contact: Contact, result: StepResult) -> None:
        """The newest question to it that waits has its end."""
        asked = self._pending(contact)
        if asked is not None:
            asked.result = result
            asked.rtt = None if result is StepResult.SILENT else now - asked.asked_at

    def waits_for(self, contact: Contact) -> bool:
        """Was it asked anything that it has not answered?"""
        return self._pending(contact) is not None

    def farther(self) -> int:
        """How many of the questions went to somebody who is no neighbour."""
        return sum(each.depth > 1 for each in self._asked)

    def nodes(self) -> int:
        """How many different nodes were asked."""
        return len({each.contact.id for each in self._asked})

    def steps(self, started_at: float) -> tuple[Step, ...]:
        """The steps of a trace that began then."""
        return tuple(
            Step(
                contact=each.contact,
                told_by=None,
                depth=each.depth - 1,
                asked_at=each.asked_at - started_at,
                rtt=each.rtt,
                result=each.result,
            )
            for each in self._asked
        )

    def _pending(self, contact: Contact) -> _Asked | None:
        for each in reversed(self._asked):
            if each.contact.id == contact.id and each.result is StepResult.PENDING:
                return each
        return None
