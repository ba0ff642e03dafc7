"""What every lake promises (domain page, section 4): in memory, in folders, in OneLake."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
from pathlib import Path
from time import monotonic, sleep
from typing import ClassVar
from unittest.mock import ANY
from uuid import uuid4

import pytest
from deltalake import write_deltalake

from claimx.adapters.credentials import Credentials, StorageAccess
from claimx.adapters.lake import DeltaLake, Sizes, make_lake
from claimx.adapters.lake.schema import to_arrow
from claimx.adapters.memory.lake import MemoryLake
from claimx.cli.stack import free_port
from claimx.domain.changes import Change, Source
from claimx.domain.columns import Table
from claimx.domain.ports.lake import Written
from claimx.domain.tables import ATTACHMENTS, CONTACTS, EVENTS, MEDIA, PROJECTS, TABLES, TASKS
from claimx.domain.times import EARLIEST, LATEST
from claimx.sandbox.server import Sandbox
from claimx.sandbox.world import World

SECOND = 1_000_000
T0 = 1_790_000_000 * SECOND
DAY = 86_400 * SECOND
ALL_ARE_LARGE = Sizes(direct=-1)  # changes go by way of the log
AZURITE = os.environ.get("CLAIMX_AZURITE", "")  # its program, if it is to take part


def paths_below(folder: Path) -> dict[str, str]:
    return {name: str(folder / name) for name in TABLES}


@pytest.fixture(scope="module")
def onelake(tmp_path_factory):
    with Sandbox(World(3, 100, T0 / SECOND), tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def azurite(tmp_path_factory):
    """Return the endpoint of Microsoft's emulator, which knows the account that we use locally."""
    port = free_port()
    command = [AZURITE, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent"]
    command += ["--location", str(tmp_path_factory.mktemp("azurite")), "--skipApiVersionCheck"]
    command += ["--disableTelemetry"]
    account = f"onelake:{base64.b64encode(b'claimx-loopback-only').decode()}"
    with subprocess.Popen(command, env={**os.environ, "AZURITE_ACCOUNTS": account}) as server:
        try:
            ends = monotonic() + 30
            while not listens(port):
                assert server.poll() is None, "azurite ended"
                assert monotonic() < ends, "azurite does not listen"
                sleep(0.1)
            yield f"http://127.0.0.1:{port}/onelake"
        finally:
            server.terminate()


def memory(name: str) -> int:
    """Return what the system says of this process's memory, in kB."""
    told = Path("/proc/self/status").read_text()
    return int(told.partition(f"{name}:")[2].split()[0])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


LAKES = ["memory", "delta", "large", "onelake"]


@pytest.fixture(params=LAKES + ["azurite", "azurite-large"] * bool(AZURITE))
def lake(request, tmp_path, monkeypatch):
    # a file system of its own for each test, which is not there yet
    root = f"abfss://{uuid4().hex}@onelake.dfs.fabric.microsoft.com/lh/Tables"
    paths = {name: f"{root}/{name}" for name in TABLES}
    match request.param:
        case "memory":
            return MemoryLake()
        case "delta":
            return DeltaLake(paths_below(tmp_path), sleep=lambda _: None, chance=lambda: 0.0)
        case "large":
            return DeltaLake(paths_below(tmp_path), sizes=ALL_ARE_LARGE)
        case "onelake":
            endpoint = request.getfixturevalue("onelake").onelake_url
            return make_lake(paths, endpoint, Credentials([endpoint]))
        case emulated:
            endpoint = request.getfixturevalue("azurite")
            monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", endpoint.rpartition("/")[0])
            sizes = ALL_ARE_LARGE if emulated.endswith("large") else None
            return make_lake(paths, endpoint, Emulated([endpoint]), sizes=sizes)


class Emulated(Credentials):
    """Credentials for Azurite, to which the object store makes concessions if it is told."""

    def storage_access(self, endpoint: str) -> StorageAccess:
        """Tell it: Azurite does not know ``startFrom`` of a listing (Azure/Azurite#2619)."""
        options = super().storage_access(endpoint).options
        return StorageAccess({**options, "azure_storage_use_emulator": "true"})


def answer(table: Table, at: int, event: str = "e1", time: int = 0, **values) -> Change:
    return Change(table.name, values, Source.ANSWER, event, T0 + time, T0 + at)


def fact(table: Table, event: str = "e1", time: int = 0, **values) -> Change:
    return Change(table.name, values, Source.EVENT, event, T0 + time)


def link(at: int, event: str = "e1", **values) -> Change:
    values = {"contact_type": "POLICYHOLDER", "is_primary_contact": False} | values
    return Change(CONTACTS.name, values, Source.LINK, event, T0, T0 + at)


def event_row(event_id: str, time: int = 0, **values) -> Change:
    values = {"event_id": event_id, "event_type": "X", "ingested_at": T0 + time} | values
    return Change(EVENTS.name, values, Source.RESULT, event_id, T0 + time)


def result(status: str, at: int, event: str = "e1", **values) -> Change:
    values = {"media_id": "m1", "status": status} | values
    return Change(ATTACHMENTS.name, values, Source.RESULT, event, T0, T0 + at)


def stray(lake, table: Table, **values) -> None:
    """Put a row beside the others, as a fault or another writer would."""
    row = dict.fromkeys(table.column_names) | values
    if isinstance(lake, MemoryLake):
        lake.strays.setdefault(table.name, []).append(row)
        return
    lake.ensure(table)
    handle = lake._handles[table.name]
    write_deltalake(
        handle.uri, to_arrow(table, [row]), mode="append", storage_options=handle.options()
    )


def only_row(lake, table):
    (row,) = lake.rows(table)
    return row


def counts(written: Written) -> object:
    """Return rows (inserted, updated, unchanged); what goes to a log is counted later."""
    return ANY if written.logged else (written.inserted, written.updated, written.unchanged)


def test_a_first_change_makes_a_full_row(lake):
    change = answer(PROJECTS, 5, project_id="p1", status="OPEN", year_built=1999)

    written = lake.upsert(PROJECTS, [change], T0 + 9)

    row = only_row(lake, PROJECTS)
    assert tuple(row) == PROJECTS.column_names
    assert (row["status"], row["year_built"], row["city"]) == ("OPEN", 1999, None)
    assert (row["event_id"], row["last_enriched_at"]) == ("e1", T0 + 5)
    assert row["created_at"] == row["updated_at"] == T0 + 9
    assert counts(written) == (1, 0, 0)


def test_writing_twice_changes_nothing(lake):
    changes = [
        answer(PROJECTS, 5, project_id="p1", status="OPEN"),
        fact(PROJECTS, "e2", 7, project_id="p1", policyholder_invited_at=T0 + 7),
        fact(PROJECTS, "e3", 8, project_id="p1", master_file_name="MFN"),
    ]
    first = lake.upsert(PROJECTS, changes, T0 + 9)
    before = lake.rows(PROJECTS)

    second = lake.upsert(PROJECTS, changes, T0 + 99)

    assert lake.rows(PROJECTS) == before
    assert counts(second) == (0, 0, 1)
    assert second.logged or second.version == first.version


def test_a_newer_answer_wins_and_its_null_clears(lake):
    lake.upsert(PROJECTS, [answer(PROJECTS, 5, project_id="p1", status="OPEN", city="Ulm")], T0)

    newer = answer(PROJECTS, 6, "e2", project_id="p1", status=None, city="Ulm")
    written = lake.upsert(PROJECTS, [newer], T0 + 50)

    row = only_row(lake, PROJECTS)
    assert (row["status"], row["city"], row["event_id"]) == (None, "Ulm", "e2")
    assert (row["created_at"], row["updated_at"]) == (T0, T0 + 50)
    assert counts(written) == (0, 1, 0)


def test_an_older_answer_is_stale_however_late_it_comes(lake):
    lake.upsert(PROJECTS, [answer(PROJECTS, 6, project_id="p1", status="OPEN")], T0)

    stale = answer(PROJECTS, 5, "e2", project_id="p1", status="OLD", city="Ulm")
    written = lake.upsert(PROJECTS, [stale], T0 + 50)

    row = only_row(lake, PROJECTS)
    assert (row["status"], row["city"], row["updated_at"]) == ("OPEN", None, T0)
    assert counts(written) == (0, 0, 1)


def test_a_column_that_nobody_speaks_of_stays(lake):
    lake.upsert(TASKS, [answer(TASKS, 5, assignment_id="7", status="NEW", mfn="M")], T0)

    lake.upsert(TASKS, [answer(TASKS, 6, assignment_id="7", status="DONE")], T0 + 1)

    row = only_row(lake, TASKS)
    assert (row["status"], row["mfn"]) == ("DONE", "M")


def test_the_same_answer_asked_later_moves_only_the_guard(lake):
    lake.upsert(PROJECTS, [answer(PROJECTS, 5, project_id="p1", status="OPEN")], T0)

    lake.upsert(PROJECTS, [answer(PROJECTS, 8, project_id="p1", status="OPEN")], T0 + 50)

    row = only_row(lake, PROJECTS)
    assert (row["last_enriched_at"], row["updated_at"]) == (T0 + 8, T0)


def test_facts_of_events_are_ordered_by_their_own_time(lake):
    for time in (3, 9, 6):
        lake.upsert(
            PROJECTS,
            [fact(PROJECTS, f"e{time}", time, project_id="p1", policyholder_joined_at=T0 + time)],
            T0 + 100 + time,
        )

    row = only_row(lake, PROJECTS)
    assert (row["policyholder_joined_at"], row["event_id"]) == (T0 + 9, "e9")
    assert row["last_enriched_at"] is None


def test_a_row_that_a_fact_made_takes_any_answer(lake):
    lake.upsert(PROJECTS, [fact(PROJECTS, "e9", 9, project_id="p1", xa_autolink_fail=True)], T0)

    lake.upsert(PROJECTS, [answer(PROJECTS, 1, project_id="p1", status="OPEN")], T0 + 1)

    row = only_row(lake, PROJECTS)
    assert (row["xa_autolink_fail"], row["status"]) == (True, "OPEN")
    assert row["last_enriched_at"] == T0 + 1


def test_answers_asked_at_one_time_are_ordered_by_their_events(lake):
    tied = [
        answer(PROJECTS, 5, "e2", 2, project_id="p1", status="second"),
        answer(PROJECTS, 5, "e1", 1, project_id="p1", status="first"),
    ]

    lake.upsert(PROJECTS, tied, T0)
    assert only_row(lake, PROJECTS)["status"] == "second"

    lake.upsert(PROJECTS, [answer(PROJECTS, 5, "e3", 3, project_id="p1", status="third")], T0)
    assert only_row(lake, PROJECTS)["status"] == "third"


def test_what_sticks_is_filled_by_the_newest_of_the_stale(lake):
    lake.upsert(MEDIA, [answer(MEDIA, 9, media_id="m1", task_assignment_id=None)], T0)
    stale = [answer(MEDIA, at, media_id="m1", task_assignment_id=f"{at}") for at in (3, 5, 4)]

    lake.upsert(MEDIA, stale, T0)
    assert only_row(lake, MEDIA)["task_assignment_id"] == "5"

    lake.upsert(MEDIA, [answer(MEDIA, 10, media_id="m1", task_assignment_id=None)], T0)
    assert only_row(lake, MEDIA)["task_assignment_id"] == "5"


def test_what_sticks_is_replaced_by_a_newer_answer_that_says_something(lake):
    for at, task in ((5, "1"), (6, "2"), (7, None)):
        lake.upsert(MEDIA, [answer(MEDIA, at, media_id="m1", task_assignment_id=task)], T0 + at)

    assert only_row(lake, MEDIA)["task_assignment_id"] == "2"


def test_the_null_of_a_media_item_clears_though_a_task_led_to_it(lake):
    """It is the contact of a link alone that keeps what the customer's null would clear."""
    said = {"media_id": "m1", "task_assignment_id": "1", "media_comment": "roof"}
    lake.upsert(MEDIA, [answer(MEDIA, 5, **said)], T0)

    lake.upsert(MEDIA, [answer(MEDIA, 6, **(said | {"media_comment": None}))], T0 + 1)

    row = only_row(lake, MEDIA)
    assert (row["task_assignment_id"], row["media_comment"]) == ("1", None)


def test_the_null_of_a_link_clears_nothing(lake):
    said = {"project_id": "p1", "contact_email": "a@b.c", "task_assignment_id": "1"}
    lake.upsert(CONTACTS, [link(5, first_name="Ada", last_name="A", **said)], T0)

    lake.upsert(CONTACTS, [link(6, "e2", first_name=None, last_name="B", **said)], T0 + 1)

    row = only_row(lake, CONTACTS)
    assert (row["first_name"], row["last_name"], row["event_id"]) == ("Ada", "B", "e2")


def test_a_row_names_the_newest_event_whose_data_it_holds(lake):
    invited = fact(PROJECTS, "e8", 8, project_id="p1", policyholder_invited_at=T0 + 8)
    joined = fact(PROJECTS, "e9", 9, project_id="p1", policyholder_joined_at=T0 + 9)

    lake.upsert(PROJECTS, [joined], T0)
    lake.upsert(PROJECTS, [invited], T0)
    lake.upsert(PROJECTS, [answer(PROJECTS, 50, "e1", 1, project_id="p1", status="OPEN")], T0)
    assert only_row(lake, PROJECTS)["event_id"] == "e9"

    lake.upsert(PROJECTS, [answer(PROJECTS, 60, "e12", 12, project_id="p1", status="OPEN")], T0)
    assert only_row(lake, PROJECTS)["event_id"] == "e12"


class TestNamesOfProjects:
    def test_a_name_from_an_mfn_event_outlives_every_answer(self, lake):
        lake.upsert(PROJECTS, [fact(PROJECTS, "e1", 5, project_id="p1", master_file_name="E")], T0)

        for at in (9, 10):
            named = answer(PROJECTS, at, f"a{at}", project_id="p1", master_file_name=f"API{at}")
            lake.upsert(PROJECTS, [named], T0 + at)
        lake.upsert(
            PROJECTS, [answer(PROJECTS, 11, "a11", project_id="p1", master_file_name=None)], T0 + 11
        )

        assert only_row(lake, PROJECTS)["master_file_name"] == "E"

    def test_it_holds_against_an_answer_in_its_own_batch(self, lake):
        changes = [
            fact(PROJECTS, "e1", 5, project_id="p1", master_file_name="E"),
            answer(PROJECTS, 9, "e1", 5, project_id="p1", master_file_name="API"),
        ]

        lake.upsert(PROJECTS, changes, T0)

        assert only_row(lake, PROJECTS)["master_file_name"] == "E"

    def test_of_two_mfn_events_the_newer_holds_in_either_order(self, lake):
        for project, times in (("p1", (5, 8)), ("p2", (8, 5))):
            for time in times:
                name = fact(
                    PROJECTS, f"e{time}", time, project_id=project, master_file_name=str(time)
                )
                lake.upsert(PROJECTS, [name], T0)

        assert {row["master_file_name"] for row in lake.rows(PROJECTS)} == {"8"}

    def test_it_replaces_a_name_that_the_api_gave(self, lake):
        lake.upsert(PROJECTS, [answer(PROJECTS, 9, project_id="p1", master_file_name="API")], T0)

        lake.upsert(PROJECTS, [fact(PROJECTS, "e1", 5, project_id="p1", master_file_name="E")], T0)

        assert only_row(lake, PROJECTS)["master_file_name"] == "E"

    def test_without_an_mfn_event_the_newer_answer_names(self, lake):
        for at in (5, 9, 7):
            named = answer(PROJECTS, at, project_id="p1", master_file_name=str(at))
            lake.upsert(PROJECTS, [named], T0)

        assert only_row(lake, PROJECTS)["master_file_name"] == "9"


class TestOnePolicyholderFromTwoSources:
    KEY: ClassVar = {"project_id": "p1", "contact_email": "a@b.c", "contact_type": "POLICYHOLDER"}

    def customer(self, at: int, **values) -> Change:
        return answer(CONTACTS, at, "c", **(self.KEY | {"is_primary_contact": True} | values))

    def link(self, at: int, **values) -> Change:
        return link(at, "l", **(self.KEY | {"is_primary_contact": False} | values))

    @pytest.mark.parametrize("order", ["together", "customer first", "link first"])
    @pytest.mark.parametrize(("asked", "linked"), [(5, 9), (9, 5)])
    def test_the_customer_owns_the_row_and_the_link_fills_it(self, lake, order, asked, linked):
        customer = self.customer(asked, first_name="Ada", last_name=None, phone_number=None)
        through = self.link(linked, first_name="A.", last_name="L.", task_assignment_id="7")
        batches = {
            "together": [[through, customer]],
            "customer first": [[customer], [through]],
            "link first": [[through], [customer]],
        }[order]

        for batch in batches:
            lake.upsert(CONTACTS, batch, T0)

        row = only_row(lake, CONTACTS)
        assert (row["first_name"], row["last_name"]) == ("Ada", "L.")
        assert (row["task_assignment_id"], row["is_primary_contact"]) == ("7", True)
        assert row["last_enriched_at"] == T0 + asked

    def test_a_link_alone_is_not_primary(self, lake):
        lake.upsert(CONTACTS, [self.link(5, first_name="A.", task_assignment_id="7")], T0)

        row = only_row(lake, CONTACTS)
        assert (row["is_primary_contact"], row["first_name"]) == (False, "A.")

    def test_between_links_the_newer_wins(self, lake):
        lake.upsert(CONTACTS, [self.link(9, first_name="New", task_assignment_id="8")], T0)

        old = self.link(5, first_name="Old", last_name="Name", task_assignment_id="7")
        lake.upsert(CONTACTS, [old], T0)

        row = only_row(lake, CONTACTS)
        assert (row["first_name"], row["last_name"], row["task_assignment_id"]) == (
            "New",
            "Name",
            "8",
        )

    @pytest.mark.parametrize("asked", [5, 9])
    def test_of_several_links_the_newest_fills_what_the_customer_lacks(self, lake, asked):
        """Whether they are newer than the customer's data or older."""
        lake.upsert(CONTACTS, [self.customer(asked, phone_number=None)], T0)
        links = [self.link(at, phone_number=str(at), task_assignment_id="7") for at in (6, 7)]

        lake.upsert(CONTACTS, links, T0)

        assert only_row(lake, CONTACTS)["phone_number"] == "7"

    def test_a_customers_null_clears_where_no_link_has_been(self, lake):
        lake.upsert(CONTACTS, [self.customer(5, phone_number="1")], T0)

        lake.upsert(CONTACTS, [self.customer(9, phone_number=None)], T0)

        assert only_row(lake, CONTACTS)["phone_number"] is None

    def test_a_link_names_its_task_on_the_customers_row(self, lake):
        """The newest does, also where its event asked for the customer as well."""
        for at, task in ((5, "7"), (9, "8")):
            lake.upsert(CONTACTS, [self.customer(at), self.link(at, task_assignment_id=task)], T0)

        row = only_row(lake, CONTACTS)
        assert (row["task_assignment_id"], row["is_primary_contact"]) == ("8", True)

    def named(self, at: int, name: str) -> Change:
        return fact(CONTACTS, f"mfn{at}", at, **self.KEY, master_file_name=name)

    @pytest.mark.parametrize("order", [(5, 8), (8, 5)])
    def test_the_newest_mfn_event_names_the_policyholder_whatever_comes_later(self, lake, order):
        """Its project keeps the name; the API's came back with the next answer."""
        names = {5: "OLD", 8: "NEW"}
        for asked, at in enumerate(order, 10):
            told = self.customer(asked, master_file_name=f"API{asked}")
            lake.upsert(CONTACTS, [told, self.named(at, names[at])], T0)
        for asked in (20, 21):
            lake.upsert(CONTACTS, [self.customer(asked, master_file_name=f"API{asked}")], T0)
            assert only_row(lake, CONTACTS)["master_file_name"] == "NEW"

        lake.upsert(CONTACTS, [self.customer(22, master_file_name=None)], T0)
        assert only_row(lake, CONTACTS)["master_file_name"] == "NEW"
        assert only_row(lake, CONTACTS)["last_enriched_at"] == T0 + 22

    def test_a_policyholder_who_comes_after_the_mfn_event_has_its_name(self, lake):
        """A customer's address may change, and with it the row's key."""
        named = fact(PROJECTS, "e", 4, project_id="p1", master_file_name="MFN")
        lake.upsert(PROJECTS, [named], T0)
        lake.large.fold(PROJECTS, lambda: True)

        for asked in (9, 12):
            lake.upsert(CONTACTS, [self.customer(asked, master_file_name="API")], T0)

            assert only_row(lake, CONTACTS)["master_file_name"] == "MFN"

    @pytest.mark.parametrize("before", ["a link", "another answer", "the same answer"])
    def test_who_was_there_before_it_has_its_name_once_more_is_said_of_them(self, lake, before):
        """The event names the policyholder of that moment; these were somebody else then."""
        known = {"another answer": "API1", "the same answer": "API"}.get(before)
        said = self.link(1) if known is None else self.customer(1, master_file_name=known)
        lake.upsert(CONTACTS, [said], T0)
        named = fact(PROJECTS, "e", 4, project_id="p1", master_file_name="MFN")
        lake.upsert(PROJECTS, [named], T0)
        lake.large.fold(PROJECTS, lambda: True)

        lake.upsert(CONTACTS, [self.customer(9, master_file_name="API")], T0)
        lake.large.fold(CONTACTS, lambda: True)

        assert only_row(lake, CONTACTS)["master_file_name"] == "MFN"

    def test_a_representative_has_a_name_of_their_own(self, lake):
        key = self.KEY | {"contact_type": "CLAIM_REP"}
        lake.upsert(PROJECTS, [fact(PROJECTS, "e", 4, project_id="p1", master_file_name="MFN")], T0)
        for asked in (5, 9):
            told = answer(CONTACTS, asked, **key, master_file_name=f"T-{asked}")
            lake.upsert(CONTACTS, [told], T0)

            assert only_row(lake, CONTACTS)["master_file_name"] == f"T-{asked}"

    def test_a_representative_may_stop_being_primary(self, lake):
        key = self.KEY | {"contact_type": "CLAIM_REP"}
        lake.upsert(CONTACTS, [answer(CONTACTS, 5, **key, is_primary_contact=True)], T0)

        lake.upsert(CONTACTS, [answer(CONTACTS, 9, **key, is_primary_contact=False)], T0)

        assert only_row(lake, CONTACTS)["is_primary_contact"] is False


class TestAttachments:
    def test_a_later_success_replaces_a_failure_with_its_error(self, lake):
        lake.upsert(
            ATTACHMENTS, [result("failed", 5, error="x", error_category="PERMANENT")], T0 + 6
        )

        lake.upsert(
            ATTACHMENTS, [result("completed", 9, "e2", bytes=3, uploaded_at=T0 + 9)], T0 + 10
        )

        row = only_row(lake, ATTACHMENTS)
        assert (row["status"], row["error"], row["bytes"]) == ("completed", None, 3)
        assert (row["event_id"], row["created_at"], row["updated_at"]) == ("e2", T0 + 6, T0 + 10)

    @pytest.mark.parametrize("together", [True, False])
    def test_a_failure_never_replaces_a_success(self, lake, together):
        done = result("completed", 5, bytes=3, uploaded_at=T0 + 5)
        failed = result("failed", 9, "e2", error="x")

        for batch in [[done, failed]] if together else [[done], [failed]]:
            lake.upsert(ATTACHMENTS, batch, T0 + 6)

        row = only_row(lake, ATTACHMENTS)
        assert (row["status"], row["error"], row["event_id"]) == ("completed", None, "e1")

    def test_of_two_failures_the_newer_stands(self, lake):
        lake.upsert(ATTACHMENTS, [result("failed", 5, error="first")], T0 + 6)
        lake.upsert(ATTACHMENTS, [result("failed", 9, error="second")], T0 + 10)

        lake.upsert(ATTACHMENTS, [result("failed", 5, error="first")], T0 + 11)

        assert only_row(lake, ATTACHMENTS)["error"] == "second"


class TestMediaWithoutAttachment:
    def media(self, lake, *ids: str, at: int = 5, **values) -> None:
        values = {"project_id": "p1", "downloadable": True} | values
        lake.upsert(MEDIA, [answer(MEDIA, at, media_id=one, **values) for one in ids], T0)

    def attached(self, lake, *ids: str, status: str = "completed") -> None:
        changes = [result(status, 5, media_id=one, uploaded_at=T0) for one in ids]
        lake.upsert(ATTACHMENTS, changes, T0)

    def found(self, lake, limit: int = 10, *args) -> list[str]:
        return [row["media_id"] for row in lake.unattached_media(limit, *args)]

    def test_it_is_found_with_its_whole_row(self, lake):
        self.media(lake, "m1", "m2", file_name="Roof.jpg")
        self.attached(lake, "m2")

        (row,) = lake.unattached_media(10)

        assert row in lake.rows(MEDIA)
        assert (row["media_id"], row["file_name"], row["event_id"]) == ("m1", "Roof.jpg", "e1")
        assert row["last_enriched_at"] == T0 + 5

    def test_a_failed_row_counts_as_there(self, lake):
        self.media(lake, "m1")
        self.attached(lake, "m1", status="failed")

        assert self.found(lake) == []

    def test_or_as_missing_for_who_wants_what_is_not_completed(self, lake):
        self.media(lake, "m1", "m2", "m3")
        self.attached(lake, "m1", status="failed")
        self.attached(lake, "m2")

        found = lake.unattached_media(10, failed_too=True)

        assert [row["media_id"] for row in found] == ["m1", "m3"]

    def test_of_a_row_that_was_written_anew_too(self, lake):
        """A merge gives texts another Arrow type: the question failed, and recovery for ever."""
        self.media(lake, "m1", "m2")
        self.attached(lake, "m1", "m2", status="failed")
        lake.upsert(ATTACHMENTS, [result("failed", 9, media_id="m1", error="again")], T0)
        lake.upsert(ATTACHMENTS, [result("completed", 9, media_id="m2")], T0)

        found = lake.unattached_media(10, failed_too=True)

        assert [row["media_id"] for row in found] == ["m1"]

    @pytest.mark.parametrize("downloadable", [False, None])
    def test_without_a_link_there_is_nothing_to_attach(self, lake, downloadable):
        self.media(lake, "m1", downloadable=downloadable)

        assert self.found(lake) == []

    def test_before_the_first_attachment_all_are_without(self, lake):
        assert self.found(lake) == []

        self.media(lake, "m2", "m1")

        assert self.found(lake) == ["m1", "m2"]

    def test_they_come_in_pages_in_the_order_of_their_ids(self, lake):
        self.media(lake, *"edcba", "日", "\U0001f600")
        self.attached(lake, "b")

        assert self.found(lake, 2) == ["a", "c"]
        assert self.found(lake, 2, "c") == ["d", "e"]
        assert self.found(lake, 2, "e") == ["日", "\U0001f600"]
        assert self.found(lake, 2, "\U0001f600") == []

    def test_those_enriched_later_may_be_left_out(self, lake):
        self.media(lake, "old", at=5)
        self.media(lake, "new", at=6)

        assert self.found(lake, 10, "", T0 + 5) == ["old"]

    def test_those_enriched_earlier_may_be_left_out_too(self, lake):
        for name, at in (("a", 5), ("b", 6), ("c", 7 * SECOND), ("d", 90 * DAY)):
            self.media(lake, name, at=at)
        stray(lake, MEDIA, media_id="timeless", downloadable=True)

        found = lake.unattached_media(10, "", T0 + DAY, enriched_after=T0 + 5)

        assert [row["media_id"] for row in found] == ["b", "c", "timeless"]


class TestEvents:
    def test_the_first_row_of_an_event_stands(self, lake):
        lake.upsert(EVENTS, [event_row("a", handler="one")], T0 + 1)

        again = lake.upsert(EVENTS, [event_row("a", handler="two"), event_row("b")], T0 + 2)

        rows = {row["event_id"]: row for row in lake.rows(EVENTS)}
        assert {name: row["handler"] for name, row in rows.items()} == {"a": "one", "b": None}
        assert rows["a"]["created_at"] == rows["a"]["updated_at"] == T0 + 1
        assert (again.inserted, again.unchanged) == (1, 1)

    def test_a_duplicate_with_another_day_is_the_same_event(self, lake):
        lake.upsert(EVENTS, [event_row("a")], T0)

        lake.upsert(EVENTS, [event_row("a", time=9 * DAY)], T0)

        assert only_row(lake, EVENTS)["ingested_at"] == T0

    def test_one_event_twice_in_a_batch_is_one_row_in_any_order(self, lake):
        lake.upsert(
            EVENTS, [event_row("a", 5, handler="new"), event_row("a", 1, handler="old")], T0
        )

        assert only_row(lake, EVENTS)["handler"] == "old"

    def test_the_partition_is_the_utc_day_of_the_events_time(self, lake):
        lake.upsert(EVENTS, [event_row("a")], T0)

        assert only_row(lake, EVENTS)["event_date"] == "2026-09-21"

    def test_known_events_are_those_among_the_days(self, lake):
        lake.upsert(EVENTS, [event_row("a"), event_row("b", 3 * DAY)], T0)

        assert lake.known_events(["a", "b", "c"], T0, T0 + DAY) == {"a"}
        assert lake.known_events(["a", "b", "c"], T0, T0 + 3 * DAY) == {"a", "b"}
        assert lake.known_events([], T0, T0 + DAY) == set()

    def test_among_all_days_that_there_are_it_is_as_quick(self, lake):
        """Of events years apart, one of them of 9999, each day was listed: seconds, and 300 MB."""
        lake.upsert(EVENTS, [event_row("a"), event_row("b", LATEST - T0)], T0)

        Path("/proc/self/clear_refs").write_text("5")  # the most so far is what it is now
        before = memory("VmRSS")
        known = lake.known_events(["a", "b", "c"], EARLIEST, LATEST)

        assert known == {"a", "b"}
        assert memory("VmHWM") - before < 100_000

    def test_recent_events_come_newest_first(self, lake):
        rows = [event_row(name, time) for name, time in [("a", 0), ("b", 2 * DAY), ("c", DAY)]]
        lake.upsert(EVENTS, rows, T0)

        assert lake.recent_events(T0, T0 + 2 * DAY, 10) == ["b", "c", "a"]
        assert lake.recent_events(T0 + 1, T0 + 2 * DAY, 1) == ["b"]

    def test_a_table_that_is_not_there_knows_nothing(self, lake):
        assert lake.known_events(["a"], T0, T0 + DAY) == set()
        assert lake.recent_events(T0, T0 + DAY, 5) == []
        assert lake.rows(EVENTS) == []


class TestRefusedChanges:
    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ({"media_id": None}, "claimx_media: the key (media_id) is incomplete"),
            ({"media_id": ""}, "claimx_media: the key (media_id) is incomplete"),
            ({"media_id": "m2", "nonsense": 1}, "claimx_media: there is no column 'nonsense'"),
            ({"media_id": "m2", "event_id": "e"}, "claimx_media.event_id: the lake keeps"),
            ({"media_id": "m2", "latitude": "north"}, "claimx_media.latitude: expected a number"),
            ({"media_id": "m2", "file_name": 5}, "claimx_media.file_name: expected text"),
            ({"media_id": "m2", "file_name": "\ud800"}, "claimx_media.file_name: holds a lone"),
            ({"media_id": "m2", "taken_date": 2**62}, "claimx_media.taken_date: beyond the years"),
            ({"media_id": "m2", "taken_date": 2**64}, "claimx_media.taken_date: beyond 64 bits"),
            ({"media_id": "m2", "downloadable": 1}, "claimx_media.downloadable: expected true"),
        ],
    )
    def test_one_bad_change_is_told_and_the_rest_is_written(self, lake, values, reason):
        bad = answer(MEDIA, 5, **values)
        good = [answer(MEDIA, 5, media_id=name, file_name=name) for name in ("m1", "m3")]

        written = lake.upsert(MEDIA, [good[0], bad, good[1]], T0)

        ((change, why),) = written.refused
        assert change is bad
        assert why.startswith(reason)
        assert sorted(row["media_id"] for row in lake.rows(MEDIA)) == ["m1", "m3"]

    @pytest.mark.parametrize(
        ("good", "bad"),
        [
            (fact(PROJECTS, project_id="p", policyholder_joined_at=T0), "joined on Monday"),
            (event_row("p"), "Monday"),
            (event_row("p"), 2**70),
            (event_row("p"), 2**62),
        ],
    )
    def test_one_is_told_also_where_it_cannot_be_compared_with_the_others(self, lake, good, bad):
        """All that was in a batch with it failed, and waited, and failed again."""
        table, key = TABLES[good.table], TABLES[good.table].key[0]
        name = "ingested_at" if table is EVENTS else [*good.values][1]
        wrong = Change(table.name, good.values | {name: bad}, good.source, "e2", T0 - 1)
        other = Change(table.name, good.values | {key: "q"}, good.source, "e3", T0 + 2)

        written = lake.upsert(table, [wrong, good, other], T0)

        ((change, why),) = written.refused
        assert change is wrong
        assert why.startswith(f"{table.name}.{name}: ")
        found = {row[key]: row[name] for row in lake.rows(table)}
        assert found == {"p": good.values[name], "q": good.values[name]}

    def test_a_batch_of_bad_changes_writes_nothing(self, lake):
        written = lake.upsert(MEDIA, [answer(MEDIA, 5, media_id="m1", latitude="x")], T0)

        assert len(written.refused) == 1
        assert lake.rows(MEDIA) == []


def test_an_empty_batch_is_nothing(lake):
    written = lake.upsert(MEDIA, [], T0)

    assert (written.inserted, written.updated, written.refused) == (0, 0, ())


def test_ensure_makes_an_empty_table_and_keeps_a_full_one(lake):
    for table in TABLES.values():
        lake.ensure(table)
        lake.ensure(table)
    lake.upsert(MEDIA, [answer(MEDIA, 5, media_id="m1")], T0)

    lake.ensure(MEDIA)

    assert len(lake.rows(MEDIA)) == 1
    assert lake.rows(TASKS) == []


@pytest.mark.parametrize(
    "text",
    [
        "O'Hara",
        "a\\b",
        'x"y',
        "日本",
        "a b;--",
        "%_",
        "\u202e",
        "\n",
        "z" * 300,
        "日" * 99,
        "\U0010ffff" * 40,
        "\U0010ffff" * 99,
        "\U00020bb7野家",
    ],
)
def test_any_text_is_a_key(lake, text):
    for at in (5, 6):
        lake.upsert(MEDIA, [answer(MEDIA, at, media_id=text, file_name=f"{at}")], T0)

    assert (only_row(lake, MEDIA)["media_id"], only_row(lake, MEDIA)["file_name"]) == (text, "6")


class TestAudit:
    """What holds the tables against each other."""

    def events(self, lake, **times: int) -> None:
        lake.upsert(EVENTS, [event_row(name, time) for name, time in times.items()], T0)

    def ids(self, rows) -> list[str]:
        return sorted(row["event_id"] for row in rows)

    def test_events_are_found_by_id_among_own_times(self, lake):
        self.events(lake, a=0, b=1, c=2, d=9 * DAY)
        names = ["a", "b", "c", "d", "nobody"]

        assert self.ids(lake.audit.events(names, T0 + 1, T0 + 2)) == ["b", "c"]
        assert self.ids(lake.audit.events(["a", "d"], T0, T0 + 9 * DAY)) == ["a", "d"]
        assert lake.audit.events([], T0, T0 + DAY) == []

    def test_an_event_tells_what_it_was(self, lake):
        told = {"project_id": "p", "media_id": "1", "media_ids": '["2"]'}
        lake.upsert(EVENTS, [event_row("a", 7, event_type="T", **told, handler="h")], T0)

        (row,) = lake.audit.events(["a"], T0, T0 + DAY)

        assert row == told | {
            "event_id": "a",
            "event_type": "T",
            "task_assignment_id": None,
            "ingested_at": T0 + 7,
        }

    def test_a_doubled_event_comes_twice_and_one_without_a_time_always(self, lake):
        self.events(lake, a=0)
        stray(lake, EVENTS, event_id="a", ingested_at=T0, event_date="2026-09-21")
        stray(lake, EVENTS, event_id="b")

        assert self.ids(lake.audit.events(["a", "b"], T0, T0)) == ["a", "a", "b"]
        assert self.ids(lake.audit.events(["a", "b"], T0 + DAY, T0 + DAY)) == ["b"]

    def test_own_times_may_be_any_that_a_calendar_has(self, lake):
        first, last = -62_135_596_800_000_000, 253_402_300_799_999_999
        self.events(lake, early=first - T0, now=0, late=last - T0)

        assert self.ids(lake.audit.events(["early", "late"], first, last)) == ["early", "late"]
        assert lake.audit.other_events([], first - 1, last, 10) == ["early", "late", "now"]
        assert lake.audit.other_events([], first, last - 1, 10) == ["now"]

    def test_other_events_are_those_in_the_range_that_are_not_known(self, lake):
        self.events(lake, a=0, b=1, c=2, d=3, e=4 * DAY)
        stray(lake, EVENTS, event_id="c", ingested_at=T0 + 2, event_date="2026-09-21")
        known = ["b", "elsewhere"]

        assert lake.audit.other_events(known, T0, T0 + 3, 10) == ["c", "d"]
        assert lake.audit.other_events(known, T0, T0 + 3, 2) == ["c", "d"]  # c is there twice
        assert lake.audit.other_events(known, T0, T0 + 3, 1) == ["c"]
        assert lake.audit.other_events(known, T0, T0 + 3, 1, "c") == ["d"]
        assert lake.audit.other_events([], T0 - 1, T0 + 4 * DAY, 10) == [*"abcde"]

    @pytest.mark.parametrize("table", [EVENTS, MEDIA, ATTACHMENTS])
    def test_repeated_keys_are_found_in_order(self, lake, table):
        key, time = table.key[0], {EVENTS: "ingested_at", MEDIA: "last_enriched_at"}.get(table)
        for name, at in (("b", 1), ("a", 1), ("b", 1), ("c", 1), ("a", 2), ("a", 1), ("d", 1)):
            stray(lake, table, **{key: name, time or "updated_at": T0 + at})

        assert lake.audit.repeated(table, T0, T0 + 2, 10) == ["a", "b"]
        assert lake.audit.repeated(table, T0, T0 + 2, 1) == ["a"]
        assert lake.audit.repeated(table, T0, T0 + 2, 1, "a") == ["b"]
        assert lake.audit.repeated(table, T0 + 1, T0 + 2, 10) == []

    def test_media_are_looked_up_in_either_table(self, lake):
        lake.upsert(MEDIA, [answer(MEDIA, 5, media_id=one) for one in ("1", "2")], T0)
        lake.upsert(ATTACHMENTS, [result("failed", 5, media_id="2")], T0)

        assert lake.audit.media_in(MEDIA, ["1", "2", "3"]) == {"1", "2"}
        assert lake.audit.media_in(ATTACHMENTS, ["1", "2", "3"]) == {"2"}
        assert lake.audit.media_in(MEDIA, []) == set()

    def test_attachments_without_media_are_found_with_what_they_name(self, lake):
        lake.upsert(MEDIA, [answer(MEDIA, 5, media_id="2")], T0)
        done = [
            result("completed", 5, "e9", media_id=one, project_id="p", uploaded_at=T0)
            for one in ("3", "2", "1")
        ]
        lake.upsert(ATTACHMENTS, done, T0 + 5)
        late = [result("completed", 5, media_id="4", uploaded_at=T0)]
        lake.upsert(ATTACHMENTS, late, T0 + 5 * DAY)
        stray(lake, ATTACHMENTS, media_id="timeless")

        rows = lake.audit.attachments_without_media(T0, T0 + 5, 10)

        assert [row["media_id"] for row in rows] == ["1", "3", "timeless"]
        assert rows[0] == {
            "media_id": "1",
            "project_id": "p",
            "event_id": "e9",
            "status": "completed",
        }
        assert [
            row["media_id"] for row in lake.audit.attachments_without_media(T0, T0 + 5, 1, "1")
        ] == ["3"]

    def test_an_attachment_of_which_nothing_new_is_said_is_of_its_old_time(self, lake):
        for at, names in ((5, "abc"), (9, "bcd")):
            done = [result("completed", 5, media_id=one, uploaded_at=T0) for one in names]
            lake.upsert(ATTACHMENTS, done, T0 + at)
            if at == 5:
                lake.large.fold(ATTACHMENTS, lambda: True)

        rows = lake.audit.attachments_without_media(T0 + 5, T0 + 9, 1)

        assert [row["media_id"] for row in rows] == ["d"]

    def test_tables_that_are_not_there_have_no_rows(self, lake):
        audit = lake.audit

        assert audit.events(["a"], T0, T0 + DAY) == []
        assert audit.other_events([], T0, T0 + DAY, 10) == []
        assert audit.repeated(EVENTS, T0, T0 + DAY, 10) == []
        assert audit.media_in(ATTACHMENTS, ["1"]) == set()
        assert audit.attachments_without_media(T0, T0 + DAY, 10) == []

    def test_any_text_is_looked_up(self, lake):
        names = ["O'Hara", "a\\b", "日本", "%_", "\U0010ffff" * 40]
        self.events(lake, **dict.fromkeys(names, 5))

        assert self.ids(lake.audit.events(names, T0, T0 + DAY)) == sorted(names)
        assert lake.audit.other_events(names[:3], T0, T0 + DAY, 10) == sorted(names[3:])
