"""The token by label and serial number, and logged-in sessions with it.

Rules:
- Exactly one token has the configured label and serial number, or nothing is opened.
- The PIN of the token (CKU_USER) is read from a file that only its owner may read, passed to
  C_Login, and dropped. It is in no error, no log and no object that outlives the call.
- A refused login is never repeated: real HSMs count and lock. This module raises HsmLoginFailed
  and its callers remember it for the life of the process.
- `close` logs the whole token out (C_Logout is token-wide), so the sessions of a process open and
  close together. A session beside one that is logged in shares its login, and closes without a
  logout.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pkcs11 import Attribute, KeyType, Mechanism, Session, Token
from pkcs11.exceptions import PKCS11Error, UserAlreadyLoggedIn

from hsm import attributes
from hsm.errors import Fault, HsmLoginFailed, TokenNotFound, return_value
from hsm.module import Library
from hsm.passing import NO_DEFAULTS, destroy
from hsm.roles import passing_template

_NEEDS_A_LOGIN: Final = passing_template((Attribute.ENCRYPT,), (Mechanism.AES_ECB,))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLocation:
    """Which token: library, CKA label and serial number, and the file with its user PIN."""

    module: Path
    label: str
    serial: str
    pin_file: Path


def find(library: Library, location: TokenLocation) -> Token:
    """The one token with the label and serial number of `location`. TokenNotFound otherwise."""
    serial = location.serial.encode("utf-8")
    matching = [
        token
        for token in library.tokens()
        if token.label == location.label and token.serial == serial
    ]
    if len(matching) != 1:
        raise TokenNotFound(
            label=location.label,
            serial=location.serial,
            found=str(len(matching)),
            remedy="run `python -m hsm doctor` to list the tokens that the module offers",
        )
    return matching[0]


def open_session(token: Token, location: TokenLocation, *, read_write: bool = False) -> Session:
    """A session with the token, logged in as its user.

    HsmLoginFailed when the PIN file or the PIN is wrong; PKCS11Error for any other fault.
    """
    mapper = attributes.mapper()
    try:
        return token.open(
            rw=read_write, user_pin=_read_pin(location.pin_file), attribute_mapper=mapper
        )
    except UserAlreadyLoggedIn:
        # The login of PKCS#11 belongs to the process, not to the session: this one shares it.
        pass
    except PKCS11Error as error:
        value = return_value(error)
        if value.fault is not Fault.LOGIN:
            raise
        raise HsmLoginFailed(
            reason=value.name,
            remedy="correct the PIN file, then start again; nothing tries a second time",
        ) from None
    return token.open(rw=read_write, attribute_mapper=mapper)


def open_beside(session: Session) -> Session:
    """A read-write session beside one that is logged in.

    PKCS11Error when the token refuses, or when the login is lost: without it, private objects are
    not there for a search, and only what needs a login tells that it is missing.
    """
    beside = session.token.open(rw=True, attribute_mapper=attributes.mapper())
    try:
        destroy(
            beside.generate_key(
                KeyType.AES, 128, capabilities=NO_DEFAULTS, template=dict(_NEEDS_A_LOGIN)
            )
        )
    except PKCS11Error:
        close_session(beside)
        raise
    return beside


def close_session(session: Session) -> None:
    """Log out and close; close alone what `open_beside` opened. A session that is already gone is
    no error.
    """
    try:
        session.close()
    except PKCS11Error:
        return


def _read_pin(path: Path) -> str:
    """The token's PIN: the first line of a file of ours, or root's, that no one else may touch."""
    remedy = "make a file of mode 0600 with the PIN as its only line"
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            pin = file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise HsmLoginFailed(
            "the PIN file cannot be read", pin_file=str(path), remedy=remedy
        ) from None
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or status.st_uid not in (0, os.geteuid()):
        raise HsmLoginFailed(
            "the PIN file can be read by others", pin_file=str(path), remedy=remedy
        )
    if not pin:
        raise HsmLoginFailed("the PIN file is empty", pin_file=str(path), remedy=remedy)
    return pin
