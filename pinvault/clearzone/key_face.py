"""Gives every failure to open a key one face, and lets no frame out that has held a key.

Rules:
- What leaves is made anew, after the old exception and its frames are gone. Of a fault of our own,
  kind and places leave as text.
- No time class is needed, as it is for PINs: nothing of a payload is looked at before its MAC has
  proved authentic, so that there is nothing to measure.
"""

from collections.abc import Callable
from typing import TypeVar

from hsm.errors import (
    CheckValueMismatch,
    HsmConfigurationError,
    HsmDataRefused,
    HsmTimeout,
    HsmUnavailable,
    KeyDuplicated,
)
from pinvault.clearzone.key_block import Refused
from pinvault.clearzone.one_face import HSM_RETRY_AFTER_S
from pinvault.model.errors import Reason, Refusal, Violation
from pinvault.model.faults import ClearedFault

T = TypeVar("T")

KEY_FIELD = "key"


def guarded(work: Callable[[], T], *, refused: Reason = Reason.KEY_BLOCK_REFUSED) -> T:
    """Do the work, or refuse; `refused` is the reason for what the HSM itself does not open."""
    outcome: Refusal | ClearedFault
    try:
        return work()
    except Refused as inside:
        outcome = Refusal(Reason.KEY_BLOCK_REFUSED, cause=inside.cause)
    except HsmDataRefused:
        outcome = Refusal(refused)
    except HsmTimeout:
        outcome = Refusal(Reason.DEADLINE_EXCEEDED)
    except HsmUnavailable:
        outcome = Refusal(Reason.HSM_UNAVAILABLE, retry_after_s=HSM_RETRY_AFTER_S)
    except CheckValueMismatch:
        outcome = Refusal(Reason.KEY_CHECK_VALUE_MISMATCH)
    except KeyDuplicated:
        outcome = Refusal(Reason.KEY_ALREADY_EXISTS)
    except HsmConfigurationError as error:
        # The ring or the token forbids it. The text has ids, words and remedies, and no value.
        outcome = Refusal(Reason.KEY_CHANGE_REFUSED, violations=(Violation(KEY_FIELD, str(error)),))
    except Refusal as inside:
        outcome = Refusal(
            inside.reason, field=inside.field, violations=inside.violations, cause=inside.cause
        )
    except Exception as fault:  # noqa: BLE001 - whatever it is, its frames may hold a key
        outcome = ClearedFault.of(fault)
    # Raised out here, so that the old exception and its frames do not hang on the new one.
    raise outcome
