"""The sandbox's world: deterministic, complete, and sure of its own truth."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest

from claimx.domain.columns import ColumnType
from claimx.domain.tables import TABLES
from claimx.sandbox.matchers import (
    ANY,
    PRESENT,
    Matcher,
    between,
    json_ids,
    matches,
    one_of,
    safe_path,
)
from claimx.sandbox.mixes import MIX
from claimx.sandbox.truth import compare, verify_files
from claimx.sandbox.world import World

AT = 1_790_000_000
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def world():
    return World(11, 600, AT)


def concrete(value):
    """Return some value that the truth accepts, for a lake made from the truth itself."""
    if not isinstance(value, Matcher):
        return value
    for candidate in (None, "x", 1, 0, 2, "[]"):
        if value.accepts(candidate):
            return candidate
    cells = value.accepts.__closure__ or ()
    for cell in cells:
        found = cell.cell_contents
        if isinstance(found, list):
            return concrete(found[0])
        if isinstance(found, str):
            return found
        if isinstance(found, tuple):
            ids = next(one for one in found if one is not None)
            return "[" + ", ".join(f'"{one}"' for one in ids) + "]"
    raise AssertionError(value)


@pytest.fixture
def lake(world):
    """A lake that is as the truth says."""
    tables = {
        name: [{column: concrete(value) for column, value in row.items()} for row in rows.values()]
        for name, rows in world.expected().items()
    }
    for row, wanted in zip(
        tables["claimx_attachments"], world.expected()["claimx_attachments"].values(), strict=True
    ):
        if isinstance(wanted["blob_path"], Matcher) and row["status"] == "completed":
            row["blob_path"] = f"{row['project_id']}/media/{row['media_id']}_x.jpg"
            if not wanted["blob_path"].accepts(row["blob_path"]):
                row["blob_path"] = concrete(wanted["blob_path"])
    return tables


def test_the_same_seed_and_moment_make_the_same_world(world):
    again, other = World(11, 600, AT), World(12, 600, AT)

    assert again.rows == world.rows != other.rows
    assert again.truth.counts() == world.truth.counts()
    assert repr(again.expected()) == repr(world.expected())
    assert [m.content() for m in again.media.values()] == [
        m.content() for m in world.media.values()
    ]


def test_every_event_ends_in_exactly_one_way(world):
    truth = world.truth
    ends = Counter()
    for group in (truth.enriched, truth.unhandled, set(truth.dead)):
        ends.update(group)

    keys = {event.key for event in world.events}
    assert set(ends) == keys
    assert set(ends.values()) == {1}
    assert truth.shadowed <= keys
    assert {key for (key,) in truth.tables["claimx_events"]} == truth.enriched | truth.unhandled


def test_every_row_of_the_source_belongs_to_an_event(world):
    rows = Counter(row.values.get("event_id") or row.values.get("eventId") for row in world.rows)

    assert set(rows) == {event.event_id for event in world.events}
    assert sum(rows.values()) > len(world.events)


def test_the_mix_is_the_typical_one():
    world = World(1, 5000, AT, specials=False)

    types = Counter(str(event.type).strip().upper() for event in world.events)

    weight = sum(MIX.values())
    for name, share in MIX.items():
        assert types[name] == pytest.approx(5000 * share / weight, rel=0.05, abs=3)


def test_source_habits_all_occur(world):
    rows = world.rows
    assert any(row.values.get("eventId") for row in rows)
    assert any(not row.values.get("event_id") and not row.values.get("eventId") for row in rows)
    assert any(isinstance(row.values.get("project_id"), int) for row in rows)
    assert any(isinstance(row.values.get("project_id"), str) for row in rows)
    assert any(isinstance(row.values.get("media_ids"), str) for row in rows)
    assert any(isinstance(row.values.get("media_ids"), list) for row in rows)
    assert any(event.without_time for event in world.events)
    assert any(row.visible_at > AT for row in rows)
    assert all(row.ingestion.timestamp() < AT for row in rows)


def test_late_rows_appear_late_with_an_older_ingestion_time(world):
    late = [row for row in world.rows if row.visible_at > AT]

    assert late
    assert all(row.ingestion.timestamp() < AT - 5 for row in late)
    assert max(row.visible_at for row in late) < AT + 60


def test_with_a_rate_rows_appear_over_time():
    world = World(1, 200, AT, rate=50)

    spread = world.last_visible - world.first_visible
    assert 3.5 < spread < 60
    assert all(row.visible_at >= row.ingestion.timestamp() for row in world.rows)


def test_an_event_without_an_id_is_named_by_the_hash_of_its_parts(world):
    event = next(e for e in world.events if e.event_id is None and e.media_id is not None)
    time = event.ingestion.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    text = f"{event.project}|{event.type.strip().upper()}|{time}|media:{event.media_id}"

    assert event.key == hashlib.sha256(text.encode()).hexdigest()


def test_values_have_the_type_of_their_column(world):
    kinds = {
        ColumnType.TEXT: str,
        ColumnType.INTEGER: int,
        ColumnType.DOUBLE: float,
        ColumnType.BOOLEAN: bool,
        ColumnType.TIME: datetime,
        ColumnType.DAY: date,
    }
    for name, rows in world.expected().items():
        for row in rows.values():
            assert tuple(row) == TABLES[name].column_names
            for column in TABLES[name].columns:
                value = row[column.name]
                if value is not None and not isinstance(value, Matcher):
                    assert isinstance(value, kinds[column.type]), (name, column.name, value)
                    if isinstance(value, datetime):
                        assert value.tzinfo is UTC


def test_most_columns_are_known_and_used(world):
    """A truth of nulls and wildcards would prove nothing."""
    for name, rows in world.expected().items():
        for column in TABLES[name].columns:
            values = [row[column.name] for row in rows.values()]
            if (name, column.name) == ("claimx_contacts", "video_collaboration_id"):
                continue  # nothing fills it
            assert any(value is not None for value in values), (name, column.name)


def test_each_kind_of_trouble_is_there(world):
    truth = world.truth
    assert {d.categories for d in truth.dead.values()} == {("PERMANENT",), ("TRANSIENT",)}
    assert len(truth.dead) >= 12
    assert len(truth.failed) == 6
    assert len(truth.unhandled) == 5
    assert "twice-told" in truth.shadowed & truth.enriched
    unlinked = [r for r in truth.tables["claimx_media"].values() if r["downloadable"] is False]
    assert unlinked
    assert not {(r["media_id"],) for r in unlinked} & set(truth.tables["claimx_attachments"])
    assert 0 in {r["bytes"] for r in truth.tables["claimx_attachments"].values()}
    alone = [r for r in truth.tables["claimx_projects"].values() if r["last_enriched_at"] is None]
    assert len(alone) == 1
    assert alone[0]["xa_autolink_fail"] is True
    assert alone[0]["status"] is None


def test_a_lake_as_the_truth_says_has_no_differences(world, lake):
    assert compare(world.expected(), lake) == []


def test_without_faults_the_tries_are_exact(world, lake):
    for row in lake["claimx_events"]:
        row["attempts"] = 2

    assert not world.verify(lake)
    found = world.verify(lake, faults=False)
    assert len(found) > len(lake["claimx_events"]) / 2
    assert {difference.column for difference in found} == {"attempts"}


@pytest.mark.parametrize("name", sorted(TABLES))
def test_missing_surplus_doubled_and_wrong_rows_are_found(world, lake, name):
    rows = lake[name]
    lost, wrong = rows.pop(0), rows[0]
    rows.append(dict(rows[1]))
    stranger = {**rows[2], **dict.fromkeys(TABLES[name].key, "stranger")}
    rows.append(stranger)
    column = next(
        c.name
        for c in TABLES[name].columns
        if c.name not in TABLES[name].key
        and not isinstance(world.expected()[name][_key(name, wrong)][c.name], Matcher)
    )
    wrong[column] = datetime(1999, 1, 1, tzinfo=UTC)

    problems = {(d.problem, d.key) for d in world.verify(lake)}

    assert problems == {
        ("missing row", _key(name, lost)),
        ("doubled row", _key(name, rows[1])),
        ("surplus row", _key(name, stranger)),
        ("wrong value", _key(name, wrong)),
    }


def _key(name, row):
    return tuple(str(row[column]) for column in TABLES[name].key)


def test_files_are_compared_with_what_was_served(world, lake, tmp_path):
    for row in lake["claimx_attachments"]:
        if row["status"] == "completed":
            path = tmp_path / row["blob_path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(world.truth.stored[row["media_id"]].content())
    assert verify_files(world, lake, tmp_path) == []
    first, second = list(world.truth.stored)[:2]
    paths = {r["media_id"]: tmp_path / str(r["blob_path"]) for r in lake["claimx_attachments"]}

    paths[first].write_bytes(b"other")
    paths[second].unlink()
    (tmp_path / "left over.tmp").write_bytes(b"x")

    problems = sorted(d.problem for d in verify_files(world, lake, tmp_path))
    assert problems[:2] == ["missing file", f"surplus file {tmp_path / 'left over.tmp'}"]
    assert problems[2] == "wrong file"


def test_media_have_the_first_bytes_of_their_kind(world):
    heads = {
        "jpg": b"\xff\xd8\xff",
        "png": b"\x89PNG\r\n\x1a\n",
        "pdf": b"%PDF-",
        "gif": b"GIF8",
        "docx": b"PK\x03\x04",
    }
    seen = set()
    for item in world.media.values():
        content = item.content()
        if item.kind in heads:
            assert content.startswith(heads[item.kind])
            seen.add(item.kind)
        if item.kind in {"mp4", "mov", "heic"}:
            assert content[4:8] == b"ftyp"
            seen.add(item.kind)
        if item.kind != "empty":
            assert 200 < len(content) < 140_000

    assert {"jpg", "png", "pdf", "mp4"} <= seen


@pytest.mark.parametrize(
    ("expected", "accepted", "refused"),
    [
        (ANY, [None, 1, "x"], []),
        (PRESENT, ["", 0, False], [None]),
        (one_of(["a", None]), ["a", None], ["b", ""]),
        (between(1, 3), [1, 3], [0, 4, True, 2.0, None]),
        (between(0), [0, 10**9], [-1, False]),
        (json_ids(["1", "2"]), ['[1, "2"]'], ["[2]", "1,2", None, '["2", "1"]']),
        (json_ids(None, ["1"]), [None, '["1"]'], ["[]"]),
        (1, [1], [True, "1", None, 2]),
        (True, [True], [1, "true", None]),
        (0.3, [0.1 + 0.2], [0.31, None, "0.3"]),
        (None, [None], ["", 0, False]),
        (MOMENT, [MOMENT], [MOMENT + timedelta(microseconds=1), None]),
        (
            safe_path("7/media", "9", (".jpg",)),
            ["7/media/9_ok.jpg", "7/media/9.jpg"],
            [
                "8/media/9_x.jpg",
                "7/media/9_a/b.jpg",
                "7/media/9_\u202ex.jpg",
                "7/media/9_x.png",
                f"7/media/9_{'a' * 147}.jpg",
                None,
            ],
        ),
    ],
    ids=repr,
)
def test_matchers_accept_what_they_say_and_nothing_else(expected, accepted, refused):
    assert [value for value in accepted if not matches(expected, value)] == []
    assert [value for value in refused if matches(expected, value)] == []


def test_one_choice_is_the_value_itself():
    assert one_of(["a", "a"]) == "a"


@pytest.mark.parametrize(
    "wrong", [{"events": 99}, {"smallest": 10}, {"smallest": 5000, "largest": 400}]
)
def test_a_world_that_cannot_be_made_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        World(1, **{"events": 100, **wrong})
