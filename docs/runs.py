"""What happens in the simulated networks that the pictures and the table are made of.

Each function runs one network from a seed and gives back what was seen, as a value.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from random import Random
from statistics import mean
from typing import Any, cast, final

import attrs

from dht.config import Config
from dht.core.outcomes import GetOutcome, LookupOutcome, PutOutcome
from dht.core.via import Flood, Index, Structured, Via, Walk
from dht.errors import RemoteError
from dht.keyspace import Key, plain_key
from dht.records import Kind
from dht.sim import LinkModel, SimNode, Simulator
from dht.wire.codec import decode_untrusted
from dht.wire.messages import Done, Get, Hit, Holders, Message, Search, Wanted

#: Every way takes as long as every other, nearly: then hops can be told by the time.
EVEN = LinkModel(rtt_median_s=0.1, rtt_mean_s=0.1)
#: In the pictures a view has 4 places instead of 20, or nobody could tell the lines apart.
SPARSE = Config(view_size=4, exchange=3)
#: A shuffle of everybody takes so long.
SHUFFLE_S = Config().shuffle_interval_s

# A datagram of the plain channel is a tag and a public key, a frame, and a checksum.
_FRAME = slice(33, -8)


@attrs.frozen(kw_only=True)
class Heard:
    """One message on its way, between two nodes by their numbers."""

    arrives_at: float
    sender: int
    receiver: int
    message: Message


@final
class Ear:
    """Stands in the place of a simulator's links, and writes down what passes."""

    #: The simulator then asks what arrives, instead of reckoning a delay by itself.
    perfect = False

    def __init__(self, simulator: Simulator) -> None:
        self._simulator, self._links = simulator, simulator.links
        self.heard: list[Heard] = []
        simulator.links = cast("Any", self)

    def arrivals(self, sender: int, receiver: int, data: bytes) -> Sequence[tuple[float, bytes]]:
        """What becomes of a datagram."""
        copies = self._links.arrivals(sender, receiver, data)
        for delay, copy in copies:
            try:
                _, message = decode_untrusted(copy[_FRAME])
            except RemoteError:
                continue
            self.heard.append(
                Heard(
                    arrives_at=self._simulator.now + delay,
                    sender=sender,
                    receiver=receiver,
                    message=message,
                )
            )
        return copies

    def stop(self) -> list[Heard]:
        """From now on the links are as they were. What was heard, in the order of arrival."""
        self._simulator.links = self._links
        return sorted(self.heard, key=lambda each: each.arrives_at)


def start(key: Key, via: Via) -> Callable[[Any, float], Any]:
    """What begins a search on an engine."""
    if isinstance(via, Structured):
        return lambda engine, now: engine.start_get(now, Kind.PLAIN, key)
    return lambda engine, now: engine.start_search(now, Kind.PLAIN, key, via)


def searched(
    simulator: Simulator, reader: SimNode, key: Key, via: Via, settle_s: float = 5.0
) -> tuple[GetOutcome, list[Heard]]:
    """One search to its very end, and all that was said in the network meanwhile."""
    ear = Ear(simulator)
    finished = simulator.run_operation(reader, start(key, via), timeout_s=600)
    simulator.run_for(settle_s)
    assert isinstance(finished.outcome, GetOutcome)
    return finished.outcome, ear.stop()


# ------------------------------------------------------------------------------- the structured


@attrs.frozen(kw_only=True)
class Looked:
    """A lookup among nodes of which each knows a few."""

    nodes: Sequence[SimNode]
    reader: SimNode
    outcome: LookupOutcome


def look_up(seed: int, nodes: int) -> Looked:
    """The first of some lookups that was told of its owners by somebody who was named himself."""
    config = Config(k=4, replicas=4, table_whole_max=0)
    simulator = Simulator(seed, config=config, links=EVEN)
    simulator.grow(nodes)
    simulator.run_for(60)
    random = Random(seed)
    looked = []
    for _ in range(20):
        reader = simulator.random_node()
        outcome = simulator.lookup(reader, Key(random.getrandbits(256)))
        looked.append(Looked(nodes=simulator.nodes, reader=reader, outcome=outcome))
    return max(looked, key=lambda each: (each.outcome.trace.hops, -each.outcome.trace.messages))


# ----------------------------------------------------------------------------- the unstructured


def views_of(simulator: Simulator) -> list[list[int]]:
    """The neighbours of everybody at this moment, by their numbers."""
    numbers = {node.contact.id: node.index for node in simulator.living()}
    views = []
    for node in simulator.living():
        overlay = node.engine.unstructured
        assert overlay is not None
        views.append(sorted(numbers[each.id] for each in overlay.view.contacts()))
    return views


def sparse(seed: int, nodes: int) -> Simulator:
    """A network whose views are small, and have been shuffled for a while."""
    simulator = Simulator(seed, config=SPARSE, links=EVEN, overlay="unstructured")
    simulator.grow(nodes)
    simulator.run_for(20 * SHUFFLE_S)
    return simulator


def shuffled(seed: int, nodes: int) -> tuple[list[list[int]], list[list[int]]]:
    """All views, and what has become of them five shuffles later."""
    simulator = sparse(seed, nodes)
    before = views_of(simulator)
    simulator.run_for(5 * SHUFFLE_S)
    return before, views_of(simulator)


@attrs.frozen(kw_only=True)
class Passed:
    """A search that was passed on from node to node."""

    reader: int
    holders: Sequence[int]
    views: Sequence[Sequence[int]]
    outcome: GetOutcome
    #: What was said of it, in the order of arrival.
    heard: Sequence[Heard]

    def searches(self) -> list[Heard]:
        """Each time that it was passed on."""
        return [each for each in self.heard if isinstance(each.message, Search)]

    def steps(self) -> dict[int, list[Heard]]:
        """The steps of each walker, in order, without those that nobody took."""
        steps: dict[int, list[Heard]] = {}
        hops: dict[int, int] = {}
        for each in self.searches():
            assert isinstance(each.message, Search)
            walker = each.message.walker
            way = steps.setdefault(walker, [])
            if hops.get(walker) == each.message.hops:
                way.pop()  # the reader himself, or who is too busy, says no: another one is asked
            hops[walker] = each.message.hops
            way.append(each)
        return steps


def search_sparse(seed: int, nodes: int, via: Via, copies: int, far: int) -> Passed:
    """A search for a record at some random nodes, each at least ``far`` hops from the reader."""
    simulator = sparse(seed, nodes)
    random, key = Random(seed), plain_key("picture")
    views = views_of(simulator)
    reader = 0
    distance = hops_from(views, reader)
    holders = sorted(random.sample([n for n in range(nodes) if distance[n] >= far], copies))
    for holder in holders:
        put = Walk(placement="publisher")
        simulator.run_operation(simulator.nodes[holder], _place(key, put))
    views = views_of(simulator)
    outcome, heard = searched(simulator, simulator.nodes[reader], key, via, settle_s=4.0)
    return Passed(
        reader=reader,
        holders=holders,
        views=views,
        outcome=outcome,
        heard=[each for each in heard if isinstance(each.message, Search | Hit | Done | Wanted)],
    )


def _place(key: Key, via: Walk) -> Callable[[Any, float], Any]:
    return lambda engine, now: engine.start_place(now, Kind.PLAIN, key, b"here", via)


def hops_from(views: Sequence[Sequence[int]], start: int) -> list[int]:
    """How far everybody is from one, where each goes to whom he knows; 99: out of reach."""
    far = [99] * len(views)
    far[start] = 0
    queue = [start]
    for node in queue:
        for other in views[node]:
            if far[other] == 99:  # noqa: PLR2004 - what stands above
                far[other] = far[node] + 1
                queue.append(other)
    return far


# -------------------------------------------------------------------------------- the comparison

WAYS: Mapping[str, Via] = {
    "lookup": Structured(),
    "flood, TTL 5": Flood(),
    "expanding ring": Flood(ring=True),
    "16 walkers": Walk(),
    "index": Index(),
}


@attrs.frozen(kw_only=True)
class Way:
    """What one way came to, in the mean over the same searches. Of times two quantiles."""

    name: str
    searches: int
    found: int
    hops: float
    messages: float
    duplicates: float
    p50_s: float
    p99_s: float


@attrs.frozen(kw_only=True)
class Compared:
    """Each way with records that are there, and with some that are not."""

    nodes: int
    there: Sequence[Way]
    missing: Sequence[Way]


def compare(seed: int, nodes: int, records: int, missing: int) -> Compared:
    """The same records, held by the same nodes, looked for by the same readers in every way."""
    simulator = Simulator(seed, overlay="both")
    simulator.grow(nodes)
    simulator.run_for(12 * SHUFFLE_S)
    keys = [plain_key(f"record {number}") for number in range(records)]
    for number, key in enumerate(keys):
        put = simulator.put(simulator.random_node(), key, b"value %d" % number)
        assert isinstance(put, PutOutcome)
    simulator.run_for(30)
    there = [(_reader(simulator, key), key) for key in keys]
    gone = [(simulator.random_node(), plain_key(f"nothing {number}")) for number in range(missing)]
    return Compared(
        nodes=nodes,
        there=[_way(simulator, name, there) for name in WAYS],
        missing=[_way(simulator, name, gone) for name in WAYS],
    )


def _reader(simulator: Simulator, key: Key) -> SimNode:
    """Somebody who does not hold it already."""
    holders = [node for node, _ in simulator.holders(Kind.PLAIN, key)]
    while (reader := simulator.random_node()) in holders:
        pass
    return reader


def _way(simulator: Simulator, name: str, asked: Sequence[tuple[SimNode, Key]]) -> Way:
    found, hops, messages, duplicates, times = 0, [0], 0, 0, []
    for reader, key in asked:
        outcome, heard = searched(simulator, reader, key, WAYS[name])
        sent, again = requests_for(reader.index, key, heard)
        messages += sent
        duplicates += again
        times.append(outcome.trace.elapsed)
        if outcome.record is not None:
            found += 1
            # A lookup counts from who is in the table, the others from the reader itself.
            hops.append(outcome.trace.hops + isinstance(WAYS[name], Structured))
    times.sort()
    return Way(
        name=name,
        searches=len(asked),
        found=found,
        hops=mean(hops[1:] or hops),
        messages=messages / len(asked),
        duplicates=duplicates / len(asked),
        p50_s=times[(len(times) - 1) // 2],
        p99_s=times[ceil(0.99 * len(times)) - 1],
    )


def requests_for(reader: int, key: Key, heard: Sequence[Heard]) -> tuple[int, int]:
    """Requests of all nodes that were made for one search, answers left out; and how many of them
    asked somebody for the record who had been asked before."""
    place, ids, asked = key.to_bytes(32), set(), {reader}
    sent = again = 0
    for each in heard:
        message = each.message
        if isinstance(message, Search | Get | Holders) and message.key == place:
            again += each.receiver in asked
            if not isinstance(message, Holders):  # an index node is not asked for the record
                asked.add(each.receiver)
            if isinstance(message, Search):
                ids.add(message.id)
        elif not isinstance(message, Hit | Done | Wanted) or message.id not in ids:
            continue
        sent += 1
    return sent, again
