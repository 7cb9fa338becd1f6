"""The PIN vault behind its gate, without sockets and token: what callers send and are told.

Every request is a message of the contract, and everything that comes back is kept: answer, face,
record, log and metrics.
"""

import base64
import io
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from prometheus_client import CollectorRegistry, generate_latest

from pinvault.model.pins import EnvelopeSource, PinBlockSource
from pinvault.server.card_pin_service import CardPinService
from pinvault.server.contract import Contract
from pinvault.server.gate import DeadlineRule, Gate
from pinvault.server.identity import IdentityKind
from pinvault.server.logs import make_log
from pinvault.server.messages import FORMATS
from pinvault.server.metrics import Metrics, StoreMetrics
from pinvault.v1 import card_pin_pb2 as pb
from pinvault.v1 import resources_pb2 as rs
from tests.support.attack import Told, face_of
from tests.support.core import AuditList, FakeContext, _arrivals
from tests.support.vault import CALLER, Clock, Recipient, Vault

METHODS = {rpc.name: rpc for rpc in pb.DESCRIPTOR.services_by_name["CardPinService"].methods}
_NAMES = {form: name for name, form in FORMATS.items()}


class ServedVault:
    """A vault at the present time, and the gate before it."""

    def __init__(self, address: str, host: Path, **how: Any) -> None:
        self.vault = Vault(address, host, clock=Clock(time.time()), **how)
        self.registry = CollectorRegistry()
        self.log = io.StringIO()
        self.audit = AuditList()
        metrics = Metrics(self.registry)
        store_metrics = StoreMetrics(self.registry)
        service = CardPinService(self.vault.desk, on_blocked=store_metrics.pin_blocked)
        self.gate = Gate(
            service.methods(),
            identity=IdentityKind.SPIFFE,
            admission=self.vault.desk.admission,
            deadlines=DeadlineRule(ceiling_s=30, default_s=None),
            arrivals=_arrivals(),
            contract=Contract(max_bytes=65_536),
            audit=self.audit,
            metrics=metrics,
            log=make_log(count=metrics.redacted, stream=self.log),
            now=lambda: datetime.now(UTC),
        )

    def ask(self, method: str, request: Message, caller: str = CALLER) -> Told:
        """Make a call of CardPinService as gRPC would."""
        context = FakeContext(caller=caller)
        self.vault.device.calls.clear()
        reply = self.send(method, request, context)
        hsm = tuple(sorted(self.vault.device.calls.items()))
        if context.code is None:
            return Told("OK", ("OK", len(reply)), hsm, reply)
        reason, face = face_of(context)
        return Told(reason, (*face, reply), hsm, reply)

    def send(self, method: str, request: Message, context: FakeContext) -> bytes:
        """Make a call; the context tells how it ended."""
        details = type("Details", (), {"method": f"/pinvault.v1.CardPinService/{method}"})
        handler = self.gate.service(details)
        assert handler is not None
        return handler.stream_unary(iter([request.SerializeToString()]), context)

    def metrics(self) -> bytes:
        """All metrics as they are scraped."""
        return generate_latest(self.registry)


def by_id(card_id: str) -> pb.CardSelector:
    return pb.CardSelector(card_id=card_id)


def source(given: PinBlockSource | EnvelopeSource | str) -> rs.PinSource:
    """A source as a message; a text is the id of a card whose PIN is stored."""
    if isinstance(given, str):
        return rs.PinSource(card=rs.CardSource(card_id=given))
    pan = given.pan.digits() if given.pan is not None else ""
    if isinstance(given, EnvelopeSource):
        envelope = rs.EnvelopeSource(profile=given.profile, ciphertext=given.ciphertext, pan=pan)
        return rs.PinSource(envelope=envelope)
    form = rs.PinBlockFormat()
    chosen = getattr(form, _NAMES[given.format])
    chosen.SetInParent()
    if pan:
        chosen.pan = pan
    block = rs.PinBlockSource(key=given.key, format=form, ciphertext=given.ciphertext)
    return rs.PinSource(pin_block=block)


def recipient_key(recipient: Recipient) -> pb.RecipientKey:
    """A recipient's key as a message."""
    x, y = (
        base64.urlsafe_b64encode(each).rstrip(b"=").decode()
        for each in (recipient.point[1:33], recipient.point[33:])
    )
    return pb.RecipientKey(kty="EC", crv="P-256", x=x, y=y)
