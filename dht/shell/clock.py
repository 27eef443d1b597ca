"""The time. Everything that reads a clock stands here.

A node lives by a clock that never goes back and that counts the time the machine slept: a record
that had an hour to live is over after a night with the lid closed.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol, final

#: A clock that is this far from where the pump went to sleep for means that the machine slept, or
#: that the process was stopped. DESIGN's figure; no busy program blocks its loop for so long.
JUMP_S = 5.0


class Clock(Protocol):
    """What a pump lives by: this machine's, or the virtual one of a test."""

    def now(self) -> float:
        """Seconds that never go back."""

    def wall(self) -> float:
        """Seconds since 1970, as far as this machine knows."""


_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)
_read_boottime = None if _BOOTTIME is None else partial(time.clock_gettime, _BOOTTIME)


@final
class SystemClock:
    """CLOCK_BOOTTIME where there is one, else the monotonic clock plus the sleep it missed.

    Without CLOCK_BOOTTIME a wall clock that leaps ahead of the monotonic one by more than
    ``JUMP_S`` counts as sleep. Somebody who sets the clock forward looks the same: records then
    end early, never late. Setting it back changes nothing.
    """

    def __init__(
        self,
        *,
        boottime: Callable[[], float] | None = _read_boottime,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._slept_s = 0.0
        self._ahead_s = wall() - monotonic()
        self._now = self._count_sleep if boottime is None else boottime

    def now(self) -> float:
        """Seconds that never go back and that count the time the machine slept."""
        return self._now()

    def wall(self) -> float:
        """Seconds since 1970."""
        return self._wall()

    def _count_sleep(self) -> float:
        monotonic = self._monotonic()
        ahead_s = self._wall() - monotonic
        if ahead_s - self._ahead_s > JUMP_S:
            self._slept_s += ahead_s - self._ahead_s
        self._ahead_s = ahead_s
        return monotonic + self._slept_s
