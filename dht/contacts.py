"""How to reach a peer: addresses, contacts and the ``dht://`` URI.

An ``Address`` is its packed bytes (4 or 16 of the IP, 2 of the port, big-endian): it hashes and
compares fast, a subnet is a slice, and a contact on the wire is the public key followed by it.
"""

import re
from base64 import b32decode, b32encode
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NewType, final

import attrs

from .errors import LocalError
from .identity import PUBLIC_KEY_SIZE
from .keyspace import Key, node_id

Address = NewType("Address", bytes)

ADDRESS4_SIZE = 4 + 2
ADDRESS6_SIZE = 16 + 2
CONTACT4_SIZE = PUBLIC_KEY_SIZE + ADDRESS4_SIZE
CONTACT6_SIZE = PUBLIC_KEY_SIZE + ADDRESS6_SIZE
PORT_MAX = 0xFFFF
_PORT = re.compile("[0-9]{1,5}")

# RFC 1035 section 2.3.4.
_NAME_SIZE_MAX = 253
_LABEL = re.compile("[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")

_BASE32_PADDING = "===="  # RFC 4648: 32 bytes are 52 letters and four of these

# A memo of a pure function. The cap bounds what a flood of invented contacts can pin in memory:
# about 4,096 x 500 B. A node hears of a few hundred peers again and again; a simulation has those
# of thousands of nodes in one process.
_MEMO_MAX = 4096

_IPV4_MAPPED = b"\0" * 10 + b"\xff\xff"
_LOOPBACK6 = b"\0" * 15 + b"\1"
_BROADCAST4 = b"\xff" * 4


def _heads(*networks: str) -> frozenset[bytes]:
    """With which two bytes the addresses of these networks begin, none of which is smaller than
    that. Looking there needs no memo, which strangers fill: they have new addresses for ever."""
    return frozenset(
        (int.from_bytes(network.network_address.packed[:2]) + step).to_bytes(2)
        for network in map(ip_network, networks)
        for step in range(1 << 16 - network.prefixlen)
    )


# Loopback, RFC 1918, link-local, RFC 4193. Not ``is_private``: that grows with each Python, and
# calls 6to4 and Teredo private, of which a stranger has as many addresses as he likes.
_LOCAL4 = _heads("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")
_LOCAL6 = _heads("fc00::/7", "fe80::/10")
_GROUPS4 = _heads("224.0.0.0/4")
_GROUPS6 = _heads("ff00::/8")


def pack_address(host: str, port: int) -> Address:
    """The address of a literal IP (never a name: nothing here asks a resolver).

    IPv4-mapped IPv6 becomes IPv4, so that one peer has one address. Raises ``LocalError``.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= PORT_MAX:
        raise LocalError(f"a port is a number from 0 to {PORT_MAX}, got {port!r}")
    try:
        packed = ip_address(host.partition("%")[0]).packed
    except (ValueError, AttributeError, TypeError):
        raise LocalError(f"expected an IPv4 or IPv6 address, got {host!r}") from None
    if packed.startswith(_IPV4_MAPPED) and len(packed) == len(_IPV4_MAPPED) + 4:
        packed = packed[len(_IPV4_MAPPED) :]
    return Address(packed + port.to_bytes(2))


def parse_address(text: str) -> Address:
    """``"192.0.2.1:4000"`` or ``"[2001:db8::1]:4000"``. Raises ``LocalError``."""
    if not isinstance(text, str):
        raise LocalError(f"an address is a str like '127.0.0.1:4000', got {text!r}")
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not _PORT.fullmatch(port) or (":" in host) != bracketed:
        raise LocalError(
            f"expected 'host:port' with an IP address, as '127.0.0.1:4000' or '[::1]:4000', "
            f"got {text!r}"
        )
    return pack_address(host[1:-1] if bracketed else host, int(port))


def split_address(address: Address) -> tuple[str, int]:
    """The host as text, and the port."""
    return str(_ip(address)), port_of(address)


@lru_cache(_MEMO_MAX)
def format_address(address: Address) -> str:
    """What ``parse_address`` reads."""
    host, port = split_address(address)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _ip(address: Address) -> IPv4Address | IPv6Address:
    return IPv4Address(address[:-2]) if len(address) == ADDRESS4_SIZE else IPv6Address(address[:-2])


def port_of(address: Address) -> int:
    return int.from_bytes(address[-2:])


def is_ipv6(address: Address) -> bool:
    return len(address) == ADDRESS6_SIZE


def ip_of(address: Address) -> bytes:
    """The packed IP without the port: what limits for one host are counted by."""
    return address[:-2]


def subnet_of(address: Address) -> bytes:
    """The /24 of an IPv4 address, the /48 of an IPv6 one: about one owner's allotment."""
    return address[:3] if len(address) == ADDRESS4_SIZE else address[:6]


def wide_subnet_of(address: Address) -> bytes | None:
    """The /32 of an IPv6 address (one provider's allotment); None for IPv4."""
    return address[:4] if len(address) == ADDRESS6_SIZE else None


def is_local(address: Address) -> bool:
    """Loopback, link-local or private: ranges in which an address says nothing about its owner."""
    if len(address) == ADDRESS4_SIZE:
        return address[:2] in _LOCAL4
    return address[:2] in _LOCAL6 or address[:-2] == _LOOPBACK6


def is_reachable(address: Address) -> bool:
    """May a datagram be sent there at all? Not to port 0, multicast or the unspecified address."""
    if address[-2:] == b"\0\0" or not any(address[:-2]):
        return False
    if len(address) == ADDRESS4_SIZE:
        return address[:2] not in _GROUPS4 and address[:4] != _BROADCAST4
    return address[:2] not in _GROUPS6


@final
@attrs.frozen(eq=False, repr=False)
class Contact:
    """One peer at one address. ``id`` is always computed from the key, never read from the wire.

    ``packed`` is the wire form: 38 bytes with an IPv4 address, 50 with an IPv6 one. Two contacts
    are equal when their packed forms are.
    """

    public_key: bytes
    address: Address
    id: Key
    packed: bytes
    #: The /24 or /48 by which its owner is known; None on local ranges, where it says nothing.
    subnet: bytes | None = None
    #: May a datagram be sent there at all?
    reachable: bool = True

    @property
    def uri(self) -> str:
        """``dht://<public key in base32>@host:port``: what ``bootstrap`` and people are given."""
        return f"dht://{to_base32(self.public_key)}@{format_address(self.address)}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Contact) and self.packed == other.packed

    def __hash__(self) -> int:
        return hash(self.packed)

    def __repr__(self) -> str:
        return f"Contact({self.id.hex()[:8]}… at {format_address(self.address)})"

    __str__ = __repr__


@lru_cache(_MEMO_MAX)
def unpack_contact(packed: bytes) -> Contact:
    """The contact of 38 or 50 wire bytes. A memo: the same peers are named again and again."""
    return _contact(packed)


def _contact(packed: bytes) -> Contact:
    public_key = packed[:PUBLIC_KEY_SIZE]
    address = Address(packed[PUBLIC_KEY_SIZE:])
    return Contact(
        public_key=public_key,
        address=address,
        id=node_id(public_key),
        packed=packed,
        subnet=None if is_local(address) else subnet_of(address),
        reachable=is_reachable(address),
    )


def contact_at(public_key: bytes, address: Address) -> Contact:
    """The contact of a key and an address."""
    return unpack_contact(public_key + address)


def stranger_at(public_key: bytes, address: Address) -> Contact:
    """The same for whoever may have made both up: it does not push those out of the memo who come
    again, nor fill the memory with those who do not."""
    return _contact(public_key + address)


def parse_uri(text: str) -> Contact:
    """The contact of a ``dht://key@host:port``. Raises ``LocalError`` that shows what is wrong."""
    expected = "expected 'dht://<public key in base32>@host:port'"
    if not isinstance(text, str):
        raise LocalError(f"{expected}, got {text!r}")
    scheme, separator, rest = text.partition("://")
    key_text, at, address_text = rest.partition("@")
    if not separator or scheme != "dht" or not at:
        raise LocalError(f"{expected}, got {text!r}")
    public_key = from_base32(key_text)
    if public_key is None:
        raise LocalError(f"{expected}: the key must be 52 base32 characters, got {text!r}")
    address = parse_address(address_text)
    if not is_reachable(address):
        raise LocalError(f"{expected}: nobody can be reached at {address_text!r}")
    return contact_at(public_key, address)


@final
@attrs.frozen
class BareAddress:
    """An address of somebody whose public key is still to be asked for."""

    address: Address

    def __str__(self) -> str:
        return format_address(self.address)


@final
@attrs.frozen
class HostName:
    """A name that is still to be resolved, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


#: Whom a node may be told to ask first.
Introducer = Contact | BareAddress | HostName


def parse_introducer(text: str) -> Introducer:
    """A ``dht://`` URI, an ``IP:port`` or a ``name:port``. Raises ``LocalError``."""
    if not isinstance(text, str):
        raise LocalError(f"expected a dht:// URI or 'host:port', got {text!r}")
    if "://" in text or "@" in text:
        return parse_uri(text)
    host, _, port_text = text.rpartition(":")
    if _looks_like_a_name(host) and _PORT.fullmatch(port_text):
        port = int(port_text)
        if 0 < port <= PORT_MAX:
            return HostName(host.lower(), port)
    try:
        address = parse_address(text)
    except LocalError:
        raise LocalError(
            "expected 'dht://<public key in base32>@host:port', or 'host:port' with an IP address "
            f"or a host name and a port from 1 to {PORT_MAX}, got {text!r}"
        ) from None
    if not is_reachable(address):
        raise LocalError(f"nobody can be reached at {text!r}")
    return BareAddress(address)


def _looks_like_a_name(host: str) -> bool:
    """Could a resolver know it? With underscores, which container networks have in names; and not
    ending in a number, which is a mistyped address (the rule of the WHATWG's URL standard)."""
    labels = host.removesuffix(".").split(".")
    return (
        len(host) <= _NAME_SIZE_MAX
        and all(map(_LABEL.fullmatch, labels))
        and not labels[-1].isdecimal()
    )


def to_base32(data: bytes) -> str:
    """How people are shown keys: RFC 4648 in lower case, without padding."""
    return b32encode(data).decode().rstrip("=").lower()


def from_base32(text: str) -> bytes | None:
    """The 32 bytes that ``to_base32`` wrote as 52 letters; None for anything else."""
    try:
        data = b32decode(text.upper() + _BASE32_PADDING)
    except ValueError:
        return None
    # One key has one spelling: the 4 bits that 52 letters have to spare are zero.
    return data if len(data) == PUBLIC_KEY_SIZE and to_base32(data) == text.lower() else None
