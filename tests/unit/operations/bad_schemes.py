"""Verification schemes that a call may not name, with what it is told."""

from pinvault.model.errors import Reason
from pinvault.model.references import SchemeRef
from tests.unit.operations.support import ibm, visa

NO_SCHEME: dict[str, tuple[SchemeRef, Reason]] = {
    "unknown PVV scheme": (visa(name="visa-x"), Reason.SCHEME_UNKNOWN),
    "unknown offset scheme": (ibm("ibm-x"), Reason.SCHEME_UNKNOWN),
    "PVV scheme of the other kind": (visa(name="ibm"), Reason.SCHEME_MISMATCH),
    "offset scheme of the other kind": (ibm("visa"), Reason.SCHEME_MISMATCH),
    "index without a key": (visa(6), Reason.SCHEME_UNKNOWN),
    "PVV under a key of offsets": (visa(4), Reason.KEY_USAGE_MISMATCH),
    "offset under a key of PVVs": (ibm("ibm-under-pvk"), Reason.KEY_USAGE_MISMATCH),
    "retired key": (visa(5), Reason.KEY_UNKNOWN),
}
"""For every use."""
MAKES_NOTHING: dict[str, tuple[SchemeRef, Reason]] = {
    "PVV key that only verifies": (visa(1), Reason.KEY_USAGE_MISMATCH),
    "offset key that only verifies": (ibm("ibm-verify"), Reason.KEY_USAGE_MISMATCH),
    "key past its cryptoperiod": (visa(3), Reason.KEY_STATE),
}
"""For what makes a value."""
VERIFIES_NOTHING: dict[str, tuple[SchemeRef, Reason]] = {
    "PVV key that only generates": (visa(2), Reason.KEY_USAGE_MISMATCH),
}
"""For what compares with a value."""
