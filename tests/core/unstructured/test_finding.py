"""A search until a copy is whole: which copies are believed, how long values come, when it ends."""

from random import Random
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dht.author import Author
from dht.config import VALUE_INLINE_MAX
from dht.contacts import Contact
from dht.core.machine import FINISHED, Ask, Finished, Wait
from dht.core.outcomes import GetOutcome, StepResult
from dht.core.unstructured.branches import Costs
from dht.core.unstructured.finding import HOLDERS_AT_ONCE, HOLDERS_MAX, Finding
from dht.core.via import Flood, Index, Walk
from dht.errors import LocalError, NoPeers
from dht.keyspace import Key, content_key, key_bytes, signed_key
from dht.records import Kind, Record, value_hash
from dht.wire.codec import copy_of
from dht.wire.messages import (
    Block,
    Copy,
    Done,
    Fetch,
    Found,
    Get,
    Hit,
    Message,
    Nodes,
    Search,
)
from tests import strategies
from tests.core.contacts_for_tests import contact
from tests.core.pair import Net
from tests.core.unstructured.graphs_for_tests import (
    ID,
    KEY,
    TAKEN,
    found,
    plain_record,
    said_by,
)
from tests.core.unstructured.nets_for_tests import (
    PLACE,
    STILL,
    befriend,
    find,
    hold,
    line_of,
    neighbour,
    sent,
    still_net,
)

RECORD = plain_record(b"value")
LONG = bytes(Random(1).randbytes(100_000))
AUTHOR, EVE = (Author.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
NAME = key_bytes(Key(77))
TRUE_KEY = signed_key(AUTHOR.id.public_key, NAME)
VIAS = [Flood(), Flood(reply="direct"), Flood(ring=True, budget=300), Walk(walkers=4), Index()]


def signed_record(value: bytes, author: Author = AUTHOR, *, version: int = 5) -> Record:
    return attrs.evolve(
        plain_record(value, version=version),
        kind=Kind.SIGNED,
        key=signed_key(author.id.public_key, NAME),
    ).signed_by(author, NAME)


def content_record(value: bytes) -> Record:
    return attrs.evolve(plain_record(value), kind=Kind.CONTENT, key=content_key(value_hash(value)))


# -------------------------------------------------------------------------------- what comes back


@pytest.mark.parametrize("via", VIAS, ids=repr)
def test_a_value_of_any_length_comes_from_its_holder_whichever_way_it_is_found(via: Any) -> None:
    for size in (0, 1, VALUE_INLINE_MAX, VALUE_INLINE_MAX + 1, 100_000):
        net = line_of(4)
        hold(net, net.peers[3], plain_record(LONG[:size]))
        outcome = find(net, net.peers[0], via)
        assert outcome.value == LONG[:size]
        assert outcome.agreed == (net.peers[3].contact,)
        fetched = {told.target for told, _ in sent(net, Fetch)}
        assert fetched == ({net.peers[3].address} if size > VALUE_INLINE_MAX else set())
        net.run_for(30.0)
        assert not net.leftovers(net.peers[0])


def test_what_we_hold_ourselves_is_found_without_a_word() -> None:
    net = line_of(2)
    hold(net, net.peers[0], RECORD)
    begun = len(net.log)
    outcome = find(net, net.peers[0], Flood())
    assert outcome.value == b"value"
    assert (outcome.trace.hops, outcome.trace.messages) == (0, 0)
    assert len(net.log) == begun


def test_what_was_deleted_is_said_to_be() -> None:
    net = line_of(3)
    hold(net, net.peers[2], plain_record(b"", tombstone=True))
    outcome = find(net, net.peers[0], Flood())
    assert outcome.record is None
    assert outcome.deleted is not None
    assert outcome.value is None


def test_who_has_no_neighbours_is_told_so() -> None:
    net = still_net(1)
    for via in (Flood(), Walk(), Index()):
        with pytest.raises(NoPeers, match="no neighbours"):
            find(net, net.peers[0], via)


def test_a_node_of_the_other_overlay_says_what_to_do() -> None:
    net = Net(config=STILL)
    node = net.add(join=False)
    for start in (
        lambda engine, now: engine.start_search(now, Kind.PLAIN, PLACE, Flood()),
        lambda engine, now: engine.start_place(now, Kind.PLAIN, PLACE, b"v", Walk()),
    ):
        with pytest.raises(LocalError, match=r"(Flood|Walk).*overlay='both'"):
            net.run(node, start)


def test_a_direct_reply_is_refused_where_holders_would_not_dare() -> None:
    net = line_of(2, private_network=False)
    for via in (Flood(reply="direct"), Walk(reply="direct")):
        with pytest.raises(LocalError, match=r"network_key.*reply='path'"):
            find(net, net.peers[0], via)
    local = still_net(private_network=False)
    one, two = (local.add(host=f"10.0.0.{n}", join=False) for n in (1, 2))
    befriend(one, two)
    hold(local, two, RECORD)
    assert find(local, one, Flood(reply="direct")).value == b"value"


# ------------------------------------------------------------------------------------------- liars


def lies() -> list[Any]:
    """Copies that are not the record which is looked for; all of a higher version."""
    true = found(signed_record(b"value", version=9)).copy
    forged = msgspec.structs.replace
    return [
        pytest.param(found(signed_record(b"lie", EVE, version=9)).copy, id="of another author"),
        pytest.param(forged(true, payload=true.payload[:-5] + b"lied!"), id="with another value"),
        pytest.param(forged(true, version=10), id="with another version"),
        pytest.param(forged(true, remaining_ms=0), id="that has ended"),
        pytest.param(found(plain_record(b"lie", version=9)).copy, id="of another kind"),
        pytest.param(found(content_record(b"lie")).copy, id="of another key"),
        pytest.param(forged(true, payload=b""), id="without anything"),
        pytest.param(copy_of(signed_record(LONG, version=9), 1000), id="of a value nobody has"),
    ]


@pytest.mark.parametrize("lie", lies())
@pytest.mark.parametrize("via", [Flood(), Walk(walkers=8, check_every=1)], ids=["flood", "walk"])
def test_a_lie_is_never_given_out_and_the_search_goes_on(lie: Copy, via: Any) -> None:
    """A liar answers every search at once; who has the record is one hop farther."""
    net = line_of(3)
    answer = Found(0, lie, b"", b"")
    for _ in range(2):
        neighbour(net, net.peers[0], replies={Search: lambda _: answer})
    true = signed_record(b"value")
    hold(net, net.peers[2], true)
    outcome = find(net, net.peers[0], via, kind=Kind.SIGNED, key=TRUE_KEY)
    assert outcome.record == true
    assert outcome.agreed == (net.peers[2].contact,)


@pytest.mark.parametrize("lie", lies()[:-1])
@pytest.mark.parametrize("via", [Flood(), Walk(walkers=8, check_every=1)], ids=["flood", "walk"])
def test_a_lie_is_not_passed_back_and_keeps_no_truth_from_it(lie: Copy, via: Any) -> None:
    """The liar is a neighbour of one on the way to the holder, and says that it has a newer one."""
    net = line_of(4)
    liar = neighbour(net, net.peers[1], replies={Search: lambda _: Found(0, lie, b"", b"")})
    true = signed_record(b"value")
    hold(net, net.peers[3], true)
    outcome = find(net, net.peers[0], via, kind=Kind.SIGNED, key=TRUE_KEY)
    assert outcome.record == true
    assert liar.heard_of(Search)
    assert not [hit for _, hit in sent(net, Hit) if hit.copy == lie]


def test_a_walker_that_met_a_liar_has_ended() -> None:
    net = line_of(2)
    lie = found(plain_record(b"lie", key=bytes(32))).copy
    neighbour(net, net.peers[1], replies={Search: lambda _: Found(0, lie, b"", b"")})
    outcome = find(net, net.peers[0], Walk(walkers=1, check_every=0))
    assert outcome.record is None
    assert outcome.trace.elapsed < 1.0


@settings(max_examples=60)
@given(strategies.copies(), strategies.records(kinds=st.just(Kind.PLAIN), size_max=9))
def test_whatever_copy_comes_only_a_record_of_that_place_is_given_out(
    copy: Copy, record: Record
) -> None:
    net = still_net(1)
    node = net.peers[0]
    answers = [Found(0, copy, b"", b""), found(record)]
    for answer in answers:
        neighbour(net, node, replies={Search: lambda _, answer=answer: answer})  # type: ignore[misc]
    outcome = find(net, node, Flood())
    assert outcome.record is None or outcome.record.key == PLACE


# ------------------------------------------------------------------------------- the machine alone


class FakeWay:
    """A way that has asked one contact, and says that it has finished when it is told so."""

    def __init__(self) -> None:
        self.over = False
        self.heard: list[str] = []
        self.costs = Costs()
        self._asked = False

    def next(self, now: float) -> Ask | Wait | Finished:
        if not self._asked:
            self._asked = True
            return Ask(contact(1), b"")
        return FINISHED if self.over else Wait(None)

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        self.heard.append("reply")

    def on_failure(self, now: float, contact: Contact) -> None:
        self.heard.append("failure")

    def on_retry(self, contact: Contact) -> None:
        self.heard.append("retry")

    def on_hit(self, now: float, hit: Hit) -> None:
        self.heard.append("hit")

    def on_done(self, now: float, contact: Contact, done: Done) -> None:
        self.heard.append("done")

    def on_walker(self, now: float, walker: int, hops: int, *, last: bool) -> bool:
        self.heard.append("walker")
        return True


class FakeHome:
    """A node that holds nothing."""

    contact = contact(0)

    def held(self, now: float, kind: Kind, key: Key, author: bytes = b"") -> None:
        return None

    def tried(self) -> str:
        return "nobody"


#: Whom nobody can know of who is where we hear him.
UNKNOWABLE = contact(66)


def finding(way: FakeWay) -> Finding:
    local: Any = FakeHome()
    machine = Finding(
        kind=Kind.PLAIN,
        key=PLACE,
        value_size_max=2**20,
        flags=2,
        local=local,
        make_way=lambda _: way,
        has_neighbours=lambda: True,
        usable=lambda holder, teller: holder != UNKNOWABLE,
    )
    assert isinstance(machine.next(0.0), Ask)
    assert machine.next(0.0) == Wait(None)
    return machine


def hit(copy: Copy | None, *, hops: int = 3, holder: bytes = b"") -> Hit:
    return Hit(0, ID, 0, hops, holder, copy)


def record_in(machine: Finding) -> Record | None:
    assert isinstance(machine.outcome, GetOutcome)
    return machine.outcome.record


def test_those_who_say_that_they_hold_it_are_asked_two_at_a_time_and_few_of_them() -> None:
    machine = finding(FakeWay())
    for number in range(2, 40):
        machine.on_hit(0.1, hit(None), contact(number))
        machine.on_hit(0.1, hit(None), contact(number))
    asked = []
    while isinstance(step := machine.next(0.1), Ask):
        asked.append(step.contact)
        assert said_by(step) == Get(2, Kind.PLAIN, KEY, 0)
        if len(asked) >= HOLDERS_AT_ONCE:
            assert not isinstance(machine.next(0.1), Ask)
            machine.on_reply(0.2, asked[-2], Nodes(0, b"", b"", 0), [])
    assert asked == [contact(number) for number in range(2, 2 + HOLDERS_MAX)]


def test_the_first_true_copy_of_a_holder_ends_it_and_what_comes_later_changes_nothing() -> None:
    way = FakeWay()
    machine = finding(way)
    machine.on_hit(0.1, hit(None, hops=4), contact(5))
    assert isinstance(machine.next(0.1), Ask)
    machine.on_reply(0.3, contact(5), found(RECORD), [])
    assert machine.next(0.3) is FINISHED
    assert machine.settled
    assert record_in(machine) == RECORD
    assert isinstance(machine.outcome, GetOutcome)
    trace = machine.outcome.trace
    assert (trace.hops, trace.elapsed) == (4, 0.3)
    asked, holder = trace.steps
    assert (asked.contact, asked.result, asked.rtt) == (contact(1), StepResult.PENDING, None)
    assert (holder.contact, holder.result) == (contact(5), StepResult.RECORD)
    assert holder.rtt == pytest.approx(0.2)
    before = machine.outcome
    machine.on_hit(0.4, hit(found(plain_record(b"other", version=9)).copy), contact(6))
    machine.on_copy(0.4, found(plain_record(b"other", version=9)).copy, contact(6), 1)
    assert machine.outcome == before
    assert not machine.on_walker(0.4, 0, 4, last=False)


def test_the_holder_of_a_copy_is_who_it_says_or_else_whoever_told_us() -> None:
    for holder, expected in [(contact(9).packed, 9), (b"", 5), (b"junk", 5), (bytes(38), 5)]:
        machine = finding(FakeWay())
        machine.on_hit(0.1, hit(found(RECORD).copy, holder=holder), contact(5))
        assert isinstance(machine.outcome, GetOutcome)
        assert [each.public_key[-1] for each in machine.outcome.agreed] == [expected]


def test_a_holder_that_has_it_no_more_is_no_loss() -> None:
    way = FakeWay()
    machine = finding(way)
    for number in (2, 3, 4):
        machine.on_hit(0.1, hit(None), contact(number))
    assert isinstance(machine.next(0.1), Ask)
    assert isinstance(machine.next(0.1), Ask)
    machine.on_failure(0.2, contact(2))
    assert isinstance(machine.next(0.2), Ask)
    way.over = True
    machine.on_reply(0.3, contact(3), Nodes(0, b"", b"", 0), [])
    assert machine.next(0.3) == Wait(None), "a holder has not answered yet"
    machine.on_failure(0.4, contact(4))
    assert machine.next(0.4) is FINISHED
    assert record_in(machine) is None
    assert way.heard.count("failure") == 0


def long_copy(value: bytes = LONG[:5000], *, version: int = 5) -> Copy:
    return copy_of(plain_record(value, version=version), 3_600_000)


def fetch_all(machine: Finding, now: float, value: bytes) -> None:
    """Answers all that is fetched of a value of one piece."""
    while isinstance(step := machine.next(now), Ask):
        fetch = said_by(step)
        assert isinstance(fetch, Fetch)
        data = value[fetch.offset : fetch.offset + fetch.length]
        machine.on_reply(now, step.contact, Block(0, fetch.offset, data), [])


def test_a_long_value_that_is_not_what_was_announced_gives_way_to_the_next_holder() -> None:
    machine = finding(FakeWay())
    machine.on_hit(0.1, hit(long_copy()), contact(5))
    machine.on_hit(0.1, hit(long_copy(), holder=contact(6).packed), contact(5))
    step = machine.next(0.2)
    assert isinstance(step, Ask)
    assert step.contact == contact(5)
    machine.on_reply(0.2, contact(7), Block(0, 0, b"not asked"), [])
    machine.on_reply(0.2, contact(5), Block(0, 0, b""), [])
    assert machine.fetching
    fetch_all(machine, 0.3, LONG[:5000])
    assert isinstance(machine.outcome, GetOutcome)
    assert machine.outcome.value == LONG[:5000]
    assert machine.outcome.agreed == (contact(6),)
    machine.on_reply(0.4, contact(6), Block(0, 0, b"late"), [])


def test_who_announces_long_values_without_end_is_asked_for_few_of_them() -> None:
    """Else he keeps a search from ending, and has us ask whomever he names."""
    machine = finding(FakeWay())
    asked = []
    for number in range(2, 42):
        for _ in range(2):
            machine.on_hit(0.1, hit(long_copy(version=number)), contact(number))
        while isinstance(step := machine.next(0.1), Ask):
            asked.append(step.contact)
            machine.on_reply(0.2, step.contact, Block(0, 0, b""), [])
    assert len(asked) == HOLDERS_MAX
    assert not machine.fetching


def test_a_silent_holder_that_is_asked_twice_over_leaves_nothing_open() -> None:
    """It says nothing of the record and sends nonsense for its value: two lies, and one silence
    that must not be taken for a third."""
    way = FakeWay()
    machine = finding(way)
    machine.on_hit(0.1, hit(None), contact(5))
    assert isinstance(machine.next(0.1), Ask)
    machine.on_hit(0.2, hit(long_copy()), contact(5))
    assert isinstance(machine.next(0.2), Ask)
    way.over = True
    machine.on_failure(0.9, contact(5))
    machine.on_reply(1.0, contact(5), Block(0, 0, b""), [])
    assert machine.next(1.0) is FINISHED
    assert record_in(machine) is None


def test_a_holder_that_is_silent_while_its_value_is_fetched_is_given_up() -> None:
    machine = finding(FakeWay())
    machine.on_hit(0.1, hit(long_copy()), contact(5))
    failures = 0
    while isinstance(step := machine.next(0.2), Ask):
        assert step.contact == contact(5)
        machine.on_failure(0.3, contact(5))
        failures += 1
        assert failures < 10
    assert not machine.fetching


def test_what_the_way_asked_is_its_own_business() -> None:
    way = FakeWay()
    machine = finding(way)
    machine.on_retry(contact(1))
    machine.on_reply(0.1, contact(1), TAKEN, [])
    machine.on_failure(0.1, contact(2))
    machine.on_done(0.1, contact(1), Done(0, ID, 0, 1, 2, 3))
    machine.on_hit(0.1, hit(None), contact(3))
    assert machine.on_walker(0.1, 0, 4, last=False)
    assert way.heard == ["retry", "reply", "failure", "done", "hit", "walker"]


# ------------------------------------------------------------------------------------------- costs


def test_a_trace_counts_every_message_that_the_search_brought_about() -> None:
    """Questions and what comes back otherwise than as an answer; not the answers themselves."""
    for via in (Flood(), Flood(reply="direct"), Walk(walkers=1, ttl=9)):
        net = line_of(4)
        hold(net, net.peers[3], RECORD)
        outcome = find(net, net.peers[0], via)
        counted = outcome.trace.messages
        searches = len(sent(net, Search))
        back = len(sent(net, Hit)) + len(sent(net, Get))
        assert searches + back - 3 <= counted <= searches + back + 2, via


def long_record(number: int) -> Record:
    return plain_record(bytes([number]) * 2000, version=number)


def asked_for_values(machine: Finding) -> list[Contact]:
    """Whose long values are fetched one after the other, if all are silent."""
    asked: dict[Contact, bool] = {}
    while isinstance(step := machine.next(0.1), Ask):
        assert isinstance(said_by(step), Fetch)
        asked[step.contact] = True
        machine.on_failure(0.1, step.contact)
    return list(asked)


def test_the_second_long_value_that_one_peer_tells_of_waits_behind_the_first_of_others() -> None:
    """A liar announces many, and is slow to give each of them away."""
    machine = finding(FakeWay())
    liar, honest = contact(2), contact(3)
    for number in range(4, 9):
        copy = copy_of(long_record(number), 1000)
        machine.on_hit(0.1, hit(copy, holder=contact(number).packed), liar)
    machine.on_hit(0.1, hit(copy_of(long_record(9), 1000), holder=contact(9).packed), honest)
    assert asked_for_values(machine) == [contact(each) for each in (4, 9, 5, 6, 7, 8)]


def test_while_a_long_value_comes_slowly_the_search_goes_on_and_may_end_first() -> None:
    machine = finding(FakeWay())
    machine.on_hit(0.1, hit(copy_of(long_record(5), 1000), holder=contact(4).packed), contact(2))
    fetch = machine.next(0.1)
    assert isinstance(fetch, Ask)
    assert fetch.contact == contact(4)
    machine.on_hit(0.2, hit(None), contact(7))
    step = machine.next(0.2)
    assert isinstance(step, Ask), "another holder is asked meanwhile"
    assert step.contact == contact(7)
    machine.on_reply(0.3, contact(7), found(RECORD), [])
    assert record_in(machine) == RECORD


def test_a_holder_that_whoever_names_it_cannot_know_is_not_asked() -> None:
    """A liar who has us speak to a printer in our own house."""
    machine = finding(FakeWay())
    machine.on_hit(0.1, hit(copy_of(long_record(5), 1000), holder=UNKNOWABLE.packed), contact(2))
    assert asked_for_values(machine) == [contact(2)]


def test_we_do_not_ask_ourselves() -> None:
    machine = finding(FakeWay())
    machine.on_holder(FakeHome.contact, 1)
    assert machine.next(0.1) == Wait(None)
