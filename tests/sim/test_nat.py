"""NATs: who gets in, for how long, and at which address whoever is behind one is seen."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.contacts import Address, ip_of, is_local, pack_address
from dht.errors import LocalError
from dht.sim import Nat, NatKind, Simulator
from dht.sim.links import LinkModel
from dht.sim.nat import LIFETIME_S
from dht.sim.world import World
from tests.sim.fakes import Fake, Place

IP = pack_address("11.0.0.1", 0)[:4]
HOME, NEXT_DOOR = pack_address("10.0.0.1", 4000), pack_address("10.0.0.2", 4000)
PEER, SAME_HOST = pack_address("1.1.1.1", 4000), pack_address("1.1.1.1", 5000)
STRANGER = pack_address("2.2.2.2", 4000)


def nat(kind: NatKind = NatKind.PORT_RESTRICTED) -> Nat:
    return Nat(kind, IP)


@pytest.mark.parametrize(
    ("kind", "same_host", "stranger"),
    [
        (NatKind.FULL_CONE, True, True),
        (NatKind.ADDRESS_RESTRICTED, True, False),
        (NatKind.PORT_RESTRICTED, False, False),
        (NatKind.SYMMETRIC, False, False),
    ],
)
def test_each_type_lets_in_whom_its_name_says(
    kind: NatKind, same_host: bool, stranger: bool
) -> None:
    behind = nat(kind)
    outside = behind.outbound(0.0, HOME, PEER)
    assert ip_of(outside) == IP
    assert behind.inbound(1.0, PEER, outside) == HOME
    assert (behind.inbound(1.0, SAME_HOST, outside) == HOME) is same_host
    assert (behind.inbound(1.0, STRANGER, outside) == HOME) is stranger


@pytest.mark.parametrize("kind", NatKind)
def test_only_a_symmetric_one_shows_each_peer_another_address(kind: NatKind) -> None:
    behind = nat(kind)
    seen = {behind.outbound(0.0, HOME, target) for target in (PEER, SAME_HOST, STRANGER)}
    assert len(seen) == (3 if kind is NatKind.SYMMETRIC else 1)


@pytest.mark.parametrize("kind", NatKind)
def test_two_nodes_behind_one_are_seen_at_two_addresses(kind: NatKind) -> None:
    behind = nat(kind)
    one, other = behind.outbound(0.0, HOME, PEER), behind.outbound(0.0, NEXT_DOOR, PEER)
    assert one != other
    assert behind.inbound(0.0, PEER, one) == HOME
    assert behind.inbound(0.0, PEER, other) == NEXT_DOOR
    assert behind.owner(other) == NEXT_DOOR


@pytest.mark.parametrize("kind", NatKind)
def test_a_way_stays_open_while_something_goes_out_and_closes_in_silence(kind: NatKind) -> None:
    behind, now = nat(kind), 0.0
    outside = behind.outbound(now, HOME, PEER)
    for _ in range(5):
        now += LIFETIME_S
        assert behind.inbound(now, PEER, outside) == HOME
        assert behind.outbound(now, HOME, PEER) == outside
    assert behind.inbound(now + LIFETIME_S + 1, PEER, outside) is None
    assert behind.outbound(now + LIFETIME_S + 1, HOME, PEER) != outside
    assert behind.owner(outside) is None


def test_what_comes_in_keeps_nothing_open() -> None:
    behind = nat()
    outside = behind.outbound(0.0, HOME, PEER)
    for now in range(int(LIFETIME_S)):
        assert behind.inbound(float(now), PEER, outside) == HOME
    assert behind.inbound(LIFETIME_S + 1, PEER, outside) is None


def test_who_is_let_in_is_forgotten_for_itself() -> None:
    behind = nat()
    outside = behind.outbound(0.0, HOME, PEER)
    behind.outbound(50.0, HOME, STRANGER)
    assert behind.inbound(70.0, PEER, outside) is None
    assert behind.inbound(70.0, STRANGER, outside) == HOME


def test_after_rebinding_the_old_address_is_dead_and_a_new_one_is_given() -> None:
    behind = nat(NatKind.FULL_CONE)
    outside = behind.outbound(0.0, HOME, PEER)
    behind.rebind()
    assert behind.inbound(0.0, PEER, outside) is None
    assert behind.outbound(0.0, HOME, PEER) != outside


def test_ports_in_use_are_not_given_out_again() -> None:
    behind = nat(NatKind.SYMMETRIC)
    kept = behind.outbound(0.0, HOME, PEER)
    for number in range(50_000):
        behind._free_address()
        assert number >= 0
    targets = [pack_address("3.3.3.3", port) for port in range(1, 200)]
    assert kept not in {behind.outbound(0.0, HOME, target) for target in targets}


def test_a_nat_with_all_its_ports_in_use_says_so() -> None:
    behind = nat(NatKind.SYMMETRIC)
    for number in range(45_536):
        behind.outbound(0.0, HOME, Address(number.to_bytes(6)))
    with pytest.raises(LocalError, match="45536 ports"):
        behind.outbound(0.0, HOME, PEER)


@given(st.sampled_from(NatKind), st.integers(0, 2**32))
def test_nobody_gets_in_whom_nobody_behind_it_sent_anything_unless_it_is_a_full_cone(
    kind: NatKind, seed: int
) -> None:
    behind, random, now = nat(kind), Random(seed), 0.0
    hosts = [pack_address(f"{1 + random.randrange(3)}.1.1.1", 1 + n % 2) for n in range(6)]
    sent: dict[tuple[Address, Address], float] = {}
    for _ in range(60):
        now += random.choice([0.0, 1.0, 40.0])
        inside, host = random.choice([HOME, NEXT_DOOR]), random.choice(hosts)
        if random.random() < 0.5:
            behind.outbound(now, inside, host)
            sent[inside, host] = now
        for outside in list(behind._by_outside):
            who = behind.inbound(now, host, outside)
            if who is None:
                continue
            recent = [h for (i, h), at in sent.items() if i == who and now - at <= LIFETIME_S]
            assert recent
            if kind is NatKind.ADDRESS_RESTRICTED:
                assert ip_of(host) in map(ip_of, recent)
            elif kind is not NatKind.FULL_CONE:
                assert host in recent


# ---------------------------------------------------------------------------------- in a world


def world_with(behind: Nat | None, *, links: LinkModel | None = None) -> World[Place]:
    """Two members at home, behind one NAT if there is one, and two elsewhere."""
    world: World[Place] = World(1, links=links or LinkModel(jitter=0.0))
    for index, address in enumerate((HOME, NEXT_DOOR, PEER, STRANGER)):
        fake = Fake()
        member_nat = behind if index < 2 else None
        world.settle_in(
            Place(index=index, address=address, machine=fake, fake=fake, nat=member_nat)
        )
    return world


def send(world: World[Place], sender: int, target: Address, data: bytes = b"x") -> None:
    world.members[sender].fake.outbox.append((data, target))
    world.poll(world.members[sender])


def sources(world: World[Place], member: int) -> list[Address]:
    return [source for _, _, source in world.members[member].fake.heard]


def test_a_datagram_from_behind_a_nat_seems_to_come_from_it_and_the_answer_finds_back() -> None:
    world = world_with(nat())
    send(world, 0, PEER)
    world.run_for(1)
    [seen] = sources(world, 2)
    assert ip_of(seen) == IP
    send(world, 2, seen)
    world.run_for(1)
    assert sources(world, 0) == [PEER]


def test_strangers_are_stopped_at_the_nat_when_they_arrive_there() -> None:
    world = world_with(nat())
    send(world, 0, PEER)
    world.run_for(1)
    [seen] = sources(world, 2)
    send(world, 3, seen)
    world.run_for(1)
    assert not sources(world, 0)
    assert world.traffic().lost == 1
    send(world, 2, seen)
    world.members[0].nat.rebind()  # type: ignore[union-attr]
    world.run_for(1)
    assert not sources(world, 0)  # it was on its way
    send(world, 2, seen)
    world.run_for(1)
    assert world.traffic().unheard == 1  # nobody is there any more


def test_an_address_behind_a_nat_means_nothing_outside_and_what_it_says_inside() -> None:
    world = world_with(nat())
    send(world, 2, HOME)
    send(world, 1, HOME)
    world.run_for(1)
    assert sources(world, 0) == [NEXT_DOOR]
    assert world.traffic().unheard == 1


def test_links_lose_as_much_where_there_are_nats() -> None:
    world = world_with(nat(), links=LinkModel(loss=0.5))
    for _ in range(400):
        send(world, 0, PEER)
    world.run_for(10)
    assert 150 < len(sources(world, 2)) < 250
    assert world.traffic().lost == 400 - len(sources(world, 2))


def test_a_node_is_put_behind_a_nat_and_takes_part() -> None:
    simulator = Simulator(seed=1)
    nodes = simulator.grow(10)
    behind = simulator.add_nat(NatKind.SYMMETRIC)
    node = simulator.add_node(client=True, nat=behind)
    assert is_local(node.address)
    simulator.run_for(5)
    simulator.put(node, "k", b"v")
    assert simulator.get(nodes[3], "k").value == b"v"
    assert simulator.get(node, "k").value == b"v"


def test_newcomers_are_not_sent_to_somebody_behind_a_nat() -> None:
    simulator = Simulator(seed=1)
    first = simulator.add_node()
    for _ in range(5):
        simulator.add_node(
            nat=simulator.add_nat(NatKind.PORT_RESTRICTED), bootstrap=[first.contact]
        )
    assert simulator._introducers() == [first.contact]


def test_each_nat_has_an_address_of_its_own() -> None:
    simulator = Simulator(seed=1)
    ips = [simulator.add_nat(NatKind.FULL_CONE).ip for _ in range(300)]
    assert len(set(ips)) == 300
    assert not any(is_local(Address(ip + b"\x10\x00")) for ip in ips)
    assert simulator.add_nat(NatKind.FULL_CONE, lifetime_s=30.0).lifetime_s == 30.0


def test_one_seed_is_one_run_also_with_nats() -> None:
    def run() -> str:
        simulator = Simulator(seed=7)
        simulator.grow(12)
        for kind in NatKind:
            simulator.add_node(client=None, nat=simulator.add_nat(kind))
        simulator.run_for(120)
        return simulator.trace_hash()

    assert run() == run()
