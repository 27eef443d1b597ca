"""``dht lab``: the laboratory. Its commands are loaded when they are named, and not before."""

# lazy imports: a command of the laboratory is loaded only when somebody calls it
from collections.abc import Callable, Mapping

import click

from .statuses import Group


def _reproduce() -> click.Command:
    from .lab_reproduce import reproduce

    return reproduce


def _run() -> click.Command:
    from .lab_run import run

    return run


def _compare() -> click.Command:
    from .lab_compare import compare

    return compare


#: By name: what loads the command.
_COMMANDS: Mapping[str, Callable[[], click.Command]] = {
    "compare": _compare,
    "reproduce": _reproduce,
    "run": _run,
}


class LazyGroup(Group):
    """A group that knows the names of its commands, and loads one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in order."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, loaded; None if there is no such."""
        load = _COMMANDS.get(cmd_name)
        return None if load is None else load()


@click.group(
    cls=LazyGroup,
    epilog="""
dht lab run
dht lab run --sweep overlay=kademlia,flood,walk --sweep nodes=64,256 --out results
dht lab compare --out comparison
dht lab reproduce --list
dht lab reproduce gummadi2003
dht lab reproduce chord2001 lv2002 --out results
""",
)
def lab() -> None:
    """Experiments with lookups: networks of one's own, overlays side by side, published results."""
