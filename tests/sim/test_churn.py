import pytest

from dht.sim import Alternation, Churn, LinkModel, Simulator

FAST = LinkModel(rtt_median_s=0.02, rtt_mean_s=0.02)


def test_whoever_goes_is_replaced_and_half_go_within_the_median() -> None:
    simulator = Simulator(1, links=FAST)
    first = simulator.grow(30)
    churn = Churn(simulator, median_session_s=100.0, polite_share=0.5, spare=(first[0],))
    simulator.run_for(100)
    assert sum(node.alive for node in first) == pytest.approx(15, abs=6)
    assert len(simulator.living()) == 30
    assert len(simulator.nodes) == 30 + churn.gone
    simulator.run_for(250)
    assert sum(node.alive for node in first) <= 7
    assert first[0].alive
    assert simulator.put(first[0], "key", b"value").stored


@pytest.mark.parametrize("polite_share", [0.0, 1.0])
def test_nobody_is_introduced_by_who_goes_at_that_instant(polite_share: float) -> None:
    """One in eight would be, and be alone for good."""
    simulator = Simulator(1, links=FAST)
    simulator.grow(8)
    churn = Churn(simulator, median_session_s=100.0, polite_share=polite_share)
    simulator.run_for(300)
    churn.stop()
    simulator.run_for(30)
    assert churn.gone > 10
    assert [node.engine.stats().standing for node in simulator.living()] == ["joined"] * 8


def test_churn_ends_when_it_is_stopped() -> None:
    simulator = Simulator(1, links=FAST)
    simulator.grow(10)
    churn = Churn(simulator, median_session_s=10.0)
    simulator.run_for(20)
    churn.stop()
    gone = churn.gone
    assert gone > 0
    simulator.run_for(100)
    assert churn.gone == gone


def test_half_are_there_and_come_back_as_who_they_were() -> None:
    simulator = Simulator(1, links=FAST)
    simulator.grow(15)
    alternation = Alternation(simulator, mean_s=60.0, absent=15)
    simulator.run_for(300)
    assert len(simulator.nodes) == 30
    assert len(simulator.living()) == pytest.approx(15, abs=8)
    assert any(node.starts > 1 for node in simulator.nodes)
    alternation.stop()
    starts = [node.starts for node in simulator.nodes]
    simulator.run_for(120)
    assert [node.starts for node in simulator.nodes] == starts
