"""The command line: its streams, its words, and the limits that a status fails on."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys

import click
import pytest
from cli_runner import ROOT, claimx

from claimx.cli.config import config
from claimx.cli.demo import demo, up
from claimx.cli.dlq import dlq
from claimx.cli.doctor import doctor
from claimx.cli.parameters import Finite, Moment
from claimx.cli.reconcile import reconcile
from claimx.cli.source import backfill, poll
from claimx.cli.status import circuit_words, parse_limits, status
from claimx.cli.tables import tables
from claimx.domain.times import to_iso

_PROGRAM = """
from claimx.cli.main import main
try:
    main(["config", "--help"])
finally:
    import structlog
    structlog.get_logger("a service").warning("a line for people")
"""


_MODULES = """\
    import sys
    print(*sys.modules, file=sys.stderr)
"""


def test_logs_never_come_between_the_data_on_standard_output():
    found = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )

    assert found.stdout.startswith("Usage: claimx config")
    assert "a line for people" not in found.stdout
    assert "a line for people" in found.stderr


def test_help_loads_nothing_that_takes_time():
    """Somebody types it to learn what there is; it may not take longer than a key press."""
    program = _PROGRAM.replace('"config", ', "").partition("    import")[0] + _MODULES

    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    loaded = {name.partition(".")[0] for name in found.stderr.split()}
    assert "claimx" in loaded
    assert not loaded & {"pydantic", "structlog", "celery", "redis", "deltalake", "pyarrow"}


@pytest.mark.parametrize("group", [config, dlq, poll, tables], ids=lambda group: group.name)
def test_the_list_of_commands_says_whole_sentences(group):
    """Half of them ended in the middle of what they say."""
    listed = [command for command in group.commands.values() if not command.hidden]
    shorts = [command.get_short_help_str(60) for command in listed]

    assert [text for text in shorts if not text.endswith(".") or text.endswith("...")] == []


def test_every_option_says_what_it_is_for():
    commands = [*dlq.commands.values(), *poll.commands.values(), *tables.commands.values()]
    commands += [backfill, demo, doctor, reconcile, status, up]
    options = [(one.name, o) for one in commands for o in one.params if isinstance(o, click.Option)]

    assert [(name, option.opts) for name, option in options if not option.help] == []


@pytest.mark.parametrize(
    ("state", "failures", "seconds", "words"),
    [
        ("closed", 2, 0.0, "closed, 2 failed in a row"),
        ("open", 5, 41.6, "open for 42 s more, 5 failed in a row"),
        ("half-open", 0, 0.0, "half-open"),
    ],
)
def test_a_circuit_is_told_in_words(state, failures, seconds, words):
    """It was printed as a dictionary of Python's."""
    told = {"state": state, "failures": failures, "open_for_seconds": seconds}

    assert circuit_words(told) == words


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", {}),
        ("lag=120,dead=100", {"lag": 120.0, "dead": 100.0}),
        ("lag=120s", {"lag": 120.0}),
        ("lag=5m", {"lag": 300.0}),
        ("lag=2h, missing=0", {"lag": 7200.0, "missing": 0.0}),
    ],
)
def test_a_limit_on_the_lag_may_be_a_time(text, limits):
    assert parse_limits(text) == limits


@pytest.mark.parametrize(
    "text",
    [
        "lag=nan",
        "dead=nan",
        "lag=inf",
        "dead=inf",
        "lag=-1",
        "dead=-5",
        "lag=20y",
        "dead=5m",
        "lag",
    ],
)
def test_a_limit_that_cannot_be_exceeded_or_means_nothing_is_refused(text):
    """Nothing is above nan: a check with it is well for ever."""
    with pytest.raises(click.BadParameter):
        parse_limits(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T08:00+02:00", "2026-01-31T06:00:00.000000Z"),
        ("1970-01-01", "1970-01-01T00:00:00.000000Z"),
    ],
)
def test_a_time_may_be_any_that_the_source_can_have(text, moment):
    assert to_iso(Moment().convert(text, None, None)) == moment


@pytest.mark.parametrize(
    "text", ["0001-01-01", "0001-01-01T00:00+14:00", "9999-12-31T23:59:59-05:00"]
)
def test_a_time_that_cannot_be_reckoned_with_is_refused(text):
    """They ended in a traceback, or in a query that Kusto refuses."""
    with pytest.raises(click.BadParameter, match="between 1970 and 9999"):
        Moment().convert(text, None, None)


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "many"])
def test_a_bound_is_a_finite_number(text):
    """A rate, or the demo's time, of ``nan`` meant no bound at all: nothing is above it."""
    with pytest.raises(click.BadParameter):
        Finite(min=0).convert(text, None, None)


@pytest.mark.parametrize("words", [("ls", "--error"), ("show",), ("requeue", "--yes")])
def test_what_is_no_text_is_a_usage_error(words):
    """A name in another encoding ended in a traceback of the Redis client."""
    answer = claimx("dlq", *words, os.fsdecode(b"m:\xff"))

    assert answer.status == 2
    assert "is not UTF-8" in answer.err


@pytest.mark.parametrize("command", ["demo", "up", "sandbox"])
def test_a_command_of_the_stand_ins_says_that_they_are_not_installed(tmp_path, command):
    """In a container the product alone is: it ended in a traceback."""
    program = (
        "import sys; sys.modules |= {'honcho': None, 'duckdb_kql': None};"
        "from claimx.cli.main import main; main(sys.argv[1:])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, list(tmp_path.iterdir())) == (4, [])
    (line,) = done.stderr.splitlines()
    assert "duckdb_kql, honcho" in line
    assert "requirements-dev.txt" in line


@pytest.mark.parametrize("command", ["demo", "up"])
def test_a_folder_that_another_stack_works_in_is_left_alone(tmp_path, command):
    """A demo beside `claimx up` emptied the folder of what was running."""
    marker = tmp_path / ".claimx-demo"
    (tmp_path / "lake").mkdir()
    with marker.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        answer = claimx(command, "--folder", str(tmp_path))

    assert (answer.status, (tmp_path / "lake").is_dir()) == (2, True)
    assert f"works in {tmp_path}" in answer.err


@pytest.mark.parametrize("command", ["reconcile", "backfill --from 2h", "poll once"])
def test_a_command_that_reads_the_source_asks_for_its_settings_first(command):
    """A reconcile said that it had failed, and showed a table without findings."""
    lacking = {"EVENTHOUSE_CLUSTER_URL": "", "CLAIMX_LAKE_PATH": "/lake", "ENV_FILE": os.devnull}

    answer = claimx(*command.split(), **lacking)

    assert (answer.status, answer.out) == (4, "")
    assert "EVENTHOUSE_CLUSTER_URL must be set" in answer.err


@pytest.mark.parametrize(
    ("words", "closed", "status"),
    [
        ("config show", ">&-", 0),
        ("config show -o json", ">/dev/full", 1),
        ("tables schema claimx_media", ">/dev/full", 1),
        ("--version", ">/dev/full", 1),
        ("dlq requeue - --yes", "<&-", 3),
        ("reconcile --fix", "<&-", 2),
    ],
)
def test_a_stream_that_is_closed_or_full_costs_no_traceback(words, closed, status):
    """A supervisor may start a command without a standard input; disks fill at night."""
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m claimx {words} {closed}"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert ("No space left" in done.stderr) is ("full" in closed)
