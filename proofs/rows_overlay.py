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
    """All searches of all networks, before and after half of the index nodes died."""
    searches = sum(piece["searches"] for piece in pieces)
    near = sum(piece["within_3_hops"] for piece in pieces) / searches
    after = sum(piece["found_after"] for piece in pieces) / searches
    wrong = sum(piece["wrong"] for piece in pieces)
    walked = sum(piece["walked_after"] for piece in pieces)
    return Verdict(
        {"within_3_hops": near, "found_after": after, "wrong": wrong, "networks": list(pieces)},
        near >= FOUND_MIN and after >= FOUND_MIN and not wrong,
        f"{near:.2%} of {searches} records are found within {HOPS_MAX} hops by the index; with "
        f"half of the index nodes dead {after:.2%}, {walked} of them by walking; {wrong} wrong "
        "values",
    )


@row(
    "index-search",
    promise="with 1 % index nodes 99 % of the records are found within 3 hops, and with half of "
    "the index nodes dead still 99 %, by falling back",
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
    before = [_found(simulator, random, key, b"%d" % number) for number, key in enumerate(keys)]
    for place in chosen[: len(chosen) // 2]:
        simulator.crash(simulator.nodes[place], for_good=True)
    after = [_found(simulator, random, key, b"%d" % number) for number, key in enumerate(keys)]
    return {
        "nodes": nodes,
        "index_nodes": len(chosen),
        "searches": len(keys),
        "within_3_hops": sum(found and 0 <= hops <= HOPS_MAX for found, hops, _ in before),
        "found_after": sum(found for found, _, _ in after),
        "walked_after": sum(messages > 20 for _, _, messages in after),
        "wrong": sum(found is None for found, _, _ in (*before, *after)),
        "messages_mean": sum(messages for _, _, messages in before) / len(before),
    }


def _place(simulator: Simulator, node: SimNode, key: Key, value: bytes) -> PutOutcome:
    finished = simulator.run_operation(
        node, lambda engine, now: engine.start_place(now, Kind.PLAIN, key, value, Index())
    )
    assert isinstance(finished.outcome, PutOutcome)
    return finished.outcome


def _found(
    simulator: Simulator, random: Random, key: Key, value: bytes
) -> tuple[bool | None, int, int]:
    """Whether a random node finds it (None: a wrong value), its hops and messages."""
    finished = simulator.run_operation(
        random.choice(simulator.living()),
        lambda engine, now: engine.start_search(now, Kind.PLAIN, key, Index()),
        timeout_s=600,
    )
    outcome = finished.outcome
    assert isinstance(outcome, GetOutcome)
    found: bool | None = outcome.record is not None
    if found and outcome.value != value:
        found = None
    return found, outcome.trace.hops, outcome.trace.messages


def judge_fallback(pieces: Sequence[Figures]) -> Verdict:
    """Every key."""
    keys = sum(piece["keys"] for piece in pieces)
    found = sum(piece["found"] for piece in pieces)
    structured = sum(piece["found_structured"] for piece in pieces)
    return Verdict(
        {"keys": keys, "found": found, "found_structured": structured},
        found == keys,
        f"{found} of {keys} keys whose owners are all dead are found by walking, where one copy "
        f"lives; by the lookup alone {structured}",
    )


@row(
    "fallback-to-walk",
    promise="when all structured owners of a key are dead and one copy placed by a walk lives, the "
    "get that falls back to a walk finds it",
    pieces=10,
    judge=judge_fallback,
    reduced=Reduced(pieces=1, scale=0.3),
)
def fallback_to_walk(seed: int, scale: float) -> Figures:
    """100 simulated nodes that live in both overlays, a key each time. Both searches one after the
    other, as a node's ``get(fallback="walk")`` runs them (which tests/shell shows)."""
    random = Random(seed)
    keys = max(2, int(10 * scale))
    simulator = Simulator(seed, overlay="both")
    simulator.grow(100)
    simulator.run_for(30)
    found = found_structured = 0
    for number in range(keys):
        key, value = Key(random.getrandbits(256)), b"%d" % number
        writer = random.choice(simulator.living())
        simulator.put(writer, key, value)
        placing = simulator.run_operation(
            writer,
            lambda engine, now, key=key, value=value: engine.start_place(  # type: ignore[misc]
                now, Kind.PLAIN, key, value, Walk(placement=Placement(copies=1))
            ),
        ).outcome
        assert isinstance(placing, PutOutcome)
        holders = [node for node, _ in simulator.holders(Kind.PLAIN, key)]
        placed = [node for node in holders if node.contact in placing.stored and node is not writer]
        dead = [node for node in holders if node is not placed[0]]
        for node in dead:
            simulator.crash(node, for_good=True)
        reader = random.choice([node for node in simulator.living() if node is not placed[0]])
        structured = simulator.run_operation(
            reader,
            lambda engine, now, key=key: engine.start_get(now, Kind.PLAIN, key),  # type: ignore[misc]
        ).outcome
        outcome = simulator.run_operation(
            reader,
            lambda engine, now, key=key: engine.start_search(now, Kind.PLAIN, key, Walk()),  # type: ignore[misc]
        ).outcome
        found_structured += isinstance(structured, GetOutcome) and structured.value == value
        found += isinstance(outcome, GetOutcome) and outcome.value == value
        for node in dead:
            simulator.restart(node)
        simulator.run_for(30)
    return {"keys": keys, "found": found, "found_structured": found_structured}


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
    """The worst node of all networks, and the sums; and whether there was an attack at all."""
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
        worst <= 2.0 and within and attacked,
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
