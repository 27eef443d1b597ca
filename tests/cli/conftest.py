"""A small real network for the commands to talk to, and a way to run them."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import attrs
import pytest
import trio

import dht
from dht.cli import main

ROOT = Path(__file__).parents[2]
NODES = 3


@attrs.frozen
class Done:
    """What became of a command."""

    status: int
    out: bytes
    err: str


@attrs.define(eq=False)
class Network:
    """Three nodes on loopback, in a thread of their own as the commands run trio themselves."""

    network_key: bytes | None = None
    uris: list[str] = attrs.field(factory=list)
    _ready: threading.Event = attrs.field(factory=threading.Event)
    _thread: threading.Thread = attrs.field(init=False)
    _stop: Callable[[], None] = attrs.field(default=lambda: None)

    def __attrs_post_init__(self) -> None:
        self._thread = threading.Thread(target=trio.run, args=[self._serve])

    async def _serve(self) -> None:
        over = trio.Event()
        token = trio.lowlevel.current_trio_token()
        self._stop = lambda: token.run_sync_soon(over.set)
        async with AsyncExitStack() as stack:
            for _ in range(NODES):
                opened = dht.open_node(
                    "127.0.0.1:0", bootstrap=self.uris[:1], network_key=self.network_key
                )
                self.uris.append((await stack.enter_async_context(opened)).uri)
            self._ready.set()
            await over.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._thread.join(20)


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    with Network() as running:
        yield running


@pytest.fixture(autouse=True)
def bootstrap_in_the_environment(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whom the commands ask unless they are told; nobody for a test that has no network."""
    for name in ("BOOTSTRAP", "NETWORK", "NETWORK_KEY", "NETWORK_KEY_FILE"):
        monkeypatch.delenv(f"DHT_{name}", raising=False)
    if "network" in request.fixturenames:
        network: Network = request.getfixturevalue("network")
        monkeypatch.setenv("DHT_BOOTSTRAP", "  ".join(network.uris[:2]))


Run = Callable[..., Done]


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs a command line in this process."""

    def run(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert isinstance(ended.value.code, int)
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return Done(ended.value.code, out, err.decode())

    return run


def start(*arguments: str, stdout: int | None = subprocess.PIPE) -> "subprocess.Popen[str]":
    """Starts a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "dht", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
