from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.contacts import Address
from dht.errors import InternalError, LocalError
from dht.sim.links import LinkModel
from dht.sim.world import EVENTS_PER_INSTANT_MAX, World
from tests.sim.fakes import Fake, Place, address, tell, world_of

# --------------------------------------------------------------------------------------- order


def test_a_datagram_arrives_after_half_the_round_trip_from_the_senders_address() -> None:
    one, other = Fake(), Fake()
    world = world_of(one, other)
    tell(world, 0, 1, b"hello")
    world.run_for(10)
    assert other.heard == [(world.links.rtt(0, 1) / 2, b"hello", address(0))]
    assert world.now == 10


@given(st.lists(st.floats(0, 100), max_size=30))
def test_actions_happen_in_the_order_of_time_and_equal_times_in_that_of_the_calls(
    times: list[float],
) -> None:
    world = world_of()
    done: list[tuple[float, int]] = []

    def action(number: int) -> Callable[[], None]:
        return lambda: done.append((world.now, number))

    for number, when in enumerate(times):
        world.at(when, action(number))
    world.run_until(100)
    assert done == sorted((when, number) for number, when in enumerate(times))


def test_what_lies_in_the_past_happens_now() -> None:
    world = world_of()
    world.run_until(5)
    times: list[float] = []
    world.at(1, lambda: times.append(world.now))
    world.run_for(0)
    assert times == [5]


def test_run_until_includes_its_end_and_nothing_later() -> None:
    world = world_of()
    done: list[int] = []
    world.at(1, lambda: done.append(1))
    world.at(1.001, lambda: done.append(2))
    world.run_until(1)
    assert done == [1]
    world.run_until(0.5)
    assert world.now == 1, "the clock never goes back"


def test_run_while_stops_at_the_event_that_ends_the_condition() -> None:
    one, other = Fake(), Fake()
    world = world_of(one, other)
    tell(world, 0, 1, b"first")
    world.at(50, lambda: tell(world, 0, 1, b"second"))
    assert world.run_while(lambda: not other.heard, timeout_s=10)
    assert world.now == other.heard[0][0]
    assert not world.run_while(lambda: len(other.heard) < 2, timeout_s=10)
    assert world.now == pytest.approx(other.heard[0][0] + 10)


# ------------------------------------------------------------------------------------ timeouts


def test_a_machine_is_woken_when_it_wants_and_not_before() -> None:
    fake = Fake(due=[3.0, 1.0, 2.0])
    world = world_of(fake)
    world.poll(world.members[0])
    world.run_until(10)
    assert fake.timeouts == [1.0, 2.0, 3.0]


def test_a_timeout_in_the_past_is_handled_now() -> None:
    fake = Fake()
    world = world_of(fake)
    world.run_until(5)
    fake.due = [1.0]
    world.poll(world.members[0])
    world.run_until(6)
    assert fake.timeouts == [5.0]


@given(st.lists(st.lists(st.floats(0, 50), max_size=4), min_size=1, max_size=20))
def test_whatever_the_deadlines_each_is_kept_and_none_is_queued_twice(
    deadlines: list[list[float]],
) -> None:
    """At each second the machine gets new deadlines; oracle: all of them, in order, no others."""
    fake = Fake()
    world = world_of(fake)
    for second, new in enumerate(deadlines):
        world.run_until(second)
        fake.due += new
        world.poll(world.members[0])
        wakes = world.members[0].wakes
        assert wakes == sorted(wakes, reverse=True)
        assert len(set(wakes)) == len(wakes)
    world.run_until(100)
    expected = {max(due, float(second)) for second, new in enumerate(deadlines) for due in new}
    assert sorted(set(fake.timeouts)) == sorted(expected)
    assert world.members[0].wakes == []


def test_a_deadline_that_was_given_up_wakes_nobody() -> None:
    fake = Fake(due=[5.0])
    world = world_of(fake)
    world.poll(world.members[0])
    fake.due = [7.0]
    world.run_until(6)
    assert fake.timeouts == []
    world.run_until(7)
    assert fake.timeouts == [7.0]


# ------------------------------------------------------------------------- who is not listening


def test_what_is_sent_to_nobody_or_to_a_dead_machine_is_counted_and_gone() -> None:
    one, other = Fake(), Fake()
    world = world_of(one, other)
    tell(world, 0, 7, b"nobody lives there")
    tell(world, 0, 1, b"under way when it dies")
    world.members[1].machine = None
    world.run_for(1)
    traffic = world.traffic()
    assert (traffic.sent, traffic.delivered, traffic.unheard) == (2, 0, 2)
    assert other.heard == []


def test_every_datagram_is_accounted_for() -> None:
    fakes = [Fake(echoes=200) for _ in range(4)]
    world = world_of(*fakes, links=LinkModel(loss=0.2))
    for sender in range(4):
        for receiver in range(4):
            tell(world, sender, receiver, b"x")
    world.run_for(1000)
    traffic = world.traffic()
    assert traffic.lost > 0
    assert traffic.sent == traffic.delivered + traffic.lost
    assert traffic.delivered == sum(len(fake.heard) for fake in fakes)


def test_a_machine_may_send_to_itself() -> None:
    fake = Fake()
    world = world_of(fake)
    tell(world, 0, 0, b"me")
    world.run_for(1)
    assert [data for _, data, _ in fake.heard] == [b"me"]


def test_a_suspended_machine_hears_nothing_and_wakes_overdue() -> None:
    one, other = Fake(), Fake(due=[3.0])
    world = world_of(one, other)
    world.poll(world.members[1])
    world.suspend(world.members[1], 20)
    tell(world, 0, 1, b"asleep")
    world.run_until(19)
    assert (other.heard, other.timeouts, other.resumptions) == ([], [], [])
    world.run_until(20)
    assert (other.resumptions, other.timeouts) == ([20], [20])
    tell(world, 0, 1, b"awake")
    world.run_until(30)
    assert [data for _, data, _ in other.heard] == [b"awake"]


def test_nobody_is_suspended_twice_or_after_death() -> None:
    world = world_of(Fake(), Fake())
    world.suspend(world.members[0], 5)
    world.members[1].machine = None
    for member in world.members:
        with pytest.raises(LocalError, match="not awake"):
            world.suspend(member, 1)


def test_a_machine_that_was_replaced_in_its_sleep_is_not_woken() -> None:
    old, new = Fake(), Fake()
    world = world_of(old)
    world.suspend(world.members[0], 5)
    world.members[0].machine = new
    world.members[0].asleep = False
    world.run_until(10)
    assert old.resumptions == new.resumptions == []


def test_two_members_never_share_an_address_or_a_number() -> None:
    world = world_of(Fake())
    with pytest.raises(LocalError, match="lives at"):
        world.settle_in(Place(index=1, address=address(0), fake=Fake()))
    with pytest.raises(LocalError, match="index 1"):
        world.settle_in(Place(index=5, address=address(5), fake=Fake()))
    assert world.at_address(address(0)) is world.members[0]
    assert world.at_address(address(1)) is None


# ---------------------------------------------------------------------------- what goes wrong


class Raising(Fake):
    def receive_datagram(self, now: float, data: bytes, source: Address) -> None:
        raise KeyError("bug")

    def handle_timeout(self, now: float) -> None:
        raise ZeroDivisionError


def test_an_exception_says_which_node_when_and_on_what() -> None:
    world = world_of(Fake(), Raising())
    tell(world, 0, 1, b"12345")
    with pytest.raises(InternalError, match=r"node 1 raised KeyError\('bug'\) at 0\.\d+ s on 5"):
        world.run_for(1)


def test_an_exception_in_a_timeout_is_told_too() -> None:
    world = world_of(Raising(due=[2.0]))
    world.poll(world.members[0])
    with pytest.raises(InternalError, match=r"node 0 raised .* at 2\.000000 s on a timeout"):
        world.run_for(5)


class Stuck(Fake):
    calls = 0

    def handle_timeout(self, now: float) -> None:
        """The deadline stays: a mistake that stops the clock."""
        self.calls += 1


def test_a_clock_that_stands_still_is_an_error_that_names_the_culprit() -> None:
    stuck = Stuck(due=[1.0])
    world = world_of(Fake(), stuck)
    world.poll(world.members[1])
    with pytest.raises(InternalError, match=r"events at 1\.000000 s.*node 1"):
        world.run_for(5)
    assert stuck.calls == EVENTS_PER_INSTANT_MAX + 1


# ---------------------------------------------------------------------------------- determinism


def chatter(seed: int, *, links: LinkModel, last: bytes = b"x") -> World[Place]:
    """Eight machines echo each other's datagrams, and say so."""
    fakes = [Fake(echoes=100, random=Random(number)) for number in range(8)]
    world = world_of(*fakes, seed=seed, links=links)
    for sender in range(8):
        tell(world, sender, (sender + 3) % 8, last if sender == 7 else b"x")
    world.run_for(30)
    return world


STORMY = LinkModel(loss=0.05, duplicate=0.3, reorder=0.3, corrupt=0.1)


@pytest.mark.parametrize("links", [LinkModel(), STORMY], ids=["calm", "stormy"])
def test_one_seed_is_one_run(links: LinkModel) -> None:
    first, second = chatter(1, links=links), chatter(1, links=links)
    assert first.trace_hash() == second.trace_hash()
    assert first.traffic() == second.traffic()
    assert first.trace_hash() != chatter(2, links=links).trace_hash()


def test_the_trace_hash_knows_a_changed_byte_an_event_and_a_moment() -> None:
    hashes = [chatter(1, links=LinkModel(), last=last).trace_hash() for last in (b"x", b"y")]
    assert hashes[0] != hashes[1]
    world = world_of(Fake())
    before = world.trace_hash()
    world.members[0].fake.news = ["something happened"]
    world.poll(world.members[0])
    assert world.trace_hash() != before


def test_asking_for_the_hash_changes_nothing() -> None:
    fakes = [Fake(echoes=50), Fake(echoes=50)]
    world = world_of(*fakes)
    tell(world, 0, 1, b"x")
    for _ in range(60):
        world.run_for(1)
        world.trace_hash()
    quiet = world_of(Fake(echoes=50), Fake(echoes=50))
    tell(quiet, 0, 1, b"x")
    quiet.run_for(60)
    assert world.trace_hash() == quiet.trace_hash()


def test_observers_hear_every_event_with_its_member() -> None:
    world = world_of(Fake(), Fake(echoes=1))
    heard: list[tuple[int, object]] = []
    world.observers.append(lambda member, event: heard.append((member.index, event)))
    tell(world, 0, 1, b"123")
    world.run_for(1)
    assert heard == [(1, "echoed 3")]


def test_a_tap_hears_every_datagram_that_is_sent_also_the_lost() -> None:
    world = world_of(Fake(), Fake(echoes=1))
    sent: list[tuple[int, bytes]] = []
    world.taps.append(
        lambda member, sending: sent.extend((member.index, data) for data, _ in sending)
    )
    world.links.cut(1, 0)
    tell(world, 0, 1, b"123")
    world.run_for(1)
    assert [index for index, _ in sent] == [0, 1]
    assert sent[0][1] == b"123"
    assert world.traffic().sent == len(sent)
