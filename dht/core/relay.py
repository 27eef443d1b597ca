"""What a node does for messages of others: passes them on, and brings their answers back.

Everything that keeps this from being a weapon is in this file. A message goes only to a contact of
our own table that is strictly nearer to its target than we are, so it ends by itself and never
comes back; or, if it walks, to one neighbour at a time, so many times and never twice to the same;
it is taken only from somebody who has shown that he is where he writes from; and an answer is
taken only from those whom we passed the message on to, and goes only to the one that we had it
from, once.
"""

from collections.abc import Callable
from typing import Any, Final, final

import attrs

from ..contacts import Contact
from ..wire.codec import encode
from ..wire.messages import TTL_MAX, WALK_TTL_MAX, Returned, Route, Style, Taken, Taking
from .admission import Buckets, admission_source
from .channel.face import Opened
from .forwarding import OFFERS_MAX, Bringing, Forwarding, Sent
from .home import Home
from .routing import RoutingTable
from .tasks import Task, Tasks
from .walking import Walks

#: Memory: messages whose way back is known, about 600 B each. Threat: a flood of messages makes us
#: forget the way of another's; it has to come from many sources, each of which has its share below.
PATHS_MAX: Final = 4096
#: Seconds for which the way back is known: longer than any sender waits (``sending``); guess.
PATH_S: Final = 30.0
#: Threat: whoever sends us one message makes others work, us and all behind us. Messages of one
#: source (an IP, a node key on local ranges) that are passed on in a minute, and of all together.
#: No more goes out than so many come in. Guess: 20 a second of one neighbour, 500 in all.
ROUTES_PER_SOURCE: Final = 1200
ROUTES_IN_ALL: Final = 30_000

#: Brings the body of an answer back to where its message came from.
Back = Callable[[float, bytes], None]
#: Takes a message that is ours; given the time, the message, how it came, and its way back.
Reached = Callable[[float, Route, Opened, Back], None]
#: The answer of this node to the record request that a message carries; None: somebody nearer may
#: know more (never when ``last``: there is nobody nearer).
Answered = Callable[[float, Route, bool], bytes | None]
#: Takes what came back for a message of our own; None: it is none of ours.
OwnReturned = Callable[[float, Opened, Returned, Contact], Taking | None]


@final
@attrs.define(eq=False)
class _Path:
    """Where a message came from, and to whom it may have gone."""

    previous: Contact
    until: float
    hops: int
    asked: dict[bytes, None] = attrs.field(factory=dict)
    returned: bool = False


@final
@attrs.define(eq=False, kw_only=True)
class Relay:
    """Serves ``Route`` and ``Returned``. Never raises for what a peer sends."""

    table: RoutingTable
    walks: Walks
    tasks: Tasks
    home: Home
    on_reached: Reached
    answer: Answered
    on_own: OwnReturned
    is_own: Callable[[bytes], bool]
    sent: Sent
    #: What our requests carry; the engine keeps it up to date.
    flags: int = attrs.field(default=0, init=False)
    #: Messages passed on, and those refused because a share was used up.
    forwarded: int = attrs.field(default=0, init=False)
    refused: int = attrs.field(default=0, init=False)
    _paths: dict[bytes, _Path] = attrs.field(factory=dict, init=False)
    _per_source: Buckets = attrs.field(init=False)
    _in_all: Buckets = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._per_source = Buckets.a_minute(ROUTES_PER_SOURCE)
        self._in_all = Buckets.a_minute(ROUTES_IN_ALL, names_max=1)

    def __len__(self) -> int:
        """How many ways back are known."""
        return len(self._paths)

    def serve(
        self, now: float, opened: Opened, request_id: bytes, message: Any, asker: Contact
    ) -> None:
        """Somebody wants a message passed on, or brings what came of one."""
        if isinstance(message, Returned):
            status = self._on_returned(now, opened, message, asker)
            self._tell(now, opened, request_id, status)
        elif not opened.proved:
            self.tasks.channel.demand_proof(now, opened.ticket)  # what it asks has an effect
        else:
            known = self._path(now, message.id)
            status = self._judge(now, opened, message, known, asker)
            self._tell(now, opened, request_id, status)  # at once: the hop before waits for it
            if status is Taking.TAKEN and known is None:
                self._take(now, opened, message, asker)

    def nearer(self, target: int, *, without: int) -> list[Contact]:
        """Whom a message may go to from here: strictly nearer to its target, nearest first."""
        own = self.table.own_id ^ target
        return [
            contact
            for contact in self.table.closest(target, OFFERS_MAX + 1)
            if contact.id ^ target < own and contact.id != without
        ][:OFFERS_MAX]

    # ---- on its way ----

    def _tell(self, now: float, opened: Opened, request_id: bytes, status: Taking) -> None:
        taken = Taken(self.home.time_s(now), status)
        self.tasks.channel.answer(now, opened.ticket, request_id + encode(taken))

    def _judge(
        self, now: float, opened: Opened, route: Route, known: _Path | None, asker: Contact
    ) -> Taking:
        if self.is_own(route.id):
            return Taking.SEEN
        if known is not None:
            # From the same hop again: what we said to it was lost.
            return Taking.TAKEN if known.previous.id == asker.id else Taking.SEEN
        if int.from_bytes(route.target) == self.table.own_id:
            return Taking.TAKEN
        if not self.home.serves or (Style(route.style).walks and self.walks.view is None):
            return Taking.NOT_HERE
        source = admission_source(opened.source, opened.public_key)
        if not (self._per_source.allow(now, source) and self._in_all.allow(now)):
            self.refused += 1
            return Taking.BUSY
        return Taking.TAKEN

    def _take(self, now: float, opened: Opened, route: Route, asker: Contact) -> None:
        path = self._remember(now, route, asker)
        target = int.from_bytes(route.target)

        def back(now: float, body: bytes) -> None:
            self._bring_back(now, route.id, path, Returned(self.flags, route.id, path.hops, body))

        if target == self.table.own_id:
            self.on_reached(now, route, opened, back)
            return
        walks = Style(route.style).walks
        ttl = route.ttl if walks else min(route.ttl, TTL_MAX)
        candidates = self._onward(target, walks, asker) if ttl else []
        answer = self.answer(now, route, not candidates)
        if answer is not None or not candidates:
            back(now, answer or b"")
            return
        self.forwarded += 1
        onward = Route(
            flags=self.flags,
            id=route.id,
            target=route.target,
            ttl=ttl - 1,
            hops=min(route.hops + 1, WALK_TTL_MAX),  # which a liar may have set to anything
            style=route.style,
            issuer=route.issuer,
            body=route.body,
        )
        free_after = self.tasks.requests.free_after
        forwarding = Forwarding(
            candidates, encode(onward), free_after, path.asked, self.sent, walks=walks
        )

        def stepped(now: float, task: Task) -> None:
            if task.done and not forwarding.taken:  # those nearer are gone: we are the nearest
                back(now, self.answer(now, route, True) or b"")  # noqa: FBT003

        self.tasks.spawn(now, forwarding, stepped)

    def _onward(self, target: int, walks: bool, asker: Contact) -> list[Contact]:  # noqa: FBT001
        if walks:
            return self.walks.onward(target, without=(asker.id,))
        return self.nearer(target, without=asker.id)

    def _path(self, now: float, route_id: bytes) -> _Path | None:
        path = self._paths.get(route_id)
        return None if path is None or now >= path.until else path

    def _remember(self, now: float, route: Route, asker: Contact) -> _Path:
        paths = self._paths
        while paths and paths[oldest := next(iter(paths))].until <= now:
            del paths[oldest]
        path = _Path(asker, now + PATH_S, route.hops)
        paths[route.id] = path
        if len(paths) > PATHS_MAX:
            del paths[next(iter(paths))]
        return path

    # ---- on its way back ----

    def _on_returned(self, now: float, opened: Opened, message: Returned, peer: Contact) -> Taking:
        status = self.on_own(now, opened, message, peer)
        if status is not None:
            return status
        path = self._path(now, message.id)
        if path is None or opened.public_key not in path.asked:
            return Taking.NOT_HERE
        if path.returned:
            return Taking.SEEN
        if not message.body and len(path.asked) > 1:
            # It is the end of one branch; whoever was too slow to say so may have another.
            del path.asked[opened.public_key]
            return Taking.TAKEN
        onward = Returned(self.flags, message.id, message.hops, message.body)
        self._bring_back(now, message.id, path, onward)
        return Taking.TAKEN

    def _bring_back(self, now: float, route_id: bytes, path: _Path, returned: Returned) -> None:
        if path.returned:
            return
        path.returned = True
        bringing = Bringing(path.previous, [encode(returned)], self.sent)
        # It has proved where it is, when it sent us the message.
        self.tasks.spawn(now, bringing, hearsay=False)
