"""The edge's log: JSON lines of constant texts and closed facts.

Rules:
- Nothing from outside is logged: no body, header value, query, path (only the route that it
  matched) or address; no text of an exception, only its type and its places.
- Whatever other libraries log is told by logger, level and place, without its text.
"""

import logging
import sys
import traceback
from typing import Any, TextIO

import structlog

Fact = str | int | float | bool | None | tuple[str, ...]


class Log:
    """The log as the edge writes it."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def bound(self, **facts: Fact) -> "Log":
        """Give a log whose lines all have these facts."""
        return Log(self._logger.bind(**facts))

    def info(self, event: str, **facts: Fact) -> None:
        """Tell of something that went as it should."""
        self._logger.info(event, **facts)

    def warning(self, event: str, **facts: Fact) -> None:
        """Tell of something that an operator should look at."""
        self._logger.warning(event, **facts)

    def fault(self, event: str, error: BaseException, **facts: Fact) -> None:
        """Tell of an exception by its type and places."""
        self._logger.error(event, error=type(error).__qualname__, frames=places(error), **facts)


def places(error: BaseException) -> tuple[str, ...]:
    """Give `module.py:line function` of each frame, outermost first."""
    return tuple(
        f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    )


def make_log(stream: TextIO | None = None, **bound: Fact) -> Log:
    """Build the log on a stream (standard error), and lead all other logging into it."""
    logger = structlog.wrap_logger(
        structlog.WriteLogger(stream if stream is not None else sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.EventRenamer("event"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    ).bind(**bound)
    log = Log(logger)
    logging.basicConfig(handlers=[_Bridge(log)], level=logging.WARNING, force=True)
    return log


class _Bridge(logging.Handler):
    """Takes what other libraries log; their text may hold anything."""

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
