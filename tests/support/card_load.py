"""Callers who give cards PINs, one card after the other, and keep what they were answered."""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Self, TypeVar

import grpc

from pinvault.client import PinBlock, PinvaultError, Vault
from pinvault.client.values import Source
from tests.support import zone
from tests.support.several import Gaps, LoadBalancer

PROGRAM = "credit"
PANS = ("4000001234562000", "5555555551234567", "4111111111111111")
AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
FIRST, SECOND = "4831", "5926"
TRY_LIMIT = 3

T = TypeVar("T")


@dataclass(frozen=True)
class Answered:
    """What a card's caller was answered."""

    card_id: str
    pin: str
    token: str
    again: tuple[tuple[Callable[[], object], object], ...]
    """Requests with ids, and what each was answered."""


class CardLoad:
    """Callers who stop between two cards, and so leave no call unanswered."""

    def __init__(self, balancer: LoadBalancer, *, zone_key: bytes, callers: int) -> None:
        self.gaps = Gaps()
        self.answered: list[Answered] = []
        self.failed: list[PinvaultError] = []
        self.faults: list[Exception] = []
        self._balancer, self._key = balancer, zone_key
        self._numbers = count()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._go_on, args=(number % 2 == 0,))
            for number in range(callers)
        ]

    def __enter__(self) -> Self:
        self.vault = self._balancer.connect(timeout_s=2.0, channels=len(self._threads))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _go_on(self, seals: bool) -> None:
        try:
            while not self._stop.is_set():
                self.answered.append(self._live(next(self._numbers), seals=seals))
        except Exception as error:  # noqa: BLE001 - the test tells
            self.faults.append(error)

    def _live(self, number: int, *, seals: bool) -> Answered:
        """Register a card; set its PIN by a token, check it, change it, check the new one."""
        cards = self.vault.cards
        pan, sequence = PANS[number // 1000], f"{number % 1000:03}"

        def pin(digits: str) -> Source:
            return self.vault.seal(digits, pan=pan) if seals else _block(digits, pan, self._key)

        def register() -> Callable[[], object]:
            request = _id()
            return lambda: cards.register(
                program=PROGRAM,
                pan=pan,
                sequence_number=sequence,
                expiry="3012",
                status="ACTIVE",
                request_id=request,
            )

        registered, card = self._answer(register)
        card_id = card.card_id
        _, token = self._answer(lambda: lambda: cards.issue_control_token(card_id, "SET_PIN"))

        def set_pin() -> Callable[[], object]:
            new, request = pin(FIRST), _id()
            return lambda: cards.set_pin(control_token=token.token, new_pin=new, request_id=request)

        def check(digits: str) -> Callable[[], Callable[[], object]]:
            def prepare() -> Callable[[], object]:
                given, request = pin(digits), _id()
                return lambda: cards.check_pin(card_id, given, request_id=request)

            return prepare

        def change() -> Callable[[], object]:
            current, new, request = pin(FIRST), pin(SECOND), _id()
            return lambda: cards.change_pin(
                card_id, current_pin=current, new_pin=new, request_id=request
            )

        told = [(registered, card), self._answer(set_pin), self._answer(check(FIRST))]
        told += [self._answer(change), self._answer(check(SECOND))]
        assert all(verdict.matches for _, verdict in told[2:])
        return Answered(card_id, SECOND, token.token, tuple(told))

    def _answer(self, prepare: Callable[[], Callable[[], T]]) -> tuple[Callable[[], T], T]:
        """Repeat one request, with its id, until it is answered; give it and its answer.

        An envelope that a server looked at before it was killed is not good there again: the
        request is made anew. Had it been done, its answer would have come instead.
        """
        request = prepare()
        while True:
            try:
                answer = request()
            except PinvaultError as error:
                self.failed.append(error)
                if error.reason == "ENVELOPE_REPLAYED":
                    request = prepare()
                elif error.code not in AWAY and error.reason != "REQUEST_IN_PROGRESS":
                    raise
                time.sleep(error.retry_after_s or 0.05)
            else:
                self.gaps.note()
                return request, answer


@cache
def _block(pin: str, pan: str, key: bytes) -> PinBlock:
    ciphertext = zone.block(pin, pan=pan, form="ISO_3", key=key)
    return PinBlock(key="zpk-terminal", format="ISO_3", ciphertext=ciphertext, pan=pan)


def card_with_pin(vault: Vault, *, sequence: str, pin: str | None = FIRST) -> str:
    """Register a card of the last PAN, and set its PIN; give its id."""
    card = vault.cards.register(
        program=PROGRAM, pan=PANS[-1], sequence_number=sequence, expiry="3012", status="ACTIVE"
    )
    if pin is not None:
        vault.cards.set_pin(card.card_id, new_pin=vault.seal(pin, pan=PANS[-1]))
    return card.card_id


def _id() -> str:
    return str(uuid.uuid4())
