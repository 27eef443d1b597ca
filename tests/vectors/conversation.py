"""One conversation of the encrypted channel, byte by byte, from docs/protocol.md alone.

Nothing of the channel is used but its Noise, which has vectors of its own. It is: a request under
load, its cookie, the request once more, "prove yourself", the request in the session, the answer,
another request from a new address, its challenge and echo, and "I do not know this session".
"""

import struct
from hashlib import blake2s
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from dht.core.channel.noise import Initiator, Responder
from dht.identity import Identity
from dht.network import Network

ASKER = Identity.from_private_bytes(b"\1" * 32)
ANSWERER = Identity.from_private_bytes(b"\2" * 32)
NETWORK = Network.named("vectors", b"\3" * 32)
#: Where the asker is, and where it is later: 192.0.2.1:4000, 192.0.2.2:4000. And the answerer.
HOME = bytes.fromhex("c00002010fa0")
AWAY = bytes.fromhex("c00002020fa0")
THERE = bytes.fromhex("c00002090fa0")
#: What both draw, in this order: of 32 bytes, of 4 (half of a cid), of 12 (a nonce).
ASKER_DRAWS = [bytes([0x10 + n]) * 32 for n in range(3)] + [b"\x20" * 4, b"\x21" * 4]
ANSWERER_DRAWS = [bytes([0x30 + n]) * 32 for n in range(2)] + [b"\x40" * 4, b"\x50" * 12]


def mac(key: bytes, data: bytes) -> bytes:
    return blake2s(data, key=key, digest_size=16).digest()


def cid_of(owner: Identity, drawn: bytes) -> bytes:
    key = blake2s(owner.private_key.private_bytes_raw(), person=b"dht cid ").digest()
    return drawn + blake2s(drawn, key=key, digest_size=4).digest()


def sealed(tag: int, cid: bytes, counter: int, key: bytes, text: bytes) -> bytes:
    nonce = bytes(4) + counter.to_bytes(8, "little")
    data = None if tag == 4 else bytes([tag])
    return struct.pack(">B8sI", tag, cid, counter) + ChaCha20Poly1305(key).encrypt(
        nonce, text, data
    )


def rows(store: bytes, stored: bytes, find: bytes) -> list[dict[str, Any]]:
    """The datagrams in their order; ``store``, ``stored``, ``find`` are the frames."""
    [secrets] = NETWORK.secrets()
    asker_mac = secrets.mac_key(ASKER.public_key)
    answerer_mac = secrets.mac_key(ANSWERER.public_key)
    cookie_key = secrets.cookie_key(ANSWERER.public_key)
    _, first_ephemeral, second_ephemeral, first_half, second_half = ASKER_DRAWS
    answerer_secret, answerer_ephemeral, answerer_half, nonce = ANSWERER_DRAWS

    def init(cid: bytes, ephemeral: bytes) -> tuple[Initiator, bytes]:
        head = b"\x01\x01" + cid
        noise = Initiator(
            static=ASKER.private_key,
            static_public=ASKER.public_key,
            remote_public=ANSWERER.public_key,
            psk=secrets.psk,
            prologue=b"dht/1" + NETWORK.id + head,
            ephemeral=ephemeral,
        )
        payload = b"\x00" + bytes(16) + len(store).to_bytes(2) + store
        body = head + noise.write(payload.ljust(1200 - 10 - 96 - 32, b"\0"))
        return noise, body + mac(answerer_mac, body)

    first_cid, second_cid = cid_of(ASKER, first_half), cid_of(ASKER, second_half)
    _, first = init(first_cid, first_ephemeral)
    cookie = blake2s(HOME, key=answerer_secret, person=b"dht addr", digest_size=16).digest()
    sealed_cookie = ChaCha20Poly1305(cookie_key).encrypt(nonce, cookie, first[-16:])
    ours, second = init(second_cid, second_ephemeral)
    theirs = Responder(
        static=ANSWERER.private_key,
        static_public=ANSWERER.public_key,
        psk=secrets.psk,
        prologue=b"dht/1" + NETWORK.id + second[:10],
    )
    theirs.read_untrusted(second[10:-16])
    token = blake2s(
        ASKER.public_key + HOME, key=answerer_secret, person=b"dht tokn", digest_size=16
    ).digest()
    cid = cid_of(ANSWERER, answerer_half)
    body = b"\x02\x01" + second_cid + theirs.write(answerer_ephemeral, bytes([1 | 2]) + cid + token)
    reply = body + mac(asker_mac, body)
    ours.read_untrusted(body[10:])
    send, receive = ours.keys()
    path = blake2s(cid + AWAY, key=answerer_secret, person=b"dht path", digest_size=8).digest()
    unknown = b"\x05" + cid + (9).to_bytes(4)
    made: list[tuple[str, bytes, dict[str, Any]]] = [
        ("INIT", first + bytes(16), {"ephemeral": first_ephemeral, "frame": store}),
        (
            "COOKIE",
            b"\x03\x01" + first_cid + nonce + sealed_cookie,
            {"cookie_key": cookie_key, "nonce": nonce, "cookie": cookie},
        ),
        (
            "INIT",
            second + mac(cookie, second),
            {"ephemeral": second_ephemeral, "frame": store, "cookie": cookie},
        ),
        (
            "REPLY",
            reply,
            {"ephemeral": answerer_ephemeral, "flags": 3, "cid": cid, "token": token},
        ),
        ("DATA", sealed(4, cid, 0, send, store), {"key": send, "frame": store}),
        ("DATA", sealed(4, second_cid, 0, receive, stored), {"key": receive, "frame": stored}),
        ("DATA", sealed(4, cid, 1, send, find), {"key": send, "frame": find}),
        ("CHALLENGE", sealed(6, second_cid, 1, receive, path), {"key": receive, "value": path}),
        ("ECHO", sealed(7, cid, 2, send, path), {"key": send, "value": path}),
        ("DATA", sealed(4, cid, 3, send, find), {"key": send, "frame": find}),
        ("NOSESSION", unknown + mac(answerer_mac, unknown), {"mac_key": answerer_mac}),
    ]
    setting = {
        "name": NETWORK.name,
        "network_key": NETWORK.keys[0],
        "network_id": NETWORK.id,
        "psk": secrets.psk,
        "asker_private_key": ASKER.private_key.private_bytes_raw(),
        "answerer_private_key": ANSWERER.private_key.private_bytes_raw(),
        "asker_mac_key": asker_mac,
        "answerer_mac_key": answerer_mac,
        "answerer_secret_of_the_epoch": answerer_secret,
        "asker_address": HOME,
        "asker_new_address": AWAY,
    }
    return [_hex("setting", setting), *(_hex(kind, fields, data) for kind, data, fields in made)]


def _hex(kind: str, fields: dict[str, Any], datagram: bytes | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": kind}
    for name, value in fields.items():
        row[name] = value.hex() if isinstance(value, bytes) else value
    if datagram is not None:
        row["datagram"] = datagram.hex()
    return row
