"""The class of an exception says who is at fault."""

import inspect
import pickle

import pytest

from dht import errors
from dht.errors import DHTError, LocalError, QuorumNotReached, RemoteError, VersionConflict

CLASSES = [
    each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, Exception)
]


@pytest.mark.parametrize("error", CLASSES)
def test_one_except_clause_catches_everything(error: type[Exception]) -> None:
    assert issubclass(error, DHTError)


@pytest.mark.parametrize("error", CLASSES)
def test_only_a_mistake_of_the_caller_is_a_value_error(error: type[Exception]) -> None:
    assert issubclass(error, ValueError) == issubclass(error, LocalError)


def test_a_peer_is_never_the_caller() -> None:
    assert not issubclass(RemoteError, LocalError)
    assert not issubclass(LocalError, RemoteError)


def test_what_was_not_reached_is_carried() -> None:
    failed = QuorumNotReached("2 of 5", "the outcome", {"key": "another"})
    assert (str(failed), failed.outcome, failed.outcomes) == (
        "2 of 5",
        "the outcome",
        {"key": "another"},
    )
    conflict = VersionConflict("version 3 is held", "the outcome", "the newest")
    assert (str(conflict), conflict.outcome, conflict.newest) == (
        "version 3 is held",
        "the outcome",
        "the newest",
    )


@pytest.mark.parametrize(
    "error",
    [
        QuorumNotReached("1 of 8 stored", "the outcome", {"a": "the outcome"}),
        VersionConflict("expected 1", "the outcome", "the newest"),
    ],
)
def test_an_error_keeps_what_it_carries_from_one_process_to_another(error: DHTError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
