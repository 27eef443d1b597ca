"""Secrets on disk: everything that writes or reads a key file is in this file.

A key file is one line of text that says what it is for:

    dht-identity-1 <the 32 bytes in base32, 52 letters> <check, 8 letters>

The check covers the first word and the secret: what was cut, mistyped or given another label is
refused. A file is whole or absent at every instant, whatever is killed: it is written and synced
under another name, and then linked to its own, which never overwrites. One that is not as we would
have made it is refused with its path, what was found and what to do; nothing is ever made anew in
its place, since a new key is a new node, or a network that one is no longer a member of.

All of this blocks: call it before the node runs, or in a thread.
"""

import errno
import os
import re
import stat
from base64 import b32encode
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from hashlib import blake2s
from pathlib import Path
from random import Random
from secrets import token_hex
from typing import final

from ..contacts import from_base32, to_base32
from ..errors import LocalError
from ..identity import Identity

SECRET_SIZE = 32

_FORMAT = 1
_TAG = b"dht file"
_CHECK_SIZE = 5  # 8 letters, and a typing error passes once in 10^12
_MODE = 0o600
_DIRECTORY_MODE = 0o700
#: More than a key file ever holds.
_READ_MAX = 256
#: What whoever is killed while it writes leaves behind. Nothing reads it.
LEFT_OVER = re.compile(r"\..+-[0-9a-f]{16}\.new")
#: Windows has neither modes nor directories that can be opened.
_SUPPORTED = hasattr(os, "O_NOFOLLOW") and hasattr(os, "fchmod")


@final
class Use(Enum):
    """What a secret is for. A file for one use is refused for every other."""

    IDENTITY = "identity"
    """An X25519 private key: who a node is."""
    AUTHOR = "author"
    """An Ed25519 seed: who wrote a record."""
    NETWORK = "network"
    """A network key: who is a member."""

    @property
    def noun(self) -> str:
        """As in "expected a node identity"."""
        return _NOUNS[self]

    @property
    def _label(self) -> str:
        return f"dht-{self.value}-{_FORMAT}"


_NOUNS = {
    Use.IDENTITY: "a node identity",
    Use.AUTHOR: "an author",
    Use.NETWORK: "a network key",
}


def key_line(use: Use, secret: bytes) -> bytes:
    """What a key file holds."""
    assert len(secret) == SECRET_SIZE
    return f"{use._label} {to_base32(secret)} {fingerprint(use, secret)}\n".encode()  # noqa: SLF001


def parse_key_line(where: str, use: Use, text: str) -> bytes:
    """The secret in what a key file holds; ``where`` is for messages. Raises ``LocalError``."""
    return _parse(Path(where), use, text.encode())


def fingerprint(use: Use, secret: bytes) -> str:
    """Eight letters that tell two secrets apart and give neither away."""
    data = use._label.encode() + secret  # noqa: SLF001
    return b32encode(blake2s(data, person=_TAG, digest_size=_CHECK_SIZE).digest()).decode().lower()


# ---- the three uses ----


def load_identity(path: str | os.PathLike[str]) -> Identity:
    """The node identity in a key file. Raises ``LocalError``, also when there is no file."""
    return Identity.from_private_bytes(load_secret(path, Use.IDENTITY))


def load_or_create_identity(path: str | os.PathLike[str], make: Callable[[], Identity]) -> Identity:
    """The node identity in a key file; the one that ``make`` gives if nothing is there. Raises
    ``LocalError``."""

    def make_bytes() -> bytes:
        return make().private_key.private_bytes_raw()

    return Identity.from_private_bytes(load_or_create_secret(path, Use.IDENTITY, make_bytes))


def load_or_create_author_bytes(path: str | os.PathLike[str], random: Random) -> bytes:
    """The 32 secret bytes of an author, made if nothing is there. Raises ``LocalError``."""
    return load_or_create_secret(path, Use.AUTHOR, lambda: random.randbytes(SECRET_SIZE))


def load_network_key(path: str | os.PathLike[str]) -> bytes:
    """The network key in a key file. Raises ``LocalError``, also when there is no file."""
    return load_secret(path, Use.NETWORK)


# ---- files ----


def load_secret(path: str | os.PathLike[str], use: Use) -> bytes:
    """The secret in a key file. Raises ``LocalError`` unless it is there, whole, for this use, and
    nobody else's to read or to write."""
    path = _path_of(path)
    secret = _load(path, use)
    if secret is None:
        raise _unfit(path, use, "nothing", f"`dht keygen --{use.value} {path}` makes one")
    return secret


def create_secret(path: str | os.PathLike[str], use: Use, secret: bytes) -> None:
    """Writes a key file, and its directories where there are none. Raises ``LocalError``, also when
    anything is there already: nothing is ever overwritten."""
    path = _path_of(path)
    make_directory(path.parent)
    if not _publish(path, key_line(use, secret)):
        raise LocalError(
            f"{path}: there is something already, and a key that is overwritten is gone for ever; "
            "choose another path, or move that file away"
        )


def load_or_create_secret(
    path: str | os.PathLike[str], use: Use, make: Callable[[], bytes]
) -> bytes:
    """The secret in a key file; what ``make`` gives if nothing is there. Of several processes that
    create it at once all get the same. Raises ``LocalError``."""
    path = _path_of(path)
    secret = _load(path, use)
    if secret is None:
        make_directory(path.parent)
        secret = make()
        if not _publish(path, key_line(use, secret)):
            return load_secret(path, use)  # another process was first
    return secret


def make_directory(path: Path) -> None:
    """A directory that nobody else can look into, unless there is one. Raises ``LocalError``."""
    try:
        os.mkdir(path, _DIRECTORY_MODE)
        os.chmod(path, _DIRECTORY_MODE)  # whatever the umask was
        _sync_directory(path.parent)
    except FileNotFoundError:
        make_directory(path.parent)
        make_directory(path)
    except FileExistsError:
        if not path.is_dir():
            raise LocalError(
                f"{path}: expected a directory, found something else; choose another path"
            ) from None
    except OSError as error:
        raise _failed(path, "make this directory", error) from error


def replace_file(path: Path, data: bytes) -> None:
    """Overwrites a file that is no secret's only copy: the old content or the new one is there, at
    every instant. Raises ``LocalError``."""
    _publish(path, data, replace=True)


def _load(path: Path, use: Use) -> bytes | None:
    """The secret, or None when nothing is there."""
    try:
        # Not waiting for whoever may write into a FIFO; a directory opens, and is seen below.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            found, todo = "a symbolic link", "name the file itself"
            raise _unfit(path, use, found, todo) from None
        raise _failed(path, "read it", error) from error
    try:
        _check_file(path, use, os.fstat(fd))
        data = os.read(fd, _READ_MAX)
    except OSError as error:
        raise _failed(path, "read it", error) from error
    finally:
        os.close(fd)
    return _parse(path, use, data)


def _check_file(path: Path, use: Use, found: os.stat_result) -> None:
    mode = found.st_mode
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "something that is no file")
        raise _unfit(path, use, kind, "name a file")
    if found.st_uid not in (os.geteuid(), 0):
        whose = f"a file of user {found.st_uid}"
        raise _unfit(path, use, whose, "copy it to one of your own, if you trust that user")
    if stat.S_IMODE(mode) & 0o077:
        raise _unfit(
            path,
            use,
            f"a file that others may read or write (mode {stat.S_IMODE(mode):o})",
            f"`chmod 600 {path}` if nobody has, else make a new one elsewhere",
        )


_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
)


def _parse(path: Path, use: Use, data: bytes) -> bytes:
    """The secret that a file's bytes hold. No message ever shows one of them."""
    restore = "restore it from a copy; without one it is lost: move it away and make a new one"
    if not data.strip():
        raise _unfit(path, use, "an empty file" if not data else "a blank file", restore)
    label = data.split(b" ", 1)[0]
    for other in Use:
        if other is not use and label == other._label.encode():  # noqa: SLF001
            raise _unfit(path, use, other.noun, "name the right file")
    if label != use._label.encode():  # noqa: SLF001
        raise _unfit(path, use, "a file that is no key file of ours", "name the right file")
    words = data.split(b" ")
    secret = from_base32(words[1].decode("latin-1")) if len(words) > 1 else None
    if secret is not None and data == key_line(use, secret):
        return secret
    size = len(key_line(use, bytes(SECRET_SIZE)))
    if len(data) < size:
        found = f"one that was cut short ({len(data)} of {size} bytes)"
    elif len(data) > size:
        found = f"one that is too long (more than {size} bytes)"
    else:
        found = "one that was altered (its check does not fit)"
    raise _unfit(path, use, found, restore)


def _publish(path: Path, data: bytes, *, replace: bool = False) -> bool:
    """Puts a file with this content at ``path``, whole. False: something is there already, and not
    to be replaced."""
    temporary = f".{path.name}-{token_hex(8)}.new"
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fd = os.open(
                temporary,
                os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW,
                _MODE,
                dir_fd=folder,
            )
            try:
                _fill(fd, data)
                names = {"src_dir_fd": folder, "dst_dir_fd": folder}
                if replace:
                    os.replace(temporary, path.name, **names)
                else:
                    # Unlike a rename it never overwrites, whoever else is at work.
                    os.link(temporary, path.name, follow_symlinks=False, **names)
            except FileExistsError:
                return False
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                # In every case: one that another process has made is as good as ours from now on.
                os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise _failed(path, "write it", error) from error
    return True


def _fill(fd: int, data: bytes) -> None:
    try:
        os.fchmod(fd, _MODE)  # whatever the umask was
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _path_of(path: str | os.PathLike[str]) -> Path:
    if not _SUPPORTED:
        raise LocalError(
            f"{path}: this system cannot keep a file from other users, so no key is kept on it; "
            "pass the key itself"
        )
    return Path(path)


def _unfit(path: Path, use: Use, found: str, todo: str) -> LocalError:
    return LocalError(f"{path}: expected {use.noun}, found {found}; {todo}")


_ADVICE = {
    errno.EACCES: "give yourself the right, or choose another path",
    errno.ENOSPC: "the disk is full: make room",
    errno.EROFS: "the disk is read-only: choose another path",
    errno.EPERM: "its file system may have no links: choose a path on another",
    errno.ENOTSUP: "its file system has no links: choose a path on another",
    errno.ENOTDIR: "a part of the path is a file: choose another path",
}


def _failed(path: Path, what: str, error: OSError) -> LocalError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    advice = _ADVICE.get(error.errno or 0, "choose another path")
    return LocalError(f"{path}: cannot {what}: {reason}; {advice}")
