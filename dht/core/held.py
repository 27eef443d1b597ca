"""One record as a node keeps it, with what is costly to find out about it."""

from typing import final

import attrs

from ..records import Record, hash_of_pieces, piece_hashes

Order = tuple[int, bool, bytes]


@final
@attrs.define(eq=False)
class Held:
    """A record in the store."""

    record: Record
    #: When it ends, on this node's monotonic clock. Fixed when the version was first taken.
    deadline: float
    #: The account that it is charged to.
    account: bytes = attrs.field(repr=False)
    #: Is it a copy of the unstructured overlay, which no owner looks after?
    placed: bool = False
    _order: Order | None = attrs.field(default=None, init=False, repr=False)
    _pieces: bytes | None = attrs.field(default=None, init=False, repr=False)

    def piece_hashes(self) -> bytes:
        """The hashes of the value's pieces, hashed once: who fetches a megabyte block by block
        must not make us hash it for each of them."""
        if self._pieces is None:
            self._pieces = piece_hashes(self.record.value)
        return self._pieces

    def value_hash(self) -> bytes:
        """The hash of the value, at the cost of one hash over its piece hashes."""
        return hash_of_pieces(self.piece_hashes())

    def order(self) -> Order:
        """``Record.order``, hashed once: a long value takes milliseconds."""
        if self._order is None:
            self._order = self.record.order
        return self._order
