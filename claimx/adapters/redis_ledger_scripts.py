"""
The ledger's steps as Lua: each runs alone in Redis, so each is one change of state.

Keys below one hash tag:
``r:<id>`` a record (hash), ``look:<stage>`` when the redriver looks at a record again (sorted set,
also the index of a stage), ``dead`` dead letters by time, ``seen:<id>`` dedup, ``kept:<id>`` media
that were recorded, ``count`` totals, ``n`` how many records are in which state, ``cp:<cursor>``
checkpoints, ``rows`` the lake stream with the group ``lake``.

Fields of a record: k kind, s stage, st state, a attempts, y tries, d data, rw rows, t trace,
adm admitted at, due, ls lease, lu lease until, lo losses, w waiting since, af affinity, f failure,
h history (a JSON object a line), en stream entry, died, re replays.
"""

from __future__ import annotations

# ARGV[1] is the prefix, ARGV[2] the clock (empty: Redis's own).
_HEAD = """
local P, now = ARGV[1], tonumber(ARGV[2])
if not now then local t = redis.call('TIME'); now = tonumber(t[1]) + tonumber(t[2]) / 1e6 end
local NOW = string.format('%.6f', now)
local counts, states = {}, {}
local function count(name, by) counts[name] = (counts[name] or 0) + by end
local function state(name, by) states[name] = (states[name] or 0) + by end
local function at(stage, st, attempts, by)
  state('s|' .. stage .. '|' .. st, by)
  if (tonumber(attempts) or 0) > 0 then state('a|' .. stage .. '|' .. attempts, by) end
end
local function save()
  for name, by in pairs(counts) do redis.call('HINCRBY', P .. 'count', name, by) end
  for name, by in pairs(states) do
    if by ~= 0 and redis.call('HINCRBY', P .. 'n', name, by) == 0 then
      redis.call('HDEL', P .. 'n', name)
    end
  end
end
local function time(value) return string.format('%.6f', value) end
local GRACE, HISTORY = 5, 20
local function remember(key, line)
  local old = redis.call('HGET', key, 'h')
  local all = old and (old .. '\\n' .. line) or line
  local _, lines = string.gsub(all, '\\n', '')
  while lines >= HISTORY do
    all = string.sub(all, string.find(all, '\\n', 1, true) + 1)
    lines = lines - 1
  end
  redis.call('HSET', key, 'h', all)
end
local function stream(id, key)
  local entry = redis.call('XADD', P .. 'rows', '*', 'id', id)
  redis.call('HSET', key, 'en', entry)
end
local function create(id, kind, stage, data, trace)
  local key = P .. 'r:' .. id
  redis.call('HSET', key, 'k', kind, 's', stage, 'st', 'ready', 'a', '0', 'y', '0', 'd', data,
    't', trace, 'adm', NOW, 'due', NOW)
  redis.call('ZADD', P .. 'look:' .. stage, time(now + GRACE), id)
  count(kind .. '.admitted', 1)
  state('k|' .. kind, 1)
  at(stage, 'ready', 0, 1)
end
local function bury(id, key, kind, failure)
  redis.call('HSET', key, 'st', 'dead', 'f', failure, 'died', NOW)
  redis.call('HDEL', key, 'ls', 'lu', 'w', 'lo')
  redis.call('ZADD', P .. 'dead', NOW, id)
  state('k|' .. kind, -1)
  state('d|' .. kind, 1)
  remember(key, failure)
end
"""

# KEYS: none beyond the tag. ARGV: cursor, expected version ('' for none), time, fence,
# number of pages, then id, data, trace, stage for each.
STORE_PAGE = (
    _HEAD
    + """
local key = P .. 'cp:' .. ARGV[3]
local held = redis.call('HMGET', key, 't', 'v', 'f')
if (held[2] or '') ~= ARGV[4] then return false end
local fence = tonumber(ARGV[6])
if held[3] and fence < tonumber(held[3]) then return false end
local moved = ARGV[5]
if held[1] and tonumber(held[1]) > tonumber(moved) then moved = held[1] end
local version = (tonumber(held[2] or '0')) + 1
redis.call('HSET', key, 't', moved, 'v', version, 'f', math.max(fence, tonumber(held[3] or '0')))
local i = 8
for _ = 1, tonumber(ARGV[7]) do
  if redis.call('EXISTS', P .. 'r:' .. ARGV[i]) == 0 then
    create(ARGV[i], 'page', ARGV[i + 3], ARGV[i + 1], ARGV[i + 2])
  end
  i = i + 4
end
save()
return {moved, version}
"""
)

# ARGV: page id, lease, seen seconds, number of events, then id, stage, data, trace each;
# number of dead ones, then id, stage, data, trace, failure each.
ADMIT = (
    _HEAD
    + """
local page = P .. 'r:' .. ARGV[3]
local held = redis.call('HMGET', page, 'ls', 's', 'st', 'a')
if held[1] ~= ARGV[4] then return false end
local window = math.max(1, math.floor(tonumber(ARGV[5])))
local i, new, dead, known = 7, {}, 0, 0
local function first(id)
  if redis.call('EXISTS', P .. 'r:' .. id) == 1 then return false end
  return redis.call('SET', P .. 'seen:' .. id, '', 'NX', 'EX', window)
end
for _ = 1, tonumber(ARGV[6]) do
  if first(ARGV[i]) then
    create(ARGV[i], 'event', ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
    new[#new + 1] = ARGV[i]
  else
    known = known + 1
  end
  i = i + 4
end
for _ = 1, tonumber(ARGV[i]) do
  if first(ARGV[i + 1]) then
    create(ARGV[i + 1], 'event', ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
    redis.call('ZREM', P .. 'look:' .. ARGV[i + 2], ARGV[i + 1])
    at(ARGV[i + 2], 'ready', 0, -1)
    bury(ARGV[i + 1], P .. 'r:' .. ARGV[i + 1], 'event', ARGV[i + 5])
    dead = dead + 1
  else
    known = known + 1
  end
  i = i + 5
end
redis.call('DEL', page)
redis.call('ZREM', P .. 'look:' .. held[2], ARGV[3])
at(held[2], held[3], held[4], -1)
state('k|page', -1)
count('page.recorded', 1)
if known > 0 then count('event.duplicate', known) end
save()
return {new, known, dead}
"""
)

# ARGV: stage, lease seconds, lease token, most losses, failure of a lost record, then ids.
CLAIM = (
    _HEAD
    + """
local stage, look = ARGV[3], P .. 'look:' .. ARGV[3]
local ends = time(now + tonumber(ARGV[4]))
local taken = {}
for i = 8, #ARGV do
  local id = ARGV[i]
  local key = P .. 'r:' .. id
  local r = redis.call('HMGET', key, 's', 'st', 'due', 'lu', 'lo', 'a', 'k', 'd', 'y', 't', 'adm',
    'w', 'rw')
  local dead = r[2] == 'dead'
  local ours = (r[1] == stage and not dead) or (dead and stage == 'write' and r[13])
  if ours and not (r[4] and tonumber(r[4]) > now) and not (r[3] and tonumber(r[3]) > now) then
    local lost = r[2] == 'leased' and (tonumber(r[5] or '0') + 1) or tonumber(r[5] or '0')
    if not dead and lost >= tonumber(ARGV[6]) then
      redis.call('ZREM', look, id)
      at(stage, r[2], r[6], -1)
      bury(id, key, r[7], string.gsub(ARGV[7], '"at":0', '"at":' .. NOW))
      if r[13] then redis.call('HDEL', key, 'rw') end
    else
      redis.call('HSET', key, 'ls', ARGV[5], 'lu', ends, 'lo', lost)
      if not dead and r[2] ~= 'leased' then
        redis.call('HSET', key, 'st', 'leased')
        at(stage, r[2], r[6], -1)
        at(stage, 'leased', r[6], 1)
      end
      redis.call('ZADD', look, ends, id)
      taken[#taken + 1] = {id, r[7], r[8], r[6], r[9], r[10], r[11], r[12] or '', r[13] or '',
        dead and 'dead' or 'leased'}
    end
  end
end
save()
return {NOW, taken}
"""
)

# ARGV: lease seconds, consumer, then id, lease, stage each.
RENEW = (
    _HEAD
    + """
local ends, kept, entries = time(now + tonumber(ARGV[3])), {}, {}
for i = 5, #ARGV, 3 do
  local key = P .. 'r:' .. ARGV[i]
  local r = redis.call('HMGET', key, 'ls', 'en')
  if r[1] == ARGV[i + 1] then
    redis.call('HSET', key, 'lu', ends)
    redis.call('ZADD', P .. 'look:' .. ARGV[i + 2], ends, ARGV[i])
    kept[#kept + 1] = ARGV[i]
    if ARGV[i + 2] == 'write' and r[2] then entries[#entries + 1] = r[2] end
  end
end
-- an entry that its consumer still works on must not look idle, or another would take it over
if #entries > 0 and ARGV[4] ~= '' then
  redis.pcall('XCLAIM', P .. 'rows', 'lake', ARGV[4], 0, unpack(entries), 'JUSTID')
end
return kept
"""
)

# ARGV: id, lease, stage each.
RELEASE = (
    _HEAD
    + """
for i = 3, #ARGV, 3 do
  local key = P .. 'r:' .. ARGV[i]
  local r = redis.call('HMGET', key, 'ls', 'st', 'a')
  if r[1] == ARGV[i + 1] then
    redis.call('HDEL', key, 'ls', 'lu')
    if r[2] ~= 'dead' then
      redis.call('HSET', key, 'st', 'ready', 'due', NOW)
      at(ARGV[i + 2], r[2], r[3], -1)
      at(ARGV[i + 2], 'ready', r[3], 1)
    end
    redis.call('ZADD', P .. 'look:' .. ARGV[i + 2], NOW, ARGV[i])
  end
end
save()
"""
)

# ARGV: number of outcomes, then for each: what, id, lease, stage, to, data ('' keeps), rows,
# affinity, delay, failure, number of spawned, then id, kind, stage, data, trace, revive each.
SETTLE = (
    _HEAD
    + """
local i, done = 4, {}
for n = 1, tonumber(ARGV[3]) do
  local what, id, lease, stage, to = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local data, rows, affinity, delay = ARGV[i + 5], ARGV[i + 6], ARGV[i + 7], tonumber(ARGV[i + 8])
  local failure, spawned = ARGV[i + 9], tonumber(ARGV[i + 10])
  i = i + 11
  local key = P .. 'r:' .. id
  local r = redis.call('HMGET', key, 'ls', 's', 'st', 'a', 'k', 'y', 'w')
  local ours = r[1] == lease and r[2] == stage and r[3] ~= 'dead'
  done[n] = ours and 1 or 0
  if ours then
    local due, attempts = now + delay, tonumber(r[4])
    at(stage, r[3], r[4], -1)
    redis.call('HDEL', key, 'ls', 'lu')
    if data ~= '' then redis.call('HSET', key, 'd', data) end
    if what == 'advance' then
      redis.call('HSET', key, 's', to, 'st', 'ready', 'a', '0', 'due', time(due), 'af', affinity)
      redis.call('HDEL', key, 'w', 'lo')
      redis.call('ZREM', P .. 'look:' .. stage, id)
      redis.call('ZADD', P .. 'look:' .. to, time(due + (delay > 0 and 0 or GRACE)), id)
      if to == 'write' then
        redis.call('HSET', key, 'rw', rows)
        stream(id, key)
      end
      at(to, 'ready', 0, 1)
    elseif what == 'bury' then
      redis.call('ZREM', P .. 'look:' .. stage, id)
      redis.call('HINCRBY', key, 'y', 1)
      bury(id, key, r[5], failure)
      if rows ~= '' then
        redis.call('HSET', key, 'rw', rows, 'due', NOW)
        redis.call('ZADD', P .. 'look:write', time(now + GRACE), id)
        stream(id, key)
      else
        redis.call('HDEL', key, 'rw')
      end
    else
      if what == 'retry' then
        attempts = attempts + 1
        redis.call('HSET', key, 'st', 'retrying', 'a', attempts)
        redis.call('HINCRBY', key, 'y', 1)
        redis.call('HDEL', key, 'w')
        remember(key, failure)
      else
        redis.call('HSET', key, 'st', 'waiting', 'w', r[7] or NOW)
        if not r[7] then remember(key, failure) end
      end
      redis.call('HSET', key, 'due', time(due), 'f', failure)
      redis.call('HDEL', key, 'lo')
      redis.call('ZADD', P .. 'look:' .. stage, time(due), id)
      at(stage, what == 'retry' and 'retrying' or 'waiting', attempts, 1)
    end
  end
  for _ = 1, spawned do
    if ours then
      local new, kind, stage2 = ARGV[i], ARGV[i + 1], ARGV[i + 2]
      local other = P .. 'r:' .. new
      local st = redis.call('HGET', other, 'st')
      if st == 'dead' then
        if ARGV[i + 5] == '1' then
          redis.call('HSET', other, 's', stage2, 'st', 'ready', 'a', '0', 'd', ARGV[i + 3],
            'due', NOW, 't', ARGV[i + 4])
          redis.call('HDEL', other, 'rw', 'ls', 'lu', 'died', 'lo', 'w', 'af')
          redis.call('ZREM', P .. 'dead', new)
          redis.call('ZREM', P .. 'look:write', new)
          redis.call('ZADD', P .. 'look:' .. stage2, time(now + GRACE), new)
          state('d|' .. kind, -1)
          state('k|' .. kind, 1)
          at(stage2, 'ready', 0, 1)
          count(kind .. '.revived', 1)
        end
      elseif st or redis.call('EXISTS', P .. 'kept:' .. new) == 1 then
        count(kind .. '.duplicate', 1)
      else
        create(new, kind, stage2, ARGV[i + 3], ARGV[i + 4])
      end
    end
    i = i + 6
  end
end
save()
return done
"""
)

# ARGV: most, then stages. Returns stage, id, affinity triples; WRITE goes back on the stream.
DUE = (
    _HEAD
    + """
local left, found = tonumber(ARGV[3]), {}
local again = time(now + GRACE)
for i = 4, #ARGV do
  local stage = ARGV[i]
  local look = P .. 'look:' .. stage
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', look, '-inf', NOW, 'LIMIT', 0, left)) do
    local key = P .. 'r:' .. id
    local r = redis.call('HMGET', key, 's', 'st', 'lu', 'af', 'en', 'rw', 'due')
    local dead = r[2] == 'dead'
    if not r[1] or (dead and not (stage == 'write' and r[6])) or (not dead and r[1] ~= stage) then
      redis.call('ZREM', look, id)
    elseif r[3] and tonumber(r[3]) > now then
      redis.call('ZADD', look, r[3], id)
    elseif r[7] and tonumber(r[7]) > now then
      redis.call('ZADD', look, r[7], id)
    else
      redis.call('ZADD', look, again, id)
      left = left - 1
      if stage ~= 'write' then
        found[#found + 1] = {stage, id, r[4] or ''}
      elseif not r[5] or #redis.call('XRANGE', P .. 'rows', r[5], r[5]) == 0 then
        stream(id, key)
      end
    end
  end
  if left <= 0 then break end
end
return found
"""
)

# ARGV: known seconds, then entry, id, lease, status, kind each.
FINISH = (
    _HEAD
    + """
local known, done = math.max(1, math.floor(tonumber(ARGV[3]))), 0
for i = 4, #ARGV, 5 do
  local entry, id, lease, status, kind = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local key = P .. 'r:' .. id
  redis.pcall('XACK', P .. 'rows', 'lake', entry)
  redis.call('XDEL', P .. 'rows', entry)
  local r = redis.call('HMGET', key, 'ls', 's', 'st', 'a')
  if r[1] == lease then
    redis.call('ZREM', P .. 'look:write', id)
    if r[3] == 'dead' then
      redis.call('HDEL', key, 'rw', 'ls', 'lu', 'en')
      done = done + 1
    elseif r[2] == 'write' then
      redis.call('DEL', key)
      at('write', r[3], r[4], -1)
      state('k|' .. kind, -1)
      count(kind .. (status == 'unhandled' and '.unhandled' or '.recorded'), 1)
      if kind == 'media' and status == 'completed' then
        redis.call('SET', P .. 'kept:' .. id, '', 'EX', known)
      end
      done = done + 1
    end
  end
end
save()
return done
"""
)

# ARGV: failure, then entry, id, lease each.
FAIL_ROWS = (
    _HEAD
    + """
local done = 0
for i = 4, #ARGV, 3 do
  local entry, id, lease = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local key = P .. 'r:' .. id
  redis.pcall('XACK', P .. 'rows', 'lake', entry)
  redis.call('XDEL', P .. 'rows', entry)
  local r = redis.call('HMGET', key, 'ls', 's', 'st', 'a', 'k')
  if r[1] == lease then
    redis.call('ZREM', P .. 'look:write', id)
    redis.call('HDEL', key, 'rw', 'en')
    if r[3] == 'dead' then
      redis.call('HDEL', key, 'ls', 'lu')
      redis.call('HSET', key, 'f', ARGV[3])
      remember(key, ARGV[3])
      done = done + 1
    elseif r[2] == 'write' then
      at('write', r[3], r[4], -1)
      redis.call('HINCRBY', key, 'y', 1)
      bury(id, key, r[5], ARGV[3])
      done = done + 1
    end
  end
end
save()
return done
"""
)

# ARGV: id, replays as read, stage, data ('' keeps), history line each.
REQUEUE = (
    _HEAD
    + """
local done = 0
for i = 3, #ARGV, 5 do
  local id, stage = ARGV[i], ARGV[i + 2]
  local key = P .. 'r:' .. id
  local r = redis.call('HMGET', key, 'st', 're', 'k', 's')
  if r[1] == 'dead' and (r[2] or '0') == ARGV[i + 1] then
    redis.call('HSET', key, 's', stage, 'st', 'ready', 'a', '0', 'due', NOW)
    redis.call('HINCRBY', key, 're', 1)
    if ARGV[i + 3] ~= '' then redis.call('HSET', key, 'd', ARGV[i + 3]) end
    redis.call('HDEL', key, 'rw', 'ls', 'lu', 'lo', 'w', 'died', 'en', 'af')
    remember(key, ARGV[i + 4])
    redis.call('ZREM', P .. 'dead', id)
    redis.call('ZREM', P .. 'look:write', id)
    redis.call('ZADD', P .. 'look:' .. stage, NOW, id)
    state('d|' .. r[3], -1)
    state('k|' .. r[3], 1)
    at(stage, 'ready', 0, 1)
    count(r[3] .. '.requeued', 1)
    done = done + 1
  end
end
save()
return done
"""
)
