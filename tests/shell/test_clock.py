from hypothesis import given
from hypothesis import strategies as st

from dht.shell.clock import JUMP_S, SystemClock


class Hands:
    """Two clocks that a test moves."""

    def __init__(self) -> None:
        self.monotonic = 100.0
        self.wall = 1e9

    def clock(self) -> SystemClock:
        return SystemClock(boottime=None, monotonic=lambda: self.monotonic, wall=lambda: self.wall)

    def pass_time(self, seconds: float, *, asleep: float = 0.0) -> None:
        self.monotonic += seconds
        self.wall += seconds + asleep


def test_a_system_clock_does_not_go_back() -> None:
    clock = SystemClock()
    assert clock.now() <= clock.now()
    assert clock.wall() > 1.6e9


def test_where_there_is_a_clock_that_counts_sleep_it_is_believed() -> None:
    clock = SystemClock(boottime=lambda: 7.0, monotonic=lambda: 1.0, wall=lambda: 1e9)
    assert clock.now() == 7.0


def test_without_one_a_leap_of_the_wall_clock_counts_as_sleep() -> None:
    hands = Hands()
    clock = hands.clock()
    start = clock.now()
    hands.pass_time(10, asleep=3600)
    assert clock.now() - start == 3610
    hands.pass_time(5)
    assert clock.now() - start == 3615


def test_a_wall_clock_that_is_corrected_a_little_changes_nothing() -> None:
    hands = Hands()
    clock = hands.clock()
    start = clock.now()
    hands.pass_time(10, asleep=JUMP_S / 2)
    assert clock.now() - start == 10
    hands.pass_time(10, asleep=-7200)
    assert clock.now() - start == 20


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-(10**6), 10**6))))
def test_it_never_goes_back_and_never_falls_behind(moves: list[tuple[float, float]]) -> None:
    hands = Hands()
    clock = hands.clock()
    before = clock.now()
    for seconds, set_by in moves:
        hands.pass_time(seconds, asleep=set_by)
        now = clock.now()
        assert now >= before + seconds - 1e-6
        before = now
