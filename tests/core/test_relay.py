"""What a node does for messages of others: to whom it passes them, and what keeps that harmless."""

from itertools import pairwise
from random import Random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dht.config import Config
from dht.contacts import Address, Contact
from dht.core.channel.face import Opened
from dht.core.forwarding import OFFERS_MAX, Bringing, Forwarding, Sent
from dht.core.machine import FINISHED, Ask, Wait
from dht.core.relay import PATH_S, PATHS_MAX, ROUTES_PER_SOURCE
from dht.keyspace import KEY_BITS, Key, key_bytes
from dht.wire.messages import (
    CLIENT,
    TTL_MAX,
    WALK_TTL_MAX,
    WANT_IPV4,
    Answer,
    Request,
    Returned,
    Route,
    Style,
    Taken,
    Taking,
)
from tests import strategies
from tests.core.contacts_for_tests import contact
from tests.core.pair import Manners, Net, Peer, Stranger
from tests.core.post import Post, reply_of

ID = b"route id"
PATIENCE_S = 0.2
A, B, C, D = (contact(number) for number in range(1, 5))


def forwarding(*candidates: Contact) -> Forwarding:
    return Forwarding(list(candidates), b"body", lambda _: PATIENCE_S, {}, Sent())


def taken(status: Taking) -> Taken:
    return Taken(0, status)


# ---- one message, one contact after the other ----


def test_a_message_is_offered_to_one_contact_until_it_is_taken() -> None:
    machine = forwarding(A, B)
    assert machine.next(0.0) == Ask(A, b"body")
    assert machine.next(0.0) == Wait(PATIENCE_S)
    machine.on_reply(0.1, A, taken(Taking.TAKEN), [])
    assert machine.next(0.1) is FINISHED
    assert machine.taken
    assert list(machine.asked) == [A.public_key]


@pytest.mark.parametrize("status", [Taking.BUSY, Taking.NOT_HERE])
def test_a_refusal_gives_it_to_the_next_at_once(status: Taking) -> None:
    machine = forwarding(A, B)
    machine.next(0.0)
    machine.on_reply(0.1, A, taken(status), [])
    assert machine.next(0.1) == Ask(B, b"body")
    assert list(machine.asked) == [B.public_key]


def test_where_it_was_seen_it_has_got_by_another_way() -> None:
    machine = forwarding(A, B)
    machine.next(0.0)
    machine.on_reply(0.1, A, taken(Taking.SEEN), [])
    assert machine.next(0.1) is FINISHED
    assert machine.taken


def test_the_next_is_asked_when_one_is_slow_and_the_slow_one_still_counts() -> None:
    machine = forwarding(A, B)
    machine.next(0.0)
    assert machine.next(PATIENCE_S) == Ask(B, b"body")
    assert machine.next(PATIENCE_S) == Wait(None)
    machine.on_reply(0.3, A, taken(Taking.TAKEN), [])
    assert machine.next(0.3) is FINISHED
    assert machine.taken


def test_one_that_takes_it_after_it_was_given_up_may_bring_the_answer() -> None:
    machine = forwarding(A)
    machine.next(0.0)
    machine.on_failure(1.8, A)
    assert machine.next(1.8) is FINISHED
    assert not machine.taken
    assert not machine.asked
    machine.on_reply(2.0, A, taken(Taking.TAKEN), [])
    assert machine.taken
    assert list(machine.asked) == [A.public_key]


def test_no_more_than_three_are_asked() -> None:
    machine = forwarding(A, B, C, D)
    asked = []
    for step in range(20):
        now = step * PATIENCE_S
        said = machine.next(now)
        if isinstance(said, Ask):
            asked.append(said.contact)
    assert asked == [A, B, C]
    assert len(asked) == OFFERS_MAX
    for each in asked:
        machine.on_failure(9.0, each)
    assert machine.next(9.0) is FINISHED
    assert not machine.taken


def test_one_thing_after_the_other_is_brought_each_when_the_one_before_was_heard() -> None:
    machine = Bringing(A, [b"first", b"second"], Sent())
    assert machine.next(0.0) == Ask(A, b"first")
    assert machine.next(0.0) == Wait(None)
    machine.on_reply(0.1, A, taken(Taking.TAKEN), [])
    assert not machine.brought
    assert machine.next(0.1) == Ask(A, b"second")
    machine.on_reply(0.2, A, taken(Taking.TAKEN), [])
    assert machine.brought
    assert machine.next(0.2) is FINISHED


def test_nothing_is_brought_to_somebody_silent() -> None:
    machine = Bringing(A, [b"first", b"second"], Sent())
    machine.next(0.0)
    machine.on_failure(1.8, A)
    assert machine.next(1.8) is FINISHED
    assert not machine.brought


# ---- a node among strangers ----


@attrs.define(eq=False)
class Crossing:
    """A node that knows some strangers, and one of them that gives it messages."""

    net: Net
    node: Peer
    strangers: list[Stranger]
    before: Stranger

    def target(self, number: int = 0) -> Key:
        """The id of a stranger."""
        return self.strangers[number].contact.id

    def nearer(self, target: int) -> list[Stranger]:
        """Those that are nearer to it than the node is, nearest first."""
        own = self.node.contact.id ^ target
        near = [each for each in self.strangers if each.contact.id ^ target < own]
        return sorted(near, key=lambda each: each.contact.id ^ target)

    def give(self, route: Route, by: Stranger | None = None) -> list[Taking]:
        said = (by or self.before).say(self.node, route)
        return [Taking(each.status) for each in said if isinstance(each, Taken)]

    def passed_on(self) -> list[tuple[Stranger, Route]]:
        return [(each, route) for each in self.strangers for route in each.heard_of(Route)]


def crossing(count: int = 8, *, status: Taking | None = Taking.TAKEN, seed: int = 1) -> Crossing:
    net = Net(seed=seed)
    node = net.add()

    def take(_: Request) -> Answer | None:
        return None if status is None else Taken(manners.time_s, status)

    manners = Manners(net, replies={Route: take})
    strangers = [net.known(node, manners=manners) for _ in range(count)]
    before = net.known(node, manners=Manners(net))
    return Crossing(net, node, strangers, before)


def route(target: int, **fields: object) -> Route:
    values: dict[str, object] = {
        "flags": WANT_IPV4,
        "id": ID,
        "target": key_bytes(target),
        "ttl": TTL_MAX,
        "hops": 0,
        "style": Style.PATH,
        "issuer": b"",
        "body": b"sealed",
        **fields,
    }
    return Route(**values)  # type: ignore[arg-type]


def test_a_message_goes_on_to_the_nearest_and_that_is_said_at_once() -> None:
    here = crossing()
    target = here.target()
    given_at = here.net.now
    assert here.give(route(target, ttl=5, hops=3)) == [Taking.TAKEN]
    [(next_hop, passed)] = here.passed_on()
    assert next_hop.contact.id == target
    assert (passed.ttl, passed.hops) == (4, 4)
    assert (passed.id, passed.target, passed.body) == (ID, key_bytes(target), b"sealed")
    [told_at] = [now for now, _, message in here.before.heard if isinstance(message, Taken)]
    assert told_at - given_at == pytest.approx(0.02)


@settings(max_examples=40, deadline=None)
@given(far=st.integers(0, 2**KEY_BITS - 1), shared=st.integers(0, KEY_BITS), seed=st.integers(1, 5))
def test_a_message_only_ever_goes_strictly_nearer_to_its_target(
    far: int, shared: int, seed: int
) -> None:
    here = crossing(12, status=Taking.BUSY, seed=seed)
    target = here.node.contact.id ^ far >> shared  # near to the node, too
    here.give(route(target))
    here.net.run_for(5.0)
    went_to = {stranger.contact.id for stranger, _ in here.passed_on()}
    nearer = [each.contact.id for each in here.nearer(target)]
    assert went_to == set(nearer[:OFFERS_MAX])


def test_who_gave_it_to_us_does_not_get_it_back() -> None:
    here = crossing()
    target = here.before.contact.id
    here.give(route(target ^ 1))  # it is the nearest of all
    here.net.run_for(5.0)
    assert here.before.heard_of(Route) == []


def test_where_all_are_silent_three_are_tried_and_then_it_is_given_back() -> None:
    here = crossing(12, status=None)
    target = here.target()
    assert len(here.nearer(target)) > OFFERS_MAX
    here.give(route(target))
    here.net.run_for(10.0)
    assert len({each.contact.id for each, _ in here.passed_on()}) == OFFERS_MAX
    [returned] = here.before.heard_of(Returned)
    assert returned == Returned(WANT_IPV4, ID, 0, b"")


def test_with_nobody_nearer_an_empty_answer_goes_back() -> None:
    here = crossing()
    here.give(route(here.node.contact.id ^ 1, hops=2))
    assert here.passed_on() == []
    assert [each.body for each in here.before.heard_of(Returned)] == [b""]


def test_at_the_end_of_its_life_a_message_is_not_passed_on() -> None:
    here = crossing()
    here.give(route(here.target(), ttl=0))
    assert here.passed_on() == []
    assert [each.body for each in here.before.heard_of(Returned)] == [b""]


@pytest.mark.parametrize("hops", [0, 1, TTL_MAX, WALK_TTL_MAX])
def test_a_life_ends_whatever_a_hop_says_of_the_way_so_far(hops: int) -> None:
    here = crossing()
    here.give(route(here.target(), ttl=1, hops=hops))
    [(_, passed)] = here.passed_on()
    assert passed.ttl == 0
    assert passed.hops == min(hops + 1, WALK_TTL_MAX)


def test_a_message_that_comes_again_is_not_passed_on_again() -> None:
    here = crossing()
    message = route(here.target(1))
    other = here.strangers[2]
    assert here.give(message) == [Taking.TAKEN]
    assert here.give(message) == [Taking.TAKEN]  # what we said was lost
    assert here.give(message, other) == [Taking.SEEN]
    assert len(here.passed_on()) == 1


def test_a_client_passes_nothing_on() -> None:
    net = Net()
    others = net.grow(3)
    client = net.add(others[0], client=True)
    asker = net.stranger(reply=Manners(net))
    said = asker.say(client, route(others[1].contact.id))
    assert [each.status for each in said if isinstance(each, Taken)] == [Taking.NOT_HERE]


def test_what_comes_from_an_unproved_address_has_no_effect() -> None:
    here = crossing()
    relay = here.node.engine._messaging.relay
    stranger = here.before
    opened = Opened(
        stranger.contact.public_key, stranger.address, b"", stranger.address, 1000, proved=False
    )
    relay.serve(here.net.now, opened, bytes(8), route(here.target()), stranger.contact)
    here.net.poll(here.node)
    here.net.run_for(1.0)
    assert here.passed_on() == []
    assert len(relay) == 0


def test_one_source_has_a_share_of_what_is_passed_on() -> None:
    """Without it whoever sends us messages makes us send as many packets as it likes."""
    here = crossing()
    net, node = here.net, here.node
    random = Random(1)
    statuses: list[int] = []
    for _ in range(ROUTES_PER_SOURCE + 50):
        message = route(here.target(), id=random.randbytes(8))
        serve(node, net, here.before, message)
    net.run_for(0.1)
    statuses = [each.status for each in here.before.heard_of(Taken)]
    assert statuses.count(Taking.TAKEN) == ROUTES_PER_SOURCE
    assert statuses.count(Taking.BUSY) == 50
    assert node.engine.stats().messages_refused == 50
    # Another source has its own.
    assert here.give(route(here.target()), here.strangers[3]) == [Taking.TAKEN]


def serve(node: Peer, net: Net, asker: Stranger, message: Route | Returned) -> None:
    """As if it had just come in over a proved address."""
    opened = Opened(
        asker.contact.public_key, asker.address, bytes(300), asker.address, 1000, proved=True
    )
    node.engine._messaging.relay.serve(net.now, opened, bytes(8), message, asker.contact)
    net.poll(node)


def test_only_so_many_ways_back_are_remembered() -> None:
    here = crossing(2)
    net, node, random = here.net, here.node, Random(1)
    nowhere = node.contact.id ^ 1
    for number in range(PATHS_MAX + 200):
        if number % 500 == 0:
            net.run_for(1.0)
        asker = net.stranger(f"{20 + number % 90}.{number >> 8}.{number & 255}.1")
        serve(node, net, asker, route(nowhere, id=random.randbytes(8)))
    assert len(node.engine._messaging.relay) == PATHS_MAX
    net.run_for(PATH_S)
    here.give(route(nowhere))
    assert len(node.engine._messaging.relay) == 1


# ---- the way back ----


def returned(body: bytes = b"answer", **fields: object) -> Returned:
    return Returned(**{"flags": 0, "id": ID, "hops": 3, "body": body, **fields})  # type: ignore[arg-type]


def bring(here: Crossing, by: Stranger, message: Returned) -> list[Taking]:
    said = by.say(here.node, message)
    return [Taking(each.status) for each in said if isinstance(each, Taken)]


def test_an_answer_goes_back_the_way_that_its_message_came_once() -> None:
    here = crossing()
    here.give(route(here.target()))
    next_hop = here.strangers[0]
    assert bring(here, next_hop, returned()) == [Taking.TAKEN]
    [back] = here.before.heard_of(Returned)
    assert (back.id, back.hops, back.body) == (ID, 3, b"answer")
    assert bring(here, next_hop, returned(b"another")) == [Taking.SEEN]
    assert len(here.before.heard_of(Returned)) == 1


def test_an_answer_counts_only_from_those_that_the_message_went_to() -> None:
    here = crossing()
    here.give(route(here.target()))
    for liar in here.strangers[1:4]:
        assert bring(here, liar, returned(b"a lie")) == [Taking.NOT_HERE]
    assert here.before.heard_of(Returned) == []
    assert bring(here, here.strangers[0], returned(id=b"unknown!")) == [Taking.NOT_HERE]


def test_an_answer_that_comes_too_late_goes_nowhere() -> None:
    here = crossing()
    here.give(route(here.target()))
    here.net.run_for(PATH_S)
    assert bring(here, here.strangers[0], returned()) == [Taking.NOT_HERE]


def test_the_end_of_one_branch_is_no_answer_while_another_lasts() -> None:
    """The nearest was slow, and the message went to the next nearest as well."""
    here = crossing(12, status=None)
    target = here.target()
    here.give(route(target))
    here.net.run_for(0.1)
    first, second = here.nearer(target)[:2]
    assert second.heard_of(Route)
    assert bring(here, second, returned(b"")) == [Taking.TAKEN]
    assert here.before.heard_of(Returned) == []
    assert bring(here, first, returned(b"answer")) == [Taking.TAKEN]
    assert [each.body for each in here.before.heard_of(Returned)] == [b"answer"]


def test_a_way_back_says_nothing_of_who_brings_an_answer_to_the_table() -> None:
    """A client answers ``Taken`` too, and serves nothing: nobody may be told of it."""
    net = Post()
    peers = net.grow(6)
    client = net.add(peers[0], client=True)
    net.serve(peers[4])
    net.post(client, peers[4])
    net.run_for(0.05)  # it says that it has the answer
    assert not any(peer.knows(client) for peer in peers)


# ---- whatever comes in ----


@settings(max_examples=60, deadline=None)
@given(st.lists(strategies.routes() | st.builds(returned, body=st.binary(max_size=99)), max_size=6))
def test_no_message_of_a_stranger_raises_or_loses_count(messages: list[Route | Returned]) -> None:
    net = Net()
    node, other = net.grow(2)
    stranger = net.known(node, manners=Manners(net))
    for message in messages:
        stranger.say(node, message)
        if isinstance(message, Route):
            here = Route(
                message.flags,
                message.id[::-1],
                key_bytes(node.contact.id),
                *[getattr(message, name) for name in ("ttl", "hops", "style", "issuer", "body")],
            )
            stranger.say(node, here)
    net.run_for(10.0)
    assert net.comes_to_rest()
    assert node.knows(other)


def test_each_hop_is_nearer_than_the_one_before() -> None:
    # So few contacts a bucket that hardly anybody knows the target.
    net = Post(config=Config(k=3, table_whole_max=0))
    peers = net.grow(40)
    sender, target = next(
        (one, other)
        for one in peers
        for other in peers
        if one is not other and not one.knows(other)
    )
    net.serve(target)
    since = len(net.log)
    reply = reply_of(net.post(sender, target))
    routes = net.sent(Route, since=since)
    assert reply.hops >= 1
    ids = {peer.address: peer.contact.id for peer in peers}
    way = [Address(routes[0][0]), *dict.fromkeys(Address(hop) for _, hop, _ in routes)]
    distances = [ids[hop] ^ target.contact.id for hop in way]
    assert all(later < earlier for earlier, later in pairwise(distances))
    assert distances[-1] == 0


def test_a_flag_says_that_who_sends_is_a_client() -> None:
    net = Post()
    peers = net.grow(3)
    client = net.add(peers[0], client=True)
    net.serve(peers[1])
    since = len(net.log)
    net.post(client, peers[1])
    [(_, _, first), *_] = net.sent(Route, since=since)
    assert isinstance(first, Route)
    assert first.flags & CLIENT
