"""The library, its slots, the session and the login of a client.

Rules:
- A client has one session, in which everything happens. Logging in opens a second one, because
  python-pkcs11 logs in only there; the login counts for both, and ends with the second.
- Both sessions end together: what is left of one would keep the token logged in.
"""

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

import pkcs11
from pkcs11 import Session, Slot
from pkcs11.exceptions import SlotIDInvalid, UserNotLoggedIn

from hsm.module import Library
from hsm.pyhsm import _raw
from hsm.pyhsm._border import guarded
from hsm.pyhsm.hsmenums import HsmSession, HsmUser
from hsm.pyhsm.hsmerror import HsmError
from hsm.pyhsm.hsmmechinfo import HsmMechInfo
from hsm.pyhsm.hsmslot import HsmSlot

_UNAVAILABLE: Final = 2**64 - 1
"""CK_UNAVAILABLE_INFORMATION (PKCS#11 v2.40 base, 3.2) of a 64-bit CK_ULONG."""


@dataclass(slots=True)
class _Opened:
    """A session, its login if there is one, and every object met in it by its handle.

    `session_key` is the handle of the key that carries others, 0 before there is one.
    """

    session: Session
    login: Session | None = None
    met: dict[int, Any] = field(default_factory=dict)
    session_key: int = 0


class Connection:
    """Opens and closes; knows nothing of objects and keys."""

    @guarded
    def __init__(
        self,
        slot: int = 0,
        pin: str | bytes | None = None,
        pkcs11_lib: str = "/usr/lib/libpyhsm.so",
    ) -> None:
        """Load the PKCS#11 library at the path `pkcs11_lib`; with a `pin`, open and log in too."""
        self.sessionHandle = 0
        self.slotNumber = 0
        self.tokenSerialNumber = ""
        self.userType = HsmUser.CryptoOfficer
        self._opened: _Opened | None = None
        self._library = Library.load(Path(pkcs11_lib))
        self._cryptoki = pkcs11.lib(str(self._library.path))
        if pin is None:
            return
        self.open_session(slot)
        try:
            self.login(pin)
        except HsmError:
            self.close_session()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Log out, close the session, and leave the library."""
        try:
            self.close_session()
        finally:
            self.close()

    @guarded
    def open_session(
        self,
        slot: int,
        user_type: HsmUser = HsmUser.CryptoOfficer,
        session_type: HsmSession = HsmSession.ReadWrite,
    ) -> None:
        """Open a session on the token in `slot`, a CK_SLOT_ID; `user_type` will log in to it."""
        if self._opened is not None:
            raise HsmError("a session is open already: close_session() first")
        if session_type is not HsmSession.ReadWrite:
            raise HsmError(
                "only ReadWrite sessions can be opened: the other types are a vendor's own;"
                " a security officer opens user_type=HsmUser.SecurityOfficer"
            )
        session = self._slot(slot).get_token().open(rw=True, attribute_mapper=_raw.RawAttributes())
        self._opened = _Opened(session)
        self.sessionHandle = cast("Any", session).handle
        self.slotNumber = slot
        self.userType = user_type

    @guarded
    def close_session(self) -> None:
        """Log out and close. Without a session it does nothing."""
        opened = self._forget()
        if opened is None:
            return
        try:
            if opened.login is not None:
                opened.login.close()
        finally:
            opened.session.close()

    @guarded
    def close_all_sessions(self, slot: int) -> None:
        """Close the session of this client, which must be on `slot`."""
        self._active()
        if slot != self.slotNumber:
            raise HsmError(
                "only this client's own sessions can be closed: close others where they were opened"
            )
        self.close_session()

    @guarded
    def close(self) -> None:
        """C_Finalize: the end of every session of the process with this library."""
        self._forget()
        self._library.close()

    @guarded
    def login(self, pin: str | bytes) -> None:
        """Log in as the user for whom the session was opened. `pin` is UTF-8."""
        opened = self._session()
        text = pin if isinstance(pin, str) else pin.decode()
        token = opened.session.token
        if self.userType is HsmUser.SecurityOfficer:
            opened.login = token.open(rw=True, so_pin=text)
        else:
            opened.login = token.open(rw=True, user_pin=text)

    @guarded
    def logout(self) -> None:
        """Log out. Without a session it does nothing."""
        opened = self._opened
        if opened is None:
            return
        login, opened.login = opened.login, None
        if login is None:
            raise UserNotLoggedIn
        login.close()

    @guarded
    def set_pin(self, old_pin: str | bytes, new_pin: str | bytes) -> None:
        """Change the PIN of the user who is logged in (C_SetPIN)."""
        old, new = (pin if isinstance(pin, str) else pin.decode() for pin in (old_pin, new_pin))
        self._active().session.set_pin(old, new)

    @guarded
    def get_slot_count(self) -> int:
        """The number of slots, with a token or without."""
        return len(self._cryptoki.get_slots())

    @guarded
    def get_token_count(self) -> int:
        """The number of slots with a token."""
        return len(self._cryptoki.get_slots(token_present=True))

    @guarded
    def get_slot_info(self) -> list[HsmSlot]:
        """Every slot with a token."""
        return [_described(slot) for slot in self._cryptoki.get_slots(token_present=True)]

    @guarded
    def get_mechanism_info(self, slot: int) -> list[HsmMechInfo]:
        """Every mechanism of the token in `slot`, in ascending order of their numbers."""
        found = self._slot(slot)
        return [_mechanism(found, number) for number in sorted(found.get_mechanisms())]

    def _slot(self, slot: int) -> Slot:
        for found in self._cryptoki.get_slots():
            if found.slot_id == slot:
                return found
        raise SlotIDInvalid

    def _session(self) -> _Opened:
        if self._opened is None:
            raise HsmError("there is no session: open_session() first")
        return self._opened

    def _active(self) -> _Opened:
        """The session with its login. HsmError when there is none."""
        opened = self._session()
        if opened.login is None:
            raise HsmError("no one is logged in: login() first")
        return opened

    def _forget(self) -> _Opened | None:
        """Back to the state without a session; gives what was open."""
        opened, self._opened = self._opened, None
        self.sessionHandle = self.slotNumber = 0
        return opened


def _described(slot: Slot) -> HsmSlot:
    token = slot.get_token()
    return HsmSlot(
        slotNumber=str(slot.slot_id),
        label=token.label,
        manufacturer=token.manufacturer_id,
        model=token.model,
        serialNumber=token.serial.decode("ascii", errors="replace").rstrip("\0 "),
        sessionCount=str(_UNAVAILABLE),
        hardwareVersion=".".join(map(str, token.hardware_version)),
        firmwareVersion=".".join(map(str, token.firmware_version)),
    )


def _mechanism(slot: Slot, number: int) -> HsmMechInfo:
    info = slot.get_mechanism_info(_raw.mechanism(number))
    return HsmMechInfo(
        mechanismName=_raw.name(number),
        mechanismValueInt=int(number),
        minKeySize=str(info.min_key_length),
        maxKeySize=str(info.max_key_length),
        flags=f"0x{int(info.flags):08x}",
    )
