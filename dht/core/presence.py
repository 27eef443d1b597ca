"""Finding out where this node is seen and whether it is reached, and being of use for that.

Each rhythm is one callback that arms itself again, as in ``upkeep``. What the evidence means is
decided by ``reachability``, what is done for others by ``dialback``; here they get their turn.
"""

from collections.abc import Callable, Iterable, Sequence
from math import inf
from random import Random
from typing import final

import attrs

from ..config import Config
from ..contacts import Address, Contact, HostName, Introducer, contact_at, is_ipv6, is_local
from ..errors import RemoteError
from ..wire.codec import address_untrusted, contact_untrusted, encode
from ..wire.messages import REQUEST_ID_SIZE, Dial, Dialling, DialStatus, Knock, Ping, Reach, Request
from .channel.face import Opened
from .dialback import Dialler, PassingOn
from .events import AddressChanged, Event, ReachabilityChanged
from .home import Home
from .maintenance import Probe
from .reachability import (
    CONTACTED_S,
    RECHECK_S,
    Contacted,
    ObservedAddresses,
    Reachability,
    Reachable,
    Reaching,
    source_of,
)
from .routing import RoutingTable
from .tasks import Task, Tasks

#: Peers that are asked what they see, when one saw something new: with it two more than must agree.
AROUND_MAX = 5
#: Seconds until they may be asked again; twice as long each time that they do not agree; guess.
AROUND_FIRST_S = 60.0
#: Seconds. Who joined waits a moment before it wants to be knocked at: the refreshes that follow a
#: join would otherwise meet the strangers first; guess.
SETTLE_S = 1.0
#: Seconds. Whoever is seen at another address than it listens at is behind a NAT, which forgets it
#: after 30 s of silence if it is one of the impatient; with their jitter, probes come every 24 s at
#: the latest.
KEEP_OPEN_S = 20.0


@final
@attrs.define(eq=False, kw_only=True)
class Presence:
    """This node as others see it. ``client`` is what its user said; None: it finds out."""

    told: bool | None
    #: Is our address known for sure, as the user said what it is?
    advertised: bool
    bootstrap: Sequence[Introducer]
    config: Config
    random: Random
    tasks: Tasks
    table: RoutingTable
    home: Home
    first_this_minute: Callable[[float, Address], bool]
    #: It serves from now on, or no more, or can be reached somewhere else: others should hear.
    on_change: Callable[[float], None]
    emit: Callable[[Event], None]
    #: What our requests carry; the engine keeps it up to date.
    flags: int = attrs.field(default=0, init=False)
    contacted: Contacted = attrs.field(factory=Contacted, init=False)
    observed: ObservedAddresses = attrs.field(factory=ObservedAddresses, init=False)
    serving: bool = attrs.field(init=False)
    #: Does it find out whether it is reached, and has to know whom it contacted?
    watches: bool = attrs.field(init=False)
    _listens_at: Address = attrs.field(init=False)
    _reachability: Reachability = attrs.field(init=False)
    _dialler: Dialler = attrs.field(init=False)
    _question: Task | None = attrs.field(default=None, init=False)
    _round_at: float = attrs.field(default=inf, init=False)
    _round_began: float = attrs.field(default=-inf, init=False)
    _under_way: bool = attrs.field(default=False, init=False)
    _around_at: float = attrs.field(default=-inf, init=False)
    _around_pause_s: float = attrs.field(default=AROUND_FIRST_S, init=False)
    _stopped: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._reachability = Reachability(self.random)
        self._dialler = Dialler(self.table, self.random, self.first_this_minute)
        self._listens_at = own = self.home.contact.address
        others = [each.address for each in self.bootstrap if not isinstance(each, HostName)]
        among_ourselves = is_local(own) and all(map(is_local, others))
        # The first node of a network serves at once: there is nobody who could tell, and nobody
        # could join through a client.
        self.serving = (
            not self.told if self.told is not None else among_ourselves or not self.bootstrap
        )
        self.watches = self.told is None and not among_ourselves

    @property
    def probe_max_s(self) -> float:
        """How often it should say something, at the least."""
        return KEEP_OPEN_S if self.home.contact.address != self._listens_at else inf

    @property
    def reachable(self) -> Reachable:
        return self._reachability.reachable

    def start(self, now: float) -> None:
        """Arms the rhythms."""
        if self.watches:
            self.tasks.timers.at(now + CONTACTED_S, self._turn, None)

    def stop(self) -> None:
        """The node leaves: nothing is found out any more."""
        self._stopped = True
        self.serving = False

    # ---- what the engine tells ----

    def on_joined(self, now: float) -> None:
        """We are part of a network, or again: perhaps somewhere else than before."""
        self._around_pause_s = AROUND_FIRST_S
        if not self.advertised and not self.told:
            nearest = self.table.contacts()
            public = [contact for contact in nearest if contact.subnet is not None]
            for contact in (public or nearest)[:1]:
                self._ask_what_it_sees(now, contact)
        if self.watches:
            self._reachability.impatient()
            self._plan(now, now + SETTLE_S)

    def on_pong(self, now: float, observer: Contact, packed: bytes) -> None:
        """Somebody answered a ping, and says which address it came from."""
        try:
            seen = address_untrusted(packed)
        except RemoteError:
            return
        if self.advertised or is_ipv6(seen) is not is_ipv6(self.home.contact.address):
            return
        self.observed.heard(observer, seen)
        agreed = self.observed.agreed()
        own = self.home.contact.address
        if agreed is not None and agreed != own:
            self._move(now, agreed)
        elif seen not in (own, agreed) and self.observed.said(observer) == seen:
            self._ask_around(now, seen)

    def on_sent(self, datagrams: Iterable[tuple[bytes, Address]]) -> None:
        """These go out; only of interest while it ``watches``."""
        self.contacted.add(datagrams)

    def serve(
        self, now: float, opened: Opened, request_id: bytes, message: Request, asker: Contact
    ) -> None:
        """Somebody wants a knock, or one for another, or knocks."""
        if isinstance(message, Knock):
            self._on_knock(now, message.nonce, asker.address)
        elif not opened.proved:
            self.tasks.channel.demand_proof(now, opened.ticket)  # what it asks has an effect
        elif isinstance(message, Reach | Dial) and self.home.serves:
            status = self._status(now, opened, message, asker)
            answer = Dialling(self.home.time_s(now), status)
            self.tasks.channel.answer(now, opened.ticket, request_id + encode(answer))

    def _status(
        self, now: float, opened: Opened, message: Reach | Dial, asker: Contact
    ) -> DialStatus:
        if isinstance(message, Reach):
            found = self._dialler.reach(
                now, asker, message.nonce, flags=self.flags, proved=opened.proved
            )
            if isinstance(found, PassingOn):
                self.tasks.spawn(now, found)
                return DialStatus.WILL
            return found
        try:
            target = contact_untrusted(message.contact)
        except RemoteError:
            return DialStatus.NOBODY
        status = self._dialler.dial(now, asker, target, proved=opened.proved)
        if status is DialStatus.DONE:
            knock = Knock(flags=self.flags, nonce=message.nonce)
            self.tasks.channel.ask(
                now, target, self.random.randbytes(REQUEST_ID_SIZE), encode(knock)
            )
        return status

    # ---- the address ----

    def _move(self, now: float, address: Address) -> None:
        self._around_pause_s = AROUND_FIRST_S
        self._around_at = min(self._around_at, now + AROUND_FIRST_S)
        self.home.contact = contact_at(self.home.contact.public_key, address)
        self.emit(AddressChanged(self.home.contact))
        self.on_change(now)
        if self.watches:
            self._reachability.impatient()
            self._plan(now, max(now + SETTLE_S, self._round_began + AROUND_FIRST_S))

    def _ask_around(self, now: float, seen: Address) -> None:
        """One of them sees us elsewhere. What do others see? Seldom, while they never agree: behind
        some NATs each peer sees another address."""
        if now < self._around_at or self._stopped:
            return
        self._around_at = now + self._around_pause_s
        self._around_pause_s = min(self._around_pause_s * 2, RECHECK_S)
        choice: dict[bytes, Contact] = {}
        for contact in self.table.contacts():
            if self.observed.said(contact) != seen:
                choice.setdefault(source_of(contact), contact)
        for contact in list(choice.values())[:AROUND_MAX]:
            self._ask_what_it_sees(now, contact)

    def _ask_what_it_sees(self, now: float, contact: Contact) -> None:
        self.tasks.spawn(now, Probe(contact, encode(Ping(flags=self.flags))))

    # ---- who reaches us ----

    def _turn(self, now: float, _: None) -> None:
        if not self._stopped:
            self.contacted.turn()
            self.tasks.timers.at(now + CONTACTED_S, self._turn, None)

    def _plan(self, now: float, when: float) -> None:
        """The next round begins then, and no later one does."""
        if not self._under_way and when < self._round_at:
            self._round_at = when
            self.tasks.timers.at(when, self._round_due, None)

    def _round_due(self, now: float, _: None) -> None:
        if now < self._round_at or self._under_way or self._stopped:
            return
        self._round_at = inf
        self._round_began = now
        self._under_way = True
        self._reachability.begin()
        self._next_question(now)

    def _next_question(self, now: float) -> None:
        contact = self._reachability.whom(self.table.contacts(), self.home.contact.address)
        if contact is None:
            self._conclude(now)
            return
        reach = Reach(flags=self.flags, nonce=self._reachability.wish(contact))
        self._question = Task(Reaching(contact, encode(reach)), self._stepped)
        self.tasks.drive(now, self._question)

    def _stepped(self, now: float, task: Task) -> None:
        if task.done and task is self._question and not self._stopped:
            self._question = None
            self._reachability.over(task.machine.evidence)
            self._next_question(now)

    def _on_knock(self, now: float, nonce: bytes, source: Address) -> None:
        evidence = self._reachability.knocked(
            nonce, source, self.home.contact.address, contacted=source in self.contacted
        )
        if evidence is not None and self._question is not None:
            self._question.machine.knocked(evidence)
            self.tasks.drive(now, self._question)

    def _conclude(self, now: float) -> None:
        before = (self.reachable, self.serving)
        self._under_way = False
        self._plan(now, now + self._reachability.end())
        if not len(self.table):
            self._reachability.forget()
        if self.reachable is Reachable.UNKNOWN:
            # Where everybody talks with everybody there is no stranger who could tell. Somebody
            # has to serve there, and whoever takes part is reached by all who are there.
            self.serving |= len(self.table) < self.config.k
        else:
            self.serving = self.reachable is Reachable.YES
        if (self.reachable, self.serving) != before:
            self.emit(ReachabilityChanged(self.reachable.value, self.serving))
        if self.serving != before[1]:
            self.on_change(now)
