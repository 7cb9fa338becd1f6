"""The journey of a PIN: sealed by a caller, moved in the clear zone, opened by the partner."""

import re

import pytest

from pinvault.client import (
    PinBlock,
    PinvaultError,
    SealingKeyChanged,
    ToEnvelope,
    ToPinBlock,
    connect,
)
from pinvault.development.server import RunningServer
from tests.conftest import PAN
from tests.support import zone

TDES_FORMATS = ("ISO_0", "ISO_3")


def test_a_sealed_change_becomes_the_two_fields_of_the_partner(server: RunningServer) -> None:
    partner = server.environment.partner()
    with server.connect() as vault:
        change = vault.encrypt_pin_change(
            profile="interswitch",
            pan=PAN,
            new_pin=vault.seal("4831", pan=PAN),
            old_pin=vault.seal("9027", pan=PAN),
        )
    for field in (change.pin_field, change.old_pin_field):
        assert re.fullmatch("[0-9a-f]{512}", field)
    assert partner.confirms(change.pin_field, "4831")
    assert partner.confirms(change.old_pin_field, "9027")
    assert [key.name for key in change.source_keys] == ["pin-seal", "pin-seal"]
    assert change.target_key.name == "interswitch-pin"


def test_two_fields_of_one_pin_differ(server: RunningServer) -> None:
    with server.connect() as vault:
        change = vault.encrypt_pin_change(
            profile="interswitch",
            pan=PAN,
            new_pin=vault.seal("4831", pan=PAN),
            old_pin=vault.seal("4831", pan=PAN),
        )
    assert change.pin_field != change.old_pin_field


def test_a_change_without_the_current_pin_has_a_blank_old_field(server: RunningServer) -> None:
    with server.connect() as vault:
        change = vault.encrypt_pin_change(
            profile="interswitch", pan=PAN, new_pin=vault.seal("4831", pan=PAN), old_pin=None
        )
    assert change.old_pin_field == ""
    assert server.environment.partner().confirms(change.pin_field, "4831")


@pytest.mark.parametrize("form", TDES_FORMATS)
@pytest.mark.parametrize("digits", [4, 6, 12])
def test_a_sealed_pin_becomes_a_tdes_block(
    server: RunningServer, form: zone.Format, digits: int
) -> None:
    pin = "739205184627"[:digits]
    with server.connect() as vault:
        made = vault.encrypt_pin(
            vault.seal(pin, pan=PAN),
            to=ToPinBlock(key="zpk-switch", format=form, pan=PAN),
        )
    assert made.pin_block is not None
    key = server.environment.zone_key("zpk-switch")
    assert zone.pin_of(made.pin_block, pan=PAN, form=form, key=key) == pin


def test_a_pin_that_is_bound_to_a_card_stays_bound(server: RunningServer) -> None:
    with server.connect() as vault, pytest.raises(PinvaultError) as refused:
        vault.encrypt_pin(
            vault.seal("4831", pan=PAN), to=ToPinBlock(key="zpk-switch", format="ISO_1")
        )
    assert refused.value.reason == "TRANSLATION_FORBIDDEN"


def test_a_sealed_pin_becomes_an_aes_block(server: RunningServer) -> None:
    with server.connect() as vault:
        made = vault.encrypt_pin(
            vault.seal("482913", pan=PAN),
            to=ToPinBlock(key="zpk-switch-aes", format="ISO_4", pan=PAN),
        )
    assert made.pin_block is not None
    key = server.environment.zone_key("zpk-switch-aes")
    assert zone.pin_of(made.pin_block, pan=PAN, form="ISO_4", key=key) == "482913"


@pytest.mark.parametrize("form", ["ISO_0", "ISO_3"])
def test_a_terminals_block_becomes_the_partners_field(
    server: RunningServer, form: zone.Format
) -> None:
    key = server.environment.zone_key("zpk-terminal")
    source = PinBlock(
        key="zpk-terminal",
        format=form,
        ciphertext=zone.block("5172", pan=PAN, form=form, key=key),
        pan=PAN,
    )
    with server.connect() as vault:
        made = vault.encrypt_pin(source, to=ToEnvelope(profile="interswitch", pan=PAN))
    assert made.envelope is not None
    assert server.environment.partner().confirms(made.envelope, "5172")


def test_an_aes_terminals_block_becomes_the_partners_field(server: RunningServer) -> None:
    key = server.environment.zone_key("zpk-terminal-aes")
    source = PinBlock(
        key="zpk-terminal-aes",
        format="ISO_4",
        ciphertext=zone.block("5172", pan=PAN, form="ISO_4", key=key),
        pan=PAN,
    )
    with server.connect() as vault:
        made = vault.encrypt_pin(source, to=ToEnvelope(profile="interswitch", pan=PAN))
    assert made.envelope is not None
    assert server.environment.partner().confirms(made.envelope, "5172")


def test_callers_see_the_keys_that_they_may_use_and_their_check_values(
    server: RunningServer,
) -> None:
    with server.connect() as vault:
        keys = {key.name: key.check_value for key in vault.list_keys()}
    assert set(keys) == {
        *("pin-seal", "interswitch-pin", "interswitch-seal"),
        *("zpk-terminal", "zpk-switch", "zpk-terminal-aes", "zpk-switch-aes"),
        *("pin-wrap", "pin-agree", "phone-agree", "bdk-terminal", "pvk-visa", "pvk-ibm"),
    }
    assert re.fullmatch("[0-9A-F]{64}", keys["pin-seal"])
    assert re.fullmatch("[0-9A-F]{6}", keys["zpk-switch"])


def test_a_pinned_sealing_key_is_the_only_one_that_is_sealed_under(server: RunningServer) -> None:
    tls = server.environment.tls
    given = {
        "ca": tls / "ca.pem",
        "certificate": tls / "card-app.pem",
        "private_key": tls / "card-app.key",
    }
    with server.connect() as vault:
        right = vault.sealing_key().thumbprint
    with connect(f"localhost:{server.port}", **given, thumbprints=["next", right]) as vault:
        assert vault.seal("4831", pan=PAN).profile == "sealed-pin"
    with (
        connect(f"localhost:{server.port}", **given, thumbprints=["another"]) as vault,
        pytest.raises(SealingKeyChanged) as changed,
    ):
        vault.seal("4831", pan=PAN)
    assert changed.value.offered == (right,)
