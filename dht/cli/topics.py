"""``add``, ``remove`` and ``members``: a topic, under which many authors have one entry each."""

from pathlib import Path

import click

from ..core.outcomes import PutOutcome
from ..records import Record
from ..shell.author import Author
from ..shell.node import Node
from .client import ask, key_and_value, stored_line
from .options import Opening, author_option, duration, json_option, node_options
from .shapes import members_shape, put_shape
from .statuses import Command, ExitStatus, complain, print_json


@click.command(
    cls=Command,
    epilog="""
dht add printers 192.0.2.7:631 --author me.key
dht add printers --file card.json --author me.key --ttl 10m
""",
)
@click.argument("words", nargs=-1, metavar="TOPIC [VALUE|-]")
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The value is what this file holds.",
)
@click.option(
    "--ttl", type=duration, metavar="TIME", help="How long it stays: 90, 15m, 7d. [default: 24h]"
)
@author_option
@json_option
@node_options(bootstrap_required=True)
def add(
    *,
    words: tuple[str, ...],
    path: Path | None,
    ttl: float | None,
    author: Author | None,
    as_json: bool,
    how: Opening,
) -> int:
    """Enter a value under a topic, beside those of other authors.

    The same author again replaces it. Without --author it is signed by somebody who is then
    forgotten: it can be neither replaced nor removed, and ends by itself.
    """
    topic, value = key_and_value(words, path, content=False, key_name="TOPIC", command="add")

    async def question(node: Node) -> tuple[Author, PutOutcome]:
        signer = author or Author.generate()
        return signer, await node.add(topic, value, author=signer, ttl=ttl)

    signer, outcome = ask(how, "adding", question)
    if as_json:
        print_json({"author": str(signer.id), **put_shape(outcome)})
    else:
        print(stored_line(f"{topic} {signer.id}", outcome))
    return ExitStatus.DONE


@click.command(
    cls=Command,
    epilog="""
dht remove printers --author me.key
""",
)
@click.argument("topic")
@author_option
@json_option
@node_options(bootstrap_required=True)
def remove(*, topic: str, author: Author | None, as_json: bool, how: Opening) -> int:
    """Take an author's own entry out of a topic."""
    if author is None:
        raise click.UsageError("say whose entry: --author FILE, the key that it was added with")
    outcome = ask(how, "removing", lambda node: node.remove(topic, author=author))
    if as_json:
        print_json({"author": str(author.id), **put_shape(outcome)})
    else:
        print(stored_line(f"{topic} {author.id} removed", outcome))
    return ExitStatus.DONE


@click.command(
    cls=Command,
    epilog="""
dht members printers
dht members printers --limit 10 --json
""",
)
@click.argument("topic")
@click.option(
    "--limit", type=int, default=100, show_default=True, help="At most so many, by chance."
)
@json_option
@node_options(bootstrap_required=True)
def members(*, topic: str, limit: int, as_json: bool, how: Opening) -> int:
    """List who is in a topic: a line each, the author and the value.

    Exit status 1 if nobody is.
    """
    found = ask(how, "looking", lambda node: node.members(topic, limit=limit))
    if as_json:
        print_json(members_shape(found))
    else:
        for member in found:
            print(f"{member.author}  {_shown(member)}")
    if not found:
        complain(f"{topic}: nobody is there ({found.trace})")
        return ExitStatus.NOT_FOUND
    if found.total > len(found):
        complain(f"{topic}: {len(found)} of {found.total}")
    return ExitStatus.DONE


def _shown(member: Record) -> str:
    """Its value as one line: strangers write these, and a terminal obeys what it is told."""
    text = member.value.decode(errors="replace")
    return text if text.isprintable() else repr(member.value)
