"""Prometheus metrics of a worker, in files that all workers of the host share.

Rules:
- Labels come from closed sets only: method, code, reason, and keys of the key ring by name and
  version. Never a caller, PAN or text.
- `prometheus_client` decides at import where its values live, so the launcher sets
  PROMETHEUS_MULTIPROC_DIR before a worker starts.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What a worker counts; names follow the gRPC conventions of other languages."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._handled = Counter(
            "grpc_server_handled_total",
            "Calls of pinvault.v1, by outcome.",
            ("grpc_method", "grpc_code", "reason"),
            registry=registry,
        )
        self._seconds = Histogram(
            "grpc_server_handling_seconds",
            "Time from a call's arrival at the gate to its answer.",
            ("grpc_method",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._redactions = Counter(
            "pinvault_log_redactions_total",
            "Values that the log's redactor had to remove; anything above 0 is a defect.",
            registry=registry,
        )
        self._tls_refused = Counter(
            "pinvault_tls_handshakes_refused_total",
            "TLS handshakes refused: no certificate, or a foreign one.",
            registry=registry,
        )
        self._serving = Gauge(
            "pinvault_worker_serving",
            "1 while the worker's HSM and audit log are usable.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._sealed = Gauge(
            "pinvault_keys_sealed",
            "Keys that are sealed, since they are lost or not what they were; above 0, look.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._ring_refused = Gauge(
            "pinvault_keyring_refused",
            "1 while the key ring file is one that a worker refuses; it serves by the one before.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._days_left = Gauge(
            "pinvault_key_days_left",
            "Days to the last day of a key; below 0 it has passed.",
            ("key",),
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._blocks = Gauge(
            "pinvault_key_tdes_blocks",
            "PIN blocks that a TDES key has enciphered, on this host.",
            ("key",),
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.redacted: Callable[[], None] = self._redactions.inc
        self.tls_refused: Callable[[], None] = self._tls_refused.inc

    def handled(self, method: str, *, code: str, reason: str, seconds: float) -> None:
        """Count one answered call."""
        self._handled.labels(method, code, reason).inc()
        self._seconds.labels(method).observe(seconds)

    def keys_sealed(self, number: int) -> None:
        """Tell how many keys are sealed."""
        self._sealed.set(number)

    def serving(self, is_serving: bool) -> None:
        """Tell whether the worker serves."""
        self._serving.set(1 if is_serving else 0)

    def keyring_refused(self, is_refused: bool) -> None:
        """Tell whether the key ring file is one that the worker does not serve by."""
        self._ring_refused.set(1 if is_refused else 0)

    def key_life(self, key_id: str, *, days_left: float | None, blocks: int | None) -> None:
        """Tell how long a key has, NaN when it is gone, and how many blocks it enciphered."""
        if days_left is not None:
            self._days_left.labels(key_id).set(days_left)
        if blocks is not None:
            self._blocks.labels(key_id).set(blocks)


class StoreMetrics:
    """What a worker with a store tells besides."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._up = Gauge(
            "pinvault_store_up",
            "1 while the store answers every worker.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._pending = Gauge(
            "pinvault_outbox_pending",
            "Messages that wait to be sent.",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._dead = Gauge(
            "pinvault_outbox_dead",
            "Messages that were given up; above 0, look.",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._oldest = Gauge(
            "pinvault_outbox_oldest_seconds",
            "How long the oldest message that is due has been so.",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._blocked = Counter(
            "pinvault_pins_blocked_total",
            "Calls that used a PIN's last try.",
            registry=registry,
        )
        self.pin_blocked: Callable[[], None] = self._blocked.inc

    def up(self, is_up: bool) -> None:
        """Tell whether the store answers."""
        self._up.set(1 if is_up else 0)

    def outbox(self, *, pending: int, dead: int, oldest_s: float) -> None:
        """Tell how long the queue of the outbox is."""
        self._pending.set(pending)
        self._dead.set(dead)
        self._oldest.set(oldest_s)
