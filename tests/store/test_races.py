"""Many processes at once: what must happen once happens once, and no limit is passed."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from pinvault.store import Store, idempotency, outbox, pins, reencrypt, tokens, velocity
from pinvault.store.idempotency import Begun, IdempotencyKey
from tests.store.conftest import PROCESSES
from tests.store.samples import (
    NOW,
    SECOND,
    add_cards,
    hashed,
    material,
    message,
    read,
    write,
)

TOKENS = 200
CARDS = 25
LIMIT = 3


def race(processes: ProcessPoolExecutor, work: Callable[..., Any], address: str) -> list[Any]:
    """What each of four processes makes of the same work."""
    started = [processes.submit(in_a_store, work, address, n) for n in range(PROCESSES)]
    return [future.result(60) for future in started]


def in_a_store(work: Callable[..., Any], address: str, number: int) -> Any:
    store = Store.open(address)
    try:
        return work(store, number)
    finally:
        store.close()


def order(number: int, things: int) -> Sequence[int]:
    """Every process begins elsewhere, half of them backwards."""
    begin = number * things // PROCESSES
    turned = [(begin + step) % things for step in range(things)]
    return turned if number % 2 else turned[::-1]


def redeem_all(store: Store, number: int) -> list[str]:
    values = {"kind": "SET_PIN", "caller": "bank", "now": NOW}
    redeemed = [
        write(store, tokens.redeem, token_hash=hashed(f"token {token}"), **values)
        for token in order(number, TOKENS)
    ]
    return [card for card in redeemed if card]


def test_a_token_is_redeemed_once(
    store: Store, address: str, processes: ProcessPoolExecutor
) -> None:
    ids = [f"card {number}" for number in range(TOKENS)]
    add_cards(store, *ids)
    with store.write() as db:
        for number, card in enumerate(ids):
            tokens.issue(
                db,
                card_id=card,
                kind="SET_PIN",
                token_hash=hashed(f"token {number}"),
                seal=hashed("seal"),
                caller="bank",
                now=NOW,
                expires_at=NOW + SECOND,
            )
    redeemed = Counter(card for cards in race(processes, redeem_all, address) for card in cards)
    assert redeemed == Counter(ids)


def use_all_tries(store: Store, number: int) -> int:
    return sum(
        write(store, pins.count_try, f"card {card}", limit=LIMIT, now=NOW) is not None
        for card in order(number, CARDS)
        for _ in range(2)
    )


def test_tries_never_pass_the_limit(
    store: Store, address: str, processes: ProcessPoolExecutor
) -> None:
    ids = [f"card {number}" for number in range(CARDS)]
    add_cards(store, *ids)
    with store.write() as db:
        for card in ids:
            assert pins.put_pin(db, card, material(), replaces=pins.NO_PIN, now=NOW)
    assert sum(race(processes, use_all_tries, address)) == LIMIT * CARDS
    for card in ids:
        stored = read(store, pins.get_pin, card)
        assert stored is not None
        assert stored.tries_used == LIMIT


def replace_all(store: Store, number: int) -> int:
    replaced = 0
    for generation in range(CARDS):
        values = {"replaces": generation, "now": NOW}
        put = write(store, pins.put_pin, "card", material(number), **values)
        replaced += put is not None
    return replaced


def test_a_generation_is_replaced_once(
    store: Store, address: str, processes: ProcessPoolExecutor
) -> None:
    add_cards(store, "card")
    replaced = sum(race(processes, replace_all, address))
    stored = read(store, pins.get_pin, "card")
    assert stored is not None
    assert stored.generation == replaced <= CARDS


def begin_all(store: Store, number: int) -> list[int]:
    begun = []
    for name in order(number, CARDS):
        key = IdempotencyKey(caller="bank", method="SetPin", key=str(name))
        values = {"fingerprint": hashed("request"), "now": NOW, "lease_until": NOW + SECOND}
        if isinstance(write(store, idempotency.begin, key, **values), Begun):
            begun.append(name)
    return begun


def test_a_request_begins_once(store: Store, address: str, processes: ProcessPoolExecutor) -> None:
    begun = Counter(name for names in race(processes, begin_all, address) for name in names)
    assert begun == Counter(range(CARDS))


def claim_all(store: Store, number: int) -> list[str]:
    claimed: list[str] = []
    values = {"now": NOW, "until": NOW + SECOND, "count": 3}
    while taken := write(store, outbox.claim, **values):
        claimed += [each.id for each in taken]
    return claimed


def test_a_message_is_claimed_once(
    store: Store, address: str, processes: ProcessPoolExecutor
) -> None:
    with store.write() as db:
        for number in range(CARDS * 4):
            outbox.add(db, message(str(number)), now=NOW)
    claimed = Counter(name for names in race(processes, claim_all, address) for name in names)
    assert claimed == Counter(str(number) for number in range(CARDS * 4))


def count_all(store: Store, number: int) -> int:
    values = {"scope": "pan", "limit": 10, "now": NOW, "ends_at": NOW + SECOND}
    counted = [
        write(store, velocity.count_use, subject=hashed(str(subject)), **values)
        for subject in order(number, 5)
        for _ in range(4)
    ]
    return sum(uses is not None for uses in counted)


def test_uses_never_pass_the_limit(
    store: Store, address: str, processes: ProcessPoolExecutor
) -> None:
    assert sum(race(processes, count_all, address)) == 5 * 10


def reencrypt_all(store: Store, number: int) -> list[str]:
    done = []
    target = reencrypt.CIPHERTEXTS["card.pan"]
    values = {"worker": str(number), "now": NOW, "until": NOW + SECOND}
    while chunk := write(store, reencrypt.claim, "job", **values):
        rows = read(store, reencrypt.rows_of, chunk, target, present="storage/2")
        with store.write() as db:
            new = [(row, b"anew " + row.id.encode()) for row in rows]
            changed = reencrypt.write_back(db, target, new, present="storage/2")
            assert reencrypt.finish(db, chunk, now=NOW, changed=changed)
        done += [row.id for row in rows]
    return done


def test_a_row_is_reencrypted_once(
    store: Store, address: str, processes: ProcessPoolExecutor
) -> None:
    ids = [f"card {number:03}" for number in range(100)]
    add_cards(store, *ids)
    target = reencrypt.CIPHERTEXTS["card.pan"]
    assert write(store, reencrypt.plan, "job", target, size=7) == 15
    done = Counter(card for cards in race(processes, reencrypt_all, address) for card in cards)
    assert done == Counter(ids)
    assert read(store, reencrypt.progress, "job") == reencrypt.Progress(15, 15, 100)
    assert not read(store, reencrypt.rows_left, target, present="storage/2")
