"""Engines whose neighbours a test chooses and that keep them: nobody shuffles, nobody joins."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import attrs

from dht.config import DAY_S, Config
from dht.contacts import Address
from dht.core.channel.plain import CHECKSUM_SIZE, PLAIN_TAG
from dht.core.outcomes import GetOutcome, PutOutcome
from dht.core.unstructured.overlay import Unstructured
from dht.core.unstructured.view import Entry
from dht.core.via import Unstructured as Via
from dht.errors import RemoteError
from dht.identity import PUBLIC_KEY_SIZE
from dht.keyspace import Key
from dht.records import Kind, Record
from dht.wire.codec import decode_untrusted
from dht.wire.messages import Answer, Request, Search, Taken, Taking
from tests.core.pair import Net, Peer, Stranger, outcome_of
from tests.core.unstructured.graphs_for_tests import KEY

_Any = TypeVar("_Any")

STILL = Config(shuffle_interval_s=DAY_S, index=False)
PLACE = Key(int.from_bytes(KEY))


def still_net(
    count: int = 0,
    edges: Iterable[tuple[int, int]] = (),
    *,
    config: Config = STILL,
    private_network: bool = True,
    seed: int = 1,
) -> Net:
    """So many engines of the unstructured overlay, and who knows whom, both ways."""
    net = Net(seed=seed, config=config, private_network=private_network, overlay="unstructured")
    for _ in range(count):
        net.add(join=False)
    for one, other in edges:
        befriend(net.peers[one], net.peers[other])
        befriend(net.peers[other], net.peers[one])
    return net


def line_of(count: int, **options: object) -> Net:
    """Engines in a row."""
    edges = [(number, number + 1) for number in range(count - 1)]
    return still_net(count, edges, **options)  # type: ignore[arg-type]


def overlay_of(peer: Peer) -> Unstructured:
    assert peer.engine.unstructured is not None
    return peer.engine.unstructured


def befriend(peer: Peer, *others: Peer | Stranger) -> None:
    """From now on they are its neighbours."""
    overlay_of(peer).view.merge(Entry(other.contact) for other in others)


def forget(peer: Peer, other: Peer | Stranger) -> None:
    overlay_of(peer).view.drop(other.contact.id)


def neighbour(
    net: Net,
    *peers: Peer,
    replies: dict[type, Callable[[Request], Answer | None]] | None = None,
    host: str | None = None,
) -> Stranger:
    """A stranger whom these have for a neighbour; it takes what it is sent and does nothing."""

    def reply(request: Request) -> Answer | None:
        chosen = (replies or {}).get(type(request))
        return Taken(0, Taking.TAKEN) if chosen is None else chosen(request)

    stranger = net.stranger(host, reply=reply)
    for peer in peers:
        befriend(peer, stranger)
    return stranger


def hold(net: Net, peer: Peer, record: Record) -> None:
    """It has this record from now on."""
    peer.engine.restore(net.now, record, record.ttl_ms)
    assert peer.engine.storage.get(net.now, record.kind, record.key) is not None
    net.poll(peer)


def find(
    net: Net, peer: Peer, via: Via, *, kind: Kind = Kind.PLAIN, key: Key = PLACE
) -> GetOutcome:
    return outcome_of(
        GetOutcome,
        net.run(peer, lambda engine, now: engine.start_search(now, kind, key, via), timeout_s=400),
    )


def place(
    net: Net, peer: Peer, value: bytes, via: Via, *, key: Key = PLACE, **options: object
) -> PutOutcome:
    return outcome_of(
        PutOutcome,
        net.run(
            peer,
            lambda engine, now: engine.start_place(
                now,
                Kind.PLAIN,
                key,
                value,
                via,
                **options,  # type: ignore[arg-type]
            ),
        ),
    )


@attrs.frozen
class Sent:
    """A message that somebody sent."""

    at: float
    source: Address
    target: Address
    message: object


def sent(net: Net, kind: type[_Any], *, since: int = 0) -> list[tuple[Sent, _Any]]:
    """Every message of a type that was put on the wire."""
    found: list[tuple[Sent, _Any]] = []
    for at, source, target, data in net.log[since:]:
        if data[0] != PLAIN_TAG:
            continue
        try:
            message = decode_untrusted(data[1 + PUBLIC_KEY_SIZE : -CHECKSUM_SIZE])[1]
        except RemoteError:
            continue
        if isinstance(message, kind):
            found.append((Sent(at, source, target, message), message))
    return found


def searches_sent(net: Net, *, since: int = 0) -> int:
    """How many messages of searches there were."""
    return len(sent(net, Search, since=since))
