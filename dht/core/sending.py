"""Sending one message and waiting for its answer: an operation like a get or a put.

It goes through up to three stages: who the target is (its public key, if only its id is known),
where it is (only with ``routing="iterative"``, which speaks to it directly), and the message
itself. The message is tried again over another first hop when no answer has come in time. On a walk
each attempt is several walkers, and the first answer counts; where the target is known, the first
attempt goes straight to it.
"""

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Final, final

import attrs

from ..contacts import Contact
from ..errors import DHTError, NoPeers, RemoteError
from ..keyspace import Key, key_bytes
from ..wire.messages import TTL_MAX, Message, Returned, Style
from .channel.noise import Initiator
from .dispatch import Dispatcher
from .forwarding import OFFERS_MAX, Forwarding
from .machine import FINISHED, Ask, Finished, Wait
from .operations import Local, Search
from .outcomes import Outcome, Reply
from .routing import RoutingTable
from .sealing import Sealer, Verdict, unpack_answer_untrusted
from .via import Walk
from .walking import WALK_ATTEMPTS_S, Walks

#: Seconds in which the answer to each attempt has to come. The first is long enough for a path of
#: five hops one of which is dead; the last for a server that takes its time. Guess. Together they
#: are less than what the hops remember the way back for (``relay.PATH_S``).
ATTEMPTS_S: Final = (2.0, 6.0, 12.0)

_REASONS: Final = {
    Verdict.NO_SERVER: "the node has no server for topic {topic!r}",
    Verdict.BUSY: "the node has too many messages of topic {topic!r} to answer; send it later",
    Verdict.FAILED: "the node's server for topic {topic!r} ended before it had an answer",
}


@attrs.define(eq=False)
class _Attempt:
    """The message, or the question who the target is, sent once: one way, or several walkers."""

    #: Opens the answer; None: it asks who the target is.
    noise: Initiator | None = attrs.field(repr=False)
    #: Ways that have not ended yet.
    open: int


@attrs.define(eq=False)
class _Way:
    """One of them."""

    attempt: _Attempt
    ended: bool = False


@final
@attrs.define(eq=False, kw_only=True)
class Sending:
    """One message of ours. ``named``: whom the answer to "who is that" names, or ``RemoteError``.

    ``search`` finds the target, where the message is to go straight to it; ``walk``: it goes at
    random instead; ``issuer`` is our own packed contact, where the answer is to come straight to
    us.
    """

    target: Key
    topic: str
    plain: bytes = attrs.field(repr=False)
    who: bytes = attrs.field(repr=False)
    public_key: bytes | None
    #: Where the target is, if that is known for sure.
    at: Contact | None
    search: Search | None
    issuer: bytes = attrs.field(repr=False)
    walk: Walk | None
    walks: Walks
    table: RoutingTable
    sealer: Sealer
    dispatcher: Dispatcher
    named: Callable[[bytes, Contact], list[Contact]]
    on_key: Callable[[int, bytes], None]
    local: Local
    started_at: float
    outcome: Outcome | None = attrs.field(default=None, init=False)
    error: DHTError | None = attrs.field(default=None, init=False)
    settled: bool = attrs.field(default=False, init=False)
    goes_on: bool = attrs.field(default=False, init=False)
    #: Called when something came that is not the answer to a request of this machine.
    wake: Callable[[float], object] = attrs.field(default=lambda _now: None)
    #: By the id of the route.
    _ways: dict[bytes, Forwarding] = attrs.field(factory=dict, init=False)
    _newest: _Attempt | None = attrs.field(default=None, init=False)
    _tried: int = attrs.field(default=0, init=False)
    _until: float = attrs.field(default=-inf, init=False)
    #: First hops of earlier attempts: another one is taken while there are others.
    _used: dict[int, None] = attrs.field(factory=dict, init=False)
    #: Where it was said to be, and did not take the message: somebody may lie, or be out of date.
    _wrong: dict[bytes, None] = attrs.field(factory=dict, init=False)
    _stepping: bool = attrs.field(default=False, init=False)

    # ---- the machine ----

    def next(self, now: float) -> Ask | Wait | Finished:
        self._stepping = True
        try:
            return self._next(now)
        finally:
            self._stepping = False

    def _next(self, now: float) -> Ask | Wait | Finished:
        while not self.settled:
            if self.search is not None and self.at is None:
                step = self.search.next(now)
                if step is not FINISHED:
                    return step
                self._fail("nobody knows where it is")
            elif now < self._until:
                return Wait(self._until)
            elif self._tried < len(self._attempts_s):
                self._try(now)
            else:
                self._fail("no answer came")
        return FINISHED

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        """The search was answered. It is over as soon as somebody names the target: to ask it
        where it is would only be another round trip."""
        assert self.search is not None
        self.search.on_reply(now, contact, closer)
        if contact.id == self.target:
            self._wrong.pop(contact.packed, None)
        for each in (contact, *closer):
            if each.id == self.target and self.at is None and each.packed not in self._wrong:
                self._found(each)

    def on_failure(self, now: float, contact: Contact) -> None:
        assert self.search is not None
        self.search.on_failure(now, contact)

    def on_retry(self, contact: Contact) -> None:
        assert self.search is not None
        self.search.on_retry(contact)

    # ---- attempts ----

    def _found(self, contact: Contact) -> None:
        self.at = contact
        self._learn(contact.public_key)

    def _learn(self, public_key: bytes) -> None:
        self.public_key = public_key
        self.on_key(self.target, public_key)

    def _try(self, now: float) -> None:
        self._until = now + self._attempts_s[self._tried]
        self._tried += 1
        noise: Initiator | None = None
        style, body = Style.RECORD, self.who
        if self.public_key is not None:
            style = Style.DIRECT if self.issuer else Style.PATH
            try:
                body, noise = self.sealer.seal(self.public_key, self.issuer, self.plain)
            except RemoteError:
                self._fail("its public key is none that anybody can have")
                return
        ways = self._first_hops() if self.walk is None else self._walkers(self.walk)
        if not ways:
            self._fail("no node is known that it could go through")
            return
        self._newest = attempt = _Attempt(noise, len(ways))
        for candidates in ways:
            self._used[candidates[0].id] = None
            route_id, forwarding = self.dispatcher.dispatch(
                now,
                target=key_bytes(self.target),
                style=style if self.walk is None else style.walking,
                candidates=candidates,
                body=body,
                hearing=partial(self._hear, _Way(attempt)),
                issuer=self.issuer if style is Style.DIRECT else b"",
                ttl=TTL_MAX if self.walk is None else self.walk.ttl,
            )
            self._ways[route_id] = forwarding
        if self.settled:
            self._settle()

    def _walkers(self, walk: Walk) -> list[list[Contact]]:
        """The first hops of each; only one, while the target may be where we think it is."""
        at = self.at or self.walks.where(self.target)
        if at is not None and self._tried == 1:
            return [[at, *self.walks.onward(self.target, without=(at.id,))]]
        return self.walks.starts(self.target, walk.walkers)

    def _first_hops(self) -> list[list[Contact]]:
        if self.at is not None:
            return [[self.at]]
        nearest = self.table.closest(self.target, OFFERS_MAX + len(self._used))
        others = [contact for contact in nearest if contact.id not in self._used]
        hops = (others or nearest)[:OFFERS_MAX]
        return [hops] if hops else []

    @property
    def _attempts_s(self) -> tuple[float, ...]:
        return ATTEMPTS_S if self.walk is None else WALK_ATTEMPTS_S

    def _hear(self, way: _Way, now: float, returned: Returned | None, peer: Contact | None) -> bool:
        """What came back for one attempt; the newest one fails at once if it can come to nothing,
        of an older one only an answer counts."""
        if self.settled:
            return False
        if returned is None or not returned.body:
            if self._ends(now, way):
                if returned is None and self.search is not None and self.at is not None:
                    self._wrong[self.at.packed] = None
                    self.at = None  # the search goes on
                self._wake(now)
            return True
        noise = way.attempt.noise
        if noise is None:
            heard = peer is not None and self._hear_who(now, way, returned, peer)
        else:
            heard = self._hear_answer(now, noise, returned)
        if heard:
            self._wake(now)
        return heard

    def _ends(self, now: float, way: _Way) -> bool:
        """This way leads nowhere. Was it the last one of the newest attempt?"""
        way.attempt.open -= not way.ended
        way.ended = True
        if way.attempt is not self._newest or way.attempt.open > 0:
            return False
        self._until = now
        return True

    def _hear_who(self, now: float, way: _Way, returned: Returned, peer: Contact) -> bool:
        if self.public_key is not None:
            return False
        self._ends(now, way)
        try:
            named = self.named(returned.body, peer)
        except RemoteError:
            return False
        for contact in named:
            if contact.id == self.target:  # nobody can name another key for this id
                self._learn(contact.public_key)
                if self.walk is not None:
                    self.at = contact
                self._until = now
                self._tried = 0  # that was only the question
                self._used.clear()
                break
        return True

    def _hear_answer(self, now: float, noise: Initiator, returned: Returned) -> bool:
        try:
            verdict, payload = unpack_answer_untrusted(noise.read_untrusted(returned.body))
        except RemoteError:
            return False
        if verdict is Verdict.ANSWERED:
            self.outcome = Reply(
                target=self.target,
                payload=payload,
                hops=returned.hops,
                attempts=self._tried,
                messages=self._messages(),
                elapsed=now - self.started_at,
            )
            self._settle()
        else:
            self._fail(_REASONS[verdict].format(topic=self.topic))
        return True

    def _wake(self, now: float) -> None:
        if not self._stepping:
            self.wake(now)

    # ---- the end ----

    def _messages(self) -> int:
        searched = 0 if self.search is None else self.search.trace(0.0, "").messages
        return searched + sum(forwarding.messages for forwarding in self._ways.values())

    def _fail(self, why: str) -> None:
        self.error = NoPeers(
            f"message to {self.target!r}: {why} (attempt {max(1, self._tried)} of "
            f"{len(self._attempts_s)}; tried {self.local.tried()})"
        )
        self._settle()

    def _settle(self) -> None:
        self.settled = True
        for route_id in self._ways:
            self.dispatcher.forget(route_id)


@final
@attrs.define(eq=False, kw_only=True)
class SendingHome:
    """A message to this very node: the same outcome, and nothing leaves."""

    target: Key
    topic: str
    started_at: float
    deliver: Callable[[float, Callable[[float, Verdict, bytes], None]], None]
    outcome: Outcome | None = attrs.field(default=None, init=False)
    error: DHTError | None = attrs.field(default=None, init=False)
    settled: bool = attrs.field(default=False, init=False)
    goes_on: bool = attrs.field(default=False, init=False)
    wake: Callable[[float], object] = attrs.field(default=lambda _now: None)
    _delivered: bool = attrs.field(default=False, init=False)
    _stepping: bool = attrs.field(default=False, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        if not self._delivered:
            self._delivered = self._stepping = True
            self.deliver(now, self._on_answer)
            self._stepping = False
        if now >= self.started_at + sum(ATTEMPTS_S) and not self.settled:
            self.error = NoPeers(f"message to {self.target!r}: no answer came")
            self.settled = True
        return FINISHED if self.settled else Wait(self.started_at + sum(ATTEMPTS_S))

    def _on_answer(self, now: float, verdict: Verdict, payload: bytes) -> None:
        if self.settled:
            return
        self.settled = True
        if verdict is Verdict.ANSWERED:
            self.outcome = Reply(
                target=self.target,
                payload=payload,
                hops=0,
                attempts=1,
                messages=0,
                elapsed=now - self.started_at,
            )
        else:
            why = _REASONS[verdict].format(topic=self.topic)
            self.error = NoPeers(f"message to {self.target!r}: {why}")
        if not self._stepping:
            self.wake(now)
