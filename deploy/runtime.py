"""Prints what pinvault needs where it serves, of what pyproject.toml names: one line a package."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text())["project"]
print(*project["dependencies"], *project["optional-dependencies"]["postgres"], sep="\n")
