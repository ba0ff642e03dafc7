"""What is made by the million is changed by nobody, though the interpreter would let them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHANGING = """
from claimx.domain.changes import Change, MediaItem
from claimx.domain.events import Event
from claimx.domain.records import Advance, NewRecord, Record


def change(change: Change, item: MediaItem, event: Event) -> None:
    change.table = "x"
    item.link = "x"
    event.type = "x"


def change_records(record: Record, new: NewRecord, outcome: Advance) -> None:
    record.lease = "x"
    new.id = "x"
    outcome.rows = b""
"""


@pytest.mark.timeout(120)
def test_the_type_checker_refuses_to_change_a_value(tmp_path):
    """It stands in for frozen dataclasses (`claimx.domain.value`), so it must see each of them."""
    module = tmp_path / "changing.py"
    module.write_text(CHANGING)

    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), str(module)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    refused = [line for line in done.stdout.splitlines() if "is read-only" in line]
    assert len(refused) == 6, done.stdout + done.stderr
