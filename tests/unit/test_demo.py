"""The demo's verdict: it ends with 0 only when everything is as it must be."""

from __future__ import annotations

from claimx.cli.demo_check import median_and_p95
from claimx.cli.demo_verdict import dead_differences
from claimx.domain.errors import ErrorCategory
from claimx.domain.records import DeadLetter, Failure, Kind, Stage

REPORT = {
    "dead_events": {
        "gone": {"categories": ["PERMANENT"], "stages": ["enrich"], "note": "no such project"},
        "odd": {"categories": ["PERMANENT"], "stages": ["ingest"], "note": "no type"},
    }
}


def letter(key: str, stage: Stage, category: ErrorCategory = ErrorCategory.PERMANENT) -> DeadLetter:
    failure = Failure(category, "NotFound", "no project 7", stage, 0.0)
    return DeadLetter(f"e:{key}", Kind.EVENT, stage, failure, 0.0, "trace", 1, 0, {})


AS_THEY_MUST = [letter("gone", Stage.ENRICH), letter("malformed-1234", Stage.INGEST)]


def test_the_dead_that_must_be_are_no_difference():
    """A row that is no event has no id that the sandbox could know: such are counted."""
    assert dead_differences(REPORT, AS_THEY_MUST) == []


def test_an_event_that_must_be_dead_and_is_not_is_named():
    (told,) = dead_differences(REPORT, AS_THEY_MUST[1:])

    assert "gone must be dead (no such project)" in told


def test_an_event_that_is_dead_and_must_not_be_is_named_with_its_failure():
    (told,) = dead_differences(REPORT, [*AS_THEY_MUST, letter("good", Stage.ENRICH)])

    assert "good is dead (NotFound: no project 7)" in told


def test_an_event_that_died_of_something_else_is_named():
    other = letter("gone", Stage.ENRICH, ErrorCategory.UNKNOWN)

    (told,) = dead_differences(REPORT, [other, AS_THEY_MUST[1]])

    assert "gone died of UNKNOWN, not ['PERMANENT']" in told


def test_malformed_rows_are_as_many_as_were_planned():
    more = [*AS_THEY_MUST, letter("malformed-5678", Stage.INGEST)]

    assert dead_differences(REPORT, AS_THEY_MUST[:1]) == [
        "1 malformed rows, but 0 dead letters of stage ingest"
    ]
    assert dead_differences(REPORT, more) == [
        "1 malformed rows, but 2 dead letters of stage ingest"
    ]


def test_a_great_many_differences_fill_no_screen():
    dead = [letter(f"good{n}", Stage.ENRICH) for n in range(200)]

    assert len(dead_differences(REPORT, [*AS_THEY_MUST, *dead])) == 50


def test_the_lag_is_the_median_and_what_one_in_twenty_is_above():
    assert median_and_p95([]) == (0.0, 0.0)
    assert median_and_p95([7.0]) == (7.0, 7.0)
    assert median_and_p95([float(n) for n in range(99, -1, -1)]) == (49.5, 95.0)
