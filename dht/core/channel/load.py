"""How many handshakes of strangers are worth their price, and what is asked for before more.

A handshake costs a responder about 0.25 ms, and its first message says nothing reliable of where it
is from. As long as there are few, each is welcome. Under load only those are whose sender has shown
by a cookie that it receives at its address, and of those so many an address.
"""

from enum import Enum, auto
from typing import final

from ...contacts import Address, is_local
from ..admission import Buckets, admission_source

#: Handshakes a second that are answered without a cookie; more is load. Guess: a quarter of a core.
HANDSHAKES_PER_S = 1000.0
#: And so many at once, a tenth of a second's: whoever is served already waits for them, 25 ms. With
#: 500 the beginning of a flood was in everybody's p99; guess.
HANDSHAKES_BURST = 100.0
#: Seconds that load lasts at least, once it began. WireGuard's constant.
LOAD_HOLD_S = 1.0
#: Handshakes a second, and at once, of one address (IPv6: one /64) under load, with a cookie.
#: WireGuard's constants.
COOKIED_PER_S = 20.0
COOKIED_BURST = 5.0
#: Memory: addresses whose share is remembered. Each of them has answered with a cookie.
SOURCES_MAX = 4096


class Verdict(Enum):
    """What becomes of the first message of a handshake."""

    ADMIT = auto()
    COOKIE = auto()
    DROP = auto()


@final
class Gate:
    """Says of each first message whether its handshake is worth it."""

    def __init__(self) -> None:
        self._all = Buckets(HANDSHAKES_PER_S, HANDSHAKES_BURST, names_max=1)
        self._cookied = Buckets(COOKIED_PER_S, COOKIED_BURST, names_max=SOURCES_MAX)
        self._loaded_until = float("-inf")

    def judge(self, now: float, source: Address, *, cookied: bool, crowded: bool) -> Verdict:
        """``cookied``: it came with a cookie of that address. ``crowded``: it cannot be remembered
        any more, so only who has a cookie may come in, whatever the load."""
        if not self._all.allow(now):
            self._loaded_until = now + LOAD_HOLD_S
        if now >= self._loaded_until and not crowded:
            return Verdict.ADMIT
        if not cookied:
            return Verdict.COOKIE
        # On local ranges many nodes share an IP, and none is a stranger: there each port counts.
        key = bytes(source) if is_local(source) else admission_source(source, b"")
        return Verdict.ADMIT if self._cookied.allow(now, key) else Verdict.DROP
