"""The real engine in virtual time: a whole network in one process, the same from one seed.

    simulator = Simulator(seed=1)
    nodes = simulator.grow(100)
    simulator.put(nodes[3], "greeting", b"hello")
    assert simulator.get(nodes[70], "greeting").value == b"hello"

Everything about *nodes* in a simulation is here: who they are, how they start, crash and come
back, and how an operation of one is waited for. Time and links are in ``world`` and ``links``.
"""

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any, TypeVar, final

import attrs

from ..config import Config
from ..contacts import Address, Contact, contact_at, pack_address
from ..core.channel.plain import PlainChannel
from ..core.channel.secure import SecureChannel
from ..core.engine import Engine
from ..core.events import OperationFinished, OperationId
from ..core.outcomes import GetOutcome, LookupOutcome, PutOutcome
from ..core.storage import Storage
from ..errors import InternalError, LocalError, NodeClosed
from ..identity import Identity
from ..keyspace import Key, plain_key
from ..network import Network
from ..records import Kind, Record
from .links import WIDE_AREA, LinkModel
from .nat import LIFETIME_S, Nat, NatKind
from .world import Machine, Member, World

#: What the wall clock says at virtual time 0 (14 November 2023), so that versions look real.
EPOCH_S = 1_700_000_000.0

PORT = 4000
# Node i lives in a /24 of its own, from 1.0.0.1 on; 10.0.0.0/8 and all behind it is not reached.
_FIRST_PUBLIC = 0x01_00_00_01
_FIRST_LOCAL = 0x0A_00_00_01
# So do NATs, from 11.0.0.1 on; who is behind one has an address of the local range.
_FIRST_NAT = 0x0B_00_00_01
_NODES_MAX = 9 * 2**16

_NETWORK = Network.named("sim")

#: Starts an operation: given the engine and the time, it returns the operation's id.
Start = Callable[[Engine, float], OperationId]


@final
@attrs.define(eq=False, kw_only=True)
class SimNode(Member):
    """One simulated node. It keeps its identity and address over crashes and restarts."""

    identity: Identity = attrs.field(repr=False)
    contact: Contact
    config: Config = attrs.field(repr=False)
    #: None: it finds out whether it is reached.
    client: bool | None
    #: "structured", "unstructured" or "both".
    overlay: str
    #: Its wall clock is this many seconds ahead of everybody's.
    skew_s: float
    #: How often it was started: a caller who remembers it can tell that it crashed in between.
    starts: int = 0
    #: Since when it has the store that it has: a restart without the old one begins anew.
    store_since: float = 0.0
    #: What its disk would hold, between a crash and the restart.
    disk: Storage | None = attrs.field(default=None, repr=False)
    #: Operations under way, and whom to tell.
    waiting: dict[OperationId, Callable[[OperationFinished], None]] = attrs.field(
        init=False, factory=dict, repr=False
    )

    @property
    def engine(self) -> Engine:
        """The engine that runs here. Raises ``NodeClosed`` after a crash."""
        if self.machine is None:
            raise NodeClosed(f"node {self.index} is not running: it crashed or left")
        assert isinstance(self.machine, Engine)
        return self.machine


@final
class Simulator(World[SimNode]):
    """A network of simulated nodes. One seed decides everything that happens in it.

    ``local``: the nodes have private addresses (10.x) instead of a public /24 each; ``addresses``
    gives each index another one. ``config`` is that of nodes which are not given another.
    ``private_network``: everybody trusts everybody, as with a network key, so plain records are
    taken everywhere. ``encrypted``: they speak as nodes outside do, which takes a few times as
    long; their ``Config.encrypted`` counts for nothing here. ``overlay``: where nodes live that are
    not told otherwise, "structured", "unstructured" or "both".
    """

    def __init__(
        self,
        seed: int,
        *,
        links: LinkModel = WIDE_AREA,
        config: Config = Config(),
        local: bool = False,
        private_network: bool = True,
        encrypted: bool = False,
        addresses: Callable[[int], Address] | None = None,
        overlay: str = "structured",
    ) -> None:
        super().__init__(seed, links=links)
        self.config = config
        self.local = local
        self.private_network = private_network
        self.encrypted = encrypted
        self.overlay = overlay
        self._addresses = addresses
        self._random = Random(f"{seed} nodes")
        self._running: dict[int, SimNode] = {}
        self._nats_made = 0
        self.observers.append(self._hear)

    @property
    def nodes(self) -> Sequence[SimNode]:
        """All nodes that ever were, by index."""
        return self.members

    def living(self) -> list[SimNode]:
        """The nodes that run, by index."""
        return [self.members[index] for index in sorted(self._running)]

    def random_node(self) -> SimNode:
        """One of those that run and are awake, drawn from the seed. ``LocalError``: none is."""
        if not (awake := [node for node in self.living() if not node.asleep]):
            raise LocalError("no node is running and awake: add one first")
        return self._random.choice(awake)

    # ---- nodes come and go ----

    def add_node(
        self,
        *,
        bootstrap: Sequence[Contact] | None = None,
        client: bool | None = False,
        config: Config | None = None,
        address: Address | None = None,
        skew_s: float = 0.0,
        nat: Nat | None = None,
        overlay: str | None = None,
    ) -> SimNode:
        """A new node, which begins to join at once; with ``nat`` behind that one.

        ``bootstrap=None`` takes one random node, if possible one that runs and is awake; the very
        first starts a network of one, and so does ``bootstrap=()``.
        """
        index = len(self.members)
        if address is None:
            address = self._address(index, local=self.local or nat is not None)
        if bootstrap is None:
            bootstrap = self._introducers()
        identity = Identity.generate(self._random)
        node = SimNode(
            index=index,
            address=address,
            identity=identity,
            contact=contact_at(identity.public_key, address),
            config=self.config if config is None else config,
            client=client,
            overlay=overlay or self.overlay,
            skew_s=skew_s,
            nat=nat,
        )
        self.settle_in(node)
        self._start(node, bootstrap)
        return node

    def add_nat(self, kind: NatKind, *, lifetime_s: float = LIFETIME_S) -> Nat:
        """A new NAT with a public address of its own, for nodes to be put behind."""
        ip = (_FIRST_NAT + (self._nats_made << 8)).to_bytes(4)
        self._nats_made += 1
        return Nat(kind, ip, lifetime_s)

    def grow(
        self,
        count: int,
        *,
        at_once: int | None = None,
        timeout_s: float = 60.0,
        progress: Callable[[int], None] | None = None,
    ) -> list[SimNode]:
        """Add ``count`` nodes, a few at a time, each when those before it have joined.

        ``at_once`` is by default an eighth of those that are there. ``progress`` is called with
        how many have joined. Raises ``InternalError`` if some have not after ``timeout_s``.
        """
        new: list[SimNode] = []
        while len(new) < count:
            batch = at_once or max(1, len(self.members) // 8)
            batch = min(batch, count - len(new))
            joining = [self.add_node() for _ in range(batch)]
            new += joining
            self._await_joined(joining, timeout_s)
            if progress is not None:
                progress(len(new))
        return new

    def _await_joined(self, nodes: Sequence[SimNode], timeout_s: float) -> None:
        out = [node.engine for node in reversed(nodes)]

        def anybody_out() -> bool:
            while out and out[-1].joined:
                out.pop()  # so that this is cheap to ask after every event
            return bool(out)

        if not self.run_while(anybody_out, timeout_s=timeout_s):
            late = [node.index for node in nodes if not node.engine.joined]
            raise InternalError(f"after {timeout_s:g} s these nodes have not joined: {late}")

    def crash(self, node: SimNode, *, for_good: bool = False) -> None:
        """From now on the node sends nothing and hears nothing; its operations never end.

        What its disk would hold is kept for ``restart``, unless it went ``for_good``.
        """
        store = node.engine.storage
        node.disk = None if for_good else store
        del self._running[node.index]
        node.machine = None
        node.asleep = False
        node.waiting.clear()

    def replace(self, node: SimNode, machine: Machine) -> None:
        """From now on another machine runs in the place of a node's engine. It is no node of the
        network any more as far as ``living`` and ``random_node`` are concerned."""
        node.engine  # noqa: B018 - raises ``NodeClosed`` if there is nothing to replace
        del self._running[node.index]
        node.machine = machine
        self.poll(node)

    def add_machine(self, machine: Machine, *, address: Address) -> SimNode:
        """Somebody who is no node of the network lives at an address of this world."""
        identity = Identity.generate(self._random)
        member = SimNode(
            index=len(self.members),
            address=address,
            identity=identity,
            contact=contact_at(identity.public_key, address),
            config=self.config,
            client=True,
            overlay=self.overlay,
            skew_s=0.0,
            machine=machine,
        )
        self.settle_in(member)
        self.poll(member)
        return member

    def leave(self, node: SimNode) -> None:
        """The node says good-bye as ``start_leave`` does, and is gone for good."""
        node.engine.start_leave(self.now)
        self.poll(node)
        self.crash(node, for_good=True)

    def restart(
        self,
        node: SimNode,
        *,
        keep_store: bool = False,
        bootstrap: Sequence[Contact] | None = None,
    ) -> None:
        """Start a crashed node again: same identity and address, empty routing table.

        ``keep_store``: with what its disk held. ``bootstrap`` is as in ``add_node``.
        """
        if node.alive:
            raise LocalError(f"node {node.index} is running; crash it before it can restart")
        if keep_store and node.disk is None:
            raise LocalError(f"node {node.index} crashed for good: its store was not kept")
        if bootstrap is None:
            bootstrap = self._introducers(node)
        disk, node.disk = node.disk, None
        self._start(node, bootstrap, disk if keep_store else None)

    def _introducers(self, node: SimNode | None = None) -> list[Contact]:
        """Somebody who runs and is awake; or else runs, or else once did: it may come back."""
        running = [other for other in self.living() if other.nat is None]
        choice = [other for other in running if not other.asleep] or running
        choice = choice or [other for other in self.members if other is not node]
        return [self._random.choice(choice).contact] if choice else []

    def _start(
        self, node: SimNode, bootstrap: Sequence[Contact], disk: Storage | None = None
    ) -> None:
        random = Random(self._random.getrandbits(64))
        engine = Engine(
            identity=node.identity,
            random=random,
            config=node.config,
            contact=node.contact,
            channel=SecureChannel(node.identity, _NETWORK, random)
            if self.encrypted
            else PlainChannel(node.identity.public_key, random=Random(node.identity.public_key)),
            bootstrap=bootstrap,
            client=node.client,
            private_network=self.private_network,
            overlay=node.overlay,
            network=_NETWORK,
        )
        node.machine = engine
        self._running[node.index] = node
        node.starts += 1
        engine.set_wall_offset(self.now, EPOCH_S + node.skew_s)
        engine.start(self.now)
        if disk is None:
            node.store_since = self.now
        else:
            _load(engine, self.now, disk)
        self.poll(node)

    def set_skew(self, node: SimNode, skew_s: float) -> None:
        """Somebody sets the node's wall clock: from now on it is so far ahead of the others'."""
        node.skew_s = skew_s
        node.engine.set_wall_offset(self.now, EPOCH_S + skew_s)
        self.poll(node)

    def _address(self, index: int, *, local: bool) -> Address:
        if self._addresses is not None and not local:
            return self._addresses(index)
        if index >= _NODES_MAX:
            raise LocalError(f"addresses for {_NODES_MAX} nodes are there, pass address= for more")
        ip = _FIRST_LOCAL + index if local else _FIRST_PUBLIC + (index << 8)
        return pack_address(".".join(map(str, ip.to_bytes(4))), PORT)

    # ---- operations ----

    def start_operation(
        self,
        node: SimNode,
        start: Start,
        on_finished: Callable[[OperationFinished], None],
    ) -> OperationId:
        """Begin an operation; ``on_finished`` is called when it ends, not if the node crashes."""
        operation_id = start(node.engine, self.now)
        node.waiting[operation_id] = on_finished
        self.poll(node)
        return operation_id

    def run_operation(
        self, node: SimNode, start: Start, *, timeout_s: float = 60.0
    ) -> OperationFinished:
        """Begin an operation and run until it ended. For the exceptions see ``run_operations``.

        ``simulator.run_operation(node, lambda engine, now: engine.start_lookup(now, target))``
        """
        return self.run_operations([(node, start)], timeout_s=timeout_s)[0]

    def run_operations(
        self, operations: Iterable[tuple[SimNode, Start]], *, timeout_s: float = 60.0
    ) -> list[OperationFinished]:
        """Begin all at this instant and run until the last ended; results in the order given.

        Raises ``NodeClosed`` if a node crashed before its operation ended, ``TimeoutError`` if one
        has not ended after ``timeout_s`` of virtual time, ``LocalError`` if one cannot begin.
        """
        ended: dict[int, OperationFinished] = {}
        begun: list[tuple[SimNode, int]] = []
        for number, (node, start) in enumerate(operations):
            begun.append((node, node.starts))
            self.start_operation(
                node,
                start,
                lambda event, number=number: ended.__setitem__(number, event),  # type: ignore[misc]
            )
        if not self.run_while(lambda: len(ended) < len(begun), timeout_s=timeout_s):
            number = next(number for number in range(len(begun)) if number not in ended)
            node, starts = begun[number]
            if not node.alive or node.starts != starts:
                raise NodeClosed(f"node {node.index} crashed before its operation ended")
            raise TimeoutError(
                f"an operation of node {node.index} has not ended after {timeout_s:g} s of "
                f"virtual time"
            )
        return [ended[number] for number in range(len(begun))]

    def put(
        self, node: SimNode, key: str | bytes | Key, value: bytes, **options: Any
    ) -> PutOutcome:
        """Put a plain record and run until that ended; ``options`` as ``Engine.start_put`` has.

        Raises what the operation ended with: ``QuorumNotReached``, ``VersionConflict``, ...
        """
        place = plain_key(key)
        return _outcome(
            PutOutcome,
            self.run_operation(
                node,
                lambda engine, now: engine.start_put(now, Kind.PLAIN, place, value, **options),
            ),
        )

    def delete(self, node: SimNode, key: str | bytes | Key, **options: Any) -> PutOutcome:
        """Delete a plain record, as ``put`` does."""
        return self.put(node, key, b"", tombstone=True, **options)

    def get(self, node: SimNode, key: str | bytes | Key, **options: Any) -> GetOutcome:
        """Get a plain record and run until that ended; ``options`` as ``Engine.start_get`` has."""
        place = plain_key(key)
        return _outcome(
            GetOutcome,
            self.run_operation(
                node, lambda engine, now: engine.start_get(now, Kind.PLAIN, place, **options)
            ),
        )

    def lookup(self, node: SimNode, target: Key, **options: Any) -> LookupOutcome:
        """Find the contacts nearest to ``target``; ``options`` as ``Engine.start_lookup`` has."""
        return _outcome(
            LookupOutcome,
            self.run_operation(
                node, lambda engine, now: engine.start_lookup(now, target, **options)
            ),
        )

    def holders(self, kind: Kind, key: int, author: bytes = b"") -> list[tuple[SimNode, Record]]:
        """Who holds what of a slot, as only a simulator can know it: living nodes, by index. A
        member's slot has its author's public key as well."""
        found = []
        for node in self.living():
            held = node.engine.storage.get(self.now, kind, key, author)
            if held is not None:
                found.append((node, held.record))
        return found

    def _hear(self, node: SimNode, event: object) -> None:
        if isinstance(event, OperationFinished):
            on_finished = node.waiting.pop(event.operation_id, None)
            if on_finished is not None:
                on_finished(event)


def _load(engine: Engine, now: float, disk: Storage) -> None:
    """A node that starts takes what its disk holds as what it kept all along."""
    start: int | None = None
    while True:
        records, start = disk.keys_near(0, 0, start=start, limit=256)
        for first in records:
            record = first.record
            topic = record.kind is Kind.MEMBER
            for held in disk.members(now, record.key) if topic else [first]:
                remaining_ms = int((held.deadline - now) * 1000)
                if remaining_ms > 0:
                    engine.restore(now, held.record, remaining_ms)
        if start is None:
            return


_T = TypeVar("_T", PutOutcome, GetOutcome, LookupOutcome)


def _outcome(kind: type[_T], finished: OperationFinished) -> _T:
    if finished.error is not None:
        raise finished.error
    assert isinstance(finished.outcome, kind)
    return finished.outcome
