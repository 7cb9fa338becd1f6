"""The start-up inspection: each attribute that differs stops the start, and is named."""

from dataclasses import replace

import pytest
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass

from hsm import attributes, provisioning, token
from hsm.attributes import KEY_TYPES
from hsm.device import Device
from hsm.errors import HsmConfigurationError, InspectionFailed, MechanismMissing, Severity
from hsm.inspection import check_mechanisms
from hsm.keyring import Algorithm, Mode, Origin, State
from hsm.module import Library
from tests.integration.hsm.support import AES_VALUE, TDES_VALUE, raw_session, ring, spec

MUTATIONS = {
    "PRIVATE": {Attribute.PRIVATE: False},
    "SENSITIVE": {Attribute.SENSITIVE: False},
    "EXTRACTABLE": {Attribute.EXTRACTABLE: True},
    "WRAP_WITH_TRUSTED": {Attribute.WRAP_WITH_TRUSTED: False},
    "MODIFIABLE": {Attribute.MODIFIABLE: True},
    "COPYABLE": {Attribute.COPYABLE: True},
    "DESTROYABLE": {Attribute.DESTROYABLE: True},
    "ENCRYPT": {Attribute.ENCRYPT: False},
    "DECRYPT": {Attribute.DECRYPT: True},
    "WRAP": {Attribute.WRAP: True},
    "UNWRAP": {Attribute.UNWRAP: True},
    "SIGN": {Attribute.SIGN: True},
    "VERIFY": {Attribute.VERIFY: True},
    "DERIVE": {Attribute.DERIVE: True},
    "ALLOWED_MECHANISMS": {Attribute.ALLOWED_MECHANISMS: {Mechanism.DES3_ECB, Mechanism.DES3_CBC}},
}
"""One attribute that differs from the role's template, by the name that the finding must give."""

PROBES = {
    "ALLOWED_MECHANISMS": "chaining (CBC)",
    "DECRYPT": "deciphering",
    "MODIFIABLE": "setting an attribute",
}
"""Where a wrong attribute must show in behaviour too: the probe that must have bitten."""


def template(entry, object_class=ObjectClass.SECRET_KEY):
    return {
        **entry.role.template(object_class, destroyable=entry.destroyable),
        Attribute.LABEL: entry.id,
        Attribute.ID: entry.id.encode(),
    }


def plant(session, entry, value, **changes):
    """A secret key past all rules: the role's template with some attributes changed."""
    attributes = {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: KEY_TYPES[entry.algorithm],
        Attribute.VALUE: value,
        **template(entry),
    }
    session.create_object({**attributes, **changes.get("changes", {})})


def known(name, mode="E", **more):
    """The entry of a TDES key with the value that `plant` gives it."""
    entry = spec(name, "P0", "TDES_2KEY", mode).entry(Origin.IMPORTED)
    return replace(entry, check_value="6FB1C8", **more)


def findings_of(location, keyring, key_id):
    """What the start says about one key: attribute names and, by them, the findings."""
    with pytest.raises(InspectionFailed) as caught:
        Device.open(location, keyring)
    assert key_id in str(caught.value)
    return {each.attribute: each for each in caught.value.findings if each.key_id == key_id}


def test_each_mutated_attribute_is_named(new_token):
    location = new_token()
    with raw_session(location) as session:
        for name, changes in MUTATIONS.items():
            plant(session, known(name.lower()), TDES_VALUE, changes=changes)
    for name in MUTATIONS:
        entry = known(name.lower())
        found = findings_of(location, ring(entry), entry.id)
        assert found[name].remedy
        assert found[name].expected != found[name].found
        wrong = {each for each in found if each.isupper()}
        assert wrong == {name}
        if name in PROBES:
            assert PROBES[name] in found


def test_a_correct_key_has_no_finding(new_token):
    location = new_token()
    with raw_session(location) as session:
        plant(session, known("zpk"), TDES_VALUE)
    device = Device.open(location, ring(known("zpk")))
    assert device.warnings == ()
    device.close()


def test_a_key_with_no_mechanisms_named_allows_all(new_token):
    location = new_token()
    entry = known("zpk")
    with raw_session(location) as session:
        attributes = template(entry)
        del attributes[Attribute.ALLOWED_MECHANISMS]
        session.create_object(
            {
                Attribute.CLASS: ObjectClass.SECRET_KEY,
                Attribute.KEY_TYPE: KeyType.DES2,
                Attribute.VALUE: TDES_VALUE,
                **attributes,
            }
        )
    found = findings_of(location, ring(entry), entry.id)
    assert found["ALLOWED_MECHANISMS"].found == "none (= all)"
    assert "chaining (CBC)" in found


def test_halves_of_a_pair_are_inspected_each(new_token):
    location = new_token()
    entry = spec("seal", "D1", "RSA_2048", "D", jwa="RSA-OAEP").entry(Origin.GENERATED)
    entry = replace(entry, check_value="AB" * 32)
    with raw_session(location) as session:
        session.generate_keypair(
            KeyType.RSA,
            2048,
            capabilities=MechanismFlag(0),
            public_template={
                **template(entry, ObjectClass.PUBLIC_KEY),
                Attribute.ENCRYPT: True,
                Attribute.WRAP: True,
            },
            private_template={
                **template(entry, ObjectClass.PRIVATE_KEY),
                Attribute.SIGN: True,
                Attribute.UNWRAP: True,
                Attribute.COPYABLE: True,
                Attribute.ALLOWED_MECHANISMS: {
                    Mechanism.RSA_PKCS_OAEP,
                    Mechanism.RSA_PKCS,
                    Mechanism.RSA_X_509,
                },
            },
        )
    found = findings_of(location, ring(entry), entry.id)
    attributes = {"ENCRYPT", "WRAP", "SIGN", "UNWRAP", "COPYABLE", "ALLOWED_MECHANISMS"}
    probes = {"signing", "raw RSA", "PKCS #1 v1.5", "unwrapping with it"}
    assert set(found) == attributes | probes | {"check value"}


def test_a_transport_pair_that_unwraps_into_the_open_stops_the_start(new_token):
    location = new_token()
    entry = spec("transport", "K0", "RSA_2048", "D", jwa="RSA-OAEP").entry(Origin.GENERATED)
    private = template(entry, ObjectClass.PRIVATE_KEY)
    del private[Attribute.UNWRAP_TEMPLATE]
    with raw_session(location) as session:
        session.generate_keypair(
            KeyType.RSA,
            2048,
            capabilities=MechanismFlag(0),
            public_template=template(entry, ObjectClass.PUBLIC_KEY),
            private_template=private,
        )
    found = findings_of(location, ring(entry), entry.id)
    del found["check value"]
    assert set(found) == {"unwrapping into the open", "unwrapping what can be wrapped"}
    for finding in found.values():
        assert (finding.expected, finding.found) == ("refused", "permitted")
        assert "provision it again" in finding.remedy


def test_probes_bite_on_a_key_from_the_default_template(new_token):
    location = new_token()
    entry = replace(spec("zpk", "P0", "AES_256", "E").entry(Origin.GENERATED), check_value="0" * 10)
    with raw_session(location) as session:
        session.generate_key(KeyType.AES, 256, store=True, label=entry.id, id=entry.id.encode())
    found = findings_of(location, ring(entry), entry.id)
    bitten = {each for each in found if not each.isupper()}
    assert bitten == {
        "check value",
        "setting an attribute",
        "copying",
        "deciphering",
        "chaining (CBC)",
        "wrapping with it",
    }


def test_a_key_that_can_be_taken_out_is_bitten(new_token):
    location = new_token()
    entry = known("zpk")
    with raw_session(location) as session:
        changes = {
            Attribute.EXTRACTABLE: True,
            Attribute.SENSITIVE: False,
            Attribute.WRAP_WITH_TRUSTED: False,
        }
        plant(session, entry, TDES_VALUE, changes=changes)
    assert {"wrapping it", "reading its value"} <= set(findings_of(location, ring(entry), entry.id))


def test_identity_is_compared(new_token):
    location = new_token()
    with raw_session(location) as session:
        plant(session, known("zpk"), TDES_VALUE)
        plant(session, known("in", "D", decipher_check_value="000000"), TDES_VALUE)
        plant(session, known("twice"), TDES_VALUE)
        plant(session, known("twice"), TDES_VALUE)

    def named(entry):
        return set(findings_of(location, ring(entry), entry.id))

    assert named(replace(known("zpk"), check_value="000000")) == {"check value"}
    assert named(known("in", "D", decipher_check_value="000000")) == {"decipher check value"}
    assert named(known("gone")) == {"SECRET_KEY objects"}
    assert named(known("twice")) == {"SECRET_KEY objects"}
    assert named(replace(known("zpk"), algorithm=Algorithm.TDES_3KEY)) == {"KEY_TYPE"}
    assert named(replace(known("zpk"), origin=Origin.GENERATED)) == {
        *("LOCAL", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE")
    }
    assert "DECRYPT" in named(known("zpk", "D", decipher_check_value="000000"))


def test_a_key_of_another_length_is_named(new_token):
    location = new_token()
    entry = spec("zpk", "P0", "AES_128", "E").entry(Origin.IMPORTED)
    with raw_session(location) as session:
        plant(session, entry, AES_VALUE)
    wrong = replace(entry, algorithm=Algorithm.AES_256, check_value="D77F007724")
    assert set(findings_of(location, ring(wrong), entry.id)) == {"length in bits"}


def test_all_findings_are_collected(new_token):
    location = new_token()
    with raw_session(location) as session:
        plant(session, known("one"), TDES_VALUE, changes={Attribute.WRAP: True})
        plant(session, known("two"), TDES_VALUE, changes={Attribute.COPYABLE: True})
    with pytest.raises(InspectionFailed) as caught:
        Device.open(location, ring(known("one"), known("two"), known("three")))
    assert {each.key_id for each in caught.value.findings} == {"one/1", "two/1", "three/1"}


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        (Attribute.WRAP, True),
        (Attribute.UNWRAP, True),
        (Attribute.DERIVE, True),
        (Attribute.EXTRACTABLE, True),
        (Attribute.SENSITIVE, False),
    ],
)
def test_a_dangerous_stranger_stops_the_start(new_token, attribute, value):
    location = new_token()
    with raw_session(location) as session:
        plant(session, known("zpk"), TDES_VALUE)
        plant(session, known("stray-kek"), TDES_VALUE, changes={attribute: value})
    assert attribute.name in findings_of(location, ring(known("zpk")), "stray-kek/1")


def test_a_stranger_with_the_label_of_a_key_is_still_a_stranger(new_token):
    location = new_token()
    with raw_session(location) as session:
        plant(session, known("zpk"), TDES_VALUE)
        changes = {Attribute.ID: b"other", Attribute.WRAP: True}
        plant(session, known("zpk"), TDES_VALUE, changes=changes)
    assert "WRAP" in findings_of(location, ring(known("zpk")), "zpk/1")


def test_a_stranger_with_a_malformed_label_is_judged_too(new_token):
    location = new_token()
    with raw_session(location) as session:
        plant(session, known("zpk"), TDES_VALUE)
        mapping = attributes.mapper()
        mapping.register_handler(Attribute.LABEL, bytes, bytes)
        odd = session.token.open(rw=True, attribute_mapper=mapping)
        changes = {Attribute.LABEL: b"\xff\xfe", Attribute.WRAP: True}
        plant(odd, known("odd"), TDES_VALUE, changes=changes)
        odd.close()
    assert "WRAP" in findings_of(location, ring(known("zpk")), "malformed")


def test_a_harmless_stranger_is_a_warning(new_token):
    location = new_token()
    with raw_session(location) as session:
        plant(session, known("zpk"), TDES_VALUE)
        plant(session, known("stray"), TDES_VALUE)
    device = Device.open(location, ring(known("zpk")))
    assert [each.key_id for each in device.warnings] == ["stray/1"]
    assert device.warnings[0].severity is Severity.WARNING
    device.close()


def test_a_retired_key_may_stay_or_be_gone(new_token):
    location = new_token()
    with raw_session(location) as session:
        plant(session, known("zpk"), TDES_VALUE)
        plant(session, known("old"), TDES_VALUE)
    old, gone = known("old", state=State.RETIRED), known("gone", state=State.RETIRED)
    device = Device.open(location, ring(known("zpk"), old, gone))
    assert device.warnings == ()
    device.close()


def test_a_missing_mechanism_is_named(every_role, monkeypatch, device):
    device.close()
    library = Library.load(every_role.location.module)
    found = token.find(library, every_role.location)

    class Poor:
        class slot:  # noqa: N801
            @staticmethod
            def get_mechanisms():
                return found.slot.get_mechanisms() - {Mechanism.DES3_ECB, Mechanism.ECDSA}

    with pytest.raises(MechanismMissing) as caught:
        check_mechanisms(Poor(), every_role.keyring)
    assert caught.value.facts["missing"] == "DES3_ECB, ECDSA"


def test_without_inspection_the_check_values_still_count(new_token):
    location = new_token()
    with raw_session(location) as session:
        plant(session, known("zpk"), TDES_VALUE, changes={Attribute.COPYABLE: True})
    wrong = replace(known("zpk"), check_value="000000")
    device = Device.open(location, ring(wrong), inspect=False)
    assert device.sealed_keys == {"zpk/1"}
    device.close()
    device = Device.open(location, ring(known("zpk")), inspect=False)
    assert device.encipher("zpk/1", bytes(8), timeout=5)[:3].hex().upper() == "6FB1C8"
    device.close()


def test_provisioning_refuses_what_it_cannot_make_well(new_token):
    location = new_token()
    made = provisioning.generate(location, spec("zpk", "P0", "TDES_2KEY", "E"))
    assert (made.origin, made.mode, len(made.check_value)) == (Origin.GENERATED, Mode.E, 6)
    assert provisioning.generate(location, spec("zpk", "P0", "TDES_2KEY", "E")) == made
    refused = [
        (spec("zpk", "P0", "TDES_2KEY", "B"), "another object has the id"),
        (spec("zpk-in", "P0", "AES_128", "D"), "only be imported"),
        (spec("partner", "D1", "RSA_2048", "E"), "cannot be generated here"),
        (spec("odd", "V1", "TDES_2KEY", "E"), "no role"),
        (spec("Odd name", "P0", "TDES_2KEY", "E"), "name is malformed"),
        (spec('"', "P0", "TDES_2KEY", "E"), "not TOML"),
        (spec("seal", "D1", "RSA_2048", "D"), "lacks its JWA name"),
    ]
    for wanted, problem in refused:
        with pytest.raises(HsmConfigurationError, match=problem):
            provisioning.generate(location, wanted)
    with pytest.raises(provisioning.ProvisioningError, match="another length"):
        provisioning.import_secret(location, spec("short", "P0", "TDES_2KEY", "E"), bytes(8))
    with pytest.raises(provisioning.ProvisioningError, match="missing or another"):
        provisioning.import_secret(
            location, spec("wrong", "P0", "TDES_2KEY", "E"), TDES_VALUE, check_value="000000"
        )
    right = provisioning.import_secret(
        location, spec("wrong", "P0", "TDES_2KEY", "E"), TDES_VALUE, check_value="6FB1C8"
    )
    assert right.check_value == "6FB1C8"
    with pytest.raises(provisioning.ProvisioningError, match="malformed"):
        provisioning.import_public_key(location, spec("partner", "D1", "RSA_2048", "E"), b"x")
