"""The errors of the store, and what a driver's error means.

Rules:
- The text of an error is constant. A driver's text holds values, statements or the address of the
  database, so nothing of it is kept but its code. Python hangs the error that is being handled on
  every new one, so the driver's is emptied too.
- An error can be told from process to process: all but its first argument has a default.
- Whoever meets `StoreUnavailable` without `in_doubt` knows that nothing of the transaction stayed.
"""

from typing import Final

from sqlalchemy.exc import (
    DataError,
    IntegrityError,
    ProgrammingError,
    SQLAlchemyError,
    StatementError,
)

_NOT_NOW: Final = frozenset(
    {
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "55P03",  # lock_not_available: lock_timeout passed
    }
)
_OURS: Final = (IntegrityError, DataError, ProgrammingError)


class StoreError(Exception):
    """The store cannot do what was asked; `remedy` says what would help.

    `code` is an SQLSTATE, SQLite's name of the error, or the name of the driver's exception.
    """

    def __init__(self, problem: str, *, remedy: str = "", code: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.code = code


class StoreMisconfigured(StoreError):
    """The store's address or file is none that may be used."""


class SchemaMismatch(StoreError):
    """The database's tables are older or newer than this release."""


class StoreUnavailable(StoreError):
    """The database is away or too slow.

    With `in_doubt`, it went away while it was told to commit: the transaction may be there.
    """

    def __init__(
        self, problem: str, *, remedy: str = "", code: str = "", in_doubt: bool = False
    ) -> None:
        super().__init__(problem, remedy=remedy, code=code)
        self.in_doubt = in_doubt


class StoreBusy(StoreUnavailable):
    """Other transactions were in the way. Nothing of this one stayed; it may be tried again."""


class StoreRefused(StoreError):
    """A statement broke a rule of the schema: a fault of ours, and nothing of it stayed."""


def told(error: SQLAlchemyError, *, committing: bool) -> StoreError:
    """Give what may be told of a driver's error, and empty it."""
    origin = getattr(error, "orig", None) or error
    code = (
        getattr(origin, "sqlstate", None)
        or getattr(origin, "sqlite_errorname", None)
        or type(origin).__name__
    )
    _empty(error)
    if code in _NOT_NOW or code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreBusy("the store is busy", remedy="try again", code=code)
    if code == "SQLITE_ERROR" or isinstance(error, _OURS) or type(error) is StatementError:
        return StoreRefused(
            "the store refused a statement",
            remedy="run 'pinvault store upgrade'; if that does not help, report the code",
            code=code,
        )
    return StoreUnavailable(
        "the store is away or too slow",
        remedy="see that the database runs, is reachable and has room; servers go on by themselves",
        code=code,
        in_doubt=committing,
    )


def _empty(error: SQLAlchemyError) -> None:
    error.args, error.__cause__, error.__context__ = (), None, None
    if isinstance(error, StatementError):
        error.orig = error.statement = error.params = None
