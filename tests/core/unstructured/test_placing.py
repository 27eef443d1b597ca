"""Where the copies of a record go, how long they live, and who keeps them alive."""

from functools import partial
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.author import Author
from dht.config import LEASE_S, Config
from dht.core.outcomes import PutOutcome
from dht.core.unstructured import placing as placing_module
from dht.core.unstructured.overlay import RENEWALS_S
from dht.core.unstructured.placing import (
    ASKED_PER_COPY,
    PUBLICATIONS_MAX,
    STORES_AT_ONCE,
    Publication,
    Publications,
    copies_for,
)
from dht.core.via import Flood, Index, Placement, Walk
from dht.errors import LocalError, NoPeers, ValueTooLarge
from dht.keyspace import Key, key_bytes, signed_key
from dht.records import Kind
from dht.sim.simulator import Simulator
from dht.wire.codec import pack_marked
from dht.wire.messages import (
    LEASE,
    Answer,
    Request,
    Search,
    Shuffle,
    Shuffled,
    Status,
    Store,
    Stored,
    Taken,
    Taking,
)
from tests.core.pair import LARGE, Net, Peer, Stranger
from tests.core.unstructured.graphs_for_tests import plain_record
from tests.core.unstructured.nets_for_tests import (
    PLACE,
    STILL,
    find,
    hold,
    line_of,
    neighbour,
    overlay_of,
    place,
    sent,
    still_net,
)

HOUR_S = 3600.0


# ------------------------------------------------------------------------------ how many to each


def exact_shares(found: list[int], copies: int, by: str) -> list[float]:
    """Cohen and Shenker (2002), with one search more for each."""
    power = {"uniform": 0.0, "square_root": 0.5, "proportional": 1.0}[by]
    weights = [(each + 1) ** power for each in found]
    return [copies * len(found) * weight / sum(weights) for weight in weights]


@given(
    st.lists(st.integers(0, 10**6), max_size=40),
    st.integers(0, 100),
    st.sampled_from(["uniform", "proportional", "square_root"]),
)
def test_shares_add_up_and_are_within_one_of_what_the_policy_says(
    found: list[int], copies: int, by: str
) -> None:
    shares = copies_for(found, copies, by)
    assert sum(shares) == copies * len(found)
    exact = exact_shares(found, copies, by) if found else []
    assert all(abs(share - each) < 1 + 1e-6 for share, each in zip(shares, exact, strict=True))
    assert all(share >= 0 for share in shares)


def test_what_is_found_four_times_as_often_has_twice_the_copies_by_its_square_root() -> None:
    assert copies_for([3, 15], 6, "square_root") == [4, 8]
    assert copies_for([3, 15], 10, "proportional") == [4, 16]
    assert copies_for([3, 15], 6, "uniform") == [6, 6]


# -------------------------------------------------------------------------------- where they go


def crowd(count: int, *, degree: int = 6, seed: int = 1, config: Config = STILL) -> Net:
    random = Random(seed)
    edges = [
        (one, other)
        for one in range(count)
        for other in random.sample(range(count), degree)
        if one != other
    ]
    return still_net(count, edges, seed=seed, config=config)


def walk(where: str, copies: int = 8, by: str = "uniform") -> Walk:
    return Walk(placement=Placement(where=where, copies=copies, by=by))


def holders(net: Net) -> list[int]:
    return [
        number for number, peer in enumerate(net.peers) if peer.held(net.now, PLACE) is not None
    ]


@pytest.mark.parametrize(("where", "copies"), [("publisher", 8), ("random", 0), ("path", 0)])
def test_a_record_can_stay_with_its_publisher(where: str, copies: int) -> None:
    net = crowd(10)
    outcome = place(net, net.peers[0], b"v", walk(where, copies))
    assert outcome.stored == (net.peers[0].contact,)
    assert outcome.trace.messages == 0
    assert holders(net) == [0]


@pytest.mark.parametrize("where", ["random", "path"])
@pytest.mark.parametrize("copies", [1, 8, 30])
def test_as_many_copies_are_placed_as_were_asked_for_beside_the_publishers(
    where: str, copies: int
) -> None:
    """Also more than a node has neighbours."""
    net = crowd(50)
    outcome = place(net, net.peers[0], b"v", walk(where, copies))
    assert len(outcome.stored) == 1 + copies == len(holders(net))
    assert outcome.stored[0] == net.peers[0].contact
    assert (outcome.refused, outcome.silent, outcome.pending) == ((), (), ())
    assert outcome.trace.stopped == "every copy is placed"
    assert all(store.flags & LEASE for _, store in sent(net, Store))
    held = [peer.held(net.now, PLACE) for peer in net.peers]
    assert all(each.placed for each in held if each is not None)


def test_a_walk_leaves_one_at_each_step_among_neighbours() -> None:
    """In a line there is one way only."""
    net = line_of(8)
    place(net, net.peers[0], b"v", walk("path", 5))
    assert holders(net) == [0, 1, 2, 3, 4, 5]


def test_a_walk_that_gets_stuck_goes_on_from_somewhere_before() -> None:
    """A line with a dead end at each node."""
    edges = [edge for n in range(6) for edge in ((n, n + 1), (n, 10 + n))]
    net = still_net(16, edges)
    place(net, net.peers[0], b"v", walk("path", 12))
    assert len(holders(net)) == 13


def test_copies_at_random_are_asked_for_at_once() -> None:
    net = crowd(50, degree=10)
    outcome = place(net, net.peers[0], b"v", walk("random", 10))
    assert outcome.trace.elapsed < 0.1
    stores = [told.at for told, _ in sent(net, Store)]
    assert stores.count(stores[0]) == STORES_AT_ONCE


def test_in_a_network_that_is_too_small_everybody_has_one_and_nobody_is_asked_twice() -> None:
    for where in ("random", "path"):
        net = still_net(4, [(one, other) for one in range(4) for other in range(one)])
        outcome = place(net, net.peers[0], b"v", walk(where, 20))
        assert len(outcome.stored) == 4
        assert outcome.trace.stopped == "nobody is left to ask"
        assert len(sent(net, Shuffle)) == 3
    alone = still_net(1)
    assert len(place(alone, alone.peers[0], b"v", walk("path")).stored) == 1


def test_a_long_value_is_fetched_by_those_who_keep_it() -> None:
    net = crowd(12)
    outcome = place(net, net.peers[0], LARGE, walk("random", 5))
    assert len(outcome.stored) == 6
    assert find(net, net.peers[11], Flood(ttl=3)).value == LARGE


def test_other_searches_place_in_the_same_way() -> None:
    for via in (Flood(), Index(), Flood(placement=Placement(where="path", copies=8))):
        net = crowd(30)
        place(net, net.peers[0], b"v", via)
        assert len(holders(net)) == 9


# ------------------------------------------------------------------- who refuses, and who is silent


def stored(status: Status, request: Request) -> Answer:
    if not isinstance(request, Store):
        return nobody(request)
    return Stored(0, status, request.copy.version, None, b"", b"")


def keeper(net: Net, peer: Peer, *status: Status, **replies: Any) -> Stranger:
    """A neighbour that answers each store with the next of these, and then always the last."""
    left = list(status)

    def answer(request: Request) -> Answer:
        return stored(left.pop(0) if len(left) > 1 else left[0], request)

    return neighbour(net, peer, replies={Store: answer, Shuffle: replies.get("lists", nobody)})


def nobody(_: Request) -> Answer:
    return Shuffled(0, b"", b"", bytes(2), b"", b"", b"")


def names(*others: Stranger) -> Answer:
    return Shuffled(
        0,
        *pack_marked([(each.contact, bytes(2)) for each in others])[:2],
        bytes(2 + 2 * len(others)),
        b"",
        b"",
        b"",
    )


def test_those_that_refuse_or_are_silent_are_told_and_others_are_asked() -> None:
    net = still_net(1)
    full = keeper(net, net.peers[0], Status.FULL)
    dead = neighbour(net, net.peers[0], replies={Store: lambda _: None})
    good = [keeper(net, net.peers[0], Status.STORED) for _ in range(3)]
    outcome = place(net, net.peers[0], b"v", walk("random", 3))
    assert {each.id for each in outcome.stored[1:]} == {each.contact.id for each in good}
    assert [(each.contact, each.reason) for each in outcome.refused] == [(full.contact, "FULL")]
    assert outcome.silent == (dead.contact,)
    results = {step.contact: step.result.value for step in outcome.trace.steps}
    assert (results[dead.contact], results[full.contact]) == ("silent", "answered")


def test_who_fetches_first_answers_a_second_time() -> None:
    net = still_net(1)
    slow = keeper(net, net.peers[0], Status.PULLING)
    operation = net.begin(
        net.peers[0],
        lambda engine, now: engine.start_place(now, Kind.PLAIN, PLACE, LARGE, walk("random", 1)),
    )
    net.run_for(0.1)
    assert not net.peers[0].finished()
    [(_, request_id, message)] = [each for each in slow.heard if isinstance(each[2], Store)]
    assert isinstance(message, Store)
    slow.say(net.peers[0], stored(Status.STORED, message), request_id)
    [finished] = net.peers[0].finished()
    assert finished.operation_id == operation
    assert finished.outcome is not None
    assert len(finished.outcome.stored) == 2  # type: ignore[union-attr]


def test_few_are_asked_for_each_copy_before_it_is_given_up() -> None:
    net = still_net(1)
    endless = [net.stranger(reply=partial(stored, Status.FULL)) for _ in range(20)]
    first = keeper(net, net.peers[0], Status.FULL, lists=lambda _: names(*endless))
    outcome = place(net, net.peers[0], b"v", walk("random", 2))
    assert first.heard_of(Shuffle)
    assert len(outcome.stored) == 1
    assert len(outcome.refused) == ASKED_PER_COPY * 2


@pytest.mark.parametrize("lists", [lambda _: None, lambda _: Taken(0, Taking.BUSY)])
@pytest.mark.parametrize("where", ["random", "path"])
def test_who_never_says_whom_it_knows_is_not_asked_for_ever(where: str, lists: Any) -> None:
    net = still_net(1)
    keepers = [keeper(net, net.peers[0], Status.STORED, lists=lists) for _ in range(3)]
    outcome = place(net, net.peers[0], b"v", walk(where, 8))
    assert len(outcome.stored) == 4
    for each in keepers:
        assert len(each.heard_of(Shuffle)) <= 2, "once, and perhaps one retry"


def test_a_list_that_names_one_twice_makes_us_ask_it_once() -> None:
    net = still_net(1)
    twice = net.stranger(reply=partial(stored, Status.STORED))
    keeper(net, net.peers[0], Status.STORED, lists=lambda _: names(twice, twice))
    outcome = place(net, net.peers[0], b"v", walk("random", 5))
    assert len(twice.heard_of(Store)) == 1
    assert len(outcome.stored) == 3
    assert outcome.trace.duplicates >= 1


def test_what_our_own_store_refuses_is_placed_nowhere() -> None:
    net = still_net(2, [(0, 1)], config=attrs.evolve(STILL, store_size_max=1024))
    outcome = place(net, net.peers[0], b"v" * 900, walk("random"))
    assert outcome.stored == ()
    assert [each.reason for each in outcome.refused] == ["FULL"]
    assert not sent(net, Store)


def test_values_and_records_that_cannot_be_are_refused_as_in_the_other_overlay() -> None:
    net = still_net(2, [(0, 1)], private_network=False)
    local = still_net(1, config=attrs.evolve(STILL, value_size_max=10))
    with pytest.raises(LocalError, match=r"network_key|public"):
        place(net, net.peers[0], b"v", Walk())
    with pytest.raises(ValueTooLarge):
        place(local, local.peers[0], b"v" * 11, Walk())
    with pytest.raises(LocalError, match="ttl"):
        place(local, local.peers[0], b"v", Walk(), ttl_s=-1.0)
    assert len(overlay_of(local.peers[0]).publications) == 0


def test_a_retry_is_a_message() -> None:
    net = still_net(1)
    slow = keeper(net, net.peers[0], Status.STORED)
    place(net, net.peers[0], b"v", walk("random", 1))
    answered, slow.reply = slow.reply, lambda _: None
    net.begin(
        net.peers[0],
        lambda engine, now: engine.start_place(now, Kind.PLAIN, PLACE, b"w", walk("random", 1)),
    )
    net.run_for(0.5)
    slow.reply = answered
    net.run_for(20.0)
    finished = net.peers[0].finished()[-1]
    assert isinstance(finished.outcome, PutOutcome)
    assert finished.outcome.trace.messages == len(sent(net, Store)) - 1


# ----------------------------------------------------------------------------------- publications


def publication(
    number: int = 1,
    *,
    until: float = 1e9,
    renew_at: float = 0.0,
    placed: int = 0,
    **placement: Any,
) -> Publication:
    return Publication(
        kind=Kind.PLAIN,
        key=Key(number),
        value=b"v",
        placement=Placement(**placement),
        author=None,
        name=b"",
        until=until,
        renew_at=renew_at,
        copies=placed,
    )


def test_what_is_due_is_renewed_at_half_of_its_lease_and_forgotten_at_its_end() -> None:
    publications = Publications(Random(1))
    publications.publish(publication(1, renew_at=100.0), 1)
    publications.publish(publication(2, renew_at=5.0, until=50.0), 1)
    assert [int(each.key) for each, _ in publications.due(10.0)] == [2]
    assert publications.due(11.0) == []
    [(renewed, copies)] = publications.due(100.0)
    assert (int(renewed.key), copies) == (1, 8)
    assert 100 + 0.4 * LEASE_S <= renewed.renew_at <= 100 + 0.5 * LEASE_S
    assert len(publications) == 1
    publications.withdraw(Kind.PLAIN, 1)
    publications.withdraw(Kind.PLAIN, 1)
    assert len(publications) == 0


def test_copies_go_to_what_was_found_since_the_last_time_among_those_placed_alike() -> None:
    publications = Publications(Random(1))
    for number in (1, 2):
        publications.publish(publication(number, by="square_root", copies=6), 1)
    publications.publish(publication(3, copies=4), 1)
    for _ in range(3):
        publications.found(Kind.PLAIN, 1)
    for _ in range(15):
        publications.found(Kind.PLAIN, 2)
    publications.found(Kind.PLAIN, 99)
    assert {int(each.key): copies for each, copies in publications.due(1.0)} == {1: 4, 2: 8, 3: 4}
    later = {int(each.key): copies for each, copies in publications.due(LEASE_S)}
    assert later == {1: 6, 2: 6, 3: 4}


def test_a_record_with_many_copies_is_found_less_often_here_and_keeps_its_share() -> None:
    publications = Publications(Random(1))
    publications.publish(publication(1, by="proportional", copies=4, placed=1), 1)
    publications.publish(publication(2, by="proportional", copies=4, placed=7), 1)
    for _ in range(4):
        publications.found(Kind.PLAIN, 1)
    publications.found(Kind.PLAIN, 2)
    assert {int(each.key): copies for each, copies in publications.due(1.0)} == {1: 4, 2: 4}


def test_what_one_node_publishes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PUBLICATIONS_MAX == 65_536
    monkeypatch.setattr(placing_module, "PUBLICATIONS_MAX", 3)
    net = crowd(3, degree=2)
    for number in range(3):
        place(net, net.peers[0], b"v", walk("random"), key=Key(number))
    place(net, net.peers[0], b"again", walk("random"), key=Key(2))
    with pytest.raises(LocalError, match="delete some"):
        place(net, net.peers[0], b"v", walk("random"), key=Key(3))
    place(net, net.peers[0], b"", walk("random"), key=Key(2), tombstone=True)
    place(net, net.peers[0], b"v", walk("random"), key=Key(3))
    assert len(overlay_of(net.peers[0]).publications) == 3


def test_what_could_not_begin_is_not_published_later() -> None:
    net = still_net(config=attrs.evolve(STILL, operations_max=1))
    node = net.add(join=False)
    neighbour(net, node, replies={Search: lambda _: None, Store: lambda _: None})
    net.begin(node, lambda engine, now: engine.start_search(now, Kind.PLAIN, PLACE, Flood()))
    with pytest.raises(LocalError, match="operations_max"):
        place(net, node, b"v", Walk())
    lonely = net.add(net.stranger(), config=STILL, join=False)
    with pytest.raises(NoPeers):
        place(net, lonely, b"v", Walk())
    net.run_until(HOUR_S)
    assert node.held(net.now, PLACE) is None
    assert lonely.held(net.now, PLACE) is None


# ------------------------------------------------------------------------------------ over hours


def versions(net: Net) -> list[int]:
    held = [peer.held(net.now, PLACE) for peer in net.peers]
    return [each.record.version for each in held if each is not None]


def test_copies_are_renewed_under_a_new_version_for_as_long_as_the_record_lives() -> None:
    net = crowd(12)
    place(net, net.peers[0], b"v", walk("random", 4), ttl_s=3.5 * HOUR_S)
    first = max(versions(net))
    for hour in range(1, 4):
        net.run_until(hour * HOUR_S + 60)
        assert max(versions(net)) > first
        assert len(holders(net)) >= 5
        assert find(net, net.peers[11], Flood()).value == b"v"
    net.run_until(3.5 * HOUR_S + 10)
    assert holders(net) == []
    assert len(overlay_of(net.peers[0]).publications) <= 1
    net.run_until(3.5 * HOUR_S + 2 * RENEWALS_S)
    assert len(overlay_of(net.peers[0]).publications) == 0
    assert find(net, net.peers[11], Flood()).value is None


@pytest.mark.parametrize("newer", [b"new", None])
def test_what_somebody_else_has_written_since_is_not_undone_by_a_renewal(
    newer: bytes | None,
) -> None:
    net = line_of(2)
    old, new = net.peers
    place(net, old, b"old", walk("random", 1), ttl_s=4 * HOUR_S)
    net.run_for(5)
    place(net, new, newer or b"", walk("random", 1), tombstone=newer is None)
    net.run_for(0.9 * HOUR_S)
    for peer in net.peers:
        held = peer.held(net.now, PLACE)
        assert held is not None
        assert (held.record.value, held.record.tombstone) == (newer or b"", newer is None)
    assert len(overlay_of(old).publications) == 0, "it is renewed no more"


@pytest.mark.parametrize("newer", [b"new", None])
def test_what_owners_were_given_since_is_not_undone_by_a_renewal(newer: bytes | None) -> None:
    """Whoever publishes need not be an owner, and then does not hear of what they hold."""
    net = Net(overlay="both", config=attrs.evolve(STILL, replicas=2))
    writer = net.add()
    for _ in range(5):
        net.add(writer)
    net.run_for(60)
    *owners, publisher = (
        sorted(net.peers, key=lambda peer: peer.contact.id ^ PLACE)[each] for each in (0, 1, -1)
    )
    place(net, publisher, b"old", walk("random", 5), ttl_s=4 * HOUR_S)
    net.run_for(5)
    if newer is None:
        net.delete(owners[0], PLACE)
    else:
        net.put(owners[0], PLACE, newer)
    net.run_for(HOUR_S)
    for owner in owners:
        held = owner.held(net.now, PLACE)
        assert held is not None
        assert (held.record.value, held.record.tombstone) == (newer or b"", newer is None)


def test_who_writes_to_the_owners_what_it_published_renews_that_no_more() -> None:
    net = Net(overlay="both", config=STILL)
    writer = net.add()
    for _ in range(3):
        net.add(writer)
    net.run_for(30)
    place(net, writer, b"old", walk("random", 3), ttl_s=4 * HOUR_S)
    with pytest.raises(LocalError):
        net.put(writer, PLACE, b"new", replicas=0)
    assert len(overlay_of(writer).publications) == 1, "what was refused changes nothing"
    net.put(writer, PLACE, b"new")
    assert len(overlay_of(writer).publications) == 0


def test_a_copy_outlives_its_publisher_by_an_hour_at_most() -> None:
    net = crowd(12)
    place(net, net.peers[0], b"v", walk("path", 4))
    net.run_until(HOUR_S)
    net.crash(net.peers[0])
    assert len([number for number in holders(net) if number]) >= 4
    gone_at = net.now
    net.run_until(gone_at + LEASE_S + 1)
    assert [number for number in holders(net) if number] == []


def test_a_deleted_record_is_not_renewed_and_its_tombstone_is_placed_alike() -> None:
    net = crowd(12)
    place(net, net.peers[0], b"v", walk("random", 4))
    outcome = place(net, net.peers[0], b"", walk("random", 4), tombstone=True)
    assert len(outcome.stored) == 5
    assert len(overlay_of(net.peers[0]).publications) == 0
    deleted = find(net, net.peers[0], Flood()).deleted
    assert deleted is not None
    assert deleted.version == outcome.version
    stores = len(sent(net, Store))
    net.run_until(1.5 * HOUR_S)
    assert len(sent(net, Store)) == stores
    assert [number for number in holders(net) if number] == []


def test_who_leaves_renews_nothing_any_more() -> None:
    net = crowd(12)
    place(net, net.peers[0], b"v", walk("random", 4))
    stores = len(sent(net, Store))
    net.peers[0].engine.start_leave(net.now)
    net.run_until(2 * HOUR_S)
    assert len(sent(net, Store)) == stores


def test_a_long_value_is_renewed_too_and_offered_while_that_takes() -> None:
    net = crowd(6, degree=3)
    place(net, net.peers[0], LARGE, walk("random", 3))
    net.run_until(1.2 * HOUR_S)
    assert len(holders(net)) >= 4
    held = [peer.held(net.now, PLACE) for peer in net.peers]
    assert all(each.record.value == LARGE for each in held if each is not None)
    assert not net.peers[0].engine._responder.offers


def test_a_signed_record_is_signed_anew_at_each_renewal() -> None:
    author, name = Author.from_private_bytes(bytes([1]) * 32), key_bytes(Key(77))
    key = signed_key(author.id.public_key, name)
    net = crowd(6, degree=3)
    net.run(
        net.peers[0],
        lambda engine, now: engine.start_place(
            now, Kind.SIGNED, key, b"v", walk("random", 3), author=author, name=name
        ),
    )
    first = find(net, net.peers[5], Flood(), kind=Kind.SIGNED, key=key).record
    net.run_until(1.2 * HOUR_S)
    later = find(net, net.peers[5], Flood(), kind=Kind.SIGNED, key=key).record
    assert first is not None
    assert later is not None
    assert later.version > first.version
    assert later.author == author.id


def test_a_record_that_is_searched_for_has_more_copies_at_the_next_renewal() -> None:
    net = crowd(40)
    versions = [
        place(net, net.peers[0], b"v", walk("random", 4, "proportional"), key=Key(number)).version
        for number in range(3)
    ]
    for _ in range(12):
        publications = overlay_of(net.peers[0]).publications
        publications.found(Kind.PLAIN, 0)
    net.run_until(0.6 * HOUR_S)
    newest = [
        sum(
            (held := peer.held(net.now, Key(number))) is not None
            and held.record.version > versions[number]
            for peer in net.peers
        )
        for number in range(3)
    ]
    assert newest[0] > newest[1] + 3
    assert newest[0] > newest[2] + 3


# ------------------------------------------------------------------------------ left on the way


@pytest.mark.parametrize("kind", [Walk, Flood])
def test_a_search_that_is_to_leave_copies_leaves_them_along_its_path(kind: Any) -> None:
    """All the way from the holder to the issuer, and for an hour."""
    net = line_of(6)
    hold(net, net.peers[4], plain_record(b"v"))
    options = {"walkers": 1} if kind is Walk else {}
    outcome = find(net, net.peers[0], kind(placement="path", **options))
    assert outcome.value == b"v"
    net.run_for(1.0)
    assert holders(net) == [1, 2, 3, 4]
    placed = [peer.held(net.now, PLACE) for peer in net.peers[1:4]]
    assert all(each is not None and each.placed for each in placed)
    outcome = find(net, net.peers[0], kind(**options))
    assert outcome.trace.hops == 1
    net.run_for(LEASE_S)
    assert holders(net) == []


def test_without_that_a_search_leaves_nothing() -> None:
    net = line_of(6)
    hold(net, net.peers[4], plain_record(b"v"))
    find(net, net.peers[0], Flood())
    net.run_for(1.0)
    assert holders(net) == [4]


# ---------------------------------------------------------------------------- a whole simulation


def test_in_a_network_that_moves_what_was_placed_is_found_whichever_way() -> None:
    simulator = Simulator(7, overlay="unstructured")
    nodes = simulator.grow(40)
    simulator.run_for(30.0)
    simulator.run_operation(
        nodes[3],
        lambda engine, now: engine.start_place(now, Kind.PLAIN, PLACE, b"v", walk("random")),
    )
    simulator.run_for(5.0)
    for via in (Flood(), Walk(), Index()):
        for node in (nodes[20], nodes[39]):
            finished = simulator.run_operation(
                node,
                lambda engine, now, via=via: engine.start_search(now, Kind.PLAIN, PLACE, via),  # type: ignore[misc]
            )
            assert finished.outcome is not None
            assert finished.outcome.value == b"v"  # type: ignore[union-attr]
