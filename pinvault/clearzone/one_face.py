"""Gives every decipher failure one face: one reason, one text, no details, one time class.

Rules:
- Wrong key, bad padding, bad format, bad digits and wrong PAN all become
  `PIN_SOURCE_REFUSED`, with nothing added and nothing chained to it.
- The refusal leaves at the next whole multiple of a quantum after the work began. A
  quantum is much longer than the work, so all refusals take equally long, whatever
  was found wrong and however far the work had come.
- No exception that has passed a frame with a PIN in it leaves the clear zone: what
  leaves is made anew, after the old one is gone. Of a fault of our own, kind and places
  leave as text.
"""

import math
import time
from collections.abc import Callable
from typing import TypeVar

from hsm.errors import HsmDataRefused, HsmTimeout, HsmUnavailable
from pinvault.clearzone.pin import Malformed
from pinvault.model.call import Deadline
from pinvault.model.errors import Reason, Refusal
from pinvault.model.faults import ClearedFault

HSM_RETRY_AFTER_S = 0.5

T = TypeVar("T")


def one_face(work: Callable[[], T], *, quantum_s: float, deadline: Deadline) -> T:
    """Do the work, or refuse without a trace of what was wrong inside."""
    began = time.monotonic()
    outcome: Refusal | ClearedFault
    try:
        return work()
    except Malformed as malformed:
        outcome = Refusal(Reason.PIN_SOURCE_REFUSED, cause=malformed.cause)
    except HsmDataRefused:
        outcome = Refusal(Reason.PIN_SOURCE_REFUSED)
    except HsmTimeout:
        outcome = Refusal(Reason.DEADLINE_EXCEEDED)
    except HsmUnavailable:
        outcome = Refusal(Reason.HSM_UNAVAILABLE, retry_after_s=HSM_RETRY_AFTER_S)
    except Refusal as inside:
        outcome = Refusal(inside.reason, cause=inside.cause, retry_after_s=inside.retry_after_s)
    except Exception as fault:  # noqa: BLE001 - whatever it is, its frames may hold a PIN
        outcome = ClearedFault.of(fault)
    # Raised out here, so that the old exception and its frames do not hang on the new one.
    if isinstance(outcome, Refusal) and outcome.reason is Reason.PIN_SOURCE_REFUSED:
        _wait_for_the_quantum(began, quantum_s, deadline)
    raise outcome


def _wait_for_the_quantum(began: float, quantum_s: float, deadline: Deadline) -> None:
    elapsed = time.monotonic() - began
    leave_at = began + math.ceil(elapsed / quantum_s) * quantum_s
    time.sleep(max(0.0, min(leave_at, deadline.at) - time.monotonic()))
