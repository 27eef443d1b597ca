"""Addresses, contacts and URIs: one peer has one spelling."""

import ipaddress
import tracemalloc
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.contacts import (
    Address,
    BareAddress,
    Contact,
    HostName,
    contact_at,
    format_address,
    ip_of,
    is_ipv6,
    is_local,
    is_reachable,
    pack_address,
    parse_address,
    parse_introducer,
    parse_uri,
    port_of,
    split_address,
    stranger_at,
    subnet_of,
    unpack_contact,
    wide_subnet_of,
)
from dht.errors import LocalError
from dht.keyspace import node_id
from tests.strategies import addresses, contacts, public_keys

KEY = bytes(range(32))
KEY_TEXT = "aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq"
URI = f"dht://{KEY_TEXT}@192.0.2.1:4000"


def at(host: str) -> Address:
    return pack_address(host, 4000)


# ---- addresses ----


@given(addresses())
def test_an_address_is_written_and_read_back(address: Address) -> None:
    assert parse_address(format_address(address)) == address
    assert pack_address(*split_address(address)) == address


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6), st.integers(0, 65535))
def test_the_parts_of_an_address_are_slices_of_it(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    address = pack_address(str(ip), port)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    assert is_ipv6(address) == (ip.version == 6)
    assert port_of(address) == port
    assert ip_of(address) == ip.packed
    length = 48 if ip.version == 6 else 24
    subnet = ipaddress.ip_network((ip, length), strict=False)
    assert subnet_of(address) == subnet.network_address.packed[: length // 8]


def test_ports_do_not_matter_to_what_is_counted_by_host_or_subnet() -> None:
    one, other = pack_address("192.0.2.1", 1), pack_address("192.0.2.1", 2)
    assert ip_of(one) == ip_of(other)
    assert subnet_of(one) == subnet_of(other) != subnet_of(at("192.0.3.1"))


def test_wide_subnets_are_those_of_ipv6() -> None:
    assert wide_subnet_of(at("2001:db8:1::1")) == wide_subnet_of(at("2001:db8:ffff::1"))
    assert wide_subnet_of(at("2001:db8::1")) != wide_subnet_of(at("2001:db9::1"))
    assert wide_subnet_of(at("192.0.2.1")) is None


def test_an_ipv4_mapped_address_is_the_ipv4_address() -> None:
    assert at("::ffff:192.0.2.1") == at("192.0.2.1")
    assert parse_address("[::ffff:192.0.2.1]:4000") == at("192.0.2.1")


def test_a_scope_is_dropped() -> None:
    assert at("fe80::1%eth0") == at("fe80::1")


@pytest.mark.parametrize(
    "host", ["", "localhost", "192.0.2", "192.0.2.256", "192.0.02.1", "1::2::3", None, 7, b"::1"]
)
def test_a_host_is_a_literal_address(host: object) -> None:
    """A name would need a resolver, and nothing below the shell asks one."""
    with pytest.raises(LocalError, match="expected an IPv4 or IPv6 address"):
        pack_address(host, 4000)  # type: ignore[arg-type]


@pytest.mark.parametrize("port", [-1, 65536, 1.0, "4000", None, True])
def test_a_port_is_a_number_of_16_bits(port: object) -> None:
    with pytest.raises(LocalError, match="a port is a number from 0 to 65535"):
        pack_address("192.0.2.1", port)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "192.0.2.1", "192.0.2.1:", ":4000", "192.0.2.1:4000 ", " 192.0.2.1:4000"),
        *("192.0.2.1:-1", "192.0.2.1:+1", "192.0.2.1:65536", "192.0.2.1:4_0", "192.0.2.1:٤٠"),
        *("::1:4000", "[::1]", "[::1]4000", "[192.0.2.1]:4000", "::1]:4000", "[::1:4000"),
        *("localhost:4000", "http://192.0.2.1:4000", None, 7, b"192.0.2.1:4000"),
        "192.0.2.1:" + "9" * 5000,
    ],
)
def test_what_is_no_address_is_refused(text: object) -> None:
    with pytest.raises(LocalError):
        parse_address(text)  # type: ignore[arg-type]


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_a_local_error(text: str) -> None:
    try:
        address = parse_address(text)
    except LocalError:
        return
    assert parse_address(format_address(address)) == address


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *(("127.0.0.1", True), ("127.255.255.254", True), ("::1", True)),
        *(("10.1.2.3", True), ("172.16.0.1", True), ("172.31.255.255", True)),
        *(("192.168.0.1", True), ("169.254.1.1", True), ("fe80::1", True), ("fd00::1", True)),
        *(("1.0.0.1", False), ("8.8.8.8", False), ("172.32.0.1", False), ("11.0.0.1", False)),
        *(("100.64.0.1", False), ("2600::1", False)),
        # Anybody with an IPv4 address has the 2^80 of his 6to4 prefix: limits must hold for them.
        *(("2002:808:808::1", False), ("2001::1", False)),
    ],
)
def test_local_ranges_are_those_that_say_nothing_of_their_owner(host: str, *, local: bool) -> None:
    assert is_local(at(host)) is local


@pytest.mark.parametrize(
    ("text", "reachable"),
    [
        *(("192.0.2.1:4000", True), ("127.0.0.1:1", True), ("[2600::1]:65535", True)),
        *(("192.0.2.1:0", False), ("[2600::1]:0", False)),
        *(("0.0.0.0:4000", False), ("[::]:4000", False), ("255.255.255.255:4000", False)),
        *(("224.0.0.1:4000", False), ("239.1.2.3:4000", False), ("[ff02::1]:4000", False)),
    ],
)
def test_nobody_answers_at_port_0_a_group_or_a_wildcard(text: str, *, reachable: bool) -> None:
    assert is_reachable(parse_address(text)) is reachable


LOCAL_NETWORKS = [
    ipaddress.ip_network(text)
    for text in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
]
#: At random, and at both ends of what is special.
IPS = st.one_of(
    st.ip_addresses(v=4),
    st.ip_addresses(v=6),
    *[st.ip_addresses(network=network) for network in LOCAL_NETWORKS],
    st.sampled_from([network[end] for network in LOCAL_NETWORKS for end in (0, -1)]),
    st.sampled_from(
        [network[end] + step for network in LOCAL_NETWORKS for end, step in ((0, -1), (-1, 1))]
    ),
    st.ip_addresses(network="224.0.0.0/3"),
    st.ip_addresses(network="ff00::/8"),
).filter(lambda ip: ip.version == 4 or ip.ipv4_mapped is None)


@given(IPS, st.integers(0, 65535))
def test_ranges_are_told_by_bytes_as_the_standard_library_tells_them(ip: Any, port: int) -> None:
    address = pack_address(str(ip), port)
    assert is_local(address) is any(ip in network for network in LOCAL_NETWORKS)
    nobody = ip.is_unspecified or ip.is_multicast or str(ip) == "255.255.255.255" or not port
    assert is_reachable(address) is not nobody


def test_a_flood_of_invented_contacts_pins_little_memory() -> None:
    random = Random(1)
    unpack_contact.cache_clear()
    tracemalloc.start()
    try:
        for _ in range(12_000):
            made = contact_at(random.randbytes(32), Address(random.randbytes(6)))
            assert is_local(made.address) is (made.subnet is None)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 3 * 2**20


# ---- contacts ----


@given(public_keys(), addresses())
def test_a_contact_is_a_key_and_an_address(public_key: bytes, address: Address) -> None:
    contact = contact_at(public_key, address)
    assert (contact.public_key, contact.address) == (public_key, address)
    assert contact.packed == public_key + address
    assert len(contact.packed) == (50 if is_ipv6(address) else 38)


@given(contacts())
def test_the_id_is_recomputed_from_the_key(contact: Contact) -> None:
    assert unpack_contact(contact.packed).id == node_id(contact.public_key)


@given(contacts(), contacts())
def test_contacts_are_equal_when_their_packed_forms_are(one: Contact, other: Contact) -> None:
    twin = Contact(one.public_key, one.address, one.id, one.packed)
    assert twin == one
    assert hash(twin) == hash(one)
    assert (one == other) == (one.packed == other.packed)
    assert one != one.packed


def test_a_contact_is_shown_in_a_line() -> None:
    contact = contact_at(KEY, at("192.0.2.1"))
    assert str(contact) == repr(contact) == f"Contact({contact.id.hex()[:8]}… at 192.0.2.1:4000)"


# ---- URIs ----


def test_a_uri_by_hand() -> None:
    """The key is bytes 0 to 31; RFC 4648 base32 in lower case without its padding."""
    contact = contact_at(KEY, at("192.0.2.1"))
    assert contact.uri == URI
    assert parse_uri(URI) == contact


@given(contacts())
def test_a_uri_is_written_and_read_back(contact: Contact) -> None:
    assert parse_uri(contact.uri) == contact


def test_a_key_may_be_shouted() -> None:
    assert parse_uri(URI.replace(KEY_TEXT, KEY_TEXT.upper())) == parse_uri(URI)


def test_one_key_has_one_spelling() -> None:
    """52 letters hold 260 bits: the 4 to spare must be zero, or one peer had 16 URIs."""
    assert KEY_TEXT.endswith("q")  # 0b10000
    for last in "rstuvwxyz234567":
        with pytest.raises(LocalError, match="52 base32 characters"):
            parse_uri(URI.replace(KEY_TEXT, KEY_TEXT[:-1] + last))


@pytest.mark.parametrize(
    "text",
    [
        *("", "dht://", "dht://@", URI.replace("dht:", "http:"), URI[6:], URI.replace("@", "")),
        *(URI + "/", " " + URI, URI + "\n", URI.replace("@", "@@"), URI.replace(":4000", "")),
        *(URI.replace(KEY_TEXT, KEY_TEXT[:-1]), URI.replace(KEY_TEXT, KEY_TEXT + "====")),
        *(URI.replace(KEY_TEXT, KEY_TEXT + "a"), URI.replace(KEY_TEXT, "0" + KEY_TEXT[1:])),
        *(URI.replace(KEY_TEXT, "\u017f" + KEY_TEXT[1:]), URI.replace("192.0.2.1", "example.org")),
        *(None, 7, URI.encode()),
    ],
)
def test_what_is_no_uri_is_refused(text: object) -> None:
    with pytest.raises(LocalError, match="expected"):
        parse_uri(text)  # type: ignore[arg-type]


@pytest.mark.parametrize("address", ["192.0.2.1:0", "0.0.0.0:4000", "[::]:4000", "224.0.0.1:1"])
def test_a_uri_leads_to_somebody(address: str) -> None:
    with pytest.raises(LocalError, match="nobody can be reached"):
        parse_uri(f"dht://{KEY_TEXT}@{address}")


@given(st.text(max_size=80) | st.text("dht:/@.[]0123456789abq", max_size=80))
def test_any_text_is_a_uri_or_a_local_error(text: str) -> None:
    for candidate in (text, f"dht://{text}", f"dht://{KEY_TEXT}@{text}"):
        try:
            contact = parse_uri(candidate)
        except LocalError:
            continue
        assert parse_uri(contact.uri) == contact


# ---- introducers ----


@given(contacts())
def test_an_introducer_may_be_a_contact_or_only_its_address(contact: Contact) -> None:
    where = format_address(contact.address)
    if contact.reachable:
        assert parse_introducer(contact.uri) == contact
        assert parse_introducer(where) == BareAddress(contact.address)
        assert str(BareAddress(contact.address)) == where
    else:
        with pytest.raises(LocalError):
            parse_introducer(where)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("localhost:4000", "localhost"),
        ("seed.Example.ORG:4000", "seed.example.org"),
        ("seed.example.org.:4000", "seed.example.org."),
        ("my_service-1:4000", "my_service-1"),
        ("xn--nxasmq6b:4000", "xn--nxasmq6b"),
        ("1st.example:4000", "1st.example"),
    ],
)
def test_an_introducer_may_be_a_name(text: str, host: str) -> None:
    assert parse_introducer(text) == HostName(host, 4000)
    assert str(parse_introducer(text)) == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        *("localhost", "localhost:", "localhost:0", "localhost:65536", "localhost:x", ":4000", ""),
        *("a b:4000", "-a:4000", "a-:4000", "a..b:4000", ".:4000", "a/b:4000", "grüße:4000"),
        *("a" * 64 + ":4000", "a." * 127 + "a:4000", "1.2.3:4000", "1.2.3.4.5:4000", "300.1.1.1:1"),
        *("0.0.0.0:4000", "1.2.3.4:0", "224.0.0.1:4000", "::1:4000", "[::1]", "[localhost]:4000"),
        *("http://localhost:4000", "user@localhost:4000", "dht://localhost:4000", None, 7, b"a:1"),
    ],
)
def test_what_is_no_introducer_is_shown(text: object) -> None:
    with pytest.raises(LocalError) as caught:
        parse_introducer(text)  # type: ignore[arg-type]
    assert repr(text) in str(caught.value)


@given(st.text() | st.text("abc.:-_0123456789[]"))
def test_any_text_is_an_introducer_or_a_local_error(text: str) -> None:
    try:
        introducer = parse_introducer(text)
    except LocalError:
        return
    assert str(introducer)


@given(public_keys(), addresses())
def test_a_stranger_is_the_same_contact_but_takes_no_room_in_the_memo(
    public_key: bytes, address: Address
) -> None:
    before = unpack_contact.cache_info()
    stranger = stranger_at(public_key, address)
    assert unpack_contact.cache_info() == before
    assert stranger == contact_at(public_key, address)
    assert stranger.id == contact_at(public_key, address).id
