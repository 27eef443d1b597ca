"""One node, with no I/O: no socket, no clock, no randomness of its own.

In:   ``start``, ``receive_datagram``, ``handle_timeout``, ``start_*``, ``cancel``, ``resumed``,
      ``set_wall_offset``
Out:  ``datagrams_to_send``, ``events``, ``next_timeout``; poll them after any input

``now`` is a monotonic float in seconds that never goes back. The same bytes, times and seed give
the same bytes out. The engine routes and owns; every decision is a machine's (``lookup``,
``operations``, ``maintenance``, ``routing``, ``storage``, ``admission``, ``responder``).
"""

from collections.abc import Callable, Iterable, MutableMapping, Sequence
from functools import partial
from random import Random
from typing import Any, Final, cast, final

import attrs

from ..author import Author
from ..config import Config
from ..contacts import Address, Contact, HostName, Introducer, contact_at, stranger_at
from ..errors import LocalError, RemoteError
from ..identity import Identity
from ..keyspace import KEY_SIZE, Key, key_bytes
from ..network import Network
from ..records import Kind, Record
from ..wire.codec import decode_untrusted, encode
from ..wire.messages import (
    CLIENT,
    CONTACTS_TOO,
    COUNT_MAX,
    HANDOVER,
    LEASE,
    NO_TABLE,
    OVERLAY_TYPES,
    REACH_TYPES,
    REQUEST_TYPES,
    ROUTE_TYPES,
    WANT_IPV4,
    Copy,
    Fetch,
    Find,
    Store,
    Taken,
    Taking,
)
from ..wire.messages import Answer as AnswerMessage
from ..wire.messages import Get as GetMessage
from ..wire.messages import Request as RequestMessage
from .admission import Admission
from .arguments import (
    check_copies,
    check_limit,
    check_plain,
    check_quorum,
    check_value,
    check_walk,
    check_writer,
    checked_ttl_ms,
)
from .bootstrap import Bootstrap
from .channel.face import Channel, Opened
from .checked import Checked
from .density import DensityGauge
from .events import Event, KeyChanged, MessageId, OperationId, RecordStored
from .get import Get
from .home import Home
from .knocks import Knocks
from .large_values import Offers, Pulls
from .maintenance import Membership, Standing
from .members import Browsing, MembersOperation
from .messaging import Messaging
from .operations import LookupOperation, Search, Shared
from .peers import Peers
from .presence import Presence
from .put import Put
from .requests import Requests
from .responder import Pull, Responder
from .routed import RoutedSearch
from .routing import RoutingTable
from .running import Running
from .searches import Searches
from .sending import Sending, SendingHome
from .stats import Counters, EngineStats
from .storage import Storage
from .tasks import Tasks
from .timers import Timers
from .unstructured.finding import Finding
from .unstructured.overlay import NO_OVERLAY, Unstructured
from .upkeep import Upkeep
from .via import Unstructured as UnstructuredVia
from .via import Walk
from .widening import Widenings

# Looked up once: the hot path compares with it at every datagram.
_JOINED: Final = Standing.JOINED

#: Serves a request by itself, its answer included: given the time, what was opened, the request's
#: id, the request and who asks.
Serve = Callable[[float, Opened, bytes, Any, Contact], None]

#: What a stranger is sent to see whether it is there: a ping, and as a rule another try.
PINGS = 2


@final
@attrs.define(eq=False)
class Engine:
    """One node's protocol. See the module's docstring for the contract.

    ``contact`` is how others reach this node, for sure if ``advertised``. ``client``: it asks, and
    never serves; None: it finds out whether strangers reach it, and serves if they do.
    ``families``: of which addresses contacts are of use, ``WANT_IPV4 | WANT_IPV6``.
    ``private_network``: it takes a key to be a member, so plain records are taken from everybody.
    ``network`` is the one of the ``channel``: messages are sealed for its members.
    """

    identity: Identity
    contact: Contact
    channel: Channel
    random: Random
    config: Config = attrs.field(factory=Config, kw_only=True)
    bootstrap: Sequence[Introducer] = attrs.field(default=(), kw_only=True)
    #: Which key answered at which ``host:port`` before, and has to again. None: any may.
    remembered: MutableMapping[str, bytes] | None = attrs.field(default=None, kw_only=True)
    _client: bool | None = attrs.field(default=False, kw_only=True)
    advertised: bool = attrs.field(default=False, kw_only=True)
    families: int = attrs.field(default=WANT_IPV4, kw_only=True)
    #: Does anybody read the events? While nobody does, ``RecordStored`` is not made.
    watched: bool = attrs.field(default=True, init=False)
    private_network: bool = attrs.field(default=False, kw_only=True)
    #: Where it lives: "structured", "unstructured" or "both".
    overlay: str = attrs.field(default="structured", kw_only=True)
    network: Network = attrs.field(factory=Network.named, kw_only=True)
    table: RoutingTable = attrs.field(init=False)
    storage: Storage = attrs.field(init=False)
    _bootstrap: Bootstrap = attrs.field(init=False)
    _requests: Requests = attrs.field(init=False)
    _tasks: Tasks = attrs.field(init=False)
    _timers: Timers = attrs.field(factory=Timers, init=False)
    _admission: Admission = attrs.field(init=False)
    _responder: Responder = attrs.field(init=False)
    _upkeep: Upkeep = attrs.field(init=False)
    _membership: Membership = attrs.field(init=False)
    _home: Home = attrs.field(init=False)
    _searches: Searches = attrs.field(init=False)
    _gauge: DensityGauge = attrs.field(init=False)
    _counters: Counters = attrs.field(factory=Counters, init=False)
    _events: list[Event] = attrs.field(factory=list, init=False)
    _pulls: Pulls = attrs.field(init=False)
    _running: Running = attrs.field(init=False)
    _presence: Presence = attrs.field(init=False)
    _peers: Peers = attrs.field(init=False)
    _messaging: Messaging = attrs.field(init=False)
    #: Requests that others than the responder serve, by their type; the others leave it alone.
    _served_elsewhere: dict[type, Serve] = attrs.field(factory=dict, init=False)
    #: None: it lives in the structured overlay alone.
    unstructured: Unstructured | None = attrs.field(default=None, init=False)

    @_bootstrap.default
    def _its_introducers(self) -> Bootstrap:
        return Bootstrap(self.identity.id, self.config, tuple(self.bootstrap), self.remembered)

    def __attrs_post_init__(self) -> None:
        config = self.config
        self.table = RoutingTable(self.identity.id, config=config)
        self.storage = Storage(config)
        self._requests = Requests(config=config, random=self.random)
        self._admission = Admission(config)
        self._home = Home(
            self.contact,
            self.storage,
            serves=not self._client,
            on_stored=self._on_stored,
            tried=self._tried,
        )
        emit = self._events.append
        self._peers = Peers(
            self.table,
            self._requests,
            self._home,
            self._bootstrap,
            self._counters,
            emit,
            self._structured,
        )
        self._tasks = Tasks(
            requests=self._requests,
            channel=self.channel,
            timers=self._timers,
            knocks=Knocks(config, self._is_free),
            own_id=self.identity.id,
            on_alive=self._peers.on_alive,
            on_silent=self._peers.on_silent,
            puzzle_bits=config.id_puzzle_bits,
        )
        self._searches = Searches(config, self.table, self._requests)
        self._gauge = DensityGauge(config, self.table)
        self._responder = Responder(
            self.table,
            self.storage,
            config,
            takes_plain=self.private_network or config.plain_on_open_network,
            on_stored=self._on_stored,
            on_tended=self._on_tended,
        )
        self._begin_to_ask()

    def _begin_to_ask(self) -> None:
        """The second half: those who ask others, and need the others' half for that."""
        emit, checked = self._events.append, Checked()
        self._presence = Presence(
            told=self._client,
            advertised=self.advertised,
            bootstrap=self.bootstrap,
            config=self.config,
            random=self.random,
            tasks=self._tasks,
            table=self.table,
            home=self._home,
            first_this_minute=checked.first,
            on_change=self._on_change,
            emit=emit,
        )
        self._pulls = Pulls(
            tasks=self._tasks,
            timers=self._timers,
            responder=self._responder,
            channel=self.channel,
            flags=self._flags,
            home=self._home,
        )
        self._messaging = Messaging(
            identity=self.identity,
            network=self.network,
            random=self.random,
            tasks=self._tasks,
            home=self._home,
            searches=self._searches,
            responder=self._responder,
            trusted=self.private_network,
            emit=emit,
        )
        self._running = self._operations()
        self._upkeep = Upkeep(
            config=self.config,
            random=self.random,
            timers=self._timers,
            tasks=self._tasks,
            table=self.table,
            storage=self.storage,
            local=self._home,
            flags=self._flags,
            bootstrap=self._bootstrap,
            emit=emit,
            searches=self._searches,
            checked=checked,
            on_joined=self._on_joined,
            gauge=self._gauge,
            structured=self._structured,
        )
        self._membership = self._upkeep.membership
        self._peers.upkeep, self._peers.presence = self._upkeep, self._presence
        self._share_out()
        self._take_role()

    def _share_out(self) -> None:
        """Who serves what the responder does not."""
        served = self._served_elsewhere
        served.update(dict.fromkeys(REACH_TYPES, self._presence.serve))
        served.update(dict.fromkeys(ROUTE_TYPES, self._messaging.relay.serve))
        served.update(dict.fromkeys(OVERLAY_TYPES, self._serve_not_here))
        if self.overlay != "structured":
            self.unstructured = self._unstructured()
            served.update(self.unstructured.served)
            self._messaging.walk_through(self.unstructured.view)
            self._peers.view = self.unstructured.view

    def _unstructured(self) -> Unstructured:
        offers = self._running.offers
        return Unstructured(
            config=self.config,
            random=self.random,
            timers=self._timers,
            tasks=self._tasks,
            channel=self.channel,
            home=self._home,
            families=self.families,
            private_network=self.private_network,
            seeds=lambda: [*self.table.contacts(), *self._bootstrap.contacts()],
            keep=self._keep_copy,
            offer=offers.make,
            withdraw=offers.withdraw,
        )

    def _operations(self) -> Running:
        offers = Offers(self._responder)
        return Running(
            tasks=self._tasks,
            offers=offers,
            home=self._home,
            flags=self._flags,
            operations_max=self.config.operations_max,
            emit=self._events.append,
            on_end=self._on_ended,
            widenings=Widenings(
                config=self.config,
                random=self.random,
                tasks=self._tasks,
                searches=self._searches,
                gauge=self._gauge,
                offers=offers,
                flags=self._flags,
            ),
        )

    # ---- in ----

    def start(self, now: float) -> None:
        """Begins to join, once; ``Joined`` or ``JoinFailed`` follows."""
        self._presence.start(now)
        if self.unstructured is not None:
            self.unstructured.start(now)
        self._upkeep.start(now)

    def receive_datagram(self, now: float, data: bytes, source: Address) -> None:
        """Bytes came from an address. Never raises, whatever they are."""
        counters = self._counters
        counters.datagrams_received += 1
        counters.bytes_received += len(data)
        opened = self.channel.receive(now, data, source)
        if opened is None:
            identified = self.channel.identified()
            for address, public_key in identified:
                self._upkeep.on_identified(now, address, public_key)
            counters.datagrams_dropped += not identified
            return
        try:
            request_id, message = decode_untrusted(opened.payload)
        except RemoteError:
            counters.datagrams_dropped += 1
            return
        at = contact_at if opened.proved else stranger_at
        peer = at(opened.public_key, source)
        self._requests.last_heard_at = now
        if self._membership.standing is not _JOINED and peer.id in self.table:
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
        self._check_structured()
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
        routing: str = "iterative",
    ) -> OperationId:
        """Finds a record. Raises ``LocalError`` for a quorum that cannot be."""
        config = self.config
        check_quorum(quorum, config.replicas, or_majority=False)
        flags = self._flags | (CONTACTS_TOO if quorum > 1 else 0)
        body = encode(GetMessage(flags=flags, kind=kind, key=key_bytes(key), count=self._count))
        reach = self.table.expected_distance(config.replicas)
        search = self._search(
            now,
            key,
            body,
            routing=routing,
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
        if isinstance(search, RoutedSearch) and quorum == 1:
            search.on_found = lambda now, holder, found: get.on_reply(now, holder, found, [])
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
        author: Author | None = None,
        name: bytes = b"",
        routing: str = "iterative",
    ) -> OperationId:
        """Stores a record with its owners. ``author`` signs it, if it is of a kind that has one;
        ``name`` is what the key of a signed one is made of.

        Raises ``LocalError`` for a value, ttl, version, author or number that cannot be, and for
        a plain record where anybody could overwrite it; and ``ValueTooLarge``.
        """
        config = self.config
        self._check_kind(kind, owned=True)
        check_value(value, config.value_size_max)
        check_writer(kind, author, value)
        replicas = config.replicas if replicas is None else replicas
        check_copies(replicas, quorum, if_version)
        ttl_ms = checked_ttl_ms(ttl_s, kind, tombstone=tombstone)
        knows_all = self._searches.knows_all()
        search = self._search(
            now,
            key,
            encode(Find(self._flags, target=key_bytes(key), count=replicas, kind=kind)),
            routing=routing,
            want=replicas,
            opening=replicas if knows_all else config.alpha,
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
            knows_all=knows_all,
            search=search,
            local=self._home,
            alone_ok=self._bootstrap.empty,
            free_after=self._requests.free_after,
            value_size_max=config.value_size_max,
            shared=shared,
            author=author,
            name=name,
            gauge=self._gauge,
        )
        self._renew_no_more(kind, key)
        return self._begin(now, put, offered=value)

    def start_members(
        self, now: float, key: Key, *, limit: int = 100, disjoint: int = 1
    ) -> OperationId:
        """Finds members of a topic, at most ``limit``. Raises ``LocalError`` for less than one."""
        self._check_structured(Kind.MEMBER)
        check_limit(limit)
        browsing = Browsing.begin(
            now,
            key,
            searches=self._searches,
            local=self._home,
            flags=self._flags,
            config=self.config,
            start=self.random.randbytes(KEY_SIZE),
            limit=limit,
            disjoint=disjoint,
        )
        return self._begin(now, MembersOperation(browsing, limit))

    def start_search(self, now: float, kind: Kind, key: Key, via: UnstructuredVia) -> OperationId:
        """Finds a record in the unstructured overlay. Raises ``LocalError`` for a node that does
        not live there."""
        overlay = self._in_unstructured(via)
        started: list[OperationId] = []

        def wake(now: float) -> bool:
            return not started or self._running.wake(now, started[0])

        finding = overlay.finding(now, kind, key, via, wake)
        started.append(self._running.begin(now, finding, joined=self.joined, structured=False))
        return started[0]

    def start_place(
        self,
        now: float,
        kind: Kind,
        key: Key,
        value: bytes,
        via: UnstructuredVia,
        *,
        ttl_s: float | None = None,
        tombstone: bool = False,
        author: Author | None = None,
        name: bytes = b"",
    ) -> OperationId:
        """Publishes a record in the unstructured overlay, as ``start_put`` does in the other.

        Raises ``LocalError`` and ``ValueTooLarge`` for the same, and for a node that does not live
        there.
        """
        overlay = self._in_unstructured(via)
        self._check_kind(kind)
        check_value(value, self.config.value_size_max)
        check_writer(kind, author, value)
        ttl_ms = checked_ttl_ms(ttl_s, kind, tombstone=tombstone)
        placing = overlay.placing(
            now,
            kind,
            key,
            value,
            placement=via.placement,
            ttl_ms=ttl_ms,
            tombstone=tombstone,
            author=author,
            name=name,
        )
        return self._running.begin(
            now, placing, joined=self.joined, offered=value, structured=False
        )

    def start_send(
        self,
        now: float,
        target: Key,
        payload: bytes,
        *,
        topic: str = "",
        contact: Contact | None = None,
        public_key: bytes | None = None,
        routing: str = "recursive",
        reply: str = "path",
        walk: Walk | None = None,
    ) -> OperationId:
        """Sends a message to any node, and waits for its answer: a ``Reply``.

        ``contact``: where the target is known to be; ``public_key``: or only its key. ``reply``:
        whether the answer comes back along the "path" or "direct". ``walk``: it goes at random
        through the unstructured overlay, and ``routing`` and ``reply`` count for nothing. Raises
        ``LocalError`` for a topic, a payload or a way that cannot be, and ``ValueTooLarge``.
        """
        if walk is not None:
            self._in_unstructured(walk)
            check_walk(walk)
        sending = self._messaging.sending(
            now,
            target,
            payload,
            topic=topic,
            contact=contact,
            public_key=contact.public_key if contact is not None else public_key,
            routing=routing,
            reply=reply if walk is None else walk.reply,
            walk=walk,
        )
        return self._begin(now, sending)

    def serve_topic(self, topic: str) -> None:
        """From now on ``MessageArrived`` says what comes for this topic. Raises ``LocalError`` if
        it is served already."""
        self._messaging.deliveries.serve_topic(topic)

    def unserve_topic(self, now: float, topic: str) -> None:
        """Not any more; who waits for an answer is told that there will be none."""
        self._messaging.deliveries.unserve_topic(now, topic)

    def answer_message(self, now: float, message_id: MessageId, payload: bytes) -> None:
        """The answer to a ``MessageArrived``. Raises ``LocalError`` for one that cannot travel."""
        self._messaging.deliveries.answer(now, message_id, payload)

    def start_leave(self, now: float) -> None:
        """From now on nothing is served and nothing is looked after; operations may end."""
        self._presence.stop()
        self._take_role()
        self._upkeep.stop()
        if self.unstructured is not None:
            self.unstructured.stop()

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

    def resolved(self, now: float, name: HostName, addresses: Iterable[Address]) -> None:
        """A host name of ``bootstrap`` has these addresses, or none. Whoever runs the engine looks
        each of them up when it starts, and those without addresses after each ``JoinFailed``."""
        self._upkeep.on_resolved(now, name, addresses)

    @property
    def changed_keys(self) -> tuple[KeyChanged, ...]:
        """Where another key answers than the one that is remembered."""
        return tuple(self._bootstrap.changed.values())

    # ---- out ----

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        """Bytes to put on the wire, and where to."""
        datagrams = self.channel.datagrams_to_send()
        if datagrams:
            self._counters.datagrams_sent += len(datagrams)
            if self._presence.watches:
                self._presence.on_sent(datagrams)
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
        timeout = self._timers.next_timeout()
        if soonest is None or (timeout is not None and timeout < soonest):
            soonest = timeout
        timeout = self.channel.next_timeout()
        if soonest is None or (timeout is not None and timeout < soonest):
            soonest = timeout
        return soonest

    @property
    def client(self) -> bool:
        """Is it a client at the moment: does it ask, and not serve?"""
        return not self._presence.serving

    @property
    def messages_sent(self) -> int:
        """Requests that this node sent for messages, its own and those that it passed on."""
        return self._messaging.sent.count

    @property
    def joined(self) -> bool:
        """Was it ever part of a network?"""
        return self._upkeep.joined

    def stats(self) -> EngineStats:
        """A snapshot of every counter and gauge."""
        tasks, upkeep, overlay = self._tasks, self._upkeep, self.unstructured
        return EngineStats(
            **attrs.asdict(self._counters),
            **(NO_OVERLAY if overlay is None else overlay.stats()),
            requests_sent=tasks.sent,
            requests_retried=tasks.retried,
            requests_in_flight=len(self._requests),
            answers_unmatched=tasks.unmatched,
            peer_violations=tasks.violations,
            operations_in_flight=len(self._running),
            operations_started=self._running.started,
            contacts=len(self.table),
            network_size=self.table.network_size(),
            messages_forwarded=self._messaging.relay.forwarded,
            messages_refused=self._messaging.relay.refused,
            messages_delivered=self._messaging.deliveries.delivered,
            records=self.storage.count,
            records_size=self.storage.size,
            repairs_done=upkeep.repairs_done,
            copies_made=upkeep.copies_made,
            reachable=self._presence.reachable.value,
            serving=self._home.serves,
            standing=upkeep.membership.standing.name.lower(),
            clock_ahead_s=self._home.clocks.median_s(),
        )

    # ---- private: operations ----

    @property
    def _structured(self) -> bool:
        return self.overlay != "unstructured"

    @property
    def _count(self) -> int:
        return min(self.config.k, COUNT_MAX)

    @property
    def _flags(self) -> int:
        return (
            self.families | (CLIENT if self.client else 0) | (0 if self._structured else NO_TABLE)
        )

    def _in_unstructured(self, via: UnstructuredVia) -> Unstructured:
        if self.unstructured is None:
            raise LocalError(
                f"via={type(via).__name__} searches the unstructured overlay, and this node lives "
                "in the structured one only: open it with overlay='both'"
            )
        return self.unstructured

    def _check_structured(self, kind: Kind | None = None) -> None:
        if not self._structured and kind is Kind.MEMBER:
            raise LocalError(
                "topics need the structured overlay, where each has owners that keep its entries, "
                "and this node lives in the unstructured one only: open it with overlay='both'"
            )
        if not self._structured:
            raise LocalError(
                "via='structured' needs the structured overlay, and this node lives in the "
                "unstructured one only: say via='walk', 'flood' or 'index', or open it with "
                "overlay='both'"
            )

    def _on_ended(self, machine: Any) -> None:
        if isinstance(machine, Finding) and self.unstructured is not None:
            self.unstructured.searching.end(machine)

    def _renew_no_more(self, kind: Kind, key: Key) -> None:
        """What is renewed in the unstructured overlay is older from now on; content never is."""
        if self.unstructured is not None and kind is not Kind.CONTENT:
            self.unstructured.publications.withdraw(kind, key)

    def _keep_copy(self, now: float, teller: Contact, copy: Copy) -> None:
        """A copy that was passed back through us is kept as if its teller had placed it here."""
        self._responder.time_s = self._home.time_s(now)
        self._responder.wall_s = self._home.trusted_wall_s(now)
        store = Store(flags=LEASE, copy=copy, if_version=None, count=0)
        self._responder.answer(now, teller, store, 0)

    def _check_kind(self, kind: Kind, *, owned: bool = False) -> None:
        """Raises ``LocalError`` for a plain record where anybody could overwrite it; and for one
        that is to be ``owned`` where nobody lives that owns anything."""
        if owned:
            self._check_structured(kind)
        if kind is Kind.PLAIN and not self._responder.takes_plain:
            others = [each for each in self.bootstrap if not isinstance(each, HostName)]
            check_plain(others or (self.contact,))

    def _begin(self, now: float, machine: Any, *, offered: bytes = b"") -> OperationId:
        operation_id = self._running.begin(now, machine, joined=self.joined, offered=offered)
        for each in (machine, getattr(machine, "search", None)):
            if isinstance(each, Sending | SendingHome | RoutedSearch):
                each.wake = partial(self._running.wake, operation_id=operation_id)
        return operation_id

    def _search(
        self,
        now: float,
        key: Key,
        body: bytes,
        *,
        routing: str,
        shared: Shared | None,
        **settings: Any,
    ) -> Search:
        """An ordinary search, or one that begins with a request that is passed on."""
        self._check_structured()
        begin = partial(self._searches.begin, now, key, body, **settings)
        if routing == "recursive":
            routed = self._messaging.routed(now, key, body, begin, shared)
            if routed is not None:
                return routed
        return begin(shared=shared)

    def _take_role(self) -> None:
        """What our machines do, and what our requests carry, is what we are now."""
        self.contact = self._home.contact
        self._home.serves = self._presence.serving
        self._upkeep.probe_max_s = self._presence.probe_max_s
        machines = (self._pulls, self._running, self._upkeep, self._presence, self._messaging)
        for machine in machines:
            machine.flags = self._flags
        if self.unstructured is not None:
            self.unstructured.take_role(self._flags)

    def _on_joined(self, now: float) -> None:
        self._presence.on_joined(now)
        if self.unstructured is not None:
            self.unstructured.on_joined(now)

    def _on_change(self, now: float) -> None:
        self._take_role()
        self._upkeep.introduce(now)

    def _is_free(self, contact: Contact) -> bool:
        """Is it a contact that we have verified, or one that the user named?"""
        known = self.table.get(contact.id)
        return known == contact or self._bootstrap.names(contact)

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
        kind = type(message)
        if kind is Fetch:
            self._tasks.on_fetch(now, opened.public_key)
        elif (serve := self._served_elsewhere.get(kind)) is not None:
            serve(now, opened, request_id, message, asker)
            return
        if not self._home.serves and not (
            isinstance(message, Fetch) and message.value_hash in self._responder.offers
        ):
            return  # a client answers nothing, but hands over the values of its own puts
        if not opened.proved and (kind is Store or message.flags & HANDOVER):
            self.channel.demand_proof(now, opened.ticket)  # it would have an effect
            return
        self._responder.time_s = self._home.time_s(now)
        if kind is Store:
            self._responder.wall_s = self._home.trusted_wall_s(now)
        self._counters.requests_served += 1
        # Who is no stranger has proved where it is; a stranger's datagram also pays for the pings
        # that are to tell whether it is there.
        pings = 0 if opened.proved else PINGS * self.channel.ping_size
        room = opened.room - pings if kind is Find else opened.room
        answer = self._responder.answer(now, asker, message, room)
        if isinstance(answer, Pull):
            if opened.proved:  # it asked for this: no door to knock at
                self._tasks.knocks.answered(now, opened.source)
            answer = self._pulls.begin(
                now, asker, answer, ticket=opened.ticket, request_id=request_id
            )
        payload = request_id + encode(answer)
        self.channel.answer(now, opened.ticket, payload)
        if len(payload) + pings <= opened.room:
            self._peers.on_question(now, opened, message.flags, asker)

    def _serve_not_here(
        self, now: float, opened: Opened, request_id: bytes, _: RequestMessage, __: Contact
    ) -> None:
        """Something of an overlay that we do not live in: who asks need not take us for dead."""
        answer = Taken(self._home.time_s(now), Taking.NOT_HERE)
        self.channel.answer(now, opened.ticket, request_id + encode(answer))

    def _on_stored(self, now: float, record: Record) -> None:
        if self.watched:
            self._events.append(RecordStored(record.kind, record.key, record.version))
        self._upkeep.on_stored(now, record.kind, record.key)
        if self.unstructured is not None:
            self.unstructured.on_stored(now, record.kind, record.key)

    def _on_tended(self, now: float, kind: int, key: Key) -> None:
        self._upkeep.on_tended(now, kind, key)

    def _tried(self) -> str:
        elsewhere = self._peers.not_here if self._peers.is_alone else None
        if elsewhere is None:
            return self._upkeep.tried()
        return (
            f"{self._upkeep.tried()}; {elsewhere} answered, but does not live in the unstructured "
            "overlay: bootstrap= has to name a node with overlay='both' or 'unstructured'"
        )
