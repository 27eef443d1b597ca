"""How a plain function drives a trio run: what passes, what stands still, how it ends."""

import gc
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from random import Random

import pytest
import trio
import trio.testing

from dht.errors import LocalError
from dht.testing import SimulatedNetwork
from dht.testing.running import Dice

# Every clock here is one with autojump: the network's own.


@pytest.fixture
def network() -> Iterator[SimulatedNetwork]:
    with SimulatedNetwork(1) as network:
        yield network


async def nothing() -> None:
    pass


async def fails(error: BaseException) -> None:
    raise error


def can_run_trio() -> bool:
    """Is no run left dangling in this thread?"""
    trio.run(nothing)
    return True


def test_a_call_returns_what_the_function_returns(network: SimulatedNetwork) -> None:
    async def add(one: int, other: int, *, factor: int = 1) -> int:
        await trio.lowlevel.checkpoint()
        return (one + other) * factor

    assert network.run(add, 1, 2) == 3
    assert network.run(partial(add, 1, factor=5), 2) == 15


def test_a_call_raises_what_the_function_raises_as_it_was(network: SimulatedNetwork) -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        network.run(fails, error)
    assert caught.value is error
    assert network.run(trio.sleep, 1) is None


def test_an_hour_passes_in_no_time_and_only_while_a_call_is_under_way(
    network: SimulatedNetwork,
) -> None:
    begun = network.now
    network.run(trio.sleep, 3599)
    assert network.now == begun + 3599


def test_a_task_lives_on_between_calls_and_stands_still_meanwhile(
    network: SimulatedNetwork,
) -> None:
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            await trio.sleep(1)
            ticks.append(trio.current_time())

    network.start_soon(tick)
    assert ticks == []
    network.run(trio.sleep, 3.5)
    assert ticks == [1.0, 2.0, 3.0]
    network.run(trio.sleep, 1)
    assert ticks == [1.0, 2.0, 3.0, 4.0]


def test_what_waits_for_ever_times_out_in_virtual_time(network: SimulatedNetwork) -> None:
    with pytest.raises(TimeoutError, match=r"sleep_forever has not ended after 60 s of virtual"):
        network.run(trio.sleep_forever, timeout_s=60)
    assert network.now == 60
    assert network.run(trio.sleep, 1) is None


def test_a_call_that_times_out_is_named_whatever_is_bound_to_it(network: SimulatedNetwork) -> None:
    with pytest.raises(TimeoutError, match=r"^sleep_until has not ended"):
        network.run(partial(partial(trio.sleep_until, 1e9)))


def test_what_is_no_async_function_is_refused_with_a_word_on_how(
    network: SimulatedNetwork,
) -> None:
    for wrong in (nothing(), 3):
        with pytest.raises(TypeError, match="without the parentheses"):
            network.run(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="without the parentheses"):
        network.start_soon(nothing())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="lambda> is no async function: it returned 3"):
        network.run(lambda: 3)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match=r"open_node is no async function.*async with"):
        network.run(network.open_node)  # type: ignore[arg-type]
    network.start_soon(lambda: 3)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match="returned 3"):
        network.run(trio.sleep, 1)


def test_what_a_task_raised_ends_the_call_under_way(network: SimulatedNetwork) -> None:
    async def fail_later() -> None:
        await trio.sleep(5)
        raise KeyError("later")

    network.start_soon(fail_later)
    with pytest.raises(KeyError, match="later"):
        network.run(trio.sleep, 100)
    assert network.now == 5


def test_what_a_task_raised_and_no_call_heard_of_is_raised_at_the_end() -> None:
    async def fail_at_once() -> None:
        raise KeyError("unheard")

    network = SimulatedNetwork(1)
    network.run(trio.sleep, 1)
    network.start_soon(fail_at_once)
    with pytest.raises(KeyError, match="unheard"):
        network.close()
    assert can_run_trio()


def test_of_several_failures_none_is_lost() -> None:
    async def fail_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise IndexError("call")

    network = SimulatedNetwork(1)
    network.start_soon(fails, KeyError("task"))
    with pytest.raises(KeyError, match="task") as caught:
        network.run(fail_at_the_end)
    assert caught.value.__notes__ == ["beside it IndexError('call') was raised"]
    errors = [KeyError(number) for number in range(3)]
    for error in errors:
        network.start_soon(fails, error)
    with pytest.raises(KeyError) as caught:
        network.close()
    assert len(caught.value.__notes__) == 2


def test_a_block_that_fails_leaves_no_run_behind() -> None:
    with pytest.raises(ZeroDivisionError), SimulatedNetwork(1) as network:  # noqa: PT012
        network.start_soon(trio.sleep_forever)
        network.run(network.add_node)
        raise ZeroDivisionError
    assert can_run_trio()


def test_a_task_that_fails_while_it_is_ended_is_a_note_on_the_error_of_the_block() -> None:
    async def stubborn() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("stubborn")

    with (  # noqa: PT012 - the block is what fails
        pytest.raises(ZeroDivisionError) as caught,
        SimulatedNetwork(1) as network,
    ):
        network.start_soon(stubborn)
        network.run(trio.sleep, 1)
        raise ZeroDivisionError
    assert "stubborn" in str(caught.value.__notes__)
    with (  # noqa: PT012 - its end is what fails
        pytest.raises(KeyError, match="stubborn"),
        SimulatedNetwork(1) as network,
    ):
        network.start_soon(stubborn)
        network.run(trio.sleep, 1)
    assert can_run_trio()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_an_exit_passes_through_and_leaves_no_run_behind(error: BaseException) -> None:
    with pytest.raises(type(error)), SimulatedNetwork(1) as network:
        network.run(fails, error)
    assert can_run_trio()


def test_a_run_that_broke_down_says_so_and_can_be_closed() -> None:
    async def break_down() -> None:
        trio.lowlevel.spawn_system_task(fails, RuntimeError("within"))
        await trio.sleep(1)

    with SimulatedNetwork(1) as network:
        with pytest.raises(trio.TrioInternalError):
            network.run(break_down)
        with pytest.raises(LocalError, match="closed"):
            network.run(nothing)
    assert can_run_trio()


def test_a_step_that_is_broken_off_is_taken_again_so_that_the_run_can_be_closed() -> None:
    """As when a signal of pytest-timeout raises between two steps."""
    times: list[float] = []

    def strike_once() -> None:
        times.append(0.0)
        if len(times) == 1:
            raise ZeroDivisionError

    with SimulatedNetwork(1) as network:
        network.run(network.add_nodes, 2)
        network._driver()._steps.put(strike_once)
        with pytest.raises(ZeroDivisionError):
            network.run(trio.sleep, 100)
        network.run(trio.sleep, 100)
    assert len(times) == 2
    assert can_run_trio()


def test_nothing_can_be_called_in_a_network_that_is_closed() -> None:
    with SimulatedNetwork(1) as network:
        pass
    network.close()
    with pytest.raises(LocalError, match="is closed"):
        network.run(nothing)
    with pytest.raises(LocalError, match="is closed"):
        network.start_soon(nothing)
    with pytest.raises(LocalError, match="is closed"):
        _ = network.now


def test_a_call_inside_of_a_call_is_told_to_await(network: SimulatedNetwork) -> None:
    async def call() -> None:
        network.run(nothing)

    with pytest.raises(LocalError, match="there you await"):
        network.run(call)


def test_a_second_network_in_one_thread_is_refused_and_in_another_it_is_not(
    network: SimulatedNetwork,
) -> None:
    with pytest.raises(LocalError, match="under way in this thread"), SimulatedNetwork(2):
        pass
    times: list[float] = []

    def elsewhere() -> None:
        with SimulatedNetwork(2) as other:
            other.run(trio.sleep, 7)
            times.append(other.now)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert times == [7.0]


def test_a_network_that_nobody_used_has_no_run() -> None:
    network = SimulatedNetwork(1)
    assert network.now == 0.0
    assert can_run_trio()
    network.close()


def test_a_thread_of_the_program_is_waited_for(network: SimulatedNetwork) -> None:
    in_thread = partial(trio.to_thread.run_sync, lambda: 3)
    assert network.run(in_thread, timeout_s=1e9) == 3


# ---- inside of a trio run ----


def run(main: "partial[object] | object", clock: trio.abc.Clock | None = None) -> None:
    trio.run(main, clock=clock or trio.testing.MockClock(autojump_threshold=0))  # type: ignore[arg-type]


def test_inside_of_a_trio_run_everything_is_awaited() -> None:
    async def main() -> None:
        async with SimulatedNetwork(1) as network:
            first, second = await network.add_nodes(2)
            await first.put("key", b"value")
            assert await second.get("key") == b"value"
            assert network.now == trio.current_time() > 0
            with pytest.raises(LocalError, match="you await"):
                network.run(nothing)
        assert network.nodes == ()

    run(main)
    assert can_run_trio()


def test_a_network_lives_in_virtual_time_only_and_once() -> None:
    async def enter(network: SimulatedNetwork) -> None:
        async with network:
            pass

    with pytest.raises(LocalError, match="virtual time"):
        trio.run(enter, SimulatedNetwork(1))
    with SimulatedNetwork(1) as network, pytest.raises(LocalError, match="in use already"):
        network.run(enter, network)


def test_what_the_block_raises_arrives_as_it_was_and_the_nodes_are_ended() -> None:
    network = SimulatedNetwork(1)

    async def main() -> None:
        async with network:
            await network.add_node()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)
    assert network.nodes == ()


# ---- the order of tasks ----


async def order_of_tasks() -> list[int]:
    order: list[int] = []

    async def arrive(number: int) -> None:
        await trio.sleep(1)
        order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(arrive, number)
    return order


def test_the_seed_decides_the_order_of_tasks_that_are_ready_together() -> None:
    orders: list[list[int]] = []
    for seed in (1, 1, 2):
        with SimulatedNetwork(seed) as network:
            orders.append(network.run(order_of_tasks) + network.run(order_of_tasks))
    assert orders[0] == orders[1] != orders[2]


def test_trio_gets_its_dice_back() -> None:
    scheduler = trio.lowlevel.current_task.__globals__
    before = scheduler["_r"].getstate(), scheduler["_ALLOW_DETERMINISTIC_SCHEDULING"]
    with SimulatedNetwork(1) as network:
        network.run(order_of_tasks)
    assert before == (
        scheduler["_r"].getstate(),
        scheduler["_ALLOW_DETERMINISTIC_SCHEDULING"],
    )


def test_a_trio_without_these_dice_is_warned_of_and_still_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(trio.lowlevel.current_task.__globals__, "_ALLOW_DETERMINISTIC_SCHEDULING")
    ran = False
    with pytest.warns(RuntimeWarning, match="may differ"), Dice(Random(1)).rolled():
        ran = True
    assert ran


def test_a_network_that_is_forgotten_open_is_named_by_trio() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network: SimulatedNetwork | None = SimulatedNetwork(1)
        assert network is not None
        network.__enter__()
        network.close()
        network = None
        gc.collect()
    assert caught == []
