"""No message of pinvault.v1 has a field that can hold a clear PIN: every descriptor is walked."""

from collections.abc import Iterator

import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldOptions
from protovalidate import Validator

from pinvault.v1 import card_pin_pb2, error_reason_pb2, key_pb2, pin_block_pb2, resources_pb2

FILES = (card_pin_pb2, error_reason_pb2, key_pb2, pin_block_pb2, resources_pb2)

# Bytes can hold anything, so each such field stands here with what it holds.
BYTES = {
    "PinBlockSource.ciphertext": "a PIN block under a key of the HSM",
    "EnvelopeSource.ciphertext": "an envelope sealed under an RSA key of the HSM",
    "EncryptPinResponse.pin_block": "a PIN block under a key of the HSM",
    "TranslatePinResponse.pin_block": "a PIN block under a key of the HSM",
    "TranslatePinBatchRequest.pin_blocks": "PIN blocks under a key of the HSM",
    "TranslatePinBatchResponse.pin_blocks": "PIN blocks under a key of the HSM",
    "ChangeVerificationValueResponse.pin_block": "a PIN block under a key of the HSM",
    "GeneratePinResponse.pin_block": "a PIN block under a key of the HSM",
    "EncryptPinChangeScriptResponse.enciphered_pin": "a PIN block under a card's session key",
    "Dukpt.key_serial_number": "names a transaction; 10 or 12 bytes that are no digits",
    "TranslatePinBatchRequest.pans": "PANs, ten bytes each",
    "ImportKeyCryptogramRequest.wrapped_key": "a key under an RSA key of the HSM",
}
# These are no secrets, and their lengths leave no room for one to be asked for.
OPEN_BYTES = {
    "TranslatePinBatchResponse.statuses": "one number of TranslatePinBatchStatus an item",
    "EncryptPinChangeScriptRequest.application_cryptogram": "what the card sent: 8 bytes",
    "EncryptPinChangeScriptRequest.message_data": "the header of a card command",
    "EncryptPinChangeScriptResponse.mac": "the MAC of a card command: 8 bytes",
}
# A PAN of 12 digits has the shape of a PIN of 12, and a check value of 3 or 5 bytes may happen to
# be 6 or 10 digits; nothing but the name tells them apart. Check values are output, or are compared
# with one and dropped.
# PVVs and offsets are digits that are no PIN: what issuers keep beside a card to verify one
# with. The last four digits of a PAN stand on receipts, and are output.
LOOKALIKES = {
    "Key.check_value": {6, 10},
    "KeyUse.check_value": {6, 10},
    "ImportKeyCryptogramRequest.check_value": {6, 10},
    "RetireKeyRequest.check_value": {6, 10},
    "VisaPvv.pvv": {4},
    "Ibm3624Offset.offset": set(range(4, 13)),
    "Card.last_four": {4},
    "OpenPinSessionResponse.last_four": {4},
}
PANS = {
    "CardNumber.pan",
    "RegisterCardRequest.pan",
    "EnvelopeSource.pan",
    "EnvelopeTarget.pan",
    "IsoFormat0.pan",
    "IsoFormat3.pan",
    "IsoFormat4.pan",
    "EncryptPinChangeRequest.pan",
    "LegacyVisa4.pan",
    "LegacyPlus.pan",
    "LegacyMastercard35.pan",
    "VerifyPinRequest.pan",
    "GenerateVerificationValueRequest.pan",
    "ChangeVerificationValueRequest.pan",
    "GeneratePinRequest.pan",
    "EncryptPinChangeScriptRequest.pan",
}
VALUES = {"VisaPvv.pvv", "Ibm3624Offset.offset"}
SENSITIVE = (
    PANS
    | VALUES
    | BYTES.keys()
    | {
        "EncryptPinResponse.envelope",
        "GeneratePinResponse.envelope",
        "EncryptPinChangeResponse.pin_field",
        "EncryptPinChangeResponse.old_pin_field",
        "ImportKeyBlockRequest.key_block",
        "ExportKeyBlockResponse.key_block",
        "IssueControlTokenResponse.control_token",
        "GetControlTokenRequest.control_token",
        "SetPinRequest.control_token",
        "ReissuePinResponse.envelope",
        "RevealPinRequest.control_token",
        "RevealPinResponse.envelope",
        "CreatePinSessionResponse.session_secret",
        "OpenPinSessionRequest.session_secret",
        "OpenPinSessionResponse.page_secret",
        "SubmitPinRequest.page_secret",
    }
)
# Numbers that may be large, and what they count.
NUMBERS = {"ListKeysRequest.page_size", "Key.version", "KeyUse.version"}
# Words that a field for a clear PIN, or for what steers a PIN's verification, would be named with.
FORBIDDEN = ("clear", "plain", "digits", "decimal", "table", "layout", "validation_data", "cvv")
PINS = tuple("123456789012"[:length] for length in range(4, 13))


def messages() -> Iterator[Descriptor]:
    for file in FILES:
        stack = list(file.DESCRIPTOR.message_types_by_name.values())
        while stack:
            message = stack.pop()
            stack.extend(message.nested_types)
            yield message


def fields() -> Iterator[FieldDescriptor]:
    return (field for message in messages() for field in message.fields)


def name_of(field: FieldDescriptor) -> str:
    return f"{field.containing_type.name}.{field.name}"


def test_all_messages_of_the_package_are_walked() -> None:
    pool = descriptor_pool.Default()
    services = [service for file in FILES for service in file.DESCRIPTOR.services_by_name.values()]
    walked = {message.full_name for message in messages()}
    for service in services:
        for method in service.methods:
            assert {method.input_type.full_name, method.output_type.full_name} <= walked
    assert pool.FindMessageTypeByName("pinvault.v1.PinSource").full_name in walked


@pytest.mark.parametrize(
    "field", [f for f in fields() if f.type == FieldDescriptor.TYPE_STRING], ids=name_of
)
def test_no_string_takes_the_digits_of_a_pin(field: FieldDescriptor) -> None:
    """The contract itself refuses a PIN of any length in every string of every message."""
    validator = Validator()
    alike = {12} if name_of(field) in PANS else LOOKALIKES.get(name_of(field), set())
    for pin in (pin for pin in PINS if len(pin) not in alike):
        message = message_factory.GetMessageClass(field.containing_type)()
        setattr(message, field.name, pin)
        broken = validator.collect_violations(message)
        paths = [element.field_name for b in broken for element in b.proto.field.elements]
        assert field.name in paths, f"{name_of(field)} takes a PIN of {len(pin)} digits"


@pytest.mark.parametrize(
    "field", [f for f in fields() if f.type == FieldDescriptor.TYPE_BYTES], ids=name_of
)
def test_every_bytes_field_is_accounted_for(field: FieldDescriptor) -> None:
    assert (name_of(field) in BYTES) != (name_of(field) in OPEN_BYTES)


@pytest.mark.parametrize("field", list(fields()), ids=name_of)
def test_no_number_could_carry_a_pin(field: FieldDescriptor) -> None:
    numbers = {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
        FieldDescriptor.CPPTYPE_DOUBLE,
        FieldDescriptor.CPPTYPE_FLOAT,
    }
    if field.cpp_type not in numbers or name_of(field) in NUMBERS:
        return
    message = message_factory.GetMessageClass(field.containing_type)()
    setattr(message, field.name, 1000)  # the smallest PIN that a number can be
    paths = [
        element.field_name
        for broken in Validator().collect_violations(message)
        for element in broken.proto.field.elements
    ]
    assert field.name in paths, f"{name_of(field)} takes a PIN as a number"


@pytest.mark.parametrize("field", list(fields()), ids=name_of)
def test_no_name_speaks_of_a_clear_pin_or_of_verification_parameters(
    field: FieldDescriptor,
) -> None:
    assert field.name != "pin"
    assert not any(f"_{word}" in f"_{field.name}" for word in FORBIDDEN)


@pytest.mark.parametrize("field", list(fields()), ids=name_of)
def test_sensitive_fields_say_so(field: FieldDescriptor) -> None:
    options: FieldOptions = field.GetOptions()
    assert options.debug_redact == (name_of(field) in SENSITIVE)
