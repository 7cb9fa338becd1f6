"""The only place where objects are built: from a configuration to a worker that can serve."""

from pinvault.bootstrap.inputs import (
    active_key,
    key_directory,
    location,
    read_keyring,
    require_tls_files,
)
from pinvault.bootstrap.token import Secrets, open_device
from pinvault.bootstrap.worker import StartRefused, build_worker

__all__ = [
    "Secrets",
    "StartRefused",
    "active_key",
    "build_worker",
    "key_directory",
    "location",
    "open_device",
    "read_keyring",
    "require_tls_files",
]
