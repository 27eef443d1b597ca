"""A node among others: where it is seen, whether it is reached, and what it does for that."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.config import Config
from dht.contacts import Address, contact_at, ip_of, pack_address, subnet_of
from dht.core.channel.face import Opened
from dht.core.channel.plain import PlainChannel
from dht.core.checked import STRANGER_AGAIN_S
from dht.core.events import AddressChanged, Joined, PeerRemoved, ReachabilityChanged
from dht.core.presence import AROUND_FIRST_S, AROUND_MAX, KEEP_OPEN_S
from dht.core.reachability import RECHECK_S
from dht.wire.codec import decode_untrusted
from dht.wire.messages import (
    CLIENT,
    WANT_IPV4,
    Dial,
    Dialling,
    DialStatus,
    Find,
    Knock,
    Message,
    Ping,
    Pong,
    Reach,
    Request,
)
from tests.core.pair import Manners, Net, Peer, Stranger

NONCE = b"a nonce!"
ELSEWHERE = pack_address("99.9.9.9", 9999)
HOUR_S = 3600.0
_Any = TypeVar("_Any")


def message_of(data: bytes) -> Message:
    opened = PlainChannel(bytes(32)).receive(0.0, data, ELSEWHERE)
    assert opened is not None
    return decode_untrusted(opened.payload)[1]


def sent(net: Net, kind: type[_Any], *, by: Peer | None = None, since: int = 0) -> list[_Any]:
    return [
        message
        for _, source, _, data in net.log[since:]
        if (by is None or source == by.address) and isinstance(message := message_of(data), kind)
    ]


def open_door(data: bytes, _source: Address, _target: Address) -> Sequence[bytes]:
    return (data,)


def firewall(net: Net, behind: Peer) -> None:
    """Only hosts to which it has sent something in the last minute get through to it."""
    sent_at: dict[bytes, float] = {}

    def fate(data: bytes, source: Address, target: Address) -> Sequence[bytes]:
        if source == behind.address:
            sent_at[ip_of(target)] = net.now
        shut = target == behind.address and net.now - sent_at.get(ip_of(source), -60.0) >= 60.0
        return () if shut else (data,)

    net.fate = fate


def network(size: int = 30, *, seed: int = 1) -> Net:
    """Nodes at public addresses that serve."""
    net = Net(seed=seed)
    net.grow(size)
    return net


def newcomer(net: Net, *, shut: bool = False) -> Peer:
    """A node that finds out what it is, at a public address. ``shut``: behind a firewall."""
    peer = net.add(net.peers[0], client=None, join=False)
    if shut:
        firewall(net, peer)
    return peer


def decides(net: Net, peer: Peer) -> str:
    net.run_until(net.now + 2 * HOUR_S, unless=lambda: peer.engine.stats().reachable != "unknown")
    return peer.engine.stats().reachable


def knowing(net: Net, peer: Peer) -> int:
    return sum(other.knows(peer) for other in net.peers)


# ------------------------------------------------------------------------------------ it finds out


def test_a_node_that_strangers_reach_serves_and_its_neighbours_hear_of_it() -> None:
    net = network()
    node = newcomer(net)
    net.run_for(1.0)
    assert node.engine.client
    assert not node.engine.stats().serving
    assert not knowing(net, node)
    assert all(find.flags & CLIENT for find in sent(net, Find, by=node))
    assert decides(net, node) == "yes"
    assert node.of_type(ReachabilityChanged) == [ReachabilityChanged("yes", serving=True)]
    net.run_for(10.0)
    assert not node.engine.client
    assert node.engine.stats().serving
    assert knowing(net, node) >= 12
    assert net.stranger().say(node, Find(flags=WANT_IPV4, target=bytes(32), count=1, kind=0))


def test_a_node_that_strangers_do_not_reach_stays_a_client() -> None:
    net = network(24)
    node = newcomer(net, shut=True)
    assert decides(net, node) == "no"
    assert node.of_type(ReachabilityChanged) == [ReachabilityChanged("no", serving=False)]
    net.run_for(1.2 * RECHECK_S)
    assert node.engine.client
    assert not knowing(net, node)
    assert node.engine.stats().reachable == "no"


def test_it_is_found_out_again_every_hour() -> None:
    net = network(24)
    node = newcomer(net, shut=True)
    assert decides(net, node) == "no"
    net.fate = open_door
    asked = len(sent(net, Reach, by=node))
    net.run_for(0.8 * RECHECK_S)
    assert len(sent(net, Reach, by=node)) == asked
    net.run_for(0.4 * RECHECK_S)
    assert node.engine.stats().reachable == "yes"
    assert knowing(net, node) >= 12


def test_a_node_that_is_reached_no_more_becomes_a_client_and_is_told_of_no_more() -> None:
    net = network(24)
    node = newcomer(net)
    assert decides(net, node) == "yes"
    net.run_for(10.0)
    firewall(net, node)
    assert net.run_until(net.now + 2 * HOUR_S, unless=lambda: node.engine.client)
    assert node.engine.stats().reachable == "no"
    # Its neighbours hear it from itself, unless they have asked in vain already.
    near = sorted(net.peers, key=lambda each: each.contact.id ^ node.contact.id)[1:9]
    assert any(each.knows(node) for each in near)
    net.run_for(10.0)
    assert not any(each.knows(node) for each in near)
    assert not net.stranger().say(node, Ping(flags=0))
    net.run_for(HOUR_S)
    assert not knowing(net, node)


def test_on_local_addresses_a_node_serves_at_once_and_asks_nobody() -> None:
    net = Net()
    first = net.add(host="10.0.0.1", client=None)
    nodes = [net.add(first, host=f"10.0.0.{n}", client=None) for n in range(2, 10)]
    for node in (first, *nodes):
        assert node.engine.stats().serving
        assert node.engine.stats().reachable == "unknown"
        assert not node.of_type(ReachabilityChanged)
    assert all(node.knows(other) for node in nodes for other in nodes if node is not other)
    net.run_for(2 * HOUR_S)
    assert not sent(net, Reach)


def test_a_node_at_home_with_peers_out_there_has_to_find_out() -> None:
    net = network()
    node = net.add(net.peers[0], host="192.168.0.2", client=None)
    assert node.engine.client
    net.run_for(10.0)
    assert sent(net, Reach, by=node)


def test_the_first_node_of_a_network_serves_at_once() -> None:
    net = Net()
    assert net.add(client=None).engine.stats().serving


@pytest.mark.parametrize("client", [True, False])
def test_a_node_that_was_told_what_it_is_asks_nobody(client: bool) -> None:
    net = network(6)
    node = net.add(net.peers[0], client=client)
    net.run_for(2 * HOUR_S)
    assert node.engine.client is client
    assert not sent(net, Reach)


def test_a_network_may_begin_with_nodes_that_all_have_to_find_out() -> None:
    """Where there are few, nobody is a stranger: they serve, though nobody can tell."""
    net = Net()
    first = net.add(client=None)
    for _ in range(6):
        net.add(first, client=None)
    net.run_for(300.0)
    for node in net.peers:
        assert node.engine.stats().serving
        assert knowing(net, node) == 6
    assert ReachabilityChanged("unknown", serving=True) in net.peers[3].events


def test_a_node_that_is_not_reached_serves_again_when_nobody_is_left_who_could_tell() -> None:
    """Else a network whose last nodes had become clients could never begin again."""
    net = network()
    node = newcomer(net, shut=True)
    assert decides(net, node) == "no"
    for peer in net.peers[:-1]:
        net.crash(peer)
    net.fate = open_door
    noise = net.stranger()
    for _ in range(2400):
        # Something is heard while the others are silent: so our own link is up.
        noise.say(node, Knock(flags=0, nonce=NONCE))
        net.run_for(5.0)
    assert len(node.engine.table) == 0
    assert node.engine.stats().serving
    assert node.engine.stats().reachable == "unknown"


def test_where_many_are_nobody_serves_for_want_of_knowing() -> None:
    net = network()
    net.fate = lambda data, _source, _target: () if isinstance(message_of(data), Reach) else (data,)
    node = newcomer(net)
    net.run_for(HOUR_S)
    assert node.engine.stats().reachable == "unknown"
    assert node.engine.client


def test_who_joins_again_finds_out_again() -> None:
    """After an outage it may be somewhere else."""
    net = network()
    node = newcomer(net)
    assert decides(net, node) == "yes"
    asked = len(sent(net, Reach, by=node))
    net.fate = lambda data, source, target: () if node.address in (source, target) else (data,)
    node.engine.resumed(net.now)
    net.poll(node)
    net.run_for(30.0)
    net.fate = open_door
    net.run_for(60.0)
    assert len(node.of_type(Joined)) == 2
    assert len(sent(net, Reach, by=node)) > asked


def test_a_round_under_way_when_the_node_leaves_ends_there() -> None:
    net = network()
    node = newcomer(net)
    assert net.run_until(net.now + 60, unless=lambda: bool(sent(net, Reach, by=node)))
    node.engine.start_leave(net.now)
    net.poll(node)
    since = len(net.log)
    net.run_for(HOUR_S / 4)
    assert node.engine.client
    assert not node.of_type(ReachabilityChanged)
    assert not sent(net, Reach, by=node, since=since)


def test_nothing_is_left_under_way_after_all_this() -> None:
    net = network()
    newcomer(net)
    newcomer(net, shut=True)
    net.run_for(600.0)
    assert net.comes_to_rest()


# ----------------------------------------------------------------------------------------- knocks


def test_knocks_that_nobody_wished_for_prove_nothing() -> None:
    net = network()
    node = newcomer(net, shut=True)
    assert decides(net, node) == "no"
    net.fate = open_door
    since = len(net.log)
    for number in range(50):
        assert not net.stranger().say(node, Knock(flags=0, nonce=number.to_bytes(8)))
    assert node.engine.stats().reachable == "no"
    assert not [each for each in net.log[since:] if each[1] == node.address]


def test_a_wish_is_passed_on_and_the_asker_is_told_what_came_of_it() -> None:
    net = Net()
    node = net.add()
    manners = Manners(net)
    manners.replies[Dial] = lambda _: Dialling(manners.time_s, DialStatus.DONE)
    knocker = net.known(node, manners=manners)
    asker = net.stranger()
    told = asker.say(node, Reach(flags=CLIENT, nonce=NONCE))
    assert [message.status for message in told if isinstance(message, Dialling)] == [
        DialStatus.WILL
    ]
    [dial] = knocker.heard_of(Dial)
    assert (dial.nonce, dial.contact) == (NONCE, asker.contact.packed)
    [again] = asker.say(node, Reach(flags=CLIENT, nonce=NONCE))
    assert isinstance(again, Dialling)
    assert again.status == DialStatus.DONE
    assert len(knocker.heard_of(Dial)) == 1


def test_a_knock_is_one_datagram_that_is_not_sent_again() -> None:
    net = Net()
    node, asker, target = net.add(), net.stranger(), net.stranger()
    dial = Dial(flags=0, nonce=NONCE, contact=target.contact.packed)
    [told] = [message for message in asker.say(node, dial) if isinstance(message, Dialling)]
    assert told.status == DialStatus.DONE
    net.run_for(STRANGER_AGAIN_S / 2)
    [knock] = target.heard_of(Knock)
    assert knock.nonce == NONCE
    assert len(net.log) == len([each for each in net.log if each[2] != target.address]) + 1


def test_a_contact_that_is_none_is_not_knocked_at() -> None:
    net = Net()
    node, asker = net.add(), net.stranger()
    broken = Dial(flags=CLIENT, nonce=NONCE, contact=bytes(41))
    [told] = asker.say(node, broken)
    assert isinstance(told, Dialling)
    assert told.status == DialStatus.NOBODY


@pytest.mark.parametrize("client", [True, None])
def test_a_client_passes_nothing_on_and_knocks_nowhere(client: bool | None) -> None:
    net = network(3)
    node = net.add(net.peers[0], client=client, join=False)
    net.run_for(0.5)
    target = net.stranger()
    for wish in (
        Reach(flags=CLIENT, nonce=NONCE),
        Dial(flags=CLIENT, nonce=NONCE, contact=target.contact.packed),
    ):
        assert not net.stranger().say(node, wish)
    assert not target.heard


# ------------------------------------------------------------------------------------ the address


def seeing(net: Net, node: Peer, where: Callable[[int], Address], count: int) -> list[Stranger]:
    """So many peers that the node knows, each of a subnet of its own, and what they see."""
    strangers = []
    for number in range(count):
        manners = Manners(net)
        manners.replies[Ping] = _sees(manners, where(number))
        strangers.append(net.known(node, manners=manners))
    return strangers


def _sees(manners: Manners, address: Address) -> Callable[[Request], Pong]:
    return lambda _request: Pong(manners.time_s, address)


def test_the_address_that_three_subnets_see_is_the_nodes_own() -> None:
    net = Net()
    node = net.add()
    seeing(net, node, lambda _: ELSEWHERE, 2)
    assert node.engine.contact == node.contact
    seeing(net, node, lambda _: ELSEWHERE, 1)
    elsewhere = contact_at(node.contact.public_key, ELSEWHERE)
    assert node.engine.contact == elsewhere
    assert node.of_type(AddressChanged) == [AddressChanged(elsewhere)]


def test_nothing_is_ever_sent_to_an_address_that_others_say_they_saw() -> None:
    """A liar in three subnets names a victim's address."""
    net = Net()
    node = net.add()
    seeing(net, node, lambda _: ELSEWHERE, 20)
    net.run_for(2 * HOUR_S)
    assert node.engine.contact.address == ELSEWHERE
    assert not [target for _, _, target, _ in net.log if target == ELSEWHERE]


def test_an_address_that_the_user_told_stays() -> None:
    net = Net()
    node = net.add(advertised=True)
    seeing(net, node, lambda _: ELSEWHERE, 5)
    assert node.engine.contact == node.contact


@given(seen=st.binary(max_size=18))
def test_whatever_a_peer_says_that_it_saw_is_survived(seen: bytes) -> None:
    net = Net()
    node = net.add()
    for _ in range(3):
        manners = Manners(net)
        manners.replies[Ping] = lambda _request, manners=manners: Pong(  # type: ignore[misc]
            manners.time_s, seen
        )
        net.known(node, manners=manners)
    assert len(node.engine.contact.address) == len(node.address)


def test_a_node_that_joins_asks_one_peer_what_it_sees_and_more_only_if_that_is_news() -> None:
    net = network(12)
    node = net.add(net.peers[0])
    assert len(sent(net, Ping, by=node)) == 1
    at_home = net.add(net.peers[0], host="192.168.0.9")
    assert len(sent(net, Ping, by=at_home)) == 1


def test_when_one_peer_sees_another_address_others_are_asked() -> None:
    net = network(12)
    node = net.peers[5]
    net.run_for(60.0)
    witness = net.known(node)
    since = len(net.log)
    manners = Manners(net)
    manners.replies[Ping] = _sees(manners, ELSEWHERE)
    witness.reply = manners
    node.engine._presence._ask_what_it_sees(net.now, witness.contact)
    net.poll(node)
    net.run_for(1.0)
    assert len(sent(net, Ping, by=node, since=since)) == 1 + AROUND_MAX
    assert node.engine.contact == node.contact  # they said otherwise


def test_where_each_peer_sees_another_address_they_are_asked_ever_more_seldom() -> None:
    net = Net()
    node = net.add()
    seeing(net, node, lambda number: pack_address(f"99.9.{number}.9", 9999), 20)
    net.run_for(HOUR_S)
    since = len(net.log)
    net.run_for(6 * HOUR_S)
    probes = 6 * HOUR_S / node.engine.config.probe_interval_s
    assert len(sent(net, Ping, by=node, since=since)) <= 1.1 * probes + 7 * AROUND_MAX
    assert node.engine.contact == node.contact
    assert AROUND_FIRST_S < HOUR_S


def test_who_is_seen_elsewhere_than_it_listens_says_something_often_enough_for_its_nat() -> None:
    net = Net(config=Config(probe_interval_s=300.0))
    node = net.add()
    seeing(net, node, lambda _: ELSEWHERE, 3)
    net.run_for(400.0)
    since = net.now
    net.run_for(600.0)
    times = [at for at, source, _, _ in net.log if source == node.address and at >= since]
    gaps = [b - a for a, b in pairwise(times)]
    assert max(gaps) <= 1.2 * KEEP_OPEN_S + 0.1


def test_a_serving_node_that_is_seen_elsewhere_lets_its_neighbours_hear_of_it() -> None:
    net = Net()
    node = net.add()
    [friend] = seeing(net, node, lambda _: ELSEWHERE, 1)
    net.run_for(400.0)
    heard = len(friend.heard_of(Find))
    seeing(net, node, lambda _: ELSEWHERE, 2)
    assert node.of_type(AddressChanged)
    assert len(friend.heard_of(Find)) > heard


# ------------------------------------------------------------------------------- whom others know


def test_a_known_node_that_says_that_it_is_a_client_is_forgotten() -> None:
    net = Net()
    node = net.add()
    friend = net.known(node)
    friend.say(node, Ping(flags=CLIENT))
    assert not node.knows(friend)
    assert node.of_type(PeerRemoved) == [PeerRemoved(friend.contact)]


def test_whoever_says_so_from_elsewhere_in_its_name_changes_nothing() -> None:
    net = Net()
    node = net.add()
    friend, liar = net.known(node), net.stranger()
    liar.contact = contact_at(friend.contact.public_key, liar.address)
    liar.say(node, Ping(flags=CLIENT))
    assert node.knows(friend)


def test_whoever_has_not_shown_that_it_is_there_changes_nothing() -> None:
    """A first message with the address of somebody else, in a channel that tells them apart."""
    net = Net()
    node = net.add()
    friend = net.known(node)
    opened = Opened(friend.contact.public_key, friend.address, b"", None, 0, proved=False)
    node.engine._peers.on_question(net.now, opened, CLIENT, friend.contact)
    assert node.knows(friend)
    node.engine._peers.on_question(net.now, opened._replace(proved=True), CLIENT, friend.contact)
    assert not node.knows(friend)


def test_a_node_that_moved_is_known_at_its_new_address_once_the_old_one_is_silent() -> None:
    net = Net()
    node = net.add()
    friend, there = net.known(node), net.stranger(reply=Manners(net))
    there.contact = contact_at(friend.contact.public_key, there.address)
    friend.reply = lambda _request: None
    net.stranger(reply=Manners(net)).say(node, Ping(flags=CLIENT))
    there.say(node, Ping(flags=WANT_IPV4))
    net.known(node)  # somebody is heard: our own link is not down
    net.run_for(5.0)
    assert node.engine.table.get(friend.contact.id) == there.contact


def test_whoever_only_has_the_key_of_a_node_that_still_answers_does_not_take_its_place() -> None:
    net = Net()
    node = net.add()
    friend, liar = net.known(node), net.stranger(reply=Manners(net))
    liar.contact = contact_at(friend.contact.public_key, liar.address)
    for _ in range(10):
        liar.say(node, Ping(flags=WANT_IPV4))
    net.run_for(60.0)
    assert node.engine.table.get(friend.contact.id) == friend.contact
    assert len(liar.heard_of(Ping)) <= 2  # once a minute at most


def test_subnets_are_what_a_test_of_this_file_takes_them_for() -> None:
    net = Net()
    assert subnet_of(net.stranger().address) != subnet_of(net.stranger().address)
