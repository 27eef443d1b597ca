"""What a user asks of a node, and what comes of it: on a network of dicts, under the autojump
clock."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import attrs
import pytest
import trio

import dht
from dht.config import Config
from dht.core.events import PeerAdded, RecordStored
from dht.core.via import Flood, Index, Placement, Structured, Walk
from dht.errors import (
    DHTError,
    LocalError,
    NodeClosed,
    NoPeers,
    QuorumNotReached,
    ValueTooLarge,
    VersionConflict,
)
from dht.shell.node import IN_FLIGHT, Node
from tests.shell.virtual import VirtualNetwork, cancelled_at_step, run


@asynccontextmanager
async def nodes(count: int, **options: Any) -> AsyncIterator[list[Node]]:
    """A network of so many nodes that know each other."""
    network = VirtualNetwork()
    async with AsyncExitStack() as stack:
        opened: list[Node] = []
        for _ in range(count):
            bootstrap = [opened[0].uri] if opened else []
            block = network.open(bootstrap=bootstrap, **options)
            opened.append(await stack.enter_async_context(block))
        await trio.sleep(5)
        yield opened


def with_nodes(count: int, test: Callable[..., Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with nodes(count, **options) as opened:
            await test(*opened)
            await trio.sleep(60)
            for node in opened:
                check_settled(node)

    run(main)


def check_settled(node: Node) -> None:
    """Whatever was asked has ended, and nobody is waited for."""
    assert not node._pump._waiting
    assert node.stats().operations_in_flight == 0


# ---- one record ----


def test_what_one_node_puts_another_gets() -> None:
    async def test(alice: Node, bob: Node, carol: Node) -> None:
        outcome = await alice.put("greeting", b"hello")
        assert {contact.id for contact in outcome.stored} == {alice.id, bob.id, carol.id}
        assert await bob.get("greeting") == b"hello"
        assert await carol.get(b"greeting", quorum=3) == b"hello"
        assert await bob.get(outcome.key) == b"hello"
        fetched = await carol.fetch("greeting")
        assert fetched.record is not None
        assert fetched.record.version == outcome.version

    with_nodes(3, test)


def test_what_nobody_has_is_the_default() -> None:
    async def test(alice: Node, bob: Node) -> None:
        assert await alice.get("nothing") is None
        assert await alice.get("nothing", default=b"") == b""
        assert await alice.get("nothing", default=7) == 7
        assert (await alice.fetch("nothing")).record is None
        assert await alice.get_content(dht.Key(1)) is None
        assert await alice.get_content(dht.Key(1), default="none") == "none"

    with_nodes(2, test)


def test_what_was_deleted_is_the_default_and_the_outcome_says_so() -> None:
    async def test(alice: Node, bob: Node) -> None:
        put = await alice.put("x", b"1")
        deleted = await bob.delete("x")
        assert deleted.version > put.version
        assert await alice.get("x", quorum=2, default=b"gone") == b"gone"
        fetched = await alice.fetch("x", quorum=2)
        assert fetched.deleted is not None
        assert fetched.deleted.version == deleted.version

    with_nodes(2, test)


def test_a_version_that_is_no_more_is_a_conflict() -> None:
    async def test(alice: Node, bob: Node) -> None:
        first = await alice.put("x", b"1", if_version=0)
        second = await bob.put("x", b"2", if_version=first.version)
        with pytest.raises(VersionConflict) as caught:
            await alice.put("x", b"3", if_version=first.version)
        assert caught.value.newest.version == second.version
        with pytest.raises(VersionConflict):
            await alice.put("x", b"3", if_version=0)
        assert await alice.get("x", quorum=2) == b"2"

    with_nodes(2, test)


def test_a_quorum_that_cannot_be_found_is_told_with_what_there_was() -> None:
    async def test(alice: Node) -> None:
        with pytest.raises(QuorumNotReached) as caught:
            await alice.put("x", b"1", quorum=2)
        assert [contact.id for contact in caught.value.outcome.stored] == [alice.id]
        assert await alice.get("x") == b"1"

    with_nodes(1, test)


@pytest.mark.parametrize("size", [0, 1, 850, 851, 16 * 1024 + 1, 200_000])
def test_a_value_of_any_size_comes_back_as_it_was(size: int) -> None:
    value = bytes(number % 251 for number in range(size))

    async def test(alice: Node, bob: Node) -> None:
        await alice.put("x", value, quorum=2)
        assert await bob.get("x") == value
        outcome = await alice.put_content(value, quorum=2)
        assert await bob.get_content(outcome.key) == value

    with_nodes(2, test)


def test_a_record_ends_with_its_ttl() -> None:
    async def test(alice: Node, bob: Node) -> None:
        await alice.put("x", b"1", ttl=30)
        await trio.sleep(29)
        assert await bob.get("x") == b"1"
        await trio.sleep(2)
        assert await bob.get("x") is None

    with_nodes(2, test)


def test_disjoint_paths_find_the_same() -> None:
    async def test(*opened: Node) -> None:
        via = dht.Structured(disjoint=3)
        await opened[0].put("x", b"1", via=via)
        assert await opened[-1].get("x", via=via) == b"1"
        one, other = await opened[3].lookup("x", via=via), await opened[3].lookup("x")
        assert one.closest == other.closest

    with_nodes(12, test)


def test_a_lookup_finds_the_nearest_and_shows_the_way() -> None:
    async def test(*opened: Node) -> None:
        outcome = await opened[0].lookup("x")
        target = int(outcome.target)
        nearest = sorted((node.id for node in opened), key=target.__xor__)[:8]
        assert [contact.id for contact in outcome.closest] == nearest
        assert outcome.trace.nodes > 0
        assert (await opened[0].lookup(opened[5].id)).closest[0].id == opened[5].id

    with_nodes(12, test)


# ---- many at once ----


def test_many_are_put_and_got_and_the_missing_are_told() -> None:
    async def test(alice: Node, bob: Node) -> None:
        items = {f"k{number}": b"%d" % number for number in range(3 * IN_FLIGHT)}
        outcomes = await alice.put_many(items)
        assert list(outcomes) == list(items)
        assert all(len(outcome.stored) == 2 for outcome in outcomes.values())
        found = await bob.get_many(iter([*items, "missing"]))
        assert found == {**items, "missing": None}
        assert (await bob.get_many(["missing"], default=b"-")) == {"missing": b"-"}
        assert await bob.get_many([]) == {}
        assert await bob.put_many({}) == {}

    with_nodes(2, test)


def test_many_may_be_pairs_and_of_a_key_given_twice_the_last_counts() -> None:
    async def test(alice: Node, bob: Node) -> None:
        pairs: list[tuple[str | bytes, bytes]] = [("x", b"1"), (b"y", b"2"), ("x", b"3")]
        await alice.put_many(pairs)
        assert await bob.get_many([key for key, _ in pairs]) == {"x": b"3", b"y": b"2"}

    with_nodes(2, test)


def test_of_many_the_missed_quorums_are_told_together() -> None:
    async def test(alice: Node) -> None:
        with pytest.raises(QuorumNotReached, match="2 of 2") as caught:
            await alice.put_many({"x": b"1", "y": b"2"}, quorum=2)
        outcomes = caught.value.outcomes
        assert outcomes is not None
        assert list(outcomes) == ["x", "y"]
        assert caught.value.outcome is outcomes["x"]
        assert await alice.get_many(["x", "y"]) == {"x": b"1", "y": b"2"}

    with_nodes(1, test)


def test_of_many_gets_those_that_missed_their_quorum_are_told_together() -> None:
    async def test(alice: Node, bob: Node) -> None:
        await alice.put("everywhere", b"1")
        await alice.put("once", b"2", replicas=1)
        with pytest.raises(QuorumNotReached, match="1 of 2") as caught:
            await bob.get_many(["everywhere", "once"], quorum=2)
        assert caught.value.outcomes is not None
        assert caught.value.outcomes["everywhere"].value == b"1"
        assert caught.value.outcome.key == caught.value.outcomes["once"].key

    with_nodes(2, test)


# ---- arguments ----

_Mistakes = tuple[str, list[Any]]
_KEY: _Mistakes = ("key", [None, 7, 1.5, ["x"], ...])
_PUT: list[_Mistakes] = [
    _KEY,
    ("value", [None, "text", bytearray(b"x"), 7]),
    ("ttl", [0, -1, math.nan, math.inf, 24 * 3600 + 1, True, "1", b"1"]),
    ("if_version", [-1, True, "1", 1.5, 2**63, 2**70]),
    ("replicas", [0, -1, 65, True, "8", 1.5]),
    ("quorum", [0, -1, 9, True, "1", 1.5]),
    ("via", ["flood", "flooding", 1]),
]
# A str is an iterable of its characters, which nobody means by "several keys".
_CALLS: list[tuple[str, dict[str, Any], list[_Mistakes]]] = [
    ("put", {"key": "x", "value": b"1"}, _PUT),
    ("get", {"key": "x"}, [_KEY, ("quorum", [0, -1, 9, True, None, "1"]), _PUT[-1]]),
    ("fetch", {"key": "x"}, [_KEY, ("quorum", [0, 9]), _PUT[-1]]),
    ("delete", {"key": "x"}, [_KEY, *_PUT[4:]]),
    ("put_content", {"value": b"1"}, [_PUT[1], ("ttl", [0, math.nan, 7 * 24 * 3600 + 1])]),
    ("get_content", {"key": dht.Key(1)}, [("key", [None, "x", b"x", 1]), _PUT[-1]]),
    ("lookup", {"target": "x"}, [("target", [None, 7]), _PUT[-1]]),
    ("get_many", {"keys": ["x"]}, [("keys", [[None], ["x", 7], 5, "xyz", b"xyz"]), _PUT[-1]]),
    (
        "put_many",
        {"items": {"x": b"1"}},
        [("items", [{"x": "1"}, {7: b"1"}, 5, ["x"], "xyz", [("x", b"1", 2)]]), *_PUT[4:]],
    ),
]
_MISTAKES = [
    pytest.param(method, arguments, name, value, id=f"{method}-{name}-{value!r:.30}")
    for method, arguments, mistakes in _CALLS
    for name, values in mistakes
    for value in values
]


@pytest.mark.parametrize(("method", "arguments", "name", "value"), _MISTAKES)
def test_an_argument_that_cannot_be_is_shown_and_harms_nothing(
    method: str, arguments: dict[str, Any], name: str, value: Any
) -> None:
    async def test(alice: Node) -> None:
        with pytest.raises(LocalError) as caught:
            await getattr(alice, method)(**{**arguments, name: value})
        shown = [value, *value] if isinstance(value, list) else [value]
        shown += [*value, *value.values()] if isinstance(value, dict) else []
        assert any(repr(each) in str(caught.value) for each in shown)
        assert (await alice.put("x", b"1")).stored

    with_nodes(1, test)


def test_a_value_that_is_too_large_says_how_large_it_may_be() -> None:
    async def test(alice: Node) -> None:
        await alice.put("x", b"x" * 100)
        for ask in (alice.put("x", b"x" * 101), alice.put_content(b"x" * 101)):
            with pytest.raises(ValueTooLarge, match=r"101 bytes.*100"):
                await ask

    with_nodes(1, test, config=Config(value_size_max=100))


def test_of_many_values_one_that_is_wrong_stops_them_all_before_anything_is_stored() -> None:
    async def test(alice: Node) -> None:
        items: dict[str, Any] = {f"k{number}": b"1" for number in range(40)}
        with pytest.raises(LocalError, match="'text'"):
            await alice.put_many({**items, "last": "text"})
        assert alice.stats().records == 0

    with_nodes(1, test)


# ---- the unstructured overlay ----

#: Seconds until a few nodes that came together have met all others; ``nodes`` waits longer.
MEETING_S = 3.0
OVERLAYS = ["unstructured", "both"]
VIAS: list[Any] = [
    *("flood", "walk", "index"),
    Flood(ring=True, reply="direct"),
    Walk(walkers=4, bias=True, state=True, reply="direct", placement="path"),
    Index(placement=Placement(where="publisher")),
]


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("via", VIAS, ids=repr)
def test_what_is_put_without_owners_is_found_and_deleted_whichever_way(
    overlay: str, via: Any
) -> None:
    async def test(*opened: Node) -> None:
        alice, bob = opened[0], opened[-1]
        assert await bob.get("x", via=via) is None
        put = await alice.put("x", b"1", via=via)
        assert alice.id in {contact.id for contact in put.stored}
        assert await bob.get("x", via=via) == b"1"
        fetched = await bob.fetch("x", via=via)
        assert fetched.record is not None
        assert fetched.record.version == put.version
        again = await alice.put("x", b"2", via=via)
        assert again.version > put.version
        deleted = await alice.delete("x", via=via)
        assert deleted.version > again.version
        fetched = await alice.fetch("x", via=via)
        assert fetched.deleted is not None
        assert await alice.get("x", via=via, default=b"gone") == b"gone"

    with_nodes(5, test, overlay=overlay)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_many_contents_and_signed_records_are_found_without_owners(overlay: str) -> None:
    async def test(*opened: Node) -> None:
        alice, bob = opened[0], opened[-1]
        items = {f"k{number}": bytes([number]) for number in range(40)}
        puts = await alice.put_many(items, via="walk")
        assert list(puts) == list(items)
        found = await bob.get_many([*items, "missing"], via="flood", default=b"none")
        assert found == {**items, "missing": b"none"}
        value = bytes(200_000)
        content = await alice.put_content(value, via="index")
        assert await bob.get_content(content.key, via="index") == value
        author = alice.author
        await alice.put("x", b"signed", author=author, via="walk")
        await alice.put("x", b"plain", via="walk")
        assert await bob.get("x", author=author.id, via="walk") == b"signed"
        assert await bob.get("x", via="walk") == b"plain"

    with_nodes(5, test, overlay=overlay)


def test_a_node_without_owners_walks_unless_told_otherwise() -> None:
    """A walker asks its issuer whether it is still needed; nobody in a flood does."""

    async def test(*opened: Node) -> None:
        def checks() -> int:
            return sum(node.stats().checks_sent for node in opened)

        await opened[0].put("x", b"1")
        assert await opened[-1].get("x") == b"1"
        before = checks()
        await opened[-1].fetch("y", via="flood")
        await trio.sleep(5)
        assert checks() == before
        fetched = await opened[-1].fetch("y")
        assert fetched.trace.stopped == "everybody who was asked has answered"
        assert checks() > before
        assert await opened[0].get_many(["x", "y"]) == {"x": b"1", "y": None}
        await opened[0].delete("x")
        outcome = await opened[0].put_content(b"z")
        assert await opened[-1].get_content(outcome.key) == b"z"

    with_nodes(5, test, overlay="unstructured")


def test_a_second_search_finds_what_the_first_does_not() -> None:
    """The publisher is in no routing table: who goes by distance does not meet it."""

    async def main() -> None:
        network = VirtualNetwork()
        async with (
            network.open(overlay="both") as alice,
            network.open(overlay="unstructured", bootstrap=[alice.uri]) as publisher,
            network.open(overlay="both", bootstrap=[alice.uri]) as bob,
        ):
            await trio.sleep(MEETING_S)
            await publisher.put("x", b"1", via=Walk(placement="publisher"))
            await alice.put("owned", b"2")
            assert await bob.get("x") is None
            assert await bob.get("x", fallback="flood") == b"1"
            assert (await bob.fetch("x", via=Structured(), fallback=Walk())).value == b"1"
            assert await bob.get("none", fallback=Walk(), default=b"no") == b"no"
            assert await bob.get("owned", via=Flood(ttl=1), fallback="structured") == b"2"

    run(main)


def test_where_the_second_search_has_nobody_to_ask_the_first_ones_answer_counts() -> None:
    """Her friend does not live in the other overlay, so there she has no neighbours."""

    async def main() -> None:
        network = VirtualNetwork()
        async with (
            network.open() as friend,
            network.open(overlay="both", bootstrap=[friend.uri]) as alice,
        ):
            assert await alice.get("x") is None
            assert await alice.get("x", fallback="walk", default=b"no") == b"no"
            fetched = await alice.fetch("x", fallback="walk")
            assert fetched.empty
            assert fetched.trace.stopped == "everybody near the key has answered"
            with pytest.raises(NoPeers, match="no neighbours"):
                await alice.get("x", via="walk")

    run(main)


def test_what_the_first_search_took_is_counted_with_the_second() -> None:
    async def main() -> None:
        network = VirtualNetwork()
        async with (
            network.open(overlay="both") as alice,
            network.open(overlay="unstructured", bootstrap=[alice.uri]) as publisher,
            network.open(overlay="both", bootstrap=[alice.uri]) as bob,
        ):
            await trio.sleep(MEETING_S)
            await publisher.put("x", b"1", via=Walk(placement="publisher"))
            first, second = await bob.fetch("x"), await bob.fetch("x", via="flood")
            assert (first.value, second.value) == (None, b"1")
            assert first.trace.messages
            both = await bob.fetch("x", fallback="flood")
            assert both.value == b"1"
            assert both.trace.messages == first.trace.messages + second.trace.messages
            assert both.trace.elapsed == pytest.approx(first.trace.elapsed + second.trace.elapsed)

    run(main)


def test_what_was_deleted_is_an_answer_and_nobody_is_asked_further() -> None:
    async def test(alice: Node, bob: Node) -> None:
        await alice.delete("y")
        deleted = await alice.fetch("y", via="flood", fallback="structured")
        assert deleted.deleted is not None
        assert deleted.trace.messages == 0

    with_nodes(2, test, overlay="both")


def test_a_second_search_is_tried_where_the_first_has_nobody_to_ask() -> None:
    async def test(alice: Node) -> None:
        with pytest.raises(NoPeers, match="no neighbours"):
            await alice.get("x", via="flood")
        with pytest.raises(NoPeers, match="no neighbours"):
            await alice.get("x", via="flood", fallback="walk")
        assert await alice.get("x", via="flood", fallback="structured") is None
        await alice.put("x", b"1")
        assert await alice.get("x", via="flood", fallback="structured") == b"1"

    with_nodes(1, test, overlay="both")


#: The method with its arguments, what the message has to show, and what it says to do.
_NOT_HERE: list[tuple[str, dict[str, Any], str, str]] = [
    ("put", {"key": "x", "value": b"1", "quorum": 2, "via": "walk"}, "got 2", "quorum.*leave it"),
    ("put", {"key": "x", "value": b"1", "if_version": 0, "via": "walk"}, "got 0", "if_version"),
    ("put", {"key": "x", "value": b"1", "replicas": 4, "via": "flood"}, "got 4", "placement"),
    ("delete", {"key": "x", "quorum": 1, "via": "index"}, "via='index'", "quorum"),
    ("delete", {"key": "x", "replicas": 1, "via": "index"}, "got 1", "replicas"),
    ("put_content", {"value": b"1", "quorum": 1, "via": Walk(ttl=9)}, "ttl=9", "quorum"),
    ("put_many", {"items": {"x": b"1"}, "replicas": 3, "via": "walk"}, "got 3", "replicas"),
    ("get", {"key": "x", "quorum": 2, "via": "walk"}, "got 2", "quorum counts owners.*leave"),
    ("fetch", {"key": "x", "quorum": 0, "via": "walk"}, "got 0", "quorum counts owners"),
    ("get_many", {"keys": ["x"], "quorum": 3, "via": "walk"}, "got 3", "quorum counts owners"),
    ("get", {"key": "x", "fallback": "flooding"}, "'flooding'", "fallback is 'structured', 'flo"),
    ("get", {"key": "x", "quorum": 2, "fallback": "walk"}, "quorum=2", "counts owners.*leave one"),
    ("fetch", {"key": "x", "quorum": 0, "fallback": "structured"}, "quorum=0", "fallback='struct"),
    ("lookup", {"target": "x", "via": "walk"}, "via='walk'", "distance.*structured"),
    ("lookup", {"target": "x", "via": Index()}, "via=Index(", "distance.*structured"),
]


@pytest.mark.parametrize(("method", "arguments", "shown", "told"), _NOT_HERE)
def test_what_is_for_owners_cannot_be_where_there_are_none(
    method: str, arguments: dict[str, Any], shown: str, told: str
) -> None:
    async def test(alice: Node) -> None:
        with pytest.raises(LocalError, match=told) as caught:
            await getattr(alice, method)(**arguments)
        assert shown in str(caught.value)
        assert alice.stats().records == 0

    with_nodes(1, test, overlay="both")


DIRECT = Structured(routing="recursive", reply="direct")


def test_only_a_message_can_be_answered_directly_by_distance() -> None:
    async def test(alice: Node) -> None:
        for ask in (
            alice.get("x", via=DIRECT),
            alice.fetch("x", via=DIRECT),
            alice.get_many(["x"], via=DIRECT),
            alice.get_content(dht.Key(1), via=DIRECT),
            alice.put("x", b"1", via=DIRECT),
            alice.put_many({"x": b"1"}, via=DIRECT),
            alice.put_content(b"1", via=DIRECT),
            alice.delete("x", via=DIRECT),
        ):
            with pytest.raises(LocalError, match=r"reply= of Structured is for send.* of via="):
                await ask
        with pytest.raises(LocalError, match="leave it out of fallback="):
            await alice.get("x", fallback=DIRECT)
        assert alice.stats().records == 0

    with_nodes(1, test)


@pytest.mark.parametrize(
    ("overlay", "via"),
    [
        *(("unstructured", via) for via in ("structured", Structured(disjoint=2))),
        *(("structured", via) for via in ("flood", "walk", "index", Walk(ttl=9))),
    ],
)
def test_a_search_of_the_other_overlay_is_refused_with_what_to_do(overlay: str, via: Any) -> None:
    async def test(alice: Node) -> None:
        asks: list[Callable[[], Awaitable[object]]] = [
            lambda: alice.put("x", b"1", via=via),
            lambda: alice.get("x", via=via),
            lambda: alice.fetch("x", via=via),
            lambda: alice.delete("x", via=via),
            lambda: alice.put_content(b"1", via=via),
            lambda: alice.get_content(dht.Key(1), via=via),
            lambda: alice.get_many(["x"], via=via),
            lambda: alice.put_many({"x": b"1"}, via=via),
            lambda: alice.lookup("x", via=via),
        ]
        for ask in asks:
            with pytest.raises(LocalError, match=f"overlay='{overlay}'.*overlay='both'") as caught:
                await ask()
            assert f" via={via!r}" in f" {caught.value}" or "got via=" in str(caught.value)
        with pytest.raises(LocalError, match=r"^fallback=.*overlay='both'") as caught:
            await alice.get("x", fallback=via)
        assert repr(via) in str(caught.value)

    with_nodes(1, test, overlay=overlay)


def test_what_needs_the_structured_overlay_says_so_where_there_is_none() -> None:
    async def test(alice: Node) -> None:
        with pytest.raises(LocalError, match=r"by distance.*structured.*got via=None"):
            await alice.lookup("x")
        for ask in (alice.add("topic", b"me"), alice.remove("topic"), alice.members("topic")):
            with pytest.raises(LocalError, match=r"^topics need.*overlay='both'") as caught:
                await ask
            assert "via" not in str(caught.value)  # they have none

    with_nodes(1, test, overlay="unstructured")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_where_nobody_who_answers_lives_in_the_overlay_the_error_says_so(overlay: str) -> None:
    async def main() -> None:
        network = VirtualNetwork()
        async with (
            network.open() as elsewhere,
            network.open(overlay=overlay, bootstrap=[elsewhere.uri]) as alice,
        ):
            await trio.sleep(1)
            told = "answered, but does not live in the unstructured overlay.*overlay='both'"
            with pytest.raises(NoPeers, match=told):
                await alice.get("x", via="walk")
            with pytest.raises(NoPeers, match=told):
                await alice.send(dht.Key(7), b"", via="walk")
            async with network.open(overlay="both", bootstrap=[elsewhere.uri, alice.uri]):
                await trio.sleep(20)
                assert await alice.get("x", via="walk") is None

    run(main)


@pytest.mark.parametrize("overlay", ["x", "", None, 1, "Both"])
def test_an_overlay_that_there_is_not_is_shown_with_those_that_there_are(overlay: Any) -> None:
    async def main() -> None:
        names = "'structured', 'unstructured', 'both'"
        with pytest.raises(LocalError, match=f"overlay is one of {names}, got") as caught:
            async with dht.open_node("127.0.0.1:0", overlay=overlay):
                pass
        assert repr(overlay) in str(caught.value)

    run(main)


# ---- after the end ----


def test_after_its_block_a_node_answers_nothing() -> None:
    async def main() -> None:
        async with VirtualNetwork().open() as node:
            pass
        asks: list[Awaitable[object]] = [
            *(node.put("x", b"1"), node.get("x"), node.fetch("x"), node.delete("x")),
            *(node.put_content(b"1"), node.get_content(dht.Key(1)), node.lookup("x")),
            *(node.get_many(["x"]), node.put_many({"x": b"1"}), node.get_many([])),
        ]
        for ask in asks:
            with pytest.raises(NodeClosed, match="async with"):
                await ask
        for look in (node.events, node.stats):
            with pytest.raises(NodeClosed):
                look()
        assert node.addresses
        assert node.uri.startswith("dht://")

    run(main)


def test_whoever_waits_in_another_task_when_the_node_ends_is_told() -> None:
    async def main() -> None:
        network = VirtualNetwork()
        async with (
            trio.open_nursery() as nursery,
            network.open() as other,
            network.open(bootstrap=[other.uri]) as node,
        ):
            network.is_cut = True

            async def ask() -> None:
                with pytest.raises(NodeClosed):
                    await node.put("x", b"1")

            nursery.start_soon(ask)
            await trio.sleep(0.01)

    run(main)


# ---- cancellation ----

_OPERATIONS: dict[str, Callable[[Node], Awaitable[object]]] = {
    "put": lambda node: node.put("x", b"1"),
    "put large": lambda node: node.put("x", bytes(5000)),
    "get": lambda node: node.get("x", quorum=3),
    "delete": lambda node: node.delete("x"),
    "lookup": lambda node: node.lookup("x"),
    "get_many": lambda node: node.get_many([f"k{number}" for number in range(20)]),
    "put_many": lambda node: node.put_many({f"k{number}": b"1" for number in range(20)}),
}


@pytest.mark.parametrize("name", _OPERATIONS)
def test_cancelled_at_any_step_it_leaks_nothing_and_the_node_goes_on(name: str) -> None:
    async def test(*opened: Node) -> None:
        node = opened[0]
        cancelled = 0
        for step in count():
            results = [
                await cancelled_at_step(lambda: _OPERATIONS[name](node), step, asleep=asleep)
                for asleep in (True, False)
            ]
            check_settled(node)
            cancelled += sum(results)
            if step and not any(results):
                break
        assert cancelled
        await node.put("y", b"after")
        assert await opened[1].get("y") == b"after"

    with_nodes(3, test)


@pytest.mark.parametrize("milliseconds", range(0, 60, 4))
def test_cancelled_at_any_moment_it_leaks_nothing(milliseconds: int) -> None:
    async def test(*opened: Node) -> None:
        for ask in _OPERATIONS.values():
            with trio.move_on_after(milliseconds / 1000):
                await ask(opened[0])
            check_settled(opened[0])

    with_nodes(3, test)


# ---- looking on ----


def test_events_tell_what_happens_until_the_node_ends() -> None:
    async def main() -> None:
        network = VirtualNetwork()
        async with network.open() as alice:
            events = alice.events()
            async with network.open(bootstrap=[alice.uri]) as bob:
                await bob.put("x", b"1")
                await trio.sleep(5)
        seen = [event async for event in events]
        assert [event.contact.id for event in seen if isinstance(event, PeerAdded)] == [bob.id]
        assert any(isinstance(event, RecordStored) for event in seen)

    run(main)


def test_readers_that_never_read_do_not_slow_the_node() -> None:
    async def test(alice: Node, bob: Node) -> None:
        readers = [alice.events() for _ in range(3)]
        start = trio.current_time()
        for number in range(1200):
            await alice.put(f"k{number}", b"1")
        assert trio.current_time() - start < 1200 * 0.1
        assert alice.stats().events_lost > 0
        assert any(isinstance(event, dht.EventsLost) for event in [await drain(readers[0])])

    async def drain(reader: Any) -> Any:
        async for event in reader:
            if isinstance(event, dht.EventsLost):
                return event
        return None

    with_nodes(2, test)


def test_stats_are_a_frozen_value_with_the_same_names_whoever_comes() -> None:
    async def main() -> None:
        network = VirtualNetwork()
        async with network.open() as alice:
            before = alice.stats()
            async with network.open(bootstrap=[alice.uri]) as bob:
                await bob.put("x", b"1")
            after = alice.stats()
        assert attrs.asdict(before).keys() == attrs.asdict(after).keys()
        assert all(isinstance(value, int | float | str | None) for value in attrs.astuple(after))
        assert (before.records, after.records) == (0, 1)
        assert after.datagrams_sent > before.datagrams_sent
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            before.records = 5  # type: ignore[misc]

    run(main)


def test_every_error_that_a_node_raises_has_one_root() -> None:
    async def test(alice: Node) -> None:
        with pytest.raises(DHTError):
            await alice.put("x", b"1", quorum=8)

    with_nodes(1, test)
