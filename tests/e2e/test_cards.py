"""The life of cards and their PINs through the running server, by SDK and by command line."""

import itertools
import json
import os
import re
import subprocess
import sys
import uuid
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pinvault.cli.card import card as card_command
from pinvault.cli.check import config
from pinvault.client import (
    Card,
    CardNumber,
    ExternalId,
    PinvaultError,
    RevealKey,
    SealedPin,
    ToPinBlock,
    Vault,
)
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from pinvault.store import upgrade
from tests.e2e.other_ends import jwk, reason_of
from tests.support.databases import QUICK, PostgresServer
from tests.support.install import at_a_terminal
from tests.support.running import admin, channel, records, until

PAN, OTHER_PAN = "4000001234562000", "4111111111111111"
ORIGIN = "http://localhost:8080"
PIN, NEW, OTHER = "4831", "9027", "6184"
PROGRAMS = ("debit", "credit", "prepaid")
NUMBERS = itertools.count(300)


@dataclass
class Holder:
    """A card, and who seals PINs for it."""

    vault: Vault
    card: Card

    @property
    def id(self) -> str:
        return self.card.card_id

    def seal(self, digits: str) -> SealedPin:
        return self.vault.seal(digits, card=self.id, profile="sealed-card")

    def has(self, digits: str) -> bool:
        return bool(self.vault.cards.check_pin(self.id, self.seal(digits)))

    def set(self, digits: str) -> None:
        self.vault.cards.set_pin(self.id, new_pin=self.seal(digits))

    def use_up_tries(self) -> None:
        while not self.vault.cards.check_pin(self.id, self.seal(OTHER)).blocked:
            pass


@pytest.fixture(scope="module")
def vault(server: RunningServer) -> Iterator[Vault]:
    with server.connect() as connected:
        yield connected


def register(vault: Vault, program: str = "credit", pan: str = PAN) -> Holder:
    number = f"{next(NUMBERS):03}"
    card = vault.cards.register(
        program=program,
        pan=pan,
        expiry="2812",
        status="ACTIVE",
        sequence_number=number,
        external_id=f"icrd_{uuid.uuid4()}",
    )
    return Holder(vault, card)


# The life of a card


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_whole_life_of_a_card(vault: Vault, program: str) -> None:
    holder = register(vault, program)
    cards, card_id = vault.cards, holder.id
    assert (holder.card.program, holder.card.last_four, holder.card.pin) == (program, "2000", None)

    token = cards.issue_control_token(card_id, "SET_PIN")
    weak = reason_of(lambda: cards.set_pin(control_token=token.token, new_pin=holder.seal("1111")))
    assert weak == "PIN_WEAK"
    placed = cards.set_pin(control_token=token.token, new_pin=holder.seal(PIN))
    assert (placed.card_id, placed.blocked) == (card_id, False)
    again = reason_of(lambda: cards.set_pin(control_token=token.token, new_pin=holder.seal(NEW)))
    assert again == "CONTROL_TOKEN_REFUSED"

    wrong = cards.check_pin(card_id, holder.seal(OTHER))
    assert (bool(wrong), wrong.tries_left, wrong.blocked) == (False, 2, False)
    assert holder.has(PIN)

    refused = cards.change_pin(card_id, current_pin=holder.seal(OTHER), new_pin=holder.seal(NEW))
    assert (bool(refused), refused.set_at) == (False, None)
    changed = cards.change_pin(card_id, current_pin=holder.seal(PIN), new_pin=holder.seal(NEW))
    assert changed
    assert (holder.has(PIN), holder.has(NEW)) == (False, True)

    holder.use_up_tries()
    assert reason_of(lambda: holder.has(NEW)) == "PIN_BLOCKED"
    unblocked = cards.unblock_pin(card_id).pin
    assert unblocked is not None
    assert (unblocked.tries_left, unblocked.blocked) == (3, False)
    holder.use_up_tries()
    cards.reset_pin(card_id, new_pin=holder.seal(OTHER))
    assert holder.has(OTHER)

    assert cards.set_status(card_id, "SUSPENDED").status == "SUSPENDED"
    assert reason_of(lambda: holder.has(OTHER)) == "CARD_STATUS"
    assert cards.set_status(card_id, "CLOSED").status == "CLOSED"
    assert reason_of(lambda: cards.set_status(card_id, "ACTIVE")) == "CARD_STATUS"


def test_a_pin_is_revealed_to_the_key_of_one_reveal(vault: Vault) -> None:
    holder = register(vault)
    holder.set("903715")
    issue = vault.cards.issue_control_token
    with RevealKey() as key:
        revealed = vault.cards.reveal_pin(
            issue(holder.id, "REVEAL_PIN").token, key=key, verified_by="OTP"
        )
        assert key.open(revealed) == "903715"
        again = issue(holder.id, "REVEAL_PIN").token
        reused = reason_of(lambda: vault.cards.reveal_pin(again, key=key, verified_by="OTP"))
    assert revealed.stored_key.name == "pin-reveal"
    assert reused == "RECIPIENT_KEY_REFUSED"
    debit = register(vault, "debit")
    assert reason_of(lambda: issue(debit.id, "REVEAL_PIN")) == "PIN_NOT_REVEALABLE"


def test_fields_that_name_no_card_are_taken_by_the_row_that_says_so(
    vault: Vault, server: RunningServer
) -> None:
    """As Interswitch's clients make them: by PKCS #1 v1.5, in lower-case hex of hex."""
    found = jwk(server, "interswitch-seal")
    n, e = (int.from_bytes(urlsafe_b64decode(part + "==")) for part in (found.n, found.e))
    public = rsa.RSAPublicNumbers(e, n).public_key()

    def field(digits: str) -> SealedPin:
        sealed = public.encrypt(digits.encode().hex().encode(), padding.PKCS1v15())
        return SealedPin(profile="interswitch-in", ciphertext=sealed.hex().encode())

    holder = register(vault, "debit")
    assert found.alg == "RSA1_5"
    placed = vault.cards.set_pin(holder.id, new_pin=field(PIN))
    assert [key.name for key in placed.source_keys] == ["interswitch-seal"]
    changed = vault.cards.change_pin(holder.id, current_pin=field(PIN), new_pin=field(NEW))
    assert (bool(changed), holder.has(NEW)) == (True, True)
    used = field(NEW)
    assert vault.cards.check_pin(holder.id, used)
    assert reason_of(lambda: vault.cards.check_pin(holder.id, used)) == "ENVELOPE_REPLAYED"
    noise = SealedPin(profile="interswitch-in", ciphertext=b"5a" * 256)
    for bad in (field("48311"), field("483"), noise):
        for _ in range(2):
            refused = reason_of(lambda bad=bad: vault.cards.check_pin(holder.id, bad))
            assert refused == "PIN_SOURCE_REFUSED"
    elsewhere = ToPinBlock(key="zpk-switch", format="ISO_0", pan=PAN)
    refused = reason_of(lambda: vault.encrypt_pin(field(NEW), to=elsewhere))
    assert refused == "PROFILE_NOT_GRANTED"


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_reissued_pin_goes_to_the_partner_and_is_the_cards(
    vault: Vault, server: RunningServer, program: str
) -> None:
    holder, partner = register(vault, program), server.environment.partner()
    pins = []
    for _ in range(2):
        issued = vault.cards.reissue_pin(holder.id, profile="interswitch")
        pins.append(partner.open_field(issued.envelope))
        assert holder.has(pins[-1])
        assert (issued.value is not None) == (program == "prepaid")
    assert issued.target_key.name == "interswitch-pin"
    refused = reason_of(lambda: vault.cards.reissue_pin(holder.id, profile="partner-jwe"))
    assert refused == "PROFILE_NOT_GRANTED"


def test_a_token_tells_its_card_to_who_had_it_issued(vault: Vault) -> None:
    holder = register(vault)
    token = vault.cards.issue_control_token(holder.id, "SET_PIN")
    found = vault.cards.get_control_token(token.token)
    assert (found.card_id, found.kind, found.expires_at) == (
        *(holder.id, "SET_PIN", token.expires_at),
    )
    vault.cards.set_pin(control_token=token.token, new_pin=holder.seal(PIN))
    used = reason_of(lambda: vault.cards.get_control_token(token.token))
    assert used == "CONTROL_TOKEN_REFUSED"


def test_a_card_is_found_in_three_ways_and_registered_once(vault: Vault) -> None:
    card = register(vault).card
    external = ExternalId(program="credit", external_id=card.external_id or "")
    number = CardNumber(pan=PAN, sequence_number=card.sequence_number)
    assert vault.cards.get(card.card_id) == vault.cards.get(external) == vault.cards.get(number)
    register(vault)
    assert reason_of(lambda: vault.cards.get(CardNumber(pan=PAN))) == "CARD_AMBIGUOUS"
    twice = reason_of(
        lambda: vault.cards.register(
            program="debit", pan=PAN, expiry="2812", sequence_number=card.sequence_number
        )
    )
    assert twice == "CARD_ALREADY_EXISTS"
    for unknown in ("card_" + "g" * 26, ExternalId(program="credit", external_id="icrd_0")):
        assert reason_of(lambda card=unknown: vault.cards.get(card)) == "CARD_UNKNOWN"


def test_a_page_sets_a_pin_in_its_session(vault: Vault) -> None:
    holder, cards = register(vault), vault.cards
    elsewhere = reason_of(
        lambda: cards.create_session(holder.id, "SET", origin="https://evil.test")
    )
    assert elsewhere == "REQUEST_INVALID"
    for action, current, new in (("SET", None, PIN), ("CHANGE", PIN, NEW), ("RESET", None, OTHER)):
        created = cards.create_session(holder.id, action, origin=ORIGIN)
        page = cards.open_session(created.session_id, secret=created.secret)
        assert (page.card_id, page.action, page.origin) == (holder.id, action, ORIGIN)
        assert (page.min_pin_length, page.max_pin_length) == (4, 12)
        reopened = reason_of(lambda c=created: cards.open_session(c.session_id, secret=c.secret))
        assert reopened == "SESSION_REFUSED"

        def submit(now: str | None, then: str, at=created.session_id, page=page) -> bool:
            current_pin = holder.seal(now) if now else None
            return bool(
                cards.submit_pin(
                    at,
                    page_secret=page.page_secret,
                    new_pin=holder.seal(then),
                    current_pin=current_pin,
                )
            )

        assert reason_of(lambda s=submit, c=current: s(c, "1234")) == "PIN_WEAK"
        assert current is None or not submit("0000", new)
        assert submit(current, new)
        assert reason_of(lambda s=submit, c=current, n=new: s(c, n)) == "SESSION_REFUSED"
        assert holder.has(new)


# Exactly once


def test_a_request_that_is_sent_again_has_the_same_answer(vault: Vault) -> None:
    holder = register(vault)
    name, sealed = str(uuid.uuid4()), holder.seal(PIN)
    ask = {"new_pin": sealed, "request_id": name}
    first = vault.cards.set_pin(holder.id, **ask)
    assert vault.cards.set_pin(holder.id, **ask) == first
    other = {"new_pin": holder.seal(PIN), "request_id": name}
    assert reason_of(lambda: vault.cards.set_pin(holder.id, **other)) == "REQUEST_ID_REUSED"
    wrong = holder.seal(OTHER)
    told = [vault.cards.check_pin(holder.id, wrong, request_id=name) for _ in range(3)]
    assert [verdict.tries_left for verdict in told] == [2, 2, 2]


def test_an_envelope_is_good_once_whatever_it_is_for(vault: Vault) -> None:
    holder = register(vault)
    sealed = holder.seal(PIN)
    vault.cards.set_pin(holder.id, new_pin=sealed)
    assert reason_of(lambda: vault.cards.check_pin(holder.id, sealed)) == "ENVELOPE_REPLAYED"
    assert holder.has(PIN)


def in_parallel(server: RunningServer, calls: list[Callable[[Vault], object]]) -> list[str]:
    """What each call ends in, sent at once over connections of their own."""

    def end(call: Callable[[Vault], object]) -> str:
        with server.connect() as own:
            try:
                return str(bool(call(own)))
            except PinvaultError as error:
                return error.reason

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(end, calls))


def test_parallel_calls_never_have_more_tries_than_there_are(
    vault: Vault, server: RunningServer
) -> None:
    holder = register(vault)
    holder.set(PIN)
    wrong = [holder.seal(OTHER) for _ in range(16)]
    ends = in_parallel(
        server, [lambda v, pin=pin: v.cards.check_pin(holder.id, pin) for pin in wrong]
    )
    assert sorted(ends) == ["False"] * 3 + ["PIN_BLOCKED"] * 13


def test_a_token_sets_one_pin_however_many_use_it(vault: Vault, server: RunningServer) -> None:
    holder = register(vault)
    token = vault.cards.issue_control_token(holder.id, "SET_PIN").token
    pins = [f"48{at:02}" for at in range(31, 39)]
    sealed = [holder.seal(pin) for pin in pins]
    ends = in_parallel(
        server,
        [lambda v, pin=pin: v.cards.set_pin(control_token=token, new_pin=pin) for pin in sealed],
    )
    assert ends.count("True") == 1
    assert set(ends) <= {"True", "CONTROL_TOKEN_REFUSED", "PIN_CHANGED_MEANWHILE"}
    assert holder.has(pins[ends.index("True")])


# What is bound, what is kept


def test_a_pin_of_another_card_is_none_of_this_one(vault: Vault) -> None:
    holder, other = register(vault), register(vault, pan=OTHER_PAN)
    foreign = (
        (other.seal(PIN), "PIN_SOURCE_REFUSED"),
        (vault.seal(PIN, pan=OTHER_PAN), "PAN_MISMATCH"),
    )
    for sealed, reason in foreign:
        told = reason_of(lambda pin=sealed: vault.cards.set_pin(holder.id, new_pin=pin))
        assert told == reason
    vault.cards.set_pin(holder.id, new_pin=vault.seal(PIN, pan=PAN))
    assert holder.has(PIN)


def test_neither_store_nor_record_nor_log_has_a_pan_a_pin_or_a_token(
    vault: Vault, server: RunningServer
) -> None:
    holder = register(vault)
    token = vault.cards.issue_control_token(holder.id, "SET_PIN").token
    vault.cards.set_pin(control_token=token, new_pin=holder.seal("70358142"))
    environment = server.environment
    files = [
        environment.store,
        Path(f"{environment.store}-wal"),
        *(environment.root / "audit").iterdir(),
        server.log,
    ]
    kept = b"".join(file.read_bytes() for file in files if file.is_file())
    assert holder.id.encode() in kept
    for secret in (PAN, "70358142", token):
        assert secret.encode() not in kept
        assert secret.encode().hex().encode() not in kept
    assert bytes.fromhex(PAN) not in kept
    assert uuid.UUID(token).bytes not in kept


def test_the_record_names_card_and_program(vault: Vault, server: RunningServer) -> None:
    holder = register(vault)
    holder.set(PIN)
    found = [each for each in records(server, "call") if each.card == holder.id]
    assert [(each.method, each.program) for each in found] == [
        ("CardPinService.RegisterCard", "credit"),
        ("CardPinService.SetPin", "credit"),
    ]


# Health and metrics


def health(server: RunningServer) -> list[bool]:
    """Whether the server, PinBlockService and CardPinService say that they serve."""
    names = ("", "pinvault.v1.PinBlockService", "pinvault.v1.CardPinService")
    with channel(server) as opened:
        check = health_pb2_grpc.HealthStub(opened).Check
        asked = (health_pb2.HealthCheckRequest(service=name) for name in names)
        return [check(each).status == health_pb2.HealthCheckResponse.SERVING for each in asked]


def test_metrics_tell_of_the_store_and_of_blocked_pins(vault: Vault, server: RunningServer) -> None:
    def value(name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", admin(server, "/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else -1.0

    assert value("pinvault_store_up") == 1
    before = max(0.0, value("pinvault_pins_blocked_total"))
    holder = register(vault)
    holder.set(PIN)
    holder.use_up_tries()
    assert value("pinvault_pins_blocked_total") == before + 1


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    """A PostgreSQL server that may be ill-treated, as long as it is well at the end."""
    running = PostgresServer(*QUICK)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def served(
    make_environment: Callable[[Settings], Environment], database: PostgresServer
) -> Iterator[RunningServer]:
    """A server on a store of `database`, with few threads."""
    url = database.create()
    upgrade(url)
    settings = Settings(workers=1, threads=8, per_caller="1000/s", per_pan="1000/s")
    environment = make_environment(settings)
    text = environment.config.read_text()
    environment.config.write_text(
        re.sub(r'address = "sqlite:.*"', lambda _: f'address = "{url}"', text)
    )
    with RunningServer(environment) as running:
        yield running


def test_a_store_that_goes_away_takes_nothing_else_with_it(
    served: RunningServer, database: PostgresServer
) -> None:
    with served.connect() as connected:
        holder = register(connected)
        holder.set(PIN)
        assert health(served) == [True, True, True]
        database.process.kill()
        until(lambda: health(served) == [True, True, False])
        assert reason_of(lambda: connected.cards.get(holder.id)) == "STORE_UNAVAILABLE"
        assert connected.list_keys()
        database.restart()
        until(lambda: health(served) == [True, True, True])
        assert holder.has(PIN)


def test_nobody_waits_for_a_store_that_hangs(
    served: RunningServer, database: PostgresServer
) -> None:
    with served.connect() as slow, served.connect(timeout_s=2) as hasty:
        holder = register(slow)
        holder.set(PIN)
        with database.hung(), ThreadPoolExecutor(32) as threads:
            until(lambda: health(served) == [True, True, False])
            asked = [threads.submit(lambda: hasty.cards.get(holder.id)) for _ in range(100)]
            assert hasty.list_keys()
            assert {reason_of(call.result) for call in asked} == {"STORE_UNAVAILABLE"}
        until(lambda: health(served) == [True, True, True])
        assert holder.has(PIN)


def test_a_server_does_not_start_without_its_store(
    make_environment: Callable[[Settings], Environment],
) -> None:
    environment = make_environment(Settings())
    for command, code in (("serve", 2), ("doctor", 1)):
        environment.store.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "pinvault", command, str(environment.config)],
            env={**os.environ, **environment.variables(), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code
        assert "run 'pinvault store upgrade'" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_config_check_tells_what_is_kept_under_which_keys(environment: Environment) -> None:
    told = CliRunner().invoke(config, ["check", str(environment.config)]).output
    assert "store: sqlite; PANs under pan-store, 3 programs" in told
    assert "program debit: values by visa under pvk-visa; not revealed" in told
    assert "program credit: PIN blocks under pin-reference; revealed from" in told
    assert "program prepaid: values by offset under pvk-ibm; revealed from" in told


# The command line


@dataclass
class Shell:
    """The command line of a client."""

    server: RunningServer

    def environment(self) -> dict[str, str]:
        tls = self.server.environment.tls
        return {
            **os.environ,
            "PINVAULT_SERVER": f"localhost:{self.server.port}",
            "PINVAULT_CA": str(tls / "ca.pem"),
            "PINVAULT_CERTIFICATE": str(tls / "card-app.pem"),
            "PINVAULT_PRIVATE_KEY": str(tls / "card-app.key"),
            "COLUMNS": "200",
        }

    def run(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pinvault", "card", *arguments],
            env=self.environment(),
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            start_new_session=True,
        )

    def good(self, *arguments: str, typed: str = "") -> str:
        done = self.run(*arguments, typed=typed)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def shell(server: RunningServer) -> Shell:
    return Shell(server)


def test_the_life_of_a_card_on_the_command_line(shell: Shell) -> None:
    number = f"{next(NUMBERS):03}"
    facts = ("--program", "credit", "--expiry", "2812", "--sequence-number", number)
    made = shell.good(
        "register", *facts, "--external-id", f"cli-{number}", "--json", typed=f"{PAN}\n"
    )
    [card] = json.loads(made)
    card_id = card["card"]
    assert (card["last_four"], card["status"], card["pin"]) == ("2000", "INACTIVE", "none")
    named = f"credit:cli-{number}"
    assert "ACTIVE" in shell.good("status", named, "active")

    shell.good("set-pin", card_id, typed=f"{PIN}\n")
    assert shell.good("check-pin", named, typed=f"{PIN}\n").count("match") == 1
    wrong = shell.run("check-pin", card_id, "--json", typed=f"{OTHER}\n")
    assert wrong.returncode == 1
    assert json.loads(wrong.stdout) == [{"result": "mismatch", "tries_left": "2", "blocked": "no"}]
    refused = shell.run("change-pin", card_id, typed=f"{OTHER}\n{NEW}\n")
    assert refused.returncode == 1
    assert "Not the current PIN" in refused.stdout
    shell.good("change-pin", card_id, typed=f"{PIN}\n{NEW}\n")

    [token] = json.loads(shell.good("token", card_id, "set_pin", "--json"))
    [use] = json.loads(shell.good("token-use", "--json", typed=f"{token['token']}\n"))
    assert (use["card"], use["type"], use["until"]) == (card_id, "SET_PIN", token["until"])
    shell.good("set-pin", card_id, "--token", typed=f"{token['token']}\n{OTHER}\n")
    reveal = ("reveal-pin", card_id, "--verified-by", "login")
    assert shell.good(*reveal, "--to-stdout") == f"{OTHER}\n"
    hidden = shell.run(*reveal)
    assert (hidden.returncode, hidden.stdout) == (2, "")
    assert "--to-stdout" in hidden.stderr

    shell.good("reset-pin", card_id, typed=f"{PIN}\n")
    shell.good("unblock", card_id)
    assert "set" in shell.good("show", card_id)


@pytest.mark.parametrize(
    ("arguments", "typed", "said"),
    [
        (("show", "card_" + "g" * 26), "", "CARD_UNKNOWN"),
        (("show", "4000001234562000"), "", "give card_"),
        (("set-pin", "card_" + "g" * 26), "", "on standard input"),
        (("set-pin", "card_" + "g" * 26), "48a1\n", "4 to 12 decimal digits"),
        (("register", "--program", "none", "--expiry", "2812"), f"{PAN}\n", "PROGRAM_UNKNOWN"),
        (("register", "--program", "debit", "--expiry", "2813"), f"{PAN}\n", "expiry"),
    ],
)
def test_a_mistake_is_told_without_a_trace(
    shell: Shell, arguments: tuple[str, ...], typed: str, said: str
) -> None:
    done = shell.run(*arguments, typed=typed)
    assert done.returncode in {1, 2}
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "48a1" not in done.stderr


def test_a_server_must_be_named(shell: Shell) -> None:
    environment = {**os.environ, "COLUMNS": "200"}
    command = [sys.executable, "-m", "pinvault", "card", "show", "card_x"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "--server" in done.stderr


def test_at_a_terminal_pins_are_typed_unseen_and_twice(vault: Vault, shell: Shell) -> None:
    holder = register(vault)
    with at_a_terminal(shell, "card", "set-pin", holder.id) as session:
        session.answer("New PIN", PIN)
        session.answer("Repeat for confirmation", NEW)
        session.wait_for("do not match")
        session.answer("New PIN", PIN)
        session.answer("Repeat for confirmation", PIN)
        assert session.end() == 0
        assert PIN not in session.shown
    with at_a_terminal(shell, "card", "change-pin", holder.id) as session:
        session.answer("Current PIN", PIN)
        session.answer("New PIN", "90271835")
        session.answer("Repeat for confirmation", "90271835")
        assert session.end() == 0
        assert "90271835" not in session.shown
    assert holder.has("90271835")
    reveal = ("card", "reveal-pin", holder.id, "--verified-by", "LOGIN")
    with at_a_terminal(shell, *reveal) as session:
        assert session.end() == 0
        assert "90271835" in session.shown
    with at_a_terminal(shell, "card", "show", "-") as session:
        session.answer("PAN", PAN)
        assert session.end() == 2
        assert "CARD_AMBIGUOUS" in session.shown
        assert PAN not in session.shown


@dataclass
class Quick:
    """The command line of a client, in this process."""

    shell: Shell

    def __call__(self, *arguments: str, typed: str = "") -> Result:
        environment = self.shell.environment()
        return CliRunner(env=environment).invoke(card_command, arguments, input=typed)

    def good(self, *arguments: str, typed: str = "") -> dict[str, str]:
        """Give the one row of what it told."""
        done = self(*arguments, "--json", typed=typed)
        assert done.exit_code == 0, done.output
        [row] = json.loads(done.stdout)
        return row

    def refused(self, *arguments: str, typed: str = "") -> str:
        error = self(*arguments, typed=typed).exception
        assert isinstance(error, PinvaultError), error
        return error.reason


@pytest.fixture(scope="module")
def quick(shell: Shell) -> Quick:
    return Quick(shell)


def test_cards_that_share_a_pan_are_told_apart_on_the_command_line(
    vault: Vault, quick: Quick
) -> None:
    holder, _ = register(vault, "debit"), register(vault)
    number = ("--sequence-number", holder.card.sequence_number)
    assert quick.refused("show", "-", typed=f"{PAN}\n") == "CARD_AMBIGUOUS"
    for program in ((), ("--program", "debit")):
        found = quick.good("show", "-", *number, *program, typed=f"{PAN}\n")
        assert (found["card"], found["program"]) == (holder.id, "debit")
    elsewhere = ("show", "-", *number, "--program", "credit")
    assert quick.refused(*elsewhere, typed=f"{PAN}\n") == "CARD_UNKNOWN"
    quick.good("set-pin", "-", *number, typed=f"{PAN}\n{PIN}\n")
    assert holder.has(PIN)
    for option in (number, ("--program", "debit")):
        done = quick("show", holder.id, *option)
        assert done.exit_code == 2
        assert "go with a PAN" in done.stderr


def test_a_command_that_is_given_again_is_done_once(
    vault: Vault, quick: Quick, tmp_path: Path
) -> None:
    name = str(uuid.uuid4())
    facts = ("--program", "credit", "--expiry", "2812", "--status", "active")
    facts += ("--sequence-number", f"{next(NUMBERS):03}", "--request-id", name)
    made = quick.good("register", *facts, typed=f"{PAN}\n")
    assert quick.good("register", *facts, typed=f"{PAN}\n") == made
    card = made["card"]
    holder = Holder(vault, vault.cards.get(card))

    def again(verb: str, typed: str) -> list[Result]:
        """Typed once and sent three times."""
        told = ("--request-id", name, "--sealed", str(tmp_path / verb))
        return [quick(verb, card, *told, typed=text) for text in (typed, "", "")]

    for verb, typed, ends in (
        ("set-pin", f"{PIN}\n", 0),
        ("check-pin", f"{OTHER}\n", 1),
        ("change-pin", f"{PIN}\n{NEW}\n", 0),
        ("reset-pin", f"{OTHER}\n", 0),
    ):
        first, *others = again(verb, typed)
        assert first.exit_code == ends, first.output
        assert [(each.exit_code, each.stdout) for each in others] == [(ends, first.stdout)] * 2
        kept = tmp_path / verb
        assert kept.stat().st_mode & 0o777 == 0o600
        assert not any(digits in kept.read_text() for digits in typed.split())
    assert holder.has(OTHER)


def test_a_pin_that_is_typed_again_makes_another_request(
    vault: Vault, quick: Quick, tmp_path: Path
) -> None:
    holder, kept = register(vault), str(tmp_path / "kept")
    named = ("--request-id", str(uuid.uuid4()))
    quick.good("set-pin", holder.id, *named, typed=f"{PIN}\n")
    assert quick.refused("set-pin", holder.id, *named, typed=f"{PIN}\n") == "REQUEST_ID_REUSED"
    without = quick("set-pin", holder.id, "--sealed", kept, typed=f"{PIN}\n")
    assert without.exit_code == 2
    assert "give a --request-id" in without.stderr
    assert not Path(kept).exists()
    quick("check-pin", holder.id, *named, "--sealed", kept, typed=f"{PIN}\n")
    other = quick("change-pin", holder.id, *named, "--sealed", kept, typed=f"{PIN}\n{NEW}\n")
    assert other.exit_code == 1
    assert "is of another command" in other.stderr
    assert holder.has(PIN)


@pytest.mark.parametrize("action", ["SET", "change", "reset"])
def test_a_session_is_created_on_the_command_line(vault: Vault, quick: Quick, action: str) -> None:
    holder = register(vault)
    holder.set(PIN)
    created = quick.good("session", holder.id, action, "--origin", ORIGIN)
    assert (created["card"], created["action"]) == (holder.id, action.upper())
    page = vault.cards.open_session(created["session"], secret=created["secret"])
    assert (page.card_id, page.action, page.origin) == (holder.id, action.upper(), ORIGIN)
    assert page.expires_at.isoformat() == created["until"]
    shown = quick("session", holder.id, action, "--origin", ORIGIN).stdout
    assert re.search(r"[A-Za-z0-9_-]{43}", shown)
    elsewhere = ("session", holder.id, action, "--origin", "https://evil.test")
    assert quick.refused(*elsewhere) == "REQUEST_INVALID"
