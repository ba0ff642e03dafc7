"""What the documentation names is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# these tell of what was: a file may be gone since
OF_THE_PAST = {"CHANGELOG.md", "performance-history.md"}
PRESENT = [page for page in PAGES if page.name not in OF_THE_PAST]

FILE = re.compile(r"`([\w./-]+\.(?:py|lua|md|toml|yml))(?::(\w+))?`")
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def path_of(name: str, page: Path) -> Path | None:
    for folder in (ROOT, ROOT / "claimx", page.parent, ROOT / "tests", ROOT / "bench"):
        if (folder / name).is_file():
            return folder / name
    return None


def anchors_of(page: Path) -> Iterator[str]:
    for heading in HEADING.findall(CODE.sub("", page.read_text())):
        plain = re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("`", ""))
        yield plain.replace(" ", "-")


@pytest.mark.parametrize("page", PRESENT, ids=lambda page: page.name)
def test_a_file_that_a_page_names_exists(page):
    """Who follows one event by reading must not look for a module that was moved."""
    named = {(name, what) for name, what in FILE.findall(page.read_text()) if "/" in name}

    missing = [
        name + (f":{what}" if what else "")
        for name, what in sorted(named)
        if (path := path_of(name, page)) is None
        or (
            what
            and not re.search(rf"\b(def|class) {what}\b|^{what}\b", path.read_text(), re.MULTILINE)
        )
    ]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_somewhere(page):
    broken = []
    for name, anchor in LINK.findall(CODE.sub("", page.read_text())):
        target = (page.parent / name) if name else page
        if not target.exists() or (anchor and anchor not in set(anchors_of(target))):
            broken.append(f"{name}#{anchor}")

    assert broken == []
