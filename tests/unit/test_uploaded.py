"""Files that wait in the cache for their attachment rows: few questions, and none for ever."""

from __future__ import annotations

import threading

import pytest

from claimx.domain.errors import Unavailable
from claimx.services import uploaded
from claimx.services.uploaded import ASK_AFTER, UploadedFiles

RATE = 250  # media files a second
COMMITTED_AFTER = 6.0


class Ledger:
    """Records are done at a time that a test says; counts questions."""

    def __init__(self, clock):
        self.clock = clock
        self.done_at: dict[str, float] = {}
        self.questions: list[int] = []
        self.away = False

    def active_media(self, ids):
        if self.away:
            raise Unavailable("redis is away")
        self.questions.append(len(ids))
        return {one for one in ids if self.done_at.get(one, 1e18) > self.clock()}


class Cache:
    """Names of files, and when each went."""

    node = "n"

    def __init__(self, clock):
        self.clock = clock
        self.gone: dict[str, float] = {}
        self.broken: set[str] = set()
        self.removed = threading.Event()

    def remove(self, name):
        if name in self.broken:
            raise PermissionError(name)
        self.gone[name] = self.clock()
        self.removed.set()


class World:
    def __init__(self, *, alone=False):
        self.now = 0.0
        self.ledger = Ledger(lambda: self.now)
        self.cache = Cache(lambda: self.now)
        self.files = UploadedFiles(self.cache, self.ledger, lambda: self.now, alone=alone)

    def add(self, *names, done_after=1e18):
        for name in names:
            self.ledger.done_at[name] = self.now + done_after
            self.files.add(name, name)

    def run(self, seconds):
        for _ in range(int(seconds)):
            self.now += 1
            self.files.clear()


@pytest.fixture
def world():
    return World()


def test_a_clock_that_is_set_back_keeps_no_file(world):
    world.now = 86_400.0
    world.add("a", "b", done_after=-90_000)

    world.now = 0.0
    world.run(2)

    assert set(world.cache.gone) == {"a", "b"}


def test_a_file_is_never_removed_before_its_record_is_done(world):
    for n in range(100):
        world.add(f"{n}", done_after=n)

    world.run(700)

    assert len(world.cache.gone) == 100
    assert all(at >= world.ledger.done_at[name] for name, at in world.cache.gone.items())


def test_at_full_load_the_cache_holds_seconds_of_files_for_few_questions(world):
    """What waits is bounded by the time to commit, whatever the hour brings."""
    held = []
    for second in range(120):
        world.add(*(f"{second}-{n}" for n in range(RATE)), done_after=COMMITTED_AFTER)
        world.run(1)
        held.append(len(world.files))

    total = 120 * RATE
    assert max(held) <= RATE * 2 * COMMITTED_AFTER
    assert len(world.cache.gone) >= total - RATE * 2 * COMMITTED_AFTER
    assert sum(world.ledger.questions) < 4 * total
    assert len(world.ledger.questions) <= 120 * len(ASK_AFTER) / 2


def test_of_a_record_that_hangs_is_asked_less_and_less_and_then_no_more(world):
    world.add("a")

    world.run(10_000)

    assert len(world.ledger.questions) == len(ASK_AFTER)
    assert len(world.files) == 0
    assert world.cache.gone == {}


def test_a_ledger_that_is_away_is_asked_again(world):
    world.add("a", done_after=1)
    world.ledger.away = True
    world.run(60)

    world.ledger.away = False
    world.run(5)

    assert "a" in world.cache.gone


def test_a_file_that_cannot_be_removed_holds_up_no_other(world):
    world.cache.broken.add("a")
    world.add("a", "b", done_after=1)

    world.run(5)

    assert set(world.cache.gone) == {"b"}
    assert len(world.files) == 0


def test_a_question_names_so_many_files_at_most(world, monkeypatch):
    monkeypatch.setattr(uploaded, "ASKED_AT_ONCE", 10)
    world.add(*(f"{n}" for n in range(35)), done_after=1)

    world.run(3)

    assert world.ledger.questions == [10, 10, 10, 5]
    assert len(world.cache.gone) == 35


def test_only_so_many_are_remembered(world, monkeypatch):
    monkeypatch.setattr(uploaded, "MOST", 10)

    world.add(*(f"{n}" for n in range(35)))

    assert len(world.files) == 10


def test_by_itself_it_removes_the_last_files_too_and_rests(monkeypatch):
    monkeypatch.setattr(uploaded, "EVERY_SECONDS", 0.01)
    world = World(alone=True)
    world.add("a", done_after=1)
    first = world.files._thread

    world.now += 10
    assert world.cache.removed.wait(10)
    first.join(10)
    world.cache.removed.clear()
    world.add("b", done_after=1)
    world.now += 10

    assert world.cache.removed.wait(10)
    assert set(world.cache.gone) == {"a", "b"}
    world.files.close()


def test_what_goes_wrong_ends_no_thread(monkeypatch):
    monkeypatch.setattr(uploaded, "EVERY_SECONDS", 0.01)
    world = World(alone=True)
    answer, failed = world.ledger.active_media, threading.Event()

    def fail_once(ids):
        if not failed.is_set():
            failed.set()
            raise RuntimeError("nobody expected this")
        return answer(ids)

    world.ledger.active_media = fail_once
    world.add("a", done_after=1)
    world.now += 10
    assert failed.wait(10)
    world.add("b", done_after=1)
    world.now += 10

    assert world.cache.removed.wait(10)
    assert set(world.cache.gone) == {"b"}
    world.files.close()
    assert not world.files._thread or not world.files._thread.is_alive()
