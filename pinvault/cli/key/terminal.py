"""The terminal of a key ceremony: what is typed there is read once, and hidden where it must be.

Rules:
- It is the controlling terminal and nothing else: no pipe, no file, no argument.
- What is hidden is not echoed, is read into bytes that can be wiped, and stands in no history.
  What was typed before it was asked for is thrown away.
- A terminal that nobody answers for too long, or that is closed, ends the ceremony.
"""

import os
import select
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from pinvault.ceremony.procedure import Aborted
from pinvault.cli.key.desk import NotDone

LONGEST: Final = 4096
_LOCAL_FLAGS: Final = 3


class Tty:
    """The terminal, open as a file descriptor. `idle_s` is how long an answer may take."""

    def __init__(self, handle: int, *, idle_s: float) -> None:
        self._handle = handle
        self._idle_s = idle_s

    def say(self, text: str) -> None:
        """Show a text and end the line."""
        self._write(text + "\n")

    def ask(self, prompt: str) -> str:
        """Give a line that is shown while it is typed."""
        self._write(f"{prompt}: ")
        return self._read().decode(errors="replace")

    def hidden(self, prompt: str) -> bytearray:
        """Give a line that is shown nowhere."""
        with _no_echo(self._handle):
            self._write(f"{prompt} (hidden): ")
            return self._read()

    def _write(self, text: str) -> None:
        try:
            os.write(self._handle, text.encode())
        except OSError:
            raise Aborted("interrupted") from None

    def _read(self) -> bytearray:
        """Read one line. The terminal gives whole lines, and lets them be corrected."""
        ready, _, _ = select.select([self._handle], [], [], self._idle_s)
        if not ready:
            raise Aborted("idle")
        buffer = bytearray(LONGEST)
        try:
            count = os.readv(self._handle, [buffer])
            line = buffer[:count].rstrip(b"\r\n")
        except OSError:
            raise Aborted("interrupted") from None
        finally:
            buffer[:] = bytes(LONGEST)
        if count == 0:
            raise Aborted("interrupted")
        return line


@contextmanager
def controlling_terminal(*, idle_s: float) -> Iterator[Tty]:
    """Open the terminal that the command was started from, or say that there is none."""
    try:
        handle = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        raise NotDone("a ceremony needs a terminal: start it from one") from None
    try:
        yield Tty(handle, idle_s=idle_s)
    finally:
        os.close(handle)


@contextmanager
def _no_echo(handle: int) -> Iterator[None]:
    """Show nothing but the end of the line, and forget what was typed before."""
    try:
        before = termios.tcgetattr(handle)
        hidden = [*before]
        hidden[_LOCAL_FLAGS] = (before[_LOCAL_FLAGS] & ~termios.ECHO) | termios.ECHONL
        termios.tcsetattr(handle, termios.TCSAFLUSH, hidden)
    except termios.error:
        raise Aborted("interrupted") from None
    try:
        yield
    finally:
        with suppress(termios.error):  # it is gone, and its echo with it
            termios.tcsetattr(handle, termios.TCSAFLUSH, before)
