"""Messages that walk through the unstructured overlay: that they arrive, come back, and end."""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import combinations
from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dht.contacts import contact_at
from dht.core.channel.face import Opened
from dht.core.engine import Engine
from dht.core.events import MessageArrived, OperationId
from dht.core.forwarding import OFFERS_MAX, Forwarding, Sent
from dht.core.machine import FINISHED, Ask, Wait
from dht.core.relay import ROUTES_PER_SOURCE
from dht.core.via import Walk
from dht.core.walking import WALK_ATTEMPTS_S
from dht.errors import LocalError, NoPeers
from dht.identity import Identity
from dht.keyspace import Key, key_bytes
from dht.sim.simulator import Simulator
from dht.wire.codec import encode
from dht.wire.messages import (
    TTL_MAX,
    WALK_TTL_MAX,
    WANT_IPV4,
    Answer,
    Nodes,
    Request,
    Returned,
    Route,
    Style,
    Taken,
    Taking,
)
from tests import strategies
from tests.core.contacts_for_tests import contact
from tests.core.pair import Manners, Peer, Stranger, frame
from tests.core.post import Post, is_returned, reply_of
from tests.core.unstructured.nets_for_tests import STILL, befriend, forget, neighbour

ID = b"route id"
ONE = Walk(walkers=1)
A, B, C = (contact(number) for number in range(1, 4))


def still(count: int, edges: Iterable[tuple[int, int]]) -> Post:
    """So many engines of the unstructured overlay that know only these, both ways."""
    net = Post(config=STILL, overlay="unstructured")
    for _ in range(count):
        net.add(join=False)
    for one, other in edges:
        befriend(net.peers[one], net.peers[other])
        befriend(net.peers[other], net.peers[one])
    return net


def line(count: int) -> Post:
    return still(count, [(number, number + 1) for number in range(count - 1)])


def walks(
    net: Post, sender: Peer, to: Peer, walk: Walk = ONE, **options: Any
) -> Iterable[tuple[int, int]]:
    """Sends a message to somebody whose key is known; the ways that it went, by number."""
    since = len(net.log)
    options.setdefault("public_key", to.contact.public_key)
    assert reply_of(net.post(sender, to, walk=walk, **options)).payload == b"olleh"
    return steps(net, since)


def steps(net: Post, since: int = 0) -> list[tuple[int, int]]:
    """Each time a message was passed on: from whom to whom."""
    return [
        (number(net, one), number(net, other)) for one, other, _ in net.sent(Route, since=since)
    ]


def number(net: Post, address: bytes) -> int:
    return next(place for place, peer in enumerate(net.peers) if peer.address == address)


def route(target: int, **fields: object) -> Route:
    values: dict[str, object] = {
        "flags": WANT_IPV4,
        "id": ID,
        "target": key_bytes(target),
        "ttl": WALK_TTL_MAX,
        "hops": 0,
        "style": Style.WALK_PATH,
        "issuer": b"",
        "body": b"sealed",
        **fields,
    }
    return Route(**values)  # type: ignore[arg-type]


def serve(net: Post, node: Peer, asker: Stranger, message: Route | Returned) -> None:
    """As if it had just come in over a proved address."""
    opened = Opened(
        asker.contact.public_key, asker.address, bytes(300), asker.address, 1000, proved=True
    )
    node.engine._messaging.relay.serve(net.now, opened, bytes(8), message, asker.contact)
    net.poll(node)


# ---- it arrives ----


def test_a_walk_reaches_a_target_that_nobody_on_the_way_can_read_or_answer_for() -> None:
    net = line(6)
    sender, target = net.peers[0], net.peers[-1]
    net.serve(target, "chat")
    reply = reply_of(
        net.post(
            sender,
            target,
            b"a secret",
            topic="chat",
            walk=ONE,
            public_key=target.contact.public_key,
        )
    )
    assert reply.payload == b"terces a"
    assert (reply.attempts, reply.hops) == (1, 4)
    [(peer, event)] = net.delivered
    assert peer is target
    assert (event.sender, event.payload) == (sender.contact.id, b"a secret")
    assert not any(b"a secret" in data or b"terces a" in data for _, _, _, data in net.log)


def test_the_answer_comes_back_along_the_path_of_the_walker() -> None:
    net = line(5)
    net.serve(net.peers[4])
    there = walks(net, net.peers[0], net.peers[4])
    assert there == [(0, 1), (1, 2), (2, 3), (3, 4)]
    back = [(number(net, one), number(net, other)) for one, other, _ in net.sent(Returned)]
    assert back == [(4, 3), (3, 2), (2, 1), (1, 0)]


def test_an_answer_that_may_come_directly_takes_one_step() -> None:
    net = line(5)
    net.serve(net.peers[4])
    walks(net, net.peers[0], net.peers[4], Walk(walkers=1, reply="direct"))
    back = {(number(net, one), number(net, other)) for one, other, _ in net.sent(Returned)}
    assert back == {(4, 0)}


def test_somebody_known_by_his_id_alone_is_asked_who_he_is_on_a_walk() -> None:
    net = line(4)
    net.serve(net.peers[3])
    since = len(net.log)
    reply = reply_of(net.post(net.peers[0], net.peers[3], walk=ONE))
    assert reply.payload == b"olleh"
    asked = [each.style for _, _, each in net.sent(Route, since=since)]
    # And then it is known where he is.
    assert asked == [Style.WALK_RECORD] * 3 + [Style.WALK_PATH]
    assert steps(net, since)[-1] == (0, 3)


def test_whoever_knows_the_target_hands_it_on_to_him() -> None:
    star = [(0, 1), *[(1, each) for each in range(2, 12)]]
    net = still(12, star)
    net.serve(net.peers[7])
    assert walks(net, net.peers[0], net.peers[7]) == [(0, 1), (1, 7)]


def test_a_neighbour_is_sent_the_message_and_nobody_else() -> None:
    net = still(5, combinations(range(5), 2))
    net.serve(net.peers[3])
    assert walks(net, net.peers[0], net.peers[3], Walk(), public_key=None) == [(0, 3)]


def test_a_neighbour_that_has_moved_is_looked_for() -> None:
    net = still(5, [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4)])
    target = net.peers[4]
    net.serve(target)
    moved = contact_at(target.contact.public_key, net.stranger().address)
    reply = reply_of(net.post(net.peers[0], target, walk=Walk(), contact=moved))
    assert reply.payload == b"olleh"


def test_of_eight_walkers_that_arrive_one_is_delivered() -> None:
    middle = range(1, 9)
    net = still(10, [*[(0, each) for each in middle], *[(each, 9) for each in middle]])
    net.serve(net.peers[9])
    went = walks(net, net.peers[0], net.peers[9], Walk(walkers=8))
    assert sorted(went)[:8] == [(0, each) for each in middle]
    net.run_for(5.0)
    assert Counter(steps(net))[1, 9] == 1
    assert len([each for each in steps(net) if each[1] == 9]) == 8
    assert len({each.id for _, _, each in net.sent(Route)}) == 8
    assert len({each.body for _, _, each in net.sent(Route)}) == 1
    assert len(net.delivered) == 1
    assert net.comes_to_rest()


def test_a_client_sends_on_a_walk_and_takes_no_part_in_those_of_others() -> None:
    net = Post(config=STILL, overlay="unstructured")
    client = net.add(join=False, client=True)
    for _ in range(3):
        net.add(join=False)
    for one, other in [(0, 1), (1, 2), (2, 3)]:
        befriend(net.peers[one], net.peers[other])
    net.serve(net.peers[3])
    assert reply_of(net.post(client, net.peers[3], walk=ONE)).payload == b"olleh"
    assert said(neighbour(net, client), client, route(7)) == [Taking.NOT_HERE]


def test_an_answer_that_is_swallowed_costs_another_attempt() -> None:
    net = line(4)
    net.serve(net.peers[3])
    until = net.now + WALK_ATTEMPTS_S[0]
    net.fate = lambda data, _source, _hop: () if is_returned(data) and net.now < until else (data,)
    reply = reply_of(
        net.post(net.peers[0], net.peers[3], walk=ONE, public_key=net.peers[3].contact.public_key)
    )
    assert (reply.payload, reply.attempts) == (b"olleh", 2)


# ---- it ends ----


@pytest.mark.parametrize("ttl", [1, 2, 3])
def test_a_walk_ends_with_its_steps_and_that_is_told_at_once(ttl: int) -> None:
    net = line(7)
    net.serve(net.peers[6])
    began = net.now
    with pytest.raises(NoPeers, match="no answer came"):
        walks(net, net.peers[0], net.peers[6], Walk(walkers=1, ttl=ttl))
    assert set(steps(net)) == {(each, each + 1) for each in range(ttl + 1)}
    assert net.now - began < WALK_ATTEMPTS_S[0]
    assert not net.delivered


def test_a_walk_that_ends_says_nothing_of_who_is_near() -> None:
    net = line(4)
    asked = Identity.generate(Random(9)).id
    since = len(net.log)
    with pytest.raises(NoPeers):
        reply_of(net.run(net.peers[0], lambda engine, now: to_nobody(engine, now, asked)))
    assert {each.body for _, _, each in net.sent(Returned, since=since)} == {b""}


def to_nobody(engine: Engine, now: float, target: Key) -> OperationId:
    return engine.start_send(now, target, b"", walk=ONE)


def test_a_walker_never_goes_where_it_has_been() -> None:
    net = still(7, combinations(range(7), 2))
    nobody = Identity.generate(Random(9))
    with pytest.raises(NoPeers):
        reply_of(
            net.run(
                net.peers[0],
                lambda engine, now: engine.start_send(
                    now, nobody.id, b"", walk=ONE, public_key=nobody.public_key
                ),
            )
        )
    offers = Counter((each.id, source) for source, _, each in net.sent(Route))
    assert len(offers) > 7
    assert max(offers.values()) <= OFFERS_MAX  # who passed it on twice would have offered more


def test_a_step_is_offered_to_the_next_only_when_one_has_failed() -> None:
    """Two copies of a walker would go on for ever, and each of them divide again."""
    machine = Forwarding([A, B, C], b"body", lambda _: 0.2, {}, Sent(), walks=True)
    assert machine.next(0.0) == Ask(A, b"body")
    assert machine.next(1.0) == Wait(inf)
    machine.on_failure(1.8, A)
    assert machine.next(1.8) == Ask(B, b"body")
    machine.on_reply(1.9, B, Taken(0, Taking.SEEN), [])
    assert machine.next(1.9) == Ask(C, b"body")
    assert list(machine.asked) == [C.public_key]
    machine.on_reply(2.0, C, Taken(0, Taking.TAKEN), [])
    assert machine.next(2.0) is FINISHED
    assert machine.taken


# ---- a node among strangers ----


def hub(count: int = 6, *, status: Taking = Taking.TAKEN) -> tuple[Post, Peer, list[Stranger]]:
    """A node with neighbours that take, or do not take, what they are given."""
    net = Post(config=STILL, overlay="unstructured")
    node = net.add(join=False)
    replies: dict[type, Callable[[Request], Answer | None]] = {
        Route: lambda _: Taken(0, status),
        Returned: lambda _: Taken(0, Taking.TAKEN),
    }
    return net, node, [neighbour(net, node, replies=replies) for _ in range(count)]


def said(stranger: Stranger, node: Peer, message: Route | Returned) -> list[Taking]:
    answers = stranger.say(node, message)
    return [Taking(each.status) for each in answers if isinstance(each, Taken)]


def test_a_message_goes_on_to_one_neighbour_and_not_back() -> None:
    _, node, neighbours = hub()
    before = neighbours[0]
    for each in range(30):
        assert said(before, node, route(7, id=bytes([each]) * 8, ttl=9, hops=4)) == [Taking.TAKEN]
    assert before.heard_of(Route) == []
    passed = [each for stranger in neighbours for each in stranger.heard_of(Route)]
    assert len(passed) == 30
    assert {(each.ttl, each.hops) for each in passed} == {(8, 5)}
    assert all(each.heard_of(Route) for each in neighbours[1:])


def test_where_nobody_takes_it_three_are_asked_and_it_is_given_back() -> None:
    net, node, neighbours = hub(status=Taking.SEEN)
    said(neighbours[0], node, route(7))
    net.run_for(5.0)
    assert sum(len(each.heard_of(Route)) for each in neighbours) == OFFERS_MAX
    assert [each.body for each in neighbours[0].heard_of(Returned)] == [b""]


def test_a_node_of_the_structured_overlay_alone_refuses_what_walks() -> None:
    net = Post()
    node = net.add()
    manners = Manners(net)
    others = [net.known(node, manners=manners) for _ in range(4)]
    for style in Style:
        if style.walks:
            walk = route(others[1].contact.id, id=bytes([style]) * 8, style=style)
            assert said(others[0], node, walk) == [Taking.NOT_HERE]
    assert not any(each.heard_of(Route) for each in others)
    assert said(others[0], node, route(node.contact.id)) == [Taking.TAKEN]  # it is its target


def test_what_does_not_walk_goes_no_farther_than_it_ever_did() -> None:
    net = Post()
    node = net.add()
    manners = Manners(net)
    before, near = (net.known(node, manners=manners) for _ in range(2))
    said(before, node, route(near.contact.id, style=Style.PATH, ttl=WALK_TTL_MAX))
    [passed] = near.heard_of(Route)
    assert passed.ttl == TTL_MAX - 1


def test_one_source_has_a_share_of_the_walks_too() -> None:
    net, node, neighbours = hub()
    for each in range(ROUTES_PER_SOURCE + 20):
        serve(net, node, neighbours[0], route(7, id=each.to_bytes(8)))
    net.run_for(0.1)
    statuses = Counter(each.status for each in neighbours[0].heard_of(Taken))
    assert statuses == {Taking.TAKEN: ROUTES_PER_SOURCE, Taking.BUSY: 20}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        strategies.routes()
        | st.builds(Returned, st.just(0), st.just(ID), st.integers(0, 64), st.binary(max_size=99)),
        max_size=6,
    )
)
def test_no_message_of_a_stranger_raises_or_loses_count(messages: list[Route | Returned]) -> None:
    net, node, neighbours = hub(3)
    for message in messages:
        neighbours[0].say(node, message)
        if isinstance(message, Route):
            here = Route(
                message.flags,
                message.id[::-1],
                key_bytes(node.contact.id),
                *[getattr(message, name) for name in ("ttl", "hops", "style", "issuer", "body")],
            )
            neighbours[1].say(node, here)
    net.run_for(60.0)
    assert net.leftovers(node) == {}


# ---- who lies ----


def test_a_lie_about_who_somebody_is_ends_one_walker_and_not_the_others() -> None:
    net = still(3, [(0, 1), (1, 2)])
    sender, target = net.peers[0], net.peers[2]
    net.serve(target)
    own: list[Stranger] = []

    def lie(request: Request) -> Taken:
        assert isinstance(request, Route)
        packed = own[0].contact.packed
        body = bytes([len(packed)]) + packed + encode(Nodes(0, b"", b"", 0))
        for each in (body, b"nonsense"):
            back = Returned(0, request.id, 0, each)
            net.send(
                frame(own[0].contact.public_key, back, bytes(8)), own[0].address, sender.address
            )
        return Taken(0, Taking.TAKEN)

    own.append(neighbour(net, sender, replies={Route: lie}))
    reply = reply_of(net.post(sender, target, walk=Walk(walkers=8)))
    assert (reply.payload, reply.attempts) == (b"olleh", 1)
    assert any(each.style == Style.WALK_RECORD for each in own[0].heard_of(Route))
    asked = [each for _, _, each in net.sent(Route) if each.style == Style.WALK_RECORD]
    assert len({each.id for each in asked}) == 8


# ---- the options ----


@pytest.mark.parametrize(
    "walk",
    [
        Walk(bias=True),
        Walk(state=True),
        Walk(check_every=0),
        Walk(budget=100),
        Walk(placement="path"),
        Walk(ttl=WALK_TTL_MAX + 1),
    ],
)
def test_what_means_nothing_for_a_message_is_refused(walk: Walk) -> None:
    net = line(2)
    with pytest.raises(LocalError, match="message"):
        net.post(net.peers[0], net.peers[1], walk=walk)


def test_who_does_not_live_there_cannot_send_on_a_walk() -> None:
    net = Post()
    net.grow(2)
    with pytest.raises(LocalError, match="overlay='both'"):
        net.post(net.peers[0], net.peers[1], walk=Walk())


def test_with_no_neighbours_left_it_is_said_that_there_are_none() -> None:
    net = line(2)
    forget(net.peers[0], net.peers[1])
    with pytest.raises(NoPeers, match="no node is known"):
        walks(net, net.peers[0], net.peers[1])


def test_a_node_of_both_overlays_hands_a_walk_on_to_one_of_the_structured_alone() -> None:
    net = Post(config=STILL)
    both = [net.add(overlay="both", join=False) for _ in range(2)]
    befriend(both[0], both[1])
    target = net.add(both[1])
    net.run_for(5.0)
    both[0].engine.table.withdrawn(target.contact)
    net.serve(target)
    assert walks(net, both[0], target) == [(0, 1), (1, 2)]


# ---- a whole network ----


@pytest.mark.parametrize("walkers", [16, 4])
def test_of_a_hundred_nodes_any_reaches_any_other_while_ten_are_dead(walkers: int) -> None:
    simulator = Simulator(seed=5, overlay="unstructured")
    simulator.grow(100)
    simulator.run_for(30.0)
    arrived: Counter[bytes] = Counter()

    def answer(node: object, event: object) -> None:
        if isinstance(event, MessageArrived):
            arrived[event.payload] += 1
            node.engine.answer_message(simulator.now, event.message_id, event.payload[::-1])  # type: ignore[attr-defined]
            simulator.poll(node)  # type: ignore[arg-type]

    simulator.observers.append(answer)
    random = Random(6)
    for node in random.sample(simulator.living(), 10):
        simulator.crash(node)
    living = simulator.living()
    for node in living:
        node.engine.serve_topic("echo")
    walk = Walk(walkers=walkers)
    answered = 0
    for each in range(100):
        sender, to = random.sample(living, 2)
        known = to.contact.public_key if each % 2 else None
        finished = simulator.run_operation(
            sender,
            lambda engine, now, to=to, known=known, each=each: engine.start_send(  # type: ignore[misc]
                now, to.contact.id, b"%d!" % each, topic="echo", walk=walk, public_key=known
            ),
        )
        if finished.error is None:
            assert reply_of(finished).payload == (b"%d!" % each)[::-1]
            answered += 1
    assert answered >= 99
    assert set(arrived.values()) == {1}
