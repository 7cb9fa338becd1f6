"""The key ring file under change: amended as text, so that what a reviewer wrote stays.

Rules:
- Comments, order and spelling survive. Members of keys change in their place, new keys stand at
  the end, and a key never leaves: it is retired.
- Whoever amends holds the lock beside the file, so that two processes lose nothing of each other.
  A file that changed meanwhile all the same, by an editor, is read again.
- The new text is written beside the old, synced, and put in its place in one move: a crash leaves
  the old file or the new one, whole. Mode, owner and a link to the file stay as they were.
- What would not read back as exactly the wanted key ring is not written.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import date
from pathlib import Path
from typing import Final

import tomlkit
from tomlkit.items import AoT, Table

from hsm.errors import KeyringError
from hsm.keyring import KeyEntry, Keyring, contents, dump, parse
from hsm.vocabulary import State

LOCK_TIMEOUT_S: Final = 5.0
"""How long to wait for another process that amends the file, in seconds."""

TICK_S: Final = 0.02
"""Longer than a tick of the kernel's clock for files, in seconds: that a file was moved after it
was written then shows in its times, and whoever watches it knows it to be whole."""

_PAUSE_S: Final = 0.01
_NEW_MODE: Final = 0o644
_PRIVATE: Final = 0o600


def with_key(ring: Keyring, entry: KeyEntry, *, previous_until: date | None = None) -> Keyring:
    """The ring with one more key at its end.

    When the key is active, the active version before it becomes decipher-only, until the end of
    `previous_until` where that is given. A ring that has exactly this key already stays as it is;
    KeyringError when it has another under the same id.
    """
    if entry in ring.keys:
        return ring
    if any(key.id == entry.id for key in ring.keys):
        raise KeyringError(
            "the key ring has another key of this id", key=entry.id, remedy="use a new version"
        )
    steps_back = entry.state is State.ACTIVE
    kept = (
        _stepped_back(key, previous_until)
        if steps_back and key.name == entry.name and key.state is State.ACTIVE
        else key
        for key in ring.keys
    )
    return Keyring(keys=(*kept, entry))


def _stepped_back(key: KeyEntry, until: date | None) -> KeyEntry:
    return replace(key, state=State.DECIPHER_ONLY, valid_until=until or key.valid_until)


def retired(ring: Keyring, key_id: str) -> Keyring:
    """The ring with this key retired. UnknownKey when there is none of this id."""
    found = ring.entry(key_id)
    changed = replace(found, state=State.RETIRED)
    return Keyring(keys=tuple(changed if key is found else key for key in ring.keys))


def amend(path: Path, change: Callable[[Keyring], Keyring]) -> Keyring:
    """Change the file at `path`, made when it is not there; the key ring that it then holds.

    `change` gets the key ring and gives the wanted one; it may be called again when the file was
    edited meanwhile, and what it raises leaves the file as it is. KeyringError when the file is
    wrong, is being amended for too long, or cannot be written.
    """
    target = path.resolve()
    try:
        with _alone(target):
            while True:
                before = _read(target)
                ring = parse(before or "", source=str(path))
                wanted = change(ring)
                text = _rewritten(before or "", ring, wanted, source=str(path))
                if _read(target) != before:
                    continue
                if text != before:
                    _put(target, text)
                return wanted
    except OSError as error:
        raise KeyringError(
            "the key ring cannot be written",
            file=str(path),
            reason=str(error.strerror),
            remedy="let this user write the file and the folder that it is in",
        ) from None


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Hold the lock beside the file; the kernel frees it when a process dies."""
    lock = target.with_name(f"{target.name}.lock")
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE)
    try:
        _wait_for(handle, target)
        yield
    finally:
        os.close(handle)


def _wait_for(handle: int, target: Path) -> None:
    end = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise KeyringError(
                    "the key ring is being changed for too long",
                    file=str(target),
                    remedy="find the process that holds its lock: it is stopped or stuck",
                ) from None
            time.sleep(_PAUSE_S)
        else:
            return


def _read(target: Path) -> str | None:
    """The text as it stands, line ends included; None when there is no file."""
    try:
        return contents(target)[1].decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise KeyringError(
            "the key ring cannot be read", file=str(target), remedy="save the file in UTF-8"
        ) from None


def _rewritten(text: str, ring: Keyring, wanted: Keyring, *, source: str) -> str:
    """The text of the wanted key ring, made of the text of the present one."""
    made = _with_changes(text, ring, wanted)
    added = dump(Keyring(keys=wanted.keys[len(ring.keys) :]))
    if added and made:
        made = made.removesuffix("\n") + "\n\n"
    if _reads_as(made + added, wanted):
        return made + added
    raise KeyringError(
        "the key ring cannot be amended as asked",
        file=source,
        remedy="keep every key of it, each as a [[key]] table",
    )


def _with_changes(text: str, ring: Keyring, wanted: Keyring) -> str:
    """The text with the members changed that differ in keys of both."""
    document = tomlkit.parse(text)
    rows = document.get("key")
    if isinstance(rows, AoT):
        for row, old, new in zip(rows.body, ring.keys, wanted.keys, strict=False):
            _update(row, old, new)
    return tomlkit.dumps(document)


def _reads_as(text: str, wanted: Keyring) -> bool:
    try:
        return parse(text, source="") == wanted
    except KeyringError:
        return False


def _update(row: Table, old: KeyEntry, new: KeyEntry) -> None:
    """Bring the members of one table from the old to the new; the others are not touched."""
    for member in fields(KeyEntry):
        value = getattr(new, member.name)
        if value == getattr(old, member.name):
            continue
        if value is None:
            row.remove(member.name)
        elif member.name in row:
            row[member.name] = _plain(value)
        else:
            _add(row, member.name, value)


def _add(row: Table, member: str, value: object) -> None:
    """Add a member after the last one: what stands below it is said of the next key."""
    body, below = row.value.body, []
    while body and body[-1][0] is None:
        below.append(body.pop()[1])
    row.add(member, _plain(value))
    for item in reversed(below):
        row.append(None, item)


def _plain(value: object) -> object:
    """A value without an enum around it, as tomlkit takes it."""
    return str(value) if isinstance(value, str) else value


def _put(target: Path, text: str) -> None:
    """Put a text in the place of the file, in one move, durably."""
    beside = target.with_name(f".{target.name}.new")
    beside.unlink(missing_ok=True)
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
    with os.fdopen(handle, "wb") as file:
        file.write(text.encode("utf-8"))
        _dress(handle, target)
        file.flush()
        os.fsync(handle)
    time.sleep(TICK_S)
    beside.replace(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _dress(handle: int, target: Path) -> None:
    """Give the new file the owner and mode of the old one."""
    try:
        was = target.stat()
    except FileNotFoundError:
        os.fchmod(handle, _NEW_MODE)
        return
    ours = os.fstat(handle)
    if (was.st_uid, was.st_gid) != (ours.st_uid, ours.st_gid):
        os.fchown(handle, was.st_uid, was.st_gid)
    os.fchmod(handle, was.st_mode & 0o7777)
