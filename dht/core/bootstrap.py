"""Whom a node asks when it knows nobody, and one attempt to join through them.

Contacts can be asked at once. A bare address is asked WHO first, and a host name has to be resolved
by whoever runs the engine; both join the attempt that is under way as soon as they are known, and
none is waited for once somebody has answered.
"""

from collections.abc import Iterable, MutableMapping
from typing import final

import attrs

from ..config import Config
from ..contacts import (
    Address,
    BareAddress,
    Contact,
    HostName,
    Introducer,
    contact_at,
    format_address,
)
from ..keyspace import solves_puzzle
from ..wire.messages import Message
from .events import Identified, KeyChanged
from .lookup import Lookup
from .machine import FINISHED, Ask, AskWho, Finished, Wait
from .maintenance import Join

#: Seconds that an attempt waits for names to be resolved. A little more than the shell gives them.
NAME_WAIT_S = 6.0
#: Memory: whoever answers for a name cannot make us ask more addresses.
ADDRESSES_PER_NAME_MAX = 8


@attrs.define(eq=False)
class _Bare:
    """An address whose owner we have to ask for a key."""

    #: What it is remembered by: the address, or the name that it was resolved from.
    where: str
    #: Who answered there.
    contact: Contact | None = None
    #: Has that contact answered a request since, and so proved it?
    proved: bool = False
    #: Is it to be asked who it is, in the next attempt?
    unsure: bool = True
    tries_left: int = 0
    due: float = 0.0


@final
@attrs.define(eq=False)
class Bootstrap:
    """The introducers that a node was given, and what became of them.

    ``remembered``: which public key answered at which ``host:port`` before; another one there is
    not taken. None: nothing is remembered.
    """

    own_id: int
    config: Config
    given: Iterable[Introducer]
    remembered: MutableMapping[str, bytes] | None = None
    #: Addresses where another key answered than the one that is remembered.
    changed: dict[str, KeyChanged] = attrs.field(factory=dict, init=False)
    #: Is there anybody who said who it is and has not proved it yet?
    unproved: bool = attrs.field(default=False, init=False)
    _contacts: list[Contact] = attrs.field(init=False)
    _bare: dict[Address, _Bare] = attrs.field(factory=dict, init=False)
    #: Names without an address -> until when one is waited for; None: from the next attempt on.
    _names: dict[HostName, float | None] = attrs.field(factory=dict, init=False)
    _resolved: dict[HostName, list[Address]] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        contacts = [each for each in self.given if isinstance(each, Contact)]
        self._contacts = [each for each in contacts if each.id != self.own_id]
        for each in self.given:
            if isinstance(each, BareAddress):
                self._add(each.address, str(each))
            elif isinstance(each, HostName):
                self._names[each] = None

    # ---- what is known of them ----

    def contacts(self) -> list[Contact]:
        """Those that can be asked."""
        return [*self._contacts, *(bare.contact for bare in self._bare.values() if bare.contact)]

    def names(self, contact: Contact) -> bool:
        """Is it one of ``contacts``?"""
        if contact in self._contacts:
            return True
        return bool(self._bare) and any(each.contact == contact for each in self._bare.values())

    def everybody(self) -> tuple[Introducer, ...]:
        """All of them, as they were given; only ourselves are left out."""
        named = {address for addresses in self._resolved.values() for address in addresses}
        bare = [BareAddress(address) for address in self._bare if address not in named]
        names = [
            name
            for name, addresses in self._resolved.items()
            if any(address in self._bare for address in addresses)
        ]
        return (*self._contacts, *bare, *self._names, *names)

    def in_words(self, introducer: Introducer) -> str:
        """As an error message names it."""
        return f"{introducer} (no address)" if introducer in self._names else str(introducer)

    @property
    def empty(self) -> bool:
        """Is there nobody at all? Then we are a network of our own."""
        return not (self._contacts or self._bare or self._names)

    def begin(self, now: float) -> None:
        """An attempt begins: who is not known for sure is asked who it is."""
        for bare in self._bare.values():
            if bare.unsure:
                bare.tries_left, bare.due = self.config.tries, now
        for name, until in self._names.items():
            if until is None:
                self._names[name] = now + NAME_WAIT_S

    def failed(self) -> None:
        """Nobody answered an attempt: so whoever we took them for may not be there any more, and
        the names are being resolved anew."""
        for bare in self._bare.values():
            bare.unsure = True
        self._names = dict.fromkeys(self._names)

    def to_ask(self, now: float, timeout_s: float) -> Address | None:
        """The next address to be asked WHO, if any is due; it has so long to answer."""
        for address, bare in self._bare.items():
            if bare.tries_left and now >= bare.due:
                bare.tries_left -= 1
                bare.due = now + timeout_s
                return address
        return None

    def wait_until(self, now: float) -> float | None:
        """When the next is to be asked, or given up; None: nobody is waited for."""
        times = [
            bare.due
            for bare in self._bare.values()
            if bare.tries_left or (bare.unsure and bare.due > now)
        ]
        times += [until for until in self._names.values() if until is not None and until > now]
        return min(times, default=None)

    # ---- what is found out ----

    def resolved(self, now: float, name: HostName, addresses: Iterable[Address]) -> bool:
        """A name has these addresses, or none. True when somebody can be asked now."""
        if name not in self._names:
            return False
        found = list(dict.fromkeys(addresses))[:ADDRESSES_PER_NAME_MAX]
        if not found:
            self._names[name] = now
            return False
        del self._names[name]
        self._resolved[name] = found
        # A name that stands for many nodes is none of them: each is remembered by its address.
        is_one = len(found) == 1 or str(name) in (self.remembered or ())
        for address in found:
            bare = self._add(address, str(name) if is_one else format_address(address))
            bare.tries_left, bare.due = self.config.tries, now
        return True

    def identified(self, address: Address, public_key: bytes) -> Contact | KeyChanged | None:
        """Who is at an address, as it says itself; None when that is no news."""
        bare = self._bare.get(address)
        if bare is None:
            return None
        bare.tries_left, bare.unsure = 0, False
        contact = contact_at(public_key, address)
        if contact.id == self.own_id:
            del self._bare[address]  # it is ours
            return None
        if not solves_puzzle(contact.id, self.config.id_puzzle_bits):
            return None
        known = (self.remembered or {}).get(bare.where)
        if known is not None and known != public_key:
            self.changed[bare.where] = KeyChanged(bare.where, known, public_key)
            return self.changed[bare.where]
        self.changed.pop(bare.where, None)
        if bare.contact is not None and bare.contact.packed == contact.packed:
            return None
        bare.contact, bare.proved = contact, False
        self.unproved = True
        return contact

    def proved(self, contact: Contact) -> Identified | None:
        """A contact has answered a request. Not None the first time that one does who said who it
        is: from now on no other key is taken there."""
        bare = self._bare.get(contact.address)
        if bare is None or bare.proved or bare.contact is None:
            return None
        if bare.contact.packed != contact.packed:
            return None
        bare.proved = True
        self.unproved = any(
            other.contact is not None and not other.proved for other in self._bare.values()
        )
        if self.remembered is not None:
            self.remembered[bare.where] = contact.public_key
        return Identified(bare.where, contact)

    def _add(self, address: Address, where: str) -> _Bare:
        bare = self._bare.setdefault(address, _Bare(where))
        known = (self.remembered or {}).get(where)
        if known is not None and bare.contact is None:
            contact = contact_at(known, address)
            if contact.id != self.own_id:
                bare.contact, bare.proved = contact, True
        return bare


@final
@attrs.define(eq=False)
class Attempt:
    """One attempt to join: a lookup of our own id, that introducers enter as they become known."""

    join: Join
    lookup: Lookup
    bootstrap: Bootstrap
    #: How long whoever is asked WHO has to answer: as somebody whom we never met.
    timeout_s: float

    @property
    def answered(self) -> int:
        """How many have."""
        return self.join.answered

    def add(self, contact: Contact) -> None:
        """Somebody more to ask."""
        self.lookup.add_seed(contact)

    def next(self, now: float) -> Ask | AskWho | Wait | Finished:
        address = self.bootstrap.to_ask(now, self.timeout_s)
        if address is not None:
            return AskWho(address)
        step = self.join.next(now)
        until = None if self.answered else self.bootstrap.wait_until(now)
        if until is None or isinstance(step, Ask):
            return step
        if step is FINISHED or step.until is None:
            return Wait(until)
        return Wait(min(step.until, until))

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        self.join.on_reply(now, contact, message, closer)

    def on_failure(self, now: float, contact: Contact) -> None:
        self.join.on_failure(now, contact)

    def on_retry(self, contact: Contact) -> None:
        self.join.on_retry(contact)
