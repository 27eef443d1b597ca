"""Introducers of which only an address or a name is known: asked, waited for, believed or not."""

from random import Random

import pytest

from dht.config import Config
from dht.contacts import (
    Address,
    BareAddress,
    Contact,
    HostName,
    contact_at,
    format_address,
    pack_address,
)
from dht.core.bootstrap import ADDRESSES_PER_NAME_MAX, NAME_WAIT_S, Bootstrap
from dht.core.channel.who import IAM_TAG, WHO_TAG
from dht.core.events import Identified, Joined, JoinFailed, KeyChanged
from dht.errors import NoPeers
from dht.identity import Identity
from dht.keyspace import solves_puzzle
from dht.network import Network
from tests.core.pair import DELAY_S, Manners, Net, Peer

NOWHERE = pack_address("9.9.9.9", 4000)
ELSEWHERE = pack_address("9.9.9.8", 4000)
NAME = HostName("seed.example", 4000)
OTHER_KEY = b"o" * 32


def bare(peer: Peer) -> BareAddress:
    return BareAddress(peer.address)


def asked(net: Net, target: Address) -> list[float]:
    """When an address was asked WHO."""
    return [at for at, _, to, data in net.log if to == target and data[0] == WHO_TAG]


def what_a_get_says(net: Net, peer: Peer) -> str:
    error = net.run(peer, lambda engine, now: engine.start_lookup(now, peer.contact.id)).error
    assert isinstance(error, NoPeers)
    return str(error)


# ---- bare addresses ----


def test_a_node_joins_through_a_bare_address() -> None:
    net = Net()
    alice, bob = net.grow(2)
    carol = net.add(bare(bob))
    assert carol.knows(alice)
    assert carol.knows(bob)
    assert carol.of_type(Identified) == [Identified(format_address(bob.address), bob.contact)]
    assert len(asked(net, bob.address)) == 1


def test_it_does_not_wait_for_those_that_are_silent() -> None:
    net = Net()
    alice = net.add()
    bob = net.add(BareAddress(NOWHERE), bare(alice), BareAddress(ELSEWHERE), NAME, join=False)
    net.run_for(5 * DELAY_S)
    assert bob.of_type(Joined)


def test_one_that_says_who_it_is_enters_the_attempt_of_a_contact_that_is_silent() -> None:
    net = Net()
    alice, silent = net.add(), net.stranger()
    bob = net.add(silent, bare(alice), join=False)
    net.run_for(5 * DELAY_S)
    assert bob.knows(alice)


def test_a_silent_address_is_asked_twice_in_each_attempt_and_named() -> None:
    net = Net()
    alice = net.add(BareAddress(NOWHERE), join=False)
    net.run_for(0.5)
    assert len(asked(net, NOWHERE)) == 1
    assert not alice.of_type(JoinFailed)
    net.run_for(0.8)
    [failed] = alice.of_type(JoinFailed)
    assert failed.tried == (BareAddress(NOWHERE),)
    assert asked(net, NOWHERE) == [0.0, alice.engine.config.request_timeout_first_s]
    said = what_a_get_says(net, alice)
    assert "9.9.9.9:4000" in said
    assert "nobody answered, and a wrong or missing network key looks the same" in said
    net.run_for(10.0)
    assert len(asked(net, NOWHERE)) > 4


def test_one_that_comes_late_is_found_by_a_later_attempt() -> None:
    net = Net()
    address = pack_address("1.0.1.1", 4000)  # of the second to come
    alice = net.add(BareAddress(address), join=False)
    net.run_for(3.0)
    assert not alice.engine.joined
    bob = net.add()
    assert bob.address == address
    net.run_for(10.0)
    assert alice.knows(bob)


def test_who_is_there_is_asked_again_only_after_an_attempt_that_nobody_answered() -> None:
    bootstrap = Bootstrap(0, Config(), [BareAddress(NOWHERE)])
    bootstrap.begin(0.0)
    assert (bootstrap.to_ask(0.0, 1.0), bootstrap.to_ask(0.0, 1.0)) == (NOWHERE, None)
    first = bootstrap.identified(NOWHERE, OTHER_KEY)
    bootstrap.begin(100.0)
    assert bootstrap.to_ask(100.0, 1.0) is None
    assert bootstrap.wait_until(100.0) is None
    bootstrap.failed()
    bootstrap.begin(200.0)
    assert bootstrap.to_ask(200.0, 1.0) == NOWHERE
    assert bootstrap.contacts() == [first]  # perhaps it is there all the same
    second = bootstrap.identified(NOWHERE, b"x" * 32)
    assert bootstrap.contacts() == [second] != [first]


def test_the_own_address_among_others_is_left_out() -> None:
    net = Net()
    bob = net.add()
    own = BareAddress(pack_address("1.0.1.1", 4000))
    alice = net.add(own, bare(bob))
    assert own.address == alice.address
    assert alice.knows(bob)
    assert alice.engine._bootstrap.everybody() == (bare(bob),)


def test_who_is_told_only_its_own_address_is_a_network_of_one() -> None:
    net = Net()
    alice = net.add(BareAddress(pack_address("1.0.0.1", 4000)))
    assert alice.of_type(Joined) == [Joined(0)]
    assert not alice.of_type(JoinFailed)
    assert len(net.put(alice, "k", b"v").stored) == 1


@pytest.mark.parametrize("network", [Network.named("other"), Network.named("main", b"k" * 32)])
def test_another_network_says_nothing(network: Network) -> None:
    net = Net()
    bob = net.add(network=network)
    alice = net.add(bare(bob))
    net.run_for(2.0)
    assert not alice.engine.joined
    assert not [data for _, source, _, data in net.log if source == bob.address]


def test_whoever_nobody_asked_changes_nothing() -> None:
    net = Net()
    bob = net.add()
    alice = net.add(bare(bob))
    before = alice.engine.stats()
    alice.engine.receive_datagram(net.now, bytes([IAM_TAG]) + bytes(64), bob.address)
    after = alice.engine.stats()
    assert after.datagrams_dropped == before.datagrams_dropped + 1
    assert alice.engine._bootstrap.identified(NOWHERE, OTHER_KEY) is None


# ---- names ----


def test_a_name_is_waited_for_and_joined_through_once_it_is_resolved() -> None:
    net = Net()
    bob = net.add()
    alice = net.add(NAME, join=False)
    net.run_for(NAME_WAIT_S - 1)
    assert not alice.of_type(JoinFailed)
    alice.engine.resolved(net.now, NAME, [NOWHERE, bob.address])
    net.poll(alice)
    net.run_for(5 * DELAY_S)
    assert alice.knows(bob)
    assert alice.engine._bootstrap.everybody() == (NAME,)


def test_a_name_without_addresses_ends_the_attempt_and_is_named() -> None:
    net = Net()
    alice = net.add(NAME, join=False)
    alice.engine.resolved(net.now, NAME, [])
    net.poll(alice)
    assert [failed.tried for failed in alice.of_type(JoinFailed)] == [(NAME,)]
    assert "seed.example:4000 (no address)" in what_a_get_says(net, alice)


def test_a_name_that_is_resolved_between_two_attempts_begins_one() -> None:
    net = Net()
    bob = net.add()
    alice = net.add(NAME, join=False)
    alice.engine.resolved(net.now, NAME, [])
    net.poll(alice)
    alice.engine.resolved(net.now, NAME, [bob.address])
    net.poll(alice)
    net.run_for(5 * DELAY_S)
    assert alice.knows(bob)


def test_a_name_that_nobody_resolves_is_given_up() -> None:
    net = Net()
    alice = net.add(NAME, join=False)
    net.run_for(NAME_WAIT_S + 0.1)
    assert len(alice.of_type(JoinFailed)) == 1


def test_a_name_that_is_resolved_once_joined_costs_nothing() -> None:
    net = Net()
    bob = net.add()
    alice = net.add(bob, NAME)
    alice.engine.resolved(net.now, NAME, [NOWHERE])
    alice.engine.resolved(net.now, NAME, [ELSEWHERE])  # twice is once
    net.poll(alice)
    net.run_for(1.0)
    assert not asked(net, NOWHERE)


def test_no_more_than_eight_addresses_of_a_name_are_asked() -> None:
    net = Net()
    alice = net.add(NAME, join=False)
    places = [pack_address("9.9.9.9", port) for port in range(1, 30)]
    alice.engine.resolved(net.now, NAME, [places[0], *places])
    net.poll(alice)
    net.run_for(2.0)
    wanted = places[:ADDRESSES_PER_NAME_MAX]
    assert {to for _, _, to, data in net.log if data[0] == WHO_TAG} == set(wanted)


# ---- what is remembered ----


def test_a_key_is_remembered_once_its_owner_has_answered() -> None:
    net = Net()
    bob = net.add()
    remembered: dict[str, bytes] = {}
    alice = net.add(bare(bob), remembered=remembered)
    assert remembered == {format_address(bob.address): bob.contact.public_key}
    assert len(alice.of_type(Identified)) == 1


def test_who_only_says_who_he_is_is_not_remembered() -> None:
    remembered: dict[str, bytes] = {}
    bootstrap = Bootstrap(0, Config(), [BareAddress(NOWHERE)], remembered)
    contact = bootstrap.identified(NOWHERE, OTHER_KEY)
    assert isinstance(contact, Contact)
    assert remembered == {}
    assert bootstrap.proved(contact_at(b"x" * 32, NOWHERE)) is None
    assert bootstrap.proved(contact_at(OTHER_KEY, ELSEWHERE)) is None
    assert bootstrap.proved(contact) == Identified("9.9.9.9:4000", contact)
    assert remembered == {"9.9.9.9:4000": OTHER_KEY}
    assert bootstrap.proved(contact) is None
    assert bootstrap.identified(NOWHERE, OTHER_KEY) is None


def test_a_remembered_key_is_asked_at_once_and_nobody_else_is_taken_there() -> None:
    net = Net()
    bob = net.add()
    where = format_address(bob.address)
    alice = net.add(bare(bob), remembered={where: OTHER_KEY}, join=False)
    net.run_for(2.0)
    change = KeyChanged(where, OTHER_KEY, bob.contact.public_key)
    assert alice.of_type(KeyChanged) == [change]
    assert alice.engine.changed_keys == (change,)
    assert not alice.engine.joined
    said = what_a_get_says(net, alice)
    assert str(change) in said
    assert bob.contact.uri.partition("@")[0].removeprefix("dht://") in said


def test_a_remembered_key_needs_no_introduction() -> None:
    net = Net()
    bob = net.add()
    where = format_address(bob.address)
    net.fate = lambda data, _source, _target: [] if data[0] == IAM_TAG else [data]
    alice = net.add(bare(bob), remembered={where: bob.contact.public_key})
    assert alice.knows(bob)
    assert not alice.of_type(Identified)


def test_a_liar_who_is_quicker_keeps_nobody_from_the_remembered_key() -> None:
    net = Net()
    bob = net.add()
    where = format_address(bob.address)
    alice = net.add(bare(bob), remembered={where: bob.contact.public_key}, join=False)
    news = alice.engine._bootstrap.identified(bob.address, OTHER_KEY)
    assert isinstance(news, KeyChanged)
    net.run_for(1.0)
    assert alice.knows(bob)


def test_a_name_is_remembered_by_itself_where_it_stands_for_one_node() -> None:
    own = Identity.generate(Random(1)).id
    one = Bootstrap(own, Config(), [NAME], {})
    one.resolved(0.0, NAME, [NOWHERE])
    assert isinstance(one.identified(NOWHERE, OTHER_KEY), Contact)
    assert one.proved(contact_at(OTHER_KEY, NOWHERE))
    assert one.remembered == {"seed.example:4000": OTHER_KEY}
    # From then on for good: whoever answers for the name cannot get round it with two addresses.
    later = Bootstrap(own, Config(), [NAME], one.remembered)
    later.resolved(0.0, NAME, [NOWHERE, ELSEWHERE])
    assert isinstance(later.identified(ELSEWHERE, b"x" * 32), KeyChanged)


def test_a_name_of_many_nodes_is_remembered_by_their_addresses() -> None:
    many = Bootstrap(0, Config(), [NAME], {})
    many.resolved(0.0, NAME, [NOWHERE, ELSEWHERE])
    for address, key in ((NOWHERE, OTHER_KEY), (ELSEWHERE, b"x" * 32)):
        contact = many.identified(address, key)
        assert isinstance(contact, Contact)
        assert many.proved(contact)
    assert many.remembered == {"9.9.9.9:4000": OTHER_KEY, "9.9.9.8:4000": b"x" * 32}


def test_without_a_memory_another_key_is_taken() -> None:
    bootstrap = Bootstrap(0, Config(), [BareAddress(NOWHERE)])
    assert isinstance(bootstrap.identified(NOWHERE, OTHER_KEY), Contact)
    changed = bootstrap.identified(NOWHERE, b"x" * 32)
    assert isinstance(changed, Contact)
    assert bootstrap.contacts() == [changed]


# ---- the id puzzle ----

DEAR = Config(id_puzzle_bits=4)


def test_who_has_not_paid_for_its_id_is_not_asked_wherever_it_is_named() -> None:
    net = Net(config=DEAR)
    dear = contact_at(puzzled(solved=True).public_key, NOWHERE)
    cheap = contact_at(puzzled(solved=False).public_key, ELSEWHERE)
    net.add(net.stranger(reply=Manners(net, contacts=[dear, cheap])))
    targets = [to for _, _, to, _ in net.log]
    assert NOWHERE in targets
    assert ELSEWHERE not in targets


def puzzled(*, solved: bool) -> Contact:
    """A contact whose id has, or has not, paid for itself."""
    keys = (Random(number).randbytes(32) for number in range(1000))
    contacts = (contact_at(key, NOWHERE) for key in keys)
    return next(each for each in contacts if solves_puzzle(each.id, 4) is solved)


@pytest.mark.parametrize("solved", [True, False])
def test_only_who_paid_for_its_id_is_taken_at_a_bare_address(*, solved: bool) -> None:
    contact = puzzled(solved=solved)
    bootstrap = Bootstrap(0, DEAR, [BareAddress(NOWHERE)])
    news = bootstrap.identified(NOWHERE, contact.public_key)
    assert (news == contact) is solved
    assert (bootstrap.contacts() == [contact]) is solved
