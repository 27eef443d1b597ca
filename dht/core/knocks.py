"""Knocking at doors of which we were only told: at most once a minute each, whoever tells.

Threat: liars who name a victim's address in every answer, under as many invented ids as they like,
make every node that believes them send there. So a contact that was merely named is sent one packet
and no second try; and until somebody answered from there, nothing else in this node sends to that
address again for ``Config.knock_again_s``. What wants to meanwhile waits for what becomes of the
first packet: if it is answered the door is open, else it counts as silent at once. From one subnet
at most ``Config.knocks_per_subnet_max`` doors stay shut before no more of them are tried.

Free, and tried as often as anybody: addresses that answered a request of ours, contacts of our
table, and those that the user named. So a mass failure and the way back from one are no matter of
this file; and after an outage of our own it forgets what it knows.
"""

from collections.abc import Callable
from typing import Final, final

import attrs

from ..config import Config
from ..contacts import ADDRESS4_SIZE, ADDRESS6_SIZE, Address, Contact, ip_of, is_local

#: Memory: addresses that answered; about 100 B each. Who is forgotten is merely knocked for anew.
OPEN_MAX: Final = 8192
#: Memory: doors that stay shut. Who wants to make us forget one names so many others first, each of
#: which costs us a packet: at 100 a second that takes longer than the minute it would save him.
SHUT_MAX: Final = 8192
#: What waits for one door, and for all of them together: beyond it counts as silent. Guess: a batch
#: of puts has 16 in flight, which may all mean the same owner.
WAITING_PER_DOOR_MAX: Final = 32
WAITING_MAX: Final = 1024

_NEVER: Final = float("-inf")
_HOST4_SIZE: Final = ADDRESS4_SIZE - 2
_HOST6_SIZE: Final = ADDRESS6_SIZE - 2

#: What waits at a door; called with the time and whether the door has opened.
Waiter = Callable[[float, bool], None]


def door_of(address: Address) -> bytes:
    """What is knocked at: a host, whatever its ports; on local ranges, where many nodes share one,
    a port of it."""
    return address if is_local(address) else ip_of(address)


def _subnet_of_door(door: bytes) -> bytes | None:
    """The /24 or /48 of a public host; None on local ranges, where a door is a whole address."""
    if len(door) == _HOST4_SIZE:
        return door[:3]
    return door[:6] if len(door) == _HOST6_SIZE else None


@final
@attrs.define(eq=False)
class Knocks:
    """Who may be sent something, and who has to wait. ``is_free``: is it a contact of our table, or
    one that the user named?"""

    config: Config
    is_free: Callable[[Contact], bool]
    #: Addresses that answered a request of ours, and when they did last. Read on the hot path.
    open: dict[Address, float] = attrs.field(factory=dict, init=False)
    #: How many contacts were not asked because their door, or too many of its subnet, stay shut.
    refused: int = attrs.field(default=0, init=False)
    #: Doors that stayed shut, and since when; the longest ago first.
    _shut: dict[bytes, float] = attrs.field(factory=dict, init=False)
    #: Doors that were knocked at and have not answered yet, and what waits for each.
    _knocked: dict[bytes, list[Waiter]] = attrs.field(factory=dict, init=False)
    #: Subnet -> how many of its doors stay shut or have not answered yet.
    _subnets: dict[bytes, int] = attrs.field(factory=dict, init=False)
    _waiting: int = attrs.field(default=0, init=False)

    def may_knock(self, now: float, contact: Contact) -> bool:
        """May one packet be sent to a contact that is not free? If so it counts as sent, and
        ``answered`` or ``silent`` has to follow."""
        door = door_of(contact.address)
        if door in self._knocked:
            return False
        self._forget_old(now, door)
        subnet = _subnet_of_door(door)
        full = self.config.knocks_per_subnet_max
        if door in self._shut or (subnet is not None and self._subnets.get(subnet, 0) >= full):
            self.refused += 1
            return False
        self._knocked[door] = []
        self._count(door, 1)
        return True

    def wait(self, contact: Contact, waiter: Waiter) -> bool:
        """Waits for the answer to the knock at this contact's door; False: there is nothing to
        wait for, or too many wait already."""
        waiters = self._knocked.get(door_of(contact.address))
        if waiters is None or len(waiters) >= WAITING_PER_DOOR_MAX or self._waiting >= WAITING_MAX:
            return False
        waiters.append(waiter)
        self._waiting += 1
        return True

    def answered(self, now: float, address: Address) -> None:
        """Somebody answered a request of ours from there: that address is free from now on."""
        self.open[address] = now
        if len(self.open) > OPEN_MAX:
            del self.open[next(iter(self.open))]
        door = door_of(address)
        if door in self._shut:
            self._forget(door)
        self._resolve(now, door, opened=True)

    def silent(self, now: float, contact: Contact, *, sent_at: float) -> None:
        """Nobody answered from there, through all tries, of which the last left at ``sent_at``: it
        is left alone for a while from then on; unless it answered within that while before."""
        address = contact.address
        door = door_of(address)
        if now - self.open.get(address, _NEVER) >= self.config.knock_again_s:
            self.open.pop(address, None)
            if self._shut.pop(door, None) is None:
                self._count(door, 1)
            self._shut[door] = sent_at
            if len(self._shut) > SHUT_MAX:
                self._forget(next(iter(self._shut)))
        self._resolve(now, door, opened=False)

    def clear(self) -> None:
        """We were cut off ourselves: that nobody answered says nothing of anybody."""
        for door in list(self._shut):
            self._forget(door)

    def __len__(self) -> int:
        """How many doors stay shut or have not answered yet."""
        return len(self._shut) + len(self._knocked)

    # ---- private ----

    def _resolve(self, now: float, door: bytes, *, opened: bool) -> None:
        """What was waiting for this door goes on."""
        waiters = self._knocked.pop(door, None)
        if waiters is None:
            return
        self._count(door, -1)
        self._waiting -= len(waiters)
        for waiter in waiters:
            waiter(now, opened)

    def _forget_old(self, now: float, door: bytes) -> None:
        """All that were shut long ago, and in any case this one: they are not quite in order."""
        shut, old = self._shut, now - self.config.knock_again_s
        while shut and shut[first := next(iter(shut))] <= old:
            self._forget(first)
        if door in shut and shut[door] <= old:
            self._forget(door)

    def _forget(self, door: bytes) -> None:
        del self._shut[door]
        self._count(door, -1)

    def _count(self, door: bytes, by: int) -> None:
        subnet = _subnet_of_door(door)
        if subnet is None:
            return
        left = self._subnets.get(subnet, 0) + by
        if left:
            self._subnets[subnet] = left
        else:
            del self._subnets[subnet]
