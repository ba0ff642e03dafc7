"""A name is known only at the version at which it was read or written."""

from __future__ import annotations

from claimx.adapters.lake.known_names import KnownNames
from claimx.domain.upsert import NamedBy


def name(time: int) -> NamedBy:
    return NamedBy(time, f"e{time}", f"MFN {time}")


def test_what_was_read_is_known_at_that_version_also_that_there_is_no_name():
    known = KnownNames()
    known.at("table", 4)

    known.learn({"p": name(1), "q": None})

    assert known.at("table", 4) == {"p": name(1), "q": None}


def test_at_another_version_nothing_is_known():
    known = KnownNames()
    known.at("table", 4)
    known.learn({"p": name(1)})

    assert known.at("table", 5) == {}
    assert known.at("table", 4) == {}


def test_a_table_that_was_made_anew_is_another_at_the_same_version():
    known = KnownNames()
    known.at("table", 4)
    known.learn({"p": name(1)})

    assert known.at("another", 4) == {}


def test_our_own_commit_leaves_what_was_known_and_changes_its_own_names():
    known = KnownNames()
    known.at("table", 4)
    known.learn({"p": name(1), "q": None, "r": None})

    known.committed(5, {"q": name(2)})

    assert known.at("table", 5) == {"p": name(1), "q": name(2), "r": None}


def test_a_commit_of_ours_after_one_of_others_leaves_only_its_own_names():
    known = KnownNames()
    known.at("table", 4)
    known.learn({"p": name(1)})

    known.committed(6, {"q": name(2)})

    assert known.at("table", 6) == {"q": name(2)}


def test_a_commit_to_a_table_made_anew_makes_nothing_known_of_the_old_one():
    """The new table may reach the very version that follows the one which was known."""
    known = KnownNames()
    known.at("table", 4)
    known.learn({"p": name(1)})

    known.committed(5, {"q": name(2)})

    assert known.at("another", 5) == {}


def test_no_more_is_kept_than_there_is_room_for():
    known = KnownNames(most=2)
    known.at("table", 4)
    known.learn({"p": None, "q": None})

    known.learn({"r": None})
    assert known.at("table", 4) == {"r": None}

    known.learn(dict.fromkeys("stu"))
    assert len(known.at("table", 4)) <= 2
