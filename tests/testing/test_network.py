"""Simulated nodes are real nodes: what they do, what befalls them, and that a seed repeats it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest
import trio

from dht.author import Author
from dht.config import Config
from dht.core.outcomes import GetOutcome
from dht.errors import InternalError, LocalError, NodeClosed, NoPeers, QuorumNotReached
from dht.identity import Identity
from dht.shell.node import Node
from dht.sim.scenario import settle_s
from dht.testing import (
    QUICK_CONFIG,
    Crash,
    Cut,
    Fault,
    History,
    LinkModel,
    Partition,
    RecordedNode,
    Silence,
    SimulatedNetwork,
    Skew,
    Suspend,
    Topology,
    check,
)

ROOT = Path(__file__).parents[2]
# Every clock here is one with autojump: the network's own.


@pytest.fixture
def network() -> Iterator[SimulatedNetwork]:
    with SimulatedNetwork(1) as network:
        yield network


# ---- nodes ----


def test_nodes_find_each_other_and_store(network: SimulatedNetwork) -> None:
    nodes = network.run(network.add_nodes, 6)
    outcome = network.run(nodes[0].put, "key", b"value")
    assert len(outcome.stored) >= outcome.quorum > 1
    assert [network.run(node.get, "key") for node in nodes] == [b"value"] * 6
    assert network.nodes == tuple(nodes)
    assert "6 of 6 nodes run" in repr(network)


def test_a_block_holds_a_node_as_open_node_does(network: SimulatedNetwork) -> None:
    async def main() -> None:
        async with (
            network.open_node("127.0.0.1:0") as alice,
            network.open_node("127.0.0.1:0", bootstrap=[alice.uri]) as bob,
        ):
            await alice.put("key", b"value")
            assert await bob.get("key") == b"value"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        network.run(main)
    assert network.nodes == ()


def test_addresses_are_chosen_as_a_system_chooses_them(network: SimulatedNetwork) -> None:
    add = partial(network.run, network.add_node)
    assert add().addresses == ("10.0.0.1:4000",)
    assert add().addresses == ("10.0.0.2:4000",)
    assert [add("127.0.0.1:0").addresses for _ in range(2)] == [
        ("127.0.0.1:4000",),
        ("127.0.0.1:4001",),
    ]
    assert add("192.0.2.1:7").addresses == ("192.0.2.1:7",)
    assert add(["0.0.0.0:9", "[::]:9"]).addresses == ("10.0.0.3:9", "[fd00::4]:9")
    with pytest.raises(LocalError, match="another node of this simulated network does"):
        add("192.0.2.1:7")
    with pytest.raises(LocalError, match="nobody can be reached"):
        add("224.0.0.1:7")


def test_nodes_of_different_families_do_not_hear_each_other(network: SimulatedNetwork) -> None:
    first = network.run(network.add_node)
    other = network.run(network.add_node, "[::]:0")
    with pytest.raises(NoPeers):
        network.run(other.get, "key")
    assert first.stats().contacts == 0
    assert other.stats().datagrams_unsendable > 0


def test_a_newcomer_joins_whoever_runs_unless_it_is_told_of_nobody(
    network: SimulatedNetwork,
) -> None:
    network.run(network.add_nodes, 2)
    alone = network.run(partial(network.add_node, bootstrap=()))
    assert alone.stats().contacts == 0
    told = network.run(partial(network.add_node, bootstrap=[network.node(0).uri], client=True))
    assert told.stats().contacts == 2


def test_networks_with_a_name_or_a_key_never_mix_and_a_key_seals(
    network: SimulatedNetwork,
) -> None:
    network.run(network.add_nodes, 2)
    named = network.run(partial(network.add_nodes, 2, network="other"))
    keyed = network.run(partial(network.add_nodes, 2, network_key=bytes([7]) * 32))
    assert [node.stats().contacts for node in (*named, *keyed)] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"data_dir": "here"}, "touches no disk"),
        ({"identity": "key-file"}, "touches no disk"),
        ({"overlay": "flat"}, "overlay is one of"),
        ({"bootstrap": "seed.example.org:4000"}, "has no names"),
        ({"advertise": "0.0.0.0:1"}, "advertise: nobody can be reached"),
        ({"network_key": bytes([7]) * 32, "config": Config(encrypted=False)}, "keeps no secret"),
    ],
)
def test_what_cannot_be_is_refused(
    network: SimulatedNetwork, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(LocalError, match=sentence):
        network.run(partial(network.add_node, **options))


def test_a_parameter_that_open_node_does_not_have_is_refused(network: SimulatedNetwork) -> None:
    with pytest.raises(TypeError, match="no parameter 'colour'"):
        network.run(partial(network.add_node, colour="red"))


def test_an_identity_and_a_config_of_ones_own_are_taken(network: SimulatedNetwork) -> None:
    identity = Identity.generate(Random(7))
    node = network.run(partial(network.add_node, identity=identity, config=Config()))
    assert node.id == identity.id


def test_a_node_that_cannot_start_says_so_to_who_asked(network: SimulatedNetwork) -> None:
    async def start_twice() -> None:
        node = await network.add_node()
        network.crash(node)
        await network.add_node("10.0.0.1:4000")
        await network.restart(node)

    with pytest.raises(LocalError, match="another node"):
        network.run(start_twice)


def test_a_node_that_is_not_waited_for_any_more_is_ended(network: SimulatedNetwork) -> None:
    async def give_up() -> None:
        with trio.move_on_after(0.01):
            await network.add_node(bootstrap=["10.9.9.9:1"])

    network.run(give_up)
    network.run(trio.sleep, 60)
    assert network.nodes == ()


def test_an_identity_may_be_opened_again_and_means_the_node_that_is_named(
    network: SimulatedNetwork,
) -> None:
    identity = Identity.generate(Random(7))

    async def start_again() -> None:
        async with network.open_node(identity=identity) as first:
            pass
        async with network.open_node(identity=identity) as second:
            assert [network.is_up(node) for node in (first, second)] == [False, True]
            network.crash(network.recorded(second))
            assert not network.is_up(second)

    network.run(start_again)


@pytest.mark.parametrize("wrong", [0, "node 0", None])
def test_what_is_no_node_is_refused(network: SimulatedNetwork, wrong: Any) -> None:
    with pytest.raises(LocalError, match="a node is what"):
        network.crash(wrong)


def test_a_node_of_another_network_is_none_of_this(network: SimulatedNetwork) -> None:
    node = network.run(network.add_node)
    with pytest.raises(LocalError, match="is no node of this network"):
        SimulatedNetwork(2).crash(node)
    with pytest.raises(LocalError, match="no node number 1"):
        network.node(1)


def test_a_node_that_breaks_down_ends_the_call_with_its_error(network: SimulatedNetwork) -> None:
    node = network.run(network.add_node)
    broken = network._machine_of(node).port
    assert broken is not None
    assert broken.pump is not None
    broken.pump.crash(RuntimeError("a mistake of ours"))
    with pytest.raises(InternalError, match="please report it"):
        network.run(trio.sleep, 1)


def test_bytes_that_break_a_node_break_it_alone(network: SimulatedNetwork) -> None:
    first, second = network.run(network.add_nodes, 2)
    port = network._machine_of(second).port
    assert port is not None
    assert port.pump is not None
    port.pump.receive = fail  # type: ignore[method-assign,assignment]
    with pytest.raises(InternalError):
        network.run(trio.sleep, 100)
    assert [network.is_up(node) for node in (first, second)] == [True, False]


def fail(*_: object) -> None:
    raise RuntimeError("a mistake of ours")


# ---- faults ----


def test_a_crashed_node_says_nothing_more_and_its_callers_hear_of_it(
    network: SimulatedNetwork,
) -> None:
    first, second, third = network.run(network.add_nodes, 3)

    async def wait_for_ever() -> None:
        network.partition([second], [first, third])
        await second.get("key", quorum=2)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_closed)
            await trio.sleep(0.1)
            network.crash(second)

    async def expect_closed() -> None:
        with pytest.raises(NodeClosed):
            await wait_for_ever()

    network.run(main)
    assert network.nodes == (first, third)
    sent = network._wire.sent
    network.crash(first)
    assert network._wire.sent == sent
    with pytest.raises(LocalError, match="node 0 has crashed already"):
        network.crash(first)


def test_a_node_comes_back_as_who_it_was_without_its_records(network: SimulatedNetwork) -> None:
    first, second = network.run(network.add_nodes, 2)
    network.run(first.put, "key", b"value")
    with pytest.raises(LocalError, match="node 1 runs"):
        network.run(network.restart, second)
    network.crash(second)
    back = network.run(network.restart, second)
    assert (back.id, back.addresses, back.author) == (second.id, second.addresses, second.author)
    assert back is network.node(1)
    assert back.stats().records == 0
    assert network.run(back.get, "key") == b"value"
    network.crash(first)
    network.crash(back)
    again = network.run(network.restart, back)
    assert network.run(again.get, "key") is None or again.stats().contacts == 0


def test_a_restart_may_be_left_to_itself(network: SimulatedNetwork) -> None:
    first, second = network.run(network.add_nodes, 2)
    network.crash(second)
    network.run(restart_soon, network, second)
    assert network.run(network.node(1).get, "nothing") is None
    assert network.is_up(first)


def test_a_node_on_its_way_back_is_not_among_those_that_run(network: SimulatedNetwork) -> None:
    first, second = network.run(network.add_nodes, 2)
    network.crash(second)

    async def look() -> None:
        network.restart_soon(second)
        await trio.sleep(0.05)
        assert network.nodes == (first,)
        await trio.sleep(10)
        assert list(network.nodes) == [first, network.node(1)]
        assert network.node(1) is not second

    network.run(look)


async def restart_soon(network: SimulatedNetwork, node: object) -> None:
    network.restart_soon(node)  # type: ignore[arg-type]
    with pytest.raises(LocalError, match="runs"):
        network.restart_soon(node)  # type: ignore[arg-type]
    await trio.sleep(10)


def test_a_suspended_node_neither_hears_nor_speaks_and_goes_on_later(
    network: SimulatedNetwork,
) -> None:
    first, second = network.run(network.add_nodes, 2)
    network.suspend(second)
    with pytest.raises((NoPeers, QuorumNotReached)):
        network.run(partial(first.put, "key", b"value", quorum=2))
    network.run(trio.sleep, 100)
    network.wake(second)
    network.run(trio.sleep, 60)
    network.run(partial(first.put, "key", b"value", quorum=2))
    assert network.run(second.get, "key") == b"value"


def test_who_does_not_run_cannot_sleep_and_who_sleeps_sleeps_on(network: SimulatedNetwork) -> None:
    _, second = network.run(network.add_nodes, 2)
    network.crash(second)
    with pytest.raises(LocalError, match="node 1 does not run"):
        network.suspend(second)
    back = network.run(network.restart, second)
    clock = network._machine_of(back).clock
    network.suspend(back)
    asleep_at = clock.now()
    network.run(trio.sleep, 10)
    network.suspend(back)
    assert clock.now() == asleep_at


def test_a_partition_that_parts_nobody_is_refused(network: SimulatedNetwork) -> None:
    nodes = network.run(network.add_nodes, 3)
    with pytest.raises(LocalError, match="one group is cut off from nobody"):
        network.partition(nodes[:1])
    with pytest.raises(LocalError, match="node 0 is in two places"):
        network.partition(nodes[:1], nodes)
    with pytest.raises(LocalError, match="between groups"):
        network.partition(*nodes)  # type: ignore[arg-type]
    assert network._wire.links.perfect
    assert network.history.entries == []
    network.partition([], nodes[:1])
    assert network._wire.links.blocks(0, 1)
    assert str(network.history.entries[0]) == "--- partition: all others | node 0"


def test_nothing_settles_while_something_goes_wrong(network: SimulatedNetwork) -> None:
    network.run(network.add_nodes, 2)
    fault = Crash(at_s=100, node=1, back_after_s=1, keep_store=False)
    network.start_soon(network.play, [fault])
    begun = network.now
    network.run(network.settle)
    assert network.now == pytest.approx(begun + 2 * settle_s(QUICK_CONFIG))


def test_what_a_node_held_is_not_demanded_when_its_block_has_ended(
    network: SimulatedNetwork,
) -> None:
    async def leave() -> None:
        async with network.open_node() as node:
            await network.recorded(node).put("key", b"value")

    network.run(leave)
    reader = network.recorded(network.run(network.add_node))
    network.run(network.settle)
    assert network.run(reader.get, "key") is None
    assert check(network.history) == ()
    network.close()
    assert [str(each) for each in network.history.entries if "closed" in str(each)] == [
        "--- node 0 is closed"
    ]


def test_parts_of_a_network_do_not_hear_each_other_until_it_heals(
    network: SimulatedNetwork,
) -> None:
    nodes = network.run(network.add_nodes, 4)
    network.partition(nodes[:2], nodes[2:])
    network.run(nodes[0].put, "key", b"value")
    assert network.run(nodes[3].get, "key") is None
    network.run(network.settle)
    assert network.run(nodes[3].get, "key") == b"value"
    network.partition(nodes[:2], nodes[2:], one_way=True)
    network.partition()
    assert network._wire.links.perfect


def test_a_way_is_cut_and_mended_and_a_node_silenced(network: SimulatedNetwork) -> None:
    first, second = network.run(network.add_nodes, 2)
    network.cut(first, second)
    with pytest.raises((NoPeers, QuorumNotReached)):
        network.run(partial(first.put, "key", b"1", quorum=2))
    network.mend(first, second)
    network.silence(second)
    assert not network._wire.links.perfect
    network.silence(second, mute=False, deaf=False)
    assert network._wire.links.perfect


def test_links_lose_what_they_are_told_to_and_heal(network: SimulatedNetwork) -> None:
    nodes = network.run(network.add_nodes, 4)
    network.links = LinkModel(loss=0.2, duplicate=0.1, corrupt=0.05)
    network.run(nodes[0].put, "key", b"value")
    network.heal()
    assert network.links == LinkModel()
    lossy = SimulatedNetwork(1, links=LinkModel(loss=0.2))
    assert [str(mark) for mark in lossy.history.entries] == ["--- links: loss 20%"]


def test_a_wrong_clock_stamps_wrongly(network: SimulatedNetwork) -> None:
    first, second = network.run(network.add_nodes, 2)
    network.skew(second, 3600)
    network.run(trio.sleep, 10)
    one = network.run(first.put, "one", b"").version
    two = network.run(second.put, "two", b"").version
    assert 3_500_000 < two - one < 3_700_000
    assert not network.history.restamps


SCHEDULE: tuple[Fault, ...] = (
    Crash(at_s=1, node=0, back_after_s=5, keep_store=False),
    Crash(at_s=2, node=0, back_after_s=1, keep_store=False),
    Crash(at_s=3, node=3, back_after_s=None, keep_store=False),
    # It is down already: neither does it crash, nor come back, nor sleep.
    Crash(at_s=3.5, node=3, back_after_s=1, keep_store=False),
    Suspend(at_s=4, node=3, seconds=1),
    Suspend(at_s=2, node=1, seconds=3),
    Partition(at_s=3, nodes=(1, 7), one_way=False, seconds=4),
    Silence(at_s=4, node=2, mute=True, deaf=False, seconds=1),
    Cut(at_s=5, sender=1, receiver=2, seconds=2),
    Skew(at_s=6, node=2, seconds=5),
    # Nobody is there.
    Crash(at_s=1, node=9, back_after_s=1, keep_store=False),
    Cut(at_s=1, sender=0, receiver=9, seconds=1),
    Silence(at_s=1, node=9, mute=True, deaf=True, seconds=1),
)


def test_a_schedule_is_played_from_beginning_to_end(network: SimulatedNetwork) -> None:
    network.run(network.add_nodes, 4)
    begun = network.now
    network.run(network.play, SCHEDULE)
    assert network.now == pytest.approx(begun + 7)
    assert network._wire.links.perfect
    network.run(trio.sleep, 60)
    assert [network.is_up(network.node(number)) for number in range(4)] == [True] * 3 + [False]
    assert [str(entry) for entry in network.history.entries] == [
        "--- crash of node 0",
        "--- node 1 is suspended",
        "--- crash of node 3",
        "--- partition: node 0, node 2, node 3 | node 1",
        "--- silence of node 2",
        "--- cut from node 1 to node 2",
        "--- restart of node 0",
        "--- clock of node 2 +5 s",
    ]


# ---- diaries ----


def test_a_recorded_node_keeps_a_diary_and_is_a_node(network: SimulatedNetwork) -> None:
    first, second = network.run(network.add_nodes, 2)
    node, reader = network.recorded(first), network.recorded(second)
    author = Author.generate(Random(1))
    assert (node.id, node.uri) == (first.id, first.uri)
    assert "recorded node 0" in repr(node)

    async def work() -> None:
        await node.put("key", b"value", ttl=60.0)
        assert await reader.get("key") == b"value"
        await node.put("key", b"signed", author=author)
        assert await reader.get("key", author=author.id) == b"signed"
        await node.delete("key")
        assert await reader.get("key", default=b"none") == b"none"
        stored = await node.put_content(b"content")
        assert await reader.get_content(stored.key) == b"content"
        assert await reader.get_content(node.id, default=b"none") == b"none"
        outcomes = await node.put_many({"a": b"1", "b": b"2"})
        assert set(outcomes) == {"a", "b"}
        assert await reader.get_many(["a", "c"], default=b"") == {"a": b"1", "c": b""}

    network.run(work)
    told = [(str(each.verb), each.value, each.acknowledged) for each in network.history.operations]
    assert told == [
        ("put", b"value", True),
        ("get", b"value", True),
        ("put", b"signed", True),
        ("get", b"signed", True),
        ("delete", None, True),
        ("get", None, True),
        ("put", b"content", True),
        ("get", b"content", True),
        ("get", None, True),
        ("put", b"1", True),
        ("put", b"2", True),
        ("get", b"1", True),
        ("get", None, True),
    ]
    assert check(network.history) == ()


def test_a_diary_says_how_an_operation_failed_or_that_nobody_knows(
    network: SimulatedNetwork,
) -> None:
    first, _ = network.run(network.add_nodes, 2)
    node = network.recorded(first)
    network.run(trio.sleep, 30)

    async def give_up() -> None:
        with trio.move_on_after(0.001):
            await node.put("key", b"1")

    network.run(give_up)
    with pytest.raises(QuorumNotReached, match="owners"):
        network.run(partial(node.put_many, {"key": b"2"}, quorum=3, replicas=3))
    with pytest.raises(LocalError):
        network.run(partial(node.put_content, "no bytes"))  # type: ignore[arg-type]
    told = [(each.ended_at is None, each.error) for each in network.history.operations]
    assert told == [(True, ""), (False, "QuorumNotReached"), (False, "LocalError")]
    assert network.history.operations[1].version is not None


class Poor:
    """A node of a network in which every record has one copy."""

    async def fetch(self, key: str, **_: Any) -> GetOutcome:
        raise QuorumNotReached(f"1 owner holds {key}", f"outcome of {key}")


def test_many_that_miss_their_quorum_are_one_error_with_all_outcomes(
    network: SimulatedNetwork,
) -> None:
    node = RecordedNode(Poor(), History(), name="poor", overlay="structured")  # type: ignore[arg-type]
    with pytest.raises(QuorumNotReached, match="1 owner holds a") as caught:
        network.run(partial(node.get_many, ["a", "b"], quorum=2))
    assert caught.value.outcomes == {"a": "outcome of a", "b": "outcome of b"}


def test_a_recorded_node_refuses_one_text_for_many_keys(network: SimulatedNetwork) -> None:
    node = network.recorded(network.run(network.add_node))
    with pytest.raises(LocalError, match="for one there is get"):
        network.run(node.get_many, "here")


def test_a_diary_holds_each_operation_once(network: SimulatedNetwork) -> None:
    node = network.recorded(network.run(network.add_node))
    assert network.recorded(node) is node


@pytest.mark.parametrize(("key", "ttl"), [(5, 60.0), ("key", "60"), ("key", -1.0)])
def test_what_the_node_refuses_for_its_arguments_is_in_no_diary(
    network: SimulatedNetwork, key: Any, ttl: Any
) -> None:
    node = network.run(network.add_node)
    recorded = network.recorded(node)
    said = []
    for face in (node, recorded):
        with pytest.raises(LocalError) as caught:
            network.run(partial(face.put, key, b"value", ttl=ttl))
        said.append(str(caught.value))
    assert said[0] == said[1]
    network.run(recorded.put, "key", b"value")
    network.run(recorded.get, "key")
    assert check(network.history) == ()
    assert len(network.history.operations) == 2


def test_a_diary_knows_what_was_only_searched_for(network: SimulatedNetwork) -> None:
    both = network.run(partial(network.add_node, overlay="both"))
    alone = network.run(partial(network.add_node, overlay="unstructured"))
    network.run(trio.sleep, 30)
    asked: list[tuple[Node, dict[str, str]]] = [(both, {}), (both, {"via": "walk"}), (alone, {})]
    for node, options in asked:
        network.run(partial(network.recorded(node).get, "key", **options))
    assert [each.searched for each in network.history.operations] == [False, True, True]


# ---- topologies ----


def test_a_topology_is_built(network: SimulatedNetwork) -> None:
    topology = Topology(nodes=4, clients=1, links=LinkModel(loss=0.01))
    nodes = network.run(topology.build, network)
    network.run(trio.sleep, 10)
    assert [node.stats().serving for node in nodes] == [True, True, True, False]
    assert network.links == topology.links


@pytest.mark.parametrize("wrong", [{"nodes": 0}, {"clients": 1}, {"overlay": "flat"}])
def test_what_is_no_network_is_no_topology(wrong: dict[str, object]) -> None:
    with pytest.raises(LocalError, match="at least one node that serves"):
        Topology(**{"nodes": 1, **wrong})  # type: ignore[arg-type]


# ---- the same again ----

RUN = """
import trio
from dht.testing import LinkModel, SimulatedNetwork

async def work(network, node, number, log):
    for turn in range(3):
        await trio.sleep(1)
        log.append(number)
        try:
            await node.put(f"key {number}", b"%d" % turn)
        except Exception as error:
            log.append(type(error).__name__)

async def main(network):
    log = []
    async with trio.open_nursery() as nursery:
        for number, node in enumerate(await network.add_nodes(5)):
            nursery.start_soon(work, network, node, number, log)
        await trio.sleep(2)
        network.partition(network.nodes[:2], network.nodes[2:])
    return log

with SimulatedNetwork(int(SEED), links=LinkModel(loss=0.1, duplicate=0.1)) as network:
    print(network.run(main, network), network.trace_hash(), network.now)
"""


def trace(seed: int, hash_seed: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", RUN.replace("SEED", str(seed))],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_seed_repeats_a_run_in_another_process_with_other_hashes() -> None:
    one, again, other = trace(1, "1"), trace(1, "2"), trace(2, "1")
    assert one == again != other


def test_a_config_is_what_nodes_get_that_are_given_none() -> None:
    config = attrs.evolve(Config(encrypted=False), replicas=2)
    with SimulatedNetwork(1, config=config) as network:
        nodes = network.run(network.add_nodes, 5)
        outcome = network.run(nodes[0].put, "key", b"value")
    assert len(outcome.stored) + len(outcome.pending) == 2
