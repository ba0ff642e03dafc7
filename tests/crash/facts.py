"""What one module's source says of its names: how each came to be, and what is imported."""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass
from typing import TypeAlias

PLAIN_TYPES = frozenset(
    "str bytes bytearray memoryview int float bool list dict set frozenset tuple None object type"
    " Sequence Mapping MutableMapping Iterable Iterator Collection Literal TypeAlias".split()
)
# whatever these make is gone with the process
PLAIN_LIBRARIES = frozenset(
    "collections datetime decimal hashlib re json math threading asyncio concurrent queue"
    " contextvars orjson pyarrow uuid".split()
)
PURE, PORTS = "claimx.domain.", "claimx.domain.ports"


@dataclass(frozen=True, slots=True)
class Annotated:
    """What a name's declared type says: the thing itself is plain, all in it is as well."""

    plain: bool
    deep: bool


Fact: TypeAlias = "ast.expr | Annotated | tuple[ast.expr]"
"""How a name came to be: assigned, annotated, or (in a tuple) one of what is looped over."""

UNKNOWN = Annotated(plain=False, deep=False)


class Gather(ast.NodeVisitor):
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
                    whole = value if isinstance(value, tuple | Annotated) else (value,)
                    values = [whole] * len(parts)
                for part, own in zip(parts, values, strict=True):
                    self._assigned(part, own)
            case ast.Starred(value=part):
                self._assigned(part, value)
            case _:
                pass

    def _note(self, name: str, value: Fact) -> None:
        self._facts[".".join(self._scope), name].append(value)

    def _declared(self, node: ast.expr) -> Annotated:
        """Return what an annotation says."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        return Annotated(
            plain=all(self._type_is_plain(one) for one in _outer(node)),
            deep=all(self._type_is_plain(one) for one in _all_types(node)),
        )

    def _type_is_plain(self, node: ast.expr) -> bool:
        name = ast.unparse(node)
        if name in PLAIN_TYPES:
            return True
        first, _, rest = name.partition(".")
        return is_plain_library(f"{self._imports.get(first, '')}.{rest}".rstrip("."))


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


def is_plain_library(dotted: str) -> bool:
    if dotted.startswith(PURE):
        return not dotted.startswith(PORTS)
    return dotted.partition(".")[0] in PLAIN_LIBRARIES
