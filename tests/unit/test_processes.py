"""What a worker and a beat tell of themselves once they are at work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from claimx.adapters.ticking import MOST_TICKS

ROOT = Path(__file__).parents[2]

AT_WORK = """
import sys
from types import SimpleNamespace as Named
from claimx import processes, redis_clients, startup
from claimx.attendance import Attendance
from claimx.celery import app

def standing_still(role):
    processes._attendance[:] = [Attendance(role, startup.load_settings(), now=lambda: clock)]
    return processes._attendance[0]

def after(seconds, look):
    global clock
    clock += seconds
    return look()

class Scheduler:
    lock = "held"
    sent = []
    app = app
    close = lambda self: None

    def tick(self):
        return 1.0

    def apply_async(self, entry, **_):
        self.sent.append(entry.task)

clock = 0.0
worker, timed = standing_still("worker"), []
timer = Named(call_repeatedly=lambda seconds, does: timed.append((seconds, does)))
processes._worker_ready(sender=Named(app=app, timer=timer))
((seconds, does),) = timed
print("worker", bool(after(100, worker.live)), after(0, lambda: does() or worker.live()))
print("often enough", seconds < 30)

beat, scheduler = standing_still("beat"), Scheduler()
processes._beat_ready(sender=Named(scheduler=scheduler))
stalled = bool(after(100, beat.live))
print("beat", stalled, after(0, lambda: scheduler.tick() and beat.live()), Scheduler.lock)
scheduler.lock = None
print("waits", after(100, beat.live))
redis_clients.redis_of(startup.load_settings()).rpush("poll", *range(int(sys.argv[1])))
for task in ("claimx.poll", "claimx.redrive"):
    scheduler.apply_async(Named(task=task), advance=False)
print("sends", *scheduler.sent)
"""

TAKES = """
from types import SimpleNamespace as Named
from claimx import processes
from claimx.celery import app

for served in ("enrich", "upload"):
    app.amqp.queues.select([served])
    processes._take_own_uploads(instance=Named(app=app))
    print(*(name.partition(".")[0] for name in app.amqp.queues.consume_from))
"""


def run(program: str, folder: Path, *words: str, **environment: str) -> list[str]:
    """Return the lines that a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "ENV_FILE": os.devnull,
            "CACHE_DIR": str(folder),
            **environment,
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_worker_is_alive_while_its_loop_turns_and_a_beat_while_it_ticks_or_waits(
    tmp_path, redis_url
):
    """Whoever tells nobody of it is restarted by its host after a minute, for ever."""
    *told, left_out, sent = run(AT_WORK, tmp_path, str(MOST_TICKS), REDIS_URL=redis_url)

    assert told == ["worker True {}", "often enough True", "beat True {} held", "waits {}"]
    assert "beat leaves ticks out" in left_out
    assert sent == "sends claimx.redrive"


def test_a_worker_of_uploads_takes_those_of_its_own_cache_as_well(tmp_path):
    """What it downloaded would be downloaded once more by whoever else takes it."""
    assert run(TAKES, tmp_path) == ["enrich", "upload upload"]


ASKED_EARLY = """
import sys, urllib.request
from claimx import startup
from claimx.attendance import Attendance

address = Attendance("worker", startup.load_settings())._info["health"]
with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
    print(answer.status, answer.read())
print("prometheus_client" in sys.modules)
"""


def test_who_asks_for_counts_before_the_work_keeps_no_children_from_counting(tmp_path):
    """The library chooses when it is imported; it must see the folder that they count in."""
    assert run(ASKED_EARLY, tmp_path, CLAIMX_HEALTH_PORT="0") == ["200 b''", "False"]


FORKED = """
import os, signal, socket
from claimx import processes, startup
from claimx.attendance import Attendance

one = Attendance("worker", startup.load_settings())
processes._attendance[:] = [one]
host, _, port = one._info["health"].rpartition(":")
(told, tell), (wait, go_on) = os.pipe(), os.pipe()
if os.fork() == 0:
    os.close(go_on)
    processes._after_fork()
    os.kill(os.getpid(), signal.SIGTERM)
    os.write(tell, b"lives")
    os.read(wait, 1)
    os._exit(0)
os.close(tell)
print("child", os.read(told, 5).decode())
one.stop()
with socket.socket() as probe:
    print("answers", probe.connect_ex((host, int(port))) == 0)
os.close(go_on)
print("status", os.wait()[1])
"""


@pytest.mark.parametrize(
    ("remap", "told"),
    [("SIGQUIT", ["child lives", "answers False", "status 0"]), ("", ["child ", "answers False"])],
)
def test_a_child_leaves_its_end_and_its_ports_to_its_parent(tmp_path, remap, told):
    """
    Hosts send SIGTERM to every process; with the remap the parent decides when a child ends.

    A child with its parent's ports would hold them, and answer nobody, when the parent is gone.
    """
    said = run(FORKED, tmp_path, CLAIMX_HEALTH_PORT="0", REMAP_SIGTERM=remap)

    assert said[: len(told)] == told
