"""Who enters the routing table and who leaves it, by what they do."""

from collections.abc import Callable
from typing import Final, final

import attrs

from ..contacts import Contact
from ..wire.messages import CLIENT, NO_TABLE, Answer, Block, Pong, Taken, Taking
from .bootstrap import Bootstrap
from .channel.face import Opened
from .events import Event, PeerAdded, PeerRemoved
from .home import Home
from .presence import Presence
from .requests import Request, Requests
from .routing import Change, RoutingTable
from .stats import Counters
from .unstructured.view import View
from .upkeep import Upkeep

# What a client answers as well, which serves nothing: it hands over the values of its puts, and
# takes the answers to what it sent. Whoever says that is not yet one to be told of.
_CLIENTS_ANSWER: Final = frozenset({Block, Taken})


@final
@attrs.define(eq=False)
class Peers:
    """What a peer's answer, its silence and its question say of it."""

    table: RoutingTable
    requests: Requests
    home: Home
    bootstrap: Bootstrap
    counters: Counters
    emit: Callable[[Event], None]
    #: Do we live in the structured overlay? Else the table is an address book, no more.
    structured: bool
    # They ask others, and so are there only after whoever is told of answers.
    upkeep: Upkeep = attrs.field(init=False)
    presence: Presence = attrs.field(init=False)
    #: Our neighbours; None: we do not live in the unstructured overlay.
    view: View | None = attrs.field(default=None, init=False)
    #: Who said last that it does not live there, while we had no neighbours: for error messages.
    not_here: Contact | None = attrs.field(default=None, init=False)

    @property
    def is_alone(self) -> bool:
        """Do we live in the unstructured overlay, and have no neighbours there?"""
        return self.view is not None and not len(self.view)

    def on_alive(self, now: float, contact: Contact, answer: Answer, structured: bool) -> None:  # noqa: FBT001 - the face of ``Tasks``
        """It answered a request of ours, from the address that was asked. ``structured``: as one
        who lives in that overlay, which alone the table is for, as long as we live there."""
        if self.bootstrap.unproved:
            identified = self.bootstrap.proved(contact)
            if identified is not None:
                self.emit(identified)
        ahead_s = answer.time_s - self.home.wall_s(now)
        self.home.clocks.add(contact, ahead_s)
        if type(answer) is Taken and answer.status == Taking.NOT_HERE and self.is_alone:
            self.not_here = contact
        if type(answer) in _CLIENTS_ANSWER and contact.id not in self.table:
            return
        if not structured and self.structured:
            return
        if self.table.add(now, contact):
            self.emit(PeerAdded(contact))
            self.upkeep.on_peer(now, contact)
        if type(answer) is Pong:
            self.presence.on_pong(now, contact, answer.seen)

    def on_silent(self, now: float, request: Request) -> None:
        """Both tries unanswered. It says something of the peer only if others were heard since:
        during an outage of our own link nobody is evicted."""
        self.counters.requests_given_up += 1
        if self.requests.last_heard_at <= request.first_sent_at:
            self.upkeep.on_silent(now, request)
            return
        self._left(now, self.table.failed(now, request.contact))

    def on_question(self, now: float, opened: Opened, flags: int, asker: Contact) -> None:
        """It asked us something, and was answered."""
        known = self.table.get(asker.id)
        if flags & (CLIENT | NO_TABLE):
            if known is not None and opened.proved:
                self._left(now, self.table.withdrawn(asker))
        elif known is None:
            self.upkeep.on_stranger(now, asker)
        elif known.packed != asker.packed:
            self.upkeep.on_moved(now, known, asker)

    def _left(self, now: float, change: Change | None) -> None:
        if change is not None:
            self.emit(PeerRemoved(change.removed))
            self.upkeep.on_peer(now, change.removed)
            if change.added is not None:
                self.emit(PeerAdded(change.added))
                self.upkeep.on_peer(now, change.added)
