import attrs
import pytest

from dht.contacts import contact_at, pack_address
from dht.core.arguments import DEFAULT_TTL_S
from dht.core.events import OperationFinished, OperationId
from dht.core.outcomes import PutOutcome, Trace
from dht.errors import DHTError, NoPeers, QuorumNotReached
from dht.keyspace import Key
from dht.records import Kind, Record, Slot
from dht.sim.checkers import EXPIRY_GRACE_S, WRITE_MAX_S, History, Write

KEY = Key(0b1010)
SLOT = (Kind.PLAIN, KEY, b"")
HOLDER = contact_at(bytes(32), pack_address("192.0.2.1", 4000))
TRACE = Trace(
    target=KEY, hops=0, messages=1, nodes=1, duplicates=0, elapsed=0.1, steps=(), stopped="done"
)


def outcome(version: int) -> PutOutcome:
    return PutOutcome(
        key=KEY,
        version=version,
        stored=(HOLDER,),
        refused=(),
        silent=(),
        pending=(),
        quorum=1,
        trace=TRACE,
    )


def finished(version: int) -> OperationFinished:
    return OperationFinished(OperationId(1), outcome(version))


def failed(error: DHTError) -> OperationFinished:
    return OperationFinished(OperationId(1), error=error)


def record(value: bytes, version: int, *, kind: Kind = Kind.PLAIN, key: Key = KEY) -> Record:
    return Record(kind=kind, key=key, version=version, written_at_ms=0, ttl_ms=60_000, value=value)


@attrs.define
class Told:
    """A history of writes to one key, a second each, told in few words."""

    history: History = attrs.field(factory=History)
    now: float = 0.0

    def write(
        self,
        value: bytes | None,
        version: int | None,
        *,
        error: DHTError | None = None,
        ttl_s: float = 1000.0,
        slot: Slot = SLOT,
        calm: bool = False,
    ) -> Write:
        write = self.history.begin_write(self.now, slot, value, ttl_s=ttl_s)
        self.now += 1
        if error is not None:
            self.history.end_write(self.now, write, failed(error), calm=calm)
        elif version is not None:
            self.history.end_write(self.now, write, finished(version), calm=calm)
        return write

    def read(self, got: Record | None, *, at: float | None = None) -> list[str]:
        return self._judge(self.history.check_read, got, at)

    def settled(
        self, got: Record | None, *, at: float | None = None, lost: tuple[int, ...] = ()
    ) -> list[str]:
        self.history.violations.clear()
        when = self.now if at is None else at
        self.history.check_settled(
            when, SLOT, got, reader="node 7", lost=lambda write: write.version in lost
        )
        return self.history.violations

    def _judge(self, check: object, got: Record | None, at: float | None) -> list[str]:
        assert callable(check)
        self.history.violations.clear()
        check(self.now if at is None else at, SLOT, got, reader="node 7")
        return self.history.violations


# ------------------------------------------------------------------------------- at every read


def test_nothing_is_always_an_honest_answer_during_faults() -> None:
    told = Told()
    told.write(b"a", 5)
    assert told.read(None) == []


def test_what_was_written_may_be_read_acknowledged_or_not() -> None:
    told = Told()
    told.write(b"a", 5)
    told.write(b"b", None)
    told.write(b"c", None, error=QuorumNotReached("too few", outcome(7)))
    told.write(b"d", None, error=NoPeers("nobody"))
    assert told.read(record(b"a", 5)) == []
    assert told.read(record(b"a", 4)) == [], "stamped before it met a newer version"
    assert told.read(record(b"b", 99)) == []
    assert told.read(record(b"c", 7)) == []
    assert told.read(record(b"d", 3)) == []


@pytest.mark.parametrize(
    ("got", "sentence"),
    [
        (record(b"z", 5), "nobody ever wrote"),
        (record(b"a", 6), "as version 6"),
        (record(b"a", 5, key=Key(3)), "asked for PLAIN"),
        (record(b"a", 5, kind=Kind.CONTENT), "asked for PLAIN"),
        (attrs.evolve(record(b"a", 5), tombstone=True), "nobody ever wrote"),
    ],
)
def test_anything_else_is_a_violation_that_names_the_reader(got: Record, sentence: str) -> None:
    told = Told()
    told.write(b"a", 5)
    (violation,) = told.read(got)
    assert sentence in violation
    assert violation.startswith("at 1.000 s: node 7 ")


def test_a_value_of_another_key_was_never_written_here() -> None:
    told = Told()
    told.write(b"a", 5, slot=(Kind.PLAIN, Key(1), b""))
    assert told.read(record(b"a", 5))


def test_a_record_past_its_end_is_a_violation_after_the_grace() -> None:
    told = Told()
    told.write(b"a", 5, ttl_s=100)  # ends at 1 s
    assert told.read(record(b"a", 5), at=101 + EXPIRY_GRACE_S) == []
    assert told.read(record(b"a", 5), at=102 + EXPIRY_GRACE_S)


def test_a_write_that_never_ended_may_have_been_under_way_for_long() -> None:
    told = Told()
    told.write(b"a", None, ttl_s=100)
    last = WRITE_MAX_S + 100 + EXPIRY_GRACE_S
    assert told.read(record(b"a", 5), at=last) == []
    assert told.read(record(b"a", 5), at=last + 1)


def test_a_content_record_may_come_under_any_version() -> None:
    history = History()
    slot = (Kind.CONTENT, KEY, b"")
    write = history.begin_write(0, slot, b"a")
    history.end_write(1, write, finished(5))
    history.check_settled(2, slot, record(b"a", 3, kind=Kind.CONTENT), reader="node 7")
    assert history.violations == []


# -------------------------------------------------------------------------- when all is settled


def test_the_newest_acknowledged_version_is_read_in_the_end() -> None:
    told = Told()
    told.write(b"new", 9)
    told.write(b"old", 5)  # acknowledged later by a clock that is behind: still older
    assert told.settled(record(b"new", 9)) == []
    (violation,) = told.settled(record(b"old", 5))
    assert "read version 5" in violation
    (violation,) = told.settled(None)
    assert "found nothing" in violation


def test_a_newer_write_that_failed_may_win() -> None:
    told = Told()
    told.write(b"a", 5)
    told.write(b"b", None, error=QuorumNotReached("too few", outcome(6)))
    assert told.settled(record(b"a", 5)) == []
    assert told.settled(record(b"b", 6)) == []
    assert told.settled(None)


def test_what_was_deleted_stays_deleted() -> None:
    told = Told()
    told.write(b"a", 5)
    told.write(None, 6)
    assert told.settled(None) == []
    assert told.settled(record(b"a", 5))


def test_a_value_and_a_delete_of_one_version_are_a_delete() -> None:
    told = Told()
    told.write(b"a", 5)
    told.write(None, 5)
    assert told.settled(None) == []
    assert told.settled(record(b"a", 5))


def test_a_delete_that_failed_may_have_deleted() -> None:
    told = Told()
    told.write(b"a", 5)
    told.write(None, None)
    assert told.settled(None) == []
    assert told.settled(record(b"a", 5)) == []


def test_where_clocks_are_days_off_a_write_may_come_under_its_other_stamp() -> None:
    told = Told(History(restamps=True))
    told.write(None, 3)
    told.write(b"a", 5)
    assert told.read(record(b"a", 500)) == []
    assert told.settled(None) == []
    assert told.settled(record(b"a", 4)), "but never an older one in the end"


def test_an_older_delete_that_failed_is_no_excuse() -> None:
    told = Told()
    told.write(None, None, error=QuorumNotReached("too few", outcome(4)))
    told.write(b"a", 5)
    assert told.settled(None)


def test_what_has_ended_need_not_be_there_and_what_was_lost_cannot() -> None:
    told = Told()
    told.write(b"a", 5, ttl_s=100)
    assert told.settled(None, at=99)
    assert told.settled(None, at=101) == []
    assert told.settled(None, at=99, lost=(5,)) == []


def test_where_the_newest_was_lost_the_one_before_is_demanded() -> None:
    told = Told()
    told.write(b"a", 5)
    told.write(b"b", 6)
    assert told.settled(record(b"a", 5))
    assert told.settled(record(b"a", 5), lost=(6,)) == []
    assert told.settled(None, lost=(6,))
    assert told.settled(None, lost=(5, 6)) == []


def test_of_a_key_without_an_acknowledged_write_nothing_is_demanded() -> None:
    told = Told()
    told.write(b"a", None)
    assert told.settled(None) == []
    assert told.settled(record(b"a", 5)) == []


def test_a_newer_record_that_has_ended_does_not_hide_an_older_one_that_lives_on() -> None:
    told = Told()
    told.write(b"old", 5, ttl_s=1000)
    told.write(b"new", 6, ttl_s=10)
    assert told.settled(record(b"old", 5), at=10)
    assert told.settled(record(b"old", 5), at=20) == []
    assert told.settled(None, at=20) == [], "nor is the older one demanded"


@pytest.mark.parametrize("kind", list(Kind))
def test_a_record_without_a_ttl_of_its_own_is_demanded_for_a_day(kind: Kind) -> None:
    history, slot = History(), (kind, KEY, b"")
    write = history.begin_write(0, slot, b"a")
    history.end_write(1, write, finished(5))
    history.check_settled(DEFAULT_TTL_S - 1, slot, None, reader="node 7")
    assert len(history.violations) == 1
    history.check_settled(DEFAULT_TTL_S, slot, None, reader="node 7")
    assert len(history.violations) == 1


# ------------------------------------------------------------------------------------- writing


def test_an_acknowledgement_that_nobody_stands_behind_is_a_violation() -> None:
    history = History()
    write = history.begin_write(0, SLOT, b"a")
    nobody = attrs.evolve(outcome(5), stored=())
    history.end_write(1, write, OperationFinished(OperationId(1), nobody))
    assert "nobody stored it" in history.violations[0]


def test_a_write_ends_once() -> None:
    told = Told()
    write = told.write(b"a", 5)
    told.history.end_write(2, write, finished(5))
    assert "ended twice" in told.history.violations[0]


def test_in_a_calm_network_each_acknowledged_version_is_above_those_before() -> None:
    told = Told()
    told.write(b"a", 5, calm=True)
    told.write(b"b", 6, calm=True)
    assert told.history.violations == []
    told.write(b"c", 6, calm=True)
    assert "is not above it" in told.history.violations[0]


def test_writes_that_overlap_may_have_any_order() -> None:
    history = History()
    first = history.begin_write(0, SLOT, b"a")
    second = history.begin_write(0, SLOT, b"b")
    history.end_write(1, first, finished(6), calm=True)
    history.end_write(1, second, finished(5), calm=True)
    assert history.violations == []
