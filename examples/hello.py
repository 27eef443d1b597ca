"""Two nodes on this machine: what one stores, the other finds. Run it: python examples/hello.py."""

import trio

import dht


async def main() -> None:
    async with (
        dht.open_node("127.0.0.1:0") as alice,
        dht.open_node("127.0.0.1:0", bootstrap=[alice.uri]) as bob,
    ):
        await alice.put("greeting", b"hello")
        print(await bob.get("greeting"))


trio.run(main)
