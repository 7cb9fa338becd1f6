"""A ceremony without a terminal or a token: scripted answers, and check values in software."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from hsm.vocabulary import Algorithm as TokenAlgorithm
from pinvault.ceremony.people import hash_passphrase
from pinvault.ceremony.plan import Plan, read_plan
from pinvault.ceremony.procedure import Aborted, Ending, Procedure
from pinvault.development.environment import check_value
from pinvault.model.custody import KeyComponent, WantedKey
from pinvault.model.keys import Algorithm, Key, Origin, State

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
# Two clear components and the check value of their key: jPOS, JCESecurityModuleTest,
# testFormKeyFromClearComponent.
ONE, TWO = "E09B073B4007541FAB76B04370451031", "4CBF5D51EA8525EF045EFED6E386D9D9"
COMBINED_CHECK = "40D522"
ANNA, BEN, CLEO = "Anna's long passphrase", "Ben's other passphrase", "Cleo's third passphrase"
LOG_N = 14

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def xor(*values: bytes) -> bytes:
    return reduce(lambda a, b: bytes(x ^ y for x, y in zip(a, b, strict=True)), values)


def check_of(value: bytes, algorithm: str) -> str:
    return check_value(value, TokenAlgorithm(algorithm))


def phc(passphrase: str, salt: int = 0) -> str:
    return hash_passphrase(passphrase, salt=bytes([salt] * 16), log_n=LOG_N)


def certificate(
    key: PrivateKey, *, start: datetime = NOW - timedelta(days=1), days: int = 30
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "custodian")])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .sign(key, algorithm)
    )


def save(
    folder: Path,
    name: str,
    key: PrivateKey,
    password: bytes | None = None,
    *,
    start: datetime = NOW - timedelta(days=1),
) -> str:
    """Write a certificate and its key; give the certificate's SHA-256."""
    leaf = certificate(key, start=start)
    (folder / f"{name}.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password)
            if password
            else serialization.NoEncryption(),
        )
    )
    return leaf.fingerprint(hashes.SHA256()).hex()


KEY_TABLE = """\
[key]
name = "zmk-partner"
usage = "K0"
algorithm = "TDES_2KEY"
mode = "D"
"""


def person(name: str, means: str) -> str:
    return f'[[custodian]]\nname = "{name}"\n{means}\n'


def with_passphrase(name: str, passphrase: str, salt: int = 0) -> str:
    return person(name, f'passphrase_hash = "{phc(passphrase, salt)}"')


def plan_text(key: str = KEY_TABLE, *people: str) -> str:
    chosen = people or (with_passphrase("Anna", ANNA, 1), with_passphrase("Ben", BEN, 2))
    return "\n".join([key, *chosen])


def written(folder: Path, text: str) -> Path:
    path = folder / "zmk.toml"
    path.write_text(text)
    return path


def plan_of(folder: Path, key: str = KEY_TABLE, *people: str) -> Plan:
    return read_plan(written(folder, plan_text(key, *people)))


@dataclass
class ScriptedTerminal:
    """Answers what is asked for, in order; notes what was shown, and what was hidden."""

    answers: list[str | BaseException]
    shown: list[str] = field(default_factory=list)
    hidden_prompts: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.shown.append(text)

    def ask(self, prompt: str) -> str:
        self.shown.append(prompt)
        answer = self._next()
        self.shown.append(answer)
        return answer

    def hidden(self, prompt: str) -> bytearray:
        self.hidden_prompts.append(prompt)
        return bytearray(self._next().encode())

    def _next(self) -> str:
        if not self.answers:
            raise Aborted("idle")
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@dataclass
class SoftwareCustody:
    """Check values in software; remembers what it was told to load."""

    loaded: list[bytes] = field(default_factory=list)
    given: list[KeyComponent] = field(default_factory=list)
    error: Exception | None = None

    def component_check_value(self, component: KeyComponent, algorithm: Algorithm) -> str:
        return check_of(component.in_the_clear(), algorithm)

    def combined_check_value(
        self, components: Sequence[KeyComponent], algorithm: Algorithm, *, variant: bytes | None
    ) -> str:
        return check_of(self._sum(components, variant), algorithm)

    def load_components(
        self,
        wanted: WantedKey,
        components: Sequence[KeyComponent],
        *,
        variant: bytes | None,
        check_value: str | None,
        previous_until: date | None,
        timeout: float,
    ) -> Key:
        if self.error is not None:
            raise self.error
        self.given += components
        self.loaded.append(self._sum(components, variant))
        return Key(
            name=wanted.name,
            version=1,
            usage=wanted.usage,
            algorithm=wanted.algorithm,
            mode=wanted.mode,
            check_value=check_of(self.loaded[-1], wanted.algorithm),
            state=State.ACTIVE,
            origin=Origin.IMPORTED,
            valid_from=NOW.date(),
        )

    def _sum(self, components: Sequence[KeyComponent], variant: bytes | None) -> bytes:
        values = [component.in_the_clear() for component in components]
        return xor(*values, variant or bytes(len(values[0])))


def hold(
    plan: Plan,
    answers: Sequence[str | BaseException],
    *,
    custody: SoftwareCustody | None = None,
    rehearsal: bool = False,
    no_return: Callable[[], None] = lambda: None,
) -> tuple[Ending, ScriptedTerminal, SoftwareCustody]:
    """Hold a ceremony with these answers; give how it ended, and what was seen."""
    terminal, custody = ScriptedTerminal(list(answers)), custody or SoftwareCustody()
    procedure = Procedure(
        plan,
        rehearsal=rehearsal,
        terminal=terminal,
        custody=custody,
        nonce=bytes,
        now=lambda: NOW,
        no_return=no_return,
    )
    return procedure.run(), terminal, custody


def turn(plan: Plan, passphrase: str, component: str, check: str) -> list[str | BaseException]:
    """What a custodian types who makes no mistake."""
    return [plan.sha256[:16], passphrase, component, component, check]


def good_answers(plan: Plan) -> list[str | BaseException]:
    return [
        *turn(plan, ANNA, ONE, check_of(bytes.fromhex(ONE), "TDES_2KEY")),
        *turn(plan, BEN, TWO, check_of(bytes.fromhex(TWO), "TDES_2KEY")),
        *(ANNA, BEN),
    ]
