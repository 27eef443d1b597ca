"""The life of a view: joining, shuffling again and again, taking newcomers in.

Everything that moves entries between nodes is in this file; which entries, ``view`` decides. Join:
somebody who is known is asked for a list of peers; those are neighbours at once, and some of them
start a short random walk each, whose end takes the newcomer into its view, in the place of an entry
that it gives to the newcomer. So a newcomer is known at once, and nobody loses by it.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from random import Random
from typing import final

import attrs

from ...config import DATAGRAM_SIZE_MAX, Config
from ...contacts import Address, Contact, is_ipv6, is_local
from ...errors import RemoteError
from ...keyspace import solves_puzzle
from ...wire.codec import (
    contact_untrusted,
    encode,
    marked_untrusted,
    pack_marked,
    wanted_contacts,
)
from ...wire.messages import (
    CLIENT,
    COUNT_MAX,
    MARK_SIZE,
    WANT_IPV4,
    WANT_IPV6,
    Answer,
    Introduce,
    Message,
    Shuffle,
    Shuffled,
    Taken,
    Taking,
)
from ..admission import Buckets, admission_source
from ..channel.face import Channel, Opened
from ..home import Home
from ..maintenance import JITTER
from ..tasks import Tasks
from ..timers import Timers
from .index_nodes import IndexNodes
from .question import Ended, Question, nobody_cares
from .view import Entry, View, entry_of

#: Steps of the walk that finds a place for a newcomer. It begins at a random neighbour of somebody
#: else already, so that it need not be as long as Cyclon's, which is as long as a mean path.
INTRODUCE_STEPS = 2
#: Walks that look for a place, and seconds between two of them. Who has just come is known to so
#: many at once, and to as many as everybody else soon, by its own shuffles; guess.
INTRODUCERS = 6
INTRODUCE_PAUSE_S = 0.2
#: Seconds until a young node shuffles for the first time: it brings its neighbours into motion.
FIRST_SHUFFLE_S = 1.0
#: Seconds until somebody with few neighbours looks for more, and how often that is done before it
#: is said that there are no more: those who join at the same moment name each other at first.
JOIN_AGAIN_S = 1.0
JOIN_TRIES = 3
#: The pause grows with each attempt, up to so many times that long.
JOIN_PAUSES = 20
#: Seeds that are asked at once by somebody with few neighbours: some may be as new as we; guess.
SEEDS_ASKED = 3
#: With so many shuffles behind it a node has heard of index nodes, if there are any; guess.
YOUNG_SHUFFLES = 3
#: Neighbours that may turn out to be dead in one interval before the next begins: the dead vanish
#: so much sooner; guess.
SHUFFLES_AT_ONCE = 3
#: One shuffle in so many is with somebody who is known otherwise: two networks that grew apart, as
#: behind a cut that lasted for hours, find each other again. And every time while a view is less
#: than half full: those who joined at the same moment know only each other. Guess.
SEED_EVERY = 30
#: Floods through us: newcomers that one peer sends us, a second and at once; guess: everybody in a
#: network that doubles within seconds.
INTRODUCED_S = 5.0
INTRODUCED_BURST = 100.0
#: Eclipse: who gives its neighbours away faster than others replaces a view by what it likes. One
#: source may take part in so many shuffles in an interval, and so many at once: who keeps to the
#: protocol asks the same neighbour once in 20 intervals, and more often where there are few. What
#: asks for a list alone counts a third.
SHUFFLES_OF_SOURCE = 1 / 3
SHUFFLES_OF_SOURCE_BURST = 2.0
LIST_COSTS = 1 / 3
#: Index nodes that a shuffle names.
INDEXES_TOLD = 8
#: Bytes of a ``Shuffle`` or ``Shuffled`` that are no contacts, and of the channel around it at its
#: longest: a handshake.
RESERVE = 40
CHANNEL_RESERVE = 150
ROOM = DATAGRAM_SIZE_MAX - CHANNEL_RESERVE - RESERVE

_EVERYBODY = b"everybody"


@final
@attrs.define(eq=False, kw_only=True)
class Gossip:
    """Keeps a view in motion."""

    config: Config
    random: Random
    timers: Timers
    tasks: Tasks
    channel: Channel
    home: Home
    view: View
    index_nodes: IndexNodes
    #: Of which family are addresses of use?
    families: int
    #: Contacts that answered lately, or that the user named: whoever has no neighbours asks them.
    seeds: Callable[[], Sequence[Contact]]
    #: Called when there are neighbours for the first time, or again, and now and then.
    on_neighbours: Callable[[float], None]
    #: What our requests carry; the engine keeps it up to date.
    flags: int = attrs.field(default=0, init=False)
    shuffles: int = attrs.field(default=0, init=False)
    #: Has it come to others, and had no time yet to hear of more than its first neighbours?
    young: bool = attrs.field(default=False, init=False)
    _served: Buckets = attrs.field(init=False)
    _served_of: Buckets = attrs.field(init=False)
    _introduced: Buckets = attrs.field(init=False)
    _stopped: bool = attrs.field(default=False, init=False)
    _tries: int = attrs.field(default=0, init=False)
    #: Whom we asked to introduce us.
    _introducers: dict[int, bool] = attrs.field(factory=dict, init=False)
    #: Seeds that have been asked and have not answered yet.
    _joining: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        per_interval = self.config.shuffles_per_interval
        interval_s = self.config.shuffle_interval_s
        self._served = Buckets(per_interval / interval_s, 2 * per_interval)
        self._served_of = Buckets(SHUFFLES_OF_SOURCE / interval_s, SHUFFLES_OF_SOURCE_BURST)
        self._introduced = Buckets(INTRODUCED_S, INTRODUCED_BURST)

    @property
    def joining(self) -> bool:
        """Are there neighbours to be found yet?"""
        return self._tries > 0

    def stop(self) -> None:
        """The node leaves."""
        self._stopped = True

    def start(self, now: float) -> None:
        """Arms the rhythm."""
        self.timers.at(
            now + self._jittered(self.config.shuffle_interval_s), self._shuffle_due, None
        )

    def on_joined(self, now: float) -> None:
        """There is somebody who can be asked for a list of peers."""
        self._tries = 1
        self.young = self.shuffles < YOUNG_SHUFFLES
        self._join(now)

    # ---- joining ----

    def _join(self, now: float) -> None:
        """Asks somebody who is known otherwise for a list of peers. Who has neighbours already
        gives some of them in return."""
        seeds = self.seeds()
        if self._stopped or self._joining or not seeds:
            return
        asked = self.random.sample(seeds, min(SEEDS_ASKED if self._few else 1, len(seeds)))
        self._joining = len(asked)
        for seed in asked:
            some = self.view.sample(self.config.exchange - 1)
            given = _fitting((each for each in some if each.contact.id != seed.id), ROOM)
            count = self.config.exchange if given else min(self.config.view_size, COUNT_MAX)
            ended = partial(self._on_list, given=given)
            self._ask(now, seed, self._shuffle_body(now, given, count), ended)

    @property
    def _few(self) -> bool:
        """Is a view less than half full?"""
        return 2 * len(self.view) < self.config.view_size

    def _on_list(
        self, now: float, seed: Contact, answer: Message | None, *, given: list[Entry]
    ) -> None:
        self._joining -= 1
        entries = self._read(now, seed, answer) if isinstance(answer, Shuffled) else []
        was_alone = not len(self.view)
        self.view.merge([*entries[1:], *(entries[:1] if self._few else [])], given)
        if was_alone:
            self._tries = max(self._tries, 1)
            if len(self.view):
                self._found_some(now)
        if self._joining:
            return
        if self._tries and (not len(self.view) or (self._few and self._tries < JOIN_TRIES)):
            self._tries += 1
            self.timers.at(
                now + self._jittered(JOIN_AGAIN_S * min(self._tries, JOIN_PAUSES)),
                self._join_again,
                None,
            )
        elif self._tries:
            self._tries = 0
            self.introduce(now)
            self.on_neighbours(now)

    def _join_again(self, now: float, _: None) -> None:
        self._join(now)

    def _found_some(self, now: float) -> None:
        """There are neighbours, and were none. In a moment there are more."""
        self.timers.at(now + self._jittered(FIRST_SHUFFLE_S), self._shuffle_early, FIRST_SHUFFLE_S)

    def _shuffle_early(self, now: float, pause_s: float) -> None:
        """A young node shuffles after 1, 2, 4, 8 seconds: so it and its news are soon known."""
        if self._stopped:
            return
        self.on_neighbours(now)
        self._shuffle(now, SHUFFLES_AT_ONCE)
        self._join(now)  # whoever is known otherwise mixes us in with those who came before
        pause_s *= 2
        if pause_s < self.config.shuffle_interval_s:
            self.timers.at(now + self._jittered(pause_s), self._shuffle_early, pause_s)

    def tell_neighbours(self, now: float) -> None:
        """We keep an index from now on."""
        body = self._shuffle_body(now, [], 0)
        for contact in self.view.contacts():
            self._ask(now, contact, body)

    def introduce(self, now: float) -> None:
        """Some neighbours start a walk each that finds us a place."""
        if self.flags & CLIENT:
            return
        # One after the other: many who join at once, perhaps in one process, have enough to do.
        self._introducers.clear()
        for number in range(INTRODUCERS):
            pause_s = self._jittered(number * INTRODUCE_PAUSE_S)
            self.timers.at(now + pause_s, self._introduce_once, None)

    def _introduce_once(self, now: float, _: None) -> None:
        asked = self._introducers
        others = [each for each in self.view.contacts() if each.id not in asked]
        if others and not self._stopped:
            contact = self.random.choice(others)
            asked[contact.id] = True
            body = encode(Introduce(self.flags, b"", INTRODUCE_STEPS))
            self._ask(now, contact, body, self._on_introduced, once=True)

    def _on_introduced(self, now: float, contact: Contact, answer: Message | None) -> None:
        if answer is None:
            self.view.drop(contact.id)

    # ---- shuffling ----

    def _shuffle_due(self, now: float, _: None) -> None:
        if self._stopped:
            return
        self.on_neighbours(now)
        lonely = self._few
        self._shuffle(now, SHUFFLES_AT_ONCE)
        if lonely or not self.random.randrange(SEED_EVERY):
            self._join(now)
        self.timers.at(
            now + self._jittered(self.config.shuffle_interval_s), self._shuffle_due, None
        )

    def _shuffle(self, now: float, tries: int) -> None:
        begun = self.view.begin()
        if begun is None:
            return
        contact, chosen = begun
        given = _fitting(chosen, ROOM)
        self.shuffles += 1
        self.young = self.young and self.shuffles < YOUNG_SHUFFLES
        count = min(self.config.exchange, COUNT_MAX)

        def ended(now: float, _: Contact, answer: Message | None) -> None:
            self._on_shuffled(now, contact, given, answer, tries)

        body = self._shuffle_body(now, given, count)
        self._ask(now, contact, body, ended)

    def _on_shuffled(
        self,
        now: float,
        contact: Contact,
        given: list[Entry],
        answer: Message | None,
        tries: int,
    ) -> None:
        if isinstance(answer, Shuffled):
            entries = self._read(now, contact, answer)
            self.view.merge(entries[1:], given)
            self.view.merge(entries[:1])  # in a network smaller than a view it stays a neighbour
        elif isinstance(answer, Taken) and answer.status == Taking.BUSY:
            self.view.merge([Entry(contact)])  # it lives, and is only popular
        else:
            self.view.drop(contact.id)
            if tries > 1 and not self._stopped:
                self._shuffle(now, tries - 1)

    def _read(self, now: float, peer: Contact, message: Shuffle | Shuffled) -> list[Entry]:
        """``_read_untrusted``, or nothing."""
        try:
            return self._read_untrusted(now, peer, message)
        except RemoteError:
            return []

    # ---- serving ----

    def serve_shuffle(
        self, now: float, opened: Opened, request_id: bytes, message: Shuffle, asker: Contact
    ) -> None:
        """Gives a part of the view for what the asker gives."""
        if not opened.proved:
            self.channel.demand_proof(now, opened.ticket)
            return
        if not self.home.serves:
            return
        time_s = self.home.time_s(now)
        # A newcomer that knows nobody gets a list, and its place by being introduced.
        takes_part = bool(message.contacts4 or message.contacts6 or not message.count)
        source = admission_source(opened.source, opened.public_key)
        # A list moves no entry: what all sources together may have is limited for shuffles alone,
        # or those who join one after another through one node would wait for each other.
        if not (
            self._served_of.allow(now, source, 1.0 if takes_part else LIST_COSTS)
            and (not takes_part or self._served.allow(now, _EVERYBODY))
        ):
            self._answer(now, opened, request_id, Taken(time_s, Taking.BUSY))
            return
        entries = self._read(now, asker, message)
        if not entries:
            return
        if not takes_part and self._tries and self._tries < JOIN_TRIES:
            # We have only just come ourselves: who joins through us now would know nobody else.
            self._answer(now, opened, request_id, Taken(time_s, Taking.BUSY))
            return
        if message.flags & CLIENT or not self._usable(asker, asker.address):
            del entries[0]
        was_alone = not len(self.view)
        room = min(opened.room - RESERVE, ROOM)
        count = min(message.count, self.config.view_size)
        if takes_part:
            count = min(count, self.config.exchange)
        flags = message.flags
        given = _fitting(
            (
                each
                for each in self.view.sample(count)
                if each.contact.id != asker.id and wanted_contacts([each.contact], flags)
            ),
            room,
        )
        if takes_part:  # only what it is told of may be replaced: an entry is moved, never lost
            self.view.merge(entries, given)
        packed = self._packed(given)
        told = self._told(now, room - sum(map(len, packed)), flags)
        self._answer(now, opened, request_id, Shuffled(time_s, *packed, *told))
        if was_alone and len(self.view):
            self._found_some(now)

    def serve_introduce(
        self, now: float, opened: Opened, request_id: bytes, message: Introduce, asker: Contact
    ) -> None:
        """Passes a newcomer on, or takes it in."""
        if not opened.proved:
            self.channel.demand_proof(now, opened.ticket)
            return
        if not self.home.serves:
            return
        time_s = self.home.time_s(now)
        source = admission_source(opened.source, opened.public_key)
        if not self._introduced.allow(now, source):
            self._answer(now, opened, request_id, Taken(time_s, Taking.BUSY))
            return
        newcomer = asker
        if message.newcomer:
            try:
                newcomer = contact_untrusted(message.newcomer)
            except RemoteError:
                return
        self._answer(now, opened, request_id, Taken(time_s, Taking.TAKEN))
        if not self._usable(newcomer, asker.address) or newcomer.id == self.home.contact.id:
            return
        others = [
            contact for contact in self.view.contacts() if contact.id not in (newcomer.id, asker.id)
        ]
        ttl = min(message.ttl, INTRODUCE_STEPS)
        if ttl and others:
            body = encode(Introduce(self.flags, newcomer.packed, ttl - 1))
            self._ask(now, self.random.choice(others), body, once=True)
        elif newcomer.id not in self.view:
            self._take_in(now, newcomer)

    def _take_in(self, now: float, newcomer: Contact) -> None:
        """It is a neighbour if it answers, and gets the entry whose place it takes."""
        given = [each for each in self.view.sample(2) if each.contact.id != newcomer.id][:1]

        def ended(now: float, _: Contact, answer: Message | None) -> None:
            if isinstance(answer, Shuffled):
                was_alone = not len(self.view)
                self.view.merge([Entry(newcomer)], given)
                if was_alone:
                    self._found_some(now)

        body = self._shuffle_body(now, given, 0)
        self._ask(now, newcomer, body, ended, once=True)

    # ---- lists, for whoever wants more of the network than its own view ----

    def list_body(self, now: float) -> bytes:
        """A question for a sample of somebody's neighbours, which changes nothing there."""
        return self._shuffle_body(now, [], min(self.config.view_size, COUNT_MAX))

    def read_list(self, now: float, peer: Contact, message: Shuffled) -> list[Entry]:
        """The peer, then those that it names; nothing if that makes no sense."""
        return self._read(now, peer, message)

    def usable(self, contact: Contact, told_by: Contact) -> bool:
        """May a contact be asked that somebody named?"""
        return self._usable(contact, told_by.address)

    # ---- bytes ----

    def _packed(self, entries: Iterable[Entry]) -> tuple[bytes, bytes, bytes]:
        """Our own mark, and the entries, which fit."""
        contacts4, contacts6, marks = pack_marked((each.contact, each.mark) for each in entries)
        own = Entry(self.home.contact, 0, self.view.degree, self.index_nodes.own)
        return contacts4, contacts6, own.mark + marks

    def _told(self, now: float, room: int, flags: int) -> tuple[bytes, bytes, bytes]:
        """Some index nodes that the asker has a use for, as many as fit."""
        told = []
        for contact, age in self.index_nodes.sample(now, INDEXES_TOLD):
            room -= len(contact.packed) + 1
            if room < 0:
                break
            if wanted_contacts([contact], flags):
                told.append((contact, bytes([age])))
        return pack_marked(told)

    def _shuffle_body(self, now: float, entries: Iterable[Entry], count: int) -> bytes:
        packed = self._packed(entries)
        told = self._told(now, ROOM - sum(map(len, packed)), WANT_IPV4 | WANT_IPV6)
        return encode(Shuffle(self.flags, count, *packed, *told))

    def _read_untrusted(
        self, now: float, peer: Contact, message: Shuffle | Shuffled
    ) -> list[Entry]:
        """The entry of the peer itself, then those that it gives. The index nodes that it names
        are learnt. Raises ``RemoteError`` for lists that do not hang together."""
        own, marks = message.marks[:MARK_SIZE], message.marks[MARK_SIZE:]
        if len(own) < MARK_SIZE:
            raise RemoteError(f"{len(own)} bytes of a mark")
        marked = marked_untrusted(message.contacts4, message.contacts6, marks, mark_size=MARK_SIZE)
        told = marked_untrusted(message.indexes4, message.indexes6, message.ages, mark_size=1)
        entries = [entry_of(peer, own)._replace(age=0)]
        entries += [
            entry_of(contact, mark)
            for contact, mark in marked[:COUNT_MAX]
            if self._usable(contact, peer.address)
        ]
        for contact, age in told[:INDEXES_TOLD]:
            if self._usable(contact, peer.address):
                self.index_nodes.heard(now, contact, age[0])
        for entry in entries:
            if entry.indexes and self._usable(entry.contact, peer.address):
                itself = entry.contact is peer
                self.index_nodes.heard(now, entry.contact, entry.age, itself=itself)
        return entries

    def _usable(self, contact: Contact, told_from: Address) -> bool:
        """Can we reach it, and may whoever told us know of it? Nobody out there can know what our
        private ranges hold: that is how a stranger would make us knock at our neighbours' doors."""
        family = WANT_IPV6 if is_ipv6(contact.address) else WANT_IPV4
        return (
            contact.id != self.home.contact.id
            and bool(self.families & family)
            and (is_local(told_from) or not is_local(contact.address))
            and solves_puzzle(contact.id, self.config.id_puzzle_bits)
        )

    def _ask(
        self,
        now: float,
        contact: Contact,
        body: bytes,
        ended: Ended = nobody_cares,
        *,
        once: bool = False,
    ) -> None:
        question = Question(contact, body, ended)
        self.tasks.spawn(now, question, structured=False, once=once)

    def _answer(self, now: float, opened: Opened, request_id: bytes, answer: Answer) -> None:
        self.channel.answer(now, opened.ticket, request_id + encode(answer))

    def _jittered(self, seconds: float) -> float:
        return seconds * self.random.uniform(1 - JITTER, 1 + JITTER)


def _fitting(entries: Iterable[Entry], room: int) -> list[Entry]:
    """As many of them as there is room for."""
    fitting = []
    for entry in entries:
        room -= len(entry.contact.packed) + MARK_SIZE
        if room < 0:
            break
        fitting.append(entry)
    return fitting
