"""Pulling a value that is too long for one datagram, block by block, from one holder.

First the list of piece hashes (its own hash is in the record's head), then the pieces. Each block
is idempotent and may come in any order; each 16-KiB piece is checked as it completes, so a liar
wastes at most one piece. The asker never holds more than the size that the head announced.
"""

import attrs

from ..contacts import Contact
from ..keyspace import key_bytes
from ..records import (
    HASH_SIZE,
    PIECE_SIZE,
    Head,
    Record,
    hash_of_pieces,
    piece_count,
    piece_hashes,
    value_hash,
)
from ..wire.codec import encode
from ..wire.messages import HASHES, Block, Fetch, Message
from .machine import FINISHED, Ask, Finished, Wait

#: One block fits a datagram of any channel, beside everything else that travels with it.
BLOCK_SIZE = 1024
#: Blocks in flight: 32 KiB a round trip, 210 KiB/s at 156 ms; guess.
WINDOW = 32
#: Given up, whatever comes, after these seconds and those that the value takes at the lowest rate
#: worth waiting for, in bytes a second; guesses. Threat: a holder that gives a block now and then.
PATIENCE_S = 20.0
RATE_MIN = 16 * 1024
#: Given up after so many requests in a row that nobody answered (each was tried twice).
FAILURES_MAX = 8
#: The same before the first block came, while one at a time is asked: a get is not to wait longer
#: than this for a holder that is gone. At 10 % loss each way one in 20,000 is given up wrongly.
FIRST_FAILURES_MAX = 3


@attrs.define(eq=False)
class _Range:
    """Some bytes that arrive in blocks."""

    size: int
    blocks: dict[int, bytes] = attrs.field(factory=dict)

    def missing(self) -> list[int]:
        return [start for start in range(0, self.size, BLOCK_SIZE) if start not in self.blocks]

    def add(self, offset: int, data: bytes) -> bool:
        """False for a block that was not asked for, is there already, or has the wrong length."""
        if offset in self.blocks or offset < 0 or offset % BLOCK_SIZE:
            return False
        if len(data) != min(BLOCK_SIZE, self.size - offset):
            return False
        self.blocks[offset] = data
        return True

    def joined(self) -> bytes:
        return b"".join(self.blocks[start] for start in range(0, self.size, BLOCK_SIZE))


@attrs.define(eq=False)
class Transfer:
    """Pulls the value of ``head`` from ``contact``. ``record`` is set when it is whole.

    The face of every machine that asks: ``next``, ``on_reply``, ``on_failure``.
    """

    head: Head
    contact: Contact
    flags: int
    record: Record | None = attrs.field(default=None, init=False)
    failed: bool = attrs.field(default=False, init=False)
    _hashes: bytes | None = attrs.field(default=None, init=False)
    _pieces: list[bytes] = attrs.field(factory=list, init=False)
    _range: _Range = attrs.field(init=False)
    _to_ask: list[int] = attrs.field(init=False)
    _in_flight: int = attrs.field(default=0, init=False)
    #: One until the first block came: who only claims an address cannot have it flooded by us.
    _window: int = attrs.field(default=1, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _ends_at: float | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        if piece_count(self.head.size) > 1:
            self._begin(HASH_SIZE * piece_count(self.head.size))
        else:  # the only piece is checked by the value hash itself
            self._hashes = b""
            self._begin(self.head.size)

    def next(self, now: float) -> Ask | Wait | Finished:
        if self._ends_at is None:
            self._ends_at = now + PATIENCE_S + self.head.size / RATE_MIN
        if self.record is None and now >= self._ends_at:
            self.failed = True
        if self.record is not None or self.failed:
            return FINISHED
        if not self._in_flight and not self._to_ask:
            self._to_ask = self._range.missing()[::-1]
        if self._to_ask and self._in_flight < self._window:
            self._in_flight += 1
            return Ask(self.contact, self._fetch(self._to_ask.pop()))
        return Wait(self._ends_at)

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        self._in_flight = max(0, self._in_flight - 1)  # 0: late, and counted as a failure before
        if not isinstance(message, Block) or not message.data:
            self.failed = True  # it has no such value
        elif self._range.add(message.offset - self._base, message.data):
            self._failures = 0
            self._window = WINDOW
            self._complete_if_whole()
        else:  # a late block of a range that is done, or nonsense: the cap bounds both
            self._count_failure()

    def on_failure(self, now: float, contact: Contact) -> None:
        self._in_flight = max(0, self._in_flight - 1)
        self._count_failure()

    def on_retry(self, contact: Contact) -> None:
        """Retries are none of a transfer's business."""

    def _count_failure(self) -> None:
        self._failures += 1
        limit = FAILURES_MAX if self._window > 1 else FIRST_FAILURES_MAX
        self.failed = self.failed or self._failures >= limit

    @property
    def _base(self) -> int:
        """Where in the value the range under way begins."""
        return len(self._pieces) * PIECE_SIZE

    def _begin(self, size: int) -> None:
        self._range = _Range(size)
        self._to_ask = self._range.missing()[::-1]

    def _fetch(self, start: int) -> bytes:
        asks_hashes = self._hashes is None
        return encode(
            Fetch(
                flags=self.flags | (HASHES if asks_hashes else 0),
                kind=self.head.kind,
                key=key_bytes(self.head.key),
                value_hash=self.head.value_hash,
                offset=start + self._base,
                length=min(BLOCK_SIZE, self._range.size - start),
            )
        )

    def _complete_if_whole(self) -> None:
        if len(self._range.blocks) * BLOCK_SIZE < self._range.size:
            return
        data = self._range.joined()
        if self._hashes is None:
            if hash_of_pieces(data) != self.head.value_hash:
                self.failed = True
                return
            self._hashes = data
        else:
            at = len(self._pieces) * HASH_SIZE
            if self._hashes and piece_hashes(data) != self._hashes[at : at + HASH_SIZE]:
                self.failed = True
                return
            self._pieces.append(data)
        done = sum(map(len, self._pieces))
        if done < self.head.size:
            self._begin(min(PIECE_SIZE, self.head.size - done))
            return
        value = b"".join(self._pieces)
        if value_hash(value) == self.head.value_hash:
            self.record = self.head.with_value(value)
        else:
            self.failed = True
