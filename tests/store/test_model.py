"""PINs and control tokens against a model that fits on a page, on both engines."""

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from pinvault.store import Store, pins, tokens
from tests.store.conftest import empty
from tests.store.samples import NOW, add_cards, hashed, material, read, write

LIMIT = 3
CARDS = ("a", "b")
KINDS = ("SET_PIN", "REVEAL_PIN")
CALLERS = ("bank", "other")

each_card = st.sampled_from(CARDS)
each_kind = st.sampled_from(KINDS)
each_caller = st.sampled_from(CALLERS)
generations = st.integers(0, 4)
moments = st.integers(NOW, NOW + 10)


@dataclass
class ModelPin:
    number: int
    generation: int = 1
    tries: int = 0
    blocked: bool = False


@dataclass
class ModelToken:
    word: str
    caller: str
    expires_at: int
    redeemed: bool = False


@dataclass
class Model:
    pins: dict[str, ModelPin] = field(default_factory=dict)
    tokens: dict[tuple[str, str], ModelToken] = field(default_factory=dict)


class PinsAndTokens(RuleBasedStateMachine):
    store: Store  # of the test that runs it

    def __init__(self) -> None:
        super().__init__()
        empty(self.store)
        add_cards(self.store, *CARDS)
        self.model = Model()
        self.words = 0

    @rule(card=each_card, replaces=generations, number=st.integers(0, 9999))
    def put(self, card: str, replaces: int, number: int) -> None:
        known = self.model.pins.get(card)
        due = replaces == (known.generation if known else pins.NO_PIN)
        values = {"replaces": replaces, "now": NOW}
        assert write(self.store, pins.put_pin, card, material(number), **values) == due
        if due:
            blocked = known is not None and known.blocked
            self.model.pins[card] = ModelPin(number, replaces + 1, blocked=blocked)

    @rule(card=each_card)
    def count_try(self, card: str) -> None:
        known = self.model.pins.get(card)
        counted = write(self.store, pins.count_try, card, limit=LIMIT)
        if known is None or known.blocked or known.tries >= LIMIT:
            assert counted is None
        else:
            known.tries += 1
            assert counted is not None
            assert counted.tries_used == known.tries
            assert counted.value == f"{known.number:04}"

    @rule(card=each_card, generation=generations)
    def give_back(self, card: str, generation: int) -> None:
        known = self.model.pins.get(card)
        due = known is not None and known.generation == generation and known.tries > 0
        assert write(self.store, pins.give_back, card, generation=generation) == due
        if known is not None and due:
            known.tries -= 1

    @rule(card=each_card, generation=generations)
    def clear_tries(self, card: str, generation: int) -> None:
        known = self.model.pins.get(card)
        due = known is not None and known.generation == generation
        assert write(self.store, pins.clear_tries, card, generation=generation) == due
        if known is not None and due:
            known.tries = 0

    @rule(card=each_card)
    def block(self, card: str) -> None:
        known = self.model.pins.get(card)
        due = known is not None and not known.blocked
        assert write(self.store, pins.block, card, now=NOW) == due
        if known is not None:
            known.blocked = True

    @rule(card=each_card)
    def unblock(self, card: str) -> None:
        known = self.model.pins.get(card)
        assert write(self.store, pins.unblock, card) == (known is not None)
        if known is not None:
            known.blocked, known.tries = False, 0

    @rule(card=each_card, kind=each_kind, caller=each_caller, expires_at=moments)
    def issue(self, card: str, kind: str, caller: str, expires_at: int) -> None:
        self.words += 1
        word = str(self.words)
        values = {"card_id": card, "kind": kind, "caller": caller, "expires_at": expires_at}
        write(self.store, tokens.issue, token_hash=hashed(word), now=NOW, **values)
        self.model.tokens[card, kind] = ModelToken(word, caller, expires_at)

    @rule(back=st.integers(0, 3), kind=each_kind, caller=each_caller, now=moments)
    def redeem(self, back: int, kind: str, caller: str, now: int) -> None:
        word = str(self.words - back)
        values = {"token_hash": hashed(word), "kind": kind, "caller": caller, "now": now}
        redeemed = write(self.store, tokens.redeem, **values)
        expected = None
        for (card, of_kind), token in self.model.tokens.items():
            fits = token.word == word and of_kind == kind and token.caller == caller
            if fits and token.expires_at > now and not token.redeemed:
                expected, token.redeemed = card, True
        assert redeemed == expected

    @invariant()
    def agrees(self) -> None:
        for card in CARDS:
            known, stored = self.model.pins.get(card), read(self.store, pins.get_pin, card)
            assert (known is None) == (stored is None)
            if known is not None and stored is not None:
                assert stored.generation == known.generation
                assert stored.tries_used == known.tries
                assert (stored.blocked_at is not None) == known.blocked
                assert stored.value == f"{known.number:04}"


EXAMPLES = {"sqlite": 20, "postgresql": 8}


@pytest.mark.timeout(60)
def test_the_store_agrees_with_the_model(opened: Store, engine: str) -> None:
    machine = type("Machine", (PinsAndTokens,), {"store": opened})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES[engine],
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
