"""Key pairs: made of secret bytes alone, never shown."""

from random import Random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.errors import LocalError
from dht.identity import Identity
from dht.keyspace import node_id, solves_puzzle
from tests.strategies import identities

# RFC 7748 section 6.1: Alice's pair.
ALICE_PRIVATE = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
ALICE_PUBLIC = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")


def test_the_public_key_is_the_one_of_rfc_7748() -> None:
    assert Identity.from_private_bytes(ALICE_PRIVATE).public_key == ALICE_PUBLIC


@given(identities())
def test_the_id_is_the_hash_of_the_public_key(identity: Identity) -> None:
    assert identity.id == node_id(identity.public_key)


@given(st.binary(min_size=32, max_size=32))
def test_the_same_secret_is_the_same_identity(secret: bytes) -> None:
    one, other = Identity.from_private_bytes(secret), Identity.from_private_bytes(secret)
    assert one == other
    assert hash(one) == hash(other)


def test_randomness_comes_from_the_generator_that_was_passed_in() -> None:
    assert Identity.generate(Random(1)) == Identity.generate(Random(1))
    assert Identity.generate(Random(1)) != Identity.generate(Random(2))


@given(st.binary(min_size=32, max_size=32))
def test_the_secret_is_never_shown(secret: bytes) -> None:
    identity = Identity.from_private_bytes(secret)
    assert secret.hex() not in repr(identity)
    assert repr(secret) not in repr(identity)
    assert identity.public_key.hex() in repr(identity)


def test_an_identity_does_not_change() -> None:
    identity = Identity.generate(Random(1))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        identity.public_key = bytes(32)  # type: ignore[misc]


def test_an_id_is_searched_for_until_it_has_cost_enough() -> None:
    assert Identity.generate(Random(1), puzzle_bits=0) == Identity.generate(Random(1))
    random = Random(1)
    cheap = [Identity.generate(random) for _ in range(1000)]
    dear = Identity.generate(Random(1), puzzle_bits=6)
    assert dear == next(each for each in cheap if solves_puzzle(each.id, 6))


@pytest.mark.parametrize(
    ("secret", "got"),
    [(b"", "0 bytes"), (bytes(31), "31 bytes"), (bytes(33), "33 bytes"), ("x" * 32, "str")],
)
def test_another_length_or_type_is_refused_and_not_shown(secret: object, got: str) -> None:
    """The message names what was passed, and not the bytes: they may be a secret all the same."""
    with pytest.raises(LocalError, match=f"32 secret bytes, got {got}$"):
        Identity.from_private_bytes(secret)  # type: ignore[arg-type]
