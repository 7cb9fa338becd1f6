"""PostgreSQL's connections, on which nobody waits for ever.

A server ends what takes too long. One that hangs as a whole ends nothing, and TCP keeps the
connection to it alive.
"""

import select
from typing import Any, Self, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.errors import ConnectionTimeout
from psycopg.pq import TransactionStatus

T = TypeVar("T")

_INTERVAL_S = 0.1
_SLACK_S = 1.0
"""What the server gets beyond its own bound, so that it is the one to tell."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when an answer takes longer than `bound_s` seconds."""

    bound_s: float | None = None

    @classmethod
    def open(cls, *conninfo: str, wait_s: float, **told: Any) -> Self:
        """Connect to a server whose own bound is `wait_s` seconds."""
        connection = cls.connect(*conninfo, **told)
        connection.bound_s = wait_s + _SLACK_S
        return connection

    @property
    def is_ended(self) -> bool:
        """Whether the server has ended the connection: else it says nothing unasked.

        Nothing is sent to find out, so that no transaction begins with a round trip for it.
        """
        if self.closed:
            return True
        heard = select.poll()
        heard.register(self.fileno(), select.POLLIN)
        return bool(heard.poll(0))

    def wait(self, gen: PQGen[T], interval: float = _INTERVAL_S, timeout: float | None = None) -> T:
        """Wait for the server's answer, or close and raise ConnectionTimeout."""
        try:
            return super().wait(gen, interval, self.bound_s if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
        self.pgconn.finish()  # what it may still say is no answer to the next question
        raise ConnectionTimeout
