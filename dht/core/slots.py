"""Numbers in order, in blocks: an insertion, a removal or a slice touches a block or two, however
many there are."""

from bisect import bisect_left, bisect_right, insort
from typing import final

#: Numbers a block, at most: to move 512 pointers takes about as long as to find the place (1 µs).
BLOCK_MAX = 512


@final
class SlotIndex:
    """A sorted list without duplicates for the store: 2**24 numbers are 65,536 blocks at most."""

    def __init__(self) -> None:
        self._blocks: list[list[int]] = []
        # The first number of each block.
        self._firsts: list[int] = []

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def add(self, number: int) -> None:
        """Enters a number that is not in it."""
        if not self._blocks:
            self._blocks.append([number])
            self._firsts.append(number)
            return
        at = max(0, bisect_right(self._firsts, number) - 1)
        block = self._blocks[at]
        insort(block, number)
        self._firsts[at] = block[0]
        if len(block) > BLOCK_MAX:
            half = len(block) // 2
            self._blocks.insert(at + 1, block[half:])
            self._firsts.insert(at + 1, block[half])
            del block[half:]

    def remove(self, number: int) -> None:
        """Takes out a number that is in it."""
        at = bisect_right(self._firsts, number) - 1
        block = self._blocks[at]
        del block[bisect_left(block, number)]
        if block:
            self._firsts[at] = block[0]
        else:
            del self._blocks[at], self._firsts[at]

    def slice(self, low: int, high: int, limit: int) -> list[int]:
        """The first ``limit`` numbers from ``low`` on that are below ``high``."""
        result: list[int] = []
        at = max(0, bisect_right(self._firsts, low) - 1)
        while at < len(self._blocks) and len(result) < limit and self._firsts[at] < high:
            block = self._blocks[at]
            start = bisect_left(block, low)
            stop = min(bisect_left(block, high), start + limit - len(result))
            result += block[start:stop]
            at += 1
        return result
