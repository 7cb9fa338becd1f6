"""Folders in memory: SoftHSM looks at its files at every call, so its tokens are quickest there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

MEMORY = Path("/dev/shm")


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Make a folder that is gone at the end; on disk where there is no memory for files."""
    home = MEMORY if os.access(MEMORY, os.W_OK) else None
    with TemporaryDirectory(prefix="pinvault-token-", dir=home) as folder:
        yield Path(folder)
