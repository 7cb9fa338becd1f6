"""One TOML file, read into frozen structs: what the service is told, and all that it is told."""

from pinvault.config.loaded import ConfigError, Loaded
from pinvault.config.loading import load
from pinvault.config.section import split_address
from pinvault.config.sections import Config, RunMode

__all__ = ["Config", "ConfigError", "Loaded", "RunMode", "load", "split_address"]
