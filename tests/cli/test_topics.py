"""Authors on the command line: `--author`, and `dht add`, `remove` and `members`."""

import json
from pathlib import Path

import pytest

from dht.author import Author
from dht.shell.keyfiles import Use, create_secret
from tests.cli.conftest import NODES, Network, Run


@pytest.fixture
def key(tmp_path: Path) -> str:
    path = tmp_path / "me.key"
    create_secret(path, Use.AUTHOR, bytes(range(32)))
    return str(path)


ME = str(Author.from_private_bytes(bytes(range(32))).id)


def test_a_signed_value_is_got_by_its_authors_id_or_key(
    network: Network, run: Run, key: str
) -> None:
    assert run("put", "signed", "hers", "--author", key).status == 0
    assert run("get", "signed", "--author", ME).out == b"hers"
    assert run("get", "signed", "--author", key).out == b"hers"
    assert run("get", "signed").status == 1
    said = json.loads(run("get", "signed", "--author", ME, "--json").out)
    assert (said["author"], said["text"]) == (ME, "hers")
    assert run("delete", "signed", "--author", key).status == 0
    done = run("get", "signed", "--author", ME)
    assert done.status == 1
    assert "deleted" in done.err


def test_members_come_and_go(network: Network, run: Run, key: str) -> None:
    done = run("add", "printers", "192.0.2.7:631", "--author", key)
    assert done.status == 0
    assert f"printers {ME}: version" in done.out.decode()
    assert f"stored by {NODES}" in done.out.decode()
    assert run("add", "printers", "another", "--ttl", "10m").status == 0
    lines = sorted(run("members", "printers").out.decode().splitlines())
    assert len(lines) == 2
    assert f"{ME}  192.0.2.7:631" in lines
    assert any(line.endswith("  another") for line in lines)
    assert run("remove", "printers", "--author", key).status == 0
    [line] = run("members", "printers").out.decode().splitlines()
    assert line.endswith("  another")


def test_a_topic_of_nobody_is_not_found(network: Network, run: Run) -> None:
    done = run("members", "nothing here")
    assert (done.status, done.out) == (1, b"")
    assert "nobody is there" in done.err
    done = run("members", "nothing here", "--json")
    assert (done.status, json.loads(done.out)["members"]) == (1, [])


def test_members_as_json(network: Network, run: Run, key: str) -> None:
    added = json.loads(run("add", "shaped", "v", "--author", key, "--json").out)
    assert (added["author"], len(added["stored"])) == (ME, NODES)
    said = json.loads(run("members", "shaped", "--json").out)
    [member] = said["members"]
    assert (member["author"], member["text"], member["version"]) == (ME, "v", added["version"])
    assert (said["total"], len(said["holders"])) == (1, NODES)
    removed = json.loads(run("remove", "shaped", "--author", key, "--json").out)
    assert removed["version"] > added["version"]


def test_with_a_limit_it_says_how_many_there_are(network: Network, run: Run) -> None:
    for value in ("one", "two", "three"):
        run("add", "many", value)
    done = run("members", "many", "--limit", "2")
    assert (done.status, len(done.out.splitlines())) == (0, 2)
    assert "2 of 3" in done.err


def test_what_a_stranger_wrote_does_not_command_the_terminal(network: Network, run: Run) -> None:
    run("add", "trap", "\x1b[2Jgone\n")
    out = run("members", "trap").out
    assert b"\x1b" not in out
    assert b"gone" in out
    assert out.count(b"\n") == 1


def test_without_an_author_there_is_nothing_to_remove(network: Network, run: Run) -> None:
    done = run("remove", "printers")
    assert done.status == 2
    assert "--author FILE" in done.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["put", "k", "v", "--author", "absent.key"], "expected an author, found nothing"),
        (["put", "k", "v", "--author", ME], "expected an author, found nothing"),
        (["get", "k", "--author", "author:wrong"], "a letter wrong"),
        (["get", "k", "--author", "absent.key"], "expected an author, found nothing"),
        (["put", "--content", "v", "--author", "KEY"], "no meaning with --content"),
        (["get", "--content", "0" * 64, "--author", ME], "content"),
        (["add"], "say which TOPIC: dht add TOPIC VALUE"),
        (["add", "t"], "say one value"),
        (["members", "t", "--limit", "0"], "limit"),
    ],
)
def test_what_cannot_be_is_a_usage_error(
    network: Network, run: Run, key: str, arguments: list[str], complaint: str
) -> None:
    done = run(*[key if word == "KEY" else word for word in arguments])
    assert done.status == 2
    assert complaint in " ".join(done.err.split())
