"""Many machines, one virtual clock, one seed: the same run every time.

Everything that decides *when* something happens in a simulation is in this file: one queue, in
the order of time, and among equal times in the order in which things were queued. What a machine is
(an engine, or a fake of ten lines) is of no concern here.
"""

import struct
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import count
from typing import Any, Generic, Protocol, TypeVar, final

import attrs

from ..contacts import Address, format_address, ip_of
from ..errors import InternalError, LocalError
from .links import WIDE_AREA, LinkModel, Links
from .nat import Nat

# A machine that sends itself, or its peer, something at once for ever would stop the clock. A run
# of 5,000 nodes that wake together needs 5,000 events at one instant; guess, with a margin of 20.
EVENTS_PER_INSTANT_MAX = 100_000

_TRACE_BATCH = 256
_DELIVERY = struct.Struct("<dII").pack
_NOTE = struct.Struct("<dI").pack


class Machine(Protocol):
    """What can live in a ``World``: the face of ``Engine``, as far as the clock needs it."""

    def receive_datagram(self, now: float, data: bytes, source: Address) -> None: ...

    def handle_timeout(self, now: float) -> None: ...

    def resumed(self, now: float) -> None: ...

    def datagrams_to_send(self) -> Sequence[tuple[bytes, Address]]: ...

    def events(self) -> Sequence[Any]: ...

    def next_timeout(self) -> float | None: ...


@attrs.define(eq=False)
class Member:
    """One place in a world: an address, and the machine that runs there, if one does."""

    index: int
    address: Address
    machine: Machine | None = None
    #: Until then the member sleeps: it hears nothing and does nothing. Set by ``World.suspend``.
    asleep: bool = False
    #: What stands between it and everybody who is not behind the same one.
    nat: Nat | None = None
    # The wake-ups that wait in the queue, latest first. Each was earlier than all before it when
    # it was pushed, so the one that comes up is always the last: nothing is ever pushed twice.
    wakes: list[float] = attrs.field(init=False, factory=list)

    @property
    def alive(self) -> bool:
        """Is a machine running here? (It may be asleep.)"""
        return self.machine is not None


@attrs.frozen
class _Seen:
    """A sender as the receiver sees it."""

    index: int
    address: Address


M = TypeVar("M", bound=Member)


@final
@attrs.frozen(kw_only=True)
class Traffic:
    """How many datagrams were sent so far, and what became of them."""

    sent: int
    #: Given to a machine. A datagram that was doubled counts twice.
    delivered: int
    delivered_bytes: int
    #: Lost on the way, by chance, by a cut or at a NAT.
    lost: int
    #: Sent to, or arrived at, a place where nothing is running or where it sleeps.
    unheard: int


class World(Generic[M]):
    """Machines in virtual time. The clock starts at 0 and moves only from event to event.

    The same seed, the same calls: the same bytes at the same times, which ``trace_hash`` shows.
    Whoever calls an input of a machine directly calls ``poll`` afterwards.
    """

    def __init__(self, seed: int, *, links: LinkModel = WIDE_AREA) -> None:
        self.seed = seed
        self.now = 0.0
        self.links = Links(seed, links)
        self.members: list[M] = []
        #: Called with (member, event) for every event of every machine. Append to be told.
        self.observers: list[Callable[[M, Any], None]] = []
        #: Called with (sender, datagram) for every datagram sent, wherever it ends up.
        self.taps: list[Callable[[M, bytes], None]] = []
        self._by_address: dict[Address, M] = {}
        self._nats: dict[bytes, Nat] = {}
        # (time, tie, member, data, sender): a datagram; without data: a wake-up; without member: a
        # call of the last. The tie is unique, so what stands behind it is never compared.
        self._queue: list[tuple[float, int, M | None, bytes | None, Any]] = []
        self._tie = count().__next__
        self._sent = self._delivered = self._bytes = self._lost = self._unheard = 0
        self._trace = blake2b(digest_size=16)
        self._trace_parts: list[bytes] = []

    # ---- members ----

    def settle_in(self, member: M) -> None:
        """Add a member; ``member.index`` is the next free number, ``len(world.members)``."""
        if member.index != len(self.members):
            raise LocalError(f"the next member has index {len(self.members)}, got {member.index}")
        if member.address in self._by_address:
            raise LocalError(f"somebody lives at {format_address(member.address)} already")
        self.links.join()
        self.members.append(member)
        self._by_address[member.address] = member
        if member.nat is not None:
            self._nats[member.nat.ip] = member.nat

    def at_address(self, address: Address) -> M | None:
        """Who lives at an address, running or not."""
        return self._by_address.get(address)

    def suspend(self, member: M, seconds: float) -> None:
        """The member's machine sleeps, as a closed laptop does: it does nothing, and what is sent
        to it is lost. Then it is told that it was ``resumed``, and what is overdue happens."""
        if member.machine is None or member.asleep:
            raise LocalError(f"node {member.index} is not awake, so it cannot be suspended")
        member.asleep = True
        machine = member.machine

        def wake() -> None:
            if member.machine is machine:  # else it crashed while it slept
                member.asleep = False
                machine.resumed(self.now)
                machine.handle_timeout(self.now)
                self.poll(member)

        self.at(self.now + seconds, wake)

    # ---- time ----

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Call ``action`` at virtual time ``when`` (now, if that has passed)."""
        heappush(self._queue, (max(when, self.now), self._tie(), None, None, action))

    def run_until(self, deadline: float) -> None:
        """Everything that is due by ``deadline`` happens; then it is ``deadline``.

        An exception of a machine comes out as ``InternalError`` that says who, when and on what.
        """
        self._run(deadline, None)
        self.now = max(self.now, deadline)

    def run_for(self, seconds: float) -> None:
        """``run_until`` so many seconds from now."""
        self.run_until(self.now + seconds)

    def run_while(self, condition: Callable[[], bool], *, timeout_s: float) -> bool:
        """Run as long as ``condition()`` holds, asked before every event, at most ``timeout_s``.

        True if it ended because the condition did. The clock stands at the event that ended it.
        """
        deadline = self.now + timeout_s
        self._run(deadline, condition)
        if condition():
            self.now = max(self.now, deadline)
            return False
        return True

    def _run(self, deadline: float, condition: Callable[[], bool] | None) -> None:
        """The loop that everything passes through: as little as can be for each event."""
        queue, trace, poll = self._queue, self._trace_parts, self.poll
        at_instant = 0
        while queue and queue[0][0] <= deadline and (condition is None or condition()):
            at, _, member, data, extra = heappop(queue)
            if at > self.now:
                self.now = at
                at_instant = 0
            else:
                at_instant += 1
                if at_instant > EVENTS_PER_INSTANT_MAX:
                    raise InternalError(self._why_stuck(member))
            if member is None:
                extra()
                continue
            machine = member.machine
            try:
                if data is not None:
                    if machine is None or member.asleep:
                        self._unheard += 1
                        continue
                    self._delivered += 1
                    self._bytes += len(data)
                    if len(trace) > _TRACE_BATCH:
                        self._hash_parts()
                    trace.append(_DELIVERY(at, extra.index, member.index))
                    trace.append(data)
                    machine.receive_datagram(at, data, extra.address)
                else:
                    member.wakes.pop()
                    if machine is None or member.asleep:
                        continue
                    due = machine.next_timeout()
                    if due is not None and due <= at:
                        machine.handle_timeout(at)
            except Exception as error:
                what = "a timeout" if data is None else f"{len(data)} bytes from node {extra.index}"
                raise InternalError(
                    f"node {member.index} raised {error!r} at {at:.6f} s on {what}"
                ) from error
            poll(member)

    def poll(self, member: M) -> None:
        """Take what a machine has to say: datagrams go on their way, events to the observers."""
        machine = member.machine
        if machine is None:
            return
        now = self.now
        if sending := machine.datagrams_to_send():
            self._transmit(now, member, sending)
        if events := machine.events():
            for event in events:
                self._trace_parts += (_NOTE(now, member.index), repr(event).encode())
                for observer in self.observers:
                    observer(member, event)
        due = machine.next_timeout()
        if due is not None:
            wakes = member.wakes
            if not wakes or due < wakes[-1]:
                due = max(due, now)
                if not wakes or due < wakes[-1]:
                    wakes.append(due)
                    heappush(self._queue, (due, self._tie(), member, None, None))

    def _transmit(self, now: float, sender: M, sending: Sequence[tuple[bytes, Address]]) -> None:
        links, queue, tie = self.links, self._queue, self._tie
        self._sent += len(sending)
        for tap in self.taps:
            for data, _ in sending:
                tap(sender, data)
        if self._nats:
            for data, address in sending:
                self._transmit_by_nat(now, sender, data, address)
            return
        for data, address in sending:
            receiver = self._by_address.get(address)
            if receiver is None:
                self._unheard += 1
            elif links.perfect:
                at = now + links.delay(sender.index, receiver.index)
                heappush(queue, (at, tie(), receiver, data, sender))
            else:
                copies = links.arrivals(sender.index, receiver.index, data)
                self._lost += not copies
                for delay, copy in copies:
                    heappush(queue, (now + delay, tie(), receiver, copy, sender))

    def _transmit_by_nat(self, now: float, sender: M, data: bytes, address: Address) -> None:
        """The way of a datagram where there are NATs: the sender's puts its own address on it, the
        receiver's judges it when it arrives."""
        seen = sender.address
        receiver = self._by_address.get(address)
        gate = None
        if receiver is None or receiver.nat is not sender.nat:
            if sender.nat is not None:
                seen = sender.nat.outbound(now, sender.address, address)
            if receiver is None and (gate := self._nats.get(ip_of(address))) is not None:
                inside = gate.owner(address)
                receiver = None if inside is None else self._by_address[inside]
            elif receiver is not None and receiver.nat is not None:
                receiver = None  # an address that means nothing outside of its own network
        if receiver is None:
            self._unheard += 1
            return
        extra = _Seen(sender.index, seen)
        copies = self.links.arrivals(sender.index, receiver.index, data)
        self._lost += not copies
        for delay, copy in copies:
            if gate is None:
                heappush(self._queue, (now + delay, self._tie(), receiver, copy, extra))
            else:
                self.at(now + delay, partial(self._arrive, gate, address, copy, extra))

    def _arrive(self, gate: Nat, outside: Address, data: bytes, sender: _Seen) -> None:
        """A datagram is at somebody's NAT."""
        inside = gate.inbound(self.now, sender.address, outside)
        if inside is None:
            self._lost += 1
        else:
            heappush(self._queue, (self.now, self._tie(), self._by_address[inside], data, sender))

    def _why_stuck(self, member: M | None) -> str:
        who = "a scheduled action" if member is None else f"node {member.index}"
        return (
            f"more than {EVENTS_PER_INSTANT_MAX} events at {self.now:.6f} s: somebody answers at "
            f"once for ever, or a timeout stays due after it was handled; the last was {who}"
        )

    # ---- what can be seen ----

    def trace_hash(self) -> str:
        """A hash over everything so far: who was given which bytes when, and every event.

        Two runs are the same if their hashes are. 32 hexadecimal digits.
        """
        self._hash_parts()
        return self._trace.hexdigest()

    def _hash_parts(self) -> None:
        self._trace.update(b"".join(self._trace_parts))
        self._trace_parts.clear()  # the loop holds on to this very list

    def traffic(self) -> Traffic:
        """The counters, as a value."""
        return Traffic(
            sent=self._sent,
            delivered=self._delivered,
            delivered_bytes=self._bytes,
            lost=self._lost,
            unheard=self._unheard,
        )
