"""Knocking at somebody's door for another: who is asked to, where we knock, and how often.

A node that wants to know whether strangers reach it asks a peer, who asks another one, who knocks
(docs/protocol.md, section 7). Everything that keeps this from being a weapon is in this file.

Threat: a stranger makes us, or makes us make others, send to a victim. So the address is never one
that somebody wrote: it is where the asker's own datagrams come from, and it has shown that it
receives what is sent there; and of those who pass one on, each address gets one datagram a minute.
"""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Final, final

import attrs

from ..contacts import Address, Contact, is_ipv6, port_of
from ..wire.codec import encode
from ..wire.messages import Dial, Dialling, DialStatus, Message
from .admission import Buckets
from .machine import FINISHED, Ask, Finished, Wait
from .routing import RoutingTable

# All guesses: a node asks six peers an hour, and a network in which all ask at once should still
# find out within minutes.

#: Wishes of one asker (public key), and of a subnet, that are passed on in a minute.
REACH_PER_ASKER: Final = 2
REACH_PER_SUBNET: Final = 10
#: Knocks in a minute at the wish of one peer, and of the peers of a subnet.
DIAL_PER_ASKER: Final = 10
DIAL_PER_SUBNET: Final = 20
#: Knocks in a minute into one subnet; reliability.md's bound for addresses that others name.
DIAL_PER_TARGET_SUBNET: Final = 10
#: Wishes, and knocks, in a minute in all.
IN_ALL: Final = 300
#: Memory: sources whose level is known, 200 B each. ``IN_ALL`` keeps them fewer by itself.
SOURCES_MAX: Final = 1024
#: Peers that a wish is passed on to, one after the other, until one says that it will.
PASSED_ON_MAX: Final = 3
#: Well-known services listen below; no node need, and no NAT gives such a port away (RFC 4787,
#: section 4.2.2).
PORT_MIN: Final = 1024


_a_minute = partial(Buckets.a_minute, names_max=SOURCES_MAX)


@final
@attrs.define(eq=False)
class PassingOn:
    """Asks one peer after the other to knock, until one has."""

    knockers: Sequence[Contact]
    body: bytes
    #: What whoever wished for it is told at the moment.
    status: DialStatus = attrs.field(default=DialStatus.WILL, init=False)
    _asked: int = attrs.field(default=0, init=False)
    _waiting: bool = attrs.field(default=False, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        if self._waiting:
            return Wait(None)
        if self.status is DialStatus.WILL and self._asked >= len(self.knockers):
            self.status = DialStatus.BUSY
        if self.status is not DialStatus.WILL:
            return FINISHED
        self._waiting = True
        self._asked += 1
        return Ask(self.knockers[self._asked - 1], self.body)

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        self._waiting = False
        if isinstance(message, Dialling) and message.status == DialStatus.DONE:
            self.status = DialStatus.DONE

    def on_failure(self, now: float, contact: Contact) -> None:
        self._waiting = False

    def on_retry(self, contact: Contact) -> None:
        """Retries are none of its business."""


@final
@attrs.define(eq=False)
class Dialler:
    """Judges wishes for a knock. Whoever owns it sends what it allows."""

    table: RoutingTable
    random: Random
    #: May this address be sent something at somebody else's word now? One that may, may not
    #: again for a minute, whoever asks.
    first_this_minute: Callable[[float, Address], bool]
    #: The last wish of each asker, by its public key: the nonce, and what came of it.
    _wishes: dict[bytes, tuple[bytes, PassingOn]] = attrs.field(factory=dict, init=False)
    _limits: dict[str, Buckets] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._limits = {
            "reach asker": _a_minute(REACH_PER_ASKER),
            "reach subnet": _a_minute(REACH_PER_SUBNET),
            "reach": _a_minute(IN_ALL),
            "dial asker": _a_minute(DIAL_PER_ASKER),
            "dial subnet": _a_minute(DIAL_PER_SUBNET),
            "dial target": _a_minute(DIAL_PER_TARGET_SUBNET),
            "dial": _a_minute(IN_ALL),
        }

    def reach(
        self, now: float, asker: Contact, nonce: bytes, *, flags: int, proved: bool
    ) -> DialStatus | PassingOn:
        """``asker`` wants a knock: what it is told; or a machine that is to ask others for it.

        ``proved``: it has shown that it receives what is sent to its address.
        """
        known = self._wishes.get(asker.public_key)
        if known is not None and known[0] == nonce:
            return known[1].status
        subnet = asker.subnet
        if subnet is None:
            return DialStatus.NOBODY
        if not proved or not self._take(
            now, ("reach asker", asker.public_key), ("reach subnet", subnet), ("reach", b"")
        ):
            return DialStatus.BUSY
        choice = [
            contact
            for contact in self.table.contacts()
            if contact.subnet not in (None, subnet)
            and contact.id != asker.id
            and is_ipv6(contact.address) is is_ipv6(asker.address)
        ]
        if not choice:
            return DialStatus.NOBODY
        dial = Dial(flags=flags, nonce=nonce, contact=asker.packed)
        knockers = self.random.sample(choice, min(PASSED_ON_MAX, len(choice)))
        machine = PassingOn(knockers, encode(dial))
        self._wishes.pop(asker.public_key, None)
        self._wishes[asker.public_key] = (nonce, machine)
        if len(self._wishes) > SOURCES_MAX:
            del self._wishes[next(iter(self._wishes))]
        return machine

    def dial(self, now: float, asker: Contact, target: Contact, *, proved: bool) -> DialStatus:
        """``asker`` wants us to knock at ``target``; on ``DONE`` it has to be done."""
        subnet = target.subnet
        if (
            subnet is None
            or subnet == asker.subnet
            or port_of(target.address) < PORT_MIN
            or target.id == self.table.own_id
        ):
            return DialStatus.NOBODY
        if (
            proved
            and self._take(
                now,
                ("dial asker", asker.public_key),
                ("dial subnet", asker.subnet or asker.public_key),
                ("dial target", subnet),
                ("dial", b""),
            )
            and self.first_this_minute(now, target.address)
        ):
            return DialStatus.DONE
        return DialStatus.BUSY

    def _take(self, now: float, *shares: tuple[str, bytes]) -> bool:
        return all(self._limits[name].allow(now, source) for name, source in shares)
