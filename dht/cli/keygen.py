"""``dht keygen``: a secret in a file, and its public half on the screen. Never the other way."""

from pathlib import Path
from random import SystemRandom

import click

from ..author import Author
from ..contacts import to_base32
from ..identity import Identity
from ..shell.keyfiles import SECRET_SIZE, Use, create_secret, fingerprint
from .options import json_option, puzzle_option
from .statuses import Command, ExitStatus, print_json, shown_if_slow


@click.command(
    cls=Command,
    epilog="""
dht keygen --identity node.key            then: dht node --identity node.key
dht keygen --network network.key          copy it to every member, and to nobody else
dht keygen --author me.key
""",
)
@click.option("--identity", "use", flag_value=Use.IDENTITY, help="Who a node is. [default]")
@click.option("--author", "use", flag_value=Use.AUTHOR, help="Who wrote a record.")
@click.option("--network", "use", flag_value=Use.NETWORK, help="Who is a member of a network.")
@puzzle_option
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def keygen(*, use: Use | None, puzzle_bits: int, path: Path, as_json: bool) -> int:
    """Make a key and write it to a file that only you can read.

    What is printed is public: the id and the key by which others know a node or an author; of a
    network key a fingerprint, which is the same for all who have the same key. Nothing is ever
    overwritten.
    """
    use = use or Use.IDENTITY
    if puzzle_bits and use is not Use.IDENTITY:
        raise click.UsageError("--puzzle-bits is about the ids of nodes: it goes with --identity")
    random = SystemRandom()
    if use is Use.IDENTITY:
        with shown_if_slow("searching"):
            identity = Identity.generate(random, puzzle_bits=puzzle_bits)
        secret = identity.private_key.private_bytes_raw()
    else:
        secret = random.randbytes(SECRET_SIZE)
    public = public_part(use, secret)
    create_secret(path, use, secret)
    if as_json:
        print_json({"use": use.value, "path": str(path), **public})
    else:
        for name, text in public.items():
            print(f"{name}: {text}")
    return ExitStatus.DONE


def public_part(use: Use, secret: bytes) -> dict[str, str]:
    """What anybody may know of a key, by its name."""
    if use is Use.IDENTITY:
        identity = Identity.from_private_bytes(secret)
        uri = f"dht://{to_base32(identity.public_key)}@HOST:PORT"
        return {"id": identity.id.hex(), "uri": uri}
    if use is Use.AUTHOR:
        return {"author": str(Author.from_private_bytes(secret).id)}
    return {"fingerprint": fingerprint(use, secret)}
