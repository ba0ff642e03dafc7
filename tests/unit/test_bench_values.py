"""The floor converts values as claimx does, or its speed would mean nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from pipelines.values import converter, link_end

from claimx.domain.links import expiry
from claimx.domain.reader import converter_of
from claimx.domain.tables import MEDIA, PROJECTS, VIDEO_COLLABORATION
from claimx.domain.values import Unconvertible
from claimx.sandbox.forms import Vendor

MOMENT = datetime(2026, 3, 4, 5, 6, 7, 890123, UTC)
WRITTEN = {
    PROJECTS.column("created_date"): lambda v: v.moment(MOMENT + timedelta(days=v.rng.random())),
    PROJECTS.column("project_id"): lambda v: v.ident(v.rng.randrange(10**9), nulls=0.1),
    PROJECTS.column("year_built"): lambda v: v.whole(v.rng.randrange(2100)),
    PROJECTS.column("street1"): lambda v: v.text("1 Elm Street", nulls=0.2),
    PROJECTS.column("custom_attribute1"): lambda v: v.ident(v.rng.randrange(99), nulls=0.1),
    PROJECTS.column("xa_autolink_fail"): lambda v: v.flag(value=v.maybe(0.5)),
    MEDIA.column("latitude"): lambda v: v.real(round(v.rng.uniform(-90, 90), 6)),
    VIDEO_COLLABORATION.column("session_count"): lambda v: v.whole(3),
}


@pytest.mark.parametrize("column", WRITTEN, ids=lambda column: column.name)
def test_it_reads_what_the_vendor_writes_as_claimx_does(column):
    vendor = Vendor(Random(5))
    ours, theirs = converter_of(column), converter(column)

    for _ in range(500):
        raw, _ = WRITTEN[column](vendor)
        try:
            expected = ours(raw)
        except Unconvertible:
            expected = None
        assert theirs(raw) == expected, raw


@pytest.mark.parametrize(
    "link",
    [
        "http://127.0.0.1/x?systemDate=1790000000000&expires=3600000&sign=ab",
        "http://127.0.0.1/s3/1.jpg?X-Amz-Date=20260304T050607Z&X-Amz-Expires=3600&X-Amz-Signature=a",
        "http://127.0.0.1/open/1.jpg",
    ],
)
def test_a_link_ends_when_claimx_says_so(link):
    assert link_end(link) == expiry(link)
