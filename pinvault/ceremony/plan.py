"""The reviewed file of a ceremony: which key, and whose components make it.

Rules:
- Everything that steers the ceremony stands in the file, and its SHA-256 names it: certificates
  are pinned in it. It is read once.
- Unknown members are errors. Errors name the file, the member and the remedy, never a value.
- Custodians are different people: no two have one name, one certificate or key, or one hash.
"""

import hashlib
import tomllib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Meta

from pinvault.ceremony.people import Certificate, Custodian, Passphrase, require_phc
from pinvault.model.custody import WantedKey
from pinvault.model.keys import Algorithm, Mode, Usage

COMPONENT_BYTES: Final = {
    Algorithm.TDES_2KEY: 16,
    Algorithm.TDES_3KEY: 24,
    Algorithm.AES_128: 16,
    Algorithm.AES_192: 24,
    Algorithm.AES_256: 32,
}
"""The keys that can come in components, and their lengths."""
TDES_DIGITS: Final = 6


class PlanError(Exception):
    """The file of a ceremony cannot be used: what is wrong and what to do."""

    def __init__(self, path: Path, member: str, text: str) -> None:
        super().__init__(f"{path}: {member}: {text}" if member else f"{path}: {text}")
        self.path = path


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class KeyTable(_Table, frozen=True):
    """What the key shall be. `variant` and `check_value` are hex. `previous_until` is the last day
    of the version before it. A key of components does not leave again: its exportability is N.
    """

    name: Annotated[str, Meta(pattern=r"^(?!.*[0-9]{12})(?!.*[0-9a-f]{16})[a-z][a-z0-9-]{0,30}\Z")]
    usage: Usage
    algorithm: Algorithm
    mode: Mode
    exportability: Literal["N"] = "N"
    valid_until: date | None = None
    previous_until: date | None = None
    destroyable: bool = False
    variant: Annotated[str, Meta(pattern=r"^[0-9A-F]*\Z", max_length=64)] = ""
    check_value: Annotated[str, Meta(pattern=r"^([0-9A-F]{6}|[0-9A-F]{10}|)\Z")] = ""


class _CustodianTable(_Table, frozen=True):
    name: Annotated[str, Meta(min_length=2, max_length=64)]
    certificate: str = ""
    certificate_sha256: str = ""
    passphrase_hash: str = ""


class _File(_Table, frozen=True):
    key: KeyTable
    custodian: Annotated[tuple[_CustodianTable, ...], Meta(min_length=2, max_length=3)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A ceremony as it was reviewed. `sha256` is that of the file, in lower-case hex."""

    path: Path
    sha256: str
    key: KeyTable
    custodians: tuple[Custodian, ...]

    @property
    def wanted(self) -> WantedKey:
        """What the key shall be, for those who make it."""
        return WantedKey(
            name=self.key.name,
            usage=self.key.usage,
            algorithm=self.key.algorithm,
            mode=self.key.mode,
            valid_until=self.key.valid_until,
            destroyable=self.key.destroyable,
        )

    @property
    def variant(self) -> bytes | None:
        """What is added (XOR) to the combined components of a legacy key; None for nothing."""
        return bytes.fromhex(self.key.variant) or None


def read_plan(path: Path) -> Plan:
    """Read and check the file of a ceremony, or raise PlanError with the first fault."""
    raw = path.read_bytes()
    try:
        file = msgspec.convert(tomllib.loads(raw.decode()), _File)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise PlanError(path, "", "is not TOML in UTF-8: correct it") from None
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `")
        member = place.rpartition("$")[2].rstrip("`").removeprefix(".")
        raise PlanError(path, member, f"{text}: see docs/ceremony.md") from None
    _check_key(path, file.key)
    custodians = tuple(
        _custodian(path, f"custodian[{number}]", table)
        for number, table in enumerate(file.custodian)
    )
    _check_different(path, custodians)
    return Plan(
        path=path, sha256=hashlib.sha256(raw).hexdigest(), key=file.key, custodians=custodians
    )


def _check_key(path: Path, key: KeyTable) -> None:
    size = COMPONENT_BYTES.get(key.algorithm)
    if size is None:
        text = "only TDES and AES keys come in components: generate or import this one"
        raise PlanError(path, "key.algorithm", text)
    if key.check_value and key.algorithm.startswith("TDES") and len(key.check_value) != TDES_DIGITS:
        raise PlanError(path, "key.check_value", "is 6 digits for a TDES key: correct it")
    if key.variant and (len(key.variant) != 2 * size or not key.algorithm.startswith("TDES")):
        raise PlanError(path, "key.variant", "is for TDES keys, and as long as the key: correct it")


def _custodian(path: Path, member: str, table: _CustodianTable) -> Custodian:
    if not table.name.isprintable() or table.name != table.name.strip():
        raise PlanError(path, f"{member}.name", "is not printable text: correct it")
    if bool(table.certificate) == bool(table.passphrase_hash):
        text = "needs a certificate or a passphrase_hash, one of them: correct it"
        raise PlanError(path, member, text)
    if table.passphrase_hash:
        try:
            return Custodian(name=table.name, means=Passphrase(require_phc(table.passphrase_hash)))
        except ValueError as error:
            raise PlanError(path, f"{member}.passphrase_hash", str(error)) from None
    return Custodian(name=table.name, means=_certificate(path, member, table))


def _certificate(path: Path, member: str, table: _CustodianTable) -> Certificate:
    """Read a custodian's certificate; it must be the one that was reviewed."""
    try:
        leaf = x509.load_pem_x509_certificate((path.parent / table.certificate).read_bytes())
    except ValueError:
        text = "is no certificate in PEM: correct it"
        raise PlanError(path, f"{member}.certificate", text) from None
    found = Certificate(leaf)
    if table.certificate_sha256.replace(":", "").lower() != found.sha256:
        text = "is not the certificate's: review the certificate, then write its SHA-256 here"
        raise PlanError(path, f"{member}.certificate_sha256", text)
    return found


def _check_different(path: Path, custodians: tuple[Custodian, ...]) -> None:
    names = {custodian.name.casefold() for custodian in custodians}
    proofs = {_proof(custodian) for custodian in custodians}
    if len(names) < len(custodians) or len(proofs) < len(custodians):
        text = "two custodians are one person: give each their own name and means"
        raise PlanError(path, "custodian", text)


def _proof(custodian: Custodian) -> bytes:
    """What one person has and no other: a public key or a hash."""
    if isinstance(custodian.means, Passphrase):
        return custodian.means.phc.encode()
    public = custodian.means.leaf.public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
