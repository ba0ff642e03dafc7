"""The local stack: what it starts with, and what an interrupt does to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from claimx.adapters.ledger import RedisLedger
from claimx.cli.stack import Stack, free_port
from claimx.cli.stack_processes import descendants, end, signal_all
from claimx.domain.errors import Unavailable
from claimx.domain.polling import LIVE
from claimx.startup import environment


def test_a_developers_env_file_is_not_read(tmp_path):
    """It may name real tables, and the demo writes."""
    assert Stack(tmp_path).environment["ENV_FILE"] == os.devnull


def test_a_shells_settings_are_not_read(tmp_path, monkeypatch):
    """With production's exported, a demo wrote its rows into production's lake."""
    for name in ("CLAIMX_LAKE_PATH", "ONELAKE_CLAIMX_PATH", "CACHE_DIR", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, "/real")
    monkeypatch.setenv("REDIS_URL", "redis://real/0")

    environment = Stack(tmp_path).environment

    assert "/real" not in environment.values()
    assert "REDIS_URL" not in environment
    assert environment["PATH"] == os.environ["PATH"]


def test_a_shells_proxies_are_not_asked(tmp_path, monkeypatch):
    """All that the stack talks to is on this machine; the demo failed wherever one was set."""
    for name in ("http_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://proxy.example:3128")

    assert "http://proxy.example:3128" not in Stack(tmp_path).environment.values()


def test_what_the_stack_is_set_to_can_be_read_from_a_file(tmp_path, monkeypatch):
    """For whoever tries the commands on it; they need more than where its Redis is."""
    stack = Stack(tmp_path)
    stack.environment |= {"REDIS_URL": "redis://h/0", "CLAIMX_LAKE_PATH": "/it's a #1 lake\\$HOME"}
    path = stack.settings_file()
    monkeypatch.setenv("ENV_FILE", str(path))
    for name in ("REDIS_URL", "CLAIMX_LAKE_PATH"):
        monkeypatch.delenv(name, raising=False)

    found = environment()

    assert found["REDIS_URL"] == "redis://h/0"
    assert found["CLAIMX_LAKE_PATH"] == "/it's a #1 lake\\$HOME"
    assert "PATH=" not in path.read_text().replace("CLAIMX_LAKE_PATH=", "")
    assert path.stat().st_mode & 0o077 == 0, "a REDIS_URL may hold a password"


def test_a_redis_that_a_pipeline_works_with_is_not_used(
    tmp_path, monkeypatch, redis_url, redis_client
):
    """A demo with production's REDIS_URL worked on what waited there, and buried it."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    redis_client.set("somebody's", "key")
    assert Stack(tmp_path).start_redis() == redis_url
    RedisLedger(redis_client).store_page(LIVE, None, 1, [])

    with pytest.raises(Unavailable, match="unset REDIS_URL"):
        Stack(tmp_path).start_redis()


@pytest.mark.parametrize("form", ["redis://127.0.0.1:{}/0", "sentinel://127.0.0.1:{}"])
def test_a_redis_that_does_not_answer_is_told(tmp_path, monkeypatch, form):
    """In whichever form a URL of Redis may have; a Sentinel's was a traceback."""
    monkeypatch.setenv("REDIS_URL", form.format(free_port()))

    with pytest.raises(Unavailable):
        Stack(tmp_path).start_redis()


def test_a_folder_is_the_callers(tmp_path, monkeypatch):
    """What the stack starts works in the project's folder, and looked for the caller's there."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    stack = Stack(Path("mine"))

    try:
        url = stack.start_redis()
        found = redis.Redis.from_url(url).config_get("save", "appendonly", "maxmemory-policy")
    finally:
        for _, process in stack.started:
            process.kill()
            process.wait(10)

    assert found == {"save": "", "appendonly": "yes", "maxmemory-policy": "noeviction"}
    assert url == stack.environment["REDIS_URL"]
    assert (tmp_path / "mine/redis/appendonlydir").is_dir()


def test_a_redis_that_ends_at_its_start_is_named_at_once(tmp_path, monkeypatch):
    """It was waited for, a minute, and its log was not named."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis/appendonlydir").write_text("in the way")
    stack = Stack(tmp_path)

    with pytest.raises(Unavailable, match=r"redis ended with status 1; see .*redis\.log"):
        stack.start_redis()


def test_an_interrupt_between_a_start_and_its_note_waits_for_the_note(tmp_path):
    """Else the process just started would be nobody's, and outlive the demo."""
    stack = Stack(tmp_path)
    stack._starting = True
    stack.interrupted()

    with pytest.raises(KeyboardInterrupt):
        stack._start("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"])

    assert [name for name, _ in stack.started] == ["sleeper"]
    _, process = stack.started[0]
    process.kill()
    process.wait(10)


def test_a_process_that_ended_by_itself_is_named_with_its_log(tmp_path):
    """Whoever sees it end asks first what it said."""
    stack = Stack(tmp_path)
    process = stack._start("brief", [sys.executable, "-c", "print('bye'); raise SystemExit(3)"])
    process.wait(10)

    with pytest.raises(Unavailable, match=r"brief ended with status 3; see .*brief\.log"):
        stack.check()

    assert stack.log_path("brief").read_text().strip() == "bye"


def test_what_a_process_started_is_found_and_killed_whatever_session_it_has():
    """Honcho puts each of its children into a session of its own, out of a group's reach."""
    program = (
        "import subprocess, sys, time;"
        " subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " start_new_session=True); print('up', flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout.readline() == b"up\n"

        below = descendants(parent.pid)
        parent.kill()
    signal_all([*below, parent.pid], signal.SIGKILL)  # one that is gone already is no mistake

    assert len(below) == 1
    assert_gone(below[0])


def assert_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/exe").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}/exe").exists()


TELLS_NOBODY = """
import signal, subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", "import sys, time; print('up', flush=True); time.sleep(60)"],
    start_new_session=True,
)
signal.signal(signal.SIGTERM, lambda *_: None)
print(child.pid, flush=True)
child.wait()
"""

BEGINS_ANOTHER = """
import signal, subprocess, sys, time
def another(*_):
    print(subprocess.Popen(["sleep", "60"], start_new_session=True).pid, flush=True)
signal.signal(signal.SIGTERM, another)
print("up", flush=True)
while True:
    time.sleep(60)
"""


def started(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def test_what_a_process_does_not_tell_to_end_is_told_itself():
    """Honcho fails when it is told to end while it starts: Ctrl-C then took 40 s, and killed."""
    with started(TELLS_NOBODY) as parent:
        lines = [parent.stdout.readline(), parent.stdout.readline()]
        (child,) = (int(line) for line in lines if line.strip().isdecimal())

        assert end(parent, 60)

    assert parent.returncode == 0
    assert_gone(child)


def test_what_came_to_be_while_it_was_to_end_is_killed_with_a_process_that_does_not_end():
    with started(BEGINS_ANOTHER) as parent:
        assert parent.stdout.readline() == "up\n"

        assert not end(parent, 0.5)
        another = int(parent.stdout.readline())

    assert_gone(another)


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from claimx.cli.demo import _prepared

# the tests themselves may run below a nohup
signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv[2] == "nohup" else signal.SIG_DFL)
stack = _prepared(Path(sys.argv[1]))
process = stack._start("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"])
print(process.pid, signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, flush=True)
lines = 0

def comes(frame, event, _):
    global lines
    if frame.f_code is not type(stack).stop.__code__:
        return None
    if event == "line":
        lines += 1
        if lines >= int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGTERM)
    return comes

sys.settrace(comes)
stack.stop()
"""


@pytest.mark.parametrize("line", [1, 2])
def test_a_second_signal_does_not_cut_the_stop_short(tmp_path, line):
    """At its very beginning it did, and left Redis, the sandbox and the pipeline behind."""
    words = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "demo"), "", str(line)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    assert ("KeyboardInterrupt" in done.stderr) == (line == 1)
    assert_gone(int(done.stdout.split()[0]))


def test_a_stack_that_a_closed_terminal_must_not_end_is_not_ended_by_it(tmp_path):
    """``nohup claimx up &`` went with its terminal."""
    found = {}
    for how in ("nohup", ""):
        words = [sys.executable, "-c", INTERRUPTED, str(tmp_path / f"demo{how}"), how, "99"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        found[how] = done.stdout.split()[1]

    assert found == {"nohup": "True", "": "False"}
