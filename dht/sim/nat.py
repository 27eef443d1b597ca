"""Network address translators: what stands between a node at home and everybody else.

The four types are those of RFC 3489, section 5, which people know best; RFC 4787 says the same as
mapping (which outer address) and filtering (who may use it). Everything that a NAT knows in a
simulation is in this file; who sits behind one is the world's business.
"""

from enum import Enum
from typing import final

import attrs

from ..contacts import Address, ip_of
from ..errors import LocalError

#: Seconds of silence from inside after which a way is closed. RFC 4787, section 4.3, asks for two
#: minutes; what people have at home is mostly 30 to 60 s; guess.
LIFETIME_S = 60.0

#: Ports are given out one after the other from here on: no node listens at one by chance.
_FIRST_PORT = 20_000
_PORTS_END = 65_536


@final
class NatKind(Enum):
    """Which datagrams from outside are let in."""

    FULL_CONE = "full cone"
    """Anybody's, at the one outer address of an inner one."""
    ADDRESS_RESTRICTED = "address-restricted"
    """Those from a host that the inner address has sent something to."""
    PORT_RESTRICTED = "port-restricted"
    """Those from an address, port included, that it has sent something to."""
    SYMMETRIC = "symmetric"
    """The same, and each address outside sees the inner one at another outer address."""


@attrs.define(eq=False)
class _Way:
    """One outer address, and who is behind it."""

    inside: Address
    outside: Address
    used_at: float
    #: To whom something was sent (host, or host and port), and when last.
    sent_to: dict[bytes, float] = attrs.field(factory=dict)


@final
@attrs.define(eq=False)
class Nat:
    """One NAT with one public IP. It knows no time of its own."""

    kind: NatKind
    ip: bytes
    lifetime_s: float = LIFETIME_S
    _ways: dict[bytes, _Way] = attrs.field(init=False, factory=dict)
    _by_outside: dict[Address, _Way] = attrs.field(init=False, factory=dict)
    _port: int = attrs.field(init=False, default=_FIRST_PORT)

    def outbound(self, now: float, inside: Address, target: Address) -> Address:
        """A datagram leaves; where it seems to come from. Opens the way back, or keeps it open."""
        key: bytes = inside + target if self.kind is NatKind.SYMMETRIC else inside
        way = self._ways.get(key)
        if way is None or now - way.used_at > self.lifetime_s:
            if way is not None:
                del self._by_outside[way.outside]
            way = self._ways[key] = _Way(inside, self._free_address(), now)
            self._by_outside[way.outside] = way
        way.used_at = now
        way.sent_to[self._filter(target)] = now
        return way.outside

    def inbound(self, now: float, source: Address, outside: Address) -> Address | None:
        """A datagram arrives at one of its addresses; who gets it, or None when nobody does.

        It keeps nothing open: else a stranger could (RFC 4787, section 4.3, REQ-6).
        """
        way = self._by_outside.get(outside)
        if way is None or now - way.used_at > self.lifetime_s:
            return None
        if self.kind is not NatKind.FULL_CONE:
            sent_at = way.sent_to.get(self._filter(source))
            if sent_at is None or now - sent_at > self.lifetime_s:
                return None
        return way.inside

    def owner(self, outside: Address) -> Address | None:
        """Who is behind an outer address, whatever may pass."""
        way = self._by_outside.get(outside)
        return None if way is None else way.inside

    def rebind(self) -> None:
        """It forgets everything, as when it restarts: whoever sends next gets a new address."""
        self._ways.clear()
        self._by_outside.clear()

    def _filter(self, address: Address) -> bytes:
        return ip_of(address) if self.kind is NatKind.ADDRESS_RESTRICTED else address

    def _free_address(self) -> Address:
        """The next port; round it goes, past those that are in use."""
        for _ in range(_FIRST_PORT, _PORTS_END):
            address = Address(self.ip + self._port.to_bytes(2))
            self._port = self._port + 1 if self._port < _PORTS_END - 1 else _FIRST_PORT
            if address not in self._by_outside:
                return address
        raise LocalError(f"a NAT has {_PORTS_END - _FIRST_PORT} ports, and all are in use")
