"""Bad input of every kind: the documented status and reason, a record, nothing told back."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from pinvault.client import PinvaultError, Vault
from pinvault.client.errors import from_rpc
from pinvault.client.sealing import seal
from pinvault.development.server import RunningServer
from pinvault.v1 import key_pb2, pin_block_pb2, resources_pb2
from tests.conftest import OTHER_PAN, PAN
from tests.support import zone
from tests.support.audit import record_of

CHANGE = "/pinvault.v1.PinBlockService/EncryptPinChange"
ENCRYPT = "/pinvault.v1.PinBlockService/EncryptPin"
Code = grpc.StatusCode


def iso_0(pan: str) -> resources_pb2.PinBlockFormat:
    return resources_pb2.PinBlockFormat(iso_format_0=resources_pb2.IsoFormat0(pan=pan))


def iso_1() -> resources_pb2.PinBlockFormat:
    return resources_pb2.PinBlockFormat(iso_format_1=resources_pb2.IsoFormat1())


def iso_4(pan: str) -> resources_pb2.PinBlockFormat:
    return resources_pb2.PinBlockFormat(iso_format_4=resources_pb2.IsoFormat4(pan=pan))


def block_source(**changes: Any) -> resources_pb2.PinSource:
    given = {"key": "zpk-terminal", "format": iso_0(PAN), "ciphertext": bytes(8), **changes}
    return resources_pb2.PinSource(pin_block=resources_pb2.PinBlockSource(**given))


def block_target(**changes: Any) -> resources_pb2.PinTarget:
    given = {"key": "zpk-switch", "format": iso_0(PAN), **changes}
    return resources_pb2.PinTarget(pin_block=resources_pb2.PinBlockTarget(**given))


def encrypt(
    source: resources_pb2.PinSource | None = None, target: resources_pb2.PinTarget | None = None
) -> bytes:
    return pin_block_pb2.EncryptPinRequest(
        source=source if source is not None else block_source(),
        target=target if target is not None else block_target(),
    ).SerializeToString()


def envelope(ciphertext: bytes, *, pan: str = PAN) -> resources_pb2.PinSource:
    return resources_pb2.PinSource(
        envelope=resources_pb2.EnvelopeSource(profile="sealed-pin", ciphertext=ciphertext, pan=pan)
    )


def sealed(vault: Vault, pin: str, *, pan: str | None = PAN, lifetime_s: int = 60) -> bytes:
    """Seal what a well-behaved client would not."""
    return vault.seal(pin, pan=pan, lifetime_s=lifetime_s).ciphertext


CARD = resources_pb2.CardSource(card_id="card_" + "g" * 26)


@dataclass(frozen=True)
class Case:
    """A request that must be refused."""

    name: str
    code: Code
    reason: str
    request: bytes
    method: str = ENCRYPT
    field: str = ""


CASES = (
    Case("unknown key", Code.NOT_FOUND, "KEY_UNKNOWN",
         encrypt(block_source(key="zpk-nowhere")), field="source.pin_block.key"),
    Case("unknown version", Code.NOT_FOUND, "KEY_UNKNOWN",
         encrypt(block_source(key="zpk-terminal/7")), field="source.pin_block.key"),
    Case("unknown profile", Code.NOT_FOUND, "PROFILE_UNKNOWN",
         encrypt(target=resources_pb2.PinTarget(envelope=resources_pb2.EnvelopeTarget(
             profile="nobody", pan=PAN))), field="target.envelope.profile"),
    Case("profile of the other direction", Code.INVALID_ARGUMENT, "PROFILE_MISMATCH",
         encrypt(target=resources_pb2.PinTarget(envelope=resources_pb2.EnvelopeTarget(
             profile="sealed-pin", pan=PAN))), field="target.envelope.profile"),
    Case("key of another usage", Code.FAILED_PRECONDITION, "KEY_USAGE_MISMATCH",
         encrypt(block_source(key="pin-seal")), field="source.pin_block.key"),
    Case("enciphering key as a source", Code.FAILED_PRECONDITION, "KEY_USAGE_MISMATCH",
         encrypt(block_source(key="zpk-switch")), field="source.pin_block.key"),
    Case("deciphering key as a target", Code.FAILED_PRECONDITION, "KEY_USAGE_MISMATCH",
         encrypt(target=block_target(key="zpk-terminal")), field="target.pin_block.key"),
    Case("format 4 under TDES", Code.INVALID_ARGUMENT, "FORMAT_KEY_MISMATCH",
         encrypt(target=block_target(format=iso_4(PAN))), field="target.pin_block.format"),
    Case("format 0 under AES", Code.INVALID_ARGUMENT, "FORMAT_KEY_MISMATCH",
         encrypt(target=block_target(key="zpk-switch-aes")), field="target.pin_block.format"),
    Case("AES block under TDES", Code.INVALID_ARGUMENT, "FORMAT_KEY_MISMATCH",
         encrypt(block_source(ciphertext=bytes(16))), field="source.pin_block.ciphertext"),
    Case("PAN with letters", Code.INVALID_ARGUMENT, "REQUEST_INVALID",
         encrypt(target=block_target(format=iso_0("506099000000015100X"))),
         field="target.pin_block.format.iso_format_0.pan"),
    Case("PAN of 11 digits", Code.INVALID_ARGUMENT, "REQUEST_INVALID",
         encrypt(target=block_target(format=iso_0(PAN[:11]))),
         field="target.pin_block.format.iso_format_0.pan"),
    Case("PAN of 20 digits", Code.INVALID_ARGUMENT, "REQUEST_INVALID",
         encrypt(target=block_target(format=iso_0(PAN + "0"))),
         field="target.pin_block.format.iso_format_0.pan"),
    Case("block of 9 bytes", Code.INVALID_ARGUMENT, "REQUEST_INVALID",
         encrypt(block_source(ciphertext=bytes(9))), field="source.pin_block.ciphertext"),
    Case("no source", Code.INVALID_ARGUMENT, "REQUEST_INVALID",
         pin_block_pb2.EncryptPinRequest(target=block_target()).SerializeToString(),
         field="source"),
    Case("empty source", Code.INVALID_ARGUMENT, "REQUEST_INVALID",
         encrypt(resources_pb2.PinSource()), field="source.source"),
    Case("two PANs", Code.INVALID_ARGUMENT, "PAN_MISMATCH",
         encrypt(block_source(format=iso_0(OTHER_PAN)))),
    Case("wrong key, PAN or format", Code.INVALID_ARGUMENT, "PIN_SOURCE_REFUSED", encrypt()),
    Case("no JWE", Code.INVALID_ARGUMENT, "PIN_SOURCE_REFUSED", encrypt(envelope(b"x" * 200))),
    Case("DUKPT under a zone key", Code.FAILED_PRECONDITION, "KEY_USAGE_MISMATCH",
         encrypt(block_source(dukpt=resources_pb2.Dukpt(
             key_serial_number=bytes(10),
             working_key_algorithm=resources_pb2.KEY_ALGORITHM_TDES_2KEY))),
         field="source.pin_block.key"),
    Case("stored card that is not there", Code.NOT_FOUND, "CARD_UNKNOWN",
         encrypt(resources_pb2.PinSource(card=CARD))),
    Case("stored PIN to be checked", Code.UNIMPLEMENTED, "NOT_SUPPORTED",
         pin_block_pb2.VerifyPinRequest(
             source=resources_pb2.PinSource(card=CARD), pan=PAN,
             pin_block=block_source().pin_block).SerializeToString(),
         method="/pinvault.v1.PinBlockService/VerifyPin", field="source.card"),
    Case("format 2", Code.INVALID_ARGUMENT, "TRANSLATION_FORBIDDEN",
         encrypt(block_source(format=resources_pb2.PinBlockFormat(
             iso_format_2=resources_pb2.IsoFormat2()))),
         field="source.pin_block.format"),
    Case("legacy block under a key that is not kept for it", Code.INVALID_ARGUMENT,
         "FORMAT_KEY_MISMATCH",
         encrypt(block_source(format=resources_pb2.PinBlockFormat(
             legacy_eci_2=resources_pb2.LegacyEci2()))),
         field="source.pin_block.format"),
    Case("format 1 for a partner", Code.PERMISSION_DENIED, "TRANSLATION_NOT_GRANTED",
         encrypt(block_source(format=iso_1()),
                 resources_pb2.PinTarget(envelope=resources_pb2.EnvelopeTarget(
                     profile="partner-jwe", pan=PAN)))),
    Case("format 1 for a new PIN", Code.INVALID_ARGUMENT, "TRANSLATION_FORBIDDEN",
         pin_block_pb2.GeneratePinRequest(
             pan=PAN, random=pin_block_pb2.RandomPin(length=4),
             target=block_target(format=iso_1())).SerializeToString(),
         method="/pinvault.v1.PinBlockService/GeneratePin", field="target.pin_block.format"),
    Case("bound envelope for no PAN", Code.INVALID_ARGUMENT, "REQUEST_INVALID",
         encrypt(envelope(b"x" * 200, pan="")), field="source.envelope.pan"),
    Case("script of another command", Code.INVALID_ARGUMENT, "REQUEST_INVALID",
         pin_block_pb2.EncryptPinChangeScriptRequest(
             script="mchip", pan=PAN, application_cryptogram=bytes(8),
             message_data=bytes.fromhex("8418000210"), new_source=block_source(),
         ).SerializeToString(),
         method="/pinvault.v1.PinBlockService/EncryptPinChangeScript", field="message_data"),
    Case("no message", Code.INVALID_ARGUMENT, "REQUEST_MALFORMED", b"\xff\xff\xff"),
    Case("unknown field", Code.INVALID_ARGUMENT, "REQUEST_INVALID", encrypt() + b"\x9a\x06\x01x"),
    Case("too large", Code.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE", b"\x0a" * 70_000),
    Case("unknown method", Code.UNIMPLEMENTED, "METHOD_UNKNOWN", b"",
         method="/pinvault.v1.PinBlockService/DecryptPin"),
    Case("unknown service", Code.UNIMPLEMENTED, "METHOD_UNKNOWN", b"",
         method="/pinvault.v1.SecretService/Tell"),
    Case("key that no row names", Code.PERMISSION_DENIED, "KEY_NOT_GRANTED",
         key_pb2.GetKeyRequest(key="audit-signing").SerializeToString(),
         method="/pinvault.v1.KeyService/GetKey"),
    Case("public half of a zone key", Code.FAILED_PRECONDITION, "KEY_USAGE_MISMATCH",
         key_pb2.GetPublicKeyRequest(key="zpk-switch").SerializeToString(),
         method="/pinvault.v1.KeyService/GetPublicKey", field="key"),
)  # fmt: skip


def call(
    server: RunningServer,
    method: str,
    request: bytes,
    *,
    client: str = "card-app",
    timeout: float | None = 10.0,
) -> PinvaultError:
    """Make a call that must fail; give what the client learns."""
    tls = server.environment.tls
    credentials = grpc.ssl_channel_credentials(
        (tls / "ca.pem").read_bytes(),
        (tls / f"{client}.key").read_bytes(),
        (tls / f"{client}.pem").read_bytes(),
    )
    with grpc.secure_channel(f"localhost:{server.port}", credentials) as channel:
        with pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary(method)(request, timeout=timeout)
        return from_rpc(failed.value)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_requests_are_refused_and_recorded(server: RunningServer, case: Case) -> None:
    error = call(server, case.method, case.request)
    assert (error.code, error.reason) == (case.code, case.reason)
    if case.field:
        assert case.field in error.violations
    record = record_of(server.environment, error.call_id)
    assert record.outcome == case.reason
    assert record.caller == "spiffe://pinvault.test/card-app"
    assert PAN not in str(error)


SEALED_CASES: tuple[tuple[str, Code, str, Callable[[Vault], bytes]], ...] = (
    ("PAN of another card", Code.INVALID_ARGUMENT, "PIN_SOURCE_REFUSED",
     lambda vault: sealed(vault, "4831", pan=OTHER_PAN)),
    ("no PAN bound", Code.INVALID_ARGUMENT, "PIN_SOURCE_REFUSED",
     lambda vault: sealed(vault, "4831", pan=None)),
    ("expired", Code.FAILED_PRECONDITION, "ENVELOPE_EXPIRED",
     lambda vault: sealed(vault, "4831", lifetime_s=-60)),
    ("good for too long", Code.INVALID_ARGUMENT, "PIN_SOURCE_REFUSED",
     lambda vault: sealed(vault, "4831", lifetime_s=86_400)),
    ("tampered", Code.INVALID_ARGUMENT, "PIN_SOURCE_REFUSED",
     lambda vault: sealed(vault, "4831")[:-4] + b"AAAA"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("code", "reason", "make"),
    [row[1:] for row in SEALED_CASES],
    ids=[row[0] for row in SEALED_CASES],
)
def test_bad_envelopes_are_refused_and_recorded(
    server: RunningServer, code: Code, reason: str, make: Callable[[Vault], bytes]
) -> None:
    with server.connect() as vault:
        request = encrypt(envelope(make(vault)))
    error = call(server, ENCRYPT, request)
    assert (error.code, error.reason) == (code, reason)
    assert record_of(server.environment, error.call_id).outcome == reason


@pytest.mark.parametrize("digits", [3, 13])
def test_pins_of_3_and_13_digits_are_refused_by_the_client_and_by_the_server(
    server: RunningServer, digits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = "4831902756381"[:digits]
    with server.connect() as vault:
        key = vault.sealing_key()
    with pytest.raises(ValueError, match="4 to 12") as refused:
        seal(pin, key=key, pan=PAN, expires=0)
    assert pin not in str(refused.value)
    monkeypatch.setattr("pinvault.client.sealing.len", lambda _: 4, raising=False)
    ciphertext = seal(pin, key=key, pan=PAN, expires=int(time.time()) + 60)
    monkeypatch.undo()
    error = call(server, ENCRYPT, encrypt(envelope(ciphertext)))
    assert error.reason == "PIN_SOURCE_REFUSED"


def test_an_envelope_is_good_once(server: RunningServer) -> None:
    with server.connect() as vault:
        source = vault.seal("4831", pan=PAN)
        request = {"profile": "interswitch", "pan": PAN, "old_pin": None}
        vault.encrypt_pin_change(new_pin=source, **request)
        for _ in range(4):  # whichever worker it reaches
            with server.connect() as another, pytest.raises(PinvaultError) as refused:
                another.encrypt_pin_change(new_pin=source, **request)
            assert refused.value.reason == "ENVELOPE_REPLAYED"
            assert refused.value.code is Code.FAILED_PRECONDITION


def test_a_four_digit_partner_takes_no_longer_pin(server: RunningServer) -> None:
    with server.connect() as vault, pytest.raises(PinvaultError) as refused:
        vault.encrypt_pin_change(
            profile="interswitch", pan=PAN, new_pin=vault.seal("48319", pan=PAN), old_pin=None
        )
    assert refused.value.reason == "PIN_SOURCE_REFUSED"


def test_a_call_without_a_deadline_is_refused(server: RunningServer) -> None:
    error = call(server, ENCRYPT, encrypt(), timeout=None)
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "DEADLINE_REQUIRED")
    assert record_of(server.environment, error.call_id).outcome == "DEADLINE_REQUIRED"


def test_a_caller_without_a_grant_learns_only_that(server: RunningServer) -> None:
    for request in (encrypt(), b"\xff", encrypt(block_source(key="zpk-nowhere"))):
        error = call(server, ENCRYPT, request, client="nobody")
        assert (error.code, error.reason) == (Code.PERMISSION_DENIED, "METHOD_NOT_GRANTED")
        assert record_of(server.environment, error.call_id).caller.endswith("/nobody")


def test_a_grant_covers_only_its_formats(server: RunningServer) -> None:
    key = server.environment.zone_key("zpk-terminal")
    good = zone.block("4831", pan=PAN, form="ISO_0", key=key)
    error = call(server, ENCRYPT, encrypt(block_source(ciphertext=good)), client="switch")
    assert (error.code, error.reason) == (Code.PERMISSION_DENIED, "FORMAT_NOT_GRANTED")


def test_a_certificate_without_an_identity_is_refused(server: RunningServer) -> None:
    error = call(server, ENCRYPT, encrypt(), client="anonymous")
    assert (error.code, error.reason) == (Code.UNAUTHENTICATED, "CALLER_UNIDENTIFIED")
    assert record_of(server.environment, error.call_id).caller == ""
