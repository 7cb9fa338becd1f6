"""Between the messages of pinvault.v1 and the value types of the core, in both directions.

Rules:
- What arrives here has passed the contract, so what is missing was allowed to be.
- A place of the contract that this server does not serve is refused, never ignored.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from pinvault.model import keys as model
from pinvault.model.errors import Reason, Refusal
from pinvault.model.pan import Pan
from pinvault.model.pins import (
    EnvelopeSource,
    EnvelopeTarget,
    Format,
    PinBlockSource,
    PinBlockTarget,
    PinSource,
    PinTarget,
)
from pinvault.v1 import key_pb2, resources_pb2

ONE_DAY: Final = timedelta(days=1)
FORMATS: Final = {
    "iso_format_0": Format.ISO_0,
    "iso_format_1": Format.ISO_1,
    "iso_format_3": Format.ISO_3,
    "iso_format_4": Format.ISO_4,
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
MODES: Final = {
    model.Mode(name.split("_")[4]): value
    for name, value in key_pb2.KeyModeOfUse.items()
    if value != key_pb2.KEY_MODE_OF_USE_UNSPECIFIED
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
            block = message.pin_block
            if block.HasField("dukpt"):
                raise Refusal(Reason.NOT_SUPPORTED, field=f"{at}.pin_block.dukpt")
            block_format, pan = _read_format(block.format, at=f"{at}.pin_block.format")
            return PinBlockSource(
                key=block.key, format=block_format, pan=pan, ciphertext=block.ciphertext
            )
        case "envelope":
            return EnvelopeSource(
                profile=message.envelope.profile,
                pan=Pan(message.envelope.pan) if message.envelope.pan else None,
                ciphertext=message.envelope.ciphertext,
            )
        case other:
            raise Refusal(Reason.NOT_SUPPORTED, field=f"{at}.{other}")


def read_target(message: resources_pb2.PinTarget, *, at: str) -> PinTarget:
    """Read a PIN target; `at` is its field in the request."""
    if message.WhichOneof("target") == "envelope":
        return EnvelopeTarget(profile=message.envelope.profile, pan=Pan(message.envelope.pan))
    block = message.pin_block
    if block.HasField("dukpt"):
        raise Refusal(Reason.NOT_SUPPORTED, field=f"{at}.pin_block.dukpt")
    block_format, pan = _read_format(block.format, at=f"{at}.pin_block.format")
    return PinBlockTarget(key=block.key, format=block_format, pan=pan)


def _read_format(message: resources_pb2.PinBlockFormat, *, at: str) -> tuple[Format, Pan | None]:
    name = message.WhichOneof("format")
    known = FORMATS.get(name or "")
    if name is None or known is None:
        raise Refusal(Reason.NOT_SUPPORTED, field=f"{at}.{name}")
    return known, Pan(getattr(message, name).pan) if known.carries_pan else None


def read_usage(value: int) -> model.Usage | None:
    """Read a key usage; unspecified is None."""
    return _USAGE_OF.get(value)


def write_key_use(key: model.Key) -> resources_pb2.KeyUse:
    """Name the key that was used."""
    return resources_pb2.KeyUse(name=key.name, version=key.version, check_value=key.check_value)


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
