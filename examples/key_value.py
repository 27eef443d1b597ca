"""A key-value store of five nodes: versions, conflicts, deletes, content, many at once.

Run it: python examples/key_value.py
"""

from contextlib import AsyncExitStack

import trio

import dht


async def count_visit(node: dht.Node, page: str) -> int:
    """Adds one to a counter: read, change, and store only if nobody has stored since.

    That detects conflicts; it is no lock. Two that meet may both have to try again.
    """
    while True:
        found = await node.fetch(page, quorum=2)
        visits = int(found.value or b"0") + 1
        version = 0 if found.record is None else found.record.version
        try:
            await node.put(page, str(visits).encode(), if_version=version)
        except dht.VersionConflict:
            await trio.sleep(0.01)  # look again
        else:
            return visits


async def main() -> None:
    async with AsyncExitStack() as stack:
        nodes: list[dht.Node] = []
        for _ in range(5):
            known = [node.uri for node in nodes[:1]]
            opened = dht.open_node("127.0.0.1:0", bootstrap=known)
            nodes.append(await stack.enter_async_context(opened))
        first, second, *_, last = nodes

        # An outcome says what became of it: who stored, and how the owners were found.
        outcome = await first.put("motd", b"Welcome.", ttl=3600)
        print("stored by", len(outcome.stored) + len(outcome.pending), "nodes")
        print("motd:", await last.get("motd"))

        # A newer version replaces an older one, and a delete wins over every version before it.
        await second.put("motd", b"Welcome back.")
        print("motd:", await last.get("motd", quorum=2))
        await first.delete("motd")
        print("motd:", await last.get("motd", default=b"(deleted)"))

        for node in (first, second, last):
            print("visits:", await count_visit(node, "index.html"))

        # The key of content is made of its value: nobody can store anything else there.
        book = bytes(range(256)) * 1000
        stored = await first.put_content(book)
        print("book:", len(await last.get_content(stored.key, default=b"")), "bytes came back")

        await first.put_many({f"user {n}": b"name %d" % n for n in range(50)})
        users = await last.get_many([f"user {n}" for n in range(50)])
        print("users:", sum(name is not None for name in users.values()))

        print("the way to user 7:", (await last.fetch("user 7")).trace.stopped)


trio.run(main)
