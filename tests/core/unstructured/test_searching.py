"""Searches at one node: which are passed on, how their answers come back, and what they may cost.

``Street`` is a node with one neighbour that brings searches and some that they go on to.
"""

from collections.abc import Callable
from random import Random
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dht.config import BUDGET_MAX, VALUE_INLINE_MAX, Config
from dht.contacts import contact_at, pack_address
from dht.core.channel.face import Opened, Ticket
from dht.core.unstructured.branches import SearchCounters
from dht.core.unstructured.searching import (
    ARRIVALS_MAX,
    ENDED_MAX,
    HITS_MAX,
    SEEN_MAX,
    SEEN_S,
    TTL_MAX,
)
from dht.core.via import Flood, Walk
from dht.keyspace import content_key, key_bytes
from dht.records import VERSION_MAX, Kind, value_hash
from dht.wire.codec import copy_of, decode_untrusted
from dht.wire.messages import (
    DIRECT,
    KEEP,
    NO_TABLE,
    REQUEST_ID_SIZE,
    WALK,
    WANT_IPV4,
    Answer,
    Done,
    Found,
    Get,
    Hit,
    Message,
    Request,
    Search,
    Taken,
    Taking,
    Wanted,
)
from tests import strategies
from tests.core.pair import DELAY_S, Net, Peer, Stranger, sealed
from tests.core.unstructured.graphs_for_tests import (
    BUSY,
    ID,
    SEEN,
    TAKEN,
    found,
    plain_record,
    search_of,
)
from tests.core.unstructured.nets_for_tests import (
    PLACE,
    STILL,
    befriend,
    find,
    hold,
    line_of,
    neighbour,
    overlay_of,
    searches_sent,
    sent,
    still_net,
)

RECORD = plain_record(b"value")
#: Of those who live here only, on IPv4.
FLAGS = WANT_IPV4 | NO_TABLE


@attrs.define(eq=False)
class Street:
    """``node`` gets searches from ``asker`` and has ``others`` for neighbours besides."""

    net: Net
    node: Peer
    asker: Stranger
    others: list[Stranger]

    @classmethod
    def of(
        cls,
        others: int = 3,
        *,
        config: Config = STILL,
        private_network: bool = True,
        replies: dict[type, Callable[[Request], Answer | None]] | None = None,
    ) -> "Street":
        net = still_net(1, config=config, private_network=private_network)
        node = net.peers[0]
        asker = neighbour(net, node)
        return cls(net, node, asker, [neighbour(net, node, replies=replies) for _ in range(others)])

    def ask(self, search: Search, asker: Stranger | None = None) -> list[Taken | Found]:
        """What a search is answered within 50 ms, without what the clock says there."""
        back = (asker or self.asker).say(self.node, search)
        return [
            msgspec.structs.replace(message, time_s=0)
            for message in back
            if isinstance(message, Taken | Found)
        ]

    def onward(self) -> list[Search]:
        """Every search that was passed on to somebody."""
        return [search for other in self.others for search in other.heard_of(Search)]

    @property
    def counters(self) -> SearchCounters:
        return overlay_of(self.node).searching.counters


def hit_of(version: int, *, walker: int = 0, hops: int = 2, value: bytes = b"v") -> Hit:
    return Hit(0, ID, walker, hops, b"", found(plain_record(value, version=version)).copy)


def done_of(messages: int, duplicates: int = 0, nodes: int = 0, *, walker: int = 0) -> Done:
    return Done(0, ID, walker, messages, duplicates, nodes)


# --------------------------------------------------------------------------------- a flood goes on


def test_a_flood_goes_on_to_all_but_the_one_it_came_from_and_only_once() -> None:
    street = Street.of()
    assert street.ask(search_of()) == [TAKEN]
    assert len(street.onward()) == 3
    assert {(each.ttl, each.hops) for each in street.onward()} == {(4, 1)}
    assert not street.asker.heard_of(Search)
    assert street.ask(search_of(), street.others[0]) == [SEEN]
    assert street.ask(search_of(hops=3, ttl=9)) == [SEEN]
    assert len(street.onward()) == 3


def test_a_search_that_is_sent_again_is_answered_as_before_and_goes_on_once() -> None:
    """The answer was lost: who asked sends the very same again."""
    for style in (0, WALK):
        street = Street.of()
        search = search_of(style=style, hops=1)
        assert street.ask(search) == street.ask(search) == [TAKEN]
        assert len(street.onward()) == (1 if style else 3)


def test_who_holds_it_answers_as_often_as_it_is_asked_and_passes_nothing_on() -> None:
    for style in (0, WALK):
        street = Street.of()
        hold(street.net, street.node, RECORD)
        for _ in range(2):
            [answer] = street.ask(search_of(style=style))
            assert isinstance(answer, Found)
            assert (answer.copy.version, answer.copy.payload) == (5, b"value")
        assert not street.onward()
        assert street.counters.searches_answered == 1


def test_a_walker_goes_on_to_one_and_again_whenever_it_comes_by() -> None:
    street = Street.of()
    assert street.ask(search_of(style=WALK, walker=1, hops=1)) == [TAKEN]
    assert street.ask(search_of(style=WALK, walker=2, hops=1)) == [TAKEN]
    assert street.ask(search_of(style=WALK, walker=1, hops=5)) == [TAKEN]
    assert [each.hops for each in street.onward()].count(2) == 2
    assert len(street.onward()) == 3


def test_our_own_search_that_comes_back_has_been_seen() -> None:
    net = line_of(3)
    befriend(net.peers[2], net.peers[0])
    befriend(net.peers[0], net.peers[2])
    outcome = find(net, net.peers[0], Flood(ttl=4))
    assert searches_sent(net) == 4
    assert outcome.trace.duplicates == 2


def test_a_flood_ends_with_a_word_to_whom_it_came_from() -> None:
    street = Street.of()
    street.ask(search_of())
    for other, costs in zip(street.others, [(5, 1, 3), (0, 0, 0), (2, 2, 0)], strict=True):
        assert not street.asker.heard_of(Done)
        other.say(street.node, done_of(*costs))
    [done] = street.asker.heard_of(Done)
    assert (done.messages, done.duplicates, done.nodes) == (3 + 7, 3, 3 + 3)
    assert street.counters.ends_passed_back == 1


def test_a_flood_that_goes_nowhere_ends_at_once() -> None:
    for search in (search_of(ttl=0), search_of(budget=0)):
        street = Street.of()
        street.ask(search)
        [done] = street.asker.heard_of(Done)
        assert (done.messages, done.duplicates, done.nodes) == (0, 0, 0)
        assert not street.onward()


def test_nobody_is_waited_for_who_is_silent() -> None:
    street = Street.of(replies={Search: lambda _: None})
    street.ask(search_of())
    assert not street.asker.heard_of(Done)
    street.net.run_for(5.0)
    [done] = street.asker.heard_of(Done)
    assert (done.messages, done.nodes) == (3, 0)


def test_a_flood_with_the_number_of_a_walker_is_a_flood() -> None:
    street = Street.of()
    street.ask(search_of(walker=7))
    assert {each.walker for each in street.onward()} == {0}
    for other in street.others:
        other.say(street.node, done_of(0))
    assert len(street.asker.heard_of(Done)) == 1


# ------------------------------------------------------------------------------- answers come back


def test_an_answer_goes_back_hand_by_hand_and_says_who_holds_it() -> None:
    net = line_of(5)
    hold(net, net.peers[3], RECORD)
    outcome = find(net, net.peers[0], Flood())
    assert outcome.value == b"value"
    assert outcome.agreed == (net.peers[3].contact,)
    assert outcome.trace.hops == 3
    hits = [(told.source, told.target) for told, _ in sent(net, Hit)]
    addresses = [peer.address for peer in net.peers]
    assert hits == [(addresses[2], addresses[1]), (addresses[1], addresses[0])]
    net.run_for(5.0)
    assert not net.leftovers(net.peers[0])


def test_a_walker_that_went_in_a_circle_has_a_short_way_back() -> None:
    street = Street.of(replies={Search: lambda _: found(RECORD)})
    loop = neighbour(street.net, street.node)
    for other in street.others:
        other.reply = lambda _: TAKEN
    street.ask(search_of(style=WALK, walker=3, hops=1))
    for other in street.others:
        other.reply = lambda _: found(RECORD)
    loop.reply = lambda _: found(RECORD)
    street.asker.reply = lambda _: TAKEN
    street.ask(search_of(style=WALK, walker=3, hops=6), loop)
    [hit] = street.asker.heard_of(Hit)
    assert (hit.walker, hit.hops) == (3, 7)
    assert not loop.heard_of(Hit)


def test_after_the_first_only_newer_ones_are_passed_back_and_few_of_them() -> None:
    street = Street.of(7)
    street.ask(search_of())
    for other, version in zip(street.others, [5, 5, 4, 6, 7, 8, 9], strict=True):
        other.say(street.node, hit_of(version))
    versions = [hit.copy.version for hit in street.asker.heard_of(Hit) if hit.copy]
    assert versions == [5, 6, 7, 8]
    assert len(versions) == HITS_MAX == street.counters.hits_passed_back


def test_an_answer_without_a_copy_is_of_no_use_to_whoever_is_on_the_way() -> None:
    street = Street.of()
    street.ask(search_of())
    street.others[0].say(street.node, Hit(0, ID, 0, 2, b"", None))
    assert not street.asker.heard_of(Hit)


def test_nothing_is_believed_of_somebody_whom_the_search_was_not_sent_to() -> None:
    street = Street.of()
    eve = street.net.stranger(reply=lambda _: TAKEN)
    street.ask(search_of())
    [answer] = eve.say(street.node, hit_of(9))
    assert isinstance(answer, Taken)
    assert answer.status == Taking.NOT_HERE
    assert not street.asker.heard_of(Hit)
    eve.say(street.node, done_of(5))
    eve.say(street.node, done_of(5))
    for other in street.others:
        other.say(street.node, done_of(0))
    [done] = street.asker.heard_of(Done)
    assert done.messages == 3


def test_of_a_walker_too_nothing_is_believed_of_others_than_those_it_went_to() -> None:
    street = Street.of(1)
    eve = street.net.stranger(reply=lambda _: TAKEN)
    street.ask(search_of(style=WALK, walker=3, hops=1))
    for message in (hit_of(9, walker=3), done_of(9, walker=3)):
        eve.say(street.node, message)
    street.others[0].say(street.node, hit_of(9, walker=4))
    street.others[0].say(street.node, done_of(9, walker=4))
    assert not street.asker.heard_of(Hit)
    assert not street.asker.heard_of(Done)
    street.others[0].say(street.node, done_of(9, walker=3))
    [done] = street.asker.heard_of(Done)
    assert (done.walker, done.messages) == (3, 9)


def test_answers_to_a_search_that_nobody_knows_are_answered_and_forgotten() -> None:
    street = Street.of()
    statuses = [
        street.asker.say(street.node, message)
        for message in (hit_of(1), done_of(1), Wanted(0, ID, 0, 4, last=False))
    ]
    assert [
        [answer.status for answer in each if isinstance(answer, Taken)] for each in statuses
    ] == [
        [Taking.NOT_HERE],
        [Taking.TAKEN],
        [Taking.SEEN],
    ]


def test_what_is_passed_back_is_kept_on_the_way_if_the_search_says_so_and_it_is_true() -> None:
    for style, forged, kept in [(KEEP, False, True), (0, False, False), (KEEP, True, False)]:
        copy = found(RECORD).copy
        if forged:
            copy = msgspec.structs.replace(copy, size=3)
        street = Street.of(1, replies={Search: lambda _, copy=copy: Found(0, copy, b"", b"")})  # type: ignore[misc]
        street.ask(search_of(style=style))
        assert len(street.asker.heard_of(Hit)) == (not forged)
        held = street.node.held(street.net.now, PLACE)
        assert (held is not None) == kept
        if held is not None:
            assert held.placed


# --------------------------------------------------------------------------- straight to the issuer


def test_a_holder_opens_to_the_issuer_where_that_is_safe() -> None:
    net = line_of(5)
    hold(net, net.peers[3], RECORD)
    outcome = find(net, net.peers[0], Flood(reply="direct"))
    assert outcome.value == b"value"
    assert outcome.agreed == (net.peers[3].contact,)
    [(told, hit)] = sent(net, Hit)
    assert (told.source, told.target) == (net.peers[3].address, net.peers[0].address)
    assert hit.copy is None
    [(asked, _)] = sent(net, Get)
    assert (asked.source, asked.target) == (net.peers[0].address, net.peers[3].address)
    net.run_for(5.0)
    assert len(sent(net, Done)) == 3, "the flood ends as if nobody had it"


@pytest.mark.parametrize(
    ("private_network", "issuer_host", "asker_host", "opens"),
    [
        (True, "9.9.9.9", None, True),
        (False, "9.9.9.9", None, False),
        (False, "10.9.9.9", "10.1.1.1", True),
        (False, "10.9.9.9", None, False),
        (True, "10.9.9.9", None, False),
    ],
)
def test_nobody_opens_to_a_stranger_nor_for_one_to_a_neighbour(
    private_network: bool, issuer_host: str, asker_host: str | None, opens: bool
) -> None:
    """Else whoever issues a search has others speak to whom it names."""
    street = Street.of(private_network=private_network)
    hold(street.net, street.node, RECORD)
    issuer = street.net.stranger(issuer_host, reply=lambda _: TAKEN)
    asker = neighbour(street.net, street.node, host=asker_host)
    [answer] = street.ask(search_of(style=DIRECT, issuer=issuer.contact.packed), asker)
    assert bool(issuer.heard_of(Hit)) == opens
    assert isinstance(answer, Taken if opens else Found)


def test_few_may_open_to_an_issuer_whatever_a_search_says() -> None:
    street = Street.of()
    street.ask(search_of(style=DIRECT, hits=255, issuer=street.asker.contact.packed))
    assert sum(each.hits for each in street.onward()) == HITS_MAX


def test_a_search_that_may_open_to_nobody_any_more_is_answered_by_the_path() -> None:
    street = Street.of()
    hold(street.net, street.node, RECORD)
    issuer = street.net.stranger(reply=lambda _: TAKEN)
    [answer] = street.ask(search_of(style=DIRECT, issuer=issuer.contact.packed, hits=0))
    assert isinstance(answer, Found)
    assert not issuer.heard_of(Hit)


@pytest.mark.parametrize("issuer", [b"", b"short", bytes(38)])
def test_an_issuer_that_is_none_is_answered_by_the_path(issuer: bytes) -> None:
    street = Street.of()
    hold(street.net, street.node, RECORD)
    [answer] = street.ask(search_of(style=DIRECT, issuer=issuer))
    assert isinstance(answer, Found)


# ------------------------------------------------------------------------------------------ walkers


def test_a_walker_asks_its_issuer_and_stops_when_told_so_or_when_it_is_gone() -> None:
    for answer, goes_on in [(TAKEN, True), (SEEN, False), (None, False)]:
        street = Street.of()
        issuer = street.net.stranger(reply=lambda _, answer=answer: answer)  # type: ignore[misc]
        search = search_of(
            style=WALK, walker=3, hops=4, check_every=4, issuer=issuer.contact.packed
        )
        street.ask(search)
        street.net.run_for(10.0)
        assert issuer.heard_of(Wanted)[0] == Wanted(FLAGS, ID, 3, 4, last=False)
        assert len(street.onward()) == goes_on
        assert not street.asker.heard_of(Done)


def test_a_walker_that_ends_says_so_to_its_issuer_or_else_back_along_its_path() -> None:
    street = Street.of(0)
    issuer = street.net.stranger(reply=lambda _: TAKEN)
    search = search_of(style=WALK, walker=3, hops=2, check_every=4, issuer=issuer.contact.packed)
    street.asker.reply = lambda _: BUSY
    street.ask(search)
    street.net.run_for(1.0)
    assert issuer.heard_of(Wanted) == [Wanted(FLAGS, ID, 3, 2, last=True)]
    assert not street.asker.heard_of(Done)
    street = Street.of(0)
    street.asker.reply = lambda _: BUSY
    street.ask(search_of(style=WALK, walker=3, hops=2))
    street.net.run_for(1.0)
    [done] = street.asker.heard_of(Done)
    assert (done.walker, done.messages) == (3, 2)


def test_nobody_is_asked_whether_to_go_on_behind_a_door_that_a_stranger_may_not_know_of() -> None:
    street = Street.of()
    issuer = street.net.stranger("10.0.0.1", reply=lambda _: TAKEN)
    street.ask(search_of(style=WALK, hops=4, check_every=4, issuer=issuer.contact.packed))
    assert not issuer.heard
    assert len(street.onward()) == 1


def test_walkers_stop_soon_after_it_was_found() -> None:
    """Of 8 walkers in a complete graph one finds it at once: the others ask after 4 hops."""
    edges = [(one, other) for one in range(12) for other in range(one)]
    net = still_net(12, edges)
    hold(net, net.peers[11], RECORD)
    assert find(net, net.peers[0], Walk(walkers=8, ttl=200)).value == b"value"
    net.run_for(60.0)
    assert searches_sent(net) <= 8 * 9
    assert [wanted.last for _, wanted in sent(net, Wanted)].count(True) == 0


def test_walkers_stop_soon_after_their_issuer_is_gone() -> None:
    edges = [(one, other) for one in range(8) for other in range(one)]
    net = still_net(8, edges)
    net.begin(
        net.peers[0],
        lambda engine, now: engine.start_search(now, Kind.PLAIN, PLACE, Walk(walkers=8, ttl=255)),
    )
    net.run_for(0.1)
    before = searches_sent(net)
    net.crash(net.peers[0])
    net.run_for(60.0)
    assert before > 8
    assert searches_sent(net) - before <= 8 * 4 * 2


def test_a_cancelled_search_stops_its_walkers() -> None:
    edges = [(one, other) for one in range(8) for other in range(one)]
    net = still_net(8, edges)
    operation = net.begin(
        net.peers[0],
        lambda engine, now: engine.start_search(now, Kind.PLAIN, PLACE, Walk(walkers=8, ttl=255)),
    )
    net.run_for(0.1)
    before = searches_sent(net)
    net.peers[0].engine.cancel(net.now, operation)
    net.run_for(60.0)
    assert searches_sent(net) - before <= 8 * 4
    [finished] = [each for each in net.peers[0].finished() if each.operation_id == operation]
    assert (finished.outcome, finished.error) == (None, None)
    assert not net.leftovers(net.peers[0])


# ------------------------------------------------------------------------- what strangers may cost


def test_a_search_costs_no_more_than_the_most_that_a_node_passes_on() -> None:
    config = attrs.evolve(STILL, search_budget_max=100, search_burst=1000)
    for style in (0, WALK):
        street = Street.of(config=config)
        street.ask(search_of(budget=BUDGET_MAX, style=style, ttl=200))
        assert sum(1 + each.budget for each in street.onward()) == 100


def test_a_walker_with_few_hops_left_takes_no_more_of_a_share_than_they_can_cost() -> None:
    config = attrs.evolve(STILL, search_burst=30.0, search_allowance_s=0.01)
    street = Street.of(config=config)
    for walker in range(9):
        search = search_of(style=WALK, walker=walker, ttl=2)
        assert street.ask(search) == [TAKEN], "each takes 3 of 30"
    assert {each.budget for each in street.onward()} == {1}
    street.ask(search_of(style=WALK, walker=9, ttl=200))
    assert len(street.onward()) == 10, "a step was left, and nothing beyond it"
    assert sorted(each.budget for each in street.onward()) == [0] + 9 * [1]


def test_a_flood_that_goes_no_farther_costs_one() -> None:
    config = attrs.evolve(STILL, search_burst=3.0, search_allowance_s=0.01)
    street = Street.of(config=config)
    answers = [street.ask(search_of(ttl=0, search_id=bytes([n] * 8)))[0] for n in range(4)]
    assert answers == [TAKEN, TAKEN, TAKEN, BUSY]
    assert street.counters.searches_refused == 1


def test_who_holds_it_takes_nothing_for_what_does_not_go_on() -> None:
    config = attrs.evolve(STILL, search_burst=3.0, search_allowance_s=0.01)
    street = Street.of(config=config)
    hold(street.net, street.node, RECORD)
    answers = [street.ask(search_of(search_id=bytes([n] * 8)))[0] for n in range(4)]
    assert [isinstance(answer, Found) for answer in answers] == [True, True, True, False]


def test_of_a_search_beyond_its_senders_share_only_as_much_goes_on_as_is_left() -> None:
    """And of what is left, half: the next search of the same sender is to get somewhere too."""
    config = attrs.evolve(STILL, search_burst=17.0, search_allowance_s=0.01)
    street = Street.of(config=config)

    def goes_on(name: bytes, asker: Stranger | None = None) -> int:
        assert street.ask(search_of(budget=100, search_id=name), asker) == [TAKEN]
        return sum(1 + each.budget for each in street.onward() if each.id == name)

    assert [goes_on(bytes([n]) * 8) for n in range(3)] == [8, 3, 1]
    others = (bytes([n]) * 8 for n in range(9, 99))
    while street.ask(search_of(budget=100, search_id=next(others))) != [BUSY]:
        pass
    assert goes_on(b"fourth i", street.others[0]) > 1, "it is another's share"


def test_who_asks_too_much_has_his_share_nonetheless() -> None:
    """Ten searches a second of which each costs one, where one a second is allowed."""
    config = attrs.evolve(STILL, search_burst=1.0, search_allowance_s=1.0)
    street = Street.of(config=config)
    taken = 0
    for number in range(200):
        [answer] = street.ask(search_of(ttl=0, search_id=number.to_bytes(8)))
        taken += answer == TAKEN
        street.net.run_for(0.05)
    assert 18 <= taken <= 21


def test_however_far_it_has_come_a_search_ends_after_as_many_hops_as_a_byte_counts() -> None:
    for hops, ttl, left in [(250, 200, 4), (255, 200, None), (0, 255, 254)]:
        street = Street.of(1)
        street.ask(search_of(hops=hops, ttl=ttl))
        assert [each.ttl for each in street.onward()] == ([] if left is None else [left])
        assert all(each.ttl + each.hops <= TTL_MAX for each in street.onward())


def test_the_searches_that_are_remembered_are_bounded_and_forgotten() -> None:
    config = attrs.evolve(STILL, search_burst=1e9)
    street = Street.of(0, config=config)
    searching = overlay_of(street.node).searching
    opened = Opened(
        street.asker.contact.public_key, street.asker.address, b"", None, 1000, proved=True
    )
    deaf: Any = _Deaf()
    searching.channel = deaf
    for number in range(SEEN_MAX + 10):
        search = search_of(style=WALK, search_id=number.to_bytes(8), ttl=0)
        searching.serve_search(street.net.now, opened, bytes(8), search, street.asker.contact)
    assert len(searching) == SEEN_MAX
    now = street.net.now + SEEN_S
    searching.serve_search(now, opened, bytes(8), search_of(), street.asker.contact)
    assert len(searching) == 1


def test_our_own_searches_that_are_remembered_after_their_end_are_bounded() -> None:
    searching = overlay_of(still_net(1).peers[0]).searching
    for number in range(ENDED_MAX + 10):
        search = _Nobody()
        searching.issue(number.to_bytes(8), search, lambda _now: True)
        searching.end(search)
    assert len(searching._ended) == ENDED_MAX


def test_of_a_search_that_has_ended_its_id_alone_is_kept_to_tell_walkers_to_stop() -> None:
    """A value of a megabyte, found a thousand times, is not to stay in memory."""
    net = line_of(2)
    node, other = net.peers
    hold(net, other, RECORD)
    searching = overlay_of(node).searching
    for via in (Flood(ring=True), Walk(walkers=2)):
        assert find(net, node, via).value == b"value"
        assert not searching._issued
        assert not searching._ids_of
        search_id = list(searching._ended)[-1]
        stranger = net.stranger()
        [answer] = stranger.say(node, Wanted(0, search_id, 0, 4, last=False))
        assert isinstance(answer, Taken)
        assert answer.status == Taking.SEEN
    searching.config = attrs.evolve(STILL, operations_max=1)
    net.crash(other)
    cancelled = net.begin(node, lambda e, now: e.start_search(now, Kind.PLAIN, PLACE, Flood()))
    assert searching._issued
    node.engine.cancel(net.now, cancelled)
    assert not searching._issued


def test_however_many_searches_are_under_way_each_hears_of_its_answer() -> None:
    searching = overlay_of(still_net(1).peers[0]).searching
    for number in range(2 * ENDED_MAX):
        searching.issue(number.to_bytes(8), _Nobody(), lambda _now: True)
    assert len(searching._issued) == 2 * ENDED_MAX


def test_one_lost_answer_keeps_none_of_the_next_from_whom_a_search_came_from() -> None:
    """Whoever brought a search is no hearsay: its door is not shut when it is silent once."""
    street = Street.of(1, replies={Search: lambda _: found(RECORD)})
    street.asker.reply = lambda _: None
    street.ask(search_of())
    street.net.run_for(8.0)
    street.asker.reply = lambda _: TAKEN
    before = len(street.asker.heard_of(Hit))
    street.ask(msgspec.structs.replace(search_of(), id=b"another!"))
    assert len(street.asker.heard_of(Hit)) > before


def test_that_a_walker_has_ended_is_believed_of_whom_has_proved_where_it_is() -> None:
    searching = overlay_of(still_net(1).peers[0]).searching
    searching.channel = channel = _Deaf()  # type: ignore[assignment]
    searching.issue(ID, _Nobody(), lambda _now: True)
    asker = still_net().stranger().contact
    opened = Opened(asker.public_key, asker.address, b"", 0, 1000, proved=False)
    searching.serve_wanted(0.0, opened, bytes(8), Wanted(0, ID, 0, 4, last=True), asker)
    assert channel.demands == 1


def test_an_end_that_is_told_twice_is_passed_back_once() -> None:
    street = Street.of(0)
    street.ask(search_of())
    assert len(street.asker.heard_of(Done)) == 1
    street.net.stranger().say(street.node, done_of(0))
    assert len(street.asker.heard_of(Done)) == 1


def test_what_one_branch_says_it_cost_is_no_more_than_it_was_given() -> None:
    street = Street.of(3)
    street.ask(search_of(budget=33))
    for other in street.others:
        other.say(street.node, done_of(BUDGET_MAX, BUDGET_MAX, BUDGET_MAX))
    [done] = street.asker.heard_of(Done)
    assert done.messages == 33


def test_a_head_of_content_with_a_high_version_keeps_no_other_from_being_passed_back() -> None:
    """Its version is nobody's word: the key of content is the hash of its value alone."""
    value = bytes(2000)
    content = attrs.evolve(
        plain_record(value), kind=Kind.CONTENT, key=content_key(value_hash(value))
    )
    street = Street.of(2)
    search = search_of(key=key_bytes(content.key))
    street.ask(msgspec.structs.replace(search, kind=int(Kind.CONTENT)))
    lie, truth = copy_of(attrs.evolve(content, version=VERSION_MAX), 9), copy_of(content, 9)
    for other, copy in zip(street.others, (lie, truth), strict=True):
        other.say(street.node, Hit(0, ID, 0, 2, b"", copy))
    assert [hit.copy for hit in street.asker.heard_of(Hit)] == [lie, truth]


def test_a_value_longer_than_a_datagram_may_carry_is_no_answer() -> None:
    """With what is added on its way back it would fit no datagram any more."""
    long = plain_record(bytes(VALUE_INLINE_MAX + 1))
    answer = Found(0, copy_of(long, 9, inline_max=VALUE_INLINE_MAX + 1), b"", b"")
    assert answer.copy.payload == long.value
    street = Street.of(1, replies={Search: lambda _: answer})
    street.ask(search_of())
    assert not street.asker.heard_of(Hit)


def test_a_walker_of_an_issuer_that_cannot_be_asks_nobody() -> None:
    """Ourselves, an address of the other family, a private one that a stranger names."""
    street = Street.of(1)
    node = street.node.contact
    for number, issuer in enumerate(
        (
            node,
            contact_at(bytes(32), pack_address("2600::1", 4000)),
            contact_at(bytes(32), pack_address("192.168.1.7", 22)),
        )
    ):
        begun = len(street.net.log)
        street.ask(
            search_of(style=WALK, walker=number, check_every=1, hops=1, issuer=issuer.packed)
        )
        assert not sent(street.net, Wanted, since=begun)
    assert len(street.onward()) == 3


def test_the_walkers_of_one_search_that_are_remembered_are_bounded() -> None:
    street = Street.of(1, config=attrs.evolve(STILL, search_burst=1e9))
    for walker in range(256):
        for hops in (1, 2, 3):
            street.ask(search_of(style=WALK, walker=walker, hops=hops, budget=1))
    [passing] = overlay_of(street.node).searching._passing.values()
    assert len(passing.arrivals) == ARRIVALS_MAX


class _Nobody:
    def on_hit(self, now: float, hit: Hit, teller: object) -> None:
        raise AssertionError

    def on_done(self, now: float, contact: object, done: Done) -> None:
        raise AssertionError

    def on_walker(self, now: float, walker: int, hops: int, *, last: bool) -> bool:
        raise AssertionError


class _Deaf:
    """A channel that remembers what it was asked to do, and does nothing."""

    overhead = ping_size = 50

    def __init__(self) -> None:
        self.answers: list[Message] = []
        self.demands = 0
        self.asked = 0

    def ask(self, now: float, contact: object, request_id: bytes, payload: bytes) -> None:
        self.asked += 1

    def answer(self, now: float, ticket: Ticket, payload: bytes) -> None:
        self.answers.append(decode_untrusted(payload)[1])

    def demand_proof(self, now: float, ticket: Ticket) -> None:
        self.demands += 1


def test_who_has_not_shown_where_he_is_has_to_first() -> None:
    street = Street.of()
    street.ask(search_of())
    overlay = overlay_of(street.node)
    channel: Any = _Deaf()
    overlay.searching.channel = channel
    other = street.others[0].contact
    opened = Opened(other.public_key, other.address, b"", None, 1000, proved=False)
    for message in (search_of(search_id=b"othernum"), hit_of(9), done_of(1)):
        overlay.served[type(message)](street.net.now, opened, bytes(8), message, other)
    assert (channel.demands, channel.answers) == (3, [])
    street.net.run_for(1.0)
    assert len(street.onward()) == 3
    assert not street.asker.heard_of(Hit)


# ------------------------------------------------------------------------------------------ clients


def test_a_client_serves_nothing_and_finds_what_it_looks_for() -> None:
    net = line_of(3)
    client = net.add(client=True, join=False)
    befriend(client, net.peers[0])
    befriend(net.peers[0], client)
    hold(net, net.peers[2], RECORD)
    for via in (Flood(), Flood(reply="direct"), Walk(walkers=2), Walk(walkers=1, reply="direct")):
        assert find(net, client, via).value == b"value"
    net.run_for(10.0)
    begun = len(net.log)
    assert find(net, net.peers[0], Flood()).value == b"value"
    answers = [each for each, _ in sent(net, Taken, since=begun) if each.source == client.address]
    assert not answers


# -------------------------------------------------------------------------------------------- sums


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([None, 5, 17]))
def test_what_a_flood_cost_is_what_the_nodes_have_counted(
    seed: int, ttl: int, budget: int | None
) -> None:
    random = Random(seed)
    pairs = [(one, other) for one in range(9) for other in range(one)]
    net = still_net(9, [(0, 1), *random.sample(pairs, 14)], seed=seed)
    outcome = find(net, net.peers[0], Flood(ttl=ttl, budget=budget))
    net.run_for(10.0)
    counters = [overlay_of(peer).searching.counters for peer in net.peers]
    passed_on = sum(each.searches_passed_on for each in counters)
    own_ends = [1 for told, _ in sent(net, Done) if told.target == net.peers[0].address]
    assert searches_sent(net) == passed_on
    assert outcome.trace.messages == passed_on + len(own_ends)
    assert sum(each.searches_seen_again for each in counters) == outcome.trace.duplicates
    assert searches_sent(net) <= (budget or 10**6)
    assert outcome.trace.elapsed < 1.0


# ------------------------------------------------------------------------------------ anything else


@settings(max_examples=300)
@given(
    st.lists(st.tuples(strategies.requests(), st.booleans()), min_size=1, max_size=12),
    st.sampled_from([b"thesearc", b"othernum"]),
)
def test_no_request_whatever_its_fields_say_makes_an_engine_raise(
    requests: list[tuple[Request, bool]], search_id: bytes
) -> None:
    """Searches and their answers speak of one and the same search, so that they meet."""
    net = Net(config=STILL, overlay="both")
    node = net.add(join=False)
    strangers = [neighbour(net, node) for _ in range(2)]
    for request, first in requests:
        searches = isinstance(request, Search | Hit | Done | Wanted)
        said = msgspec.structs.replace(request, id=search_id) if searches else request
        strangers[first].say(node, said)
    net.run_for(10.0)
    assert not net.leftovers(node).get("operations")


@given(st.binary(max_size=200))
def test_no_bytes_make_an_engine_raise(junk: bytes) -> None:
    net = Net(config=STILL, overlay="both")
    node = net.add(join=False)
    stranger = neighbour(net, node)
    for tag in (32, 33, 34, 35, 36, 37, 38, 39):
        payload = bytes(REQUEST_ID_SIZE) + bytes([0x90 | min(len(junk), 15), tag]) + junk
        net.send(sealed(stranger.contact.public_key, payload), stranger.address, node.address)
    net.run_for(2 * DELAY_S)
    assert node.engine.stats().datagrams_received == 8
