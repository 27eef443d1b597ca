"""Channels at addresses, and a wire between them: what is sent arrives, in order, at once or late.

An ``End`` answers each request by what ``reply`` says and remembers all that it heard.
"""

from collections.abc import Callable, Sequence
from random import Random

import attrs

from dht.contacts import Address, Contact, contact_at, pack_address
from dht.core.channel.face import Opened
from dht.core.channel.noise import Initiator
from dht.core.channel.packets import (
    CID_SIZE,
    INIT,
    NO_MAC,
    NO_TOKEN,
    head,
    mac,
    pack_first,
    prologue,
)
from dht.core.channel.secure import SecureChannel
from dht.identity import Identity
from dht.network import Network

# Messages as far as a channel looks into them: an array, and its tag. 1 is a ping.
PING = b"\x92\x01\x06"
FIND = b"\x95\x02" + b"find" * 9
STORE = b"\x95\x04" + b"store" * 30


def address_of(number: int, port: int = 4000) -> Address:
    """A public one, each in a /24 of its own."""
    return pack_address(f"1.{number >> 8}.{number & 255}.1", port)


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
    """An INIT with nothing wrong in it for the owner of the public key ``to``, by hand: with a
    token, a cookie, flags and padding that no honest channel would put together."""
    secrets = random.choice(network.secrets())
    cid = random.randbytes(CID_SIZE)
    noise = Initiator(
        static=identity.private_key,
        static_public=identity.public_key,
        remote_public=to,
        psk=secrets.psk,
        prologue=prologue(network.id, cid),
        ephemeral=random.randbytes(32),
    )
    body = head(INIT, cid) + noise.write(pack_first(flags, token, frame, padded=padded))
    body += mac(secrets.mac_key(to), body)
    return body + (NO_MAC if cookie is None else mac(cookie, body))


@attrs.define(eq=False)
class End:
    """One channel at its address."""

    wire: "Wire"
    identity: Identity
    network: Network
    address: Address
    channel: SecureChannel = attrs.field(init=False)
    #: What came up, and was not an answer to what was asked here.
    requests: list[Opened] = attrs.field(factory=list)
    #: request id -> the answer.
    answers: dict[bytes, bytes] = attrs.field(factory=dict)
    asked: list[bytes] = attrs.field(factory=list)
    #: The answer to a request's payload, without its id; None is silence.
    reply: Callable[[bytes], bytes | None] = lambda payload: b"re:" + payload[:8]
    #: Requests that are not taken from where nothing is proved.
    demands: tuple[bytes, ...] = (STORE,)
    #: Is a second answer to one request in order, as after a repetition?
    again_ok: bool = False
    #: Is each answer as long as it may be, whatever ``reply`` says?
    longest: bool = False
    restarts: int = 0

    def __attrs_post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A new channel: all that the one before knew is lost."""
        self.restarts += 1
        seed = f"{self.identity.public_key.hex()} {self.restarts}"
        self.channel = SecureChannel(self.identity, self.network, Random(seed))

    @property
    def contact(self) -> Contact:
        return contact_at(self.identity.public_key, self.address)

    def ask(self, to: "End | Contact", payload: bytes = FIND) -> bytes:
        """Asks, and lets the wire run until it is quiet. The request id."""
        request_id = self.say(to, payload)
        self.wire.run()
        return request_id

    def say(self, to: "End | Contact", payload: bytes = FIND) -> bytes:
        """Asks, and leaves what is to be sent on the wire."""
        contact = to.contact if isinstance(to, End) else to
        request_id = len(self.asked).to_bytes(4) + self.identity.public_key[:4]
        self.asked.append(request_id)
        self.channel.ask(self.wire.now, contact, request_id, payload)
        self.wire.collect(self)
        return request_id

    def hear(self, data: bytes, source: Address) -> Opened | None:
        now = self.wire.now
        opened = self.channel.receive(now, data, source)
        if opened is not None:
            request_id, payload = opened.payload[:8], opened.payload[8:]
            if request_id in self.asked:
                assert self.again_ok or request_id not in self.answers, "answered twice"
                self.answers[request_id] = payload
            else:
                self._serve(now, opened, request_id, payload)
        self.wire.collect(self)
        return opened

    def _serve(self, now: float, opened: Opened, request_id: bytes, payload: bytes) -> None:
        if not opened.proved and payload in self.demands:
            self.channel.demand_proof(now, opened.ticket)
            return
        self.requests.append(opened)
        answer = bytes(opened.room - len(request_id)) if self.longest else self.reply(payload)
        if answer is not None:
            self.channel.answer(now, opened.ticket, request_id + answer)


@attrs.define(eq=False)
class Wire:
    """Ends, one clock, and everything that was ever sent."""

    now: float = 1000.0
    ends: dict[Address, End] = attrs.field(factory=dict)
    queue: list[tuple[Address, Address, bytes]] = attrs.field(factory=list)
    #: (from, to, bytes)
    log: list[tuple[Address, Address, bytes]] = attrs.field(factory=list)
    #: What arrives in the place of a datagram.
    fate: Callable[[bytes, Address, Address], Sequence[bytes]] = lambda data, _source, _to: [data]

    def add(
        self,
        number: int | None = None,
        *,
        network: Network | None = None,
        seed: object = None,
        address: Address | None = None,
    ) -> End:
        number = len(self.ends) if number is None else number
        identity = Identity.generate(Random(f"end {number if seed is None else seed}"))
        end = End(
            self,
            identity,
            network or Network.named("test"),
            address_of(number) if address is None else address,
        )
        self.ends[end.address] = end
        return end

    def pair(self) -> tuple[End, End]:
        return self.add(), self.add()

    def move(self, end: End, address: Address) -> None:
        """Its NAT gives it another address, which it does not notice."""
        del self.ends[end.address]
        end.address = address
        self.ends[address] = end

    def collect(self, end: End) -> None:
        for data, to in end.channel.datagrams_to_send():
            self.log.append((end.address, to, data))
            self.queue += [(end.address, to, each) for each in self.fate(data, end.address, to)]

    def run(self) -> None:
        """Delivers until nothing is under way."""
        for _ in range(10_000):
            if not self.queue:
                return
            source, to, data = self.queue.pop(0)
            if to in self.ends:
                self.ends[to].hear(data, source)
        raise AssertionError("somebody answers for ever")

    def wait(self, seconds: float) -> None:
        """Time passes, in steps, and every channel does what is due."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.now + 1.0, until)
            for end in list(self.ends.values()):
                end.channel.handle_timeout(self.now)
                self.collect(end)
        self.run()

    def kinds(self, since: int = 0) -> list[int]:
        """The tags of all that was sent."""
        return [data[0] for _, _, data in self.log[since:]]

    def inits(self, since: int = 0) -> int:
        return self.kinds(since).count(INIT)


def acquainted() -> tuple[Wire, End, End]:
    """Two ends with a session."""
    wire = Wire()
    ours, theirs = wire.pair()
    ours.ask(theirs)
    ours.ask(theirs)
    assert ours.channel.sessions_held == theirs.channel.sessions_held == 1
    return wire, ours, theirs
