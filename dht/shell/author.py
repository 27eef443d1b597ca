"""``dht.Author``: an author, with what only this layer has: the system's entropy, and files."""

from pathlib import Path
from random import Random, SystemRandom
from typing import Self, final

import attrs

from .. import author
from ..errors import LocalError

#: Bytes of a key file that are read: what is longer is none.
_FILE_SIZE_MAX = 4096


@final
@attrs.frozen
class Author(author.Author):
    """The key pair of somebody who signs records. ``id`` is what readers hold, and is no secret;
    ``str(author.id)`` is its text form.

    Whoever has the pair can write in this author's name. It is no node's identity.
    """

    @classmethod
    def generate(cls, random: Random | None = None) -> Self:
        """A fresh author, out of the system's entropy (or of the randomness given)."""
        return super().generate(SystemRandom() if random is None else random)


def load_author(path: Path) -> Author:
    """The author whose 32 secret bytes a file holds. Raises ``LocalError``."""
    try:
        with path.open("rb") as file:
            secret = file.read(_FILE_SIZE_MAX)
    except OSError as error:
        raise LocalError(f"cannot read the author's key {str(path)!r}: {error.strerror}") from error
    return Author.from_private_bytes(secret)
