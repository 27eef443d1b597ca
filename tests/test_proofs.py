"""Every promise that has a reduced size holds in it; `make prove ROW=name` runs the full one."""

import pytest

from proofs.__main__ import load_rows
from proofs.machine import Row

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

REDUCED = {name: row for name, row in load_rows().rows.items() if row.reduced is not None}

WHOLE = [
    pytest.param(row, id=name)
    for name, row in REDUCED.items()
    if row.reduced is not None and not row.reduced.each_alone
]
PIECES = [
    pytest.param(row, piece, id=f"{name}-{piece}")
    for name, row in REDUCED.items()
    if row.reduced is not None and row.reduced.each_alone
    for piece in range(row.reduced.pieces)
]


@pytest.mark.parametrize("row", WHOLE)
def test_a_promise_holds_in_its_reduced_size(row: Row) -> None:
    verdict = row.run_reduced()
    assert verdict.passed, verdict.sentence


@pytest.mark.parametrize(("row", "piece"), PIECES)
def test_a_promise_holds_in_each_piece_of_its_reduced_size(row: Row, piece: int) -> None:
    verdict = row.run_reduced_piece(piece)
    assert verdict.passed, verdict.sentence
