"""Whether the process is protected as its mode asks."""

from pinvault.bootstrap.token import StartRefused
from pinvault.config import Loaded, RunMode
from pinvault.server.hardening import weaknesses
from pinvault.server.logs import Log


def require_protection(loaded: Loaded, log: Log) -> None:
    """Refuse to start in production mode while a measure does not hold; else tell of it."""
    missing = weaknesses()
    if missing and loaded.config.mode is RunMode.PRODUCTION:
        raise StartRefused("production mode refuses to start: " + "; ".join(missing))
    for weakness in missing:
        log.warning("protection missing", weakness=weakness)
