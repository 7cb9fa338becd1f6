"""`control-token`: a token issued and a PIN set by it, beside the bare transactions of both."""

import hashlib
import secrets

import grpc

from pinvault.development.environment import Environment
from pinvault.model.cards import TokenKind
from pinvault.store import Connection, Store, cards, pins, tokens, velocity
from pinvault.store.pins import PinMaterial
from pinvault.v1 import card_pin_pb2 as pb
from pinvault.v1 import resources_pb2
from tests.bench import beside_store, messages
from tests.bench.beside_store import ALONE
from tests.bench.cards import now, places
from tests.bench.load import DEADLINE_S, Work
from tests.bench.place import path_of
from tests.bench.report import Table

ISSUE = path_of("CardPinService.IssueControlToken")
SET_PIN = path_of("CardPinService.SetPin")
KIND, CALLER = TokenKind.SET_PIN.value, "bench"
HOUR = 3_600_000_000
UNREACHED = 99_999_999
MATERIAL = PinMaterial(method="pvv:visa:1@pvk-visa/1", value="0000")


def run(environment: Environment) -> list[Table]:
    """Measure."""
    source = messages.terminal_pin(environment)
    with places(environment) as found:
        turns = {}
        for place in found:
            turns[f"issue and set, {place.engine}"] = beside_store.calls(
                place, ISSUE, SET_PIN, about=lambda card: _calling(card, source)
            )
            turns[f"{ALONE}, {place.engine}"] = beside_store.transactions(
                place, lambda card, store=place.store: in_the_store(store, card)
            )
        return [
            beside_store.table(
                "IssueControlToken and SetPin by the token, beside their transactions",
                turns,
                unit="pairs",
                reading=(
                    "Alone are the same five transactions: read the card, keep the token; find its "
                    "card, see the PIN that is to be replaced, redeem the token with the new PIN."
                ),
            )
        ]


def _calling(card_id: str, source: resources_pb2.PinSource) -> Work:
    issue = pb.IssueControlTokenRequest(
        card=pb.CardSelector(card_id=card_id), type=pb.CONTROL_TOKEN_TYPE_SET_PIN
    ).SerializeToString()

    async def issue_and_set(channel: grpc.aio.Channel) -> None:
        reply = await channel.unary_unary(ISSUE)(issue, timeout=DEADLINE_S)
        token = pb.IssueControlTokenResponse.FromString(reply).control_token
        request = pb.SetPinRequest(control_token=token, new_source=source)
        await channel.unary_unary(SET_PIN)(request.SerializeToString(), timeout=DEADLINE_S)

    return issue_and_set


def in_the_store(store: Store, card_id: str) -> None:
    """Do what both calls do in the store, statement by statement."""
    token = {"token_hash": _issue(store, card_id), "kind": KIND, "caller": CALLER}
    changes = {"scope": "changes", "subject": card_id.encode()}
    with store.read() as db:
        assert tokens.find(db, **token, now=now())
        cards.get_card(db, card_id)
    with store.read() as db:
        before = pins.get_pin(db, card_id)
        velocity.uses(db, **changes, now=now())

    def end(db: Connection) -> None:
        assert tokens.redeem(db, **token, now=now())
        assert pins.put_pin(db, card_id, MATERIAL, replaces=before.generation, now=now())
        until = now() + HOUR
        assert velocity.count_use(db, **changes, limit=UNREACHED, now=now(), ends_at=until)

    store.transact(end)


def _issue(store: Store, card_id: str) -> bytes:
    with store.read() as db:
        cards.get_card(db, card_id)
    hashed = hashlib.sha256(secrets.token_bytes(16)).digest()
    store.transact(
        lambda db: tokens.issue(
            db,
            card_id=card_id,
            kind=KIND,
            token_hash=hashed,
            seal=hashed,
            caller=CALLER,
            now=now(),
            expires_at=now() + HOUR,
        )
    )
    return hashed
