"""docs/design.md tells the way of a message and of a parameter; here they are walked."""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import pytest
import trio

import dht

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "design.md"
MESSAGE = "One message through it"
PARAMETER = "One parameter through it"


def steps(title: str) -> list[str]:
    """The names in the first column of the table under a title."""
    section = PAGE.read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| \d+ \| `([\w.]+)` \|", section, re.MULTILINE)


def called_in_order(names: Sequence[str], calls: Iterator[str]) -> list[str]:
    """Those of the names that are found in the calls, each after the one before."""
    return [name for name in names if name in calls]


def calls_of_a_lookup(boot: list[str]) -> list[str]:
    """What is called in this process while a node looks something up; ``boot``: whom it knows."""
    calls: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and "/dht/" in frame.f_code.co_filename:
            calls.append(frame.f_code.co_qualname)

    async def main() -> None:
        async with (
            dht.open_node("127.0.0.1:0") as first,
            dht.open_node("127.0.0.1:0", bootstrap=[first.uri]),
        ):
            sys.setprofile(note)
            async with dht.open_node("127.0.0.1:0", bootstrap=boot or [first.uri]) as node:
                if not boot:
                    await node.lookup("somewhere")

    earlier = sys.getprofile()
    try:
        trio.run(main)
    finally:
        sys.setprofile(earlier)
    return calls


def test_a_message_takes_the_way_that_is_told() -> None:
    told = steps(MESSAGE)
    assert len(told) == 14
    assert called_in_order(told, iter(calls_of_a_lookup([]))) == told


def test_a_parameter_takes_the_way_that_is_told() -> None:
    """A node whose bootstrap node is silent waits for its first timeout."""
    nobody = "dht://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@127.0.0.1:9"
    told = steps(PARAMETER)
    assert len(told) > 5
    assert called_in_order(told, iter(calls_of_a_lookup([nobody]))) == told


def test_a_parameter_is_read_in_one_place() -> None:
    readers = [
        path.name
        for path in sorted((ROOT / "dht").rglob("*.py"))
        if "config.request_timeout_first_s" in path.read_text()
    ]
    assert readers == ["requests.py"]


@pytest.mark.parametrize(("names", "found"), [("ac", "ac"), ("ca", "c"), ("ad", "a"), ("aa", "a")])
def test_an_order_is_looked_for(names: str, found: str) -> None:
    assert called_in_order(names, iter("abc")) == list(found)
