"""Who is in a topic: read page by page from several owners, whatever some of them say; and kept."""

from collections.abc import Callable

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dht.author import Author
from dht.config import Config
from dht.contacts import Contact
from dht.core import members as members_module
from dht.core.machine import FINISHED, Ask, Wait
from dht.core.members import HANDOVERS_MAX, READ_MAX_S, Entry, TopicRepair, lacking
from dht.core.topics import digest_of
from dht.errors import LocalError, NoPeers
from dht.keyspace import key_bytes
from dht.records import Kind, Record, member_of
from dht.wire.codec import copy_of, decode_untrusted
from dht.wire.messages import (
    DIGEST_SIZE,
    WANT_IPV4,
    Answer,
    Browse,
    Message,
    Page,
    Ping,
    Request,
    Store,
)
from tests.core.authored_for_tests import (
    DAY_MS,
    add,
    author,
    give,
    holdings,
    member,
    members,
    remove,
    topic_of,
    values,
)
from tests.core.pair import EPOCH_S, Manners, Net, Peer, Stranger

ALICE, BOB, EVE = author(1), author(2), author(3)
#: Made once: to make one costs more than a whole test otherwise.
CROWD = [author(100 + number) for number in range(300)]


def network(count: int = 6, **config: object) -> Net:
    net = Net(config=Config(replicas=3, **config))  # type: ignore[arg-type]
    net.grow(count)
    return net


def owners(net: Net, topic: str, count: int = 3) -> list[Peer]:
    alive = [peer for peer in net.peers if peer.plugged_in]
    return sorted(alive, key=lambda peer: peer.contact.id ^ topic_of(topic))[:count]


def browses(net: Net, since: int = 0) -> list[Browse]:
    """All questions for pages that were sent."""
    said = [decode_untrusted(data[33:-8])[1] for _, _, _, data in net.log[since:]]
    return [message for message in said if isinstance(message, Browse)]


# ---- who is there ----


def test_whoever_was_added_is_a_member_until_removed() -> None:
    net = network()
    add(net, net.peers[0], "t", b"alice", ALICE)
    add(net, net.peers[1], "t", b"bob", BOB)
    found = members(net, net.peers[4], "t")
    assert values(found) == [b"alice", b"bob"]
    assert {record.author for record in found} == {ALICE.id, BOB.id}
    assert (found.total, len(found.holders)) == (2, 3)
    assert "2 of 2 members, from 3 holders" in str(found)
    remove(net, net.peers[5], "t", ALICE)
    assert values(members(net, net.peers[4], "t")) == [b"bob"]
    assert values(members(net, net.peers[4], "u")) == []
    assert net.comes_to_rest()


def test_an_author_has_one_entry_which_a_later_one_replaces() -> None:
    net = network()
    add(net, net.peers[0], "t", b"one", ALICE)
    add(net, net.peers[3], "t", b"two", ALICE)
    assert values(members(net, net.peers[4], "t")) == [b"two"]
    remove(net, net.peers[0], "t", ALICE)
    add(net, net.peers[0], "t", b"three", ALICE)
    assert values(members(net, net.peers[4], "t")) == [b"three"]


def test_nobody_is_a_member_of_a_topic_of_which_nobody_has_heard() -> None:
    net = Net()
    net.add()
    found = members(net, net.peers[0], "t")
    assert (len(found), found.total, found.holders) == (0, 0, ())


def test_when_nobody_answers_that_is_an_error_and_not_an_empty_topic() -> None:
    net = network(4)
    reader = net.add(net.peers[0], client=True)
    for peer in net.peers[:4]:
        net.crash(peer)
    with pytest.raises(NoPeers, match="nobody was there"):
        members(net, reader, "t")


@pytest.mark.parametrize("limit", [0, -1, 1.5, None, True, "3"])
def test_a_limit_is_a_number_above_0(limit: object) -> None:
    net = Net()
    net.add()
    with pytest.raises(LocalError, match="limit"):
        members(net, net.peers[0], "t", limit)  # type: ignore[arg-type]


# ---- pages ----


def crowd(net: Net, count: int, *, size: int = 100, topic: str = "t") -> list[Record]:
    """So many members, with all owners."""
    records = [member(topic, each, bytes([n % 256]) * size) for n, each in enumerate(CROWD[:count])]
    for owner in owners(net, topic):
        for record in records:
            give(net, owner, record)
    return records


@pytest.mark.parametrize(("count", "size"), [(3, 850), (40, 10), (100, 200), (256, 100)])
def test_a_topic_of_many_pages_is_read_whole(count: int, size: int) -> None:
    net = network()
    records = crowd(net, count, size=size)
    reader = net.add(net.peers[0], client=True)
    since = len(net.log)
    found = members(net, reader, "t")
    assert sorted(found, key=member_of) == sorted(records, key=member_of)
    assert found.total == count
    # What fits one page, and what each owner's first page was asked for in vain.
    on_a_page = max(1, 1000 // (180 + size))
    assert len(browses(net, since)) <= len(net.peers) + 2 * count / on_a_page + 3


def test_the_owners_share_the_pages_among_them() -> None:
    net = network()
    crowd(net, 60, size=300)
    reader = net.add(net.peers[0], client=True)
    since = len(net.log)
    members(net, reader, "t")
    asked = [
        target
        for _, _, target, data in net.log[since:]
        if isinstance(message := decode_untrusted(data[33:-8])[1], Browse) and not message.count
    ]
    counts = [asked.count(owner.address) for owner in owners(net, "t")]
    assert min(counts) >= max(counts) / 3 > 0


def test_a_limit_ends_the_reading_early_and_chooses_by_chance() -> None:
    net = network()
    crowd(net, 200)
    reader = net.add(net.peers[0], client=True)
    chosen = []
    for _ in range(20):
        since = len(net.log)
        found = members(net, reader, "t", limit=7)
        assert (len(found), found.total) == (7, 200)
        assert len(browses(net, since)) <= len(net.peers) + 6
        chosen += [member_of(record) for record in found]
    assert len(set(chosen)) > 70


def test_pages_of_several_owners_are_merged_newest_first_and_tombstones_drop_out() -> None:
    net = network()
    one, two, three = owners(net, "t")
    give(net, one, member("t", ALICE, b"old", version=5))
    give(net, two, member("t", ALICE, b"new", version=6))
    give(net, one, member("t", BOB, b"was here", version=5))
    give(net, three, member("t", BOB, tombstone=True, version=6))
    give(net, three, member("t", EVE, b"only here"))
    reader = net.add(net.peers[0], client=True)
    assert values(members(net, reader, "t")) == [b"new", b"only here"]


@settings(max_examples=25, deadline=None)
@given(
    held=st.lists(
        st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3), st.booleans()), max_size=6),
        min_size=3,
        max_size=3,
    )
)
def test_whatever_the_owners_hold_the_newest_of_each_author_is_found(
    held: list[list[tuple[int, int, bool]]],
) -> None:
    net = network(4)
    records = []
    for owner, entries in zip(owners(net, "t"), held, strict=True):
        for number, version, dead in entries:
            record = member("t", CROWD[number], b"v", version=version, tombstone=dead)
            records.append(record)
            give(net, owner, record)
    newest: dict[bytes, Record] = {}
    for record in sorted(records, key=lambda record: record.order):
        newest[member_of(record)] = record
    expected = [record for record in newest.values() if not record.tombstone]
    reader = net.add(net.peers[0], client=True)
    found = members(net, reader, "t")
    assert sorted(found, key=member_of) == sorted(expected, key=member_of)


def test_owners_that_fail_in_the_middle_are_replaced_by_those_who_hold_the_same() -> None:
    net = network()
    records = crowd(net, 120, size=200)
    reader = net.add(net.peers[0], client=True)
    dying = owners(net, "t")[0]
    pages = 0

    def fate(data: bytes, source: bytes, target: bytes) -> list[bytes]:
        nonlocal pages
        message = decode_untrusted(data[33:-8])[1]
        if isinstance(message, Page) and source == dying.address:
            pages += 1
            if pages > 3:
                return []
        return [data]

    net.fate = fate
    found = members(net, reader, "t")
    assert pages > 3
    assert len(found) == len(records)


# ---- liars ----


def page(
    records: list[Record],
    *,
    total: int | None = None,
    whole: bool = True,
    digest: bytes = b"liar----",
) -> Page:
    return Page(
        time_s=int(EPOCH_S),
        total=len(records) if total is None else total,
        whole=whole,
        digest=b"liar----",
        copies=tuple(copy_of(record, 1000) for record in records),
        contacts4=b"",
        contacts6=b"",
    )


def with_liars(
    answer: Callable[[Request], Answer | None], *, how_many: int = 1
) -> tuple[Net, Peer]:
    """An honest holder of Alice's and Bob's entries, and liars nearer to the topic than he is."""
    net = Net(config=Config(replicas=8))
    net.grow(2)
    for record in (member("t", ALICE, b"alice"), member("t", BOB, b"bob")):
        for peer in net.peers:
            give(net, peer, record)
    reader = net.add(net.peers[0], client=True)
    for _ in range(how_many):
        liar = net.stranger(reply=Manners(net, replies={Browse: answer}))
        assert reader.engine.table.add(net.now, liar.contact)
    return net, reader


def forged() -> list[list[Record]]:
    real = member("t", ALICE, b"alice", version=9)
    assert real.proof is not None
    plain = attrs.evolve(real, kind=Kind.PLAIN, proof=None)
    return [
        [attrs.evolve(real, value=b"fake")],
        [attrs.evolve(real, version=2**50)],
        [attrs.evolve(real, tombstone=True, value=b"")],
        [attrs.evolve(real, proof=real.proof._replace(author=EVE.id.public_key))],
        [member("other", ALICE, b"of another topic", version=9)],
        [plain],
        [member("t", EVE, b"before what is forged"), attrs.evolve(real, value=b"fake")],
    ]


@pytest.mark.parametrize("records", forged(), ids=range(len(forged())))
@pytest.mark.parametrize("whole", [True, False])
def test_a_page_with_anything_forged_is_worth_nothing(
    records: list[Record], *, whole: bool
) -> None:
    net, reader = with_liars(lambda _: page(records, whole=whole))
    assert values(members(net, reader, "t")) == [b"alice", b"bob"]


def test_a_page_of_what_is_over_is_worth_nothing() -> None:
    over = attrs.evolve(member("t", EVE), ttl_ms=DAY_MS)
    empty = page([over])

    def answer(_: Request) -> Answer:
        [copy] = empty.copies

        return replace(empty, copies=(replace(copy, remaining_ms=0),))

    net, reader = with_liars(answer)
    assert values(members(net, reader, "t")) == [b"alice", b"bob"]


def test_who_says_that_there_are_more_and_gives_none_is_not_asked_for_ever() -> None:
    net, reader = with_liars(lambda _: page([], total=256, whole=False))
    since = len(net.log)
    found = members(net, reader, "t")
    assert values(found) == [b"alice", b"bob"]
    assert found.total == 256  # that much a liar can say
    assert len(browses(net, since)) < 20


def test_who_makes_up_members_as_we_read_is_left_when_there_are_more_than_can_be() -> None:
    """Threat: authors are free to make. Each entry is right, and there is no end of them."""
    mine = sorted(CROWD, key=lambda each: each.id.public_key)
    given_out = 0

    def answer(request: Request) -> Answer:
        nonlocal given_out
        assert isinstance(request, Browse)
        after = [each for each in mine if each.id.public_key >= request.start] or mine
        given_out += 1
        return page([member("t", each) for each in after[:2]], total=256, whole=False)

    net, reader = with_liars(answer, how_many=4)
    found = members(net, reader, "t")
    assert {b"alice", b"bob"} <= set(values(found))
    assert len(found) <= len(CROWD) + 2
    assert given_out < 2 * len(CROWD)


def test_who_gives_one_at_a_time_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members_module, "READ_MAX_S", 0.3)
    mine = sorted(CROWD, key=lambda each: each.id.public_key)

    def answer(request: Request) -> Answer:
        assert isinstance(request, Browse)
        after = [each for each in mine if each.id.public_key >= request.start] or mine
        return page([member("t", after[0])], total=256, whole=False)

    net, reader = with_liars(answer)
    started = net.now
    found = members(net, reader, "t")
    assert {b"alice", b"bob"} <= set(values(found))
    assert net.now - started < 0.3 + 0.3
    assert READ_MAX_S == 20


# ---- kept among the owners ----


def repaired(net: Net, topic: str = "t") -> bool:
    held = [
        digest_of(peer.engine.storage.members(net.now, topic_of(topic)))
        for peer in owners(net, topic)
    ]
    return held[0] != bytes(DIGEST_SIZE) and len(set(held)) == 1


def test_owners_that_hold_different_members_come_to_hold_the_same() -> None:
    net = network(5, repair_interval_s=30.0, repair_turn_s=1.0)
    one, two, three = owners(net, "t")
    give(net, one, member("t", ALICE, b"old", version=5))
    give(net, two, member("t", ALICE, b"new", version=6))
    give(net, one, member("t", BOB, b"was here", version=5))
    give(net, three, member("t", BOB, tombstone=True, version=6))
    give(net, three, member("t", EVE, b"only here"))
    assert not repaired(net)
    net.run_for(60.0)
    assert repaired(net)
    assert values(members(net, net.peers[0], "t")) == [b"new", b"only here"]
    assert net.comes_to_rest()


def test_a_topic_moves_to_newcomers_that_are_closer() -> None:
    net = network(4)
    records = [member("t", each, bytes(200)) for each in CROWD[:50]]
    for owner in owners(net, "t"):
        for record in records:
            give(net, owner, record)
    before = owners(net, "t")
    while len([peer for peer in owners(net, "t") if peer not in before]) < 2:
        net.add(net.peers[0])
    net.run_for(60.0)
    assert repaired(net)
    assert len(owners(net, "t")[0].engine.storage.members(net.now, topic_of("t"))) == 50


def test_a_topic_outlives_every_holder_that_it_began_with() -> None:
    net = network(9, repair_interval_s=60.0, probe_interval_s=2.0)
    for number, each in enumerate(CROWD[:10]):
        add(net, net.peers[0], "t", bytes([number]), each)
    for _ in range(4):
        net.crash(owners(net, "t")[0])
        net.run_for(200.0)
    reader = next(peer for peer in net.peers if peer.plugged_in)
    assert len(members(net, reader, "t")) == 10


def test_a_topic_whose_owners_agree_costs_no_copy() -> None:
    net = network(4, repair_interval_s=20.0)
    crowd(net, 30)
    net.run_for(10.0)
    before = sum(peer.engine.stats().copies_made for peer in net.peers)
    since = len(net.log)
    net.run_for(120.0)
    assert sum(peer.engine.stats().copies_made for peer in net.peers) == before
    assert sum(peer.engine.stats().repairs_done for peer in net.peers) >= 3
    stores = [decode_untrusted(data[33:-8])[1] for _, _, _, data in net.log[since:]]
    assert not any(isinstance(message, Store) for message in stores)
    assert all(browse.count for browse in browses(net, since))


def test_one_holder_does_the_work_and_the_others_leave_it() -> None:
    net = network(3, repair_interval_s=600.0)
    crowd(net, 3)
    net.run_for(600.0 * 1.2 + 60)
    assert 1 <= sum(peer.engine.stats().repairs_done for peer in net.peers) <= 2


def test_who_is_no_owner_any_more_gathers_no_members() -> None:
    net = network(9, repair_interval_s=30.0, repair_turn_s=1.0)
    far = max(net.peers, key=lambda peer: peer.contact.id ^ topic_of("t"))
    give(net, far, member("t", ALICE))
    crowd(net, 5)
    net.run_for(200.0)
    assert len(far.engine.storage.members(net.now, topic_of("t"))) == 1
    assert len(owners(net, "t")[0].engine.storage.members(net.now, topic_of("t"))) == 6


def test_no_repair_makes_a_member_live_longer() -> None:
    net = network(6, repair_interval_s=10.0, probe_interval_s=2.0)
    put_at = net.now
    add(net, net.peers[0], "t", b"v", ALICE, ttl_s=120.0)
    record = member("t", ALICE)
    for _ in range(3):
        net.crash(owners(net, "t")[0])
        net.add(owners(net, "t")[-1])
        net.run_for(20.0)
        assert all(held.deadline <= put_at + 121 for held in holdings(net, record))
    assert holdings(net, record)
    net.run_until(put_at + 122.0)
    assert not holdings(net, record)
    net.run_for(60.0)
    assert not holdings(net, record)


def test_joining_again_and_again_does_not_put_off_a_look_at_the_owners() -> None:
    """Anybody may join a topic: that must not keep the others from being looked after."""
    net = network(3, repair_interval_s=60.0)
    add(net, net.peers[0], "t", b"v", ALICE)
    for number in range(40):
        add(net, net.peers[0], "t", b"v", CROWD[number % 5])
        net.run_for(5.0)
    assert sum(peer.engine.stats().repairs_done for peer in net.peers) >= 1


def test_members_that_end_at_once_leave_no_plan_behind() -> None:
    net = network(3)
    for each in CROWD[:20]:
        add(net, net.peers[0], "t", b"v", each, ttl_s=1.0)
    net.run_for(120.0)
    for peer in net.peers:
        assert len(peer.engine._upkeep.repairs) == 0
        assert peer.engine.storage.count == 0


# ---- the machine by itself ----


def entry(record: Record, remaining_ms: int = 1000, seen_at: float = 0.0) -> Entry:
    return Entry(record, remaining_ms, seen_at)


def test_what_is_lacking_is_what_is_absent_or_older() -> None:
    old, new = member("t", ALICE, version=5), member("t", ALICE, version=6)
    alice, bob = ALICE.id.public_key, BOB.id.public_key
    newest = {alice: entry(new), bob: entry(member("t", BOB))}
    assert lacking(newest, {}) == list(newest.values())
    assert lacking(newest, {alice: entry(old), bob: entry(member("t", BOB))}) == [newest[alice]]
    assert lacking(newest, newest) == []
    assert lacking({alice: entry(old)}, {alice: entry(new)}) == []


def test_what_remains_of_a_life_goes_on_passing() -> None:
    assert entry(member("t", ALICE), 5000, seen_at=10.0).left_ms(12.5) == 2500


def test_copies_are_handed_over_a_few_at_a_time() -> None:
    net = network(3)
    one, two = owners(net, "t")[:2]
    for each in CROWD[:60]:
        give(net, one, member("t", each))
    engine = one.engine
    repair = TopicRepair(
        members_module.Browsing.begin(
            net.now,
            topic_of("t"),
            searches=engine._searches,
            local=engine._home,
            flags=WANT_IPV4,
            config=engine.config,
            handover=True,
        ),
        WANT_IPV4,
    )
    empty = Page(int(EPOCH_S), 0, True, bytes(DIGEST_SIZE), (), b"", b"")
    stores: list[Contact] = []
    while True:
        step = repair.next(net.now)
        if not isinstance(step, Ask):
            break
        message = decode_untrusted(bytes(8) + step.body)[1]
        if isinstance(message, Browse):
            repair.on_reply(net.now, step.contact, empty, [])
        else:
            stores.append(step.contact)
    assert isinstance(step, Wait)
    assert len(stores) == HANDOVERS_MAX
    while step is not FINISHED:
        repair.on_failure(net.now, two.contact)
        while isinstance(step := repair.next(net.now), Ask):
            stores.append(step.contact)
    assert len(stores) == repair.copies == 2 * 60


def test_a_page_with_contacts_leaves_room_for_members() -> None:
    """Both are wanted while a search goes on: who names nobody else ends it too early."""
    net = network(12)
    crowd(net, 100, size=100)
    stranger: Stranger = net.stranger()
    browse = Browse(flags=WANT_IPV4, key=key_bytes(topic_of("t")), start=bytes(32), count=20)
    said: list[Message] = stranger.say(owners(net, "t")[0], browse)
    [told] = [each for each in said if isinstance(each, Page)]
    assert len(told.copies) >= 2
    assert len(told.contacts4) >= 7 * 38
    assert (told.total, told.whole) == (100, False)


def test_a_page_alone_has_a_member_however_long() -> None:
    net = network(9)
    crowd(net, 3, size=850)
    stranger = net.stranger()
    for count, pages in ((20, [0]), (0, [1])):
        browse = Browse(flags=WANT_IPV4, key=key_bytes(topic_of("t")), start=bytes(32), count=count)
        said = stranger.say(owners(net, "t")[0], browse)
        assert [len(each.copies) for each in said if isinstance(each, Page)] == pages


def test_a_pretended_holder_cannot_put_off_the_repair_of_a_topic_for_ever() -> None:
    net = network(3, repair_interval_s=60.0)
    crowd(net, 2)
    liar = net.known(net.peers[0], manners=Manners(net))
    for peer in net.peers[1:]:
        liar.say(peer, Ping(flags=WANT_IPV4))
    browse = Browse(flags=WANT_IPV4 | 16, key=key_bytes(topic_of("t")), start=bytes(32), count=3)
    for _ in range(15 * 6):
        for peer in net.peers:
            liar.say(peer, browse)
        net.run_for(10.0)
    assert all(peer.engine.stats().repairs_done >= 2 for peer in net.peers)


def test_a_node_of_one_is_its_own_topics_only_holder() -> None:
    net = Net()
    net.add()
    add(net, net.peers[0], "t", b"v", ALICE)
    found = members(net, net.peers[0], "t")
    assert (values(found), found.total) == ([b"v"], 1)


def test_what_was_kept_over_a_restart_is_a_member_again() -> None:
    net = network(3)
    record = member("t", ALICE)
    net.peers[0].engine.restore(net.now, record, 5000)
    assert values(members(net, net.peers[0], "t")) == [b"v"]


def test_an_author_is_told_by_his_entry() -> None:
    net = network(3)
    mine: Author = author(77)
    add(net, net.peers[0], "t", b"v", mine)
    [record] = members(net, net.peers[1], "t")
    assert record.author == mine.id
