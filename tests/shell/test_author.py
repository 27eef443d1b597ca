"""``dht.Author`` as users make one, and what their nodes do with it."""

from random import Random
from typing import Any

import pytest

import dht
from dht import author as core
from dht.author import AuthorId
from dht.errors import LocalError, ValueTooLarge
from dht.network import Network
from dht.records import Kind
from dht.shell.node import Node
from tests.shell.test_node import with_nodes
from tests.shell.virtual import VirtualNetwork, run
from tests.test_author import NO_AUTHORS

ALICE, BOB = dht.Author.generate(Random(1)), dht.Author.generate(Random(2))


def test_without_randomness_an_author_is_made_of_the_systems() -> None:
    assert dht.Author.generate() != dht.Author.generate()
    assert isinstance(dht.Author.generate(), core.Author)
    assert dht.Author.generate(Random(1)) == ALICE
    assert ALICE.id == core.Author.generate(Random(1)).id


# ---- signed records ----


def test_what_an_author_puts_is_read_by_whoever_knows_the_id() -> None:
    async def test(alice: Node, bob: Node) -> None:
        outcome = await alice.put("profile", b"hers", author=ALICE)
        await alice.put("profile", b"anybody's")
        for who in (ALICE, ALICE.id, str(ALICE.id), AuthorId(ALICE.id.public_key)):
            assert await bob.get("profile", author=who) == b"hers"
        assert await bob.get("profile") == b"anybody's"
        assert await bob.get("profile", author=BOB, default="none") == "none"
        fetched = await bob.fetch(b"profile", author=ALICE.id, quorum=2)
        assert fetched.record is not None
        assert (fetched.record.kind, fetched.record.author) == (Kind.SIGNED, ALICE.id)
        assert fetched.key == outcome.key

    with_nodes(2, test)


def test_only_its_author_deletes_a_record() -> None:
    async def test(alice: Node, bob: Node) -> None:
        await alice.put("profile", b"hers", author=ALICE)
        await bob.delete("profile")
        await bob.delete("profile", author=BOB)
        assert await bob.get("profile", author=ALICE) == b"hers"
        await bob.delete("profile", author=ALICE)
        assert await alice.get("profile", author=ALICE, quorum=2) is None

    with_nodes(2, test)


def test_a_signed_record_may_live_for_7_days() -> None:
    async def test(alice: Node) -> None:
        await alice.put("k", b"v", author=ALICE, ttl=7 * 86400)
        with pytest.raises(LocalError, match="604800"):
            await alice.put("k", b"v", author=ALICE, ttl=7 * 86400 + 1)
        with pytest.raises(LocalError, match="86400"):
            await alice.put("k", b"v", ttl=7 * 86400)

    with_nodes(1, test)


def test_with_an_author_a_place_is_no_key() -> None:
    async def test(alice: Node) -> None:
        with pytest.raises(LocalError, match="made of its author and its key"):
            await alice.put(dht.Key(7), b"v", author=ALICE)
        with pytest.raises(LocalError, match="made of its author and its key"):
            await alice.get(dht.Key(7), author=ALICE.id)

    with_nodes(1, test)


@pytest.mark.parametrize(
    "thing",
    [each for each in NO_AUTHORS if each is not None],
    ids=lambda thing: type(thing).__name__,
)
def test_a_wrong_thing_in_the_place_of_an_author_is_said_and_harms_nothing(thing: Any) -> None:
    async def test(alice: Node) -> None:
        before = alice.stats().operations_started
        for write in (
            alice.put("k", b"v", author=thing),
            alice.delete("k", author=thing),
            alice.add("t", b"v", author=thing),
            alice.remove("t", author=thing),
        ):
            with pytest.raises(LocalError, match=r"who writes is a dht\.Author"):
                await write
        with pytest.raises(LocalError, match=r"an author is a dht\.Author"):
            await alice.get("k", author=thing)
        assert alice.stats().operations_started == before

    with_nodes(1, test)


def test_an_id_reads_and_does_not_write() -> None:
    async def test(alice: Node) -> None:
        wrong: Any = ALICE.id
        with pytest.raises(LocalError, match="takes its secret"):
            await alice.put("k", b"v", author=wrong)

    with_nodes(1, test)


# ---- topics ----


def test_nodes_find_each_other_under_a_topic() -> None:
    async def test(alice: Node, bob: Node, carol: Node) -> None:
        for node in (alice, bob):
            await node.add("printers", node.uri.encode())
        found = await carol.members("printers")
        assert sorted(record.value.decode() for record in found) == sorted([alice.uri, bob.uri])
        assert {record.author for record in found} == {alice.author.id, bob.author.id}
        assert (len(found), found.total) == (2, 2)
        await alice.remove("printers")
        assert [record.author for record in await carol.members("printers")] == [bob.author.id]

    with_nodes(3, test)


def test_an_entry_is_the_authors_wherever_it_is_written() -> None:
    async def test(alice: Node, bob: Node) -> None:
        await alice.add("t", b"one", author=ALICE)
        await bob.add("t", b"two", author=ALICE, ttl=60)
        await bob.add("t", b"bob", author=BOB)
        assert sorted(record.value for record in await alice.members("t")) == [b"bob", b"two"]
        assert len(await alice.members("t", limit=1)) == 1
        await alice.remove("t", author=BOB)
        assert [record.value for record in await alice.members("t")] == [b"two"]

    with_nodes(2, test)


def test_a_nodes_own_author_is_the_one_that_it_was_given() -> None:
    async def main() -> None:
        async with VirtualNetwork().open(author=ALICE) as node:
            assert node.author is ALICE
            await node.add("t", b"v")
            [record] = await node.members("t")
            assert record.author == ALICE.id

    run(main)


def test_what_cannot_be_an_entry_or_a_limit_is_refused() -> None:
    async def test(alice: Node) -> None:
        with pytest.raises(ValueTooLarge, match="850"):
            await alice.add("t", bytes(851))
        for topic in (7, None):
            wrong: Any = topic
            with pytest.raises(LocalError, match="encode it first"):
                await alice.members(wrong)
        with pytest.raises(LocalError, match="limit"):
            await alice.members("t", limit=0)
        place = dht.Key(7)  # which others may have been told of
        await alice.add(place, b"v")
        assert len(await alice.members(place)) == 1

    with_nodes(1, test)


# ---- who may overwrite what ----


def test_on_public_addresses_a_plain_put_needs_a_reason() -> None:
    async def main() -> None:
        network = VirtualNetwork()
        async with network.open("1.2.3.4:4000") as open_to_all:
            for write in (
                open_to_all.put("k", b"v"),
                open_to_all.delete("k"),
                open_to_all.put_many({"k": b"v"}),
            ):
                with pytest.raises(LocalError, match="network_key"):
                    await write
            assert (await open_to_all.put("k", b"v", author=ALICE)).stored
            assert (await open_to_all.put_content(b"v")).stored
        secret = Network.named("main", bytes(range(32)))
        async with network.open("1.2.3.4:4000", network=secret) as among_us:
            assert (await among_us.put("k", b"v")).stored

    run(main)
