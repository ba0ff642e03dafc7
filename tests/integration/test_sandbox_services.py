"""The sandbox's API, media host, faults and control port, over plain HTTP."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
import requests

from claimx.sandbox.faults import Fault, FaultPlan, typical
from claimx.sandbox.process import SandboxProcess
from claimx.sandbox.server import TOKEN, Sandbox
from claimx.sandbox.world import World

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    at = datetime.now(UTC).timestamp() - 120
    with Sandbox(World(3, 200, at), tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture
def api(sandbox):
    sandbox.plan.clear()
    session = requests.Session()
    session.headers["Authorization"] = f"Basic {TOKEN}"
    yield lambda path, **params: session.get(sandbox.api_url + path, params=params, timeout=10)
    session.close()
    sandbox.plan.clear()


def items_of(answer):
    body = answer.json()
    return body if isinstance(body, list) else body.get("data", body.get("media"))


def link_of(api, item):
    answer = api(f"/export/project/{item.project_id}/media", mediaIds=item.key)
    found = [
        one for one in items_of(answer) if str(one["mediaID"]).split(".")[0].strip() == item.key
    ]
    return found[0]["fullDownloadLink"] if found else None


def special(world, name):
    return next(item for item in world.media.values() if item.name and item.name.startswith(name))


def test_the_token_is_checked_as_it_is(sandbox):
    project = next(iter(sandbox.world.projects))

    for value in (None, TOKEN, f"Bearer {TOKEN}", "Basic other"):
        headers = {"Authorization": value} if value else {}
        answer = requests.get(
            f"{sandbox.api_url}/export/project/{project}", headers=headers, timeout=20
        )
        assert answer.status_code == 401


def test_projects_come_bare_or_wrapped_and_the_odd_ones_as_planned(sandbox, api):
    shapes, statuses = set(), set()
    for number, project in sandbox.world.projects.items():
        answer = api(f"/export/project/{number}")
        statuses.add(answer.status_code)
        if answer.status_code == 200:
            body = answer.json()
            shapes.add("data" in body)
            told = str(body.get("data", body)["project"]["projectId"]).split(".")[0].strip()
            assert (told == project.key) is (project.answers_as is None)

    assert shapes == {True, False}
    assert statuses == {200, 403, 404}


def test_a_project_is_found_by_its_number(sandbox, api):
    number, project = next(iter(sandbox.world.by_number.items()))

    body = api("/export/project/projectId", projectNumber=number).json()

    told = body if isinstance(body, int) else body.get("projectId", body.get("id"))
    assert told == project.project_id


def test_a_filter_is_honoured_by_some_projects_and_ignored_by_others(sandbox, api):
    seen = set()
    for project in sandbox.world.projects.values():
        if project.status != 200 or len(project.media) < 2 or any(m.absent for m in project.media):
            continue
        found = items_of(api(f"/export/project/{project.key}/media", mediaIds=project.media[0].key))
        seen.add((project.honours_filter, len(found) == 1))

    assert seen == {(True, True), (False, False)}


def test_media_that_are_late_are_absent_at_first(sandbox, api):
    item = special(sandbox.world, "late 2")

    links = [link_of(api, item) for _ in range(3)]

    assert links[:2] == [None, None]
    assert links[2] is not None


def test_every_good_link_serves_the_very_file(sandbox, api):
    truth = sandbox.world.truth
    for media_id, item in list(truth.stored.items())[:60]:
        link = link_of(api, item)
        while link is None:
            link = link_of(api, item)
        answer = requests.get(link, timeout=20)
        if answer.status_code != 200 or "login" in answer.url:
            answer = requests.get(link_of(api, item), timeout=20)
        expected = truth.tables["claimx_attachments"][media_id,]
        if hashlib.sha256(answer.content).hexdigest() != expected["sha256"]:
            answer = requests.get(link_of(api, item), timeout=20)
        assert hashlib.sha256(answer.content).hexdigest() == expected["sha256"]
        assert int(answer.headers["Content-Length"]) == expected["bytes"]


def test_a_spoilt_link_is_refused_until_a_fresh_one_is_asked_for(tmp_path):
    with Sandbox(World(3, 100, 1.79e9), tmp_path) as own, requests.Session() as session:
        session.headers["Authorization"] = f"Basic {TOKEN}"

        def api(path, **params):
            return session.get(own.api_url + path, params=params, timeout=10)

        for name in ("expired1", "expired2", "revoked1", "revoked2"):
            item = special(own.world, name)
            statuses = [
                requests.get(link_of(api, item), timeout=10, allow_redirects=False).status_code
                for _ in range(4)
            ]

            refused = [403 if item.link.style == "s3" else 302] * item.link.spoilt
            assert statuses == refused + [200] * (4 - item.link.spoilt)


def test_links_are_over_after_their_life(tmp_path):
    with Sandbox(World(3, 100, 1.79e9), tmp_path, link_lifetime=0.5) as short:
        item = special(short.world, "of seven 0")
        link = short.media.link(item)  # signed a second ago, so it is over

        answer = requests.get(link, timeout=20)

    assert b'type="password"' in answer.content


def test_a_changed_link_is_refused(sandbox, api):
    link = link_of(api, special(sandbox.world, "of seven 0"))

    assert requests.get(link[:-1] + "0x", timeout=20, allow_redirects=False).status_code == 302


def test_a_transfer_can_be_resumed(sandbox, api):
    item = special(sandbox.world, "of seven 1")
    link, content = link_of(api, item), item.content()

    part = requests.get(link, headers={"Range": "bytes=100-"}, timeout=20)
    beyond = requests.get(link, headers={"Range": f"bytes={len(content)}-"}, timeout=20)

    assert part.status_code == 206
    assert part.content == content[100:]
    assert part.headers["Content-Range"] == f"bytes 100-{len(content) - 1}/{len(content)}"
    assert beyond.status_code == 416


def test_hosts_that_go_wrong_always_do(sandbox, api):
    world = sandbox.world
    logs_in = requests.get(link_of(api, special(world, "always log in")), timeout=20)
    gone = requests.get(link_of(api, special(world, "gone")), timeout=20)
    elsewhere = requests.get(
        link_of(api, special(world, "elsewhere")), timeout=20, allow_redirects=False
    )

    assert (logs_in.status_code, logs_in.headers["Content-Type"]) == (200, "image/jpeg")
    assert b"<form" in logs_in.content
    assert gone.status_code == 404
    assert elsewhere.headers["Location"].startswith("https://files.not-allowed.example/")
    assert link_of(api, special(world, "stranger")).startswith("https://files.not-allowed.example/")
    assert link_of(api, special(world, "unlinked")) is None


def test_the_token_must_never_reach_a_media_host(sandbox, api):
    link = link_of(api, special(sandbox.world, "of seven 2"))

    answer = requests.get(link, headers={"Authorization": f"Basic {TOKEN}"}, timeout=20)

    assert answer.status_code == 400


def test_videos_come_in_every_form(sandbox):
    forms = set()
    for project in sandbox.world.projects.values():
        if project.videos or project.video_shape.startswith("none"):
            body = {
                "reportType": "VIDEO_COLLABORATION",
                "projectId": project.project_id,
                "senderUsername": "",
            }
            answer = requests.post(
                f"{sandbox.api_url}/data",
                json=body,
                headers={"Authorization": f"Basic {TOKEN}"},
                timeout=20,
            )
            told = answer.json()
            forms.add(
                "list"
                if isinstance(told, list)
                else "null"
                if told is None
                else next(iter(told), "{}")
            )

    assert {"list", "null", "{}", "data", "collaborations"} <= forms


def test_tasks_tell_more_when_asked_for_everything(sandbox, api):
    number = next(iter(sandbox.world.tasks))

    assert "customTask" in api(f"/customTasks/assignment/{number}", full="true").json()
    assert "customTask" not in api(f"/customTasks/assignment/{number}").json()
    assert api("/customTasks/assignment/1", full="true").status_code == 404


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("reset", requests.ConnectionError),
        ("cut", (requests.exceptions.ChunkedEncodingError, requests.ConnectionError)),
        ("html", requests.exceptions.JSONDecodeError),
    ],
)
def test_broken_answers_break_as_they_do_in_the_field(sandbox, api, kind, error):
    project = next(iter(sandbox.world.projects))
    sandbox.plan.add(Fault.parse({"where": "api", "kind": kind, "count": 1}), 0.0)

    with pytest.raises(error):
        api(f"/export/project/{project}").json()

    assert api(f"/export/project/{project}").status_code == 200


def test_faults_are_set_seen_and_dropped_by_the_control_port(sandbox, api):
    url = f"{sandbox.control_url}/sandbox/faults"
    project = next(iter(sandbox.world.projects))
    fault = {"where": "api", "kind": "throttle", "seconds": 1, "count": 1}
    assert requests.post(url, json=fault, timeout=20).json()[0]["kind"] == "throttle"

    answer = api(f"/export/project/{project}")

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    assert requests.get(url, timeout=20).json()[0]["hits"] == 1
    assert requests.delete(url, timeout=20).json() == []
    refused = requests.post(url, json={"where": "nowhere", "kind": "reset"}, timeout=20)
    assert refused.status_code == 400
    assert "nowhere" in refused.json()["error"]


def test_statistics_count_calls_by_kind_of_path(sandbox, api):
    project = next(iter(sandbox.world.projects))
    before = requests.get(f"{sandbox.control_url}/sandbox/stats", timeout=20).json()

    api(f"/export/project/{project}")

    after = requests.get(f"{sandbox.control_url}/sandbox/stats", timeout=20).json()
    path = "GET /export/project/{id}"
    counts = [stats["services"]["api"]["paths"].get(path, 0) for stats in (before, after)]
    assert counts[1] == counts[0] + 1
    assert after["services"]["api"]["max_in_flight"] >= 1


def test_the_truth_can_be_read_over_http(sandbox):
    truth = requests.get(f"{sandbox.control_url}/sandbox/truth", timeout=20).json()

    assert len(truth["tables"]["claimx_events"]) == len(sandbox.world.truth.tables["claimx_events"])
    assert set(truth["dead"]) == set(sandbox.world.truth.dead)


def test_the_token_can_be_changed(tmp_path):
    with Sandbox(World(3, 100, 1.79e9), tmp_path) as own:
        url = f"{own.control_url}/sandbox/token"
        assert requests.post(url, json={"token": "new"}, timeout=20).ok

        number = next(iter(own.world.projects))
        old, new = (
            requests.get(
                f"{own.api_url}/export/project/{number}",
                headers={"Authorization": f"Basic {t}"},
                timeout=20,
            )
            for t in (TOKEN, "new")
        )

    assert (old.status_code, new.status_code) == (401, 200)


def test_the_command_announces_itself_and_can_be_verified_from_outside(tmp_path):
    arguments = ["--events", "100", "--seed", "4", "--data", str(tmp_path), "--faults", "typical"]

    with SandboxProcess(arguments, tmp_path / "log") as child:
        progress = requests.get(f"{child.announced['control']}/sandbox/progress", timeout=20).json()
        truth = requests.get(f"{child.announced['control']}/sandbox/truth", timeout=20).json()
        world = child.world()

    assert progress["rows"] == len(world.rows) == child.announced["rows"]
    assert truth["counts"] == world.truth.counts()
    assert set(child.environment) >= {
        "EVENTHOUSE_CLUSTER_URL",
        "CLAIMX_API_URL",
        "ONELAKE_ENDPOINT",
    }


def test_wrong_options_end_with_a_sentence(tmp_path):
    with pytest.raises(RuntimeError, match="at least 100"):
        SandboxProcess(["--events", "3", "--data", str(tmp_path)], tmp_path / "log").start()


def test_chosen_faults_depend_on_seed_and_path_and_not_on_the_order_of_requests():
    paths = [f"/project/{n}" for n in range(400)]

    def hits(seed, order):
        plan = FaultPlan(seed, typical())
        return {path for path in order if plan.choose("media", path, 10.0)}

    assert hits(1, paths) == hits(1, paths[::-1]) != hits(2, paths)
    assert 5 < len(hits(1, paths)) < 80


def test_a_fault_is_bounded_by_count_path_and_burst():
    plan = FaultPlan(1, [Fault.parse({"where": "api", "kind": "error", "count": 2, "path": "^/a"})])
    each = FaultPlan(1, [Fault.parse({"where": "api", "kind": "error", "each": 2})])
    burst = FaultPlan(1, [Fault.parse({"where": "api", "kind": "error", "every": 10, "during": 1})])

    hits = [bool(plan.choose("api", path, 0.0)) for path in ("/b", "/a", "/a", "/a")]
    bursts = [bool(burst.choose("api", "/a", now)) for now in (0.5, 1.5, 9.9, 10.5)]

    of_each = [bool(each.choose("api", path, 0.0)) for path in ("/a", "/a", "/b", "/a")]

    assert hits == [False, True, True, False]
    assert of_each == [True, True, True, False]
    assert bursts == [True, False, False, True]


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"count": -1}, {"seconds": -0.1}])
def test_a_fault_of_numbers_that_make_none_is_refused(wrong):
    with pytest.raises(ValueError, match="not negative, share is at most 1"):
        Fault.parse({"where": "api", "kind": "slow", **wrong})


def test_the_child_ends_with_the_process_that_started_it(tmp_path):
    """A caller that was killed leaves no servers behind."""
    starter = """
import os, sys
from pathlib import Path
from claimx.sandbox.process import SandboxProcess

folder = Path(sys.argv[1])
child = SandboxProcess(["--events", "100", "--data", str(folder)], folder / "log").start()
print(child.announced["control"], flush=True)
os._exit(9)
"""

    done = subprocess.run(
        [sys.executable, "-c", starter, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    url = f"{done.stdout.strip()}/sandbox/progress"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            requests.get(url, timeout=2)
        except requests.ConnectionError:
            return
        time.sleep(0.1)
    pytest.fail("the sandbox outlived its starter")


def test_a_child_whose_starter_was_gone_before_it_looked_ends_too(tmp_path):
    """It took whoever had it by then for its starter, and served for good."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    words = ["--events", "100", "--data", str(tmp_path), "--exit-with-parent", str(gone.pid)]

    done = subprocess.run(
        [sys.executable, "-m", "claimx.sandbox", *words],
        stdout=subprocess.DEVNULL,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0
