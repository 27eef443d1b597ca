"""The promises about floods and walkers: what they cost and what they find, beside what was
published (reference tables of Lv, Cao, Cohen, Li and Shenker, ICS 2002, simulated anew)."""

from collections.abc import Sequence
from math import inf
from random import Random
from statistics import mean
from typing import Any

from dht.core.unstructured.ways import HITS
from dht.core.via import Flood, Walk
from dht.core.via import Unstructured as Via
from dht.keyspace import Key
from dht.lab.graphs import Graph, distances, largest_component, part_of, random_graph, undirected

from .frozen import Frozen
from .machine import Figures, Reduced, Verdict, row
from .rounds import walk_in_rounds
from .rows_view import grown, neighbours_of, shuffle

NODES = 10_000
#: Links a node: 4.1 neighbours in the giant component, as in the table's graph (20,091 links).
LINKS_PER_NODE = 2.01
COPIES = 0.01

# TTL -> visited share of the nodes, messages a node, share of duplicates, success with 1 % copies.
TTL_TABLE = {
    2: (0.002, 0.002, 0.001, 0.215),
    3: (0.009, 0.009, 0.004, 0.542),
    4: (0.034, 0.035, 0.019, 0.882),
    5: (0.127, 0.137, 0.074, 0.988),
    6: (0.381, 0.495, 0.230, 0.998),
    7: (0.747, 1.424, 0.476, 1.000),
    8: (0.945, 2.562, 0.631, 1.000),
    9: (0.991, 3.020, 0.672, 1.000),
    10: (0.999, 3.091, 0.677, 1.000),
}
#: Of searches for a key with 1 % copies, which go nearly everywhere.
FOUND_MIN = 0.99
#: The unit of the table's last digit, of which half may be rounded away.
TABLE_UNIT = 0.001
#: Floods of each TTL a piece: the small ones vary more, and cost less.
STARTS = {2: 100, 3: 100, 4: 60, 5: 40, 6: 12, 7: 4, 8: 3, 9: 2, 10: 2}

#: Starts a piece for which the identity is counted, beside the published table of 400 in all: a few
#: dozen floods of TTL 7 are a tenth off by chance.
COUNTED = 200

# Walkers -> hops to the first hit, messages a node, when they check every 4 steps.
WALK_TABLE = {8: (21.5, 0.0186), 16: (11.0, 0.0199), 32: (7.22, 0.0278), 64: (5.66, 0.0455)}
CHECK_EVERY = 4
#: Searches a piece and line. Of 8 walkers the hops spread as widely as they are many: the mean of
#: all four pieces is good to 1 %.
WALKS = 1600
WALKS_OURS = 400


def sparse_graph(seed: int, nodes: int) -> Graph:
    """The giant component of G(n, m) with a mean degree of 4.1."""
    graph = random_graph(nodes, int(nodes * LINKS_PER_NODE), Random(seed))
    return part_of(graph, largest_component(graph))


def floods_by_identity(graph: Graph, start: int) -> dict[int, tuple[int, int]]:
    """For each TTL of the table, whom a flood reaches and what it costs: the first sends to all its
    neighbours, and whoever is nearer than the TTL to all but the one that it has it from."""
    far = distances(graph, start)
    return {
        ttl: (
            sum(1 <= distance <= ttl for distance in far),
            len(graph[start])
            + sum(len(graph[node]) - 1 for node, distance in enumerate(far) if 1 <= distance < ttl),
        )
        for ttl in TTL_TABLE
    }


def judge_flood(pieces: Sequence[Figures]) -> Verdict:
    """Every single flood by the identity; the identity's means over many starts by the table."""
    floods = [flood for piece in pieces for flood in piece["floods"]]
    wrong = sum(
        flood["messages"] != flood["identity"] or flood["reached"] != flood["reachable"]
        for flood in floods
    )
    table: dict[str, Any] = {}
    off_max = 0.0
    compared = all(piece["nodes"] > 0.9 * NODES for piece in pieces)
    for ttl, published in TTL_TABLE.items():
        these = [flood for flood in floods if flood["ttl"] == ttl]
        counted = [piece["by_identity"][str(ttl)] for piece in pieces]
        found = tuple(mean(each[name] for each in counted) for name in ("visited", "a_node"))
        table[str(ttl)] = {
            "floods": len(these),
            "visited": found[0],
            "messages_a_node": found[1],
            "duplicates": mean(flood["duplicates"] for flood in these),
            "published": published,
        }
        for ours, theirs in zip(found, published[:2], strict=True):
            off = max(0.0, abs(ours - theirs) - TABLE_UNIT / 2) / theirs
            off_max = max(off_max, off) if compared else off_max
    return Verdict(
        {"floods": len(floods), "not_the_identity": wrong, "off_max": off_max, "table": table},
        not wrong and off_max <= 0.05,
        f"{len(floods) - wrong} of {len(floods)} floods reach and cost exactly what the identity "
        "says" + (f", which is at most {off_max:.1%} off the published table" if compared else ""),
    )


@row(
    "flood-messages",
    promise="a flood for a key that nobody holds costs exactly deg(s) + sum of deg(v) - 1 over all "
    "nearer than its TTL, and covers what the published table says, within 5 %",
    pieces=4,
    judge=judge_flood,
    reduced=Reduced(pieces=1, scale=0.03),
)
def flood_messages(seed: int, scale: float) -> Figures:
    """Floods of each TTL over a frozen graph of 10,000 real engines, from nodes by chance."""
    frozen = Frozen(seed, sparse_graph(seed, int(NODES * scale)))
    random, nodes = Random(seed), len(frozen.graph)
    floods = []
    for ttl, starts in STARTS.items():
        for number in range(max(1, int(starts * min(1.0, 10 * scale)))):
            start = random.randrange(nodes)
            key = Key(random.getrandbits(256))
            outcome, cost = frozen.search(start, key, Flood(ttl=ttl, budget=inf))
            assert outcome.record is None, number
            reachable, messages = floods_by_identity(frozen.graph, start)[ttl]
            floods.append(
                {
                    "ttl": ttl,
                    "messages": cost.searches_passed_on,
                    "identity": messages,
                    "reached": outcome.trace.nodes,
                    "reachable": reachable,
                    "duplicates": cost.searches_seen_again / cost.searches_passed_on,
                }
            )
    return {"nodes": nodes, "floods": floods, "by_identity": _counted(frozen.graph, random)}


def _counted(graph: Graph, random: Random) -> Figures:
    """What the identity says in the mean, over starts by chance."""
    nodes = len(graph)
    starts = random.sample(range(nodes), min(COUNTED, nodes))
    each = [floods_by_identity(graph, start) for start in starts]
    return {
        str(ttl): {
            "visited": mean(floods[ttl][0] for floods in each) / nodes,
            "a_node": mean(floods[ttl][1] for floods in each) / nodes,
        }
        for ttl in TTL_TABLE
    }


def judge_walkers(pieces: Sequence[Figures]) -> Verdict:
    """Means over all walks beside the table; at any size, whether they find what is there, and
    whether many find it sooner than few."""
    table: dict[str, Any] = {}
    off_max, found_min = 0.0, 1.0
    compared = all(piece["nodes"] > 0.9 * NODES for piece in pieces)
    for walkers, (hops, a_node) in WALK_TABLE.items():
        plain = _walked(pieces, str(walkers))
        table[str(walkers)] = {
            "plain": plain,
            "ours": _walked(pieces, f"{walkers} ours"),
            "published": {"hops": hops, "steps_a_node": a_node},
        }
        over_links = [
            piece["links"][f"{walkers} {reply}"]["found"]
            for piece in pieces
            for reply in ("path", "direct")
        ]
        ours = table[str(walkers)]["ours"]["found"]
        found_min = min(found_min, plain["found"], ours, mean(over_links))
        if compared:
            off_max = max(
                off_max, abs(plain["hops"] / hops - 1), abs(plain["steps_a_node"] / a_node - 1)
            )
    told = ", ".join(
        f"{walkers}: {each['plain']['hops']:.2f} hops and {each['plain']['steps_a_node']:.4f} "
        f"steps a node (ours {each['ours']['hops']:.2f} and {each['ours']['steps_a_node']:.4f})"
        for walkers, each in table.items()
    )
    few, many = (
        table[str(walkers)]["plain"]["hops"] for walkers in (min(WALK_TABLE), max(WALK_TABLE))
    )
    return Verdict(
        {
            "off_max": off_max,
            "found_min": found_min,
            "table": table,
            "over_links": [piece["links"] for piece in pieces],
        },
        off_max <= 0.1 and found_min >= FOUND_MIN and many < few,
        f"at least {found_min:.1%} of the walks find it; walkers {told}"
        + (f"; at most {off_max:.1%} off the published" if compared else ""),
    )


def _walked(pieces: Sequence[Figures], name: str) -> Figures:
    walks = [walk for piece in pieces for walk in piece[name]]
    found = [walk for walk in walks if walk["hops"]]
    return {
        "hops": mean(walk["hops"] for walk in found),
        "steps_a_node": mean(walk["steps"] for walk in walks) / pieces[0]["nodes"],
        "checks_a_node": mean(walk["checks"] for walk in walks) / pieces[0]["nodes"],
        "found": len(found) / len(walks),
    }


@row(
    "walkers",
    promise="8, 16, 32 and 64 plain walkers that check every 4 steps find one of 1 % copies in the "
    "hops and with the steps a node of the published table, within 10 %; ours are reported",
    pieces=4,
    judge=judge_walkers,
    reduced=Reduced(pieces=1, scale=0.05),
)
def walkers(seed: int, scale: float) -> Figures:
    """The walkers of our engine in rounds, as the table has them: all take a step at once, and a
    check or a hit takes no time. Those of the table may turn back at once, and begin anywhere:
    beside them ours, which do not and spread out. And ours over links, where all takes a while."""
    graph = sparse_graph(seed, int(NODES * scale))
    random = Random(seed)
    figures: Figures = {"nodes": len(graph)}
    for count in WALK_TABLE:
        for name, turn_back, times in (("", True, WALKS), (" ours", False, WALKS_OURS)):
            figures[f"{count}{name}"] = [
                walk_in_rounds(
                    graph, count, CHECK_EVERY, copies=COPIES, random=random, turn_back=turn_back
                )
                for _ in range(max(20, int(times * scale)))
            ]
    frozen = Frozen(seed, graph)
    figures["links"] = {
        f"{count} {reply}": _walks_over_links(frozen, random, count, reply, max(5, int(25 * scale)))
        for count in WALK_TABLE
        for reply in ("path", "direct")
    }
    return figures


def _walks_over_links(
    frozen: Frozen, random: Random, count: int, reply: str, times: int
) -> Figures:
    hops, steps, checks, found = [], [], [], 0
    nodes = len(frozen.graph)
    via = Walk(walkers=count, ttl=255, check_every=CHECK_EVERY, reply=reply, budget=inf)
    for _ in range(times):
        key = Key(random.getrandbits(256))
        frozen.hold(random.sample(range(nodes), max(1, int(nodes * COPIES))), key)
        outcome, cost = frozen.search(random.randrange(nodes), key, via)
        found += outcome.record is not None
        hops.append(outcome.trace.hops)
        steps.append(cost.searches_passed_on)
        checks.append(cost.checks_sent)
    return {
        "found": found / times,
        "hops": mean(hops),
        "steps_a_node": mean(steps) / nodes,
        "checks_a_node": mean(checks) / nodes,
    }


def judge_against(pieces: Sequence[Figures]) -> Verdict:
    """Sums over all searches. In a small network a flood costs more than walkers all the same."""
    ratio = _ratio(pieces, "sparse")
    own = _ratio(pieces, "own")
    found_min = min(
        sum(piece[graph][f"{way}_found"] for piece in pieces)
        / sum(piece[graph]["searches"] for piece in pieces)
        for graph in ("sparse", "own")
        for way in ("flood", "walk")
    )
    compared = all(piece["sparse"]["nodes"] > 0.9 * NODES for piece in pieces)
    return Verdict(
        {
            "ratio": ratio,
            "ratio_own_overlay": own,
            "found_min": found_min,
            "networks": list(pieces),
        },
        ratio >= (60 if compared else 1) and own >= 1 and found_min >= FOUND_MIN,
        f"a flood to TTL 8 costs {ratio:.0f} times the steps of 32 walkers on the random graph of "
        f"degree 4.1, and {own:.0f} times on the graph of our own overlay; at least "
        f"{found_min:.1%} of the searches of either find it",
    )


def _ratio(pieces: Sequence[Figures], graph: str) -> float:
    flood = sum(piece[graph]["flood"] for piece in pieces)
    return float(flood / sum(piece[graph]["walk"] for piece in pieces))


@row(
    "flood-against-walk",
    promise="with 1 % copies a flood to TTL 8 costs at least 60 times the steps of 32 walkers on "
    "the giant component of G(n, m) of degree 4.1 with 10,000 nodes, and both find 99 %",
    pieces=4,
    judge=judge_against,
    reduced=Reduced(pieces=1, scale=0.03),
)
def flood_against_walk(seed: int, scale: float) -> Figures:
    """The same searches by both, over the engine's links: the walkers answer directly, as the
    flood's holders do. And on the graph of 2,000 nodes of our own overlay."""
    times = max(3, int(12 * scale))
    simulator = grown(seed, int(2_000 * max(scale, 0.05)))
    shuffle(simulator, 20)
    graphs = {
        "sparse": sparse_graph(seed, int(NODES * scale)),
        "own": undirected(neighbours_of(simulator)),
    }
    return {
        name: _both_ways(Frozen(seed, graph), Random(seed), times) for name, graph in graphs.items()
    }


def _both_ways(frozen: Frozen, random: Random, times: int) -> Figures:
    nodes = len(frozen.graph)
    sums = {"flood": 0, "walk": 0, "flood_found": 0, "walk_found": 0}
    ways: dict[str, Via] = {
        "flood": Flood(ttl=8, reply="direct", budget=inf),
        "walk": Walk(walkers=32, ttl=255, check_every=CHECK_EVERY, reply="direct", budget=inf),
    }
    for _ in range(times):
        key, start = Key(random.getrandbits(256)), random.randrange(nodes)
        frozen.hold(random.sample(range(nodes), max(1, int(nodes * COPIES))), key)
        for name, via in ways.items():
            outcome, cost = frozen.search(start, key, via)
            sums[name] += cost.searches_passed_on
            sums[f"{name}_found"] += outcome.record is not None
    return {"nodes": nodes, "searches": times, **sums}


def judge_replies(pieces: Sequence[Figures]) -> Verdict:
    """Both ways must bring the same; and a walk that is to be answered directly is: nobody passes
    an answer back."""
    same = all(piece["same"] == piece["searches"] for piece in pieces)
    means = {
        name: mean(piece[name] for piece in pieces)
        for name in ("path_hops", "direct_hops", "path_replies", "direct_replies")
    }
    relayed = {
        name: sum(piece[name] for piece in pieces)
        for name in ("path_walks_relayed", "direct_walks_relayed")
    }
    return Verdict(
        {**means, **relayed, "same": same, "searches": sum(piece["searches"] for piece in pieces)},
        same and relayed["path_walks_relayed"] > 0 and not relayed["direct_walks_relayed"],
        f"both ways find the same records: along the path {means['path_hops']:.2f} hops and "
        f"{means['path_replies']:.0f} messages back a search, directly "
        f"{means['direct_hops']:.2f} and {means['direct_replies']:.0f}; of walks "
        f"{relayed['path_walks_relayed']} answers are passed back in the one way, "
        f"{relayed['direct_walks_relayed']} in the other",
    )


@row(
    "reply-ways",
    promise="an answer along the path and one straight to the issuer bring the same records, and "
    "nobody passes back what walkers find that may be answered straight; the hops and the messages "
    "of both are reported",
    pieces=2,
    judge=judge_replies,
    reduced=Reduced(pieces=1, scale=0.05),
)
def reply_ways(seed: int, scale: float) -> Figures:
    """Floods to TTL 6 and walks over the random graph, each both ways.

    Four holders at the most may open to an issuer, whatever it says: the others answer along the
    path. So four walkers set out, one for each; of a flood, which meets many holders at once, the
    first answer comes along the path nearly always, and its figures hardly differ."""
    frozen = Frozen(seed, sparse_graph(seed, int(NODES * scale)))
    random, nodes = Random(seed), len(frozen.graph)
    hops: dict[str, list[int]] = {"path": [], "direct": []}
    replies: dict[str, list[int]] = {"path": [], "direct": []}
    relayed = {"path": 0, "direct": 0}
    same, searches = 0, max(4, int(20 * scale))
    for number in range(searches):
        key, start = Key(random.getrandbits(256)), random.randrange(nodes)
        frozen.hold(random.sample(range(nodes), max(1, int(nodes * COPIES))), key)
        found = []
        for reply in ("path", "direct"):
            via: Via = Flood(ttl=6, reply=reply, budget=inf)
            if number % 2:
                via = Walk(walkers=HITS, ttl=255, reply=reply)
            outcome, cost = frozen.search(start, key, via)
            found.append(outcome.record)
            hops[reply].append(outcome.trace.hops)
            replies[reply].append(cost.hits_passed_back + cost.searches_answered)
            if number % 2:
                # Who opens to the issuer counts as one that passes its answer back.
                opened = cost.searches_answered if reply == "direct" else 0
                relayed[reply] += cost.hits_passed_back - opened
        same += found[0] is not None and found[0] == found[1]
    return {
        "searches": searches,
        "same": same,
        **{f"{reply}_hops": mean(each) for reply, each in hops.items()},
        **{f"{reply}_replies": mean(each) for reply, each in replies.items()},
        **{f"{reply}_walks_relayed": each for reply, each in relayed.items()},
    }
