"""Builds the process that notifies: from a configuration to a sender that can be run.

Rules:
- It has the store and the secrets of webhooks, and no business with keys, PINs or the HSM.
- Any number of them may run on one store.
- Its log names messages, endpoints and causes; never a body, a URL or what a receiver said.
"""

import asyncio
import random
import signal
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from pinvault.bootstrap.protection import require_protection
from pinvault.config import ConfigError, Loaded, split_address
from pinvault.notify.delivery import Courier, Outcome
from pinvault.notify.signing import BadSecret
from pinvault.operations.deliver import SECOND, Deliveries
from pinvault.server import admin
from pinvault.server.hardening import harden
from pinvault.server.logs import Log, make_log
from pinvault.server.notify_metrics import NotifyMetrics
from pinvault.store import Store, StoreError, outbox
from pinvault.store.outbox import StoredMessage

QUEUE_EVERY_S = 15.0
UNKNOWN = "unknown"


def open_store(loaded: Loaded) -> Store:
    """Open the configuration's store, or say that there is none."""
    if loaded.config.store is None:
        text = "there is no store: name one, such as sqlite:////var/lib/pinvault/store.db"
        raise ConfigError(loaded.path, "store.address", text)
    return Store.open(loaded.config.store.address)


def couriers(loaded: Loaded) -> dict[str, Courier]:
    """Read what every endpoint needs to be sent to, or say which file is wrong."""
    made = {}
    for name, endpoint in loaded.webhooks().items():
        try:
            made[name] = Courier.of(endpoint, now=time.time)
        except BadSecret as error:
            text = f"{error.path}: {error}: {error.remedy}"
            option = f"webhooks.{name}.{endpoint.secrets_at}"
            raise ConfigError(loaded.path, option, text) from None
        except (OSError, ssl.SSLError):
            text = f"{endpoint.ca_file} is no readable PEM file of a CA: correct the path or file"
            raise ConfigError(loaded.path, f"webhooks.{name}.ca_file", text) from None
    return made


class Told:
    """Writes what happens into log and metrics."""

    def __init__(self, log: Log, metrics: NotifyMetrics, endpoints: frozenset[str]) -> None:
        self._log = log
        self._metrics = metrics
        self._endpoints = endpoints
        self.ready = False
        self._was_away = False

    def polled(self, fault: StoreError | None) -> None:
        """Note whether the outbox can be asked; tell when that changes."""
        self.ready = fault is None
        self._metrics.store(self.ready)
        if fault is not None and not self._was_away:
            self._log.warning("store away", why=fault.problem, remedy=fault.remedy, code=fault.code)
        if fault is None and self._was_away:
            self._log.info("store is back")
        self._was_away = fault is not None

    def settled(self, message: StoredMessage, outcome: Outcome, state: str) -> None:
        """Count every attempt; tell of those that delivered nothing."""
        known = message.endpoint if message.endpoint in self._endpoints else UNKNOWN
        self._metrics.attempted(known, state)
        if state != "delivered":
            self._log.warning(
                "message dead" if state == "dead" else "message not delivered",
                **_facts(message),
                cause=outcome.cause,
                state=state,
            )

    def unsettled(self, message: StoredMessage, fault: StoreError) -> None:
        """Tell that a message will be sent again."""
        self._metrics.unsettled()
        self._log.warning("message not settled", **_facts(message), code=fault.code)

    def broken(self, message: StoredMessage, fault: Exception) -> None:
        """Tell of a fault of ours."""
        self._log.fault("attempt broken", fault, **_facts(message))


def _facts(message: StoredMessage) -> dict[str, object]:
    return {"message": message.id, "endpoint": message.endpoint, "attempt": message.attempts}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notifier:
    """A sender that can be run until SIGTERM."""

    loaded: Loaded
    store: Store
    couriers: Mapping[str, Courier]
    registry: CollectorRegistry
    metrics: NotifyMetrics
    log: Log

    def run(self) -> int:
        """Run; give the exit code."""
        try:
            asyncio.run(self._run())
        finally:
            self.store.close()
        return 0

    async def _run(self) -> None:
        told = Told(self.log, self.metrics, frozenset(self.couriers))
        section = self.loaded.config.notify
        host, port = split_address(section.listen)
        bound = admin.serve(host=host, port=port, ready=lambda: told.ready, registry=self.registry)
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        deliveries = Deliveries(
            store=self.store,
            senders={name: courier.deliver for name, courier in self.couriers.items()},
            watch=told,
            now=_now,
            draw=random.uniform,
            at_once=section.at_once,
            keep_s=section.keep_delivered_s,
        )
        self.log.info("notifying", endpoints=len(self.couriers), admin_port=bound)
        counting = asyncio.create_task(self._count())
        await deliveries.run(stopping, grace_s=section.grace_s)
        counting.cancel()
        self.log.info("stopped")

    async def _count(self) -> None:
        """Tell how long the queue is, from time to time."""
        while True:
            try:
                found = await asyncio.to_thread(self._queue)
            except StoreError:
                found = None  # the poll tells of it
            if found is not None:
                since = found.oldest_due_at
                self.metrics.queue(
                    pending=found.pending,
                    due=found.due,
                    dead=found.dead,
                    oldest_due_s=0.0 if since is None else (_now() - since) / SECOND,
                )
            await asyncio.sleep(QUEUE_EVERY_S)

    def _queue(self) -> outbox.Queue:
        with self.store.read() as db:
            return outbox.queue(db, now=_now())


def build_notifier(loaded: Loaded) -> Notifier:
    """Build a sender, or raise with what stops it."""
    harden()
    registry = CollectorRegistry()
    metrics = NotifyMetrics(registry)
    log = make_log(count=metrics.redacted, worker="notify")
    require_protection(loaded, log)
    if not loaded.config.webhooks:
        text = "nobody is to be notified: add [webhooks.NAME], see pinvault.example.toml"
        raise ConfigError(loaded.path, "webhooks", text)
    return Notifier(
        loaded=loaded,
        couriers=couriers(loaded),
        store=open_store(loaded),
        registry=registry,
        metrics=metrics,
        log=log,
    )


def _now() -> int:
    return time.time_ns() // 1000
