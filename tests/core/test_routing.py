from collections.abc import Sequence
from random import Random

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dht.config import Config
from dht.contacts import Contact, ip_of, is_local, subnet_of
from dht.core.routing import DEAD_AFTER, REPLACED_AFTER, Change, RoutingTable
from dht.keyspace import KEY_BITS, solves_puzzle
from tests.core.contacts_for_tests import BITS, contact, contacts, ids, nearest

OWN = 0b1010_0000

SMALL = Config(k=2, table_whole_max=0)


def table_of(
    node_ids: Sequence[int], *, own: int = OWN, config: Config = SMALL, bits: int = BITS
) -> RoutingTable:
    table = RoutingTable(own, config=config, bits=bits)
    for number, node_id in enumerate(node_ids):
        table.add(float(number), contact(node_id))
    return table


def skewed_ids(bits: int) -> st.SearchStrategy[int]:
    """Anywhere; and often so near to zero that only a few low bits differ."""
    return st.integers(0, bits).flatmap(lambda width: st.integers(0, (1 << width) - 1))


# ------------------------------------------------------------------------------------- closest


@pytest.mark.parametrize("bits", [BITS, KEY_BITS])
@given(data=st.data())
def test_closest_is_exact_whatever_the_table(bits: int, data: st.DataObject) -> None:
    node_ids = data.draw(st.lists(skewed_ids(bits), unique=True, max_size=120))
    own, target = data.draw(skewed_ids(bits)), data.draw(skewed_ids(bits))
    n = data.draw(st.integers(0, 40))
    config = Config(k=128, table_whole_max=4096)
    table = table_of(node_ids, own=own, config=config, bits=bits)
    members = [node_id for node_id in node_ids if node_id != own]
    assert ids(table.closest(target, n)) == nearest(members, target, n)


@given(st.lists(skewed_ids(BITS), unique=True, max_size=200), skewed_ids(BITS), st.integers(1, 30))
def test_closest_names_the_nearest_of_those_who_found_room(
    node_ids: list[int], target: int, n: int
) -> None:
    table = table_of(node_ids, config=Config(k=4, table_whole_max=0))
    members = [node_id for node_id in node_ids if node_id in table]
    assert ids(table.closest(target, n)) == nearest(members, target, n)


def test_contacts_are_all_of_them_nearest_to_our_own_id_first() -> None:
    table = table_of([0b0000_0001, 0b1010_0001, 0b1000_0000])
    assert ids(table.contacts()) == [0b1010_0001, 0b1000_0000, 0b0000_0001]
    assert table.get(0b1000_0000) == contact(0b1000_0000)
    assert table.get(0b1111_1111) is None


# ------------------------------------------------------------------------------ who comes and goes


def test_our_own_id_never_enters() -> None:
    table = table_of([])
    assert not table.wants(contact(OWN))
    assert not table.add(0.0, contact(OWN))
    assert OWN not in table
    assert len(table) == 0
    assert table.failed(0.0, contact(OWN)) is None


def test_only_who_has_paid_for_its_id_enters() -> None:
    table = table_of([], config=Config(id_puzzle_bits=3, k=20))
    solved = [node_id for node_id in range(1, 200) if solves_puzzle(node_id, 3)]
    for node_id in range(1, 200):
        assert table.wants(contact(node_id)) is (node_id in solved)
        assert table.add(0.0, contact(node_id)) is (node_id in solved)
    assert len(table) == len(solved) > 10


def test_a_live_old_contact_is_never_evicted_for_a_new_one() -> None:
    table = table_of([0b0000_0001, 0b0000_0010])
    assert not table.wants(contact(0b0000_0011))
    assert not table.add(9.0, contact(0b0000_0011))
    assert ids(table.contacts()) == [0b0000_0001, 0b0000_0010]


def test_one_that_waits_takes_the_place_of_one_that_failed_twice() -> None:
    table = table_of([0b0000_0001, 0b0000_0010, 0b0000_0011])
    assert table.failed(10.0, contact(0b0000_0001)) is None
    change = table.failed(20.0, contact(0b0000_0001))
    assert change == Change(removed=contact(0b0000_0001), added=contact(0b0000_0011))
    assert ids(table.contacts()) == [0b0000_0010, 0b0000_0011]


def test_of_those_who_wait_the_one_that_answered_last_comes_first() -> None:
    table = table_of([0b0000_0001, 0b0000_0010, 0b0000_0011, 0b0000_0100])
    table.add(10.0, contact(0b0000_0011))
    table.failed(20.0, contact(0b0000_0001))
    change = table.failed(20.0, contact(0b0000_0001))
    assert change is not None
    assert change.added == contact(0b0000_0011)


def test_one_that_fails_while_it_waits_waits_no_longer() -> None:
    table = table_of([0b0000_0001, 0b0000_0010, 0b0000_0011])
    assert table.failed(5.0, contact(0b0000_0011)) is None
    for _ in range(REPLACED_AFTER):
        assert table.failed(6.0, contact(0b0000_0001)) is None


def test_without_a_successor_a_contact_stays_until_it_is_dead_for_good() -> None:
    table = table_of([0b0000_0001])
    changes = [table.failed(1.0, contact(0b0000_0001)) for _ in range(DEAD_AFTER)]
    assert changes == [None] * (DEAD_AFTER - 1) + [Change(contact(0b0000_0001), None)]
    assert len(table) == 0


def test_only_failures_in_a_row_count() -> None:
    table = table_of([0b0000_0001])
    for _ in range(10):
        assert table.failed(1.0, contact(0b0000_0001)) is None
        assert table.failed(1.0, contact(0b0000_0001)) is None
        table.seen(2.0, contact(0b0000_0001))
    assert 0b0000_0001 in table


def test_a_small_network_is_known_whole_and_shrinks_to_full_buckets() -> None:
    """Past k only while the table has few contacts; what is over is not replaced."""
    table = table_of([1, 2, 3, 4, 5], config=Config(k=2, table_whole_max=4))
    assert len(table) == 4
    table.failed(9.0, contact(1))
    assert table.failed(9.0, contact(1)) == Change(contact(1), contact(5))
    table = table_of([1, 2, 3, 4, 0b1100_0000, 0b1101_0000, 5], config=attrs.evolve(SMALL, k=2))
    assert ids(table.contacts()) == [0b1100_0000, 0b1101_0000, 1, 2]


def test_an_overfull_bucket_gives_up_a_dead_contact_without_a_successor() -> None:
    table = table_of([1, 2, 3, 0b1100_0000], config=Config(k=2, table_whole_max=3))
    assert len(table) == 4
    table.failed(9.0, contact(1))
    assert table.failed(9.0, contact(1)) == Change(contact(1), None)


def test_a_flood_displaces_nobody_and_does_not_grow_the_memory() -> None:
    honest = Random(1).sample(range(2**60), 500)
    table = table_of(honest, own=0, config=Config(), bits=60)
    before = table.contacts()
    for number, fake in enumerate(Random(2).sample(range(2**59, 2**60), 5_000)):
        table.add(1000.0 + number, contact(fake))
    assert all(each.id in table for each in before)
    assert len(table) == len(before)
    assert sum(map(len, table._waiting.values())) <= 20 * len(table._waiting)


# ----------------------------------------------------------------------------------- addresses


def test_a_new_address_counts_only_once_the_old_one_fails() -> None:
    table = table_of([1])
    moved = contact(1, "10.9.9.9")
    table.seen(5.0, moved)
    assert table.contacts() == [contact(1)]
    assert table.failed(6.0, contact(1)) is None
    assert table.contacts() == [moved]
    table.failed(7.0, contact(1))  # an older request, to the address that we no longer use
    assert table.failed(8.0, contact(1)) is None
    assert table.contacts() == [moved]


def test_a_known_contact_with_failures_takes_the_new_address_at_once() -> None:
    table = table_of([1])
    table.failed(5.0, contact(1))
    assert not table.add(6.0, contact(1, "10.9.9.9"))
    assert table.contacts() == [contact(1, "10.9.9.9")]


def test_a_new_address_that_failed_itself_is_forgotten() -> None:
    table = table_of([1])
    table.seen(5.0, contact(1, "10.9.9.9"))
    table.failed(6.0, contact(1, "10.9.9.9"))
    table.failed(7.0, contact(1))
    assert table.contacts() == [contact(1)]


def test_a_new_address_is_forgotten_when_the_old_one_answers() -> None:
    table = table_of([1])
    table.seen(5.0, contact(1, "10.9.9.9"))
    table.seen(6.0, contact(1))
    table.failed(7.0, contact(1))
    assert table.contacts() == [contact(1)]


def test_a_new_address_is_under_the_limits_too() -> None:
    table = RoutingTable(OWN, config=Config(subnet_per_bucket_max=1), bits=BITS)
    table.add(0.0, contact(1, "1.1.1.1"))
    table.add(0.0, contact(2, "2.2.2.2"))
    table.seen(1.0, contact(2, "1.1.1.2"))
    table.failed(2.0, contact(2, "2.2.2.2"))
    assert table.get(2) == contact(2, "2.2.2.2")


# ------------------------------------------------------------------------ one owner's share


def test_at_most_two_of_a_subnet_in_a_bucket() -> None:
    table = RoutingTable(OWN, config=Config(), bits=BITS)
    assert table.add(0.0, contact(1, "1.2.3.1"))
    assert table.add(0.0, contact(2, "1.2.3.2"))
    assert not table.wants(contact(3, "1.2.3.3"))
    assert not table.add(0.0, contact(3, "1.2.3.3"))
    assert table.wants(contact(0b1100_0000, "1.2.3.3"))  # another bucket
    assert table.wants(contact(3, "1.2.4.3"))


def test_at_most_ten_of_a_subnet_in_a_table() -> None:
    config = Config(subnet_per_bucket_max=100)
    table = RoutingTable(OWN, config=config, bits=BITS)
    added = [table.add(0.0, contact(i, f"2001:db8:7::{i}")) for i in range(1, 20)]
    assert sum(added) == config.subnet_per_table_max


def test_at_most_three_of_one_address_in_a_table() -> None:
    config = Config(subnet_per_bucket_max=100)
    table = RoutingTable(OWN, config=config, bits=BITS)
    assert sum(table.add(0.0, contact(i, "1.2.3.4", port=i)) for i in range(1, 20)) == 3


def test_at_most_twenty_of_an_ipv6_provider_in_a_table() -> None:
    table = RoutingTable(OWN, config=Config(k=100), bits=BITS)
    assert sum(table.add(0.0, contact(i, f"2001:db8:{i:x}::1")) for i in range(1, 99)) == 20
    assert table.wants(contact(99, "2001:db9::1"))


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "::1", "fd00::1"])
def test_local_ranges_are_exempt(host: str) -> None:
    table = RoutingTable(OWN, config=Config(), bits=BITS)
    assert all(table.add(0.0, contact(i, host, port=i)) for i in range(1, 100))


def test_one_subnet_does_not_fill_the_cache() -> None:
    """Who waits is under the limit as well, or a flood of one subnet pushes all others out."""
    table = table_of([1, 2], config=Config(k=2, table_whole_max=0))
    table.add(1.0, contact(3, "9.9.9.9"))
    for i in range(4, 50):
        table.add(2.0, contact(i, f"1.2.3.{i}"))
    for gone in (1, 2):
        table.failed(3.0, contact(gone))
        table.failed(3.0, contact(gone))
    assert len(table) == 2
    table.failed(4.0, table.contacts()[0])
    table.failed(4.0, table.contacts()[0])
    assert sum(subnet_of(each.address) == b"\1\2\3" for each in table.contacts()) <= 2


# ------------------------------------------------------------------- any sequence, and a model


@attrs.define(eq=False)
class Model:
    """The rules again, as slow and plain as can be: a list, and a scan for every question."""

    own: int
    config: Config
    members: list[Contact] = attrs.field(factory=list)
    waiting: list[Contact] = attrs.field(factory=list)
    failures: dict[int, int] = attrs.field(factory=dict)
    moved: dict[int, Contact] = attrs.field(factory=dict)

    def prefix(self, node_id: int) -> int:
        return BITS - (node_id ^ self.own).bit_length()

    def has(self, node_id: int) -> Contact | None:
        return next((each for each in self.members if each.id == node_id), None)

    def fits(self, new: Contact, others: list[Contact]) -> bool:
        bucket = [each for each in others if self.prefix(each.id) == self.prefix(new.id)]
        if len(others) >= self.config.table_whole_max and len(bucket) >= self.config.k:
            return False
        return self.is_diverse(new, others)

    def is_diverse(self, new: Contact, others: list[Contact]) -> bool:
        if is_local(new.address):
            return True
        near = [each for each in others if subnet_of(each.address) == subnet_of(new.address)]
        same = [each for each in others if ip_of(each.address) == ip_of(new.address)]
        bucket = [each for each in near if self.prefix(each.id) == self.prefix(new.id)]
        return (
            len(bucket) < self.config.subnet_per_bucket_max
            and len(near) < self.config.subnet_per_table_max
            and len(same) < self.config.ip_per_table_max
        )

    def answered(self, new: Contact) -> bool:
        old = self.has(new.id)
        if old is not None:
            others = [each for each in self.members if each.id != new.id]
            if old == new:
                self.failures[new.id] = 0
                self.moved.pop(new.id, None)
            elif self.failures.get(new.id) and self.is_diverse(new, others):
                self.replace(old, new)
            else:
                self.moved[new.id] = new
            return False
        if new.id == self.own:
            return False
        if self.fits(new, self.members):
            self.waiting = [each for each in self.waiting if each.id != new.id]
            self.enter(new)
            return True
        self.wait(new)
        return False

    def enter(self, new: Contact) -> None:
        self.members.append(new)
        self.failures[new.id] = 0
        self.moved.pop(new.id, None)

    def replace(self, old: Contact, new: Contact) -> None:
        self.members.remove(old)
        self.enter(new)

    def wait(self, new: Contact) -> None:
        self.waiting = [each for each in self.waiting if each.id != new.id]
        behind = [each for each in self.waiting if self.prefix(each.id) == self.prefix(new.id)]
        near = [each for each in behind if subnet_of(each.address) == subnet_of(new.address)]
        if is_local(new.address) or len(near) < self.config.subnet_per_bucket_max:
            self.waiting.append(new)
            if len(behind) >= self.config.k:
                self.waiting.remove(behind[0])

    def failed(self, gone: Contact) -> None:
        old = self.has(gone.id)
        if old is None:
            self.waiting = [each for each in self.waiting if each.id != gone.id]
            return
        others = [each for each in self.members if each.id != gone.id]
        moved = self.moved.get(gone.id)
        if old != gone:
            if moved == gone:
                del self.moved[gone.id]
            return
        self.failures[gone.id] += 1
        if moved is not None and self.is_diverse(moved, others):
            self.replace(old, moved)
            return
        if self.failures[gone.id] < REPLACED_AFTER:
            return
        bucket = [each for each in others if self.prefix(each.id) == self.prefix(gone.id)]
        for new in reversed(self.waiting):
            if self.prefix(new.id) == self.prefix(gone.id) and self.fits(new, others):
                self.waiting.remove(new)
                self.members = others
                self.enter(new)
                return
        if self.failures[gone.id] >= DEAD_AFTER or len(bucket) >= self.config.k:
            self.members = others


HOSTS = ["10.0.0.1", "1.1.1.1", "1.1.1.2", "1.1.1.3", "2.2.2.2", "2.2.2.3", "2001:db8::1"]
PEERS = st.builds(contact, st.integers(0, 2**BITS - 1), st.sampled_from(HOSTS))


class TableAgainstModel(RuleBasedStateMachine):
    """Whatever happens in whatever order, the table holds what the rules say."""

    def __init__(self) -> None:
        super().__init__()
        config = Config(
            k=3,
            table_whole_max=6,
            subnet_per_bucket_max=2,
            subnet_per_table_max=4,
            ip_per_table_max=3,
        )
        self.table = RoutingTable(OWN, config=config, bits=BITS)
        self.model = Model(OWN, config)
        self.now = 0.0

    @rule(peer=PEERS)
    def answers(self, peer: Contact) -> None:
        self.now += 1
        wanted = self.table.wants(peer)
        added = self.table.add(self.now, peer)
        assert added == wanted == self.model.answered(peer)

    @rule(peer=PEERS)
    def is_seen(self, peer: Contact) -> None:
        self.now += 1
        self.table.seen(self.now, peer)
        if self.model.has(peer.id):
            self.model.answered(peer)

    @rule(peer=PEERS)
    def fails(self, peer: Contact) -> None:
        self.table.failed(self.now, peer)
        self.model.failed(peer)

    @precondition(lambda self: len(self.table) > 0)
    @rule(data=st.data(), times=st.integers(1, 3))
    def known_one_fails(self, data: st.DataObject, times: int) -> None:
        gone = data.draw(st.sampled_from(self.table.contacts()))
        for _ in range(times):
            change = self.table.failed(self.now, gone)
            self.model.failed(gone)
            assert change is None or change.removed == gone
            if change is not None and change.added is not None:
                assert change.added.id in self.table

    @invariant()
    def they_agree(self) -> None:
        assert sorted(ids(self.table.contacts())) == sorted(ids(self.model.members))
        assert all(self.table.get(each.id) == each for each in self.model.members)

    @invariant()
    def its_maps_agree(self) -> None:
        table = self.table
        assert table._ids == sorted(table._entries)
        for counts, group in ((table._subnets, subnet_of), (table._ips, ip_of)):
            expected: dict[bytes, int] = {}
            for each in table.contacts():
                expected[group(each.address)] = expected.get(group(each.address), 0) + 1
            assert counts == expected
        for prefix, waiting in table._waiting.items():
            assert len(waiting) <= 3
            assert all(table._prefix_length(node_id) == prefix for node_id in waiting)
            assert not any(node_id in table for node_id in waiting)


TestTableAgainstModel = TableAgainstModel.TestCase


# -------------------------------------------------------------------------------------- upkeep


def test_who_withdraws_leaves_at_once_and_one_that_waits_takes_its_place() -> None:
    routing = RoutingTable(0, config=Config(k=2, table_whole_max=0), bits=BITS)
    first, second, third = contact(128), contact(129), contact(130)
    for each in (first, second, third):
        routing.add(0.0, each)
    assert routing.withdrawn(second) == Change(second, third)
    assert ids(routing.contacts()) == [128, 130]
    assert routing.withdrawn(second) is None
    assert routing.withdrawn(first) == Change(first, None)
    assert routing.withdrawn(contact(130, "10.9.9.9")) is None  # known at another address
    assert ids(routing.contacts()) == [130]


def test_the_oldest_is_the_one_that_was_silent_longest() -> None:
    table = table_of([1, 0b1100_0000, 0b1000_0000])
    assert table.oldest() == contact(1)
    table.seen(10.0, contact(1))
    assert table.oldest() == contact(0b1100_0000)
    assert table_of([]).oldest() is None


@given(st.integers(0, 2**BITS - 1), st.integers(0, BITS), st.integers())
def test_a_random_target_shares_exactly_so_many_bits(own: int, prefix: int, seed: int) -> None:
    table = RoutingTable(own, config=SMALL, bits=BITS)
    target = table.random_target(prefix, Random(seed))
    assert BITS - (target ^ own).bit_length() == prefix


def test_random_targets_are_everywhere_in_their_bucket() -> None:
    table = RoutingTable(0b1111_0000, config=SMALL, bits=BITS)
    random = Random(1)
    drawn = {table.random_target(4, random) for _ in range(200)}
    assert sorted(drawn) == list(range(0b1111_1000, 0b1111_1111 + 1))


@given(st.lists(st.integers(0, 2**BITS - 1), unique=True, max_size=60), st.integers(1, 8))
def test_the_depth_is_where_at_most_k_are_left(node_ids: list[int], k: int) -> None:
    table = table_of(node_ids, config=Config(k=k, table_whole_max=256))
    depth = table.bucket_depth()
    shared = [BITS - (node_id ^ OWN).bit_length() for node_id in ids(table.contacts())]
    assert sum(each >= depth for each in shared) <= k
    assert depth == 0 or sum(each >= depth - 1 for each in shared) > k


def test_buckets_nobody_looked_into_are_idle() -> None:
    near, middle, far = [0b1010_0001, 0b1010_0010], [0b1100_0000, 0b1100_0001], [1, 2]
    table = table_of(near + middle + far)
    depth = table.bucket_depth()
    assert depth == 2
    assert table.idle_buckets(0.0) == [0, 1, 2]
    table.touched(0.0, 0b0111_1111)
    assert table.idle_buckets(1.0) == [1, 2]
    table.touched(10.0, OWN)
    assert table.idle_buckets(20.0) == [1]
    table.touched(20.0, 0b1111_1111)
    assert table.idle_buckets(3599.0) == []
    assert table.idle_buckets(3600.0) == [0]
    assert table.idle_buckets(3610.0) == [0, 2]
    assert table_of([]).idle_buckets(0.0) == []


# ---------------------------------------------------------------------- how large is the network


@pytest.mark.parametrize("others", [0, 1, 5, 20, 63, 127])
def test_a_network_that_is_known_whole_is_counted(others: int) -> None:
    node_ids = Random(others).sample(range(2**60), others)
    table = table_of(node_ids, own=2**59 + 12345, config=Config(), bits=60)
    assert table.network_size() == others + 1


@pytest.mark.parametrize("others", [1_000, 10_000])
def test_a_large_network_is_estimated_from_its_density(others: int) -> None:
    """20 neighbours give a standard error of 22 %; the mean over 30 nodes, 4 %."""
    node_ids = sorted(Random(1).sample(range(2**60), others))
    estimates = []
    for own in Random(2).sample(range(2**60), 30):
        known = nearest(node_ids, own, 25) + Random(own).sample(node_ids, 150)
        table = table_of(list(dict.fromkeys(known)), own=own, config=Config(k=100), bits=60)
        estimates.append(table.network_size())
    assert sum(estimates) / len(estimates) == pytest.approx(others, rel=0.2)


def test_a_newcomer_in_a_large_network_does_not_take_its_few_contacts_for_everybody() -> None:
    node_ids = Random(1).sample(range(2**60), 5_000)
    own = 2**59 + 12345
    table = table_of(nearest(node_ids, own, 40), own=own, config=Config(), bits=60)
    assert table.network_size() > 2_000


def tables_of_halves(*, share: int) -> list[RoutingTable]:
    """100 nodes of as many networks of 120, who know their neighbours and one in so many others."""
    tables = []
    for seed in range(100):
        random = Random(seed)
        own, *others = random.sample(range(2**60), 120)
        known = nearest(others, own, 24) + random.sample(others, 119 // share)
        tables.append(table_of(list(dict.fromkeys(known)), own=own, config=Config(), bits=60))
    return tables


def test_who_knows_everybody_mostly_knows_that_it_does() -> None:
    assert sum(table.holds_everybody() for table in tables_of_halves(share=1)) > 90


def test_who_knows_its_neighbours_and_few_others_mostly_knows_that_these_are_not_all() -> None:
    """A put in a network that is known whole does not ask first where the owners are."""
    tables = tables_of_halves(share=4)
    assert sum(table.holds_everybody() for table in tables) <= 20
    assert all(table.size_by_neighbours() > len(table) for table in tables[:10])


def test_a_full_table_is_not_taken_for_a_whole_network() -> None:
    node_ids = Random(1).sample(range(2**60), 1_000)
    table = table_of(node_ids, own=2**59 + 12345, config=Config(), bits=60)
    assert len(table) >= Config().table_whole_max
    assert not table.holds_everybody()


def test_the_size_follows_the_table() -> None:
    table = table_of([1, 2], config=Config())
    assert table.network_size() == 3
    table.add(9.0, contact(3))
    assert table.network_size() == 4
    for _ in range(DEAD_AFTER):
        table.failed(10.0, contact(3))
    assert table.network_size() == 3


@given(st.integers(1, 50), st.integers(1, 8))
def test_the_expected_distance_holds_as_many_nodes_as_asked(others: int, rank: int) -> None:
    node_ids = Random(others).sample(range(2**60), others)
    table = table_of(node_ids, own=2**59, config=Config(), bits=60)
    assume(len(table) == others)
    share = table.expected_distance(rank) / 2**60
    assert share == pytest.approx(rank / (others + 1))


def test_ids_of_any_width_have_a_bucket_of_their_own() -> None:
    """Own id all ones or all zeros, and contacts that differ in exactly one bit."""
    for own in (0, 2**BITS - 1):
        table = table_of([own ^ 1 << bit for bit in range(BITS)], own=own)
        assert len(table) == BITS
        assert ids(table.contacts()) == [own ^ 1 << bit for bit in range(BITS)]
        assert ids(contacts([own])) == [own]
