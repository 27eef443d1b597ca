"""What is found out before a node runs, and may block: its identity, its directory, its port.

Everything here is done by the time that the node starts; nothing stalls one that runs.
"""

import os
from collections.abc import Iterable, Sequence
from functools import partial
from random import Random

import trio

from ..config import Config
from ..contacts import Address, Contact, Introducer, parse_introducer, port_of
from ..core.events import KeyChanged
from ..errors import LocalError
from ..identity import Identity
from ..keyspace import Key, solves_puzzle
from .author import Author
from .datadir import DataDir
from .keyfiles import load_identity
from .udp import DatagramSocket, UdpPort, open_socket

PathLike = str | os.PathLike[str]


def introducers_of(
    bootstrap: str | Introducer | Iterable[str | Introducer], config: Config
) -> tuple[Introducer, ...]:
    """What ``bootstrap`` says. Raises ``LocalError`` for what can be none."""
    if isinstance(bootstrap, str | Introducer):
        bootstrap = [bootstrap]
    elif not isinstance(bootstrap, Iterable) or isinstance(bootstrap, bytes):
        raise LocalError(f"{_BOOTSTRAP}, got {bootstrap!r}")
    return tuple(_introducer_of(each, config) for each in bootstrap)


_BOOTSTRAP = "bootstrap is one or several dht:// URIs, 'host:port' texts or dht.Contact values"


def _introducer_of(given: str | Introducer, config: Config) -> Introducer:
    introducer = parse_introducer(given) if isinstance(given, str) else given
    if not isinstance(introducer, Introducer):
        raise LocalError(f"{_BOOTSTRAP}, got {given!r}")
    if isinstance(introducer, Contact):
        bits = config.id_puzzle_bits
        if not solves_puzzle(introducer.id, bits):
            raise LocalError(
                f"{introducer.uri}: {_unpaid(introducer.id, bits)}; it is of another network, or "
                "Config.id_puzzle_bits is not what its members have agreed on"
            )
    return introducer


async def open_data_dir(path: PathLike | None) -> DataDir | None:
    """Opened and locked; None for None. Raises ``LocalError``."""
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise LocalError(f"data_dir is the path of a directory, got {path!r}")
    return await trio.to_thread.run_sync(DataDir.open, path)


async def find_identity(
    given: Identity | PathLike | None, data_dir: DataDir | None, random: Random, *, config: Config
) -> Identity:
    """The one given, or of the key file given, or the one in the ``data_dir``, or a fresh one.

    Raises ``LocalError``, also for one that does not solve the network's puzzle.
    """
    bits = config.id_puzzle_bits
    if isinstance(given, Identity):
        found, whose = given, "identity"
    elif given is not None:
        if not isinstance(given, str | os.PathLike) or not os.fspath(given):
            # Not the value: it may be a secret.
            kind = type(given).__name__
            raise LocalError(f"identity is a dht.Identity or the path of a key file, got: {kind}")
        found, whose = await trio.to_thread.run_sync(load_identity, given), os.fspath(given)
    elif data_dir is None:
        return await _generate(random, bits)
    else:
        whose = str(data_dir.identity_path)
        known = await trio.to_thread.run_sync(data_dir.load_identity)
        if known is None:
            fresh = await _generate(random, bits)
            known = await trio.to_thread.run_sync(data_dir.keep_identity, fresh)
        found = known
    if not solves_puzzle(found.id, bits):
        raise LocalError(
            f"{whose}: {_unpaid(found.id, bits)}, and no node would take it as a contact; "
            f"`dht keygen --identity --puzzle-bits {bits} PATH` makes one that does (a new "
            "identity is a new node), or Config.id_puzzle_bits is not what this network has "
            "agreed on"
        )
    return found


async def find_author(data_dir: DataDir | None, random: Random) -> Author:
    """The node's own author: the one in the ``data_dir``, made at first use, or a fresh one."""
    if data_dir is None:
        return Author.generate(random)
    secret = await trio.to_thread.run_sync(data_dir.author_bytes, random)
    return Author.from_private_bytes(secret)


async def _generate(random: Random, bits: int) -> Identity:
    if not bits:
        return Identity.generate(random)
    search = partial(Identity.generate, random, puzzle_bits=bits)
    # Up to a quarter of an hour: whoever does not want to wait for it need not.
    return await trio.to_thread.run_sync(search, abandon_on_cancel=True)


def _unpaid(node_id: Key, bits: int) -> str:
    return f"the id {node_id.hex()} does not solve the puzzle of {bits} bits"


async def bind(listen: Sequence[Address], data_dir: DataDir | None) -> UdpPort:
    """The sockets. With a ``data_dir`` port 0 is the port that it was last, if that is free.

    Raises ``LocalError``.
    """
    if data_dir is None:
        return UdpPort.bind(listen)
    directory = data_dir

    def open_as_before(address: Address) -> DatagramSocket:
        before = directory.with_last_port(address)
        if before != address:
            try:
                return open_socket(before)
            except OSError:
                pass  # somebody else has it by now
        return open_socket(address)

    port = UdpPort.bind(listen, open_socket=open_as_before)
    try:
        chosen = {
            asked: bound
            for asked, bound in zip(listen, port.bound, strict=True)
            if not port_of(asked)
        }
        await trio.to_thread.run_sync(directory.listened, chosen)
    except BaseException:
        port.close()
        raise
    return port


def refuse_changed_keys(changes: Sequence[KeyChanged], data_dir: DataDir) -> None:
    """Raises ``LocalError`` if there are any."""
    if changes:
        raise LocalError(
            f"{'; '.join(map(str, changes))}. Either it was set up anew, or somebody is in its "
            f"place: if you know which, remove its line from {data_dir.known_nodes_path}, and it "
            "is taken as it is"
        )
