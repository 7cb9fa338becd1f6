"""The mutants that are made, how they are met, and that what is said of survivors still fits."""

import ast
import subprocess
import sys
from collections import Counter

import pytest

from tests.mutation.mutants import mutants
from tests.mutation.plan import guards_of, modules, survivors
from tests.mutation.running import ROOT, file_of

SURVIVORS = survivors()
EXPLAINED = sorted({entry["module"] for entry in SURVIVORS})


def made(source: str) -> set[tuple[str, str]]:
    return {(mutant.statement, mutant.mutation) for mutant in mutants(source, "<source>")}


# What is written down


@pytest.mark.parametrize("module", EXPLAINED)
def test_explained_survivors_are_mutants_of_the_source_as_it_is(module: str) -> None:
    there = {mutant.name for mutant in mutants(file_of(module).read_text(), module)}
    for entry in SURVIVORS:
        if entry["module"] == module:
            name = (entry["function"], entry["statement"], entry["mutation"])
            assert name in there, f"{module}: take it out of survivors.toml: {name}"


def test_every_survivor_is_explained_once_and_with_a_reason() -> None:
    assert all(
        set(entry) == {"module", "function", "statement", "mutation", "why"} for entry in SURVIVORS
    )
    assert all(len(entry["why"]) > 20 for entry in SURVIVORS)
    names = Counter(tuple(value for key, value in e.items() if key != "why") for e in SURVIVORS)
    assert names.most_common(1)[0][1] == 1


@pytest.mark.parametrize("module", modules())
def test_every_module_of_the_clear_zone_has_tests(module: str) -> None:
    assert all((ROOT / test).exists() for test in guards_of(module))


# What is made


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < 4", {"a <= 4", "a >= 4", "a < 5", "a < 3", ""}),
        ("x = a == b", {"x = a != b"}),
        ("x = a in b", {"x = a not in b"}),
        ("x = a and b", {"x = a or b", "x = a", "x = b"}),
        ("x = not a", {"x = a"}),
        ("x = a ^ b", {"x = a | b"}),
        ("x = a % b", {"x = a // b"}),
        ("x = a[1:]", {"x = a[:]", "x = a[2:]", "x = a[0:]"}),
        ("x = True", {"x = False"}),
        ("x = b'0'", {"x = b'1'"}),
        ("x = b if a else c", {"x = b if False else c", "x = b if True else c"}),
        ("x = [a for a in b if c]", {"x = [a for a in b]"}),
        ("x.y = a", {""}),
        ("x |= a", {""}),
        ("raise Malformed", {""}),
        ("raise ValueError('no')", {""}),
        ("x: Literal[1] = a", set()),
        ("'a docstring'", set()),
        ("x = 'some prose'", set()),
    ],
)
def test_the_mutants_of_a_statement(source: str, expected: set[str]) -> None:
    assert {mutation for _, mutation in made(source)} == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("if a:\n    b = c", {("if a:", "if False:"), ("if a:", "if True:")}),
        ("while a:\n    b = c", {("while a:", "while False:")}),
        ("with a as b:\n    c = d", {("with a as b:", "if True:")}),
        ("match a:\n    case B():\n        c = d", {("case B():", "case B() if False:")}),
        ("def f(a: int = 1) -> C:\n    return a", None),
    ],
)
def test_the_mutants_of_a_statement_with_others_inside(
    source: str, expected: set[tuple[str, str]] | None
) -> None:
    head = "def f(a: int={}) -> C:"
    function = {(head.format(1), head.format(n)) for n in (0, 2)} | {("return a", "return None")}
    assert made(source) == (expected or function)


def test_what_is_guarded_is_still_done_when_nothing_is_entered() -> None:
    [mutant] = mutants("with a as b:\n    c = b", "<source>")
    names = {"a": object()}
    exec(mutant.code, names)
    assert names["c"] is names["a"]


def test_the_tree_is_whole_after_every_mutant() -> None:
    source = file_of("pinvault.clearzone.iso9564.fields").read_text()
    first, second = (list(mutants(source, "<source>")) for _ in range(2))
    assert [mutant.name for mutant in first] == [mutant.name for mutant in second]
    whole = compile(ast.parse(source), "<source>", "exec", dont_inherit=True)
    assert all(mutant.code != whole for mutant in first)


# How they are met

SAMPLE = """
from tests.mutation import running
from tests.mutation.mutants import mutants, unchanged

running.warm_up()
module = "pinvault.clearzone.opening"
source = running.file_of(module).read_text()
made = [unchanged(source, module), *mutants(source, module)]
tests = ["pinvault/clearzone/iso9564/format0.py"]
outcomes = running.run_all(made, module=module, tests=tests, limit_s=60.0, at_once=2)
print(sorted((mutant.function, outcome.passed) for mutant, outcome in outcomes))
"""


def test_a_fault_that_the_tests_meet_is_found_and_no_other() -> None:
    """The doctests of format 0 read a PIN's digits, and never ask for its length."""
    done = subprocess.run(
        [sys.executable, "-c", SAMPLE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[('', True), ('digits_of', False), ('length_of', True)]"
