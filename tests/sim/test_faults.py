import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dht.errors import LocalError
from dht.sim import Simulator
from dht.sim.faults import (
    CORRUPT_MAX,
    DUPLICATE_MAX,
    LOSS_MAX,
    Crash,
    Cut,
    Fault,
    Partition,
    Scenario,
    Silence,
    Skew,
    Suspend,
    draw_scenario,
    heal,
    schedule_faults,
)
from dht.sim.links import LinkModel

# ------------------------------------------------------------------------------------- drawing


@given(st.integers(), st.integers(2, 100))
def test_a_seed_always_draws_the_same_scenario(seed: int, nodes: int) -> None:
    scenario = draw_scenario(seed, nodes=nodes)
    assert scenario == draw_scenario(seed, nodes=nodes)
    assert scenario.nodes == nodes


@given(st.integers(), st.integers(2, 100), st.floats(1, 10_000))
def test_what_is_drawn_stays_within_its_bounds(seed: int, nodes: int, duration_s: float) -> None:
    scenario = draw_scenario(seed, nodes=nodes, duration_s=duration_s)
    assert scenario.links.loss <= LOSS_MAX
    assert scenario.links.duplicate <= DUPLICATE_MAX
    assert scenario.links.corrupt <= CORRUPT_MAX
    for fault in scenario.faults:
        assert 0 <= fault.at_s <= duration_s
        if isinstance(fault, Suspend | Partition | Silence | Cut):
            assert fault.at_s + fault.seconds <= duration_s * 1.000001
        if isinstance(fault, Partition):
            assert 0 < len(fault.nodes) < nodes
    assert [fault.at_s for fault in scenario.faults] == sorted(f.at_s for f in scenario.faults)


def test_every_kind_of_fault_is_drawn_by_some_seeds_and_not_by_others() -> None:
    """Swarm testing: a fault that is always there hides what happens without it."""
    drawn = [draw_scenario(seed) for seed in range(200)]
    for kind in (Crash, Suspend, Partition, Silence, Cut, Skew):
        share = sum(any(isinstance(f, kind) for f in s.faults) for s in drawn) / len(drawn)
        assert 0.3 < share < 0.7, kind
    for rate in ("loss", "duplicate", "reorder", "corrupt"):
        share = sum(getattr(scenario.links, rate) > 0 for scenario in drawn) / len(drawn)
        assert 0.3 < share < 0.7, rate
    assert 2 < sum(scenario.calm for scenario in drawn) < 40


def test_a_scenario_can_be_read() -> None:
    text = str(attrs.evolve(draw_scenario(3), faults=(Suspend(at_s=1.5, node=7, seconds=20.0),)))
    assert text.startswith("seed 3: 64 nodes, 120 s")
    assert "Suspend(at_s=1.5, node=7, seconds=20.0)" in text


@pytest.mark.parametrize(
    "wrong", [{"nodes": 1}, {"duration_s": 0.0}, {"duration_s": -1.0}, {"operations": -1}]
)
def test_a_scenario_that_cannot_be_is_a_mistake(wrong: dict[str, int]) -> None:
    with pytest.raises(LocalError):
        draw_scenario(1, **wrong)


# --------------------------------------------------------------------------------------- doing


def scenario_of(*faults: Fault, links: LinkModel | None = None) -> Scenario:
    calm = attrs.evolve(draw_scenario(1, nodes=4), links=links or LinkModel())
    return attrs.evolve(calm, faults=faults)


def begun(*faults: Fault, links: LinkModel | None = None) -> Simulator:
    simulator = Simulator(1)
    simulator.grow(4)
    schedule_faults(simulator, scenario_of(*faults, links=links))
    return simulator


def test_a_crash_ends_with_a_restart_that_has_the_disk_or_not() -> None:
    simulator = begun(
        Crash(at_s=1, node=1, back_after_s=5, keep_store=True),
        Crash(at_s=1, node=2, back_after_s=5, keep_store=False),
        Crash(at_s=1, node=3, back_after_s=None, keep_store=False),
    )
    start = simulator.now
    simulator.run_for(2)
    assert [node.alive for node in simulator.nodes] == [True, False, False, False]
    simulator.run_for(5)
    assert [node.alive for node in simulator.nodes] == [True, True, True, False]
    assert simulator.nodes[1].store_since < start < simulator.nodes[2].store_since


def test_the_last_node_alive_does_not_crash() -> None:
    simulator = begun(
        *(Crash(at_s=1, node=node, back_after_s=None, keep_store=False) for node in range(4))
    )
    simulator.run_for(2)
    assert len(simulator.living()) == 1


def test_a_partition_a_silence_and_a_cut_begin_and_end() -> None:
    simulator = begun(
        Partition(at_s=1, seconds=2, nodes=(2, 3), one_way=True),
        Silence(at_s=4, seconds=2, node=1, mute=True, deaf=False),
        Cut(at_s=7, seconds=2, sender=0, receiver=3),
    )
    links = simulator.links
    simulator.run_for(2)
    assert (links.blocks(2, 0), links.blocks(0, 2)) == (True, False)
    simulator.run_for(3)
    assert (links.blocks(2, 0), links.blocks(1, 0), links.blocks(0, 1)) == (False, True, False)
    simulator.run_for(3)
    assert (links.blocks(1, 0), links.blocks(0, 3), links.blocks(3, 0)) == (False, True, False)
    simulator.run_for(2)
    assert links.perfect


def test_a_suspended_node_wakes_and_a_wrong_clock_stays() -> None:
    simulator = begun(Suspend(at_s=1, node=1, seconds=5), Skew(at_s=1, node=2, seconds=-3600.0))
    simulator.run_for(2)
    assert simulator.nodes[1].asleep
    simulator.run_for(5)
    assert not simulator.nodes[1].asleep
    heal(simulator, scenario_of())
    assert simulator.nodes[2].skew_s == -3600.0


def test_healing_brings_back_all_but_those_who_are_gone_for_good() -> None:
    faults = (
        Crash(at_s=1, node=1, back_after_s=100, keep_store=True),
        Crash(at_s=1, node=3, back_after_s=None, keep_store=False),
        Cut(at_s=1, seconds=100, sender=0, receiver=2),
    )
    simulator = begun(*faults, links=LinkModel(loss=0.2))
    simulator.run_for(2)
    heal(simulator, scenario_of(*faults))
    assert [node.alive for node in simulator.nodes] == [True, True, True, False]
    assert simulator.links.perfect
    simulator.run_for(200)
    assert simulator.nodes[1].starts == 2, "the restart that was scheduled finds it running"


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_any_drawn_schedule_can_be_done_to_a_network(seed: int) -> None:
    scenario = draw_scenario(seed, nodes=5, duration_s=30.0)
    simulator = Simulator(seed)
    simulator.grow(5)
    schedule_faults(simulator, scenario)
    simulator.run_for(30)
    heal(simulator, scenario)
    assert simulator.links.perfect
    assert simulator.living()
