"""TLS handshakes that gRPC refuses by itself: counted, and recorded as far as the disk allows."""

import time
from collections import deque
from typing import Final

from pinvault.audit.log import AuditLog
from pinvault.audit.record import AuditRecord, rfc3339
from pinvault.bootstrap.inputs import utc_now
from pinvault.server import core_log
from pinvault.server.logs import Log
from pinvault.server.metrics import Metrics

RECORD_TIMEOUT_S: Final = 1.0
RECORDS_A_SECOND: Final = 10


def watch_handshakes(audit: AuditLog, metrics: Metrics, log: Log, keep: int) -> core_log.Watch:
    """Listen to what gRPC writes to standard error; what else stands there goes to `keep`."""
    recorded: deque[float] = deque(maxlen=RECORDS_A_SECOND)

    def refused(cause: str) -> None:
        """Count each; record a few a second, since a stranger could else fill the disk."""
        metrics.tls_refused()
        now = time.monotonic()
        if len(recorded) == recorded.maxlen and now - recorded[0] < 1:
            return
        recorded.append(now)
        audit.append(
            AuditRecord(event="tls-refused", time=rfc3339(utc_now()), cause=cause),
            RECORD_TIMEOUT_S,
        )

    def other(severity: str, source: str) -> None:
        log.warning("grpc core", severity=severity, source=source)

    return core_log.watch(refused=refused, other=other, keep=keep)
