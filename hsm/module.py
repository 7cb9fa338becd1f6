"""The PKCS#11 library of the process: loaded, initialised, reinitialised and left.

Rules:
- One process, one library, one user of it. python-pkcs11 calls C_Initialize without locking flags
  and lets go of the GIL in every call: two threads inside SoftHSM end the process. So whoever holds
  a `Library` makes every call through one lane.
- Never fork after `load`: the child would work with the parent's handles. Spawn instead.
- `reinitialize` invalidates every session and object handle of the process.
"""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pkcs11
from pkcs11 import Token
from pkcs11._pkcs11 import lib as CryptokiLibrary  # noqa: N812  a class with a small letter
from pkcs11.exceptions import PKCS11Error

from hsm.errors import ModuleUnusable


class _Functions(ctypes.Structure):
    """The beginning of CK_FUNCTION_LIST (PKCS#11 v2.40 base, 3.7)."""

    _fields_ = (
        ("version", ctypes.c_ubyte * 2),
        ("initialize", ctypes.c_void_p),
        ("finalize", ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)),
    )


class Library:
    """A loaded and initialised PKCS#11 library."""

    def __init__(self, cryptoki: CryptokiLibrary, path: Path) -> None:
        self._cryptoki = cryptoki
        self.path = path

    @classmethod
    def load(cls, path: Path) -> "Library":
        """Load the library at `path` and initialise it if this process has not done so yet.

        ModuleUnusable when the file is missing, is no PKCS#11 module or does not initialise.
        """
        if not path.is_file():
            raise ModuleUnusable(
                "the PKCS#11 module does not exist",
                module=str(path),
                remedy="install it (SoftHSM: apt-get install softhsm2) or correct the path",
            )
        try:
            return cls(pkcs11.lib(str(path)), path)
        except PKCS11Error as error:
            fault = type(error).__name__
        raise ModuleUnusable(
            module=str(path),
            fault=fault,
            remedy="check that it is a PKCS#11 module for this machine and that its own"
            " configuration file is readable (SoftHSM: SOFTHSM2_CONF)",
        )

    @property
    def description(self) -> str:
        """Maker and description as the library gives them."""
        return f"{self._cryptoki.manufacturer_id} {self._cryptoki.library_description}"

    @property
    def version(self) -> str:
        """The library's own version, major.minor."""
        return ".".join(map(str, self._cryptoki.library_version))

    @property
    def cryptoki_version(self) -> str:
        """The version of PKCS#11 it speaks, major.minor."""
        return ".".join(map(str, self._cryptoki.cryptoki_version))

    def tokens(self) -> Iterator[Token]:
        """Every token in every slot, initialised or not. PKCS11Error when the library fails."""
        return self._cryptoki.get_tokens()

    def reinitialize(self) -> None:
        """C_Finalize, whatever it answers, then C_Initialize. PKCS11Error when that fails."""
        self.close()
        try:
            self._cryptoki.initialize()
        except PKCS11Error as error:
            if not str(error).startswith("Initialisation error (already initialized)"):
                raise
        else:
            return
        # C_Finalize failed, or the answer of C_Initialize was lost. python-pkcs11 takes the library
        # for finalised then and would never finalise it again.
        self._finalize()
        self._cryptoki.initialize()

    def _finalize(self) -> None:
        """C_Finalize past python-pkcs11, whatever it answers."""
        listed = ctypes.POINTER(_Functions)()
        if ctypes.CDLL(str(self.path)).C_GetFunctionList(ctypes.byref(listed)) == 0:
            listed.contents.finalize(None)

    def close(self) -> None:
        """C_Finalize. A library that another party has already finalised is no error."""
        try:
            self._cryptoki.finalize()
        except PKCS11Error:
            # Only CKR_CRYPTOKI_NOT_INITIALIZED and a dead token end here: both are "closed".
            return
