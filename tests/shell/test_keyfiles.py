"""Key files: whole or absent whatever fails, nobody else's, and never mistaken for another use."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.errors import LocalError
from dht.identity import Identity
from dht.shell import keyfiles
from dht.shell.author import Author
from dht.shell.keyfiles import (
    LEFT_OVER,
    Use,
    create_secret,
    fingerprint,
    key_line,
    load_identity,
    load_network_key,
    load_or_create_author_bytes,
    load_or_create_identity,
    load_or_create_secret,
    load_secret,
    make_directory,
    replace_file,
)

ROOT = Path(__file__).parents[2]
SECRET, OTHER = bytes(range(32)), b"o" * 32
LINE = key_line(Use.IDENTITY, SECRET)
IDENTITY = Identity.from_private_bytes(SECRET)
SECRET_LETTERS = LINE.split()[1].decode()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refusal(path: Path, use: Use = Use.IDENTITY) -> str:
    """What is said about a file that is refused: always its path, and never a secret."""
    before = path.read_bytes() if path.is_file() else None
    said = list[str]()
    loads: list[Callable[[], bytes]] = [
        lambda: load_secret(path, use),
        lambda: load_or_create_secret(path, use, lambda: OTHER),
    ]
    for load in loads:
        with pytest.raises(LocalError) as caught:
            load()
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert str(path) in said[0]
    assert SECRET_LETTERS not in said[0]
    assert (path.read_bytes() if path.is_file() else None) == before
    return said[0]


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


# ---- the format ----


def test_a_key_file_is_one_line_that_says_what_it_is_for(tmp_path: Path) -> None:
    create_secret(tmp_path / "me", Use.IDENTITY, SECRET)
    assert (tmp_path / "me").read_text() == (
        "dht-identity-1 aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq "
        f"{fingerprint(Use.IDENTITY, SECRET)}\n"
    )


@given(st.binary(min_size=32, max_size=32), st.sampled_from(Use))
def test_every_secret_has_one_line_for_each_use(secret: bytes, use: Use) -> None:
    path = Path("key")
    assert keyfiles._parse(path, use, key_line(use, secret)) == secret
    for other in Use:
        if other is not use:
            with pytest.raises(LocalError):
                keyfiles._parse(path, other, key_line(use, secret))


@given(st.integers(0, len(LINE) * 8 - 1))
def test_one_bit_changed_anywhere_is_refused(bit: int) -> None:
    data = bytearray(LINE)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(LocalError):
        keyfiles._parse(Path("key"), Use.IDENTITY, bytes(data))


@given(st.binary(max_size=300))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(LocalError):
        keyfiles._parse(Path("key"), Use.IDENTITY, data)


def test_a_fingerprint_tells_secrets_and_uses_apart() -> None:
    prints = {fingerprint(use, secret) for use in Use for secret in (SECRET, OTHER)}
    assert len(prints) == 6
    assert all(len(each) == 8 for each in prints)


# ---- made at first use ----


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277])
def test_whatever_the_umask_nobody_else_can_read_it(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "a" / "b" / "identity"
    before = os.umask(umask)
    try:
        assert load_or_create_identity(path, lambda: IDENTITY) == IDENTITY
    finally:
        os.umask(before)
    assert mode_of(path) == 0o600
    assert mode_of(path.parent) == mode_of(path.parent.parent) == 0o700
    assert names_in(path.parent) == ["identity"]
    assert load_identity(path) == IDENTITY


def test_what_is_there_is_used_and_nothing_is_made(tmp_path: Path) -> None:
    path = tmp_path / "author"
    first = load_or_create_author_bytes(path, Random(1))
    assert load_or_create_author_bytes(path, Random(2)) == first
    assert load_secret(path, Use.AUTHOR) == first
    assert len(first) == 32


def test_a_directory_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    create_secret(tmp_path / "key", Use.NETWORK, SECRET)
    assert mode_of(tmp_path) == 0o755
    assert load_network_key(tmp_path / "key") == SECRET


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    path = write(tmp_path / "key", b"precious", 0o644)
    with pytest.raises(LocalError, match="something already"):
        create_secret(path, Use.NETWORK, SECRET)
    assert path.read_bytes() == b"precious"
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(LocalError, match="something already"):
        create_secret(link, Use.NETWORK, SECRET)
    assert names_in(tmp_path) == ["key", "link"]


def test_those_who_create_it_at_once_agree(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "identity"
    start, got = threading.Barrier(8), list[bytes]()

    def create(number: int) -> None:
        start.wait(10)
        got.append(load_or_create_secret(path, Use.IDENTITY, lambda: bytes([number]) * 32))

    threads = [threading.Thread(target=create, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(got) == 8
    assert set(got) == {load_secret(path, Use.IDENTITY)}
    assert names_in(path.parent) == ["identity"]


def test_whoever_is_second_takes_what_the_first_made(tmp_path: Path) -> None:
    path = tmp_path / "identity"

    def make() -> bytes:
        create_secret(path, Use.IDENTITY, OTHER)  # another process, in between
        return SECRET

    assert load_or_create_secret(path, Use.IDENTITY, make) == OTHER


# ---- refused ----


def test_where_nothing_is_loading_says_how_to_make_one(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "no" / "none"):
        with pytest.raises(LocalError, match="found nothing; `dht keygen --network ") as caught:
            load_network_key(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("use", Use)
@pytest.mark.parametrize("wanted", Use)
def test_a_key_for_another_use_is_named(tmp_path: Path, use: Use, wanted: Use) -> None:
    path = write(tmp_path / "key", key_line(use, SECRET))
    if use is wanted:
        assert load_secret(path, wanted) == SECRET
    else:
        assert f"expected {wanted.noun}, found {use.noun}" in refusal(path, wanted)


def test_a_label_that_was_changed_by_hand_is_not_believed(tmp_path: Path) -> None:
    line = key_line(Use.AUTHOR, SECRET).replace(b"author", b"identity")
    assert "altered" in refusal(write(tmp_path / "key", line))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "an empty file"),
        (b"\n", "a blank file"),
        (LINE[:-1], "cut short"),
        (LINE[:30], "cut short"),
        (b"dht-identity-1 ", "cut short"),
        (b"dht-identity-1", "cut short"),
        (LINE + b"\n", "too long"),
        (LINE + bytes(10_000), "too long"),
        (LINE.upper(), "no key file"),
        (LINE.replace(b"aaaq", b"aaar"), "altered"),
        (LINE.replace(b"aaaq", b"\xff\xfe\xfd\xfc"), "altered"),
        (b"-----BEGIN PRIVATE KEY-----", "no key file"),
        (SECRET, "no key file"),
        (b"dht-identity-2" + LINE[14:], "no key file"),
    ],
    ids=str,
)
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, data: bytes, found: str) -> None:
    assert found in refusal(write(tmp_path / "key", data))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o777])
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    said = refusal(write(tmp_path / "key", LINE, mode))
    assert f"mode {mode:o}" in said
    assert "chmod 600" in said


def test_a_file_that_only_we_may_read_is_taken(tmp_path: Path) -> None:
    assert load_secret(write(tmp_path / "key", LINE, 0o400), Use.IDENTITY) == SECRET


def test_a_symbolic_link_is_refused_wherever_it_leads(tmp_path: Path) -> None:
    write(tmp_path / "real", LINE)
    for target in ("real", "nowhere"):
        link = tmp_path / f"to {target}"
        link.symlink_to(target)
        assert "a symbolic link" in refusal(link)
    assert not (tmp_path / "nowhere").exists()


def test_a_directory_a_fifo_a_socket_and_a_device_are_refused(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    assert "a directory" in refusal(tmp_path / "directory")
    os.mkfifo(tmp_path / "fifo")
    assert "a FIFO" in refusal(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        assert "cannot read it" in refusal(tmp_path / "s")
    assert "a device" in refusal(Path("/dev/null"))


def test_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "file", b"")
    assert "a part of the path is a file" in refusal(tmp_path / "file" / "key")
    with pytest.raises(LocalError, match="expected a directory"):
        make_directory(tmp_path / "file")


class Elsewhere:
    """The operating system, but for what a test says otherwise."""

    def __init__(self, **instead: Any) -> None:
        self.__dict__.update(instead)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


@pytest.mark.parametrize(("owner", "taken"), [(1234, False), (0, True), (500, True)])
def test_a_file_of_another_user_is_refused_and_one_of_root_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, *, taken: bool
) -> None:
    def fstat(fd: int) -> os.stat_result:
        real = list(os.fstat(fd))
        real[stat.ST_UID] = owner
        return os.stat_result(real)

    path = write(tmp_path / "key", LINE)
    monkeypatch.setattr(keyfiles, "os", Elsewhere(fstat=fstat, geteuid=lambda: 500))
    if taken:
        assert load_secret(path, Use.IDENTITY) == SECRET
    else:
        assert "user 1234" in refusal(path)


def test_a_system_that_cannot_protect_a_file_gets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyfiles, "_SUPPORTED", False)
    assert "cannot keep a file from other users" in refusal(tmp_path / "key")


# ---- whatever fails ----

CALLS = ("mkdir", "chmod", "open", "fchmod", "write", "fsync", "close", "link", "unlink", "replace")


class Failing:
    """The operating system, whose n-th call fails: with an error; or as a crash does, after which
    nothing more is called. ``done`` is how many calls there were."""

    def __init__(self, fail_at: int, failure: BaseException) -> None:
        self.fail_at = fail_at
        self.failure = failure
        self.done = 0
        self.is_over = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._failing(real) if name in CALLS else real

    def _failing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if self.is_over:
                raise self.failure
            self.done += 1
            if self.done == self.fail_at:
                self.is_over = not isinstance(self.failure, Exception)
                raise self.failure
            return real(*args, **options)

        return call


class Crash(BaseException):
    """The process has ended."""


def steps(
    monkeypatch: pytest.MonkeyPatch, folder: Path, failure: BaseException, do: Callable[[], object]
) -> Iterator[bool]:
    """Does it again and again in an empty folder, with a failure at each call in turn; did it
    succeed?"""
    step = 0
    while True:
        step += 1
        shutil.rmtree(folder, ignore_errors=True)
        failing = Failing(step, failure)
        with monkeypatch.context() as patched:
            patched.setattr(keyfiles, "os", failing)
            try:
                do()
            except (LocalError, Crash):
                succeeded = False
            else:
                succeeded = True
        yield succeeded
        if failing.done < step:
            break
    assert step > 15


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), Crash()], ids=repr)
def test_whatever_call_fails_the_key_is_whole_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    path = tmp_path / "new" / "data" / "identity"

    def create() -> None:
        load_or_create_secret(path, Use.IDENTITY, lambda: SECRET)

    for succeeded in steps(monkeypatch, tmp_path / "new", failure, create):
        if path.exists():
            assert path.read_bytes() == LINE
            assert mode_of(path) == 0o600
        assert path.exists() or not succeeded
        # And the next start goes on from there.
        assert load_or_create_secret(path, Use.IDENTITY, lambda: OTHER) == (
            SECRET if path.exists() and path.read_bytes() == LINE else OTHER
        )
        others = set(names_in(path.parent)) - {"identity"}
        assert all(LEFT_OVER.fullmatch(name) for name in others)
        assert len(others) <= 1  # where its removal failed


def test_whatever_call_fails_a_file_that_is_replaced_is_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    path = folder / "known"

    def change() -> None:
        make_directory(folder)
        if not path.exists():
            path.write_bytes(b"old")
        replace_file(path, b"new")

    for succeeded in steps(monkeypatch, folder, OSError(5, "Input/output error"), change):
        if path.exists():
            assert path.read_bytes() in ({b"new"} if succeeded else {b"old", b"new"})


def test_a_short_write_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = Elsewhere(write=lambda fd, data: os.write(fd, data[:7]))
    monkeypatch.setattr(keyfiles, "os", short)
    create_secret(tmp_path / "key", Use.IDENTITY, SECRET)
    assert (tmp_path / "key").read_bytes() == LINE


def test_an_error_says_what_failed_why_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(3, OSError(28, "No space left on device"))
    monkeypatch.setattr(keyfiles, "os", failing)
    with pytest.raises(LocalError, match=r"cannot write it: No space left on device; .*make room"):
        replace_file(tmp_path / "key", b"x")


def test_data_and_name_are_synced_before_the_key_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = list[str]()

    def logged(name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            log.append(name)
            return getattr(os, name)(*args, **options)

        return call

    names = ("fchmod", "write", "fsync", "link", "unlink")
    monkeypatch.setattr(keyfiles, "os", Elsewhere(**{name: logged(name) for name in names}))
    create_secret(tmp_path / "key", Use.IDENTITY, SECRET)
    assert log == ["fchmod", "write", "fsync", "link", "unlink", "fsync"]


KILLED = """
import os, signal, sys
from dht.shell import keyfiles
from tests.shell.test_keyfiles import Failing

class Killing(Failing):
    def _failing(self, real):
        def call(*args, **options):
            self.done += 1
            if self.done == self.fail_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **options)
        return call

for step in range(1, 100):
    child = os.fork()
    if not child:
        keyfiles.os = Killing(step, OSError())
        keyfiles.load_or_create_secret(sys.argv[1], keyfiles.Use.IDENTITY, lambda: bytes(range(32)))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    whole = os.path.exists(sys.argv[1])
    if whole:
        assert open(sys.argv[1], "rb").read() == keyfiles.key_line(
            keyfiles.Use.IDENTITY, bytes(range(32))
        )
        os.unlink(sys.argv[1])
    if status == 0:
        assert whole
        print("steps", step)
        break
"""


def test_whenever_the_process_is_killed_the_key_is_whole_or_absent(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "identity")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.removeprefix("steps ")) > 10


# ------------------------------------------------------------------------------------- an author


def test_an_author_is_loaded_from_the_file_that_was_made_for_one(tmp_path: Path) -> None:
    path = tmp_path / "me.key"
    author = Author.generate()
    create_secret(path, Use.AUTHOR, author.private_key.private_bytes_raw())
    assert Author.load(path).id == Author.load(str(path)).id == author.id
    with pytest.raises(LocalError, match="dht keygen --author"):
        Author.load(tmp_path / "none")
    create_secret(tmp_path / "node.key", Use.IDENTITY, bytes(32))
    with pytest.raises(LocalError, match="expected an author, found a node identity"):
        Author.load(tmp_path / "node.key")
