"""The channel without secrets: what it carries, and what it drops."""

from hashlib import blake2s
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.config import DATAGRAM_SIZE_MAX
from dht.contacts import Contact, contact_at, pack_address
from dht.core.channel.face import Channel, Opened
from dht.core.channel.plain import OVERHEAD, ROOM, PlainChannel
from dht.network import Network

ALICE_KEY, BOB_KEY = b"a" * 32, b"b" * 32
ALICE = contact_at(ALICE_KEY, pack_address("192.0.2.1", 4001))
BOB = contact_at(BOB_KEY, pack_address("192.0.2.2", 4002))
REQUEST_ID = b"12345678"
CHECKSUM_KEY = Network.named("main").secrets()[0].checksum_key()
NOW = 0.0


def channel_of(contact: Contact) -> PlainChannel:
    return PlainChannel(contact.public_key)


def asked(message: bytes) -> bytes:
    """The datagram in which Alice asks Bob."""
    alice = channel_of(ALICE)
    alice.ask(NOW, BOB, REQUEST_ID, message)
    [(data, address)] = alice.datagrams_to_send()
    assert address == BOB.address
    return data


@given(message=st.binary(min_size=1, max_size=ROOM - 8))
def test_a_question_arrives_with_its_sender_and_the_answer_finds_back(message: bytes) -> None:
    alice, bob = channel_of(ALICE), channel_of(BOB)
    alice.ask(NOW, BOB, REQUEST_ID, message)
    [(data, _)] = alice.datagrams_to_send()
    opened = bob.receive(NOW, data, ALICE.address)
    assert opened is not None
    assert opened.public_key == ALICE_KEY
    assert opened.source == ALICE.address
    assert opened.payload == REQUEST_ID + message
    assert opened.proved
    bob.answer(NOW, opened.ticket, REQUEST_ID + b"yes")
    [(data, address)] = bob.datagrams_to_send()
    assert address == ALICE.address
    answer = alice.receive(NOW, data, BOB.address)
    assert answer is not None
    assert (answer.public_key, answer.payload) == (BOB_KEY, REQUEST_ID + b"yes")


def test_a_datagram_is_tag_key_request_id_message_and_checksum() -> None:
    before = b"\x10" + ALICE_KEY + REQUEST_ID + b"message"
    checksum = blake2s(before, digest_size=8, person=b"dht plai", key=CHECKSUM_KEY).digest()
    assert asked(b"message") == before + checksum


def test_the_longest_answer_fills_a_datagram_exactly() -> None:
    bob = channel_of(BOB)
    opened = bob.receive(NOW, asked(b"?"), ALICE.address)
    assert opened is not None
    assert opened.room + bob.overhead == DATAGRAM_SIZE_MAX
    bob.answer(NOW, opened.ticket, b"x" * opened.room)
    [(data, _)] = bob.datagrams_to_send()
    assert len(data) == DATAGRAM_SIZE_MAX
    assert channel_of(ALICE).receive(NOW, data, BOB.address) is not None


def test_a_payload_without_room_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        channel_of(BOB).answer(NOW, ALICE.address, b"x" * (ROOM + 1))


def test_what_is_to_be_sent_is_given_out_once_and_in_order() -> None:
    alice = channel_of(ALICE)
    assert alice.datagrams_to_send() == []
    alice.ask(NOW, BOB, REQUEST_ID, b"first")
    alice.ask(NOW, BOB, REQUEST_ID, b"second")
    assert [b"first" in data for data, _ in alice.datagrams_to_send()] == [True, False]
    assert alice.datagrams_to_send() == []


@given(data=st.data(), message=st.binary(min_size=1, max_size=200))
def test_one_flipped_bit_anywhere_is_enough_to_be_dropped(
    data: st.DataObject, message: bytes
) -> None:
    datagram = bytearray(asked(message))
    bit = data.draw(st.integers(0, len(datagram) * 8 - 1))
    datagram[bit // 8] ^= 1 << bit % 8
    assert channel_of(BOB).receive(NOW, bytes(datagram), ALICE.address) is None


@given(message=st.binary(min_size=1, max_size=100), cut=st.integers(1, 60))
def test_a_cut_datagram_is_dropped(message: bytes, cut: int) -> None:
    assert channel_of(BOB).receive(NOW, asked(message)[:-cut], ALICE.address) is None


@given(
    data=st.binary(max_size=DATAGRAM_SIZE_MAX + 100) | st.binary(max_size=80).map(b"\x10".__add__)
)
def test_any_other_bytes_are_dropped_and_nothing_is_raised(data: bytes) -> None:
    assert channel_of(BOB).receive(NOW, data, ALICE.address) is None


def sealed(payload: bytes, tag: bytes = b"\x10", key: bytes = ALICE_KEY) -> bytes:
    """A datagram whose checksum is right, whatever else is wrong with it."""
    before = tag + key + payload
    return before + blake2s(before, digest_size=8, person=b"dht plai", key=CHECKSUM_KEY).digest()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(sealed(b"x" * (ROOM + 1)), id="too long"),
        pytest.param(sealed(REQUEST_ID), id="an id without a message"),
        pytest.param(sealed(b""), id="no payload"),
        pytest.param(sealed(REQUEST_ID + b"m", tag=b"\x11"), id="of another channel"),
        pytest.param(sealed(REQUEST_ID + b"m", key=BOB_KEY), id="our own, reflected"),
    ],
)
def test_a_right_checksum_alone_is_not_enough(data: bytes) -> None:
    assert channel_of(BOB).receive(NOW, data, ALICE.address) is None


def test_the_shortest_and_the_longest_datagram_are_taken() -> None:
    for payload in (REQUEST_ID + b"m", b"x" * ROOM):
        assert channel_of(BOB).receive(NOW, sealed(payload), ALICE.address) == Opened(
            ALICE_KEY, ALICE.address, payload, ALICE.address, ROOM, proved=True
        )


# ---- networks ----

OLD_KEY, NEW_KEY = b"o" * 32, b"n" * 32


def passes(sender: Network, receiver: Network) -> bool:
    """Does what one says in its network reach the other in its own?"""
    alice = PlainChannel(ALICE_KEY, network=sender)
    alice.ask(NOW, BOB, REQUEST_ID, b"m")
    [(data, _)] = alice.datagrams_to_send()
    return PlainChannel(BOB_KEY, network=receiver).receive(NOW, data, ALICE.address) is not None


def test_two_networks_never_mix() -> None:
    networks = [
        *(Network.named("main"), Network.named("other")),
        *(Network.named("main", OLD_KEY), Network.named("main", NEW_KEY)),
    ]
    for one in networks:
        assert [other for other in networks if passes(one, other)] == [one]


def test_while_a_key_is_replaced_it_speaks_with_the_first_and_understands_all() -> None:
    old, new = Network.named("main", OLD_KEY), Network.named("main", NEW_KEY)
    prepared = Network.named("main", [OLD_KEY, NEW_KEY])
    changed = Network.named("main", [NEW_KEY, OLD_KEY])
    assert passes(old, prepared)
    assert passes(prepared, old)
    assert passes(prepared, changed)
    assert passes(changed, prepared)
    assert passes(new, changed)
    assert passes(changed, new)
    assert not passes(changed, old)
    assert not passes(prepared, new)


# ---- WHO and IAM ----


def test_a_bare_address_says_who_is_there() -> None:
    alice, bob = PlainChannel(ALICE_KEY, random=Random(1)), channel_of(BOB)
    alice.who(NOW, BOB.address)
    [(question, address)] = alice.datagrams_to_send()
    assert address == BOB.address
    assert bob.receive(NOW, question, ALICE.address) is None
    [(answer, address)] = bob.datagrams_to_send()
    assert address == ALICE.address
    assert alice.receive(NOW, answer, BOB.address) is None
    assert alice.identified() == [(BOB.address, BOB_KEY)]
    assert alice.identified() == []
    assert bob.receive(NOW, answer, ALICE.address) is None  # it asked nobody
    assert (bob.datagrams_to_send(), bob.identified()) == ([], [])


def test_it_waits_for_nothing() -> None:
    channel: Channel = channel_of(ALICE)  # and has the face of every channel
    channel.handle_timeout(NOW)
    assert channel.next_timeout() is None
    assert channel.datagrams_to_send() == []
    assert channel.overhead == OVERHEAD
