"""Attack: read PINs from whatever the service writes, answers or keeps in memory."""

import itertools
import os
import re
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from pinvault.client import PinBlock, PinvaultError, SealedPin, ToEnvelope, ToPinBlock, Vault
from pinvault.client.reveal import RevealKey
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from tests.conftest import PAN
from tests.support import zone
from tests.support.leaks import forms_of, found_in

MARKED = 200
KEPT = 40
"""So many of these are PINs of cards too."""
FURTHER = (250, 250, 500)
MARK = "7391"
NUMBERS = itertools.count(100)
"""Sequence numbers of cards that share a PAN."""
MARKED_FORM = re.compile(b"7391[0-9]{8}|\x73\x91[\x00-\x99]{4}", re.DOTALL)


def random_pin() -> str:
    """Give a PIN of 12 digits, marked, and long enough not to be found by chance."""
    return f"{MARK}{secrets.randbelow(10**8):08}"


def use(vault: Vault, environment: Environment, pin: str) -> bytes:
    """Send a PIN through every way there is, good and bad; give all that came back."""
    to = ToPinBlock(key="zpk-switch", format="ISO_3", pan=PAN)
    key = environment.zone_key("zpk-terminal")
    ciphertext = zone.block(pin, pan=PAN, form="ISO_3", key=key)
    source = PinBlock(key="zpk-terminal", format="ISO_3", ciphertext=ciphertext, pan=PAN)
    answers: list[object] = [
        vault.encrypt_pin(vault.seal(pin, pan=PAN), to=to),
        vault.encrypt_pin(source, to=to),
    ]
    for bad in (vault.seal(pin, pan=PAN, lifetime_s=-100), vault.seal(pin, pan=None)):
        with pytest.raises(PinvaultError) as refused:
            vault.encrypt_pin(bad, to=to)
        answers += [str(refused.value), vars(refused.value)]
    with pytest.raises(PinvaultError) as refused:  # the partner takes four digits only
        vault.encrypt_pin(vault.seal(pin, pan=PAN), to=ToEnvelope(profile="interswitch", pan=PAN))
    answers.append(str(refused.value))
    return repr(answers + keep(vault, pin)).encode()


def keep(vault: Vault, pin: str) -> list[object]:
    """Have the PIN of a card kept, checked, changed and revealed; give all that came back."""
    cards = vault.cards
    number = f"{next(NUMBERS):03}"
    card = cards.register(
        program="credit", pan=PAN, expiry="2812", status="ACTIVE", sequence_number=number
    )
    token = cards.issue_control_token(card.card_id, "SET_PIN").token

    def seal(digits: str) -> SealedPin:
        return vault.seal(digits, card=card.card_id, profile="sealed-card")

    wrong = f"{MARK}00000001"
    answers: list[object] = [
        card,
        cards.set_pin(control_token=token, new_pin=seal(pin)),
        cards.check_pin(card.card_id, seal(wrong)),
        cards.check_pin(card.card_id, seal(pin)),
        cards.change_pin(card.card_id, current_pin=seal(wrong), new_pin=seal(pin)),
        cards.reset_pin(card.card_id, new_pin=seal(pin)),
    ]
    token = cards.issue_control_token(card.card_id, "REVEAL_PIN").token
    with RevealKey() as key:
        revealed = cards.reveal_pin(token, key=key, verified_by="OTP")
        assert key.open(revealed) == pin
    return [*answers, revealed]


def test_no_pin_stands_in_any_output_of_the_service(server: RunningServer) -> None:
    environment = server.environment
    pins = [random_pin() for _ in range(5)]
    with server.connect() as vault:
        answers = b"".join(use(vault, environment, pin) for pin in pins)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.admin_port}/metrics") as told:
            metrics = told.read()
    written = {
        path: path.read_bytes()
        for folder in ("audit", "state")
        for path in (environment.root / folder).rglob("*")
        if path.is_file()
    }
    written |= {path: path.read_bytes() for path in environment.root.glob("store.db*")}
    written[environment.root / "server.log"] = (environment.root / "server.log").read_bytes()
    written |= {Path("answers"): answers, Path("metrics"): metrics}
    assert {path.suffix for path in written} >= {".db", ".db-wal", ".jsonl", ".log", ".table"}
    assert b"EncryptPin" in metrics
    for path, content in written.items():
        for pin in pins:
            assert not found_in(content, pin), path
        assert PAN.encode() not in content, path


@pytest.mark.parametrize("form", ["ASCII", "BCD", "hex of ASCII", "UTF-16", "base64 at 0"])
def test_the_search_finds_what_is_there(form: str) -> None:
    pin = random_pin()
    planted = dict(forms_of(pin))[form]
    assert form in found_in(b"before" + planted + b"after", pin)


def test_memory_of_a_worker_keeps_no_pin(
    make_environment: Callable[[Settings], Environment],
) -> None:
    """Marked PINs go through; after at most 1,000 further calls none is left in a writable page.

    Only root can look; for anybody else the memory is closed, which is as good.
    """
    environment = make_environment(
        Settings(workers=1, per_caller="100000/s", per_pan="100000/s", mode="production",
                 reflection=False)
    )  # fmt: skip
    pins = [random_pin() for _ in range(MARKED)]
    to = ToPinBlock(key="zpk-switch", format="ISO_3", pan=PAN)
    with RunningServer(environment) as server, server.connect() as vault:
        for pin in pins:
            vault.encrypt_pin(vault.seal(pin, pan=PAN), to=to)
        for pin in pins[:KEPT]:
            keep(vault, pin)
        assert server.process is not None
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        (worker,) = (int(pid) for pid in children.read_text().split())
        if os.geteuid() == 0:
            assert len(left_in_memory(os.getpid(), pins)) == MARKED, (
                "the search finds what is there"
            )
            assert left_after(FURTHER, vault, worker, pins) == []
        else:
            with pytest.raises(PermissionError):
                Path(f"/proc/{worker}/maps").read_text()


def left_after(calls: tuple[int, ...], vault: Vault, worker: int, pins: list[str]) -> list[int]:
    """Look after so many calls, and again after the next, as long as something is left."""
    left: list[int] = []
    for count in calls:
        for _ in range(count):
            vault.list_keys()
        left = left_in_memory(worker, pins)
        if not left:
            break
    return left


def left_in_memory(pid: int, pins: list[str]) -> list[int]:
    """Give the numbers of the marked PINs that stand in a writable page, as ASCII or BCD."""
    wanted = {form: number for number, pin in enumerate(pins)
              for form in (pin.encode(), bytes.fromhex(pin))}  # fmt: skip
    found: set[int] = set()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123 - not a file
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if match is None:
                continue
            start, end = int(match[1], 16), int(match[2], 16)
            memory.seek(start)
            marked = MARKED_FORM.findall(memory.read(end - start))
            found.update(wanted[form] for form in marked if form in wanted)
    return sorted(found)


PRIVATE = """
import ctypes, os, sys, time
from pinvault.server.hardening import harden
if os.geteuid() == 0:
    os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as after an exec by an ordinary user: dumpable
if sys.argv[1] == "hardened":
    harden()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("kind", "readable"), [("ordinary", True), ("hardened", False)])
def test_another_process_of_the_same_user_cannot_read_the_memory(kind: str, readable: bool) -> None:
    """The same look succeeds on a process that has not been hardened."""
    program = [sys.executable, "-c", PRIVATE, kind]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        looked = subprocess.run(
            ["head", "-c", "64", f"/proc/{process.pid}/maps"],
            user=65534 if os.geteuid() == 0 else None,
            capture_output=True,
            check=False,
        )
        process.kill()
    assert (looked.returncode == 0 and len(looked.stdout) == 64) is readable
