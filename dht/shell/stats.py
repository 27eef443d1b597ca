"""What ``Node.stats()`` gives: one frozen snapshot of every counter and gauge."""

from typing import final

import attrs

from ..core.stats import EngineStats
from .pump import Pump


@final
@attrs.frozen(kw_only=True)
class Stats(EngineStats):
    """A snapshot of every counter and gauge: the engine's, and these of its sockets and readers.

    Counters only grow. Sizes are in bytes, times in seconds. Nothing is labelled by a peer, so
    the number of series is always the same; ``attrs.asdict`` gives them by name.
    """

    #: Errors that a socket reported when a datagram was read.
    receive_errors: int
    #: Datagrams that a socket refused to send.
    send_errors: int
    #: Datagrams dropped because no socket speaks to such an address, or not at the moment.
    datagrams_unsendable: int
    #: Sockets that broke and were opened anew.
    sockets_reopened: int
    #: Events that slow readers of ``events()`` did not get.
    events_lost: int
    #: Writes to the ``data_dir`` that failed while the node ran: what it learned is not kept.
    disk_errors: int


def stats_of(pump: Pump) -> Stats:
    """A snapshot of a pump, its port and its engine."""
    return Stats(
        **attrs.asdict(pump.engine.stats()),
        **attrs.asdict(pump.port.counters),
        events_lost=pump.events_lost,
        disk_errors=pump.disk_errors,
    )
