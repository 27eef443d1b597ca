"""The pytest plugin: the fixtures ``dht_network`` and ``dht_networks``, and ``--dht-seed``.

pytest loads it in every session of everybody who has the package. So it does nothing, and loads
nothing, for tests that do not ask for it.
"""

# lazy imports: trio and the engine are loaded for those tests alone that use a fixture
import re
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from random import SystemRandom
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .network import SimulatedNetwork

_SEED_BITS = 32
_FIXTURES = frozenset({"dht_network", "dht_networks"})
_SEED: pytest.StashKey[int] = pytest.StashKey()
_WORKER_SEED = "dht_seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option."""
    parser.getgroup("dht", "simulated networks (dht.testing)").addoption(
        "--dht-seed",
        type=int,
        default=None,
        metavar="N",
        help="what simulated networks draw from; also seeds Hypothesis, unless --hypothesis-seed "
        "is given. A failed test prints the line that repeats it",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """A seed that was asked for is Hypothesis' too, which reads its own option right after."""
    seed = config.getoption("--dht-seed")
    if seed is not None and getattr(config.option, "hypothesis_seed", "absent") is None:
        config.option.hypothesis_seed = str(seed)


def pytest_report_header(config: pytest.Config) -> str:
    """Says the seed, as it is in no other place when nothing fails."""
    return f"dht: --dht-seed={_seed(config)}"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Each process of pytest-xdist draws from the same seed."""
    node.workerinput[_WORKER_SEED] = _seed(node.config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """While a test of ours runs, Hypothesis draws from our seed, so that the replay line repeats
    what it found; all other tests are none of our business."""
    if not _is_ours(item):
        return (yield)
    with _hypothesis_seeded(_seed(item.config)):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test of ours that failed says how to see it again."""
    report = yield
    if report.failed and _is_ours(item):
        line = f"replay: pytest {_quoted(item.nodeid)} --dht-seed={_seed(item.config)}"
        report.sections.append(("dht", line))
    return report


@pytest.fixture
def dht_network(dht_networks: "Callable[..., SimulatedNetwork]") -> "Iterator[SimulatedNetwork]":
    """A ``dht.testing.SimulatedNetwork`` without nodes, out of this session's seed."""
    with dht_networks() as network:
        yield network


@pytest.fixture(scope="session")
def dht_networks(request: pytest.FixtureRequest) -> "Callable[..., SimulatedNetwork]":
    """A factory of networks out of this session's seed, each to be used in a ``with`` block.

    It is for tests with ``@given``, where each example wants a network of its own and a fixture
    like ``dht_network`` would last for all of them.
    """
    from .network import SimulatedNetwork

    seed = _seed(request.config)

    def make(**options: Any) -> SimulatedNetwork:
        return SimulatedNetwork(**{"seed": seed, **options})

    return make


def _seed(config: pytest.Config) -> int:
    """The one that was asked for, or that another process was given, or else one by chance.

    But none by chance for whoever has Hypothesis draw the same examples each time: 0.
    """
    if _SEED not in config.stash:
        given = config.getoption("--dht-seed")
        if given is None:
            given = getattr(config, "workerinput", {}).get(_WORKER_SEED)
        if given is None:
            given = 0 if _is_derandomized() else SystemRandom().getrandbits(_SEED_BITS)
        config.stash[_SEED] = int(given)
    return config.stash[_SEED]


def _quoted(nodeid: str) -> str:
    """For a shell, also where a parameter of the test has a quote or a dollar in it."""
    return '"' + re.sub(r'(["$`\\])', r"\\\1", nodeid) + '"'


def _is_derandomized() -> bool:
    hypothesis = sys.modules.get("hypothesis")
    return hypothesis is not None and bool(hypothesis.settings.default.derandomize)


def _is_ours(item: pytest.Item) -> bool:
    """Does it use a fixture of ours, or is it a state machine of ours?"""
    if not _FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
        return True
    module = sys.modules.get("dht.testing.machine")
    if module is None:
        return False
    # How Hypothesis' own plugin knows of which machine a TestCase is.
    test = getattr(item, "obj", None)
    machine = getattr(test, "_hypothesis_state_machine_class", None)
    return isinstance(machine, type) and issubclass(machine, module.NetworkMachine)


@contextmanager
def _hypothesis_seeded(seed: int) -> Iterator[None]:
    """As ``--hypothesis-seed`` would, for one test; that option, ``@seed`` and ``derandomize`` go
    before. The name is not public: where it is missing, Hypothesis draws as it likes."""
    core = sys.modules.get("hypothesis.core")
    if core is None or getattr(core, "global_force_seed", seed) is not None:
        yield
        return
    vars(core)["global_force_seed"] = seed
    try:
        yield
    finally:
        vars(core)["global_force_seed"] = None
