"""The caller's values as messages of pinvault.v1.

Rules:
- Nothing is checked here: the server says what is wrong, also with what is missing.
"""

from collections.abc import Mapping
from typing import Final

from pinvault.client.values import (
    Dukpt,
    Format,
    Ibm3624Offset,
    NaturalPin,
    PinBlock,
    PinColumn,
    RandomPin,
    Scheme,
    SealedPin,
    Source,
    StoredBlock,
    StoredCard,
    Target,
    ToPinBlock,
    VerificationValue,
    VisaPvv,
    VisaPvvScheme,
)
from pinvault.v1 import pin_block_pb2 as pb
from pinvault.v1 import resources_pb2

_FIELDS: Final[Mapping[Format, str]] = {
    "ISO_0": "iso_format_0",
    "ISO_1": "iso_format_1",
    "ISO_3": "iso_format_3",
    "ISO_4": "iso_format_4",
    "OEM_1": "legacy_oem_1",
    "ECI_2": "legacy_eci_2",
    "ECI_3": "legacy_eci_3",
    "VISA_2": "legacy_visa_2",
    "VISA_3": "legacy_visa_3",
    "VISA_4": "legacy_visa_4",
    "PLUS": "legacy_plus",
    "MASTERCARD_35": "legacy_mastercard_35",
}


def source(value: Source) -> resources_pb2.PinSource:
    """Write where a PIN comes from."""
    if isinstance(value, PinBlock):
        return resources_pb2.PinSource(pin_block=block_source(value))
    if isinstance(value, StoredCard):
        return resources_pb2.PinSource(card=resources_pb2.CardSource(card_id=value.card_id))
    return resources_pb2.PinSource(envelope=_envelope(value))


def optional_source(value: Source | None) -> resources_pb2.PinSource | None:
    """Write where a PIN comes from, or nothing."""
    return source(value) if value is not None else None


def block_source(value: PinBlock) -> resources_pb2.PinBlockSource:
    """Write a PIN block."""
    return resources_pb2.PinBlockSource(
        key=value.key,
        format=_format(value.format, value.pan),
        ciphertext=value.ciphertext,
        dukpt=_dukpt(value.dukpt),
    )


def target(value: Target) -> resources_pb2.PinTarget:
    """Write where a PIN goes."""
    if isinstance(value, ToPinBlock):
        return resources_pb2.PinTarget(pin_block=block_target(value))
    envelope = resources_pb2.EnvelopeTarget(profile=value.profile, pan=value.pan)
    return resources_pb2.PinTarget(envelope=envelope)


def block_target(value: ToPinBlock) -> resources_pb2.PinBlockTarget:
    """Write the PIN block to be made."""
    return resources_pb2.PinBlockTarget(
        key=value.key, format=_format(value.format, value.pan), dukpt=_dukpt(value.dukpt)
    )


def column(value: PinColumn) -> pb.PinBlockColumn:
    """Write the key and format of a column."""
    form = pb.ColumnFormat.Value(f"COLUMN_FORMAT_{value.format}")
    return pb.PinBlockColumn(key=value.key, format=form)


def scheme(value: Scheme) -> resources_pb2.VerificationScheme:
    """Write how a verification value is computed."""
    if isinstance(value, VisaPvvScheme):
        return resources_pb2.VerificationScheme(visa_pvv=_visa(value.name, value.key_index))
    return resources_pb2.VerificationScheme(ibm_3624=_ibm(value.name))


def verification_value(value: VerificationValue) -> resources_pb2.VerificationValue:
    """Write a PVV or an offset."""
    if isinstance(value, VisaPvv):
        visa = resources_pb2.VisaPvv(scheme=_visa(value.scheme, value.key_index), pvv=value.value)
        return resources_pb2.VerificationValue(visa_pvv=visa)
    return resources_pb2.VerificationValue(ibm_3624_offset=_offset(value))


def stored_block(value: StoredBlock) -> pb.ReferenceBlock:
    """Write a stored PIN block and the one to be stored in its place."""
    return pb.ReferenceBlock(current=block_source(value.current), target=block_target(value.to))


def generate_pin(
    *,
    pan: str,
    method: RandomPin | NaturalPin | Ibm3624Offset,
    to: Target,
    value_scheme: Scheme | None,
) -> pb.GeneratePinRequest:
    """Write how a PIN is to be generated, and where it goes."""
    request = pb.GeneratePinRequest(pan=pan, target=target(to))
    match method:
        case RandomPin():
            request.random.CopyFrom(pb.RandomPin(length=method.length))
        case NaturalPin():
            request.ibm_3624_natural.CopyFrom(_ibm(method.scheme))
        case Ibm3624Offset():
            request.ibm_3624_offset.CopyFrom(_offset(method))
    if value_scheme is not None:
        request.scheme.CopyFrom(scheme(value_scheme))
    return request


def _envelope(value: SealedPin) -> resources_pb2.EnvelopeSource:
    return resources_pb2.EnvelopeSource(
        profile=value.profile, ciphertext=value.ciphertext, pan=value.pan or ""
    )


def _format(name: Format, pan: str | None) -> resources_pb2.PinBlockFormat:
    """Write a format, and its PAN where it has a place for one."""
    message = resources_pb2.PinBlockFormat()
    chosen = getattr(message, _FIELDS[name])
    chosen.SetInParent()
    if "pan" in chosen.DESCRIPTOR.fields_by_name:
        chosen.pan = pan or ""
    return message


def _dukpt(value: Dukpt | None) -> resources_pb2.Dukpt | None:
    if value is None:
        return None
    return resources_pb2.Dukpt(
        key_serial_number=value.key_serial_number,
        working_key_algorithm=resources_pb2.KeyAlgorithm.Value(
            f"KEY_ALGORITHM_{value.working_key}"
        ),
    )


def _visa(name: str, key_index: int) -> resources_pb2.VisaPvvScheme:
    return resources_pb2.VisaPvvScheme(name=name, key_index=key_index)


def _ibm(name: str) -> resources_pb2.Ibm3624Scheme:
    return resources_pb2.Ibm3624Scheme(name=name)


def _offset(value: Ibm3624Offset) -> resources_pb2.Ibm3624Offset:
    return resources_pb2.Ibm3624Offset(scheme=_ibm(value.scheme), offset=value.value)
