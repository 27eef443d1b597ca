"""The handshake: as others have written it down, and as others have programmed it."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from dht.core.channel.noise import FIRST_OVERHEAD, SECOND_OVERHEAD, Initiator, Keys, Responder
from dht.errors import RemoteError

# From cacophony, a Noise in Haskell, whose vectors are in the public domain: that of our suite.
OFFICIAL = Path(__file__).parents[2] / "vectors" / "official" / "noise.json"
PSK = b"\5" * 32
# The points of order 1 and 2: no private key has them, and every shared secret with them is zero.
LOW_ORDER = [bytes(32), b"\1" + bytes(31)]


def private(raw: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(raw)


def public(raw: bytes) -> bytes:
    return private(raw).public_key().public_bytes_raw()


def initiator(
    remote: bytes, *, raw: bytes = b"\1" * 32, psk: bytes = PSK, prologue: bytes = b"p"
) -> Initiator:
    return Initiator(
        static=private(raw),
        static_public=public(raw),
        remote_public=remote,
        psk=psk,
        prologue=prologue,
        ephemeral=b"\2" * 32,
    )


def responder(raw: bytes = b"\3" * 32, *, psk: bytes = PSK, prologue: bytes = b"p") -> Responder:
    return Responder(static=private(raw), static_public=public(raw), psk=psk, prologue=prologue)


def shaken() -> tuple[Initiator, Responder, bytes, bytes]:
    """Both ends after a handshake, and its two messages."""
    ours, theirs = initiator(public(b"\3" * 32)), responder()
    first = ours.write(b"hello")
    assert theirs.read_untrusted(first) == b"hello"
    second = theirs.write(b"\4" * 32, b"welcome")
    assert ours.read_untrusted(second) == b"welcome"
    return ours, theirs, first, second


def test_the_official_vector_of_the_suite() -> None:
    [vector] = json.loads(OFFICIAL.read_text())["vectors"]
    value = {
        name: bytes.fromhex(text)
        for name, text in vector.items()
        if isinstance(text, str) and name != "protocol_name"
    }
    [psk] = map(bytes.fromhex, vector["init_psks"])
    ours = Initiator(
        static=private(value["init_static"]),
        static_public=public(value["init_static"]),
        remote_public=value["init_remote_static"],
        psk=psk,
        prologue=value["init_prologue"],
        ephemeral=value["init_ephemeral"],
    )
    theirs = responder(value["resp_static"], psk=psk, prologue=value["resp_prologue"])
    messages = [
        (bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in vector["messages"]
    ]
    (payload, first), (answer, second), *transport = messages
    assert ours.write(payload) == first
    assert theirs.read_untrusted(first) == payload
    assert theirs.write(value["resp_ephemeral"], answer) == second
    assert ours.read_untrusted(second) == answer
    assert ours.hash == theirs.hash == value["handshake_hash"]
    assert theirs.remote_public == public(value["init_static"])
    # The rest alternates, each direction with a key and a count of its own.
    for number, (text, sealed) in enumerate(transport):
        keys = (ours, theirs)[number % 2].keys()
        nonce = bytes(4) + (number // 2).to_bytes(8, "little")
        assert ChaCha20Poly1305(keys.send).encrypt(nonce, text, b"") == sealed


def second_opinion(raw: bytes, *, initiates: bool, remote: bytes = b"") -> Any:
    """One end as ``noiseprotocol`` sees it."""
    other = NoiseConnection.from_name(b"Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s")
    if initiates:
        other.set_as_initiator()
        other.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, remote)
    else:
        other.set_as_responder()
    other.set_psks(PSK)
    other.set_prologue(b"p")
    other.set_keypair_from_private_bytes(Keypair.STATIC, raw)
    other.start_handshake()
    return other


def say_both_ways(keys: Keys, other: Any) -> None:
    """What one seals the other opens, three times in each direction."""
    for number in range(3):
        nonce = bytes(4) + number.to_bytes(8, "little")
        sealed = ChaCha20Poly1305(keys.send).encrypt(nonce, b"ours", b"")
        assert other.decrypt(sealed) == b"ours"
        theirs = bytes(other.encrypt(b"theirs"))
        assert ChaCha20Poly1305(keys.receive).decrypt(nonce, theirs, b"") == b"theirs"


def test_an_independent_implementation_answers_our_handshake() -> None:
    other = second_opinion(b"\3" * 32, initiates=False)
    ours = initiator(public(b"\3" * 32))
    assert bytes(other.read_message(ours.write(b"hello"))) == b"hello"
    assert ours.read_untrusted(bytes(other.write_message(b"welcome"))) == b"welcome"
    assert other.handshake_finished
    say_both_ways(ours.keys(), other)


def test_an_independent_implementation_starts_a_handshake_with_us() -> None:
    other = second_opinion(b"\1" * 32, initiates=True, remote=public(b"\3" * 32))
    ours = responder()
    assert ours.read_untrusted(bytes(other.write_message(b"hello"))) == b"hello"
    assert ours.remote_public == public(b"\1" * 32)
    assert bytes(other.read_message(ours.write(b"\4" * 32, b"welcome"))) == b"welcome"
    say_both_ways(ours.keys(), other)


@given(st.binary(max_size=1100), st.binary(max_size=1100), st.integers(0, 2**32))
def test_payloads_of_any_length_arrive_and_both_ends_have_the_same_keys(
    request: bytes, answer: bytes, seed: int
) -> None:
    random = Random(seed)
    raw = random.randbytes(32)
    ours, theirs = initiator(public(raw)), responder(raw)
    first = ours.write(request)
    assert len(first) == len(request) + FIRST_OVERHEAD
    assert theirs.read_untrusted(first) == request
    second = theirs.write(random.randbytes(32), answer)
    assert len(second) == len(answer) + SECOND_OVERHEAD
    assert ours.read_untrusted(second) == answer
    assert ours.keys() == Keys(theirs.keys().receive, theirs.keys().send)
    assert ours.hash == theirs.hash


@pytest.mark.parametrize(
    "other",
    [
        lambda: responder(b"\6" * 32),
        lambda: responder(psk=b"\7" * 32),
        lambda: responder(prologue=b"q"),
    ],
    ids=["key", "psk", "prologue"],
)
def test_with_another_nobody_reads_the_first_message(other: Callable[[], Responder]) -> None:
    with pytest.raises(RemoteError):
        other().read_untrusted(initiator(public(b"\3" * 32)).write(b"hello"))


def test_an_answer_to_another_handshake_is_none() -> None:
    _, _, _, second = shaken()
    ours = initiator(public(b"\3" * 32), raw=b"\6" * 32)
    ours.write(b"hello")
    with pytest.raises(RemoteError):
        ours.read_untrusted(second)


def test_a_forged_answer_leaves_room_for_the_true_one() -> None:
    """Otherwise who can send one datagram in the name of an address could end a handshake."""
    ours, theirs = initiator(public(b"\3" * 32)), responder()
    theirs.read_untrusted(ours.write(b"hello"))
    second = theirs.write(b"\4" * 32, b"welcome")
    for forged in (second[:-1] + b"x", public(b"\6" * 32) + second[32:], second[:40], b""):
        with pytest.raises(RemoteError):
            ours.read_untrusted(forged)
    assert ours.read_untrusted(second) == b"welcome"


def test_every_bit_of_both_messages_matters() -> None:
    """The one exception is the highest bit of an X25519 key, which RFC 7748 ignores: but the
    handshake hash is over the bytes as they are."""
    ours, _, first, second = shaken()
    for at in range(8 * len(first)):
        flipped = bytearray(first)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(RemoteError):
            responder().read_untrusted(bytes(flipped))
    ours = initiator(public(b"\3" * 32))
    ours.write(b"hello")
    for at in range(8 * len(second)):
        flipped = bytearray(second)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(RemoteError):
            ours.read_untrusted(bytes(flipped))


@pytest.mark.parametrize("size", range(0, FIRST_OVERHEAD + 6, 7))
def test_a_truncated_message_is_refused(size: int) -> None:
    _, _, first, second = shaken()
    with pytest.raises(RemoteError):
        responder().read_untrusted(first[:size])
    ours = initiator(public(b"\3" * 32))
    ours.write(b"hello")
    with pytest.raises(RemoteError):
        ours.read_untrusted(second[: min(size, len(second) - 1)])


@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_point_of_low_order_is_no_public_key(point: bytes) -> None:
    with pytest.raises(RemoteError):
        initiator(point).write(b"hello")
    _, _, first, second = shaken()
    with pytest.raises(RemoteError):
        responder().read_untrusted(point + first[32:])
    ours = initiator(public(b"\3" * 32))
    ours.write(b"hello")
    with pytest.raises(RemoteError):
        ours.read_untrusted(point + second[32:])
