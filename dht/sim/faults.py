"""What goes wrong in a scenario, and when: drawn from a seed, printed, and done to a simulator.

Swarm testing, as TigerBeetle's simulator does it: each seed first draws *which* kinds of faults
there are and then how much of each, so that some runs have one fault at its worst and others a
little of everything. A ``Scenario`` is a value: what was drawn can be read, changed and run again.
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final, final

import attrs

from ..config import CLOCK_TOLERANCE_S
from ..errors import LocalError
from .links import LinkModel
from .simulator import SimNode, Simulator

# The worst that is drawn. Loss and duplicates are TigerBeetle's; the others are guesses.
LOSS_MAX = 0.30
DUPLICATE_MAX = 0.50
REORDER_MAX = 0.50
CORRUPT_MAX = 0.05
#: A wall clock may be off by this much; beyond a day its owner's writes are refused and stamped
#: anew (``records``: the clock rule), so some of the skews are drawn larger.
SKEW_S: Final = (5.0, 3600.0, 12 * 3600.0, 10 * 24 * 3600.0)
#: Of all nodes: how many may crash, sleep, have a wrong clock, and never come back.
CRASH_SHARE_MAX = 0.5
SUSPEND_SHARE_MAX = 0.3
SKEW_SHARE_MAX = 0.2
GONE_SHARE_MAX = 0.1
CUTS_MAX = 64
#: One scenario in so many has no faults at all: what fails there fails without an excuse.
CALM_ONE_IN = 16


@final
@attrs.frozen(kw_only=True)
class Crash:
    """A node stops dead. It starts again ``back_after_s`` later (None: never), with its store or
    without."""

    at_s: float
    node: int
    back_after_s: float | None
    keep_store: bool


@final
@attrs.frozen(kw_only=True)
class Suspend:
    """A node sleeps like a closed laptop."""

    at_s: float
    node: int
    seconds: float


@final
@attrs.frozen(kw_only=True)
class Partition:
    """The nodes named and the others do not hear each other; one-way: they are only not heard."""

    at_s: float
    seconds: float
    nodes: tuple[int, ...]
    one_way: bool


@final
@attrs.frozen(kw_only=True)
class Silence:
    """Nothing that one node sends gets through (mute), or nothing gets to it (deaf), or both."""

    at_s: float
    seconds: float
    node: int
    mute: bool
    deaf: bool


@final
@attrs.frozen(kw_only=True)
class Cut:
    """Nothing gets from one node to another; the other way stays open."""

    at_s: float
    seconds: float
    sender: int
    receiver: int


@final
@attrs.frozen(kw_only=True)
class Skew:
    """From then on a node's wall clock is so many seconds ahead of the others' (or behind)."""

    at_s: float
    node: int
    seconds: float


Fault = Crash | Suspend | Partition | Silence | Cut | Skew


@final
@attrs.frozen(kw_only=True)
class Scenario:
    """One drawn run: its rates, its timed faults, and how much is asked of the network meanwhile.

    Times are in seconds since the faults began. ``str`` shows all of it.
    """

    seed: int
    nodes: int
    duration_s: float
    links: LinkModel
    faults: tuple[Fault, ...]
    #: Operations during the faults, spread evenly at random, and over how many keys.
    operations: int
    keys: int
    #: Of the operations: the share of reads and of deletes; the rest puts.
    get_share: float
    delete_share: float
    #: Of the puts: the share that is longer than one datagram, and of content records.
    large_share: float
    content_share: float
    #: Of the puts: the share of an author's records, and of entries under topics.
    signed_share: float = 0.0
    member_share: float = 0.0
    #: Keys whose records live only so long, every third key; the others' outlive the run.
    short_ttl_s: float

    @property
    def calm(self) -> bool:
        """Does nothing go wrong?"""
        return self.links.gentle and not self.faults

    @property
    def restamps(self) -> bool:
        """Are two clocks so far apart that one may refuse what the other stamped?"""
        return any(
            isinstance(fault, Skew) and abs(fault.seconds) > CLOCK_TOLERANCE_S / 2
            for fault in self.faults
        )

    def __str__(self) -> str:
        links = self.links
        lines = [
            f"seed {self.seed}: {self.nodes} nodes, {self.duration_s:g} s",
            (
                f"  {self.operations} operations over {self.keys} keys: gets {self.get_share:.0%}, "
                f"deletes {self.delete_share:.0%}; of the puts {self.large_share:.0%} large, "
                f"{self.content_share:.0%} content, {self.signed_share:.0%} signed, "
                f"{self.member_share:.0%} members; short ttl {self.short_ttl_s:.0f} s"
            ),
            (
                f"  loss {links.loss:.1%}, duplicates {links.duplicate:.1%}, corruption "
                f"{links.corrupt:.1%}, reordering {links.reorder:.1%} by up to "
                f"{links.reorder_delay_s:.1f} s"
            ),
        ]
        lines += [f"  {fault}" for fault in self.faults]
        return "\n".join(lines)


# ------------------------------------------------------------------------------------- drawing


def draw_scenario(
    seed: int, *, nodes: int = 64, duration_s: float = 120.0, operations: int = 120
) -> Scenario:
    """What the seed stands for: the same value every time. Raises ``LocalError``."""
    if nodes <= 1 or duration_s <= 0 or operations < 0:
        raise LocalError(
            f"a scenario has at least 2 nodes, a positive duration and no negative number of "
            f"operations, got {nodes}, {duration_s:g} s and {operations}"
        )
    random = Random(f"{seed} scenario")
    # Of its own: what else a seed stands for is what it was before there were authors.
    of_authors = Random(f"{seed} authors")
    calm = random.randrange(CALM_ONE_IN) == 0

    def some(worst: float) -> float:
        return 0.0 if calm or _coin(random) else random.uniform(0, worst)

    links = LinkModel(
        loss=some(LOSS_MAX),
        duplicate=some(DUPLICATE_MAX),
        reorder=some(REORDER_MAX),
        reorder_delay_s=random.uniform(0.1, 3.0),
        corrupt=some(CORRUPT_MAX),
    )
    faults: list[Fault] = []
    for draw in () if calm else _DRAWERS:
        if _coin(random):
            faults += draw(random, nodes, duration_s)
    return Scenario(
        seed=seed,
        nodes=nodes,
        duration_s=duration_s,
        links=links,
        faults=tuple(sorted(faults, key=lambda fault: fault.at_s)),
        operations=operations,
        keys=random.randint(3, 30),
        get_share=random.uniform(0.2, 0.7),
        delete_share=random.choice([0.0, 0.05, 0.15]),
        large_share=random.choice([0.0, 0.0, 0.1, 0.3]),
        content_share=random.choice([0.0, 0.1]),
        signed_share=of_authors.choice([0.0, 0.2, 0.5]),
        member_share=of_authors.choice([0.0, 0.2, 0.5]),
        short_ttl_s=random.uniform(duration_s / 10, duration_s / 2),
    )


def _coin(random: Random) -> bool:
    return random.getrandbits(1) == 1


def _share_of(random: Random, nodes: int, share: float) -> list[int]:
    return random.sample(range(nodes), random.randint(1, max(1, int(share * nodes))))


def _span(random: Random, duration_s: float) -> tuple[float, float]:
    """When something begins, and for how long: over before the faults are."""
    at_s = random.uniform(0, 0.9 * duration_s)
    return at_s, random.uniform(0.01 * duration_s, duration_s - at_s)


def _crashes(random: Random, nodes: int, duration_s: float) -> list[Fault]:
    """Half the seeds lose disks too, and a few of their nodes never come back."""
    forgetful = _coin(random)
    gone_left = random.randint(0, int(GONE_SHARE_MAX * nodes)) if forgetful else 0
    drawn: list[Fault] = []
    for node in _share_of(random, nodes, CRASH_SHARE_MAX):
        at_s, seconds = _span(random, duration_s)
        gone = gone_left > 0
        gone_left -= gone
        drawn.append(
            Crash(
                at_s=at_s,
                node=node,
                back_after_s=None if gone else seconds,
                keep_store=not gone and not (forgetful and _coin(random)),
            )
        )
    return drawn


def _suspends(random: Random, nodes: int, duration_s: float) -> list[Fault]:
    drawn: list[Fault] = []
    for node in _share_of(random, nodes, SUSPEND_SHARE_MAX):
        at_s, seconds = _span(random, duration_s)
        drawn.append(Suspend(at_s=at_s, node=node, seconds=seconds))
    return drawn


def _partitions(random: Random, nodes: int, duration_s: float) -> list[Fault]:
    """One after the other: the network has one partition at a time."""
    drawn: list[Fault] = []
    at_s = random.uniform(0, duration_s / 2)
    for _ in range(random.randint(1, 3)):
        seconds = random.uniform(0, (duration_s - at_s) / 2)
        drawn.append(
            Partition(
                at_s=at_s,
                seconds=seconds,
                nodes=tuple(sorted(_share_of(random, nodes, 0.5))),
                one_way=_coin(random),
            )
        )
        at_s += seconds + random.uniform(0, (duration_s - at_s - seconds) / 2)
    return drawn


def _silences(random: Random, nodes: int, duration_s: float) -> list[Fault]:
    drawn: list[Fault] = []
    for node in _share_of(random, nodes, 0.1):
        at_s, seconds = _span(random, duration_s)
        mute, deaf = random.choice([(True, True), (True, False), (False, True)])
        drawn.append(Silence(at_s=at_s, seconds=seconds, node=node, mute=mute, deaf=deaf))
    return drawn


def _cuts(random: Random, nodes: int, duration_s: float) -> list[Fault]:
    drawn: list[Fault] = []
    for _ in range(random.randint(1, CUTS_MAX)):
        at_s, seconds = _span(random, duration_s)
        sender, receiver = random.sample(range(nodes), 2)
        drawn.append(Cut(at_s=at_s, seconds=seconds, sender=sender, receiver=receiver))
    return drawn


def _skews(random: Random, nodes: int, duration_s: float) -> list[Fault]:
    worst = random.choice(SKEW_S)
    return [
        Skew(
            at_s=random.choice([0.0, random.uniform(0, duration_s)]),
            node=node,
            seconds=random.uniform(-worst, worst),
        )
        for node in _share_of(random, nodes, SKEW_SHARE_MAX)
    ]


_DRAWERS: tuple[Callable[[Random, int, float], list[Fault]], ...] = (
    _crashes,
    _suspends,
    _partitions,
    _silences,
    _cuts,
    _skews,
)


# --------------------------------------------------------------------------------------- doing


def schedule_faults(simulator: Simulator, scenario: Scenario) -> None:
    """From now on the links are the scenario's, and each of its faults begins and ends in time.

    Fault numbers are places in ``simulator.nodes``. A fault whose node is down by then is none.
    """
    simulator.links.model = scenario.links
    start = simulator.now
    for fault in scenario.faults:
        simulator.at(start + fault.at_s, partial(_begin, simulator, fault))


def heal(simulator: Simulator, scenario: Scenario) -> None:
    """Every link works again, and every node that the scenario does not take for good is up.

    Clocks stay as wrong as they are: nobody promised to set them.
    """
    simulator.links.heal()
    gone = {
        fault.node
        for fault in scenario.faults
        if isinstance(fault, Crash) and fault.back_after_s is None
    }
    for node in simulator.nodes:
        if not node.alive and node.index not in gone:
            simulator.restart(node, keep_store=node.disk is not None)


def _begin(simulator: Simulator, fault: Fault) -> None:
    nodes, links = simulator.nodes, simulator.links
    end: Callable[[], None]
    match fault:
        case Crash(node=index):
            if nodes[index].alive and (len(simulator.living()) > 1):
                _crash(simulator, nodes[index], fault)
            return
        case Skew(node=index, seconds=seconds):
            nodes[index].skew_s = seconds  # a node that is down wakes up with it
            if nodes[index].alive:
                simulator.set_skew(nodes[index], seconds)
            return
        case Suspend(node=index, seconds=seconds):
            if nodes[index].alive and not nodes[index].asleep:
                simulator.suspend(nodes[index], seconds)
            return
        case Partition(nodes=members, one_way=one_way):
            others = [node.index for node in nodes if node.index not in members]
            links.partition(others, members, one_way=one_way)
            end = links.unite
        case Silence(node=index, mute=mute, deaf=deaf):
            links.silence(index, mute=mute, deaf=deaf)
            end = partial(links.silence, index, mute=False, deaf=False)
        case Cut(sender=sender, receiver=receiver):
            links.cut(sender, receiver)
            end = partial(links.mend, sender, receiver)
    simulator.at(simulator.now + fault.seconds, end)


def _crash(simulator: Simulator, node: SimNode, fault: Crash) -> None:
    simulator.crash(node, for_good=not fault.keep_store)
    if fault.back_after_s is not None:
        back = partial(_come_back, simulator, node, keep_store=fault.keep_store)
        simulator.at(simulator.now + fault.back_after_s, back)


def _come_back(simulator: Simulator, node: SimNode, *, keep_store: bool) -> None:
    if not node.alive:
        simulator.restart(node, keep_store=keep_store)
