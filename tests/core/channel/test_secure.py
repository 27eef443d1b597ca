"""The encrypted channel between peers that mean well: first contact, sessions, what changes."""

from random import Random

import pytest

from dht.contacts import contact_at, pack_address
from dht.core.channel import epochs, handshakes, load, secure, session
from dht.core.channel.epochs import EPOCH_S
from dht.core.channel.given import KEY_PATIENCE_S
from dht.core.channel.noise import Keys
from dht.core.channel.packets import (
    CHALLENGE,
    COOKIE,
    DATA,
    DATA_ROOM,
    ECHO,
    INIT,
    INIT_ROOM,
    NO_SESSION,
    REPLY,
    REPLY_OVERHEAD,
)
from dht.core.channel.secure import QUEUE_S
from dht.core.channel.session import (
    IDLE_S,
    PENDING_PER_SOURCE_MAX,
    REJECT_AFTER_S,
    REKEY_AFTER_S,
    REKEY_AGAIN_S,
    RETIRED_S,
    SESSIONS_PER_SOURCE_MAX,
)
from dht.network import Network
from tests.core.channel.ends import FIND, PING, STORE, End, Wire, acquainted, address_of

OLD, NEW = b"\1" * 32, b"\2" * 32


def other(text: bytes) -> bytes:
    """A request that is no retry of another: an object of its own."""
    return bytes(bytearray(text))


# ---- first contact ----


def test_a_stranger_is_answered_in_one_round_trip() -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    request_id = ours.ask(theirs)
    assert ours.answers[request_id] == b"re:" + FIND[:8]
    assert wire.kinds() == [INIT, REPLY]
    [opened] = theirs.requests
    assert opened.public_key == ours.identity.public_key
    assert opened.source == ours.address
    assert not opened.proved


def test_one_exchange_leaves_nothing_behind() -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    ours.ask(theirs)
    for channel in (ours.channel, theirs.channel):
        assert channel.sessions_held == 0
        assert len(channel._pending) == 0
        assert len(channel._starting) == 0


def test_a_question_makes_room_for_its_answer_and_a_ping_needs_none() -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    ours.ask(theirs, FIND)
    assert len(wire.log[0][2]) == 1200
    [opened] = theirs.requests
    assert opened.room == 1200 - REPLY_OVERHEAD
    ours, theirs = wire.add(), wire.add()
    start = len(wire.log)
    ours.ask(theirs, PING)
    assert len(wire.log[start][2]) == 157 + 8 + len(PING)
    assert theirs.requests[0].room < 100


def test_the_second_exchange_opens_a_session_and_the_third_rides_in_it() -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    for _ in range(3):
        ours.ask(theirs, other(FIND))
    theirs.ask(ours)
    assert wire.kinds() == [INIT, REPLY, INIT, REPLY, DATA, DATA, DATA, DATA]
    assert [opened.proved for opened in theirs.requests] == [False, True, True]
    assert ours.requests[0].proved
    assert len(ours.answers) == 3
    assert len(theirs.answers) == 1
    assert theirs.requests[2].room == DATA_ROOM


def test_a_token_that_is_too_old_opens_no_session() -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    ours.ask(theirs)
    wire.now += 2 * EPOCH_S
    ours.ask(theirs)
    assert not theirs.requests[1].proved
    assert theirs.channel.sessions_held == 0


def test_what_has_an_effect_is_asked_again_by_itself_where_the_asker_proves_itself() -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    request_id = ours.ask(theirs, STORE)
    assert ours.answers[request_id] == b"re:" + STORE[:8]
    assert wire.kinds() == [INIT, REPLY, DATA, DATA]
    [opened] = theirs.requests
    assert opened.proved
    assert theirs.channel.sessions_held == 1
    assert len(theirs.channel._pending) == 0


def test_where_no_session_can_wait_it_is_asked_again_with_the_token() -> None:
    wire = Wire()
    theirs = wire.add()
    crowd = [wire.add(address=pack_address("1.1.1.1", 1 + n)) for n in range(8)]
    wire.fate = lambda data, _source, _to: [] if data[0] == DATA else [data]
    for end in crowd[:PENDING_PER_SOURCE_MAX]:
        end.ask(theirs, STORE)
        assert not end.answers, "what confirms their sessions is lost"
    assert len(theirs.channel._pending) == PENDING_PER_SOURCE_MAX
    request_id = crowd[-1].ask(theirs, STORE)
    assert crowd[-1].answers[request_id]
    assert [opened.proved for opened in theirs.requests] == [True]


def test_an_answer_that_does_not_fit_is_given_where_it_does() -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    theirs.reply = lambda _payload: b"x" * 500
    request_id = ours.ask(theirs, PING)
    assert ours.answers[request_id] == b"x" * 500
    assert wire.kinds() == [INIT, REPLY, DATA, DATA]
    assert len(wire.log[1][2]) == REPLY_OVERHEAD


def test_a_request_too_long_for_a_handshake_waits_for_the_session() -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    long = STORE.ljust(DATA_ROOM - 8, b"x")
    request_id = ours.ask(theirs, long)
    assert ours.answers[request_id]
    assert len(long) + 8 > INIT_ROOM
    assert wire.kinds() == [INIT, REPLY, DATA, DATA]
    assert len(wire.log[2][2]) == 1200
    assert theirs.requests[0].proved


def test_requests_wait_for_a_session_that_is_being_opened() -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    ours.ask(theirs)
    start = len(wire.log)
    for _ in range(20):
        ours.say(theirs, other(FIND))
    wire.run()
    assert wire.inits(start) == 1
    assert len(ours.answers) == 21


def test_but_not_for_one_whose_handshake_is_lost() -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    ours.ask(theirs)
    ours.say(theirs, other(FIND))
    wire.queue.clear()
    wire.now += QUEUE_S
    request_id = ours.ask(theirs, other(FIND))
    assert ours.answers[request_id]


def test_a_request_that_waited_is_asked_even_if_there_is_no_session() -> None:
    """The peer has no room for one more of this host."""
    wire = Wire()
    ours, theirs = wire.pair()
    ours.ask(theirs)
    _fill(theirs, ours.address)
    ids = [ours.say(theirs, other(FIND)) for _ in range(3)]
    wire.run()
    assert all(each in ours.answers for each in ids)
    assert ours.channel.sessions_held == 0


def _fill(end: End, address: bytes) -> None:
    """As many sessions with that host as there may be."""
    sessions = end.channel._sessions
    for number in range(SESSIONS_PER_SOURCE_MAX):
        place = pack_address(".".join(map(str, address[:4])), number + 1)
        sessions.install(
            end.wire.now,
            session.Session(
                end.wire.now,
                place=number.to_bytes(32) + place,
                address=place,
                cid=b"full" + number.to_bytes(4),
                peer_cid=number.to_bytes(8),
                keys=Keys(b"k" * 32, b"k" * 32),
                initiated=False,
            ),
        )


def test_a_second_answer_follows_in_the_session() -> None:
    """A holder says first that it pulls a value, and answers again when it has it."""
    wire, ours, theirs = acquainted()
    ours.say(theirs)
    [(source, _, data)] = wire.queue
    wire.queue.clear()
    opened = theirs.channel.receive(wire.now, data, source)
    assert opened is not None
    for text in (b"first", b"second"):
        theirs.channel.answer(wire.now, opened.ticket, opened.payload[:8] + text)
        wire.collect(theirs)
        ours.answers.clear()
        wire.run()
        assert list(ours.answers.values()) == [text]


@pytest.mark.parametrize("keeps", [True, False])
def test_after_a_handshake_a_second_answer_needs_the_session_that_it_opened(keeps: bool) -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    if keeps:
        ours.ask(theirs)
    ours.say(theirs, other(FIND))
    [(source, _, data)] = wire.queue
    wire.queue.clear()
    opened = theirs.channel.receive(wire.now, data, source)
    assert opened is not None
    theirs.channel.answer(wire.now, opened.ticket, opened.payload[:8] + b"first")
    theirs.channel.answer(wire.now, opened.ticket, opened.payload[:8] + b"second")
    theirs.channel.demand_proof(wire.now, opened.ticket)  # too late to mean anything
    sent = [data[0] for data, _ in theirs.channel.datagrams_to_send()]
    assert sent == ([REPLY, DATA] if keeps else [REPLY])


def test_a_second_answer_finds_the_session_that_took_the_place() -> None:
    wire, ours, theirs = acquainted()
    ours.say(theirs)
    [(source, _, data)] = wire.queue
    wire.queue.clear()
    opened = theirs.channel.receive(wire.now, data, source)
    assert opened is not None
    wire.now += REKEY_AFTER_S
    theirs.channel._sessions.close(opened.ticket)
    theirs.channel.answer(wire.now, opened.ticket, opened.payload[:8] + b"late")
    assert theirs.channel.datagrams_to_send() == [], "there is none"
    ours.ask(theirs, other(FIND))
    theirs.channel.answer(wire.now, opened.ticket, opened.payload[:8] + b"late")
    wire.collect(theirs)
    wire.run()
    assert ours.answers[opened.payload[:8]] == b"late"


def test_a_contact_whose_key_nobody_can_have_is_sent_nothing() -> None:
    wire = Wire()
    ours = wire.add()
    ours.say(contact_at(bytes(32), address_of(5)))
    assert not wire.log


def test_a_request_in_the_place_of_an_answer_gets_none() -> None:
    """A peer may say in a reply whatever it likes; the core then asks to answer it."""
    wire = Wire()
    ours, theirs = wire.pair()
    theirs.channel.answer(wire.now, None, b"nothing to answer")
    assert theirs.channel.datagrams_to_send() == []
    ours.ask(theirs)
    assert len(ours.answers) == 1


def test_a_second_answer_does_not_go_where_nothing_is_proved() -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    ours.ask(theirs)
    wire.move(ours, address_of(99))  # its token is for where it was
    ours.say(theirs, other(FIND))
    [(source, _, data)] = wire.queue
    wire.queue.clear()
    opened = theirs.channel.receive(wire.now, data, source)
    assert opened is not None
    theirs.channel.answer(wire.now, opened.ticket, opened.payload[:8] + b"first")
    assert len(theirs.channel._pending) == 1
    theirs.channel.answer(wire.now, opened.ticket, opened.payload[:8] + b"second")
    assert [data[0] for data, _ in theirs.channel.datagrams_to_send()] == [REPLY]


def test_a_peer_that_is_never_content_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    monkeypatch.setattr(epochs.Epochs, "token_holds", lambda *_: False)
    monkeypatch.setattr(session.Pending, "has_room", lambda *_: False)
    ours.ask(theirs, STORE)
    assert not ours.answers
    assert wire.inits() == 1 + secure.AGAIN_MAX


def test_only_so_many_wait_for_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secure, "QUEUE_MAX", 3)
    wire = Wire()
    ours, theirs = wire.pair()
    ours.ask(theirs)
    start = len(wire.log)
    for _ in range(8):
        ours.say(theirs, other(FIND))
    assert wire.inits(start) == 2
    wire.run()
    assert len(ours.answers) == 9


def test_who_has_no_room_for_a_session_that_it_asked_for_does_without() -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    ours.ask(theirs)
    _fill(ours, theirs.address)
    request_id = ours.ask(theirs, other(FIND))
    assert ours.answers[request_id]
    assert ours.channel.sessions_held == SESSIONS_PER_SOURCE_MAX
    long = STORE.ljust(DATA_ROOM - 8, b"x")
    start = len(wire.log)
    ours.say(theirs, long)
    assert wire.kinds(start) == [], "and what needs one is not even begun"


def test_a_session_on_trial_is_not_kept_where_there_are_too_many() -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    ours.say(theirs, STORE)
    for _ in range(2):
        source, to, data = wire.queue.pop(0)
        wire.ends[to].hear(data, source)
    _fill(theirs, ours.address)
    wire.run()
    assert theirs.channel.sessions_held == SESSIONS_PER_SOURCE_MAX
    assert theirs.requests == []


# ---- retries ----


def test_a_retry_has_an_ephemeral_key_of_its_own() -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    body = other(FIND)
    ours.say(theirs, body)
    wire.now += 0.6
    ours.say(theirs, body)
    first, second = (data for _, _, data in wire.log)
    assert first[10:42] != second[10:42]
    wire.run()
    assert len(ours.answers) == 2


def test_a_retry_in_a_session_is_a_handshake_that_replaces_it() -> None:
    """The peer may have lost the session, and its word for that may be lost too."""
    wire, ours, theirs = acquainted()
    theirs.start()
    wire.fate = lambda data, _source, _to: [] if data[0] == NO_SESSION else [data]
    start = len(wire.log)
    body = other(FIND)
    ours.ask(theirs, body)
    assert wire.kinds(start) == [DATA, NO_SESSION]
    wire.now += 0.15
    request_id = ours.ask(theirs, body)
    assert ours.answers[request_id]
    ours.ask(theirs, other(FIND))
    assert wire.kinds(start) == [DATA, NO_SESSION, INIT, REPLY, DATA, DATA, DATA]


def test_while_a_session_is_in_doubt_nothing_else_is_asked_in_it() -> None:
    wire, ours, theirs = acquainted()
    wire.fate = lambda _data, _source, _to: []
    body = other(FIND)
    ours.say(theirs, body)
    wire.now += 0.2
    ours.say(theirs, body)
    wire.now += 0.2
    start = len(wire.log)
    ours.say(theirs, other(FIND))
    assert wire.kinds(start) == [INIT]


def test_a_session_that_is_heard_again_is_trusted_again() -> None:
    wire, ours, theirs = acquainted()
    body = other(FIND)
    ours.say(theirs, body)
    late, wire.queue = wire.queue, []
    wire.fate = lambda _data, _source, _to: []
    ours.say(theirs, body)
    wire.fate = lambda data, _source, _to: [data]
    wire.queue = late
    wire.run()
    assert len(ours.answers) == 3, "the answer came after all"
    start = len(wire.log)
    ours.ask(theirs, other(FIND))
    assert wire.kinds(start) == [DATA, DATA]


# ---- restarts ----


def test_a_peer_that_restarted_answers_after_one_round_trip_more() -> None:
    wire, ours, theirs = acquainted()
    theirs.start()
    start = len(wire.log)
    request_id = ours.ask(theirs, other(FIND))
    assert ours.answers[request_id]
    assert wire.kinds(start)[:4] == [DATA, NO_SESSION, INIT, REPLY]
    ours.ask(theirs, other(FIND))
    theirs.ask(ours, other(FIND))
    assert wire.inits(start) == 1, "there is a session again, both ways"


def test_everything_that_waited_for_it_is_asked_anew() -> None:
    wire, ours, theirs = acquainted()
    theirs.start()
    ids = [ours.say(theirs, other(FIND)) for _ in range(10)]
    start = len(wire.log)
    wire.run()
    assert all(each in ours.answers for each in ids)
    assert wire.inits(start) == 1


def test_an_asker_that_restarted_is_a_stranger_again() -> None:
    _, ours, theirs = acquainted()
    ours.start()
    request_id = ours.ask(theirs, other(FIND))
    assert ours.answers[request_id]
    theirs.ask(ours, other(FIND))
    assert len(theirs.answers) == 1, "in the old session it is told that there is none"


def test_an_answer_that_nobody_waits_for_starts_no_handshake() -> None:
    wire, ours, theirs = acquainted()
    ours.say(theirs)
    [(source, _, data)] = wire.queue
    wire.queue.clear()
    opened = theirs.channel.receive(wire.now, data, source)
    assert opened is not None
    ours.start()
    start = len(wire.log)
    theirs.channel.answer(wire.now, opened.ticket, opened.payload[:8] + b"re:")
    wire.collect(theirs)
    wire.run()
    assert wire.kinds(start) == [DATA, NO_SESSION]


# ---- time ----


def grow_old(wire: Wire, ours: End, theirs: End) -> None:
    """Now and then something is asked, until the session is just due for new keys."""
    for _ in range(int(REKEY_AFTER_S / 100) - 1):
        wire.wait(100.0)
        ours.ask(theirs, other(FIND))
    wire.wait(100.0)
    assert INIT not in wire.kinds(4)


def test_new_keys_come_beside_a_request_and_cost_it_no_time() -> None:
    wire, ours, theirs = acquainted()
    grow_old(wire, ours, theirs)
    before = ours.channel._current[theirs.contact.packed]
    start = len(wire.log)
    request_id = ours.say(theirs, other(FIND))
    wire.run()
    kinds = wire.kinds(start)
    assert request_id in ours.answers
    assert sorted(kinds) == [INIT, REPLY, DATA, DATA, DATA]
    assert kinds[0] == DATA, "the request does not wait"
    after = ours.channel._current[theirs.contact.packed]
    assert after is not before
    start = len(wire.log)
    ours.ask(theirs, other(FIND))
    theirs.ask(ours, other(FIND))
    assert wire.kinds(start) == [DATA, DATA, DATA, DATA]
    assert theirs.channel._current[ours.contact.packed].peer_cid == after.cid
    wire.wait(RETIRED_S + secure.SWEEP_S)
    assert ours.channel.sessions_held == theirs.channel.sessions_held == 1


def test_new_keys_that_are_not_to_be_had_are_not_asked_for_all_the_time() -> None:
    wire, ours, theirs = acquainted()
    grow_old(wire, ours, theirs)
    wire.fate = lambda data, _source, _to: [] if data[0] == INIT else [data]
    start = len(wire.log)
    for _ in range(20):
        ours.ask(theirs, other(FIND))
        wire.wait(REKEY_AGAIN_S / 10)
    assert len(ours.answers) >= 22
    assert 2 <= wire.inits(start) <= 3


def test_old_keys_end() -> None:
    wire, ours, theirs = acquainted()
    wire.fate = lambda data, _source, _to: [] if data[0] == INIT and wire.now > 1001 else [data]
    while wire.now < 1000.0 + REJECT_AFTER_S - 50:
        wire.wait(50.0)
        ours.ask(theirs, other(FIND))
    answered = len(ours.answers)
    wire.wait(60.0)
    ours.ask(theirs, other(FIND))
    assert len(ours.answers) == answered
    assert wire.kinds()[-1] == INIT


@pytest.mark.parametrize("heard", [False, True])
def test_nothing_is_asked_under_keys_that_have_ended_however_late_new_ones_were_asked_for(
    heard: bool,
) -> None:
    """``heard``: does the peer answer the last request under the old keys?"""
    wire, ours, theirs = acquainted()
    end = ours.channel._current[theirs.contact.packed].until
    lost = {INIT}
    wire.fate = lambda data, _source, _to: [] if data[0] in lost else [data]
    while wire.now < end - 50:
        wire.wait(50.0)
        ours.ask(theirs, other(FIND))
    wire.now = end - 1.0
    lost |= set() if heard else {DATA}
    inits = wire.inits()
    ours.ask(theirs, other(FIND))
    assert wire.inits() == inits + 1, "new keys were asked for once more, and not had"
    lost.clear()
    wire.now = end + 1.0
    start = len(wire.log)
    request_id = ours.ask(theirs, other(FIND))
    assert request_id in ours.answers
    assert wire.kinds(start)[0] == INIT


def test_what_rides_in_a_first_message_which_has_no_forward_secrecy() -> None:
    """The first two requests to a node, and the first after a silence; all others do not."""
    wire = Wire()
    ours, theirs = wire.pair()
    carried = []
    for pause in (0.0, 1.0, 1.0, 1.0, IDLE_S, 1.0):
        wire.wait(pause)
        start = len(wire.log)
        ours.ask(theirs, other(FIND))
        carried.append(wire.kinds(start)[0])
    assert carried == [INIT, INIT, DATA, DATA, INIT, DATA]


def test_an_idle_session_is_forgotten_at_both_ends() -> None:
    wire, ours, theirs = acquainted()
    wire.wait(IDLE_S + secure.SWEEP_S)
    assert ours.channel.sessions_held == theirs.channel.sessions_held == 0
    request_id = ours.ask(theirs, other(FIND))
    assert ours.answers[request_id]


def test_nothing_is_left_in_the_end_and_nothing_is_due() -> None:
    wire, ours, theirs = acquainted()
    ours.say(contact_at(b"\7" * 32, address_of(77)))
    theirs.reply = lambda _payload: None
    ours.ask(theirs, other(FIND))
    assert ours.channel.next_timeout() is not None
    wire.wait(IDLE_S + 2 * secure.SWEEP_S)
    for channel in (ours.channel, theirs.channel):
        assert channel.next_timeout() is None
        assert not channel._unanswered
        assert len(channel._starting) == len(channel._pending) == channel.sessions_held == 0


def test_a_timeout_too_early_or_twice_does_nothing() -> None:
    _, ours, _ = acquainted()
    due = ours.channel.next_timeout()
    assert due is not None
    ours.channel.handle_timeout(due - 1)
    assert ours.channel.next_timeout() == due
    ours.channel.handle_timeout(due)
    later = ours.channel.next_timeout()
    ours.channel.handle_timeout(due)
    assert ours.channel.next_timeout() == later != due


def test_of_what_we_ask_nobody_in_particular_so_much_is_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handshakes, "STARTED_MAX", 5)
    monkeypatch.setattr(secure, "UNANSWERED_MAX", 5)
    wire, ours, theirs = acquainted()
    for number in range(50, 70):
        ours.say(contact_at(number.to_bytes(32), address_of(number)))
    assert len(ours.channel._starting) == 5
    for _ in range(20):
        ours.say(theirs, other(FIND))
    assert len(ours.channel._unanswered) == 5
    wire.run()
    assert len(ours.answers) == 22


# ---- two at once ----


@pytest.mark.parametrize("swapped", [False, True])
def test_two_that_open_a_session_at_the_same_time_end_with_the_same(swapped: bool) -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    ours.ask(theirs)
    theirs.ask(ours)
    both = (theirs, ours) if swapped else (ours, theirs)
    ids = [both[0].say(both[1], other(FIND)), both[1].say(both[0], other(FIND))]
    wire.run()
    assert ids[0] in both[0].answers
    assert ids[1] in both[1].answers
    ours_now = ours.channel._current[theirs.contact.packed]
    theirs_now = theirs.channel._current[ours.contact.packed]
    assert (ours_now.cid, ours_now.peer_cid) == (theirs_now.peer_cid, theirs_now.cid)
    smaller = min(ours, theirs, key=lambda end: end.identity.public_key)
    assert ours_now.initiated is (smaller is ours)
    wire.wait(RETIRED_S + secure.SWEEP_S)
    start = len(wire.log)
    ours.ask(theirs, other(FIND))
    theirs.ask(ours, other(FIND))
    assert wire.kinds(start) == [DATA] * 4


# ---- a peer whose address changes ----


def test_a_request_from_a_new_address_is_answered_after_one_round_trip_more() -> None:
    wire, ours, theirs = acquainted()
    wire.move(ours, address_of(99))
    start = len(wire.log)
    request_id = ours.ask(theirs, other(STORE))
    assert ours.answers[request_id]
    assert wire.kinds(start) == [DATA, CHALLENGE, ECHO, DATA, DATA]
    assert theirs.requests[-1].source == address_of(99)
    assert theirs.requests[-1].proved
    start = len(wire.log)
    ours.ask(theirs, other(FIND))
    theirs.ask(ours, other(FIND))
    assert wire.kinds(start) == [DATA] * 4, "the session has moved, for both directions"


def test_all_requests_that_were_under_way_are_served_once() -> None:
    wire, ours, theirs = acquainted()
    served = len(theirs.requests)
    wire.move(ours, address_of(99))
    ids = [ours.say(theirs, other(STORE)) for _ in range(10)]
    start = len(wire.log)
    wire.run()
    assert all(each in ours.answers for each in ids)
    assert len(theirs.requests) == served + 10
    assert wire.inits(start) == 0


def test_to_the_new_address_not_a_byte_more_is_sent_than_came_until_it_is_proved() -> None:
    wire, ours, theirs = acquainted()
    wire.move(ours, address_of(99))
    start = len(wire.log)
    ours.ask(theirs, other(PING))
    into = out = 0
    for _, to, data in wire.log[start:]:
        if to == theirs.address:
            if data[0] == ECHO:
                break
            into += len(data)
        else:
            out += len(data)
    assert 0 < out <= into


def test_who_copies_packets_elsewhere_moves_nothing() -> None:
    wire, ours, theirs = acquainted()
    thief = address_of(66)
    ours.say(theirs, other(FIND))
    [(_, _, data)] = wire.queue
    wire.queue.clear()
    opened = theirs.hear(data, thief)
    assert opened is None, "it says nothing from there"
    [(_, to, challenge)] = wire.queue
    assert to == thief
    assert len(challenge) <= len(data)
    wire.queue.clear()
    # It passes everything on, from its own address, and its own address is not the peer's.
    assert ours.hear(challenge, thief) is None
    assert not wire.queue
    assert theirs.channel._current[ours.contact.packed].address == ours.address
    request_id = ours.ask(theirs, other(FIND))
    assert ours.answers[request_id]


def test_a_session_whose_keys_have_ended_moves_no_more() -> None:
    wire, ours, theirs = acquainted()
    session = theirs.channel._current[ours.contact.packed]
    old, new = ours.address, address_of(99)
    wire.move(ours, new)
    asked = [_next_packet(ours, theirs) for _ in range(3)]
    wire.now = session.until - 1.0
    for data in asked[:2]:
        theirs.hear(data, new)
    challenges, wire.queue = [sent for _, _, sent in wire.queue], []
    ours.hear(challenges[0], theirs.address)
    [echo] = [sent for _, _, sent in wire.queue if sent[0] == ECHO]
    wire.queue.clear()
    wire.now = session.until  # before anybody has swept up
    theirs.hear(asked[2], new)
    ours.hear(challenges[1], theirs.address)
    assert not wire.queue
    theirs.hear(echo, new)
    assert session.address == old


def test_a_late_packet_from_the_old_address_moves_nothing_back() -> None:
    wire, ours, theirs = acquainted()
    ours.say(theirs, other(FIND))
    late, wire.queue = wire.queue, []
    old = ours.address
    wire.move(ours, address_of(99))
    ours.ask(theirs, other(FIND))
    start = len(wire.log)
    assert theirs.hear(late[0][2], old) is None
    assert wire.kinds(start) == []


def test_a_challenge_makes_us_ask_again_once_a_second_at_most() -> None:
    wire, ours, theirs = acquainted()
    theirs.reply = lambda _payload: None
    ours.ask(theirs, other(FIND))
    peers = theirs.channel._current[ours.contact.packed]
    start = len(wire.log)
    for _ in range(5):
        theirs.channel._elsewhere.on_moved(
            wire.now, peers, _next_packet(ours, theirs), address_of(66)
        )
        [(challenge, _)] = theirs.channel.datagrams_to_send()
        ours.hear(challenge, theirs.address)
    assert wire.kinds(start).count(ECHO) == 5
    assert wire.kinds(start).count(DATA) == 1


def _next_packet(source: End, to: End) -> bytes:
    sessions = source.channel._sessions
    return sessions.seal(sessions.current[to.contact.packed], DATA, b"12345678frame", None)


def test_a_peer_that_moved_to_where_there_is_no_room_stays_where_it_was() -> None:
    wire, ours, theirs = acquainted()
    _fill(theirs, address_of(99))
    wire.move(ours, address_of(99))
    ours.ask(theirs, other(FIND))
    assert ours.identity.public_key + address_of(0) in theirs.channel._current


def test_a_session_that_waits_for_its_proof_is_not_proved_from_elsewhere() -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    wire.fate = lambda data, _source, _to: [] if data[0] == DATA else [data]
    ours.ask(theirs, STORE)
    [data] = [data for _, _, data in wire.log if data[0] == DATA]
    assert theirs.hear(data, address_of(66)) is None
    assert theirs.channel.sessions_held == 0
    assert theirs.hear(data, ours.address) is not None
    assert theirs.channel.sessions_held == 1


# ---- load ----


def flood(wire: Wire, theirs: End, monkeypatch: pytest.MonkeyPatch) -> None:
    """One handshake more than there may be at once."""
    monkeypatch.setattr(load, "HANDSHAKES_BURST", 3.0)
    theirs.start()
    for number in range(200, 204):
        wire.add(number).ask(theirs)


def test_under_load_a_cookie_is_fetched_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    flood(wire, theirs, monkeypatch)
    start = len(wire.log)
    request_id = ours.ask(theirs)
    assert ours.answers[request_id]
    assert wire.kinds(start) == [INIT, COOKIE, INIT, REPLY]
    assert theirs.requests[-1].proved, "who repeats a cookie receives there, and is no copy"
    start = len(wire.log)
    ours.ask(theirs, other(STORE))
    assert wire.kinds(start) == [INIT, REPLY], "with the cookie that it has"


def test_what_waited_for_a_session_also_waits_for_a_cookie(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    flood(wire, theirs, monkeypatch)
    long = STORE.ljust(DATA_ROOM - 8, b"x")
    ids = [ours.say(theirs, other(long)) for _ in range(3)]
    wire.run()
    assert all(each in ours.answers for each in ids)


def test_a_peer_that_gives_only_cookies_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    flood(wire, theirs, monkeypatch)
    theirs.channel._answering._is_cookied = lambda *_: False  # type: ignore[method-assign]
    start = len(wire.log)
    ours.ask(theirs)
    assert wire.inits(start) == 1 + secure.AGAIN_MAX


def test_who_cannot_be_remembered_has_no_effect_without_a_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(epochs, "SEEN_MAX", 0)
    wire = Wire()
    ours, theirs = wire.pair()
    request_id = ours.ask(theirs, STORE)
    assert wire.kinds() == [INIT, COOKIE, INIT, REPLY, DATA, DATA]
    assert ours.answers[request_id]


# ---- networks ----


def test_networks_of_different_names_or_keys_do_not_hear_each_other() -> None:
    wire = Wire()
    networks = [
        Network.named("one"),
        Network.named("two"),
        Network.named("one", OLD),
        Network.named("one", NEW),
    ]
    ends = [wire.add(network=network) for network in networks]
    for ours in ends:
        for theirs in ends:
            if ours is not theirs:
                start = len(wire.log)
                ours.ask(theirs)
                ours.ask(theirs, PING)
                assert wire.kinds(start) == [INIT, INIT], "and not a byte came back"


@pytest.mark.parametrize("kind", [FIND, STORE, PING])
def test_while_keys_are_replaced_old_and_new_members_talk_both_ways(kind: bytes) -> None:
    wire = Wire()
    old = wire.add(network=Network.named("n", OLD))
    both = wire.add(network=Network.named("n", [NEW, OLD]))
    new = wire.add(network=Network.named("n", NEW))
    for ours, theirs in [(old, both), (new, both), (both, new)]:
        request_id = ours.ask(theirs, other(kind))
        assert request_id in ours.answers
    assert old.ask(new, other(kind)) not in old.answers


def test_who_speaks_the_new_key_falls_back_on_the_old_after_silence() -> None:
    wire = Wire()
    old = wire.add(network=Network.named("n", OLD))
    both = wire.add(network=Network.named("n", [NEW, OLD]))
    body = other(FIND)
    assert both.ask(old, body) not in both.answers
    wire.now += KEY_PATIENCE_S
    assert both.ask(old, body) in both.answers
    wire.now += 3 * EPOCH_S
    assert both.ask(old, other(FIND)) in both.answers, "it is remembered"


def test_who_was_heard_with_the_old_key_is_asked_with_it_at_once() -> None:
    wire = Wire()
    old = wire.add(network=Network.named("n", OLD))
    both = wire.add(network=Network.named("n", [NEW, OLD]))
    old.ask(both)
    assert both.ask(old) in both.answers


def test_a_member_with_the_old_key_notices_that_its_peer_restarted() -> None:
    wire = Wire()
    old = wire.add(network=Network.named("n", OLD))
    both = wire.add(network=Network.named("n", [NEW, OLD]))
    both.ask(old)
    wire.now += KEY_PATIENCE_S
    for _ in range(2):
        both.ask(old, other(FIND))
    assert both.channel.sessions_held == 1
    old.start()
    assert both.ask(old, other(FIND)) in both.answers


# ---- the same run twice ----


def test_the_same_seeds_and_times_give_the_same_bytes() -> None:
    def run() -> list[bytes]:
        wire, ours, theirs = acquainted()
        random = Random(5)
        for _ in range(50):
            wire.now += random.random() * 100
            ours.ask(theirs, other(random.choice([PING, FIND, STORE])))
        return [data for _, _, data in wire.log]

    assert run() == run()
