"""The promises about index nodes, about falling back, and about those who flood with searches."""

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any, final

import attrs

from dht.config import BUDGET_MAX, Config
from dht.contacts import Address, Contact, contact_at, pack_address
from dht.core.channel.plain import PlainChannel
from dht.core.outcomes import GetOutcome, PutOutcome
from dht.core.via import Flood, Index, Placement, Walk
from dht.keyspace import Key, key_bytes
from dht.records import Kind
from dht.sim import SimNode, Simulator
from dht.wire.codec import encode
from dht.wire.messages import REQUEST_ID_SIZE, SEARCH_ID_SIZE, WANT_IPV4, Search

from .frozen import overlay_of
from .machine import Figures, Reduced, Verdict, row

NODES = 1000
INDEX_SHARE = 0.01
KEYS = 200
HOPS_MAX = 3
FOUND_MIN = 0.99


def judge_index(pieces: Sequence[Figures]) -> Verdict:
    """All searches of all networks: before any index node died, after half of them did, and after
    all of them. Then nobody finds what it does not have without walking."""
    searches = sum(piece["searches"] for piece in pieces)
    near = sum(piece["within_3_hops"] for piece in pieces) / searches
    after = sum(piece["found_after"] for piece in pieces) / searches
    without = sum(piece["found_without"] for piece in pieces) / searches
    wrong = sum(piece["wrong"] for piece in pieces)
    walked = sum(piece["walked_after"] for piece in pieces)
    walked_without = sum(piece["walked_without"] for piece in pieces)
    fell_back = walked_without == searches - sum(piece["held_without"] for piece in pieces)
    return Verdict(
        {
            "within_3_hops": near,
            "found_after": after,
            "found_without": without,
            "fell_back": fell_back,
            "wrong": wrong,
            "networks": list(pieces),
        },
        min(near, after, without) >= FOUND_MIN and walked_without > 0 and fell_back and not wrong,
        f"{near:.2%} of {searches} records are found within {HOPS_MAX} hops by the index; with "
        f"half of the index nodes dead {after:.2%}, {walked} of them by walking, and with all of "
        f"them dead {without:.2%}, {walked_without} by walking; {wrong} wrong values",
    )


@row(
    "index-search",
    promise="with 1 % index nodes 99 % of the records are found within 3 hops, and with half of "
    "the index nodes dead still 99 %, and with all of them, by falling back",
    pieces=4,
    judge=judge_index,
    reduced=Reduced(pieces=1, scale=0.15),
)
def index_search(seed: int, scale: float) -> Figures:
    """1,000 simulated nodes, 10 of which keep an index; records with the usual copies."""
    nodes, random = int(NODES * scale), Random(seed)
    keep, other = Config(index=True), Config(index=False)
    simulator = Simulator(seed, overlay="unstructured", config=other)
    simulator.grow(nodes)
    chosen = random.sample(range(nodes), max(2, round(nodes * INDEX_SHARE)))
    for place in chosen:  # they come back as what they are to be
        node = simulator.nodes[place]
        simulator.crash(node)
        node.config = keep
        simulator.restart(node)
    simulator.run_for(60)
    keys = [Key(random.getrandbits(256)) for _ in range(max(20, int(KEYS * scale)))]
    for number, key in enumerate(keys):
        _place(simulator, random.choice(simulator.living()), key, b"%d" % number)
    simulator.run_for(5)
    indexes = {simulator.nodes[place].contact.id for place in chosen}

    def search_all() -> list[_Looked]:
        return [
            _look(simulator, random, key, b"%d" % number, indexes)
            for number, key in enumerate(keys)
        ]

    before = search_all()
    half = len(chosen) // 2
    for place in chosen[:half]:
        simulator.crash(simulator.nodes[place], for_good=True)
    after = search_all()
    for place in chosen[half:]:
        simulator.crash(simulator.nodes[place], for_good=True)
    without = search_all()
    return {
        "nodes": nodes,
        "index_nodes": len(chosen),
        "searches": len(keys),
        "within_3_hops": sum(each.found and each.hops <= HOPS_MAX for each in before),
        "found_after": sum(each.found for each in after),
        "walked_after": sum(each.walked for each in after),
        "found_without": sum(each.found for each in without),
        "walked_without": sum(each.walked for each in without),
        "held_without": sum(each.held for each in without),
        "wrong": sum(each.wrong for each in (*before, *after, *without)),
        "messages_mean": sum(each.messages for each in before) / len(before),
    }


def _place(simulator: Simulator, node: SimNode, key: Key, value: bytes) -> PutOutcome:
    finished = simulator.run_operation(
        node, lambda engine, now: engine.start_place(now, Kind.PLAIN, key, value, Index())
    )
    assert isinstance(finished.outcome, PutOutcome)
    return finished.outcome


@attrs.frozen(kw_only=True)
class _Looked:
    """One search by the index."""

    found: bool
    wrong: bool
    #: Did whoever searched hold the record itself?
    held: bool
    #: Did walkers set out: was somebody asked who keeps no index and is no holder?
    walked: bool
    hops: int
    messages: int


def _look(
    simulator: Simulator, random: Random, key: Key, value: bytes, indexes: set[Key]
) -> _Looked:
    """Whether a random node finds it, and how. With 16 walkers some set out to somebody who does
    not hold the record: it has 9 copies."""
    reader = random.choice(simulator.living())
    holders = {node.contact.id for node, _ in simulator.holders(Kind.PLAIN, key)}
    finished = simulator.run_operation(
        reader,
        lambda engine, now: engine.start_search(now, Kind.PLAIN, key, Index()),
        timeout_s=600,
    )
    outcome = finished.outcome
    assert isinstance(outcome, GetOutcome)
    asked = {step.contact.id for step in outcome.trace.steps}
    return _Looked(
        found=outcome.value == value,
        wrong=outcome.value not in (None, value),
        held=reader.contact.id in holders,
        walked=not asked <= indexes | holders,
        hops=outcome.trace.hops,
        messages=outcome.trace.messages,
    )


#: So many nodes nearest to a key may be asked by a lookup of it, of 100 whose owners are dead: the
#: 20 nearest that live, and others as long as nobody has named those. Seen: about the 40th.
NEAR = 64
#: Keys drawn for each that is looked for: the copy of about three in five lies near the key.
DRAWN_MAX = 20


def judge_fallback(pieces: Sequence[Figures]) -> Verdict:
    """Every key: nobody whom the lookup asks has it, and the walk finds it."""
    keys = sum(piece["keys"] for piece in pieces)
    enough = all(piece["keys"] == piece["wanted"] for piece in pieces)
    found = sum(piece["found"] for piece in pieces)
    structured = sum(piece["found_structured"] for piece in pieces)
    return Verdict(
        {
            "keys": keys,
            "found": found,
            "found_structured": structured,
            "drawn": sum(piece["drawn"] for piece in pieces),
        },
        enough and found == keys and not structured,
        f"{found} of {keys} keys whose owners are all dead are found by walking, where one copy "
        f"lives; by the lookup alone {structured}",
    )


@row(
    "fallback-to-walk",
    promise="when all structured owners of a key are dead and one copy placed by a walk lives, the "
    "get that falls back to a walk finds it, and the lookup alone does not",
    pieces=10,
    judge=judge_fallback,
    reduced=Reduced(pieces=1, scale=0.3),
)
def fallback_to_walk(seed: int, scale: float) -> Figures:
    """100 simulated nodes that live in both overlays, a key each time. Both searches one after the
    other, as a node's ``get(fallback="walk")`` runs them (which tests/shell shows).

    Where the walk leaves the copy is chance. A key is left out, and another one drawn, when that is
    with one of its owners, whom a put of the other overlay makes no difference to, or so near to
    the key that a lookup asks there too: whether it does is no matter of falling back."""
    random = Random(seed)
    keys = max(2, int(10 * scale))
    simulator = Simulator(seed, overlay="both")
    simulator.grow(100)
    simulator.run_for(30)
    sums = {"wanted": keys, "keys": 0, "found": 0, "found_structured": 0}
    drawn = 0
    while sums["keys"] < keys and drawn < DRAWN_MAX * keys:
        drawn += 1
        key, value = Key(random.getrandbits(256)), b"%d" % drawn
        keeper = _placed_far_away(simulator, random, key, value)
        if keeper is None:
            continue
        dead = [node for node, _ in simulator.holders(Kind.PLAIN, key) if node is not keeper]
        for node in dead:
            simulator.crash(node, for_good=True)
        reader = random.choice([node for node in simulator.living() if node is not keeper])
        sums["keys"] += 1
        sums["found_structured"] += _gets(
            simulator,
            reader,
            value,
            lambda engine, now, key=key: engine.start_get(now, Kind.PLAIN, key),
        )
        sums["found"] += _gets(
            simulator,
            reader,
            value,
            lambda engine, now, key=key: engine.start_search(now, Kind.PLAIN, key, Walk()),
        )
        for node in dead:
            simulator.restart(node)
        simulator.run_for(30)
    return {**sums, "drawn": drawn}


def _placed_far_away(
    simulator: Simulator, random: Random, key: Key, value: bytes
) -> SimNode | None:
    """Stores the record with its owners, then publishes it with one copy at a walk's first step.
    Who keeps that copy; None: nobody took it, or he is near the key, as its owners are."""
    writer = random.choice(simulator.living())
    simulator.put(writer, key, value)
    owners = [node for node, _ in simulator.holders(Kind.PLAIN, key)]
    walk = Walk(placement=Placement(where="path", copies=1))
    placing = simulator.run_operation(
        writer, lambda engine, now: engine.start_place(now, Kind.PLAIN, key, value, walk)
    ).outcome
    assert isinstance(placing, PutOutcome)
    near = sorted(simulator.living(), key=lambda node: node.contact.id ^ key)[:NEAR]
    kept = [node for node in simulator.living() if node.contact in placing.stored]
    far = [node for node in kept if node is not writer and node not in (*owners, *near)]
    return far[0] if far else None


def _gets(simulator: Simulator, reader: SimNode, value: bytes, start: Any) -> bool:
    outcome = simulator.run_operation(reader, start).outcome
    return isinstance(outcome, GetOutcome) and outcome.value == value


SEARCHERS = 200
INJECTED_S = 1000.0
ATTACK_S = 30.0
#: Seconds between two floods of an honest node: the base load.
FLOOD_EVERY_S = 20.0


@final
@attrs.define(eq=False)
class Injector:
    """Sends searches as fast as it is told to, each to the next of all nodes, with all the budget
    that fits a message, for keys that nobody holds. It hears nothing."""

    contact: Contact
    targets: Sequence[Contact]
    random: Random
    rate_s: float
    sent: int = 0
    #: When the next one leaves; None: it has stopped.
    _due: float | None = 0.0
    _channel: PlainChannel = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._channel = PlainChannel(self.contact.public_key)

    def receive_datagram(self, now: float, data: bytes, source: Address) -> None:
        """Nothing is listened to."""

    def stop(self) -> None:
        """Nothing more leaves."""
        self._due = None

    def resume(self, now: float) -> None:
        """It goes on from now."""
        self._due = now

    def handle_timeout(self, now: float) -> None:
        """What is due goes out."""
        while self._due is not None and self._due <= now:
            self._due = max(self._due, now - 1) + 1 / self.rate_s
            search = Search(
                flags=WANT_IPV4,
                id=self.random.randbytes(SEARCH_ID_SIZE),
                kind=Kind.PLAIN,
                key=key_bytes(Key(self.random.getrandbits(256))),
                style=0,
                walker=0,
                ttl=255,
                hops=0,
                budget=BUDGET_MAX,
                hits=255,
                check_every=0,
                issuer=b"",
            )
            target = self.targets[self.sent % len(self.targets)]
            self.sent += 1
            self._channel.ask(now, target, self.random.randbytes(REQUEST_ID_SIZE), encode(search))

    def resumed(self, now: float) -> None:
        """It never sleeps."""

    def datagrams_to_send(self) -> Sequence[tuple[bytes, Address]]:
        """What ``handle_timeout`` made."""
        return self._channel.datagrams_to_send()

    def events(self) -> Sequence[object]:
        """It has none."""
        return []

    def next_timeout(self) -> float | None:
        """Soon, unless it has stopped."""
        return self._due


def judge_injected(pieces: Sequence[Figures]) -> Verdict:
    """The worst node of all networks, and the sums; and whether there was an attack at all. In a
    small network, where the shares of a flood are smaller than in a large one, and so the base
    load, it is the sums alone that are judged."""
    worst = max(piece["load_ratio_max"] for piece in pieces)
    within = all(piece["passed_on_idle"] <= piece["budgets"] for piece in pieces)
    attacked = all(
        each >= 0.99 * piece["injected_s"] * piece["seconds"]
        for piece in pieces
        for each in (piece["injected_idle"], piece["injected"])
    )
    return Verdict(
        {
            "load_ratio_max": worst,
            "within_budgets": within,
            "attacked": attacked,
            "networks": list(pieces),
        },
        (worst <= 2.0 or pieces[0]["nodes"] < SEARCHERS) and within and attacked,
        f"{pieces[0]['injected_s']:.0f} searches a second: they cost "
        f"{max(piece['passed_on_idle'] / piece['budgets'] for piece in pieces):.0%} of the budgets "
        f"that are granted, and the node that suffers most has {worst:.2f} times its base load, "
        f"{pieces[0]['base_load_s']:.0f} datagrams a second",
    )


@row(
    "searches-injected",
    promise="an attacker who injects 1,000 searches a second makes all nodes send at most the sum "
    "of the budgets, and no honest node has more than twice its base load: that of 200 nodes, each "
    "of which floods every 20 s",
    pieces=2,
    judge=judge_injected,
    reduced=Reduced(pieces=1, scale=0.2),
)
def searches_injected(seed: int, scale: float) -> Figures:
    """200 simulated nodes, each of which floods every 20 s: that is the base load, datagrams in and
    out. Then the attacker besides, whom everybody hears directly; and on an idle network alone.

    In a smaller size fewer nodes, and a share of all rates and allowances: a flood of 40 nodes is
    cheaper than one of 200, and comes as much more often."""
    nodes = max(40, int(SEARCHERS * scale))
    share = 1.0 if nodes == SEARCHERS else 0.1
    rate_s = INJECTED_S * nodes / SEARCHERS * share
    usual = Config()
    config = Config(
        search_allowance_s=usual.search_allowance_s * share,
        search_burst=usual.search_burst * share,
    )
    flood_every_s = FLOOD_EVERY_S / share * nodes / SEARCHERS  # what one costs goes by the nodes
    simulator = Simulator(seed, overlay="unstructured", config=config)
    simulator.grow(nodes)
    simulator.run_for(60)
    honest = list(simulator.nodes)
    before = _passed_on(honest)
    injector = _attack(simulator, seed, honest, rate_s)
    simulator.run_for(ATTACK_S)
    injected_idle = injector.sent
    injector.stop()
    simulator.run_for(10)
    idle = _passed_on(honest) - before
    budgets = nodes * (config.search_burst + config.search_allowance_s * ATTACK_S)
    random = Random(seed)
    simulator.run_for(60)
    base = _load_while(simulator, honest, random, flood_every_s)
    injector.resume(simulator.now)
    simulator.poll(simulator.nodes[-1])
    attacked = _load_while(simulator, honest, random, flood_every_s)
    ratios = sorted(attacked[place] / base[place] for place in range(nodes))
    return {
        "nodes": nodes,
        "seconds": ATTACK_S,
        "injected_s": rate_s,
        "injected_idle": injected_idle,
        "injected": injector.sent - injected_idle,
        "passed_on_idle": idle,
        "budgets": budgets,
        "base_load_s": sum(base) / nodes / ATTACK_S,
        "load_ratio_max": ratios[-1],
        "load_ratio_median": ratios[nodes // 2],
    }


def _attack(simulator: Simulator, seed: int, honest: Sequence[SimNode], rate_s: float) -> Injector:
    random = Random(f"{seed} injector")
    address = pack_address("12.0.0.1", 4000)
    injector = Injector(
        contact_at(random.randbytes(32), address),
        [node.contact for node in honest],
        random,
        rate_s,
        due=simulator.now,
    )
    simulator.add_machine(injector, address=address)
    return injector


def _passed_on(nodes: Sequence[SimNode]) -> int:
    return sum(overlay_of(node).searching.counters.searches_passed_on for node in nodes)


def _load_while(
    simulator: Simulator, nodes: Sequence[SimNode], random: Random, flood_every_s: float
) -> list[int]:
    """Datagrams in and out of each node while all of them flood now and then."""
    before = [_datagrams(node) for node in nodes]
    start = simulator.now
    for node in nodes:
        at = start + random.uniform(0, flood_every_s)
        while at < start + ATTACK_S:
            simulator.at(at, partial(_flood, simulator, node, Key(random.getrandbits(256))))
            at += flood_every_s
    simulator.run_for(ATTACK_S)
    return [_datagrams(node) - count for node, count in zip(nodes, before, strict=True)]


def _flood(simulator: Simulator, node: SimNode, key: Key) -> None:
    simulator.start_operation(
        node,
        lambda engine, now: engine.start_search(now, Kind.PLAIN, key, Flood()),
        lambda _: None,
    )


def _datagrams(node: SimNode) -> int:
    stats: Any = node.engine.stats()
    return int(stats.datagrams_received + stats.datagrams_sent)
