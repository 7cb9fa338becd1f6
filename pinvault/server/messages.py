"""Between the messages of pinvault.v1 and the value types of the core, in both directions.

Rules:
- What arrives here has passed the contract, so what is missing was allowed to be.
- A place of the contract that this server does not serve is refused, never ignored.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal

from google.protobuf.timestamp_pb2 import Timestamp

from pinvault.model import keys as model
from pinvault.model.dukpt import Dukpt
from pinvault.model.errors import Reason, Refusal
from pinvault.model.pan import Pan
from pinvault.model.pins import (
    CardSource,
    EnvelopeSource,
    EnvelopeTarget,
    Format,
    PinBlockSource,
    PinBlockTarget,
    PinSource,
    PinTarget,
)
from pinvault.model.references import SchemeRef, ValueRef
from pinvault.model.verification import PinOffset, Pvv
from pinvault.operations.import_key_cryptogram import Attributes
from pinvault.v1 import key_pb2, pin_block_pb2, resources_pb2

_WithEnd = (
    key_pb2.ImportKeyBlockRequest | key_pb2.ImportKeyCryptogramRequest | key_pb2.RotateKeyRequest
)
_End = Literal["valid_until", "previous_until"]

EPOCH: Final = date(1970, 1, 1)
ONE_DAY: Final = timedelta(days=1)
FORMATS: Final = {
    **{f"iso_format_{form.value[-1]}": form for form in Format if not form.is_legacy},
    **{f"legacy_{form.value.lower()}": form for form in Format if form.is_legacy},
}
COLUMN_FORMATS: Final[dict[int, Format]] = {
    pin_block_pb2.COLUMN_FORMAT_ISO_0: Format.ISO_0,
    pin_block_pb2.COLUMN_FORMAT_ISO_1: Format.ISO_1,
    pin_block_pb2.COLUMN_FORMAT_ISO_3: Format.ISO_3,
    pin_block_pb2.COLUMN_FORMAT_ISO_4: Format.ISO_4,
}
USAGES: Final = {
    model.Usage(name.split("_")[2]): value
    for name, value in key_pb2.KeyUsage.items()
    if value != key_pb2.KEY_USAGE_UNSPECIFIED
}
_USAGE_OF: Final[dict[int, model.Usage]] = {int(value): usage for usage, value in USAGES.items()}
ALGORITHMS: Final = {
    algorithm: resources_pb2.KeyAlgorithm.Value(f"KEY_ALGORITHM_{algorithm.value}")
    for algorithm in model.Algorithm
}
_ALGORITHM_OF: Final[dict[int, model.Algorithm]] = {
    int(value): algorithm for algorithm, value in ALGORITHMS.items()
}
MODES: Final = {
    model.Mode(name.split("_")[4]): value
    for name, value in key_pb2.KeyModeOfUse.items()
    if value != key_pb2.KEY_MODE_OF_USE_UNSPECIFIED
}
_MODE_OF: Final[dict[int, model.Mode]] = {int(value): mode for mode, value in MODES.items()}
KEY_BLOCK_VERSIONS: Final[dict[int, str]] = {
    key_pb2.KEY_BLOCK_VERSION_B: "B",
    key_pb2.KEY_BLOCK_VERSION_D: "D",
    key_pb2.KEY_BLOCK_VERSION_E: "E",
}
STATES: Final = {
    model.State.ACTIVE: key_pb2.KEY_STATE_ACTIVE,
    model.State.DECIPHER_ONLY: key_pb2.KEY_STATE_DECIPHER_ONLY,
    model.State.RETIRED: key_pb2.KEY_STATE_RETIRED,
}
ORIGINS: Final = {
    model.Origin.GENERATED: key_pb2.KEY_ORIGIN_GENERATED,
    model.Origin.IMPORTED: key_pb2.KEY_ORIGIN_IMPORTED,
}


def read_source(message: resources_pb2.PinSource, *, at: str) -> PinSource:
    """Read a PIN source; `at` is its field in the request."""
    match message.WhichOneof("source"):
        case "pin_block":
            return read_block_source(message.pin_block, at=f"{at}.pin_block")
        case "envelope":
            return EnvelopeSource(
                profile=message.envelope.profile,
                pan=Pan(message.envelope.pan) if message.envelope.pan else None,
                ciphertext=message.envelope.ciphertext,
            )
        case "card":
            return CardSource(message.card.card_id)
        case other:
            raise Refusal(Reason.NOT_SUPPORTED, field=f"{at}.{other}")


def read_block_source(message: resources_pb2.PinBlockSource, *, at: str) -> PinBlockSource:
    """Read a PIN block source."""
    block_format, pan = _read_format(message.format, at=f"{at}.format")
    return PinBlockSource(
        key=message.key,
        format=block_format,
        pan=pan,
        ciphertext=message.ciphertext,
        dukpt=_read_dukpt(message.dukpt) if message.HasField("dukpt") else None,
    )


def read_target(message: resources_pb2.PinTarget, *, at: str) -> PinTarget:
    """Read a PIN target; `at` is its field in the request."""
    if message.WhichOneof("target") == "envelope":
        return EnvelopeTarget(profile=message.envelope.profile, pan=Pan(message.envelope.pan))
    return read_block_target(message.pin_block, at=f"{at}.pin_block")


def read_block_target(message: resources_pb2.PinBlockTarget, *, at: str) -> PinBlockTarget:
    """Read a PIN block target."""
    block_format, pan = _read_format(message.format, at=f"{at}.format")
    return PinBlockTarget(
        key=message.key,
        format=block_format,
        pan=pan,
        dukpt=_read_dukpt(message.dukpt) if message.HasField("dukpt") else None,
    )


def _read_format(message: resources_pb2.PinBlockFormat, *, at: str) -> tuple[Format, Pan | None]:
    name = message.WhichOneof("format")
    known = FORMATS.get(name or "")
    if name is None or known is None:
        raise Refusal(Reason.NOT_SUPPORTED, field=f"{at}.{name}")
    return known, Pan(getattr(message, name).pan) if known.carries_pan else None


def _read_dukpt(message: resources_pb2.Dukpt) -> Dukpt:
    return Dukpt(
        ksn=message.key_serial_number,
        working_key=_ALGORITHM_OF[message.working_key_algorithm],
    )


def read_scheme(message: resources_pb2.VerificationScheme) -> SchemeRef:
    """Read a verification scheme."""
    if message.WhichOneof("scheme") == "visa_pvv":
        return _read_visa(message.visa_pvv)
    return SchemeRef(name=message.ibm_3624.name)


def read_value(message: resources_pb2.VerificationValue) -> ValueRef:
    """Read a verification value."""
    if message.WhichOneof("value") == "visa_pvv":
        return ValueRef(scheme=_read_visa(message.visa_pvv.scheme), digits=message.visa_pvv.pvv)
    return read_offset(message.ibm_3624_offset)


def read_offset(message: resources_pb2.Ibm3624Offset) -> ValueRef:
    """Read an IBM 3624 offset."""
    return ValueRef(scheme=SchemeRef(name=message.scheme.name), digits=message.offset)


def _read_visa(message: resources_pb2.VisaPvvScheme) -> SchemeRef:
    return SchemeRef(name=message.name, key_index=message.key_index)


def write_value(value: Pvv | PinOffset, *, scheme: str) -> resources_pb2.VerificationValue:
    """Give a verification value under the scheme of this name."""
    if isinstance(value, Pvv):
        visa = resources_pb2.VisaPvvScheme(name=scheme, key_index=value.key_index)
        return resources_pb2.VerificationValue(
            visa_pvv=resources_pb2.VisaPvv(scheme=visa, pvv=value.value)
        )
    ibm = resources_pb2.Ibm3624Scheme(name=scheme)
    return resources_pb2.VerificationValue(
        ibm_3624_offset=resources_pb2.Ibm3624Offset(scheme=ibm, offset=value.value)
    )


def write_result(*, matches: bool) -> resources_pb2.PinVerification.ValueType:
    """Say whether a PIN is the right one."""
    if matches:
        return resources_pb2.PIN_VERIFICATION_MATCH
    return resources_pb2.PIN_VERIFICATION_MISMATCH


def read_usage(value: int) -> model.Usage | None:
    """Read a key usage; unspecified is None."""
    return _USAGE_OF.get(value)


def read_attributes(message: key_pb2.ImportKeyCryptogramRequest) -> Attributes:
    """Read what a key is said to be."""
    return Attributes(
        usage=_USAGE_OF[message.usage],
        algorithm=_ALGORITHM_OF[message.algorithm],
        mode=_MODE_OF[message.mode_of_use],
    )


def read_last_day(message: _WithEnd, field: _End) -> date | None:
    """Read the last day of a cryptoperiod from the midnight that ends it, where one is given."""
    if not message.HasField(field):
        return None
    midnight: Timestamp = getattr(message, field)
    return EPOCH + timedelta(seconds=midnight.seconds) - ONE_DAY


def write_key_use(key: model.Key) -> resources_pb2.KeyUse:
    """Name the key that was used."""
    return resources_pb2.KeyUse(name=key.name, version=key.version, check_value=key.check_value)


def write_key_uses(keys: Iterable[model.Key]) -> list[resources_pb2.KeyUse]:
    """Name the keys that were used, in their order."""
    return [write_key_use(key) for key in keys]


def write_key(key: model.Key) -> key_pb2.Key:
    """Tell of a key version."""
    return key_pb2.Key(
        name=key.name,
        version=key.version,
        usage=USAGES[key.usage],
        algorithm=ALGORITHMS[key.algorithm],
        mode_of_use=MODES[key.mode],
        check_value=key.check_value,
        state=STATES[key.state],
        origin=ORIGINS[key.origin],
        valid_from=_midnight(key.valid_from),
        valid_until=_midnight(key.valid_until + ONE_DAY) if key.valid_until is not None else None,
    )


def _midnight(day: date) -> Timestamp:
    moment = Timestamp()
    moment.FromDatetime(datetime.combine(day, time(), tzinfo=UTC))
    return moment
