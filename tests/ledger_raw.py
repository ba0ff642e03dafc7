"""Everything that the ledger keeps in a Redis, read raw and all at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import redis

FACTS = (
    "kind stage state due lease until attempts tries entry pending "
    "since admitted entered losses replays notes fresh trace affinity category error"
).split()
"""The facts of a record in the order in which they are packed (``lua/common.lua``)."""
LAYOUT = "<sssdsdIIsBdddIIBBssss"

# KEYS[1] is the root, ARGV[1] the layout. One script: nothing changes meanwhile, and nobody else is
# served.
_SCRIPT = """
local root = KEYS[1]
local answer, met, cursor = {}, {}, '0'
local function put(...) for _, part in ipairs({ ... }) do answer[#answer + 1] = part end end
local function text(value)
  return type(value) == 'number' and string.format('%.17g', value) or tostring(value)
end
local function pairs_of(family, name, list)
  for n = 1, #list, 2 do put(family, name, list[n], list[n + 1]) end
end

local function record(part, name, value)
  put('has', name, part, tostring(#value))
  if part == 'facts' then
    local unpacked = { pcall(struct.unpack, ARGV[1], value) }
    local ends = table.remove(unpacked)
    if not unpacked[1] or ends ~= #value + 1 then return put('odd', name, 'facts', 'unreadable') end
    for at = 2, #unpacked do put('fact', name, tostring(at - 1), text(unpacked[at])) end
  elseif part == 'history' then
    local _, lines = string.gsub(value, '\\n', '\\n')
    put('lines', name, '', tostring(value == '' and 0 or lines + 1))
  elseif part == 'failure' then
    put('failure', name, '', value)
  end
end

local parts = { facts = true, data = true, rows = true, history = true, failure = true }

local function stream(key)
  for _, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do
    put('entry', entry[1], entry[2][1], entry[2][2])
  end
  local from = '-'
  while from do
    local found = redis.pcall('XPENDING', key, 'writers', from, '+', 10000)
    if found.err then return end
    for _, one in ipairs(found) do put('pending', one[1], one[2], '') end
    from = #found == 10000 and '(' .. found[#found][1] or nil
  end
end

repeat
  local step = redis.call('SCAN', cursor, 'MATCH', root .. ':*', 'COUNT', 1000)
  cursor = step[1]
  for _, key in ipairs(step[2]) do
    if not met[key] then
      met[key] = true
      local family, name = string.match(string.sub(key, #root + 2), '^([^:]+):?(.*)$')
      if family == 'record' and parts[name] then
        local list = redis.call('HGETALL', key)
        for n = 1, #list, 2 do record(name, list[n], list[n + 1]) end
      elseif family == 'look' or family == 'dead' then
        pairs_of(family, name, redis.call('ZRANGE', key, 0, -1, 'WITHSCORES'))
      elseif family == 'n' or family == 'cursor' then
        pairs_of(family, name, redis.call('HGETALL', key))
      elseif family == 'rows' then
        stream(key)
      elseif family == 'seen' and name == '' then
        pairs_of('slices', name, redis.call('HGETALL', key))
      elseif family == 'seen' then
        put('seen', name, tostring(redis.call('TTL', key)), tostring(redis.call('HLEN', key)))
      else
        put('other', key, '', '')
      end
    end
  end
until cursor == '0'
return answer
"""


@dataclass(slots=True)
class RawRecord:
    """A record's facts by name, as they were packed, and how long each part is that is there."""

    facts: dict[str, Any] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    lines: int = 0
    failure: str = ""
    odd: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        """Return a fact."""
        try:
            return self.facts[name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass(slots=True)
class Raw:
    """What the keys below a root hold; *seen* are hashes: (seconds to live, how many ids)."""

    records: dict[str, RawRecord] = field(default_factory=dict)
    look: dict[str, dict[str, float]] = field(default_factory=dict)
    dead: dict[str, float] = field(default_factory=dict)
    entries: dict[str, tuple[str, str]] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    counters: dict[str, str] = field(default_factory=dict)
    cursors: dict[str, dict[str, str]] = field(default_factory=dict)
    slices: dict[str, int] = field(default_factory=dict)
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    other: list[str] = field(default_factory=list)


def read_raw(client: redis.Redis, prefix: str = "claimx") -> Raw:
    """Read all keys of the ledger below *prefix*, as they are at one moment."""
    raw = Raw()
    for family, name, part, value in _rows(client.eval(_SCRIPT, 1, f"{{{prefix}:0}}", LAYOUT)):
        _put(raw, family, name, part, value)
    return raw


def _put(raw: Raw, family: str, name: str, part: str, value: str) -> None:
    match family:
        case "fact" | "has" | "lines" | "failure" | "odd":
            _put_record(raw.records.setdefault(name, RawRecord()), family, part, value)
        case "look":
            raw.look.setdefault(name, {})[part] = float(value)
        case "dead":
            raw.dead[part] = float(value)
        case "entry":
            raw.entries[name] = (part, value)
        case "pending":
            raw.pending[name] = part
        case "n":
            raw.counters[part] = value
        case "cursor":
            raw.cursors.setdefault(name, {})[part] = value
        case "slices":
            raw.slices[part] = int(value)
        case "seen":
            raw.seen[name] = (int(part), int(value))
        case _:
            raw.other.append(name)


def _put_record(record: RawRecord, family: str, part: str, value: str) -> None:
    match family:
        case "fact":
            at = int(part) - 1
            if at >= len(FACTS):
                record.odd.append(f"fact {part}")
                return
            record.facts[FACTS[at]] = value if FACTS[at] in _TEXTS else float(value)
        case "has":
            record.lengths[part] = int(value)
        case "lines":
            record.lines = int(value)
        case "failure":
            record.failure = value
        case _:
            record.odd.append(f"{part} {value}")


_TEXTS = frozenset("kind stage state lease trace affinity entry category error".split())


def _rows(flat: list[Any]) -> Iterator[tuple[str, ...]]:
    parts = (
        part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part) for part in flat
    )
    return zip(*[parts] * 4, strict=True)
