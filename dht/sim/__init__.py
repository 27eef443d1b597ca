"""The same engine in virtual time: whole networks in one process, the same run from one seed.

Read ``simulator`` first (nodes), then ``world`` (time) and ``links`` (the network between them);
``faults``, ``checkers`` and ``scenario`` draw what goes wrong, say what must not, and run both.
"""

from .checkers import History as History
from .checkers import Write as Write
from .churn import Alternation as Alternation
from .churn import Churn as Churn
from .faults import Scenario as Scenario
from .faults import draw_scenario as draw_scenario
from .links import WIDE_AREA as WIDE_AREA
from .links import LinkModel as LinkModel
from .links import Links as Links
from .nat import Nat as Nat
from .nat import NatKind as NatKind
from .scenario import ScenarioReport as ScenarioReport
from .scenario import play_scenario as play_scenario
from .scenario import run_scenario as run_scenario
from .simulator import SimNode as SimNode
from .simulator import Simulator as Simulator
from .world import Machine as Machine
from .world import Member as Member
from .world import Traffic as Traffic
from .world import World as World
