"""Promises about attackers with many names: liars on the way, Sybils around a key, two hosts.

All networks are simulated, with the plain channel: what an attacker cannot do because of the other
one is none of these promises' business.
"""

import statistics
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

import attrs

from dht.core.outcomes import GetOutcome, PutOutcome
from dht.errors import QuorumNotReached
from dht.keyspace import Key, plain_key
from dht.sim import Churn, SimNode, Simulator
from dht.sim.adversaries import Cabal, Lie, scattered

from .copies import in_a_copy
from .machine import Figures, Reduced, Verdict, row

NODES = 1000

# ------------------------------------------------------------------------------------------ Sybils

KEYS = 200
KEYS_PER_PIECE = 20
NORMAL_PER_PIECE = 100
#: Keys that are under attack at the same time: a minute of a thousand nodes takes a while.
AT_ONCE = 2
#: Of gets that succeed, by the number of Sybils; of attacked keys that alarm; of others that do.
SUCCESS_MIN = {20: 0.99, 40: 0.95}
DETECTED_MIN = 0.99
FALSE_MAX = 0.01
SETTINGS: tuple[tuple[str, int, int | None], ...] = (
    ("20 in 10 subnets", 20, 10),
    ("40 in 10 subnets", 40, 10),
    ("40 in any subnets", 40, None),
)
#: What is counted of the keys of one kind.
COUNTS = ("tried", "right", "lookup_alarmed", "put_alarmed", "get_alarmed")


def judge_sybils(pieces: Sequence[Figures]) -> Verdict:
    """Shares over all keys; the last setting is reported and not judged. Whether an attack is
    noticed is judged by lookups: a put or a get may end at owners that it knows, or that the first
    answer names, and sees no more of the neighbourhood than these."""
    figures: Figures = {}
    passed = True
    parts = []
    for setting, sybils, subnets in SETTINGS:
        totals = _totals(pieces, setting)
        tried, right, alarmed = totals["tried"], totals["right"], totals["lookup_alarmed"]
        figures[setting] = {
            **totals,
            "messages_a_get": statistics.median(piece[setting]["messages"] for piece in pieces),
        }
        if subnets is not None:
            passed = passed and right >= SUCCESS_MIN[sybils] * tried
            passed = passed and alarmed >= DETECTED_MIN * tried
        parts.append(f"{setting}: {right} of {tried} gets right, {alarmed} noticed")
    figures["others"] = others = _totals(pieces, "others")
    tried, right, wrongly = others["tried"], others["right"], others["lookup_alarmed"]
    passed = passed and right == tried and wrongly <= FALSE_MAX * tried
    return Verdict(
        figures, passed, f"{'; '.join(parts)}; {wrongly} of {tried} lookups of other keys alarmed"
    )


def _totals(pieces: Sequence[Figures], kind: str) -> dict[str, int]:
    return {name: sum(piece[kind][name] for piece in pieces) for name in COUNTS}


@row(
    "sybil-nodes",
    promise="with 20 (40) Sybils nearer to a key than every honest node, in 10 subnets, 99 % "
    "(95 %) of gets succeed; a lookup's alarm notices 99 % of the attacked keys, and is false at "
    "most once in 100",
    pieces=KEYS // KEYS_PER_PIECE,
    judge=judge_sybils,
    reduced=Reduced(pieces=1, scale=0.2),
)
def sybil_nodes(seed: int, scale: float) -> Figures:
    """One network. A few keys at a time are surrounded in a copy of it, so that no attack finds
    what another one left, and are put and got by whoever comes; so are others, in peace."""
    simulator = Simulator(seed, addresses=scattered)
    simulator.grow(round(NODES * scale))
    simulator.run_for(60)
    cabal = Cabal.of(simulator, keys=round(65_536 * scale))
    random = Random(f"{seed} sybils")
    figures: Figures = {}
    for setting, sybils, subnets in SETTINGS:
        keys = [plain_key(f"{setting} {n}") for n in range(round(KEYS_PER_PIECE * scale))]
        tried: list[_Tried] = []
        for begin in range(0, len(keys), AT_ONCE):
            attack = partial(_attack, cabal, random, keys[begin : begin + AT_ONCE], sybils, subnets)
            tried += [_Tried(**each) for each in in_a_copy(attack)]
            random.random()  # the copy's draws are gone with it
        figures[setting] = _counted(tried)
    others = [plain_key(f"nobody's {n}") for n in range(round(NORMAL_PER_PIECE * scale))]
    figures["others"] = _counted([_tried(simulator, random, key) for key in others])
    return figures


def _attack(
    cabal: Cabal, random: Random, keys: Sequence[Key], sybils: int, subnets: int | None
) -> list[dict[str, Any]]:
    """All of these keys are surrounded, and what comes of them."""
    simulator = cabal.simulator
    for key in keys:
        cabal.surround(key, sybils, subnets=subnets, greet=_neighbours(simulator, key, 40))
    simulator.run_for(65)  # they have greeted everybody twice
    return [attrs.asdict(_tried(simulator, random, key)) for key in keys]


def _counted(tried: Sequence["_Tried"]) -> Figures:
    return {
        "tried": len(tried),
        **{name: sum(getattr(each, name) for each in tried) for name in COUNTS[1:]},
        "messages": statistics.median(each.messages for each in tried),
    }


@attrs.frozen
class _Tried:
    """What became of one key: is the right value got, for how many messages, and who alarmed?"""

    right: bool
    messages: int
    put_alarmed: bool
    get_alarmed: bool
    lookup_alarmed: bool


def _tried(simulator: Simulator, random: Random, key: Key) -> _Tried:
    """A put and a get by whoever comes, and a lookup to see whether it is noticed."""
    put: PutOutcome | None = None
    got: GetOutcome | None = None
    try:
        put = simulator.put(random.choice(simulator.living()), key, b"value")
    except QuorumNotReached as error:
        put = error.outcome
    simulator.run_for(2)
    try:
        got = simulator.get(random.choice(simulator.living()), key)
    except QuorumNotReached as error:
        got = error.outcome
    lookup = simulator.lookup(random.choice(simulator.living()), key)
    return _Tried(
        right=got is not None and got.value == b"value",
        messages=0 if got is None else got.trace.messages,
        put_alarmed=put is not None and put.alarmed,
        get_alarmed=got is not None and got.alarmed,
        lookup_alarmed=lookup.alarmed,
    )


def _neighbours(simulator: Simulator, key: Key, count: int) -> list[SimNode]:
    return sorted(simulator.living(), key=lambda node: node.contact.id ^ key)[:count]


# ------------------------------------------------------------------------------------------- liars

LYING = 0.3
LOOKUPS = 500
LOOKUPS_PER_PIECE = 50
DISJOINT = 4
FOUND_MIN = 0.99
COST_MAX = 3.0
MINUTE_S = 60.0


def judge_liars(pieces: Sequence[Figures]) -> Verdict:
    """Shares and means over all lookups; the worst of what any honest node did to the victim."""
    lookups = sum(piece["lookups"] for piece in pieces)
    found = sum(piece["found"] for piece in pieces)
    honest = sum(piece["honest_messages"] for piece in pieces) / lookups
    lied_to = sum(piece["messages"] for piece in pieces) / lookups
    worst = max(piece["victim_a_minute"] for piece in pieces)
    heard = sum(piece["victim_heard"] for piece in pieces)
    return Verdict(
        {
            "lookups": lookups,
            "found": found,
            "all_owners": sum(piece["all_owners"] for piece in pieces),
            "mean_messages": round(lied_to, 2),
            "mean_messages_honest": round(honest, 2),
            "victim_a_minute_max": worst,
            "victim_heard": heard,
        },
        found >= FOUND_MIN * lookups and lied_to <= COST_MAX * honest and 0 < worst <= 1,
        f"with {LYING:.0%} liars {found} of {lookups} lookups on {DISJOINT} disjoint paths find "
        f"the nearest honest node, with {lied_to:.1f} messages instead of {honest:.1f}; the victim "
        f"that the liars name got at most {worst} packets a minute from any node",
    )


@row(
    "lying-nodes",
    promise="among 1,000 nodes of which 30 % lie (colluders; dead, victims' and ground contacts), "
    "lookups on 4 disjoint paths succeed in 99 %, with at most 3 times the messages; a victim gets "
    "at most one packet a minute from each honest node",
    pieces=LOOKUPS // LOOKUPS_PER_PIECE,
    judge=judge_liars,
    reduced=Reduced(pieces=1, scale=0.15),
)
def lying_nodes(seed: int, scale: float) -> Figures:
    """The same lookups before and after three in ten turn liar, all at once."""
    simulator = Simulator(seed, addresses=scattered)
    simulator.grow(max(150, round(NODES * scale)))
    simulator.run_for(60)
    random = Random(f"{seed} liars")
    cabal = Cabal.of(simulator)
    nodes = simulator.living()
    liars = random.sample(nodes, round(LYING * len(nodes)))
    askers = [node for node in nodes if node not in liars]
    work = [
        (random.choice(askers), Key(random.getrandbits(256)))
        for _ in range(round(LOOKUPS_PER_PIECE * scale))
    ]
    before = [simulator.lookup(node, target, disjoint=DISJOINT) for node, target in work]
    lies = (Lie.COLLUDERS, Lie.DEAD, Lie.VICTIM, Lie.GROUND)
    for number, node in enumerate(liars):
        cabal.turn(node, lies[number % len(lies)])
    found = all_owners = messages = 0
    for node, target in work:
        outcome = simulator.lookup(node, target, disjoint=DISJOINT)
        owners = {each.contact for each in _neighbours(simulator, target, 8)}
        nearest = _neighbours(simulator, target, 1)[0].contact
        found += nearest in (*outcome.closest, node.contact)
        all_owners += owners <= {*outcome.closest, node.contact}
        messages += outcome.trace.messages
        simulator.run_for(1.0)
    return {
        "lookups": len(work),
        "found": found,
        "all_owners": all_owners,
        "messages": messages,
        "honest_messages": sum(outcome.trace.messages for outcome in before),
        "victim_a_minute": cabal.victim.most_within(MINUTE_S),
        "victim_heard": sum(map(len, cabal.victim.heard.values())),
    }


# ----------------------------------------------------------------------------------------- eclipse

CONTACTS_MAX = 6
ATTACKER_IDS = 1000
HOUR_S = 3600.0


def judge_eclipse(pieces: Sequence[Figures]) -> Verdict:
    """The most of any victim at any moment that was looked at."""
    most = {name: max(piece[name] for piece in pieces) for name in ("one subnet", "two subnets")}
    return Verdict(
        {"contacts_max": most, "bar": CONTACTS_MAX, "looks": sum(p["looks"] for p in pieces)},
        0 < max(most.values()) <= CONTACTS_MAX,
        f"an attacker with two hosts and {ATTACKER_IDS:,} ids has at most {most['one subnet']} "
        f"contacts in a victim's table from one /24, {most['two subnets']} from two",
    )


@row(
    "eclipse-two-hosts",
    promise="an attacker with 2 addresses, in one or two /24s, and 1,000 ids, near the victim and "
    "anywhere, has at most 6 contacts in the victim's table",
    pieces=4,
    judge=judge_eclipse,
    reduced=Reduced(pieces=1, scale=0.1),
)
def eclipse_two_hosts(seed: int, scale: float) -> Figures:
    """The attacker greets the victim for an hour, while honest nodes come and go."""
    figures: Figures = {"looks": 0}
    for name, hosts in (
        ("one subnet", (0xA8_00_00_01, 0xA8_00_00_02)),
        ("two subnets", (0xA8_00_00_01, 0xA8_01_00_01)),
    ):
        simulator = Simulator(seed, addresses=scattered)
        first = simulator.grow(60)
        simulator.run_for(30)
        victim = first[7]
        cabal = Cabal.of(simulator)
        ids = round(ATTACKER_IDS * scale)
        near = cabal.keys.nearest(victim.contact.id, ids // 2)
        anywhere = cabal.keys.nearest(cabal.random.getrandbits(256), ids - len(near))
        cabal.settle([*near, *anywhere], greet=[victim.contact], hosts=hosts)
        Churn(simulator, median_session_s=600.0, spare=(victim,))
        his = {contact.public_key for contact in cabal.members}
        most = 0
        for number in range(round(HOUR_S * scale / 30)):
            simulator.run_for(30)
            table = victim.engine.table.contacts()
            most = max(most, sum(contact.public_key in his for contact in table))
            figures["looks"] += 1
            if number % 4 == 0:
                simulator.lookup(victim, Key(cabal.random.getrandbits(256)))
        figures[name] = most
    return figures
