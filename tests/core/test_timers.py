"""What is to happen later happens in order, once, and never early."""

from hypothesis import given
from hypothesis import strategies as st

from dht.core.timers import Alarm, Timers

TIMES = st.integers(0, 20).map(float)


class Diary:
    """Writes down what is called, and when."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, object]] = []

    def note(self, now: float, argument: object) -> None:
        self.entries.append((now, argument))


@given(whens=st.lists(TIMES), looks=st.lists(TIMES).map(sorted))
def test_everything_due_runs_once_in_the_order_of_its_time(
    whens: list[float], looks: list[float]
) -> None:
    timers, diary = Timers(), Diary()
    for number, when in enumerate(whens):
        timers.at(when, diary.note, number)
    ordered = sorted(range(len(whens)), key=lambda number: (whens[number], number))
    for now in looks:
        timers.run_due(now)
        due = [number for number in ordered if whens[number] <= now]
        assert [argument for _, argument in diary.entries] == due
        assert len(timers) == len(whens) - len(due)
        later = [when for when in whens if when > now]
        assert timers.next_timeout() == (min(later) if later else None)


def test_a_callback_hears_the_time_it_runs_at_and_not_the_time_it_was_due() -> None:
    timers, diary = Timers(), Diary()
    timers.at(1.0, diary.note, "late")
    timers.run_due(5.0)
    assert diary.entries == [(5.0, "late")]


def test_what_a_callback_enters_for_now_still_runs_and_what_is_later_waits() -> None:
    timers, diary = Timers(), Diary()

    def rearm(now: float, argument: object) -> None:
        timers.at(now, diary.note, "now")
        timers.at(now + 1, diary.note, "later")

    timers.at(1.0, rearm)
    timers.run_due(1.0)
    assert diary.entries == [(1.0, "now")]
    assert timers.next_timeout() == 2.0


def test_callbacks_and_arguments_need_no_order_of_their_own() -> None:
    timers, diary = Timers(), Diary()
    for argument in (object(), None, {}):
        timers.at(1.0, diary.note, argument)
    timers.run_due(1.0)
    assert len(diary.entries) == 3


class Sleeper:
    """Has one time at which something is due, or none, and an alarm that is told of each change."""

    def __init__(self) -> None:
        self.timers = Timers()
        self.alarm = Alarm(self.timers, self.rang)
        self.due: float | None = None
        self.done: list[float] = []

    def want(self, when: float) -> None:
        self.due = when if self.due is None else min(self.due, when)
        self.alarm.set(when)

    def rang(self, now: float) -> None:
        if self.due is not None and self.due <= now:
            self.due = None
            self.done.append(now)
        elif self.due is not None:
            self.alarm.set(self.due)


@given(changes=st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(0, 10)), max_size=40))
def test_an_alarm_rings_by_the_earliest_time_it_was_set_to(
    changes: list[tuple[int, int | None]],
) -> None:
    """Time passes, and now and then something is wanted some seconds from then."""
    sleeper, now = Sleeper(), 0.0
    for passed, wanted_in in changes:
        now += passed
        sleeper.timers.run_due(now)
        assert sleeper.due is None or sleeper.due > now
        if wanted_in is not None:
            sleeper.want(now + wanted_in)
        next_at = sleeper.timers.next_timeout()
        assert sleeper.due is None or (next_at is not None and next_at <= sleeper.due)


def test_an_alarm_set_again_to_the_same_or_a_later_time_waits_once() -> None:
    sleeper = Sleeper()
    for when in (5.0, 5.0, 9.0, 7.0):
        sleeper.want(when)
    assert len(sleeper.timers) == 1
    sleeper.want(2.0)
    assert len(sleeper.timers) == 2
    sleeper.timers.run_due(5.0)
    assert sleeper.done == [5.0]
    assert len(sleeper.timers) == 0
    sleeper.want(6.0)
    assert sleeper.timers.next_timeout() == 6.0
