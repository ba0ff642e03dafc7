"""Dead letters and waiting records as an operator meets them, on a running pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from pipeline_rig import Answer, Rig, assert_as_it_must_be, secrets_of

from claimx.domain.records import DeadLetter, Stage, State

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("waiting pipeline"),
]


@pytest.fixture(scope="module")
def rig(tmp_path_factory) -> Iterator[Rig]:
    """A pipeline that is done, whose video calls all failed for longer than the retries last."""
    settings = {"CLAIMX_CIRCUIT_FAILURES": "10000", "CLAIMX_RETRY_BASE_SECONDS": "0.2"}
    folder = tmp_path_factory.mktemp("dlq")
    with Rig(folder, "--events", "200", "--seed", "9", settings=settings) as one:
        one.control("POST", "faults", {"where": "api", "kind": "error", "path": "/data"})
        one.processes()
        one.until_done()
        one.control("DELETE", "faults")
        yield one


def of_failed_calls(rig: Rig) -> list[DeadLetter]:
    return [letter for letter in rig.letters() if letter.failure.status == 500]


def listed(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 0, answer
    assert answer.document["schema_version"] == 1
    return answer.document["dead_letters"]


def test_letters_are_listed_with_what_an_operator_asks_for(rig):
    letters = listed(rig.claimx("dlq", "ls", "-o", "json"))

    assert {letter["id"] for letter in letters} == {letter.id for letter in rig.letters()}
    assert all(letter["category"] and letter["error"] and letter["reason"] for letter in letters)
    assert all(letter["trace"] and letter["died_at"].endswith("Z") for letter in letters)
    failed_calls = [one for one in letters if one["status"] == 500]
    assert failed_calls
    assert {(one["stage"], one["category"], one["attempts"]) for one in failed_calls} == {
        ("enrich", "TRANSIENT", 4)
    }


def test_filters_narrow_the_list_and_an_empty_one_is_told_by_the_status(rig):
    ingest = listed(rig.claimx("dlq", "ls", "--stage", "ingest", "-o", "json"))
    lines = rig.claimx("dlq", "ls", "--category", "PERMANENT", "-o", "jsonl").out.splitlines()
    nothing = rig.claimx("dlq", "ls", "--error", "NoSuchThing")
    wrong = rig.claimx("dlq", "ls", "--stage", "nowhere")

    assert {letter["stage"] for letter in ingest} == {"ingest"}
    assert len(lines) == len([x for x in rig.letters() if x.failure.category == "PERMANENT"])
    assert (nothing.status, wrong.status) == (3, 2)


def test_a_letter_shows_its_history_and_names_what_it_carries(rig):
    letter = of_failed_calls(rig)[0]

    answer = rig.claimx("dlq", "show", letter.id, "-o", "json")
    (shown,) = listed(answer)
    table = rig.claimx("dlq", "show", letter.id)

    assert len(shown["history"]) >= 5  # four retries and the burial
    assert "project_id" in shown["carries"]
    assert letter.id in table.out
    assert rig.claimx("dlq", "show", "e:nobody").status == 3


def test_requeue_asks_for_something_and_for_a_yes(rig):
    before = {letter.id: letter.replays for letter in rig.letters()}

    assert rig.claimx("dlq", "requeue").status == 2
    assert rig.claimx("dlq", "requeue", "--stage", "enrich").status == 2
    assert rig.claimx("dlq", "requeue", "--error", "NoSuchThing", "--yes").status == 3
    no_ids = rig.claimx("dlq", "requeue", "-", "--yes", given="\n")
    assert no_ids.status == 3  # and not: without ids, all of them
    dry = rig.claimx("dlq", "requeue", "--all", "--dry-run")

    assert dry.status == 0
    assert f"would requeue {len(before)}" in dry.err
    assert {letter.id: letter.replays for letter in rig.letters()} == before


def test_nothing_that_is_printed_is_personal_or_secret(rig):
    secrets = secrets_of(rig.world) | {rig.environment["CLAIMX_API_TOKEN"]}
    ids = [letter.id for letter in rig.letters()]
    answers = [
        rig.claimx("dlq", "ls"),
        rig.claimx("dlq", "ls", "-o", "json"),
        rig.claimx("dlq", "show", *ids),
        rig.claimx("dlq", "show", *ids, "-o", "json"),
        rig.claimx("status"),
        rig.claimx("status", "-o", "json"),
        rig.claimx("config", "show"),
    ]

    printed = "\n".join(answer.out + answer.err for answer in answers)

    assert len(secrets) > 100
    assert [secret for secret in secrets if secret in printed] == []
    assert "sign=" not in printed
    assert "X-Amz-Signature" not in printed


def test_what_is_requeued_after_the_cause_is_mended_is_recorded(rig):
    """Half by ids from a pipe, the rest by the task, as any Celery client sends it."""
    error = of_failed_calls(rig)[0].failure.error
    mended = [letter.id for letter in of_failed_calls(rig)]
    half = mended[: len(mended) // 2]

    answer = rig.claimx("dlq", "requeue", "-", "--yes", given="\n".join(half) + "\n")
    assert answer.status == 0, answer
    assert f"requeued {len(half)} of {len(half)}" in answer.err
    with Celery(broker=rig.redis_url) as client:
        client.send_task(
            "claimx.admin.requeue_dead_letters",
            kwargs={"stage": "enrich", "category": "TRANSIENT", "error": error},
            queue="control",
        )

    rig.until(
        "no dead letter of a call that works again",
        lambda: not of_failed_calls(rig),
    )
    rig.until_done()
    assert_as_it_must_be(rig)
    assert rig.status().counters["event"]["requeued"] == len(mended)


def test_a_changed_token_is_waited_for_and_spends_no_attempt(tmp_path):
    """A file with the new token is read again after a 401; nobody restarts anything."""
    token = tmp_path / "token"
    token.write_text("b2xkOm9sZA==")
    settings = {"CLAIMX_API_TOKEN": "", "CLAIMX_API_TOKEN_FILE": str(token)}
    with Rig(tmp_path, "--events", "100", "--no-specials", settings=settings) as rig:
        right = rig.sandbox.environment["CLAIMX_API_TOKEN"]
        rig.processes()

        def waiting() -> list[dict[str, Any]]:
            document = rig.claimx("status", "-o", "json").document
            rows = [row for row in document["stages"] if row["stage"] == Stage.ENRICH]
            return [row for row in rows if row[State.WAITING] > 20]

        (row,) = rig.until("events that wait", waiting)
        assert row[State.RETRYING] == 0
        assert not rig.letters()

        token.write_text(right + "\n")

        rig.until_done()
        assert_as_it_must_be(rig)
        assert "b2xkOm9sZA==" not in rig.text_of_logs()
