"""What several commands take: contacts, durations, the switch to JSON."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ..author import TEXT_PREFIX, AuthorId
from ..contacts import Contact, parse_uri
from ..errors import LocalError
from ..shell.author import Author, load_author

_Function = TypeVar("_Function", bound=Callable[..., Any])

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)")


def contact(text: str) -> Contact:
    """The contact of a ``dht://`` URI; a usage error that shows what is wrong with the text."""
    try:
        return parse_uri(text)
    except LocalError as error:
        raise click.BadParameter(str(error)) from error


def duration(text: str) -> float:
    """Seconds, of ``90``, ``15m``, ``24h`` or ``7d``; a usage error for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise click.BadParameter(f"expected a duration such as 90, 15m, 24h or 7d, got {text!r}")
    return float(match[1]) * _UNITS_S[match[2]]


def writer(path: str) -> Author:
    """The author whose key a file holds; a usage error that says what is wrong with it."""
    try:
        return load_author(Path(path))
    except LocalError as error:
        raise click.BadParameter(str(error)) from error


def reader(text: str) -> AuthorId:
    """The id of an author, given as such or by the file with its key; a usage error for less."""
    if not text.startswith(TEXT_PREFIX):
        return writer(text).id
    try:
        return AuthorId.parse(text)
    except LocalError as error:
        raise click.BadParameter(str(error)) from error


author_option = click.option(
    "--author",
    type=writer,
    metavar="FILE",
    help="Sign it with the author's key in this file: nobody else can change it then.",
)


def bootstrap_option(*, required: bool) -> Callable[[_Function], _Function]:
    """``--bootstrap URI``, as often as one likes, or ``DHT_BOOTSTRAP``."""

    def check(
        _: click.Context, __: click.Parameter, given: tuple[Contact, ...]
    ) -> tuple[Contact, ...]:
        if required and not given:
            raise click.UsageError(
                "nobody to ask: say --bootstrap dht://KEY@HOST:PORT (the line that `dht node` "
                "prints first), or set DHT_BOOTSTRAP to one or several of them"
            )
        return given

    return click.option(
        "--bootstrap",
        type=contact,
        multiple=True,
        envvar="DHT_BOOTSTRAP",
        show_envvar=True,
        callback=check,
        metavar="URI",
        help="A node of the network: dht://KEY@HOST:PORT. Repeatable; blanks between them in the "
        "environment.",
    )


json_option = click.option("--json", "as_json", is_flag=True, help="Say it as JSON.")
