"""Turns in the lane: who waits with whom, what is answered together, and how a turn ends.

Rules:
- After the opening every call into the library, from the first to the last, is a turn in one lane.
- While the breaker is open callers do not even wait, and after the end none is answered.
- A failure strikes only the caller it is about, and each by an exception of its own: an exception
  carries the frames of the thread that raises it.
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, Final, TypeVar, cast

from pkcs11.exceptions import PKCS11Error

from hsm import keys
from hsm.errors import HsmError, HsmUnavailable
from hsm.keyring import KeyEntry
from hsm.lane import Lane
from hsm.mechanisms import Operation
from hsm.recovery import DeviceStatus, KeyTask, Link
from hsm.serving import Group, KeyGroup, Run

ResultT = TypeVar("ResultT")
CipherT = TypeVar("CipherT")

CLOSE_TIMEOUT: Final = 5.0
"""Seconds that `close` and `probe` wait for the lane."""
BATCH_LIMIT: Final = 64
"""Callers answered in one turn: at a millisecond an RSA operation, others wait no longer."""


class Turns:
    """The lane in front of a link. Safe to use from any number of threads."""

    def __init__(self, link: Link, *, hang_after: float, clock: Callable[[], float]) -> None:
        self._link = link
        self._hang_after = hang_after
        self._clock = clock
        self._is_closed = False
        self._draws = Group(self._run_random)
        self._probes, self._closings = Group(_run_turns), Group(_run_turns)
        self._lane: Lane[Group, Any, Any] = Lane(self.run, batch_limit=BATCH_LIMIT, clock=clock)

    @property
    def busy_since(self) -> float | None:
        """When the turn that is now in the token began, by the clock; None when none is."""
        return self._lane.busy_since

    @property
    def status(self) -> DeviceStatus:
        """That of the link, DOWN after the end, or HUNG when a turn has taken too long."""
        since = self.busy_since
        if since is not None and self._clock() - since > self._hang_after:
            return DeviceStatus.HUNG
        return DeviceStatus.DOWN if self._is_closed else self._link.status

    def run_of(self, operation: Operation, entry: KeyEntry) -> Run:
        """How calls of one operation with one key are answered."""
        if operation in (Operation.ENCIPHER, Operation.DECIPHER):
            return partial(self._run_blocks, operation, entry)
        return _run_turns

    def enter(self, group: Group, payload: object, timeout: float) -> Any:
        """The answer to a payload, together with others of its group.

        HsmUnavailable while the breaker is open, HsmTimeout when the lane stays busy.
        """
        self._link.check_open()
        return self._lane.call(group, payload, timeout)

    def perform(
        self,
        group: KeyGroup,
        task: KeyTask[ResultT],
        timeout: float,
        *,
        blames_data: bool = False,
    ) -> ResultT:
        """A turn of its own with the key of the group."""
        entry, link = group.entry, self._link
        result: ResultT = self.enter(
            group, lambda: link.perform(entry, task, blames_data=blames_data), timeout
        )
        return result

    def alone(self, task: Callable[[], ResultT], timeout: float) -> ResultT:
        """A turn that no other call is answered with."""
        result: ResultT = self.enter(Group(_run_turns), task, timeout)
        return result

    def random(self, length: int, timeout: float) -> bytes:
        """Bytes of a draw for all who wait for one."""
        drawn: bytes = self.enter(self._draws, length, timeout)
        return drawn

    def probe(self) -> None:
        """See `Link.examine`. HsmUnavailable when the token hangs."""
        if self.status is DeviceStatus.HUNG:
            raise HsmUnavailable
        self.enter(self._probes, self._link.examine, CLOSE_TIMEOUT)

    def close(self) -> None:
        """The last turn. May be called again; HsmTimeout when the token hangs."""
        if not self._is_closed:
            self._lane.call(self._closings, self._shut, CLOSE_TIMEOUT)

    def run(self, group: Group, payloads: Sequence[Any]) -> Sequence[Any]:
        """One batch, inside the lane."""
        if self._is_closed:
            return [HsmUnavailable("the device is closed") for _ in payloads]
        return group.run(payloads)

    def _run_blocks(
        self, operation: Operation, entry: KeyEntry, payloads: Sequence[bytes]
    ) -> Sequence[bytes | Exception]:
        try:
            return self._link.perform(
                entry, lambda live: keys.apply_blocks(live, operation, payloads)
            )
        except HsmError as error:
            return [copy.copy(error) for _ in payloads]

    def _run_random(self, lengths: Sequence[int]) -> Sequence[bytes | Exception]:
        """Draw once for all, and give each their own bytes of it."""
        try:
            drawn = self._link.random(sum(lengths))
        except HsmError as error:
            return [copy.copy(error) for _ in lengths]
        ends = accumulate(lengths)
        return [drawn[end - length : end] for end, length in zip(ends, lengths, strict=True)]

    def _shut(self) -> None:
        self._is_closed = True
        self._link.close()


def outcome(work: Callable[[CipherT], ResultT], cipher: CipherT) -> ResultT:
    """What `work` returns or raises. What it raises is no fault of the token: it goes by the ladder
    as a result, and the lane raises it to its own caller.
    """
    try:
        return work(cipher)
    except PKCS11Error:
        raise
    except Exception as error:  # noqa: BLE001
        return cast("ResultT", error)


def _run_turns(turns: Sequence[Callable[[], object]]) -> list[object]:
    return [_run_turn(turn) for turn in turns]


def _run_turn(turn: Callable[[], object]) -> object:
    try:
        return turn()
    except HsmError as error:
        return copy.copy(error)
