"""Keys, distances, and what consistent hashing promises when a node joins or leaves."""

import copy
import math
import pickle
import statistics
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2s
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.errors import LocalError
from dht.keyspace import (
    KEY_BITS,
    Key,
    common_prefix_length,
    content_key,
    distance,
    key_bytes,
    node_id,
    owners,
    plain_key,
    record_name,
    signed_key,
    solves_puzzle,
    topic_key,
)
from tests.strategies import application_keys, keys, small_keys

small_networks = st.lists(small_keys(), min_size=1, max_size=40, unique=True)

# ---- Key ----


@given(keys())
def test_a_key_is_written_in_hex_and_read_back(key: Key) -> None:
    assert Key.from_hex(key.hex()) == key
    assert len(key.hex()) == 64
    assert bytes.fromhex(key.hex()) == key_bytes(key)


@given(keys())
def test_a_key_survives_copying_and_pickling(key: Key) -> None:
    for twin in (copy.copy(key), copy.deepcopy(key), pickle.loads(pickle.dumps(key))):
        assert twin == key
        assert type(twin) is Key


def test_a_key_is_shown_by_its_first_digits() -> None:
    key = Key(0xABCDEF << 232)
    assert repr(key) == str(key) == f"{key}" == "Key(abcdef000000…)"


def test_arithmetic_on_keys_gives_plain_integers() -> None:
    """Then the hot path can never raise for a result out of range."""
    assert type(Key(5) ^ Key(6)) is int
    assert Key(0) - 1 == -1


@pytest.mark.parametrize("value", [-1, 2**KEY_BITS, 1.5, float("nan"), "7", b"7", None])
def test_what_is_no_place_in_the_space_is_no_key(value: object) -> None:
    with pytest.raises(LocalError, match="a key is an integer from 0 to"):
        Key(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["", "00" * 31, "00" * 33, "0g" * 32, " " + "00" * 32, "00 " * 32, "0x" + "00" * 31, 7]
)
def test_from_hex_takes_64_digits_and_nothing_else(text: object) -> None:
    with pytest.raises(LocalError, match="64 hexadecimal digits"):
        Key.from_hex(text)  # type: ignore[arg-type]


# ---- how keys are made ----


def test_keys_are_tagged_hashes() -> None:
    """By hand, from the specification: BLAKE2s-256 with an 8-byte "person"."""
    data = b"x" * 32
    for make, tag in ((plain_key, b"dht plai"), (content_key, b"dht cont"), (node_id, b"dht node")):
        assert key_bytes(make(data)) == blake2s(data, person=tag).digest()


@given(st.binary(max_size=40))
def test_the_same_bytes_have_another_place_for_each_purpose(data: bytes) -> None:
    assert len({plain_key(data), content_key(data), node_id(data)}) == 3


@given(st.text(max_size=40))
def test_a_str_means_its_utf8_bytes(text: str) -> None:
    assert plain_key(text) == plain_key(text.encode())


@given(application_keys())
def test_every_kind_of_bytes_is_the_same_key(application_key: str | bytes) -> None:
    raw = application_key.encode() if isinstance(application_key, str) else application_key
    assert plain_key(raw) == plain_key(bytearray(raw)) == plain_key(memoryview(raw))  # type: ignore[arg-type]


def test_a_str_that_is_no_unicode_text_is_a_key_all_the_same() -> None:
    """File names come with lone surrogates; a put of one must not crash."""
    assert plain_key("\udcff") != plain_key("\udcfe")


@given(keys())
def test_a_key_is_a_place_already(key: Key) -> None:
    assert plain_key(key) is key


@pytest.mark.parametrize("application_key", [7, None, 1.5, ("a",), ["a"]])
def test_another_type_is_refused_by_name(application_key: object) -> None:
    with pytest.raises(LocalError, match=type(application_key).__name__):
        plain_key(application_key)  # type: ignore[arg-type]


# ---- the metric ----


@given(keys(), keys(), keys())
def test_distance_is_a_metric(a: Key, b: Key, c: Key) -> None:
    assert (distance(a, b) == 0) == (a == b)
    assert distance(a, b) == distance(b, a)
    assert distance(a, c) <= distance(a, b) + distance(b, c)


@given(small_keys(), small_keys())
def test_at_a_given_distance_from_a_key_there_is_exactly_one_other(key: int, away: int) -> None:
    """Kademlia 2002, section 2.1: the metric is unidirectional, so lookups of a key converge."""
    assert [other for other in range(256) if distance(key, other) == away] == [key ^ away]


@given(small_keys(), small_keys())
def test_shared_prefix_bits_are_counted_as_text_would_be(a: int, b: int) -> None:
    texts = f"{a:08b}", f"{b:08b}"
    expected = next((n for n in range(8) if texts[0][n] != texts[1][n]), 8)
    assert common_prefix_length(a, b, 8) == expected


def test_shared_prefix_bits_of_256() -> None:
    assert common_prefix_length(0, 0) == 256
    assert common_prefix_length(0, 1) == 255
    assert common_prefix_length(0, 1 << 255) == 0


# ---- consistent hashing ----


@given(small_keys(), small_networks, st.integers(1, 10))
def test_owners_are_the_nearest_nodes(key: int, nodes: list[int], replicas: int) -> None:
    found = owners(key, nodes, replicas)
    others = set(nodes) - set(found)
    assert len(found) == min(replicas, len(nodes))
    assert [node ^ key for node in found] == sorted(node ^ key for node in found)
    assert all(node ^ key > found[-1] ^ key for node in others)


@given(small_keys(), small_networks, st.integers(1, 10), st.randoms(use_true_random=False))
def test_the_order_in_which_nodes_are_known_does_not_matter(
    key: int, nodes: list[int], replicas: int, random: Random
) -> None:
    shuffled = random.sample(nodes, len(nodes))
    assert owners(key, shuffled, replicas) == owners(key, nodes, replicas)


@given(small_networks, small_keys(), st.integers(1, 10))
def test_a_join_or_leave_moves_only_the_keys_that_the_node_gains_or_loses(
    nodes: list[int], other: int, replicas: int
) -> None:
    """For all 256 keys: each owner is as before, but for one that makes room for the newcomer."""
    without = [node for node in nodes if node != other]
    joined = [*without, other]
    for key in range(256):
        before, after = owners(key, without, replicas), owners(key, joined, replicas)
        if other in after:
            kept = [node for node in after if node != other]
            assert kept == before[: len(kept)]
            assert len(before) - len(kept) <= 1
        else:
            assert after == before


@given(small_keys(), small_networks, st.integers(1, 10))
def test_fewer_replicas_are_the_first_of_more(key: int, nodes: list[int], replicas: int) -> None:
    """So that a node that was told of another r than ours still looks in the right place."""
    assert owners(key, nodes, replicas) == owners(key, nodes, replicas + 1)[:replicas]


NODES = 64
KEYS = 256
NETWORKS = 200


def _networks() -> Iterator[tuple[list[int], list[int]]]:
    """Nodes and keys of many small networks, all of them hashes."""
    random = Random(1)
    for network in range(NETWORKS):
        nodes: list[int] = [node_id(random.randbytes(32)) for _ in range(NODES)]
        yield nodes, [plain_key(f"{network} {number}") for number in range(KEYS)]


@lru_cache(None)
def _zone_moment(nodes: int, r: int, s: int) -> float:
    """What to expect of the sum over all nodes of (share with r replicas) x (share with s).

    The ids fall to both sides of the first bit, k and n - k of them. A key goes to the owners on
    its own side while there are enough, and for the rest to those whom it meets when its first bit
    is turned over: so a node's share is half of what it is among its own side for keys from there,
    and half for keys from the other side, which look for as many owners fewer as live there.
    """
    if min(r, s) <= 0:
        return 0.0
    if max(r, s) >= nodes:  # everybody has a copy of everything
        return float(min(r, s, nodes))
    total = 0.0
    for here in range(1, nodes):
        there = nodes - here
        shares = [(r, s), (r, s - there), (r - there, s), (r - there, s - there)]
        total += math.comb(nodes, here) * sum(_zone_moment(here, *share) for share in shares)
    return total / 2 / ((1 << nodes) - 2)


@pytest.mark.parametrize("replicas", [1, 8])
def test_a_node_owns_r_nths_of_the_keys_with_the_spread_of_theory(replicas: int) -> None:
    """The share of any one node is r/n on average. How it spreads from node to node is computed
    exactly above. It is 0.71 of the mean with one owner, less than the 1 of the exponential arcs
    of a ring, and shrinks like 1/sqrt(r), as the zones of r neighbours add up.
    """
    first_loads, variances = [], []
    for nodes, places in _networks():
        loads = dict.fromkeys(nodes, 0)
        for key in places:
            for owner in owners(key, nodes, replicas):
                loads[owner] += 1
        first_loads.append(loads[nodes[0]])
        variances.append(statistics.pvariance(loads.values()))
    mean = KEYS * replicas / NODES
    assert statistics.mean(first_loads) == pytest.approx(mean, rel=0.15)

    # Only so many keys: each is a draw with chance r/n, whatever the zones.
    of_the_draw = mean * (1 - replicas / NODES)
    measured = math.sqrt(statistics.mean(variances) - of_the_draw) / mean
    theory = math.sqrt(NODES * _zone_moment(NODES, replicas, replicas) / replicas**2 - 1)
    assert measured == pytest.approx(theory, rel=0.05)
    assert theory == pytest.approx(0.71 / math.sqrt(replicas), rel=0.05)


@pytest.mark.parametrize("replicas", [1, 8])
def test_when_one_of_n_nodes_leaves_one_nth_of_the_copies_move(replicas: int) -> None:
    """Exactly those that it held, each to the next in line; 1/n of all on average."""
    moved = 0
    for nodes, places in _networks():
        leaver, rest = nodes[0], nodes[1:]
        for key in places[:32]:
            ranked = owners(key, nodes, replicas + 1)
            stay = [node for node in ranked if node != leaver]
            assert owners(key, rest, replicas) == stay[:replicas]
            moved += leaver in ranked[:replicas]
    copies = NETWORKS * 32 * replicas
    assert moved / copies == pytest.approx(1 / NODES, rel=0.15)


# ---- signed records and topics ----

NETWORK = b"n" * 16
AUTHOR = b"a" * 32


@given(application_keys())
def test_a_signed_key_is_made_of_network_application_key_and_author(key: str | bytes) -> None:
    raw = key.encode() if isinstance(key, str) else key
    name = record_name(key, NETWORK)
    assert name == blake2s(NETWORK + raw, person=b"dht name").digest()
    place = signed_key(AUTHOR, name)
    assert key_bytes(place) == blake2s(AUTHOR + name, person=b"dht sign").digest()
    topic = topic_key(key, NETWORK)
    assert key_bytes(topic) == blake2s(NETWORK + raw, person=b"dht memb").digest()
    assert len({place, topic, plain_key(key), Key(int.from_bytes(name))}) == 4


def test_another_author_or_another_network_has_another_place() -> None:
    """What was signed in one network is of no use in another: nobody looks for it there."""
    names = {record_name("k", network) for network in (NETWORK, b"m" * 16)}
    places = {signed_key(author, name) for author in (AUTHOR, b"b" * 32) for name in names}
    assert len(places) == 4
    assert topic_key("k", NETWORK) != topic_key("k", b"m" * 16)


def test_a_place_can_be_a_topic_but_not_the_name_of_a_signed_record() -> None:
    assert topic_key(Key(7), NETWORK) == Key(7)
    with pytest.raises(LocalError, match="made of its author and its key"):
        record_name(Key(7), NETWORK)


@pytest.mark.parametrize("key", [None, 7, 1.5, ["k"]])
def test_another_type_is_no_name_and_no_topic(key: object) -> None:
    for make in (record_name, topic_key):
        with pytest.raises(LocalError, match="encode it first"):
            make(key, NETWORK)  # type: ignore[arg-type]


@given(keys(), st.integers(0, 24))
def test_a_puzzle_asks_for_so_many_zero_bits(node: Key, bits: int) -> None:
    digest = blake2s(int(node).to_bytes(32), person=b"dht puzz").digest()
    assert solves_puzzle(node, bits) is f"{int.from_bytes(digest):0256b}".startswith("0" * bits)


def test_each_bit_of_a_puzzle_is_solved_by_half() -> None:
    nodes = range(4096)
    for bits in range(6):
        solved = sum(solves_puzzle(node, bits) for node in nodes)
        assert solved == pytest.approx(4096 / 2**bits, rel=0.2)
