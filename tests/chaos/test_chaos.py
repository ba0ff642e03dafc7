"""The chaos run, short, and its plan."""

from __future__ import annotations

import heapq
import itertools
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ends import NoVictim
from hints import HintTrouble
from plan import KINDS, Trouble, fault, plan
from redis_server import RedisServer
from run import PATIENCE_SECONDS, begin

from claimx.cli.stack import free_port

ROOT = Path(__file__).parents[2]
MINUTES, SEED = 2.5, 7


@pytest.mark.integration
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("chaos")
def test_nothing_is_lost_or_doubled_while_everything_goes_wrong(tmp_path):
    """The same code as ``make chaos``, with every kind of trouble once; its seed is printed."""
    path = [str(ROOT / part) for part in (".", "tests", "tests/integration")]
    done = subprocess.run(
        [
            *(sys.executable, "tests/chaos/run.py", "--minutes", str(MINUTES), "--seed", str(SEED)),
            *("--rate", "15", "--pace", "2", "--tail", "500"),
            *("--folder", str(tmp_path / "chaos")),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
    )

    found = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    told = f"{done.stdout}\n{done.stderr[-5000:]}"
    assert (found.get("lost"), found.get("doubled"), found.get("wrong")) == (0, 0, 0), told
    assert done.returncode == 0, told
    assert found["kills"] >= 5, told
    # once it had no effect for weeks: the file that filled the cache did not count
    assert re.search(r"^cache full +1 +[1-9]\d*$", done.stdout, re.MULTILINE), told


def test_one_seed_has_one_plan():
    assert plan(3, 600, 2) == plan(3, 600, 2) != plan(4, 600, 2)


@pytest.mark.parametrize("seed", range(5))
def test_a_short_plan_has_every_kind_of_trouble(seed):
    """The run in the test suite must not leave one out by chance."""
    assert {trouble.kind for trouble in plan(seed, MINUTES * 60, 2)} == KINDS.keys()


def test_heavy_troubles_never_overlap():
    """Two of them at once would say nothing about either."""
    heavy = [one for one in plan(7, 3600, 1.5) if KINDS[one.kind].heavy]

    for before, after in itertools.pairwise(heavy):
        assert after.at >= before.at + before.seconds


def test_a_kill_waits_for_somebody_to_kill():
    """A quarter of a long run's kills came while their process was starting, and were left out."""
    trouble = Trouble(10.0, "kill a child")
    starting = iter([True, True, False])

    class Fleet:
        def begin(self, _trouble):
            if next(starting):
                raise NoVictim

    due = [(10.0, 0, trouble)]
    moments = []
    while due:
        at, _, what = heapq.heappop(due)
        moments.append(at)
        begin(what, Fleet(), due, at, itertools.count())

    assert moments == [10.0, 11.0, 12.0]


def test_a_kill_waits_no_longer_than_it_is_planned_to():
    trouble = Trouble(10.0, "kill a child")

    class Nobody:
        def begin(self, _trouble):
            raise NoVictim

    due: list = []
    begin(trouble, Nobody(), due, 10.0 + PATIENCE_SECONDS, itertools.count())

    assert due == []


def test_faults_are_of_the_sandboxes_kinds():
    from claimx.sandbox.faults import Fault

    found = [Fault.parse(rule) for kind in KINDS for rule in fault(kind, 0.5)]

    assert {one.where for one in found} == {"api", "kusto", "media", "onelake"}


@pytest.mark.timeout(120)
def test_a_message_to_a_frozen_redis_is_given_up_on(tmp_path):
    """The run that froze it must be there to wake it; it hung once, until somebody did by hand."""
    server = RedisServer(tmp_path / "redis", free_port(), tmp_path / "redis.log")
    server.folder.mkdir()
    server.start()
    try:
        trouble = HintTrouble(server.client)
        trouble.send("claimx.enrich", "enrich", ["e:1"])
        assert server.client.llen("enrich") == 1
        server.freeze()
        begun = time.monotonic()
        trouble.send("claimx.enrich", "enrich", ["e:2"])
        gone = time.monotonic() - begun
        server.thaw()
    finally:
        server.kill()

    assert gone < 30
