"""The environment that all benchmarks of one run share: made new, and removed afterwards.

It stands beside the others under the development folder, on a real disk: in a memory file
system the audit log's fdatasync would cost nothing.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pinvault.development import configuration
from pinvault.development.configuration import Settings
from pinvault.development.environment import TRUST_DOMAIN, Environment, prepare

CALLER = f"{TRUST_DOMAIN}/card-app"
METHOD = "PinBlockService.EncryptPin"
PATH = f"/pinvault.v1.{METHOD.replace('.', '/')}"
# The two empty methods that a bench server has besides.
GATED_PATH = "/pinvault.bench/Gated"
BARE_PATH = "/pinvault.bench/Bare"
# Counted on every call as in production, but never reached.
UNREACHED = "999999/s"


@contextmanager
def workplace() -> Iterator[Environment]:
    """Give a fresh environment with its own token and keys."""
    home = Path(os.environ.get("PINVAULT_DEV_DIR", ".dev")).resolve()
    home.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=home))
    settings = Settings(per_caller=UNREACHED, per_pan=UNREACHED)
    try:
        environment = prepare(folder / "environment", configuration=_text(settings))
        (environment.root / "state" / "metrics").mkdir(mode=0o700, parents=True)
        yield environment
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _text(settings: Settings):
    return lambda location: configuration.write(settings, location)
