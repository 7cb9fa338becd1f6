"""An acquiring server: it translates and verifies, and has nothing of the issuing verbs."""

from collections.abc import Callable, Iterator

import grpc
import pytest
from psec import des

from pinvault.client import (
    PinBlock,
    PinColumn,
    PinvaultError,
    RandomPin,
    VisaPvv,
    VisaPvvScheme,
)
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from tests.e2e.other_ends import PAN, at_the_switch, reason_of, switch, terminal

VISA = VisaPvvScheme(name="visa", key_index=1)
COMMAND = bytes.fromhex("8424000210")


@pytest.fixture(scope="module")
def acquiring(make_environment: Callable[[Settings], Environment]) -> Iterator[RunningServer]:
    """A server for acquirers, which may take what old terminals send."""
    made = make_environment(Settings(role="acquiring", per_pan="1000/h"))
    granted = made.config.read_text().replace('"ISO_0", "ISO_1"', '"ISO_0", "OEM_1", "VISA_4"')
    made.config.write_text(granted)
    with RunningServer(made) as running:
        yield running


def test_an_acquiring_server_has_no_issuing_verbs(acquiring: RunningServer) -> None:
    block = terminal(acquiring.environment, "4831")
    with acquiring.connect() as vault:
        calls: tuple[Callable[[], object], ...] = (
            lambda: vault.encrypt_pin_change(
                profile="interswitch", pan=PAN, new_pin=block, old_pin=None
            ),
            lambda: vault.generate_verification_value(block, pan=PAN, scheme=VISA),
            lambda: vault.change_verification_value(
                pan=PAN,
                current_pin=block,
                new_pin=block,
                reference=VisaPvv(scheme="visa", key_index=1, value="0000"),
            ),
            lambda: vault.generate_pin(pan=PAN, method=RandomPin(length=4), to=switch()),
            lambda: vault.encrypt_pin_change_script(
                script="mchip",
                pan=PAN,
                application_cryptogram=bytes(8),
                message_data=COMMAND,
                new_pin=block,
            ),
        )
        assert [reason_of(call) for call in calls] == ["METHOD_UNKNOWN"] * len(calls)
        with pytest.raises(PinvaultError) as refused:
            calls[0]()
    assert refused.value.code is grpc.StatusCode.UNIMPLEMENTED


def test_an_acquiring_server_translates_and_verifies(acquiring: RunningServer) -> None:
    environment = acquiring.environment
    block = terminal(environment, "4831")
    with acquiring.connect() as vault:
        made = vault.translate_pin(block, to=switch("ISO_4"))
        assert at_the_switch(environment, made.pin_block, "ISO_4") == "4831"
        batch = vault.translate_pins(
            [(PAN, block.ciphertext)],
            source=PinColumn(key="zpk-terminal", format="ISO_3"),
            to=PinColumn(key="zpk-switch", format="ISO_0"),
        )
        assert at_the_switch(environment, batch.pin_blocks[0], "ISO_0") == "4831"
        assert vault.verify_pin(block, pan=PAN, reference=terminal(environment, "4831"))


def test_a_legacy_block_comes_in_where_a_grant_names_its_format(acquiring: RunningServer) -> None:
    key = acquiring.environment.zone_key("zpk-terminal")
    left = bytes.fromhex("0000" + PAN[:12])
    visa4 = bytes(
        one ^ other for one, other in zip(bytes.fromhex("044831" + "F" * 10), left, strict=True)
    )
    blocks = (
        PinBlock(
            key="zpk-terminal",
            format="OEM_1",
            ciphertext=des.encrypt_tdes_ecb(key, bytes.fromhex("4831" + "F" * 12)),
        ),
        PinBlock(
            key="zpk-terminal",
            format="VISA_4",
            ciphertext=des.encrypt_tdes_ecb(key, visa4),
            pan=PAN,
        ),
    )
    with acquiring.connect() as vault:
        for block in blocks:
            made = vault.translate_pin(block, to=switch())
            assert at_the_switch(acquiring.environment, made.pin_block) == "4831"
