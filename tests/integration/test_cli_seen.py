"""A running pipeline from outside: status, health, metrics, Flower, commands; and no secrets."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
from pipeline_rig import Rig, assert_as_it_must_be, secrets_of

from claimx.cli.stack import free_port

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(150),
    pytest.mark.xdist_group("pipeline"),
]

ROLES = {"beat", "worker", "writer", "web"}


class SeenRig(Rig):
    """With what the tests ask for: Flower's address, and a port that somebody else has."""

    flower: str
    taken: int


@pytest.fixture(scope="module")
def rig(tmp_path_factory) -> Iterator[SeenRig]:
    """A pipeline that is done, with Flower beside it from the start; the writer's port is taken."""
    with (
        socket.socket() as taken,
        Rig(
            tmp_path_factory.mktemp("seen"), "--events", "150", "--seed", "8", "--faults", "typical"
        ) as one,
    ):
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = free_port()
        one.flower = f"http://127.0.0.1:{port}"
        one.taken = taken.getsockname()[1]
        one.process("web", PORT=str(port), FLOWER_UNAUTHENTICATED_API="true")
        one.until_announced("web")
        one.processes("beat", "worker")
        one.process("writer", CLAIMX_HEALTH_PORT=str(one.taken), CLAIMX_METRICS_PORT="0")
        one.until_done()
        one.control("DELETE", "faults")
        yield one


def statuses(rig: Rig) -> dict[str, Any]:
    return rig.claimx("status", "-o", "json").document


def addresses(rig: Rig) -> dict[str, str]:
    found = {one["role"]: one["health"] for one in statuses(rig)["processes"]}
    assert set(found) == ROLES
    return found


@pytest.mark.parametrize("role", sorted(ROLES))
def test_every_process_tells_where_it_answers_for_its_health(rig, role):
    address = addresses(rig)[role]

    live = requests.get(f"http://{address}/health/live", timeout=20)
    ready = requests.get(f"http://{address}/health/ready", timeout=20)
    metrics = requests.get(f"http://{address}/metrics", timeout=20)

    assert address.startswith("127.0.0.1:")
    assert (live.status_code, live.json()["ok"]) == (200, True)
    assert (ready.status_code, ready.json()["problems"]) == (200, {})
    assert metrics.status_code == 200
    assert requests.get(f"http://{address}/nothing", timeout=20).status_code == 404


def test_the_worker_counts_what_its_children_did(rig):
    text = requests.get(f"http://{addresses(rig)['worker']}/metrics", timeout=20).text

    samples = dict(re.findall(r"^(\w+(?:\{[^}]*\})?) ([\d.e+]+)$", text, flags=re.MULTILINE))

    done = {name: float(value) for name, value in samples.items() if "processed" in name}
    assert any('stage="enrich"' in name and value >= 100 for name, value in done.items()), samples


def test_a_port_that_is_taken_becomes_a_free_one(rig):
    address = addresses(rig)["writer"]

    assert address != f"127.0.0.1:{rig.taken}"
    assert "port is taken" in rig.text_of_log("writer")


def test_status_says_that_all_is_well(rig):
    table = rig.claimx("status")
    document = statuses(rig)

    assert table.status == 0, table
    assert "holds" in table.out
    assert document["schema_version"] == 1
    assert document["problems"] == []
    assert document["missing"] == {"event": 0, "media": 0}
    counts = document["counters"]["event"]
    ended = counts["recorded"] + counts["unhandled"] + document["dead"]["event"]
    assert counts["admitted"] == ended


def test_status_fails_on_what_it_is_told_to(rig):
    assert rig.claimx("status", "--fail-on", "dead=1000,lag=600s,missing=0").status == 0
    assert rig.claimx("status", "--fail-on", "dead=1").status == 7
    assert rig.claimx("status", "--fail-on", "nonsense=1").status == 2
    assert rig.claimx("status", "--fail-on", "dead=many").status == 2


def test_status_without_redis_is_an_answer_and_not_a_traceback(rig):
    answer = rig.claimx("status", REDIS_URL=f"redis://:hidden-word@127.0.0.1:{free_port()}/0")

    assert answer.status == 5
    assert "Traceback" not in answer.err
    assert "hidden-word" not in answer.err


def test_a_poll_by_hand_finds_nothing_new(rig):
    answer = rig.claimx("poll", "once", "-o", "json")
    dry = rig.claimx("poll", "once", "--dry-run", "-o", "json")

    assert answer.status in (0, 8), answer  # 8: beat's own poll was at it
    if answer.status == 0:
        (row,) = answer.document["poll"]
        assert row["fresh"] == 0
    assert dry.status == 0, dry


def test_a_backfill_of_what_is_known_adds_nothing_however_often(rig):
    world = rig.world
    since = (world.at - timedelta(hours=1)).isoformat()
    until = world.at.isoformat()
    before = statuses(rig)["counters"]

    answers = [
        rig.claimx("backfill", "--from", since, "--to", until, "-o", "json") for _ in range(2)
    ]

    for answer in answers:
        assert answer.status == 0, answer
        (row,) = answer.document["backfill"]
        assert row["rows"] > 100
        assert row["fresh"] == 0
    assert rig.claimx("backfill", "--from", until, "--to", since).status == 2
    assert rig.claimx("backfill", "--from", "yesterdayish").status == 2
    rig.until_done()
    assert statuses(rig)["counters"]["event"]["admitted"] == before["event"]["admitted"]
    assert_as_it_must_be(rig)


def test_a_source_that_refuses_for_good_is_a_failure_and_no_outage(rig):
    """5 would send its operator to the network; reconcile said 1 of the same refusal before."""
    since, until = (rig.world.at - timedelta(hours=1)).isoformat(), rig.world.at.isoformat()
    reading = [
        ("poll", "once", "--dry-run"),
        ("backfill", "--from", since, "--to", until),
        ("reconcile", "--from", since, "--to", until),
    ]

    for command in reading:
        answer = rig.claimx(*command, CLAIMX_EVENTHOUSE_SOURCE_TABLE="NoSuchTable")

        assert answer.status == 1, answer
        assert "NoSuchTable" in answer.err, answer


def test_settings_are_shown_without_their_secrets(rig):
    secrets = {
        "CLAIMX_API_TOKEN": "dG9wOnNlY3JldA==",
        "FLOWER_BASIC_AUTH": "admin:hidden-word",
        "REDIS_URL": "redis://user:hidden-word@127.0.0.1:6379/0",
    }

    shown = rig.claimx("config", "show", **secrets)
    as_json = rig.claimx("config", "show", "-o", "json", **secrets)
    checked = rig.claimx("config", "validate", CLAIMX_POLL_INTERVALL_SECONDS="5")
    wrong = rig.claimx("config", "validate", CLAIMX_BATCH_ROWS="many", CLAIMX_MAX_RETRIES="-1")

    assert shown.status == as_json.status == 0
    assert "dG9wOnNlY3JldA==" not in shown.out + as_json.out
    assert "hidden-word" not in shown.out + as_json.out
    assert checked.status == 0
    assert "did you mean CLAIMX_POLL_INTERVAL_SECONDS?" in checked.err
    assert wrong.status == 4
    assert "CLAIMX_BATCH_ROWS" in wrong.err
    assert "CLAIMX_MAX_RETRIES" in wrong.err


def test_flower_listens_on_loopback_alone_without_credentials(rig):
    port = int(rig.flower.rpartition(":")[2])

    assert requests.get(f"{rig.flower}/workers", timeout=20).status_code == 200
    with socket.socket() as other:  # a second address of this machine's loopback is still free
        other.bind(("127.0.0.2", port))


def test_flower_demands_its_credentials_when_it_has_any(rig):
    port = free_port()
    web = rig.process(
        "web", as_="guarded web", PORT=str(port), FLOWER_BASIC_AUTH="admin:hidden-word"
    )
    url = f"http://127.0.0.1:{port}/workers"

    rig.until("Flower", lambda: requests.get(url, timeout=20).status_code)
    without = requests.get(url, timeout=20)
    wrong = requests.get(url, auth=("admin", "guess"), timeout=20)
    right = requests.get(url, auth=("admin", "hidden-word"), timeout=20)
    web.terminate()

    assert (without.status_code, wrong.status_code, right.status_code) == (401, 401, 200)
    assert web.wait(25) is not None
    assert "hidden-word" not in rig.text_of_log("guarded web")


def test_neither_flower_nor_logs_nor_queues_hold_what_is_personal_or_secret(rig):
    """Messages carry ids, so what shows messages shows ids."""
    secrets = secrets_of(rig.world) | {rig.environment["CLAIMX_API_TOKEN"]}
    pages = {
        path: requests.get(f"{rig.flower}{path}", timeout=20).text
        for path in ("/workers", "/tasks", "/broker", "/api/tasks?limit=5000", "/api/workers")
    }
    queued = [
        item
        for key in rig.client.scan_iter("*")
        if rig.client.type(key) == b"list" and not key.startswith(b"{claimx")
        for item in rig.client.lrange(key, 0, -1)
    ]
    logs = rig.text_of_logs().replace(rig.text_of_log("sandbox"), "")
    places = {**pages, "logs": logs, "queues": b"\n".join(queued).decode(errors="replace")}

    found = {
        place: [secret for secret in secrets if secret in text] for place, text in places.items()
    }

    assert len(secrets) > 100
    assert "claimx.enrich" in pages["/api/tasks?limit=5000"]
    assert {place: some for place, some in found.items() if some} == {}
    for place, text in places.items():
        assert not re.search(r"(sign|X-Amz-Signature)=(?!\*)[0-9a-f]{6}", text), place
