"""Leaky buckets, and who is let in under load."""

from hypothesis import given
from hypothesis import strategies as st

from dht.contacts import Address, pack_address
from dht.core.admission import Buckets
from dht.core.channel.load import (
    COOKIED_BURST,
    COOKIED_PER_S,
    HANDSHAKES_BURST,
    HANDSHAKES_PER_S,
    LOAD_HOLD_S,
    Gate,
    Verdict,
)


def address(number: int, port: int = 1) -> Address:
    return pack_address(f"1.{number >> 16}.{number >> 8 & 255}.{number & 255}", port)


def flood(gate: Gate, now: float, count: int, *, cookied: bool = False) -> list[Verdict]:
    return [
        gate.judge(now, address(number), cookied=cookied, crowded=False) for number in range(count)
    ]


@given(st.lists(st.floats(0, 0.5), max_size=200))
def test_no_more_than_the_burst_and_the_rate_comes_through(pauses: list[float]) -> None:
    buckets = Buckets(10.0, 5.0)
    now, passed = 0.0, 0
    for pause in pauses:
        now += pause
        passed += buckets.allow(now)
        assert passed <= 5 + 10 * now + 1e-6


def test_each_key_has_a_bucket_of_its_own_and_the_least_used_is_forgotten() -> None:
    buckets = Buckets(1.0, 1.0, names_max=2)
    assert buckets.allow(0.0, b"a")
    assert not buckets.allow(0.0, b"a")
    assert buckets.allow(0.0, b"b")
    assert buckets.allow(0.0, b"c")
    assert len(buckets) == 2
    assert buckets.allow(0.0, b"a"), "it was forgotten"
    assert not buckets.allow(0.0, b"c")


def test_a_few_strangers_are_welcome_and_a_flood_is_asked_for_cookies() -> None:
    verdicts = flood(Gate(), 0.0, int(HANDSHAKES_BURST) + 100)
    assert verdicts.count(Verdict.ADMIT) == HANDSHAKES_BURST
    assert set(verdicts[int(HANDSHAKES_BURST) :]) == {Verdict.COOKIE}


def test_a_steady_stream_below_the_rate_is_no_load() -> None:
    gate = Gate()
    for number in range(5000):
        now = number / (HANDSHAKES_PER_S * 0.9)
        assert gate.judge(now, address(1), cookied=False, crowded=False) is Verdict.ADMIT


def test_load_lasts_for_a_while_and_ends() -> None:
    gate = Gate()
    flood(gate, 0.0, 1000)
    just_before = LOAD_HOLD_S - 0.01
    assert flood(gate, just_before, 1) == [Verdict.COOKIE]
    assert flood(gate, LOAD_HOLD_S, 1) == [Verdict.ADMIT]


def test_under_load_a_cookie_lets_in_so_many_of_an_address() -> None:
    gate = Gate()
    flood(gate, 0.0, 1000)
    mine = [gate.judge(0.0, address(7), cookied=True, crowded=False) for _ in range(20)]
    assert mine.count(Verdict.ADMIT) == COOKIED_BURST
    assert mine.count(Verdict.DROP) == 20 - COOKIED_BURST
    assert gate.judge(0.0, address(8), cookied=True, crowded=False) is Verdict.ADMIT
    flood(gate, 1.0, 2000)
    mine = [gate.judge(1.0, address(7), cookied=True, crowded=False) for _ in range(30)]
    assert mine.count(Verdict.ADMIT) == min(COOKIED_PER_S, COOKIED_BURST)


def test_a_customer_with_a_whole_ipv6_network_counts_as_one() -> None:
    gate = Gate()
    flood(gate, 0.0, 1000)
    many = [pack_address(f"2001:db8::{number:x}", 1) for number in range(20)]
    verdicts = [gate.judge(0.0, each, cookied=True, crowded=False) for each in many]
    assert verdicts.count(Verdict.ADMIT) == COOKIED_BURST


def test_nodes_on_one_host_do_not_take_each_others_share() -> None:
    gate = Gate()
    flood(gate, 0.0, 1000)
    for port in range(1, 65):
        verdict = gate.judge(0.0, pack_address("127.0.0.1", port), cookied=True, crowded=False)
        assert verdict is Verdict.ADMIT


def test_who_cannot_be_remembered_needs_a_cookie_without_any_load() -> None:
    gate = Gate()
    assert gate.judge(0.0, address(1), cookied=False, crowded=True) is Verdict.COOKIE
    assert gate.judge(0.0, address(1), cookied=True, crowded=True) is Verdict.ADMIT
