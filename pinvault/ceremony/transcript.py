"""The transcript of a ceremony: who did what when, and what became of it, signed; no secret.

Rules:
- Check values and public facts only: no component, no passphrase, no challenge's answer but
  signatures, which anybody may see.
- One source: the signature is over the facts, and the text for people is made of them. Text that
  was edited is not what the facts give.
- The audit log holds the digest, so a transcript cannot be left out or put in later.
"""

import hashlib
from typing import Annotated, Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509 import load_der_x509_certificate
from msgspec import Meta

from pinvault.ceremony.people import Certificate, Custodian, has_signed

REHEARSAL_MARK: Final = "REHEARSAL: no key was loaded, and these are not a key's components"

Hex = Annotated[str, Meta(pattern=r"^([0-9a-f]{2})*\Z")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Result = Literal["loaded", "rehearsed", "aborted", "refused", "failed"]


class _Fact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a transcript."""


class Ground(_Fact, frozen=True):
    """Where a ceremony was held: by whom and with what."""

    operator: str
    host: str
    software: str
    token_label: str
    token_serial: str
    config_sha256: Digest


class KeyFacts(_Fact, frozen=True):
    """The key in the words of X9.143; `check_value` is that of the combined key, once known."""

    id: str
    usage: str
    algorithm: str
    mode: str
    exportability: str
    valid_until: str = ""
    variant: bool = False
    check_value: str = ""


class Person(_Fact, frozen=True):
    """A custodian, and how they proved who they are: with a certificate (DER) or a passphrase."""

    name: str
    certificate: Hex = ""

    @property
    def means(self) -> str:
        """Say how, in words for people."""
        if not self.certificate:
            return "passphrase"
        return f"certificate, SHA-256 {hashlib.sha256(bytes.fromhex(self.certificate)).hexdigest()}"


def person(custodian: Custodian) -> Person:
    """Tell of a custodian what anybody may know."""
    if not isinstance(custodian.means, Certificate):
        return Person(name=custodian.name)
    return Person(
        name=custodian.name, certificate=custodian.means.leaf.public_bytes(Encoding.DER).hex()
    )


class Step(_Fact, frozen=True):
    """Something that was done. `statement` and `signature` are those of a certificate's holder."""

    time: str
    who: str
    done: str
    check_value: str = ""
    statement: str = ""
    signature: Hex = ""


class Transcript(_Fact, frozen=True):
    """All that is known of a ceremony that ended, however it did."""

    kind: Literal["CEREMONY", "REHEARSAL"]
    ceremony_file: str
    ceremony_sha256: Digest
    ground: Ground
    key: KeyFacts
    custodians: tuple[Person, ...]
    steps: tuple[Step, ...]
    result: Result
    cause: str = ""


class Signature(_Fact, frozen=True):
    """The signature of the token's audit signing key: r and s, over `statement`."""

    signer: str
    public_key: Hex
    signature: Annotated[str, Meta(pattern=r"^[0-9a-f]{128}\Z")]


class SignedTranscript(_Fact, frozen=True):
    """What the JSON file holds. A token that failed leaves no signature."""

    transcript: Transcript
    signature: Signature | None


def digest(transcript: Transcript) -> str:
    """Give the SHA-256 by which the audit log knows the transcript, in hex."""
    body = msgspec.json.encode(transcript, order="deterministic")
    return hashlib.sha256(b"pinvault key ceremony transcript v1\n" + body).hexdigest()


def encode(signed: SignedTranscript) -> bytes:
    """Give the JSON file."""
    return msgspec.json.format(msgspec.json.encode(signed, order="deterministic"), indent=2) + b"\n"


def decode(raw: bytes) -> SignedTranscript:
    """Read a JSON file; ValueError for what is none."""
    try:
        return msgspec.json.decode(raw, type=SignedTranscript)
    except msgspec.MsgspecError:
        raise ValueError("this is no transcript") from None


def is_genuine(signed: SignedTranscript) -> bool:
    """Tell whether the signature is that of the public key beside it, over these facts.

    Whose key it is, tells its check value: the SHA-256 of the public key, in the key ring.
    """
    if signed.signature is None:
        return False
    raw = bytes.fromhex(signed.signature.signature)
    r, s = (int.from_bytes(half, "big") for half in (raw[:32], raw[32:]))
    try:
        key = load_der_public_key(bytes.fromhex(signed.signature.public_key))
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return False
        key.verify(
            utils.encode_dss_signature(r, s),
            bytes.fromhex(digest(signed.transcript)),
            ec.ECDSA(utils.Prehashed(hashes.SHA256())),
        )
    except (ValueError, InvalidSignature):
        return False
    return True


def unsigned_steps(told: Transcript) -> list[Step]:
    """Give the steps with a statement that the custodian's certificate did not sign."""
    leaves = {
        who.name: load_der_x509_certificate(bytes.fromhex(who.certificate))
        for who in told.custodians
        if who.certificate
    }
    return [
        step
        for step in told.steps
        if step.statement
        and not (
            step.who in leaves
            and has_signed(leaves[step.who], step.statement.encode(), bytes.fromhex(step.signature))
        )
    ]


def render(signed: SignedTranscript) -> str:
    """Give the text for people: to be printed, signed by hand and filed."""
    told, key = signed.transcript, signed.transcript.key
    rows = [
        ("Ceremony file", told.ceremony_file),
        ("  SHA-256", told.ceremony_sha256),
        ("Operator", f"{told.ground.operator} on {told.ground.host}"),
        ("Software", told.ground.software),
        ("Configuration", told.ground.config_sha256),
        ("Token", f"{told.ground.token_label}, serial {told.ground.token_serial}"),
        ("Key", key.id),
        *attributes(key),
        ("Check value", key.check_value or "not reached"),
        *(
            (f"Custodian {number}", f"{who.name} ({who.means})")
            for number, who in enumerate(told.custodians, 1)
        ),
    ]
    return "\n".join(
        [
            f"KEY {told.kind}" if told.kind == "CEREMONY" else REHEARSAL_MARK,
            "",
            *(f"{name:<18}{value}".rstrip() for name, value in rows),
            "",
            *(_line(step) for step in told.steps),
            "",
            f"RESULT: {told.result.upper()}" + (f" ({told.cause})" if told.cause else ""),
            f"Transcript SHA-256: {digest(told)}",
            *_signature_lines(signed.signature),
            "",
            *(f"By hand, {who.name}: {'_' * 32}\n" for who in told.custodians),
        ]
    )


def attributes(key: KeyFacts) -> list[tuple[str, str]]:
    """Give the X9.143 attributes of a key as name and value."""
    return [
        ("  usage", key.usage),
        ("  algorithm", key.algorithm + (", a variant" if key.variant else "")),
        ("  mode of use", key.mode),
        ("  exportability", key.exportability),
        ("  valid until", key.valid_until or "no end set"),
    ]


def _line(step: Step) -> str:
    value = f": {step.check_value}" if step.check_value else ""
    return f"{step.time}  {step.who}: {step.done}{value}"


def _signature_lines(signature: Signature | None) -> list[str]:
    if signature is None:
        return ["NOT SIGNED: the token could not sign"]
    return [f"Signed in the token by {signature.signer}:", f"  {signature.signature}"]
