"""The messages. This file is the schema: read it first. docs/protocol.md specifies the bytes.

A frame is an 8-byte request id, then one message as a MessagePack array ``[tag, field, ...]``. An
answer repeats the id of its request. Types and ranges stand here and are checked by the decoder in
C, so that bad input ends there; what one field says of another is checked in ``codec``.
"""

from enum import IntEnum
from typing import Annotated, get_args

import msgspec
from msgspec import Meta

from ..config import BUDGET_MAX, DATAGRAM_SIZE_MAX
from ..contacts import ADDRESS6_SIZE, CONTACT4_SIZE, CONTACT6_SIZE
from ..records import HASH_SIZE, VERSION_MAX

REQUEST_ID_SIZE = 8
#: What a node knows its own wish for a knock by.
NONCE_SIZE = 8
#: What a message that is passed on is known by, to all who pass it on.
ROUTE_ID_SIZE = 8
#: Hops of a route. Threat: one that never ends. Each hop gains at least one bit, in the mean 4.3
#: with 8 contacts a bucket and 5.7 with 20: 16 reach across a network of 2 ** 60 nodes.
TTL_MAX = 16
#: Hops of a route that walks, which gains nothing by any of them: as far as a search walks.
WALK_TTL_MAX = 64
#: Bytes of what a ``Route`` carries, and of what a ``Returned`` brings back: with all their numbers
#: at their longest, and the longest contact, they fit the narrower of the two channels, which has
#: room for 1,159 bytes of a datagram.
ROUTE_BODY_MAX = 1045
RETURNED_BODY_MAX = 1133
#: Contacts that a request may ask for; no datagram holds more than 30.
COUNT_MAX = 64
#: Memory, and what a page may say: the members of a topic that a holder keeps.
MEMBERS_MAX = 256
#: What everybody knows a search by; drawn by whoever issues it.
SEARCH_ID_SIZE = 8
#: Bytes that a neighbour is described by, beside its contact.
MARK_SIZE = 2
#: Keys that one ``Announce`` names: as many as fit a datagram.
SLOTS_MAX = 24
#: Bytes of the digest by which holders see that they hold the same members.
DIGEST_SIZE = 8

# Bits of a request's ``flags``.
CLIENT = 1  #: the asker never serves: do not keep it, do not tell others of it
WANT_IPV4 = 2  #: contacts with IPv4 addresses are of use to the asker
WANT_IPV6 = 4
CONTACTS_TOO = 8  #: ``Get``: closer contacts even beside a record (for quorum reads)
HANDOVER = 16  #: ``Store``: from a holder, not from the writer; ``Find``, ``Browse``: for a repair
HASHES = 32  #: ``Fetch``: the range is one of the list of piece hashes, not of the value
LEASE = 64  #: ``Store``: a copy for the unstructured overlay, which no owner looks after
NO_TABLE = 128  #: the asker is in no structured overlay: do not keep it in a routing table

# Bits of a ``Search``'s ``style``.
WALK = 1  #: to one random neighbour, not to all
DIRECT = 2  #: who holds it says so to the issuer itself, not back along the path
STATE = 4  #: a walker does not go where this search has been sent from here before
BIAS = 8  #: a walker prefers neighbours that have many themselves
KEEP = 16  #: whoever passes the record back keeps a copy


class Status(IntEnum):
    """What became of a ``Store``. From ``OLD`` on it is a refusal, and the name its reason."""

    STORED = 0
    """Kept; also when exactly this version was held already."""
    PULLING = 1
    """The holder fetches the value now, and answers again when it has it."""
    OLD = 2
    """A newer version is held, or was until it expired."""
    VERSION = 3
    """``if_version`` does not match the version held."""
    FULL = 4
    """No room, or the share of this source is used up."""
    CLOCK = 5
    """By the holder's clock the record is over, or from the future."""
    INVALID = 6
    """The record breaks a rule of its kind, or is longer than this holder takes."""
    UNFETCHED = 7
    """The value could not be pulled from whoever offered it."""
    OPEN_NETWORK = 8
    """A plain record, which anybody could overwrite, where anybody may be: not taken there."""


class Taking(IntEnum):
    """What becomes of something that is passed on from node to node."""

    TAKEN = 0
    """It is here, and goes on from here."""
    SEEN = 1
    """It has been here before: not passed on again."""
    BUSY = 2
    """Not now: the share of whoever passes it on is used up."""
    NOT_HERE = 3
    """This node does nothing of that kind."""


class Style(IntEnum):
    """What a ``Route`` carries, and which way its answer comes back."""

    PATH = 0
    """A message that only the target can read; answered hop by hop along the path."""
    DIRECT = 1
    """The same, answered straight to ``issuer``."""
    RECORD = 2
    """A ``Find`` or a ``Get`` of the target; answered along the path by the first that holds the
    record, else by the node that knows nobody nearer."""
    WALK_PATH = 3
    """As ``PATH``, but it goes from neighbour to neighbour of the unstructured overlay, at random,
    until somebody knows the target."""
    WALK_DIRECT = 4
    """As ``DIRECT``, on such a walk."""
    WALK_RECORD = 5
    """As ``RECORD``, on such a walk; where it ends nothing is answered."""

    @property
    def walks(self) -> bool:
        """Does it go at random?"""
        return self >= Style.WALK_PATH

    @property
    def carries(self) -> "Style":
        """The same without the walk: what it carries, and which way its answer comes back."""
        return Style(self % Style.WALK_PATH)

    @property
    def walking(self) -> "Style":
        """The same on a walk."""
        return Style(self.carries + Style.WALK_PATH)


class DialStatus(IntEnum):
    """What becomes of a ``Reach`` or a ``Dial``."""

    WILL = 0
    """Somebody else is being asked to knock; ask again what came of it."""
    DONE = 1
    """The knock has left."""
    NOBODY = 2
    """There is nobody whose knock would say anything."""
    BUSY = 3
    """Not now: too many knocks in all, or for that asker or at that address."""


# Aliases that mypy and msgspec both read.
_Flags = Annotated[int, Meta(ge=0, le=255)]
_Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
_Hash = Annotated[bytes, Meta(min_length=HASH_SIZE, max_length=HASH_SIZE)]
_Kind = Annotated[int, Meta(ge=1, le=4)]
#: Of records that a key alone finds: all but members.
_SingleKind = Annotated[int, Meta(ge=1, le=3)]
_KindOrNone = Annotated[int, Meta(ge=0, le=4)]
_Version = Annotated[int, Meta(ge=0, le=VERSION_MAX)]
_Milliseconds = Annotated[int, Meta(ge=0, le=2**53)]
_Seconds = Annotated[int, Meta(ge=0, le=2**40)]
_Size = Annotated[int, Meta(ge=0, le=2**32 - 1)]
_Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
_Status = Annotated[int, Meta(ge=0, le=8)]
#: Members of a topic that live; a holder keeps no more.
_Total = Annotated[int, Meta(ge=0, le=MEMBERS_MAX)]
_Digest = Annotated[bytes, Meta(min_length=DIGEST_SIZE, max_length=DIGEST_SIZE)]
_Packed = Annotated[bytes, Meta(max_length=DATAGRAM_SIZE_MAX)]
_Block = Annotated[bytes, Meta(max_length=DATAGRAM_SIZE_MAX)]
_Nonce = Annotated[bytes, Meta(min_length=NONCE_SIZE, max_length=NONCE_SIZE)]
_Contact = Annotated[bytes, Meta(min_length=CONTACT4_SIZE, max_length=CONTACT6_SIZE)]
_Seen = Annotated[bytes, Meta(max_length=ADDRESS6_SIZE)]
_DialStatus = Annotated[int, Meta(ge=0, le=3)]
_Taking = Annotated[int, Meta(ge=0, le=3)]
_SearchId = Annotated[bytes, Meta(min_length=SEARCH_ID_SIZE, max_length=SEARCH_ID_SIZE)]
_Byte = Annotated[int, Meta(ge=0, le=255)]
_Budget = Annotated[int, Meta(ge=0, le=BUDGET_MAX)]
#: A packed contact, or nothing.
_Issuer = Annotated[bytes, Meta(max_length=CONTACT6_SIZE)]
_RouteId = Annotated[bytes, Meta(min_length=ROUTE_ID_SIZE, max_length=ROUTE_ID_SIZE)]
#: Of a route that does not walk, no more than ``TTL_MAX`` count.
_Hops = Annotated[int, Meta(ge=0, le=WALK_TTL_MAX)]
_Style = Annotated[int, Meta(ge=0, le=5)]
_ContactOrNone = Annotated[bytes, Meta(max_length=CONTACT6_SIZE)]
_RouteBody = Annotated[bytes, Meta(max_length=ROUTE_BODY_MAX)]
_ReturnedBody = Annotated[bytes, Meta(max_length=RETURNED_BODY_MAX)]


class Copy(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """A record in flight. ``payload`` is the value itself when it has ``size`` bytes, else the
    32-byte value hash, and the value is fetched block by block.

    Of the kinds with an author the payload begins with his public key and his signature, 96 bytes;
    and a signed record's ``key`` is its *name*, from which and the author the key is made: a copy
    whose key is not its author's cannot even be written down.
    """

    kind: _Kind
    tombstone: bool
    key: _Key
    version: _Version
    written_at_ms: _Milliseconds
    ttl_ms: _Milliseconds
    remaining_ms: _Milliseconds
    size: _Size
    payload: _Block


class _Message(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    pass


# ---- requests ----


class Ping(_Message, frozen=True, tag=1):
    """Are you there?"""

    flags: _Flags


class Find(_Message, frozen=True, tag=2):
    """The ``count`` contacts nearest to ``target`` that you know; and, unless ``kind`` is 0, the
    version that you hold of the record of that kind at ``target``."""

    flags: _Flags
    target: _Key
    count: _Count
    kind: _KindOrNone


class Get(_Message, frozen=True, tag=3):
    """The record of this slot, or else the ``count`` contacts nearest to its key."""

    flags: _Flags
    kind: _SingleKind
    key: _Key
    count: _Count


class Store(_Message, frozen=True, tag=4):
    """Keep this record. ``if_version``: only while you hold that version (0: none). And name the
    ``count`` contacts nearest to its key."""

    flags: _Flags
    copy: Copy
    if_version: _Version | None
    count: _Count


class Fetch(_Message, frozen=True, tag=5):
    """The bytes from ``offset`` on, at most ``length``, of the value with this hash."""

    flags: _Flags
    kind: _SingleKind
    key: _Key
    value_hash: _Hash
    offset: _Size
    length: _Size


class Reach(_Message, frozen=True, tag=9):
    """Can I be reached? Ask somebody whom I do not know to knock at the address that you see me
    at, with this nonce. With a nonce that was sent before: what came of it?"""

    flags: _Flags
    nonce: _Nonce


class Dial(_Message, frozen=True, tag=10):
    """Knock there, once, with this nonce. ``contact`` is packed; its address is the one that the
    asker saw it at."""

    flags: _Flags
    nonce: _Nonce
    contact: _Contact


class Knock(_Message, frozen=True, tag=11):
    """You wanted to be knocked at. Nothing is answered."""

    flags: _Flags
    nonce: _Nonce


class Browse(_Message, frozen=True, tag=6):
    """Members of a topic, as many as fit: those whose author's public key comes first from
    ``start`` on, and after the last key the first again. And the ``count`` contacts nearest."""

    flags: _Flags
    key: _Key
    start: _Key
    count: _Count


# ---- the unstructured overlay ----


class Shuffle(_Message, frozen=True, tag=32):
    """These neighbours of mine are yours now; give me at most ``count`` of yours in return.

    ``marks``: two bytes of the asker itself, then two of each contact, those with IPv4 addresses
    first: bit 7 of the first says that it keeps an index, the other bits how many shuffles ago it
    gave its entry out; the second how many neighbours it has. ``indexes``: nodes that keep an
    index, and a byte each in ``ages``: how many intervals of 10 s ago that was heard of them.
    """

    flags: _Flags
    count: _Count
    contacts4: _Packed
    contacts6: _Packed
    marks: _Packed
    indexes4: _Packed
    indexes6: _Packed
    ages: _Packed


class Introduce(_Message, frozen=True, tag=33):
    """Somebody new looks for neighbours: ``newcomer``, a packed contact, or, if that is empty, the
    asker. Pass it on to a random neighbour ``ttl`` times; the last one takes it in."""

    flags: _Flags
    newcomer: _Issuer
    ttl: _Byte


class Search(_Message, frozen=True, tag=34):
    """Who holds the record of this slot? Answered with it, or ``Taken`` and passed on.

    ``walker``: the number of a random walker, 0 in a flood. ``ttl``: how often it may be sent on
    from here; ``hops``: how often it was sent so far, this time included. ``budget``: messages that
    this branch may cost beyond this one; ``hits``: how many of it may open to the issuer.
    ``check_every``: after so many hops a walker asks ``issuer``, a packed contact, whether to go
    on; 0: never.
    """

    flags: _Flags
    id: _SearchId
    kind: _SingleKind
    key: _Key
    style: _Flags
    walker: _Byte
    ttl: _Byte
    hops: _Byte
    budget: _Budget
    hits: _Byte
    check_every: _Byte
    issuer: _Issuer


class Hit(_Message, frozen=True, tag=35):
    """Your search found this, at ``holder``, a packed contact, ``hops`` away from the issuer.
    Without a copy: ask me for it."""

    flags: _Flags
    id: _SearchId
    walker: _Byte
    hops: _Byte
    holder: _Issuer
    copy: Copy | None


class Done(_Message, frozen=True, tag=36):
    """The part of your search that went through me has ended: ``messages`` were sent for it beyond
    me, of which ``duplicates`` to nodes that had seen it, and ``nodes`` were asked. Of a walker:
    ``messages`` is how many hops it came in all."""

    flags: _Flags
    id: _SearchId
    walker: _Byte
    messages: _Budget
    duplicates: _Budget
    nodes: _Budget


class Wanted(_Message, frozen=True, tag=37):
    """Is your search still on? Asked by a walker after ``hops`` hops; ``last``: it ends here."""

    flags: _Flags
    id: _SearchId
    walker: _Byte
    hops: _Byte
    last: bool


class Slot(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """A place where a record is held, for ``lease_s`` seconds more."""

    kind: _SingleKind
    key: _Key
    lease_s: _Seconds


class Announce(_Message, frozen=True, tag=38):
    """I hold the records of these slots: tell whoever looks for them."""

    flags: _Flags
    slots: Annotated[tuple[Slot, ...], Meta(max_length=SLOTS_MAX)]


class Holders(_Message, frozen=True, tag=39):
    """Who has announced that it holds the record of this slot?"""

    flags: _Flags
    kind: _SingleKind
    key: _Key


class Route(_Message, frozen=True, tag=40):
    """Pass this on to somebody nearer to ``target``, or, if it walks, to anybody; or take it, if
    that is you.

    ``id`` is another one for each attempt. ``ttl``: how often it may still be passed on; ``hops``:
    how often it was. ``style`` is a ``Style``. ``issuer``: the packed contact of whoever wants the
    answer sent straight to him, else empty. ``body``: what ``style`` says.
    """

    flags: _Flags
    id: _RouteId
    target: _Key
    ttl: _Hops
    hops: _Hops
    style: _Style
    issuer: _ContactOrNone
    body: _RouteBody


class Returned(_Message, frozen=True, tag=41):
    """What came of the ``Route`` with this ``id``, which you passed on or issued. An empty
    ``body``: it went no further. ``hops``: how many it had taken where it was answered."""

    flags: _Flags
    id: _RouteId
    hops: _Hops
    body: _ReturnedBody


# ---- answers; ``time_s`` is the answerer's wall clock, in seconds since 1970 ----


class Pong(_Message, frozen=True, tag=16):
    """``seen``: the packed address that the request came from; empty where it finds no room."""

    time_s: _Seconds
    seen: _Seen


class Nodes(_Message, frozen=True, tag=17):
    """Packed contacts, nearest first: 38 bytes each with IPv4 addresses, 50 with IPv6.
    ``version``: what is held of the slot that was asked for, 0 for nothing."""

    time_s: _Seconds
    contacts4: _Packed
    contacts6: _Packed
    version: _Version


class Found(_Message, frozen=True, tag=18):
    time_s: _Seconds
    copy: Copy
    contacts4: _Packed
    contacts6: _Packed


class Stored(_Message, frozen=True, tag=19):
    """``status`` is a ``Status``. On a refusal: the version held, and its record if it fits."""

    time_s: _Seconds
    status: _Status
    version: _Version
    copy: Copy | None
    contacts4: _Packed
    contacts6: _Packed


class Block(_Message, frozen=True, tag=20):
    """Bytes of a value from ``offset`` on, or none: "I do not have it"."""

    time_s: _Seconds
    offset: _Size
    data: _Block


class Dialling(_Message, frozen=True, tag=25):
    """``status`` is a ``DialStatus``."""

    time_s: _Seconds
    status: _DialStatus


class Taken(_Message, frozen=True, tag=48):
    """``status`` is a ``Taking``: what becomes of what was passed on."""

    time_s: _Seconds
    status: _Taking


class Shuffled(_Message, frozen=True, tag=49):
    """Neighbours in return, in the form of ``Shuffle``."""

    time_s: _Seconds
    contacts4: _Packed
    contacts6: _Packed
    marks: _Packed
    indexes4: _Packed
    indexes6: _Packed
    ages: _Packed


class Holding(_Message, frozen=True, tag=50):
    """Who holds it, and which index nodes may know more of this key; packed contacts."""

    time_s: _Seconds
    contacts4: _Packed
    contacts6: _Packed
    indexes4: _Packed
    indexes6: _Packed


class Page(_Message, frozen=True, tag=21):
    """Members of a topic, tombstones too, in the order of their authors' keys.

    ``total`` is how many live; ``whole``: these are all that there are, tombstones included;
    ``digest``: the same for all who hold the same.
    """

    time_s: _Seconds
    total: _Total
    whole: bool
    digest: _Digest
    copies: tuple[Copy, ...]
    contacts4: _Packed
    contacts6: _Packed


Request = (
    Ping
    | Find
    | Get
    | Store
    | Fetch
    | Browse
    | Reach
    | Dial
    | Knock
    | Shuffle
    | Introduce
    | Search
    | Hit
    | Done
    | Wanted
    | Announce
    | Holders
    | Route
    | Returned
)
Answer = Pong | Nodes | Found | Stored | Block | Page | Dialling | Taken | Shuffled | Holding
Message = Request | Answer

#: For the hot path: ``type(message) in REQUEST_TYPES`` costs a tenth of ``isinstance``.
REQUEST_TYPES = frozenset(get_args(Request))
#: Those by which messages go from node to node, and what came of them back.
ROUTE_TYPES = frozenset({Route, Returned})
#: Those by which nodes find out whether strangers reach them.
REACH_TYPES = frozenset({Reach, Dial, Knock})
#: Those of the unstructured overlay.
OVERLAY_TYPES = frozenset({Shuffle, Introduce, Search, Hit, Done, Wanted, Announce, Holders})
