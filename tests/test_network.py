import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.errors import LocalError
from dht.network import KEYS_MAX, Network, Secrets

keys = st.binary(min_size=32, max_size=32).filter(any)
names = st.text(min_size=1, max_size=40)


def derived(secrets: Secrets, public_key: bytes) -> tuple[bytes, ...]:
    return (
        secrets.psk,
        secrets.who_key,
        secrets.checksum_key(),
        secrets.mac_key(public_key),
        secrets.cookie_key(public_key),
    )


@given(names, keys, keys, st.binary(min_size=32, max_size=32))
def test_everything_derived_is_different_for_each_use_each_name_and_each_key(
    name: str, key: bytes, other: bytes, public_key: bytes
) -> None:
    networks = {Network.named(name, key), Network.named(name + "x", key), Network.named(name)}
    if other != key:
        networks.add(Network.named(name, other))
    everything = [each for one in networks for each in derived(one.secrets()[0], public_key)]
    assert len(set(everything)) == len(everything) == 5 * len(networks)
    assert all(len(each) == 32 for each in everything)


@given(names, st.lists(keys, min_size=1, max_size=KEYS_MAX))
def test_the_newest_key_comes_first_and_each_stands_for_itself(
    name: str, several: list[bytes]
) -> None:
    network = Network.named(name, several)
    alone = [Network.named(name, key).secrets()[0].psk for key in several]
    assert [secrets.psk for secrets in network.secrets()] == alone
    assert network.is_secret


def test_a_network_without_a_key_has_the_secrets_of_its_name() -> None:
    assert not Network.named("main").is_secret
    assert Network.named("main") == Network.named()
    assert len(Network.named().secrets()) == 1


@pytest.mark.parametrize(
    "key", [b"short", bytes(32), bytes(33), "text", 7, [b"x" * 32] * (KEYS_MAX + 1), [None]]
)
def test_what_is_no_key_is_refused_and_never_shown(key: object) -> None:
    with pytest.raises(LocalError, match="key"):
        Network.named("main", key)  # type: ignore[arg-type]


def test_a_message_or_a_repr_never_shows_a_key() -> None:
    secret = b"S" * 31
    with pytest.raises(LocalError) as caught:
        Network.named("main", secret)
    assert "SSS" not in str(caught.value)
    assert "SSS" not in repr(Network.named("main", secret + b"S"))
    assert "SSS" not in repr(Network.named("main", secret + b"S").secrets())


@pytest.mark.parametrize("name", ["", "x" * 256, b"main", None])
def test_what_is_no_name_is_refused(name: object) -> None:
    with pytest.raises(LocalError, match="named"):
        Network.named(name)  # type: ignore[arg-type]
