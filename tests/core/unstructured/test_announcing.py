"""What index nodes are told, when, and by whom they let themselves be told."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.config import Config
from dht.contacts import Contact
from dht.core.unstructured import announcing
from dht.core.unstructured.announcing import (
    ANNOUNCED_BURST,
    ANNOUNCED_S,
    GATHER_S,
    ROUND_S,
    STEP,
)
from dht.core.unstructured.index import ENTRY_LIFE_MAX_S, HOLDERS_PER_KEY
from dht.core.unstructured.index_nodes import PER_KEY
from dht.keyspace import KEY_BITS, Key, key_bytes
from dht.records import Kind
from dht.wire.codec import unpack_contacts_untrusted
from dht.wire.messages import (
    SLOTS_MAX,
    WANT_IPV4,
    WANT_IPV6,
    Announce,
    Answer,
    Holders,
    Holding,
    Message,
    Slot,
    Taken,
    Taking,
)
from tests import strategies
from tests.core.unstructured.alone import Alone, numbers, peer, peers
from tests.core.unstructured.test_gossip import six

INDEXERS = peers(range(1, 9))
KEEPS, DOES_NOT = Config(tries=1, index=True), Config(tries=1, index=False)
KEY = 5 << KEY_BITS - 3
LEASE_S = int(ENTRY_LIFE_MAX_S)
TAKEN = Taken(0, Taking.TAKEN)


def holder(
    *, knows: list[Contact] | None = None, config: Config = DOES_NOT, serves: bool = True
) -> Alone:
    """A node that may hold something, and has heard of index nodes."""
    node = Alone(config=config, serves=serves)
    for each in INDEXERS if knows is None else knows:
        node.index_nodes.heard(0.0, each, 0)
    node.overlay.announcing.start(0.0)
    return node


def thanks(_contact: Contact, _message: Message) -> Answer:
    return TAKEN


def hears(node: Alone) -> None:
    """They all say again that they keep an index."""
    for each in INDEXERS:
        node.index_nodes.heard(node.now, each, 0)


def nearest(key: int, known: list[Contact] = INDEXERS, count: int = PER_KEY) -> list[int]:
    return numbers(sorted(known, key=lambda each: each.id ^ key)[:count])


def announced(node: Alone) -> dict[int, list[int]]:
    """By key, who was told of it since this was last asked."""
    told: dict[int, list[Contact]] = {}
    for contact, message in node.asked(Announce):
        assert 0 < len(message.slots) <= SLOTS_MAX
        for slot in message.slots:
            told.setdefault(int.from_bytes(slot.key), []).append(contact)
    return {key: numbers(contacts) for key, contacts in told.items()}


def keys(count: int, seed: int = 1) -> list[int]:
    random = Random(seed)
    return [random.getrandbits(KEY_BITS) for _ in range(count)]


# ---------------------------------------------------------------------------------- announcing


def test_what_a_node_stores_is_announced_within_a_second_to_the_index_nodes_nearest_to_it() -> None:
    node = holder()
    node.hold(KEY)
    node.run(1.0, thanks)
    assert announced(node) == {KEY: nearest(KEY)}
    node.run(100.0, thanks)
    assert announced(node) == {}, "once is enough for now"


def test_what_is_stored_at_about_the_same_time_is_announced_together() -> None:
    node, held = holder(knows=INDEXERS[:2]), keys(60)
    for key in held:
        node.hold(key)
    node.run(1.0, thanks)
    messages = node.asked(Announce)
    assert len(messages) == 2 * -(-60 // SLOTS_MAX)
    assert {slot.key for _, message in messages for slot in message.slots} == {
        key_bytes(Key(key)) for key in held
    }
    assert node.overlay.announcing.announced == 2 * 60


def test_an_announcement_lasts_as_long_as_the_record_and_no_longer_than_an_index_remembers() -> (
    None
):
    node = holder()
    node.hold(1, ttl_s=100.0)
    node.hold(2, ttl_s=86_000.0)
    node.hold(3, ttl_s=1.9)
    node.run(1.5, thanks)
    leases = {
        int.from_bytes(slot.key): slot.lease_s
        for _, message in node.asked(Announce)
        for slot in message.slots
    }
    assert leases == {1: 99, 2: LEASE_S}


def test_who_keeps_an_index_knows_of_what_it_holds_itself() -> None:
    node = holder(config=KEEPS, knows=[])
    node.hold(KEY)
    node.run(1.0)
    assert node.overlay.announcing.index.holders(1.0, (Kind.PLAIN, KEY)) == [node.contact]
    assert announced(node) == {}


def test_a_client_announces_nothing() -> None:
    node = holder(serves=False)
    node.hold(KEY)
    node.run(2 * ROUND_S, thanks)
    assert announced(node) == {}


def test_members_of_topics_are_not_announced() -> None:
    node = holder()
    node.overlay.on_stored(0.0, Kind.MEMBER, KEY)
    assert not node.overlay.announcing._waiting


def test_whom_it_hears_of_is_told_everything_again_every_half_an_hour() -> None:
    node, held = holder(), keys(3 * STEP)
    for key in held:
        node.hold(key, ttl_s=10 * ROUND_S)
    node.run(1.0, thanks)
    announced(node)
    rounds: list[dict[int, list[int]]] = []
    for _ in range(int(3.7 * ROUND_S / 100)):
        hears(node)
        node.run(100.0, thanks)
        rounds += [again] if (again := announced(node)) else []
    assert 3 <= len(rounds) <= 4
    assert all(each == {key: nearest(key) for key in held} for each in rounds)


def test_a_round_looks_at_so_many_records_in_one_step() -> None:
    node = holder()
    for key in keys(5 * STEP):
        node.hold(key, ttl_s=9000.0)
    node.run(1.0, thanks)
    announced(node)
    hears(node)
    node.overlay.announcing._round_due(node.now, None)
    assert len(announced(node)) == STEP
    node.run(1.0, thanks)
    assert len(announced(node)) == 4 * STEP


def test_a_new_index_node_is_told_what_it_is_near_to_and_nobody_else_is_told_again() -> None:
    new, held = peer(77), keys(3 * STEP)
    node = holder()
    for key in held:
        node.hold(key)
    node.run(2 * GATHER_S, thanks)
    announced(node)
    node.index_nodes.heard(node.now, new, 0)
    node.run(2 * GATHER_S, thanks)
    expected = [key for key in held if 77 in nearest(key, [*INDEXERS, new])]
    assert announced(node) == {key: [77] for key in expected}
    assert len(expected) > STEP / 2


def test_index_nodes_that_become_known_meanwhile_are_told_as_well() -> None:
    node = holder(knows=[peer(1)])
    held = keys(3 * STEP)
    for key in held:
        node.hold(key)
    node.run(2 * GATHER_S, thanks)
    announced(node)
    node.index_nodes.heard(node.now, peer(2), 0)
    node.run(GATHER_S + 0.02, thanks)  # its round has begun
    node.index_nodes.heard(node.now, peer(3), 0)
    node.run(2.0, thanks)
    assert announced(node) == {key: [2, 3] for key in held}


def test_a_round_that_becomes_due_in_the_middle_of_another_announces_everything_once() -> None:
    node = holder(knows=[peer(1)])
    held = keys(4 * STEP)
    for key in held:
        node.hold(key, ttl_s=9000.0)
    node.run(1.0, thanks)
    node.index_nodes.heard(node.now, peer(2), 0)
    node.run(0.27, thanks)
    announced(node)
    node.overlay.announcing._round_due(node.now, None)
    node.run(3.0, thanks)
    assert announced(node) == {key: [1, 2] for key in held}


def test_an_index_node_that_is_new_when_a_round_begins_is_told_in_that_round() -> None:
    node = holder(knows=[peer(1)])
    held = keys(10 * STEP)
    for key in held:
        node.hold(key, ttl_s=9000.0)
    node.run(1.0, thanks)
    announced(node)
    node.index_nodes.heard(node.now, peer(2), 0)
    node.overlay.announcing._round_due(node.now, None)
    node.run(3.0, thanks)
    assert announced(node) == {key: [1, 2] for key in held}


def test_who_holds_nothing_need_not_remember_index_nodes_to_tell() -> None:
    """Memory: strangers may invent as many of them as they like."""
    node = holder()
    assert not node.overlay.announcing._new_nodes
    node.run(10.0)
    assert node.wire.asked == []


def test_what_waits_to_be_announced_is_bounded_and_the_rest_is_in_the_next_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(announcing, "WAITING_MAX", 5)
    node, held = holder(), keys(8)
    for key in held:
        node.hold(key, ttl_s=9000.0)
    node.run(1.0, thanks)
    assert announced(node) == {key: nearest(key) for key in held[:5]}
    node.overlay.announcing._round_due(node.now, None)
    assert announced(node) == {key: nearest(key) for key in held}


def test_an_index_node_that_is_silent_or_keeps_none_is_not_asked_again() -> None:
    for answer in (None, Taken(0, Taking.NOT_HERE), Holding(0, b"", b"", b"", b"")):
        node = holder()
        node.hold(KEY)
        node.run(3.0, lambda *_, answer=answer: answer)
        tried = announced(node)[KEY]
        assert len(node.index_nodes) == len(INDEXERS) - PER_KEY
        node.hold(KEY + 1)
        node.run(1.0, thanks)
        assert not {*announced(node)[KEY + 1]} & {*tried}


def test_an_index_node_that_is_busy_is_one_all_the_same() -> None:
    node = holder()
    node.hold(KEY)
    node.run(3.0, lambda *_: Taken(0, Taking.BUSY))
    assert len(node.index_nodes) == len(INDEXERS)


def test_a_node_that_has_left_announces_nothing() -> None:
    node = holder()
    for key in keys(2 * STEP):
        node.hold(key, ttl_s=9000.0)
    node.run(1.0, thanks)
    node.overlay.announcing._round_due(node.now, None)
    node.hold(KEY)
    announced(node)
    node.overlay.stop()
    node.run(2 * ROUND_S, thanks)
    assert announced(node) == {}


# ------------------------------------------------------------------------------ being an index node


def announce(*slots: int, lease_s: int = 60, flags: int = WANT_IPV4) -> Announce:
    return Announce(flags, tuple(Slot(Kind.PLAIN, key_bytes(Key(key)), lease_s) for key in slots))


def ask(key: int, flags: int = WANT_IPV4) -> Holders:
    return Holders(flags, Kind.PLAIN, key_bytes(Key(key)))


def told(
    node: Alone,
    key: int = KEY,
    *,
    asker: Contact = peer(999),
    flags: int = WANT_IPV4,
    room: int = 1100,
) -> tuple[list[int], list[int]]:
    """The holders and the index nodes that somebody who asks is told of."""
    (answer,) = node.serve(ask(key, flags), asker, room=room)
    assert isinstance(answer, Holding)
    return (
        numbers(unpack_contacts_untrusted(answer.contacts4, answer.contacts6)),
        numbers(unpack_contacts_untrusted(answer.indexes4, answer.indexes6)),
    )


def status(answers: list[Message]) -> Taking:
    (answer,) = answers
    assert isinstance(answer, Taken)
    return Taking(answer.status)


def test_who_announces_something_is_told_to_who_looks_for_it_at_the_address_it_was_seen_at() -> (
    None
):
    node = Alone(config=KEEPS)
    assert status(node.serve(announce(KEY, KEY + 1), peer(20))) is Taking.TAKEN
    assert told(node)[0] == told(node, KEY + 1)[0] == [20]
    assert told(node, KEY + 2)[0] == []
    (answer,) = node.serve(ask(KEY), peer(999))
    assert isinstance(answer, Holding)
    assert answer.contacts4 == peer(20).packed


def test_an_announcement_of_no_time_withdraws_its_senders_own_and_nobody_elses() -> None:
    node = Alone(config=KEEPS)
    for each in (20, 21):
        node.serve(announce(KEY), peer(each))
    assert status(node.serve(announce(KEY, lease_s=0), peer(21))) is Taking.TAKEN
    assert told(node)[0] == [20]


def test_nobody_is_told_that_it_holds_something_itself() -> None:
    node = Alone(config=KEEPS)
    node.serve(announce(KEY), peer(20))
    assert told(node, asker=peer(20)) == ([], [])


def test_an_announcement_has_no_effect_from_where_nothing_is_proved() -> None:
    """Else everybody could send those who look for something to whom he likes."""
    node = Alone(config=KEEPS)
    assert node.serve(announce(KEY), peer(20), proved=False) == []
    assert node.wire.proofs_demanded == 1
    assert told(node)[0] == []


def test_who_keeps_no_index_says_so_to_who_announces_and_to_who_asks() -> None:
    for node in (Alone(config=DOES_NOT), Alone(config=KEEPS, serves=False)):
        assert status(node.serve(announce(KEY), peer(20))) is Taking.NOT_HERE
        assert status(node.serve(ask(KEY), peer(20))) is Taking.NOT_HERE
        assert len(node.overlay.announcing.index) == 0


def test_the_announcements_of_one_source_are_limited() -> None:
    node = Alone(config=KEEPS)
    part = announce(*range(20))

    def taken(source: Contact) -> int:
        answers = [status(node.serve(part, source)) for _ in range(int(ANNOUNCED_BURST) // 20 + 9)]
        assert {*answers} == {Taking.TAKEN, Taking.BUSY}
        return 20 * answers.count(Taking.TAKEN)

    assert taken(peer(20)) == ANNOUNCED_BURST
    assert status(node.serve(part, peer(21, "1.0.20.1"))) is Taking.BUSY, "another key, one host"
    assert taken(peer(22)) == ANNOUNCED_BURST
    node.run(5.0)
    assert taken(peer(20)) == 5 * ANNOUNCED_S


def test_index_nodes_that_are_nearer_to_the_key_are_named_and_no_others() -> None:
    node = holder(config=KEEPS)
    nearer = [each for each in INDEXERS if each.id ^ KEY < node.contact.id ^ KEY]
    assert 0 < len(nearer) < len(INDEXERS)
    assert told(node)[1] == nearest(KEY, nearer)
    own = int(node.contact.id)
    assert told(node, own)[1] == []
    assert told(node, asker=nearer[0])[1] == numbers(
        each for each in peers(nearest(KEY, nearer)) if each != nearer[0]
    )


def test_who_asks_is_told_what_it_has_a_use_for() -> None:
    node = Alone(config=KEEPS)
    for each in (peer(20), six(21)):
        node.serve(announce(KEY), each)
    assert told(node, flags=WANT_IPV4)[0] == [20]
    assert told(node, flags=WANT_IPV6)[0] == [21]
    assert told(node, flags=WANT_IPV4 | WANT_IPV6)[0] == [20, 21]
    assert told(node, flags=0)[0] == []


@pytest.mark.parametrize("room", [60, 80, 120, 160, 400, 1100])
def test_who_asks_is_told_as_much_as_there_is_room_for(room: int) -> None:
    node = holder(config=KEEPS)
    for each in range(20, 20 + HOLDERS_PER_KEY):
        node.serve(announce(KEY), peer(each))
    holders, nearer = told(node, room=room)
    assert len(holders) == min(HOLDERS_PER_KEY, (room - 40) // 38)
    assert len(nearer) <= max(0, (room - 40) // 38 - len(holders))


@given(
    st.lists(
        st.builds(Slot, st.integers(1, 3), strategies.keys().map(key_bytes), st.integers(0, 2**40)),
        max_size=SLOTS_MAX,
    ),
    st.integers(0, 255),
)
def test_any_announcement_is_survived_and_speaks_of_its_sender_only(
    slots: list[Slot], flags: int
) -> None:
    node = Alone(config=KEEPS)
    assert status(node.serve(Announce(flags, tuple(slots)), peer(20))) is Taking.TAKEN
    for slot in slots:
        (answer,) = node.serve(Holders(WANT_IPV4, slot.kind, slot.key), peer(999))
        assert isinstance(answer, Holding)
        assert answer.contacts4 in (b"", peer(20).packed)
    assert len(node.overlay.announcing.index) <= len(slots)
