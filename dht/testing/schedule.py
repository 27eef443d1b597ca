"""Plays a schedule of faults to a simulated network: each begins in time, and ends in time."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import attrs
import trio

from ..shell.node import Node
from ..sim.faults import Crash, Cut, Fault, Partition, Silence, Skew, Suspend

_Act = Callable[[], None]


class Stage(Protocol):
    """What of a network a schedule needs; see ``SimulatedNetwork``."""

    @property
    def count(self) -> int: ...
    def node(self, number: int) -> Node: ...
    def is_up(self, node: Node) -> bool: ...
    def crash(self, node: Node) -> None: ...
    def restart_soon(self, node: Node) -> None: ...
    def suspend(self, node: Node) -> None: ...
    def wake(self, node: Node) -> None: ...
    def skew(self, node: Node, seconds: float) -> None: ...
    def partition(self, *groups: Iterable[Node], one_way: bool = False) -> None: ...
    def silence(self, node: Node, *, mute: bool = True, deaf: bool = True) -> None: ...
    def cut(self, sender: Node, receiver: Node) -> None: ...
    def mend(self, sender: Node, receiver: Node) -> None: ...


async def play(stage: Stage, faults: Iterable[Fault]) -> None:
    """Returns when the last of them has ended."""
    acts: list[tuple[float, _Act]] = []
    for fault in faults:
        acts += _acts(stage, fault)
    start = trio.current_time()
    for at_s, act in sorted(acts, key=lambda each: each[0]):
        await trio.sleep_until(start + at_s)
        act()


def _acts(stage: Stage, fault: Fault) -> list[tuple[float, _Act]]:
    """What is done for a fault, and when: its beginning, and mostly its end."""
    begin: _Act
    end: _Act | None = None
    ends_at_s: float | None = None
    match fault:
        case Crash(node=number, back_after_s=back_after_s):
            crash = _OneCrash(stage, number)
            begin = crash.begin
            if back_after_s is not None:
                end, ends_at_s = crash.end, fault.at_s + back_after_s
        case Skew(node=number, seconds=seconds):
            begin = partial(_on, stage, stage.skew, number, seconds)
        case Suspend(node=number):
            begin = partial(_suspend, stage, number)
            end = partial(_on, stage, stage.wake, number)
        case Partition(nodes=numbers, one_way=one_way):
            begin = partial(_partition, stage, numbers, one_way=one_way)
            end = stage.partition
        case Silence(node=number, mute=mute, deaf=deaf):
            begin = partial(_on, stage, partial(stage.silence, mute=mute, deaf=deaf), number)
            end = partial(_on, stage, partial(stage.silence, mute=False, deaf=False), number)
        case Cut(sender=sender, receiver=receiver):
            begin = partial(_between, stage, stage.cut, sender, receiver)
            end = partial(_between, stage, stage.mend, sender, receiver)
    if end is None:
        return [(fault.at_s, begin)]
    if ends_at_s is None:
        assert not isinstance(fault, Crash)
        ends_at_s = fault.at_s + fault.seconds
    return [(fault.at_s, begin), (ends_at_s, end)]


@attrs.define(eq=False)
class _OneCrash:
    """A node that was down already does not crash, and so does not come back from it either."""

    _stage: Stage
    _number: int
    _happened: bool = False

    def begin(self) -> None:
        if _is_up(self._stage, self._number):
            self._stage.crash(self._stage.node(self._number))
            self._happened = True

    def end(self) -> None:
        if self._happened and not _is_up(self._stage, self._number):
            self._stage.restart_soon(self._stage.node(self._number))


def _is_up(stage: Stage, number: int) -> bool:
    return number < stage.count and stage.is_up(stage.node(number))


def _suspend(stage: Stage, number: int) -> None:
    if _is_up(stage, number):
        stage.suspend(stage.node(number))


def _on(stage: Stage, act: Callable[..., None], number: int, *more: float) -> None:
    if number < stage.count:
        act(stage.node(number), *more)


def _partition(stage: Stage, numbers: Iterable[int], *, one_way: bool) -> None:
    members = [number for number in numbers if number < stage.count]
    others = [number for number in range(stage.count) if number not in members]
    stage.partition(map(stage.node, others), map(stage.node, members), one_way=one_way)


def _between(stage: Stage, act: Callable[[Node, Node], None], sender: int, receiver: int) -> None:
    if max(sender, receiver) < stage.count:
        act(stage.node(sender), stage.node(receiver))
