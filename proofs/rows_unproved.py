"""The promise about senders who are not where they say they are: what they are sent goes to others,
and must not be more than they paid for."""

from collections.abc import Sequence
from random import Random
from typing import cast

import attrs

from dht.contacts import Address, Contact, contact_at, format_address, pack_address
from dht.core.channel.epochs import EPOCH_S
from dht.core.channel.face import Opened
from dht.core.channel.packets import INIT_OVERHEAD
from dht.core.channel.secure import SecureChannel
from dht.identity import Identity
from dht.keyspace import plain_key
from dht.network import Network
from dht.records import Kind
from dht.sim import Simulator
from dht.wire.messages import REQUEST_ID_SIZE

from .machine import Figures, Reduced, Verdict, row
from .spoofer import Spoofer, checked_junk, somewhere, watch

CASES = 1_000_000
CASES_PER_PIECE = 50_000
#: Of each piece, so many of a hundred go to a whole engine in a network, the others to a channel.
ENGINE_PERCENT = 10
#: Peers of the victim that mean well; what they say is read.
PEERS = 3
#: They say something after so many cases.
PEERS_EVERY = 10
#: Victims follow each other, each with states of its own.
CASES_PER_VICTIM = 2_500
#: Addresses from which one victim is written to, several times each, until there are others; some
#: cases are from an address that is never used again, so that each pays for itself alone.
SOURCES = 40
SOURCES_ONCE_SHARE = 0.3
#: Virtual seconds after the last case: whatever an engine sends by itself.
AFTERWARDS_S = 60.0

_SIM_NETWORK = Network.named("sim")


@attrs.define(eq=False)
class Ledger:
    """What came from and what went to each address that was never proved."""

    into: dict[Address, int] = attrs.field(factory=dict)
    out: dict[Address, int] = attrs.field(factory=dict)
    #: The first byte of what came -> how often.
    tags: dict[str, int] = attrs.field(factory=dict)
    answered: int = 0
    ratio_max: float = 0.0
    failures: list[str] = attrs.field(factory=list)

    def came(self, data: bytes, source: Address) -> None:
        self.into[source] = self.into.get(source, 0) + len(data)
        tag = f"{data[0]:02x}" if data and data[0] in _TAGS else "other"
        self.tags[tag] = self.tags.get(tag, 0) + 1

    def sent(self, data: bytes, to: Address) -> None:
        if to not in self.into:
            return
        self.answered += 1
        self.out[to] = self.out.get(to, 0) + len(data)
        self.ratio_max = max(self.ratio_max, self.out[to] / self.into[to])
        if self.out[to] > self.into[to]:
            self.failures.append(
                f"{self.out[to]} bytes to {format_address(to)}, {self.into[to]} from it, "
                f"the last tag {data[0]}"
            )

    def figures(self) -> Figures:
        return {
            "addresses": len(self.into),
            "answered": self.answered,
            "ratio_max": self.ratio_max,
            "bytes_in": sum(self.into.values()),
            "bytes_out": sum(self.out.values()),
            "tags": self.tags,
            "failures": self.failures[:20],
        }


_TAGS = frozenset({1, 2, 3, 4, 5, 6, 7, 0x20, 0x21})


def judge_bytes(pieces: Sequence[Figures]) -> Verdict:
    """At no moment may one address have been sent more than came from it."""
    parts = [part for piece in pieces for part in (piece["channel"], piece["engine"])]
    cases = sum(piece["cases"] for piece in pieces)
    failures = [failure for part in parts for failure in part["failures"]]
    tags: dict[str, int] = {}
    for part in parts:
        for tag, count in part["tags"].items():
            tags[tag] = tags.get(tag, 0) + count
    ratio = max(part["ratio_max"] for part in parts)
    answered = {
        name: sum(piece[name]["answered"] for piece in pieces) for name in ("channel", "engine")
    }
    into, out = (sum(part[name] for part in parts) for name in ("bytes_in", "bytes_out"))
    return Verdict(
        {
            "cases": cases,
            "addresses": sum(part["addresses"] for part in parts),
            "sent_to_them_by": answered,
            "ratio_max": round(ratio, 4),
            "ratio_of_all": round(out / into, 4),
            "cases_by_tag": dict(sorted(tags.items())),
            "failures": failures[:20],
        },
        not failures and ratio <= 1.0 and min(answered.values()) > 0,
        f"{cases:,} cases: at most {ratio:.2f} bytes went to an unproved address for each that "
        f"came from it, {out / into:.2f} in the mean" + (f"; {failures[0]}" if failures else ""),
    )


@row(
    "bytes-toward-unproved",
    promise=f"in {CASES:,} drawn cases, every type of packet in every state of the channel, an "
    "address that has not proved itself is sent no more bytes than came from it",
    pieces=CASES // CASES_PER_PIECE,
    judge=judge_bytes,
    reduced=Reduced(pieces=1, scale=0.2),
)
def bytes_toward_unproved(seed: int, scale: float) -> Figures:
    """Most cases against channels, whose answers are as long as they may be; some engines."""
    cases = round(CASES_PER_PIECE * scale)
    to_engine = cases * ENGINE_PERCENT // 100
    channel, engine = Ledger(), Ledger()
    random = Random(f"{seed} unproved")
    left = cases - to_engine
    while left > 0:
        victim = _Victim.among_peers(random, channel)
        for number in range(min(left, CASES_PER_VICTIM)):
            victim.one_case(number)
        left -= CASES_PER_VICTIM
    _cases_of_engine(seed, random, engine, to_engine)
    return {"cases": cases, "channel": channel.figures(), "engine": engine.figures()}


@attrs.define(eq=False)
class _Victim:
    """A channel that answers as much as it may, peers with whom it speaks, and the spoofer."""

    random: Random
    ledger: Ledger
    network: Network
    identity: Identity
    channel: SecureChannel
    contact: Contact
    #: Where they are now, and who each is.
    peers: dict[Address, SecureChannel]
    identities: dict[int, Identity]
    spoofer: Spoofer
    now: float = 0.0
    sources: list[Address] = attrs.field(factory=list)
    #: Seconds between two cases: a flood, or some seconds of peace.
    pace_s: float = 0.0

    @classmethod
    def among_peers(cls, random: Random, ledger: Ledger) -> "_Victim":
        keys = [random.randbytes(32) for _ in range(random.randint(0, 2))]
        network = Network.named("unproved", keys or None)
        identity = Identity.generate(random)
        contact = contact_at(identity.public_key, pack_address("9.9.9.9", 4000))
        peers, identities = {}, {}
        for number in range(PEERS):
            its = Identity.generate(random)
            peer = SecureChannel(its, network, Random(random.random()))
            peers[pack_address(f"8.0.{number}.1", 4000)] = peer
            identities[id(peer)] = its
        return cls(
            random=random,
            ledger=ledger,
            network=network,
            identity=identity,
            channel=SecureChannel(identity, network, Random(random.random())),
            contact=contact,
            peers=peers,
            identities=identities,
            spoofer=Spoofer(random, contact, network, list(peers.values()), its),
        )

    def one_case(self, number: int) -> None:
        """One datagram from an address at which nobody is."""
        random = self.random
        if number % 200 == 0:
            self._another_state()
        if number % PEERS_EVERY == 0:
            self._peers_speak()
        self.now += self.pace_s
        self.channel.handle_timeout(self.now)
        data, source = self.spoofer.draw(self.now), _source(random, self.sources)
        self.ledger.came(data, source)
        self._hear(data, source)

    def _another_state(self) -> None:
        """It restarts, or much time passes, or there is load, or none."""
        random = self.random
        self.pace_s = random.choice([0.0, 0.0003, 0.01, 0.5])
        match random.randrange(8):
            case 3:  # so is the victim
                self.pace_s = random.choice([0.0, 0.0003])
                self._forget_all()
                for _ in range(550):
                    junk = checked_junk(
                        random, self.contact.public_key, self.network, INIT_OVERHEAD
                    )
                    source = somewhere(random)
                    self.ledger.came(junk, source)
                    self._hear(junk, source)
                for _ in range(PEERS):
                    self._peers_speak()
            case 0:
                self.channel = SecureChannel(self.identity, self.network, Random(random.random()))
            case 1:
                self.now += random.choice([1.0, EPOCH_S, 2 * EPOCH_S, 301.0, 901.0, 1201.0])
            case 2:  # a peer is under load, and will say so
                peer = random.choice(list(self.peers.values()))
                key = self.identities[id(peer)].public_key
                for _ in range(550):
                    junk = checked_junk(random, key, self.network, INIT_OVERHEAD)
                    peer.receive(self.now, junk, somewhere(random))
                peer.datagrams_to_send()

    def _forget_all(self) -> None:
        """The peers restart, among them the spoofer's own end."""
        for address, peer in self.peers.items():
            its = self.identities.pop(id(peer))
            anew = SecureChannel(its, self.network, Random(self.random.random()))
            self.peers[address] = anew
            self.identities[id(anew)] = its
        self.spoofer.channels[:] = self.peers.values()
        self.spoofer.own = self.identities[id(self.spoofer.channels[-1])]

    def _peers_speak(self) -> None:
        """One of them asks or is asked, sometimes at another port, and then all is delivered."""
        random = self.random
        address = random.choice(list(self.peers))
        peer = self.peers[address]
        if random.random() < 0.05:  # its NAT has changed its mind
            del self.peers[address]
            address = Address(address[:-2] + random.randbytes(2))
            self.peers[address] = peer
        request_id, body = random.randbytes(REQUEST_ID_SIZE), b"\x95\x02" + bytes(40)
        if random.random() < 0.7:
            peer.ask(self.now, self.contact, request_id, body)
        else:
            self.channel.ask(
                self.now,
                contact_at(self.identities[id(peer)].public_key, address),
                request_id,
                body,
            )
            self._drain()
        for _ in range(4):
            for data, _ in peer.datagrams_to_send():
                self.spoofer.read(data)
                if random.random() < 0.9:
                    self._hear(data, address)

    def _hear(self, data: bytes, source: Address) -> None:
        random, channel, now = self.random, self.channel, self.now
        opened = channel.receive(now, data, source)
        if opened is not None:
            for _ in range(random.choice([1, 1, 2])):
                if random.random() < 0.2:
                    channel.demand_proof(now, opened.ticket)
                else:
                    more = random.choice([0, 0, 0, -1, 1, 500])
                    channel.answer(now, opened.ticket, bytes(max(0, opened.room + more)))
        self._drain()

    def _drain(self) -> None:
        for sent, to in self.channel.datagrams_to_send():
            self.ledger.sent(sent, to)
            if to in self.peers:
                peer = self.peers[to]
                opened = peer.receive(self.now, sent, self.contact.address)
                if opened is not None and self.random.random() < 0.5:
                    peer.answer(self.now, opened.ticket, bytes(self.random.choice([9, 9, 1000])))


def _source(random: Random, sources: list[Address]) -> Address:
    """One of those in use, which change slowly, or one for this time alone."""
    dice = random.random()
    if dice < SOURCES_ONCE_SHARE:
        return somewhere(random)
    if dice > 0.8 and sources:
        return sources[-1]
    if len(sources) < SOURCES or random.random() < 0.02:
        sources.append(somewhere(random))
        del sources[:-SOURCES]
    return random.choice(sources)


def _cases_of_engine(seed: int, random: Random, ledger: Ledger, cases: int) -> None:
    """The same against a node of a small network, and whatever it sends by itself afterwards."""
    simulator = Simulator(seed, encrypted=True)
    nodes = simulator.grow(PEERS + 1)
    victim = nodes[0]
    channel = cast("SecureChannel", victim.engine.channel)
    others = [cast("SecureChannel", node.engine.channel) for node in nodes[1:]]
    spoofer = Spoofer(random, victim.contact, _SIM_NETWORK, others, nodes[-1].identity)

    def came(data: bytes, source: Address, _: Opened | None) -> None:
        if source not in ledger.into:
            spoofer.read(data)

    watch(channel, came, ledger.sent)
    sources: list[Address] = []
    for number in range(cases):
        if number % PEERS_EVERY == 0:
            node = random.choice(nodes[1:])
            node.engine.start_get(simulator.now, Kind.PLAIN, plain_key(f"{number}"))
            simulator.poll(node)
        data, source = spoofer.draw(simulator.now), _source(random, sources)
        ledger.came(data, source)
        victim.engine.receive_datagram(simulator.now, data, source)
        simulator.poll(victim)
        simulator.run_for(random.choice([0.0, 0.001, 0.05, 0.5]))
    simulator.run_for(AFTERWARDS_S)
