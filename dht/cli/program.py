"""The command ``dht`` itself: its subcommands, its version, its exit status."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import click

from .client import delete, get, lookup, put
from .demo import demo
from .keygen import keygen
from .lab import lab
from .serve import node
from .statuses import ExitStatus, Group
from .topics import add, members, remove


def _version() -> str:
    try:
        return version("dht")
    except PackageNotFoundError:
        return "(run from its sources, not installed)"


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""
dht demo                                  see 64 nodes at work on this machine
dht node --listen 127.0.0.1:4000          run a node; it prints its URI first
export DHT_BOOTSTRAP=dht://...            whom the commands below ask
dht put greeting hello
dht get greeting
dht get greeting --explain                and show the way to it
dht keygen --network network.key          a network for those who have that file
dht lab reproduce --list                  published results, made again
""",
)
@click.version_option(_version(), message="dht %(version)s")
def program() -> None:
    """A distributed hash table: run a node, store and find records, look inside.

    Exit status: 0 done, 1 not found, 2 usage, 3 network unreachable or quorum not reached.
    """


for _command in (node, put, get, delete, add, remove, members, lookup, keygen, demo, lab):
    program.add_command(_command)


def run(arguments: Sequence[str]) -> int:
    """Runs a command line; its exit status. What went wrong was said on stderr, in sentences."""
    try:
        status = program.main(list(arguments), prog_name="dht", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return ExitStatus.INTERRUPTED
    return int(status or 0)
