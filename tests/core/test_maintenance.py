"""Decisions of upkeep: when to try to join, which record to look at, whose clock to trust."""

from collections.abc import Callable
from random import Random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.config import CLOCK_TOLERANCE_S, Config
from dht.contacts import Contact, contact_at, pack_address
from dht.core.held import Held
from dht.core.lookup import Lookup
from dht.core.machine import FINISHED, Ask, Wait
from dht.core.maintenance import (
    CLOCK_SAMPLES,
    JITTER,
    POSTPONED_MAX,
    ClockSamples,
    Due,
    Membership,
    Probe,
    Repair,
    RepairSchedule,
    Standing,
    spread,
)
from dht.core.tasks import Asker
from dht.core.timers import Alarm, Timers
from dht.errors import QuorumNotReached
from dht.keyspace import Key
from dht.records import Kind, Record
from dht.wire.codec import copy_of, decode_untrusted
from dht.wire.messages import (
    HANDOVER,
    Block,
    Fetch,
    Find,
    Found,
    Get,
    Nodes,
    Pong,
    Status,
    Store,
    Stored,
)
from tests.core.contacts_for_tests import FixedPatience, contact, contacts, ids
from tests.core.pair import EPOCH_S, LARGE, Manners, Net, Peer
from tests.core.test_operations import AtHome

YEAR_S = 365 * 24 * 3600.0

# ------------------------------------------------------------------------------------ membership


def membership(seed: int = 0) -> Membership:
    return Membership(Config(), Random(seed))


@given(seed=st.integers(0, 2**32))
def test_the_pauses_between_attempts_double_from_1_to_20_s_and_go_on_for_ever(seed: int) -> None:
    member = membership(seed)
    for planned in [1, 2, 4, 8, 16] + [20] * 200:
        pause = member.failed(1000.0)
        assert planned * (1 - JITTER) <= pause <= planned * (1 + JITTER)
        assert member.next_attempt_at == 1000.0 + pause


def test_pauses_are_spread_out_so_that_a_crowd_does_not_return_as_one() -> None:
    assert len({membership(seed).failed(0.0) for seed in range(50)}) == 50


@pytest.mark.parametrize("how", [Membership.joined, lambda member: member.heard(0.0)])
def test_a_join_or_a_datagram_of_a_known_peer_begins_the_pauses_anew(
    how: Callable[[Membership], bool],
) -> None:
    member = membership()
    for _ in range(9):
        member.failed(0.0)
    assert how(member)
    assert member.failed(0.0) <= 1 + JITTER


def test_what_is_heard_hastens_only_who_is_out_and_not_trying_already() -> None:
    member = membership()
    assert member.heard(0.0)
    member.began()
    assert not member.heard(0.0)
    member.joined()
    assert not member.heard(0.0)
    member.lost(0.0)
    assert member.heard(0.0)


def test_joining_is_news_once_and_so_is_being_alone() -> None:
    member = membership()
    assert not member.lost(0.0)  # never joined: there was nothing to lose
    assert [member.joined(), member.joined()] == [True, False]
    assert [member.lost(0.0), member.lost(0.0)] == [True, False]
    assert member.standing is Standing.ALONE
    assert member.joined()


# ------------------------------------------------------------------------------ repair schedule


def due_of(schedule: RepairSchedule, now: float) -> list[Due]:
    result = []
    while (due := schedule.pop_due(now)) is not None:
        result.append(due)
    return result


def test_what_is_due_comes_once_the_earliest_first() -> None:
    schedule = RepairSchedule()
    for key, when in ((1, 30.0), (2, 10.0), (3, 20.0)):
        schedule.set(1, key, when)
    assert schedule.next_timeout() == 10.0
    assert schedule.pop_due(9.9) is None
    assert [due.key for due in due_of(schedule, 20.0)] == [2, 3]
    assert (len(schedule), schedule.next_timeout()) == (1, 30.0)


def test_a_plan_replaces_the_one_before() -> None:
    schedule = RepairSchedule()
    schedule.set(1, 7, 10.0)
    schedule.set(1, 7, 30.0, turn_taken=True)
    schedule.set(2, 7, 20.0)
    assert [(due.kind, due.turn_taken) for due in due_of(schedule, 99.0)] == [(2, False), (1, True)]


def test_to_hasten_never_puts_off() -> None:
    schedule = RepairSchedule()
    schedule.set(1, 7, 10.0)
    schedule.hasten(1, 7, 20.0)
    assert schedule.next_timeout() == 10.0
    schedule.hasten(1, 7, 5.0)
    schedule.hasten(1, 8, 6.0)
    assert [due.key for due in due_of(schedule, 6.0)] == [7, 8]


def test_to_postpone_never_hastens_and_plans_nothing_new() -> None:
    schedule = RepairSchedule()
    schedule.postpone(1, 7, 20.0)
    assert len(schedule) == 0
    schedule.set(1, 7, 10.0)
    schedule.postpone(1, 7, 5.0)
    assert schedule.next_timeout() == 10.0


def test_others_are_believed_that_they_did_the_work_so_often_in_a_row() -> None:
    schedule = RepairSchedule()
    schedule.set(1, 7, 10.0)
    for times in range(1, 10):
        schedule.postpone(1, 7, 10.0 + times)
    assert schedule.next_timeout() == 10.0 + POSTPONED_MAX
    (due,) = due_of(schedule, 99.0)
    assert due.postponed == POSTPONED_MAX
    # It waits for nearer holders, or is hastened: still nobody is believed once more.
    schedule.set(1, 7, 100.0, turn_taken=True, postponed=due.postponed)
    schedule.postpone(1, 7, 200.0)
    schedule.hasten(1, 7, 90.0)
    schedule.postpone(1, 7, 200.0)
    assert schedule.next_timeout() == 90.0
    schedule.set(1, 7, 100.0)  # it was done
    schedule.postpone(1, 7, 200.0)
    assert schedule.next_timeout() == 200.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["set", "hasten", "postpone", "pop"]),
            st.integers(0, 3),
            st.integers(0, 50),
        )
    )
)
def test_the_schedule_does_what_a_plain_dict_would(
    steps: list[tuple[str, int, int]],
) -> None:
    schedule, plans, postponed = RepairSchedule(), dict[int, float](), dict[int, int]()
    for what, key, when in steps:
        if what == "pop":
            assert sorted(due.key for due in due_of(schedule, when)) == sorted(
                each for each, at in plans.items() if at <= when
            )
            plans = {each: at for each, at in plans.items() if at > when}
            continue
        known = plans.get(key)
        if what == "set":
            schedule.set(1, key, when)
            plans[key], postponed[key] = when, 0
        elif what == "hasten":
            schedule.hasten(1, key, when)
            if known is None:
                postponed[key] = 0
            plans[key] = when if known is None else min(known, when)
        else:
            schedule.postpone(1, key, when)
            if known is not None and known < when and postponed[key] < POSTPONED_MAX:
                plans[key], postponed[key] = when, postponed[key] + 1
        assert schedule.next_timeout() == min(plans.values(), default=None)
        assert len(schedule) == len(plans)


def test_plans_that_were_replaced_are_not_kept() -> None:
    schedule = RepairSchedule()
    for number in range(10_000):
        schedule.set(1, number % 10, 1000.0 - number / 100)
    assert len(schedule) == 10
    assert len(schedule._heap) <= 4 * 10 + 65


def test_an_alarm_rings_by_every_time_and_waits_for_none_twice() -> None:
    timers, rung = Timers(), list[float]()
    alarm = Alarm(timers, rung.append)
    for when in (50.0, 30.0, 40.0, 30.0, 10.0, 10.0):
        alarm.set(when)
    assert len(timers) == 3  # 40 is covered by 30
    timers.run_due(10.0)
    alarm.set(50.0)
    alarm.set(30.0)
    assert len(timers) == 2
    timers.run_due(60.0)
    assert rung == [10.0, 60.0]  # once, although two times had passed
    alarm.set(70.0)
    timers.run_due(70.0)
    assert rung == [10.0, 60.0, 70.0]


# ---------------------------------------------------------------------------------- clock samples


def samples(*ahead_s: float, local: bool = False) -> ClockSamples:
    clocks = ClockSamples()
    for number, each in enumerate(ahead_s):
        host = "10.0.0.1" if local else f"9.9.{number}.1"
        clocks.add(contact_at(bytes([number]) * 32, pack_address(host, 1)), each)
    return clocks


def test_the_median_of_what_others_tell_is_believed() -> None:
    assert samples().median_s() is None
    assert samples(1.0, 1000.0, 2.0).median_s() == 2.0
    assert samples(3.0).median_s() == 3.0


def test_a_subnet_has_one_voice_and_so_has_a_key_on_a_private_range() -> None:
    clocks = samples(1.0, 1.0, 1.0)
    for port in range(1, 100):
        clocks.add(contact_at(bytes([port]) * 32, pack_address("9.9.9.9", port)), 1e9)
    assert clocks.median_s() == 1.0
    assert samples(1.0, 2.0, 3.0, local=True).median_s() == 2.0
    for _ in range(9):
        clocks.add(contact_at(b"k" * 32, pack_address("10.0.0.9", 1)), 1e9)
    assert sorted(clocks._ahead.values()) == [1.0, 1.0, 1.0, 1e9, 1e9]


@given(st.lists(st.floats(-1e9, 1e9), max_size=100))
def test_as_many_voices_are_kept_as_vote_the_last_ones(told: list[float]) -> None:
    clocks = samples(*told)
    assert list(clocks._ahead.values()) == told[-CLOCK_SAMPLES:]


def test_our_clock_is_trusted_while_it_is_near_the_median_and_not_before_the_first_answer() -> None:
    assert not samples().trusted()
    assert samples(CLOCK_TOLERANCE_S, CLOCK_TOLERANCE_S, -1e9).trusted()
    assert not samples(CLOCK_TOLERANCE_S + 1).trusted()
    assert not samples(-CLOCK_TOLERANCE_S - 1).trusted()


def test_setting_our_own_clock_right_makes_it_trusted_at_once_and_wrong_not() -> None:
    clocks = samples(YEAR_S, YEAR_S)
    clocks.moved(YEAR_S)
    assert clocks.trusted()
    clocks.moved(YEAR_S)
    assert clocks.median_s() == -YEAR_S
    assert not clocks.trusted()


# ------------------------------------------------------------------- the clock rule, in a network


@pytest.mark.parametrize("years", [-10, 10])
@pytest.mark.parametrize("value", [b"v", LARGE], ids=["small", "large"])
def test_a_writer_whose_clock_is_ten_years_off_puts_with_one_restamp(
    years: int, value: bytes
) -> None:
    net = Net()
    net.grow(10)
    net.put(net.peers[0], "k", b"before")
    writer = net.add(net.peers[0], client=True, ahead_s=years * YEAR_S)
    outcome = net.put(writer, "k", value)
    assert not outcome.refused
    assert len(outcome.stored) + len(outcome.pending) == 8
    net.run_for(5.0)
    assert [held.record.value for held in holdings(net)] == [value] * 8
    for held in holdings(net):
        assert abs(held.record.written_at_ms / 1000 - EPOCH_S - net.now) < 60


def holdings(net: Net) -> list[Held]:
    return [held for peer in net.peers if (held := peer.held(net.now, "k")) is not None]


def test_a_serving_writer_whose_clock_is_ten_years_off_is_an_owner_like_the_others() -> None:
    net = Net()
    net.grow(4)
    writer = net.add(net.peers[0], ahead_s=10 * YEAR_S)
    assert len(net.put(writer, "k", b"v").stored) == 5
    assert not net.get(net.peers[0], "k", quorum=5).stale


def test_one_node_whose_clock_is_wrong_refuses_nobody() -> None:
    net = Net()
    net.grow(4)
    odd: Peer = net.add(net.peers[0], ahead_s=-10 * YEAR_S)
    for writer in net.peers:
        assert odd.contact in net.put(writer, f"by {writer.address!r}", b"v").stored


def test_a_clock_that_is_off_for_everybody_else_too_is_an_error_and_no_loop() -> None:
    net = Net(config=Config(replicas=3))
    first = net.add()
    writer = net.add(first, client=True)

    def refuse(request: Store) -> Stored:
        return Stored(int(EPOCH_S), Status.CLOCK, 0, None, b"", b"")

    for _ in range(2):
        net.known(first, manners=Manners(net, store=refuse))
    first.engine.set_wall_offset(net.now, EPOCH_S - YEAR_S)
    before = len(net.log)
    with pytest.raises(QuorumNotReached, match="clock"):
        net.put(writer, "k", b"v")
    assert len(net.log) - before < 40


# --------------------------------------------------------------------------- machines that ask

KEY = Key(0)
OWN = contact(100)


def record(version: int = 5, value: bytes = b"v", kind: Kind = Kind.PLAIN) -> Record:
    return Record(kind=kind, key=KEY, version=version, written_at_ms=0, ttl_ms=60_000, value=value)


@attrs.define(eq=False)
class Holder(AtHome):
    """This node, with a record at home that newer ones replace."""

    contact: Contact = OWN
    serves: bool = True
    taken: int = 0

    def keep(
        self,
        now: float,
        record: Record,
        *,
        remaining_ms: int,
        if_version: int | None,
        handover: bool = False,
        placed: bool = False,
    ) -> tuple[Status, Record | None]:
        self.taken += 1
        return super().keep(now, record, remaining_ms=remaining_ms, if_version=if_version)


def repair_of(home: Holder, *others: int, kind: Kind = Kind.PLAIN) -> Repair:
    search = Lookup(
        0.0,
        target=KEY,
        own_id=OWN.id,
        seeds=contacts(others),
        want=3,
        body=b"find",
        opening=9,
        alpha=lambda: 9,
        patience=FixedPatience(),
    )
    return Repair(
        kind=kind,
        key=KEY,
        replicas=3,
        flags=0,
        value_size_max=10_000,
        search=search,
        local=home,
    )


def asks(machine: Asker) -> list[Ask]:
    result = []
    while isinstance(step := machine.next(0.0), Ask):
        result.append(step)
    return result


def message_in(ask: Ask) -> object:
    return decode_untrusted(bytes(8) + ask.body)[1]


def tell_versions(repair: Repair, versions: dict[int, int]) -> list[Ask]:
    for ask in asks(repair):
        repair.on_reply(0.0, ask.contact, Nodes(0, b"", b"", versions[ask.contact.id]), [])
    return asks(repair)


def test_a_repair_gives_the_record_to_those_who_lack_it_or_hold_an_older_one() -> None:
    repair = repair_of(Holder(store=record(5)), 1, 2, 3)
    stores = tell_versions(repair, {1: 5, 2: 0, 3: 4})
    assert sorted(ids(ask.contact for ask in stores)) == [2, 3]
    for ask in stores:
        message = message_in(ask)
        assert isinstance(message, Store)
        assert message.flags & HANDOVER
        assert message.copy == copy_of(record(5), 60_000)  # what is left of its life at home
        repair.on_reply(0.0, ask.contact, Stored(0, Status.STORED, 5, None, b"", b""), [])
    assert repair.next(0.0) is FINISHED
    assert repair.copies == 2


def test_a_repair_where_nobody_lacks_anything_asks_no_more() -> None:
    repair = repair_of(Holder(store=record(5)), 1, 2, 3)
    assert tell_versions(repair, {1: 5, 2: 5, 3: 5}) == []
    assert (repair.next(0.0), repair.copies) == (FINISHED, 0)


def test_only_owners_are_given_a_copy() -> None:
    far = repair_of(Holder(contact=contact(2), store=record(5)), 1, 3, 200)
    stores = tell_versions(far, {1: 0, 3: 0, 200: 0})
    assert sorted(ids(ask.contact for ask in stores)) == [1, 3]  # with us they are three


def test_a_newer_version_is_brought_home_first_and_then_given_to_the_others() -> None:
    home = Holder(store=record(5))
    repair = repair_of(home, 1, 2, 3)
    (question,) = tell_versions(repair, {1: 5, 2: 9, 3: 0})
    assert question.contact.id == 2
    assert isinstance(message_in(question), Get)
    newer = record(9, b"newer")
    repair.on_reply(0.0, question.contact, Found(0, copy_of(newer, 50), b"", b""), [])
    stores = asks(repair)
    assert home.store == newer
    assert sorted(ids(ask.contact for ask in stores)) == [1, 3]


@pytest.mark.parametrize(
    "lie",
    [
        Nodes(0, b"", b"", 0),
        Found(0, copy_of(attrs.evolve(record(9), key=Key(8)), 50), b"", b""),
        Found(0, copy_of(attrs.evolve(record(9), version=0), 50), b"", b""),
        None,
    ],
    ids=["has nothing", "another key", "invalid", "silence"],
)
def test_who_only_says_to_hold_something_newer_is_asked_for_it_once(lie: Nodes | None) -> None:
    repair = repair_of(Holder(store=record(5)), 1, 2, 3)
    (question,) = tell_versions(repair, {1: 5, 2: 2**63 - 1, 3: 0})
    if lie is None:
        repair.on_failure(0.0, question.contact)
    else:
        repair.on_reply(0.0, question.contact, lie, [])
    assert sorted(ids(ask.contact for ask in asks(repair))) == [2, 3]


@pytest.mark.parametrize("status", [Status.CLOCK, Status.FULL])
def test_a_newer_version_that_our_store_refuses_is_not_fetched_again_and_again(
    status: Status,
) -> None:
    home = Holder(store=record(5), refuses=status)
    repair = repair_of(home, 1, 2, 3)
    (question,) = tell_versions(repair, {1: 5, 2: 9, 3: 5})
    for _ in range(20):
        repair.on_reply(0.0, question.contact, Found(0, copy_of(record(9), 50), b"", b""), [])
        if not [ask for ask in asks(repair) if isinstance(message_in(ask), Get)]:
            break
    assert home.taken == 1


def test_copies_of_content_under_other_versions_are_copies() -> None:
    home = Holder(store=record(5, kind=Kind.CONTENT))
    repair = repair_of(home, 1, 2, 3, kind=Kind.CONTENT)
    (ask,) = tell_versions(repair, {1: 9, 2: 1, 3: 0})
    assert isinstance(message_in(ask), Store)
    assert ask.contact.id == 3


def test_a_large_newer_version_is_pulled_home() -> None:
    home = Holder(store=record(5))
    repair = repair_of(home, 1, 2, 3)
    (question,) = tell_versions(repair, {1: 5, 2: 9, 3: 5})
    large = record(9, LARGE)
    repair.on_reply(0.0, question.contact, Found(0, copy_of(large, 50), b"", b""), [])
    fetches = asks(repair)
    while fetches:
        fetch = message_in(fetches.pop())
        assert isinstance(fetch, Fetch)
        at = fetch.offset
        repair.on_reply(0.0, question.contact, Block(0, at, LARGE[at : at + 1024]), [])
        fetches += asks(repair)
    assert home.store == large
    assert repair.next(0.0) is FINISHED


def test_a_record_that_ends_while_its_owners_are_asked_is_given_to_nobody() -> None:
    home = Holder(store=record(5))
    repair = repair_of(home, 1, 2)
    questions = asks(repair)
    home.store = None
    for ask in questions:
        assert isinstance(ask.body, bytes)
        repair.on_reply(0.0, ask.contact, Nodes(0, b"", b"", 0), [])
    assert repair.next(0.0) is FINISHED


def test_who_fetches_a_large_value_is_waited_for_until_it_says_how_that_ended() -> None:
    handover = spread(contacts([1, 2]), record(5, LARGE), 60_000, 0)
    for ask in asks(handover):
        handover.on_reply(0.0, ask.contact, Stored(0, Status.PULLING, 0, None, b"", b""), [])
    assert handover.next(0.0) == Wait(None)
    handover.on_reply(0.0, contact(1), Stored(0, Status.STORED, 5, None, b"", b""), [])
    assert handover.next(0.0) == Wait(None)
    handover.on_failure(0.0, contact(2))
    assert handover.next(0.0) is FINISHED


def test_a_probe_asks_once_and_ends_with_the_answer_or_with_silence() -> None:
    for answers in (True, False):
        probe = Probe(contact(1), b"ping")
        assert asks(probe) == [Ask(contact(1), b"ping")]
        assert probe.next(0.0) == Wait(None)
        if answers:
            probe.on_reply(0.0, contact(1), Pong(0, b""), [])
        else:
            probe.on_failure(0.0, contact(1))
        assert probe.next(0.0) is FINISHED
        assert probe.answered is answers


def test_the_request_of_a_repair_says_that_it_is_one() -> None:
    net = Net(config=Config(replicas=2, repair_interval_s=10.0))
    net.grow(2)
    net.put(net.peers[0], "k", b"v")
    before = len(net.log)
    net.run_for(40.0)
    finds = [
        message
        for _, _, _, data in net.log[before:]
        if isinstance(message := decode_untrusted(data[33:-8])[1], Find) and message.kind
    ]
    assert finds
    assert all(find.flags & HANDOVER for find in finds)
