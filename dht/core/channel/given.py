"""What others gave us to show them later, and how they were last spoken with.

Of each contact: the token that says that we receive at our address, the cookie that lets us in
while it is under load, and, while network keys are being replaced, which of them it understands.
"""

from typing import TypeVar, final

from ...contacts import Contact
from .epochs import EPOCH_S
from .packets import NO_TOKEN

#: Memory: peers that we spoke to within two epochs.
TOKENS_MAX = 4096
#: Memory: peers that were under load.
COOKIES_MAX = 1024
#: Memory, and only while network keys are being replaced: peers of which it is known, and asked.
SPOKEN_MAX = 4096
#: Seconds. A peer that has not answered for so long is spoken to with the next network key. Less
#: than the time before the first retry (0.6 s), more than most round trips; guess.
KEY_PATIENCE_S = 0.5

_LIFE_S = 2 * EPOCH_S

_T = TypeVar("_T")


@final
class Given:
    """All of it, bounded. ``keys_count``: how many network keys there are."""

    def __init__(self, keys_count: int) -> None:
        self._keys_count = keys_count
        # packed contact -> (what it gave, when); the oldest first
        self._tokens: dict[bytes, tuple[bytes, float]] = {}
        self._cookies: dict[bytes, tuple[bytes, float]] = {}
        # packed contact -> number of a network key: what it was heard with, what we try, and when
        self._heard: dict[bytes, int] = {}
        self._tried: dict[bytes, tuple[int, float]] = {}

    def token(self, now: float, contact: Contact) -> bytes:
        """What this contact gave us within two epochs, or no token. It may have ended by now."""
        return _fresh(now, self._tokens, contact.packed) or NO_TOKEN

    def keep_token(self, now: float, contact: Contact, token: bytes) -> None:
        _keep(self._tokens, contact.packed, (token, now), TOKENS_MAX)

    def cookie(self, now: float, contact: Contact) -> bytes | None:
        """The cookie with which this contact lets us in, if it gave us one."""
        return _fresh(now, self._cookies, contact.packed)

    def keep_cookie(self, now: float, contact: Contact, cookie: bytes) -> None:
        _keep(self._cookies, contact.packed, (cookie, now), COOKIES_MAX)

    def key_for(self, now: float, contact: Contact) -> int:
        """With which network key to ask: the newest, or the one it was last heard with, or, if that
        has met silence, the next."""
        if self._keys_count == 1:
            return 0
        tried = self._tried.get(contact.packed)
        if tried is None:
            number = self._heard.get(contact.packed, 0)
        else:
            number, at = tried
            if now - at < KEY_PATIENCE_S:
                return number
            number = (number + 1) % self._keys_count
        _keep(self._tried, contact.packed, (number, now), SPOKEN_MAX)
        return number

    def heard(self, place: bytes, number: int) -> None:
        """A contact, packed, was heard with this network key."""
        if self._keys_count > 1:
            self._tried.pop(place, None)
            _keep(self._heard, place, number, SPOKEN_MAX)


def _fresh(now: float, kept: dict[bytes, tuple[bytes, float]], place: bytes) -> bytes | None:
    given = kept.get(place)
    if given is None:
        return None
    if now - given[1] >= _LIFE_S:
        del kept[place]
        return None
    return given[0]


def _keep(kept: dict[bytes, _T], place: bytes, what: _T, most: int) -> None:
    kept.pop(place, None)
    kept[place] = what
    if len(kept) > most:
        del kept[next(iter(kept))]
