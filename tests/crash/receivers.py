"""What the source itself proves of a receiver: that it is plain data, or which library it is."""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TypeAlias

PLAIN_TYPES = frozenset(
    "str bytes bytearray memoryview int float bool list dict set frozenset tuple None object type"
    " Sequence Mapping MutableMapping Iterable Iterator Collection Literal TypeAlias".split()
)
PLAIN_CALLS = PLAIN_TYPES | frozenset("sorted repr min max sum len range zip enumerate".split())
TEXT_METHODS = frozenset(
    "strip lstrip rstrip lower upper casefold decode format join isoformat strftime removeprefix"
    " removesuffix split rsplit splitlines hexdigest".split()
)
# whatever these make is gone with the process
PLAIN_LIBRARIES = frozenset(
    "collections datetime decimal hashlib re json math threading asyncio concurrent queue"
    " contextvars orjson pyarrow uuid".split()
)
PURE, PORTS = "claimx.domain.", "claimx.domain.ports"

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEPTH = 12


@dataclass(frozen=True, slots=True)
class _Annotated:
    """What a name's declared type says: the thing itself is plain, all in it is as well."""

    plain: bool
    deep: bool


Fact: TypeAlias = "ast.expr | _Annotated | tuple[ast.expr]"
"""How a name came to be: assigned, annotated, or (in a tuple) one of what is looped over."""

UNKNOWN = _Annotated(plain=False, deep=False)


class Receivers:
    """
    What one module says of its names.

    Plain is what is only ever assigned, annotated or looped over as plain data: the built-in
    containers, text, numbers, and the values of the pure layer. Whatever is not proven is not
    plain.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.imports: dict[str, str] = {}
        self._facts: defaultdict[tuple[str, str], list[Fact]] = defaultdict(list)
        _Gather(self.imports, self._facts).visit(tree)

    def library(self, node: ast.expr) -> str | None:
        """Return the dotted name of the imported thing that *node* is, None for anything else."""
        match node:
            case ast.Name(id=name):
                return self.imports.get(name)
            case ast.Attribute(value=value, attr=attr):
                above = self.library(value)
                return f"{above}.{attr}" if above else None
            case _:
                return None

    def is_plain(self, node: ast.expr, scope: str) -> bool:
        """Say whether *node*, within the function or class *scope*, is proven to be plain data."""
        return self._plain(node, _Question(scope))

    def _plain(self, node: ast.expr, asked: _Question) -> bool:
        match node:
            case ast.Name(id=name):
                return self._proven(name, asked)
            case ast.Attribute(value=ast.Name(id="self"), attr=attr):
                return self._proven(f"self.{attr}", asked)
            case ast.Call():
                return self._plain_call(node, asked)
            case ast.Subscript(value=value, slice=ast.Slice()):
                return self._plain(value, asked)
            case ast.Subscript(value=value) | ast.Attribute(value=value):
                return self._plain(value, asked.of_all_in_it())
            case _:
                return self._plain_expression(node, asked)

    def _plain_call(self, node: ast.Call, asked: _Question) -> bool:
        match node:
            case ast.Call(func=ast.Attribute(attr="setdefault"), args=[_, value]):
                return self._plain(value, asked)
            case ast.Call(func=ast.Attribute(value=value, attr=attr)):
                made = self._makes_plain(node.func) or attr in TEXT_METHODS
                return made or self._plain(value, asked.of_all_in_it())
            case _:
                return self._makes_plain(node.func)

    def _plain_expression(self, node: ast.expr, asked: _Question) -> bool:
        match node:
            case ast.Constant() | ast.JoinedStr() | ast.Compare() | ast.BoolOp():
                return True
            case ast.List(elts=parts) | ast.Set(elts=parts) | ast.Tuple(elts=parts):
                within = all(self._plain(part, asked) for part in parts) and bool(parts)
                return within or not asked.deep
            case ast.Dict() | ast.ListComp() | ast.DictComp() | ast.SetComp():
                return not asked.deep
            case ast.BinOp(left=left, op=ast.Add() | ast.Mod() | ast.BitOr() | ast.Sub()):
                return self._plain(left, asked)
            case ast.IfExp(body=one, orelse=other):
                return self._plain(one, asked) and self._plain(other, asked)
            case _:
                return False

    def _makes_plain(self, function: ast.expr) -> bool:
        """Say whether calling *function* gives plain data."""
        if isinstance(function, ast.Name) and function.id in PLAIN_CALLS:
            return True
        return _is_plain_library(self.library(function) or "")

    def _proven(self, name: str, asked: _Question) -> bool:
        """Look the name up in the scope and those around it; attributes belong to the class."""
        parts = asked.scope.split(".") if asked.scope else []
        for end in range(len(parts), -1, -1):
            around = ".".join(parts[:end])
            if (around, name) in asked.met:  # it is what it is otherwise assigned as
                return True
            if facts := self._facts.get((around, name)):
                further = asked.about(around, name)
                return len(further.met) < _DEPTH and all(
                    self._holds(fact, further) for fact in facts
                )
        return False

    def _holds(self, fact: Fact, asked: _Question) -> bool:
        match fact:
            case _Annotated(plain=plain, deep=deep):
                return deep if asked.deep else plain
            case tuple():
                return self._plain(fact[0], asked.of_all_in_it())
            case _:
                return self._plain(fact, asked)


@dataclass(frozen=True, slots=True)
class _Question:
    """Is something plain, seen from *scope*; *deep*: with all in it; *met*: names on the way."""

    scope: str
    deep: bool = False
    met: frozenset[tuple[str, str]] = frozenset()

    def of_all_in_it(self) -> _Question:
        return replace(self, deep=True)

    def about(self, scope: str, name: str) -> _Question:
        return _Question(scope, self.deep, self.met | {(scope, name)})


class _Gather(ast.NodeVisitor):
    def __init__(
        self, imports: dict[str, str], facts: defaultdict[tuple[str, str], list[Fact]]
    ) -> None:
        self._imports = imports
        self._facts = facts
        self._scope: list[str] = []
        self._classes: list[int] = []

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            self._imports[name] = alias.name if alias.asname else name

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self._imports[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._scope.append(node.name)
        self._classes.append(len(self._scope))
        self.generic_visit(node)
        self._classes.pop()
        self._scope.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._scope.append(node.name)
        arguments = node.args
        for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            declared = self._declared(one.annotation) if one.annotation else UNKNOWN
            self._note(one.arg, declared)
        self.generic_visit(node)
        self._scope.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - the visitor's own names

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._assigned(target, node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._assigned(node.target, self._declared(node.annotation))
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._assigned(node.target, node.value)
        self.generic_visit(node)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self._assigned(node.target, (node.iter,))
        self.generic_visit(node)

    visit_AsyncFor = visit_For  # noqa: N815 - as above

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._assigned(node.target, (node.iter,))
        self.generic_visit(node)

    def visit_withitem(self, node: ast.withitem) -> None:
        if node.optional_vars is not None:
            self._assigned(node.optional_vars, UNKNOWN)
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._note(node.name, UNKNOWN)
        self.generic_visit(node)

    def _assigned(self, target: ast.expr, value: Fact) -> None:
        match target:
            case ast.Name(id=name):
                self._note(name, value)
            case ast.Attribute(value=ast.Name(id="self"), attr=attr) if self._classes:
                around = ".".join(self._scope[: self._classes[-1]])
                self._facts[around, f"self.{attr}"].append(value)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                values = value.elts if isinstance(value, ast.Tuple) else ()
                if len(values) != len(parts):
                    whole = value if isinstance(value, tuple | _Annotated) else (value,)
                    values = [whole] * len(parts)
                for part, own in zip(parts, values, strict=True):
                    self._assigned(part, own)
            case ast.Starred(value=part):
                self._assigned(part, value)
            case _:
                pass

    def _note(self, name: str, value: Fact) -> None:
        self._facts[".".join(self._scope), name].append(value)

    def _declared(self, node: ast.expr) -> _Annotated:
        """Return what an annotation says."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        return _Annotated(
            plain=all(self._type_is_plain(one) for one in _outer(node)),
            deep=all(self._type_is_plain(one) for one in _all_types(node)),
        )

    def _type_is_plain(self, node: ast.expr) -> bool:
        name = ast.unparse(node)
        if name in PLAIN_TYPES:
            return True
        first, _, rest = name.partition(".")
        return _is_plain_library(f"{self._imports.get(first, '')}.{rest}".rstrip("."))


def _outer(node: ast.expr) -> list[ast.expr]:
    """Return the types of the thing itself: of ``list[X] | None`` these are list and None."""
    match node:
        case ast.BinOp(left=left, right=right):
            return [*_outer(left), *_outer(right)]
        case ast.Subscript(value=value):
            return [value]
        case _:
            return [node]


def _all_types(node: ast.expr) -> list[ast.expr]:
    match node:
        case ast.BinOp(left=left, right=right):
            return [*_all_types(left), *_all_types(right)]
        case ast.Subscript(value=value, slice=inner):
            return [value, *_all_types(inner)]
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return [one for part in parts for one in _all_types(part)]
        case _:
            return [node]


def _is_plain_library(dotted: str) -> bool:
    if dotted.startswith(PURE):
        return not dotted.startswith(PORTS)
    return dotted.partition(".")[0] in PLAIN_LIBRARIES
