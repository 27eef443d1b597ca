"""One task waits for all nodes of a run: fairly, in order, and gone when the last has left.

Under the autojump clock wherever time passes."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from dht.shell import watch as watch_module
from dht.shell.watch import READ_MAX, SelectorPoll, Watch, join_watch
from tests.shell.virtual import run


@pytest.fixture(params=["native", "selectors"])
def any_poll(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "selectors":
        monkeypatch.setattr(watch_module, "_open_poll", SelectorPoll)


class User:
    """Notes what went wrong in its callbacks."""

    def __init__(self) -> None:
        self.crashes: list[Exception] = []

    def crash(self, error: Exception) -> None:
        self.crashes.append(error)


@contextmanager
def watching() -> Iterator[Watch]:
    watch = join_watch()
    try:
        yield watch
    finally:
        watch.leave()


@contextmanager
def socket_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair(type=socket.SOCK_DGRAM)
    with left, right:
        left.setblocking(False)
        yield left, right


def open_files() -> int:
    """As many as Linux knows of; elsewhere always none."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


@pytest.mark.usefixtures("any_poll")
def test_a_readable_socket_is_read_until_it_is_empty() -> None:
    async def main() -> None:
        with watching() as watch, socket_pair() as (here, there):
            read: list[bytes] = []
            watch.add_reader(here.fileno(), User(), lambda: read.append(here.recv(10)))
            for number in range(3):
                there.send(b"%d" % number)
            await trio.testing.wait_all_tasks_blocked()
            assert read == [b"0", b"1", b"2"]
            watch.remove_reader(here.fileno())
            there.send(b"late")
            await trio.testing.wait_all_tasks_blocked()
            assert read == [b"0", b"1", b"2"]

    trio.run(main)


@pytest.mark.usefixtures("any_poll")
def test_no_socket_starves_another_and_none_the_program() -> None:
    async def main() -> None:
        order: list[str] = []
        with watching() as watch, ExitStack() as stack:
            busy, flood = stack.enter_context(socket_pair())
            calm, word = stack.enter_context(socket_pair())

            def read_busy() -> None:
                busy.recv(10)
                flood.send(b"again")
                order.append("busy")

            def read_calm() -> None:
                calm.recv(10)
                order.append("calm")

            flood.send(b"first")
            word.send(b"hello")
            watch.add_reader(busy.fileno(), User(), read_busy)
            watch.add_reader(calm.fileno(), User(), read_calm)
            while not order:
                await trio.lowlevel.checkpoint()
            # Of the endless datagrams some were read, then it was our turn again; trio shuffles
            # whose turn it is, so the other task may have had two.
            assert len(order) <= 2 * READ_MAX + 1
            assert "calm" in order[:2]

    trio.run(main)


def test_timers_are_called_in_order_of_time_whenever_they_were_set() -> None:
    async def main() -> None:
        called: list[tuple[str, float]] = []
        start = trio.current_time()

        def call(name: str) -> None:
            called.append((name, round(trio.current_time() - start, 3)))

        with watching() as watch:
            watch.call_after(3, User(), partial(call, "third"))
            await trio.testing.wait_all_tasks_blocked()
            watch.call_after(1, User(), partial(call, "first"))
            watch.call_after(2, User(), partial(call, "second"))
            await trio.sleep(4)
        assert called == [("first", 1.0), ("second", 2.0), ("third", 3.0)]

    run(main)


def test_a_timer_that_sets_itself_again_lets_the_program_live() -> None:
    async def main() -> None:
        count = 0

        def again() -> None:
            nonlocal count
            count += 1
            watch.call_after(0, User(), again)

        with watching() as watch:
            again()
            await trio.sleep(0.01)
        assert 1 < count <= 102

    run(main)


def test_what_has_arrived_is_read_before_anybody_is_called_late() -> None:
    async def main() -> None:
        order: list[str] = []
        with watching() as watch, socket_pair() as (here, there):
            watch.call_after(0, User(), lambda: order.append("late"))
            for _ in range(2 * READ_MAX + 1):
                there.send(b"answer")
            watch.add_reader(here.fileno(), User(), lambda: order.append(here.recv(9).decode()))
            clock = trio.lowlevel.current_clock()
            assert isinstance(clock, trio.testing.MockClock)
            clock.jump(1)  # it is late already
            await trio.sleep(1)
        assert order == ["answer"] * (2 * READ_MAX + 1) + ["late"]

    run(main)


def test_a_flood_does_not_stop_the_clocks() -> None:
    async def main() -> None:
        with watching() as watch, socket_pair() as (here, there):

            def echo() -> None:
                there.send(here.recv(9))

            there.send(b"!")
            watch.add_reader(here.fileno(), User(), echo)
            rang = trio.Event()
            watch.call_after(0, User(), rang.set)
            await rang.wait()
            assert rang.is_set()

    trio.run(main)


def test_what_one_user_raises_is_told_to_it_and_stops_nobody_else() -> None:
    async def main() -> None:
        bad, good = User(), User()
        called: list[str] = []

        def stumble() -> None:
            raise IndexError

        with watching() as watch:
            watch.call_after(1, bad, stumble)
            watch.call_after(2, good, lambda: called.append("good"))
            await trio.sleep(3)
        assert called == ["good"]
        assert [type(error) for error in bad.crashes] == [IndexError]
        assert good.crashes == []

    run(main)


def test_a_socket_whose_reader_fails_does_not_stop_the_others() -> None:
    async def main() -> None:
        bad, good = User(), User()
        heard: list[bytes] = []
        with watching() as watch, ExitStack() as stack:
            here, there = stack.enter_context(socket_pair())
            near, far = stack.enter_context(socket_pair())

            def stumble() -> None:
                here.recv(10)
                raise IndexError

            watch.add_reader(here.fileno(), bad, stumble)
            watch.add_reader(near.fileno(), good, lambda: heard.append(near.recv(10)))
            there.send(b"x")
            far.send(b"y")
            await trio.testing.wait_all_tasks_blocked()
        assert heard == [b"y"]
        assert [type(error) for error in bad.crashes] == [IndexError]
        assert good.crashes == []

    run(main)


def test_a_reader_that_is_removed_in_the_same_round_is_not_called() -> None:
    async def main() -> None:
        called: list[int] = []
        with watching() as watch, ExitStack() as stack:
            pairs = [stack.enter_context(socket_pair()) for _ in range(2)]

            def read(number: int) -> None:
                called.append(number)
                for here, _ in pairs:
                    watch.remove_reader(here.fileno())

            for number, (here, there) in enumerate(pairs):
                watch.add_reader(here.fileno(), User(), partial(read, number))
                there.send(b"x")
            await trio.testing.wait_all_tasks_blocked()
        assert len(called) == 1

    run(main)


def test_users_of_a_run_share_one_and_the_next_run_has_its_own() -> None:
    seen: list[Watch] = []

    async def main() -> None:
        with watching() as one, watching() as other:
            assert one is other
            seen.append(one)
        await trio.testing.wait_all_tasks_blocked()
        with watching() as again:
            seen.append(again)

    run(main)
    run(main)
    assert len(set(map(id, seen))) == len(seen) == 4


def test_nothing_stays_open_whether_it_is_left_at_once_or_later() -> None:
    async def main() -> None:
        with watching():
            pass
        with watching():
            await trio.testing.wait_all_tasks_blocked()
        with watching():
            await trio.lowlevel.checkpoint()

    before = open_files()
    run(main)
    assert open_files() == before


def test_a_socket_that_somebody_closed_can_still_be_forgotten() -> None:
    async def main() -> None:
        with watching() as watch, socket_pair() as (here, _):
            fd = here.fileno()
            watch.add_reader(fd, User(), lambda: None)
            here.close()
            watch.remove_reader(fd)
            watch.remove_reader(fd)
            await trio.testing.wait_all_tasks_blocked()
            assert join_watch() is watch
            watch.leave()

    run(main)
