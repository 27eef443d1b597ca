"""Values too long for one datagram: those that we offer, and those that we pull for a store.

A ``Store`` with the hash of a large value is answered ``PULLING``; then its holder fetches the
value from the writer and answers the same request again.
"""

import attrs

from ..config import VALUE_INLINE_MAX
from ..contacts import Contact
from ..records import Head, hash_of_pieces, piece_hashes
from ..wire.codec import encode
from ..wire.messages import Status, Stored
from .channel.face import Channel, Ticket
from .home import Home
from .responder import Offer, Pull, Responder
from .storage import quota_source
from .tasks import Task, Tasks
from .timers import Timers
from .transfer import Transfer

#: Values being pulled from their writers at once, and from one source. Memory: each may grow to
#: ``Config.value_size_max``.
PULLS_MAX = 64
PULLS_PER_SOURCE_MAX = 8
#: Stores of one value by one writer that its end answers: its tries.
REPLIES_MAX = 2

# Who offers which version: stamped anew, the same value is another store.
_PullKey = tuple[int, Head]


@attrs.define(eq=False)
class Offers:
    """Values that owners may fetch from us while a task of ours asks them to store them."""

    responder: Responder
    _digests: dict[Task, bytes] = attrs.field(factory=dict, init=False)

    def make(self, task: Task, value: bytes) -> None:
        """Offers a value, if it is a large one, until ``withdraw``."""
        if len(value) > VALUE_INLINE_MAX:
            hashes = piece_hashes(value)
            digest = hash_of_pieces(hashes)
            self._digests[task] = digest
            self.responder.offers[digest] = Offer(value, hashes)

    def withdraw(self, task: Task) -> None:
        """The task has ended; another one may still offer the same value."""
        digest = self._digests.pop(task, None) if self._digests else None
        if digest is not None and digest not in self._digests.values():
            del self.responder.offers[digest]

    def __len__(self) -> int:
        return len(self._digests)


@attrs.define(eq=False)
class _Pulling:
    """A value under way from its writer, and every store that its end will answer."""

    pull: Pull
    asker: Contact
    #: Whose share of the pulls it takes: keys are free to make, subnets are not.
    source: bytes
    replies: list[tuple[Ticket, bytes]]


@attrs.define(eq=False)
class Pulls:
    """Values under way from their writers into our store."""

    tasks: Tasks
    timers: Timers
    responder: Responder
    channel: Channel
    flags: int
    home: Home
    _pulling: dict[_PullKey, _Pulling] = attrs.field(factory=dict, init=False)
    _keys: dict[Task, _PullKey] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._pulling)

    def begin(
        self, now: float, asker: Contact, pull: Pull, *, ticket: Ticket, request_id: bytes
    ) -> Stored:
        """The first answer to a ``Store``: ``PULLING``, or ``FULL`` when there are too many."""
        time_s = self.responder.time_s
        key = (asker.id, pull.head)
        under_way = self._pulling.get(key)
        if under_way is not None:  # the store was sent again: both its ids get the second answer
            under_way.replies.append((ticket, request_id))
            del under_way.replies[:-REPLIES_MAX]
            return Stored(time_s, Status.PULLING, 0, None, *pull.nearest)
        source = quota_source(asker.address, asker.public_key)
        of_this_source = sum(pulling.source == source for pulling in self._pulling.values())
        if len(self._pulling) >= PULLS_MAX or of_this_source >= PULLS_PER_SOURCE_MAX:
            return Stored(time_s, Status.FULL, 0, None, *pull.nearest)
        task = Task(Transfer(pull.head, asker, self.flags), self._stepped)
        self._pulling[key] = _Pulling(pull, asker, source, [(ticket, request_id)])
        self._keys[task] = key
        # Not before this answer has left: the writer should hear PULLING first.
        self.timers.at(now, self._drive, task)
        return Stored(time_s, Status.PULLING, 0, None, *pull.nearest)

    def _drive(self, now: float, task: Task) -> None:
        self.tasks.drive(now, task)

    def _stepped(self, now: float, task: Task) -> None:
        if not task.done:
            return
        pulling = self._pulling.pop(self._keys.pop(task))
        record = task.machine.record
        self.responder.time_s = self.home.time_s(now)
        if record is None:
            answer = Stored(self.responder.time_s, Status.UNFETCHED, 0, None, b"", b"")
        else:
            self.responder.wall_s = self.home.trusted_wall_s(now)
            answer = self.responder.store(
                now,
                pulling.asker,
                record,
                remaining_ms=pulling.pull.remaining_ms,
                handover=pulling.pull.handover,
                if_version=pulling.pull.if_version,
                room=0,
                nearest=(b"", b""),
                placed=pulling.pull.placed,
            )
        for ticket, request_id in pulling.replies:
            self.channel.answer(now, ticket, request_id + encode(answer))
