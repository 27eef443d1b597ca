from random import Random

import attrs
import pytest

from dht.config import Config
from dht.contacts import is_local, pack_address, subnet_of
from dht.core.events import Event, Joined, OperationFinished
from dht.core.outcomes import LookupOutcome, PutOutcome
from dht.errors import InternalError, LocalError, NodeClosed, NoPeers
from dht.keyspace import Key, owners, plain_key
from dht.records import Kind
from dht.sim import LinkModel, SimNode, Simulator

FAST = LinkModel(rtt_median_s=0.02, rtt_mean_s=0.02)


def grown(count: int, *, seed: int = 1, config: Config | None = None) -> Simulator:
    simulator = Simulator(seed, links=FAST, config=Config() if config is None else config)
    simulator.grow(count)
    return simulator


# ------------------------------------------------------------------------------------- growing


def test_a_network_grows_until_everybody_has_joined() -> None:
    simulator = Simulator(1, links=FAST)
    told: list[int] = []
    nodes = simulator.grow(20, progress=told.append)
    assert len(nodes) == len(simulator.nodes) == 20
    assert all(node.engine.joined for node in nodes)
    assert told[-1] == 20
    assert told == sorted(told)


def test_every_node_has_a_public_subnet_of_its_own_or_a_private_address() -> None:
    simulator = Simulator(1)
    for _ in range(300):
        simulator.add_node(bootstrap=())
    addresses = [node.address for node in simulator.nodes]
    assert len({subnet_of(address) for address in addresses}) == 300
    assert not any(map(is_local, addresses))
    private = Simulator(1, local=True)
    assert all(is_local(private.add_node(bootstrap=()).address) for _ in range(300))


def test_a_node_may_be_given_its_address_config_and_contacts() -> None:
    simulator = grown(2)
    address = pack_address("2001:db8::1", 4001)
    config = Config(replicas=3)
    node = simulator.add_node(
        address=address, config=config, bootstrap=[simulator.nodes[1].contact], client=True
    )
    assert node.contact.address == address
    assert node.engine.config is config
    assert node.engine.bootstrap == [simulator.nodes[1].contact]
    assert simulator.at_address(address) is node


def test_a_network_that_cannot_join_says_who() -> None:
    simulator = grown(2)
    simulator.links.partition([0, 1], [2])
    with pytest.raises(InternalError, match=r"not joined: \[2\]"):
        simulator.grow(1, timeout_s=30)


# ---------------------------------------------------------------------------------- operations


def test_what_one_node_puts_another_gets_until_it_is_deleted() -> None:
    simulator = grown(30)
    outcome = simulator.put(simulator.nodes[3], "greeting", b"hello")
    assert len(outcome.stored) >= outcome.quorum
    assert simulator.get(simulator.nodes[20], "greeting").value == b"hello"
    simulator.delete(simulator.nodes[7], "greeting")
    assert simulator.get(simulator.nodes[25], "greeting", quorum=5).value is None


def test_a_lookup_finds_the_nodes_that_are_nearest() -> None:
    simulator = grown(30)
    target = Key(Random(1).getrandbits(256))
    outcome = simulator.lookup(simulator.nodes[4], target)
    ids = [node.contact.id for node in simulator.nodes]
    assert [contact.id for contact in outcome.closest] == owners(target, ids, 8)


def test_a_crash_of_all_that_a_node_would_ask_first_does_not_end_its_lookup() -> None:
    """As a rack does: the 20 contacts nearest to the target are dead, and nobody has noticed."""
    simulator = grown(80)
    asker = simulator.nodes[4]
    target = Key(Random(1).getrandbits(256))
    first = {contact.id for contact in asker.engine.table.closest(target, Config().k)}
    for node in list(simulator.nodes):
        if node.contact.id in first:
            simulator.crash(node)
    outcome = simulator.lookup(asker, target)
    ids = [node.contact.id for node in simulator.living() if node is not asker]
    assert [contact.id for contact in outcome.closest] == owners(target, ids, 8)


def test_holders_are_seen_by_the_simulator_alone() -> None:
    simulator = grown(30)
    outcome = simulator.put(simulator.nodes[3], "greeting", b"hello")
    holders = simulator.holders(Kind.PLAIN, plain_key("greeting"))
    assert {node.contact for node, _ in holders} >= set(outcome.stored)
    assert {record.value for _, record in holders} == {b"hello"}


def test_many_operations_at_once_end_in_the_order_given() -> None:
    simulator = grown(10)
    targets = [Key(number << 240) for number in range(50)]
    ended = simulator.run_operations(
        (
            simulator.nodes[number % 10],
            lambda engine, now, target=target: engine.start_lookup(now, target),  # type: ignore[misc]
        )
        for number, target in enumerate(targets)
    )
    outcomes = [event.outcome for event in ended]
    assert [o.target for o in outcomes if isinstance(o, LookupOutcome)] == targets


def test_an_error_of_an_operation_is_raised_by_the_short_forms_only() -> None:
    simulator = grown(3)
    simulator.links.silence(0)
    place = plain_key("key")
    finished = simulator.run_operation(
        simulator.nodes[0],
        lambda engine, now: engine.start_put(now, Kind.PLAIN, place, b"value"),
    )
    assert isinstance(finished.error, NoPeers)
    with pytest.raises(NoPeers):
        simulator.put(simulator.nodes[0], "key", b"value")


def test_an_operation_of_a_node_that_crashes_never_ends() -> None:
    simulator = grown(10)
    node = simulator.nodes[5]
    simulator.at(simulator.now + 0.01, lambda: simulator.crash(node))
    with pytest.raises(NodeClosed, match="node 5 crashed before"):
        simulator.lookup(node, Key(1))


def test_an_operation_that_takes_longer_than_allowed_is_an_error() -> None:
    simulator = grown(10)
    with pytest.raises(TimeoutError, match=r"0\.001 s of virtual time"):
        simulator.run_operation(
            simulator.nodes[5],
            lambda engine, now: engine.start_lookup(now, Key(1)),
            timeout_s=0.001,
        )


def test_an_operation_started_by_hand_ends_for_the_observers() -> None:
    simulator = grown(5)
    heard: list[tuple[SimNode, Event]] = []
    simulator.observers.append(lambda node, event: heard.append((node, event)))
    node = simulator.nodes[2]
    operation_id = node.engine.start_lookup(simulator.now, Key(7))
    simulator.poll(node)
    simulator.run_for(5)
    ids = [event.operation_id for who, event in heard if isinstance(event, OperationFinished)]
    assert ids == [operation_id]


# ----------------------------------------------------------------------------------- accidents


def test_a_crashed_node_is_silent_and_keeps_its_place() -> None:
    simulator = grown(10)
    node = simulator.nodes[4]
    address, identity = node.address, node.identity
    simulator.crash(node)
    assert not node.alive
    with pytest.raises(NodeClosed, match="node 4"):
        _ = node.engine
    before = simulator.traffic().unheard
    simulator.run_for(300)
    assert simulator.traffic().unheard > before
    simulator.restart(node)
    simulator.run_for(30)
    assert node.engine.joined
    assert (node.address, node.identity, node.starts) == (address, identity, 2)


@pytest.mark.parametrize("keep_store", [True, False])
def test_a_restart_has_its_records_with_the_disk_only(keep_store: bool) -> None:
    simulator = grown(8)
    simulator.put(simulator.nodes[0], "key", b"value", ttl_s=1000.0)
    node = simulator.nodes[5]
    born = node.store_since
    held = node.engine.storage.get(simulator.now, Kind.PLAIN, plain_key("key"))
    assert held is not None
    simulator.crash(node)
    simulator.run_for(10)
    crashed_for = simulator.now
    simulator.links.partition([], [5])  # nobody can hand it anything
    simulator.restart(node, keep_store=keep_store)
    kept = node.engine.storage.get(simulator.now, Kind.PLAIN, plain_key("key"))
    assert (kept is not None) is keep_store
    assert node.store_since == (born if keep_store else crashed_for)
    if kept is not None:
        assert kept.record == held.record
        assert kept.deadline == pytest.approx(held.deadline, abs=0.01)
        simulator.run_for(1001)
        assert node.engine.storage.get(simulator.now, Kind.PLAIN, plain_key("key")) is None


def test_what_ended_while_the_node_was_down_is_not_loaded() -> None:
    simulator = grown(4)
    simulator.put(simulator.nodes[0], "key", b"value", ttl_s=20.0)
    simulator.crash(simulator.nodes[2])
    simulator.run_for(30)
    simulator.restart(simulator.nodes[2], keep_store=True)
    assert simulator.nodes[2].engine.storage.count == 0


def test_a_disk_is_there_once_and_not_after_a_crash_for_good() -> None:
    simulator = grown(4)
    with pytest.raises(LocalError, match="is running"):
        simulator.restart(simulator.nodes[1])
    simulator.crash(simulator.nodes[1], for_good=True)
    with pytest.raises(LocalError, match="for good"):
        simulator.restart(simulator.nodes[1], keep_store=True)


def test_a_node_that_leaves_is_gone() -> None:
    simulator = grown(10)
    simulator.leave(simulator.nodes[3])
    assert not simulator.nodes[3].alive
    assert len(simulator.living()) == 9


def test_the_last_node_to_crash_comes_back_to_those_it_knew_of() -> None:
    simulator = grown(3)
    for node in simulator.nodes:
        simulator.crash(node)
    with pytest.raises(LocalError, match="no node is running"):
        simulator.random_node()
    for node in simulator.nodes:
        simulator.restart(node)
    simulator.run_for(60)
    assert all(node.engine.joined for node in simulator.nodes)


def test_a_suspended_node_is_not_drawn_and_works_after_it_woke() -> None:
    simulator = grown(6)
    asleep = simulator.nodes[2]
    simulator.suspend(asleep, 8 * 3600)
    assert all(simulator.random_node() is not asleep for _ in range(100))
    simulator.run_for(8 * 3600 + 10)
    assert simulator.put(asleep, "key", b"value").stored


def test_a_wrong_wall_clock_is_what_the_node_stamps_with() -> None:
    simulator = grown(4)
    hour_ahead = simulator.nodes[1]
    right = simulator.put(simulator.nodes[0], "one", b"value").version
    simulator.set_skew(hour_ahead, 3600.0)
    wrong = simulator.put(hour_ahead, "two", b"value").version
    assert wrong - right == pytest.approx(3_600_000, abs=5000)
    assert hour_ahead.skew_s == 3600.0
    simulator.crash(hour_ahead)
    simulator.restart(hour_ahead)
    simulator.run_for(5)
    again = simulator.put(hour_ahead, "three", b"value").version
    assert again - wrong == pytest.approx(10_000, abs=10_000)


@pytest.mark.parametrize("years", [-10, 10])
def test_a_clock_that_is_ten_years_off_keeps_nobody_from_speaking_or_reading(years: int) -> None:
    """On the encrypted channel: no handshake looks at a clock. A put costs one stamp more."""
    simulator = Simulator(7, links=FAST, encrypted=True)
    nodes = simulator.grow(9)
    odd = simulator.add_node(bootstrap=[nodes[0].contact], skew_s=years * 365.25 * 86_400)
    simulator.run_for(5)
    simulator.put(nodes[1], "of others", b"value")
    assert simulator.get(odd, "of others").value == b"value"
    outcome = simulator.put(odd, "its own", b"value")
    assert not outcome.refused
    assert simulator.get(nodes[2], "its own").value == b"value"
    assert simulator.get(odd, "its own").value == b"value"
    simulator.put(nodes[3], "its own", b"newer")
    assert simulator.get(odd, "its own", quorum=3).value == b"newer"


# --------------------------------------------------------------------------------- determinism


def day(seed: int, links: LinkModel = FAST) -> tuple[str, list[str]]:
    """Ten nodes, a crash, a few operations; the trace hash and what was heard."""
    simulator = Simulator(seed, links=links)
    events: list[str] = []
    simulator.observers.append(
        lambda node, event: (
            events.append(f"{node.index} {event}") if isinstance(event, Joined) else None
        )
    )
    simulator.grow(10)
    outcome = simulator.put(simulator.random_node(), "key", b"value")
    assert isinstance(outcome, PutOutcome)
    simulator.crash(simulator.random_node())
    simulator.run_for(100)
    return simulator.trace_hash(), events


def test_one_seed_is_one_day() -> None:
    stormy = attrs.evolve(FAST, loss=0.05, duplicate=0.2, reorder=0.2, corrupt=0.05)
    assert day(1) == day(1)
    assert day(1, stormy) == day(1, stormy)
    assert len({day(seed)[0] for seed in range(5)}) == 5


def test_a_writer_that_is_the_one_owner_keeps_the_record_itself() -> None:
    simulator = Simulator(1)
    nodes = simulator.grow(8)
    for number in range(10):
        key = plain_key(f"key {number}")
        owner = min(nodes, key=lambda node: node.contact.id ^ key)
        outcome = simulator.put(owner, key, b"here", replicas=1)
        assert [contact.id for contact in outcome.stored] == [owner.contact.id]
        assert simulator.get(nodes[number % 8], key).value == b"here"
