"""What a failure leads to, row by row of the domain page's table, and how it is told."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from claimx.adapters.asked_to_wait import retry_after
from claimx.domain.errors import (
    CircuitOpen,
    DiskFull,
    LinkExpired,
    Malformed,
    NotAllowed,
    NotFound,
    NotYetThere,
    Refused,
    Throttled,
    TokenRejected,
    TryLater,
    Unavailable,
    Unreadable,
)
from claimx.domain.records import Buried, Kind, NewRecord, Record, Retried, Stage, Waited
from claimx.domain.redaction import redact
from claimx.domain.retry import PAUSE_SECONDS, GiveUp, Refresh, Retry, RetryPolicy, Wait
from claimx.services.settle import failure_of, outcome_of

JUDGING = SimpleNamespace(retry=RetryPolicy(), now=lambda: 1000.0, jitter=lambda: 0.0)
HOUR = 3600.0


def record(**given) -> Record:
    return Record(id="e:1", kind=Kind.EVENT, stage=Stage.ENRICH, data={"a": 1}, **given)


@pytest.mark.parametrize(
    "error",
    [
        Throttled("x"),
        Unavailable("x"),
        Unreadable("x"),
        TryLater("x"),
        NotYetThere("x"),
        ValueError("nobody classified this"),
    ],
)
def test_what_may_pass_spends_attempts_with_a_doubling_back_off_and_then_dies(error):
    decisions = [RetryPolicy().decide(error, attempts) for attempts in range(5)]

    assert decisions == [
        Retry(30.0),
        Retry(60.0),
        Retry(120.0),
        Retry(240.0),
        GiveUp("retries exhausted"),
    ]


@pytest.mark.parametrize("error", [NotFound, Refused, Malformed, NotAllowed])
def test_what_is_permanent_dies_at_once(error):
    assert RetryPolicy().decide(error("x"), 0) == GiveUp("permanent")


@pytest.mark.parametrize("error", [TokenRejected, CircuitOpen, DiskFull])
def test_a_wait_spends_no_attempt_however_many_were_spent_and_is_bounded_by_age(error):
    policy = RetryPolicy(wait_max_seconds=10)

    assert policy.decide(error("x", 7.0), 99, waited_seconds=3) == Wait(7.0)
    assert policy.decide(error("x"), 99, waited_seconds=10) == GiveUp("waited too long")


@pytest.mark.parametrize("error", [TokenRejected, CircuitOpen, DiskFull])
def test_the_last_wait_ends_with_the_time_that_there_is_to_wait(error):
    """However long the door stays shut: `CLAIMX_WAIT_MAX_HOURS` bounds the whole of the wait."""
    policy = RetryPolicy(wait_max_seconds=10)

    assert policy.decide(error("x", 40.0), 0, waited_seconds=9, jitter=0.9) == Wait(1.0)
    assert policy.decide(error("x"), 0) == Wait(10.0)


def test_room_in_the_cache_is_looked_for_again_after_a_pause_whatever_the_back_off():
    """The stage pauses for as long: earlier it would only be sent away again."""
    assert RetryPolicy(base_seconds=1.0).decide(DiskFull("x"), 0) == Wait(PAUSE_SECONDS)


def test_a_link_is_refreshed_three_times_over_a_records_life():
    decisions = [RetryPolicy().decide(LinkExpired("x"), 0, refreshes=n) for n in range(4)]

    assert decisions == [Refresh(), Refresh(), Refresh(), GiveUp("link refreshed too often")]


def test_the_delay_that_was_asked_for_wins_up_to_an_hour():
    policy = RetryPolicy()

    assert policy.decide(Throttled("x", 5.0), 3) == Retry(5.0)
    assert policy.decide(Throttled("x", 90_000.0), 0) == Retry(HOUR)
    assert policy.decide(Throttled("x", -5.0), 0) == Retry(30.0)
    assert policy.decide(Throttled("x", 0.0), 0) == Retry(30.0)
    assert policy.decide(Throttled("x", 100.0), 0, jitter=0.5) == Retry(105.0)


def test_without_a_word_from_the_other_side_a_wait_is_the_first_back_off_for_three_days():
    policy = RetryPolicy()

    assert policy.decide(TokenRejected("x"), 3, waited_seconds=72 * HOUR - 40) == Wait(30.0)
    assert policy.decide(TokenRejected("x"), 3, waited_seconds=72 * HOUR) == GiveUp(
        "waited too long"
    )


def test_a_back_off_grows_by_a_tenth_of_chance_up_to_a_greatest():
    policy = RetryPolicy(max_retries=99)

    assert policy.decide(Unavailable("x"), 1, jitter=0.5) == Retry(63.0)
    assert policy.decide(Unavailable("x"), 50, jitter=0.5) == Retry(2400.0)


def test_an_outcome_carries_data_always_but_rows_and_media_only_to_the_grave():
    spawn = (NewRecord("m:1", Kind.MEDIA, Stage.DOWNLOAD, {}, "t"),)
    found = {"data": {"b": 2}, "rows": b"r", "spawn": spawn}

    retried = outcome_of(record(), Unavailable("x", status=503, host="h"), JUDGING, **found)
    waited = outcome_of(record(), CircuitOpen("x", 3.0), JUDGING, **found)
    buried = outcome_of(record(attempts=4), Unavailable("x"), JUDGING, **found)

    assert isinstance(retried, Retried)
    assert (retried.delay, retried.data) == (30.0, {"b": 2})
    assert (retried.failure.status, retried.failure.host) == (503, "h")
    assert isinstance(waited, Waited)
    assert (waited.delay, waited.data) == (3.0, {"b": 2})
    assert isinstance(buried, Buried)
    assert (buried.rows, buried.spawn, buried.data) == (b"r", spawn, {"b": 2})
    assert buried.failure.reason == "retries exhausted"


def test_a_foreign_errors_message_is_redacted_and_our_own_keeps_its_ids():
    foreign = KeyError("jane.doe@example.com called +1 (555) 123-4567 token=abc")
    ours = Refused("asked for project 5395115, the API answered project 5395116")

    told = failure_of(Stage.ENRICH, foreign, 1.0)

    assert (told.error, told.category.value) == ("KeyError", "UNKNOWN")
    assert not {"jane", "555", "abc"} & set(told.message.replace("=", " ").split())
    assert failure_of(Stage.ENRICH, ours, 1.0).message == ours.message
    assert failure_of(Stage.ENRICH, ValueError(), 1.0).message == "ValueError"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("GET https://h.example/a.jpg?sign=SECRET&x=1 failed", "SECRET"),
        ("redis://user:SECRET@host:6379/0", "SECRET"),
        ("Authorization: Basic SECRET12345=", "SECRET12345"),
        ("bearer SECRET.12345", "SECRET"),
        ('{"access_token": "SECRET"}', "SECRET"),
        ("mail to SECRET@example.co.uk", "SECRET"),
        ("call 5551234567", "5551234567"),
        ("call +49 170 1234567", "1234567"),
        ("X-Amz-Signature=SECRET", "SECRET"),
    ],
)
def test_redaction_takes_out(text, secret):
    assert secret not in redact(text)


def test_redaction_keeps_one_short_line():
    assert redact("status 503\nfrom media.example") == "status 503 from media.example"
    assert len(redact("word " * 1000)) == 300


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("5", 5.0),
        (" 2.5 ", 2.5),
        ("0.5", 0.5),
        ("7200", HOUR),
        ("0", None),
        ("-5", None),
        ("Thu, 01 Jan 1970 00:17:10 GMT", 30.0),
        ("Thu, 01 Jan 1970 01:17:10 +0100", 30.0),
        ("Thursday, 01-Jan-70 00:17:10 GMT", 30.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", None),
        ("Thu, 01 Jan 2099 00:00:01 GMT", HOUR),
        ("soon", None),
        ("nan", None),
        ("١٢", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_up_to_an_hour(header, seconds):
    assert retry_after(header, 1000.0) == seconds


def test_a_date_without_a_zone_is_in_gmt(monkeypatch):
    """RFC 9110, 5.6.7: the third form of a date does not say so."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert retry_after("Thu Jan  1 00:18:20 1970", 1000.0) == 100.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_no_jitter_goes_beyond_the_hour():
    asked = Throttled("slowly", 3600.0)

    assert RetryPolicy().decide(asked, 0, jitter=0.99) == Retry(HOUR)
