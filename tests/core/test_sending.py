"""Messages from any node to any other: that they arrive, once, and that only their target reads
and answers them."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.config import DATAGRAM_SIZE_MAX, Config
from dht.contacts import Address, contact_at, pack_address
from dht.core.channel.noise import Initiator
from dht.core.channel.packets import DATA_ROOM
from dht.core.channel.plain import ROOM
from dht.core.deliveries import KNOWN_MAX, TOPICS_MAX, WAITING_PER_TOPIC_MAX, Deliveries
from dht.core.dispatch import OWN_MAX
from dht.core.events import Event, MessageArrived
from dht.core.messaging import KEYS_MAX
from dht.core.outcomes import GetOutcome
from dht.core.sealing import (
    MESSAGE_SIZE_MAX,
    PAYLOAD_MAX,
    ROUTE_OVERHEAD,
    TOPIC_SIZE_MAX,
    Letter,
    Sealer,
    Verdict,
    pack_letter,
    unpack_answer_untrusted,
    unpack_letter_untrusted,
)
from dht.core.sending import ATTEMPTS_S
from dht.core.via import Structured
from dht.errors import LocalError, NoPeers, RemoteError, ValueTooLarge
from dht.identity import Identity
from dht.keyspace import Key, key_bytes, plain_key
from dht.network import Network
from dht.records import Kind
from dht.sim.simulator import Simulator
from dht.wire.codec import copy_of, decode_untrusted, encode
from dht.wire.messages import (
    REQUEST_ID_SIZE,
    RETURNED_BODY_MAX,
    ROUTE_BODY_MAX,
    WANT_IPV4,
    Find,
    Found,
    Get,
    Nodes,
    Ping,
    Request,
    Returned,
    Route,
    Style,
    Taken,
    Taking,
)
from tests.core.pair import Manners, Peer, Stranger, frame, sealed
from tests.core.post import Post, is_returned, is_route, message_of, reply_of
from tests.core.test_engine import record

#: So few contacts a bucket that messages take more than one hop among 40 nodes.
NARROW = Config(k=3, table_whole_max=0)
#: So many that a node knows that it does not know everybody.
WIDE = Config(k=10, table_whole_max=0)
WAYS: dict[str, dict[str, Any]] = {
    "path": {},
    "direct": {"reply": "direct"},
    "iterative": {"routing": "iterative"},
}


def street(count: int = 40, *, seed: int = 1, config: Config = NARROW) -> Post:
    net = Post(seed=seed, config=config)
    net.grow(count)
    return net


def far_pair(net: Post) -> tuple[Peer, Peer]:
    """A sender and a target that it does not know."""
    return next(
        (one, other)
        for one in net.peers
        for other in net.peers
        if one is not other and not one.knows(other)
    )


# ---- it arrives ----


@pytest.mark.parametrize("way", WAYS)
def test_a_message_reaches_any_node_and_its_answer_comes_back(way: str) -> None:
    net = street()
    random = Random(2)
    for number in range(15):
        sender, target = random.sample(net.peers, 2)
        topic = f"topic {number}"
        net.serve(target, topic)
        reply = reply_of(net.post(sender, target, b"hello", topic=topic, **WAYS[way]))
        assert reply.payload == b"olleh"
        assert (reply.target, reply.attempts) == (target.contact.id, 1)
        (peer, event) = net.delivered[-1]
        assert peer is target
        assert (event.topic, event.sender, event.payload) == (topic, sender.contact.id, b"hello")
    assert len(net.delivered) == 15
    assert net.comes_to_rest()


def test_somebody_known_by_his_id_alone_is_asked_who_he_is_once() -> None:
    net = street()
    sender, target = far_pair(net)
    net.serve(target)
    since = len(net.log)
    assert reply_of(net.post(sender, target)).payload == b"olleh"
    assert records_asked(net, since)
    since = len(net.log)
    assert reply_of(net.post(sender, target)).payload == b"olleh"
    assert not records_asked(net, since)


def records_asked(net: Post, since: int) -> list[Route]:
    return [each for _, _, each in routes(net, since) if each.style == Style.RECORD]


def routes(net: Post, since: int) -> list[tuple[Address, Address, Route]]:
    return [
        (source, target, message)
        for source, target, message in net.sent(Route, since=since)
        if isinstance(message, Route)
    ]


def test_whose_key_is_known_is_sent_the_message_at_once() -> None:
    net = street()
    sender, target = far_pair(net)
    net.serve(target)
    since = len(net.log)
    finished = net.post(sender, target, contact=target.contact)
    assert reply_of(finished).payload == b"olleh"
    assert not records_asked(net, since)


def test_a_direct_answer_takes_one_step_and_one_along_the_path_each_hop() -> None:
    net = street()
    sender, target = far_pair(net)
    net.serve(target)
    known = target.contact.public_key
    since = len(net.log)
    reply = reply_of(net.post(sender, target, public_key=known, reply="direct"))
    assert reply.hops >= 1
    assert [(a, b) for a, b, _ in net.sent(Returned, since=since)] == [
        (target.address, sender.address)
    ]
    since = len(net.log)
    reply = reply_of(net.post(sender, target, public_key=known))
    there = [(source, hop) for source, hop, _ in routes(net, since)]
    back = [(source, hop) for source, hop, _ in net.sent(Returned, since=since)]
    assert [(hop, source) for source, hop in reversed(there)] == back
    assert len(there) == reply.hops + 1


def test_a_node_sends_itself_messages_too() -> None:
    net = street(3)
    [alice, *_] = net.peers
    net.serve(alice, "diary")
    since = len(net.log)
    reply = reply_of(net.post(alice, alice, b"dear me", topic="diary"))
    assert reply.payload == b"em raed"
    assert (reply.hops, reply.messages) == (0, 0)
    assert not routes(net, since)
    with pytest.raises(NoPeers, match="no server for topic 'other'"):
        reply_of(net.post(alice, alice, topic="other"))


def test_a_client_sends_and_is_answered() -> None:
    net = street(6)
    client = net.add(net.peers[0], client=True)
    net.serve(net.peers[3])
    assert reply_of(net.post(client, net.peers[3])).payload == b"olleh"


def test_who_is_sent_a_message_may_be_a_client_whose_address_is_known() -> None:
    net = street(6)
    client = net.add(net.peers[0], client=True)
    net.serve(client)
    finished = net.post(net.peers[4], client, contact=client.contact, routing="iterative")
    assert reply_of(finished).payload == b"olleh"


def test_the_longest_message_and_the_longest_answer_fit() -> None:
    net = street()
    sender, target = far_pair(net)
    topic, longest = "ü" * (TOPIC_SIZE_MAX // 2), bytes(PAYLOAD_MAX)
    net.serve(target, topic)
    for way in WAYS.values():
        assert reply_of(net.post(sender, target, longest, topic=topic, **way)).payload == longest


def test_the_arithmetic_of_the_longest_message() -> None:
    longest = Route(255, bytes(8), bytes(32), 16, 16, 2, bytes(50), bytes(1000))
    assert REQUEST_ID_SIZE + len(encode(longest)) - 1000 == ROUTE_OVERHEAD
    assert MESSAGE_SIZE_MAX == 1083
    assert MESSAGE_SIZE_MAX <= min(ROOM, DATA_ROOM) < DATAGRAM_SIZE_MAX


def test_whatever_is_passed_on_fits_a_datagram_everywhere() -> None:
    """What fills one as it comes would be too long by what each hop adds of its own."""
    route = Route(0, bytes(8), bytes(32), 0, 0, 0, b"", bytes(ROUTE_BODY_MAX))
    longest = msgspec.structs.replace(route, flags=255, ttl=64, hops=64, issuer=bytes(50))
    assert REQUEST_ID_SIZE + len(encode(longest)) <= min(ROOM, DATA_ROOM)
    returned = Returned(255, bytes(8), 64, bytes(RETURNED_BODY_MAX))
    assert REQUEST_ID_SIZE + len(encode(returned)) <= min(ROOM, DATA_ROOM)
    for message, size in ((route, ROUTE_BODY_MAX), (returned, RETURNED_BODY_MAX)):
        one_more = msgspec.structs.replace(message, body=bytes(size + 1))
        assert decode_untrusted(bytes(8) + encode(message))[1] == message
        with pytest.raises(RemoteError):
            decode_untrusted(bytes(8) + encode(one_more))


# ---- it does not arrive ----


def test_a_topic_that_nobody_serves_there_is_said_so() -> None:
    net = street()
    sender, target = far_pair(net)
    net.serve(target, "other")
    for way in WAYS.values():
        with pytest.raises(NoPeers, match="the node has no server for topic 'chat'"):
            reply_of(net.post(sender, target, topic="chat", **way))


def test_a_dead_node_is_given_up_after_three_attempts_over_other_first_hops() -> None:
    net = street()
    sender, target = far_pair(net)
    net.crash(target)
    since, began = len(net.log), net.now
    with pytest.raises(NoPeers, match="attempt 3 of 3"):
        reply_of(net.post(sender, target, public_key=target.contact.public_key))
    assert net.now - began <= sum(ATTEMPTS_S) + 0.1
    ours = [(hop, each.id) for source, hop, each in routes(net, since) if source == sender.address]
    assert len({route_id for _, route_id in ours}) == 3
    assert len({hop for hop, _ in ours}) >= 3
    assert net.comes_to_rest()
    assert len(sender.engine._messaging.dispatcher) == 0


def test_nobody_knows_a_node_that_is_not_there() -> None:
    net = street()
    for way in WAYS.values():
        with pytest.raises(NoPeers):
            reply_of(net.run(net.peers[0], lambda e, now: e.start_send(now, Key(7), b"", **way)))  # noqa: B023


def test_a_first_hop_that_swallows_a_message_is_gone_around() -> None:
    net = street()
    sender, target = far_pair(net)
    net.serve(target)
    first: list[Address] = []

    def fate(data: bytes, source: Address, hop: Address) -> Sequence[bytes]:
        if is_route(data) and source == sender.address and not first:
            first.append(hop)
        swallowed = first and source == first[0] and hop != sender.address
        return () if swallowed and (is_route(data) or is_returned(data)) else (data,)

    net.fate = fate
    reply = reply_of(net.post(sender, target, public_key=target.contact.public_key))
    assert reply.payload == b"olleh"
    assert reply.attempts == 2


def test_a_message_is_delivered_once_although_its_answer_is_lost() -> None:
    net = street()
    sender, target = far_pair(net)
    net.serve(target)
    lost: list[bytes] = []

    def fate(data: bytes, source: Address, _target: Address) -> Sequence[bytes]:
        if is_returned(data) and source == target.address and net.now < began + 3.0:
            lost.append(data)
            return ()
        return (data,)

    began = net.now
    net.fate = fate
    reply = reply_of(net.post(sender, target, public_key=target.contact.public_key))
    assert lost
    assert reply.payload == b"olleh"
    assert reply.attempts > 1
    assert len(net.delivered) == 1


def test_an_answer_that_takes_its_time_is_waited_for() -> None:
    net = street()
    sender, target = far_pair(net)
    net.serve(target, "slow", lambda _: None)
    operation = net.begin(
        sender, lambda engine, now: engine.start_send(now, target.contact.id, b"?", topic="slow")
    )
    net.run_for(15.0)
    [(_, event)] = net.delivered
    target.engine.answer_message(net.now, event.message_id, b"at last")
    net.poll(target)
    net.run_for(1.0)
    [finished] = [each for each in sender.finished() if each.operation_id == operation]
    assert reply_of(finished).payload == b"at last"


def test_a_message_that_was_cancelled_leaves_nothing_behind() -> None:
    net = street()
    sender, target = far_pair(net)
    net.serve(target)
    operation = net.begin(
        sender, lambda engine, now: engine.start_send(now, target.contact.id, b"?")
    )
    sender.engine.cancel(net.now, operation)
    net.poll(sender)
    assert net.comes_to_rest()
    [finished] = [each for each in sender.finished() if each.operation_id == operation]
    assert (finished.outcome, finished.error) == (None, None)


# ---- nobody on the way can read it, change it, or answer it ----


def test_no_hop_can_read_a_message_its_topic_or_its_answer() -> None:
    net = street()
    sender, target = far_pair(net)
    net.serve(target, "a secret topic", lambda _: b"a secret answer")
    since = len(net.log)
    reply_of(net.post(sender, target, b"a secret payload", topic="a secret topic"))
    assert routes(net, since)
    for _, _, _, data in net.log[since:]:
        assert b"secret" not in data


@pytest.mark.parametrize("forge", [b"x", bytes(49), bytes(200)])
def test_no_hop_can_answer_in_the_name_of_the_target(forge: bytes) -> None:
    net = street()
    sender, target = far_pair(net)
    net.serve(target)

    def fate(data: bytes, source: Address, hop: Address) -> Sequence[bytes]:
        message = message_of(data)
        if hop == sender.address and isinstance(message, Returned) and message.body:
            who = next(peer for peer in net.peers if peer.address == source)
            lie = msgspec.structs.replace(message, body=forge)
            return (frame(who.contact.public_key, lie, bytes(8)), data)
        return (data,)

    net.fate = fate
    finished = net.post(sender, target, public_key=target.contact.public_key)
    assert reply_of(finished).payload == b"olleh"


def sealers(*, key: bytes | None = None) -> tuple[Sealer, Sealer]:
    network = Network.named("here", key)
    return (
        Sealer(Identity.generate(Random(1)), network, Random(2)),
        Sealer(Identity.generate(Random(3)), network, Random(4)),
    )


def test_what_is_sealed_opens_for_its_target_and_so_does_the_answer() -> None:
    alice, bob = sealers()
    sealed, opens_answer = alice.seal(bob.identity.public_key, b"issuer", b"plain")
    plain, noise = bob.open_untrusted(b"issuer", sealed)
    assert plain == b"plain"
    assert noise.remote_public == alice.identity.public_key
    assert opens_answer.read_untrusted(bob.answer(noise, b"answer")) == b"answer"


def test_nobody_else_opens_it_nor_with_another_issuer_nor_in_another_network() -> None:
    alice, bob = sealers()
    sealed, _ = alice.seal(bob.identity.public_key, b"issuer", b"plain")
    with pytest.raises(RemoteError):
        bob.open_untrusted(b"a victim", sealed)
    with pytest.raises(RemoteError):
        alice.open_untrusted(b"issuer", sealed)
    with pytest.raises(RemoteError):
        Sealer(bob.identity, Network.named("there"), Random(1)).open_untrusted(b"issuer", sealed)
    with pytest.raises(RemoteError):
        Sealer(bob.identity, Network.named("here", bytes([1]) * 32), Random(1)).open_untrusted(
            b"issuer", sealed
        )


def test_while_a_network_key_is_replaced_both_are_understood() -> None:
    old, new = bytes([1]) * 32, bytes([2]) * 32
    alice = Sealer(Identity.generate(Random(1)), Network.named("here", old), Random(2))
    bob = Sealer(Identity.generate(Random(3)), Network.named("here", [new, old]), Random(4))
    sealed, _ = alice.seal(bob.identity.public_key, b"", b"plain")
    assert bob.open_untrusted(b"", sealed)[0] == b"plain"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_letter_or_a_remote_error(plain: bytes) -> None:
    try:
        letter = unpack_letter_untrusted(plain)
    except RemoteError:
        return
    assert pack_letter(letter) == plain


@given(st.binary(max_size=20))
def test_any_bytes_are_an_answer_or_a_remote_error(plain: bytes) -> None:
    try:
        verdict, payload = unpack_answer_untrusted(plain)
    except RemoteError:
        assert not plain or plain[0] > max(Verdict)
    else:
        assert plain == bytes([verdict]) + payload


def test_a_copy_that_a_hop_kept_is_not_delivered_again() -> None:
    net = street()
    sender, target = far_pair(net)
    net.serve(target)
    since = len(net.log)
    reply_of(net.post(sender, target, public_key=target.contact.public_key))
    kept = [each for _, hop, each in routes(net, since) if hop == target.address]
    replayer = net.stranger(reply=Manners(net))
    for number in range(5):
        again = msgspec.structs.replace(kept[0], id=bytes([number]) * 8)
        assert Taking.TAKEN in [
            each.status for each in replayer.say(target, again) if isinstance(each, Taken)
        ]
    assert len(net.delivered) == 1


# ---- an answer goes straight only where that harms nobody ----


def test_on_an_open_network_at_public_addresses_there_is_no_direct_answer() -> None:
    net = Post(private_network=False)
    net.grow(3)
    with pytest.raises(LocalError, match="network_key"):
        net.post(net.peers[0], net.peers[1], reply="direct")
    net.serve(net.peers[1])
    assert reply_of(net.post(net.peers[0], net.peers[1])).payload == b"olleh"


def direct_route(net: Post, liar: Identity, target: Peer, issuer: bytes, payload: bytes) -> Route:
    sealer = Sealer(liar, Network.named(), Random(5))
    letter = pack_letter(Letter(bytes(8), "", payload))
    sealed, _ = sealer.seal(target.contact.public_key, issuer, letter)
    return Route(
        WANT_IPV4, b"a lie's.", key_bytes(target.contact.id), 16, 0, Style.DIRECT, issuer, sealed
    )


def lie(*, private_network: bool, public_key: bytes | None = None, answer: bytes = b"") -> Post:
    """Somebody names a victim's address as the one that wants the answer."""
    net = Post(private_network=private_network)
    [target, _, _] = net.grow(3)
    net.serve(target, "", lambda _: answer)
    liar = Identity.generate(Random(77))
    hop = net.known(target, manners=Manners(net))
    issuer = contact_at(public_key or liar.public_key, VICTIM).packed
    hop.say(target, direct_route(net, liar, target, issuer, b"hello"))
    net.run_for(20.0)
    return net


def sent_to(net: Post, place: Address) -> list[bytes]:
    return [data for _, _, hop, data in net.log if hop == place]


VICTIM = pack_address("203.0.113.9", 4000)


def test_a_target_on_an_open_network_sends_nothing_to_a_stranger_that_a_message_names() -> None:
    net = lie(private_network=False)
    assert sent_to(net, VICTIM) == []
    assert len(net.delivered) == 1
    assert [message for _, _, message in net.sent(Returned)]  # along the path, then


def test_a_message_cannot_name_an_issuer_with_anothers_key() -> None:
    net = lie(private_network=True, public_key=bytes(range(32)))
    assert sent_to(net, VICTIM) == []
    assert len(net.delivered) == 1


def test_a_member_that_lies_of_its_address_has_one_packet_sent_there_no_longer_than_its_own() -> (
    None
):
    net = lie(private_network=True, answer=b"short")
    [data] = sent_to(net, VICTIM)
    [given] = [data for _, _, _, data in net.log if is_route(data)]
    assert isinstance(message_of(data), Returned)
    assert len(data) <= len(given)


def test_a_longer_answer_waits_until_the_issuer_has_answered() -> None:
    net = lie(private_network=True, answer=bytes(PAYLOAD_MAX))
    [data] = sent_to(net, VICTIM)
    assert isinstance(message_of(data), Ping)


def test_a_longer_answer_comes_straight_to_an_issuer_that_answers() -> None:
    net = street(12)
    sender, target = far_pair(net)
    net.serve(target, "", lambda _: bytes(PAYLOAD_MAX))
    key = target.contact.public_key
    for _ in range(2):
        since = len(net.log)
        reply = reply_of(net.post(sender, target, public_key=key, reply="direct"))
        assert len(reply.payload) == PAYLOAD_MAX
        [(source, _, _)] = net.sent(Returned, since=since)
        assert source == target.address


def test_where_the_issuer_is_not_heard_the_answer_takes_the_path() -> None:
    net = street()
    sender, target = far_pair(net)
    net.serve(target)
    net.fate = lambda data, source, hop: (
        () if (source, hop) == (target.address, sender.address) else (data,)
    )
    key = target.contact.public_key
    assert reply_of(net.post(sender, target, public_key=key, reply="direct")).payload == b"olleh"


# ---- what the target keeps ----


@attrs.define(eq=False)
class Desk:
    """Deliveries, and what went back."""

    told: list[Event] = attrs.field(factory=list)
    back: list[tuple[str, Verdict, bytes]] = attrs.field(factory=list)
    deliveries: Deliveries = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.deliveries = Deliveries(self.told.append)

    def arrive(self, number: int, *, topic: str = "t", way: str = "way") -> None:
        letter = Letter(number.to_bytes(8), topic, b"payload")
        self.deliveries.arrived(0.0, bytes(32), letter, self.way(way))

    def way(self, name: str) -> Callable[[float, Verdict, bytes], None]:
        return lambda _now, verdict, payload: self.back.append((name, verdict, payload))

    def arrived(self) -> list[MessageArrived]:
        return [event for event in self.told if isinstance(event, MessageArrived)]


def test_the_answer_goes_back_the_way_that_the_message_came_by_last() -> None:
    desk = Desk()
    desk.deliveries.serve_topic("t")
    desk.arrive(1, way="first")
    desk.arrive(1, way="second")
    [event] = desk.arrived()
    desk.deliveries.answer(0.0, event.message_id, b"answer")
    assert desk.back == [("second", Verdict.ANSWERED, b"answer")]
    desk.arrive(1, way="third")
    assert desk.back[1:] == [("third", Verdict.ANSWERED, b"answer")]
    assert len(desk.arrived()) == 1
    desk.deliveries.answer(0.0, event.message_id, b"twice")
    assert len(desk.back) == 2


def test_so_many_messages_of_a_topic_wait_and_more_are_turned_away() -> None:
    desk = Desk()
    desk.deliveries.serve_topic("t")
    desk.deliveries.serve_topic("other")
    for number in range(WAITING_PER_TOPIC_MAX + 1):
        desk.arrive(number)
    assert len(desk.deliveries) == WAITING_PER_TOPIC_MAX
    assert desk.back == [("way", Verdict.BUSY, b"")]
    desk.arrive(9999, topic="other")
    assert desk.arrived()[-1].topic == "other"
    desk.deliveries.answer(0.0, desk.arrived()[0].message_id, b"")
    desk.arrive(WAITING_PER_TOPIC_MAX + 1)
    assert len(desk.arrived()) == WAITING_PER_TOPIC_MAX + 2


def test_so_many_messages_are_remembered() -> None:
    desk = Desk()
    desk.deliveries.serve_topic("t")
    for number in range(KNOWN_MAX + 100):
        desk.arrive(number)
        desk.deliveries.answer(0.0, desk.arrived()[-1].message_id, b"")
    assert len(desk.deliveries._known) == KNOWN_MAX
    assert len(desk.deliveries) == 0


def test_a_topic_that_is_served_no_more_fails_what_waits_and_takes_nothing() -> None:
    desk = Desk()
    desk.deliveries.serve_topic("t")
    desk.arrive(1)
    desk.deliveries.unserve_topic(0.0, "t")
    desk.deliveries.unserve_topic(0.0, "t")
    assert desk.back == [("way", Verdict.FAILED, b"")]
    desk.arrive(2)
    assert desk.back[1:] == [("way", Verdict.NO_SERVER, b"")]
    desk.deliveries.serve_topic("t")
    desk.arrive(2)  # it was not delivered before
    assert len(desk.arrived()) == 2


def test_a_topic_has_one_server_and_a_node_so_many_topics() -> None:
    desk = Desk()
    desk.deliveries.serve_topic("t")
    with pytest.raises(LocalError, match="'t' is served by this node already"):
        desk.deliveries.serve_topic("t")
    for number in range(TOPICS_MAX - 1):
        desk.deliveries.serve_topic(str(number))
    with pytest.raises(LocalError, match=str(TOPICS_MAX)):
        desk.deliveries.serve_topic("one more")


@pytest.mark.parametrize("topic", ["x" * 65, "ü" * 33, b"topic", None, 7, "\ud800"])
def test_a_topic_that_cannot_travel_is_refused(topic: object) -> None:
    net = street(2)
    with pytest.raises(LocalError, match="a topic is a str"):
        net.post(net.peers[0], net.peers[1], topic=topic)
    with pytest.raises(LocalError, match="a topic is a str"):
        net.peers[0].engine.serve_topic(topic)  # type: ignore[arg-type]


def test_a_payload_that_cannot_travel_is_refused() -> None:
    net = street(2)
    with pytest.raises(ValueTooLarge, match="801"):
        net.post(net.peers[0], net.peers[1], bytes(PAYLOAD_MAX + 1))
    with pytest.raises(LocalError, match="a payload is bytes"):
        net.post(net.peers[0], net.peers[1], "text")  # type: ignore[arg-type]


# ---- records, by a request that is passed on ----


def test_a_record_is_put_found_and_deleted_by_requests_that_are_passed_on() -> None:
    net = street(60, config=WIDE)
    random = Random(4)
    for number in range(10):
        writer, reader = random.sample(net.peers, 2)
        since = len(net.log)
        outcome = net.put(writer, f"key {number}", b"value", routing="recursive")
        assert len(outcome.stored) == net.config.replicas
        found = net.get(reader, f"key {number}", routing="recursive")
        assert found.value == b"value"
        assert net.get(net.peers[0], f"key {number}").value == b"value"
        assert records_asked(net, since)
    net.put(net.peers[3], "key 1", b"", tombstone=True, routing="recursive")
    assert net.get(net.peers[5], "key 1", routing="recursive").value is None
    assert net.get(net.peers[5], "never put", routing="recursive").record is None
    assert net.comes_to_rest()


def reader_of(net: Post, key: str) -> Peer:
    """Somebody who holds no copy, and knows somebody nearer to it."""
    return next(
        peer
        for peer in net.peers
        if not peer.held(net.now, key)
        and peer.engine._messaging.relay.nearer(plain_key(key), without=0)
    )


def test_who_holds_a_record_on_the_way_answers_and_nobody_else_is_asked() -> None:
    net = street(60, config=WIDE)
    net.put(net.peers[1], "a", b"value")
    reader = reader_of(net, "a")
    since = len(net.log)
    found = net.get(reader, "a", routing="recursive")
    assert found.value == b"value"
    assert not net.sent(Get, since=since)
    assert found.trace.messages >= 1


def test_a_large_value_is_fetched_from_the_holder_that_was_found_on_the_way() -> None:
    net = street(60, config=WIDE)
    net.put(net.peers[1], "a", bytes(20_000))
    reader = reader_of(net, "a")
    assert net.get(reader, "a", routing="recursive").value == bytes(20_000)


def test_a_quorum_is_asked_one_by_one_all_the_same() -> None:
    net = street(60, config=WIDE)
    net.put(net.peers[1], "a", b"value")
    reader = reader_of(net, "a")
    found = net.get(reader, "a", routing="recursive", quorum=3)
    assert found.value == b"value"
    assert len(found.agreed) >= 3


def test_records_survive_a_network_that_swallows_what_is_passed_on() -> None:
    net = street(60, config=WIDE)
    net.put(net.peers[1], "a", b"value")
    net.fate = lambda data, _source, _hop: () if is_route(data) else (data,)
    reader = reader_of(net, "a")
    assert net.get(reader, "a", routing="recursive").value == b"value"


def liars(net: Post, answer: Callable[[Route], bytes]) -> tuple[Peer, list[Stranger]]:
    """A node whose nearest contacts to any key all answer what is passed on with a lie."""
    node = net.peers[0]

    def tell(stranger: Stranger) -> Callable[[Request], Taken]:
        def reply(request: Request) -> Taken:
            assert isinstance(request, Route)
            back = Returned(0, request.id, 0, answer(request))
            net.send(
                frame(stranger.contact.public_key, back, bytes(8)), stranger.address, node.address
            )
            return Taken(0, Taking.TAKEN)

        return reply

    told = []
    for _ in range(60):
        manners = Manners(net)
        stranger = net.stranger(reply=manners)
        manners.replies[Route] = tell(stranger)
        stranger.say(node, Ping(flags=WANT_IPV4))
        told.append(stranger)
    return node, told


def test_a_record_that_a_hop_forged_is_not_believed() -> None:
    net = Post(config=WIDE)
    net.grow(3)

    def forged(request: Route) -> bytes:
        lie = copy_of(record("another key", b"a lie"), 60_000)
        own = net.peers[1].contact.packed
        return bytes([len(own)]) + own + encode(Found(0, lie, b"", b""))

    node, told = liars(net, forged)
    found = net.get(node, "a", routing="recursive")
    assert isinstance(found, GetOutcome)
    assert found.record is None
    assert any(each.heard_of(Route) for each in told)


@pytest.mark.parametrize("body", [b"x", bytes([38]), bytes([200]) + bytes(300), bytes(39)])
def test_nonsense_from_a_hop_costs_a_moment_and_no_more(body: bytes) -> None:
    net = Post(config=WIDE)
    net.grow(3)
    node, told = liars(net, lambda _: body)
    assert net.get(node, "a", routing="recursive").record is None
    with pytest.raises(NoPeers):
        reply_of(net.run(node, lambda engine, now: engine.start_send(now, Key(7), b"")))
    assert any(each.heard_of(Route) for each in told)


def test_a_record_request_for_another_key_than_its_targets_is_not_answered() -> None:
    net = street(3)
    node = net.peers[0]
    node.engine.restore(net.now, record("a", b"value"), 60_000)
    asker = net.known(node, manners=Manners(net))
    key = plain_key("a")
    other = key_bytes(node.contact.id ^ 1)
    for body in (
        encode(Get(WANT_IPV4, 1, key_bytes(key), 8)),
        encode(Find(WANT_IPV4, key_bytes(key), 8, 0)),
        encode(Ping(0)),
        b"nonsense",
        b"",
    ):
        asker.say(node, Route(0, body[-9:-1].ljust(8), other, 16, 0, Style.RECORD, b"", body))
    assert [each.body for each in asker.heard_of(Returned)] == [b""] * 5


# ---- the options ----


@pytest.mark.parametrize(
    "options",
    [
        {"routing": "both"},
        {"routing": None},
        {"reply": "never", "routing": "recursive"},
        {"reply": "direct"},
        {"routing": "recursive", "disjoint": 2},
    ],
)
def test_a_way_that_cannot_be_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(LocalError, match="Structured"):
        Structured(**options)  # type: ignore[arg-type]


# ---- a network of which a part is dead ----


def test_messages_between_random_nodes_of_sixty_arrive_while_ten_percent_are_dead() -> None:
    simulator = Simulator(seed=5, config=Config(k=4, table_whole_max=8))
    simulator.grow(60)
    simulator.run_for(60.0)

    def answer(node: object, event: object) -> None:
        if isinstance(event, MessageArrived):
            node.engine.answer_message(simulator.now, event.message_id, event.payload[::-1])  # type: ignore[attr-defined]
            simulator.poll(node)  # type: ignore[arg-type]

    simulator.observers.append(answer)
    random = Random(6)
    for node in random.sample(simulator.living(), 6):
        simulator.crash(node)
    living = simulator.living()
    for node in living:
        node.engine.serve_topic("echo")
    pairs = [random.sample(living, 2) for _ in range(100)]
    for way in WAYS.values():
        finished = simulator.run_operations(
            (
                sender,
                lambda engine, now, to=to, way=way: engine.start_send(  # type: ignore[misc]
                    now, to.contact.id, b"hello", topic="echo", **way
                ),
            )
            for sender, to in pairs
        )
        replies = [reply_of(each) for each in finished]
        assert {reply.payload for reply in replies} == {b"olleh"}
        assert all(reply.hops <= 8 for reply in replies)


# ---- what may come back for a message of ours, and from whom ----


@attrs.define(eq=False)
class Waiting:
    """A message of ours under way: its first hop took it, and has not said more."""

    net: Post
    sender: Peer
    first: Stranger
    other: Stranger
    route: Route
    operation: int

    def say(self, by: Stranger, message: Route | Returned) -> list[Taking]:
        said = by.say(self.sender, message)
        return [Taking(each.status) for each in said if isinstance(each, Taken)]

    def routes(self) -> list[Route]:
        return [*self.first.heard_of(Route), *self.other.heard_of(Route)]


def waiting(**options: Any) -> Waiting:
    net = Post()
    sender = net.add()
    manners = Manners(net)
    hops = [net.known(sender, manners=manners) for _ in range(2)]
    target = Key(7)
    operation = net.begin(
        sender, lambda engine, now: engine.start_send(now, target, b"hello", **options)
    )
    net.run_for(0.1)
    first, other = sorted(hops, key=lambda each: each.contact.id ^ target)
    [route] = first.heard_of(Route)
    return Waiting(net, sender, first, other, route, operation)


def test_only_a_first_hop_can_say_that_a_message_went_no_further() -> None:
    here = waiting(public_key=Identity.generate(Random(9)).public_key)
    nowhere = Returned(0, here.route.id, 0, b"")
    assert here.say(here.other, nowhere) == [Taking.NOT_HERE]
    assert here.routes() == [here.route]
    assert here.say(here.first, nowhere) == [Taking.TAKEN]
    assert len(here.routes()) == 2  # the next attempt


def test_only_a_first_hop_can_say_who_somebody_is() -> None:
    here = waiting()
    own = here.other.contact.packed
    answer = bytes([len(own)]) + own + encode(Nodes(0, b"", b"", 0))
    assert here.route.style == Style.RECORD
    assert here.say(here.other, Returned(0, here.route.id, 0, answer)) == [Taking.NOT_HERE]
    assert here.routes() == [here.route]
    assert here.say(here.first, Returned(0, here.route.id, 0, answer)) == [Taking.TAKEN]
    assert len(here.routes()) == 2


def test_only_a_first_hop_can_say_who_holds_a_record() -> None:
    net = street(60, config=WIDE)
    reader = reader_of(net, "a")
    liar = net.stranger(reply=Manners(net))
    copy = copy_of(record("a", b"whatever"), 60_000)
    own = liar.contact.packed
    net.fate = lambda data, _source, _hop: () if is_returned(data) else (data,)
    since = len(net.log)
    operation = net.begin(
        reader,
        lambda engine, now: engine.start_get(now, Kind.PLAIN, plain_key("a"), routing="recursive"),
    )
    net.run_for(0.1)
    [(_, _, route), *_] = routes(net, since)
    net.fate = lambda data, _source, _hop: (data,)
    body = bytes([len(own)]) + own + encode(Found(0, copy, b"", b""))
    [told] = liar.say(reader, Returned(0, route.id, 0, body))
    assert isinstance(told, Taken)
    assert told.status == Taking.NOT_HERE
    assert not [each for each in reader.finished() if each.operation_id == operation]


def test_a_message_of_ours_that_comes_back_to_us_was_seen_here() -> None:
    here = waiting()
    assert here.say(here.first, here.route) == [Taking.SEEN]
    assert here.routes() == [here.route]


def test_so_many_messages_of_ours_are_waited_for() -> None:
    net = street(2)
    dispatcher = net.peers[0].engine._messaging.dispatcher
    for _ in range(OWN_MAX + 10):
        dispatcher.dispatch(
            net.now,
            target=bytes(32),
            style=Style.PATH,
            candidates=[],
            body=b"",
            hearing=lambda now, returned, peer: False,
        )
    assert len(dispatcher) == OWN_MAX


def test_so_many_public_keys_are_remembered() -> None:
    net = street(2)
    messaging = net.peers[0].engine._messaging
    for number in range(KEYS_MAX + 10):
        messaging._remember_key(number, bytes(32))
    assert len(messaging._keys) == KEYS_MAX
    assert 9 not in messaging._keys
    assert 10 in messaging._keys


def test_the_handshake_of_a_message_is_bound_to_what_the_protocol_says() -> None:
    """docs/protocol.md: the prologue is a tag, the network's id and the issuer."""
    network = Network.named("here")
    _, bob = sealers()
    alice = Identity.generate(Random(1))
    noise = Initiator(
        static=alice.private_key,
        static_public=alice.public_key,
        remote_public=bob.identity.public_key,
        psk=network.secrets()[0].psk,
        prologue=b"dht send" + network.id + b"issuer",
        ephemeral=Random(2).randbytes(32),
    )
    assert bob.open_untrusted(b"issuer", noise.write(b"plain"))[0] == b"plain"


# ---- where a target is said to be ----


def test_a_wrong_address_that_somebody_names_costs_an_attempt_and_no_more() -> None:
    net = street()
    sender, target = far_pair(net)
    net.serve(target)
    elsewhere = contact_at(target.contact.public_key, pack_address("99.9.9.9", 9)).packed

    def fate(data: bytes, source: Address, hop: Address) -> Sequence[bytes]:
        """The first to name the target names it at another address."""
        message = message_of(data)
        if (
            hop == sender.address
            and isinstance(message, Nodes)
            and target.contact.packed in message.contacts4
            and source not in (target.address, *lied[1:])
            and (not lied or lied[0] == source)
        ):
            lied.append(source)
            return (data.replace(target.contact.packed, elsewhere),)
        return (data,)

    lied: list[Address] = []
    net.fate = lambda data, source, hop: [resealed(each) for each in fate(data, source, hop)]
    reply = reply_of(net.post(sender, target, routing="iterative"))
    assert reply.payload == b"olleh"
    assert lied


def resealed(data: bytes) -> bytes:
    """With a right checksum again."""
    return data if message_of(data) is not None else sealed(data[1:33], data[33:-8])


# ---- over the encrypted channel ----


@pytest.mark.parametrize("way", WAYS)
def test_messages_go_over_the_encrypted_channel_too(way: str) -> None:
    simulator = Simulator(seed=7, encrypted=True, config=NARROW)
    simulator.grow(20)
    simulator.run_for(10.0)

    def answer(node: Any, event: object) -> None:
        if isinstance(event, MessageArrived):
            node.engine.answer_message(simulator.now, event.message_id, event.payload)
            simulator.poll(node)

    simulator.observers.append(answer)
    random = Random(6)
    for node in simulator.living():
        node.engine.serve_topic("echo")
    for size in (0, 100, PAYLOAD_MAX):
        for _ in range(5):
            sender, target = random.sample(simulator.living(), 2)
            finished = simulator.run_operation(
                sender,
                lambda engine, now, to=target.contact.id, size=size: engine.start_send(  # type: ignore[misc]
                    now, to, bytes(size), topic="echo", **WAYS[way]
                ),
            )
            assert reply_of(finished).payload == bytes(size)
