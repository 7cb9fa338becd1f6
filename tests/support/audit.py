"""Finds records in the audit log of an environment."""

from pinvault.audit.record import Entry
from pinvault.audit.tail import newest
from pinvault.development.environment import Environment


def record_of(environment: Environment, call_id: str) -> Entry:
    """Give the record of a call; there is exactly one."""
    found = [
        tailed.entry
        for tailed in newest(environment.root / "audit", count=5000)
        if tailed.entry.call_id == call_id
    ]
    assert len(found) == 1, "a call has exactly one record"
    return found[0]
