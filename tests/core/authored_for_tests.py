"""Signed records and members for tests: made by hand, and put and found in a ``Net``."""

from random import Random

from dht.author import Author
from dht.core.held import Held
from dht.core.outcomes import GetOutcome, Members, PutOutcome
from dht.keyspace import Key, record_name, signed_key, topic_key
from dht.network import Network
from dht.records import Kind, Record
from dht.wire.codec import copy_of
from dht.wire.messages import Copy, Store
from tests.core.pair import EPOCH_S, Net, Peer, outcome_of

NETWORK_ID = Network.named().id
DAY_MS = 24 * 3600 * 1000


def author(number: int) -> Author:
    return Author.generate(Random(number))


def name_of(key: str) -> bytes:
    return record_name(key, NETWORK_ID)


def place_of(key: str, by: Author) -> Key:
    return signed_key(by.id.public_key, name_of(key))


def topic_of(topic: str) -> Key:
    return topic_key(topic, NETWORK_ID)


def signed(
    key: str,
    by: Author,
    value: bytes = b"v",
    *,
    version: int = 5,
    ttl_ms: int = DAY_MS,
    tombstone: bool = False,
) -> Record:
    """What its author signs, at the epoch."""
    return Record(
        kind=Kind.SIGNED,
        key=place_of(key, by),
        version=version,
        written_at_ms=int(EPOCH_S * 1000),
        ttl_ms=ttl_ms,
        tombstone=tombstone,
        value=value,
    ).signed_by(by, name_of(key))


def member(
    topic: str,
    by: Author,
    value: bytes = b"v",
    *,
    version: int = 5,
    ttl_ms: int = DAY_MS,
    tombstone: bool = False,
) -> Record:
    return Record(
        kind=Kind.MEMBER,
        key=topic_of(topic),
        version=version,
        written_at_ms=int(EPOCH_S * 1000),
        ttl_ms=ttl_ms,
        tombstone=tombstone,
        value=b"" if tombstone else value,
    ).signed_by(by)


def store_of(record: Record | Copy) -> Store:
    copy = record if isinstance(record, Copy) else copy_of(record, record.ttl_ms)
    return Store(flags=0, copy=copy, if_version=None, count=0)


def give(net: Net, peer: Peer, record: Record) -> None:
    """It holds this now, and nobody knows how it came by it."""
    engine = peer.engine
    engine.restore(net.now, record, record.ttl_ms)
    net.poll(peer)


def put(net: Net, peer: Peer, key: str, value: bytes, by: Author, **options: object) -> PutOutcome:
    return outcome_of(
        PutOutcome,
        net.run(
            peer,
            lambda engine, now: engine.start_put(
                now,
                Kind.SIGNED,
                place_of(key, by),
                value,
                author=by,
                name=name_of(key),
                **options,  # type: ignore[arg-type]
            ),
        ),
    )


def get(net: Net, peer: Peer, key: str, by: Author, **options: object) -> GetOutcome:
    return outcome_of(
        GetOutcome,
        net.run(
            peer,
            lambda engine, now: engine.start_get(
                now,
                Kind.SIGNED,
                place_of(key, by),
                **options,  # type: ignore[arg-type]
            ),
        ),
    )


def add(
    net: Net, peer: Peer, topic: str, value: bytes, by: Author, **options: object
) -> PutOutcome:
    return outcome_of(
        PutOutcome,
        net.run(
            peer,
            lambda engine, now: engine.start_put(
                now,
                Kind.MEMBER,
                topic_of(topic),
                value,
                author=by,
                **options,  # type: ignore[arg-type]
            ),
        ),
    )


def remove(net: Net, peer: Peer, topic: str, by: Author) -> PutOutcome:
    return add(net, peer, topic, b"", by, tombstone=True)


def members(net: Net, peer: Peer, topic: str, limit: int = 1000) -> Members:
    return outcome_of(
        Members,
        net.run(peer, lambda engine, now: engine.start_members(now, topic_of(topic), limit=limit)),
    )


def values(found: Members) -> list[bytes]:
    return sorted(record.value for record in found)


def holdings(net: Net, record: Record) -> list[Held]:
    """What there is of this record's slot, anywhere."""
    return [
        held
        for peer in net.peers
        if peer.plugged_in
        if (held := peer.engine.storage.get(net.now, *record.slot)) is not None
    ]
