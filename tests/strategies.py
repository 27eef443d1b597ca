"""Hypothesis strategies for every value of the package: what a test draws when it says "any".

Those that users of the package need too are in ``dht.testing.strategies``; the others are here.
Each gives only values that can exist: what the codec accepts as a message, what ``check_untrusted``
accepts as a record. Broken ones are made where they are tested.
"""

import attrs
from hypothesis import strategies as st

from dht.author import Author
from dht.config import BUDGET_MAX, DATAGRAM_SIZE_MAX
from dht.contacts import (
    ADDRESS4_SIZE,
    ADDRESS6_SIZE,
    CONTACT4_SIZE,
    CONTACT6_SIZE,
    Address,
    Contact,
    contact_at,
    is_reachable,
)
from dht.identity import PRIVATE_KEY_SIZE, PUBLIC_KEY_SIZE, Identity
from dht.keyspace import KEY_SIZE, Key, content_key, key_bytes, signed_key
from dht.records import (
    HASH_SIZE,
    SIGNED_PREFIX,
    VERSION_MAX,
    Head,
    Kind,
    Proof,
    Record,
    ttl_max_s,
)
from dht.testing.strategies import AUTHORS as AUTHORS
from dht.testing.strategies import MILLISECONDS_MAX as MILLISECONDS_MAX
from dht.testing.strategies import application_keys as application_keys
from dht.testing.strategies import authors as authors
from dht.testing.strategies import keys as keys
from dht.testing.strategies import records as records
from dht.testing.strategies import values as values
from dht.testing.strategies import versions as versions
from dht.wire import messages as wire

_IPV4_MAPPED = b"\0" * 10 + b"\xff\xff"

SECONDS_MAX = 2**53
#: The widest field of a message that counts seconds.
SECONDS_MAX = 2**40
SIZE_MAX = 2**32 - 1
COUNT_MAX = 64
FLAGS_MAX = 255

# ---- the key space ----


def small_keys(bits: int = 8) -> st.SearchStrategy[int]:
    """Keys that a reader can XOR by eye."""
    return st.integers(0, 2**bits - 1)


# ---- peers ----


def addresses4() -> st.SearchStrategy[Address]:
    """Any IPv4 address and port, also those that nobody can be reached at."""
    return st.binary(min_size=ADDRESS4_SIZE, max_size=ADDRESS4_SIZE).map(Address)


def addresses6() -> st.SearchStrategy[Address]:
    """Any IPv6 address and port but the IPv4-mapped ones, which are never packed."""
    return (
        st.binary(min_size=ADDRESS6_SIZE, max_size=ADDRESS6_SIZE)
        .filter(lambda packed: not packed.startswith(_IPV4_MAPPED))
        .map(Address)
    )


def addresses(*, reachable: bool = False) -> st.SearchStrategy[Address]:
    """Any address; with ``reachable`` only such that a datagram may be sent to."""
    both = addresses4() | addresses6()
    return both.filter(is_reachable) if reachable else both


def public_keys() -> st.SearchStrategy[bytes]:
    """32 bytes; any of them are a public key as far as the package can see."""
    return st.binary(min_size=PUBLIC_KEY_SIZE, max_size=PUBLIC_KEY_SIZE)


def contacts(*, reachable: bool = True) -> st.SearchStrategy[Contact]:
    """Any peer at any address."""
    return st.builds(contact_at, public_keys(), addresses(reachable=reachable))


def identities() -> st.SearchStrategy[Identity]:
    """Any key pair."""
    secrets = st.binary(min_size=PRIVATE_KEY_SIZE, max_size=PRIVATE_KEY_SIZE)
    return secrets.map(Identity.from_private_bytes)


# ---- records ----


def versions_of_one_slot(kind: Kind = Kind.PLAIN) -> st.SearchStrategy[Record]:
    """Records that contend for one slot and are often the same in all but one field."""
    drawn = records(kinds=st.just(kind), places=st.just(Key(7)), size_max=2)
    if kind is Kind.PLAIN:
        return drawn
    first = AUTHORS[0].id
    return drawn.filter(lambda record: record.author == first)


@st.composite
def heads(draw: st.DrawFn) -> Head:
    """Any valid record without its value, of a size that no datagram could hold."""
    digest = draw(st.binary(min_size=HASH_SIZE, max_size=HASH_SIZE))
    kind = draw(st.sampled_from([Kind.PLAIN, Kind.CONTENT, Kind.SIGNED]))
    author, name = draw(authors()), key_bytes(draw(keys()))
    places = {
        Kind.PLAIN: Key(int.from_bytes(name)),
        Kind.CONTENT: content_key(digest),
        Kind.SIGNED: signed_key(author.id.public_key, name),
    }
    head = Head(
        kind=kind,
        key=places[kind],
        version=draw(versions()),
        written_at_ms=draw(st.integers(0, MILLISECONDS_MAX)),
        ttl_ms=draw(st.integers(1, int(ttl_max_s(kind) * 1000))),
        tombstone=False,
        size=draw(st.integers(HASH_SIZE + 1, SIZE_MAX)),
        value_hash=digest,
    )
    return signed_head(head, author, name) if kind is Kind.SIGNED else head


def signed_head(head: Head, author: Author, name: bytes) -> Head:
    """A head with its author's signature."""
    unsigned = attrs.evolve(head, proof=Proof(author.id.public_key, b"", name))
    signature = author.sign(SIGNED_PREFIX + unsigned.body)
    return attrs.evolve(head, proof=Proof(author.id.public_key, signature, name))


# ---- the wire ----


def _raw_keys() -> st.SearchStrategy[bytes]:
    return st.binary(min_size=KEY_SIZE, max_size=KEY_SIZE)


_FLAGS = st.integers(0, FLAGS_MAX)
_KINDS = st.sampled_from([int(kind) for kind in Kind])
#: Of what a key alone finds.
_SINGLE_KINDS = st.sampled_from([1, 2, 3])
_VERSIONS = st.integers(0, VERSION_MAX)
_MILLISECONDS = st.integers(0, MILLISECONDS_MAX)
_SECONDS = st.integers(0, SECONDS_MAX)
_SIZES = st.integers(0, SIZE_MAX)
_BYTES = st.integers(0, 255)
_BUDGETS = st.integers(0, BUDGET_MAX)
_COUNTS = st.integers(0, COUNT_MAX)
_NONCES = st.binary(min_size=wire.NONCE_SIZE, max_size=wire.NONCE_SIZE)
_ROUTE_IDS = st.binary(min_size=wire.ROUTE_ID_SIZE, max_size=wire.ROUTE_ID_SIZE)
_HOPS = st.integers(0, wire.WALK_TTL_MAX)
_DATA = st.binary(max_size=64) | st.binary(max_size=DATAGRAM_SIZE_MAX)


def copies() -> st.SearchStrategy[wire.Copy]:
    """Any copy that the decoder takes: its fields are in range, and agree on nothing else."""
    return st.builds(
        wire.Copy,
        kind=_KINDS,
        tombstone=st.booleans(),
        key=_raw_keys(),
        version=_VERSIONS,
        written_at_ms=_MILLISECONDS,
        ttl_ms=_MILLISECONDS,
        remaining_ms=_MILLISECONDS,
        size=_SIZES,
        payload=_DATA,
    )


def requests() -> st.SearchStrategy[wire.Request]:
    """Any request."""
    return st.one_of(
        st.builds(wire.Ping, flags=_FLAGS),
        st.builds(
            wire.Find,
            flags=_FLAGS,
            target=_raw_keys(),
            count=_COUNTS,
            kind=st.just(0) | _KINDS,
        ),
        st.builds(wire.Get, flags=_FLAGS, kind=_SINGLE_KINDS, key=_raw_keys(), count=_COUNTS),
        st.builds(
            wire.Store,
            flags=_FLAGS,
            copy=copies(),
            if_version=st.none() | _VERSIONS,
            count=_COUNTS,
        ),
        st.builds(
            wire.Fetch,
            flags=_FLAGS,
            kind=_SINGLE_KINDS,
            key=_raw_keys(),
            value_hash=st.binary(min_size=HASH_SIZE, max_size=HASH_SIZE),
            offset=_SIZES,
            length=_SIZES,
        ),
        st.builds(wire.Reach, flags=_FLAGS, nonce=_NONCES),
        st.builds(
            wire.Dial,
            flags=_FLAGS,
            nonce=_NONCES,
            contact=st.binary(min_size=CONTACT4_SIZE, max_size=CONTACT6_SIZE),
        ),
        st.builds(wire.Knock, flags=_FLAGS, nonce=_NONCES),
        st.builds(wire.Browse, flags=_FLAGS, key=_raw_keys(), start=_raw_keys(), count=_COUNTS),
        *_overlay_requests(),
        routes(),
        st.builds(wire.Returned, flags=_FLAGS, id=_ROUTE_IDS, hops=_HOPS, body=_DATA),
    )


def routes() -> st.SearchStrategy[wire.Route]:
    """Anything that somebody may want passed on."""
    return st.builds(
        wire.Route,
        flags=_FLAGS,
        id=_ROUTE_IDS,
        target=_raw_keys(),
        ttl=_HOPS,
        hops=_HOPS,
        style=st.sampled_from([int(style) for style in wire.Style]),
        issuer=st.just(b"") | st.binary(max_size=CONTACT6_SIZE),
        body=_DATA,
    )


def _overlay_requests() -> list[st.SearchStrategy[wire.Request]]:
    """Any request of the unstructured overlay."""
    ids = st.binary(min_size=wire.SEARCH_ID_SIZE, max_size=wire.SEARCH_ID_SIZE)
    contacts = st.just(b"") | st.binary(max_size=CONTACT6_SIZE)
    slots = st.builds(wire.Slot, kind=_SINGLE_KINDS, key=_raw_keys(), lease_s=_SECONDS)
    lists: dict[str, st.SearchStrategy[bytes]] = dict.fromkeys(
        ("contacts4", "contacts6", "marks", "indexes4", "indexes6", "ages"), _DATA
    )
    return [
        st.builds(wire.Shuffle, flags=_FLAGS, count=_COUNTS, **lists),
        st.builds(wire.Introduce, flags=_FLAGS, newcomer=contacts, ttl=_BYTES),
        st.builds(
            wire.Search,
            flags=_FLAGS,
            id=ids,
            kind=_SINGLE_KINDS,
            key=_raw_keys(),
            style=_FLAGS,
            walker=_BYTES,
            ttl=_BYTES,
            hops=_BYTES,
            budget=_BUDGETS,
            hits=_BYTES,
            check_every=_BYTES,
            issuer=contacts,
        ),
        st.builds(
            wire.Hit,
            flags=_FLAGS,
            id=ids,
            walker=_BYTES,
            hops=_BYTES,
            holder=contacts,
            copy=st.none() | copies(),
        ),
        st.builds(
            wire.Done,
            flags=_FLAGS,
            id=ids,
            walker=_BYTES,
            messages=_BUDGETS,
            duplicates=_BUDGETS,
            nodes=_BUDGETS,
        ),
        st.builds(
            wire.Wanted, flags=_FLAGS, id=ids, walker=_BYTES, hops=_BYTES, last=st.booleans()
        ),
        st.builds(
            wire.Announce, flags=_FLAGS, slots=st.lists(slots, max_size=wire.SLOTS_MAX).map(tuple)
        ),
        st.builds(wire.Holders, flags=_FLAGS, kind=_SINGLE_KINDS, key=_raw_keys()),
    ]


def answers() -> st.SearchStrategy[wire.Answer]:
    """Any answer."""
    return st.one_of(
        st.builds(wire.Pong, time_s=_SECONDS, seen=st.binary(max_size=ADDRESS6_SIZE)),
        st.builds(wire.Nodes, time_s=_SECONDS, contacts4=_DATA, contacts6=_DATA, version=_VERSIONS),
        st.builds(wire.Found, time_s=_SECONDS, copy=copies(), contacts4=_DATA, contacts6=_DATA),
        st.builds(
            wire.Stored,
            time_s=_SECONDS,
            status=st.sampled_from([int(status) for status in wire.Status]),
            version=_VERSIONS,
            copy=st.none() | copies(),
            contacts4=_DATA,
            contacts6=_DATA,
        ),
        st.builds(wire.Block, time_s=_SECONDS, offset=_SIZES, data=_DATA),
        st.builds(
            wire.Dialling,
            time_s=_SECONDS,
            status=st.sampled_from([int(status) for status in wire.DialStatus]),
        ),
        st.builds(
            wire.Taken,
            time_s=_SECONDS,
            status=st.sampled_from([int(status) for status in wire.Taking]),
        ),
        st.builds(
            wire.Page,
            time_s=_SECONDS,
            total=st.integers(0, wire.MEMBERS_MAX),
            whole=st.booleans(),
            digest=st.binary(min_size=wire.DIGEST_SIZE, max_size=wire.DIGEST_SIZE),
            copies=st.lists(copies(), max_size=3).map(tuple),
            contacts4=_DATA,
            contacts6=_DATA,
        ),
        st.builds(
            wire.Taken,
            time_s=_SECONDS,
            status=st.sampled_from([int(status) for status in wire.Taking]),
        ),
        st.builds(
            wire.Shuffled,
            time_s=_SECONDS,
            contacts4=_DATA,
            contacts6=_DATA,
            marks=_DATA,
            indexes4=_DATA,
            indexes6=_DATA,
            ages=_DATA,
        ),
        st.builds(
            wire.Holding,
            time_s=_SECONDS,
            contacts4=_DATA,
            contacts6=_DATA,
            indexes4=_DATA,
            indexes6=_DATA,
        ),
    )


def messages() -> st.SearchStrategy[wire.Message]:
    """Any message."""
    return st.one_of(requests(), answers())


def request_ids() -> st.SearchStrategy[bytes]:
    """What stands before a message in a frame."""
    return st.binary(min_size=wire.REQUEST_ID_SIZE, max_size=wire.REQUEST_ID_SIZE)
