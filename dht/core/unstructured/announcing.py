"""Telling index nodes what we hold, and being one of them.

A record that enters our store is announced to the index nodes nearest to its key, a moment later
and together with others; all of them again before the index forgets them, and to an index node that
we had not heard of before. Nothing here looks through the whole store in one step.
"""

from collections.abc import Sequence
from random import Random
from typing import final

import attrs

from ...contacts import Contact
from ...keyspace import key_bytes
from ...records import Kind
from ...wire.codec import encode, pack_contacts, wanted_contacts
from ...wire.messages import (
    SLOTS_MAX,
    Announce,
    Answer,
    Holders,
    Holding,
    Message,
    Slot,
    Taken,
    Taking,
)
from ..admission import Buckets, admission_source
from ..channel.face import Channel, Opened
from ..home import Home
from ..maintenance import JITTER
from ..tasks import Tasks
from ..timers import Timers
from .index import ENTRY_LIFE_MAX_S, Index
from .index_nodes import INDEX_NODES_MAX, IndexNodes
from .question import Question

#: Seconds that a new record waits for others to be announced together with it; guess.
GATHER_S = 1.0
#: Seconds between two rounds in which all is announced again: half of what an index remembers.
ROUND_S = ENTRY_LIFE_MAX_S / 2
#: Records that are looked at in one step of a round, and the pause between steps.
STEP = 64
STEP_PAUSE_S = 0.05
#: Memory: records that wait to be announced. What is beyond it is announced in the next round.
WAITING_MAX = 4096
#: Threat: who fills an index. Keys that one source may announce a second, and at once.
ANNOUNCED_S = 200.0
ANNOUNCED_BURST = 4000.0
#: Bytes of ``Holding`` that are no contacts.
RESERVE = 40


@final
@attrs.define(eq=False, kw_only=True)
class Announcing:
    """Announces what we hold, and keeps what others announce."""

    random: Random
    timers: Timers
    tasks: Tasks
    channel: Channel
    home: Home
    index_nodes: IndexNodes
    index: Index = attrs.field(init=False)
    flags: int = attrs.field(default=0, init=False)
    announced: int = attrs.field(default=0, init=False)
    _allowance: Buckets = attrs.field(init=False)
    #: Records that wait to be announced, by kind and key.
    _waiting: dict[tuple[int, int], bool] = attrs.field(factory=dict, init=False)
    _gathering: bool = attrs.field(default=False, init=False)
    #: Of the round under way: where it goes on, and whom it is for (None: for all).
    _round_at: int | None = attrs.field(default=None, init=False)
    _round_for: dict[int, bool] | None = attrs.field(default=None, init=False)
    _in_round: bool = attrs.field(default=False, init=False)
    _new_nodes: dict[int, bool] = attrs.field(factory=dict, init=False)
    _stopped: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.index = Index(self.random)
        self._allowance = Buckets(ANNOUNCED_S, ANNOUNCED_BURST)

    def start(self, now: float) -> None:
        """Arms the rounds."""
        self._arm(now)

    def stop(self) -> None:
        """The node leaves."""
        self._stopped = True

    # ---- announcing ----

    def on_stored(self, now: float, kind: int, key: int) -> None:
        """A record entered our store."""
        if kind == Kind.MEMBER or len(self._waiting) >= WAITING_MAX:
            return
        self._waiting[kind, key] = True
        if not self._gathering:
            self._gathering = True
            self.timers.at(now + GATHER_S, self._gathered, None)

    def on_index_node(self, now: float, contact: Contact) -> None:
        """An index node that we had not heard of: it should know what we hold."""
        if not self.home.storage.count or len(self._new_nodes) >= INDEX_NODES_MAX:
            return
        self._new_nodes[contact.id] = True
        if not self._in_round:
            self._in_round = True
            self.timers.at(now + GATHER_S, self._begin_round_for_new, None)

    def _gathered(self, now: float, _: None) -> None:
        self._gathering = False
        waiting, self._waiting = list(self._waiting), {}
        self._announce(now, waiting, None)

    def _arm(self, now: float) -> None:
        pause_s = ROUND_S * self.random.uniform(1 - JITTER, 1 + JITTER)
        self.timers.at(now + pause_s, self._round_due, None)

    def _round_due(self, now: float, _: None) -> None:
        if self._stopped:
            return
        self._arm(now)
        under_way = self._round_at is not None
        self._in_round = True
        self._round_at, self._round_for = None, None
        self._new_nodes.clear()
        if not under_way:  # else its next step is the first of this round
            self._step(now, None)

    def _begin_round_for_new(self, now: float, _: None) -> None:
        if self._round_at is not None:
            return
        if not self._new_nodes:  # a round for all has been there
            self._in_round = False
        else:
            self._round_for, self._new_nodes = self._new_nodes, {}
            self._step(now, None)

    def _step(self, now: float, _: None) -> None:
        """A bounded look at what we hold."""
        if self._stopped:
            return
        records, self._round_at = self.home.storage.keys_near(
            0, 0, start=self._round_at, limit=STEP
        )
        slots = [
            (int(held.record.kind), int(held.record.key))
            for held in records
            if held.record.kind is not Kind.MEMBER
        ]
        self._announce(now, slots, self._round_for)
        if self._round_at is not None:
            self.timers.at(now + STEP_PAUSE_S, self._step, None)
        elif self._new_nodes:
            self.timers.at(now + STEP_PAUSE_S, self._begin_round_for_new, None)
        else:
            self._in_round = False

    def _announce(
        self, now: float, slots: Sequence[tuple[int, int]], only: dict[int, bool] | None
    ) -> None:
        """Each to the index nodes nearest to it; ``only`` to these."""
        if self._stopped or not self.home.serves:
            return
        told: dict[Contact, list[Slot]] = {}
        for kind, key in slots:
            held = self.home.storage.get(now, kind, key)
            lease_s = 0 if held is None else int(min(held.deadline - now, ENTRY_LIFE_MAX_S))
            if held is None or not lease_s:
                continue
            if self.index_nodes.own:
                self.index.announce(now, self.home.contact, (kind, key), lease_s)
            slot = Slot(kind, key_bytes(held.record.key), lease_s)
            for node in self.index_nodes.for_key(now, key):
                if only is None or node.id in only:
                    told.setdefault(node, []).append(slot)
        for node, theirs in told.items():
            for start in range(0, len(theirs), SLOTS_MAX):
                part = tuple(theirs[start : start + SLOTS_MAX])
                self.announced += len(part)
                question = Question(node, encode(Announce(self.flags, part)), self._on_announced)
                self.tasks.spawn(now, question, structured=False)

    def _on_announced(self, now: float, contact: Contact, answer: Message | None) -> None:
        if not isinstance(answer, Taken) or answer.status == Taking.NOT_HERE:
            self.index_nodes.failed(now, contact)

    # ---- serving ----

    def serve_announce(
        self, now: float, opened: Opened, request_id: bytes, message: Announce, asker: Contact
    ) -> None:
        """Somebody holds something."""
        if not opened.proved:
            self.channel.demand_proof(now, opened.ticket)
            return
        status = Taking.TAKEN
        source = admission_source(opened.source, opened.public_key)
        if not (self.home.serves and self.index_nodes.own):
            status = Taking.NOT_HERE
        elif not self._allowance.allow(now, source, len(message.slots)):
            status = Taking.BUSY
        else:
            for slot in message.slots:
                place = (slot.kind, int.from_bytes(slot.key))
                self.index.announce(now, asker, place, slot.lease_s)
        self._answer(now, opened, request_id, Taken(self.home.time_s(now), status))

    def serve_holders(
        self, now: float, opened: Opened, request_id: bytes, message: Holders, asker: Contact
    ) -> None:
        """Somebody looks for something."""
        if not (self.home.serves and self.index_nodes.own):
            answer = Taken(self.home.time_s(now), Taking.NOT_HERE)
            self._answer(now, opened, request_id, answer)
            return
        key = int.from_bytes(message.key)
        holders = self.index.holders(now, (message.kind, key))
        nearer = [
            each
            for each in self.index_nodes.for_key(now, key)
            if each.id ^ key < self.home.contact.id ^ key and each.id != asker.id
        ]
        room = opened.room - RESERVE
        fitting = []
        for contacts in (holders, nearer):
            chosen = []
            for contact in wanted_contacts(contacts, message.flags):
                room -= len(contact.packed)
                if room >= 0 and contact.id != asker.id:
                    chosen.append(contact)
            fitting.append(pack_contacts(chosen))
        self._answer(
            now, opened, request_id, Holding(self.home.time_s(now), *fitting[0], *fitting[1])
        )

    def _answer(self, now: float, opened: Opened, request_id: bytes, answer: Answer) -> None:
        self.channel.answer(now, opened.ticket, request_id + encode(answer))
