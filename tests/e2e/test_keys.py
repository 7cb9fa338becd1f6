"""Keys that come, go, change and end, judged by a partner who computes with psec and RSA alone."""

import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta

import grpc
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from psec import des, tr31

from pinvault.bootstrap.inputs import utc_today
from pinvault.client import KeyVersion, PinBlock, PinvaultError, ToPinBlock, Vault
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from tests.e2e.other_ends import PAN, at_the_switch, reason_of, switch, terminal
from tests.support import running, zone
from tests.support.running import records

OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)


@pytest.fixture(scope="module")
def keeper_server(make_environment: Callable[[Settings], Environment]) -> Iterator[RunningServer]:
    """A server whose keys the tests change; two workers, so that every change must reach both."""
    settings = Settings(workers=2, per_caller="100000/s", per_pan="100000/s")
    with RunningServer(make_environment(settings)) as running_server:
        yield running_server


@pytest.fixture(scope="module")
def keeper(keeper_server: RunningServer) -> Iterator[Vault]:
    """The caller who keeps keys."""
    with keeper_server.connect("key-manager") as connected:
        yield connected


@pytest.fixture(scope="module")
def vault(keeper_server: RunningServer) -> Iterator[Vault]:
    """The caller who uses them."""
    with keeper_server.connect() as connected:
        yield connected


# The partner: draws keys, and makes and opens key blocks.


def tdes_key() -> bytes:
    return des.adjust_key_parity(secrets.token_bytes(24))


def key_block(
    environment: Environment,
    key: bytes,
    *,
    under: str = "kbpk-partner",
    version: str = "D",
    usage: str = "P0",
    mode: str = "B",
    exportability: str = "E",
) -> str:
    algorithm = "T" if len(key) == 24 and usage == "P0" and mode == "B" else "A"
    header = tr31.Header(version, usage, algorithm, mode, "00", exportability)
    return tr31.wrap(kbpk(environment, under), header, key)


def kbpk(environment: Environment, name: str) -> bytes:
    if name == "kbpk-old":
        return bytes(byte ^ 0x45 for byte in environment.zone_key("kbpk-old-45"))
    return environment.zone_key(name)


def acme(keeper: Vault, environment: Environment) -> tuple[bytes, KeyVersion]:
    """The partner's next key, and what the server made of it."""
    value = tdes_key()
    made = keeper.keys.import_block("zpk-acme", key_block(environment, value), kbpk="kbpk-partner")
    return value, made


def pin_under(value: bytes, block: bytes | None, *, form: zone.Format = "ISO_3") -> str:
    assert block is not None
    return zone.pin_of(block, pan=PAN, form=form, key=value)


def to_acme(version: str = "") -> ToPinBlock:
    return ToPinBlock(key=f"zpk-acme{version}", format="ISO_3", pan=PAN)


def from_acme(value: bytes, version: str = "") -> PinBlock:
    ciphertext = zone.block("4831", pan=PAN, form="ISO_3", key=value)
    return PinBlock(key=f"zpk-acme{version}", format="ISO_3", pan=PAN, ciphertext=ciphertext)


# Import


@pytest.mark.parametrize(
    ("under", "version"),
    [
        ("kbpk-partner", "D"),
        ("kbpk-partner-tdes", "B"),
        ("kbpk-old", "A"),
        ("kbpk-old", "C"),
    ],
)
def test_a_partner_s_key_block_is_in_use_at_once_on_every_worker(
    keeper_server: RunningServer, keeper: Vault, under: str, version: str
) -> None:
    environment = keeper_server.environment
    value = tdes_key()
    block = key_block(environment, value, under=under, version=version)
    made = keeper.keys.import_block("zpk-acme", block, kbpk=under)
    assert (made.usage, made.algorithm, made.mode_of_use) == ("P0", "TDES_3KEY", "B")
    assert (made.state, made.origin) == ("ACTIVE", "IMPORTED")
    assert made.check_value == tdes_check_value(value)
    for _ in range(6):  # connections spread over the workers
        with keeper_server.connect() as vault:
            done = vault.translate_pin(terminal(environment, "4831"), to=to_acme())
            assert done.target_key.version == made.version
            assert pin_under(value, done.pin_block) == "4831"


def tdes_check_value(value: bytes) -> str:
    return des.generate_kcv(value, 3).hex().upper()


def test_a_new_version_takes_over_and_the_one_before_still_opens(
    keeper_server: RunningServer, keeper: Vault, vault: Vault
) -> None:
    environment = keeper_server.environment
    (old, before), (new, after) = acme(keeper, environment), acme(keeper, environment)
    assert after.version == before.version + 1
    assert keeper.keys.get(before.id).state == "DECIPHER_ONLY"
    for value, version in ((old, f"/{before.version}"), (new, f"/{after.version}"), (new, "")):
        done = vault.translate_pin(from_acme(value, version), to=switch())
        assert at_the_switch(environment, done.pin_block) == "4831"
    refused = reason_of(
        lambda: vault.translate_pin(terminal(environment, "4831"), to=to_acme(f"/{before.version}"))
    )
    assert refused == "KEY_STATE"


def test_a_cryptogram_is_unwrapped_inside_the_token(
    keeper_server: RunningServer, keeper: Vault, vault: Vault
) -> None:
    value = secrets.token_bytes(32)
    under = keeper.keys.wrapping_key("key-transport")
    made = keeper.keys.import_cryptogram(
        "zpk-acme-aes",
        under.public_key.encrypt(value, OAEP),
        usage="P0",
        algorithm="AES_256",
        mode_of_use="E",
        wrapping_key="key-transport",
        check_value=cmac_check_value(value),
        valid_until=utc_today() + timedelta(days=365),
    )
    assert made.check_value.startswith(cmac_check_value(value))
    assert made.valid_until == utc_today() + timedelta(days=365)
    done = vault.translate_pin(
        terminal(keeper_server.environment, "4831", form="ISO_4"),
        to=ToPinBlock(key="zpk-acme-aes", format="ISO_4", pan=PAN),
    )
    assert pin_under(value, done.pin_block, form="ISO_4") == "4831"


def cmac_check_value(value: bytes) -> str:
    mac = CMAC(AES(value))
    mac.update(bytes(16))
    return mac.finalize()[:3].hex().upper()


# Export


@pytest.mark.parametrize(("under", "version"), [("kbpk-partner", "D"), ("kbpk-partner-tdes", "B")])
def test_an_exportable_key_goes_out_to_another_partner(
    keeper_server: RunningServer, keeper: Vault, under: str, version: str
) -> None:
    environment = keeper_server.environment
    value, made = acme(keeper, environment)
    exported = keeper.keys.export_block("zpk-acme", kbpk=under, version=version)
    assert exported.key == made
    header, found = tr31.unwrap(kbpk(environment, under), exported.key_block)
    assert found == value
    assert (header.version_id, header.key_usage, header.algorithm) == (version, "P0", "T")
    assert (header.mode_of_use, header.exportability) == ("B", "E")


def test_what_may_not_go_out_stays(keeper_server: RunningServer, keeper: Vault) -> None:
    environment = keeper_server.environment

    def export(key: str, under: str = "kbpk-partner", version: str = "D") -> str:
        return reason_of(lambda: keeper.keys.export_block(key, kbpk=under, version=version))

    block = key_block(environment, tdes_key(), exportability="N")
    keeper.keys.import_block("zpk-acme", block, kbpk="kbpk-partner")
    assert export("zpk-acme") == "KEY_NOT_EXPORTABLE"
    assert export("zpk-terminal") == "KEY_NOT_EXPORTABLE"
    assert export("zpk-switch") == "KEY_NOT_GRANTED"
    acme(keeper, environment)
    assert export("zpk-acme", version="B") == "KEY_USAGE_MISMATCH"
    assert export("zpk-acme", "kbpk-partner-tdes", "D") == "KEY_USAGE_MISMATCH"
    assert export("zpk-acme", "key-transport") == "KEY_USAGE_MISMATCH"


# Rotation


def test_an_exportable_key_is_rotated_and_its_partner_follows(
    keeper_server: RunningServer, keeper: Vault, vault: Vault
) -> None:
    environment = keeper_server.environment
    old, before = acme(keeper, environment)
    until = utc_today() + timedelta(days=30)
    rotated = keeper.keys.rotate(before.id, previous_until=until)
    assert (rotated.key.version, rotated.key.state) == (before.version + 1, "ACTIVE")
    assert (rotated.previous.id, rotated.previous.state) == (before.id, "DECIPHER_ONLY")
    assert rotated.previous.valid_until == until
    exported = keeper.keys.export_block("zpk-acme", kbpk="kbpk-partner", version="D")
    _, new = tr31.unwrap(kbpk(environment, "kbpk-partner"), exported.key_block)
    assert len(new) == 24
    assert des.adjust_key_parity(new) == new
    done = vault.translate_pin(terminal(environment, "4831"), to=to_acme())
    assert (done.target_key.version, pin_under(new, done.pin_block)) == (
        rotated.key.version,
        "4831",
    )
    opened = vault.translate_pin(from_acme(old, f"/{before.version}"), to=switch())
    assert at_the_switch(environment, opened.pin_block) == "4831"
    again = reason_of(lambda: keeper.keys.rotate(before.id))
    assert again == "KEY_STATE"


def test_a_sealing_key_is_rotated_and_old_envelopes_still_open(
    keeper_server: RunningServer, keeper: Vault, vault: Vault
) -> None:
    sealed = vault.seal("4831", pan=PAN)
    rotated = keeper.keys.rotate("pin-seal")
    assert rotated.key.origin == "GENERATED"
    done = vault.encrypt_pin(sealed, to=switch())
    assert done.source_key.version == rotated.previous.version
    assert vault.sealing_key(refresh=True).kid == rotated.key.id
    done = vault.encrypt_pin(vault.seal("4831", pan=PAN), to=switch())
    assert done.source_key.version == rotated.key.version


@pytest.mark.parametrize("name", ["pan-store", "pin-reference", "pin-reveal"])
def test_a_key_of_what_is_stored_is_rotated_and_nobody_names_it(
    keeper_server: RunningServer, keeper: Vault, vault: Vault, name: str
) -> None:
    before = keeper.keys.get(name)
    rotated = keeper.keys.rotate(before.id)
    assert (rotated.key.version, rotated.key.origin) == (before.version + 1, "GENERATED")
    assert rotated.previous.state == "DECIPHER_ONLY"
    pin = terminal(keeper_server.environment, "4831")
    for key in (name, before.id, rotated.key.id):
        to = ToPinBlock(key=key, format="ISO_4", pan=PAN)
        assert reason_of(lambda to=to: vault.encrypt_pin(pin, to=to)) == "KEY_USAGE_MISMATCH"
        source = PinBlock(key=key, format="ISO_4", pan=PAN, ciphertext=bytes(16))
        refused = reason_of(lambda of=source: vault.translate_pin(of, to=switch()))
        assert refused == "KEY_USAGE_MISMATCH"
    for change in (
        lambda: keeper.keys.retire(before.id, check_value=before.check_value),
        lambda: keeper.keys.export_block(name, kbpk="kbpk-partner", version="D"),
    ):
        assert reason_of(change) == "KEY_NOT_GRANTED"


def test_a_partner_s_key_is_not_rotated_and_what_to_do_is_told(keeper: Vault) -> None:
    with pytest.raises(PinvaultError) as refused:
        keeper.keys.rotate("zpk-terminal")
    assert refused.value.reason == "KEY_CHANGE_REFUSED"
    assert refused.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert refused.value.violations == {
        "key": "its value comes from a partner: import the next one"
    }


# The end of a key


def test_a_retired_key_is_of_no_use_to_anyone(
    keeper_server: RunningServer, keeper: Vault, vault: Vault
) -> None:
    environment = keeper_server.environment
    (old, before), _ = acme(keeper, environment), acme(keeper, environment)
    wrong = reason_of(lambda: keeper.keys.retire(before.id, check_value="000000"))
    assert wrong == "KEY_CHECK_VALUE_MISMATCH"
    assert keeper.keys.retire(before.id, check_value=before.check_value).state == "RETIRED"
    gone = reason_of(lambda: vault.translate_pin(from_acme(old, f"/{before.version}"), to=switch()))
    assert gone == "KEY_STATE"
    for _ in range(6):
        with keeper_server.connect("key-manager") as other:
            assert other.keys.get(before.id).state == "RETIRED"
    back = key_block(environment, old)
    assert (
        reason_of(lambda: keeper.keys.import_block("zpk-acme", back, kbpk="kbpk-partner"))
        == "KEY_ALREADY_EXISTS"
    )


def test_a_key_that_the_configuration_needs_is_not_retired(keeper: Vault) -> None:
    active = keeper.keys.get("pin-seal")
    keeper.keys.rotate("pin-seal")
    keeper.keys.retire(active.id, check_value=active.check_value)
    for key in _versions(keeper, "pin-seal"):
        reason = None
        try:
            keeper.keys.retire(key.id, check_value=key.check_value)
        except PinvaultError as error:
            reason = error.reason
    assert reason == "KEY_CHANGE_REFUSED"


def _versions(keeper: Vault, name: str) -> list[KeyVersion]:
    """The versions that are not retired, the active one last."""
    found = [keeper.keys.get(f"{use.name}/{use.version}") for use in keeper.list_keys()]
    return [key for key in found if key.name == name and key.state != "RETIRED"]


# What remains


def test_key_blocks_and_cryptograms_are_nowhere_but_in_the_answer(
    keeper_server: RunningServer, keeper: Vault
) -> None:
    environment = keeper_server.environment
    value = tdes_key()
    block = key_block(environment, value)
    keeper.keys.import_block("zpk-acme", block, kbpk="kbpk-partner")
    exported = keeper.keys.export_block("zpk-acme", kbpk="kbpk-partner", version="D").key_block
    for path in (keeper_server.log, *sorted((environment.root / "audit").iterdir())):
        text = path.read_text(errors="replace")
        for secret in (block, exported, block[16:48], exported[16:48], value.hex()):
            assert secret not in text
            assert secret.upper() not in text
    entry = records(keeper_server, "call")[-1]
    kept = [use.key for use in entry.keys]
    assert entry.method == "KeyService.ExportKeyBlock"
    assert [key.partition("/")[0] for key in kept] == ["zpk-acme", "kbpk-partner"]
    assert running.verify(environment).returncode == 0


def test_everything_is_still_there_after_a_restart(keeper_server: RunningServer) -> None:
    """The last of this file: whoever is still connected is not any more."""
    environment = keeper_server.environment
    with keeper_server.connect("key-manager") as keeper:
        _, retired = acme(keeper, environment)
        previous = keeper.keys.rotate("zpk-acme").key
        keeper.keys.retire(retired.id, check_value=retired.check_value)
        active = keeper.keys.rotate("zpk-acme").key
    keeper_server.stop()
    with keeper_server, keeper_server.connect("key-manager") as keeper:
        found = [keeper.keys.get(each.id) for each in (retired, previous, active)]
        assert [each.state for each in found] == ["RETIRED", "DECIPHER_ONLY", "ACTIVE"]
        for each in (previous, active):
            exported = keeper.keys.export_block(each.id, kbpk="kbpk-partner", version="D")
            assert exported.key.check_value == each.check_value
    folder = environment.root / "key-blocks"
    kept = {path.stem for path in folder.iterdir()}
    assert {f"zpk-acme.{each.version}" for each in (previous, active)} <= kept
    assert f"zpk-acme.{retired.version}" not in kept
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
