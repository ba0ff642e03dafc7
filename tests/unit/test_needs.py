"""A worker says at its start what it cannot do without, instead of failing chunk by chunk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from claimx.needs import missing_for, without_path
from claimx.settings import Settings

ROOT = Path(__file__).parents[2]


def run_unset(module, *arguments, cwd):
    """Run a module to its end, with nothing set."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "ENV_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_only_what_the_chosen_queues_need_is_missing():
    """An enrich worker needs no Kusto, and a control worker no API."""
    nothing = Settings.load({})

    enrich, poll = missing_for(nothing, {"enrich"}), missing_for(nothing, {"poll"})

    assert [line.split(" must")[0] for line in enrich] == [
        "CLAIMX_API_URL",
        "CLAIMX_API_TOKEN or CLAIMX_API_TOKEN_FILE",
        "ONELAKE_CLAIMX_PATH",
    ]
    assert [line.split()[0] for line in poll] == [
        "EVENTHOUSE_CLUSTER_URL",
        "CLAIMX_EVENTHOUSE_DATABASE",
        "CLAIMX_LAKE_PATH",
    ]
    assert missing_for(nothing, {"maintenance"}) == [
        line.replace(" poll", " maintenance") for line in poll
    ]
    assert missing_for(nothing, {"control"}) == []


@pytest.mark.parametrize(
    ("chosen", "needs"),
    [
        (("-Q", "enrich,poll", "-X", "enrich"), {"poll"}),
        (("-X", "poll,maintenance"), {"download"}),
    ],
    ids=["of some", "of all"],
)
def test_what_a_worker_does_not_serve_it_does_not_need(tmp_path, chosen, needs):
    """Celery's -X leaves queues out; a worker that names what for them would start nowhere."""
    done = run_unset("celery", "-A", "claimx", "worker", *chosen, cwd=tmp_path)

    assert done.returncode == 4
    assert {line.split()[-1] for line in done.stderr.splitlines() if "queue" in line} == needs


def test_other_libraries_see_what_the_env_file_says(tmp_path):
    """azure-identity reads AZURE_* by itself; the real environment wins over the file."""
    lines = ["AZURE_CLIENT_ID=from-file", "CLAIMX_BATCH_ROWS=7", "LOG_LEVEL=ERROR"]
    (tmp_path / ".env").write_text("\n".join(lines))
    program = (
        "import os; from claimx import startup; s = startup.load_settings();"
        "print(os.environ['AZURE_CLIENT_ID'], s.batch_rows, s.log_level)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LOG_LEVEL": "DEBUG"}

    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert found.stdout.split() == ["from-file", "7", "DEBUG"]


def test_all_tables_without_a_path_are_named_at_once():
    """One start for each of nine would be eight too many."""
    (line,) = without_path(Settings.load({"CLAIMX_PROJECTS_TABLE_PATH": "/p"}))

    assert line.count("_TABLE_PATH") == 8
    assert "CLAIMX_PROJECTS_TABLE_PATH" not in line


@pytest.mark.parametrize(
    ("said", "text", "refusal"),
    [
        ({"ENV_FILE": "gone.env"}, None, "ENV_FILE=gone.env"),
        ({"ENV_FILE": "."}, None, "ENV_FILE=. is a folder"),
        ({}, "LOG_LEVEL=ERROR # d\xe9".encode("latin-1"), "UTF-8"),
    ],
)
def test_an_env_file_that_cannot_be_read_ends_the_process_with_a_line(
    tmp_path, said, text, refusal
):
    if text is not None:
        (tmp_path / ".env").write_bytes(text)
    done = subprocess.run(
        [sys.executable, "-c", "from claimx import startup; startup.load_settings()"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **said},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 4
    assert refusal in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_blank_variable_leaves_the_files_value_standing(tmp_path):
    """Platforms set names to nothing; for all settings that is unset."""
    (tmp_path / ".env").write_text("CLAIMX_BATCH_ROWS=7")
    program = "from claimx import startup; print(startup.load_settings().batch_rows)"

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CLAIMX_BATCH_ROWS": ""},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "7"


@pytest.mark.parametrize(
    ("told", "lower", "upper"),
    [
        ({}, "None", "None"),
        ({"no_proxy": "corp.example"}, "corp.example", "None"),
        ({"https_proxy": "http://p"}, *["localhost,127.0.0.1,::1"] * 2),
        ({"HTTP_PROXY": "http://p", "no_proxy": "a,localhost"}, *["a,localhost,127.0.0.1,::1"] * 2),
        ({"https_proxy": "http://p", "NO_PROXY": "*"}, "*", "*"),
        (
            {"http_proxy": "http://p", "no_proxy": "a", "NO_PROXY": "b"},
            "a,localhost,127.0.0.1,::1",
            "b,localhost,127.0.0.1,::1",
        ),
    ],
)
def test_no_proxy_of_the_environment_is_for_this_machine(tmp_path, told, lower, upper):
    """Clients of libraries ask it for a stand-in on loopback, of which it knows nothing."""
    program = (
        "from claimx import startup; startup.load_settings(); import os;"
        "print(os.environ.get('no_proxy'), os.environ.get('NO_PROXY'))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={
            **{k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
            "PYTHONPATH": str(ROOT),
            **told,
        },
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == [lower, upper]


def test_a_token_of_the_env_file_is_sent_as_it_is(tmp_path):
    """Put in place of ``${HOME}``, a folder's name made another token of it, told by a 401."""
    (tmp_path / ".env").write_text("CLAIMX_API_TOKEN='pa${HOME}ss$word'")
    program = (
        "from claimx import startup;print(startup.load_settings().api_token.get_secret_value())"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "pa${HOME}ss$word"


@pytest.mark.parametrize("queue", ["upload", "enrich"])
def test_a_worker_whose_cache_cannot_be_made_ends_with_a_line(tmp_path, redis_url, queue):
    """Left running, it would seem to be no worker at all: every one says whose cache it has."""
    (tmp_path / "file").write_text("in the way")
    lines = {
        "ENV_FILE": os.devnull,
        "REDIS_URL": redis_url,
        "CACHE_DIR": str(tmp_path / "file/x"),
        "CLAIMX_API_URL": "https://api.example",
        "CLAIMX_API_TOKEN": "t",
        "ONELAKE_CLAIMX_PATH": str(tmp_path / "media"),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "claimx", "worker", "-Q", queue, "-c", "1"],
        cwd=ROOT,
        env={**os.environ, **lines},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 4
    assert f"claimx: CACHE_DIR={lines['CACHE_DIR']!r}: Not a directory" in done.stderr


@pytest.mark.parametrize("option", ["-Q", "-X"])
def test_a_worker_of_a_queue_that_is_none_ends_with_a_line(option):
    """Celery said so under a traceback, with the advice to let it make the queue; or served all."""
    done = run_unset("celery", "-A", "claimx", "worker", option, "enrich,dowload", cwd=ROOT)

    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"claimx: {option} dowload: no such queue; there are control, download,")


@pytest.mark.parametrize(("chosen", "first"), [(["-Q", "upload"], "CLAIMX_API_URL"), ([], "EVENT")])
def test_a_worker_says_what_is_not_set_before_it_waits_for_redis(chosen, first):
    """In the wrong folder nothing is set: it waited ten minutes for a Redis that is nobody's."""
    done = run_unset("celery", "-A", "claimx", "worker", *chosen, cwd=ROOT)

    assert done.returncode == 4
    assert f"\nclaimx: {first}" in f"\n{done.stderr}"
    assert "waiting for Redis" not in done.stderr


@pytest.mark.parametrize(("queue", "warned"), [("enrich", True), ("poll", False)])
def test_a_worker_warns_of_a_token_file_that_is_not_there_and_starts(
    tmp_path, redis_url, queue, warned
):
    """It may be mounted later; until then all events wait, and nobody was told why."""
    lines = {
        "ENV_FILE": os.devnull,
        "REDIS_URL": redis_url,
        "CACHE_DIR": str(tmp_path / "cache"),
        "CLAIMX_API_URL": "https://api.example",
        "CLAIMX_API_TOKEN_FILE": str(tmp_path / "token"),
        "ONELAKE_CLAIMX_PATH": str(tmp_path / "media"),
        "EVENTHOUSE_CLUSTER_URL": "https://cluster.example",
        "CLAIMX_EVENTHOUSE_DATABASE": "d",
        "CLAIMX_LAKE_PATH": str(tmp_path / "lake"),
        "CLAIMX_LOG_FORMAT": "json",
        "PYTHONPATH": str(ROOT),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "claimx", "worker", "-Q", queue, "-c", "1"],
        cwd=ROOT,
        env={**os.environ, **lines},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as worker:
        told = []
        for line in worker.stderr:
            told.append(line)
            if " ready." in line:
                break
        worker.terminate()
        worker.stderr.read()

    assert " ready." in told[-1]
    assert any("token_file" in line and "cannot be read" in line for line in told) is warned


@pytest.mark.parametrize("command", [["poll", "once"], ["backfill", "--from", "2h"]])
def test_a_command_that_reads_the_source_says_what_is_not_set(tmp_path, command):
    done = run_unset("claimx", *command, cwd=tmp_path)

    assert done.returncode == 4
    assert "claimx: EVENTHOUSE_CLUSTER_URL must be set" in done.stderr
    assert "CLAIMX_LAKE_PATH" in done.stderr
