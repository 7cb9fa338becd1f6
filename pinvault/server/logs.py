"""Structured logs as JSON lines, through a redactor that counts what it had to remove.

Rules:
- A log event is a constant text with named facts; the redactor is the last resort, and
  every removal is counted (`pinvault_log_redactions_total`): a count is a defect.
- Exceptions are logged as their type and frames: no text, no values, no chain.
- Whatever other libraries log goes the same way.
"""

import logging
import re
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Final, TextIO

import structlog
from google.protobuf.message import Message

from pinvault.model.faults import ClearedFault

REMOVED: Final = "<removed>"
SECRET_NAMES: Final = frozenset(
    {"pin", "pins", "oldpin", "newpin", "pinfield", "oldpinfield", "pan", "pans", "block"}
    | {"pinblock", "ciphertext", "envelope", "cvv", "cvv2", "component", "password"}
    | {"passphrase", "secret", "token"}
)
# A PAN, a longer run of digits, a PIN block or longer ciphertext in hex, a compact JWE.
_SECRET_TEXT = re.compile(
    r"(?<![0-9A-Za-z.-])[0-9]{12,}(?![0-9A-Za-z-])"
    r"|(?<![0-9A-Za-z-])(?=[0-9A-Fa-f]*[0-9])[0-9A-Fa-f]{16}(?:[0-9A-Fa-f]{16})*(?![0-9A-Za-z-])"
    r"|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\."
)

Event = MutableMapping[str, Any]


class Redactor:
    """Takes out what must not be in a log, and tells `count` how often it had to."""

    def __init__(self, count: Callable[[], None]) -> None:
        self._count = count

    def __call__(self, _logger: object, _method: str, event: Event) -> Event:
        """Clean one structlog event."""
        for name, value in event.items():
            event[name] = self._clean(name, value)
        return event

    def _clean(self, name: str, value: Any) -> Any:
        if name.lower().replace("_", "") in SECRET_NAMES or isinstance(value, Message):
            return self._removed()
        if isinstance(value, bytes | bytearray | memoryview):
            return self._removed()
        if isinstance(value, dict):
            return {str(key): self._clean(str(key), inner) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean(name, inner) for inner in value]
        if isinstance(value, bool | float) or value is None:
            return value
        text = str(value)
        if _SECRET_TEXT.search(text):
            return self._removed()
        return value if isinstance(value, int) else text

    def _removed(self) -> str:
        self._count()
        return REMOVED


class Log:
    """The log as the server writes it."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def info(self, event: str, **facts: object) -> None:
        """Tell of something that went as it should."""
        self._logger.info(event, **facts)

    def warning(self, event: str, **facts: object) -> None:
        """Tell of something that an operator should look at."""
        self._logger.warning(event, **facts)

    def fault(self, event: str, error: BaseException, **facts: object) -> None:
        """Tell of an exception by its type and frames."""
        told = error if isinstance(error, ClearedFault) else ClearedFault.of(error)
        self._logger.error(event, error=told.kind, frames=told.frames, **facts)


def make_log(*, count: Callable[[], None], stream: TextIO | None = None, **bound: object) -> Log:
    """Build the log on a stream (standard error), and lead all other logging into it."""
    out = stream if stream is not None else sys.stderr
    logger = structlog.wrap_logger(
        structlog.WriteLogger(out),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            Redactor(count),
            structlog.processors.EventRenamer("event"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    ).bind(**bound)
    log = Log(logger)
    logging.basicConfig(handlers=[_Bridge(log)], level=logging.WARNING, force=True)
    return log


class _Bridge(logging.Handler):
    """Takes what other libraries log: logger, level and frames; their text may hold anything."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        facts = {"logger": record.name, "at": f"{record.module}:{record.lineno}"}
        if error is not None:
            self._log.fault("library log", error, **facts)
        else:
            self._log.warning("library log", level_name=record.levelname, **facts)
