"""The walk itself is tried: code that loses something when it dies is found out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from plays import PLAYS
from theatre import Theatre
from walk import die_at, record

pytestmark = [pytest.mark.long, pytest.mark.integration, pytest.mark.timeout(300)]


@dataclass(frozen=True, slots=True)
class Mistake:
    """
    *instead* stands where *text* stood in *module*; a death at *point* of *play* shows it.

    With *redis_too* only a death in which Redis loses everything.
    """

    module: str
    text: str
    instead: str
    play: str
    point: str
    shows: str
    redis_too: bool = False


WRITTEN = "flushed = self._tables.write(items, self._keep, **options)"
SETTLED = (
    "from claimx.services.flush import Flushed; self._settler.settle(Flushed(done=list(items)))"
)
STORED = "checkpoint, _ = store("
MOVED = "checkpoint = runtime.ledger.store_page(gap.reader, checkpoint, last, [], self._fence)"

MISTAKES = {
    "records are settled before their rows are in the lake": Mistake(
        "claimx.services.write",
        WRITTEN,
        f"{SETTLED}; {WRITTEN}",
        "life",
        "adapters.lake.commit:_append write_deltalake #1 before",
        "missing row",
    ),
    "the reader of a gap moves before its page is stored": Mistake(
        "claimx.services.catch_up",
        STORED,
        f"{MOVED}; {STORED}",
        "behind",
        "services.catch_up:_Run._read ledger.store_page #1 after",
        "missing row",
    ),
    "an event is in the lake before what it found": Mistake(
        "claimx.services.flush",
        "_ORDER = (",
        "_ORDER = ((EVENTS.name,), ",
        "life",
        "adapters.lake.commit:_append write_deltalake #1 after",
        "missing row",
        redis_too=True,
    ),
    "half a file lies where only its process knows of it": Mistake(
        "claimx.adapters.blob_folder",
        'part = f"{self._parts}/{token_hex(16)}"',
        'part = f"{self._root}/.{token_hex(16)}.part"',
        "elsewhere",
        "adapters.blob_folder:FolderStore._copy os.replace #1 before",
        "surplus file",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_that_only_a_death_shows_is_seen(tmp_path, mistake):
    """Where nobody dies, each of them ends as it must."""
    play = PLAYS[mistake.play]
    with Theatre(tmp_path, {mistake.module: (mistake.text, mistake.instead)}) as theatre:
        record(theatre, play)

        death = die_at(theatre, play, mistake.point, redis_too=mistake.redis_too)

    assert any(mistake.shows in problem for problem in death.problems), death
