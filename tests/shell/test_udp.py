"""A socket may fail as it likes: the node lives on, counts, and opens broken ones anew.

Under the autojump clock, but for a few on real sockets, which never sleep."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, cast

import pytest
import trio
import trio.testing

from dht.contacts import Address, format_address, pack_address, parse_address, split_address
from dht.errors import LocalError
from dht.shell import udp
from dht.shell.udp import REOPEN_FIRST_S, REOPEN_MAX_S, UdpPort, open_socket
from dht.shell.watch import Watch, join_watch
from tests.shell.virtual import has_ipv6, run

HERE = parse_address("127.0.0.1:4000")
THERE = parse_address("127.0.0.1:5000")
THERE_SOCKADDR = ("127.0.0.1", 5000)

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")

#: What Linux, macOS and the BSDs document for recvfrom and sendto, and some that they do not.
ERRNOS = [
    *("EAGAIN", "EINTR", "ECONNRESET", "ECONNREFUSED", "EHOSTUNREACH", "EHOSTDOWN"),
    *("ENETUNREACH", "ENETDOWN", "ENETRESET", "ENOBUFS", "ENOMEM", "EPERM", "EACCES"),
    *("EMSGSIZE", "EINVAL", "EADDRNOTAVAIL", "EAFNOSUPPORT", "EDESTADDRREQ", "ENODEV"),
    *("ENXIO", "EBADF", "ENOTSOCK", "EPIPE", "ESHUTDOWN", "ETIMEDOUT", "EIO", "ENOTCONN"),
]


class FlakySocket:
    """Fails as told; what is sent to it comes back. Has a real number, so it can be watched."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.errors: dict[str, list[int]] = {"recvfrom": [], "sendto": []}
        self.closed = False
        self.waiting: list[tuple[bytes, Any]] = []
        self._bell, self._button = socket.socketpair(type=socket.SOCK_DGRAM)
        self._bell.setblocking(False)

    def _fail(self, call: str) -> None:
        assert not self.closed
        if self.errors[call]:
            code = self.errors[call].pop(0)
            raise OSError(code, os.strerror(code))

    def arrive(self, data: bytes, sockaddr: Any = THERE_SOCKADDR) -> None:
        self.waiting.append((data, sockaddr))
        self._button.send(b"!")

    def fileno(self) -> int:
        return self._bell.fileno()

    def getsockname(self) -> Any:
        return split_address(self.address)

    def recvfrom(self, size: int, /) -> tuple[bytes, Any]:
        self._fail("recvfrom")
        self._bell.recv(1)
        return self.waiting.pop(0)

    def sendto(self, data: bytes, sockaddr: Any, /) -> int:
        self._fail("sendto")
        self.arrive(data, sockaddr)
        return len(data)

    def close(self) -> None:
        self.closed = True
        self._bell.close()
        self._button.close()


class Ear:
    """A pump that only listens."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, Address]] = []

    def receive(self, data: bytes, source: Address) -> None:
        self.heard.append((data, source))

    def crash(self, error: Exception) -> None:
        raise error


class Interface:
    """Gives out flaky sockets, unless it is away."""

    def __init__(self) -> None:
        self.opened: list[FlakySocket] = []
        self.is_away = False
        self.attempts: list[float] = []

    def open(self, address: Address) -> FlakySocket:
        self.attempts.append(trio.current_time())
        if self.is_away:
            raise OSError(errno.EADDRNOTAVAIL, "away")
        self.opened.append(FlakySocket(address))
        return self.opened[-1]

    @property
    def socket(self) -> FlakySocket:
        return self.opened[-1]


@contextmanager
def watched(port: UdpPort) -> Iterator[Ear]:
    ear = Ear()
    watch: Watch = join_watch()
    port.attach(cast("Any", ear), watch)
    try:
        yield ear
    finally:
        port.close()
        watch.leave()


@contextmanager
def flaky() -> Iterator[tuple[UdpPort, Interface, Ear]]:
    interface = Interface()
    port = UdpPort.bind([HERE], open_socket=interface.open)
    with watched(port) as ear:
        yield port, interface, ear
    assert all(each.closed for each in interface.opened)


# ---- faults ----


@pytest.mark.parametrize("name", ERRNOS)
def test_an_error_on_receiving_is_counted_and_the_next_datagram_is_read(name: str) -> None:
    async def main() -> None:
        with flaky() as (port, interface, ear):
            code = getattr(errno, name)
            interface.socket.errors["recvfrom"] = [code]
            interface.socket.arrive(b"one")
            await trio.sleep(1)
            interface.socket.arrive(b"two")
            await trio.sleep(1)
            assert ear.heard[-1] == (b"two", THERE)
            assert port.counters.receive_errors == (name not in {"EAGAIN", "EINTR"})
            assert port.counters.sockets_reopened == (code in udp._BROKEN)

    run(main)


@pytest.mark.parametrize("name", ERRNOS)
def test_an_error_on_sending_is_counted_and_the_next_datagram_leaves(name: str) -> None:
    async def main() -> None:
        with flaky() as (port, interface, ear):
            code = getattr(errno, name)
            interface.socket.errors["sendto"] = [code]
            port.send([(b"one", THERE), (b"two", THERE)])
            await trio.sleep(1)
            port.send([(b"three", THERE)])
            await trio.sleep(1)
            assert [data for data, _ in ear.heard] == [b"two", b"three"]
            assert port.counters.send_errors == 1
            assert port.counters.sockets_reopened == 0

    run(main)


def test_a_socket_that_only_ever_fails_does_not_keep_the_loop_busy() -> None:
    async def main() -> None:
        with flaky() as (port, interface, ear):
            broken = interface.socket
            broken.errors["recvfrom"] = [errno.EIO] * 10_000
            broken.arrive(b"never")
            await trio.sleep(1)
            assert port.counters.receive_errors == udp._RECEIVE_FAILURES_MAX
            assert broken.closed
            interface.socket.arrive(b"again")
            await trio.sleep(1)
            assert ear.heard == [(b"again", THERE)]

    run(main)


def test_an_interface_that_goes_away_is_awaited_with_a_growing_pause() -> None:
    async def main() -> None:
        with flaky() as (port, interface, ear):
            interface.is_away = True
            interface.socket.errors["sendto"] = [errno.ENETDOWN] * 10_000
            start = trio.current_time()
            port.send([(b"lost", THERE)])
            await trio.sleep(100)
            port.send([(b"lost too", THERE)])
            tries = [round(at - start, 2) for at in interface.attempts[1:]]
            pauses = [late - early for early, late in pairwise([0.0, *tries])]
            assert pauses[0] == REOPEN_FIRST_S
            assert all(late <= 2 * early for early, late in pairwise(pauses))
            assert pauses[-1] == pytest.approx(REOPEN_MAX_S)
            assert port.counters.datagrams_unsendable == 1

            interface.is_away = False
            await trio.sleep(REOPEN_MAX_S)
            assert port.counters.sockets_reopened == 1
            assert interface.socket.address == HERE
            port.send([(b"back", THERE)])
            await trio.sleep(1)
            assert ear.heard == [(b"back", THERE)]

    run(main)


def test_a_socket_that_recovers_by_itself_is_kept() -> None:
    async def main() -> None:
        with flaky() as (port, interface, _):
            for _ in range(50):
                interface.socket.errors["sendto"] = [errno.ENETDOWN]
                port.send([(b"lost", THERE), (b"left", THERE)])
                await trio.sleep(1)
            assert len(interface.opened) == 1

    run(main)


def test_a_port_that_is_closed_opens_nothing_any_more() -> None:
    async def main() -> None:
        watch = join_watch()
        interface = Interface()
        port = UdpPort.bind([HERE], open_socket=interface.open)
        port.attach(cast("Any", Ear()), watch)
        interface.socket.errors["recvfrom"] = [errno.EBADF]
        interface.socket.arrive(b"x")
        await trio.testing.wait_all_tasks_blocked()
        port.close()
        port.close()
        await trio.sleep(60)
        assert len(interface.opened) == 1
        watch.leave()

    run(main)


# ---- routes ----


def test_strangers_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "_KNOWN_MAX", 8)

    async def main() -> None:
        with flaky() as (port, interface, ear):
            for number in range(100):
                interface.socket.arrive(b"hello", ("192.0.2.1", number + 1))
            await trio.sleep(1)
            for number in range(100):
                port.send([(b"bye", pack_address("192.0.2.2", number + 1))])
            assert len(port._addresses) <= 8
            assert len(port._routes) <= 8
            assert [source for _, source in ear.heard[:100]] == [
                pack_address("192.0.2.1", number + 1) for number in range(100)
            ]

    run(main)


def test_an_answer_leaves_by_the_socket_that_its_question_came_in_on() -> None:
    async def main() -> None:
        port = UdpPort.bind(list(map(parse_address, ["127.0.0.1:0", "127.0.0.2:0"])))
        with watched(port) as ear, socket.socket(type=socket.SOCK_DGRAM) as peer:
            peer.bind(("127.0.0.1", 0))
            peer.settimeout(1)
            for address in reversed(port.bound):
                host, number = format_address(address).split(":")
                peer.sendto(b"question", (host, int(number)))
                await trio.testing.wait_all_tasks_blocked()
                port.send([(b"answer", ear.heard[-1][1])])
                assert peer.recvfrom(100) == (b"answer", (host, int(number)))

    trio.run(main)


def test_what_stays_on_the_machine_leaves_by_loopback_and_the_rest_does_not() -> None:
    async def main() -> None:
        inward, outward = Interface(), Interface()
        sockets = [
            inward.open(parse_address("127.0.0.1:1")),
            outward.open(parse_address("198.51.100.1:1")),
        ]
        port = UdpPort(sockets)
        port.send([(b"in", THERE), (b"out", parse_address("192.0.2.1:9"))])
        assert [[data for data, _ in sock.waiting] for sock in sockets] == [[b"in"], [b"out"]]
        port.close()

    run(main)


def test_an_address_of_a_family_without_a_socket_is_counted() -> None:
    async def main() -> None:
        with flaky() as (port, _, _):
            port.send([(b"x", parse_address("[2001:db8::1]:1"))])
            assert port.counters.datagrams_unsendable == 1

    run(main)


# ---- listening ----


def test_an_address_in_use_says_which_why_and_what_to_do() -> None:
    taken = open_socket(parse_address("127.0.0.1:0"))
    address = pack_address(*taken.getsockname())
    opened: list[udp.DatagramSocket] = []

    def opening(address: Address) -> udp.DatagramSocket:
        opened.append(open_socket(address))
        return opened[-1]

    with pytest.raises(LocalError, match=r"in use; .*port") as caught:
        UdpPort.bind([parse_address("127.0.0.1:0"), address], open_socket=opening)
    assert format_address(address) in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert [sock.fileno() for sock in opened] == [-1], "none is left open"
    taken.close()


def test_an_address_that_is_not_ours_says_so() -> None:
    with pytest.raises(LocalError, match=r"192\.0\.2\.1:4000: .*; no interface"):
        UdpPort.bind([parse_address("192.0.2.1:4000")])


@pytest.mark.parametrize(
    ("code", "advice"),
    [(errno.EACCES, "below 1024"), (errno.EAFNOSUPPORT, "family"), (errno.EMFILE, "another")],
)
def test_every_reason_of_the_system_comes_with_advice(code: int, advice: str) -> None:
    def refuse(address: Address) -> udp.DatagramSocket:
        raise OSError(code, os.strerror(code))

    with pytest.raises(LocalError, match=f"{os.strerror(code)}.*{advice}"):
        UdpPort.bind([HERE], open_socket=refuse)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", pytest.param("[::]:0", marks=needs_ipv6)])
def test_a_wildcard_is_never_told_to_others(listen: str) -> None:
    port = UdpPort.bind([parse_address(listen)])
    [bound], [told] = port.bound, port.addresses
    assert not any(bound[:-2])
    assert any(told[:-2])
    assert told[-2:] == bound[-2:] != b"\0\0"
    port.close()


@pytest.mark.parametrize(
    ("family", "loopback"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_without_any_route_the_address_told_is_loopback(
    family: socket.AddressFamily, loopback: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_route(*_: object) -> socket.socket:
        raise OSError(errno.ENETUNREACH, "no route")

    monkeypatch.setattr(socket, "socket", no_route)
    assert udp.outward_host(family) == loopback


@needs_ipv6
def test_ipv4_and_ipv6_do_not_get_into_each_others_way() -> None:
    async def main() -> None:
        port = UdpPort.bind(list(map(parse_address, ["127.0.0.1:0", "[::1]:0"])))
        with watched(port) as ear:
            for address in port.bound:
                port.send([(b"to myself", address)])
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(source for _, source in ear.heard) == sorted(port.bound)

    trio.run(main)


@needs_ipv6
def test_the_ipv6_wildcard_leaves_the_ipv4_port_free() -> None:
    six = UdpPort.bind([parse_address("[::]:0")])
    four = UdpPort.bind([pack_address("0.0.0.0", int.from_bytes(six.bound[0][-2:]))])
    assert six.bound[0][-2:] == four.bound[0][-2:]
    six.close()
    four.close()


def test_a_datagram_longer_than_any_of_ours_arrives_as_too_long() -> None:
    async def main() -> None:
        port = UdpPort.bind([parse_address("127.0.0.1:0")])
        with watched(port) as ear:
            port.send([(b"x" * 3000, port.bound[0])])
            await trio.testing.wait_all_tasks_blocked()
            assert [len(data) > 1200 for data, _ in ear.heard] == [True]

    trio.run(main)
