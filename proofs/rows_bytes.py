"""The promise about any bytes whatsoever: they raise nothing in a node that lives among others."""

import time
from collections.abc import Sequence
from hashlib import blake2s
from random import Random

import attrs

from dht.contacts import Address
from dht.core.channel.plain import CHECKSUM_SIZE, PLAIN_TAG
from dht.core.engine import Engine
from dht.errors import InternalError
from dht.identity import PUBLIC_KEY_SIZE
from dht.keyspace import content_key, key_bytes, plain_key
from dht.records import HASH_SIZE, Kind, value_hash
from dht.sim import SimNode, Simulator
from dht.wire.codec import decode_untrusted, encode
from dht.wire.messages import (
    REQUEST_ID_SIZE,
    Block,
    Browse,
    Copy,
    Dial,
    Dialling,
    Fetch,
    Find,
    Found,
    Get,
    Knock,
    Message,
    Nodes,
    Page,
    Ping,
    Pong,
    Reach,
    Returned,
    Route,
    Store,
    Stored,
)
from dht.wire.messages import Request as RequestMessage

from .machine import Figures, Reduced, Verdict, row

#: So few that answers meet their messages, and messages themselves.
ROUTE_IDS = [bytes([number]) * 8 for number in range(32)]
DATAGRAMS = 1_000_000
DATAGRAMS_PER_PIECE = 50_000
NEIGHBOURS = 8
_HEAD_SIZE = 1 + PUBLIC_KEY_SIZE
#: The world goes on for so long, in virtual seconds, after each of the datagrams.
PAUSE_S = 0.001
#: The victim begins something of its own after so many of them, so that it awaits answers.
WORK_EVERY = 50
#: Requests of its own that are remembered, to be answered badly.
OPEN_MAX = 200


def judge_bytes(pieces: Sequence[Figures]) -> Verdict:
    """Nothing raised, and the network around it still works."""
    datagrams = sum(piece["datagrams"] for piece in pieces)
    raised = [each for piece in pieces for each in piece["raised"]]
    working = sum(piece["works_after"] for piece in pieces)
    a_second = round(datagrams / sum(piece["seconds"] for piece in pieces))
    shares = {
        f"{name}_percent": round(100 * sum(piece[name] for piece in pieces) / datagrams, 1)
        for name in ("dropped", "served", "unmatched", "violations")
    }
    return Verdict(
        {"datagrams": datagrams, "raised": raised[:20], **shares, "datagrams_per_s": a_second},
        not raised and working == len(pieces),
        f"{datagrams:,} random and mutated datagrams ({shares['dropped_percent']} % dropped, "
        f"{shares['served_percent']} % served) raised {len(raised)} times, at {a_second:,} a "
        f"second; {working} of {len(pieces)} networks work afterwards"
        + (f"; first: {raised[0]}" if raised else ""),
    )


@row(
    "any-bytes",
    promise=f"{DATAGRAMS:,} random and mutated datagrams into an engine of a living network raise "
    "nothing",
    pieces=DATAGRAMS // DATAGRAMS_PER_PIECE,
    judge=judge_bytes,
    reduced=Reduced(pieces=1, scale=0.2),
    # It states a speed.
    parallel=False,
)
def any_bytes(seed: int, scale: float) -> Figures:
    """One small network at work, and one victim in it."""
    simulator = Simulator(seed)
    victim = simulator.grow(NEIGHBOURS)[-1]
    flood = _Flood(simulator, victim, Random(f"{seed} bytes"))
    before = victim.engine.stats()
    count = round(DATAGRAMS_PER_PIECE * scale)
    for number in range(count):
        flood.one_more(work=number % WORK_EVERY == 0)
    after = victim.engine.stats()
    return {
        "datagrams": count,
        "raised": flood.raised,
        "dropped": after.datagrams_dropped - before.datagrams_dropped,
        "served": after.requests_served - before.requests_served,
        "unmatched": after.answers_unmatched - before.answers_unmatched,
        "violations": after.peer_violations - before.peer_violations,
        "seconds": flood.seconds,
        "works_after": _works(simulator, victim),
    }


@attrs.define(eq=False)
class _Flood:
    """Everybody who writes nonsense to one node."""

    simulator: Simulator
    victim: SimNode
    random: Random
    raised: list[str] = attrs.field(factory=list)
    #: Spent in ``receive_datagram`` alone.
    seconds: float = 0.0
    #: Request ids that the victim awaits an answer to, and of whom.
    _open: list[tuple[bytes, bytes, Address]] = attrs.field(factory=list)
    _keys: list[bytes] = attrs.field(factory=list)

    def one_more(self, *, work: bool) -> None:
        """One datagram; then the world goes on a little."""
        simulator, engine = self.simulator, self.victim.engine
        data, source = self._datagram()
        started = time.perf_counter()
        try:
            engine.receive_datagram(simulator.now, data, source)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            self.raised.append(f"{error!r} on {data.hex()}")
        self.seconds += time.perf_counter() - started
        if work:
            self._work(engine)
        self._overhear(engine)
        simulator.poll(self.victim)
        try:
            simulator.run_for(PAUSE_S)
        except InternalError as error:
            self.raised.append(str(error))

    def _work(self, engine: Engine) -> None:
        random, now = self.random, self.simulator.now
        key = plain_key(f"key {random.randrange(20)}")
        match random.randrange(5):
            case 4:
                engine.start_members(now, key)
            case 0:
                engine.start_put(now, Kind.PLAIN, key, random.randbytes(random.choice([9, 9999])))
            case 1:
                engine.start_lookup(now, key)
            case _:
                engine.start_get(now, Kind.PLAIN, key, quorum=random.choice([1, 2]))
        self._keys.append(key_bytes(key))
        del self._keys[:-OPEN_MAX]

    def _overhear(self, engine: Engine) -> None:
        """What the victim asks goes to whom it asks, and its ids are remembered."""
        simulator = self.simulator
        for data, address in engine.datagrams_to_send():
            request_id, message = decode_untrusted(data[_HEAD_SIZE:-CHECKSUM_SIZE])
            asked = simulator.at_address(address)
            if asked is None:
                continue
            if isinstance(message, RequestMessage):
                self._open.append((request_id, asked.identity.public_key, address))
                del self._open[:-OPEN_MAX]
            asked.engine.receive_datagram(simulator.now, data, self.victim.address)
            simulator.poll(asked)

    # ---- what they write ----

    def _datagram(self) -> tuple[bytes, Address]:
        random = self.random
        dice = random.random()
        if dice < 0.1:
            return random.randbytes(random.randint(0, 1300)), self._address()
        request_id, public_key, source = self._sender()
        payload = request_id + (
            random.randbytes(random.randint(0, 1100)) if dice < 0.2 else encode(self._message())
        )
        if dice < 0.7:
            payload = self._mutated(payload)
        data = bytes([PLAIN_TAG]) + public_key + payload
        data += blake2s(data, digest_size=CHECKSUM_SIZE, person=b"dht plai").digest()
        return (self._mutated(data) if dice > 0.95 else data), source

    def _sender(self) -> tuple[bytes, bytes, Address]:
        """Somebody who was asked, a neighbour, or a stranger."""
        random = self.random
        if self._open and random.random() < 0.4:
            return random.choice(self._open)
        request_id = random.randbytes(REQUEST_ID_SIZE)
        if random.random() < 0.4:
            neighbour = random.choice(self.simulator.nodes)
            return request_id, neighbour.identity.public_key, neighbour.address
        return request_id, random.randbytes(PUBLIC_KEY_SIZE), self._address()

    def _address(self) -> Address:
        random = self.random
        return Address(random.randbytes(random.choice([6, 6, 6, 18])))

    def _mutated(self, data: bytes) -> bytes:
        """A few bytes changed, put in or left out; or the end is cut off."""
        random, spoilt = self.random, bytearray(data)
        for _ in range(random.choice([1, 1, 2, 8])):
            at = random.randrange(len(spoilt) + 1)
            match random.randrange(4):
                case 0 if at < len(spoilt):
                    spoilt[at] ^= 1 << random.randrange(8)
                case 1:
                    spoilt[at:at] = random.randbytes(random.randint(1, 4))
                case 2:
                    del spoilt[at : at + random.randint(1, 4)]
                case _ if random.random() < 0.2:
                    del spoilt[at:]
        return bytes(spoilt)

    def _message(self) -> Message:
        """Of any type, well formed, with whatever the schema allows."""
        random = self.random
        flags, kind, key = random.randrange(256), random.choice([1, 1, 2, 3]), self._key()
        match random.randrange(18):
            case 14:
                return Browse(flags, key, random.randbytes(32), random.randint(0, 64))
            case 15:
                copies = tuple(self._copy() for _ in range(random.randint(0, 3)))
                return Page(
                    time_s=self._number(40),
                    total=random.randint(0, 256),
                    whole=random.random() < 0.5,
                    digest=random.randbytes(8),
                    copies=copies,
                    contacts4=b"",
                    contacts6=b"",
                )
            case 16:
                return self._route(flags)
            case 17:
                data = random.randbytes(random.choice([0, 1, 65, 900]))
                return Returned(flags, random.choice(ROUTE_IDS), random.randint(0, 16), data)
            case 0:
                return Ping(flags)
            case 1:
                return Find(flags, key, random.randint(0, 64), random.choice([0, kind]))
            case 2:
                return Get(flags, kind, key, random.randint(0, 64))
            case 3:
                return Store(flags, self._copy(), random.choice([None, 0, self._number(63) - 1]), 0)
            case 4:
                offset, length = self._number(32) - 1, self._number(32) - 1
                return Fetch(flags, kind, key, random.randbytes(HASH_SIZE), offset, length)
            case 5:
                return Pong(self._number(40), random.randbytes(random.choice([0, 6, 18])))
            case 6:
                return Nodes(self._number(40), *self._contacts(), self._number(63) - 1)
            case 7:
                return Found(self._number(40), self._copy(), *self._contacts())
            case 8:
                copy = random.choice([None, self._copy()])
                return Stored(
                    self._number(40), random.randint(0, 7), self._number(63) - 1, copy, b"", b""
                )
            case 9:
                return Reach(flags, random.randbytes(8))
            case 10:
                packed = random.choice(self.simulator.nodes).contact.packed
                return Dial(flags, random.randbytes(8), random.choice([packed, bytes(41)]))
            case 11:
                return Knock(flags, random.randbytes(8))
            case 12:
                return Dialling(self._number(40), random.randint(0, 3))
            case _:
                data = random.randbytes(random.choice([0, 1, 1000]))
                return Block(self._number(40), self._number(32) - 1, data)

    def _route(self, flags: int) -> Message:
        random = self.random
        packed = random.choice(self.simulator.nodes).contact.packed
        nodes = [key_bytes(node.contact.id) for node in self.simulator.nodes]
        request = Get(flags, 1, self._key(), 20)
        return Route(
            flags=flags,
            id=random.choice(ROUTE_IDS),
            target=random.choice([request.key, *nodes]),
            ttl=random.choice([0, 1, 16]),
            hops=random.randint(0, 16),
            style=random.randint(0, 2),
            issuer=random.choice([b"", packed, bytes(38), b"odd"]),
            body=random.choice([encode(request), b"", random.randbytes(200)]),
        )

    def _key(self) -> bytes:
        random = self.random
        if self._keys and random.random() < 0.7:
            return random.choice(self._keys)
        return random.choice([bytes(32), b"\xff" * 32, random.randbytes(32)])

    def _number(self, bits: int) -> int:
        """From 1 to a power of two, with a liking for the ends."""
        most, random = 1 << bits, self.random
        return random.choice([1, 2, most, random.randint(1, most), random.randint(1, 5000)])

    def _copy(self) -> Copy:
        random = self.random
        payload = random.randbytes(random.choice([0, 1, 32, 32, 850, 900]))
        kind, key = random.choice([1, 1, 2, 3, 4]), self._key()
        if kind == Kind.CONTENT and random.random() < 0.5:
            key = key_bytes(content_key(value_hash(payload)))
        return Copy(
            kind=kind,
            tombstone=random.random() < 0.2,
            key=key,
            version=self._number(63) - 1,
            written_at_ms=self._number(53),
            ttl_ms=self._number(53),
            remaining_ms=self._number(53),
            size=random.choice([len(payload), len(payload), 33, 40_000, 2**32 - 1]),
            payload=payload,
        )

    def _contacts(self) -> tuple[bytes, bytes]:
        random = self.random
        known = b"".join(
            node.contact.packed for node in self.simulator.nodes if random.random() < 0.3
        )
        return (
            random.choice([b"", known, random.randbytes(38 * random.randint(0, 8)), b"odd"]),
            random.choice([b"", b"", random.randbytes(50 * random.randint(0, 3)), b"odd"]),
        )


def _works(simulator: Simulator, victim: SimNode) -> bool:
    """Can the victim still write, and be read from?"""
    simulator.run_for(60)
    simulator.put(victim, "after", b"all is well")
    readers = (victim, simulator.nodes[0])
    return all(simulator.get(each, "after").value == b"all is well" for each in readers)
