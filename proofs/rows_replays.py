"""The promise about copies: whoever records what is said in a network and says it again, from where
it came or from elsewhere, soon or late, achieves nothing that was not achieved already."""

from collections.abc import Sequence
from random import Random
from typing import cast

import attrs

from dht.author import Author
from dht.contacts import Address
from dht.core.channel.epochs import EPOCH_S
from dht.core.channel.face import Opened
from dht.core.channel.packets import DATA
from dht.core.channel.secure import SecureChannel
from dht.core.channel.session import IDLE_S
from dht.core.events import OperationFinished
from dht.keyspace import plain_key
from dht.records import Kind
from dht.sim import SimNode, Simulator

from .machine import Figures, Reduced, Verdict, row
from .spoofer import somewhere, watch

REPLAYS = 100_000
REPLAYS_PER_PIECE = 10_000
NODES = 8
#: Puts of records, of which a third are newer versions; some are deleted; and as many gets.
PUTS = 60
#: Virtual seconds that records live: short enough for all of them to be over in the end.
TTL_S = 200.0
#: One more than two epochs: what was remembered of a first message is forgotten.
FORGOTTEN_S = 2 * EPOCH_S + 1
#: Of those that are played back just after they arrived.
AT_ONCE_SHARE = 0.25
#: When they are played back.
MOMENTS = (
    "at once",
    "while it is remembered",
    "when it is forgotten",
    "when the record is gone",
    "to a node that has restarted",
)


def judge_replays(pieces: Sequence[Figures]) -> Verdict:
    """Nothing delivered as proved, nothing stored again, and nobody sent more than came."""
    moments = {
        moment: sum(piece["replayed"].get(moment, 0) for piece in pieces) for moment in MOMENTS
    }
    replayed = sum(moments.values())
    kinds: dict[str, int] = {}
    for piece in pieces:
        for kind, count in piece["kinds"].items():
            kinds[kind] = kinds.get(kind, 0) + count
    names = ("delivered", "stored_again", "sessions", "contacts", "finished", "longer", "back")
    effects = {name: sum(piece[name] for piece in pieces) for name in names}
    unproved = sum(piece["unproved"] for piece in pieces)
    told = [each for piece in pieces for each in piece["told"]]
    return Verdict(
        {
            "replayed": replayed,
            "replayed_when": moments,
            "replayed_by_tag": dict(sorted(kinds.items())),
            **effects,
            "read_without_proof": unproved,
            "told": told[:20],
        },
        replayed > 0 and not any(effects.values()) and all(moments.values()),
        f"{replayed:,} datagrams were played back: {effects['delivered']} were delivered as "
        f"proved, {effects['stored_again']} stored something; {unproved:,} questions came up once "
        f"more, without proof, and {effects['longer']} answers were longer than what came"
        + (f"; {told[0]}" if told else ""),
    )


@row(
    "replayed-datagrams",
    promise=f"{REPLAYS:,} recorded datagrams of an encrypted network, played back to their "
    "receivers from the same and other addresses, at once and later, have no second effect",
    pieces=REPLAYS // REPLAYS_PER_PIECE,
    judge=judge_replays,
    reduced=Reduced(pieces=1, scale=0.1),
)
def replayed_datagrams(seed: int, scale: float) -> Figures:
    """A small network at work, and somebody who reads along."""
    world = _World.begin(seed, round(REPLAYS_PER_PIECE * scale))
    # At least so many that there is something of everything.
    world.work(round(PUTS * max(scale, 0.25)))
    share = round(world.left / (len(MOMENTS) - 1))
    world.play_back(MOMENTS[1], share)
    world.simulator.run_for(FORGOTTEN_S)
    world.play_back(MOMENTS[2], share)
    world.simulator.run_for(TTL_S + IDLE_S)
    world.play_back(MOMENTS[3], share)
    world.restart_all()
    world.play_back(MOMENTS[4], share)
    world.simulator.run_for(10.0)
    world.count_what_is_back()
    return world.figures


@attrs.define(eq=False)
class _World:
    """The network, all that arrived in it, and what copies of that did."""

    simulator: Simulator
    random: Random
    #: Replays that are left.
    left: int
    nodes: list[SimNode] = attrs.field(factory=list)
    #: (to, from, bytes)
    recorded: list[tuple[SimNode, Address, bytes]] = attrs.field(factory=list)
    figures: Figures = attrs.field(factory=dict)
    #: What the channels opened since the last replay began.
    opened: list[Opened] = attrs.field(factory=list)
    at_once_left: int = 0
    finished: int = 0
    replaying: bool = False
    #: What came from, and was sent to, addresses at which nobody is.
    into: dict[tuple[int, Address], int] = attrs.field(factory=dict)

    @classmethod
    def begin(cls, seed: int, replays: int) -> "_World":
        random = Random(f"{seed} replays")
        world = cls(Simulator(seed, encrypted=True), random, replays)
        world.at_once_left = round(replays * AT_ONCE_SHARE)
        world.figures = {
            **dict.fromkeys(
                ("delivered", "stored_again", "sessions", "contacts", "finished", "longer", "back"),
                0,
            ),
            "unproved": 0,
            "replayed": {},
            "kinds": {},
            "told": [],
        }
        world.simulator.observers.append(world._on_event)
        for _ in range(NODES):
            world._add()
        return world

    def _add(self) -> None:
        """Another node joins, and is overheard from its first datagram on."""
        node = self.simulator.add_node()
        self.nodes.append(node)
        self._overhear(node)
        self.simulator.run_for(5.0)

    def _overhear(self, node: SimNode) -> None:
        def came(data: bytes, source: Address, opened: Opened | None) -> None:
            if self.replaying:
                if opened is not None:
                    self.opened.append(opened)
                return
            self.recorded.append((node, source, data))
            share = 0.3 if data[0] == DATA else 1.0
            if self.at_once_left > 0 and self.random.random() < share:
                self.at_once_left -= 1
                simulator = self.simulator
                simulator.at(simulator.now, lambda: self.replay(MOMENTS[0], node, source, data))

        watch(cast("SecureChannel", node.engine.channel), came, lambda _data, _to: None)

    def _on_event(self, _: SimNode, event: object) -> None:
        self.finished += isinstance(event, OperationFinished)

    # ---- what is recorded ----

    def work(self, puts: int) -> None:
        """Puts, puts again, deletes, gets, members, lookups, and who is at an address."""
        simulator, random = self.simulator, self.random
        for number in range(puts):
            node, other = random.sample(self.nodes, 2)
            key = f"key {number % (2 * puts // 3)}"
            value = random.randbytes(random.choice([5, 100, 800, 3000]))
            simulator.put(node, key, value, ttl_s=TTL_S)
            simulator.get(other, key, quorum=random.choice([1, 2]))
            if number % 5 == 0:
                simulator.delete(node, f"key {number}", ttl_s=TTL_S)
            if number % 6 == 0:
                self._join_topic(node)
            other.engine.channel.who(simulator.now, node.address)
            simulator.poll(other)
        simulator.run_for(1.0)

    def _join_topic(self, node: SimNode) -> None:
        author = Author.generate(self.random)
        self.simulator.run_operation(
            node,
            lambda engine, now: engine.start_put(
                now, Kind.MEMBER, _TOPIC, b"here", ttl_s=TTL_S, author=author
            ),
        )
        self.simulator.run_operation(
            node, lambda engine, now: engine.start_members(now, _TOPIC, limit=100)
        )

    def restart_all(self) -> None:
        """Everybody starts anew with nothing but its identity: no memory of what was said."""
        for node in self.nodes:
            self.simulator.crash(node, for_good=True)
            self.simulator.restart(node)
            self._overhear(node)
            self.simulator.run_for(2.0)

    # ---- what is played back ----

    def play_back(self, moment: str, count: int) -> None:
        """Half of them are what opens and repairs sessions, which is rare where peers know each
        other."""
        rare = [each for each in self.recorded if each[2][0] != DATA]
        for number in range(count):
            node, source, data = self.random.choice(rare if number % 2 else self.recorded)
            self.replay(moment, node, source, data)
            if number % 20 == 0:
                self.simulator.run_for(0.01)

    def replay(self, moment: str, node: SimNode, source: Address, data: bytes) -> None:
        """One copy; what it does, it does at once."""
        random, figures = self.random, self.figures
        self.left -= 1
        figures["replayed"][moment] = figures["replayed"].get(moment, 0) + 1
        tag = f"{data[0]:02x}"
        figures["kinds"][tag] = figures["kinds"].get(tag, 0) + 1
        dice = random.random()
        if dice < 0.3:
            source = somewhere(random)
        elif dice < 0.5:
            source = random.choice([each for each in self.nodes if each is not node]).address
        before = _state(node)
        self.opened.clear()
        self.replaying = True
        node.engine.receive_datagram(self.simulator.now, data, source)
        self.replaying = False
        after = _state(node)
        sent = sum(
            len(each)
            for each, to in cast("SecureChannel", node.engine.channel)._outbox  # noqa: SLF001
            if to == source
        )
        finished = self.finished
        self.simulator.poll(node)
        effects = {
            "delivered": sum(each.proved for each in self.opened),
            "stored_again": before[:3] != after[:3],
            "sessions": before[3] != after[3],
            "contacts": before[4] != after[4],
            "finished": self.finished - finished,
            "longer": sent > len(data),
        }
        figures["unproved"] += sum(not each.proved for each in self.opened)
        for name, happened in effects.items():
            figures[name] += int(happened)
        if any(effects.values()) and len(figures["told"]) < 20:
            seen = ", ".join(name for name, happened in effects.items() if happened)
            figures["told"].append(f"{moment}: a copy of {len(data)} bytes, tag {tag}: {seen}")

    def count_what_is_back(self) -> None:
        """Of all that was written nothing may be there again: its time was over."""
        for number in range(PUTS):
            key = plain_key(f"key {number}")
            self.figures["back"] += len(self.simulator.holders(Kind.PLAIN, key))


_TOPIC = plain_key("topic")


def _state(node: SimNode) -> tuple[object, ...]:
    """All that a copy must not change."""
    engine = node.engine
    counters = engine.storage.counters
    return (
        (counters.stored, counters.again, sum(counters.refused.values())),
        engine.storage.count,
        engine.storage.size,
        cast("SecureChannel", engine.channel).sessions_held,
        len(engine.table),
    )
