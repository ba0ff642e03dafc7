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
    kept = [left_by(os.getppid()), left_by(gone, "other"), left_by(gone, old=False)]
    kept.append(tmp_path / "claimx-metrics-notes")
    kept[-1].mkdir()

    mine = counts_folder.made(HOST)

    assert sorted(tmp_path.iterdir()) == sorted([*kept, mine])


def test_an_old_folder_of_this_processs_number_was_anothers(tmp_path):
    """
    In a container that starts again all have their numbers of before.

    Each worker that was killed there left its folder for good.
    """
    left_by(os.getpid())

    mine = counts_folder.made(HOST)

    assert list(tmp_path.iterdir()) == [mine]


def printed_by(program, folder):
    """Return what a program prints that counts in a folder, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)},
    )
    return done.stdout


_CHILDREN = """
import os, sys
from claimx.telemetry.metrics import PrometheusMetrics, exposition
metrics = PrometheusMetrics()
for child in range(5):
    if os.fork() == 0:
        metrics.add("processed", 2, stage="enrich")
        metrics.observe("flush_seconds", 0.2, table="t")
        metrics.set("poll_lag_seconds", child, cursor="live")
        os._exit(0)
    os.wait()
    if child in (0, 4):  # the files of the last four come in any order
        text = exposition(metrics).decode()
print(text)
"""


def test_what_ended_children_counted_stays_and_their_files_do_not(tmp_path):
    """A worker replaces its children every so often; each scrape read the files of all of them."""
    printed = printed_by(_CHILDREN, tmp_path)

    assert 'claimx_processed_total{stage="enrich"} 10.0' in printed
    assert 'claimx_flush_seconds_count{table="t"} 5.0' in printed
    assert 'claimx_flush_seconds_sum{table="t"} 1.0' in printed
    assert 'claimx_poll_lag_seconds{cursor="live"} 4.0' in printed
    assert {one.name for one in tmp_path.glob("*_ended.db")} == {
        "counter_ended.db",
        "gauge_mostrecent_ended.db",
        "histogram_ended.db",
    }
    assert len(list(tmp_path.iterdir())) <= 6  # the parent's own beside them


_STRANGE_TYPES = """
import os
from claimx.telemetry.metrics import PrometheusMetrics, exposition
metrics = PrometheusMetrics()
for child in range(4):
    if os.fork() == 0:
        for number in range(100):
            metrics.add("unhandled", type=f"TYPE_{child}_{number}")
        os._exit(0)
    os.wait()
    text = exposition(metrics).decode()
print(text)
"""


def test_ended_children_keep_no_more_values_of_a_label_than_one(tmp_path):
    """A worker replaces its children for ever, and each met 64 other types that nobody handles."""
    printed = printed_by(_STRANGE_TYPES, tmp_path)

    lines = [one for one in printed.splitlines() if one.startswith("claimx_unhandled_total{")]

    assert len(lines) <= counts_folder.MOST_VALUES + 1
    assert sum(float(one.rpartition(" ")[2]) for one in lines) == 400


def test_a_child_that_was_killed_as_it_made_its_file_spoils_no_scrape(tmp_path, gone):
    """The file was empty, and nobody could be told any metric until the worker's end."""
    (tmp_path / f"counter_{gone}.db").touch()

    counts_folder.merge_ended(tmp_path)

    assert [one.name for one in tmp_path.iterdir()] == ["counter_ended.db"]


_AFTER_A_CLEARING = """
import os, shutil
from claimx.telemetry.metrics import PrometheusMetrics, exposition
shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"])
print(exposition(PrometheusMetrics()).decode())
shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"])
if os.fork() == 0:
    PrometheusMetrics().add("processed", 2, stage="enrich")
    os._exit(0)
os.wait()
print(exposition(PrometheusMetrics()).decode())
"""


def test_a_folder_that_somebody_has_removed_is_made_again(tmp_path):
    """
    Programs that clear temporary folders may take it away.

    No child that the worker forked after that could do any work, until somebody restarted it.
    """
    folder = tmp_path / "counts"
    folder.mkdir()

    printed = printed_by(_AFTER_A_CLEARING, folder)

    assert 'claimx_processed_total{stage="enrich"} 2.0' in printed


def test_the_folder_is_new_and_named_for_its_process():
    one, two = counts_folder.made(HOST), counts_folder.made(HOST)

    assert one != two
    assert one.name.startswith(f"claimx-metrics-box-example-{os.getpid()}-")
