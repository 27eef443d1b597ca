"""What a node does by itself: it stays in the network, and records stay with their owners."""

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest

from dht.config import Config
from dht.contacts import Address, contact_at, pack_address
from dht.core.checked import STRANGER_AGAIN_S, STRANGERS_REMEMBERED_MAX
from dht.core.events import Alone, Joined, JoinFailed, PeerRemoved
from dht.core.maintenance import Due, RepairSchedule
from dht.core.storage import Storage
from dht.core.upkeep import (
    JOIN_SAMPLE,
    RANGE_STEP,
    RANGES_MAX,
    REPAIRS_MAX,
    STRANGERS_MAX,
)
from dht.errors import NoPeers
from dht.keyspace import Key, content_key, key_bytes, plain_key
from dht.records import Kind, Record, value_hash
from dht.wire.codec import copy_of, decode_untrusted
from dht.wire.messages import (
    CLIENT,
    HANDOVER,
    LEASE,
    WANT_IPV4,
    Fetch,
    Find,
    Message,
    Ping,
    Store,
)
from tests.core.pair import EPOCH_S, HUGE, Manners, Net, Pair, Peer, frame
from tests.core.test_engine import record, store_of

PLAIN = Kind.PLAIN
ID = bytes(8)


def cut_off(net: Net, peer: Peer) -> None:
    """Nothing reaches this peer, and nothing that it sends arrives."""

    def fate(data: bytes, source: Address, target: Address) -> Sequence[bytes]:
        return () if peer.address in (source, target) else (data,)

    net.fate = fate


def heal(net: Net) -> None:
    net.fate = lambda data, source, target: (data,)


def sent_by(net: Net, peer: Peer, since: int = 0) -> list[Message]:
    return [
        decode_untrusted(data[33:-8])[1]
        for _, source, _, data in net.log[since:]
        if source == peer.address
    ]


# ------------------------------------------------------------------------------- being there


def test_a_node_that_is_cut_off_keeps_its_table_and_returns_without_its_bootstrap() -> None:
    net = Net(config=Config(probe_interval_s=1.0))
    bootstrap = net.add()
    net.grow(6)
    traveller = net.add(bootstrap)
    net.run_for(10.0)
    known = len(traveller.engine.table)
    cut_off(net, traveller)
    net.run_for(600.0)
    assert len(traveller.engine.table) == known
    assert traveller.of_type(Alone) == [Alone()]
    assert not traveller.of_type(PeerRemoved)
    with pytest.raises(NoPeers):
        net.get(traveller, "k")
    net.crash(bootstrap)
    heal(net)
    net.run_for(20 * 1.2 + 3)
    assert len(traveller.of_type(Joined)) == 2
    assert traveller.engine.stats().standing == "joined"
    net.put(traveller, "k", b"v")
    assert net.get(net.peers[3], "k").value == b"v"


def test_while_alone_it_tries_again_for_ever_and_a_datagram_of_a_known_peer_is_enough() -> None:
    pair = Pair(config=Config(probe_interval_s=1.0))
    cut_off(pair, pair.bob)
    pair.run_for(4000.0)
    failures = pair.bob.of_type(JoinFailed)
    assert 4000 / (20 * 1.2 + 2) < len(failures) < 4000 / (20 * 0.8)
    assert all(pair.alice.contact in failure.tried for failure in failures)
    heal(pair)
    pair.run_until(pair.now + 60, unless=lambda: pair.bob.engine.stats().standing == "alone")
    before = pair.now
    hello = frame(pair.alice.contact.public_key, Ping(flags=WANT_IPV4), ID)
    pair.bob.engine.receive_datagram(pair.now, hello, pair.alice.address)
    pair.poll(pair.bob)
    pair.run_until(pair.now + 60, unless=lambda: pair.bob.engine.stats().standing == "joined")
    assert pair.now - before < 2.0


def test_a_bootstrap_that_comes_late_is_joined_when_it_comes() -> None:
    net = Net()
    bootstrap = net.add()
    late = net.stranger()
    node = net.add(late, join=False)
    net.run_for(100.0)
    assert not node.engine.joined
    late.reply = Manners(net, contacts=[bootstrap.contact])
    net.run_for(26.0)
    assert node.engine.joined
    assert node.knows(bootstrap)


def test_an_attempt_to_join_asks_some_of_the_table_and_not_all() -> None:
    net = Net()
    net.grow(JOIN_SAMPLE + 5)
    node = net.peers[0]
    assert len(node.engine.table) >= JOIN_SAMPLE
    node.engine.resumed(net.now)
    assert len(node.engine._upkeep._whom()) <= JOIN_SAMPLE + 1


def test_a_machine_that_slept_looks_around_at_once() -> None:
    net = Net()
    net.grow(3)
    before = len(net.log)
    net.peers[1].engine.resumed(net.now)
    net.poll(net.peers[1])
    assert any(isinstance(message, Find) for message in sent_by(net, net.peers[1], before))


def test_a_peer_that_is_gone_leaves_the_table_and_one_that_is_there_stays() -> None:
    net = Net(config=Config(probe_interval_s=1.0))
    net.grow(5)
    gone = net.peers[2]
    net.crash(gone)
    net.run_for(60.0)
    for peer in net.peers:
        if peer is not gone:
            assert not peer.knows(gone)
            assert len(peer.engine.table) == 3
            assert peer.of_type(PeerRemoved) == [PeerRemoved(gone.contact)]


def test_one_silent_peer_in_a_quiet_network_is_no_outage() -> None:
    net = Net()
    net.grow(4)
    net.crash(net.peers[3])
    net.run_for(600.0)
    for peer in net.peers[:3]:
        assert not peer.of_type(Alone)
        assert not peer.knows(net.peers[3])
        assert len(peer.engine.table) == 2


def test_buckets_that_nobody_looked_into_are_refreshed() -> None:
    net = Net(config=Config(refresh_interval_s=20.0, probe_interval_s=3600.0))
    net.grow(3)
    net.run_for(200.0)
    before = len(net.log)
    net.run_for(200.0)
    # The founder: the others look around themselves so often here that nothing falls idle.
    finds = [m for m in sent_by(net, net.peers[0], before) if isinstance(m, Find)]
    assert len({find.target for find in finds}) >= 6


# ------------------------------------------------------------------------------------- strangers


def test_who_writes_from_a_host_whose_door_stays_shut_is_asked_all_the_same() -> None:
    """After a NAT forgot a node, its old port is silent: whoever tried that one must hear of the
    new one, which has written to it."""
    net = Pair()
    node, knocks = net.alice, net.alice.engine._tasks.knocks
    moved = net.stranger("8.8.8.8", reply=Manners(net))
    before = contact_at(moved.contact.public_key, pack_address("8.8.8.8", 1))
    assert knocks.may_knock(net.now, before)
    knocks.silent(net.now, before, sent_at=net.now)
    assert not knocks.may_knock(net.now, moved.contact)
    moved.say(node, Ping(flags=WANT_IPV4))
    assert node.knows(moved)


def test_nobody_shuts_the_door_of_a_host_by_writing_in_its_name() -> None:
    net = Pair()
    liar = net.stranger("8.8.8.8")  # answers nothing: it never hears
    liar.say(net.alice, Ping(flags=WANT_IPV4))
    net.run_for(30.0)
    assert len(liar.heard_of(Ping)) == 1
    named = contact_at(bytes(31) + b"!", pack_address("8.8.8.8", 1))
    assert net.alice.engine._tasks.knocks.may_knock(net.now, named)


def test_a_stranger_costs_at_most_one_ping_a_minute_whatever_it_sends() -> None:
    pair = Pair()
    stranger = pair.stranger()  # says much, and answers nothing
    for _ in range(int(10 * STRANGER_AGAIN_S)):
        for request in (Ping(flags=0), store_of(record()), Find(0, bytes(32), 5, 0)):
            pair.send(
                frame(stranger.contact.public_key, request, ID),
                stranger.address,
                pair.alice.address,
            )
        pair.run_for(1.0)
    pings = [at for at, _, message in stranger.heard if isinstance(message, Ping)]
    checks = [at for at in pings if not any(0 < at - other < 3 for other in pings)]
    assert 9 <= len(checks) <= 11
    assert len(pings) == len(checks)
    assert not pair.alice.knows(stranger)


def test_another_key_at_the_same_address_is_no_other_door_to_knock_at() -> None:
    pair = Pair()
    victim = pair.stranger()
    for number in range(50):
        liar = frame(bytes([number]) * 32, Ping(flags=0), ID)
        pair.send(liar, victim.address, pair.alice.address)
    pair.run_for(30.0)
    knocks = [
        data
        for _, source, target, data in pair.log
        if (source, target) == (pair.alice.address, victim.address)
        and isinstance(decode_untrusted(data[33:-8])[1], Ping)
    ]
    assert len(knocks) == 1


def test_many_strangers_are_checked_a_few_at_a_time_and_few_are_remembered() -> None:
    net = Net()
    node = net.add()
    random = Random(0)
    for number in range(STRANGERS_REMEMBERED_MAX + 500):
        source = pack_address(f"{11 + number % 90}.{number >> 8 & 255}.{number & 255}.1", 9)
        node.engine.receive_datagram(
            net.now, frame(random.randbytes(32), Ping(flags=0), ID), source
        )
        assert node.engine.stats().requests_in_flight <= STRANGERS_MAX
        if number % STRANGERS_MAX == 0:
            net.now += 10.0
            node.engine.handle_timeout(net.now)
            node.engine.handle_timeout(net.now)
    assert len(node.engine._upkeep.checked) <= STRANGERS_REMEMBERED_MAX
    assert len(node.engine.table) == 0


# --------------------------------------------------------------------- records and their owners


def nearest(net: Net, key: str, count: int) -> list[Peer]:
    alive = [peer for peer in net.peers if peer.plugged_in]
    return sorted(alive, key=lambda peer: peer.contact.id ^ plain_key(key))[:count]


@pytest.mark.parametrize("value", [b"v", HUGE], ids=["small", "large"])
def test_a_record_moves_to_a_newcomer_that_is_closer(value: bytes) -> None:
    net = Net(config=Config(replicas=3))
    net.grow(6)
    net.put(net.peers[0], "k", value)
    net.run_for(10.0)
    newcomers: list[Peer] = []
    while len([peer for peer in newcomers if peer in nearest(net, "k", 3)]) < 2:
        newcomers.append(net.add(net.peers[0]))
    net.run_for(60.0)  # the first repair at once, the others' turns after 10 s each
    for peer in nearest(net, "k", 3):
        held = peer.held(net.now, "k")
        assert held is not None
        assert held.record.value == value
    assert net.comes_to_rest()


def test_the_records_of_a_dead_owner_get_new_copies() -> None:
    net = Net(config=Config(replicas=3, probe_interval_s=1.0))
    net.grow(8)
    keys = [f"k{number}" for number in range(10)]
    for key in keys:
        net.put(net.peers[1], key, b"v")
    net.run_for(5.0)
    net.crash(net.peers[4])
    net.crash(net.peers[5])
    net.run_for(120.0)  # long before the hourly repair
    for key in keys:
        assert all(peer.held(net.now, key) for peer in nearest(net, key, 3))


def test_every_holder_dies_one_after_the_other_and_the_record_stays() -> None:
    net = Net(config=Config(replicas=3, repair_interval_s=60.0, probe_interval_s=2.0))
    net.grow(9)
    net.put(net.peers[0], "k", b"v")
    for _ in range(5):
        net.crash(net.holders("k")[0])
        net.run_for(200.0)
    assert len(net.holders("k")) >= 3


def test_copies_that_holders_make_live_no_longer_than_the_first() -> None:
    net = Net(config=Config(replicas=3, repair_interval_s=10.0, probe_interval_s=2.0))
    net.grow(6)
    put_at = net.now
    net.put(net.peers[0], "k", b"v", ttl_s=300.0)
    for number in range(8):  # holders die and newcomers take over, all the time
        net.crash(net.holders("k")[number % len(net.holders("k"))])
        net.add(nearest(net, "k", 9)[-1])
        net.run_for(30.0)
        for peer in net.holders("k"):
            held = peer.held(net.now, "k")
            assert held is not None
            assert held.deadline <= put_at + 300.0 + 1.0
    assert net.holders("k")
    net.run_until(put_at + 301.0)
    assert not net.holders("k")
    net.run_for(100.0)
    assert not net.holders("k")


def test_one_holder_does_the_work_of_a_repair_and_the_others_leave_it() -> None:
    net = Net(config=Config(replicas=5, repair_interval_s=600.0))
    net.grow(5)
    net.put(net.peers[0], "k", b"v")
    net.run_for(600.0 * 1.2 + 100)
    done = sum(peer.engine.stats().repairs_done for peer in net.peers)
    assert 1 <= done <= 2
    assert sum(peer.engine.stats().copies_made for peer in net.peers) == 0


def test_one_who_says_that_it_tends_a_record_cannot_stop_repairs() -> None:
    net = Net(config=Config(replicas=2, repair_interval_s=60.0))
    net.grow(2)
    manners = Manners(net, version=2**60)  # "I have it, and newer"
    liar = net.known(net.peers[0], manners=manners)
    liar.say(net.peers[1], Ping(flags=WANT_IPV4))
    key = Key(liar.contact.id ^ 1)  # nobody is nearer to it than the liar
    stranger = net.stranger()
    for peer in net.peers:
        stranger.say(peer, store_of(record(key, version=5, ttl_s=3600)))
    find = Find(flags=WANT_IPV4 | HANDOVER, target=key_bytes(key), count=2, kind=1)
    for _ in range(15 * 60):
        for peer in net.peers:
            net.send(frame(liar.contact.public_key, find, ID), liar.address, peer.address)
        net.run_for(1.0)
    assert all(peer.engine.stats().repairs_done >= 3 for peer in net.peers)


def test_a_version_that_holders_refuse_does_not_make_a_repair_run_in_circles() -> None:
    net = Net(config=Config(replicas=2, repair_interval_s=60.0))
    net.grow(2)
    future = record("k", b"future", version=int((EPOCH_S + 1e9) * 1000))
    stranger = net.stranger()
    stranger.say(net.peers[0], store_of(record("k", version=5, ttl_s=3600)))
    net.peers[1].engine.storage.store(
        net.now,
        future,
        remaining_ms=10**6,
        wall_s=None,
        source=b"s",
        handover=False,
        if_version=None,
    )
    before = len(net.log)
    net.run_for(200.0)
    assert net.peers[0].engine.stats().repairs_done >= 1
    assert len(net.log) - before < 200


def test_the_same_content_under_two_versions_does_not_travel_with_every_repair() -> None:
    net = Net(config=Config(replicas=2, repair_interval_s=60.0))
    net.grow(2)
    stranger = net.stranger()
    for peer, version in zip(net.peers, (5, 6), strict=True):
        what = Record(
            kind=Kind.CONTENT,
            key=content_key(value_hash(b"content")),
            version=version,
            written_at_ms=int(EPOCH_S * 1000),
            ttl_ms=3_600_000,
            value=b"content",
        )
        stranger.say(peer, store_of(what))
    before = len(net.log)
    net.run_for(600.0)
    assert sum(peer.engine.stats().repairs_done for peer in net.peers) >= 5
    messages = [message for peer in net.peers for message in sent_by(net, peer, before)]
    assert not [message for message in messages if isinstance(message, Store | Fetch)]


# ------------------------------------------------------------------------------ bounded steps


def fill(net: Net, peer: Peer, count: int, *, ttl_s: float) -> None:
    for number in range(count):
        what = record(f"{number}", ttl_s=int(ttl_s))
        peer.engine.storage.store(
            net.now,
            what,
            remaining_ms=int(ttl_s * 1000),
            wall_s=None,
            source=bytes([number % 100]),
            handover=False,
            if_version=None,
        )
        peer.engine._upkeep.on_stored(net.now, PLAIN, what.key)


def test_records_that_end_at_the_same_time_are_swept_in_bounded_steps() -> None:
    net = Net()
    node = net.add()
    fill(net, node, 2000, ttl_s=100.0)
    net.now += 200.0
    counts = [node.engine.storage.count]
    while node.engine.storage.count and len(counts) < 50:
        node.engine.handle_timeout(net.now)
        counts.append(node.engine.storage.count)
        net.now += 0.02
    assert counts[-1] == 0
    assert max(before - after for before, after in pairwise(counts)) <= 256


def test_repairs_that_are_due_at_the_same_time_begin_a_few_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net(config=Config(replicas=2))
    net.grow(3)
    node = net.peers[0]
    fill(net, node, 3000, ttl_s=24 * 3600.0)
    for due in list(node.engine._upkeep.repairs._plans):  # those that begin with a pause
        if not node.engine._upkeep._rank(due[1]):
            del node.engine._upkeep.repairs._plans[due]
    assert len(node.engine._upkeep.repairs) > 1000
    net.now += 7200.0  # it slept
    looked_at: list[Due | None] = []
    pop_due = RepairSchedule.pop_due

    def counted(self: RepairSchedule, now: float) -> Due | None:
        looked_at.append(pop_due(self, now))
        return looked_at[-1]

    monkeypatch.setattr(RepairSchedule, "pop_due", counted)
    node.engine.handle_timeout(net.now)
    assert 1 <= len(looked_at) <= RANGE_STEP
    assert node.engine._upkeep._repairing <= REPAIRS_MAX
    node.engine.datagrams_to_send()
    net.run_for(400.0)
    assert node.engine.stats().repairs_done >= 300


def test_a_newcomer_costs_a_bounded_step_however_much_is_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net(config=Config(replicas=3))
    net.grow(3)
    node = net.peers[0]
    fill(net, node, 5000, ttl_s=24 * 3600.0)
    looked_at: list[int] = []
    keys_near = Storage.keys_near

    def counted(self: Storage, key: int, bits: int, **options: int) -> object:
        records, rest = keys_near(self, key, bits, **options)
        looked_at.append(len(records))
        return records, rest

    monkeypatch.setattr(Storage, "keys_near", counted)
    for number in range(2 * RANGES_MAX):
        contact = contact_at(bytes([number & 255, number >> 8]) * 16, pack_address("9.9.9.9", 1))
        node.engine._upkeep.on_peer(net.now, contact)
    assert not looked_at  # not while the newcomer is let in
    assert len(node.engine._upkeep._ranges) == RANGES_MAX
    for _ in range(100):
        net.now += 0.011
        node.engine.handle_timeout(net.now)
    assert 50 <= len(looked_at) <= 101
    assert max(looked_at) == RANGE_STEP


def test_a_flood_of_records_that_end_at_once_leaves_neither_plans_nor_timers() -> None:
    net = Net()
    node = net.add()
    engine = node.engine
    for number in range(6000):
        source = pack_address(f"{11 + number % 50}.0.0.1", 9)
        what = record(f"{number}")
        store = Store(flags=CLIENT, copy=copy_of(what, 10), if_version=None, count=0)
        engine.receive_datagram(net.now, frame(bytes([number % 50]) * 32, store, ID), source)
        engine.datagrams_to_send()
        engine.events()
        net.now += 0.05
        engine.handle_timeout(net.now)
    assert engine.storage.counters.stored == 6000
    assert len(engine._upkeep.repairs) < 50
    assert len(engine._timers) < 2000


# ------------------------------------------------------------- copies of the unstructured overlay


def tended(net: Net, peer: Peer, since: int) -> list[Message]:
    """What a holder says when it looks after a record: to its owners, for a repair."""
    return [
        message
        for message in sent_by(net, peer, since)
        if isinstance(message, Find | Store) and message.flags & HANDOVER
    ]


def test_nobody_looks_after_a_placed_copy_until_it_is_an_owners() -> None:
    net = Net(config=Config(replicas=3, repair_interval_s=600.0), overlay="both")
    net.grow(5)
    holder = net.peers[4]
    writer = net.known(holder)
    what = record(ttl_s=24 * 3600)
    begun = len(net.log)
    writer.say(holder, store_of(what, flags=WANT_IPV4 | LEASE))
    held = holder.held(net.now, "k")
    assert held is not None
    assert held.placed
    newcomer = net.add(net.peers[0])
    net.run_for(3000.0)
    assert net.holders("k") == [holder]
    assert not tended(net, holder, begun)
    writer.say(holder, store_of(what))
    net.run_for(1500.0)
    assert tended(net, holder, begun)
    assert len(net.holders("k")) >= 3
    assert newcomer.plugged_in


def test_who_lives_in_the_unstructured_overlay_only_looks_after_nothing() -> None:
    net = Net(config=Config(repair_interval_s=600.0), overlay="unstructured")
    net.grow(3)
    writer = net.stranger()
    begun = len(net.log)
    writer.say(net.peers[0], store_of(record(ttl_s=24 * 3600)))
    net.run_for(4000.0)
    assert net.holders("k") == [net.peers[0]]
    assert not tended(net, net.peers[0], begun)
