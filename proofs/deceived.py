"""Who is to be deceived: a node that holds records, and whoever reads them, without a network."""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

import attrs

from dht.config import Config
from dht.contacts import Contact, contact_at, pack_address
from dht.core.channel.plain import PlainChannel
from dht.core.engine import Engine
from dht.core.get import Get
from dht.core.machine import FINISHED, Ask, Finished
from dht.core.members import Browsing
from dht.core.outcomes import GetOutcome, Trace
from dht.identity import PUBLIC_KEY_SIZE, Identity
from dht.keyspace import Key
from dht.records import Kind, Record, piece_hashes
from dht.wire.codec import decode_untrusted, encode
from dht.wire.messages import (
    CLIENT,
    DIGEST_SIZE,
    HASHES,
    Block,
    Copy,
    Fetch,
    Found,
    Page,
    Store,
    Stored,
)

EPOCH_S = 1_700_000_000.0
#: Seconds between two offers: below what one source may ask.
PAUSE_S = 0.002
VALUE_SIZE_MAX = 2**20


@attrs.define(eq=False)
class Holder:
    """A node in a network that anybody may join, so that it takes no plain records."""

    engine: Engine
    now: float = 0.0
    _peer: PlainChannel = attrs.field(init=False)
    _public_key: bytes = attrs.field(init=False)

    @classmethod
    def at(cls, random: Random) -> "Holder":
        identity = Identity.generate(random)
        engine = Engine(
            identity=identity,
            contact=contact_at(identity.public_key, pack_address("9.9.9.9", 4000)),
            channel=PlainChannel(identity.public_key),
            random=random,
            config=Config(store_share_per_source=1.0, store_share_per_author=1.0),
        )
        engine.set_wall_offset(0.0, EPOCH_S)
        engine.start(0.0)
        return cls(engine)

    def __attrs_post_init__(self) -> None:
        self._public_key = bytes(range(PUBLIC_KEY_SIZE))
        self._peer = PlainChannel(self._public_key)

    def offer(self, copy: Copy) -> int | None:
        """The status that it answers; None for silence."""
        self.now += PAUSE_S
        body = encode(Store(flags=CLIENT, copy=copy, if_version=None, count=0))
        self._peer.ask(self.now, self.engine.contact, bytes(8), body)
        ((data, _),) = self._peer.datagrams_to_send()
        source = pack_address("8.8.8.8", 4000)
        self.engine.handle_timeout(self.now)
        self.engine.receive_datagram(self.now, data, source)
        self.engine.events()
        for answer, target in self.engine.datagrams_to_send():
            if target == source:
                opened = self._peer.receive(self.now, answer, self.engine.contact.address)
                assert opened is not None
                message = decode_untrusted(opened.payload)[1]
                if isinstance(message, Stored):
                    return message.status
        return None

    def state(self, record: Record) -> tuple[object, ...]:
        """Everything that a store with something new in it would have another one of."""
        storage = self.engine.storage
        held = storage.get(self.now, *record.slot)
        kept = held and (held.record, held.deadline)
        return kept, storage.count, storage.size, storage.counters.stored


class _NoSearch:
    """A search that knows exactly those who have answered."""

    def next(self, _now: float) -> Finished:
        return FINISHED

    def on_reply(self, _now: float, _contact: Contact, _closer: Iterable[Contact]) -> None: ...
    def on_failure(self, _now: float, _contact: Contact) -> None: ...
    def on_retry(self, _contact: Contact) -> None: ...
    def widen(self, _want: int) -> None: ...

    def result(self) -> list[Contact]:
        return []

    known = result

    def why_stopped(self) -> str:
        return "it did not even begin"

    def trace(self, _now: float, stopped: str, **_: object) -> Trace:
        return Trace(
            target=Key(0),
            hops=0,
            messages=0,
            nodes=0,
            duplicates=0,
            elapsed=0.0,
            steps=(),
            stopped=stopped,
        )


class _Nowhere:
    """A client, which holds nothing itself."""

    serves = False

    def topic(self, _now: float, _key: Key) -> tuple[list[tuple[Record, int]], bytes]:
        return [], bytes(DIGEST_SIZE)

    def tried(self) -> str:
        return "nobody"


def read(real: Record, copies: Sequence[Copy], holders: Sequence[Contact]) -> Record | None:
    """What a reader of this slot is given when these are the answers, one a holder."""
    search: Any = _NoSearch()
    local: Any = _Nowhere()
    if real.kind is Kind.MEMBER:
        browsing = Browsing(
            key=real.key,
            start=0,
            flags=0,
            replicas=8,
            value_size_max=VALUE_SIZE_MAX,
            search=search,
            local=local,
            limit=None,
        )
        browsing.look_at_home(0.0)
        for holder, copy in zip(holders, copies, strict=False):
            page = Page(
                time_s=0,
                total=1,
                whole=True,
                digest=bytes(DIGEST_SIZE),
                copies=(copy,),
                contacts4=b"",
                contacts6=b"",
            )
            browsing.on_reply(0.0, holder, page, [])
        entry = browsing.newest.get(real.slot[2])
        return entry and entry.record
    get = Get(
        kind=real.kind,
        key=real.key,
        quorum=len(copies),
        replicas=8,
        wide=8,
        value_size_max=VALUE_SIZE_MAX,
        fetch_flags=0,
        search=search,
        local=local,
    )
    for holder, copy in zip(holders, copies, strict=False):
        get.on_reply(0.0, holder, Found(0, copy, b"", b""), [])
    while isinstance(step := get.next(0.0), Ask):  # a long value, which whoever named it gives
        fetch = decode_untrusted(bytes(8) + step.body)[1]
        assert isinstance(fetch, Fetch)
        source = piece_hashes(real.value) if fetch.flags & HASHES else real.value
        data = source[fetch.offset :].ljust(fetch.length, b"x")[: fetch.length]
        get.on_reply(0.0, step.contact, Block(0, fetch.offset, data), [])
    outcome = get.outcome if get.error is None else None
    return outcome.record or outcome.deleted if isinstance(outcome, GetOutcome) else None
