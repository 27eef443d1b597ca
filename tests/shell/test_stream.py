"""A reader of events is bounded, told what it lost, and never in the way."""

from hypothesis import given
from hypothesis import strategies as st

from dht.core.events import Joined
from dht.shell.stream import EventsLost, EventStream
from tests.shell.virtual import run


def test_events_come_in_order() -> None:
    async def main() -> None:
        stream = EventStream()
        for number in range(3):
            assert stream.push(Joined(number))
        stream.close()
        assert [event async for event in stream] == [Joined(0), Joined(1), Joined(2)]

    run(main)


def test_a_reader_that_slept_is_told_how_many_it_lost() -> None:
    async def main() -> None:
        stream = EventStream(limit=2)
        assert [stream.push(Joined(number)) for number in range(5)] == [True, True] + [False] * 3
        assert [await anext(stream) for _ in range(3)] == [Joined(0), Joined(1), EventsLost(3)]
        stream.push(Joined(9))
        assert await anext(stream) == Joined(9)

    run(main)


def test_the_gap_stands_where_the_events_were() -> None:
    async def main() -> None:
        stream = EventStream(limit=1)
        stream.push(Joined(0))
        stream.push(Joined(1))
        assert await anext(stream) == Joined(0)
        stream.push(Joined(2))
        stream.close()
        assert [event async for event in stream] == [EventsLost(1), Joined(2)]

    run(main)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 4))
def test_nothing_is_lost_without_being_counted(pushes: list[bool], limit: int) -> None:
    """True: an event comes. False: the reader takes one, if there is one."""

    async def main() -> None:
        stream = EventStream(limit=limit)
        pushed = taken = 0
        for push in pushes:
            if push:
                stream.push(Joined(pushed))
                pushed += 1
            elif pushed > taken:
                taken = account(await anext(stream), taken)
        stream.close()
        async for event in stream:
            taken = account(event, taken)
        assert taken == pushed

    def account(event: object, taken: int) -> int:
        if isinstance(event, EventsLost):
            return taken + event.count
        assert event == Joined(taken)
        return taken + 1

    run(main)
