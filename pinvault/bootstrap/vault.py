"""The PIN vault of a worker: the store, and all that CardPinService stands on besides the key ring.

Rules:
- There is none without `[store]`, and none on an acquiring server.
- A store that cannot serve stops the start. One that goes away later takes CardPinService's health
  with it, and nothing else: what needs no store goes on.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import REGISTRY

from hsm.device import Device
from pinvault.bootstrap.store_watch import StoreWatch
from pinvault.bootstrap.token import Secrets
from pinvault.clearzone.card_zone import CardZone
from pinvault.config import Loaded
from pinvault.model.cards import Program
from pinvault.notify.events import Endpoints
from pinvault.operations.admission import Admission
from pinvault.operations.cards.desk import CardDesk, Events, StoreKeys
from pinvault.operations.cards.seals import Seals
from pinvault.operations.route import Router
from pinvault.operations.schemes import Schemes
from pinvault.policy.limits import Nonces
from pinvault.policy.pan_index import PanIndex
from pinvault.policy.shared_table import SharedTable
from pinvault.server.card_pin_service import CardPinService
from pinvault.server.gate import Method
from pinvault.server.logs import Log
from pinvault.server.metrics import StoreMetrics
from pinvault.server.role import Role
from pinvault.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class PinVault:
    """What stays while key rings come and go."""

    store: Store
    zone: CardZone
    programs: Mapping[str, Program]
    keys: StoreKeys
    events: Events
    secrets: Secrets
    metrics: StoreMetrics
    watch: StoreWatch
    longest_call_s: float

    def desk(self, *, router: Router, schemes: Schemes, admission: Admission) -> CardDesk:
        """Build what the use cases of cards stand on, over one key ring."""
        return CardDesk(
            router=router,
            schemes=schemes,
            admission=admission,
            zone=self.zone,
            store=self.store,
            programs=self.programs,
            index=PanIndex(self.secrets.store_pan_index),
            keys=self.keys,
            events=self.events,
            seals=Seals(self.secrets.store_seal),
            now=time.time,
            is_up=self.watch.is_up,
            longest_call_s=self.longest_call_s,
        )

    def methods(self, desk: CardDesk) -> tuple[Method[Any], ...]:
        """List the methods over one desk."""
        return CardPinService(desk, on_blocked=self.metrics.pin_blocked).methods()

    def close(self) -> None:
        """Let go of the store."""
        self.watch.close()
        self.store.close()


def open_vault(
    loaded: Loaded,
    device: Device,
    *,
    secrets: Secrets,
    table: SharedTable,
    is_first: bool,
    log: Log,
) -> PinVault | None:
    """Open the vault where the server has one; StoreError when its store cannot serve."""
    section = loaded.config.store
    if section is None or loaded.config.role is not Role.ISSUING:
        return None
    config = loaded.config
    store = Store.open(section.address, connections=section.connections)
    metrics = StoreMetrics(REGISTRY)
    zone = CardZone(
        device,
        spend=Nonces(table).spend,
        now=time.time,
        quantum_s=config.protection.refusal_quantum_ms / 1000,
        ksn_window_s=config.dukpt.replay_window_s,
    )
    watch = StoreWatch(store, is_first=is_first, log=log, metrics=metrics)
    watch.start()
    return PinVault(
        store=store,
        zone=zone,
        programs=loaded.programs(),
        keys=StoreKeys(
            pan=section.pan_key, reference=section.reference_key, reveal=section.reveal_key
        ),
        events=Endpoints(loaded.webhooks().values()),
        secrets=secrets,
        metrics=metrics,
        watch=watch,
        longest_call_s=config.server.deadline.ceiling_s,
    )
