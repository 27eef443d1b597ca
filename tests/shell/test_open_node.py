"""How a node's block begins and ends, whatever happens inside it, around it or to the node.

Under the autojump clock, but for a few on real sockets, which never sleep."""

import signal
import threading
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import trio
import trio.testing

import dht
from dht.core.engine import Engine
from dht.core.events import Joined
from dht.errors import InternalError, LocalError, NodeClosed, NoPeers
from dht.shell.node import open_node
from dht.shell.udp import UdpPort
from tests.shell.virtual import VirtualNetwork, cancelled_at_step, has_ipv6, run

ANYWHERE = "127.0.0.1:0"


# ---- what the block raises arrives as it was raised ----


class Mine(Exception):
    """What a program raises in its block."""


@pytest.mark.parametrize(
    "raised",
    [
        *(Mine("x"), KeyboardInterrupt("x"), SystemExit("x"), BaseException("x")),
        *(StopAsyncIteration("x"), StopIteration("x"), GeneratorExit("x"), NoPeers("x")),
        *(BaseExceptionGroup("x", [Mine()]), trio.ClosedResourceError("x")),
    ],
    ids=repr,
)
def test_what_the_block_raises_arrives_as_it_was_raised(raised: BaseException) -> None:
    async def main() -> None:
        network = VirtualNetwork()
        with pytest.raises(type(raised)) as caught:
            async with network.open():
                raise raised
        assert caught.value is raised
        assert raised.__cause__ is None
        assert network.ports == {}

    run(main)


def test_an_error_of_the_block_arrives_as_it_was_raised_from_real_sockets_too() -> None:
    async def main() -> None:
        async with open_node(ANYWHERE):
            raise Mine

    with pytest.raises(Mine):
        trio.run(main)


def test_a_group_raised_by_the_block_is_not_wrapped_again() -> None:
    async def main() -> None:
        async with VirtualNetwork().open(), trio.open_nursery():
            raise KeyError("mine")

    with pytest.RaisesGroup(KeyError):
        run(main)


def test_an_error_while_cancelled_is_not_swallowed() -> None:
    async def main() -> None:
        with trio.move_on_after(1):
            async with VirtualNetwork().open():
                try:
                    await trio.sleep_forever()
                finally:
                    raise Mine

    with pytest.raises(Mine):
        run(main)


def test_a_timeout_around_the_block_is_an_ordinary_timeout() -> None:
    async def main() -> None:
        with trio.fail_after(1):
            async with VirtualNetwork().open():
                await trio.sleep_forever()

    with pytest.raises(trio.TooSlowError):
        run(main)


def test_control_c_in_a_real_program_arrives_as_it_is() -> None:
    async def press() -> None:
        await trio.testing.wait_all_tasks_blocked()
        signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        async with open_node(ANYWHERE):
            trio.lowlevel.spawn_system_task(press)
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)


# ---- a crash of the node ----


def break_engine(node: dht.Node, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def explode(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError(name)

    monkeypatch.setattr(type(node._engine), name, explode)


@pytest.mark.parametrize(
    "name", ["handle_timeout", "datagrams_to_send", "start_get", "start_leave"]
)
def test_a_crash_of_the_node_says_whose_fault_it_is(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with VirtualNetwork().open() as node:
            break_engine(node, monkeypatch, name)
            if name == "start_get":
                await node.get("x")
            elif name != "start_leave":
                await trio.sleep(60)
                pytest.fail("the block went on")

    with pytest.raises(InternalError, match="report") as caught:
        run(main)
    error = caught.value.__cause__
    assert isinstance(error.__cause__ or error if error else None, ZeroDivisionError)


@pytest.mark.parametrize("name", ["__init__", "start"])
def test_a_crash_before_the_block_leaves_no_socket_open(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: list[UdpPort] = []
    bind = UdpPort.bind

    def noting(*args: Any, **options: Any) -> UdpPort:
        ports.append(bind(*args, **options))
        return ports[-1]

    def explode(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        async with open_node(ANYWHERE):
            pytest.fail("the block began")

    monkeypatch.setattr(UdpPort, "bind", noting)
    monkeypatch.setattr(Engine, name, explode)
    with pytest.raises((InternalError, ZeroDivisionError)):
        trio.run(main)
    assert [port.closed for port in ports] == [True]


def test_an_error_of_the_block_is_told_rather_than_the_crash_that_it_came_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with VirtualNetwork().open() as node:
            break_engine(node, monkeypatch, "handle_timeout")
            try:
                await trio.sleep(60)
            finally:
                raise Mine

    with pytest.raises(Mine):
        run(main)


async def live_sick(block: AbstractAsyncContextManager[dht.Node]) -> None:
    async with block as sick:
        sick._pump.engine = None  # type: ignore[assignment]
        await trio.sleep(60)


def test_a_crash_ends_one_node_and_no_other() -> None:
    async def main() -> None:
        network = VirtualNetwork()
        async with network.open() as first, network.open(bootstrap=[first.uri]) as second:
            with pytest.raises(InternalError):
                await live_sick(network.open(bootstrap=[first.uri]))
            await second.put("x", b"1")
            assert await first.get("x") == b"1"

    run(main)


# ---- joining ----


def test_the_block_begins_once_the_node_has_joined() -> None:
    async def main() -> None:
        network = VirtualNetwork()
        async with network.open() as first, network.open(bootstrap=[first.uri]) as second:
            outcome = await second.lookup("anything")
            assert {contact.id for contact in outcome.closest} == {first.id, second.id}

    run(main)


def test_the_block_begins_once_the_first_attempt_has_failed_and_goes_on_trying() -> None:
    async def main() -> None:
        network = VirtualNetwork()
        identity = dht.Identity.from_private_bytes(bytes(32))
        async with network.open("10.9.9.9:1", identity=identity) as gone:
            uri = gone.uri
        start = trio.current_time()
        async with network.open(bootstrap=[uri]) as node, node.events() as events:
            assert 0 < trio.current_time() - start < 10
            with pytest.raises(NoPeers, match=r"10\.9\.9\.9"):
                await node.put("x", b"1")
            with pytest.raises(NoPeers, match=r"10\.9\.9\.9"):
                await node.get_many(["x", "y"])
            async with network.open("10.9.9.9:1", identity=identity):
                with trio.fail_after(60):
                    async for event in events:
                        if isinstance(event, Joined):
                            break
                await node.put("x", b"1")

    run(main)


@pytest.mark.parametrize("asleep", [False, True])
@pytest.mark.parametrize("step", range(8))
def test_cancelled_at_any_step_of_its_beginning_nothing_stays(step: int, *, asleep: bool) -> None:
    async def main() -> None:
        network = VirtualNetwork()
        async with network.open() as first:

            async def operation() -> None:
                async with network.open(bootstrap=[first.uri]):
                    await trio.lowlevel.checkpoint()

            await cancelled_at_step(operation, step, asleep=asleep)
            assert len(network.ports) == 1
        assert network.ports == {}

    run(main)


def bootstraps(node: dht.Node) -> list[Any]:
    contact = node._engine.contact
    return [node.uri, contact, [node.uri], (contact,), {node.uri: 1}, iter([contact, node.uri])]


@pytest.mark.parametrize("number", range(6))
def test_bootstrap_is_a_uri_or_a_contact_or_several(number: int) -> None:
    async def main() -> None:
        async with (
            open_node(ANYWHERE) as first,
            open_node(ANYWHERE, bootstrap=bootstraps(first)[number]) as second,
        ):
            assert second.stats().contacts == 1

    trio.run(main)


def test_a_node_that_is_told_of_itself_alone_is_a_network_of_one() -> None:
    async def main() -> None:
        identity = dht.Identity.from_private_bytes(bytes(32))
        async with open_node(ANYWHERE, identity=identity) as node:
            uri = node.uri
        async with open_node(uri.partition("@")[2], identity=identity, bootstrap=uri) as node:
            assert (await node.put("x", b"1")).stored

    trio.run(main)


# ---- what it is told ----


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"listen": "localhost:0"}, "'localhost'"),
        ({"listen": "127.0.0.1"}, "'127.0.0.1'"),
        ({"listen": "127.0.0.1:65536"}, "65536"),
        ({"listen": 4000}, "4000"),
        ({"listen": ["127.0.0.1:0", None]}, "None"),
        ({"listen": b"127.0.0.1:0"}, "b'127.0.0.1:0'"),
        ({"bootstrap": "127.0.0.1:4000"}, "'127.0.0.1:4000'"),
        ({"bootstrap": ["dht://nonsense@127.0.0.1:4000"]}, "'dht://nonsense@127.0.0.1:4000'"),
        ({"bootstrap": 7}, "7"),
        ({"bootstrap": [None]}, "None"),
        ({"advertise": "nowhere"}, "'nowhere'"),
        ({"advertise": "0.0.0.0:4000"}, "'0.0.0.0:4000'"),
        ({"advertise": "192.0.2.1:0"}, "'192.0.2.1:0'"),
        ({"identity": b"secret"}, "Identity"),
        ({"client": "yes"}, "'yes'"),
        ({"config": {"k": 8}}, "{'k': 8}"),
    ],
    ids=str,
)
def test_an_argument_that_cannot_be_is_shown(options: dict[str, Any], shown: str) -> None:
    async def main() -> None:
        async with open_node(**{"listen": ANYWHERE, **options}):
            pytest.fail("the block began")

    with pytest.raises(LocalError) as caught:
        trio.run(main)
    assert shown in str(caught.value)


def test_nowhere_to_listen_is_an_error() -> None:
    async def main() -> None:
        async with open_node([]):
            pytest.fail("the block began")

    with pytest.raises(LocalError, match="listen"):
        trio.run(main)


def test_a_port_in_use_is_told_and_the_first_node_lives() -> None:
    async def main() -> None:
        async with open_node(ANYWHERE) as node:
            with pytest.raises(LocalError, match=node.addresses[0]):
                async with open_node(node.addresses[0]):
                    pytest.fail("the block began")
            assert (await node.put("x", b"1")).stored

    trio.run(main)


def test_what_is_advertised_is_told_instead_of_where_it_listens() -> None:
    async def main() -> None:
        told = ["192.0.2.1:4000", "[2001:db8::1]:4000"]
        async with open_node(ANYWHERE, advertise=told) as node:
            assert node.addresses == tuple(told)
            assert node.uri.endswith("@192.0.2.1:4000")

    trio.run(main)


def test_a_node_on_a_wildcard_can_be_reached_at_its_uri() -> None:
    async def main() -> None:
        # This machine's own address may be one that anybody reaches.
        config = dht.Config(plain_on_open_network=True)
        async with open_node(config=config) as first:
            [address] = first.addresses
            assert not address.startswith("0.0.0.0")
            async with open_node(bootstrap=first.uri, config=config) as second:
                await second.put("x", b"1")
                assert await first.get("x", quorum=2) == b"1"

    trio.run(main)


def test_a_client_is_served_and_serves_nobody() -> None:
    async def main() -> None:
        network = VirtualNetwork()
        async with (
            network.open() as server,
            network.open(bootstrap=[server.uri], client=True) as client,
        ):
            outcome = await client.put("x", b"1")
            assert [contact.id for contact in outcome.stored] == [server.id]
            await trio.sleep(60)
            assert server.stats().contacts == 0
            assert client.stats().records == 0

    run(main)


# ---- families ----


def test_a_node_of_both_families_is_a_bridge_between_the_others() -> None:
    async def main() -> None:
        network = VirtualNetwork()
        four, six = "10.1.0.1:4000", "[fd00::1]:4000"
        async with network.open(four, six) as bridge:
            assert bridge.addresses == (four, six)
            key = bridge.uri.partition("@")[0]
            async with (
                network.open("10.1.0.2:4000", bootstrap=[f"{key}@{four}"]) as left,
                network.open("[fd00::2]:4000", bootstrap=[f"{key}@{six}"]) as right,
            ):
                await left.put("x", b"from the left")
                assert await right.get("x") == b"from the left"
                assert left.stats().datagrams_unsendable == 0
                assert right.stats().datagrams_unsendable == 0

    run(main)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_a_real_node_of_both_families_is_a_bridge_between_the_others() -> None:
    async def main() -> None:
        async with open_node([ANYWHERE, "[::1]:0"]) as bridge:
            key = bridge.uri.partition("@")[0]
            four, six = bridge.addresses
            async with (
                open_node(ANYWHERE, bootstrap=f"{key}@{four}") as left,
                open_node("[::1]:0", bootstrap=f"{key}@{six}") as right,
            ):
                await right.put("x", b"from the right")
                assert await left.get("x") == b"from the right"

    trio.run(main)


# ---- many nodes, runs and threads ----


def test_the_example_of_the_readme_on_real_sockets() -> None:
    async def main() -> None:
        async with (
            dht.open_node(ANYWHERE) as alice,
            dht.open_node(ANYWHERE, bootstrap=[alice.uri]) as bob,
        ):
            await alice.put("greeting", b"hello")
            assert await bob.get("greeting") == b"hello"
            assert "127.0.0.1" in repr(alice)
        assert "closed" in repr(bob)
        with pytest.raises(NodeClosed):
            await bob.get("greeting")

    trio.run(main)


def test_programs_in_several_threads_do_not_meet_in_the_watch() -> None:
    found: list[bytes | None] = []

    async def main() -> None:
        async with open_node(ANYWHERE) as one, open_node(ANYWHERE, bootstrap=one.uri) as other:
            await one.put_many({f"k{number}": b"v" for number in range(50)})
            found.extend((await other.get_many([f"k{number}" for number in range(50)])).values())

    threads = [threading.Thread(target=trio.run, args=(main,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"v"] * 100


def test_nodes_of_different_tasks_may_end_in_any_order() -> None:
    async def main() -> None:
        network = VirtualNetwork()

        async def live(seconds: float) -> None:
            async with network.open() as node:
                await trio.sleep(seconds)
                assert (await node.put("x", b"1")).stored

        async with trio.open_nursery() as nursery:
            for seconds in (3, 1, 2):
                nursery.start_soon(live, seconds)
        assert network.ports == {}

    run(main)
