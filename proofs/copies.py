"""Trying something in a copy of all that there is, so that nothing of it is left afterwards.

A thousand simulated nodes are linked to each other and to closures: a fork copies them in a few
milliseconds, where a deep copy takes longer than what is to be tried.
"""

import json
import os
import traceback
import warnings
from collections.abc import Callable
from typing import Any


def in_a_copy(attempt: Callable[[], Any]) -> Any:
    """What ``attempt`` returns, which has to be JSON, in a forked copy of this process. One that
    raises there, or dies, raises ``ChildProcessError`` here; its traceback is on stderr."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # From 3.12 on: "may lead to deadlocks", where another thread holds a lock that the copy
        # needs. A test runner's thread that waits for orders holds none.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        status = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "w") as pipe:
                json.dump(attempt(), pipe)
            status = 0
        except BaseException:  # noqa: BLE001  # whatever it is, this process must not live on
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        found = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise ChildProcessError(f"what was tried in a copy failed, with status {status}")
    return json.loads(found)
