"""The key ring: what is read comes back, and every fault is refused by file, key and member."""

from datetime import date

import pytest

from hsm import keyring
from hsm.errors import KeyringError, UnknownKey
from hsm.keyring import Algorithm, KeyEntry, Keyring, Mode, Origin, State, Usage
from hsm.roles import PKCS1_ROLE


def entry(**changes) -> KeyEntry:
    members = {
        "name": "zpk-out",
        "version": 1,
        "usage": Usage.P0,
        "algorithm": Algorithm.TDES_2KEY,
        "mode": Mode.E,
        "check_value": "6FB1C8",
        "origin": Origin.IMPORTED,
        "state": State.ACTIVE,
        "valid_from": date(2026, 1, 1),
    }
    return KeyEntry(**{**members, **changes})


SEALING = entry(
    name="seal",
    usage=Usage.D1,
    algorithm=Algorithm.RSA_2048,
    mode=Mode.D,
    check_value="AB" * 32,
    origin=Origin.GENERATED,
    jwa="RSA-OAEP",
)
DECIPHERING = entry(name="zpk-in", mode=Mode.D, decipher_check_value="0123AB")
RING = Keyring(
    keys=(
        entry(),
        entry(version=2, state=State.DECIPHER_ONLY, valid_until=date(2027, 1, 1)),
        DECIPHERING,
        SEALING,
        entry(
            name="bdk",
            usage=Usage.B0,
            algorithm=Algorithm.AES_128,
            mode=Mode.X,
            derivation_check_value="0123AB",
        ),
        entry(name="aes", algorithm=Algorithm.AES_256, check_value="D77F007724", destroyable=True),
    )
)


def test_what_is_dumped_is_read_back():
    assert keyring.parse(keyring.dump(RING), source="ring") == RING


def test_a_ring_without_keys_is_read_back():
    assert keyring.parse("", source="ring") == Keyring(keys=())


def test_entries_are_found_by_id_and_versions_by_name():
    assert RING.entry("zpk-out/2").version == 2
    assert [key.version for key in RING.versions("zpk-out")] == [2, 1]
    assert RING.versions("nothing") == ()
    with pytest.raises(UnknownKey):
        RING.entry("zpk-out/3")


def test_the_cryptoperiod_includes_both_days():
    key = entry(valid_from=date(2026, 1, 1), valid_until=date(2026, 2, 1))
    assert key.in_cryptoperiod(date(2026, 1, 1))
    assert key.in_cryptoperiod(date(2026, 2, 1))
    assert not key.in_cryptoperiod(date(2025, 12, 31))
    assert not key.in_cryptoperiod(date(2026, 2, 2))


TEXT = keyring.dump(Keyring(keys=(entry(),)))

REFUSALS = {
    "not TOML": ("key = [", "not TOML"),
    "something else at the top": ("[server]\nport = 1", "other than keys"),
    "keys that are no tables": ("key = [1]", "not a table"),
    "key that is no list": ("key = 1", "other than keys"),
    "unknown member": (TEXT + 'comment = "x"\n', "unknown member"),
    "missing member": (TEXT.replace('state = "active"\n', ""), "lacks a member"),
    "malformed name": (TEXT.replace("zpk-out", "ZPK out"), "name is malformed"),
    "name with a slash": (TEXT.replace("zpk-out", "zpk/out"), "name is malformed"),
    "empty name": (TEXT.replace("zpk-out", ""), "name is malformed"),
    "version zero": (TEXT.replace("version = 1", "version = 0"), "version is malformed"),
    "version true": (TEXT.replace("version = 1", "version = true"), "version is malformed"),
    "version of text": (TEXT.replace("version = 1", 'version = "1"'), "version is malformed"),
    "unknown usage": (TEXT.replace('"P0"', '"Z9"'), "word is unknown"),
    "unknown algorithm": (TEXT.replace("TDES_2KEY", "DES"), "word is unknown"),
    "usage without a role": (TEXT.replace('"P0"', '"C0"'), "no role"),
    "mode without restriction": (TEXT.replace('mode = "E"', 'mode = "N"'), "no role"),
    "PIN key under RSA": (TEXT.replace("TDES_2KEY", "RSA_2048"), "no role"),
    "lower-case check value": (TEXT.replace("6FB1C8", "6fb1c8"), "check value is malformed"),
    "short check value": (TEXT.replace("6FB1C8", "6FB1"), "check value is malformed"),
    "AES length for TDES": (TEXT.replace("6FB1C8", "6FB1C8AA11"), "check value is malformed"),
    "check value as number": (TEXT.replace('"6FB1C8"', "123456"), "not text"),
    "date as text": (TEXT.replace("2026-01-01", '"2026-01-01"'), "not a date"),
    "date with a time": (TEXT.replace("2026-01-01", "2026-01-01T00:00:00Z"), "not a date"),
    "end before beginning": (TEXT + "valid_until = 2025-01-01\n", "ends before it begins"),
    "destroyable as text": (TEXT + 'destroyable = "yes"\n', "not true or false"),
    "jwa on a PIN key": (TEXT + 'jwa = "RSA-OAEP"\n', "only a sealing key"),
    "RSA1_5 on a PIN key": (TEXT + 'jwa = "RSA1_5"\n', "only a sealing key"),
    "decipher check value on mode E": (
        TEXT + 'decipher_check_value = "0123AB"\n',
        "does not have this",
    ),
    "derivation check value on mode E": (
        TEXT + 'derivation_check_value = "0123AB"\n',
        "does not have this",
    ),
    "two keys with one id": (TEXT + TEXT, "two keys have one id"),
    "two active versions": (
        TEXT + TEXT.replace("version = 1", "version = 2"),
        "two versions of a key are active",
    ),
}


@pytest.mark.parametrize(("text", "problem"), REFUSALS.values(), ids=REFUSALS)
def test_refused(text, problem):
    with pytest.raises(KeyringError, match=problem) as caught:
        keyring.parse(text, source="/etc/ring.toml")
    assert caught.value.facts["file"] == "/etc/ring.toml"
    assert caught.value.facts["remedy"]


def test_the_error_names_the_key_and_the_member():
    with pytest.raises(KeyringError) as caught:
        keyring.parse(TEXT.replace("6FB1C8", "6FB1"), source="ring")
    assert caught.value.facts["key"] == "zpk-out/1"
    assert caught.value.facts["member"] == "check_value"


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (entry(mode=Mode.D), "lacks its second check value"),
        (entry(mode=Mode.D, decipher_check_value="0123"), "malformed"),
        (entry(usage=Usage.E1, mode=Mode.X), "lacks its second check value"),
        (entry(usage=Usage.E1, mode=Mode.X, derivation_check_value="0123ab"), "malformed"),
        (entry(usage=Usage.E0, mode=Mode.X, derivation_check_value="0123AB"), "does not have this"),
        (
            entry(usage=Usage.K0, algorithm=Algorithm.RSA_2048, mode=Mode.D, check_value="A" * 64),
            "lacks its JWA name",
        ),
        (
            entry(
                usage=Usage.K3,
                algorithm=Algorithm.EC_P256,
                check_value="A" * 64,
                origin=Origin.GENERATED,
            ),
            "cannot be generated here",
        ),
        (
            entry(usage=Usage.D1, algorithm=Algorithm.RSA_2048, mode=Mode.D, check_value="A" * 64),
            "lacks its JWA name",
        ),
        (
            entry(
                usage=Usage.D1,
                algorithm=Algorithm.RSA_2048,
                check_value="A" * 64,
                origin=Origin.GENERATED,
            ),
            "cannot be generated here",
        ),
    ],
)
def test_members_that_depend_on_the_purpose(changed, problem):
    with pytest.raises(KeyringError, match=problem):
        keyring.parse(keyring.dump(Keyring(keys=(changed,))), source="ring")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(KeyringError, match="there is no key ring yet") as caught:
        keyring.load(tmp_path / "keyring.toml")
    assert caught.value.facts["file"].endswith("keyring.toml")


@pytest.mark.parametrize("usage", ["D1", "K0", "K2"])
def test_only_a_key_for_data_opens_by_pkcs1_v1_5(usage):
    row = TEXT.replace('"P0"', f'"{usage}"').replace("TDES_2KEY", "RSA_2048")
    row = row.replace('mode = "E"', 'mode = "D"').replace("6FB1C8", "AB" * 32)
    if usage != "D1":
        with pytest.raises(KeyringError, match="lacks its JWA name"):
            keyring.parse(row + 'jwa = "RSA1_5"\n', source="ring")
        return
    (by_pkcs1,) = keyring.parse(row + 'jwa = "RSA1_5"\n', source="ring").keys
    (by_oaep,) = keyring.parse(row + 'jwa = "RSA-OAEP"\n', source="ring").keys
    assert by_pkcs1.role is PKCS1_ROLE
    assert by_oaep.role is not PKCS1_ROLE
