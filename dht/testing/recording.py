"""A node that keeps a diary: the same face, and every question and answer in a ``History``."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar, final

import trio

from ..author import Author, AuthorId
from ..core.arguments import checked_ttl_ms
from ..core.outcomes import GetOutcome, PutOutcome
from ..core.via import Structured, Via, search_via
from ..errors import DHTError, QuorumNotReached, VersionConflict
from ..keyspace import Key, content_key
from ..records import Kind, value_hash
from ..shell.node import Node
from .history import History, Operation, Verb

_T = TypeVar("_T")
_ApplicationKey = str | bytes | Key
_Author = Author | AuthorId | str


@final
class RecordedNode:
    """A ``Node`` whose operations on records are recorded: ``put``, ``get``, ``fetch``, ``delete``,
    their ``_many`` and ``_content``. Topics, lookups and messages pass through unrecorded.

    Get one from ``SimulatedNetwork.recorded``.
    """

    def __init__(self, node: Node, history: History, *, name: str, overlay: str) -> None:
        self.node = node
        self._history = history
        self._name = name
        self._overlay = overlay

    def __repr__(self) -> str:
        return f"<recorded {self._name}: {self.node!r}>"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)

    async def put(
        self, key: _ApplicationKey, value: bytes, *, author: Author | None = None, **options: Any
    ) -> PutOutcome:
        """``Node.put``."""
        begun = self._begin(Verb.PUT, key, author, value=value, options=options)
        return await self._write(begun, self.node.put, key, value, author=author, **options)

    async def delete(
        self, key: _ApplicationKey, *, author: Author | None = None, **options: Any
    ) -> PutOutcome:
        """``Node.delete``."""
        begun = self._begin(Verb.DELETE, key, author, options=options)
        return await self._write(begun, self.node.delete, key, author=author, **options)

    async def put_content(self, value: bytes, **options: Any) -> PutOutcome:
        """``Node.put_content``."""
        key = content_key(value_hash(value)) if isinstance(value, bytes) else Key(0)
        begun = self._begin(Verb.PUT, key, None, value=value, options=options, kind=Kind.CONTENT)
        return await self._write(begun, self.node.put_content, value, **options)

    async def fetch(
        self, key: _ApplicationKey, *, author: _Author | None = None, **options: Any
    ) -> GetOutcome:
        """``Node.fetch``."""
        begun = self._begin(Verb.GET, key, author, options=options)
        with _Ending(self._history, begun) as ending:
            outcome = await self.node.fetch(key, author=author, **options)
            record = outcome.record
            if record is not None:
                ending.of(value=record.value, version=record.version)
            elif outcome.deleted is not None:
                ending.of(version=outcome.deleted.version)
            ending.succeed()
        return outcome

    async def get(
        self,
        key: _ApplicationKey,
        *,
        author: _Author | None = None,
        default: _T | None = None,
        **options: Any,
    ) -> bytes | _T | None:
        """``Node.get``."""
        outcome = await self.fetch(key, author=author, **options)
        return default if outcome.record is None else outcome.record.value

    async def get_content(
        self, key: Key, *, default: _T | None = None, **options: Any
    ) -> bytes | _T | None:
        """``Node.get_content``."""
        begun = self._begin(Verb.GET, key, None, options=options, kind=Kind.CONTENT)
        with _Ending(self._history, begun) as ending:
            value = await self.node.get_content(key, **options)
            ending.of(value=value)
            ending.succeed()
        return default if value is None else value

    async def get_many(
        self, keys: Iterable[Any], *, default: _T | None = None, **options: Any
    ) -> dict[Any, bytes | _T | None]:
        """``Node.get_many``, as far as one can see: one ``get`` for each."""
        if isinstance(keys, str):  # refused, or it would be one for each letter
            return await self.node.get_many(keys, default=default, **options)
        outcomes = await _each({key: partial(self.fetch, key, **options) for key in list(keys)})
        return {
            key: default if outcome.record is None else outcome.record.value
            for key, outcome in outcomes.items()
        }

    async def put_many(
        self, items: Mapping[Any, bytes] | Iterable[tuple[Any, bytes]], **options: Any
    ) -> dict[Any, PutOutcome]:
        """``Node.put_many``, as far as one can see: one ``put`` for each."""
        return await _each(
            {key: partial(self.put, key, value, **options) for key, value in dict(items).items()}
        )

    async def _write(
        self, begun: int, write: Callable[..., Awaitable[PutOutcome]], *args: Any, **options: Any
    ) -> PutOutcome:
        with _Ending(self._history, begun) as ending:
            outcome = await write(*args, **options)
            ending.wrote(outcome)
            ending.succeed()
        return outcome

    def _begin(
        self,
        verb: Verb,
        key: _ApplicationKey,
        author: _Author | None,
        *,
        options: Mapping[str, Any],
        value: bytes | None = None,
        kind: Kind = Kind.PLAIN,
    ) -> int:
        signed = None if author is None else AuthorId.of(author)
        kind, ttl_s = kind if signed is None else Kind.SIGNED, options.get("ttl")
        checked_ttl_ms(ttl_s, kind, tombstone=verb is Verb.DELETE)
        begun = Operation(
            node=self._name,
            verb=verb,
            key=key,
            kind=kind,
            author=signed,
            value=value,
            ttl_s=ttl_s,
            began_at=trio.current_time(),
            searched=self._is_search(options.get("via")) or options.get("fallback") is not None,
        )
        _ = begun.slot  # Refused, as by the node itself, is what no history could be judged with.
        return self._history.begin(begun)

    def _is_search(self, via: str | Via | None) -> bool:
        if via is None:
            return self._overlay == "unstructured"
        return not isinstance(search_via(via), Structured)


async def _each(asked: Mapping[Any, Callable[[], Awaitable[Any]]]) -> dict[Any, Any]:
    """One after the other. Those that missed their quorum are an error when all have ended."""
    outcomes: dict[Any, Any] = {}
    missed: list[QuorumNotReached] = []
    for key, ask in asked.items():
        try:
            outcomes[key] = await ask()
        except QuorumNotReached as error:
            missed.append(error)
            outcomes[key] = error.outcome
    if missed:
        raise QuorumNotReached(str(missed[0]), missed[0].outcome, outcomes)
    return outcomes


@final
class _Ending:
    """Writes down how an operation ended, whichever way it does."""

    def __init__(self, history: History, begun: int) -> None:
        self._history = history
        self._begun = begun
        self._seen: dict[str, Any] = {}
        self._succeeded = False

    def __enter__(self) -> "_Ending":
        return self

    def of(self, **seen: Any) -> None:
        self._seen.update(seen)

    def wrote(self, outcome: PutOutcome) -> None:
        self.of(version=outcome.version, stored=outcome.stored)

    def succeed(self) -> None:
        self._succeeded = True

    def __exit__(self, _: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, QuorumNotReached | VersionConflict) and isinstance(
            error.outcome, PutOutcome
        ):
            self.wrote(error.outcome)
        if self._succeeded or isinstance(error, DHTError):
            self._history.end(
                self._begun,
                trio.current_time(),
                error="" if error is None else type(error).__name__,
                **self._seen,
            )
        # Else it was cancelled, and nobody knows: it stays without an end.
