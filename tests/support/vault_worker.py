"""Processes of the PIN vault on one store: under load until they are killed, or all at once.

Each is a host of its own. A journal is written line by line and synced: what was asked, what was
compared in the HSM, and what was answered. What a killed process wrote before, it did.
"""

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pinvault.model.cards import ById, TokenKind, Window
from pinvault.model.errors import Refusal
from pinvault.model.pins import EnvelopeSource
from pinvault.operations.cards import trial
from pinvault.operations.cards.once import Request
from tests.support import vault as support
from tests.support.vault import PROGRAMS, Clock, Vault, call

OFTEN = Window(count=1_000_000, period_s=1)
BUSY = {name: replace(each, changes=OFTEN) for name, each in PROGRAMS.items()}
NEW_PINS = 300
"""As many as a life can have."""
SEQUENCES = "0123456789 9876543210"
WRONG = "0862"
"""A PIN that no card ever has."""
REFERENCES = ("pin-reference/1", "offset/1", "pvk/1")
"""The keys that a PIN is compared under."""


class WallClock(Clock):
    def __call__(self) -> float:
        return time.time()


@dataclass(frozen=True)
class Place:
    """Where a process works: the address of the store, and a folder of its own."""

    address: str
    host: Path

    def open(self) -> Vault:
        self.host.mkdir(exist_ok=True)
        return Vault(self.address, self.host, programs=BUSY, clock=WallClock())


class Journal:
    """Lines that are there after kill -9, and in order."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, **line: Any) -> None:
        os.write(self._fd, json.dumps(line).encode() + b"\n")
        os.fdatasync(self._fd)


def new_pins(number: int) -> Iterator[str]:
    """Give PINs that no other process of three gives: four digits each, none of them weak."""
    mine = [f"{n:04}" for n in range(3200 + number, 10_000, 3) if n % 100 > 31]
    random.Random(number).shuffle(mine)
    return (digits for digits in mine if len(set(digits)) > 2 and digits not in SEQUENCES)


class Worker:
    """One process under load. It knows of a card the PIN that it gave to it last."""

    def __init__(self, place: Place, number: int, life: int, cards: list[str], journal: Path):
        self.vault, self.cards = place.open(), cards
        self.journal, self.random = Journal(journal), random.Random(f"{number} {life}")
        self.pins = new_pins(number)
        for _ in range(life * NEW_PINS):
            next(self.pins)
        self.asked, self.known = life * 1_000_000 + number * 100_000, dict.fromkeys(cards, WRONG)
        self._tell_comparisons()

    def _tell_comparisons(self) -> None:
        """Write every comparison down before it is made, with the try that was counted for it."""
        count, zone = trial.pins.count_try, self.vault.desk.zone

        def counted(db: Any, card: str, **named: Any) -> Any:
            self.counted = count(db, card, **named)
            return self.counted

        trial.pins.count_try = counted
        for name in ("check", "change"):
            setattr(zone, name, self._noted(getattr(zone, name)))

    def _noted(self, compare: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **named: Any) -> Any:
            mine = self.counted
            self.journal.write(what="compared", card=mine.card_id, round=mine.try_round)
            return compare(*arguments, **named)

        return noted

    def run(self) -> None:
        self.journal.write(what="up")
        works = (self.check_wrong, self.check_right, self.redeem, self.change, self.reset)
        while True:
            self.random.choices(works, (4, 3, 2, 3, 1))[0](self.random.choice(self.cards))

    def check_wrong(self, card: str) -> None:
        self.tell(card, "CheckPin", WRONG, lambda: self.vault.checks(card, WRONG).matches)

    def check_right(self, card: str) -> None:
        digits = self.known[card]
        self.tell(card, "CheckPin", digits, lambda: self.vault.checks(card, digits).matches)

    def change(self, card: str) -> None:
        digits, current = next(self.pins), self.known[card]
        self.places(
            card, "ChangePin", digits, lambda: self.vault.changes(card, current, digits).set_at
        )

    def reset(self, card: str) -> None:
        digits = next(self.pins)
        self.places(card, "ResetPin", digits, lambda: self.vault.resets(card, digits).set_at)

    def redeem(self, card: str) -> None:
        """Use a token twice."""
        made = call("IssueControlToken")
        try:
            token = self.vault.issue(made, card=ById(card), kind=TokenKind.SET_PIN).token
        except Refusal:
            return
        for _ in range(2):
            digits = next(self.pins)

            def redeem(digits: str = digits) -> float:
                return self.vault.redeems(token, digits).set_at

            self.places(card, "SetPin", digits, redeem, token=token)

    def places(self, card: str, what: str, digits: str, work: Callable[[], Any], **on: str) -> None:
        if self.tell(card, what, digits, work, **on):
            self.known[card] = digits

    def tell(self, card: str, what: str, digits: str, work: Callable[[], Any], **on: str) -> Any:
        """Write down what is asked, do it, and write down what is answered."""
        self.asked += 1
        self.journal.write(what=what, id=self.asked, card=card, digits=digits, **on)
        try:
            answer = work()
        except Refusal as refusal:
            self.journal.write(what="refused", id=self.asked, reason=refusal.reason)
            return None
        self.journal.write(what="answered", id=self.asked, answer=answer)
        return answer


def under_load(place: Place, number: int, life: int, cards: list[str], journal: Path) -> None:
    """Work until killed."""
    Worker(place, number, life, cards, journal).run()


@dataclass(frozen=True)
class Job:
    """One call: a check of a PIN or of an envelope, or a PIN set by card or by token."""

    card: str
    digits: str = ""
    envelope: EnvelopeSource | None = None
    token: str = ""
    request_id: str = ""
    sets: bool = False


def at_once(place: Place, sealing_key: bytes, jobs: list[Job], begin: Any) -> tuple[list[str], int]:
    """Do jobs in a thread each, when all processes are there; tell answers and comparisons."""
    key: Any = load_pem_private_key(sealing_key, None)
    support._rsa_key = lambda: key  # type: ignore[assignment]
    vault = place.open()
    with ThreadPoolExecutor(len(jobs)) as pool, comparisons(vault) as count:
        ready = threading.Barrier(len(jobs) + 1)
        works = [pool.submit(_do, vault, job, ready) for job in jobs]
        begin.wait()
        ready.wait()
        answers = [work.result() for work in works]
        return answers, len(count)


@contextmanager
def comparisons(vault: Vault) -> Iterator[list[str]]:
    """Note, at the device, every use of a key that PINs are compared under."""
    used: list[str] = []
    for name in ("encipher", "decipher"):
        setattr(vault.device, name, _counting(getattr(vault.device, name), used))
    yield used


def _counting(work: Callable[..., bytes], used: list[str]) -> Callable[..., bytes]:
    def counted(key_id: str, blocks: bytes, *, timeout: float) -> bytes:
        if key_id in REFERENCES:
            used.append(key_id)
        return work(key_id, blocks, timeout=timeout)

    return counted


def _do(vault: Vault, job: Job, ready: threading.Barrier) -> str:
    source = job.envelope or vault.block(job.digits)
    request = Request(job.request_id, b"the same")
    ready.wait()
    try:
        if not job.sets:
            made = call("CheckPin")
            told = vault.check(made, card=ById(job.card), source=source, request=request)
            return "MATCH" if told.matches else "MISMATCH"
        placed = vault.set(
            call("SetPin"),
            card=None if job.token else ById(job.card),
            control_token=job.token or None,
            new=source,
            request=request,
        )
        return f"{job.digits} {placed.set_at}"
    except Refusal as refusal:
        return refusal.reason
