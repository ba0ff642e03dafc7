-- ARGV: time, cursor, expected version (0: none) and time, new time, fence, seconds that an event
-- is remembered, seconds that the cursor is kept (0: for good), number of ids that were left out
-- because they are remembered, these, number of marks, {cursor, least time, time to move to, seconds
-- that it is kept} each, then {id, kind, stage, data, trace, revive} a record.
-- Returns {time, version}, or false when another was faster or one of the ids is not remembered.
local key = root .. ':cursor:' .. ARGV[2]
local stored = redis.call('HMGET', key, 'time', 'version', 'fence')
local version, fence = tonumber(stored[2] or '0'), tonumber(stored[3] or '0')
if version ~= tonumber(ARGV[3]) or tonumber(ARGV[6]) < fence then return false end
-- after an older copy was put back, other moves may have led to the same version
if version > 0 and stored[1] ~= ARGV[4] then return false end
-- or to this very place, and without what the later one knew
local left_out = tonumber(ARGV[9])
for at = 10, 9 + left_out do
  if not remembered(ARGV[at]) then return false end
end

local function keep(cursor, seconds)
  if seconds ~= '0' then redis.call('EXPIRE', cursor, seconds) end
end

local time = ARGV[5]
if stored[1] and tonumber(stored[1]) > tonumber(time) then time = stored[1] end
version = next_version(version)
redis.call('HSET', key, 'time', time, 'version', version, 'fence', ARGV[6])
keep(key, ARGV[8])

local at = 11 + left_out
for _ = 1, tonumber(ARGV[10 + left_out]) do
  local marked = root .. ':cursor:' .. ARGV[at]
  local reached = redis.call('HMGET', marked, 'time', 'version')
  if tonumber(reached[1] or '-1') < tonumber(ARGV[at + 1]) then
    redis.call('HSET', marked, 'time', ARGV[at + 2], 'version', next_version(tonumber(reached[2] or '0')))
    redis.call('HSETNX', marked, 'fence', 0)
    keep(marked, ARGV[at + 3])
  end
  at = at + 4
end

for n = at, #ARGV, 6 do
  local id, kind = ARGV[n], ARGV[n + 1]
  if kind == 'page' then
    -- a page of this name is left of a cursor that was set back: both are kept
    if load(id) then id = string.format('%s~%.6f-%d', id, now, n) end
    create(id, kind, ARGV[n + 2], ARGV[n + 3], ARGV[n + 4])
  else
    spawn(id, kind, ARGV[n + 2], ARGV[n + 3], ARGV[n + 4], ARGV[n + 5] == '1', tonumber(ARGV[7]))
  end
end
flush()
return { time, version }
