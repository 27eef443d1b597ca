"""The life of a view: joining, shuffling, being introduced; and what a stranger can do to it."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dht.config import DATAGRAM_SIZE_MAX, Config
from dht.contacts import Contact, contact_at, is_ipv6, is_local, pack_address
from dht.core.unstructured.gossip import (
    CHANNEL_RESERVE,
    INDEXES_TOLD,
    INTRODUCE_PAUSE_S,
    INTRODUCE_STEPS,
    INTRODUCED_BURST,
    INTRODUCED_S,
    INTRODUCERS,
    JOIN_PAUSES,
    JOIN_TRIES,
    LIST_COSTS,
    ROOM,
    SHUFFLES_AT_ONCE,
    SHUFFLES_OF_SOURCE,
    SHUFFLES_OF_SOURCE_BURST,
)
from dht.core.unstructured.view import Entry
from dht.keyspace import solves_puzzle
from dht.sim import Simulator
from dht.wire.codec import decode_untrusted, encode
from dht.wire.messages import (
    CLIENT,
    MARK_SIZE,
    WANT_IPV4,
    WANT_IPV6,
    Answer,
    Holding,
    Introduce,
    Message,
    Shuffle,
    Shuffled,
    Taken,
    Taking,
)
from tests.core.pair import sealed
from tests.core.unstructured.alone import (
    CONFIG,
    Alone,
    Reply,
    named,
    numbers,
    peer,
    peers,
    shuffle,
    shuffled,
    told_of,
)

BOTH = WANT_IPV4 | WANT_IPV6
INTERVAL_S = CONFIG.shuffle_interval_s
SEED = peer(500)
TAKEN = Taken(0, Taking.TAKEN)


def six(number: int) -> Contact:
    return contact_at(number.to_bytes(32), pack_address(f"2600:{number:x}::1", 4000))


def statuses(answers: list[Message]) -> list[int]:
    return [each.status for each in answers if isinstance(each, Taken)]


def only(answers: list[Message]) -> Shuffled:
    (answer,) = answers
    assert isinstance(answer, Shuffled)
    return answer


def replying(*lists: Answer | None) -> Callable[[Contact, Message], Answer | None]:
    """Shuffles are answered with these, one after the other, and all else is taken."""
    rest = list(lists)

    def reply(contact: Contact, message: Message) -> Answer | None:
        if isinstance(message, Shuffle):
            return rest.pop(0) if rest else None
        return TAKEN

    return reply


# -------------------------------------------------------------------------------------- joining


def test_a_newcomer_asks_somebody_for_a_list_and_has_neighbours_at_once() -> None:
    node = Alone(seeds=[SEED])
    node.overlay.on_joined(0.0)
    node.run(0.0, replying(shuffled(*peers(range(1, 20)))))
    ((asked, question),) = node.asked(Shuffle)
    assert asked == SEED
    assert (named(question), question.count) == ([], CONFIG.view_size)
    assert node.neighbours == [*range(1, 20), 500]


def test_to_be_asked_for_a_list_changes_nothing() -> None:
    node = Alone().knowing(*range(1, 21))
    for _ in range(5):
        answer = only(node.serve(shuffle(count=20), peer(99)))
        assert numbers(named(answer)) == list(range(1, 21))
    assert node.neighbours == list(range(1, 21))


def test_a_list_has_no_more_than_was_asked_for_nor_than_a_view_has() -> None:
    node = Alone().knowing(*range(1, 21))
    assert len(named(only(node.serve(shuffle(count=3), peer(99))))) == 3
    assert len(named(only(node.serve(shuffle(count=64), peer(99))))) == CONFIG.view_size


def test_some_neighbours_of_a_newcomer_are_asked_to_introduce_it_one_after_the_other() -> None:
    node = Alone(seeds=[SEED])
    node.overlay.on_joined(0.0)
    node.run(0.0, replying(shuffled(*peers(range(1, 20)))))
    introductions = node.asked(Introduce)
    assert len(introductions) == 1
    node.run(1.2 * INTRODUCERS * INTRODUCE_PAUSE_S, replying(TAKEN))
    introductions += node.asked(Introduce)
    asked = numbers(contact for contact, _ in introductions)
    assert len(asked) == len(set(asked)) == INTRODUCERS
    assert set(asked) <= {*range(1, 20), 500}
    assert {message for _, message in introductions} == {Introduce(WANT_IPV4, b"", INTRODUCE_STEPS)}


def test_who_cannot_introduce_us_is_dead_and_no_neighbour() -> None:
    node = Alone(seeds=[SEED])
    node.overlay.on_joined(0.0)

    def reply(contact: Contact, message: Message) -> Answer | None:
        if isinstance(message, Introduce):
            return TAKEN if contact != peer(7) else None
        return shuffled(*peers(range(1, 20)))

    node.run(0.9, reply)
    assert node.neighbours == [*range(1, 7), *range(8, 20), 500]


def test_a_client_asks_nobody_to_introduce_it() -> None:
    node = Alone(seeds=[SEED], flags=WANT_IPV4 | CLIENT, serves=False)
    node.overlay.on_joined(0.0)
    node.run(0.0, replying(shuffled(*peers(range(1, 20)))))
    assert len(node.neighbours) == 20
    assert node.asked(Introduce) == []


def test_who_has_few_neighbours_asks_again_and_then_makes_do_with_them() -> None:
    node = Alone(seeds=[SEED])
    node.overlay.on_joined(0.0)
    node.run(8.0, lambda _, message: shuffled() if isinstance(message, Shuffle) else TAKEN)
    lists = [each for _, each in node.asked(Shuffle) if each.count == CONFIG.view_size]
    early = 4  # a young node asks for a list with each of its early shuffles
    assert JOIN_TRIES <= len(lists) <= JOIN_TRIES + early
    assert node.neighbours == [500]
    assert [contact for contact, _ in node.asked(Introduce)] == [SEED]
    assert not node.overlay.gossip.joining


def test_who_finds_nobody_goes_on_asking_ever_more_slowly() -> None:
    node = Alone(seeds=[SEED])
    node.overlay.on_joined(0.0)
    node.run(3600.0)
    asked = node.asked(Shuffle)
    slowest_s = 1.2 * JOIN_PAUSES + 1
    assert 3600 / slowest_s < len(asked) < 250
    assert node.overlay.gossip.joining


def test_a_seed_that_is_not_in_the_overlay_is_no_neighbour_and_others_are_asked() -> None:
    node = Alone(seeds=[SEED, peer(501)])
    node.overlay.on_joined(0.0)

    def reply(contact: Contact, message: Message) -> Answer | None:
        if isinstance(message, Shuffle) and contact == SEED:
            return Taken(0, Taking.NOT_HERE)
        return shuffled() if isinstance(message, Shuffle) else TAKEN

    node.run(60.0, reply)
    assert node.neighbours == [501]


def test_without_anybody_to_ask_nothing_happens() -> None:
    node = Alone()
    node.overlay.start(0.0)
    node.overlay.on_joined(0.0)
    node.run(100.0)
    assert node.wire.asked == []


def test_a_node_that_has_left_asks_nobody_any_more() -> None:
    node = Alone(seeds=[SEED]).knowing(1, 2, 3)
    node.overlay.start(0.0)
    node.overlay.on_joined(0.0)
    node.run(2.0, lambda _, message: shuffled(*peers(range(1, 20))))
    node.overlay.stop()
    node.wire.asked.clear()
    node._replied = 0
    node.overlay.on_joined(node.now)
    node.run(100.0)
    assert node.wire.asked == []


def test_a_young_node_that_has_left_shuffles_no_more() -> None:
    node = Alone(seeds=[SEED])
    node.overlay.on_joined(0.0)
    node.run(0.5, replying(shuffled(*peers(range(1, 20)))))
    assert len(node.neighbours) == 20
    node.overlay.stop()
    node.asked(Shuffle)
    node.run(60.0)
    assert node.asked(Shuffle) == []


def test_who_knows_a_few_gives_some_of_them_for_what_a_seed_knows() -> None:
    node = Alone(seeds=[SEED]).knowing(1, 2, 3)
    node.overlay.on_joined(0.0)
    node.run(0.0, replying(shuffled(*peers(range(10, 18)))))
    ((asked, question),) = node.asked(Shuffle)
    assert (asked, numbers(named(question)), question.count) == (SEED, [1, 2, 3], CONFIG.exchange)
    assert node.neighbours == [1, 2, 3, *range(10, 18), 500], "and the seed, as there is a place"


def test_a_seed_is_not_given_itself() -> None:
    node = Alone(seeds=[peer(1)]).knowing(1, 2)
    node.overlay.on_joined(0.0)
    ((_, question),) = node.asked(Shuffle)
    assert numbers(named(question)) == [2]


# -------------------------------------------------------------------------------- introductions


def test_a_newcomer_is_passed_on_to_a_neighbour_as_it_was_seen() -> None:
    node = Alone().knowing(1, 2, 3)
    introduce = Introduce(WANT_IPV4, b"", INTRODUCE_STEPS)
    assert statuses(node.serve(introduce, peer(99))) == [Taking.TAKEN]
    ((contact, message),) = node.asked(Introduce)
    assert contact in peers([1, 2, 3])
    assert message == Introduce(WANT_IPV4, peer(99).packed, INTRODUCE_STEPS - 1)
    node.serve(message, peer(1))
    ((contact, further),) = node.asked(Introduce)
    assert contact in peers([2, 3]), "not back to where it came from"
    assert further == Introduce(WANT_IPV4, peer(99).packed, INTRODUCE_STEPS - 2)


def test_a_walk_takes_no_more_steps_than_everybody_takes() -> None:
    node = Alone().knowing(1)
    node.serve(Introduce(WANT_IPV4, b"", 255), peer(99))
    ((_, message),) = node.asked(Introduce)
    assert message.ttl == INTRODUCE_STEPS - 1


def test_the_end_of_the_walk_takes_the_newcomer_in_and_gives_it_the_entry_in_exchange() -> None:
    node = Alone().knowing(*range(1, 21))
    node.serve(Introduce(WANT_IPV4, peer(99).packed, 0), peer(1))
    ((contact, message),) = node.asked(Shuffle)
    assert contact == peer(99)
    assert message.count == 0
    (moved,) = numbers(named(message))
    node.run(0.0, replying(shuffled()))
    assert node.neighbours == sorted({*range(1, 21), 99} - {moved})


def test_a_newcomer_that_does_not_answer_is_not_taken_in() -> None:
    node = Alone().knowing(*range(1, 21))
    node.serve(Introduce(WANT_IPV4, peer(99).packed, 0), peer(1))
    node.run(9.0)
    assert node.neighbours == list(range(1, 21))


def test_a_newcomer_takes_what_it_is_given_and_who_gives_it() -> None:
    newcomer = Alone()
    answer = only(newcomer.serve(shuffle(peer(7), count=0), peer(1)))
    assert named(answer) == []
    assert newcomer.neighbours == [1, 7]


def test_who_knows_nobody_else_takes_a_newcomer_in_itself() -> None:
    node = Alone().knowing(99)
    node.view.drop(peer(99).id)
    node.serve(Introduce(WANT_IPV4, b"", 5), peer(99))
    ((contact, message),) = node.asked(Shuffle)
    assert (contact, named(message)) == (peer(99), [])
    node.run(0.0, replying(shuffled()))
    assert node.neighbours == [99]


def test_who_is_a_neighbour_already_is_not_taken_in_again() -> None:
    node = Alone().knowing(1, 99)
    node.serve(Introduce(WANT_IPV4, peer(99).packed, 0), peer(1))
    assert node.asked(Shuffle) == []


@pytest.mark.parametrize(
    "newcomer",
    [
        pytest.param(peer(99, "192.168.0.9").packed, id="at a private address"),
        pytest.param(six(99).packed, id="of the other family"),
        pytest.param(contact_at(b"o" * 32, pack_address("8.8.8.8", 1)).packed, id="ourselves"),
    ],
)
def test_a_newcomer_that_cannot_be_is_not_passed_on_and_not_asked(newcomer: bytes) -> None:
    node = Alone().knowing(1, 2)
    for ttl in (0, 5):
        assert statuses(node.serve(Introduce(BOTH, newcomer, ttl), peer(3))) == [Taking.TAKEN]
    assert node.wire.asked == []


@given(st.binary(max_size=50), st.integers(0, 255))
def test_any_bytes_for_a_newcomer_are_survived(newcomer: bytes, ttl: int) -> None:
    node = Alone().knowing(1, 2)
    node.serve(Introduce(WANT_IPV4, newcomer, ttl), peer(3))
    node.run(0.0, replying(shuffled()))
    assert len(node.wire.asked) <= 1


def test_private_addresses_are_believed_among_neighbours_in_a_private_range() -> None:
    node = Alone(host="192.168.0.1").knowing(1)
    asker, newcomer = peer(2, "192.168.0.2"), peer(3, "192.168.0.3")
    node.serve(Introduce(WANT_IPV4, newcomer.packed, 0), asker)
    assert [contact for contact, _ in node.asked(Shuffle)] == [newcomer]


def test_the_introductions_of_one_source_are_limited() -> None:
    node = Alone().knowing(1)
    wish = Introduce(WANT_IPV4, peer(99).packed, 5)

    def taken(asker: Contact) -> int:
        answers = [statuses(node.serve(wish, asker)) for _ in range(200)]
        return answers.count([Taking.TAKEN])

    assert taken(peer(3)) == INTRODUCED_BURST
    assert taken(peer(4, "1.0.3.1")) == 0, "another key is no other source"
    assert taken(peer(5)) == INTRODUCED_BURST
    node.run(10.0, lambda *_: TAKEN)
    assert taken(peer(3)) == 10 * INTRODUCED_S


def test_who_has_not_proved_where_it_is_has_to_before_anything_comes_of_what_it_says() -> None:
    """Else whoever writes a victim's address into a datagram enters it everywhere."""
    node = Alone().knowing(1)
    for message in (
        Introduce(WANT_IPV4, b"", 0),
        Introduce(WANT_IPV4, b"", 5),
        shuffle(),
        shuffle(*peers([5, 6])),
        shuffle(count=0, keeps_index=True, told=[(peer(7), 0)]),
    ):
        assert node.serve(message, peer(99), proved=False) == []
    assert node.wire.proofs_demanded == 5
    assert node.wire.asked == []
    assert node.neighbours == [1]
    assert len(node.index_nodes) == 0


def test_a_client_serves_nobody() -> None:
    node = Alone(serves=False).knowing(1)
    assert node.serve(shuffle(peer(2)), peer(99)) == []
    assert node.serve(Introduce(WANT_IPV4, b"", 0), peer(99)) == []
    assert node.wire.asked == []
    assert node.neighbours == [1]


# -------------------------------------------------------------------------- shuffles of others


def test_both_take_what_the_other_gives() -> None:
    node = Alone().knowing(*range(1, 21))
    answer = only(node.serve(shuffle(*peers(range(31, 38))), peer(30)))
    given = set(numbers(named(answer)))
    assert len(given) == CONFIG.exchange
    assert set(node.neighbours) == ({*range(1, 21)} - given) | set(range(30, 38))


def test_the_asker_is_as_new_as_can_be_and_what_it_gives_as_old_as_it_says() -> None:
    node = Alone()
    node.serve(shuffle(Entry(peer(2), 9, 17, True)), peer(1))
    assert node.view.entries() == [
        Entry(peer(1), age=0, degree=5),
        Entry(peer(2), age=9, degree=17, indexes=True),
    ]


def test_an_answer_says_how_many_neighbours_there_are_and_whether_an_index_is_kept() -> None:
    for index in (True, False):
        node = Alone(config=Config(index=index)).knowing(1, 2, 3)
        answer = only(node.serve(shuffle(count=1), peer(99)))
        assert answer.marks[:MARK_SIZE] == Entry(peer(0), 0, 3, index).mark


def test_a_client_is_not_entered_but_what_it_gives_is() -> None:
    node = Alone().knowing(1)
    answer = only(node.serve(shuffle(peer(2), flags=WANT_IPV4 | CLIENT), peer(99)))
    assert named(answer) == [peer(1)]
    assert node.neighbours == [1, 2]


def test_an_asker_whose_id_has_not_been_paid_for_is_not_entered() -> None:
    node = Alone(config=Config(id_puzzle_bits=3))
    for each in peers(range(1, 17)):
        node.serve(shuffle(count=0, keeps_index=True), each)
    paid = [each for each in peers(range(1, 17)) if solves_puzzle(each.id, 3)]
    assert 0 < len(paid) < 10
    assert node.neighbours == numbers(paid)
    assert len(node.index_nodes) == len(paid)


def test_of_what_others_name_only_the_ids_that_have_been_paid_for_are_taken() -> None:
    node = Alone(config=Config(id_puzzle_bits=3))
    node.serve(shuffle(*peers(range(1, 17))), peer(99))
    assert all(solves_puzzle(each.id, 3) for each in node.view.contacts())
    assert len(node.neighbours) > 0


def test_the_shuffles_of_others_are_limited_to_so_many_an_interval() -> None:
    """Eclipse: else a stranger, or many, would replace a view as fast as they can send."""
    node = Alone().knowing(*range(1, 21))

    def accepted(first: int) -> int:
        """By how many of 50 strangers, each in a subnet of its own?"""
        answers = [node.serve(shuffle(peer(each)), peer(each)) for each in range(first, first + 50)]
        assert all(
            isinstance(each, Shuffled) or each == Taken(int(node.now), Taking.BUSY)
            for (each,) in answers
        )
        return sum(isinstance(each, Shuffled) for (each,) in answers)

    per_interval = int(CONFIG.shuffles_per_interval)
    assert accepted(100) == 2 * per_interval
    node.run(INTERVAL_S)
    assert accepted(200) == per_interval
    node.run(100 * INTERVAL_S)
    assert accepted(300) == 2 * per_interval


def test_one_source_takes_part_in_less_than_others_so_that_it_does_not_replace_the_view() -> None:
    node = Alone().knowing(*range(1, 21))

    def accepted(asker: Contact) -> int:
        answers = [node.serve(shuffle(*peers(range(31, 39))), asker) for _ in range(9)]
        return sum(isinstance(each, Shuffled) for (each,) in answers)

    assert accepted(peer(99)) == SHUFFLES_OF_SOURCE_BURST
    assert accepted(peer(98, "1.0.99.1")) == 0, "another key, one host"
    assert accepted(peer(97)) == SHUFFLES_OF_SOURCE_BURST
    node.run(1.5 * INTERVAL_S / SHUFFLES_OF_SOURCE)
    assert accepted(peer(99)) == 1
    node.run(10 * INTERVAL_S)
    for _ in range(int(SHUFFLES_OF_SOURCE_BURST / LIST_COSTS)):
        assert named(only(node.serve(shuffle(count=20), peer(99))))
    assert statuses(node.serve(shuffle(count=20), peer(99))) == [Taking.BUSY]


def test_one_stranger_does_not_own_a_view_however_much_it_says() -> None:
    """It gives made-up neighbours once a second, each in a subnet of its own."""
    simulator = Simulator(1, overlay="unstructured")
    simulator.grow(40)
    simulator.run_for(40)
    victim, random = simulator.nodes[30], Random(1)
    overlay = victim.engine.unstructured
    assert overlay is not None
    real = {node.contact.id for node in simulator.nodes}
    stranger = peer(99, "66.6.6.6")
    shares: list[float] = []
    for second in range(200):
        made_up = [peer(random.getrandbits(16), f"{20 + each}.{second}.1.1") for each in range(8)]
        frame = sealed(stranger.public_key, bytes(8) + encode(shuffle(*made_up)))
        victim.engine.receive_datagram(simulator.now, frame, stranger.address)
        simulator.poll(victim)
        simulator.run_for(1.0)
        neighbours = overlay.view.contacts()
        shares.append(sum(each.id not in real for each in neighbours) / len(neighbours))
    assert sum(shares) / len(shares) < 1 / 2


def test_who_is_told_that_we_are_busy_changes_nothing() -> None:
    node = Alone(config=Config(shuffles_per_interval=1)).knowing(1)
    while statuses(node.serve(shuffle(peer(2)), peer(3))) != [Taking.BUSY]:
        pass
    before = node.neighbours
    assert statuses(node.serve(shuffle(peer(5)), peer(6))) == [Taking.BUSY]
    assert node.neighbours == before


def test_private_addresses_named_by_a_public_peer_are_not_believed() -> None:
    """That is how a stranger would make us knock at our neighbours' doors."""
    inside, outside = peer(5, "192.168.1.5"), peer(6)
    node = Alone()
    node.serve(shuffle(inside, outside, told=[(inside, 0), (outside, 0)]), peer(1))
    assert node.neighbours == [1, 6]
    assert told_of(only(node.serve(shuffle(count=1), peer(2)))).keys() == {outside}
    neighbour = peer(2, "192.168.1.2")
    node.serve(shuffle(inside, told=[(inside, 0)]), neighbour)
    assert node.neighbours == [1, 2, 5, 6]


def test_addresses_of_the_other_family_are_neither_taken_nor_told() -> None:
    node = Alone(flags=WANT_IPV4)
    node.serve(shuffle(six(5), peer(6), told=[(six(5), 0)], flags=BOTH), peer(1))
    assert node.neighbours == [1, 6]
    assert len(node.index_nodes) == 0
    both = Alone(flags=BOTH)
    both.serve(shuffle(six(5), peer(6), told=[(six(5), 0), (peer(6), 0)], flags=BOTH), peer(1))
    assert both.neighbours == [1, 5, 6]
    for flags, expected in ((WANT_IPV4, [1, 6]), (WANT_IPV6, [5]), (BOTH, [1, 5, 6])):
        answer = only(both.serve(shuffle(flags=flags), peer(9)))
        assert numbers(named(answer)) == expected
        assert numbers(told_of(answer)) == [each for each in expected if each != 1]


def test_nobody_is_named_to_itself() -> None:
    node = Alone().knowing(1, 2)
    assert named(only(node.serve(shuffle(), peer(1)))) == [peer(2)]


@example([(each, True) for each in range(1, 21)], list(range(31, 41)), 30, (8, ROOM), WANT_IPV4)
@example([(each, False) for each in range(1, 21)], list(range(31, 41)), 1, (20, ROOM), BOTH)
@example([(each, True) for each in range(1, 21)], list(range(31, 41)), 30, (8, 300), BOTH)
@settings(max_examples=50)
@given(
    known=st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=40),
    gives=st.lists(st.integers(1, 60), min_size=1, max_size=10),
    asker=st.integers(1, 60),
    wanted=st.tuples(st.integers(0, 64), st.integers(60, ROOM)),
    flags=st.sampled_from([0, WANT_IPV4, WANT_IPV6, BOTH]),
)
def test_who_leaves_a_view_in_a_shuffle_was_given_to_the_asker(
    known: list[tuple[int, bool]], gives: list[int], asker: int, wanted: tuple[int, int], flags: int
) -> None:
    """An entry is moved: else the other family, or whoever just asked, or whoever found no room in
    the answer, would be known ever less."""
    count, room = wanted
    node = Alone(flags=BOTH)
    node.view.merge(Entry(six(each) if is_six else peer(each)) for each, is_six in known)
    before = set(node.neighbours)
    message = shuffle(*peers(gives), count=count, flags=flags)
    answer = only(node.serve(message, peer(asker), room=room))
    given_away = set(numbers(named(answer)))
    assert asker not in given_away
    assert before - set(node.neighbours) <= given_away <= before
    assert len(given_away) <= min(count, CONFIG.exchange)
    assert set(node.neighbours) - before <= {asker, *gives}


# ------------------------------------------------------------------------------- what is malformed

packed_bytes = st.binary(max_size=120) | st.lists(
    st.sampled_from([peer(3).packed, peer(4, "10.0.0.4").packed, six(5).packed, bytes(38)]),
    max_size=4,
).map(b"".join)
broken_lists = st.tuples(*[packed_bytes] * 6)
Lists = tuple[bytes, bytes, bytes, bytes, bytes, bytes]


def check_sane(node: Alone) -> None:
    for contact in node.view.contacts():
        assert contact.reachable
        assert not is_local(contact.address)
        assert not is_ipv6(contact.address)
        assert contact.id != node.contact.id
    assert len(node.view) <= CONFIG.view_size


@given(st.integers(0, 255), st.integers(0, 64), broken_lists)
def test_any_shuffle_is_survived_and_answered_or_ignored(
    flags: int, count: int, lists: Lists
) -> None:
    node = Alone().knowing(1, 2)
    answers = node.serve(Shuffle(flags, count, *lists), peer(99))
    assert len(answers) <= 1
    check_sane(node)
    assert {1, 2} <= set(node.neighbours)


@given(broken_lists, st.booleans())
def test_any_answer_to_a_shuffle_is_survived(lists: Lists, joins: bool) -> None:
    node = Alone(seeds=[SEED]).knowing(1, 2)
    node.overlay.start(0.0)
    if joins:
        node.overlay.on_joined(0.0)
    node.run(2 * INTERVAL_S, lambda *_: Shuffled(0, *lists))
    check_sane(node)
    node.overlay.gossip.read_list(node.now, peer(1), Shuffled(0, *lists))


def test_a_list_that_makes_no_sense_is_neither_answered_nor_taken() -> None:
    node = Alone()
    good = shuffle(peer(5), told=[(peer(6), 0)])
    broken_ones = [
        msgspec.structs.replace(good, marks=b""),
        msgspec.structs.replace(good, marks=good.marks[:1]),
        msgspec.structs.replace(good, marks=good.marks + b"!"),
        msgspec.structs.replace(good, contacts4=good.contacts4[:-1]),
        msgspec.structs.replace(good, contacts6=b"!"),
        msgspec.structs.replace(good, indexes4=good.indexes4 + b"!"),
        msgspec.structs.replace(good, ages=b""),
    ]
    for asker, broken in enumerate(broken_ones, start=90):
        assert node.serve(broken, peer(asker)) == []
    assert node.neighbours == []
    assert len(node.index_nodes) == 0


# ------------------------------------------------------------------------------------ the rhythm


def started(*known: int, config: Config = CONFIG, seeds: Sequence[Contact] = ()) -> Alone:
    node = Alone(config=config, seeds=seeds).knowing(*known)
    node.overlay.start(0.0)
    return node


def live(node: Alone, intervals: int, reply: Reply) -> list[tuple[Contact, Shuffle]]:
    """Whom it shuffles with until so many intervals have passed, and what it gives."""
    node.run(intervals * INTERVAL_S, reply)
    return node.asked(Shuffle)


def test_once_in_an_interval_the_oldest_is_given_seven_others() -> None:
    node = started()
    node.view.merge([Entry(peer(each), age=each) for each in range(1, 21)])
    node.run(1.2 * INTERVAL_S, replying(shuffled(*peers(range(31, 39)))))
    ((contact, message),) = node.asked(Shuffle)
    given = numbers(named(message))
    assert contact == peer(20)
    assert len(given) == CONFIG.exchange - 1
    assert (message.flags, message.count) == (WANT_IPV4, CONFIG.exchange)
    assert node.neighbours == sorted(({*range(1, 20)} - {*given}) | {*range(31, 39)})


def test_shuffles_come_at_intervals_of_ten_seconds_and_a_little() -> None:
    node = started(*range(1, 21))
    shuffles = live(node, 100, lambda *_: Taken(0, Taking.BUSY))
    assert 95 <= len(shuffles) <= 105
    assert node.overlay.gossip.shuffles == len(shuffles)


def test_in_turn_every_neighbour_is_asked() -> None:
    node = started(*range(1, 21))
    shuffles = live(node, 25, lambda *_: Taken(0, Taking.BUSY))
    assert numbers({contact for contact, _ in shuffles}) == list(range(1, 21))


def test_a_young_node_shuffles_after_one_and_two_and_four_and_eight_seconds() -> None:
    node = Alone(seeds=[SEED])
    node.overlay.on_joined(0.0)
    at: list[float] = []

    def reply(contact: Contact, message: Message) -> Answer | None:
        if isinstance(message, Shuffle) and named(message) and node.now not in at:
            at.append(node.now)
        return shuffled(*peers(range(1, 20))) if isinstance(message, Shuffle) else TAKEN

    node.run(60.0, reply)
    pauses = [later - earlier for earlier, later in pairwise([0.0, *at])]
    assert len(pauses) == 4
    assert all(
        0.8 * due <= pause <= 1.2 * due for pause, due in zip(pauses, (1, 2, 4, 8), strict=True)
    )


def test_a_dead_neighbour_vanishes_and_the_next_is_tried_at_once_but_not_all() -> None:
    node = started(*range(1, 21))
    shuffles = live(node, 1, lambda *_: None)
    node.run(6.0)
    shuffles += node.asked(Shuffle)
    asked = {contact for contact, _ in shuffles}
    assert len(asked) == len(shuffles) == SHUFFLES_AT_ONCE
    assert len(node.neighbours) == 20 - SHUFFLES_AT_ONCE


def test_the_next_one_tried_is_no_more_than_one_if_it_lives() -> None:
    node = started(*range(1, 21))
    shuffles = live(node, 1, replying(None, shuffled(*peers(range(31, 39)))))
    node.run(6.0)
    assert len(shuffles + node.asked(Shuffle)) == 2
    assert len(node.neighbours) == 20


def test_who_is_busy_stays_a_neighbour_and_nobody_else_is_asked_for_it() -> None:
    node = started(*range(1, 21))
    shuffles = live(node, 1, lambda *_: Taken(0, Taking.BUSY))
    assert len(shuffles) <= 1
    node.run(6.0, lambda *_: Taken(0, Taking.BUSY))
    assert node.neighbours == list(range(1, 21))


def test_who_does_not_live_in_the_overlay_is_no_neighbour() -> None:
    node = started(*range(1, 21))
    shuffles = live(node, 1, lambda *_: Taken(0, Taking.NOT_HERE))
    node.run(6.0)
    gone = {*range(1, 21)} - {*node.neighbours}
    assert gone == {*numbers(contact for contact, _ in shuffles + node.asked(Shuffle))}
    assert len(gone) == SHUFFLES_AT_ONCE


def test_few_nodes_all_stay_neighbours() -> None:
    """A place that stays free is no use to anybody; of two nodes one would know nobody."""
    node = started(1, 2, 3)
    live(node, 20, replying(*[shuffled()] * 30))
    assert node.neighbours == [1, 2, 3]


def test_an_answer_to_something_else_counts_as_none() -> None:
    node = started(1)
    live(node, 2, lambda *_: Holding(0, b"", b"", b"", b""))
    assert node.neighbours == []


def test_who_has_few_neighbours_looks_for_more_with_those_it_knows_otherwise() -> None:
    lonely, content = started(1, 2, seeds=[SEED]), started(*range(1, 21), seeds=[SEED])
    busy = Taken(0, Taking.BUSY)
    assert sum(contact == SEED for contact, _ in live(lonely, 30, lambda *_: busy)) >= 28
    assert sum(contact == SEED for contact, _ in live(content, 300, lambda *_: busy)) in range(
        1, 30
    )


def test_no_shuffle_is_longer_than_a_datagram_however_much_is_exchanged() -> None:
    config = Config(exchange=16)
    node = Alone(config=config, flags=BOTH)
    node.view.merge(Entry(six(each)) for each in range(1, 21))
    for each in range(100, 120):
        node.index_nodes.heard(0.0, six(each), 0)
    node.overlay.start(0.0)
    node.run(1.2 * INTERVAL_S)
    ((_, message), *_) = node.asked(Shuffle)
    assert len(named(message)) == 15
    assert 0 < len(told_of(message)) < INDEXES_TOLD
    assert len(encode(message)) <= DATAGRAM_SIZE_MAX - CHANNEL_RESERVE
    answer = only(node.serve(shuffle(*peers(range(20)), count=64, flags=BOTH), peer(99)))
    assert len(named(answer)) == 16
    assert len(encode(answer)) <= DATAGRAM_SIZE_MAX - CHANNEL_RESERVE


@pytest.mark.parametrize("room", [60, 100, 300, 500, 1100])
def test_an_answer_has_as_much_as_there_is_room_for(room: int) -> None:
    node = Alone(flags=BOTH)
    node.view.merge(Entry(six(each) if each % 2 else peer(each)) for each in range(1, 21))
    node.serve(shuffle(told=[(peer(each), 0) for each in range(100, 108)]), peer(98))
    (answer,) = node.serve(shuffle(count=20, flags=BOTH), peer(99), room=room)
    assert isinstance(answer, Shuffled)
    assert len(named(answer)) <= max(0, room - 40) // 40


# ----------------------------------------------------------------------------------- index nodes


def test_index_nodes_spread_with_the_shuffles_whoever_asks() -> None:
    node = Alone(config=Config(index=False)).knowing(1)
    node.serve(shuffle(told=[(peer(31), 3)], keeps_index=True), peer(30))
    answer = only(node.serve(shuffle(), peer(99)))
    assert told_of(answer) == {peer(30): 0, peer(31): 3}
    node.overlay.start(0.0)
    node.run(1.2 * INTERVAL_S, lambda *_: shuffled(Entry(peer(40), 2, 0, True), keeps_index=True))
    (_, message), *_ = node.asked(Shuffle)
    assert told_of(message).keys() == {peer(30), peer(31)}
    assert {peer(1), peer(40)} <= {each for each, _ in node.index_nodes.sample(node.now, 99)}


def test_a_shuffle_names_eight_index_nodes_and_no_more_are_taken_of_one() -> None:
    node = Alone()
    node.serve(shuffle(told=[(peer(each), 0) for each in range(100, 112)]), peer(1))
    assert len(node.index_nodes) == INDEXES_TOLD
    node.serve(shuffle(told=[(peer(each), 0) for each in range(200, 208)]), peer(2))
    assert len(told_of(only(node.serve(shuffle(), peer(9))))) == INDEXES_TOLD


def test_who_begins_to_keep_an_index_tells_its_neighbours_at_once() -> None:
    node = started(1, 2)
    busy = Taken(0, Taking.BUSY)
    shuffles = live(node, 12, lambda *_: busy)
    assert node.index_nodes.own
    news = [(contact, each) for contact, each in shuffles if not each.count]
    assert numbers(contact for contact, _ in news) == [1, 2]
    assert all(not named(each) and each.marks[0] & 0x80 for _, each in news)
    assert all(each.marks[0] & 0x80 for _, each in live(node, 5, lambda *_: busy))


# ------------------------------------------------------------------ lists, for placing and finding


def test_anybody_is_asked_for_a_list_and_what_it_says_is_read_with_the_same_care() -> None:
    node = Alone().knowing(1)
    _, question = decode_untrusted(bytes(8) + node.overlay.gossip.list_body(0.0))
    assert isinstance(question, Shuffle)
    assert (named(question), question.count) == ([], CONFIG.view_size)
    read = node.overlay.gossip.read_list(0.0, peer(1), shuffled(peer(5), peer(6, "10.0.0.6")))
    assert [each.contact for each in read] == [peer(1), peer(5)]
    assert node.neighbours == [1]
    assert node.overlay.gossip.usable(peer(5), peer(1))
    assert not node.overlay.gossip.usable(peer(6, "10.0.0.6"), peer(1))


# ------------------------------------------------------------------------------- in a network


def views_of(simulator: Simulator) -> dict[int, list[int]]:
    """By the index of each living node, those of its neighbours."""
    index_of = {node.contact.id: node.index for node in simulator.nodes}
    return {
        node.index: [index_of[each.id] for each in overlay.view.contacts()]
        for node in simulator.living()
        if (overlay := node.engine.unstructured) is not None
    }


def component(views: dict[int, list[int]]) -> set[int]:
    """All that hang together with the first, if those that are no keys do not carry."""
    links: dict[int, list[int]] = {each: [] for each in views}
    for each, neighbours in views.items():
        for other in neighbours:
            if other in views:
                links[each].append(other)
                links[other].append(each)
    first = next(iter(views))
    seen, rest = {first: True}, [first]
    while rest:
        for other in links[rest.pop()]:
            if other not in seen:
                seen[other] = True
                rest.append(other)
    return set(seen)


def test_sixty_nodes_hang_together_also_after_half_of_them_have_crashed() -> None:
    simulator = Simulator(1, overlay="unstructured")
    simulator.grow(60)
    simulator.run_for(60)
    views = views_of(simulator)
    full = Config().view_size
    assert all(full - 1 <= len(view) <= full for view in views.values())  # one may be under way
    assert component(views) == set(range(60))
    known_by = [sum(each in view for view in views.values()) for each in range(60)]
    assert min(known_by) >= full / 4
    for node in list(simulator.living())[::2]:
        simulator.crash(node)
    left = {node.index for node in simulator.living()}
    assert component(views_of(simulator)) == left
    simulator.run_for(40 * INTERVAL_S)
    views = views_of(simulator)
    assert component(views) == left
    assert all(set(view) <= left for view in views.values()), "the dead are forgotten"
    assert all(full - 1 <= len(view) <= full for view in views.values())


def test_networks_that_are_smaller_than_a_view_are_known_whole() -> None:
    simulator = Simulator(2, overlay="unstructured")
    simulator.grow(6)
    simulator.run_for(60)
    assert all(len(view) in (4, 5) for view in views_of(simulator).values())


def test_clients_have_neighbours_and_are_nobodys() -> None:
    simulator = Simulator(3, overlay="unstructured")
    simulator.grow(12)
    clients = [simulator.add_node(client=True) for _ in range(3)]
    simulator.run_for(60)
    views = views_of(simulator)
    assert all(len(views[client.index]) >= 10 for client in clients)
    assert {each for view in views.values() for each in view} == set(range(12))


def test_on_the_encrypted_channel_too() -> None:
    """Where everybody has to prove where it is before it is taken in."""
    simulator = Simulator(4, overlay="unstructured", encrypted=True)
    simulator.grow(10)
    simulator.run_for(30)
    assert component(views_of(simulator)) == set(range(10))
    assert all(len(view) >= 8 for view in views_of(simulator).values())
