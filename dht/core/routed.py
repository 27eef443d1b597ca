"""A search that begins with one routed request: ``Structured(routing="recursive")`` for records.

The request goes toward the key from node to node. Where it ends are the contacts nearest to the
key; with them the ordinary search begins, which decides everything: a hop that lies costs a round
trip, for what our own table knows takes part as before. A record that a node on the way holds is
given to the get as if its holder had been asked.
"""

from collections.abc import Callable, Iterable
from typing import Final, final

import attrs

from ..contacts import Contact
from ..errors import RemoteError
from ..keyspace import key_bytes
from ..wire.messages import Found, Message, Returned, Style
from .dispatch import Dispatcher
from .forwarding import Forwarding
from .machine import Ask, Finished, Wait
from .operations import Search
from .outcomes import Trace

#: Seconds after which the search begins with what our own table knows; as the first attempt of a
#: message (``sending``).
PATIENCE_S: Final = 2.0

#: Whom an answer names, and the answer itself with the one that gave it. Raises ``RemoteError``.
Reading = Callable[[bytes, Contact], tuple[Contact, Message, list[Contact]]]


@final
@attrs.define(eq=False, kw_only=True)
class RoutedSearch:
    """A search whose seeds are still on their way."""

    target: int
    started_at: float
    #: Begins the ordinary search, with contacts that it is to know as well.
    begin: Callable[[list[Contact]], Search]
    dispatcher: Dispatcher
    reading: Reading
    #: Called with a record that was found on the way, and its holder; it is not verified yet.
    on_found: Callable[[float, Contact, Message], None] = attrs.field(
        default=lambda _now, _holder, _found: None, init=False
    )
    #: Called when something came that is not the answer to a request of this machine.
    wake: Callable[[float], object] = attrs.field(default=lambda _now: None, init=False)
    _search: Search | None = attrs.field(default=None, init=False)
    _route_id: bytes = attrs.field(default=b"", init=False)
    _forwarding: Forwarding | None = attrs.field(default=None, init=False)

    def send(self, now: float, candidates: list[Contact], body: bytes) -> None:
        """Sends the request to its first hop; once."""
        self._route_id, self._forwarding = self.dispatcher.dispatch(
            now,
            target=key_bytes(self.target),
            style=Style.RECORD,
            candidates=candidates,
            body=body,
            hearing=self._hear,
        )
        if self._search is not None:  # nobody took it, and that was clear at once
            self.dispatcher.forget(self._route_id)

    def next(self, now: float) -> Ask | Wait | Finished:
        if self._search is None:
            until = self.started_at + PATIENCE_S
            if now < until:
                return Wait(until)
            self._go_on([])
        assert self._search is not None
        return self._search.next(now)

    def _hear(self, now: float, returned: Returned | None, peer: Contact | None) -> bool:
        if self._search is not None:
            return False
        seeds: list[Contact] = []
        if returned is not None and returned.body:
            if peer is None:
                return False
            try:
                holder, message, seeds = self.reading(returned.body, peer)
            except RemoteError:
                return False
            if isinstance(message, Found):
                self.on_found(now, holder, message)
        self._go_on(seeds)
        self.wake(now)
        return True

    def _go_on(self, seeds: list[Contact]) -> Search:
        self.dispatcher.forget(self._route_id)
        self._search = self.begin(seeds)
        return self._search

    # ---- the face of a search ----

    def on_reply(self, now: float, contact: Contact, closer: Iterable[Contact]) -> None:
        if self._search is not None:
            self._search.on_reply(now, contact, closer)

    def on_failure(self, now: float, contact: Contact) -> None:
        if self._search is not None:
            self._search.on_failure(now, contact)

    def on_retry(self, contact: Contact) -> None:
        if self._search is not None:
            self._search.on_retry(contact)

    def result(self) -> list[Contact]:
        return [] if self._search is None else self._search.result()

    def known(self) -> list[Contact]:
        return [] if self._search is None else self._search.known()

    def widen(self, want: int) -> None:
        if self._search is not None:
            self._search.widen(want)

    def distances(self, count: int) -> list[int]:
        return [] if self._search is None else self._search.distances(count)

    def why_stopped(self) -> str:
        return "" if self._search is None else self._search.why_stopped()

    def trace(
        self, now: float, stopped: str, *, holders: Iterable[Contact] = (), besides: int = 0
    ) -> Trace:
        sent = 0 if self._forwarding is None else self._forwarding.messages
        search = self._search or self._go_on([])
        return search.trace(now, stopped, holders=holders, besides=besides + sent)
