"""`dht keygen`: a secret in a file, its public half on the screen, and nothing overwritten."""

import json
import stat
from pathlib import Path

import pytest

from dht.cli.options import reader
from dht.contacts import to_base32
from dht.identity import Identity
from dht.keyspace import solves_puzzle
from dht.shell.author import Author
from dht.shell.keyfiles import Use, fingerprint, load_identity, load_network_key, load_secret
from tests.cli.conftest import Run


def secret_in(path: Path) -> str:
    return path.read_text().split()[1]


def test_an_identity(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "node.key"
    for arguments in (["--identity", str(path)], [str(path) + "2"]):
        done = run("keygen", *arguments)
        identity = load_identity(arguments[-1])
        assert done.out.decode().splitlines() == [
            f"id: {identity.id.hex()}",
            f"uri: dht://{to_base32(identity.public_key)}@HOST:PORT",
        ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_author(run: Run, tmp_path: Path) -> None:
    done = run("keygen", "--author", str(tmp_path / "me"))
    author = Author.load(tmp_path / "me")
    assert done.out.decode() == f"author: {author.id}\n"
    # What readers are told is what they can use.
    assert reader(done.out.decode().split()[1]) == author.id


def test_a_network_key(run: Run, tmp_path: Path) -> None:
    done = run("keygen", "--network", str(tmp_path / "net"))
    key = load_network_key(tmp_path / "net")
    assert done.out.decode() == f"fingerprint: {fingerprint(Use.NETWORK, key)}\n"


@pytest.mark.parametrize("use", Use)
@pytest.mark.parametrize("as_json", [True, False])
def test_the_secret_is_never_printed(run: Run, tmp_path: Path, use: Use, *, as_json: bool) -> None:
    path = tmp_path / "key"
    done = run("keygen", f"--{use.value}", str(path), *(["--json"] if as_json else []))
    said = done.out.decode() + done.err
    assert done.status == 0
    assert secret_in(path) not in said
    if as_json:
        shape = json.loads(done.out)
        assert (shape["use"], shape["path"]) == (use.value, str(path))


def test_nothing_is_overwritten(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "key"
    run("keygen", str(path))
    before = path.read_bytes()
    done = run("keygen", "--network", str(path))
    assert (done.status, done.out) == (2, b"")
    assert "something already" in done.err
    assert path.read_bytes() == before


def test_no_two_keys_are_alike(run: Run, tmp_path: Path) -> None:
    for name in "abc":
        run("keygen", "--network", str(tmp_path / name))
    assert len({secret_in(tmp_path / name) for name in "abc"}) == 3


def test_an_id_may_be_made_dear(run: Run, tmp_path: Path) -> None:
    assert run("keygen", "--puzzle-bits", "6", str(tmp_path / "key")).status == 0
    assert solves_puzzle(load_identity(tmp_path / "key").id, 6)
    done = run("keygen", "--puzzle-bits", "6", "--author", str(tmp_path / "author"))
    assert done.status == 2
    assert not (tmp_path / "author").exists()


def test_what_was_printed_is_who_the_node_is(run: Run, tmp_path: Path) -> None:
    said = run("keygen", str(tmp_path / "key")).out.decode()
    secret = load_secret(tmp_path / "key", Use.IDENTITY)
    assert Identity.from_private_bytes(secret).id.hex() in said
