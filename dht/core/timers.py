"""What is to happen later, in the order of its time: one heap for a whole engine.

There is no cancelling: when its time comes, a callback looks whether it still applies.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, final

Callback = Callable[[float, Any], object]


@final
class Timers:
    """Callbacks by the time they are due. Those due at the same time run in the order entered.

    Has no cap of its own: there is one entry for each request, operation and upkeep task, and
    those are capped.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callback, Any]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, when: float, callback: Callback, argument: object = None) -> None:
        """``run_due`` calls ``callback(now, argument)`` once ``now`` has reached ``when``."""
        self._number += 1
        heappush(self._heap, (when, self._number, callback, argument))

    def run_due(self, now: float) -> None:
        """Calls everything due by ``now``, also what that entered meanwhile, and nothing twice."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, _, callback, argument = heappop(heap)
            callback(now, argument)

    def next_timeout(self) -> float | None:
        """When the first callback is due; None when there is none."""
        return self._heap[0][0] if self._heap else None


@final
class Alarm:
    """One callback for something whose time keeps changing.

    It rings by the earliest time it was set to since it last rang, and perhaps again at the later
    ones: the callback looks whether anything is due, and sets it again for what is left. No time
    waits in the heap twice; when several have passed (the machine slept), it rings once.
    """

    def __init__(self, timers: Timers, callback: Callable[[float], object]) -> None:
        self._timers = timers
        self._callback = callback
        # Those that wait, the earliest last: each was earlier than all before it.
        self._times: list[float] = []

    def set(self, when: float) -> None:
        """Ring by ``when``."""
        if not self._times or when < self._times[-1]:
            self._times.append(when)
            self._timers.at(when, self._ring)

    def _ring(self, now: float, _: object) -> None:
        times = self._times
        if times and times[-1] <= now:  # else it rang for this time together with another
            while times and times[-1] <= now:
                times.pop()
            self._callback(now)
