"""The list of all sites: every place of the pipeline that changes something lasting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType

from finder import Site, alarms_of, instrumented

ROOT = Path(__file__).parents[2]
NOT_THE_PIPELINE = (
    "claimx/sandbox/",
    "claimx/adapters/memory/",
    "claimx/cli/demo",
    "claimx/cli/stack",
)


def sources() -> Iterator[tuple[str, Path]]:
    """Yield (module, file) of everything that runs in production."""
    for path in sorted((ROOT / "claimx").rglob("*.py")):
        below = path.relative_to(ROOT).as_posix()
        if not below.startswith(NOT_THE_PIPELINE):
            yield module_of(path), path


def code_of(path: Path, changed: Mapping[str, Sequence[str]] | None = None) -> CodeType | None:
    """
    Return the code of a file with its sites hooked, None when it is no part of the pipeline.

    In a module that *changed* names one text stands instead of another: to see that it is noticed.
    """
    if path.relative_to(ROOT).as_posix().startswith(NOT_THE_PIPELINE):
        return None
    source, module = path.read_text("utf-8"), module_of(path)
    if changed and module in changed:
        old, new = changed[module]
        if source.count(old) != 1:
            msg = f"{module} has {source.count(old)} times {old!r}"
            raise ValueError(msg)
        source = source.replace(old, new)
    tree, _ = instrumented(source, module)
    return compile(tree, str(path), "exec", dont_inherit=True)


def false_alarms_met() -> set[str]:
    """Return those of the false alarms that the pipeline's source still gives."""
    return {one for module, path in sources() for one in alarms_of(path.read_text(), module)}


def module_of(path: Path) -> str:
    """Return the dotted name of a module by its file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def all_sites() -> list[Site]:
    """Return every site of the pipeline, in the order of the source."""
    return [site for module, path in sources() for site in sites_of(path.read_text(), module)]


def sites_of(source: str, module: str) -> list[Site]:
    """Return the sites of one module's source."""
    return instrumented(source, module)[1]


def names(sites: Iterable[Site]) -> list[str]:
    """Return the names of sites."""
    return [site.name for site in sites]
