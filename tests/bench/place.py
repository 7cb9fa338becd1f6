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
ENCRYPT_PIN = "PinBlockService.EncryptPin"
TRANSLATE_PIN = "PinBlockService.TranslatePin"
TRANSLATE_PIN_BATCH = "PinBlockService.TranslatePinBatch"
# An empty method that a bench server has besides, without a gate.
BARE_PATH = "/pinvault.bench/Bare"
# Counted on every call as in production, but never reached.
UNREACHED = "999999/s"


def path_of(method: str) -> str:
    """Give the path of a method."""
    return f"/pinvault.v1.{method.replace('.', '/')}"


def gated_path(method: str) -> str:
    """Give the path of the empty method that stands behind the same gate."""
    return f"/pinvault.bench.{method.replace('.', '/')}"


def method_of(path: str) -> str:
    """Give the method that a path of either kind is counted as."""
    return path.rpartition(".")[2].replace("/", ".")


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
