"""``put``, ``get``, ``delete`` and ``lookup``: one question to a network that runs elsewhere.

Each opens a client node, which asks and never serves, and closes it again.
"""

import sys
from collections.abc import Awaitable, Callable
from math import inf
from pathlib import Path
from typing import BinaryIO, TypeVar

import click
import trio

from ..author import AuthorId
from ..config import Config
from ..contacts import HostName, Introducer, is_ipv6, parse_address
from ..core.outcomes import GetOutcome, PutOutcome
from ..core.running import NOBODY_ANSWERED
from ..errors import LocalError, NoPeers, ValueTooLarge
from ..keyspace import Key
from ..shell.author import Author
from ..shell.node import Node, open_node
from ..shell.udp import UdpPort
from .options import Opening, author_option, duration, json_option, node_options, reader
from .shapes import get_shape, lookup_shape, places, put_shape, value_shape
from .statuses import Command, ExitStatus, complain, print_json, run_async, shown_if_slow

_T = TypeVar("_T")

#: Seconds for reaching anybody at all: a silent contact takes 2 s (two tries), and a long list of
#: silent ones must not keep a script waiting for more than ten.
JOIN_MAX_S = 8.0
VALUE_SIZE_MAX = Config().value_size_max


def ask(how: Opening, what: str, question: Callable[[Node], Awaitable[_T]]) -> _T:
    """The answer of a client node, opened for this one question. Raises what the package does."""

    async def open_and_ask() -> _T:
        with trio.move_on_after(JOIN_MAX_S) as patience:
            listen = _listen_for(how.bootstrap)
            async with open_node(listen, client=True, **how.arguments()) as node:
                patience.deadline = inf  # from here on each request has a limit of its own
                return await question(node)
        raise NoPeers(
            f"no answer within {JOIN_MAX_S:.0f} s; tried {places(how.bootstrap)}: {NOBODY_ANSWERED}"
        )

    with shown_if_slow(what):
        return run_async(open_and_ask)


def _listen_for(bootstrap: tuple[Introducer, ...]) -> list[str]:
    """A free port for each family of addresses that there is somebody to speak to in."""
    families = {is_ipv6(each.address) for each in bootstrap if not isinstance(each, HostName)}
    if any(isinstance(each, HostName) for each in bootstrap):  # it may have addresses of both
        families.update({False, True} if _speaks_ipv6() else {False})
    return [_ANY[six] for six in sorted(families)]


_ANY = {False: "0.0.0.0:0", True: "[::]:0"}


def _speaks_ipv6() -> bool:
    try:
        UdpPort.bind([parse_address(_ANY[True])]).close()
    except LocalError:
        return False
    return True


# ------------------------------------------------------------------------------------------- put


@click.command(
    cls=Command,
    epilog="""
dht put greeting hello
dht put picture --file picture.png --ttl 2h
date | dht put now -
dht put greeting hello --if-version 0     only if there is none
dht put greeting hello --author me.key    nobody else can change it
dht put --content --file book.txt         prints the key that gets it back
""",
)
@click.argument("words", nargs=-1, metavar="KEY [VALUE|-]")
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The value is what this file holds.",
)
@click.option(
    "--ttl", type=duration, metavar="TIME", help="How long it lives: 90, 15m, 24h. [default: 24h]"
)
@click.option("--replicas", type=int, help="How many nodes shall hold it. [default: 8]")
@click.option("--quorum", type=int, help="How many must. [default: a majority of those found]")
@click.option(
    "--if-version",
    type=int,
    metavar="VERSION",
    help="Only over this version; 0: only where there is none.",
)
@click.option("--content", is_flag=True, help="No KEY: it is derived from the value, and printed.")
@author_option
@json_option
@node_options(bootstrap_required=True)
def put(
    *,
    words: tuple[str, ...],
    path: Path | None,
    ttl: float | None,
    replicas: int | None,
    quorum: int | None,
    if_version: int | None,
    content: bool,
    author: Author | None,
    as_json: bool,
    how: Opening,
) -> int:
    """Store a value under a key.

    The value is an argument, a --file, or standard input (-).
    """
    key, value = key_and_value(words, path, content=content)
    if content and if_version is not None:
        raise click.UsageError("--if-version has no meaning with --content: content never changes")
    if content and author is not None:
        raise click.UsageError("--author has no meaning with --content: content checks itself")

    async def question(node: Node) -> PutOutcome:
        if content:
            return await node.put_content(value, ttl=ttl, replicas=replicas, quorum=quorum)
        return await node.put(
            key,
            value,
            ttl=ttl,
            author=author,
            if_version=if_version,
            replicas=replicas,
            quorum=quorum,
        )

    outcome = ask(how, "storing", question)
    if as_json:
        print_json(put_shape(outcome))
    elif content:
        print(outcome.key.hex())
    else:
        print(stored_line(key, outcome))
    return ExitStatus.DONE


def key_and_value(
    words: tuple[str, ...],
    path: Path | None,
    *,
    content: bool,
    key_name: str = "KEY",
    command: str = "put",
) -> tuple[str, bytes]:
    """What the arguments mean. Raises ``click.UsageError`` unless there is exactly one value."""
    if not content and not words:
        raise click.UsageError(f"say which {key_name}: dht {command} {key_name} VALUE")
    key, values = ("", words) if content else (words[0], words[1:])
    if len(values) + (path is not None) != 1:
        raise click.UsageError(
            "say one value: as an argument, with --file PATH, or - for standard input; "
            f"got {len(values) + (path is not None)}"
            + (" (with --content there is no KEY)" if content else "")
        )
    if path is not None:
        try:
            with path.open("rb") as file:
                return key, _read(file, repr(str(path)))
        except OSError as error:
            raise LocalError(f"cannot read {str(path)!r}: {error.strerror}") from error
    if values[0] == "-":
        return key, _read(sys.stdin.buffer, "standard input")
    return key, _encode(values[0])


def _read(file: BinaryIO, name: str) -> bytes:
    """All of it, unless it is longer than a value may be: standard input may have no end."""
    value = file.read(VALUE_SIZE_MAX + 1)
    if len(value) > VALUE_SIZE_MAX:
        raise ValueTooLarge(
            f"{name} holds more than {VALUE_SIZE_MAX} bytes, the longest value there may be: "
            "split it"
        )
    return value


def _encode(argument: str) -> bytes:
    """The very bytes that stood on the command line, UTF-8 or not."""
    return argument.encode("utf-8", "surrogateescape")


def stored_line(key: str, outcome: PutOutcome) -> str:
    rest = [
        f"{len(group)} {name}"
        for group, name in (
            (outcome.refused, "refused"),
            (outcome.silent, "silent"),
            (outcome.pending, "still under way"),
        )
        if group
    ]
    counts = ", ".join([f"stored by {len(outcome.stored)}", *rest])
    return f"{key}: version {outcome.version}, {counts}"


# ------------------------------------------------------------------------------------------- get


@click.command(
    cls=Command,
    epilog="""
dht get greeting
dht get greeting --explain                who was asked, who told us of whom
dht get greeting --quorum 3               the newest of three holders
dht get greeting --author author:k3t5...  of this author, and nobody else
dht get picture --output picture.png
dht get --content 5b2c...                 what `dht put --content` stored
""",
)
@click.argument("key")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the value to this file.",
)
@click.option(
    "--quorum",
    type=int,
    default=1,
    show_default=True,
    help="How many owners must hold it; the newest wins.",
)
@click.option("--content", is_flag=True, help="KEY is what `dht put --content` printed.")
@click.option(
    "--author",
    type=reader,
    metavar="ID|FILE",
    help="Whose: the author's id (author:...), or the file with the author's key.",
)
@click.option("--explain", is_flag=True, help="Show the lookup as a tree, on stderr.")
@json_option
@node_options(bootstrap_required=True)
def get(
    *,
    key: str,
    output: Path | None,
    quorum: int,
    content: bool,
    author: AuthorId | None,
    explain: bool,
    as_json: bool,
    how: Opening,
) -> int:
    """Write the value of a key to standard output, as it is.

    Exit status 1 if nobody has it, or if it was deleted.
    """
    if content:
        if explain or quorum != 1 or author is not None:
            raise click.UsageError(
                "--explain, --quorum and --author go with records that have a name; content "
                "checks itself"
            )
        place = Key.from_hex(key)
        value = ask(how, "looking", lambda node: node.get_content(place))
        return _deliver(
            value,
            output=output,
            shape={"key": place.hex(), **value_shape(value)} if as_json else None,
            missing=f"{key}: not found",
        )
    outcome = ask(how, "looking", lambda node: node.fetch(key, author=author, quorum=quorum))
    if explain:
        click.echo(outcome.trace.tree(), err=True)
    return _deliver(
        outcome.value,
        output=output,
        shape=get_shape(outcome) if as_json else None,
        missing=_missing(key, outcome),
    )


def _missing(key: str, outcome: GetOutcome) -> str:
    if outcome.deleted is not None:
        return f"{key}: deleted (version {outcome.deleted.version})"
    return f"{key}: not found ({outcome.trace})"


def _deliver(
    value: bytes | None,
    *,
    output: Path | None,
    shape: dict[str, object] | None,
    missing: str,
) -> int:
    """The value goes where it was asked for; ``shape`` is what ``--json`` says instead."""
    if shape is not None:
        print_json(shape)
    if value is None:
        complain(missing)
        return ExitStatus.NOT_FOUND
    if output is not None:
        try:
            output.write_bytes(value)
        except OSError as error:
            raise LocalError(f"cannot write {str(output)!r}: {error.strerror}") from error
    elif shape is None:
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
    return ExitStatus.DONE


# ------------------------------------------------------------------------------- delete, lookup


@click.command(
    cls=Command,
    epilog="""
dht delete greeting
dht delete greeting --author me.key
""",
)
@click.argument("key")
@click.option("--replicas", type=int, help="How many nodes shall know. [default: 8]")
@click.option("--quorum", type=int, help="How many must. [default: a majority of those found]")
@author_option
@json_option
@node_options(bootstrap_required=True)
def delete(
    *,
    key: str,
    replicas: int | None,
    quorum: int | None,
    author: Author | None,
    as_json: bool,
    how: Opening,
) -> int:
    """Delete a key: its owners keep a mark that wins over every older version."""
    outcome = ask(
        how,
        "deleting",
        lambda node: node.delete(key, author=author, replicas=replicas, quorum=quorum),
    )
    if as_json:
        print_json(put_shape(outcome))
    else:
        print(stored_line(f"{key} deleted", outcome))
    return ExitStatus.DONE


@click.command(
    cls=Command,
    epilog="""
dht lookup greeting                       who owns that record
dht lookup --hex 18e97164...              who is near that node
dht lookup greeting --json
""",
)
@click.argument("target")
@click.option(
    "--hex",
    "as_hex",
    is_flag=True,
    help="TARGET is a place, as 64 hexadecimal digits: a node id, or a record's key.",
)
@json_option
@node_options(bootstrap_required=True)
def lookup(*, target: str, as_hex: bool, as_json: bool, how: Opening) -> int:
    """Find the nodes nearest to a key, and show the way as a tree."""
    place = Key.from_hex(target) if as_hex else target
    outcome = ask(how, "looking", lambda node: node.lookup(place))
    if as_json:
        print_json(lookup_shape(outcome))
        return ExitStatus.DONE
    print(outcome.trace.tree())
    print()
    for contact in outcome.closest:
        print(f"{contact.id.hex()}  {contact.uri}")
    return ExitStatus.DONE
