"""What several commands take: how to open a node, durations, the switch to JSON."""

import os
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast, final

import attrs
import click
from click.core import ParameterSource

from ..author import TEXT_PREFIX, AuthorId
from ..contacts import Introducer, from_base32, parse_introducer
from ..errors import LocalError
from ..shell.author import Author
from ..shell.keyfiles import Use, load_network_key, parse_key_line

_Function = TypeVar("_Function", bound=Callable[..., Any])

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)")


@final
@attrs.frozen
class Opening:
    """How a command opens its node: what all of them are told in the same words."""

    bootstrap: tuple[Introducer, ...]
    network: str
    network_key: tuple[bytes, ...] = attrs.field(repr=False)
    identity: Path | None
    data_dir: Path | None

    def arguments(self) -> dict[str, Any]:
        """The same, for ``open_node``."""
        return {field.name: getattr(self, field.name) for field in attrs.fields(Opening)}


def introducer(text: str) -> Introducer:
    """Whom to ask first; a usage error that shows what is wrong with the text."""
    try:
        return parse_introducer(text)
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
        return Author.load(path)
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


#: For containers, which are given secrets in their environment. On the command line others see it.
KEY_VARIABLE = "DHT_NETWORK_KEY"


_OPTIONS = (
    click.option(
        "--network",
        default="main",
        show_default=True,
        envvar="DHT_NETWORK",
        show_envvar=True,
        metavar="NAME",
        help="The network's name. Two networks never mix.",
    ),
    click.option(
        "--network-key-file",
        type=click.Path(path_type=Path),
        multiple=True,
        envvar="DHT_NETWORK_KEY_FILE",
        show_envvar=True,
        help="What `dht keygen --network` made: only who has it is a member. Repeatable, while "
        f"a key is replaced: it speaks with the first. Or the key itself in {KEY_VARIABLE}.",
    ),
    click.option(
        "--identity",
        type=click.Path(path_type=Path),
        help="Who the node is: what `dht keygen --identity` made. [default: of the data "
        "directory, or a new one]",
    ),
    click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        help="Where it keeps its identity, its last port, and who answered where. For one node "
        "at a time. [default: nowhere]",
    ),
)


def _bootstrap_option(*, required: bool) -> Callable[[_Function], _Function]:
    def check(
        _: click.Context, __: click.Parameter, given: tuple[Introducer, ...]
    ) -> tuple[Introducer, ...]:
        if required and not given:
            raise click.UsageError(
                "nobody to ask: say --bootstrap dht://KEY@HOST:PORT (the line that `dht node` "
                "prints first) or --bootstrap HOST:PORT, or set DHT_BOOTSTRAP to one or several "
                "of them"
            )
        return given

    return click.option(
        "--bootstrap",
        type=introducer,
        multiple=True,
        envvar="DHT_BOOTSTRAP",
        show_envvar=True,
        callback=check,
        metavar="URI",
        help="A node of the network: dht://KEY@HOST:PORT, or HOST:PORT. Repeatable; blanks "
        "between them in the environment.",
    )


def node_options(*, bootstrap_required: bool) -> Callable[[_Function], _Function]:
    """``--bootstrap``, ``--network`` and the rest, which the command gets as one ``how``."""

    def decorate(function: _Function) -> _Function:
        @wraps(function)
        def gather(
            *,
            bootstrap: tuple[Introducer, ...],
            network: str,
            network_key_file: tuple[Path, ...],
            identity: Path | None,
            data_dir: Path | None,
            **rest: Any,
        ) -> Any:
            keys = _network_keys(network_key_file)
            how = Opening(bootstrap, network, keys, identity, data_dir)
            return function(how=how, **rest)

        for option in reversed((_bootstrap_option(required=bootstrap_required), *_OPTIONS)):
            gather = option(gather)
        return cast("_Function", gather)

    return decorate


def _network_keys(paths: tuple[Path, ...]) -> tuple[bytes, ...]:
    """The keys that were said, newest first. Raises ``LocalError``."""
    source = click.get_current_context().get_parameter_source("network_key_file")
    text = os.environ.get(KEY_VARIABLE, "")
    if not text.strip() or source is ParameterSource.COMMANDLINE:
        return tuple(map(load_network_key, paths))
    if paths:
        raise click.UsageError(f"set DHT_NETWORK_KEY_FILE or {KEY_VARIABLE}, and not both")
    return network_keys_of(text)


def network_keys_of(text: str) -> tuple[bytes, ...]:
    """Keys as text, the newest first, blanks between them: each 52 letters of base32, or the whole
    line of a key file. Raises ``LocalError``, which never shows one of them."""
    words = text.split()
    keys: list[bytes] = []
    while words:
        if words[0].startswith("dht-"):
            keys.append(parse_key_line(KEY_VARIABLE, Use.NETWORK, " ".join(words[:3]) + "\n"))
            del words[:3]
            continue
        word = words.pop(0)
        key = from_base32(word)
        if key is None:
            raise LocalError(
                f"{KEY_VARIABLE}: expected a network key, 52 letters of base32 (the second word of "
                f"the file that `dht keygen --network` writes), got {len(word)} characters that "
                "are none"
            )
        keys.append(key)
    return tuple(keys)


json_option = click.option("--json", "as_json", is_flag=True, help="Say it as JSON.")

puzzle_option = click.option(
    "--puzzle-bits",
    type=click.IntRange(0, 24),
    default=0,
    show_default=True,
    metavar="BITS",
    help="What an id costs in this network, 2 to the power of this; all its nodes say the same.",
)
