"""The store: what must outlive a process, in SQLite or PostgreSQL.

The floor knows rows and transactions, and nothing of PINs: everything secret arrives enciphered
or hashed, as bytes. `Store.open` gives transactions; the modules beside it are functions over a
transaction's connection, one module a table.
"""

from sqlalchemy import Connection

from pinvault.store.engine import Store
from pinvault.store.errors import (
    SchemaMismatch,
    StoreBusy,
    StoreError,
    StoreMisconfigured,
    StoreRefused,
    StoreUnavailable,
)
from pinvault.store.migrating import upgrade
from pinvault.store.place import read_address

__all__ = [
    "Connection",
    "SchemaMismatch",
    "Store",
    "StoreBusy",
    "StoreError",
    "StoreMisconfigured",
    "StoreRefused",
    "StoreUnavailable",
    "read_address",
    "upgrade",
]
