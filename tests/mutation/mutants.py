"""Makes mutants of a module: its syntax tree with one small fault, and the code compiled from it.

Rules:
- Files are never written: whoever reads or runs the sources meanwhile sees nothing of it.
- Left alone are annotations, decorators, `frozen`, docstrings, prose (texts with a space in them)
  and the texts of TypeError and ValueError: nothing that is computed depends on them.
- A mutant is named by function, statement, and what became of the statement; not by line number,
  so that a name outlives changes elsewhere in the module.
"""

import ast
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from types import CodeType, EllipsisType

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_DROPPED = (ast.Expr, ast.AugAssign, ast.Raise, ast.Assert, ast.Break, ast.Continue, ast.Delete)
_ALONE = frozenset({"annotation", "returns", "decorator_list"})
_SAYING = frozenset({"TypeError", "ValueError", "TypeVar"})
_Value = str | bytes | bool | int | float | complex | EllipsisType | None
_INNER = ("body", "orelse", "handlers", "finalbody", "cases", "decorator_list")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A fault: in which function, what the statement was and is, and the whole module's code."""

    function: str
    statement: str
    mutation: str
    code: CodeType

    @property
    def name(self) -> tuple[str, str, str]:
        """What it is known by in its module."""
        return self.function, self.statement, self.mutation


def mutants(source: str, filename: str) -> Iterator[Mutant]:
    """Make every mutant of a module, one after the other."""
    tree = ast.parse(source)
    for place in list(_places(tree, "", tree)):
        for changed in _changes(place.node):
            original = place.text(place.node)
            place.put(ast.fix_missing_locations(ast.copy_location(changed, place.node)))
            code = compile(tree, filename, "exec", dont_inherit=True)
            yield Mutant(place.function, original, place.text(changed), code)
            place.put(place.node)


def unchanged(source: str, filename: str) -> Mutant:
    """Make the mutant that is none."""
    return Mutant("", "", "", compile(source, filename, "exec", dont_inherit=True))


@dataclass(frozen=True, slots=True)
class _Place:
    """A node in the tree, and where it hangs."""

    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None
    statement: ast.AST
    function: str

    def put(self, node: ast.AST) -> None:
        """Hang another node there."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node

    def text(self, node: ast.AST) -> str:
        """Write the statement with `node` hanging there, without the statements inside it."""
        whole = node if self.statement is self.node else self.statement
        if isinstance(whole, ast.Pass):
            return ""
        nothing: list[ast.AST] = []
        inside = {name: nothing for name in _INNER if hasattr(whole, name)}
        return ast.unparse(_with(whole, **inside)).strip()


def _places(node: ast.AST, function: str, statement: ast.AST) -> Iterator[_Place]:
    """Walk the tree below a node in the order of the source, past what is left alone."""
    for name, value in ast.iter_fields(node):
        if name in _ALONE:
            continue
        several = isinstance(value, list)
        for index, child in enumerate(value if several else [value]):
            if not isinstance(child, ast.AST) or _says_something(child):
                continue
            holder = child if isinstance(child, ast.stmt | ast.match_case) else statement
            yield _Place(child, node, name, index if several else None, holder, function)
            inside = function
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inside = f"{function}.{child.name}".lstrip(".")
            yield from _places(child, inside, holder)


def _says_something(node: ast.AST) -> bool:
    """Tell docstrings, dots, prose, `frozen`, and what an error of the caller's says."""
    match node:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Constant(value=str(text)):
            return " " in text
        case ast.Call(func=ast.Name(id=name)):
            return name in _SAYING
        case ast.keyword(arg="frozen"):
            return True
    return False


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    """Give what could stand in a node's place by mistake."""
    if isinstance(node, ast.stmt | ast.match_case):
        yield from _changed_statements(node)
    elif isinstance(node, ast.Constant):
        yield from (ast.Constant(other) for other in _others(node.value))
    else:
        yield from _changed_expressions(node)


def _changed_statements(node: ast.stmt | ast.match_case) -> Iterator[ast.AST]:
    if isinstance(node, _DROPPED) or _sets_a_part(node):
        yield ast.Pass()
    match node:
        case ast.If():
            yield from (_with(node, test=ast.Constant(value)) for value in (False, True))
        case ast.While():
            yield _with(node, test=ast.Constant(False))
        case ast.With():
            yield _unguarded(node)
        case ast.match_case():
            yield _with(node, guard=ast.Constant(False))
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))


def _changed_expressions(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare():
            yield from _comparisons(node)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            yield from values
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            yield ast.BinOp(left, _ARITHMETIC[type(op)](), right)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield operand
        case ast.IfExp():
            yield from (_with(node, test=ast.Constant(value)) for value in (False, True))
        case ast.comprehension(ifs=ifs):
            yield from (_with(node, ifs=_without(ifs, at)) for at in range(len(ifs)))
        case ast.Slice():
            bounds = [name for name in ("lower", "upper", "step") if getattr(node, name)]
            yield from (_with(node, **{name: None}) for name in bounds)


def _comparisons(node: ast.Compare) -> Iterator[ast.AST]:
    for at, op in enumerate(node.ops):
        for other in _COMPARISONS[type(op)]:
            yield _with(node, ops=[*node.ops[:at], other(), *node.ops[at + 1 :]])


def _others(value: _Value) -> tuple[_Value, ...]:
    """Give the neighbours of a constant."""
    match value:
        case bool():
            return (not value,)
        case int():
            return (value + 1, value - 1)
        case float():
            return (value + 1.0,)
        case str():
            return (value[:-1] + chr(ord(value[-1]) ^ 1) if value else "x",)
        case bytes():
            return (value[:-1] + bytes((value[-1] ^ 1,)) if value else b"x",)
    return ()


def _sets_a_part(node: ast.AST) -> bool:
    """Tell an assignment that can be left out without leaving a name undefined."""
    return isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Name | ast.Tuple)


def _unguarded(node: ast.With) -> ast.AST:
    """Enter nothing and so leave nothing: what should be wiped stays."""
    named = [
        ast.Assign([item.optional_vars], item.context_expr)
        for item in node.items
        if item.optional_vars is not None
    ]
    return ast.If(ast.Constant(True), [*named, *node.body], [])


def _with(node: ast.AST, **changed: object) -> ast.AST:
    other = copy(node)
    for name, value in changed.items():
        setattr(other, name, value)
    return other


def _without(items: list[ast.expr], at: int) -> list[ast.expr]:
    return [*items[:at], *items[at + 1 :]]
