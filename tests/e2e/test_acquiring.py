"""An acquiring server: it translates and verifies, and has nothing of the issuing verbs."""

import secrets
from collections.abc import Callable, Iterator

import grpc
import pytest
from psec import des, tr31

from pinvault.client import (
    PinBlock,
    PinColumn,
    PinvaultError,
    RandomPin,
    StoredCard,
    VisaPvv,
    VisaPvvScheme,
)
from pinvault.config import load
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from tests.e2e.other_ends import PAN, at_the_switch, reason_of, switch, terminal

VISA = VisaPvvScheme(name="visa", key_index=1)
COMMAND = bytes.fromhex("8424000210")


@pytest.fixture(scope="module")
def acquiring(make_environment: Callable[[Settings], Environment]) -> Iterator[RunningServer]:
    """A server for acquirers, which keeps its TDES key for what old terminals send."""
    made = make_environment(Settings(role="acquiring", per_pan="1000/h"))
    granted = made.config.read_text().replace('"ISO_0", "ISO_1"', '"ISO_0", "OEM_1", "VISA_4"')
    made.config.write_text(f'{granted}\n[legacy_formats]\nzpk-terminal = "VISA_4"\n')
    with RunningServer(made) as running:
        yield running


def test_an_acquiring_server_stores_nothing(acquiring: RunningServer) -> None:
    loaded = load(acquiring.environment.config)
    assert loaded.config.store is None
    assert (loaded.store_keys(), loaded.programs()) == (frozenset(), {})
    assert not [row for row in loaded.grants() if row.method.startswith("CardPinService.")]


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


def test_an_acquiring_server_has_no_stored_pins(acquiring: RunningServer) -> None:
    stored = StoredCard("card_" + "g" * 26)
    known = terminal(acquiring.environment, "4831", form="ISO_4")
    with acquiring.connect() as vault:
        for call in (
            lambda: vault.encrypt_pin(stored, to=switch("ISO_4")),
            lambda: vault.verify_pin(stored, pan=PAN, reference=known),
        ):
            assert reason_of(call) == "NOT_SUPPORTED"


def test_an_acquiring_server_translates_and_verifies(acquiring: RunningServer) -> None:
    environment = acquiring.environment
    block = terminal(environment, "4831", form="ISO_4")
    with acquiring.connect() as vault:
        made = vault.translate_pin(block, to=switch("ISO_4"))
        assert at_the_switch(environment, made.pin_block, "ISO_4") == "4831"
        batch = vault.translate_pins(
            [(PAN, block.ciphertext)],
            source=PinColumn(key="zpk-terminal-aes", format="ISO_4"),
            to=PinColumn(key="zpk-switch-aes", format="ISO_4"),
        )
        assert at_the_switch(environment, batch.pin_blocks[0], "ISO_4") == "4831"
        known = terminal(environment, "4831", form="ISO_4")
        assert vault.verify_pin(block, pan=PAN, reference=known)


def test_an_acquiring_server_takes_and_gives_zone_keys(acquiring: RunningServer) -> None:
    kbpk = acquiring.environment.zone_key("kbpk-partner")
    value = des.adjust_key_parity(secrets.token_bytes(24))
    block = tr31.wrap(kbpk, tr31.Header("D", "P0", "T", "B", "00", "E"), value)
    with acquiring.connect("key-manager") as keeper:
        made = keeper.keys.import_block("zpk-acme", block, kbpk="kbpk-partner")
        exported = keeper.keys.export_block(made.id, kbpk="kbpk-partner", version="D")
    assert tr31.unwrap(kbpk, exported.key_block)[1] == value


def from_an_old_terminal(environment: Environment, form: str) -> PinBlock:
    """A block of a legacy format, written by hand."""
    field = {"VISA_4": "044831" + "F" * 10, "OEM_1": "4831" + "F" * 12}[form]
    left = "0000" + PAN[:12] if form == "VISA_4" else "0" * 16
    pairs = zip(bytes.fromhex(field), bytes.fromhex(left), strict=True)
    return PinBlock(
        key="zpk-terminal",
        format=form,
        ciphertext=des.encrypt_tdes_ecb(
            environment.zone_key("zpk-terminal"), bytes(one ^ other for one, other in pairs)
        ),
        pan=PAN if form == "VISA_4" else None,
    )


def test_a_legacy_block_comes_in_under_a_key_that_is_kept_for_its_format(
    acquiring: RunningServer,
) -> None:
    environment = acquiring.environment
    with acquiring.connect() as vault:
        made = vault.translate_pin(from_an_old_terminal(environment, "VISA_4"), to=switch())
        assert at_the_switch(environment, made.pin_block) == "4831"
        for other in (from_an_old_terminal(environment, "OEM_1"), terminal(environment, "4831")):
            refused = reason_of(lambda block=other: vault.translate_pin(block, to=switch()))
            assert refused == "FORMAT_KEY_MISMATCH"
