"""``dht node``: one node that runs until it is told to stop."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click
import trio

from ..config import Config
from ..shell.node import Node, open_node
from .options import Opening, json_option, node_options, puzzle_option
from .shapes import event_line, event_shape
from .statuses import Command, ExitStatus, print_json, run_async


@click.command(
    cls=Command,
    epilog="""
dht node --listen 127.0.0.1:4000
dht node --bootstrap dht://...@127.0.0.1:4000
dht node --data-dir ~/.dht --bootstrap seed.example.org:4000
dht node --network-key-file network.key   for those who have that file, and nobody else
dht node --listen 0.0.0.0:4000 --advertise 192.0.2.7:4000 --quiet
dht node --json
""",
)
@click.option(
    "--listen",
    multiple=True,
    default=["0.0.0.0:0"],
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen; port 0 takes a free one. Repeatable.",
)
@click.option(
    "--advertise",
    multiple=True,
    metavar="HOST:PORT",
    help="Where others reach it, if that is somewhere else. Repeatable.",
)
@click.option(
    "--client", is_flag=True, help="Ask, and never serve; else it serves if others reach it."
)
@click.option("-q", "--quiet", is_flag=True, help="Print the URI and nothing else.")
@puzzle_option
@json_option
@node_options(bootstrap_required=False)
def node(
    *,
    listen: tuple[str, ...],
    advertise: tuple[str, ...],
    client: bool,
    quiet: bool,
    as_json: bool,
    how: Opening,
    puzzle_bits: int,
) -> int:
    """Run a node until Ctrl-C.

    Its first line is its URI, by which others join; then comes a line for everything that
    happens. Without --bootstrap it is the first node of a new network.
    """

    async def serve() -> None:
        async with (
            _until_terminated(),
            open_node(
                listen,
                advertise=advertise,
                client=client or None,
                config=Config(id_puzzle_bits=puzzle_bits),
                **how.arguments(),
            ) as running,
        ):
            await _tell(running, joins=bool(how.bootstrap), quiet=quiet, as_json=as_json)

    try:
        run_async(serve)
    except KeyboardInterrupt:
        # Ctrl-C is how it is meant to end.
        return ExitStatus.DONE
    return ExitStatus.DONE


@asynccontextmanager
async def _until_terminated() -> AsyncIterator[None]:
    """Leaves the block at a SIGTERM. Not by way of SIGINT: a shell's background jobs ignore it."""
    token = trio.lowlevel.current_trio_token()
    with trio.CancelScope() as scope:
        previous = signal.signal(signal.SIGTERM, lambda *_: token.run_sync_soon(scope.cancel))
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)


async def _tell(running: Node, *, joins: bool, quiet: bool, as_json: bool) -> None:
    async with running.events() as events:
        stats = running.stats()
        if as_json:
            print_json(
                {
                    "event": "listening",
                    "uri": running.uri,
                    "id": running.id.hex(),
                    "addresses": list(running.addresses),
                    "contacts": stats.contacts,
                }
            )
        else:
            print(running.uri, flush=True)
        if quiet:
            await trio.sleep_forever()
        if joins and not as_json:
            joined = f"joined: {stats.contacts} contacts"
            print(
                joined if stats.contacts else "nobody answered yet; it goes on trying", flush=True
            )
        async for event in events:
            if as_json:
                print_json(event_shape(event))
            else:
                print(event_line(event), flush=True)
