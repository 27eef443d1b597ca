"""Doors of which we were only told: who is knocked at, how often, and what waits meanwhile."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.config import Config
from dht.contacts import Contact, contact_at, pack_address
from dht.core import knocks
from dht.core.knocks import Knocks, door_of

CONFIG = Config()
AGAIN_S = CONFIG.knock_again_s
NOBODY = frozenset[Contact]()


def at(host: str, *, port: int = 4000, key: int = 1) -> Contact:
    return contact_at(key.to_bytes(32), pack_address(host, port))


def knocks_of(free: frozenset[Contact] = NOBODY, config: Config = CONFIG) -> Knocks:
    return Knocks(config, free.__contains__)


def stay_shut(doors: Knocks, now: float, contact: Contact) -> None:
    """It is knocked at, and nobody answers."""
    assert doors.may_knock(now, contact)
    doors.silent(now + 1, contact, sent_at=now)


def test_a_door_that_stays_shut_is_left_alone_for_a_minute() -> None:
    doors, victim = knocks_of(), at("8.8.8.8")
    stay_shut(doors, 0.0, victim)
    assert not doors.may_knock(AGAIN_S - 0.1, victim)
    assert doors.refused == 1
    assert doors.may_knock(AGAIN_S, victim)


def test_other_ids_and_ports_do_not_make_it_another_door() -> None:
    doors = knocks_of()
    stay_shut(doors, 0.0, at("8.8.8.8"))
    assert not any(
        doors.may_knock(2.0, at("8.8.8.8", port=port, key=key))
        for port in (4000, 4001, 1)
        for key in range(2, 20)
    )


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 9), st.booleans()), max_size=60))
def test_whoever_names_a_victim_it_gets_one_packet_a_minute(
    tries: list[tuple[float, int, bool]],
) -> None:
    doors, now, sent = knocks_of(), 0.0, list[float]()
    for pause, key, resolves in tries:
        now += pause
        victim = at("8.8.8.8", key=key)
        if doors.may_knock(now, victim):
            sent.append(now)
            if not resolves:
                continue
        if sent and resolves:
            doors.silent(now, victim, sent_at=sent[-1])
    assert all(later - earlier >= AGAIN_S for earlier, later in itertools.pairwise(sent))


def test_nobody_knocks_twice_before_it_is_known_what_came_of_the_first() -> None:
    doors = knocks_of()
    assert doors.may_knock(0.0, at("8.8.8.8"))
    assert not doors.may_knock(1000.0, at("8.8.8.8"))


def test_on_local_ranges_every_port_is_a_door_of_its_own() -> None:
    doors = knocks_of()
    stay_shut(doors, 0.0, at("127.0.0.1", port=1))
    assert doors.may_knock(1.0, at("127.0.0.1", port=2))
    assert door_of(pack_address("127.0.0.1", 1)) != door_of(pack_address("127.0.0.1", 2))
    assert door_of(pack_address("8.8.8.8", 1)) == door_of(pack_address("8.8.8.8", 2))


@pytest.mark.parametrize(
    ("inside", "outside"), [("8.8.8.{}", "8.8.9.1"), ("2001:db9:1::{:x}", "2001:db9:2::1")]
)
def test_of_one_subnet_a_few_doors_stay_shut_and_then_no_more_are_tried(
    inside: str, outside: str
) -> None:
    doors, most = knocks_of(), CONFIG.knocks_per_subnet_max
    hosts = [inside.format(number) for number in range(1, most + 3)]
    for host in hosts[:most]:
        stay_shut(doors, 0.0, at(host))
    assert not doors.may_knock(2.0, at(hosts[most]))
    assert doors.may_knock(2.0, at(outside))
    assert doors.may_knock(AGAIN_S, at(hosts[most]))  # those are forgotten


def test_doors_that_were_knocked_at_count_for_their_subnet_until_they_answer() -> None:
    doors, most = knocks_of(), CONFIG.knocks_per_subnet_max
    for number in range(1, most + 1):
        assert doors.may_knock(0.0, at(f"8.8.8.{number}"))
    assert not doors.may_knock(0.0, at("8.8.8.200"))
    doors.answered(0.5, at("8.8.8.1").address)
    assert doors.may_knock(0.5, at("8.8.8.200"))


def test_an_answer_opens_the_door() -> None:
    doors, contact = knocks_of(), at("8.8.8.8")
    stay_shut(doors, 0.0, contact)
    doors.answered(5.0, contact.address)
    assert contact.address in doors.open
    assert len(doors) == 0


def test_who_answered_lately_is_not_shut_out_by_one_silence() -> None:
    doors, contact = knocks_of(), at("8.8.8.8")
    doors.answered(0.0, contact.address)
    doors.silent(AGAIN_S - 1, contact, sent_at=AGAIN_S - 2)
    assert contact.address in doors.open
    doors.silent(AGAIN_S, contact, sent_at=AGAIN_S - 1)
    assert contact.address not in doors.open
    assert not doors.may_knock(AGAIN_S + 1, contact)


@pytest.mark.parametrize("opens", [True, False])
def test_what_waits_hears_what_came_of_the_knock_once(*, opens: bool) -> None:
    doors, contact, heard = knocks_of(), at("8.8.8.8"), list[tuple[float, bool]]()
    assert not doors.wait(contact, lambda now, opened: heard.append((now, opened)))
    assert doors.may_knock(0.0, contact)
    assert doors.wait(contact, lambda now, opened: heard.append((now, opened)))
    for _ in range(2):
        if opens:
            doors.answered(1.0, contact.address)
        else:
            doors.silent(1.0, contact, sent_at=0.0)
    assert heard == [(1.0, opens)]


def test_only_so_many_wait_for_one_door_and_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knocks, "WAITING_PER_DOOR_MAX", 3)
    monkeypatch.setattr(knocks, "WAITING_MAX", 5)
    doors = knocks_of()
    waiting = []
    for host in ("8.8.8.8", "9.9.9.9"):
        assert doors.may_knock(0.0, at(host))
        waiting += [doors.wait(at(host), lambda _now, _opened: None) for _ in range(5)]
    assert waiting == [True, True, True, False, False, True, True, False, False, False]
    doors.answered(1.0, at("8.8.8.8").address)
    assert doors.wait(at("9.9.9.9"), lambda _now, _opened: None)


def test_only_so_many_doors_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knocks, "SHUT_MAX", 4)
    monkeypatch.setattr(knocks, "OPEN_MAX", 4)
    doors = knocks_of()
    for number in range(1, 10):
        stay_shut(doors, 0.0, at(f"8.{number}.8.8"))
        doors.answered(0.0, at(f"9.{number}.8.8").address)
    assert len(doors) == 4
    assert len(doors.open) == 4
    assert doors.may_knock(2.0, at("8.1.8.8"))  # the longest ago was forgotten
    assert not doors.may_knock(2.0, at("8.9.8.8"))


def test_after_an_outage_of_our_own_every_door_is_tried_again() -> None:
    doors = knocks_of()
    stay_shut(doors, 0.0, at("8.8.8.8"))
    doors.clear()
    assert len(doors) == 0
    assert doors.may_knock(1.0, at("8.8.8.8"))


@given(
    st.lists(st.tuples(st.sampled_from("ksac"), st.integers(1, 6), st.floats(0, 40)), max_size=80)
)
def test_counts_of_subnets_are_those_of_the_doors(steps: list[tuple[str, int, float]]) -> None:
    doors, now = knocks_of(config=Config(knocks_per_subnet_max=3)), 0.0
    for kind, number, pause in steps:
        now += pause
        contact = at(f"8.8.8.{number}")
        match kind:
            case "k":
                doors.may_knock(now, contact)
            case "s":
                doors.silent(now, contact, sent_at=now)
            case "a":
                doors.answered(now, contact.address)
            case _:
                doors.clear()
        shut_or_knocked = [*doors._shut, *doors._knocked]
        assert sum(doors._subnets.values()) == len(shut_or_knocked)
