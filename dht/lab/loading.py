"""From the name of a scenario to its code, which brings numpy with it.

The code is the function ``reproduce`` of the file in ``reproduce/`` that is named after it.
"""

# lazy imports: for types alone, as what a scenario returns needs numpy
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from ..errors import LocalError
from .catalogue import Progress, Scenario

if TYPE_CHECKING:
    from .findings import Reproduction

#: (effort, seed, progress): effort 1.0 is full, and less of it draws fewer samples.
Reproduce = Callable[[float, int, Progress], "Reproduction"]


def load(scenario: Scenario) -> Reproduce:
    """Its code. Raises ``LocalError`` where numpy is not installed."""
    try:
        function: Reproduce = import_module(f".reproduce.{scenario.module}", __package__).reproduce
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "numpy":
            raise
        raise LocalError("the laboratory needs numpy: pip install 'dht[lab]'") from None
    return function
