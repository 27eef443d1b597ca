"""One run of one scenario: what it measures, and what it leaves alone; networks are tiny here."""

import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
import pytest

from dht.core.via import Flood
from dht.lab import experiment
from dht.lab.experiment import Load, Measured, measured_of, run
from dht.lab.ledger import Ledger
from dht.lab.scenario import Scenario, changed, read_scenario
from dht.records import Kind
from dht.sim import Simulator

ROOT = Path(__file__).parents[2]
ENGINE = ("kademlia", "flood", "walk", "index")
STATIC = ("tree", "ring", "hypercube", "xor")
TINY = {"nodes": "24", "records": "12", "reads": "30", "seeds": "1"}


@lru_cache
def measured(**settings: str) -> Measured:
    return run(changed(Scenario(), {**TINY, **settings}), 1, lambda _: None)


@pytest.mark.parametrize("overlay", ENGINE)
def test_in_a_network_without_faults_every_read_finds_what_was_written(overlay: str) -> None:
    found = measured(overlay=overlay)
    assert (found.reads, found.found, found.wrong, found.lost) == (30, 30, 0, 0)
    assert (found.written, found.success) == (12, 1.0)
    assert found.hops is not None
    assert found.latency_p50_s is not None
    assert found.latency_p95_s is not None
    assert found.latency_p99_s is not None
    assert 0 < found.hops < 5
    assert 0 < found.latency_p50_s <= found.latency_p95_s <= found.latency_p99_s < 3
    assert set(found.load) == {"records", "messages", "bytes"}
    # Eight copies of each record, and one more with its writer where he keeps it.
    assert 12 * 8 <= found.load["records"].mean * 24 <= 12 * 9


def test_a_flood_costs_more_than_walkers_and_they_more_than_a_lookup() -> None:
    costs = [
        measured(overlay=overlay).messages for overlay in ("kademlia", "index", "walk", "flood")
    ]
    assert None not in costs
    assert costs == sorted(costs)  # type: ignore[type-var]


def test_the_parts_by_rank_are_the_whole() -> None:
    found = measured(overlay="walk")
    assert [(each.first, each.last) for each in found.ranks] == [(1, 1), (2, 5), (6, 12)]
    assert sum(each.reads for each in found.ranks) == found.reads
    total = sum(each.reads * (each.messages or 0) for each in found.ranks)
    assert total == pytest.approx(found.reads * (found.messages or 0))


def test_a_run_hangs_on_its_seed_alone() -> None:
    scenario = changed(Scenario(), TINY)
    assert run(scenario, 1, lambda _: None) == measured(overlay="kademlia")
    assert run(scenario, 2, lambda _: None) != measured(overlay="kademlia")


def test_the_work_is_the_same_in_every_overlay() -> None:
    """Which records are read how often."""
    reads = [[each.reads for each in measured(overlay=overlay).ranks] for overlay in ENGINE]
    assert reads == [reads[0]] * len(ENGINE)


def test_the_work_is_the_same_under_churn_in_its_order_and_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the overlay does, and however many die before the first read."""
    begun: list[tuple[float, int]] = []

    def begin(self: experiment._Run, record: int) -> None:
        begun.append((self.simulator.now, record))

    monkeypatch.setattr(experiment._Run, "_begin_read", begin)
    work = []
    for overlay in ENGINE:
        settings = {"overlay": overlay, "session_min": "1", "soak_s": "20", "dead": "0.2"}
        run(changed(Scenario(), {**TINY, **settings}), 1, lambda _: None)
        first = begun[0][0]
        work.append([(round(when - first, 6), record) for when, record in begun])
        begun.clear()
    assert len(work[0]) == 30
    assert work == [work[0]] * len(ENGINE)


def test_progress_only_grows_and_ends_at_one() -> None:
    told: list[float] = []
    run(changed(Scenario(), {**TINY, "nodes": "8", "reads": "4"}), 1, told.append)
    assert told == sorted(told)
    assert told[-1] == 1
    assert len(told) > 20


def test_dead_nodes_and_a_cut_cost_reads_of_unrepaired_copies() -> None:
    """One copy of each record: half of them are gone, and the engine cannot know them."""
    found = measured(overlay="walk", copies="1", dead="0.5", cut_off="0.4")
    assert found.success is not None
    assert found.success < 0.95
    assert found.wrong == 0


def test_lost_datagrams_are_sent_again_and_counted() -> None:
    lossy = measured(overlay="kademlia", loss="0.3", jitter="0")
    assert lossy.success == 1
    assert (lossy.messages or 0) > (measured(overlay="kademlia").messages or 0)


def test_under_churn_reads_of_nodes_that_go_are_lost_and_count_neither_way() -> None:
    slow = {"rtt_median_ms": "2000", "rtt_mean_ms": "2100"}
    found = measured(session_min="0.3", soak_s="20", reads="60", polite="0.5", **slow)
    assert found.lost > 0
    assert found.success is not None
    assert found.success == found.found / (60 - found.lost)
    assert found.upkeep_bytes is not None
    assert found.upkeep_bytes > (measured(overlay="kademlia").upkeep_bytes or 0)


def test_reads_are_spread_over_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[float] = []
    started = Simulator.start_operation

    def noted(simulator: Simulator, *arguments: Any) -> Any:
        begun.append(simulator.now)
        return started(simulator, *arguments)

    monkeypatch.setattr(Simulator, "start_operation", noted)
    settings = {"session_min": "2", "soak_s": "0", "read_sessions": "1.5", "reads": "40"}
    run(changed(Scenario(), {**TINY, "nodes": "8", **settings}), 1, lambda _: None)
    reads = begun[12:]
    assert len(reads) == 40
    assert 0.8 * 180 < reads[-1] - reads[0] < 180


def test_nothing_found_has_no_hops_and_no_latency() -> None:
    """Everything is lost from the first write on."""
    found = measured(overlay="walk", loss="1", nodes="8", reads="3", records="2", copies="1")
    if found.found == 0:
        assert (found.hops, found.latency_p50_s, found.latency_p99_s) == (None, None, None)
    assert found.success == found.found / 3


def test_recursive_lookups_are_counted_at_all_nodes() -> None:
    found = measured(routing="recursive")
    assert found.success == 1
    assert 0 < (found.messages or 0) < 5


@pytest.mark.parametrize("overlay", STATIC)
def test_a_static_model_has_hops_and_success_and_nothing_else(overlay: str) -> None:
    found = measured(overlay=overlay, nodes="64")
    assert (found.success, found.wrong) == (1, 0)
    assert 1 <= (found.hops or 0) < 6
    assert (found.messages, found.bytes, found.latency_p50_s, found.load) == (None, None, None, {})
    assert run(changed(Scenario(), {**TINY, "overlay": overlay, "nodes": "64"}), 1, print) == found


def test_dead_nodes_stop_a_tree_before_a_ring() -> None:
    tree, ring = (
        measured(overlay=overlay, nodes="512", dead="0.4", reads="400")
        for overlay in ("tree", "ring")
    )
    assert (tree.success or 0) < (ring.success or 0) < 1


def test_where_nothing_arrives_there_are_no_hops() -> None:
    found = measured(overlay="tree", nodes="256", dead="0.95", reads="3", records="1")
    assert (found.success, found.hops) == (0, None)


def test_a_measurement_comes_back_from_plain_data() -> None:
    found = measured(overlay="index")
    assert measured_of(attrs.asdict(found)) == found


@pytest.mark.parametrize(("loads", "peak", "gini"), [([3, 3, 3], 1, 0), ([0, 0], 1, 0)])
def test_an_even_load_is_even(loads: list[float], peak: float, gini: float) -> None:
    load = Load.of(loads)
    assert (load.p99_over_mean, load.gini) == (peak, gini)


@pytest.mark.parametrize("hash_seed", ["0", "7"])
def test_the_order_of_hashes_is_in_no_measurement(hash_seed: str) -> None:
    code = (
        "import attrs, json; from dht.lab.experiment import run;"
        "from dht.lab.scenario import Scenario, changed;"
        f"found = run(changed(Scenario(), {TINY | {'overlay': 'index'}!r}), 1, lambda _: None);"
        "print(json.dumps(attrs.asdict(found)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    assert measured_of(json.loads(done.stdout)) == measured(overlay="index")


# ------------------------------------------------------------------------------------- the ledger


def test_what_a_ledger_counts_is_what_was_sent() -> None:
    """All bytes are either of a read or upkeep, and a network at rest has no reads."""
    simulator, ledger = Simulator(3, overlay="both"), Ledger()
    sent: list[int] = []
    nodes = simulator.grow(12)
    simulator.taps += [ledger.note, lambda _, datagrams: sent.extend(len(d) for d, _ in datagrams)]
    simulator.run_for(60)
    simulator.put(nodes[1], "a", b"1")
    assert not ledger.requests
    assert ledger.upkeep == sum(sent) > 0
    key = simulator.get(nodes[5], "a").key
    simulator.run_operation(
        nodes[6], lambda engine, now: engine.start_search(now, Kind.PLAIN, key, Flood())
    )
    simulator.run_for(30)
    assert ledger.upkeep + sum(ledger.sizes.values()) == sum(sent)
    assert sum(ledger.bytes_of.values()) == sum(ledger.sizes.values())


# ------------------------------------------------------------------------------ shipped scenarios


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples" / "scenarios").glob("*.toml")), ids=lambda path: path.stem
)
def test_a_shipped_scenario_runs(path: Path) -> None:
    small = changed(
        read_scenario(path.read_text()),
        {"nodes": "20", "reads": "20", "records": "10", "soak_s": "20", "read_sessions": "0"},
    )
    found = run(small, 1, lambda _: None)
    assert found.wrong == 0
    assert (found.success or 0) > 0.4
