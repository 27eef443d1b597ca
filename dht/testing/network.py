"""``SimulatedNetwork``: nodes that run as they do on real sockets, on a network that is simulated.

The shell, the engine and the user's own tasks are the real ones, in one trio run on a clock that
jumps; only datagrams are carried by ``Wire``. The same seed gives the same run.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple, final

import attrs
import trio
import trio.testing

from ..author import Author
from ..config import Config
from ..contacts import Address, Contact, HostName, Introducer, is_reachable, parse_address
from ..errors import LocalError
from ..identity import Identity
from ..network import Network
from ..shell.node import Node, run_node
from ..shell.opening import PathLike, introducers_of
from ..sim.faults import Fault
from ..sim.links import WIDE_AREA, LinkModel
from ..sim.scenario import SCENARIO_CONFIG, settle_s
from .history import History
from .machines import Life, Machine, apart, refuse_what_cannot_be
from .recording import RecordedNode
from .running import CALL_MAX_S, Dice, GuestRun
from .schedule import play
from .wire import VirtualClock, Wire

#: What nodes of a simulated network get unless told: upkeep that shows in minutes what days of the
#: default show, and datagrams in the clear, which take a fifth of the time that sealed ones do.
QUICK_CONFIG = attrs.evolve(SCENARIO_CONFIG, encrypted=False)
#: How many nodes a newcomer is told of that was told of none.
_INTRODUCERS = 3

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")
_AnyNode = Node | RecordedNode


@final
class SimulatedNetwork:
    """A network of nodes in virtual time, with faults on command.

    Two ways to drive it. From a plain function, ``with SimulatedNetwork(seed) as network:`` and
    then ``network.run(async_fn, *args)``: time passes while a call is under way and stands still
    between two. Or inside of a ``trio.run`` with an autojump clock,
    ``async with SimulatedNetwork(seed) as network:``, and everything is awaited as usual.

    Faults are plain methods that may be called from anywhere and hold until ``heal``. ``links`` are
    the rates and delays of the network; ``config`` is what nodes get that are given none.
    """

    def __init__(
        self, seed: int = 0, *, links: LinkModel = WIDE_AREA, config: Config = QUICK_CONFIG
    ) -> None:
        self.seed = seed
        self.config = config
        #: What ``recorded`` nodes were asked and answered, and every fault.
        self.history = History()
        self._wire = Wire(seed, links)
        if not links.gentle:
            self.history.fault(0.0, f"links: {_rates(links)}")
        self._dice = Dice(Random(f"{seed} scheduling"))
        self._guest: GuestRun | None = None
        self._attached = False
        self._failure: Exception | None = None
        self._machines: list[Machine] = []
        self._lives = 0
        self._all_gone: trio.Event | None = None

    def __repr__(self) -> str:
        up = sum(machine.up for machine in self._machines)
        return f"<SimulatedNetwork seed={self.seed}: {up} of {len(self._machines)} nodes run>"

    # ---- driving it ----

    def run(
        self,
        async_fn: Callable[[*_Ts], Awaitable[_T]],
        *args: *_Ts,
        timeout_s: float = CALL_MAX_S,
    ) -> _T:
        """Runs it to its end, from a plain function; what it returns, or raises as it was raised.

        ``functools.partial`` passes keywords. Raises ``TimeoutError`` after ``timeout_s`` virtual
        seconds: nothing waits for ever here. What a ``start_soon`` task raised is raised too.
        """
        __tracebackhide__ = True
        return self._driver().call(async_fn, args, timeout_s=timeout_s)

    def start_soon(
        self, async_fn: Callable[[*_Ts], Awaitable[object]], *args: *_Ts, name: object = None
    ) -> None:
        """A task that lives on between calls of ``run``, such as a program under test."""
        self._driver().start_soon(async_fn, args, name)

    def close(self) -> None:
        """Ends every task and node. Idempotent; ``with`` does it."""
        if self._guest is not None:
            self._guest.close()

    def __enter__(self) -> Self:
        self._driver()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception as second:
            if error is None:
                raise
            error.add_note(f"closing the simulated network raised {second!r}")

    async def __aenter__(self) -> Self:
        if self._guest is not None or self._attached:
            raise LocalError("this simulated network is in use already; make another")
        if not isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock):
            raise LocalError(
                "a simulated network lives in virtual time: "
                "trio.run(..., clock=trio.testing.MockClock(autojump_threshold=0))"
            )
        self._attached = True
        self._rolled = self._dice.rolled()
        self._rolled.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            self._all_gone = trio.Event()
            for machine in self._machines:
                if machine.life is not None:
                    machine.life.gone.set()
            if self._lives:
                with trio.CancelScope(shield=True):  # it takes no time
                    await self._all_gone.wait()
        finally:
            self._rolled.__exit__(None, None, None)
        if error is None and self._failure is not None:
            raise self._failure

    def _driver(self) -> GuestRun:
        if self._attached:
            raise LocalError("inside of a trio run you await, as in `await node.get(key)`")
        if self._guest is None:
            self._guest = GuestRun(self._dice)
        return self._guest

    @property
    def now(self) -> float:
        """Virtual seconds, as ``trio.current_time()``."""
        if self._guest is None and not self._attached:
            return 0.0
        if self._guest is not None and self._guest.over:
            raise LocalError("the simulated network is closed")
        return trio.current_time()

    def trace_hash(self) -> str:
        """A hash over every datagram that was sent, and when: two runs with the same one are the
        same, as far as nodes can tell."""
        return self._wire.trace_hash()

    # ---- nodes ----

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that run, in the order in which they were first opened."""
        joined = [each for each in self._machines if each.up and each.joined]
        return tuple(each.node for each in joined if each.node is not None)

    @asynccontextmanager
    async def open_node(
        self,
        listen: str | Iterable[str] = "0.0.0.0:0",
        *,
        bootstrap: str | Introducer | Iterable[str | Introducer] | None = None,
        network: str = "main",
        network_key: bytes | Sequence[bytes] | None = None,
        identity: Identity | None = None,
        data_dir: PathLike | None = None,
        advertise: str | Iterable[str] = (),
        client: bool | None = None,
        overlay: str = "structured",
        config: Config | None = None,
    ) -> AsyncIterator[Node]:
        """``dht.open_node`` on this network: the same keywords, the same block.

        ``bootstrap=None`` joins the first nodes that run; ``()`` is a network of one. ``data_dir``
        and the path of a key file are refused: nothing here touches the disk. ``config=None`` is
        the network's, sealed where there is a ``network_key``.
        """
        machine = self._add_machine(
            listen,
            bootstrap=bootstrap,
            network=Network.named(network, network_key),
            identity=identity,
            data_dir=data_dir,
            advertise=advertise,
            client=client,
            overlay=overlay,
            config=config,
        )
        async with self._running(machine) as node:
            yield node

    @property
    def count(self) -> int:
        """How many nodes were ever opened; restarts do not count."""
        return len(self._machines)

    def node(self, number: int) -> Node:
        """The node that was opened as number so-and-so, from 0; after a restart the new one."""
        if not 0 <= number < len(self._machines) or self._machines[number].node is None:
            raise LocalError(f"there is no node number {number} among {len(self._machines)}")
        node = self._machines[number].node
        assert node is not None
        return node

    def is_up(self, node: _AnyNode) -> bool:
        """Does it run? (It may be suspended, cut off, or on its way back.)"""
        return self._machine_of(node).up

    async def add_node(self, listen: str | Iterable[str] = "0.0.0.0:0", **options: Any) -> Node:
        """A node that lives until it is crashed or the network is closed.

        Takes what ``open_node`` takes, and returns when that would.
        """
        of_network = Network.named(options.pop("network", "main"), options.pop("network_key", None))
        blank: dict[str, Any] = {
            **dict.fromkeys(("bootstrap", "identity", "data_dir", "client", "config")),
            "advertise": (),
            "overlay": "structured",
        }
        if unknown := [name for name in options if name not in blank]:
            raise TypeError(f"open_node() has no parameter {unknown[0]!r}")
        machine = self._add_machine(listen, network=of_network, **{**blank, **options})
        return await self._hold(machine)

    async def add_nodes(self, count: int, **options: Any) -> list[Node]:
        """So many nodes, one after the other."""
        return [await self.add_node(**options) for _ in range(count)]

    def recorded(self, node: _AnyNode) -> RecordedNode:
        """The same node; whatever is asked of it through this face is in ``history``."""
        machine = self._machine_of(node)
        if isinstance(node, RecordedNode):
            return node
        return RecordedNode(
            node, self.history, name=machine.name, overlay=machine.options["overlay"]
        )

    def _add_machine(
        self,
        listen: str | Iterable[str],
        *,
        bootstrap: Any,
        network: Network,
        identity: Identity | None,
        data_dir: PathLike | None,
        advertise: str | Iterable[str],
        client: bool | None,
        overlay: str,
        config: Config | None,
    ) -> Machine:
        if config is None:
            sealed = self.config.encrypted or network.is_secret
            config = attrs.evolve(self.config, encrypted=sealed)
        refuse_what_cannot_be(
            network=network, overlay=overlay, identity=identity, data_dir=data_dir, config=config
        )
        known = None if bootstrap is None else introducers_of(bootstrap, config)
        for each in known or ():
            if isinstance(each, HostName):
                raise LocalError(f"a simulated network has no names: give {each} as an IP address")
        told = _addresses(advertise)
        if unreachable := [each for each in told if not is_reachable(each)]:
            raise LocalError(f"advertise: nobody can be reached at {unreachable[0]!r}")
        random = Random(f"{self.seed} machine {len(self._machines)}")
        machine = Machine(
            number=len(self._machines),
            endpoint=self._wire.links.join(),
            addresses=self._wire.choose(_addresses(listen)),
            clock=VirtualClock(),
            network=network,
            bootstrap=known,
            options={
                "identity": identity
                or Identity.generate(random, puzzle_bits=config.id_puzzle_bits),
                "author": Author.generate(random),
                "advertise": told,
                "client": client,
                "overlay": overlay,
                "config": config,
            },
        )
        self._machines.append(machine)
        return machine

    @asynccontextmanager
    async def _running(self, machine: Machine) -> AsyncIterator[Node]:
        port = self._wire.open_port(machine.endpoint, machine.addresses, machine.clock)
        machine.port, machine.joined = port, False
        machine.starts += 1
        known = self._introducers(machine) if machine.bootstrap is None else machine.bootstrap
        try:
            async with run_node(
                port,
                machine.clock,
                random=Random(f"{self.seed} node {machine.number} start {machine.starts}"),
                bootstrap=known,
                network=machine.network,
                **machine.options,
            ) as node:
                machine.node, machine.joined = node, True
                yield node
        finally:
            if machine.port is port and machine.joined and not self._is_closing:
                self.history.lost(self.now, machine.id, f"{machine.name} is closed")
            port.close()

    @property
    def _is_closing(self) -> bool:
        return self._all_gone is not None or (self._guest is not None and self._guest.closing)

    def _introducers(self, newcomer: Machine) -> tuple[Contact, ...]:
        of_network = [
            machine
            for machine in self._machines
            if machine.up
            and machine is not newcomer
            and machine.network.id == newcomer.network.id
            and not machine.options["client"]
        ]
        return tuple(
            introducer
            for machine in of_network[:_INTRODUCERS]
            for introducer in introducers_of(machine.node.uri, self.config)  # type: ignore[union-attr]
            if isinstance(introducer, Contact)
        )

    async def _hold(self, machine: Machine) -> Node:
        """Runs the node in a task of the run itself, so that no nursery has to be around it."""
        life = self._begin(machine)
        try:
            await life.started.wait()
        except trio.Cancelled:
            life.gone.set()
            raise
        if life.refused is not None:
            raise life.refused
        assert machine.node is not None
        return machine.node

    def _begin(self, machine: Machine) -> Life:
        machine.life = life = Life()
        self._lives += 1
        trio.lowlevel.spawn_system_task(
            self._live, machine, life, name=f"dht.testing {machine.name}"
        )
        return life

    async def _live(self, machine: Machine, life: Life) -> None:
        try:
            async with self._running(machine):
                life.started.set()
                await life.gone.wait()
        except Exception as error:  # noqa: BLE001 - whoever asked for the node hears of it
            if life.started.is_set():
                self._fail(error)
            else:
                life.refused = error
        finally:
            life.started.set()
            self._lives -= 1
            if not self._lives and self._all_gone is not None:
                self._all_gone.set()

    def _fail(self, error: Exception) -> None:
        if self._guest is not None:
            self._guest.fail(error)
        else:
            self._failure = self._failure or error

    def _machine_of(self, node: _AnyNode) -> Machine:
        if not isinstance(node, Node | RecordedNode):
            raise LocalError(f"a node is what add_node() or node(0) returned, got {node!r}")
        plain = node.node if isinstance(node, RecordedNode) else node
        found = [each for each in self._machines if each.node and each.node.id == node.id]
        if not found:
            raise LocalError(f"{node!r} is no node of this network")
        # One identity may have been opened twice: that very node, or else the last one.
        return max(found, key=lambda machine: (machine.node is plain, machine.number))

    # ---- faults ----

    def crash(self, node: _AnyNode) -> None:
        """The node's process dies: it says nothing more, and what is asked of it raises
        ``NodeClosed``. Whoever waits for an operation of it gets that at once."""
        machine = self._machine_of(node)
        if not machine.up:
            raise LocalError(f"{machine.name} has crashed already")
        assert machine.port is not None
        assert machine.port.pump is not None
        self.history.lost(self.now, node.id, f"crash of {machine.name}")
        machine.joined = False
        machine.port.close()  # first: a dead process says no goodbye
        machine.port.pump.close()
        machine.clock.wake()
        if machine.life is not None:
            machine.life.gone.set()

    async def restart(self, node: _AnyNode) -> Node:
        """Starts a crashed node again, at its address: a new ``Node`` with the same ``id``.

        Kept is what was given to it or stands on a disk: identity, author, address, options. The
        records that it held are gone, as they are in memory, and so is whom it knew: unless it was
        opened with ``bootstrap``, it joins by whoever runs.
        """
        return await self._hold(self._restarting(node))

    def restart_soon(self, node: _AnyNode) -> None:
        """``restart`` that does not wait until it has joined."""
        self._begin(self._restarting(node))

    def _restarting(self, node: _AnyNode) -> Machine:
        machine = self._machine_of(node)
        if machine.up or not (machine.life is None or machine.life.started.is_set()):
            raise LocalError(f"{machine.name} runs; crash it before it can restart")
        self.history.note(self.now, f"restart of {machine.name}")
        return machine

    def suspend(self, node: _AnyNode) -> None:
        """Its machine sleeps like a closed laptop, until ``wake``: nothing gets in or out, no timer
        fires. Tasks of your program go on, and wait."""
        machine = self._machine_of(node)
        if not machine.up:
            raise LocalError(f"{machine.name} does not run, so it cannot sleep")
        self.history.fault(self.now, f"{machine.name} is suspended")
        machine.clock.sleep()

    def wake(self, node: _AnyNode) -> None:
        """The laptop is opened; the node notices how late it is."""
        self._machine_of(node).clock.wake()

    def partition(self, *groups: Iterable[_AnyNode], one_way: bool = False) -> None:
        """Nodes reach only those of their own group; who is named in none is in the first, so that
        ``partition([], group)`` cuts a group off from all others.

        ``one_way``: an earlier group still gets through to a later one, and hears nothing back.
        Replaces the partition that was there before; without groups there is none any more.
        """
        if any(isinstance(group, Node | RecordedNode) for group in groups):
            raise LocalError("a partition is between groups, as in partition([one, two], [three])")
        members = apart([[self._machine_of(node) for node in group] for group in groups])
        if members:
            named = " | ".join(
                ", ".join(each.name for each in group) or "all others" for group in members
            )
            self.history.fault(self.now, f"partition: {named}{' (one way)' if one_way else ''}")
        endpoints = [[machine.endpoint for machine in group] for group in members]
        self._wire.links.partition(*endpoints, one_way=one_way)

    def cut(self, sender: _AnyNode, receiver: _AnyNode) -> None:
        """Nothing gets from one to the other any more; the other way stays open."""
        here, there = self._machine_of(sender), self._machine_of(receiver)
        self.history.fault(self.now, f"cut from {here.name} to {there.name}")
        self._wire.links.cut(here.endpoint, there.endpoint)

    def mend(self, sender: _AnyNode, receiver: _AnyNode) -> None:
        """Undoes ``cut``."""
        here, there = self._machine_of(sender), self._machine_of(receiver)
        self._wire.links.mend(here.endpoint, there.endpoint)

    def silence(self, node: _AnyNode, *, mute: bool = True, deaf: bool = True) -> None:
        """What it sends is lost (mute), what it is sent is lost (deaf); with neither, no more."""
        machine = self._machine_of(node)
        if mute or deaf:
            self.history.fault(self.now, f"silence of {machine.name}")
        self._wire.links.silence(machine.endpoint, mute=mute, deaf=deaf)

    def skew(self, node: _AnyNode, seconds: float) -> None:
        """Its wall clock is so far ahead of the others' from now on; ``heal`` leaves it."""
        machine = self._machine_of(node)
        self.history.skewed(self.now, seconds, f"clock of {machine.name} {seconds:+g} s")
        machine.clock.skew_s = seconds

    @property
    def links(self) -> LinkModel:
        """The rates and delays that hold now; set it at any time."""
        return self._wire.links.model

    @links.setter
    def links(self, model: LinkModel) -> None:
        if not model.gentle:
            self.history.fault(self.now, f"links: {_rates(model)}")
        self._wire.links.model = model

    def heal(self) -> None:
        """Undoes everything but crashes and skewed clocks: cuts, partitions, silences, sleep, and
        what ``links`` loses, doubles, reorders and spoils."""
        self.history.note(self.now, "healed")
        self._wire.links.heal()
        for machine in self._machines:
            machine.clock.wake()

    async def play(self, faults: Iterable[Fault]) -> None:
        """Faults at their times, counted from now; returns when the last of them has ended.

        The numbers in them are places in the order in which nodes were opened. What cannot happen,
        as the crash of a node that is down, does not.
        """
        await play(self, faults)

    async def settle(self) -> None:
        """``heal``, and the time that upkeep takes until every key reads as its newest version;
        again, if something goes wrong meanwhile.

        From here on ``check`` holds the network to that, as long as nothing goes wrong again.
        """
        known = -1
        while known < 0 or self.history.disturbed_since(known):
            self.heal()
            known = len(self.history.entries)
            configs = [machine.options["config"] for machine in self._machines] or [self.config]
            await trio.sleep(max(map(settle_s, configs)))
        self.history.settled(self.now)


def _addresses(given: str | Iterable[str]) -> tuple[Address, ...]:
    return tuple(map(parse_address, [given] if isinstance(given, str) else given))


def _rates(model: LinkModel) -> str:
    names = ("loss", "duplicate", "reorder", "corrupt")
    return ", ".join(f"{name} {getattr(model, name):.0%}" for name in names if getattr(model, name))
