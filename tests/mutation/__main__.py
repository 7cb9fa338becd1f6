"""`./dev mutate [name ...]`: how many mutants of the clear zone the tests find, and which not."""

import sys
import time
from dataclasses import dataclass, field
from functools import partial

from tests.mutation import running
from tests.mutation.mutants import Mutant, mutants, unchanged
from tests.mutation.plan import explained, guards_of, modules

AT_ONCE = 2
LONG_S = 600.0


@dataclass(slots=True)
class Count:
    """What became of a module's mutants."""

    module: str
    killed: int = 0
    explained: int = 0
    survived: list[Mutant] = field(default_factory=list)
    found_after_all: list[Mutant] = field(default_factory=list)
    seconds: float = 0.0

    def row(self) -> str:
        """Write the module's row of the table."""
        made = self.killed + self.explained + len(self.survived)
        counts = f"{made:7}{self.killed:8}{self.explained:11}{len(self.survived):10}"
        return f"{self.module:48}{counts}{self.seconds:9.0f} s"


def main(names: list[str]) -> int:
    """Run the modules whose names contain one of `names`, or all; 1 when a mutant survives."""
    chosen = [module for module in modules() if not names or any(n in module for n in names)]
    if not chosen:
        print("no module of the clear zone has such a name", file=sys.stderr)
        return 2
    running.warm_up()
    print(f"{'module':48}mutants  killed  explained  survived", flush=True)
    counts = []
    for module in chosen:
        counts.append(run(module))
        print(counts[-1].row(), flush=True)
        tell(counts[-1].survived, "survived")
        tell(counts[-1].found_after_all, "explained, and yet found by a test")
    return 1 if any(count.survived for count in counts) else 0


def run(module: str) -> Count:
    """Run the tests of a module on all its mutants."""
    tests, file, count = guards_of(module), running.file_of(module), Count(module)
    source, known, began = file.read_text(), explained(module), time.monotonic()
    made = list(mutants(source, str(file)))
    if not made:
        return count
    run_on = partial(running.run_all, module=module, tests=tests)
    [(_, before)] = run_on([unchanged(source, str(file))], limit_s=LONG_S, at_once=1)
    if not before.passed:
        raise SystemExit(f"{module}: mend its tests first: ./dev test {' '.join(tests)}")
    limit_s = max(running.LIMIT_S, running.LIMIT_TIMES * before.seconds)
    for mutant, outcome in run_on(made, limit_s=limit_s, at_once=AT_ONCE):
        if not outcome.passed:
            count.killed += 1
            count.found_after_all += [mutant] if mutant.name in known else []
        elif mutant.name in known:
            count.explained += 1
        else:
            count.survived.append(mutant)
    count.seconds = time.monotonic() - began
    return count


def tell(told: list[Mutant], what: str) -> None:
    """Write mutants as changes of a line."""
    for mutant in told:
        where = mutant.function or "the module"
        print(
            f"    {what}, in {where}:\n    - {mutant.statement}\n    + {mutant.mutation}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
