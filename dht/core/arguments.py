"""What a caller may ask of the engine: checked at its edge, before anything begins.

Raises ``LocalError``, which shows the value, what was expected and what to do.
"""

from collections.abc import Iterable

from ..author import Author, check_author
from ..contacts import BareAddress, Contact, is_local
from ..errors import LocalError, ValueTooLarge
from ..records import MEMBER_SIZE_MAX, VERSION_MAX, Kind, ttl_max_s
from ..wire.messages import WALK_TTL_MAX
from .via import Walk

DEFAULT_TTL_S = 24 * 3600.0
#: A ttl shorter than a record's unit of time, a millisecond, would be none at all.
TTL_MIN_S = 0.001
#: More owners than this find no room in one lookup.
REPLICAS_MAX = 64


def check_replicas(replicas: object) -> None:
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        raise LocalError(f"replicas is a number, got {replicas!r}")
    if not 1 <= replicas <= REPLICAS_MAX:
        raise LocalError(f"replicas is a number from 1 to {REPLICAS_MAX}, got {replicas!r}")


def check_quorum(quorum: object, replicas: int, *, or_majority: bool = True) -> None:
    """With ``or_majority``, None means a majority, which is always possible."""
    if quorum is None and or_majority:
        return
    if isinstance(quorum, bool) or not isinstance(quorum, int) or not 1 <= quorum <= replicas:
        raise LocalError(f"a quorum is a number from 1 to the {replicas} replicas, got {quorum!r}")


def check_walk(walk: Walk) -> None:
    """A walk that a message can take."""
    if walk != Walk(walkers=walk.walkers, ttl=walk.ttl, reply=walk.reply):
        raise LocalError(
            "of the options of a walk only walkers=, ttl= and reply= mean anything for a message, "
            f"which is not looked for and leaves no copies: leave the others out of {walk!r}"
        )
    if walk.ttl > WALK_TTL_MAX:
        raise LocalError(f"a message walks at most {WALK_TTL_MAX} steps, got {walk!r}")


def check_copies(replicas: object, quorum: object, if_version: int | None) -> None:
    """What a put may be asked: how many copies, how many of them it waits for, what it follows."""
    check_replicas(replicas)
    assert isinstance(replicas, int)
    check_quorum(quorum, replicas)
    check_version(if_version)


def check_writer(kind: Kind, author: Author | None, value: bytes) -> None:
    """Who writes, for the kinds that have an author; and what a member's value may be."""
    if kind > Kind.CONTENT:
        check_author(author)
    if kind is Kind.MEMBER and len(value) > MEMBER_SIZE_MAX:
        raise ValueTooLarge(
            f"a member's value has at most {MEMBER_SIZE_MAX} bytes, got {len(value)}; put the "
            "value itself with put_content(), and add its key"
        )


def check_plain(network: Iterable[Contact | BareAddress]) -> None:
    """Raises ``LocalError`` unless all that lies before us is loopback and private addresses."""
    for contact in network:
        if not is_local(contact.address):
            raise LocalError(
                "anybody can overwrite a plain record in a network that anybody can join, and "
                f"{contact} is at a public address. Three ways out: sign it, with author= "
                "(--author FILE); join a network with a network_key= (--network-key-file PATH); "
                "or, if that is what you want, set Config.plain_on_open_network=True on every node"
            )


def check_limit(limit: object) -> None:
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise LocalError(f"a limit is a number above 0, got {limit!r}")


def check_value(value: object, size_max: int) -> None:
    if not isinstance(value, bytes):
        raise LocalError(f"a value is bytes, got {value!r} ({type(value).__name__}); encode it")
    if len(value) > size_max:
        raise ValueTooLarge(
            f"a value of {len(value)} bytes; Config.value_size_max allows {size_max}. Split it, "
            "or allow more on every node"
        )


def check_version(if_version: int | None) -> None:
    if if_version is None:
        return
    wrong = isinstance(if_version, bool) or not isinstance(if_version, int)
    if wrong or not 0 <= if_version <= VERSION_MAX:
        raise LocalError(f"if_version is a version or 0 for 'must not exist', got {if_version!r}")


def checked_ttl_ms(ttl_s: float | None, kind: Kind, *, tombstone: bool) -> int:
    """The ttl in milliseconds. Raises ``LocalError`` for one that a holder would refuse."""
    longest = ttl_max_s(kind, tombstone=tombstone)
    if ttl_s is None:
        ttl_s = longest if tombstone else DEFAULT_TTL_S
    if isinstance(ttl_s, bool) or not isinstance(ttl_s, int | float):
        raise LocalError(f"a ttl is a number of seconds, got {ttl_s!r}")
    if not TTL_MIN_S <= ttl_s <= longest:  # also false for NaN
        raise LocalError(
            f"the ttl of a {kind.name.lower()} record is more than 0 and at most {longest:g} "
            f"seconds, got {ttl_s!r}"
        )
    return int(ttl_s * 1000)
