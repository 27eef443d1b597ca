"""Sessions by themselves: the window, how long they live, and how many there may be."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.contacts import Address, pack_address
from dht.core.channel import session as module
from dht.core.channel.noise import Keys
from dht.core.channel.packets import DATA
from dht.core.channel.session import (
    HOT_MAX,
    IDLE_S,
    PENDING_PER_SOURCE_MAX,
    PENDING_PER_SUBNET_MAX,
    PENDING_S,
    REJECT_AFTER_S,
    REJECT_PACKETS,
    REKEY_AFTER_S,
    REKEY_PACKETS,
    RETIRED_S,
    SESSIONS_PER_SOURCE_MAX,
    SIMULTANEOUS_S,
    WINDOW,
    Pending,
    Session,
    Sessions,
)
from tests.core.channel.ends import address_of

OWN = b"\x80" * 32


def make(
    number: int,
    *,
    now: float = 0.0,
    peer: int | None = None,
    address: Address | None = None,
    initiated: bool = False,
) -> Session:
    if address is None:
        address = address_of(number if peer is None else peer)
    return Session(
        now,
        place=(number if peer is None else peer).to_bytes(32) + address,
        address=address,
        cid=b"o" + number.to_bytes(7),
        peer_cid=b"p" + number.to_bytes(7),
        keys=Keys(number.to_bytes(32), number.to_bytes(32)),
        initiated=initiated,
    )


# ---- the window ----


@given(
    st.lists(
        st.one_of(
            st.integers(0, 40), st.integers(0, 4 * WINDOW), st.integers(2**32 - 40, 2**32 - 1)
        ),
        max_size=200,
    )
)
def test_a_counter_is_new_once_and_only_within_the_window(counters: list[int]) -> None:
    session = make(1)
    came: set[int] = set()
    for counter in counters:
        newest = max(came, default=-1)
        known = counter in came or counter <= newest - WINDOW
        assert session.seen(counter) is known
        if not known:
            session.mark(counter)
            came.add(counter)
            assert session.highest == max(came)
        assert session.missing < 1 << WINDOW


@given(st.permutations(range(60)))
def test_any_order_is_taken_once(order: list[int]) -> None:
    session = make(1)
    for counter in order:
        assert not session.seen(counter)
        session.mark(counter)
        assert session.seen(counter)
    assert session.missing == 0


# ---- one session's life ----


def test_new_keys_are_due_after_a_time_and_the_old_ones_end_later() -> None:
    session = make(1)
    session.touch(REKEY_AFTER_S - 100)
    assert session.stale_at == REKEY_AFTER_S
    session.touch(REKEY_AFTER_S)
    assert session.stale_at <= REKEY_AFTER_S
    assert session.usable(REKEY_AFTER_S)
    session.touch(REJECT_AFTER_S - 1)
    assert session.usable(REJECT_AFTER_S - 0.1)
    assert not session.usable(REJECT_AFTER_S)


def test_a_session_whose_new_keys_were_asked_for_late_needs_a_second_thought_at_its_end() -> None:
    session = make(1)
    session.rekeyed_at = REJECT_AFTER_S - 1
    session.touch(REJECT_AFTER_S - 0.5)
    assert session.stale_at == REJECT_AFTER_S


def test_new_keys_are_due_after_so_many_packets_and_the_old_ones_end_later() -> None:
    session = make(1)
    session.sent = REKEY_PACKETS
    session.touch(10.0)
    assert session.stale_at == 10.0
    assert session.usable(10.0)
    session.sent = REJECT_PACKETS
    assert not session.usable(10.0)
    sessions = Sessions(OWN)
    sessions.install(0.0, session)
    assert not sessions.touch(10.0, session)
    assert session.closed


def test_who_asks_stops_using_an_idle_session_before_it_is_forgotten() -> None:
    sessions = Sessions(OWN)
    session = make(1)
    sessions.install(0.0, session)
    assert session.stale_at < IDLE_S
    assert not session.usable(session.stale_at)
    sessions.sweep(IDLE_S - 1)
    assert len(sessions) == 1
    sessions.sweep(IDLE_S)
    assert len(sessions) == 0
    assert session.closed


def test_a_packet_keeps_it_alive() -> None:
    sessions = Sessions(OWN)
    session = make(1)
    sessions.install(0.0, session)
    assert sessions.touch(200.0, session)
    sessions.sweep(IDLE_S)
    assert len(sessions) == 1


def test_keys_that_have_ended_take_nothing() -> None:
    sessions = Sessions(OWN)
    session = make(1)
    sessions.install(0.0, session)
    assert not sessions.touch(REJECT_AFTER_S, session)
    assert len(sessions) == 0


# ---- many sessions ----


def test_the_longest_silent_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSIONS_MAX", 3)
    sessions = Sessions(OWN)
    first, second, third, fourth = (make(number) for number in range(4))
    for session in (first, second, third):
        sessions.install(0.0, session)
    sessions.touch(1.0, first)
    sessions.install(2.0, fourth)
    assert list(sessions.by_cid.values()) == [third, first, fourth]
    assert second.closed
    assert second.place not in sessions.current


def test_one_host_has_so_many_and_no_more() -> None:
    sessions = Sessions(OWN)
    for number in range(SESSIONS_PER_SOURCE_MAX):
        address = pack_address("1.1.1.1", 1000 + number)
        assert sessions.has_room(make(number).public_key, address)
        sessions.install(0.0, make(number, address=address))
    assert not sessions.has_room(b"k" * 32, pack_address("1.1.1.1", 9))
    assert sessions.has_room(b"k" * 32, pack_address("1.1.1.2", 9))
    sessions.close(next(iter(sessions.by_cid.values())))
    assert sessions.has_room(b"k" * 32, pack_address("1.1.1.1", 9))


def test_on_local_ranges_each_key_has_a_share_of_its_own() -> None:
    sessions = Sessions(OWN)
    for number in range(SESSIONS_PER_SOURCE_MAX + 10):
        address = pack_address("127.0.0.1", 1000 + number)
        assert sessions.has_room(make(number).public_key, address)
        sessions.install(0.0, make(number, address=address))
    assert len(sessions) == SESSIONS_PER_SOURCE_MAX + 10


def test_a_newer_session_takes_the_place_and_the_older_still_opens_for_a_while() -> None:
    sessions = Sessions(OWN)
    older, newer = make(1, peer=1), make(2, peer=1, now=20.0)
    sessions.install(0.0, older)
    sessions.install(20.0, newer)
    assert sessions.current[newer.place] is newer
    assert sessions.touch(20.0 + RETIRED_S - 1, older)
    sessions.sweep(20.0 + RETIRED_S)
    assert older.closed
    assert not newer.closed
    assert sessions.current[newer.place] is newer


def test_keys_that_were_replaced_take_nothing_after_a_while() -> None:
    sessions = Sessions(OWN)
    older, newer = make(1, peer=1), make(2, peer=1, now=20.0)
    sessions.install(0.0, older)
    sessions.install(20.0, newer)
    assert not sessions.touch(20.0 + RETIRED_S, older)


@pytest.mark.parametrize("peer", [1, 2**255 + 2**254], ids=["smaller", "greater"])
@pytest.mark.parametrize("ours_first", [True, False])
def test_of_two_opened_at_the_same_time_both_keep_that_of_the_smaller_key(
    peer: int, ours_first: bool
) -> None:
    sessions = Sessions(OWN)
    ours, theirs = make(1, peer=0, initiated=True), make(2, peer=0)
    for each in (ours, theirs):
        each.place = peer.to_bytes(32) + each.address
    for each in (ours, theirs) if ours_first else (theirs, ours):
        sessions.install(1.0, each)
    kept = ours if peer.to_bytes(32) > OWN else theirs
    assert sessions.current[ours.place] is kept
    assert len(sessions) == 2, "what is under way in the other still opens"
    sessions.sweep(1.0 + RETIRED_S)
    assert len(sessions) == 1


def test_later_it_is_the_newer_that_counts_whoever_opened_it() -> None:
    sessions = Sessions(OWN)
    ours = make(1, peer=1, initiated=True)
    theirs = make(2, peer=1, now=SIMULTANEOUS_S)
    ours.place = theirs.place = b"\xf0" * 32 + ours.address
    sessions.install(0.0, ours)
    sessions.install(SIMULTANEOUS_S, theirs)
    assert sessions.current[ours.place] is theirs


def test_a_session_moves_with_its_peer() -> None:
    sessions = Sessions(OWN)
    session = make(1)
    sessions.install(0.0, session)
    before, away = session.place, address_of(99)
    assert sessions.move(1.0, session, away)
    assert before not in sessions.current
    assert sessions.current[session.place] is session
    assert sessions.of_peer(session.peer_cid, away) is session
    assert sessions.of_peer(session.peer_cid, address_of(1)) is None


def test_a_session_that_moves_to_where_a_newer_one_is_leaves_it_its_place() -> None:
    sessions = Sessions(OWN)
    session, newer = make(1, peer=1), make(2, peer=1, address=address_of(99))
    sessions.install(0.0, session)
    sessions.install(1.0, newer)
    assert sessions.move(2.0, session, address_of(99))
    assert sessions.current[newer.place] is newer
    sessions.sweep(2.0 + RETIRED_S)
    assert session.closed
    assert sessions.current[newer.place] is newer


def test_a_session_that_was_replaced_is_not_asked_again_because_it_moved() -> None:
    sessions = Sessions(OWN)
    older, newer = make(1, peer=1), make(2, peer=1)
    sessions.install(0.0, older)
    sessions.install(1.0, newer)
    assert sessions.move(2.0, older, address_of(99))
    assert older.place not in sessions.current


def test_nobody_moves_to_where_there_is_no_room() -> None:
    sessions = Sessions(OWN)
    for number in range(SESSIONS_PER_SOURCE_MAX):
        sessions.install(0.0, make(number, address=pack_address("1.1.1.1", 1000 + number)))
    session = make(999)
    sessions.install(0.0, session)
    assert not sessions.move(1.0, session, pack_address("1.1.1.1", 9))
    assert session.address == address_of(999)


def test_the_objects_that_encrypt_are_kept_for_the_hottest_alone() -> None:
    sessions = Sessions(OWN)
    for number in range(HOT_MAX + 10):
        sessions.install(0.0, make(number))
    for session in list(sessions.by_cid.values()):
        sessions.seal(session, DATA, b"text", None)
    hot = [each for each in sessions.by_cid.values() if each.sealer is not None]
    assert len(hot) == HOT_MAX
    sessions.close(hot[0])
    assert hot[0].sealer is None


def test_a_closed_session_stays_cold() -> None:
    sessions = Sessions(OWN)
    session = make(1)
    sessions.install(0.0, session)
    sessions.close(session)
    sessions.seal(session, DATA, b"late", None)
    for number in range(2, HOT_MAX + 3):
        sessions.install(0.0, make(number))
        sessions.seal(sessions.current[make(number).place], DATA, b"text", None)
    assert session.public_key + session.address not in sessions.current


@given(st.integers(0, 10**6))
def test_counts_return_to_zero(seed: int) -> None:
    random = Random(seed)
    sessions = Sessions(OWN)
    now = 0.0
    for number in range(60):
        now += random.random() * 60
        living = list(sessions.by_cid.values())
        chosen = random.choice(living) if living else None
        what = random.randrange(5)
        if what < 2 or chosen is None:
            sessions.install(now, make(number, now=now, peer=random.randrange(4)))
        elif what == 2:
            sessions.move(now, chosen, address_of(random.randrange(8)))
        elif what == 3:
            sessions.touch(now, chosen)
        else:
            sessions.sweep(now)
        for place, current in sessions.current.items():
            assert current.place == place
            assert not current.closed
            assert sessions.by_cid[current.cid] is current
    for session in list(sessions.by_cid.values()):
        sessions.close(session)
    assert not sessions.current
    assert not sessions._by_peer
    assert not sessions._counts
    assert not sessions._retired
    assert not sessions._hot


# ---- half-open ones ----


def add(pending: Pending, session: Session, now: float = 0.0) -> bool:
    if not pending.has_room(now, session.public_key, session.address):
        return False
    pending.add(session)
    return True


def test_half_open_sessions_are_forgotten_in_seconds() -> None:
    pending = Pending()
    session = make(1)
    assert add(pending, session)
    pending.sweep(PENDING_S - 0.1)
    assert pending.get(session.cid) is session
    pending.sweep(PENDING_S)
    assert pending.get(session.cid) is None
    assert not pending._counts


def test_of_one_host_a_few_wait() -> None:
    pending = Pending()
    taken = [
        add(pending, make(number, address=pack_address("1.1.1.1", number + 1)))
        for number in range(10)
    ]
    assert taken.count(True) == PENDING_PER_SOURCE_MAX


@pytest.mark.parametrize(
    "hosts",
    [
        [f"1.1.1.{host}" for host in range(1, 100)],
        [f"2001:db8:0:{net:x}::1" for net in range(1, 100)],
    ],
    ids=["/24", "/56"],
)
def test_of_one_subnet_a_few_more(hosts: list[str]) -> None:
    pending = Pending()
    taken = [
        add(pending, make(number, address=pack_address(host, 1)))
        for number, host in enumerate(hosts)
    ]
    assert taken.count(True) == PENDING_PER_SUBNET_MAX


def test_on_local_ranges_half_open_sessions_count_per_key() -> None:
    pending = Pending()
    for number in range(100):
        assert add(pending, make(number, address=pack_address("10.0.0.1", number + 1)))
    same = [make(1000 + n, peer=7, address=pack_address("10.0.0.2", n + 1)) for n in range(9)]
    assert [add(pending, each) for each in same].count(True) == PENDING_PER_SOURCE_MAX - 1


def test_in_all_so_many_wait_and_the_oldest_is_pushed_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PENDING_MAX", 3)
    pending = Pending()
    for number in range(5):
        assert add(pending, make(number))
    assert len(pending) == 3
    assert pending.get(make(1).cid) is None
    assert pending.get(make(2).cid) is not None
