"""Many dead letters, and ``claimx dlq`` on them: no pipeline runs, the letters are in Redis."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import cli_runner
import click
import pytest
import redis
from cli_runner import ROOT, Answer

from claimx.adapters.ledger import RedisLedger
from claimx.cli.output import moment
from claimx.domain.errors import ErrorCategory
from claimx.domain.records import Buried, DeadFilter, Failure, Kind, NewRecord, Stage

HASHED = "e:" + "0123456789abcdef" * 4

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def environment(redis_url) -> dict[str, str]:
    return os.environ | {"REDIS_URL": redis_url}


@pytest.fixture
def claimx(redis_url) -> Callable[..., Answer]:
    """Runs ``claimx dlq``."""
    return partial(cli_runner.claimx, "dlq", REDIS_URL=redis_url)


@pytest.fixture
def ledger(redis_client: redis.Redis) -> RedisLedger:
    return RedisLedger(redis_client)


def bury(ledger: RedisLedger, *ids: str, kind: Kind = Kind.EVENT, stage: Stage = Stage.ENRICH):
    """Let records die in a stage."""
    new = [NewRecord(one, kind, stage, {"project_id": 7}, "trace") for one in ids]
    before = ledger.checkpoint("live")
    assert ledger.store_page("live", before, before.source_time + 1 if before else 1, new)
    message = "404 from the API, which knows nothing of this project, " * 4
    failure = Failure(ErrorCategory.PERMANENT, "NotFound", message, stage, 1.5, 404)
    ledger.settle([Buried(one, failure) for one in ledger.claim(stage, ids, 60)])


def dead(ledger: RedisLedger) -> set[str]:
    return {one.id for one in ledger.dead_letters(DeadFilter(limit=None))}


@pytest.mark.parametrize("which", [("--all",), ("--error", "NotFound")])
def test_a_requeue_takes_all_that_match_however_many(claimx, ledger, which):
    """It stopped at 1000 and said that all was done."""
    bury(ledger, *(f"e:{n}" for n in range(1500)))

    answer = claimx("requeue", *which, "--yes")

    assert (answer.status, answer.err) == (0, "requeued 1500 of 1500\n")
    assert dead(ledger) == set()


def test_a_limit_takes_the_newest(claimx, ledger):
    bury(ledger, "e:old")
    bury(ledger, "e:new")

    assert claimx("requeue", "--all", "--limit", "1", "--yes").status == 0

    assert dead(ledger) == {"e:old"}


def test_a_limit_holds_for_ids_as_well(claimx, ledger):
    """It was left out: who wanted to try one of a list sent all of it back."""
    for n in range(3):
        bury(ledger, f"e:{n}")
    ids = claimx("ls", "-o", "jsonl").out
    listed = "\n".join(json.loads(line)["id"] for line in ids.splitlines())

    dry = claimx("requeue", "-", "--limit", "1", "--dry-run", given=listed)
    real = claimx("requeue", "-", "--limit", "1", "--yes", given=listed)

    assert (dry.status, dry.err) == (0, "would requeue 1 of 1\n")
    assert (real.status, real.err) == (0, "requeued 1 of 1\n")
    assert dead(ledger) == {"e:0", "e:1"}


def test_ids_that_are_no_dead_letter_are_named(claimx, ledger):
    """Of five ids with one mistyped it said that four of four were done."""
    bury(ledger, "e:1", "e:2", "e:3")

    shown = claimx("show", "1", "e:4")
    done = claimx("requeue", "-", "e:2", "nobody", "--yes", given="\ufeffe:1\r\n\r\ne:9\r\n")
    none = claimx("show", "nobody")
    piped = claimx("show", "-", "-o", "jsonl", given="e:3\n")

    assert (shown.status, shown.err) == (0, "no dead letter of e:4\n")
    assert done.err == "no dead letter that matches: nobody, e:9\nrequeued 2 of 2\n"
    assert (done.status, dead(ledger)) == (0, {"e:3"})
    assert (none.status, none.err) == (3, "no dead letter of nobody\n")
    assert (piped.status, json.loads(piped.out)["id"]) == (0, "e:3")


def test_a_list_of_ids_in_another_encoding_is_refused(environment, ledger):
    bury(ledger, "e:1")
    done = subprocess.run(
        [sys.executable, "-m", "claimx", "dlq", "requeue", "-", "--yes"],
        env=environment,
        cwd=ROOT,
        input="e:1\n".encode("utf-16"),
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr == b"what is on standard input is not UTF-8: one id a line\n"
    assert dead(ledger) == {"e:1"}


def test_a_list_says_that_there_are_more(claimx, ledger):
    bury(ledger, *(f"e:{n}" for n in range(5)))

    cut = claimx("ls", "-o", "jsonl", "--limit", "4")
    whole = claimx("ls", "-o", "jsonl", "--limit", "5")

    assert len(cut.out.splitlines()) == 4
    assert cut.err == "there are more than 4; raise --limit\n"
    assert (len(whole.out.splitlines()), whole.err) == (5, "")


def test_what_dies_before_the_answer_is_not_in_it(environment, ledger):
    """Asked "Requeue 10?", somebody who says yes has not said so of 15."""
    bury(ledger, *(f"e:{n}" for n in range(10)))
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "claimx", "dlq", "requeue", "--stage", "enrich"],
        env=environment,
        cwd=ROOT,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        asked = b""
        while not asked.endswith(b"]: "):
            more = process.stderr.read1()
            assert more, asked
            asked += more
        later = {f"e:later{n}" for n in range(5)}
        bury(ledger, *later)
        os.write(ours, b"y\n")
        told = process.stderr.read().decode()
        status = process.wait(30)
    os.close(ours)
    os.close(theirs)

    assert b"Requeue 10?" in asked
    assert told.endswith("requeued 10 of 10\n")
    assert status == 0
    assert dead(ledger) == later


@pytest.fixture
def mixed(ledger) -> None:
    """Two events and a media file."""
    bury(ledger, "e:1", "e:2")
    bury(ledger, "m:1", kind=Kind.MEDIA, stage=Stage.UPLOAD)


@pytest.mark.usefixtures("mixed")
@pytest.mark.parametrize(
    ("which", "going", "status"),
    [(("--kind", "event"), 0, 1), (("--all",), 1, 6), (("--kind", "media"), 1, 0)],
)
def test_a_dry_run_says_what_the_real_one_would_do(claimx, which, going, status):
    """It promised six, and the real one then did none, without a reason."""
    words = ("requeue", *which, "--from-stage", "download")

    dry, real = claimx(*words, "--dry-run"), claimx(*words, "--yes")

    assert (dry.status, real.status) == (status, status)
    assert f"would requeue {going} of" in dry.err
    assert f"requeued {going} of" in real.err
    assert ("m:1" in dry.out) is bool(going)
    for answer in (dry, real):
        assert ("no business in download: e:2, e:1\n" in answer.err) is (status != 0)


@pytest.mark.parametrize("columns", [None, 100])
def test_ids_and_times_are_printed_whole_however_narrow_it_is(environment, ledger, columns):
    """They lost their ends to an ellipsis, and an id is there to be handed to the next command."""
    bury(ledger, HASHED)
    (letter,) = ledger.dead_letters(DeadFilter())

    table = on_a_terminal(environment, columns) if columns else whole_output(environment)

    assert "…" not in table
    assert column_of(table, "id", "stage") == HASHED
    assert column_of(table, "died at", "replays") == moment(letter.died_at)


def column_of(table: str, name: str, following: str) -> str:
    """Return what a column says, put together from the lines it is folded into."""
    header, *lines = table.splitlines()
    begin, end = header.index(name), header.index(following)
    return "".join(line[begin:end].strip() for line in lines)


def whole_output(environment: dict[str, str]) -> str:
    words = [sys.executable, "-m", "claimx", "dlq", "ls"]
    return subprocess.run(
        words, env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def on_a_terminal(environment: dict[str, str], columns: int) -> str:
    """Return what ``dlq ls`` prints on a terminal so wide."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "claimx", "dlq", "ls"],
        env=environment | {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "xterm"},
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        assert process.wait(30) == 0
        told = click.unstyle(os.read(ours, 100_000).decode())
    os.close(ours)
    return told


def test_a_history_has_times_as_everywhere(claimx, ledger):
    """They were epoch seconds."""
    bury(ledger, "e:1")

    (shown,) = json.loads(claimx("show", "e:1", "-o", "json").out)["dead_letters"]

    assert [step["at"] for step in shown["history"]] == [shown["died_at"]] * 2
    assert f"at={shown['died_at']}" in claimx("show", "e:1").out
