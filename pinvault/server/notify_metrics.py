"""Prometheus metrics of a process that notifies.

Rules:
- Labels come from closed sets only: endpoints of the configuration, and how an attempt ended.
- The queue is the store's: every sender on it tells the same of it.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class NotifyMetrics:
    """What a sender counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._attempts = Counter(
            "pinvault_webhook_attempts_total",
            "Attempts to deliver a message, by what became of it.",
            ("endpoint", "state"),
            registry=registry,
        )
        self._unsettled = Counter(
            "pinvault_webhook_unsettled_total",
            "Attempts whose end could not be written; the message is sent again.",
            registry=registry,
        )
        self._store = Gauge(
            "pinvault_webhook_store_up", "1 while the outbox can be asked.", registry=registry
        )
        self._queue = Gauge(
            "pinvault_webhook_messages",
            "Messages of the outbox, by state; those that are due wait for a sender.",
            ("state",),
            registry=registry,
        )
        self._oldest = Gauge(
            "pinvault_webhook_oldest_due_seconds",
            "How long the oldest message that is due has been so.",
            registry=registry,
        )
        self._redactions = Counter(
            "pinvault_log_redactions_total",
            "Values that the log's redactor had to remove; anything above 0 is a defect.",
            registry=registry,
        )
        self.redacted: Callable[[], None] = self._redactions.inc
        self.unsettled: Callable[[], None] = self._unsettled.inc

    def attempted(self, endpoint: str, state: str) -> None:
        """Count an attempt that ended."""
        self._attempts.labels(endpoint, state).inc()

    def store(self, is_up: bool) -> None:
        """Tell whether the outbox can be asked."""
        self._store.set(1 if is_up else 0)

    def queue(self, *, pending: int, due: int, dead: int, oldest_due_s: float) -> None:
        """Tell how long the queue is."""
        for state, count in (("pending", pending), ("due", due), ("dead", dead)):
            self._queue.labels(state).set(count)
        self._oldest.set(oldest_due_s)
