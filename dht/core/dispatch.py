"""Messages of our own on their way: their first hop, and what comes back for them."""

from random import Random
from typing import Final, Protocol, final

import attrs

from ..contacts import Contact
from ..wire.codec import encode
from ..wire.messages import ROUTE_ID_SIZE, TTL_MAX, Returned, Route, Style, Taking
from .channel.face import Opened
from .forwarding import Forwarding, Sent
from .tasks import Task, Tasks

#: Seconds for which an answer is waited for at the most: as long as the hops know its way back.
OWN_S: Final = 30.0
#: Memory: messages of our own whose answer is waited for; those of operations that were cancelled
#: stay until their time is over. Three attempts of each of ``Config.operations_max``; a walk has
#: more, and where too many of them are under way the oldest is forgotten, and tried again.
OWN_MAX: Final = 32_768


class Hearing(Protocol):
    """Called with what comes back for one attempt."""

    def __call__(self, now: float, returned: Returned | None, peer: Contact | None) -> bool:
        """``returned`` is None when nobody took the message at all. Was it what we wait for? If
        not, something else may still come."""


@attrs.define(eq=False)
class _Own:
    hearing: Hearing
    forwarding: Forwarding
    until: float


@final
@attrs.define(eq=False, kw_only=True)
class Dispatcher:
    """Sends messages of our own."""

    tasks: Tasks
    random: Random
    sent: Sent
    #: What our requests carry; the engine keeps it up to date.
    flags: int = attrs.field(default=0, init=False)
    _own: dict[bytes, _Own] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._own)

    def is_own(self, route_id: bytes) -> bool:
        """Is it a message of ours? Whoever sends it to us has been given it in a circle."""
        return route_id in self._own

    def dispatch(
        self,
        now: float,
        *,
        target: bytes,
        style: Style,
        candidates: list[Contact],
        body: bytes,
        hearing: Hearing,
        issuer: bytes = b"",
        ttl: int = TTL_MAX,
    ) -> tuple[bytes, Forwarding]:
        """Offers a message to its first hop; gives its id, which is to be given to ``forget``."""
        route = Route(
            flags=self.flags,
            id=self.random.randbytes(ROUTE_ID_SIZE),
            target=target,
            ttl=ttl,
            hops=0,
            style=style,
            issuer=issuer,
            body=body,
        )
        asked: dict[bytes, None] = {}
        free_after = self.tasks.requests.free_after
        forwarding = Forwarding(
            candidates, encode(route), free_after, asked, self.sent, walks=style.walks
        )
        self._forget_old(now)
        self._own[route.id] = _Own(hearing, forwarding, now + OWN_S)

        def stepped(now: float, task: Task) -> None:
            if task.done and not forwarding.taken and route.id in self._own:
                hearing(now, None, None)

        self.tasks.spawn(now, forwarding, stepped)
        return route.id, forwarding

    def forget(self, route_id: bytes) -> None:
        """What still comes back for it is of no interest."""
        self._own.pop(route_id, None)

    def _forget_old(self, now: float) -> None:
        own = self._own
        while own and (own[oldest := next(iter(own))].until <= now or len(own) >= OWN_MAX):
            del own[oldest]

    def on_returned(
        self, now: float, opened: Opened, message: Returned, peer: Contact
    ) -> Taking | None:
        """What came back for a message of ours; None: it is none. An answer counts whoever brings
        it, for nobody else can have sealed it; what is not sealed, only from our first hops."""
        own = self._own.get(message.id)
        if own is None:
            return None
        first_hop = opened.public_key in own.forwarding.asked
        if not message.body and not first_hop:
            return Taking.NOT_HERE
        heard = own.hearing(now, message, peer if first_hop else None)
        return Taking.TAKEN if heard else Taking.NOT_HERE
