"""At which address others reach this node, and whether they do: what follows from the evidence.

Decisions only: ``presence`` asks others and tells these machines what came of it.

Threat: peers lie about us. Nothing is ever sent to an address that others say they saw us at: it is
shown to our user, and that is all. And nobody learns an address of ours from us: each peer takes
the one that our datagrams come from, and tells others of it once we have answered there.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import Enum
from random import Random
from typing import final

import attrs

from ..contacts import Address, Contact, ip_of, is_ipv6, is_local, subnet_of
from ..wire.messages import NONCE_SIZE, Dialling, DialStatus, Message
from .machine import FINISHED, Ask, Finished, Wait

#: Subnets that must have seen the same address before it is ours. DESIGN: "what peers in three
#: subnets saw".
AGREE_MIN = 3
#: Reports that count, one of each subnet, the latest ones. Memory; and few enough that a new
#: address wins as soon as one round of questions went out from it; guess.
REPORTS_MAX = 8

#: Knocks from different subnets that prove that strangers reach us. DESIGN: "two peers in
#: different subnets".
PROOFS_MIN = 2
#: Knocks in a round that are said to have left and that never came, after which strangers do not
#: reach us. Each is one datagram: at 5 % loss all are lost in 0.01 % of the rounds; guess.
FAILURES_MIN = 3
#: Peers that are asked for a knock in one round; guess: twice the failures that decide.
ASKS_MAX = 6
#: Seconds in which a knock arrives that has left, and after which a peer that looks for somebody
#: to knock is asked whether it found one; guess: longer than any round trip.
KNOCK_WAIT_S = 2.0
#: How often it is asked so. It may try three peers, with two tries each: 6 s; guess.
POLLS_MAX = 4
#: Seconds. DESIGN: "rechecked hourly".
RECHECK_S = 3600.0
#: Seconds until the first next round when one has told nothing; then twice as long; guess.
AGAIN_FIRST_S = 60.0
#: Rounds begin within +- this share of their time, so that nodes that started together spread.
JITTER = 0.1

#: Seconds. Whoever we sent something to within this time may be let in for that alone: a NAT
#: should keep a way open for 5 minutes (RFC 4787, section 4.3, the default that it recommends).
CONTACTED_S = 300.0
#: Memory: hosts that we have sent something to lately.
CONTACTED_MAX = 8192


@final
class Reachable(Enum):
    """Do strangers reach this node?"""

    UNKNOWN = "unknown"
    YES = "yes"
    NO = "no"


@final
class Evidence(Enum):
    """What a wish for a knock came to."""

    PROOF = "proof"
    """A stranger knocked."""
    FAILURE = "failure"
    """A knock has left, and did not come."""
    NOTHING = "nothing"
    """Nobody knocked, or only somebody who would be let in in any case."""


# ------------------------------------------------------------------------------------- the address


@final
@attrs.define(eq=False)
class ObservedAddresses:
    """What others saw us at. A subnet has one say, its latest; on local ranges, where a subnet
    says nothing, a key has. Who is at a local address says nothing of public ones, nor the other
    way round."""

    _public: dict[bytes, Address] = attrs.field(factory=dict, init=False)
    _local: dict[bytes, Address] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._public) + len(self._local)

    def heard(self, observer: Contact, seen: Address) -> None:
        """``observer`` answered, and saw our request come from ``seen``."""
        if is_local(observer.address) is not is_local(seen):
            return
        reports = self._reports(observer)
        source = source_of(observer)
        reports.pop(source, None)
        reports[source] = seen
        if len(reports) > REPORTS_MAX:
            del reports[next(iter(reports))]

    def said(self, observer: Contact) -> Address | None:
        """What somebody's subnet said last, if that still counts."""
        return self._reports(observer).get(source_of(observer))

    def agreed(self) -> Address | None:
        """The address that at least three subnets saw, and more than saw any other. A public one
        goes before a local one."""
        return _most_seen(self._public) or _most_seen(self._local)

    def _reports(self, observer: Contact) -> dict[bytes, Address]:
        return self._local if observer.subnet is None else self._public


def source_of(contact: Contact) -> bytes:
    """Whose word it is: one of a subnet, or of a key on local ranges."""
    return contact.public_key if contact.subnet is None else contact.subnet


def _most_seen(reports: dict[bytes, Address]) -> Address | None:
    votes = Counter(reports.values())
    most = max(votes.values(), default=0)
    leaders = [seen for seen, count in votes.items() if count == most]
    return leaders[0] if most >= AGREE_MIN and len(leaders) == 1 else None


# ----------------------------------------------------------------------------------- who reaches us


@final
class Contacted:
    """The hosts that we sent something to lately. Two generations, so that no time is kept with
    each: a host is known for ``CONTACTED_S`` at least, and for twice as long at most."""

    def __init__(self) -> None:
        # Sets that are only asked, never iterated over.
        self._now: set[bytes] = set()
        self._before: set[bytes] = set()

    def add(self, datagrams: Iterable[tuple[bytes, Address]]) -> None:
        """These were sent."""
        if len(self._now) < CONTACTED_MAX:
            self._now.update([ip_of(address) for _, address in datagrams])

    def turn(self) -> None:
        """``CONTACTED_S`` have passed."""
        self._before, self._now = self._now, set()

    def __contains__(self, address: Address) -> bool:
        """Also when so many were contacted that we lost count: then nobody is a stranger."""
        full = max(len(self._now), len(self._before)) >= CONTACTED_MAX
        return full or ip_of(address) in self._now or ip_of(address) in self._before


@final
@attrs.define(eq=False)
class Reachability:
    """Rounds of wishes for a knock, and the verdict.

    ``begin``; then, as long as ``whom`` names somebody, ask that peer with the nonce of ``wish``
    and say what came of it: ``knocked`` when a knock comes, ``over`` when the question is over; at
    last ``end``, which says how long to rest.
    """

    random: Random
    reachable: Reachable = attrs.field(default=Reachable.UNKNOWN, init=False)
    _again_s: float = attrs.field(default=AGAIN_FIRST_S, init=False)
    #: The nonces of this round, and whom we gave them to.
    _wishes: dict[bytes, Contact] = attrs.field(factory=dict, init=False)
    #: The subnets asked in this round, and those that knocked.
    _asked: list[bytes] = attrs.field(factory=list, init=False)
    _proofs: list[bytes] = attrs.field(factory=list, init=False)
    _failures: int = attrs.field(default=0, init=False)

    def begin(self) -> None:
        """A new round. What the last one left is forgotten."""
        self._wishes.clear()
        self._asked.clear()
        self._proofs.clear()
        self._failures = 0

    def whom(self, contacts: Sequence[Contact], own: Address) -> Contact | None:
        """Whom to ask next: somebody of another subnet than ours and than those asked before.
        None: the round is over, or nobody is left."""
        if (
            len(self._proofs) >= PROOFS_MIN
            or (self._failures >= FAILURES_MIN and not self._proofs)
            or len(self._asked) >= ASKS_MAX
        ):
            return None
        known = [*self._asked, subnet_of(own)]
        choice = [
            contact
            for contact in contacts
            if contact.subnet is not None
            and contact.subnet not in known
            and (is_local(own) or is_ipv6(contact.address) is is_ipv6(own))
        ]
        return self.random.choice(choice) if choice else None

    def wish(self, contact: Contact) -> bytes:
        """``contact`` is asked for a knock with this nonce."""
        assert contact.subnet is not None, "whom() names nobody else"
        self._asked.append(contact.subnet)
        nonce = self.random.randbytes(NONCE_SIZE)
        self._wishes[nonce] = contact
        return nonce

    def knocked(
        self, nonce: bytes, source: Address, own: Address, *, contacted: bool
    ) -> Evidence | None:
        """Somebody knocked. None: not at our wish, or it was counted already.

        ``contacted``: we sent something there lately ourselves, so a NAT would let it in.
        """
        asked = self._wishes.get(nonce)
        if asked is None:
            return None
        subnet = subnet_of(source)
        near = (asked.subnet, subnet_of(own), *self._proofs)
        if contacted or is_local(source) or subnet in near:
            return Evidence.NOTHING
        del self._wishes[nonce]
        self._proofs.append(subnet)
        return Evidence.PROOF

    def over(self, evidence: Evidence) -> None:
        """What the last question came to; a proof was counted when it knocked."""
        self._failures += evidence is Evidence.FAILURE

    def end(self) -> float:
        """The verdict stands in ``reachable``; the seconds to the next round are returned.

        A round that told nothing changes nothing, and the next one comes soon.
        """
        if len(self._proofs) >= PROOFS_MIN:
            self.reachable = Reachable.YES
        elif self._failures >= FAILURES_MIN and not self._proofs:
            self.reachable = Reachable.NO
        else:
            pause, self._again_s = self._again_s, min(self._again_s * 2, RECHECK_S)
            return self._jittered(pause)
        self._again_s = AGAIN_FIRST_S
        return self._jittered(RECHECK_S)

    def forget(self) -> None:
        """Everybody who could tell is gone: what was found is of another time."""
        self.reachable = Reachable.UNKNOWN

    def impatient(self) -> None:
        """Something has changed (we joined, our address is another): no long rests now."""
        self._again_s = AGAIN_FIRST_S

    def _jittered(self, seconds: float) -> float:
        return seconds * self.random.uniform(1 - JITTER, 1 + JITTER)


@final
@attrs.define(eq=False)
class Reaching:
    """One wish for a knock, told to one peer, who is asked again what came of it."""

    contact: Contact
    body: bytes
    evidence: Evidence | None = attrs.field(default=None, init=False)
    _polls: int = attrs.field(default=0, init=False)
    #: Ask (again) then; None: an answer is outstanding.
    _ask_at: float | None = attrs.field(default=0.0, init=False)
    #: It has left: it is here by then, or will never be.
    _here_by: float | None = attrs.field(default=None, init=False)

    def next(self, now: float) -> Ask | Wait | Finished:
        if self._here_by is not None and now >= self._here_by:
            self.knocked(Evidence.FAILURE)
        if self.evidence is not None:
            return FINISHED
        if self._ask_at is not None and now >= self._ask_at:
            self._ask_at = None
            return Ask(self.contact, self.body)
        return Wait(self._here_by if self._ask_at is None else self._ask_at)

    def knocked(self, evidence: Evidence) -> None:
        """What it came to; the first word counts."""
        if self.evidence is None:
            self.evidence = evidence

    def on_reply(
        self, now: float, contact: Contact, message: Message, closer: list[Contact]
    ) -> None:
        status = message.status if isinstance(message, Dialling) else DialStatus.BUSY
        if status == DialStatus.WILL and self._polls < POLLS_MAX:
            self._polls += 1
            self._ask_at = now + KNOCK_WAIT_S
        elif status == DialStatus.DONE:
            self._here_by = now + KNOCK_WAIT_S
        else:
            self.knocked(Evidence.NOTHING)

    def on_failure(self, now: float, contact: Contact) -> None:
        self.knocked(Evidence.NOTHING)

    def on_retry(self, contact: Contact) -> None:
        """Retries are none of its business."""
