"""The files of vectors say what the code does, read in both directions.

They are the protocol as other implementations see it: when one of these tests fails, either the
code is wrong, or the protocol was changed, and then docs/protocol.md and CHANGELOG.md say so too.
"""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dht.author import Author, AuthorId
from dht.contacts import (
    Address,
    contact_at,
    format_address,
    pack_address,
    parse_address,
    parse_uri,
    unpack_contact,
)
from dht.core.channel.face import Opened
from dht.core.channel.load import Gate, Verdict
from dht.core.channel.plain import PlainChannel
from dht.core.channel.secure import SecureChannel
from dht.core.channel.who import Who
from dht.errors import RemoteError
from dht.identity import Identity
from dht.keyspace import (
    Key,
    content_key,
    node_id,
    plain_key,
    record_name,
    signed_key,
    solves_puzzle,
    topic_key,
)
from dht.network import Network
from dht.records import (
    Head,
    Kind,
    Proof,
    check_untrusted,
    hash_of_pieces,
    is_newer,
    piece_hashes,
    value_hash,
)
from dht.wire import messages as wire
from dht.wire.codec import decode_untrusted, encode
from tests.vectors import conversation
from tests.vectors.make import FOLDER, VECTORS, text_of, value_of_size

Row = dict[str, Any]
PROTOCOL = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
SOMEWHERE = pack_address("192.0.2.1", 4000)


def load(name: str) -> list[Row]:
    rows: list[Row] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return rows


def rows_of(name: str) -> pytest.MarkDecorator:
    rows = load(name)
    return pytest.mark.parametrize("row", rows, ids=[str(number) for number in range(len(rows))])


@pytest.mark.parametrize("name", VECTORS)
def test_the_files_are_what_make_would_write(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == text_of(name)


def test_there_is_no_file_that_nobody_makes() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(VECTORS)


# ---- values ----


@rows_of("keyspace")
def test_keys(row: Row) -> None:
    make: Callable[[bytes], Key] = {
        "plain": plain_key,
        "content": content_key,
        "node": node_id,
        "name": lambda data: Key(int.from_bytes(record_name(data[16:], data[:16]))),
        "signed": lambda data: signed_key(data[:32], data[32:]),
        "topic": lambda data: topic_key(data[16:], data[:16]),
    }[row["kind"]]
    data = bytes.fromhex(row["input"])
    assert make(data) == Key.from_hex(row["key"])
    assert make(data).hex() == row["key"]
    if "text" in row:
        assert plain_key(row["text"]) == make(data)


@rows_of("contacts")
def test_contacts(row: Row) -> None:
    identity = Identity.from_private_bytes(bytes.fromhex(row["private_key"]))
    assert identity.public_key.hex() == row["public_key"]
    assert identity.id.hex() == row["id"]

    contact = contact_at(identity.public_key, parse_address(row["address"]))
    assert (contact.packed.hex(), contact.uri) == (row["packed"], row["uri"])

    for read in (parse_uri(row["uri"]), unpack_contact(bytes.fromhex(row["packed"]))):
        assert read == contact
        assert read.id.hex() == row["id"]
        assert format_address(read.address) == row["address"]


@rows_of("authors")
def test_authors(row: Row) -> None:
    author = Author.from_private_bytes(bytes.fromhex(row["private_key"]))
    assert author.id.public_key.hex() == row["public_key"]
    assert str(author.id) == row["text"]
    assert AuthorId.parse(row["text"]) == author.id


@rows_of("values")
def test_value_hashes(row: Row) -> None:
    value = value_of_size(row["size"])
    assert value_hash(value).hex() == row["value_hash"]
    if row["piece_hashes"] is not None:
        assert piece_hashes(value).hex() == row["piece_hashes"]
        assert hash_of_pieces(bytes.fromhex(row["piece_hashes"])).hex() == row["value_hash"]


def head_of(row: Row) -> Head:
    return Head(
        kind=Kind(row["kind"]),
        key=Key.from_hex(row["key"]),
        version=row["version"],
        written_at_ms=row["written_at_ms"],
        ttl_ms=row["ttl_ms"],
        tombstone=row["tombstone"],
        size=row["size"],
        value_hash=bytes.fromhex(row["value_hash"]),
        proof=row["author"]
        and Proof(*(bytes.fromhex(row[name]) for name in ("author", "signature", "name"))),
    )


@rows_of("records")
def test_record_bodies(row: Row) -> None:
    head = head_of(row)
    assert head.body.hex() == row["body"]
    assert head.order == (row["version"], row["tombstone"], bytes.fromhex(row["body_hash"]))
    value = value_of_size(row["size"]) if row["value"] is None else bytes.fromhex(row["value"])
    record = head.with_value(value)
    assert record.head == head
    check_untrusted(record, value_size_max=2**20)


def test_records_of_a_slot_stand_in_their_order() -> None:
    heads = [head_of(row) for row in load("records")]
    for older, newer in pairwise(heads):
        if (older.kind, older.key) == (newer.kind, newer.key):
            assert is_newer(newer, older)


# ---- messages ----


def struct_of(cls: Any, fields: Row) -> Any:
    """The message of a row: hexadecimal text is bytes, an object a copy."""
    values = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            values[name] = struct_of(wire.Copy, value)
        elif isinstance(value, list):
            inner = wire.Slot if name == "slots" else wire.Copy
            values[name] = tuple(struct_of(inner, each) for each in value)
        else:
            values[name] = bytes.fromhex(value) if isinstance(value, str) else value
    return cls(**values)


@rows_of("messages")
def test_messages(row: Row) -> None:
    message = struct_of(getattr(wire, row["type"]), row["fields"])
    request_id, frame = bytes.fromhex(row["request_id"]), bytes.fromhex(row["frame"])
    assert request_id + encode(message) == frame
    assert decode_untrusted(frame) == (request_id, message)


def test_every_message_has_a_vector() -> None:
    types = {cls.__name__ for cls in wire.Message.__args__}
    assert {row["type"] for row in load("messages")} == types


@rows_of("spellings")
def test_other_spellings_are_taken(row: Row) -> None:
    frame, means = bytes.fromhex(row["frame"]), bytes.fromhex(row["means"])
    assert decode_untrusted(frame) == decode_untrusted(means)
    assert encode(decode_untrusted(frame)[1]) == means[8:]


@rows_of("refused")
def test_what_is_no_message_is_refused(row: Row) -> None:
    with pytest.raises(RemoteError):
        decode_untrusted(bytes.fromhex(row["frame"]))


@rows_of("datagrams")
def test_plain_datagrams(row: Row) -> None:
    public_key, payload = bytes.fromhex(row["public_key"]), bytes.fromhex(row["payload"])
    network = network_of(row)
    sender = PlainChannel(public_key, network=network)
    receiver = PlainChannel(bytes(32), network=network)
    sender.ask(0.0, contact_at(bytes(32), SOMEWHERE), payload[:8], payload[8:])
    assert sender.datagrams_to_send() == [(bytes.fromhex(row["datagram"]), SOMEWHERE)]

    opened = receiver.receive(0.0, bytes.fromhex(row["datagram"]), SOMEWHERE)
    assert opened is not None
    assert (opened.public_key, opened.payload) == (public_key, payload)


# ---- networks ----


def network_of(row: Row) -> Network:
    key = row["network_key"]
    return Network.named(row["network"], key and bytes.fromhex(key))


@rows_of("networks")
def test_networks(row: Row) -> None:
    network = Network.named(row["name"], row["key"] and bytes.fromhex(row["key"]))
    secrets = network.secrets()[0]
    assert network.id.hex() == row["id"]
    assert secrets.checksum_key().hex() == row["checksum_key"]
    assert secrets.who_key.hex() == row["who_key"]


class Fixed(Random):
    """Draws the bytes that it was made with."""

    def __init__(self, drawn: bytes) -> None:
        self.drawn = drawn

    def randbytes(self, n: int) -> bytes:
        return self.drawn[:n]


@rows_of("who")
def test_who_and_iam(row: Row) -> None:
    secrets, public_key = network_of(row).secrets(), bytes.fromhex(row["public_key"])
    asker = Who(bytes(32), secrets, Fixed(bytes.fromhex(row["nonce"])))
    question = asker.ask(0.0, SOMEWHERE)
    answer = Who(public_key, secrets, None).receive(0.0, question, SOMEWHERE)
    assert (question.hex(), answer and answer.hex()) == (row["who"], row["iam"])
    asker.receive(0.0, bytes.fromhex(row["iam"]), SOMEWHERE)
    assert asker.identified() == [(SOMEWHERE, public_key)]


@rows_of("puzzles")
def test_puzzles(row: Row) -> None:
    node, bits = Key.from_hex(row["id"]), row["bits"]
    assert solves_puzzle(node, bits)
    assert not solves_puzzle(node, bits + 1)


# ---- the encrypted channel ----


class Drawn(Random):
    """Randomness that was written down: by the length that is asked for, in its order."""

    def __init__(self, values: Sequence[bytes]) -> None:
        super().__init__(0)
        self._values = list(values)

    def randbytes(self, n: int) -> bytes:
        value = next(each for each in self._values if len(each) == n)
        self._values.remove(value)
        return value


def test_the_encrypted_channel_speaks_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node under load, and a peer that moves, as in the vectors: every datagram is theirs."""
    _, *rows = load("channel")
    told = [bytes.fromhex(row["datagram"]) for row in rows]
    store, stored, find = (bytes.fromhex(rows[at]["frame"]) for at in (0, 5, 6))
    home, away, there = map(Address, (conversation.HOME, conversation.AWAY, conversation.THERE))
    asker = SecureChannel(conversation.ASKER, conversation.NETWORK, Drawn(conversation.ASKER_DRAWS))
    answerer = SecureChannel(
        conversation.ANSWERER, conversation.NETWORK, Drawn(conversation.ANSWERER_DRAWS)
    )
    contact = contact_at(conversation.ANSWERER.public_key, there)
    said: list[bytes] = []

    def sent(channel: SecureChannel) -> bytes:
        [(data, _)] = channel.datagrams_to_send()
        said.append(data)
        return data

    def heard(channel: SecureChannel, data: bytes, source: Address) -> Opened:
        opened = channel.receive(0.0, data, source)
        assert opened is not None
        return opened

    asker.ask(0.0, contact, store[:8], store[8:])
    with monkeypatch.context() as patch:
        patch.setattr(Gate, "judge", lambda *_, **__: Verdict.COOKIE)
        assert answerer.receive(0.0, sent(asker), home) is None
    asker.receive(0.0, sent(answerer), there)
    answerer.demand_proof(0.0, heard(answerer, sent(asker), home).ticket)
    asker.receive(0.0, sent(answerer), there)
    opened = heard(answerer, sent(asker), home)
    assert (opened.public_key, opened.payload) == (conversation.ASKER.public_key, store)
    answerer.answer(0.0, opened.ticket, stored)
    assert heard(asker, sent(answerer), there).payload == stored
    asker.ask(0.0, contact, find[:8], find[8:])
    assert answerer.receive(0.0, sent(asker), away) is None
    asker.receive(0.0, sent(answerer), there)
    (echo, _), (again, _) = asker.datagrams_to_send()
    said += [echo, again]
    answerer.receive(0.0, echo, away)
    assert heard(answerer, again, away).payload == find
    restarted = SecureChannel(conversation.ANSWERER, conversation.NETWORK, Random(1))
    restarted.receive(0.0, told[6][:9] + (9).to_bytes(4) + told[6][13:], away)
    sent(restarted)
    assert said == told


# ---- docs/protocol.md ----


@pytest.mark.parametrize("cls", wire.Message.__args__, ids=lambda cls: cls.__name__)
def test_the_specification_has_every_message(cls: type[wire.Message]) -> None:
    fields = ", ".join(f"`{name}`" for name in cls.__struct_fields__)
    assert f"| {cls.__struct_config__.tag} | `{cls.__name__}` | {fields} |" in PROTOCOL


def test_the_specification_has_the_fields_of_a_copy_in_their_order() -> None:
    section = PROTOCOL.partition("an array without a tag:")[2].partition("### 6.1")[0]
    rows = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
    assert tuple(rows) == wire.Copy.__struct_fields__


@pytest.mark.parametrize("status", wire.Status, ids=lambda status: status.name)
def test_the_specification_has_every_status(status: wire.Status) -> None:
    assert f"| {int(status)} | `{status.name}` | " in PROTOCOL


@pytest.mark.parametrize(
    "name", ["CLIENT", "WANT_IPV4", "WANT_IPV6", "CONTACTS_TOO", "HANDOVER", "HASHES"]
)
def test_the_specification_has_every_flag(name: str) -> None:
    assert f"| {getattr(wire, name)} | `{name}` | " in PROTOCOL


def test_the_example_of_the_specification_is_a_datagram() -> None:
    section = PROTOCOL.partition("### 6.3")[2].partition("### 6.4")[0]
    lines = section.split("```")[1].splitlines()
    assert "".join(line.split()[0] for line in lines if line) == load("datagrams")[0]["datagram"]
