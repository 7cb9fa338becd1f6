"""The audit trail: one record a call, chained, signed now and then, durable before the reply.

`AuditLog` writes, `verify` finds what was changed afterwards, `newest` and `follow` show it.
"""

from pinvault.audit.errors import AuditError, AuditUnavailable, RecordRefused
from pinvault.audit.log import AuditLog, Position
from pinvault.audit.record import AuditRecord, Entry, KeyUse, rfc3339
from pinvault.audit.tail import Tailed, follow, newest
from pinvault.audit.verify import Fault, Report, WorkerReport, verify

__all__ = [
    "AuditError",
    "AuditLog",
    "AuditRecord",
    "AuditUnavailable",
    "Entry",
    "Fault",
    "KeyUse",
    "Position",
    "RecordRefused",
    "Report",
    "Tailed",
    "WorkerReport",
    "follow",
    "newest",
    "rfc3339",
    "verify",
]
