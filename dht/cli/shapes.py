"""Outcomes and events as JSON and as short lines. Every shape that ``--json`` prints is here.

Times are in seconds, sizes in bytes; a value is base64, since JSON has no bytes, and ``text`` is
the same value where it is UTF-8.
"""

from base64 import b64encode
from typing import Any

from ..contacts import Contact, Introducer, format_address, to_base32
from ..core.events import (
    AddressChanged,
    Alone,
    Event,
    Identified,
    Joined,
    JoinFailed,
    KeyChanged,
    MessageArrived,
    OperationFinished,
    PeerAdded,
    PeerRemoved,
    ReachabilityChanged,
    RecordStored,
)
from ..core.outcomes import GetOutcome, LookupOutcome, Members, PutOutcome, Step, Trace
from ..keyspace import common_prefix_length
from ..shell.stream import EventsLost

Shape = dict[str, Any]


def contact_shape(contact: Contact) -> Shape:
    """A contact."""
    return {"id": contact.id.hex(), "uri": contact.uri}


def value_shape(value: bytes | None) -> Shape:
    """A value, or that there is none."""
    if value is None:
        return {"found": False, "value_base64": None, "text": None, "size": None}
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = None
    encoded = b64encode(value).decode()
    return {"found": True, "value_base64": encoded, "text": text, "size": len(value)}


def trace_shape(trace: Trace) -> Shape:
    """The way of a search, with every step."""
    return {
        "target": trace.target.hex(),
        "hops": trace.hops,
        "messages": trace.messages,
        "nodes": trace.nodes,
        "duplicates": trace.duplicates,
        "elapsed": trace.elapsed,
        "stopped": trace.stopped,
        "steps": [_step_shape(step, trace) for step in trace.steps],
    }


def _step_shape(step: Step, trace: Trace) -> Shape:
    return {
        **contact_shape(step.contact),
        "told_by": None if step.told_by is None else step.told_by.id.hex(),
        "depth": step.depth,
        "shared_bits": common_prefix_length(step.contact.id, trace.target),
        "asked_at": step.asked_at,
        "rtt": step.rtt,
        "result": str(step.result),
        "named": step.named,
    }


def get_shape(outcome: GetOutcome) -> Shape:
    """What became of a get."""
    newest = outcome.record or outcome.deleted
    return {
        "key": outcome.key.hex(),
        **value_shape(outcome.value),
        "version": None if newest is None else newest.version,
        "author": None if newest is None or newest.author is None else str(newest.author),
        "deleted": outcome.deleted is not None,
        "agreed": len(outcome.agreed),
        "stale": len(outcome.stale),
        "empty": len(outcome.empty),
        "trace": trace_shape(outcome.trace),
    }


def put_shape(outcome: PutOutcome) -> Shape:
    """What became of a put or a delete."""
    return {
        "key": outcome.key.hex(),
        "version": outcome.version,
        "quorum": outcome.quorum,
        "stored": [contact_shape(contact) for contact in outcome.stored],
        "refused": [
            {**contact_shape(refusal.contact), "reason": refusal.reason}
            for refusal in outcome.refused
        ],
        "silent": [contact_shape(contact) for contact in outcome.silent],
        "pending": [contact_shape(contact) for contact in outcome.pending],
        "trace": trace_shape(outcome.trace),
    }


def members_shape(members: Members) -> Shape:
    """Who is in a topic."""
    return {
        "key": members.key.hex(),
        "total": members.total,
        "members": [
            {"author": str(each.author), "version": each.version, **value_shape(each.value)}
            for each in members
        ],
        "holders": [contact_shape(contact) for contact in members.holders],
        "trace": trace_shape(members.trace),
    }


def lookup_shape(outcome: LookupOutcome) -> Shape:
    """What a lookup found."""
    return {
        "target": outcome.target.hex(),
        "closest": [
            {
                **contact_shape(contact),
                "shared_bits": common_prefix_length(contact.id, outcome.target),
            }
            for contact in outcome.closest
        ],
        "trace": trace_shape(outcome.trace),
    }


def event_shape(event: Event | EventsLost) -> Shape:
    """What happened to a node, with its name under ``event``."""
    match event:
        case Joined(contacts=contacts):
            return {"event": "joined", "contacts": contacts}
        case JoinFailed(tried=tried, retry_in_s=retry_in_s):
            uris = [each.uri if isinstance(each, Contact) else str(each) for each in tried]
            return {"event": "join_failed", "tried": uris, "retry_in": retry_in_s}
        case Alone():
            return {"event": "alone"}
        case Identified(where=where, contact=contact):
            return {"event": "identified", "where": where, **contact_shape(contact)}
        case KeyChanged(where=where, remembered=remembered, found=found):
            keys = {"remembered": to_base32(remembered), "found": to_base32(found)}
            return {"event": "key_changed", "where": where, **keys}
        case PeerAdded(contact=contact):
            return {"event": "peer_added", **contact_shape(contact)}
        case PeerRemoved(contact=contact):
            return {"event": "peer_removed", **contact_shape(contact)}
        case RecordStored(kind=kind, key=key, version=version):
            return {
                "event": "record_stored",
                "kind": kind.name.lower(),
                "key": key.hex(),
                "version": version,
            }
        case MessageArrived(topic=topic, sender=sender, payload=payload):
            return {
                "event": "message_arrived",
                "topic": topic,
                "sender": sender.hex(),
                "size": len(payload),
            }
        case AddressChanged(contact=contact):
            return {"event": "address_changed", **contact_shape(contact), "uri": contact.uri}
        case ReachabilityChanged(reachable=reachable, serving=serving):
            return {"event": "reachability_changed", "reachable": reachable, "serving": serving}
        case EventsLost(count=count):
            return {"event": "events_lost", "count": count}
        case OperationFinished(operation_id=operation_id):
            return {"event": "operation_finished", "operation": operation_id}


def event_line(event: Event | EventsLost) -> str:
    """What happened to a node, for a person."""
    match event:
        case Joined(contacts=contacts):
            return f"joined: {contacts} contacts"
        case JoinFailed(tried=tried, retry_in_s=retry_in_s):
            return f"nobody answers ({places(tried)}); trying again in {retry_in_s:.1f} s"
        case Alone():
            return "alone: nobody answers any more"
        case Identified(where=where, contact=contact):
            return f"{where} is {_peer(contact)}"
        case KeyChanged():
            return f"not taken: {event}"
        case PeerAdded(contact=contact):
            return f"+ {_peer(contact)}"
        case PeerRemoved(contact=contact):
            return f"- {_peer(contact)}"
        case RecordStored(kind=kind, key=key, version=version):
            return f"stored {kind.name.lower()} {key.hex()[:12]} version {version}"
        case MessageArrived(topic=topic, sender=sender, payload=payload):
            return f"{len(payload)} bytes for {topic!r} from {sender.hex()[:8]}"
        case AddressChanged(contact=contact):
            return f"others see this node at another address: {contact.uri}"
        case ReachabilityChanged(reachable=reachable, serving=serving):
            return f"{_REACHABLE[reachable]}; it {'serves' if serving else 'is a client'}"
        case EventsLost(count=count):
            return f"{count} events went by too fast to be shown"
        case OperationFinished(operation_id=operation_id):
            return f"operation {operation_id} ended"


_REACHABLE = {
    "unknown": "nobody can tell whether strangers reach this node",
    "yes": "strangers reach this node",
    "no": "strangers do not reach this node",
}


def _peer(contact: Contact) -> str:
    return f"{contact.id.hex()[:8]} at {format_address(contact.address)}"


def places(tried: tuple[Introducer, ...]) -> str:
    """Where somebody was tried, without keys."""
    each_of = (format_address(e.address) if isinstance(e, Contact) else str(e) for e in tried)
    return ", ".join(each_of) or "nobody to ask"
