"""The code itself is under test: its layers, its purity, its size, and what its tests may do.

The checks are in tests/tidy.py. Each runs over the files here, and each is shown to bite.
"""

from pathlib import Path

import pytest

from tests import tidy

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "dht").rglob("*.py"))
PURE = [
    path
    for path in PACKAGE
    if tidy.part_of(".".join(path.relative_to(ROOT).with_suffix("").parts)) in tidy.PURE
]
PROOFS = sorted((ROOT / "proofs").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def over(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=name_of)


# ------------------------------------------------------------------------------ over every file


@over(PACKAGE)
def test_imports_point_down(path: Path) -> None:
    is_package = path.name == "__init__.py"
    assert not list(tidy.layer_faults(module_of(path), path.read_text(), is_package=is_package))


def test_no_import_circle() -> None:
    modules = {module_of(path): path for path in PACKAGE}
    imports = {
        module: [
            target
            for _, target in tidy.own_imports(
                module, path.read_text(), is_package=path.name == "__init__.py"
            )
            if target in modules and target != module
        ]
        for module, path in modules.items()
    }
    assert not tidy.find_circle(imports)


@over(PACKAGE + PROOFS)
def test_imports_stand_at_the_top(path: Path) -> None:
    assert not list(tidy.lazy_import_faults(path.read_text()))


@over(PURE)
def test_pure_parts_touch_nothing(path: Path) -> None:
    assert not list(tidy.purity_faults(path.read_text()))


@over(PURE)
def test_pure_parts_never_iterate_over_a_set(path: Path) -> None:
    assert not list(tidy.set_order_faults(path.read_text()))


@over(PACKAGE + PROOFS)
def test_files_and_functions_are_short(path: Path) -> None:
    assert not list(tidy.size_faults(name_of(path), path.read_text()))


def test_allowances_are_for_files_that_exist() -> None:
    """An allowance outlives its file easily; then it hides the next one of that name."""
    allowed = [*tidy.LONG_FILES, *(name.split(":")[0] for name in tidy.LONG_FUNCTIONS)]
    assert not [name for name in allowed if not (ROOT / name).is_file()]


@over(TESTS)
def test_tests_do_not_wait_in_real_time(path: Path) -> None:
    assert not list(tidy.sleep_faults(path.read_text()))


@over(TESTS)
def test_tests_use_fakes_and_no_mocks(path: Path) -> None:
    assert not list(tidy.mock_faults(path.read_text()))


@over(TESTS)
def test_tests_can_fail(path: Path) -> None:
    assert not list(tidy.silent_test_faults(path.read_text()))


# ------------------------------------------------------------------------------ each check bites


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("dht.keyspace", "from .wire import codec"),
        ("dht.wire.codec", "from ..core.lookup import Lookup"),
        ("dht.core.engine", "from ..shell.node import Node"),
        ("dht.core.engine", "from ..sim import links"),
        ("dht.core.channel.noise", "from ...sim import links"),
        ("dht.shell.node", "from ..sim.simulator import Simulator"),
        ("dht.shell.node", "def f():\n    from ..lab import plots"),
        ("dht.sim.simulator", "from ..shell import clock"),
        ("dht.core.engine", "from .. import Node"),
        ("dht.core.engine", "import dht"),
        ("dht.core.engine", "import dht.errors"),
        ("dht.cli.main", "from dht import open_node"),
        ("dht.cli.main", "from dht.errors import DHTError"),
        ("dht.newcomer", ""),
    ],
)
def test_an_arrow_that_points_up_is_a_fault(module: str, source: str) -> None:
    assert list(tidy.layer_faults(module, source, is_package=False))


@pytest.mark.parametrize(
    ("module", "is_package", "source"),
    [
        ("dht", True, "from .shell.node import Node as Node\nfrom . import errors"),
        ("dht.core", True, "from .engine import Engine\nfrom ..wire import codec"),
        ("dht.core.channel.noise", False, "from ...errors import DHTError\nimport attrs"),
        ("dht.core.engine", False, "from .. import keyspace\nfrom . import lookup"),
        ("dht.sim.simulator", False, "from ..core.engine import Engine"),
    ],
)
def test_an_arrow_that_points_down_is_none(module: str, is_package: bool, source: str) -> None:
    assert not list(tidy.layer_faults(module, source, is_package=is_package))


def test_a_circle_is_found_and_shown() -> None:
    assert tidy.find_circle({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c", "b"]
    assert tidy.find_circle({"a": ["b", "c"], "b": ["c"], "c": []}) == []


def test_an_import_inside_a_function_needs_a_reason_at_module_level() -> None:
    source = "def f():\n    import rich\n"
    assert list(tidy.lazy_import_faults(source))
    assert list(tidy.lazy_import_faults("# lazy imports: \n" + source))
    assert not list(tidy.lazy_import_faults("# lazy imports: rich is an extra\n" + source))


@pytest.mark.parametrize(
    "source",
    [
        "import trio",
        "import os.path",
        "from time import monotonic",
        "from datetime import datetime",
        "def f():\n    import socket",
        "import random",
        "from random import SystemRandom",
        "from random import randrange",
        "r = Random()",
        "key = X25519PrivateKey.generate()",
        "async def f(): pass",
        "async def f():\n    await g()",
        "open('x')",
        "print('x')",
        "place = hash(key) % 8",
        "order = id(node)",
    ],
)
def test_a_touch_of_the_outer_world_is_a_fault(source: str) -> None:
    assert list(tidy.purity_faults(source))


@pytest.mark.parametrize(
    "source",
    [
        "from random import Random\ndef f(random: Random):\n    return random.randbytes(4)",
        "r = Random(7)",
        "from .. import select",
        "from .time import X",
        "class V:\n    def __hash__(self):\n        return hash(self.x)",
        "channel.open(data)",
        "Identity.generate(random)",
    ],
)
def test_what_is_passed_in_is_none(source: str) -> None:
    assert not list(tidy.purity_faults(source))


@pytest.mark.parametrize(
    "source",
    [
        "for x in {1, 2}: pass",
        "for x in set(y): pass",
        "def f():\n    seen = set()\n    for x in seen: pass",
        "def f(seen: set[bytes]):\n    return list(seen)",
        "def f(seen: frozenset[bytes]):\n    return [x for x in seen]",
        "def f(a: set[int], b):\n    return (*a,)",
        "def f(a: set[int], b):\n    for x in a - b: pass",
        "def f(a: set[int], b):\n    for x in a.union(b): pass",
        "class C:\n    asked: set[int]\n    def f(self):\n        for x in self.asked: pass",
        "class C:\n    def f(self):\n        self.a = set()\n        return self.a.pop()",
    ],
)
def test_an_order_that_hangs_on_hashing_is_a_fault(source: str) -> None:
    assert list(tidy.set_order_faults(source))


@pytest.mark.parametrize(
    "source",
    [
        "def f(seen: set[bytes]):\n    return sorted(seen)",
        "def f(seen: set[bytes], x):\n    return x in seen and len(seen)",
        "def f(seen: set[bytes]):\n    return {x for x in seen}",
        "def f(x: set[int]): pass\ndef g(x: list[int]):\n    return list(x)",
        "def f(stack):\n    return stack.pop()",
    ],
)
def test_a_set_that_is_only_asked_is_none(source: str) -> None:
    assert not list(tidy.set_order_faults(source))


def test_code_lines_leave_out_comments_docstrings_and_blank_lines() -> None:
    source = (
        '"""Doc\nstring."""\n\n# comment\nx = """a\nb"""\n'
        'def f():\n    """Doc."""\n    y(\n        1,\n    )\n'
    )
    assert tidy.code_lines(source) == {5, 6, 7, 9, 10, 11}


def test_a_long_file_and_a_long_function_are_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    long_file = "x = 1\n" * (tidy.FILE_LINES + 1)
    long_function = "def f():\n" + "    x = 1\n" * tidy.FUNCTION_LINES
    assert list(tidy.size_faults("dht/a.py", long_file))
    assert list(tidy.size_faults("dht/a.py", long_function))
    assert not list(tidy.size_faults("dht/a.py", "x = 1\n" * tidy.FILE_LINES))
    monkeypatch.setattr(tidy, "LONG_FILES", {"dht/a.py": "one table"})
    monkeypatch.setattr(tidy, "LONG_FUNCTIONS", {"dht/a.py:f": "one match"})
    assert not list(tidy.size_faults("dht/a.py", long_file))
    assert not list(tidy.size_faults("dht/a.py", long_function))


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.sleep(1)",
        "import trio\nasync def f():\n    await trio.sleep(1)",
        "from trio import sleep",
        "clock = MockClock(autojump_threshold=0)\ntime.sleep(1)",
    ],
)
def test_a_wait_in_real_time_is_a_fault(source: str) -> None:
    assert list(tidy.sleep_faults(source))


def test_a_wait_in_virtual_time_is_none() -> None:
    source = "clock = MockClock(autojump_threshold=0)\nasync def f():\n    await trio.sleep(1)"
    assert not list(tidy.sleep_faults(source))
    assert not list(tidy.sleep_faults("async def f():\n    await trio.sleep_forever()"))


@pytest.mark.parametrize(
    "source",
    [
        "import unittest.mock",
        "from unittest import mock",
        "from unittest.mock import Mock",
        "import mock",
    ],
)
def test_a_mock_is_a_fault(source: str) -> None:
    assert list(tidy.mock_faults(source))


@pytest.mark.parametrize(
    ("body", "silent"),
    [
        ("f()", True),
        ("try:\n        f()\n    except ValueError:\n        pass", True),
        ("assert f()", False),
        ("with pytest.raises(ValueError):\n        f()", False),
        ("check_counters(node)", False),
        ("pair.assert_settled()", False),
        ("def inner():\n        assert f()\n    run(inner)", False),
    ],
)
def test_a_test_without_a_judgement_is_a_fault(body: str, silent: bool) -> None:
    assert bool(list(tidy.silent_test_faults(f"def test_x():\n    {body}\n"))) is silent
