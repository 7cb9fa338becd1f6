"""Messages of pinvault.v1 as the caller's values."""

from collections.abc import Iterable

from pinvault.client.answers import KeyUse
from pinvault.client.values import Ibm3624Offset, VerificationValue, VisaPvv
from pinvault.v1 import card_pin_pb2, key_pb2, pin_block_pb2, resources_pb2

_WithValue = (
    pin_block_pb2.ChangeVerificationValueResponse
    | pin_block_pb2.GeneratePinResponse
    | card_pin_pb2.ReissuePinResponse
)
_WithResult = pin_block_pb2.EncryptPinResponse | pin_block_pb2.GeneratePinResponse


def key_use(message: resources_pb2.KeyUse | key_pb2.Key) -> KeyUse:
    """Read a key that took part."""
    return KeyUse(name=message.name, version=message.version, check_value=message.check_value)


def key_uses(messages: Iterable[resources_pb2.KeyUse]) -> tuple[KeyUse, ...]:
    """Read the keys that took part, in their order."""
    return tuple(map(key_use, messages))


def verification_value(message: resources_pb2.VerificationValue) -> VerificationValue:
    """Read a PVV or an offset."""
    if message.WhichOneof("value") == "visa_pvv":
        visa = message.visa_pvv
        return VisaPvv(scheme=visa.scheme.name, key_index=visa.scheme.key_index, value=visa.pvv)
    offset = message.ibm_3624_offset
    return Ibm3624Offset(scheme=offset.scheme.name, value=offset.offset)


def optional_value(reply: _WithValue) -> VerificationValue | None:
    """Read the PVV or offset of an answer that has one."""
    if not reply.HasField("verification_value"):
        return None
    return verification_value(reply.verification_value)


def block_and_envelope(reply: _WithResult) -> tuple[bytes | None, str | None]:
    """Read the PIN block or the envelope of an answer; the other one is None."""
    if reply.WhichOneof("result") == "pin_block":
        return reply.pin_block, None
    return None, reply.envelope


def matches(result: resources_pb2.PinVerification.ValueType) -> bool:
    """Read whether it is the PIN; anything but a clear yes is no."""
    return result == resources_pb2.PIN_VERIFICATION_MATCH
