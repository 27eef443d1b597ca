"""Which histories are allowed, which are not, and how a counterexample reads."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.contacts import contact_at, parse_address
from dht.errors import LocalError
from dht.keyspace import content_key
from dht.records import Kind, value_hash
from dht.sim.checkers import WRITE_MAX_S
from dht.testing import History, HistoryViolated, Operation, Verb, assert_kept, check
from dht.testing.history import LINES_MAX
from dht.testing.strategies import AUTHORS, histories

HOLDERS = tuple(contact_at(bytes([n]) * 32, parse_address(f"10.0.0.{n}:4000")) for n in (1, 2))


class Diary:
    """Writes histories down in few words; each operation takes a second."""

    def __init__(self) -> None:
        self.history = History()
        self.now = 0.0

    def _next(self) -> float:
        self.now += 1.0
        return self.now

    def put(self, value: bytes, version: int | None, *, error: str = "", **fields: Any) -> None:
        begun = Operation(node="alice", verb=Verb.PUT, key="k", value=value, began_at=self._next())
        number = self.history.begin(attrs.evolve(begun, **fields))
        stored = () if error else HOLDERS
        self.history.end(number, self.now + 0.5, version=version, stored=stored, error=error)

    def put_for(self, seconds: float | None) -> None:
        """A write that takes so long, or whose end nobody knows."""
        begun = Operation(node="eve", verb=Verb.PUT, key="k", value=b"slow", began_at=self._next())
        number = self.history.begin(begun)
        if seconds is not None:
            self.history.end(number, self.now + seconds, version=9, stored=HOLDERS)

    def delete(self, version: int) -> None:
        begun = Operation(node="alice", verb=Verb.DELETE, key="k", began_at=self._next())
        number = self.history.begin(begun)
        self.history.end(number, self.now + 0.5, version=version, stored=HOLDERS)

    def get(self, value: bytes | None, version: int | None = None, **fields: Any) -> None:
        begun = Operation(node="bob", verb=Verb.GET, key="k", began_at=self._next())
        number = self.history.begin(attrs.evolve(begun, **fields))
        self.history.end(number, self.now + 0.5, value=value, version=version)

    def fault(self) -> None:
        self.history.fault(self._next(), "links: loss 10%")

    def settle(self) -> None:
        self.history.settled(self._next())


def found(*steps: Callable[[Diary], None]) -> list[str]:
    diary = Diary()
    for step in steps:
        step(diary)
    return [violation.sentence for violation in check(diary.history)]


def put(value: bytes, version: int | None, **fields: Any) -> Callable[[Diary], None]:
    return lambda diary: diary.put(value, version, **fields)


def get(value: bytes | None, version: int | None = None, **more: Any) -> Callable[[Diary], None]:
    return lambda diary: diary.get(value, version, **more)


@given(histories())
def test_a_history_of_what_is_promised_is_allowed(history: History) -> None:
    assert check(history) == ()
    assert_kept(history)


@given(histories(), st.data())
def test_a_value_that_nobody_wrote_is_found_in_any_history(
    history: History, data: st.DataObject
) -> None:
    reads = [
        number
        for number, entry in enumerate(history.entries)
        if isinstance(entry, Operation) and entry.verb is Verb.GET
    ]
    if reads:
        number = data.draw(st.sampled_from(reads))
        wrong = history.entries[number]
        assert isinstance(wrong, Operation)
        history.entries[number] = attrs.evolve(wrong, value=b"never", version=1)
        assert {each.operation.value for each in check(history)} == {b"never"}


def test_what_was_written_may_be_read_during_faults_and_so_may_nothing_at_all() -> None:
    one, two = put(b"1", 1), put(b"2", 2)
    assert found(Diary.fault, one, two, get(b"1", 1), get(None), get(b"2", 2)) == []


def test_a_value_of_another_key_was_never_written_here() -> None:
    [sentence] = found(put(b"1", 1), get(b"1", 1, key="other"))
    assert "which nobody ever wrote" in sentence


def test_a_version_above_the_one_that_its_writer_was_told_is_none_of_its() -> None:
    [sentence] = found(put(b"1", 1), get(b"1", 2))
    assert "as version 2" in sentence


def test_a_value_that_was_written_twice_may_be_read_under_either_version() -> None:
    assert found(put(b"1", 1), put(b"1", 2), get(b"1", 2), get(b"1", 1)) == []
    assert len(found(put(b"1", 1), put(b"1", 2), get(b"1", 3))) == 1


def test_clocks_that_are_far_off_stamp_anew() -> None:
    skew = 13 * 3600.0
    near = found(lambda d: d.history.skewed(0, 5, "clock"), put(b"1", 1), get(b"1", 2))
    far = found(lambda d: d.history.skewed(0, skew, "clock"), put(b"1", 1), get(b"1", 2))
    assert (len(near), len(far)) == (1, 0)


def test_a_record_is_gone_after_its_time() -> None:
    def wait(diary: Diary) -> None:
        diary.now += 1000

    [sentence] = found(put(b"1", 1, ttl_s=10.0), get(b"1", 1), wait, get(b"1", 1))
    assert "which was over by" in sentence


def test_versions_grow_while_nothing_has_gone_wrong() -> None:
    [sentence] = found(put(b"1", 5), put(b"2", 5))
    assert "is not above it" in sentence
    assert found(Diary.fault, put(b"1", 5), put(b"2", 5)) == []


def test_what_was_acknowledged_must_be_there_when_all_has_settled() -> None:
    [sentence] = found(put(b"1", 1), Diary.settle, get(None))
    assert "found nothing at 'k'" in sentence
    [sentence] = found(put(b"1", 1), put(b"2", 2), Diary.settle, get(b"1", 1))
    assert "is newer" in sentence


@pytest.mark.parametrize(
    "excuse",
    [
        # Something goes wrong again, or somebody writes.
        [put(b"1", 1), Diary.settle, Diary.fault],
        [put(b"1", 1), Diary.settle, put(b"2", 2)],
        # Somebody writes all the while, and perhaps deletes.
        [put(b"1", 1), lambda diary: diary.put_for(3.0), Diary.settle],
        [put(b"1", 1), lambda diary: diary.put_for(None), Diary.settle],
        # It was never acknowledged, or it was deleted.
        [put(b"1", None, error="QuorumNotReached"), Diary.settle],
        [put(b"1", 1), lambda diary: diary.delete(2), Diary.settle],
        # It was placed for searches, which may miss it.
        [put(b"1", 1, searched=True), Diary.settle],
    ],
)
def test_nothing_is_demanded_where_there_is_an_excuse(
    excuse: list[Callable[[Diary], None]],
) -> None:
    assert found(*excuse, get(None)) == []


def test_a_write_whose_end_nobody_knows_is_no_excuse_for_ever() -> None:
    def wait(diary: Diary) -> None:
        diary.now += WRITE_MAX_S

    steps = [put(b"1", 1), lambda diary: diary.put_for(None), wait, Diary.settle, get(None)]
    [sentence] = found(*steps)
    assert "found nothing at 'k'" in sentence


def test_what_happens_at_the_moment_in_which_a_read_has_ended_does_not_excuse_it() -> None:
    """As between two calls of ``run``, where time stands still."""
    crash: Callable[[Diary], None] = lambda diary: diary.history.lost(  # noqa: E731
        diary.now + 0.5, HOLDERS[0].id, "crash"
    )
    assert len(found(put(b"1", 1), Diary.settle, get(None), crash)) == 1
    assert found(put(b"1", 1), Diary.settle, crash, get(None)) == []


def test_a_search_may_miss_what_is_there() -> None:
    assert found(put(b"1", 1), Diary.settle, get(None, searched=True)) == []


def test_what_all_who_stored_it_have_lost_is_not_demanded() -> None:
    def lose(number: int) -> Callable[[Diary], None]:
        return lambda diary: diary.history.lost(diary.now, HOLDERS[number].id, "crash")

    assert len(found(put(b"1", 1), lose(0), Diary.settle, get(None))) == 1
    assert found(put(b"1", 1), lose(0), lose(1), Diary.settle, get(None)) == []
    # What they lost before it was written was something else.
    assert len(found(lose(0), lose(1), put(b"1", 1), Diary.settle, get(None))) == 1


def test_kinds_and_authors_have_keys_of_their_own() -> None:
    author, other = (each.id for each in AUTHORS[:2])
    signed: dict[str, Any] = {"kind": Kind.SIGNED, "author": author}
    assert found(put(b"1", 1, **signed), get(b"1", 1, **signed)) == []
    assert len(found(put(b"1", 1, **signed), get(b"1", 1))) == 1
    assert len(found(put(b"1", 1, **signed), get(b"1", 1, **{**signed, "author": other}))) == 1
    content: dict[str, Any] = {"kind": Kind.CONTENT, "key": content_key(value_hash(b"1"))}
    assert found(put(b"1", 1, **content), get(b"1", None, **content)) == []


def test_an_acknowledgement_without_anybody_who_stored_it_is_none() -> None:
    def put_by_nobody(diary: Diary) -> None:
        begun = Operation(node="a", verb=Verb.PUT, key="k", value=b"", began_at=diary.now)
        diary.history.end(diary.history.begin(begun), diary.now, version=1)

    [sentence] = found(put_by_nobody)
    assert "nobody stored it" in sentence


def test_a_history_by_hand_may_name_verbs_as_text_and_must_give_versions() -> None:
    history = History()
    begun = Operation(node="a", verb="get", key="k", began_at=0.0)
    read = history.begin(begun)
    history.end(read, 1.0)
    assert (begun.verb, check(history)) == (Verb.GET, ())
    history.end(read, 1.0, value=b"never")
    with pytest.raises(LocalError, match=r"has a version: .* of a: get → b'never' after"):
        check(history)
    with pytest.raises(ValueError, match="'got'"):
        attrs.evolve(begun, verb="got")


def test_a_counterexample_tells_the_story_of_its_key() -> None:
    diary = Diary()
    diary.put(b"first", 1)
    diary.put(b"elsewhere", 7, key="other")
    diary.fault()
    diary.put(b"second", None, error="QuorumNotReached")
    diary.history.begin(Operation(node="eve", verb=Verb.DELETE, key="k", began_at=4.5))
    diary.get(b"first", 1)
    diary.get(None)
    diary.get(b"x" * 100, 2)
    diary.get(b"later", 9)
    first, _ = check(diary.history)
    assert str(first).splitlines() == [
        f"at 7.500 s: bob read {b'x' * 32!r}… (100 bytes) as version 2, which nobody ever wrote",
        "         1.000 s  write 0, alice: put b'first' → acknowledged, version 1 after 0.50 s",
        "         3.000 s  --- links: loss 10%",
        "         4.000 s  write 2, alice: put b'second' → QuorumNotReached after 0.50 s",
        "         4.500 s  write 3, eve: delete → nobody knows",
        "         5.000 s  bob: get → b'first', version 1 after 0.50 s",
        "         6.000 s  bob: get → nothing after 0.50 s",
        f"  >      7.000 s  bob: get → {b'x' * 32!r}… (100 bytes), version 2 after 0.50 s",
    ]


def test_a_long_story_is_cut_in_the_middle() -> None:
    diary = Diary()
    for number in range(100):
        diary.put(b"%d" % number, number + 1)
    diary.get(b"never", 1)
    [violation] = check(diary.history)
    assert len(violation.timeline) == LINES_MAX + 1
    assert "1.000 s" in violation.timeline[0]
    assert violation.timeline[1].strip() == "… 77 lines left out"
    assert violation.timeline[-1].startswith("  >")


def test_violations_are_an_error_that_shows_all_of_them() -> None:
    diary = Diary()
    diary.get(b"never", 1)
    diary.get(b"ever", 1)
    with pytest.raises(HistoryViolated, match=r"(?s)b'never'.*b'ever'"):
        assert_kept(diary.history)
