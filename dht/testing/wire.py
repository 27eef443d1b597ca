"""What stands in for sockets and clocks: a port and a clock for each simulated node.

Every datagram of a simulated network passes through ``Wire``, which asks ``dht.sim.Links`` what
becomes of it. Waiting is trio's: whatever takes time is a timer of the run's ``Watch``.
"""

from collections.abc import Callable, Iterable
from functools import partial
from hashlib import blake2s
from typing import Any, Protocol, final

import attrs
import trio

from ..contacts import Address, format_address, is_ipv6, is_reachable, pack_address, split_address
from ..errors import LocalError
from ..shell.pump import PortCounters, Pump
from ..shell.watch import Watch
from ..sim.links import LinkModel, Links

#: Virtual time begins in November 2023; any moment would do, as long as it is always the same.
WALL_AT_START_S = 1_700_000_000.0
#: What nodes get that ask for any port.
FIRST_FREE_PORT = 4000
_PORT_MAX = 0xFFFF
# Machines that listen on a wildcard: private networks, in which nobody has to prove anything.
_FIRST_IPV4 = int.from_bytes(bytes([10, 0, 0, 0]))
_FIRST_IPV6 = int.from_bytes(bytes([0xFD, *15 * [0]]))


@final
@attrs.define(eq=False)
class VirtualClock:
    """trio's own time. A machine that sleeps does not count it, and finds out when it wakes."""

    #: How far its wall clock is ahead of the others'.
    skew_s: float = 0.0
    _slept_at: float | None = attrs.field(default=None, init=False)

    @property
    def asleep(self) -> bool:
        """Is the machine suspended?"""
        return self._slept_at is not None

    def sleep(self) -> None:
        """The lid is closed. Idempotent."""
        if self._slept_at is None:
            self._slept_at = trio.current_time()

    def wake(self) -> None:
        """And opened."""
        self._slept_at = None

    def now(self) -> float:
        """Seconds that never go back."""
        return trio.current_time() if self._slept_at is None else self._slept_at

    def wall(self) -> float:
        """Seconds since 1970, as this machine sees it."""
        return self.now() + WALL_AT_START_S + self.skew_s


class _Carrier(Protocol):
    def carry(self, port: "VirtualPort", data: bytes, to: Address) -> None: ...


@final
@attrs.define(eq=False)
class VirtualPort:
    """One node's end of the network; with an address for each family that it speaks."""

    _carrier: _Carrier
    #: Its number in ``Links``.
    endpoint: int
    addresses: tuple[Address, ...]
    clock: VirtualClock
    counters: PortCounters = attrs.field(factory=PortCounters, init=False)
    pump: Pump | None = attrs.field(default=None, init=False)
    watch: Watch | None = attrs.field(default=None, init=False)
    closed: bool = attrs.field(default=False, init=False)
    _on_close: Callable[["VirtualPort"], None]

    def attach(self, pump: Pump, watch: Watch) -> None:
        """From now on ``pump.receive`` is called with what comes in."""
        self.pump, self.watch = pump, watch

    def send(self, datagrams: Iterable[tuple[bytes, Address]]) -> None:
        """Out with them; nothing leaves a machine that sleeps, or a process that has died."""
        if self.closed or self.clock.asleep:
            return
        for data, to in datagrams:
            self._carrier.carry(self, data, to)

    def source_for(self, to: Address) -> Address | None:
        """Our address of that family."""
        return next((own for own in self.addresses if is_ipv6(own) == is_ipv6(to)), None)

    def close(self) -> None:
        """Nothing comes in and nothing goes out any more. Idempotent."""
        if not self.closed:
            self.closed = True
            self._on_close(self)


@final
@attrs.define(eq=False)
class Wire:
    """All ports of a network, and the way between them."""

    seed: int
    _model: LinkModel
    links: Links = attrs.field(init=False)
    #: Datagrams that were sent, whatever became of them.
    sent: int = attrs.field(default=0, init=False)
    _ports: dict[Address, VirtualPort] = attrs.field(factory=dict, init=False)
    _trace: Any = attrs.field(init=False, factory=partial(blake2s, digest_size=16))
    # How many machines have been given an address of their own.
    _hosts: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self.links = Links(self.seed, self._model)

    def trace_hash(self) -> str:
        """A hash over every datagram sent so far: when, from where, to where, and its bytes."""
        return str(self._trace.hexdigest())

    # ---- ports ----

    def choose(self, listen: Iterable[Address]) -> tuple[Address, ...]:
        """The addresses that a node gets which asks for these. Raises ``LocalError``.

        A wildcard is a machine of its own, and port 0 the first that is free there.
        """
        chosen: list[Address] = []
        for asked in listen:
            host, port = split_address(asked)
            if not any(asked[:-2]):
                host = self._next_host(ipv6=is_ipv6(asked))
            address = pack_address(host, port) if port else self._free_port(host, chosen)
            if not is_reachable(address):
                raise LocalError(f"nobody can be reached at {format_address(address)!r}")
            self._check_free(address, chosen)
            chosen.append(address)
        return tuple(chosen)

    def open_port(
        self, endpoint: int, addresses: tuple[Address, ...], clock: VirtualClock
    ) -> VirtualPort:
        """A port at these addresses. Raises ``LocalError`` if somebody else has them by now."""
        for address in addresses:
            self._check_free(address, ())
        port = VirtualPort(self, endpoint, addresses, clock, self._forget)
        self._ports.update(dict.fromkeys(addresses, port))
        return port

    def _check_free(self, address: Address, taken: Iterable[Address]) -> None:
        if address in self._ports or address in taken:
            raise LocalError(
                f"cannot listen on {format_address(address)!r}: another node of this "
                "simulated network does; port 0 takes a free one"
            )

    def _forget(self, port: VirtualPort) -> None:
        for address in port.addresses:
            self._ports.pop(address, None)

    def _next_host(self, *, ipv6: bool) -> str:
        self._hosts += 1
        packed = (
            (_FIRST_IPV6 + self._hosts).to_bytes(16)
            if ipv6
            else (_FIRST_IPV4 + self._hosts).to_bytes(4)
        )
        return split_address(Address(packed + b"\0\0"))[0]

    def _free_port(self, host: str, taken: list[Address]) -> Address:
        for port in range(FIRST_FREE_PORT, _PORT_MAX + 1):
            address = pack_address(host, port)
            if address not in self._ports and address not in taken:
                return address
        raise LocalError(f"every port of {host} is taken")

    # ---- datagrams ----

    def carry(self, port: VirtualPort, data: bytes, to: Address) -> None:
        """One datagram sets out. Called by its port."""
        source, now = port.source_for(to), trio.current_time()
        if source is None:
            port.counters.datagrams_unsendable += 1
            return
        self.sent += 1
        self._trace.update(b"%r %d %b%b%b" % (now, len(data), source, to, data))
        target = self._ports.get(to)
        if target is None:
            return
        links, here, there = self.links, port.endpoint, target.endpoint
        assert port.watch is not None
        assert port.pump is not None
        for delay, copy in (
            ((links.delay(here, there), data),)
            if links.perfect
            else links.arrivals(here, there, data)
        ):
            arrive = partial(self._arrive, copy, source, to)
            port.watch.call_after(delay, port.pump, arrive)

    def _arrive(self, data: bytes, source: Address, to: Address) -> None:
        """Whoever is there by now gets it: a node that started again too."""
        port = self._ports.get(to)
        if port is None or port.pump is None or port.clock.asleep:
            return
        try:
            port.pump.receive(data, source)
        except Exception as error:  # noqa: BLE001 - a mistake of that node, not of the sender
            port.pump.crash(error)
