"""Pulling a large value block by block: every size, bad links, liars, holders that vanish."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dht.config import Config
from dht.contacts import Address
from dht.core.machine import FINISHED, Ask, Wait
from dht.core.responder import Offer, Responder
from dht.core.routing import RoutingTable
from dht.core.storage import Storage
from dht.core.transfer import (
    BLOCK_SIZE,
    FAILURES_MAX,
    FIRST_FAILURES_MAX,
    WINDOW,
    Transfer,
)
from dht.keyspace import Key, plain_key
from dht.records import HASH_SIZE, PIECE_SIZE, Kind, Record, piece_count, piece_hashes
from dht.wire.codec import copy_of, decode_untrusted
from dht.wire.messages import HASHES, Block, Fetch, Store
from tests.core.contacts_for_tests import contact
from tests.core.pair import Manners, Net

HOLDER = contact(1)


def record_of(value: bytes) -> Record:
    return Record(
        kind=Kind.PLAIN, key=Key(7), version=1, written_at_ms=0, ttl_ms=60_000, value=value
    )


def holder_of(value: bytes) -> Responder:
    """What a holder of the value answers to a fetch."""
    responder = Responder(RoutingTable(1, config=Config()), Storage(Config()), Config())
    responder.offers[record_of(value).head.value_hash] = Offer(value, piece_hashes(value))
    return responder


def transfer_of(value: bytes) -> Transfer:
    return Transfer(record_of(value).head, HOLDER, 0)


def fetch_in(ask: Ask) -> Fetch:
    message = decode_untrusted(bytes(8) + ask.body)[1]
    assert isinstance(message, Fetch)
    return message


def asks(transfer: Transfer) -> list[Ask]:
    result = []
    while isinstance(step := transfer.next(0.0), Ask):
        result.append(step)
    assert step is FINISHED or isinstance(step, Wait)
    return result


def pull(transfer: Transfer, holder: Responder, random: Random, *, loss: float = 0.0) -> int:
    """Lets the answers come in any order, some never, some twice; how many were asked for."""
    waiting = asks(transfer)
    late: list[Block] = []
    asked = len(waiting)
    while waiting:
        fetch = fetch_in(waiting.pop(random.randrange(len(waiting))))
        block = holder.fetch(0.0, fetch)
        if random.random() < loss:
            transfer.on_failure(0.0, HOLDER)
            if random.random() < 0.5:
                late.append(block)
        else:
            transfer.on_reply(0.0, HOLDER, block, [])
        if late and random.random() < 0.2:
            transfer.on_reply(0.0, HOLDER, late.pop(), [])
        more = asks(transfer)
        asked += len(more)
        waiting += more
    return asked


def edges(unit: int) -> list[int]:
    return [unit - 1, unit, unit + 1]


@pytest.mark.parametrize(
    "size",
    [
        *(HASH_SIZE + 1, 851),
        *edges(BLOCK_SIZE),
        *edges(2 * BLOCK_SIZE),
        *edges(PIECE_SIZE),
        *edges(PIECE_SIZE + BLOCK_SIZE),
        *edges(2 * PIECE_SIZE),
        # the list of piece hashes has one block, or two
        *edges(PIECE_SIZE * BLOCK_SIZE // HASH_SIZE),
    ],
)
def test_a_value_of_any_size_arrives_whole_and_nothing_is_asked_for_twice(size: int) -> None:
    value = Random(size).randbytes(size)
    transfer = transfer_of(value)
    asked = pull(transfer, holder_of(value), Random(size))
    assert transfer.record == record_of(value)
    pieces = piece_count(size)
    hash_blocks = -(-HASH_SIZE * pieces // BLOCK_SIZE) if pieces > 1 else 0
    assert asked == hash_blocks + sum(
        -(-min(PIECE_SIZE, size - start) // BLOCK_SIZE) for start in range(0, size, PIECE_SIZE)
    )


@given(
    size=st.integers(HASH_SIZE + 1, 80_000),
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.1, 0.3]),
)
@example(size=3 * PIECE_SIZE, seed=0, loss=0.3)
def test_loss_late_answers_and_any_order_are_survived(size: int, seed: int, loss: float) -> None:
    value = Random(size).randbytes(size)
    transfer = transfer_of(value)
    pull(transfer, holder_of(value), Random(seed), loss=loss)
    # Either whole and right, or given up after a row of failures; never anything between.
    assert transfer.record == record_of(value) or (transfer.record is None and transfer.failed)
    if not loss:
        assert not transfer.failed


@given(
    size=st.integers(HASH_SIZE + 1, 5 * PIECE_SIZE),
    where=st.floats(0, 1, exclude_max=True),
    flip=st.integers(1, 255),
)
def test_one_wrong_byte_anywhere_is_refused(size: int, where: float, flip: int) -> None:
    value = Random(size).randbytes(size)
    wrong = bytearray(value)
    wrong[int(where * size)] ^= flip
    head = record_of(value).head
    holder = holder_of(value)
    holder.offers[head.value_hash] = Offer(bytes(wrong), piece_hashes(value))
    transfer = Transfer(head, HOLDER, 0)
    pull(transfer, holder, Random(0))
    assert transfer.failed
    assert transfer.record is None


def test_a_wrong_byte_costs_no_more_than_its_piece() -> None:
    value = Random(0).randbytes(8 * PIECE_SIZE)
    holder, transfer = holder_of(value), transfer_of(value)
    true_hashes = holder.fetch(0.0, fetch_in(asks(transfer)[0]))
    transfer.on_reply(0.0, HOLDER, true_hashes, [])
    asked = 0
    while questions := asks(transfer):
        for ask in questions:
            asked += 1
            fetch = fetch_in(ask)
            transfer.on_reply(0.0, HOLDER, Block(0, fetch.offset, bytes(fetch.length)), [])
    assert transfer.failed
    assert asked == PIECE_SIZE // BLOCK_SIZE


def test_a_wrong_list_of_hashes_is_refused_before_a_byte_of_the_value_is_asked_for() -> None:
    value = Random(0).randbytes(2 * PIECE_SIZE)
    transfer = transfer_of(value)
    (ask,) = asks(transfer)
    fetch = fetch_in(ask)
    assert fetch.flags & HASHES
    transfer.on_reply(0.0, HOLDER, Block(0, 0, bytes(fetch.length)), [])
    assert asks(transfer) == []
    assert transfer.failed


@given(
    offset=st.integers(0, 2**32 - 1) | st.integers(0, 40).map(lambda n: n * BLOCK_SIZE),
    data=st.binary(min_size=1, max_size=1200),
)
def test_a_block_that_was_not_asked_for_is_no_part_of_the_value(offset: int, data: bytes) -> None:
    value = Random(0).randbytes(PIECE_SIZE + 100)
    transfer = transfer_of(value)
    asks(transfer)
    transfer.on_reply(0.0, HOLDER, Block(0, offset, data), [])
    assert sum(map(len, transfer._range.blocks.values())) <= 2 * HASH_SIZE
    assert transfer.record is None


def test_a_holder_that_says_it_has_nothing_is_believed_at_once() -> None:
    transfer = transfer_of(bytes(5000))
    (ask,) = asks(transfer)
    transfer.on_reply(0.0, HOLDER, Block(0, fetch_in(ask).offset, b""), [])
    assert transfer.next(0.0) is FINISHED
    assert transfer.failed


def test_who_never_gave_a_block_is_asked_for_one_at_a_time_and_not_for_long() -> None:
    transfer = transfer_of(bytes(5000))
    for _ in range(FIRST_FAILURES_MAX):
        assert len(asks(transfer)) == 1
        transfer.on_failure(0.0, HOLDER)
    assert transfer.next(0.0) is FINISHED
    assert transfer.failed


def test_who_gave_a_block_is_given_up_after_a_row_of_failures() -> None:
    value = bytes(100_000)
    transfer, holder = transfer_of(value), holder_of(value)
    (first,) = asks(transfer)
    transfer.on_reply(0.0, HOLDER, holder.fetch(0.0, fetch_in(first)), [])
    questions = asks(transfer)
    assert len(questions) == PIECE_SIZE // BLOCK_SIZE <= WINDOW
    for _ in range(FAILURES_MAX - 1):
        transfer.on_failure(0.0, HOLDER)
    assert not transfer.failed
    transfer.on_failure(0.0, HOLDER)
    assert transfer.failed


# ------------------------------------------------------------------------------ over a network


def holders_and_reader() -> tuple[Net, bytes]:
    net = Net(config=Config(replicas=3))
    net.grow(4)
    value = Random(3).randbytes(90_000)
    net.put(net.peers[0], "k", value)
    net.run_for(10.0)
    return net, value


def test_a_large_value_crosses_links_that_lose_repeat_and_spoil() -> None:
    net, value = holders_and_reader()
    random = Random(1)

    def fate(data: bytes, source: Address, target: Address) -> Sequence[bytes]:
        if random.random() < 0.15:
            return ()
        if random.random() < 0.05:
            return (data[:-1] + bytes([data[-1] ^ 1]),)
        return (data, data) if random.random() < 0.2 else (data,)

    net.fate = fate
    reader = net.add(*net.peers[:2], client=True)
    net.run_for(5.0)
    assert net.get(reader, "k").value == value
    assert net.put(reader, "k2", value).stored
    net.fate = lambda data, source, target: (data,)
    assert net.comes_to_rest()


def test_when_the_holder_vanishes_in_the_middle_the_get_goes_to_another() -> None:
    net, value = holders_and_reader()
    reader = net.add(net.peers[0], client=True)
    served: list[Address] = []

    def fate(data: bytes, source: Address, target: Address) -> Sequence[bytes]:
        if target == reader.address and len(data) > 900:
            served.append(source)
        gone = served[:1] if len(served) > 20 else []
        return () if source in gone else (data,)

    net.fate = fate
    assert net.get(reader, "k").value == value
    assert len({*served}) == 2


def test_a_holder_that_gives_wrong_bytes_does_not_stop_a_get() -> None:
    net, value = holders_and_reader()
    reader = net.add(net.peers[0], client=True)
    liar = min(net.holders("k"), key=lambda peer: peer.contact.id ^ plain_key("k"))
    for held in liar.engine.storage._held.values():
        spoilt = bytearray(value)
        spoilt[70_000] ^= 1
        spoilt_offer = Offer(bytes(spoilt), piece_hashes(value))
        liar.engine._responder.offers[held.record.head.value_hash] = spoilt_offer
    found = net.get(reader, "k")
    assert found.value == value
    assert found.agreed != (liar.contact,)
    assert any(target == liar.address for _, _, target, data in net.log if len(data) < 200)
    liar.engine._responder.offers.clear()
    assert net.comes_to_rest()


def test_a_writer_that_gives_wrong_bytes_stores_nothing() -> None:
    net = Net()
    node = net.add()
    manners = Manners(net)
    manners.replies[Fetch] = lambda fetch: Block(0, fetch.offset, bytes(fetch.length))  # type: ignore[union-attr]
    writer = net.known(node, manners=manners)
    writer.say(node, store_of_unknown())
    net.run_for(30.0)
    assert node.engine.storage.count == 0
    assert not net.leftovers(node)


def store_of_unknown() -> Store:
    what = record_of(Random(9).randbytes(5000))
    return Store(flags=2, copy=copy_of(what, 60_000), if_version=None, count=0)


def test_the_same_block_again_and_again_is_no_progress() -> None:
    value = bytes(100_000)
    transfer, holder = transfer_of(value), holder_of(value)
    (first,) = asks(transfer)
    block = holder.fetch(0.0, fetch_in(first))
    asked = 0
    while transfer.next(0.0) is not FINISHED:
        asked += 1
        assert asked < 1000, "a liar keeps a transfer alive"
        transfer.on_reply(0.0, HOLDER, block, [])
    assert transfer.failed


def test_a_holder_that_gives_one_block_now_and_then_is_left() -> None:
    value = bytes(100_000)
    transfer, holder = transfer_of(value), holder_of(value)
    now = 0.0
    while isinstance(step := transfer.next(now), Ask):
        transfer.on_reply(now, HOLDER, holder.fetch(now, fetch_in(step)), [])
        now += 3.0
    assert step is FINISHED
    assert transfer.failed
    assert now < 60.0
