"""Regenerates the vectors beside it: ``python -m tests.vectors.make``.

They fix the bytes of docs/protocol.md for other implementations, and for us: a diff in one of
these files is a change of the protocol. All bytes are in hexadecimal. Long values are not written
out: byte number n of a value is n mod 251.
"""

import json
from hashlib import blake2s
from pathlib import Path
from typing import Any

import attrs
import msgspec

from dht.author import Author
from dht.contacts import contact_at, parse_address
from dht.identity import Identity
from dht.keyspace import (
    content_key,
    key_bytes,
    node_id,
    plain_key,
    record_name,
    signed_key,
    topic_key,
)
from dht.network import Network
from dht.records import PIECE_SIZE, VERSION_MAX, Kind, Record, piece_hashes, value_hash
from dht.wire import messages as wire
from dht.wire.codec import copy_of, encode
from tests.vectors import conversation

FOLDER = Path(__file__).parent
DAY_MS = 24 * 3600 * 1000
REQUEST_ID = bytes.fromhex("0102030405060708")
PUBLIC_KEY = bytes(range(32))
AUTHOR = Author.from_private_bytes(bytes(range(32)))
NETWORK_ID = Network.named("main").id
NOW_S = 1_700_000_000
# Around the end of a datagram's room and of a piece.
SIZES = [0, 1, 850, 851, PIECE_SIZE - 1, PIECE_SIZE, PIECE_SIZE + 1, 3 * PIECE_SIZE - 1, 2**20]

Rows = list[dict[str, Any]]


def value_of_size(size: int) -> bytes:
    """What the vectors mean by a value of so many bytes."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def keyspace_rows() -> Rows:
    """How keys of each kind are made."""
    texts = ["", "greeting", "naïve 🗝"]
    rows: Rows = [
        {"kind": "plain", "text": text, "input": text.encode().hex(), "key": plain_key(text).hex()}
        for text in texts
    ]
    rows.append({"kind": "plain", "input": "00ff", "key": plain_key(b"\x00\xff").hex()})
    digest = value_hash(b"hello")
    rows.append({"kind": "content", "input": digest.hex(), "key": content_key(digest).hex()})
    rows.append({"kind": "node", "input": PUBLIC_KEY.hex(), "key": node_id(PUBLIC_KEY).hex()})
    author, name = AUTHOR.id.public_key, record_name("greeting", NETWORK_ID)
    named = (NETWORK_ID + b"greeting").hex()
    rows.append({"kind": "name", "input": named, "key": name.hex()})
    rows.append(
        {"kind": "signed", "input": (author + name).hex(), "key": signed_key(author, name).hex()}
    )
    rows.append({"kind": "topic", "input": named, "key": topic_key("greeting", NETWORK_ID).hex()})
    return rows


def author_rows() -> Rows:
    """Authors, as machines and as people write them."""
    return [
        {
            "private_key": author.private_key.private_bytes_raw().hex(),
            "public_key": author.id.public_key.hex(),
            "text": str(author.id),
        }
        for author in [AUTHOR, *(Author.from_private_bytes(bytes([n]) * 32) for n in range(3))]
    ]


def contact_rows() -> Rows:
    """How a peer is written for machines and for people."""
    rows: Rows = []
    for number, text in enumerate(
        ["127.0.0.1:4000", "192.0.2.1:1", "[::1]:4000", "[2001:db8::17]:65535"], 1
    ):
        identity = Identity.from_private_bytes(bytes([number]) * 32)
        contact = contact_at(identity.public_key, parse_address(text))
        rows.append(
            {
                "private_key": (bytes([number]) * 32).hex(),
                "public_key": identity.public_key.hex(),
                "id": contact.id.hex(),
                "address": text,
                "packed": contact.packed.hex(),
                "uri": contact.uri,
            }
        )
    return rows


def value_rows() -> Rows:
    """Piece hashes and value hashes around the size of a piece."""
    return [
        {
            "size": size,
            "piece_hashes": piece_hashes(value_of_size(size)).hex() if size <= 2**16 else None,
            "value_hash": value_hash(value_of_size(size)).hex(),
        }
        for size in SIZES
    ]


def _records() -> list[Record]:
    hello = Record(
        kind=Kind.PLAIN,
        key=plain_key("greeting"),
        version=NOW_S * 1000,
        written_at_ms=NOW_S * 1000,
        ttl_ms=DAY_MS,
        value=b"hello",
    )
    return [
        hello,
        attrs.evolve(hello, value=b""),
        attrs.evolve(hello, value=b"world"),
        attrs.evolve(hello, ttl_ms=1),
        attrs.evolve(hello, tombstone=True, value=b"", ttl_ms=2 * DAY_MS),
        attrs.evolve(hello, version=hello.version + 1),
        attrs.evolve(hello, version=VERSION_MAX, written_at_ms=2**53, value=value_of_size(20_000)),
        attrs.evolve(hello, kind=Kind.CONTENT, key=content_key(value_hash(b"hello"))),
        *_signed_records(hello),
    ]


def _signed_records(hello: Record) -> list[Record]:
    name = record_name("greeting", NETWORK_ID)
    signed = attrs.evolve(
        hello, kind=Kind.SIGNED, key=signed_key(AUTHOR.id.public_key, name), ttl_ms=7 * DAY_MS
    )
    member = attrs.evolve(hello, kind=Kind.MEMBER, key=topic_key("greeting", NETWORK_ID))
    return [
        signed.signed_by(AUTHOR, name),
        attrs.evolve(signed, value=value_of_size(20_000)).signed_by(AUTHOR, name),
        attrs.evolve(signed, tombstone=True, value=b"", ttl_ms=8 * DAY_MS).signed_by(AUTHOR, name),
        member.signed_by(AUTHOR),
    ]


def record_rows() -> Rows:
    """Record bodies and their hashes, oldest first as merging sees them (within one slot)."""
    rows: Rows = []
    for record in sorted(_records(), key=lambda record: (record.kind, record.order)):
        value = record.value
        rows.append(
            {
                "kind": int(record.kind),
                "tombstone": record.tombstone,
                "key": record.key.hex(),
                "version": record.version,
                "written_at_ms": record.written_at_ms,
                "ttl_ms": record.ttl_ms,
                "size": len(value),
                "value": value.hex() if len(value) <= 32 else None,
                "value_hash": value_hash(value).hex(),
                "body": record.head.body.hex(),
                "body_hash": record.order[2].hex(),
                "author": record.proof and record.proof.author.hex(),
                "signature": record.proof and record.proof.signature.hex(),
                "name": record.proof and record.proof.name.hex(),
            }
        )
    return rows


def _messages() -> list[wire.Message]:
    small, large = _records()[0], _records()[6]
    copy, head = copy_of(small, DAY_MS // 2), copy_of(large, 1)
    signed, signed_head, gone, member = _signed_records(small)
    key = key_bytes(small.key)
    packed4 = bytes.fromhex(contact_rows()[1]["packed"])
    packed6 = bytes.fromhex(contact_rows()[3]["packed"])
    return [
        wire.Ping(flags=wire.CLIENT),
        wire.Ping(flags=wire.WANT_IPV4 | wire.WANT_IPV6),
        wire.Find(flags=wire.WANT_IPV4, target=key, count=20, kind=0),
        wire.Find(flags=wire.WANT_IPV6 | wire.HANDOVER, target=key, count=8, kind=Kind.PLAIN),
        wire.Get(flags=wire.WANT_IPV4 | wire.CONTACTS_TOO, kind=Kind.CONTENT, key=key, count=20),
        wire.Store(flags=wire.WANT_IPV4, copy=copy, if_version=None, count=0),
        wire.Store(flags=wire.WANT_IPV4 | wire.HANDOVER, copy=head, if_version=0, count=0),
        wire.Store(flags=0, copy=copy, if_version=VERSION_MAX, count=0),
        wire.Fetch(
            flags=wire.WANT_IPV4 | wire.HASHES,
            kind=Kind.PLAIN,
            key=key,
            value_hash=large.head.value_hash,
            offset=0,
            length=64,
        ),
        wire.Fetch(
            flags=wire.WANT_IPV4,
            kind=Kind.PLAIN,
            key=key,
            value_hash=large.head.value_hash,
            offset=PIECE_SIZE + 1024,
            length=1024,
        ),
        wire.Reach(flags=wire.CLIENT | wire.WANT_IPV4, nonce=REQUEST_ID[::-1]),
        wire.Dial(flags=wire.WANT_IPV4, nonce=REQUEST_ID[::-1], contact=packed4),
        wire.Dial(flags=wire.WANT_IPV6, nonce=REQUEST_ID[::-1], contact=packed6),
        wire.Knock(flags=wire.WANT_IPV4, nonce=REQUEST_ID[::-1]),
        wire.Pong(time_s=NOW_S, seen=b""),
        wire.Pong(time_s=NOW_S, seen=packed4[-6:]),
        wire.Pong(time_s=NOW_S, seen=packed6[-18:]),
        wire.Find(flags=wire.WANT_IPV4, target=key, count=8, kind=Kind.MEMBER),
        wire.Get(flags=wire.WANT_IPV4, kind=Kind.SIGNED, key=key_bytes(signed.key), count=20),
        *(
            wire.Store(
                flags=wire.WANT_IPV4, copy=copy_of(each, each.ttl_ms), if_version=None, count=8
            )
            for each in (signed, signed_head, gone, member)
        ),
        wire.Browse(
            flags=wire.WANT_IPV4, key=key_bytes(member.key), start=bytes(range(32)), count=20
        ),
        wire.Nodes(time_s=NOW_S, contacts4=b"", contacts6=b"", version=0),
        wire.Nodes(time_s=NOW_S, contacts4=2 * packed4, contacts6=packed6, version=small.version),
        wire.Found(time_s=NOW_S, copy=copy, contacts4=packed4, contacts6=b""),
        wire.Found(time_s=NOW_S, copy=head, contacts4=b"", contacts6=b""),
        wire.Stored(
            time_s=NOW_S,
            status=wire.Status.STORED,
            version=small.version,
            copy=None,
            contacts4=b"",
            contacts6=b"",
        ),
        wire.Stored(
            time_s=NOW_S,
            status=wire.Status.PULLING,
            version=0,
            copy=None,
            contacts4=b"",
            contacts6=b"",
        ),
        wire.Stored(
            time_s=NOW_S,
            status=wire.Status.VERSION,
            version=small.version,
            copy=copy,
            contacts4=b"",
            contacts6=b"",
        ),
        wire.Block(time_s=NOW_S, offset=1024, data=value_of_size(300)),
        wire.Block(time_s=NOW_S, offset=0, data=b""),
        wire.Dialling(time_s=NOW_S, status=wire.DialStatus.WILL),
        wire.Dialling(time_s=NOW_S, status=wire.DialStatus.BUSY),
        *_overlay_messages(packed4, packed6, key, copy),
        wire.Route(
            flags=wire.WANT_IPV4,
            id=REQUEST_ID[::-1],
            target=bytes(range(32)),
            ttl=wire.TTL_MAX,
            hops=0,
            style=wire.Style.PATH,
            issuer=b"",
            body=value_of_size(200),
        ),
        wire.Route(
            flags=wire.WANT_IPV4,
            id=REQUEST_ID[::-1],
            target=bytes(range(32)),
            ttl=3,
            hops=13,
            style=wire.Style.DIRECT,
            issuer=packed4,
            body=value_of_size(200),
        ),
        wire.Returned(flags=wire.WANT_IPV4, id=REQUEST_ID[::-1], hops=2, body=b""),
        wire.Returned(flags=0, id=REQUEST_ID[::-1], hops=2, body=value_of_size(60)),
        wire.Taken(time_s=NOW_S, status=wire.Taking.TAKEN),
        wire.Taken(time_s=NOW_S, status=wire.Taking.NOT_HERE),
        wire.Found(time_s=NOW_S, copy=copy_of(signed, 1), contacts4=b"", contacts6=b""),
        wire.Page(
            time_s=NOW_S,
            total=0,
            whole=True,
            digest=bytes(8),
            copies=(),
            contacts4=packed4,
            contacts6=b"",
        ),
        wire.Page(
            time_s=NOW_S,
            total=1,
            whole=True,
            digest=member.order[2][:8],
            copies=(copy_of(member, DAY_MS // 2),),
            contacts4=packed4,
            contacts6=packed6,
        ),
        wire.Route(
            flags=wire.WANT_IPV4,
            id=REQUEST_ID[::-1],
            target=bytes(range(32)),
            ttl=wire.WALK_TTL_MAX - 20,
            hops=20,
            style=wire.Style.WALK_PATH,
            issuer=b"",
            body=value_of_size(200),
        ),
    ]


def _overlay_messages(
    packed4: bytes, packed6: bytes, key: bytes, copy: wire.Copy
) -> list[wire.Message]:
    flags, search_id = wire.WANT_IPV4, REQUEST_ID[::-1]
    return [
        wire.Shuffle(
            flags=flags,
            count=8,
            contacts4=packed4,
            contacts6=packed6,
            marks=bytes([0, 20, 0x83, 19, 5, 0]),
            indexes4=packed4,
            indexes6=b"",
            ages=b"\x02",
        ),
        wire.Shuffled(
            time_s=NOW_S,
            contacts4=packed4,
            contacts6=b"",
            marks=bytes([0x80, 20, 1, 20]),
            indexes4=b"",
            indexes6=b"",
            ages=b"",
        ),
        wire.Introduce(flags=flags, newcomer=b"", ttl=5),
        wire.Introduce(flags=flags, newcomer=packed4, ttl=4),
        wire.Search(
            flags=flags,
            id=search_id,
            kind=Kind.PLAIN,
            key=key,
            style=0,
            walker=0,
            ttl=4,
            hops=1,
            budget=101,
            hits=1,
            check_every=0,
            issuer=b"",
        ),
        wire.Search(
            flags=flags,
            id=search_id,
            kind=Kind.SIGNED,
            key=key,
            style=wire.WALK | wire.STATE,
            walker=15,
            ttl=60,
            hops=4,
            budget=60,
            hits=4,
            check_every=4,
            issuer=packed4,
        ),
        wire.Hit(flags=flags, id=search_id, walker=0, hops=3, holder=packed4, copy=copy),
        wire.Hit(flags=flags, id=search_id, walker=2, hops=1, holder=b"", copy=None),
        wire.Done(flags=flags, id=search_id, walker=0, messages=19, duplicates=4, nodes=15),
        wire.Wanted(flags=flags, id=search_id, walker=3, hops=8, last=False),
        wire.Announce(flags=flags, slots=(wire.Slot(Kind.PLAIN, key, 3600),)),
        wire.Holders(flags=flags, kind=Kind.PLAIN, key=key),
        wire.Holding(
            time_s=NOW_S, contacts4=2 * packed4, contacts6=b"", indexes4=b"", indexes6=packed6
        ),
        wire.Taken(time_s=NOW_S, status=wire.Taking.TAKEN),
        wire.Taken(time_s=NOW_S, status=wire.Taking.SEEN),
    ]


def _row_of(value: msgspec.Struct) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in value.__struct_fields__:
        field = getattr(value, name)
        if isinstance(field, msgspec.Struct):
            fields[name] = _row_of(field)
        elif isinstance(field, tuple):
            fields[name] = [_row_of(each) for each in field]
        else:
            fields[name] = field.hex() if isinstance(field, bytes) else field
    return fields


def message_rows() -> Rows:
    """Every message, as its fields and as the frame that carries it."""
    return [
        {
            "type": type(message).__name__,
            "fields": _row_of(message),
            "request_id": REQUEST_ID.hex(),
            "frame": (REQUEST_ID + encode(message)).hex(),
        }
        for message in _messages()
    ]


def spelling_rows() -> Rows:
    """Frames that nobody of us sends and everybody takes, each with the frame that it equals."""
    identifier = REQUEST_ID.hex()
    ping = identifier + "920105"
    find = identifier + "950204c420" + "11" * 32 + "1400"
    return [
        {"why": "array 16", "frame": identifier + "dc00020105", "means": ping},
        {"why": "array 32", "frame": identifier + "dd000000020105", "means": ping},
        {"why": "uint 8", "frame": identifier + "92cc01cc05", "means": ping},
        {"why": "uint 64", "frame": identifier + "9201cf0000000000000005", "means": ping},
        {"why": "int 32", "frame": identifier + "9201d200000005", "means": ping},
        {"why": "bin 32", "frame": find.replace("c420", "c600000020"), "means": find},
    ]


def refused_rows() -> Rows:
    """Frames that nobody takes."""
    identifier = REQUEST_ID.hex()
    find = "950204c420" + "11" * 32 + "1400"
    return [
        {"why": "no message", "frame": identifier},
        {"why": "shorter than a request id", "frame": "010203"},
        {"why": "an unknown tag", "frame": identifier + "921f05"},
        {"why": "a field too few", "frame": identifier + "9101"},
        {"why": "a field too many", "frame": identifier + "93010505"},
        {"why": "bytes after the message", "frame": identifier + "92010500"},
        {"why": "a map", "frame": identifier + "8101050000"},
        {"why": "flags out of range", "frame": identifier + "9201cd0100"},
        {"why": "a number below zero", "frame": identifier + "9201ff"},
        {"why": "a float", "frame": identifier + "9201ca40a00000"},
        {"why": "a str in the place of bytes", "frame": identifier + find.replace("c420", "d920")},
        {"why": "a key of 31 bytes", "frame": identifier + "950204c41f" + "11" * 31 + "1400"},
        {"why": "a count above 64", "frame": identifier + find[:-4] + "4100"},
        {"why": "a nonce of 7 bytes", "frame": identifier + "930901c407" + "11" * 7},
        {
            "why": "a contact that is too short",
            "frame": identifier + "940a01c408" + "11" * 8 + "c425" + "11" * 37,
        },
        {"why": "an address that is too long", "frame": identifier + "931000c413" + "11" * 19},
        {"why": "a status that is none", "frame": identifier + "93190004"},
        {"why": "a kind that is none", "frame": identifier + find[:-4] + "1405"},
        {
            "why": "a get of a member, of which a key alone finds none",
            "frame": identifier + "95030004c420" + "11" * 32 + "14",
        },
    ]


# The network without a key that every node is in unless told otherwise, and one with a key.
NETWORKS: list[tuple[str, bytes | None]] = [("main", None), ("example", bytes(range(32)))]


def _derived(tag: bytes, name: str, key: bytes | None) -> bytes:
    network_id = blake2s(name.encode(), person=b"dht nwid", digest_size=16).digest()
    return blake2s(network_id, key=key or bytes(32), person=tag).digest()


def network_rows() -> Rows:
    """What the name and the key of a network are turned into."""
    return [
        {
            "name": name,
            "key": key and key.hex(),
            "id": Network.named(name, key).id.hex(),
            "checksum_key": Network.named(name, key).secrets()[0].checksum_key().hex(),
            "who_key": Network.named(name, key).secrets()[0].who_key.hex(),
        }
        for name, key in NETWORKS
    ]


def datagram_rows() -> Rows:
    """The plain channel's datagrams."""
    rows: Rows = []
    for name, key in NETWORKS:
        for row in message_rows()[1::5]:
            body = b"\x10" + PUBLIC_KEY + bytes.fromhex(row["frame"])
            checksum_key = _derived(b"dht chks", name, key)
            checksum = blake2s(body, digest_size=8, person=b"dht plai", key=checksum_key).digest()
            rows.append(
                {
                    "network": name,
                    "network_key": key and key.hex(),
                    "public_key": PUBLIC_KEY.hex(),
                    "payload": row["frame"],
                    "datagram": (body + checksum).hex(),
                }
            )
    return rows


def who_rows() -> Rows:
    """A question WHO, and the answer IAM of the node with that public key."""
    rows: Rows = []
    for name, key in NETWORKS:
        nonce, who_key = bytes(range(16)), _derived(b"dht who ", name, key)
        who, iam = b"\x20" + nonce + bytes(63), b"\x21" + nonce + PUBLIC_KEY
        who += blake2s(who, key=who_key, digest_size=16).digest()
        iam += blake2s(iam, key=who_key, digest_size=16).digest()
        rows.append(
            {
                "network": name,
                "network_key": key and key.hex(),
                "nonce": nonce.hex(),
                "public_key": PUBLIC_KEY.hex(),
                "who": who.hex(),
                "iam": iam.hex(),
            }
        )
    return rows


def puzzle_rows() -> Rows:
    """Ids of nodes, and how many zero bits the puzzle finds before the first one."""
    rows: Rows = []
    for number in range(40):
        node = node_id(bytes([number]) * 32)
        digest = blake2s(key_bytes(node), person=b"dht puzz").digest()
        rows.append({"id": node.hex(), "bits": 256 - int.from_bytes(digest).bit_length()})
    return rows


def channel_rows() -> Rows:
    """The encrypted channel's datagrams: one conversation, and with what it is made."""
    frames = {row["type"]: bytes.fromhex(row["frame"]) for row in reversed(message_rows())}
    return conversation.rows(frames["Store"], frames["Stored"], frames["Find"])


VECTORS = {
    "keyspace": keyspace_rows,
    "contacts": contact_rows,
    "values": value_rows,
    "authors": author_rows,
    "records": record_rows,
    "messages": message_rows,
    "spellings": spelling_rows,
    "refused": refused_rows,
    "datagrams": datagram_rows,
    "networks": network_rows,
    "who": who_rows,
    "puzzles": puzzle_rows,
    "channel": channel_rows,
}


def text_of(name: str) -> str:
    """What the file of this name holds."""
    return json.dumps(VECTORS[name](), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write every file."""
    for name in VECTORS:
        (FOLDER / f"{name}.json").write_text(text_of(name), encoding="utf-8")


if __name__ == "__main__":
    main()
