"""The only place where objects are built: from a configuration to a worker that can serve.

Rules:
- `bootstrap.worker` is imported by who builds one: a command of the command line has no use for
  gRPC.
"""

from pinvault.bootstrap.custody import open_custody
from pinvault.bootstrap.inputs import (
    active_key,
    key_directory,
    location,
    read_keyring,
    require_own_keys,
    require_ring,
    require_tls_files,
    ring_path,
    utc_today,
)
from pinvault.bootstrap.key_life import Ending, days_left, endings, open_counts
from pinvault.bootstrap.records import CustodyLog
from pinvault.bootstrap.token import Secrets, StartRefused, open_device

__all__ = [
    "CustodyLog",
    "Ending",
    "Secrets",
    "StartRefused",
    "active_key",
    "days_left",
    "endings",
    "key_directory",
    "location",
    "open_counts",
    "open_custody",
    "open_device",
    "read_keyring",
    "require_own_keys",
    "require_ring",
    "require_tls_files",
    "ring_path",
    "utc_today",
]
