"""``open_node`` and ``Node``: the public face, for trio.

A ``Node`` says in the user's words what the engine is asked in its own, and waits. It opens no
socket and reads no clock: its pump has them.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from random import Random, SystemRandom
from typing import Any, NoReturn, TypeVar, final, overload

import attrs
import trio

from .. import author as core_author
from ..author import AuthorId, check_author
from ..config import Config
from ..contacts import (
    Address,
    Contact,
    HostName,
    Introducer,
    contact_at,
    format_address,
    is_ipv6,
    is_reachable,
    parse_address,
    parse_uri,
)
from ..core.arguments import check_value
from ..core.channel.face import Channel
from ..core.channel.plain import PlainChannel
from ..core.channel.secure import SecureChannel
from ..core.engine import Engine
from ..core.events import OperationFinished, OperationId
from ..core.operations import Shared
from ..core.outcomes import GetOutcome, LookupOutcome, Members, PutOutcome, Reply
from ..core.via import RECURSIVE, Structured, Via, Walk, search_via
from ..errors import InternalError, LocalError, NoPeers, QuorumNotReached
from ..identity import Identity
from ..keyspace import Key, content_key, plain_key, record_name, signed_key, topic_key
from ..network import Network
from ..records import Kind, value_hash
from ..wire.messages import WANT_IPV4, WANT_IPV6
from .author import Author
from .clock import Clock, SystemClock
from .datadir import DataDir
from .errands import Errands
from .opening import (
    PathLike,
    bind,
    find_author,
    find_identity,
    introducers_of,
    open_data_dir,
    refuse_changed_keys,
)
from .pump import DatagramPort, Pump
from .serving import LIMIT_MAX, Handler, TopicServer
from .stats import Stats, stats_of
from .stream import EventStream

#: Where a node can live.
OVERLAYS = ("structured", "unstructured", "both")
#: Operations under way at once in ``get_many`` and ``put_many``.
IN_FLIGHT = 16

_MAIN = Network.named()

_T = TypeVar("_T")
_ApplicationKey = str | bytes | Key
# Whatever stands for an author where one reads; to write takes the pair of keys.
_Author = core_author.Author | AuthorId | str
_KeyT = TypeVar("_KeyT", bound=_ApplicationKey)
_OutcomeT = TypeVar("_OutcomeT", GetOutcome, PutOutcome)


@final
class Node:
    """A running node; get one from ``open_node``.

    A key is a ``str`` (its UTF-8 bytes), ``bytes``, or a ``Key``, which is a place already. With an
    ``author`` a record is signed: nobody else can write it, nor pass anything else off as it. Who
    reads says whose record it is: an ``Author``, its ``id``, or that as text. Every
    operation may raise ``LocalError`` for an argument that cannot be, ``NoPeers`` while nobody
    has been reached, and ``NodeClosed`` when the node's block has ended. A cancelled operation
    is stopped; what it had stored by then stays stored.
    """

    def __init__(
        self,
        pump: Pump,
        identity: Identity,
        addresses: tuple[Address, ...],
        *,
        author: core_author.Author,
        network: Network,
    ) -> None:
        self._pump = pump
        self._engine = pump.engine
        self._identity = identity
        self._addresses = addresses
        self._author = author
        self._network = network

    def __repr__(self) -> str:
        state = "closed" if self._pump.closed else "open"
        return f"<dht.Node {self.id.hex()[:8]} at {', '.join(self.addresses)}, {state}>"

    @property
    def id(self) -> Key:
        """The node's place in the key space: a hash of its public key."""
        return self._identity.id

    @property
    def uri(self) -> str:
        """``dht://<public key>@host:port``: what others give as ``bootstrap``."""
        return self._engine.contact.uri

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where others may reach it, as ``'host:port'`` texts; never a wildcard."""
        addresses = dict.fromkeys((self._engine.contact.address, *self._addresses))
        return tuple(map(format_address, addresses))

    @property
    def author(self) -> core_author.Author:
        """Who signs what this node adds to topics, where no other author is named."""
        return self._author

    # ---- one record ----

    async def put(
        self,
        key: _ApplicationKey,
        value: bytes,
        *,
        ttl: float | None = None,
        author: core_author.Author | None = None,
        if_version: int | None = None,
        replicas: int | None = None,
        quorum: int | None = None,
        via: str | Via | None = None,
    ) -> PutOutcome:
        """Stores a value under a key, for ``ttl`` seconds (24 hours unless given, and at most; 7
        days at most with an author).

        ``author``: signed by it, under a key of its own. Without one anybody in the network can
        overwrite it: that is a ``LocalError`` in a network without a key, on public addresses.
        ``if_version``: only over that version (0: only where there is none), else
        ``VersionConflict``. ``quorum``: how many of the ``replicas`` owners must store, a majority
        of those found unless given; fewer raise ``QuorumNotReached``. Both carry the outcome.
        ``via``: as of a ``get``; of "flood", "walk" and "index" only the ``placement`` counts,
        which says where the copies go.
        Raises ``ValueTooLarge`` for more than ``Config.value_size_max`` bytes.
        """
        if author is not None:
            check_author(author)
        kind, place, name = self._place(key, author)
        start = self._putting(via, if_version=if_version, replicas=replicas, quorum=quorum)
        return await self._pump.operate(
            PutOutcome, start, kind, place, value, ttl_s=ttl, author=author, name=name
        )

    @overload
    async def get(
        self,
        key: _ApplicationKey,
        *,
        author: _Author | None = None,
        quorum: int = 1,
        via: str | Via | None = None,
        fallback: str | Via | None = None,
        default: None = None,
    ) -> bytes | None: ...

    @overload
    async def get(
        self,
        key: _ApplicationKey,
        *,
        author: _Author | None = None,
        quorum: int = 1,
        via: str | Via | None = None,
        fallback: str | Via | None = None,
        default: _T,
    ) -> bytes | _T: ...

    async def get(
        self,
        key: _ApplicationKey,
        *,
        author: _Author | None = None,
        quorum: int = 1,
        via: str | Via | None = None,
        fallback: str | Via | None = None,
        default: _T | None = None,
    ) -> bytes | _T | None:
        """The value, or ``default`` when nobody has the key or it was deleted; with ``author`` of
        the record that this author signed, and of no other.

        With ``quorum`` 1 the first valid record found; with more, the newest of so many owners,
        and ``QuorumNotReached`` when fewer hold one.

        ``via``: how it is searched for: "structured", "flood", "walk", "index", or one of these
        with options, as ``Walk(walkers=32)``. ``fallback``: a second search, tried when the first
        finds nothing or has nobody to ask; with it "structured" then "walk" finds what only the
        unstructured overlay holds. Where the second has nobody to ask, the first one's answer
        counts. It is a ``LocalError`` beside a ``quorum``: that one counts owners, and a search
        that falls back knows none.
        """
        outcome = await self.fetch(key, author=author, quorum=quorum, via=via, fallback=fallback)
        return _value(outcome, default)

    async def fetch(
        self,
        key: _ApplicationKey,
        *,
        author: _Author | None = None,
        quorum: int = 1,
        via: str | Via | None = None,
        fallback: str | Via | None = None,
    ) -> GetOutcome:
        """What ``get`` does, with everything that is known of it: the record and the way there.

        The trace of a ``fallback`` is that of the second search, but its ``messages`` and
        ``elapsed`` are those of both together, unless the first had nobody to ask.
        """
        kind, place, _ = self._place(key, author)
        return await self._fetch(kind, place, quorum=quorum, via=via, fallback=fallback)

    async def delete(
        self,
        key: _ApplicationKey,
        *,
        author: core_author.Author | None = None,
        replicas: int | None = None,
        quorum: int | None = None,
        via: str | Via | None = None,
    ) -> PutOutcome:
        """Deletes a key: stores a tombstone, which wins over every older version. Only its
        ``author`` can delete a signed record."""
        if author is not None:
            check_author(author)
        kind, place, name = self._place(key, author)
        start = self._putting(via, replicas=replicas, quorum=quorum)
        return await self._pump.operate(
            PutOutcome, start, kind, place, b"", tombstone=True, author=author, name=name
        )

    # ---- content: the key is derived from the value ----

    async def put_content(
        self,
        value: bytes,
        *,
        ttl: float | None = None,
        replicas: int | None = None,
        quorum: int | None = None,
        via: str | Via | None = None,
    ) -> PutOutcome:
        """Stores an immutable value, for ``ttl`` seconds (24 hours unless given, 7 days at most).

        ``outcome.key`` is where ``get_content`` finds it; nobody can store anything else there.
        """
        # The engine says what is wrong with a value that is none.
        key = content_key(value_hash(value)) if isinstance(value, bytes) else Key(0)
        start = self._putting(via, replicas=replicas, quorum=quorum)
        return await self._pump.operate(PutOutcome, start, Kind.CONTENT, key, value, ttl_s=ttl)

    @overload
    async def get_content(
        self, key: Key, *, via: str | Via | None = None, default: None = None
    ) -> bytes | None: ...

    @overload
    async def get_content(
        self, key: Key, *, via: str | Via | None = None, default: _T
    ) -> bytes | _T: ...

    async def get_content(
        self, key: Key, *, via: str | Via | None = None, default: _T | None = None
    ) -> bytes | _T | None:
        """The value that ``put_content`` stored under this key, or ``default``."""
        if not isinstance(key, Key):
            raise LocalError(
                "a content key is the dht.Key in the outcome of put_content() "
                f"(Key.from_hex() reads one from text), got {key!r}"
            )
        return _value(await self._fetch(Kind.CONTENT, key, quorum=1, via=via), default)

    # ---- topics: many authors, each with one entry ----

    async def add(
        self,
        topic: _ApplicationKey,
        value: bytes,
        *,
        author: core_author.Author | None = None,
        ttl: float | None = None,
    ) -> PutOutcome:
        """Enters ``author`` (this node's own unless given) under a topic, with up to 850 bytes of
        value, for ``ttl`` seconds (24 hours unless given, 7 days at most); again replaces it."""
        return await self._member(topic, value, author, ttl_s=ttl)

    async def remove(
        self, topic: _ApplicationKey, *, author: core_author.Author | None = None
    ) -> PutOutcome:
        """Takes ``author`` (this node's own unless given) out of a topic."""
        return await self._member(topic, b"", author, tombstone=True)

    async def members(self, topic: _ApplicationKey, *, limit: int = 100) -> Members:
        """Who is in a topic: at most ``limit``, by chance where there are more; the newest of
        each. Iterate over it: each is a ``Record`` with ``author`` and ``value``."""
        return await self._pump.operate(
            Members, self._engine.start_members, topic_key(topic, self._network.id), limit=limit
        )

    async def _member(
        self,
        topic: _ApplicationKey,
        value: bytes,
        author: core_author.Author | None,
        **options: Any,
    ) -> PutOutcome:
        return await self._pump.operate(
            PutOutcome,
            self._engine.start_put,
            Kind.MEMBER,
            topic_key(topic, self._network.id),
            value,
            author=self._author if author is None else author,
            **options,
        )

    # ---- many at once ----

    async def get_many(
        self,
        keys: Iterable[_KeyT],
        *,
        quorum: int = 1,
        via: str | Via | None = None,
        default: _T | None = None,
    ) -> dict[_KeyT, bytes | _T | None]:
        """The values of many keys, each as ``get`` finds it, by key; missing ones are ``default``.

        At most 16 are under way at once, and what they learn about the network they share. When
        all have ended and some missed their quorum, ``QuorumNotReached`` carries all outcomes.
        """
        if isinstance(keys, str):
            raise LocalError(f"keys are several, got {keys!r}; for one there is get()")
        wanted = {key: plain_key(key) for key in _items("keys", keys)}
        start = self._getting(via, quorum=quorum, shared=Shared())
        starts = [partial(start, kind=Kind.PLAIN, key=place) for place in wanted.values()]
        finished = await self._pump.operate_each(starts, limit=IN_FLIGHT)
        outcomes = _outcomes(GetOutcome, wanted, finished)
        return {key: _value(outcome, default) for key, outcome in outcomes.items()}

    async def put_many(
        self,
        items: Mapping[_KeyT, bytes] | Iterable[tuple[_KeyT, bytes]],
        *,
        ttl: float | None = None,
        replicas: int | None = None,
        quorum: int | None = None,
        via: str | Via | None = None,
    ) -> dict[_KeyT, PutOutcome]:
        """Stores many values, each as ``put`` does; what became of each, by key.

        At most 16 are under way at once, and what they learn about the network they share. When
        all have ended and some missed their quorum, ``QuorumNotReached`` carries the outcome of
        the first of them, and in ``outcomes`` those of all. Of a key given twice the last counts.
        """
        values = _values(items)
        for value in values.values():  # before anything is stored
            check_value(value, self._engine.config.value_size_max)
        places = {key: plain_key(key) for key in values}
        start = self._putting(via, replicas=replicas, quorum=quorum, shared=Shared())
        starts = [
            partial(start, kind=Kind.PLAIN, key=places[key], value=value, ttl_s=ttl)
            for key, value in values.items()
        ]
        finished = await self._pump.operate_each(starts, limit=IN_FLIGHT)
        return _outcomes(PutOutcome, values, finished)

    # ---- looking around ----

    async def lookup(
        self, target: _ApplicationKey, *, via: str | Via | None = None
    ) -> LookupOutcome:
        """The live nodes nearest to a key, nearest first, and the way the search took."""
        chosen = self._via(via)
        if not isinstance(chosen, Structured):
            raise LocalError(
                f"a lookup goes by distance: it is for the structured overlay, got via={via!r}"
            )
        if chosen.routing != "iterative":
            raise LocalError(f"a lookup asks node by node: leave routing= out of {via!r}")
        return await self._pump.operate(
            LookupOutcome,
            self._engine.start_lookup,
            plain_key(target),
            disjoint=chosen.disjoint,
        )

    # ---- messages ----

    async def send(
        self,
        node_id: Key | Contact | str,
        payload: bytes,
        *,
        topic: str = "",
        via: str | Structured | Walk | None = None,
    ) -> bytes:
        """The answer of any node to a message of up to 800 bytes: what its ``serve`` of this topic
        returned. Only that node can read it, and only it can have answered.

        ``node_id``: the ``id`` of a node, a contact, or a ``dht://`` URI. The message is passed on
        from node to node, as with ``via="structured"``; ``via=Structured(routing="iterative")``
        looks the node up and speaks to it. In the unstructured overlay it walks: ``via="walk"``, or
        ``Walk`` with ``walkers``, ``ttl`` and ``reply`` alone, takes it at random from neighbour to
        neighbour until somebody knows the node.

        It is tried up to three times in 20 seconds, and delivered once; a node that restarts in
        between may get it again. Raises ``NoPeers`` when no answer comes, or when nobody serves the
        topic there; and ``ValueTooLarge``.
        """
        contact = parse_uri(node_id) if isinstance(node_id, str) else node_id
        if not isinstance(contact, Key | Contact):
            raise LocalError(
                "a node is the dht.Key in its id, a dht.Contact or a dht:// URI, got "
                f"{node_id!r}; Key.from_hex() reads an id from text"
            )
        way = self._sending(via)
        reply = await self._pump.operate(
            Reply,
            self._engine.start_send,
            contact if isinstance(contact, Key) else contact.id,
            payload,
            topic=topic,
            contact=None if isinstance(contact, Key) else contact,
            **way,
        )
        return reply.payload

    async def serve(self, topic: str, handler: Handler, *, limit: int = 16) -> NoReturn:
        """Answers the messages of a topic: ``await handler(payload, sender)`` gives the answer, up
        to 800 bytes; ``sender`` is the ``id`` of the node that sent it, and proved.

        Runs until it is cancelled, at most ``limit`` handlers at once, all in the caller's task and
        tasks below it. What a handler raises ends it and is raised as it was; ``NodeClosed`` when
        the node ends. ``LocalError`` if the topic is served already.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= LIMIT_MAX:
            raise LocalError(f"limit is a number from 1 to {LIMIT_MAX}, got {limit!r}")
        if not callable(handler):
            raise LocalError(
                f"a handler is an async function of the payload and the sender, got {handler!r}"
            )
        await TopicServer(self._pump, topic, handler, limit).run()
        raise AssertionError("serving ends by being cancelled, or by an error")

    def events(self) -> EventStream:
        """What happens from now on: ``async with node.events() as events: async for ...``.

        The values are those of ``dht.core.events``. A reader that is too slow loses events, never
        slows the node, and finds an ``EventsLost`` that says how many. The stream ends when the
        node does. At most 64 at a time.
        """
        self._pump.check_open()
        return self._pump.subscribe()

    def stats(self) -> Stats:
        """A frozen snapshot of every counter and gauge."""
        self._pump.check_open()
        return stats_of(self._pump)

    def _place(self, key: _ApplicationKey, author: _Author | None) -> tuple[Kind, Key, bytes]:
        """The kind, the place and the name of the record that this author has under this key."""
        if author is None:
            return Kind.PLAIN, plain_key(key), b""
        name = record_name(key, self._network.id)
        return Kind.SIGNED, signed_key(AuthorId.of(author).public_key, name), name

    async def _fetch(
        self,
        kind: Kind,
        key: Key,
        *,
        quorum: int,
        via: str | Via | None,
        fallback: str | Via | None = None,
    ) -> GetOutcome:
        if fallback is not None and quorum != 1:
            raise LocalError(
                f"fallback={fallback!r} with quorum={quorum!r}: a quorum counts owners, and a "
                "search that falls back knows none, so too few of them would end it before it "
                "did: leave one of the two out"
            )
        second = None if fallback is None else self._getting(fallback, quorum=1, option="fallback")
        start = self._getting(via, quorum=quorum)
        first: GetOutcome | None = None
        try:
            first = await self._pump.operate(GetOutcome, start, kind, key)
        except NoPeers:
            if second is None:
                raise
        if first is not None and (second is None or _answers(first)):
            return first
        assert second is not None
        try:
            outcome = await self._pump.operate(GetOutcome, second, kind, key)
        except NoPeers:
            if first is None:
                raise
            return first
        return outcome if first is None else _with_costs_of(first, outcome)

    def _via(self, via: str | Via | None, option: str = "via") -> Via:
        """The search that was chosen, or else the one that fits the overlay we live in."""
        if via is None:
            via = "walk" if self._engine.overlay == "unstructured" else "structured"
        chosen = search_via(via, option=option)
        elsewhere = "unstructured" if isinstance(chosen, Structured) else "structured"
        if self._engine.overlay == elsewhere:
            raise LocalError(
                f"{option}={via!r} needs another overlay: this node was opened with "
                f"overlay={elsewhere!r}; open it with overlay='both'"
            )
        return chosen

    def _via_of_record(self, via: str | Via | None, option: str = "via") -> Via:
        """The same, for a record: an answer to a message alone can come directly by distance."""
        chosen = self._via(via, option)
        if isinstance(chosen, Structured) and chosen.reply != "path":
            raise LocalError(
                f"reply= of Structured is for send(): a record comes back along the path; leave "
                f"it out of {option}={via!r}"
            )
        return chosen

    def _sending(self, via: str | Structured | Walk | None) -> dict[str, Any]:
        """How a message goes, in the engine's words."""
        if via is not None and not isinstance(search_via(via), Structured | Walk):
            raise LocalError(f"a message goes by the routing table or on a walk, got via={via!r}")
        search = self._via(via)
        if isinstance(search, Walk):
            return {"walk": search}
        assert isinstance(search, Structured)
        if search.disjoint > 1:
            raise LocalError(f"a message goes one way: leave disjoint= out of {via!r}")
        if via is None or isinstance(via, str):
            search = RECURSIVE
        return {"routing": search.routing, "reply": search.reply}

    def _getting(
        self,
        via: str | Via | None,
        *,
        quorum: int,
        shared: Shared | None = None,
        option: str = "via",
    ) -> Callable[..., OperationId]:
        """What starts a get; it takes the time, the kind and the key."""
        chosen = self._via_of_record(via, option)
        if isinstance(chosen, Structured):
            return partial(
                self._engine.start_get,
                quorum=quorum,
                disjoint=chosen.disjoint,
                routing=chosen.routing,
                shared=shared,
            )
        if quorum != 1:
            raise LocalError(
                "quorum counts owners, and there are none in the unstructured overlay: leave it "
                f"at 1 with via={via!r}, got {quorum!r}"
            )
        return partial(self._engine.start_search, via=chosen)

    def _putting(
        self,
        via: str | Via | None,
        *,
        if_version: int | None = None,
        replicas: int | None = None,
        quorum: int | None = None,
        shared: Shared | None = None,
    ) -> Callable[..., OperationId]:
        """What starts a put; it takes the time, the kind, the key, the value and so on."""
        chosen = self._via_of_record(via)
        if isinstance(chosen, Structured):
            return partial(
                self._engine.start_put,
                if_version=if_version,
                replicas=replicas,
                quorum=quorum,
                disjoint=chosen.disjoint,
                routing=chosen.routing,
                shared=shared,
            )
        for name, value in (
            ("if_version", if_version),
            ("replicas", replicas),
            ("quorum", quorum),
        ):
            if value is not None:
                raise LocalError(
                    f"{name} is for owners, and there are none in the unstructured overlay: leave "
                    f"it out with via={via!r} (its placement says how many copies), got {value!r}"
                )
        return partial(self._engine.start_place, via=chosen)


@asynccontextmanager
async def open_node(
    listen: str | Iterable[str] = "0.0.0.0:0",
    *,
    bootstrap: str | Introducer | Iterable[str | Introducer] = (),
    network: str = "main",
    network_key: bytes | Sequence[bytes] | None = None,
    identity: Identity | PathLike | None = None,
    data_dir: PathLike | None = None,
    advertise: str | Iterable[str] = (),
    client: bool | None = None,
    overlay: str = "structured",
    config: Config = Config(),
) -> AsyncIterator[Node]:
    """A node that runs while the ``async with`` block does.

    ``listen``: one or several ``'host:port'``, IPv4 and IPv6; port 0 takes a free one, and a
    wildcard listens on every interface of its family. ``bootstrap``: nodes of the network to join,
    as ``dht://`` URIs, contacts or ``'host:port'``; without any it is a network of one. The block
    begins when the node has joined, or when its first attempt has failed: it goes on trying by
    itself, and until it succeeds operations raise ``NoPeers``.

    ``network``: its name; two networks never mix. ``network_key``: 32 secret bytes that its
    members have, or several, of which it speaks with the first. ``identity``: an ``Identity``, the
    path of a key file, or else the one in ``data_dir``, or a fresh one. ``data_dir``: a directory
    that keeps the identity, the last port, and who answered at which ``host:port``, for this node
    alone; without one nothing touches the disk. ``advertise``: where others reach this node, if
    that is neither where it listens nor where they see its datagrams come from. ``client``: True
    asks, and never serves; False serves; None serves if strangers can reach it. On local addresses
    it does so at once, elsewhere when it has found out, by the help of others; ``stats()`` and
    ``events()`` say what it found. ``overlay``: "structured", where every key has its owners;
    "unstructured", where it is searched for; or "both".

    What the block raises arrives as it was raised, never in an exception group. Raises
    ``LocalError`` for arguments that cannot be, for an address that cannot be listened on, for a
    file that is not as it should be and for a ``host:port`` where another key answers than the
    one in ``data_dir``; and ``InternalError`` if the node itself crashes.
    """
    of_network = Network.named(network, network_key)
    _check_type("config", config, Config)
    if of_network.is_secret and not config.encrypted:
        raise LocalError("Config(encrypted=False) keeps no secret: leave network_key out")
    introducers = introducers_of(bootstrap, config)
    told = _addresses("advertise", advertise)
    for address in told:
        if not is_reachable(address):
            raise LocalError(f"advertise: nobody can be reached at {format_address(address)!r}")
    where = _addresses("listen", listen)
    if not where:
        raise LocalError(f"listen is one or several 'host:port', got {listen!r}")
    _check_type("client", client, bool, optional=True)
    if overlay not in OVERLAYS:
        names = ", ".join(map(repr, OVERLAYS))
        raise LocalError(f"overlay is one of {names}, got {overlay!r}")
    random = SystemRandom()
    directory = await open_data_dir(data_dir)
    try:
        own = await find_identity(identity, directory, random, config=config)
        author = await find_author(directory, random)
        port = await bind(where, directory)
        try:
            async with run_node(
                port,
                SystemClock(),
                random=random,
                bootstrap=introducers,
                network=of_network,
                identity=own,
                author=author,
                data_dir=directory,
                advertise=told,
                client=client,
                overlay=overlay,
                config=config,
            ) as node:
                yield node
        finally:
            port.close()
    finally:
        if directory is not None:
            directory.close()


@asynccontextmanager
async def run_node(
    port: DatagramPort,
    clock: Clock,
    *,
    random: Random,
    bootstrap: tuple[Introducer, ...] = (),
    identity: Identity | None = None,
    data_dir: DataDir | None = None,
    advertise: tuple[Address, ...] = (),
    client: bool | None = None,
    overlay: str = "structured",
    config: Config = Config(),
    network: Network = _MAIN,
    author: core_author.Author | None = None,
) -> AsyncIterator[Node]:
    """``open_node`` over any port and clock: real ones, or those of a simulated network.

    There is no nursery inside, so that nothing can turn what the block raises into a group: the
    waiting is done by a system task (``watch``), and everything else by plain functions.
    """
    identity = identity or Identity.generate(random)
    author = author or Author.generate(random)
    addresses = advertise or tuple(port.addresses)
    families = {is_ipv6(address) for address in port.addresses}
    engine = Engine(
        identity=identity,
        contact=contact_at(identity.public_key, addresses[0]),
        channel=_channel(identity, network, random, encrypted=config.encrypted),
        random=random,
        config=config,
        bootstrap=bootstrap,
        remembered=None if data_dir is None else dict(data_dir.known_nodes),
        client=client,
        overlay=overlay,
        advertised=bool(advertise),
        families=(WANT_IPV4 if False in families else 0) | (WANT_IPV6 if True in families else 0),
        private_network=network.is_secret,
        network=network,
    )
    pump = Pump(engine, port, clock)
    names = [each for each in bootstrap if isinstance(each, HostName)]
    errands = Errands(pump, names=names, families=families, data_dir=data_dir)
    with trio.CancelScope() as scope:
        try:
            pump.open(on_crash=scope.cancel)
            errands.begin()
            await pump.first_attempt.wait()
            if data_dir is not None and not engine.joined:
                refuse_changed_keys(engine.changed_keys, data_dir)
            yield Node(pump, identity, addresses, author=author, network=network)
        finally:
            pump.close()
            await errands.end()
    if pump.crashed is not None:
        raise InternalError("the node crashed: please report it") from pump.crashed


def _channel(identity: Identity, network: Network, random: Random, *, encrypted: bool) -> Channel:
    if encrypted:
        return SecureChannel(identity, network, random)
    return PlainChannel(identity.public_key, network=network, random=random)


def _value(outcome: GetOutcome, default: _T | None) -> bytes | _T | None:
    return default if outcome.record is None else outcome.record.value


def _answers(outcome: GetOutcome) -> bool:
    """Did it find something, if only that the record was deleted?"""
    return outcome.record is not None or outcome.deleted is not None


def _with_costs_of(first: GetOutcome, second: GetOutcome) -> GetOutcome:
    """What the second search found, and what both of them took."""
    trace = attrs.evolve(
        second.trace,
        messages=first.trace.messages + second.trace.messages,
        elapsed=first.trace.elapsed + second.trace.elapsed,
    )
    return attrs.evolve(second, trace=trace)


def _outcomes(
    outcome_type: type[_OutcomeT], keys: Iterable[_KeyT], finished: Iterable[OperationFinished]
) -> dict[_KeyT, _OutcomeT]:
    """What became of each key. Raises ``QuorumNotReached`` if some missed their quorum."""
    outcomes: dict[_KeyT, _OutcomeT] = {}
    missed: list[QuorumNotReached] = []
    for key, event in zip(keys, finished, strict=True):
        outcome = event.outcome
        if isinstance(event.error, QuorumNotReached):
            missed.append(event.error)
            outcome = event.error.outcome
        elif event.error is not None:
            raise event.error
        assert isinstance(outcome, outcome_type)
        outcomes[key] = outcome
    if missed:
        raise QuorumNotReached(
            f"{len(missed)} of {len(outcomes)} missed their quorum; the first: {missed[0]}",
            missed[0].outcome,
            outcomes,
        )
    return outcomes


def _addresses(name: str, given: str | Iterable[str]) -> tuple[Address, ...]:
    return tuple(map(parse_address, [given] if isinstance(given, str) else _items(name, given)))


def _items(name: str, given: Iterable[_T]) -> list[_T]:
    if isinstance(given, Iterable) and not isinstance(given, bytes):
        return list(given)
    raise LocalError(f"{name}: several are expected, in any iterable, got {given!r}")


def _values(items: Mapping[_KeyT, bytes] | Iterable[tuple[_KeyT, bytes]]) -> dict[_KeyT, bytes]:
    try:
        return dict(items)
    except (TypeError, ValueError):
        raise LocalError(f"items map keys to values, or are pairs of both, got {items!r}") from None


def _check_type(name: str, value: object, wanted: type, *, optional: bool = False) -> None:
    if not isinstance(value, wanted) and not (optional and value is None):
        kind = wanted.__name__ if wanted is bool else f"dht.{wanted.__name__}"
        raise LocalError(f"{name} is a {kind}, got {value!r}")
