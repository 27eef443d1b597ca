"""Promises about the encrypted channel in war: reflection, floods of first messages, replays.

Whole engines stand in a street (``street``); the attacker writes what he likes, with any sender.
"""

import gc
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Sequence
from random import Random

import attrs

from dht.contacts import Address
from dht.core.channel.packets import (
    CHALLENGE,
    COOKIE,
    DATA,
    ECHO,
    INIT,
    MAC_SIZE,
    NO_MAC,
    NO_SESSION,
    REPLY,
    mac,
)
from dht.core.channel.secure import SecureChannel
from dht.core.channel.who import IAM_TAG, WHO_TAG
from dht.core.held import Held
from dht.keyspace import key_bytes, plain_key
from dht.network import Network
from dht.records import Kind, Record
from dht.wire.codec import copy_of
from dht.wire.messages import WANT_IPV4, Find, Get, Ping, Reach, Store
from dht.wire.messages import Request as RequestMessage

from .machine import Figures, Reduced, Verdict, row
from .street import House, Street, first_message, stranger_address

NETWORK = Network.named("proof")
_KINDS = {
    INIT: "INIT",
    REPLY: "REPLY",
    COOKIE: "COOKIE",
    DATA: "DATA",
    NO_SESSION: "NOSESSION",
    CHALLENGE: "CHALLENGE",
    ECHO: "ECHO",
    WHO_TAG: "WHO",
    IAM_TAG: "IAM",
}
HOUSES = 6
RECORDS = 40

# -------------------------------------------------------------------------------------- reflection

CASES = 1_000_000
CASES_PER_PIECE = 50_000
#: Few, so that each of them sends all kinds of packets.
ADDRESSES_PER_PIECE = 200


def judge_reflection(pieces: Sequence[Figures]) -> Verdict:
    """The worst ratio of any address at any moment; every kind of packet has to have been sent."""
    cases = sum(piece["cases"] for piece in pieces)
    worst = max(piece["worst_ratio"] for piece in pieces)
    sent = _total(piece["kinds_in"] for piece in pieces)
    answered = _total(piece["kinds_out"] for piece in pieces)
    failures = [failure for piece in pieces for failure in piece["failures"]]
    return Verdict(
        {
            "cases": cases,
            "worst_ratio": worst,
            "kinds_in": dict(sorted(sent.items())),
            "kinds_out": dict(sorted(answered.items())),
            "failures": failures[:20],
        },
        not failures and worst <= 1.0 and set(_KINDS.values()) <= set(sent) and len(answered) >= 3,
        f"of {cases:,} datagrams from addresses that prove nothing none was answered with more "
        f"than came: at worst {worst:.3f} bytes out for each byte in"
        + (f"; {len(failures)} failures, first: {failures[0]}" if failures else ""),
    )


@row(
    "bytes-toward-unproved",
    promise="an address that has not proved itself is sent at most 1.00 bytes for each byte that "
    "came from it, whatever the packet and the state: 1,000,000 drawn cases",
    pieces=CASES // CASES_PER_PIECE,
    judge=judge_reflection,
    reduced=Reduced(pieces=1, scale=0.04),
)
def bytes_toward_unproved(seed: int, scale: float) -> Figures:
    """Strangers who send everything there is, and never read what comes back."""
    random = Random(f"{seed} reflection")
    street = _lived_in(f"{seed} reflection")
    strangers = Strangers(street, random)
    cases = round(CASES_PER_PIECE * scale)
    for number in range(cases):
        strangers.send()
        if number % 500 == 499:
            street.run(random.choice([0.5, 5.0, 20.0, 70.0]))
        if number % 5000 == 4999:
            house = random.choice(list(street.houses.values()))
            street.build(house.identity, house.address)
            street.run(5.0)
            _write(street)  # what it held is gone with it
    street.run(120.0)
    return {
        "cases": cases,
        "worst_ratio": round(strangers.worst, 4),
        "kinds_in": strangers.kinds_in,
        "kinds_out": strangers.kinds_out,
        "failures": strangers.failures[:5],
    }


@attrs.define(eq=False)
class Strangers:
    """Addresses from which something is sent, and what is sent to them, by house."""

    street: Street
    random: Random
    into: Counter[tuple[Address, Address]] = attrs.field(factory=Counter)
    out: Counter[tuple[Address, Address]] = attrs.field(factory=Counter)
    worst: float = 0.0
    kinds_in: Counter[str] = attrs.field(factory=Counter)
    kinds_out: Counter[str] = attrs.field(factory=Counter)
    failures: list[str] = attrs.field(factory=list)

    #: What they ask others to store: one of the records that were there at first.
    record: Record = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.street.on_stray = self.receive
        self.record = next(
            held.record
            for house in self.street.houses.values()
            for number in range(RECORDS)
            if (held := _held(house, self.street.now, number)) is not None
        )

    def send(self) -> None:
        """One more datagram, to anybody, from any of the addresses."""
        random, street = self.random, self.street
        house = random.choice(list(street.houses.values()))
        source = stranger_address(random.randrange(ADDRESSES_PER_PIECE))
        data = self._draw(house)
        self.into[house.address, source] += len(data)
        self.kinds_in[_kind(data)] += 1
        if random.random() < 0.3:
            street.run(random.choice([0.001, 0.05, 0.3]))
        street.post(house, data, source)

    def receive(self, house: House, data: bytes, to: Address) -> None:
        """Something was sent to an address that is no house's."""
        self.kinds_out[_kind(data)] += 1
        name = house.address, to
        self.out[name] += len(data)
        if not self.into[name]:
            self.failures.append(f"{_kind(data)} of {len(data)} bytes to who has sent nothing")
            return
        self.worst = max(self.worst, self.out[name] / self.into[name])
        if self.out[name] > self.into[name]:
            self.failures.append(
                f"{_kind(data)}: {self.out[name]} bytes out after {self.into[name]} bytes in"
            )

    def _draw(self, house: House) -> bytes:
        random = self.random
        match random.randrange(8):
            case 0 | 1 | 2:
                return self._asking(house)
            case 3:
                return self._recorded(house)
            case 4:
                return self._changed(self._recorded(house), house)
            case 5:
                return self._changed(self._asking(house), house)
            case 6:
                return self._who(house)
            case _:
                size = random.choice([1, 13, 29, 40, 64, 200, 1200, 1201])
                return bytes([random.choice([*_KINDS, 0, 8, 255])]) + (random.randbytes(size - 1))

    def _asking(self, house: House) -> bytes:
        """A first message that asks for whatever makes others answer much."""
        now, to = self.street.now, house.contact
        return first_message(self.random, now, to, self._request(), network=NETWORK)

    def _request(self) -> RequestMessage:
        random = self.random
        key = key_bytes(plain_key(f"record {random.randrange(RECORDS)}"))
        match random.randrange(5):
            case 0:
                return Find(flags=WANT_IPV4, target=key, count=20, kind=0)
            case 1:
                return Get(flags=WANT_IPV4, kind=Kind.PLAIN, key=key, count=20)
            case 2:
                return Store(
                    flags=WANT_IPV4, copy=copy_of(self.record, 1000), if_version=None, count=8
                )
            case 3:
                return Reach(flags=WANT_IPV4, nonce=random.randbytes(8))
            case _:
                return Ping(flags=WANT_IPV4)

    def _recorded(self, house: House) -> bytes:
        mine = [
            data
            for to, _, data in self.random.choices(self.street.record, k=20)
            if to == house.address
        ]
        return self.random.choice(mine or [bytes([DATA]) + bytes(40)])

    def _changed(self, data: bytes, house: House) -> bytes:
        """Cut, or a few bits of it; the check of first messages and replies is made right again."""
        random = self.random
        if random.random() < 0.3:
            return data[: random.randrange(1, len(data) + 1)]
        cut = {INIT: 2 * MAC_SIZE, REPLY: MAC_SIZE}.get(data[0], 0)
        changed = bytearray(data[: max(1, len(data) - cut)])
        for _ in range(random.randint(1, 3)):
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
        made = bytes(changed)
        if cut and random.random() < 0.8:
            key = NETWORK.secrets()[0].mac_key(house.identity.public_key)
            made += mac(key, made) + (NO_MAC if data[0] == INIT else b"")
        return made

    def _who(self, house: House) -> bytes:
        channel = SecureChannel(house.identity, NETWORK, Random(self.random.random()))
        channel.who(self.street.now, house.address)
        return channel.datagrams_to_send()[0][0]


def _total(counts: Iterable[dict[str, int]]) -> Counter[str]:
    total = Counter[str]()
    for each in counts:
        total.update(each)
    return total


def _kind(data: bytes) -> str:
    return _KINDS.get(data[0], "other")


def _lived_in(seed: str) -> Street:
    """A street whose houses know each other and hold records."""
    street = Street.of(HOUSES, seed=seed, network=NETWORK)
    _write(street)
    return street


def _write(street: Street) -> None:
    """Every record is put through some house; a fifth of them as deleted."""
    houses = list(street.houses.values())
    for number in range(RECORDS):
        house = street.random.choice(houses)
        value = street.random.randbytes(300) if number % 5 else b""
        key = plain_key(f"record {number}")
        house.engine.start_put(street.now, Kind.PLAIN, key, value, tombstone=not value)
        street.empty(house)
        street.run(0.3)


def _held(house: House, now: float, number: int) -> Held | None:
    return house.engine.storage.get(now, Kind.PLAIN, plain_key(f"record {number}"))


# ------------------------------------------------------------------------------------------ floods

FIRST_MESSAGES = 100_000
GROWTH_MAX = 8 * 2**20  # bytes
_BATCH = 500


def judge_memory(pieces: Sequence[Figures]) -> Verdict:
    """The most that one of the floods made a node grow by, at any moment that was looked at."""
    grown = max(piece["grown_max"] for piece in pieces)
    served = all(piece["served"] for piece in pieces)
    total = sum(piece["messages"] for piece in pieces)
    return Verdict(
        {"grown_max": grown, "bar": GROWTH_MAX, "pieces": list(pieces)},
        grown <= GROWTH_MAX and served,
        f"{total:,} valid first messages from as many addresses made a node grow by at most "
        f"{grown / 2**20:.2f} MiB" + ("" if served else "; an established peer was not served"),
    )


@row(
    "flood-memory",
    promise="100,000 valid first messages from as many spoofed addresses, slow or fast, make a "
    "node grow by at most 8 MiB, and its established peers are served",
    pieces=2,
    judge=judge_memory,
    reduced=Reduced(pieces=2, scale=0.02),
)
def flood_memory(seed: int, scale: float) -> Figures:
    """The first flood stays below what is load, the second is as fast as it can be."""
    random = Random(f"{seed} flood")
    street = _lived_in(f"{seed} flood")
    victim, peer = list(street.houses.values())[1:3]
    pause_s = (0.0012, 0.00002)[seed % 2]
    messages = round(FIRST_MESSAGES * scale)
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        grown = 0
        for start in range(0, messages, _BATCH):
            for number in range(start, start + _BATCH):
                now, to = street.now, victim.contact
                data = first_message(random, now, to, Ping(flags=WANT_IPV4), network=NETWORK)
                street.run(pause_s)
                street.post(victim, data, stranger_address(number))
            gc.collect()
            grown = max(grown, tracemalloc.get_traced_memory()[0] - before)
    finally:
        tracemalloc.stop()
    proved = victim.channel.proved
    peer.engine.start_lookup(street.now, plain_key("anything"))
    street.empty(peer)
    street.run(2.0)
    return {
        "messages": messages,
        "a_second": round(1 / pause_s),
        "grown_max": grown,
        "served": victim.channel.proved > proved,
    }


# ----------------------------------------------------------------------------------------- replays

REPLAYS = 100_000
REPLAYS_PER_PIECE = 25_200  # of five moments and six houses


def judge_replays(pieces: Sequence[Figures]) -> Verdict:
    """Nothing may be taken for new, nothing may change."""
    replayed = sum(piece["replayed"] for piece in pieces)
    proved = sum(piece["proved"] for piece in pieces)
    changes = [change for piece in pieces for change in piece["changes"]]
    whens = _total(piece["whens"] for piece in pieces)
    return Verdict(
        {"replayed": replayed, "proved": proved, "changes": changes[:20], "whens": dict(whens)},
        proved == 0 and not changes and len(whens) == len(_WHENS),
        f"of {replayed:,} recorded datagrams that came again {proved} were taken for new, and "
        f"{len(changes)} changed anything" + (f": {changes[0]}" if changes else ""),
    )


@row(
    "replayed-datagrams",
    promise="100,000 recorded datagrams have no second effect when they come again, from the same "
    "or another address, at once, after 121 s, or when what they stored is gone",
    pieces=-(-REPLAYS // REPLAYS_PER_PIECE),
    judge=judge_replays,
    reduced=Reduced(pieces=1, scale=0.08),
)
def replayed_datagrams(seed: int, scale: float) -> Figures:
    """All that was said while a street came to life and was lived in, again and again."""
    street = _lived_in(f"{seed} replays")
    random = street.random
    record = list(street.record)
    street.recording = False
    wanted = round(REPLAYS_PER_PIECE * scale)
    proved, changes, whens = 0, list[str](), Counter[str]()
    for when, wait_s in _WHENS.items():
        street.run(wait_s)
        if when == "after its record is gone":
            _forget_records(street)
        for house in street.houses.values():
            mine = [each for each in record if each[0] == house.address]
            before = _state(house, street.now)
            taken = house.channel.proved
            share = wanted // len(_WHENS) // len(street.houses)
            for number, (_, source, data) in enumerate(random.choices(mine, k=share)):
                elsewhere = stranger_address(random.randrange(1000))
                house.engine.receive_datagram(street.now, data, elsewhere if number % 2 else source)
                house.engine.datagrams_to_send()
                whens[when] += 1
            proved += house.channel.proved - taken
            if _state(house, street.now) != before:
                changes.append(f"{when}: a store or a table is not what it was")
    return {
        "replayed": sum(whens.values()),
        "proved": proved,
        "changes": changes,
        "whens": dict(whens),
    }


_WHENS = {
    "at once": 0.0,
    "a minute later": 61.0,
    "after 121 s": 60.0,
    "after an hour": 3600.0,
    "after its record is gone": 0.0,
}


def _state(house: House, now: float) -> object:
    """What a datagram can have changed: records and their deadlines, contacts."""
    records = [
        (number, held.record.version, held.deadline)
        for number in range(RECORDS)
        if (held := _held(house, now, number)) is not None
    ]
    return house.engine.storage.count, records, house.engine.table.contacts()


def _forget_records(street: Street) -> None:
    """Everybody starts again without a store, as after a crash; whoever knew them does no more."""
    for house in list(street.houses.values()):
        street.build(house.identity, house.address)
    street.run(30.0)
