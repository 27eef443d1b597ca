"""A service registry: instances of a service register, renew, and are found by who needs one.

Run it: python examples/service_registry.py
How it is tested against networks that fail: docs/testing.md and examples/test_service_registry.py.
"""

from random import Random

import trio

import dht


class Registry:
    """What one program knows of services; it embeds a node.

    An entry lives for ``ttl_s``. Who keeps an instance renews it long before that, so that an
    instance whose machine has died is gone after ``ttl_s``.
    """

    def __init__(self, node: dht.Node, *, ttl_s: float = 30.0) -> None:
        self.node = node
        self.ttl_s = ttl_s

    async def keep(self, service: str, address: str) -> None:
        """Registers an instance, and renews it until this is cancelled."""
        while True:
            try:
                await self.node.add(service, address.encode(), ttl=self.ttl_s)
            except (dht.NoPeers, dht.QuorumNotReached):
                await trio.sleep(self.ttl_s / 10)  # the network has a bad moment: try again soon
            else:
                await trio.sleep(self.ttl_s / 3)

    async def withdraw(self, service: str) -> None:
        """Takes the instance of this program out."""
        await self.node.remove(service)

    async def instances(self, service: str) -> list[str]:
        """Every instance that is registered."""
        return sorted(member.value.decode() for member in await self.node.members(service))

    async def pick(self, service: str, random: Random) -> str | None:
        """One of them."""
        found = await self.instances(service)
        return random.choice(found) if found else None


class ForgetfulRegistry(Registry):
    """The same with a bug that shows only when something fails at the wrong moment.

    It is planted: docs/testing.md tells how it is found.
    """

    async def keep(self, service: str, address: str) -> None:
        try:
            while True:
                await self.node.add(service, address.encode(), ttl=self.ttl_s)
                await trio.sleep(self.ttl_s / 3)
        except (dht.NoPeers, dht.QuorumNotReached):
            return  # "the network is down, there is nothing to do": and nobody renews it again


async def main() -> None:
    async with (
        dht.open_node("127.0.0.1:0") as first,
        dht.open_node("127.0.0.1:0", bootstrap=[first.uri]) as second,
        dht.open_node("127.0.0.1:0", bootstrap=[first.uri]) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(Registry(first).keep, "printer", "192.0.2.7:631")
        nursery.start_soon(Registry(second).keep, "printer", "192.0.2.8:631")
        registry = Registry(client)
        while len(await registry.instances("printer")) < 2:  # noqa: ASYNC110 - others write them
            await trio.sleep(0.01)
        print("printers:", *await registry.instances("printer"))
        print("one of them:", await registry.pick("printer", Random(1)))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
