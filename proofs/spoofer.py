"""Somebody who writes any address as the sender, and never receives what is sent there.

He reads along, is a member of the network, has sessions of his own at an address of his own, and
can make every packet that needs nothing but what a member knows.
"""

from collections.abc import Callable
from random import Random

import attrs

from dht.contacts import Address, Contact, pack_address
from dht.core.channel.face import Opened
from dht.core.channel.noise import Initiator
from dht.core.channel.packets import (
    CHALLENGE,
    CID_SIZE,
    COOKIE,
    COOKIE_PACKET_SIZE,
    DATA,
    DATA_OVERHEAD,
    ECHO,
    HEAD_SIZE,
    INIT,
    INIT_OVERHEAD,
    INIT_ROOM,
    KEEP,
    MAC_SIZE,
    NO_MAC,
    NO_SESSION,
    NO_TOKEN,
    PATH_PACKET_SIZE,
    REPLY,
    TOKEN_SIZE,
    head,
    mac,
    pack_first,
    prologue,
)
from dht.core.channel.secure import SecureChannel
from dht.core.channel.who import IAM_SIZE, IAM_TAG, WHO_SIZE, WHO_TAG
from dht.identity import Identity
from dht.keyspace import content_key, key_bytes
from dht.network import Network
from dht.records import Kind, value_hash
from dht.wire.codec import encode
from dht.wire.messages import (
    CLIENT,
    CONTACTS_TOO,
    HANDOVER,
    REQUEST_ID_SIZE,
    WANT_IPV4,
    Browse,
    Copy,
    Dial,
    Fetch,
    Find,
    Get,
    Knock,
    Ping,
    Reach,
    Request,
    Store,
)

#: What he remembers of what he read, the newest; and identities that he has made up.
RECORDED_MAX = 400
IDENTITIES = 50
_KEY_SIZE = 32


def first_message(
    random: Random,
    to: bytes,
    network: Network,
    *,
    identity: Identity,
    frame: bytes,
    flags: int = 0,
    token: bytes = NO_TOKEN,
    padded: bool = True,
    cookie: bytes | None = None,
) -> bytes:
    """A whole and valid INIT for the owner of the public key ``to``."""
    secrets = random.choice(network.secrets())
    cid = random.randbytes(CID_SIZE)
    noise = Initiator(
        static=identity.private_key,
        static_public=identity.public_key,
        remote_public=to,
        psk=secrets.psk,
        prologue=prologue(network.id, cid),
        ephemeral=random.randbytes(_KEY_SIZE),
    )
    body = head(INIT, cid) + noise.write(pack_first(flags, token, frame, padded=padded))
    body += mac(secrets.mac_key(to), body)
    return body + (NO_MAC if cookie is None else mac(cookie, body))


def checked_junk(random: Random, to: bytes, network: Network, size: int) -> bytes:
    """An INIT of which nothing is right but the check that any member can make."""
    junk = random.randbytes(max(0, size - HEAD_SIZE - 2 * MAC_SIZE))
    body = head(INIT, random.randbytes(CID_SIZE)) + junk
    return body + mac(network.secrets()[0].mac_key(to), body) + NO_MAC


def any_request(random: Random) -> Request:
    """A well-formed request of any type, and what a node does for those that may have an effect."""
    flags = random.choice([WANT_IPV4, WANT_IPV4, WANT_IPV4 | HANDOVER, WANT_IPV4 | CLIENT, 0])
    key, nonce = random.randbytes(_KEY_SIZE), random.randbytes(8)
    match random.randrange(10):
        case 0:
            return Ping(flags)
        case 1 | 2:
            return Find(flags, key, random.randint(0, 64), random.choice([0, 1]))
        case 3:
            return Get(flags | random.choice([0, CONTACTS_TOO]), 1, key, random.randint(0, 64))
        case 4:
            return Browse(flags, key, bytes(_KEY_SIZE), random.randint(0, 64))
        case 5:
            return Fetch(flags, 1, key, random.randbytes(32), 0, 1000)
        case 6:
            return Reach(flags, nonce)
        case 7:
            return Dial(flags, nonce, random.randbytes(38))
        case 8:
            return Knock(flags, nonce)
        case _:
            value = random.randbytes(random.choice([8, 100, 800]))
            copy = Copy(
                kind=Kind.CONTENT,
                tombstone=False,
                key=key_bytes(content_key(value_hash(value))),
                version=1,
                written_at_ms=1,
                ttl_ms=86_400_000,
                remaining_ms=86_400_000,
                size=len(value),
                payload=value,
            )
            return Store(flags=flags, copy=copy, if_version=None, count=random.randint(0, 20))


@attrs.define(eq=False)
class Spoofer:
    """Draws what he sends to one victim. ``channels``: ends that know the victim; what they would
    send it he sends from elsewhere. The last of them is his ``own``, with an address of its own."""

    random: Random
    to: Contact
    network: Network
    channels: list[SecureChannel]
    own: Identity
    #: The packets that he has seen on their way to the victim.
    recorded: list[bytes] = attrs.field(factory=list)
    _now: float = attrs.field(default=0.0, init=False)
    _identities: list[Identity] = attrs.field(init=False)
    _kinds: list[tuple[Callable[[], bytes], int]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._identities = [Identity.generate(self.random) for _ in range(IDENTITIES)]
        self._kinds = [
            (self._first, 14),
            (self._diverted, 14),
            (self._copied, 20),
            (self._changed, 14),
            (self._cut, 8),
            (self._in_a_session, 8),
            (self._about_a_session, 6),
            (self._who, 6),
            (self._junk, 4),
            (self._noise, 6),
        ]

    def read(self, data: bytes) -> None:
        """He has seen this on its way to the victim."""
        self.recorded.append(data)
        if len(self.recorded) > RECORDED_MAX:
            del self.recorded[self.random.randrange(RECORDED_MAX)]

    def draw(self, now: float) -> bytes:
        """The next thing that he sends."""
        random = self.random
        makers, weights = zip(*self._kinds, strict=True)
        self._now = now
        made: bytes = random.choices(makers, weights)[0]()
        return made

    def _frame(self) -> bytes:
        """A request, or anything as short or as long as it may be."""
        random = self.random
        request_id = random.randbytes(REQUEST_ID_SIZE)
        if random.random() < 0.8:
            return (request_id + encode(any_request(random)))[:INIT_ROOM]
        return random.randbytes(random.choice([0, 1, 8, 9, 100, INIT_ROOM - 1, INIT_ROOM]))

    def _token(self) -> bytes:
        """None, one that was made up, or a true one, which was given to somebody elsewhere."""
        random = self.random
        if random.random() < 0.5:
            return NO_TOKEN
        channel = random.choice([*self.channels, self.channels[-1]])
        token = channel._given.token(self._now, self.to)  # noqa: SLF001
        return random.randbytes(TOKEN_SIZE) if token == NO_TOKEN else token

    def _cookie(self) -> bytes | None:
        random = self.random
        if random.random() < 0.5:
            return None
        cookie = random.choice(self.channels)._given.cookie(self._now, self.to)  # noqa: SLF001
        return random.randbytes(MAC_SIZE) if cookie is None else cookie

    def _first(self) -> bytes:
        random = self.random
        return first_message(
            random,
            self.to.public_key,
            self.network,
            identity=self.own if random.random() < 0.3 else random.choice(self._identities),
            frame=self._frame(),
            flags=random.choice([0, KEEP]),
            token=self._token(),
            padded=random.random() < 0.6,
            cookie=self._cookie(),
        )

    def _diverted(self) -> bytes:
        """What somebody who knows the victim would send it just now."""
        channel = self.random.choice(self.channels)
        sessions = channel._sessions  # noqa: SLF001
        session = sessions.current.get(self.to.packed)
        if session is not None:
            dice = self.random.random()
            if dice < 0.1:  # as short as one can be
                return sessions.seal(session, DATA, b"", None)
            if dice < 0.2:  # he does not know the value
                return sessions.seal(session, ECHO, self.random.randbytes(8), bytes([ECHO]))
        frame = self._frame().ljust(REQUEST_ID_SIZE + 2, b"\0")
        channel.ask(self._now, self.to, frame[:REQUEST_ID_SIZE], frame[REQUEST_ID_SIZE:])
        sent = [data for data, address in channel.datagrams_to_send() if address == self.to.address]
        if not sent:
            return self._copied()
        self.read(sent[0])
        return sent[0]

    def _copied(self) -> bytes:
        return self.random.choice(self.recorded) if self.recorded else self._noise()

    def _changed(self) -> bytes:
        """A bit of a copy is another, and its check is right again."""
        random, data = self.random, self._copied()
        cut = {INIT: 2 * MAC_SIZE, REPLY: MAC_SIZE}.get(data[0], 0)
        if len(data) < cut + 2:
            return data
        changed = bytearray(data[: len(data) - cut])
        changed[random.randrange(1, len(changed))] ^= 1 << random.randrange(8)
        made = bytes(changed)
        if cut:
            made += mac(self.network.secrets()[0].mac_key(self.to.public_key), made)
        return made + (NO_MAC if data[0] == INIT else b"")

    def _cut(self) -> bytes:
        random, data = self.random, self._copied()
        if random.random() < 0.2:
            return data + random.randbytes(random.randint(1, 40))
        return data[: random.randint(0, len(data))]

    def _cid(self) -> bytes:
        """Of a session that the victim has or had, as a rule."""
        random = self.random
        known = [data[1:9] for data in self.recorded if data[:1] == bytes([DATA])]
        if known and random.random() < 0.9:
            return random.choice(known)
        return random.randbytes(CID_SIZE)

    def _in_a_session(self) -> bytes:
        random = self.random
        size = random.choice([DATA_OVERHEAD, DATA_OVERHEAD, PATH_PACKET_SIZE, 100, 1200])
        counter = random.choice([0, 1, 5, 2**20, 2**32 - 1]).to_bytes(4)
        return (bytes([DATA]) + self._cid() + counter).ljust(size, b"x")

    def _about_a_session(self) -> bytes:
        random = self.random
        tag = random.choice([NO_SESSION, CHALLENGE, ECHO])
        told = bytes([tag]) + self._cid() + random.randrange(20).to_bytes(4)
        if tag == NO_SESSION:
            return told + mac(self.network.secrets()[0].mac_key(self.to.public_key), told)
        return told.ljust(PATH_PACKET_SIZE, b"x")

    def _who(self) -> bytes:
        random = self.random
        key = self.network.secrets()[0].who_key
        tag, size = random.choice([(WHO_TAG, WHO_SIZE), (WHO_TAG, WHO_SIZE), (IAM_TAG, IAM_SIZE)])
        body = (bytes([tag]) + random.randbytes(16)).ljust(size - MAC_SIZE, b"\0")
        return body + mac(key, body)

    def _junk(self) -> bytes:
        size = self.random.choice([INIT_OVERHEAD, 400, 1200])
        return checked_junk(self.random, self.to.public_key, self.network, size)

    def _noise(self) -> bytes:
        random = self.random
        tag = random.choice([INIT, REPLY, COOKIE, DATA, NO_SESSION, CHALLENGE, ECHO, 0, WHO_TAG])
        size = random.choice([0, 28, 36, COOKIE_PACKET_SIZE - 1, random.randint(0, 1300)])
        return bytes([tag]) + random.randbytes(size)


def somewhere(random: Random) -> Address:
    """A public address at which nobody is."""
    ip = ".".join(str(random.randint(20, 120)) for _ in range(4))
    return pack_address(ip, random.choice([53, 4000, 40_000]))


def watch(
    channel: SecureChannel,
    came: Callable[[bytes, Address, Opened | None], None],
    sent: Callable[[bytes, Address], None],
) -> None:
    """From now on all that passes a channel is told; whoever owns it does not notice."""
    receive, to_send = channel.receive, channel.datagrams_to_send

    def watched_receive(now: float, data: bytes, source: Address) -> Opened | None:
        opened = receive(now, data, source)
        came(data, source, opened)
        return opened

    def watched_to_send() -> list[tuple[bytes, Address]]:
        datagrams = to_send()
        for data, to in datagrams:
            sent(data, to)
        return datagrams

    vars(channel).update(receive=watched_receive, datagrams_to_send=watched_to_send)
