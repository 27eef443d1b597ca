"""What the datagrams of a simulated network were for: read by read, and everything else.

A ``Ledger`` looks at what is sent, not at what nodes say of it. The messages of a search carry its
key or its number; a ``Get`` counts where its sender is reading that key, as holders send them for
repairs too; an answer counts as what it answers. All else is upkeep: joins, probes, shuffles,
repairs, writes.
"""

from collections import Counter
from collections.abc import Sequence
from typing import final

import attrs

from ..contacts import Address
from ..core.channel.plain import CHECKSUM_SIZE, OVERHEAD, PLAIN_TAG
from ..sim import SimNode
from ..wire.codec import decode_untrusted
from ..wire.messages import REQUEST_TYPES, Done, Get, Hit, Holders, Returned, Route, Search, Wanted

_FRAME = slice(OVERHEAD - CHECKSUM_SIZE, -CHECKSUM_SIZE)


@final
@attrs.define(eq=False)
class Ledger:
    """Counts from now on; append ``note`` to the simulator's ``taps``.

    Bytes are those of datagrams, without what IP and UDP add: 28 bytes each, 48 with IPv6.
    """

    #: (node, key) of the reads under way, and how many they are.
    reading: Counter[tuple[int, bytes]] = attrs.field(factory=Counter)
    #: By key: requests of all nodes for reads of it, retries included, and bytes both ways.
    requests: Counter[bytes] = attrs.field(factory=Counter)
    sizes: Counter[bytes] = attrs.field(factory=Counter)
    #: By node: datagrams and bytes that it sent for reads, its own and those of others.
    messages_of: Counter[int] = attrs.field(factory=Counter)
    bytes_of: Counter[int] = attrs.field(factory=Counter)
    #: Bytes that all nodes sent for anything else.
    upkeep: int = 0
    _searched: dict[bytes, bytes] = attrs.field(factory=dict)
    _asked: dict[bytes, bytes] = attrs.field(factory=dict)

    def note(self, sender: SimNode, sending: Sequence[tuple[bytes, Address]]) -> None:
        """Somebody sends these."""
        for data, _ in sending:
            key = self._read_by(sender.index, data)
            if key is None:
                self.upkeep += len(data)
                continue
            self.sizes[key] += len(data)
            self.messages_of[sender.index] += 1
            self.bytes_of[sender.index] += len(data)

    def _read_by(self, sender: int, data: bytes) -> bytes | None:
        """The key of the read that a datagram is part of; None: of none."""
        if data[0] != PLAIN_TAG:
            return None
        request_id, message = decode_untrusted(data[_FRAME])
        if type(message) not in REQUEST_TYPES:
            return self._asked.pop(request_id, None)
        match message:
            case Get(key=key) | Holders(key=key):
                found = key if self.reading[sender, key] else None
            case Search(id=search_id, key=key) | Route(id=search_id, target=key):
                found = self._searched[search_id] = key
            case (
                Hit(id=search_id)
                | Done(id=search_id)
                | Wanted(id=search_id)
                | Returned(id=search_id)
            ):
                found = self._searched.get(search_id)
            case _:
                found = None
        if found is not None:
            self.requests[found] += 1
            self._asked[request_id] = found
        return found
