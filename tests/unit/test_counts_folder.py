"""A killed worker leaves its folder of counts behind; the next worker removes it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from claimx.telemetry import counts_folder


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def left_by(pid: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"claimx-metrics-{pid}-"))
    (folder / "counter_1.db").write_bytes(b"\0")
    return folder


def test_folders_of_processes_that_are_gone_go_and_all_others_stay(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, alive, other = left_by(gone.pid), left_by(os.getpid()), tmp_path / "claimx-metrics-notes"
    other.mkdir()

    mine = counts_folder.made()

    assert sorted(tmp_path.iterdir()) == sorted([alive, other, mine])
    assert not dead.exists()


def test_the_folder_is_new_and_named_for_its_process():
    one, two = counts_folder.made(), counts_folder.made()

    assert one != two
    assert one.name.startswith(f"claimx-metrics-{os.getpid()}-")
