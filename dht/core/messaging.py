"""Messages between nodes, put together: who passes on, who is reached, who sends.

The engine hands everything about them to this file's one class; each decision is in a machine of
its own (``relay``, ``deliveries``, ``dispatch``, ``sending``, ``routed``, ``sealing``).
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final, final

import attrs

from ..contacts import Contact, is_local
from ..errors import LocalError, RemoteError
from ..identity import Identity
from ..keyspace import Key, key_bytes
from ..network import Network
from ..wire.codec import (
    contact_untrusted,
    decode_untrusted,
    encode,
    pack_contacts,
)
from ..wire.messages import (
    REQUEST_ID_SIZE,
    ROUTE_ID_SIZE,
    Find,
    Found,
    Get,
    Message,
    Nodes,
    Ping,
    Returned,
    Route,
    Style,
)
from .channel.face import PING_FRAME_SIZE, Opened
from .channel.noise import Responder as Noise
from .channel.plain import ROOM
from .deliveries import Deliveries
from .dispatch import Dispatcher
from .events import Event
from .forwarding import Bringing, Sent
from .home import Home
from .operations import Search, Shared
from .relay import Back, Relay
from .responder import Responder
from .routed import RoutedSearch
from .sealing import (
    MESSAGE_ID_SIZE,
    Letter,
    Sealer,
    Verdict,
    check_payload,
    check_topic,
    pack_answer,
    pack_letter,
    unpack_letter_untrusted,
)
from .searches import Searches
from .sending import Sending, SendingHome
from .tasks import Task, Tasks
from .unstructured.view import View
from .via import Walk
from .walking import Walks

#: Public keys of nodes that were only known by their id, remembered: 100 B each.
KEYS_MAX: Final = 1024
#: Contacts of the neighbourhood that the question who somebody is brings back as well.
_WHO_COUNT: Final = 8
_NO_ID: Final = bytes(REQUEST_ID_SIZE)
#: A ``Returned`` without its body: request id, array, tag, flags, route id, hops, length.
_RETURNED_OVERHEAD: Final = REQUEST_ID_SIZE + (1 + 1 + 2) + (2 + ROUTE_ID_SIZE) + 1 + 3


@final
@attrs.define(eq=False, kw_only=True)
class Messaging:
    """``trusted``: a network with a key, where nobody has a reason to have a victim sent to."""

    identity: Identity
    network: Network
    random: Random
    tasks: Tasks
    home: Home
    searches: Searches
    responder: Responder
    trusted: bool
    emit: Callable[[Event], None]
    #: Requests that this node sent for messages, its own and others'.
    sent: Sent = attrs.field(factory=Sent, init=False)
    deliveries: Deliveries = attrs.field(init=False)
    dispatcher: Dispatcher = attrs.field(init=False)
    relay: Relay = attrs.field(init=False)
    _walks: Walks = attrs.field(init=False)
    _sealer: Sealer = attrs.field(init=False)
    _flags: int = attrs.field(default=0, init=False)
    #: Id -> public key, the oldest first.
    _keys: dict[int, bytes] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._sealer = Sealer(self.identity, self.network, self.random)
        self.deliveries = Deliveries(self.emit)
        self.dispatcher = Dispatcher(tasks=self.tasks, random=self.random, sent=self.sent)
        self._walks = Walks(self.searches.table)
        self.relay = Relay(
            table=self.searches.table,
            walks=self._walks,
            tasks=self.tasks,
            home=self.home,
            on_reached=self._on_reached,
            answer=self._answer_record,
            on_own=self.dispatcher.on_returned,
            is_own=self.dispatcher.is_own,
            sent=self.sent,
        )

    @property
    def flags(self) -> int:
        """What our requests carry; the engine keeps it up to date."""
        return self._flags

    @flags.setter
    def flags(self, flags: int) -> None:
        self._flags = self.dispatcher.flags = self.relay.flags = flags

    def walk_through(self, view: View) -> None:
        """We live in the unstructured overlay: from now on messages walk from here, and through."""
        self._walks.view = view

    # ---- sending ----

    def sending(
        self,
        now: float,
        target: Key,
        payload: bytes,
        *,
        topic: str,
        contact: Contact | None,
        public_key: bytes | None,
        routing: str,
        reply: str,
        walk: Walk | None = None,
    ) -> Sending | SendingHome:
        """The machine that sends one message, on a ``walk`` or by distance. Raises ``LocalError``,
        ``ValueTooLarge``."""
        check_payload(payload)
        letter = Letter(self.random.randbytes(MESSAGE_ID_SIZE), check_topic(topic), payload)
        issuer = self._issuer() if reply == "direct" else b""
        if target == self.identity.id:
            return SendingHome(
                target=target,
                topic=topic,
                started_at=now,
                deliver=lambda now, back: self.deliveries.arrived(
                    now, self.identity.public_key, letter, back
                ),
            )
        table = self.searches.table
        known = table.get(target) if walk is None else self._walks.where(target)
        if known is not None:
            public_key = known.public_key
        who = encode(Find(self._flags, key_bytes(target), _WHO_COUNT, 0))
        search: Search | None = None
        at: Contact | None = None
        if walk is not None:
            at = known or contact
        elif routing == "iterative":
            at = known or contact
            if at is None:
                # As many at once as a lookup: one at a time would wait for each that is dead.
                search = self.searches.begin(now, target, who, want=self.searches.config.alpha)
        return Sending(
            target=target,
            topic=topic,
            plain=pack_letter(letter),
            who=who,
            public_key=public_key or self._keys.get(target),
            at=at,
            search=search,
            issuer=issuer,
            walk=walk,
            walks=self._walks,
            table=table,
            sealer=self._sealer,
            dispatcher=self.dispatcher,
            named=lambda body, peer: self._read_untrusted(body, peer)[2],
            on_key=self._remember_key,
            local=self.home,
            started_at=now,
        )

    def routed(
        self,
        now: float,
        target: int,
        body: bytes,
        begin: Callable[..., Search],
        shared: Shared | None,
    ) -> RoutedSearch | None:
        """A search that begins with one routed request; None where that would only take longer:
        we are the nearest that we know, or know everybody."""
        candidates = self.relay.nearer(target, without=self.identity.id)
        if not candidates or self.searches.knows_all():
            return None
        known = Shared() if shared is None else shared

        def with_seeds(seeds: list[Contact]) -> Search:
            for contact in seeds:
                known.learn(contact)
            return begin(shared=known)

        routed = RoutedSearch(
            target=target,
            started_at=now,
            begin=with_seeds,
            dispatcher=self.dispatcher,
            reading=self._read_untrusted,
        )
        routed.send(now, candidates, body)
        return routed

    def _issuer(self) -> bytes:
        own = self.home.contact
        if not (self.trusted or is_local(own.address)):
            raise LocalError(
                "reply='direct' makes the target send to an address that we say is ours, and "
                f"{own} is at a public address in a network that anybody can join, where nobody "
                "does that for a stranger. Leave reply= out: the answer comes back along the path; "
                "or join a network with a network_key="
            )
        return own.packed

    def _remember_key(self, target: int, public_key: bytes) -> None:
        self._keys.pop(target, None)
        self._keys[target] = public_key
        if len(self._keys) > KEYS_MAX:
            del self._keys[next(iter(self._keys))]

    def _read_untrusted(self, body: bytes, peer: Contact) -> tuple[Contact, Message, list[Contact]]:
        """Who answered a record request, what, and whom it names, itself first. Nothing of it is
        proved. Raises ``RemoteError``."""
        size = body[0] + 1
        holder = contact_untrusted(body[1:size])
        _, message = decode_untrusted(_NO_ID + body[size:])
        if not isinstance(message, Nodes | Found):
            raise RemoteError(f"{type(message).__name__} does not answer a Find or a Get")
        own4, own6 = pack_contacts([holder])
        named = self.tasks.believable_untrusted(
            own4 + message.contacts4, own6 + message.contacts6, peer.address
        )
        if holder not in named and holder.id != self.identity.id:
            raise RemoteError(f"{holder} cannot be known where {peer} is")
        return holder, message, named

    # ---- being reached ----

    def _on_reached(self, now: float, route: Route, opened: Opened, back: Back) -> None:
        carries = Style(route.style).carries
        if carries is Style.RECORD:
            back(now, self._answer_record(now, route, True) or b"")  # noqa: FBT003
            return
        try:
            plain, noise = self._sealer.open_untrusted(route.issuer, route.body)
            letter = unpack_letter_untrusted(plain)
        except RemoteError:
            return  # whoever sent it learns nothing, as with any other nonsense
        sender = noise.remote_public
        if sender == self.identity.public_key:
            return
        if carries is Style.DIRECT:
            back = self._straight(route, opened, sender, back)
        self.deliveries.arrived(now, sender, letter, partial(self._seal_answer, noise, back))

    def _seal_answer(
        self, noise: Noise, back: Back, now: float, verdict: Verdict, payload: bytes
    ) -> None:
        back(now, self._sealer.answer(noise, pack_answer(verdict, payload)))

    def _straight(self, route: Route, opened: Opened, sender: bytes, back: Back) -> Back:
        """Brings an answer straight to the issuer, where that harms nobody, else along the path.

        Threat: a victim is named as the issuer. The address is sealed with the message, so that
        only its sender can lie about it; he is somebody of our network, or it is a private address;
        and an address that has not proved itself gets, once, no more bytes than the message had.
        """
        try:
            issuer = contact_untrusted(route.issuer)
        except RemoteError:
            return back
        if issuer.public_key != sender or not (
            self.trusted or (is_local(issuer.address) and is_local(self.home.contact.address))
        ):
            return back

        def straight(now: float, body: bytes) -> None:
            returned = encode(Returned(self._flags, route.id, route.hops, body))
            tasks = self.tasks
            as_stranger = tasks.channel.ping_size - PING_FRAME_SIZE + REQUEST_ID_SIZE
            fits = as_stranger + len(returned) <= tasks.channel.overhead + len(opened.payload)
            proved = issuer.address in tasks.knocks.open
            bodies = [returned] if fits or proved else [encode(Ping(self._flags)), returned]
            bringing = Bringing(issuer, bodies, self.sent)

            def stepped(now: float, task: Task) -> None:
                if task.done and not bringing.brought:
                    back(now, body)

            tasks.spawn(now, bringing, stepped)

        return straight

    def _answer_record(self, now: float, route: Route, last: bool) -> bytes | None:  # noqa: FBT001
        """Our own answer to a record request, with our contact before it; see ``relay``."""
        style = Style(route.style)
        if style.carries is not Style.RECORD or not self.home.serves:
            return None
        if style.walks and last and int.from_bytes(route.target) != self.identity.id:
            return b""  # who walks looks for one node only
        try:
            _, request = decode_untrusted(_NO_ID + route.body)
        except RemoteError:
            return b""
        target = int.from_bytes(route.target)
        if isinstance(request, Get) and request.key == route.target:
            if not last and self.responder.storage.get(now, request.kind, target) is None:
                return None
        elif isinstance(request, Find) and request.target == route.target:
            wanted = not request.kind and target in self.searches.table
            if not last and not wanted:
                return None
        else:
            return b""
        own = self.home.contact
        self.responder.time_s = self.home.time_s(now)
        room = ROOM - _RETURNED_OVERHEAD - 1 - len(own.packed)
        answer = self.responder.answer(now, own, request, room)
        return bytes([len(own.packed)]) + own.packed + encode(answer)
