"""What the network does to a datagram: delay, loss, duplication, reordering, corruption, cuts.

Everything that stands between a sender and a receiver in virtual time is in this file. Endpoints
are numbered from 0; who lives there is the caller's business. One seed decides every draw.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import exp, log, sqrt
from random import Random
from statistics import NormalDist
from typing import Any, final

import attrs

from ..errors import LocalError

# The quantiles of the round-trip time, as fine as a pair of nodes can tell.
_QUANTILES_BITS = 12
_QUANTILES = 1 << _QUANTILES_BITS
# Each endpoint is an odd number below 2**30; the product of two has its best-mixed bits in the
# middle, and fits the two 30-bit digits that CPython multiplies fast.
_MIX_BITS = 30
_MIX_SHIFT = (2 * _MIX_BITS - _QUANTILES_BITS) // 2

# How a corrupted datagram is spoilt: one in four is cut short, in the others bits are flipped.
_CUT_SHORT_SHARE = 0.25
_FLIPPED_BITS_MAX = 3


def _probability(_: object, attribute: "attrs.Attribute[Any]", value: float) -> None:
    if not 0 <= value <= 1:
        raise LocalError(f"LinkModel.{attribute.name} is a share from 0 to 1, got {value!r}")


def _share(default: float = 0.0) -> Any:
    return attrs.field(default=default, validator=_probability)


@final
@attrs.frozen(kw_only=True)
class LinkModel:
    """The rates of a network. Durations are in seconds, the others are probabilities a datagram.

    The round-trip time is log-normal over the *pairs* of nodes: each pair has its own, the same in
    both directions and for the whole run. The default is the wide-area network of the King data
    set (p2psim, Li et al. 2005: median 156 ms, mean 178 ms). Raises ``LocalError`` for values that
    no network has.
    """

    rtt_median_s: float = attrs.field(default=0.156)
    rtt_mean_s: float = attrs.field(default=0.178)
    #: Each datagram's delay lies within this share of the pair's, half of it to either side.
    jitter: float = _share(0.1)
    loss: float = _share()
    #: A second copy arrives, as late as a reordered datagram.
    duplicate: float = _share()
    #: The datagram is held back by up to ``reorder_delay_s``.
    reorder: float = _share()
    reorder_delay_s: float = 1.0
    #: Bits are flipped, or the end is cut off. UDP's own checksum is not simulated.
    corrupt: float = _share()

    def __attrs_post_init__(self) -> None:
        if not 0 < self.rtt_median_s <= self.rtt_mean_s < float("inf"):
            raise LocalError(
                f"a log-normal round-trip time has 0 < median <= mean, got a median of "
                f"{self.rtt_median_s!r} and a mean of {self.rtt_mean_s!r}"
            )
        if not 0 <= self.reorder_delay_s < float("inf"):
            raise LocalError(f"reorder_delay_s is a duration, got {self.reorder_delay_s!r}")

    @property
    def gentle(self) -> bool:
        """Does every datagram arrive once and unharmed? (It may still overtake another.)"""
        return not (self.loss or self.duplicate or self.reorder or self.corrupt)

    def healed(self) -> "LinkModel":
        """The same distances without the faults."""
        return attrs.evolve(self, loss=0.0, duplicate=0.0, reorder=0.0, corrupt=0.0)


#: Nodes all over the world, and nothing goes wrong between them.
WIDE_AREA = LinkModel()


@lru_cache(8)
def _one_way_quantiles(rtt_median_s: float, rtt_mean_s: float) -> tuple[float, ...]:
    sigma = sqrt(2 * log(rtt_mean_s / rtt_median_s))  # mean / median = exp(sigma ** 2 / 2)
    if not sigma:
        return (rtt_median_s / 2,) * _QUANTILES
    normal = NormalDist(log(rtt_median_s / 2), sigma)
    return tuple(exp(normal.inv_cdf((i + 0.5) / _QUANTILES)) for i in range(_QUANTILES))


@final
@attrs.define(eq=False)
class Links:
    """All links of one run, and the faults that hold now.

    ``join`` gives an endpoint its number. ``delay`` is the way of one datagram while ``perfect`` is
    true; otherwise ``arrivals`` says which copies of it arrive, and when.
    """

    seed: int
    #: True while nothing is lost, doubled, held back, spoilt or cut: ``delay`` says it all.
    perfect: bool = attrs.field(init=False, default=True)
    _model: LinkModel = WIDE_AREA
    _random: Random = attrs.field(init=False)
    _draw: Callable[[], float] = attrs.field(init=False)
    _mixes: list[int] = attrs.field(init=False, factory=list)
    _quantiles: tuple[float, ...] = attrs.field(init=False, default=())
    _jitter_low: float = attrs.field(init=False, default=1.0)
    _jitter_span: float = attrs.field(init=False, default=0.0)
    # Faults. Sets of numbers that are only asked, never iterated over.
    _cuts: set[tuple[int, int]] = attrs.field(init=False, factory=set)
    _mute: set[int] = attrs.field(init=False, factory=set)
    _deaf: set[int] = attrs.field(init=False, factory=set)
    _groups: dict[int, int] = attrs.field(init=False, factory=dict)
    _one_way_groups: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        # Its own stream: what the links draw depends on no other part of the run.
        self._random = Random(f"{self.seed} links")
        self._draw = self._random.random
        self.model = self._model

    # ---- the links ----

    @property
    def model(self) -> LinkModel:
        """The rates that hold now. May be set at any time, for what is sent from then on."""
        return self._model

    @model.setter
    def model(self, model: LinkModel) -> None:
        self._model = model
        self._quantiles = _one_way_quantiles(model.rtt_median_s, model.rtt_mean_s)
        self._jitter_low = 1 - model.jitter / 2
        self._jitter_span = model.jitter
        self._judge()

    def join(self) -> int:
        """A new endpoint; they are numbered from 0."""
        mix = Random(f"{self.seed} endpoint {len(self._mixes)}").getrandbits(_MIX_BITS) | 1
        self._mixes.append(mix)
        return len(self._mixes) - 1

    def rtt(self, one: int, other: int) -> float:
        """The round-trip time between two endpoints, in seconds, without jitter."""
        place = (self._mixes[one] * self._mixes[other] >> _MIX_SHIFT) & (_QUANTILES - 1)
        return 2 * self._quantiles[place]

    def delay(self, sender: int, receiver: int) -> float:
        """How long one datagram is under way, in seconds."""
        mixes = self._mixes
        place = (mixes[sender] * mixes[receiver] >> _MIX_SHIFT) & (_QUANTILES - 1)
        jitter = self._jitter_low + self._jitter_span * self._draw()
        return self._quantiles[place] * jitter

    def arrivals(self, sender: int, receiver: int, data: bytes) -> Sequence[tuple[float, bytes]]:
        """What becomes of a datagram: (delay, bytes) for each copy that arrives, or nothing."""
        if self.blocks(sender, receiver):
            return ()
        model, draw = self._model, self._draw
        if draw() < model.loss:
            return ()
        delay = self.delay(sender, receiver)
        if draw() < model.reorder:
            delay += draw() * model.reorder_delay_s
        if draw() < model.corrupt:
            data = self._spoil(data)
        if draw() < model.duplicate:
            return (delay, data), (delay + draw() * model.reorder_delay_s, data)
        return ((delay, data),)

    def _spoil(self, data: bytes) -> bytes:
        if not data:
            return data
        if self._draw() < _CUT_SHORT_SHARE:
            return data[: self._random.randrange(len(data))]
        spoilt = bytearray(data)
        for _ in range(self._random.randint(1, _FLIPPED_BITS_MAX)):
            spoilt[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        return bytes(spoilt)

    # ---- faults ----

    def blocks(self, sender: int, receiver: int) -> bool:
        """Is nothing getting from ``sender`` to ``receiver`` now?"""
        if sender in self._mute or receiver in self._deaf or (sender, receiver) in self._cuts:
            return True
        if not self._groups:
            return False
        here, there = self._groups.get(sender, 0), self._groups.get(receiver, 0)
        return here > there if self._one_way_groups else here != there

    def cut(self, sender: int, receiver: int) -> None:
        """Nothing gets from ``sender`` to ``receiver`` any more; the other way stays open."""
        self._cuts.add((sender, receiver))
        self._judge()

    def mend(self, sender: int, receiver: int) -> None:
        """Undo ``cut``."""
        self._cuts.discard((sender, receiver))
        self._judge()

    def silence(self, endpoint: int, *, mute: bool = True, deaf: bool = True) -> None:
        """Cut one endpoint off: what it sends is lost (mute), what it is sent is lost (deaf)."""
        (self._mute.add if mute else self._mute.discard)(endpoint)
        (self._deaf.add if deaf else self._deaf.discard)(endpoint)
        self._judge()

    def partition(self, *groups: Iterable[int], one_way: bool = False) -> None:
        """Endpoints reach only those of their own group. Who is in none is in the first.

        ``one_way``: an earlier group still gets through to a later one, and hears nothing back.
        Replaces the partition that was there before; ``unite`` ends it.
        """
        self._groups = {
            endpoint: number for number, group in enumerate(groups) for endpoint in group
        }
        self._one_way_groups = one_way
        self._judge()

    def unite(self) -> None:
        """Undo ``partition``."""
        self.partition()

    def heal(self) -> None:
        """Undo every cut, silence and partition, and every rate of the model but its delays."""
        self._cuts.clear()
        self._mute.clear()
        self._deaf.clear()
        self._groups = {}
        self.model = self._model.healed()

    def _judge(self) -> None:
        whole = not (self._cuts or self._mute or self._deaf or self._groups)
        self.perfect = whole and self._model.gentle
