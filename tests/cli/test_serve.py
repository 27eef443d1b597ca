"""`dht node`: it says who it is first, then what happens, until it is told to stop."""

import io
import json
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

import dht
from dht.cli.shapes import event_line, event_shape
from dht.contacts import BareAddress, HostName, contact_at, parse_address, parse_uri
from dht.core.events import (
    AddressChanged,
    Alone,
    Event,
    Identified,
    Joined,
    JoinFailed,
    KeyChanged,
    MessageArrived,
    MessageId,
    OperationFinished,
    OperationId,
    PeerAdded,
    PeerRemoved,
    ReachabilityChanged,
    RecordStored,
)
from dht.keyspace import Key, solves_puzzle
from dht.records import Kind
from dht.shell.stream import EventsLost
from tests.cli.conftest import Network, Run, start

PEER = contact_at(bytes(32), parse_address("127.0.0.1:9"))


class Paper(io.StringIO):
    """Standard output that raises a signal when a line with some text has been printed.

    ``then`` is called, once, with the first line.
    """

    def __init__(
        self, text: str, number: signal.Signals, then: Callable[[str], None] = lambda _: None
    ) -> None:
        super().__init__()
        self._text = text
        self._number = number
        self._then: Callable[[str], None] | None = then

    def flush(self) -> None:
        if self._then is not None:
            then, self._then = self._then, None
            then(self.getvalue().splitlines()[0])
        if self._text and self._text in self.getvalue():
            self._text = ""
            signal.raise_signal(self._number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_line_is_the_uri_and_a_signal_ends_it_well(
    number: signal.Signals, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = Paper("dht://", number)
    monkeypatch.setattr(sys, "stdout", paper)
    assert run("node", "--listen", "127.0.0.1:0").status == 0
    contact = parse_uri(paper.getvalue().splitlines()[0])
    assert contact.uri.split("@")[1].startswith("127.0.0.1:")


def test_quiet_is_the_uri_alone(
    network: Network, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = Paper("dht://", signal.SIGTERM)
    monkeypatch.setattr(sys, "stdout", paper)
    assert run("node", "--quiet", "--client", "--listen", "127.0.0.1:0").status == 0
    assert paper.getvalue().startswith("dht://")
    assert paper.getvalue().count("\n") == 1


def test_it_says_that_it_joined(
    network: Network, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = Paper("joined: ", signal.SIGTERM)
    monkeypatch.setattr(sys, "stdout", paper)
    assert run("node", "--listen", "127.0.0.1:0", "--client").status == 0
    assert "joined: " in paper.getvalue()


def test_json_is_an_object_a_line(
    network: Network, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = Paper("listening", signal.SIGTERM)
    monkeypatch.setattr(sys, "stdout", paper)
    assert run("node", "--listen", "127.0.0.1:0", "--json", "--client").status == 0
    said = json.loads(paper.getvalue().splitlines()[0])
    assert said["event"] == "listening"
    assert parse_uri(said["uri"]).id.hex() == said["id"]
    assert said["contacts"] == len(network.uris)
    assert len(said["addresses"]) == 1


def test_it_keeps_its_identity_and_its_port_in_a_data_dir(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = []
    for _ in range(2):
        paper = Paper("dht://", signal.SIGTERM)
        monkeypatch.setattr(sys, "stdout", paper)
        arguments = ["--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "node")]
        assert run("node", *arguments, "--puzzle-bits", "4").status == 0
        said.append(paper.getvalue().splitlines()[0])
    assert said[0] == said[1]
    assert solves_puzzle(parse_uri(said[0]).id, 4)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_what_happens_is_told_a_line_each(
    options: list[str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def visit(line: str) -> None:
        uri = json.loads(line)["uri"] if options else line
        visitors.append(threading.Thread(target=trio.run, args=[put, uri]))
        visitors[0].start()

    async def put(uri: str) -> None:
        async with dht.open_node("127.0.0.1:0", bootstrap=uri, client=True) as node:
            await node.put("greeting", b"hello")

    visitors: list[threading.Thread] = []
    wanted = "record_stored" if options else "stored plain"
    paper = Paper(wanted, signal.SIGTERM, visit)
    monkeypatch.setattr(sys, "stdout", paper)
    assert run("node", "--listen", "127.0.0.1:0", *options).status == 0
    visitors[0].join(20)
    assert wanted in paper.getvalue().splitlines()[-1]


def test_what_is_told_to_others_can_be_chosen(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = Paper("dht://", signal.SIGTERM)
    monkeypatch.setattr(sys, "stdout", paper)
    run("node", "--listen", "127.0.0.1:0", "--advertise", "192.0.2.7:4000")
    assert paper.getvalue().splitlines()[0].endswith("@192.0.2.7:4000")


def test_a_busy_port_is_status_2_and_a_sentence(network: Network, run: Run) -> None:
    place = network.uris[0].split("@")[1]
    done = run("node", "--listen", place)
    assert done.status == 2
    assert f"cannot listen on {place}" in done.err
    assert "Traceback" not in done.err


def test_an_address_that_is_none_is_status_2(run: Run) -> None:
    done = run("node", "--listen", "localhost")
    assert done.status == 2
    assert "host:port" in done.err


def test_two_processes_find_each_other_and_one_stores_for_the_other() -> None:
    first = start("node", "--listen", "127.0.0.1:0", "--json")
    assert first.stdout is not None
    try:
        uri = json.loads(first.stdout.readline())["uri"]
        put = start("put", "greeting", "hello", "--bootstrap", uri)
        assert "stored by 1" in put.communicate(timeout=20)[0]
        said = json.loads(first.stdout.readline())
        while said["event"] != "record_stored":
            said = json.loads(first.stdout.readline())
        assert said["kind"] == "plain"
    finally:
        first.terminate()
        _, err = first.communicate(timeout=20)
    assert first.returncode == 0
    assert err == ""


# -------------------------------------------------------------------------------------- events

EVENTS: list[tuple[Event | EventsLost, str, str]] = [
    (Joined(3), "joined", "joined: 3 contacts"),
    (
        JoinFailed((PEER,), 1.5),
        "join_failed",
        "nobody answers (127.0.0.1:9); trying again in 1.5 s",
    ),
    (JoinFailed((), 1.0), "join_failed", "nobody answers (nobody to ask); trying again in 1.0 s"),
    (
        JoinFailed((BareAddress(PEER.address), HostName("seed.example", 4000)), 1.0),
        "join_failed",
        "nobody answers (127.0.0.1:9, seed.example:4000); trying again in 1.0 s",
    ),
    (
        Identified("seed.example:4000", PEER),
        "identified",
        f"seed.example:4000 is {PEER.id.hex()[:8]} at 127.0.0.1:9",
    ),
    (
        KeyChanged("127.0.0.1:9", bytes(32), b"\x01" + bytes(31)),
        "key_changed",
        f"not taken: 127.0.0.1:9 has the key ae{'a' * 50} now, and had {'a' * 52} before",
    ),
    (Alone(), "alone", "alone: nobody answers any more"),
    (PeerAdded(PEER), "peer_added", f"+ {PEER.id.hex()[:8]} at 127.0.0.1:9"),
    (PeerRemoved(PEER), "peer_removed", f"- {PEER.id.hex()[:8]} at 127.0.0.1:9"),
    (
        MessageArrived(MessageId(1), "chat", Key(1), b"hello"),
        "message_arrived",
        "5 bytes for 'chat' from 00000000",
    ),
    (RecordStored(Kind.PLAIN, Key(1), 7), "record_stored", "stored plain 000000000000 version 7"),
    (
        AddressChanged(PEER),
        "address_changed",
        f"others see this node at another address: {PEER.uri}",
    ),
    (
        ReachabilityChanged("yes", serving=True),
        "reachability_changed",
        "strangers reach this node; it serves",
    ),
    (
        ReachabilityChanged("no", serving=False),
        "reachability_changed",
        "strangers do not reach this node; it is a client",
    ),
    (
        ReachabilityChanged("unknown", serving=True),
        "reachability_changed",
        "nobody can tell whether strangers reach this node; it serves",
    ),
    (EventsLost(5), "events_lost", "5 events went by too fast to be shown"),
    (OperationFinished(OperationId(4)), "operation_finished", "operation 4 ended"),
]


@pytest.mark.parametrize(("event", "name", "line"), EVENTS, ids=[each[1] for each in EVENTS])
def test_an_event_is_a_line_and_an_object(event: Event | EventsLost, name: str, line: str) -> None:
    assert event_line(event) == line
    assert json.loads(json.dumps(event_shape(event)))["event"] == name
