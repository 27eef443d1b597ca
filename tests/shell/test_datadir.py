"""A data_dir: for one node at a time, and what it remembers is read back or refused by name."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dht.contacts import pack_address
from dht.errors import LocalError
from dht.identity import Identity
from dht.shell import datadir
from dht.shell.datadir import KNOWN_NODES_MAX, DataDir

IDENTITY = Identity.generate(Random(1))
KEY, OTHER_KEY = b"k" * 32, b"o" * 32
LOOPBACK, WILDCARD6 = pack_address("127.0.0.1", 0), pack_address("::", 0)


def reopened(opened: DataDir) -> DataDir:
    opened.close()
    return DataDir.open(opened.path)


def test_it_is_made_where_there_is_none_and_closed_to_others(tmp_path: Path) -> None:
    opened = DataDir.open(tmp_path / "a" / "node")
    opened.know("192.0.2.1:4000", KEY)
    opened.keep_identity(IDENTITY)
    opened.author_bytes(Random(1))
    opened.close()
    assert stat.S_IMODE(opened.path.stat().st_mode) == 0o700
    for path in opened.path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_nodes_do_not_share_one(tmp_path: Path) -> None:
    first = DataDir.open(tmp_path)
    with pytest.raises(LocalError) as caught:
        DataDir.open(tmp_path)
    first.close()
    said = str(caught.value)
    assert str(tmp_path) in said
    assert f"process {os.getpid()}" in said
    assert "another node uses this data_dir" in said


def test_one_that_was_closed_or_whose_node_died_is_free(tmp_path: Path) -> None:
    opened = DataDir.open(tmp_path)
    opened.close()
    opened.close()
    code = (
        "import os, sys; from dht.shell.datadir import DataDir; "
        "held = DataDir.open(sys.argv[1]); os._exit(7)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        timeout=50,
        check=False,
    )
    assert done.returncode == 7
    DataDir.open(tmp_path).close()


def test_a_program_that_changes_directory_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    opened = DataDir.open("node")
    monkeypatch.chdir("/")
    opened.know("192.0.2.1:4000", KEY)
    opened.close()
    assert (tmp_path / "node" / "known-nodes").is_file()


def test_an_identity_and_an_author_are_made_once(tmp_path: Path) -> None:
    opened = DataDir.open(tmp_path)
    assert opened.load_identity() is None
    assert opened.keep_identity(IDENTITY) == IDENTITY
    author = opened.author_bytes(Random(3))
    opened = reopened(opened)
    assert opened.load_identity() == IDENTITY
    assert opened.keep_identity(Identity.generate(Random(2))) == IDENTITY
    assert opened.author_bytes(Random(2)) == author != IDENTITY.private_key.private_bytes_raw()
    opened.close()


def test_an_identity_that_leads_nowhere_is_refused_and_not_made_anew(tmp_path: Path) -> None:
    opened = DataDir.open(tmp_path)
    (tmp_path / "identity").symlink_to("gone")
    with pytest.raises(LocalError, match="symbolic link"):
        opened.load_identity()
    opened.close()


# ---- known nodes ----


def test_who_answered_where_is_remembered(tmp_path: Path) -> None:
    opened = DataDir.open(tmp_path)
    opened.know("192.0.2.1:4000", KEY)
    opened.know("seed.example:4000", OTHER_KEY)
    opened = reopened(opened)
    assert opened.known_nodes == {"192.0.2.1:4000": KEY, "seed.example:4000": OTHER_KEY}
    before = opened.known_nodes_path.stat().st_mtime_ns
    opened.know("192.0.2.1:4000", KEY)
    assert opened.known_nodes_path.stat().st_mtime_ns == before
    opened.close()


def test_a_person_may_remove_a_line(tmp_path: Path) -> None:
    opened = DataDir.open(tmp_path)
    opened.know("192.0.2.1:4000", KEY)
    opened.know("192.0.2.2:4000", KEY)
    lines = opened.known_nodes_path.read_text().splitlines()
    kept = [line for line in lines if "192.0.2.1" not in line]
    opened.known_nodes_path.write_text("\n \n".join(kept))
    assert reopened(opened).known_nodes == {"192.0.2.2:4000": KEY}


def test_it_does_not_grow_without_end(tmp_path: Path) -> None:
    opened = DataDir.open(tmp_path)
    opened.known_nodes = {f"192.0.2.1:{port}": KEY for port in range(1, KNOWN_NODES_MAX + 1)}
    opened.know("192.0.2.2:1", KEY)
    assert "192.0.2.2:1" not in opened.known_nodes
    opened.know("192.0.2.1:1", OTHER_KEY)
    assert reopened(opened).known_nodes["192.0.2.1:1"] == OTHER_KEY


# ---- ports ----


def test_the_last_port_is_remembered_for_each_place(tmp_path: Path) -> None:
    opened = DataDir.open(tmp_path)
    assert opened.with_last_port(LOOPBACK) == LOOPBACK
    given = pack_address("127.0.0.1", 4000)
    assert opened.with_last_port(given) == given
    bound = {LOOPBACK: pack_address("127.0.0.1", 5001), WILDCARD6: pack_address("::", 5002)}
    opened.listened(bound)
    opened.listened({})
    opened = reopened(opened)
    assert {asked: opened.with_last_port(asked) for asked in bound} == bound
    assert opened.with_last_port(given) == given
    opened.close()


# ---- what is not as it should be ----


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("known-nodes", "# fine\n192.0.2.1:4000\n", "line 2"),
        ("known-nodes", "192.0.2.1:4000 abc", "line 1"),
        ("known-nodes", "192.0.2.1:4000 " + "a" * 52 + " x", "line 1"),
        ("known-nodes", "\x00\xff", "line 1"),
        ("known-nodes", "x" * (2**20 + 1), "longer than"),
        ("ports", "127.0.0.1:0 0", "line 1"),
        ("ports", "127.0.0.1:0 65536", "line 1"),
        ("ports", "127.0.0.1:0 many", "line 1"),
        ("ports", "nowhere 4000", "line 1"),
        ("ports", "4000", "line 1"),
    ],
)
def test_a_file_that_is_garbled_is_refused_by_name_and_leaves_the_lock_free(
    tmp_path: Path, name: str, text: str, shown: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    for _ in range(2):
        with pytest.raises(LocalError) as caught:
            DataDir.open(tmp_path)
        assert str(path) in str(caught.value)
        assert shown in str(caught.value)
    assert path.read_text() == text
    path.unlink()
    DataDir.open(tmp_path).close()


def test_what_is_no_directory_or_has_another_in_the_place_of_a_file_is_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(LocalError, match="expected a directory"):
        DataDir.open(tmp_path / "file")
    (tmp_path / "known-nodes").mkdir()
    with pytest.raises(LocalError, match="cannot read it"):
        DataDir.open(tmp_path)
    (tmp_path / "lock").unlink()
    (tmp_path / "lock").symlink_to("file")
    with pytest.raises(LocalError, match="cannot open it"):
        DataDir.open(tmp_path)
    assert (tmp_path / "file").read_text() == "x"


def test_what_a_killed_node_left_half_written_is_removed_and_nothing_else(tmp_path: Path) -> None:
    names = [".identity-0123456789abcdef.new", "notes", ".profile", "x-0123456789abcdef.new"]
    for name in names:
        (tmp_path / name).write_text("x")
    (tmp_path / ".directory-0123456789abcdef.new").mkdir()
    DataDir.open(tmp_path).close()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*names[1:], "lock", ".directory-0123456789abcdef.new"}


class NoLocks:
    """A file system without locks, as some network ones are."""

    LOCK_EX = LOCK_NB = 0

    def flock(self, *_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize(("instead", "said"), [(None, "needs file locks"), (NoLocks(), "lock it")])
def test_without_locks_there_is_no_data_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instead: Any, said: str
) -> None:
    monkeypatch.setattr(datadir, "fcntl", instead)
    with pytest.raises(LocalError, match=said):
        DataDir.open(tmp_path)
