"""How commands find a network: by a host and a port, a name, a key in a file or the environment."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.cli import client
from dht.cli.options import network_keys_of
from dht.contacts import BareAddress, HostName, parse_address, parse_introducer, to_base32
from dht.errors import LocalError
from dht.shell.keyfiles import Use, create_secret, key_line
from dht.shell.udp import UdpPort
from tests.cli.conftest import Network, Run
from tests.shell.virtual import has_ipv6

KEY, NEW_KEY = bytes(range(32)), b"n" * 32


def place_of(uri: str) -> str:
    return uri.partition("@")[2]


def test_a_host_and_a_port_are_enough(network: Network, run: Run) -> None:
    place = place_of(network.uris[0])
    assert run("put", "bare", "x", "--bootstrap", place).status == 0
    port = place.rpartition(":")[2]
    assert run("get", "bare", "--bootstrap", f"localhost:{port}").out == b"x"


def test_a_data_dir_remembers_who_answered(network: Network, run: Run, tmp_path: Path) -> None:
    place = place_of(network.uris[0])
    arguments = ["get", "nothing", "--bootstrap", place, "--data-dir", str(tmp_path)]
    assert run(*arguments).status == 1
    known = tmp_path / "known-nodes"
    assert place in known.read_text()
    known.write_text(f"{place} {'a' * 52}\n")
    done = run(*arguments)
    assert done.status == 2
    assert place in done.err
    assert "a" * 52 in done.err
    assert str(known) in done.err


@pytest.mark.parametrize(
    ("bootstrap", "families"),
    [
        (["127.0.0.1:4000"], ["0.0.0.0:0"]),
        (["[::1]:4000"], ["[::]:0"]),
        (["127.0.0.1:4000", "[::1]:4000"], ["0.0.0.0:0", "[::]:0"]),
        (["seed.example:4000"], ["0.0.0.0:0", "[::]:0"] if has_ipv6() else ["0.0.0.0:0"]),
    ],
)
def test_a_command_listens_where_there_may_be_somebody_to_speak_to(
    bootstrap: list[str], families: list[str]
) -> None:
    assert client._listen_for(tuple(map(parse_introducer, bootstrap))) == families


def test_a_machine_without_ipv6_looks_for_ipv4_addresses_of_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise LocalError("this machine does not speak that family of addresses")

    monkeypatch.setattr(UdpPort, "bind", refuse)
    assert client._listen_for((HostName("seed.example", 4000),)) == ["0.0.0.0:0"]
    assert client._listen_for((BareAddress(parse_address("[::1]:1")),)) == ["[::]:0"]


# ---- private networks ----


@pytest.fixture(scope="module")
def private() -> Iterator[Network]:
    with Network(network_key=KEY) as running:
        yield running


def test_a_private_network_answers_who_has_its_key(
    private: Network, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DHT_BOOTSTRAP", place_of(private.uris[0]))
    create_secret(tmp_path / "network.key", Use.NETWORK, KEY)
    create_secret(tmp_path / "new.key", Use.NETWORK, NEW_KEY)
    name = ["--network-key-file", str(tmp_path / "network.key")]
    assert run("put", "private", "x", *name).status == 0
    assert run("get", "private", *name, name[0], str(tmp_path / "new.key")).out == b"x"

    done = run("get", "private")
    assert done.status == 3
    assert "nobody answered, and a wrong or missing network key looks the same" in done.err
    assert run("get", "private", *name, "--network", "other").status == 3

    monkeypatch.setenv("DHT_NETWORK_KEY_FILE", name[1])
    assert run("get", "private").out == b"x"
    monkeypatch.setenv("DHT_NETWORK_KEY", to_base32(KEY))
    done = run("get", "private")
    assert done.status == 2
    assert "not both" in done.err
    monkeypatch.delenv("DHT_NETWORK_KEY_FILE")
    assert run("get", "private").out == b"x"
    # What is said comes before what is in the environment.
    assert run("get", "private", name[0], str(tmp_path / "new.key")).status == 3


def test_an_author_is_no_network_key(network: Network, run: Run, tmp_path: Path) -> None:
    create_secret(tmp_path / "me", Use.AUTHOR, KEY)
    done = run("get", "x", "--network-key-file", str(tmp_path / "me"))
    assert done.status == 2
    assert "expected a network key, found an author" in done.err


def shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:30])


def linked(path: Path) -> None:
    path.symlink_to(path.rename(path.with_name("elsewhere")))


def opened(path: Path) -> None:
    path.chmod(0o644)


def made_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


OPTIONS = {
    Use.NETWORK: "--network-key-file",
    Use.IDENTITY: "--identity",
    Use.AUTHOR: "--author",
}


@pytest.mark.parametrize("use", Use)
@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (shortened, "cut short"),
        (linked, "a symbolic link"),
        (opened, "others may read"),
        (made_a_directory, "a directory"),
        (Path.unlink, "found nothing"),
    ],
)
def test_a_key_file_that_is_not_as_it_should_be_is_named(
    run: Run, tmp_path: Path, use: Use, spoil: Callable[[Path], None], found: str
) -> None:
    path = tmp_path / "a.key"
    create_secret(path, use, KEY)
    spoil(path)
    done = run("put", "k", "v", "--bootstrap", "127.0.0.1:9", OPTIONS[use], str(path))
    assert done.status == 2
    assert f"{path}: expected {use.noun}, found" in done.err
    assert found in done.err
    assert to_base32(KEY) not in done.err


def test_a_key_file_for_another_use_is_told_apart(run: Run, tmp_path: Path) -> None:
    create_secret(tmp_path / "me", Use.AUTHOR, KEY)
    create_secret(tmp_path / "node", Use.IDENTITY, KEY)
    for option, name, said in (
        ("--identity", "me", "expected a node identity, found an author"),
        ("--author", "node", "expected an author, found a node identity"),
    ):
        words = ("put", "k", "v", "--bootstrap", "127.0.0.1:9", option, str(tmp_path / name))
        done = run(*words)
        assert done.status == 2
        assert said in done.err


def test_a_plain_put_to_a_public_address_names_the_three_ways_out(run: Run) -> None:
    done = run("put", "k", "v", "--bootstrap", "8.8.8.8:4000")
    assert done.status == 2
    for way in ("author=", "network_key", "Config.plain_on_open_network=True"):
        assert way in done.err


keys = st.binary(min_size=32, max_size=32)


@given(st.lists(st.tuples(keys, st.booleans())))
def test_keys_in_the_environment_are_letters_or_whole_lines(
    given: list[tuple[bytes, bool]],
) -> None:
    text = "  ".join(
        key_line(Use.NETWORK, key).decode() if whole else to_base32(key) for key, whole in given
    )
    assert network_keys_of(text) == tuple(key for key, _ in given)


@pytest.mark.parametrize(
    "text",
    [
        to_base32(KEY)[:-1],
        to_base32(KEY) + "a",
        KEY.hex(),
        "dht-network-1",
        "dht-network-1 " + to_base32(KEY),
        key_line(Use.AUTHOR, KEY).decode(),
        key_line(Use.NETWORK, KEY).decode().replace("aaaq", "aaar"),
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(LocalError) as caught:
        network_keys_of(text)
    assert "DHT_NETWORK_KEY" in str(caught.value)
    assert to_base32(KEY)[4:30] not in str(caught.value)
    assert KEY.hex() not in str(caught.value)
