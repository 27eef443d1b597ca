"""An engine that does as it is told, and remembers what it was asked."""

from collections.abc import Iterable
from typing import Any

from dht.contacts import Address, HostName
from dht.core.events import Event, Joined, OperationFinished, OperationId
from dht.errors import LocalError

SOURCE = Address(b"\x7f\0\0\1\x0f\xa0")


class FakeEngine:
    """Operations end when a datagram says so: b"end 1", or b"fail 1" for an error.

    An input named in ``broken`` raises, as only a mistake of ours can.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []
        self.broken: set[str] = set()
        self.outbox: list[tuple[bytes, Address]] = []
        self.happened: list[Event] = []
        self.due: float | None = None
        self.under_way: dict[OperationId, str] = {}
        self.cancelled: list[OperationId] = []
        self.most_under_way = 0
        self.wall_offset = 0.0
        self.errors: dict[str, Exception] = {}
        self._next = 1

    def _call(self, name: str, now: float) -> None:
        if self.calls:
            assert now >= self.calls[-1][1]
        self.calls.append((name, now))
        if name in self.broken:
            raise ZeroDivisionError(name)

    def times(self, name: str) -> list[float]:
        return [now for called, now in self.calls if called == name]

    # ---- in ----

    def start(self, now: float) -> None:
        self._call("start", now)
        self.happened.append(Joined(0))

    def receive_datagram(self, now: float, data: bytes, source: Address) -> None:
        self._call("receive_datagram", now)
        verb, _, names = data.decode().partition(" ")
        for name in names.split():
            self.end(name, self.errors.get(verb))

    def handle_timeout(self, now: float) -> None:
        self._call("handle_timeout", now)
        if self.due is not None and self.due <= now:
            self.due = None

    def start_thing(self, now: float, name: str, *, over: bool = False) -> OperationId:
        self._call("start_thing", now)
        if name == "wrong":
            raise LocalError("wrong")
        operation_id = OperationId(self._next)
        self._next += 1
        self.under_way[operation_id] = name
        self.most_under_way = max(self.most_under_way, len(self.under_way))
        self.outbox.append((name.encode(), SOURCE))
        if over:
            self.end(name)
        return operation_id

    def end(self, name: str, error: Any = None) -> None:
        for operation_id, started in list(self.under_way.items()):
            if started == name:
                del self.under_way[operation_id]
                outcome: Any = None if error else Ended(name)
                self.happened.append(OperationFinished(operation_id, outcome, error))

    def resolved(self, now: float, name: HostName, addresses: Iterable[Address]) -> None:
        self._call("resolved", now)
        self.outbox += [(str(name).encode(), address) for address in addresses]

    def cancel(self, now: float, operation_id: OperationId) -> None:
        self._call("cancel", now)
        self.cancelled.append(operation_id)
        if self.under_way.pop(operation_id, None):
            self.happened.append(OperationFinished(operation_id))

    def resumed(self, now: float) -> None:
        self._call("resumed", now)

    def start_leave(self, now: float) -> None:
        self._call("start_leave", now)
        self.outbox.append((b"goodbye", SOURCE))

    def set_wall_offset(self, now: float, seconds: float) -> None:
        self._call("set_wall_offset", now)
        self.wall_offset = seconds

    # ---- out ----

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        if "datagrams_to_send" in self.broken:
            raise ZeroDivisionError("datagrams_to_send")
        outbox, self.outbox = self.outbox, []
        return outbox

    def events(self) -> list[Event]:
        happened, self.happened = self.happened, []
        return happened

    def next_timeout(self) -> float | None:
        return self.due


class Ended:
    """An outcome."""

    def __init__(self, name: str) -> None:
        self.name = name


class FakePort:
    """Remembers what was sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = 0

    def attach(self, pump: Any, watch: Any) -> None:
        pass

    def send(self, datagrams: list[tuple[bytes, Address]]) -> None:
        assert not self.closed
        self.sent += [data for data, _ in datagrams]

    def close(self) -> None:
        self.closed += 1
