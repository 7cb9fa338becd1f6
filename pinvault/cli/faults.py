"""Says what is wrong, where, and what to do, of every error that can be foreseen."""

from typing import Final

from hsm.errors import HsmError, InspectionFailed
from pinvault.audit.errors import AuditError
from pinvault.bootstrap import StartRefused
from pinvault.ceremony.plan import PlanError
from pinvault.client import NotRevealed, PinvaultError, SealingKeyChanged
from pinvault.config import ConfigError
from pinvault.edge.files import EdgeError
from pinvault.model.errors import Refusal
from pinvault.policy.host_file import TableError
from pinvault.store.errors import StoreError

FORESEEN = (
    *(ConfigError, PlanError, HsmError, AuditError, TableError, StoreError, StartRefused),
    *(PinvaultError, SealingKeyChanged, NotRevealed, EdgeError),
)

UNREACHED: Final = (
    "see that the server is there, and that the certificates of both sides are in order"
)
"""What to do where there was no answer of pinvault's."""


def told(error: Exception) -> str | None:
    """Say it in the error's own words; None for an error that nobody foresaw."""
    if isinstance(error, InspectionFailed):
        found = (f"  {finding.summary}: {finding.remedy}" for finding in error.findings)
        return "\n".join([error.text, *found])
    if isinstance(error, Refusal):
        return _refusal(error)
    if isinstance(error, OSError):
        return _system(error)
    return _own(error) if isinstance(error, FORESEEN) else None


def _refusal(error: Refusal) -> str:
    """Say the reason, what to do, and what stood behind it, which a caller would not be told."""
    text = str(error).partition(" See BadRequest ")[0]  # which is told here, line by line
    broken = (f"  {rule.field}: {rule.description}" for rule in error.violations)
    field = f"{error.field}: " if error.field else ""
    behind = told(error.__cause__) if isinstance(error.__cause__, Exception) else None
    lines = [f"{error.reason.value}: {field}{text}", *broken]
    return "\n".join([*lines, f"  {behind}"] if behind else lines)


def _system(error: OSError) -> str:
    if error.filename:
        return f"{error.filename}: {error.strerror}: correct the path, its kind or its mode"
    return f"{error.strerror or 'the operating system refused'}: see that ports and paths are free"


def _own(error: Exception) -> str:
    path, remedy = getattr(error, "path", None), getattr(error, "remedy", "")
    text = str(error)
    if isinstance(error, StoreError) and error.code:
        text = f"{text} ({error.code})"  # what a report needs; nothing else of the driver's is kept
    if isinstance(error, PinvaultError) and not error.reason and error.code.name == "UNAVAILABLE":
        remedy = UNREACHED
    where = f"{path}: " if path is not None and str(path) not in text else ""
    return where + text + (f": {remedy}" if remedy and remedy not in text else "")
