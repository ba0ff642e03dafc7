"""The local stack: what it starts with, and what an interrupt does to it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from claimx.adapters.ledger import RedisLedger
from claimx.cli.stack import Stack, free_port
from claimx.cli.stack_processes import descendants, kill_all
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
    kill_all([*below, parent.pid])  # one that is gone already is no mistake

    assert len(below) == 1
    deadline = time.monotonic() + 10
    while Path(f"/proc/{below[0]}/exe").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{below[0]}/exe").exists()
