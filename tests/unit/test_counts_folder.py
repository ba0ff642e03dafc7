"""A killed worker leaves its folder of counts behind; a later worker removes it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from claimx.telemetry import counts_folder

HOST = "box.example"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture(scope="module")
def gone() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def left_by(pid: int, host: str = "box-example", *, old: bool = True) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"claimx-metrics-{host}-{pid}-"))
    (folder / "counter_1.db").write_bytes(b"\0")
    if old:
        os.utime(folder, (0, 0))
    return folder


def test_old_folders_of_processes_that_are_gone_go(tmp_path, gone):
    dead = left_by(gone)

    mine = counts_folder.made(HOST)

    assert not dead.exists()
    assert list(tmp_path.iterdir()) == [mine]


def test_all_others_stay(tmp_path, gone):
    """One of a living worker, of another host (a container's), or in use by orphaned children."""
    kept = [left_by(os.getpid()), left_by(gone, "other"), left_by(gone, old=False)]
    kept.append(tmp_path / "claimx-metrics-notes")
    kept[-1].mkdir()

    mine = counts_folder.made(HOST)

    assert sorted(tmp_path.iterdir()) == sorted([*kept, mine])


def test_the_folder_is_new_and_named_for_its_process():
    one, two = counts_folder.made(HOST), counts_folder.made(HOST)

    assert one != two
    assert one.name.startswith(f"claimx-metrics-box-example-{os.getpid()}-")
