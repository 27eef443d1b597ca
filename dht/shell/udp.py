"""UDP sockets: the only place of the package that opens one.

A datagram that cannot be sent is dropped and counted, as the network itself may drop it; nothing
that a socket reports ends the node. A socket that is broken is opened anew, with a back-off.
"""

import errno
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, final

import attrs

from ..config import DATAGRAM_SIZE_MAX
from ..contacts import Address, format_address, is_ipv6, pack_address, port_of, split_address
from ..errors import LocalError
from .pump import PortCounters, Pump
from .watch import Watch

#: One more than a datagram may have would do; so that what is too long is seen to be.
_RECEIVE_SIZE = 2 * DATAGRAM_SIZE_MAX
#: What the kernel may hold for us while the program is busy. The kernel has a cap of its own.
_RECEIVE_BUFFER_SIZE = 2**20

#: Errors that say that the socket itself is of no use any more.
_BROKEN = frozenset(
    {
        *(errno.EBADF, errno.ENOTSOCK, errno.EPIPE, errno.ESHUTDOWN),
        *(errno.ENODEV, errno.ENXIO, errno.ENETDOWN, errno.EADDRNOTAVAIL),
    }
)
#: Receive errors in a row after which the socket counts as broken, whatever they were: one that
#: never goes away would keep the loop busy for nothing. guess
_RECEIVE_FAILURES_MAX = 16
#: Seconds until a broken socket is opened anew: the first time, and at most. guess; 20 s is what
#: a node without peers waits too.
REOPEN_FIRST_S = 0.25
REOPEN_MAX_S = 20.0

#: Memory: addresses that a port remembers the socket and the kernel's form of, 8,192 x about
#: 400 B; a node has 4,096 sessions at most. Strangers can invent sources; when it is full it is
#: begun anew.
_KNOWN_MAX = 8192

#: A datagram socket that is connected to these addresses (TEST-NET-1 of RFC 5737, RFC 3849) sends
#: nothing, but the kernel chooses the interface it would leave by.
_DOCUMENTATION_ADDRESS = {
    socket.AF_INET: ("192.0.2.1", 9),
    socket.AF_INET6: ("2001:db8::1", 9),
}
_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}

_ADVICE = {
    errno.EADDRINUSE: "another program or node has that port: stop it, or choose another port "
    "(0 for a free one)",
    errno.EADDRNOTAVAIL: "no interface of this machine has that address: choose one that it has, "
    "or 0.0.0.0 or [::] for all of them",
    errno.EACCES: "ports below 1024 need privileges: choose a higher one",
    errno.EAFNOSUPPORT: "this machine does not speak that family of addresses: choose the other",
}


class DatagramSocket(Protocol):
    """What is used of a socket; tests have one that fails as they say."""

    def fileno(self) -> int: ...
    def recvfrom(self, size: int, /) -> tuple[bytes, Any]: ...
    def sendto(self, data: bytes, sockaddr: Any, /) -> int: ...
    def getsockname(self) -> Any: ...
    def close(self) -> None: ...


def open_socket(address: Address) -> DatagramSocket:
    """A non-blocking UDP socket bound to that address. Raises ``OSError``."""
    host, port = split_address(address)
    sock = socket.socket(_family(address), socket.SOCK_DGRAM)
    try:
        sock.settimeout(0)
        if sock.family == socket.AF_INET6:
            # IPv4 peers have an IPv4 address and a socket of their own, on every system alike.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_SIZE)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def outward_host(family: socket.AddressFamily) -> str:
    """The address of the interface that the default route leaves by, else loopback's.

    Nothing is sent.
    """
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect(_DOCUMENTATION_ADDRESS[family])
            host: str = sock.getsockname()[0]
    except OSError:
        return _LOOPBACK[family]
    return host if any(pack_address(host, 0)) else _LOOPBACK[family]


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if is_ipv6(address) else socket.AF_INET


def _is_wildcard(address: Address) -> bool:
    return not any(address[:-2])


def _is_loopback(address: Address) -> bool:
    return address[:-2] == b"\0" * 15 + b"\1" if is_ipv6(address) else address.startswith(b"\x7f")


@attrs.define(eq=False)
class Endpoint:
    """One listening address and, unless it is broken, its socket."""

    address: Address
    port: "UdpPort"
    socket: DatagramSocket | None
    #: Did a datagram pass since an error made us doubt the socket?
    healthy: bool = True
    #: The socket's number with the watch. A broken socket may not tell it any more.
    fd: int = -1
    _reopening: bool = False
    _failures: int = 0
    _delay_s: float = REOPEN_FIRST_S

    def read(self) -> None:
        """One datagram goes to the engine. Called when the socket is readable."""
        if self.socket is None:
            return
        try:
            data, sockaddr = self.socket.recvfrom(_RECEIVE_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.port.counters.receive_errors += 1
            self._failures += 1
            if error.errno in _BROKEN or self._failures >= _RECEIVE_FAILURES_MAX:
                self._break()
            return
        self._failures = 0
        self.healthy = True
        self.port.receive(data, sockaddr, self)

    def refused(self, error: OSError) -> None:
        """A datagram could not be sent."""
        self.port.counters.send_errors += 1
        if error.errno in _BROKEN:
            self._doubt()

    def close(self) -> None:
        if self.socket is not None:
            self.port.forget_reader(self)
            self.socket.close()
            self.socket = None

    def _break(self) -> None:
        """Nothing is heard from it any more: it would only repeat its error."""
        self.close()
        self._doubt()

    def _doubt(self) -> None:
        """Open it anew later, unless it proves well until then."""
        self.healthy = False
        if not self._reopening:
            self._reopening = True
            self.port.call_after(self._delay_s, self._reopen)
            self._delay_s = min(self._delay_s * 2, REOPEN_MAX_S)

    def _reopen(self) -> None:
        self._reopening = False
        if self.port.closed:
            return
        if self.healthy and self.socket is not None:
            self._delay_s = REOPEN_FIRST_S
            return
        self.close()  # first: two sockets cannot have the same address
        try:
            self.socket = self.port.open_socket(self.address)
        except OSError:
            self._doubt()  # the interface is still away
            return
        self._failures = 0
        self.port.counters.sockets_reopened += 1
        self.port.watch_reader(self)


@final
class UdpPort:
    """The sockets of one node. ``bind`` makes one; ``attach`` lets it work."""

    def __init__(
        self,
        sockets: Iterable[DatagramSocket],
        *,
        open_socket: Callable[[Address], DatagramSocket] = open_socket,
    ) -> None:
        self.counters = PortCounters()
        self.closed = False
        self.open_socket = open_socket
        self._pump: Pump | None = None
        self._watch: Watch | None = None
        self._endpoints = [Endpoint(_address_of(sock), self, sock) for sock in sockets]
        # With one socket for each family there is nothing to remember about who came in where.
        families = [len(endpoint.address) for endpoint in self._endpoints]
        self._remembers = len(set(families)) < len(families)
        self._addresses: dict[Any, Address] = {}
        self._routes: dict[Address, tuple[Endpoint, Any]] = {}

    @classmethod
    def bind(
        cls,
        listen: Sequence[Address],
        *,
        open_socket: Callable[[Address], DatagramSocket] = open_socket,
    ) -> "UdpPort":
        """Opens a socket for each address. Raises ``LocalError``, and then none is left open."""
        sockets: list[DatagramSocket] = []
        try:
            for address in listen:
                sockets.append(open_socket(address))
        except OSError as error:
            for sock in sockets:
                sock.close()
            raise _cannot_listen(address, error) from error
        return cls(sockets, open_socket=open_socket)

    @property
    def bound(self) -> tuple[Address, ...]:
        """Where it listens, with the ports that were really given; wildcards as they are."""
        return tuple(endpoint.address for endpoint in self._endpoints)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where others may reach it, as far as this machine can tell: never a wildcard."""
        return tuple(
            pack_address(outward_host(_family(address)), port_of(address))
            if _is_wildcard(address)
            else address
            for address in self.bound
        )

    def attach(self, pump: Pump, watch: Watch) -> None:
        """From now on datagrams go to the pump."""
        self._pump = pump
        self._watch = watch
        for endpoint in self._endpoints:
            self.watch_reader(endpoint)

    def send(self, datagrams: Iterable[tuple[bytes, Address]]) -> None:
        """Out with them. Never waits, never raises."""
        routes = self._routes
        for data, address in datagrams:
            route = routes.get(address) or self._find_route(address)
            sock = None if route is None else route[0].socket
            if route is None or sock is None:
                self.counters.datagrams_unsendable += 1
                continue
            try:
                sock.sendto(data, route[1])
            except OSError as error:
                route[0].refused(error)
            else:
                route[0].healthy = True

    def close(self) -> None:
        """Idempotent."""
        self.closed = True
        for endpoint in self._endpoints:
            endpoint.close()

    # ---- what endpoints ask for ----

    def receive(self, data: bytes, sockaddr: Any, endpoint: Endpoint) -> None:
        address = self._addresses.get(sockaddr)
        if address is None:
            address = self._learn(sockaddr, endpoint)
        elif self._remembers:
            route = self._routes.get(address)
            if route is None or route[0] is not endpoint:
                self._routes[address] = (endpoint, sockaddr)
        assert self._pump is not None
        self._pump.receive(data, address)

    def watch_reader(self, endpoint: Endpoint) -> None:
        if self._watch is not None and self._pump is not None and endpoint.socket is not None:
            endpoint.fd = endpoint.socket.fileno()
            self._watch.add_reader(endpoint.fd, self._pump, endpoint.read)

    def forget_reader(self, endpoint: Endpoint) -> None:
        if self._watch is not None:
            self._watch.remove_reader(endpoint.fd)

    def call_after(self, delay_s: float, callback: Callable[[], None]) -> None:
        if self._watch is not None and self._pump is not None:
            self._watch.call_after(delay_s, self._pump, callback)

    # ---- addresses ----

    def _learn(self, sockaddr: Any, endpoint: Endpoint) -> Address:
        """A source that is new: answers leave by the socket that it came in on."""
        self._bound_memory()
        host, port = sockaddr[:2]
        if is_ipv6(endpoint.address):
            address = pack_address(host, port)
        else:  # a fortieth of the time, and a flood has a new source each time
            address = Address(socket.inet_aton(host) + port.to_bytes(2))
        self._addresses[sockaddr] = address
        # The kernel's own form: it has the zone of a link-local address, ours has not.
        self._routes[address] = (endpoint, sockaddr)
        return address

    def _find_route(self, address: Address) -> tuple[Endpoint, Any] | None:
        """The first socket of that family; for loopback one that is bound there, if there is."""
        able = [each for each in self._endpoints if len(each.address) == len(address)]
        if not able:
            return None
        self._bound_memory()
        inward = _is_loopback(address)
        fitting = (
            each
            for each in able
            if _is_wildcard(each.address) or _is_loopback(each.address) == inward
        )
        route = (next(fitting, able[0]), split_address(address))
        self._routes[address] = route
        return route

    def _bound_memory(self) -> None:
        if len(self._routes) >= _KNOWN_MAX or len(self._addresses) >= _KNOWN_MAX:
            self._routes.clear()
            self._addresses.clear()


def _address_of(sock: DatagramSocket) -> Address:
    sockaddr = sock.getsockname()
    return pack_address(sockaddr[0], sockaddr[1])


def _cannot_listen(address: Address, error: OSError) -> LocalError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    advice = _ADVICE.get(error.errno or 0, "choose another address")
    return LocalError(f"cannot listen on {format_address(address)}: {reason}; {advice}")
