"""The layouts: what is written is read, and nothing else is."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.config import DATAGRAM_SIZE_MAX
from dht.core.channel import packets
from dht.core.channel.noise import FIRST_OVERHEAD
from dht.core.channel.packets import (
    CONFIRM,
    INIT_OVERHEAD,
    INIT_ROOM,
    KEEP,
    KEPT,
    NO_CID,
    NO_TOKEN,
    REPEAT,
    Cids,
    First,
    Second,
    mac,
    pack_first,
    pack_second,
    unpack_first_untrusted,
    unpack_second_untrusted,
)
from dht.errors import RemoteError
from dht.wire.messages import REQUEST_ID_SIZE

TOKEN = b"t" * 16
CID = b"c" * 8


@given(st.sampled_from([0, KEEP]), st.binary(max_size=INIT_ROOM), st.booleans())
def test_what_an_init_carries_is_read_as_it_was_written(
    flags: int, frame: bytes, padded: bool
) -> None:
    packed = pack_first(flags, TOKEN, frame, padded=padded)
    assert unpack_first_untrusted(packed) == First(flags, TOKEN, frame)
    if padded:
        assert len(packed) + INIT_OVERHEAD - 19 == DATAGRAM_SIZE_MAX


@given(st.sampled_from([0, REPEAT]), st.binary(max_size=900))
def test_what_a_reply_carries_is_read_as_it_was_written(flags: int, frame: bytes) -> None:
    assert unpack_second_untrusted(pack_second(flags, NO_CID, TOKEN, frame)) == Second(
        flags, NO_CID, TOKEN, frame
    )
    kept = flags | KEPT | CONFIRM
    assert unpack_second_untrusted(pack_second(kept, CID, TOKEN, frame)) == Second(
        kept, CID, TOKEN, frame
    )


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        bytes(18),
        pack_first(0, NO_TOKEN, b"frame", padded=False)[:-1],
        pack_first(2, NO_TOKEN, b"frame", padded=False),
        pack_first(0, NO_TOKEN, b"frame", padded=False) + b"\0\1",
    ],
    ids=["empty", "short", "cut", "unknown flag", "padding"],
)
def test_a_first_payload_with_a_byte_too_few_or_unexplained_is_refused(payload: bytes) -> None:
    with pytest.raises(RemoteError):
        unpack_first_untrusted(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        bytes(24),
        pack_second(8, NO_CID, TOKEN, b""),
        pack_second(KEPT, NO_CID, TOKEN, b""),
        pack_second(0, CID, TOKEN, b""),
    ],
    ids=["empty", "short", "unknown flag", "kept without an id", "an id that is not kept"],
)
def test_a_second_payload_that_contradicts_itself_is_refused(payload: bytes) -> None:
    with pytest.raises(RemoteError):
        unpack_second_untrusted(payload)


def test_no_answer_is_longer_than_the_shortest_packet_that_asks_for_it() -> None:
    """So that nobody can make a node send a victim more than he sends the node."""
    init = packets.INIT_OVERHEAD
    assert init >= packets.REPLY_OVERHEAD, "a reply without a frame: prove yourself"
    assert init >= packets.COOKIE_PACKET_SIZE
    assert packets.NO_SESSION_SIZE <= packets.DATA_OVERHEAD
    assert packets.PATH_PACKET_SIZE <= packets.DATA_OVERHEAD + REQUEST_ID_SIZE
    assert packets.INIT_OVERHEAD == 10 + FIRST_OVERHEAD + 19 + 32


def test_a_mac_hangs_on_its_key_and_on_every_byte() -> None:
    assert mac(b"k" * 32, b"data") != mac(b"l" * 32, b"data")
    assert mac(b"k" * 32, b"data") != mac(b"k" * 32, b"dato")
    assert len(mac(b"k" * 32, b"data")) == 16


def test_connection_ids_are_known_again_after_a_restart_and_by_nobody_else() -> None:
    drawn = Cids(b"s" * 32, Random(1)).draw()
    assert Cids(b"s" * 32, Random(2)).issued(drawn)
    assert not Cids(b"t" * 32, Random(1)).issued(drawn)


@given(st.binary(min_size=8, max_size=8))
def test_a_made_up_connection_id_was_never_drawn(cid: bytes) -> None:
    assert not Cids(b"s" * 32, Random(1)).issued(cid)
