"""What a node does by itself: joining, probing, refreshing, repairing, forgetting.

Each rhythm is one callback that arms itself again. What is due and who is asked is decided by the
machines of ``maintenance``; here they are only given their turn.
"""

from collections.abc import Callable, Iterable, Sequence
from math import ceil, inf
from random import Random
from typing import final

import attrs

from ..config import Config
from ..contacts import Address, Contact, HostName, Introducer
from ..keyspace import KEY_BITS, Key, key_bytes
from ..records import Kind
from ..wire.codec import encode
from ..wire.messages import COUNT_MAX, HANDOVER, Find, Ping
from .bootstrap import Attempt, Bootstrap
from .checked import Checked
from .density import DensityGauge
from .events import Alone, Event, Joined, JoinFailed, KeyChanged
from .lookup import Lookup
from .maintenance import (
    JITTER,
    Due,
    Join,
    Membership,
    Probe,
    Repair,
    RepairSchedule,
    Standing,
)
from .members import Browsing, TopicRepair
from .operations import Local, Search
from .requests import Request
from .routing import RoutingTable
from .searches import Searches
from .storage import Storage
from .tasks import Task, Tasks
from .timers import Alarm, Timers

#: Strangers being checked at once: each costs a ping. More than that are simply not learnt now.
STRANGERS_MAX = 64
#: Records that are looked at in one step when a neighbour comes or goes, or when many are due at
#: once: bounds the step.
RANGE_STEP = 64
RANGE_PAUSE_S = 0.01
#: Ranges waiting for their turn: a storm of joins must not queue without end.
RANGES_MAX = 256
#: Repairs under way at once.
REPAIRS_MAX = 16
REPAIR_PAUSE_S = 0.25
#: A young node looks itself up again after so long, then after five times as long, and so on up to
#: the refresh interval: those who join at the same moment, or through a node that had only just
#: come itself, find each other then; guess.
LOOK_AROUND_FIRST_S = 5.0
LOOK_AROUND_FACTOR = 5.0
#: Far buckets that it looks into then, to learn how dense the network is: whoever lives next to an
#: attacked key has seen nothing but the attackers so far, and its refreshes are an hour away.
EARLY_SAMPLES = 2
#: Contacts that an error message names.
NAMED_MAX = 5
#: Own contacts asked, beside the bootstrap ones, in one attempt to join.
JOIN_SAMPLE = 20
_DRAWN_AT_ONCE = 64


@final
@attrs.define(eq=False, kw_only=True)
class Upkeep:
    """The rhythms of one node. ``start`` arms them; ``stop`` lets them run out."""

    config: Config
    random: Random
    timers: Timers
    tasks: Tasks
    table: RoutingTable
    storage: Storage
    local: Local
    flags: int
    bootstrap: Bootstrap
    emit: Callable[[Event], None]
    searches: Searches
    gauge: DensityGauge
    checked: Checked = attrs.field(factory=Checked)
    #: Does it live in the structured overlay? Else it joins, and there is nothing more to keep up.
    structured: bool = True
    #: Called each time that the node has become part of its network.
    on_joined: Callable[[float], None] = lambda _now: None
    #: Whoever is behind a NAT probes more often, so that it keeps its address.
    probe_max_s: float = attrs.field(default=inf, init=False)
    membership: Membership = attrs.field(init=False)
    repairs: RepairSchedule = attrs.field(factory=RepairSchedule, init=False)
    repairs_done: int = attrs.field(default=0, init=False)
    copies_made: int = attrs.field(default=0, init=False)
    _repairing: int = attrs.field(default=0, init=False)
    _strangers: int = attrs.field(default=0, init=False)
    _to_refresh: list[int] = attrs.field(factory=list, init=False)
    _refreshing: bool = attrs.field(default=False, init=False)
    #: Does what the refreshes find tell how dense the network is?
    _sampling: bool = attrs.field(default=False, init=False)
    _ranges: list[tuple[Contact, int | None]] = attrs.field(factory=list, init=False)
    _look_around_at: float = attrs.field(default=0.0, init=False)
    _look_around_pause_s: float = attrs.field(default=LOOK_AROUND_FIRST_S, init=False)
    _repair_alarm: Alarm = attrs.field(init=False)
    _expiry_alarm: Alarm = attrs.field(init=False)
    _sample: tuple[Contact, ...] = attrs.field(default=(), init=False)
    _joining: Task | None = attrs.field(default=None, init=False)
    _stopped: bool = attrs.field(default=False, init=False)
    #: Randomness for pauses; system entropy costs a microsecond a call.
    _drawn: list[int] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.membership = Membership(self.config, self.random)
        self._repair_alarm = Alarm(self.timers, self._repair_due)
        self._expiry_alarm = Alarm(self.timers, self._expiry_due)

    def start(self, now: float) -> None:
        """Begins to join, and arms the rhythms. Without anybody to ask it is a network of one."""
        if not self.bootstrap.empty:
            self._attempt(now)
        else:
            self.membership.joined()
            self.emit(Joined(0))
        if self.structured:
            self._arm_probe(now)
            self._arm_refresh(now)

    def stop(self) -> None:
        self._stopped = True

    @property
    def joined(self) -> bool:
        return self.membership.standing is not Standing.NEW

    @property
    def away(self) -> bool:
        """Is it outside of its network at the moment?"""
        return self.membership.standing is not Standing.JOINED

    def tried(self) -> str:
        """Whom we tried to reach, for error messages."""
        tried = self._whom() or tuple(self.table.contacts()[:3])
        named = ", ".join(self.bootstrap.in_words(each) for each in tried[:NAMED_MAX])
        more = f" and {len(tried) - NAMED_MAX} more" if len(tried) > NAMED_MAX else ""
        changed = "".join(f" ({change})" for change in self.bootstrap.changed.values())
        return (named or "nobody: no bootstrap was given") + more + changed

    # ---- what the engine tells ----

    def on_peer(self, now: float, contact: Contact) -> None:
        """A contact entered or left the table: records near it may have other owners now."""
        if self.structured and self.storage.count and len(self._ranges) < RANGES_MAX:
            self._ranges.append((contact, None))
            if len(self._ranges) == 1:
                self.timers.at(now + RANGE_PAUSE_S, self._range_step, None)

    def on_heard(self, now: float) -> None:
        """A known peer's datagram came; if we are out, the next attempt need not wait."""
        if self.membership.heard(now):
            self._attempt(now)

    def on_silent(self, now: float, request: Request) -> None:
        """Nothing at all was heard since this request left: is it us? An attempt to join tells; in
        a quiet network it mostly is the peer."""
        if self.membership.standing is Standing.JOINED:
            self._attempt(now)

    def on_stranger(self, now: float, contact: Contact) -> None:
        """Somebody we do not know asked us something: a ping tells whether it is really there."""
        if self._strangers >= STRANGERS_MAX or not self.table.wants(contact):
            return
        if self.checked.first(now, contact.address):
            self._strangers += 1
            self._probe_stranger(now, contact)

    def on_moved(self, now: float, known: Contact, contact: Contact) -> None:
        """A node that we know asked from another address, as after a NAT forgot it. Both are asked:
        the new one is taken when it answers and the old one does not."""
        if self._strangers >= STRANGERS_MAX or not self.checked.first(now, contact.address):
            return
        self._strangers += 2
        for each in (contact, known):
            self._probe_stranger(now, each)

    def on_stored(self, now: float, kind: int, key: int) -> None:
        """A record entered the store: from now on it is looked after."""
        ends_at = self.storage.ends_at(now, kind, key)
        if ends_at is not None and self.structured and not self.storage.is_placed(kind, key):
            # Anybody may store content again, or join a topic: that must not put off a look at the
            # owners for ever.
            anybody = kind in (Kind.CONTENT, Kind.MEMBER)
            plan = self.repairs.hasten if anybody else self.repairs.set
            due = self._next_repair_at(now, ends_at)
            plan(kind, key, due)
            self._repair_alarm.set(_repair_lot(now, due))
        self._arm_expiry(now)

    def on_tended(self, now: float, kind: int, key: int) -> None:
        """Another holder looked after a record of ours: no need to do the same."""
        ends_at = self.storage.ends_at(now, kind, key)
        if ends_at is not None:
            self.repairs.postpone(kind, key, self._next_repair_at(now, ends_at))

    def on_resumed(self, now: float) -> None:
        """The machine slept: find out at once who is still there."""
        if not self.bootstrap.empty or len(self.table):
            self._attempt(now)

    def on_identified(self, now: float, address: Address, public_key: bytes) -> None:
        """Somebody says who is at a bare address: one more to ask, as long as we are joining."""
        news = self.bootstrap.identified(address, public_key)
        if isinstance(news, KeyChanged):
            self.emit(news)
        if self._joining is not None:
            if isinstance(news, Contact):
                self._joining.machine.add(news)
            self.tasks.drive(now, self._joining)

    def on_resolved(self, now: float, name: HostName, addresses: Iterable[Address]) -> None:
        """A name was looked up; without addresses it has none."""
        news = self.bootstrap.resolved(now, name, addresses)
        if self._joining is not None:
            for contact in self.bootstrap.contacts():
                self._joining.machine.add(contact)
            self.tasks.drive(now, self._joining)
        elif news and self.away:
            self._attempt(now)

    # ---- joining ----

    def _attempt(self, now: float) -> None:
        if self.membership.attempt_under_way or self._stopped:
            return
        self.membership.began()
        known = self.table.contacts()
        sample = self.random.sample(known, min(JOIN_SAMPLE, len(known)))
        self._sample = tuple(sample)
        self.bootstrap.begin(now)
        seeds = list({c.id: c for c in (*self.bootstrap.contacts(), *sample)}.values())
        want = self.config.k if self.structured else 1
        lookup = self._own_lookup(now, self.table.own_id, seeds, want)
        assert isinstance(lookup, Lookup)
        timeout_s = self.searches.requests.first_timeout_s
        attempt = Attempt(Join(lookup), lookup, self.bootstrap, timeout_s)
        self._joining = Task(attempt, self._join_stepped)
        self.tasks.drive(now, self._joining)

    def _whom(self) -> tuple[Introducer, ...]:
        """Who is asked in an attempt, everybody once."""
        return tuple(dict.fromkeys((*self.bootstrap.everybody(), *self._sample)))

    def _join_stepped(self, now: float, task: Task) -> None:
        if not task.done:
            return
        self._joining = None
        if self._stopped:
            return
        if task.machine.answered or not self._whom():
            if self.membership.joined():
                self.tasks.knocks.clear()
                self.emit(Joined(len(self.table)))
                if self.structured:
                    self._refresh_far_buckets(now)
                    self._look_around_pause_s = LOOK_AROUND_FIRST_S
                    self._arm_look_around(now)
                self.on_joined(now)
        else:
            if self.membership.lost(now):
                self.emit(Alone())
            self.bootstrap.failed()
            self.emit(JoinFailed(self._whom(), self._attempt_later(now)))

    def _attempt_later(self, now: float) -> float:
        pause = self.membership.failed(now)
        self.timers.at(now + pause, self._attempt_due, None)
        return pause

    def _attempt_due(self, now: float, _: None) -> None:
        planned = self.membership.next_attempt_at
        if planned is not None and now >= planned:
            self._attempt(now)

    def _arm_look_around(self, now: float) -> None:
        self._look_around_at = now + self._jittered(self._look_around_pause_s)
        self.timers.at(self._look_around_at, self._look_around_due, None)

    def _look_around_due(self, now: float, _: None) -> None:
        if now < self._look_around_at or self._stopped:
            return  # another one was planned since
        self._look_around(now)
        pause = self._look_around_pause_s
        if LOOK_AROUND_FIRST_S < pause < self.config.refresh_interval_s:
            self.gauge.forget()
            self._sampling = True
            self._refresh(now, range(EARLY_SAMPLES))
        self._look_around_pause_s = min(pause * LOOK_AROUND_FACTOR, self.config.refresh_interval_s)
        self._arm_look_around(now)

    def introduce(self, now: float) -> None:
        """It is another one now (it serves, or no more, or is elsewhere): its neighbours hear of it
        at once, and again as of a young node, as some may not check it so soon."""
        if self.joined and self.structured and not self._stopped:
            self._look_around(now)
            self._look_around_pause_s = LOOK_AROUND_FIRST_S
            self._arm_look_around(now)

    def _look_around(self, now: float) -> None:
        own_id, k = self.table.own_id, self.config.k
        known = {c.id: c for c in (*self.table.closest(own_id, k), *self.bootstrap.contacts())}
        self.tasks.spawn(now, Join(self._own_lookup(now, own_id, [*known.values()], k)))

    # ---- probing and refreshing ----

    def _arm_probe(self, now: float) -> None:
        interval_s = min(self.config.probe_interval_s, self.probe_max_s)
        self.timers.at(now + self._jittered(interval_s), self._probe_due, None)

    def _probe_due(self, now: float, _: None) -> None:
        if self._stopped:
            return
        oldest = self.table.oldest()
        if oldest is not None:
            self.tasks.spawn(now, self._probe_of(oldest))
        self._arm_probe(now)

    def _probe_stranger(self, now: float, contact: Contact) -> None:
        """Its own datagram has paid for this one."""
        probe = self._probe_of(contact)
        self.tasks.spawn(now, probe, self._stranger_stepped, hearsay=False)

    def _probe_of(self, contact: Contact) -> Probe:
        return Probe(contact, encode(Ping(flags=self.flags)))

    def _stranger_stepped(self, now: float, task: Task) -> None:
        if task.done:
            self._strangers -= 1

    def _arm_refresh(self, now: float) -> None:
        self.timers.at(
            now + self._jittered(self.config.refresh_interval_s / 4), self._refresh_due, None
        )

    def _refresh_due(self, now: float, _: None) -> None:
        if self._stopped:
            return
        self._sampling = True
        self._refresh(now, self.table.idle_buckets(now))
        self._arm_refresh(now)

    def _refresh_far_buckets(self, now: float) -> None:
        """After joining, every bucket farther than the nearest neighbour (Kademlia 2.3). What it
        finds is no measure of the network: both may be just coming into being."""
        self._sampling = False
        self._refresh(now, range(self.table.bucket_depth()))

    def _refresh(self, now: float, prefixes: Iterable[int]) -> None:
        self._to_refresh = sorted({*self._to_refresh, *prefixes})
        if not self._refreshing:
            self._refresh_next(now)

    def _refresh_next(self, now: float) -> None:
        self._refreshing = bool(self._to_refresh) and not self._stopped
        if self._refreshing:
            prefix = self._to_refresh.pop()
            target = self.table.random_target(prefix, self.random)
            seeds = self.table.closest(target, self.config.k)
            lookup = self._own_lookup(now, target, seeds, self.config.replicas)
            self.tasks.spawn(now, Join(lookup), self._refresh_stepped)

    def _refresh_stepped(self, now: float, task: Task) -> None:
        if task.done:
            if self._sampling:  # nobody knew beforehand that we would look at this place
                target, found = task.machine.search.target, task.machine.search.result()
                self.gauge.learn(now, target, [contact.id ^ target for contact in found])
            self._refresh_next(now)

    def _own_lookup(self, now: float, target: int, seeds: Sequence[Contact], want: int) -> Search:
        count = min(self.config.k, COUNT_MAX)
        find = Find(flags=self.flags, target=key_bytes(target), count=count, kind=0)
        return self.searches.begin(now, target, encode(find), want=want, seeds=seeds)

    # ---- records ----

    def _range_step(self, now: float, _: None) -> None:
        """A bounded look at the records near a contact that came or went."""
        contact, start = self._ranges.pop(0)
        near = self.table.expected_distance(self.config.replicas)
        shared_bits = max(0, KEY_BITS - near.bit_length() - 1)
        near_records, start = self.storage.keys_near(
            contact.id, shared_bits, start=start, limit=RANGE_STEP
        )
        for held in near_records:
            if held.placed:
                continue
            kind, key = held.record.kind, held.record.key
            owners = self.table.closest(key, self.config.replicas)
            if len(owners) < self.config.replicas or contact.id ^ key <= owners[-1].id ^ key:
                self.repairs.hasten(kind, key, now + self.random.uniform(0.1, 1.0))
        if start is not None:
            self._ranges.append((contact, start))
        self._arm_repair(now)
        if self._ranges and not self._stopped:
            self.timers.at(now + RANGE_PAUSE_S, self._range_step, None)

    def _next_repair_at(self, now: float, ends_at: float) -> float:
        """Not after its end: so a plan does not outlive its record, and strangers who store what
        ends at once leave none behind."""
        return min(now + self._jittered(self.config.repair_interval_s), ends_at)

    def _arm_repair(self, now: float) -> None:
        due = self.repairs.next_timeout()
        if due is not None:
            self._repair_alarm.set(_repair_lot(now, due))

    def _repair_due(self, now: float) -> None:
        if self._stopped:
            return
        for _ in range(RANGE_STEP):
            due = self.repairs.pop_due(now) if self._repairing < REPAIRS_MAX else None
            if due is None:
                break
            self._repair(now, due)
        self._arm_repair(now)

    def _repair(self, now: float, due: Due) -> None:
        kind, key = due.kind, due.key
        ends_at = self.storage.ends_at(now, kind, key)
        if ends_at is None:
            return
        if not due.turn_taken and (rank := self._rank(key)):
            # Who was believed before is still counted: else a liar nearer to the key than we are
            # could put us off in each of these pauses, for ever.
            delay = rank * self._jittered(self.config.repair_turn_s)
            self.repairs.set(kind, key, now + delay, turn_taken=True, postponed=due.postponed)
            return
        self.repairs.set(kind, key, self._next_repair_at(now, ends_at))
        self._repairing += 1
        if kind == Kind.MEMBER:
            self._repair_topic(now, Key(key))
            return
        find = Find(
            flags=self.flags | HANDOVER,
            target=key_bytes(key),
            count=self.config.replicas,
            kind=kind,
        )
        lookup = self.searches.begin(now, key, encode(find), want=self.config.replicas)
        repair = Repair(
            kind=Kind(kind),
            key=Key(key),
            replicas=self.config.replicas,
            flags=self.flags,
            value_size_max=self.config.value_size_max,
            search=lookup,
            local=self.local,
        )
        self.tasks.spawn(now, repair, self._repair_stepped)

    def _repair_topic(self, now: float, key: Key) -> None:
        browsing = Browsing.begin(
            now,
            key,
            searches=self.searches,
            local=self.local,
            flags=self.flags,
            config=self.config,
            handover=True,
        )
        self.tasks.spawn(now, TopicRepair(browsing, self.flags), self._repair_stepped)

    def _rank(self, key: int) -> int:
        """How many owners are nearer to the key than we are."""
        own_distance = self.table.own_id ^ key
        owners = self.table.closest(key, self.config.replicas)
        return sum(contact.id ^ key < own_distance for contact in owners)

    def _repair_stepped(self, now: float, task: Task) -> None:
        if task.done:
            self._repairing -= 1
            self.repairs_done += 1
            self.copies_made += task.machine.copies

    def _arm_expiry(self, now: float) -> None:
        due = self.storage.next_timeout()
        if due is not None:
            self._expiry_alarm.set(max(due, now + RANGE_PAUSE_S))  # what is left, a moment later

    def _expiry_due(self, now: float) -> None:
        self.storage.expire(now)
        self._arm_expiry(now)

    def _jittered(self, seconds: float) -> float:
        if not self._drawn:
            self._drawn.extend(self.random.randbytes(_DRAWN_AT_ONCE))
        return seconds * (1 - JITTER + 2 * JITTER * self._drawn.pop() / 255)


def _repair_lot(now: float, due: float) -> float:
    """When to look for repairs that are due then: few different times, few timers."""
    return max(ceil(due / REPAIR_PAUSE_S) * REPAIR_PAUSE_S, now + REPAIR_PAUSE_S)
