"""Every knob of a node: its unit, its default, where the default comes from, what it bounds.

Times are in seconds, sizes in bytes. A guess says "guess".
"""

from typing import Any, final

import attrs

from .errors import LocalError

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S

# The protocol's own limits: all nodes of a network agree on them, so they are no knobs.

#: No datagram is larger: what QUIC (RFC 9000 section 14) found to pass every path.
DATAGRAM_SIZE_MAX = 1200
#: A value up to this long travels inside one datagram, whatever the channel and the kind.
VALUE_INLINE_MAX = 850
#: Messages that a search may cost where that is nobody's concern: a measurement's infinity.
BUDGET_MAX = 2**53
#: A copy in the unstructured overlay ends after so long, unless its publisher renews it.
LEASE_S = HOUR_S
#: Plain records live at most this long, however long their writer asks for.
PLAIN_TTL_MAX_S = DAY_S
#: Records that check themselves, or that their author signed, may live longer.
LONG_TTL_MAX_S = 7 * DAY_S
#: A tombstone outlives every record that it can meet by this much (and so does the clock rule).
GRACE_S = DAY_S
#: A version may be this far ahead of the holder's clock, and a record this long past its end.
CLOCK_TOLERANCE_S = DAY_S


def _check(low: float, high: float) -> Any:
    def validate(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        kind = int if attribute.type is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
            raise LocalError(
                f"Config.{attribute.name} is a number from {low:g} to {high:g}, got {value!r}"
            )

    return validate


def _check_bool(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, bool):
        raise LocalError(f"Config.{attribute.name} is True or False, got {value!r}")


def _check_optional_bool(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if value is not None and not isinstance(value, bool):
        raise LocalError(f"Config.{attribute.name} is True, False or None, got {value!r}")


def _knob(default: Any, low: float, high: float) -> Any:
    return attrs.field(default=default, validator=_check(low, high))


@final
@attrs.frozen(kw_only=True)
class Config:
    """What a node can be told. Raises ``LocalError`` for a value outside its range."""

    #: Are datagrams sealed, and peers who they say they are? False is for simulations, comparisons
    #: and networks in which everybody is trusted. Both kinds do not hear each other.
    encrypted: bool = attrs.field(default=True, validator=_check_bool)

    # ---- from the papers ----

    #: Contacts a bucket, and answers a lookup goes through before it says "nobody has it".
    #: Kademlia 2002 section 2.4.
    k: int = _knob(20, 1, 128)
    #: Requests in flight in one lookup in good times. Kademlia 2002 section 2.3.
    alpha: int = _knob(3, 1, 64)
    #: What alpha doubles up to while requests go unanswered. go-libp2p-kad-dht's constant.
    alpha_max: int = _knob(10, 1, 64)
    #: Owners of a record. BitTorrent's BEP 5 keeps 8; 0.3 ** 8 = 0.007 % lost with 30 % dead.
    replicas: int = _knob(8, 1, 64)
    #: A bucket nobody looked into for so long is refreshed. Kademlia 2002 section 2.3.
    refresh_interval_s: float = _knob(HOUR_S, 1, DAY_S)
    #: A holder makes sure so often that the owners have the record. Kademlia 2002 section 2.5.
    repair_interval_s: float = _knob(HOUR_S, 1, DAY_S)
    #: The holder nearest to the key repairs first; each further one waits so much longer, sees that
    #: the work was done, and leaves it. Long enough for a lookup with timeouts; guess.
    repair_turn_s: float = _knob(10.0, 0.01, HOUR_S)

    # ---- timeouts: RFC 6298 with bounds fit for UDP between strangers ----

    #: Until the first measurement of a peer. discv5 waits 0.5 to 1 s.
    request_timeout_first_s: float = _knob(0.6, 0.001, 60)
    request_timeout_min_s: float = _knob(0.15, 0.001, 60)
    request_timeout_max_s: float = _knob(3.0, 0.001, 60)
    #: How often a request is sent before its peer counts as silent. discv5: 1 retry.
    tries: int = _knob(2, 1, 10)

    # ---- caps, each with the threat that it bounds ----

    #: The table may hold this many contacts beyond full buckets: small networks are known whole.
    table_whole_max: int = _knob(128, 0, 4096)
    #: Eclipse: contacts of one /24 or /48 a bucket, and a table. geth's and discv5's constants.
    subnet_per_bucket_max: int = _knob(2, 1, 4096)
    subnet_per_table_max: int = _knob(10, 1, 4096)
    #: Eclipse: contacts at one IP address a table. go-libp2p-kad-dht's constant.
    ip_per_table_max: int = _knob(3, 1, 4096)
    #: Eclipse: contacts of one IPv6 /32 (one provider's allotment) a table; guess.
    wide_subnet_per_table_max: int = _knob(20, 1, 4096)
    #: Sybil: a peer is taken as a contact only if the BLAKE2s of its id begins with so many zero
    #: bits, which makes an id ``2 ** bits`` times as dear. All nodes of a network agree on it; 0 is
    #: none. S/Kademlia's crypto puzzle; the highest that ends in a quarter of an hour.
    id_puzzle_bits: int = _knob(0, 0, 24)
    #: Sybils: a key whose neighbourhood is this many standard deviations denser than the rest of
    #: the network raises the alarm (``core.density``). At 3, of keys that nobody attacks 1 in 200
    #: does, and of those with 20 Sybils nearest 998 in 1,000; measured by simulation.
    density_alarm: float = _knob(3.0, 0.1, 1000)
    #: Sybils: after an alarm so many random places where owners are to be expected are looked up as
    #: well. Sridhar et al. (NDSS 2024) search that region whole; 4 find 99 % of it at r = 8.
    region_lookups: int = _knob(4, 1, 16)
    #: Floods through us: an address that never answered is sent one packet in so long, whoever
    #: names it. As ddht and libtorrent do with their lists of the unresponsive, but shorter; guess.
    knock_again_s: float = _knob(60.0, 0.1, HOUR_S)
    #: Floods through us: unanswered packets to addresses of one /24 or /48 that never answered,
    #: within ``knock_again_s``. As many as one subnet may have contacts in a table.
    knocks_per_subnet_max: int = _knob(10, 1, 4096)
    #: Values longer than this are refused: memory, and the time one transfer takes.
    value_size_max: int = _knob(2**20, 1, 2**26)
    #: The store: bytes and records. OpenDHT's 64 MiB.
    store_size_max: int = _knob(64 * 2**20, 2**10, 2**40)
    store_count_max: int = _knob(65_536, 1, 2**24)
    #: Storage floods: the share of the store that one subnet (one key, on local ranges) may fill.
    store_share_per_source: float = _knob(1 / 8, 0.001, 1)
    #: Storage floods: the share of the store for copies handed over by other holders.
    store_share_handover: float = _knob(1 / 2, 0.001, 1)
    #: Storage floods: the share that the signed records and the members of one author may fill,
    #: beside the share of whoever sends them, since authors are free to make. 2 MiB of 64, room
    #: for one value of the longest; guess.
    store_share_per_author: float = _knob(1 / 32, 0.001, 1)
    #: Request floods: requests a second of one source, and how many at once; guess, and OpenDHT's
    #: 1,024 a second of one address.
    requests_per_source_s: float = _knob(1000.0, 1, 10**9)
    requests_burst: float = _knob(2000.0, 1, 10**9)
    #: Memory: operations at once; more raises ``LocalError``.
    operations_max: int = _knob(10_000, 1, 10**6)

    # ---- who may write ----

    #: Plain records, which anybody in the network may overwrite, also where anybody may join:
    #: without a network key, and outside of loopback and private addresses.
    plain_on_open_network: bool = attrs.field(default=False, validator=_check_bool)

    # ---- the unstructured overlay ----

    #: Neighbours a node has at a time, and how many of them a shuffle exchanges. Cyclon (Voulgaris
    #: et al. 2005) has 20 and 8: half of all nodes may die at once, and the rest stay connected.
    view_size: int = _knob(20, 1, 255)
    #: With 16, all at IPv6 addresses, and a few index nodes a datagram is full.
    exchange: int = _knob(8, 1, 16)
    #: A node shuffles so often; Cyclon's and HyParView's cycle is 10 s.
    shuffle_interval_s: float = _knob(10.0, 0.01, DAY_S)
    #: Eclipse: shuffles of others that a node takes part in within one interval; twice that at
    #: once. It is asked by one on average, and by 6 or more in one interval of 1,700 (Poisson).
    shuffles_per_interval: float = _knob(6.0, 1, 10**6)
    #: Floods through us: messages that a search may still cost when it comes to us, whatever it
    #: says. Divided among its branches, it reaches 1,500 nodes in a network of any size; guess.
    search_budget_max: int = _knob(2048, 1, 2**53)
    #: Floods through us: messages a second that what one peer sends us may cost in all, and at
    #: once. What is beyond it is not passed on. A flood comes to a neighbour with a twentieth of
    #: its budget, 100, of which it gets 75 when nothing came before, and all every 10 s. With
    #: twice as much, a stranger who sends searches to everybody more than doubles the work of 200
    #: nodes that flood every 20 s.
    search_allowance_s: float = _knob(10.0, 0.01, 2**53)
    search_burst: float = _knob(150.0, 1, 2**53)
    #: Does this node keep an index of which node holds what? None: about 1 in 20 nodes do, and at
    #: least 3, chosen by their ids.
    index: bool | None = attrs.field(default=None, validator=_check_optional_bool)

    # ---- upkeep ----

    #: A liveness probe of the contact that was silent longest; guess: a table of 150 is walked
    #: in little more than an hour, for 2 datagrams a minute.
    probe_interval_s: float = _knob(30.0, 0.1, DAY_S)
    #: Alone: the first pause between attempts to join, and the longest (each +- 20 %).
    rejoin_first_s: float = _knob(1.0, 0.01, HOUR_S)
    rejoin_max_s: float = _knob(20.0, 0.01, HOUR_S)

    def __attrs_post_init__(self) -> None:
        for low, high in _ORDERED:
            if getattr(self, low) > getattr(self, high):
                raise LocalError(
                    f"Config.{low} is {getattr(self, low)!r}, above Config.{high}, "
                    f"{getattr(self, high)!r}: raise the one or lower the other"
                )


# Pairs of knobs that only make sense in this order.
_ORDERED = (
    ("alpha", "alpha_max"),
    ("request_timeout_min_s", "request_timeout_first_s"),
    ("request_timeout_first_s", "request_timeout_max_s"),
    ("rejoin_first_s", "rejoin_max_s"),
    ("exchange", "view_size"),
)
