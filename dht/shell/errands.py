"""What a running node has to wait for aside: names to be resolved, files to be written.

A system task, and only for a node that has such errands. It hears of them by the node's events, so
that the engine and the pump know nothing of resolvers and disks. Nothing here can stop the node:
a name without an address is tried again, and what the disk refuses is counted.
"""

import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import final

import trio

from ..contacts import Address, HostName, is_ipv6, is_reachable, pack_address
from ..core.bootstrap import ADDRESSES_PER_NAME_MAX
from ..core.events import Identified, JoinFailed
from ..errors import LocalError
from .datadir import DataDir
from .pump import Pump

#: Seconds. A resolver's own first retry is after 5; below what an attempt waits for names.
RESOLVE_MAX_S = 5.0


async def resolve(name: HostName, families: Iterable[bool]) -> list[Address]:
    """The addresses of a name, at most eight, of the families wanted (True: IPv6); none if it has
    none, or if nobody says so in time. Never raises."""
    wanted = set(families)
    found: list[Address] = []
    with trio.move_on_after(RESOLVE_MAX_S), suppress(OSError, UnicodeError):
        for *_, sockaddr in await trio.socket.getaddrinfo(
            name.host, name.port, type=socket.SOCK_DGRAM
        ):
            address = pack_address(str(sockaddr[0]), name.port)
            if address not in found and is_ipv6(address) in wanted and is_reachable(address):
                found.append(address)
    return found[:ADDRESSES_PER_NAME_MAX]


@final
class Errands:
    """The errands of one node, between ``begin`` and ``end``."""

    def __init__(
        self,
        pump: Pump,
        *,
        names: Iterable[HostName],
        families: Iterable[bool],
        data_dir: DataDir | None,
    ) -> None:
        self._pump = pump
        self._names = dict.fromkeys(names)
        self._families = frozenset(families)
        self._data_dir = data_dir
        self._done = trio.Event()
        self._done.set()

    def begin(self) -> None:
        """Resolves the names, and listens from now on. Needs an open pump."""
        if self._names or self._data_dir is not None:
            self._done = trio.Event()
            self._events = self._pump.subscribe()
            trio.lowlevel.spawn_system_task(self._run)

    async def end(self) -> None:
        """When the pump is closed: waits for what is being written, and cannot be cancelled."""
        if not self._done.is_set():
            with trio.CancelScope(shield=True):
                await self._done.wait()

    async def _run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                looked_up = set[HostName]()  # asked for its members only

                async def look_up(name: HostName) -> None:
                    addresses = await resolve(name, self._families)
                    looked_up.discard(name)
                    if addresses:
                        del self._names[name]
                    self._pump.resolved(name, addresses)

                def look_all_up() -> None:
                    for name in self._names:
                        if name not in looked_up:
                            looked_up.add(name)
                            nursery.start_soon(look_up, name)

                look_all_up()
                async for event in self._events:
                    if isinstance(event, JoinFailed):
                        look_all_up()
                    elif isinstance(event, Identified):
                        await self._know(event)
                nursery.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 - told by whoever opened the node
            self._pump.crash(error)
        finally:
            self._done.set()

    async def _know(self, event: Identified) -> None:
        if self._data_dir is None:
            return
        try:
            await trio.to_thread.run_sync(
                self._data_dir.know, event.where, event.contact.public_key
            )
        except LocalError:
            self._pump.disk_errors += 1
