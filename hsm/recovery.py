"""The link to the token, and the ladder by which it is regained when it breaks.

The ladder: call, call again, find the key again, open a new session, reinitialise the library.
Each fault enters it at the rung that can mend it; each rung is tried once.

Rules:
- Every operation of this package gives the same result when repeated, so repeating is safe.
- No handle survives a rung: keys are found again, and their check values and attributes compared,
  before they are used. A key that is not what it was is sealed for the life of the process.
- A fault that bad data can cause is counted against the device only after a known answer has failed
  too: SoftHSM answers bad RSA padding with CKR_GENERAL_ERROR, the code of a dead token.
- A key that is lost while the device answers is sealed, and tried again after a pause; the others
  serve. A device that stays lost opens the breaker: calls fail at once until the pause is over, and
  the next call is the trial. Pauses double up to a bound.
- A refused login is final: nothing in this process tries again.
- All of this runs inside the lane, so one thread at a time.
"""

import math
from collections.abc import Callable
from enum import IntEnum, StrEnum
from typing import Final, TypeVar

from pkcs11 import Session
from pkcs11.exceptions import PKCS11Error

from hsm import inspection, keys, token
from hsm.errors import (
    Fault,
    HsmConfigurationError,
    HsmDataRefused,
    HsmLoginFailed,
    HsmUnavailable,
    KeySealed,
    ReturnValue,
    TokenNotFound,
    return_value,
)
from hsm.keyring import KeyEntry, Keyring
from hsm.module import Library
from hsm.vocabulary import Family

FIRST_PAUSE: Final = 0.5
"""Seconds before the first trial of what was lost."""
LONGEST_PAUSE: Final = 30.0
"""Seconds that pauses grow to, by doubling."""
_LIVENESS_BITS: Final = 64
_COST: Final = (Family.TDES, Family.AES, Family.HMAC, Family.EC, Family.RSA)

ResultT = TypeVar("ResultT")
KeyTask = Callable[[keys.LiveKey], ResultT]


class DeviceStatus(StrEnum):
    """How the device is, as a whole."""

    SERVING = "serving"
    RECOVERING = "recovering"
    DOWN = "down"
    HUNG = "hung"


class Rung(IntEnum):
    """The steps of the ladder, in the order in which they are climbed."""

    CALL = 0
    RETRY = 1
    FIND = 2
    SESSION = 3
    LIBRARY = 4
    FALLEN = 5


_ENTRY: Final = {
    Fault.UNCLEAR: Rung.RETRY,
    Fault.REFUSAL: Rung.FIND,
    Fault.HANDLE: Rung.FIND,
    Fault.SESSION: Rung.SESSION,
    Fault.LIBRARY: Rung.LIBRARY,
}
_LOGIN_REFUSED: Final = "the token refused the login and is not tried again"
_ABSENT: Final = ReturnValue(-2, "the key is absent", Fault.HANDLE)
_CHANGED: Final = ReturnValue(-4, "the key is changed", Fault.SESSION)
_GONE: Final = ReturnValue(-3, "the token is absent", Fault.LIBRARY)


class Link:
    """One session with one token, the live keys in it, and their recovery. For one thread."""

    def __init__(
        self,
        library: Library,
        location: token.TokenLocation,
        keyring: Keyring,
        *,
        clock: Callable[[], float],
        review: bool = True,
    ) -> None:
        self._library = library
        self._location = location
        self._entries = sorted(
            keyring.in_use, key=lambda entry: _COST.index(entry.algorithm.family)
        )
        self._clock = clock
        self._review = review
        self._session: Session | None = None
        self._keys: dict[str, keys.LiveKey] = {}
        self._sealed: dict[str, _Pause] = {}
        self._breaker = _Pause()
        self._is_recovering = False
        self._login_refused = False
        self._turn = 0

    @property
    def status(self) -> DeviceStatus:
        """SERVING, RECOVERING or DOWN; a hang is for the lane's watchdog to tell."""
        if self._login_refused or self._breaker.is_set:
            return DeviceStatus.DOWN
        return DeviceStatus.RECOVERING if self._is_recovering else DeviceStatus.SERVING

    @property
    def sealed(self) -> frozenset[str]:
        """Ids of the keys that are sealed."""
        return frozenset(self._sealed)

    def check_open(self) -> None:
        """HsmUnavailable at once while the breaker is open; safe to call from any thread."""
        if self._login_refused:
            raise HsmUnavailable(_LOGIN_REFUSED)
        if self._breaker.is_running(self._clock()):
            raise HsmUnavailable

    def connect(self) -> None:
        """Find the token and open its session; every key is found again at its next use.

        TokenNotFound, HsmLoginFailed, or PKCS11Error when that fails.
        """
        self.disconnect()
        if self._login_refused:
            raise HsmLoginFailed
        found = token.find(self._library, self._location)
        try:
            self._session = token.open_session(found, self._location)
        except HsmLoginFailed:
            self._login_refused = True
            raise

    def disconnect(self) -> None:
        """Forget every handle and close the session."""
        self._keys.clear()
        session, self._session = self._session, None
        if session is not None:
            token.close_session(session)

    def perform(
        self, entry: KeyEntry, task: KeyTask[ResultT], *, blames_data: bool = False
    ) -> ResultT:
        """The result of `task` on a live key, climbing the ladder as far as needed.

        `blames_data` says that bad data can make the task fail with an unclear fault.

        HsmDataRefused for bad data, KeySealed for a lost key, HsmUnavailable for a lost device,
        HsmConfigurationError when the token does not permit the operation.
        """
        if self._sealed:
            self._refuse_sealed(entry)
        return self._climb(lambda: task(self._live(entry)), entry, blames_data=blames_data)

    def _refuse_sealed(self, entry: KeyEntry) -> None:
        pause = self._sealed.get(entry.id)
        if pause is not None and pause.is_running(self._clock()):
            raise KeySealed(key=entry.id)

    def random(self, length: int) -> bytes:
        """`length` bytes from the token's random generator (C_GenerateRandom)."""
        return self._climb(lambda: self._opened().generate_random(length * 8), None)

    def examine(self) -> None:
        """A known answer from the next key in turn. A key found lost or changed becomes sealed.

        HsmUnavailable when the device is lost or no key is left.
        """
        self.random(_LIVENESS_BITS // 8)
        if not self._entries:
            return
        entry = self._entries[self._turn % len(self._entries)]
        self._turn += 1
        try:
            self.perform(entry, _demand_authentic)
        except KeySealed:
            if len(self._sealed) == len(self._entries):
                raise

    def _climb(
        self, task: Callable[[], ResultT], entry: KeyEntry | None, *, blames_data: bool = False
    ) -> ResultT:
        self.check_open()
        rung = Rung.LIBRARY if self._breaker.is_set else Rung.CALL
        try:
            while True:
                outcome = self._try(rung, task, entry)
                if not isinstance(outcome, _Failed):
                    self._recovered(entry)
                    return outcome
                rung = self._next(rung, outcome.value, entry, blames_data=blames_data)
                self._is_recovering = rung > Rung.RETRY
        finally:
            self._is_recovering = False

    def _try(
        self, rung: Rung, task: Callable[[], ResultT], entry: KeyEntry | None
    ) -> "ResultT | _Failed":
        """One rung and the task. Errors of the library end here, and with them what they hold."""
        try:
            if rung > Rung.RETRY:
                self._step(rung, entry)
            return task()
        except PKCS11Error as error:
            return _Failed(return_value(error))
        except keys.KeyAbsent:
            return _Failed(_ABSENT)
        except TokenNotFound:
            return _Failed(_GONE)
        except keys.KeyChanged:
            # What a failing device does not tell of a key reads as absent: only a second look, in
            # a new session, is believed.
            if rung < Rung.SESSION:
                return _Failed(_CHANGED)
            sealed = entry
        except HsmLoginFailed:
            sealed = None
        if sealed is None:
            raise HsmUnavailable(_LOGIN_REFUSED)
        self._sealed[sealed.id] = _Pause.for_ever()
        self._keys.pop(sealed.id, None)
        raise KeySealed("the key in the token is not the key of the key ring", key=sealed.id)

    def _step(self, rung: Rung, entry: KeyEntry | None) -> None:
        match rung:
            case Rung.FIND if entry is not None:
                self._keys.pop(entry.id, None)
            case Rung.SESSION:
                self.connect()
            case Rung.LIBRARY:
                self.disconnect()
                self._library.reinitialize()
                self.connect()
            case _:
                return

    def _next(
        self, rung: Rung, value: ReturnValue, entry: KeyEntry | None, *, blames_data: bool
    ) -> Rung:
        """The rung that follows a failure, or the error with which the climb ends."""
        if value.fault is Fault.DATA:
            raise HsmDataRefused
        if value.fault is Fault.LOGIN:
            self._login_refused = True
            raise HsmUnavailable(_LOGIN_REFUSED)
        unclear = value.fault in (Fault.UNCLEAR, Fault.REFUSAL)
        if blames_data and unclear and rung >= Rung.RETRY and self._is_sound(None):
            raise HsmDataRefused
        if value.fault is Fault.REFUSAL and rung >= Rung.FIND:
            raise HsmConfigurationError(
                "the token does not permit the operation", reason=value.name
            )
        following = max(_ENTRY[value.fault], Rung(rung + 1))
        lost = value is _ABSENT and rung >= Rung.SESSION
        if entry is not None and (lost or following is Rung.FALLEN) and self._is_sound(entry):
            raise self._seal(entry)
        if following is Rung.FALLEN:
            self._breaker = self._breaker.longer(self._clock())
            raise HsmUnavailable(reason=value.name)
        return following

    def _seal(self, entry: KeyEntry) -> KeySealed:
        pause = self._sealed.get(entry.id, _Pause())
        self._sealed[entry.id] = pause.longer(self._clock())
        self._keys.pop(entry.id, None)
        return KeySealed(key=entry.id)

    def _recovered(self, entry: KeyEntry | None) -> None:
        if self._breaker.is_set:
            self._breaker = _Pause()
        if entry is not None and self._sealed:
            self._sealed.pop(entry.id, None)

    def _is_sound(self, besides: KeyEntry | None) -> bool:
        """Whether the device gives a known answer, by the cheapest key other than `besides`."""
        if self._session is None:
            return False
        for entry in self._entries:
            if entry == besides or entry.id in self._sealed:
                continue
            try:
                return keys.is_authentic(self._live(entry))
            except (keys.KeyAbsent, keys.KeyChanged):
                continue
            except PKCS11Error:
                return False
        return False

    def _live(self, entry: KeyEntry) -> keys.LiveKey:
        """The key in this session; found and proved first if it is not known here."""
        live = self._keys.get(entry.id)
        if live is None:
            session = self._opened()
            # Searching a dead session leaves python-pkcs11 an operation it cannot end; drawing a
            # random number fails cleanly.
            session.generate_random(_LIVENESS_BITS)
            live = keys.locate(session, entry)
            if self._review and inspection.review(live):
                raise keys.KeyChanged(key=entry.id)
            self._keys[entry.id] = live
        return live

    def _opened(self) -> Session:
        if self._session is None:
            raise TokenNotFound
        return self._session


class _Failed:
    """A task that failed, with the reading of its return value."""

    __slots__ = ("value",)

    def __init__(self, value: ReturnValue) -> None:
        self.value = value


class _Pause:
    """When something lost may be tried again, and how long the last pause was. Immutable."""

    __slots__ = ("_length", "_until")

    def __init__(self, until: float = -math.inf, length: float = 0.0) -> None:
        self._until = until
        self._length = length

    @classmethod
    def for_ever(cls) -> "_Pause":
        return cls(math.inf, math.inf)

    @property
    def is_set(self) -> bool:
        """Whether something is lost at all."""
        return self._length > 0

    def is_running(self, now: float) -> bool:
        return now < self._until

    def longer(self, now: float) -> "_Pause":
        length = min(max(self._length * 2, FIRST_PAUSE), LONGEST_PAUSE)
        return _Pause(now + length, length)


def _demand_authentic(live: keys.LiveKey) -> None:
    if not keys.is_authentic(live):
        raise keys.KeyChanged(key=live.entry.id)
