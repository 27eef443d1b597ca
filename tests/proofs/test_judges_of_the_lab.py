"""A reproduction that asserts nothing, or misses what it asserts, keeps no promise."""

import pytest

from proofs.rows_lab_static import judge_reproduction


@pytest.mark.parametrize(
    ("asserted", "missed", "passed"),
    [(3, [], True), (3, [("x", "y")], False), (0, [], False)],
)
def test_some_findings_are_asserted_and_none_of_them_is_missed(
    asserted: int, missed: list[tuple[str, ...]], *, passed: bool
) -> None:
    verdict = judge_reproduction([{"findings": [], "asserted": asserted, "missed": missed}])
    assert verdict.passed is passed
