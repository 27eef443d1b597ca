"""How many requests of one source are served: a leaky bucket each.

Everything that limits the rate of strangers is in this file. The bucket is the generic cell rate
algorithm (ITU-T I.371) in its leaky-bucket form: a level, and when it was so. That form stays
exact at any rate, where a single time that moves by 1/rate is lost to rounding.

A source is one IPv4 address, one IPv6 /64 (which its owner fills with addresses at will), or, in
loopback and private ranges, where an address says nothing, one node key. Answers to our own
requests are no requests: nobody asks here about them.
"""

from typing import final

from ..config import Config
from ..contacts import ADDRESS4_SIZE, Address, is_local

#: Memory: sources whose level is known, about 200 B each. Who makes us forget his own level has to
#: send from this many other sources first, and each of those costs him a request as well.
SOURCES_MAX = 4096

_IPV6_PREFIX_SIZE = 8  # a /64: what one customer has at least (RFC 6177)


def admission_source(source: Address, peer_key: bytes) -> bytes:
    """What requests are counted by: 4 bytes of IPv4, 8 of IPv6, or the 32 of a node key."""
    if is_local(source):
        return peer_key
    return source[:-2] if len(source) == ADDRESS4_SIZE else source[:_IPV6_PREFIX_SIZE]


@final
class Buckets:
    """Leaky buckets by name. Through each of them, over any stretch of time, comes at most
    ``burst`` and ``rate`` for each second of it. ``names_max`` are remembered at the most."""

    def __init__(self, rate: float, burst: float, *, names_max: int = SOURCES_MAX) -> None:
        self._rate = rate
        self._burst = burst
        self._names_max = names_max
        # name -> (level, at), least recently used first
        self._levels: dict[bytes, tuple[float, float]] = {}

    @classmethod
    def a_minute(cls, count: int, *, names_max: int = SOURCES_MAX) -> "Buckets":
        """So many a minute through each, all of them at once if need be."""
        return cls(count / 60, count, names_max=names_max)

    def __len__(self) -> int:
        """How many names are remembered."""
        return len(self._levels)

    def allow(self, now: float, name: bytes = b"", amount: float = 1.0) -> bool:
        """Is there room for this much? If not, nothing is taken."""
        level = self._level(now, name)
        admitted = level + amount <= self._burst
        self._keep(name, level + amount if admitted else level, now)
        return admitted

    def take(self, now: float, name: bytes, amount: float, *, leave: float = 0.0) -> float:
        """As much of ``amount`` as there is room for; a share ``leave`` of the room stays free."""
        level = self._level(now, name)
        taken = max(0.0, min(amount, (self._burst - level) * (1 - leave)))
        self._keep(name, level + taken, now)
        return taken

    def _level(self, now: float, name: bytes) -> float:
        known = self._levels.pop(name, None)
        if known is None:
            return 0.0
        level, at = known
        if now > at:  # a clock that went back leaks nothing
            level = max(0.0, level - (now - at) * self._rate)
        return level

    def _keep(self, name: bytes, level: float, now: float) -> None:
        self._levels[name] = (level, now)
        if len(self._levels) > self._names_max:
            del self._levels[next(iter(self._levels))]


@final
class Admission:
    """Says of each request whether it is served. From one source, over any stretch of time, at
    most ``requests_burst`` and ``requests_per_source_s`` for each second of it are."""

    def __init__(self, config: Config) -> None:
        self._buckets = Buckets(config.requests_per_source_s, config.requests_burst)
        #: How many requests were turned away.
        self.refused = 0

    def __len__(self) -> int:
        """How many sources are remembered."""
        return len(self._buckets)

    def allow(self, now: float, source: Address, peer_key: bytes) -> bool:
        """Is a request from there served? One that is refused costs its source nothing."""
        admitted = self._buckets.allow(now, admission_source(source, peer_key))
        self.refused += not admitted
        return admitted
