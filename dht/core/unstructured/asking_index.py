"""A search that asks index nodes, and walks where they do not know: a way (see ``ways``).

An index node that is silent, overloaded or lying costs a question, never a wrong value: what its
holders give is checked like any copy, and when nobody gives it the walkers set out.
"""

from collections.abc import Callable
from typing import final

import attrs

from ...contacts import Contact
from ...errors import RemoteError
from ...wire.codec import unpack_contacts_untrusted
from ...wire.messages import Done, Hit, Holding, Message
from ..machine import Ask, Finished, Wait
from .branches import Costs
from .ways import Way

#: Index nodes asked in one search, those that others name included; guess: three that are known,
#: and as many nearer ones.
ASKED_MAX = 6


@final
@attrs.define(eq=False, kw_only=True)
class AskingIndex:
    """Asks index nodes for the holders of a key, then walks."""

    key: int
    body: bytes
    #: Those that are known, nearest to the key first.
    index_nodes: list[Contact]
    #: Told of a holder and how far away it is; the search asks it for the record.
    on_holder: Callable[[Contact, int], None]
    #: Told of an index node that did not answer as one.
    on_failed: Callable[[float, Contact], None]
    #: What is done when no index node knows.
    walk: Way
    #: May this contact be asked, that a stranger has named?
    usable: Callable[[Contact, Contact], bool]
    #: Holders that were named and have not been asked yet, or not answered.
    holders_open: Callable[[], bool]
    _own: Costs = attrs.field(factory=Costs, init=False)
    _asked: dict[int, int] = attrs.field(factory=dict, init=False)
    _waiting: dict[int, bool] = attrs.field(factory=dict, init=False)
    _depths: dict[int, int] = attrs.field(factory=dict, init=False)
    _walks: bool = attrs.field(default=False, init=False)

    @property
    def costs(self) -> Costs:
        walked = self.walk.costs if self._walks else Costs()
        return Costs(
            self._own.messages + walked.messages,
            self._own.duplicates + walked.duplicates,
            self._own.nodes + walked.nodes,
        )

    def next(self, now: float) -> Ask | Wait | Finished:
        if self._walks:
            return self.walk.next(now)
        while self.index_nodes and len(self._asked) < ASKED_MAX:
            contact = self.index_nodes.pop(0)
            if contact.id in self._asked:
                continue
            self._asked[contact.id] = self._depths.get(contact.id, 1)
            self._waiting[contact.id] = True
            self._own.messages += 1
            return Ask(contact, self.body)
        if self._waiting or self.holders_open():
            return Wait(None)
        self._walks = True
        return self.walk.next(now)

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        if self._waiting.pop(contact.id, None) is None:
            if self._walks:
                self.walk.on_reply(now, contact, message, closer)
            return
        self._own.nodes += 1
        if not isinstance(message, Holding):
            self.on_failed(now, contact)
            return
        try:
            holders = unpack_contacts_untrusted(message.contacts4, message.contacts6)
            nearer = unpack_contacts_untrusted(message.indexes4, message.indexes6)
        except RemoteError:
            self.on_failed(now, contact)
            return
        depth = self._asked[contact.id]
        for holder in holders:
            if self.usable(holder, contact):
                self.on_holder(holder, depth + 1)
        for each in nearer:
            if each.id ^ self.key < contact.id ^ self.key and self.usable(each, contact):
                if each.id in self._asked or each.id in self._depths:
                    self._own.duplicates += 1
                    continue
                self._depths[each.id] = depth + 1
                self.index_nodes.append(each)

    def on_failure(self, now: float, contact: Contact) -> None:
        if self._waiting.pop(contact.id, None) is not None:
            self.on_failed(now, contact)
        elif self._walks:
            self.walk.on_failure(now, contact)

    def on_retry(self, contact: Contact) -> None:
        self._own.messages += 1

    def on_hit(self, now: float, hit: Hit) -> None:
        self.walk.on_hit(now, hit)

    def on_done(self, now: float, contact: Contact, done: Done) -> None:
        self.walk.on_done(now, contact, done)

    def on_walker(self, now: float, walker: int, hops: int, *, last: bool) -> bool:
        return self.walk.on_walker(now, walker, hops, last=last)
