-- ARGV: time, seconds that a spawned event is remembered, then for each outcome its letter, id,
-- stage, lease and what the letter says. Returns 1 or 0 for each.
local seen_seconds = tonumber(ARGV[2])
local done = {}
local at = 3
local going_to = memo(function(stage) return ',"to":"' .. stage .. '"' end)

-- A lake entry is over with every outcome: the redriver adds a new one when the record is due.
local function later(id, m, state, delay)
  if m[STATE] ~= 'dead' then
    place(m, -1)
    m[STATE] = state
    place(m, 1)
    look(m[STAGE], id, now + delay)
  else
    look('write', id, now + delay)
  end
  m[DUE] = now + delay
  unlist(m)
  free(m)
end

local function replaced(id, m, data)
  if data ~= '' then
    m[FRESH] = 0
    redis.call('HSET', record(id), 'd', data)
  end
end

local function advance(id, m, history)
  local stage, data, fresh, affinity = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local delay = tonumber(ARGV[at + 4])
  history = noted(m, history, 'advanced', going_to[stage])
  place(m, -1)
  look(m[STAGE], id, false)
  unlist(m)
  enter(m, stage, delay)
  m[AFFINITY], m[FRESH] = affinity, 0
  place(m, 1)
  look(stage, id, now + (delay > 0 and delay or GRACE))
  if stage == 'write' then
    if delay <= 0 then enlist(id, m) end
    save(id, m, 'd', data, 'h', history, 'w', fresh)
  else
    save(id, m, 'd', data, 'h', history)
    redis.call('HDEL', record(id), 'w')
  end
end

while at <= #ARGV do
  local letter, id, stage, lease = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  at = at + 4
  local got = redis.call('HMGET', record(id), 'm', 'h')
  local m = got[1] and cmsgpack.unpack(got[1])
  local ours = held(m, stage, lease)
  if letter == 'A' then
    if ours and m[STATE] == 'dead' then ours = false end -- a dead record goes nowhere by itself
    if ours then
      advance(id, m, got[2])
      at = spawn_all(at + 5, seen_seconds)
    else
      at = at + 6 + 6 * tonumber(ARGV[at + 5])
    end
  elseif letter == 'R' or letter == 'W' then
    if ours then
      local retried = letter == 'R'
      local history = noted(m, got[2], retried and 'retried' or 'waited', ARGV[at + 1])
      later(id, m, retried and 'retrying' or 'waiting', tonumber(ARGV[at]))
      if not retried then
        if m[SINCE] == 0 then m[SINCE] = now end
      else
        m[SINCE] = 0
        if m[STATE] ~= 'dead' then
          count('a:' .. m[STAGE] .. ':' .. m[ATTEMPTS], -1)
          m[ATTEMPTS] = m[ATTEMPTS] + 1
          count('a:' .. m[STAGE] .. ':' .. m[ATTEMPTS], 1)
        end
      end
      replaced(id, m, ARGV[at + 2])
      save(id, m, 'h', history)
    end
    at = at + 3
  else
    if ours then
      replaced(id, m, ARGV[at + 4])
      bury(id, m, got[2], ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 5])
      at = spawn_all(at + 6, seen_seconds)
    else
      at = at + 7 + 6 * tonumber(ARGV[at + 6])
    end
  end
  done[#done + 1] = ours and 1 or 0
end
flush()
return done
