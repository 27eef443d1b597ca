from pathlib import Path

import pytest

from proofs.defences_page import BEGIN, END, PAGE, table_of, with_table
from proofs.rows_defences import DEFENCES, DEFENCES_MIN, Defence, judge_defences
from proofs.surroundings import ROOT


def test_there_are_as_many_as_are_promised_each_with_a_name_of_its_own() -> None:
    assert len({defence.name for defence in DEFENCES}) == len(DEFENCES) >= DEFENCES_MIN


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda defence: defence.name)
def test_the_table_has_the_lines_of_each_defence_and_its_tests(defence: Defence) -> None:
    assert (ROOT / defence.file).read_text().count(defence.text) == 1
    assert defence.text != defence.without
    assert defence.threat
    assert defence.tests
    for test in defence.tests:
        path, _, name = test.partition("::")
        assert f"def {name.partition('::')[0]}(" in (ROOT / path).read_text()


def test_the_page_about_security_has_the_table_and_nothing_else_of_it() -> None:
    page = PAGE.read_text()
    assert page == with_table(page, table_of(DEFENCES)), "run: python -m proofs.defences_page"


def test_the_page_is_written_around_its_table_and_says_what_a_test_says() -> None:
    defence = Defence(
        name="gate",
        threat="a crowd",
        file="dht/core/gate.py",
        text="closed",
        without="open",
        tests=("tests/core/test_gate.py::test_nobody_comes_in",),
    )
    page = f"before\n{BEGIN}old\n{END}after\n"
    assert with_table(page, table_of([defence])) == (
        f"before\n{BEGIN}| against | where | the test that fails without it |\n|---|---|---|\n"
        "| a crowd | [core/gate.py](../dht/core/gate.py) "
        "| [nobody comes in](../tests/core/test_gate.py) |\n"
        f"{END}after\n"
    )
    with pytest.raises(ValueError, match="not enough"):
        with_table("no marks", "")


def test_taking_one_out_changes_the_copy_and_needs_its_lines(tmp_path: Path) -> None:
    defence = Defence(
        name="gate", threat="a crowd", file="gate.py", text="closed", without="open", tests=("t",)
    )
    gate = tmp_path / "gate.py"
    gate.write_text("gate = 'closed'\n")
    defence.take_out(tmp_path)
    assert gate.read_text() == "gate = 'open'\n"
    with pytest.raises(LookupError, match="0 times"):
        defence.take_out(tmp_path)


def test_one_that_no_test_notices_breaks_the_promise_and_so_do_tests_that_fail_anyway() -> None:
    good = {"name": "one", "sound": True, "noticed": True}
    assert judge_defences([good] * 3).passed
    assert not judge_defences([good, {**good, "noticed": False}]).passed
    assert not judge_defences([good, {**good, "sound": False}]).passed
