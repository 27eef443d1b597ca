"""A search that asks index nodes first: what it believes of them, and when it walks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dht.contacts import Contact, contact_at, pack_address
from dht.core.machine import FINISHED, Ask, Finished, Wait
from dht.core.unstructured.asking_index import ASKED_MAX, AskingIndex
from dht.core.unstructured.branches import Costs
from dht.core.unstructured.index import Index as IndexTable
from dht.core.via import Index
from dht.records import Kind
from dht.wire.codec import pack_contacts
from dht.wire.messages import (
    Announce,
    Answer,
    Done,
    Get,
    Hit,
    Holders,
    Holding,
    Message,
    Request,
    Search,
    Taken,
    Taking,
)
from tests import strategies
from tests.core.contacts_for_tests import contact
from tests.core.pair import Net, Peer, Stranger
from tests.core.unstructured.graphs_for_tests import BUSY, ID, TAKEN, plain_record
from tests.core.unstructured.nets_for_tests import (
    PLACE,
    STILL,
    find,
    hold,
    line_of,
    neighbour,
    overlay_of,
    sent,
    still_net,
)

RECORD = plain_record(b"value")
NOT_HERE = Taken(0, Taking.NOT_HERE)


class FakeWalk:
    """A walk that finds nothing, and remembers what it heard."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.steps = 0
        self.costs = Costs(10, 2, 3)

    def next(self, now: float) -> Ask | Wait | Finished:
        self.steps += 1
        return FINISHED

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


@attrs.define(eq=False)
class Asking:
    """The machine, and what it has told of."""

    way: AskingIndex
    walk: FakeWalk
    holders: list[tuple[int, int]]
    failed: list[int]
    open: list[bool]

    @classmethod
    def of(
        cls, *nodes: int, key: int = 0, usable: Callable[[Contact], bool] = lambda _: True
    ) -> "Asking":
        walk, holders, failed, holders_open = FakeWalk(), [], [], [False]
        way = AskingIndex(
            key=key,
            body=b"who?",
            index_nodes=[contact(node) for node in nodes],
            on_holder=lambda holder, hops: holders.append((int(holder.id), hops)),
            on_failed=lambda _now, node: failed.append(int(node.id)),
            walk=walk,
            usable=lambda each, _teller: usable(each),
            holders_open=lambda: holders_open[-1],
        )
        return cls(way, walk, holders, failed, holders_open)

    def asks(self) -> list[int]:
        asked = []
        while isinstance(step := self.way.next(0.0), Ask):
            asked.append(int(step.contact.id))
        return asked


def real(*numbers: int) -> list[Contact]:
    """Contacts that are what they were packed from."""
    return [
        contact_at(bytes([number]) * 32, pack_address(f"10.0.1.{number}", 4000))
        for number in numbers
    ]


def holding(holders: list[Contact], nearer: list[Contact] | None = None) -> Holding:
    return Holding(0, *pack_contacts(holders), *pack_contacts(nearer or []))


# ------------------------------------------------------------------------------- the machine alone


def test_those_that_are_known_are_asked_at_once_and_each_once() -> None:
    asking = Asking.of(3, 5, 3, 9)
    assert asking.asks() == [3, 5, 9]
    assert asking.way.next(0.0) == Wait(None)
    assert asking.walk.steps == 0


def test_the_walk_begins_when_all_have_answered_and_nobody_has_it() -> None:
    asking = Asking.of(3, 5, 9)
    asking.asks()
    asking.way.on_reply(0.1, contact(3), holding(real(1)), [])
    asking.way.on_reply(0.1, contact(5), holding([]), [])
    asking.open.append(True)
    asking.way.on_failure(0.1, contact(9))
    assert asking.way.next(0.1) == Wait(None), "the holder is asked first"
    assert asking.holders == [(int(real(1)[0].id), 2)]
    assert asking.walk.steps == 0
    asking.open.append(False)
    assert asking.way.next(0.1) is FINISHED
    assert asking.walk.steps == 1
    assert asking.failed == [9]


def test_without_index_nodes_it_is_a_walk() -> None:
    asking = Asking.of()
    assert asking.way.next(0.0) is FINISHED
    assert asking.walk.steps == 1


@pytest.mark.parametrize(
    "answer",
    [BUSY, NOT_HERE, TAKEN, Holding(0, b"half", b"", b"", b""), Holding(0, b"", b"", b"x", b"")],
)
def test_an_index_node_that_does_not_answer_as_one_is_forgotten(answer: Answer) -> None:
    asking = Asking.of(3)
    asking.asks()
    asking.way.on_reply(0.1, contact(3), answer, [])
    assert asking.failed == [3]
    assert not asking.holders
    assert asking.way.next(0.1) is FINISHED


def test_nearer_ones_that_it_names_are_asked_too_and_no_others() -> None:
    one, two, three = sorted(real(1, 2, 3), key=lambda each: int(each.id))
    asking = Asking.of(key=0)
    asking.way.index_nodes.append(two)
    assert asking.asks() == [two.id]
    asking.way.on_reply(0.1, two, holding([], [one, three, one, two]), [])
    assert asking.asks() == [one.id]
    assert asking.way.costs.duplicates == 1
    asking.way.on_reply(0.2, one, holding(real(4)), [])
    assert asking.holders == [(int(real(4)[0].id), 3)]


def test_what_a_stranger_may_not_know_of_is_neither_asked_nor_told_of() -> None:
    asking = Asking.of(255, usable=lambda _: False)
    asking.way.key = 255
    asking.asks()
    asking.way.on_reply(0.1, contact(255), holding(real(1), real(2)), [])
    assert not asking.holders
    assert not asking.asks()


def test_however_many_they_name_few_are_asked_in_one_search() -> None:
    nearer = sorted(real(*range(1, 30)), key=lambda each: -int(each.id))
    asking = Asking.of()
    asking.way.index_nodes.append(nearer[0])
    asked = []
    while isinstance(step := asking.way.next(0.0), Ask):
        asked.append(step.contact)
        asking.way.on_reply(0.1, step.contact, holding([], nearer), [])
    assert len(asked) == ASKED_MAX
    assert asking.walk.steps == 1


def test_what_it_costs_is_what_it_asked_and_what_the_walk_did() -> None:
    asking = Asking.of(3)
    asking.asks()
    asking.way.on_retry(contact(3))
    assert (asking.way.costs.messages, asking.way.costs.nodes) == (2, 0)
    asking.way.on_reply(0.1, contact(3), holding([]), [])
    asking.way.next(0.1)
    costs = asking.way.costs
    assert (costs.messages, costs.duplicates, costs.nodes) == (12, 2, 4)


def test_what_is_the_walks_is_given_to_it_once_it_walks() -> None:
    asking = Asking.of(3)
    asking.asks()
    asking.way.on_reply(0.1, contact(9), TAKEN, [])
    asking.way.on_failure(0.1, contact(9))
    asking.way.on_failure(0.1, contact(3))
    assert not asking.walk.heard
    asking.way.next(0.1)
    asking.way.on_reply(0.1, contact(9), TAKEN, [])
    asking.way.on_failure(0.1, contact(9))
    asking.way.on_hit(0.1, Hit(0, ID, 0, 1, b"", None))
    asking.way.on_done(0.1, contact(9), Done(0, ID, 0, 1, 1, 1))
    assert asking.way.on_walker(0.1, 0, 4, last=False)
    assert asking.walk.heard == ["reply", "failure", "hit", "done", "walker"]


# ---------------------------------------------------------------------------------- through engines


@attrs.define(eq=False)
class Library:
    """A seeker, the holder at the end of a line of three, and index nodes that a test plays."""

    net: Net
    seeker: Peer
    holder: Peer
    index_nodes: list[Stranger]

    @classmethod
    def of(cls, *replies: Callable[["Library", Request], Answer | None]) -> "Library":
        net = line_of(3)
        library = cls(net, net.peers[0], net.peers[2], [])
        hold(net, library.holder, RECORD)
        for reply in replies:
            node = neighbour(net, replies={Holders: partial(reply, library)})
            overlay_of(library.seeker).index_nodes.heard(net.now, node.contact, 0)
            library.index_nodes.append(node)
        return library

    def told(self, *holders: Contact) -> Holding:
        return holding(list(holders))


def honest(library: Library, _: Request) -> Answer:
    return library.told(library.holder.contact)


def dead(_: Library, __: Request) -> None:
    return None


def busy(_: Library, __: Request) -> Answer:
    return BUSY


def knows_nobody(library: Library, _: Request) -> Answer:
    return library.told()


def lies(library: Library, _: Request) -> Answer:
    """Names somebody who holds nothing, and somebody who is not there."""
    middle = library.net.peers[1].contact
    return library.told(middle, library.net.stranger().contact)


def test_an_index_node_that_knows_spares_the_walk() -> None:
    library = Library.of(honest)
    outcome = find(library.net, library.seeker, Index())
    assert outcome.value == b"value"
    assert outcome.agreed == (library.holder.contact,)
    assert outcome.trace.hops == 2
    assert outcome.trace.messages == 2
    assert not sent(library.net, Search)


@pytest.mark.parametrize("others", [dead, busy, knows_nobody, lies])
def test_one_good_index_node_is_enough(others: Callable[..., Any]) -> None:
    library = Library.of(others, honest, others)
    outcome = find(library.net, library.seeker, Index())
    assert outcome.value == b"value"
    assert not sent(library.net, Search)
    assert outcome.trace.elapsed < 3.0


@pytest.mark.parametrize("others", [dead, busy, knows_nobody, lies])
def test_where_no_index_node_is_good_the_walk_finds_it(others: Callable[..., Any]) -> None:
    library = Library.of(others, others, others)
    outcome = find(library.net, library.seeker, Index())
    assert outcome.value == b"value"
    assert sent(library.net, Search)
    forgotten = len(overlay_of(library.seeker).index_nodes) == 0
    assert forgotten == (others in (dead, busy))


def test_a_seeker_that_keeps_an_index_itself_looks_there_first() -> None:
    config = attrs.evolve(STILL, index=True)
    net = line_of(3, config=config)
    hold(net, net.peers[2], RECORD)
    overlay = overlay_of(net.peers[0])
    assert isinstance(overlay.announcing.index, IndexTable)
    slot = (int(Kind.PLAIN), int(PLACE))
    overlay.announcing.index.announce(net.now, net.peers[2].contact, slot, 60.0)
    outcome = find(net, net.peers[0], Index())
    assert outcome.value == b"value"
    assert outcome.trace.hops == 1
    assert not sent(net, Search)
    assert not sent(net, Holders)


def test_what_is_stored_is_announced_and_then_found_through_the_index() -> None:
    net = still_net(2)
    seeker, holder = net.peers
    librarian = net.add(config=attrs.evolve(STILL, index=True), join=False)
    for peer in (seeker, holder):
        neighbour(net, peer)
        overlay_of(peer).index_nodes.heard(net.now, librarian.contact, 0)
    hold(net, holder, RECORD)
    net.run_for(2.0)
    assert len(sent(net, Announce)) == 1
    outcome = find(net, seeker, Index())
    assert outcome.value == b"value"
    assert [told.target for told, _ in sent(net, Get)] == [holder.address]
    assert not sent(net, Search)


@settings(max_examples=60)
@given(
    st.builds(
        Holding,
        time_s=st.just(0),
        contacts4=st.binary(max_size=80),
        contacts6=st.binary(max_size=100),
        indexes4=st.binary(max_size=80),
        indexes6=st.binary(max_size=100),
    )
    | strategies.answers()
)
def test_whatever_index_nodes_answer_the_walk_finds_it(answer: Answer) -> None:
    library = Library.of(lambda _, __: answer)
    assert find(library.net, library.seeker, Index()).value == b"value"
