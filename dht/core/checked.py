"""Whom we sent something for no better reason than that somebody is said to be there."""

from typing import final

from ..contacts import Address

#: An address that is being checked, or was lately, is not checked again for so long: a liar
#: cannot make us knock at a victim's door more than once a minute.
STRANGER_AGAIN_S = 60.0
STRANGERS_REMEMBERED_MAX = 4096


@final
class Checked:
    """The addresses that were sent something for no better reason than that a stranger is there, or
    was said to be."""

    def __init__(self) -> None:
        # address -> when; the oldest are forgotten
        self._at: dict[Address, float] = {}

    def __len__(self) -> int:
        return len(self._at)

    def first(self, now: float, address: Address) -> bool:
        """May it be sent something now? Then not again within ``STRANGER_AGAIN_S``."""
        checked_at = self._at.pop(address, None)
        if checked_at is not None and now - checked_at < STRANGER_AGAIN_S:
            self._at[address] = checked_at
            return False
        self._at[address] = now
        if len(self._at) > STRANGERS_REMEMBERED_MAX:
            del self._at[next(iter(self._at))]
        return True
