"""The key ring: the reviewed TOML file that names every key, and its refusals.

Rules:
- Unknown members, unknown words, duplicates and combinations without a role are refused, and the
  error names the file, the key and the remedy.
- At most one version of a name is active; the others may be decipher-only or retired.
- A check value has exactly the length its algorithm demands. A symmetric key that may only decipher
  also has a `decipher_check_value`, because its standard one cannot be recomputed, and one that may
  only derive a `derivation_check_value`.
- The file holds no secret: check values and names only.
"""

import errno
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from pkcs11 import ObjectClass

from hsm.errors import KeyringError, UnknownKey
from hsm.roles import PKCS1_ROLE, ROLES, Role
from hsm.vocabulary import Algorithm, Family, Mode, Origin, State, Usage

__all__ = [
    "Algorithm",
    "Family",
    "KeyEntry",
    "Keyring",
    "Mode",
    "Origin",
    "State",
    "Usage",
    "dump",
    "load",
    "parse",
]

NAME_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,47}")
CHECK_VALUE_DIGITS: Final[Mapping[Family, tuple[int, ...]]] = {
    Family.TDES: (6,),
    Family.AES: (6, 10),
    Family.HMAC: (6,),
    Family.RSA: (64,),
    Family.EC: (64,),
}
"""Hex digits that a check value of each family may have."""

PKCS1_ALGORITHM: Final = "RSA1_5"
"""The JWA name (RFC 7518, 4.2) of a sealing key that opens by PKCS #1 v1.5."""
SEALING_ALGORITHMS: Final = ("RSA-OAEP", "RSA-OAEP-256")
"""JWA names (RFC 7518, 4.3) that every other sealing key may be offered under."""

_BEHAVIOUR_DIGITS: Final = 6
_MOST_BYTES: Final = 16 * 1024 * 1024
_HEX: Final = re.compile(r"[0-9A-F]+")
_Word = TypeVar("_Word", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEntry:
    """One key of the ring.

    `check_value` is upper-case hex (see `hsm.check_values`). `valid_from` and `valid_until` bound
    the cryptoperiod, both days included; the key ring records it, the service enforces it. `jwa`
    is for RSA keys of mode D alone, and fixes their padding: an OAEP hash or, of usage D1, RSA1_5.
    """

    name: str
    version: int
    usage: Usage
    algorithm: Algorithm
    mode: Mode
    check_value: str
    origin: Origin
    state: State
    valid_from: date
    valid_until: date | None = None
    decipher_check_value: str | None = None
    derivation_check_value: str | None = None
    destroyable: bool = False
    jwa: str | None = None

    @property
    def id(self) -> str:
        """`name/version`: also the CKA_LABEL and, in UTF-8, the CKA_ID of the key's objects."""
        return f"{self.name}/{self.version}"

    @property
    def role(self) -> Role:
        """The role whose template the key's objects must equal."""
        if self.jwa == PKCS1_ALGORITHM:
            return PKCS1_ROLE
        return ROLES[self.usage, self.algorithm.family, self.mode]

    def in_cryptoperiod(self, on: date) -> bool:
        """Whether `on` lies between `valid_from` and `valid_until`, both included."""
        return self.valid_from <= on and (self.valid_until is None or on <= self.valid_until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """All keys, in the order of the file."""

    keys: tuple[KeyEntry, ...]

    def entry(self, key_id: str) -> KeyEntry:
        """The key with this id. UnknownKey when there is none."""
        for key in self.keys:
            if key.id == key_id:
                return key
        raise UnknownKey

    def versions(self, name: str) -> tuple[KeyEntry, ...]:
        """All versions of a name, the highest first; empty when there is none."""
        found = [key for key in self.keys if key.name == name]
        return tuple(sorted(found, key=lambda key: key.version, reverse=True))

    @property
    def in_use(self) -> tuple[KeyEntry, ...]:
        """The keys that must be in the token: all that are not retired."""
        return tuple(key for key in self.keys if key.state is not State.RETIRED)


def load(path: Path) -> Keyring:
    """The key ring in the file at `path`. KeyringError names the file, the key and the remedy."""
    try:
        text = contents(path)[1].decode("utf-8")
    except (OSError, UnicodeDecodeError):
        raise unreadable(path) from None
    return parse(text, source=str(path))


def contents(path: Path) -> tuple[os.stat_result, bytes]:
    """What the file holds, and its state then. OSError for what no key ring could be: a pipe would
    be waited for, a device read without end.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        raw = file.read(_MOST_BYTES + 1) if stat.S_ISREG(found.st_mode) else None
    if raw is None or len(raw) > _MOST_BYTES:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return found, raw


def unreadable(path: Path) -> KeyringError:
    """What is to be said of a key ring file that could not be read as text."""
    if path.exists():
        remedy = "make it a file in UTF-8 that this user may read"
        return KeyringError("the key ring cannot be read", file=str(path), remedy=remedy)
    remedy = "make the first key, which begins it, or correct the path"
    return KeyringError("there is no key ring yet", file=str(path), remedy=remedy)


def parse(text: str, *, source: str) -> Keyring:
    """The key ring in a TOML text; `source` names it in errors."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise KeyringError("the key ring is not TOML", file=source, remedy=str(error)) from None
    rows = document.get("key", [])
    if set(document) - {"key"} or not isinstance(rows, list):
        raise KeyringError(
            "the key ring holds something other than keys",
            file=source,
            remedy="keep only [[key]] tables",
        )
    keys = tuple(_Row(row, source, position).entry() for position, row in enumerate(rows, 1))
    _refuse_clashes(keys, source)
    return Keyring(keys=keys)


def dump(keyring: Keyring) -> str:
    """The TOML text of a key ring: members in the order of `KeyEntry`, what is unset left out.

    `parse(dump(keyring))` is the same key ring.
    """
    return "\n".join(_dump_entry(key) for key in keyring.keys)


def _dump_entry(entry: KeyEntry) -> str:
    lines = ["[[key]]"]
    for member in fields(entry):
        value = getattr(entry, member.name)
        if value is None or (member.name == "destroyable" and not value):
            continue
        lines.append(f"{member.name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: str | int | bool | date) -> str:
    """A TOML value; every text of an entry is a word without quotes or escapes."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return value.isoformat() if isinstance(value, date) else str(value)


def _refuse_clashes(keys: Iterable[KeyEntry], source: str) -> None:
    ids: set[str] = set()
    active: set[str] = set()
    for key in keys:
        if key.id in ids:
            raise KeyringError(
                "two keys have one id", file=source, key=key.id, remedy="give one a new version"
            )
        ids.add(key.id)
        if key.state is State.ACTIVE:
            if key.name in active:
                raise KeyringError(
                    "two versions of a key are active",
                    file=source,
                    key=key.id,
                    remedy="make the older one decipher-only or retired",
                )
            active.add(key.name)


@dataclass(frozen=True, slots=True)
class _Row:
    """One [[key]] table on its way to becoming a `KeyEntry`."""

    row: Any
    source: str
    position: int

    def entry(self) -> KeyEntry:
        self._check_members()
        entry = KeyEntry(
            name=self._name(),
            version=self._version(),
            usage=self._word("usage", Usage),
            algorithm=self._word("algorithm", Algorithm),
            mode=self._word("mode", Mode),
            check_value=self._text("check_value"),
            origin=self._word("origin", Origin),
            state=self._word("state", State),
            valid_from=self._date("valid_from"),
            valid_until=self._date("valid_until") if "valid_until" in self.row else None,
            decipher_check_value=self._optional_text("decipher_check_value"),
            derivation_check_value=self._optional_text("derivation_check_value"),
            destroyable=self._flag("destroyable"),
            jwa=self._optional_text("jwa"),
        )
        self._check_purpose(entry)
        self._check_values(entry)
        self._check_life(entry)
        return entry

    def _refuse(self, problem: str, member: str, remedy: str) -> KeyringError:
        return KeyringError(
            problem, file=self.source, key=self._title(), member=member, remedy=remedy
        )

    def _title(self) -> str:
        if isinstance(self.row, dict) and isinstance(self.row.get("name"), str):
            return f"{self.row['name']}/{self.row.get('version', '?')}"
        return f"number {self.position}"

    def _check_members(self) -> None:
        if not isinstance(self.row, dict):
            raise self._refuse("a key is not a table", "key", "write it as a [[key]] table")
        known = {member.name for member in fields(KeyEntry)}
        for member in sorted(set(self.row) - known):
            raise self._refuse("a key has an unknown member", member, "remove or correct it")
        optional = {member.name for member in fields(KeyEntry) if member.default is not MISSING}
        for member in sorted(known - optional - set(self.row)):
            raise self._refuse("a key lacks a member", member, "add it")

    def _name(self) -> str:
        name = self._text("name")
        if not NAME_PATTERN.fullmatch(name):
            raise self._refuse(
                "a name is malformed", "name", "use at most 48 of a-z, 0-9, dot, dash, underscore"
            )
        return name

    def _version(self) -> int:
        version = self.row["version"]
        if type(version) is not int or not 1 <= version <= 9999:
            raise self._refuse("a version is malformed", "version", "use 1 to 9999")
        return int(version)

    def _text(self, member: str) -> str:
        value = self.row[member]
        if not isinstance(value, str):
            raise self._refuse("a member is not text", member, "write it in quotes")
        return value

    def _optional_text(self, member: str) -> str | None:
        return self._text(member) if member in self.row else None

    def _word(self, member: str, words: type[_Word]) -> _Word:
        text = self._text(member)
        if text not in {word.value for word in words}:
            raise self._refuse(
                "a word is unknown", member, "use one of " + ", ".join(word.value for word in words)
            )
        return words(text)

    def _date(self, member: str) -> date:
        value = self.row[member]
        if not isinstance(value, date) or isinstance(value, datetime):
            raise self._refuse("a member is not a date", member, "write it as 2026-01-31")
        return value

    def _flag(self, member: str) -> bool:
        value = self.row.get(member, False)
        if not isinstance(value, bool):
            raise self._refuse("a member is not true or false", member, "write true or false")
        return value

    def _check_purpose(self, entry: KeyEntry) -> None:
        family = entry.algorithm.family
        if (entry.usage, family, entry.mode) not in ROLES:
            known = [f"{its} {mode}" for usage, its, mode in ROLES if usage is entry.usage]
            raise self._refuse(
                "no role has this usage, algorithm and mode",
                "usage",
                f"with {entry.usage} go {', '.join(known) or 'no others: use another usage'}",
            )
        seals = family is Family.RSA and entry.mode is Mode.D
        is_pkcs1 = entry.usage is Usage.D1 and entry.jwa == PKCS1_ALGORITHM
        if seals and not is_pkcs1 and entry.jwa not in SEALING_ALGORITHMS:
            raise self._refuse(
                "a sealing key lacks its JWA name", "jwa", "use " + " or ".join(SEALING_ALGORITHMS)
            )
        if not seals and entry.jwa is not None:
            raise self._refuse("only a sealing key (RSA, mode D) has this", "jwa", "remove it")

    def _check_values(self, entry: KeyEntry) -> None:
        digits = CHECK_VALUE_DIGITS[entry.algorithm.family]
        value = entry.check_value
        if not _HEX.fullmatch(value) or len(value) not in digits:
            allowed = " or ".join(map(str, digits))
            raise self._refuse(
                "a check value is malformed", "check_value", f"use {allowed} upper-case hex digits"
            )
        self._check_behaviour("decipher_check_value", entry, due=entry.role.only_deciphers)
        self._check_behaviour("derivation_check_value", entry, due=entry.role.only_derives)

    def _check_behaviour(self, member: str, entry: KeyEntry, *, due: bool) -> None:
        """The second check value of a key that only deciphers or derives, and of no other."""
        value = getattr(entry, member)
        if value is None:
            if due:
                raise self._refuse("a key lacks its second check value", member, "add it")
        elif not due:
            raise self._refuse("a key of this role does not have this", member, "remove it")
        elif not _HEX.fullmatch(value) or len(value) != _BEHAVIOUR_DIGITS:
            raise self._refuse("a check value is malformed", member, "use 6 upper-case hex digits")

    def _check_life(self, entry: KeyEntry) -> None:
        if entry.valid_until is not None and entry.valid_until < entry.valid_from:
            raise self._refuse("a key ends before it begins", "valid_until", "use a later date")
        is_partners = entry.role.operative is ObjectClass.PUBLIC_KEY
        if is_partners and entry.origin is Origin.GENERATED:
            raise self._refuse(
                "a partner's public key cannot be generated here", "origin", 'use "imported"'
            )
