"""The ready state machine runs, finds what is wrong, and can be extended."""

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from dht import Config, NoPeers
from dht.testing import HistoryViolated, LinkModel, NetworkMachine
from dht.testing.history import Operation, Verb
from dht.testing.running import CALL_MAX_S

QUICK = settings(
    max_examples=3,
    stateful_step_count=12,
    deadline=None,
    phases=[Phase.generate],
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def run(machine: type[NetworkMachine], options: settings = QUICK) -> None:
    run_state_machine_as_test(machine, settings=options)


def test_nothing_forbidden_happens_whatever_is_done_to_a_network() -> None:
    finished: list[int] = []

    class Verified(NetworkMachine):
        def verify(self) -> None:
            finished.append(len(self.network.history.operations))

    run(Verified)
    assert sum(finished) > 0


def test_a_machine_is_extended_by_a_subclass() -> None:
    seen: list[int] = []

    class Extended(NetworkMachine):
        nodes = 2

        def begin(self) -> None:
            self.run(self.network.node(0).put, "mine", b"here")

        @rule()
        def look(self) -> None:
            node = self.network.nodes[0]
            seen.append(len(self.network.nodes))
            with suppress(NoPeers):  # the other one may be dead, or out of reach
                assert self.run(node.get, "mine") in {b"here", None}

        @invariant()
        def small(self) -> None:
            assert self.network.count == 2

    # Hypothesis leaves some of the rules out of an example, this one out of about every second.
    run(Extended, settings(QUICK, max_examples=20))
    assert seen


def test_a_machine_settles_as_long_as_its_config_takes() -> None:
    """With the default's upkeep once an hour that is longer than a call may take."""
    finished: list[float] = []

    class Slow(NetworkMachine):
        nodes = 1
        config = Config(encrypted=False)

        def verify(self) -> None:
            finished.append(self.network.now)

    run(Slow, settings(QUICK, max_examples=1))
    assert min(finished) > CALL_MAX_S


def test_what_is_forbidden_is_found_and_the_network_is_closed() -> None:
    networks = []

    class Forged(NetworkMachine):
        @rule()
        def forge(self) -> None:
            networks.append(self.network)
            now = self.network.now
            read = Operation(node="n", verb=Verb.GET, key="a", value=b"x", began_at=now)
            self.network.history.end(self.network.history.begin(read), now, value=b"x", version=1)

    with pytest.raises(HistoryViolated, match="nobody ever wrote"):
        run(Forged)
    assert networks
    assert all(network.nodes == () for network in networks)


def test_what_the_end_of_a_run_reads_is_checked_too() -> None:
    class Forged(NetworkMachine):
        nodes = 1

        def verify(self) -> None:
            now = self.network.now
            read = Operation(node="n", verb=Verb.GET, key="a", began_at=now)
            self.network.history.end(self.network.history.begin(read), now, value=b"x", version=1)

    with pytest.raises(HistoryViolated, match="nobody ever wrote"):
        run(Forged)


def test_loss_comes_on_top_of_the_links_that_a_machine_has() -> None:
    class Jittery(NetworkMachine):
        nodes = 1
        links = LinkModel(jitter=0.5, reorder_delay_s=3.0)

    machine = Jittery()
    machine.open_network(seed=1)
    machine.lose(percent=20)
    assert machine.network.links == LinkModel(jitter=0.5, reorder_delay_s=3.0, loss=0.2)
    machine.teardown()


def test_a_failed_rule_is_not_hidden_by_what_it_left_behind() -> None:
    class Failing(NetworkMachine):
        failed = False

        @rule()
        def fail(self) -> None:
            self.failed = True
            raise ZeroDivisionError

        def verify(self) -> None:
            assert not self.failed

    with pytest.raises(ZeroDivisionError):
        run(Failing)


def test_every_rule_does_what_it_says() -> None:
    machine = NetworkMachine()
    machine.teardown()
    machine.open_network(seed=1)
    machine.put(node=0, key=0)
    machine.get(node=1, key=0)
    machine.crash(node=1)
    assert len(machine.network.nodes) == 4
    machine.restart(node=0)
    assert len(machine.network.nodes) == 5
    machine.partition(far=3, one_way=False)
    machine.lose(percent=20)
    assert machine.network.links.loss == 0.2
    machine.put(node=0, key=1)
    machine.delete(node=4, key=0)
    machine.crash(node=2)
    machine.wait(seconds=30)
    machine.heal()
    assert machine.network.links.gentle
    machine.teardown()
    assert machine.network.nodes == ()
