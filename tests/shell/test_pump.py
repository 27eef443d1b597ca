"""The pump moves inputs in and outputs out, and never loses, delays or repeats one.

Under the autojump clock: waiting is free."""

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any, cast

import pytest
import trio
import trio.testing

from dht.contacts import HostName
from dht.errors import InternalError, LocalError, NodeClosed, NoPeers, QuorumNotReached
from dht.shell.clock import JUMP_S
from dht.shell.pump import READERS_MAX, SLEEP_MAX_S, Pump
from tests.shell.fake_engine import SOURCE, Ended, FakeEngine, FakePort
from tests.shell.virtual import WALL_AT_START, VirtualClock, cancelled_at_step, run


class Bench:
    """A pump between a fake engine and a fake port."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.port = FakePort()
        self.clock = VirtualClock()
        self.pump = Pump(cast("Any", self.engine), cast("Any", self.port), self.clock)
        self.crashes = 0

    def note_crash(self) -> None:
        self.crashes += 1

    async def do(self, name: str, *, over: bool = False) -> str:
        ended: Any = await self.pump.operate(
            cast("Any", Ended), self.engine.start_thing, name, over=over
        )
        return str(ended.name)

    def starts(self, *names: str) -> list[Any]:
        return [partial(self.engine.start_thing, name=name) for name in names]

    def hear(self, text: str) -> None:
        self.pump.receive(text.encode(), SOURCE)

    def hear_after(self, seconds: float, text: str) -> None:
        assert self.pump._watch is not None
        self.pump._watch.call_after(seconds, self.pump, partial(self.hear, text))

    def check_settled(self) -> None:
        """Nobody is waited for who does not wait."""
        assert not self.pump._waiting
        assert not self.engine.under_way


@contextmanager
def pumping() -> Iterator[Bench]:
    bench = Bench()
    bench.pump.open(on_crash=bench.note_crash)
    try:
        yield bench
        bench.check_settled()
    finally:
        bench.pump.close()


# ---- an operation from start to end ----


def test_what_an_input_makes_the_engine_say_leaves_at_once() -> None:
    async def main() -> None:
        with pumping() as bench:
            bench.hear_after(1, "end a")
            start = trio.current_time()
            assert await bench.do("a") == "a"
            assert bench.port.sent == [b"a"]
            assert trio.current_time() - start == pytest.approx(1)

    run(main)


def test_an_operation_that_ends_as_it_starts_is_a_checkpoint_too() -> None:
    async def main() -> None:
        with pumping() as bench, trio.testing.assert_checkpoints():
            assert await bench.do("a", over=True) == "a"

    run(main)


def test_an_error_of_the_network_is_raised_where_it_was_asked() -> None:
    async def main() -> None:
        with pumping() as bench:
            bench.engine.errors["fail"] = NoPeers("nobody")
            bench.hear_after(1, "fail a")
            with pytest.raises(NoPeers, match="nobody"):
                await bench.do("a")
            with pytest.raises(LocalError, match="wrong"):
                await bench.do("wrong")
            assert not bench.pump.closed

    run(main)


def test_no_wakeup_is_lost_while_others_end() -> None:
    """Callers that start again the moment they are woken, amid the ends of others."""

    async def main() -> None:
        with pumping() as bench:

            async def caller(name: str) -> None:
                for number in range(20):
                    bench.hear_after(0.01, f"end {name}{number}")
                    with trio.fail_after(0.02):
                        await bench.do(f"{name}{number}")

            async with trio.open_nursery() as nursery:
                for name in "abcdefgh":
                    nursery.start_soon(caller, name)
            assert len(bench.port.sent) == 8 * 20

    run(main)


@pytest.mark.parametrize("asleep", [False, True])
@pytest.mark.parametrize("step", range(9))
def test_cancelled_at_any_step_it_leaks_nothing_and_swallows_nothing(
    step: int, *, asleep: bool
) -> None:
    async def main() -> None:
        with pumping() as bench:
            ended: list[str] = []

            async def operation() -> None:
                bench.hear_after(1, "end a")
                ended.append(await bench.do("a"))
                await trio.lowlevel.checkpoint()
                bench.hear_after(1, "end b")
                ended.append(await bench.do("b"))

            cancelled = await cancelled_at_step(operation, step, asleep=asleep)
            assert cancelled == (ended != ["a", "b"])
            assert len(bench.engine.cancelled) <= 1
            bench.check_settled()
            assert await bench.do("after", over=True) == "after"

    run(main)


def test_an_end_that_came_before_the_cancellation_is_not_lost() -> None:
    async def main() -> None:
        with pumping() as bench, trio.CancelScope() as scope:
            ended: list[str] = []

            async def caller() -> None:
                ended.append(await bench.do("a"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(caller)
                await trio.testing.wait_all_tasks_blocked()
                bench.hear("end a")
                scope.cancel()
            assert ended == ["a"]
            assert bench.engine.cancelled == []

    run(main)


def test_cancelled_before_it_began_it_asks_nothing() -> None:
    async def main() -> None:
        with pumping() as bench:
            with trio.CancelScope() as scope:
                scope.cancel()
                await bench.do("a")
            assert bench.port.sent == []

    run(main)


def test_control_c_stops_the_operation_and_arrives_as_it_is() -> None:
    async def main() -> None:
        with pumping() as bench:

            async def press() -> None:
                await trio.testing.wait_all_tasks_blocked()
                signal.raise_signal(signal.SIGINT)

            trio.lowlevel.spawn_system_task(press)
            try:
                await bench.do("a")
            finally:
                assert len(bench.engine.cancelled) == 1

    with pytest.raises(KeyboardInterrupt):
        run(main)


# ---- many operations ----


def test_of_many_operations_only_so_many_are_under_way() -> None:
    async def main() -> None:
        with pumping() as bench:
            names = [f"n{number}" for number in range(50)]
            for number, name in enumerate(names):
                bench.hear_after(1 + number % 7, f"end {name}")
            for _ in range(100):
                bench.hear_after(10, "end " + " ".join(names))
            for seconds in range(10, 60):
                bench.hear_after(seconds, "end " + " ".join(names))
            finished = await bench.pump.operate_each(bench.starts(*names), limit=16)
            assert [cast("Any", event.outcome).name for event in finished] == names
            assert bench.engine.most_under_way == 16

    run(main)


def test_nothing_of_nothing() -> None:
    async def main() -> None:
        with pumping() as bench:
            assert await bench.pump.operate_each([], limit=16) == []
        with pytest.raises(NodeClosed):
            await bench.pump.operate_each([], limit=16)

    run(main)


def test_of_many_errors_each_is_told_but_no_peers_ends_them_all() -> None:
    async def main() -> None:
        with pumping() as bench:
            bench.engine.errors["miss"] = QuorumNotReached("too few", None)
            bench.engine.errors["fail"] = NoPeers("nobody")
            bench.hear_after(1, "miss a")
            bench.hear_after(2, "end b")
            finished = await bench.pump.operate_each(bench.starts("a", "b"), limit=16)
            assert isinstance(finished[0].error, QuorumNotReached)
            assert finished[1].error is None

            bench.hear_after(1, "fail d")
            with pytest.raises(NoPeers):
                await bench.pump.operate_each(bench.starts("c", "d", "e"), limit=2)
            assert len(bench.engine.cancelled) == 1
            assert b"e" not in bench.port.sent

    run(main)


def test_a_mistake_among_many_cancels_those_under_way() -> None:
    async def main() -> None:
        with pumping() as bench:
            with pytest.raises(LocalError):
                await bench.pump.operate_each(bench.starts("a", "b", "wrong"), limit=16)
            assert len(bench.engine.cancelled) == 2

    run(main)


@pytest.mark.parametrize("asleep", [False, True])
@pytest.mark.parametrize("step", range(7))
def test_many_cancelled_at_any_step_leak_nothing(step: int, *, asleep: bool) -> None:
    async def main() -> None:
        with pumping() as bench:

            async def operation() -> None:
                for seconds, name in enumerate("abcd", 1):
                    bench.hear_after(seconds, f"end {name}")
                await bench.pump.operate_each(bench.starts(*"abcd"), limit=2)

            cancelled = await cancelled_at_step(operation, step, asleep=asleep)
            assert cancelled == bool(bench.engine.cancelled) or step <= 1
            bench.check_settled()

    run(main)


# ---- time ----


def test_it_wakes_when_the_engine_says_and_at_least_every_five_seconds() -> None:
    async def main() -> None:
        with pumping() as bench:
            start = trio.current_time()
            bench.engine.due = start + 1
            bench.hear("hello")
            await trio.sleep(21)
            waits = [round(now - start, 3) for now in bench.engine.times("handle_timeout")]
            assert waits[0] == 1
            assert all(
                late - early <= SLEEP_MAX_S + 0.001 for early, late in pairwise([0.0, *waits])
            )
            assert len(waits) < 12
            assert bench.engine.times("resumed") == []

    run(main)


def test_a_deadline_that_moves_nearer_is_kept_and_alarms_do_not_pile_up() -> None:
    async def main() -> None:
        with pumping() as bench:
            for _ in range(500):
                now = trio.current_time()
                for delay in (3.0, 2.0, 1.0, 0.5, 0.002):
                    bench.engine.due = now + delay
                    bench.hear("hello")
                await trio.sleep(0.004)
                assert pytest.approx(now + 0.002) in bench.engine.times("handle_timeout")[-3:]
            assert len(bench.pump._alarms) < 10
            assert bench.pump._watch is not None
            assert len(bench.pump._watch._timers) < 10

    run(main)


def test_a_jump_of_the_clock_is_told_once_and_a_short_one_is_none() -> None:
    async def main() -> None:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        with pumping() as bench:
            await trio.sleep(1)
            clock.jump(SLEEP_MAX_S + JUMP_S - 1.1)
            await trio.sleep(1)
            assert bench.engine.times("resumed") == []
            clock.jump(3600)
            await trio.sleep(1)
            bench.hear("hello")
            await trio.sleep(60)
            assert len(bench.engine.times("resumed")) == 1

    run(main)


def test_a_datagram_that_comes_first_after_a_jump_tells_it_too() -> None:
    async def main() -> None:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        with pumping() as bench:
            await trio.sleep(1)
            clock.jump(3600)
            bench.hear("hello")
            bench.hear("hello")
            assert [name for name, _ in bench.engine.calls[-3:]] == [
                "resumed",
                "receive_datagram",
                "receive_datagram",
            ]
            await trio.sleep(60)
            assert len(bench.engine.times("resumed")) == 1

    run(main)


def test_the_wall_clock_is_looked_at_again_and_again() -> None:
    async def main() -> None:
        with pumping() as bench:
            assert bench.engine.wall_offset == pytest.approx(WALL_AT_START)
            bench.clock.wall_offset_s += 86_400
            await trio.sleep(11)
            assert bench.engine.wall_offset == pytest.approx(WALL_AT_START + 86_400)

    run(main)


# ---- the end ----


def test_at_the_end_the_goodbye_leaves_and_whoever_waits_is_told() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            with pumping() as bench:

                async def caller(ask: Callable[[], Awaitable[object]]) -> None:
                    with pytest.raises(NodeClosed, match="closed"):
                        await ask()

                nursery.start_soon(caller, partial(bench.do, "a"))
                each = partial(bench.pump.operate_each, bench.starts("b", "c"), limit=2)
                nursery.start_soon(caller, each)
                await trio.testing.wait_all_tasks_blocked()
                bench.pump.close()
                bench.engine.under_way.clear()
        assert bench.port.sent[-1] == b"goodbye"
        assert bench.port.closed == 1
        assert bench.engine.cancelled == []
        bench.hear("too late")
        bench.pump.close()
        assert bench.engine.times("receive_datagram") == []
        assert len(bench.engine.times("start_leave")) == 1

    run(main)


@pytest.mark.parametrize("broken", ["receive_datagram", "handle_timeout", "set_wall_offset"])
def test_a_crash_in_the_watch_ends_the_node_and_whoever_waits(broken: str) -> None:
    async def main() -> None:
        with pumping() as bench:
            bench.engine.broken.add(broken)
            bench.hear_after(1, "hello")
            with pytest.raises(InternalError, match="report") as caught:
                await bench.do("a")
            assert isinstance(caught.value.__cause__, ZeroDivisionError)
            assert bench.crashes == 1
            assert bench.port.closed == 1
            bench.engine.under_way.clear()
            with pytest.raises(InternalError):
                await bench.do("b")

    run(main)


@pytest.mark.parametrize("broken", ["start_thing", "datagrams_to_send"])
def test_a_crash_in_the_task_of_a_caller_is_no_fault_of_its(broken: str) -> None:
    async def main() -> None:
        with pumping() as bench:
            bench.engine.broken.add(broken)
            with pytest.raises(InternalError):
                await bench.do("a")
            assert bench.crashes == 1
            bench.engine.under_way.clear()

    run(main)


def test_a_crash_while_cancelling_does_not_swallow_the_cancellation() -> None:
    async def main() -> None:
        with pumping() as bench:
            bench.engine.broken.add("cancel")
            with trio.move_on_after(1) as scope:
                await bench.do("a")
            assert scope.cancelled_caught
            assert bench.crashes == 1
            bench.engine.under_way.clear()

    run(main)


def test_a_crash_while_leaving_closes_all_the_same() -> None:
    async def main() -> None:
        with pumping() as bench:
            bench.engine.broken.add("start_leave")
        assert bench.port.closed == 1
        assert isinstance(bench.pump.crashed, ZeroDivisionError)
        with pytest.raises(InternalError):
            bench.pump.check_open()

    run(main)


# ---- readers ----


def test_a_reader_that_never_reads_costs_a_bounded_queue_and_no_time() -> None:
    async def main() -> None:
        with pumping() as bench:
            reader = bench.pump.subscribe()
            for number in range(3000):
                await bench.do(f"n{number}", over=True)
            assert len(reader._waiting) <= 1024
            assert bench.pump.events_lost == 3000 - 1024

    run(main)


def test_readers_are_bounded_and_those_dropped_do_not_count() -> None:
    async def main() -> None:
        with pumping() as bench:
            for _ in range(3 * READERS_MAX):
                bench.pump.subscribe()
            readers = [bench.pump.subscribe() for _ in range(READERS_MAX)]
            with pytest.raises(LocalError, match=f"{READERS_MAX} readers"):
                bench.pump.subscribe()
            async with readers[0]:
                pass
            readers[0] = bench.pump.subscribe()
        assert [event async for event in readers[0]] == []

    run(main)


# ---- names ----

SEED = HostName("seed.example", 4000)


def test_what_a_name_makes_the_engine_say_leaves_at_once() -> None:
    async def main() -> None:
        with pumping() as bench:
            bench.pump.resolved(SEED, [SOURCE])
            assert bench.port.sent == [b"seed.example:4000"]
        bench.pump.resolved(SEED, [SOURCE])
        assert len(bench.engine.times("resolved")) == 1

    run(main)


def test_a_mistake_of_ours_over_a_name_ends_the_node() -> None:
    async def main() -> None:
        with pumping() as bench:
            bench.engine.broken.add("resolved")
            bench.pump.resolved(SEED, [])
            assert bench.crashes == 1
            assert isinstance(bench.pump.crashed, ZeroDivisionError)

    run(main)
