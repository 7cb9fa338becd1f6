"""The vault's own seal: for a PAN or for a card, under the profile that is named."""

import pytest
from joserfc.jwk import RSAKey

from pinvault.client import Vault
from pinvault.v1 import key_pb2
from tests.unit.client.support import Server, vault

PAN, CARD = "4000001234562000", "card_jpgsyggggggggggggggggggggg"


@pytest.fixture
def connected() -> Vault:
    jwk = RSAKey.generate_key(2048).as_dict(private=False)
    key = key_pb2.JsonWebKey(kid="pin-seal/1", alg="RSA-OAEP", n=jwk["n"], e=jwk["e"])
    jwks = key_pb2.JsonWebKeySet(keys=[key])
    return vault(Server(key_pb2.GetPublicKeyResponse(jwks=jwks)))


def test_what_is_sealed_for_a_card_names_no_pan_and_the_profile_that_was_given(
    connected: Vault,
) -> None:
    sealed = connected.seal("7392", card=CARD, profile="sealed-card")
    assert (sealed.profile, sealed.pan) == ("sealed-card", None)


def test_the_profile_is_the_connections_unless_another_is_given(connected: Vault) -> None:
    sealed = connected.seal("7392", pan=PAN)
    assert (sealed.profile, sealed.pan) == ("sealed-pin", PAN)


def test_a_pin_is_sealed_for_one_of_both(connected: Vault) -> None:
    with pytest.raises(ValueError, match="not for both"):
        connected.seal("7392", pan=PAN, card=CARD)
