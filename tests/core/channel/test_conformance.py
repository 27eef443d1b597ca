"""Everything wrong that can be sent to the encrypted channel, each with a sentence for its name.

Every case ends in one check: what comes up to the node, what goes back, and which sessions there
are. As a rule nothing comes up and nothing goes back. Where the design answers at all, it answers
with no more bytes than came, and what comes up has ``proved`` unset, so that it has no effect.
Then the true packet, if there is one, is still taken.

The handshake itself is compared with others' in ``test_noise``; ``test_secure_refuses`` has the
longer stories.
"""

from collections.abc import Callable, Iterator

import attrs
import pytest

from dht.config import DATAGRAM_SIZE_MAX
from dht.contacts import Address
from dht.core.channel import load
from dht.core.channel.epochs import EPOCH_S
from dht.core.channel.noise import KEY_SIZE, TAG_SIZE, Responder
from dht.core.channel.packets import (
    CHALLENGE,
    CID_SIZE,
    CONFIRM,
    COOKIE,
    DATA,
    DATA_ROOM,
    ECHO,
    HEAD_SIZE,
    INIT,
    KEEP,
    KEPT,
    MAC_SIZE,
    NO_CID,
    NO_MAC,
    NO_SESSION,
    NO_TOKEN,
    NONCE_SIZE,
    REPLY,
    SESSION_HEAD_SIZE,
    head,
    mac,
    pack_first,
    pack_second,
    prologue,
)
from dht.core.channel.session import IDLE_S, WINDOW
from dht.core.channel.who import IAM_TAG, WHO_TAG, Who
from dht.identity import Identity
from dht.network import Network
from tests.core.channel.ends import FIND, STORE, End, Wire, acquainted, address_of
from tests.core.channel.test_secure_refuses import (
    ELSEWHERE,
    KINDS,
    NAMES,
    assert_alive,
    flips,
    forge,
    on_its_way,
    other,
)

TEST = Network.named("test")
KEYED = Network.named("test", b"k" * 32)
OTHER = Network.named("other")
STRANGER = Identity.from_private_bytes(b"s" * 32)
ZEROS = bytes(KEY_SIZE)


@attrs.frozen(kw_only=True)
class Attempt:
    """What is sent to whom, as if from where, and what may come of each."""

    wire: Wire
    end: End
    data: list[bytes]
    source: Address = ELSEWHERE
    #: The kinds of packets that each is answered with.
    back: tuple[int, ...] = ()
    #: It comes up, but proves nothing.
    unproved: bool = False
    #: What still has to work afterwards.
    then: Callable[[], None] = lambda: None


Case = Callable[[pytest.MonkeyPatch], Attempt]
CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    """Enters a case under a sentence."""

    def enter(made: Case) -> Case:
        assert name not in CASES
        CASES[name] = made
        return made

    return enter


# ---- every kind of packet ----

# What follows what in each; an INIT ends in mac2, which is no check: see below for that.
FIELDS: dict[int, list[tuple[str, int]]] = {
    INIT: [
        ("tag", 1),
        ("version", 1),
        ("cid", CID_SIZE),
        ("ephemeral key", KEY_SIZE),
        ("sealed static key", KEY_SIZE + TAG_SIZE),
        ("sealed payload", -2 * MAC_SIZE),
        ("mac1", -MAC_SIZE),
    ],
    REPLY: [
        ("tag", 1),
        ("version", 1),
        ("cid", CID_SIZE),
        ("ephemeral key", KEY_SIZE),
        ("sealed payload", -MAC_SIZE),
        ("mac1", 0),
    ],
    COOKIE: [
        ("tag", 1),
        ("version", 1),
        ("cid", CID_SIZE),
        ("nonce", NONCE_SIZE),
        ("sealed cookie", 0),
    ],
    NO_SESSION: [("tag", 1), ("cid", CID_SIZE), ("counter", 4), ("mac", 0)],
    **{
        kind: [("tag", 1), ("cid", CID_SIZE), ("counter", 4), ("sealed text", 0)]
        for kind in (DATA, CHALLENGE, ECHO)
    },
}


def fields_of(kind: int) -> Iterator[tuple[str, int, int]]:
    """Name, begin and end; an end of 0 or less is counted from the end of the packet."""
    begin = 0
    for name, size in FIELDS[kind]:
        end = begin + size if size > 0 else size
        yield name, begin, end
        begin = end


def checked_again(kind: int, data: bytes, end: End) -> bytes:
    """The packet with its first check made right, as any member of the network can."""
    key = TEST.secrets()[0].mac_key(end.identity.public_key)
    if kind == INIT:
        body = data[: -2 * MAC_SIZE]
        return body + mac(key, body) + NO_MAC
    body = data[:-MAC_SIZE]
    return body + mac(key, body)


def with_flips(kind: int, begin: int, end: int, *, check: bool) -> Case:
    def attempt(monkeypatch: pytest.MonkeyPatch) -> Attempt:
        wire, receiver, data, source = on_its_way(kind, monkeypatch)
        last = end if end > 0 else len(data) + end
        flipped = [data[:begin] + each + data[last:] for each in flips(data[begin:last])]
        if check:
            flipped = [checked_again(kind, each, receiver) for each in flipped]
        return Attempt(
            wire=wire,
            end=receiver,
            data=flipped,
            source=source,
            then=lambda: assert_alive(wire, receiver, data, source),
        )

    return attempt


def with_other_lengths(kind: int, *, longer: bool) -> Case:
    def attempt(monkeypatch: pytest.MonkeyPatch) -> Attempt:
        wire, end, data, source = on_its_way(kind, monkeypatch)
        if longer:
            changed = [data + more for more in (b"\0", bytes(16), b"x" * 16, bytes(2000))]
        else:
            changed = [data[:size] for size in range(len(data))]
            changed += [data[size:] for size in range(1, len(data))]
        return Attempt(
            wire=wire,
            end=end,
            data=changed,
            source=source,
            then=lambda: assert_alive(wire, end, data, source),
        )

    return attempt


def reflected(kind: int) -> Case:
    def attempt(monkeypatch: pytest.MonkeyPatch) -> Attempt:
        wire, end, data, source = on_its_way(kind, monkeypatch)
        return Attempt(
            wire=wire,
            end=wire.ends[source],
            data=[data],
            source=end.address,
            then=lambda: assert_alive(wire, end, data, source),
        )

    return attempt


def misdelivered(kind: int) -> Case:
    def attempt(monkeypatch: pytest.MonkeyPatch) -> Attempt:
        wire, end, data, source = on_its_way(kind, monkeypatch)
        return Attempt(
            wire=wire,
            end=wire.add(50),
            data=[data],
            source=source,
            then=lambda: assert_alive(wire, end, data, source),
        )

    return attempt


def replayed(kind: int, source: Address | None) -> Case:
    """The true packet is taken first; then it comes again."""

    def attempt(monkeypatch: pytest.MonkeyPatch) -> Attempt:
        wire, end, data, true_source = on_its_way(kind, monkeypatch)
        assert_alive(wire, end, data, true_source)
        wire.queue.clear()
        return Attempt(wire=wire, end=end, data=[data] * 3, source=source or true_source)

    return attempt


def enter_every_kind() -> None:
    for kind, name in zip(KINDS, NAMES, strict=True):
        for field, begin, end in fields_of(kind):
            case(f"{name} with any bit of its {field} flipped")(
                with_flips(kind, begin, end, check=False)
            )
            if kind in (INIT, REPLY) and field != "mac1":
                case(f"{name} with any bit of its {field} flipped and the check made right again")(
                    with_flips(kind, begin, end, check=True)
                )
        case(f"{name} truncated at any length")(with_other_lengths(kind, longer=False))
        case(f"{name} with something behind it")(with_other_lengths(kind, longer=True))
        case(f"{name} reflected to its sender")(reflected(kind))
        case(f"{name} delivered to somebody else")(misdelivered(kind))
        case(f"{name} replayed from the same address")(replayed(kind, None))
        case(f"{name} replayed from another address")(replayed(kind, ELSEWHERE))


enter_every_kind()


# ---- INIT ----


def forged(how: Callable[[End], bytes]) -> Case:
    """An INIT made by hand, and afterwards one of the same hand that is right."""

    def attempt(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
        wire = Wire()
        end = wire.add()
        end.demands = ()

        def then() -> None:
            assert end.hear(forge(end, ephemeral=b"\x07" * 32), ELSEWHERE) is not None

        return Attempt(wire=wire, end=end, data=[how(end)], then=then)

    return attempt


def with_ephemeral_zeros(end: End) -> bytes:
    made = forge(end)
    return checked_again(INIT, made[:HEAD_SIZE] + ZEROS + made[HEAD_SIZE + KEY_SIZE :], end)


FORGED: dict[str, Callable[[End], bytes]] = {
    "INIT made for another responder key": lambda end: forge(end, to=STRANGER.public_key),
    "INIT with another network key, its check made right": lambda end: forge(
        end, network=KEYED, mac_network=TEST
    ),
    "INIT of another network, its check made right": lambda end: forge(
        end, network_id=OTHER.id, mac_network=TEST
    ),
    "INIT of another network": lambda end: forge(end, network=OTHER),
    "INIT checked with the key of another network": lambda end: forge(end, mac_network=OTHER),
    "INIT with an ephemeral key of zeros, a point of low order": with_ephemeral_zeros,
    "INIT with a static key of zeros, a point of low order": lambda end: forge(
        end, identity=Identity(STRANGER.private_key, ZEROS, STRANGER.id)
    ),
    "INIT in the name of somebody else, whose private key its sender has not": lambda end: forge(
        end,
        identity=Identity(STRANGER.private_key, end.wire.add(7).identity.public_key, STRANGER.id),
    ),
    "INIT in the name of the responder itself": lambda end: forge(end, identity=end.identity),
    "INIT with unknown flags": lambda end: forge(end, flags=KEEP | 128),
    "INIT with padding that is not zero": lambda end: forge(
        end, payload=pack_first(0, NO_TOKEN, b"8 bytes." + FIND, padded=True)[:-1] + b"x"
    ),
    "INIT with a frame longer than itself": lambda end: forge(
        end, payload=b"\0" + NO_TOKEN + b"\xff\xff" + FIND
    ),
    "INIT with an empty payload": lambda end: forge(end, payload=b""),
    "INIT longer than a datagram may be, however right": lambda end: forge(
        end, payload=pack_first(0, NO_TOKEN, b"8 bytes." + FIND, padded=True) + b"\0"
    ),
}


for _name, _how in FORGED.items():
    case(_name)(forged(_how))


@case("INIT with the token of somebody else")
def _(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, ours, theirs, token = with_token()
    return Attempt(
        wire=wire,
        end=theirs,
        data=[forge(theirs, token=token, identity=STRANGER, flags=KEEP)],
        source=ours.address,
        unproved=True,
    )


@case("INIT with a token that was given at another address")
def _(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, ours, theirs, token = with_token()
    return Attempt(
        wire=wire,
        end=theirs,
        data=[forge(theirs, token=token, identity=ours.identity, flags=KEEP)],
        unproved=True,
    )


@case("INIT with a token that has expired")
def _(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, ours, theirs, token = with_token()
    wire.now += 2 * EPOCH_S
    return Attempt(
        wire=wire,
        end=theirs,
        data=[forge(theirs, token=token, identity=ours.identity, flags=KEEP)],
        source=ours.address,
        unproved=True,
    )


@case("INIT with a token, replayed to a node that has restarted and forgotten it")
def _(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, ours, theirs, token = with_token()
    data = forge(theirs, token=token, identity=ours.identity)
    opened = theirs.channel.receive(wire.now, data, ours.address)
    assert opened is not None
    assert opened.proved
    theirs.start()
    return Attempt(wire=wire, end=theirs, data=[data], source=ours.address, unproved=True)


@case("INIT with a token, replayed when it is remembered no more")
def _(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, ours, theirs, token = with_token()
    data = forge(theirs, token=token, identity=ours.identity)
    assert theirs.channel.receive(wire.now, data, ours.address) is not None
    wire.now += 2 * EPOCH_S + 1
    return Attempt(wire=wire, end=theirs, data=[data], source=ours.address, unproved=True)


@case("INIT with a token, replayed in the epoch after its own")
def _(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, ours, theirs, token = with_token()
    data = forge(theirs, token=token, identity=ours.identity)
    assert theirs.channel.receive(wire.now, data, ours.address) is not None
    wire.now += EPOCH_S + 1
    return Attempt(wire=wire, end=theirs, data=[data] * 3, source=ours.address)


@case("INIT with a made-up mac2, though there is no load")
def _(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire = Wire()
    end = wire.add()
    made = forge(end, flags=KEEP)[:-MAC_SIZE] + b"x" * MAC_SIZE
    return Attempt(wire=wire, end=end, data=[made], unproved=True)


def with_token() -> tuple[Wire, End, End, bytes]:
    wire = Wire()
    ours, theirs = wire.pair()
    ours.ask(theirs)
    return wire, ours, theirs, ours.channel._given.token(wire.now, theirs.contact)


# ---- INIT under load, and COOKIE ----


def under_load(monkeypatch: pytest.MonkeyPatch) -> tuple[Wire, End, End, bytes]:
    """An INIT that comes back with its cookie, on its way."""
    monkeypatch.setattr(load, "HANDSHAKES_BURST", 0.0)
    wire = Wire()
    ours, theirs = wire.pair()
    ours.say(theirs)
    while wire.inits() < 2:
        source, to, data = wire.queue.pop(0)
        wire.ends[to].hear(data, source)
    [(_, _, data)] = wire.queue
    wire.queue.clear()
    return wire, ours, theirs, data


@case("INIT without a cookie under load")
def _(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, _, theirs, _ = under_load(monkeypatch)
    return Attempt(wire=wire, end=theirs, data=[forge(theirs)], back=(COOKIE,))


@case("INIT with the cookie of another address under load")
def _(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, ours, theirs, data = under_load(monkeypatch)
    return Attempt(
        wire=wire,
        end=theirs,
        data=[data],
        back=(COOKIE,),
        then=lambda: assert_alive(wire, theirs, data, ours.address),
    )


@case("INIT with the cookie of another port of its host under load")
def _(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, ours, theirs, data = under_load(monkeypatch)
    return Attempt(
        wire=wire,
        end=theirs,
        data=[data],
        source=address_of(0, 4001),
        back=(COOKIE,),
        then=lambda: assert_alive(wire, theirs, data, ours.address),
    )


@case("INIT with a cookie that has expired under load")
def _(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, ours, theirs, data = under_load(monkeypatch)
    wire.now += 2 * EPOCH_S
    return Attempt(wire=wire, end=theirs, data=[data], source=ours.address, back=(COOKIE,))


@case("INIT with a cookie of a node that has restarted since under load")
def _(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, ours, theirs, data = under_load(monkeypatch)
    theirs.start()
    return Attempt(wire=wire, end=theirs, data=[data], source=ours.address, back=(COOKIE,))


@case("INIT with its cookie, sent once more than is let in of one address under load")
def _(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, ours, theirs, _ = under_load(monkeypatch)
    cookie = theirs.channel._epochs.cookie(wire.now, ours.address)

    def cookied(number: int) -> bytes:
        body = forge(theirs, ephemeral=bytes([number + 1]) * 32)[:-MAC_SIZE]
        return body + mac(cookie, body)

    for number in range(int(load.COOKIED_BURST)):
        assert theirs.channel.receive(wire.now, cookied(number), ours.address) is not None
    return Attempt(wire=wire, end=theirs, data=[cookied(99)], source=ours.address)


@case("COOKIE from another address")
def _(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, end, data, source = on_its_way(COOKIE, monkeypatch)
    return Attempt(
        wire=wire, end=end, data=[data], then=lambda: assert_alive(wire, end, data, source)
    )


@case("COOKIE that was made for another handshake")
def _(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, end, data, source = on_its_way(COOKIE, monkeypatch)
    end.say(wire.ends[source], other(FIND))
    _, _, second = wire.queue.pop()
    end.answers[end.asked.pop()] = b"not waited for"
    cid = second[2:HEAD_SIZE]
    return Attempt(
        wire=wire,
        end=end,
        data=[data[:2] + cid + data[HEAD_SIZE:]],
        source=source,
        then=lambda: assert_alive(wire, end, data, source),
    )


# ---- REPLY ----


def answered(made: Callable[[End, End, bytes], bytes], *, by_another: bool = True) -> Case:
    """What an asker is sent in the place of its REPLY. Afterwards it takes the true one, unless
    this was one of the peer itself: there is one to a handshake, even if it says nonsense."""

    def attempt(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
        wire = Wire()
        ours, theirs = wire.pair()
        ours.say(theirs)
        [(_, _, init)] = wire.queue

        def then() -> None:
            if by_another:
                assert_alive(wire, theirs, init, ours.address)

        return Attempt(
            wire=wire,
            end=ours,
            data=[made(ours, theirs, init)],
            source=theirs.address,
            then=then,
        )

    return attempt


def answer_by_hand(asker: End, answerer: End, init: bytes, payload: bytes) -> bytes:
    """The REPLY of an answerer whose payload is anything."""
    identity, cid = answerer.identity, init[2:HEAD_SIZE]
    noise = Responder(
        static=identity.private_key,
        static_public=identity.public_key,
        psk=TEST.secrets()[0].psk,
        prologue=prologue(TEST.id, cid),
    )
    noise.read_untrusted(init[HEAD_SIZE : -2 * MAC_SIZE])
    body = head(REPLY, cid) + noise.write(b"\x09" * KEY_SIZE, payload)
    return body + mac(TEST.secrets()[0].mac_key(asker.identity.public_key), body)


def with_payload(flags: int, cid: bytes) -> Case:
    return answered(
        lambda ours, theirs, init: answer_by_hand(
            ours, theirs, init, pack_second(flags, cid, bytes(16), ours.asked[-1] + b"forged")
        ),
        by_another=False,
    )


def changed_reply(change: Callable[[bytes], bytes]) -> Case:
    """The body of a REPLY that is right, changed, and the check made right again."""

    def made(ours: End, theirs: End, init: bytes) -> bytes:
        right = answer_by_hand(
            ours, theirs, init, pack_second(0, NO_CID, bytes(16), ours.asked[-1] + b"forged")
        )
        return checked_again(REPLY, change(right[:-MAC_SIZE]) + right[-MAC_SIZE:], ours)

    return answered(made)


case("REPLY with unknown flags")(with_payload(128, NO_CID))
case("REPLY with a session but no id of it")(with_payload(KEPT, NO_CID))
case("REPLY with the id of a session but no session")(with_payload(CONFIRM, b"sessions"))
case("REPLY with a payload too short for its head")(
    answered(lambda ours, theirs, init: answer_by_hand(ours, theirs, init, bytes(24)))
)
case("REPLY with an ephemeral key of zeros, a point of low order")(
    changed_reply(lambda body: body[:HEAD_SIZE] + ZEROS + body[HEAD_SIZE + KEY_SIZE :])
)
case("REPLY to a cid that was never drawn")(
    changed_reply(lambda body: head(REPLY, b"anything") + body[HEAD_SIZE:])
)
case("REPLY by somebody who has not the key that was asked for")(
    changed_reply(lambda body: body[:HEAD_SIZE] + STRANGER.public_key + bytes(200))
)


@case("REPLY to another handshake of the same two")
def _(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, ours, data, source = on_its_way(REPLY, monkeypatch)
    ours.asked.pop()
    ours.say(wire.ends[source], other(FIND))
    [(_, to, init)] = wire.queue
    moved = checked_again(REPLY, data[:2] + init[2:HEAD_SIZE] + data[HEAD_SIZE:], ours)
    return Attempt(
        wire=wire,
        end=ours,
        data=[moved],
        source=source,
        then=lambda: assert_alive(wire, wire.ends[to], init, ours.address),
    )


@case("REPLY from another address")
def _(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, end, data, source = on_its_way(REPLY, monkeypatch)
    return Attempt(
        wire=wire, end=end, data=[data], then=lambda: assert_alive(wire, end, data, source)
    )


# ---- sessions ----


def sealed(end: End, to: End, *, size: int = 60, tag: int = DATA, text: bytes = b"") -> bytes:
    """The next packet of the session that one end has with another."""
    sessions = end.channel._sessions
    session = sessions.current[to.contact.packed]
    associated = None if tag == DATA else bytes([tag])
    return sessions.seal(session, tag, text or b"8 bytes.".ljust(size, b"x"), associated)


def in_a_session(made: Callable[[End, End], bytes], *, back: tuple[int, ...] = ()) -> Case:
    """What arrives from where the peer is; afterwards its next packet is taken."""

    def attempt(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
        wire, ours, theirs = acquainted()

        def then() -> None:
            ours.ask(theirs, other(FIND))
            assert ours.asked[-1] in ours.answers

        return Attempt(
            wire=wire,
            end=theirs,
            data=[made(ours, theirs)],
            source=ours.address,
            back=back,
            then=then,
        )

    return attempt


def behind_the_window(ours: End, theirs: End) -> bytes:
    late, still = sealed(ours, theirs), sealed(ours, theirs)
    ours.channel._current[theirs.contact.packed].sent += WINDOW - 2
    for data in (sealed(ours, theirs), still):
        assert theirs.channel.receive(ours.wire.now, data, ours.address) is not None
    return late


def of_another_session(ours: End, theirs: End) -> bytes:
    third = ours.wire.add(30)
    for _ in range(2):
        third.ask(theirs, other(FIND))
    data = sealed(third, theirs)
    return data[:1] + sealed(ours, theirs)[1:9] + data[9:]


def with_an_id_never_drawn(ours: End, theirs: End) -> bytes:
    data = sealed(ours, theirs)
    return data[:1] + b"anything" + data[9:]


SESSION_CASES: dict[str, Callable[[End, End], bytes]] = {
    "DATA with a counter behind the window": behind_the_window,
    "DATA of another session": of_another_session,
    "DATA with an id that was never drawn": with_an_id_never_drawn,
    "DATA longer than a datagram may be, however right": lambda ours, theirs: sealed(
        ours, theirs, size=DATA_ROOM + 1
    ),
    "DATA shorter than its head and tag": lambda ours, theirs: sealed(ours, theirs)[
        : SESSION_HEAD_SIZE + TAG_SIZE - 1
    ],
    "DATA in the name of a CHALLENGE": lambda ours, theirs: sealed(
        ours, theirs, tag=CHALLENGE, text=bytes(8)
    ).replace(bytes([CHALLENGE]), bytes([DATA]), 1),
    "CHALLENGE in the name of DATA": lambda ours, theirs: sealed(ours, theirs, size=8).replace(
        bytes([DATA]), bytes([CHALLENGE]), 1
    ),
    "ECHO that nobody asked for": lambda ours, theirs: sealed(
        ours, theirs, tag=ECHO, text=bytes(8)
    ),
    "a packet of a kind that is none": lambda ours, theirs: b"\x08" + sealed(ours, theirs)[1:],
    "nothing at all": lambda _ours, _theirs: b"",
    "the longest datagram, of zeros": lambda _ours, _theirs: bytes(DATAGRAM_SIZE_MAX),
}

for _name, _made in SESSION_CASES.items():
    case(_name)(in_a_session(_made))


@case("DATA from another address, which is asked to prove itself")
def _(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, ours, theirs = acquainted()
    return Attempt(wire=wire, end=theirs, data=[sealed(ours, theirs)], back=(CHALLENGE,))


@case("DATA from another address, shorter than what would be asked back")
def _(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, ours, theirs = acquainted()
    sessions = ours.channel._sessions
    empty = sessions.seal(sessions.current[theirs.contact.packed], DATA, b"", None)
    return Attempt(wire=wire, end=theirs, data=[empty])


@case("DATA of a session that has been idle for too long")
def _(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, ours, theirs = acquainted()
    data = sealed(ours, theirs)
    wire.wait(IDLE_S + 20)
    return Attempt(wire=wire, end=theirs, data=[data], source=ours.address, back=(NO_SESSION,))


@case("DATA of a half-open session, from another address")
def _(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, ours, theirs, data = half_open()

    def then() -> None:
        assert theirs.hear(data, ours.address) is not None

    return Attempt(wire=wire, end=theirs, data=[data], then=then)


def half_open() -> tuple[Wire, End, End, bytes]:
    """A session that its first packet, on its way, would prove."""
    wire = Wire()
    ours, theirs = wire.pair()
    wire.fate = lambda data, _source, _to: [] if data[0] == DATA else [data]
    ours.ask(theirs, STORE)
    [data] = [data for _, _, data in wire.log if data[0] == DATA]
    return wire, ours, theirs, data


@case("CHALLENGE from another address")
def _(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, end, data, source = on_its_way(CHALLENGE, monkeypatch)
    return Attempt(
        wire=wire, end=end, data=[data], then=lambda: assert_alive(wire, end, data, source)
    )


@case("ECHO from an address that was not asked")
def _(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, end, data, _ = on_its_way(ECHO, monkeypatch)
    return Attempt(wire=wire, end=end, data=[data])


@case("ECHO of a value that has expired")
def _(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, end, data, source = on_its_way(ECHO, monkeypatch)
    wire.now += 2 * EPOCH_S
    return Attempt(wire=wire, end=end, data=[data], source=source)


@case("NOSESSION from another address")
def _(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, end, data, source = on_its_way(NO_SESSION, monkeypatch)
    return Attempt(
        wire=wire, end=end, data=[data], then=lambda: assert_alive(wire, end, data, source)
    )


@case("NOSESSION of another network")
def _(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, end, data, source = on_its_way(NO_SESSION, monkeypatch)
    told = data[:-MAC_SIZE]
    key = OTHER.secrets()[0].mac_key(wire.ends[source].identity.public_key)
    return Attempt(
        wire=wire,
        end=end,
        data=[told + mac(key, told)],
        source=source,
        then=lambda: assert_alive(wire, end, data, source),
    )


@case("NOSESSION about what was answered long ago")
def _(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire, ours, theirs = acquainted()
    ours.ask(theirs, other(FIND))
    session = ours.channel._current[theirs.contact.packed]
    told = bytes([NO_SESSION]) + session.peer_cid + (session.sent - 1).to_bytes(4)
    key = TEST.secrets()[0].mac_key(theirs.identity.public_key)
    return Attempt(wire=wire, end=ours, data=[told + mac(key, told)], source=theirs.address)


# ---- WHO and IAM ----


def asked_who(end: End, network: Network = TEST) -> bytes:
    return Who(STRANGER.public_key, network.secrets(), end.channel._epochs._random).ask(
        end.wire.now, end.address
    )


def who(change: Callable[[End], list[bytes]]) -> Case:
    def attempt(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
        wire = Wire()
        end = wire.add()

        def then() -> None:
            end.channel.receive(wire.now, asked_who(end), ELSEWHERE)
            [(data, _)] = end.channel.datagrams_to_send()
            assert data[0] == IAM_TAG

        return Attempt(wire=wire, end=end, data=change(end), then=then)

    return attempt


case("WHO of another network")(who(lambda end: [asked_who(end, OTHER)]))
case("WHO with another network key")(who(lambda end: [asked_who(end, KEYED)]))
case("WHO with any bit flipped")(who(lambda end: list(flips(asked_who(end)))))
case("WHO truncated at any length")(
    who(lambda end: [asked_who(end)[:size] for size in range(len(asked_who(end)))])
)
case("WHO with something behind it")(who(lambda end: [asked_who(end) + b"\0"]))


@case("WHO from anywhere, answered with less than itself")
def _(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
    wire = Wire()
    end = wire.add()
    return Attempt(wire=wire, end=end, data=[asked_who(end)], back=(IAM_TAG,))


def iam(change: Callable[[bytes], bytes], *, elsewhere: bool = False) -> Case:
    """An IAM that was asked for, changed; nobody is identified by it, and by the true one is."""

    def attempt(_monkeypatch: pytest.MonkeyPatch) -> Attempt:
        wire = Wire()
        ours, theirs = wire.pair()
        ours.channel.who(wire.now, theirs.address)
        [(question, _)] = ours.channel.datagrams_to_send()
        theirs.channel.receive(wire.now, question, ours.address)
        [(true, _)] = theirs.channel.datagrams_to_send()

        def then() -> None:
            assert ours.channel.identified() == []
            ours.channel.receive(wire.now, true, theirs.address)
            assert ours.channel.identified() == [(theirs.address, theirs.identity.public_key)]
            ours.channel.receive(wire.now, true, theirs.address)
            assert ours.channel.identified() == []

        return Attempt(
            wire=wire,
            end=ours,
            data=[change(true)],
            source=ELSEWHERE if elsewhere else theirs.address,
            then=then,
        )

    return attempt


case("IAM from another address")(iam(lambda data: data, elsewhere=True))
case("IAM with another public key")(
    iam(lambda data: data[:17] + STRANGER.public_key + data[-MAC_SIZE:])
)
case("IAM to a question that nobody asked")(iam(lambda data: data[:1] + bytes(16) + data[17:]))
case("IAM in the shape of a WHO")(iam(lambda data: bytes([WHO_TAG]) + data[1:]))


# ---- the one check ----


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_has_no_effect(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = CASES[name](monkeypatch)
    channel, now = attempt.end.channel, attempt.wire.now
    assert channel.datagrams_to_send() == []
    held, half_open = set(channel._by_cid), len(channel._pending)
    places = {place: session.cid for place, session in channel._current.items()}
    for data in attempt.data:
        opened = channel.receive(now, data, attempt.source)
        if attempt.unproved:
            assert opened is not None
            assert not opened.proved
            channel.answer(now, opened.ticket, opened.payload[:8].ljust(opened.room, b"x"))
        else:
            assert opened is None
            assert len(channel._pending) == half_open
        back = channel.datagrams_to_send()
        assert tuple(each[0] for each, _ in back) == (
            (REPLY,) if attempt.unproved else attempt.back
        )
        assert {to for _, to in back} <= {attempt.source}
        assert sum(len(each) for each, _ in back) <= len(data)
        assert set(channel._by_cid) == held
    assert {place: session.cid for place, session in channel._current.items()} == places
    attempt.then()
