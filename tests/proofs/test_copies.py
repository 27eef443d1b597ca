import os

import pytest

from proofs.copies import in_a_copy


def test_what_is_tried_in_a_copy_is_told_and_leaves_nothing() -> None:
    here = [1]

    def attempt() -> dict[str, object]:
        here.append(2)
        return {"list": here, "elsewhere": os.getpid() != me}

    me = os.getpid()
    assert in_a_copy(attempt) == {"list": [1, 2], "elsewhere": True}
    assert here == [1]


def test_more_than_a_pipe_holds_comes_back() -> None:
    assert in_a_copy(lambda: "x" * 1_000_000) == "x" * 1_000_000


def test_what_fails_there_is_an_error_here(capfd: pytest.CaptureFixture[str]) -> None:
    def attempt() -> None:
        raise ValueError("there is none")

    with pytest.raises(ChildProcessError, match="status"):
        in_a_copy(attempt)
    assert "there is none" in capfd.readouterr().err


def test_what_is_no_json_is_an_error_here(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ChildProcessError):
        in_a_copy(lambda: {1, 2})
    assert "not JSON serializable" in capfd.readouterr().err
