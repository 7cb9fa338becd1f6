"""What the edge counts. Labels come from closed sets: names of the configuration, routes, codes."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """The metrics of one process, in a registry of their own."""

    CONTENT_TYPE = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "pinvault_edge_requests_total",
            "Requests that were answered.",
            ("dialect", "route", "status"),
            registry=self._registry,
        )
        self._refusals = Counter(
            "pinvault_edge_refusals_total",
            "Requests that were refused, by reason.",
            ("dialect", "reason"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "pinvault_edge_request_seconds",
            "Time from a request's head to its answer.",
            ("dialect", "route"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.under_way = Gauge(
            "pinvault_edge_requests_under_way",
            "Requests that are being answered.",
            registry=self._registry,
        )

    def answered(
        self, *, dialect: str, route: str, status: int, reason: str, seconds: float
    ) -> None:
        """Count an answer; `reason` is "" when nothing was refused."""
        self._requests.labels(dialect, route, status).inc()
        self._seconds.labels(dialect, route).observe(seconds)
        if reason:
            self._refusals.labels(dialect, reason).inc()

    def text(self) -> bytes:
        """Give all in Prometheus' text format."""
        return generate_latest(self._registry)
