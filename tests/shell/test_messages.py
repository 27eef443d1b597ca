"""``Node.send`` and ``Node.serve``, as a user calls them, under the autojump clock."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

import dht
from dht.core.sealing import PAYLOAD_MAX
from dht.core.via import Walk
from dht.errors import LocalError, NodeClosed, NoPeers, ValueTooLarge
from dht.shell.node import Node
from tests.shell.virtual import VirtualNetwork, cancelled_at_step, run


@asynccontextmanager
async def nodes(count: int, **options: Any) -> AsyncIterator[list[Node]]:
    """A network of so many nodes that know each other."""
    network = VirtualNetwork()
    async with AsyncExitStack() as stack:
        opened: list[Node] = []
        for _ in range(count):
            bootstrap = [opened[0].uri] if opened else []
            node = await stack.enter_async_context(network.open(bootstrap=bootstrap, **options))
            opened.append(node)
        await trio.sleep(5)
        yield opened


def with_nodes(count: int, test: Callable[..., Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with nodes(count, **options) as opened:
            await test(*opened)
            await trio.sleep(60)
            for node in opened:
                assert not node._pump._waiting
                assert not node._pump._servers
                assert node.stats().operations_in_flight == 0

    run(main)


async def echo(payload: bytes, sender: dht.Key) -> bytes:
    return payload[::-1]


@asynccontextmanager
async def serving(
    node: Node,
    topic: str,
    handler: Callable[[bytes, dht.Key], Awaitable[bytes]] = echo,
    *,
    limit: int = 16,
) -> AsyncIterator[None]:
    """Serves a topic while the block runs."""

    async def serve() -> None:
        await node.serve(topic, handler, limit=limit)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await trio.testing.wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


def test_a_message_is_answered_whoever_is_named_and_whichever_way_it_goes() -> None:
    async def test(alice: Node, bob: Node, carol: Node) -> None:
        told: list[tuple[bytes, dht.Key]] = []

        async def answer(payload: bytes, sender: dht.Key) -> bytes:
            told.append((payload, sender))
            return b"hello back"

        async with serving(carol, "chat", answer):
            contact = carol._engine.contact
            for target in (carol.id, carol.uri, contact):
                for via in (
                    None,
                    "structured",
                    dht.Structured(routing="recursive"),
                    dht.Structured(routing="recursive", reply="direct"),
                ):
                    answered = await alice.send(target, b"hello", topic="chat", via=via)
                    assert answered == b"hello back"
            assert told == [(b"hello", alice.id)] * 12

    with_nodes(3, test)


def test_by_distance_a_message_is_passed_on_unless_it_is_told_to_go_node_by_node() -> None:
    """Who knows two of each distance has most of the others only by hearsay."""

    async def test(*opened: Node) -> None:
        async def passed_on(via: Any) -> int:
            before = sum(node.stats().messages_forwarded for node in opened)
            for node in opened[:-1]:
                assert await node.send(opened[-1].id, b"hello", topic="chat", via=via) == b"olleh"
            return sum(node.stats().messages_forwarded for node in opened) - before

        async with serving(opened[-1], "chat"):
            assert await passed_on(None)
            assert await passed_on("structured")
            assert await passed_on(dht.Structured(routing="recursive"))
            assert not await passed_on(dht.Structured(routing="iterative"))

    with_nodes(12, test, config=dht.Config(k=2, replicas=2, table_whole_max=0))


@pytest.mark.parametrize("overlay", ["unstructured", "both"])
def test_in_the_unstructured_overlay_a_message_to_a_neighbour_goes_straight(overlay: str) -> None:
    async def test(alice: Node, bob: Node, carol: Node) -> None:
        async with serving(carol, "chat"):
            for target in (carol.id, carol.uri, carol._engine.contact):
                for via in (
                    "walk",
                    Walk(walkers=2, ttl=3),
                    Walk(walkers=2, reply="direct"),
                    *((None,) if overlay == "unstructured" else ()),
                ):
                    assert await alice.send(target, b"hello", topic="chat", via=via) == b"olleh"
        with pytest.raises(LocalError, match="walkers=, ttl= and reply="):
            await alice.send(carol.id, b"", via=Walk(bias=True))
        with pytest.raises(NoPeers):
            await alice.send(dht.Key(7), b"", via="walk")

    with_nodes(3, test, overlay=overlay)


def test_a_message_walks_on_until_somebody_knows_its_target() -> None:
    """Views of three, and an address book that forgets: hardly anybody knows anybody else."""

    async def test(*opened: Node) -> None:
        async with serving(opened[-1], "chat"):
            target = opened[-1].id
            for reply in ("path", "direct"):
                strangers = [node for node in opened[:-1] if not knows(node, target)]
                assert len(strangers) > 5
                before = sum(node.stats().messages_forwarded for node in opened)
                for node in strangers:
                    via = Walk(reply=reply)
                    assert await node.send(target, b"hello", topic="chat", via=via) == b"olleh"
                passed_on = sum(node.stats().messages_forwarded for node in opened) - before
                assert passed_on >= len(strangers)

    def knows(node: Node, target: dht.Key) -> bool:
        return node._engine._messaging._walks.where(target) is not None

    config = dht.Config(view_size=3, exchange=2, k=1, replicas=1, table_whole_max=0)
    with_nodes(24, test, overlay="unstructured", config=config)


@pytest.mark.parametrize("overlay", ["structured", "unstructured", "both"])
@pytest.mark.parametrize("via", ["flood", "index", dht.Flood(ttl=2)])
def test_a_message_neither_floods_nor_asks_an_index_wherever_one_lives(
    overlay: str, via: Any
) -> None:
    async def test(alice: Node) -> None:
        with pytest.raises(LocalError, match=r"by the routing table or on a walk, got") as caught:
            await alice.send(alice.id, b"", via=via)
        assert repr(via) in str(caught.value)

    with_nodes(1, test, overlay=overlay)


def test_where_there_is_no_such_overlay_nothing_walks() -> None:
    async def test(alice: Node, bob: Node) -> None:
        with pytest.raises(LocalError, match="overlay='both'"):
            await alice.send(bob.id, b"", via="walk")

    with_nodes(2, test)


def test_where_there_is_no_table_nothing_goes_by_it() -> None:
    async def test(alice: Node, bob: Node) -> None:
        with pytest.raises(LocalError, match="overlay='both'"):
            await alice.send(bob.id, b"", via="structured")

    with_nodes(2, test, overlay="unstructured")


def test_without_a_topic_there_is_one_too_and_a_node_may_write_to_itself() -> None:
    async def test(alice: Node, bob: Node) -> None:
        async with serving(alice, ""):
            assert await alice.send(alice.id, b"abc") == b"cba"
            assert await bob.send(alice.id, b"abc") == b"cba"

    with_nodes(2, test)


def test_a_node_alone_can_write_to_itself() -> None:
    async def test(alice: Node) -> None:
        async with serving(alice, "t"):
            assert await alice.send(alice.uri, b"abc", topic="t") == b"cba"

    with_nodes(1, test)


def test_a_topic_that_nobody_serves_and_a_node_that_is_not_there_raise_no_peers() -> None:
    async def test(alice: Node, bob: Node) -> None:
        with pytest.raises(NoPeers, match="no server for topic 'chat'"):
            await alice.send(bob.id, b"", topic="chat")
        with pytest.raises(NoPeers, match="no server for topic 'chat'"):
            await alice.send(alice.id, b"", topic="chat")
        with pytest.raises(NoPeers):
            await alice.send(dht.Key(7), b"")
        with trio.fail_after(21):
            with pytest.raises(NoPeers):
                await alice.send("dht://" + "a" * 52 + "@10.9.9.9:9", b"")

    with_nodes(2, test)


@pytest.mark.parametrize("target", ["somebody", b"bytes", 7, None, "dht://x@1.2.3.4:5"])
def test_who_cannot_be_a_node_is_shown(target: object) -> None:
    async def test(alice: Node) -> None:
        with pytest.raises(LocalError, match="dht://"):
            await alice.send(target, b"")  # type: ignore[arg-type]

    with_nodes(1, test)


def test_what_cannot_be_sent_is_refused() -> None:
    async def test(alice: Node, bob: Node) -> None:
        with pytest.raises(ValueTooLarge, match="put_content"):
            await alice.send(bob.id, bytes(PAYLOAD_MAX + 1))
        with pytest.raises(LocalError, match="payload is bytes"):
            await alice.send(bob.id, "text")  # type: ignore[arg-type]
        with pytest.raises(LocalError, match="topic"):
            await alice.send(bob.id, b"", topic="x" * 65)
        with pytest.raises(LocalError, match="disjoint"):
            await alice.send(bob.id, b"", via=dht.Structured(disjoint=2))
        with pytest.raises(LocalError, match="via"):
            await alice.send(bob.id, b"", via="pigeon")

    with_nodes(2, test)


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "16", 10_001])
def test_a_limit_that_cannot_be_is_refused(limit: object) -> None:
    async def test(alice: Node) -> None:
        with pytest.raises(LocalError, match="limit"):
            await alice.serve("t", echo, limit=limit)  # type: ignore[arg-type]
        with pytest.raises(LocalError, match="handler"):
            await alice.serve("t", None)  # type: ignore[arg-type]
        with pytest.raises(LocalError, match="topic"):
            await alice.serve("t" * 65, echo)

    with_nodes(1, test)


def test_a_topic_has_one_server_at_a_time() -> None:
    async def test(alice: Node) -> None:
        async with serving(alice, "t"):
            with pytest.raises(LocalError, match="'t' is served by this node already"):
                await alice.serve("t", echo)
        async with serving(alice, "t"):
            assert await alice.send(alice.id, b"abc", topic="t") == b"cba"

    with_nodes(1, test)


def test_so_many_handlers_run_at_once_and_the_others_wait() -> None:
    async def test(alice: Node, bob: Node) -> None:
        running = most = 0

        async def slow(payload: bytes, sender: dht.Key) -> bytes:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await trio.sleep(0.5)
            running -= 1
            return payload

        answered: list[bytes] = []

        async def send(number: int) -> None:
            answered.append(await alice.send(bob.id, bytes([number]), topic="slow"))

        async with serving(bob, "slow", slow, limit=3), trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(send, number)
        assert most == 3
        assert sorted(answered) == [bytes([number]) for number in range(10)]

    with_nodes(2, test)


def test_what_a_handler_raises_ends_the_serving_and_is_raised_as_it_was() -> None:
    async def test(alice: Node, bob: Node) -> None:
        async def broken(payload: bytes, sender: dht.Key) -> bytes:
            raise KeyError("mine")

        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(NoPeers, match="ended before it had an answer"):
                    await alice.send(bob.id, b"", topic="t")

            nursery.start_soon(send)
            with pytest.raises(KeyError, match="mine"):
                await bob.serve("t", broken)

    with_nodes(2, test)


@pytest.mark.parametrize("answer", ["text", None, bytes(PAYLOAD_MAX + 1)])
def test_an_answer_that_cannot_travel_is_the_servers_mistake(answer: object) -> None:
    async def test(alice: Node, bob: Node) -> None:
        async def wrong(payload: bytes, sender: dht.Key) -> bytes:
            return answer  # type: ignore[return-value]

        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(NoPeers):
                    await alice.send(bob.id, b"", topic="t")

            nursery.start_soon(send)
            with pytest.raises(LocalError):
                await bob.serve("t", wrong)

    with_nodes(2, test)


def test_serving_ends_with_the_node() -> None:
    async def main() -> None:
        ended: list[type] = []

        async def serve(node: Node) -> None:
            try:
                await node.serve("t", echo)
            except NodeClosed as error:
                ended.append(type(error))

        async with trio.open_nursery() as nursery, VirtualNetwork().open() as node:
            nursery.start_soon(serve, node)
            await trio.testing.wait_all_tasks_blocked()
        assert ended == [NodeClosed]
        with pytest.raises(NodeClosed):
            await node.serve("t", echo)
        with pytest.raises(NodeClosed):
            await node.send(node.id, b"")

    run(main)


@pytest.mark.parametrize("asleep", [False, True])
def test_a_send_that_is_cancelled_anywhere_leaves_nothing_behind(asleep: bool) -> None:
    async def test(alice: Node, bob: Node) -> None:
        async with serving(bob, "t"):
            for step in range(20):
                await cancelled_at_step(
                    lambda: alice.send(bob.id, b"abc", topic="t"), step, asleep=asleep
                )
                assert alice.stats().operations_in_flight == 0
                assert not alice._pump._waiting
            assert await alice.send(bob.id, b"abc", topic="t") == b"cba"

    with_nodes(2, test)


def test_a_handler_that_is_cancelled_with_its_server_is_no_answer() -> None:
    async def test(alice: Node, bob: Node) -> None:
        async def forever(payload: bytes, sender: dht.Key) -> bytes:
            await trio.sleep_forever()
            raise AssertionError

        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(NoPeers, match="ended before it had an answer"):
                    await alice.send(bob.id, b"", topic="t")

            async with serving(bob, "t", forever):
                nursery.start_soon(send)
                await trio.sleep(1)

    with_nodes(2, test)


def test_records_go_by_requests_that_are_passed_on_when_they_are_told_to() -> None:
    async def test(*opened: Node) -> None:
        alice, bob = opened[:2]
        recursive = dht.Structured(routing="recursive")
        await alice.put("a", b"value", via=recursive)
        assert await bob.get("a", via=recursive) == b"value"
        assert (await bob.fetch("a", via=recursive)).value == b"value"
        await bob.delete("a", via=recursive)
        assert await alice.get("a", via=recursive) is None
        assert await alice.get_many(["a", "b"], via=recursive) == {"a": None, "b": None}
        with pytest.raises(LocalError, match="node by node"):
            await alice.lookup("a", via=recursive)

    with_nodes(12, test)


def test_what_was_delivered_is_counted() -> None:
    async def test(alice: Node, bob: Node) -> None:
        async with serving(bob, "t"):
            await alice.send(bob.id, b"", topic="t")
        assert bob.stats().messages_delivered == 1
        assert alice.stats().messages_delivered == 0

    with_nodes(2, test)
