"""Meets mutants with tests: each in a process of its own, forked from one that is warm.

Rules:
- The warm process has imported what takes long and nothing of the clear zone, so that every
  child imports the mutant instead of the module, and all else as it is.
- Tests run to the first failure; hypothesis draws the same examples every time and shrinks none.
- A child that runs much longer than the tests do, or grows too big, has found the mutant too.
"""

import gc
import importlib
import os
import pkgutil
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import NoReturn

import hypothesis
import pytest

from tests.mutation.mutants import Mutant

ROOT = Path(__file__).parents[2]
LIMIT_TIMES, LIMIT_S = 5, 10.0
MEMORY_BYTES = 4 << 30
SCRATCH = Path("/dev/shm")  # many small files come and go
_POLL_S = 0.01

_THIRD_PARTIES = (
    *(
        "click",
        "cryptography.x509",
        "grpc",
        "joserfc.jwe",
        "msgspec",
        "pkcs11",
        "prometheus_client",
    ),
    *("protovalidate", "psec.pinblock", "pyemv.sm", "pydukpt", "rich.console", "structlog"),
)
_OURS = ("hsm", "pinvault.model", "pinvault.config", "pinvault.policy", "pinvault.v1")
_OPTIONS = (
    *("-x", "-qq", "-n", "0", "-p", "no:cacheprovider", "--no-header", "--show-capture=no"),
    *("--override-ini", "timeout=0", "--override-ini", "tmp_path_retention_policy=none"),
    *(
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ),  # hypothesis was imported for its settings
    *("--confcutdir", "tests/unit/clearzone"),  # the server of tests/conftest.py is not needed
)


def warm_up() -> None:
    """Import what does not depend on the clear zone."""
    hypothesis.settings.register_profile(
        "mutation",
        derandomize=True,
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
    )
    hypothesis.settings.load_profile("mutation")
    for name in _THIRD_PARTIES:
        importlib.import_module(name)
    for name in _OURS:
        package = importlib.import_module(name)
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    if any(name.startswith("pinvault.clearzone") for name in sys.modules):
        raise RuntimeError("the clear zone is imported already, and mutants would not be")
    gc.freeze()  # else every child walks all of this whenever it collects


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mutant: did the tests pass, and in what time."""

    passed: bool
    seconds: float


def run_all(
    mutants: Sequence[Mutant],
    *,
    module: str,
    tests: Sequence[str],
    limit_s: float,
    at_once: int,
) -> Iterator[tuple[Mutant, Outcome]]:
    """Run the tests on each mutant, so many at once; give the outcomes as they come."""
    waiting = list(reversed(mutants))
    running: dict[int, tuple[Mutant, float]] = {}
    with tempfile.TemporaryDirectory(dir=SCRATCH if SCRATCH.is_dir() else None) as scratch:
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    mutant = waiting.pop()
                    running[_fork(module, mutant, tests, scratch)] = mutant, time.monotonic()
                for pid, status, seconds in _ended(running, limit_s):
                    yield running.pop(pid)[0], Outcome(status == 0, seconds)
        finally:
            for pid in running:
                _end(pid)


def _ended(
    running: dict[int, tuple[Mutant, float]], limit_s: float
) -> list[tuple[int, int, float]]:
    time.sleep(_POLL_S)
    found = []
    for pid, (_, began) in running.items():
        seconds = time.monotonic() - began
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            found.append((pid, status, seconds))
        elif seconds > limit_s:
            _end(pid)
            found.append((pid, signal.SIGKILL, seconds))
    return found


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _fork(module: str, mutant: Mutant, tests: Sequence[str], scratch: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        _test(module, mutant, tests, scratch)
    finally:  # a mutant that cannot be imported ends here
        os._exit(1)


def _test(module: str, mutant: Mutant, tests: Sequence[str], scratch: str) -> NoReturn:
    """Run the tests in this child, and end it."""
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    sys.meta_path.insert(0, _Finder(module, mutant.code))
    importlib.import_module(module)  # before pytest, which rewrites files that it is told of
    temporary = f"--basetemp={scratch}/{os.getpid()}"
    os._exit(int(pytest.main([*_OPTIONS, temporary, *tests])))


class _Finder(MetaPathFinder):
    """Finds one module, with other code than its file's."""

    def __init__(self, module: str, code: CodeType) -> None:
        self._module, self._code = module, code

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self._module:
            return None
        file = file_of(name)
        places = [str(file.parent)] if file.name == "__init__.py" else None
        loader = _Loader(name, str(file), self._code)
        return spec_from_file_location(name, file, loader=loader, submodule_search_locations=places)


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        return self._code


def file_of(module: str) -> Path:
    """Give the file of a module of this checkout."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
