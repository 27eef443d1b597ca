"""What is measured of running engines, against datagrams and traces made by hand."""

from random import Random

import pytest

from dht.config import Config
from dht.contacts import Contact, contact_at, pack_address
from dht.core.channel.plain import PlainChannel
from dht.core.events import OperationFinished, OperationId
from dht.core.outcomes import LookupOutcome, Step, StepResult, Trace
from dht.errors import NoPeers
from dht.keyspace import KEY_BITS, Key, key_bytes
from dht.lab.live import (
    Looked,
    Lookups,
    Meter,
    consistent,
    counted_as_paper,
    looked_of,
    nearest_of,
    run_counted,
)
from dht.lab.reproduce.li2005 import failed, hull
from dht.sim import Simulator
from dht.wire.codec import encode, pack_contacts
from dht.wire.messages import Find, Message, Nodes, Ping

CONTACTS = [contact_at(bytes([n]) * 32, pack_address(f"1.0.0.{n}", 4000)) for n in range(1, 5)]
FOUND = Looked(0.0, 0.1, 0.2, Key(7), right=True)


def datagram(message: Message) -> bytes:
    channel = PlainChannel(bytes(32))
    channel.ask(0.0, CONTACTS[0], bytes(8), encode(message))
    ((data, _),) = channel.datagrams_to_send()
    return data


def test_a_message_weighs_twenty_bytes_and_four_for_each_id() -> None:
    contacts4, contacts6 = pack_contacts(CONTACTS)
    nodes = Nodes(time_s=0, contacts4=contacts4, contacts6=contacts6, version=0)
    assert counted_as_paper(datagram(Ping(flags=0))) == 20
    assert counted_as_paper(datagram(Find(0, key_bytes(Key(1)), 20, 0))) == 24
    assert counted_as_paper(datagram(nodes)) == 20 + 4 * 4
    assert counted_as_paper(b"\xff who are you?") == 20


def step(contact: Contact, *, asked_at: float, rtt: float | None) -> Step:
    result = StepResult.SILENT if rtt is None else StepResult.ANSWERED
    return Step(contact=contact, told_by=None, depth=0, asked_at=asked_at, rtt=rtt, result=result)


def finished(*closest: Contact) -> OperationFinished:
    """The second contact answers after 0.7 s, the first one at last after 1.5 s."""
    steps = (
        step(CONTACTS[2], asked_at=0.0, rtt=None),
        step(CONTACTS[1], asked_at=0.0, rtt=0.7),
        step(CONTACTS[0], asked_at=0.7, rtt=0.8),
    )
    trace = Trace(
        target=Key(0), hops=1, messages=3, nodes=3, duplicates=0, elapsed=2.0, steps=steps,
        stopped="",
    )  # fmt: skip
    outcome = LookupOutcome(target=Key(0), closest=closest, trace=trace)
    return OperationFinished(OperationId(1), outcome, None)


def test_latency_ends_when_the_nearest_has_answered_and_not_with_the_lookup() -> None:
    looked = looked_of(10.0, 12.0, finished(CONTACTS[0], CONTACTS[1]), [CONTACTS[0].id])
    assert looked.latency_s == pytest.approx(1.5)
    assert looked.elapsed_s == 2.0
    assert looked.right
    assert not looked_of(10.0, 12.0, finished(CONTACTS[0]), [CONTACTS[1].id]).right


def test_who_is_nearest_itself_waits_for_nobody() -> None:
    assert looked_of(10.0, 12.0, finished(CONTACTS[3]), []).latency_s == 0


def test_a_lookup_that_nobody_answered_has_no_latency_and_failed() -> None:
    error = OperationFinished(OperationId(1), None, NoPeers("nobody"))
    looked = looked_of(10.0, 14.0, error, [Key(7)])
    assert looked.latency_s is None
    assert failed(looked)


@pytest.mark.parametrize(
    ("looked", "expected"),
    [
        (FOUND, False),
        (FOUND._replace(right=False), True),
        (FOUND._replace(latency_s=4.1), True),
        (FOUND._replace(elapsed_s=9.0), False),
    ],
)
def test_wrong_or_too_late_is_failed(looked: Looked, *, expected: bool) -> None:
    assert failed(looked) is expected


@pytest.mark.parametrize(
    ("named", "agree"),
    [([7] * 10, 10), ([7] * 9 + [8], 9), ([7] * 5 + [8] * 5, 0), ([7, 0, 0], 0), ([7, 7, 0], 2)],
)
def test_consistent_is_who_says_what_most_say(named: list[int], agree: int) -> None:
    """0 is a lookup without a result."""
    assert consistent([FOUND._replace(nearest=Key(each)) for each in named]) == agree


def test_a_hull_leaves_out_what_a_mixture_does_better() -> None:
    points = [(3.0, 1.0), (1.0, 9.0), (2.0, 8.0), (2.5, 2.0), (4.0, 5.0), (5.0, 0.9)]
    assert hull(points) == [(1.0, 9.0), (2.5, 2.0), (3.0, 1.0), (5.0, 0.9)]
    assert hull([(1.0, 1.0)]) == [(1.0, 1.0)]


def test_a_meter_counts_what_nodes_send_while_it_runs() -> None:
    simulator = Simulator(1, config=Config(probe_interval_s=5.0))
    simulator.grow(5)
    before = simulator.traffic()
    meter = Meter(simulator)
    shares: list[float] = []
    run_counted(simulator, 60.0, shares.append)
    meter.stop()
    sent = simulator.traffic().sent - before.sent
    assert meter.datagrams == sent > 0
    sizes = [
        each.mean
        for each in (
            meter.paper_bytes_per_node_s(),
            meter.bytes_per_node_s(),
            meter.bytes_per_node_s(heads=28),
        )
    ]
    assert 0 < sizes[0] < sizes[1] < sizes[2]
    assert sizes[2] - sizes[1] == pytest.approx(28 * sent / 300)
    assert meter.bytes_per_node_s().low < sizes[1]
    assert shares[-1] == 1
    simulator.run_for(60.0)
    assert meter.datagrams == sent


@pytest.mark.parametrize("seconds", [3.0, 15.0, 22.0, 30.0])
def test_a_meter_counts_the_seconds_that_it_runs_and_no_more(seconds: float) -> None:
    """Whether or not that is a multiple of how often it looks who lives."""
    simulator = Simulator(1)
    simulator.grow(5)
    meter = Meter(simulator)
    run_counted(simulator, seconds, lambda _: None)
    meter.stop()
    simulator.run_for(60.0)
    assert meter.node_s == pytest.approx(5 * seconds)


def test_lookups_in_a_network_that_stands_still_are_right_and_agree() -> None:
    simulator = Simulator(1)
    simulator.grow(20)
    lookups = Lookups(simulator, rate=0.1, together=5)
    simulator.run_for(20.0)
    lookups.stop()
    simulator.run_for(10.0)
    groups = lookups.ended()
    assert len(groups) == pytest.approx(8, abs=7)
    assert all(consistent(group) == len(group) == 5 for group in groups)
    assert all(looked.right for group in groups for looked in group)
    simulator.run_for(20.0)
    assert lookups.ended() == groups


def test_the_nearest_of_some_nodes() -> None:
    simulator = Simulator(1)
    nodes = simulator.grow(10)
    target = Key(Random(1).getrandbits(KEY_BITS))
    ids = sorted((node.contact.id for node in nodes), key=target.__xor__)
    assert nearest_of(nodes, target) == ids[:1]
    assert nearest_of([], target) == []
