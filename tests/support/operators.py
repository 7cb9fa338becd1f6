"""An operator beside a running server: makes keys and edits key rings, in other processes."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hsm import keyring, ring_file
from hsm.keyring import KeyEntry, Keyring
from pinvault.development.environment import Environment

_OPERATE = """
import sys
from pathlib import Path
from pinvault import bootstrap
from pinvault.config import load
with bootstrap.open_custody(load(Path(sys.argv[1]))) as (custody, log):
    for name in sys.argv[2:]:
        made = custody.generate(custody.wanted(name), timeout=20)
        log.record("Key.Generate", "OK", keys=(made,))
        print(made.id)
"""


def generate(environment: Environment, *names: str) -> list[str]:
    """Make the next version of each name, as the command line does; their ids."""
    done = subprocess.run(
        [sys.executable, "-c", _OPERATE, str(environment.config), *names],
        env={**os.environ, **environment.variables()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def ring_of(environment: Environment) -> Path:
    return environment.root / "keyring.toml"


def edit(environment: Environment, change: Callable[[KeyEntry], KeyEntry | None]) -> Keyring:
    """Change the key ring by hand, key by key, and put it in place as a whole; None drops a key."""
    path = ring_of(environment)
    changed = (change(key) for key in keyring.load(path).keys)
    ring = Keyring(keys=tuple(key for key in changed if key is not None))
    put(path, keyring.dump(ring))
    return ring


def put(path: Path, text: str) -> None:
    beside = path.with_suffix(".edited")
    beside.write_text(text)
    time.sleep(ring_file.TICK_S)
    beside.replace(path)


def retire(environment: Environment, key_id: str) -> None:
    ring_file.amend(ring_of(environment), lambda ring: ring_file.retired(ring, key_id))
