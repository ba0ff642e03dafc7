"""How commands print: data that programs can read, and text that does nothing to a terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson
import pytest

from claimx.cli.output import clean, moment, near, note, program, show

ROWS = [
    {"name": "claimx_media", "rows": 7, "left": None, "note": "a \x1b[31mred\x1b[0m name"},
    {"name": "claimx_tasks", "rows": 12, "left": 1, "note": ""},
]
COLUMNS = ["name", "rows", "left"]


def test_json_carries_everything_and_the_version_of_its_form(capsys):
    show("tables", ROWS, COLUMNS, "json")

    assert orjson.loads(capsys.readouterr().out) == {"schema_version": 1, "tables": ROWS}


def test_jsonl_is_one_object_a_line(capsys):
    show("tables", ROWS, COLUMNS, "jsonl")

    assert [orjson.loads(line) for line in capsys.readouterr().out.splitlines()] == ROWS


def test_a_table_has_its_columns_numbers_to_the_right_and_nulls_blank(capsys):
    show("tables", ROWS, COLUMNS, "table")

    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "name          rows  left",
        "claimx_media     7",
        "claimx_tasks    12  1",
    ]


def test_no_rows_are_no_fault(capsys):
    show("tables", [], COLUMNS, "table")
    show("tables", [], COLUMNS, "jsonl")

    assert capsys.readouterr().out.split() == COLUMNS


def test_a_wide_row_is_not_cut_where_no_terminal_sets_a_width(capsys):
    """An id without its end is of no use; a pipe has no width."""
    show("letters", [{"id": "e:" + "x" * 150, "error": "y" * 40}], ["id", "error"], "table")

    assert "x" * 150 in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong", ["\x1b[2J", "\x07", "\r", "\x7f", "\x9b31m", "\u202e", "\u2066", "\x00"]
)
def test_text_from_outside_does_nothing_to_a_terminal(capsys, wrong):
    """Names and errors are others' words: they could hide a line, or rewrite one."""
    show("letters", [{"error": f"before{wrong}after"}], ["error"], "table")
    note(f"before{wrong}after")

    said = capsys.readouterr()
    assert wrong[0] not in said.out + said.err
    assert "\N{REPLACEMENT CHARACTER}" in said.out
    assert said.err.startswith("before\N{REPLACEMENT CHARACTER}")


def test_lines_and_tabs_and_letters_of_any_kind_stay():
    assert clean("Łukasik\t日本\n2") == "Łukasik\t日本\n2"
    assert clean(7) == "7"


def test_what_is_no_data_goes_to_standard_error(capsys):
    """Else it would stand in the file that a program reads."""
    note("nothing differs")

    assert capsys.readouterr() == ("", "nothing differs\n")


def test_a_moment_is_told_in_utc():
    assert moment(1_700_000_000.9) == "2023-11-14T22:13:20Z"


def test_a_path_is_as_short_as_it_can_be_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert near(tmp_path / "var" / "demo") == Path("var/demo")
    assert near(Path("/elsewhere")) == Path("/elsewhere")


@pytest.mark.parametrize("installed", [True, False])
def test_the_program_is_called_as_it_can_be_called_again(tmp_path, monkeypatch, installed):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    if installed:
        (tmp_path / "bin" / "claimx").touch()
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.chdir(tmp_path)

    assert program() == ("bin/claimx" if installed else "bin/python -m claimx")
