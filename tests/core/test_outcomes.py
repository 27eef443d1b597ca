"""What a person reads about what became of what they asked for."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.contacts import Contact, pack_address, port_of
from dht.core.outcomes import (
    GetOutcome,
    LookupOutcome,
    PutOutcome,
    Refusal,
    Step,
    StepResult,
    Trace,
)
from dht.keyspace import KEY_BITS, Key
from dht.records import Kind, Record

TARGET = Key(0)


def contact(bit: int) -> Contact:
    """One whose id shares ``bit`` leading bits with the target: its port, too, is that number."""
    address = pack_address("192.0.2.1", bit)
    public_key = bytes([bit]) * 32
    return Contact(public_key, address, Key(1 << (KEY_BITS - 1 - bit)), public_key + address)


def step(
    asked: Contact,
    told_by: Contact | None,
    *,
    rtt: float | None = 0.1,
    result: StepResult = StepResult.ANSWERED,
    named: int = 0,
) -> Step:
    return Step(
        contact=asked,
        told_by=told_by,
        depth=0 if told_by is None else 1,
        asked_at=0.0,
        rtt=rtt,
        result=result,
        named=named,
    )


def trace(*steps: Step) -> Trace:
    return Trace(
        target=TARGET,
        hops=2,
        messages=5,
        nodes=4,
        duplicates=1,
        elapsed=0.3125,
        steps=steps,
        stopped="the record was found",
    )


A, B, C, D = map(contact, (1, 2, 3, 4))
LINE = "2 hops, 5 messages to 4 nodes, 312.5 ms: the record was found"
RECORD = Record(
    kind=Kind.PLAIN, key=TARGET, version=9, written_at_ms=9, ttl_ms=1000, value=b"hello"
)

# ---- Trace ----


def test_a_trace_is_one_line() -> None:
    assert str(trace()) == LINE


def test_the_steps_are_left_out_of_a_repr() -> None:
    assert "steps" not in repr(trace(step(A, None)))


def test_a_tree_shows_who_told_of_whom() -> None:
    tree = trace(
        step(A, None, named=2),
        step(B, None, rtt=None, result=StepResult.SILENT),
        step(C, A, result=StepResult.RECORD),
        step(D, A),
    ).tree()
    assert tree.splitlines() == [
        f"Key(000000000000…): {LINE}",
        "├─ 40000000 at 192.0.2.1:1 · 1 bits shared · answered · 100.0 ms · named 2 new",
        "│  ├─ 10000000 at 192.0.2.1:3 · 3 bits shared · record · 100.0 ms · named 0 new",
        "│  └─ 08000000 at 192.0.2.1:4 · 4 bits shared · answered · 100.0 ms · named 0 new",
        "└─ 20000000 at 192.0.2.1:2 · 2 bits shared · silent · - · named 0 new",
    ]


def test_a_tree_of_nothing_is_its_first_line() -> None:
    assert trace().tree() == f"Key(000000000000…): {LINE}"


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([step(A, B)], id="the teller was never asked"),
        pytest.param([step(A, B), step(B, A)], id="each told of the other"),
        pytest.param([step(A, A)], id="it told of itself"),
        pytest.param([step(A, None), step(A, None), step(B, A)], id="asked twice"),
    ],
)
def test_a_tree_loses_no_step(steps: list[Step]) -> None:
    """A person who looks for a fault sees every request, also where the story has a hole."""
    assert len(trace(*steps).tree().splitlines()) == 1 + len(steps)


@given(
    st.lists(
        st.builds(
            step,
            st.integers(0, 5).map(contact),
            st.none() | st.integers(0, 5).map(contact),
        ),
        max_size=8,
    )
)
def test_a_tree_has_one_line_for_each_step_whoever_told(steps: list[Step]) -> None:
    lines = trace(*steps).tree().splitlines()[1:]
    drawn = [int(line.partition(" bits shared")[0].rpartition(" ")[2]) for line in lines]
    assert sorted(drawn) == sorted(port_of(each.contact.address) for each in steps)


def test_a_long_chain_is_drawn() -> None:
    """As deep as a lookup can get, with its cap of 256 nodes asked."""
    chain = [contact(bit) for bit in range(256)]
    steps = [step(asked, told_by) for asked, told_by in zip(chain, [None, *chain], strict=False)]
    assert len(trace(*steps).tree().splitlines()) == 257


# ---- outcomes ----

PUT = PutOutcome(
    key=TARGET,
    version=9,
    stored=(A, B, C),
    refused=(),
    silent=(),
    pending=(),
    quorum=2,
    trace=trace(),
)
GET = GetOutcome(key=TARGET, record=RECORD, agreed=(A, B), stale=(C,), empty=(), trace=trace())


def test_a_put_says_who_stored() -> None:
    assert str(PUT) == f"Key(000000000000…) version 9: stored by 3 (quorum 2; {LINE})"


def test_a_put_says_who_did_not_and_why_each_reason_once() -> None:
    refused = (Refusal(contact=B, reason="full"), Refusal(contact=C, reason="clock"))
    outcome = attrs.evolve(
        PUT, stored=(A,), refused=(*refused, refused[0]), silent=(D,), pending=(D, D)
    )
    assert str(outcome) == (
        "Key(000000000000…) version 9: stored by 1, refused by 3 (clock, full), 1 silent, "
        f"2 pending (quorum 2; {LINE})"
    )


def test_a_get_that_found_a_record_says_its_version_and_size() -> None:
    assert GET.value == b"hello"
    assert str(GET) == (
        f"Key(000000000000…): version 9, 5 bytes; 2 agreed, 1 stale, 0 empty ({LINE})"
    )


def test_an_empty_value_was_found_all_the_same() -> None:
    outcome = attrs.evolve(GET, record=attrs.evolve(RECORD, value=b""))
    assert outcome.value == b""
    assert "version 9, 0 bytes" in str(outcome)


def test_a_get_tells_deleted_from_not_found() -> None:
    nothing = attrs.evolve(GET, record=None, agreed=(), stale=(), empty=(A,))
    assert nothing.value is None
    assert str(nothing) == f"Key(000000000000…): not found; 0 agreed, 0 stale, 1 empty ({LINE})"
    tombstone = attrs.evolve(RECORD, tombstone=True, value=b"")
    deleted = attrs.evolve(nothing, deleted=tombstone)
    assert deleted.value is None
    assert "deleted; " in str(deleted)


def test_a_lookup_says_how_many_it_found() -> None:
    outcome = LookupOutcome(target=TARGET, closest=(A, B), trace=trace())
    assert str(outcome) == f"Key(000000000000…): 2 contacts ({LINE})"


@pytest.mark.parametrize("outcome", [PUT, GET, PUT.trace])
def test_outcomes_are_values(outcome: PutOutcome | GetOutcome | Trace) -> None:
    assert outcome == attrs.evolve(outcome)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(outcome, attrs.fields(type(outcome))[0].name, TARGET)
