"""Published vectors in a JSON file, and what runs each kind of them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Fields = Mapping[str, Any]
Runner = Callable[[Fields, Fields], None]
FOLDER = Path(__file__).parents[1] / "vectors"


class Published:
    """The vectors of one file, and a runner for each operation that they name."""

    def __init__(self, name: str) -> None:
        self.vectors = json.loads((FOLDER / name).read_text(encoding="utf-8"))["vectors"]
        self.runners: dict[str, Runner] = {}

    def runs(self, operation: str) -> Callable[[Runner], Runner]:
        """Have the function run the vectors of an operation."""

        def register(runner: Runner) -> Runner:
            self.runners[operation] = runner
            return runner

        return register

    def run(self, vector: Mapping[str, Any]) -> None:
        """Run one vector by its operation's runner."""
        self.runners[vector["operation"]](vector["input"], vector["expect"])
