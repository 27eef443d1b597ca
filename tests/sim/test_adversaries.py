"""Attackers do what they are there for, and what the network does about it."""

from functools import cache
from random import Random

import pytest

from dht.config import Config
from dht.contacts import Contact
from dht.core.events import OperationFinished
from dht.core.outcomes import GetOutcome, LookupOutcome, PutOutcome
from dht.errors import DHTError
from dht.keyspace import Key, node_id, plain_key
from dht.records import Kind, Record
from dht.sim import LinkModel, SimNode, Simulator
from dht.sim.adversaries import Cabal, GroundKeys, Lie, Victim, scattered
from dht.sim.simulator import EPOCH_S

FAST = LinkModel(rtt_median_s=0.02, rtt_mean_s=0.02)
NODES = 150
DEAF = Config(density_alarm=1000.0)
#: Seeds. In a network as small as this many nodes know an owner beforehand, and notice nothing; the
#: full sizes are a row of ``proofs``.
SURROUNDED = (1, 8, 9)


#: Of networks with hundreds of nodes: `make test` runs these without coverage, which would take
#: twice as long and show nothing that smaller ones do not.
large = pytest.mark.slow


@cache
def ground(seed: int = 1, count: int = 4096) -> GroundKeys:
    return GroundKeys(Random(seed), count)


def grown(seed: int, *, nodes: int = NODES, config: Config = Config()) -> tuple[Simulator, Cabal]:
    simulator = Simulator(seed, links=FAST, config=config, addresses=scattered)
    simulator.grow(nodes)
    simulator.run_for(30)
    return simulator, Cabal.of(simulator, keys=16_384)


def neighbours(simulator: Simulator, key: Key, count: int = 40) -> list[SimNode]:
    return sorted(simulator.living(), key=lambda node: node.contact.id ^ key)[:count]


# ----------------------------------------------------------------------------------- ground keys


@pytest.mark.parametrize("target", [0, 1, 2**255, 2**256 - 1, 12345 << 200])
def test_ground_keys_are_found_by_their_place(target: int) -> None:
    random = Random(1)
    keys = ground()
    everybody = random.randbytes(32 * 4096)
    oracle = sorted(
        (everybody[at : at + 32] for at in range(0, len(everybody), 32)),
        key=lambda key: node_id(key) ^ target,
    )
    assert keys.nearest(target, 20) == oracle[:20]
    edge = node_id(oracle[33]) ^ target
    assert keys.within(target, edge) == oracle[:33]
    assert keys.within(target, 2**256) == oracle


# ---------------------------------------------------------------------------------------- liars


@pytest.mark.parametrize("lie", list(Lie))
def test_a_liar_says_that_it_is_there_and_lies_about_all_else(lie: Lie) -> None:
    simulator, cabal = grown(1, nodes=20)
    liar, asker = simulator.nodes[5], simulator.nodes[6]
    cabal.turn(liar, lie)
    outcome = simulator.lookup(asker, Key(liar.contact.id))
    assert liar.contact in outcome.closest  # it answers
    assert liar not in simulator.living()
    named = cabal.contacts(0, lie)
    honest = {node.contact for node in simulator.living()}
    assert not honest & set(named)


@large
def test_a_third_of_liars_does_not_keep_a_lookup_on_disjoint_paths_from_the_owners() -> None:
    simulator, cabal = grown(2)
    random = Random(2)
    lies = [Lie.COLLUDERS, Lie.DEAD, Lie.VICTIM, Lie.GROUND]
    for number, node in enumerate(random.sample(simulator.living(), NODES // 3)):
        cabal.turn(node, lies[number % len(lies)])
    found = 0
    for number in range(20):
        key = plain_key(f"key {number}")
        outcome = simulator.lookup(simulator.random_node(), key, disjoint=4)
        owner = neighbours(simulator, key, 1)[0]
        found += owner.contact in outcome.closest
    assert found >= 19


def test_a_victim_that_all_liars_name_hears_once_a_minute_of_each_node() -> None:
    simulator, cabal = grown(3, nodes=60)
    for node in simulator.nodes[10:30]:
        cabal.turn(node, Lie.VICTIM)
    for number in range(60):
        simulator.lookup(simulator.random_node(), plain_key(f"key {number}"))
        simulator.run_for(2)
    assert cabal.victim.heard
    assert cabal.victim.most_within(60.0) == 1


def test_a_victim_counts_the_most_of_any_minute() -> None:
    victim, here, there = Victim(), scattered(1), scattered(2)
    for at, source in [(0, here), (30, here), (61, here), (62, here), (63, there)]:
        victim.receive_datagram(float(at), b"", source)
    assert victim.most_within(60.0) == 3
    assert victim.most_within(0.5) == 1


# --------------------------------------------------------------------------------------- Sybils


def attempted(
    seed: int, *, sybils: int, config: Config
) -> tuple[PutOutcome | None, GetOutcome | None]:
    """A put and then a get of a key that is surrounded, by nodes that are not around it themselves:
    their own neighbourhoods look as ever to them. None for one that fails."""
    simulator, cabal = grown(seed, config=config)
    key = plain_key(f"key {seed}")
    cabal.surround(key, sybils, subnets=10, greet=neighbours(simulator, key))
    simulator.run_for(90)
    near = neighbours(simulator, key)
    far = [node for node in simulator.living() if node not in near]
    writer, reader = Random(seed).sample(far, 2)
    put: PutOutcome | None = None
    got: GetOutcome | None = None
    try:
        put = simulator.put(writer, key, b"value")
        simulator.run_for(5)
        got = simulator.get(reader, key)
    except DHTError:
        pass
    return put, got


@large
def test_a_key_that_is_surrounded_alarms_and_is_written_and_read_all_the_same() -> None:
    right = alarmed = 0
    for seed in SURROUNDED:
        put, got = attempted(seed, sybils=20, config=Config())
        right += got is not None and got.value == b"value"
        alarmed += (put is not None and put.alarmed) or (got is not None and got.alarmed)
    assert right == len(SURROUNDED)
    assert alarmed == len(SURROUNDED)


@large
def test_without_the_alarm_the_sybils_swallow_it() -> None:
    lost = 0
    for seed in SURROUNDED:
        _, got = attempted(seed, sybils=20, config=DEAF)
        lost += got is None or got.value != b"value"
    assert lost > 0


@large
@pytest.mark.parametrize("seed", SURROUNDED)
def test_a_young_node_next_to_a_surrounded_key_notices_it_too(seed: int) -> None:
    """All its neighbours are Sybils: it has to have looked elsewhere, within its first minute."""
    simulator, cabal = grown(seed)
    key = plain_key(f"key {seed}")
    nearest = neighbours(simulator, key, 1)[0]
    cabal.surround(key, 20, subnets=10, greet=neighbours(simulator, key))
    simulator.run_for(90)
    assert simulator.lookup(nearest, key).alarmed


@large
@pytest.mark.parametrize("seed", [5, 6])
def test_a_network_that_has_grown_is_not_taken_for_a_crowd(seed: int) -> None:
    """What its first nodes saw of it when it was a third as large, they have forgotten."""
    simulator, _ = grown(seed, nodes=60)
    old = simulator.living()
    simulator.run_for(15)
    simulator.grow(120)
    simulator.run_for(160)
    random = Random(1)
    lookups = [
        simulator.lookup(random.choice(old), Key(random.getrandbits(256))) for _ in range(60)
    ]
    assert sum(lookup.alarmed for lookup in lookups) <= 1


@large
def test_a_get_goes_as_far_as_a_put_that_noticed_nothing() -> None:
    """Whose writer knew of some Sybils and of no owner, and so took the next few for owners."""
    simulator, cabal = grown(8)
    key = plain_key("key 8")
    near = neighbours(simulator, key)
    copy = Record(
        kind=Kind.PLAIN,
        key=key,
        version=1,
        written_at_ms=int(EPOCH_S * 1000),
        ttl_ms=3_600_000,
        value=b"value",
    )
    cabal.surround(key, 20, subnets=10, greet=near)
    simulator.run_for(90)
    for node in near[8:11]:
        node.engine.storage.store(
            simulator.now,
            copy,
            remaining_ms=copy.ttl_ms,
            wall_s=None,
            source=b"writer",
            handover=False,
            if_version=None,
        )
    far = [node for node in simulator.living() if node not in near]
    gets = [simulator.get(reader, key) for reader in Random(8).sample(far, 10)]
    assert any(get.alarmed for get in gets)
    assert [get.value for get in gets] == [b"value"] * 10


def put_by_far(
    alarm: float, *, sybils: int
) -> tuple[PutOutcome, LookupOutcome, list[Contact], set[Contact]]:
    """A put of a key, surrounded or not, and then a lookup of it; the key's true owners, and all
    who hold it. The same until somebody alarms."""
    simulator, cabal = grown(2, config=Config(density_alarm=alarm))
    key = plain_key("key 2")
    near = neighbours(simulator, key)
    if sybils:
        cabal.surround(key, sybils, subnets=10, greet=near)
    simulator.run_for(90)
    writer = Random(2).choice([node for node in simulator.living() if node not in near])
    put = simulator.put(writer, key, b"value")
    holders = {node.contact for node, _ in simulator.holders(Kind.PLAIN, key)}
    lookup = simulator.lookup(writer, key)
    return put, lookup, [node.contact for node in near[:8]], holders


@large
def test_a_put_that_nearly_alarms_looks_its_key_up_and_then_goes_to_the_owners() -> None:
    deaf, lookup, owners, holders = put_by_far(1000.0, sybils=20)
    assert deaf.density is not None
    assert lookup.density is not None
    assert lookup.density > 1.2 * deaf.density > 1.2  # it sees more of them
    assert not set(owners) <= holders
    put, _, owners, holders = put_by_far(1.2 * deaf.density, sybils=20)
    assert put.alarmed
    assert put.density == pytest.approx(lookup.density, rel=0.3)
    assert set(owners) <= holders


@large
def test_a_put_that_nearly_alarms_for_nothing_costs_one_lookup_more() -> None:
    deaf, lookup, _, _ = put_by_far(1000.0, sybils=0)
    assert deaf.density is not None
    assert deaf.density > 0
    alarm = 1.2 * deaf.density
    assert lookup.density is not None
    assert lookup.density < alarm
    put, _, _, _ = put_by_far(alarm, sybils=0)
    assert not put.alarmed
    assert put.stored == deaf.stored
    assert put.trace.stopped == deaf.trace.stopped
    assert put.density == pytest.approx(lookup.density, rel=0.3)
    more = put.trace.messages - deaf.trace.messages
    assert more == pytest.approx(lookup.trace.messages, abs=2)


@large
def test_a_put_that_is_cancelled_while_the_region_is_asked_leaves_nothing_behind() -> None:
    """Whenever that is: the region's lookups, the stores, and what was offered end with it."""
    simulator, cabal = grown(1)
    key = plain_key("key 1")
    near = neighbours(simulator, key)
    cabal.surround(key, 20, subnets=10, greet=near)
    simulator.run_for(90)
    writer = next(node for node in simulator.living() if node not in near)
    engine, ended = writer.engine, list[OperationFinished]()
    widening = engine._running._widening
    for number in range(5):  # the whole takes about 0.1 s
        operation = simulator.start_operation(
            writer,
            lambda engine, now: engine.start_put(now, Kind.PLAIN, key, b"value"),
            ended.append,
        )
        assert simulator.run_while(lambda: not widening, timeout_s=10)
        simulator.run_for(0.02 * number)
        engine.cancel(simulator.now, operation)
        simulator.poll(writer)
        assert not widening
        simulator.run_for(10)
        assert not engine._responder.offers
    assert [(end.outcome, end.error) for end in ended] == [(None, None)] * 5


def test_a_key_that_nobody_attacks_costs_no_more_than_ever() -> None:
    simulator, _ = grown(5)
    simulator.put(simulator.random_node(), "key", b"value")
    outcome = simulator.get(simulator.random_node(), "key")
    assert not outcome.alarmed
    assert outcome.trace.messages <= 10


def test_sybils_that_retire_are_gone_and_named_no_more() -> None:
    simulator, cabal = grown(6, nodes=80)
    key = plain_key("key")
    sybils = cabal.surround(key, 12, greet=neighbours(simulator, key), at_the_edge=True)
    assert len(cabal.members) == 12
    nearest = min(node.contact.id ^ key for node in simulator.living())
    assert all(sybil.contact.id ^ key > nearest // 2 for sybil in cabal_nodes(cabal, sybils))
    cabal.retire(sybils)
    assert cabal.contacts(key, Lie.COLLUDERS) == []
    simulator.run_for(120)


def cabal_nodes(cabal: Cabal, sybils: list[SimNode]) -> list[SimNode]:
    return [node for node in sybils if node.address in {each.address for each in cabal.members}]
