"""First uses of a key file, each killed: ``python -m proofs.first_use FOLDER SEED KILLS``.

A process of its own, because it forks: a child is killed by SIGKILL some microseconds after it
began, or by itself at one of its system calls, in turn. Prints what was found as JSON.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from dht.shell import keyfiles
from dht.shell.keyfiles import Use, key_line, load_or_create_secret

SECRET = bytes(range(32))
#: Every call of the operating system that changes something on the way to a key file.
CALLS = ("mkdir", "chmod", "open", "fchmod", "write", "fsync", "close", "link", "unlink")


class KillsItself:
    """The operating system, which ends this process in the place of its n-th call."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._counted(real) if name in CALLS else real

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **options)

        return call


def main(folder: Path, seed: int, kills: int) -> dict[str, int]:
    random = Random(seed)
    found = {"uses": 0, "kills": 0, "whole": 0, "absent": 0, "torn": 0, "lost_afterwards": 0}
    latest_s, step = 0.01, 0
    while found["kills"] < kills and found["uses"] < 10 * kills:
        found["uses"] += 1
        path = folder / str(found["uses"]) / "identity"
        if found["uses"] % 2:
            step += 1
            status = _ended(_forked(partial(_use_and_die, path, step)))
            step = step if os.WIFSIGNALED(status) else 0  # it has no so many calls: once more
        else:
            child = _forked(partial(_use, path))
            time.sleep(random.uniform(0, latest_s))
            os.kill(child, signal.SIGKILL)
            status = _ended(child)
            # How long a use takes is up to the disk: about every other kill shall come in time.
            latest_s *= 1.1 if os.WIFSIGNALED(status) else 0.9
        found["kills"] += os.WIFSIGNALED(status)
        found[_what_is_left(path)] += 1
        after = load_or_create_secret(path, Use.IDENTITY, lambda: b"o" * 32)
        again = load_or_create_secret(path, Use.IDENTITY, lambda: b"p" * 32)
        found["lost_afterwards"] += after != again
    return found


def _what_is_left(path: Path) -> str:
    if not os.path.lexists(path):
        return "absent"
    return "whole" if path.read_bytes() == key_line(Use.IDENTITY, SECRET) else "torn"


def _use(path: Path) -> None:
    load_or_create_secret(path, Use.IDENTITY, lambda: SECRET)


def _use_and_die(path: Path, step: int) -> None:
    vars(keyfiles)["os"] = KillsItself(step)
    _use(path)


def _ended(child: int) -> int:
    return os.waitpid(child, 0)[1]


def _forked(do: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            do()
        finally:
            os._exit(0)
    return child


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
