"""Every promise that has a reduced size holds in it; `make prove ROW=name` runs the full one."""

import pytest

from proofs.__main__ import load_rows
from proofs.machine import Row

REDUCED = [
    pytest.param(row, id=name) for name, row in load_rows().rows.items() if row.reduced is not None
]


@pytest.mark.parametrize("row", REDUCED)
def test_a_promise_holds_in_its_reduced_size(row: Row) -> None:
    verdict = row.run_reduced()
    assert verdict.passed, verdict.sentence
