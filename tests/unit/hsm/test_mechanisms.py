"""What keys permit, by usage, mode and state: keys for keys do nothing that others do."""

from dataclasses import replace

import pytest
from pkcs11 import Mechanism

from hsm.keyring import Origin, State
from hsm.mechanisms import CONTENT, Operation, needed, permits
from hsm.roles import ROLES
from hsm.vocabulary import Algorithm, Family, Mode, Usage
from tests.integration.hsm.support import spec

OF_FAMILY = {
    Family.TDES: Algorithm.TDES_2KEY,
    Family.AES: Algorithm.AES_256,
    Family.RSA: Algorithm.RSA_2048,
    Family.EC: Algorithm.EC_P256,
    Family.HMAC: Algorithm.HMAC_SHA256,
}
KEY_BLOCKS = {Operation.OPEN_BLOCK, Operation.MAKE_BLOCK}
OF_KEYS_FOR_KEYS = {*KEY_BLOCKS, Operation.LOAD}


def entry(usage, family, mode, state=State.ACTIVE):
    seals = family is Family.RSA and mode is Mode.D
    wanted = spec(
        "key", usage, OF_FAMILY[family].value, mode, jwa="RSA-OAEP" if seals else None, state=state
    )
    public = (usage, mode) in ((Usage.D1, Mode.E), (Usage.K3, Mode.E))
    return wanted.entry(Origin.IMPORTED if public else Origin.GENERATED)


def permitted(key):
    return {operation for operation in Operation if permits(key, operation)}


@pytest.mark.parametrize("family", [Family.AES, Family.TDES])
@pytest.mark.parametrize(
    ("mode", "active", "old"),
    [
        (Mode.B, KEY_BLOCKS, {Operation.OPEN_BLOCK}),
        (Mode.D, {Operation.OPEN_BLOCK}, {Operation.OPEN_BLOCK}),
        (Mode.E, {Operation.MAKE_BLOCK}, set()),
    ],
)
def test_a_protection_key_opens_and_makes_key_blocks_alone(family, mode, active, old):
    key = entry(Usage.K1, family, mode)
    assert permitted(key) == active
    assert permitted(replace(key, state=State.DECIPHER_ONLY)) == old


def test_a_transport_key_loads_keys_alone():
    key = entry(Usage.K2, Family.RSA, Mode.D)
    assert permitted(key) == {Operation.LOAD}
    assert permitted(replace(key, state=State.DECIPHER_ONLY)) == {Operation.LOAD}


@pytest.mark.parametrize("usage", [Usage.V1, Usage.V2])
@pytest.mark.parametrize(
    ("mode", "old"),
    [(Mode.C, {Operation.ENCIPHER}), (Mode.V, {Operation.ENCIPHER}), (Mode.G, set())],
)
def test_a_verification_key_verifies_on_when_it_generates_no_more(usage, mode, old):
    key = entry(usage, Family.TDES, mode)
    assert permitted(key) == {Operation.ENCIPHER}
    assert permitted(replace(key, state=State.DECIPHER_ONLY)) == old


def test_variants_of_a_protection_key_go_one_way():
    assert permitted(entry(Usage.K0, Family.TDES, Mode.D)) == {Operation.DECIPHER}
    key = entry(Usage.M1, Family.TDES, Mode.V)
    assert permitted(key) == permitted(replace(key, state=State.DECIPHER_ONLY))
    assert permitted(key) == {Operation.ENCIPHER}


@pytest.mark.parametrize("role", [role for role in ROLES if role[0] not in (Usage.K1, Usage.K2)])
def test_no_other_key_has_a_part_in_the_keys_for_keys(role):
    assert not permitted(entry(*role)) & OF_KEYS_FOR_KEYS


def test_a_token_needs_what_the_derived_keys_do():
    aes = needed([entry(Usage.K1, Family.AES, Mode.B)])
    assert aes == {
        *(Mechanism.AES_ECB_ENCRYPT_DATA, Mechanism.AES_ECB),
        *(Mechanism.AES_CBC, Mechanism.AES_CMAC),
    }
    tdes = needed([entry(Usage.K1, Family.TDES, Mode.D)])
    assert tdes == {
        *(Mechanism.DES3_ECB_ENCRYPT_DATA, Mechanism.DES3_ECB),
        *(Mechanism.DES3_CBC, Mechanism.DES3_CMAC),
    }
    assert needed([entry(Usage.K2, Family.RSA, Mode.D)]) == {Mechanism.RSA_PKCS_OAEP, *CONTENT}
