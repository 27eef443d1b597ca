"""The pytest plugin, as pytest runs it: each test here starts one of its own."""

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from dht.testing.plugin import _quoted

ROOT = Path(__file__).parents[2]

FAILING = """
def test_plain(dht_network):
    node = dht_network.run(dht_network.add_node)
    assert dht_network.seed == "a number"

def test_within(dht_network):
    async def fail():
        raise ValueError("within")
    dht_network.run(fail)

def test_other():
    assert False
"""

DRAWN = """
from hypothesis import given, settings, strategies as st

@settings(database=None, deadline=None)
@given(st.integers())
def test_drawn(dht_networks, number):
    with dht_networks() as network:
        print("drew", network.seed, number)

@settings(database=None)
@given(st.integers())
def test_foreign(number):
    print("foreign", number)
"""


def run_pytest(folder: Path, source: str, *arguments: str) -> str:
    (folder / "test_it.py").write_text(source)
    # Nothing else of the environment: a variable like CI has Hypothesis repeat itself.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-s", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_plugin_is_announced_to_pytest() -> None:
    [found] = entry_points(group="pytest11", name="dht")
    assert found.value == "dht.testing.plugin"


def test_a_failed_test_says_how_to_see_it_again_and_that_line_does(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, FAILING)
    [seed] = re.findall(r"^dht: --dht-seed=(\d+)$", said, re.MULTILINE)
    assert re.findall("replay: .*", said) == [
        f'replay: pytest "test_it.py::{name}" --dht-seed={seed}'
        for name in ("test_plain", "test_within")
    ]
    assert "ValueError: within" in said
    assert "GuestRun" not in said, "how it is run is of no interest"
    again = run_pytest(tmp_path, FAILING, "test_it.py::test_plain", f"--dht-seed={seed}")
    assert f"assert {seed} == 'a number'" in said
    assert f"assert {seed} == 'a number'" in again
    assert "1 failed" in again


@pytest.mark.parametrize("nodeid", ["t.py::test[a b]", "t.py::test[$HOME `x` \\ \"y\" 'z']"])
def test_the_line_that_replays_is_one_for_a_shell(nodeid: str) -> None:
    line = f"printf %s {_quoted(nodeid)}"
    assert subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout == (
        nodeid.encode()
    )


def test_a_seed_repeats_what_hypothesis_drew_for_tests_of_networks(tmp_path: Path) -> None:
    first = run_pytest(tmp_path, DRAWN)
    [seed] = re.findall(r"--dht-seed=(\d+)", first)
    again = run_pytest(tmp_path, DRAWN, f"--dht-seed={seed}")
    drew, foreign = (re.findall(f"{word} .*", first) for word in ("drew", "foreign"))
    assert len(drew) > 10
    assert drew == re.findall("drew .*", again)
    # Without the option other tests draw as if this plugin were not there, with it from the seed.
    assert foreign != re.findall("foreign .*", again)
    assert again.count("foreign") == run_pytest(tmp_path, DRAWN, f"--dht-seed={seed}").count(
        "foreign"
    )


def test_the_seed_of_hypothesis_goes_before_ours(tmp_path: Path) -> None:
    one = run_pytest(tmp_path, DRAWN, "--dht-seed=1", "--hypothesis-seed=7")
    two = run_pytest(tmp_path, DRAWN, "--dht-seed=2", "--hypothesis-seed=7")
    numbers = [re.findall(r"drew \d+ (.*)", said) for said in (one, two)]
    assert numbers[0] == numbers[1]


def test_who_has_hypothesis_repeat_itself_gets_the_same_networks_too(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "from hypothesis import settings\n"
        "settings.register_profile('same', derandomize=True)\n"
        "settings.load_profile('same')\n"
    )
    assert "dht: --dht-seed=0\n" in run_pytest(tmp_path, DRAWN)


def test_all_processes_of_a_session_have_one_seed(tmp_path: Path) -> None:
    source = (
        "import pytest\n@pytest.mark.parametrize('n', range(4))\n"
        "def test_n(dht_network, n):\n    assert dht_network.seed < 0\n"
    )
    said = run_pytest(tmp_path, source, "-n", "2")
    [seed] = set(re.findall(r"--dht-seed=(\d+)", said))
    assert "4 failed" in said
    assert set(re.findall(r"assert (\d+) < 0", said)) == {seed}


MACHINE = """
from hypothesis import Phase, settings, strategies as st
from hypothesis.stateful import rule
from dht.testing import NetworkMachine

class Failing(NetworkMachine):
    nodes = 2

    @rule(number=st.integers())
    def fail(self, number):
        assert number is None

TestFailing = Failing.TestCase
TestFailing.settings = settings(
    deadline=None, database=None, stateful_step_count=5, phases=[Phase.generate]
)
"""


def test_a_failed_machine_says_how_to_see_it_again(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, MACHINE)
    [line] = re.findall(r'replay: pytest "(.*)" (--dht-seed=\d+)', said)
    again = run_pytest(tmp_path, MACHINE, *line)
    steps = [re.findall(r"state\.\w+\(.*\)", text) for text in (said, again)]
    assert any("fail(" in step for step in steps[0])
    assert steps[0] == steps[1]


def test_who_does_not_use_it_does_not_load_it(tmp_path: Path) -> None:
    source = (
        "import sys\ndef test_it():\n"
        "    print({'trio', 'dht.testing.network', 'dht.core.engine'} & set(sys.modules))\n"
    )
    assert "set()" in run_pytest(tmp_path, source)


@pytest.mark.parametrize("module", ["strategies", "machine"])
def test_without_the_extra_a_sentence_says_what_to_install(module: str) -> None:
    # Nothing else of the environment: a variable like CI has Hypothesis repeat itself.
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.modules['hypothesis'] = None; import dht.testing.{module}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "needs hypothesis: pip install 'dht[testing]'" in done.stderr


def test_what_is_missing_besides_the_extra_stays_as_it_is() -> None:
    from dht.testing.extra import missing_extra

    error = ModuleNotFoundError("no module", name="elsewhere")
    assert missing_extra(error) is error


def test_the_names_of_the_package_are_there_and_no_others() -> None:
    import dht.testing

    assert all(getattr(dht.testing, name) for name in dht.testing.__all__)
    assert set(dht.testing.__all__) <= set(dir(dht.testing))
    with pytest.raises(AttributeError, match="no attribute 'SimulatedNetwrok'"):
        _ = dht.testing.SimulatedNetwrok  # type: ignore[attr-defined]
