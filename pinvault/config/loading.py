"""Reads the one TOML file into frozen structs, and says precisely what is wrong with it.

Rules:
- Unknown options are errors: a misspelt protection is a missing one.
- Errors name the file, the option and the remedy, never a value.
"""

import hashlib
import tomllib
from pathlib import Path

import msgspec

from pinvault.config.checks import check
from pinvault.config.loaded import ConfigError, Loaded
from pinvault.config.sections import Config


def load(path: Path) -> Loaded:
    """Read and check a configuration, or raise ConfigError with the first fault."""
    try:
        raw = path.read_bytes()
        data = tomllib.loads(raw.decode("utf-8"))
    except OSError as error:
        text = f"cannot be read ({error.strerror}): give the path of a configuration"
        raise ConfigError(path, "", text) from None
    except UnicodeDecodeError:
        raise ConfigError(path, "", "is not UTF-8 text: save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, "", f"is not TOML: {error}") from None
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `")
        option = place.rpartition("$")[2].rstrip("`").removeprefix(".")
        raise ConfigError(path, option, f"{text}: see pinvault.example.toml") from None
    loaded = Loaded(path=path, config=config, sha256=hashlib.sha256(raw).hexdigest())
    check(loaded)
    return loaded
