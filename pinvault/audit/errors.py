"""The errors of the audit log: what is wrong, and what an operator can do about it.

The text of an error is constant; what it is about stands in its fields.
"""

from pathlib import Path


class AuditError(Exception):
    """The audit log cannot be used as asked; `remedy` says what would help."""

    def __init__(
        self,
        problem: str,
        *,
        remedy: str,
        path: Path | None = None,
        errno: int | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.path = path
        self.errno = errno
        self.detail = detail


class AuditUnavailable(AuditError):
    """A record could not be made durable: whoever asked must not answer their caller."""


class RecordRefused(AuditError):
    """A record does not fit the schema; `detail` names the member, never its value."""
