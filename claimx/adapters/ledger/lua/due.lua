-- ARGV: time, limit, stages. Returns {stage, affinity, id, due} a record; pushes what it met.
-- Records of the stage write go back on the stream instead, unless their entry still waits there.
local limit = tonumber(ARGV[2])
local UNREAD = 60 -- seconds until an entry that nobody has read is looked at again
local function older(a, b) return a[1] < b[1] or (a[1] == b[1] and a[3] < b[3]) end

-- The oldest of each stage, so that one with very many holds up no other; then the oldest of all.
local share = math.floor(limit / (#ARGV - 2))
local met, others = {}, {}
for at = 3, #ARGV do
  for _, span in ipairs({ { '-inf', now }, { now + FURTHEST, '+inf' } }) do
    local key, from, to = root .. ':look:' .. ARGV[at], span[1], span[2]
    local found = redis.call('ZRANGEBYSCORE', key, from, to, 'WITHSCORES', 'LIMIT', 0, limit)
    for n = 1, #found, 2 do
      local one = { tonumber(found[n + 1]), ARGV[at], found[n] }
      if n < 2 * share then met[#met + 1] = one else others[#others + 1] = one end
    end
  end
end
local all = #met + #others
table.sort(others, older)
for n = 1, math.min(#others, limit - #met) do met[#met + 1] = others[n] end
table.sort(met, older)

local read_up_to
local function parts(entry)
  local ms, number = string.match(entry, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(number)
end

-- Say whether nobody has read the entry yet.
local function waits(entry)
  if entry == '' or #redis.call('XRANGE', rows(), entry, entry) == 0 then return false end
  if not read_up_to then
    read_up_to = '0-0'
    local groups = redis.pcall('XINFO', 'GROUPS', rows())
    for _, group in ipairs(groups.err and {} or groups) do
      local facts = {}
      for n = 1, #group, 2 do facts[group[n]] = group[n + 1] end
      if facts['name'] == GROUP then read_up_to = facts['last-delivered-id'] end
    end
  end
  local ms, number = parts(entry)
  local read_ms, read_number = parts(read_up_to)
  return ms > read_ms or (ms == read_ms and number > read_number)
end

local answer, ids = {}, {}
for n = 1, #met do ids[n] = met[n][3] end
fetch(ids)
for n = 1, #met do
  local stage, id = met[n][2], met[n][3]
  local m = load(id)
  if not m and redis.call('EXISTS', root .. ':r:' .. id) == 1 then -- before ADR 0014
    return redis.error_reply('records of an earlier release lie in it, which this one cannot read: ' ..
      'start that release, let it finish them, then start this one')
  end
  local dead = m and m[STATE] == 'dead'
  if not m or (dead and not (stage == 'write' and m[PENDING] == 1)) or (not dead and m[STAGE] ~= stage) then
    look(stage, id, false)
  elseif stage == 'write' then
    if waits(m[ENTRY]) then
      look(stage, id, now + UNREAD)
    else
      unlist(m)
      enlist(id, m)
      save(id, m)
      look(stage, id, now + GRACE)
    end
  else
    look(stage, id, now + GRACE)
    answer[#answer + 1] = stage
    answer[#answer + 1] = m[AFFINITY]
    answer[#answer + 1] = id
    answer[#answer + 1] = string.format('%.6f', m[DUE])
  end
end
flush()
return { all >= limit and 1 or 0, answer }
