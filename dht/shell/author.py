"""``dht.Author``: an author, with what only this layer has: the system's entropy, and files."""

import os
from random import Random, SystemRandom
from typing import Self, final

import attrs

from .. import author
from .keyfiles import Use, load_secret


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

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The author whose key a file holds; ``dht keygen --author`` makes one. Raises
        ``LocalError``, also when there is no file. It blocks."""
        return cls.from_private_bytes(load_secret(path, Use.AUTHOR))
