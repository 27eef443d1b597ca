"""Counters and gauges of an engine. Their number is constant: nothing is labelled by a peer."""

from typing import final

import attrs


@final
@attrs.define(eq=False)
class Counters:
    """What only the engine itself counts. Counters only grow."""

    datagrams_received: int = 0
    datagrams_sent: int = 0
    datagrams_dropped: int = 0
    bytes_received: int = 0
    requests_served: int = 0
    requests_refused: int = 0
    requests_given_up: int = 0


@attrs.frozen(kw_only=True)
class EngineStats:
    """A snapshot. Sizes in bytes, times in seconds."""

    datagrams_received: int
    datagrams_sent: int
    #: Damaged, foreign or nonsense; and questions who we are, the only ones that are answered.
    datagrams_dropped: int
    bytes_received: int
    requests_served: int
    #: Beyond the allowance of their source.
    requests_refused: int
    requests_sent: int
    requests_retried: int
    #: Silent through all tries.
    requests_given_up: int
    requests_in_flight: int
    #: Answers to nothing that we asked, or from another address.
    answers_unmatched: int
    #: Answers that broke the protocol.
    peer_violations: int
    operations_started: int
    operations_in_flight: int
    contacts: int
    #: Nodes in the whole network, estimated.
    network_size: float
    #: Messages of others that it passed on, and that it refused to: too many of one source.
    messages_forwarded: int
    messages_refused: int
    #: Messages to this node that its application was given.
    messages_delivered: int
    records: int
    records_size: int
    repairs_done: int
    copies_made: int
    #: "new", "joined" or "alone".
    standing: str
    #: Do strangers reach it? "unknown", "yes" or "no".
    reachable: str
    #: Does it serve, or is it a client?
    serving: bool
    #: In the unstructured overlay: how many neighbours it has, whether it keeps an index of what
    #: others hold, and for how many keys and holders.
    neighbours: int
    keeps_index: bool
    index_entries: int
    shuffles: int
    #: Searches sent on from here, and those of them to somebody who had seen it.
    searches_passed_on: int
    searches_seen_again: int
    #: Searches that found something here, and those refused, as their share was used up.
    searches_answered: int
    searches_refused: int
    #: Answers and ends passed back, and walkers' questions whether to go on.
    hits_passed_back: int
    ends_passed_back: int
    checks_sent: int
    #: How far the others' clocks are ahead of ours (median); None before the first answer.
    clock_ahead_s: float | None
