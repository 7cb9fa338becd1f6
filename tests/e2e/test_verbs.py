"""Every verb through the running server, judged by those at the other end of its keys."""

import itertools
import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest
from joserfc import jwe
from joserfc.jwk import RSAKey
from psec import pinblock

from pinvault.client import (
    Dukpt,
    Ibm3624Offset,
    Ibm3624Scheme,
    ItemStatus,
    NaturalPin,
    PackedPins,
    PinBlock,
    PinColumn,
    RandomPin,
    SealedPin,
    StoredBlock,
    ToEnvelope,
    ToPinBlock,
    Vault,
    VisaPvvScheme,
)
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from tests.conftest import OTHER_PAN
from tests.conftest import PAN as LONG_PAN
from tests.e2e import other_ends
from tests.e2e.other_ends import PAN, at_the_switch, key_for, reason_of, switch, terminal
from tests.support import zone

VISA = VisaPvvScheme(name="visa", key_index=1)
IBM = Ibm3624Scheme(name="offset")
COMMAND = bytes.fromhex("8424000210")
BOUND = ("ISO_0", "ISO_3", "ISO_4")
COUNTERS = itertools.count(secrets.randbelow(1 << 12) * 2 + 1)


@pytest.fixture(scope="module")
def vault(server: RunningServer) -> Iterator[Vault]:
    with server.connect() as connected:
        yield connected


# TranslatePin


@pytest.mark.parametrize(
    ("source", "target"),
    [*itertools.product(("ISO_0", "ISO_3"), BOUND), ("ISO_4", "ISO_4"), ("ISO_1", "ISO_1")],
)
@pytest.mark.parametrize("pan", [PAN, LONG_PAN], ids=["16", "19"])
def test_a_block_is_translated_to_another_zone(
    environment: Environment, vault: Vault, source: zone.Format, target: zone.Format, pan: str
) -> None:
    made = vault.translate_pin(
        terminal(environment, "48310", form=source, pan=pan), to=switch(target, pan)
    )
    assert at_the_switch(environment, made.pin_block, target, pan) == "48310"
    names = (made.source_key.name, made.target_key.name)
    assert names == (key_for(source, "zpk-terminal"), key_for(target, "zpk-switch"))


def test_steps_that_need_leave_or_have_none_are_refused(
    environment: Environment, vault: Vault
) -> None:
    def refused(source: zone.Format, to: ToPinBlock) -> str:
        return reason_of(
            lambda: vault.translate_pin(terminal(environment, "4831", form=source), to=to)
        )

    assert refused("ISO_3", switch("ISO_1")) == "TRANSLATION_FORBIDDEN"
    assert refused("ISO_1", switch("ISO_3")) == "TRANSLATION_NOT_GRANTED"
    assert refused("ISO_4", switch("ISO_0")) == "TRANSLATION_NOT_GRANTED"
    assert refused("ISO_3", switch("ISO_3", OTHER_PAN)) == "PAN_MISMATCH"


# DUKPT


def aes_transaction(environment: Environment, working_key: str) -> tuple[Dukpt, bytes]:
    """A terminal's next transaction, and its PIN key."""
    ksn = bytes.fromhex("1234567890123456") + next(COUNTERS).to_bytes(4)
    base = environment.zone_key("bdk-terminal")
    key = other_ends.aes_pin_key(base, ksn, working_key)
    return Dukpt(key_serial_number=ksn, working_key=working_key), key


def tdes_transaction(environment: Environment) -> tuple[Dukpt, bytes]:
    counter = next(number for number in COUNTERS if number.bit_count() <= 10)
    ksn = (0xFFFF9876543210E00000 + counter).to_bytes(10)
    key = other_ends.tdes_pin_key(environment.zone_key("bdk-legacy"), ksn)
    return Dukpt(key_serial_number=ksn, working_key="TDES_2KEY"), key


def from_the_field(environment: Environment, kind: str) -> PinBlock:
    """A block of a terminal with DUKPT."""
    if kind == "TDES":
        base, (dukpt, key) = "bdk-legacy", tdes_transaction(environment)
    else:
        base, (dukpt, key) = "bdk-terminal", aes_transaction(environment, kind)
    form: zone.Format = "ISO_4" if kind == "AES_128" else "ISO_0"
    whole = key + key[:8] if kind in {"TDES", "TDES_2KEY"} else key
    ciphertext = zone.block("4831", pan=PAN, form=form, key=whole)
    return PinBlock(key=base, format=form, ciphertext=ciphertext, pan=PAN, dukpt=dukpt)


@pytest.mark.parametrize("kind", ["AES_128", "TDES_2KEY", "TDES_3KEY", "TDES"])
def test_a_block_under_dukpt_is_translated_once(
    environment: Environment, vault: Vault, server: RunningServer, kind: str
) -> None:
    source = from_the_field(environment, kind)
    to = switch("ISO_4") if kind == "AES_128" else switch("ISO_3")
    made = vault.translate_pin(source, to=to)
    assert at_the_switch(environment, made.pin_block, to.format) == "4831"
    for _ in range(4):  # whichever worker it reaches
        with server.connect() as another:
            assert reason_of(lambda v=another: v.translate_pin(source, to=to)) == "KSN_REPLAYED"


def test_a_block_goes_out_under_dukpt(environment: Environment, vault: Vault) -> None:
    dukpt, key = aes_transaction(environment, "AES_128")
    to = ToPinBlock(key="bdk-terminal", format="ISO_4", pan=PAN, dukpt=dukpt)
    made = vault.translate_pin(terminal(environment, "4831"), to=to)
    assert pinblock.decipher_pinblock_iso_4(key, made.pin_block, PAN) == "4831"


def test_a_counter_that_no_terminal_has_is_refused(environment: Environment, vault: Vault) -> None:
    source = from_the_field(environment, "AES_128")
    assert source.dukpt is not None
    zero = replace(source.dukpt, key_serial_number=bytes(12))
    refused = reason_of(
        lambda: vault.translate_pin(replace(source, dukpt=zero), to=switch("ISO_4"))
    )
    assert refused == "KSN_INVALID"


# TranslatePinBatch


def test_a_batch_of_a_thousand_ends_item_by_item(environment: Environment, vault: Vault) -> None:
    key = environment.zone_key("zpk-terminal")
    done: dict[int, tuple[str, str]] = {}
    wanted: list[ItemStatus] = []
    items: list[tuple[str | None, bytes]] = []
    for at in range(1000):
        pan, pin = f"400000{at:09}6", f"{secrets.randbelow(10**6):06}"
        block = zone.block(pin, pan=pan, form="ISO_3", key=key)
        match at % 10:
            case 3:
                block, status = zone.block(pin, pan=pan, form="ISO_0", key=key), ItemStatus.REFUSED
            case 5:
                pan, status = "40000012345A", ItemStatus.PAN_MALFORMED
            case 7:
                (pan, _), status = items[at - 1], ItemStatus.ACCOUNT_REPEATED
            case _:
                done[at], status = (pan, pin), ItemStatus.DONE
        items.append((pan, block))
        wanted.append(status)
    columns = {
        "source": PinColumn(key="zpk-terminal", format="ISO_3"),
        "to": PinColumn(key="zpk-switch-aes", format="ISO_4"),
    }
    made = vault.translate_pins(items, **columns)
    assert list(made.statuses) == wanted
    for at, (pan, pin) in done.items():
        assert at_the_switch(environment, made.pin_blocks[at], "ISO_4", pan) == pin
    assert [at for at, block in enumerate(made.pin_blocks) if block] == [
        at for at, status in enumerate(made.statuses) if status is ItemStatus.DONE
    ]


def test_columns_that_do_not_fit_refuse_the_whole_batch(vault: Vault) -> None:
    column = PinColumn(key="zpk-terminal", format="ISO_3")
    to = PinColumn(key="zpk-switch", format="ISO_0")
    for blocks, pans in ((12, 10), (16, 10), (8, 0), (8, 20)):
        packed = PackedPins(pin_blocks=bytes(blocks), pans=bytes(pans))
        refused = reason_of(lambda p=packed: vault.translate_pins(p, source=column, to=to))
        assert refused == "BATCH_INVALID"


# VerifyPin, GenerateVerificationValue, ChangeVerificationValue


@pytest.mark.parametrize("scheme", [VISA, IBM], ids=["visa", "ibm"])
def test_a_pin_is_verified_by_its_value(
    environment: Environment, vault: Vault, scheme: VisaPvvScheme | Ibm3624Scheme
) -> None:
    made = vault.generate_verification_value(terminal(environment, "4831"), pan=PAN, scheme=scheme)
    for form in BOUND:
        right = vault.verify_pin(
            terminal(environment, "4831", form=form), pan=PAN, reference=made.value
        )
        assert right
        assert right.reference_key == made.verification_key
    assert vault.verify_pin(vault.seal("4831", pan=PAN), pan=PAN, reference=made.value)
    # One PIN in 10,000 has the same PVV.
    wrong = [terminal(environment, pin) for pin in ("4832", "9027")]
    assert not all(vault.verify_pin(pin, pan=PAN, reference=made.value) for pin in wrong)


def test_an_offset_is_what_lies_between_the_natural_pin_and_the_chosen_one(
    environment: Environment, vault: Vault
) -> None:
    natural = vault.generate_pin(pan=PAN, method=NaturalPin(scheme="offset"), to=switch())
    offset = vault.generate_verification_value(terminal(environment, "9027"), pan=PAN, scheme=IBM)
    assert isinstance(offset.value, Ibm3624Offset)
    digits = zip(at_the_switch(environment, natural.pin_block), offset.value.value, strict=True)
    assert "".join(str((int(own) + int(added)) % 10) for own, added in digits) == "9027"
    derived = vault.generate_pin(pan=PAN, method=offset.value, to=switch())
    assert at_the_switch(environment, derived.pin_block) == "9027"


def test_a_pin_is_verified_by_another_block(environment: Environment, vault: Vault) -> None:
    kept = terminal(environment, "4831", form="ISO_4")
    made = vault.verify_pin(terminal(environment, "4831"), pan=PAN, reference=kept)
    assert made
    assert (made.source_key.name, made.reference_key.name) == ("zpk-terminal", "zpk-terminal-aes")
    assert not vault.verify_pin(terminal(environment, "48310"), pan=PAN, reference=kept)


def test_a_value_is_changed_when_the_current_pin_is_right_and_only_then(
    environment: Environment, vault: Vault
) -> None:
    old, new = terminal(environment, "4831"), terminal(environment, "9027")
    kept = vault.generate_verification_value(old, pan=PAN, scheme=IBM).value
    wrong = vault.change_verification_value(pan=PAN, current_pin=new, new_pin=old, reference=kept)
    assert (bool(wrong), wrong.value, wrong.pin_block) == (False, None, None)
    right = vault.change_verification_value(pan=PAN, current_pin=old, new_pin=new, reference=kept)
    assert right
    assert right.value == vault.generate_verification_value(new, pan=PAN, scheme=IBM).value
    assert vault.verify_pin(new, pan=PAN, reference=right.value)
    assert not vault.verify_pin(old, pan=PAN, reference=right.value)


def test_a_pvv_is_changed_to_the_pvv_of_the_new_pin(environment: Environment, vault: Vault) -> None:
    old, new = terminal(environment, "4831"), terminal(environment, "9027", form="ISO_4")
    kept = vault.generate_verification_value(old, pan=PAN, scheme=VISA).value
    made = vault.change_verification_value(pan=PAN, current_pin=old, new_pin=new, reference=kept)
    assert made
    assert made.value == vault.generate_verification_value(new, pan=PAN, scheme=VISA).value


def test_a_stored_block_is_changed_likewise(environment: Environment, vault: Vault) -> None:
    old, new = terminal(environment, "4831"), terminal(environment, "9027")
    stored = StoredBlock(current=terminal(environment, "4831", form="ISO_4"), to=switch("ISO_4"))
    ask = {"pan": PAN, "reference": stored}
    made = vault.change_verification_value(current_pin=old, new_pin=new, **ask)
    assert made
    assert at_the_switch(environment, made.pin_block, "ISO_4") == "9027"
    assert not vault.change_verification_value(current_pin=new, new_pin=new, **ask)


@pytest.mark.parametrize("weak", ["1111", "1234", "9876"])
def test_a_weak_new_pin_is_refused(environment: Environment, vault: Vault, weak: str) -> None:
    old, new = terminal(environment, "4831"), terminal(environment, weak)
    kept = vault.generate_verification_value(old, pan=PAN, scheme=VISA).value
    assert (
        reason_of(lambda: vault.generate_verification_value(new, pan=PAN, scheme=VISA))
        == reason_of(
            lambda: vault.change_verification_value(
                pan=PAN, current_pin=old, new_pin=new, reference=kept
            )
        )
        == "PIN_WEAK"
    )


def test_what_is_bound_to_no_pan_is_nobodys_pin(environment: Environment, vault: Vault) -> None:
    unbound = terminal(environment, "4831", form="ISO_1")
    made = reason_of(lambda: vault.generate_verification_value(unbound, pan=PAN, scheme=VISA))
    assert made == "SOURCE_UNBOUND"


# GeneratePin


@pytest.mark.parametrize("length", [4, 6, 12])
def test_a_random_pin_comes_with_its_value(
    environment: Environment, vault: Vault, length: int
) -> None:
    ask = {"pan": PAN, "method": RandomPin(length=length), "to": switch(), "scheme": VISA}
    made = [vault.generate_pin(**ask) for _ in range(2)]
    pins = [at_the_switch(environment, each.pin_block) for each in made]
    assert [len(pin) for pin in pins] == [length, length]
    for pin, each in zip(pins, made, strict=True):
        assert each.value is not None
        assert vault.verify_pin(terminal(environment, pin), pan=PAN, reference=each.value)
    if length == 12:
        assert pins[0] != pins[1]


# EncryptPinChangeScript


@pytest.fixture(scope="module")
def card(environment: Environment) -> other_ends.Card:
    return other_ends.Card(
        pan=PAN,
        sequence=1,
        cryptogram=secrets.token_bytes(8),
        confidentiality=environment.zone_key("imk-smc"),
        integrity=environment.zone_key("imk-smi"),
        cryptograms=environment.zone_key("imk-ac"),
    )


@pytest.mark.parametrize("script", ["mchip", "vsdc"])
@pytest.mark.parametrize("pin", ["4831", "903715"])
def test_a_card_takes_its_new_pin(
    environment: Environment, vault: Vault, card: other_ends.Card, script: str, pin: str
) -> None:
    command = bytes.fromhex("842400021000AB") + secrets.token_bytes(4)
    made = vault.encrypt_pin_change_script(
        script=script,
        pan=PAN,
        pan_sequence_number=card.sequence,
        application_cryptogram=card.cryptogram,
        message_data=command,
        new_pin=terminal(environment, pin),
    )
    block = card.read(made.enciphered_pin)
    if script == "mchip":
        assert pinblock.decode_pinblock_iso_2(block) == pin
    else:
        field = bytes.fromhex(f"0{len(pin)}{pin}".ljust(16, "F"))
        half = bytes(4) + card.udk_half()
        pin_block = bytes(one ^ other for one, other in zip(field, half, strict=True))
        assert block == b"\x08" + pin_block + bytes.fromhex("80000000000000")
    assert made.mac == card.mac(command + made.enciphered_pin)
    names = ["imk-smc", "imk-smi", *(["imk-ac"] if script == "vsdc" else [])]
    assert [key.name for key in made.script_keys] == names


def test_the_current_pin_is_given_where_the_card_needs_it_and_only_there(
    environment: Environment, vault: Vault
) -> None:
    refused = reason_of(
        lambda: vault.encrypt_pin_change_script(
            script="mchip",
            pan=PAN,
            application_cryptogram=bytes(8),
            message_data=COMMAND,
            new_pin=terminal(environment, "4831"),
            current_pin=terminal(environment, "9027"),
        )
    )
    assert refused == "SCHEME_MISMATCH"


# EncryptPin and EncryptPinChange: envelopes in and out


@pytest.mark.parametrize("profile", ["lithic", "adyen", "phone-in"])
def test_a_senders_envelope_becomes_a_block_once(
    environment: Environment, vault: Vault, server: RunningServer, profile: str
) -> None:
    match profile:
        case "lithic":
            sealed = other_ends.lithic(
                "4831", other_ends.rsa_key(other_ends.jwk(server, "pin-seal"))
            )
        case "adyen":
            sealed = other_ends.adyen(
                "4831", other_ends.rsa_key(other_ends.jwk(server, "pin-wrap"))
            )
        case _:
            sealed = other_ends.phone("4831", PAN, other_ends.jwk(server, "pin-agree"))
    source = SealedPin(
        profile=profile, ciphertext=sealed, pan=PAN if profile == "phone-in" else None
    )
    made = vault.encrypt_pin(source, to=switch())
    assert at_the_switch(environment, made.pin_block) == "4831"
    for _ in range(4):  # whichever worker it reaches
        with server.connect() as another:
            replayed = reason_of(lambda v=another: v.encrypt_pin(source, to=switch()))
            assert replayed == "ENVELOPE_REPLAYED"


def test_a_phone_reveals_its_pin(environment: Environment, vault: Vault) -> None:
    made = vault.encrypt_pin(
        terminal(environment, "903715"), to=ToEnvelope(profile="phone-out", pan=PAN)
    )
    assert made.envelope is not None
    assert other_ends.on_the_phone(made.envelope, PAN, environment.phone().key) == "903715"


def test_a_partner_opens_both_jwes_of_a_change(environment: Environment, vault: Vault) -> None:
    made = vault.encrypt_pin_change(
        profile="partner-jwe",
        pan=PAN,
        new_pin=vault.seal("4831", pan=PAN),
        old_pin=terminal(environment, "9027"),
    )
    key = RSAKey.import_key(environment.partner().key)
    found = [
        jwe.decrypt_compact(text, key, algorithms=["RSA-OAEP", "A256GCM"])
        for text in (made.pin_field, made.old_pin_field)
    ]
    assert [each.plaintext for each in found] == [b'{"pin":"4831"}', b'{"pin":"9027"}']
