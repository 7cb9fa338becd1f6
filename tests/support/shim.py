"""A token that is slow and fails on command: tests/shim/pkcs11_shim.c, built and driven from here.

Rules:
- Built once for each state of its source, by gcc, into the development folder.
- A process loads the shim once, and so has one `Shim` whose `environment` is set before that.
- Commands hold for every process that loaded the shim with the same controls, from its next call.
"""

import hashlib
import mmap
import os
import re
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from struct import Struct
from typing import Final

from hsm.token import TokenLocation

SOURCE: Final = Path(__file__).parents[1] / "shim" / "pkcs11_shim.c"
# Without libraries: what it needs of the C library, every process that loads it has already.
FLAGS: Final = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-nostdlib", "-Wall", "-Wextra")

ANY: Final = "any"
"""Stands for whatever function is called."""
FUNCTIONS: Final = (ANY, *re.findall(r"X\((C_\w+), \d\)", SOURCE.read_text()))
"""Names in the order of their controls, which is that of CK_FUNCTION_LIST."""
WORK: Final = (
    *("C_Encrypt", "C_Decrypt", "C_Sign", "C_GenerateRandom"),
    *("C_GenerateKey", "C_GenerateKeyPair", "C_UnwrapKey", "C_WrapKey", "C_DeriveKey", "C_Verify"),
)
"""The functions in which a network HSM goes over the wire and works."""

_CONTROL: Final = Struct("=7Q")  # struct control of the source: calls, latency_ns, first, …
_NANO: Final = 1_000_000_000


def build() -> Path:
    """The shim, compiled if it is not there yet. Safe when several processes want it at once."""
    named = hashlib.sha256("\0".join((SOURCE.read_text(), *FLAGS)).encode()).hexdigest()[:16]
    home = Path(os.environ.get("PINVAULT_DEV_DIR", SOURCE.parents[2] / ".dev")) / "shim"
    made = home / f"pkcs11-shim-{named}.so"
    if not made.exists():
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as scratch:
            unfinished = Path(scratch, made.name)
            subprocess.run(["gcc", *FLAGS, "-o", unfinished, SOURCE], check=True)
            unfinished.replace(made)
    return made


class Shim:
    """The controls of a shim in front of a module: what it adds, when it fails, what it counts."""

    def __init__(self, folder: Path, module: Path) -> None:
        self.path = build()
        controls = folder / "shim.controls"
        controls.write_bytes(bytes(_CONTROL.size * len(FUNCTIONS)))
        self.environment = {
            "PINVAULT_SHIM_MODULE": str(module),
            "PINVAULT_SHIM_CONTROL": str(controls),
        }
        with controls.open("r+b") as file:
            self._controls = mmap.mmap(file.fileno(), 0)

    def in_front_of(self, location: TokenLocation) -> TokenLocation:
        """The same token, reached through the shim."""
        return replace(location, module=self.path)

    def calls(self, function: str = ANY) -> int:
        """How often a function was called so far."""
        return self._read(function)[0]

    def slow(self, seconds: float, *, functions: tuple[str, ...] = WORK) -> None:
        """From now on, calls of these functions take so much longer."""
        for function in functions:
            self._write(function, 1, int(seconds * _NANO))

    def strike(
        self,
        answer: int = 0,
        *,
        function: str = ANY,
        nth: int = 1,
        times: int = 1,
        hang: float = 0.0,
        after: bool = False,
    ) -> None:
        """The nth call from now, and so many in all, hang for seconds and then answer a CK_RV.

        The answer 0 is the module's own. `after`: the module does the work, and its answer is lost.
        """
        first = self.calls(function) + nth
        self._write(function, 4, int(hang * _NANO), answer, int(after))
        self._write(function, 2, first, first + times - 1)

    def relent(self) -> None:
        """No call is struck any more, and none is slow."""
        for function in FUNCTIONS:
            self._write(function, 1, 0, 0, 0, 0, 0, 0)

    def _read(self, function: str) -> tuple[int, ...]:
        return _CONTROL.unpack_from(self._controls, FUNCTIONS.index(function) * _CONTROL.size)

    def _write(self, function: str, field: int, *values: int) -> None:
        """Some fields of a control; never the first, which the shim itself counts in."""
        begin = FUNCTIONS.index(function) * _CONTROL.size + field * 8
        Struct(f"={len(values)}Q").pack_into(self._controls, begin, *values)
