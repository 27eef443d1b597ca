"""The unstructured overlay of one node: its parts, which of them serves which message, and the
operations that begin in it."""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any, final

import attrs

from ...author import Author
from ...config import Config
from ...contacts import Contact, is_local
from ...errors import LocalError
from ...keyspace import Key, key_bytes
from ...records import Kind
from ...wire.codec import encode
from ...wire.messages import (
    BIAS,
    DIRECT,
    KEEP,
    SEARCH_ID_SIZE,
    STATE,
    WALK,
    Announce,
    Copy,
    Done,
    Hit,
    Holders,
    Introduce,
    Search,
    Shuffle,
    Wanted,
)
from ..channel.face import Channel
from ..home import Home
from ..tasks import Task, Tasks
from ..timers import Timers
from ..via import Flood, Index, Placement, Walk
from ..via import Unstructured as Via
from .announcing import Announcing
from .asking_index import AskingIndex
from .branches import SearchCounters
from .finding import Finding
from .gossip import Gossip
from .index_nodes import IndexNodes
from .placing import Placing, Publication, Publications
from .searching import Searching
from .view import View
from .ways import HITS, Flooding, Walking, Way

#: Seconds between two looks at what is to be renewed.
RENEWALS_S = 60.0

#: The statistics of a node that is not in this overlay.
NO_OVERLAY: dict[str, Any] = {
    "neighbours": 0,
    "keeps_index": False,
    "index_entries": 0,
    "shuffles": 0,
    **attrs.asdict(SearchCounters()),
}


@final
@attrs.define(eq=False, kw_only=True)
class Unstructured:
    """Owns the machines of the overlay. ``seeds``: whom to ask for a list of peers."""

    config: Config
    random: Random
    timers: Timers
    tasks: Tasks
    channel: Channel
    home: Home
    families: int
    private_network: bool
    seeds: Callable[[], Sequence[Contact]]
    #: Stores a copy that is passed back on its way, if it may be kept.
    keep: Callable[[float, Contact, Copy], None]
    #: Offers a value to whoever is asked to store it, while the task runs; and withdraws it.
    offer: Callable[[Task, bytes], None]
    withdraw: Callable[[Task], None]
    view: View = attrs.field(init=False)
    index_nodes: IndexNodes = attrs.field(init=False)
    gossip: Gossip = attrs.field(init=False)
    searching: Searching = attrs.field(init=False)
    announcing: Announcing = attrs.field(init=False)
    publications: Publications = attrs.field(init=False)
    flags: int = attrs.field(default=0, init=False)
    _stopped: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        own_id = self.home.contact.id
        self.view = View(own_id, self.config, self.random)
        self.index_nodes = IndexNodes(own_id, self.config, self.random)
        self.publications = Publications(self.random)
        parts: dict[str, Any] = {
            "random": self.random,
            "tasks": self.tasks,
            "channel": self.channel,
            "home": self.home,
        }
        self.gossip = Gossip(
            config=self.config,
            timers=self.timers,
            view=self.view,
            index_nodes=self.index_nodes,
            families=self.families,
            seeds=self.seeds,
            on_neighbours=self._on_neighbours,
            **parts,
        )
        self.searching = Searching(
            config=self.config,
            view=self.view,
            private_network=self.private_network,
            usable=self.gossip.usable,
            keep=self.keep,
            on_found=self.publications.found,
            **parts,
        )
        self.announcing = Announcing(timers=self.timers, index_nodes=self.index_nodes, **parts)
        self.index_nodes.on_new = self.announcing.on_index_node

    @property
    def served(self) -> dict[type, Callable[..., None]]:
        """Who serves which message."""
        return {
            Shuffle: self.gossip.serve_shuffle,
            Introduce: self.gossip.serve_introduce,
            Search: self.searching.serve_search,
            Hit: self.searching.serve_hit,
            Done: self.searching.serve_done,
            Wanted: self.searching.serve_wanted,
            Announce: self.announcing.serve_announce,
            Holders: self.announcing.serve_holders,
        }

    def take_role(self, flags: int) -> None:
        """What our requests carry from now on."""
        self.flags = flags
        self.gossip.flags = self.searching.flags = self.announcing.flags = flags

    def start(self, now: float) -> None:
        """Arms the rhythms."""
        self.gossip.start(now)
        self.announcing.start(now)
        self.timers.at(now + RENEWALS_S, self._renew, None)

    def on_joined(self, now: float) -> None:
        """There is somebody to be asked."""
        self.gossip.on_joined(now)

    def on_stored(self, now: float, kind: int, key: int) -> None:
        """A record entered our store."""
        self.announcing.on_stored(now, kind, key)

    def stop(self) -> None:
        """The node leaves."""
        self._stopped = True
        self.gossip.stop()
        self.announcing.stop()

    def stats(self) -> dict[str, Any]:
        """Its part of the engine's statistics."""
        return {
            "neighbours": len(self.view),
            "keeps_index": self.index_nodes.own,
            "index_entries": len(self.announcing.index),
            "shuffles": self.gossip.shuffles,
            **attrs.asdict(self.searching.counters),
        }

    def _on_neighbours(self, now: float) -> None:
        if self.gossip.joining:
            return
        neighbours, young = self.view.contacts(), self.gossip.young
        if self.index_nodes.consider(neighbours, serves=self.home.serves, young=young):
            self.gossip.tell_neighbours(now)

    # ---- finding ----

    def finding(
        self, now: float, kind: Kind, key: Key, via: Via, wake: Callable[[float], bool]
    ) -> Finding:
        """An operation that finds a record. ``wake`` is called when something came back for it, and
        says whether it is still under way.

        Raises ``LocalError`` for a direct reply where holders would not dare to give one.
        """
        if not isinstance(via, Index):
            self._check_reply(via)
        return Finding(
            kind=kind,
            key=key,
            value_size_max=self.config.value_size_max,
            flags=self.flags,
            local=self.home,
            make_way=partial(self._way, now, via, wake),
            has_neighbours=lambda: len(self.view) > 0,
            usable=self.gossip.usable,
        )

    def _check_reply(self, via: Flood | Walk) -> None:
        safe = self.private_network or is_local(self.home.contact.address)
        if via.reply == "direct" and not safe:
            raise LocalError(
                f"{type(via).__name__}(reply='direct') lets strangers speak to whoever a search "
                "names: it is for networks with a network_key, and for private addresses; leave "
                "reply='path'"
            )

    def _way(self, now: float, via: Via, wake: Callable[[float], bool], finding: Finding) -> Way:
        if not isinstance(via, Index):
            return self._passed_on(via, wake, finding)
        kind, key = finding.kind, finding.key
        if self.index_nodes.own:
            for holder in self.announcing.index.holders(now, (kind, key)):
                finding.on_holder(holder, 1)
        return AskingIndex(
            key=key,
            body=encode(Holders(self.flags, kind, key_bytes(key))),
            index_nodes=self.index_nodes.for_key(now, key),
            on_holder=finding.on_holder,
            on_failed=self.index_nodes.failed,
            walk=self._passed_on(Walk(), wake, finding),
            usable=self.gossip.usable,
            holders_open=lambda: finding.fetching,
        )

    def _passed_on(self, via: Flood | Walk, wake: Callable[[float], bool], finding: Finding) -> Way:
        """A search that goes from hand to hand."""
        walks = isinstance(via, Walk)
        keep = via.placement.where == "path"
        style = (DIRECT * (via.reply == "direct")) | (KEEP * keep) | (WALK * walks)
        check_every = 0
        if isinstance(via, Walk):
            style |= (BIAS * via.bias) | (STATE * via.state)
            # Nobody could ask a client whether to go on.
            check_every = via.check_every if self.home.serves else 0
        named = check_every or via.reply == "direct"
        search = Search(
            flags=self.flags,
            id=self.random.randbytes(SEARCH_ID_SIZE),
            kind=finding.kind,
            key=key_bytes(finding.key),
            style=style,
            walker=0,
            ttl=via.ttl,
            hops=0,
            budget=0,
            hits=HITS,
            check_every=check_every,
            # Whoever need not be asked is not named: a search then tells nobody whose it is.
            issuer=self.home.contact.packed if named else b"",
        )
        budget = self.config.search_budget_max if via.budget is None else via.budget
        common: dict[str, Any] = {
            "search": search,
            "ttl": via.ttl,
            "budget": budget,
            "neighbours": self.view.entries,
            "random": self.random,
            "on_copy": finding.on_copy,
            "counters": self.searching.counters,
            "on_begin": lambda search_id: self.searching.issue(search_id, finding, wake),
        }
        if isinstance(via, Flood):
            return Flooding(ring=via.ring, holders_open=lambda: finding.fetching, **common)
        sent_to: dict[int, bool] = {}
        return Walking(
            walkers=via.walkers,
            choose=partial(self.searching.choose, search, sent_to, None),
            wanted=lambda: not finding.settled,
            **common,
        )

    # ---- placing ----

    def placing(
        self,
        now: float,
        kind: Kind,
        key: Key,
        value: bytes,
        *,
        placement: Placement,
        ttl_ms: int,
        tombstone: bool,
        author: Author | None,
        name: bytes,
    ) -> Placing:
        """An operation that publishes a record here. Raises ``LocalError`` for one too many."""
        on_begin: Callable[[int], None]
        if tombstone:
            on_begin = partial(self.publications.withdraw, kind, key)
        else:
            self.publications.check_room(kind, key)
            publication = Publication(
                kind=kind,
                key=key,
                value=value,
                placement=placement,
                author=author,
                name=name,
                until=now + ttl_ms / 1000,
                renew_at=self.publications.renewal_after(now),
                copies=0 if placement.where == "publisher" else placement.copies,
            )
            on_begin = partial(self.publications.publish, publication)
        return self._placing(
            kind,
            key,
            value,
            placement=placement,
            copies=placement.copies,
            ttl_ms=ttl_ms,
            tombstone=tombstone,
            author=author,
            name=name,
            renews=None,
            on_begin=on_begin,
        )

    def _placing(self, kind: Kind, key: Key, value: bytes, **options: Any) -> Placing:
        placement: Placement = options["placement"]
        if placement.where == "publisher":
            options["copies"] = 0
        return Placing(
            kind=kind,
            key=key,
            value=value,
            flags=self.flags,
            local=self.home,
            random=self.random,
            sample=self.view.sample,
            list_body=self.gossip.list_body,
            read_list=self.gossip.read_list,
            **options,
        )

    def _renew(self, now: float, _: None) -> None:
        if self._stopped:
            return
        for publication, copies in self.publications.due(now):
            author = b"" if publication.author is None else publication.author.id.public_key
            member = author if not publication.name else b""
            held = self.home.held(now, publication.kind, publication.key, member)
            if publication.is_replaced_by(None if held is None else held[0]):
                self.publications.withdraw(publication.kind, publication.key)
                continue
            left_ms = int((publication.until - now) * 1000)
            placing = self._placing(
                publication.kind,
                publication.key,
                publication.value,
                placement=publication.placement,
                copies=copies,
                ttl_ms=left_ms,
                tombstone=False,
                author=publication.author,
                name=publication.name,
                renews=publication.version,
                on_begin=partial(self.publications.publish, publication),
            )
            task = Task(placing, self._renewed, structured=False)
            self.offer(task, publication.value)
            self.tasks.drive(now, task)
        self.timers.at(now + RENEWALS_S, self._renew, None)

    def _renewed(self, now: float, task: Task) -> None:
        if task.done:
            self.withdraw(task)
