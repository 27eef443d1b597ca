"""One node: what it does with any bytes, what its operations end in, what it leaves behind."""

import os
import subprocess
import sys
from hashlib import blake2s
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from dht.config import Config
from dht.contacts import contact_at, pack_address, unpack_contact
from dht.core.channel.plain import ROOM
from dht.core.channel.secure import SecureChannel
from dht.core.engine import Engine
from dht.core.events import (
    Joined,
    JoinFailed,
    OperationFinished,
    OperationId,
    PeerAdded,
    RecordStored,
)
from dht.core.large_values import PULLS_PER_SOURCE_MAX
from dht.core.outcomes import LookupOutcome, PutOutcome
from dht.errors import LocalError, NoPeers, QuorumNotReached, ValueTooLarge, VersionConflict
from dht.identity import Identity
from dht.keyspace import Key, content_key, key_bytes, owners, plain_key, solves_puzzle
from dht.network import Network
from dht.records import VERSION_MAX, Kind, Record, value_hash
from dht.wire.codec import copy_of, encode
from dht.wire.messages import (
    CLIENT,
    HANDOVER,
    NO_TABLE,
    OVERLAY_TYPES,
    REQUEST_ID_SIZE,
    WANT_IPV4,
    Announce,
    Answer,
    Block,
    Done,
    Fetch,
    Find,
    Hit,
    Holders,
    Introduce,
    Message,
    Ping,
    Pong,
    Request,
    Search,
    Shuffle,
    Slot,
    Status,
    Store,
    Stored,
    Taken,
    Taking,
    Wanted,
)
from dht.wire.messages import Get as GetMessage
from tests import strategies
from tests.core.pair import (
    EPOCH_S,
    HUGE,
    LARGE,
    Manners,
    Net,
    Pair,
    Peer,
    Stranger,
    frame,
    sealed,
)

PLAIN = Kind.PLAIN
ID = bytes(REQUEST_ID_SIZE)


def record(
    key: str | Key = "k", value: bytes = b"v", *, version: int = 1, ttl_s: int = 60
) -> Record:
    return Record(
        kind=PLAIN,
        key=plain_key(key),
        version=version,
        written_at_ms=int(EPOCH_S * 1000),
        ttl_ms=ttl_s * 1000,
        value=value,
    )


def store_of(what: Record, *, flags: int = WANT_IPV4, if_version: int | None = None) -> Store:
    return Store(flags=flags, copy=copy_of(what, what.ttl_ms), if_version=if_version, count=0)


# ------------------------------------------------------------------- any bytes, at any time


@given(data=st.binary(max_size=1300), source=strategies.addresses())
def test_any_bytes_from_anywhere_are_survived(data: bytes, source: bytes) -> None:
    pair = Pair()
    pair.alice.engine.receive_datagram(pair.now, data, pack_address("1.2.3.4", 5))
    pair.alice.engine.receive_datagram(pair.now, b"\x10" + data, pack_address("::1", 5))
    assert not pair.alice.engine.datagrams_to_send()


@given(
    message=strategies.messages(),
    places=st.lists(st.tuples(st.integers(0, 1200), st.integers(1, 255)), max_size=4),
    tail=st.binary(max_size=40),
    cut=st.integers(0, 1200),
)
def test_a_damaged_message_with_a_right_checksum_is_survived(
    message: Message, places: list[tuple[int, int]], tail: bytes, cut: int
) -> None:
    payload = bytearray((ID + encode(message))[:ROOM])
    for place, flip in places:
        payload[place % len(payload)] ^= flip
    spoilt = bytes(payload[: max(9, len(payload) - cut % 9)] + tail)
    pair = Pair()
    stranger = pair.known(pair.alice)
    pair.send(sealed(stranger.contact.public_key, spoilt), stranger.address, pair.alice.address)
    pair.run_for(1.0)
    assert pair.get(pair.alice, "still there").record is None


@given(message=strategies.messages(), request_id=strategies.request_ids())
@example(message=Pong(2**40, b""), request_id=ID)
def test_any_message_nobody_asked_for_changes_no_table_and_no_clock(
    message: Message, request_id: bytes
) -> None:
    pair = Pair()
    stranger = pair.stranger()
    before = pair.alice.engine.stats()
    stranger.say(pair.alice, message, request_id)
    after = pair.alice.engine.stats()
    assert (after.contacts, after.clock_ahead_s) == (before.contacts, before.clock_ahead_s)
    assert pair.bob.knows(pair.alice)


class Mixtures(RuleBasedStateMachine):
    """Honest peers, a liar whom everybody knows, a user, and bytes from nowhere, all at once."""

    operations = Bundle("operations")

    @initialize(seed=st.integers(0, 3), client=st.booleans())
    def begin(self, seed: int, client: bool) -> None:
        self.net = Net(seed=seed, config=Config(value_size_max=60_000, replicas=3))
        self.net.grow(3)
        self.node = self.net.add(self.net.peers[0], client=client)
        self.liar = self.net.stranger(reply=Manners(self.net))
        for peer in self.net.peers[:3]:
            self.liar.say(peer, Ping(flags=WANT_IPV4))
        self.begun: list[OperationId] = []

    @rule(data=st.binary(max_size=1300))
    def bytes_come(self, data: bytes) -> None:
        self.net.send(data, self.liar.address, self.node.address)

    @rule(message=strategies.messages(), request_id=strategies.request_ids())
    def the_liar_says(self, message: Message, request_id: bytes) -> None:
        self.liar.say(self.node, message, request_id)

    @rule(message=strategies.messages(), which=st.integers(0, 2))
    def somebody_speaks_in_anothers_name(self, message: Message, which: int) -> None:
        honest = self.net.peers[which]
        data = frame(honest.contact.public_key, message, ID)
        self.net.send(data, honest.address, self.node.address)

    @rule(answers=st.lists(strategies.answers(), min_size=1, max_size=5))
    def the_liar_answers_whatever_it_is_asked(self, answers: list[Answer]) -> None:
        polite = Manners(self.net)

        def lie(request: Request) -> Answer | None:
            fitting = [a for a in answers if type(a) is type(polite(request))]
            return (fitting or answers)[len(self.liar.heard) % len(fitting or answers)]

        self.liar.reply = lie

    @rule(
        status=st.sampled_from(Status),
        version=st.integers(0, 2) | st.just(VERSION_MAX),
    )
    def the_liar_plays_owner(self, status: Status, version: int) -> None:
        manners = Manners(self.net, version=version)
        manners.store = lambda _: Stored(manners.time_s, status, version, None, b"", b"")
        self.liar.reply = manners

    @rule(
        target=operations,
        key=st.sampled_from("abc"),
        size=st.sampled_from([0, 1, 850, 851, 20_000, 40_000]),
        if_version=st.none() | st.integers(0, 1),
    )
    def put(self, key: str, size: int, if_version: int | None) -> OperationId:
        value = Random(size).randbytes(size)
        return self._begin(
            self.net.begin(
                self.node,
                lambda engine, now: engine.start_put(
                    now, PLAIN, plain_key(key), value, if_version=if_version
                ),
            )
        )

    @rule(target=operations, key=st.sampled_from("abc"), quorum=st.integers(1, 3))
    def get(self, key: str, quorum: int) -> OperationId:
        return self._begin(
            self.net.begin(
                self.node,
                lambda engine, now: engine.start_get(now, PLAIN, plain_key(key), quorum=quorum),
            )
        )

    @rule(target=operations, key=strategies.keys(), disjoint=st.integers(1, 3))
    def look_up(self, key: Key, disjoint: int) -> OperationId:
        return self._begin(
            self.net.begin(
                self.node,
                lambda engine, now: engine.start_lookup(now, key, disjoint=disjoint),
            )
        )

    def _begin(self, operation_id: OperationId) -> OperationId:
        self.begun.append(operation_id)
        return operation_id

    @rule(target=operations, operation_id=consumes(operations))
    def cancel(self, operation_id: OperationId) -> object:
        self.node.engine.cancel(self.net.now, operation_id)
        self.net.poll(self.node)
        return multiple()

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.02, 0.5, 3.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.net.run_for(seconds)

    @rule()
    def the_machine_slept(self) -> None:
        self.node.engine.resumed(self.net.now)
        self.net.poll(self.node)

    @rule(ahead_s=st.sampled_from([0.0, -3e8, 3e8]))
    def the_wall_clock_is_set(self, ahead_s: float) -> None:
        self.node.engine.set_wall_offset(self.net.now, EPOCH_S + ahead_s)

    @invariant()
    def no_operation_ends_twice(self) -> None:
        ended = [event.operation_id for event in self.node.finished()]
        assert len(set(ended)) == len(ended)

    @invariant()
    def an_end_is_an_outcome_or_an_error(self) -> None:
        assert not any(event.outcome and event.error for event in self.node.finished())

    def teardown(self) -> None:
        if not hasattr(self, "net"):
            return
        self.net.run_for(1000.0)  # a liar that fetches for ever is waited for 15 minutes at most
        assert sorted(event.operation_id for event in self.node.finished()) == sorted(self.begun)
        assert self.net.comes_to_rest(), self.net.leftovers(self.node)
        assert self.net.get(self.net.peers[1], "fresh").record is None


TestMixtures = Mixtures.TestCase
TestMixtures.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


# ------------------------------------------------------------------------ time and repetition


class Fidgety(Net):
    """Calls ``handle_timeout`` when nothing is due, and again when it was handled."""

    def _step(self) -> None:
        for peer in self.peers:
            due = peer.engine.next_timeout()
            if due is not None and due > self.now:
                peer.engine.handle_timeout(self.now)
                assert not peer.engine.datagrams_to_send()
                assert not peer.engine.events()
                assert peer.engine.next_timeout() == due
        super()._step()
        for peer in self.peers:
            self.poll(peer)
            if peer.plugged_in and (due := peer.engine.next_timeout()) and due > self.now:
                peer.engine.handle_timeout(self.now)
                assert not peer.engine.datagrams_to_send()


def a_busy_day(net: Net) -> Net:
    """A bit of everything; the same calls on each net."""
    net.grow(5)
    stranger = net.stranger()  # silent: it is asked twice by whoever knows of it
    stranger.say(net.peers[0], Ping(flags=WANT_IPV4))
    net.put(net.peers[1], "a", b"1")
    net.put(net.peers[2], "large", LARGE)
    net.get(net.peers[4], "large", quorum=2)
    net.lookup(net.peers[3], plain_key("b"), disjoint=2)
    net.crash(net.peers[4])
    net.put(net.peers[0], "b", b"2")
    for _ in range(3):  # owners that lack several records at once
        net.add(net.peers[0], join=False)
    net.run_for(4000.0)
    return net


def test_a_spurious_timeout_changes_nothing() -> None:
    assert a_busy_day(Fidgety()).log == a_busy_day(Net()).log


def test_the_same_bytes_times_and_seed_give_the_same_bytes() -> None:
    assert a_busy_day(Net(seed=7)).log == a_busy_day(Net(seed=7)).log
    assert a_busy_day(Net(seed=8)).log != a_busy_day(Net(seed=7)).log


def test_no_order_depends_on_the_hash_seed_of_the_process() -> None:
    root = Path(__file__).parents[2]
    program = "from tests.core.test_engine import *; print(digest(a_busy_day(Net())))"
    digests = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert digests[0] == digests[1] != b""


def digest(net: Net) -> str:
    state = blake2s()
    for at, source, target, data in net.log:
        state.update(f"{at}".encode() + source + target + data)
    return state.hexdigest()


# ------------------------------------------------------------------------------ small networks


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_operation_works_in_a_network_of(size: int) -> None:
    net = Net()
    first, last = net.grow(size)[0], net.peers[-1]

    stored = net.put(first, "greeting", b"hello")
    assert len(stored.stored) == size
    assert (stored.refused, stored.silent, stored.pending) == ((), (), ())
    assert net.get(last, "greeting").value == b"hello"

    assert net.put(last, "greeting", b"bye", if_version=stored.version).version > stored.version
    found = net.get(first, "greeting", quorum=size)
    assert found.value == b"bye"
    assert len(found.agreed) == size

    for value in (LARGE, HUGE):
        net.put(first, "large", value)
        assert net.get(last, "large").value == value

    deleted = net.delete(last, "greeting")
    gone = net.get(first, "greeting", quorum=size)
    assert gone.record is None
    assert gone.deleted is not None
    assert gone.deleted.version == deleted.version
    assert net.get(first, "never there").record is None

    target = plain_key("anywhere")
    ids = owners(target, [peer.contact.id for peer in net.peers], 8)
    assert [contact.id for contact in net.lookup(last, target).closest] == ids
    assert net.comes_to_rest()


@pytest.mark.parametrize("value", [b"", b"short", LARGE, HUGE], ids=len)
def test_a_content_record_is_found_by_the_hash_of_its_value(value: bytes) -> None:
    pair = Pair()
    key = content_key(value_hash(value))
    put = pair.run(pair.alice, lambda e, now: e.start_put(now, Kind.CONTENT, key, value))
    assert isinstance(put.outcome, PutOutcome)
    assert len(put.outcome.stored) == 2
    carol = pair.add(pair.bob, client=True)
    got = pair.run(carol, lambda e, now: e.start_get(now, Kind.CONTENT, key))
    assert got.outcome.value == value  # type: ignore[union-attr]


def test_a_node_without_bootstrap_is_a_network_of_one_at_once() -> None:
    net = Net()
    alone = net.add(join=False)
    assert alone.of_type(Joined) == [Joined(0)]
    assert alone.engine.joined
    found = net.lookup(alone, plain_key("x"))
    assert [contact.id for contact in found.closest] == [alone.contact.id]


def test_its_own_contact_among_the_bootstrap_is_no_peer() -> None:
    net = Net()
    alone = net.add()
    engine = alone.engine
    again = type(engine)(
        engine.identity,
        engine.contact,
        engine.channel,
        Random(0),
        bootstrap=[engine.contact],
    )
    again.start(0.0)
    assert again.joined


def test_newcomers_at_the_same_instant_all_find_each_other() -> None:
    net = Net()
    first = net.add()
    for _ in range(9):
        net.add(first, join=False)
    net.run_for(40.0)
    for peer in net.peers:
        assert len(peer.engine.table) == 9


# ----------------------------------------------------------------------------------- the client


@pytest.mark.parametrize(("host", "is_asked"), [("9.9.9.9", False), ("10.0.0.9", True)])
def test_who_is_out_there_cannot_make_us_ask_in_private_networks(host: str, is_asked: bool) -> None:
    net = Net()
    node = net.add(join=False)
    hosts = ["10.0.0.1", "127.0.0.1", "192.168.1.1", "172.16.3.4"]
    inside = {net.stranger(each).contact for each in hosts}
    teller = net.stranger(host, reply=Manners(net, list(inside)))
    assert node.engine.table.add(net.now, teller.contact)
    net.lookup(node, Key(5))
    asked = {to for _, source, to, _ in net.log if source == node.address}
    assert asked - {teller.address} == ({each.address for each in inside} if is_asked else set())


def test_contacts_that_have_not_paid_for_their_ids_are_not_asked_whoever_names_them() -> None:
    net = Net(config=Config(id_puzzle_bits=3))
    node = net.add(join=False)
    strangers = [net.stranger() for _ in range(60)]
    paid = [each for each in strangers if solves_puzzle(each.contact.id, 3)]
    teller = paid.pop()
    named = [each.contact for each in strangers if each is not teller][:20]
    teller.reply = Manners(net, named)
    assert node.engine.table.add(net.now, teller.contact)
    net.lookup(node, Key(5))
    asked = {to for _, source, to, _ in net.log if source == node.address}
    assert asked - {teller.address} == {each.address for each in paid if each.contact in named}
    assert 1 < len(asked) < len(named)


def test_a_client_enters_no_table_and_serves_nothing() -> None:
    net = Net()
    net.grow(3)
    client = net.add(net.peers[0], client=True)
    net.put(client, "small", b"1")
    net.get(client, "nothing")
    net.lookup(client, plain_key("x"))
    net.run_for(100.0)
    assert len(client.engine.table) == 3
    assert not any(peer.knows(client) for peer in net.peers)
    asker = net.stranger()
    for request in (
        Ping(flags=0),
        Find(flags=WANT_IPV4, target=bytes(32), count=8, kind=1),
        GetMessage(flags=WANT_IPV4, kind=1, key=bytes(32), count=8),
        store_of(record()),
        Fetch(flags=0, kind=1, key=bytes(32), value_hash=bytes(32), offset=0, length=9),
    ):
        assert not asker.say(client, request)
    assert client.engine.storage.count == 0


OVERLAY_REQUESTS: list[Request] = [
    Shuffle(WANT_IPV4, 8, b"", b"", bytes(2), b"", b"", b""),
    Introduce(WANT_IPV4, b"", 0),
    Search(WANT_IPV4, bytes(8), 1, bytes(32), 0, 0, 1, 1, 9, 4, 0, b""),
    Hit(WANT_IPV4, bytes(8), 0, 1, bytes(38), None),
    Done(WANT_IPV4, bytes(8), 0, 1, 0, 1),
    Wanted(WANT_IPV4, bytes(8), 1, 1, last=False),
    Announce(WANT_IPV4, (Slot(1, bytes(32), 60),)),
    Holders(WANT_IPV4, 1, bytes(32)),
]


def test_who_does_not_live_in_the_unstructured_overlay_says_so_to_whatever_belongs_to_it() -> None:
    assert {type(each) for each in OVERLAY_REQUESTS} == OVERLAY_TYPES
    net = Net()
    node = net.add()
    stranger = net.stranger()
    for request in OVERLAY_REQUESTS:
        (answer,) = stranger.say(node, request)
        assert isinstance(answer, Taken)
        assert answer.status == Taking.NOT_HERE
    net.run_for(100.0)
    assert not node.knows(stranger)
    assert stranger.heard_of(Ping) == []


def test_who_lives_in_the_unstructured_overlay_alone_enters_no_table_of_others() -> None:
    """Its flag says so, as a client's does: it looks after nobody's records."""
    net = Net()
    net.grow(3)
    structured = list(net.peers)
    other = net.add(structured[0], overlay="unstructured")
    net.run_for(100.0)
    assert other.engine.joined
    assert not any(peer.knows(other) for peer in structured)
    stranger = net.stranger(reply=Manners(net))
    assert stranger.say(structured[0], Ping(flags=WANT_IPV4 | NO_TABLE))
    net.run_for(100.0)
    assert not structured[0].knows(stranger)
    assert stranger.heard_of(Ping) == []


def test_a_neighbour_in_the_unstructured_overlay_need_not_be_in_the_table() -> None:
    net = Net()
    both = net.add(overlay="both")
    other = net.add(both, overlay="unstructured")
    net.run_for(60.0)
    assert both.engine.unstructured is not None
    assert both.engine.unstructured.view.contacts() == [other.contact]
    assert not both.knows(other)


def test_a_node_that_moves_out_of_the_structured_overlay_leaves_the_tables() -> None:
    net = Net()
    node = net.add()
    stranger = net.known(node)
    stranger.say(node, Ping(flags=WANT_IPV4 | NO_TABLE))
    assert not node.knows(stranger)


def test_who_lives_in_both_overlays_is_known_in_both() -> None:
    net = Net()
    nodes = [net.add(overlay="both")]
    nodes += [net.add(nodes[0], overlay="both") for _ in range(4)]
    net.run_for(30.0)
    assert all(len(node.engine.table) == 4 for node in nodes)
    overlays = [node.engine.unstructured for node in nodes]
    assert all(each is not None and len(each.view) >= 3 for each in overlays)
    net.put(nodes[1], "key", b"value")
    assert net.get(nodes[3], "key").value == b"value"


def test_a_neighbour_is_taken_only_when_it_has_proved_where_it_is() -> None:
    """On the encrypted channel: whoever writes a victim's address into a datagram enters nothing;
    whoever is there is asked to show it, does so by itself, and is served."""
    random, network = Random(1), Network.named("test")
    identity, address = Identity.generate(random), pack_address("9.9.9.9", 4000)
    engine = Engine(
        identity=identity,
        contact=contact_at(identity.public_key, address),
        channel=SecureChannel(identity, network, random),
        random=random,
        overlay="unstructured",
    )
    engine.start(0.0)
    engine.datagrams_to_send()
    overlay = engine.unstructured
    assert overlay is not None
    asker = Identity.generate(random)
    at = contact_at(asker.public_key, pack_address("8.8.8.8", 4000))
    other = SecureChannel(asker, network, random)
    shuffle = Shuffle(WANT_IPV4, 0, b"", b"", bytes(2), b"", b"", b"")
    other.ask(0.0, engine.contact, ID, encode(shuffle))
    neighbours = []
    for _ in range(3):
        for data, _ in other.datagrams_to_send():
            engine.receive_datagram(0.1, data, at.address)
        neighbours.append(overlay.view.contacts())
        for data, _ in engine.datagrams_to_send():
            other.receive(0.1, data, address)
    assert neighbours == [[], [at], [at]]


def test_the_large_values_of_a_client_are_pulled_and_it_still_enters_no_table() -> None:
    net = Net()
    net.grow(3)
    client = net.add(net.peers[0], client=True)
    outcome = net.put(client, "large", HUGE)
    net.run_for(5.0)
    assert len(outcome.stored) + len(outcome.pending) == 3
    assert len(net.holders("large")) == 3
    assert not any(peer.knows(client) for peer in net.peers)
    reader = net.add(net.peers[1], client=True)
    assert net.get(reader, "large").value == HUGE


def test_a_client_offers_a_value_only_while_its_put_runs() -> None:
    net = Net()
    net.grow(2)
    client = net.add(net.peers[0], client=True)
    asker = net.stranger()
    fetch = Fetch(
        flags=CLIENT,
        kind=PLAIN,
        key=key_bytes(plain_key("k")),
        value_hash=value_hash(LARGE),
        offset=0,
        length=5,
    )
    net.begin(client, lambda e, now: e.start_put(now, PLAIN, plain_key("k"), LARGE))
    assert asker.say(client, fetch) == [Block(int(EPOCH_S + net.now - 0.04), 0, LARGE[:5])]
    assert net.comes_to_rest()
    assert not asker.say(client, fetch)


# ------------------------------------------------------------------------------------- outcomes


def test_a_put_says_who_stored_who_refused_and_why_and_who_was_silent() -> None:
    net = Net(config=Config(replicas=4))
    client = net.add(client=True)
    good = [net_owner(net, client) for _ in range(2)]
    full = net_owner(net, client, Status.FULL)
    silent = net_owner(net, client, None)
    outcome = net.put(client, "k", b"v", quorum=2)
    assert {contact.id for contact in outcome.stored} == {owner.contact.id for owner in good}
    net.run_for(10.0)
    later = net.put(client, "k", b"v", if_version=0, quorum=1)  # waits for every owner
    assert [(r.contact, r.reason) for r in later.refused] == [(full.contact, "full")]
    assert later.silent == (silent.contact,)
    assert later.pending == ()


def net_owner(net: Net, client: Peer, status: Status | None = Status.STORED) -> Stranger:
    """An owner made by hand, known to a client that joined by it; None: silent to a store."""
    manners = Manners(net)
    if status is None:
        manners.store = lambda _: None
    elif status is not Status.STORED:
        manners.store = lambda _: Stored(manners.time_s, status, 0, None, b"", b"")
    owner = net.stranger(reply=manners)
    client.engine._peers.on_alive(net.now, owner.contact, Pong(manners.time_s, b""), True)
    return owner


def test_a_put_returns_with_its_quorum_and_the_late_owners_are_pending_and_followed_up() -> None:
    net = Net(config=Config(replicas=3))
    client = net.add(client=True)
    owners = [net_owner(net, client) for _ in range(3)]
    slow = owners[2]
    net.lookup(client, plain_key("k"))  # now it knows how fast they are
    slow.reply = Manners(net, store=lambda _: None)
    outcome = net.put(client, "k", b"v")
    assert outcome.quorum == 2
    assert [contact.id for contact in outcome.pending] == [slow.contact.id]
    assert outcome.trace.elapsed < 0.15
    net.run_for(10.0)
    assert len(slow.heard_of(Store)) == 2  # it was asked again, for what it is worth
    assert net.comes_to_rest()


def test_an_owner_that_refuses_for_lack_of_room_is_replaced_by_the_next_nearest() -> None:
    net = Net(config=Config(replicas=2))
    client = net.add(client=True)
    crowd = sorted(
        (net_owner(net, client) for _ in range(4)), key=lambda o: o.contact.id ^ plain_key("k")
    )
    crowd[0].reply = Manners(net, store=lambda _: Stored(0, Status.FULL, 0, None, b"", b""))
    crowd[1].reply = Manners(net, store=lambda _: None)
    outcome = net.put(client, "k", b"v", quorum=2)
    assert {contact.id for contact in outcome.stored} == {c.contact.id for c in crowd[2:]}


def test_too_few_copies_are_an_error_that_carries_the_outcome() -> None:
    net = Net(config=Config(replicas=3))
    client = net.add(client=True)
    for status in (Status.STORED, Status.FULL, None):
        net_owner(net, client, status)
    with pytest.raises(QuorumNotReached, match="2 were needed") as caught:
        net.put(client, "k", b"v", quorum=2)
    outcome = caught.value.outcome
    assert (len(outcome.stored), len(outcome.refused), len(outcome.silent)) == (1, 1, 1)
    assert outcome.quorum == 2
    with pytest.raises(QuorumNotReached, match="3 were needed"):
        net.put(client, "k", b"v", quorum=3)


def test_a_version_conflict_carries_the_newest_record_that_was_seen() -> None:
    pair = Pair()
    first = pair.put(pair.alice, "k", b"first")
    with pytest.raises(VersionConflict, match=f"version {first.version}") as caught:
        pair.put(pair.bob, "k", b"second", if_version=0)
    assert caught.value.newest.value == b"first"
    assert len(caught.value.outcome.refused) == 2
    with pytest.raises(VersionConflict):
        pair.put(pair.bob, "k", b"second", if_version=first.version - 1)
    assert pair.get(pair.alice, "k").value == b"first"
    assert pair.put(pair.bob, "k", b"second", if_version=first.version).version > first.version


@pytest.mark.parametrize("expected", [0, 7])
def test_a_large_value_meets_a_conflict_before_a_byte_of_it_travels(expected: int) -> None:
    pair = Pair()
    held = pair.put(pair.alice, "k", b"first")
    client = pair.add(pair.alice, client=True)
    before = len(pair.log)
    with pytest.raises(VersionConflict, match=f"version {held.version}") as caught:
        pair.put(client, "k", HUGE, if_version=expected)
    assert caught.value.newest.value == b"first"
    assert len(pair.log) - before < 20


def test_expecting_a_version_where_nothing_is_held_is_a_conflict_without_a_record() -> None:
    pair = Pair()
    with pytest.raises(VersionConflict, match="an owner holds nothing") as caught:
        pair.put(pair.alice, "k", b"v", if_version=5)
    assert caught.value.newest is None


def test_a_put_that_must_not_exist_succeeds_once() -> None:
    pair = Pair()
    pair.put(pair.alice, "k", b"mine", if_version=0)
    with pytest.raises(VersionConflict):
        pair.put(pair.bob, "k", b"mine too", if_version=0)


def test_a_quorum_read_that_too_few_can_answer_is_an_error_with_the_newest_seen() -> None:
    net = Net(config=Config(replicas=3))
    net.grow(3)
    holder = net.peers[0]
    net.stranger().say(holder, store_of(record()))
    with pytest.raises(QuorumNotReached, match="1 owners hold") as caught:
        net.get(net.peers[1], "k", quorum=2)
    assert caught.value.outcome.value == b"v"
    assert len(caught.value.outcome.empty) >= 1


def test_a_quorum_is_capped_at_the_owners_that_exist() -> None:
    pair = Pair()
    pair.put(pair.alice, "k", b"v")
    assert len(pair.get(pair.bob, "k", quorum=8).agreed) == 2


def test_a_quorum_read_takes_the_newest_and_repairs_the_stale() -> None:
    net = Net(config=Config(replicas=3))
    net.grow(3)
    stranger = net.stranger()
    for peer in net.peers:
        stranger.say(peer, store_of(record(version=5, value=b"old")))
    stranger.say(net.peers[2], store_of(record(version=6, value=b"new")))
    reader = net.add(net.peers[0], client=True)
    outcome = net.get(reader, "k", quorum=3)
    assert outcome.value == b"new"
    assert [contact.id for contact in outcome.agreed] == [net.peers[2].contact.id]
    assert len(outcome.stale) == 2
    net.run_for(1.0)
    assert [held.record.value for peer in net.peers if (held := peer.held(net.now, "k"))] == [
        b"new"
    ] * 3


def test_a_reader_repairs_owners_with_a_large_value_that_it_does_not_keep_itself() -> None:
    net = Net(config=Config(replicas=3))
    net.grow(3)
    writer = net.add(net.peers[0], client=True)
    net.put(writer, "k", HUGE)
    net.run_for(5.0)
    lacking = min(net.peers[:3], key=lambda peer: peer.contact.id ^ plain_key("k"))
    slot = plain_key("k") << 8 | PLAIN
    lacking.engine.storage._end(slot, lacking.engine.storage._held[slot])
    lacking.engine.storage._forget_ghost(slot)  # as if it had never had it
    reader = net.add(net.peers[1], client=True)
    assert net.get(reader, "k", quorum=2).value == HUGE
    net.run_for(2.0)
    assert lacking.held(net.now, "k")
    assert net.comes_to_rest()


def test_before_it_ever_joined_every_operation_names_whom_it_tried() -> None:
    net = Net()
    dead = net.stranger()
    lonely = net.add(dead, join=False)
    key = plain_key("k")
    for start in (
        lambda e, now: e.start_put(now, PLAIN, key, b"v"),
        lambda e, now: e.start_get(now, PLAIN, key),
        lambda e, now: e.start_lookup(now, key),
    ):
        error = net.run(lonely, start).error
        assert isinstance(error, NoPeers)
        assert str(dead.contact) in str(error)
    net.run_for(60.0)
    failures = [event for event in lonely.events if isinstance(event, JoinFailed)]
    assert len(failures) >= 4
    assert failures[0].tried == (dead.contact,)


def test_after_everybody_has_gone_every_operation_says_so() -> None:
    net = Net()
    first = net.add()
    client = net.add(first, client=True)
    net.crash(first)
    key = plain_key("k")
    for start in (
        lambda e, now: e.start_put(now, PLAIN, key, b"v"),
        lambda e, now: e.start_get(now, PLAIN, key),
        lambda e, now: e.start_lookup(now, key),
    ):
        error = net.run(client, start).error
        assert isinstance(error, NoPeers)
        assert str(first.contact) in str(error)


def test_an_owner_that_says_it_stored_something_else_did_not_store() -> None:
    net = Net(config=Config(replicas=2))
    client = net.add(client=True)
    net_owner(net, client)
    liar = net_owner(net, client)
    liar.reply = Manners(net, store=lambda _: Stored(0, Status.STORED, 12345, None, b"", b""))
    outcome = net.put(client, "k", b"v", quorum=1, if_version=0)
    assert [(r.contact, r.reason) for r in outcome.refused] == [(liar.contact, "invalid")]
    assert net.comes_to_rest()


def test_one_who_claims_the_last_version_there_is_does_not_shut_the_key() -> None:
    net = Net(config=Config(replicas=4))
    net.grow(3)
    liar = net.known(net.peers[0], manners=Manners(net, version=VERSION_MAX))
    writer = net.add(net.peers[0], client=True)
    before_s = net.now
    outcome = net.put(writer, "k", b"v")
    assert liar.heard_of(Store)
    assert (EPOCH_S + before_s) * 1000 <= outcome.version < (EPOCH_S + net.now) * 1000 + 1


# ------------------------------------------------------------------- operations begin and end


def test_cancelling_ends_an_operation_once_and_again_does_nothing() -> None:
    pair = Pair()
    start = lambda e, now: e.start_put(now, PLAIN, plain_key("k"), HUGE)  # noqa: E731
    operation_id = pair.begin(pair.alice, start)
    pair.run_for(0.035)  # bob has begun to pull
    assert pair.leftovers(pair.alice)["offers"]
    for _ in range(3):
        pair.alice.engine.cancel(pair.now, operation_id)
        pair.poll(pair.alice)
    pair.alice.engine.cancel(pair.now, OperationId(12345))
    assert pair.comes_to_rest()
    assert pair.alice.finished() == [OperationFinished(operation_id)]


def test_cancelling_what_has_ended_changes_nothing() -> None:
    pair = Pair()
    pair.put(pair.alice, "k", b"v")
    (finished,) = pair.alice.finished()
    pair.alice.engine.cancel(pair.now, finished.operation_id)
    pair.poll(pair.alice)
    assert pair.alice.finished() == [finished]


@pytest.mark.parametrize("after_s", [0.0, 0.015, 0.025, 0.035, 0.045, 0.065, 0.1])
def test_nothing_is_left_of_a_put_that_is_cancelled_after(after_s: float) -> None:
    pair = Pair()
    start = lambda e, now: e.start_put(now, PLAIN, plain_key("k"), HUGE)  # noqa: E731
    operation_id = pair.begin(pair.alice, start)
    pair.run_for(after_s)
    pair.alice.engine.cancel(pair.now, operation_id)
    assert pair.comes_to_rest()


def test_more_operations_than_allowed_are_refused_at_once() -> None:
    pair = Pair(config=Config(operations_max=2))
    start = lambda e, now: e.start_lookup(now, plain_key("k"))  # noqa: E731
    first, _ = pair.begin(pair.alice, start), pair.begin(pair.alice, start)
    with pytest.raises(LocalError, match="operations_max"):
        pair.begin(pair.alice, start)
    pair.alice.engine.cancel(pair.now, first)
    pair.begin(pair.alice, start)
    pair.run_for(5.0)
    assert len(pair.alice.finished()) == 3
    pair.begin(pair.alice, start)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value": "text"}, "a value is bytes"),
        ({"value": bytes(101)}, "value_size_max"),
        ({"ttl_s": 0}, "ttl"),
        ({"ttl_s": 25 * 3600.0}, "at most 86400"),
        ({"ttl_s": float("nan")}, "ttl"),
        ({"if_version": -1}, "if_version"),
        ({"replicas": 0}, "replicas"),
        ({"replicas": 2, "quorum": 3}, "quorum"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_begins(
    options: dict[str, object], message: str
) -> None:
    pair = Pair(config=Config(value_size_max=100))
    value = options.pop("value", b"v")
    with pytest.raises(LocalError, match=message):
        pair.put(pair.alice, "k", value, **options)  # type: ignore[arg-type]
    assert not pair.alice.finished()
    assert not pair.leftovers(pair.alice)


def test_a_value_too_large_has_its_own_error() -> None:
    pair = Pair(config=Config(value_size_max=100))
    with pytest.raises(ValueTooLarge):
        pair.put(pair.alice, "k", bytes(101))


def test_a_node_that_leaves_serves_no_more_and_its_operations_still_end() -> None:
    pair = Pair()
    start = lambda e, now: e.start_put(now, PLAIN, plain_key("k"), LARGE)  # noqa: E731
    pair.begin(pair.alice, start)
    pair.alice.engine.start_leave(pair.now)
    pair.run_for(10.0)
    (finished,) = pair.alice.finished()
    assert finished.outcome is not None
    assert not pair.stranger().say(pair.alice, Ping(flags=0))
    before = len(pair.log)
    pair.run_for(4000.0)
    assert not [each for each in pair.log[before:] if each[1] == pair.alice.address]


# -------------------------------------------------------------------------- large values coming in


def test_one_writer_has_so_many_values_pulled_at_once_and_no_more() -> None:
    pair = Pair()
    stranger = pair.stranger()
    answers = []
    for number in range(PULLS_PER_SOURCE_MAX + 1):
        large = record(f"k{number}", bytes([number]) * 2000)
        answers += [
            message.status
            for message in stranger.say(pair.alice, store_of(large))
            if isinstance(message, Stored)
        ]
    assert answers == [Status.PULLING] * PULLS_PER_SOURCE_MAX + [Status.FULL]
    pair.run_for(60.0)  # the stranger never gives a block
    assert not pair.leftovers(pair.alice)
    assert [m.status for m in stranger.heard_of(Stored)].count(Status.UNFETCHED) == (
        PULLS_PER_SOURCE_MAX
    )


def test_a_store_that_is_sent_again_while_its_value_is_pulled_is_pulled_once() -> None:
    pair = Pair()
    stranger = pair.stranger()
    large = record("k", LARGE)
    for number in (1, 2, 3):
        stranger.say(pair.alice, store_of(large), bytes([number]) * 8)
    offsets = [m.offset for m in stranger.heard_of(Fetch)]
    assert sorted(offsets) == sorted({*offsets})
    pair.run_for(60.0)
    final = [
        (request_id[0], message.status)
        for _, request_id, message in stranger.heard
        if isinstance(message, Stored) and message.status != Status.PULLING
    ]
    assert final == [(2, Status.UNFETCHED), (3, Status.UNFETCHED)]


def test_the_same_value_with_another_stamp_is_another_store() -> None:
    net = Net()
    node = net.add()
    manners = Manners(net)

    def block(fetch: Request) -> Block:
        assert isinstance(fetch, Fetch)
        return Block(0, fetch.offset, LARGE[fetch.offset : fetch.offset + fetch.length])

    manners.replies[Fetch] = block
    writer = net.stranger(reply=manners)
    for version in (1, 2):
        data = frame(
            writer.contact.public_key,
            store_of(record("k", LARGE, version=version)),
            bytes([version]) * 8,
        )
        net.send(data, writer.address, node.address)
    net.run_for(5.0)
    ends = [
        (request_id[0], message.version)
        for _, request_id, message in writer.heard
        if isinstance(message, Stored) and message.status == Status.STORED
    ]
    assert sorted(ends) == [(1, 1), (2, 2)]


def test_an_answer_that_took_long_carries_the_time_at_which_it_was_given() -> None:
    pair = Pair()
    stranger = pair.stranger()
    stranger.say(pair.alice, store_of(record("k", LARGE), flags=CLIENT))
    pair.run_for(60.0)
    at, _, end = stranger.heard[-1]
    assert isinstance(end, Stored)
    assert end.status == Status.UNFETCHED
    assert at > 4.0
    assert abs(end.time_s - EPOCH_S - at) <= 1.0


def test_a_large_value_that_is_held_already_is_not_pulled_again() -> None:
    pair = Pair()
    pair.put(pair.alice, "k", LARGE)
    held = pair.bob.held(pair.now, "k")
    assert held is not None
    stranger = pair.stranger()
    (answer,) = stranger.say(pair.bob, store_of(held.record, flags=WANT_IPV4 | HANDOVER | CLIENT))
    assert isinstance(answer, Stored)
    assert (answer.status, answer.version) == (Status.STORED, held.record.version)
    assert not stranger.heard_of(Fetch)


def test_a_holder_that_says_pulling_for_ever_is_given_up() -> None:
    net = Net(config=Config(replicas=1))
    client = net.add(client=True)
    liar = net_owner(net, client)

    def pulling(request: Store) -> Answer:
        return Stored(0, Status.PULLING, 0, None, b"", b"")

    liar.reply = Manners(net, store=pulling)
    net.begin(client, lambda e, now: e.start_put(now, PLAIN, plain_key("k"), LARGE))
    for _ in range(30):
        net.run_for(1.0)
        for _, request_id, message in list(liar.heard):
            if isinstance(message, Store):
                again = frame(liar.contact.public_key, pulling(message), request_id)
                net.send(again, liar.address, client.address)
    assert isinstance(client.finished()[0].error, QuorumNotReached)
    assert net.comes_to_rest()


# ------------------------------------------------------------------------------ what can be seen


def test_the_counters_tell_what_happened() -> None:
    pair = Pair()
    pair.put(pair.alice, "k", b"v")
    stats = pair.bob.engine.stats()
    assert stats.records == 1
    assert stats.records_size > 1
    assert stats.contacts == 1
    assert stats.network_size == 2
    assert stats.standing == "joined"
    assert stats.clock_ahead_s is not None
    assert abs(stats.clock_ahead_s) < 2
    assert stats.datagrams_received == sum(
        target == pair.bob.address for _, _, target, _ in pair.log
    )
    assert stats.datagrams_sent == sum(source == pair.bob.address for _, source, _, _ in pair.log)
    assert stats.requests_in_flight == stats.operations_in_flight == 0
    assert pair.alice.engine.stats().operations_started == 1


def test_damage_and_requests_beyond_the_allowance_are_counted() -> None:
    net = Net(config=Config(requests_per_source_s=1, requests_burst=3))
    node = net.add()
    stranger = net.stranger()
    net.send(b"noise", stranger.address, node.address)
    net.send(sealed(stranger.contact.public_key, b"not a message"), stranger.address, node.address)
    answered = sum(len(stranger.say(node, Ping(flags=CLIENT))) for _ in range(5))
    stats = node.engine.stats()
    assert stats.datagrams_dropped == 2
    assert (answered, stats.requests_served, stats.requests_refused) == (3, 3, 2)


def test_peers_and_records_that_come_are_told() -> None:
    pair = Pair()
    assert pair.alice.of_type(PeerAdded) == [PeerAdded(pair.bob.contact)]
    outcome = pair.put(pair.bob, "k", b"v")
    told = [RecordStored(PLAIN, plain_key("k"), outcome.version)]
    assert pair.alice.of_type(RecordStored) == pair.bob.of_type(RecordStored) == told
    assert isinstance(outcome, PutOutcome)
    assert isinstance(pair.lookup(pair.bob, plain_key("k")), LookupOutcome)


def test_strangers_with_made_up_addresses_are_not_remembered_as_contacts() -> None:
    """Memory: whoever sends from where he does not receive could fill the memo of contacts."""
    random = Random(1)
    identity, address = Identity.generate(random), pack_address("9.9.9.9", 4000)
    contact = contact_at(identity.public_key, address)
    network = Network.named("test")
    channel = SecureChannel(identity, network, random)
    engine = Engine(identity=identity, contact=contact, channel=channel, random=random)
    engine.start(0.0)
    for number in range(20):
        stranger = SecureChannel(Identity.generate(random), network, random)
        stranger.ask(0.0, contact, random.randbytes(REQUEST_ID_SIZE), encode(Ping(flags=WANT_IPV4)))
        ((data, _),) = stranger.datagrams_to_send()
        before = unpack_contact.cache_info()
        engine.receive_datagram(0.0, data, pack_address(f"8.8.{number}.8", 4000))
        assert unpack_contact.cache_info() == before
        assert engine.datagrams_to_send()  # it was answered all the same
