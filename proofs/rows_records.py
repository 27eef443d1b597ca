"""The promise about records that check themselves: nobody passes anything off as another's."""

from collections.abc import Callable, Sequence
from random import Random

import attrs
from msgspec.structs import replace

from dht.author import SIGNATURE_SIZE, Author
from dht.contacts import Contact, contact_at, pack_address
from dht.errors import RemoteError
from dht.identity import PUBLIC_KEY_SIZE
from dht.keyspace import Key, content_key, key_bytes, signed_key
from dht.records import Kind, Record, value_hash
from dht.wire.codec import PROOF_SIZE, copy_of, decode_untrusted, encode
from dht.wire.messages import (
    Copy,
    Found,
    Status,
)

from .deceived import EPOCH_S, Holder, read
from .machine import Figures, Reduced, Verdict, row

FORGERIES = 1_000_000
FORGERIES_PER_PIECE = 50_000
WRITTEN_MS = int(EPOCH_S * 1000)
#: The version that the holder has; below it is what its authors wrote before.
VERSION = 1000
TTL_MS = 7 * 24 * 3600 * 1000
#: What is not signed, since it changes on the way; a holder believes no more of it than the ttl.
UNSIGNED_FIELD = "remaining_ms"


def judge_forgeries(pieces: Sequence[Figures]) -> Verdict:
    """Nothing forged, altered or stale was kept or returned; what was real was."""
    kinds = sorted({kind for piece in pieces for kind in piece["offered"]})
    offered = {kind: sum(piece["offered"].get(kind, 0) for piece in pieces) for kind in kinds}
    total = sum(offered.values())
    kept = [each for piece in pieces for each in piece["kept"]]
    returned = [each for piece in pieces for each in piece["returned"]]
    real = sum(piece["real"] for piece in pieces)
    bits = min(piece["bits"] for piece in pieces)
    whole = all(piece["every_bit"] for piece in pieces)
    return Verdict(
        {
            "offered": total,
            **{f"offered_{kind}": count for kind, count in offered.items()},
            "bits_of_one_network": bits,
            "kept": kept[:20],
            "returned": returned[:20],
            "real_taken": real,
        },
        not kept and not returned and whole and real == sum(piece["slots"] for piece in pieces),
        f"of {total:,} forged, altered or stale records a holder kept {len(kept)} and a reader was "
        f"given {len(returned)}; {bits:,} bits of each network were flipped one by one; all {real} "
        "real records were taken"
        + (f"; first: {(kept + returned)[0]}" if kept or returned else ""),
    )


@row(
    "forged-records",
    promise=f"of {FORGERIES:,} forged, altered or stale signed, member and content records (every "
    "field, every bit) none is kept by a holder or returned by a reader",
    pieces=FORGERIES // FORGERIES_PER_PIECE,
    judge=judge_forgeries,
    reduced=Reduced(pieces=1, scale=0.2),
)
def forged_records(seed: int, scale: float) -> Figures:
    """One holder, its authors, and one who tries everything."""
    forger = _Forger(Random(f"{seed} forgeries"))
    forger.prepare()
    count = round(FORGERIES_PER_PIECE * scale)
    # So many flips that the reduced size has every bit, too.
    ways = [*[forger.flip_a_bit] * 7, *[forger.change_a_field] * 2, forger.tell_an_old_one]
    for number in range(count):
        ways[number % len(ways)]()
    return {
        "offered": forger.offered,
        "bits": len(forger.bits),
        "every_bit": forger.flipped >= len(forger.bits),
        "kept": forger.kept,
        "returned": forger.returned,
        "real": forger.real,
        "slots": len(forger.slots),
    }


# ------------------------------------------------------------------------------- who tries it all


@attrs.define(eq=False)
class _Slot:
    """A record that its author wrote, as it travels, and what he wrote before."""

    real: Record
    copy: Copy
    author: Author | None
    #: Does the holder have it? If not, it has never heard of it.
    held: bool


@attrs.define(eq=False)
class _Forger:
    """Offers what nobody signed to a holder, and gives it to a reader."""

    random: Random
    holder: Holder = attrs.field(init=False)
    slots: list[_Slot] = attrs.field(factory=list)
    #: Slot, field and bit: all that there are, of one record of each form.
    bits: list[tuple[_Slot, str, int]] = attrs.field(factory=list)
    flipped: int = 0
    real: int = 0
    offered: dict[str, int] = attrs.field(factory=dict)
    kept: list[str] = attrs.field(factory=list)
    returned: list[str] = attrs.field(factory=list)
    authors: list[Author] = attrs.field(init=False)
    _holders: list[Contact] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        random = self.random
        self.holder = Holder.at(random)
        self.authors = [Author.generate(random) for _ in range(4)]
        self._holders = [
            contact_at(random.randbytes(PUBLIC_KEY_SIZE), pack_address("7.7.7.7", 4000 + number))
            for number in range(2)
        ]

    def prepare(self) -> None:
        """The authors write; half of it comes to the holder. All of it is right, and is taken."""
        author = self.authors[0]
        values = (self.random.randbytes(20), self.random.randbytes(2000), None)
        for held in (True, False):
            for value in values:
                signed = self._signed(author, self.random.randbytes(32), value)
                self._add(signed, author, held=held, every_bit=held)
            for value in values[:2]:
                every_bit = held and value is values[0]
                self._add(self._content(value or b""), None, held=held, every_bit=every_bit)
            for value in (values[0], None):
                every_bit = held and value is not None
                member = self._member(author, self.place(), value)
                self._add(member, author, held=held, every_bit=every_bit)
        # The other side of the promise: each of them is what a reader gets, and what is held.
        for slot in self.slots:
            assert read(slot.real, [slot.copy], self._holders) is not None
            self.real += 1
            if slot.held:
                self.holder.engine.restore(self.holder.now, slot.real, slot.real.ttl_ms)
                assert self.holder.state(slot.real)[0] is not None
        self.random.shuffle(self.bits)

    def _add(self, real: Record, author: Author | None, *, held: bool, every_bit: bool) -> None:
        slot = _Slot(real, copy_of(real, real.ttl_ms), author, held)
        self.slots.append(slot)
        if every_bit:
            self.bits += bits_of(slot)

    def place(self) -> Key:
        return Key(self.random.getrandbits(256))

    def _record(self, kind: Kind, key: Key, value: bytes | None, version: int) -> Record:
        return Record(
            kind=kind,
            key=key,
            version=version,
            written_at_ms=WRITTEN_MS,
            ttl_ms=TTL_MS,
            tombstone=value is None,
            value=value or b"",
        )

    def _signed(
        self, author: Author, name: bytes, value: bytes | None, version: int = VERSION
    ) -> Record:
        key = signed_key(author.id.public_key, name)
        return self._record(Kind.SIGNED, key, value, version).signed_by(author, name)

    def _member(
        self, author: Author, topic: Key, value: bytes | None, version: int = VERSION
    ) -> Record:
        return self._record(Kind.MEMBER, topic, value, version).signed_by(author)

    def _content(self, value: bytes) -> Record:
        return self._record(Kind.CONTENT, content_key(value_hash(value)), value, VERSION)

    # ---- three ways ----

    def flip_a_bit(self) -> None:
        """One bit of one field: all of them one after the other, then any of any record."""
        if self.flipped < len(self.bits):
            slot, name, bit = self.bits[self.flipped]
        else:
            slot, name, bit = self.random.choice(bits_of(self.random.choice(self.slots)))
        self.flipped += 1
        value = getattr(slot.copy, name)
        changed: object
        if isinstance(value, bool):
            changed = not value
        elif isinstance(value, bytes):
            spoilt = bytearray(value)
            spoilt[bit // 8] ^= 1 << bit % 8
            changed = bytes(spoilt)
        else:
            changed = value ^ 1 << bit
        self._try("bit", f"bit {bit} of {name}", slot, replace(slot.copy, **{name: changed}))

    def change_a_field(self) -> None:
        """Something else that looks right, under a signature that was made for another."""
        slot = self.random.choice([slot for slot in self.slots if slot.author is not None])
        change = self.random.choice(_CHANGES)
        copy = change(self, slot)
        if copy != slot.copy:
            self._try("field", change.__name__, slot, copy)

    def tell_an_old_one(self) -> None:
        """What the author really wrote, before he wrote what the holder has."""
        slot = self.random.choice(
            [slot for slot in self.slots if slot.author is not None and slot.held]
        )
        real, author = slot.real, slot.author
        assert author is not None
        assert real.proof is not None
        value = self.random.choice([None, b"", self.random.randbytes(20)])
        version = self.random.randint(1, VERSION - 1)
        if real.kind is Kind.SIGNED:
            old = self._signed(author, real.proof.name, value, version)
        else:
            old = self._member(author, real.key, value, version)
        copy = copy_of(old, old.ttl_ms)
        self._try("stale", f"version {version} of {real.kind.name}", slot, copy, with_real=True)

    def _try(
        self, way: str, what: str, slot: _Slot, copy: Copy, *, with_real: bool = False
    ) -> None:
        """Offers it to the holder and to a reader; what either of them takes is written down."""
        self.offered[way] = self.offered.get(way, 0) + 1
        what = f"{what} of {slot.real.kind.name.lower()}"
        before = self.holder.state(slot.real)
        status = self.holder.offer(copy)
        # A content head of another size is pulled in vain: it has no author to ask before.
        pulled = status == Status.PULLING and slot.author is not None
        if pulled or self.holder.state(slot.real) != before:
            self.kept.append(what)
        try:  # what the decoder refuses never reaches a reader
            message = decode_untrusted(bytes(8) + encode(Found(0, copy, b"", b"")))[1]
        except RemoteError:
            return
        assert isinstance(message, Found)
        copies = [message.copy]
        if with_real:
            copies = self.random.sample([message.copy, slot.copy], 2)
        got = read(slot.real, copies, self._holders)
        expected = slot.real if with_real else None
        if copy == replace(slot.copy, remaining_ms=copy.remaining_ms):
            expected = slot.real if copy.remaining_ms else None
        if got is None or expected is None:
            if got is not expected:
                self.returned.append(what)
        elif (got.version, got.proof, got.tombstone) != (
            expected.version,
            expected.proof,
            expected.tombstone,
        ):
            self.returned.append(what)


#: The bits of a number on the wire, where they are more than those that it needs.
_WIDTHS = {"kind": 8, "size": 32, "version": 63}
_MILLISECONDS_WIDTH = 53


def bits_of(slot: _Slot) -> list[tuple[_Slot, str, int]]:
    """Every bit of every field that is somebody's word."""
    bits = []
    for name in Copy.__struct_fields__:
        value = getattr(slot.copy, name)
        if name == UNSIGNED_FIELD and not slot.held:
            continue  # any of it is right where it comes first
        if slot.author is None and name in _FREE_OF_CONTENT:
            continue
        count = 1 if isinstance(value, bool) else _WIDTHS.get(name, _MILLISECONDS_WIDTH)
        if isinstance(value, bytes):
            count = 8 * len(value)
        bits += [(slot, name, bit) for bit in range(count)]
    return bits


#: What anybody may say of content, which has no writer.
_FREE_OF_CONTENT = frozenset({"version", "written_at_ms", "ttl_ms", UNSIGNED_FIELD})


# ---- what may be put in the place of what was signed ----


def _other_value(forger: _Forger, slot: _Slot) -> Copy:
    value = forger.random.randbytes(forger.random.choice([1, 20, 32, 850]))
    proof = slot.copy.payload[:PROOF_SIZE]
    return replace(slot.copy, tombstone=False, size=len(value), payload=proof + value)


def _other_hash(forger: _Forger, slot: _Slot) -> Copy:
    proof = slot.copy.payload[:PROOF_SIZE]
    return replace(
        slot.copy, tombstone=False, size=5000, payload=proof + forger.random.randbytes(32)
    )


def _higher_version(forger: _Forger, slot: _Slot) -> Copy:
    return replace(slot.copy, version=VERSION + forger.random.randint(1, 10**6))


def _other_times(forger: _Forger, slot: _Slot) -> Copy:
    return replace(
        slot.copy,
        ttl_ms=forger.random.randint(1, TTL_MS),
        written_at_ms=WRITTEN_MS + forger.random.randint(0, 10**6),
        version=VERSION + 1,
    )


def _a_tombstone(_: _Forger, slot: _Slot) -> Copy:
    return replace(
        slot.copy,
        tombstone=True,
        size=0,
        payload=slot.copy.payload[:PROOF_SIZE],
        version=VERSION + 1,
    )


def _other_key(forger: _Forger, slot: _Slot) -> Copy:
    return replace(slot.copy, key=key_bytes(forger.place()))


def _other_kind(forger: _Forger, slot: _Slot) -> Copy:
    return replace(
        slot.copy, kind=forger.random.choice([kind for kind in Kind if kind != slot.real.kind])
    )


def _other_author(forger: _Forger, slot: _Slot) -> Copy:
    other = forger.random.choice(forger.authors[1:]).id.public_key
    return replace(slot.copy, payload=other + slot.copy.payload[len(other) :])


def _signed_by_another(forger: _Forger, slot: _Slot) -> Copy:
    """All of it by the rules, but for who signed."""
    record = attrs.evolve(slot.real, version=VERSION + 1)
    assert slot.real.proof is not None
    forged = record.signed_by(forger.random.choice(forger.authors[1:]), slot.real.proof.name)
    assert forged.proof is not None
    proof = forged.proof._replace(author=slot.real.proof.author)
    return copy_of(attrs.evolve(record, proof=proof), TTL_MS)


def _signature_of_another_record(forger: _Forger, slot: _Slot) -> Copy:
    other = forger.random.choice([each for each in forger.slots if each.author is not None])
    assert slot.real.proof is not None
    signature = other.copy.payload[PROOF_SIZE - SIGNATURE_SIZE : PROOF_SIZE]
    proof = slot.real.proof._replace(signature=signature)
    return replace(
        copy_of(attrs.evolve(slot.real, proof=proof), TTL_MS),
        version=slot.copy.version + (signature == slot.real.proof.signature),
    )


def _no_signature(forger: _Forger, slot: _Slot) -> Copy:
    assert slot.real.proof is not None
    signature = forger.random.choice(
        [bytes(SIGNATURE_SIZE), forger.random.randbytes(SIGNATURE_SIZE)]
    )
    proof = slot.real.proof._replace(signature=signature)
    return copy_of(attrs.evolve(slot.real, proof=proof, version=VERSION + 1), TTL_MS)


_CHANGES: list[Callable[[_Forger, _Slot], Copy]] = [
    _other_value,
    _other_hash,
    _higher_version,
    _other_times,
    _a_tombstone,
    _other_key,
    _other_kind,
    _other_author,
    _signed_by_another,
    _signature_of_another_record,
    _no_signature,
]
