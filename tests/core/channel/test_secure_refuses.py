"""What the encrypted channel does not take: forged, damaged, copied, late, or from elsewhere.

Each test ends with the true packet, which is still taken: what was refused has left no trace.
"""

from collections.abc import Callable, Iterator
from random import Random

import pytest

from dht.contacts import Address, contact_at
from dht.core.channel import elsewhere, epochs, load
from dht.core.channel.epochs import EPOCH_S
from dht.core.channel.noise import Initiator
from dht.core.channel.packets import (
    CHALLENGE,
    COOKIE,
    DATA,
    DATA_ROOM,
    ECHO,
    INIT,
    KEEP,
    MAC_SIZE,
    NO_MAC,
    NO_SESSION,
    REPLY,
    head,
    mac,
    pack_first,
    prologue,
)
from dht.identity import Identity
from dht.network import Network
from tests.core.channel.ends import FIND, PING, STORE, End, Wire, acquainted, address_of

KINDS = [INIT, REPLY, COOKIE, DATA, NO_SESSION, CHALLENGE, ECHO]
NAMES = ["INIT", "REPLY", "COOKIE", "DATA", "NOSESSION", "CHALLENGE", "ECHO"]
ELSEWHERE = address_of(66)


def other(text: bytes) -> bytes:
    return bytes(bytearray(text))


def on_its_way(
    kind: int, monkeypatch: pytest.MonkeyPatch | None = None, *, body: bytes = PING
) -> tuple[Wire, End, bytes, Address]:
    """A wire on which the next packet is one of this kind: it, for whom, from where."""
    if kind in (INIT, REPLY, COOKIE):
        wire = Wire()
        ours, theirs = wire.pair()
        if kind == COOKIE:
            assert monkeypatch is not None
            monkeypatch.setattr(load, "HANDSHAKES_BURST", 0.0)
            theirs.start()
    else:
        wire, ours, theirs = acquainted()
        if kind == NO_SESSION:
            theirs.start()
        if kind in (CHALLENGE, ECHO):
            wire.move(ours, address_of(99))
    ours.say(theirs, other(body))
    while wire.queue[0][2][0] != kind:
        source, to, data = wire.queue.pop(0)
        wire.ends[to].hear(data, source)
    source, to, data = wire.queue.pop(0)
    return wire, wire.ends[to], data, source


def assert_dead(wire: Wire, end: End, data: bytes, source: Address) -> None:
    """Nothing comes of it: nothing up, nothing out, and not one answer more."""
    before = len(end.answers), len(end.requests), len(wire.log)
    assert end.hear(data, source) is None
    assert (len(end.answers), len(end.requests), len(wire.log)) == before


def assert_alive(wire: Wire, end: End, data: bytes, source: Address) -> None:
    """The true packet is taken, and the exchange ends as it should."""
    asker = next(each for each in wire.ends.values() if each.asked)
    end.hear(data, source)
    wire.run()
    assert asker.asked[-1] in asker.answers


def flips(data: bytes, *, end: int | None = None) -> Iterator[bytes]:
    for at in range(8 * (len(data) if end is None else end)):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        yield bytes(flipped)


@pytest.fixture(params=KINDS, ids=NAMES)
def kind(request: pytest.FixtureRequest) -> int:
    return int(request.param)


# ---- every kind of packet ----


def test_a_packet_with_any_bit_flipped(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wire, end, data, source = on_its_way(kind, monkeypatch)
    # An INIT ends in what proves its address, if it holds; see below for that.
    for flipped in flips(data, end=len(data) - (MAC_SIZE if kind == INIT else 0)):
        assert_dead(wire, end, flipped, source)
    assert_alive(wire, end, data, source)


def test_a_packet_cut_anywhere(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wire, end, data, source = on_its_way(kind, monkeypatch)
    for size in range(len(data)):
        assert_dead(wire, end, data[:size], source)
        assert_dead(wire, end, data[size + 1 :], source)
    assert_alive(wire, end, data, source)


def test_a_packet_with_something_behind_it(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wire, end, data, source = on_its_way(kind, monkeypatch)
    for more in (b"\0", b"\0" * 16, b"x" * 16, bytes(1201 - len(data)), bytes(3000)):
        assert_dead(wire, end, data + more, source)
    assert_alive(wire, end, data, source)


def test_a_packet_that_comes_again(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wire, end, data, source = on_its_way(kind, monkeypatch)
    assert_alive(wire, end, data, source)
    wire.queue.clear()
    for _ in range(3):
        assert_dead(wire, end, data, source)
        wire.now += 1.0


def test_a_packet_that_comes_back_to_its_sender(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wire, end, data, source = on_its_way(kind, monkeypatch)
    sender = wire.ends[source]
    assert_dead(wire, sender, data, end.address)
    assert_dead(wire, sender, data, source)
    assert_alive(wire, end, data, source)


def test_a_packet_for_somebody_else(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wire, end, data, source = on_its_way(kind, monkeypatch)
    third = wire.add(50)
    assert_dead(wire, third, data, source)
    assert_alive(wire, end, data, source)


@pytest.mark.parametrize("kind", [REPLY, COOKIE, NO_SESSION, CHALLENGE], ids=str)
def test_an_answer_from_another_address(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wire, end, data, source = on_its_way(kind, monkeypatch)
    assert_dead(wire, end, data, ELSEWHERE)
    assert_dead(wire, end, data, address_of(1, 4001))  # the host alone is not enough
    assert_alive(wire, end, data, source)


@pytest.mark.parametrize("kind", [INIT, REPLY, COOKIE], ids=str)
def test_another_version(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wire, end, data, source = on_its_way(kind, monkeypatch)
    for version in (0, 2, 255):
        changed = data[:1] + bytes([version]) + data[2:]
        if kind == INIT:  # with a check that is right
            key = Network.named("test").secrets()[0].mac_key(end.identity.public_key)
            body = changed[: -2 * MAC_SIZE]
            changed = body + mac(key, body) + NO_MAC
        assert_dead(wire, end, changed, source)
    assert_alive(wire, end, data, source)


def test_a_kind_of_packet_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    wire, end, data, source = on_its_way(DATA, monkeypatch)
    for tag in [0, *range(8, 256)]:
        assert_dead(wire, end, bytes([tag]) + data[1:], source)
    assert_dead(wire, end, b"", source)
    assert_alive(wire, end, data, source)


def test_what_is_longer_than_a_datagram_however_right_it_is() -> None:
    wire, ours, theirs = acquainted()
    session = ours.channel._current[theirs.contact.packed]
    for size in (DATA_ROOM + 1, DATA_ROOM):
        sealed = ours.channel._sessions.seal(session, DATA, b"8 bytes.".ljust(size, b"x"), None)
        if size > DATA_ROOM:
            assert_dead(wire, theirs, sealed, ours.address)
        else:
            assert theirs.hear(sealed, ours.address) is not None
    right = pack_first(0, bytes(16), b"8 bytes." + FIND, padded=True)
    assert_dead(wire, theirs, forge(theirs, payload=right + b"\0"), ELSEWHERE)
    assert theirs.hear(forge(theirs, payload=right), ELSEWHERE) is not None


# ---- first messages ----


def forge(
    end: End,
    *,
    network: Network | None = None,
    mac_network: Network | None = None,
    to: bytes | None = None,
    identity: Identity | None = None,
    token: bytes = bytes(16),
    flags: int = 0,
    network_id: bytes | None = None,
    payload: bytes | None = None,
    ephemeral: bytes = b"\5" * 32,
) -> bytes:
    """An INIT made by hand for an end, right but for what is said."""
    network = network or Network.named("test")
    identity = identity or Identity.generate(Random("a stranger"))
    cid = b"forged!!"
    secrets = network.secrets()[0]
    noise = Initiator(
        static=identity.private_key,
        static_public=identity.public_key,
        remote_public=to or end.identity.public_key,
        psk=secrets.psk,
        prologue=prologue(network.id if network_id is None else network_id, cid),
        ephemeral=ephemeral,
    )
    if payload is None:
        payload = pack_first(flags, token, b"8 bytes." + STORE, padded=True)
    body = head(INIT, cid) + noise.write(payload)
    key = (mac_network or network).secrets()[0].mac_key(end.identity.public_key)
    return body + mac(key, body) + NO_MAC


def test_the_forger_of_these_tests_could_do_it_right() -> None:
    wire = Wire()
    end = wire.add()
    end.demands = ()
    assert end.hear(forge(end), ELSEWHERE) is not None
    assert len(end.requests) == 1


FORGED: dict[str, Callable[[End], bytes]] = {
    "made for another key": lambda end: forge(end, to=Identity.generate(Random(9)).public_key),
    "with another network key": lambda end: forge(
        end, network=Network.named("test", b"k" * 32), mac_network=Network.named("test")
    ),
    "of another network": lambda end: forge(end, network_id=Network.named("other").id),
    "checked with the key of another network": lambda end: forge(
        end, mac_network=Network.named("other")
    ),
    "in our own name": lambda end: forge(end, identity=end.identity),
    "with unknown flags": lambda end: forge(end, flags=KEEP | 128),
    "with something in its padding": lambda end: forge(
        end, payload=pack_first(0, bytes(16), b"8 bytes." + FIND, padded=True)[:-1] + b"x"
    ),
    "with a frame longer than itself": lambda end: forge(
        end, payload=b"\0" + bytes(16) + b"\xff\xff" + FIND
    ),
    "without a payload": lambda end: forge(end, payload=b""),
}


@pytest.mark.parametrize("how", FORGED)
def test_a_first_message(how: str) -> None:
    wire = Wire()
    end = wire.add()
    assert_dead(wire, end, FORGED[how](end), ELSEWHERE)
    assert len(end.channel._pending) == end.channel.sessions_held == 0


def test_a_first_message_with_any_bit_flipped_and_the_check_made_right_again() -> None:
    """In a network without a key anybody can make that check."""
    wire, end, data, source = on_its_way(INIT)
    key = Network.named("test").secrets()[0].mac_key(end.identity.public_key)
    for flipped in flips(data[: -2 * MAC_SIZE]):
        assert_dead(wire, end, flipped + mac(key, flipped) + NO_MAC, source)
        wire.now += 0.01
    assert_alive(wire, end, data, source)


def test_a_reply_with_any_bit_flipped_and_the_check_made_right_again() -> None:
    wire, end, data, source = on_its_way(REPLY)
    key = Network.named("test").secrets()[0].mac_key(end.identity.public_key)
    for flipped in flips(data[:-MAC_SIZE]):
        assert_dead(wire, end, flipped + mac(key, flipped), source)
    assert_alive(wire, end, data, source)


def test_without_the_check_nobody_makes_us_do_arithmetic() -> None:
    """The check costs 2 µs, what it guards a hundred times that."""
    wire = Wire()
    end = wire.add()
    made = forge(end)
    calls = _count_arithmetic(end)
    for flipped in flips(made[:-MAC_SIZE]):
        assert_dead(wire, end, flipped + NO_MAC, ELSEWHERE)
    assert_dead(wire, end, forge(end, mac_network=Network.named("other")), ELSEWHERE)
    assert calls == []
    end.hear(made, ELSEWHERE)
    assert calls


def _count_arithmetic(end: End) -> list[int]:
    calls: list[int] = []

    class Counting:
        def __init__(self, key: object) -> None:
            self._key = key

        def exchange(self, peer: object) -> bytes:
            calls.append(1)
            return self._key.exchange(peer)  # type: ignore[attr-defined,no-any-return]

    identity = end.channel._answering._identity
    counting = Counting(identity.private_key)
    end.channel._answering._identity = Identity(counting, identity.public_key, identity.id)  # type: ignore[arg-type]
    return calls


def test_copies_are_found_before_any_arithmetic() -> None:
    wire = Wire()
    end = wire.add()
    made = forge(end)
    calls = _count_arithmetic(end)
    end.hear(made, ELSEWHERE)
    wire.queue.clear()
    done = len(calls)
    for _ in range(10):
        assert_dead(wire, end, made, ELSEWHERE)
    assert len(calls) == done


def test_an_ephemeral_key_in_front_of_junk_does_not_make_the_true_one_a_copy() -> None:
    wire, end, data, source = on_its_way(INIT)
    key = Network.named("test").secrets()[0].mac_key(end.identity.public_key)
    junk = data[:42] + bytes(len(data) - 42 - 32)
    assert_dead(wire, end, junk + mac(key, junk) + NO_MAC, source)
    assert_alive(wire, end, data, source)


def test_a_wrong_cookie_proves_nothing() -> None:
    wire, end, data, source = on_its_way(INIT, body=STORE)
    end.hear(data[:-MAC_SIZE] + b"x" * MAC_SIZE, source)
    assert end.requests == [], "it has to prove itself first"
    wire.run()
    assert len(end.requests) == 1


def test_a_cookie_of_another_address_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    monkeypatch.setattr(load, "HANDSHAKES_BURST", 0.0)
    theirs.start()
    ours.say(theirs)
    while wire.kinds().count(INIT) < 2:
        source, to, data = wire.queue.pop(0)
        wire.ends[to].hear(data, source)
    [(source, to, data)] = wire.queue
    wire.queue.clear()
    assert theirs.hear(data, ELSEWHERE) is None
    assert [each[2][0] for each in wire.queue] == [COOKIE], "that is all it gets there"
    wire.queue.clear()
    theirs.hear(data, source)
    wire.run()
    assert len(ours.answers) == 1


def test_a_cookie_of_a_handshake_that_it_does_not_belong_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire, end, data, source = on_its_way(COOKIE, monkeypatch)
    asker = next(each for each in wire.ends.values() if each.asked)
    asker.say(contact_at(wire.ends[source].identity.public_key, source), other(FIND))
    wire.queue.clear()
    wrong = data[:2] + wire.log[-1][2][2:10] + data[10:]
    assert_dead(wire, end, wrong, source)
    end.hear(data, source)
    assert wire.kinds()[-1] == INIT


def test_the_token_of_another_address_or_key_proves_nothing() -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    ours.ask(theirs)
    token = ours.channel._given.token(wire.now, theirs.contact)
    thief = Identity.generate(Random("thief"))
    theirs.hear(forge(theirs, token=token, identity=thief), ours.address)
    theirs.hear(forge(theirs, token=token, identity=ours.identity, ephemeral=b"\6" * 32), ELSEWHERE)
    assert len(theirs.requests) == 1, "the first exchange, and neither store"
    assert theirs.channel.sessions_held == 0


# ---- copies, later and from elsewhere ----


def record_of_a_store() -> tuple[Wire, End, End, bytes]:
    """A first message that stored something at once, since it came with a token."""
    wire = Wire()
    ours, theirs = wire.pair()
    ours.ask(theirs)
    start = len(wire.log)
    ours.ask(theirs, other(STORE))
    assert len(theirs.requests) == 2
    return wire, ours, theirs, wire.log[start][2]


@pytest.mark.parametrize("pause", [0.0, 1.0, EPOCH_S, 2 * EPOCH_S - 2, 2 * EPOCH_S + 1, 1e4])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_copy_of_a_store_has_no_second_effect_whenever_and_from_wherever(
    pause: float, elsewhere: bool
) -> None:
    wire, ours, theirs, data = record_of_a_store()
    wire.now += pause
    source = ELSEWHERE if elsewhere else ours.address
    start = len(wire.log)
    for _ in range(3):
        theirs.hear(data, source)
        wire.run()
    assert len(theirs.requests) == 2
    assert sum(len(each) for _, to, each in wire.log[start:] if to == source) <= 3 * len(data)


def test_nor_has_it_when_it_is_not_remembered_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    wire, ours, theirs, data = record_of_a_store()
    theirs.channel._epochs._seen.clear()
    theirs.channel._epochs._previous_seen.clear()
    wire.now += 2 * EPOCH_S
    theirs.hear(data, ours.address)
    wire.run()
    assert len(theirs.requests) == 2
    # And while it cannot be remembered, nothing of its kind has an effect.
    monkeypatch.setattr(epochs, "SEEN_MAX", 0)
    start = len(wire.log)
    ours.start()
    ours.ask(theirs, other(STORE))
    assert wire.kinds(start) == [INIT, COOKIE, INIT, REPLY, DATA, DATA]
    assert len(theirs.requests) == 3


def test_a_copy_of_a_session_opener_takes_nobodys_place() -> None:
    """Else who recorded it could make us speak to its peer in a session that the peer forgot."""
    wire = Wire()
    ours, theirs = wire.pair()
    ours.ask(theirs)
    start = len(wire.log)
    ours.ask(theirs, other(FIND))
    data = wire.log[start][2]
    ours.ask(theirs, other(FIND))
    before = theirs.channel._current[ours.contact.packed]
    wire.wait(2 * EPOCH_S)
    theirs.hear(data, ours.address)
    wire.queue.clear()
    assert theirs.channel._current[ours.contact.packed] is before
    start = len(wire.log)
    theirs.ask(ours, other(FIND))
    assert wire.kinds(start) == [DATA, DATA]


def test_recorded_sessions_open_nothing_after_their_end() -> None:
    wire, ours, theirs = acquainted()
    start = len(wire.log)
    ours.ask(theirs, other(STORE))
    data = wire.log[start][2]
    wire.wait(400.0)
    served = len(theirs.requests)
    theirs.hear(data, ours.address)
    assert len(theirs.requests) == served


# ---- "I do not know this session" ----


def test_who_does_not_know_an_id_of_ours_hears_nothing() -> None:
    wire = Wire()
    end = wire.add()
    for number in range(200):
        cid = Random(number).randbytes(8)
        assert_dead(wire, end, bytes([DATA]) + cid + bytes(60), ELSEWHERE)


def test_it_is_said_so_often_and_no_more() -> None:
    wire, ours, theirs = acquainted()
    session = ours.channel._current[theirs.contact.packed]
    theirs.start()
    start = len(wire.log)
    for _ in range(300):
        theirs.hear(bytes([DATA]) + session.peer_cid + bytes(60), ELSEWHERE)
    assert len(wire.log) - start == elsewhere.NO_SESSION_BURST


def test_it_is_believed_only_of_what_was_asked_and_not_too_often() -> None:
    wire, ours, theirs = acquainted()
    key = Network.named("test").secrets()[0].mac_key(theirs.identity.public_key)
    session = ours.channel._current[theirs.contact.packed]

    def told(counter: int, with_key: bytes = key) -> bytes:
        said = bytes([NO_SESSION]) + session.peer_cid + counter.to_bytes(4)
        return said + mac(with_key, said)

    ours.ask(theirs, other(FIND))
    assert_dead(wire, ours, told(session.sent - 1), theirs.address)  # answered long ago
    wire.now += elsewhere.NO_SESSION_AGAIN_S
    ours.say(theirs, other(FIND))
    wire.queue.clear()
    asked = session.sent - 1
    assert_dead(wire, ours, told(asked, b"z" * 32), theirs.address)
    assert_dead(wire, ours, told(asked + 1), theirs.address)
    wire.now += elsewhere.NO_SESSION_AGAIN_S
    ours.hear(told(asked), theirs.address)
    assert wire.kinds()[-1] == INIT
    wire.queue.clear()
    assert_dead(wire, ours, told(asked), theirs.address)
    assert ours.channel._sessions.of_peer(session.peer_cid, theirs.address) is session
    # It was a lie: the peer is heard in that session. Told again at once, it is not believed.
    theirs.ask(ours, other(FIND))
    ours.say(theirs, other(FIND))
    assert wire.kinds()[-1] == DATA
    wire.queue.clear()
    assert_dead(wire, ours, told(session.sent - 1), theirs.address)
    wire.now += elsewhere.NO_SESSION_AGAIN_S
    ours.hear(told(session.sent - 1), theirs.address)
    assert wire.kinds()[-1] == INIT


def test_a_packet_shorter_than_its_challenge_is_not_answered_elsewhere() -> None:
    wire, ours, theirs = acquainted()
    sessions = ours.channel._sessions
    empty = sessions.seal(sessions.current[theirs.contact.packed], DATA, b"", None)
    assert_dead(wire, theirs, empty, ELSEWHERE)


def test_an_echo_from_where_it_was_not_asked_for_moves_nothing() -> None:
    wire, end, data, source = on_its_way(ECHO)
    assert_dead(wire, end, data, ELSEWHERE)
    place = next(iter(end.channel._current))
    assert place[32:] != ELSEWHERE
    assert source != ELSEWHERE


def test_half_open_sessions_take_their_own_packets_alone() -> None:
    wire = Wire()
    ours, theirs = wire.pair()
    wire.fate = lambda data, _source, _to: [] if data[0] == DATA else [data]
    ours.ask(theirs, STORE)
    [data] = [data for _, _, data in wire.log if data[0] == DATA]
    for flipped in flips(data[9:]):
        assert_dead(wire, theirs, data[:9] + flipped, ours.address)
    assert theirs.hear(data, ours.address) is not None
