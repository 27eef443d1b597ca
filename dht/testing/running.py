"""How a plain function drives a trio run: virtual time passes while a call is under way, only then.

Everything that knows how trio schedules is in this file. The run is trio's guest mode, with a host
that takes one step after another and stops when the call has ended. With an autojump clock trio
never waits for anything, so the host needs neither threads nor a loop of its own.
"""

import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from queue import SimpleQueue
from random import Random
from typing import Any, TypeVar, TypeVarTuple, final

import attrs
import trio
import trio.testing

from ..errors import LocalError

#: Virtual seconds that a call may take unless told otherwise.
CALL_MAX_S = 3600.0

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

# trio runs tasks that are ready at the same time in an order of its own dice, which it lets tests
# load: Hypothesis does it by these two names. They are not public. Should a version of trio have
# them no more, runs still work, but the order of tasks may differ between two with one seed.
_DICE = "_r"
_LOADED = "_ALLOW_DETERMINISTIC_SCHEDULING"


@final
@attrs.define(eq=False)
class Dice:
    """trio's order of tasks, out of a seed. It is ours inside ``rolled`` only."""

    _random: Random

    @contextmanager
    def rolled(self) -> Iterator[None]:
        """Whatever trio runs inside is ordered by this seed, going on where it left off."""
        scheduler = vars(import_module("trio._core._run"))
        dice = scheduler.get(_DICE)
        if not isinstance(dice, Random) or _LOADED not in scheduler:
            warnings.warn(
                f"trio {trio.__version__} orders tasks in a way that dht.testing does not know: "
                "two runs with the same seed may differ",
                RuntimeWarning,
                stacklevel=3,
            )
            yield
            return
        theirs, was_loaded = dice.getstate(), scheduler[_LOADED]
        dice.setstate(self._random.getstate())
        scheduler[_LOADED] = True
        try:
            yield
        finally:
            self._random.setstate(dice.getstate())
            dice.setstate(theirs)
            scheduler[_LOADED] = was_loaded


@attrs.define(eq=False)
class _Call:
    """One call under way."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    value: Any = None
    error: BaseException | None = None
    returned: bool = False
    ended: bool = False


@final
class GuestRun:
    """A trio run that takes steps only inside ``call`` and ``close``.

    One at a time in a thread, and none inside another ``trio.run``. What a task raises that was
    started with ``start_soon`` is raised by the call that is under way, or by the next.
    """

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._steps: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._step: Callable[[], object] | None = None
        self._nursery: trio.Nursery | None = None
        self._closing = trio.Event()
        self._scopes: list[trio.CancelScope] = []
        self._call: _Call | None = None
        self._failures: list[BaseException] = []
        #: What became of the whole run; a list of one when it is over.
        self._ended: list[Any] = []
        try:
            trio.lowlevel.start_guest_run(
                self._main,
                run_sync_soon_threadsafe=self._steps.put,
                done_callback=self._ended.append,
                clock=trio.testing.MockClock(autojump_threshold=0),
                # Nothing here ever sleeps in the kernel, so no signal has to wake it.
                host_uses_signal_set_wakeup_fd=True,
            )
        except RuntimeError as error:
            raise LocalError(
                "a trio run, or another simulated network, is under way in this thread: close it "
                "first, or inside of a run say `async with network:`"
            ) from error
        self._step_until(lambda: self._nursery is not None)

    @property
    def over(self) -> bool:
        """Has it ended? Then nothing can be called in it any more."""
        return bool(self._ended)

    @property
    def closing(self) -> bool:
        """Is every task being ended?"""
        return self._closing.is_set()

    def fail(self, error: BaseException) -> None:
        """Something went wrong that belongs to no call: the one under way, or the next, ends."""
        self._failures.append(error)
        if self._call is not None:
            self._call.scope.cancel()

    def start_soon(
        self, async_fn: Callable[[*_Ts], Awaitable[object]], args: tuple[*_Ts], name: object
    ) -> None:
        """A task that lives on between calls, until the run is closed."""
        self._check_open()
        _check_function(async_fn)
        assert self._nursery is not None
        self._nursery.start_soon(self._stay, async_fn, args, name=name)

    def call(
        self, async_fn: Callable[[*_Ts], Awaitable[_T]], args: tuple[*_Ts], *, timeout_s: float
    ) -> _T:
        """Runs it to its end: what it returns, or raises.

        Raises ``TimeoutError`` when it has not ended after so many virtual seconds.
        """
        __tracebackhide__ = True
        self._check_open()
        _check_function(async_fn)
        if self._call is not None:
            raise LocalError(
                "run() was called inside of a run: there you await, as in `await node.get(key)`"
            )
        self._raise_failure()
        assert self._nursery is not None
        self._call = call = _Call()
        try:
            self._nursery.start_soon(self._perform, call, async_fn, args, timeout_s)
            self._step_until(lambda: call.ended)
        finally:
            self._call = None
        if not call.ended:  # the whole run broke down
            raise self._ended[0].error
        self._raise_failure(call.error)
        if call.error is not None:
            raise call.error
        if not call.returned:
            raise TimeoutError(
                f"{_name(async_fn)} has not ended after {timeout_s:g} s of virtual time: it waits "
                "for what never comes, or needs run(..., timeout_s=) to be longer"
            )
        return call.value  # type: ignore[no-any-return]

    def close(self) -> None:
        """Cancels every task and ends the run. Raises what a task raised and nobody heard of."""
        if self.over:
            return
        self._closing.set()
        self._step_until(lambda: False)
        self._ended[0].unwrap()
        self._raise_failure(*self._failures[1:])

    # ---- inside ----

    @trio.lowlevel.enable_ki_protection
    def _step_until(self, done: Callable[[], bool]) -> None:
        """Protected, so that Control-C arrives in a task, or ends the run: between two steps it
        would lose the next one, and with it everything."""
        with self._dice.rolled():
            while not self._ended and not done():
                # Kept until it is done: what a signal raises here, as a test's time limit does,
                # may break a step off, and without a next one the run could never be closed.
                if self._step is None:
                    self._step = self._steps.get()
                self._step()
                self._step = None

    async def _main(self) -> None:
        async with trio.open_nursery() as self._nursery:
            await self._closing.wait()
            # Each by a scope of its own: then what comes out of it is what it raised itself.
            for scope in self._scopes:
                scope.cancel()

    @trio.lowlevel.disable_ki_protection
    async def _perform(
        self,
        call: _Call,
        async_fn: Callable[..., Awaitable[object]],
        args: tuple[Any, ...],
        timeout_s: float,
    ) -> None:
        __tracebackhide__ = True
        call.scope.deadline = trio.current_time() + timeout_s
        try:
            with self._cancelled_at_the_end(call.scope):
                call.value = await _awaitable(async_fn, args)
                call.returned = True
        except trio.Cancelled:  # the run breaks down
            raise
        except BaseException as error:  # noqa: BLE001 - raised where the call was made
            call.error = error
        call.ended = True

    @trio.lowlevel.disable_ki_protection
    async def _stay(
        self, async_fn: Callable[..., Awaitable[object]], args: tuple[Any, ...]
    ) -> None:
        __tracebackhide__ = True
        try:
            with self._cancelled_at_the_end(trio.CancelScope()):
                await _awaitable(async_fn, args)
        except trio.Cancelled:  # the run breaks down
            raise
        except BaseException as error:  # noqa: BLE001 - raised by the call under way, or the next
            self.fail(error)

    @contextmanager
    def _cancelled_at_the_end(self, scope: trio.CancelScope) -> Iterator[None]:
        self._scopes.append(scope)
        if self._closing.is_set():
            scope.cancel()
        try:
            with scope:
                yield
        finally:
            self._scopes.remove(scope)

    def _raise_failure(self, *others: BaseException | None) -> None:
        """The first that is waiting. ``others`` have no later call that could raise them."""
        __tracebackhide__ = True
        if self._failures:
            failure = self._failures.pop(0)
            for other in filter(None, others):
                failure.add_note(f"beside it {other!r} was raised")
            raise failure

    def _check_open(self) -> None:
        if self.over:
            raise LocalError("the simulated network is closed")


def _check_function(async_fn: object) -> None:
    if isinstance(async_fn, Coroutine):
        async_fn.close()  # or Python warns that nobody awaited it
    if not callable(async_fn):
        raise TypeError(
            "what is to run is an async function, and then its arguments, as in "
            f'run(node.get, "key") without the parentheses of a call; got {async_fn!r}'
        )


def _awaitable(
    async_fn: Callable[..., Awaitable[object]], args: tuple[Any, ...]
) -> Awaitable[object]:
    made = async_fn(*args)
    if not isinstance(made, Awaitable):
        raise TypeError(
            f"{_name(async_fn)} is no async function: it returned {made!r}; for an `async with`, "
            "write an async function around it"
        )
    return made


def _name(function: object) -> str:
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__qualname__", repr(function))
