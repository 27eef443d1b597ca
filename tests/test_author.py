"""Authors: key pairs that sign, and ids that readers hold, write down and mistype."""

from random import Random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.author import Author, AuthorId, check_author, verify_untrusted
from dht.errors import LocalError, RemoteError
from dht.identity import Identity
from dht.keyspace import Key
from tests.strategies import AUTHORS, authors

# RFC 8032 section 7.1, test 2.
SECRET = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
NO_AUTHORS = [
    Identity.generate(Random(1)),
    Key(7),
    b"",
    bytes(31),
    bytes(32),
    bytes(33),
    bytearray(32),
    7,
    None,
    object(),
]


def test_keys_and_signatures_are_those_of_rfc_8032() -> None:
    author = Author.from_private_bytes(SECRET)
    assert author.id.public_key == PUBLIC
    assert author.sign(b"\x72") == SIGNATURE
    verify_untrusted(PUBLIC, SIGNATURE, b"\x72")


def test_randomness_comes_from_the_generator_that_was_passed_in() -> None:
    assert Author.generate(Random(1)) == Author.generate(Random(1))
    assert Author.generate(Random(1)) != Author.generate(Random(2))
    assert Author.generate(Random(1)).private_key.private_bytes_raw() == Random(1).randbytes(32)


def test_the_secret_is_never_shown() -> None:
    author = Author.from_private_bytes(SECRET)
    for text in (repr(author), str(author), str(attrs.asdict(author, recurse=False)["id"])):
        assert SECRET.hex() not in text
        assert repr(SECRET) not in text
    with pytest.raises(LocalError) as caught:
        Author.from_private_bytes(SECRET + b"!")
    assert "33 bytes" in str(caught.value)
    assert repr(SECRET)[2:20] not in str(caught.value)


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33), "x" * 32, None, 32])
def test_what_is_no_secret_is_refused(secret: object) -> None:
    with pytest.raises(LocalError, match="32 secret bytes"):
        Author.from_private_bytes(secret)  # type: ignore[arg-type]


@given(authors(), st.binary(max_size=200), st.data())
def test_only_these_bytes_of_this_author_have_this_signature(
    author: Author, data: bytes, draws: st.DataObject
) -> None:
    signature = author.sign(data)
    verify_untrusted(author.id.public_key, signature, data)
    parts = [author.id.public_key, signature, data + b"."]
    which = draws.draw(st.integers(0, 2))
    bit = draws.draw(st.integers(0, 8 * len(parts[which]) - 1))
    changed = bytearray(parts[which])
    changed[bit // 8] ^= 1 << bit % 8
    parts[which] = bytes(changed)
    with pytest.raises(RemoteError, match="signature"):
        verify_untrusted(parts[0], parts[1], parts[2])


# ---- ids ----


@given(st.binary(min_size=32, max_size=32))
def test_an_id_is_written_down_and_read_back(public_key: bytes) -> None:
    author_id = AuthorId(public_key)
    text = str(author_id)
    assert len(text) == len("author:") + 56
    assert AuthorId.parse(text) == AuthorId.parse("author:" + text[7:].upper()) == author_id
    assert text in repr(author_id)


@given(authors(), st.integers(7, 62), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_mistyped_letter_is_found(author: Author, place: int, letter: str) -> None:
    """A reader would only hear that nobody has the record."""
    text = str(author.id)
    wrong = text[:place] + letter + text[place + 1 :]
    if wrong != text:
        with pytest.raises(LocalError, match="a letter wrong"):
            AuthorId.parse(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "author:",
        "author:" + "a" * 55,
        "author:" + "a" * 64,
        "author:" + "1" * 56,
        "author:" + "ä" * 56,
        str(AUTHORS[0].id) + "=",
        str(AUTHORS[0].id)[:-1],
    ],
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(LocalError, match="a letter wrong"):
        AuthorId.parse(text)


@pytest.mark.parametrize("text", ["", "k" * 64, SECRET.hex(), "dht://x@1.2.3.4:5", 7, None, b""])
def test_what_does_not_look_like_an_id_is_not_even_shown(text: object) -> None:
    """It may be a secret that somebody pasted."""
    with pytest.raises(LocalError, match="is written 'author:") as caught:
        AuthorId.parse(text)  # type: ignore[arg-type]
    assert SECRET.hex() not in str(caught.value)


@pytest.mark.parametrize("public_key", [b"", bytes(31), bytes(33), "x" * 32, Key(1), None])
def test_an_id_is_made_of_32_bytes(public_key: object) -> None:
    with pytest.raises(LocalError, match="32 bytes"):
        AuthorId(public_key)  # type: ignore[arg-type]


# ---- where an author is expected ----


def test_a_reader_says_who_in_three_ways() -> None:
    author = AUTHORS[0]
    assert AuthorId.of(author) == AuthorId.of(author.id) == AuthorId.of(str(author.id)) == author.id


@pytest.mark.parametrize("thing", NO_AUTHORS, ids=lambda thing: type(thing).__name__)
def test_what_is_no_author_is_refused_and_told_what_one_is(thing: object) -> None:
    with pytest.raises(LocalError, match=r"an author is a dht\.Author"):
        AuthorId.of(thing)  # type: ignore[arg-type]
    with pytest.raises(LocalError, match=r"who writes is a dht\.Author") as caught:
        check_author(thing)
    assert type(thing).__name__ in str(caught.value) or "bytes" in str(caught.value)


def test_an_id_is_enough_to_read_and_not_to_write() -> None:
    for reader in (AUTHORS[0].id, str(AUTHORS[0].id)):
        with pytest.raises(LocalError, match="takes its secret"):
            check_author(reader)
    check_author(AUTHORS[0])
