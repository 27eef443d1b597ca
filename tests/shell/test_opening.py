"""Who a node is, what it keeps, whom it asks first and in which network: over real sockets, and
where somebody has to be waited for under the autojump clock."""

import os
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

import dht
from dht.contacts import BareAddress, HostName, contact_at, pack_address, parse_address, parse_uri
from dht.core.events import Identified, JoinFailed
from dht.errors import InternalError, LocalError, NoPeers
from dht.identity import Identity
from dht.keyspace import solves_puzzle
from dht.network import Network
from dht.shell import errands
from dht.shell.errands import RESOLVE_MAX_S, resolve
from dht.shell.keyfiles import Use, create_secret, load_identity
from dht.shell.node import open_node
from tests.shell.virtual import VirtualNetwork, run

ANYWHERE = "127.0.0.1:0"
KEY, NEW_KEY = b"k" * 32, b"n" * 32
#: For real sockets on one machine where somebody is silent.
HASTY = dht.Config(
    request_timeout_first_s=0.1, request_timeout_min_s=0.05, request_timeout_max_s=0.1
)


def place_of(node: dht.Node) -> str:
    """The ``host:port`` of a node, without its key."""
    return node.addresses[0]


def port_of(node: dht.Node) -> str:
    return place_of(node).rpartition(":")[2]


def refused(**options: Any) -> str:
    """What is said when a node is not opened."""

    async def main() -> None:
        async with open_node(**{"listen": ANYWHERE, **options}):
            pytest.fail("the block began")

    with pytest.raises(LocalError) as caught:
        trio.run(main)
    return str(caught.value)


# ---- bare addresses, networks ----


def test_a_node_joins_through_host_and_port() -> None:
    async def main() -> None:
        async with (
            open_node(ANYWHERE) as alice,
            open_node(ANYWHERE, bootstrap=place_of(alice)) as bob,
        ):
            await alice.put("greeting", b"hello")
            assert await bob.get("greeting") == b"hello"

    trio.run(main)


@pytest.mark.parametrize("network_key", [None, KEY])
def test_members_of_a_network_find_each_other_and_others_find_silence(
    network_key: bytes | None,
) -> None:
    async def main() -> None:
        virtual, network = VirtualNetwork(), Network.named("mine", network_key)
        async with virtual.open(network=network) as alice:
            await alice.put("x", b"1")
            for bootstrap in (alice.uri, place_of(alice)):
                async with virtual.open(network=network, bootstrap=[bootstrap]) as bob:
                    assert await bob.get("x") == b"1"
                for other in (Network.named(), Network.named("mine", NEW_KEY)):
                    async with virtual.open(network=other, bootstrap=[bootstrap]) as stranger:
                        with pytest.raises(NoPeers) as caught:
                            await stranger.get("x")
                    said = str(caught.value)
                    assert place_of(alice) in said
                    assert "nobody answered" in said
                    assert "a wrong or missing network key looks the same" in said

    run(main)


def test_a_network_is_what_the_user_says_it_is() -> None:
    async def main() -> None:
        mine: Any = {"network": "mine", "network_key": KEY}
        async with open_node(ANYWHERE, **mine) as alice:
            async with open_node(ANYWHERE, bootstrap=place_of(alice), **mine) as bob:
                assert bob.stats().contacts == 1
            async with open_node(ANYWHERE, bootstrap=place_of(alice), config=HASTY) as stranger:
                assert stranger.stats().contacts == 0

    trio.run(main)


def test_a_key_is_replaced_without_a_break() -> None:
    async def main() -> None:
        virtual = VirtualNetwork()
        async with virtual.open(network=Network.named("main", [KEY, NEW_KEY])) as alice:
            await alice.put("x", b"1")
            for keys in (KEY, [KEY, NEW_KEY], [NEW_KEY, KEY]):
                network = Network.named("main", keys)
                async with virtual.open(network=network, bootstrap=[place_of(alice)]) as bob:
                    assert await bob.get("x") == b"1"

    run(main)


# ---- names ----


class Resolver(trio.abc.HostnameResolver):
    """Knows the names that a test gives it."""

    def __init__(self, names: dict[str, list[str]]) -> None:
        self.names = names
        self.asked = 0
        self.delay_s = 0.0

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        self.asked += 1
        host = host.decode()  # trio has encoded it already
        await trio.sleep(self.delay_s) if self.delay_s else await trio.lowlevel.checkpoint()
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (each, port)) for each in self.names[host]]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise AssertionError


def with_names(
    names: dict[str, list[str]], test: Callable[[Resolver], Awaitable[None]], *, real: bool = False
) -> None:
    async def main() -> None:
        resolver = Resolver(names)
        trio.socket.set_custom_hostname_resolver(resolver)
        await test(resolver)

    if real:
        trio.run(main)
    else:
        run(main)


SEED = HostName("seed.example", 4000)


def test_a_name_has_at_most_eight_addresses_of_the_families_wanted() -> None:
    ten = [f"192.0.2.{number}" for number in range(1, 11)]
    many = ["2001:db8::1%3", *ten, "0.0.0.0", "192.0.2.1", "::ffff:192.0.2.1"]

    async def test(_: Resolver) -> None:
        four = await resolve(SEED, [False])
        assert four == [pack_address(each, 4000) for each in ten[:8]]
        assert await resolve(SEED, [True]) == [pack_address("2001:db8::1", 4000)]
        assert len(await resolve(SEED, [True, False])) == 8
        assert await resolve(HostName("none.example", 4000), [False]) == []

    with_names({"seed.example": many}, test)


def test_a_resolver_that_says_nothing_is_not_waited_for_without_end() -> None:
    async def test(resolver: Resolver) -> None:
        started = trio.current_time()
        resolver.delay_s = 1e6
        assert await resolve(SEED, [False]) == []
        assert trio.current_time() - started == pytest.approx(RESOLVE_MAX_S)

    with_names({"seed.example": ["192.0.2.1"]}, test)


def test_a_name_that_cannot_be_encoded_has_no_address() -> None:
    async def main() -> None:
        assert await resolve(HostName("x" * 64 + ".example", 4000), [False]) == []

    trio.run(main)


def test_a_node_joins_through_a_name() -> None:
    async def test(_: Resolver) -> None:
        async with open_node(ANYWHERE) as alice:
            seed = f"seed.example:{port_of(alice)}"
            async with open_node(ANYWHERE, bootstrap=["gone.example:1", seed]) as bob:
                assert bob.stats().contacts == 1
            async with open_node(ANYWHERE, bootstrap=f"localhost:{port_of(alice)}") as carol:
                assert carol.stats().contacts >= 1

    names = {"seed.example": ["127.0.0.1"], "localhost": ["::1", "127.0.0.1"]}
    with_names(names, test, real=True)


def test_a_name_that_has_no_address_yet_is_asked_for_at_each_attempt() -> None:
    async def test(resolver: Resolver) -> None:
        network = VirtualNetwork()
        async with (
            network.open("10.0.0.9:4000") as alice,
            network.open(bootstrap=["seed.example:4000"]) as bob,
        ):
            assert trio.current_time() < 1
            with pytest.raises(NoPeers, match=r"seed\.example:4000"):
                await bob.get("x")
            async with bob.events() as events:
                for _ in range(3):
                    async for event in events:
                        if isinstance(event, JoinFailed):
                            assert event.tried == (SEED,)
                            break
            asked = resolver.asked
            assert asked >= 3
            resolver.names["seed.example"] = ["10.0.0.9"]
            await trio.sleep(60)
            assert {contact.id for contact in (await bob.lookup(alice.id)).closest} >= {alice.id}
            assert resolver.asked == asked + 1

    with_names({}, test)


def test_a_slow_name_keeps_nobody_waiting_who_has_joined_otherwise() -> None:
    async def test(resolver: Resolver) -> None:
        resolver.delay_s = 4.0
        network = VirtualNetwork()
        async with (
            network.open("10.0.0.9:4000") as alice,
            network.open(bootstrap=["seed.example:4000", alice.uri]) as bob,
        ):
            assert trio.current_time() < 1
            assert bob.stats().contacts == 1
            await trio.sleep(60)

    with_names({"seed.example": ["10.0.0.9"]}, test)


def test_a_mistake_of_ours_on_an_errand_is_told_and_not_swallowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def explode(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    monkeypatch.setattr(errands, "resolve", explode)

    async def main() -> None:
        with pytest.raises(InternalError):
            async with VirtualNetwork().open(bootstrap=["seed.example:4000"]):
                await trio.sleep_forever()

    run(main)


def test_a_node_that_is_closed_leaves_its_errands() -> None:
    async def test(resolver: Resolver) -> None:
        resolver.delay_s = 1e6
        with trio.move_on_after(0.1):
            async with VirtualNetwork().open(bootstrap=["seed.example:4000"]):
                await trio.sleep_forever()
        assert trio.current_time() < 1
        assert trio.lowlevel.current_statistics().tasks_living < 10

    with_names({}, test)


# ---- identities ----


def test_an_identity_may_be_the_path_of_a_key_file(tmp_path: Path) -> None:
    path = tmp_path / "me"
    create_secret(path, Use.IDENTITY, bytes(range(32)))

    async def main() -> None:
        for given in (path, str(path)):
            async with open_node(ANYWHERE, identity=given) as node:
                assert node.id == Identity.from_private_bytes(bytes(range(32))).id

    trio.run(main)


def test_a_path_where_nothing_is_makes_no_identity(tmp_path: Path) -> None:
    assert "found nothing" in refused(identity=tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_an_author_is_no_identity(tmp_path: Path) -> None:
    create_secret(tmp_path / "author", Use.AUTHOR, bytes(range(32)))
    said = refused(identity=tmp_path / "author")
    assert "expected a node identity, found an author" in said


def test_the_identity_given_comes_before_the_one_of_the_data_dir(tmp_path: Path) -> None:
    mine = Identity.generate(Random(1))

    async def main() -> None:
        async with open_node(ANYWHERE, data_dir=tmp_path, identity=mine) as node:
            assert node.id == mine.id

    trio.run(main)
    assert not (tmp_path / "identity").exists()


# ---- data_dir ----


def test_a_data_dir_keeps_identity_and_port(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_node(ANYWHERE, data_dir=tmp_path / "node") as node:
            first = node.uri
        async with open_node(ANYWHERE, data_dir=str(tmp_path / "node")) as node:
            assert node.uri == first
        taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with taken:
            taken.bind(("127.0.0.1", int(first.rpartition(":")[2])))
            async with open_node(ANYWHERE, data_dir=tmp_path / "node") as node:
                assert node.uri.partition("@")[0] == first.partition("@")[0]
                assert node.uri != first
                second = node.uri
        async with open_node(ANYWHERE, data_dir=tmp_path / "node") as node:
            assert node.uri == second
            assert load_identity(tmp_path / "node" / "identity").id == node.id

    trio.run(main)


def test_two_nodes_in_one_data_dir_are_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_node(ANYWHERE, data_dir=tmp_path) as node:
            with pytest.raises(LocalError, match="another node uses this data_dir"):
                async with open_node(ANYWHERE, data_dir=tmp_path):
                    pytest.fail("the block began")
            assert (await node.put("x", b"1")).stored
        async with open_node(ANYWHERE, data_dir=tmp_path):
            pass

    trio.run(main)


def test_a_data_dir_is_free_after_any_failure_to_open(tmp_path: Path) -> None:
    (tmp_path / "identity").write_text("garbled")
    (tmp_path / "identity").chmod(0o600)
    for _ in range(2):
        assert str(tmp_path / "identity") in refused(data_dir=tmp_path)
    (tmp_path / "identity").unlink()
    assert "cannot listen" in refused(data_dir=tmp_path, listen="192.0.2.77:4000")
    (tmp_path / "ports").mkdir()
    (tmp_path / "ports").rename(tmp_path / "elsewhere")
    trio.run(lambda: opened(data_dir=tmp_path))


async def opened(**options: Any) -> None:
    async with open_node(ANYWHERE, config=HASTY, **options):
        pass


def test_ports_that_cannot_be_kept_are_told_before_the_node_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LocalError("the disk is full")

    monkeypatch.setattr("dht.shell.datadir.replace_file", fail)
    before = threading.active_count()
    assert refused(data_dir=tmp_path) == "the disk is full"
    assert threading.active_count() <= before + 2


WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def test_without_a_data_dir_nothing_touches_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touched = list[str]()

    def touch(name: str) -> Any:
        real = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            touched.append(name)
            return real(*args, **options)

        return call

    for name in ("open", "mkdir", "link", "rename", "replace", "unlink", "fsync", "truncate"):
        monkeypatch.setattr(os, name, touch(name))
    monkeypatch.setattr("builtins.open", touch("stat"))

    async def main() -> None:
        async with (
            open_node(ANYWHERE) as alice,
            open_node(ANYWHERE, bootstrap=place_of(alice)) as bob,
        ):
            await alice.put("x", b"1")
            assert await bob.get("x") == b"1"

    trio.run(main)
    assert touched == []
    assert list(tmp_path.iterdir()) == []


# ---- who answered where ----


def test_who_answered_at_a_host_and_port_is_remembered(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_node(ANYWHERE) as alice:
            place = place_of(alice)
            async with open_node(ANYWHERE, bootstrap=place, data_dir=tmp_path) as bob:
                assert bob.stats().contacts == 1
            lines = (tmp_path / "known-nodes").read_text().splitlines()
            key = parse_uri(alice.uri).uri.removeprefix("dht://").partition("@")[0]
            assert lines[-1] == f"{place} {key}"
            async with open_node(ANYWHERE, bootstrap=place, data_dir=tmp_path) as bob:
                assert bob.stats().contacts == 1

    trio.run(main)


def test_another_key_there_is_an_error_that_names_both_until_its_line_is_removed(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        first, second = Identity.generate(Random(1)), Identity.generate(Random(2))
        mine: Any = {"data_dir": tmp_path}
        async with open_node(ANYWHERE, identity=first) as alice:
            place = place_of(alice)
            await opened(bootstrap=place, **mine)
        async with open_node(place, identity=second) as impostor:
            for _ in range(2):
                with pytest.raises(LocalError) as caught:
                    await opened(bootstrap=place, **mine)
                said = str(caught.value)
                for identity in (first, second):
                    uri = contact_at(identity.public_key, parse_address(place)).uri
                    assert uri.removeprefix("dht://").partition("@")[0] in said
                assert place in said
                assert str(tmp_path / "known-nodes") in said
            # Without a memory, or with its key in hand, nothing stands in the way.
            await opened(bootstrap=place)
            await opened(bootstrap=impostor.uri, **mine)
            path = tmp_path / "known-nodes"
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join(line for line in lines if not line.startswith(place)))
            async with open_node(ANYWHERE, bootstrap=place, config=HASTY, **mine) as bob:
                assert bob.stats().contacts >= 1

    trio.run(main)


def test_another_key_is_no_error_where_somebody_else_lets_us_in(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_node(ANYWHERE) as alice, open_node(ANYWHERE) as bob:
            (tmp_path / "known-nodes").write_text(f"{place_of(alice)} {'a' * 52}\n")
            async with open_node(
                ANYWHERE, bootstrap=[place_of(alice), bob.uri], data_dir=tmp_path
            ) as carol:
                assert carol.stats().contacts >= 1

    trio.run(main)


def test_a_disk_that_fails_later_is_counted_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with (
            open_node(ANYWHERE) as alice,
            open_node(ANYWHERE, data_dir=tmp_path, bootstrap=place_of(alice)) as bob,
        ):
            event = Identified("192.0.2.1:1", parse_uri(alice.uri))
            (tmp_path / "known-nodes").unlink(missing_ok=True)
            monkeypatch.setattr("dht.shell.datadir.replace_file", fail)
            bob._pump._tell([event])
            with trio.fail_after(10):
                while not bob.stats().disk_errors:
                    await bob.get("x")
            assert await bob.get("x") is None

    def fail(*_: object) -> None:
        raise LocalError("the disk is full")

    trio.run(main)


# ---- the id puzzle ----

DEAR = dht.Config(id_puzzle_bits=6)


def test_a_node_pays_for_its_id_where_its_network_wants_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            open_node(ANYWHERE, config=DEAR) as alice,
            open_node(ANYWHERE, config=DEAR, data_dir=tmp_path, bootstrap=alice.uri) as bob,
        ):
            assert solves_puzzle(alice.id, 6)
            assert solves_puzzle(bob.id, 6)
            assert alice.stats().contacts == 1
            second = bob.id
        async with open_node(ANYWHERE, config=DEAR, data_dir=tmp_path) as bob:
            assert bob.id == second

    trio.run(main)


def test_an_identity_that_has_not_paid_is_refused_with_what_to_do(tmp_path: Path) -> None:
    cheap = next(
        each
        for each in (Identity.generate(Random(number)) for number in range(100))
        if not solves_puzzle(each.id, 6)
    )
    said = refused(identity=cheap, config=DEAR)
    assert "does not solve the puzzle of 6 bits" in said
    assert "dht keygen --identity --puzzle-bits 6" in said
    create_secret(tmp_path / "identity", Use.IDENTITY, cheap.private_key.private_bytes_raw())
    for options in ({"identity": tmp_path / "identity"}, {"data_dir": tmp_path}):
        assert str(tmp_path / "identity") in refused(config=DEAR, **options)
    uri = contact_at(cheap.public_key, parse_address("127.0.0.1:4000")).uri
    assert uri in refused(bootstrap=uri, config=DEAR)


def test_who_has_not_paid_is_served_and_taken_by_nobody() -> None:
    async def main() -> None:
        cheap = next(
            each
            for each in (Identity.generate(Random(number)) for number in range(100))
            if not solves_puzzle(each.id, 6)
        )
        async with (
            open_node(ANYWHERE, config=DEAR) as alice,
            open_node(ANYWHERE, identity=cheap, bootstrap=alice.uri) as bob,
            open_node(ANYWHERE, config=DEAR, bootstrap=alice.uri) as carol,
        ):
            await alice.put("x", b"1")
            assert await bob.get("x") == b"1"
            assert alice.stats().contacts == carol.stats().contacts == 1

    trio.run(main)


# ---- values that stand for introducers ----


def test_introducers_may_be_given_as_values() -> None:
    async def main() -> None:
        async with open_node(ANYWHERE) as alice:
            place = parse_address(place_of(alice))
            for bootstrap in (BareAddress(place), [parse_uri(alice.uri)]):
                async with open_node(ANYWHERE, bootstrap=bootstrap, config=HASTY) as bob:
                    assert bob.stats().contacts >= 1

    trio.run(main)
