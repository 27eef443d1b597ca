"""One node's part in the overlay, and a test in the place of everybody else."""

from collections.abc import Callable, Iterable, Sequence
from math import inf
from random import Random
from typing import TypeVar

import attrs

from dht.config import Config
from dht.contacts import Contact, contact_at, pack_address
from dht.core.channel.face import Opened, Ticket
from dht.core.home import Home
from dht.core.knocks import Knocks
from dht.core.requests import Requests
from dht.core.storage import Storage
from dht.core.tasks import Tasks
from dht.core.timers import Timers
from dht.core.unstructured.overlay import Unstructured
from dht.core.unstructured.view import Entry
from dht.keyspace import Key, node_id
from dht.records import Kind, Record
from dht.wire.codec import decode_untrusted, pack_marked, unpack_contacts_untrusted
from dht.wire.messages import (
    MARK_SIZE,
    REQUEST_ID_SIZE,
    WANT_IPV4,
    Answer,
    Message,
    Shuffle,
    Shuffled,
)

ROOM = 1100
#: Whoever is silent once is silent.
CONFIG = Config(tries=1)
ID = bytes(REQUEST_ID_SIZE)

_M = TypeVar("_M", bound=Message)
Reply = Callable[[Contact, Message], Answer | None]


def peer(number: int, host: str | None = None) -> Contact:
    """A contact in a public subnet of its own, unless told."""
    address = pack_address(host or f"1.{number >> 8}.{number & 255}.1", 4000)
    return contact_at(number.to_bytes(32), address)


def peers(numbers: Iterable[int]) -> list[Contact]:
    return [peer(number) for number in numbers]


def numbers(found: Iterable[Contact]) -> list[int]:
    """The numbers that ``peer`` was given, in order."""
    return sorted(int.from_bytes(each.public_key) for each in found)


def _lists(
    given: Iterable[Contact | Entry], keeps_index: bool, told: Iterable[tuple[Contact, int]]
) -> tuple[bytes, bytes, bytes, bytes, bytes, bytes]:
    entries = [each if isinstance(each, Entry) else Entry(each) for each in given]
    contacts4, contacts6, marks = pack_marked((each.contact, each.mark) for each in entries)
    own = Entry(peer(0), degree=5, indexes=keeps_index).mark
    indexes4, indexes6, ages = pack_marked((each, bytes([age])) for each, age in told)
    return contacts4, contacts6, own + marks, indexes4, indexes6, ages


def shuffle(
    *given: Contact | Entry,
    count: int = 8,
    keeps_index: bool = False,
    told: Iterable[tuple[Contact, int]] = (),
    flags: int = WANT_IPV4,
) -> Shuffle:
    return Shuffle(flags, count, *_lists(given, keeps_index, told))


def shuffled(
    *given: Contact | Entry,
    keeps_index: bool = False,
    told: Iterable[tuple[Contact, int]] = (),
) -> Shuffled:
    return Shuffled(0, *_lists(given, keeps_index, told))


def named(message: Shuffle | Shuffled) -> list[Contact]:
    """The neighbours that it gives."""
    found = unpack_contacts_untrusted(message.contacts4, message.contacts6)
    assert len(message.marks) == MARK_SIZE * (len(found) + 1)
    return found


def told_of(message: Shuffle | Shuffled) -> dict[Contact, int]:
    """The index nodes that it names, and how old the news is."""
    found = unpack_contacts_untrusted(message.indexes4, message.indexes6)
    return dict(zip(found, message.ages, strict=True))


@attrs.define(eq=False)
class Wire:
    """A channel that remembers what is said."""

    asked: list[tuple[Contact, bytes, Message]] = attrs.field(factory=list)
    answered: list[Message] = attrs.field(factory=list)
    proofs_demanded: int = 0

    def ask(self, now: float, contact: Contact, request_id: bytes, payload: bytes) -> None:
        _, message = decode_untrusted(request_id + payload)
        self.asked.append((contact, request_id, message))

    def answer(self, now: float, ticket: Ticket, payload: bytes) -> None:
        assert len(payload) <= ticket
        self.answered.append(decode_untrusted(payload)[1])

    def demand_proof(self, now: float, ticket: Ticket) -> None:
        self.proofs_demanded += 1


class Alone:
    """A node of the overlay whose peers are what a test says they say."""

    def __init__(
        self,
        *,
        config: Config = CONFIG,
        seeds: Sequence[Contact] = (),
        host: str = "9.9.9.9",
        flags: int = WANT_IPV4,
        serves: bool = True,
        seed: int = 1,
    ) -> None:
        self.now = 0.0
        self.wire = Wire()
        self._read: dict[type, int] = {}
        self._replied = 0
        self.timers = Timers()
        self.contact = contact_at(b"o" * 32, pack_address(host, 4000))
        self.storage = Storage(config)
        self.home = Home(
            self.contact,
            self.storage,
            serves=serves,
            on_stored=lambda now, record: self.overlay.on_stored(now, record.kind, record.key),
            tried=str,
        )
        self.requests = Requests(config=config, random=Random(seed))
        self.tasks = Tasks(
            requests=self.requests,
            channel=self.wire,  # type: ignore[arg-type]
            timers=self.timers,
            knocks=Knocks(config, lambda _: True),
            own_id=node_id(self.contact.public_key),
            on_alive=lambda *_: None,
            on_silent=lambda *_: None,
        )
        self.overlay = Unstructured(
            config=config,
            random=Random(seed),
            timers=self.timers,
            tasks=self.tasks,
            channel=self.wire,  # type: ignore[arg-type]
            home=self.home,
            families=flags & 6,
            private_network=True,
            seeds=lambda: seeds,
            keep=lambda *_: None,
            offer=lambda *_: None,
            withdraw=lambda _: None,
        )
        self.overlay.take_role(flags)
        self.view = self.overlay.view
        self.index_nodes = self.overlay.index_nodes

    def knowing(self, *known: int) -> "Alone":
        """Those are its neighbours."""
        self.view.merge(Entry(each) for each in peers(known))
        return self

    @property
    def neighbours(self) -> list[int]:
        return numbers(self.view.contacts())

    # ---- others ask it ----

    def serve(
        self, message: Message, asker: Contact, *, proved: bool = True, room: int = ROOM
    ) -> list[Message]:
        """Somebody asks; what it answers at once."""
        before = len(self.wire.answered)
        opened = Opened(asker.public_key, asker.address, b"", room, room, proved)
        self.overlay.served[type(message)](self.now, opened, ID, message, asker)
        return self.wire.answered[before:]

    # ---- it asks others ----

    def asked(self, kind: type[_M]) -> list[tuple[Contact, _M]]:
        """Whom it has asked that since this was last read."""
        start = self._read.get(kind, 0)
        self._read[kind] = len(self.wire.asked)
        return [
            (contact, message)
            for contact, _, message in self.wire.asked[start:]
            if isinstance(message, kind)
        ]

    def run(self, seconds: float, reply: Reply = lambda _contact, _message: None) -> None:
        """Time passes. Whoever is asked replies at once, or is silent."""
        deadline = self.now + seconds
        while True:
            while self._replied < len(self.wire.asked):
                contact, request_id, message = self.wire.asked[self._replied]
                self._replied += 1
                answer = reply(contact, message)
                if answer is not None:
                    self.answer(contact, request_id, answer)
            times = (self.requests.next_timeout(), self.timers.next_timeout())
            due = min((each for each in times if each is not None), default=inf)
            if due > deadline:
                break
            self.now = max(self.now, due)
            self.tasks.handle_timeout(self.now)
            self.timers.run_due(self.now)
        self.now = deadline

    def answer(self, contact: Contact, request_id: bytes, answer: Answer) -> None:
        """That contact answers a request."""
        opened = Opened(contact.public_key, contact.address, b"", 0, ROOM, True)
        self.tasks.on_answer(self.now, opened, request_id, answer, contact)

    # ---- its store ----

    def hold(self, key: int, *, ttl_s: float = 3600.0) -> Record:
        """A record enters its store."""
        self.home.wall_offset_s = 1_700_000_000.0
        record = Record(
            kind=Kind.PLAIN,
            key=Key(key),
            version=1,
            written_at_ms=self.home.wall_ms(self.now),
            ttl_ms=int(ttl_s * 1000),
            tombstone=False,
            value=b"value",
            proof=None,
        )
        self.home.keep(self.now, record, remaining_ms=int(ttl_s * 1000), if_version=None)
        return record
