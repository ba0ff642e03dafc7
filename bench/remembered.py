"""
What it costs Redis to remember an id for a day: ``make bench-remembered``.

The ledger's own script beside a key for each id, on ids of 34 characters. The first slice of a new
Redis is left out, as it cannot know how many ids will come. Ends with one line of JSON: bytes and
microseconds of Redis an id, and gigabytes at 10 million and a billion events a day (an id is kept
for a day and up to half a day more).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import redis

from claimx.cli.stack import Stack

IDS = 400_000
DAY = 86_400
STEP = 500
KEPT_DAYS = 1.25  # on average: a slice of half a day goes as a whole
NOW = 1_800_000_000.0
_COMMON = (files("claimx.adapters.ledger") / "lua" / "common.lua").read_text()
_OURS = _COMMON + "\nfor at = 3, #ARGV do remember(ARGV[at], tonumber(ARGV[2])) end\nflush()"
_KEYS = """
for at = 3, #ARGV do
  redis.call('SET', KEYS[1] .. ':seen:' .. ARGV[at], '', 'NX', 'EX', ARGV[2])
end"""


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--ids", type=int, default=IDS)
    options = parser.parse_args(arguments)
    chance = random.Random(7)
    ids = [f"e:{chance.getrandbits(128):032x}" for _ in range(options.ids)]
    with tempfile.TemporaryDirectory(prefix="claimx-remembered-") as folder:
        stack = Stack(Path(folder))
        try:
            client = redis.Redis.from_url(stack.start_redis())
            keys = measured(client, _KEYS, ids, NOW)
            client.flushall()
            measured(client, _OURS, ids, NOW)
            ours = measured(client, _OURS, [f"{one}-" for one in ids], NOW + DAY / 2)
        finally:
            stack.stop()
    line = {
        "bytes": round(ours[0], 1),
        "us": round(ours[1], 1),
        "bytes_with_a_key_each": round(keys[0], 1),
        "us_with_a_key_each": round(keys[1], 1),
        "gb_10m_a_day": round(ours[0] * KEPT_DAYS * 10e6 / 1e9, 2),
        "gb_1b_a_day": round(ours[0] * KEPT_DAYS, 1),
    }
    print(json.dumps(line))
    return 0


def measured(client: Any, source: str, ids: Sequence[str], now: float) -> tuple[float, float]:
    """Remember *ids*; returns bytes and microseconds of Redis's CPU for each."""
    script = client.register_script(source)
    bytes_before, cpu_before = _used(client)
    for at in range(0, len(ids), STEP):
        script(keys=["{claimx:0}"], args=[now, DAY, *ids[at : at + STEP]])
    bytes_after, cpu_after = _used(client)
    return (bytes_after - bytes_before) / len(ids), 1e6 * (cpu_after - cpu_before) / len(ids)


def _used(client: Any) -> tuple[float, float]:
    cpu = client.info("cpu")
    seconds = float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])
    return float(client.info("memory")["used_memory"]), seconds


if __name__ == "__main__":
    sys.exit(main())
