"""Roles: one purpose each, every capability written out, and nothing that gives keys away."""

import ctypes
import gc
import struct

import pytest
from pkcs11 import Attribute, Mechanism, ObjectClass

from hsm import attributes
from hsm.attributes import KEY_TYPES
from hsm.mechanisms import Operation, RsaPadding, invocation
from hsm.roles import PKCS1_ROLE, ROLES, passing_template
from hsm.vocabulary import Algorithm, Family, Mode, Usage

# What a key may do, in PKCS#11 v2.40 base, 4.7 to 4.10.
CAPABILITIES = (
    Attribute.ENCRYPT,
    Attribute.DECRYPT,
    Attribute.WRAP,
    Attribute.UNWRAP,
    Attribute.SIGN,
    Attribute.VERIFY,
    Attribute.SIGN_RECOVER,
    Attribute.VERIFY_RECOVER,
    Attribute.DERIVE,
)

TEMPLATES = [
    (role, object_class, role.template(object_class, destroyable=False))
    for role in (*ROLES.values(), PKCS1_ROLE)
    for object_class in role.grants
]
NEVER = (
    Attribute.WRAP,
    Attribute.EXTRACTABLE,
    Attribute.MODIFIABLE,
    Attribute.COPYABLE,
    Attribute.TRUSTED,
    Attribute.DESTROYABLE,
)


@pytest.mark.parametrize(("role", "object_class", "template"), TEMPLATES)
def test_no_role_gives_a_key_away(role, object_class, template):
    assert not any(template.get(attribute, False) for attribute in NEVER)
    assert template[Attribute.TOKEN] is True
    if object_class is not ObjectClass.PUBLIC_KEY:
        assert template[Attribute.SENSITIVE] is True
        assert template[Attribute.PRIVATE] is True
        assert template[Attribute.EXTRACTABLE] is False


@pytest.mark.parametrize(("role", "object_class", "template"), TEMPLATES)
def test_allowed_mechanisms_are_never_empty(role, object_class, template):
    assert template[Attribute.ALLOWED_MECHANISMS]


@pytest.mark.parametrize(("role", "object_class", "template"), TEMPLATES)
def test_the_letter_of_the_mode_is_what_the_key_may_do(role, object_class, template):
    granted = {each for each in CAPABILITIES if template.get(each)}
    if object_class is not role.operative:
        assert granted == set()
        return
    by_mode = {
        Mode.E: {Attribute.ENCRYPT},
        Mode.D: {Attribute.DECRYPT},
        Mode.B: {Attribute.ENCRYPT, Attribute.DECRYPT},
        Mode.G: {Attribute.SIGN},
        Mode.S: {Attribute.SIGN},
        Mode.X: {Attribute.DERIVE},
    }
    key = (role.usage, role.family, role.mode)
    assert granted == (OTHERS[key] if key in OTHERS else by_mode[role.mode])


# A PIN verification key makes and compares values by enciphering, and so do TDES keys from which a
# token cannot derive. A wrapped key is unwrapped, not deciphered. A partner's half does nothing. A
# key block protection key derives, whichever way its blocks go, and one of a former version makes
# its MACs by enciphering.
OTHERS = {
    **{
        (usage, Family.TDES, mode): {Attribute.ENCRYPT}
        for usage in (Usage.V1, Usage.V2)
        for mode in (Mode.C, Mode.G, Mode.V)
    },
    (Usage.B0, Family.TDES, Mode.X): {Attribute.ENCRYPT},
    (Usage.E0, Family.TDES, Mode.X): {Attribute.ENCRYPT},
    (Usage.K0, Family.RSA, Mode.D): {Attribute.UNWRAP},
    (Usage.K3, Family.EC, Mode.E): set(),
    **{
        (Usage.K1, family, mode): {Attribute.DERIVE}
        for family in (Family.AES, Family.TDES)
        for mode in (Mode.B, Mode.D, Mode.E)
    },
    (Usage.K2, Family.RSA, Mode.D): {Attribute.UNWRAP},
    (Usage.M1, Family.TDES, Mode.V): {Attribute.ENCRYPT},
}


def test_a_key_that_gives_keys_does_nothing_else():
    for role in ROLES.values():
        for grant in role.grants.values():
            if grant.capabilities & {Attribute.DERIVE, Attribute.UNWRAP}:
                assert len(grant.capabilities) == len(grant.mechanisms) == 1


@pytest.mark.parametrize(("role", "object_class", "template"), TEMPLATES)
def test_what_unwraps_makes_no_key_that_can_be_had(role, object_class, template):
    made = template.get(Attribute.UNWRAP_TEMPLATE)
    if not template.get(Attribute.UNWRAP):
        assert made is None
        return
    assert made == {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
    # A token may want each of them in the caller's template: all that is unwrapped must have them.
    assert made.items() <= passing_template((), (Mechanism.AES_ECB,)).items()
    for other, of, kept in TEMPLATES:
        assert of is not ObjectClass.SECRET_KEY or made.items() <= kept.items(), other


@pytest.mark.parametrize("readable", [False, True])
def test_a_passing_key_lives_in_its_session_alone(readable):
    template = passing_template((Attribute.DECRYPT,), (Mechanism.AES_ECB,), readable=readable)
    assert {name for name in CAPABILITIES if template.get(name)} == {Attribute.DECRYPT}
    assert template[Attribute.ALLOWED_MECHANISMS] == {int(Mechanism.AES_ECB)}
    assert (template[Attribute.TOKEN], template[Attribute.DESTROYABLE]) == (False, True)
    assert template[Attribute.SENSITIVE] is not readable
    assert template[Attribute.EXTRACTABLE] is readable
    assert list(template)[-1] is Attribute.MODIFIABLE


def test_every_capability_of_a_class_is_written_out():
    secret = ROLES[Usage.P0, Family.TDES, Mode.E].template(ObjectClass.SECRET_KEY, destroyable=True)
    assert secret[Attribute.DESTROYABLE] is True
    assert set(CAPABILITIES) - set(secret) == {Attribute.SIGN_RECOVER, Attribute.VERIFY_RECOVER}


def test_a_sealing_key_deciphers_by_oaep_alone():
    role = ROLES[Usage.D1, Family.RSA, Mode.D]
    assert set(role.grants) == {ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY}
    template = role.template(ObjectClass.PRIVATE_KEY, destroyable=False)
    assert template[Attribute.ALLOWED_MECHANISMS] == {0x9}


def test_data_at_rest_go_both_ways_by_aes_and_nothing_else():
    assert [key for key in ROLES if key[0] is Usage.D0] == [(Usage.D0, Family.AES, Mode.B)]
    grant = ROLES[Usage.D0, Family.AES, Mode.B].grants[ObjectClass.SECRET_KEY]
    assert grant.capabilities == {Attribute.ENCRYPT, Attribute.DECRYPT}
    assert grant.mechanisms == {int(Mechanism.AES_ECB)}
    assert grant.unwraps is None


def test_a_key_that_opens_by_pkcs1_v1_5_opens_by_nothing_else():
    oaep = ROLES[Usage.D1, Family.RSA, Mode.D]
    assert (PKCS1_ROLE.usage, PKCS1_ROLE.family, PKCS1_ROLE.mode) == (
        *(oaep.usage, oaep.family, oaep.mode),
    )
    for object_class, grant in PKCS1_ROLE.grants.items():
        assert grant.mechanisms == {int(Mechanism.RSA_PKCS)}
        assert grant.capabilities == oaep.grants[object_class].capabilities


@pytest.mark.parametrize("operation", [Operation.UNWRAP, Operation.LOAD])
def test_no_key_comes_by_pkcs1_v1_5(operation):
    with pytest.raises(ValueError, match="no mechanism"):
        invocation(operation, Family.RSA, RsaPadding.PKCS1_V1_5)
    with pytest.raises(ValueError, match="no mechanism"):
        invocation(Operation.RSA_DECRYPT, Family.RSA, None)
    with pytest.raises(ValueError, match="no mechanism"):
        invocation(Operation.RSA_ENCRYPT, Family.RSA, None)


def test_every_algorithm_has_a_family_a_length_and_a_key_type():
    assert set(KEY_TYPES) == set(Algorithm)
    assert [algorithm.bits for algorithm in Algorithm] == [
        *(128, 192, 128, 192, 256, 2048, 3072, 4096, 256, 256)
    ]
    assert {algorithm.family for algorithm in Algorithm} == set(Family)


def test_a_vendors_own_class_and_type_stay_numbers():
    mapping = attributes.mapper()
    vendors_own = struct.pack("L", 0x80000001)
    assert mapping.unpack_attributes(Attribute.CLASS, vendors_own) == 0x80000001
    assert mapping.unpack_attributes(Attribute.KEY_TYPE, vendors_own) == 0x80000001
    packed = mapping.pack_attribute(Attribute.CLASS, ObjectClass.SECRET_KEY)
    assert mapping.unpack_attributes(Attribute.CLASS, packed) is ObjectClass.SECRET_KEY


@pytest.mark.parametrize(
    "wanted",
    [{}, {Attribute.SENSITIVE: True}, {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}],
)
def test_a_template_in_a_template_points_to_its_values(wanted):
    packed = attributes.mapper().pack_attribute(Attribute.UNWRAP_TEMPLATE, wanted)
    gc.collect()
    read = {
        Attribute(kind): ctypes.string_at(address, length) == b"\1"
        for kind, address, length in struct.iter_unpack("LPL", packed)
    }
    assert read == wanted


def test_a_finding_shows_what_was_found():
    assert attributes.display(frozenset({0x132, 0x80000001})) == "0x80000001, DES3_ECB"
    assert attributes.display(frozenset()) == "none (= all)"
    assert attributes.display(b"secret") == "6 bytes"
    assert attributes.display(attributes.ABSENT) == "absent"
