"""`python -m tests.fuzz --seconds 60`: search for bytes that raise what they must not.

Two rules, guided by coverage. A function whose name ends in ``_untrusted`` can raise only
RemoteError: the targets need no list, they are every such function of dht/ that takes nothing but
bytes. And ``Engine.receive_datagram`` raises nothing at all: an engine in the middle of its work is
given the bytes as they are, and as the payload of a datagram with a right checksum, so that the
decoder and every handler behind it are reached. What is found is printed by the fuzzer, and belongs
in a test before it is mended.
"""

import argparse
import contextlib
import importlib
import inspect
import json
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import atheris

# Longer inputs find nothing more: no datagram is larger.
INPUT_BYTES_MAX = 1500
# What a datagram of the plain channel holds beside its head, id and checksum.
SEALED_BYTES_MIN, SEALED_BYTES_MAX = 2, 1200 - 33 - 8 - 8
# Where a find is written: a folder that git ignores.
FINDS = Path(__file__).parent / "corpus"
VECTORS = Path(__file__).parents[1] / "vectors"

Target = Callable[..., object]


def targets() -> list[Target]:
    """Import the package, watched by the fuzzer, and collect its readers in order of name."""
    with atheris.instrument_imports(include=["dht"]):
        package = importlib.import_module("dht")
        for module in pkgutil.walk_packages(package.__path__, "dht."):
            # The shell opens sockets and the command line needs its extra; neither parses bytes.
            if module.name.split(".")[1] in {"wire", "core", "records", "contacts"}:
                importlib.import_module(module.name)
    found = {
        f"{function.__module__}.{function.__name__}": function
        for name, module_ in sys.modules.items()
        if name.startswith("dht.")
        for function in vars(module_).values()
        if inspect.isfunction(function)
        and function.__name__.endswith("_untrusted")
        and all(
            each.annotation is bytes and each.kind is each.POSITIONAL_OR_KEYWORD
            for each in inspect.signature(function).parameters.values()
        )
    }
    return [found[name] for name in sorted(found)]


class BusyEngine:
    """An engine with a peer, a record and operations under way, which hears what strangers say.

    It is made anew after ``LIFE`` datagrams, so that a find needs no long history.
    """

    LIFE = 200

    def __init__(self) -> None:
        self._heard = self.LIFE
        self._now = 0.0
        self._sent: list[tuple[bytes, bytes]] = []

    def hear(self, data: bytes) -> None:
        """The first byte chooses how the rest arrives: raw, or sealed by a peer or a stranger."""
        if self._heard >= self.LIFE:
            self._begin()
        self._heard += 1
        self._now += 0.01
        how, payload = data[0] % 4, data[1:]
        sealed = payload
        if how:
            channel = self._plain.PlainChannel(bytes([how]) * 32)
            # The asked peer answers with an id that is really under way; strangers invent one.
            request_id = self._asked_id() if how == 1 else bytes(8)
            if not SEALED_BYTES_MIN <= len(payload) <= SEALED_BYTES_MAX:
                return
            channel.ask(self._now, self._peer, request_id, payload)
            [(sealed, _)] = channel.datagrams_to_send()
        source = self._peer.address if how == 1 else self._stranger
        self._engine.receive_datagram(self._now, sealed, source)
        self._engine.handle_timeout(self._now)
        self._engine.events()
        self._sent = self._engine.datagrams_to_send() or self._sent

    def _begin(self) -> None:
        self._plain = importlib.import_module("dht.core.channel.plain")
        contacts = importlib.import_module("dht.contacts")
        identity = importlib.import_module("dht.identity").Identity.generate(Random(1))
        keyspace = importlib.import_module("dht.keyspace")
        records = importlib.import_module("dht.records")
        own = contacts.contact_at(identity.public_key, contacts.parse_address("9.0.0.1:1"))
        self._peer = contacts.contact_at(b"\1" * 32, contacts.parse_address("8.0.0.1:1"))
        self._stranger = contacts.parse_address("7.0.0.1:1")
        self._engine = importlib.import_module("dht.core.engine").Engine(
            identity,
            own,
            self._plain.PlainChannel(identity.public_key),
            Random(2),
            private_network=True,
        )
        self._heard = 0
        self._engine.start(self._now)
        self._engine.table.add(self._now, self._peer)
        key = keyspace.plain_key("k")
        self._engine.start_put(self._now, records.Kind.PLAIN, key, bytes(3000))
        self._engine.start_get(self._now, records.Kind.PLAIN, keyspace.plain_key("other"))
        self._sent = self._engine.datagrams_to_send()

    def _asked_id(self) -> bytes:
        for datagram, address in self._sent:
            if address == self._peer.address:
                return bytes(datagram[33:41])
        return bytes(8)


def _seeds(functions: int) -> Path:
    """A corpus to start from: every message of the vectors, said by the peer and by a stranger."""
    folder = FINDS / "seeds"
    folder.mkdir(exist_ok=True)
    rows = json.loads((VECTORS / "messages.json").read_text())
    for number, row in enumerate(rows):
        body = bytes.fromhex(row["frame"])[8:]
        for how in (1, 2):
            (folder / f"{number}-{how}").write_bytes(bytes([functions, how]) + body)
    return folder


def main() -> None:
    """Fuzz all targets at once: the first byte chooses one, the rest is cut into its arguments."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds

    functions = targets()
    remote_error: type[Exception] = importlib.import_module("dht.errors").RemoteError
    if not functions:
        sys.exit("nothing in dht/ ends in _untrusted and takes bytes alone: nothing to fuzz")
    engine = BusyEngine()
    print("dht.core.engine.Engine.receive_datagram", file=sys.stderr)
    for function in functions:
        print(f"{function.__module__}.{function.__name__}", file=sys.stderr)

    def try_one(data: bytes) -> None:
        if not data:
            return
        chosen = data[0] % (2 * len(functions))
        if chosen >= len(functions):  # half of the time: all that is behind the readers
            if len(data) > 1:
                engine.hear(data[1:])
            return
        function = functions[chosen]
        count = len(inspect.signature(function).parameters)
        size = -(-(len(data) - 1) // count)
        # The one thing that it may raise; the fuzzer stops at anything else.
        with contextlib.suppress(remote_error):
            function(*(data[1 + at * size : 1 + (at + 1) * size] for at in range(count)))

    FINDS.mkdir(exist_ok=True)
    limits = [
        f"-artifact_prefix={FINDS}/",
        f"-max_total_time={seconds}",
        f"-max_len={INPUT_BYTES_MAX}",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *limits, str(_seeds(len(functions)))], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
