"""When a large table takes in what waits beside it, and who does it."""

from __future__ import annotations

import itertools

import pytest
import structlog
from structlog.testing import capture_logs

from claimx.adapters.memory.gates import MemoryGates
from claimx.domain.errors import Unavailable
from claimx.domain.folding import LEAST_SECONDS, SHARE_OF_ROWS, delay_seconds, is_due
from claimx.domain.ports.lake import Backlog, Folded
from claimx.domain.tables import EVENTS, MEDIA
from claimx.domain.times import from_seconds
from claimx.services.folding import FoldKeeper
from claimx.telemetry.metrics import RecordedMetrics

NOW = 1_790_000_000.0
MILLION = 1_000_000


def waiting(changes: int, seconds: float, rows: int) -> Backlog:
    return Backlog(changes, from_seconds(NOW - seconds), rows)


def test_nothing_is_due_where_nothing_waits():
    assert not is_due(Backlog(rows=MILLION), NOW)


def test_a_change_waits_as_long_as_its_table_is_dear_to_rewrite():
    """A fold of a table takes at most a fifth of one core, however large the table is."""
    delay = delay_seconds(10 * MILLION)

    assert delay > LEAST_SECONDS
    assert not is_due(waiting(1, delay - 1, 10 * MILLION), NOW)
    assert is_due(waiting(1, delay + 1, 10 * MILLION), NOW)
    assert delay_seconds(100 * MILLION) == pytest.approx(10 * delay)


def test_a_table_that_is_hardly_large_is_right_within_half_a_minute():
    assert delay_seconds(300_000) == LEAST_SECONDS


def test_many_changes_are_folded_at_once():
    """They pay for the rows that are rewritten because of them."""
    enough = int(10 * MILLION * SHARE_OF_ROWS)

    assert not is_due(waiting(enough - 1, 1, 10 * MILLION), NOW)
    assert is_due(waiting(enough, 1, 10 * MILLION), NOW)


class Tables:
    """Large tables that only note what is asked of them."""

    def __init__(self, backlog: Backlog) -> None:
        self.waits = backlog
        self.folded: list[str] = []
        self.told_to_go_on: list[bool] = []
        self.during = lambda: None
        self.fails: list[Exception] = []

    def backlog(self, table):
        del table
        if self.fails:
            raise self.fails.pop()
        return self.waits

    def fold(self, table, go_on):
        self.folded.append(table.name)
        self.told_to_go_on.append(go_on())
        self.during()
        self.told_to_go_on.append(go_on())
        self.waits = Backlog()
        return Folded(changes=1, ended=True)


class Wall:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall():
    return Wall()


@pytest.fixture
def gates(wall):
    return MemoryGates(wall)


@pytest.fixture
def metrics():
    return RecordedMetrics()


def keeper_of(tables, gates, wall, metrics, holder="a"):
    return FoldKeeper(tables, gates, metrics, wall, holder=holder, tables=[MEDIA, EVENTS])


def test_what_is_due_is_folded_under_a_lease(gates, wall, metrics):
    tables = Tables(waiting(10, 100, 1000))
    others = keeper_of(Tables(waiting(10, 100, 1000)), gates, wall, metrics, holder="b")
    tables.during = lambda: tables.folded.append(f"another: {others.look(MEDIA)}")

    keeper_of(tables, gates, wall, metrics).look(MEDIA)

    assert tables.folded == [MEDIA.name, "another: None"]
    assert others.look(MEDIA) is not None, "the lease was given back"


def test_what_waits_is_measured_at_each_look_and_told_when_it_is_late(gates, wall, metrics):
    tables = Tables(waiting(1, 7, MILLION))
    keeper = keeper_of(tables, gates, wall, metrics)

    def gauges() -> tuple[float, float]:
        names = ("fold_changes", "fold_wait_seconds")
        return tuple(metrics.values[name, (MEDIA.name,)] for name in names)

    with capture_logs() as told:
        keeper.look(MEDIA)
        young = gauges()
        tables.waits = waiting(2, 3 * LEAST_SECONDS + 1, MILLION)
        assert gates.lock(f"fold:{MEDIA.name}", "another", 60.0) is not None
        keeper.look(MEDIA)

    assert (young, gauges()) == ((1, 7), (2, 3 * LEAST_SECONDS + 1))
    assert [one["seconds"] for one in told if "is late" in one["event"]] == [91]


def test_a_fold_whose_lease_is_lost_is_told_to_stop(gates, wall, metrics):
    """A process that stood still finds another at its work."""
    tables = Tables(waiting(10, 100, 1000))

    def stand_still():
        wall.now += 60
        assert gates.lock(f"fold:{MEDIA.name}", "b", 10.0) is not None

    tables.during = stand_still

    keeper_of(tables, gates, wall, metrics).look(MEDIA)

    assert tables.told_to_go_on == [True, False]


def test_a_fold_goes_on_without_redis_until_its_lease_has_ended(gates, wall, metrics):
    """What is folded by then would be thrown away for one answer that came late."""

    class Long(Tables):
        def fold(self, table, go_on):
            self.folded.append(table.name)
            for _ in range(8):
                wall.now += 2
                self.told_to_go_on.append(go_on())
            return Folded()

    tables = Long(waiting(10, 100, 1000))

    class Away(MemoryGates):
        """Redis answers until the fold has begun."""

        def lock(self, *args):
            fence = super().lock(*args)
            self.away = True
            return fence

    gates.__class__ = Away
    keeper_of(tables, gates, wall, metrics).look(MEDIA)

    assert tables.told_to_go_on == [True] * 4 + [False] * 4


def test_a_clock_that_is_set_back_keeps_nobody_from_looking(gates, wall, metrics):
    tables = Tables(Backlog())
    keeper = keeper_of(tables, gates, wall, metrics)
    keeper.look(MEDIA)

    wall.now -= 86_400
    tables.waits = waiting(10, 2 * 86_400, 1000)

    assert keeper.look(MEDIA) is not None


def test_a_fold_keeps_its_lease_though_the_clock_is_set_back(wall, metrics):
    redis = Wall()
    gates = MemoryGates(redis)

    class Long(Tables):
        def fold(self, table, go_on):
            wall.now -= 86_400
            for _ in range(8):
                wall.now += 2
                redis.now += 2
                self.told_to_go_on.append(go_on())
            self.folded.append(str(gates.lock(f"fold:{table.name}", "another", 10.0)))
            return Folded()

    tables = Long(waiting(10, 100, 1000))

    keeper_of(tables, gates, wall, metrics).look(MEDIA)

    assert (tables.folded, tables.told_to_go_on) == (["None"], [True] * 8)


def test_a_redis_that_is_away_is_no_failure_of_a_fold(gates, wall, metrics):
    """It is looked at again with the next look, not after minutes; a command is told."""
    tables = Tables(waiting(10, 100, 1000))
    keeper = keeper_of(tables, gates, wall, metrics)
    gates.away = True

    keeper.guarded(MEDIA)
    with pytest.raises(Unavailable):
        keeper.fold(MEDIA)
    assert tables.folded == []

    gates.away = False
    keeper.guarded(MEDIA)
    assert tables.folded == [MEDIA.name]


def test_a_fold_is_told_to_stop_when_its_process_leaves(gates, wall, metrics):
    tables = Tables(waiting(10, 100, 1000))
    keeper = keeper_of(tables, gates, wall, metrics)
    tables.during = keeper.stop

    keeper.look(MEDIA)

    assert tables.told_to_go_on == [True, False]


def test_a_table_that_fails_is_left_alone_for_a_while_and_holds_up_no_other(gates, wall, metrics):
    tables = Tables(waiting(10, 100, 1000))
    tables.fails = [Unavailable("the lake is away")]
    keeper = keeper_of(tables, gates, wall, metrics)

    keeper.guarded(MEDIA)
    keeper.guarded(MEDIA)
    assert tables.folded == []

    wall.now += 31
    keeper.guarded(MEDIA)
    assert tables.folded == [MEDIA.name]


def test_tables_beside_which_nothing_waits_are_seldom_looked_at(gates, wall, metrics):
    tables = Tables(Backlog())
    keeper = keeper_of(tables, gates, wall, metrics)
    keeper.look(MEDIA)
    tables.waits = waiting(10, 100, 1000)

    assert keeper.look(MEDIA) is None
    wall.now += 61
    assert keeper.look(MEDIA) is not None


def test_a_table_that_fails_for_weeks_ends_no_thread(gates, wall, metrics):
    """The pause after the 1,025th failure was no number any more, and nobody folded after it."""
    tables = Tables(waiting(10, 100, 1000))
    tables.fails = [Unavailable("away") for _ in range(1100)]
    keeper = keeper_of(tables, gates, wall, metrics)

    for _ in range(1101):
        keeper.guarded(MEDIA)
        wall.now += 901

    assert tables.folded == [MEDIA.name]


def test_a_table_that_keeps_failing_is_tried_ever_more_seldom(gates, wall, metrics):
    """Each try may leave files behind that go only days later; a success begins anew."""
    tables = Tables(waiting(10, 100, 1000))
    tables.fails = [Unavailable("full") for _ in range(9)]
    keeper = keeper_of(tables, gates, wall, metrics)
    tried = []
    for _ in range(6000):
        before = len(tables.fails)
        keeper.guarded(MEDIA)
        if len(tables.fails) < before:
            tried.append(wall.now)
        if tables.folded:
            break
        wall.now += 1

    pauses = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert pauses == [30, 60, 120, 240, 480, 900, 900, 900]
    tables.waits, tables.fails = waiting(10, 100, 1000), [Unavailable("full")]
    keeper.guarded(MEDIA)
    wall.now += 31
    keeper.guarded(MEDIA)
    assert tables.folded == [MEDIA.name] * 2


def test_changes_that_wait_far_too_long_are_told(gates, wall, metrics):
    late = Tables(waiting(10, 4 * LEAST_SECONDS, 1000))
    with structlog.testing.capture_logs() as lines:
        keeper_of(late, gates, wall, metrics).look(MEDIA)

    (line,) = [one for one in lines if "is late" in one["event"]]
    assert (line["table"], line["changes"], line["seconds"]) == (MEDIA.name, 10, 120)
    assert metrics.values["fold_changes", (MEDIA.name,)] == 0, "it is measured after the fold too"
