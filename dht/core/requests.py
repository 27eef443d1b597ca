"""The requests in flight: whose answer is whose, how long to wait, what came too late.

Everything that knows a timeout or a round-trip time is in this file. An answer is taken only from
the peer (public key) and the address that were asked, with the id of one of the tries. Each try has
an id of its own, so that it is always known which of them was answered: every round trip counts
(RFC 6298 section 3, Karn's rule, is about protocols that cannot tell).

A request that was given up stays known for a while: a late answer is still an answer, once.
"""

from collections import OrderedDict, deque
from heapq import heappop, heappush, heapreplace
from random import Random
from typing import Any, final

import attrs

from ..config import Config
from ..contacts import Address, Contact
from ..wire.messages import REQUEST_ID_SIZE

# RFC 6298 section 2: the gains of the moving averages and the factor of the deviation.
_SRTT_GAIN = 1 / 8
_RTTVAR_GAIN = 1 / 4
_RTTVAR_FACTOR = 4

# rttvar follows the mean deviation, which is 0.8 sigma of a normal distribution:
# p75 = mean + 0.67 sigma = mean + 0.84 * rttvar; and 2 * rttvar is 1.6 sigma, about p95.
_P75_FACTOR = 0.84
_FREE_FACTOR = 2.0

#: Seconds. Nobody is asked as well, or in somebody's place, sooner: below this, what is late is
#: most often our own process, and another question only makes it later. Measured with 64 nodes in
#: one process on a busy machine: at 0.05 a put sent half as many messages more than it needs.
HASTE_MIN_S = 0.1
#: Seconds. What p75 is before anything was measured: twice the median of a wide-area pair; guess.
JOIN_AFTER_FIRST_S = 0.3
#: Seconds after the last try in which an answer still counts; guess: no path holds one longer.
LATE_S = 10.0
#: Seconds between two signs of progress of a value that is being pulled; guess: one lost block
#: and its retry take at most this long.
PULL_IDLE_S = 3.0
#: Seconds. A peer that fetches one block now and then for ever is not waited for longer; guess:
#: the largest value that can be configured, 64 MiB, at 75 kB/s.
PULL_MAX_S = 900.0
#: Memory: contacts that are named to us and never answer leave one entry each.
LATE_MAX = 1024
#: Memory: peers whose round trips we remember; a stranger may make new keys for ever.
PEERS_MAX = 4096
#: Our own round trips that stand for a peer never met.
RECENT_MAX = 128
#: Tries that ``unanswered_share`` looks back on. DESIGN: "30 % of the last 32".
ENDED_MAX = 32

_ENDED_MASK = (1 << ENDED_MAX) - 1
# System entropy costs 0.5 µs a call: ids are drawn in batches.
_ID_BATCH = 32


@final
@attrs.define(eq=False)
class Request:
    """One question to one contact, with all its tries. Only ``Requests`` changes it."""

    contact: Contact
    #: Whose question it is.
    owner: Any
    body: bytes = attrs.field(repr=False)
    first_sent_at: float
    #: When the last try left.
    sent_at: float
    #: When the last try counts as lost.
    deadline: float
    #: The ids of the tries, first to last.
    ids: tuple[bytes, ...] = attrs.field(repr=False)
    #: The number of its one live entry in the heap; 0 while it waits for nothing.
    timer: int = attrs.field(repr=False)
    tries: int = 1
    given_up: bool = False
    #: Put back once already by ``Requests.keep``.
    kept: bool = False


@final
class Requests:
    """The table of requests in flight, and what their answers taught us of each peer's speed."""

    def __init__(self, *, config: Config, random: Random) -> None:
        self._random = random
        self._first_s = config.request_timeout_first_s
        self._min_s = config.request_timeout_min_s
        self._max_s = config.request_timeout_max_s
        self._tries = config.tries
        # id of a try -> the request, and when that try left (None: its answer teaches no RTT).
        self._open: dict[bytes, tuple[Request, float | None]] = {}
        # (deadline, number, request). Entries of requests that were answered stay until they come
        # to the top: each is worth one heappop, whoever pays for it.
        self._heap: list[tuple[float, int, Request]] = []
        self._number = 0
        self._waiting = 0
        # What was given up, by the id of its first try.
        self._late: dict[bytes, Request] = {}
        self._ids: list[bytes] = []
        # public key -> (srtt, rttvar), least recently heard first
        self._peers: OrderedDict[bytes, tuple[float, float]] = OrderedDict()
        self._recent: deque[float] = deque(maxlen=RECENT_MAX)
        self._recent_new = 0
        self._p75 = JOIN_AFTER_FIRST_S
        self._p90 = self._first_s
        self._ended = 0
        #: When any peer was heard last; the engine sets it at each datagram that opens.
        self.last_heard_at = float("-inf")

    @property
    def first_timeout_s(self) -> float:
        """How long somebody whom we never met has to answer."""
        return self._first_s

    def __len__(self) -> int:
        """How many requests wait for an answer; those given up do not count."""
        return self._waiting

    # ---- asking ----

    def start(
        self, now: float, contact: Contact, owner: Any, body: bytes, *, once: bool = False
    ) -> bytes:
        """Enters a question of ``owner`` and gives the request id of its first try; ``once``: its
        only one. That is waited for as long as for all tries otherwise: a slow peer is not to be
        taken for none."""
        request_id = self._fresh_id()
        deadline = now + (self._patience_for(contact) if once else self.timeout_for(contact))
        number = self._number = self._number + 1
        request = Request(contact, owner, body, now, now, deadline, (request_id,), number)
        if once:
            request.tries = self._tries
        self._open[request_id] = (request, now)
        heappush(self._heap, (deadline, number, request))
        self._waiting += 1
        return request_id

    def take(
        self, now: float, peer_key: bytes, source: Address, request_id: bytes
    ) -> Request | None:
        """The request that this answers, which is then over; None when we asked no such thing.

        Who answers must be the peer that was asked, at the address where it was asked, with the
        id of any of the tries. One that was given up comes back too, once, ``given_up`` still set,
        until ``LATE_S`` after its last try.
        """
        entry = self._open.get(request_id)
        if entry is None:
            return None
        request, sent_at = entry
        contact = request.contact
        if contact.public_key != peer_key or contact.address != source:
            return None
        if request.given_up:
            self._drop_late(request)
            if now > request.sent_at + LATE_S:
                return None
        else:
            self._close(request)
            request.timer = 0
            self._waiting -= 1
            self._ended = self._ended << 1 & _ENDED_MASK
        if sent_at is not None:
            self._measure(contact.public_key, now - sent_at)
        return request

    def keep(self, now: float, request_id: bytes, request: Request) -> None:
        """Puts a request that ``take`` gave back in flight: a second answer follows (``PULLING``).

        The first time its deadline is ``PULL_IDLE_S`` away and it gains a try, as the second answer
        can be lost like any other. The second answer teaches no round-trip time. Bounded: only
        ``touch`` moves the deadline again, so who says ``PULLING`` for ever gains nothing by it.
        """
        assert request_id in request.ids, "only what was taken can be kept"
        if not request.kept:
            request.kept = True
            request.tries = min(request.tries, max(1, self._tries - 1))
            request.deadline = now + PULL_IDLE_S
        request.given_up = False
        for each in request.ids:
            self._open[each] = (request, None)
        self._waiting += 1
        self._arm(request)

    def touch(self, now: float, request: Request) -> None:
        """There was progress: a kept request that still waits does so for ``PULL_IDLE_S`` more,
        but no longer than ``PULL_MAX_S`` in all."""
        until = min(now + PULL_IDLE_S, request.first_sent_at + PULL_MAX_S)
        request.deadline = max(request.deadline, until)

    # ---- time ----

    def due(self, now: float) -> list[tuple[bytes | None, Request]]:
        """What has waited too long: with a new id when it is to be sent again (the caller does),
        with None when it is given up."""
        result: list[tuple[bytes | None, Request]] = []
        while (next_at := self.next_timeout()) is not None and next_at <= now:
            request = heappop(self._heap)[2]
            self._ended = (self._ended << 1 | 1) & _ENDED_MASK
            if request.tries < self._tries:
                result.append((self._try_again(now, request), request))
            else:
                self._give_up(request)
                result.append((None, request))
        self._forget_late(now)
        return result

    def next_timeout(self) -> float | None:
        """When ``due`` has something to say; None while nothing is in flight."""
        heap = self._heap
        while heap:
            deadline, number, request = heap[0]
            if request.timer != number:
                heappop(heap)
            elif request.deadline > deadline:  # touched since
                heapreplace(heap, (request.deadline, number, request))
            else:
                return deadline
        return None

    def timeout_for(self, contact: Contact) -> float:
        """Seconds to wait for the first try (RFC 6298); each further one waits twice as long."""
        peer = self._peers.get(contact.public_key)
        if peer is None:
            return self._first_s
        timeout = peer[0] + _RTTVAR_FACTOR * peer[1]
        if timeout < self._min_s:
            return self._min_s
        return min(timeout, self._max_s)

    def _patience_for(self, contact: Contact) -> float:
        """Seconds after which a contact that is asked as often as possible is given up."""
        timeout, patience = self.timeout_for(contact), 0.0
        for _ in range(self._tries):
            patience += min(timeout, self._max_s)
            timeout *= 2
        return patience

    def join_after(self, contact: Contact) -> float:
        """Seconds after which the next contact is asked as well: the p75 of this peer's round
        trips, or of all our recent ones for a peer never met."""
        peer = self._peers.get(contact.public_key)
        if peer is not None:
            return max(HASTE_MIN_S, peer[0] + _P75_FACTOR * peer[1])
        self._count_quantiles()
        return max(HASTE_MIN_S, self._p75)

    def free_after(self, contact: Contact) -> float:
        """Seconds after which a slow contact frees its slot, without being given up: about its
        p95, or the p90 of our recent round trips for a peer never met."""
        peer = self._peers.get(contact.public_key)
        if peer is not None:
            return max(HASTE_MIN_S, peer[0] + _FREE_FACTOR * peer[1])
        self._count_quantiles()
        return max(HASTE_MIN_S, self._p90)

    @property
    def unanswered_share(self) -> float:
        """The share of the last 32 tries that nobody answered in time. Those that have not
        happened yet count as answered: a young node does not widen its lookups by one loss."""
        return self._ended.bit_count() / ENDED_MAX

    # ---- inside ----

    def _fresh_id(self) -> bytes:
        ids = self._ids
        if not ids:
            drawn = self._random.randbytes(REQUEST_ID_SIZE * _ID_BATCH)
            for start in range(0, len(drawn), REQUEST_ID_SIZE):
                ids.append(drawn[start : start + REQUEST_ID_SIZE])
        request_id = ids.pop()
        return request_id if request_id not in self._open else self._fresh_id()

    def _arm(self, request: Request) -> None:
        self._number += 1
        request.timer = self._number
        heappush(self._heap, (request.deadline, self._number, request))

    def _close(self, request: Request) -> None:
        """Takes a request out of the table of ids."""
        for each in request.ids:
            del self._open[each]

    def _try_again(self, now: float, request: Request) -> bytes:
        request_id = self._fresh_id()
        timeout = self.timeout_for(request.contact) * 2**request.tries
        request.tries += 1
        request.ids += (request_id,)
        request.sent_at = now
        request.deadline = now + min(timeout, self._max_s)
        self._open[request_id] = (request, now)
        self._arm(request)
        return request_id

    def _give_up(self, request: Request) -> None:
        request.given_up = True
        request.timer = 0
        self._waiting -= 1
        self._late[request.ids[0]] = request
        if len(self._late) > LATE_MAX:
            self._drop_late(next(iter(self._late.values())))

    def _forget_late(self, now: float) -> None:
        """Oldest first. One whose last try left later than its neighbours' may stay with those
        behind it for a moment; ``take`` looks at the time itself."""
        while self._late:
            request = next(iter(self._late.values()))
            if now <= request.sent_at + LATE_S:
                return
            self._drop_late(request)

    def _drop_late(self, request: Request) -> None:
        del self._late[request.ids[0]]
        self._close(request)

    def _measure(self, peer_key: bytes, rtt: float) -> None:
        """RFC 6298 section 2.2 and 2.3."""
        peers = self._peers
        known = peers.get(peer_key)
        if known is None:
            peers[peer_key] = (rtt, rtt / 2)
            if len(peers) > PEERS_MAX:
                peers.popitem(last=False)
        else:
            srtt, rttvar = known
            peers[peer_key] = (
                srtt + _SRTT_GAIN * (rtt - srtt),
                rttvar + _RTTVAR_GAIN * (abs(rtt - srtt) - rttvar),
            )
            peers.move_to_end(peer_key)
        self._recent.append(rtt)
        self._recent_new += 1

    def _count_quantiles(self) -> None:
        """Sorting is worth it only when a good part of the sample is new: one in sixteen."""
        count = len(self._recent)
        if self._recent_new > count // 16:
            self._recent_new = 0
            ordered = sorted(self._recent)
            self._p75 = ordered[count * 3 // 4]
            self._p90 = ordered[count * 9 // 10]
