"""Reads which tests guard which module, and which surviving mutants are explained."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

from tests.mutation.running import ROOT

HERE = Path(__file__).parent
PACKAGE = "pinvault.clearzone"


def modules() -> list[str]:
    """Name the modules of the clear zone that hold code, in order."""
    files = sorted(ROOT.joinpath(*PACKAGE.split(".")).rglob("*.py"))
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return [name.removesuffix(".__init__") for name in names]


def guards_of(module: str) -> list[str]:
    """Name the test files that guard a module: those of the first pattern that it fits.

    Its own doctests come first, since they are quick.
    """
    short = module.removeprefix(f"{PACKAGE}.")
    for entry in tomllib.loads((HERE / "plan.toml").read_text())["guard"]:
        if any(fnmatch(short, pattern) for pattern in entry["modules"]):
            return [doctests(module), *entry["tests"]]
    raise LookupError(f"plan.toml has no tests for {module}")


def doctests(module: str) -> str:
    """Name the module's own file, where its doctests are."""
    path = Path(*module.split("."))
    return str(path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py"))


def survivors() -> list[dict[str, str]]:
    """Give the explained survivors as they are written."""
    written: list[dict[str, str]] = tomllib.loads((HERE / "survivors.toml").read_text())["survivor"]
    return written


def explained(module: str) -> set[tuple[str, str, str]]:
    """Give the names of a module's mutants that may survive."""
    return {
        (entry["function"], entry["statement"], entry["mutation"])
        for entry in survivors()
        if entry["module"] == module
    }
