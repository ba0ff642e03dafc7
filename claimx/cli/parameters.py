"""What options of several commands take, beside what click has."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import Any

import click

from claimx.domain.times import Micros, from_datetime, from_seconds
from claimx.setting_types import BEYOND_RECKONING, span_seconds, within_reckoning


class Moment(click.ParamType[Micros]):
    """A time as ISO 8601 (no zone is UTC), or a span back from now such as ``2h``."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> Micros:
        """Return microseconds UTC."""
        try:
            span = span_seconds(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)
        if span is not None:
            return from_seconds(time.time() - span)
        try:
            found = datetime.fromisoformat(value.strip())
        except ValueError:
            what = "neither a time such as 2026-01-31T08:00Z nor a span back such as 2h"
            self.fail(f"{value!r} is {what}", param, ctx)
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        if not within_reckoning(found):
            self.fail(f"{value!r} {BEYOND_RECKONING}", param, ctx)
        return from_datetime(found)


class Finite(click.FloatRange):
    """A number in a range: click takes ``nan`` for one in every range, and nothing is above it."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return the number."""
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return float(found)
