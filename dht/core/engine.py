"""One node, with no I/O: no socket, no clock, no randomness of its own.

In:   ``start``, ``receive_datagram``, ``handle_timeout``, ``start_*``, ``cancel``, ``resumed``,
      ``set_wall_offset``
Out:  ``datagrams_to_send``, ``events``, ``next_timeout``; poll them after any input

``now`` is a monotonic float in seconds that never goes back. The same bytes, times and seed give
the same bytes out. The engine routes and owns; every decision is a machine's (``lookup``,
``operations``, ``maintenance``, ``routing``, ``storage``, ``admission``, ``responder``).
"""

from collections.abc import Sequence
from random import Random
from typing import Any, cast, final

import attrs

from ..config import Config
from ..contacts import Address, Contact, contact_at
from ..errors import RemoteError
from ..identity import Identity
from ..keyspace import Key, key_bytes
from ..records import Kind, Record
from ..wire.codec import decode_untrusted, encode
from ..wire.messages import (
    CLIENT,
    CONTACTS_TOO,
    COUNT_MAX,
    REQUEST_TYPES,
    WANT_IPV4,
    Block,
    Fetch,
    Find,
    Store,
)
from ..wire.messages import Answer as AnswerMessage
from ..wire.messages import Get as GetMessage
from ..wire.messages import Request as RequestMessage
from .admission import Admission
from .arguments import check_quorum, check_replicas, check_value, check_version, checked_ttl_ms
from .channel.face import Channel, Opened
from .density import DensityGauge
from .events import (
    Event,
    OperationId,
    PeerAdded,
    PeerRemoved,
    RecordStored,
)
from .get import Get
from .home import Home
from .knocks import Knocks
from .large_values import Offers, Pulls
from .operations import LookupOperation, Shared
from .put import Put
from .requests import Request, Requests
from .responder import Pull, Responder
from .routing import RoutingTable
from .running import Running
from .searches import Searches
from .stats import Counters, EngineStats
from .storage import Storage
from .tasks import Tasks
from .timers import Timers
from .upkeep import Upkeep
from .widening import Widenings


@final
@attrs.define(eq=False)
class Engine:
    """One node's protocol. See the module's docstring for the contract.

    ``contact`` is how others reach this node; ``client``: it asks, and never serves.
    ``families``: of which addresses contacts are of use, ``WANT_IPV4 | WANT_IPV6``.
    """

    identity: Identity
    contact: Contact
    channel: Channel
    random: Random
    config: Config = attrs.field(factory=Config, kw_only=True)
    bootstrap: Sequence[Contact] = attrs.field(default=(), kw_only=True)
    client: bool = attrs.field(default=False, kw_only=True)
    families: int = attrs.field(default=WANT_IPV4, kw_only=True)
    table: RoutingTable = attrs.field(init=False)
    storage: Storage = attrs.field(init=False)
    _requests: Requests = attrs.field(init=False)
    _tasks: Tasks = attrs.field(init=False)
    _timers: Timers = attrs.field(factory=Timers, init=False)
    _admission: Admission = attrs.field(init=False)
    _responder: Responder = attrs.field(init=False)
    _upkeep: Upkeep = attrs.field(init=False)
    _home: Home = attrs.field(init=False)
    _searches: Searches = attrs.field(init=False)
    _gauge: DensityGauge = attrs.field(init=False)
    _counters: Counters = attrs.field(factory=Counters, init=False)
    _events: list[Event] = attrs.field(factory=list, init=False)
    _pulls: Pulls = attrs.field(init=False)
    _running: Running = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        config = self.config
        self.bootstrap = tuple(c for c in self.bootstrap if c.id != self.identity.id)
        self.table = RoutingTable(self.identity.id, config=config)
        self.storage = Storage(config)
        self._requests = Requests(config=config, random=self.random)
        self._admission = Admission(config)
        self._tasks = Tasks(
            requests=self._requests,
            channel=self.channel,
            timers=self._timers,
            knocks=Knocks(config, self._is_free),
            own_id=self.identity.id,
            on_alive=self._on_alive,
            on_silent=self._on_silent,
        )
        self._searches = Searches(config, self.table, self._requests)
        self._gauge = DensityGauge(config, self.table)
        self._home = Home(
            self.contact,
            self.storage,
            serves=not self.client,
            on_stored=self._on_stored,
            tried=self._tried,
        )
        self._responder = Responder(
            self.table,
            self.storage,
            config,
            on_stored=self._on_stored,
            on_tended=self._on_tended,
        )
        self._pulls = Pulls(
            tasks=self._tasks,
            timers=self._timers,
            responder=self._responder,
            channel=self.channel,
            flags=self._flags,
            home=self._home,
        )
        offers = Offers(self._responder)
        self._running = Running(
            tasks=self._tasks,
            offers=offers,
            home=self._home,
            flags=self._flags,
            operations_max=config.operations_max,
            emit=self._events.append,
            widenings=Widenings(
                config=config,
                random=self.random,
                tasks=self._tasks,
                searches=self._searches,
                gauge=self._gauge,
                offers=offers,
                flags=self._flags,
            ),
        )
        self._upkeep = Upkeep(
            config=config,
            random=self.random,
            timers=self._timers,
            tasks=self._tasks,
            table=self.table,
            storage=self.storage,
            local=self._home,
            flags=self._flags,
            bootstrap=self.bootstrap,
            emit=self._events.append,
            searches=self._searches,
            gauge=self._gauge,
        )

    # ---- in ----

    def start(self, now: float) -> None:
        """Begins to join, once; ``Joined`` or ``JoinFailed`` follows."""
        self._upkeep.start(now)

    def receive_datagram(self, now: float, data: bytes, source: Address) -> None:
        """Bytes came from an address. Never raises, whatever they are."""
        counters = self._counters
        counters.datagrams_received += 1
        counters.bytes_received += len(data)
        opened = self.channel.receive(now, data, source)
        if opened is None:
            counters.datagrams_dropped += 1
            return
        try:
            request_id, message = decode_untrusted(opened.payload)
        except RemoteError:
            counters.datagrams_dropped += 1
            return
        peer = contact_at(opened.public_key, source)
        self._requests.last_heard_at = now
        if self._upkeep.away and peer.id in self.table:
            self._upkeep.on_heard(now)
        if type(message) in REQUEST_TYPES:
            self._serve(now, opened, request_id, cast("RequestMessage", message), peer)
        else:
            message = cast("AnswerMessage", message)
            self._tasks.on_answer(now, opened, request_id, message, peer)

    def handle_timeout(self, now: float) -> None:
        """Everything that is due by ``now`` happens; early or twice, nothing does."""
        self._tasks.handle_timeout(now)
        self._timers.run_due(now)
        self.channel.handle_timeout(now)

    def start_lookup(self, now: float, target: Key, *, disjoint: int = 1) -> OperationId:
        """Finds the ``Config.replicas`` live nodes nearest to a key."""
        want = self.config.replicas
        find = Find(flags=self._flags, target=key_bytes(target), count=self._count, kind=0)
        search = self._searches.begin(
            now,
            target,
            encode(find),
            want=want,
            opening=self.config.alpha,
            disjoint=disjoint,
        )
        return self._begin(now, LookupOperation(target, search, self._home, want, self._gauge))

    def start_get(
        self,
        now: float,
        kind: Kind,
        key: Key,
        *,
        quorum: int = 1,
        disjoint: int = 1,
        shared: Shared | None = None,
    ) -> OperationId:
        """Finds a record. Raises ``LocalError`` for a quorum that cannot be."""
        config = self.config
        check_quorum(quorum, config.replicas, or_majority=False)
        flags = self._flags | (CONTACTS_TOO if quorum > 1 else 0)
        body = encode(GetMessage(flags=flags, kind=kind, key=key_bytes(key), count=self._count))
        reach = self.table.expected_distance(config.replicas)
        search = self._searches.begin(
            now,
            key,
            body,
            want=config.replicas,
            reach=reach if quorum == 1 else None,
            disjoint=disjoint,
            shared=shared,
        )
        get = Get(
            kind=kind,
            key=key,
            quorum=quorum,
            replicas=config.replicas,
            wide=config.k,
            value_size_max=config.value_size_max,
            fetch_flags=self._flags,
            reach=reach,
            search=search,
            local=self._home,
            shared=shared,
            gauge=self._gauge,
        )
        return self._begin(now, get)

    def start_put(
        self,
        now: float,
        kind: Kind,
        key: Key,
        value: bytes,
        *,
        ttl_s: float | None = None,
        tombstone: bool = False,
        if_version: int | None = None,
        replicas: int | None = None,
        quorum: int | None = None,
        disjoint: int = 1,
        shared: Shared | None = None,
    ) -> OperationId:
        """Stores a record with its owners.

        Raises ``LocalError`` for a value, ttl, version or number that cannot be, and
        ``ValueTooLarge``.
        """
        config = self.config
        check_value(value, config.value_size_max)
        replicas = config.replicas if replicas is None else replicas
        check_replicas(replicas)
        check_quorum(quorum, replicas)
        check_version(if_version)
        ttl_ms = checked_ttl_ms(ttl_s, kind, tombstone=tombstone)
        find = Find(flags=self._flags, target=key_bytes(key), count=replicas, kind=kind)
        search = self._searches.begin(
            now,
            key,
            encode(find),
            want=replicas,
            opening=replicas if self._searches.knows_all() else config.alpha,
            disjoint=disjoint,
            shared=shared,
        )
        put = Put(
            kind=kind,
            key=key,
            value=value,
            ttl_ms=ttl_ms,
            tombstone=tombstone,
            if_version=if_version,
            replicas=replicas,
            quorum=quorum,
            store_flags=self._flags,
            reach=self._searches.reach_of_put(key, replicas, serves=self._home.serves),
            search=search,
            local=self._home,
            alone_ok=not self.bootstrap,
            free_after=self._requests.free_after,
            value_size_max=config.value_size_max,
            shared=shared,
            gauge=self._gauge,
        )
        return self._begin(now, put, offered=value)

    def start_leave(self, now: float) -> None:
        """From now on nothing is served and nothing is looked after; operations may end."""
        self._home.serves = False
        self._upkeep.stop()

    def cancel(self, now: float, operation_id: OperationId) -> None:
        """Ends an operation with exactly one ``OperationFinished`` that has neither outcome nor
        error. An operation that has ended already is left alone."""
        self._running.cancel(operation_id)

    def resumed(self, now: float) -> None:
        """The machine slept: who is still there is found out at once."""
        self._upkeep.on_resumed(now)

    def set_wall_offset(self, now: float, seconds: float) -> None:
        """The wall clock, in seconds since 1970, is ``now`` plus this."""
        self._home.clocks.moved(seconds - self._home.wall_offset_s)
        self._home.wall_offset_s = seconds

    def restore(self, now: float, record: Record, remaining_ms: int) -> None:
        """A record that this node kept over a restart, with what remains of its life."""
        self._home.keep(now, record, remaining_ms=remaining_ms, if_version=None)

    def set_contact(self, contact: Contact) -> None:
        """Others reach this node at another address now."""
        self.contact = self._home.contact = contact

    # ---- out ----

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        """Bytes to put on the wire, and where to."""
        datagrams = self.channel.datagrams_to_send()
        self._counters.datagrams_sent += len(datagrams)
        return datagrams

    def events(self) -> list[Event]:
        """What happened since the last call."""
        if not self._events:
            return []
        events = self._events.copy()
        self._events.clear()  # the machines hold on to this very list
        return events

    def next_timeout(self) -> float | None:
        """Call ``handle_timeout`` by then."""
        soonest = self._requests.next_timeout()
        for timeout in (self._timers.next_timeout(), self.channel.next_timeout()):
            if timeout is not None and (soonest is None or timeout < soonest):
                soonest = timeout
        return soonest

    @property
    def joined(self) -> bool:
        """Was it ever part of a network?"""
        return self._upkeep.joined

    def stats(self) -> EngineStats:
        """A snapshot of every counter and gauge."""
        tasks, upkeep = self._tasks, self._upkeep
        return EngineStats(
            **attrs.asdict(self._counters),
            requests_sent=tasks.sent,
            requests_retried=tasks.retried,
            requests_in_flight=len(self._requests),
            answers_unmatched=tasks.unmatched,
            peer_violations=tasks.violations,
            operations_in_flight=len(self._running),
            operations_started=self._running.started,
            contacts=len(self.table),
            network_size=self.table.network_size(),
            records=self.storage.count,
            records_size=self.storage.size,
            repairs_done=upkeep.repairs_done,
            copies_made=upkeep.copies_made,
            standing=upkeep.membership.standing.name.lower(),
            clock_ahead_s=self._home.clocks.median_s(),
        )

    # ---- private: operations ----

    @property
    def _count(self) -> int:
        return min(self.config.k, COUNT_MAX)

    @property
    def _flags(self) -> int:
        return self.families | (CLIENT if self.client else 0)

    def _begin(self, now: float, machine: Any, *, offered: bytes = b"") -> OperationId:
        return self._running.begin(now, machine, joined=self.joined, offered=offered)

    # ---- private: peers ----

    def _is_free(self, contact: Contact) -> bool:
        """Is it a contact that we have verified, or one that the user named?"""
        known = self.table.get(contact.id)
        return known == contact or any(c.address == contact.address for c in self.bootstrap)

    def _on_alive(self, now: float, contact: Contact, answer: AnswerMessage) -> None:
        ahead_s = answer.time_s - self._home.wall_s(now)
        self._home.clocks.add(contact.address, contact.public_key, ahead_s)
        if type(answer) is Block and contact.id not in self.table:
            return  # a client hands over the values of its puts, and serves nothing else
        if self.table.add(now, contact):
            self._events.append(PeerAdded(contact))
            self._upkeep.on_peer(now, contact)

    def _on_silent(self, now: float, request: Request) -> None:
        """Both tries unanswered. It says something of the peer only if others were heard since:
        during an outage of our own link nobody is evicted."""
        self._counters.requests_given_up += 1
        if self._requests.last_heard_at <= request.first_sent_at:
            self._upkeep.on_silent(now, request)
            return
        change = self.table.failed(now, request.contact)
        if change is not None:
            self._events.append(PeerRemoved(change.removed))
            self._upkeep.on_peer(now, change.removed)
            if change.added is not None:
                self._events.append(PeerAdded(change.added))
                self._upkeep.on_peer(now, change.added)

    # ---- private: serving ----

    def _serve(
        self,
        now: float,
        opened: Opened,
        request_id: bytes,
        message: RequestMessage,
        asker: Contact,
    ) -> None:
        if not self._admission.allow(now, opened.source, opened.public_key):
            self._counters.requests_refused += 1
            return
        if isinstance(message, Fetch):
            self._tasks.on_fetch(now, opened.public_key)
        if not self._home.serves and not (
            isinstance(message, Fetch) and message.value_hash in self._responder.offers
        ):
            return  # a client answers nothing, but hands over the values of its own puts
        self._responder.time_s = self._home.time_s(now)
        if isinstance(message, Store):
            self._responder.wall_s = self._home.trusted_wall_s(now)
        self._counters.requests_served += 1
        answer = self._responder.answer(now, asker, message, opened.room)
        if isinstance(answer, Pull):
            if opened.proved:  # it asked for this: no door to knock at
                self._tasks.knocks.answered(now, opened.source)
            answer = self._pulls.begin(
                now, asker, answer, ticket=opened.ticket, request_id=request_id
            )
        self.channel.answer(now, opened.ticket, request_id + encode(answer))
        if not message.flags & CLIENT and asker.id not in self.table:
            self._upkeep.on_stranger(now, asker)

    def _on_stored(self, now: float, record: Record) -> None:
        self._events.append(RecordStored(record.kind, record.key, record.version))
        self._upkeep.on_stored(now, record.kind, record.key)

    def _on_tended(self, now: float, kind: int, key: Key) -> None:
        self._upkeep.on_tended(now, kind, key)

    def _tried(self) -> str:
        return self._upkeep.tried()
