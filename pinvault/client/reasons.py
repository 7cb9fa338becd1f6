"""The names of all reasons for which a server refuses, as `PinvaultError.reason` gives them."""

from typing import Final

from pinvault.v1.error_reason_pb2 import ErrorReason

_PREFIX = "ERROR_REASON_"
REASONS: Final = frozenset(
    name.removeprefix(_PREFIX) for name, number in ErrorReason.items() if number
)
