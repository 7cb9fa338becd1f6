"""The service's own keys, index and audit signing: one server keeps them for as long as it runs.

Rules:
- All that was ever recorded, limited or indexed hangs on the index key: it never changes.
- Records of one directory are signed by one key: a new one takes a restart, and a new directory.
- The first worker of a server notes its own keys; one that is started later has the same. The
  note of the server before is gone by then.
"""

import os

from hsm.keyring import Keyring
from hsm.vocabulary import State
from pinvault.config import ConfigError, Loaded

NOTE = "own-keys"
_OPTIONS = ("index", "audit_signing")


class OwnKeyChanged(ConfigError):
    """A key ring would change one of the service's own keys under a running server."""


def require_same(loaded: Loaded, held: Keyring, wanted: Keyring) -> None:
    """Refuse a key ring with other own keys than those that are held."""
    for option in _OPTIONS:
        if _told(loaded, held, option) != _told(loaded, wanted, option):
            raise _changed(loaded, f"keys.{option}")


def hold(loaded: Loaded, ring: Keyring) -> None:
    """Note the own keys of a server, or refuse others than those that were noted."""
    note = loaded.file(loaded.config.state.directory) / NOTE
    text = "".join(f"{_told(loaded, ring, option)}\n" for option in _OPTIONS)
    mine = note.with_name(f"{NOTE}.{os.getpid()}")
    mine.write_text(text)
    try:
        note.hardlink_to(mine)
    except FileExistsError:
        if note.read_text() != text:
            raise _changed(loaded, "keys") from None
    finally:
        mine.unlink()


def _told(loaded: Loaded, ring: Keyring, option: str) -> str:
    """Give id and check value of the active version."""
    versions = ring.versions(getattr(loaded.config.keys, option))
    return next((f"{k.id} {k.check_value}" for k in versions if k.state is State.ACTIVE), "")


def _changed(loaded: Loaded, option: str) -> OwnKeyChanged:
    text = (
        "a running server keeps its own keys. The index key never changes: limits and records hang "
        "on it. For a new signing key restart the server, with a new audit directory"
    )
    return OwnKeyChanged(loaded.path, option, text)
