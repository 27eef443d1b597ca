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
class Admission:
    """Says of each request whether it is served. From one source, over any stretch of time, at
    most ``requests_burst`` and ``requests_per_source_s`` for each second of it are."""

    def __init__(self, config: Config) -> None:
        self._rate = config.requests_per_source_s
        self._level_max = config.requests_burst - 1.0
        # source -> (level, at), least recently heard first
        self._levels: dict[bytes, tuple[float, float]] = {}
        #: How many requests were turned away.
        self.refused = 0

    def __len__(self) -> int:
        """How many sources are remembered."""
        return len(self._levels)

    def allow(self, now: float, source: Address, peer_key: bytes) -> bool:
        """Is a request from there served? One that is refused costs its source nothing."""
        key = admission_source(source, peer_key)
        levels = self._levels
        known = levels.pop(key, None)
        if known is None:
            levels[key] = (1.0, now)
            if len(levels) > SOURCES_MAX:
                del levels[next(iter(levels))]
            return True
        level, at = known
        if now > at:  # a clock that went back leaks nothing
            level = max(0.0, level - (now - at) * self._rate)
        admitted = level <= self._level_max
        levels[key] = (level + 1.0 if admitted else level, now)
        self.refused += not admitted
        return admitted
