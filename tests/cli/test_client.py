"""`dht put`, `get`, `delete` and `lookup` against three real nodes."""

import io
import json
import sys
from base64 import b64decode
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.cli import client
from dht.cli.options import duration
from dht.contacts import contact_at, parse_address
from dht.keyspace import Key, content_key, plain_key
from dht.records import value_hash
from tests.cli.conftest import NODES, Network, Run, start

VALUE = b"\x00\xff raw \r\n bytes, no newline at the end"
NOBODY = contact_at(bytes(32), parse_address("127.0.0.1:9")).uri


def stdin_of(value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(value)))


# --------------------------------------------------------------------------------- put and get


def test_a_value_from_an_argument_comes_back_as_it_was(network: Network, run: Run) -> None:
    assert run("put", "argument", "grüße").status == 0
    done = run("get", "argument")
    assert (done.status, done.out.decode(), done.err) == (0, "grüße", "")


def test_a_value_from_a_file_comes_back_as_it_was(
    network: Network, run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "value"
    path.write_bytes(VALUE)
    assert run("put", "file", "--file", str(path)).status == 0
    assert run("get", "file").out == VALUE


def test_a_value_from_standard_input_comes_back_as_it_was(
    network: Network, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin_of(VALUE, monkeypatch)
    assert run("put", "stdin", "-").status == 0
    assert run("get", "stdin").out == VALUE


def test_an_empty_value_is_a_value(network: Network, run: Run) -> None:
    assert run("put", "empty", "").status == 0
    done = run("get", "empty")
    assert (done.status, done.out) == (0, b"")


def test_a_large_value_comes_back_as_it_was(
    network: Network, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = bytes(range(256)) * 400
    stdin_of(large, monkeypatch)
    assert run("put", "large", "-").status == 0
    assert run("get", "large").out == large


def test_put_says_who_stored(network: Network, run: Run) -> None:
    done = run("put", "said", "x")
    assert done.out.startswith(b"said: version ")
    assert b"stored by" in done.out


def test_put_as_json(network: Network, run: Run) -> None:
    said = json.loads(run("put", "json", "x", "--json", "--ttl", "15m", "--replicas", "2").out)
    assert said["key"] == plain_key("json").hex()
    assert said["version"] > 0
    assert len(said["stored"]) + len(said["pending"]) == 2
    assert {contact["uri"] for contact in said["stored"]} <= set(network.uris)
    assert (said["refused"], said["silent"]) == ([], [])


def test_a_key_that_nobody_has_is_status_1(network: Network, run: Run) -> None:
    done = run("get", "nothing here")
    assert (done.status, done.out) == (1, b"")
    assert "nothing here: not found" in done.err


def test_get_as_json(network: Network, run: Run) -> None:
    run("put", "shape", "hello")
    said = json.loads(run("get", "shape", "--json").out)
    assert (said["found"], said["text"], said["size"]) == (True, "hello", 5)
    assert b64decode(said["value_base64"]) == b"hello"
    assert said["deleted"] is False
    assert said["key"] == said["trace"]["target"] == plain_key("shape").hex()
    assert said["trace"]["steps"][0]["result"] in {"record", "answered"}


def test_get_of_nothing_as_json(network: Network, run: Run) -> None:
    done = run("get", "no shape", "--json")
    said = json.loads(done.out)
    assert done.status == 1
    assert (said["found"], said["value_base64"], said["version"]) == (False, None, None)


def test_bytes_that_are_no_text_are_base64_in_json(
    network: Network, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin_of(VALUE, monkeypatch)
    run("put", "no text", "-")
    said = json.loads(run("get", "no text", "--json").out)
    assert said["text"] is None
    assert b64decode(said["value_base64"]) == VALUE


def test_explain_draws_a_tree_and_leaves_the_value_raw(network: Network, run: Run) -> None:
    run("put", "explained", "x")
    done = run("get", "explained", "--explain")
    assert done.out == b"x"
    assert "└─" in done.err
    assert "bits shared" in done.err


def test_quorum_asks_so_many_holders(network: Network, run: Run) -> None:
    run("put", "quorum", "x", "--quorum", str(NODES))
    said = json.loads(run("get", "quorum", "--quorum", "2", "--json").out)
    assert said["agreed"] >= 2


def test_output_goes_to_a_file(network: Network, run: Run, tmp_path: Path) -> None:
    run("put", "output", "x")
    path = tmp_path / "value"
    done = run("get", "output", "--output", str(path))
    assert (done.status, done.out, path.read_bytes()) == (0, b"", b"x")


def test_nothing_found_leaves_the_file_alone(network: Network, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "value"
    path.write_bytes(b"old")
    assert run("get", "no output", "--output", str(path)).status == 1
    assert path.read_bytes() == b"old"


def test_a_file_that_cannot_be_written_is_a_sentence(
    network: Network, run: Run, tmp_path: Path
) -> None:
    run("put", "unwritable", "x")
    done = run("get", "unwritable", "--output", str(tmp_path / "no" / "folder"))
    assert done.status == 2
    assert "cannot write" in done.err


# ------------------------------------------------------------------------------------- content


def test_content_is_found_by_what_put_prints(network: Network, run: Run) -> None:
    key = run("put", "--content", "immutable").out.decode().strip()
    assert key == content_key(value_hash(b"immutable")).hex()
    assert run("get", "--content", key).out == b"immutable"
    said = json.loads(run("get", "--content", key, "--json").out)
    assert (said["key"], said["found"], said["text"]) == (key, True, "immutable")


def test_content_that_nobody_has_is_status_1(network: Network, run: Run) -> None:
    assert run("get", "--content", Key(7).hex()).status == 1


# ------------------------------------------------------------------------------ delete, lookup


def test_a_deleted_key_is_status_1_and_says_so(network: Network, run: Run) -> None:
    run("put", "deleted", "x")
    assert run("delete", "deleted").out.startswith(b"deleted deleted: version ")
    done = run("get", "deleted", "--json")
    assert done.status == 1
    assert json.loads(done.out)["deleted"] is True
    assert "deleted: deleted (version " in done.err


def test_delete_as_json(network: Network, run: Run) -> None:
    said = json.loads(run("delete", "never was", "--json").out)
    assert said["stored"]


def test_lookup_finds_all_of_three_nodes_nearest_first(network: Network, run: Run) -> None:
    done = run("lookup", "somewhere")
    assert done.status == 0
    assert "└─" in done.out.decode()
    said = json.loads(run("lookup", "somewhere", "--json").out)
    assert {contact["uri"] for contact in said["closest"]} == set(network.uris)
    shared = [contact["shared_bits"] for contact in said["closest"]]
    assert shared == sorted(shared, reverse=True)
    assert said["target"] == plain_key("somewhere").hex()


def test_lookup_of_a_place_takes_its_digits(network: Network, run: Run) -> None:
    place = Key(0xABC).hex()
    assert json.loads(run("lookup", "--hex", place, "--json").out)["target"] == place


# --------------------------------------------------------------------------- what goes wrong


def test_a_version_conflict_is_status_3_with_a_sentence(network: Network, run: Run) -> None:
    assert run("put", "once", "x", "--if-version", "0").status == 0
    done = run("put", "once", "y", "--if-version", "0", "--json")
    assert done.status == 3
    assert json.loads(done.out)["error"] == "VersionConflict"
    assert "dht: " in done.err
    assert run("get", "once").out == b"x"


def test_too_few_owners_is_status_3(network: Network, run: Run) -> None:
    done = run("put", "demanding", "x", "--quorum", "5")
    assert done.status == 3
    assert "Traceback" not in done.err


def test_an_unreachable_bootstrap_is_status_3_within_10_seconds() -> None:
    """In a process of its own: the limit is on all that a user waits for."""
    process = start("get", "x", "--bootstrap", NOBODY, "--json")
    out, err = process.communicate(timeout=10)
    assert process.returncode == 3
    assert "127.0.0.1:9" in err
    assert "Traceback" not in err
    assert json.loads(out)["error"] == "NoPeers"


def test_a_join_that_drags_on_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "JOIN_MAX_S", 0.01)
    done = run("lookup", "x", "--bootstrap", NOBODY)
    assert done.status == 3
    assert "tried 127.0.0.1:9" in done.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["get", "x", "--bootstrap", "http://nonsense"], "expected 'dht://"),
        (["get", "x", "--bootstrap", "dht://abc@127.0.0.1:9"], "52 base32 characters"),
        (["get", "x"], "nobody to ask"),
        (["get", "x", "--bootstrap", "localhost"], "'host:port'"),
        (["get", "x", "--bootstrap", NOBODY, "--network", ""], "a network is named by"),
        (["get", "x", "--bootstrap", NOBODY, "--network-key-file", "/no/such"], "found nothing"),
        (["get", "x", "--bootstrap", NOBODY, "--identity", "/"], "found a directory"),
        (["get", "x", "--bootstrap", NOBODY, "--data-dir", "/dev/null"], "expected a directory"),
        (["put", "--bootstrap", NOBODY], "say which KEY"),
        (["put", "x", "--bootstrap", NOBODY], "say one value"),
        (["put", "x", "y", "--file", __file__, "--bootstrap", NOBODY], "say one value"),
        (["put", "--content", "x", "y", "--bootstrap", NOBODY], "no KEY"),
        (["put", "--content", "x", "--if-version", "0", "--bootstrap", NOBODY], "never changes"),
        (["put", "x", "y", "--ttl", "soon", "--bootstrap", NOBODY], "15m"),
        (["put", "x", "--file", "/no/such/file", "--bootstrap", NOBODY], "/no/such/file"),
        (["get", "--content", "xyz", "--bootstrap", NOBODY], "hexadecimal digits"),
        (["get", "--content", "xyz", "--explain", "--bootstrap", NOBODY], "checks itself"),
        (["lookup", "--hex", "xyz", "--bootstrap", NOBODY], "hexadecimal digits"),
        (["fetch", "x"], "No such command"),
    ],
)
def test_a_mistake_is_status_2_and_a_sentence(
    arguments: list[str], sentence: str, run: Run
) -> None:
    done = run(*arguments)
    assert (done.status, done.out) == (2, b"")
    assert sentence in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("arguments", [("--quorum", "99"), ("--replicas", "0"), ("--ttl", "0")])
def test_a_number_that_cannot_be_is_status_2(
    arguments: tuple[str, str], network: Network, run: Run
) -> None:
    assert run("put", "x", "y", *arguments).status == 2


def test_standard_input_without_end_is_not_read_to_its_end(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin_of(bytes(client.VALUE_SIZE_MAX + 5), monkeypatch)
    done = run("put", "x", "-", "--bootstrap", NOBODY)
    assert done.status == 2
    assert "standard input holds more than 1048576 bytes" in done.err


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="only Linux has it")
def test_a_file_that_cannot_be_read_is_a_sentence(run: Run) -> None:
    """Nothing is mapped at address 0, so that reading this one fails for everybody."""
    done = run("put", "x", "--file", "/proc/self/mem", "--bootstrap", NOBODY)
    assert done.status == 2
    assert "cannot read '/proc/self/mem'" in done.err


def test_a_reader_that_goes_away_ends_it_quietly(network: Network, run: Run) -> None:
    run("put", "piped", "x")
    process = start("get", "piped")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(20) == 141
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


# ---------------------------------------------------------------------------------- durations


@given(st.integers(0, 10**6), st.sampled_from([("", 1), ("s", 1), ("m", 60), ("h", 3600)]))
def test_a_duration_is_a_number_and_a_unit(number: int, unit: tuple[str, int]) -> None:
    assert duration(f"{number}{unit[0]}") == number * unit[1]


@pytest.mark.parametrize("text", ["", "soon", "-5", "5w", "1.m", "nan", "5 m", "٣"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        duration(text)


def test_what_is_asked_of_both_families_listens_on_both() -> None:
    four, six = (contact_at(bytes(32), parse_address(at)) for at in ("127.0.0.1:9", "[::1]:9"))
    assert client._listen_for((four,)) == ["0.0.0.0:0"]
    assert client._listen_for((six,)) == ["[::]:0"]
    assert client._listen_for((six, four)) == ["0.0.0.0:0", "[::]:0"]
