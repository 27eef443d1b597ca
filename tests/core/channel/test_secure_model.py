"""Three peers who mean well, a network that loses, doubles and delays, and somebody who records all
and plays it back, changed or not, from wherever he likes: in any order of everything.

He has addresses of his own, and can write any address as the sender. He cannot take packets out of
the network, nor read them; in a network without a key he can make every check that needs none.
"""

from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dht.contacts import Address
from dht.core.channel import epochs, handshakes, load, secure, session
from dht.core.channel.epochs import EPOCH_S
from dht.core.channel.packets import INIT, KEEP, MAC_SIZE, NO_MAC, REPLY, mac
from dht.core.channel.session import IDLE_S, REKEY_AFTER_S
from dht.identity import Identity
from dht.network import Network
from tests.core.channel.ends import FIND, PING, STORE, End, Wire, address_of, first_message

LONG = STORE.ljust(1100, b"x")
KINDS = [PING, FIND, STORE, LONG]
#: Small, so that they are met.
CAPS: list[tuple[Any, str, float]] = [
    (epochs, "SEEN_MAX", 6),
    (load, "HANDSHAKES_PER_S", 10.0),
    (load, "HANDSHAKES_BURST", 8.0),
    (session, "SESSIONS_MAX", 3),
    (session, "PENDING_MAX", 2),
    (session, "SESSIONS_PER_SOURCE_MAX", 3),
    (handshakes, "STARTED_MAX", 4),
    (secure, "UNANSWERED_MAX", 4),
    (secure, "QUEUE_MAX", 2),
]
HIS = [address_of(200), address_of(201)]
HIM = Identity.generate(Random("him"))
ENDS = st.integers(0, 2)


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.wire = Wire()
        self.ends: list[End] = []
        # What arrived where: (end, bytes), for him to play back.
        self.delivered: list[tuple[End, bytes]] = []
        self.moves = 0
        self.introductions = 0
        # Whose each address is, or was.
        self.homes: dict[Address, int] = {}
        self.into: dict[tuple[int, Address], int] = {}

    @initialize(tight=st.booleans(), longest=st.booleans())
    def start(self, *, tight: bool, longest: bool) -> None:
        for module, name, value in CAPS if tight else ():
            self.patch.setattr(module, name, value)
        for number in range(3):
            end = self.wire.add()
            end.demands = (STORE, LONG)
            end.again_ok = True
            end.longest = longest
            self.ends.append(end)
            self.homes[end.address] = number

    def teardown(self) -> None:
        if self.ends:
            self.settle()
        self.patch.undo()

    def arrive(self, end: End, data: bytes, source: Address) -> None:
        if source in HIS:
            name = self.ends.index(end), source
            self.into[name] = self.into.get(name, 0) + len(data)
        end.hear(data, source)

    # ---- the peers ----

    @rule(ours=ENDS, theirs=ENDS, kind=st.sampled_from(KINDS))
    def ask(self, ours: int, theirs: int, kind: bytes) -> None:
        if ours != theirs:
            self.ends[ours].say(self.ends[theirs], bytes(bytearray(kind)))

    @rule(ours=ENDS, theirs=ENDS, kind=st.sampled_from(KINDS))
    def ask_twice(self, ours: int, theirs: int, kind: bytes) -> None:
        """A retry: the same object."""
        if ours != theirs:
            body = bytes(bytearray(kind))
            self.ends[ours].say(self.ends[theirs], body)
            self.wire.now += 0.6
            self.ends[ours].say(self.ends[theirs], body)

    @rule(which=ENDS)
    def restart(self, which: int) -> None:
        self.ends[which].start()

    @rule(which=ENDS)
    def move(self, which: int) -> None:
        self.moves += 1
        self.wire.move(self.ends[which], address_of(10 + self.moves))
        self.homes[self.ends[which].address] = which

    @rule(seconds=st.sampled_from([0.05, 0.6, 6.0, EPOCH_S, 2 * EPOCH_S, IDLE_S, REKEY_AFTER_S]))
    def wait(self, seconds: float) -> None:
        self.wire.now += seconds
        for end in self.ends:
            end.channel.handle_timeout(self.wire.now)

    # ---- the network ----

    @rule(count=st.integers(1, 8), at=st.integers(0, 3))
    def deliver(self, count: int, at: int) -> None:
        queue = self.wire.queue
        for _ in range(count):
            if not queue:
                return
            source, to, data = queue.pop(at % len(queue))
            if to in self.wire.ends:
                self.delivered.append((self.wire.ends[to], data))
                self.arrive(self.wire.ends[to], data, source)

    @rule()
    def deliver_all(self) -> None:
        for _ in range(200):
            self.deliver(1, 0)

    @rule(at=st.integers(0, 3))
    def lose(self, at: int) -> None:
        if self.wire.queue:
            self.wire.queue.pop(at % len(self.wire.queue))

    # ---- and he ----

    def source_of(self, end: End, whence: int) -> Address:
        others = [each.address for each in self.ends if each is not end]
        return [*HIS, *others][whence % (len(HIS) + len(others))]

    @rule(at=st.integers(0, 2**16), whence=st.integers(0, 3))
    def play_back(self, at: int, whence: int) -> None:
        """What arrived once has no second effect, and proves nothing."""
        if not self.delivered:
            return
        end, data = self.delivered[at % len(self.delivered)]
        stores = [opened.payload for opened in end.requests if opened.proved]
        answers = dict(end.answers)
        self.arrive(end, data, self.source_of(end, whence))
        assert [opened.payload for opened in end.requests if opened.proved] == stores
        assert end.answers == answers

    @rule(at=st.integers(0, 2**16), whence=st.integers(0, 1))
    def deliver_from_elsewhere(self, at: int, whence: int) -> None:
        """A packet that he saw on its way, sooner than it arrives by itself."""
        if not self.wire.queue:
            return
        _, to, data = self.wire.queue[at % len(self.wire.queue)]
        if to in self.wire.ends:
            end = self.wire.ends[to]
            requests, answers = len(end.requests), dict(end.answers)
            self.arrive(end, data, HIS[whence])
            assert all(not opened.proved for opened in end.requests[requests:])
            assert end.answers == answers

    @rule(at=st.integers(0, 2**16), bit=st.integers(0, 9600), whence=st.integers(0, 3))
    def damage(self, at: int, bit: int, whence: int) -> None:
        """He can make the check of a first message and of a reply right again."""
        if not self.wire.log:
            return
        _, to, data = self.wire.log[at % len(self.wire.log)]
        end = next((each for each in self.ends if each.address == to), None)
        if end is None:
            return
        key = Network.named("test").secrets()[0].mac_key(end.identity.public_key)
        cut = {INIT: 2 * MAC_SIZE, REPLY: MAC_SIZE}.get(data[0], 0)
        changed = bytearray(data[: len(data) - cut])
        changed[bit // 8 % len(changed)] ^= 1 << bit % 8
        made = bytes(changed)
        if cut:
            made += mac(key, made) + (NO_MAC if data[0] == INIT else b"")
        requests, answers = len(end.requests), dict(end.answers)
        self.arrive(end, made, self.source_of(end, whence))
        assert len(end.requests) == requests
        assert end.answers == answers

    @rule(
        which=ENDS,
        whose=ENDS,
        whence=st.integers(0, 1),
        kind=st.sampled_from([b"", PING, FIND, STORE]),
        flags=st.sampled_from([0, KEEP]),
        padded=st.booleans(),
        shows=st.sampled_from(["nothing", "a token", "a cookie"]),
    )
    def introduce_himself(
        self,
        *,
        which: int,
        whose: int,
        whence: int,
        kind: bytes,
        flags: int,
        padded: bool,
        shows: str,
    ) -> None:
        """He is a member, too, and may show what was given to others; he receives nothing."""
        end, given = self.ends[which], self.ends[whose].channel._given
        self.introductions += 1
        made = first_message(
            Random(self.introductions),
            end.identity.public_key,
            end.network,
            identity=HIM,
            frame=kind and self.introductions.to_bytes(4) + HIM.public_key[:4] + kind,
            flags=flags,
            token=given.token(self.wire.now, end.contact) if shows == "a token" else bytes(16),
            padded=padded,
            cookie=given.cookie(self.wire.now, end.contact) if shows == "a cookie" else None,
        )
        self.arrive(end, made, HIS[whence])

    # ---- what always holds ----

    @invariant()
    def nobody_sends_him_more_than_he_sent(self) -> None:
        out: dict[tuple[int, Address], int] = {}
        for source, to, data in self.wire.log:
            if to in HIS:
                name = self.homes[source], to
                out[name] = out.get(name, 0) + len(data)
        for name, size in out.items():
            assert size <= self.into.get(name, 0)

    @invariant()
    def everybody_is_who_he_says(self) -> None:
        for end in self.ends:
            for opened in end.requests:
                assert opened.public_key[:4] == opened.payload[4:8]

    @invariant()
    def what_has_an_effect_was_proved(self) -> None:
        for end in self.ends:
            for opened in end.requests:
                assert opened.proved or opened.payload[8:] not in end.demands

    @invariant()
    def everything_has_its_bound(self) -> None:
        for end in self.ends:
            channel = end.channel
            sessions = channel._sessions
            assert len(channel._epochs) <= 2 * epochs.SEEN_MAX
            assert len(sessions) <= session.SESSIONS_MAX
            assert len(sessions.current) + len(sessions._retired) <= len(sessions)
            assert len(sessions._by_peer) <= len(sessions)
            assert sum(sessions._counts.values()) == len(sessions)
            assert len(channel._pending) <= session.PENDING_MAX
            assert len(channel._starting) <= handshakes.STARTED_MAX
            assert len(channel._starting._opening) <= handshakes.STARTED_MAX
            assert len(channel._unanswered) <= secure.UNANSWERED_MAX

    def settle(self) -> None:
        """When the network is well again, everybody reaches everybody, in three tries at most."""
        self.wire.run()
        self.wire.now += 2 * EPOCH_S
        for ours in self.ends:
            for theirs in self.ends:
                if ours is not theirs:
                    body = bytes(bytearray(FIND))
                    for _ in range(3):
                        request_id = ours.ask(theirs, body)
                        if request_id in ours.answers:
                            break
                        self.wire.now += 2.0
                    assert request_id in ours.answers


AnyOrder.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestAnyOrder = AnyOrder.TestCase
