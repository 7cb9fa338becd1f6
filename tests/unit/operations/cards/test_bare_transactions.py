"""What `./dev bench` sets calls beside: the statements that they send, in the same transactions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import event

from pinvault.model.cards import ById, TokenKind
from pinvault.notify.events import Endpoints
from pinvault.operations.cards.check_pin import CheckPin
from pinvault.operations.cards.issue_control_token import IssueControlToken
from pinvault.operations.cards.set_pin import SetPin
from pinvault.store import Store
from tests.bench import check_pin, control_token
from tests.support.vault import Vault, call

PIN = "7392"


def checks(vault: Vault, card_id: str) -> None:
    check = CheckPin(vault.desk)
    assert check(call("CheckPin"), card=ById(card_id), source=vault.block(PIN)).matches


def issues_and_sets(vault: Vault, card_id: str) -> None:
    desk = replace(vault.desk, events=Endpoints(()))  # a bench has nobody to tell
    issued = IssueControlToken(desk)(
        call("IssueControlToken"), card=ById(card_id), kind=TokenKind.SET_PIN
    )
    token, new = issued.token, vault.block("4829")
    SetPin(desk)(call("SetPin"), card=None, control_token=token, new=new)


@pytest.mark.parametrize(
    ("makes_calls", "in_the_store", "transactions"),
    [(checks, check_pin.in_the_store, 4), (issues_and_sets, control_token.in_the_store, 5)],
    ids=["CheckPin", "IssueControlToken, SetPin"],
)
def test_the_bare_side_sends_what_the_calls_send(
    vault: Vault,
    makes_calls: Callable[[Vault, str], None],
    in_the_store: Callable[[Store, str], None],
    transactions: int,
) -> None:
    card_id = vault.add_with_pin(PIN).card_id
    with traced(vault.store) as whole:
        makes_calls(vault, card_id)
    with traced(vault.store) as bare:
        in_the_store(vault.store, card_id)
    assert bare == whole
    assert whole.count(COMMIT) == transactions


COMMIT = "commit"


@contextmanager
def traced(store: Store) -> Iterator[list[str]]:
    """Note every statement that a store sends, which engine sends it, and every end."""
    sent: list[str] = []
    listeners = []
    for name, engine in (("reads", store._reader), ("writes", store._writer)):

        def note(_db: object, _cursor: object, statement: str, *_: object, by: str = name) -> None:
            sent.append(f"{by}: {statement}")

        listeners += [
            (engine, "before_cursor_execute", note),
            (engine, "commit", lambda _db: sent.append(COMMIT)),
            (engine, "rollback", lambda _db: sent.append("rollback")),
        ]
    for listener in listeners:
        event.listen(*listener)
    try:
        yield sent
    finally:
        for listener in listeners:
            event.remove(*listener)
