"""What a PKCS#11 module can do, which tokens it offers, and what is wrong with one of them.

Rules:
- Nothing on the token is changed: whatever is made for a trial is a session object.
- Each check says what was looked at, the verdict, and what to do about a fault.
- A check that cannot be made is told as such, and no later one is guessed.
- At most one login is tried.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, Session, Token, TokenFlag
from pkcs11.exceptions import PKCS11Error

from hsm import keyring as keyrings
from hsm import keys, token
from hsm.attributes import mechanism_name
from hsm.errors import (
    Finding,
    HsmConfigurationError,
    HsmError,
    InspectionFailed,
    Severity,
    return_value,
)
from hsm.inspection import inspect_token
from hsm.mechanisms import Operation, RsaPadding, invocation, needed
from hsm.module import Library
from hsm.roles import ROLES
from hsm.token import TokenLocation
from hsm.vocabulary import Family

_MESSAGE: Final = b"known answer"
_HASHES: Final = ((RsaPadding.OAEP_SHA1, hashes.SHA1()), (RsaPadding.OAEP_SHA256, hashes.SHA256()))  # noqa: S303


class Verdict(StrEnum):
    """How a check ended."""

    GOOD = "ok"
    NOTE = "note"
    FAULT = "fault"
    BLOCKED = "could not look"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the diagnosis."""

    subject: str
    verdict: Verdict
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to look at: always the module; a token and its key ring when they are named."""

    module: Path
    label: str | None = None
    serial: str | None = None
    pin_file: Path | None = None
    keyring: Path | None = None

    def location(self) -> TokenLocation | None:
        """The token to log in to, when everything that takes is named."""
        if self.label is None or self.serial is None or self.pin_file is None:
            return None
        return TokenLocation(
            module=self.module, label=self.label, serial=self.serial, pin_file=self.pin_file
        )


def diagnose(question: Question) -> tuple[Check, ...]:
    """Every check that can be made, in order."""
    try:
        library = Library.load(question.module)
    except HsmConfigurationError as error:
        return (_blocked("module", error),)
    try:
        return tuple(_examine(library, question))
    finally:
        library.close()


def exit_code(checks: tuple[Check, ...]) -> int:
    """0 when all is well, 1 when something is wrong, 2 when it could not be looked at."""
    verdicts = {check.verdict for check in checks}
    if Verdict.BLOCKED in verdicts:
        return 2
    return 1 if Verdict.FAULT in verdicts else 0


def _examine(library: Library, question: Question) -> Iterator[Check]:
    detail = f"{library.description} {library.version}, PKCS#11 {library.cryptoki_version}"
    yield Check(subject="module", verdict=Verdict.GOOD, detail=detail)
    try:
        tokens = [each for each in library.tokens() if each.flags & TokenFlag.TOKEN_INITIALIZED]
        yield from _list_tokens(tokens)
        location = question.location()
        if location is None:
            yield from (_check_mechanisms(tokens[0]) if tokens else ())
            return
        found = token.find(library, location)
        yield from _check_mechanisms(found)
        yield from _check_oaep(found, location)
        if question.keyring is not None:
            yield from _check_keyring(library, location, question.keyring)
    except HsmError as error:
        yield _blocked("token", error)
    except PKCS11Error as error:
        yield Check(
            subject="token",
            verdict=Verdict.BLOCKED,
            detail=return_value(error).name,
            remedy="look into the token's own log, then try again",
        )


def _list_tokens(tokens: list[Token]) -> Iterator[Check]:
    if not tokens:
        yield Check(
            subject="tokens",
            verdict=Verdict.BLOCKED,
            detail="none is initialised",
            remedy="initialise one (SoftHSM: softhsm2-util --init-token --free), and check"
            " SOFTHSM2_CONF",
        )
    for each in tokens:
        detail = f"label {each.label}, serial {each.serial.decode('ascii', 'replace')}"
        yield Check(subject="token", verdict=Verdict.NOTE, detail=detail)


def _check_mechanisms(found: Token) -> Iterator[Check]:
    """Every mechanism that some role allows. That a key ring lacks one is for its own check."""
    offered = {int(each) for each in found.slot.get_mechanisms()}
    wanted = {
        mechanism
        for role in ROLES.values()
        for grant in role.grants.values()
        for mechanism in grant.mechanisms
    }
    for mechanism in sorted(wanted, key=mechanism_name):
        is_there = mechanism in offered
        yield Check(
            subject=f"mechanism {mechanism_name(mechanism)}",
            verdict=Verdict.GOOD if is_there else Verdict.NOTE,
            detail="yes" if is_there else "no",
            remedy="" if is_there else "keys whose role needs it cannot be used on this token",
        )


def _check_oaep(found: Token, location: TokenLocation) -> Iterator[Check]:
    """Which OAEP hashes really work: a token may list the mechanism and know SHA-1 alone."""
    session = token.open_session(found, location)
    try:
        yield Check(subject="login", verdict=Verdict.GOOD, detail="accepted")
        public, private = _session_pair(session)
        for name, algorithm in _HASHES:
            works = _opens(private, public, name, algorithm)
            yield Check(
                subject=f"RSA {name.value}",
                verdict=Verdict.GOOD if works else Verdict.NOTE,
                detail="works" if works else "does not work",
                remedy="" if works else "do not give a sealing key this algorithm (jwa) here",
            )
    finally:
        token.close_session(session)


def _session_pair(session: Session) -> tuple[rsa.RSAPublicKey, Any]:
    """A throw-away RSA pair; the private half may decipher and nothing else."""
    common = {Attribute.TOKEN: False}
    public, private = session.generate_keypair(
        KeyType.RSA,
        2048,
        capabilities=MechanismFlag(0),
        mechanism=Mechanism.RSA_PKCS_KEY_PAIR_GEN,
        public_template={**common, Attribute.PRIVATE: False},
        private_template={**common, Attribute.EXTRACTABLE: False, Attribute.DECRYPT: True},
    )
    loaded = serialization.load_der_public_key(keys.read_public_key(public, Family.RSA))
    if not isinstance(loaded, rsa.RSAPublicKey):
        raise HsmConfigurationError("the token made another key than it was asked for")
    return loaded, private


def _opens(
    private: Any, public: rsa.RSAPublicKey, name: RsaPadding, algorithm: hashes.HashAlgorithm
) -> bool:
    sealed = public.encrypt(_MESSAGE, padding.OAEP(padding.MGF1(algorithm), algorithm, label=None))
    how = invocation(Operation.RSA_DECRYPT, Family.RSA, name)
    try:
        opened = private.decrypt(sealed, mechanism=how.mechanism, mechanism_param=how.parameter)
    except PKCS11Error:
        return False
    return bytes(opened) == _MESSAGE


def _check_keyring(library: Library, location: TokenLocation, path: Path) -> Iterator[Check]:
    keyring = keyrings.load(path)
    try:
        findings = inspect_token(library, location, keyring)
    except InspectionFailed as error:
        findings = error.findings
    except HsmConfigurationError as error:
        yield Check(
            subject="key ring",
            verdict=Verdict.FAULT,
            detail=error.problem,
            remedy=error.facts.get("remedy", ""),
        )
        return
    yield from map(_from_finding, findings)
    if not any(finding.severity is Severity.STOP for finding in findings):
        number = len(keyring.in_use)
        yield Check(
            subject="key ring",
            verdict=Verdict.GOOD,
            detail=f"the token agrees with all {number} keys in use"
            f" ({len(needed(keyring.in_use))} mechanisms)",
        )


def _from_finding(finding: Finding) -> Check:
    stops = finding.severity is Severity.STOP
    return Check(
        subject=f"key {finding.key_id}",
        verdict=Verdict.FAULT if stops else Verdict.NOTE,
        detail=f"{finding.attribute}: {finding.found}, expected {finding.expected}",
        remedy=finding.remedy,
    )


def _blocked(subject: str, error: HsmError) -> Check:
    return Check(
        subject=subject,
        verdict=Verdict.BLOCKED,
        detail=error.problem,
        remedy=error.facts.get("remedy", ""),
    )
