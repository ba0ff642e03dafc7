"""
Finds every use of an effect's word in a source, and puts a hook there.

The finder is the rewriter: what is listed is what is instrumented, so the two cannot differ. A use,
called or handed on as a function, becomes ``__crash_site__(use, "its name")``, in test processes
only; production runs the source as it is written.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass

from doors import FOREIGN_WORDS, METHOD_WORDS
from effects import LOOKING_SCRIPTS, PORT_WORDS, STEP_DOORS, STEPS
from false_alarms import FALSE_ALARMS
from points import HOOK
from receivers import FUNCTIONS, Receivers

_WORD = re.compile(r"[A-Za-z]\w*")
_READING_MODES = frozenset(("r", "rb", "rt"))


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """
    One place: ``module:function``, what is used there, and the how-manieth of its kind.

    *leaves* says that it may itself be what leaves the process, not only lead there.
    """

    module: str
    function: str
    effect: str
    number: int
    line: int = 0
    leaves: bool = False

    @property
    def name(self) -> str:
        """What it is called everywhere; lines come and go, names stay."""
        return f"{self.module}:{self.function} {self.effect} #{self.number}"

    @property
    def points(self) -> tuple[str, str]:
        """The crash points before and after it."""
        return f"{self.name} before", f"{self.name} after"


def instrumented(source: str, module: str) -> tuple[ast.Module, list[Site]]:
    """Return the module's tree with a hook at each site, and the sites."""
    tree = ast.parse(source)
    finder = _Finder(module, Receivers(tree))
    tree = finder.visit(tree)
    return ast.fix_missing_locations(tree), finder.sites


def alarms_of(source: str, module: str) -> set[str]:
    """Return those of the false alarms that a module's source gives."""
    tree = ast.parse(source)
    finder = _Finder(module, Receivers(tree))
    finder.visit(tree)
    return finder.alarms


class _Finder(ast.NodeTransformer):
    def __init__(self, module: str, receivers: Receivers) -> None:
        self.sites: list[Site] = []
        self._module = module
        self._short = module.removeprefix("claimx.")
        self._receivers = receivers
        self._scope: list[str] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self.alarms: set[str] = set()
        self._reading: set[int] = set()  # uses of `open` that only read

    # where we are

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._within(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._within(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._within(node)

    def _within(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self._scope.append(node.name)
        found = self.generic_visit(node)
        self._scope.pop()
        return found

    # what does nothing

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_match_case(self, node: ast.match_case) -> ast.AST:
        node.guard = self.visit(node.guard) if node.guard else None
        node.body = [self.visit(one) for one in node.body]
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, FUNCTIONS):
            node.returns, kept = None, node.returns
            found = super().generic_visit(node)
            node.returns = kept
            return found
        return super().generic_visit(node)

    # what may be a site

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        original = ast.unparse(node.value)
        of_library = self._receivers.library(node.value) is not None
        is_site = isinstance(node.ctx, ast.Load) and self._lasts(node)
        node = self.generic_visit(node)
        if not is_site:
            return node
        effect = f"{_tail(original)}.{node.attr}"
        return self._site(node, effect, leads_on=not of_library and node.attr in PORT_WORDS)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        library = self._receivers.library(node)
        if library and isinstance(node.ctx, ast.Load) and self._offers(library):
            return self._site(node, node.id)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _only_reads(node):
            self._reading.add(id(node.func))
        what, by_name = self._called(node), self._got_by_name(node)
        node = self.generic_visit(node)
        if by_name:
            return self._site(node, by_name)
        if what:
            node.func = self._site(node.func, what, leads_on=not what.endswith("[]"))
        return node

    def _called(self, node: ast.Call) -> str:
        """Name the effect that the call's function is, when no name says so; else nothing."""
        match node.func:
            case ast.Subscript(value=value):  # a table of scripts, callbacks, clients
                what = f"{_tail(ast.unparse(value))}[]"
                return "" if self._is_false_alarm(what) else what
            case ast.Name(id="open"):
                quiet = id(node.func) in self._reading or self._is_false_alarm("open")
                return "" if quiet else "open"
            case ast.Attribute(value=value, attr=attr) if attr in STEP_DOORS:
                first = node.args[0] if node.args else None
                step = first.value if isinstance(first, ast.Constant) else None
                if step in STEPS and step not in LOOKING_SCRIPTS:
                    return f"{_tail(ast.unparse(value))}.{attr}[{step}]"
        return ""

    def _got_by_name(self, node: ast.Call) -> str:
        match node:
            case ast.Call(
                func=ast.Name(id="getattr"), args=[thing, ast.Constant(value=str(word)), *_]
            ):
                if self._lasts(ast.Attribute(value=thing, attr=word, ctx=ast.Load())):
                    return f"{_tail(ast.unparse(thing))}.{word}"
        return ""

    def _lasts(self, node: ast.Attribute) -> bool:
        """Say whether this use of an attribute is one of an effect."""
        what = f"{_tail(ast.unparse(node.value))}.{node.attr}"
        library = self._receivers.library(node.value)
        if library is not None and not library.startswith("claimx."):
            lasts = self._offers(f"{library}.{node.attr}")
        else:
            lasts = node.attr in PORT_WORDS | METHOD_WORDS and not self._receivers.is_plain(
                node.value, ".".join(self._scope)
            )
        if not lasts or id(node) in self._reading:
            return False
        return not self._is_false_alarm(what)

    def _offers(self, dotted: str) -> bool:
        """Say whether an imported thing is an effect of the library it comes from."""
        above, _, word = dotted.rpartition(".")
        return any(
            word in words and (above == library or above.startswith(f"{library}."))
            for library, words in FOREIGN_WORDS.items()
        )

    def _is_false_alarm(self, what: str) -> bool:
        met = {what, f"{self._short}: {what}"} & FALSE_ALARMS.keys()
        self.alarms |= met
        return bool(met)

    def _site(self, node: ast.expr, effect: str, *, leads_on: bool = False) -> ast.Call:
        function = ".".join(self._scope) or "<module>"
        self._counts[function, effect] += 1
        site = Site(
            self._short,
            function,
            effect,
            self._counts[function, effect],
            node.lineno,
            leaves=not leads_on,
        )
        self.sites.append(site)
        hook = ast.Call(
            func=ast.Name(id=HOOK, ctx=ast.Load()),
            args=[node, ast.Constant(value=site.name)],
            keywords=[],
        )
        return ast.copy_location(hook, node)


def _only_reads(node: ast.Call) -> bool:
    """Say whether a call opens a file, surely for reading alone."""
    match node.func:
        case ast.Name(id="open"):
            modes = node.args[1:2]
        case ast.Attribute(value=ast.Name(id="os"), attr="open"):
            return len(node.args) == 2 and ast.unparse(node.args[1]) == "os.O_RDONLY"
        case ast.Attribute(attr="open"):
            modes = node.args[:1]
        case _:
            return False
    modes = [*modes, *(one.value for one in node.keywords if one.arg == "mode")]
    return all(isinstance(one, ast.Constant) and one.value in _READING_MODES for one in modes)


def _tail(text: str) -> str:
    """Return the last part of a receiver, short enough for a name."""
    found = _WORD.findall(re.split(r"[(\[]", text, maxsplit=1)[0])
    return found[-1] if found else "it"
