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
    tried_at: int | None = None
    blocked: bool = False
    round: int = 1

    def begin_round(self) -> None:
        self.tries = 0
        self.round += 1


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

    @rule(
        card=each_card,
        replaces=generations,
        number=st.integers(0, 9999),
        unblocks=st.booleans(),
    )
    def put(self, card: str, replaces: int, number: int, unblocks: bool) -> None:
        known = self.model.pins.get(card)
        due = replaces == (known.generation if known else pins.NO_PIN)
        values = {"replaces": replaces, "now": NOW, "unblocks": unblocks}
        put = write(self.store, pins.put_pin, card, material(number), **values)
        assert (put is not None) == due
        if due:
            blocked = known is not None and known.blocked and not unblocks
            number_of_round = known.round + 1 if known else 1
            self.model.pins[card] = ModelPin(
                number, replaces + 1, blocked=blocked, round=number_of_round
            )

    @rule(card=each_card, now=moments)
    def count_try(self, card: str, now: int) -> None:
        known = self.model.pins.get(card)
        counted = write(self.store, pins.count_try, card, limit=LIMIT, now=now)
        if known is None or known.blocked or known.tries >= LIMIT:
            assert counted is None
        else:
            known.tries += 1
            known.tried_at = now
            assert counted is not None
            assert counted.tries_used == known.tries
            assert counted.try_round == known.round
            assert counted.value == f"{known.number:04}"

    @rule(card=each_card, ago=st.integers(0, 1))
    def give_back(self, card: str, ago: int) -> None:
        known = self.model.pins.get(card)
        due = known is not None and ago == 0 and known.tries > 0
        try_round = known.round - ago if known else 1
        assert write(self.store, pins.give_back, card, try_round=try_round) == due
        if known is not None and due:
            known.tries -= 1

    @rule(card=each_card, generation=generations)
    def clear_tries(self, card: str, generation: int) -> None:
        known = self.model.pins.get(card)
        due = known is not None and known.generation == generation
        cleared = write(self.store, pins.clear_tries, card, generation=generation)
        assert (cleared is not None) == due
        if known is not None and due:
            known.begin_round()

    @rule(card=each_card, ago=st.integers(0, 1))
    def block(self, card: str, ago: int) -> None:
        known = self.model.pins.get(card)
        due = known is not None and ago == 0 and known.tries >= LIMIT and not known.blocked
        try_round = known.round - ago if known else 1
        values = {"try_round": try_round, "limit": LIMIT, "now": NOW}
        assert write(self.store, pins.block, card, **values) == due
        if known is not None and due:
            known.blocked = True

    @rule(card=each_card)
    def use_all_tries_and_block(self, card: str) -> None:
        """What else would be rare in a random walk."""
        for _ in range(LIMIT):
            self.count_try(card, NOW)
        if card in self.model.pins:
            self.block(card, ago=0)

    @rule(card=each_card)
    def unblock(self, card: str) -> None:
        known = self.model.pins.get(card)
        due = known is not None and known.blocked
        assert write(self.store, pins.unblock, card) == due
        if known is not None:
            known.blocked = False
            known.begin_round()

    @rule(card=each_card, kind=each_kind, caller=each_caller, expires_at=moments)
    def issue(self, card: str, kind: str, caller: str, expires_at: int) -> None:
        self.words += 1
        word = str(self.words)
        hashes = {"token_hash": hashed(word), "seal": hashed(f"{card} {word}")}
        values = {"card_id": card, "kind": kind, "caller": caller, "expires_at": expires_at}
        write(self.store, tokens.issue, **hashes, now=NOW, **values)
        self.model.tokens[card, kind] = ModelToken(word, caller, expires_at)

    @rule(back=st.integers(0, 3), kind=each_kind, caller=each_caller, now=moments)
    def redeem(self, back: int, kind: str, caller: str, now: int) -> None:
        word = str(self.words - back)
        values = {"token_hash": hashed(word), "kind": kind, "caller": caller, "now": now}
        found = read(self.store, tokens.find, **values)
        redeemed = write(self.store, tokens.redeem, **values)
        expected = None
        for (card, of_kind), token in self.model.tokens.items():
            fits = token.word == word and of_kind == kind and token.caller == caller
            if fits and token.expires_at > now and not token.redeemed:
                expected, token.redeemed = card, True
        assert redeemed == expected
        assert (found is None) == (expected is None)
        if found is not None:
            assert (found.card_id, found.seal) == (expected, hashed(f"{expected} {word}"))

    @invariant()
    def agrees(self) -> None:
        for card in CARDS:
            known, stored = self.model.pins.get(card), read(self.store, pins.get_pin, card)
            assert (known is None) == (stored is None)
            if known is not None and stored is not None:
                assert stored.generation == known.generation
                assert stored.tries_used == known.tries
                assert stored.try_round == known.round
                assert stored.tried_at == known.tried_at
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
            suppress_health_check=list(HealthCheck),
        ),
    )
