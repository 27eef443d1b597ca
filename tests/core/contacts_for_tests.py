"""Contacts with ids that a reader can XOR by eye, and small networks that answer at once."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from random import Random

import attrs
from hypothesis import strategies as st

from dht.config import Config
from dht.contacts import Contact, is_local, pack_address, subnet_of
from dht.core.disjoint import DisjointLookup
from dht.core.lookup import ASKED_MAX, Lookup
from dht.core.machine import FINISHED, Ask, Finished, Wait
from dht.core.region import Detour, Sweep
from dht.core.routing import RoutingTable
from dht.keyspace import Key

BITS = 8


@cache  # as the memo of ``unpack_contact``: one peer is mostly one object
def contact(node_id: int, host: str | None = None, *, port: int = 4000) -> Contact:
    """A contact with exactly this id; on a private address, where no limits hold, unless told."""
    address = pack_address(host or f"10.0.{node_id >> 8 & 255}.{node_id & 255}", port)
    public_key = node_id.to_bytes(32)
    subnet = None if is_local(address) else subnet_of(address)
    return Contact(public_key, address, Key(node_id), public_key + address, subnet)


def contacts(node_ids: Iterable[int]) -> list[Contact]:
    return [contact(node_id) for node_id in node_ids]


def ids(found: Iterable[Contact]) -> list[int]:
    return [int(each.id) for each in found]


def nearest(node_ids: Iterable[int], target: int, n: int) -> list[int]:
    """The oracle: all of them sorted by distance, and cut."""
    return sorted(node_ids, key=lambda node_id: node_id ^ target)[:n]


@attrs.frozen
class FixedPatience:
    """The same patience with everybody."""

    join: float = 0.1
    free: float = 0.2

    def join_after(self, contact: Contact) -> float:
        return self.join

    def free_after(self, contact: Contact) -> float:
        return self.free


def patiences() -> st.SearchStrategy[FixedPatience]:
    """Late before slow, as with everybody's measured times."""
    return st.tuples(st.floats(0, 3), st.floats(0, 3)).map(
        lambda pair: FixedPatience(min(pair), max(pair))
    )


@attrs.frozen
class Network:
    """Who is there and whom they know: answers "who is near the target?" as a node would."""

    tables: Mapping[int, RoutingTable]
    alive: Mapping[int, bool]

    def closest(self, asked: Contact, target: int, n: int) -> list[Contact]:
        return self.tables[asked.id].closest(target, n)

    def living(self) -> list[int]:
        return [node_id for node_id, is_alive in self.alive.items() if is_alive]


class Tables(dict[int, RoutingTable]):
    """Tables of nodes that met everybody once in an order of their own; made when first read."""

    def __init__(self, everybody: list[Contact], *, bits: int, config: Config, seed: int) -> None:
        super().__init__()
        self._everybody = everybody
        self._bits = bits
        self._config = config
        self._seed = seed

    def __missing__(self, node_id: int) -> RoutingTable:
        table = RoutingTable(node_id, config=self._config, bits=self._bits)
        order = list(self._everybody)
        Random(self._seed ^ node_id).shuffle(order)
        for each in order:
            table.add(0.0, each)
        self[node_id] = table
        return table


def network(
    node_ids: list[int],
    *,
    bits: int = BITS,
    config: Config | None = None,
    dead: Iterable[int] = (),
    seed: int = 0,
) -> Network:
    gone = list(dead)
    tables = Tables(contacts(node_ids), bits=bits, config=config or Config(), seed=seed)
    return Network(tables, {node_id: node_id not in gone for node_id in node_ids})


def run_at_once(
    lookup: Lookup | DisjointLookup | Sweep | Detour,
    net: Network,
    *,
    answer: Callable[[Contact], list[Contact] | None] | None = None,
    named: int = 20,
) -> list[Contact]:
    """Drive a lookup to its end where every answer and every silence takes 10 ms; whom it asked."""
    now = 0.0
    asked: list[Contact] = []
    waiting: list[Contact] = []
    while True:
        step = lookup.next(now)
        if isinstance(step, Ask):
            asked.append(step.contact)
            waiting.append(step.contact)
            continue
        if step is FINISHED:
            return asked
        now += 0.01
        peer = waiting.pop(0)
        closer = answer(peer) if answer else None
        if closer is None and net.alive.get(peer.id):
            closer = net.closest(peer, lookup.target, named)
        if closer is None:
            lookup.on_failure(now, peer)
        else:
            lookup.on_reply(now, peer, closer)


def named_contacts() -> st.SearchStrategy[list[Contact]]:
    """What an answer may name: anybody, sometimes at an address of its own."""
    hosts = st.sampled_from([None, None, None, "10.7.7.7"])
    return st.lists(st.builds(contact, st.integers(0, 255), hosts), max_size=8)


@attrs.define(eq=False)
class Life:
    """One lookup, driven through whatever happens, with the laws checked at every step."""

    lookup: Lookup | DisjointLookup
    patience: FixedPatience
    own_id: int = attrs.field(kw_only=True)
    alpha: int = attrs.field(kw_only=True)
    asked: dict[bytes, float] = attrs.field(factory=dict)
    waiting: dict[bytes, Contact] = attrs.field(factory=dict)
    silent: dict[bytes, Contact] = attrs.field(factory=dict)
    answered: dict[int, Contact] = attrs.field(factory=dict)

    def live(self, data: st.DataObject) -> None:
        """Twenty events of any kind; then whoever is left stays silent, until the end."""
        now = 0.0
        for _ in range(20):
            if self._poll(now) is FINISHED:
                break
            kind = data.draw(st.sampled_from(["reply", "reply", "failure", "late", "time"]))
            peers = list((self.silent if kind == "late" else self.waiting).values())
            if kind == "time" or not peers:
                now += data.draw(st.floats(0, 3))
            elif kind == "failure":
                self._fails(now, data.draw(st.sampled_from(peers)))
            else:
                self._replies(now, data.draw(st.sampled_from(peers)), data.draw(named_contacts()))
        for _ in range(3 * ASKED_MAX):
            if self._poll(now) is FINISHED:
                break
            self._fails(now, next(iter(self.waiting.values())))
        assert self.lookup.next(now) is FINISHED

    def _poll(self, now: float) -> Wait | Finished:
        lookup = self.lookup
        while isinstance(step := lookup.next(now), Ask):
            packed = step.contact.packed
            assert packed not in self.asked, "asked twice"
            assert step.contact.id != self.own_id
            self.asked[packed] = now
            self.waiting[packed] = step.contact
            assert self._holding(now) <= self.alpha
        assert lookup.next(now) == step, "asking twice changes nothing"
        if step is FINISHED:
            assert ids(lookup.result()) == nearest(self.answered, lookup.target, lookup.want)
        else:
            assert self.waiting, "waits for nobody"
            assert isinstance(step, Wait)
            assert step.until is None or step.until > now
        return step

    def _holding(self, now: float) -> int:
        """How many slots are taken: not by the slow, nor by a second address of one that answered
        at its first after all."""
        return sum(
            now < self.asked[packed] + self.patience.free and peer.id not in self.answered
            for packed, peer in self.waiting.items()
        )

    def _replies(self, now: float, peer: Contact, named: list[Contact]) -> None:
        self.waiting.pop(peer.packed, None)
        self.silent.pop(peer.packed, None)
        self.answered[int(peer.id)] = peer
        self.lookup.on_reply(now, peer, named)

    def _fails(self, now: float, peer: Contact) -> None:
        del self.waiting[peer.packed]
        self.silent[peer.packed] = peer
        self.lookup.on_failure(now, peer)
