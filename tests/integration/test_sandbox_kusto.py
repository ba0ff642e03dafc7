"""The sandbox's Kusto, asked by the real client."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.kusto.data import ClientRequestProperties, KustoClient, KustoConnectionStringBuilder
from azure.kusto.data.exceptions import (
    KustoApiError,
    KustoMultiApiError,
    KustoNetworkError,
    KustoServiceError,
    KustoThrottlingError,
)

from claimx.sandbox.backlog import Backlog
from claimx.sandbox.faults import Fault
from claimx.sandbox.server import Sandbox
from claimx.sandbox.world import World

pytestmark = pytest.mark.integration

PAGE = """
declare query_parameters(since:datetime, until:datetime, known:dynamic, most:long);
ClaimXEvents
| extend source_time = ingestion_time()
| where source_time > since and source_time <= until
| where tostring(event_id) !in (known)
| order by source_time asc, event_id asc
| take most
"""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """A small world that lies in the past, so that every row can be seen."""
    at = datetime.now(UTC).timestamp() - 120
    with Sandbox(World(3, 200, at), tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture
def client(sandbox):
    sandbox.plan.clear()
    with KustoClient(KustoConnectionStringBuilder.with_no_authentication(sandbox.kusto_url)) as one:
        yield one
    sandbox.plan.clear()


def literal(moment: datetime) -> str:
    return f"datetime({moment.strftime('%Y-%m-%dT%H:%M:%S.%fZ')})"


def page_of(sandbox, known=(), most=100_000, since=None, until=None):
    properties = ClientRequestProperties()
    properties.set_option("servertimeout", timedelta(seconds=20))
    start = since or sandbox.world.at - timedelta(hours=1)
    properties.set_parameter("since", literal(start))
    properties.set_parameter("until", literal(until or datetime.now(UTC)))
    properties.set_parameter("known", f"dynamic({json.dumps(list(known))})")
    properties.set_parameter("most", f"long({most})")
    return properties


def ask(sandbox, client, csl=PAGE, **more):
    answer = client.execute_query(sandbox.kusto.database, csl, page_of(sandbox, **more))
    return answer, answer.primary_results[0]


def test_every_row_of_the_world_is_found_in_the_order_of_ingestion(sandbox, client):
    _, table = ask(sandbox, client)

    rows = [row.to_dict() for row in table]
    assert len(rows) == len(sandbox.world.rows)
    times = [row["source_time"] for row in rows]
    assert times == sorted(times)
    assert all(moment.tzinfo is not None for moment in times)
    assert "_ingestion_time" not in rows[0]
    names = {row["event_id"] for row in rows} | {row["eventId"] for row in rows}
    assert {e.event_id for e in sandbox.world.events} - {None} <= names


def test_ingestion_times_keep_their_100_ns_digit_in_text(sandbox, client):
    _, table = ask(sandbox, client, most=5)

    texts = [row[-1] for row in table.raw_rows]
    assert all(len(text) == len("2026-01-01T00:00:00.1234567Z") for text in texts)
    assert all(text[-2] in "1234" for text in texts)


def test_many_rows_share_one_ingestion_time(sandbox, client):
    _, table = ask(sandbox, client)

    assert len({row["source_time"] for row in table}) < table.rows_count / 10


def test_a_time_with_its_ticks_can_be_compared_exactly(sandbox, client):
    csl = (
        "declare query_parameters(since:datetime, until:datetime, known:dynamic, most:long);"
        "ClaimXEvents | summarize rows=count() by source_time=ingestion_time()"
        " | order by source_time asc | extend text=tostring(source_time)"
    )
    _, groups = ask(sandbox, client, csl)
    first, second = groups.raw_rows[0], groups.raw_rows[1]
    assert first[0] == first[2]
    after = f"ClaimXEvents | where ingestion_time() > datetime({first[0]}) | count"
    cut = f"ClaimXEvents | where ingestion_time() > datetime({first[0][:-2]}Z) | count"

    counts = [
        client.execute_query("claimx", text).primary_results[0][0]["Count"] for text in (after, cut)
    ]

    everything = len(sandbox.world.rows)
    assert counts == [everything - first[1], everything]
    assert second[0] > first[0]


def test_a_parameter_keeps_its_ticks_too(sandbox, client):
    text = sandbox.world.rows[0].ingestion_text
    properties = ClientRequestProperties()
    properties.set_parameter("since", f"datetime({text})")
    csl = (
        "declare query_parameters(since:datetime);"
        "ClaimXEvents | where ingestion_time() == since | count"
    )

    table = client.execute_query("claimx", csl, properties).primary_results[0]

    same = [row for row in sandbox.world.rows if row.ingestion_text == text]
    assert table[0]["Count"] == len(same)


def test_a_query_that_was_asked_before_means_what_is_given_now(client):
    """Texts are remembered with their translation: neither values nor the clock may be."""
    csl = "declare query_parameters(a:long = 1, b:string); print a=a, b=b, now=now()"

    def answer(**values):
        properties = ClientRequestProperties()
        for name, value in values.items():
            properties.set_parameter(name, value)
        return client.execute_query("claimx", csl, properties).primary_results[0][0]

    answers = [answer(b="x"), answer(a=5, b="y"), answer(b="z")]

    assert [(one["a"], one["b"]) for one in answers] == [(1, "x"), (5, "y"), (1, "z")]
    assert answers[0]["now"] < answers[1]["now"] < answers[2]["now"]
    with pytest.raises(KustoServiceError, match="without a value: b"):
        answer(a=5)
    with pytest.raises(KustoServiceError, match="other"):
        answer(b="x", other=1)


def test_binning_to_a_microsecond_only_drops_the_last_digit(client):
    csl = "ClaimXEvents | project a=ingestion_time(), b=bin(ingestion_time(), 1microsecond)"

    table = client.execute_query("claimx", csl).primary_results[0]

    assert {row["a"] == row["b"] for row in table} == {True}


def test_known_ids_are_left_out_however_many_there_are(sandbox, client):
    known = [e.event_id for e in sandbox.world.events if e.event_id and not e.camel][:50]

    _, table = ask(sandbox, client, known=[*known, *(f"other-{n}" for n in range(5000))])

    left = {row["event_id"] for row in table}
    assert not left & set(known)
    assert left


def test_an_id_that_looks_like_kql_is_only_text(sandbox, client):
    _, table = ask(sandbox, client, known=['x"]); ClaimXEvents | project tenant //'])

    assert table.rows_count == len(sandbox.world.rows)


def test_take_bounds_a_page(sandbox, client):
    _, table = ask(sandbox, client, most=7)

    assert table.rows_count == 7


def test_columns_may_be_asked_for_by_either_name(sandbox, client):
    csl = (
        "ClaimXEvents | extend id = coalesce(column_ifexists('event_id', ''),"
        " column_ifexists('eventId', ''), column_ifexists(\"nowhere\", ''))"
        " | where isempty(id) | count"
    )

    table = client.execute_query("claimx", csl).primary_results[0]

    without = [
        r for r in sandbox.world.rows if not (r.values.get("event_id") or r.values.get("eventId"))
    ]
    assert table[0]["Count"] == len(without) > 0


def test_ids_come_as_numbers_and_as_text_and_lists_as_json_text(sandbox, client):
    _, table = ask(sandbox, client)

    projects = {type(row["project_id"]) for row in table}
    lists = {type(row["media_ids"]) for row in table}
    assert {int, str} <= projects
    assert {list, str} <= lists


def test_wrong_kql_and_wrong_databases_are_refused(client):
    for database, csl in (("claimx", "ClaimXEvents | nonsense"), ("other", "ClaimXEvents")):
        with pytest.raises(KustoApiError) as caught:
            client.execute_query(database, csl)
        assert caught.value.error.permanent


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("throttle", KustoThrottlingError),
        ("error", KustoApiError),
        ("unauthorized", KustoServiceError),
        ("html", KustoServiceError),
        ("empty", KustoServiceError),
        ("reset", KustoNetworkError),
        ("cut", KustoNetworkError),
        ("rows", KustoMultiApiError),
    ],
)
def test_faults_reach_the_client_as_the_errors_it_knows(sandbox, client, kind, error):
    sandbox.plan.add(Fault.parse({"where": "kusto", "kind": kind, "count": 1}), 0.0)

    with pytest.raises(error):
        ask(sandbox, client)

    assert ask(sandbox, client)[1].rows_count == len(sandbox.world.rows)


def test_throttling_says_when_to_come_back(sandbox, client):
    sandbox.plan.add(Fault.parse({"where": "kusto", "kind": "throttle", "count": 1}), 0.0)

    with pytest.raises(KustoThrottlingError) as caught:
        ask(sandbox, client)

    assert caught.value.args[1].headers["Retry-After"] == "1"


def test_an_error_in_the_completion_alone_leaves_a_short_result(sandbox, client):
    """The trap: rows arrive, nothing is raised, and only `errors_count` tells."""
    sandbox.plan.add(Fault.parse({"where": "kusto", "kind": "completion", "count": 1}), 0.0)

    answer, table = ask(sandbox, client)

    assert answer.errors_count == 1
    assert table.rows_count == len(sandbox.world.rows) // 2


def test_rows_show_up_when_their_time_has_come(tmp_path):
    """With a rate the source grows, and progress counts along."""
    with Sandbox(World(5, 100, rate=40.0, specials=False), tmp_path) as sandbox:
        client = KustoClient(sandbox.kusto_url)
        progress = requests.get(f"{sandbox.control_url}/sandbox/progress", timeout=20).json()

        table = client.execute_query("claimx", "ClaimXEvents | count").primary_results[0]
        client.close()

    assert table[0]["Count"] < len(sandbox.world.rows)
    assert progress["rows"] == len(sandbox.world.rows)
    assert not progress["done"]


def test_a_backlog_lies_before_the_world_and_has_ids_of_its_own(tmp_path):
    """It is made inside the database, so a million rows take a second."""
    world = World(3, 100, datetime.now(UTC).timestamp() - 120)
    backlog = Backlog(250, world.begins, hours=2)
    with (
        Sandbox(world, tmp_path, backlog=backlog) as running,
        KustoClient(
            KustoConnectionStringBuilder.with_no_authentication(running.kusto_url)
        ) as client,
    ):
        _, table = ask(running, client, since=backlog.since - timedelta(seconds=1))

    rows = [row.to_dict() for row in table]
    old = [row for row in rows if str(row["event_id"]).startswith("backlog-")]
    assert len(rows) == 250 + len(world.rows)
    assert len({row["event_id"] for row in old}) == 250
    assert {row["event_type"] for row in old} == {"SANDBOX_BACKLOG"}
    assert min(row["source_time"] for row in old) == backlog.since
    assert all(row["source_time"] < world.begins for row in old)
    assert rows[:250] == old


@pytest.mark.parametrize(("count", "hours"), [(-1, 1.0), (10_000_001, 1.0), (5, 0.0)])
def test_a_backlog_that_makes_no_sense_is_refused(count, hours):
    with pytest.raises(ValueError, match="backlog"):
        Backlog(count, datetime.now(UTC), hours)


def test_behind_a_head_rows_wait_until_they_are_released(tmp_path):
    """So a measurement can warm the processes first, however long that takes."""
    world = World(
        3, 100, datetime.now(UTC).timestamp() - 120, mix="nothing", specials=False, head=40
    )

    with Sandbox(world, tmp_path) as running, KustoClient(running.kusto_url) as client:
        counts = []
        for _ in range(2):
            answer = client.execute_query("claimx", "ClaimXEvents | count").primary_results[0]
            counts.append(answer[0]["Count"])
            released = requests.post(f"{running.control_url}/sandbox/release", timeout=20)

    assert counts == [40, 140]
    assert released.json() == {"ok": True}
