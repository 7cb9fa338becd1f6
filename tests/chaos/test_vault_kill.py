"""The PIN vault in several processes on one store: killed under load, and all at the same thing.

After kill -9 at any moment the store agrees with the journals of those who died: what was answered
is there, what was compared was counted, and of a PIN all is there or nothing.
"""

import json
import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import select

from pinvault.model.cards import ById, TokenKind, Verification
from pinvault.store import upgrade
from pinvault.store.schema import outbox, pin
from tests.support import vault as support
from tests.support.databases import QUICK, PostgresServer
from tests.support.vault import Recipient, Vault, call
from tests.support.vault_worker import WRONG, Job, Place, at_once, under_load

LIMIT = 3
LIVES, WORKERS = 4, 3
ANSWERS = 5
"""What a worker has answered before it may be killed, in each of its lives."""
SPAWNING = multiprocessing.get_context("forkserver")
SPAWNING.set_forkserver_preload(["tests.support.vault_worker"])
SETS = ("SetPin", "ChangePin", "ResetPin")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path_factory.mktemp('store')}/store.db"
        upgrade(address)
        yield address
        return
    server = PostgresServer(*QUICK)
    try:
        address = server.create()
        upgrade(address)
        yield address
    finally:
        server.stop()


@pytest.fixture
def vault(address: str, tmp_path: Path) -> Iterator[Vault]:
    """The host that looks on; the sealing key of all is its own."""
    opened = Place(address, tmp_path / "looks-on").open()
    yield opened
    opened.close()


SEQUENCE = iter(range(100, 1000))


def cards(vault: Vault, *programs: str) -> list[str]:
    return [
        vault.add_with_pin("8264", program=program, sequence_number=str(next(SEQUENCE))).card_id
        for program in programs
    ]


# Killed under load


def test_what_is_left_after_kills_agrees_with_the_journals(
    address: str, vault: Vault, tmp_path: Path
) -> None:
    known = cards(vault, "credit", "prepaid")
    journals = [tmp_path / f"journal-{number}" for number in range(WORKERS)]
    for life in range(LIVES):
        workers = [
            SPAWNING.Process(
                target=under_load,
                args=(Place(address, tmp_path / f"{number}"), number, life, known, journal),
                daemon=True,
            )
            for number, journal in enumerate(journals)
        ]
        for worker in workers:
            worker.start()
        for journal in journals:
            _until(journal, "up", life + 1)
            _until(journal, "answered", (life + 1) * ANSWERS)
        for worker in random.sample(workers, len(workers)):
            time.sleep(random.uniform(0.05, 0.4))
            worker.kill()
            worker.join()
    lines = [line for journal in journals for line in _lines(journal)]
    for card in known:
        _agree(vault, card, [line for line in lines if line.get("card") == card], _ends(lines))


def _until(journal: Path, what: str, times: int) -> None:
    until = time.monotonic() + 60
    while not journal.exists() or journal.read_text().count(f'"{what}"') < times:
        assert time.monotonic() < until
        time.sleep(0.01)


def _lines(journal: Path) -> list[dict[str, Any]]:
    """The lines that are whole."""
    return [json.loads(line) for line in journal.read_text().splitlines(True) if "\n" in line]


def _ends(lines: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {line["id"]: line for line in lines if line["what"] in ("answered", "refused")}


def _agree(
    vault: Vault, card: str, lines: list[dict[str, Any]], ends: dict[int, dict[str, Any]]
) -> None:
    with vault.store.read() as db:
        row = db.execute(pin.select().where(pin.c.card_id == card)).one()
        told = Counter(db.scalars(select(outbox.c.type).where(outbox.c.card_id == card)))
    # What was compared was counted in its round of tries, and no round has more than the limit.
    compared = Counter(line["round"] for line in lines if line["what"] == "compared")
    assert all(count <= LIMIT for count in compared.values())
    assert compared[row.try_round] <= row.tries_used <= LIMIT
    assert compared

    asked = [line for line in lines if line["what"] in SETS]
    done = [line for line in asked if ends.get(line["id"], {}).get("answer")]
    in_doubt = [line for line in asked if line["id"] not in ends or _is_in_doubt(ends[line["id"]])]
    # All that was answered is there, once, and each new PIN was told of in its transaction.
    news = told["pin.set"] + told["pin.changed"] + told["pin.reset"]
    assert row.generation == news
    assert len(done) < news <= len(done) + len(in_doubt) + 1
    assert told["pin.checked.blocked"] - told["card.pin_unblocked"] == (row.blocked_at is not None)
    tokens = Counter(line["token"] for line in done if "token" in line)
    assert set(tokens.values()) <= {1}

    # The newest PIN is the one that was answered last, or one in doubt that came later.
    newest = max((ends[line["id"]]["answer"], line["digits"]) for line in done)
    assert newest[0] <= row.set_at / 1e6
    may_be = {line["digits"] for line in in_doubt}
    if newest[0] == row.set_at / 1e6:
        may_be = {newest[1]}
    vault.unblock(call("UnblockPin"), card=ById(card))
    right = [digits for digits in sorted(may_be) if _is_right(vault, card, digits)]
    assert len(right) == 1
    if vault.card(card).program == "prepaid":
        assert _revealed(vault, card) == right[0]
    # Nobody was told that a wrong PIN is right.
    wrong = [line for line in lines if line.get("digits") == WRONG and line["what"] == "CheckPin"]
    assert not any(ends.get(line["id"], {}).get("answer") for line in wrong)


def _is_in_doubt(end: dict[str, Any]) -> bool:
    return end.get("reason") == "STORE_UNAVAILABLE"


def _is_right(vault: Vault, card: str, digits: str) -> bool:
    vault.unblock(call("UnblockPin"), card=ById(card))
    return vault.checks(card, digits).matches


def _revealed(vault: Vault, card: str) -> str:
    made = call("IssueControlToken")
    token = vault.issue(made, card=ById(card), kind=TokenKind.REVEAL_PIN).token
    to = Recipient()
    revealed = vault.reveal(
        call("RevealPin"),
        control_token=token,
        verification=Verification.OTP,
        recipient=to.point,
    )
    return to.open(revealed.envelope)["pin"]


# All at the same thing


def race(address: str, tmp_path: Path, *jobs: Sequence[Job]) -> tuple[Counter[str], int]:
    """Let each process do its jobs at once; count what was answered, and compared in all HSMs."""
    key = support._rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with SPAWNING.Manager() as manager, ProcessPoolExecutor(len(jobs), SPAWNING) as pool:
        begin = manager.Barrier(len(jobs))
        works = [
            pool.submit(at_once, Place(address, tmp_path / f"{number}"), key, list(mine), begin)
            for number, mine in enumerate(jobs)
        ]
        told = [work.result(60) for work in works]
    answers = Counter(answer for mine, _ in told for answer in mine)
    return answers, sum(compared for _, compared in told)


@pytest.mark.parametrize(("program", "uses"), [("debit", 1), ("credit", 2), ("prepaid", 1)])
def test_a_hundred_wrong_pins_at_once_are_compared_as_often_as_the_limit_says(
    address: str, vault: Vault, tmp_path: Path, program: str, uses: int
) -> None:
    """A comparison uses its key once in the HSM, and twice for a block of format 4."""
    (card,) = cards(vault, program)
    wrong = [Job(card, f"{n:04}") for n in range(3100, 3200)]
    answers, compared = race(address, tmp_path, wrong[:50], wrong[50:])
    assert answers == {"MISMATCH": LIMIT, "PIN_BLOCKED": 100 - LIMIT}
    assert compared == LIMIT * uses
    assert vault.card(card).pin.blocked
    assert [each.type for each in vault.messages() if each.card_id == card] == [
        "pin.set",
        "pin.checked.blocked",
    ]


def test_a_token_sets_one_of_many_pins(address: str, vault: Vault, tmp_path: Path) -> None:
    (card,) = cards(vault, "prepaid")
    made = call("IssueControlToken")
    token = vault.issue(made, card=ById(card), kind=TokenKind.SET_PIN).token
    sets = [Job(card, f"{n:04}", token=token, sets=True) for n in range(6850, 6862)]
    answers, _ = race(address, tmp_path, sets[:6], sets[6:])
    (done,) = answers - Counter(CONTROL_TOKEN_REFUSED=11)
    digits = done.split()[0]
    assert vault.checks(card, digits).matches
    assert _revealed(vault, card) == digits


def test_an_envelope_is_good_for_one_process(address: str, vault: Vault, tmp_path: Path) -> None:
    (card,) = cards(vault, "credit")
    vault.clock.now = time.time()
    checks = [Job(card, envelope=vault.envelope("8264", card=card))]
    answers, _ = race(address, tmp_path, checks, checks)
    assert answers == {"MATCH": 1, "ENVELOPE_REPLAYED": 1}


def test_a_request_is_done_in_one_process(address: str, vault: Vault, tmp_path: Path) -> None:
    (card,) = cards(vault, "debit")
    before = vault.card(card).pin.set_at
    same = [Job(card, "5830", sets=True, request_id="the same")] * 6
    answers, _ = race(address, tmp_path, same, same)
    done = set(answers) - {"REQUEST_IN_PROGRESS"}
    assert done == {f"5830 {vault.card(card).pin.set_at}"}
    assert vault.card(card).pin.set_at > before
    assert [each.type for each in vault.messages() if each.card_id == card] == ["pin.set"] * 2
    # Wrong PINs under one id cost one try, whoever is told of it.
    checks = [Job(card, WRONG, request_id="wrong")] * 6
    answers, compared = race(address, tmp_path, checks, checks)
    assert set(answers) <= {"MISMATCH", "REQUEST_IN_PROGRESS"}
    assert answers["MISMATCH"]
    assert compared == 1
    assert vault.card(card).pin.tries_left == LIMIT - 1
