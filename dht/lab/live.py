"""What is measured of networks of running engines: the bytes that they send, and their lookups.

The engines are those of ``dht.sim``. Nothing here changes what they do.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import NamedTuple, final

import attrs

from ..contacts import CONTACT4_SIZE, CONTACT6_SIZE, Address
from ..core.channel.plain import CHECKSUM_SIZE, PLAIN_TAG
from ..core.events import OperationFinished
from ..core.outcomes import LookupOutcome
from ..identity import PUBLIC_KEY_SIZE
from ..keyspace import KEY_BITS, Key
from ..sim.simulator import SimNode, Simulator
from ..wire.codec import decode_untrusted
from ..wire.messages import Find
from .estimates import Estimate, ratio_of

#: How p2psim weighs a message: its head, and each node id in it (Li et al. 2005, section III).
HEAD_SIZE, ID_SIZE = 20, 4
#: Seconds between two looks at how many nodes live, and of a part of what they sent.
_LOOK_S = 5.0
#: Where a plain datagram has its message.
_PAYLOAD = slice(1 + PUBLIC_KEY_SIZE, -CHECKSUM_SIZE)


def counted_as_paper(datagram: bytes) -> int:
    """The bytes of a datagram as p2psim counts them; the target of a lookup is an id, too."""
    if datagram[0] != PLAIN_TAG:
        return HEAD_SIZE
    message = decode_untrusted(datagram[_PAYLOAD])[1]
    ids = int(isinstance(message, Find))
    ids += len(getattr(message, "contacts4", b"")) // CONTACT4_SIZE
    ids += len(getattr(message, "contacts6", b"")) // CONTACT6_SIZE
    return HEAD_SIZE + ID_SIZE * ids


class Sent(NamedTuple):
    """What all nodes sent within a few seconds, and how long they lived together."""

    datagrams: int
    bytes: int
    bytes_as_paper: int
    node_s: float


@final
class Meter:
    """Counts what all nodes send from now on, and how long they live; for plain channels."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        #: One after the other, without a gap.
        self.parts: list[Sent] = []
        self._begin()
        simulator.taps.append(self._hear)
        self._look_later()

    def stop(self) -> None:
        """What is sent from now on does not count."""
        self.simulator.taps.remove(self._hear)
        self._end()

    @property
    def datagrams(self) -> int:
        """All of them."""
        return sum(part.datagrams for part in self.parts)

    @property
    def node_s(self) -> float:
        """How long all nodes lived together."""
        return sum(part.node_s for part in self.parts)

    def bytes_per_node_s(self, *, heads: int = 0) -> Estimate:
        """UDP payload; ``heads``: bytes that are added to each datagram, as IP and UDP do."""
        return self._per_node_s(lambda part: part.bytes + heads * part.datagrams)

    def paper_bytes_per_node_s(self) -> Estimate:
        """The same as p2psim would count it."""
        return self._per_node_s(lambda part: part.bytes_as_paper)

    def _per_node_s(self, of: Callable[[Sent], float]) -> Estimate:
        return ratio_of([(of(part), part.node_s) for part in self.parts])

    def _hear(self, _: SimNode, sending: Sequence[tuple[bytes, Address]]) -> None:
        self._datagrams += len(sending)
        for datagram, _address in sending:
            self._bytes += len(datagram)
            self._bytes_as_paper += counted_as_paper(datagram)

    def _look_later(self) -> None:
        self.simulator.at(self.simulator.now + _LOOK_S, self._look)

    def _look(self) -> None:
        if self._hear in self.simulator.taps:
            self._end()
            self._begin()
            self._look_later()

    def _begin(self) -> None:
        self._since = self.simulator.now
        self._datagrams = self._bytes = self._bytes_as_paper = 0

    def _end(self) -> None:
        seconds = self.simulator.now - self._since
        if seconds or self._datagrams:
            node_s = seconds * len(self.simulator.living())
            self.parts.append(Sent(self._datagrams, self._bytes, self._bytes_as_paper, node_s))


class Looked(NamedTuple):
    """One lookup that ended, of a node that lived to see it."""

    began: float
    #: Until the nearest node of the result had answered; None if there is no result.
    latency_s: float | None
    #: Until the lookup itself knew that it was done: all owners have answered.
    elapsed_s: float
    #: The id of the nearest node found; 0 if there is none.
    nearest: Key
    #: Was that the nearest of all that lived, when it began or when it ended?
    right: bool


def looked_of(
    began: float, now: float, finished: OperationFinished, wanted: Sequence[Key]
) -> Looked:
    """What became of a lookup; ``wanted``: any of these is the right answer."""
    outcome = finished.outcome
    if not isinstance(outcome, LookupOutcome) or not outcome.closest:
        return Looked(began, None, now - began, Key(0), right=False)
    nearest = outcome.closest[0].id
    answered = [
        step.asked_at + step.rtt
        for step in outcome.trace.steps
        if step.contact.id == nearest and step.rtt is not None
    ]
    # Who is nearest itself has asked nobody for that.
    latency = min(answered, default=0.0)
    return Looked(began, latency, now - began, nearest, right=nearest in wanted)


@final
@attrs.define(eq=False)
class Lookups:
    """From now on random nodes look up random keys, ``together`` of them the same at once.

    ``rate`` is that of single lookups a second of each node, so with ten together there are a tenth
    as many keys. Those whose node crashes before the end are in no list.
    """

    simulator: Simulator
    rate: float
    together: int = 1
    #: One list for each key, complete only after its lookups have ended.
    groups: list[list[Looked]] = attrs.field(init=False, factory=list)
    _random: Random = attrs.field(init=False)
    _running: bool = attrs.field(init=False, default=True)

    def __attrs_post_init__(self) -> None:
        self._random = Random(f"{self.simulator.seed} lookups {self.simulator.now}")
        self._wait()

    def stop(self) -> None:
        """No more begin; those under way go on."""
        self._running = False

    def ended(self) -> list[list[Looked]]:
        """The keys that anybody's lookup of ended."""
        return [group for group in self.groups if group]

    def _wait(self) -> None:
        keys_per_s = self.rate * len(self.simulator.living()) / self.together
        pause_s = self._random.expovariate(keys_per_s)
        self.simulator.at(self.simulator.now + pause_s, self._begin)

    def _begin(self) -> None:
        if not self._running:
            return
        joined = joined_of(self.simulator)
        target = Key(self._random.getrandbits(KEY_BITS))
        group: list[Looked] = []
        self.groups.append(group)
        wanted = nearest_of(joined, target)
        for node in self._random.sample(joined, min(self.together, len(joined))):
            self.simulator.start_operation(
                node,
                lambda engine, now: engine.start_lookup(now, target),
                partial(self._end, group, self.simulator.now, target, wanted),
            )
        self._wait()

    def _end(
        self,
        group: list[Looked],
        began: float,
        target: Key,
        wanted: list[Key],
        finished: OperationFinished,
    ) -> None:
        now = self.simulator.now
        wanted = [*wanted, *nearest_of(joined_of(self.simulator), target)]
        group.append(looked_of(began, now, finished, wanted))


def joined_of(simulator: Simulator) -> list[SimNode]:
    """Those that live and are part of the network."""
    return [node for node in simulator.living() if node.engine.joined]


def nearest_of(nodes: Sequence[SimNode], target: Key) -> list[Key]:
    """The id of the nearest of them, if there is any."""
    return [min((node.contact.id for node in nodes), key=target.__xor__)] if nodes else []


def consistent(group: Sequence[Looked]) -> int:
    """How many of the lookups of one key say what most of them say, if most say the same."""
    said = Counter(looked.nearest for looked in group if looked.nearest)
    most = max(said.values(), default=0)
    return most if 2 * most > len(group) else 0


def run_counted(
    simulator: Simulator, seconds: float, told: Callable[[float], None], *, steps: int = 10
) -> None:
    """``run_for``, and a word after each part of it: from 0 to 1."""
    for step in range(steps):
        simulator.run_for(seconds / steps)
        told((step + 1) / steps)
