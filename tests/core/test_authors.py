"""Signed records in a network: only their author writes them, whoever holds them, whatever is said.

And plain ones, which anybody may overwrite: where they are taken, and where not.
"""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dht.author import verify_untrusted
from dht.config import Config
from dht.core.outcomes import GetOutcome, PutOutcome
from dht.errors import LocalError, NoPeers, QuorumNotReached, ValueTooLarge, VersionConflict
from dht.identity import Identity
from dht.keyspace import Key, content_key, plain_key
from dht.records import Kind, Record, value_hash
from dht.wire.codec import copy_of
from dht.wire.messages import Answer, Copy, Found, Get, Request, Status, Stored
from tests.core.authored_for_tests import (
    add,
    author,
    get,
    give,
    holdings,
    member,
    members,
    name_of,
    place_of,
    put,
    remove,
    signed,
    store_of,
    values,
)
from tests.core.pair import EPOCH_S, HUGE, LARGE, Manners, Net, Pair, Peer, Stranger

ALICE, EVE = author(1), author(2)
YEAR_S = 365.25 * 86400


def network(count: int = 6, **options: object) -> Net:
    net = Net(config=Config(replicas=3), **options)  # type: ignore[arg-type]
    net.grow(count)
    return net


# ---- put, get, delete ----


@pytest.mark.parametrize("value", [b"", b"v", bytes(850), LARGE, HUGE], ids=len)
def test_what_an_author_put_is_found_as_hers(value: bytes) -> None:
    net = network()
    outcome = put(net, net.peers[1], "k", value, ALICE, ttl_s=7 * 86400.0)
    found = get(net, net.peers[4], "k", ALICE)
    assert found.value == value
    assert found.record is not None
    assert (found.record.author, found.record.version) == (ALICE.id, outcome.version)
    assert get(net, net.peers[4], "k", EVE).record is None
    assert net.get(net.peers[4], "k").record is None
    assert net.comes_to_rest()


def test_two_authors_have_two_records_under_one_key() -> None:
    net = network()
    put(net, net.peers[0], "k", b"hers", ALICE)
    put(net, net.peers[0], "k", b"his", EVE)
    net.put(net.peers[0], "k", b"anybody's")
    assert get(net, net.peers[1], "k", ALICE).value == b"hers"
    assert get(net, net.peers[1], "k", EVE).value == b"his"
    assert net.get(net.peers[1], "k").value == b"anybody's"


def test_a_later_put_replaces_and_a_delete_deletes() -> None:
    net = network()
    first = put(net, net.peers[0], "k", b"one", ALICE)
    second = put(net, net.peers[1], "k", b"two", ALICE)
    assert second.version > first.version
    assert get(net, net.peers[2], "k", ALICE, quorum=2).value == b"two"
    put(net, net.peers[3], "k", b"", ALICE, tombstone=True)
    gone = get(net, net.peers[2], "k", ALICE, quorum=2)
    assert gone.record is None
    assert gone.deleted is not None
    assert gone.deleted.author == ALICE.id


def test_if_version_is_compared_for_signed_records_too() -> None:
    net = network()
    put(net, net.peers[0], "k", b"one", ALICE, if_version=0)
    with pytest.raises(VersionConflict) as caught:
        put(net, net.peers[1], "k", b"two", ALICE, if_version=0)
    assert caught.value.newest.value == b"one"
    assert caught.value.newest.author == ALICE.id


@pytest.mark.parametrize("kind", [Kind.SIGNED, Kind.MEMBER])
@pytest.mark.parametrize("wrong", [None, Identity.from_private_bytes(bytes(32)), Key(7), bytes(32)])
def test_what_cannot_sign_is_refused_before_anything_begins(kind: Kind, wrong: object) -> None:
    net = network(2)
    before = len(net.log)
    with pytest.raises(LocalError, match=r"who writes is a dht\.Author"):
        net.begin(
            net.peers[0],
            lambda engine, now: engine.start_put(now, kind, Key(7), b"v", author=wrong),  # type: ignore[arg-type]
        )
    assert len(net.log) == before


def test_signed_records_live_for_7_days_and_no_longer() -> None:
    net = network(3)
    week = 7 * 86400.0
    put(net, net.peers[0], "k", b"v", ALICE, ttl_s=week)
    add(net, net.peers[0], "t", b"v", ALICE, ttl_s=week)
    for store in (put, add):
        with pytest.raises(LocalError, match="604800"):
            store(net, net.peers[0], "k", b"v", ALICE, ttl_s=week + 1)


def test_a_members_value_fits_a_page() -> None:
    net = network(3)
    add(net, net.peers[0], "t", bytes(850), ALICE)
    with pytest.raises(ValueTooLarge, match="850"):
        add(net, net.peers[0], "t", bytes(851), ALICE)


# ---- forgers ----


def said_to(stranger: Stranger, peer: Peer, record: Record | Copy) -> Status:
    """What a peer answers to somebody's store; that it pings him as well is another matter."""
    answers = [each for each in stranger.say(peer, store_of(record)) if isinstance(each, Stored)]
    return Status(answers[-1].status)


def changed(record: Record, **change: object) -> Record:
    """Something else, with the signature of what it was."""
    return attrs.evolve(record, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [signed, member])
def test_a_holder_takes_what_its_author_signed_and_nothing_else(make: object) -> None:
    pair = Pair()
    stranger = pair.stranger()
    real: Record = make("k", ALICE, b"real")  # type: ignore[operator]
    assert real.proof is not None
    eves = real.proof._replace(author=EVE.id.public_key)
    for forged in (
        changed(real, value=b"fake"),
        changed(real, version=6),
        changed(real, ttl_ms=real.ttl_ms - 1),
        changed(real, written_at_ms=1),
        changed(real, tombstone=True, value=b""),
        changed(real, proof=eves),
        changed(real, proof=eves._replace(signature=EVE.sign(real.head.body))),
    ):
        assert said_to(stranger, pair.bob, forged) is Status.INVALID
    assert pair.bob.engine.storage.count == 0
    assert said_to(stranger, pair.bob, real) is Status.STORED


#: Rightly signed by somebody else, at the key of Alice's record.
USURPED = attrs.evolve(
    signed("k", EVE, b"hers", version=2**50), key=place_of("k", ALICE)
).signed_by(EVE, name_of("k"))


def test_nobody_writes_at_the_key_of_another_author() -> None:
    pair = Pair()
    stranger = pair.stranger()
    assert said_to(stranger, pair.bob, USURPED) is Status.INVALID
    assert pair.bob.engine.storage.count == 0
    assert said_to(stranger, pair.bob, signed("k", EVE, b"hers")) is Status.STORED


def lying_get(record: Record) -> Manners:
    """A peer that says to hold a record, whatever it is asked for."""
    net = Net()

    def found(_: Request) -> Answer:
        return Found(int(EPOCH_S), copy_of(record, 1000), b"", b"")

    return Manners(net, replies={Get: found})


@pytest.mark.parametrize(
    "forged",
    [
        changed(signed("k", ALICE, b"real"), value=b"fake"),
        signed("k", EVE, b"hers", version=2**50),
        signed("other", ALICE, b"another of hers"),
        USURPED,
        changed(signed("k", ALICE, b"real"), version=2**50),
        Record(
            kind=Kind.PLAIN,
            key=place_of("k", ALICE),
            version=2**50,
            written_at_ms=0,
            ttl_ms=1000,
            value=b"of a kind that nobody signs",
        ),
    ],
    ids=["value", "author", "key", "usurped", "version", "kind"],
)
@pytest.mark.parametrize("quorum", [1, 2])
def test_a_reader_is_given_nothing_that_its_author_did_not_sign(
    forged: Record, quorum: int
) -> None:
    net = network(3)
    for peer in net.peers[1:]:
        give(net, peer, signed("k", ALICE, b"real"))
    reader = net.add(net.peers[0], client=True)
    for _ in range(3):
        liar = net.stranger(reply=lying_get(forged))
        assert reader.engine.table.add(net.now, liar.contact)
    found = get(net, reader, "k", ALICE, quorum=quorum)
    assert found.value == b"real"


def test_a_reader_whom_all_lie_to_finds_nothing() -> None:
    net = Net()
    reader = net.add()
    for _ in range(3):
        net.known(reader, manners=lying_get(changed(signed("k", ALICE), value=b"fake")))
    with pytest.raises(NoPeers, match="nobody answered"):
        get(net, reader, "k", ALICE)


def test_the_newest_of_a_quorum_is_returned_when_some_hold_an_old_version() -> None:
    """Threat: rollback. An old record is signed as well as a new one."""
    net = network(5)
    old, new = signed("k", ALICE, b"old"), signed("k", ALICE, b"new", version=6)
    owners = sorted(net.peers, key=lambda peer: peer.contact.id ^ old.key)[:3]
    for owner, record in zip(owners, (old, new, old), strict=True):
        give(net, owner, record)
    found = get(net, net.peers[0], "k", ALICE, quorum=3)
    assert found.value == b"new"
    assert len(found.stale) == 2
    net.run_for(5.0)  # and the stale are repaired, with the author's own bytes
    assert {held.record.proof for held in holdings(net, new)} == {new.proof}


@settings(max_examples=30)
@given(
    versions=st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=12),
    kind=st.sampled_from([signed, member]),
)
def test_an_honest_node_never_accepts_a_lower_version(
    versions: list[tuple[int, bool]], kind: object
) -> None:
    pair = Pair()
    stranger = pair.stranger()
    highest = 0
    for version, tombstone in versions:
        value = b"" if tombstone else bytes([version])
        record: Record = kind(  # type: ignore[operator]
            "k", ALICE, value, version=version, tombstone=tombstone
        )
        status = said_to(stranger, pair.bob, record)
        if version < highest:
            assert status is Status.OLD
        highest = max(highest, version)
        held = pair.bob.engine.storage.get(pair.now, *record.slot)
        assert held is not None
        assert held.record.version == highest


def test_an_old_version_stays_out_when_the_newer_has_expired() -> None:
    pair = Pair()
    stranger = pair.stranger()
    for record in (signed("k", ALICE, version=5), signed("k", ALICE, version=6, ttl_ms=1000)):
        stranger.say(pair.bob, store_of(record))
    pair.run_for(40.0)
    assert said_to(stranger, pair.bob, signed("k", ALICE, version=5)) is Status.OLD


def test_no_copy_on_its_way_makes_it_live_longer_than_its_author_said() -> None:
    pair = Pair()
    stranger = pair.stranger()
    record = signed("k", ALICE, ttl_ms=5000)
    stranger.say(pair.bob, store_of(copy_of(record, 2**50)))
    held = pair.bob.engine.storage.get(pair.now, *record.slot)
    assert held is not None
    assert held.deadline <= pair.now + 5.0


def test_replicas_hold_the_authors_bytes_unchanged_however_they_came_by_them() -> None:
    net = Net(config=Config(replicas=3, repair_interval_s=20.0, repair_turn_s=2.0))
    net.grow(6)
    put(net, net.peers[0], "k", LARGE, ALICE)
    add(net, net.peers[0], "t", b"v", ALICE)
    records = [
        get(net, net.peers[1], "k", ALICE).record,
        next(iter(members(net, net.peers[1], "t"))),
    ]
    for _ in range(3):  # holders die, others take over
        record = records[0]
        assert record is not None
        net.crash(
            next(p for p in net.peers if p.plugged_in and p.held(net.now, record.key, record.kind))
        )
        net.add(next(p for p in net.peers if p.plugged_in))
        net.run_for(90.0)
    for record in records:
        assert record is not None
        copies = holdings(net, record)
        assert len(copies) >= 3
        assert all(held.record == record for held in copies)


# ---- clocks ----


@pytest.mark.parametrize("years", [-10, 10])
@pytest.mark.parametrize("value", [b"v", LARGE], ids=["small", "large"])
def test_an_author_whose_clock_is_ten_years_off_puts_with_one_restamp(
    years: int, value: bytes
) -> None:
    net = Net()
    net.grow(10)
    put(net, net.peers[0], "k", b"before", ALICE)
    add(net, net.peers[0], "t", b"before", ALICE)
    writer = net.add(net.peers[0], client=True, ahead_s=years * YEAR_S)
    assert get(net, writer, "k", ALICE).value == b"before"
    assert values(members(net, writer, "t")) == [b"before"]
    for outcome in (put(net, writer, "k", value, ALICE), add(net, writer, "t", b"v", ALICE)):
        assert not outcome.refused
        assert len(outcome.stored) + len(outcome.pending) == 8
    net.run_for(5.0)
    assert get(net, net.peers[3], "k", ALICE, quorum=8).value == value
    assert values(members(net, net.peers[3], "t")) == [b"v"]
    remove(net, writer, "t", ALICE)
    assert values(members(net, net.peers[3], "t")) == []


def test_a_holder_whose_clock_is_ten_years_off_refuses_nobody() -> None:
    net = Net()
    net.grow(4)
    odd: Peer = net.add(net.peers[0], ahead_s=10 * YEAR_S)
    for number, writer in enumerate(net.peers):
        assert odd.contact in put(net, writer, f"k{number}", b"v", ALICE).stored
        assert odd.contact in add(net, writer, f"t{number}", b"v", ALICE).stored
        assert get(net, odd, f"k{number}", ALICE, quorum=5).value == b"v"


# ---- plain records, and who may overwrite them ----


def open_network(host: str, **options: object) -> Net:
    """Two nodes at such addresses, in a network that anybody may join."""
    net = Net(private_network=False, config=Config(**options))  # type: ignore[arg-type]
    first = net.add(host=host.replace("N", "1"))
    net.add(first, host=host.replace("N", "2"))
    return net


def test_on_an_open_network_a_plain_put_names_the_three_ways_out() -> None:
    net = open_network("1.2.N.4")
    for start in (net.put, lambda peer, key, _: net.delete(peer, key)):
        with pytest.raises(LocalError) as caught:
            start(net.peers[1], "k", b"v")
        for way in ("author=", "network_key", "Config.plain_on_open_network=True"):
            assert way in str(caught.value)
    assert net.get(net.peers[1], "k").record is None
    assert put(net, net.peers[1], "k", b"v", ALICE).stored
    assert add(net, net.peers[1], "t", b"v", ALICE).stored


def test_a_network_of_one_at_a_public_address_is_an_open_one() -> None:
    net = Net(private_network=False)
    net.add(host="1.2.3.4")
    with pytest.raises(LocalError, match="network_key"):
        net.put(net.peers[0], "k", b"v")


@pytest.mark.parametrize("host", ["127.0.0.N", "10.0.0.N", "192.168.7.N", "172.16.0.N"])
def test_between_local_addresses_plain_records_are_taken(host: str) -> None:
    net = open_network(host)
    assert len(net.put(net.peers[1], "k", b"v").stored) == 2
    assert net.get(net.peers[0], "k").value == b"v"


def test_whoever_wants_plain_records_on_an_open_network_can_have_them() -> None:
    net = open_network("1.2.N.4", plain_on_open_network=True)
    assert len(net.put(net.peers[1], "k", b"v").stored) == 2


def test_in_a_network_with_a_key_plain_records_are_taken_anywhere() -> None:
    net = Net(private_network=True)
    net.grow(2)
    assert len(net.put(net.peers[1], "k", b"v").stored) == 2


@pytest.mark.parametrize("host", ["1.2.3.4", "9.9.9.9"])
def test_on_an_open_network_holders_refuse_plain_records_and_say_why(host: str) -> None:
    net = open_network("1.2.N.4")
    stranger = net.stranger(host)
    plain = Record(
        kind=Kind.PLAIN,
        key=plain_key("k"),
        version=5,
        written_at_ms=int(EPOCH_S * 1000),
        ttl_ms=1000,
        value=b"v",
    )
    assert said_to(stranger, net.peers[0], plain) is Status.OPEN_NETWORK
    assert said_to(stranger, net.peers[0], signed("k", ALICE)) is Status.STORED
    near = net.stranger("10.0.0.9")
    assert said_to(near, net.peers[0], plain) is Status.STORED


def test_a_put_that_holders_refuse_for_that_reason_says_so() -> None:
    """A writer that thinks it is among friends, behind an address of its own."""
    net = open_network("1.2.N.4")
    writer = net.add(net.peers[0], config=Config(plain_on_open_network=True), client=True)
    with pytest.raises(QuorumNotReached, match="open_network") as caught:
        net.put(writer, "k", b"v")
    assert {refusal.reason for refusal in caught.value.outcome.refused} == {"open_network"}


def test_content_needs_no_author_anywhere() -> None:
    net = open_network("1.2.N.4")
    key = content_key(value_hash(b"v"))
    finished = net.run(
        net.peers[1], lambda engine, now: engine.start_put(now, Kind.CONTENT, key, b"v")
    )
    assert isinstance(finished.outcome, PutOutcome)
    assert len(finished.outcome.stored) == 2


# ---- cheap ----


def test_the_same_copy_of_eight_owners_is_verified_once() -> None:
    net = Net()
    net.grow(10)
    put(net, net.peers[0], "k", b"v", ALICE)
    net.run_for(2.0)
    reader = net.add(net.peers[0], client=True)
    verify_untrusted.cache_clear()
    outcome: GetOutcome = get(net, reader, "k", ALICE, quorum=8)
    assert len(outcome.agreed) == 8
    assert verify_untrusted.cache_info().misses == 1
