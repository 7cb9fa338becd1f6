"""The link to the token, and the ladder by which it is regained when it breaks.

The ladder: call, call again, find the key again, open a new session, reinitialise the library.
Each fault enters it at the rung that can mend it; each rung is tried once.

Rules:
- Every operation of this package gives the same result when repeated, so repeating is safe. Making
  a key is no exception: what an interrupted attempt left is adopted (see `hsm.orders`).
- A token that refuses to make a key is no lost token, as long as it gives a known answer.
- No handle survives a rung: keys are found again, and their check values and attributes compared,
  before they are used. A key that is not what it was is sealed until its entry is another.
- Only the caller's own task can tell of data or permission. What fails while a session is opened
  or a key found again is the device's fault, whatever its return value says.
- A fault that bad data can cause is counted against the device only after the known answer of the
  key has failed too: SoftHSM answers bad RSA padding with CKR_GENERAL_ERROR, the code of a dead
  token.
- A key that is lost while the device answers is sealed, and tried again after a pause; the others
  serve. A trial of it costs them their session, so its pauses double up to a bound.
- A device that stays lost opens the breaker: calls fail at once until the pause is over, and the
  next call is the trial. That pause stays short: once the device is back, all serve within it.
- A refused login is final: nothing in this process tries again.
- All of this runs inside the lane, so one thread at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
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
from hsm.pauses import Pause
from hsm.vocabulary import Family

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
_DOUBTS: Final = frozenset({Fault.UNCLEAR, Fault.REFUSAL})
"""Faults that bad data can cause too."""
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
        self._entries = _cheapest_first(keyring.in_use)
        self._clock = clock
        self._review = review
        self._session: Session | None = None
        self._keys: dict[str, keys.LiveKey] = {}
        self._sealed: dict[str, Pause] = {}
        self._breaker = Pause()
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

    def close(self) -> None:
        """Disconnect, and leave the library."""
        self.disconnect()
        self._library.close()

    def name(self, entries: Iterable[KeyEntry]) -> None:
        """From now on these are the keys. What is known of a key holds as long as it is the same;
        all that was known of others is forgotten.
        """
        former, named = self._entries, _cheapest_first(entries)
        self._keys = {
            key_id: replace(live, entry=named[key_id])
            for key_id, live in self._keys.items()
            if key_id in named and is_same_key(named[key_id], live.entry)
        }
        self._sealed = {
            key_id: pause
            for key_id, pause in self._sealed.items()
            if key_id in named and is_same_key(named[key_id], former[key_id])
        }
        self._entries = named

    def check_mechanisms(self, keyring: Keyring) -> None:
        """MechanismMissing when the token lacks what this key ring needs."""
        self._climb(lambda: inspection.check_mechanisms(self._opened().token, keyring), None)

    def beside(
        self,
        task: Callable[[Session], ResultT],
        *,
        under: KeyEntry | None = None,
        blames_data: bool = False,
    ) -> ResultT:
        """The result of `task` in a read-write session of its own, climbing the ladder as `perform`
        does, with the same errors. `under` is the key of the ring that it uses, if any.
        """
        if under is not None and self._sealed:
            self._refuse_sealed(under)
        return self._climb(lambda: self._in_a_session(task), under, blames_data=blames_data)

    def _in_a_session(self, task: Callable[[Session], ResultT]) -> ResultT:
        session = token.open_beside(self._opened())
        try:
            return task(session)
        finally:
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
        if pause and pause.is_running(self._clock()) and self._entries.get(entry.id) is entry:
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
        entry = tuple(self._entries.values())[self._turn % len(self._entries)]
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
        seen: list[ReturnValue] = []
        try:
            while True:
                outcome = self._try(rung, task, entry, seen)
                if not isinstance(outcome, _Failed):
                    self._recovered(entry)
                    return outcome
                rung = self._next(rung, outcome.value, entry, seen, blames_data=blames_data)
                seen.append(outcome.value)
                self._is_recovering = rung > Rung.RETRY
        finally:
            self._is_recovering = False

    def _try(
        self,
        rung: Rung,
        task: Callable[[], ResultT],
        entry: KeyEntry | None,
        seen: Sequence[ReturnValue],
    ) -> "ResultT | _Failed":
        """One rung and the task. Errors of the library end here, and with them what they hold."""
        try:
            if rung > Rung.RETRY:
                with _on_the_way():
                    self._step(rung, entry)
            return task()
        except (PKCS11Error, _OnTheWay) as error:
            return _Failed(error.value if isinstance(error, _OnTheWay) else return_value(error))
        except keys.KeyAbsent:
            return _Failed(_ABSENT)
        except TokenNotFound:
            return _Failed(_GONE)
        except keys.KeyChanged:
            # What a failing device does not tell of a key reads as absent: only a second look, in
            # a new session, is believed.
            if _CHANGED not in seen:
                return _Failed(_CHANGED)
            if entry is None:
                raise
            sealed = entry
        except HsmLoginFailed:
            sealed = None
        if sealed is None:
            raise HsmUnavailable(_LOGIN_REFUSED)
        self._seal(sealed, Pause.for_ever())
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
        self,
        rung: Rung,
        value: ReturnValue,
        entry: KeyEntry | None,
        seen: Sequence[ReturnValue],
        *,
        blames_data: bool,
    ) -> Rung:
        """The rung that follows a failure, or the error with which the climb ends."""
        if value.fault is Fault.DATA:
            raise HsmDataRefused
        if value.fault is Fault.LOGIN:
            self._login_refused = True
            raise HsmUnavailable(_LOGIN_REFUSED)
        if blames_data and value.fault in _DOUBTS:
            is_second = any(each.fault in _DOUBTS for each in seen)
            if (is_second or rung is Rung.LIBRARY) and self._is_proved(entry):
                if not is_second:
                    return Rung.RETRY
                self._recovered(entry)
                raise HsmDataRefused
        if value.fault is Fault.REFUSAL and rung >= Rung.FIND:
            raise HsmConfigurationError(
                "the token does not permit the operation", reason=value.name
            )
        following = max(_ENTRY[value.fault], Rung(rung + 1))
        lost = value is _ABSENT and rung >= Rung.SESSION
        if entry is not None and (lost or following is Rung.FALLEN) and self._is_sound(entry):
            pause = self._sealed.get(entry.id, Pause())
            self._seal(entry, pause.longer(self._clock()))
            raise KeySealed(key=entry.id)
        if following is Rung.FALLEN:
            self._breaker = Pause().longer(self._clock())
            raise HsmUnavailable(reason=value.name)
        return following

    def _seal(self, entry: KeyEntry, pause: Pause) -> None:
        """Seal a key, unless another ring names it: what it is there says nothing about it here."""
        if self._entries.get(entry.id) is entry:
            self._sealed[entry.id] = pause
            self._keys.pop(entry.id, None)

    def _recovered(self, entry: KeyEntry | None) -> None:
        if self._breaker.is_set:
            self._breaker = Pause()
        if entry is not None and self._sealed and self._entries.get(entry.id) is entry:
            self._sealed.pop(entry.id, None)

    def _is_proved(self, entry: KeyEntry | None) -> bool:
        """Whether the key itself gives its known answer; without one, whether the device does."""
        if entry is None:
            return self._is_sound(None)
        try:
            return keys.is_authentic(self._live(entry))
        except (PKCS11Error, _OnTheWay, keys.KeyAbsent, keys.KeyChanged):
            return False

    def _is_sound(self, besides: KeyEntry | None) -> bool:
        """Whether the device gives a known answer, by the cheapest key other than `besides`."""
        if self._session is None:
            return False
        for entry in self._entries.values():
            if entry == besides or entry.id in self._sealed:
                continue
            try:
                return keys.is_authentic(self._live(entry))
            except (keys.KeyAbsent, keys.KeyChanged):
                continue
            except (PKCS11Error, _OnTheWay):
                return False
        return False

    def _live(self, entry: KeyEntry) -> keys.LiveKey:
        """The key in this session; found and proved first if it is not known here."""
        live = self._keys.get(entry.id)
        if live is None or live.entry is not entry:
            with _on_the_way():
                live = self._find(entry)
            self._keys[entry.id] = live
        return live

    def _find(self, entry: KeyEntry) -> keys.LiveKey:
        session = self._opened()
        # Searching a dead session leaves python-pkcs11 an operation it cannot end; drawing a
        # random number fails cleanly.
        session.generate_random(_LIVENESS_BITS)
        live = keys.locate(session, entry)
        if self._review and inspection.review(entry, live.objects):
            raise keys.KeyChanged(key=entry.id)
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


class _OnTheWay(Exception):
    """A failure before the caller's task began: it tells of the device alone."""

    def __init__(self, value: ReturnValue) -> None:
        self.value = value


@contextmanager
def _on_the_way() -> Iterator[None]:
    """Read what fails in here as a fault of the device, unless the table says what mends it."""
    try:
        yield
    except PKCS11Error as error:
        value = return_value(error)
    else:
        return
    speaks_of_the_call = value.fault is Fault.DATA or value.fault in _DOUBTS
    raise _OnTheWay(replace(value, fault=Fault.SESSION) if speaks_of_the_call else value)


def is_same_key(entry: KeyEntry, other: KeyEntry) -> bool:
    """Whether two entries differ in the life of the key alone: in its state and its dates."""
    return other == replace(
        entry, state=other.state, valid_from=other.valid_from, valid_until=other.valid_until
    )


def _cheapest_first(entries: Iterable[KeyEntry]) -> dict[str, KeyEntry]:
    """Entries by id, those first that are the cheapest to try."""
    by_cost = sorted(entries, key=lambda entry: _COST.index(entry.algorithm.family))
    return {entry.id: entry for entry in by_cost}


def _demand_authentic(live: keys.LiveKey) -> None:
    if not keys.is_authentic(live):
        raise keys.KeyChanged(key=live.entry.id)
