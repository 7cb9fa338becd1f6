"""The reviewed file: what it may say, and that everything else is refused with its place."""

import hashlib
from datetime import date
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pinvault.ceremony.plan import PlanError, read_plan
from tests.unit.ceremony import support
from tests.unit.ceremony.support import (
    ANNA,
    BEN,
    KEY_TABLE,
    person,
    phc,
    plan_text,
    save,
    with_passphrase,
    written,
)


def test_a_plan_is_known_by_the_sha256_of_its_file(tmp_path: Path) -> None:
    path = written(tmp_path, plan_text(KEY_TABLE + "valid_until = 2027-12-31\n"))
    plan = read_plan(path)
    assert plan.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert plan.key.valid_until == plan.wanted.valid_until == date(2027, 12, 31)
    assert plan.key.exportability == "N"
    assert plan.variant is None
    assert [custodian.name for custodian in plan.custodians] == ["Anna", "Ben"]


def test_a_certificate_is_pinned(tmp_path: Path) -> None:
    sha256 = save(tmp_path, "ben", ec.generate_private_key(ec.SECP256R1()))
    colons = ":".join(sha256[i : i + 2] for i in range(0, 64, 2)).upper()
    for pin in (sha256, colons):
        ben = person("Ben", f'certificate = "ben.pem"\ncertificate_sha256 = "{pin}"')
        assert read_plan(
            written(tmp_path, plan_text(KEY_TABLE, with_passphrase("Anna", ANNA), ben))
        )
    other = person("Ben", f'certificate = "ben.pem"\ncertificate_sha256 = "{"0" * 64}"')
    with pytest.raises(PlanError, match="certificate_sha256: is not the certificate's"):
        read_plan(written(tmp_path, plan_text(KEY_TABLE, with_passphrase("Anna", ANNA), other)))


def test_one_key_in_two_certificates_is_one_person(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    people = []
    for name in ("anna", "ben"):
        sha256 = save(tmp_path, name, key)
        means = f'certificate = "{name}.pem"\ncertificate_sha256 = "{sha256}"'
        people.append(person(name.title(), means))
    with pytest.raises(PlanError, match="one person"):
        read_plan(written(tmp_path, plan_text(KEY_TABLE, *people)))


A, B = with_passphrase("Anna", ANNA, 1), with_passphrase("Ben", BEN, 2)
FAULTS = {
    "one custodian": (plan_text(KEY_TABLE, A), "custodian"),
    "four custodians": (plan_text(KEY_TABLE, A, B, A, B), "custodian"),
    "one name": (plan_text(KEY_TABLE, A, with_passphrase("ANNA", BEN, 2)), "one person"),
    "one hash": (plan_text(KEY_TABLE, A, A.replace("Anna", "Ben")), "one person"),
    "a hidden name": (plan_text(KEY_TABLE, A, with_passphrase("Be\\u202En", BEN)), "name"),
    "spaces": (plan_text(KEY_TABLE, A, with_passphrase("Ben ", BEN)), "name"),
    "no means": (plan_text(KEY_TABLE, A, person("Ben", "")), "custodian[1]"),
    "two means": (
        plan_text(KEY_TABLE, A, B + 'certificate = "ben.pem"\n'),
        "custodian[1]",
    ),
    "a passphrase": (plan_text(KEY_TABLE, A, person("Ben", f'passphrase_hash = "{BEN}"')), "hash"),
    "a cheap hash": (plan_text(KEY_TABLE, A, B.replace("ln=14", "ln=10")), "hash"),
    "a component": (plan_text(KEY_TABLE, A, B + 'component = "00"\n'), "component"),
    "an unknown member": (plan_text(KEY_TABLE + "exportable = true\n"), "exportable"),
    "exportable": (plan_text(KEY_TABLE + 'exportability = "E"\n'), "exportability"),
    "an RSA key": (plan_text(KEY_TABLE.replace("TDES_2KEY", "RSA_2048")), "key.algorithm"),
    "an HMAC key": (plan_text(KEY_TABLE.replace("TDES_2KEY", "HMAC_SHA256")), "key.algorithm"),
    "an unknown usage": (plan_text(KEY_TABLE.replace("K0", "Z9")), "key.usage"),
    "a bad name": (plan_text(KEY_TABLE.replace("zmk-partner", "Zmk")), "key.name"),
    "a short variant": (plan_text(KEY_TABLE + 'variant = "45"\n'), "key.variant"),
    "a variant of AES": (
        plan_text(KEY_TABLE.replace("TDES_2KEY", "AES_128") + f'variant = "{"45" * 16}"\n'),
        "key.variant",
    ),
    "a bad check value": (plan_text(KEY_TABLE + 'check_value = "40d522"\n'), "check_value"),
    "a long check value": (plan_text(KEY_TABLE + 'check_value = "40D5220000"\n'), "check_value"),
    "no key": (A + B, "key"),
    "no TOML": ("[key", "TOML"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_is_wrong_is_refused_with_its_place(tmp_path: Path, fault: str) -> None:
    text, place = FAULTS[fault]
    with pytest.raises(PlanError) as refused:
        read_plan(written(tmp_path, text))
    assert place in str(refused.value)
    for secret in (BEN, phc(BEN)):
        assert secret not in str(refused.value)


def test_a_file_that_is_no_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "ben.pem").write_text("noise")
    ben = support.person("Ben", 'certificate = "ben.pem"')
    with pytest.raises(PlanError, match="no certificate in PEM"):
        read_plan(written(tmp_path, plan_text(KEY_TABLE, A, ben)))
