"""What the source itself proves of a receiver: that it is plain data, or which library it is."""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass, replace

from facts import PLAIN_TYPES, Annotated, Fact, Gather, is_plain_library

PLAIN_CALLS = PLAIN_TYPES | frozenset("sorted repr min max sum len range zip enumerate".split())
TEXT_METHODS = frozenset(
    "strip lstrip rstrip lower upper casefold decode format join isoformat strftime removeprefix"
    " removesuffix split rsplit splitlines hexdigest".split()
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEPTH = 12


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
        Gather(self.imports, self._facts).visit(tree)

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
        return is_plain_library(self.library(function) or "")

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
            case Annotated(plain=plain, deep=deep):
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
