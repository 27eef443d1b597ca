"""What a node keeps on disk between its runs: its ``data_dir``.

    identity       who it is: a key file (``keyfiles``), made at first use
    author         as whom it writes where no author is given: a key file, made at first use
    known-nodes    which public key answered at which host:port; lines that people may remove
    ports          where it listened last
    lock           held while a node runs: a data_dir belongs to one

A directory that we make is closed to other users. All of this blocks: call it before the node
runs, or in a thread.
"""

import os
import re
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import final

from ..contacts import (
    PORT_MAX,
    Address,
    format_address,
    from_base32,
    parse_address,
    port_of,
    to_base32,
)
from ..errors import LocalError
from ..identity import Identity
from .keyfiles import (
    LEFT_OVER,
    load_identity,
    load_or_create_author_bytes,
    load_or_create_identity,
    make_directory,
    replace_file,
)

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows, where ``keyfiles`` refuses to keep a secret
    fcntl = None  # type: ignore[assignment]

#: Memory: names that stand for ever other nodes must not grow a file without end.
KNOWN_NODES_MAX = 1024
#: More than a file of so many lines ever holds.
_READ_MAX = 2**20
_KNOWN_NODES_HEAD = """\
# Which public key answers at which host:port. Another one there is refused: remove a line if you
# know why it has changed.
"""


@final
class DataDir:
    """An open ``data_dir``. ``open`` locks it; ``close`` gives it free."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        #: ``host:port`` -> the public key that answered there.
        self.known_nodes: dict[str, bytes] = {}
        self._ports: dict[str, int] = {}
        self._lock = lock

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "DataDir":
        """Locks it, and makes it where there is none. Raises ``LocalError`` when another node uses
        it, or for a file in it that is not as it should be."""
        folder = Path(os.path.abspath(path))  # noqa: PTH100 - the program may change directory
        if fcntl is None:
            raise LocalError(f"{folder}: a data_dir needs file locks, which this system lacks")
        make_directory(folder)
        opened = cls(folder, _locked(folder / "lock"))
        try:
            opened._clean_up()
            opened._load()
        except BaseException:
            opened.close()
            raise
        return opened

    def close(self) -> None:
        """Another node may use it now. Idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def identity_path(self) -> Path:
        """The key file that says who the node is."""
        return self.path / "identity"

    @property
    def known_nodes_path(self) -> Path:
        """The file that people may remove lines from."""
        return self.path / "known-nodes"

    def load_identity(self) -> Identity | None:
        """The node's own, or None when it has none yet. Raises ``LocalError``."""
        # A link that leads nowhere is not nothing: it is refused by name.
        return load_identity(self.identity_path) if os.path.lexists(self.identity_path) else None

    def keep_identity(self, fresh: Identity) -> Identity:
        """From now on the node's own, if it still has none; the one that it has. Raises
        ``LocalError``."""
        return load_or_create_identity(self.identity_path, lambda: fresh)

    def author_bytes(self, random: Random) -> bytes:
        """The 32 secret bytes of the node's own author, made at first use. Raises
        ``LocalError``."""
        return load_or_create_author_bytes(self.path / "author", random)

    def know(self, where: str, public_key: bytes) -> None:
        """Remembers who answered at a ``host:port``. Raises ``LocalError``."""
        if self.known_nodes.get(where) == public_key:
            return
        if where not in self.known_nodes and len(self.known_nodes) >= KNOWN_NODES_MAX:
            return
        self.known_nodes[where] = public_key
        lines = (f"{each} {to_base32(key)}\n" for each, key in self.known_nodes.items())
        replace_file(self.known_nodes_path, (_KNOWN_NODES_HEAD + "".join(lines)).encode())

    def with_last_port(self, listen: Address) -> Address:
        """An address to listen on, and with port 0 the port that it had last, if it had one."""
        if port_of(listen):
            return listen
        last = self._ports.get(format_address(listen), 0)
        return Address(listen[:-2] + last.to_bytes(2))

    def listened(self, addresses: dict[Address, Address]) -> None:
        """Remembers where it listens: what was asked for, with port 0, and what it is. Raises
        ``LocalError``."""
        ports = {format_address(asked): port_of(bound) for asked, bound in addresses.items()}
        if ports and ports != self._ports:
            self._ports = ports
            lines = (f"{listen} {port}\n" for listen, port in ports.items())
            replace_file(self.path / "ports", "".join(lines).encode())

    # ---- private ----

    def _clean_up(self) -> None:
        """Removes what a node that was killed had not finished. Nobody else writes here."""
        for name in sorted(os.listdir(self.path)):  # noqa: PTH208 - names are all we look at
            if LEFT_OVER.fullmatch(name):
                with suppress(OSError):
                    (self.path / name).unlink()

    def _load(self) -> None:
        path = self.known_nodes_path
        for number, where, text in _lines(path):
            key = from_base32(text)
            if key is None:
                raise LocalError(
                    f"{path}, line {number}: expected 'host:port <public key in base32>'; mend "
                    "the line, or remove it"
                )
            self.known_nodes[where] = key
        path = self.path / "ports"
        for number, listen, text in _lines(path):
            if not (_is_listen(listen) and _is_port(text)):
                raise LocalError(
                    f"{path}, line {number}: expected 'host:0 <the last port>'; mend the line, or "
                    "remove the file: another port is taken then"
                )
            self._ports[listen] = int(text)


def _locked(path: Path) -> int:
    """The descriptor of a lock that is held until it is closed, also by a crash."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _failed(path, "open", error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
    except BlockingIOError:
        holder = os.pread(fd, 20, 0).decode("latin-1").strip()
        os.close(fd)
        who = f"process {holder}" if holder.isdecimal() else "another process"
        raise LocalError(
            f"{path.parent}: another node uses this data_dir ({who}); stop it, or give each node "
            "one of its own"
        ) from None
    except OSError as error:
        os.close(fd)
        raise _failed(path, "lock", error) from error
    return fd


def _lines(path: Path) -> list[tuple[int, str, str]]:
    """The number of each line, its first word and the rest; without comments and blank lines."""
    try:
        with path.open("rb") as file:
            data = file.read(_READ_MAX + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _failed(path, "read", error) from error
    if len(data) > _READ_MAX:
        raise LocalError(f"{path}: longer than {_READ_MAX} bytes, so not a file of ours; move it")
    lines = enumerate(data.decode("latin-1").split("\n"), 1)
    parted = [(number, *line.strip().partition(" ")) for number, line in lines]
    return [
        (number, word, rest.strip())
        for number, word, _, rest in parted
        if word and not word.startswith("#")
    ]


def _is_listen(text: str) -> bool:
    try:
        parse_address(text)
    except LocalError:
        return False
    return True


_PORT = re.compile("[0-9]{1,5}")


def _is_port(text: str) -> bool:
    return bool(_PORT.fullmatch(text)) and 0 < int(text) <= PORT_MAX


def _failed(path: Path, what: str, error: OSError) -> LocalError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return LocalError(f"{path}: cannot {what} it: {reason}; mend that, or choose another data_dir")
