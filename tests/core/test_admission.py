"""How many requests of one source are served."""

from hypothesis import given
from hypothesis import strategies as st

from dht.config import Config
from dht.contacts import Address, pack_address
from dht.core.admission import SOURCES_MAX, Admission, Buckets, admission_source

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
PUBLIC = pack_address("192.88.0.1", 4000)


def admission(rate: float = 1.0, burst: float = 3.0) -> Admission:
    return Admission(Config(requests_per_source_s=rate, requests_burst=burst))


def admitted(limit: Admission, now: float, source: Address, *, count: int, key: bytes = KEY) -> int:
    return sum(limit.allow(now, source, key) for _ in range(count))


def test_a_burst_is_served_and_then_the_rate() -> None:
    limit = admission(rate=2.0, burst=3.0)
    assert admitted(limit, 0.0, PUBLIC, count=10) == 3
    assert admitted(limit, 0.4, PUBLIC, count=10) == 0
    assert admitted(limit, 0.5, PUBLIC, count=10) == 1
    assert admitted(limit, 100.0, PUBLIC, count=10) == 3
    assert limit.refused == 7 + 10 + 9 + 7


def test_what_is_refused_costs_its_source_nothing() -> None:
    limit = admission(rate=1.0, burst=1.0)
    assert admitted(limit, 0.0, PUBLIC, count=1000) == 1
    assert admitted(limit, 1.0, PUBLIC, count=1) == 1


@given(
    rate=st.floats(1, 1e9),
    burst=st.floats(1, 1e9),
    steps=st.lists(
        st.tuples(st.floats(-1e9, 1e9) | st.floats(0, 1e-3), st.integers(1, 20)), max_size=50
    ),
    start=st.floats(-1e9, 1e9),
)
def test_never_more_than_the_burst_and_the_rate_whatever_the_clock_does(
    rate: float, burst: float, steps: list[tuple[float, int]], start: float
) -> None:
    limit = admission(rate, burst)
    now, forward, served = start, 0.0, 0
    for step, count in steps:
        before, now = now, now + step
        forward += max(0.0, now - before)
        served += admitted(limit, now, PUBLIC, count=count)
        assert served <= (burst + rate * forward) * (1 + 1e-9) + 1e-6


@given(
    rate=st.floats(1, 1e6),
    gaps=st.lists(st.floats(1.001, 5), max_size=30),
    start=st.floats(0, 1e6),
)
def test_who_keeps_to_the_rate_is_always_served(
    rate: float, gaps: list[float], start: float
) -> None:
    limit, now = admission(rate, burst=1.0), start
    for gap in gaps:
        now += gap / rate + 1e-9
        assert limit.allow(now, PUBLIC, KEY)


def test_a_clock_that_went_back_does_not_lock_anybody_out() -> None:
    limit = admission(rate=1.0, burst=1.0)
    assert limit.allow(1e9, PUBLIC, KEY)
    assert not limit.allow(0.0, PUBLIC, KEY)
    assert limit.allow(1.0, PUBLIC, KEY)


def test_neither_a_new_port_nor_a_new_key_is_a_new_source() -> None:
    limit = admission(burst=2.0)
    assert limit.allow(0.0, pack_address("192.88.0.1", 1), KEY)
    assert limit.allow(0.0, pack_address("192.88.0.1", 2), OTHER_KEY)
    assert not limit.allow(0.0, pack_address("192.88.0.1", 3), KEY)
    assert limit.allow(0.0, pack_address("192.88.0.2", 1), KEY)


def test_an_ipv6_source_is_a_64() -> None:
    limit = admission(burst=1.0)
    assert limit.allow(0.0, pack_address("2a00:1:2:3::1", 1), KEY)
    assert not limit.allow(0.0, pack_address("2a00:1:2:3:ffff::2", 1), KEY)
    assert limit.allow(0.0, pack_address("2a00:1:2:4::1", 1), KEY)


def test_on_private_addresses_a_source_is_a_key() -> None:
    limit = admission(burst=1.0)
    for host in ("127.0.0.1", "10.0.0.1", "::1"):
        assert admission_source(pack_address(host, 1), KEY) == KEY
    assert limit.allow(0.0, pack_address("127.0.0.1", 1), KEY)
    assert not limit.allow(0.0, pack_address("127.0.0.1", 2), KEY)
    assert limit.allow(0.0, pack_address("127.0.0.1", 1), OTHER_KEY)


def nth_source(number: int) -> Address:
    return Address(b"\x20" + number.to_bytes(3) + b"\x0f\xa0")


def test_a_flood_of_sources_is_remembered_up_to_the_cap() -> None:
    limit = admission()
    for number in range(SOURCES_MAX * 2):
        limit.allow(0.0, nth_source(number), KEY)
    assert len(limit) == SOURCES_MAX


def test_who_is_heard_often_is_not_forgotten_for_those_heard_once() -> None:
    limit = admission(burst=1.0)
    assert limit.allow(0.0, PUBLIC, KEY)
    for number in range(SOURCES_MAX * 2):
        limit.allow(0.0, nth_source(number), KEY)
        if number % 1000 == 0:
            assert not limit.allow(0.0, PUBLIC, KEY)


# ---------------------------------------------------------------------- amounts, and by any name


def test_an_amount_is_allowed_whole_or_not_at_all() -> None:
    buckets = Buckets(rate=1.0, burst=10.0)
    assert buckets.allow(0.0, b"a", 7.0)
    assert not buckets.allow(0.0, b"a", 4.0)
    assert buckets.allow(0.0, b"a", 3.0)
    assert not buckets.allow(0.0, b"a")
    assert buckets.allow(0.0, b"b", 10.0)
    assert not buckets.allow(1e9, b"a", 10.1), "more than ever fits"
    assert len(buckets) == 2


def test_of_an_amount_as_much_is_taken_as_there_is_room_for() -> None:
    buckets = Buckets(rate=2.0, burst=10.0)
    assert [buckets.take(0.0, b"a", 7.0) for _ in range(3)] == [7.0, 3.0, 0.0]
    assert buckets.take(0.0, b"b", 99.0) == 10.0
    assert buckets.take(2.0, b"a", 99.0) == 4.0
    assert not buckets.allow(2.0, b"a")
    assert buckets.take(1e6, b"a", 99.0) == 10.0


@given(
    rate=st.floats(0.01, 1e6),
    burst=st.floats(1, 1e6),
    steps=st.lists(
        st.tuples(st.floats(-100, 100), st.floats(0, 2e6), st.booleans(), st.sampled_from(b"ab")),
        max_size=50,
    ),
)
def test_through_each_bucket_comes_no_more_than_its_burst_and_its_rate(
    rate: float, burst: float, steps: list[tuple[float, float, bool, int]]
) -> None:
    """Whatever the clock does, and however it is asked for."""
    buckets, now, forward = Buckets(rate, burst), 0.0, 0.0
    through = {ord("a"): 0.0, ord("b"): 0.0}
    for step, amount, whole, name in steps:
        now += step
        forward += max(0.0, step)
        if whole:
            taken = amount if buckets.allow(now, bytes([name]), amount) else 0.0
        else:
            taken = buckets.take(now, bytes([name]), amount)
        assert 0.0 <= taken <= amount
        through[name] += taken
        assert through[name] <= (burst + rate * forward) * (1 + 1e-9) + 1e-6


def test_names_are_remembered_up_to_the_cap_and_those_asked_for_least_go_first() -> None:
    buckets = Buckets(rate=0.001, burst=1.0)
    for number in range(SOURCES_MAX):
        assert buckets.allow(0.0, number.to_bytes(4))
    assert not buckets.allow(0.0, bytes(4))
    assert buckets.take(0.0, b"new", 1.0) == 1.0
    assert len(buckets) == SOURCES_MAX
    assert not buckets.allow(0.0, bytes(4)), "it was asked for lately"
    assert buckets.allow(0.0, (1).to_bytes(4)), "it was forgotten"
