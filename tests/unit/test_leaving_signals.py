"""A worker is told to end by signals, which may come in the middle of each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from needed import needed

ROOT = Path(__file__).parents[2]
TERM, HUP, INT = signal.SIGTERM, signal.SIGHUP, signal.SIGINT

# For each line that the first signal's handlers run, a process in which the second comes there.
AT_EACH_LINE = """
import os, signal, sys, threading
from types import SimpleNamespace
from celery.apps import worker as theirs
from celery.worker import state
from claimx.adapters import leaving
from claimx.adapters.leaving_step import LeavingStep

folder, first, second = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
handlers = (theirs.__file__, leaving.__file__, sys.modules[LeavingStep.__module__].__file__)
leaving.prepare(leaving.Path(folder))
line = 0

def comes_at(line):
    seen = 0

    def look(frame, event, _):
        nonlocal seen
        if frame.f_code.co_filename not in handlers:
            return None
        if event == "line":
            seen += 1
            if seen == line:
                sys.settrace(None)
                os.kill(os.getpid(), second)
        return look

    sys.settrace(look)
    os.kill(os.getpid(), first)
    sys.settrace(None)
    return seen >= line

while True:
    line += 1
    sys.stdout.flush()
    if os.fork():
        _, status = os.wait()
        if status:
            sys.exit(f"line {line}: {status}" if os.waitstatus_to_exitcode(status) != 3 else 0)
        continue
    worker = SimpleNamespace(hostname="w@h")
    for install in ("restart", "term", "int"):
        getattr(theirs, f"install_worker_{install}_handler")(worker)
    LeavingStep(None).start(None)
    if not comes_at(line):
        os._exit(3)  # there are no more
    watching = [one.name for one in threading.enumerate()].count("leaving")
    assert state.should_stop in (0, 1) and state.should_stop is not False
    told = leaving.begun()
    # at once, beside what its thread says
    sys.stdout.write(f"ends, watched by {watching}, its children told: {told}\\n")
    sys.stdout.flush()
    sys.argv[:] = ["-c", "print('started anew')"]
    break
"""


def outcomes(folder, first: int, second: int) -> list[str]:
    """Return what each process printed, one line for one line."""
    done = subprocess.run(
        [sys.executable, "-c", AT_EACH_LINE, str(folder), str(int(first)), str(int(second))],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = [one for one in done.stdout.splitlines() if one.startswith(("ends", "started"))]
    assert len(told) > 5, done.stdout
    return told


@pytest.mark.parametrize(
    ("first", "second"),
    [(TERM, TERM), (TERM, HUP), (HUP, TERM), (TERM, INT), (INT, TERM)],
    ids=lambda one: one.name,
)
def test_a_worker_told_to_end_ends_whenever_another_signal_comes(tmp_path, first, second):
    """
    The signals of a service's stop come within microseconds; CI met it once.

    A second SIGTERM in the middle of the first was an exception wherever the worker was just then.
    """
    assert set(outcomes(tmp_path, first, second)) == {"ends, watched by 1, its children told: True"}


def test_a_worker_that_only_hangs_up_is_started_anew(tmp_path):
    told = outcomes(tmp_path, HUP, HUP)

    ends = "ends, watched by 0, its children told: False"
    assert told == [ends, "started anew"] * (len(told) // 2)


ABOUT_TO_BEGIN_ANEW = """
import os, signal, sys
from celery.apps.worker import install_worker_restart_handler
from claimx.adapters import leaving
from claimx.adapters.leaving_step import LeavingStep

class Interrupted:
    'What is looked at just before the new program is loaded: the signal comes then.'

    def fileno(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

leaving.prepare(leaving.Path(sys.argv[1]))
install_worker_restart_handler(None)
LeavingStep(None).start(None)
os.kill(os.getpid(), signal.SIGHUP)
if sys.argv[2] == "told":
    sys.__stdin__ = Interrupted()
sys.argv[:] = ["-c", "print('started anew')"]
"""


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
def test_a_worker_about_to_begin_anew_can_still_be_ended_and_leaves_no_folder(tmp_path, told):
    """Its exit hooks, which remove its counts, do not run when the new program takes its place."""
    folder = tmp_path / "counts"
    folder.mkdir()
    words = [sys.executable, "-c", ABOUT_TO_BEGIN_ANEW, str(folder), "told" if told else ""]
    ended = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ("started anew" in ended.stdout) == (not told)
    assert not folder.exists()


JUST_FORKED = """
import os, signal, sys, threading
from celery.apps.worker import install_worker_restart_handler
from claimx.adapters import leaving
from claimx.adapters.leaving_step import LeavingStep

leaving.prepare(leaving.Path(sys.argv[1]))
install_worker_restart_handler(None)
LeavingStep(None).start(None)
if os.fork() == 0:
    os.kill(os.getpid(), signal.SIGTERM)
    print("watched by", [one.name for one in threading.enumerate()].count("leaving"), flush=True)
    os._exit(0)
os.wait()
print("told", leaving.begun(), flush=True)
"""


def test_a_signal_to_a_child_that_was_just_forked_is_no_end_of_its_worker(tmp_path):
    """It has the handlers of its parent for a moment: all children were told to end by it."""
    done = subprocess.run(
        [sys.executable, "-c", JUST_FORKED, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout.splitlines() == ["watched by 0", "told False"]


TOLD_AS_IT_FORKS = """
import os, signal, sys
from celery import signals
from claimx.celery import app

def tell(**_):
    signals.worker_before_create_process.disconnect(tell)
    os.kill(os.getpid(), signal.SIGTERM)

signals.worker_before_create_process.connect(tell, weak=False)
app.worker_main(["worker", "--without-gossip", "--without-mingle", "-c", "2"])
"""


def test_a_worker_told_to_end_while_it_forks_its_children_ends_well(tmp_path, redis_url):
    """Celery's own handler is there still, of a cold shutdown: but nothing is held yet."""
    environment = {
        **needed(redis_url, tmp_path),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", TOLD_AS_IT_FORKS],
        cwd=tmp_path,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert "Unrecoverable" not in done.stderr
    assert not list(tmp_path.glob("claimx-metrics-*"))
