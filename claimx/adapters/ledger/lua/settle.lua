-- ARGV: time, seconds that a spawned event is remembered, how many outcomes, the ids of their records,
-- then for each its form and what that says. Returns 1 or 0 for each.
--
-- A form is a text, as many outcomes have the same and an argument costs about as much as reading a
-- record: "letter stage lease", and of an advance "to delay affinity" besides.
local seen_seconds, many = tonumber(ARGV[2]), tonumber(ARGV[3])
local done = {}
local at = 4 + many
local ids = { unpack(ARGV, 4, 3 + many) }
local forms = memo(function(text) return { string.match(text, '^(%u) (%S*) (%S*) ?(%S*) ?(%S*) ?(.*)$') } end)
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
    put('data', id, data)
  end
end

local function advance(id, m, history, form)
  local stage, delay, affinity = form[4], tonumber(form[5]), form[6]
  local data, fresh = ARGV[at], ARGV[at + 1]
  history = noted(m, history, 'advanced', going_to[stage])
  place(m, -1)
  look(m[STAGE], id, false)
  unlist(m)
  enter(m, stage, delay)
  m[AFFINITY], m[FRESH] = affinity, 0
  place(m, 1)
  look(stage, id, now + (delay > 0 and delay or GRACE))
  save(id, m)
  put('data', id, data)
  put('history', id, history)
  if stage == 'write' then
    if delay <= 0 then enlist(id, m) end
    put('rows', id, fresh)
  else
    drop('rows', id)
  end
end

fetch(ids)
local histories = texts('history', ids)
for n, id in ipairs(ids) do
  local form = forms[ARGV[at]]
  local letter = form[1]
  at = at + 1
  local m, history = load(id), histories[n]
  local ours = held(m, form[2], form[3])
  if letter == 'A' then
    if ours and m[STATE] == 'dead' then ours = false end -- a dead record goes nowhere by itself
    if ours then
      advance(id, m, history, form)
      at = spawn_all(at + 2, seen_seconds)
    else
      at = at + 3 + 6 * tonumber(ARGV[at + 2])
    end
  elseif letter == 'R' or letter == 'W' then
    if ours then
      local retried = letter == 'R'
      history = noted(m, history, retried and 'retried' or 'waited', ARGV[at + 1])
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
      save(id, m)
      put('history', id, history)
    end
    at = at + 3
  else
    if ours then
      replaced(id, m, ARGV[at + 4])
      bury(id, m, history, ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 5])
      at = spawn_all(at + 6, seen_seconds)
    else
      at = at + 7 + 6 * tonumber(ARGV[at + 6])
    end
  end
  done[#done + 1] = ours and 1 or 0
end
flush()
return done
